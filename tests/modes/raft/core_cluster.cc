#include "tests/modes/raft/core_cluster.h"

#include "base/check.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

namespace nornic::raft::testing {

Settings quick_settings() {
    Settings settings;
    settings.election_ticks = 10;
    settings.heartbeat_ticks = 2;
    settings.promote_within = LogIndex{4};
    return settings;
}

CoreCluster::CoreCluster(std::uint64_t seed, Settings settings) : seed_{seed}, settings_{settings}, random_{seed} {}
CoreCluster::~CoreCluster() = default;

void CoreCluster::note(const std::string& line) const {
    if (trace) {
        trace(line);
    }
}

// ---- Members ----

Node& CoreCluster::add(const NodeName& name, bool witness) {
    auto& slot = nodes_[name];
    NORNIC_CHECK(slot == nullptr, "'{}' is there already", name);
    slot = std::make_unique<Node>();
    slot->name = name;
    slot->witness = witness;
    return *slot;
}

DirectoryId CoreCluster::directory_of(const Node& node) const {
    return DirectoryId{std::hash<NodeName>{}(node.name) * 1000 + node.disks + 1};
}

Member CoreCluster::member(const NodeName& name) const {
    const Node& node = *nodes_.at(name);
    return {.address = name + ":7000", .directory = directory_of(node), .witness = node.witness};
}

void CoreCluster::start(const NodeName& name) {
    Node& n = node(name);
    NORNIC_CHECK(n.core == nullptr, "'{}' runs", name);
    Start start;
    start.self = name;
    start.witness = n.witness;
    start.hard_state = n.disk.hard_state;
    if (n.disk.fresh) {
        start.hard_state.directory = directory_of(n);
        start.directory_is_new = true;
    }
    start.last_index = n.disk.last_index();
    start.last_term = n.disk.term_at(start.last_index).value();
    start.seed = random_.next();
    if (n.witness) {
        start.configuration = n.disk.recorded.configuration;
        start.configuration_index = n.disk.recorded.configuration_index;
        start.applied = std::max(start.configuration_index, LogIndex{n.disk.first_index().value - 1});
    } else {
        // The engine was brought up to the checkpoint and what was known to be committed.
        n.state = n.disk.checkpoint;
        apply_up_to(n, std::max(n.state.index, std::min(n.disk.hard_state.committed, start.last_index)));
        start.configuration = n.state.configuration;
        start.configuration_index = n.state.configuration_index;
        start.applied = n.state.index;
    }
    n.incarnation = ++incarnations_;
    n.seen_committed = n.checked_committed = n.may_apply = start.applied;
    n.seen_term = n.disk.hard_state.term;
    n.core = std::make_unique<Core>(start, settings_, n.disk);
    for (auto& [other, o] : nodes_) {
        if (other != name && o->core != nullptr) {
            o->core->peer_up(name, n.witness);
            n.core->peer_up(other, o->witness);
            look(*o);
        }
    }
    look(n);
}

void CoreCluster::crash(const NodeName& name, std::size_t part) {
    Node& n = node(name);
    if (n.core == nullptr) {
        return;
    }
    if (n.writing && part > 0) {
        // A crash may keep the hard state and lose the entries, or a part of them.
        Output survived;
        survived.hard_state = n.writing->hard_state;
        survived.entries = n.writing->entries;
        survived.entries.resize(std::min(survived.entries.size(), part - 1));
        record_write(n, survived);
    }
    n.core.reset();
    n.writing.reset();
    if (n.installing) {
        snapshots.push_back(*std::exchange(n.installing, std::nullopt));  // its sender will hear that it failed
    }
    n.shown.clear();
    n.disk_hangs = n.disk_full = n.apply_hangs = false;
    note(fmt::format("{}: crashed", name));
    for (auto& [other, o] : nodes_) {
        if (o->core != nullptr && !is_cut(name, other)) {
            o->core->peer_down(name, true);
            look(*o);
        } else if (o->core != nullptr) {
            o->core->peer_down(name, false);
            look(*o);
        }
    }
}

void CoreCluster::wipe(const NodeName& name) {
    crash(name);
    Node& n = node(name);
    const DirectoryId directory = n.disk.hard_state.directory;
    n.lost_disks[directory] = std::exchange(n.disk, Disk{});
    n.state = State{};
    ++n.disks;
    note(fmt::format("{}: lost its disk", name));
}

void CoreCluster::form(const std::vector<NodeName>& voters, const std::vector<NodeName>& witnesses) {
    Configuration configuration;
    for (const NodeName& name : voters) {
        add(name);
        configuration.members[name] = member(name);
    }
    for (const NodeName& name : witnesses) {
        add(name, true);
        configuration.members[name] = member(name);
    }
    for (const NodeName& name : names()) {
        start(name);
    }
    deliver_all();
    with(voters.front(), [&](Core& core) { EXPECT_TRUE(core.bootstrap(configuration)); });
    deliver_all();
    elect(voters.front());
    for (int i = 0; i < 100 && std::ranges::any_of(nodes_, [](const auto& n) {
             return n.second->core != nullptr && !n.second->core->formed();
         });
         ++i) {
        run();
    }
}

// ---- Time, network ----

void CoreCluster::with(const NodeName& name, const std::function<void(Core&)>& call) {
    Node& n = node(name);
    NORNIC_CHECK(n.core != nullptr, "'{}' does not run", name);
    call(*n.core);
    look(n);
}

void CoreCluster::tick(const NodeName& name) {
    if (running(name)) {
        with(name, [](Core& core) { core.tick(); });
    }
}

void CoreCluster::tick_all() {
    for (auto& [name, n] : nodes_) {
        tick(name);
    }
}

void CoreCluster::run(std::size_t times) {
    for (std::size_t i = 0; i < times; ++i) {
        tick_all();
        if (!hold_messages) {
            deliver_all();
        }
    }
}

void CoreCluster::deliver_all() {
    for (int rounds = 0; !network.empty() || (!hold_snapshots && !snapshots.empty()); ++rounds) {
        if (rounds > 100'000) {
            violated("messages cause messages without end");
            return;
        }
        if (!network.empty()) {
            deliver(0);
        } else {
            carry_snapshot(0);
        }
    }
}

void CoreCluster::deliver_all_messages() {
    for (int n = 0; n < 100'000 && !network.empty(); ++n) {
        deliver(0);
    }
}

void CoreCluster::send(const NodeName& from, std::vector<Outbound>&& messages) {
    for (Outbound& out : messages) {
        Envelope envelope{next_envelope_++, from, out.to, out.lane, std::move(out.message)};
        if (trace_messages) {
            note(fmt::format("{}>{} {}{}", from, envelope.to, describe(*envelope.message), is_cut(from, envelope.to) ? " (lost)" : ""));
        }
        if (nodes_.contains(envelope.to) && !is_cut(from, envelope.to) && !(lose && lose(envelope))) {
            network.push_back(std::move(envelope));
        }
    }
}

void CoreCluster::deliver(std::size_t position) {
    Envelope envelope = std::move(network.at(position));
    network.erase(network.begin() + static_cast<std::ptrdiff_t>(position));
    Node& to = node(envelope.to);
    if (to.core != nullptr && !is_cut(envelope.from, envelope.to)) {
        to.core->step(envelope.from, *envelope.message);
        look(to);
    }
}

void CoreCluster::drop(std::size_t position) {
    network.erase(network.begin() + static_cast<std::ptrdiff_t>(position));
}

void CoreCluster::duplicate(std::size_t position) {
    network.push_back(network.at(position));
}

void CoreCluster::isolate(const NodeName& name) {
    for (const auto& [other, n] : nodes_) {
        if (other != name) {
            cut(name, other);
            cut(other, name);
        }
    }
}

void CoreCluster::heal() {
    cuts_.clear();
    // Connections that were lost meanwhile are made again.
    for (auto& [a, x] : nodes_) {
        for (auto& [b, y] : nodes_) {
            if (a != b && x->core != nullptr && y->core != nullptr && !x->core->is_up(b)) {
                x->core->peer_up(b, y->witness);
                look(*x);
            }
        }
    }
}

// ---- The driver: modes/strategy.h, Ready ----

void CoreCluster::flush(Node& n) {
    send(n.name, n.core->take_messages());
}

/// After each call on a core.
void CoreCluster::look(Node& n) {
    apply_as_witness(n);
    flush(n);
    check(n);
    pump(n.name);
}

void CoreCluster::pump(const NodeName& name) {
    Node& n = node(name);
    for (int rounds = 0; n.core != nullptr && !n.writing && !n.installing; ++rounds) {
        NORNIC_CHECK(rounds < 10'000, "'{}' has work without end", name);
        Output out = n.core->take_output();
        flush(n);
        for (const std::string& event : out.events) {
            note(fmt::format("{}: {}", name, event));
        }
        n.leader_changes.insert(n.leader_changes.end(), out.leader_changes.begin(), out.leader_changes.end());
        for (const ReadPoint& read : out.reads) {
            n.reads[read.id.value] = read.index;
            note(fmt::format("{}: read {} at {}", name, read.id.value, read.index.value));
            check_read(n, read.id.value, read.index);
        }
        for (const RefusedRead& read : out.refused_reads) {
            n.refused_reads[read.id.value] = read.error.message();
            note(fmt::format("{}: read {} refused: {}", name, read.id.value, read.error.message()));
        }
        for (ChangeOutcome& outcome : n.core->take_outcomes()) {
            note(fmt::format("{}: request {} {}", name, outcome.id,
                             outcome.outcome ? "ended: " + outcome.outcome.value()
                                             : "failed: " + outcome.outcome.error().message()));
            n.outcomes.push_back(std::move(outcome));
        }
        if (out.dropped_after) {
            n.dropped.push_back(*out.dropped_after);
            note(fmt::format("{}: proposals behind {} were dropped", name, out.dropped_after->value));
        }
        for (const NodeName& to : out.send_snapshot) {
            NORNIC_CHECK(!n.witness, "'{}' has no data to send", name);
            snapshots.push_back({name, to, n.core->term(), n.state, n.incarnation});
            note(fmt::format("{}: sends a snapshot as of {} to {}", name, n.state.index.value, to));
        }
        if (out.reset_log) {
            n.disk.reset(out.reset_log->index, out.reset_log->index_term,
                         chains_.at({out.reset_log->index, out.reset_log->index_term}));
            note(fmt::format("{}: begins its log anew behind {}", name, out.reset_log->index.value));
            n.core->log_reset();
            flush(n);
            check(n);
            continue;
        }
        if (out.committed < n.seen_committed) {
            violated(fmt::format("'{}': committed went from {} to {}", name, n.seen_committed.value, out.committed.value));
        }
        n.seen_committed = out.committed;
        n.may_apply = std::max(n.may_apply, out.committed);
        if (!n.apply_hangs && !n.witness) {
            apply(name);
        }
        if (!out.hard_state && out.entries.empty() && out.messages_after_append.empty() &&
            out.messages_after_persist.empty()) {
            break;
        }
        if (n.disk_full && !out.entries.empty()) {
            note(fmt::format("{}: no room for {} entries", name, out.entries.size()));
            n.core->not_persisted();
            flush(n);
            check(n);
            continue;
        }
        send(name, std::exchange(out.messages_after_append, {}));
        n.writing = std::move(out);
        if (!n.disk_hangs) {
            finish_write(name);
        }
    }
    if (n.core != nullptr && trace) {
        const std::string now = fmt::format("{} term={}{}", to_string(n.core->role()), n.core->term().value,
                                            n.core->leader().empty() ? "" : " leader=" + n.core->leader());
        if (n.shown != now) {
            note(fmt::format("{}: {}", name, now));
            n.shown = now;
        }
    }
}

void CoreCluster::record_write(Node& n, const Output& out) {
    if (out.hard_state) {
        n.disk.hard_state = *out.hard_state;
        n.disk.fresh = false;
        check_vote(n);
    }
    n.disk.append(out.entries);
    for (const EntryPtr& entry : out.entries) {
        check_entry(n, entry->index);
    }
}

void CoreCluster::finish_write(const NodeName& name) {
    Node& n = node(name);
    if (!n.writing) {
        return;
    }
    Output out = std::move(*std::exchange(n.writing, std::nullopt));
    record_write(n, out);
    if (out.hard_state || !out.entries.empty()) {
        if (out.hard_state && n.witness) {
            n.disk.recorded.configuration_index = n.core->applied_configuration().first;
            n.disk.recorded.configuration = n.core->applied_configuration().second;
        }
        n.core->persisted();
    }
    send(name, std::move(out.messages_after_persist));
    look(n);
}

void CoreCluster::apply_up_to(Node& n, LogIndex index) {
    while (n.state.index < index) {
        const LogIndex at{n.state.index.value + 1};
        NORNIC_CHECK(n.disk.holds(at), "'{}': entry {} is to be applied and not on disk", n.name, at.value);
        const Entry& entry = n.disk.at(at);
        n.state.chain = chain_of(n.state.chain, entry);
        n.state.index = at;
        n.state.term = entry.term;
        if (entry.kind == EntryKind::kMembership) {
            n.state.configuration_index = at;
            n.state.configuration = Configuration::decode(entry.payload).value();
        }
        if (n.state.chain != n.disk.chain_at(at)) {
            violated(fmt::format("'{}': the state at {} is not what the log makes", n.name, at.value));
        }
    }
}

void CoreCluster::apply(const NodeName& name) {
    Node& n = node(name);
    if (n.core != nullptr && !n.witness && n.state.index < n.may_apply) {
        apply_up_to(n, n.may_apply);
        n.core->applied(n.state.index);
        flush(n);
        check(n);
    }
}

void CoreCluster::apply_as_witness(Node& n) {
    if (!n.witness || n.core == nullptr) {
        return;
    }
    n.core->applied(std::min(n.core->committed(), n.core->log().persisted()));
    if (n.core->applied_configuration().first != n.disk.recorded.configuration_index) {
        n.core->write_hard_state();
    }
}

// ---- Snapshots ----

void CoreCluster::carry_snapshot(std::size_t position, bool lost) {
    Transmission snapshot = snapshots.at(position);
    snapshots.erase(snapshots.begin() + static_cast<std::ptrdiff_t>(position));
    Node& to = node(snapshot.to);
    const auto failed = [&](const std::string& why) {
        note(fmt::format("{}: no snapshot from {}: {}", snapshot.to, snapshot.from, why));
        Node& from = node(snapshot.from);
        if (from.core != nullptr && from.incarnation == snapshot.incarnation) {
            from.core->snapshot_sent(snapshot.to, std::nullopt);
            look(from);
        }
    };
    if (lost || to.core == nullptr || is_cut(snapshot.from, snapshot.to) || is_cut(snapshot.to, snapshot.from)) {
        failed("it was lost");
        return;
    }
    std::string reason = "it is not wanted now";
    if (!to.accepts_snapshots || to.installing ||
        !to.core->accepts_snapshot(snapshot.from, snapshot.term, snapshot.state.index, reason)) {
        failed(reason);
        return;
    }
    to.installing = std::move(snapshot);
    if (!to.writing) {
        install(to.name);
    }
}

/// While nothing is written and nothing applied: the exchange of the state.
void CoreCluster::install(const NodeName& name) {
    Node& n = node(name);
    if (n.core == nullptr || !n.installing) {
        return;
    }
    NORNIC_CHECK(!n.writing, "'{}' writes", name);
    const Transmission snapshot = *std::exchange(n.installing, std::nullopt);
    std::string reason;
    const bool wanted = n.core->accepts_snapshot(snapshot.from, snapshot.term, snapshot.state.index, reason);
    if (wanted) {
        const State& s = snapshot.state;
        n.disk.reset(s.index, s.term, s.chain);
        n.disk.checkpoint = n.state = s;
        n.may_apply = n.seen_committed = n.checked_committed = s.index;
        n.core->snapshot_installed(s.index, s.term, s.configuration_index, s.configuration);
        note(fmt::format("{}: installed the snapshot as of {}", name, s.index.value));
    }
    look(n);
    Node& from = node(snapshot.from);
    if (from.core != nullptr && from.incarnation == snapshot.incarnation) {
        from.core->snapshot_sent(name, wanted ? std::optional{snapshot.state.index} : std::nullopt);
        look(from);
    }
}

void CoreCluster::compact(const NodeName& name, std::size_t keep) {
    Node& n = node(name);
    LogIndex upto = n.state.index;
    if (n.witness) {
        upto = n.core->applied_index();
        if (n.disk.recorded.configuration_index != n.core->applied_configuration().first) {
            return;  // its configuration may be in the log alone
        }
    } else {
        n.disk.checkpoint = n.state;
    }
    upto = std::min(upto, n.disk.last_index());
    n.disk.cut_before(LogIndex{upto.value - std::min<std::uint64_t>(upto.value, keep) + 1});
}

// ---- Requests ----

Result<LogIndex> CoreCluster::propose(const NodeName& name, std::string payload) {
    Result<LogIndex> out = fail(ErrorCode::kInternal, "not asked");
    with(name, [&](Core& core) { out = core.propose(EntryKind::kWriteSet, std::move(payload), 1); });
    return out;
}

Result<> CoreCluster::read(const NodeName& name, std::uint64_t id) {
    asked_[{name, id}] = committed();
    Result<> out = success();
    with(name, [&](Core& core) { out = core.read_index(ReadId{id}); });
    return out;
}

Result<> CoreCluster::change(const NodeName& name, std::uint64_t id, const std::vector<Change>& changes) {
    Result<> out = success();
    with(name, [&](Core& core) { out = core.change_members(id, changes); });
    return out;
}

// ---- What is ----

Node& CoreCluster::node(const NodeName& name) {
    const auto at = nodes_.find(name);
    NORNIC_CHECK(at != nodes_.end(), "no node '{}'", name);
    return *at->second;
}

Core& CoreCluster::core(const NodeName& name) {
    Node& n = node(name);
    NORNIC_CHECK(n.core != nullptr, "'{}' does not run", name);
    return *n.core;
}

std::vector<NodeName> CoreCluster::names() const {
    std::vector<NodeName> out;
    for (const auto& [name, n] : nodes_) {
        out.push_back(name);
    }
    return out;
}

NodeName CoreCluster::leader() const {
    NodeName best;
    Term term;
    for (const auto& [name, n] : nodes_) {
        if (n->core != nullptr && n->core->role() == Role::kLeader && n->core->term() > term) {
            best = name;
            term = n->core->term();
        }
    }
    return best;
}

NodeName CoreCluster::elect(const NodeName& name, std::size_t ticks_max) {
    const auto leads = [&](const NodeName& id) {
        return !id.empty() && running(id) && core(id).role() == Role::kLeader &&
               (core(id).write_term().value != 0 || node(id).witness);
    };
    for (std::size_t i = 0; i < ticks_max; ++i) {
        const NodeName now = leader();
        if (leads(now) && (name.empty() || now == name)) {
            return now;
        }
        if (!name.empty() && now.empty()) {
            tick(name);  // the others are more patient
            deliver_all();
        } else if (!name.empty() && now != name && leads(now)) {
            with(now, [&](Core& core) { static_cast<void>(core.transfer(0, name)); });
            run(1);
        } else {
            run(1);
        }
    }
    violated(fmt::format("{} was not elected in {} ticks", name.empty() ? "nobody" : name, ticks_max));
    return {};
}

std::vector<std::string> CoreCluster::applied(const NodeName& name) {
    Node& n = node(name);
    std::vector<std::string> out;
    for (LogIndex i = n.disk.first_index(); i <= n.state.index; ++i) {
        if (n.disk.at(i).kind == EntryKind::kWriteSet) {
            out.push_back(n.disk.at(i).payload);
        }
    }
    return out;
}

}  // namespace nornic::raft::testing
