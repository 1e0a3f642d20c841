// A member without data: it votes in its region's group, and has nothing to say to other regions. Their members reach it all
// the same, since they dial every address they were given; its group must not take them for its own.
#include "modes/multi_region/strategy.h"

namespace nornic::modes {
namespace {

bool foreign(const NodeName& peer) {
    return peer.find('/') != NodeName::npos;
}

class RegionWitness final : public Strategy {
public:
    explicit RegionWitness(std::unique_ptr<Strategy> local) : local_{std::move(local)} {}

    [[nodiscard]] std::string_view name() const noexcept override { return "multi_region"; }
    void now(std::uint64_t hybrid_time) override { local_->now(hybrid_time); }
    [[nodiscard]] std::uint64_t latest_time() const override { return local_->latest_time(); }
    void tick() override { local_->tick(); }
    void paused(std::uint64_t ticks) override { local_->paused(ticks); }
    void peer_up(const PeerInfo& peer) override {
        if (!foreign(peer.id)) {
            local_->peer_up(peer);
        }
    }
    void peer_down(const NodeName& peer, transport::LostReason reason) override {
        if (!foreign(peer)) {
            local_->peer_down(peer, reason);
        }
    }
    void step(const NodeName& from, const ClusterMessage& message) override {
        if (!foreign(from)) {
            local_->step(from, message);
        }
    }
    Result<> propose(ProposalId id, std::string write_set, std::uint64_t hybrid_time) override {
        return local_->propose(id, std::move(write_set), hybrid_time);
    }
    Result<> read(ReadId id, ReadConsistency level) override { return local_->read(id, level); }
    Result<> command(std::uint64_t id, const Command& command) override { return local_->command(id, command); }
    std::vector<CommandAnswer> take_answers() override { return local_->take_answers(); }
    void leave() override { local_->leave(); }
    [[nodiscard]] bool left() const override { return local_->left(); }
    std::vector<Outbound> take_messages() override { return local_->take_messages(); }
    [[nodiscard]] bool may_gather() const override { return local_->may_gather(); }
    Ready take_ready() override { return local_->take_ready(); }
    void persisted(LogIndex last) override { local_->persisted(last); }
    void not_persisted(LogIndex first) override { local_->not_persisted(first); }
    void applied(LogIndex last) override { local_->applied(last); }
    void state_digest(LogIndex index, const Result<std::uint64_t>& digest) override { local_->state_digest(index, digest); }
    [[nodiscard]] bool serves() const override { return local_->serves(); }
    void rewound(LogIndex last, bool whole) override { local_->rewound(last, whole); }
    void log_reset() override { local_->log_reset(); }
    bool accepts_snapshot(const NodeName& from, Term term, LogIndex index, std::string_view history, std::string& reason) override {
        return local_->accepts_snapshot(from, term, index, history, reason);
    }
    void snapshot_installed(const InstalledSnapshot& snapshot) override { local_->snapshot_installed(snapshot); }
    void snapshot_sent(const NodeName& to, std::optional<LogIndex> index) override { local_->snapshot_sent(to, index); }
    void disk_stalled(bool stalled) override { local_->disk_stalled(stalled); }
    [[nodiscard]] std::optional<LogIndex> wanted_from() const override { return local_->wanted_from(); }
    [[nodiscard]] Term write_term() const override { return local_->write_term(); }
    [[nodiscard]] LogIndex committed() const override { return local_->committed(); }
    [[nodiscard]] ClusterView view() const override {
        ClusterView out = local_->view();
        out.mode = "multi_region";
        return out;
    }

private:
    const std::unique_ptr<Strategy> local_;
};

}  // namespace

std::unique_ptr<Strategy> make_region_witness(std::unique_ptr<Strategy> local) {
    return std::make_unique<RegionWitness>(std::move(local));
}

}  // namespace nornic::modes
