// The primary: ships its log, and decides when a write is acknowledged.
#include "modes/hot_standby/hot_standby_impl.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::modes {

using transport::LANE_CONTROL;
using transport::LANE_LOG;
using transport::WALBatchResponse;

namespace {

constexpr std::size_t kSentHeartbeatsMax = 256;
constexpr std::uint64_t kFarBehind = 1024;  // entries
constexpr std::uint64_t kLateTicks = 10;  // that a process on a busy machine makes up for later, here and there

void copy_entry(const Entry& entry, transport::LogEntry& out) {
    out.set_term(entry.term.value);
    out.set_index(entry.index.value);
    out.set_hybrid_time(entry.hybrid_time);
    out.set_kind(static_cast<transport::EntryKind>(entry.kind));
    out.set_payload(entry.payload);
}

}  // namespace

// ---- Heartbeats ----

void HotStandby::send_heartbeats() {
    last_heartbeat_tick_ = tick_;
    ++sequence_;
    sent_.emplace_back(sequence_, tick_);
    if (sent_.size() > kSentHeartbeatsMax) {
        sent_.pop_front();
    }
    ClusterMessage message;
    auto& m = *message.mutable_heartbeat();
    m.set_epoch(epoch_.value);
    m.set_sequence(sequence_);
    m.set_history(history_);
    m.set_commit_index(committed_.value);
    m.set_last_index(last_.value);
    m.set_last_epoch(last_epoch_.value);
    // Until it has answered once in this epoch it could not tell how old this word is.
    m.set_in_sync(in_sync_ && standby_holds_all() && peer_.answered_in_epoch != 0);
    m.set_answered(peer_.answered_in_epoch);
    m.set_leading(true);
    m.set_primary_id(start_.self);
    *m.mutable_standby_settings() = said_settings();
    if (witness_.up) {
        // It keeps the standby from leading where this member may have acknowledged alone what it promised that both hold. Under
        // async that is no promise, and under sync it does not happen; whether the standby is fit to lead it knows itself.
        ClusterMessage to_witness = message;
        to_witness.mutable_heartbeat()->set_in_sync(m.in_sync() || settings_.sync_mode != SyncMode::kSemiSync);
        messages_.push_back({witness_.info.id, LANE_CONTROL, std::make_shared<const ClusterMessage>(std::move(to_witness))});
    }
    if (peer_.up) {
        messages_.push_back({peer_.info.id, LANE_CONTROL, std::make_shared<const ClusterMessage>(std::move(message))});
    }
}

// ---- Shipping ----

void HotStandby::lost_contact() {
    peer_.inflight.clear();
    peer_.probing = true;
    peer_.waiting_for_probe = false;
    peer_.received = std::min(peer_.received, peer_.persisted);
    if (peer_.received.value > 0) {
        peer_.next = LogIndex{peer_.received.value + 1};
    }
    peer_.next = std::min(peer_.next, LogIndex{last_.value + 1});
    peer_.progress_tick = tick_;
}

/// Batches from peer_.next on that end at or before `limit`; while probing an empty one, to learn where the logs meet.
void HotStandby::ship(LogIndex limit, std::vector<Outbound>& out) {
    while (state_ == State::kPrimary && peer_.up && !peer_.foreign && !peer_.sending_snapshot) {
        if (tick_ < peer_.hold_until_tick ||
            (peer_.probing ? peer_.waiting_for_probe
                           : peer_.next > limit || peer_.inflight.size() >= settings_.window_batches)) {
            return;
        }
        const bool in_its_time = catch_up_left_ && !peer_.probing && is_far_behind() && may_wait();
        if (in_its_time && *catch_up_left_ <= 0) {
            return;
        }
        auto batch = make_batch(peer_.probing ? LogIndex{peer_.next.value - 1} : limit);
        if (!batch) {
            ask_for_snapshot();
            return;
        }
        if (peer_.probing) {
            batch->mutable_wal_batch()->set_probe(++peer_.probe);
            peer_.waiting_for_probe = true;
            peer_.progress_tick = tick_;
        } else {
            if (peer_.inflight.empty()) {
                peer_.progress_tick = tick_;
            }
            peer_.next = LogIndex{batch->wal_batch().entries().rbegin()->index() + 1};
            peer_.inflight.push_back(LogIndex{peer_.next.value - 1});
            if (in_its_time) {
                for (const transport::LogEntry& entry : batch->wal_batch().entries()) {
                    *catch_up_left_ -= static_cast<std::int64_t>(entry.payload().size() + sizeof(Entry));
                }
            }
        }
        out.push_back({peer_.info.id, LANE_LOG, std::make_shared<const ClusterMessage>(std::move(*batch))});
    }
}

/// At least twice what is written meanwhile: it must end.
void HotStandby::allow_catch_up(std::uint64_t bytes) {
    const std::uint64_t least = 2 * std::exchange(written_bytes_, 0);
    catch_up_left_ = std::min<std::int64_t>(catch_up_left_.value_or(0), 0) + static_cast<std::int64_t>(std::max(bytes, least));
}

bool HotStandby::catches_up() const {
    return state_ == State::kPrimary && peer_.up && !peer_.probing && !peer_.foreign && !peer_.sending_snapshot && is_far_behind();
}

bool HotStandby::is_far_behind() const {
    return last_.value > peer_.received.value + kFarBehind;
}

bool HotStandby::may_wait() const {
    const bool alone = settings_.sync_mode == SyncMode::kAsync || (settings_.sync_mode == SyncMode::kSemiSync && !in_sync_ && alone_);
    const bool wanted = persist_wanted_tick_ != 0 && tick_ - persist_wanted_tick_ < settings_.heartbeat_ticks;
    return alone && lease_holds() && !hand_over_ && !wanted;
}

/// nullopt: the log here does not reach back so far.
std::optional<ClusterMessage> HotStandby::make_batch(LogIndex limit) {
    const LogIndex first = peer_.next;
    const LogIndex previous{first.value - 1};
    Term previous_epoch{0};
    if (previous.value > 0) {
        previous_epoch = term_of(previous);
        if (previous_epoch.value == 0 && first <= limit) {
            return std::nullopt;
        }
        // A probe goes without it: the tables tell more.
    }
    ClusterMessage message;
    auto& m = *message.mutable_wal_batch();
    m.set_epoch(epoch_.value);
    m.set_history(history_);
    m.set_previous_index(previous.value);
    m.set_previous_epoch(previous_epoch.value);
    m.set_commit_index(committed_.value);
    // Somebody waits for what the standby has on disk, or did a moment ago and may again.
    const bool wanted = persist_wanted_tick_ != 0 && tick_ - persist_wanted_tick_ < settings_.heartbeat_ticks;
    m.set_acknowledge_persisted(settings_.sync_mode == SyncMode::kSync || wanted);
    if (first > limit) {
        for (const EpochTable::Row& row : epochs_.rows()) {
            auto& start = *m.add_epochs();
            start.set_epoch(row.epoch.value);
            start.set_first_index(row.first.value);
        }
        m.set_last_index(last_.value);
        return message;
    }
    std::size_t bytes = 0;
    if (!tail_.empty() && first >= tail_.front().index) {
        for (std::uint64_t i = first.value - tail_.front().index.value; i < tail_.size(); ++i) {
            const Entry& entry = tail_[i];
            if (entry.index > limit ||
                static_cast<std::size_t>(m.entries_size()) >= settings_.batch_entries_max ||
                (bytes > 0 && bytes + entry.payload.size() > settings_.batch_bytes_max)) {
                break;
            }
            bytes += entry.payload.size();
            copy_entry(entry, *m.add_entries());
        }
        return message;
    }
    const LogIndex to = std::min({limit,
                                  persisted_,
                                  LogIndex{first.value + settings_.batch_entries_max - 1},
                                  tail_.empty() ? limit : LogIndex{tail_.front().index.value - 1}});
    if (start_.log == nullptr || start_.log->first_index() > first) {
        return std::nullopt;
    }
    const auto entries = start_.log->read(first, to, settings_.batch_bytes_max);
    if (!entries || entries.value().empty()) {
        return std::nullopt;
    }
    for (const Entry& entry : entries.value()) {
        copy_entry(entry, *m.add_entries());
    }
    return message;
}

void HotStandby::ask_for_snapshot() {
    peer_.sending_snapshot = true;
    peer_.inflight.clear();
    peer_.waiting_for_probe = false;
    ready_.send_snapshot.push_back(peer_.info.id);
    event(fmt::format("'{}' is behind the log that is kept here, or new; it is sent a snapshot.", peer_.info.id));
}

void HotStandby::snapshot_sent(const NodeName& to, std::optional<LogIndex> index) {
    if (to != peer_.info.id) {
        return;
    }
    peer_.sending_snapshot = false;
    lost_contact();
    if (!index) {
        peer_.hold_until_tick = tick_ + std::uint64_t{settings_.degrade_ticks};  // not at once: it may refuse the next one, too
    }
    if (state_ != State::kPrimary) {
        return;
    }
    if (index) {
        event(fmt::format("'{}' holds a snapshot as of log index {} and catches up from there.", to, index->value));
        peer_.received = peer_.persisted = std::max(peer_.persisted, *index);
        peer_.next = LogIndex{index->value + 1};
    }
    ship(persisted_, messages_);
}

void HotStandby::on_batch_response(const NodeName& from, const WALBatchResponse& m) {
    const Term epoch{m.epoch()};
    if (m.outcome() == WALBatchResponse::FOREIGN_HISTORY || peer_.foreign) {
        // Its epoch is another cluster's.
        if (state_ == State::kPrimary && !std::exchange(peer_.foreign, true)) {
            event(fmt::format("'{}' holds data of another cluster and is not overwritten; empty its data directory "
                              "to make it the standby.",
                              from));
        }
        return;
    }
    if (epoch > epoch_) {
        peer_epoch_ = std::max(peer_epoch_, epoch);
        if (state_ == State::kPrimary || state_ == State::kPromoting) {
            adopt(epoch, NodeName{});
        }
        return;
    }
    if (state_ != State::kPrimary || epoch < epoch_ || from != peer_.info.id) {
        return;
    }
    const LogIndex received{std::min(m.received_index(), last_.value)};
    switch (m.outcome()) {
        case WALBatchResponse::ACCEPTED:
            if (peer_.sending_snapshot) {
                // It may say so before the sender hears of it, or instead, if that word was lost.
                if (start_.log == nullptr || start_.log->first_index().value > received.value + 1) {
                    return;
                }
                peer_.sending_snapshot = false;
                lost_contact();
                ship(persisted_, messages_);
                return;
            }
            if (peer_.probing && m.probe() != peer_.probe) {
                return;  // what was said of something else does not tell where the logs part
            }
            if (peer_.probing) {
                peer_.probing = false;
                peer_.waiting_for_probe = false;
                peer_.next = LogIndex{received.value + 1};
                peer_.received = received;
                if (in_sync_) {
                    send_heartbeats();
                }
            }
            peer_.received = std::max(peer_.received, received);
            peer_.next = std::max(peer_.next, LogIndex{peer_.received.value + 1});
            peer_.persisted =
                std::max(peer_.persisted, std::min(LogIndex{m.persisted_index()}, peer_.received));
            peer_.applied = std::max(peer_.applied, LogIndex{m.applied_index()});
            while (!peer_.inflight.empty() && peer_.inflight.front() <= peer_.received) {
                peer_.inflight.pop_front();
            }
            peer_.progress_tick = tick_;
            peer_.sequence_at_progress = sequence_;
            advance_commit();
            ship(persisted_, messages_);
            break;
        case WALBatchResponse::MISMATCH: {
            const LogIndex retry{std::max<std::uint64_t>(1, std::min(m.try_index(), last_.value + 1))};
            if (peer_.sending_snapshot || (!peer_.probing && retry > peer_.received)) {
                // Some batch before it was lost; what was received stays received.
                if (!peer_.sending_snapshot) {
                    lost_contact();
                    peer_.hold_until_tick = tick_ + 1;
                }
                return;
            }
            if (retry <= peer_.received) {
                // It had them and has them no more: its disk is full, or it restarted.
                peer_.hold_until_tick = tick_ + settings_.heartbeat_ticks;
            }
            peer_.inflight.clear();
            peer_.probing = true;
            peer_.waiting_for_probe = false;
            peer_.received = std::min(peer_.received, LogIndex{retry.value - 1});
            peer_.persisted = std::min(peer_.persisted, peer_.received);
            peer_.next = retry;
            peer_.progress_tick = tick_;
            ship(persisted_, messages_);
            break;
        }
        case WALBatchResponse::NEEDS_SNAPSHOT:
            if (!peer_.sending_snapshot) {
                ask_for_snapshot();
            }
            break;
        default:
            break;
    }
}

// ---- Committing ----

bool HotStandby::lease_holds() const {
    return settings_.fence_policy == FencePolicy::kAvailable ||
           tick_ - lease_tick_ < std::max<std::uint64_t>(1, std::uint64_t{settings_.failover_ticks} * 2 / 3);
}

Result<> HotStandby::may_write() const {
    if (state_ != State::kPrimary || hand_over_) {
        const bool known = state_ == State::kStandby && peer_.up && silent_ticks() < settings_.failover_ticks;
        if (known || hand_over_) {
            return fail(ErrorCode::kNotLeader,
                        fmt::format("this member is the standby; '{}' takes writes", peer_.info.id),
                        peer_.info.bolt_address);
        }
        return fail(ErrorCode::kDatabaseUnavailable, "no primary is known: " + why_no_primary());
    }
    if (!lease_holds()) {
        return fail(ErrorCode::kDatabaseUnavailable,
                    settings_.fence_policy == FencePolicy::kStrict
                        ? "the standby has not been heard, and under NORNICDB_CLUSTER_HA_FENCE_POLICY=strict the primary "
                          "stops before the standby may promote itself; bring the standby back"
                        : "neither the standby nor the witness has been heard, so another primary may be promoted; bring "
                          "one of them back");
    }
    if (settings_.sync_mode == SyncMode::kSync &&
        (!in_sync_ || !peer_.up || tick_ - peer_.heard_tick >= settings_.degrade_ticks)) {
        return fail(ErrorCode::kDatabaseUnavailable,
                    "under NORNICDB_CLUSTER_HA_SYNC_MODE=sync a write needs the standby, which is not connected or not "
                    "caught up; bring it back, or restart this server with semi_sync");
    }
    // What it inherited holds no locks here: a transaction that began before it was applied would overwrite it unseen.
    if (applied_.value + 1 < epoch_begins_.value) {
        return fail(ErrorCode::kDatabaseUnavailable,
                    fmt::format("this member has just become the primary and applies what its log holds first ({} of {} "
                                "entries)",
                                applied_.value,
                                epoch_begins_.value - 1));
    }
    return success();
}

Result<> HotStandby::may_hand_over() const {
    // What may be on its way at a time is there in a moment.
    const std::size_t little = settings_.window_batches * settings_.batch_bytes_max;
    std::size_t left = 0;
    for (auto entry = tail_.rbegin(); entry != tail_.rend() && entry->index > peer_.received && left <= little; ++entry) {
        left += entry->payload.size() + sizeof(Entry);
    }
    if (peer_.up && follows_closely() && !peer_.foreign && !peer_.sending_snapshot && left <= little) {
        return success();
    }
    const LogIndex held = settings_.sync_mode == SyncMode::kSync ? peer_.persisted : peer_.received;
    return fail(ErrorCode::kConflict,
                fmt::format("{} is not in sync, and writes would have to wait until it is: it {}. Repeat once sync_state is 'synced' "
                            "(GET /admin/cluster/status on the primary)",
                            peer_name(),
                            !peer_.up                 ? "is not connected"
                            : peer_.foreign           ? "holds the data of another cluster"
                            : peer_.leaving           ? "stops"
                            : peer_.sending_snapshot  ? "is being sent a copy of the data"
                                                      : fmt::format("lags {} log entries", last_.value - std::min(held, last_).value)));
}

/// Under async nothing waits for the standby, so while writes come steadily over a long way it may never hold all of them.
bool HotStandby::follows_closely() const {
    return in_sync_ || (settings_.sync_mode == SyncMode::kAsync && !peer_.probing);
}

void HotStandby::advance_commit() {
    if (state_ != State::kPrimary) {
        return;
    }
    LogIndex target = committed_;
    const LogIndex both = std::min(persisted_, peer_.received);
    switch (settings_.sync_mode) {
        case SyncMode::kAsync:
            target = lease_holds() ? persisted_ : both;
            break;
        case SyncMode::kSemiSync:
            target = !in_sync_ && alone_ && lease_holds() ? persisted_ : both;
            break;
        case SyncMode::kSync:
            target = std::min(persisted_, peer_.persisted);
            break;
    }
    if (target > committed_) {
        committed_ = target;
        commit_waits_since_tick_.reset();
    }
    if (persisted_ > committed_ && !commit_waits_since_tick_) {
        commit_waits_since_tick_ = tick_;
    }
    if (!in_sync_ && standby_holds_all() && !peer_.leaving) {
        set_in_sync(true);
    }
    continue_hand_over();
}

LogIndex HotStandby::still_committed() const {
    return std::min(committed_, std::max(carried_out_, std::min(persisted_, peer_.received)));
}

bool HotStandby::standby_holds_all() const {
    const LogIndex known = settings_.sync_mode == SyncMode::kSync ? peer_.persisted : peer_.received;
    // What was acknowledged before this epoch ends with its first entry, whatever this member knows to be committed.
    return peer_.up && !peer_.probing && known >= std::max(committed_, epoch_begins_);
}

void HotStandby::set_in_sync(bool in_sync) {
    if (in_sync_ == in_sync) {
        return;
    }
    in_sync_ = in_sync;
    alone_ = said_waiting_ = false;
    peer_.noted_in_sync = witness_.noted_in_sync = true;
    note_sequence_ = sequence_ + 1;
    if (in_sync) {
        event(fmt::format("Standby '{}' is in sync.", peer_.info.id));
        degraded_ = false;
    } else {
        unsynced_since_tick_ = tick_;
    }
    send_heartbeats();
}

/// Of a standby that says nothing: by then it has taken over, or cannot any more.
std::uint64_t HotStandby::ticks_until_alone() const {
    return peer_.answered_in_epoch == 0 ? 0 : ticks_left_to_take_over(peer_.answered_tick);
}

std::uint64_t HotStandby::ticks_left_to_take_over(std::uint64_t answered_tick) const {
    const std::uint64_t failover = settings_.failover_ticks;
    const std::uint64_t wait = alone_after(failover, std::uint64_t{settings_.heartbeat_ticks}) + kLateTicks;
    const std::uint64_t waited = tick_ - answered_tick;
    return waited >= wait ? 0 : wait - waited;
}

/// Whether this primary may acknowledge without the standby: it knows that it must not take over any more, or whoever would
/// have to vote for it does, or (policy available) its time to do so is over.
bool HotStandby::note_delivered() const {
    if (former_) {
        return false;
    }
    if (!peer_.noted_in_sync) {
        return true;
    }
    switch (settings_.fence_policy) {
        case FencePolicy::kAvailable:
            return ticks_until_alone() == 0;
        case FencePolicy::kWitness:
            return !witness_.noted_in_sync;
        case FencePolicy::kStrict:
            return false;
    }
    return false;
}

/// A standby that is gone may still take over, as long as it could if nobody had come in its place.
void HotStandby::watch_former() {
    if (!former_) {
        return;
    }
    const bool out = settings_.fence_policy == FencePolicy::kAvailable ? ticks_left_to_take_over(former_->answered_tick) == 0
                                                                       : settings_.fence_policy == FencePolicy::kWitness && !witness_.noted_in_sync;
    if (out || state_ != State::kPrimary) {
        former_.reset();
    }
}

bool HotStandby::waits_to_go_alone() const {
    return state_ == State::kPrimary && settings_.sync_mode == SyncMode::kSemiSync && !in_sync_ && !alone_;
}

std::string HotStandby::what_it_waits_for() const {
    const std::string who = peer_name();
    switch (settings_.fence_policy) {
        case FencePolicy::kAvailable:
            return fmt::format("until {} has heard that it is not in sync any more, or could not take over any more, which is in {}",
                               who,
                               in_seconds(ticks_until_alone()));
        case FencePolicy::kWitness:
            return fmt::format("until {} or the witness has heard that {} is not in sync any more", who, who);
        case FencePolicy::kStrict:
            break;
    }
    return fmt::format("until {} has heard that it is not in sync any more", who);
}

void HotStandby::watch_standby() {
    if (disk_stalled_) {
        // This member has fallen silent itself, so that the standby takes over; that one, which only answers, says nothing either.
        peer_.heard_tick = tick_;
        commit_waits_since_tick_ = commit_waits_since_tick_ ? std::optional{tick_} : std::nullopt;
        return;
    }
    // A connection that broke a moment ago may be back in another; only silence counts.
    const bool silent = tick_ - peer_.heard_tick >= settings_.degrade_ticks;
    const bool waits = commit_waits_since_tick_ && tick_ - *commit_waits_since_tick_ >= settings_.degrade_ticks;
    if (peer_.up && (peer_.waiting_for_probe || !peer_.inflight.empty()) &&
        tick_ - peer_.progress_tick >= std::max<std::uint64_t>(2, 2 * std::uint64_t{settings_.heartbeat_ticks})) {
        lost_contact();
        ship(persisted_, messages_);
    } else if (peer_.up) {
        ship(persisted_, messages_);  // what was held back, or had no room in the window
    }
    if (settings_.sync_mode != SyncMode::kSync && in_sync_ && (silent || waits)) {
        set_in_sync(false);
    }
    if (!in_sync_ && !alone_ && settings_.sync_mode != SyncMode::kSync && note_delivered()) {
        alone_ = true;
        advance_commit();
    }
    if (waits_to_go_alone() && !said_waiting_ && tick_ - unsynced_since_tick_ >= settings_.heartbeat_ticks) {
        said_waiting_ = true;
        event(fmt::format("{} does not answer or lags. Writes wait {}.", peer_name(), what_it_waits_for()));
    }
    if (!in_sync_ && alone_ && !degraded_ && settings_.sync_mode == SyncMode::kSemiSync &&
        tick_ - unsynced_since_tick_ >= settings_.degrade_ticks) {
        degraded_ = true;
        event(fmt::format("Degraded: {} does not answer or lags, and writes are acknowledged when they are synced here "
                          "alone. It will not take over by itself until it has caught up.",
                          peer_name()));
    }
    if (lease_holds() == lease_lost_) {
        lease_lost_ = !lease_lost_;
        event(lease_lost_ ? "This primary has heard nobody for two thirds of the failover time-out and stops taking writes."
                          : "This primary is heard again and takes writes.");
        advance_commit();
    }
}

}  // namespace nornic::modes
