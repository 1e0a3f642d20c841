// Two hot standby members and, if wanted, their witness, driven as modes::Replica drives them, over a network of one
// queue that can be cut. One tick is one heartbeat; nothing here waits.
#pragma once

#include "modes/hot_standby/hot_standby.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace nornic::modes::testing {

/// What a member's disk holds, and a log that reads it.
class MemberDisk final : public LogReader {
public:
    LogIndex first_index() const override { return LogIndex{base.value + 1}; }
    LogIndex last_index() const override { return LogIndex{base.value + entries.size()}; }
    Result<Term> term_at(LogIndex index) override {
        if (index == base) {
            return base_term;
        }
        if (index < first_index() || index > last_index()) {
            return fail(ErrorCode::kNotFound, "not held");
        }
        return entries[index.value - base.value - 1].term;
    }
    Result<std::vector<Entry>> read(LogIndex from, LogIndex to, std::size_t bytes) override {
        std::vector<Entry> out;
        std::size_t taken = 0;
        for (LogIndex i = from; i <= std::min(to, last_index()) && (out.empty() || taken < bytes); ++i) {
            out.push_back(entries[i.value - base.value - 1]);
            taken += out.back().payload.size();
        }
        return out;
    }
    void cut_before(LogIndex first) {
        while (first_index() < first && !entries.empty()) {
            base_term = entries.front().term;
            base = entries.front().index;
            entries.erase(entries.begin());
        }
    }
    LogIndex base;
    Term base_term;
    std::vector<Entry> entries;
    HardState hard_state;
    std::string history;
};

struct Member {
    NodeName id;
    bool witness = false;
    bool configured_primary = false;
    std::function<void(HotStandbySettings&)> differs;  // where its settings are not the others'
    MemberDisk disk;
    std::unique_ptr<Strategy> strategy;  // null: the process is down
    bool frozen_disk = false;            // Readies are taken and never finish
    bool full_disk = false;
    bool disk_takes_no_entries = false;  // Readies with entries wait; those with a hard state alone do not
    std::optional<Ready> waiting;        // for that disk
    LogIndex applied;
    std::vector<std::string> state;      // payloads applied, in order
    std::vector<std::string> diverged;   // payloads given up
    std::vector<std::string> events;
    std::vector<NodeName> wants_snapshot;
    std::map<ProposalId, std::string> proposed;
    std::map<LogIndex, std::pair<Term, ProposalId>> placed;
    std::set<ProposalId> committed;
    std::map<ProposalId, ErrorCode> refused;
    std::vector<CommandAnswer> answers;
};

class Pair {
public:
    explicit Pair(HotStandbySettings settings = {}, bool witness = false) : settings_{settings} {
        settings_.heartbeat_ticks = 1;
        settings_.failover_ticks = 12;
        settings_.degrade_ticks = 4;
        settings_.has_witness = witness;
        add("a", true, false);
        add("b", false, false);
        if (witness) {
            add("w", false, true);
        }
    }

    Member& operator[](const NodeName& id) { return members_.at(id); }
    Strategy& strategy(const NodeName& id) { return *members_.at(id).strategy; }

    void start(const NodeName& id) {
        Member& m = members_.at(id);
        StrategyStart start;
        start.self = id;
        start.cluster_id = "test";
        start.bolt_address = id + ":7687";
        start.history = m.disk.history;
        start.last_index = m.disk.last_index();
        start.last_term = m.disk.term_at(m.disk.last_index()).value();
        start.hard_state = m.disk.hard_state;
        // The engine's checkpoint is as old as can be: at the log's beginning.
        start.applied = std::max(m.disk.base, std::min(m.disk.hard_state.committed, m.disk.last_index()));
        start.log = &m.disk;
        m.applied = m.disk.base;
        m.state.resize(std::min(m.state.size(), static_cast<std::size_t>(m.disk.base.value)));
        HotStandbySettings settings = settings_;
        settings.configured_primary = m.configured_primary;
        if (m.differs) {
            m.differs(settings);
        }
        m.strategy = m.witness ? make_hot_standby_witness(start, {settings.failover_ticks, settings.tick_ms})
                               : make_hot_standby(start, settings);
        apply(m, start.applied);
        for (auto& [other, peer] : members_) {
            if (other != id && peer.strategy && !is_cut(id, other)) {
                connect(id, other);
            }
        }
        settle();
    }
    void start_all() {
        for (auto& [id, member] : members_) {
            start(id);
        }
    }
    /// kill -9 with the page cache alive: what was persisted stays, all else is gone.
    void kill(const NodeName& id) {
        Member& m = members_.at(id);
        m.strategy.reset();
        m.waiting.reset();
        m.placed.clear();
        m.proposed.clear();
        std::erase_if(queue_, [&](const Sent& sent) { return sent.to == id || sent.from == id; });
        for (auto& [other, peer] : members_) {
            if (peer.strategy && !is_cut(id, other)) {
                peer.strategy->peer_down(id, transport::LostReason::kClosed);
            }
        }
        settle();
    }
    void cut(const NodeName& a, const NodeName& b) {
        cuts_.insert(std::minmax(a, b));
        std::erase_if(queue_, [&](const Sent& s) { return is_cut(s.from, s.to); });
        down(a, b);
        down(b, a);
        settle();
    }
    void heal(const NodeName& a, const NodeName& b) {
        cuts_.erase(std::minmax(a, b));
        connect(a, b);
        settle();
    }
    void ticks(int n) {
        for (int i = 0; i < n; ++i) {
            for (auto& [id, member] : members_) {
                if (member.strategy) {
                    member.strategy->tick();
                }
            }
            settle();
        }
    }
    /// Until somebody leads; fails the test after too many ticks.
    NodeName wait_for_primary(int ticks_max = 60) {
        for (int i = 0; i < ticks_max; ++i) {
            if (const NodeName id = primary(); !id.empty()) {
                return id;
            }
            ticks(1);
        }
        ADD_FAILURE() << "no primary after " << ticks_max << " ticks";
        return {};
    }
    NodeName primary() {
        for (auto& [id, member] : members_) {
            if (member.strategy && member.strategy->view().role == Role::kPrimary) {
                return id;
            }
        }
        return {};
    }
    /// Offers a write; false: refused at once, with the code kept.
    bool propose(const NodeName& id, const std::string& text, ProposalId* out = nullptr) {
        Member& m = members_.at(id);
        const ProposalId proposal{++next_};
        const auto offered = m.strategy->propose(proposal, text, next_);
        if (!offered) {
            m.refused.emplace(proposal, offered.error().code());
            last_error = offered.error().message();
            return false;
        }
        m.proposed.emplace(proposal, text);
        if (out != nullptr) {
            *out = proposal;
        }
        settle();
        return true;
    }
    /// Offers a write and says whether it was committed without a tick.
    bool write(const NodeName& id, const std::string& text) {
        ProposalId proposal;
        return propose(id, text, &proposal) && members_.at(id).committed.contains(proposal);
    }
    CommandAnswer command(const NodeName& id, Command asked, int ticks_max = 30) {
        Member& m = members_.at(id);
        const std::uint64_t number = ++next_;
        if (auto taken = m.strategy->command(number, asked); !taken) {
            return {number, taken.error()};
        }
        settle();
        for (int i = 0; i < ticks_max; ++i) {
            for (const CommandAnswer& answer : m.answers) {
                if (answer.id == number) {
                    return answer;
                }
            }
            ticks(1);
        }
        ADD_FAILURE() << "no answer to the command";
        return {number, fail(ErrorCode::kTimedOut, "no answer")};
    }
    /// Puts the primary's state into the peer, as the driver's transfer would.
    void carry_snapshots() {
        for (auto& [id, from] : members_) {
            for (const NodeName& to : std::exchange(from.wants_snapshot, {})) {
                Member& peer = members_.at(to);
                const LogIndex at = from.applied;
                const Term term = from.disk.term_at(at).value();
                std::string reason;
                if (!peer.strategy ||
                    !peer.strategy->accepts_snapshot(id, from.strategy->view().term, at, from.disk.history, reason)) {
                    last_error = reason;
                    from.strategy->snapshot_sent(to, std::nullopt);
                    continue;
                }
                peer.disk.base = at;
                peer.disk.base_term = term;
                peer.disk.entries.clear();
                peer.disk.history = from.disk.history;
                peer.state = from.state;
                peer.applied = at;
                peer.strategy->snapshot_installed({.index = at, .term = term, .history = from.disk.history});
                settle();
                from.strategy->snapshot_sent(to, at);
            }
        }
        settle();
    }
    /// Carries out all that is to be done and delivered, without time passing.
    void settle() {
        for (bool busy = true; busy;) {
            busy = false;
            for (auto& [id, member] : members_) {
                if (member.strategy) {
                    busy = work(member) || busy;
                }
            }
            while (!queue_.empty()) {
                busy = true;
                const Sent sent = std::move(queue_.front());
                queue_.pop_front();
                Member& to = members_.at(sent.to);
                if (to.strategy && !is_cut(sent.from, sent.to)) {
                    to.strategy->step(sent.from, *sent.message);
                }
            }
        }
    }
    /// The newest whole log: all that anybody holds under the present primary.
    std::vector<std::string> payloads(const NodeName& id) {
        std::vector<std::string> out;
        for (const std::string& text : members_.at(id).state) {
            if (!text.empty()) {
                out.push_back(text);
            }
        }
        return out;
    }
    bool saw(const NodeName& id, const std::string& words) {
        for (const std::string& event : members_.at(id).events) {
            if (event.find(words) != std::string::npos) {
                return true;
            }
        }
        return false;
    }

    std::string last_error;
    /// What does not arrive though the connection is up.
    std::function<bool(const NodeName& from, const ClusterMessage&)> loses;

private:
    struct Sent {
        NodeName from, to;
        std::shared_ptr<const ClusterMessage> message;
    };

    void add(const NodeName& id, bool primary, bool witness) {
        Member& m = members_[id];
        m.id = id;
        m.configured_primary = primary;
        m.witness = witness;
        m.disk.history = "fresh-" + id;
    }
    bool is_cut(const NodeName& a, const NodeName& b) const { return cuts_.contains(std::minmax(a, b)); }
    void connect(const NodeName& a, const NodeName& b) {
        for (const auto& [to, of] : {std::pair{a, b}, std::pair{b, a}}) {
            if (members_.at(to).strategy && members_.at(of).strategy) {
                PeerInfo info;
                info.id = of;
                info.bolt_address = of + ":7687";
                info.witness = members_.at(of).witness;
                members_.at(to).strategy->peer_up(info);
            }
        }
    }
    void down(const NodeName& at, const NodeName& lost) {
        if (members_.at(at).strategy) {
            members_.at(at).strategy->peer_down(lost, transport::LostReason::kSilent);
        }
    }
    void post(const Member& from, std::vector<Outbound>& out) {
        for (Outbound& message : out) {
            if (members_.contains(message.to) && !is_cut(from.id, message.to) && !(loses && loses(from.id, *message.message))) {
                queue_.push_back({from.id, message.to, std::move(message.message)});
            }
        }
    }
    void apply(Member& m, LogIndex committed) {
        while (m.applied < committed) {
            ++m.applied;
            const Entry& entry = m.disk.entries[m.applied.value - m.disk.base.value - 1];
            EXPECT_EQ(entry.index, m.applied);
            m.state.push_back(entry.payload);
            m.strategy->applied(m.applied);
            if (const auto at = m.placed.find(m.applied); at != m.placed.end()) {
                if (at->second.first == entry.term) {
                    m.committed.insert(at->second.second);
                }
                m.placed.erase(at);
            }
        }
    }
    bool work(Member& m) {
        auto messages = m.strategy->take_messages();
        post(m, messages);
        if (m.frozen_disk || (m.waiting && m.disk_takes_no_entries)) {
            return !messages.empty();
        }
        Ready ready = m.waiting ? *std::exchange(m.waiting, std::nullopt) : m.strategy->take_ready();
        if (m.disk_takes_no_entries && !ready.entries.empty()) {
            m.waiting = std::move(ready);
            return true;
        }
        const bool busy = !ready.empty() || !messages.empty() || (!m.witness && ready.committed > m.applied);
        messages = m.strategy->take_messages();
        post(m, messages);
        std::ranges::move(ready.events, std::back_inserter(m.events));
        std::ranges::move(ready.errors, std::back_inserter(m.events));
        for (CommandAnswer& answer : m.strategy->take_answers()) {
            m.answers.push_back(std::move(answer));
        }
        for (const Placed& placed : ready.placed) {
            m.placed[placed.index] = {placed.term, placed.id};
        }
        for (const NodeName& to : ready.send_snapshot) {
            m.wants_snapshot.push_back(to);
        }
        if (ready.rewind_to) {
            const LogIndex keep = *ready.rewind_to;
            for (LogIndex i{keep.value + 1}; i <= m.disk.last_index(); ++i) {
                if (!m.disk.entries[i.value - m.disk.base.value - 1].payload.empty()) {
                    m.diverged.push_back(m.disk.entries[i.value - m.disk.base.value - 1].payload);
                }
            }
            m.disk.entries.resize(keep.value - m.disk.base.value);
            m.placed.erase(m.placed.upper_bound(keep), m.placed.end());
            if (m.applied > keep) {
                m.state.resize(keep.value);
                m.applied = keep;
            }
            m.strategy->rewound(keep, true);
            return true;
        }
        if (ready.hard_state) {
            m.disk.hard_state = *ready.hard_state;
        }
        if (!ready.entries.empty() && m.full_disk) {
            m.placed.erase(m.placed.lower_bound(ready.entries.front().index), m.placed.end());
            m.strategy->not_persisted(ready.entries.front().index);
            return true;
        }
        if (!ready.entries.empty()) {
            m.disk.entries.resize(ready.entries.front().index.value - m.disk.base.value - 1);
            for (const Entry& entry : ready.entries) {
                EXPECT_EQ(entry.index.value, m.disk.last_index().value + 1);
                m.disk.entries.push_back(entry);
            }
        }
        post(m, ready.messages_after_append);
        if (!ready.entries.empty() || ready.hard_state) {
            m.strategy->persisted(m.disk.last_index());
        }
        post(m, ready.messages_after_persist);
        if (!m.witness) {
            apply(m, ready.committed);
        }
        return busy;
    }

    HotStandbySettings settings_;
    std::map<NodeName, Member> members_;
    std::deque<Sent> queue_;
    std::set<std::pair<NodeName, NodeName>> cuts_;
    std::uint64_t next_ = 0;
};

}  // namespace nornic::modes::testing
