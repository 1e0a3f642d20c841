// A small seeded generator (xoshiro256**), passed in where chance is needed.
#pragma once

#include <cstdint>

namespace nornic {

class Random {
public:
    explicit Random(std::uint64_t seed) noexcept;
    /// Seeded from the operating system.
    static Random from_os();

    std::uint64_t next() noexcept;
    /// Uniform in [0, bound). bound must not be 0.
    std::uint64_t below(std::uint64_t bound) noexcept;
    /// Uniform in [0, 1).
    double unit() noexcept;
    bool one_in(std::uint64_t n) noexcept { return below(n) == 0; }

private:
    std::uint64_t state_[4];
};

}  // namespace nornic
