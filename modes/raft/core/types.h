// What the Raft core speaks: plain values, no wire format, no disk. Names are those of the thesis (Ongaro, "Consensus:
// Bridging Theory and Practice", 2014).
#pragma once

#include "base/ids.h"
#include "base/result.h"
#include "modes/raft/core/configuration.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace nornic::raft {

/// The same numbers as in the log on disk.
enum class EntryKind : std::uint8_t { kNoop = 0, kWriteSet = 1, kMembership = 2 };

struct Entry {
    Term term;
    LogIndex index;
    std::uint64_t hybrid_time = 0;
    EntryKind kind = EntryKind::kWriteSet;
    std::string payload;  // kMembership: Configuration::encode()
};
/// Shared between the tail in memory and the messages to every follower; never changed once made.
using EntryPtr = std::shared_ptr<const Entry>;

/// Figure 3.1, "persistent state", and what tells a wiped disk from the one that voted before.
struct HardState {
    Term term;
    NodeName voted_for;  // in `term`; empty: nobody
    LogIndex committed;  // a hint
    DirectoryId directory;
    LogIndex removed_at;  // of the configuration by which the group goes on without this member; 0: it does not
    bool operator==(const HardState&) const = default;
};

// ---- Messages ----

struct VoteRequest {
    Term term;  // the one it would lead in
    LogIndex last_index;
    Term last_term;
    bool pre_vote = false;  // thesis 9.6
    bool transfer = false;  // the leader asked for it: no lease protects against it (thesis 3.10, 4.2.3)
};
struct VoteResponse {
    Term term;  // pre-vote granted: that of the request; else the voter's own
    bool granted = false;
    bool pre_vote = false;
    std::string reason;  // where refused, for people
};

/// Entries, or without any: a probe. Never a heartbeat.
struct AppendEntries {
    Term term;
    LogIndex prev_index;
    Term prev_term;
    std::vector<EntryPtr> entries;
    LogIndex commit;
    bool other_history = false;  // the receiver's own finding: the sender's data is of another group than what is held here
    bool keeps_own = false;      // the same: and what is held here is not given up for it
};
struct AppendResponse {
    Term term;
    bool success = false;
    LogIndex match;           // success: equal to the leader's log and durable up to here; else: the prev_index that was asked
    LogIndex conflict_index;  // not success: the log may agree before this (thesis 3.5, fast back-up)
    Term conflict_term;       // of the entry before conflict_index, as the follower has it
    LogIndex applied;
    bool needs_snapshot = false;  // nothing that the leader's log holds will do
    bool foreign = false;         // it holds data of another group and keeps it
};

/// Small, on a lane of its own, answered from memory: neither a sync nor an apply delays it (practice A24).
struct Heartbeat {
    Term term;
    std::uint64_t round = 0;  // comes back; what ReadIndex and CheckQuorum count (thesis 6.4)
    LogIndex commit;          // never beyond what is known to be equal there
};
struct HeartbeatResponse {
    Term term;
    std::uint64_t round = 0;
    LogIndex match;  // durable there and known to be equal, in this term
    LogIndex applied;
    bool readers_wait = false;  // tell at once what is committed, for a while; with round 0: nothing was asked
};

/// Thesis 3.10: start an election at once.
struct TimeoutNow {
    Term term;
};

/// A follower asks the leader from which index on its own read is linearizable.
struct ReadIndexRequest {
    std::uint64_t context = 0;
    bool everyone = false;  // answered once all members hold what it will see
};
struct ReadIndexResponse {
    std::uint64_t context = 0;
    bool granted = false;
    LogIndex index;
};

/// To a witness, which needs no state: begin the log anew behind a committed entry that the leader does not hold any more.
struct LogReset {
    Term term;
    LogIndex index;
    Term index_term;
    std::string configuration;
};

/// To one that speaks and is no member: the configuration committed at `index` has no place for it, so it stops
/// campaigning (practice A9). A new member that was not added yet hears it, too, and asks again.
struct NotMember {
    Term term;
    LogIndex index;
};

using Body = std::variant<VoteRequest,
                          VoteResponse,
                          AppendEntries,
                          AppendResponse,
                          Heartbeat,
                          HeartbeatResponse,
                          TimeoutNow,
                          ReadIndexRequest,
                          ReadIndexResponse,
                          LogReset,
                          NotMember>;

struct Message {
    DirectoryId directory;  // of the sender's disk: the vote of a wiped one is not that of the member it replaced
    Body body;
};

/// Heartbeats, votes and reads never wait behind entries.
enum class Lane : std::uint8_t { kControl, kLog };

struct Outbound {
    NodeName to;
    Lane lane = Lane::kControl;
    std::shared_ptr<const Message> message;  // one object where several are sent the same
};

enum class Role : std::uint8_t { kFollower, kPreCandidate, kCandidate, kLeader };
std::string_view to_string(Role role) noexcept;

}  // namespace nornic::raft
