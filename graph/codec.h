// The stored form of values: what property records and WriteSets hold. Self-delimiting, versioned
// by the record around it. Only storable types: scalars, temporals, points, bytes and lists of
// those.
#pragma once

#include "base/bytes.h"
#include "graph/value.h"

#include <string>

namespace nornic {

/// Appends the stored form. Also takes null, maps and nested lists (catalogue rows, query
/// parameters in the log of forwarded work); entities are a CHECK.
void encode_value(const Value& value, ByteWriter& out);
/// Reads one; nesting is bounded (64). On bad bytes reader.ok() turns false and the result is null.
Value decode_value(ByteReader& reader);

/// Appends bytes that sort (memcmp) as the values do in a range index: grouped by type, numbers by
/// value across integer and float, strings by bytes. Self-delimiting, so keys of several values
/// (composite indexes) sort column by column. Two values that Cypher calls equal give equal bytes.
/// Values that no index holds (null, map, entities) are a CHECK.
void encode_index_key(const Value& value, std::string& out);

}  // namespace nornic
