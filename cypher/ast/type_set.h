// A set of static types: what an expression may be before it runs. Shared by the tree, semantics
// and the signatures of functions, so that all three speak of the same bits.
#pragma once

#include <cstdint>

namespace nornic::cypher {

/// A set of types. Null belongs to every set for the purpose of checks; kNull alone is the literal
/// null.
using TypeSet = std::uint32_t;
namespace types {
inline constexpr TypeSet kNull = 1U << 0;
inline constexpr TypeSet kBoolean = 1U << 1;
inline constexpr TypeSet kInteger = 1U << 2;
inline constexpr TypeSet kFloat = 1U << 3;
inline constexpr TypeSet kString = 1U << 4;
inline constexpr TypeSet kBytes = 1U << 5;
inline constexpr TypeSet kList = 1U << 6;
inline constexpr TypeSet kMap = 1U << 7;
inline constexpr TypeSet kNode = 1U << 8;
inline constexpr TypeSet kRelationship = 1U << 9;
inline constexpr TypeSet kPath = 1U << 10;
inline constexpr TypeSet kDate = 1U << 11;
inline constexpr TypeSet kLocalTime = 1U << 12;
inline constexpr TypeSet kTime = 1U << 13;
inline constexpr TypeSet kLocalDateTime = 1U << 14;
inline constexpr TypeSet kDateTime = 1U << 15;
inline constexpr TypeSet kDuration = 1U << 16;
inline constexpr TypeSet kPoint = 1U << 17;
inline constexpr TypeSet kNumber = kInteger | kFloat;
inline constexpr TypeSet kTemporal = kDate | kLocalTime | kTime | kLocalDateTime | kDateTime;
inline constexpr TypeSet kEntity = kNode | kRelationship;
inline constexpr TypeSet kAny = (1U << 18) - 1;
}  // namespace types

}  // namespace nornic::cypher
