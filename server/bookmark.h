// Bookmarks: "nb1:<history>:<log index>:<term>", the last part where it is known. Opaque to drivers. The history is a
// uuid drawn when the data was first made, so that a bookmark of foreign data is refused instead of waited for; the
// term is that of the log entry, so that one of a branch that was lost in a failover is refused, too.
#pragma once

#include "base/ids.h"
#include "base/result.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::server {

std::string make_bookmark(std::string_view history, LogIndex index, std::optional<Term> term);

/// One entry that a client has seen.
struct Seen {
    LogIndex index;
    std::optional<Term> term;
    std::string text;     // the bookmark, for messages
    std::string history;  // of another region, whose log the index is of; empty: this one's
};

/// What the bookmarks name, the latest last. kInvalidBookmark for what is none of ours, or neither of this history nor of
/// those of other regions.
Result<std::vector<Seen>> parse_bookmarks(const std::vector<std::string>& bookmarks,
                                          std::string_view history,
                                          const std::vector<std::string>& regions = {});

/// kInvalidBookmark for what is no bookmark of this product, of whatever history.
Result<> check_bookmarks(const std::vector<std::string>& bookmarks);

/// kInvalidBookmark of what is of no history that is known here.
Error foreign_bookmark(const Seen& seen);
/// kInvalidBookmark of something that clients saw and that is not part of this history any more.
Error lost_branch(const Seen& seen);

}  // namespace nornic::server
