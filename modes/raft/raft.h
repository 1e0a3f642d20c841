// Raft: three to seven members of which a majority decides. What is acknowledged is synced on a majority and never lost;
// reads on the leader are linearizable; without a majority members serve reads alone (docs/modes/raft.md). The protocol
// is modes/raft/core; this is its place in the driver.
#pragma once

#include "modes/strategy.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::modes {

/// A member to be, as NORNICDB_CLUSTER_RAFT_PEERS names it.
struct RaftPeer {
    NodeName id;          // empty: not known, "host:port" alone was given
    std::string address;  // "host:port"
};

/// In PeerInfo::features of a member that has data: this and its history. Two groups that name each other's members, the old
/// one and the one begun anew by `nornicdb recover`, are told apart by it.
inline constexpr std::string_view kRaftHistoryFeature = "history=";
/// Of a member whose settings name its priority: this and the number. It goes before what the configuration has.
inline constexpr std::string_view kRaftPriorityFeature = "priority=";

enum class RaftRole : std::uint8_t { kVoter, kLearner, kWitness };

struct RaftSettings {
    bool bootstrap = false;
    std::vector<RaftPeer> peers;
    std::vector<std::string> join;  // addresses of any members of a running group
    RaftRole role = RaftRole::kVoter;
    std::uint32_t priority = 100;   // 0: leads only where nobody else can, and takes no writes then
    bool priority_is_set = false;   // not by default: it goes before what the configuration has
    bool witness_may_lead = false;
    bool leave_on_stop = false;     // an orderly stop takes this member out of the group
    std::uint32_t election_ticks = 100;
    std::uint32_t heartbeat_ticks = 10;
    std::size_t append_entries_max = 64;
    std::size_t append_bytes_max = std::size_t{512} << 10;
    std::size_t window_messages = 64;  // on their way to one follower
    std::size_t window_bytes = std::size_t{8} << 20;
    std::size_t tail_bytes_max = std::size_t{32} << 20;
    std::uint64_t promote_within = 64;        // entries that a learner may lack to become a voter
    std::uint64_t snapshot_interval_ticks = 30'000;
    std::uint64_t snapshot_threshold = 10'000;  // entries applied since the last checkpoint before the interval asks for one
    std::uint64_t trailing_logs = 10'000;       // kept behind a checkpoint for followers that are a little behind
    /// Between two comparisons of all members' data; the first comes a minute after an election, or so long. 0: none.
    std::uint64_t digest_interval_ticks = 0;
    std::uint32_t tick_ms = 10;
};

/// With start.log == nullptr it cannot replicate. A witness has no engine: its start.applied is 0.
std::unique_ptr<Strategy> make_raft(const StrategyStart& start, const RaftSettings& settings);

}  // namespace nornic::modes
