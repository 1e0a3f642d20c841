// What HardState.extra holds in this mode: "raft <directory> <configuration index> <configuration>", the last two on a
// witness alone, which has no state to keep them in; "raft <directory> quarantined=<log index>" on a member in quarantine;
// "raft <directory> grouped" on one that has heard a group's leader and has nothing of the group on disk yet. Right behind the
// directory, ",removed=<index>" on one that the configuration there has taken out of the group; earlier versions read over it.
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
    std::optional<LogIndex> quarantine;
    bool grouped = false;
    LogIndex removed_at;  // 0: it was not taken out
};

/// nullopt: another mode's.
std::optional<RaftExtra> parse_raft_extra(std::string_view text);
std::string format_raft_extra(const RaftExtra& extra);

}  // namespace nornic::modes
