// The inside of the mode: Core behind the driver's verbs. strategy.cc carries proposals, reads and messages; commands.cc is
// what operators ask and see; forming.cc how a member without a group gets into one; digest.cc compares what members hold.
#pragma once

#include "modes/raft/core/core.h"
#include "modes/raft/raft.h"

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace nornic::modes {

/// The driver's log as the core reads it.
class DriverLog final : public raft::Storage {
public:
    explicit DriverLog(LogReader& log) : log_{log} {}
    [[nodiscard]] LogIndex first_index() const override { return log_.first_index(); }
    [[nodiscard]] LogIndex last_index() const override { return log_.last_index(); }
    Result<Term> term_at(LogIndex index) override { return log_.term_at(index); }
    Result<std::vector<raft::Entry>> read(LogIndex from, LogIndex to, std::size_t bytes) override;

private:
    LogReader& log_;
};

class Raft final : public Strategy {
public:
    Raft(const StrategyStart& start, const RaftSettings& settings);

    [[nodiscard]] std::string_view name() const noexcept override { return "raft"; }
    void allow_catch_up(std::uint64_t bytes) override { core_.allow_catch_up(bytes); }
    [[nodiscard]] bool catches_up() const override { return core_.catches_up(); }
    void tick() override;
    void paused(std::uint64_t ticks) override { core_.paused(ticks); }
    void peer_up(const PeerInfo& peer) override;
    void peer_down(const NodeName& peer, transport::LostReason reason) override;
    void step(const NodeName& from, const ClusterMessage& message) override;
    Result<> propose(ProposalId id, std::string write_set, std::uint64_t hybrid_time) override;
    Result<> read(ReadId id, ReadConsistency level) override;
    void readers_wait() override { core_.readers_wait(); }
    Result<> expect(ReadConsistency level) override;
    [[nodiscard]] LogIndex acknowledged(ReadConsistency level) const override;
    Result<> command(std::uint64_t id, const Command& command) override;
    std::vector<CommandAnswer> take_answers() override { return std::exchange(answers_, {}); }
    void leave() override;
    [[nodiscard]] bool left() const override;
    std::vector<Outbound> take_messages() override;
    Ready take_ready() override;
    void persisted(LogIndex last) override;
    void not_persisted(LogIndex first) override;
    void applied(LogIndex last) override;
    void state_digest(LogIndex index, const Result<std::uint64_t>& digest) override;
    [[nodiscard]] bool serves() const override { return !quarantine_.has_value(); }
    void log_reset() override;
    bool accepts_snapshot(const NodeName& from,
                          Term term,
                          LogIndex index,
                          std::string_view history,
                          std::string& reason) override;
    void snapshot_installed(const InstalledSnapshot& snapshot) override;
    void snapshot_sent(const NodeName& to, std::optional<LogIndex> index) override;
    void disk_stalled(bool stalled) override { core_.disk_stalled(stalled); }
    [[nodiscard]] std::optional<LogIndex> wanted_from() const override;
    [[nodiscard]] Term write_term() const override { return quarantine_ ? Term{0} : core_.write_term(); }
    [[nodiscard]] LogIndex committed() const override { return core_.committed(); }
    [[nodiscard]] ClusterView view() const override;

private:
    // strategy.cc
    [[nodiscard]] bool holds_data() const;
    [[nodiscard]] bool is_witness() const { return settings_.role == RaftRole::kWitness; }
    void event(std::string text) { events_.push_back(std::move(text)); }
    void error(std::string text) { errors_.push_back(std::move(text)); }
    void say(const NodeName& to, ClusterMessage message);
    [[nodiscard]] bool is_of_another_group(const PeerInfo& peer) const;
    void meet(const PeerInfo& peer);
    void translate(std::vector<raft::Outbound>&& from, std::vector<Outbound>& to);
    [[nodiscard]] std::string hint() const;
    [[nodiscard]] Error with_hint(const Error& error) const;
    [[nodiscard]] std::string extra() const;
    /// A witness's with this configuration.
    [[nodiscard]] std::string extra(LogIndex configuration_index, const std::string& configuration) const;
    void apply_as_witness();
    void consider_checkpoint();

    // commands.cc
    void on_promote(const NodeName& from);
    void on_promote_response(const transport::PromoteResponse& m);
    void watch_promotion();
    [[nodiscard]] Result<> add_member(std::uint64_t id, const Command& command);

    // forming.cc
    void form();
    void ask_to_join(const NodeName& peer);
    void on_join_request(const NodeName& from, const transport::JoinRequest& m);
    void on_join_response(const NodeName& from, const transport::JoinResponse& m);
    void ask_to_leave();
    void note_group();
    /// It asks to be taken in: it belongs to no group, or what added it was given up.
    [[nodiscard]] bool is_outside() const { return !core_.formed() || core_.left_out(); }
    void consider_bootstrap();
    void watch_members();
    /// Whom the bus should dial, if that is news; looked at once a tick.
    [[nodiscard]] std::optional<std::vector<std::string>> dial();

    // digest.cc
    struct Comparison {
        LogIndex index;  // of the mark
        std::uint64_t began_tick = 0;
        std::uint64_t own_ticks = 0;  // that this member needed; 0: it is not done
        std::map<NodeName, Result<std::uint64_t>> answers = {};
    };
    void watch_digests();
    void begin_comparison();
    void watch_comparison();
    void judge(const Comparison& comparison, const std::vector<NodeName>& members);
    void on_state_digest(const NodeName& from, const transport::StateDigest& m);
    void on_state_verdict(const NodeName& from, const transport::StateVerdict& m);
    void tell_verdict(const NodeName& to, LogIndex index, transport::StateVerdict::Kind kind);
    void take_verdict(LogIndex index, transport::StateVerdict::Kind kind);
    void enter_quarantine(LogIndex index);
    void leave_quarantine();
    void note_unfit();
    [[nodiscard]] std::string why_quarantined() const;
    [[nodiscard]] std::vector<NodeName> data_members() const;
    [[nodiscard]] std::uint64_t ticks_of(std::uint64_t ms) const;

    const StrategyStart start_;
    const RaftSettings settings_;
    std::string history_;
    mutable DriverLog log_;
    raft::Core core_;
    std::uint64_t tick_ = 0;

    struct Offered {
        ProposalId id;
        LogIndex index;
        Term term;
    };
    std::deque<Offered> placed_;  // not handed out yet
    std::map<NodeName, PeerInfo> infos_;
    std::set<NodeName> foreign_;  // connected, and with data of another group: not listened to

    // Checkpoints.
    LogIndex checkpoint_index_;
    std::uint64_t checkpoint_tick_ = 0;
    bool checkpoint_due_ = false;

    // What the hard state last carried.
    LogIndex recorded_configuration_;  // of a witness
    LogIndex recorded_commit_;

    // Forming.
    std::map<NodeName, transport::JoinRequest> fresh_;  // members without a configuration that were heard
    bool group_exists_ = false;
    bool group_is_certain_ = false;  // its leader has committed something; on disk until there is something of the group
    std::uint64_t group_heard_tick_ = 0;               // when a member of it last said so
    std::map<NodeName, std::uint64_t> told_of_group_;  // members without a configuration that know of a group, since when
    std::string leader_address_;  // as a member of the group told it
    std::string refused_why_;
    NodeName held_back_by_;  // it would begin a group, and this one waits for another
    std::uint64_t asked_tick_ = 0;
    std::vector<std::string> dialed_;
    std::uint64_t dial_tick_ = UINT64_MAX;  // when it was last looked at
    std::uint64_t members_tick_ = 0;

    // Comparing. What is in quarantine is on disk before long; until then it is told again.
    std::optional<Comparison> comparison_;
    std::uint64_t digest_due_tick_ = 0;    // 0: this member does not lead
    LogIndex own_digest_index_;            // what this member said last, if it had a digest
    LogIndex compared_index_;              // where all were equal last
    std::optional<LogIndex> alarm_;        // members differ there, and nobody knows who is right
    std::optional<LogIndex> quarantine_;
    std::optional<LogIndex> recorded_quarantine_;       // what HardState.extra last carried
    std::map<NodeName, std::uint64_t> quarantined_peers_;  // and when they said so last
    std::map<NodeName, LogIndex> odd_;     // as leader: not known yet to have gone into quarantine
    std::uint64_t comparisons_ = 0;
    std::uint64_t mismatches_ = 0;

    // A promotion that was asked of this member.
    std::vector<std::uint64_t> promotions_;
    std::uint64_t promotion_tick_ = 0;
    bool foreign_here_ = false;   // the group's data is other than what is held here
    bool leaving_ = false;
    std::uint64_t refused_messages_ = 0;
    std::uint64_t elections_ = 0;  // begun by this member
    Term campaigned_in_;

    std::vector<std::string> events_;
    std::vector<std::string> errors_;
    std::vector<CommandAnswer> answers_;
    std::vector<Outbound> messages_;
    std::vector<ReadPoint> reads_;
};

}  // namespace nornic::modes
