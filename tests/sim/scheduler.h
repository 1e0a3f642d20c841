// Virtual time: an event queue in the order of time and, where times are equal, of entry; and the clocks that members
// read, each with a rate and an offset of its own.
#pragma once

#include "base/clock.h"

#include <cstdint>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

namespace nornic::sim {

using Action = std::function<void()>;

inline constexpr Duration kMillisecond = std::chrono::milliseconds{1};
inline constexpr Duration kMicrosecond = std::chrono::microseconds{1};

class Scheduler {
public:
    /// Since the beginning of the run.
    [[nodiscard]] Duration now() const { return now_; }
    void after(Duration delay, Action action) {
        queue_.push({now_ + std::max(delay, Duration::zero()), next_++, std::move(action)});
    }
    /// Runs the next event, if it is not later than `until`; else time goes on to `until`.
    bool step(Duration until) {
        if (queue_.empty() || queue_.top().at > until) {
            now_ = std::max(now_, until);
            return false;
        }
        Event event = std::move(const_cast<Event&>(queue_.top()));
        queue_.pop();
        now_ = event.at;
        mix(static_cast<std::uint64_t>(event.at.count()));
        mix(event.number);
        event.action();
        return true;
    }
    /// What happened is told to the digest of the history.
    void mix(std::uint64_t word) { digest_ = (digest_ ^ word) * 0x100000001B3ULL ^ digest_ >> 29; }
    [[nodiscard]] std::uint64_t digest() const { return digest_; }
    [[nodiscard]] std::uint64_t events() const { return next_; }

private:
    struct Event {
        Duration at;
        std::uint64_t number;
        Action action;
        bool operator<(const Event& other) const {
            return at != other.at ? at > other.at : number > other.number;
        }
    };
    std::priority_queue<Event> queue_;
    Duration now_{};
    std::uint64_t next_ = 0;
    std::uint64_t digest_ = 0xCBF29CE484222325ULL;
};

/// A member's clock. It begins at one second, which any machine's monotone clock has passed: nothing in the process
/// that waits for a deadline of it on the machine's clock waits at all.
class SkewedClock final : public Clock {
public:
    explicit SkewedClock(const Scheduler& scheduler) : scheduler_{scheduler} {}
    /// From now on it runs so fast: 1.05 gains.
    void set_rate(double rate) {
        base_ = now().time_since_epoch() - std::chrono::seconds{1};
        since_ = scheduler_.now();
        rate_ = rate;
    }
    void set_wall_offset(Duration offset) { offset_ = offset; }
    [[nodiscard]] Deadline now() const override {
        const auto passed = static_cast<double>((scheduler_.now() - since_).count()) * rate_;
        return Deadline{std::chrono::seconds{1} + base_ + Duration{static_cast<Duration::rep>(passed)}};
    }
    [[nodiscard]] std::int64_t wall_ns() const override {
        return 1'700'000'000'000'000'000 + (now().time_since_epoch() + offset_).count();
    }
    /// How long `local` takes in the world's time.
    [[nodiscard]] Duration in_world(Duration local) const {
        return Duration{static_cast<Duration::rep>(static_cast<double>(local.count()) / rate_)};
    }

private:
    const Scheduler& scheduler_;
    double rate_ = 1.0;
    Duration base_{};
    Duration since_{};
    Duration offset_{};
};

}  // namespace nornic::sim
