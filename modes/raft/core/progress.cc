#include "modes/raft/core/progress.h"

#include "base/check.h"

#include <algorithm>

namespace nornic::raft {

bool Progress::may_send(const ProgressLimits& limits) const {
    switch (state_) {
        case State::kProbe:
            return !probe_sent_;
        case State::kReplicate:
            // One message may go over the limit of bytes, or an entry larger than it would never leave.
            return inflight_.size() < limits.messages_max && inflight_bytes_ < limits.bytes_max;
        case State::kSnapshot:
            return false;
    }
    return false;
}

void Progress::note_applied(LogIndex applied) {
    applied_ = std::max(applied_, applied);
}

void Progress::sent(LogIndex last, std::size_t bytes, std::uint64_t now) {
    NORNIC_CHECK(state_ != State::kSnapshot, "entries up to {} during a snapshot", last.value);
    if (!waits()) {
        progress_tick_ = now;
    }
    if (state_ == State::kProbe) {
        probe_sent_ = true;  // next_ stays: the answer tells whether the guess was right
        return;
    }
    if (last >= next_) {
        next_ = LogIndex{last.value + 1};
        inflight_.push_back({last, bytes});
        inflight_bytes_ += bytes;
    }
}

bool Progress::matched(LogIndex match, std::uint64_t now) {
    if (match < match_ || (match == match_ && state_ != State::kProbe)) {
        return false;  // an old answer, or a repeated one
    }
    const bool news = match > match_;
    match_ = match;
    progress_tick_ = now;
    // An answer that says less than what the probe asks leaves that open.
    if (match.value + 1 >= next_.value) {
        next_ = LogIndex{match.value + 1};
        if (state_ == State::kProbe) {
            state_ = State::kReplicate;
            probe_sent_ = false;
        }
    }
    while (!inflight_.empty() && inflight_.front().last <= match) {
        inflight_bytes_ -= inflight_.front().bytes;
        inflight_.pop_front();
    }
    return news;
}

bool Progress::rejected(LogIndex prev_asked, LogIndex retry, std::uint64_t now) {
    // What matched once does so for the whole term; and only what was asked can be refused.
    const bool stale = state_ == State::kProbe ? prev_asked.value + 1 != next_.value : prev_asked >= next_;
    if (stale || prev_asked <= match_ || state_ == State::kSnapshot) {
        return false;
    }
    state_ = State::kProbe;
    probe_sent_ = false;
    inflight_.clear();
    inflight_bytes_ = 0;
    next_ = std::max(std::min(prev_asked, retry), LogIndex{match_.value + 1});
    progress_tick_ = now;
    return true;
}

void Progress::probe() {
    if (state_ == State::kReplicate) {
        state_ = State::kProbe;
        next_ = LogIndex{match_.value + 1};
    }
    told_ = LogIndex{0};
    probe_sent_ = false;
    inflight_.clear();
    inflight_bytes_ = 0;
}

void Progress::probe_from(LogIndex first) {
    NORNIC_CHECK(state_ != State::kSnapshot, "probing from {} during a snapshot", first.value);
    probe();
    state_ = State::kProbe;
    next_ = std::max(next_, first);
}

void Progress::snapshot(std::uint64_t now) {
    probe();
    state_ = State::kSnapshot;
    progress_tick_ = now;
}

void Progress::snapshot_ended(LogIndex index) {
    if (state_ != State::kSnapshot) {
        return;
    }
    state_ = State::kProbe;
    next_ = LogIndex{std::max(match_, index).value + 1};
}

void Progress::shift(std::uint64_t ticks) {
    heard_tick_ += ticks;
    progress_tick_ += ticks;
    prompt_until_ += ticks;
}

}  // namespace nornic::raft
