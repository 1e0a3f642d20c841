// The inside of the driver: one class in four files. replica.cc takes what comes in (writes, reads, messages, ticks,
// commands), replica_pump.cc carries Readies out, replica_snapshots.cc replaces the state,
// replica_digest.cc reads it for comparison.
#pragma once

#include "base/hybrid_clock.h"
#include "base/mutex.h"
#include "modes/entry_traces.h"
#include "modes/replica.h"
#include "observability/log_limiter.h"

#include <atomic>
#include <deque>
#include <map>
#include <thread>
#include <vector>

namespace nornic::modes {

class SnapshotReceiver;
class SnapshotSender;

/// The persisted part of a log, for a strategy. What a rewind gave up is not part of it, though the file may have
/// it until the next append.
class LogView final : public LogReader {
public:
    explicit LogView(engine::Log& log) : log_{log} {}
    [[nodiscard]] LogIndex first_index() const override { return log_.first_index(); }
    [[nodiscard]] LogIndex last_index() const override {
        return std::min(log_.last_index(), LogIndex{end_.load(std::memory_order_acquire)});
    }
    Result<Term> term_at(LogIndex index) override;
    Result<std::vector<Entry>> read(LogIndex from, LogIndex to, std::size_t bytes) override;

    void end_at(LogIndex last) { end_.store(last.value, std::memory_order_release); }
    void whole() { end_.store(UINT64_MAX, std::memory_order_release); }

private:
    engine::Log& log_;
    std::atomic<std::uint64_t> end_{UINT64_MAX};
};

class ReplicaImpl final : public Replica, private transport::MessageHandler {
public:
    ReplicaImpl(ReplicaParts parts, const ReplicaSettings& settings);
    ~ReplicaImpl() override;

    Result<> start() override;
    void leave(Deadline deadline) override;
    void stop() override;
    void commit(std::string write_set, std::optional<Term> began_in, const TraceContext& trace, CommitDone done) override;
    [[nodiscard]] Term term() const override { return Term{write_term_.load(std::memory_order_acquire)}; }
    void read_point(ReadConsistency level,
                    std::optional<LogIndex> bookmark,
                    Deadline deadline,
                    std::function<void(Result<LogIndex>)> done) override;
    void region_point(const std::string& history,
                      LogIndex index,
                      Deadline deadline,
                      std::function<void(Result<LogIndex>)> done) override;
    std::optional<Term> term_at(LogIndex index) override;
    Result<> expect(ReadConsistency level) override;
    void await_acknowledged(ReadConsistency level, LogIndex index, Deadline deadline, std::function<void(Result<>)> done) override;
    void command(const Command& command, Deadline deadline, std::function<void(Result<std::string>)> done) override;
    [[nodiscard]] LogIndex committed() const override;
    [[nodiscard]] ClusterView view() const override;
    [[nodiscard]] std::uint64_t leader_version() const override { return leader_version_.load(std::memory_order_acquire); }
    [[nodiscard]] ReplicaStats stats() const override;
    [[nodiscard]] std::vector<SeenLeaderChange> leader_changes() const override;
    [[nodiscard]] std::optional<Deadline> writing_since() const override { return log_.writing_since(); }
    [[nodiscard]] std::optional<Error> out_of_service() const override;
    [[nodiscard]] std::optional<Error> failure() const override;
    void tick() override;

private:
    struct Waiting {
        Term term;
        Deadline since;
        CommitDone done;
    };
    /// Answered as unknown by a member that may go on to lead: the entry may yet be applied.
    struct Unsettled {
        LogIndex index;
        Term term;
        std::shared_ptr<CommitDone> done;
    };
    struct Reader {
        LogIndex wanted;
        Deadline deadline;
        std::function<void(Result<LogIndex>)> done;
        std::string history;  // whose log `wanted` is of; empty: this one's
    };
    struct AskedRead {
        std::optional<LogIndex> bookmark;
        Deadline deadline;
        std::function<void(Result<LogIndex>)> done;
    };
    struct Acknowledging {
        ReadConsistency level;
        LogIndex index;
        Deadline deadline;
        std::function<void(Result<>)> done;
    };
    struct AskedCommand {
        Deadline deadline;
        std::function<void(Result<std::string>)> done;
    };
    struct Install {
        std::unique_ptr<engine::SnapshotImport> import;
        std::function<void(Result<>)> done;
    };
    /// A state that is being read for its digest, a slice a tick.
    struct Digesting {
        LogIndex index;  // of the comparison mark
        std::unique_ptr<engine::StateView> view;
    };
    struct Completion {
        std::function<void()> work;
        bool brief = false;  // by promise, as that of a commit is: it may run on a thread of the bus
    };
    using Completions = std::vector<Completion>;
    /// Where a thread that pumps stands: kCaller may block on the disk and run answers. kBus may not, but for a little to
    /// apply and one brief answer; kLogLane neither, but it may also write where it leads nobody and the disk is quick:
    /// nothing but entries waits for it.
    enum class Where : std::uint8_t { kCaller, kBus, kLogLane };

    // transport::MessageHandler
    void peer_up(const PeerInfo& peer) override;
    void peer_down(const NodeName& peer, transport::LostReason reason) override;
    void message(const NodeName& from, Lane lane, std::shared_ptr<const ClusterMessage> message, bool more) override;

    // replica.cc
    Result<> replay(LogIndex to);
    Result<> apply_entry(const Entry& entry);
    Result<> observe_log(LogIndex applied);
    [[nodiscard]] Result<> check_log() const;
    /// What the strategy was told just now may have given it something to say or to do.
    void after_input(Where where) REQUIRES(mutex_);
    void send_messages() REQUIRES(mutex_);
    /// Empties outbox_, unless another thread is at it. Without mutex_ while it does: sending is a system call, and whoever
    /// has the next message need not wait for it.
    void flush_outbox() REQUIRES(mutex_);
    /// What the strategy says of itself that is asked for without mutex_.
    void note_standing() REQUIRES(mutex_);
    /// Ends a gathering that somebody began to wait for.
    void stop_gathering() REQUIRES(mutex_);
    /// On the disk thread, with pumping_ held for it.
    void gather();
    /// Called before anything that the time decides: a thread may run before the one that counts ticks when the whole
    /// process was stopped for a while.
    void notice_pause() REQUIRES(mutex_);
    void settle(Completions& completions, const std::function<bool(const Unsettled&)>& which) REQUIRES(mutex_);
    void give_up_late_commits(Deadline now, bool last_call, Completions& completions) REQUIRES(mutex_);
    void watch_waiters(Completions& completions) REQUIRES(mutex_);
    void watch_loop();
    [[nodiscard]] bool halted() const REQUIRES(mutex_) { return stopping_ || failure_.has_value(); }
    [[nodiscard]] LogIndex applied_index() const;
    [[nodiscard]] std::uint64_t wall_ms() const;
    /// What the state holds of other regions' writes is seen, too.
    void observe_state() REQUIRES(mutex_);
    [[nodiscard]] engine::RegionData* regions() const { return engine_ == nullptr ? nullptr : engine_->regions(); }
    void await_applied(Reader reader) REQUIRES(mutex_);
    /// How far the log that a reader waits for is applied here.
    [[nodiscard]] LogIndex latest_for(const Reader& reader) const;

    // replica_pump.cc
    /// Carries out Readies until there is nothing to do or the disk thread goes on with it. Precondition: pumping_.
    /// answers_first: the caller sends what there is to say, if it is not sent here.
    void pump(Where where, bool answers_first = false) REQUIRES(mutex_);
    /// Runs what waits for the disk where this thread must not wait.
    void hand_over(std::function<void()> work) REQUIRES(mutex_);
    void answer_ready(Ready& ready, Completions& completions) REQUIRES(mutex_);
    void remember(LeaderChange change) REQUIRES(mutex_);
    /// Ready step 0.
    void reset_log(const Ready& ready, Completions& completions) REQUIRES(mutex_);
    /// Ready step 9.
    void carry_out_beside(Ready& ready) REQUIRES(mutex_);
    /// Ready step 1.
    void rewind(LogIndex keep, Completions& completions) REQUIRES(mutex_);
    [[nodiscard]] Result<bool> take_back(LogIndex keep, std::uint64_t& saved);
    [[nodiscard]] Result<> forget_branch(LogIndex keep);
    /// Ready step 2, the part that blocks. Without mutex_.
    Result<> write(const Ready& ready);
    void written(Ready& ready, const Result<>& outcome, Completions& completions) REQUIRES(mutex_);
    /// Ready step 4 and its answers.
    void apply(LogIndex committed, Completions& completions) REQUIRES(mutex_);
    /// The next entries to apply, from memory or from the log.
    Result<std::vector<Entry>> next_committed(LogIndex committed) REQUIRES(mutex_);
    /// At the end of a turn, whose last answers these are.
    void run(Completions& completions, Where where) REQUIRES(mutex_);
    /// Has others run them, if there are any: this thread goes on, or is none of those that may.
    void pass_on(Completions& completions) REQUIRES(mutex_);
    /// Whether a thread that stands there may take these to the disk itself.
    [[nodiscard]] bool may_write(Where where, const Ready& ready) const REQUIRES(mutex_);
    [[nodiscard]] bool may_apply(Where where, LogIndex committed) const REQUIRES(mutex_);
    void carry_out_elsewhere(Ready ready) REQUIRES(mutex_);
    void pump_elsewhere() REQUIRES(mutex_);
    void persist(Ready& ready, Completions& completions) REQUIRES(mutex_);
    /// What was committed before may be applied behind the write: nobody here waits for it, and the leader waits for the write.
    [[nodiscard]] bool may_apply_late() const REQUIRES(mutex_) { return strategy_->write_term().value == 0 && readers_.empty(); }
    void fail_for_good(const Error& error, Completions& completions) REQUIRES(mutex_);
    void release_readers(Completions& completions) REQUIRES(mutex_);
    void release_acknowledged(Completions& completions) REQUIRES(mutex_);
    /// The first entry that is kept, where the log can be shortened now.
    std::optional<LogIndex> next_cut() REQUIRES(mutex_);
    std::optional<LogIndex> next_cut_without_state() REQUIRES(mutex_);
    void cut_log(LogIndex first_kept) REQUIRES(mutex_);
    /// What is done with writes whose entries went with the log that was replaced.
    /// Ends as unknown all that waits for the outcome of an entry.
    void give_up_waiting(const std::string& why, Completions& completions) REQUIRES(mutex_);
    void disk_loop();
    void run_on_disk_thread(std::function<void()> work);

    // replica_snapshots.cc
    void make_transfers();
    void begin_snapshots(const std::vector<NodeName>& peers) REQUIRES(mutex_);
    void install_pending(Completions& completions) REQUIRES(mutex_);
    void snapshot_work(std::function<void()> work);
    void snapshot_loop();

    // replica_digest.cc
    /// Takes the place of one that has not ended.
    void begin_digest(LogIndex index, Result<std::unique_ptr<engine::StateView>> view) REQUIRES(mutex_);
    void continue_digest();
    void read_slice(const std::shared_ptr<Digesting>& digesting);

    const ReplicaParts parts_;
    const ReplicaSettings settings_;
    engine::EngineHost* const engine_;  // nullptr: a witness
    engine::Log& log_;
    transport::MessageBus* const bus_;  // nullptr: no peers
    Clock& clock_;
    LogView log_view_;
    std::unique_ptr<Strategy> strategy_;  // Called with mutex_ held.
    std::unique_ptr<SnapshotSender> sender_;
    std::unique_ptr<SnapshotReceiver> receiver_;
    LogLimiter said_;  // events that repeat themselves
    std::unique_ptr<EntryTraces> traces_;  // nullptr: nothing is traced. Called with mutex_ held.

    mutable Mutex mutex_;
    ConditionVariable changed_;
    bool pumping_ GUARDED_BY(mutex_) = false;  // Exactly one thread at a time carries out Readies.
    bool came_meanwhile_ GUARDED_BY(mutex_) = false;  // input that found another thread pumping
    std::vector<Outbound> outbox_ GUARDED_BY(mutex_);  // to be sent, in this order
    std::atomic<bool> sending_{false};  // a thread empties outbox_; changed with mutex_ held
    bool gathering_ GUARDED_BY(mutex_) = false;  // the disk thread has the pump and lets entries come together
    ConditionVariable gathered_;
    bool stopping_ GUARDED_BY(mutex_) = false;
    bool leaving_ GUARDED_BY(mutex_) = false;
    std::optional<Deadline> leave_by_ GUARDED_BY(mutex_);  // what has no outcome then is answered as unknown
    bool stalled_ GUARDED_BY(mutex_) = false;  // the strategy was told of a hanging sync
    std::optional<Error> failure_ GUARDED_BY(mutex_);
    std::uint64_t next_id_ GUARDED_BY(mutex_) = 1;
    HybridClock hybrid_clock_ GUARDED_BY(mutex_);  // saw all entries that are on disk here, or applied
    std::map<ProposalId, CommitDone> proposed_ GUARDED_BY(mutex_);  // offered, not yet in a Ready
    std::map<LogIndex, Waiting> waiting_ GUARDED_BY(mutex_);        // in the log, not yet applied
    std::vector<Unsettled> unsettled_ GUARDED_BY(mutex_);
    std::deque<Entry> unapplied_ GUARDED_BY(mutex_);  // persisted, in index order; older ones are in the log
    std::vector<Reader> readers_ GUARDED_BY(mutex_);
    std::map<ReadId, AskedRead> asked_reads_ GUARDED_BY(mutex_);
    std::vector<Acknowledging> acknowledging_ GUARDED_BY(mutex_);  // committed; others are to hold it, too
    std::map<std::uint64_t, AskedCommand> commands_ GUARDED_BY(mutex_);
    std::optional<Install> install_ GUARDED_BY(mutex_);
    std::pair<NodeName, Term> snapshot_source_ GUARDED_BY(mutex_);  // whose snapshot is being received
    ReplicaStats stats_ GUARDED_BY(mutex_);
    std::deque<SeenLeaderChange> leader_changes_ GUARDED_BY(mutex_);
    std::atomic<std::uint64_t> leader_version_{0};  // written under mutex_
    std::shared_ptr<Digesting> digesting_ GUARDED_BY(mutex_);
    bool slice_runs_ GUARDED_BY(mutex_) = false;
    std::atomic<std::uint64_t> write_term_{0};
    std::atomic<bool> serves_{true};
    std::atomic<std::uint64_t> cut_before_{0};  // a checkpoint covers the entries before this
    std::atomic<bool> checkpoint_asked_{false};  // and not begun yet
    std::uint64_t cut_at_bytes_ GUARDED_BY(mutex_) = 0;  // without data: size of the log at which it is cut next

    Deadline next_tick_ GUARDED_BY(mutex_){};
    Deadline led_at_ GUARDED_BY(mutex_){};  // when this member was last seen to take writes
    std::uint64_t last_sync_ns_ = 0;  // the pumping thread's alone, as the next
    std::uint64_t last_apply_ns_ = 0;

    std::thread watcher_;

    Mutex disk_mutex_;
    ConditionVariable disk_wake_;
    std::deque<std::function<void()>> disk_work_ GUARDED_BY(disk_mutex_);
    bool disk_stopping_ GUARDED_BY(disk_mutex_) = false;
    std::thread disk_thread_;
    std::thread snapshot_thread_;  // started by the first transfer
    std::deque<std::function<void()>> snapshot_work_ GUARDED_BY(disk_mutex_);
    ConditionVariable snapshot_wake_;
};

}  // namespace nornic::modes
