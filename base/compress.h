// Zstandard for bytes that travel far. Whoever unpacks says how much may come out: a few hundred bytes can claim to be
// gigabytes.
#pragma once

#include "base/result.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace nornic {

/// One Zstandard frame that says its size, at the fastest ordinary level.
std::string compress(std::string_view bytes);

/// kCorruption: not one whole frame, one that does not say its size or does not hold it, or one of more than `bytes_max`.
/// Never allocates more than that.
Result<std::string> decompress(std::string_view packed, std::size_t bytes_max);

}  // namespace nornic
