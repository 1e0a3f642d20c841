#include "tests/modes/conformance/fixture.h"

#include "base/check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace nornic::modes::conformance {
namespace {

/// The newest membership that is part of the state, as an engine keeps it.
std::pair<LogIndex, std::string> membership_of(const std::vector<Entry>& state) {
    for (auto at = state.rbegin(); at != state.rend(); ++at) {
        if (at->kind == EntryKind::kMembership) {
            return {at->index, at->payload};
        }
    }
    return {};
}

constexpr std::size_t kTailLines = 40;
constexpr int kSettleRoundsMax = 20'000;
constexpr std::uint64_t kPauseTicksMin = 4;  // fewer are made up for, as by the driver

std::string describe(const Entry& entry) {
    return fmt::format("{}/{}/{}:{}",
                       entry.term.value,
                       entry.index.value,
                       static_cast<int>(entry.kind),
                       entry.payload);
}

}  // namespace

// ---- MemoryLog ----

const Entry* MemoryLog::find(LogIndex index) const {
    return index < first_ || index > last_index() ? nullptr : &entries_[index.value - first_.value];
}

Result<Term> MemoryLog::term_at(LogIndex index) {
    if (index.value == 0) {
        return Term{0};
    }
    if (index.value + 1 == first_.value) {
        return previous_term_;
    }
    if (const Entry* entry = find(index)) {
        return entry->term;
    }
    return fail(ErrorCode::kNotFound, fmt::format("the log holds no entry {}", index.value));
}

Result<std::vector<Entry>> MemoryLog::read(LogIndex from, LogIndex to, std::size_t bytes) {
    std::vector<Entry> out;
    std::size_t taken = 0;
    for (LogIndex at = from; at <= to && (out.empty() || taken < bytes); ++at) {
        const Entry* entry = find(at);
        if (entry == nullptr) {
            return fail(ErrorCode::kNotFound, fmt::format("the log holds no entry {}", at.value));
        }
        out.push_back(*entry);
        taken += entry->payload.size();
    }
    return out;
}

void MemoryLog::append(const std::vector<Entry>& entries) {
    if (entries.empty()) {
        return;
    }
    drop_after(LogIndex{entries.front().index.value - 1});
    for (const Entry& entry : entries) {
        NORNIC_CHECK(entry.index.value == last_index().value + 1,
                     "entry {} behind {}",
                     entry.index.value,
                     last_index().value);
        entries_.push_back(entry);
    }
}

void MemoryLog::drop_after(LogIndex keep) {
    while (!entries_.empty() && entries_.back().index > keep) {
        entries_.pop_back();
    }
}

void MemoryLog::drop_before(LogIndex first_kept) {
    while (!entries_.empty() && entries_.front().index < first_kept) {
        previous_term_ = entries_.front().term;
        entries_.pop_front();
        ++first_;
    }
}

void MemoryLog::reset(LogIndex next, Term previous) {
    entries_.clear();
    first_ = next;
    previous_term_ = previous;
}

// ---- Transcript ----

void Transcript::add(const std::string& line) {
    digest_ = fnv1a(line, digest_);
    if (print_) {
        fmt::print("{}\n", line);
    }
    lines_.push_back(line);
    if (lines_.size() > kTailLines) {
        lines_.pop_front();
    }
}

std::string Transcript::tail() const {
    std::string out;
    for (const std::string& line : lines_) {
        out += "  " + line + "\n";
    }
    return out;
}

// ---- Life ----

Cluster::Cluster(const ModeUnderTest& mode, const ClusterOptions& options)
    : mode_{mode}, options_{options} {
    for (const MemberSpec& spec : mode.members) {
        members_[spec.name].spec = &spec;
        members_[spec.name].history = "history of " + spec.name;
    }
}

void Cluster::note(const NodeName& name, const std::string& what) {
    transcript_.add(fmt::format("{:>4} {}: {}", tick_, name, what));
}

std::string Cluster::where(const NodeName& name) const {
    return fmt::format("{} member '{}' at tick {}, seed {}; it went\n{}",
                       mode_.label,
                       name,
                       tick_,
                       options_.seed,
                       transcript_.tail());
}

PeerInfo Cluster::info(const NodeName& name) const {
    PeerInfo out;
    out.id = name;
    out.mode = mode_.mode;
    out.cluster_address = name + ":7688";
    out.bolt_address = name + ":7687";
    out.http_address = name + ":7474";
    out.witness = member(name).spec->witness;
    return out;
}

void Cluster::start(const NodeName& name) {
    Member& m = member(name);
    NORNIC_CHECK(!m.strategy, "'{}' runs already", name);
    note(name, "starts");
    m.end = m.log.last_index();
    const LogIndex known = std::min(m.hard_state.committed, m.end);
    if (!m.spec->witness) {
        for (LogIndex at{m.state.size() + 1}; at <= known; ++at) {
            m.state.push_back(*m.log.find(at));
        }
    }
    const PeerInfo self = info(name);
    StrategyStart start;
    start.self = name;
    start.cluster_id = "cluster";
    start.cluster_address = self.cluster_address;
    start.bolt_address = self.bolt_address;
    start.http_address = self.http_address;
    start.history = m.history;
    start.last_index = m.end;
    start.last_term = m.log.term_at(m.end).value();
    start.hard_state = m.hard_state;
    start.applied = LogIndex{m.state.size()};
    std::tie(start.membership_index, start.membership) = membership_of(m.state);
    start.log = &m.log;
    start.seed = options_.seed;
    start.inflight_max = options_.inflight_max;
    start.inflight_bytes_max = options_.inflight_bytes_max;
    m.committed = LogIndex{m.state.size()};
    m.strategy = m.spec->make(start);
    EXPECT_EQ(m.strategy->name(), mode_.mode) << where(name);
    EXPECT_GE(m.strategy->view().term, m.hard_state.term) << "a restart forgot a term\n" << where(name);
    after_input(name);
    // Nobody is served, and no peer is heard, before what it brings along is carried out.
    while (step_driver(name)) {
    }
}

void Cluster::start_all() {
    for (const NodeName& name : names()) {
        if (!alive(name)) {
            start(name);
        }
    }
    watch_connections();
    settle();
}

void Cluster::crash(const NodeName& name, std::size_t records) {
    Member& m = member(name);
    if (!m.strategy) {
        return;
    }
    note(name, fmt::format("crashes, {} records of its batch are kept", m.writing ? records : 0));
    for (const NodeName& other : names()) {
        if (other != name) {
            disconnect(name, other, transport::LostReason::kClosed);
        }
    }
    m.strategy.reset();
    if (m.writing) {
        persist(name, *m.writing, m.appended ? records : 0);
        m.writing.reset();
    }
    m.state.resize(m.durable.value);
    m.paused = m.stalled = m.disk_full = m.state_lost = m.checkpoint_asked = false;
    m.dials.reset();
    m.hold = Hold::kNothing;
    m.held_ticks = m.missed_ticks = 0;
    m.down_while_paused.clear();
    m.write_term = Term{0};
    for (const auto& [id, payload] : std::exchange(m.offered, {})) {
        finish(id, Outcome::kUnknown);
    }
    for (const auto& [index, waiting] : std::exchange(m.waiting, {})) {
        finish(waiting.id, Outcome::kUnknown);
    }
    for (const ReadId id : std::exchange(m.reads, {})) {
        reads_.at(id).error = Error{ErrorCode::kStopping, "its member crashed"};
    }
    for (const std::uint64_t id : std::exchange(m.commands, {})) {
        answers_.at(id) = fail(ErrorCode::kStopping, std::string{"its member crashed"});
    }
}

void Cluster::pause(const NodeName& name) {
    if (alive(name)) {
        note(name, "is paused");
        member(name).paused = true;
    }
}

void Cluster::resume(const NodeName& name) {
    Member& m = member(name);
    if (!m.paused) {
        return;
    }
    note(name, fmt::format("goes on after {} ticks", m.missed_ticks));
    m.paused = false;
    const std::uint64_t missed = std::exchange(m.missed_ticks, 0);
    for (const NodeName& peer : std::exchange(m.down_while_paused, {})) {
        m.strategy->peer_down(peer, transport::LostReason::kSilent);
    }
    if (missed > kPauseTicksMin) {
        m.strategy->paused(missed);
    } else {
        for (std::uint64_t i = 0; i < missed; ++i) {
            m.strategy->tick();
        }
    }
    after_input(name);
}

// ---- Time ----

void Cluster::tick_member(const NodeName& name) {
    Member& m = member(name);
    if (!m.strategy) {
        return;
    }
    if (m.paused) {
        ++m.missed_ticks;
        return;
    }
    if (std::exchange(m.checkpoint_asked, false)) {
        checkpoint(name);
    }
    m.held_ticks = m.hold != Hold::kNothing && m.writing ? m.held_ticks + 1 : 0;
    const bool stalled = m.held_ticks > options_.stall_ticks;
    if (stalled || m.stalled) {
        m.strategy->disk_stalled(stalled);
    }
    m.stalled = stalled;
    m.strategy->tick();
    after_input(name);
}

void Cluster::pass_interval() {
    ++tick_;
    watch_connections();
    for (const NodeName& name : names()) {
        tick_member(name);
    }
}

void Cluster::tick() {
    pass_interval();
    settle();
}

void Cluster::run(std::uint64_t ticks) {
    for (std::uint64_t i = 0; i < ticks; ++i) {
        tick();
    }
}

bool Cluster::run_until(const std::function<bool()>& done, std::uint64_t ticks) {
    for (std::uint64_t i = 0; i < ticks && !done(); ++i) {
        tick();
    }
    return done();
}

void Cluster::settle() {
    const std::vector<NodeName> all = names();
    for (int round = 0; round < kSettleRoundsMax; ++round) {
        bool worked = transfer_snapshot();
        for (const NodeName& name : all) {
            worked = step_driver(name) || worked;
        }
        for (const NodeName& from : all) {
            for (const NodeName& to : all) {
                for (std::size_t lane = 0; lane < transport::kLanes; ++lane) {
                    worked = deliver(from, to, static_cast<Lane>(lane)) || worked;
                }
            }
        }
        if (!worked) {
            return;
        }
    }
    ADD_FAILURE() << "it does not come to rest between two ticks; "
                  << where(members_.begin()->first);
}

// ---- The driver ----

void Cluster::after_input(const NodeName& name) {
    Member& m = member(name);
    for (const Outbound& out : m.strategy->take_messages()) {
        send(name, out);
    }
    check_view(name);
}

bool Cluster::step_driver(const NodeName& name) {
    Member& m = member(name);
    if (!m.strategy || m.paused) {
        return false;
    }
    if (m.writing) {
        if (m.hold == Hold::kAppend || (m.hold == Hold::kSync && m.appended)) {
            return false;
        }
        m.appended ? end_write(name) : append_batch(name);
        after_input(name);
        return true;
    }
    Ready ready = m.strategy->take_ready();
    after_input(name);
    check_ready(name, ready);
    const std::size_t answers_open = m.commands.size();
    answer_ready(name, ready);
    const bool answered = !ready.empty() || m.commands.size() != answers_open;
    m.checkpoint_asked = m.checkpoint_asked || ready.checkpoint;
    if (ready.dial) {
        dial(name, *ready.dial);
    }
    if (ready.reset_log) {
        reset_log(name, ready);
        after_input(name);
        return true;
    }
    if (ready.rewind_to) {
        rewind(name, *ready.rewind_to);
        after_input(name);
        return true;
    }
    m.committed = ready.committed;
    const bool has_applies = !m.spec->witness && ready.committed.value > m.state.size();
    if (has_applies) {
        apply(name, ready.committed);
    }
    const bool has_batch = ready.hard_state || !ready.entries.empty() ||
                           !ready.messages_after_append.empty() ||
                           !ready.messages_after_persist.empty();
    if (has_batch) {
        m.writing = std::move(ready);
        m.appended = false;
    }
    after_input(name);
    return answered || has_applies || has_batch;
}

void Cluster::answer_ready(const NodeName& name, Ready& ready) {
    Member& m = member(name);
    for (const std::string& event : ready.events) {
        note(name, event);
        m.events.push_back(event);
    }
    for (const std::string& error : ready.errors) {
        note(name, error);
        m.errors.push_back(error);
    }
    for (const Placed& placed : ready.placed) {
        const auto offered = m.offered.find(placed.id);
        if (offered == m.offered.end()) {
            ADD_FAILURE() << "proposal " << placed.id.value << " was placed and is not open; "
                          << where(name);
            continue;
        }
        const auto entry = std::find_if(
            ready.entries.begin(), ready.entries.end(), [&](const Entry& e) { return e.index == placed.index; });
        EXPECT_TRUE(entry != ready.entries.end() && entry->term == placed.term &&
                    entry->payload == offered->second)
            << "proposal " << placed.id.value << " is not where it was placed; " << where(name);
        EXPECT_TRUE(m.waiting.emplace(placed.index, Waiting{placed.id, placed.term}).second)
            << "two proposals at index " << placed.index.value << "; " << where(name);
        proposals_.at(placed.id).placed = placed;
        m.offered.erase(offered);
    }
    for (const Refusal& refusal : ready.refused) {
        EXPECT_EQ(m.offered.erase(refusal.id), 1U)
            << "proposal " << refusal.id.value << " was refused and is not open; " << where(name);
        finish(refusal.id, Outcome::kRefused, refusal.error);
    }
    for (const ReadPoint& point : ready.reads) {
        if (m.reads.count(point.id) == 0 || reads_.at(point.id).index) {
            ADD_FAILURE() << "read " << point.id.value << " has an answer already; " << where(name);
            continue;
        }
        ReadAsked& asked = reads_.at(point.id);
        asked.index = point.index;
        const bool local = asked.level == ReadConsistency::kOne || asked.level == ReadConsistency::kLocalOne;
        if (!local && mode_.fresh_reads) {
            EXPECT_GE(point.index, asked.acknowledged)
                << "a linearizable read misses what was acknowledged before; " << where(name);
        }
    }
    for (const RefusedRead& refused : ready.refused_reads) {
        EXPECT_EQ(m.reads.erase(refused.id), 1U) << where(name);
        reads_.at(refused.id).error = refused.error;
    }
    release_reads(name);
    for (const CommandAnswer& answer : m.strategy->take_answers()) {
        EXPECT_EQ(m.commands.erase(answer.id), 1U)
            << "command " << answer.id << " was answered and is not open; " << where(name);
        answers_.at(answer.id) = answer.outcome;
    }
    for (const NodeName& to : ready.send_snapshot) {
        EXPECT_TRUE(members_.count(to) == 1 && to != name) << "a snapshot for '" << to << "'; " << where(name);
        snapshots_.push_back({name, to});
    }
}

void Cluster::release_reads(const NodeName& name) {
    Member& m = member(name);
    std::erase_if(m.reads, [&](ReadId id) {
        ReadAsked& asked = reads_.at(id);
        if (!asked.index || asked.index->value > m.state.size()) {
            return false;
        }
        asked.answered_at = LogIndex{m.state.size()};
        return true;
    });
}

void Cluster::rewind(const NodeName& name, LogIndex keep) {
    Member& m = member(name);
    ++marks_["rewind"];
    note(name, fmt::format("rewinds its log from {} to {}", m.end.value, keep.value));
    for (LogIndex at{std::max(keep.value + 1, m.log.first_index().value)}; at <= m.end; ++at) {
        if (const Entry* entry = m.log.find(at); entry->kind != EntryKind::kNoop) {
            m.diverged.push_back(*entry);
        }
    }
    m.end = keep;
    for (auto at = m.waiting.upper_bound(keep); at != m.waiting.end(); at = m.waiting.erase(at)) {
        finish(at->second.id, Outcome::kLost);
    }
    const bool taken_back = m.state.size() <= keep.value || m.durable <= keep;
    if (m.state.size() > keep.value) {
        EXPECT_FALSE(mode_.applies_for_good) << "what was applied is taken back; " << where(name);
        if (taken_back) {
            m.state.resize(keep.value);
        }
        m.state_lost = !taken_back;
    }
    if (options_.rewind_erases && taken_back) {
        m.log.drop_after(keep);
    }
    m.committed = std::min(m.committed, keep);
    m.strategy->rewound(keep, taken_back);
}

void Cluster::reset_log(const NodeName& name, const Ready& ready) {
    Member& m = member(name);
    const LogPlace place = *ready.reset_log;
    m.hard_state = ready.hard_state.value_or(m.hard_state);
    ++marks_["log reset"];
    note(name, fmt::format("begins its log anew behind {} of term {}", place.index.value, place.term.value));
    m.log.reset(LogIndex{place.index.value + 1}, place.term);
    m.end = place.index;
    for (const auto& [at, waiting] : std::exchange(m.waiting, {})) {
        finish(waiting.id, Outcome::kUnknown);
    }
    m.strategy->log_reset();
}

void Cluster::dial(const NodeName& name, const std::vector<std::string>& addresses) {
    note(name, fmt::format("dials {}", fmt::join(addresses, ", ")));
    member(name).dials.emplace(addresses.begin(), addresses.end());
    for (const NodeName& other : names()) {
        if (other != name && !dialed(name, other)) {
            disconnect(name, other, transport::LostReason::kClosed);
        }
    }
}

void Cluster::append_batch(const NodeName& name) {
    Member& m = member(name);
    if (m.disk_full && !m.writing->entries.empty()) {
        const Ready refused = std::move(*m.writing);
        m.writing.reset();
        refuse_batch(name, refused);
        return;
    }
    m.appended = true;
    for (const Outbound& out : m.writing->messages_after_append) {
        send(name, out);
    }
}

void Cluster::refuse_batch(const NodeName& name, const Ready& ready) {
    Member& m = member(name);
    const LogIndex first = ready.entries.front().index;
    ++marks_["no room"];
    note(name, fmt::format("has no room for entries {} to {}", first.value, ready.entries.back().index.value));
    for (auto at = m.waiting.lower_bound(first);
         at != m.waiting.end() && at->first <= ready.entries.back().index;) {
        if (ready.entries[at->first.value - first.value].term != at->second.term) {
            ++at;  // what was to be overwritten stays
            continue;
        }
        finish(at->second.id, Outcome::kRefused, Error{ErrorCode::kDiskFull, "no room"});
        at = m.waiting.erase(at);
    }
    m.strategy->not_persisted(first);
}

/// The first `records` of the batch reach the disk.
void Cluster::persist(const NodeName& name, const Ready& ready, std::size_t records) {
    Member& m = member(name);
    if (ready.hard_state && records > 0) {
        EXPECT_GE(ready.hard_state->term, m.hard_state.term) << "a term fell; " << where(name);
        m.hard_state = *ready.hard_state;
        --records;
    }
    std::vector<Entry> entries = ready.entries;
    marks_["torn batch"] += records < entries.size() ? 1 : 0;
    entries.resize(std::min(records, entries.size()));
    for (const Entry& entry : entries) {
        note(name, "persists " + describe(entry));
        check_author(name, entry);
    }
    m.log.append(entries);
}

void Cluster::end_write(const NodeName& name) {
    Member& m = member(name);
    const Ready ready = std::move(*m.writing);
    m.writing.reset();
    persist(name, ready, SIZE_MAX);
    if (!ready.entries.empty()) {
        m.end = ready.entries.back().index;
    }
    if (ready.hard_state || !ready.entries.empty()) {
        m.strategy->persisted(m.end);
    }
    for (const Outbound& out : ready.messages_after_persist) {
        send(name, out);
    }
}

void Cluster::apply(const NodeName& name, LogIndex committed) {
    Member& m = member(name);
    const LogIndex last{std::min<std::uint64_t>(committed.value, m.state.size() + options_.apply_max)};
    std::vector<LogIndex> marks;
    for (LogIndex at{m.state.size() + 1}; at <= last; ++at) {
        const Entry* entry = m.log.find(at);
        if (entry == nullptr) {
            ADD_FAILURE() << "entry " << at.value << " is committed and not on disk; " << where(name);
            return;
        }
        note(name, "applies " + describe(*entry));
        check_applied(name, *entry);
        m.state.push_back(*entry);
        if (is_comparison_mark(*entry)) {
            marks.push_back(at);
        }
    }
    m.strategy->applied(last);
    for (const LogIndex mark : marks) {
        if (const auto digest = options_.digest ? options_.digest(name) : Result<std::uint64_t>{1}) {
            m.strategy->state_digest(mark, *digest);
        }
    }
    while (!m.waiting.empty() && m.waiting.begin()->first <= last) {
        const auto [index, waiting] = *m.waiting.begin();
        m.waiting.erase(m.waiting.begin());
        const Entry& entry = m.state[index.value - 1];
        if (entry.term != waiting.term) {
            finish(waiting.id, Outcome::kLost);
            continue;
        }
        EXPECT_EQ(entry.payload, proposals_.at(waiting.id).payload) << where(name);
        check_acknowledged(name, entry);
        finish(waiting.id, Outcome::kCommitted);
    }
    // Terms never fall along a log: nothing of an earlier one stands behind what is applied.
    std::erase_if(m.waiting, [&](const auto& at) {
        const bool lost = at.second.term < m.state[last.value - 1].term;
        if (lost) {
            finish(at.second.id, Outcome::kLost);
        }
        return lost;
    });
    release_reads(name);
}

void Cluster::finish(ProposalId id, Outcome outcome, std::optional<Error> error) {
    Proposal& proposal = proposals_.at(id);
    EXPECT_EQ(proposal.outcome, Outcome::kOpen)
        << "proposal " << id.value << " was answered twice; " << where(proposal.member);
    note(proposal.member, fmt::format("proposal {} ends as {}", id.value, static_cast<int>(outcome)));
    marks_["lost proposal"] += outcome == Outcome::kLost ? 1 : 0;
    proposal.outcome = outcome;
    proposal.error = std::move(error);
}

/// One transfer, whole or not at all.
bool Cluster::transfer_snapshot() {
    for (auto job = snapshots_.begin(); job != snapshots_.end(); ++job) {
        const auto [from_name, to_name] = *job;
        Member& from = member(from_name);
        Member& to = member(to_name);
        if (from.paused || to.paused || (to.strategy && to.writing)) {
            continue;
        }
        snapshots_.erase(job);
        if (!from.strategy) {
            return true;
        }
        const LogIndex index{from.state.size()};
        const Term epoch = from.strategy->view().term;
        std::string reason;
        if (!reachable(from_name, to_name) ||
            !to.strategy->accepts_snapshot(from_name, epoch, index, from.history, reason)) {
            EXPECT_TRUE(!reachable(from_name, to_name) || !reason.empty())
                << "a snapshot is refused without a reason; " << where(to_name);
            note(to_name, "takes no snapshot: " + reason);
            from.strategy->snapshot_sent(to_name, std::nullopt);
            after_input(from_name);
            return true;
        }
        ++marks_["snapshot"];
        note(to_name, fmt::format("takes the snapshot of '{}' as of {}", from_name, index.value));
        to.state = from.state;
        to.history = from.history;
        to.durable = to.end = to.committed = index;
        to.state_lost = false;
        const Term term = to.state.empty() ? Term{0} : to.state.back().term;
        to.log.reset(LogIndex{index.value + 1}, term);
        for (const auto& [at, waiting] : std::exchange(to.waiting, {})) {
            finish(waiting.id, Outcome::kUnknown);
        }
        InstalledSnapshot installed{.index = index, .term = term, .history = to.history};
        std::tie(installed.membership_index, installed.membership) = membership_of(to.state);
        to.strategy->snapshot_installed(installed);
        release_reads(to_name);
        after_input(to_name);
        from.strategy->snapshot_sent(to_name, index);
        after_input(from_name);
        return true;
    }
    return false;
}

// ---- Network ----

void Cluster::send(const NodeName& from, const Outbound& out) {
    ASSERT_TRUE(out.message) << "an empty message; " << where(from);
    ASSERT_TRUE(members_.count(out.to) == 1 && out.to != from)
        << "a message for '" << out.to << "'; " << where(from);
    EXPECT_NE(out.message->body_case(), ClusterMessage::BODY_NOT_SET) << where(from);
    note(from, fmt::format("to {} lane {}: {}", out.to, static_cast<int>(out.lane), out.message->ShortDebugString()));
    Link& link = links_[{from, out.to}];
    if (!link.cut && connected_.count(std::minmax(from, out.to)) == 1) {
        link.lanes[static_cast<std::size_t>(out.lane)].push_back(out.message);
    }
}

bool Cluster::deliver(const NodeName& from, const NodeName& to, Lane lane) {
    const auto link = links_.find({from, to});
    Member& m = member(to);
    if (link == links_.end() || link->second.lanes[static_cast<std::size_t>(lane)].empty() || !m.strategy ||
        m.paused) {
        return false;
    }
    const std::shared_ptr<const ClusterMessage> message = drop(from, to, lane);
    if (!link->second.cut) {
        step(to, from, *message);
    }
    return true;
}

std::shared_ptr<const ClusterMessage> Cluster::drop(const NodeName& from, const NodeName& to, Lane lane) {
    auto& queue = links_[{from, to}].lanes[static_cast<std::size_t>(lane)];
    if (queue.empty()) {
        return nullptr;
    }
    std::shared_ptr<const ClusterMessage> message = std::move(queue.front());
    queue.pop_front();
    return message;
}

void Cluster::step(const NodeName& to, const NodeName& from, const ClusterMessage& message) {
    member(to).strategy->step(from, message);
    after_input(to);
}

void Cluster::cut(const NodeName& from, const NodeName& to) {
    note(from, "is cut off from " + to);
    links_[{from, to}].cut = true;
}

void Cluster::isolate(const NodeName& name) {
    for (const NodeName& other : names()) {
        if (other != name) {
            cut(name, other);
            cut(other, name);
        }
    }
}

void Cluster::heal() {
    for (auto& [pair, link] : links_) {
        link.cut = false;
    }
    watch_connections();
}

bool Cluster::dialed(const NodeName& one, const NodeName& other) const {
    const auto dials = [&](const NodeName& from, const NodeName& to) {
        const auto& list = member(from).dials;
        return !list || list->contains(info(to).cluster_address);
    };
    return dials(one, other) || dials(other, one);
}

bool Cluster::reachable(const NodeName& one, const NodeName& other) const {
    if (!dialed(one, other)) {
        return false;
    }
    for (const Pair& pair : {Pair{one, other}, Pair{other, one}}) {
        const auto link = links_.find(pair);
        if (!alive(pair.first) || member(pair.first).paused || (link != links_.end() && link->second.cut)) {
            return false;
        }
    }
    return true;
}

void Cluster::connect(const NodeName& one, const NodeName& other) {
    connected_[std::minmax(one, other)] = 0;
    for (const auto& [name, peer] : {Pair{one, other}, Pair{other, one}}) {
        member(name).strategy->peer_up(info(peer));
        after_input(name);
    }
}

void Cluster::disconnect(const NodeName& one, const NodeName& other, transport::LostReason reason) {
    if (connected_.erase(std::minmax(one, other)) == 0) {
        return;
    }
    for (const auto& [name, peer] : {Pair{one, other}, Pair{other, one}}) {
        for (auto& lane : links_[{name, peer}].lanes) {
            lane.clear();
        }
        Member& m = member(name);
        if (m.paused) {
            m.down_while_paused.insert(peer);
        } else if (m.strategy) {
            m.strategy->peer_down(peer, reason);
            after_input(name);
        }
    }
}

void Cluster::watch_connections() {
    const std::vector<NodeName> all = names();
    for (std::size_t i = 0; i < all.size(); ++i) {
        for (std::size_t j = i + 1; j < all.size(); ++j) {
            const Pair pair = std::minmax(all[i], all[j]);
            const auto connection = connected_.find(pair);
            if (reachable(pair.first, pair.second)) {
                if (connection == connected_.end()) {
                    connect(pair.first, pair.second);
                } else {
                    connection->second = 0;
                }
            } else if (connection != connected_.end() && ++connection->second >= options_.keep_alive_ticks) {
                disconnect(pair.first, pair.second, transport::LostReason::kSilent);
            }
        }
    }
}

// ---- Disk ----

void Cluster::hold_disk(const NodeName& name, Hold at) {
    note(name, at == Hold::kNothing ? "its disk answers" : "its disk hangs");
    member(name).hold = at;
}

void Cluster::fill_disk(const NodeName& name, bool on) {
    note(name, on ? "its disk is full" : "its disk has room");
    member(name).disk_full = on;
}

void Cluster::checkpoint(const NodeName& name, Retention retention) {
    Member& m = member(name);
    if (m.state_lost) {
        return;
    }
    if (m.spec->witness) {
        if (m.strategy) {
            const LogIndex committed = m.strategy->view().commit_index;
            m.log.drop_before(std::min(committed, m.strategy->wanted_from().value_or(committed)));
        }
        return;
    }
    m.durable = LogIndex{m.state.size()};
    LogIndex cut{m.durable.value + 1};
    if (retention == Retention::kForPeers && m.strategy) {
        cut = std::min(cut, m.strategy->wanted_from().value_or(cut));
    }
    note(name, fmt::format("has a checkpoint at {} and keeps its log from {} on", m.durable.value, cut.value));
    m.log.drop_before(cut);
}

// ---- Clients and operators ----

Result<ProposalId> Cluster::propose(const NodeName& name, const std::string& payload) {
    Member& m = member(name);
    const ProposalId id{next_id_++};
    const ClusterView view = m.strategy->view();
    const Result<> offered = m.strategy->propose(id, payload, next_id_);
    note(name, fmt::format("proposal {} '{}': {}", id.value, payload, offered ? "taken" : offered.error().message()));
    EXPECT_TRUE(!offered || view.accepts_writes)
        << "it took a write and says that it takes none: " << view.reason << "; " << where(name);
    EXPECT_TRUE(offered || !view.accepts_writes || offered.error().code() == ErrorCode::kBusy)
        << "it says that it takes writes and refused one: " << offered.error().message() << "; " << where(name);
    if (!offered) {
        EXPECT_FALSE(offered.error().message().empty()) << where(name);
        return offered.error();
    }
    proposals_[id] = Proposal{name, payload};
    m.offered[id] = payload;
    after_input(name);
    return id;
}

Result<ReadId> Cluster::read(const NodeName& name, ReadConsistency level) {
    Member& m = member(name);
    const ReadId id{next_id_++};
    const LogIndex acknowledged = acknowledged_.empty() ? LogIndex{0} : acknowledged_.rbegin()->first;
    NORNIC_TRY(m.strategy->read(id, level));
    note(name, fmt::format("read {} at level {}", id.value, static_cast<int>(level)));
    reads_[id] = ReadAsked{name, level, acknowledged};
    m.reads.insert(id);
    after_input(name);
    return id;
}

Result<std::uint64_t> Cluster::command(const NodeName& name, const Command& command) {
    Member& m = member(name);
    const std::uint64_t id = next_id_++;
    const Result<> taken = m.strategy->command(id, command);
    note(name,
         fmt::format("command {} {} '{}': {}",
                     id,
                     static_cast<int>(command.kind),
                     command.target,
                     taken ? "taken" : taken.error().message()));
    if (!taken) {
        return taken.error();
    }
    answers_[id] = std::nullopt;
    m.commands.insert(id);
    after_input(name);
    return id;
}

void Cluster::leave(const NodeName& name) {
    note(name, "leaves");
    member(name).strategy->leave();
    after_input(name);
}

// ---- Looks ----

std::vector<NodeName> Cluster::names() const {
    std::vector<NodeName> out;
    for (const MemberSpec& spec : mode_.members) {
        out.push_back(spec.name);
    }
    return out;
}

std::vector<NodeName> Cluster::data_members() const {
    std::vector<NodeName> out;
    for (const MemberSpec& spec : mode_.members) {
        if (!spec.witness) {
            out.push_back(spec.name);
        }
    }
    return out;
}

std::vector<NodeName> Cluster::writers() const {
    std::vector<NodeName> out;
    for (const auto& [name, m] : members_) {
        if (serves(name) && m.strategy->view().accepts_writes) {
            out.push_back(name);
        }
    }
    return out;
}

std::optional<NodeName> Cluster::await_writer(std::uint64_t ticks) {
    const auto agreed = [&] {
        const std::vector<NodeName> found = writers();
        return found.size() == 1 && std::all_of(members_.begin(), members_.end(), [&](const auto& named) {
                   return !named.second.strategy || named.second.strategy->view().leader == found.front();
               });
    };
    return run_until(agreed, ticks) ? std::optional{writers().front()} : std::nullopt;
}

std::optional<Result<std::string>> Cluster::answer(std::uint64_t command) const {
    return answers_.at(command);
}

std::size_t Cluster::open_proposals() const {
    return static_cast<std::size_t>(std::count_if(proposals_.begin(), proposals_.end(), [](const auto& proposal) {
        return proposal.second.outcome == Outcome::kOpen;
    }));
}

std::string Cluster::state_of(const NodeName& name) const {
    const Member& m = member(name);
    std::string out = fmt::format("log {}..{} end {} hard {}/{}/{}/{} applied {}",
                                  m.log.first_index().value,
                                  m.log.last_index().value,
                                  m.end.value,
                                  m.hard_state.term.value,
                                  m.hard_state.voted_for,
                                  m.hard_state.committed.value,
                                  m.hard_state.extra,
                                  m.state.size());
    if (m.strategy) {
        const ClusterView view = m.strategy->view();
        out += fmt::format(" {} term {} leader '{}' committed {} {} writes {} in {}",
                           to_string(view.role),
                           view.term.value,
                           view.leader,
                           view.commit_index.value,
                           view.state,
                           view.accepts_writes,
                           m.strategy->write_term().value);
    }
    return out;
}

}  // namespace nornic::modes::conformance
