// Any number of strategies, driven as modes::Replica drives them, with no thread, clock or socket:
// disks that keep what was synced, a network that can be cut, members that crash and come back.
// Everything happens in the order of the calls, so a test that fails does so every time.
//
// The Cluster watches by itself what every mode promises (entries are consecutive and written by one
// author, one answer a proposal, a sane view in every state, …) and fails the running test if it sees
// otherwise; what a test adds is a story.
#pragma once

#include "base/hash.h"
#include "tests/modes/conformance/modes_under_test.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace nornic::modes::conformance {

/// The log of one member: what was synced, and no more.
class MemoryLog final : public LogReader {
public:
    [[nodiscard]] LogIndex first_index() const override { return first_; }
    [[nodiscard]] LogIndex last_index() const override {
        return LogIndex{first_.value + entries_.size() - 1};
    }
    Result<Term> term_at(LogIndex index) override;
    Result<std::vector<Entry>> read(LogIndex from, LogIndex to, std::size_t bytes) override;

    /// Consecutive entries; those here at or past the first of them are dropped.
    void append(const std::vector<Entry>& entries);
    void drop_after(LogIndex keep);
    void drop_before(LogIndex first_kept);
    void reset(LogIndex next, Term previous);
    [[nodiscard]] const Entry* find(LogIndex index) const;

private:
    LogIndex first_{1};
    Term previous_term_;
    std::deque<Entry> entries_;
};

enum class Outcome : std::uint8_t {
    kOpen,
    kCommitted,
    kRefused,  // nothing was logged
    kLost,     // it was logged, and is known to be dropped
    kUnknown,  // its member crashed meanwhile
};

struct Proposal {
    NodeName member;
    std::string payload;
    Outcome outcome = Outcome::kOpen;
    std::optional<Placed> placed;
    std::optional<Error> error;
};

struct ReadAsked {
    NodeName member;
    ReadConsistency level = ReadConsistency::kOne;
    LogIndex acknowledged;          // by anybody, before it was asked
    std::optional<LogIndex> index;  // from the ReadPoint
    std::optional<LogIndex> answered_at;
    std::optional<Error> error;
};

struct ClusterOptions {
    std::uint64_t seed = 1;
    std::size_t inflight_max = 16;
    std::size_t inflight_bytes_max = 4096;
    /// A cut connection is noticed after so many ticks.
    std::uint64_t keep_alive_ticks = 6;
    /// A sync that hangs for so many ticks is told to the strategy.
    std::uint64_t stall_ticks = 4;
    /// Entries applied at a time.
    std::size_t apply_max = 4;
    /// What a rewind gave up is gone from the log at once; else the next entries written take its
    /// place, and a crash before that shows it again. Both are the driver's right.
    bool rewind_erases = false;
    /// What a member's digest is; nullopt: it never has one. All are equal where this is not set.
    std::function<std::optional<Result<std::uint64_t>>(const NodeName&)> digest;
};

/// Where a disk hangs: before a batch is written (and it is not yet known whether there is room), or
/// while it is synced.
enum class Hold : std::uint8_t { kNothing, kAppend, kSync };

/// A digest of all that was decided, and its last lines for people. NORNIC_TRACE=1 prints every line.
class Transcript {
public:
    void add(const std::string& line);
    [[nodiscard]] std::uint64_t digest() const { return digest_; }
    [[nodiscard]] std::string tail() const;

private:
    std::uint64_t digest_ = kFnv1aStart;
    std::deque<std::string> lines_;
    const bool print_ = std::getenv("NORNIC_TRACE") != nullptr;
};

class Cluster {
public:
    explicit Cluster(const ModeUnderTest& mode, const ClusterOptions& options = {});

    // ---- Life ----
    void start(const NodeName& name);
    void start_all();
    /// The process ends. Of a batch that is being written the disk keeps the first `records`: the hard
    /// state counts as one, each entry as one.
    void crash(const NodeName& name, std::size_t records = 0);
    /// The process is stopped by its machine: it neither hears nor counts ticks until resume().
    void pause(const NodeName& name);
    void resume(const NodeName& name);
    [[nodiscard]] bool alive(const NodeName& name) const { return member(name).strategy != nullptr; }
    /// Alive and not paused: a client can ask it.
    [[nodiscard]] bool serves(const NodeName& name) const { return alive(name) && !member(name).paused; }

    // ---- Time ----
    /// One tick interval everywhere, and all that it leads to.
    void tick();
    /// The interval alone.
    void pass_interval();
    void run(std::uint64_t ticks);
    /// Ticks until `done`; false: it did not come within `ticks`.
    bool run_until(const std::function<bool()>& done, std::uint64_t ticks);
    /// Carries out Readies and delivers messages until nothing is left to do.
    void settle();
    // For random walks: one step of what settle() does. false: there was nothing to do.
    bool step_driver(const NodeName& name);
    bool deliver(const NodeName& from, const NodeName& to, Lane lane);

    // ---- Network ----
    /// Messages from `from` to `to` are lost.
    void cut(const NodeName& from, const NodeName& to);
    /// In both directions, from and to everybody.
    void isolate(const NodeName& name);
    void heal();
    /// `to` hears this from `from`, whoever said it.
    void step(const NodeName& to, const NodeName& from, const ClusterMessage& message);
    /// Takes the next message off its way; nullptr: there is none.
    std::shared_ptr<const ClusterMessage> drop(const NodeName& from, const NodeName& to, Lane lane);

    // ---- Disk ----
    /// A batch does not get past this before it is taken back.
    void hold_disk(const NodeName& name, Hold at);
    void fill_disk(const NodeName& name, bool on);
    enum class Retention : std::uint8_t { kForPeers, kNone };
    /// The engine's state is durable, and the log forgets it as far as the peers allow. A witness, which has no state,
    /// forgets what is committed and not wanted.
    void checkpoint(const NodeName& name, Retention retention = Retention::kForPeers);

    // ---- What clients and operators ask ----
    Result<ProposalId> propose(const NodeName& name, const std::string& payload);
    Result<ReadId> read(const NodeName& name, ReadConsistency level);
    Result<std::uint64_t> command(const NodeName& name, const Command& command);
    void leave(const NodeName& name);

    // ---- Looks ----
    [[nodiscard]] Strategy& strategy(const NodeName& name) { return *member(name).strategy; }
    [[nodiscard]] const ModeUnderTest& mode() const { return mode_; }
    [[nodiscard]] std::vector<NodeName> names() const;
    [[nodiscard]] std::vector<NodeName> data_members() const;
    /// Who accepts writes now.
    [[nodiscard]] std::vector<NodeName> writers() const;
    /// The one who does, once there is exactly one and everybody who lives follows it.
    std::optional<NodeName> await_writer(std::uint64_t ticks);
    [[nodiscard]] const Proposal& proposal(ProposalId id) const { return proposals_.at(id); }
    [[nodiscard]] const ReadAsked& asked(ReadId id) const { return reads_.at(id); }
    [[nodiscard]] std::optional<Result<std::string>> answer(std::uint64_t command) const;
    [[nodiscard]] std::size_t open_proposals() const;
    [[nodiscard]] const std::vector<Entry>& applied(const NodeName& name) const {
        return member(name).state;
    }
    [[nodiscard]] MemoryLog& log(const NodeName& name) { return member(name).log; }
    [[nodiscard]] const HardState& hard_state(const NodeName& name) const {
        return member(name).hard_state;
    }
    [[nodiscard]] PeerInfo info(const NodeName& name) const;
    /// Lost branches that were to be kept readable.
    [[nodiscard]] const std::vector<Entry>& diverged(const NodeName& name) const {
        return member(name).diverged;
    }
    [[nodiscard]] const std::vector<std::string>& events(const NodeName& name) const {
        return member(name).events;
    }
    [[nodiscard]] const std::vector<std::string>& errors(const NodeName& name) const { return member(name).errors; }
    [[nodiscard]] const Transcript& transcript() const { return transcript_; }
    /// How often rare things happened: "rewind", "snapshot", "no room", "torn batch", "lost proposal".
    [[nodiscard]] const std::map<std::string, int>& marks() const { return marks_; }
    /// A digest of what one member has on disk, has applied and says of itself.
    [[nodiscard]] std::string state_of(const NodeName& name) const;

    /// Fails the test unless, after healing, a write goes through, everybody has the same state, and
    /// (where the mode promises it) nothing that was acknowledged is missing.
    void expect_progress_and_convergence();

private:
    struct Waiting {
        ProposalId id;
        Term term;
    };
    struct Member {
        const MemberSpec* spec = nullptr;
        // What a crash leaves.
        MemoryLog log;
        HardState hard_state;
        std::string history;
        LogIndex durable;  // the engine's checkpoint
        LogIndex end;      // of the log, as the strategy was told
        std::vector<Entry> diverged;
        // The engine: all entries applied, from index 1 on.
        std::vector<Entry> state;
        // The process.
        std::unique_ptr<Strategy> strategy;  // nullptr: not running
        std::optional<Ready> writing;
        bool appended = false;
        Hold hold = Hold::kNothing;
        bool state_lost = false;  // applied too much, and waits for a snapshot
        bool disk_full = false;
        bool paused = false;
        bool checkpoint_asked = false;
        std::optional<std::set<std::string>> dials;  // addresses; not said: everybody
        std::uint64_t held_ticks = 0;
        std::uint64_t missed_ticks = 0;
        std::set<NodeName> down_while_paused;
        bool stalled = false;
        LogIndex committed;
        Term write_term;
        std::map<ProposalId, std::string> offered;  // and not yet placed
        std::map<LogIndex, Waiting> waiting;
        std::set<ReadId> reads;
        std::set<std::uint64_t> commands;
        std::vector<std::string> events;
        std::vector<std::string> errors;
    };
    using Pair = std::pair<NodeName, NodeName>;
    struct Link {
        std::array<std::deque<std::shared_ptr<const ClusterMessage>>, transport::kLanes> lanes;
        bool cut = false;
    };
    struct Snapshot {
        NodeName from;
        NodeName to;
    };

    [[nodiscard]] const Member& member(const NodeName& name) const { return members_.at(name); }
    [[nodiscard]] Member& member(const NodeName& name) { return members_.at(name); }
    [[nodiscard]] std::string where(const NodeName& name) const;

    // fixture.cc: the driver's work.
    void tick_member(const NodeName& name);
    void after_input(const NodeName& name);
    void send(const NodeName& from, const Outbound& out);
    void answer_ready(const NodeName& name, Ready& ready);
    void rewind(const NodeName& name, LogIndex keep);
    void reset_log(const NodeName& name, const Ready& ready);
    void dial(const NodeName& name, const std::vector<std::string>& addresses);
    void append_batch(const NodeName& name);
    void refuse_batch(const NodeName& name, const Ready& ready);
    void end_write(const NodeName& name);
    void persist(const NodeName& name, const Ready& ready, std::size_t records);
    void apply(const NodeName& name, LogIndex committed);
    void release_reads(const NodeName& name);
    bool transfer_snapshot();
    void connect(const NodeName& one, const NodeName& other);
    void disconnect(const NodeName& one, const NodeName& other, transport::LostReason reason);
    [[nodiscard]] bool reachable(const NodeName& one, const NodeName& other) const;
    /// One of them dials the other.
    [[nodiscard]] bool dialed(const NodeName& one, const NodeName& other) const;
    void watch_connections();
    void finish(ProposalId id, Outcome outcome, std::optional<Error> error = std::nullopt);
    void note(const NodeName& name, const std::string& what);

    // watch.cc: what every mode promises.
    void check_ready(const NodeName& name, const Ready& ready);
    void check_view(const NodeName& name);
    void check_author(const NodeName& name, const Entry& entry);
    void check_acknowledged(const NodeName& name, const Entry& entry);
    void check_applied(const NodeName& name, const Entry& entry);

    const ModeUnderTest& mode_;
    const ClusterOptions options_;
    std::map<NodeName, Member> members_;
    std::map<Pair, Link> links_;
    std::map<Pair, std::uint64_t> connected_;  // ticks of silence; the smaller name is first
    std::deque<Snapshot> snapshots_;
    std::map<ProposalId, Proposal> proposals_;
    std::map<ReadId, ReadAsked> reads_;
    std::map<std::uint64_t, std::optional<Result<std::string>>> answers_;
    std::uint64_t next_id_ = 1;
    std::uint64_t tick_ = 0;
    Transcript transcript_;
    std::map<std::string, int> marks_;

    // What was seen, of all lives of all members.
    std::map<std::pair<Term, LogIndex>, std::string> authored_;  // content of each entry ever logged
    std::map<LogIndex, Entry> acknowledged_;
    std::map<LogIndex, Entry> first_applied_;
    std::map<Term, NodeName> writer_of_;
    bool complained_of_reason_ = false;
};

}  // namespace nornic::modes::conformance
