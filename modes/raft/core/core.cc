#include "modes/raft/core/core.h"

#include "base/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace nornic::raft {

std::string_view to_string(Role role) noexcept {
    switch (role) {
        case Role::kFollower:
            return "follower";
        case Role::kPreCandidate:
            return "pre-candidate";
        case Role::kCandidate:
            return "candidate";
        case Role::kLeader:
            return "leader";
    }
    return "?";
}

Core::Core(const Start& start, const Settings& settings, Storage& storage)
    : start_{start},
      settings_{settings},
      log_{storage, start.last_index, start.last_term, settings.tail_bytes_max},
      random_{start.seed},
      hard_{start.hard_state},
      committed_{start.applied},
      applied_{start.applied},
      matched_{start.applied} {
    NORNIC_CHECK(hard_.directory.value != 0, "member '{}' has no directory id", start.self);
    // A store that was standalone before has entries of term 1 and no term of its own.
    hard_.term = std::max(hard_.term, start.last_term);
    configurations_.emplace_back(start.configuration_index, start.configuration);
    // Those behind it are in force already, applied or not (thesis 4.1).
    constexpr std::size_t kScanBytes = std::size_t{4} << 20;
    LogIndex at{std::max({start.applied.value, start.configuration_index.value, storage.first_index().value - 1}) + 1};
    while (at <= start.last_index) {
        const auto entries = storage.read(at, start.last_index, kScanBytes);
        NORNIC_CHECK(entries && !entries.value().empty(),
                     "log entry {} cannot be read: {}",
                     at.value,
                     entries ? "there is none" : entries.error().message());
        for (const Entry& entry : entries.value()) {
            if (entry.kind == EntryKind::kMembership) {
                configurations_.emplace_back(
                    entry.index, Configuration::decode_checked(entry.payload, fmt::format("of entry {}", entry.index.value)));
            }
        }
        at = LogIndex{entries.value().back().index.value + 1};
    }
    hard_dirty_ = start.directory_is_new;
    began_outside_ = !initialized();
    const bool in_again = is_member() && configuration_index() > hard_.removed_at;
    if (removed() && (!formed() || in_again)) {
        note_not_removed();  // it was let go of its group since, or the process ended before this was written down
    } else if (removed() || (formed() && !has_been_member())) {
        note_removed(std::max(hard_.removed_at, configuration_index()), "This member was taken out of the group");
    }
    timeout_ticks_ = random_timeout();
    next_context_ = random_.next();  // an answer to a question of the process before must not fit one of this
}

// ---- What is said ----

void Core::say(const NodeName& to, Lane lane, Body body) {
    if (directory_pending()) {
        return say_after_persist(to, lane, std::move(body));
    }
    messages_.push_back({to, lane, std::make_shared<const Message>(Message{hard_.directory, std::move(body)})});
}

/// Not before the term and the vote that are known here are on disk (practice A15).
void Core::say_after_persist(const NodeName& to, Lane lane, Body body) {
    auto& out = hard_state_pending() ? out_.messages_after_persist : messages_;
    out.push_back({to, lane, std::make_shared<const Message>(Message{hard_.directory, std::move(body)})});
}

// ---- Terms and roles ----

void Core::set_term(Term term) {
    NORNIC_CHECK(term > hard_.term, "term {} after {}", term.value, hard_.term.value);
    hard_.term = term;
    hard_.voted_for.clear();
    hard_dirty_ = true;
    // What is committed is in every later leader's log; of the rest nothing is known (thesis 3.6.3).
    matched_ = committed_;
}

std::uint32_t Core::random_timeout() {
    if (role_ != Role::kFollower) {
        // A round of votes takes a round trip and a sync; pre-votes disturb nobody, so it is tried again soon.
        const std::uint32_t wait = std::max(2U, settings_.heartbeat_ticks);
        return wait + static_cast<std::uint32_t>(random_.below(2 * std::uint64_t{wait}));
    }
    const std::uint32_t election = std::max(2U, settings_.election_ticks);
    std::uint32_t timeout = election + static_cast<std::uint32_t>(random_.below(election));
    // Those that should rather lead go first.
    if (const Member* self = configuration().find(start_.self)) {
        std::uint32_t before = start_.witness ? 1 : 0;
        for (const auto& [id, member] : configuration().members) {
            before += member.votes() && member.priority > self->priority ? 1 : 0;
        }
        timeout += before * settings_.heartbeat_ticks;
    }
    return timeout;
}

void Core::note_leader(const NodeName& to, std::string reason) {
    out_.leader_changes.push_back({hard_.term, last_leader_, to, reason});
    leader_lost_why_ = to.empty() ? std::move(reason) : std::string{};
    last_leader_ = to.empty() ? last_leader_ : to;
}

std::string Core::why_leader_is_missed() const {
    return down_.contains(leader_) ? fmt::format("the connection to '{}' broke", leader_)
                                   : fmt::format("'{}' was silent for an election time-out", leader_);
}

void Core::become_follower(Term term, const NodeName& leader, std::string_view why) {
    if (role_ == Role::kLeader) {
        stop_leading(leader.empty() ? fmt::format("a member is in term {}", term.value)
                                    : fmt::format("'{}' leads in term {}", leader, term.value));
    }
    if (term > hard_.term) {
        set_term(term);
    }
    role_ = Role::kFollower;
    votes_.clear();
    if (leader_ != leader) {
        refuse_reads(Error{ErrorCode::kDatabaseUnavailable, "the leader changed; ask again"});
        if (!leader.empty()) {
            ++leader_changes_;
            event(fmt::format("'{}' leads in term {}.", leader, term.value));
            note_leader(leader,
                        leader == last_leader_      ? "it is heard again"
                        : !leader_lost_why_.empty() ? leader_lost_why_
                        : last_leader_.empty()      ? "this member heard of it first"
                                                    : "it was elected");
        } else {
            note_leader(leader, why.empty() ? fmt::format("a member began term {}", term.value) : std::string{why});
        }
    }
    leader_ = leader;
    if (!leader.empty()) {
        // A later term alone is no sign of a leader: whose log is too new to vote for others must get its turn.
        leader_heard_tick_ = tick_;
        suspect_at_tick_ = 0;
    }
    timeout_ticks_ = random_timeout();
}

// ---- The log ----

void Core::append_entry(EntryPtr entry) {
    NORNIC_CHECK(entry->index.value == log_.last().value + 1, "entry {} behind {}", entry->index.value, log_.last().value);
    NORNIC_CHECK(entry->term >= log_.last_term(), "term {} behind {}", entry->term.value, log_.last_term().value);
    if (entry->kind == EntryKind::kMembership) {
        push_configuration(entry->index,
                           Configuration::decode_checked(entry->payload, fmt::format("of entry {}", entry->index.value)));
    }
    log_.append(std::move(entry));
}

LogIndex Core::append_own(EntryKind kind, std::string payload, std::uint64_t hybrid_time) {
    const LogIndex index{log_.last().value + 1};
    written_bytes_ += payload.size() + kEntryBytes;
    append_entry(std::make_shared<const Entry>(Entry{hard_.term, index, hybrid_time, kind, std::move(payload)}));
    return index;
}

void Core::truncate_log(LogIndex keep) {
    NORNIC_CHECK(keep >= committed_, "cut behind {} but {} is committed", keep.value, committed_.value);
    log_.truncate(keep);
    matched_ = std::min(matched_, keep);
    while (!sizes_.empty() && sizes_.back().first > keep) {
        uncommitted_bytes_ -= sizes_.back().second;
        sizes_.pop_back();
    }
    // A configuration goes with its entry (thesis 4.1). The first one is applied.
    while (configurations_.size() > 1 && configurations_.back().first > keep) {
        configurations_.pop_back();
    }
}

void Core::push_configuration(LogIndex index, Configuration configuration) {
    configurations_.emplace_back(index, std::move(configuration));
    if (is_member() && index > hard_.removed_at) {
        note_not_removed();
    }
}

const std::pair<LogIndex, Configuration>* Core::committed_configuration() const {
    const auto known = std::find_if(
        configurations_.rbegin(), configurations_.rend(), [&](const auto& entry) { return entry.first <= committed_; });
    return known == configurations_.rend() ? nullptr : &*known;
}

bool Core::left_out() const {
    const auto* known = committed_configuration();
    return began_outside_ && formed() && !removed() && leader_.empty() && role_ != Role::kLeader && known != nullptr &&
           known->first.value > 0 && known->second.find(start_.self) == nullptr;
}

const std::pair<LogIndex, Configuration>& Core::applied_configuration() const {
    return configurations_.front();
}

void Core::commit_to(LogIndex index) {
    NORNIC_CHECK(index <= log_.last(), "commit {} of {}", index.value, log_.last().value);
    if (index <= committed_) {
        return;
    }
    committed_ = index;
    while (!sizes_.empty() && sizes_.front().first <= index) {
        uncommitted_bytes_ -= sizes_.front().second;
        sizes_.pop_front();
    }
    if (!is_member() && has_been_member() && configuration_index() <= committed_ && !removed() && role_ != Role::kLeader) {
        note_removed(configuration_index(), "This member was taken out of the group");
    }
}

bool Core::has_been_member() const {
    return std::ranges::any_of(configurations_, [&](const auto& entry) { return entry.second.find(start_.self) != nullptr; });
}

void Core::note_removed(LogIndex at, std::string_view how) {
    hard_.removed_at = at;
    hard_dirty_ = true;
    event(fmt::format("{}. It keeps its data and takes no part any more; stop it, or {}.", how, kHowToReturn));
}

/// It goes to the disk with or before the configuration that it follows from.
void Core::note_not_removed() {
    hard_dirty_ = hard_dirty_ || removed();
    hard_.removed_at = LogIndex{};
}

Error Core::not_leader() const {
    return Error{ErrorCode::kNotLeader,
                 leader_.empty() ? "no leader is known: " + why_no_leader() : fmt::format("'{}' leads", leader_)};
}

// ---- Time ----

void Core::tick() {
    ++tick_;
    give_up_old_reads();
    if (role_ != Role::kLeader) {
        watch_election();
        continue_transfer();
        ask_leader_again();
        return;
    }
    leaderless_tick_ = tick_;
    if (!has_quorum()) {
        stop_leading("no majority was heard for an election time-out");
        become_follower(hard_.term, NodeName{});
        return;
    }
    // A member that cannot write must not go on leading only because its heartbeats still flow (practice A21).
    if (disk_stalled_ && configuration().voters() > 1) {
        if (const auto successor = fittest_successor()) {
            say(*successor, Lane::kControl, TimeoutNow{hard_.term});
        }
        stop_leading("its disk does not answer");
        become_follower(hard_.term, NodeName{});
        return;
    }
    // One that has room shall lead (practice A22).
    if (disk_full_ && !transfer_ && tick_ >= leave_full_disk_tick_) {
        if (const auto successor = fittest_successor()) {
            leave_full_disk_tick_ = tick_ + 10 * std::uint64_t{settings_.election_ticks};  // not again soon: it may have none, too
            begin_transfer(0, *successor, fmt::format("Leadership goes to '{}', since the disk here has no room.", *successor));
        }
    }
    if (tick_ - heartbeat_tick_ >= settings_.heartbeat_ticks) {
        send_heartbeats();
    }
    watch_followers();
    continue_membership();
    continue_transfer();
}

/// Nobody may be given up for the time in which this member was not there to hear it.
void Core::paused(std::uint64_t ticks) {
    tick_ += ticks;
    leader_heard_tick_ += ticks;
    leaderless_tick_ += ticks;
    heartbeat_tick_ += ticks;
    suspect_at_tick_ += suspect_at_tick_ != 0 ? ticks : 0;
    for (auto& [id, progress] : followers_) {
        progress.shift(ticks);
    }
    if (transfer_) {
        transfer_->began_tick += ticks;
    }
}

void Core::peer_up(const NodeName& peer, bool witness) {
    up_.insert(peer);
    said_witness_[peer] = witness;
    down_.erase(peer);
    if (peer == leader_) {
        suspect_at_tick_ = 0;
    }
    // One that has no vote asks nobody, and would never hear that it was taken out while it was away.
    if (const auto* known = committed_configuration(); known != nullptr && known->first.value > 0 &&
                                                       known->second.find(peer) == nullptr && configuration().find(peer) == nullptr) {
        say(peer, Lane::kControl, NotMember{hard_.term, known->first});
    }
    const auto follower = followers_.find(peer);
    if (role_ == Role::kLeader && follower != followers_.end()) {
        follower->second.probe();
        replicate(peer, follower->second, log_.persisted(), messages_);
    }
}

void Core::peer_down(const NodeName& peer, bool process_ended) {
    up_.erase(peer);
    down_.insert(peer);
    departures_.erase(peer);
    if (const auto follower = followers_.find(peer); follower != followers_.end()) {
        follower->second.probe();
    }
    if (process_ended) {
        suspect_leader(peer);
    }
}

// ---- Messages ----

namespace {

/// nullopt: the message has none.
std::optional<Term> term_of(const Body& body) {
    return std::visit(
        [](const auto& m) -> std::optional<Term> {
            if constexpr (requires { m.term; }) {
                return m.term;
            } else {
                return std::nullopt;
            }
        },
        body);
}

}  // namespace

void Core::step(const NodeName& from, const Message& message) {
    if (from == start_.self) {
        return;
    }
    if (leader_.empty()) {
        const Member* member = configuration().find(from);
        if (member != nullptr && member->directory.value != 0 && member->directory != message.directory) {
            new_disks_.insert(from);
        } else {
            new_disks_.erase(from);
        }
    }
    if (const auto* vote = std::get_if<VoteRequest>(&message.body)) {
        on_vote_request(from, *vote);
        return;
    }
    if (const auto* not_member = std::get_if<NotMember>(&message.body)) {
        on_not_member(*not_member);
        return;
    }
    const bool from_leader = std::holds_alternative<AppendEntries>(message.body) ||
                             std::holds_alternative<Heartbeat>(message.body) ||
                             std::holds_alternative<LogReset>(message.body);
    if (const auto term = term_of(message.body)) {
        const auto* response = std::get_if<VoteResponse>(&message.body);
        const bool granted_pre_vote = response != nullptr && response->pre_vote && response->granted;
        if (*term > hard_.term && !granted_pre_vote) {
            if (std::holds_alternative<TimeoutNow>(message.body)) {
                return;  // from a leader that this member does not follow
            }
            become_follower(*term, from_leader ? from : NodeName{});
        } else if (*term < hard_.term) {
            if (from_leader) {
                // A leader that was replaced while it was away learns it here, though nobody voted for anyone lately.
                AppendResponse stale;
                stale.term = hard_.term;
                say_after_persist(from, Lane::kLog, stale);
            }
            return;
        }
    }
    if (from_leader) {
        if (role_ == Role::kLeader) {
            return;  // two leaders of one term: not from any honest member
        }
        if (role_ != Role::kFollower || leader_ != from) {
            become_follower(hard_.term, from);
        }
        leader_heard_tick_ = leaderless_tick_ = tick_;
        suspect_at_tick_ = 0;
    }
    std::visit(
        [&](const auto& m) {
            using T = std::decay_t<decltype(m)>;
            if constexpr (std::is_same_v<T, VoteResponse>) {
                on_vote_response(from, message, m);
            } else if constexpr (std::is_same_v<T, AppendEntries>) {
                on_append_entries(from, m);
            } else if constexpr (std::is_same_v<T, AppendResponse>) {
                on_append_response(from, message, m);
            } else if constexpr (std::is_same_v<T, Heartbeat>) {
                on_heartbeat(from, m);
            } else if constexpr (std::is_same_v<T, HeartbeatResponse>) {
                on_heartbeat_response(from, message, m);
            } else if constexpr (std::is_same_v<T, TimeoutNow>) {
                on_timeout_now(from, m);
            } else if constexpr (std::is_same_v<T, ReadIndexRequest>) {
                on_read_request(from, m);
            } else if constexpr (std::is_same_v<T, ReadIndexResponse>) {
                on_read_response(from, m);
            } else if constexpr (std::is_same_v<T, LogReset>) {
                on_log_reset(from, m);
            }
        },
        message.body);
}

// ---- Proposals ----

Result<LogIndex> Core::propose(EntryKind kind, std::string payload, std::uint64_t hybrid_time) {
    if (role_ != Role::kLeader) {
        if (leader_.empty()) {
            return fail(ErrorCode::kDatabaseUnavailable, "no leader is known: " + why_no_leader());
        }
        return fail(ErrorCode::kNotLeader, fmt::format("'{}' leads; this member is a {}", leader_, to_string(role_)));
    }
    if (transfer_) {
        return fail(ErrorCode::kNotLeader, fmt::format("leadership is being handed over to '{}'", transfer_->target));
    }
    if (const Member* self = configuration().find(start_.self); self == nullptr || start_.witness || self->priority == 0) {
        return fail(ErrorCode::kDatabaseUnavailable,
                    "this member leads only until another that may take writes has what it holds");
    }
    if (kind == EntryKind::kWriteSet && write_term().value == 0) {
        return fail(ErrorCode::kDatabaseUnavailable,
                    "this member has just become the leader and makes sure first of what its log holds");
    }
    if (log_.last().value - committed_.value >= settings_.uncommitted_entries_max ||
        (uncommitted_bytes_ > 0 && uncommitted_bytes_ + payload.size() > settings_.uncommitted_bytes_max)) {
        return fail(ErrorCode::kBusy,
                    fmt::format("{} writes ({} bytes) are waiting for a majority",
                                log_.last().value - committed_.value,
                                uncommitted_bytes_));
    }
    const std::size_t bytes = payload.size();
    last_hybrid_time_ = std::max(last_hybrid_time_, hybrid_time);
    // What the leader itself notes has no time of its own.
    const std::uint64_t time = kind == EntryKind::kWriteSet ? hybrid_time : last_hybrid_time_;
    const LogIndex index = append_own(kind, std::move(payload), time);
    uncommitted_bytes_ += bytes;
    sizes_.emplace_back(index, bytes);
    return index;
}

// ---- The disk ----

Output Core::take_output() {
    NORNIC_CHECK(log_.taken() == log_.persisted(), "taken={} persisted={}", log_.taken().value, log_.persisted().value);
    if (log_reset_) {
        Output out;
        out.reset_log = *log_reset_;
        out.committed = std::min(committed_, log_.persisted());
        return out;
    }
    if (role_ == Role::kLeader && log_.has_new()) {
        // Thesis 10.2.1: the leader writes its disk and sends at the same time.
        replicate_all(log_.last(), out_.messages_after_append);
    }
    if (hard_dirty_) {
        // A crash may keep this and lose the entries: never beyond those that are on disk already.
        hard_.committed = std::min(committed_, log_.persisted());
        out_.hard_state = hard_;
        hard_dirty_ = false;
        hard_in_flight_ = true;
    }
    Output out = std::exchange(out_, Output{});
    out.entries = log_.take();
    wrote_entries_ = !out.entries.empty();
    out.committed = std::min(committed_, log_.persisted());
    return out;
}

void Core::persisted() {
    log_.persisted_taken();
    directory_is_durable_ = directory_is_durable_ || hard_in_flight_;
    hard_in_flight_ = false;
    disk_full_ = disk_full_ && !wrote_entries_;
    if (role_ == Role::kCandidate && !hard_dirty_ && !own_vote_durable_) {
        own_vote_durable_ = true;
        count_votes();
    }
    if (role_ == Role::kLeader) {
        advance_commit();
        replicate_all(log_.persisted(), messages_);
        release_held_reads();
    } else if (acknowledge_due_ && !hard_state_pending()) {
        acknowledge();
    }
}

std::uint64_t Core::not_persisted() {
    hard_dirty_ = hard_dirty_ || hard_in_flight_;
    hard_in_flight_ = false;
    acknowledge_due_ = false;
    if (!disk_full_) {
        disk_full_ = true;
        leave_full_disk_tick_ = tick_ + settings_.heartbeat_ticks;
    }
    const LogIndex kept = log_.persisted();
    const LogIndex taken = log_.taken();
    if (role_ != Role::kLeader) {
        // Known to be committed, but not here.
        committed_ = std::min(committed_, kept);
        truncate_log(kept);
        no_campaign_before_tick_ = tick_ + 2 * std::uint64_t{settings_.election_ticks};
        if (role_ != Role::kFollower) {
            become_follower(hard_.term, NodeName{});
        }
        return 0;
    }
    // Nobody was sent what the disk has no room for. Proposals that came meanwhile move up to its place.
    const std::size_t all = log_.last().value - kept.value + 1;
    const std::vector<EntryPtr> lost = log_.slice(LogIndex{kept.value + 1}, taken, all, SIZE_MAX).value();
    const std::vector<EntryPtr> behind = log_.slice(LogIndex{taken.value + 1}, log_.last(), all, SIZE_MAX).value();
    truncate_log(kept);
    if (std::any_of(lost.begin(), lost.end(), [](const EntryPtr& entry) { return entry->kind != EntryKind::kWriteSet; })) {
        out_.dropped_after = kept;
        stop_leading("its disk has no room");
        become_follower(hard_.term, NodeName{});
        no_campaign_before_tick_ = tick_ + 2 * std::uint64_t{settings_.election_ticks};
        return 0;
    }
    for (const EntryPtr& entry : behind) {
        Entry moved = *entry;
        moved.index = LogIndex{log_.last().value + 1};
        uncommitted_bytes_ += moved.payload.size();
        sizes_.emplace_back(moved.index, moved.payload.size());
        append_entry(std::make_shared<const Entry>(std::move(moved)));
    }
    return taken.value - kept.value;
}

void Core::applied(LogIndex last) {
    NORNIC_CHECK(last <= committed_, "applied {} but committed {}", last.value, committed_.value);
    applied_ = std::max(applied_, last);
    while (configurations_.size() > 1 && configurations_[1].first <= applied_) {
        configurations_.pop_front();
    }
}

bool Core::accepts_snapshot(const NodeName& from, Term term, LogIndex index, std::string& reason) const {
    if (term != hard_.term || role_ != Role::kFollower || leader_ != from) {
        reason = fmt::format("this member does not follow '{}' in term {} (it is in term {})",
                             from,
                             term.value,
                             hard_.term.value);
        return false;
    }
    // What was acknowledged is not given up for a state without it (thesis figure 5.3, rule 6).
    const LogIndex held = std::max(committed_, matched_);
    if (!needs_snapshot_ && index <= held && held.value > 0) {
        reason = fmt::format("this member holds what the leader's log has up to {} already", held.value);
        return false;
    }
    return true;
}

void Core::snapshot_installed(LogIndex index, Term term, LogIndex configuration_index, Configuration configuration) {
    log_.reset(index, term);
    committed_ = applied_ = matched_ = index;
    sizes_.clear();
    uncommitted_bytes_ = 0;
    acknowledge_due_ = false;
    needs_snapshot_ = false;
    configurations_.clear();
    configurations_.emplace_back(configuration_index, std::move(configuration));
    hard_.removed_at = LogIndex{};
    hard_dirty_ = true;  // the log was begun anew
    event(fmt::format("A snapshot of the leader's data up to log index {} was installed.", index.value));
    if (role_ == Role::kFollower && !leader_.empty()) {
        acknowledge_due_ = true;
    }
}

void Core::log_reset() {
    NORNIC_CHECK(log_reset_.has_value(), "no log reset was asked for");
    const LogReset reset = *std::exchange(log_reset_, std::nullopt);
    log_.reset(reset.index, reset.index_term);
    committed_ = applied_ = matched_ = reset.index;
    configurations_.clear();
    configurations_.emplace_back(reset.index, Configuration::decode_checked(reset.configuration, "of a log reset"));
    hard_.removed_at = LogIndex{};
    hard_dirty_ = true;
    acknowledge_due_ = true;
}

std::optional<LogIndex> Core::wanted_from() const {
    if (role_ != Role::kLeader) {
        return LogIndex{committed_.value + 1};
    }
    LogIndex wanted{committed_.value + 1};
    for (const auto& [id, progress] : followers_) {
        wanted = std::min(wanted, LogIndex{progress.match().value + 1});
    }
    return wanted;
}

// ---- What is ----

const Progress* Core::progress(const NodeName& peer) const {
    const auto at = followers_.find(peer);
    return role_ == Role::kLeader && at != followers_.end() ? &at->second : nullptr;
}

Term Core::write_term() const {
    const Member* self = configuration().find(start_.self);
    const bool leads = role_ == Role::kLeader && !transfer_ && applied_ >= term_begins_ && self != nullptr &&
                       !start_.witness && self->priority > 0;
    return leads ? hard_.term : Term{0};
}

bool Core::has_quorum() const {
    return configuration().has_quorum([&](const NodeName& id) {
        if (id == start_.self) {
            return true;
        }
        const auto at = followers_.find(id);
        return at != followers_.end() && tick_ - at->second.heard_tick() < settings_.election_ticks;
    });
}

bool Core::is_heard(const NodeName& peer) const {
    const Progress* found = progress(peer);
    return found != nullptr && tick_ - found->heard_tick() < settings_.election_ticks;
}

bool Core::has_reachable_majority() const {
    return configuration().has_quorum([&](const NodeName& id) { return id == start_.self || (up_.contains(id) && !new_disks_.contains(id)); });
}

std::string Core::why_no_leader() const {
    if (!initialized()) {
        return "this member belongs to no group yet";
    }
    if (removed()) {
        return "this member was taken out of the group";
    }
    std::string missing;
    std::string wiped;
    std::size_t connected = configuration().is_voter(start_.self) ? 1 : 0;
    for (const auto& [id, member] : configuration().members) {
        if (id == start_.self || !member.votes()) {
            continue;
        }
        if (up_.contains(id) && new_disks_.contains(id)) {
            wiped += fmt::format("{}'{}'", wiped.empty() ? "" : ", ", id);
        } else if (up_.contains(id)) {
            ++connected;
        } else {
            missing += fmt::format("{}'{}' ({})", missing.empty() ? "" : ", ", id, member.address);
        }
    }
    const std::size_t voters = configuration().voters();
    if (connected <= voters / 2) {
        return fmt::format("a majority of {} members is needed and {} can be reached{}{}{}{}",
                           voters,
                           connected,
                           missing.empty() ? "" : "; start or reconnect ",
                           missing,
                           wiped.empty() ? "" : "; these lost their disks, and do not count before there is a leader: ",
                           wiped);
    }
    return "an election is under way";
}

void Core::check_invariants() const {
    NORNIC_CHECK(applied_ <= committed_, "applied {} committed {}", applied_.value, committed_.value);
    NORNIC_CHECK(committed_ <= log_.last(), "committed {} last {}", committed_.value, log_.last().value);
    NORNIC_CHECK(log_.persisted() <= log_.taken(), "persisted {} taken {}", log_.persisted().value, log_.taken().value);
    NORNIC_CHECK(log_.taken() <= log_.last(), "taken {} last {}", log_.taken().value, log_.last().value);
    NORNIC_CHECK(log_.last_term() <= hard_.term, "last term {} term {}", log_.last_term().value, hard_.term.value);
    NORNIC_CHECK(!configurations_.empty(), "no configuration");
    NORNIC_CHECK(configurations_.back().first <= log_.last() || configurations_.size() == 1, "configuration past the log");
    NORNIC_CHECK((role_ == Role::kLeader) == (leader_ == start_.self), "role {} leader '{}'", to_string(role_), leader_);
    if (role_ == Role::kLeader) {
        NORNIC_CHECK(term_begins_ <= log_.last(), "term begins {} last {}", term_begins_.value, log_.last().value);
        NORNIC_CHECK(hard_.voted_for == start_.self, "leads without its own vote");
        for (const auto& [id, progress] : followers_) {
            NORNIC_CHECK(progress.match() < progress.next(), "{}: match {} next {}", id, progress.match().value, progress.next().value);
            NORNIC_CHECK(progress.match() <= log_.last(), "{}: match {} last {}", id, progress.match().value, log_.last().value);
        }
    } else {
        NORNIC_CHECK(matched_ <= log_.last(), "matched {} last {}", matched_.value, log_.last().value);
    }
}

}  // namespace nornic::raft
