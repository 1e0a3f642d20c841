// A group of raft::Cores in memory: disks that remember what was synced, a network that loses, delays, repeats and cuts
// (one way, too), snapshots, restarts, and, after each call, a look at what Raft promises (thesis figure 3.2). It carries
// an Output out as modes/strategy.h says. Nothing happens that the caller did not ask for: no thread, no clock.
#pragma once

#include "tests/modes/raft/core_disk.h"

#include "base/random.h"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace nornic::raft::testing {

Settings quick_settings();

struct Envelope {
    std::uint64_t id = 0;
    NodeName from;
    NodeName to;
    Lane lane = Lane::kControl;
    std::shared_ptr<const Message> message;
};
/// "VoteRequest term=2 last=5/1 pre_vote"
std::string describe(const Message& message);

struct Transmission {
    NodeName from;
    NodeName to;
    Term term;
    State state;
    std::uint64_t incarnation = 0;  // of the sender
};

struct Node {
    NodeName name;
    bool witness = false;
    Disk disk;
    std::unique_ptr<Core> core;  // nullptr: not running
    std::uint64_t incarnation = 0;
    std::uint64_t disks = 0;     // wiped so often
    std::map<DirectoryId, Disk> lost_disks;
    State state;                 // applied
    std::optional<Output> writing;
    bool disk_hangs = false;     // finish_write() is called by hand
    bool disk_full = false;
    bool apply_hangs = false;
    bool accepts_snapshots = true;
    LogIndex may_apply;
    std::optional<Transmission> installing;
    LogIndex seen_committed;     // of an Output of this incarnation
    LogIndex checked_committed;
    Configuration checked_configuration;  // in force before the call that is looked at
    Term seen_term;
    std::vector<ChangeOutcome> outcomes;
    std::map<std::uint64_t, LogIndex> reads;        // answered
    std::map<std::uint64_t, std::string> refused_reads;
    std::vector<LogIndex> dropped;
    std::vector<LeaderChange> leader_changes;
    std::string shown;           // state as it was last traced
};

class CoreCluster {
public:
    explicit CoreCluster(std::uint64_t seed, Settings settings = quick_settings());
    ~CoreCluster();

    // ---- Members ----
    /// An empty disk; not running yet.
    Node& add(const NodeName& name, bool witness = false);
    void start(const NodeName& name);
    /// `part`: how much of a write that was under way survives, from 0 (nothing) by 1 (the hard state) to as many entries.
    void crash(const NodeName& name, std::size_t part = 0);
    void stop(const NodeName& name) { crash(name); }
    /// Another disk, empty, under the same name.
    void wipe(const NodeName& name);
    /// Adds and starts these, lets the first form the group, and runs until all have its configuration.
    void form(const std::vector<NodeName>& voters, const std::vector<NodeName>& witnesses = {});
    [[nodiscard]] Member member(const NodeName& name) const;

    // ---- Time, network ----
    void tick(const NodeName& name);
    void tick_all();
    /// `times` ticks of all, each followed by deliver_all().
    void run(std::size_t times = 1);
    /// Until all is delivered (which goes on to cause more).
    void deliver_all();
    void deliver_all_messages();
    void deliver(std::size_t position);
    void drop(std::size_t position);
    void duplicate(std::size_t position);
    /// What `from` says does not reach `to` from now on.
    void cut(const NodeName& from, const NodeName& to) { cuts_.insert({from, to}); }
    void isolate(const NodeName& name);
    void heal();
    [[nodiscard]] bool is_cut(const NodeName& from, const NodeName& to) const { return cuts_.contains({from, to}); }
    /// While true, messages wait to be delivered by hand.
    bool hold_messages = false;
    bool hold_snapshots = false;
    std::deque<Envelope> network;
    std::vector<Transmission> snapshots;
    void carry_snapshot(std::size_t position, bool lost = false);
    std::function<bool(const Envelope&)> lose;  // asked of each message

    // ---- The disk ----
    void pump(const NodeName& name);
    void finish_write(const NodeName& name);
    void apply(const NodeName& name);
    void install(const NodeName& name);
    /// Writes a checkpoint of what is applied and cuts the log, except for the last `keep` entries.
    void compact(const NodeName& name, std::size_t keep = 0);

    // ---- Requests ----
    Result<LogIndex> propose(const NodeName& name, std::string payload);
    Result<> read(const NodeName& name, std::uint64_t id);
    Result<> change(const NodeName& name, std::uint64_t id, const std::vector<Change>& changes);
    /// Any other call on a core; looks at it afterwards.
    void with(const NodeName& name, const std::function<void(Core&)>& call);

    // ---- What is ----
    [[nodiscard]] Node& node(const NodeName& name);
    [[nodiscard]] Core& core(const NodeName& name);
    [[nodiscard]] bool running(const NodeName& name) { return node(name).core != nullptr; }
    [[nodiscard]] std::vector<NodeName> names() const;
    /// Of the highest term; empty: none.
    [[nodiscard]] NodeName leader() const;
    /// Ticks all until `name` (empty: any) leads and has applied an entry of its term. Fails the test if it never does.
    NodeName elect(const NodeName& name = {}, std::size_t ticks_max = 2000);
    /// Payloads of write sets applied there, as far back as its log goes.
    [[nodiscard]] std::vector<std::string> applied(const NodeName& name);
    [[nodiscard]] LogIndex committed() const { return committed_.empty() ? LogIndex{} : committed_.rbegin()->first; }
    /// Everything that happened, one line each.
    std::function<void(std::string)> trace;
    bool trace_messages = false;
    std::function<void(const std::string&)> on_violation;  // else the test fails

    std::uint64_t seed() const { return seed_; }

private:
    void send(const NodeName& from, std::vector<Outbound>&& messages);
    void flush(Node& node);
    void look(Node& node);
    void note(const std::string& line) const;
    void apply_up_to(Node& node, LogIndex index);
    void apply_as_witness(Node& node);
    void record_write(Node& node, const Output& out);
    [[nodiscard]] DirectoryId directory_of(const Node& node) const;

    // core_checks.cc
    void check(Node& node);
    void check_leader(Node& node);
    void check_committed(Node& node);
    void check_followers(Node& node);
    void check_entry(const Node& node, LogIndex index);
    void check_vote(const Node& node);
    void check_read(const Node& node, std::uint64_t id, LogIndex index);
    void violated(const std::string& what) const;

    const std::uint64_t seed_;
    const Settings settings_;
    std::map<NodeName, std::unique_ptr<Node>> nodes_;
    std::set<std::pair<NodeName, NodeName>> cuts_;
    std::uint64_t next_envelope_ = 1;
    std::uint64_t incarnations_ = 0;
    Random random_;

    // What was ever true.
    std::map<Term, NodeName> leaders_;
    std::map<LogIndex, Term> committed_;
    std::map<std::pair<LogIndex, Term>, std::uint64_t> chains_;  // of each entry that was ever on a disk
    std::map<std::pair<DirectoryId, Term>, NodeName> votes_;
    std::map<std::pair<NodeName, std::uint64_t>, LogIndex> asked_;  // committed anywhere when a read was asked
};

}  // namespace nornic::raft::testing
