// What a leader knows of one follower, and how much may be on its way to it. Three states as in the field's practice:
// probing, where the logs meet is a guess and one message at a time goes out; replicating, a window of messages and bytes;
// snapshot, nothing goes out until that has ended.
#pragma once

#include "base/ids.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>

namespace nornic::raft {

struct ProgressLimits {
    std::size_t messages_max = 64;
    std::size_t bytes_max = std::size_t{8} << 20;
};

class Progress {
public:
    enum class State : std::uint8_t { kProbe, kReplicate, kSnapshot };

    Progress() = default;
    Progress(LogIndex next_guess, std::uint64_t now) : next_{next_guess}, heard_tick_{now} {}

    [[nodiscard]] State state() const noexcept { return state_; }
    [[nodiscard]] LogIndex match() const noexcept { return match_; }
    [[nodiscard]] LogIndex next() const noexcept { return next_; }
    [[nodiscard]] LogIndex applied() const noexcept { return applied_; }
    [[nodiscard]] std::uint64_t heard_tick() const noexcept { return heard_tick_; }
    [[nodiscard]] bool may_send(const ProgressLimits& limits) const;

    void heard(std::uint64_t now) { heard_tick_ = now; }
    void note_applied(LogIndex applied);
    /// Entries [next, last] went out, or a probe (last < next).
    void sent(LogIndex last, std::size_t bytes, std::uint64_t now);
    /// The follower is durable and equal up to `match`. Returns whether that is news.
    bool matched(LogIndex match, std::uint64_t now);
    /// A message that carried this commit index went out.
    void told(LogIndex commit) { told_ = std::max(told_, commit); }
    [[nodiscard]] LogIndex told() const noexcept { return told_; }
    /// Until then it is told at once what is committed, as readers wait for it there.
    void tell_promptly_until(std::uint64_t tick) { prompt_until_ = std::max(prompt_until_, tick); }
    [[nodiscard]] bool is_told_promptly(std::uint64_t now) const noexcept { return now < prompt_until_; }
    /// The follower's log does not fit before `next`. Old answers are ignored. Returns whether `next` moved.
    bool rejected(LogIndex prev_asked, LogIndex retry, std::uint64_t now);
    /// Nothing came back for a while, or the connection went: what was on its way may be lost. Not a snapshot, whose end
    /// is told.
    void probe();
    /// The leader's log goes no further back than `first`: whether the follower has what is before it is asked there.
    void probe_from(LogIndex first);
    void snapshot(std::uint64_t now);
    /// Probing goes on behind `index`, or what matched; 0: it failed.
    void snapshot_ended(LogIndex index);
    /// What is on its way or probed has not been answered since progress_tick().
    [[nodiscard]] bool waits() const { return probe_sent_ || !inflight_.empty(); }
    [[nodiscard]] std::uint64_t progress_tick() const noexcept { return progress_tick_; }
    /// After time in which nothing ran here.
    void shift(std::uint64_t ticks);

private:
    struct Inflight {
        LogIndex last;
        std::size_t bytes = 0;
    };
    State state_ = State::kProbe;
    LogIndex match_;
    LogIndex next_{1};  // next_ > match_
    LogIndex applied_;
    std::uint64_t heard_tick_ = 0;
    std::uint64_t progress_tick_ = 0;
    LogIndex told_;
    std::uint64_t prompt_until_ = 0;
    bool probe_sent_ = false;
    std::deque<Inflight> inflight_;
    std::size_t inflight_bytes_ = 0;
};

}  // namespace nornic::raft
