// `nornicdb unbind`: a stopped member keeps its data and forgets its cluster: its name, votes, the members, the others' claim to
// the same history. Offline; it takes the data directory's locks, so no server can be running on it.
#pragma once

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "env/settings.h"

#include <iosfwd>
#include <string>

namespace nornic::server {

/// What was forgotten and kept, for people.
struct Unbound {
    std::string member;
    std::string old_history;
    std::string history;
    LogIndex last;  // everything up to here is in the data
};

/// Can be run again where it died in between. kInvalidArgument: the directory holds no data, or a region's.
Result<Unbound> unbind(const env::Settings& settings, Clock& clock);

/// The whole command: says what will be forgotten, asks on `in` unless `yes`, does it. Returns the exit code.
int run_unbind(const env::Settings& settings, bool yes, std::istream& in, std::ostream& out);

}  // namespace nornic::server
