// The standby: takes the primary's log as its own.
#include "modes/hot_standby/hot_standby_impl.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace nornic::modes {

using transport::LANE_LOG;
using transport::WALBatchResponse;

namespace {

constexpr std::size_t kAnswersKept = 256;

}  // namespace

// ---- Being in sync ----

/// Otherwise the primary never goes on alone without this member or the witness having heard of it.
bool HotStandby::in_sync_ends() const {
    return settings_.sync_mode == SyncMode::kSemiSync && settings_.fence_policy == FencePolicy::kAvailable;
}

std::uint64_t HotStandby::in_sync_until_tick() const {
    return told_tick_ + in_sync_lasts(std::uint64_t{settings_.failover_ticks}, std::uint64_t{settings_.heartbeat_ticks});
}

bool HotStandby::is_in_sync() const {
    return told_in_sync_ && (!in_sync_ends() || tick_ < in_sync_until_tick());
}

void HotStandby::note_answer(std::uint64_t sequence) {
    answers_given_.emplace_back(sequence, tick_);
    if (answers_given_.size() > kAnswersKept) {
        answers_given_.pop_front();
    }
}

std::optional<std::uint64_t> HotStandby::answer_tick(std::uint64_t sequence) const {
    const auto at = std::ranges::lower_bound(answers_given_, sequence, {}, [](const auto& answer) { return answer.first; });
    return at != answers_given_.end() && at->first == sequence ? std::optional{at->second} : std::nullopt;
}

// ---- Following ----

void HotStandby::acknowledge(WALBatchResponse::Outcome outcome, LogIndex try_index, std::uint64_t probe) {
    ClusterMessage message;
    auto& m = *message.mutable_wal_batch_response();
    m.set_epoch(epoch_.value);
    m.set_outcome(outcome);
    m.set_probe(probe);
    const LogIndex received = no_room_ ? std::min(matched_, persisted_) : matched_;
    if (outcome == WALBatchResponse::ACCEPTED) {
        said_received_ = std::max(said_received_, received);
    }
    m.set_received_index(received.value);
    m.set_persisted_index(std::min(matched_, persisted_).value);
    m.set_applied_index(applied_.value);
    if (outcome == WALBatchResponse::MISMATCH) {
        m.set_try_index(try_index.value);
        m.set_try_epoch(term_of(LogIndex{try_index.value - 1}).value);
    }
    say_after_persist(peer_.info.id, LANE_LOG, std::move(message));
}

/// Where the run of entries that have the same epoch as the one at `at` begins: the logs met at or before it, so one
/// round trip an epoch finds the place (thesis 5.3 does the same for terms).
LogIndex HotStandby::start_of_epoch_run(LogIndex at) const {
    const Term epoch = term_of(at);
    std::uint64_t low = start_.log == nullptr ? 1 : std::max<std::uint64_t>(1, start_.log->first_index().value);
    std::uint64_t high = at.value;
    while (low < high) {
        const std::uint64_t middle = low + (high - low) / 2;
        if (term_of(LogIndex{middle}) < epoch) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return LogIndex{high};
}

void HotStandby::on_batch(const NodeName& from, const transport::WALBatch& m) {
    const Term epoch{m.epoch()};
    if (last_.value > 0 && m.history() != history_ && (epoch >= epoch_ || !m.history().empty())) {
        acknowledge(WALBatchResponse::FOREIGN_HISTORY);  // whatever its epoch is
        return;
    }
    if (epoch < epoch_ || (epoch == epoch_ && primary_ == start_.self)) {
        acknowledge(WALBatchResponse::STALE_EPOCH, {}, m.probe());
        return;
    }
    if (epoch > epoch_ || state_ != State::kStandby || primary_ != from) {
        adopt(epoch, from);
        follow(from);
    }
    primary_heard_tick_ = tick_;
    acknowledge_persisted_ = m.acknowledge_persisted();
    note_primary_epochs(m);
    if (rewinding_) {
        return;
    }
    needs_snapshot_ = needs_snapshot_ || m.history() != history_;
    if (needs_snapshot_) {
        acknowledge(WALBatchResponse::NEEDS_SNAPSHOT);
        return;
    }
    if (m.entries().empty() && !m.epochs().empty() && compare_histories(m)) {
        return;
    }
    const LogIndex previous{m.previous_index()};
    if (previous > last_) {
        if (left_out_ && !m.entries().empty()) {
            return;  // they stand behind those
        }
        acknowledge(WALBatchResponse::MISMATCH, LogIndex{last_.value + 1}, m.probe());
        return;
    }
    // Bytes from outside: consecutive, of epochs that never fall, none of a later epoch than the sender's.
    std::uint64_t expected = previous.value;
    std::uint64_t newest = m.previous_epoch();
    for (const transport::LogEntry& entry : m.entries()) {
        if (entry.index() != ++expected || entry.term() < newest || entry.term() > m.epoch()) {
            return;
        }
        if (const int kind = entry.kind(); kind < 0 || kind > transport::ENTRY_MEMBERSHIP) {
            if (!std::exchange(said_unknown_kind_, true)) {
                event(fmt::format("Entry {} of '{}' is of kind {}, which this version does not know. This member takes nothing "
                                  "from there on; run the version of the primary here.",
                                  entry.index(),
                                  from,
                                  kind));
            }
            return;
        }
        newest = entry.term();
    }
    if (previous > matched_) {
        const Term mine = term_of(previous);
        if (previous.value > 0 && mine.value == 0) {
            // Older than the log here; what is applied and has no entry any more is only comparable by a snapshot.
            needs_snapshot_ = true;
            acknowledge(WALBatchResponse::NEEDS_SNAPSHOT);
            return;
        }
        if (mine != Term{m.previous_epoch()}) {
            acknowledge(WALBatchResponse::MISMATCH, start_of_epoch_run(previous), m.probe());
            return;
        }
        matched_ = previous;
    }
    const bool whole = start_.log == nullptr || start_.log->first_index().value <= 1;
    bool unknown = false;  // entries that the log here does not hold any more are neither equal nor different
    for (const transport::LogEntry& entry : m.entries()) {
        const LogIndex index{entry.index()};
        if (index <= matched_) {
            continue;
        }
        if (index <= last_) {
            const Term mine = term_of(index);
            if (mine.value == 0) {
                unknown = true;
                continue;
            }
            if (mine == Term{entry.term()}) {
                matched_ = index;
                unknown = false;
                continue;
            }
            if (unknown) {
                needs_snapshot_ = true;
                acknowledge(WALBatchResponse::NEEDS_SNAPSHOT, {}, m.probe());
                return;
            }
            start_rewind(LogIndex{index.value - 1});
            if (rewinding_) {
                return;
            }
        }
        if (Term{entry.term()} < last_epoch_ || unknown) {
            return;
        }
        if (const std::size_t bytes = unpersisted_bytes(); bytes > 0 && bytes + entry.payload().size() > settings_.unpersisted_bytes_max) {
            // Nothing is said of them, so the primary's window ends what it sends.
            left_out_ = compared_ = true;
            return;
        }
        append({Term{entry.term()},
                index,
                entry.hybrid_time(),
                static_cast<EntryKind>(entry.kind()),
                entry.payload()});
        matched_ = index;
    }
    if (unknown || (matched_.value == 0 && previous.value == 0 && !whole)) {
        acknowledge(WALBatchResponse::MISMATCH, start_.log->first_index(), m.probe());
        return;
    }
    compared_ = true;
    committed_ = std::max(committed_, std::min(matched_, persisted_));
    if (!acknowledge_persisted_ || matched_ <= persisted_ || m.probe() != 0) {
        acknowledge(WALBatchResponse::ACCEPTED, {}, m.probe());
    }
}

void HotStandby::note_primary_epochs(const transport::WALBatch& m) {
    if (m.epochs().empty()) {
        return;
    }
    std::vector<EpochTable::Row> rows;
    for (const transport::EpochStart& row : m.epochs()) {
        if (rows.size() < EpochTable::kRowsMax) {
            rows.push_back({Term{row.epoch()}, LogIndex{row.first_index()}});
        }
    }
    primary_epochs_.assign(std::move(rows));
}

bool HotStandby::compare_histories(const transport::WALBatch& m) {
    const auto common = last_common(epochs_, last_, primary_epochs_, LogIndex{m.last_index()});
    if (!common || *common < matched_) {
        return false;
    }
    if (*common < last_) {
        start_rewind(*common);
        if (rewinding_) {
            return true;
        }
    }
    matched_ = *common;
    compared_ = true;
    committed_ = std::max(committed_, std::min(matched_, persisted_));
    acknowledge(WALBatchResponse::ACCEPTED, {}, m.probe());
    return true;
}

/// What stands behind `keep` here is not in the primary's log.
void HotStandby::start_rewind(LogIndex keep) {
    if (keep >= taken_) {
        forget_after(keep);  // it was received and never written, so no client was told of it by this log
        return;
    }
    end_claim("a branch of its log is given up first");
    rewinding_ = true;
    rewind_to_ = keep;
    forget_unwritten(taken_);
    refuse_placed(taken_);
    event(fmt::format("The log here beyond index {} is a branch that the primary of epoch {} does not have; it is saved "
                      "and given up.",
                      keep.value,
                      epoch_.value));
}

void HotStandby::rewound(LogIndex last, bool taken_back) {
    rewinding_ = false;
    forget_after(last);
    if (!taken_back) {
        needs_snapshot_ = holds_lost_branch_ = true;
    }
    if (state_ != State::kStandby) {
        return;
    }
    if (needs_snapshot_) {
        acknowledge(WALBatchResponse::NEEDS_SNAPSHOT);
    } else {
        acknowledge(WALBatchResponse::MISMATCH, LogIndex{last_.value + 1});
    }
}

}  // namespace nornic::modes
