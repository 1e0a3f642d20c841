// Who is in the group (thesis 4) and handing leadership over (thesis 3.10).
#include "base/check.h"
#include "modes/raft/core/core.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace nornic::raft {

Result<> Core::bootstrap(Configuration configuration) {
    if (initialized()) {
        return fail(ErrorCode::kAlreadyExists, "this member belongs to a group already");
    }
    const Member* self = configuration.find(start_.self);
    if (self == nullptr || self->directory != hard_.directory || !self->voter) {
        return fail(ErrorCode::kInvalidArgument, "the first configuration must have this member as a voter");
    }
    NORNIC_TRY(check_first(configuration));
    event(fmt::format("This member forms the group: {}.", configuration.describe()));
    // In memory alone: it becomes an entry of the term that it is elected in, so that no two members that form a group at
    // the same time write different entries of one index and term.
    configurations_.back() = {LogIndex{0}, std::move(configuration)};
    campaign(true, false);
    return success();
}

void Core::abandon_bootstrap() {
    if (formed() || role_ == Role::kLeader) {
        return;
    }
    configurations_.back() = {LogIndex{0}, Configuration{}};
    role_ = Role::kFollower;
    votes_.clear();
}

Result<> Core::change_members(std::uint64_t id, const std::vector<Change>& changes) {
    if (role_ != Role::kLeader) {
        return not_leader();
    }
    // Thesis 4.1, and the correction of 2015: one change at a time, and none before an entry of this term is committed.
    if (committed_ < term_begins_ || configuration_index() > committed_ || configuration().joint || transfer_) {
        return fail(ErrorCode::kBusy, "another change of the group is under way; try again");
    }
    NORNIC_TRY(auto next, apply_changes(configuration(), changes));
    // The old majority could agree to a group that can decide nothing: one of whose voters too many are away, or were named and
    // never heard, or have lost their disk.
    std::size_t heard = 0;
    NodeName missing;
    for (const auto& [name, member] : next.members) {
        const bool fit = name == start_.self ||
                         (is_heard_lately(name) &&
                          (answered_round_.contains(name) || followers_.at(name).match() > LogIndex{0}) &&
                          member.directory.value != 0 && !seen_directories_.contains(name));
        heard += member.voter && fit ? 1 : 0;
        missing = member.voter && !fit ? name : missing;
    }
    const bool fewer = std::ranges::all_of(changes, [](const Change& change) {
        return change.kind == Change::Kind::kRemove || change.kind == Change::Kind::kDemote;
    });
    if (fewer && 2 * heard <= next.voters()) {
        return fail(ErrorCode::kConflict,
                    fmt::format("without it the group has no majority: '{}' does not answer; start it again or take it out first",
                                missing));
    }
    propose_configuration(std::move(next));
    std::string sentence;
    for (const Change& change : changes) {
        const bool learner = change.kind == Change::Kind::kAddVoter;
        sentence += fmt::format("{}'{}' {}",
                                sentence.empty() ? "" : "; ",
                                change.id,
                                learner                                      ? "was added and becomes a voter once it has caught up"
                                : change.kind == Change::Kind::kAddLearner   ? "was added as a learner"
                                : change.kind == Change::Kind::kPromote      ? "is a voter now"
                                : change.kind == Change::Kind::kDemote       ? "is a learner now"
                                : change.kind == Change::Kind::kRemove       ? "was taken out"
                                                                             : "was changed");
    }
    changes_.push_back({id, log_.last(), std::move(sentence)});
    return success();
}

/// Whoever died a moment ago is heard lately still, and once this one is out nobody may be left to make up for that. So those that
/// stay are asked, and it may go as soon as enough of them have answered.
void Core::ask_removal(const NodeName& id) {
    if (role_ != Role::kLeader || configuration().find(id) == nullptr) {
        return;
    }
    departures_[id] = {round_ + 1, tick_};
    send_heartbeats();
    continue_departures();
}

void Core::continue_departures() {
    if (configuration().joint) {
        return;  // one change at a time
    }
    std::erase_if(departures_, [&](const auto& departure) {
        const auto& [id, asked] = departure;
        if (tick_ - asked.tick > 2 * std::uint64_t{settings_.heartbeat_ticks}) {
            return true;  // it asks no more: it has stopped without, and may be about to come back
        }
        const Change change{Change::Kind::kRemove, id, {}};
        const auto next = apply_changes(configuration(), {change});
        if (next && !next.value().has_quorum([&](const NodeName& other) { return has_answered(other, asked.round); })) {
            return false;
        }
        if (change_members(0, {change})) {
            event(fmt::format("'{}' stops and leaves the group.", id));
        }
        return true;  // what was refused is asked for again
    });
}

bool Core::has_answered(const NodeName& id, std::uint64_t round) const {
    const auto at = answered_round_.find(id);
    return id == start_.self || (at != answered_round_.end() && at->second >= round);
}

void Core::propose_configuration(Configuration next) {
    append_own(EntryKind::kMembership, next.encode(), last_hybrid_time_);
    event(fmt::format("The group becomes: {}.", configuration().describe()));
    sync_progress_with_members();
}

/// New members are followed from now on; those taken out until that is committed, so that they hear of it.
void Core::sync_progress_with_members() {
    for (const auto& [id, member] : configuration().members) {
        if (id != start_.self && !followers_.contains(id)) {
            followers_.emplace(id, Progress{LogIndex{log_.last().value + 1}, tick_});
        }
    }
    if (configuration_index() > committed_) {
        return;
    }
    std::erase_if(followers_, [&](const auto& follower) {
        if (configuration().find(follower.first) != nullptr) {
            return false;
        }
        say(follower.first, Lane::kControl, NotMember{hard_.term, configuration_index()});
        answered_round_.erase(follower.first);
        return true;
    });
}

/// Changes that have come through are answered.
void Core::settle_changes() {
    while (!changes_.empty() && changes_.front().index <= committed_ && !configuration().joint) {
        outcomes_.push_back({changes_.front().id, std::move(changes_.front().sentence)});
        changes_.pop_front();
    }
}

/// What the leader itself sees to, one thing at a time, once the configuration in force is committed.
void Core::continue_membership() {
    hand_over_to_better();
    if (role_ != Role::kLeader || committed_ < term_begins_ || configuration_index() > committed_) {
        return;
    }
    if (configuration().joint) {
        propose_configuration(leave_joint(configuration()));
        if (!changes_.empty()) {
            changes_.back().index = log_.last();
        }
        return;
    }
    sync_progress_with_members();
    const Member* self = configuration().find(start_.self);
    if (self == nullptr || !self->voter) {
        // Thesis 4.2.2: it led until its own removal was committed.
        if (const auto successor = fittest_successor()) {
            say(*successor, Lane::kControl, TimeoutNow{hard_.term});
        }
        settle_changes();
        stop_leading("it was taken out of the group");
        become_follower(hard_.term, NodeName{});
        if (self == nullptr) {
            hard_.removed_at = configuration_index();
            hard_dirty_ = true;
        }
        return;
    }
    if (transfer_) {
        return;
    }
    for (const auto& [id, member] : configuration().members) {
        const auto seen = seen_directories_.find(id);
        if (id != start_.self && seen != seen_directories_.end() && seen->second != member.directory) {
            Change change;
            change.id = id;
            change.member = member;
            change.member.directory = seen->second;
            change.kind = Change::Kind::kReplaceDirectory;
            if (member.directory.value == 0) {
                // The first configuration could only name it. From the moment that it counts, all is known of it.
                const auto priority = asked_priorities_.find(id);
                change.kind = Change::Kind::kUpdate;
                change.member.witness = is_witness(id);
                change.member.priority = priority == asked_priorities_.end() ? member.priority : priority->second;
            }
            auto next = apply_changes(configuration(), {change});
            if (!next) {
                note_kept_out(id, next.error().message());
                continue;
            }
            seen_directories_.erase(seen);
            if (change.kind == Change::Kind::kReplaceDirectory) {
                event(fmt::format("'{}' has lost its disk: it is a learner again until it has caught up.", id));
                followers_[id] = Progress{LogIndex{log_.last().value + 1}, tick_};
            }
            propose_configuration(std::move(next).value());
            return;
        }
    }
    for (const auto& [id, member] : configuration().members) {
        const auto follower = followers_.find(id);
        if (member.voter || !member.promote || follower == followers_.end()) {
            continue;
        }
        const Progress& progress = follower->second;
        const bool near = progress.match().value > 0 && progress.state() == Progress::State::kReplicate &&
                          progress.match().value + settings_.promote_within.value >= log_.last().value;
        if (near && tick_ - progress.heard_tick() < settings_.election_ticks) {
            if (auto next = apply_changes(configuration(), {{Change::Kind::kPromote, id, {}}})) {
                event(fmt::format("'{}' has caught up and becomes a voter.", id));
                propose_configuration(std::move(next).value());
                return;
            }
        }
    }
}

/// A witness leads only until one with data has what it has (spec 004), committed or not; the better one leads where there
/// is a choice.
void Core::hand_over_to_better() {
    const Member* self = configuration().find(start_.self);
    if (role_ != Role::kLeader || transfer_) {
        return;
    }
    const bool witness = start_.witness;
    const bool unfit = unfit_.contains(start_.self);
    // Where a follower needs data, any member that has some can send it, also one that should not lead for long.
    const auto better = fittest_successor(witness && !snapshot_retry_tick_.empty());
    if (!better || followers_.at(*better).match() != log_.last()) {
        return;
    }
    const bool settled = committed_ >= term_begins_ && applied_ == committed_ && configuration_index() <= committed_ &&
                         (tick_ >= prefer_again_tick_ || (self != nullptr && self->priority == 0));
    const auto declined = declined_.find(*better);
    const bool preferred = settled && self != nullptr && configuration().find(*better)->priority > self->priority &&
                           (self->priority == 0 || declined == declined_.end() || tick_ >= declined->second.until_tick);
    if (witness || unfit || preferred) {
        begin_transfer(0,
                       *better,
                       fmt::format("Leadership goes to '{}', which {}.",
                                   *better,
                                   witness ? "holds data"
                                   : unfit ? "holds data that is in order"
                                           : "is preferred by its priority"));
        continue_transfer();
    }
}

void Core::note_joining(const NodeName& id, DirectoryId directory, std::uint32_t priority) {
    asked_priorities_[id] = priority;
    note_directory(id, directory);
}

void Core::note_kept_out(const NodeName& id, const std::string& why) {
    if (kept_out_[id] != why) {
        kept_out_[id] = why;
        event(fmt::format("What '{}' votes and holds does not count yet: {}.", id, why));
    }
}

void Core::note_directory(const NodeName& from, DirectoryId directory) {
    const Member* member = configuration().find(from);
    if (member == nullptr || directory.value == 0) {
        return;
    }
    if (member->directory == directory) {
        seen_directories_.erase(from);
    } else {
        seen_directories_[from] = directory;
    }
}

// ---- Handing over ----

bool Core::is_heard_lately(const NodeName& peer) const {
    const auto at = followers_.find(peer);
    return at != followers_.end() && !down_.contains(peer) &&
           tick_ - at->second.heard_tick() < 3 * std::uint64_t{settings_.heartbeat_ticks};
}

/// Of the voters that are heard: those that have all, of these the preferred one.
std::optional<NodeName> Core::fittest_successor(bool of_any_kind) const {
    std::optional<NodeName> best;
    std::tuple<bool, std::uint32_t, LogIndex> best_rank;
    for (const auto& [id, member] : configuration().members) {
        if (!member.voter || is_witness(id) || (member.priority == 0 && !of_any_kind) || !is_heard_lately(id) ||
            seen_directories_.contains(id) || (unfit_.contains(id) && !of_any_kind)) {
            continue;
        }
        const LogIndex match = followers_.at(id).match();
        if (match.value == 0) {
            continue;
        }
        const std::tuple rank{match == log_.last(), member.priority, match};
        if (!best || rank > best_rank) {
            best = id;
            best_rank = rank;
        }
    }
    return best;
}

Result<> Core::transfer(std::uint64_t id, const NodeName& target) {
    if (role_ != Role::kLeader) {
        return not_leader();
    }
    if (transfer_) {
        return fail(ErrorCode::kBusy, fmt::format("leadership is being handed over to '{}' already", transfer_->target));
    }
    NodeName to = target;
    if (to.empty()) {
        const auto fittest = fittest_successor();
        if (!fittest) {
            return fail(ErrorCode::kDatabaseUnavailable, "no other voter with data is heard that leadership could go to");
        }
        to = *fittest;
    }
    if (to == start_.self) {
        outcomes_.push_back({id, fmt::format("'{}' leads already.", to)});
        return success();
    }
    const Member* member = configuration().find(to);
    if (member == nullptr) {
        return fail(ErrorCode::kNotFound,
                    fmt::format("'{}' is no member; the group is: {}", to, configuration().describe()));
    }
    if (!member->voter || is_witness(to) || member->priority == 0) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("'{}' may not lead: it {}",
                                to,
                                !member->voter     ? "is a learner"
                                : is_witness(to)   ? "is a witness"
                                                   : "has priority 0"));
    }
    if (unfit_.contains(to)) {
        return fail(ErrorCode::kInvalidArgument, fmt::format("'{}' may not lead: it is in quarantine", to));
    }
    begin_transfer(id, to, fmt::format("Leadership is being handed over to '{}'.", to));
    continue_transfer();
    return success();
}

void Core::begin_transfer(std::uint64_t id, const NodeName& target, std::string sentence) {
    transfer_ = Transfer{id, target, tick_, false};
    event(std::move(sentence));
}

void Core::continue_transfer() {
    if (!transfer_) {
        return;
    }
    const auto end = [&](Result<std::string> outcome) {
        if (!outcome) {
            event(fmt::format("Leadership was not handed over: {}.", outcome.error().message()));
        }
        Declined& declined = declined_[transfer_->target];
        if (outcome) {
            declined_.erase(transfer_->target);
        } else {
            // Writes wait while it is tried, and where it cannot win the group is without a leader for an election time-out.
            constexpr std::uint32_t kDoublingsMax = 5;
            declined.until_tick = tick_ + (10 * std::uint64_t{settings_.election_ticks} << std::min(declined.times, kDoublingsMax));
            ++declined.times;
        }
        if (transfer_->id != 0) {
            outcomes_.push_back({transfer_->id, std::move(outcome)});
        }
        transfer_.reset();
    };
    if (role_ != Role::kLeader && leader_ == transfer_->target) {
        end(fmt::format("'{}' leads in term {}.", leader_, hard_.term.value));
        return;
    }
    if (role_ != Role::kLeader && !leader_.empty()) {
        end(Error{ErrorCode::kConflict, fmt::format("'{}' leads now, not '{}'", leader_, transfer_->target)});
        return;
    }
    if (tick_ - transfer_->began_tick >= settings_.election_ticks) {
        prefer_again_tick_ = tick_ + 10 * std::uint64_t{settings_.election_ticks};
        end(Error{ErrorCode::kTimedOut,
                  fmt::format("'{}' did not take it within an election time-out; this member goes on", transfer_->target)});
        return;
    }
    const auto at = followers_.find(transfer_->target);
    if (role_ == Role::kLeader && !transfer_->sent && at != followers_.end() && at->second.match() == log_.last()) {
        transfer_->sent = true;
        say(transfer_->target, Lane::kControl, TimeoutNow{hard_.term});
    }
}

Result<> Core::step_down(const std::string& why) {
    if (role_ != Role::kLeader) {
        return not_leader();
    }
    stop_leading(why);
    become_follower(hard_.term, NodeName{});
    no_campaign_before_tick_ = tick_ + 2 * std::uint64_t{settings_.election_ticks};
    return success();
}

void Core::leave() {
    leaving_ = true;
    if (role_ == Role::kLeader && !transfer_ && configuration().voters() > 1) {
        if (const auto successor = fittest_successor()) {
            begin_transfer(
                0, *successor, fmt::format("Leadership is being handed over to '{}', since this member stops.", *successor));
            continue_transfer();
        }
    }
}

bool Core::left() const {
    return role_ != Role::kLeader || !transfer_;
}

}  // namespace nornic::raft
