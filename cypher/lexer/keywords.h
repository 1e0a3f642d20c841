// Words that the grammar gives a meaning. None is reserved: each may also be a name where a name is
// expected.
#pragma once

#include <cstdint>
#include <string_view>

// NOLINTBEGIN: a list that is expanded in several ways.
#define NORNIC_CYPHER_KEYWORDS(X)            \
    X(kAll, "ALL")                           \
    X(kAllShortestPaths, "ALLSHORTESTPATHS") \
    X(kAlter, "ALTER")                       \
    X(kAnd, "AND")                           \
    X(kAny, "ANY")                           \
    X(kAs, "AS")                             \
    X(kAsc, "ASC")                           \
    X(kAscending, "ASCENDING")               \
    X(kBy, "BY")                             \
    X(kCall, "CALL")                         \
    X(kCase, "CASE")                         \
    X(kCollect, "COLLECT")                   \
    X(kContains, "CONTAINS")                 \
    X(kCount, "COUNT")                       \
    X(kCreate, "CREATE")                     \
    X(kCsv, "CSV")                           \
    X(kCypher, "CYPHER")                     \
    X(kDeallocate, "DEALLOCATE")             \
    X(kDelete, "DELETE")                     \
    X(kDeny, "DENY")                         \
    X(kDesc, "DESC")                         \
    X(kDescending, "DESCENDING")             \
    X(kDetach, "DETACH")                     \
    X(kDistinct, "DISTINCT")                 \
    X(kDrop, "DROP")                         \
    X(kDryrun, "DRYRUN")                     \
    X(kElse, "ELSE")                         \
    X(kEnable, "ENABLE")                     \
    X(kEnd, "END")                           \
    X(kEnds, "ENDS")                         \
    X(kExists, "EXISTS")                     \
    X(kExplain, "EXPLAIN")                   \
    X(kFalse, "FALSE")                       \
    X(kFieldTerminator, "FIELDTERMINATOR")   \
    X(kFinish, "FINISH")                     \
    X(kForeach, "FOREACH")                   \
    X(kFrom, "FROM")                         \
    X(kGrant, "GRANT")                       \
    X(kHeaders, "HEADERS")                   \
    X(kIn, "IN")                             \
    X(kInf, "INF")                           \
    X(kInfinity, "INFINITY")                 \
    X(kInsert, "INSERT")                     \
    X(kIs, "IS")                             \
    X(kJoin, "JOIN")                         \
    X(kLimit, "LIMIT")                       \
    X(kLoad, "LOAD")                         \
    X(kMatch, "MATCH")                       \
    X(kMerge, "MERGE")                       \
    X(kNan, "NAN")                           \
    X(kNodetach, "NODETACH")                 \
    X(kNone, "NONE")                         \
    X(kNormalize, "NORMALIZE")               \
    X(kNormalized, "NORMALIZED")             \
    X(kNot, "NOT")                           \
    X(kNull, "NULL")                         \
    X(kOffset, "OFFSET")                     \
    X(kOn, "ON")                             \
    X(kOptional, "OPTIONAL")                 \
    X(kOr, "OR")                             \
    X(kOrder, "ORDER")                       \
    X(kProfile, "PROFILE")                   \
    X(kReallocate, "REALLOCATE")             \
    X(kReduce, "REDUCE")                     \
    X(kRemove, "REMOVE")                     \
    X(kRename, "RENAME")                     \
    X(kReturn, "RETURN")                     \
    X(kRevoke, "REVOKE")                     \
    X(kScan, "SCAN")                         \
    X(kSet, "SET")                           \
    X(kShortest, "SHORTEST")                 \
    X(kShortestPath, "SHORTESTPATH")         \
    X(kShow, "SHOW")                         \
    X(kSingle, "SINGLE")                     \
    X(kSkip, "SKIP")                         \
    X(kStart, "START")                       \
    X(kStarts, "STARTS")                     \
    X(kStop, "STOP")                         \
    X(kTerminate, "TERMINATE")               \
    X(kThen, "THEN")                         \
    X(kTrim, "TRIM")                         \
    X(kTrue, "TRUE")                         \
    X(kTyped, "TYPED")                       \
    X(kUnion, "UNION")                       \
    X(kUnwind, "UNWIND")                     \
    X(kUse, "USE")                           \
    X(kUsing, "USING")                       \
    X(kWhen, "WHEN")                         \
    X(kWhere, "WHERE")                       \
    X(kWith, "WITH")                         \
    X(kXor, "XOR")                           \
    X(kYield, "YIELD")
// NOLINTEND

namespace nornic::cypher {

enum class Keyword : std::uint8_t {
    kNoKeyword,
#define NORNIC_ENUMERATOR(name, text) name,
    NORNIC_CYPHER_KEYWORDS(NORNIC_ENUMERATOR)
#undef NORNIC_ENUMERATOR
};

/// In capitals, as error texts print it.
std::string_view keyword_text(Keyword keyword) noexcept;

/// Case-insensitive. `hash` is keyword_hash() over the word, which the lexer computes as it scans.
Keyword find_keyword(std::string_view word, std::uint32_t hash) noexcept;

constexpr std::uint32_t keyword_hash_step(std::uint32_t hash, char c) noexcept {
    // Clearing bit 5 folds the case of letters; what it does to other characters is undone by the
    // comparison.
    return hash * 31U + (static_cast<std::uint32_t>(static_cast<unsigned char>(c)) & 0xDFU);
}
constexpr std::uint32_t keyword_hash(std::string_view word) noexcept {
    std::uint32_t h = 0;
    for (const char c : word) {
        h = keyword_hash_step(h, c);
    }
    return h;
}

/// ASCII letters without case; other bytes must be equal.
bool equals_ignoring_case(std::string_view a, std::string_view b) noexcept;

}  // namespace nornic::cypher
