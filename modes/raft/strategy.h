// The inside of the mode: Core behind the driver's verbs. strategy.cc carries proposals, reads, commands and messages;
// forming.cc is how a member without a group gets into one.
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
    void tick() override;
    void paused(std::uint64_t ticks) override { core_.paused(ticks); }
    void peer_up(const PeerInfo& peer) override;
    void peer_down(const NodeName& peer, transport::LostReason reason) override;
    void step(const NodeName& from, const ClusterMessage& message) override;
    Result<> propose(ProposalId id, std::string write_set, std::uint64_t hybrid_time) override;
    Result<> read(ReadId id, ReadConsistency level) override;
    Result<> command(std::uint64_t id, const Command& command) override;
    std::vector<CommandAnswer> take_answers() override { return std::exchange(answers_, {}); }
    void leave() override;
    [[nodiscard]] bool left() const override;
    std::vector<Outbound> take_messages() override;
    Ready take_ready() override;
    void persisted(LogIndex last) override;
    void not_persisted(LogIndex first) override;
    void applied(LogIndex last) override;
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
    [[nodiscard]] Term write_term() const override { return core_.write_term(); }
    [[nodiscard]] ClusterView view() const override;

private:
    // strategy.cc
    [[nodiscard]] bool is_witness() const { return settings_.role == RaftRole::kWitness; }
    void event(std::string text) { events_.push_back(std::move(text)); }
    void say(const NodeName& to, ClusterMessage message);
    [[nodiscard]] bool is_of_another_group(const PeerInfo& peer) const;
    void meet(const PeerInfo& peer);
    void translate(std::vector<raft::Outbound>&& from, std::vector<Outbound>& to);
    [[nodiscard]] std::string hint() const;
    [[nodiscard]] Error with_hint(const Error& error) const;
    [[nodiscard]] std::string extra() const;
    void apply_as_witness();
    void consider_checkpoint();
    void on_promote(const NodeName& from);
    void on_promote_response(const transport::PromoteResponse& m);
    void watch_promotion();
    [[nodiscard]] Result<> add_member(std::uint64_t id, const Command& command);

    // forming.cc
    void form();
    void ask_to_join(const NodeName& peer);
    void on_join_request(const NodeName& from, const transport::JoinRequest& m);
    void on_join_response(const NodeName& from, const transport::JoinResponse& m);
    void on_leave_request(const NodeName& from);
    void ask_to_leave();
    void consider_bootstrap();
    void watch_addresses();
    /// Whom the bus should dial, if that is news.
    [[nodiscard]] std::optional<std::vector<std::string>> dial();

    const StrategyStart start_;
    const RaftSettings settings_;
    std::string history_;
    DriverLog log_;
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

    // A witness: what HardState.extra last carried.
    LogIndex recorded_configuration_;

    // Forming.
    std::map<NodeName, transport::JoinRequest> fresh_;  // members without a configuration that were heard
    bool group_exists_ = false;
    std::string leader_address_;  // as a member of the group told it
    std::string refused_why_;
    std::uint64_t asked_tick_ = 0;
    std::vector<std::string> dialed_;
    std::uint64_t address_tick_ = 0;

    // A promotion that was asked of this member.
    std::vector<std::uint64_t> promotions_;
    std::uint64_t promotion_tick_ = 0;
    bool foreign_here_ = false;   // the group's data is other than what is held here
    bool leaving_ = false;
    std::uint64_t refused_messages_ = 0;
    std::uint64_t elections_ = 0;  // begun by this member
    Term campaigned_in_;

    std::vector<std::string> events_;
    std::vector<CommandAnswer> answers_;
    std::vector<Outbound> messages_;
    std::vector<ReadPoint> reads_;
};

}  // namespace nornic::modes
