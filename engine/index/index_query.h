// From values and queries to bytes: the keys of a range index and the stretches of them that a
// query can touch.
#pragma once

#include "engine/graph_reader.h"
#include "graph/value.h"

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace nornic::engine {

/// A key with more bytes is cut here and ends in a hash of the whole.
inline constexpr std::size_t kIndexKeyBytesMax = 8192;

/// Whether a range index can hold it: not null, not a map, not an entity.
bool is_indexable(const Value& value) noexcept;

/// The key of one value a column, encoded and cut if need be. Precondition: all are indexable.
std::string make_index_key(std::span<const Value> values);
/// The same into `out` (cleared first), to reuse its memory.
void make_index_key(std::span<const Value> values, std::string& out);

/// Keys in [lower, upper); no upper: to the end. `exact` where the query is an equality on all
/// columns.
struct KeyRange {
    std::string lower;
    std::optional<std::string> upper;
    bool descending = false;
    bool empty = false;  // nothing can fit: a null, bounds of two types, lower above upper
    std::optional<std::string> exact;
};

/// All keys that can fit; where values were cut it may take in some that do not.
KeyRange key_range(const IndexQuery& query);

/// Whether values (one a column) fit the query as Cypher compares them.
bool matches(const IndexQuery& query, std::span<const Value> values) noexcept;

/// The first byte string after all that begin with `prefix`; nullopt if there is none.
std::optional<std::string> after_prefix(std::string_view prefix);

}  // namespace nornic::engine
