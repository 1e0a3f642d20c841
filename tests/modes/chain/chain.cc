// Why it is safe. Two chains have a member in common, since each is more than half of the configured
// members (or an operator forced it). A member is in one epoch at a time, remembers it, and takes part in
// nothing older. An entry is committed once it is on the disks of all of an epoch's chain; a later epoch's
// chain has one of these members, and a member follows a new epoch only if the sender's log is at least as
// new as its own (as Raft's vote, thesis 3.6.1). So every later head has it.
#include "tests/modes/chain/chain.h"

#include "base/check.h"
#include "tests/modes/chain/chain_impl.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace nornic::modes {

std::string join_chain(const std::vector<NodeName>& chain) {
    return fmt::format("{}", fmt::join(chain, ","));
}

std::vector<NodeName> split_chain(std::string_view text) {
    std::vector<NodeName> out;
    while (!text.empty()) {
        const std::size_t end = text.find(',');
        out.emplace_back(text.substr(0, end));
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    return out;
}

bool contains(const std::vector<NodeName>& chain, const NodeName& name) {
    return std::find(chain.begin(), chain.end(), name) != chain.end();
}

// ---- The chain ----

Chain::Chain(const StrategyStart& start, const ChainSettings& settings)
    : start_{start},
      settings_{settings},
      epoch_{std::max(start.hard_state.term, Term{1})},
      chain_{start.hard_state.extra.empty() ? settings.members : split_chain(start.hard_state.extra)},
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
                    fmt::format("'{}' is the head of the chain {}", chain_.front(), join_chain(chain_)),
                    bolt_address(chain_.front()));
    }
    if (stalled_) {
        return fail(ErrorCode::kDatabaseUnavailable, "the disk of this member does not answer");
    }
    if (!active_) {
        return fail(ErrorCode::kDatabaseUnavailable,
                    fmt::format("not all of the chain {} answers; bring its members back or remove "
                                "those that are dead",
                                join_chain(chain_)));
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
                         fmt::format("epoch {} began meanwhile, with the chain {}", epoch.value, join_chain(chain))));
    ready_.events.push_back(fmt::format("Epoch {}: the chain is {}.", epoch.value, join_chain(chain)));
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
        ready_.hard_state = HardState{epoch_, {}, committed_, join_chain(chain_)};
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

// ---- Snapshots ----

bool Chain::accepts_snapshot(
    const NodeName& from, Term epoch, LogIndex index, std::string_view, std::string& reason) {
    if (epoch != epoch_ || from != neighbour(-1) || index < committed_) {
        reason = fmt::format("'{}' in epoch {} is not before this member in the chain {} of epoch {}",
                             from,
                             epoch.value,
                             join_chain(chain_),
                             epoch_.value);
        return false;
    }
    return true;
}

void Chain::snapshot_installed(const InstalledSnapshot& installed) {
    ready_.entries.clear();
    unpersisted_terms_.clear();
    rewinding_ = false;
    rewind_to_.reset();
    last_ = taken_ = persisted_ = committed_ = applied_ = matched_ = installed.index;
    last_term_ = installed.term;
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

std::unique_ptr<Strategy> make_chain(const StrategyStart& start, const ChainSettings& settings) {
    return std::make_unique<Chain>(start, settings);
}

}  // namespace nornic::modes
