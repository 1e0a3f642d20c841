// Operations in another region's token ids: which tokens they name, and the same operations under other ids.
#pragma once

#include "base/result.h"
#include "engine/write_set.h"

#include <cstdint>
#include <functional>
#include <string>

namespace nornic::engine {

/// The id to put in the place of this one.
using TokenMap = std::function<Result<std::uint32_t>(TokenKind kind, std::uint32_t id)>;

/// Puts `map`'s id for each token that the operation names, in index and constraint rules, too, and restores the order of
/// labels, properties and stamps. kCreateToken is left as it is. `rule` is where a rewritten rule lives. kCorruption if a
/// rule is malformed, a label or key is named twice or a property is null.
Result<> map_tokens(WriteOperation& operation, std::string& rule, const TokenMap& map);

/// What WriteSetReader::next() read.
void write_operation(const WriteOperation& operation, WriteSetWriter& out);

}  // namespace nornic::engine
