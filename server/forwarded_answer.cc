#include "server/forwarded_answer.h"

#include <fmt/format.h>

#include <limits>
#include <utility>

namespace nornic::server {
namespace {

// As many links as a failure is packed with.
constexpr int kCausesMax = 8;

const Map* map_at(const Map& map, std::string_view key) {
    const Value* v = map.find(key);
    return v != nullptr && v->is_map() ? &v->as_map() : nullptr;
}

std::optional<SourcePosition> position_at(const Map* map, std::string_view key) {
    const Map* position = map == nullptr ? nullptr : map_at(*map, key);
    if (position == nullptr) {
        return std::nullopt;
    }
    const auto number = [&](std::string_view name) {
        const std::int64_t n = integer_at(*position, name);
        return n < 0 || n > std::numeric_limits<std::uint32_t>::max() ? 0U : static_cast<std::uint32_t>(n);
    };
    return SourcePosition{number("offset"), number("line"), number("column")};
}

/// "42001>42N62", the status and its causes; empty where the server knows none (before 5.7).
std::string chain_of(const Map& details) {
    std::string out = text_at(details, "gql_status");
    const Map* cause = map_at(details, "cause");
    for (int i = 0; i < kCausesMax && cause != nullptr; ++i) {
        out += '>' + text_at(*cause, "gql_status");
        cause = map_at(*cause, "cause");
    }
    return out;
}

Notification to_notification(const Map& status) {
    const Map* record = map_at(status, "diagnostic_record");
    Notification out;
    out.code = text_at(status, "neo4j_code");
    out.gql_status = text_at(status, "gql_status");
    out.title = text_at(status, "title");
    out.description = text_at(status, "description");
    out.status_description = text_at(status, "status_description");
    if (record != nullptr) {
        out.severity = text_at(*record, "_severity");
        out.category = text_at(*record, "_classification");
    }
    out.position = position_at(record, "_position");
    return out;
}

StatementType type_of(std::string_view text) {
    return text == "w"    ? StatementType::kWrite
           : text == "rw" ? StatementType::kReadWrite
           : text == "s"  ? StatementType::kSchema
                          : StatementType::kRead;
}

UpdateCounters counters_of(const Map& stats) {
    constexpr std::pair<std::string_view, std::int64_t UpdateCounters::*> kNames[] = {
        {"nodes-created", &UpdateCounters::nodes_created},
        {"nodes-deleted", &UpdateCounters::nodes_deleted},
        {"relationships-created", &UpdateCounters::relationships_created},
        {"relationships-deleted", &UpdateCounters::relationships_deleted},
        {"properties-set", &UpdateCounters::properties_set},
        {"labels-added", &UpdateCounters::labels_added},
        {"labels-removed", &UpdateCounters::labels_removed},
        {"indexes-added", &UpdateCounters::indexes_added},
        {"indexes-removed", &UpdateCounters::indexes_removed},
        {"constraints-added", &UpdateCounters::constraints_added},
        {"constraints-removed", &UpdateCounters::constraints_removed},
        {"system-updates", &UpdateCounters::system_updates},
    };
    UpdateCounters out;
    for (const auto& [name, counter] : kNames) {
        out.*counter = integer_at(stats, name);
    }
    return out;
}

}  // namespace

const Map& as_map(const Value& value) {
    static const Map kNone;
    return value.is_map() ? value.as_map() : kNone;
}

std::string text_at(const Map& map, std::string_view key) {
    const Value* v = map.find(key);
    return v != nullptr && v->is_string() ? std::string{v->as_string()} : std::string{};
}

std::int64_t integer_at(const Map& map, std::string_view key) {
    const Value* v = map.find(key);
    return v != nullptr && v->type() == ValueType::kInteger ? v->as_integer() : 0;
}

bool is_true_at(const Map& map, std::string_view key) {
    const Value* v = map.find(key);
    return v != nullptr && v->is_true();
}

Error to_error(const bolt::ServerFailure& failure) {
    const Map& details = as_map(failure.details);
    if (const auto code = error_code_of(failure.code)) {
        return {*code, failure.message, position_at(map_at(details, "diagnostic_record"), "_position"), chain_of(details)};
    }
    // A later version's. What may be tried again stays so.
    const bool transient = failure.code.starts_with("Neo.TransientError.");
    return {transient ? ErrorCode::kDatabaseUnavailable : ErrorCode::kExecutionFailed,
            fmt::format("{}: {}", failure.code, failure.message)};
}

StatementSummary to_summary(const Map& metadata) {
    StatementSummary out;
    out.type = type_of(text_at(metadata, "type"));
    out.database = text_at(metadata, "db");
    out.result_consumed_after_ms = integer_at(metadata, "t_last");
    if (const Map* stats = map_at(metadata, "stats")) {
        out.counters = counters_of(*stats);
    }
    if (const Value* plan = metadata.find("plan")) {
        out.plan = *plan;
    }
    if (const Value* profile = metadata.find("profile")) {
        out.profile = *profile;
    }
    if (const Value* statuses = metadata.find("statuses"); statuses != nullptr && statuses->is_list()) {
        for (const Value& status : statuses->as_list()) {
            // The others tell of the outcome itself, which is told anew.
            if (status.is_map() && status.as_map().contains("neo4j_code")) {
                out.notifications.push_back(to_notification(status.as_map()));
            }
        }
    }
    return out;
}

}  // namespace nornic::server
