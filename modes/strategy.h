// Strategy: a replication mode as a deterministic state machine. It decides; modes::Replica, the
// one driver, owns disk, network, timers and threads and carries any mode's Ready out in the one
// right order.
#pragma once

#include "base/ids.h"
#include "base/result.h"
#include "engine/log.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::modes {

using engine::EntryKind;
using engine::HardState;
using Entry = engine::LogEntry;

/// What another member said or is to be told; each mode reads and writes the payloads it knows.
struct ClusterMessage {
    std::uint32_t type = 0;  // the wire protocol's message number
    std::string payload;
};

struct Outbound {
    NodeName to;
    ClusterMessage message;
};

/// How fresh a read must be (the spec's consistency levels).
enum class ReadConsistency : std::uint8_t { kOne, kLocalOne, kQuorum, kLocalQuorum, kAll };

/// Answers read(): once the applied index reaches `index`, a local read is as fresh as was asked.
struct ReadPoint {
    ReadId id;
    LogIndex index;
};

/// A proposal's place in the log; from here on its outcome is the entry's.
struct Placed {
    ProposalId id;
    LogIndex index;
    Term term;
};

struct Refusal {
    ProposalId id;
    Error error;
};

/// What the driver owes the strategy, in this order. The order is the safety argument: nothing is
/// promised to a peer or a client that a crash could make us forget.
struct Ready {
    std::vector<Outbound> messages;                // 1. Send: true even if we forget all of 2.
    std::optional<HardState> hard_state;           // 2. Persist in one synced batch with
    std::vector<Entry> entries;                    //    these; drop any entry at or past the first.
    std::vector<Outbound> messages_after_persist;  // 3. Send once 2 is on disk.
    LogIndex committed;                            // 4. Apply in index order up to here.
    std::vector<ReadPoint> reads;                  // 5. Answer once applied >= index.
    std::vector<Refusal> refused;                  // 6. Answer now: nothing was logged.
    std::vector<Placed> placed;                    //    Which entry carries which proposal.

    [[nodiscard]] bool empty() const noexcept {
        return messages.empty() && !hard_state && entries.empty() &&
               messages_after_persist.empty() && reads.empty() && refused.empty() && placed.empty();
    }
};

enum class Role : std::uint8_t {
    kStandalone,
    kLeader,
    kFollower,
    kCandidate,
    kLearner,
    kWitness,
    kPrimary,
    kStandby
};

struct MemberView {
    NodeName id;
    std::string cluster_address;
    std::string bolt_address;
    Role role = Role::kFollower;
    bool healthy = true;
};

/// For ROUTE, status and metrics: one consistent look.
struct ClusterView {
    std::string mode;
    NodeName self;
    Role role = Role::kStandalone;
    NodeName leader;  // empty: none known
    Term term;
    LogIndex commit_index;
    std::vector<MemberView> members;
    [[nodiscard]] bool is_leader() const noexcept {
        return role == Role::kStandalone || role == Role::kLeader || role == Role::kPrimary;
    }
};

/// The same constructor arguments and the same calls in the same order give the same Ready values.
/// So it holds no clock, socket, thread, disk or global random source. One caller at a time.
class Strategy {
public:
    virtual ~Strategy() = default;

    /// The value of NORNICDB_CLUSTER_MODE that selects this mode: "raft".
    [[nodiscard]] virtual std::string_view name() const noexcept = 0;

    /// One tick interval has passed. Every time-out is counted in these.
    virtual void tick() = 0;

    /// A peer's message. Stale, unknown or malformed ones are counted and dropped.
    virtual void step(const NodeName& from, const ClusterMessage& message) = 0;

    /// Offers a write; its answer is a committed entry or a refusal that carries `id`.
    /// kNotLeader (with a hint), kBusy (a limit is reached): nothing was logged.
    virtual Result<> propose(ProposalId id, std::string write_set, std::uint64_t hybrid_time) = 0;

    /// Asks from which log index on a local read is as fresh as `level` promises.
    virtual Result<> read(ReadId id, ReadConsistency level) = 0;

    /// Takes all outstanding work. Precondition: the previous Ready's entries were persisted.
    virtual Ready take_ready() = 0;
    virtual void persisted(LogIndex last) = 0;  // Ready steps 1–3 are done up to `last`.
    /// The disk had no room: nothing at or past `first` was logged. The driver has refused the
    /// proposals.
    virtual void not_persisted(LogIndex first) = 0;
    virtual void applied(LogIndex last) = 0;  // Ready step 4 is done up to `last`.

    [[nodiscard]] virtual ClusterView view() const = 0;
};

/// What a strategy starts from: what the disk remembers.
struct StrategyStart {
    NodeName self;
    std::string bolt_address;
    LogIndex last_index;
    Term last_term;
    HardState hard_state;
    LogIndex applied;
    /// Proposals and their bytes under way before propose() answers kBusy.
    std::size_t inflight_max = 4096;
    std::size_t inflight_bytes_max = std::size_t{256} << 20;
};

}  // namespace nornic::modes
