// What one seed draws: sizes, time-outs, mode and policy, and which faults are on the menu. Most seeds have few of
// them, so that each is met alone and together with others ("swarm").
#pragma once

#include "base/random.h"
#include "modes/hot_standby/hot_standby.h"
#include "modes/multi_region/multi_region.h"
#include "modes/raft/raft.h"
#include "tests/sim/scheduler.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::sim {

/// A deliberate defect in a seam, to see that the checkers notice. tests/sim/mutations.py tries them all.
enum class Mutation : std::uint8_t {
    kNone,
    kSyncLies,           // a sync does nothing and says that it did
    kHardStateForgotten, // by a crash
    kEpochRewritten,     // in heartbeats and batches, to what the receiver knows
    kForgedReceived,     // a standby's answer says that everything arrived
    kEntryTwice,         // an entry in transit takes the payload of the one before it
    kEntryDropped,       // an entry in transit is left out and those behind it move up
    kTailLost,           // the log's newest entries are gone after a restart
    kSinkDrops,          // what would be saved of a lost branch is not
    kAlwaysInSync,       // heartbeats tell the standby that it has everything
    kWitnessGrants,      // whatever is asked
    kFenceAccepted,      // whatever is asked
    kEarlyAnswer,        // a commit is answered before it was persisted
    kSnapshotHole,       // a pair is left out of a snapshot, and its counts put right
    kApplySkipped,       // a member takes an entry in and changes nothing
    kReadEarly,          // a read does not wait for its read point
    // Raft's own.
    kVoteForgotten,      // by a crash; the term is not
    kTermForgotten,      // by a crash, and the vote with it
    kVoteGranted,        // whatever is asked
    kPreVoteCounts,      // a granted pre-vote arrives as a vote
    kLogCheckIgnored,    // a candidate says that its log is longer than any
    kPrevCheckIgnored,   // entries say that they follow what the receiver has
    kMatchForged,        // a follower's answer says that it has everything
    kAckBeforePersist,   // a follower acknowledges what it has not synced
    kCommitRaised,       // followers are told that all is committed
    kEntryTermChanged,   // an entry in transit becomes one of another term
    kTermRewritten,      // what a leader of an old term says arrives as of the receiver's
    kRoundForged,        // whatever a leader hears is an answer to its newest heartbeat
    kReadLocal,          // a linearizable read is answered from what is applied here
    kReadUnconfirmed,    // a leader answers a linearizable read without a round
    kConfigurationLost,  // a configuration in transit arrives as an empty entry
    kConfigurationAltered,  // … with a member less
    kLearnerCounted,     // a learner's acknowledgements arrive in a voter's name
    kRemovedVotes,       // so do the votes of one that is no member
    kDirectoryForged,    // a wiped disk speaks as the one before it
    kSnapshotAhead,      // a snapshot says that it is of a later entry
    kTransferForged,     // every vote request says that the leader asked for it
    kTimeoutNowForged,   // heartbeats arrive as "start an election now"
    // Between regions.
    kRegionWriteDropped,    // a write is left out of a batch
    kRegionTimeChanged,     // writes arrive as of a second before
    kRegionCursorRaised,    // a batch says that it reaches further than it does
    kRegionFrontierRaised,  // … and that its sender had more of others than it had
    kRegionSeenRaised,      // a write says that its writer had seen everything
};
std::string_view to_string(Mutation mutation);
/// kNone for "none"; false: no such mutation.
bool parse_mutation(std::string_view name, Mutation& out);

/// Raft's part: who is there at first, how they find each other and what an operator does.
struct RaftMenu {
    bool on = false;
    modes::RaftSettings settings;  // what all share
    std::size_t voters = 3;        // the witness among them
    std::size_t learners = 0;
    std::size_t spares = 0;        // processes that somebody may add
    enum class Forming : std::uint8_t {
        kTogether,  // all voters know of all
        kJoin,      // one begins alone, the others ask it to be added
        kAdded,     // one begins alone, an operator adds the others
    };
    Forming forming = Forming::kTogether;
    std::size_t bootstrappers = 1;  // of kTogether: so many were started with BOOTSTRAP=true
    bool peers_by_address = false;  // of kTogether: the ids of the peers were not given
    bool begins_standalone = false; // the first member's data is that of a standalone server
    bool refuses_to_lead = false;   // one member has priority 0
    bool priorities = false;
    Duration churn{};               // members are added and removed
    bool old_disks = false;         // who is added again may still have what it had
    bool wrong_addresses = false;   // somebody adds a member where nobody listens
};

/// What is between the regions of a world of several. Each region has a menu of its own besides, of a Raft group.
struct RegionsMenu {
    bool on = false;
    std::size_t regions = 2;
    modes::MultiRegionSettings settings;  // what all share
    Duration cut{};        // two regions do not hear each other for a moment
    Duration long_cut{};   // … for days, as wall clocks have it
    Duration promote{};    // a region becomes the primary one
    Duration skew_max{};   // how far wall clocks are apart
    Duration drop{};       // a region is lost for good, and an operator says so to the others
    bool late = false;     // the last region is added to those that run
    bool old_data = false; // the first one was a Raft group with data before
};

struct Menu {
    std::uint64_t seed = 0;
    Mutation mutation = Mutation::kNone;

    /// One member and no peers. There and in Raft `standby` says the strictest, which is what they promise.
    bool standalone = false;
    RaftMenu raft;
    RegionsMenu regions;
    modes::HotStandbySettings standby;
    bool witness = false;  // the last member
    [[nodiscard]] std::string_view mode() const {
        return regions.on ? "multi_region" : raft.on ? "raft" : standalone ? "standalone" : "ha_standby";
    }
    /// Members that hold data come first.
    [[nodiscard]] std::size_t data_members() const {
        return raft.on ? raft.voters - (witness ? 1 : 0) + raft.learners + raft.spares : standalone ? 1 : 2;
    }
    [[nodiscard]] std::size_t members() const { return data_members() + (witness ? 1 : 0); }
    Duration tick = std::chrono::milliseconds{10};
    Duration faults_for = std::chrono::seconds{10};
    Duration failover_timeout() const { return tick * standby.failover_ticks; }

    // The network.
    Duration latency_min = kMicrosecond * 50;
    Duration latency_max = kMillisecond;
    Duration keep_alive = std::chrono::milliseconds{300};
    Duration dial_max = std::chrono::milliseconds{100};
    std::size_t queue_bytes_max = std::size_t{64} << 20;  // of a lane, on its way; more is dropped, as the bus says
    std::uint32_t loss_per_million = 0;
    std::uint32_t duplicate_per_million = 0;
    std::uint32_t spike_per_million = 0;  // a message that takes up to a fail-over time-out
    bool late_duplicates = false;

    // The disk.
    bool segmented_log = false;
    Duration sync_min = kMicrosecond * 100;
    Duration sync_max = kMillisecond * 2;
    std::uint32_t sync_slow_per_million = 0;
    std::uint32_t seam_crash_per_million = 0;
    std::uint32_t rot_per_million = 0;  // of restarts: a synced sector of the log changed meanwhile
    std::uint64_t log_retention_bytes = std::uint64_t{1} << 30;
    std::size_t snapshot_chunk_bytes = std::size_t{256} << 10;
    std::size_t snapshot_window_chunks = 8;
    std::uint64_t snapshot_bytes_per_second = std::uint64_t{64} << 20;
    std::size_t inflight_max = 4096;
    std::size_t inflight_bytes_max = std::size_t{256} << 20;

    // What happens now and then; the mean time between two of a kind, zero: not on the menu.
    Duration crash{};
    Duration power_loss{};
    Duration both_die{};
    Duration pause{};
    Duration partition{};
    Duration one_way{};
    Duration reset{};
    Duration lane_reset{};
    Duration disk_full{};
    Duration disk_hang{};
    Duration sync_fails{};
    Duration clean_stop{};
    Duration switch_over{};
    Duration forced{};
    Duration checkpoint{};
    Duration wipe{};  // of a standby whose data the primary holds, as an operator rebuilds it; in Raft of a minority
    bool role_switch = false;
    double skew = 0;

    // The clients.
    std::size_t clients = 3;
    Duration think_max = kMillisecond * 30;
    std::string workload = "set";

    /// The network, or what looks like it from the other side, may cut off a member that lives.
    [[nodiscard]] bool may_cut_off() const {
        return partition.count() != 0 || one_way.count() != 0 || reset.count() != 0 || lane_reset.count() != 0 ||
               pause.count() != 0 || loss_per_million != 0 || spike_per_million != 0 || disk_hang.count() != 0;
    }
    [[nodiscard]] std::string describe() const;
};

/// mode: "ha_standby", "standalone" or "raft".
Menu draw_menu(std::uint64_t seed, Mutation mutation, std::string_view mode);
/// One of each region; what is between them is the same in all.
std::vector<Menu> draw_regions(std::uint64_t seed, Mutation mutation);

}  // namespace nornic::sim
