// Getting into a group. A member without a configuration tells all that it knows of itself; whoever has a configuration
// answers. One that may bootstrap writes the first configuration only once a majority of its peers is heard and none of
// them has one: BOOTSTRAP=true that stays set must not make a second group (practice A28).
#include "modes/raft/strategy.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace nornic::modes {

using transport::JoinRequest;
using transport::JoinResponse;

namespace {

constexpr std::size_t kAddressBytesMax = raft::kNameBytesMax;
constexpr std::size_t kReasonBytesMax = 1024;
constexpr std::uint32_t kPriorityMax = 1000;

/// That its settings name; nullopt: none.
std::optional<std::uint32_t> priority_of(const transport::PeerInfo& peer) {
    for (const std::string_view feature : peer.features) {
        if (feature.starts_with(kRaftPriorityFeature)) {
            const std::string_view digits = feature.substr(kRaftPriorityFeature.size());
            std::uint32_t priority = 0;
            const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), priority);
            if (error == std::errc{} && end == digits.data() + digits.size() && priority <= kPriorityMax) {
                return priority;
            }
        }
    }
    return std::nullopt;
}

}  // namespace

void Raft::ask_to_join(const NodeName& peer) {
    ClusterMessage message;
    JoinRequest& m = *message.mutable_join_request();
    m.set_address(start_.cluster_address);
    m.set_role(settings_.role == RaftRole::kVoter     ? JoinRequest::VOTER
               : settings_.role == RaftRole::kLearner ? JoinRequest::LEARNER
                                                      : JoinRequest::WITNESS);
    m.set_priority(settings_.priority);
    m.set_directory(core_.directory().value);
    m.set_bootstrap(settings_.bootstrap && !group_exists_);
    if (core_.log().last().value > 0) {
        m.set_history(history_);
    }
    say(peer, std::move(message));
}

void Raft::form() {
    if (!is_outside() || core_.directory_pending() || leaving_) {
        return;
    }
    if (tick_ - asked_tick_ >= settings_.heartbeat_ticks) {
        asked_tick_ = tick_;
        for (const auto& [id, info] : infos_) {
            if (core_.is_up(id)) {
                ask_to_join(id);
            }
        }
    }
    if (core_.formed()) {
        return;
    }
    // A leader that could not write its first entry belongs to none any more.
    if (group_exists_ && !group_is_certain_ && tick_ - group_heard_tick_ >= 5 * std::uint64_t{settings_.election_ticks}) {
        group_exists_ = false;
    }
    consider_bootstrap();
}

void Raft::on_join_request(const NodeName& from, const JoinRequest& m) {
    if (m.address().size() > kAddressBytesMax || m.priority() > kPriorityMax || m.directory() == 0 || m.configured()) {
        return;
    }
    if (m.leave()) {
        core_.ask_removal(from);
        return;
    }
    if (!core_.formed()) {
        constexpr std::size_t kFreshMax = raft::kMembersMax;
        if (fresh_.size() < kFreshMax || fresh_.contains(from)) {
            fresh_[from] = m;
        }
        if (group_exists_ && !core_.directory_pending()) {
            // One that would begin a group must not take this member for another that knows of none.
            ClusterMessage message;
            JoinResponse& out = *message.mutable_join_response();
            out.set_configured(true);
            out.set_directory(core_.directory().value);
            out.set_leader_address(leader_address_);
            out.set_reason("it waits to be taken in itself");
            say(from, std::move(message));
        }
        return;
    }
    ClusterMessage message;
    JoinResponse& out = *message.mutable_join_response();
    out.set_configured(true);
    out.set_term(core_.term().value);
    out.set_directory(core_.directory().value);
    out.set_leader_id(core_.leader());
    if (const raft::Member* leader = core_.configuration().find(core_.leader())) {
        out.set_leader_address(leader->address);
    }
    const raft::Member* member = core_.configuration().find(from);
    if (core_.role() != raft::Role::kLeader) {
        out.set_reason("another member leads");
    } else if (member != nullptr) {
        // The leader finds it by itself, and its new disk, if it lost the one before.
        core_.note_joining(from, raft::DirectoryId{m.directory()}, m.priority());
        out.set_accepted(true);
    } else if (!m.history().empty() && m.history() != history_) {
        out.set_reason("it holds data of its own, which would be lost; empty its data directory");
    } else if (m.address().empty()) {
        out.set_reason("it did not say at which address its peers can dial it; set NORNICDB_CLUSTER_ADVERTISE_ADDR");
    } else {
        raft::Change change;
        change.id = from;
        change.kind = m.role() == JoinRequest::LEARNER ? raft::Change::Kind::kAddLearner : raft::Change::Kind::kAddVoter;
        change.member.address = m.address();
        change.member.priority = m.priority();
        change.member.witness = m.role() == JoinRequest::WITNESS;
        change.member.directory = raft::DirectoryId{m.directory()};
        const auto added = core_.change_members(0, {change});
        out.set_accepted(added.has_value());
        if (!added && added.error().code() != ErrorCode::kBusy) {
            out.set_reason(added.error().message());
        }
    }
    say(from, std::move(message));
}

/// An orderly stop that gives membership up: asked of the leader until the group is one without this member. A leader hands
/// over first and asks its successor.
void Raft::ask_to_leave() {
    if (!leaving_ || left() || tick_ - asked_tick_ < settings_.heartbeat_ticks) {
        return;
    }
    asked_tick_ = tick_;
    if (const NodeName& leader = core_.leader(); !leader.empty() && leader != start_.self) {
        ClusterMessage message;
        JoinRequest& m = *message.mutable_join_request();
        m.set_directory(core_.directory().value);
        m.set_leave(true);
        say(leader, std::move(message));
    }
}

void Raft::on_join_response(const NodeName& from, const JoinResponse& m) {
    if (!is_outside() || !m.configured()) {
        return;
    }
    if (m.term() == 0) {
        told_of_group_[from] = tick_;  // by one that waits itself
        return;
    }
    if (!group_exists_) {
        event(fmt::format("'{}' belongs to a group already; this member joins it.", from));
    }
    group_heard_tick_ = tick_;
    group_exists_ = true;
    core_.abandon_bootstrap();
    if (m.leader_address().size() <= kAddressBytesMax && !m.leader_address().empty()) {
        leader_address_ = m.leader_address();
    }
    const std::string reason = m.leader_id() == from ? m.reason().substr(0, kReasonBytesMax) : std::string{};
    if (!reason.empty() && reason != refused_why_) {
        event(fmt::format("'{}' does not take this member in: {}.", from, reason));
    }
    refused_why_ = m.accepted() ? std::string{} : reason;
}

/// A leader that has committed something speaks to this member, whose disk has nothing of the group yet. Were it forgotten by a
/// restart, this one and a member whose disk was lost could be a majority, and begin a second group (practice A28).
void Raft::note_group() {
    if (core_.formed() || group_is_certain_) {
        return;
    }
    group_is_certain_ = group_exists_ = true;
    group_heard_tick_ = tick_;
    core_.abandon_bootstrap();
    core_.write_hard_state();
}

void Raft::consider_bootstrap() {
    if (!settings_.bootstrap || group_exists_ || core_.initialized() || settings_.role != RaftRole::kVoter) {
        return;
    }
    held_back_by_.clear();
    raft::Configuration configuration;
    raft::Member self;
    self.address = start_.cluster_address;
    self.directory = core_.directory();
    self.priority = settings_.priority;
    configuration.members.emplace(start_.self, self);
    std::size_t peers = 0;
    std::size_t heard = 0;
    std::size_t learners = 0;
    for (const RaftPeer& peer : settings_.peers) {
        if (peer.id == start_.self || peer.address == start_.cluster_address) {
            continue;
        }
        ++peers;
        const auto fresh = std::find_if(fresh_.begin(), fresh_.end(), [&](const auto& known) {
            return peer.id.empty() ? known.second.address() == peer.address : known.first == peer.id;
        });
        raft::Member member;
        member.address = peer.address;
        const auto told = fresh == fresh_.end() ? told_of_group_.end() : told_of_group_.find(fresh->first);
        if (told != told_of_group_.end() && tick_ - told->second < settings_.election_ticks) {
            held_back_by_ = fresh->first;  // it knows of a group
            return;
        }
        if (fresh == fresh_.end()) {
            if (!peer.id.empty()) {
                configuration.members.emplace(peer.id, member);  // counted, and found once it is there
            }
            continue;
        }
        ++heard;
        const JoinRequest& m = fresh->second;
        if (m.bootstrap()) {
            // Both may: the one that has data, else the lower id.
            const bool mine = core_.log().last().value > 0;
            const bool its = !m.history().empty();
            if (mine == its ? fresh->first < start_.self : its) {
                return;
            }
        }
        member.directory = raft::DirectoryId{m.directory()};
        member.priority = m.priority();
        member.witness = m.role() == JoinRequest::WITNESS;
        member.voter = m.role() != JoinRequest::LEARNER;
        learners += member.voter ? 0 : 1;
        configuration.members.emplace(fresh->first, member);
    }
    if (2 * (heard + 1) <= peers + 1) {
        return;
    }
    // Whom only an address is known of is in it once it was heard. Two that begin a group at a time, each with those that it
    // heard, must not both find a majority: one of either is a majority of all peers.
    if (2 * (configuration.voters() / 2 + 1) <= peers + 1 - learners) {
        return;
    }
    if (auto begun = core_.bootstrap(std::move(configuration)); begun) {
        event("This instance bootstrapped the cluster.");
    } else {
        refused_why_ = begun.error().message();
    }
}

/// What members say of themselves goes before what the configuration has: where they can be dialed, whether they are
/// witnesses, and which priority they have, where their settings name one.
void Raft::watch_members() {
    if (core_.role() != raft::Role::kLeader || tick_ - members_tick_ < settings_.heartbeat_ticks) {
        return;
    }
    members_tick_ = tick_;
    for (const auto& [id, member] : core_.configuration().members) {
        raft::Change change{raft::Change::Kind::kUpdate, id, member};
        if (id == start_.self) {
            change.member.address = start_.cluster_address;
            change.member.witness = is_witness();
            change.member.priority = settings_.priority_is_set ? settings_.priority : member.priority;
        } else if (const auto info = infos_.find(id); info != infos_.end() && core_.is_up(id)) {
            change.member.address = info->second.cluster_address;
            change.member.witness = info->second.witness;
            change.member.priority = priority_of(info->second).value_or(member.priority);
        }
        if (change.member.address.empty() || change.member.address.size() > kAddressBytesMax) {
            change.member.address = member.address;
        }
        const raft::Member& now = change.member;
        if (now == member) {
            continue;
        }
        const auto changed = core_.change_members(0, {change});
        if (changed) {
            event(fmt::format("'{}' is at {} now{}{}.",
                              id,
                              now.address,
                              now.witness == member.witness     ? ""
                              : now.witness                     ? ", a witness"
                                                                : ", with data",
                              now.priority == member.priority ? std::string{} : fmt::format(", of priority {}", now.priority)));
        } else if (changed.error().code() == ErrorCode::kInvalidArgument) {
            event(fmt::format("'{}' stays as it was: {}.", id, changed.error().message()));
            continue;
        }
        return;
    }
}

std::optional<std::vector<std::string>> Raft::dial() {
    if (std::exchange(dial_tick_, tick_) == tick_) {
        return std::nullopt;
    }
    std::set<std::string> wanted;
    for (const auto& [id, member] : core_.configuration().members) {
        if (id != start_.self) {
            wanted.insert(member.address);
        }
    }
    if (!core_.formed()) {
        for (const RaftPeer& peer : settings_.peers) {
            wanted.insert(peer.address);
        }
        wanted.insert(settings_.join.begin(), settings_.join.end());
        wanted.insert(leader_address_);
    } else if (!core_.is_member()) {
        wanted.insert(leader_address_);
    }
    wanted.erase(std::string{});
    wanted.erase(start_.cluster_address);
    std::vector<std::string> list{wanted.begin(), wanted.end()};
    if (list == dialed_) {
        return std::nullopt;
    }
    dialed_ = list;
    return list;
}

}  // namespace nornic::modes
