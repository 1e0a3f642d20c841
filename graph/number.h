// Comparing integers with floats exactly, and the parts of compare and codec that must agree.
#pragma once

#include "graph/value.h"

#include <bit>
#include <cmath>
#include <cstdint>

namespace nornic::detail {

/// -1, 0, 1 for numbers; NaN equals NaN and is above all others. No rounding: 2^53 + 1 is not 2^53.
inline int compare_integer_float(std::int64_t a, double b) noexcept {
    if (std::isnan(b)) {
        return -1;
    }
    if (b >= 9223372036854775808.0) {
        return -1;
    }
    if (b < -9223372036854775808.0) {
        return 1;
    }
    const auto whole = static_cast<std::int64_t>(b);
    if (a != whole) {
        return a < whole ? -1 : 1;
    }
    const double rest = b - static_cast<double>(whole);
    return rest > 0 ? -1 : (rest < 0 ? 1 : 0);
}

inline int compare_floats(double a, double b) noexcept {
    if (std::isnan(a) || std::isnan(b)) {
        return (std::isnan(a) ? 1 : 0) - (std::isnan(b) ? 1 : 0);
    }
    return a < b ? -1 : (a > b ? 1 : 0);
}

inline int compare_numbers(const Value& a, const Value& b) noexcept {
    if (a.is(ValueType::kInteger)) {
        if (b.is(ValueType::kInteger)) {
            return a.as_integer() < b.as_integer() ? -1 : (a.as_integer() > b.as_integer() ? 1 : 0);
        }
        return compare_integer_float(a.as_integer(), b.as_float());
    }
    if (b.is(ValueType::kInteger)) {
        return -compare_integer_float(b.as_integer(), a.as_float());
    }
    return compare_floats(a.as_float(), b.as_float());
}

inline bool is_nan(const Value& v) noexcept {
    return v.is(ValueType::kFloat) && std::isnan(v.as_float());
}

/// Durations sort by their average length: a month is 30.436875 days, so that 400 years fit.
inline constexpr std::int64_t kSecondsPerMonth = 2'629'746;
inline __int128 average_seconds(const DurationValue& d) noexcept {
    return static_cast<__int128>(d.months) * kSecondsPerMonth +
           static_cast<__int128>(d.days) * kSecondsPerDay + d.seconds;
}

/// Cypher's groups in ORDER BY, first to last; also the leading byte of an index key.
enum class OrderGroup : std::uint8_t {
    kEnd = 0,  // ends a list inside an index key: before every element
    kMap = 1,
    kNode,
    kRelationship,
    kList,
    kPath,
    kDateTime,
    kLocalDateTime,
    kDate,
    kTime,
    kLocalTime,
    kDuration,
    kPoint,
    kBytes,
    kString,
    kBoolean,
    kNumber,
    kNull,
};
OrderGroup order_group(const Value& value) noexcept;

}  // namespace nornic::detail
