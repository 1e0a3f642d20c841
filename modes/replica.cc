#include "modes/replica_impl.h"
#include "modes/snapshot_transfer.h"
#include "observability/log.h"

#include <fmt/format.h>

#include <condition_variable>
#include <iterator>
#include <tuple>

namespace nornic::modes {
namespace {

constexpr Duration kWatchInterval = std::chrono::milliseconds{100};  // where no mode counts ticks
/// A commit of unknown outcome is reported as such after this, once this member has not led for as long: the log that tells comes
/// from another then.
constexpr Duration kUnknownAfterLost = std::chrono::seconds{5};
/// What the strategy says again and again in the same words is written so often.
constexpr Duration kEventInterval = std::chrono::seconds{30};
constexpr std::uint64_t kEventBurst = 10;
constexpr std::int64_t kMissedTicksMax = 4;  // more is a pause of the process, fewer a busy machine

Error stopping_error() {
    return Error{ErrorCode::kStopping, "the server is stopping"};
}

Error not_acknowledged(ReadConsistency level, std::string_view why) {
    return Error{ErrorCode::kUnknownCommit,
                 fmt::format("the transaction was committed as this cluster's mode promises, but {} before as many members were known to hold "
                             "it as consistency {} asks for",
                             why,
                             to_string(level))};
}

}  // namespace

Result<Term> LogView::term_at(LogIndex index) {
    if (index.value == 0) {
        return Term{0};
    }
    if (index.value > end_.load(std::memory_order_acquire)) {
        return fail(ErrorCode::kNotFound, fmt::format("entry {} was given up", index.value));
    }
    return log_.term_at(index);
}

Result<std::vector<Entry>> LogView::read(LogIndex from, LogIndex to, std::size_t bytes) {
    std::vector<Entry> out;
    std::size_t taken = 0;
    NORNIC_TRY(log_.read(from, std::min(to, last_index()), [&](const Entry& entry) {
        out.push_back(entry);
        taken += entry.payload.size();
        return taken < bytes;
    }));
    return out;
}

ReplicaImpl::ReplicaImpl(ReplicaParts parts, const ReplicaSettings& settings)
    : parts_{std::move(parts)},
      settings_{settings},
      engine_{parts_.engine},
      log_{*parts_.log},
      bus_{parts_.bus},
      clock_{*parts_.clock},
      log_view_{log_},
      said_{clock_, kEventInterval, kEventBurst},
      traces_{parts_.tracer == nullptr ? nullptr : std::make_unique<EntryTraces>(*parts_.tracer)} {}

ReplicaImpl::~ReplicaImpl() {
    stop();
}

LogIndex ReplicaImpl::applied_index() const {
    return engine_ == nullptr ? LogIndex{0} : engine_->applied_index();
}

// ---- Start and stop ----

/// The store and the log of one directory must fit together.
Result<> ReplicaImpl::check_log() const {
    const LogIndex durable = engine_->applied_index();  // nothing was replayed yet
    if (log_.last_index() < durable) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("the store holds changes up to log index {} but the log ends at {}: the log "
                                "directory was lost or replaced; restore both from one backup",
                                durable.value,
                                log_.last_index().value));
    }
    if (log_.first_index() > LogIndex{durable.value + 1}) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("the store ends at log index {} but the log begins at {}: entries between are "
                                "missing; restore both from one backup",
                                durable.value,
                                log_.first_index().value));
    }
    return success();
}

Result<> ReplicaImpl::apply_entry(const Entry& entry) {
    if (!is_known(entry.kind)) {
        return fail(ErrorCode::kUnsupported,
                    fmt::format("log entry {} is of kind {}, which this version does not know; start the version that the other "
                                "members run",
                                entry.index.value,
                                static_cast<unsigned>(entry.kind)));
    }
    return engine_->apply(entry);
}

Result<> ReplicaImpl::replay(LogIndex to) {
    const LogIndex from = engine_->applied_index();
    if (to <= from) {
        return success();
    }
    Result<> outcome = success();
    std::uint64_t latest = 0;
    NORNIC_TRY(log_.read(LogIndex{from.value + 1}, to, [&](const Entry& entry) {
        outcome = apply_entry(entry);
        latest = std::max(latest, entry.hybrid_time);
        return outcome.has_value();
    }));
    const MutexLock lock{mutex_};
    hybrid_clock_.observe(latest);
    return outcome;
}

/// What is logged and not applied yet may be committed one day, and this member may write behind it.
Result<> ReplicaImpl::observe_log(LogIndex applied) {
    const LogIndex from{std::max(applied.value + 1, log_.first_index().value)};
    std::uint64_t latest = 0;
    if (from <= log_.last_index()) {
        NORNIC_TRY(log_.read(from, log_.last_index(), [&](const Entry& entry) {
            latest = std::max(latest, entry.hybrid_time);
            return true;
        }));
    }
    const MutexLock lock{mutex_};
    hybrid_clock_.observe(latest);
    return success();
}

Result<> ReplicaImpl::start() {
    const Deadline began = clock_.now();
    StrategyStart start = parts_.start;
    start.log = &log_view_;
    start.hard_state = log_.recovery().hard_state;
    LogIndex durable;
    if (engine_ != nullptr) {
        durable = engine_->durable_index();
        if (engine_->freshly_installed()) {
            // A snapshot was put in place and the process died before its log was begun anew.
            const auto term = log_.term_at(durable);
            const bool forgotten = !term && term.error().code() == ErrorCode::kNotFound;
            if (log_.last_index() < durable || forgotten || (term && term.value() != engine_->applied_term())) {
                NORNIC_TRY(log_.reset(LogIndex{durable.value + 1}, engine_->applied_term()));
                NORNIC_TRY(log_.sync());
            }
        }
        NORNIC_TRY(check_log());
        NORNIC_TRY(replay(std::min(start.hard_state.committed, log_.last_index())));
        start.history = engine_->history();
        std::tie(start.membership_index, start.membership) = engine_->membership();
        start.regions = regions();
    }
    start.last_index = log_.last_index();
    NORNIC_TRY(start.last_term, log_.term_at(start.last_index));
    start.applied = applied_index();
    NORNIC_TRY(observe_log(start.applied));
    {
        const MutexLock lock{mutex_};
        observe_state();
        strategy_ = parts_.make_strategy(start);
        strategy_->now(hybrid_clock_.soonest(wall_ms()));
    }
    make_transfers();
    if (settings_.own_threads) {
        disk_thread_ = std::thread{[this] { disk_loop(); }};
    }
    {
        const MutexLock lock{mutex_};
        pumping_ = true;
        pump(Where::kCaller);
        if (failure_) {
            return *failure_;
        }
    }
    if (const LogIndex applied = applied_index(); applied > durable) {
        log::info("Replayed {} log entries ({} to {}) in {} ms.",
                  applied.value - durable.value,
                  durable.value + 1,
                  applied.value,
                  std::chrono::duration_cast<std::chrono::milliseconds>(clock_.now() - began).count());
    }
    if (engine_ != nullptr) {
        engine_->on_checkpoint([this](LogIndex index) {
            cut_before_.store(index.value + 1, std::memory_order_relaxed);
            const MutexLock lock{mutex_};
            if (pumping_ || halted()) {
                return;
            }
            pumping_ = true;
            if (settings_.own_threads) {
                pump_elsewhere();  // the engine holds locks here, for which the exchange of its state would wait
            } else {
                pump(Where::kCaller);
            }
        });
    }
    if (bus_ != nullptr) {
        NORNIC_TRY(bus_->start(*this));
    }
    if (settings_.own_threads) {
        watcher_ = std::thread{[this] { watch_loop(); }};
    }
    return success();
}

void ReplicaImpl::leave(Deadline deadline) {
    MutexLock lock{mutex_};
    if (halted() || strategy_ == nullptr) {
        return;
    }
    leaving_ = true;
    leave_by_ = deadline;
    strategy_->leave();
    after_input(Where::kCaller);
    while (!halted() && !strategy_->left() && clock_.now() < deadline && settings_.own_threads) {
        changed_.wait_until(lock, std::min(deadline, clock_.now() + kWatchInterval));
    }
}

void ReplicaImpl::stop() {
    {
        MutexLock lock{mutex_};
        if (stopping_) {
            return;
        }
        stopping_ = true;
        changed_.notify_all();
        stop_gathering();
    }
    // The bus first: it may be waiting for mutex_, and must find stopping_ set.
    if (bus_ != nullptr) {
        bus_->stop();
    }
    if (sender_) {
        sender_->stop();
        receiver_->stop();
    }
    if (engine_ != nullptr) {
        engine_->on_checkpoint([](LogIndex) {});
    }
    if (watcher_.joinable()) {
        watcher_.join();
    }
    Completions completions;
    {
        MutexLock lock{mutex_};
        while (pumping_ && settings_.own_threads && disk_thread_.joinable()) {
            changed_.wait(lock);
        }
    }
    {
        const MutexLock lock{disk_mutex_};
        disk_stopping_ = true;
        disk_wake_.notify_all();
        snapshot_wake_.notify_all();
    }
    if (disk_thread_.joinable()) {
        disk_thread_.join();
    }
    if (snapshot_thread_.joinable()) {
        snapshot_thread_.join();
    }
    {
        const MutexLock lock{mutex_};
        digesting_.reset();
        const Error error = stopping_error();
        for (Reader& reader : readers_) {
            completions.emplace_back([done = std::move(reader.done), error] { done(error); });
        }
        readers_.clear();
        for (auto& [id, asked] : asked_reads_) {
            completions.emplace_back([done = std::move(asked.done), error] { done(error); });
        }
        asked_reads_.clear();
        for (auto& [id, asked] : commands_) {
            completions.emplace_back([done = std::move(asked.done), error] { done(error); });
        }
        commands_.clear();
        for (Acknowledging& waiter : acknowledging_) {
            completions.emplace_back([waiter = std::move(waiter)] { waiter.done(not_acknowledged(waiter.level, "the server stopped")); });
        }
        acknowledging_.clear();
        // What never left the strategy was not logged; what is in the log may yet be committed by a peer.
        for (auto& [id, waiter] : proposed_) {
            completions.emplace_back([done = std::move(waiter), error] { done(error); });
        }
        proposed_.clear();
        give_up_waiting("it is unknown whether the transaction was committed: the server stopped before its peers had answered",
                        completions);
    }
    for (const Completion& completion : completions) {
        completion.work();
    }
}

// ---- What comes in ----

void ReplicaImpl::commit(std::string write_set, std::optional<Term> began_in, const TraceContext& trace, CommitDone done) {
    MutexLock lock{mutex_};
    notice_pause();
    std::optional<Error> refusal;
    if (failure_) {
        refusal =
            Error{ErrorCode::kDatabaseUnavailable, "this member takes no writes since " + failure_->message()};
    } else if (stopping_) {
        refusal = stopping_error();
    } else if (began_in && *began_in != strategy_->write_term() && strategy_->write_term().value != 0) {
        // It leads, but not without a break: what others wrote meanwhile took no notice of this one's locks.
        refusal = Error{ErrorCode::kConflict,
                        "leadership changed while the transaction ran; others may have written what it read"};
    }
    if (!refusal && write_set.size() > settings_.write_set_bytes_max) {
        refusal = Error{ErrorCode::kInvalidArgument,
                        fmt::format("the transaction changes {:.1f} MiB and at most {} MiB can be committed as one: split it, with CALL "
                                    "{{ … }} IN TRANSACTIONS for instance",
                                    static_cast<double>(write_set.size()) / (1 << 20),
                                    settings_.write_set_bytes_max >> 20)};
    }
    if (!refusal) {
        const ProposalId id{next_id_++};
        hybrid_clock_.observe(strategy_->latest_time());
        if (auto offered = strategy_->propose(id, std::move(write_set), hybrid_clock_.next(wall_ms())); offered) {
            proposed_.emplace(id, std::move(done));
            if (traces_) {
                traces_->proposed(id, trace);
            }
            after_input(Where::kCaller);
            return;
        } else {
            refusal = offered.error();
        }
    }
    ++stats_.refused;
    lock.unlock();
    done(*refusal);
}

void ReplicaImpl::read_point(ReadConsistency level,
                             std::optional<LogIndex> bookmark,
                             Deadline deadline,
                             std::function<void(Result<LogIndex>)> done) {
    if (const auto why = out_of_service()) {
        done(*why);
        return;
    }
    const LogIndex applied = applied_index();
    const LogIndex wanted = bookmark.value_or(LogIndex{0});
    const bool causal =
        bus_ == nullptr || level == ReadConsistency::kOne || level == ReadConsistency::kLocalOne;
    if (causal && wanted <= applied) {
        done(applied);
        return;
    }
    MutexLock lock{mutex_};
    if (stopping_) {
        lock.unlock();
        done(stopping_error());
        return;
    }
    if (causal) {
        await_applied({wanted, deadline, std::move(done), {}});
        return;
    }
    notice_pause();
    const ReadId id{next_id_++};
    if (auto asked = strategy_->read(id, level); !asked) {
        lock.unlock();
        done(asked.error());
        return;
    }
    asked_reads_.emplace(id, AskedRead{bookmark, deadline, std::move(done)});
    after_input(Where::kCaller);
}

void ReplicaImpl::region_point(const std::string& history,
                               LogIndex index,
                               Deadline deadline,
                               std::function<void(Result<LogIndex>)> done) {
    if (const auto why = out_of_service()) {
        done(*why);
        return;
    }
    if (regions() == nullptr || history.empty() || regions()->region_state()->with_history(history) == nullptr) {
        done(fail(ErrorCode::kNotFound, "no region of history " + history + " is known here"));
        return;
    }
    Reader reader{index, deadline, std::move(done), history};
    MutexLock lock{mutex_};
    if (stopping_) {
        lock.unlock();
        reader.done(stopping_error());
        return;
    }
    if (index <= latest_for(reader)) {
        lock.unlock();
        reader.done(applied_index());
        return;
    }
    await_applied(std::move(reader));
}

/// Whoever applies what it waits for takes the mutex afterwards, and finds it here.
void ReplicaImpl::await_applied(Reader reader) {
    notice_pause();
    readers_.push_back(std::move(reader));
    stop_gathering();
    if (strategy_ != nullptr && !failure_) {
        strategy_->readers_wait();
        after_input(Where::kCaller);
    }
}

LogIndex ReplicaImpl::latest_for(const Reader& reader) const {
    if (reader.history.empty()) {
        return applied_index();
    }
    const auto state = regions()->region_state();
    const auto* row = state->with_history(reader.history);
    if (row == nullptr) {
        return LogIndex{0};  // the state was replaced by one that does not know it
    }
    return row->number == state->self ? applied_index() : row->cursor;
}

std::optional<Term> ReplicaImpl::term_at(LogIndex index) {
    // Also of a branch that was given up, as long as the state may still be of it: a bookmark must not pass for one of it.
    if (index > log_.last_index()) {
        return std::nullopt;
    }
    const auto term = log_.term_at(index);
    return term ? std::optional{term.value()} : std::nullopt;
}

Result<> ReplicaImpl::expect(ReadConsistency level) {
    const MutexLock lock{mutex_};
    if (halted()) {
        return stopping_error();
    }
    return strategy_->expect(level);
}

void ReplicaImpl::await_acknowledged(ReadConsistency level,
                                     LogIndex index,
                                     Deadline deadline,
                                     std::function<void(Result<>)> done) {
    MutexLock lock{mutex_};
    if (!halted() && strategy_->acknowledged(level) < index) {
        // Told when a peer says how far it is; the rest is watched at each tick.
        acknowledging_.push_back({level, index, deadline, std::move(done)});
        return;
    }
    const bool given_up = halted();
    lock.unlock();
    done(given_up ? Result<>{not_acknowledged(level, "the server stopped")} : success());
}

void ReplicaImpl::command(const Command& command,
                          Deadline deadline,
                          std::function<void(Result<std::string>)> done) {
    MutexLock lock{mutex_};
    std::optional<Error> refusal;
    if (halted()) {
        refusal = stopping_error();
    } else {
        notice_pause();
        const std::uint64_t id = next_id_++;
        if (auto taken = strategy_->command(id, command); taken) {
            commands_.emplace(id, AskedCommand{deadline, std::move(done)});
            after_input(Where::kCaller);
            return;
        } else {
            refusal = taken.error();
        }
    }
    lock.unlock();
    done(*refusal);
}

void ReplicaImpl::peer_up(const PeerInfo& peer) {
    const MutexLock lock{mutex_};
    if (!halted()) {
        notice_pause();
        strategy_->peer_up(peer);
        after_input(Where::kBus);
    }
}

void ReplicaImpl::peer_down(const NodeName& peer, transport::LostReason reason) {
    {
        const MutexLock lock{mutex_};
        if (halted()) {
            return;
        }
        notice_pause();
        strategy_->peer_down(peer, reason);
        after_input(Where::kBus);
    }
    if (sender_) {
        sender_->peer_down(peer);
    }
}

void ReplicaImpl::message(const NodeName& from, Lane lane, std::shared_ptr<const ClusterMessage> message, bool more) {
    switch (message->body_case()) {
        case ClusterMessage::kSnapshotBegin:
            if (receiver_) {
                receiver_->step(from, message->snapshot_begin());
            }
            return;
        case ClusterMessage::kSnapshotChunk:
            if (receiver_) {
                receiver_->step(from, message->snapshot_chunk());
            }
            return;
        case ClusterMessage::kSnapshotResponse:
            if (sender_) {
                sender_->step(from, message->snapshot_response());
            }
            return;
        default:
            break;
    }
    const MutexLock lock{mutex_};
    if (!halted()) {
        notice_pause();
        strategy_->now(hybrid_clock_.soonest(wall_ms()));
        if (traces_) {
            traces_->received(*message);
        }
        strategy_->step(from, *message);
        // What comes behind it shares its sync, if another thread does that meanwhile.
        after_input(lane == Lane::LANE_LOG && !more ? Where::kLogLane : Where::kBus);
    }
}

void ReplicaImpl::tick() {
    {
        MutexLock lock{mutex_};
        if (halted()) {
            return;
        }
        notice_pause();
        next_tick_ = next_tick_ == Deadline{} ? clock_.now() : next_tick_;
        // One that a busy machine missed is made up for; of more the strategy hears as of a short pause.
        const std::int64_t missed = (clock_.now() - next_tick_) / settings_.tick_interval;
        if (missed > 1 && bus_ != nullptr) {
            strategy_->paused(static_cast<std::uint64_t>(missed - 1));
            next_tick_ += (missed - 1) * settings_.tick_interval;
        }
        next_tick_ += settings_.tick_interval;
        const auto since = log_.writing_since();
        const bool stalled = since && clock_.now() - *since > settings_.sync_warn_after;
        if (stalled || stalled_) {
            strategy_->disk_stalled(stalled);
        }
        if (stalled && !stalled_) {
            log::warn("The disk has not answered a write or sync for {} ms; writes wait for it.",
                      std::chrono::duration_cast<std::chrono::milliseconds>(clock_.now() - *since).count());
        }
        stalled_ = stalled;
        strategy_->now(hybrid_clock_.soonest(wall_ms()));
        if (sender_) {
            const Duration passed = std::max<std::int64_t>(1, missed) * settings_.tick_interval;
            sender_->entries_too(strategy_->catches_up());
            strategy_->allow_catch_up(static_cast<std::uint64_t>(std::chrono::duration<double>(passed).count() *
                                                                 static_cast<double>(sender_->bytes_per_second())));
        }
        strategy_->tick();
        after_input(Where::kBus);
        Completions completions;
        watch_waiters(completions);
        pass_on(completions);
    }
    continue_digest();
    if (sender_) {
        sender_->tick();
        receiver_->tick();
    }
}

void ReplicaImpl::note_standing() {
    write_term_.store(strategy_->write_term().value, std::memory_order_release);
    serves_.store(strategy_->serves(), std::memory_order_release);
}

void ReplicaImpl::after_input(Where where) {
    note_standing();
    // Who waits for what an acknowledgement decided is answered before the others are told of it.
    const bool answers_first = where == Where::kLogLane && settings_.own_threads && !pumping_ && !halted() &&
                               !waiting_.empty() && strategy_->write_term().value != 0 && !strategy_->may_gather();
    if (!answers_first) {
        send_messages();
    }
    if (leaving_) {
        changed_.notify_all();
    }
    if (pumping_) {
        came_meanwhile_ = true;
        if (gathering_ && !strategy_->may_gather()) {
            stop_gathering();
        }
        return;
    }
    if (halted()) {
        return;
    }
    pumping_ = true;
    if (where != Where::kCaller && settings_.own_threads && settings_.gather.count() > 0 && strategy_->may_gather()) {
        gathering_ = true;
        run_on_disk_thread([this] { gather(); });
        return;
    }
    pump(where, answers_first);
    if (answers_first) {
        send_messages();
    }
}

void ReplicaImpl::stop_gathering() {
    if (gathering_) {
        gathering_ = false;
        gathered_.notify_one();
    }
}

void ReplicaImpl::gather() {
    MutexLock lock{mutex_};
    const Deadline end = clock_.now() + settings_.gather;
    while (gathering_ && !stopping_ && clock_.now() < end) {
        gathered_.wait_until(lock, end);
    }
    gathering_ = false;
    pump(Where::kCaller);
}

void ReplicaImpl::send_messages() {
    if (bus_ == nullptr) {
        return;
    }
    std::vector<Outbound> said = strategy_->take_messages();
    if (traces_) {
        traces_->label(said);
    }
    outbox_.insert(outbox_.end(), std::make_move_iterator(said.begin()), std::make_move_iterator(said.end()));
    flush_outbox();
}

void ReplicaImpl::flush_outbox() {
    if (sending_ || outbox_.empty()) {
        return;
    }
    sending_ = true;
    while (!outbox_.empty()) {
        std::vector<Outbound> now = std::exchange(outbox_, {});
        mutex_.unlock();
        for (Outbound& out : now) {
            bus_->send(out.to, out.lane, std::move(out.message));
        }
        mutex_.lock();
    }
    sending_ = false;
}

std::uint64_t ReplicaImpl::wall_ms() const {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(clock_.wall_ns(), 0)) / 1'000'000;
}

void ReplicaImpl::observe_state() {
    if (engine::RegionData* const data = regions()) {
        hybrid_clock_.observe(data->region_state()->time);
    }
}

// ---- What waits ----

void ReplicaImpl::watch_waiters(Completions& completions) {
    const Deadline now = clock_.now();
    release_readers(completions);
    std::erase_if(readers_, [&](Reader& reader) {
        if (reader.deadline > now) {
            return false;
        }
        completions.emplace_back(
            [done = std::move(reader.done), wanted = reader.wanted, latest = latest_for(reader)] {
                done(fail(ErrorCode::kBookmarkTimeout,
                          fmt::format("not up to the requested version: {}. Latest database version is {}",
                                      wanted.value,
                                      latest.value)));
            });
        return true;
    });
    // A process that ends answers before its sockets close: a driver that gets no answer to COMMIT may run it again.
    const bool last_call = leave_by_ && now >= *leave_by_;
    release_acknowledged(completions);
    const bool lost = !acknowledging_.empty() && strategy_->write_term().value == 0;
    std::erase_if(acknowledging_, [&](Acknowledging& waiter) {
        if (waiter.deadline > now && !lost && !last_call) {
            static_cast<void>(strategy_->expect(waiter.level));  // it is waited for, whoever is there
            return false;
        }
        completions.emplace_back([waiter = std::move(waiter), lost] {
            waiter.done(not_acknowledged(waiter.level, lost ? "this member stopped taking writes" : "the time was over"));
        });
        return true;
    });
    std::erase_if(asked_reads_, [&](auto& asked) {
        if (asked.second.deadline > now) {
            return false;
        }
        completions.emplace_back([done = std::move(asked.second.done)] {
            done(fail(ErrorCode::kTimedOut, "the other members did not confirm in time that a read here is current"));
        });
        return true;
    });
    std::erase_if(commands_, [&](auto& asked) {
        if (asked.second.deadline > now) {
            return false;
        }
        completions.emplace_back([done = std::move(asked.second.done)] {
            done(fail(ErrorCode::kTimedOut, "the command did not end in time; it may still take effect"));
        });
        return true;
    });
    if (bus_ == nullptr) {
        return;
    }
    give_up_late_commits(now, last_call, completions);
}

void ReplicaImpl::give_up_late_commits(Deadline now, bool last_call, Completions& completions) {
    const Term leads = strategy_->write_term();
    // Applied entries are seen by whoever begins now. Where another term came, what began before it is refused. While
    // leadership is handed over no writes are taken, but where that fails the same term goes on.
    const LogIndex applied = applied_index();
    settle(completions, [&](const Unsettled& entry) {
        return entry.index <= applied || (leads.value != 0 && entry.term != leads);
    });
    if (leads.value != 0) {
        led_at_ = now;
    }
    const Duration patience = now - led_at_ < kUnknownAfterLost ? settings_.unknown_after : kUnknownAfterLost;
    std::vector<Unsettled> unsettled;
    std::erase_if(waiting_, [&](auto& waiting) {
        if (!last_call && now - waiting.second.since < patience) {
            return false;
        }
        auto done = std::make_shared<CommitDone>(std::move(waiting.second.done));
        if (leads.value == 0 || waiting.second.term == leads) {
            unsettled.push_back({waiting.first, waiting.second.term, done});
        }
        completions.emplace_back([done = std::move(done)] {
            (*done)(fail(ErrorCode::kUnknownCommit,
                         "it is unknown whether the transaction was committed: it is in the log here, but the other "
                         "members did not answer in time"));
        });
        return true;
    });
    std::ranges::move(unsettled, std::back_inserter(unsettled_));
}

void ReplicaImpl::settle(Completions& completions, const std::function<bool(const Unsettled&)>& which) {
    std::erase_if(unsettled_, [&](Unsettled& entry) {
        if (!which(entry)) {
            return false;
        }
        completions.emplace_back([done = std::move(entry.done)] {});  // what it holds is let go of there, without the mutex
        return true;
    });
}

void ReplicaImpl::notice_pause() {
    if (bus_ == nullptr || next_tick_ == Deadline{}) {
        return;
    }
    const Deadline now = clock_.now();
    const std::int64_t missed = now < next_tick_ ? 0 : (now - next_tick_) / settings_.tick_interval;
    if (missed > kMissedTicksMax) {
        // What arrived meanwhile is heard before time-outs are judged.
        strategy_->paused(static_cast<std::uint64_t>(missed));
        next_tick_ += missed * settings_.tick_interval;
    }
}

void ReplicaImpl::watch_loop() {
    const Duration interval = bus_ == nullptr ? kWatchInterval : settings_.tick_interval;
    MutexLock lock{mutex_};
    Deadline next = clock_.now() + interval;
    while (!stopping_) {
        changed_.wait_until(lock, next);
        if (stopping_ || clock_.now() < next) {
            continue;
        }
        lock.unlock();
        tick();
        lock.lock();
        next = bus_ == nullptr ? clock_.now() + interval : next_tick_;
    }
}

// ---- What is asked from outside ----

LogIndex ReplicaImpl::committed() const {
    const MutexLock lock{mutex_};
    return strategy_ == nullptr ? LogIndex{0} : strategy_->committed();
}

ClusterView ReplicaImpl::view() const {
    const MutexLock lock{mutex_};
    return strategy_ == nullptr ? ClusterView{} : strategy_->view();
}

std::vector<SeenLeaderChange> ReplicaImpl::leader_changes() const {
    const MutexLock lock{mutex_};
    return {leader_changes_.begin(), leader_changes_.end()};
}

ReplicaStats ReplicaImpl::stats() const {
    const MutexLock lock{mutex_};
    ReplicaStats out = stats_;
    out.first_index = log_.first_index();
    out.last_index = log_.last_index();
    out.log_bytes = log_.disk_bytes();
    out.applied_index = applied_index();
    out.failed = failure_.has_value();
    if (sender_) {
        out.snapshot_bytes_sent = sender_->bytes_sent();
        out.snapshot_bytes_received = receiver_->bytes_received();
    }
    return out;
}

std::optional<Error> ReplicaImpl::out_of_service() const {
    if (serves_.load(std::memory_order_acquire)) {
        return std::nullopt;
    }
    return Error{ErrorCode::kDatabaseUnavailable, "this member serves nobody: " + view().reason};
}

std::optional<Error> ReplicaImpl::failure() const {
    const MutexLock lock{mutex_};
    return failure_;
}

namespace {

/// Runs `start`, which answers through its argument, and waits for the answer.
template <class T, class Start>
Result<T> wait_for(Start&& start) {
    std::mutex mutex;
    std::condition_variable answered;
    std::optional<Result<T>> answer;
    start([&](Result<T> result) {
        const std::lock_guard lock{mutex};
        answer.emplace(std::move(result));
        answered.notify_one();
    });
    std::unique_lock lock{mutex};
    answered.wait(lock, [&] { return answer.has_value(); });
    return std::move(*answer);
}

}  // namespace

Result<Committed> Replica::commit_and_wait(std::string write_set, std::optional<Term> began_in, std::shared_ptr<void> keep) {
    return wait_for<Committed>([&](auto done) {
        commit(std::move(write_set), began_in, [keep = std::move(keep), done](Result<Committed> committed) { done(std::move(committed)); });
    });
}

Result<std::string> Replica::command_and_wait(const Command& asked, Deadline deadline) {
    return wait_for<std::string>([&](auto done) { command(asked, deadline, done); });
}

std::unique_ptr<Replica> make_replica(ReplicaParts parts, const ReplicaSettings& settings) {
    return std::make_unique<ReplicaImpl>(std::move(parts), settings);
}

}  // namespace nornic::modes
