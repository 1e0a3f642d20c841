// Which snapshots are open, and so which old versions somebody may still read. Thread-safe.
#pragma once

#include "base/ids.h"
#include "base/mutex.h"

#include <atomic>
#include <cstdint>
#include <deque>

namespace nornic::engine {

class Snapshots {
public:
    explicit Snapshots(LogIndex applied) : applied_{applied.value}, oldest_{applied.value} {}

    /// Opens a snapshot at the applied index.
    LogIndex acquire() EXCLUDES(mutex_);
    void release(LogIndex snapshot) EXCLUDES(mutex_);
    /// Makes everything up to `index` visible to new snapshots.
    void advance(LogIndex index) EXCLUDES(mutex_);

    [[nodiscard]] LogIndex applied() const noexcept {
        return LogIndex{applied_.load(std::memory_order_acquire)};
    }
    /// Nobody reads before this. Never past the applied index, since a snapshot may open there at
    /// any moment.
    [[nodiscard]] LogIndex oldest() const noexcept {
        return LogIndex{oldest_.load(std::memory_order_acquire)};
    }

private:
    struct Open {
        LogIndex index;
        std::uint32_t holders = 0;
    };
    void settle() REQUIRES(mutex_);

    Mutex mutex_;
    // Ascending, since snapshots open at an index that only grows.
    std::deque<Open> open_ GUARDED_BY(mutex_);
    std::atomic<std::uint64_t> applied_;
    std::atomic<std::uint64_t> oldest_;
};

}  // namespace nornic::engine
