// A small seeded generator (xoshiro256**), passed in where chance is needed.
#pragma once

#include <cstdint>
#include <string>

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

/// A version 4 uuid (RFC 9562) from two numbers of `random`.
std::string make_uuid(Random& random);

}  // namespace nornic
