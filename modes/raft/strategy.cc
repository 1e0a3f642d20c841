#include "modes/raft/strategy.h"

#include "base/hash.h"
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
    return start.seed ^ fnv1a(start.self);
}

raft::Start core_start(const StrategyStart& start, const RaftSettings& settings) {
    raft::Start out;
    out.self = start.self;
    out.witness = settings.role == RaftRole::kWitness;
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
        out.hard_state.removed_at = extra->removed_at;
        if (settings.role == RaftRole::kWitness) {
            membership = extra->configuration;
            out.configuration_index = extra->configuration_index;
            // Of a configuration that goes beyond the log the process ended before that was begun anew behind it.
            const LogIndex begin{start.log->first_index().value - 1};
            out.applied = extra->configuration_index > start.last_index ? begin : std::max(extra->configuration_index, begin);
        }
    } else {
        Random random{seed_of(start) ^ 0x6469726563746F72ULL};
        do {
            out.hard_state.directory = raft::DirectoryId{random.next()};
        } while (out.hard_state.directory.value == 0);
        out.directory_is_new = true;
    }
    if (!membership.empty()) {
        out.configuration = raft::Configuration::decode_checked(membership, "on this disk");
    } else {
        out.configuration_index = LogIndex{0};  // it was let go of its cluster (nornicdb unbind), or never had one
    }
    return out;
}

/// A client waits for less.
constexpr std::uint32_t kReadPatienceMs = 120'000;

raft::Settings core_settings(const StrategyStart& start, const RaftSettings& settings) {
    raft::Settings out;
    out.election_ticks = settings.election_ticks;
    out.heartbeat_ticks = settings.heartbeat_ticks;
    out.read_ticks_max = std::max(2 * settings.election_ticks, kReadPatienceMs / settings.tick_ms);
    out.append_entries_max = settings.append_entries_max;
    out.append_bytes_max = settings.append_bytes_max;
    out.follower = {settings.window_messages, settings.window_bytes};
    out.uncommitted_entries_max = start.inflight_max;
    out.uncommitted_bytes_max = start.inflight_bytes_max;
    out.tail_bytes_max = settings.tail_bytes_max;
    out.promote_within = LogIndex{settings.promote_within};
    out.witness_may_lead = settings.witness_may_lead;
    return out;
}

/// Also what only a later version can read.
bool is_data(raft::EntryKind kind) {
    return kind != raft::EntryKind::kNoop && kind != raft::EntryKind::kMembership;
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
    const auto extra = parse_raft_extra(start.hard_state.extra);
    if (extra && !is_witness()) {
        quarantine_ = recorded_quarantine_ = extra->quarantine;
        note_unfit();
    }
    group_is_certain_ = group_exists_ = extra && extra->grouped && !core_.formed();
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
    const auto& [index, configuration] = core_.applied_configuration();
    return extra(index, configuration.members.empty() ? std::string{} : configuration.encode());
}

std::string Raft::extra(LogIndex configuration_index, const std::string& configuration) const {
    RaftExtra out;
    out.directory = core_.directory();
    out.removed_at = core_.removed_at();
    out.quarantine = quarantine_;
    out.grouped = group_is_certain_ && !core_.formed();
    if (is_witness() && !configuration.empty()) {
        out.configuration_index = configuration_index;
        out.configuration = configuration;
    }
    return format_raft_extra(out);
}

// ---- Ready ----

Ready Raft::take_ready() {
    raft::Output from = core_.take_output();
    Ready out;
    for (raft::LeaderChange& change : from.leader_changes) {
        out.leader_changes.push_back({change.term, std::move(change.from), std::move(change.to), std::move(change.reason)});
    }
    out.committed = is_witness() ? LogIndex{0} : from.committed;
    if (from.reset_log) {
        out.reset_log = LogPlace{from.reset_log->index, from.reset_log->index_term};
        // Never the log without the configuration that it goes on under: by an earlier one, whom the group has taken out since
        // could elect this member.
        out.hard_state = HardState{core_.term(),
                                   core_.voted_for(),
                                   recorded_commit_,
                                   extra(from.reset_log->index, from.reset_log->configuration)};
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
    out.errors = std::exchange(errors_, {});
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
        if (std::ranges::any_of(entries.value(), [](const raft::Entry& entry) { return is_data(entry.kind); })) {
            return true;
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
        configuration = raft::Configuration::decode_checked(snapshot.membership, "of a snapshot");
    }
    history_ = snapshot.history;
    checkpoint_index_ = snapshot.index;
    leave_quarantine();
    core_.snapshot_installed(snapshot.index, snapshot.term, snapshot.membership_index, std::move(configuration));
}

void Raft::snapshot_sent(const NodeName& to, std::optional<LogIndex> index) {
    core_.snapshot_sent(to, index);
    // Whoever got the state from behind a mark never applies the mark, and is not waited for.
    if (index && comparison_ && *index >= comparison_->index) {
        comparison_->answers.try_emplace(to, fail(ErrorCode::kNotFound, "it was sent a snapshot from behind it"));
    }
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
    watch_members();
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
    if (is_outside() && !core_.directory_pending() && !leaving_) {
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
        core_.peer_up(peer.id, peer.witness);
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
    auto* const append = std::get_if<raft::AppendEntries>(&translated->body);
    if (append != nullptr) {
        if (is_witness()) {
            history_ = history.empty() ? history_ : history;  // it holds no data; what it passes on is the group's
        }
        // A witness that leads may not know whose data it is; an empty member takes no writes of it.
        const bool writes =
            std::ranges::any_of(append->entries, [](const raft::EntryPtr& entry) { return is_data(entry->kind); });
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
    if (append != nullptr && append->commit > LogIndex{0} && core_.leader() == from) {
        note_group();
    }
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
    const auto held_by = level == ReadConsistency::kAll ? raft::HeldBy::kEveryone : raft::HeldBy::kMajority;
    if (auto asked = core_.read_index(id, held_by); !asked) {
        return with_hint(asked.error());
    }
    return success();
}

Result<> Raft::expect(ReadConsistency level) {
    const NodeName missing = level == ReadConsistency::kAll ? core_.missing_member() : NodeName{};
    return missing.empty() ? Result<>{success()}
                           : fail(ErrorCode::kDatabaseUnavailable,
                                  fmt::format("consistency ALL takes all {} members, and '{}' has not been heard lately; nothing was written",
                                              core_.configuration().members.size(),
                                              missing));
}

LogIndex Raft::acknowledged(ReadConsistency level) const {
    return level == ReadConsistency::kAll ? core_.held_by_everyone() : core_.committed();
}

std::unique_ptr<Strategy> make_raft(const StrategyStart& start, const RaftSettings& settings) {
    return std::make_unique<Raft>(start, settings);
}

}  // namespace nornic::modes
