// The witness of a hot standby: no data, no writes, one vote an epoch. It remembers who leads and whether the other
// one holds everything that was acknowledged.
#include "modes/hot_standby/hot_standby.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

namespace nornic::modes {
namespace {

using transport::LANE_CONTROL;

constexpr std::string_view kAlone = "alone";
constexpr std::string_view kPair = "pair";
constexpr std::size_t kDataMembersMax = 2;
constexpr std::size_t kBesideMax = 8;
constexpr std::uint64_t kEpochMax = std::uint64_t{1} << 62;  // none that was counted up honestly is past it

class HotStandbyWitness final : public Strategy {
public:
    HotStandbyWitness(const StrategyStart& start, const WitnessSettings& settings)
        : start_{start},
          settings_{settings},
          epoch_{start.hard_state.term},
          primary_{start.hard_state.voted_for},
          alone_{start.hard_state.extra != kPair} {}

    [[nodiscard]] std::string_view name() const noexcept override { return "ha_standby"; }
    void tick() override {
        ++tick_;
        // Nobody connects again because a place became free.
        for (const auto& [id, peer] : beside_) {
            if (has_place()) {
                peer_up(PeerInfo{peer});
                return;
            }
        }
    }
    // Time that passed unseen says nothing about a primary that may have spoken meanwhile.
    void paused(std::uint64_t ticks) override {
        tick_ += ticks;
        heard_tick_ += ticks;
        for (auto& [id, peer] : peers_) {
            peer.lost_tick += ticks;
        }
    }
    void peer_up(const PeerInfo& peer) override {
        if (peer.witness) {
            return;
        }
        if (!peers_.contains(peer.id) && !has_place()) {
            if (!beside_.contains(peer.id)) {
                ready_.events.push_back(fmt::format("A third member, '{}', connected and is ignored until one of the two has been away for "
                                                    "the failover time-out; hot standby has two data nodes.",
                                                    peer.id));
            }
            if (beside_.size() < kBesideMax || beside_.contains(peer.id)) {
                beside_[peer.id] = peer;
            }
            return;
        }
        if (!peers_.contains(peer.id) && peers_.size() >= kDataMembersMax) {
            peers_.erase(away());
        }
        beside_.erase(peer.id);
        peers_[peer.id] = {peer, true, tick_};
    }
    void peer_down(const NodeName& id, transport::LostReason) override {
        beside_.erase(id);
        if (const auto at = peers_.find(id); at != peers_.end()) {
            at->second.up = false;
            at->second.lost_tick = tick_;
        }
    }

    void step(const NodeName& from, const ClusterMessage& message) override {
        const auto known = peers_.find(from);
        if (known == peers_.end() || !known->second.up) {
            return;
        }
        if (message.has_heartbeat()) {
            on_heartbeat(from, message.heartbeat());
        } else if (message.has_vote_request()) {
            on_vote_request(from, message.vote_request());
        }
    }

    Result<> propose(ProposalId, std::string, std::uint64_t) override {
        return fail(ErrorCode::kReadOnly, "a witness holds no data");
    }
    Result<> read(ReadId, ReadConsistency) override {
        return fail(ErrorCode::kUnsupported, "a witness holds no data");
    }
    std::vector<Outbound> take_messages() override { return std::exchange(messages_, {}); }
    Ready take_ready() override {
        if (dirty_) {
            ready_.hard_state = HardState{epoch_, primary_, LogIndex{0}, std::string{alone_ ? kAlone : kPair}};
            dirty_ = false;
        }
        return std::exchange(ready_, Ready{});
    }
    void persisted(LogIndex) override {}
    void not_persisted(LogIndex) override {}
    void applied(LogIndex) override {}
    [[nodiscard]] Term write_term() const override { return Term{0}; }

    [[nodiscard]] ClusterView view() const override {
        ClusterView view;
        view.mode = "ha_standby";
        view.cluster_id = start_.cluster_id;
        view.self = start_.self;
        view.role = Role::kWitness;
        view.leader = silent() || !peers_.contains(primary_) ? NodeName{} : primary_;
        view.term = epoch_;
        view.accepts_writes = false;
        if (silent()) {
            view.state = "primary_silent";
            view.reason = "no primary has been heard for the failover time-out";
        }
        MemberView self;
        self.id = start_.self;
        self.cluster_address = start_.cluster_address;
        self.http_address = start_.http_address;
        self.role = Role::kWitness;
        self.serves_data = false;
        view.members.push_back(std::move(self));
        for (const auto& [id, peer] : peers_) {
            MemberView member;
            member.id = id;
            member.cluster_address = peer.info.cluster_address;
            member.bolt_address = peer.info.bolt_address;
            member.http_address = peer.info.http_address;
            member.role = id == primary_ ? Role::kPrimary : Role::kStandby;
            member.healthy = peer.up;
            view.members.push_back(std::move(member));
        }
        view.details = {{"sync_state", alone_ ? "alone" : "synced"}};
        return view;
    }

private:
    struct Peer {
        PeerInfo info;
        bool up = false;
        std::uint64_t lost_tick = 0;
    };
    using Peers = std::map<NodeName, Peer>;

    /// One that is away for good makes room for its successor.
    [[nodiscard]] Peers::const_iterator away() const {
        return std::find_if(peers_.begin(), peers_.end(), [&](const auto& known) {
            return !known.second.up && tick_ - known.second.lost_tick >= settings_.failover_ticks && known.first != primary_;
        });
    }
    [[nodiscard]] bool has_place() const { return peers_.size() < kDataMembersMax || away() != peers_.end(); }

    [[nodiscard]] bool silent() const { return tick_ - heard_tick_ >= settings_.failover_ticks; }

    void answer(const NodeName& to, ClusterMessage message) {
        // Behind whatever is to be persisted: what it says must outlive a crash.
        ready_.messages_after_persist.push_back(
            {to, LANE_CONTROL, std::make_shared<const ClusterMessage>(std::move(message))});
    }

    void note_leader(Term epoch, const NodeName& to, std::string reason) {
        ready_.leader_changes.push_back({epoch, heard_leader_ ? primary_ : NodeName{}, to, std::move(reason)});
        heard_leader_ = true;
    }

    void on_heartbeat(const NodeName& from, const transport::Heartbeat& m) {
        const Term epoch{m.epoch()};
        if (epoch.value > kEpochMax || m.sequence() > kEpochMax) {
            return;
        }
        if (m.leading() && epoch == epoch_ && primary_ == from && m.sequence() <= heard_sequence_) {
            return;  // late: it may have gone on alone since
        }
        if (m.leading() && epoch >= epoch_ && !(epoch == epoch_ && primary_ != from)) {
            const bool alone = !m.in_sync();
            if (epoch != epoch_ || primary_ != from || !heard_leader_) {
                note_leader(epoch, from, heard_leader_ ? "it leads in a later epoch" : "this member heard of it first");
            }
            if (epoch != epoch_ || primary_ != from || alone != alone_) {
                epoch_ = epoch;
                primary_ = from;
                alone_ = alone;
                dirty_ = true;
            }
            heard_tick_ = tick_;
            heard_sequence_ = m.sequence();
        }
        ClusterMessage message;
        auto& out = *message.mutable_heartbeat_response();
        out.set_epoch(epoch_.value);
        out.set_sequence(m.sequence());
        out.set_primary_id(primary_);
        out.set_in_sync(!alone_);
        out.mutable_standby_settings()->set_failover_ms(std::uint64_t{settings_.failover_ticks} * settings_.tick_ms);
        answer(from, std::move(message));
    }

    void on_vote_request(const NodeName& from, const transport::VoteRequest& m) {
        const Term epoch{m.term()};
        if (epoch.value > kEpochMax) {
            return;
        }
        std::string refusal;
        if (epoch < epoch_ || (epoch == epoch_ && primary_ != from)) {
            refusal = fmt::format("epoch {} was given to '{}'", epoch_.value, primary_);
        } else if (epoch > epoch_ && primary_ != from && !silent()) {
            refusal = fmt::format("'{}' leads and was heard a moment ago", primary_);
        } else if (epoch > epoch_ && primary_ != from && !primary_.empty() && alone_) {
            refusal = fmt::format("'{}' acknowledged writes that '{}' may not hold", primary_, from);
        }
        ClusterMessage message;
        auto& out = *message.mutable_vote_response();
        out.set_term((refusal.empty() ? epoch : epoch_).value);
        out.set_vote_granted(refusal.empty());
        out.set_reason(refusal);
        if (refusal.empty() && epoch > epoch_) {
            note_leader(epoch, from, "the primary was silent and this member gave its vote");
            epoch_ = epoch;
            primary_ = from;
            alone_ = true;
            dirty_ = true;
            heard_tick_ = tick_;
            heard_sequence_ = 0;
            ready_.events.push_back(fmt::format("Voted for '{}' as primary of epoch {}.", from, epoch.value));
        }
        answer(from, std::move(message));
    }

    const StrategyStart start_;
    const WitnessSettings settings_;
    Term epoch_;
    NodeName primary_;
    bool alone_;  // the primary may have acknowledged what the other one lacks
    bool dirty_ = false;
    bool heard_leader_ = false;  // in this life
    std::uint64_t tick_ = 0;
    std::uint64_t heard_sequence_ = 0;  // of the primary's heartbeats, which leads but once in an epoch
    std::uint64_t heard_tick_ = 0;  // a start counts as hearing: it may have been away for a moment
    Peers peers_;
    std::map<NodeName, PeerInfo> beside_;  // connected, and there is no place for them
    std::vector<Outbound> messages_;
    Ready ready_;
};

}  // namespace

std::unique_ptr<Strategy> make_hot_standby_witness(const StrategyStart& start, const WitnessSettings& settings) {
    return std::make_unique<HotStandbyWitness>(start, settings);
}

}  // namespace nornic::modes
