// The inside of the mode: the region's own strategy, and around it what goes between regions. strategy.cc passes on and
// wraps; directory.cc is how groups become regions and who is primary; source.cc sends this region's writes, target.cc
// takes those of others; reads.cc asks other regions how far a read must wait; view.cc shows all of it.
//
// Ids of what the mode itself proposes and reads have the top bit set: the driver does not know them and passes them over.
#pragma once

#include "modes/multi_region/multi_region.h"

#include <deque>
#include <map>
#include <set>
#include <string_view>
#include <type_traits>
#include <utility>

namespace nornic::modes {

using engine::Frontier;
using engine::RegionChange;
using engine::RegionNumber;
using engine::RegionState;
using engine::RegionWrites;

class MultiRegion final : public Strategy {
public:
    MultiRegion(const StrategyStart& start, MultiRegionSettings settings, const LocalStrategy& local);

    [[nodiscard]] std::string_view name() const noexcept override { return "multi_region"; }
    void allow_catch_up(std::uint64_t bytes) override { tell(&Strategy::allow_catch_up, bytes); }
    [[nodiscard]] bool catches_up() const override { return local_->catches_up(); }
    void tick() override;
    void now(std::uint64_t hybrid_time) override { now_ = std::max(now_, hybrid_time); }
    [[nodiscard]] std::uint64_t latest_time() const override { return proposed_time_; }
    void paused(std::uint64_t ticks) override { tell(&Strategy::paused, ticks); }
    void peer_up(const PeerInfo& peer) override;
    void peer_down(const NodeName& peer, transport::LostReason reason) override;
    void step(const NodeName& from, const ClusterMessage& message) override;
    Result<> propose(ProposalId id, std::string write_set, std::uint64_t hybrid_time) override;
    Result<> read(ReadId id, ReadConsistency level) override;
    void readers_wait() override { tell(&Strategy::readers_wait); }
    Result<> expect(ReadConsistency level) override;
    [[nodiscard]] LogIndex acknowledged(ReadConsistency level) const override;
    Result<> command(std::uint64_t id, const Command& command) override;
    std::vector<CommandAnswer> take_answers() override;
    void leave() override { tell(&Strategy::leave); }
    [[nodiscard]] bool left() const override { return local_->left(); }
    std::vector<Outbound> take_messages() override;
    [[nodiscard]] bool may_gather() const override { return local_->may_gather() && !holding(); }
    Ready take_ready() override;
    void persisted(LogIndex last) override;
    void not_persisted(LogIndex first) override;
    void applied(LogIndex last) override;
    void state_digest(LogIndex index, const Result<std::uint64_t>& digest) override { tell(&Strategy::state_digest, index, digest); }
    [[nodiscard]] bool serves() const override { return local_->serves(); }
    void rewound(LogIndex last, bool whole) override;
    void log_reset() override { tell(&Strategy::log_reset); }
    bool accepts_snapshot(const NodeName& from, Term term, LogIndex index, std::string_view history, std::string& reason) override {
        if (!region_of(from).empty()) {
            reason = "members of other regions send no snapshots";
            return false;
        }
        return tell(&Strategy::accepts_snapshot, from, term, index, history, reason);
    }
    void snapshot_installed(const InstalledSnapshot& snapshot) override;
    void snapshot_sent(const NodeName& to, std::optional<LogIndex> index) override { tell(&Strategy::snapshot_sent, to, index); }
    void disk_stalled(bool stalled) override { tell(&Strategy::disk_stalled, stalled); }
    [[nodiscard]] std::optional<LogIndex> wanted_from() const override;
    [[nodiscard]] Term write_term() const override;
    [[nodiscard]] LogIndex committed() const override { return local_->committed(); }
    [[nodiscard]] ClusterView view() const override;

private:
    /// A member of another region, as it was heard last.
    struct Peer {
        PeerInfo info;
        transport::RegionStatus status;
        RegionNumber number = 0;       // its region's, as it says; 0: it is none yet
        std::string differs;           // why nothing is exchanged with it: the two were numbered apart. Empty: they were not
        std::uint64_t heard_tick = 0;  // 0: it said nothing yet
    };
    /// What the mode itself proposed.
    struct Own {
        enum class Kind : std::uint8_t { kChange, kBatch };
        Kind kind = Kind::kChange;
        std::optional<std::uint64_t> command;  // whose answer it is
        std::string done;                      // that answer
        RegionNumber origin = 0;               // kBatch
        std::uint64_t stream = 0;
        std::uint64_t sequence = 0;
        LogIndex index;  // 0: not placed yet
        Term term;
    };
    /// A batch that came and is not durable here yet.
    struct Arrived {
        std::uint64_t sequence = 0;
        LogIndex through;
        std::optional<LogIndex> index;  // of the entry that holds it; nullopt: it holds nothing
    };
    /// The stream of another region's writes to here.
    struct Inbound {
        NodeName source;
        std::uint64_t stream = 0;  // 0: none is asked for
        std::uint64_t next_sequence = 1;
        std::uint64_t heard_tick = 0;
        bool seeding = false;
        std::vector<RegionNumber> dropped;  // by it and by us, before its state was asked for
        std::uint64_t seed_entities = 0;
        std::uint64_t seed_estimate = 0;
        std::deque<std::shared_ptr<const ClusterMessage>> waiting;  // batches in order, not proposed yet
        std::deque<Arrived> arrived;                                // proposed, in order
        std::deque<RegionChange> finishing;                         // what a complete seed changes, not proposed yet
        std::uint64_t durable_sequence = 0;
        LogIndex durable;
        LogIndex source_last;
        std::uint64_t acked_sequence = 0;  // what it was told
        bool parked = false;
        std::string refused;          // why there is no stream; kept until one begins
        std::uint64_t retry_tick = 0;
        // What it said of itself, newest: for the low-rate change that records it.
        LogIndex through;
        std::uint64_t through_time = 0;
        Frontier frontier;
        LogIndex acked;
    };
    /// The stream of this region's writes to another.
    struct OutboundStream {
        NodeName target;
        std::uint64_t stream = 0;
        std::uint64_t sequence = 0;      // sent last
        std::uint64_t acked_sequence = 0;
        std::uint32_t window = 1;
        LogIndex scanned;                // everything up to here was sent or is not for others
        std::uint64_t scanned_time = 0;  // of the last own write among it
        LogIndex last_write;             // the newest of it that was for others
        LogIndex durable;                // there
        std::uint64_t sent_tick = 0;
        std::uint64_t heard_tick = 0;
        Frontier said_frontier;
        LogIndex said_acked;
        LogIndex said_through;
        std::unique_ptr<engine::SeedReader> seed;
    };

    /// Who asks how far a read there must wait.
    struct Asked {
        NodeName from;
        std::uint64_t context = 0;
    };

    // strategy.cc
    /// Tells the local strategy something, and looks whether it was deposed by it: every input goes through here. Not what it is
    /// offered (propose, read): that deposes nobody, and is done while own_ and the streams are being walked through.
    template <class Returned, class... Parameters, class... Arguments>
    Returned tell(Returned (Strategy::*verb)(Parameters...), Arguments&&... arguments) {
        if constexpr (std::is_void_v<Returned>) {
            (told_.get()->*verb)(std::forward<Arguments>(arguments)...);
            notice_deposed();
        } else {
            Returned answer = (told_.get()->*verb)(std::forward<Arguments>(arguments)...);
            notice_deposed();
            return answer;
        }
    }
    [[nodiscard]] bool leads() const { return local_->write_term().value != 0; }
    [[nodiscard]] bool formed() const { return state_->self != 0; }
    [[nodiscard]] bool primary() const { return formed() && state_->primary == state_->self; }
    void event(std::string text) { events_.push_back(std::move(text)); }
    void say(const NodeName& to, Lane lane, ClusterMessage message);
    void refresh();
    /// Proposes to the local strategy; nullopt: it takes nothing now.
    /// `latest`: of what is in it.
    std::optional<ProposalId> propose_own(std::string write_set, Own own, std::uint64_t latest = 0);
    /// Somebody said that a region was promoted, and this log does not know it yet. Of two at one epoch, promoted apart, the
    /// lower number counts.
    [[nodiscard]] bool heard_of_promotion() const {
        return heard_epoch_ > state_->epoch ||
               (heard_epoch_ == state_->epoch && heard_epoch_ > 0 && heard_primary_ != 0 && heard_primary_ < state_->primary);
    }
    bool propose_change(const RegionChange& change, std::optional<std::uint64_t> command = {}, std::string done = {});
    [[nodiscard]] bool change_pending() const;
    void take_own(Ready& ready);
    void finish_own();
    void notice_deposed();
    void stopped_leading();
    void tell_all();
    [[nodiscard]] std::string_view region_of(const NodeName& peer) const;
    [[nodiscard]] const engine::RegionRow* row_of(const NodeName& peer) const;
    /// Whether what it says is heeded: not of one that was numbered apart, nor of one that was given up here.
    [[nodiscard]] bool counts(const Peer& peer) const;
    [[nodiscard]] bool given_up(const Peer& peer) const;
    /// The member of that region that leads there and is connected.
    [[nodiscard]] const Peer* leader_of(std::string_view region) const;
    [[nodiscard]] std::optional<std::vector<std::string>> dial();

    // Semi-synchronous: what is committed here is not applied, so not answered, before another region has it.
    [[nodiscard]] bool has_others() const;
    [[nodiscard]] bool holding() const;
    [[nodiscard]] LogIndex release(LogIndex committed) const;
    void watch_degradation();
    [[nodiscard]] LogIndex durable_elsewhere() const;

    // directory.cc
    void say_status(const NodeName& to);
    void on_status(const NodeName& from, const transport::RegionStatus& status);
    void form();
    void join(std::vector<std::pair<const Peer*, std::vector<engine::RegionRow>>> regions);
    void adopt(const Peer& from);
    void cannot_form(std::string why);
    void form_alone();
    void watch_directory();
    void on_region_command(const NodeName& from, const transport::RegionCommand& command);
    void watch_watermark();
    void advance_watermark();
    void mark_time();
    [[nodiscard]] std::uint64_t known_everywhere() const;
    void consider_set_back(std::uint64_t era, LogIndex cursor, std::uint64_t cursor_time);
    /// Why nothing may be exchanged with who says that; empty: it may.
    [[nodiscard]] std::string directory_differs(const transport::RegionStatus& status) const;
    void exchange_nothing(const NodeName& with, Peer& peer, std::string why);

    // source.cc
    /// What is applied here of the others: what it has of itself every region knows best.
    [[nodiscard]] Frontier known_of_others() const;
    void refuse_stream(const NodeName& to, std::uint64_t stream, std::string why, bool needs_seed);
    void on_pull(const NodeName& from, const transport::RegionPull& pull);
    void on_ack(const NodeName& from, const transport::RegionAck& ack);
    void pump_sources();
    bool send_batch(RegionNumber number, OutboundStream& out);
    void send_seed(OutboundStream& out);
    void deliver(OutboundStream& out, transport::RegionBatch batch, const RegionWrites& writes);

    // target.cc
    void watch_streams();
    void settle_dropped();
    /// Whether `row`'s state is to be merged, since it has, or may have, more of a dropped region; nullopt: it cannot be said now.
    [[nodiscard]] std::optional<bool> has_more_of(const engine::RegionRow& dropped, const engine::RegionRow& row) const;
    void pull(const engine::RegionRow& row, Inbound& in, const NodeName& source);
    void end_stream(Inbound& in, std::string why);
    void on_batch(const NodeName& from, std::shared_ptr<const ClusterMessage> message);
    void take_waiting(RegionNumber number, Inbound& in);
    /// false: not now.
    bool take_batch(RegionNumber number, Inbound& in, const transport::RegionBatch& batch);
    void finish_seed(RegionNumber number, Inbound& in, const transport::RegionBatch& batch);
    bool go_on_finishing(RegionNumber number, Inbound& in);
    void advance_acks();
    void acknowledge(const Inbound& in);
    /// `first`: whose turn it is.
    void record_reports(std::uint64_t first);
    [[nodiscard]] bool awaits_first_seed() const;

    // reads.cc
    [[nodiscard]] std::size_t others_needed(ReadConsistency level) const;
    [[nodiscard]] Result<std::vector<const Peer*>> leaders_for(ReadConsistency level) const;
    void answer_read(const Asked& asked, std::optional<LogIndex> index);
    void answer_asked();
    void on_read_request(const NodeName& from, const transport::RegionReadRequest& request);
    void on_read_response(const NodeName& from, const transport::RegionReadResponse& response);
    void take_reads(Ready& ready);
    void watch_reads(Ready& ready);

    const StrategyStart start_;
    const MultiRegionSettings settings_;
    const std::unique_ptr<Strategy> told_;    // the local strategy, for tell(), for offers and for what it has to give
    const Strategy* const local_ = told_.get();  // the same, to be asked
    engine::RegionData* const data_;
    std::shared_ptr<const RegionState> state_;
    engine::RegionHeader header_;  // of what is written under state_
    std::string history_;
    LogIndex applied_;
    std::uint64_t tick_ = 0;
    std::uint64_t now_ = 0;        // hybrid time, as the driver said it last
    std::uint64_t proposed_time_ = 0;  // of the newest write that was offered here
    std::uint64_t marked_time_ = 0;
    std::uint64_t next_id_ = 1;
    bool led_ = false;
    Term led_in_;
    std::uint64_t leads_since_tick_ = 0;

    std::map<NodeName, Peer> peers_;  // connected members of other regions
    std::map<ProposalId, Own> own_;
    std::map<RegionNumber, Inbound> inbound_;
    std::map<RegionNumber, OutboundStream> outbound_;

    // Directory.
    std::uint64_t heard_epoch_ = 0;  // the highest that anybody said
    RegionNumber heard_primary_ = 0;
    std::string forming_why_;
    std::uint64_t asked_tick_ = 0;
    bool dropped_here_ = false;      // this region was given up, as others say or as its own log does
    bool stranger_ = false;          // another group was this region before, and nobody dropped it
    bool beyond_repair_ = false;     // it was set back to before what the others still know
    bool set_back_ = false;          // others have writes of this region that are not here; its log does not say so yet

    // Semi-synchronous.
    bool degraded_ = false;
    LogIndex held_up_to_;                // was committed at held_since_tick_; another region has it in time, or it is degraded
    std::uint64_t held_since_tick_ = 0;
    std::uint64_t degraded_count_ = 0;
    LogIndex last_placed_;               // of what clients offered here
    LogIndex confirmed_then_;            // elsewhere, when this member stopped leading
    std::uint64_t held_until_tick_ = 0;  // who waits for what it offered before that is answered then
    Term held_in_;                       // the term in which it was offered

    // Reads across regions.
    struct CrossRead {
        std::optional<LogIndex> local;
        std::size_t needed = 0;                    // other regions
        std::map<RegionNumber, LogIndex> answers;  // in their logs
        std::uint64_t asked_tick = 0;
    };
    std::map<ReadId, CrossRead> cross_reads_;
    std::map<ReadId, Asked> asked_reads_;  // of other regions, in the local strategy's hands
    std::vector<std::pair<Asked, LogIndex>> confirmed_reads_;  // of other regions, and how far this log was committed

    std::vector<std::string> local_dial_;
    std::vector<std::string> dialed_;
    std::vector<std::string> events_;
    std::vector<CommandAnswer> answers_;
    std::vector<Outbound> messages_;
};

/// Hides other regions from the local strategy of a member without data.
std::unique_ptr<Strategy> make_region_witness(std::unique_ptr<Strategy> local);

inline constexpr std::string_view kStranger =
    "a region of this name with other data was here before, and its ids must not be drawn again: drop that one at another region (POST "
    "/admin/region/drop), empty this one's members' data directories and start it anew";
inline constexpr std::uint64_t kOwnId = std::uint64_t{1} << 63;
inline constexpr std::size_t kUnpackedMax = std::size_t{64} << 20;

}  // namespace nornic::modes
