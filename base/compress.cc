#include "base/compress.h"

#include "base/check.h"

#include <fmt/format.h>
#include <zstd.h>

namespace nornic {
namespace {

constexpr int kLevel = 1;  // the fastest of the ordinary ones: it runs on the thread that replicates

}  // namespace

std::string compress(std::string_view bytes) {
    std::string out(ZSTD_compressBound(bytes.size()), '\0');
    const std::size_t size = ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), kLevel);
    NORNIC_CHECK(ZSTD_isError(size) == 0, "{} bytes cannot be packed: {}", bytes.size(), ZSTD_getErrorName(size));
    out.resize(size);
    return out;
}

Result<std::string> decompress(std::string_view packed, std::size_t bytes_max) {
    const unsigned long long said = ZSTD_getFrameContentSize(packed.data(), packed.size());
    if (said == ZSTD_CONTENTSIZE_ERROR || said == ZSTD_CONTENTSIZE_UNKNOWN) {
        return fail(ErrorCode::kCorruption, "packed bytes: a Zstandard frame that says its size was expected");
    }
    if (said > bytes_max) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("packed bytes hold {} bytes; at most {} were expected", said, bytes_max));
    }
    // What follows the first frame would be unpacked, too, and is not counted in what it said.
    if (ZSTD_findFrameCompressedSize(packed.data(), packed.size()) != packed.size()) {
        return fail(ErrorCode::kCorruption, "packed bytes: one whole Zstandard frame was expected");
    }
    std::string out(said, '\0');
    const std::size_t size = ZSTD_decompress(out.data(), out.size(), packed.data(), packed.size());
    if (ZSTD_isError(size) != 0) {
        return fail(ErrorCode::kCorruption, fmt::format("packed bytes are damaged: {}", ZSTD_getErrorName(size)));
    }
    if (size != said) {
        return fail(ErrorCode::kCorruption, fmt::format("packed bytes hold {} bytes and say {}", size, said));
    }
    return out;
}

}  // namespace nornic
