// Carrying out what the strategy decided, in the one safe order.
#include "base/check.h"
#include "modes/diverged.h"
#include "modes/replica_impl.h"
#include "modes/snapshot_transfer.h"
#include "observability/log.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace nornic::modes {
namespace {

constexpr std::size_t kSliceCompletions = 16;
constexpr std::size_t kCrowdedEntries = 16;                       // applied at a time while each has to wait
constexpr std::size_t kApplyBytes = std::size_t{4} << 20;     // read from the log at a time
constexpr std::size_t kUnappliedMax = 16384;                  // kept in memory; the log has them all
constexpr std::size_t kDivergedEntriesPerFile = 10'000;
constexpr std::size_t kDivergedBytesPerFile = std::size_t{16} << 20;  // as logged
// What a thread that carries messages writes or applies itself: a hand-over costs more than that, and less than any more.
constexpr std::size_t kQuickBytes = std::size_t{64} << 10;
constexpr Duration kQuick = std::chrono::milliseconds{1};  // the last one of its kind

/// Something to write, or to say once that is done.
bool has_to_persist(const Ready& ready) {
    return !ready.entries.empty() || ready.hard_state.has_value() || !ready.messages_after_append.empty() ||
           !ready.messages_after_persist.empty();
}

Error lost_to_another() {
    return Error{ErrorCode::kConflict,
                 "the transaction was not committed: another member became the primary before it was replicated"};
}

}  // namespace

void ReplicaImpl::pump(Where where, bool answers_first) {
    Completions completions;
    for (;;) {
        if (failure_) {
            break;
        }
        came_meanwhile_ = false;
        const std::optional<LogIndex> cut = next_cut();
        if ((install_ || cut) && where != Where::kCaller && settings_.own_threads) {
            pass_on(completions);
            pump_elsewhere();
            return;  // pumping_ stays: files are exchanged by a thread that may wait for the disk
        }
        if (install_) {
            install_pending(completions);
            continue;
        }
        if (cut) {
            cut_log(*cut);
        }
        Ready ready = strategy_->take_ready();
        note_standing();
        const bool has_entries = has_to_persist(ready);
        // What is written now must not be heard of before what was said before.
        if (!answers_first || has_entries || ready.reset_log || ready.rewind_to) {
            send_messages();
        }
        answer_ready(ready, completions);
        carry_out_beside(ready);
        if (ready.reset_log) {
            reset_log(ready, completions);
            continue;
        }
        if (ready.rewind_to && (settings_.run_disk || where != Where::kCaller)) {
            pass_on(completions);
            hand_over([this, keep = *ready.rewind_to] {
                const MutexLock lock{mutex_};
                Completions answers;
                rewind(keep, answers);
                pass_on(answers);
                pump(Where::kCaller);
            });
            return;  // pumping_ stays: the work goes on with it
        }
        if (ready.rewind_to) {
            rewind(*ready.rewind_to, completions);
            continue;
        }
        const bool has_applies = engine_ != nullptr && ready.committed > engine_->applied_index();
        if (!has_entries && !has_applies) {
            if (came_meanwhile_) {
                continue;  // while this thread had let go of the strategy: whoever brought it has left it to this one
            }
            break;
        }
        if (has_applies && !may_apply(where, ready.committed)) {
            pass_on(completions);
            carry_out_elsewhere(std::move(ready));
            return;  // pumping_ stays: the work goes on with it
        }
        // What the last round made durable is applied and answered first; its clients need not wait
        // for the next sync.
        const bool applies_late = has_applies && has_entries && may_apply_late();
        if (has_applies && !applies_late) {
            apply(ready.committed, completions);
            if (failure_) {
                break;
            }
            // A single answer with nothing behind it waits for the end of the loop: it runs on this
            // thread once another may take the pump.
            if (has_entries || completions.size() > 1) {
                pass_on(completions);
            }
        }
        if (!has_entries) {
            continue;
        }
        if (!may_write(where, ready)) {
            pass_on(completions);
            carry_out_elsewhere(std::move(ready));
            return;  // pumping_ stays: the work goes on with it
        }
        persist(ready, completions);
        if (applies_late && !failure_) {
            apply(ready.committed, completions);
        }
    }
    pumping_ = false;
    if (stopping_ || leaving_) {
        changed_.notify_all();  // stop() and leave() wait for it; else nobody is woken, a commit costs no such call
    }
    run(completions, where);
}

/// By a thread that may wait for the disk. Precondition: pumping_, which stays.
void ReplicaImpl::pump_elsewhere() {
    hand_over([this] {
        const MutexLock lock{mutex_};
        pump(Where::kCaller);
    });
}

/// What is left of it, by a thread that may wait for the disk; then whatever has come meanwhile.
void ReplicaImpl::carry_out_elsewhere(Ready ready) {
    hand_over([this, shared = std::make_shared<Ready>(std::move(ready))] {
        const MutexLock lock{mutex_};
        Completions answers;
        const bool has_applies = engine_ != nullptr && shared->committed > engine_->applied_index();
        const bool applies_late = has_applies && may_apply_late();
        if (has_applies && !applies_late) {
            apply(shared->committed, answers);
            pass_on(answers);
        }
        if (!failure_ && has_to_persist(*shared)) {
            persist(*shared, answers);
            pass_on(answers);
        }
        if (applies_late && !failure_) {
            apply(shared->committed, answers);
            pass_on(answers);
        }
        pump(Where::kCaller);
    });
}

void ReplicaImpl::persist(Ready& ready, Completions& completions) {
    if (traces_) {
        traces_->append_begins(ready.entries);
        traces_->label(ready.messages_after_append);
    }
    mutex_.unlock();
    const Result<> outcome = write(ready);
    mutex_.lock();
    written(ready, outcome, completions);
}

/// A thread that carries messages: only a little that need not be read from the log, and not where the store has just made
/// somebody wait, as RocksDB does when it is behind. Heartbeats would wait with it.
bool ReplicaImpl::may_apply(Where where, LogIndex committed) const {
    if (where == Where::kCaller || !settings_.own_threads) {
        return true;
    }
    if (last_apply_ns_ >= static_cast<std::uint64_t>(kQuick.count()) || unapplied_.empty() ||
        unapplied_.front().index.value > engine_->applied_index().value + 1) {
        return false;
    }
    std::size_t bytes = 0;
    for (const Entry& entry : unapplied_) {
        if (entry.index > committed) {
            break;
        }
        bytes += entry.payload.size();
        if (bytes > kQuickBytes) {
            return false;
        }
    }
    return true;
}

bool ReplicaImpl::may_write(Where where, const Ready& ready) const {
    if (settings_.run_disk) {
        return false;
    }
    if (where != Where::kLogLane) {
        return where == Where::kCaller;
    }
    std::size_t bytes = 0;
    for (const Entry& entry : ready.entries) {
        bytes += entry.payload.size();
    }
    return bytes <= kQuickBytes && strategy_->write_term().value == 0 && last_sync_ns_ < static_cast<std::uint64_t>(kQuick.count());
}

void ReplicaImpl::hand_over(std::function<void()> work) {
    if (settings_.run_disk) {
        settings_.run_disk(std::move(work));
    } else if (settings_.own_threads) {
        run_on_disk_thread(std::move(work));
    } else {
        mutex_.unlock();
        work();
        mutex_.lock();
    }
}

void ReplicaImpl::answer_ready(Ready& ready, Completions& completions) {
    for (const std::string& event : ready.events) {
        if (const auto held_back = said_.allow(event)) {
            log::info("{}{}", event, and_more(*held_back));
        }
    }
    for (const std::string& error : ready.errors) {
        if (const auto held_back = said_.allow(error)) {
            log::error("{}{}", error, and_more(*held_back));
        }
    }
    for (LeaderChange& change : ready.leader_changes) {
        remember(std::move(change));
    }
    const Deadline now = ready.placed.empty() || bus_ == nullptr ? Deadline{} : clock_.now();
    for (const Placed& placed : ready.placed) {
        auto node = proposed_.extract(placed.id);
        if (!node.empty()) {
            waiting_[placed.index] = {placed.term, now, std::move(node.mapped())};
        }
        if (traces_) {
            traces_->placed(placed);
        }
    }
    for (Refusal& refusal : ready.refused) {
        auto node = proposed_.extract(refusal.id);
        if (!node.empty()) {
            ++stats_.refused;
            completions.emplace_back([done = std::move(node.mapped()), error = refusal.error] { done(error); });
        }
        if (traces_) {
            traces_->refused(refusal.id);
        }
    }
    for (const ReadPoint& point : ready.reads) {
        auto node = asked_reads_.extract(point.id);
        if (!node.empty()) {
            AskedRead& asked = node.mapped();
            readers_.push_back({std::max(point.index, asked.bookmark.value_or(LogIndex{0})),
                                asked.deadline,
                                std::move(asked.done)});
        }
    }
    if (!ready.reads.empty()) {
        release_readers(completions);
    }
    release_acknowledged(completions);
    for (RefusedRead& refused : ready.refused_reads) {
        auto node = asked_reads_.extract(refused.id);
        if (!node.empty()) {
            completions.emplace_back(
                [done = std::move(node.mapped().done), error = refused.error] { done(error); });
        }
    }
    for (CommandAnswer& answer : strategy_->take_answers()) {
        auto node = commands_.extract(answer.id);
        if (!node.empty()) {
            completions.emplace_back(
                [done = std::move(node.mapped().done), outcome = std::move(answer.outcome)] { done(outcome); });
        }
    }
    if (!ready.send_snapshot.empty()) {
        begin_snapshots(ready.send_snapshot);
    }
}

void ReplicaImpl::remember(LeaderChange change) {
    const auto name = [](const NodeName& id) { return id.empty() ? std::string{"nobody"} : "'" + id + "'"; };
    if (bus_ != nullptr) {
        log::info("Leader: {} after {}, term {}: {}.", name(change.to), name(change.from), change.term.value, change.reason);
    }
    if (leader_changes_.size() >= kLeaderChangesKept) {
        leader_changes_.pop_front();
    }
    leader_changes_.push_back({clock_.wall_ns(), std::move(change)});
    leader_version_.fetch_add(1, std::memory_order_release);
    ++stats_.leader_changes;
}

/// Without mutex_: a checkpoint may be written here and now, and tells of itself; whom the bus dials no more is lost.
void ReplicaImpl::carry_out_beside(Ready& ready) {
    const bool dials = ready.dial && bus_ != nullptr;
    const bool checkpoints = ready.checkpoint && engine_ != nullptr && !checkpoint_asked_.exchange(true);
    if (!dials && !checkpoints) {
        return;
    }
    mutex_.unlock();
    if (dials) {
        std::erase(*ready.dial, parts_.start.cluster_address);
        bus_->set_peers(std::move(*ready.dial));
    }
    if (checkpoints) {
        snapshot_work([this] {
            checkpoint_asked_ = false;
            if (const auto done = engine_->checkpoint(); !done) {
                log::warn("A checkpoint could not be written: {}. The log is kept until one is.", done.error().message());
            }
        });
    }
    mutex_.lock();
}

// ---- Lost branches ----

void ReplicaImpl::give_up_waiting(const std::string& why, Completions& completions) {
    const Error unknown{ErrorCode::kUnknownCommit, why};
    for (auto& [index, waiter] : waiting_) {
        completions.emplace_back([done = std::move(waiter.done), unknown] { done(unknown); });
    }
    waiting_.clear();
    settle(completions, [](const Unsettled&) { return true; });
}

void ReplicaImpl::reset_log(const Ready& ready, Completions& completions) {
    const LogPlace place = *ready.reset_log;
    NORNIC_CHECK(engine_ == nullptr, "the log of a member with data begins anew behind a snapshot only");
    log::info("The log begins anew behind entry {}.", place.index.value);
    mutex_.unlock();
    Result<> done = ready.hard_state ? log_.set_hard_state(*ready.hard_state) : success();
    if (done) {
        done = log_.sync();
    }
    if (done) {
        done = log_.reset(LogIndex{place.index.value + 1}, place.term);
    }
    if (done) {
        done = log_.sync();
    }
    mutex_.lock();
    if (!done) {
        log::error("The log could not be begun anew: {}. This server stops; start it again.", done.error().message());
        fail_for_good(done.error(), completions);
        return;
    }
    log_view_.whole();
    cut_at_bytes_ = 0;
    give_up_waiting("it is unknown whether the transaction was committed: this member's log was begun anew meanwhile",
                    completions);
    strategy_->log_reset();
}

void ReplicaImpl::rewind(LogIndex keep, Completions& completions) {
    mutex_.unlock();
    std::uint64_t saved = 0;
    const Result<bool> taken_back = take_back(keep, saved);
    const Result<> cut = taken_back ? forget_branch(keep) : Result<>{taken_back.error()};
    mutex_.lock();
    stats_.diverged_entries += saved;
    const bool no_room = !cut && cut.error().code() == ErrorCode::kDiskFull && !log_.failed();
    if (!taken_back || (!cut && !no_room)) {
        log::error("A lost branch of the log could not be given up: {}. This server stops; start it again.",
                   cut.error().message());
        fail_for_good(cut.error(), completions);
        return;
    }
    while (!unapplied_.empty() && unapplied_.back().index > keep) {
        unapplied_.pop_back();
    }
    // Their entries will never be applied anywhere, unless the disk still has them: an operator can force them back.
    const Error lost = no_room ? Error{ErrorCode::kUnknownCommit,
                                       "it is unknown whether the transaction was committed: another member became the "
                                       "primary before it was replicated, and the disk has no room to note that"}
                               : lost_to_another();
    for (auto at = waiting_.upper_bound(keep); at != waiting_.end(); at = waiting_.erase(at)) {
        completions.emplace_back([done = std::move(at->second.done), lost] { done(lost); });
    }
    settle(completions, [keep](const Unsettled& entry) { return entry.index > keep; });
    log_view_.end_at(keep);
    strategy_->rewound(keep, taken_back.value());
}

Result<bool> ReplicaImpl::take_back(LogIndex keep, std::uint64_t& saved) {
    const LogIndex last = log_.last_index();
    for (LogIndex from{std::max(keep.value + 1, log_.first_index().value)}; from <= last;) {
        std::vector<Entry> lost;
        std::size_t bytes = 0;
        NORNIC_TRY(log_.read(from, last, [&](const Entry& entry) {
            lost.push_back(entry);
            bytes += entry.payload.size();
            return lost.size() < kDivergedEntriesPerFile && bytes < kDivergedBytesPerFile;
        }));
        NORNIC_CHECK(!lost.empty(), "no entries from {} to {}", from.value, last.value);
        from = LogIndex{lost.back().index.value + 1};
        std::uint64_t writes = 0;
        for (const Entry& entry : lost) {
            writes += entry.kind == EntryKind::kNoop ? 0 : 1;
        }
        if (writes == 0) {
            continue;  // a promotion's own mark and nothing of a user's
        }
        const std::string name = diverged_name(lost);
        engine::TokenNames names;
        if (engine_ != nullptr) {
            names = [this](DatabaseId database, engine::TokenKind kind, std::uint32_t id) {
                return engine_->token_name(database, kind, id);
            };
        }
        const std::string text = describe_entries(lost, names);
        if (settings_.diverged_sink) {
            settings_.diverged_sink(name, text);
        } else if (!settings_.diverged_directory.empty()) {
            NORNIC_TRY(save_diverged(settings_.diverged_directory, name, text));
            log::warn("{} writes were logged here but never taken over by the new primary. They are not in the "
                      "data; '{}/{}' has them in readable form.",
                      writes,
                      settings_.diverged_directory,
                      name);
        }
        saved += writes;
    }
    if (engine_ == nullptr || engine_->applied_index() <= keep) {
        return true;
    }
    if (engine_->durable_index() > keep) {
        return false;
    }
    NORNIC_TRY(engine_->reload());
    if (engine_->applied_index() > keep) {
        return false;  // a checkpoint was written meanwhile
    }
    NORNIC_TRY(replay(keep));
    return true;
}

/// On disk before anybody is told, or the branch would be back after a crash. What the store has on disk stays: the log
/// must reach as far.
Result<> ReplicaImpl::forget_branch(LogIndex keep) {
    NORNIC_TRY(log_.truncate_after(std::max({keep, applied_index(), LogIndex{log_.first_index().value - 1}})));
    return log_.sync();
}

// ---- Persisting ----

Result<> ReplicaImpl::write(const Ready& ready) {
    if (ready.hard_state) {
        NORNIC_TRY(log_.set_hard_state(*ready.hard_state));
    }
    if (!ready.entries.empty()) {
        NORNIC_TRY(log_.append(ready.entries));
    }
    // The peers write while this member does.
    if (sending_) {
        // What was said before goes first: a peer that hears of entries without those before them asks for them again.
        const MutexLock lock{mutex_};
        outbox_.insert(outbox_.end(), ready.messages_after_append.begin(), ready.messages_after_append.end());
        flush_outbox();
    } else if (bus_ != nullptr) {
        for (const Outbound& out : ready.messages_after_append) {
            bus_->send(out.to, out.lane, out.message);
        }
    }
    if (!ready.hard_state && ready.entries.empty()) {
        return success();
    }
    const Deadline began = clock_.now();
    const Result<> synced = log_.sync();
    last_sync_ns_ = static_cast<std::uint64_t>((clock_.now() - began).count());
    return synced;
}

void ReplicaImpl::written(Ready& ready, const Result<>& outcome, Completions& completions) {
    notice_pause();
    if (traces_) {
        traces_->append_ended(outcome.has_value(), Duration{static_cast<std::int64_t>(last_sync_ns_)});
    }
    if (outcome) {
        if (ready.hard_state || !ready.entries.empty()) {
            ++stats_.batches;
            ++stats_.sync_count;
            stats_.sync_ns_total += last_sync_ns_;
            stats_.sync_ns_max = std::max(stats_.sync_ns_max, last_sync_ns_);
            if (stats_.disk_full) {
                log::info("There is room on the disk again; writes go on.");
            }
            stats_.disk_full = false;
        }
        if (!ready.entries.empty()) {
            const LogIndex first = ready.entries.front().index;
            const LogIndex last = ready.entries.back().index;
            for (const Entry& entry : ready.entries) {
                hybrid_clock_.observe(entry.hybrid_time);
            }
            while (!unapplied_.empty() && unapplied_.back().index >= first) {
                unapplied_.pop_back();
            }
            if (engine_ != nullptr && unapplied_.size() < kUnappliedMax &&
                (unapplied_.empty() || unapplied_.back().index.value + 1 == first.value)) {
                for (Entry& entry : ready.entries) {
                    unapplied_.push_back(std::move(entry));
                }
            }
            log_view_.whole();
            strategy_->persisted(last);
        } else if (ready.hard_state) {
            strategy_->persisted(log_view_.last_index());
        }
        if (bus_ != nullptr) {
            std::ranges::move(ready.messages_after_persist, std::back_inserter(outbox_));
            send_messages();
        }
        return;
    }
    const Error& error = outcome.error();
    if (error.code() == ErrorCode::kDiskFull && !log_.failed() && !ready.entries.empty()) {
        if (!stats_.disk_full) {
            log::error("The disk is full; writes are refused until there is room again: {}", error.message());
        }
        stats_.disk_full = true;
        const LogIndex first = ready.entries.front().index;
        for (auto at = waiting_.lower_bound(first); at != waiting_.end() && at->first <= ready.entries.back().index;) {
            if (ready.entries[at->first.value - first.value].term != at->second.term) {
                ++at;  // an entry of an earlier term, which stays in the log: others may have it, too
                continue;
            }
            ++stats_.refused;
            completions.emplace_back([done = std::move(at->second.done), error] { done(error); });
            at = waiting_.erase(at);
        }
        strategy_->not_persisted(first);
        return;
    }
    log::error("The log cannot be written: {}. Restart this server: it verifies its log from disk.",
               error.message());
    fail_for_good(error, completions);
}

void ReplicaImpl::fail_for_good(const Error& error, Completions& completions) {
    failure_ = error;
    write_term_.store(0, std::memory_order_release);
    const Error unknown{ErrorCode::kUnknownCommit,
                        "it is unknown whether the transaction was committed: " + error.message()};
    give_up_waiting(unknown.message(), completions);
    for (Acknowledging& waiter : acknowledging_) {
        completions.emplace_back([done = std::move(waiter.done), unknown] { done(unknown); });
    }
    acknowledging_.clear();
    const Error refused{ErrorCode::kDatabaseUnavailable, "this member takes no writes since " + error.message()};
    for (auto& [id, waiter] : proposed_) {
        completions.emplace_back([done = std::move(waiter), refused] { done(refused); });
    }
    proposed_.clear();
}

// ---- Applying ----

Result<std::vector<Entry>> ReplicaImpl::next_committed(LogIndex committed) {
    std::vector<Entry> batch;
    const LogIndex next{engine_->applied_index().value + 1};
    while (!unapplied_.empty() && unapplied_.front().index < next) {
        unapplied_.pop_front();
    }
    if (!unapplied_.empty() && unapplied_.front().index == next) {
        // Where each entry waits, other things are due between some of them.
        const std::size_t most = unapplied_.size() > kCrowdedEntries && engine_->is_crowded() ? kCrowdedEntries : SIZE_MAX;
        while (!unapplied_.empty() && unapplied_.front().index <= committed && batch.size() < most) {
            batch.push_back(std::move(unapplied_.front()));
            unapplied_.pop_front();
        }
        return batch;
    }
    const LogIndex to =
        unapplied_.empty() ? committed : std::min(committed, LogIndex{unapplied_.front().index.value - 1});
    mutex_.unlock();
    auto read = log_view_.read(next, to, kApplyBytes);
    mutex_.lock();
    return read;
}

void ReplicaImpl::apply(LogIndex committed, Completions& completions) {
    auto batch = next_committed(committed);
    Result<> done = success();
    Deadline ended{};
    std::vector<std::pair<LogIndex, Result<std::unique_ptr<engine::StateView>>>> marked;
    if (!batch) {
        done = batch.error();
    } else {
        const auto traced = traces_ ? traces_->among(batch.value()) : EntryTraces::Contexts{};
        auto next_traced = traced.begin();
        mutex_.unlock();
        const Deadline began = clock_.now();
        for (const Entry& entry : batch.value()) {
            Span span;
            if (next_traced != traced.end() && next_traced->first == entry.index) {
                span = parts_.tracer->child("apply", (next_traced++)->second);
                span.set("nornicdb.log.index", static_cast<std::int64_t>(entry.index.value));
            }
            done = apply_entry(entry);
            if (!done) {
                break;
            }
            if (is_comparison_mark(entry)) {
                marked.emplace_back(entry.index, engine_->view_state());
            }
        }
        ended = clock_.now();
        mutex_.lock();
        last_apply_ns_ = static_cast<std::uint64_t>((ended - began).count());
    }
    if (!done) {
        log::error("Log entry {} cannot be applied: {}. This server stops: going on would be divergence.",
                   engine_->applied_index().value + 1,
                   done.error().message());
        fail_for_good(done.error(), completions);
        return;
    }
    NORNIC_CHECK(!batch.value().empty(), "nothing to apply up to {}", committed.value);
    const LogIndex last = batch.value().back().index;
    observe_state();
    strategy_->applied(last);
    for (auto& [index, view] : marked) {
        begin_digest(index, std::move(view));
    }
    stats_.commits += batch.value().size();
    stats_.last_applied_wall_ns =
        static_cast<std::int64_t>(batch.value().back().hybrid_time >> 16) * 1'000'000;
    auto entry = batch.value().begin();
    while (!waiting_.empty() && waiting_.begin()->first <= last) {
        auto node = waiting_.extract(waiting_.begin());
        while (entry != batch.value().end() && entry->index < node.key()) {
            ++entry;
        }
        if (entry != batch.value().end() && entry->index == node.key() && entry->term == node.mapped().term) {
            if (sender_) {
                sender_->write_took(ended - node.mapped().since);
            }
            completions.emplace_back([waiter = std::move(node.mapped().done),
                                      result = Committed{node.key(), node.mapped().term}] { waiter(result); },
                                     true);
        } else {
            completions.emplace_back([waiter = std::move(node.mapped().done)] { waiter(lost_to_another()); });
        }
    }
    // Terms never fall along a log: nothing of an earlier one can stand behind what was applied.
    const Term newest = batch.value().back().term;
    std::erase_if(waiting_, [&](auto& waiting) {
        if (waiting.second.term >= newest) {
            return false;
        }
        completions.emplace_back([waiter = std::move(waiting.second.done)] { waiter(lost_to_another()); });
        return true;
    });
    release_readers(completions);
}

void ReplicaImpl::release_readers(Completions& completions) {
    if (readers_.empty()) {
        return;
    }
    const LogIndex applied = applied_index();
    std::erase_if(readers_, [&](Reader& reader) {
        if (reader.wanted > (reader.history.empty() ? applied : latest_for(reader))) {
            return false;
        }
        completions.emplace_back([done = std::move(reader.done), applied] { done(applied); });
        return true;
    });
}

void ReplicaImpl::release_acknowledged(Completions& completions) {
    std::erase_if(acknowledging_, [&](Acknowledging& waiter) {
        if (strategy_->acknowledged(waiter.level) < waiter.index) {
            return false;
        }
        completions.emplace_back([done = std::move(waiter.done)] { done(success()); });
        return true;
    });
}

/// The log may forget what a checkpoint covers, unless a peer still wants it and there is room to keep it.
std::optional<LogIndex> ReplicaImpl::next_cut() {
    if (engine_ == nullptr) {
        return next_cut_without_state();
    }
    const std::uint64_t covered = cut_before_.load(std::memory_order_relaxed);
    if (covered == 0) {
        return std::nullopt;
    }
    // Never past what this state has on disk: it may have been replaced since.
    std::uint64_t cut = std::min(covered, engine_->durable_index().value + 1);
    if (bus_ != nullptr && log_.disk_bytes() < settings_.log_retention_bytes) {
        if (const auto wanted = strategy_->wanted_from()) {
            cut = std::min(cut, wanted->value);
        }
        if (const auto pinned = sender_ ? sender_->pinned() : std::nullopt) {
            cut = std::min(cut, pinned->value);
        }
    }
    if (log_.may_truncate_before(LogIndex{cut})) {
        return LogIndex{cut};
    }
    if (cut == covered) {
        std::uint64_t expected = covered;
        cut_before_.compare_exchange_strong(expected, 0, std::memory_order_relaxed);
    }
    return std::nullopt;
}

/// What is committed and wanted by nobody is of no use to a member that only votes and acknowledges.
std::optional<LogIndex> ReplicaImpl::next_cut_without_state() {
    const std::uint64_t bytes = log_.disk_bytes();
    if (cut_at_bytes_ == 0) {
        cut_at_bytes_ = settings_.witness_log_step_bytes;
    }
    if (bytes < cut_at_bytes_) {
        return std::nullopt;
    }
    const LogIndex committed = strategy_->committed();
    const LogIndex cut = std::min(strategy_->wanted_from().value_or(committed), committed);
    if (log_.may_truncate_before(cut)) {
        return cut;
    }
    cut_at_bytes_ = bytes + settings_.witness_log_step_bytes;
    return std::nullopt;
}

void ReplicaImpl::cut_log(LogIndex first_kept) {
    mutex_.unlock();
    const Result<> done = log_.truncate_before(first_kept);
    if (!done) {
        log::warn("The log could not be shortened before index {}: {}", first_kept.value, done.error().message());
    }
    mutex_.lock();
    if (!done) {
        cut_before_.store(0, std::memory_order_relaxed);  // with the next checkpoint again
    }
    if (engine_ == nullptr && (!done || !log_.may_truncate_before(first_kept))) {
        cut_at_bytes_ = log_.disk_bytes() + settings_.witness_log_step_bytes;
    }
}

// ---- Threads ----

void ReplicaImpl::run(Completions& completions, Where where) {
    const bool one_brief = settings_.own_threads && completions.size() == 1 && completions.front().brief;
    const bool here = where == Where::kCaller || !settings_.post || one_brief;
    if (!here) {
        pass_on(completions);
        return;
    }
    if (completions.empty()) {
        return;
    }
    Completions mine = std::exchange(completions, {});
    mutex_.unlock();
    for (const Completion& completion : mine) {
        completion.work();
    }
    mine.clear();  // what they hold ends without the mutex
    mutex_.lock();
}

void ReplicaImpl::pass_on(Completions& completions) {
    if (completions.empty()) {
        return;
    }
    Completions mine = std::exchange(completions, {});
    mutex_.unlock();
    if (settings_.post) {
        // In slices: a hand-over for each answer would cost more than the answer.
        for (std::size_t begin = 0; begin < mine.size(); begin += kSliceCompletions) {
            const std::size_t end = std::min(mine.size(), begin + kSliceCompletions);
            auto slice =
                std::make_shared<Completions>(std::make_move_iterator(mine.begin() + static_cast<std::ptrdiff_t>(begin)),
                                              std::make_move_iterator(mine.begin() + static_cast<std::ptrdiff_t>(end)));
            settings_.post([slice] {
                for (const Completion& completion : *slice) {
                    completion.work();
                }
            });
        }
    } else {
        for (const Completion& completion : mine) {
            completion.work();
        }
        mine.clear();
    }
    mutex_.lock();
}

void ReplicaImpl::run_on_disk_thread(std::function<void()> work) {
    const MutexLock lock{disk_mutex_};
    disk_work_.push_back(std::move(work));
    disk_wake_.notify_one();
}

void ReplicaImpl::disk_loop() {
    MutexLock lock{disk_mutex_};
    for (;;) {
        while (disk_work_.empty() && !disk_stopping_) {
            disk_wake_.wait(lock);
        }
        if (disk_work_.empty()) {
            return;
        }
        std::function<void()> work = std::move(disk_work_.front());
        disk_work_.pop_front();
        lock.unlock();
        work();
        lock.lock();
    }
}

}  // namespace nornic::modes
