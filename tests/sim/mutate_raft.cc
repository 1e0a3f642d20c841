// The deliberate defects that are done to Raft's messages in transit.
#include "modes/raft/core/configuration.h"
#include "tests/sim/network.h"
#include "tests/sim/node.h"
#include "tests/sim/raft_checker.h"

#include <algorithm>

namespace nornic::sim {
namespace {

using transport::LogEntry;

std::uint64_t term_at(Node& node) {
    return node.alive() ? node.replica().view().term.value : 0;
}

/// What a follower's answer would say if it had all that `to` has, and were of its term.
bool raise_match(Node& from, Node& to, ClusterMessage& m, bool only_what_it_has) {
    const std::vector<Term>& theirs = to.disk().lineage;
    const std::vector<Term>& mine = from.disk().lineage;
    std::uint64_t match = theirs.size() - 1;
    if (only_what_it_has) {
        match = std::min<std::uint64_t>(match, mine.size() - 1);
        while (match > 0 && mine[match] != theirs[match]) {
            --match;
        }
    }
    if (m.has_append_entries_response() && m.append_entries_response().match_index() < match &&
        (!only_what_it_has || m.append_entries_response().success())) {
        auto& answer = *m.mutable_append_entries_response();
        answer.set_success(true);
        answer.set_term(term_at(to));
        answer.set_match_index(match);
        return true;
    }
    if (m.has_heartbeat_response() && m.heartbeat_response().persisted_index() < match) {
        m.mutable_heartbeat_response()->set_persisted_index(match);
        m.mutable_heartbeat_response()->set_epoch(only_what_it_has ? m.heartbeat_response().epoch() : term_at(to));
        return true;
    }
    return false;
}

/// An entry that is about the group, if the message carries one.
LogEntry* configuration_in(ClusterMessage& m) {
    if (m.has_append_entries()) {
        for (LogEntry& entry : *m.mutable_append_entries()->mutable_entries()) {
            if (entry.kind() == transport::ENTRY_MEMBERSHIP) {
                return &entry;
            }
        }
    }
    return nullptr;
}

bool leave_member_out(World& world, LogEntry& entry) {
    auto decoded = raft::Configuration::decode(entry.payload());
    if (!decoded || decoded.value().voters() < 2) {
        return false;
    }
    auto& members = decoded.value().members;
    auto at = members.begin();
    std::advance(at, world.random.below(members.size()));
    members.erase(at);
    if (decoded.value().voters() == 0) {
        return false;
    }
    entry.set_payload(decoded.value().encode());
    return true;
}

/// Somebody that `to` counts as a voter and that is none of these two.
Node* voter_beside(World& world, const Node& from, Node& to) {
    const raft::Configuration configuration = world.raft_checker->configuration_of(to);
    for (const auto& node : world.nodes) {
        if (node.get() != &from && node.get() != &to && configuration.is_voter(node->id())) {
            return node.get();
        }
    }
    return nullptr;
}

bool votes(const raft::Member* member) {
    return member != nullptr && member->votes();
}

/// A process runs that has no vote, perhaps not any more.
bool somebody_is_out(const World& world) {
    const raft::Configuration& configuration = world.raft_checker->configuration();
    return std::ranges::any_of(world.nodes, [&](const auto& node) { return node->alive() && !votes(configuration.find(node->id())); });
}

void set_directory(ClusterMessage& m, std::uint64_t directory) {
    if (m.has_append_entries_response()) {
        m.mutable_append_entries_response()->set_directory(directory);
    } else if (m.has_heartbeat_response()) {
        m.mutable_heartbeat_response()->set_directory(directory);
    } else if (m.has_vote_response()) {
        m.mutable_vote_response()->set_directory(directory);
    } else if (m.has_vote_request()) {
        m.mutable_vote_request()->set_directory(directory);
    } else if (m.has_join_request()) {
        m.mutable_join_request()->set_directory(directory);
    }
}

}  // namespace

bool harm_raft(World& world, std::size_t from_number, std::size_t to_number, ClusterMessage& m, std::size_t& as) {
    Node& from = world.node(from_number);
    Node& to = world.node(to_number);
    const auto in_the_name_of = [&](Node* voter) {
        if (voter == nullptr) {
            return false;
        }
        as = voter->number();
        set_directory(m, world.raft_checker->directory_of(*voter));
        return true;
    };
    const raft::Member* const member = world.raft_checker->configuration().find(from.id());
    switch (world.menu.mutation) {
        case Mutation::kVoteForgotten:
            // It is done to the log at rest; this is the moment for it.
            if (m.has_vote_response() && m.vote_response().vote_granted() && !m.vote_response().pre_vote() &&
                world.random.one_in(2)) {
                world.scheduler.after(kMicrosecond, [&world, from_number] {
                    world.node(from_number).crash(false, world.between(kMillisecond, kMillisecond * 10));
                });
            }
            return false;
        case Mutation::kVoteGranted:
            if (m.has_vote_response() && !m.vote_response().vote_granted()) {
                m.mutable_vote_response()->set_vote_granted(true);
                m.mutable_vote_response()->set_term(term_at(to) + (m.vote_response().pre_vote() ? 1 : 0));
                return true;
            }
            return false;
        case Mutation::kPreVoteCounts:
            if (m.has_vote_response() && m.vote_response().vote_granted() && m.vote_response().pre_vote() &&
                m.vote_response().term() == term_at(to)) {
                m.mutable_vote_response()->set_pre_vote(false);
                return true;
            }
            return false;
        case Mutation::kLogCheckIgnored:
            if (m.has_vote_request()) {
                m.mutable_vote_request()->set_last_log_index(std::uint64_t{1} << 40);
                m.mutable_vote_request()->set_last_log_term(m.vote_request().term());
                return true;
            }
            return false;
        case Mutation::kPrevCheckIgnored: {
            const std::vector<Term>& line = to.disk().lineage;
            if (m.has_append_entries() && m.append_entries().entries_size() > 0 &&
                m.append_entries().prev_log_index() < line.size()) {
                const std::uint64_t term = line[m.append_entries().prev_log_index()].value;
                if (term != m.append_entries().prev_log_term() && term <= m.append_entries().entries(0).term()) {
                    m.mutable_append_entries()->set_prev_log_term(term);
                    return true;
                }
            }
            return false;
        }
        case Mutation::kMatchForged:
            return raise_match(from, to, m, false);
        case Mutation::kAckBeforePersist:
            return raise_match(from, to, m, true);
        case Mutation::kCommitRaised: {
            const std::uint64_t last = from.disk().lineage.size() - 1;
            if (m.has_append_entries() && m.append_entries().leader_commit() < last) {
                m.mutable_append_entries()->set_leader_commit(last);
                return true;
            }
            if (m.has_heartbeat() && m.heartbeat().commit_index() < last) {
                m.mutable_heartbeat()->set_commit_index(last);
                return true;
            }
            return false;
        }
        case Mutation::kEntryTermChanged:
            if (m.has_append_entries() && m.append_entries().entries_size() > 0 && world.random.one_in(20)) {
                LogEntry& entry = *m.mutable_append_entries()->mutable_entries()->rbegin();
                if (entry.term() < m.append_entries().term()) {
                    entry.set_term(m.append_entries().term());
                    return true;
                }
            }
            return false;
        case Mutation::kTermRewritten: {
            const std::uint64_t term = term_at(to);
            if (m.has_append_entries() && m.append_entries().term() < term) {
                m.mutable_append_entries()->set_term(term);
                return true;
            }
            if (m.has_heartbeat() && m.heartbeat().epoch() < term) {
                m.mutable_heartbeat()->set_epoch(term);
                return true;
            }
            if (m.has_append_entries_response() && m.append_entries_response().term() != term) {
                m.mutable_append_entries_response()->set_term(term);
                return true;
            }
            return false;
        }
        case Mutation::kRoundForged: {
            // Whatever a leader hears, also of a later one, is an answer to its newest heartbeat.
            if (m.has_heartbeat()) {
                from.newest_round = std::max(from.newest_round, m.heartbeat().sequence());
            }
            const bool leads = to.alive() && to.replica().term().value != 0;
            if (leads && (m.has_heartbeat() || m.has_heartbeat_response() || m.has_vote_request() || m.has_append_entries() ||
                          (m.has_append_entries_response() && m.append_entries_response().term() > term_at(to)))) {
                m.mutable_heartbeat_response()->set_sequence(to.newest_round);
                m.mutable_heartbeat_response()->set_epoch(term_at(to));
                m.mutable_heartbeat_response()->set_directory(world.raft_checker->directory_of(from));
                return true;
            }
            return false;
        }
        case Mutation::kConfigurationLost:
            if (LogEntry* const entry = configuration_in(m); entry != nullptr && world.random.one_in(3)) {
                entry->set_kind(transport::ENTRY_NOOP);
                entry->clear_payload();
                return true;
            }
            return false;
        case Mutation::kConfigurationAltered:
            if (LogEntry* const entry = configuration_in(m); entry != nullptr && world.random.one_in(3)) {
                return leave_member_out(world, *entry);
            }
            return false;
        case Mutation::kLearnerCounted:
            return member != nullptr && !member->votes() &&
                   (m.has_append_entries_response() || m.has_heartbeat_response()) &&
                   in_the_name_of(voter_beside(world, from, to));
        case Mutation::kRemovedVotes:
            // Few ask one that is out for its vote. It votes for whoever another refuses.
            if (m.has_vote_response() &&
                (!votes(member) || (!m.vote_response().vote_granted() && somebody_is_out(world)))) {
                m.mutable_vote_response()->set_vote_granted(true);
                m.mutable_vote_response()->set_term(term_at(to) + (m.vote_response().pre_vote() ? 1 : 0));
                return in_the_name_of(voter_beside(world, from, to));
            }
            return false;
        case Mutation::kDirectoryForged:
            if (const std::uint64_t old = world.raft_checker->old_directory_of(from); old != 0) {
                set_directory(m, old);
                return true;
            }
            return false;
        case Mutation::kSnapshotAhead:
            if (m.has_snapshot_begin() && world.random.one_in(3)) {
                m.mutable_snapshot_begin()->set_index(m.snapshot_begin().index() + 1);
                return true;
            }
            return false;
        case Mutation::kTransferForged:
            if (m.has_vote_request() && !m.vote_request().transfer()) {
                m.mutable_vote_request()->set_transfer(true);
                return true;
            }
            return false;
        case Mutation::kTimeoutNowForged:
            if (m.has_heartbeat() && world.random.one_in(50)) {
                const std::uint64_t term = m.heartbeat().epoch();
                const std::uint64_t directory = m.heartbeat().directory();
                m.mutable_timeout_now()->set_term(term);
                m.mutable_timeout_now()->set_directory(directory);
                return true;
            }
            return false;
        default:
            return false;
    }
}

}  // namespace nornic::sim
