// Strategy: a replication mode as a deterministic state machine. It decides; modes::Replica, the
// one driver, owns disk, network, timers and threads and carries any mode's decisions out in the
// one right order. docs/writing-a-mode.md walks through a new one.
#pragma once

#include "base/ids.h"
#include "base/result.h"
#include "engine/log.h"
#include "engine/region.h"
#include "transport/message_bus.h"

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
using transport::ClusterMessage;
using transport::Lane;
using transport::PeerInfo;

struct Outbound {
    NodeName to;
    Lane lane = Lane::LANE_CONTROL;
    std::shared_ptr<const ClusterMessage> message;
};

/// How fresh a read must be, and how many must hold a write before it is acknowledged (the spec's consistency levels).
enum class ReadConsistency : std::uint8_t { kOne, kLocalOne, kQuorum, kLocalQuorum, kAll };
/// "LOCAL_QUORUM", as settings and clients write it.
std::string_view to_string(ReadConsistency level) noexcept;

/// Answers read(): once the applied index reaches `index`, a local read is as fresh as was asked.
struct ReadPoint {
    ReadId id;
    LogIndex index;
};
struct RefusedRead {
    ReadId id;
    Error error;
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

/// false: a later version's. Whoever would have to apply such an entry stops; it is never skipped.
bool is_known(EntryKind kind) noexcept;

/// A kNoop entry with this payload is a comparison mark: each member takes a view of its state right behind it, and the
/// strategy hears its digest. Who does not know it applies it as any other.
std::string comparison_mark();
bool is_comparison_mark(const Entry& entry) noexcept;

struct LogPlace {
    LogIndex index;
    Term term;
};

/// A change of who leads, as this member saw it.
struct LeaderChange {
    Term term;
    NodeName from;       // who led before, as far as is known here; empty: nobody
    NodeName to;         // who leads now; empty: nobody
    std::string reason;  // for people, without a full stop
};

/// What the driver owes the strategy, in this order. The order is the safety argument: nothing is
/// promised to a peer or a client that a crash could make us forget. What may be said whatever a crash makes us
/// forget is not here but in take_messages().
struct Ready {
    /// 0. Of one without data, whose log has nothing in common with the leader's any more: make `hard_state` durable, forget
    ///    the log, go on behind this entry, then call log_reset(). Nothing else is in such a Ready.
    std::optional<LogPlace> reset_log;
    /// 1. The log beyond this is a lost branch: keep its entries readable under diverged/, take the engine back
    ///    if it applied any, forget them, then call rewound(). Nothing is persisted until then.
    std::optional<LogIndex> rewind_to;
    std::optional<HardState> hard_state;           // 2. Persist in one synced batch with
    std::vector<Entry> entries;                    //    these; drop any entry at or past the first.
    std::vector<Outbound> messages_after_append;   //    Send once they are appended, while they are synced: what the
                                                   //    disk has no room for was shown to nobody.
    std::vector<Outbound> messages_after_persist;  // 3. Send once 2 is on disk.
    LogIndex committed;                            // 4. Apply in index order up to here.
    std::vector<ReadPoint> reads;                  // 5. Answer once applied >= index.
    std::vector<RefusedRead> refused_reads;        //    Answer now.
    std::vector<Refusal> refused;                  // 6. Answer now: nothing was logged, or it is known to be lost.
    std::vector<Placed> placed;                    //    Which entry carries which proposal.
    std::vector<NodeName> send_snapshot;           // 7. Bring these up to date by a snapshot, in the background.
    std::vector<std::string> events;               // 8. Log these: what an operator wants to know, one line each.
    std::vector<std::string> errors;               //    The same, as errors: what an operator has to do something about.
    std::vector<LeaderChange> leader_changes;      //    Remember these: who led when, and why that changed.
    bool checkpoint = false;                       // 9. Write a checkpoint in the background, so that the log can be cut.
    std::optional<std::vector<std::string>> dial;  //    Addresses of the other members, all of them, from now on.

    [[nodiscard]] bool empty() const noexcept {
        return !reset_log && !rewind_to && !hard_state && entries.empty() && !checkpoint && !dial &&
               messages_after_append.empty() && messages_after_persist.empty() && reads.empty() &&
               refused_reads.empty() && refused.empty() && placed.empty() && send_snapshot.empty() && events.empty() &&
               errors.empty() && leader_changes.empty();
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
    kStandby,
};
/// "leader", as /health says it; a standalone member is a leader.
std::string_view to_string(Role role) noexcept;

/// In PeerInfo::features, before each tag of that member (NORNICDB_CLUSTER_SERVER_TAGS).
inline constexpr std::string_view kTagFeature = "tag:";
std::vector<std::string> tags_of(const PeerInfo& peer);

struct MemberView {
    NodeName id;
    std::string cluster_address;
    std::string bolt_address;
    std::string http_address;
    Role role = Role::kFollower;
    bool healthy = true;
    bool serves_data = true;   // a witness does not, nor one in quarantine
    LogIndex match_index;      // durable there, as far as is known here
    LogIndex applied_index;
    std::vector<std::string> tags;  // of others
};

/// One region, as this member sees it.
struct RegionView {
    std::string name;
    std::uint32_t number = 0;  // 0: not agreed yet
    bool self = false;
    bool primary = false;      // writes schema and catalogue, and with REGION_WRITES=primary everything
    bool dropped = false;
    bool connected = false;    // something was heard of it lately
    /// "ready", "streaming", "seeding", "waiting", "silent", "refused", "dropped".
    std::string state = "ready";
    std::string reason;        // a sentence, where something is to be done
    NodeName leader;
    std::string leader_address;  // "host:port" of the cluster protocol
    std::string leader_bolt_address;  // what clients dial; empty: not known
    std::string leader_http_address;  // likewise
    std::uint64_t lag_entries = 0;    // of its log, not applied here; only the leader knows
    std::uint64_t lag_ms = 0;
    std::uint64_t unacked_entries = 0;  // of this log, not known to be applied there; only the leader knows
};

/// For ROUTE, status and metrics: one consistent look.
struct ClusterView {
    std::string mode;
    std::string cluster_id;
    NodeName self;
    Role role = Role::kStandalone;
    NodeName leader;  // empty: none known
    Term term;
    LogIndex commit_index;
    std::vector<MemberView> members;  // self first
    std::vector<RegionView> regions;  // self first; empty: this mode has none
    /// One word for /health: "ready", "starting", "catching_up", "read_only", "degraded", "primary_silent",
    /// "foreign_data", "no_quorum", "quarantined".
    std::string state = "ready";
    /// Why it is not ready and what to do, a sentence; empty if it is.
    std::string reason;
    bool accepts_writes = true;
    std::uint64_t leader_changes = 0;  // seen since the start
    /// More that only this mode has, for status: name and value ("sync_state", "degraded").
    std::vector<std::pair<std::string, std::string>> details;

    [[nodiscard]] bool is_leader() const noexcept {
        return role == Role::kStandalone || role == Role::kLeader || role == Role::kPrimary;
    }
};

/// What an operator asks of a member. Each is answered through its completion, once.
struct Command {
    enum class Kind : std::uint8_t {
        kPromote,    // this member becomes the primary or leader
        kTransfer,   // leadership goes to `target`; empty: to whoever is fit
        kStepDown,
        kAddMember,
        kRemoveMember,
        kSnapshot,
        kPromoteRegion,  // this region becomes the primary one
        kDropRegion,     // `target` is given up: nothing is kept for it any more, and it never comes back with its data
    };
    enum class MemberRole : std::uint8_t { kVoter, kLearner, kWitness };
    Kind kind = Kind::kPromote;
    NodeName target;
    std::string address;                         // kAddMember: "host:port" that its peers dial
    MemberRole member_role = MemberRole::kVoter; // kAddMember
    std::uint32_t priority = 100;                // kAddMember
    bool force = false;                          // accept the loss that the refusal named
};
struct CommandAnswer {
    std::uint64_t id = 0;
    Result<std::string> outcome = std::string{};  // a sentence for the operator
};

/// What a snapshot brought.
struct InstalledSnapshot {
    LogIndex index;
    Term term;
    std::string history;
    std::string membership;      // payload of the newest kMembership entry up to index; empty: none
    LogIndex membership_index;
};

/// The local log as a strategy sees it: only what was persisted.
class LogReader {
public:
    virtual ~LogReader() = default;
    [[nodiscard]] virtual LogIndex first_index() const = 0;  // last_index() + 1 if empty
    [[nodiscard]] virtual LogIndex last_index() const = 0;
    /// Term of an entry held, of the one before the first, or 0 for index 0; kNotFound for others.
    virtual Result<Term> term_at(LogIndex index) = 0;
    /// Entries from `from` on, at most so many and about so many bytes, at least one. kNotFound, kCorruption.
    virtual Result<std::vector<Entry>> read(LogIndex from, LogIndex to, std::size_t bytes) = 0;
};

/// The same constructor arguments and the same calls in the same order give the same decisions.
/// So it holds no clock, socket, thread, disk or global random source. One caller at a time.
class Strategy {
public:
    virtual ~Strategy() = default;

    /// The value of NORNICDB_CLUSTER_MODE that selects this mode: "raft".
    [[nodiscard]] virtual std::string_view name() const noexcept = 0;

    /// The hybrid time now, before each tick and whatever else the driver tells: what it draws for a write later is not
    /// below it.
    virtual void now(std::uint64_t /*hybrid_time*/) {}
    /// What it put into the log by itself is as late as this; what the driver draws for a write behind that is later.
    [[nodiscard]] virtual std::uint64_t latest_time() const { return 0; }
    /// Until it is said anew, so many bytes of entries may go to members that are far behind and that no write waits for.
    virtual void allow_catch_up(std::uint64_t /*bytes*/) {}
    /// There is such a member, and it is sent entries.
    [[nodiscard]] virtual bool catches_up() const { return false; }
    /// One tick interval has passed. Every time-out is counted in these.
    virtual void tick() {}
    /// So many intervals passed in which nothing ran here (the process was stopped, the machine slept). They count
    /// for what this member promised others, not for what it expects of them: they may have spoken meanwhile.
    virtual void paused(std::uint64_t) {}

    /// A connection to this peer is up; again whenever what it says of itself changes.
    virtual void peer_up(const PeerInfo&) {}
    /// No connection is left. kClosed is a hint that its process ended, never a proof.
    virtual void peer_down(const NodeName&, transport::LostReason) {}

    /// A peer's message. Stale, unknown or malformed ones are counted and dropped.
    virtual void step(const NodeName&, const ClusterMessage&) {}

    /// Offers a write; its answer is a committed entry or a refusal that carries `id`.
    /// kNotLeader (with a hint), kBusy (a limit is reached): nothing was logged.
    virtual Result<> propose(ProposalId id, std::string write_set, std::uint64_t hybrid_time) = 0;

    /// Asks from which log index on a local read is as fresh as `level` promises.
    virtual Result<> read(ReadId id, ReadConsistency level) = 0;

    /// A reader waits here for what is not applied yet.
    virtual void readers_wait() {}

    /// A write of this level is about to be offered, or is waited for. kDatabaseUnavailable: those who would have to hold it are
    /// not there.
    virtual Result<> expect(ReadConsistency /*level*/) { return success(); }
    /// Up to where so many hold the log on disk as a write of this level waits for, as far as is known here. What the mode
    /// itself promises of a committed entry is enough for the levels that ask no more.
    [[nodiscard]] virtual LogIndex acknowledged(ReadConsistency /*level*/) const { return committed(); }

    /// What an operator wants. kUnsupported where the mode has no such thing; other refusals may come at once, too.
    virtual Result<> command(std::uint64_t, const Command&) {
        return fail(ErrorCode::kUnsupported, std::string{"this mode has no such command"});
    }
    /// Commands that ended.
    virtual std::vector<CommandAnswer> take_answers() { return {}; }

    /// This process stops in an orderly way: hand leadership over if there is somebody to take it. left() once there
    /// is nothing more to wait for.
    virtual void leave() {}
    [[nodiscard]] virtual bool left() const { return true; }

    /// Messages that are true whatever a crash makes this member forget: taken at any time, also while a Ready is
    /// being persisted, so that neither a sync nor an apply delays a heartbeat or the entries to a peer.
    virtual std::vector<Outbound> take_messages() { return {}; }

    /// Nobody waits for what take_ready() has for the disk: it may gather for a moment and share a sync. Only where
    /// there is such work.
    [[nodiscard]] virtual bool may_gather() const { return false; }
    /// Takes all other outstanding work. Precondition: the previous Ready's entries were persisted.
    virtual Ready take_ready() = 0;
    virtual void persisted(LogIndex last) = 0;  // Ready steps 2–3 are done up to `last`.
    /// The disk had no room: nothing at or past `first` was logged. The driver has refused the
    /// proposals.
    virtual void not_persisted(LogIndex first) = 0;
    virtual void applied(LogIndex last) = 0;  // Ready step 4 is done up to `last`.
    /// The digest of the state as of the comparison mark that was applied at this index, a while ago; or why there is none.
    virtual void state_digest(LogIndex, const Result<std::uint64_t>&) {}
    /// false: the state here is known to be wrong. Nobody is served; view().reason says why. Cheap.
    [[nodiscard]] virtual bool serves() const { return true; }
    /// Ready step 1 is done and the log ends at `last`, or (false) the state cannot be taken back so far and must
    /// come from a peer's snapshot.
    virtual void rewound(LogIndex, bool) {}
    virtual void log_reset() {}  // Ready step 0 is done and on disk.

    /// Whether a snapshot of a leader or primary of this term, as of `index`, is wanted. false: the sender is fenced,
    /// or this member holds data of its own; `reason` then says which.
    virtual bool accepts_snapshot(const NodeName&, Term, LogIndex, std::string_view /*history*/, std::string& reason) {
        reason = "this mode takes no snapshots";
        return false;
    }
    /// State and log were replaced: the log is empty and goes on behind `index`.
    virtual void snapshot_installed(const InstalledSnapshot&) {}
    /// Ready step 7 ended: the peer holds the state up to `index`, or (nullopt) it failed and may be asked for again.
    virtual void snapshot_sent(const NodeName&, std::optional<LogIndex>) {}
    /// A sync has been hanging for a while (true, at each tick), or has ended (false). A member that cannot write must
    /// not go on leading only because its heartbeats still flow.
    virtual void disk_stalled(bool) {}
    /// Entries from here on are still wanted by a peer, as far as the log's byte budget allows.
    [[nodiscard]] virtual std::optional<LogIndex> wanted_from() const { return std::nullopt; }

    /// The term in which this member may write; 0 while it may not. Cheap: asked at every commit.
    [[nodiscard]] virtual Term write_term() const = 0;
    /// Up to here entries are known to be committed; peers may have been told, and have shown them, before they are applied here.
    [[nodiscard]] virtual LogIndex committed() const { return view().commit_index; }
    [[nodiscard]] virtual ClusterView view() const = 0;
};

/// What a strategy starts from: what the disk remembers.
struct StrategyStart {
    NodeName self;
    std::string cluster_id;
    std::string cluster_address;
    std::string bolt_address;
    std::string http_address;
    std::string history;      // of the data held
    LogIndex last_index;
    Term last_term;
    HardState hard_state;
    /// The engine was brought up to here: the checkpoint, and what was known to be committed. Entries behind it are
    /// for the strategy to commit or to give up.
    LogIndex applied;
    std::string membership;  // payload of the newest applied kMembership entry; empty: none, or no engine
    LogIndex membership_index;
    LogReader* log = nullptr;  // outlives the strategy; nullptr: the mode never reads it
    engine::RegionData* regions = nullptr;  // outlives the strategy; nullptr: no engine
    std::uint64_t seed = 0;    // of the strategy's own randomness
    /// Proposals and their bytes under way before propose() answers kBusy.
    std::size_t inflight_max = 4096;
    std::size_t inflight_bytes_max = std::size_t{256} << 20;
};

}  // namespace nornic::modes
