// The side that has the state. All that is long (making an export, reading it) runs where `run` puts it; what ended is
// told from tick(), step() and peer_down() alone, so that send() may be called with the caller's locks held.
#include "modes/catch_up_pace.h"
#include "modes/snapshot_transfer.h"
#include "observability/log.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

namespace nornic::modes {
namespace {

using transport::ClusterMessage;
using transport::LANE_BULK;
using transport::SnapshotResponse;

constexpr Duration kOfferAgainAfter = std::chrono::seconds{1};
/// Chunks are unanswered and nothing was heard for so long: one may be lost, so ask where to go on. The same where all are
/// answered: the word that the state is in place may be lost.
constexpr Duration kStalledAfter = std::chrono::seconds{4};
/// Something is unanswered and nothing was heard for so long: the peer is not there.
constexpr Duration kSilentAfter = std::chrono::seconds{10};
/// The same, while the receiver puts the state in place.
constexpr Duration kInstallSilentAfter = std::chrono::seconds{60};
/// An export no older than this serves another receiver, too.
constexpr Duration kShareFor = std::chrono::seconds{30};
constexpr std::size_t kTransfersMax = 2;
/// What the rate limit lets through at once: the larger of the two.
constexpr std::size_t kBurstChunks = 4;
constexpr std::uint64_t kBurstsPerSecond = 20;
constexpr std::size_t kChunksPerJob = 4;
/// Damage found so often without anything new being kept: it is not the network's.
constexpr std::uint32_t kDamagedMax = 8;

std::string megabytes(std::uint64_t bytes) {
    return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

/// One state, perhaps for several receivers.
struct Export {
    explicit Export(std::unique_ptr<engine::SnapshotExport> from, Deadline now)
        : info{from->info()}, made{now}, source{std::move(from)} {}
    const engine::SnapshotInfo info;
    const Deadline made;
    Mutex reading;
    const std::unique_ptr<engine::SnapshotExport> source;  // read under `reading`
};

enum class State : std::uint8_t {
    kWaiting,      // for another transfer to end
    kOpening,      // the export is being made
    kOffered,      // SnapshotBegin was sent
    kSending,
    kSentAll,      // the receiver puts it in place
    kInterrupted,  // can be taken up again for a while
};

struct Transfer {
    State state = State::kWaiting;
    Term epoch;
    LogIndex least;                        // that an older state would be no help
    std::shared_ptr<Export> source;        // from kOffered on
    engine::SnapshotPosition position;     // where the next chunk begins
    std::uint64_t next_sequence = 1;
    std::uint64_t acknowledged = 0;
    std::uint64_t attempt = 0;             // rises with each SnapshotBegin: what was read for an older one is dropped
    std::uint64_t reader = 0;              // the job that reads for it; 0: none
    bool refused = false;                  // by the bus, since the last tick
    std::uint32_t damaged = 0;
    std::uint64_t kept_at_damage = 0;      // pairs that the receiver had then
    Deadline heard{};
    Deadline offered{};                    // also: asked
    bool asked = false;                    // whether it is in place
    Deadline began{};
    std::uint64_t bytes = 0;

    [[nodiscard]] bool unanswered() const { return state == State::kOffered || acknowledged + 1 < next_sequence; }
    [[nodiscard]] bool active() const { return state != State::kWaiting && state != State::kInterrupted; }
};

}  // namespace

struct SnapshotSender::Impl : std::enable_shared_from_this<SnapshotSender::Impl> {
    using Job = std::function<void()>;

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
          done{std::move(done_in)},
          pace{settings.bytes_per_second},
          tokens{static_cast<std::int64_t>(settings.chunk_bytes * kBurstChunks)},
          refilled{clock.now()} {}

    [[nodiscard]] std::int64_t burst() const REQUIRES(mutex) {
        return static_cast<std::int64_t>(
            std::max<std::uint64_t>(settings.chunk_bytes * kBurstChunks, pace.bytes_per_second() / kBurstsPerSecond));
    }

    /// Runs the jobs that were found under the lock, and tells what ended if this is a place for that.
    void settle(bool tell) EXCLUDES(mutex) {
        std::vector<Job> todo;
        std::vector<std::pair<NodeName, std::optional<LogIndex>>> told;
        {
            const MutexLock lock{mutex};
            todo.swap(jobs);
            if (tell && !stopped) {
                told.swap(ended);
            }
        }
        for (Job& job : todo) {
            run(std::move(job));
        }
        for (const auto& [to, index] : told) {
            done(to, index);
        }
    }

    /// A job does its work only between these two; stop() waits for those that have begun.
    [[nodiscard]] bool enter() EXCLUDES(mutex) {
        const MutexLock lock{mutex};
        if (stopped) {
            return false;
        }
        ++running;
        return true;
    }
    void leave() EXCLUDES(mutex) {
        {
            const MutexLock lock{mutex};
            --running;
        }
        idle.notify_all();
        settle(false);
    }

    // ---- Beginning

    void start_waiting() REQUIRES(mutex) {
        std::size_t active = 0;
        for (const auto& [to, t] : transfers) {
            active += t.active() ? 1 : 0;
        }
        for (auto& [to, t] : transfers) {
            if (t.state == State::kWaiting && active < kTransfersMax) {
                ++active;
                open(to, t);
            }
        }
    }

    void open(const NodeName& to, Transfer& t) REQUIRES(mutex) {
        t.began = t.heard = clock.now();
        t.state = State::kOpening;
        if (const auto known = latest.lock(); known && clock.now() - known->made <= kShareFor && known->info.index >= t.least) {
            t.source = known;
            offer(to, t);
            return;
        }
        if (!opening) {
            opening = true;
            jobs.emplace_back([self = shared_from_this()] { self->make_export(); });
        }
    }

    void make_export() EXCLUDES(mutex) {
        if (!enter()) {
            return;
        }
        auto made = engine.begin_export();
        {
            const MutexLock lock{mutex};
            opening = false;
            std::shared_ptr<Export> source;
            if (made) {
                source = std::make_shared<Export>(std::move(made).value(), clock.now());
                latest = source;
            }
            for (auto at = transfers.begin(); at != transfers.end();) {
                auto& [to, t] = *at;
                if (t.state != State::kOpening) {
                    ++at;
                } else if (source) {
                    t.source = source;
                    offer(to, t);
                    ++at;
                } else {
                    log::warn("A snapshot for '{}' could not be made: {}", to, made.error().message());
                    ended.emplace_back(to, std::nullopt);
                    at = transfers.erase(at);
                }
            }
        }
        leave();
    }

    void offer(const NodeName& to, Transfer& t) REQUIRES(mutex) {
        t.state = State::kOffered;
        t.next_sequence = 1;
        t.acknowledged = 0;
        t.attempt = ++drawn;
        t.asked = false;
        say_begin(to, t);
    }

    /// One who has put the state in place says so again; one who still does says nothing; one who has lost it asks for it.
    void ask(const NodeName& to, Transfer& t) REQUIRES(mutex) {
        t.asked = true;
        say_begin(to, t);
    }

    void say_begin(const NodeName& to, Transfer& t) REQUIRES(mutex) {
        t.offered = clock.now();
        const engine::SnapshotInfo& info = t.source->info;
        auto message = std::make_shared<ClusterMessage>();
        auto& m = *message->mutable_snapshot_begin();
        m.set_epoch(t.epoch.value);
        m.set_snapshot_id(info.id);
        m.set_index(info.index.value);
        m.set_index_epoch(info.term.value);
        m.set_history(info.history);
        m.set_bytes_estimate(info.bytes_estimate);
        bus.send(to, LANE_BULK, std::move(message));  // if it is dropped, tick() offers again
    }

    // ---- Sending

    [[nodiscard]] bool may_send(const NodeName& to, const Transfer& t) const REQUIRES(mutex) {
        return t.state == State::kSending && t.next_sequence - 1 - t.acknowledged < settings.window_chunks &&
               tokens > 0 && bus.queued_bytes(to, LANE_BULK) < settings.window_chunks * settings.chunk_bytes;
    }

    void pump(const NodeName& to, Transfer& t) REQUIRES(mutex) {
        if (t.reader == 0 && !t.refused && may_send(to, t)) {
            t.reader = ++drawn;
            jobs.emplace_back([self = shared_from_this(), to, attempt = t.attempt, reader = t.reader] {
                self->read(to, attempt, reader);
            });
        }
    }

    /// The transfer, if it is still the one that a job was made for.
    [[nodiscard]] Transfer* find(const NodeName& to, std::uint64_t attempt) REQUIRES(mutex) {
        const auto at = transfers.find(to);
        return at == transfers.end() || at->second.attempt != attempt ? nullptr : &at->second;
    }

    void read(const NodeName& to, std::uint64_t attempt, std::uint64_t reader) EXCLUDES(mutex) {
        if (!enter()) {
            return;
        }
        for (std::size_t chunks = 0; chunks < kChunksPerJob; ++chunks) {
            if (!read_one(to, attempt)) {
                break;
            }
        }
        {
            const MutexLock lock{mutex};
            if (const auto at = transfers.find(to); at != transfers.end() && at->second.reader == reader) {
                at->second.reader = 0;
                pump(to, at->second);
            }
        }
        leave();
    }

    bool read_one(const NodeName& to, std::uint64_t attempt) EXCLUDES(mutex) {
        std::shared_ptr<Export> source;
        engine::SnapshotPosition position;
        {
            const MutexLock lock{mutex};
            const Transfer* const t = stopped ? nullptr : find(to, attempt);
            if (t == nullptr || !may_send(to, *t)) {
                return false;
            }
            source = t->source;
            position = t->position;
        }
        const auto next = [&]() -> Result<engine::SnapshotChunk> {
            const MutexLock lock{source->reading};
            NORNIC_TRY(source->source->seek(position));
            NORNIC_TRY(auto chunk, source->source->next(settings.chunk_bytes));
            position = source->source->position();
            return chunk;
        };
        Result<engine::SnapshotChunk> chunk = next();
        const MutexLock lock{mutex};
        Transfer* const t = stopped ? nullptr : find(to, attempt);
        if (t == nullptr || t->state != State::kSending) {
            return false;
        }
        if (!chunk) {
            log::warn("The snapshot for '{}' could not be read on: {}", to, chunk.error().message());
            give_up(to);
            return false;
        }
        if (!send_chunk(to, *t, std::move(chunk).value())) {
            t->refused = true;
            return false;
        }
        t->position = std::move(position);
        return true;
    }

    bool send_chunk(const NodeName& to, Transfer& t, engine::SnapshotChunk chunk) REQUIRES(mutex) {
        const std::size_t size = chunk.pairs.size();
        const bool last = chunk.last;
        auto message = std::make_shared<ClusterMessage>();
        auto& m = *message->mutable_snapshot_chunk();
        m.set_epoch(t.epoch.value);
        m.set_snapshot_id(t.source->info.id);
        m.set_sequence(t.next_sequence);
        m.set_pairs(std::move(chunk.pairs));
        m.set_crc32c(chunk.crc32c);
        m.set_last(last);
        m.set_pair_count(chunk.pair_count);
        m.set_digest(chunk.digest);
        if (!bus.send(to, LANE_BULK, std::move(message))) {
            return false;
        }
        ++t.next_sequence;
        tokens -= static_cast<std::int64_t>(size);
        bytes += size;
        t.bytes += size;
        if (last) {
            t.state = State::kSentAll;
        }
        return true;
    }

    // ---- Ending

    void give_up(const NodeName& to) REQUIRES(mutex) {
        ended.emplace_back(to, std::nullopt);
        transfers.erase(to);
    }
    void interrupt(const NodeName& to, Transfer& t) REQUIRES(mutex) {
        if (!t.source) {
            give_up(to);
            return;
        }
        if (t.state != State::kInterrupted) {
            t.state = State::kInterrupted;
            t.heard = clock.now();
            t.attempt = ++drawn;
            ended.emplace_back(to, std::nullopt);
        }
    }

    void go_on(const NodeName& from, Transfer& t, const SnapshotResponse& m) REQUIRES(mutex) {
        if (m.sequence() > 0) {
            if (t.state == State::kSending || t.state == State::kSentAll) {
                t.acknowledged = std::max(t.acknowledged, std::min(m.sequence(), t.next_sequence - 1));
            }
        } else if (t.state == State::kOffered) {
            t.position = {m.resume_key(), m.pair_count(), m.digest(), 0};
            t.state = State::kSending;
            if (m.pair_count() > t.kept_at_damage) {
                t.damaged = 0;
            }
            if (m.pair_count() > 0) {
                log::info("The snapshot for '{}' goes on where it was cut, behind {} pairs.", from, m.pair_count());
            }
        } else if (t.state == State::kSentAll && t.asked) {
            offer(from, t);
        }
        pump(from, t);
    }

    void found_damaged(const NodeName& from, Transfer& t, const SnapshotResponse& m) REQUIRES(mutex) {
        if (t.state != State::kSending && t.state != State::kSentAll) {
            return;  // of an attempt that is over
        }
        log::warn("'{}' cannot use a chunk of its snapshot: {}. It is sent again from the last good one.",
                  from,
                  m.reason());
        if (++t.damaged > kDamagedMax) {
            log::error("The snapshot for '{}' was damaged {} times in one place and is given up.", from, t.damaged);
            give_up(from);
            return;
        }
        t.kept_at_damage = t.position.pair_count;
        offer(from, t);
    }

    engine::EngineHost& engine;
    transport::MessageBus& bus;
    Clock& clock;
    const SnapshotTransferSettings settings;
    const Run run;
    const Done done;

    mutable Mutex mutex;
    ConditionVariable idle;
    std::map<NodeName, Transfer> transfers GUARDED_BY(mutex);
    std::weak_ptr<Export> latest GUARDED_BY(mutex);
    bool opening GUARDED_BY(mutex) = false;
    std::vector<Job> jobs GUARDED_BY(mutex);  // to be run once the lock is let go of
    std::vector<std::pair<NodeName, std::optional<LogIndex>>> ended GUARDED_BY(mutex);
    NodeName served_last GUARDED_BY(mutex);  // whose turn it was at the last tick
    std::uint64_t drawn GUARDED_BY(mutex) = 0;  // numbers of attempts and jobs
    CatchUpPace pace GUARDED_BY(mutex);
    bool entries_too GUARDED_BY(mutex) = false;
    std::int64_t tokens GUARDED_BY(mutex);    // bytes that may be sent now; below 0 after a large chunk
    Deadline refilled GUARDED_BY(mutex);
    std::uint64_t bytes GUARDED_BY(mutex) = 0;
    std::size_t running GUARDED_BY(mutex) = 0;
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

void SnapshotSender::send(const NodeName& to, Term epoch, LogIndex least) {
    Impl& s = *impl_;
    {
        const MutexLock lock{s.mutex};
        if (s.stopped) {
            return;
        }
        if (const auto at = s.transfers.find(to); at != s.transfers.end() && at->second.source && at->second.source->info.index < least) {
            s.transfers.erase(at);
        }
        Transfer& t = s.transfers[to];
        const bool another_epoch = t.epoch != epoch;
        t.epoch = epoch;
        t.least = least;
        // Asked for again though all was sent: the word of its end was lost, or the peer wants a newer one and says so.
        if (t.state == State::kInterrupted || t.state == State::kSentAll || (t.source && another_epoch)) {
            t.heard = s.clock.now();
            s.offer(to, t);  // the same state goes on where it was cut
        }
        s.start_waiting();
    }
    s.settle(false);
}

void SnapshotSender::step(const NodeName& from, const SnapshotResponse& m) {
    Impl& s = *impl_;
    {
        const MutexLock lock{s.mutex};
        const auto at = s.transfers.find(from);
        if (at == s.transfers.end() || s.stopped || !at->second.source ||
            m.snapshot_id() != at->second.source->info.id || Term{m.epoch()} != at->second.epoch ||
            at->second.state == State::kInterrupted) {
            return;
        }
        Transfer& t = at->second;
        t.heard = s.clock.now();
        switch (m.outcome()) {
            case SnapshotResponse::GO_ON:
                s.go_on(from, t, m);
                break;
            case SnapshotResponse::DAMAGED:
                s.found_damaged(from, t, m);
                break;
            case SnapshotResponse::INSTALLED:
                log::info("'{}' put a snapshot of log index {} in place; {} were sent in {} ms.",
                          from,
                          t.source->info.index.value,
                          megabytes(t.bytes),
                          std::chrono::duration_cast<std::chrono::milliseconds>(s.clock.now() - t.began).count());
                s.ended.emplace_back(from, t.source->info.index);
                s.transfers.erase(at);
                break;
            default:
                log::warn("'{}' refused a snapshot: {}", from, m.reason());
                s.give_up(from);
                break;
        }
        s.start_waiting();
    }
    s.settle(true);
}

void SnapshotSender::peer_down(const NodeName& peer) {
    Impl& s = *impl_;
    {
        const MutexLock lock{s.mutex};
        if (const auto at = s.transfers.find(peer); at != s.transfers.end()) {
            s.interrupt(peer, at->second);
        }
        s.start_waiting();
    }
    s.settle(true);
}

void SnapshotSender::tick() {
    Impl& s = *impl_;
    {
        const MutexLock lock{s.mutex};
        const Deadline now = s.clock.now();
        const bool copying = std::any_of(s.transfers.begin(), s.transfers.end(), [](const auto& transfer) {
            return transfer.second.state == State::kSending;
        });
        s.pace.tick(now, copying || s.entries_too);
        const double seconds = std::chrono::duration<double>(now - s.refilled).count();
        const auto fresh = static_cast<std::int64_t>(std::min(seconds, 1.0) *
                                                     static_cast<double>(s.pace.bytes_per_second()));
        if (fresh > 0) {
            s.tokens = std::min(s.burst(), s.tokens + fresh);
            s.refilled = now;
        }
        std::vector<NodeName> names;
        for (const auto& [to, t] : s.transfers) {
            names.push_back(to);
        }
        // Each gets to be first, so that none takes all that the rate limit allows.
        std::rotate(names.begin(), std::upper_bound(names.begin(), names.end(), s.served_last), names.end());
        if (!names.empty()) {
            s.served_last = names.front();
        }
        for (const NodeName& to : names) {
            Transfer& t = s.transfers.at(to);
            if (t.state == State::kSending && !t.unanswered()) {
                t.heard = now;
            }
            const Duration silent = now - t.heard;
            if (t.state == State::kInterrupted) {
                if (silent > s.settings.keep) {
                    s.transfers.erase(to);
                }
                continue;
            }
            const bool sending = t.state == State::kSending || t.state == State::kSentAll;
            if (t.source && silent > (t.unanswered() ? kSilentAfter : kInstallSilentAfter)) {
                s.interrupt(to, t);
                continue;
            }
            if ((t.state == State::kOffered && now - t.offered > kOfferAgainAfter) ||
                (sending && t.unanswered() && silent > kStalledAfter)) {
                s.offer(to, t);
            } else if (t.state == State::kSentAll && silent > kStalledAfter && now - t.offered > kStalledAfter) {
                s.ask(to, t);
            }
            t.refused = false;
            s.pump(to, t);
        }
        s.start_waiting();
    }
    s.settle(true);
}

void SnapshotSender::write_took(Duration took) {
    const MutexLock lock{impl_->mutex};
    impl_->pace.write_took(took);
}

void SnapshotSender::entries_too(bool sent) {
    const MutexLock lock{impl_->mutex};
    impl_->entries_too = sent;
}

std::uint64_t SnapshotSender::bytes_per_second() const {
    const MutexLock lock{impl_->mutex};
    return impl_->pace.bytes_per_second();
}

std::optional<LogIndex> SnapshotSender::pinned() const {
    const MutexLock lock{impl_->mutex};
    std::optional<LogIndex> oldest;
    for (const auto& [to, t] : impl_->transfers) {
        if (t.source) {
            const LogIndex behind{t.source->info.index.value + 1};
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
    MutexLock lock{impl_->mutex};
    impl_->stopped = true;
    impl_->transfers.clear();
    impl_->jobs.clear();
    while (impl_->running > 0) {
        impl_->idle.wait(lock);
    }
}

}  // namespace nornic::modes
