// What Raft promises, looked at after each call (thesis figure 3.2), and how messages are written for people.
#include "tests/modes/raft/core_cluster.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <type_traits>

namespace nornic::raft::testing {

void CoreCluster::violated(const std::string& what) const {
    const std::string text = fmt::format("seed {}: {}", seed_, what);
    if (on_violation) {
        on_violation(text);
    } else {
        ADD_FAILURE() << text;
    }
}

void CoreCluster::check(Node& n) {
    if (n.core == nullptr) {
        return;
    }
    n.core->check_invariants();
    if (n.core->term() < n.seen_term) {
        violated(fmt::format("'{}': its term went from {} to {}", n.name, n.seen_term.value, n.core->term().value));
    }
    n.seen_term = n.core->term();
    check_leader(n);
    check_committed(n);
    check_followers(n);
    n.checked_configuration = n.core->configuration();
}

/// Election safety and leader completeness.
void CoreCluster::check_leader(Node& n) {
    if (n.core->role() != Role::kLeader) {
        return;
    }
    const auto [at, first] = leaders_.emplace(n.core->term(), n.name);
    if (at->second != n.name) {
        violated(fmt::format("'{}' and '{}' lead in term {}", at->second, n.name, n.core->term().value));
    }
    if (first && !committed_.empty()) {
        const auto& [index, term] = *committed_.rbegin();
        if (index >= LogIndex{n.core->log().first().value - 1} && !n.core->log().matches(index, term)) {
            violated(fmt::format("'{}' leads in term {} without the entry {} of term {}, which is committed", n.name,
                                 n.core->term().value, index.value, term.value));
        }
    }
}

/// State-machine safety, and that a majority's disks hold what a leader takes for committed.
void CoreCluster::check_committed(Node& n) {
    const LogIndex committed = n.core->committed();
    if (committed <= n.checked_committed) {
        return;
    }
    for (LogIndex i{n.checked_committed.value + 1}; i <= committed; ++i) {
        const auto term = n.core->log().term_at(i);
        if (!term) {
            continue;
        }
        const auto [at, first] = committed_.emplace(i, *term);
        if (at->second != *term) {
            violated(fmt::format("'{}': entry {} is committed in term {} and in term {}", n.name, i.value,
                                 at->second.value, term->value));
        }
    }
    n.checked_committed = committed;
    const auto term = n.core->log().term_at(committed);
    if (n.core->role() == Role::kLeader && term) {
        const auto holds = [&](const Configuration& configuration, const NodeName& id) {
            Node& other = *nodes_.at(id);
            const DirectoryId directory = configuration.find(id)->directory;
            // What a disk acknowledged before it was lost counts: no other disk votes in its name.
            const auto lost = other.lost_disks.find(directory);
            Disk& disk = lost == other.lost_disks.end() ? other.disk : lost->second;
            return directory == disk.hard_state.directory && disk.covers(committed, *term);
        };
        // Counted here by hand, not by the core's own idea of a majority.
        const auto quorum_of = [&](const Configuration& configuration) {
            std::size_t all[2] = {};
            std::size_t have[2] = {};
            for (const auto& [id, member] : configuration.members) {
                const std::size_t has = member.votes() && holds(configuration, id) ? 1 : 0;
                all[0] += member.voter ? 1 : 0;
                have[0] += member.voter ? has : 0;
                all[1] += member.outgoing ? 1 : 0;
                have[1] += member.outgoing ? has : 0;
            }
            return 2 * have[0] > all[0] && (!configuration.joint || 2 * have[1] > all[1]);
        };
        // A call that commits may go on to propose another configuration.
        if (!quorum_of(n.core->configuration()) && !quorum_of(n.checked_configuration)) {
            violated(fmt::format("'{}': entry {} of term {} is committed and not on the disks of a majority of: {}", n.name,
                                 committed.value, term->value, n.core->configuration().describe()));
        }
    }
}

/// What a leader believes of those that follow it in its term is on their disks.
void CoreCluster::check_followers(Node& n) {
    if (n.core->role() != Role::kLeader) {
        return;
    }
    for (const auto& [name, other] : nodes_) {
        const Progress* progress = n.core->progress(name);
        const Member* member = n.core->configuration().find(name);
        if (progress == nullptr || member == nullptr || progress->match().value == 0 ||
            other->disk.hard_state.term != n.core->term() || member->directory != other->disk.hard_state.directory) {
            continue;
        }
        const auto term = n.core->log().term_at(progress->match());
        if (term && !other->disk.covers(progress->match(), *term)) {
            violated(fmt::format("'{}' takes '{}' to be equal up to {} of term {}, and its disk is not", n.name, name,
                                 progress->match().value, term->value));
        }
    }
}

/// Log matching: an index and a term name one entry and all before it.
void CoreCluster::check_entry(const Node& n, LogIndex index) {
    const Entry& entry = n.disk.at(index);
    const std::uint64_t chain = n.disk.chain_at(index);
    const auto [at, first] = chains_.emplace(std::pair{index, entry.term}, chain);
    if (at->second != chain) {
        violated(fmt::format("'{}': entry {} of term {} is another elsewhere, or another is before it", n.name, index.value,
                             entry.term.value));
    }
}

/// One vote a term and disk.
void CoreCluster::check_vote(const Node& n) {
    const HardState& hard = n.disk.hard_state;
    if (hard.voted_for.empty()) {
        return;
    }
    const auto [at, first] = votes_.emplace(std::pair{hard.directory, hard.term}, hard.voted_for);
    if (at->second != hard.voted_for) {
        violated(fmt::format("'{}' voted for '{}' and for '{}' in term {}", n.name, at->second, hard.voted_for,
                             hard.term.value));
    }
}

/// What was committed when the read was asked is seen by it.
void CoreCluster::check_read(const Node& n, std::uint64_t id, LogIndex index) {
    const auto asked = asked_.find({n.name, id});
    if (asked != asked_.end() && index < asked->second) {
        violated(fmt::format("'{}': read {} at {} is stale: {} was committed when it was asked", n.name, id, index.value,
                             asked->second.value));
    }
}

std::string describe(const Message& message) {
    const auto place = [](LogIndex index, Term term) { return fmt::format("{}/{}", index.value, term.value); };
    return std::visit(
        [&](const auto& m) -> std::string {
            using T = std::decay_t<decltype(m)>;
            if constexpr (std::is_same_v<T, VoteRequest>) {
                return fmt::format("{} term={} last={}{}", m.pre_vote ? "PreVote" : "Vote", m.term.value,
                                   place(m.last_index, m.last_term), m.transfer ? " transfer" : "");
            } else if constexpr (std::is_same_v<T, VoteResponse>) {
                return fmt::format("{}Response term={} {}", m.pre_vote ? "PreVote" : "Vote", m.term.value,
                                   m.granted ? "granted" : "refused: " + m.reason);
            } else if constexpr (std::is_same_v<T, AppendEntries>) {
                std::string entries;
                for (const EntryPtr& e : m.entries) {
                    entries += fmt::format(" {}", place(e->index, e->term));
                }
                return fmt::format("Append term={} prev={} commit={}{}", m.term.value, place(m.prev_index, m.prev_term),
                                   m.commit.value, entries.empty() ? "" : " entries:" + entries);
            } else if constexpr (std::is_same_v<T, AppendResponse>) {
                if (m.success) {
                    return fmt::format("AppendResponse term={} match={}", m.term.value, m.match.value);
                }
                return fmt::format("AppendResponse term={} rejects {} retry={}{}", m.term.value, m.match.value,
                                   place(m.conflict_index, m.conflict_term), m.needs_snapshot ? " needs a snapshot" : "");
            } else if constexpr (std::is_same_v<T, Heartbeat>) {
                return fmt::format("Heartbeat term={} round={} commit={}", m.term.value, m.round, m.commit.value);
            } else if constexpr (std::is_same_v<T, HeartbeatResponse>) {
                return fmt::format("HeartbeatResponse term={} round={} match={}{}",
                                   m.term.value,
                                   m.round,
                                   m.match.value,
                                   m.readers_wait ? " readers wait" : "");
            } else if constexpr (std::is_same_v<T, TimeoutNow>) {
                return fmt::format("TimeoutNow term={}", m.term.value);
            } else if constexpr (std::is_same_v<T, ReadIndexRequest>) {
                return fmt::format("ReadIndex context={}", m.context);
            } else if constexpr (std::is_same_v<T, ReadIndexResponse>) {
                return fmt::format("ReadIndexResponse context={} {}", m.context,
                                   m.granted ? fmt::format("index={}", m.index.value) : "refused");
            } else if constexpr (std::is_same_v<T, LogReset>) {
                return fmt::format("LogReset term={} behind={}", m.term.value, place(m.index, m.index_term));
            } else {
                static_assert(std::is_same_v<T, NotMember>);
                return fmt::format("NotMember term={} index={}", m.term.value, m.index.value);
            }
        },
        message.body);
}

}  // namespace nornic::raft::testing
