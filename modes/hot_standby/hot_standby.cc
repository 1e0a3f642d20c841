#include "modes/hot_standby/hot_standby.h"

#include "base/check.h"
#include "modes/hot_standby/hot_standby_impl.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::modes {

using transport::LANE_CONTROL;
using transport::LANE_LOG;

namespace {

constexpr std::uint64_t kEpochMax = std::uint64_t{1} << 62;
constexpr std::size_t kBesideMax = 8;
constexpr std::size_t kSettingMax = 32;  // bytes of one that somebody else has

}  // namespace

HotStandby::HotStandby(const StrategyStart& start, const HotStandbySettings& settings)
    : start_{start},
      settings_{settings},
      history_{start.history},
      // A store that was standalone before has entries of term 1 and no epoch of its own.
      epoch_{std::max(start.hard_state.term, start.last_term)},
      primary_{start.hard_state.voted_for},
      last_{start.last_index},
      last_epoch_{start.last_term},
      taken_{start.last_index},
      persisted_{start.last_index},
      committed_{start.applied},
      carried_out_{start.applied},
      applied_{start.applied} {
    // "role peer epochs": the role it was last started with, whom it last met, where the epochs of its log begin.
    const std::string_view extra = start.hard_state.extra;
    const std::string_view role = extra.substr(0, extra.find(' '));
    if (const std::size_t space = extra.find(' '); space != std::string_view::npos) {
        const std::string_view rest = extra.substr(space + 1);
        peer_.info.id = rest.substr(0, rest.find(' '));
        if (const std::size_t next = rest.find(' '); next != std::string_view::npos) {
            epochs_ = EpochTable::parse(rest.substr(next + 1));
        }
    }
    epochs_.forget_after(last_);
    if (start_.log != nullptr && last_.value > 0) {
        const auto known_to_begin = [this](Term epoch) {
            return std::ranges::any_of(epochs_.rows(), [&](const EpochTable::Row& row) { return row.epoch == epoch; });
        };
        // An epoch of which nothing is known but that it was there before the log begins: nor is it known where those before it ended.
        const LogIndex base{start_.log->first_index().value - 1};
        if (const Term epoch = term_of(base); epoch.value != 0 && !known_to_begin(epoch)) {
            epochs_.assign({{epoch, base}});
        }
        // What the log still holds is the better witness.
        std::vector<EpochTable::Row> held;
        for (LogIndex at = last_; at >= start_.log->first_index() && at.value > 0;) {
            const LogIndex first = start_of_epoch_run(at);
            held.push_back({term_of(at), first});
            at = LogIndex{first.value - 1};
        }
        for (auto row = held.rbegin(); row != held.rend(); ++row) {
            const bool cut_off = row->first == start_.log->first_index() && row->first.value > 1;
            if (!(cut_off && known_to_begin(row->epoch))) {
                epochs_.begins(row->epoch, row->first);
            }
        }
    }
    if (role != role_name()) {
        // Only a role that was changed between two starts is a wish; one that stayed is how it once began.
        restart_promotion_ = !role.empty() && settings.configured_primary && primary_ != start.self;
        hard_dirty_ = true;
    }
    if (start_.log != nullptr && last_ >= start_.log->first_index() && last_.value > 0) {
        if (const auto newest = start_.log->read(last_, last_, 1); newest && !newest.value().empty()) {
            last_hybrid_time_ = newest.value().back().hybrid_time;
        }
    }
    waiting_why_ = "it started and has not heard from its peer yet";
}

// ---- Settings that must be equal ----

namespace {

std::string_view word(SyncMode mode) {
    return mode == SyncMode::kAsync ? "async" : mode == SyncMode::kSemiSync ? "semi_sync" : "sync";
}

std::string_view word(FencePolicy policy) {
    return policy == FencePolicy::kAvailable ? "available" : policy == FencePolicy::kWitness ? "witness" : "strict";
}

}  // namespace

transport::StandbySettings HotStandby::said_settings() const {
    const auto ms = [this](std::uint64_t ticks) { return ticks * settings_.tick_ms; };
    transport::StandbySettings out;
    out.set_failover_ms(ms(settings_.failover_ticks));
    out.set_heartbeat_ms(ms(settings_.heartbeat_ticks));
    out.set_sync_timeout_ms(ms(settings_.degrade_ticks));
    out.set_sync_mode(std::string{word(settings_.sync_mode)});
    out.set_fence_policy(std::string{word(settings_.fence_policy)});
    return out;
}

void HotStandby::compare_settings(const NodeName& from, const transport::StandbySettings& theirs) {
    const transport::StandbySettings mine = said_settings();
    std::string differ;
    const auto compare = [&](std::string_view name, const auto& here, const auto& there, std::string_view unit) {
        if (there != std::decay_t<decltype(there)>{} && here != there) {
            differ += fmt::format("{}NORNICDB_CLUSTER_HA_{} is {}{} here and {}{} there", differ.empty() ? "" : ", ", name, here, unit, there, unit);
        }
    };
    compare("FAILOVER_TIMEOUT", mine.failover_ms(), theirs.failover_ms(), " ms");
    compare("HEARTBEAT_MS", mine.heartbeat_ms(), theirs.heartbeat_ms(), "");
    compare("SYNC_TIMEOUT", mine.sync_timeout_ms(), theirs.sync_timeout_ms(), " ms");
    compare("SYNC_MODE", mine.sync_mode(), theirs.sync_mode().substr(0, kSettingMax), "");
    compare("FENCE_POLICY", mine.fence_policy(), theirs.fence_policy().substr(0, kSettingMax), "");
    if (std::string& said = settings_differ_[from]; said != differ) {
        said = differ;
        if (!differ.empty()) {
            ready_.errors.push_back(fmt::format("'{}' has other settings: {}. What is promised holds only where they are the same; restart one "
                                                "of the two with the other's.",
                                                from,
                                                differ));
        }
    }
}

// ---- What is said ----

void HotStandby::say(const NodeName& to, Lane lane, ClusterMessage message) {
    messages_.push_back({to, lane, std::make_shared<const ClusterMessage>(std::move(message))});
}

void HotStandby::say_after_persist(const NodeName& to, Lane lane, ClusterMessage message) {
    auto& out = hard_state_pending() ? ready_.messages_after_persist : messages_;
    out.push_back({to, lane, std::make_shared<const ClusterMessage>(std::move(message))});
}

// ---- The log ----

Term HotStandby::term_of(LogIndex index) const {
    if (index.value == 0) {
        return Term{0};
    }
    if (index == last_) {
        return last_epoch_;
    }
    if (!tail_.empty() && index >= tail_.front().index) {
        return tail_[index.value - tail_.front().index.value].term;
    }
    if (start_.log == nullptr) {
        return Term{0};
    }
    const auto term = start_.log->term_at(index);
    return term ? term.value() : Term{0};
}

void HotStandby::append(Entry entry) {
    NORNIC_CHECK(entry.index.value == last_.value + 1, "entry {} behind {}", entry.index.value, last_.value);
    NORNIC_CHECK(entry.term >= last_epoch_, "epoch {} behind {}", entry.term.value, last_epoch_.value);
    if (entry.term != last_epoch_ || last_.value == 0) {
        epochs_.begins(entry.term, entry.index);
        hard_dirty_ = true;
    }
    last_ = entry.index;
    last_epoch_ = entry.term;
    last_hybrid_time_ = std::max(last_hybrid_time_, entry.hybrid_time);
    tail_bytes_ += entry.payload.size() + sizeof(Entry);
    unwritten_bytes_ += entry.payload.size() + sizeof(Entry);
    written_bytes_ += entry.payload.size() + sizeof(Entry);
    ready_.entries.push_back(entry);
    tail_.push_back(std::move(entry));
    trim_tail();
}

void HotStandby::trim_tail() {
    while (!tail_.empty() && tail_bytes_ > settings_.tail_bytes_max && tail_.front().index <= persisted_) {
        tail_bytes_ -= tail_.front().payload.size() + sizeof(Entry);
        tail_.pop_front();
    }
}

void HotStandby::forget_after(LogIndex keep) {
    while (!tail_.empty() && tail_.back().index > keep) {
        tail_bytes_ -= tail_.back().payload.size() + sizeof(Entry);
        tail_.pop_back();
    }
    forget_unwritten(keep);
    refuse_placed(keep);
    while (!sizes_.empty() && sizes_.back().first > keep) {
        inflight_bytes_ -= sizes_.back().second;
        sizes_.pop_back();
    }
    epochs_.forget_after(keep);
    last_ = std::min(last_, keep);
    taken_ = std::min(taken_, keep);
    persisted_ = std::min(persisted_, keep);
    matched_ = std::min(matched_, keep);
    committed_ = std::min(committed_, keep);
    carried_out_ = std::min(carried_out_, keep);
    applied_ = std::min(applied_, keep);
    last_epoch_ = tail_.empty() ? Term{0} : tail_.back().term;
    if (tail_.empty() && keep.value > 0 && start_.log != nullptr) {
        const auto term = start_.log->term_at(keep);
        last_epoch_ = term ? term.value() : Term{0};
    }
}

void HotStandby::forget_unwritten(LogIndex keep) {
    std::erase_if(ready_.entries, [&](const Entry& entry) {
        unwritten_bytes_ -= entry.index > keep ? entry.payload.size() + sizeof(Entry) : 0;
        return entry.index > keep;
    });
}

void HotStandby::refuse_placed(LogIndex keep) {
    std::erase_if(ready_.placed, [&](const Placed& placed) {
        if (placed.index <= keep) {
            return false;
        }
        ready_.refused.push_back({placed.id,
                                  Error{ErrorCode::kNotLeader,
                                        "this member stopped being the primary before the write was logged",
                                        peer_.info.bolt_address}});
        return true;
    });
}

std::string HotStandby::why_no_primary() const {
    if (!waiting_why_.empty()) {
        return waiting_why_;
    }
    return peer_.up ? fmt::format("primary '{}' has been silent for {}", primary_, in_seconds(silent_ticks()))
                    : fmt::format("the connection to primary '{}' was lost {} ago", primary_, in_seconds(silent_ticks()));
}

std::string HotStandby::in_seconds(std::uint64_t ticks) const {
    return fmt::format("{:.1f} s", static_cast<double>(ticks * settings_.tick_ms) / 1000);
}

// ---- Ready ----

/// A standby that was promised to have received, not synced, its entries.
bool HotStandby::may_gather() const {
    return state_ == State::kStandby && settings_.sync_mode != SyncMode::kSync && !acknowledge_persisted_ &&
           !rewind_to_ && !hard_state_pending() && !ready_.entries.empty() && ready_.messages_after_persist.empty() &&
           claim_ == Claim::kNone && silent_ticks() < settings_.failover_ticks && unwritten_bytes_ < settings_.gather_bytes_max;
}

Ready HotStandby::take_ready() {
    NORNIC_CHECK(taken_ == persisted_, "taken={} persisted={}", taken_.value, persisted_.value);
    if (rewind_to_) {
        Ready out;
        out.rewind_to = std::exchange(rewind_to_, std::nullopt);
        out.events = std::exchange(ready_.events, {});
        out.errors = std::exchange(ready_.errors, {});
        out.committed = std::min({committed_, persisted_, *out.rewind_to});
        return out;
    }
    if (!held_reads_.empty()) {
        release_held_reads();
    }
    if (state_ == State::kPrimary && !ready_.entries.empty()) {
        ship(last_, ready_.messages_after_append);
    }
    // What it received must outlive a crash before the epoch does that it leads by virtue of having received it.
    const bool entries_first = state_ == State::kPromoting && persisted_ < last_;
    if (hard_dirty_ && !entries_first) {
        ready_.hard_state =
            HardState{epoch_,
                      primary_,
                      committed_,
                      fmt::format("{} {} {}", role_name(), peer_.info.id, epochs_.text())};
        hard_dirty_ = false;
        hard_in_flight_ = true;
    }
    Ready out = std::exchange(ready_, Ready{});
    if (entries_first) {
        ready_.messages_after_persist = std::exchange(out.messages_after_persist, {});
    }
    writing_bytes_ = std::exchange(unwritten_bytes_, 0);
    taken_ = last_;
    out.committed = std::min(state_ == State::kPrimary && !lease_holds() ? still_committed() : committed_, persisted_);
    carried_out_ = std::max(carried_out_, out.committed);
    return out;
}

void HotStandby::persisted(LogIndex) {
    const bool no_room_was = no_room_;
    if (taken_ > persisted_) {
        no_room_ = false;  // entries were written again
        no_room_to_lead_until_tick_ = 0;
    }
    persisted_ = taken_;
    writing_bytes_ = 0;
    hard_in_flight_ = false;
    if (rewinding_) {
        return;
    }
    if (state_ == State::kPromoting && !hard_state_pending()) {
        if (lead_before_tick_ && tick_ >= *lead_before_tick_) {
            give_promotion_up();
        } else {
            lead();
        }
    } else if (state_ == State::kPrimary) {
        advance_commit();
        ship(persisted_, messages_);
    } else if (state_ == State::kStandby) {
        // What the standby has on disk it applies: were the primary to forget it in a crash, this member would have
        // the better log and lead.
        committed_ = std::max(committed_, std::min(matched_, persisted_));
        const bool asks_again = left_out_ && compared_ && unpersisted_bytes() <= settings_.unpersisted_bytes_max / 2;
        if (compared_ && (acknowledge_persisted_ || no_room_was || asks_again)) {
            acknowledge(transport::WALBatchResponse::ACCEPTED);
        }
        if (asks_again) {
            left_out_ = false;
            acknowledge(transport::WALBatchResponse::MISMATCH, LogIndex{last_.value + 1});
        }
    }
    trim_tail();
}

void HotStandby::not_persisted(LogIndex first) {
    NORNIC_CHECK(first > persisted_, "first={} persisted={}", first.value, persisted_.value);
    hard_dirty_ = hard_dirty_ || hard_in_flight_;
    hard_in_flight_ = false;
    writing_bytes_ = 0;
    const std::uint64_t lost = taken_.value - persisted_.value;
    if (state_ != State::kPrimary) {
        // The primary sends them again; what stands behind them waits for that. It was told that they were received, so
        // this member holds less than was promised for it: it may not take over until it is told that it is in sync again.
        forget_after(persisted_);
        no_room_ = true;
        left_out_ = false;
        told_in_sync_ = false;
        end_claim("the disk has no room");
        if (state_ == State::kPromoting) {
            state_ = State::kAsking;
            waiting_why_ = "its disk has no room to lead";
            note_no_room_to_lead();
        } else if (state_ == State::kStandby && !rewinding_) {
            acknowledge(transport::WALBatchResponse::MISMATCH, LogIndex{last_.value + 1});
        }
        return;
    }
    // None of them was sent. Proposals that came in meanwhile stand behind the ones that failed: renumber them.
    const auto begin = std::find_if(tail_.begin(), tail_.end(), [&](const Entry& e) { return e.index > persisted_; });
    const auto end = std::find_if(begin, tail_.end(), [&](const Entry& e) { return e.index > taken_; });
    bool lost_first_of_epoch = false;
    for (auto at = begin; at != end; ++at) {
        tail_bytes_ -= at->payload.size() + sizeof(Entry);
        lost_first_of_epoch = lost_first_of_epoch || at->kind == EntryKind::kNoop;
    }
    tail_.erase(begin, end);
    for (Entry& entry : tail_) {
        entry.index.value -= entry.index > taken_ ? lost : 0;
    }
    for (Entry& entry : ready_.entries) {
        entry.index.value -= lost;
    }
    for (Placed& placed : ready_.placed) {
        placed.index.value -= lost;
    }
    std::erase_if(sizes_, [&](const auto& size) {
        const bool gone = size.first > persisted_ && size.first <= taken_;
        inflight_bytes_ -= gone ? size.second : 0;
        return gone;
    });
    for (auto& size : sizes_) {
        size.first.value -= size.first > taken_ ? lost : 0;
    }
    last_.value -= lost;
    taken_ = persisted_;
    epochs_.forget_after(last_);
    if (last_ == persisted_) {
        last_epoch_ = Term{0};
        last_epoch_ = tail_.empty() || tail_.back().index != last_
                          ? (start_.log == nullptr || last_.value == 0 ? Term{0} : start_.log->term_at(last_).value())
                          : tail_.back().term;
    }
    peer_.next = std::min(peer_.next, LogIndex{persisted_.value + 1});
    while (!peer_.inflight.empty() && peer_.inflight.back() > persisted_) {
        peer_.inflight.pop_back();
    }
    if (lost_first_of_epoch) {
        step_down("the disk has no room for the first entry of its epoch");
        note_no_room_to_lead();
    }
}

void HotStandby::applied(LogIndex last) {
    NORNIC_CHECK(last <= last_, "applied {} of {}", last.value, last_.value);
    while (!sizes_.empty() && sizes_.front().first <= last) {
        inflight_bytes_ -= sizes_.front().second;
        sizes_.pop_front();
    }
    applied_ = std::max(applied_, last);
}

// ---- What comes in ----

void HotStandby::tick() {
    ++tick_;
    fill_place();
    watch_former();
    const bool beat = tick_ - last_heartbeat_tick_ >= settings_.heartbeat_ticks;
    switch (state_) {
        case State::kPrimary:
            watch_standby();
            // A disk that hangs must cost the lead in bounded time; a primary without it falls silent.
            if (beat && !disk_stalled_) {
                send_heartbeats();
            }
            continue_hand_over();
            break;
        case State::kAsking:
            if (beat) {
                ask();
            }
            consider_failover();
            break;
        case State::kStandby:
            consider_failover();
            consider_switch_over();
            break;
        case State::kPromoting:
            break;
    }
    watch_claim();
}

void HotStandby::paused(std::uint64_t ticks) {
    tick_ += ticks;
    primary_heard_tick_ += ticks;
    peer_.heard_tick += ticks;
    peer_.progress_tick += ticks;
    witness_.heard_tick += ticks;
    claim_tick_ += ticks;
    hand_over_tick_ += ticks;
}

void HotStandby::peer_up(const PeerInfo& info) {
    if (info.id == start_.self) {
        return;
    }
    Peer& peer = info.witness ? witness_ : peer_;
    if (peer.seen && peer.info.id != info.id && !is_away(peer)) {
        if (!beside_.contains(info.id)) {
            event(fmt::format("A second {}, '{}', connected beside '{}' and is ignored until that one has been silent for the failover "
                              "time-out; hot standby has two nodes.",
                              info.witness ? "witness" : "member",
                              info.id,
                              peer.info.id));
        }
        if (beside_.size() < kBesideMax || beside_.contains(info.id)) {
            beside_[info.id] = info;
        }
        return;
    }
    beside_.erase(info.id);
    if (!peer.seen || peer.info.id != info.id) {
        hard_dirty_ = hard_dirty_ || (!info.witness && peer.info.id != info.id);
        if (!info.witness && !former_ && state_ == State::kPrimary && peer.seen && peer.noted_in_sync && peer.answered_in_epoch != 0) {
            former_ = Former{peer.info.id, peer.answered_in_epoch, peer.answered_tick};
        }
        peer = Peer{};
        peer.next = LogIndex{last_.value + 1};
        if (!info.witness && former_ && former_->id == info.id) {
            peer.noted_in_sync = true;  // it is back, and knows what it knew
            peer.answered_in_epoch = former_->answered_in_epoch;
            peer.answered_tick = former_->answered_tick;
            former_.reset();
        }
    }
    peer.info = info;
    const bool was_up = std::exchange(peer.up, true);
    peer.seen = true;
    peer.heard_tick = tick_;
    if (was_up || info.witness) {
        return;
    }
    peer.leaving = false;  // it may have been started again since
    peer.hold_until_tick = 0;
    lost_contact();
    if (state_ == State::kPrimary) {
        send_heartbeats();
        ship(persisted_, messages_);
    } else if (state_ == State::kAsking) {
        ask();
    }
}

/// One that was lost a moment ago may be back in another.
bool HotStandby::is_away(const Peer& peer) const {
    return !peer.up && tick_ - peer.heard_tick >= settings_.failover_ticks;
}

/// Nobody connects again because a place became free.
void HotStandby::fill_place() {
    for (const auto& [id, info] : beside_) {
        if (is_away(info.witness ? witness_ : peer_)) {
            peer_up(PeerInfo{info});
            return;
        }
    }
}

void HotStandby::peer_down(const NodeName& id, transport::LostReason) {
    beside_.erase(id);
    for (Peer* peer : {&peer_, &witness_}) {
        if (peer->seen && peer->info.id == id) {
            peer->up = false;
        }
    }
    if (claim_ == Claim::kVote && !witness_.up) {
        end_claim("the connection to the witness was lost");
    }
    if (id == peer_.info.id) {
        lost_contact();
        continue_hand_over();
    }
}

bool HotStandby::absurd(const ClusterMessage& message) {
    const auto over = [](auto... numbers) { return ((numbers > kEpochMax) || ...); };
    switch (message.body_case()) {
        case ClusterMessage::kHeartbeat:
            return over(message.heartbeat().epoch(),
                        message.heartbeat().sequence(),
                        message.heartbeat().last_index(),
                        message.heartbeat().last_epoch());
        case ClusterMessage::kHeartbeatResponse:
            return over(message.heartbeat_response().epoch(),
                        message.heartbeat_response().last_index(),
                        message.heartbeat_response().last_epoch());
        case ClusterMessage::kWalBatch:
            return over(message.wal_batch().epoch(), message.wal_batch().previous_index());
        case ClusterMessage::kWalBatchResponse:
            return over(message.wal_batch_response().epoch(), message.wal_batch_response().try_index());
        case ClusterMessage::kFence:
            return over(message.fence().epoch(), message.fence().last_index(), message.fence().last_epoch());
        case ClusterMessage::kFenceResponse:
            return over(message.fence_response().epoch(), message.fence_response().last_index());
        case ClusterMessage::kVoteResponse:
            return over(message.vote_response().term());
        default:
            return false;
    }
}

void HotStandby::step(const NodeName& from, const ClusterMessage& message) {
    const bool from_witness = is_witness(from);
    if ((!from_witness && (!peer_.seen || from != peer_.info.id)) || absurd(message)) {
        return;
    }
    Peer& peer = from_witness ? witness_ : peer_;
    peer.heard_tick = tick_;
    switch (message.body_case()) {
        case ClusterMessage::kHeartbeatResponse:
            on_heartbeat_response(from, message.heartbeat_response());
            return;
        case ClusterMessage::kVoteResponse:
            on_vote_response(from, message.vote_response());
            return;
        default:
            break;
    }
    if (from_witness) {
        return;
    }
    switch (message.body_case()) {
        case ClusterMessage::kHeartbeat:
            on_heartbeat(from, message.heartbeat());
            break;
        case ClusterMessage::kWalBatch:
            on_batch(from, message.wal_batch());
            break;
        case ClusterMessage::kWalBatchResponse:
            on_batch_response(from, message.wal_batch_response());
            break;
        case ClusterMessage::kFence:
            on_fence(from, message.fence());
            break;
        case ClusterMessage::kFenceResponse:
            on_fence_response(from, message.fence_response());
            break;
        case ClusterMessage::kPromote:
            on_promote(from, message.promote());
            break;
        default:
            break;
    }
}

Result<> HotStandby::propose(ProposalId id, std::string write_set, std::uint64_t hybrid_time) {
    NORNIC_TRY(may_write());
    if (last_.value - applied_.value >= start_.inflight_max ||
        (inflight_bytes_ > 0 && inflight_bytes_ + write_set.size() > start_.inflight_bytes_max)) {
        return fail(ErrorCode::kBusy,
                    fmt::format("{} writes ({} bytes) are waiting for the disk or the standby",
                                last_.value - applied_.value,
                                inflight_bytes_));
    }
    const LogIndex index{last_.value + 1};
    inflight_bytes_ += write_set.size();
    sizes_.emplace_back(index, write_set.size());
    ready_.placed.push_back({id, index, epoch_});
    append({epoch_, index, hybrid_time, EntryKind::kWriteSet, std::move(write_set)});
    return success();
}

Result<> HotStandby::read(ReadId id, ReadConsistency level) {
    const bool local = level == ReadConsistency::kOne || level == ReadConsistency::kLocalOne;
    if (!local && state_ != State::kPrimary) {
        return fail(ErrorCode::kNotLeader,
                    "this read asks for the newest data, which the primary alone can tell",
                    peer_.info.bolt_address);
    }
    if (!local) {
        if (const Result<> current = lease_holds() ? success() : may_write(); !current) {
            return current;
        }
    }
    // What earlier primaries acknowledged is committed here only with this epoch's first entry.
    const LogIndex newest = local ? applied_ : std::max(committed_, LogIndex{epoch_begins_.value - 1});
    if (level != ReadConsistency::kAll) {
        ready_.reads.push_back({id, newest});
        return success();
    }
    NORNIC_TRY(standby_is_there(level));
    persist_wanted_tick_ = tick_;
    held_reads_.push_back({id, newest});
    return success();
}

Result<> HotStandby::standby_is_there(ReadConsistency level) const {
    if (peer_.up && !peer_.foreign && tick_ - peer_.heard_tick < settings_.degrade_ticks) {
        return success();
    }
    return fail(ErrorCode::kDatabaseUnavailable,
                fmt::format("consistency {} takes both members, and the standby is not connected or does not answer; nothing was written",
                            to_string(level)));
}

Result<> HotStandby::expect(ReadConsistency level) {
    if (level == ReadConsistency::kOne || level == ReadConsistency::kLocalOne || state_ != State::kPrimary) {
        return success();
    }
    persist_wanted_tick_ = tick_;
    return standby_is_there(level);
}

/// Of two members both are a majority.
LogIndex HotStandby::acknowledged(ReadConsistency level) const {
    const bool both = level != ReadConsistency::kOne && level != ReadConsistency::kLocalOne;
    return both ? std::min(persisted_, peer_.persisted) : committed_;
}

void HotStandby::release_held_reads() {
    for (const ReadPoint& read : std::exchange(held_reads_, {})) {
        if (state_ != State::kPrimary) {
            ready_.refused_reads.push_back({read.id, Error{ErrorCode::kDatabaseUnavailable, "this member is no primary any more; ask again"}});
        } else if (read.index <= std::min(persisted_, peer_.persisted)) {
            ready_.reads.push_back(read);
        } else {
            persist_wanted_tick_ = tick_;
            held_reads_.push_back(read);
        }
    }
}

Term HotStandby::write_term() const {
    return state_ == State::kPrimary && !hand_over_ && applied_.value + 1 >= epoch_begins_.value ? epoch_ : Term{0};
}

// ---- Snapshots ----

bool HotStandby::accepts_snapshot(
    const NodeName& from, Term epoch, LogIndex index, std::string_view history, std::string& reason) {
    if (epoch < epoch_ || state_ == State::kPrimary || state_ == State::kPromoting) {
        reason = fmt::format("epoch {} is over; this member is in epoch {}", epoch.value, epoch_.value);
        return false;
    }
    if (epoch > epoch_ || from != primary_ || state_ != State::kStandby) {
        reason = "the sender is not known here as primary yet";
        return false;
    }
    if (history == history_ && index <= matched_ && matched_.value > 0) {
        reason = fmt::format("this member holds the log up to {} already", matched_.value);
        return false;
    }
    if (history != history_ && last_.value > 0) {
        reason = "this member holds data of another cluster and keeps it; empty its data directory to make it a standby";
        return false;
    }
    return true;
}

void HotStandby::snapshot_installed(const InstalledSnapshot& installed) {
    tail_.clear();
    tail_bytes_ = 0;
    sizes_.clear();
    inflight_bytes_ = 0;
    ready_.entries.clear();
    unwritten_bytes_ = writing_bytes_ = 0;
    left_out_ = false;
    refuse_placed(LogIndex{0});
    rewinding_ = false;
    rewind_to_.reset();
    needs_snapshot_ = holds_lost_branch_ = false;
    last_ = taken_ = persisted_ = committed_ = carried_out_ = applied_ = matched_ = installed.index;
    said_received_ = LogIndex{0};
    no_room_ = false;
    last_epoch_ = installed.term;
    history_ = installed.history;
    epochs_ = primary_epochs_;
    epochs_.forget_after(installed.index);
    // The log was begun anew, and what it remembered of the epoch with it.
    hard_dirty_ = true;
    event(fmt::format("A snapshot of the primary's data up to log index {} was installed.", installed.index.value));
    if (state_ == State::kStandby) {
        acknowledge(transport::WALBatchResponse::ACCEPTED);
    }
}

// ---- What is asked ----

std::optional<LogIndex> HotStandby::wanted_from() const {
    if (peer_.info.id.empty() || peer_.foreign) {
        return std::nullopt;  // it never met anybody who could want them
    }
    switch (state_) {
        case State::kPrimary:
            return LogIndex{peer_.persisted.value + 1};
        case State::kStandby:
            // What is not known to be the primary's may have to be given up, and is saved then.
            return LogIndex{matched_.value + 1};
        case State::kAsking:
        case State::kPromoting:
            break;
    }
    return LogIndex{1};
}

ClusterView HotStandby::view() const {
    ClusterView view;
    view.mode = "ha_standby";
    view.cluster_id = start_.cluster_id;
    view.self = start_.self;
    view.term = epoch_;
    view.commit_index = committed_;
    view.leader_changes = leader_changes_;
    const bool leads = state_ == State::kPrimary;
    view.role = leads ? Role::kPrimary : Role::kStandby;
    const bool primary_alive = state_ == State::kStandby && peer_.up && silent_ticks() < settings_.failover_ticks;
    view.leader = leads ? start_.self : primary_alive ? primary_ : NodeName{};
    const Result<> writable = may_write();
    view.accepts_writes = writable.has_value();
    if (leads) {
        view.state = !writable ? "read_only" : degraded_ || waits_to_go_alone() ? "degraded" : "ready";
        if (!writable) {
            view.reason = writable.error().message();
        } else if (waits_to_go_alone()) {
            view.reason = fmt::format("the standby does not answer or lags: writes wait {}", what_it_waits_for());
        } else if (degraded_) {
            view.reason = fmt::format("the standby does not answer or lags: writes are acknowledged when synced here "
                                      "alone, and {} may not take over by itself until it has caught up",
                                      peer_name());
        }
    } else if (foreign_) {
        view.state = "foreign_data";
        view.reason = fmt::format("this member holds data of another cluster than {}; empty its data directory to make "
                                  "it a standby",
                                  peer_name());
    } else if (state_ == State::kStandby && primary_alive) {
        const bool behind = needs_snapshot_ || peer_.last_index > persisted_;
        view.state = needs_snapshot_ || (behind && !told_in_sync_) ? "catching_up" : "ready";
        if (view.state != "ready") {
            view.reason = needs_snapshot_ ? "a snapshot of the primary's data is on its way"
                                          : fmt::format("{} log entries behind the primary",
                                                        peer_.last_index.value - persisted_.value);
        }
    } else {
        view.state = state_ == State::kStandby ? "primary_silent" : "starting";
        view.reason = why_no_primary();
    }
    MemberView self;
    self.id = start_.self;
    self.cluster_address = start_.cluster_address;
    self.bolt_address = start_.bolt_address;
    self.http_address = start_.http_address;
    self.role = view.role;
    self.match_index = persisted_;
    self.applied_index = applied_;
    view.members.push_back(std::move(self));
    for (const Peer* peer : {&peer_, &witness_}) {
        if (!peer->seen) {
            continue;
        }
        MemberView member;
        member.id = peer->info.id;
        member.cluster_address = peer->info.cluster_address;
        member.bolt_address = peer->info.bolt_address;
        member.http_address = peer->info.http_address;
        member.tags = tags_of(peer->info);
        member.serves_data = peer == &peer_;
        member.role = peer == &witness_ ? Role::kWitness
                      : state_ == State::kStandby && peer->info.id == primary_ ? Role::kPrimary
                                                                              : Role::kStandby;
        member.healthy = peer->up && tick_ - peer->heard_tick < settings_.failover_ticks;
        member.match_index = leads ? peer->persisted : peer->last_index;
        member.applied_index = peer->applied;
        view.members.push_back(std::move(member));
    }
    const bool synced = leads ? in_sync_ : is_in_sync();
    view.details = {{"sync_mode", std::string{word(settings_.sync_mode)}},
                    {"fence_policy", std::string{word(settings_.fence_policy)}},
                    {"sync_state", synced ? "synced" : waits_to_go_alone() ? "waiting" : degraded_ ? "degraded" : "catching_up"},
                    {"auto_failover", settings_.auto_failover ? "true" : "false"},
                    {"leader_silent_ms", fmt::format("{}", leads ? 0 : silent_ticks() * settings_.tick_ms)}};
    return view;
}

std::unique_ptr<Strategy> make_hot_standby(const StrategyStart& start, const HotStandbySettings& settings) {
    return std::make_unique<HotStandby>(start, settings);
}

}  // namespace nornic::modes
