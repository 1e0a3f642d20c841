// Hybrid logical clock: times that are near the wall clock's and never below anything that was seen. 48 bits of
// milliseconds since 1970, 16 of a counter for what falls into one of them. Source: Kulkarni et al., "Logical Physical
// Clocks", 2014, with one counter instead of two parts, so that a time is one integer.
#pragma once

#include <cstdint>

namespace nornic {

inline constexpr unsigned kHybridCounterBits = 16;
/// Year 6429. No clock is there; what claims to be is damage, and following it would use up all later times.
inline constexpr std::uint64_t kHybridTimeMax = (std::uint64_t{1} << 63) - 1;

constexpr std::uint64_t hybrid_time_of(std::uint64_t wall_ms) noexcept {
    return wall_ms << kHybridCounterBits;
}
constexpr std::uint64_t wall_ms_of(std::uint64_t time) noexcept {
    return time >> kHybridCounterBits;
}
/// By how many milliseconds `time` is in the future of a clock that shows `wall_ms`; 0: it is not.
constexpr std::uint64_t ahead_ms(std::uint64_t time, std::uint64_t wall_ms) noexcept {
    return wall_ms_of(time) > wall_ms ? wall_ms_of(time) - wall_ms : 0;
}

/// Not thread-safe. It forgets with the process: whoever makes one shows it first what is on disk.
class HybridClock {
public:
    /// Later than all it gave or saw, also while the wall clock stands still or goes back. More than 65,536 in a millisecond
    /// are taken from the next one.
    std::uint64_t next(std::uint64_t wall_ms) noexcept;
    /// What next() would give.
    [[nodiscard]] std::uint64_t soonest(std::uint64_t wall_ms) const noexcept;
    /// What is drawn from now on is later than this. Times beyond kHybridTimeMax are passed over.
    void observe(std::uint64_t time) noexcept;
    /// The latest it gave or saw.
    [[nodiscard]] std::uint64_t last() const noexcept { return last_; }

private:
    std::uint64_t last_ = 0;
};

}  // namespace nornic
