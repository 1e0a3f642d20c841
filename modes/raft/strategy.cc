#include "modes/raft/strategy.h"

#include "base/check.h"
#include "base/random.h"
#include "modes/raft/extra.h"
#include "modes/raft/messages.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::modes {

using transport::LANE_CONTROL;
using transport::LANE_LOG;

namespace {

/// Members that are started with the same seed still differ.
std::uint64_t seed_of(const StrategyStart& start) {
    std::uint64_t hash = 0xCBF29CE484222325ULL;  // FNV-1a
    for (const char c : start.self) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
    }
    return start.seed ^ hash;
}

raft::Start core_start(const StrategyStart& start, const RaftSettings& settings) {
    raft::Start out;
    out.self = start.self;
    out.hard_state.term = start.hard_state.term;
    out.hard_state.committed = start.hard_state.committed;
    out.last_index = start.last_index;
    out.last_term = start.last_term;
    out.applied = start.applied;
    out.seed = seed_of(start);
    std::string membership = start.membership;
    out.configuration_index = start.membership_index;
    if (const auto extra = parse_raft_extra(start.hard_state.extra)) {
        out.hard_state.voted_for = start.hard_state.voted_for;
        out.hard_state.directory = extra->directory;
        if (settings.role == RaftRole::kWitness) {
            membership = extra->configuration;
            out.configuration_index = extra->configuration_index;
            out.applied = std::max(extra->configuration_index, LogIndex{start.log->first_index().value - 1});
        }
    } else {
        Random random{seed_of(start) ^ 0x6469726563746F72ULL};
        do {
            out.hard_state.directory = raft::DirectoryId{random.next()};
        } while (out.hard_state.directory.value == 0);
        out.directory_is_new = true;
    }
    if (!membership.empty()) {
        auto configuration = raft::Configuration::decode(membership);
        NORNIC_CHECK(configuration.has_value(), "the configuration on this disk is damaged: {}", configuration.error().message());
        out.configuration = std::move(configuration).value();
    }
    return out;
}

raft::Settings core_settings(const StrategyStart& start, const RaftSettings& settings) {
    raft::Settings out;
    out.election_ticks = settings.election_ticks;
    out.heartbeat_ticks = settings.heartbeat_ticks;
    out.append_entries_max = settings.append_entries_max;
    out.append_bytes_max = settings.append_bytes_max;
    out.follower = {settings.window_messages, settings.window_bytes};
    out.uncommitted_entries_max = start.inflight_max;
    out.uncommitted_bytes_max = start.inflight_bytes_max;
    out.tail_bytes_max = settings.tail_bytes_max;
    out.promote_within = LogIndex{settings.promote_within};
    out.witness_may_lead = settings.witness_may_lead;
    out.tick_ms = settings.tick_ms;
    return out;
}

Entry to_engine(const raft::Entry& entry) {
    return {entry.term, entry.index, entry.hybrid_time, static_cast<EntryKind>(entry.kind), entry.payload};
}

}  // namespace

Result<std::vector<raft::Entry>> DriverLog::read(LogIndex from, LogIndex to, std::size_t bytes) {
    NORNIC_TRY(auto entries, log_.read(from, to, bytes));
    std::vector<raft::Entry> out;
    out.reserve(entries.size());
    for (Entry& entry : entries) {
        out.push_back({entry.term,
                       entry.index,
                       entry.hybrid_time,
                       static_cast<raft::EntryKind>(entry.kind),
                       std::move(entry.payload)});
    }
    return out;
}

Raft::Raft(const StrategyStart& start, const RaftSettings& settings)
    : start_{start},
      settings_{settings},
      history_{start.history},
      log_{*start.log},
      core_{core_start(start, settings), core_settings(start, settings), log_},
      checkpoint_index_{start.applied},
      recorded_configuration_{core_.applied_configuration().first},
      campaigned_in_{start.hard_state.term} {
    if (const auto extra = parse_raft_extra(start.hard_state.extra); extra && !is_witness()) {
        quarantine_ = recorded_quarantine_ = extra->quarantine;
        note_unfit();
    }
}

// ---- What is said ----

void Raft::say(const NodeName& to, ClusterMessage message) {
    messages_.push_back({to, LANE_CONTROL, std::make_shared<const ClusterMessage>(std::move(message))});
}

void Raft::translate(std::vector<raft::Outbound>&& from, std::vector<Outbound>& to) {
    // One object that goes to several is translated once.
    const raft::Message* translated = nullptr;
    std::shared_ptr<const ClusterMessage> message;
    for (raft::Outbound& out : from) {
        if (out.message.get() != translated) {
            translated = out.message.get();
            message = to_wire(*out.message, start_.self, history_);
        }
        to.push_back({std::move(out.to), out.lane == raft::Lane::kLog ? LANE_LOG : LANE_CONTROL, message});
    }
}

std::vector<Outbound> Raft::take_messages() {
    std::vector<Outbound> out = std::exchange(messages_, {});
    translate(core_.take_messages(), out);
    return out;
}

std::string Raft::hint() const {
    const auto leader = infos_.find(core_.leader());
    return leader == infos_.end() ? std::string{} : leader->second.bolt_address;
}

Error Raft::with_hint(const Error& error) const {
    return error.code() == ErrorCode::kNotLeader ? Error{error.code(), error.message(), hint()} : error;
}

std::string Raft::extra() const {
    RaftExtra out;
    out.directory = core_.directory();
    out.quarantine = quarantine_;
    if (is_witness()) {
        const auto& [index, configuration] = core_.applied_configuration();
        if (!configuration.members.empty()) {
            out.configuration_index = index;
            out.configuration = configuration.encode();
        }
    }
    return format_raft_extra(out);
}

// ---- Ready ----

Ready Raft::take_ready() {
    raft::Output from = core_.take_output();
    Ready out;
    out.committed = is_witness() ? LogIndex{0} : from.committed;
    if (from.reset_log) {
        out.reset_log = LogPlace{from.reset_log->index, from.reset_log->index_term};
        return out;
    }
    if (from.hard_state) {
        if (from.hard_state->voted_for == start_.self && from.hard_state->term > campaigned_in_) {
            campaigned_in_ = from.hard_state->term;
            ++elections_;
        }
        out.hard_state = HardState{from.hard_state->term, from.hard_state->voted_for, from.hard_state->committed, extra()};
        recorded_commit_ = from.hard_state->committed;
        recorded_configuration_ = core_.applied_configuration().first;
        recorded_quarantine_ = quarantine_;
    }
    out.entries.reserve(from.entries.size());
    for (const raft::EntryPtr& entry : from.entries) {
        out.entries.push_back(to_engine(*entry));
    }
    translate(std::move(from.messages_after_append), out.messages_after_append);
    translate(std::move(from.messages_after_persist), out.messages_after_persist);
    for (const Offered& offered : placed_) {
        if (from.dropped_after && offered.index > *from.dropped_after) {
            out.refused.push_back({offered.id,
                                   Error{ErrorCode::kNotLeader,
                                         "this member stopped leading before the write was logged",
                                         hint()}});
        } else {
            out.placed.push_back({offered.id, offered.index, offered.term});
        }
    }
    placed_.clear();
    out.reads = std::exchange(reads_, {});
    for (const raft::ReadPoint& point : from.reads) {
        out.reads.push_back({point.id, point.index});
    }
    for (raft::RefusedRead& refused : from.refused_reads) {
        out.refused_reads.push_back({refused.id, std::move(refused.error)});
    }
    for (raft::ChangeOutcome& outcome : core_.take_outcomes()) {
        if (outcome.id != 0) {
            answers_.push_back({outcome.id, std::move(outcome.outcome)});
        }
    }
    out.send_snapshot = std::move(from.send_snapshot);
    if (quarantine_) {
        // What is wrong here must not become others' state.
        for (const NodeName& peer : std::exchange(out.send_snapshot, {})) {
            core_.snapshot_sent(peer, std::nullopt);
        }
    }
    out.events = std::exchange(events_, {});
    std::move(from.events.begin(), from.events.end(), std::back_inserter(out.events));
    out.checkpoint = std::exchange(checkpoint_due_, false);
    out.dial = dial();
    return out;
}

void Raft::persisted(LogIndex) {
    core_.persisted();
    apply_as_witness();
}

void Raft::not_persisted(LogIndex) {
    const std::uint64_t up = core_.not_persisted();
    for (Offered& offered : placed_) {
        offered.index.value -= up;
    }
}

void Raft::applied(LogIndex last) {
    core_.applied(last);
}

/// A witness has nothing to apply; what is committed and on disk is done.
void Raft::apply_as_witness() {
    if (!is_witness()) {
        return;
    }
    core_.applied(std::min(core_.committed(), core_.log().persisted()));
    if (core_.applied_configuration().first != recorded_configuration_) {
        core_.write_hard_state();
    }
}

void Raft::log_reset() {
    core_.log_reset();
}

// ---- Snapshots ----

/// There may be something here that somebody wrote, and not only the beginnings of a group that never came to be: two members
/// may begin one, and the one that loses has a configuration in its log that nobody else knows.
bool Raft::holds_data() const {
    constexpr std::uint64_t kBeginningsMax = 64;
    constexpr std::size_t kBytes = std::size_t{1} << 20;
    const LogIndex last = core_.log().last();
    if (last.value == 0) {
        return false;
    }
    if (log_.first_index().value > 1 || last.value > kBeginningsMax) {
        return true;
    }
    const LogIndex persisted = log_.last_index();
    for (LogIndex at{1}; at <= persisted;) {
        const auto entries = log_.read(at, persisted, kBytes);
        if (!entries || entries.value().empty()) {
            return true;
        }
        for (const raft::Entry& entry : entries.value()) {
            if (entry.kind == raft::EntryKind::kWriteSet) {
                return true;
            }
        }
        at = LogIndex{entries.value().back().index.value + 1};
    }
    return false;
}

bool Raft::accepts_snapshot(
    const NodeName& from, Term term, LogIndex index, std::string_view history, std::string& reason) {
    if (history != history_ && holds_data()) {
        reason = "this member holds data of another group and keeps it; empty its data directory to make it a member";
        return false;
    }
    return core_.accepts_snapshot(from, term, index, reason);
}

void Raft::snapshot_installed(const InstalledSnapshot& snapshot) {
    raft::Configuration configuration;
    if (!snapshot.membership.empty()) {
        auto decoded = raft::Configuration::decode(snapshot.membership);
        NORNIC_CHECK(decoded.has_value(), "the configuration of a snapshot is damaged: {}", decoded.error().message());
        configuration = std::move(decoded).value();
    }
    history_ = snapshot.history;
    checkpoint_index_ = snapshot.index;
    leave_quarantine();
    core_.snapshot_installed(snapshot.index, snapshot.term, snapshot.membership_index, std::move(configuration));
}

void Raft::snapshot_sent(const NodeName& to, std::optional<LogIndex> index) {
    core_.snapshot_sent(to, index);
}

/// A checkpoint where the interval has passed and enough was applied since, so that the log can be cut.
void Raft::consider_checkpoint() {
    if (is_witness() || tick_ - checkpoint_tick_ < settings_.snapshot_interval_ticks) {
        return;
    }
    checkpoint_tick_ = tick_;
    if (core_.applied_index().value - checkpoint_index_.value >= settings_.snapshot_threshold) {
        checkpoint_index_ = core_.applied_index();
        checkpoint_due_ = true;
    }
}

std::optional<LogIndex> Raft::wanted_from() const {
    LogIndex wanted = core_.wanted_from().value_or(LogIndex{UINT64_MAX});
    const std::uint64_t committed = core_.committed().value;
    const LogIndex trailing{committed > settings_.trailing_logs ? committed - settings_.trailing_logs + 1 : 1};
    wanted = std::min(wanted, trailing);
    if (is_witness()) {
        // Its configuration is in the hard state or in the log.
        wanted = std::min(wanted, LogIndex{std::max(recorded_configuration_, LogIndex{1}).value});
        if (core_.applied_configuration().first == recorded_configuration_) {
            wanted = std::min(core_.wanted_from().value_or(LogIndex{UINT64_MAX}), trailing);
        }
    }
    return wanted;
}

// ---- What comes in ----

void Raft::tick() {
    ++tick_;
    core_.tick();
    form();
    ask_to_leave();
    watch_addresses();
    watch_promotion();
    consider_checkpoint();
    apply_as_witness();
    watch_digests();
    if (tick_ % settings_.election_ticks == 0 && std::min(core_.committed(), core_.log().persisted()) > recorded_commit_) {
        core_.write_hard_state();  // how far this disk may be shown if it comes back without a majority
    }
    if (tick_ % settings_.heartbeat_ticks == 0) {
        // What this member itself is may have changed.
        for (const auto& [id, info] : infos_) {
            if (foreign_.contains(id) || (core_.is_up(id) && is_of_another_group(info))) {
                meet(info);
            }
        }
    }
}

void Raft::peer_up(const PeerInfo& peer) {
    if (peer.id == start_.self) {
        return;
    }
    infos_[peer.id] = peer;
    meet(peer);
    if (!core_.formed() && !core_.directory_pending()) {
        ask_to_join(peer.id);
    }
    if (quarantine_) {
        tell_verdict(peer.id, *quarantine_, transport::StateVerdict::IN_QUARANTINE);
    }
}

void Raft::peer_down(const NodeName& peer, transport::LostReason reason) {
    core_.peer_down(peer, reason == transport::LostReason::kClosed);
    fresh_.erase(peer);
    foreign_.erase(peer);
    if (quarantined_peers_.erase(peer) != 0) {
        note_unfit();  // it may come back with other data
    }
}

/// Both have data, of two histories: a group that was begun anew, and what is left of the old one. Their members name each
/// other in their configurations, and must not vote or lead across (practice A30).
bool Raft::is_of_another_group(const PeerInfo& peer) const {
    if (is_witness() || !core_.formed() || core_.log().last().value == 0) {
        return false;
    }
    return std::any_of(peer.features.begin(), peer.features.end(), [this](std::string_view feature) {
        return feature.starts_with(kRaftHistoryFeature) && feature.substr(kRaftHistoryFeature.size()) != history_;
    });
}

void Raft::meet(const PeerInfo& peer) {
    if (!is_of_another_group(peer)) {
        foreign_.erase(peer.id);
        core_.peer_up(peer.id);
    } else if (foreign_.insert(peer.id).second) {
        core_.peer_down(peer.id, false);
        event(fmt::format("'{}' holds data of another group than this member and is not listened to; one of both is left over "
                          "from a group that was begun anew: empty its data directory and start it again.",
                          peer.id));
    }
}

void Raft::step(const NodeName& from, const ClusterMessage& message) {
    if (!infos_.contains(from)) {
        return;  // nobody that the bus has spoken of
    }
    switch (message.body_case()) {
        case ClusterMessage::kJoinRequest:
            on_join_request(from, message.join_request());
            return;
        case ClusterMessage::kJoinResponse:
            on_join_response(from, message.join_response());
            return;
        case ClusterMessage::kPromote:
            on_promote(from);
            return;
        case ClusterMessage::kPromoteResponse:
            on_promote_response(message.promote_response());
            return;
        default:
            break;
    }
    if (foreign_.contains(from)) {
        return;
    }
    if (message.has_state_digest()) {
        on_state_digest(from, message.state_digest());
        return;
    }
    if (message.has_state_verdict()) {
        on_state_verdict(from, message.state_verdict());
        return;
    }
    std::string history;
    std::string why;
    auto translated = from_wire(message, history, why);
    if (!translated) {
        if (!why.empty() && refused_messages_++ == 0) {
            event(fmt::format("A message of '{}' is not understood and dropped: {}.", from, why));
        }
        return;
    }
    if (auto* append = std::get_if<raft::AppendEntries>(&translated->body)) {
        if (is_witness()) {
            history_ = history.empty() ? history_ : history;  // it holds no data; what it passes on is the group's
        }
        // A witness that leads may not know whose data it is; an empty member takes no writes of it.
        const bool writes = std::ranges::any_of(
            append->entries, [](const raft::EntryPtr& entry) { return entry->kind == raft::EntryKind::kWriteSet; });
        append->other_history = !is_witness() && (history.empty() ? writes && !holds_data() : history != history_);
        const bool foreign = append->other_history && holds_data();
        append->keeps_own = foreign;
        if (foreign && !foreign_here_) {
            event(fmt::format("This member holds data of another group than '{}' and keeps it; empty its data directory to "
                              "make it a member.",
                              from));
        }
        foreign_here_ = foreign;
    }
    core_.step(from, *translated);
    apply_as_witness();
}

Result<> Raft::propose(ProposalId id, std::string write_set, std::uint64_t hybrid_time) {
    if (is_witness()) {
        return fail(ErrorCode::kReadOnly, "this member is a witness: it holds no data and takes no writes");
    }
    if (quarantine_) {
        return fail(ErrorCode::kDatabaseUnavailable, "this member is in quarantine: " + why_quarantined());
    }
    const std::uint64_t unapplied = core_.log().last().value - core_.applied_index().value;
    if (core_.role() == raft::Role::kLeader && unapplied >= start_.inflight_max) {
        return fail(ErrorCode::kBusy, fmt::format("{} writes are waiting for a majority or to be applied", unapplied));
    }
    auto index = core_.propose(raft::EntryKind::kWriteSet, std::move(write_set), hybrid_time);
    if (!index) {
        return with_hint(index.error());
    }
    placed_.push_back({id, index.value(), core_.term()});
    return success();
}

Result<> Raft::read(ReadId id, ReadConsistency level) {
    if (quarantine_) {
        return fail(ErrorCode::kDatabaseUnavailable, "this member is in quarantine: " + why_quarantined());
    }
    if (level == ReadConsistency::kOne || level == ReadConsistency::kLocalOne) {
        reads_.push_back({id, core_.applied_index()});
        return success();
    }
    if (auto asked = core_.read_index(id); !asked) {
        return with_hint(asked.error());
    }
    return success();
}

// ---- Commands ----

Result<> Raft::add_member(std::uint64_t id, const Command& command) {
    if (command.target.empty() || command.address.empty()) {
        return fail(ErrorCode::kInvalidArgument, "a member to add needs a node id and the address that its peers dial");
    }
    raft::Change change;
    change.id = command.target;
    change.kind = command.member_role == Command::MemberRole::kLearner ? raft::Change::Kind::kAddLearner
                                                                       : raft::Change::Kind::kAddVoter;
    change.member.address = command.address;
    change.member.priority = command.priority;
    change.member.witness = command.member_role == Command::MemberRole::kWitness;
    return core_.change_members(id, {change});
}

Result<> Raft::command(std::uint64_t id, const Command& command) {
    const auto asked = [&]() -> Result<> {
        switch (command.kind) {
            case Command::Kind::kTransfer:
                return core_.transfer(id, command.target);
            case Command::Kind::kStepDown:
                if (core_.role() == raft::Role::kLeader && !core_.transferring()) {
                    if (auto handed = core_.transfer(id, NodeName{})) {
                        return handed;
                    }
                    NORNIC_TRY(core_.step_down("an operator asked for it"));
                    answers_.push_back({id, std::string{"This member stopped leading; an election follows."}});
                    return success();
                }
                return core_.transfer(id, NodeName{});
            case Command::Kind::kAddMember:
                return add_member(id, command);
            case Command::Kind::kRemoveMember:
                return core_.change_members(id, {{raft::Change::Kind::kRemove, command.target, {}}});
            case Command::Kind::kSnapshot:
                if (is_witness()) {
                    return fail(ErrorCode::kUnsupported, "a witness holds no data");
                }
                checkpoint_due_ = true;
                checkpoint_index_ = core_.applied_index();
                checkpoint_tick_ = tick_;
                answers_.push_back(
                    {id, fmt::format("A snapshot as of log index {} is being written.", core_.applied_index().value)});
                return success();
            case Command::Kind::kPromote:
                if (core_.role() == raft::Role::kLeader) {
                    answers_.push_back({id, std::string{"This member leads already."}});
                    return success();
                }
                if (core_.leader().empty()) {
                    return fail(ErrorCode::kDatabaseUnavailable, "no leader is known: " + core_.why_no_leader());
                }
                {
                    ClusterMessage message;
                    message.mutable_promote()->set_force(false);
                    say(core_.leader(), std::move(message));
                }
                promotions_.push_back(id);
                promotion_tick_ = tick_;
                return success();
        }
        return fail(ErrorCode::kUnsupported, "this mode has no such command");
    }();
    if (!asked) {
        return with_hint(asked.error());
    }
    return success();
}

/// A follower was told to lead, and asks the leader to hand over.
void Raft::on_promote(const NodeName& from) {
    ClusterMessage message;
    auto& response = *message.mutable_promote_response();
    response.set_epoch(core_.term().value);
    const auto handed = core_.transfer(0, from);
    response.set_accepted(handed.has_value());
    if (!handed) {
        response.set_reason(handed.error().message());
    }
    say(from, std::move(message));
}

void Raft::on_promote_response(const transport::PromoteResponse& m) {
    if (m.accepted()) {
        return;
    }
    constexpr std::size_t kReasonBytesMax = 1024;
    for (const std::uint64_t id : std::exchange(promotions_, {})) {
        answers_.push_back({id, Error{ErrorCode::kConflict, m.reason().substr(0, kReasonBytesMax)}});
    }
}

void Raft::watch_promotion() {
    if (promotions_.empty()) {
        return;
    }
    const bool leads = core_.role() == raft::Role::kLeader;
    if (!leads && tick_ - promotion_tick_ < 2 * std::uint64_t{settings_.election_ticks}) {
        return;
    }
    for (const std::uint64_t id : std::exchange(promotions_, {})) {
        answers_.push_back({id,
                            leads ? Result<std::string>{fmt::format("This member leads in term {}.", core_.term().value)}
                                  : Result<std::string>{Error{ErrorCode::kTimedOut, "leadership was not handed over in time"}}});
    }
}

void Raft::leave() {
    leaving_ = true;
    asked_tick_ = 0;
    core_.leave();
}

bool Raft::left() const {
    if (!core_.left() || !settings_.leave_on_stop || !core_.formed()) {
        return core_.left();
    }
    // The last one has nobody to leave to.
    return core_.removed() || !core_.is_member() || core_.configuration().members.size() == 1 ||
           core_.role() == raft::Role::kLeader;
}

// ---- What is ----

ClusterView Raft::view() const {
    ClusterView view;
    view.mode = "raft";
    view.cluster_id = start_.cluster_id;
    view.self = start_.self;
    view.term = core_.term();
    view.commit_index = core_.committed();
    view.leader_changes = core_.leader_changes();
    view.leader = core_.leader();
    const raft::Configuration& configuration = core_.configuration();
    const bool leads = core_.role() == raft::Role::kLeader;
    const auto role_of = [&](const NodeName& id, const raft::Member* member) {
        if (member != nullptr && member->witness) {
            return id == core_.leader() ? Role::kLeader : Role::kWitness;
        }
        if (id == core_.leader()) {
            return Role::kLeader;
        }
        if (id == start_.self && core_.role() != raft::Role::kFollower) {
            return Role::kCandidate;
        }
        return member != nullptr && !member->votes() ? Role::kLearner : Role::kFollower;
    };
    const raft::Member* self = configuration.find(start_.self);
    view.role = is_witness() && !leads ? Role::kWitness : role_of(start_.self, self);
    view.accepts_writes = write_term().value != 0;
    if (quarantine_) {
        view.state = "quarantined";
        view.reason = why_quarantined();
    } else if (foreign_here_) {
        view.state = "foreign_data";
        view.reason = "this member holds data of another group; empty its data directory to make it a member";
    } else if (core_.removed()) {
        view.state = "starting";
        view.reason = "this member was taken out of the group; empty its data directory and start it with "
                      "NORNICDB_CLUSTER_RAFT_JOIN to add it again";
    } else if (!core_.formed()) {
        view.state = "starting";
        view.reason = !refused_why_.empty() ? refused_why_
                      : group_exists_       ? "this member waits for the group's leader"
                      : settings_.bootstrap ? "a majority of NORNICDB_CLUSTER_RAFT_PEERS must be reached to form the group"
                                            : "no group was found yet; start the member that has "
                                              "NORNICDB_CLUSTER_RAFT_BOOTSTRAP=true, or one of a running group";
    } else if (core_.leader().empty() && std::any_of(foreign_.begin(), foreign_.end(), [&](const NodeName& id) {
                   return configuration.find(id) != nullptr;
               })) {
        view.state = "foreign_data";
        view.reason = fmt::format("'{}' belongs to another group now, which was begun anew; to follow it, empty this member's "
                                  "data directory and start it again",
                                  *foreign_.begin());
    } else if (core_.leader().empty()) {
        view.state = core_.has_reachable_majority() ? "read_only" : "no_quorum";
        view.reason = core_.why_no_leader();
    } else if (leads && !view.accepts_writes) {
        view.state = core_.has_quorum() ? "read_only" : "no_quorum";
        view.reason = core_.transferring() ? "leadership is being handed over"
                                           : "this member has just become the leader and makes sure of what its log holds";
    } else if (!leads && core_.needs_snapshot()) {
        view.state = "catching_up";
        view.reason = "a snapshot of the leader's data is on its way";
    }
    const auto add = [&](const NodeName& id, const raft::Member* member) {
        MemberView out;
        out.id = id;
        out.role = role_of(id, member);
        out.serves_data = member == nullptr || !member->witness;
        out.cluster_address = member == nullptr ? std::string{} : member->address;
        if (id == start_.self) {
            out.cluster_address = start_.cluster_address;
            out.bolt_address = start_.bolt_address;
            out.http_address = start_.http_address;
            out.serves_data = !is_witness() && !quarantine_;
            out.role = view.role;
            out.match_index = core_.log().persisted();
            out.applied_index = core_.applied_index();
        } else {
            if (const auto info = infos_.find(id); info != infos_.end()) {
                out.bolt_address = info->second.bolt_address;
                out.http_address = info->second.http_address;
            }
            out.serves_data = out.serves_data && !quarantined_peers_.contains(id);
            out.healthy = core_.is_up(id);
            if (const raft::Progress* progress = core_.progress(id)) {
                out.healthy = out.healthy && core_.is_heard(id);
                out.match_index = progress->match();
                out.applied_index = progress->applied();
            }
        }
        view.members.push_back(std::move(out));
    };
    add(start_.self, self);
    for (const auto& [id, member] : configuration.members) {
        if (id != start_.self) {
            add(id, &member);
        }
    }
    if (!view.leader.empty() && view.leader != start_.self && configuration.find(view.leader) == nullptr) {
        add(view.leader, nullptr);  // it will tell the configuration
    }
    view.details = {{"voters", fmt::format("{}", configuration.voters())},
                    {"joint", configuration.joint ? "true" : "false"},
                    {"bootstrap_state", core_.formed() ? "formed" : group_exists_ ? "joining" : "waiting"},
                    {"raft_state", std::string{raft::to_string(core_.role())}},
                    {"elections", fmt::format("{}", elections_)},
                    {"leader_silent_ms", fmt::format("{}", leads ? 0 : core_.leader_silent_ticks() * settings_.tick_ms)},
                    {"voted_for", core_.voted_for()},
                    {"last_log_index", fmt::format("{}", core_.log().last().value)},
                    {"last_log_term", fmt::format("{}", core_.log().last_term().value)},
                    {"configuration_index", fmt::format("{}", core_.configuration_index().value)},
                    {"state_comparisons", fmt::format("{}", comparisons_)},
                    {"state_mismatches", fmt::format("{}", mismatches_)},
                    {"state_compared_index", fmt::format("{}", compared_index_.value)},
                    {"state_differs", alarm_ || quarantine_ ? "true" : "false"},
                    {"state_differs_index", fmt::format("{}", quarantine_.value_or(alarm_.value_or(LogIndex{0})).value)}};
    return view;
}

std::unique_ptr<Strategy> make_raft(const StrategyStart& start, const RaftSettings& settings) {
    return std::make_unique<Raft>(start, settings);
}

}  // namespace nornic::modes
