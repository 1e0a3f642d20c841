// Could a server start with these settings, here and now? Each check says what it finds and changes nothing.
#pragma once

#include "cli/check/report.h"
#include "env/settings.h"

#include <optional>

namespace nornic::cli {

/// All problems of the settings, not the first alone. nullopt: the others cannot be checked.
std::optional<env::Loaded> check_settings(env::Source source, Findings& out);
void check_data_directory(const env::Settings& settings, Findings& out);
void check_ports(const env::Settings& settings, Findings& out);
void check_certificates(const env::Settings& settings, Findings& out);
/// Names, reachability, clocks, and how many there are.
void check_peers(const env::Settings& settings, Findings& out);
/// Files that may be open, memory.
void check_limits(const env::Settings& settings, Findings& out);

}  // namespace nornic::cli
