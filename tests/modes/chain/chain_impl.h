// The inside of the chain: one class in three files. chain.cc is the chain, its epochs and the log, messages.cc
// what members say to each other, asked.cc what clients and operators ask.
#pragma once

#include "tests/modes/chain/chain.h"

#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nornic::modes {

/// "a,b,c", as messages and the hard state have a chain.
std::string join_chain(const std::vector<NodeName>& chain);
std::vector<NodeName> split_chain(std::string_view text);
bool contains(const std::vector<NodeName>& chain, const NodeName& name);

class Chain final : public Strategy {
public:
    Chain(const StrategyStart& start, const ChainSettings& settings);

    [[nodiscard]] std::string_view name() const noexcept override { return "chain"; }
    void tick() override;
    void paused(std::uint64_t ticks) override;
    void peer_up(const PeerInfo& peer) override;
    void peer_down(const NodeName& id, transport::LostReason reason) override;
    void step(const NodeName& from, const ClusterMessage& message) override;
    Result<> propose(ProposalId id, std::string write_set, std::uint64_t hybrid_time) override;
    Result<> read(ReadId id, ReadConsistency level) override;
    Result<> command(std::uint64_t id, const Command& asked) override;
    std::vector<CommandAnswer> take_answers() override { return std::exchange(answers_, {}); }
    std::vector<Outbound> take_messages() override { return std::exchange(messages_, {}); }
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
    void disk_stalled(bool stalled) override { stalled_ = stalled; }
    [[nodiscard]] std::optional<LogIndex> wanted_from() const override;
    [[nodiscard]] Term write_term() const override { return may_write() ? epoch_ : Term{0}; }
    [[nodiscard]] ClusterView view() const override;

private:
    struct Peer {
        PeerInfo info;
        bool up = false;
    };
    struct Read {
        ReadId id;
        LogIndex index;
        std::uint64_t round;
    };

    // The chain.
    [[nodiscard]] bool is_in_chain() const { return contains(chain_, start_.self); }
    [[nodiscard]] bool is_head() const { return chain_.front() == start_.self; }
    [[nodiscard]] bool is_tail() const { return chain_.back() == start_.self; }
    /// The member `step` places behind this one; empty: none.
    [[nodiscard]] NodeName neighbour(int step) const;
    [[nodiscard]] bool is_up(const NodeName& id) const;
    [[nodiscard]] std::string bolt_address(const NodeName& id) const;
    [[nodiscard]] Result<> may_write() const;
    [[nodiscard]] bool is_plausible(const std::vector<NodeName>& chain) const;
    void begin_epoch(Term epoch, std::vector<NodeName> chain);
    void answer_commands(const Result<std::string>& outcome);

    // The log.
    [[nodiscard]] Term term_of(LogIndex index) const;
    [[nodiscard]] LogIndex shared() const;
    void append(Entry entry);
    void forget_after(LogIndex keep);
    [[nodiscard]] bool take_entries(const transport::AppendEntries& m);

    // Messages.
    [[nodiscard]] bool hard_state_pending() const { return hard_dirty_ || hard_in_flight_; }
    void say(const NodeName& to, ClusterMessage message);
    void begin_round();
    void send_down();
    void ship();
    void announce(const NodeName& to);
    void acknowledge(bool success);
    void on_append(const NodeName& from, const transport::AppendEntries& m);
    void on_response(const NodeName& from, const transport::AppendEntriesResponse& m);
    /// true: the predecessor was told.
    bool advance(LogIndex committed_behind, std::uint64_t round_behind);
    void came_back();

    const StrategyStart start_;
    const ChainSettings settings_;
    std::uint64_t tick_ = 0;
    std::map<NodeName, Peer> peers_;

    // What the disk remembers, or is about to.
    Term epoch_;
    std::vector<NodeName> chain_;
    bool hard_dirty_ = false;
    bool hard_in_flight_ = false;

    // The log. applied_ <= committed_ <= persisted_ <= taken_ <= last_.
    LogIndex last_;
    Term last_term_;
    LogIndex taken_;
    LogIndex persisted_;
    LogIndex committed_;
    LogIndex applied_;
    LogIndex matched_;                    // equal to the predecessor's log of this epoch up to here
    std::deque<Term> unpersisted_terms_;  // of the entries past persisted_
    std::optional<LogIndex> rewind_to_;
    bool rewinding_ = false;
    bool diverged_ = false;  // what is committed here is not what the chain committed
    std::uint64_t last_hybrid_time_ = 0;

    // The successor.
    bool probing_ = true;  // where its log ends is a guess
    LogIndex next_{1};     // to send
    LogIndex received_;    // on its disk
    bool sending_snapshot_ = false;

    // Rounds: one goes down the chain with each heartbeat of the head and comes back from the tail.
    std::uint64_t round_ = 0;       // begun (head) or heard of
    std::uint64_t round_back_ = 0;  // came back from the tail
    std::uint64_t heard_tick_ = 0;  // head: when the last one came back; others: the predecessor spoke
    std::uint64_t heartbeat_tick_ = 0;

    // The head.
    bool active_ = false;  // all of the chain is in this epoch and answers
    bool stalled_ = false;
    LogIndex inherited_;  // its log as it was when it became the head
    Term later_epoch_;  // the highest that anybody spoke of
    std::deque<std::pair<LogIndex, std::size_t>> sizes_;  // of writes past applied_
    std::size_t inflight_bytes_ = 0;
    std::deque<Read> reads_;
    std::vector<std::uint64_t> commands_;  // answered when the chain is active

    std::uint64_t leader_changes_ = 0;
    std::vector<Outbound> messages_;
    std::vector<CommandAnswer> answers_;
    Ready ready_;
};

}  // namespace nornic::modes
