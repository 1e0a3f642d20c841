#include "base/random.h"

#include "base/check.h"

#include <fmt/format.h>

#include <bit>
#include <random>

namespace nornic {

Random::Random(std::uint64_t seed) noexcept {
    // splitmix64 spreads any seed, 0 included, over the state.
    for (auto& word : state_) {
        seed += 0x9E3779B97F4A7C15ULL;
        std::uint64_t z = seed;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
        word = z ^ (z >> 31);
    }
}

Random Random::from_os() {
    std::random_device device;
    return Random{(static_cast<std::uint64_t>(device()) << 32) | device()};
}

std::uint64_t Random::next() noexcept {
    const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const std::uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = std::rotl(state_[3], 45);
    return result;
}

std::uint64_t Random::below(std::uint64_t bound) noexcept {
    NORNIC_DCHECK(bound > 0, "bound={}", bound);
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::uint64_t>((static_cast<Wide>(next()) * bound) >> 64);
}

double Random::unit() noexcept {
    return static_cast<double>(next() >> 11) * 0x1.0p-53;
}

std::string make_uuid(Random& random) {
    const std::uint64_t high = (random.next() & ~std::uint64_t{0xF000}) | 0x4000;
    const std::uint64_t low = (random.next() & ~(std::uint64_t{3} << 62)) | std::uint64_t{1} << 63;
    return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
                       high >> 32,
                       high >> 16 & 0xFFFF,
                       high & 0xFFFF,
                       low >> 48,
                       low & 0xFFFFFFFFFFFF);
}

}  // namespace nornic
