// Replica: the one driver of every mode. Takes writes, carries the strategy's decisions out (send,
// persist, apply, answer) and is what server talks to.
//
// Threads: calls come from any thread. Whoever finds work and nobody at it does it: the thread that
// commits also writes, syncs and applies, so a single client pays for no hand-over; what arrives
// meanwhile is the next batch (group commit). Completions run on the thread that finished the work.
// Messages and ticks never wait for that thread: they are stepped, and what they have to say is sent, while it syncs.
// A follower's entries are written by the thread of the bus that brings them where that is quick; heartbeats come on another.
#pragma once

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "engine/log.h"
#include "engine/snapshot.h"
#include "modes/strategy.h"
#include "observability/trace.h"
#include "transport/message_bus.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace nornic::modes {

/// A write that is durable as its mode promises, and applied here.
struct Committed {
    LogIndex index;
    Term term;
};

struct ReplicaStats {
    std::uint64_t commits = 0;
    std::uint64_t batches = 0;  // commits / batches: how many share a sync
    std::uint64_t refused = 0;
    std::uint64_t log_bytes = 0;
    LogIndex first_index;
    LogIndex last_index;
    LogIndex applied_index;
    std::uint64_t sync_count = 0;
    std::uint64_t sync_ns_total = 0;
    std::uint64_t sync_ns_max = 0;
    std::uint64_t leader_changes = 0;     // that were remembered since the start
    std::uint64_t diverged_entries = 0;   // of lost branches, saved under diverged/
    std::uint64_t snapshots_sent = 0;
    std::uint64_t snapshots_installed = 0;
    std::uint64_t snapshot_bytes_sent = 0;
    std::uint64_t snapshot_bytes_received = 0;
    std::int64_t last_applied_wall_ns = 0;  // when the newest applied entry was proposed, by its hybrid time
    bool failed = false;
    bool disk_full = false;
};

constexpr std::size_t kLeaderChangesKept = 100;

struct SeenLeaderChange {
    std::int64_t wall_ns = 0;  // when this member saw it
    LeaderChange change;
};

class Replica {
public:
    using CommitDone = std::function<void(Result<Committed>)>;

    virtual ~Replica() = default;

    /// Replays the log into the engine as far as it is known to be committed, joins the other members. kCorruption,
    /// kIo: the member must not serve.
    virtual Result<> start() = 0;
    /// Hands leadership over if there is somebody to take it; waits for that until the deadline.
    virtual void leave(Deadline deadline) = 0;
    /// Refuses new writes with kStopping. Those that wait for peers are answered as unknown.
    virtual void stop() = 0;

    /// Each ends in exactly one of three ways: committed (and applied: the next snapshot sees it),
    /// not committed (any error but kUnknownCommit), or kUnknownCommit. Called on any thread,
    /// perhaps this one, perhaps one of the bus: it answers, and leaves what takes longer to others.
    /// What `done` holds lives until the outcome is settled here, which is later than its call where that says kUnknownCommit
    /// while this member goes on to lead: locks that hang on it keep others from what the entry may yet change.
    /// `began_in`: the term() at which the transaction began. If leadership was lost meanwhile, others may have
    /// written what its locks did not see, and it is refused with kConflict.
    /// `trace`: what it is part of; what the members do for it is shown there.
    virtual void commit(std::string write_set, std::optional<Term> began_in, const TraceContext& trace, CommitDone done) = 0;
    void commit(std::string write_set, std::optional<Term> began_in, CommitDone done) {
        commit(std::move(write_set), began_in, TraceContext{}, std::move(done));
    }
    /// Before a commit whose client waits for more than the mode promises. kDatabaseUnavailable: those who would have to hold it
    /// are not there; nothing was logged.
    virtual Result<> expect(ReadConsistency level) = 0;
    /// Done once so many members hold the log up to `index`, which is committed, as a write of this level waits for.
    /// kUnknownCommit at the deadline, and once this member takes no writes any more: who has it besides is not known then.
    virtual void await_acknowledged(ReadConsistency level, LogIndex index, Deadline deadline, std::function<void(Result<>)> done) = 0;
    /// The same, waiting here. `keep` lives as long as what `done` of commit() holds.
    Result<Committed> commit_and_wait(std::string write_set,
                                      std::optional<Term> began_in = std::nullopt,
                                      std::shared_ptr<void> keep = nullptr);
    /// The term in which this member may write; 0 while it may not. Cheap.
    [[nodiscard]] virtual Term term() const = 0;
    /// Up to here entries are known to be committed, whether they are applied here yet or not.
    [[nodiscard]] virtual LogIndex committed() const = 0;

    /// Done once the engine's applied index is at least what `level` asks; kBookmarkTimeout at the
    /// deadline.
    virtual void read_point(ReadConsistency level,
                            std::optional<LogIndex> bookmark,
                            Deadline deadline,
                            std::function<void(Result<LogIndex>)> done) = 0;
    /// Done once what the region of this history had at `index` of its own log is applied here, with the index from which a
    /// local read has it. kNotFound: no region of that history is known here; kBookmarkTimeout at the deadline.
    virtual void region_point(const std::string& history,
                              LogIndex index,
                              Deadline deadline,
                              std::function<void(Result<LogIndex>)> done) = 0;
    /// The term of the entry at `index`, if the log still knows it: for bookmarks of a lost branch.
    virtual std::optional<Term> term_at(LogIndex index) = 0;

    /// kTimedOut at the deadline: the command may still take effect.
    virtual void command(const Command& command, Deadline deadline, std::function<void(Result<std::string>)> done) = 0;
    Result<std::string> command_and_wait(const Command& command, Deadline deadline);

    [[nodiscard]] virtual ClusterView view() const = 0;
    /// Grows after another member is known here to lead than before. Cheap.
    [[nodiscard]] virtual std::uint64_t leader_version() const = 0;
    [[nodiscard]] virtual ReplicaStats stats() const = 0;
    /// The last changes of who leads since the start, a bounded number of them, the newest last.
    [[nodiscard]] virtual std::vector<SeenLeaderChange> leader_changes() const = 0;
    /// Since when a sync has been hanging, for the watchdog.
    [[nodiscard]] virtual std::optional<Deadline> writing_since() const = 0;
    /// Why nobody is served here, though the process runs: the state is known to be wrong. Cheap; nullopt: it is not.
    [[nodiscard]] virtual std::optional<Error> out_of_service() const = 0;
    /// What made this member stop taking writes for good (a failed sync, an entry that cannot be
    /// applied).
    [[nodiscard]] virtual std::optional<Error> failure() const = 0;

    /// One tick interval has passed. Only where ReplicaSettings::own_threads is false.
    virtual void tick() = 0;
};

struct ReplicaSettings {
    std::size_t write_set_bytes_max = (std::size_t{1} << 30) - (std::size_t{1} << 20);  // of a transaction; an entry of the log holds it
    Duration sync_warn_after = std::chrono::seconds{1};
    Duration tick_interval = std::chrono::milliseconds{10};
    /// How long entries that nobody waits for may gather before they are synced together.
    Duration gather = std::chrono::milliseconds{10};
    /// A commit whose entry neither came through nor was lost is reported as unknown after this.
    Duration unknown_after = std::chrono::seconds{30};
    /// Where entries of lost branches are kept readable; empty: nowhere (a witness, the simulator's own sink below).
    std::string diverged_directory;
    /// Takes what would be written there instead: file name and text. For tests and the simulator.
    std::function<void(const std::string& name, const std::string& text)> diverged_sink;
    /// Entries that a checkpoint made unnecessary are kept for peers up to so many bytes.
    std::uint64_t log_retention_bytes = std::uint64_t{1} << 30;
    /// Without data there are no checkpoints: the log of a witness is cut each time it has grown by so many bytes.
    std::uint64_t witness_log_step_bytes = std::uint64_t{64} << 20;
    std::size_t snapshot_chunk_bytes = std::size_t{256} << 10;
    std::size_t snapshot_window_chunks = 8;
    std::uint64_t snapshot_bytes_per_second = std::uint64_t{64} << 20;
    /// How long an interrupted transfer can be taken up again.
    Duration snapshot_keep = std::chrono::minutes{10};
    /// Runs completions elsewhere while this thread goes on with the next batch; empty: all run
    /// here.
    std::function<void(std::function<void()>)> post;
    /// Runs writes to the log, which block; empty: here.
    std::function<void(std::function<void()>)> run_disk;
    /// Runs reading and writing of snapshots, which is long; empty: on a thread of its own, or here without own_threads.
    std::function<void(std::function<void()>)> run_snapshot;
    /// false: no thread is started; tick() comes from outside. For the simulator.
    bool own_threads = true;
};

/// Makes the strategy once the log is open: StrategyStart holds all but what the mode itself adds.
using StrategyFactory = std::function<std::unique_ptr<Strategy>(const StrategyStart&)>;

struct ReplicaParts {
    StrategyStart start;  // self, addresses, cluster id, limits; the rest is filled from engine and log
    StrategyFactory make_strategy;
    engine::EngineHost* engine = nullptr;  // nullptr: a witness, which holds no data
    engine::Log* log = nullptr;
    transport::MessageBus* bus = nullptr;  // nullptr: no peers
    Clock* clock = nullptr;
    Tracer* tracer = nullptr;  // nullptr: nothing is traced
};

/// What `parts` points to must outlive it.
std::unique_ptr<Replica> make_replica(ReplicaParts parts, const ReplicaSettings& settings);

}  // namespace nornic::modes
