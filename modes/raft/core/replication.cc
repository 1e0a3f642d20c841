// Entries from the leader to its followers, and what a majority has (thesis 3.5, 3.6.2, 10.2.1).
#include "base/check.h"
#include "modes/raft/core/core.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::raft {
namespace {

// In heartbeat intervals: for how long a follower whose readers wait is told at once what is committed, and when it asks for it again.
constexpr std::uint64_t kPromptFor = 10;
constexpr std::uint64_t kPromptAgain = 5;
constexpr std::uint64_t kFarBehind = 1024;  // entries

}  // namespace

// ---- The leader ----

/// All that is due for one follower, of entries up to `limit`; while it is probed, one message.
void Core::replicate(const NodeName& to, Progress& progress, LogIndex limit, std::vector<Outbound>& out) {
    if (down_.contains(to)) {
        return;  // the next connection begins with a probe
    }
    limit = sendable(to, limit);
    while (progress.may_send(settings_.follower)) {
        if (progress.next() < log_.first()) {
            progress.probe_from(log_.first());
        }
        const bool probing = progress.state() == Progress::State::kProbe;
        if (!probing && progress.next() > limit) {
            return;
        }
        const bool in_its_time = catch_up_left_ && !probing && is_far_behind(progress) && may_wait(to);
        if (in_its_time && *catch_up_left_ <= 0) {
            return;
        }
        const LogIndex prev{progress.next().value - 1};
        const auto prev_term = log_.term_at(prev);
        if (!prev_term) {
            need_snapshot(to, progress);
            return;
        }
        // Followers in step are sent the same object.
        const bool same = last_append_ && last_append_from_ == progress.next() && last_append_limit_ == limit &&
                          last_append_commit_ == committed_ && last_append_term_ == hard_.term;
        if (!same) {
            AppendEntries append;
            append.term = hard_.term;
            append.prev_index = prev;
            append.prev_term = *prev_term;
            append.commit = committed_;
            if (progress.next() <= limit) {
                auto entries = log_.slice(progress.next(), limit, settings_.append_entries_max, settings_.append_bytes_max);
                if (!entries) {
                    if (entries.error().code() != ErrorCode::kNotFound) {
                        event(fmt::format("The log here cannot be read from entry {} on: {}.",
                                          progress.next().value,
                                          entries.error().message()));
                    }
                    need_snapshot(to, progress);  // the state has what they did
                    return;
                }
                if (entries.value().empty()) {
                    return;
                }
                append.entries = std::move(entries).value();
            }
            last_append_bytes_ = 0;
            for (const EntryPtr& entry : append.entries) {
                last_append_bytes_ += entry->payload.size();
            }
            last_append_last_ = LogIndex{prev.value + append.entries.size()};
            last_append_from_ = progress.next();
            last_append_limit_ = limit;
            last_append_commit_ = committed_;
            last_append_term_ = hard_.term;
            last_append_ = std::make_shared<const Message>(Message{hard_.directory, std::move(append)});
        }
        out.push_back({to, Lane::kLog, last_append_});
        progress.told(committed_);
        if (in_its_time) {
            const std::uint64_t count = last_append_last_.value - prev.value;
            *catch_up_left_ -= static_cast<std::int64_t>(last_append_bytes_ + kEntryBytes * count);
        }
        progress.sent(last_append_last_, last_append_bytes_, tick_);
    }
}

void Core::allow_catch_up(std::uint64_t bytes) {
    const std::uint64_t least = 2 * std::exchange(written_bytes_, 0);
    catch_up_left_ = std::min<std::int64_t>(catch_up_left_.value_or(0), 0) + static_cast<std::int64_t>(std::max(bytes, least));
}

bool Core::catches_up() const {
    return role_ == Role::kLeader && std::ranges::any_of(followers_, [&](const auto& follower) {
        return follower.second.state() == Progress::State::kReplicate && is_far_behind(follower.second) && !down_.contains(follower.first);
    });
}

bool Core::is_far_behind(const Progress& progress) const {
    return log_.last().value - progress.match().value > kFarBehind;
}

/// The others commit without it.
bool Core::may_wait(const NodeName& to) const {
    if (transfer_ && transfer_->target == to) {
        return false;
    }
    return configuration().has_quorum([&](const NodeName& id) {
        const Progress* const found = progress(id);
        return id == start_.self || (id != to && found != nullptr && !is_far_behind(*found) && is_heard_lately(id));
    });
}

/// Who may never stand is sent what is on disk here: entries that it alone had could elect nobody. Such are a witness, and one that
/// the configuration knows by name alone.
LogIndex Core::sendable(const NodeName& to, LogIndex limit) const {
    const Member* member = configuration().find(to);
    const bool may_stand = member == nullptr || (member->directory.value != 0 && (!is_witness(to) || settings_.witness_may_lead));
    return may_stand ? limit : std::min(limit, log_.persisted());
}

void Core::replicate_all(LogIndex limit, std::vector<Outbound>& out) {
    for (auto& [id, progress] : followers_) {
        replicate(id, progress, limit, out);
    }
    last_append_.reset();
}

/// Its own word goes before the configuration's, which may have been made before it was heard.
bool Core::is_witness(const NodeName& id) const {
    if (const auto said = said_witness_.find(id); said != said_witness_.end()) {
        return said->second;
    }
    const Member* member = configuration().find(id);
    return member != nullptr && member->witness;
}

void Core::need_snapshot(const NodeName& to, Progress& progress) {
    progress.snapshot(tick_);
    if ((start_.witness || unfit_.contains(start_.self)) && !is_witness(to)) {
        snapshot_retry_tick_[to] = tick_ + settings_.election_ticks;  // there is no data here to send, or none to trust
        return;
    }
    if (!is_witness(to)) {
        out_.send_snapshot.push_back(to);
        event(fmt::format("'{}' is behind the log that is kept here, or new; it is sent a snapshot.", to));
        return;
    }
    // It holds no state, so there is nothing to send but the place.
    LogReset reset;
    reset.term = hard_.term;
    reset.index = committed_;
    reset.index_term = log_.term_at(committed_).value_or(Term{0});
    for (const auto& [index, configuration] : configurations_) {
        if (index <= committed_ || reset.configuration.empty()) {
            reset.configuration = configuration.encode();
        }
    }
    say(to, Lane::kLog, reset);
}

void Core::send_heartbeats() {
    heartbeat_tick_ = tick_;
    ++round_;
    for (auto& [id, progress] : followers_) {
        Heartbeat heartbeat;
        heartbeat.term = hard_.term;
        heartbeat.round = round_;
        heartbeat.commit = std::min(committed_, progress.match());
        progress.told(heartbeat.commit);
        say(id, Lane::kControl, heartbeat);
    }
    release_reads();
}

/// Where nothing follows that would carry it: a follower may apply, and causal reads there need not wait for a heartbeat.
void Core::tell_commit(const NodeName& to, Progress& progress) {
    if (committed_ == log_.last() && progress.match() == committed_ && progress.told() < committed_) {
        say(to, Lane::kControl, Heartbeat{hard_.term, 0, committed_});
        progress.told(committed_);
    }
}

void Core::tell_promptly(const NodeName& to, Progress& progress) {
    progress.tell_promptly_until(tick_ + kPromptFor * settings_.heartbeat_ticks);
    tell_commit(to, progress);
}

void Core::advance_commit() {
    if (role_ != Role::kLeader) {
        return;
    }
    const LogIndex target = configuration().committed([&](const NodeName& id) {
        if (id == start_.self) {
            return log_.persisted();
        }
        const auto at = followers_.find(id);
        return at == followers_.end() ? LogIndex{0} : at->second.match();
    });
    // Thesis 3.6.2: only entries of this term are committed by counting; those before come with them (figure 3.7).
    if (target <= committed_ || log_.term_at(target) != hard_.term) {
        return;
    }
    commit_to(target);
    for (auto& [id, progress] : followers_) {
        if (progress.is_told_promptly(tick_)) {
            tell_commit(id, progress);
        }
    }
    settle_changes();
    continue_membership();
}

/// Whose answer it is; nullptr: nobody's that counts.
Progress* Core::heard_follower(const NodeName& from, const Message& message) {
    const auto at = followers_.find(from);
    if (role_ != Role::kLeader || at == followers_.end()) {
        return nullptr;
    }
    at->second.heard(tick_);
    note_directory(from, message.directory);
    return speaks_for_member(from, message.directory) ? &at->second : nullptr;
}

void Core::on_append_response(const NodeName& from, const Message& message, const AppendResponse& m) {
    Progress* const heard = heard_follower(from, message);
    if (heard == nullptr) {
        return;
    }
    Progress& progress = *heard;
    if (m.foreign) {
        if (foreign_.insert(from).second) {
            event(fmt::format("'{}' holds data of another group and is not overwritten; empty its data directory to make it "
                              "a member.",
                              from));
        }
        return;
    }
    foreign_.erase(from);
    progress.note_applied(m.applied);
    if (m.needs_snapshot) {
        if (progress.state() != Progress::State::kSnapshot) {
            need_snapshot(from, progress);
        }
        return;
    }
    if (m.success) {
        // It asks for no state any more. One as of index 0 brings no match that would say so.
        if (m.match.value == 0 && progress.state() == Progress::State::kSnapshot && log_.first() == LogIndex{1}) {
            progress.snapshot_ended(LogIndex{0});
        }
        if (note_match(progress, m.match)) {
            const LogIndex before = committed_;
            advance_commit();
            if (role_ != Role::kLeader) {
                return;
            }
            if (committed_ == before && progress.is_told_promptly(tick_)) {
                tell_commit(from, progress);
            }
            continue_transfer();
        }
    } else {
        // Skip what cannot agree: entries here of later terms than the follower's at that place (thesis 3.5).
        LogIndex agree{std::min(m.conflict_index.value, log_.last().value + 1)};
        agree.value -= agree.value > 0 ? 1 : 0;
        while (agree > LogIndex{0}) {
            const auto term = log_.term_at(agree);
            if (!term || *term <= m.conflict_term) {
                break;
            }
            agree = LogIndex{log_.first_of_term_run(agree).value - 1};
        }
        if (!progress.rejected(m.match, LogIndex{agree.value + 1}, tick_)) {
            return;
        }
        // It does not even have what the log here begins behind. Of one that has it no entry may be replaced by a state:
        // it may have acknowledged more than that state holds (thesis figure 5.3, rule 6).
        if (m.match < log_.first()) {
            need_snapshot(from, progress);
            return;
        }
    }
    if (const auto still = followers_.find(from); still != followers_.end()) {
        replicate(from, still->second, log_.persisted(), messages_);
        last_append_.reset();
    }
}

bool Core::note_match(Progress& progress, LogIndex match) {
    const bool news = progress.matched(std::min(match, log_.last()), tick_);
    if (news && progress.state() == Progress::State::kSnapshot && log_.term_at(progress.match())) {
        progress.snapshot_ended(progress.match());  // it has what the log here goes on from
    }
    if (news) {
        release_held_reads();
    }
    return news;
}

void Core::on_heartbeat_response(const NodeName& from, const Message& message, const HeartbeatResponse& m) {
    Progress* const heard = heard_follower(from, message);
    if (heard == nullptr) {
        return;
    }
    Progress& progress = *heard;
    progress.note_applied(m.applied);
    std::uint64_t& answered = answered_round_[from];
    answered = std::max(answered, std::min(m.round, round_));
    release_reads();
    // An acknowledgement that was lost comes this way.
    if (m.match > progress.match() && note_match(progress, m.match)) {
        advance_commit();
    }
    if (const auto still = followers_.find(from); m.readers_wait && role_ == Role::kLeader && still != followers_.end()) {
        tell_promptly(from, still->second);
    }
    continue_departures();
}

void Core::watch_followers() {
    const std::uint64_t patience = std::max<std::uint64_t>(2, 2 * std::uint64_t{settings_.heartbeat_ticks});
    for (auto& [id, progress] : followers_) {
        if (progress.waits() && tick_ - progress.progress_tick() >= patience) {
            if (progress.state() != Progress::State::kSnapshot) {
                progress.probe();
            }
        }
        if (const auto retry = snapshot_retry_tick_.find(id); retry != snapshot_retry_tick_.end() && tick_ >= retry->second) {
            snapshot_retry_tick_.erase(retry);
            progress.snapshot_ended(LogIndex{0});
        }
        if (progress.state() == Progress::State::kSnapshot && is_witness(id) &&
            tick_ - progress.progress_tick() >= settings_.election_ticks) {
            progress.snapshot_ended(LogIndex{0});  // the message may have been lost
        }
        replicate(id, progress, log_.persisted(), messages_);
        tell_commit(id, progress);
    }
    last_append_.reset();
}

void Core::snapshot_sent(const NodeName& to, std::optional<LogIndex> index) {
    const auto at = followers_.find(to);
    if (role_ != Role::kLeader || at == followers_.end() || at->second.state() != Progress::State::kSnapshot) {
        return;
    }
    if (!index) {
        snapshot_retry_tick_[to] = tick_ + std::max(2U, settings_.heartbeat_ticks);  // not at once: it may refuse again
        return;
    }
    event(fmt::format("'{}' holds a snapshot as of log index {} and catches up from there.", to, index->value));
    at->second.snapshot_ended(std::min(*index, log_.last()));
    replicate(to, at->second, log_.persisted(), messages_);
    last_append_.reset();
}

// ---- The follower ----

void Core::acknowledge() {
    acknowledge_due_ = matched_ > log_.persisted();  // what came meanwhile is acknowledged when it is on disk, too
    if (role_ != Role::kFollower || leader_.empty()) {
        return;
    }
    AppendResponse response;
    response.term = hard_.term;
    response.success = true;
    response.match = std::min(matched_, log_.persisted());
    response.applied = applied_;
    say_after_persist(leader_, Lane::kLog, response);
}

void Core::on_append_entries(const NodeName& from, const AppendEntries& m) {
    AppendResponse response;
    response.term = hard_.term;
    response.match = m.prev_index;
    response.applied = applied_;
    if (m.other_history) {
        response.foreign = m.keeps_own;
        response.needs_snapshot = needs_snapshot_ = !response.foreign;
        say_after_persist(from, Lane::kLog, response);
        return;
    }
    needs_snapshot_ = false;
    if (log_reset_) {
        return;
    }
    // What is committed here is in the leader's log, too, whether it is still held here or not.
    if (m.prev_index > committed_ && !log_.matches(m.prev_index, m.prev_term)) {
        LogIndex agree{std::min(m.prev_index, log_.last())};
        if (agree == m.prev_index) {
            --agree.value;
        }
        // Entries here of later terms than the leader's at that place cannot agree (thesis 3.5).
        while (agree > committed_) {
            const auto term = log_.term_at(agree);
            if (!term || *term <= m.prev_term) {
                break;
            }
            agree = LogIndex{log_.first_of_term_run(agree).value - 1};
        }
        agree = std::max(agree, committed_);
        response.conflict_index = LogIndex{agree.value + 1};
        response.conflict_term = log_.term_at(agree).value_or(Term{0});
        say_after_persist(from, Lane::kLog, response);
        return;
    }
    bool appended = false;
    for (const EntryPtr& entry : m.entries) {
        if (entry->index <= committed_) {
            continue;
        }
        if (entry->index <= log_.last()) {
            if (log_.matches(entry->index, entry->term)) {
                continue;
            }
            // Thesis 3.5: if an existing entry conflicts, it goes with all that follow it; only then.
            truncate_log(LogIndex{entry->index.value - 1});
        }
        if (entry->term < log_.last_term()) {
            event(fmt::format("'{}' sent entry {} of term {} behind one of term {}, as no leader does; it is dropped.",
                              from,
                              entry->index.value,
                              entry->term.value,
                              log_.last_term().value));
            return;
        }
        append_entry(entry);
        appended = true;
    }
    matched_ = std::max(matched_, LogIndex{m.prev_index.value + m.entries.size()});
    commit_to(std::min(m.commit, matched_));
    if (appended || matched_ > log_.persisted()) {
        acknowledge_due_ = true;  // once it is on disk
    } else {
        acknowledge();
    }
}

void Core::on_heartbeat(const NodeName& from, const Heartbeat& m) {
    commit_to(std::min(m.commit, matched_));
    if (m.round == 0) {
        return;  // only news of what is committed
    }
    HeartbeatResponse response;
    response.term = hard_.term;
    response.round = m.round;
    response.match = std::min(matched_, log_.persisted());
    response.applied = applied_;
    say_after_persist(from, Lane::kControl, response);
}

void Core::readers_wait() {
    if (role_ != Role::kFollower || leader_.empty()) {
        return;
    }
    if (readers_told_term_ == hard_.term && tick_ - readers_told_tick_ < kPromptAgain * settings_.heartbeat_ticks) {
        return;
    }
    readers_told_term_ = hard_.term;
    readers_told_tick_ = tick_;
    HeartbeatResponse response;
    response.term = hard_.term;
    response.match = std::min(matched_, log_.persisted());
    response.applied = applied_;
    response.readers_wait = true;
    say_after_persist(leader_, Lane::kControl, response);
}

void Core::on_log_reset(const NodeName& from, const LogReset& m) {
    const auto configuration = Configuration::decode(m.configuration);
    if (!configuration || log_reset_) {
        return;
    }
    if (m.index <= matched_ || !start_.witness) {
        acknowledge();
        return;
    }
    log_reset_ = m;
    event(fmt::format("The log here is behind what '{}' keeps; it goes on behind index {}.", from, m.index.value));
}

}  // namespace nornic::raft
