#include "modes/snapshot_transfer.h"

#include "base/check.h"
#include "observability/log.h"

#include <fmt/format.h>

#include <deque>
#include <map>
#include <utility>
#include <vector>

namespace nornic::modes {
namespace {

using transport::ClusterMessage;
using transport::LANE_BULK;
using transport::SnapshotResponse;

constexpr Duration kOfferAgainAfter = std::chrono::seconds{1};
constexpr Duration kSilentAfter = std::chrono::seconds{10};
constexpr std::size_t kTransfersMax = 2;
constexpr std::size_t kBurstChunks = 4;          // that the rate limit lets through at once
constexpr std::size_t kWaitingChunksMax = 64;    // received and not yet written
constexpr std::size_t kChunkBytesMax = std::size_t{32} << 20;

std::string megabytes(std::uint64_t bytes) {
    return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

}  // namespace

// ---- Sender ----

struct SnapshotSender::Impl : std::enable_shared_from_this<SnapshotSender::Impl> {
    enum class State : std::uint8_t {
        kWaiting,      // for one of the other transfers to end
        kOpening,      // the export is being made
        kOffered,      // SnapshotBegin was sent
        kSending,
        kSentAll,
        kInterrupted,  // can be taken up again for a while
    };
    struct Transfer {
        State state = State::kWaiting;
        Term epoch;
        std::unique_ptr<engine::SnapshotExport> source;  // nullptr while a job works with it
        engine::SnapshotInfo info;
        bool working = false;
        std::uint64_t next_sequence = 1;
        std::uint64_t acknowledged = 0;
        std::optional<engine::SnapshotPosition> seek;
        Deadline active{};
        Deadline offered{};
        std::uint64_t bytes = 0;
        Deadline began{};
    };
    using Ended = std::vector<std::pair<NodeName, std::optional<LogIndex>>>;

    Impl(engine::EngineHost& engine_in,
         transport::MessageBus& bus_in,
         Clock& clock_in,
         const SnapshotTransferSettings& settings_in,
         Run run_in,
         Done done_in)
        : engine{engine_in},
          bus{bus_in},
          clock{clock_in},
          settings{settings_in},
          run{std::move(run_in)},
          done{std::move(done_in)} {
        tokens = burst();
        refilled = clock.now();
    }

    [[nodiscard]] std::int64_t burst() const {
        return static_cast<std::int64_t>(settings.chunk_bytes * kBurstChunks);
    }

    void report(const Ended& ended) EXCLUDES(mutex) {
        for (const auto& [to, index] : ended) {
            done(to, index);
        }
    }

    [[nodiscard]] std::size_t alive() const REQUIRES(mutex) {
        std::size_t n = 0;
        for (const auto& [to, t] : transfers) {
            n += t.state != State::kWaiting && t.state != State::kInterrupted ? 1 : 0;
        }
        return n;
    }

    void open(const NodeName& to, Transfer& t) REQUIRES(mutex) {
        t.state = State::kOpening;
        t.working = true;
        run([self = shared_from_this(), to] {
            auto source = self->engine.begin_export();
            Ended ended;
            {
                const MutexLock lock{self->mutex};
                const auto at = self->transfers.find(to);
                if (at == self->transfers.end() || self->stopped) {
                    return;
                }
                at->second.working = false;
                if (!source) {
                    log::warn("A snapshot for '{}' could not be made: {}", to, source.error().message());
                    self->transfers.erase(at);
                    ended.emplace_back(to, std::nullopt);
                } else {
                    at->second.source = std::move(source).value();
                    at->second.info = at->second.source->info();
                    at->second.began = self->clock.now();
                    if (at->second.state == State::kOpening) {
                        self->offer(to, at->second);
                    }
                }
            }
            self->report(ended);
        });
    }

    void offer(const NodeName& to, Transfer& t) REQUIRES(mutex) {
        t.state = State::kOffered;
        t.offered = clock.now();
        t.next_sequence = 1;
        t.acknowledged = 0;
        ClusterMessage message;
        auto& m = *message.mutable_snapshot_begin();
        m.set_epoch(t.epoch.value);
        m.set_snapshot_id(t.info.id);
        m.set_index(t.info.index.value);
        m.set_index_epoch(t.info.term.value);
        m.set_history(t.info.history);
        m.set_bytes_estimate(t.info.bytes_estimate);
        bus.send(to, LANE_BULK, std::make_shared<const ClusterMessage>(std::move(message)));
    }

    [[nodiscard]] bool may_send(const NodeName& to, const Transfer& t) const REQUIRES(mutex) {
        return t.state == State::kSending && t.next_sequence - 1 - t.acknowledged < settings.window_chunks &&
               tokens > 0 && bus.queued_bytes(to, LANE_BULK) < settings.window_chunks * settings.chunk_bytes;
    }

    /// Reads and sends as much as window, rate and queue let through, on the thread that `run` gives.
    void pump(const NodeName& to, Transfer& t) REQUIRES(mutex) {
        if (t.working || stopped || !t.source || !may_send(to, t)) {
            return;
        }
        t.working = true;
        auto source = std::make_shared<std::unique_ptr<engine::SnapshotExport>>(std::move(t.source));
        run([self = shared_from_this(), to, source] { self->work(to, std::move(*source)); });
    }

    void work(const NodeName& to, std::unique_ptr<engine::SnapshotExport> source) EXCLUDES(mutex) {
        Ended ended;
        {
            MutexLock lock{mutex};
            for (;;) {
                auto at = transfers.find(to);
                if (at == transfers.end() || stopped) {
                    return;
                }
                if (!may_send(to, at->second)) {
                    break;
                }
                const auto seek = std::exchange(at->second.seek, std::nullopt);
                lock.unlock();
                Result<> ready = seek ? source->seek(*seek) : Result<>{success()};
                auto chunk = ready ? source->next(settings.chunk_bytes)
                                   : Result<engine::SnapshotChunk>{ready.error()};
                lock.lock();
                at = transfers.find(to);
                if (at == transfers.end() || stopped) {
                    return;
                }
                Transfer& t = at->second;
                if (t.seek || t.state != State::kSending) {
                    continue;  // it was begun anew meanwhile
                }
                if (!chunk) {
                    log::warn("The snapshot for '{}' could not be read on: {}", to, chunk.error().message());
                    transfers.erase(at);
                    ended.emplace_back(to, std::nullopt);
                    break;
                }
                if (!send_chunk(to, t, std::move(chunk).value())) {
                    interrupt(to, t, ended);
                    break;
                }
            }
            if (const auto at = transfers.find(to); at != transfers.end()) {
                at->second.working = false;
                at->second.source = std::move(source);
            }
        }
        report(ended);
    }

    bool send_chunk(const NodeName& to, Transfer& t, engine::SnapshotChunk chunk) REQUIRES(mutex) {
        const std::size_t size = chunk.pairs.size();
        ClusterMessage message;
        auto& m = *message.mutable_snapshot_chunk();
        m.set_epoch(t.epoch.value);
        m.set_snapshot_id(t.info.id);
        m.set_sequence(t.next_sequence++);
        m.set_pairs(std::move(chunk.pairs));
        m.set_crc32c(chunk.crc32c);
        m.set_last(chunk.last);
        m.set_pair_count(chunk.pair_count);
        m.set_digest(chunk.digest);
        if (!bus.send(to, LANE_BULK, std::make_shared<const ClusterMessage>(std::move(message)))) {
            return false;
        }
        tokens -= static_cast<std::int64_t>(size);
        bytes += size;
        t.bytes += size;
        if (chunk.last) {
            t.state = State::kSentAll;
        }
        return true;
    }

    void interrupt(const NodeName& to, Transfer& t, Ended& ended) REQUIRES(mutex) {
        if (t.state == State::kInterrupted) {
            return;
        }
        t.state = State::kInterrupted;
        t.active = clock.now();
        ended.emplace_back(to, std::nullopt);
    }

    void start_waiting() REQUIRES(mutex) {
        for (auto& [to, t] : transfers) {
            if (t.state == State::kWaiting && alive() < kTransfersMax) {
                open(to, t);
            }
        }
    }

    engine::EngineHost& engine;
    transport::MessageBus& bus;
    Clock& clock;
    const SnapshotTransferSettings settings;
    const Run run;
    const Done done;

    mutable Mutex mutex;
    std::map<NodeName, Transfer> transfers GUARDED_BY(mutex);
    std::int64_t tokens GUARDED_BY(mutex) = 0;  // bytes that may be sent now; below 0 after a large chunk
    Deadline refilled GUARDED_BY(mutex){};
    std::uint64_t bytes GUARDED_BY(mutex) = 0;
    bool stopped GUARDED_BY(mutex) = false;
};

SnapshotSender::SnapshotSender(engine::EngineHost& engine,
                               transport::MessageBus& bus,
                               Clock& clock,
                               const SnapshotTransferSettings& settings,
                               Run run,
                               Done done)
    : impl_{std::make_shared<Impl>(engine, bus, clock, settings, std::move(run), std::move(done))} {}

SnapshotSender::~SnapshotSender() {
    stop();
}

void SnapshotSender::send(const NodeName& to, Term epoch) {
    Impl& s = *impl_;
    const MutexLock lock{s.mutex};
    if (s.stopped) {
        return;
    }
    Impl::Transfer& t = s.transfers[to];
    t.epoch = epoch;
    t.active = s.clock.now();
    if (t.state == Impl::State::kInterrupted && !t.info.id.empty()) {
        s.offer(to, t);  // the same state goes on where it was cut
    } else if (t.state == Impl::State::kInterrupted) {
        t.state = t.working ? Impl::State::kOpening : Impl::State::kWaiting;
    }
    s.start_waiting();
}

void SnapshotSender::step(const NodeName& from, const SnapshotResponse& m) {
    Impl& s = *impl_;
    Impl::Ended ended;
    {
        const MutexLock lock{s.mutex};
        const auto at = s.transfers.find(from);
        if (at == s.transfers.end() || s.stopped || m.snapshot_id() != at->second.info.id ||
            Term{m.epoch()} != at->second.epoch || at->second.state == Impl::State::kInterrupted) {
            return;
        }
        Impl::Transfer& t = at->second;
        t.active = s.clock.now();
        switch (m.outcome()) {
            case SnapshotResponse::GO_ON:
                if (t.state == Impl::State::kOffered && m.sequence() == 0) {
                    t.seek = engine::SnapshotPosition{m.resume_key(), m.pair_count(), m.digest()};
                    t.state = Impl::State::kSending;
                    if (!m.resume_key().empty()) {
                        log::info("The snapshot for '{}' goes on where it was cut, behind {} pairs.",
                                  from,
                                  m.pair_count());
                    }
                } else if (t.state != Impl::State::kOffered) {
                    t.acknowledged = std::max(t.acknowledged, std::min(m.sequence(), t.next_sequence - 1));
                }
                s.pump(from, t);
                break;
            case SnapshotResponse::INSTALLED:
                log::info("'{}' installed a snapshot of {} as of log index {}; it took {} ms.",
                          from,
                          megabytes(t.bytes),
                          t.info.index.value,
                          std::chrono::duration_cast<std::chrono::milliseconds>(s.clock.now() - t.began).count());
                ended.emplace_back(from, t.info.index);
                s.transfers.erase(at);
                break;
            case SnapshotResponse::DAMAGED:
                log::warn("'{}' found damage in a snapshot chunk ({}); it is sent again from the last good one.",
                          from,
                          m.reason());
                s.offer(from, t);
                break;
            default:
                log::warn("'{}' refused a snapshot: {}", from, m.reason());
                ended.emplace_back(from, std::nullopt);
                s.transfers.erase(at);
                break;
        }
        s.start_waiting();
    }
    s.report(ended);
}

void SnapshotSender::peer_down(const NodeName& peer) {
    Impl& s = *impl_;
    Impl::Ended ended;
    {
        const MutexLock lock{s.mutex};
        if (const auto at = s.transfers.find(peer); at != s.transfers.end() && !s.stopped) {
            s.interrupt(peer, at->second, ended);
        }
        s.start_waiting();
    }
    s.report(ended);
}

void SnapshotSender::tick() {
    Impl& s = *impl_;
    Impl::Ended ended;
    {
        const MutexLock lock{s.mutex};
        if (s.stopped || s.transfers.empty()) {
            s.refilled = s.clock.now();
            return;
        }
        const Deadline now = s.clock.now();
        const double seconds = std::chrono::duration<double>(now - s.refilled).count();
        const auto fresh = static_cast<std::int64_t>(seconds * static_cast<double>(s.settings.bytes_per_second));
        if (fresh > 0) {
            s.tokens = std::min(s.burst(), s.tokens + fresh);
            s.refilled = now;
        }
        for (auto at = s.transfers.begin(); at != s.transfers.end();) {
            auto& [to, t] = *at;
            if (t.state == Impl::State::kInterrupted && !t.working && now - t.active > s.settings.keep) {
                at = s.transfers.erase(at);
                continue;
            }
            if (t.state == Impl::State::kOffered && now - t.offered > kOfferAgainAfter) {
                s.offer(to, t);
            }
            const bool waits = t.state == Impl::State::kOffered || t.state == Impl::State::kSending ||
                               t.state == Impl::State::kSentAll;
            if (waits && now - t.active > kSilentAfter) {
                s.interrupt(to, t, ended);
            }
            s.pump(to, t);
            ++at;
        }
        s.start_waiting();
    }
    s.report(ended);
}

std::optional<LogIndex> SnapshotSender::pinned() const {
    const MutexLock lock{impl_->mutex};
    std::optional<LogIndex> oldest;
    for (const auto& [to, t] : impl_->transfers) {
        if (!t.info.id.empty()) {
            const LogIndex behind{t.info.index.value + 1};
            oldest = oldest ? std::min(*oldest, behind) : behind;
        }
    }
    return oldest;
}

std::uint64_t SnapshotSender::bytes_sent() const {
    const MutexLock lock{impl_->mutex};
    return impl_->bytes;
}

void SnapshotSender::stop() {
    const MutexLock lock{impl_->mutex};
    impl_->stopped = true;
    impl_->transfers.clear();
}

// ---- Receiver ----

struct SnapshotReceiver::Impl : std::enable_shared_from_this<SnapshotReceiver::Impl> {
    struct Current {
        NodeName from;
        Term epoch;
        engine::SnapshotInfo info;
        std::unique_ptr<engine::SnapshotImport> import;  // nullptr: being opened, or a job works with it
        std::uint64_t expected = 0;  // sequence of the next chunk; 0: Begin is not answered yet
        std::uint64_t generation = 0;
        bool installing = false;
    };
    using Job = std::function<void()>;

    Impl(engine::EngineHost& engine_in,
         transport::MessageBus& bus_in,
         Run run_in,
         Accepts accepts_in,
         Install install_in)
        : engine{engine_in},
          bus{bus_in},
          run{std::move(run_in)},
          accepts{std::move(accepts_in)},
          install{std::move(install_in)} {}

    static std::shared_ptr<const ClusterMessage> response(
        Term epoch, const std::string& id, SnapshotResponse::Outcome outcome, std::uint64_t sequence, std::string reason) {
        ClusterMessage message;
        auto& m = *message.mutable_snapshot_response();
        m.set_epoch(epoch.value);
        m.set_snapshot_id(id);
        m.set_outcome(outcome);
        m.set_sequence(sequence);
        m.set_reason(std::move(reason));
        return std::make_shared<const ClusterMessage>(std::move(message));
    }
    void answer(const Current& c, SnapshotResponse::Outcome outcome, std::uint64_t sequence, std::string reason = {}) {
        bus.send(c.from, LANE_BULK, response(c.epoch, c.info.id, outcome, sequence, std::move(reason)));
    }

    /// Jobs run one after another, in the order in which their messages came.
    void enqueue(Job job) REQUIRES(mutex) {
        jobs.push_back(std::move(job));
        if (!working) {
            working = true;
            run([self = shared_from_this()] { self->work(); });
        }
    }
    void work() EXCLUDES(mutex) {
        MutexLock lock{mutex};
        while (!jobs.empty() && !stopped) {
            const Job job = std::move(jobs.front());
            jobs.pop_front();
            lock.unlock();
            job();
            lock.lock();
        }
        working = false;
    }

    void begin(std::uint64_t generation) EXCLUDES(mutex) {
        engine::SnapshotInfo info;
        {
            const MutexLock lock{mutex};
            if (stopped || current.generation != generation) {
                return;
            }
            info = current.info;
            current.import.reset();
        }
        auto import = engine.begin_import(info);
        const MutexLock lock{mutex};
        if (stopped || current.generation != generation) {
            return;
        }
        if (!import) {
            answer(current, SnapshotResponse::REFUSED, 0, import.error().message());
            current = Current{};
            return;
        }
        current.import = std::move(import).value();
        current.expected = 1;
        const engine::SnapshotPosition position = current.import->position();
        ClusterMessage message;
        auto& m = *message.mutable_snapshot_response();
        m.set_epoch(current.epoch.value);
        m.set_snapshot_id(current.info.id);
        m.set_outcome(SnapshotResponse::GO_ON);
        m.set_resume_key(position.last_key);
        m.set_pair_count(position.pair_count);
        m.set_digest(position.digest);
        bus.send(current.from, LANE_BULK, std::make_shared<const ClusterMessage>(std::move(message)));
    }

    void add(std::uint64_t generation, std::uint64_t sequence, const engine::SnapshotChunk& chunk) EXCLUDES(mutex) {
        std::unique_ptr<engine::SnapshotImport> import;
        {
            const MutexLock lock{mutex};
            if (stopped || current.generation != generation || !current.import) {
                return;
            }
            import = std::move(current.import);
        }
        const Result<> added = import->add(chunk);
        std::function<void()> then;
        {
            const MutexLock lock{mutex};
            if (stopped || current.generation != generation) {
                return;
            }
            if (!added) {
                const bool damaged = added.error().code() == ErrorCode::kCorruption;
                answer(current,
                       damaged ? SnapshotResponse::DAMAGED : SnapshotResponse::REFUSED,
                       sequence,
                       added.error().message());
                current = Current{};
                return;
            }
            bytes += chunk.pairs.size();
            if (!import->complete()) {
                answer(current, SnapshotResponse::GO_ON, sequence);
                current.import = std::move(import);
                return;
            }
            current.installing = true;
            auto held = std::make_shared<std::unique_ptr<engine::SnapshotImport>>(std::move(import));
            then = [self = shared_from_this(), held, info = current.info, generation, sequence] {
                self->install(std::move(*held), info, [self, generation, sequence](const Result<>& done) {
                    const MutexLock lock{self->mutex};
                    if (self->stopped || self->current.generation != generation) {
                        return;
                    }
                    self->answer(self->current,
                                 done ? SnapshotResponse::INSTALLED : SnapshotResponse::REFUSED,
                                 sequence,
                                 done ? "" : done.error().message());
                    self->current = Current{};
                });
            };
        }
        then();
    }

    engine::EngineHost& engine;
    transport::MessageBus& bus;
    const Run run;
    const Accepts accepts;
    const Install install;

    mutable Mutex mutex;
    Current current GUARDED_BY(mutex);
    std::uint64_t generations GUARDED_BY(mutex) = 0;
    std::deque<Job> jobs GUARDED_BY(mutex);
    bool working GUARDED_BY(mutex) = false;
    bool stopped GUARDED_BY(mutex) = false;
    std::uint64_t bytes GUARDED_BY(mutex) = 0;
};

SnapshotReceiver::SnapshotReceiver(engine::EngineHost& engine,
                                   transport::MessageBus& bus,
                                   Clock&,
                                   Run run,
                                   Accepts accepts,
                                   Install install)
    : impl_{std::make_shared<Impl>(engine, bus, std::move(run), std::move(accepts), std::move(install))} {}

SnapshotReceiver::~SnapshotReceiver() {
    stop();
}

void SnapshotReceiver::step(const NodeName& from, const transport::SnapshotBegin& m) {
    Impl& r = *impl_;
    const Term epoch{m.epoch()};
    std::string reason;
    if (!r.accepts(from, epoch, LogIndex{m.index()}, m.history(), reason)) {
        r.bus.send(from,
                   LANE_BULK,
                   Impl::response(epoch, m.snapshot_id(), SnapshotResponse::REFUSED, 0, std::move(reason)));
        return;
    }
    const MutexLock lock{r.mutex};
    if (r.stopped || (r.current.installing && r.current.info.id == m.snapshot_id())) {
        return;
    }
    Impl::Current next;
    next.from = from;
    next.epoch = epoch;
    next.info = {m.snapshot_id(), LogIndex{m.index()}, Term{m.index_epoch()}, m.history(), m.bytes_estimate()};
    next.generation = ++r.generations;
    if (r.current.info.id == next.info.id) {
        next.import = std::move(r.current.import);  // begin() closes it before it opens it again
    }
    r.current = std::move(next);
    r.enqueue([self = r.shared_from_this(), generation = r.current.generation] { self->begin(generation); });
}

void SnapshotReceiver::step(const NodeName& from, const transport::SnapshotChunk& m) {
    Impl& r = *impl_;
    const MutexLock lock{r.mutex};
    Impl::Current& c = r.current;
    if (r.stopped || c.installing || c.from != from || c.info.id != m.snapshot_id() || c.epoch != Term{m.epoch()} ||
        c.expected == 0 || m.sequence() < c.expected) {
        return;
    }
    if (m.sequence() > c.expected || m.pairs().size() > kChunkBytesMax || r.jobs.size() >= kWaitingChunksMax) {
        r.answer(c, SnapshotResponse::DAMAGED, c.expected, "a chunk is missing or too large");
        c.expected = 0;  // until it begins again
        return;
    }
    ++c.expected;
    auto chunk = std::make_shared<engine::SnapshotChunk>();
    chunk->pairs = m.pairs();
    chunk->crc32c = m.crc32c();
    chunk->last = m.last();
    chunk->pair_count = m.pair_count();
    chunk->digest = m.digest();
    r.enqueue([self = r.shared_from_this(), generation = c.generation, sequence = m.sequence(), chunk] {
        self->add(generation, sequence, *chunk);
    });
}

std::uint64_t SnapshotReceiver::bytes_received() const {
    const MutexLock lock{impl_->mutex};
    return impl_->bytes;
}

void SnapshotReceiver::stop() {
    const MutexLock lock{impl_->mutex};
    impl_->stopped = true;
    impl_->jobs.clear();
    impl_->current = Impl::Current{};
}

}  // namespace nornic::modes
