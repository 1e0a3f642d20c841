// Which values a property can hold, and the type names of constraints.
#pragma once

#include "base/result.h"
#include "engine/schema.h"
#include "graph/value.h"

#include <string>

namespace nornic::engine {

/// The value as it is stored: lists that mix integers and floats become lists of floats. kTypeError
/// with Neo4j's text for maps, entities, and lists with nulls, lists or mixed types in them.
Result<Value> storable(Value value);

/// A type in a property type constraint: a bit for the plain type, the same bit 32 higher for a
/// list of it.
enum class PropertyTypeBit : std::uint8_t {
    kBoolean,
    kString,
    kInteger,
    kFloat,
    kDate,
    kLocalTime,
    kTime,
    kLocalDateTime,
    kDateTime,
    kDuration,
    kPoint,
};
constexpr std::uint64_t property_type(PropertyTypeBit bit, bool list = false) noexcept {
    return std::uint64_t{1} << (static_cast<unsigned>(bit) + (list ? 32 : 0));
}
bool has_type(const Value& value, PropertyTypes types) noexcept;
/// "INTEGER", "LIST<STRING NOT NULL>", of a stored value.
std::string stored_type_name(const Value& value);
/// "INTEGER | STRING".
std::string to_string(PropertyTypes types);

}  // namespace nornic::engine
