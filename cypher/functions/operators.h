// Cypher's operators on values: arithmetic, comparison, three-valued logic, strings, lists, maps.
// Null in, null out unless said otherwise. Errors are thrown as QueryError.
#pragma once

#include "cypher/functions/function.h"
#include "cypher/query_error.h"
#include "graph/value.h"

#include <cstdint>
#include <string_view>

namespace nornic::cypher {

namespace detail {
Value add_slow(const Value& a, const Value& b);
Value subtract_slow(const Value& a, const Value& b);
Value multiply_slow(const Value& a, const Value& b);
}  // namespace detail

// ---- Arithmetic. Integers that overflow are "long overflow"; floats follow IEEE 754. ----

/// Numbers; string with number, string or boolean; list with list or element; temporal with
/// duration.
inline Value add(const Value& a, const Value& b) {
    std::int64_t sum = 0;
    if (a.is(ValueType::kInteger) && b.is(ValueType::kInteger) &&
        !__builtin_add_overflow(a.as_integer(), b.as_integer(), &sum)) {
        return Value{sum};
    }
    return detail::add_slow(a, b);
}
inline Value subtract(const Value& a, const Value& b) {
    std::int64_t difference = 0;
    if (a.is(ValueType::kInteger) && b.is(ValueType::kInteger) &&
        !__builtin_sub_overflow(a.as_integer(), b.as_integer(), &difference)) {
        return Value{difference};
    }
    return detail::subtract_slow(a, b);
}
inline Value multiply(const Value& a, const Value& b) {
    std::int64_t product = 0;
    if (a.is(ValueType::kInteger) && b.is(ValueType::kInteger) &&
        !__builtin_mul_overflow(a.as_integer(), b.as_integer(), &product)) {
        return Value{product};
    }
    return detail::multiply_slow(a, b);
}
Value divide(const Value& a, const Value& b);
Value modulo(const Value& a, const Value& b);
/// Always a float.
Value power(const Value& a, const Value& b);
Value negate(const Value& a);
/// Unary +: numbers only.
Value plus(const Value& a);
/// The || operator: strings or lists of the same kind.
Value concatenate(const Value& a, const Value& b);

// ---- Comparison: true, false or null. ----
Value equal(const Value& a, const Value& b);
Value not_equal(const Value& a, const Value& b);
Value less(const Value& a, const Value& b);
Value less_or_equal(const Value& a, const Value& b);
Value greater(const Value& a, const Value& b);
Value greater_or_equal(const Value& a, const Value& b);
/// x IN list, in three-valued logic; an error if list is neither a list nor null.
Value in_list(const Value& value, const Value& list);

// ---- Logic (Kleene). Anything but a boolean or null is an error. ----
Value logical_and(const Value& a, const Value& b);
Value logical_or(const Value& a, const Value& b);
Value logical_xor(const Value& a, const Value& b);
Value logical_not(const Value& a);

// ---- Strings: null unless both are strings. ----
Value starts_with(const Value& text, const Value& prefix);
Value ends_with(const Value& text, const Value& suffix);
Value contains(const Value& text, const Value& part);
/// text =~ pattern: the whole text must match (Java). Compiled patterns are cached a thread.
Value regex_match(const Value& text, const Value& pattern);
/// text IS NORMALIZED; form is NFC, NFD, NFKC or NFKD.
Value is_normalized(const Value& text, std::string_view form);

// ---- Lists and maps. ----
/// base[index]: list by integer (negative from the end, null past either end), map, node or
/// relationship by string.
Value index_of(const Value& base, const Value& index, EvalContext& context);
/// list[from..to]; an absent bound is passed as nullptr. Negative bounds count from the end.
Value slice(const Value& list, const Value* from, const Value* to, EvalContext& context);
/// base.key: maps, nodes, relationships, and the components of temporal values and points.
/// Null for an absent key; an error if base has no properties at all.
Value property_of(const Value& base, std::string_view key, EvalContext& context);
/// The same for what needs no graph: maps, temporal values, points.
Value property_of(const Value& base, std::string_view key);

/// Cypher's type of a value as valueType() prints it: "INTEGER NOT NULL", "LIST<STRING NOT NULL>
/// NOT NULL".
std::string value_type_text(const Value& value);

}  // namespace nornic::cypher
