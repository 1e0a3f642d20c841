// Cypher's built-in functions: their signatures, and how to call them.
//
// Scalar functions are plain function pointers over evaluated arguments. They are free of state;
// what they need from the running statement (clock, randomness, the graph) comes with EvalContext.
// Aggregating functions are looked up here too, and made by make_aggregator (aggregate.h).
// Operators (+, IN, =~, [..]) are in operators.h, component access (d.year) in property_of there.
#pragma once

#include "cypher/ast/type_set.h"
#include "cypher/query_error.h"
#include "graph/value.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::engine {
class GraphReader;
}

namespace nornic::cypher {

/// Lists and maps that may lie within one another in what an expression makes. Whatever walks over a value (comparing,
/// hashing, sending, letting it go) recurses, and reduce() could make any depth.
inline constexpr std::size_t kValueDepthMax = 1000;
/// The list or map as it is; throws kArgumentError if it is deeper than kValueDepthMax.
Value bounded(Value value);

/// What a running statement offers to expressions: cypher/execution/eval_context.h.
struct EvalContext;

/// The bit of a value's type.
TypeSet type_of(const Value& value) noexcept;
/// "Float, Integer, String or List<T>": the set as Neo4j's type errors list it.
std::string type_set_text(TypeSet mask);

/// args holds between args_min and args_max values (the caller has checked). Throws QueryError.
using ScalarFn = Value (*)(std::span<const Value> args, EvalContext& context);

struct FunctionSignature {
    std::string name;  // as written in the manual: "toInteger", "duration.inDays"
    int args_min = 0;
    int args_max = 0;      // -1: any number
    std::string category;  // as SHOW FUNCTIONS: "Scalar", "Temporal", …
    std::string description;
    std::string signature;  // "toInteger(input :: ANY) :: INTEGER"
    bool aggregating = false;
    /// The same arguments give the same value within one statement and in every statement, without
    /// a look at the graph or the clock: a call with constant arguments may be folded.
    bool deterministic = true;
    bool deprecated = false;
    std::string deprecated_by;
    /// Accepted types an argument; the last one repeats for further arguments.
    std::vector<TypeSet> argument_types;
    TypeSet result_types = types::kAny;
    ScalarFn call = nullptr;  // null if aggregating

    [[nodiscard]] TypeSet argument_type(std::size_t index) const noexcept {
        if (argument_types.empty()) {
            return types::kAny;
        }
        return argument_types[index < argument_types.size() ? index : argument_types.size() - 1];
    }
};

/// nullptr if there is none of that name (any case, namespaces with dots).
const FunctionSignature* find_function(std::string_view name);
/// Sorted by name.
std::span<const FunctionSignature> all_functions();

// ---- What functions ask of EvalContext; defined in cypher/functions/context.cc. ----

enum class ClockKind : std::uint8_t { kStatement, kTransaction, kRealtime };
/// An instant in UTC.
struct Instant {
    std::int64_t seconds = 0;
    std::int32_t nanoseconds = 0;
};
Instant current_instant(EvalContext& context, ClockKind kind);
/// The zone that temporal values without one get: "Z", "+01:00" or an IANA name.
std::string_view default_zone(EvalContext& context);
std::uint64_t random_bits(EvalContext& context);
/// nullptr while constants are folded: functions of the graph are not deterministic then.
engine::GraphReader* graph_of(EvalContext& context);

}  // namespace nornic::cypher
