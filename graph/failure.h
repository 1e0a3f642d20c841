// How an Error looks to a Neo4j client: status code, GQL status, classification. The one place
// where Neo4j's status codes are made; bolt and http both answer from here.
#pragma once

#include "base/result.h"
#include "graph/value.h"

#include <optional>
#include <string>
#include <string_view>

namespace nornic {

struct Failure {
    std::string code;        // "Neo.ClientError.Statement.SyntaxError"
    std::string message;     // for people
    std::string gql_status;  // outermost: "42001"; "50N42" where nothing better is known
    std::string description;
    std::string classification;  // "CLIENT_ERROR", "TRANSIENT_ERROR", "DATABASE_ERROR"
    std::optional<SourcePosition> position;
    std::shared_ptr<const Failure> cause;  // its gql_status, description and message alone count
};

Failure to_failure(const Error& error);
/// Whether drivers run a transaction again that ended so: whoever says it must know that nothing happened.
[[nodiscard]] bool is_retried(ErrorCode code) noexcept;
/// The code whose failure has this status code ("Neo.ClientError.Statement.SyntaxError"), for what another member answered;
/// nullopt: none of ours.
std::optional<ErrorCode> error_code_of(std::string_view neo4j_code) noexcept;
/// The standard text of a GQL status: "error: syntax error or access rule violation - …".
std::string_view gql_description(std::string_view gql_status) noexcept;

/// A remark on a query that worked: deprecation, missing label, cartesian product.
struct Notification {
    std::string code;        // "Neo.ClientNotification.Statement.UnknownLabelWarning"
    std::string gql_status;  // "01N50"
    std::string title;
    std::string description;         // Neo4j's long text
    std::string status_description;  // GQL's text
    std::string severity;            // "WARNING" or "INFORMATION"
    std::string category;  // HINT UNRECOGNIZED UNSUPPORTED PERFORMANCE DEPRECATION GENERIC SCHEMA
                           // SECURITY TOPOLOGY
    std::optional<SourcePosition> position;
};

/// What a statement changed, as drivers read it.
struct UpdateCounters {
    std::int64_t nodes_created = 0;
    std::int64_t nodes_deleted = 0;
    std::int64_t relationships_created = 0;
    std::int64_t relationships_deleted = 0;
    std::int64_t properties_set = 0;
    std::int64_t labels_added = 0;
    std::int64_t labels_removed = 0;
    std::int64_t indexes_added = 0;
    std::int64_t indexes_removed = 0;
    std::int64_t constraints_added = 0;
    std::int64_t constraints_removed = 0;
    std::int64_t system_updates = 0;
    [[nodiscard]] bool contains_updates() const noexcept;
    UpdateCounters& operator+=(const UpdateCounters& other) noexcept;
    bool operator==(const UpdateCounters&) const = default;
};

/// "r", "w", "rw" or "s" on the wire.
enum class StatementType : std::uint8_t { kRead, kWrite, kReadWrite, kSchema };
enum class AccessMode : std::uint8_t { kWrite, kRead };

/// The last word on a statement, after its last record.
struct StatementSummary {
    StatementType type = StatementType::kRead;
    UpdateCounters counters;
    std::string database;
    std::vector<Notification> notifications;
    Value plan;     // EXPLAIN: a map {operatorType, identifiers, args, children}; else null
    Value profile;  // PROFILE: the same with dbHits, rows, …; else null
    std::int64_t result_consumed_after_ms = 0;
    std::int64_t records = 0;
};

}  // namespace nornic
