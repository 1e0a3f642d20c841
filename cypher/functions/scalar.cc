// Functions that belong to no type: coalesce, nullIf, valueType, randomUUID, timestamp…
#include "cypher/functions/operators.h"
#include "cypher/functions/registry.h"

#include <fmt/format.h>

#include <array>

namespace nornic::cypher {
namespace {

Value coalesce(Args args, EvalContext&) {
    for (const Value& v : args) {
        if (!v.is_null()) {
            return v;
        }
    }
    return {};
}

Value null_if(Args args, EvalContext&) {
    return equals(args[0], args[1]) == 1 ? Value{} : args[0];
}

Value exists(Args args, EvalContext&) {
    // A pattern is a boolean by now; anything else exists if it is not null.
    return args[0].is(ValueType::kBoolean) ? args[0] : Value{!args[0].is_null()};
}

Value timestamp(Args, EvalContext& context) {
    const Instant now = current_instant(context, ClockKind::kStatement);
    return Value{now.seconds * 1000 + now.nanoseconds / 1'000'000};
}

Value random_uuid(Args, EvalContext& context) {
    std::uint64_t high = random_bits(context);
    std::uint64_t low = random_bits(context);
    // RFC 4122: version 4, variant 1.
    high = (high & ~0xF000ULL) | 0x4000ULL;
    low = (low & ~(3ULL << 62)) | (2ULL << 62);
    return Value{fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
                             high >> 32,
                             (high >> 16) & 0xFFFF,
                             high & 0xFFFF,
                             low >> 48,
                             low & 0xFFFFFFFFFFFFULL)};
}

Value value_type(Args args, EvalContext&) {
    return Value{value_type_text(args[0])};
}

struct TypeName {
    TypeSet type;
    std::string_view name;
};
/// In the order of Neo4j's closed unions.
constexpr TypeName kTypeNames[] = {
    {types::kBoolean, "BOOLEAN"},
    {types::kString, "STRING"},
    {types::kInteger, "INTEGER"},
    {types::kFloat, "FLOAT"},
    {types::kDate, "DATE"},
    {types::kLocalTime, "LOCAL TIME"},
    {types::kTime, "ZONED TIME"},
    {types::kLocalDateTime, "LOCAL DATETIME"},
    {types::kDateTime, "ZONED DATETIME"},
    {types::kDuration, "DURATION"},
    {types::kPoint, "POINT"},
    {types::kBytes, "BYTEARRAY"},
    {types::kNode, "NODE"},
    {types::kRelationship, "RELATIONSHIP"},
    {types::kMap, "MAP"},
    {types::kPath, "PATH"},
};

/// The type of a list's elements, null among them or not.
std::string element_type_text(const List& list) {
    TypeSet seen = 0;
    bool has_null = false;
    std::vector<std::string> lists;
    for (const Value& v : list) {
        if (v.is_null()) {
            has_null = true;
        } else if (v.is_list()) {
            std::string text = "LIST<" + element_type_text(v.as_list()) + ">";
            if (std::find(lists.begin(), lists.end(), text) == lists.end()) {
                lists.push_back(std::move(text));
            }
        } else {
            seen |= type_of(v);
        }
    }
    std::string out;
    const auto put = [&](std::string_view name) {
        out += out.empty() ? "" : " | ";
        out += name;
        out += has_null ? "" : " NOT NULL";
    };
    for (const TypeName& t : kTypeNames) {
        if ((seen & t.type) != 0) {
            put(t.name);
        }
    }
    for (const std::string& text : lists) {
        put(text);
    }
    if (out.empty()) {
        return has_null ? "NULL" : "NOTHING";
    }
    return out;
}

}  // namespace

std::string value_type_text(const Value& value) {
    if (value.is_null()) {
        return "NULL";
    }
    if (value.is_list()) {
        return "LIST<" + element_type_text(value.as_list()) + "> NOT NULL";
    }
    for (const TypeName& t : kTypeNames) {
        if (type_of(value) == t.type) {
            return std::string{t.name} + " NOT NULL";
        }
    }
    return "ANY NOT NULL";
}

void add_scalar_functions(FunctionList& list) {
    add_function(list,
                 "Scalar",
                 "coalesce(input :: ANY) :: ANY",
                 {1, -1},
                 {types::kAny},
                 types::kAny,
                 "The first argument that is not null.",
                 coalesce);
    add_function(list,
                 "Scalar",
                 "nullIf(v1 :: ANY, v2 :: ANY) :: ANY",
                 {2, 2},
                 {types::kAny},
                 types::kAny,
                 "Null if both arguments are equal, else the first.",
                 null_if);
    add_function(list,
                 "Predicate",
                 "exists(input :: ANY) :: BOOLEAN",
                 {1, 1},
                 {types::kBoolean},
                 types::kBoolean,
                 "Whether a pattern is found, or a value is not null.",
                 exists);
    add_function(list,
                 "Scalar",
                 "timestamp() :: INTEGER",
                 {0, 0},
                 {},
                 types::kInteger,
                 "Milliseconds since 1970 at the beginning of the statement.",
                 timestamp)
        .deterministic = false;
    add_function(list,
                 "Scalar",
                 "randomUUID() :: STRING",
                 {0, 0},
                 {},
                 types::kString,
                 "A random UUID.",
                 random_uuid)
        .deterministic = false;
    add_function(list,
                 "Scalar",
                 "valueType(input :: ANY) :: STRING",
                 {1, 1},
                 {types::kAny},
                 types::kString,
                 "The most exact type of a value, as Cypher writes it.",
                 value_type);
}

}  // namespace nornic::cypher
