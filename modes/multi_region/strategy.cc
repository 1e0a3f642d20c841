// Between the driver and the region's own strategy: most is passed on, writes get their header, what the mode itself
// proposes is kept apart.
#include "modes/multi_region/strategy.h"

#include "base/check.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::modes {

MultiRegion::MultiRegion(const StrategyStart& start, MultiRegionSettings settings, const LocalStrategy& local)
    : start_{start},
      settings_{std::move(settings)},
      told_{local(start)},
      data_{start.regions},
      history_{start.history},
      applied_{start.applied} {
    refresh();
}

std::unique_ptr<Strategy> make_multi_region(const StrategyStart& start,
                                            const MultiRegionSettings& settings,
                                            const LocalStrategy& local) {
    if (start.regions == nullptr || start.log == nullptr) {
        return make_region_witness(local(start));
    }
    return std::make_unique<MultiRegion>(start, settings, local);
}

void MultiRegion::say(const NodeName& to, Lane lane, ClusterMessage message) {
    messages_.push_back({to, lane, std::make_shared<const ClusterMessage>(std::move(message))});
}

void MultiRegion::refresh() {
    auto now = data_->region_state();
    if (now == state_) {
        return;
    }
    state_ = std::move(now);
    header_.rank = settings_.primary_only
                       ? static_cast<std::uint16_t>(std::max<std::uint64_t>(state_->rank, std::min<std::uint64_t>(state_->epoch, UINT16_MAX)))
                       : state_->rank;
    header_.epoch = state_->epoch;
    header_.manual = settings_.manual;
    header_.seen = state_->frontier();
    const auto* own = state_->find(state_->self);
    dropped_here_ = dropped_here_ || (own != nullptr && own->dropped);
}

std::string_view MultiRegion::region_of(const NodeName& peer) const {
    const std::size_t slash = peer.find('/');
    return slash == NodeName::npos ? std::string_view{} : std::string_view{peer}.substr(0, slash);
}

const engine::RegionRow* MultiRegion::row_of(const NodeName& peer) const {
    const auto* row = state_->find(region_of(peer));
    return row != nullptr && row->number != state_->self ? row : nullptr;
}

bool MultiRegion::given_up(const Peer& peer) const {
    const auto* row = state_->find(peer.number);
    return row != nullptr && row->dropped && row->name == peer.status.region();
}

bool MultiRegion::counts(const Peer& peer) const {
    return peer.heard_tick != 0 && peer.differs.empty() && !given_up(peer);
}

const MultiRegion::Peer* MultiRegion::leader_of(std::string_view region) const {
    const Peer* found = nullptr;
    for (const auto& [id, peer] : peers_) {
        if (counts(peer) && peer.status.leads() && peer.status.region() == region &&
            tick_ - peer.heard_tick < settings_.silent_ticks &&
            (found == nullptr || peer.status.term() > found->status.term())) {
            found = &peer;
        }
    }
    return found;
}

// ---- Inputs ----

void MultiRegion::tick() {
    ++tick_;
    tell(&Strategy::tick);
    const Term term = local_->write_term();
    const bool leading = term.value != 0;
    if (leading && term != led_in_) {
        leads_since_tick_ = tick_;
    }
    led_in_ = term;
    const bool tell = led_ != leading || tick_ % settings_.status_ticks == 0;
    led_ = leading;
    if (tell) {
        tell_all();
    }
    if (!leading) {
        return;
    }
    if (!formed()) {
        form();
        return;
    }
    watch_directory();
    watch_streams();
    watch_watermark();
    watch_degradation();
    pump_sources();
}

/// At once, not with the next tick: a successor's word may commit places of the log at which this member's disk still has what it
/// proposed itself. Also where it leads again already: nothing is known of what it proposed before.
void MultiRegion::notice_deposed() {
    if (led_ && local_->write_term() != led_in_) {
        led_ = false;
        stopped_leading();
        tell_all();
    }
}

void MultiRegion::tell_all() {
    for (const auto& [id, peer] : peers_) {
        say_status(id);
    }
}

void MultiRegion::stopped_leading() {
    for (auto& [number, in] : inbound_) {
        in = Inbound{};
    }
    if (settings_.semi_sync && !degraded_ && has_others() && durable_elsewhere() < last_placed_) {
        confirmed_then_ = durable_elsewhere();
        held_until_tick_ = tick_ + settings_.semi_sync_ticks;
        held_in_ = led_in_;
    }
    last_placed_ = LogIndex{0};
    outbound_.clear();
    for (auto& [id, own] : own_) {
        if (own.command) {
            answers_.push_back({*own.command,
                                fail(ErrorCode::kUnknownCommit, "this member stopped leading its region meanwhile; see the status")});
        }
    }
    own_.clear();
    // One that was deposed without knowing hears that others have writes which are not here: its successor's. What it proposed
    // because of that cannot be committed, as those are.
    set_back_ = false;
    held_up_to_ = LogIndex{0};
    degraded_ = false;
}

void MultiRegion::peer_up(const PeerInfo& peer) {
    if (region_of(peer.id).empty()) {
        tell(&Strategy::peer_up, peer);
        return;
    }
    peers_[peer.id].info = peer;
    say_status(peer.id);
}

void MultiRegion::peer_down(const NodeName& peer, transport::LostReason reason) {
    if (region_of(peer).empty()) {
        tell(&Strategy::peer_down, peer, reason);
        return;
    }
    peers_.erase(peer);
    std::erase_if(outbound_, [&](const auto& out) { return out.second.target == peer; });
    for (auto& [number, in] : inbound_) {
        if (in.source == peer) {
            end_stream(in, "the connection to '" + peer + "' was lost");
        }
    }
}

void MultiRegion::step(const NodeName& from, const ClusterMessage& message) {
    if (region_of(from).empty()) {
        tell(&Strategy::step, from, message);
        if (led_ && formed()) {
            advance_acks();  // a majority may have it now
            pump_sources();
        }
        return;
    }
    if (!peers_.contains(from)) {
        return;
    }
    switch (message.body_case()) {
        case ClusterMessage::kRegionStatus:
            return on_status(from, message.region_status());
        case ClusterMessage::kRegionPull:
            return on_pull(from, message.region_pull());
        case ClusterMessage::kRegionBatch:
            return on_batch(from, std::make_shared<const ClusterMessage>(message));
        case ClusterMessage::kRegionAck:
            return on_ack(from, message.region_ack());
        case ClusterMessage::kRegionReadRequest:
            return on_read_request(from, message.region_read_request());
        case ClusterMessage::kRegionReadResponse:
            return on_read_response(from, message.region_read_response());
        case ClusterMessage::kRegionCommand:
            return on_region_command(from, message.region_command());
        case ClusterMessage::kRegionCommandResponse:
            if (!message.region_command_response().accepted()) {
                forming_why_ = fmt::format("region '{}' does not take this one in: {}", region_of(from),
                                           message.region_command_response().reason());
            }
            return;
        default:
            return;  // what groups say among themselves is not for other regions
    }
}

// ---- Proposals ----

Term MultiRegion::write_term() const {
    if (!formed() || dropped_here_ || stranger_ || set_back_ || awaits_first_seed()) {
        return Term{0};
    }
    // Whoever heard of a newer promotion writes no more, before its own log says so.
    if (settings_.primary_only && (!primary() || heard_of_promotion())) {
        return Term{0};
    }
    return local_->write_term();
}

Result<> MultiRegion::propose(ProposalId id, std::string write_set, std::uint64_t hybrid_time) {
    if (!formed()) {
        return fail(ErrorCode::kDatabaseUnavailable,
                    "this group is no region yet: " + (forming_why_.empty() ? std::string{"it is being formed"} : forming_why_));
    }
    if (dropped_here_) {
        return fail(ErrorCode::kDatabaseUnavailable,
                    "this region was dropped by the others: empty its members' data directories and start it anew");
    }
    if (stranger_) {
        return fail(ErrorCode::kDatabaseUnavailable, std::string{kStranger});
    }
    if (set_back_ || awaits_first_seed()) {
        return fail(ErrorCode::kDatabaseUnavailable, "this region has not received the data of the others yet");
    }
    if (settings_.primary_only && (!primary() || heard_of_promotion())) {
        const auto* row = state_->find(heard_of_promotion() ? heard_primary_ : state_->primary);
        return fail(ErrorCode::kNotLeader,
                    fmt::format("writes are taken by region '{}' alone (NORNICDB_CLUSTER_REGION_WRITES=primary)",
                                row == nullptr ? "?" : row->name));
    }
    if (settings_.semi_sync && settings_.refuse_degraded && degraded_) {
        return fail(ErrorCode::kDatabaseUnavailable,
                    "no other region confirms writes, and NORNICDB_CLUSTER_CROSS_REGION_FALLBACK=refuse takes none without");
    }
    proposed_time_ = std::max(proposed_time_, hybrid_time);
    return told_->propose(id, engine::stamp_write_set(header_, write_set), hybrid_time);
}

std::optional<ProposalId> MultiRegion::propose_own(std::string write_set, Own own, std::uint64_t latest) {
    const ProposalId id{kOwnId | next_id_++};
    // Times do not fall along the log, and what is in an entry is not later than the entry: once it is applied, everything of
    // this region up to that time is known here (RegionState::frontier()), so what comes behind must be later. latest_time().
    const std::uint64_t time = std::max({proposed_time_, state_->time, now_ == 0 ? 0 : now_ - 1, latest});
    if (!told_->propose(id, std::move(write_set), time)) {
        return std::nullopt;
    }
    proposed_time_ = time;
    own_.emplace(id, std::move(own));
    return id;
}

bool MultiRegion::propose_change(const RegionChange& change, std::optional<std::uint64_t> command, std::string done) {
    Own own;
    own.command = command;
    own.done = std::move(done);
    return propose_own(engine::region_change_write_set(header_, change), std::move(own)).has_value();
}

bool MultiRegion::change_pending() const {
    return std::any_of(own_.begin(), own_.end(), [](const auto& own) { return own.second.kind == Own::Kind::kChange; });
}

/// What the local strategy says of the mode's own proposals.
void MultiRegion::take_own(Ready& ready) {
    std::erase_if(ready.placed, [&](const Placed& placed) {
        if ((placed.id.value & kOwnId) == 0) {
            last_placed_ = std::max(last_placed_, placed.index);
            return false;
        }
        const auto at = own_.find(placed.id);
        if (at != own_.end()) {
            Own& own = at->second;
            own.index = placed.index;
            own.term = placed.term;
            if (own.kind == Own::Kind::kBatch) {
                Inbound& in = inbound_[own.origin];
                if (in.stream == own.stream) {
                    for (Arrived& arrived : in.arrived) {
                        if (arrived.sequence == own.sequence) {
                            arrived.index = placed.index;
                        }
                    }
                }
            }
        }
        return true;
    });
    std::erase_if(ready.refused, [&](const Refusal& refusal) {
        if ((refusal.id.value & kOwnId) == 0) {
            return false;
        }
        const auto at = own_.find(refusal.id);
        if (at != own_.end()) {
            if (at->second.command) {
                answers_.push_back({*at->second.command, refusal.error});
            }
            if (at->second.kind == Own::Kind::kBatch) {
                Inbound& in = inbound_[at->second.origin];
                if (in.stream == at->second.stream) {
                    end_stream(in, refusal.error.message());
                }
            }
            own_.erase(at);
        }
        return true;
    });
}

void MultiRegion::finish_own() {
    for (auto at = own_.begin(); at != own_.end();) {
        const Own& own = at->second;
        if (own.index.value == 0 || own.index > applied_) {
            ++at;
            continue;
        }
        if (own.command) {
            answers_.push_back({*own.command, own.done});
        }
        at = own_.erase(at);
    }
}

// ---- Commands ----

Result<> MultiRegion::command(std::uint64_t id, const Command& command) {
    if (command.kind != Command::Kind::kPromoteRegion && command.kind != Command::Kind::kDropRegion) {
        return tell(&Strategy::command, id, command);
    }
    if (!leads()) {
        const ClusterView view = local_->view();
        return fail(ErrorCode::kNotLeader,
                    view.leader.empty() ? std::string{"this region has no leader"}
                                        : fmt::format("'{}' leads this region: ask it", view.leader));
    }
    if (!formed()) {
        return fail(ErrorCode::kDatabaseUnavailable, "this group is no region yet: " + forming_why_);
    }
    if (dropped_here_) {
        return fail(ErrorCode::kDatabaseUnavailable, "this region was dropped by the others: ask another one");
    }
    RegionChange change;
    std::string done;
    if (command.kind == Command::Kind::kPromoteRegion) {
        if (primary() && !heard_of_promotion()) {
            answers_.push_back({id, fmt::format("region '{}' is the primary one already", settings_.region)});
            return success();
        }
        change.kind = RegionChange::Kind::kPromote;
        change.epoch = std::max(state_->epoch, heard_epoch_) + 1;
        change.number = state_->self;
        done = fmt::format("region '{}' is the primary one since epoch {}", settings_.region, change.epoch);
    } else {
        const auto* row = state_->find(command.target);
        if (row == nullptr) {
            return fail(ErrorCode::kNotFound, fmt::format("there is no region '{}'", command.target));
        }
        if (row->number == state_->self) {
            return fail(ErrorCode::kInvalidArgument, "a region cannot drop itself: ask another one");
        }
        if (row->number == state_->primary) {
            return fail(ErrorCode::kInvalidArgument,
                        fmt::format("'{}' is the primary region: promote another one first", row->name));
        }
        if (row->dropped) {
            answers_.push_back({id, fmt::format("region '{}' was dropped already", row->name)});
            return success();
        }
        change.kind = RegionChange::Kind::kDrop;
        change.number = row->number;
        done = fmt::format("region '{}' is dropped: nothing is kept for it any more", row->name);
    }
    if (!propose_change(change, id, std::move(done))) {
        return fail(ErrorCode::kBusy, "too many writes are under way: ask again");
    }
    return success();
}

std::vector<CommandAnswer> MultiRegion::take_answers() {
    std::vector<CommandAnswer> out = told_->take_answers();
    std::move(answers_.begin(), answers_.end(), std::back_inserter(out));
    answers_.clear();
    return out;
}

// ---- Outputs ----

std::vector<Outbound> MultiRegion::take_messages() {
    std::vector<Outbound> out = told_->take_messages();
    std::move(messages_.begin(), messages_.end(), std::back_inserter(out));
    messages_.clear();
    return out;
}

Ready MultiRegion::take_ready() {
    Ready ready = told_->take_ready();
    take_own(ready);
    take_reads(ready);
    if (ready.dial) {
        local_dial_ = std::move(*ready.dial);
    }
    ready.dial = dial();
    ready.committed = release(ready.committed);
    std::move(events_.begin(), events_.end(), std::back_inserter(ready.events));
    events_.clear();
    return ready;
}

std::optional<std::vector<std::string>> MultiRegion::dial() {
    std::vector<std::string> all = local_dial_;
    for (const RemoteRegion& remote : settings_.remotes) {
        const auto* row = state_->find(remote.name);
        if (row == nullptr || !row->dropped) {
            all.insert(all.end(), remote.addresses.begin(), remote.addresses.end());
        }
    }
    for (const auto& [id, peer] : peers_) {
        if (!peer.status.leader_address().empty()) {
            all.push_back(peer.status.leader_address());
        }
    }
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    std::erase(all, start_.cluster_address);
    if (all == dialed_) {
        return std::nullopt;
    }
    dialed_ = all;
    return all;
}

void MultiRegion::persisted(LogIndex last) {
    tell(&Strategy::persisted, last);
    if (led_ && formed()) {
        advance_acks();
        pump_sources();
    }
}

void MultiRegion::not_persisted(LogIndex first) {
    tell(&Strategy::not_persisted, first);
    for (auto at = own_.begin(); at != own_.end();) {
        if (at->second.index < first) {
            ++at;
            continue;
        }
        if (at->second.command) {
            answers_.push_back({*at->second.command, fail(ErrorCode::kDiskFull, "the disk is full")});
        }
        if (at->second.kind == Own::Kind::kBatch) {
            end_stream(inbound_[at->second.origin], "the disk is full");
        }
        at = own_.erase(at);
    }
}

void MultiRegion::applied(LogIndex last) {
    tell(&Strategy::applied, last);
    applied_ = last;
    const RegionNumber self = state_->self;
    refresh();
    if (self == 0 && formed()) {
        event(fmt::format("This group is region '{}', number {} of {}; the primary one is '{}'.",
                          settings_.region,
                          state_->self,
                          state_->regions.size(),
                          state_->find(state_->primary) == nullptr ? "?" : state_->find(state_->primary)->name));
    }
    finish_own();
    if (led_ && formed()) {
        advance_acks();
        pump_sources();
    }
}

void MultiRegion::rewound(LogIndex last, bool whole) {
    tell(&Strategy::rewound, last, whole);
    refresh();
}

void MultiRegion::snapshot_installed(const InstalledSnapshot& snapshot) {
    history_ = snapshot.history;
    tell(&Strategy::snapshot_installed, snapshot);
    applied_ = snapshot.index;
    refresh();
}

std::optional<LogIndex> MultiRegion::wanted_from() const {
    std::optional<LogIndex> wanted = local_->wanted_from();
    for (const auto& row : state_->regions) {
        if (row.number != state_->self && !row.dropped) {
            const LogIndex from{row.acked.value + 1};
            wanted = wanted ? std::min(*wanted, from) : from;
        }
    }
    return wanted;
}

// ---- Semi-synchronous ----

LogIndex MultiRegion::durable_elsewhere() const {
    LogIndex best;
    for (const auto& [number, out] : outbound_) {
        best = std::max(best, out.durable);
    }
    return best;
}

/// Regions that were not given up.
bool MultiRegion::has_others() const {
    return std::ranges::any_of(state_->regions, [&](const auto& row) { return row.number != state_->self && !row.dropped; });
}

bool MultiRegion::holding() const {
    return settings_.semi_sync && led_ && formed() && !degraded_ && has_others();
}

LogIndex MultiRegion::release(LogIndex committed) const {
    if (holding()) {
        return std::min(committed, std::max(durable_elsewhere(), applied_));
    }
    // Nobody confirms to who leads no more: what it waited for then is answered once the time for that is over. One that was
    // elected again has to apply all of it before it may write.
    const auto elected_again = [this] {
        const ClusterView view = local_->view();
        return view.leader == start_.self && view.term > held_in_;
    };
    return !led_ && tick_ < held_until_tick_ && !elected_again() ? std::min(committed, std::max(confirmed_then_, applied_)) : committed;
}

void MultiRegion::watch_degradation() {
    if (!settings_.semi_sync) {
        return;
    }
    if (!has_others()) {
        degraded_ = false;  // there is nobody to wait for
        held_up_to_ = LogIndex{0};
        return;
    }
    const LogIndex committed = local_->committed();
    if (durable_elsewhere() >= held_up_to_) {
        // Not only once nothing is on its way: writes that come steadily never leave such a moment.
        if (degraded_ && tick_ - held_since_tick_ <= settings_.semi_sync_ticks) {
            degraded_ = false;
            event("Another region confirms writes again: cross-region replication is semi-synchronous.");
        }
        held_up_to_ = committed;  // what was committed by now has so long from now
        held_since_tick_ = tick_;
    } else if (!degraded_ && tick_ - held_since_tick_ > settings_.semi_sync_ticks) {
        degraded_ = true;
        ++degraded_count_;
        event(fmt::format("No other region confirmed a write within {} ms: {}.",
                          std::uint64_t{settings_.semi_sync_ticks} * settings_.tick_ms,
                          settings_.refuse_degraded ? "writes are refused until one does"
                                                    : "writes are answered without until one does (degraded_async)"));
    }
}

}  // namespace nornic::modes
