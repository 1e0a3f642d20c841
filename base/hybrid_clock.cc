#include "base/hybrid_clock.h"

#include <algorithm>

namespace nornic {

std::uint64_t HybridClock::soonest(std::uint64_t wall_ms) const noexcept {
    // A wall clock beyond the bound counts as one that stands still.
    const std::uint64_t wall = wall_ms <= wall_ms_of(kHybridTimeMax) ? hybrid_time_of(wall_ms) : 0;
    return std::max(last_ + 1, wall);
}

std::uint64_t HybridClock::next(std::uint64_t wall_ms) noexcept {
    last_ = soonest(wall_ms);
    return last_;
}

void HybridClock::observe(std::uint64_t time) noexcept {
    if (time <= kHybridTimeMax) {
        last_ = std::max(last_, time);
    }
}

}  // namespace nornic
