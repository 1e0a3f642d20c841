// The side that wants the state. Messages are taken at once and worked on in order where `run` puts it; nothing is
// acknowledged that was not verified and handed to the store.
#include "modes/snapshot_transfer.h"
#include "observability/log.h"

#include <deque>
#include <map>
#include <utility>

namespace nornic::modes {
namespace {

using transport::ClusterMessage;
using transport::LANE_BULK;
using transport::SnapshotResponse;

/// Received and not yet worked on. Our own sender stays far below it.
constexpr std::size_t kWaitingBytesMax = std::size_t{64} << 20;
constexpr std::size_t kWaitingChunksMax = 4096;
/// Longer than any sender keeps what it was sending.
constexpr Duration kAbandonedAfter = std::chrono::minutes{30};

enum class Phase : std::uint8_t {
    kNone,
    kOpening,     // the import is being opened; SnapshotBegin is not answered yet
    kReceiving,
    kDamaged,     // until it begins again
    kInstalling,
};

struct Current {
    Phase phase = Phase::kNone;
    NodeName from;
    Term epoch;
    engine::SnapshotInfo info;
    std::uint64_t generation = 0;  // of the SnapshotBegin; jobs of another one do nothing
    std::uint64_t expected = 1;    // sequence of the next chunk
    /// What overtook it. The bus keeps the order, so there is something only where messages were lost.
    std::map<std::uint64_t, std::shared_ptr<engine::SnapshotChunk>> ahead;
};

}  // namespace

struct SnapshotReceiver::Impl : std::enable_shared_from_this<SnapshotReceiver::Impl> {
    using Job = std::function<void()>;

    Impl(engine::EngineHost& engine_in,
         transport::MessageBus& bus_in,
         Clock& clock_in,
         Run run_in,
         Accepts accepts_in,
         Install install_in)
        : engine{engine_in},
          bus{bus_in},
          clock{clock_in},
          run{std::move(run_in)},
          accepts{std::move(accepts_in)},
          install{std::move(install_in)},
          heard{clock_in.now()} {}

    // ---- Answers

    static std::shared_ptr<ClusterMessage> response(Term epoch,
                                                    const std::string& id,
                                                    SnapshotResponse::Outcome outcome,
                                                    std::uint64_t sequence,
                                                    std::string_view reason) {
        auto message = std::make_shared<ClusterMessage>();
        auto& m = *message->mutable_snapshot_response();
        m.set_epoch(epoch.value);
        m.set_snapshot_id(id);
        m.set_outcome(outcome);
        m.set_sequence(sequence);
        m.set_reason(std::string{reason});
        return message;
    }
    void answer(SnapshotResponse::Outcome outcome, std::uint64_t sequence, std::string_view reason = {})
        REQUIRES(mutex) {
        bus.send(current.from, LANE_BULK, response(current.epoch, current.info.id, outcome, sequence, reason));
    }
    void answer_begin(const engine::SnapshotPosition& position) REQUIRES(mutex) {
        auto message = response(current.epoch, current.info.id, SnapshotResponse::GO_ON, 0, {});
        auto& m = *message->mutable_snapshot_response();
        m.set_resume_key(position.last_key);
        m.set_pair_count(position.pair_count);
        m.set_digest(position.digest);
        bus.send(current.from, LANE_BULK, std::move(message));
    }

    // ---- Jobs: one after another, in the order in which their messages came

    void enqueue(Job job) REQUIRES(mutex) { jobs.push_back(std::move(job)); }
    /// Has the jobs worked on, unless somebody does already. Without the lock: `run` may do it here.
    void settle() EXCLUDES(mutex) {
        {
            const MutexLock lock{mutex};
            if (working || jobs.empty() || stopped) {
                return;
            }
            working = true;
        }
        run([self = shared_from_this()] { self->work(); });
    }
    void work() EXCLUDES(mutex) {
        MutexLock lock{mutex};
        while (!jobs.empty() && !stopped) {
            const Job job = std::move(jobs.front());
            jobs.pop_front();
            running = true;
            lock.unlock();
            job();
            lock.lock();
            running = false;
            idle.notify_all();
        }
        working = false;
    }
    void reset() REQUIRES(mutex) {
        for (const auto& [sequence, chunk] : current.ahead) {
            waiting_bytes -= chunk->pairs.size();
        }
        current = Current{};
    }
    [[nodiscard]] bool still(std::uint64_t generation) const REQUIRES(mutex) {
        return !stopped && current.generation == generation;
    }

    void begin(std::uint64_t generation) EXCLUDES(mutex) {
        engine::SnapshotInfo info;
        {
            const MutexLock lock{mutex};
            if (!still(generation)) {
                return;
            }
            info = current.info;
        }
        if (import && import->info().id == info.id) {
            import->drop_partial();
        } else {
            import.reset();
            auto begun = engine.begin_import(info);
            if (!begun) {
                refuse(generation, begun.error());
                return;
            }
            import = std::move(begun).value();
        }
        if (import->complete()) {
            put_in_place(generation, 0);  // it was interrupted just before that
            return;
        }
        const MutexLock lock{mutex};
        if (still(generation)) {
            current.phase = Phase::kReceiving;
            answer_begin(import->position());
        }
    }

    void add(std::uint64_t generation, std::uint64_t sequence, const engine::SnapshotChunk& chunk) EXCLUDES(mutex) {
        {
            const MutexLock lock{mutex};
            waiting_bytes -= chunk.pairs.size();
            if (!still(generation) || current.phase != Phase::kReceiving) {
                return;
            }
        }
        if (const Result<> added = import->add(chunk); !added) {
            if (added.error().code() == ErrorCode::kCorruption) {
                const MutexLock lock{mutex};
                if (still(generation)) {
                    damaged(sequence, added.error().message());
                }
            } else {
                refuse(generation, added.error());
            }
            return;
        }
        if (import->complete()) {
            put_in_place(generation, sequence);
            return;
        }
        const MutexLock lock{mutex};
        if (still(generation)) {
            answer(SnapshotResponse::GO_ON, sequence);
        }
    }

    void damaged(std::uint64_t sequence, std::string_view reason) REQUIRES(mutex) {
        current.phase = Phase::kDamaged;
        answer(SnapshotResponse::DAMAGED, sequence, reason);
    }

    /// Ends it. What the disk had no room for, what is no state and what is not wanted any more gives its room back.
    void refuse(std::uint64_t generation, const Error& error) EXCLUDES(mutex) {
        log::warn("A snapshot from another member cannot be taken: {}", error.message());
        import.reset();
        if (error.code() == ErrorCode::kDiskFull || error.code() == ErrorCode::kCorruption ||
            error.code() == ErrorCode::kInvalidArgument) {
            if (const Result<> discarded = engine.discard_import(); !discarded) {
                log::warn("What had arrived of it cannot be removed: {}", discarded.error().message());
            }
        }
        const MutexLock lock{mutex};
        if (still(generation)) {
            answer(SnapshotResponse::REFUSED, 0, error.message());
            reset();
        }
    }

    void discard_abandoned() EXCLUDES(mutex) {
        {
            const MutexLock lock{mutex};
            if (stopped || current.phase == Phase::kOpening || current.phase == Phase::kInstalling ||
                (heard && clock.now() - *heard <= kAbandonedAfter)) {
                return;
            }
            reset();
        }
        import.reset();
        if (const Result<> discarded = engine.discard_import(); !discarded) {
            log::warn("What arrived of a snapshot and was given up cannot be removed: {}", discarded.error().message());
        }
    }

    void put_in_place(std::uint64_t generation, std::uint64_t sequence) EXCLUDES(mutex) {
        engine::SnapshotInfo info;
        NodeName from;
        Term epoch;
        {
            const MutexLock lock{mutex};
            if (!still(generation)) {
                return;
            }
            info = current.info;
            from = current.from;
            epoch = current.epoch;
            current.phase = Phase::kInstalling;
            if (sequence > 0) {
                answer(SnapshotResponse::GO_ON, sequence);
            }
        }
        // Much may have happened since it began: this member may lead by now.
        std::string reason;
        if (!accepts(from, epoch, info.index, info.history, reason)) {
            refuse(generation, Error{ErrorCode::kInvalidArgument, reason});
            return;
        }
        install(std::move(import), info, [self = shared_from_this(), generation, sequence](const Result<>& done) {
            self->installed(generation, sequence, done);
        });
    }

    void installed(std::uint64_t generation, std::uint64_t sequence, const Result<>& done) EXCLUDES(mutex) {
        {
            const MutexLock lock{mutex};
            if (!still(generation)) {
                return;
            }
            if (done) {
                answer(SnapshotResponse::INSTALLED, sequence);
                last_installed = current.info.id;
                reset();
                return;
            }
            enqueue([self = shared_from_this(), generation, error = done.error()] { self->refuse(generation, error); });
        }
        settle();
    }

    engine::EngineHost& engine;
    transport::MessageBus& bus;
    Clock& clock;
    const Run run;
    const Accepts accepts;
    const Install install;

    std::unique_ptr<engine::SnapshotImport> import;  // the jobs' own

    mutable Mutex mutex;
    ConditionVariable idle;
    Current current GUARDED_BY(mutex);
    std::optional<Deadline> heard GUARDED_BY(mutex);  // nullopt: nothing is left of what arrived
    std::string last_installed GUARDED_BY(mutex);  // its id
    std::uint64_t generations GUARDED_BY(mutex) = 0;
    std::deque<Job> jobs GUARDED_BY(mutex);
    std::size_t waiting_bytes GUARDED_BY(mutex) = 0;
    bool working GUARDED_BY(mutex) = false;  // somebody was given the jobs
    bool running GUARDED_BY(mutex) = false;  // one of them runs now
    bool stopped GUARDED_BY(mutex) = false;
    std::uint64_t bytes GUARDED_BY(mutex) = 0;
};

SnapshotReceiver::SnapshotReceiver(engine::EngineHost& engine,
                                   transport::MessageBus& bus,
                                   Clock& clock,
                                   Run run,
                                   Accepts accepts,
                                   Install install)
    : impl_{std::make_shared<Impl>(engine, bus, clock, std::move(run), std::move(accepts), std::move(install))} {}

SnapshotReceiver::~SnapshotReceiver() {
    stop();
}

void SnapshotReceiver::step(const NodeName& from, const transport::SnapshotBegin& m) {
    Impl& r = *impl_;
    const Term epoch{m.epoch()};
    std::string reason;
    bool accepted = r.accepts(from, epoch, LogIndex{m.index()}, m.history(), reason);
    {
        const MutexLock lock{r.mutex};
        Current& c = r.current;
        const bool same = c.phase != Phase::kNone && c.from == from && c.epoch == epoch && c.info.id == m.snapshot_id();
        if (r.stopped || (same && (c.phase == Phase::kOpening || c.phase == Phase::kInstalling))) {
            return;  // said again by a sender that waits for the answer
        }
        if (r.last_installed == m.snapshot_id()) {
            r.bus.send(from, LANE_BULK, Impl::response(epoch, m.snapshot_id(), SnapshotResponse::INSTALLED, 0, {}));
            return;
        }
        if (accepted && c.phase == Phase::kInstalling) {
            accepted = false;
            reason = "another snapshot is being put in place";
        }
        if (accepted && c.phase != Phase::kNone && epoch < c.epoch) {
            accepted = false;
            reason = "a snapshot of a newer epoch is being received";
        }
        if (!accepted) {
            r.bus.send(
                from, LANE_BULK, Impl::response(epoch, m.snapshot_id(), SnapshotResponse::REFUSED, 0, reason));
            return;
        }
        r.reset();
        r.heard = r.clock.now();
        c.phase = Phase::kOpening;
        c.from = from;
        c.epoch = epoch;
        c.info = {m.snapshot_id(), LogIndex{m.index()}, Term{m.index_epoch()}, m.history(), m.bytes_estimate()};
        c.generation = ++r.generations;
        r.enqueue([self = r.shared_from_this(), generation = c.generation] { self->begin(generation); });
    }
    r.settle();
}

void SnapshotReceiver::step(const NodeName& from, const transport::SnapshotChunk& m) {
    Impl& r = *impl_;
    {
        const MutexLock lock{r.mutex};
        Current& c = r.current;
        if (r.stopped || c.phase != Phase::kReceiving || c.from != from || c.info.id != m.snapshot_id() ||
            c.epoch != Term{m.epoch()} || m.sequence() < c.expected) {
            return;
        }
        if (c.ahead.contains(m.sequence())) {
            return;
        }
        if (r.waiting_bytes + m.pairs().size() > kWaitingBytesMax ||
            r.jobs.size() + c.ahead.size() >= kWaitingChunksMax) {
            r.damaged(c.expected, "more arrived than is kept for later");
            return;
        }
        r.heard = r.clock.now();
        r.bytes += m.pairs().size();
        r.waiting_bytes += m.pairs().size();
        auto chunk = std::make_shared<engine::SnapshotChunk>();
        chunk->pairs = m.pairs();
        chunk->crc32c = m.crc32c();
        chunk->last = m.last();
        chunk->pair_count = m.pair_count();
        chunk->digest = m.digest();
        c.ahead.emplace(m.sequence(), std::move(chunk));
        for (auto next = c.ahead.begin(); next != c.ahead.end() && next->first == c.expected;
             next = c.ahead.erase(next), ++c.expected) {
            r.enqueue([self = r.shared_from_this(),
                       generation = c.generation,
                       sequence = c.expected,
                       chunk = std::move(next->second)] { self->add(generation, sequence, *chunk); });
        }
    }
    r.settle();
}

void SnapshotReceiver::tick() {
    Impl& r = *impl_;
    {
        const MutexLock lock{r.mutex};
        if (r.stopped || !r.heard || r.clock.now() - *r.heard <= kAbandonedAfter) {
            return;
        }
        r.enqueue([self = r.shared_from_this()] { self->discard_abandoned(); });
        r.heard.reset();
    }
    r.settle();
}

std::uint64_t SnapshotReceiver::bytes_received() const {
    const MutexLock lock{impl_->mutex};
    return impl_->bytes;
}

void SnapshotReceiver::stop() {
    MutexLock lock{impl_->mutex};
    impl_->stopped = true;
    impl_->jobs.clear();
    impl_->reset();
    while (impl_->running) {
        impl_->idle.wait(lock);
    }
    lock.unlock();
    impl_->import.reset();
}

}  // namespace nornic::modes
