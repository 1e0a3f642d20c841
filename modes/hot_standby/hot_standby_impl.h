// The inside of hot standby: one class in four files. hot_standby.cc is its life and what comes in, roles.cc who leads
// and how that changes, primary.cc shipping and committing, standby.cc following.
#pragma once

#include "modes/hot_standby/epoch_table.h"
#include "modes/hot_standby/hot_standby.h"

#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace nornic::modes {

class HotStandby final : public Strategy {
public:
    HotStandby(const StrategyStart& start, const HotStandbySettings& settings);

    [[nodiscard]] std::string_view name() const noexcept override { return "ha_standby"; }
    void allow_catch_up(std::uint64_t bytes) override;
    [[nodiscard]] bool catches_up() const override;
    void tick() override;
    void paused(std::uint64_t ticks) override;
    void peer_up(const PeerInfo& peer) override;
    void peer_down(const NodeName& peer, transport::LostReason reason) override;
    void step(const NodeName& from, const ClusterMessage& message) override;
    Result<> propose(ProposalId id, std::string write_set, std::uint64_t hybrid_time) override;
    Result<> read(ReadId id, ReadConsistency level) override;
    Result<> expect(ReadConsistency level) override;
    [[nodiscard]] LogIndex acknowledged(ReadConsistency level) const override;
    Result<> command(std::uint64_t id, const Command& command) override;
    std::vector<CommandAnswer> take_answers() override { return std::exchange(answers_, {}); }
    void leave() override;
    [[nodiscard]] bool left() const override;
    std::vector<Outbound> take_messages() override { return std::exchange(messages_, {}); }
    [[nodiscard]] bool may_gather() const override;
    Ready take_ready() override;
    void persisted(LogIndex last) override;
    void not_persisted(LogIndex first) override;
    void applied(LogIndex last) override;
    void rewound(LogIndex last, bool taken_back) override;
    bool accepts_snapshot(const NodeName& from,
                          Term epoch,
                          LogIndex index,
                          std::string_view history,
                          std::string& reason) override;
    void snapshot_installed(const InstalledSnapshot& installed) override;
    void snapshot_sent(const NodeName& to, std::optional<LogIndex> index) override;
    void disk_stalled(bool stalled) override { disk_stalled_ = stalled; }
    [[nodiscard]] std::optional<LogIndex> wanted_from() const override;
    [[nodiscard]] Term write_term() const override;
    [[nodiscard]] ClusterView view() const override;

private:
    enum class State : std::uint8_t {
        kAsking,     // started; nobody is known to lead
        kStandby,    // follows peer_
        kPromoting,  // its own epoch is on its way to the disk
        kPrimary,
    };
    /// How this member is trying to become the primary.
    enum class Claim : std::uint8_t {
        kNone,
        kConsent,  // neither leads; the peer agrees that this one has the better log
        kPlanned,  // the primary hands over
        kVote,     // the primary is silent; the witness decides
    };
    struct Peer {
        PeerInfo info;
        bool up = false;
        bool seen = false;  // it ever answered in this life of ours
        std::uint64_t heard_tick = 0;
        LogIndex last_index;
        Term last_epoch;
        LogIndex applied;
        // Where this member, as primary, stands with it.
        LogIndex next{1};
        LogIndex received;   // its log equals ours up to here
        LogIndex persisted;  // and is synced up to here
        bool probing = true;                 // `next` is a guess: one batch at a time until it is confirmed
        bool waiting_for_probe = false;
        std::uint64_t probe = 0;             // the newest that was sent
        std::deque<LogIndex> inflight;       // the last index of each batch sent and not acknowledged
        std::uint64_t progress_tick = 0;
        bool sending_snapshot = false;
        bool other_history = false;          // its last answer named another history than ours
        bool foreign = false;                // holds data of another history
        std::uint64_t sequence_at_progress = 0;
        std::uint64_t hold_until_tick = 0;   // it lost what it had received; no hurry to send it again
        bool noted_in_sync = false;          // what it last said to have noted of in_sync_
        std::uint64_t answered_in_epoch = 0; // the newest heartbeat of this epoch that it answered
        std::uint64_t answered_tick = 0;     // when that was heard
        bool leaving = false;                // it stops, and will not take over
        std::uint64_t answered = 0;          // the newest heartbeat that it answered
    };
    /// The standby whose place another member took, while it may still take over: the new one's word is none of its.
    struct Former {
        NodeName id;
        std::uint64_t answered_in_epoch = 0;  // as in Peer
        std::uint64_t answered_tick = 0;
    };
    // hot_standby.cc
    [[nodiscard]] bool is_away(const Peer& peer) const;
    void fill_place();
    void event(std::string text) { ready_.events.push_back(std::move(text)); }
    /// Who leads now; empty: nobody.
    void note_leader(const NodeName& to, std::string reason);
    void say(const NodeName& to, Lane lane, ClusterMessage message);
    /// Not before the epoch that is known here is on disk.
    void say_after_persist(const NodeName& to, Lane lane, ClusterMessage message);
    [[nodiscard]] bool hard_state_pending() const { return hard_dirty_ || hard_in_flight_; }
    /// Data of another cluster than what is held here: whatever epoch it counts in is none of this member's.
    [[nodiscard]] bool is_foreign(std::string_view history, LogIndex last) const {
        return !history.empty() && history != history_ && last_.value > 0 && last.value > 0;
    }
    [[nodiscard]] bool is_witness(const NodeName& id) const { return witness_.seen && id == witness_.info.id; }
    [[nodiscard]] Term term_of(LogIndex index) const;
    void append(Entry entry);
    void trim_tail();
    void forget_after(LogIndex keep);
    void forget_unwritten(LogIndex keep);
    [[nodiscard]] std::size_t unpersisted_bytes() const { return unwritten_bytes_ + writing_bytes_; }
    /// Proposals placed behind `keep` that nobody was shown.
    void refuse_placed(LogIndex keep);
    /// Numbers from outside that no honest member can have reached.
    [[nodiscard]] static bool absurd(const ClusterMessage& message);
    [[nodiscard]] std::string why_no_primary() const;
    [[nodiscard]] std::uint64_t silent_ticks() const { return tick_ - primary_heard_tick_; }
    [[nodiscard]] transport::StandbySettings said_settings() const;
    /// Once, until they differ in another way.
    void compare_settings(const NodeName& from, const transport::StandbySettings& theirs);
    [[nodiscard]] std::string in_seconds(std::uint64_t ticks) const;
    [[nodiscard]] std::string_view role_name() const { return settings_.configured_primary ? "primary" : "standby"; }
    [[nodiscard]] std::string peer_name() const { return peer_.seen ? peer_.info.id : std::string{"the peer"}; }

    // roles.cc
    void adopt(Term epoch, const NodeName& primary);
    void follow(const NodeName& primary);
    void step_down(const std::string& why);
    void ask();
    /// Neither leads. The one with the better log does, or the one whose disk has room, or the one that led last, or the configured one.
    void decide_with_peer(Term epoch, const NodeName& led_last, Term last_epoch, LogIndex last_index, bool no_room_there);
    /// It would have led, and its disk had no room for that a moment ago.
    [[nodiscard]] bool no_room_to_lead() const { return tick_ < no_room_to_lead_until_tick_; }
    void note_no_room_to_lead();
    void start_claim(Claim claim, std::string why);
    void send_claim();
    [[nodiscard]] ClusterMessage make_fence(bool planned, bool forced) const;
    void fence_peer();
    void end_claim(const std::string& why_not);
    void promote(const std::string& why);
    void give_promotion_up();
    /// It was the primary of the newest epoch that it knows, and has its first entry to show for it.
    [[nodiscard]] bool led_last() const;
    void lead();
    void consider_failover();
    [[nodiscard]] Term next_epoch() const;
    [[nodiscard]] bool log_at_least(Term last_epoch, LogIndex last_index) const;
    [[nodiscard]] Result<> may_promote(bool force) const;
    [[nodiscard]] std::string why_not_by_itself() const;  // empty: it may lead
    void on_heartbeat(const NodeName& from, const transport::Heartbeat& m);
    void on_heartbeat_response(const NodeName& from, const transport::HeartbeatResponse& m);
    void on_fence(const NodeName& from, const transport::Fence& m);
    void on_fence_response(const NodeName& from, const transport::FenceResponse& m);
    void on_vote_response(const NodeName& from, const transport::VoteResponse& m);
    void on_promote(const NodeName& from, const transport::Promote& m);
    void answer_fence(const NodeName& to, const transport::Fence& asked, bool accepted, const std::string& reason);
    void continue_hand_over();
    void consider_switch_over();
    void watch_claim();
    void answer_commands(const Result<std::string>& outcome);

    // primary.cc
    void send_heartbeats();
    void ship(LogIndex limit, std::vector<Outbound>& out);
    [[nodiscard]] std::optional<ClusterMessage> make_batch(LogIndex limit);
    [[nodiscard]] bool is_far_behind() const;
    /// How long a standby that was heard last then can still take over by itself.
    [[nodiscard]] std::uint64_t ticks_left_to_take_over(std::uint64_t answered_tick) const;
    [[nodiscard]] bool follows_closely() const;
    void watch_former();
    /// No write waits for what the standby receives.
    [[nodiscard]] bool may_wait() const;
    void ask_for_snapshot();
    void lost_contact();
    void on_batch_response(const NodeName& from, const transport::WALBatchResponse& m);
    void advance_commit();
    /// What a primary decided on alone counts as long as it may: not once it was stopped, or deposed, before that was
    /// carried out.
    [[nodiscard]] LogIndex still_committed() const;
    void watch_standby();
    void set_in_sync(bool in_sync);
    /// The standby holds all that was committed.
    [[nodiscard]] bool standby_holds_all() const;
    [[nodiscard]] bool note_delivered() const;
    /// semi_sync: neither in sync nor sure that the standby knows.
    [[nodiscard]] bool waits_to_go_alone() const;
    [[nodiscard]] std::string what_it_waits_for() const;
    [[nodiscard]] std::uint64_t ticks_until_alone() const;
    [[nodiscard]] bool lease_holds() const;
    [[nodiscard]] Result<> may_write() const;
    /// A switch-over stops writes until the standby holds all of them: it begins only where little is left.
    [[nodiscard]] Result<> may_hand_over() const;
    /// Why the standby cannot confirm what is asked of it.
    [[nodiscard]] Result<> standby_is_there(ReadConsistency level) const;
    void release_held_reads();

    // standby.cc
    /// What "in sync" meant when it was said is true for a while: a primary that hears nothing from here goes on alone.
    [[nodiscard]] bool in_sync_ends() const;
    [[nodiscard]] std::uint64_t in_sync_until_tick() const;
    /// This member holds all that was acknowledged.
    [[nodiscard]] bool is_in_sync() const;
    void note_answer(std::uint64_t sequence);
    /// When this member gave that answer; nullopt: it did not, in this life and epoch.
    [[nodiscard]] std::optional<std::uint64_t> answer_tick(std::uint64_t sequence) const;
    void on_batch(const NodeName& from, const transport::WALBatch& m);
    void acknowledge(transport::WALBatchResponse::Outcome outcome, LogIndex try_index = {}, std::uint64_t probe = 0);
    void start_rewind(LogIndex keep);
    void note_primary_epochs(const transport::WALBatch& m);
    /// What both tables tell of where the logs part. true: the batch is answered.
    [[nodiscard]] bool compare_histories(const transport::WALBatch& m);
    [[nodiscard]] LogIndex start_of_epoch_run(LogIndex at) const;

    const StrategyStart start_;
    const HotStandbySettings settings_;
    std::string history_;
    State state_ = State::kAsking;
    std::uint64_t tick_ = 0;

    // What the disk remembers, or is about to.
    Term epoch_;
    NodeName primary_;  // of epoch_, as far as is known here
    bool hard_dirty_ = false;
    bool hard_in_flight_ = false;

    // The log. applied_ <= committed_ <= last_; persisted_ <= taken_ <= last_.
    LogIndex last_;
    Term last_epoch_;
    LogIndex taken_;
    LogIndex persisted_;
    LogIndex committed_;
    LogIndex carried_out_;  // what of it was handed to the driver
    LogIndex applied_;
    LogIndex matched_;  // as standby: equal to the log of this epoch's primary up to here
    std::uint64_t last_hybrid_time_ = 0;
    std::deque<Entry> tail_;  // consecutive, up to last_; everything past persisted_ is in it
    std::size_t tail_bytes_ = 0;
    std::size_t unwritten_bytes_ = 0;  // in ready_.entries
    std::size_t writing_bytes_ = 0;    // taken and not yet persisted
    EpochTable epochs_;          // of this log
    EpochTable primary_epochs_;  // of the primary's, as last heard
    bool rewinding_ = false;
    std::optional<LogIndex> rewind_to_;
    bool needs_snapshot_ = false;
    bool holds_lost_branch_ = false;  // the state here does: until a snapshot has replaced it, or a restart has read its log again
    bool said_unknown_kind_ = false;  // it is sent again and again

    // Proposals.
    std::size_t inflight_bytes_ = 0;
    std::deque<std::pair<LogIndex, std::size_t>> sizes_;  // of this primary's entries past applied_
    std::uint64_t written_bytes_ = 0;           // since that was allowed:
    std::optional<std::int64_t> catch_up_left_;  // bytes that may go to a standby that is far behind; nullopt: nobody counts

    // Neighbours.
    Peer peer_;
    Peer witness_;
    std::map<NodeName, PeerInfo> beside_;  // connected, and there is no place for them
    std::map<NodeName, std::string> settings_differ_;  // what was said of it last

    // As primary.
    LogIndex epoch_begins_;  // this epoch's first entry: until it is applied, a transaction would not see all before it
    bool in_sync_ = false;         // nothing is acknowledged without the standby
    std::uint64_t note_sequence_ = 0;  // the heartbeat that first said so of in_sync_ == false
    bool alone_ = true;            // and may acknowledge without it: it knows, or cannot take over
    bool degraded_ = false;        // said so to the operator
    bool said_waiting_ = false;
    std::uint64_t unsynced_since_tick_ = 0;
    std::optional<std::uint64_t> commit_waits_since_tick_;
    std::uint64_t sequence_ = 0;
    std::deque<std::pair<std::uint64_t, std::uint64_t>> sent_;  // heartbeat sequence and its tick
    std::uint64_t lease_tick_ = 0;  // when the newest answered heartbeat was sent
    bool lease_lost_ = false;
    std::optional<Former> former_;  // of a primary
    std::uint64_t persist_wanted_tick_ = 0;  // when somebody last waited for what the standby has on disk; 0: never
    std::vector<ReadPoint> held_reads_;      // of level ALL, until it has
    std::optional<transport::Fence> hand_over_;  // a planned Fence that is being carried out
    NodeName hand_over_to_;
    std::uint64_t hand_over_tick_ = 0;

    // As standby.
    std::uint64_t primary_heard_tick_ = 0;
    std::uint64_t heard_sequence_ = 0;  // the newest heartbeat of this epoch's primary, which leads but once in an epoch
    LogIndex said_received_;     // in this epoch; what it forgot of that makes it unfit until it has it again
    bool told_in_sync_ = false;  // the primary acknowledges nothing without this member
    std::uint64_t told_tick_ = 0;  // or did so then, at least
    std::deque<std::pair<std::uint64_t, std::uint64_t>> answers_given_;  // heartbeat sequence and the tick of its answer
    bool acknowledge_persisted_ = false;
    bool compared_ = false;  // matched_ was found in this epoch
    bool left_out_ = false;  // entries came that its disk is too far behind for; they are asked for once it has caught up
    bool no_room_ = false;  // entries were received that the disk had no room for; acknowledge what is written alone
    bool foreign_ = false;  // the primary has other data than this member

    // Becoming primary.
    Claim claim_ = Claim::kNone;
    Term claim_epoch_;
    std::uint64_t claim_tick_ = 0;
    std::string claim_why_;
    Term peer_epoch_;  // the newest that the peer or the witness spoke of
    std::string waiting_why_;  // why nobody leads, for people
    std::uint64_t no_room_to_lead_until_tick_ = 0;
    std::string promoted_why_;
    std::optional<std::uint64_t> lead_before_tick_;  // the promotion under way rests on in_sync_until_tick()
    NodeName last_leader_;         // the last that was known to lead, in this life
    std::string leader_lost_why_;  // since it leads no more
    std::vector<std::uint64_t> promote_commands_;
    bool restart_promotion_ = false;  // started with the other role
    std::uint64_t switch_over_tick_ = 0;  // not before it is asked for again because of that
    bool leaving_ = false;      // as primary
    bool withdrawing_ = false;  // as standby, which a primary is once it has handed over
    std::uint64_t withdrew_sequence_ = 0;  // the heartbeat of this epoch whose answer first said so
    bool withdrawn_ = false;    // and the primary knows

    bool disk_stalled_ = false;
    std::uint64_t leader_changes_ = 0;
    std::uint64_t last_heartbeat_tick_ = 0;
    std::vector<Outbound> messages_;
    std::vector<CommandAnswer> answers_;
    Ready ready_;
};

}  // namespace nornic::modes
