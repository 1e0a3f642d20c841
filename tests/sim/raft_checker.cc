#include "tests/sim/raft_checker.h"

#include <algorithm>
#include <charconv>

namespace nornic::sim {
namespace {

/// Whether these members, a bit each of `ids`, are a quorum.
bool is_quorum(const raft::Configuration& configuration, const std::vector<std::string>& ids, std::uint64_t those) {
    return configuration.has_quorum([&](const NodeName& id) {
        const auto at = std::ranges::find(ids, id);
        return at != ids.end() && (those >> (at - ids.begin()) & 1) != 0;
    });
}

std::uint64_t directory_in(const transport::ClusterMessage& m) {
    switch (m.body_case()) {
        case transport::ClusterMessage::kVoteRequest:
            return m.vote_request().directory();
        case transport::ClusterMessage::kVoteResponse:
            return m.vote_response().directory();
        case transport::ClusterMessage::kAppendEntries:
            return m.append_entries().directory();
        case transport::ClusterMessage::kAppendEntriesResponse:
            return m.append_entries_response().directory();
        case transport::ClusterMessage::kHeartbeat:
            return m.heartbeat().directory();
        case transport::ClusterMessage::kHeartbeatResponse:
            return m.heartbeat_response().directory();
        case transport::ClusterMessage::kJoinRequest:
            return m.join_request().directory();
        default:
            return 0;
    }
}

}  // namespace

RaftChecker::RaftChecker(World& world)
    : world_{world},
      checked_(world.menu.members()),
      lives_(world.menu.members()),
      disks_(world.menu.members()),
      directories_(world.menu.members()),
      old_directories_(world.menu.members()) {}

// ---- Configurations ----

void RaftChecker::logged(Node& node, const engine::LogEntry& entry) {
    if (entry.kind != engine::EntryKind::kMembership) {
        return;
    }
    auto decoded = raft::Configuration::decode(entry.payload);
    if (!decoded) {
        world_.violate(fmt::format("{} logs a configuration at {} that cannot be read: {}",
                                   node.id(),
                                   entry.index.value,
                                   decoded.error().message()));
        return;
    }
    const auto [at, added] =
        configurations_.emplace(Place{entry.index, entry.term}, std::move(decoded).value());
    if (!added) {
        return;
    }
    const raft::Configuration& after = at->second;
    if (world_.traces()) {
        world_.trace("configuration {} of term {} at {}: {}{}",
                     entry.index.value,
                     entry.term.value,
                     node.id(),
                     after.describe(),
                     after.joint ? " (joint)" : "");
    }
    world_.mark(after.joint ? "configuration: joint" : "configuration: simple");
    if (after.voters() == 0) {
        world_.violate(fmt::format("the configuration at {} has no voters", entry.index.value));
        return;
    }
    // Against the one that it follows in the same line, which has to be committed by now (thesis 4.1; practice A7).
    const std::vector<Term>& line = node.disk().lineage;
    for (auto before = at; before != configurations_.begin();) {
        --before;
        const Place& place = before->first;
        if (place.first < entry.index && place.first.value < line.size() && line[place.first.value] == place.second) {
            check_intersect(node, before->second, after, entry.index);
            if (place.first.value >= committed_.size() || committed_[place.first.value] != place.second) {
                world_.violate(fmt::format("{} logs a configuration at {} while the one at {} is not committed",
                                           node.id(),
                                           entry.index.value,
                                           place.first.value));
            }
            return;
        }
    }
    // A first one: what a leader began that was deposed before its disk was done may come late. That no two are ever
    // committed decided() sees.
}

void RaftChecker::about_to_log(const engine::LogEntry& entry) {
    if (entry.kind == engine::EntryKind::kMembership) {
        if (auto decoded = raft::Configuration::decode(entry.payload)) {
            begun_.emplace(Place{entry.index, entry.term}, std::move(decoded).value());
        }
    }
}

/// No two of them can decide without a member in common.
void RaftChecker::check_intersect(Node& node,
                                  const raft::Configuration& before,
                                  const raft::Configuration& after,
                                  LogIndex index) {
    std::vector<std::string> ids;
    for (const raft::Configuration* configuration : {&before, &after}) {
        for (const auto& [id, member] : configuration->members) {
            if (member.votes() && std::ranges::find(ids, id) == ids.end()) {
                ids.push_back(id);
            }
        }
    }
    const std::uint64_t all = (std::uint64_t{1} << ids.size()) - 1;
    for (std::uint64_t some = 1; some < all; ++some) {
        if (is_quorum(before, ids, some) && is_quorum(after, ids, all & ~some)) {
            world_.violate(fmt::format("{} logs a configuration at {} of which a majority need not know the one before: {} -> {}",
                                       node.id(),
                                       index.value,
                                       before.describe(),
                                       after.describe()));
            return;
        }
    }
}

raft::Configuration RaftChecker::configuration_of(Node& node) const {
    const std::vector<Term>& line = node.disk().lineage;
    for (auto at = configurations_.rbegin(); at != configurations_.rend(); ++at) {
        const auto& [index, term] = at->first;
        if (index.value < line.size() && line[index.value] == term) {
            return at->second;
        }
    }
    return {};
}

bool RaftChecker::lacks_disk(const Node& node) const {
    const raft::Member* const member = committed_configuration_.find(node.id());
    return directory_of(node) == 0 || (member != nullptr && member->directory.value != directory_of(node));
}

bool RaftChecker::may_wipe(Node& node) const {
    if (directory_of(node) == 0 || committed_configuration_.members.empty()) {
        return false;
    }
    // The newest committed one, and what anybody may take for a newer one.
    std::vector<raft::Configuration> in_force{committed_configuration_};
    for (const auto& [place, configuration] : begun_) {
        if (place.first > committed_configuration_index_) {
            in_force.push_back(configuration);
        }
    }
    // A leader may make a learner a voter before it hears that this one's disk is gone.
    for (std::size_t i = in_force.size(); i-- > 0;) {
        raft::Configuration next = in_force[i];
        for (auto& [id, member] : next.members) {
            member.voter = member.voter || member.promote;
        }
        in_force.push_back(std::move(next));
    }
    const raft::Member* const self = committed_configuration_.find(node.id());
    if (self != nullptr && self->directory.value == 0) {
        return false;  // the group does not know yet whose disk it counts on
    }
    for (const raft::Configuration& configuration : in_force) {
        const bool enough = configuration.has_quorum([&](const NodeName& id) {
            const Node* const other = world_.find(id);
            const raft::Member* const member = configuration.find(id);
            return other != nullptr && other != &node && member->directory.value != 0 &&
                   member->directory.value == directory_of(*other);
        });
        if (!enough) {
            return false;
        }
    }
    for (const auto& other : world_.nodes) {
        if (other->alive() && !other->standalone() && !configuration_of(*other).members.empty() &&
            !among_voters_of(*other, [&](const Node& voter) { return &voter != &node && !lacks_disk(voter); })) {
            return false;
        }
    }
    if (!world_.menu.witness) {
        return true;
    }
    // What a witness alone holds it hands on, if it may lead for that; but no data, so another has to have all that is
    // committed.
    const std::size_t last = committed_.size() - 1;
    return world_.menu.raft.settings.witness_may_lead && std::ranges::any_of(world_.nodes, [&](const auto& other) {
        const std::vector<Term>& line = other->disk().durable;
        return other.get() != &node && !other->witness() && !lacks_disk(*other) &&
               committed_configuration_.is_voter(other->id()) && last < line.size() && line[last] == committed_[last];
    });
}

// ---- Entries ----

void RaftChecker::durable(Node& node, LogIndex from) {
    const std::vector<Term>& line = node.disk().durable;
    for (std::size_t at = std::max<std::size_t>(1, from.value); at < line.size(); ++at) {
        durable_[{LogIndex{at}, line[at]}] |= std::uint64_t{1} << node.number();
    }
}

void RaftChecker::wiped(Node& node) {
    ++disks_[node.number()];
    old_directories_[node.number()] = std::exchange(directories_[node.number()], 0);
}

/// Ever: an acknowledgement may have been on its way when the disk was emptied.
bool RaftChecker::holds(const Node& node, Place place) const {
    const auto at = durable_.find(place);
    if (at != durable_.end() && (at->second >> node.number() & 1) != 0) {
        return true;
    }
    const std::vector<Term>& line = const_cast<Node&>(node).disk().durable;
    return place.first.value < line.size() && line[place.first.value] == place.second;
}

/// Of a configuration that may have been in force then.
bool RaftChecker::has_quorum(Place place) const {
    const auto in = [&](const raft::Configuration& configuration) {
        return configuration.has_quorum([&](const NodeName& id) {
            const Node* const node = world_.find(id);
            return node != nullptr && holds(*node, place);
        });
    };
    if (!committed_configuration_.members.empty() && in(committed_configuration_)) {
        return true;
    }
    if (std::ranges::any_of(begun_, [&](const auto& begun) {
            return begun.first.first > committed_configuration_index_ && in(begun.second);
        })) {
        return true;
    }
    return std::ranges::any_of(world_.nodes, [&](const auto& node) {
        return node->alive() && among_voters_of(*node, [&](const Node& other) { return holds(other, place); });
    });
}

/// Of the configuration that a member goes by, on its way to its disk or not.
bool RaftChecker::among_voters_of(const Node& node, const std::function<bool(const Node&)>& counts) const {
    const modes::ClusterView view = node.strategy_view();
    std::size_t all = 0;
    std::size_t voters = 0;
    std::size_t those = 0;
    for (const auto& [name, value] : view.details) {
        if (name == "voters") {
            std::from_chars(value.data(), value.data() + value.size(), all);
        }
    }
    // It shows itself whether it is a member or not.
    for (auto member = view.members.rbegin(); member != view.members.rend() && voters < all; ++member) {
        const Node* const other = world_.find(member->id);
        if (member->role != modes::Role::kLearner) {
            ++voters;
            those += other != nullptr && counts(*other) ? 1 : 0;
        }
    }
    return 2 * those > all;
}

/// State machine safety: what is committed at an index is the same for all and for ever.
void RaftChecker::decided(Node& node, LogIndex last) {
    const std::vector<Term>& line = node.disk().lineage;
    if (last.value >= line.size()) {
        world_.violate(fmt::format("{} takes entry {} for committed and holds only {}", node.id(), last.value, line.size() - 1));
        return;
    }
    if (node.life() && lives_[node.number()] != node.life()->number) {
        lives_[node.number()] = node.life()->number;
        checked_[node.number()] = LogIndex{0};
    }
    // Without a group what a standalone server committed is committed.
    if (last.value >= committed_.size() && !begun_.empty() && !has_quorum({last, line[last.value]})) {
        world_.violate(fmt::format("{} takes entry {} of term {} for committed, which is on the disks of no majority",
                                   node.id(),
                                   last.value,
                                   line[last.value].value));
    }
    for (std::size_t at = checked_[node.number()].value + 1; at <= last.value; ++at) {
        if (at < committed_.size()) {
            if (committed_[at] != line[at]) {
                world_.violate(fmt::format("{} takes entry {} of term {} for committed; it was that of term {}",
                                           node.id(),
                                           at,
                                           line[at].value,
                                           committed_[at].value));
                return;
            }
            continue;
        }
        committed_.push_back(line[at]);
        if (const auto known = configurations_.find({LogIndex{at}, line[at]}); known != configurations_.end()) {
            committed_configuration_ = known->second;
            committed_configuration_index_ = LogIndex{at};
        }
    }
    checked_[node.number()] = std::max(checked_[node.number()], last);
}

void RaftChecker::applied(Node& node, const engine::LogEntry& entry) {
    // At a start what the hard state calls committed is applied before the strategy speaks.
    if (entry.index.value < committed_.size() && committed_[entry.index.value] != entry.term) {
        world_.violate(fmt::format("{} applies entry {} of term {}; the one of term {} is committed",
                                   node.id(),
                                   entry.index.value,
                                   entry.term.value,
                                   committed_[entry.index.value].value));
    }
}

// ---- Messages ----

void RaftChecker::said(Node& from, Node& to, const transport::ClusterMessage& m) {
    if (const std::uint64_t directory = directory_in(m); directory != 0) {
        const std::pair owner{from.number(), disks_[from.number()]};
        if (owners_.emplace(directory, owner).first->second != owner) {
            world_.violate(fmt::format("{} speaks with a directory id that is not of its disk", from.id()));
        }
        if (directories_[from.number()] != 0 && directories_[from.number()] != directory) {
            world_.violate(fmt::format("{} has forgotten the directory id of its disk", from.id()));
        }
        directories_[from.number()] = directory;
    }
    const auto leads = [&](Term term) {
        const auto [at, added] = leaders_.emplace(term, from.number());
        if (!added && at->second != from.number()) {
            world_.violate(
                fmt::format("{} and {} lead in term {}", world_.node(at->second).id(), from.id(), term.value));
        }
    };
    if (m.has_append_entries()) {
        leads(Term{m.append_entries().term()});
    } else if (m.has_heartbeat()) {
        leads(Term{m.heartbeat().epoch()});
    } else if (m.has_vote_request()) {
        ++elections_;
    } else if (m.has_vote_response() && m.vote_response().vote_granted() && !m.vote_response().pre_vote()) {
        const Voter voter{from.number(), disks_[from.number()], Term{m.vote_response().term()}};
        const auto [at, added] = votes_.emplace(voter, to.number());
        if (!added && at->second != to.number()) {
            world_.violate(fmt::format("{} votes for {} in term {}, and has voted for {}",
                                       from.id(),
                                       to.id(),
                                       voter.term.value,
                                       world_.node(at->second).id()));
        }
    }
}

void RaftChecker::judge(Node& leader) const {
    const std::vector<Term>& line = leader.disk().lineage;
    for (std::size_t at = 1; at < committed_.size(); ++at) {
        if (at >= line.size() || line[at] != committed_[at]) {
            world_.violate(fmt::format("entry {} of term {} was committed, and {}, which leads, does not have it",
                                       at,
                                       committed_[at].value,
                                       leader.id()));
            return;
        }
    }
}

}  // namespace nornic::sim
