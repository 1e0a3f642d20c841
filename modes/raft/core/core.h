// Core: one member of a Raft group as a deterministic state machine (thesis; practice checklist A). It is given ticks,
// messages, proposals and word of the disk, and leaves what to send, persist, apply and answer. No clock, thread, disk,
// socket, wire format or global randomness; the same calls in the same order give the same decisions.
// docs/modes/raft.md says what it promises; tests/modes/raft has a test for each rule, named by its source.
#pragma once

#include "base/random.h"
#include "modes/raft/core/configuration.h"
#include "modes/raft/core/log.h"
#include "modes/raft/core/progress.h"
#include "modes/raft/core/types.h"

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nornic::raft {

struct Settings {
    std::uint32_t election_ticks = 100;   // a silent leader is given up after this to twice this
    std::uint32_t read_ticks_max = 6000;  // a read that waited for so long is waited for by nobody any more
    std::uint32_t heartbeat_ticks = 10;
    std::size_t append_entries_max = 64;  // of one message
    std::size_t append_bytes_max = std::size_t{512} << 10;
    ProgressLimits follower;              // of all messages on their way to one
    std::size_t uncommitted_entries_max = 4096;
    std::size_t uncommitted_bytes_max = std::size_t{256} << 20;
    std::size_t tail_bytes_max = std::size_t{32} << 20;
    LogIndex promote_within{64};          // a learner this close to the leader's log becomes a voter
    bool witness_may_lead = false;        // for a moment, to hand on what it alone holds (spec 004)
};

/// What a core starts from: what the disk remembers.
struct Start {
    NodeName self;
    bool witness = false;  // by its own settings; a configuration that was made before it was heard may not know
    HardState hard_state;  // .directory is never 0
    LogIndex last_index;
    Term last_term;
    LogIndex applied;
    bool directory_is_new = false;  // it goes to the disk before anything is said
    /// As of `applied` or before; later ones are read from the log. Empty: this member belongs to no group yet; it votes
    /// (candidates know which disk they count on) and never campaigns.
    Configuration configuration;
    LogIndex configuration_index;
    std::uint64_t seed = 0;
};

struct ReadPoint {
    ReadId id;
    LogIndex index;
};
struct RefusedRead {
    ReadId id;
    Error error;
};
/// Who must hold what a linearizable read sees: those that made it committed, or all members.
enum class HeldBy : std::uint8_t { kMajority, kEveryone };
struct ChangeOutcome {
    std::uint64_t id = 0;
    Result<std::string> outcome = std::string{};
};

/// Who leads now, who did before as far as is known here (empty: nobody), and why; for people.
struct LeaderChange {
    Term term;
    NodeName from;
    NodeName to;
    std::string reason;
};

/// To be carried out in this order; modes/strategy.h, Ready, has the reasons.
struct Output {
    std::optional<HardState> hard_state;
    std::vector<EntryPtr> entries;
    std::vector<Outbound> messages_after_append;
    std::vector<Outbound> messages_after_persist;
    LogIndex committed;
    std::vector<ReadPoint> reads;
    std::vector<RefusedRead> refused_reads;
    /// Proposals behind this were never handed out: they are in nobody's log.
    std::optional<LogIndex> dropped_after;
    std::vector<NodeName> send_snapshot;
    std::optional<LogReset> reset_log;  // a witness: before anything else
    std::vector<std::string> events;
    std::vector<LeaderChange> leader_changes;
};

/// What one that was taken out can do, for people.
inline constexpr std::string_view kHowToReturn =
    "empty its data directory and start it with NORNICDB_CLUSTER_RAFT_JOIN to add it again";

class Core {
public:
    /// `storage` outlives it.
    Core(const Start& start, const Settings& settings, Storage& storage);

    // ---- What happens ----
    /// From now on, until it is said anew, no more of entries goes to members that are far behind and that no commit needs, but
    /// at least twice what was written since it was said last. Never said: no limit.
    void allow_catch_up(std::uint64_t bytes);
    /// As leader: there is such a member, and it is sent entries.
    [[nodiscard]] bool catches_up() const;
    void tick();
    /// So many ticks passed in which nothing ran here (practice A4: pauses).
    void paused(std::uint64_t ticks);
    void step(const NodeName& from, const Message& message);
    /// `witness`: by the peer's own word.
    void peer_up(const NodeName& peer, bool witness);
    /// `process_ended`: the connection was reset or refused; a hint that the peer died, never a proof. A dead leader is
    /// suspected at once, and a pre-vote finds out.
    void peer_down(const NodeName& peer, bool process_ended);

    // ---- What is asked ----
    /// kNotLeader, kBusy, kDatabaseUnavailable: nothing was logged. Else its place; the term is term().
    Result<LogIndex> propose(EntryKind kind, std::string payload, std::uint64_t hybrid_time);
    /// Linearizable: a leader confirms by a heartbeat round that began after the question (thesis 6.4), a follower asks it.
    Result<> read_index(ReadId id, HeldBy held_by = HeldBy::kMajority);
    /// Somebody here waits until more is applied: a leader that knows more to be committed is to say so at once, as it does
    /// for a while from then on. Other followers hear it with the next entries, or within a tick.
    void readers_wait();
    /// Group of one or more as the first configuration. kAlreadyExists if there is one.
    Result<> bootstrap(Configuration configuration);
    /// There is a group already: wait to be added. Nothing once this member was elected.
    void abandon_bootstrap();
    /// The answer comes by take_outcomes(), when the change is committed, or (kAddVoter) the learner was added.
    /// kNotLeader, kBusy (one is under way), and what apply_changes() says, at once.
    Result<> change_members(std::uint64_t id, const std::vector<Change>& changes);
    /// As leader: this member stops and asks to be taken out, again and again until it is.
    void ask_removal(const NodeName& id);
    /// Empty: to whoever is fittest. Answered by take_outcomes().
    Result<> transfer(std::uint64_t id, const NodeName& target);
    /// As leader: become a follower without a successor named; an election follows.
    Result<> step_down(const std::string& why);
    /// As leader: a member without a configuration asks to be let in, which this disk of it is part of.
    void note_joining(const NodeName& id, DirectoryId directory, std::uint32_t priority);
    /// Members, perhaps this one, whose state is known to be wrong: they vote and acknowledge, and do not lead unless
    /// nobody else can, and then only to hand on what they alone hold.
    void set_unfit(std::set<NodeName> members) { unfit_ = std::move(members); }
    /// The hard state is written with the next Output, also where nothing of it changed.
    void write_hard_state() { hard_dirty_ = hard_dirty_ || !hard_in_flight_; }
    /// An orderly stop: leadership goes to another, if there is one to take it.
    void leave();
    [[nodiscard]] bool left() const;

    // ---- The disk ----
    /// What is true whatever a crash makes this member forget. At any time.
    std::vector<Outbound> take_messages() { return std::exchange(messages_, {}); }
    /// Precondition: the Output before was persisted, or not_persisted().
    Output take_output();
    std::vector<ChangeOutcome> take_outcomes() { return std::exchange(outcomes_, {}); }
    void persisted();
    /// The disk had no room: nothing of the Output's entries was logged. Proposals behind them move up by so many indexes,
    /// or are dropped (Output::dropped_after).
    std::uint64_t not_persisted();
    void applied(LogIndex last);
    void log_reset();  // Output::reset_log is done
    [[nodiscard]] bool accepts_snapshot(const NodeName& from, Term term, LogIndex index, std::string& reason) const;
    void snapshot_installed(LogIndex index, Term term, LogIndex configuration_index, Configuration configuration);
    void snapshot_sent(const NodeName& to, std::optional<LogIndex> index);
    void disk_stalled(bool stalled) { disk_stalled_ = stalled; }
    /// Entries from here on are wanted by a member that is not dead for good.
    [[nodiscard]] std::optional<LogIndex> wanted_from() const;

    // ---- What is ----
    [[nodiscard]] Role role() const noexcept { return role_; }
    [[nodiscard]] Term term() const noexcept { return hard_.term; }
    [[nodiscard]] const NodeName& leader() const noexcept { return leader_; }
    [[nodiscard]] const NodeName& voted_for() const noexcept { return hard_.voted_for; }
    [[nodiscard]] LogIndex committed() const noexcept { return committed_; }
    [[nodiscard]] LogIndex applied_index() const noexcept { return applied_; }
    [[nodiscard]] const RaftLog& log() const noexcept { return log_; }
    [[nodiscard]] const Configuration& configuration() const noexcept { return configurations_.back().second; }
    [[nodiscard]] LogIndex configuration_index() const noexcept { return configurations_.back().first; }
    /// That of the newest configuration entry at or before the applied index; for a witness's own record.
    [[nodiscard]] const std::pair<LogIndex, Configuration>& applied_configuration() const;
    [[nodiscard]] bool is_member() const { return configuration().find(start_.self) != nullptr; }
    /// It got the state of a group that never had it as a member, as far as is committed, and no leader speaks to it: what added
    /// it was given up. After a restart it counts as taken out: whether it never was a member is not known then.
    [[nodiscard]] bool left_out() const;
    [[nodiscard]] bool initialized() const { return !configuration().members.empty(); }
    /// Its configuration is an entry of the log, no longer what bootstrap() was given.
    [[nodiscard]] bool formed() const { return configuration_index().value > 0; }
    /// A leader's, of one peer. nullptr: not the leader, or no such peer.
    [[nodiscard]] const Progress* progress(const NodeName& peer) const;
    /// It leads, has committed and applied an entry of its term, and is not handing over: the term in which it may write,
    /// else 0.
    [[nodiscard]] Term write_term() const;
    [[nodiscard]] bool transferring() const { return transfer_.has_value(); }
    [[nodiscard]] std::uint64_t leader_silent_ticks() const { return tick_ - leader_heard_tick_; }
    [[nodiscard]] bool is_up(const NodeName& peer) const { return up_.contains(peer); }
    /// As leader: within an election time-out.
    [[nodiscard]] bool is_heard(const NodeName& peer) const;
    [[nodiscard]] bool has_reachable_majority() const;
    /// As leader: all members have the log on disk up to here.
    [[nodiscard]] LogIndex held_by_everyone() const;
    /// As leader: one that must be waited for until all hold anything, as it has not been heard; empty: there is none.
    [[nodiscard]] NodeName missing_member() const;
    [[nodiscard]] bool needs_snapshot() const { return needs_snapshot_; }
    [[nodiscard]] DirectoryId directory() const noexcept { return hard_.directory; }
    /// Its directory id is new and not on disk yet: it may say nothing that counts.
    [[nodiscard]] bool directory_pending() const { return start_.directory_is_new && !directory_is_durable_; }
    [[nodiscard]] std::uint64_t leader_changes() const { return leader_changes_; }
    /// As leader: a majority was heard within an election time-out.
    [[nodiscard]] bool has_quorum() const;
    /// Why it does not lead or take writes, and what would help; for people.
    [[nodiscard]] std::string why_no_leader() const;
    /// The group goes on without this member: another said so, its own log does, or it led until it was taken out.
    [[nodiscard]] LogIndex removed_at() const { return hard_.removed_at; }
    [[nodiscard]] bool removed() const { return hard_.removed_at.value > 0; }

    /// What must hold between any two calls (thesis figure 3.2 and the rules of modes/raft/core/core.cc). Aborts by
    /// NORNIC_CHECK; for tests, the simulator and debug builds.
    void check_invariants() const;

private:
    static constexpr std::uint64_t kEntryBytes = 64;  // what an entry costs beside its payload

    struct Transfer {
        std::uint64_t id = 0;
        NodeName target;
        std::uint64_t began_tick = 0;
        bool sent = false;
    };
    /// Of a member that wants to be taken out.
    struct Departure {
        std::uint64_t round = 0;  // those that stay are to answer this one, or a later
        std::uint64_t tick = 0;   // when it asked last
    };
    struct PendingChange {
        std::uint64_t id = 0;
        LogIndex index;       // of the entry that ends it
        std::string sentence;
    };
    struct WaitingRead {
        ReadId id;            // of this member, or
        NodeName from;        // of a follower that asked, with
        std::uint64_t context = 0;
        LogIndex index;
        std::uint64_t round = 0;
        HeldBy held_by = HeldBy::kMajority;
        std::uint64_t tick = 0;  // when it came
    };
    struct AskedRead {
        ReadId id;
        HeldBy held_by = HeldBy::kMajority;
        std::uint64_t tick = 0;  // when it came
    };

    // core.cc
    void event(std::string text) { out_.events.push_back(std::move(text)); }
    void say(const NodeName& to, Lane lane, Body body);
    void say_after_persist(const NodeName& to, Lane lane, Body body);
    [[nodiscard]] bool hard_state_pending() const { return hard_dirty_ || hard_in_flight_; }
    /// `why`: the leader until now leads no more, where there is none to take its place yet.
    void become_follower(Term term, const NodeName& leader, std::string_view why = {});
    void note_leader(const NodeName& to, std::string reason);
    /// That of this member has not been heard, as far as it shows here.
    [[nodiscard]] std::string why_leader_is_missed() const;
    void set_term(Term term);
    [[nodiscard]] bool may_campaign(bool asked_to = false) const;
    [[nodiscard]] std::uint32_t random_timeout();
    void append_entry(EntryPtr entry);
    /// As leader, behind all others; its place.
    LogIndex append_own(EntryKind kind, std::string payload, std::uint64_t hybrid_time);
    void truncate_log(LogIndex keep);
    void push_configuration(LogIndex index, Configuration configuration);
    void commit_to(LogIndex index);
    void note_removed(LogIndex at, std::string_view how);
    /// The newest that is known to be committed; nullptr: none is.
    [[nodiscard]] const std::pair<LogIndex, Configuration>* committed_configuration() const;
    void note_not_removed();
    /// By a configuration that is applied, or one behind it.
    [[nodiscard]] bool has_been_member() const;
    /// For what only a leader can do.
    [[nodiscard]] Error not_leader() const;

    // election.cc
    void campaign(bool pre_vote, bool transfer);
    void send_vote_requests(bool pre_vote, bool transfer);
    void count_votes();
    void become_leader();
    void stop_leading(const std::string& why);
    void on_vote_request(const NodeName& from, const VoteRequest& m);
    void on_vote_response(const NodeName& from, const Message& message, const VoteResponse& m);
    void on_timeout_now(const NodeName& from, const TimeoutNow& m);
    void watch_election();
    void suspect_leader(const NodeName& peer);
    [[nodiscard]] bool leader_is_alive() const;
    /// Messages of a voter that lost its disk count for nothing until the leader has taken note (practice A9).
    [[nodiscard]] bool speaks_for_member(const NodeName& from, DirectoryId directory) const;

    // replication.cc
    void replicate(const NodeName& to, Progress& progress, LogIndex limit, std::vector<Outbound>& out);
    void replicate_all(LogIndex limit, std::vector<Outbound>& out);
    void send_heartbeats();
    void advance_commit();
    void on_append_entries(const NodeName& from, const AppendEntries& m);
    void on_append_response(const NodeName& from, const Message& message, const AppendResponse& m);
    void on_heartbeat(const NodeName& from, const Heartbeat& m);
    void on_heartbeat_response(const NodeName& from, const Message& message, const HeartbeatResponse& m);
    void tell_promptly(const NodeName& to, Progress& progress);
    void on_log_reset(const NodeName& from, const LogReset& m);
    void on_not_member(const NotMember& m);
    void acknowledge();
    void watch_followers();
    [[nodiscard]] bool is_witness(const NodeName& id) const;
    void need_snapshot(const NodeName& to, Progress& progress);
    Progress* heard_follower(const NodeName& from, const Message& message);
    /// Whether that is news.
    bool note_match(Progress& progress, LogIndex match);
    void tell_commit(const NodeName& to, Progress& progress);
    [[nodiscard]] bool is_far_behind(const Progress& progress) const;
    [[nodiscard]] bool may_wait(const NodeName& to) const;
    /// Entries up to here may go to it.
    [[nodiscard]] LogIndex sendable(const NodeName& to, LogIndex limit) const;

    // reads.cc
    void on_read_request(const NodeName& from, const ReadIndexRequest& m);
    void on_read_response(const NodeName& from, const ReadIndexResponse& m);
    void ask_leader_again();
    void give_up_old_reads();
    void start_read_round();
    void release_reads();
    void answer_read(const WaitingRead& read);
    /// Of those that everyone must hold, the ones that everyone does.
    void release_held_reads();
    void refuse_reads(const Error& error);

    // membership.cc
    void propose_configuration(Configuration next);
    void continue_membership();
    void continue_departures();
    /// This leader, and whoever has answered this heartbeat round of it or a later one.
    [[nodiscard]] bool has_answered(const NodeName& id, std::uint64_t round) const;
    void note_directory(const NodeName& from, DirectoryId directory);
    void note_kept_out(const NodeName& id, const std::string& why);
    void sync_progress_with_members();
    void settle_changes();
    /// continue_transfer() does it.
    void begin_transfer(std::uint64_t id, const NodeName& target, std::string sentence);
    void continue_transfer();
    void hand_over_to_better();
    /// As leader: there is a connection, and it answered within a few heartbeats.
    [[nodiscard]] bool is_heard_lately(const NodeName& peer) const;
    [[nodiscard]] std::optional<NodeName> fittest_successor(bool of_any_kind = false) const;

    const Start start_;
    const Settings settings_;
    RaftLog log_;
    Random random_;

    // What the disk remembers, or is about to.
    HardState hard_;
    bool hard_dirty_ = false;
    bool hard_in_flight_ = false;
    bool directory_is_durable_ = false;

    std::uint64_t tick_ = 0;
    Role role_ = Role::kFollower;
    NodeName leader_;  // of hard_.term; empty: not known
    NodeName last_leader_;         // the last that was known
    std::string leader_lost_why_;  // since it leads no more
    LogIndex committed_;
    LogIndex applied_;
    /// Effective from the moment that they are in the log (thesis 4.1); the first is applied, those behind it may be taken
    /// back with the log.
    std::deque<std::pair<LogIndex, Configuration>> configurations_;
    std::set<NodeName> up_;    // a connection is there
    std::set<NodeName> down_;  // it was and is not
    std::map<NodeName, bool> said_witness_;  // of all that were ever up
    std::set<NodeName> new_disks_;  // without a leader: heard of with another disk than the group counts on

    // As follower.
    std::uint64_t leader_heard_tick_ = 0; // or a vote was given
    std::uint64_t leaderless_tick_ = 0;   // there was a leader last
    std::uint64_t timeout_ticks_ = 0;     // of this wait, drawn
    std::uint64_t suspect_at_tick_ = 0;   // not 0: the leader's process seems to have ended; campaign then
    LogIndex matched_;                    // equal to the log of this term's leader up to here
    bool acknowledge_due_ = false;
    bool needs_snapshot_ = false;
    Term readers_told_term_;              // when the leader was last told that readers wait, and
    std::uint64_t readers_told_tick_ = 0;
    std::optional<LogReset> log_reset_;

    // As candidate.
    std::map<NodeName, bool> votes_;
    bool own_vote_durable_ = false;

    // As leader.
    std::map<NodeName, Progress> followers_;
    LogIndex term_begins_;                // this term's no-op
    std::uint64_t round_ = 0;             // newest heartbeat round sent
    std::map<NodeName, std::uint64_t> answered_round_;
    std::map<NodeName, Departure> departures_;
    std::uint64_t heartbeat_tick_ = 0;
    std::deque<WaitingRead> reads_;
    std::deque<WaitingRead> held_reads_;  // confirmed, and not held by everyone yet
    std::set<std::pair<NodeName, std::uint64_t>> held_contexts_;  // of the followers' among them
    std::map<std::uint64_t, AskedRead> asked_leader_;  // as follower: by the context of each read that the leader was asked
    std::uint64_t asked_again_ = 0;                    // the last context of the last round of repetition
    std::uint64_t next_context_ = 0;
    std::uint64_t asked_tick_ = 0;
    std::optional<Transfer> transfer_;
    std::uint64_t prefer_again_tick_ = 0;  // leadership is offered to a preferred member not before
    /// A member that was to lead and did not is not preferred again soon, whoever led meanwhile.
    struct Declined {
        std::uint32_t times = 0;
        std::uint64_t until_tick = 0;
    };
    std::map<NodeName, Declined> declined_;
    bool began_outside_ = false;  // this process began without a group
    std::deque<PendingChange> changes_;
    std::map<NodeName, DirectoryId> seen_directories_;
    std::map<NodeName, std::uint32_t> asked_priorities_;  // of those that asked to be let in
    std::map<NodeName, std::string> kept_out_;  // why a disk that was seen does not count; said once
    std::set<NodeName> foreign_;          // hold data of another group
    std::set<NodeName> unfit_;            // lead as a last resort alone, to hand over
    std::map<NodeName, std::uint64_t> snapshot_retry_tick_;  // of those for whom one failed
    // The append that was made last: followers in step are sent the same object.
    std::shared_ptr<const Message> last_append_;
    LogIndex last_append_from_;
    LogIndex last_append_limit_;
    LogIndex last_append_commit_;
    LogIndex last_append_last_;
    Term last_append_term_;
    std::size_t last_append_bytes_ = 0;
    std::optional<std::int64_t> catch_up_left_;  // below 0: more went than might
    std::uint64_t written_bytes_ = 0;            // of own entries, since that was set
    std::size_t uncommitted_bytes_ = 0;
    std::deque<std::pair<LogIndex, std::size_t>> sizes_;  // of proposals past committed_
    bool disk_full_ = false;              // entries found no room since some were last written
    std::uint64_t leave_full_disk_tick_ = 0;  // leadership is handed over from then on
    bool wrote_entries_ = false;          // the Output under way has some
    std::uint64_t no_campaign_before_tick_ = 0;

    std::uint64_t last_hybrid_time_ = 0;
    bool leaving_ = false;
    bool disk_stalled_ = false;
    std::uint64_t leader_changes_ = 0;
    std::vector<Outbound> messages_;
    std::vector<ChangeOutcome> outcomes_;
    Output out_;
};

}  // namespace nornic::raft
