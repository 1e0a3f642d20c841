// A group that lost its majority for good, begun anew from what one member has (practice A30). For a tool that works on a
// stopped member; nothing here touches a disk.
#pragma once

#include "engine/log.h"
#include "modes/raft/core/configuration.h"

#include <string>
#include <string_view>

namespace nornic::modes {

/// The group begins anew in a term this far behind the last known one, so that nothing of the old group is newer.
inline constexpr std::uint64_t kRecoveryTermJump = 1000;

/// What a data member's disk says of the group.
struct GroupOnDisk {
    NodeName self;
    engine::HardState hard_state;
    LogIndex last_index;
    Term last_term;
    raft::Configuration configuration;  // the newest in the log, committed or not
    LogIndex configuration_index;
};

/// What makes `self` the only voter: to be appended behind last_index, and synced with the hard state.
struct NewGroup {
    engine::LogEntry entry;
    engine::HardState hard_state;
};

/// kInvalidArgument: the disk is not that of a member that could go on alone.
Result<NewGroup> begin_anew(const GroupOnDisk& disk, std::uint64_t hybrid_time);

}  // namespace nornic::modes
