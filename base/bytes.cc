#include "base/bytes.h"

#include <nmmintrin.h>

namespace nornic {

std::uint32_t crc32c(std::uint32_t crc, std::string_view bytes) noexcept {
    std::uint64_t state = ~crc;
    const char* p = bytes.data();
    std::size_t n = bytes.size();
    for (; n >= 8; n -= 8, p += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, p, sizeof word);
        state = _mm_crc32_u64(state, word);
    }
    auto narrow = static_cast<std::uint32_t>(state);
    for (; n > 0; --n, ++p) {
        narrow = _mm_crc32_u8(narrow, static_cast<unsigned char>(*p));
    }
    return ~narrow;
}

}  // namespace nornic
