// Who leads, and how that changes. An epoch is made durable before anything is said or written in it, and epochs of
// the two members never coincide (next_epoch), so entries of one epoch have one author.
#include "base/check.h"
#include "modes/hot_standby/hot_standby_impl.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace nornic::modes {

using transport::LANE_CONTROL;

namespace {

constexpr std::uint64_t kHeartbeatsToAnOlderVersion = 3;
constexpr std::string_view kNoWitness = "the witness is not connected, and without its vote nobody may lead; bring it back, or accept that the other "
                                        "member may lead, too, with POST /admin/promote {\"force\": true}";

}  // namespace

// ---- Who leads ----

void HotStandby::note_leader(const NodeName& to, std::string reason) {
    ready_.leader_changes.push_back({epoch_, last_leader_, to, reason});
    leader_lost_why_ = to.empty() ? std::move(reason) : std::string{};
    last_leader_ = to.empty() ? last_leader_ : to;
}

// ---- Epochs ----

Term HotStandby::next_epoch() const {
    // Odd epochs belong to the member whose id sorts first, even ones to the other: two that promote themselves
    // without hearing each other never write under the same epoch. Alone and never met: odd.
    const bool odd = peer_.info.id.empty() || start_.self < peer_.info.id;
    std::uint64_t next = std::max(epoch_, peer_epoch_).value + 1;
    if ((next % 2 == 1) != odd) {
        ++next;
    }
    return Term{next};
}

bool HotStandby::log_at_least(Term last_epoch, LogIndex last_index) const {
    return std::tie(last_epoch_, last_) >= std::tie(last_epoch, last_index);
}

void HotStandby::adopt(Term epoch, const NodeName& primary) {
    peer_epoch_ = std::max(peer_epoch_, epoch);
    if (epoch < epoch_ || (epoch == epoch_ && (primary.empty() || primary == primary_))) {
        return;
    }
    if (epoch > epoch_) {
        if (state_ == State::kPrimary || state_ == State::kPromoting) {
            step_down(fmt::format("{} is in epoch {}, past this member's {}",
                                  primary.empty() ? peer_name() : "'" + primary + "'",
                                  epoch.value,
                                  epoch_.value));
        }
        matched_ = LogIndex{0};
        compared_ = left_out_ = false;
        said_received_ = LogIndex{0};
        heard_sequence_ = withdrew_sequence_ = 0;
        answers_given_.clear();
        told_in_sync_ = false;
        state_ = State::kAsking;
    }
    epoch_ = epoch;
    primary_ = primary;
    hard_dirty_ = true;
}

void HotStandby::follow(const NodeName& primary) {
    primary_heard_tick_ = tick_;
    if (state_ == State::kStandby) {
        return;
    }
    state_ = State::kStandby;
    matched_ = LogIndex{0};
    compared_ = false;
    said_received_ = LogIndex{0};
    told_in_sync_ = false;
    waiting_why_.clear();
    ++leader_changes_;
    if (claim_ == Claim::kConsent) {
        claim_ = Claim::kNone;
    }
    event(fmt::format("Following primary '{}' in epoch {}.", primary, epoch_.value));
    note_leader(primary,
                primary == last_leader_     ? "it is heard again"
                : !leader_lost_why_.empty() ? leader_lost_why_
                : last_leader_.empty()      ? "this member heard of it first"
                                            : "it promoted itself");
}

void HotStandby::step_down(const std::string& why) {
    event(fmt::format("No longer primary: {}. Writes are refused; this member becomes the standby.", why));
    note_leader({}, hand_over_ ? fmt::format("it handed over to '{}'", hand_over_to_) : why);
    committed_ = still_committed();
    state_ = State::kAsking;
    waiting_why_ = "it stepped down and waits to hear from the new primary";
    primary_heard_tick_ = tick_;
    in_sync_ = false;
    degraded_ = false;
    hand_over_.reset();
    peer_.inflight.clear();
    ++leader_changes_;
}

// ---- Neither leads ----

void HotStandby::ask() {
    last_heartbeat_tick_ = tick_;
    if (!peer_.up) {
        return;
    }
    ClusterMessage message;
    auto& m = *message.mutable_heartbeat();
    m.set_epoch(epoch_.value);
    m.set_sequence(++sequence_);
    m.set_history(history_);
    m.set_commit_index(committed_.value);
    m.set_last_index(last_.value);
    m.set_last_epoch(last_epoch_.value);
    m.set_leading(false);
    m.set_primary_id(primary_);
    m.set_no_room(no_room_to_lead());
    *m.mutable_standby_settings() = said_settings();
    say(peer_.info.id, LANE_CONTROL, std::move(message));
}

/// It asks again after the failover time-out; meanwhile the other one leads, if it holds as much.
void HotStandby::note_no_room_to_lead() {
    no_room_to_lead_until_tick_ = tick_ + settings_.failover_ticks;
}

void HotStandby::decide_with_peer(Term epoch, const NodeName& led_last, Term last_epoch, LogIndex last_index, bool no_room_there) {
    const bool undecided = state_ == State::kAsking || (state_ == State::kStandby && primary_ == peer_.info.id);
    if (claim_ == Claim::kVote && state_ == State::kAsking) {
        claim_ = Claim::kNone;  // the two agree without a witness
    }
    if (!undecided || claim_ != Claim::kNone || rewinding_ || needs_snapshot_) {
        return;
    }
    const bool equal = std::tie(last_epoch_, last_) == std::tie(last_epoch, last_index);
    bool nobody_led = false;
    bool claim = std::tie(last_epoch_, last_) > std::tie(last_epoch, last_index);
    if (equal) {
        // Both judge by the same thing, what the one in the later epoch knows.
        const NodeName& known = epoch > epoch_ || (epoch == epoch_ && primary_.empty()) ? led_last : primary_;
        nobody_led = known != start_.self && known != peer_.info.id;
        claim = known == start_.self || restart_promotion_ ||
                (known != peer_.info.id && settings_.configured_primary);
        claim = no_room_there != no_room_to_lead() ? no_room_there : claim;
    }
    if (claim && no_room_to_lead()) {
        waiting_why_ = "its disk has no room to lead";
        return;
    }
    if (!claim && nobody_led && !no_room_to_lead()) {
        waiting_why_ = fmt::format("its NORNICDB_CLUSTER_HA_ROLE is standby, and neither it nor {0} has led before: {0} leads if its role is "
                                   "primary. Where both are standby, restart one with the role primary, or POST /admin/promote here",
                                   peer_name());
        return;
    }
    if (!claim) {
        waiting_why_ = fmt::format("{} has the newer log or the older right and is expected to lead", peer_name());
        return;
    }
    // Whatever the name of the empty one: it may be another machine in its place. Nobody is named in what was a standalone server's.
    const bool another_led = !primary_.empty() && primary_ != start_.self;
    if (last_index.value == 0 && last_.value > 0 && another_led && !is_in_sync() && settings_.sync_mode != SyncMode::kAsync) {
        waiting_why_ = fmt::format("'{}' led, {} has no data, and this member may lack writes that were acknowledged; restore them, or POST "
                                   "/admin/promote {{\"force\": true}} here",
                                   primary_,
                                   peer_name());
        return;
    }
    start_claim(Claim::kConsent, "neither member led and this one has the newer log or led last");
}

// ---- Claims ----

void HotStandby::start_claim(Claim claim, std::string why) {
    claim_ = claim;
    claim_epoch_ = next_epoch();
    claim_tick_ = tick_;
    claim_why_ = std::move(why);
    send_claim();
}

void HotStandby::send_claim() {
    ClusterMessage message;
    if (claim_ == Claim::kVote) {
        if (!witness_.up) {
            return;
        }
        auto& m = *message.mutable_vote_request();
        m.set_term(claim_epoch_.value);
        m.set_candidate_id(start_.self);
        m.set_last_log_index(last_.value);
        m.set_last_log_term(last_epoch_.value);
        say(witness_.info.id, LANE_CONTROL, std::move(message));
        return;
    }
    say(peer_.info.id, LANE_CONTROL, make_fence(claim_ == Claim::kPlanned, false));
}

ClusterMessage HotStandby::make_fence(bool planned, bool forced) const {
    ClusterMessage message;
    auto& m = *message.mutable_fence();
    m.set_epoch(claim_epoch_.value);
    m.set_candidate_id(start_.self);
    m.set_last_index(last_.value);
    m.set_last_epoch(last_epoch_.value);
    m.set_planned(planned);
    m.set_forced(forced);
    m.set_history(history_);
    return message;
}

/// An attempt: the epoch is what keeps the old primary out once it hears of it.
void HotStandby::fence_peer() {
    if (peer_.up) {
        say(peer_.info.id, LANE_CONTROL, make_fence(false, true));
    }
}

void HotStandby::watch_claim() {
    if (claim_ == Claim::kNone) {
        return;
    }
    const std::uint64_t waited = tick_ - claim_tick_;
    if (waited >= settings_.failover_ticks) {
        end_claim(fmt::format("{} did not answer in time", claim_ == Claim::kVote ? "the witness" : peer_name()));
    } else if (waited > 0 && waited % settings_.heartbeat_ticks == 0) {
        send_claim();
    }
}

void HotStandby::end_claim(const std::string& why_not) {
    if (claim_ == Claim::kNone) {
        return;
    }
    claim_ = Claim::kNone;
    waiting_why_ = fmt::format("it asked to lead and was refused: {}", why_not);
    answer_commands(fail(ErrorCode::kConflict, fmt::format("not promoted: {}", why_not)));
}

void HotStandby::answer_commands(const Result<std::string>& outcome) {
    for (const std::uint64_t id : std::exchange(promote_commands_, {})) {
        answers_.push_back({id, outcome});
    }
}

bool HotStandby::led_last() const {
    return primary_ == start_.self && !epochs_.rows().empty() && epochs_.rows().back().epoch == epoch_;
}

/// Raises the epoch on disk; lead() follows once it is there.
void HotStandby::promote(const std::string& why) {
    NORNIC_CHECK(claim_epoch_ > epoch_, "epoch {} after {}", claim_epoch_.value, epoch_.value);
    lead_before_tick_.reset();
    epoch_ = claim_epoch_;
    claim_ = Claim::kNone;
    primary_ = start_.self;
    hard_dirty_ = true;
    state_ = State::kPromoting;
    told_in_sync_ = false;
    needs_snapshot_ = false;  // it leads with what it has
    restart_promotion_ = false;
    promoted_why_ = why;
    event(fmt::format("Promoting this member to primary in epoch {}: {}.", epoch_.value, why));
}

/// The disk took so long for the epoch that the old primary may have gone on alone meanwhile.
void HotStandby::give_promotion_up() {
    state_ = State::kAsking;
    waiting_why_ = fmt::format("its disk took so long for the promotion that {} may have acknowledged writes alone meanwhile", peer_name());
    event(fmt::format("No promotion: {}.", waiting_why_));
    answer_commands(fail(ErrorCode::kConflict, "not promoted: " + waiting_why_));
}

void HotStandby::lead() {
    state_ = State::kPrimary;
    waiting_why_.clear();
    ++leader_changes_;
    in_sync_ = false;
    alone_ = true;  // the other one is told by nobody that it is in sync, so it does not promote itself
    degraded_ = false;
    unsynced_since_tick_ = tick_;
    commit_waits_since_tick_.reset();
    lease_tick_ = tick_;
    lease_lost_ = false;
    sent_.clear();
    hand_over_.reset();
    peer_.next = LogIndex{last_.value + 1};
    peer_.received = peer_.persisted = LogIndex{0};
    peer_.sending_snapshot = false;
    peer_.foreign = peer_.leaving = false;
    peer_.answered_in_epoch = 0;
    former_.reset();
    lost_contact();
    // All that this member holds is the history from now on. The first entry of the epoch says so in the log.
    epoch_begins_ = LogIndex{last_.value + 1};
    append({epoch_, epoch_begins_, last_hybrid_time_, EntryKind::kNoop, {}});
    event(fmt::format("This member is the primary of epoch {} and takes writes.", epoch_.value));
    note_leader(start_.self, promoted_why_);
    answer_commands(fmt::format("'{}' is the primary of epoch {}", start_.self, epoch_.value));
    send_heartbeats();
    advance_commit();
}

Result<> HotStandby::may_promote(bool force) const {
    if (rewinding_) {
        return fail(ErrorCode::kDatabaseUnavailable, "this member is giving up a branch of its log; repeat in a moment");
    }
    if (needs_snapshot_ && holds_lost_branch_) {
        return fail(ErrorCode::kDatabaseUnavailable,
                    fmt::format("this member holds writes that {0} does not have, and waits for a copy of the data there. If {0} is gone "
                                "for good, restart this server and repeat: it then keeps what it has",
                                peer_name()));
    }
    if (needs_snapshot_ && last_.value == 0) {
        return fail(ErrorCode::kDatabaseUnavailable,
                    fmt::format("this member holds no data yet and waits for a copy from {}; bring that one back", peer_name()));
    }
    const bool primary_alive = state_ == State::kStandby && peer_.up && silent_ticks() < settings_.failover_ticks;
    if (needs_snapshot_ && primary_alive) {
        return fail(ErrorCode::kConflict,
                    fmt::format("this member's data is about to be replaced by that of {0}, which leads and answers; wait until sync_state is "
                                "'synced' (GET /admin/cluster/status)",
                                peer_name()));
    }
    if (needs_snapshot_ && !force) {
        return fail(ErrorCode::kConflict,
                    fmt::format("this member's data is about to be replaced by that of {0}, behind which it lags too far. If {0} is gone for "
                                "good, POST /admin/promote {{\"force\": true}} makes it lead with what it has",
                                peer_name()));
    }
    if (force || is_in_sync() || (settings_.sync_mode == SyncMode::kAsync && state_ == State::kStandby && compared_)) {
        return success();
    }
    if (state_ == State::kAsking) {
        // That it led when it stopped proves nothing: the other one may have been promoted since.
        return fail(ErrorCode::kConflict,
                    fmt::format("{} does not answer and may hold newer writes or have been promoted; bring it back, or "
                                "accept the loss with POST /admin/promote {{\"force\": true}}",
                                peer_name()));
    }
    return fail(ErrorCode::kConflict,
                fmt::format("this member may lack writes that {0} acknowledged: {1}. Bring {0} back, or accept the loss with "
                            "POST /admin/promote {{\"force\": true}}",
                            primary_.empty() ? peer_name() : "'" + primary_ + "'",
                            told_in_sync_ ? fmt::format("it last answered it {} ago, and a primary that hears nothing for so long "
                                                        "goes on alone",
                                                        in_seconds(tick_ - told_tick_))
                                          : "it was not in sync when it last heard from it"));
}

std::string HotStandby::why_not_by_itself() const {
    const Result<> may = may_promote(false);
    return may ? std::string{} : may.error().message();
}

/// The primary is silent, or none was ever found.
void HotStandby::consider_failover() {
    if (claim_ != Claim::kNone || rewinding_ || silent_ticks() < settings_.failover_ticks) {
        return;
    }
    if (state_ == State::kAsking) {
        const bool fresh = last_.value == 0 && epoch_.value == 0;
        if (settings_.fence_policy == FencePolicy::kWitness && settings_.has_witness && !peer_.up) {
            if ((fresh && settings_.configured_primary) || led_last() || told_in_sync_) {
                if (!witness_.up) {
                    waiting_why_ = std::string{kNoWitness};
                    return;
                }
                start_claim(Claim::kVote, "no peer answered and the witness agreed");
            } else {
                waiting_why_ = "it was not the primary when it stopped, and its peer does not answer; "
                               "POST /admin/promote {\"force\": true} makes it serve what it has";
            }
        } else if (fresh && settings_.configured_primary && !peer_.up) {
            claim_epoch_ = next_epoch();
            promote("it is new, configured as primary, and no peer answered");
        } else if (!peer_.up || tick_ - peer_.heard_tick >= settings_.failover_ticks) {
            waiting_why_ = why_not_by_itself();
        }
        return;
    }
    if (!settings_.auto_failover) {
        waiting_why_ = "the primary is silent and NORNICDB_CLUSTER_HA_AUTO_FAILOVER is false; POST /admin/promote "
                       "promotes this member";
        return;
    }
    if (const std::string why = why_not_by_itself(); !why.empty()) {
        if (waiting_why_ != why) {
            waiting_why_ = why;
            event("The primary is silent, but no failover: " + waiting_why_ + ".");
        }
        return;
    }
    if (persisted_ < last_) {
        return;  // in a moment
    }
    if (settings_.fence_policy == FencePolicy::kWitness && !witness_.up) {
        waiting_why_ = std::string{kNoWitness};
        return;
    }
    if (settings_.fence_policy == FencePolicy::kWitness) {
        waiting_why_ = "the primary is silent and the witness was asked for its vote";
        start_claim(Claim::kVote, "the primary was silent and the witness agreed");
        return;
    }
    claim_epoch_ = next_epoch();
    fence_peer();
    promote(fmt::format("primary '{}' has been silent for {}", primary_, in_seconds(silent_ticks())));
    lead_before_tick_ = in_sync_ends() ? std::optional{in_sync_until_tick()} : std::nullopt;
}

// ---- Messages about who leads ----

void HotStandby::on_heartbeat(const NodeName& from, const transport::Heartbeat& m) {
    const Term epoch{m.epoch()};
    if (m.leading() && epoch == epoch_ && primary_ == from && m.sequence() <= heard_sequence_) {
        return;  // late: what it says, above all of being in sync, is over
    }
    const bool other_data = !m.history().empty() && m.history() != history_;
    if (is_foreign(m.history(), LogIndex{m.last_index()})) {
        if (!foreign_) {
            foreign_ = true;
            event(fmt::format("'{}' holds the data of another cluster (history {}, here {}); the two stay apart. Empty "
                              "the data directory of the one that shall become the standby.",
                              from,
                              m.history(),
                              history_));
        }
        return;
    }
    foreign_ = false;
    compare_settings(from, m.standby_settings());
    peer_.last_index = LogIndex{m.last_index()};
    peer_.last_epoch = Term{m.last_epoch()};
    peer_epoch_ = std::max(peer_epoch_, epoch);
    if (m.leading() && epoch >= epoch_ && !(epoch == epoch_ && primary_ == start_.self)) {
        adopt(epoch, from);
        follow(from);
        heard_sequence_ = m.sequence();
        if (claim_ == Claim::kVote) {
            end_claim("the primary is heard again");
        }
        // A word sent before the primary knew what this member lacks is no promise.
        told_in_sync_ = m.in_sync() && !no_room_ && !withdrawing_ && matched_ >= std::max(said_received_, LogIndex{m.commit_index()});
        // It was sent after the answer that it names had come, however long it was on its way. An older version names none.
        const std::optional<std::uint64_t> said = m.answered() == 0 ? tick_ : answer_tick(m.answered());
        told_in_sync_ = told_in_sync_ && said.has_value();
        told_tick_ = said.value_or(told_tick_);
        // An older version names no answer; it does not know the word either.
        const bool heard = m.answered() == 0 ? m.sequence() >= withdrew_sequence_ + kHeartbeatsToAnOlderVersion : m.answered() >= withdrew_sequence_;
        withdrawn_ = withdrawn_ || (withdrew_sequence_ != 0 && !m.in_sync() && heard);
        if (other_data && last_.value == 0) {
            needs_snapshot_ = true;  // it holds nothing of what this primary acknowledged
        }
    }
    ClusterMessage message;
    auto& answer = *message.mutable_heartbeat_response();
    answer.set_epoch(epoch_.value);
    answer.set_sequence(m.sequence());
    answer.set_leading(state_ == State::kPrimary);
    answer.set_primary_id(primary_);
    const bool follows = state_ == State::kStandby && primary_ == from;
    if (follows && !no_room_) {
        said_received_ = std::max(said_received_, matched_);
    }
    answer.set_received_index(follows ? (no_room_ ? std::min(matched_, persisted_) : matched_).value : 0);
    answer.set_persisted_index(follows ? std::min(matched_, persisted_).value : 0);
    answer.set_applied_index(applied_.value);
    answer.set_last_index(last_.value);
    answer.set_last_epoch(last_epoch_.value);
    answer.set_in_sync(told_in_sync_);
    answer.set_leaving(withdrawing_);
    answer.set_history(history_);
    answer.set_no_room(no_room_to_lead());
    *answer.mutable_standby_settings() = said_settings();
    if (follows && m.leading() && epoch == epoch_) {
        note_answer(m.sequence());
        withdrew_sequence_ = withdrawing_ && withdrew_sequence_ == 0 ? m.sequence() : withdrew_sequence_;
    }
    say_after_persist(from, LANE_CONTROL, std::move(message));
    if (!m.leading()) {
        if (state_ == State::kPrimary) {
            send_heartbeats();
        } else {
            decide_with_peer(epoch, m.primary_id(), peer_.last_epoch, peer_.last_index, m.no_room());
        }
    }
}

void HotStandby::on_heartbeat_response(const NodeName& from, const transport::HeartbeatResponse& m) {
    const bool witness = is_witness(from);
    Peer& peer = witness ? witness_ : peer_;
    const Term epoch{m.epoch()};
    if (epoch <= epoch_) {
        if (m.sequence() < peer.answered || m.sequence() > sequence_) {
            return;  // late, or meant for an earlier life of this member
        }
        peer.answered = m.sequence();
    }
    if (!witness && is_foreign(m.history(), LogIndex{m.last_index()})) {
        peer_.foreign = true;
        return;
    }
    compare_settings(from, m.standby_settings());
    peer_epoch_ = std::max(peer_epoch_, epoch);
    if (!witness) {
        peer_.foreign = false;
        peer_.last_index = LogIndex{m.last_index()};
        peer_.last_epoch = Term{m.last_epoch()};
        peer_.applied = LogIndex{m.applied_index()};
        const bool other = !m.history().empty() && m.history() != history_;
        if (peer_.sending_snapshot && peer_.other_history && !other) {
            // It has the snapshot, though the word of that was lost.
            peer_.sending_snapshot = false;
            lost_contact();
        }
        peer_.other_history = other;
    }
    if (epoch > epoch_) {
        if (claim_ != Claim::kNone && epoch >= claim_epoch_ && m.primary_id() != start_.self) {
            end_claim(fmt::format("'{}' is in epoch {}", from, epoch.value));
        }
        if (m.leading()) {
            adopt(epoch, from);
            follow(from);
        } else if (state_ == State::kPrimary || state_ == State::kPromoting) {
            // Somebody was promised a later epoch than this primary's.
            adopt(epoch, m.primary_id());
        } else if (!witness) {
            decide_with_peer(epoch, m.primary_id(), peer_.last_epoch, peer_.last_index, m.no_room());
        }
        return;
    }
    if (state_ == State::kPrimary) {
        if (epoch < epoch_) {
            return;
        }
        // Who gives no votes says nothing of who may lead.
        const bool counts = witness ? settings_.fence_policy == FencePolicy::kWitness : !former_;
        for (const auto& [sequence, tick] : sent_) {
            if (counts && sequence == m.sequence()) {
                lease_tick_ = std::max(lease_tick_, tick);
            }
        }
        if (m.sequence() >= note_sequence_) {
            peer.noted_in_sync = m.in_sync();
        }
        if (!witness) {
            if (m.sequence() > peer_.answered_in_epoch) {
                peer_.answered_in_epoch = m.sequence();
                peer_.answered_tick = tick_;
            }
            const bool was_leaving = std::exchange(peer_.leaving, m.leaving());
            if (peer_.leaving && !was_leaving && settings_.sync_mode != SyncMode::kSync) {
                event(fmt::format("Standby '{}' stops.", from));
                set_in_sync(false);
                send_heartbeats();  // it waits for that
            }
            peer_.persisted = std::max(peer_.persisted, std::min(LogIndex{m.persisted_index()}, peer_.received));
            if (LogIndex{m.received_index()} < peer_.received && m.sequence() > peer_.sequence_at_progress &&
                !peer_.probing) {
                // It restarted and lost what it had received and not synced.
                peer_.received = LogIndex{m.received_index()};
                lost_contact();
                ship(persisted_, messages_);
            }
        }
        advance_commit();
        return;
    }
    if (witness) {
        return;
    }
    if (m.leading()) {
        if (epoch == epoch_ && (state_ == State::kAsking) && primary_ != start_.self) {
            adopt(epoch, from);
            follow(from);
        }
        return;
    }
    decide_with_peer(epoch, m.primary_id(), peer_.last_epoch, peer_.last_index, m.no_room());
}

void HotStandby::answer_fence(const NodeName& to,
                              const transport::Fence& asked,
                              bool accepted,
                              const std::string& reason) {
    ClusterMessage message;
    auto& m = *message.mutable_fence_response();
    m.set_epoch(epoch_.value);
    m.set_accepted(accepted);
    m.set_last_index(last_.value);
    m.set_last_epoch(last_epoch_.value);
    m.set_reason(reason);
    m.set_planned(asked.planned());
    m.set_fence_epoch(asked.epoch());
    say_after_persist(to, LANE_CONTROL, std::move(message));
}

void HotStandby::on_fence(const NodeName& from, const transport::Fence& m) {
    const Term epoch{m.epoch()};
    const bool known_as_foreign = m.history().empty() && m.last_index() > 0 && (foreign_ || peer_.foreign);  // an older version
    if (known_as_foreign || is_foreign(m.history(), LogIndex{m.last_index()})) {
        answer_fence(from, m, false, "this member holds the data of another cluster");
        return;
    }
    peer_epoch_ = std::max(peer_epoch_, epoch);
    if (epoch < epoch_ || (epoch == epoch_ && primary_ != m.candidate_id())) {
        answer_fence(from, m, false, fmt::format("epoch {} is over; this member is in epoch {}", m.epoch(), epoch_.value));
        return;
    }
    if (epoch == epoch_) {
        answer_fence(from, m, true, "");
        return;
    }
    const bool leads = state_ == State::kPrimary || state_ == State::kPromoting;
    if (m.forced()) {
        event(fmt::format("Fenced by '{}', which promotes itself in epoch {}.", from, m.epoch()));
        end_claim(fmt::format("'{}' promotes itself", from));
        adopt(epoch, m.candidate_id());
        answer_fence(from, m, true, "");
        return;
    }
    if (state_ == State::kPrimary && m.planned()) {
        if (!hand_over_) {
            if (const Result<> may = may_hand_over(); !may) {
                answer_fence(from, m, false, may.error().message());
                return;
            }
            event(fmt::format("Handing over to '{}': writes wait until it holds all {} log entries.", from, last_.value));
            hand_over_tick_ = tick_;
        }
        hand_over_ = m;
        hand_over_to_ = from;
        continue_hand_over();
        return;
    }
    if (leads) {
        answer_fence(from, m, false, fmt::format("this member leads in epoch {}", epoch_.value));
        return;
    }
    if (std::tie(last_epoch_, last_) > std::make_tuple(Term{m.last_epoch()}, LogIndex{m.last_index()})) {
        answer_fence(from, m, false, "this member has the newer log");
        return;
    }
    if (claim_ != Claim::kNone && claim_epoch_ > epoch) {
        answer_fence(from, m, false, "this member claims a later epoch");
        return;
    }
    end_claim(fmt::format("'{}' was to lead", from));
    adopt(epoch, m.candidate_id());
    primary_heard_tick_ = tick_;
    answer_fence(from, m, true, "");
}

void HotStandby::continue_hand_over() {
    if (!hand_over_) {
        return;
    }
    const transport::Fence asked = *hand_over_;
    const NodeName to = hand_over_to_;
    const bool late = tick_ - hand_over_tick_ > std::min(settings_.failover_ticks / 2, settings_.degrade_ticks);
    if (late || !peer_.up || (!in_sync_ && settings_.sync_mode != SyncMode::kAsync)) {
        hand_over_.reset();
        const std::string why = peer_.up ? "did not catch up in time" : "is not connected any more";
        event(fmt::format("'{}' {}; this member stays the primary.", to, why));
        answer_fence(to, asked, false, fmt::format("'{}' {}", to, why));
        return;
    }
    if (peer_.received < last_ || persisted_ < last_ || committed_ < last_ || peer_.probing) {
        return;
    }
    event(fmt::format("Handed over to '{}' at log index {}.", to, last_.value));
    adopt(Term{asked.epoch()}, asked.candidate_id());
    answer_fence(to, asked, true, "");
}

/// It was restarted with the role of the primary, and takes over once it is in sync.
void HotStandby::consider_switch_over() {
    const bool fit = told_in_sync_ || (settings_.sync_mode == SyncMode::kAsync && compared_);
    if (!restart_promotion_ || !fit || claim_ != Claim::kNone || rewinding_ || needs_snapshot_ || no_room_ || withdrawing_ ||
        !peer_.up || tick_ < switch_over_tick_) {
        return;
    }
    switch_over_tick_ = tick_ + settings_.failover_ticks;
    start_claim(Claim::kPlanned, "it was restarted with the role of the primary");
}

void HotStandby::on_fence_response(const NodeName& from, const transport::FenceResponse& m) {
    peer_epoch_ = std::max(peer_epoch_, Term{m.epoch()});
    if ((claim_ != Claim::kConsent && claim_ != Claim::kPlanned) || Term{m.fence_epoch()} != claim_epoch_) {
        return;
    }
    if (claim_epoch_ <= epoch_) {
        claim_ = Claim::kNone;
        return;
    }
    if (!m.accepted()) {
        end_claim(m.reason());
        return;
    }
    if (!log_at_least(Term{m.last_epoch()}, LogIndex{m.last_index()})) {
        // It counted on entries that were lost here since; they are there, so it leads again.
        end_claim(fmt::format("'{}' holds entries that this member does not", from));
        return;
    }
    promote(claim_why_);
}

void HotStandby::on_vote_response(const NodeName& from, const transport::VoteResponse& m) {
    if (!is_witness(from)) {
        return;
    }
    peer_epoch_ = std::max(peer_epoch_, Term{m.term()});
    if (claim_ != Claim::kVote || claim_epoch_ <= epoch_) {
        return;
    }
    if (m.vote_granted() && Term{m.term()} == claim_epoch_) {
        promote(claim_why_);
    } else if (!m.vote_granted()) {
        const std::string why = "the witness refuses: " + m.reason();
        if (why != waiting_why_) {
            event(fmt::format("Not promoted: {}. To lead all the same, POST /admin/promote {{\"force\": true}} here.", why));
        }
        answer_commands(fail(ErrorCode::kConflict, "not promoted: " + why));
        claim_ = Claim::kNone;
        waiting_why_ = why;
        // Ask again, after as long as the primary would need to be heard.
        primary_heard_tick_ = tick_ > settings_.failover_ticks ? tick_ - settings_.failover_ticks + settings_.heartbeat_ticks
                                                               : 0;
    }
}

void HotStandby::on_promote(const NodeName& from, const transport::Promote&) {
    ClusterMessage message;
    auto& answer = *message.mutable_promote_response();
    answer.set_epoch(epoch_.value);
    const bool can = state_ == State::kStandby && primary_ == from && claim_ == Claim::kNone && !rewinding_ &&
                     !needs_snapshot_ && !no_room_ && !withdrawing_;
    answer.set_accepted(can);
    if (!can) {
        answer.set_reason("this member does not follow the sender now");
    }
    say(from, LANE_CONTROL, std::move(message));
    if (can) {
        start_claim(Claim::kPlanned, fmt::format("'{}' stops and hands over", from));
    }
}

// ---- What an operator asks ----

Result<> HotStandby::command(std::uint64_t id, const Command& asked) {
    switch (asked.kind) {
        case Command::Kind::kPromote:
            break;
        case Command::Kind::kTransfer:
        case Command::Kind::kStepDown: {
            if (state_ != State::kPrimary) {
                return fail(ErrorCode::kNotLeader, "this member is not the primary", peer_.info.bolt_address);
            }
            NORNIC_TRY(may_hand_over());
            ClusterMessage message;
            message.mutable_promote();
            say(peer_.info.id, LANE_CONTROL, std::move(message));
            answers_.push_back({id, fmt::format("'{}' was asked to take over", peer_.info.id)});
            return success();
        }
        default:
            return fail(ErrorCode::kUnsupported, "hot standby has two members, given by its settings");
    }
    if (state_ == State::kPrimary || state_ == State::kPromoting) {
        answers_.push_back({id, fmt::format("'{}' is the primary already", start_.self)});
        return success();
    }
    const bool primary_alive = state_ == State::kStandby && peer_.up && silent_ticks() < settings_.failover_ticks;
    if (primary_alive && !asked.force) {
        if (rewinding_ || needs_snapshot_ || no_room_) {
            return fail(ErrorCode::kConflict,
                        fmt::format("this member is not in sync with '{}': {}. Repeat once its state is 'ready' (GET /admin/cluster/status)",
                                    primary_,
                                    no_room_         ? "its disk has no room"
                                    : needs_snapshot_ ? "it waits for a copy of the data there"
                                                      : "it gives up a branch of its log"));
        }
        promote_commands_.push_back(id);
        if (claim_ == Claim::kNone) {
            start_claim(Claim::kPlanned, "an operator asked for it");
        }
        return success();
    }
    const bool ask_peer = state_ == State::kAsking && peer_.up && !asked.force;
    // A standby that restarted may have lost what it had received and not synced; the witness does not know that.
    const bool fit = told_in_sync_ || led_last();
    const bool ask_witness = !asked.force && settings_.fence_policy == FencePolicy::kWitness && witness_.up && fit;
    const bool fresh = last_.value == 0 && epoch_.value == 0 && settings_.configured_primary;
    if (rewinding_ || needs_snapshot_ || !(ask_peer || ask_witness || fresh)) {
        NORNIC_TRY(may_promote(asked.force));
    }
    if (ask_peer) {
        promote_commands_.push_back(id);
        if (claim_ == Claim::kNone) {
            start_claim(Claim::kConsent, "an operator asked for it and the peer agreed");
        }
        return success();
    }
    // A witness has not heard yet of an epoch that the two have just agreed on without it.
    const bool heard_lately = silent_ticks() < settings_.failover_ticks &&
                              (settings_.fence_policy == FencePolicy::kStrict ||
                               (settings_.fence_policy == FencePolicy::kWitness && state_ == State::kStandby));
    if (!asked.force && heard_lately) {
        return fail(ErrorCode::kConflict,
                    "the primary may still be taking writes; repeat once it has been silent for the whole "
                    "failover time-out, or {\"force\": true}");
    }
    const bool by_vote = !asked.force && settings_.fence_policy == FencePolicy::kWitness;
    if (by_vote && !witness_.up) {
        return fail(ErrorCode::kConflict, std::string{kNoWitness});
    }
    promote_commands_.push_back(id);
    if (by_vote) {
        if (claim_ == Claim::kNone) {
            start_claim(Claim::kVote, "an operator asked for it and the witness agreed");
        }
        return success();
    }
    claim_ = Claim::kNone;
    claim_epoch_ = next_epoch();
    const bool while_in_sync = !asked.force && told_in_sync_ && in_sync_ends();
    fence_peer();
    promote(asked.force ? "an operator forced it" : "an operator asked for it");
    lead_before_tick_ = while_in_sync ? std::optional{in_sync_until_tick()} : std::nullopt;
    return success();
}

void HotStandby::leave() {
    leaving_ = state_ == State::kPrimary && may_hand_over().has_value();
    withdrawing_ = (leaving_ || state_ == State::kStandby) && peer_.up && settings_.sync_mode == SyncMode::kSemiSync;
    if (leaving_) {
        ClusterMessage message;
        message.mutable_promote();
        say(peer_.info.id, LANE_CONTROL, std::move(message));
    }
    if (withdrawing_) {
        // The answer to the next heartbeat says so; else writes of whoever leads would wait until this member cannot take over.
        told_in_sync_ = false;
    }
}

bool HotStandby::left() const {
    // What says so to the other one waits for the disk.
    const bool said_so = state_ != State::kPrimary && !hard_state_pending();
    const bool handed_over = !leaving_ || said_so || !peer_.up || peer_.leaving;
    const bool hears = state_ == State::kStandby && peer_.up && silent_ticks() < 3 * std::uint64_t{settings_.heartbeat_ticks};
    return handed_over && (!withdrawing_ || withdrawn_ || !hears);
}

}  // namespace nornic::modes
