// What another member answered over Bolt, in the values that a session answers with here.
#pragma once

#include "base/result.h"
#include "bolt/client.h"
#include "graph/failure.h"

namespace nornic::server {

/// The same status code, text, GQL statuses and place in the statement.
Error to_error(const bolt::ServerFailure& failure);

/// The last SUCCESS of a statement. What is missing or of another type is left at its default.
StatementSummary to_summary(const Map& metadata);

/// An empty one for whatever is no map.
const Map& as_map(const Value& value);
std::string text_at(const Map& map, std::string_view key);
std::int64_t integer_at(const Map& map, std::string_view key);
bool is_true_at(const Map& map, std::string_view key);

}  // namespace nornic::server
