// What members of a chain say to each other.
#include "tests/modes/chain/chain_impl.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace nornic::modes {

using transport::LANE_LOG;

namespace {

constexpr std::uint64_t kEpochMax = std::uint64_t{1} << 62;  // from outside; more is nonsense

}  // namespace

// ---- What is said ----

/// What is said in an epoch must not come from a member that could forget the epoch. Entries need no such
/// care: only what is on disk is ever spoken of.
void Chain::say(const NodeName& to, ClusterMessage message) {
    auto& out = hard_state_pending() ? ready_.messages_after_persist : messages_;
    out.push_back({to, LANE_LOG, std::make_shared<const ClusterMessage>(std::move(message))});
}

void Chain::announce(const NodeName& to) {
    ClusterMessage message;
    auto& m = *message.mutable_append_entries();
    m.set_term(epoch_.value);
    m.set_leader_id(join_chain(chain_));
    say(to, std::move(message));
}

/// The next batch to the successor; an empty one while it is not known what it has.
void Chain::send_down() {
    const NodeName to = neighbour(1);
    if (to.empty() || !is_up(to) || sending_snapshot_) {
        return;
    }
    if (probing_) {
        next_ = LogIndex{shared().value + 1};
    }
    const LogIndex previous{next_.value - 1};
    const Term previous_term = term_of(previous);
    ClusterMessage message;
    auto& m = *message.mutable_append_entries();
    m.set_term(epoch_.value);
    m.set_leader_id(join_chain(chain_));
    m.set_prev_log_index(previous.value);
    m.set_prev_log_term(previous_term.value);
    m.set_read_context(round_);
    if (!probing_ && next_ <= shared()) {
        const auto entries = start_.log->read(next_, shared(), settings_.batch_bytes_max);
        if (!entries || (previous.value > 0 && previous_term.value == 0)) {
            sending_snapshot_ = true;  // the log here does not reach back so far
            ready_.send_snapshot.push_back(to);
            return;
        }
        for (const Entry& entry : entries.value()) {
            auto& out = *m.add_entries();
            out.set_term(entry.term.value);
            out.set_index(entry.index.value);
            out.set_hybrid_time(entry.hybrid_time);
            out.set_kind(static_cast<transport::EntryKind>(entry.kind));
            out.set_payload(entry.payload);
            next_ = LogIndex{entry.index.value + 1};
        }
    }
    say(to, std::move(message));
}

void Chain::ship() {
    while (!probing_ && !sending_snapshot_ && is_up(neighbour(1)) && next_ <= shared() &&
           next_.value - received_.value <= settings_.window_entries) {
        send_down();
    }
}

void Chain::begin_round() {
    ++round_;
    send_down();
    advance(LogIndex{0}, 0);
}

void Chain::acknowledge(bool success) {
    const NodeName to = neighbour(-1);
    if (to.empty()) {
        return;
    }
    ClusterMessage message;
    auto& m = *message.mutable_append_entries_response();
    m.set_term(epoch_.value);
    m.set_success(success);
    m.set_match_index(committed_.value);
    // What is committed is in every later head's log, so the logs part behind it, if they do.
    m.set_conflict_index(success ? shared().value + 1 : std::min(last_, std::max(matched_, committed_)).value + 1);
    m.set_read_context(round_back_);
    say(to, std::move(message));
}

// ---- What comes in ----

void Chain::tick() {
    ++tick_;
    if (is_head() && active_ && chain_.size() > 1 && tick_ - heard_tick_ >= settings_.silence_ticks) {
        active_ = false;
        ready_.events.push_back(fmt::format("The chain {} is broken; writes are refused.", join_chain(chain_)));
    }
    if (!is_head() || tick_ - heartbeat_tick_ < settings_.heartbeat_ticks) {
        return;
    }
    heartbeat_tick_ = tick_;
    begin_round();
    // Those who were taken out hear of it once it is so: a chain that never came to be deposes nobody.
    for (const auto& [id, peer] : peers_) {
        if (active_ && peer.up && !contains(chain_, id)) {
            announce(id);
        }
    }
}

void Chain::paused(std::uint64_t ticks) {
    tick_ += ticks;
    // Whoever leads a chain promised nothing that ends by itself; silence counts from now on.
    heard_tick_ += ticks;
}

void Chain::peer_up(const PeerInfo& info) {
    if (info.id == start_.self || !contains(settings_.members, info.id)) {
        return;
    }
    Peer& peer = peers_[info.id];
    peer.info = info;
    if (std::exchange(peer.up, true) || info.id != neighbour(1)) {
        return;
    }
    // What was on its way may be lost.
    probing_ = true;
    send_down();
}

void Chain::peer_down(const NodeName& id, transport::LostReason) {
    if (const auto peer = peers_.find(id); peer != peers_.end()) {
        peer->second.up = false;
    }
}

void Chain::step(const NodeName& from, const ClusterMessage& message) {
    if (!is_up(from)) {
        return;
    }
    if (message.has_append_entries() && message.append_entries().term() <= kEpochMax) {
        on_append(from, message.append_entries());
    } else if (message.has_append_entries_response() &&
               message.append_entries_response().term() <= kEpochMax) {
        on_response(from, message.append_entries_response());
    }
}

void Chain::on_append(const NodeName& from, const transport::AppendEntries& m) {
    const Term epoch{m.term()};
    std::vector<NodeName> chain = split_chain(m.leader_id());
    if (!is_plausible(chain)) {
        return;
    }
    if (epoch > epoch_) {
        // One that is taken out has nothing to give up. The others follow if the sender's log is as new.
        const auto self = std::find(chain.begin(), chain.end(), start_.self);
        if (self != chain.end() &&
            (self == chain.begin() || *(self - 1) != from ||
             std::make_tuple(m.prev_log_term(), m.prev_log_index()) < std::tie(last_term_.value, last_.value))) {
            later_epoch_ = std::max(later_epoch_, epoch);
            return;
        }
        begin_epoch(epoch, std::move(chain));
    } else if (epoch < epoch_) {
        ClusterMessage message;
        message.mutable_append_entries_response()->set_term(epoch_.value);
        say(from, std::move(message));
        return;
    } else if (chain != chain_) {
        return;
    }
    if (from == chain_.front() || from == neighbour(-1)) {
        heard_tick_ = tick_;
    }
    if (from != neighbour(-1) || rewinding_) {
        return;
    }
    const LogIndex before = last_;
    const bool taken = take_entries(m);
    if (m.read_context() != round_) {
        round_back_ = m.read_context() < round_ ? 0 : round_back_;  // the head began anew
        round_ = m.read_context();
        ship();
        send_down();
        advance(LogIndex{0}, 0);
    } else if (taken && last_ == before) {
        acknowledge(true);  // new ones are acknowledged once they are on disk
    }
}

/// Bytes from outside: entries follow each other, their terms never fall, none is of a later epoch.
/// false: they do not fit.
bool Chain::take_entries(const transport::AppendEntries& m) {
    std::uint64_t index = m.prev_log_index();
    std::uint64_t term = m.prev_log_term();
    for (const transport::LogEntry& entry : m.entries()) {
        if (entry.index() != ++index || entry.term() < term || entry.term() > m.term() ||
            !transport::EntryKind_IsValid(entry.kind())) {
            return false;
        }
        term = entry.term();
    }
    const LogIndex previous{m.prev_log_index()};
    const Term before = term_of(previous);
    const bool differs = previous > matched_ && before.value != m.prev_log_term();
    if (previous > last_ || (differs && previous > committed_)) {
        acknowledge(false);
        return false;
    }
    if (differs && before.value != 0) {
        diverged_ = true;  // a chain formed by force wrote something else
        return false;
    }
    matched_ = std::max(matched_, previous);
    for (const transport::LogEntry& entry : m.entries()) {
        const LogIndex at{entry.index()};
        const Term here = term_of(at);
        if (at <= last_ && (here.value == entry.term() || at <= committed_)) {
            if (here.value != entry.term() && here.value != 0) {
                diverged_ = true;
                return false;
            }
            matched_ = std::max(matched_, at);
            continue;
        }
        if (at <= last_) {
            const LogIndex keep{at.value - 1};
            if (keep < taken_) {
                rewinding_ = true;
                rewind_to_ = keep;
                forget_after(taken_);
                ready_.events.push_back(fmt::format(
                    "Entries from {} on are not in the log of the chain; they are saved and given up.", at.value));
                return false;
            }
            forget_after(keep);
        }
        append({Term{entry.term()},
                at,
                entry.hybrid_time(),
                static_cast<EntryKind>(entry.kind()),
                entry.payload()});
        matched_ = at;
    }
    return true;
}

void Chain::on_response(const NodeName& from, const transport::AppendEntriesResponse& m) {
    const Term epoch{m.term()};
    later_epoch_ = std::max(later_epoch_, epoch);
    if (from != neighbour(1) || epoch < epoch_) {
        return;
    }
    if (epoch > epoch_) {
        active_ = false;
        return;
    }
    const LogIndex wanted{std::clamp<std::uint64_t>(m.conflict_index(), 1, shared().value + 1)};
    probing_ = false;
    if (m.success()) {
        received_ = std::max(received_, LogIndex{wanted.value - 1});
        next_ = std::max(next_, wanted);
    } else {
        received_ = std::min(received_, LogIndex{wanted.value - 1});
        next_ = wanted;
    }
    ship();
    advance(LogIndex{m.match_index()}, m.read_context());
}

/// What the successor said came back, or (at the tail) what begins its way back here.
bool Chain::advance(LogIndex committed_behind, std::uint64_t round_behind) {
    if (!is_in_chain() || diverged_ || hard_state_pending()) {
        return false;
    }
    LogIndex committed = std::min(committed_behind, shared());
    std::uint64_t round = round_behind <= round_ ? round_behind : 0;
    if (is_tail()) {
        // Entries of older epochs are committed by one of this epoch behind them: on all disks alone is
        // not enough, as Raft's figure 8 shows.
        committed = term_of(shared()) == epoch_ ? shared() : LogIndex{0};
        round = round_;
    }
    if (committed <= committed_ && round <= round_back_) {
        return false;
    }
    committed_ = std::max(committed_, committed);
    round_back_ = std::max(round_back_, round);
    if (is_head()) {
        came_back();
        return false;
    }
    acknowledge(true);
    return true;
}

/// The head hears that the whole chain is in this epoch and at work.
void Chain::came_back() {
    heard_tick_ = tick_;
    while (!reads_.empty() && reads_.front().round <= round_back_) {
        ready_.reads.push_back({reads_.front().id, reads_.front().index});
        reads_.pop_front();
    }
    if (active_ || round_back_ == 0) {
        return;
    }
    active_ = true;
    if (last_term_ < epoch_) {
        append({epoch_, LogIndex{last_.value + 1}, last_hybrid_time_, EntryKind::kNoop, {}});
    }
    ready_.events.push_back(fmt::format("Head of the chain {} in epoch {}.", join_chain(chain_), epoch_.value));
    answer_commands(fmt::format("the chain is {} in epoch {}", join_chain(chain_), epoch_.value));
}

}  // namespace nornic::modes
