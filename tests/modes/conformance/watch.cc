// What every mode promises, looked at after each step of a Cluster.
#include "tests/modes/conformance/fixture.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::modes::conformance {

void Cluster::check_ready(const NodeName& name, const Ready& ready) {
    const Member& m = member(name);
    if (ready.reset_log) {
        EXPECT_TRUE(m.spec->witness) << "data begins anew by a snapshot only; " << where(name);
        EXPECT_TRUE(ready.entries.empty() && ready.messages_after_append.empty() &&
                    ready.messages_after_persist.empty() && !ready.rewind_to && ready.placed.empty())
            << "a Ready that resets the log does nothing else; " << where(name);
    }
    if (ready.dial) {
        for (const std::string& address : *ready.dial) {
            EXPECT_TRUE(address != info(name).cluster_address &&
                        std::any_of(members_.begin(), members_.end(), [&](const auto& named) {
                            return info(named.first).cluster_address == address;
                        }))
                << "it dials '" << address << "'; " << where(name);
        }
    }
    if (ready.rewind_to) {
        EXPECT_TRUE(!ready.hard_state && ready.entries.empty() && ready.messages_after_append.empty() &&
                    ready.messages_after_persist.empty())
            << "a Ready that rewinds has nothing to persist and nothing to say; " << where(name);
        EXPECT_LE(*ready.rewind_to, m.end) << where(name);
    }
    EXPECT_LE(ready.committed, m.end) << "committed before it is on disk here; " << where(name);
    EXPECT_GE(ready.committed, ready.rewind_to ? std::min(*ready.rewind_to, m.committed) : m.committed)
        << "committed decreased; " << where(name);
    if (ready.entries.empty()) {
        return;
    }
    EXPECT_TRUE(!m.spec->witness || mode_.witness_keeps_log) << "a witness holds no data; " << where(name);
    const LogIndex first = ready.entries.front().index;
    EXPECT_LE(first.value, m.end.value + 1) << "a hole in the log; " << where(name);
    EXPECT_TRUE(m.state_lost || first.value > m.state.size()) << "what was applied is overwritten; " << where(name);
    const Entry* before = m.log.find(LogIndex{first.value - 1});
    Term term = before == nullptr ? Term{0} : before->term;
    for (std::size_t i = 0; i < ready.entries.size(); ++i) {
        EXPECT_EQ(ready.entries[i].index.value, first.value + i) << where(name);
        EXPECT_GE(ready.entries[i].term, term) << "the terms of the log fall; " << where(name);
        term = ready.entries[i].term;
    }
}

void Cluster::check_view(const NodeName& name) {
    Member& m = member(name);
    const ClusterView view = m.strategy->view();
    const Term write_term = m.strategy->write_term();
    EXPECT_EQ(view.mode, m.strategy->name()) << where(name);
    EXPECT_EQ(view.self, name) << where(name);
    std::set<NodeName> ids;
    for (const MemberView& seen : view.members) {
        EXPECT_TRUE(ids.insert(seen.id).second) << "'" << seen.id << "' is listed twice; " << where(name);
        EXPECT_EQ(members_.count(seen.id), 1U) << "'" << seen.id << "' is no member; " << where(name);
    }
    EXPECT_TRUE(!view.members.empty() && view.members.front().id == name)
        << "a member lists itself first; " << where(name);
    EXPECT_TRUE(view.leader.empty() || ids.count(view.leader) == 1)
        << "its leader '" << view.leader << "' is not among the members; " << where(name);
    static const std::set<std::string> kStates{"ready",
                                               "starting",
                                               "catching_up",
                                               "read_only",
                                               "degraded",
                                               "primary_silent",
                                               "foreign_data",
                                               "no_quorum",
                                               "quarantined"};
    EXPECT_EQ(kStates.count(view.state), 1U) << "state '" << view.state << "'; " << where(name);
    if ((view.state == "ready") != view.reason.empty() && !complained_of_reason_) {
        complained_of_reason_ = true;  // once: it is so at each step
        ADD_FAILURE() << "state '" << view.state << "' with reason '" << view.reason << "'; " << where(name);
    }
    EXPECT_TRUE(!view.is_leader() || view.leader == name) << where(name);
    EXPECT_TRUE(!view.accepts_writes || (view.is_leader() && write_term.value != 0))
        << "it accepts writes and does not lead; " << where(name);
    EXPECT_TRUE(write_term.value == 0 || (view.is_leader() && write_term == view.term))
        << "it may write in term " << write_term.value << " and is in term " << view.term.value << "; "
        << where(name);
    if (!m.spec->witness && !m.state_lost) {
        EXPECT_GE(view.commit_index.value, m.state.size()) << where(name);
        EXPECT_EQ(view.members.front().applied_index.value, m.state.size()) << where(name);
    }
    if (write_term != m.write_term && write_term.value != 0) {
        // A transaction that begins now must see all that others wrote: their locks are not known here.
        const Entry* unseen = m.log.find(LogIndex{m.state.size() + 1});
        EXPECT_TRUE(unseen == nullptr || unseen->index > m.end || unseen->term == write_term)
            << "it may write and has not applied entry " << m.state.size() + 1 << " of an earlier term; "
            << where(name);
    }
    if (write_term.value != 0) {
        const NodeName& author = writer_of_.emplace(write_term, name).first->second;
        EXPECT_EQ(author, name) << "two members write in term " << write_term.value << "; " << where(name);
    }
    m.write_term = write_term;
}

/// An entry is named by its term and index: wherever it is found, it is the same.
void Cluster::check_author(const NodeName& name, const Entry& entry) {
    const std::string content = fmt::format(
        "{} at {}: {}", static_cast<int>(entry.kind), entry.hybrid_time, entry.payload);
    const auto [known, added] = authored_.emplace(std::pair{entry.term, entry.index}, content);
    EXPECT_EQ(known->second, content) << "two entries are called " << entry.index.value << " of term "
                                      << entry.term.value << "; " << where(name);
}

void Cluster::check_applied(const NodeName& name, const Entry& entry) {
    if (!mode_.applies_for_good) {
        return;
    }
    const Entry& first = first_applied_.emplace(entry.index, entry).first->second;
    EXPECT_TRUE(first.term == entry.term && first.payload == entry.payload)
        << "members apply different entries at " << entry.index.value << ": '" << first.payload << "' and '"
        << entry.payload << "'; " << where(name);
}

void Cluster::check_acknowledged(const NodeName& name, const Entry& entry) {
    const auto [known, added] = acknowledged_.emplace(entry.index, entry);
    if (!added) {
        EXPECT_FALSE(mode_.keeps_acknowledged)
            << "two writes were acknowledged at index " << entry.index.value << ": '" << known->second.payload
            << "' and '" << entry.payload << "'; " << where(name);
        known->second = entry;
    }
    std::size_t copies = 0;
    for (const auto& [other, m] : members_) {
        const Entry* logged = m.log.find(entry.index);
        copies += logged != nullptr && logged->term == entry.term ? 1
                  : m.durable >= entry.index && m.state[entry.index.value - 1].term == entry.term
                      ? 1
                      : 0;
    }
    EXPECT_GE(copies, mode_.copies) << "'" << entry.payload << "' was acknowledged; " << where(name);
}

void Cluster::expect_progress_and_convergence() {
    heal();
    for (const NodeName& name : names()) {
        resume(name);
        hold_disk(name, Hold::kNothing);
        fill_disk(name, false);
    }
    start_all();
    run(mode_.settle_ticks);
    if (mode_.restore) {
        mode_.restore(*this);
    }
    const auto writer = await_writer(mode_.settle_ticks);
    ASSERT_TRUE(writer) << "no writer after healing; " << where(names().front());
    std::optional<ProposalId> last;
    const bool went_through = run_until(
        [&] {
            if (!last) {
                const auto offered = propose(*writer, "after healing");
                last = offered ? std::optional{offered.value()} : std::nullopt;
                settle();
            }
            return last && proposal(*last).outcome == Outcome::kCommitted && open_proposals() == 0;
        },
        mode_.settle_ticks);
    ASSERT_TRUE(went_through) << open_proposals() << " writes are open after healing; " << where(*writer);
    const LogIndex end = proposal(*last).placed->index;
    const std::vector<NodeName> data = data_members();
    const bool converged = run_until(
        [&] {
            return std::all_of(
                data.begin(), data.end(), [&](const NodeName& name) { return applied(name).size() >= end.value; });
        },
        mode_.settle_ticks);
    for (const NodeName& name : data) {
        ASSERT_TRUE(converged) << name << " has " << applied(name).size() << " of " << end.value
                               << " entries; " << where(name);
        for (std::size_t i = 0; i < end.value; ++i) {
            const Entry& here = applied(name)[i];
            const Entry& there = applied(*writer)[i];
            ASSERT_TRUE(here.term == there.term && here.payload == there.payload)
                << "'" << name << "' and '" << *writer << "' differ at " << i + 1 << "; " << where(name);
        }
    }
    if (!mode_.keeps_acknowledged) {
        return;
    }
    for (const auto& [index, entry] : acknowledged_) {
        const Entry& kept = applied(*writer)[index.value - 1];
        EXPECT_TRUE(kept.term == entry.term && kept.payload == entry.payload)
            << "'" << entry.payload << "' was acknowledged at " << index.value << " and is lost: there is '"
            << kept.payload << "'; " << where(*writer);
    }
}

}  // namespace nornic::modes::conformance
