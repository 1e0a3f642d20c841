// Why it is safe. Two chains have a member in common, since each is more than half of the configured
// members (or an operator forced it). A member is in one epoch at a time, remembers it, and takes part in
// nothing older. An entry is committed once it is on the disks of all of an epoch's chain; a later epoch's
// chain has one of these members, and a member follows a new epoch only if the sender's log is at least as
// new as its own (as Raft's vote, thesis 3.6.1). So every later head has it.
#include "tests/modes/chain/chain.h"

#include "base/check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <deque>
#include <map>
#include <tuple>
#include <utility>

namespace nornic::modes {
namespace {

using transport::LANE_LOG;

constexpr std::uint64_t kEpochMax = std::uint64_t{1} << 62;  // from outside; more is nonsense

std::string join(const std::vector<NodeName>& names) {
    return fmt::format("{}", fmt::join(names, ","));
}

std::vector<NodeName> split(std::string_view text) {
    std::vector<NodeName> out;
    while (!text.empty()) {
        const std::size_t end = text.find(',');
        out.emplace_back(text.substr(0, end));
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    return out;
}

bool contains(const std::vector<NodeName>& names, const NodeName& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

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
    void snapshot_installed(LogIndex index, Term term, std::string history) override;
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

// ---- The chain ----

Chain::Chain(const StrategyStart& start, const ChainSettings& settings)
    : start_{start},
      settings_{settings},
      epoch_{std::max(start.hard_state.term, Term{1})},
      chain_{start.hard_state.extra.empty() ? settings.members : split(start.hard_state.extra)},
      hard_dirty_{start.hard_state.extra.empty()},
      last_{start.last_index},
      last_term_{start.last_term},
      taken_{start.last_index},
      persisted_{start.last_index},
      committed_{start.applied},
      applied_{start.applied},
      inherited_{start.last_index} {
    NORNIC_CHECK(contains(settings.members, start.self), "'{}' is not in the chain", start.self);
    NORNIC_CHECK(start.log != nullptr, "the chain reads the log");
    if (const auto newest = start.log->read(last_, last_, 1); newest && !newest.value().empty()) {
        last_hybrid_time_ = newest.value().front().hybrid_time;
    }
    next_ = LogIndex{shared().value + 1};
}

NodeName Chain::neighbour(int step) const {
    const auto self = std::find(chain_.begin(), chain_.end(), start_.self) - chain_.begin();
    const auto at = self + step;
    return is_in_chain() && at >= 0 && at < std::ssize(chain_) ? chain_[static_cast<std::size_t>(at)]
                                                              : NodeName{};
}

bool Chain::is_up(const NodeName& id) const {
    const auto peer = peers_.find(id);
    return peer != peers_.end() && peer->second.up;
}

std::string Chain::bolt_address(const NodeName& id) const {
    const auto peer = peers_.find(id);
    return peer == peers_.end() ? std::string{} : peer->second.info.bolt_address;
}

Result<> Chain::may_write() const {
    if (!is_head()) {
        return fail(ErrorCode::kNotLeader,
                    fmt::format("'{}' is the head of the chain {}", chain_.front(), join(chain_)),
                    bolt_address(chain_.front()));
    }
    if (stalled_) {
        return fail(ErrorCode::kDatabaseUnavailable, "the disk of this member does not answer");
    }
    if (!active_) {
        return fail(ErrorCode::kDatabaseUnavailable,
                    fmt::format("not all of the chain {} answers; bring its members back or remove "
                                "those that are dead",
                                join(chain_)));
    }
    if (applied_ < inherited_) {
        // A transaction must see what others wrote: their locks are not known here.
        return fail(ErrorCode::kDatabaseUnavailable,
                    fmt::format("this member is the head since a moment ago and applies its log first ({} of {})",
                                applied_.value,
                                inherited_.value));
    }
    return success();
}

/// Configured members, each once.
bool Chain::is_plausible(const std::vector<NodeName>& chain) const {
    std::vector<NodeName> sorted = chain;
    std::sort(sorted.begin(), sorted.end());
    return !chain.empty() && std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end() &&
           std::all_of(chain.begin(), chain.end(), [&](const NodeName& id) {
               return contains(settings_.members, id);
           });
}

void Chain::begin_epoch(Term epoch, std::vector<NodeName> chain) {
    NORNIC_CHECK(epoch > epoch_, "epoch {} after {}", epoch.value, epoch_.value);
    // What was not handed out yet is nobody's memory: entries of an old predecessor come again if they
    // still count, writes of clients are refused. A head that stays the head goes on with both.
    if (!is_head() || chain.front() != start_.self) {
        forget_after(taken_);
        for (const Read& read : std::exchange(reads_, {})) {
            ready_.refused_reads.push_back(
                {read.id, Error{ErrorCode::kNotLeader, "the chain has another head", bolt_address(chain.front())}});
        }
    }
    answer_commands(fail(ErrorCode::kConflict,
                         fmt::format("epoch {} began meanwhile, with the chain {}", epoch.value, join(chain))));
    ready_.events.push_back(fmt::format("Epoch {}: the chain is {}.", epoch.value, join(chain)));
    leader_changes_ += chain.front() != chain_.front() ? 1 : 0;
    epoch_ = epoch;
    chain_ = std::move(chain);
    hard_dirty_ = true;
    active_ = false;
    inherited_ = last_;
    diverged_ = false;
    matched_ = LogIndex{0};
    probing_ = true;
    next_ = LogIndex{shared().value + 1};
    received_ = LogIndex{0};
    sending_snapshot_ = false;
    round_ = round_back_ = 0;
    heard_tick_ = tick_;
}

void Chain::answer_commands(const Result<std::string>& outcome) {
    for (const std::uint64_t id : std::exchange(commands_, {})) {
        answers_.push_back({id, outcome});
    }
}

// ---- The log ----

/// 0 for what is not held.
Term Chain::term_of(LogIndex index) const {
    if (index == last_) {
        return last_term_;
    }
    if (index > last_) {
        return Term{0};
    }
    if (index > persisted_) {
        return unpersisted_terms_[index.value - persisted_.value - 1];
    }
    const auto term = start_.log->term_at(index);
    return term ? term.value() : Term{0};
}

/// On this disk, and the head's: what the successor may have.
LogIndex Chain::shared() const {
    return is_head() ? persisted_ : std::min(persisted_, matched_);
}

void Chain::append(Entry entry) {
    NORNIC_CHECK(entry.index.value == last_.value + 1, "entry {} behind {}", entry.index.value, last_.value);
    NORNIC_CHECK(entry.term >= last_term_, "term {} behind {}", entry.term.value, last_term_.value);
    last_ = entry.index;
    last_term_ = entry.term;
    last_hybrid_time_ = std::max(last_hybrid_time_, entry.hybrid_time);
    unpersisted_terms_.push_back(entry.term);
    ready_.entries.push_back(std::move(entry));
}

void Chain::forget_after(LogIndex keep) {
    NORNIC_CHECK(keep >= committed_, "entry {} is committed, not only {}", committed_.value, keep.value);
    std::erase_if(ready_.entries, [&](const Entry& entry) { return entry.index > keep; });
    std::erase_if(ready_.placed, [&](const Placed& placed) {
        if (placed.index <= keep) {
            return false;
        }
        ready_.refused.push_back(
            {placed.id, Error{ErrorCode::kNotLeader, "this member is no longer the head of the chain"}});
        return true;
    });
    while (!sizes_.empty() && sizes_.back().first > keep) {
        inflight_bytes_ -= sizes_.back().second;
        sizes_.pop_back();
    }
    if (keep < last_) {
        last_term_ = term_of(keep);
        last_ = keep;
    }
    taken_ = std::min(taken_, keep);
    persisted_ = std::min(persisted_, keep);
    matched_ = std::min(matched_, keep);
    unpersisted_terms_.resize(last_.value - persisted_.value);
}

Ready Chain::take_ready() {
    NORNIC_CHECK(taken_ == persisted_, "taken={} persisted={}", taken_.value, persisted_.value);
    Ready out;
    if (rewind_to_) {
        out.rewind_to = std::exchange(rewind_to_, std::nullopt);
        out.committed = committed_;
        return out;
    }
    if (hard_dirty_) {
        ready_.hard_state = HardState{epoch_, {}, committed_, join(chain_)};
        hard_dirty_ = false;
        hard_in_flight_ = true;
    }
    out = std::exchange(ready_, Ready{});
    out.committed = committed_;
    taken_ = last_;
    return out;
}

void Chain::persisted(LogIndex) {
    const bool more = taken_ > persisted_;
    unpersisted_terms_.erase(unpersisted_terms_.begin(),
                             unpersisted_terms_.begin() + std::ssize(unpersisted_terms_) -
                                 static_cast<std::ptrdiff_t>(last_.value - taken_.value));
    persisted_ = taken_;
    hard_in_flight_ = false;
    ship();
    if (!advance(LogIndex{0}, 0) && more) {
        acknowledge(true);
    }
}

void Chain::not_persisted(LogIndex first) {
    NORNIC_CHECK(first.value == persisted_.value + 1, "first={} persisted={}", first.value, persisted_.value);
    hard_dirty_ = hard_dirty_ || hard_in_flight_;
    hard_in_flight_ = false;
    const std::uint64_t lost = taken_.value - persisted_.value;
    if (!is_head() || rewinding_) {
        forget_after(persisted_);  // the predecessor sends them again
        if (rewind_to_ && *rewind_to_ >= last_) {
            rewind_to_.reset();
            rewinding_ = false;
        }
        return;
    }
    // Nobody was shown them, and writes that came in meanwhile move up to their place.
    const auto move_up = [&](LogIndex& index) { index.value -= lost; };
    for (Entry& entry : ready_.entries) {
        move_up(entry.index);
    }
    for (Placed& placed : ready_.placed) {
        move_up(placed.index);
    }
    std::erase_if(sizes_, [&](const auto& size) {
        const bool gone = size.first > persisted_ && size.first <= taken_;
        inflight_bytes_ -= gone ? size.second : 0;
        return gone;
    });
    for (auto& [index, size] : sizes_) {
        if (index > taken_) {
            move_up(index);
        }
    }
    unpersisted_terms_.erase(unpersisted_terms_.begin(),
                             unpersisted_terms_.begin() + static_cast<std::ptrdiff_t>(lost));
    move_up(last_);
    taken_ = persisted_;
    inherited_ = std::min(inherited_, last_);
    if (last_ == persisted_) {
        last_term_ = start_.log->term_at(last_).value();
        // The first entry of the epoch may be among them; the next round that comes back brings another.
        active_ = active_ && last_term_ == epoch_;
    }
}

void Chain::applied(LogIndex last) {
    NORNIC_CHECK(last >= applied_ && last <= committed_, "applied {} of {}", last.value, committed_.value);
    while (!sizes_.empty() && sizes_.front().first <= last) {
        inflight_bytes_ -= sizes_.front().second;
        sizes_.pop_front();
    }
    applied_ = last;
}

void Chain::rewound(LogIndex last, bool taken_back) {
    NORNIC_CHECK(taken_back, "what was applied is committed, and that is never given up");
    rewinding_ = false;
    forget_after(last);
    acknowledge(false);
}

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
    m.set_leader_id(join(chain_));
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
    m.set_leader_id(join(chain_));
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
        ready_.events.push_back(fmt::format("The chain {} is broken; writes are refused.", join(chain_)));
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
    std::vector<NodeName> chain = split(m.leader_id());
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
    ready_.events.push_back(fmt::format("Head of the chain {} in epoch {}.", join(chain_), epoch_.value));
    answer_commands(fmt::format("the chain is {} in epoch {}", join(chain_), epoch_.value));
}

// ---- What is asked ----

Result<> Chain::propose(ProposalId id, std::string write_set, std::uint64_t hybrid_time) {
    NORNIC_TRY(may_write());
    if (last_.value - applied_.value >= start_.inflight_max ||
        (inflight_bytes_ > 0 && inflight_bytes_ + write_set.size() > start_.inflight_bytes_max)) {
        return fail(ErrorCode::kBusy,
                    fmt::format("{} writes ({} bytes) are on their way along the chain",
                                last_.value - applied_.value,
                                inflight_bytes_));
    }
    const LogIndex index{last_.value + 1};
    inflight_bytes_ += write_set.size();
    sizes_.emplace_back(index, write_set.size());
    ready_.placed.push_back({id, index, epoch_});
    append({epoch_, index, hybrid_time, EntryKind::kWriteSet, std::move(write_set)});
    return success();
}

Result<> Chain::read(ReadId id, ReadConsistency level) {
    if (level == ReadConsistency::kOne || level == ReadConsistency::kLocalOne) {
        ready_.reads.push_back({id, applied_});
        return success();
    }
    NORNIC_TRY(may_write());
    if (reads_.size() >= start_.inflight_max) {
        return fail(ErrorCode::kBusy, fmt::format("{} reads wait for the tail", reads_.size()));
    }
    // A round that begins now and comes back shows that nobody had begun a later epoch when it began.
    // What an earlier head, or this one before it restarted, acknowledged may not be known as committed here
    // yet; it is among the entries that this one began with.
    reads_.push_back({id, std::max(committed_, inherited_), round_ + 1});
    begin_round();
    return success();
}

Result<> Chain::command(std::uint64_t id, const Command& asked) {
    if (rewinding_) {
        return fail(ErrorCode::kBusy, "this member gives up a branch of its log; repeat in a moment");
    }
    std::vector<NodeName> chain = chain_;
    if (asked.kind == Command::Kind::kRemoveMember) {
        if (std::erase(chain, asked.target) == 0) {
            return fail(ErrorCode::kNotFound, fmt::format("'{}' is not in the chain {}", asked.target, join(chain_)));
        }
        if (chain.size() * 2 <= settings_.members.size() && !asked.force) {
            return fail(ErrorCode::kDatabaseUnavailable,
                        fmt::format("without '{}' the chain has {} of {} members, and the others could go on "
                                    "without it; make sure that they are dead and repeat with force",
                                    asked.target,
                                    chain.size(),
                                    settings_.members.size()));
        }
    } else if (asked.kind == Command::Kind::kAddMember) {
        // The first entry of an epoch, which is written when its chain works, is what makes this log newer
        // than that of a member that was away.
        NORNIC_TRY(may_write());
        if (!contains(settings_.members, asked.target) || contains(chain, asked.target) || !is_up(asked.target)) {
            return fail(ErrorCode::kInvalidArgument,
                        fmt::format("'{}' is in the chain already, not configured, or not connected", asked.target));
        }
        chain.push_back(asked.target);
    } else {
        return fail(ErrorCode::kUnsupported, "a chain takes members out and back in, and nothing else");
    }
    if (chain.empty() || chain.front() != start_.self) {
        const NodeName head = chain.empty() ? NodeName{} : chain.front();
        return fail(ErrorCode::kNotLeader, fmt::format("ask '{}', the chain's head", head), bolt_address(head));
    }
    // No two members begin the same epoch: each has the numbers of its place.
    const std::uint64_t members = settings_.members.size();
    const auto self = std::find(settings_.members.begin(), settings_.members.end(), start_.self);
    const auto place = static_cast<std::uint64_t>(self - settings_.members.begin()) + 1;
    std::uint64_t epoch = std::max(epoch_, later_epoch_).value + 1;
    while (epoch % members != place % members) {
        ++epoch;
    }
    begin_epoch(Term{epoch}, std::move(chain));
    commands_.push_back(id);
    begin_round();
    return success();
}

// ---- Snapshots ----

bool Chain::accepts_snapshot(
    const NodeName& from, Term epoch, LogIndex index, std::string_view, std::string& reason) {
    if (epoch != epoch_ || from != neighbour(-1) || index < committed_) {
        reason = fmt::format("'{}' in epoch {} is not before this member in the chain {} of epoch {}",
                             from,
                             epoch.value,
                             join(chain_),
                             epoch_.value);
        return false;
    }
    return true;
}

void Chain::snapshot_installed(LogIndex index, Term term, std::string) {
    ready_.entries.clear();
    unpersisted_terms_.clear();
    rewinding_ = false;
    rewind_to_.reset();
    last_ = taken_ = persisted_ = committed_ = applied_ = matched_ = index;
    last_term_ = term;
    hard_dirty_ = true;
    acknowledge(true);
}

void Chain::snapshot_sent(const NodeName& to, std::optional<LogIndex>) {
    if (to == neighbour(1)) {
        sending_snapshot_ = false;
        probing_ = true;
        send_down();
    }
}

std::optional<LogIndex> Chain::wanted_from() const {
    return neighbour(1).empty() ? std::nullopt : std::optional{LogIndex{received_.value + 1}};
}

// ---- Looks ----

ClusterView Chain::view() const {
    ClusterView view;
    view.mode = "chain";
    view.cluster_id = start_.cluster_id;
    view.self = start_.self;
    view.role = !is_head() ? Role::kFollower : active_ ? Role::kLeader : Role::kCandidate;
    view.term = epoch_;
    view.commit_index = committed_;
    view.leader_changes = leader_changes_;
    const bool heard = is_head() ? active_ : tick_ - heard_tick_ < settings_.silence_ticks;
    view.leader = heard ? chain_.front() : NodeName{};
    const Result<> writable = may_write();
    view.accepts_writes = writable.has_value();
    if (!is_in_chain()) {
        view.state = "read_only";
        view.reason = fmt::format("this member was taken out of the chain, which is {} now; add it again there", join(chain_));
    } else if (diverged_) {
        view.state = "foreign_data";
        view.reason = "this member holds entries of a chain that was given up by force; empty its data directory";
    } else if (is_head() ? !writable : !heard) {
        view.state = is_head() && active_ && !stalled_ ? "starting" : "no_quorum";
        view.reason = is_head() ? writable.error().message() : fmt::format("'{}' has been silent", neighbour(-1));
    }
    MemberView self;
    self.id = start_.self;
    self.cluster_address = start_.cluster_address;
    self.bolt_address = start_.bolt_address;
    self.http_address = start_.http_address;
    self.role = view.role;
    self.match_index = persisted_;
    self.applied_index = applied_;
    view.members.push_back(std::move(self));
    for (const NodeName& id : settings_.members) {
        if (id == start_.self) {
            continue;
        }
        MemberView member;
        member.id = id;
        if (const auto peer = peers_.find(id); peer != peers_.end()) {
            member.cluster_address = peer->second.info.cluster_address;
            member.bolt_address = peer->second.info.bolt_address;
            member.http_address = peer->second.info.http_address;
        }
        member.role = id == chain_.front() ? Role::kLeader : Role::kFollower;
        member.healthy = is_up(id);
        member.match_index = id == neighbour(1) ? received_ : contains(chain_, id) ? committed_ : LogIndex{0};
        view.members.push_back(std::move(member));
    }
    view.details = {{"chain", join(chain_)}};
    return view;
}

}  // namespace

std::unique_ptr<Strategy> make_chain(const StrategyStart& start, const ChainSettings& settings) {
    return std::make_unique<Chain>(start, settings);
}

}  // namespace nornic::modes
