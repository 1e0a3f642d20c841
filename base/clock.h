// Time comes in by constructor, so that tests and the simulator own it.
#pragma once

#include <chrono>
#include <cstdint>

namespace nornic {

using Duration = std::chrono::nanoseconds;
/// Monotone, counts while the machine sleeps; for deadlines and time-outs only.
using Deadline = std::chrono::time_point<std::chrono::steady_clock, Duration>;

inline constexpr Deadline kNoDeadline = Deadline::max();

class Clock {
public:
    virtual ~Clock() = default;
    virtual Deadline now() const = 0;
    /// Nanoseconds since 1970-01-01T00:00:00Z; may jump.
    virtual std::int64_t wall_ns() const = 0;
};

/// The machine's clocks. Thread-safe.
Clock& system_clock();

}  // namespace nornic
