// Values as the Query API writes and reads them: plain JSON, and typed JSON ({"$type": …, "_value":
// …}).
#pragma once

#include "base/result.h"
#include "graph/value.h"

#include <boost/json.hpp>

#include <functional>
#include <string_view>

namespace nornic::http {

enum class JsonStyle : std::uint8_t { kPlain, kTyped };

boost::json::value to_json(const Value& value, JsonStyle style);

/// Request parameters. In kTyped, objects with $type are read as that type; both take nested lists
/// and maps. kInvalidRequest naming the parameter's fault; nesting is bounded by the JSON parser.
using ParseTemporal = std::function<Result<Value>(std::string_view type, std::string_view text)>;
Result<Value> from_json(const boost::json::value& json,
                        JsonStyle style,
                        const ParseTemporal& parse_temporal);

}  // namespace nornic::http
