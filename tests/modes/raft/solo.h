// One member by hand: what it is told is written by a test, what it says is looked at.
#pragma once

#include "tests/modes/raft/core_cluster.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <set>

namespace nornic::raft::testing {

inline DirectoryId directory_of(const NodeName& name) {
    return DirectoryId{std::hash<NodeName>{}(name) | 1U};
}

inline Configuration group(const std::vector<NodeName>& names) {
    Configuration out;
    for (const NodeName& name : names) {
        out.members[name] = {.address = name + ":7000", .directory = directory_of(name)};
    }
    return out;
}

inline EntryPtr entry(std::uint64_t index, std::uint64_t term, std::string payload = "x") {
    return std::make_shared<const Entry>(Entry{.term = Term{term}, .index = LogIndex{index}, .payload = std::move(payload)});
}

inline EntryPtr members_entry(std::uint64_t index, std::uint64_t term, const Configuration& c) {
    return std::make_shared<const Entry>(
        Entry{.term = Term{term}, .index = LogIndex{index}, .kind = EntryKind::kMembership, .payload = c.encode()});
}

/// Member "1" of a group, with its disk.
class Solo {
public:
    struct Setup {
        std::vector<NodeName> members = {"1", "2", "3"};
        std::vector<std::uint64_t> terms;  // of the entries behind the first, which names the members in term 1
        std::uint64_t term = 1;
        NodeName voted_for;
        std::uint64_t seed = 1;
        Settings settings = quick_settings();
        std::set<NodeName> by_name;  // of them nothing else was known when the group was made
        std::set<NodeName> witnesses;
    };

    explicit Solo(const Setup& setup) : setup_{setup} {
        Configuration first = group(setup.members);
        for (auto& [id, member] : first.members) {
            member.directory = setup.by_name.contains(id) ? DirectoryId{} : member.directory;
            member.witness = setup.witnesses.contains(id);
        }
        std::vector<EntryPtr> log{members_entry(1, 1, first)};
        for (const std::uint64_t term : setup.terms) {
            log.push_back(entry(log.size() + 1, term));
        }
        disk.append(log);
        disk.hard_state = {Term{setup.term}, setup.voted_for, LogIndex{1}, directory_of("1")};
        restart();
    }
    Solo() : Solo(Setup{}) {}

    /// The process ends and begins again; what was not written is gone.
    void restart() {
        core_.reset();
        writing_.reset();
        Start start;
        start.self = "1";
        start.hard_state = disk.hard_state;
        start.last_index = disk.last_index();
        start.last_term = disk.term_at(disk.last_index()).value();
        start.applied = LogIndex{1};
        start.configuration = Configuration::decode(disk.at(LogIndex{1}).payload).value();
        start.configuration_index = LogIndex{1};
        start.seed = setup_.seed;
        core_ = std::make_unique<Core>(start, setup_.settings, disk);
    }
    Core& core() { return *core_; }

    void hear(const NodeName& from, Body body) {
        core_->step(from, Message{directory_of(from), std::move(body)});
        carry();
    }
    void tick(std::size_t times = 1) {
        for (std::size_t i = 0; i < times; ++i) {
            core_->tick();
            carry();
        }
    }
    void carry() {
        core_->check_invariants();
        collect(core_->take_messages());
        while (!writing_) {
            Output out = core_->take_output();
            collect(core_->take_messages());
            if (!hold_apply && out.committed > core_->applied_index()) {
                core_->applied(out.committed);
            }
            std::ranges::move(out.events, std::back_inserter(events));
            std::ranges::move(out.send_snapshot, std::back_inserter(snapshots_due));
            reads.insert(reads.end(), out.reads.begin(), out.reads.end());
            refused.insert(refused.end(), out.refused_reads.begin(), out.refused_reads.end());
            if (!out.hard_state && out.entries.empty() && out.messages_after_persist.empty()) {
                collect(std::move(out.messages_after_append));
                return;
            }
            collect(std::exchange(out.messages_after_append, {}));
            writing_ = std::move(out);
            if (!hold_disk) {
                write();
            }
        }
    }
    void write() {
        if (!writing_) {
            return;
        }
        Output out = std::move(*std::exchange(writing_, std::nullopt));
        disk.hard_state = out.hard_state.value_or(disk.hard_state);
        disk.append(out.entries);
        if (out.hard_state || !out.entries.empty()) {
            core_->persisted();
        }
        collect(std::move(out.messages_after_persist));
        carry();
    }

    /// Until it asks for votes in `Term`, with the pre-votes of 2 granted.
    void campaign() {
        for (int i = 0; i < 100 && core_->role() == Role::kFollower; ++i) {
            tick();
        }
        ASSERT_EQ(core_->role(), Role::kPreCandidate);
        for (const NodeName& name : setup_.members) {
            hear(name, VoteResponse{.term = Term{core_->term().value + 1}, .granted = true, .pre_vote = true});
        }
        ASSERT_EQ(core_->role(), Role::kCandidate);
    }
    void lead() {
        campaign();
        for (const NodeName& name : setup_.members) {
            hear(name, VoteResponse{.term = core_->term(), .granted = true});
        }
        ASSERT_EQ(core_->role(), Role::kLeader);
    }
    /// The others hold all entries up to `match`.
    void acknowledge(const NodeName& from, std::uint64_t match) {
        hear(from, AppendResponse{.term = core_->term(), .success = true, .match = LogIndex{match}});
    }
    Result<LogIndex> propose(std::string payload = "x") {
        auto out = core_->propose(EntryKind::kWriteSet, std::move(payload), 1);
        carry();
        return out;
    }

    /// Messages of this kind that were said since the last call, to whom and what; all others are forgotten.
    template <class T>
    std::vector<std::pair<NodeName, T>> said() {
        std::vector<std::pair<NodeName, T>> out;
        for (const Outbound& o : sent_) {
            if (const T* m = std::get_if<T>(&o.message->body)) {
                out.emplace_back(o.to, *m);
            }
        }
        sent_.clear();
        return out;
    }
    void forget() { sent_.clear(); }

    Disk disk;
    bool hold_disk = false;
    bool hold_apply = false;
    std::vector<std::string> events;
    std::vector<NodeName> snapshots_due;
    std::vector<ReadPoint> reads;
    std::vector<RefusedRead> refused;

private:
    void collect(std::vector<Outbound>&& messages) { std::ranges::move(messages, std::back_inserter(sent_)); }

    const Setup setup_;
    std::unique_ptr<Core> core_;
    std::optional<Output> writing_;
    std::vector<Outbound> sent_;
};

inline AppendEntries append(std::uint64_t term, std::uint64_t prev, std::uint64_t prev_term, std::vector<EntryPtr> entries = {},
                     std::uint64_t commit = 0) {
    return {.term = Term{term}, .prev_index = LogIndex{prev}, .prev_term = Term{prev_term}, .entries = std::move(entries),
            .commit = LogIndex{commit}};
}
inline VoteRequest vote(std::uint64_t term, std::uint64_t last, std::uint64_t last_term, bool pre_vote = false,
                 bool transfer = false) {
    return {.term = Term{term}, .last_index = LogIndex{last}, .last_term = Term{last_term}, .pre_vote = pre_vote,
            .transfer = transfer};
}

inline std::vector<std::uint64_t> terms(Core& core) {
    std::vector<std::uint64_t> out;
    const auto entries = core.log().slice(LogIndex{1}, core.log().last(), 1000, 1 << 20);
    for (const EntryPtr& e : entries.value()) {
        out.push_back(e->term.value);
    }
    return out;
}
using Terms = std::vector<std::uint64_t>;

}  // namespace nornic::raft::testing
