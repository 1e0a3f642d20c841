// FNV-1a, 64 bits: small, and the same everywhere and for ever. Formats on disk and on the wire depend on its values.
#pragma once

#include <cstdint>
#include <string_view>

namespace nornic {

inline constexpr std::uint64_t kFnv1aStart = 0xCBF29CE484222325ULL;  // of nothing

/// Goes on from `hash`.
[[nodiscard]] constexpr std::uint64_t fnv1a(std::string_view bytes, std::uint64_t hash = kFnv1aStart) noexcept {
    for (const char c : bytes) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
    }
    return hash;
}
static_assert(fnv1a("a") == 0xAF63DC4C8601EC8CULL);

}  // namespace nornic
