// What HardState.extra holds in this mode: "raft <directory> <configuration index> <configuration>", the last two on a
// witness alone, which has no state to keep them in.
#pragma once

#include "modes/raft/core/configuration.h"

#include <optional>
#include <string>
#include <string_view>

namespace nornic::modes {

inline constexpr std::string_view kRaftExtraName = "raft";

struct RaftExtra {
    raft::DirectoryId directory;
    LogIndex configuration_index;
    std::string configuration;
};

/// nullopt: another mode's.
std::optional<RaftExtra> parse_raft_extra(std::string_view text);

}  // namespace nornic::modes
