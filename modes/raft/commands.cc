// What operators ask of a member and what they are shown.
#include "modes/raft/strategy.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::modes {

// ---- Commands ----

Result<> Raft::add_member(std::uint64_t id, const Command& command) {
    if (command.target.empty() || command.address.empty()) {
        return fail(ErrorCode::kInvalidArgument, "a member to add needs a node id and the address that its peers dial");
    }
    raft::Change change;
    change.id = command.target;
    change.kind = command.member_role == Command::MemberRole::kLearner ? raft::Change::Kind::kAddLearner
                                                                       : raft::Change::Kind::kAddVoter;
    change.member.address = command.address;
    change.member.priority = command.priority;
    change.member.witness = command.member_role == Command::MemberRole::kWitness;
    return core_.change_members(id, {change});
}

Result<> Raft::command(std::uint64_t id, const Command& command) {
    const auto asked = [&]() -> Result<> {
        switch (command.kind) {
            case Command::Kind::kTransfer:
                return core_.transfer(id, command.target);
            case Command::Kind::kStepDown:
                if (core_.role() == raft::Role::kLeader && !core_.transferring()) {
                    if (auto handed = core_.transfer(id, NodeName{})) {
                        return handed;
                    }
                    NORNIC_TRY(core_.step_down("an operator asked for it"));
                    answers_.push_back({id, std::string{"This member stopped leading; an election follows."}});
                    return success();
                }
                return core_.transfer(id, NodeName{});
            case Command::Kind::kAddMember:
                return add_member(id, command);
            case Command::Kind::kRemoveMember:
                return core_.change_members(id, {{raft::Change::Kind::kRemove, command.target, {}}});
            case Command::Kind::kSnapshot:
                if (is_witness()) {
                    return fail(ErrorCode::kUnsupported, "a witness holds no data");
                }
                checkpoint_due_ = true;
                checkpoint_index_ = core_.applied_index();
                checkpoint_tick_ = tick_;
                answers_.push_back(
                    {id, fmt::format("A snapshot as of log index {} is being written.", core_.applied_index().value)});
                return success();
            case Command::Kind::kPromote:
                if (core_.role() == raft::Role::kLeader) {
                    answers_.push_back({id, std::string{"This member leads already."}});
                    return success();
                }
                if (core_.leader().empty()) {
                    return fail(ErrorCode::kDatabaseUnavailable, "no leader is known: " + core_.why_no_leader());
                }
                {
                    ClusterMessage message;
                    message.mutable_promote()->set_force(false);
                    say(core_.leader(), std::move(message));
                }
                promotions_.push_back(id);
                promotion_tick_ = tick_;
                return success();
            case Command::Kind::kPromoteRegion:
            case Command::Kind::kDropRegion:
                break;
        }
        return fail(ErrorCode::kUnsupported, "this mode has no such command");
    }();
    if (!asked) {
        return with_hint(asked.error());
    }
    return success();
}

/// A follower was told to lead, and asks the leader to hand over.
void Raft::on_promote(const NodeName& from) {
    ClusterMessage message;
    auto& response = *message.mutable_promote_response();
    response.set_epoch(core_.term().value);
    const auto handed = core_.transfer(0, from);
    response.set_accepted(handed.has_value());
    if (!handed) {
        response.set_reason(handed.error().message());
    }
    say(from, std::move(message));
}

void Raft::on_promote_response(const transport::PromoteResponse& m) {
    if (m.accepted()) {
        return;
    }
    constexpr std::size_t kReasonBytesMax = 1024;
    for (const std::uint64_t id : std::exchange(promotions_, {})) {
        answers_.push_back({id, Error{ErrorCode::kConflict, m.reason().substr(0, kReasonBytesMax)}});
    }
}

void Raft::watch_promotion() {
    if (promotions_.empty()) {
        return;
    }
    const bool leads = core_.role() == raft::Role::kLeader;
    if (!leads && tick_ - promotion_tick_ < 2 * std::uint64_t{settings_.election_ticks}) {
        return;
    }
    for (const std::uint64_t id : std::exchange(promotions_, {})) {
        answers_.push_back({id,
                            leads ? Result<std::string>{fmt::format("This member leads in term {}.", core_.term().value)}
                                  : Result<std::string>{Error{ErrorCode::kTimedOut, "leadership was not handed over in time"}}});
    }
}

void Raft::leave() {
    leaving_ = true;
    asked_tick_ = 0;
    core_.leave();
}

bool Raft::left() const {
    if (!core_.left() || !settings_.leave_on_stop || !core_.formed()) {
        return core_.left();
    }
    // The last one has nobody to leave to.
    return core_.removed() || !core_.is_member() || core_.configuration().members.size() == 1 ||
           core_.role() == raft::Role::kLeader;
}

// ---- What is ----

ClusterView Raft::view() const {
    ClusterView view;
    view.mode = "raft";
    view.cluster_id = start_.cluster_id;
    view.self = start_.self;
    view.term = core_.term();
    view.commit_index = core_.committed();
    view.leader_changes = core_.leader_changes();
    view.leader = core_.leader();
    const raft::Configuration& configuration = core_.configuration();
    const bool leads = core_.role() == raft::Role::kLeader;
    const auto role_of = [&](const NodeName& id, const raft::Member* member) {
        if (member != nullptr && member->witness) {
            return id == core_.leader() ? Role::kLeader : Role::kWitness;
        }
        if (id == core_.leader()) {
            return Role::kLeader;
        }
        if (id == start_.self && core_.role() != raft::Role::kFollower) {
            return Role::kCandidate;
        }
        return member != nullptr && !member->votes() ? Role::kLearner : Role::kFollower;
    };
    const raft::Member* self = configuration.find(start_.self);
    view.role = is_witness() && !leads ? Role::kWitness : role_of(start_.self, self);
    view.accepts_writes = write_term().value != 0;
    if (quarantine_) {
        view.state = "quarantined";
        view.reason = why_quarantined();
    } else if (foreign_here_) {
        view.state = "foreign_data";
        view.reason = "this member holds data of another group; empty its data directory to make it a member";
    } else if (core_.removed()) {
        view.state = "starting";
        view.reason = fmt::format("this member was taken out of the group; {}", raft::kHowToReturn);
    } else if (!core_.formed()) {
        view.state = "starting";
        view.reason = !refused_why_.empty() ? refused_why_
                      : group_is_certain_   ? "this member waits for the leader of the group that it heard; if that group is gone for good, empty "
                                              "this member's data directory to begin anew"
                      : group_exists_       ? "this member waits for the group's leader"
                      : !held_back_by_.empty()
                          ? fmt::format("'{0}' has heard of a group and waits for it; if that group is gone for good, empty the data "
                                        "directory of '{0}' to begin anew",
                                        held_back_by_)
                      : settings_.bootstrap ? "a majority of NORNICDB_CLUSTER_RAFT_PEERS must be reached to form the group"
                                            : "no group was found yet; start the member that has "
                                              "NORNICDB_CLUSTER_RAFT_BOOTSTRAP=true, or one of a running group";
    } else if (core_.leader().empty() && std::any_of(foreign_.begin(), foreign_.end(), [&](const NodeName& id) {
                   return configuration.find(id) != nullptr;
               })) {
        view.state = "foreign_data";
        view.reason = fmt::format("'{}' belongs to another group now, which was begun anew; to follow it, empty this member's "
                                  "data directory and start it again",
                                  *foreign_.begin());
    } else if (core_.leader().empty()) {
        view.state = core_.has_reachable_majority() ? "read_only" : "no_quorum";
        view.reason = core_.why_no_leader();
    } else if (leads && !view.accepts_writes) {
        view.state = core_.has_quorum() ? "read_only" : "no_quorum";
        view.reason = core_.transferring() ? "leadership is being handed over"
                                           : "this member has just become the leader and makes sure of what its log holds";
    } else if (!leads && core_.needs_snapshot()) {
        view.state = "catching_up";
        view.reason = "a snapshot of the leader's data is on its way";
    }
    const auto add = [&](const NodeName& id, const raft::Member* member) {
        MemberView out;
        out.id = id;
        out.role = role_of(id, member);
        out.serves_data = member == nullptr || !member->witness;
        out.cluster_address = member == nullptr ? std::string{} : member->address;
        if (id == start_.self) {
            out.cluster_address = start_.cluster_address;
            out.bolt_address = start_.bolt_address;
            out.http_address = start_.http_address;
            out.serves_data = !is_witness() && !quarantine_;
            out.role = view.role;
            out.match_index = core_.log().persisted();
            out.applied_index = core_.applied_index();
        } else {
            if (const auto info = infos_.find(id); info != infos_.end()) {
                out.bolt_address = info->second.bolt_address;
                out.http_address = info->second.http_address;
                out.tags = tags_of(info->second);
            }
            out.serves_data = out.serves_data && !quarantined_peers_.contains(id);
            out.healthy = core_.is_up(id);
            if (const raft::Progress* progress = core_.progress(id)) {
                out.healthy = out.healthy && core_.is_heard(id);
                out.match_index = progress->match();
                out.applied_index = progress->applied();
            }
        }
        view.members.push_back(std::move(out));
    };
    add(start_.self, self);
    for (const auto& [id, member] : configuration.members) {
        if (id != start_.self) {
            add(id, &member);
        }
    }
    if (!view.leader.empty() && view.leader != start_.self && configuration.find(view.leader) == nullptr) {
        add(view.leader, nullptr);  // it will tell the configuration
    }
    view.details = {{"voters", fmt::format("{}", configuration.voters())},
                    {"joint", configuration.joint ? "true" : "false"},
                    {"bootstrap_state", core_.formed() ? "formed" : group_exists_ ? "joining" : "waiting"},
                    {"raft_state", std::string{raft::to_string(core_.role())}},
                    {"elections", fmt::format("{}", elections_)},
                    {"leader_silent_ms", fmt::format("{}", leads ? 0 : core_.leader_silent_ticks() * settings_.tick_ms)},
                    {"voted_for", core_.voted_for()},
                    {"last_log_index", fmt::format("{}", core_.log().last().value)},
                    {"last_log_term", fmt::format("{}", core_.log().last_term().value)},
                    {"configuration_index", fmt::format("{}", core_.configuration_index().value)},
                    {"state_comparisons", fmt::format("{}", comparisons_)},
                    {"state_mismatches", fmt::format("{}", mismatches_)},
                    {"state_compared_index", fmt::format("{}", compared_index_.value)},
                    {"state_differs", alarm_ || quarantine_ ? "true" : "false"},
                    {"state_differs_index", fmt::format("{}", quarantine_.value_or(alarm_.value_or(LogIndex{0})).value)}};
    return view;
}

}  // namespace nornic::modes
