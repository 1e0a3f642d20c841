// Who leads: pre-votes, votes, leases on votes, hand-over (thesis 3.4, 3.6.1, 3.10, 4.2.3, 9.6).
#include "base/check.h"
#include "modes/raft/core/core.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::raft {

bool Core::may_campaign(bool asked_to) const {
    const Member* self = configuration().find(start_.self);
    if ((self == nullptr || !self->votes()) && configuration_index() > committed_ && configurations_.size() > 1) {
        // That it has no vote any more is not committed, and it may be the only one that holds it (thesis 4.2.2).
        self = configurations_[configurations_.size() - 2].second.find(start_.self);
    }
    // Nobody led for a long time: what this one holds may be what the others lack.
    const bool last_resort = tick_ - leaderless_tick_ >= 4 * std::uint64_t{settings_.election_ticks};
    const bool fit = !unfit_.contains(start_.self);
    return self != nullptr && self->votes() && ((fit && self->priority > 0) || asked_to || last_resort) &&
           (!start_.witness || settings_.witness_may_lead) &&
           // A disk that was wiped is not the one that the group counts on.
           self->directory == hard_.directory && !removed() && !disk_stalled_ && !needs_snapshot_ && !log_reset_ &&
           tick_ >= no_campaign_before_tick_;
}

/// Thesis 4.2.3 and practice A2: while a leader is heard, votes for others would only disturb.
bool Core::leader_is_alive() const {
    if (role_ == Role::kLeader) {
        return true;  // it steps down by itself when it does not hear a majority
    }
    return !leader_.empty() && suspect_at_tick_ == 0 && tick_ - leader_heard_tick_ < settings_.election_ticks;
}

bool Core::speaks_for_member(const NodeName& from, DirectoryId directory) const {
    const Member* member = configuration().find(from);
    return member != nullptr && member->directory.value != 0 && member->directory == directory;
}

/// A leader's process seems to have ended. Those that may lead ask for pre-votes one after the other, the fittest first,
/// so that votes are not split; who still hears the leader refuses.
void Core::suspect_leader(const NodeName& peer) {
    // Also who does not campaign: it must not hold others back by a lease that it thinks the dead leader has.
    const Member* found = configuration().find(start_.self);
    if (role_ != Role::kFollower || peer != leader_ || found == nullptr || suspect_at_tick_ != 0) {
        return;
    }
    const Member& self = *found;
    std::uint64_t rank = 0;
    for (const auto& [id, member] : configuration().members) {
        const bool before = member.priority != self.priority ? member.priority > self.priority : id < start_.self;
        rank += id != leader_ && id != start_.self && member.votes() && !is_witness(id) && up_.contains(id) && before ? 1 : 0;
    }
    suspect_at_tick_ = tick_ + 1 + 3 * rank;
}

void Core::watch_election() {
    if (!may_campaign() || leaving_) {  // one that leaves leads only where the leader asks it to
        if (!leader_.empty() && tick_ - leader_heard_tick_ >= timeout_ticks_) {
            become_follower(hard_.term, NodeName{}, why_leader_is_missed());
        }
        return;
    }
    if (role_ == Role::kCandidate && !own_vote_durable_ && tick_ - leader_heard_tick_ < settings_.election_ticks) {
        return;  // a slow disk: another round would have to wait for it, too
    }
    const bool suspected = suspect_at_tick_ != 0 && tick_ >= suspect_at_tick_;
    if (suspected || tick_ - leader_heard_tick_ >= timeout_ticks_) {
        campaign(true, false);
    }
}

void Core::campaign(bool pre_vote, bool transfer) {
    role_ = pre_vote ? Role::kPreCandidate : Role::kCandidate;
    if (!leader_.empty()) {
        note_leader({}, transfer ? fmt::format("'{}' hands leadership over to '{}'", leader_, start_.self) : why_leader_is_missed());
    }
    // Both are forgotten, or a voter that is asked believes in a leader that is gone (practice A1).
    leader_.clear();
    votes_.clear();
    refuse_reads(Error{ErrorCode::kDatabaseUnavailable, "an election is under way; ask again"});
    suspect_at_tick_ = 0;
    leader_heard_tick_ = tick_;
    timeout_ticks_ = random_timeout();
    own_vote_durable_ = false;
    if (!pre_vote) {
        set_term(Term{hard_.term.value + 1});
        hard_.voted_for = start_.self;
    }
    votes_[start_.self] = true;
    send_vote_requests(pre_vote, transfer);
    count_votes();
}

void Core::send_vote_requests(bool pre_vote, bool transfer) {
    VoteRequest request;
    request.term = pre_vote ? Term{hard_.term.value + 1} : hard_.term;
    request.last_index = log_.last();
    request.last_term = log_.last_term();
    request.pre_vote = pre_vote;
    request.transfer = transfer;
    for (const auto& [id, member] : configuration().members) {
        if (id == start_.self) {
            continue;
        }
        if (pre_vote) {
            // Learners, too: none of their votes counts, but where this member was taken out and all voters that it knows of
            // were as well, who was a learner then may be the only one who knows.
            say(id, Lane::kControl, request);
        } else if (member.votes()) {
            // What the request says of this log must be on disk: were it forgotten, the same term could be asked for again
            // with a shorter log, and old votes would count for it.
            say_after_persist(id, Lane::kControl, request);
        }
    }
}

void Core::count_votes() {
    const bool pre_vote = role_ == Role::kPreCandidate;
    const auto outcome = configuration().tally([&](const NodeName& id) {
        if (id == start_.self && !pre_vote && !own_vote_durable_) {
            return 0;
        }
        const auto at = votes_.find(id);
        return at == votes_.end() ? 0 : at->second ? 1 : -1;
    });
    if (outcome == Configuration::Outcome::kWon) {
        if (pre_vote) {
            campaign(false, false);
        } else {
            become_leader();
        }
    } else if (outcome == Configuration::Outcome::kLost) {
        // Its time-out goes on: another that can win will have asked by then.
        role_ = Role::kFollower;
        votes_.clear();
    }
}

void Core::become_leader() {
    NORNIC_CHECK(role_ == Role::kCandidate && own_vote_durable_, "role {}", to_string(role_));
    role_ = Role::kLeader;
    // A preferred member that stops in an orderly way has just handed over; one that comes back settles first.
    prefer_again_tick_ = std::max(prefer_again_tick_, tick_ + 2 * std::uint64_t{settings_.election_ticks});
    leader_ = start_.self;
    ++leader_changes_;
    votes_.clear();
    followers_.clear();
    snapshot_retry_tick_.clear();
    answered_round_.clear();
    departures_.clear();
    seen_directories_.clear();
    asked_priorities_.clear();
    kept_out_.clear();
    changes_.clear();
    acknowledge_due_ = false;
    needs_snapshot_ = false;
    term_begins_ = LogIndex{log_.last().value + 1};
    for (const auto& [id, member] : configuration().members) {
        if (id != start_.self) {
            followers_.emplace(id, Progress{term_begins_, tick_});
        }
    }
    note_leader(start_.self,
                !leader_lost_why_.empty() ? leader_lost_why_
                : formed()                ? "it was elected; no leader was known"
                                          : "it forms the group");
    // Nothing of older terms is committed by counting; this entry commits all before it (thesis 3.6.2, 6.4).
    append_own(formed() ? EntryKind::kNoop : EntryKind::kMembership,
               formed() ? std::string{} : configuration().encode(),
               last_hybrid_time_);
    event(fmt::format("This member leads in term {}.", hard_.term.value));
    send_heartbeats();
}

/// Also where it was not replaced: it must not lead any more.
void Core::stop_leading(const std::string& why) {
    NORNIC_CHECK(role_ == Role::kLeader, "role {}", to_string(role_));
    event(fmt::format("This member stops leading: {}.", why));
    note_leader({}, transfer_ && transfer_->sent ? fmt::format("it handed leadership over to '{}'", transfer_->target) : why);
    role_ = Role::kFollower;
    leader_.clear();
    leader_heard_tick_ = tick_;
    timeout_ticks_ = random_timeout();
    followers_.clear();
    answered_round_.clear();
    // What was not handed to the disk was shown to nobody.
    if (log_.has_new()) {
        const LogIndex kept{std::max(log_.taken().value, committed_.value)};
        truncate_log(kept);
        out_.dropped_after = out_.dropped_after ? std::min(*out_.dropped_after, kept) : kept;
    }
    matched_ = committed_;
    sizes_.clear();
    uncommitted_bytes_ = 0;
    for (const PendingChange& change : changes_) {
        outcomes_.push_back({change.id,
                             Error{ErrorCode::kTimedOut,
                                   "leadership was lost before the change was committed; it may or may not come through: "
                                   "look at the members"}});
    }
    changes_.clear();
    refuse_reads(Error{ErrorCode::kDatabaseUnavailable, "leadership was lost before the read was confirmed; ask again"});
}

void Core::on_vote_request(const NodeName& from, const VoteRequest& m) {
    const auto refuse = [&](std::string reason) {
        VoteResponse response;
        response.term = hard_.term;
        response.pre_vote = m.pre_vote;
        response.reason = std::move(reason);
        say_after_persist(from, Lane::kControl, response);
    };
    // By the newest configuration that is known to be committed; what follows it may be given up.
    const auto* known = committed_configuration();
    if (const Member* member = known == nullptr ? nullptr : known->second.find(from);
        known != nullptr && !known->second.members.empty() && (member == nullptr || !member->votes())) {
        // It may have been taken out and not know it, or not know that this is committed. A group that is being formed here is
        // none that anybody was taken out of.
        if (formed()) {
            say(from, Lane::kControl, NotMember{hard_.term, known->first});
        }
        if (m.last_index <= known->first) {
            // Its log has no later configuration, one that it is a voter of.
            refuse("the candidate is no voter");
            return;
        }
    }
    if (!m.transfer && leader_is_alive()) {
        refuse(fmt::format("'{}' leads and is heard", leader_));
        return;
    }
    if (m.term < hard_.term) {
        refuse("a later term has begun");
        return;
    }
    const bool up_to_date = log_.is_up_to_date(m.last_index, m.last_term);
    if (m.pre_vote) {
        if (m.term <= hard_.term || !up_to_date) {
            if (!up_to_date && role_ == Role::kFollower && suspect_at_tick_ == 0 && initialized()) {
                // Others miss a leader, too, and cannot win against this log.
                suspect_at_tick_ = tick_ + 1 + random_.below(std::max(2U, settings_.heartbeat_ticks));
            }
            refuse(up_to_date ? "the term has begun already" : "the log here is newer");
            return;
        }
        VoteResponse response;
        response.term = m.term;
        response.pre_vote = true;
        response.granted = true;
        say(from, Lane::kControl, response);
        if (suspect_at_tick_ != 0) {
            suspect_at_tick_ = tick_ + std::max(2U, settings_.heartbeat_ticks);  // it goes first
        }
        return;
    }
    if (m.term > hard_.term) {
        const bool known_leader = role_ == Role::kFollower && !leader_.empty();
        become_follower(m.term,
                        NodeName{},
                        !known_leader ? std::string{}
                        : m.transfer  ? fmt::format("'{}' hands leadership over to '{}'", leader_, from)
                                      : why_leader_is_missed());
    }
    const bool free = hard_.voted_for.empty() ? leader_.empty() : hard_.voted_for == from;
    if (!free || !up_to_date) {
        refuse(free ? "the log here is newer" : fmt::format("this member voted for '{}'", hard_.voted_for));
        return;
    }
    // A member grants though it does not know itself a voter: the candidate may know a newer configuration (practice A10).
    if (hard_.voted_for != from) {
        hard_.voted_for = from;
        hard_dirty_ = true;
    }
    leader_heard_tick_ = tick_;
    suspect_at_tick_ = 0;
    VoteResponse response;
    response.term = hard_.term;
    response.granted = true;
    say_after_persist(from, Lane::kControl, response);
}

void Core::on_vote_response(const NodeName& from, const Message& message, const VoteResponse& m) {
    const bool pre_vote = role_ == Role::kPreCandidate;
    if (!speaks_for_member(from, message.directory) || m.pre_vote != pre_vote ||
        (!pre_vote && role_ != Role::kCandidate)) {
        return;
    }
    if (m.granted && m.term != (pre_vote ? Term{hard_.term.value + 1} : hard_.term)) {
        return;  // of another round
    }
    if (!votes_.emplace(from, m.granted).second) {
        return;
    }
    count_votes();
}

void Core::on_timeout_now(const NodeName& from, const TimeoutNow&) {
    if (role_ == Role::kFollower && from == leader_ && may_campaign(true)) {
        campaign(false, true);
    }
}

void Core::on_not_member(const NotMember& m) {
    // Of whatever term: who says it may itself be out since long, and nobody else may be left to tell. The place alone counts: the
    // entry there is committed, so nobody can be elected whose log has no configuration as late.
    // One that never was a member, as far as is known here, is only about to become one.
    if (role_ == Role::kLeader || removed() || !formed() || m.index < configuration_index() || !has_been_member()) {
        return;
    }
    if (role_ != Role::kFollower) {
        role_ = Role::kFollower;
        votes_.clear();
    }
    note_removed(m.index, "The group has taken this member out");
}

}  // namespace nornic::raft
