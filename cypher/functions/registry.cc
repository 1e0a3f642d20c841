#include "cypher/functions/registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

namespace nornic::cypher {
namespace {

std::string lower(std::string_view name) {
    std::string out{name};
    for (char& c : out) {
        c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
    }
    return out;
}

struct Registry {
    FunctionList functions;
    std::unordered_map<std::string, const FunctionSignature*> by_name;

    Registry() {
        add_scalar_functions(functions);
        add_conversion_functions(functions);
        add_math_functions(functions);
        add_string_functions(functions);
        add_list_functions(functions);
        add_graph_functions(functions);
        add_temporal_functions(functions);
        add_spatial_functions(functions);
        add_aggregate_functions(functions);
        std::sort(
            functions.begin(),
            functions.end(),
            [](const FunctionSignature& a, const FunctionSignature& b) { return a.name < b.name; });
        for (const FunctionSignature& f : functions) {
            const bool fresh = by_name.emplace(lower(f.name), &f).second;
            NORNIC_CHECK(fresh, "function {} is declared twice", f.name);
        }
    }
};

const Registry& registry() {
    static const Registry kRegistry;
    return kRegistry;
}

}  // namespace

void throw_input(std::string_view function, std::string_view expected, const Value& got) {
    throw QueryError{ErrorCode::kTypeError,
                     fmt::format("Invalid input for function '{}()': Expected {}, got: {}",
                                 function,
                                 expected,
                                 to_cypher_text(got)),
                     "22G03>22N01"};
}

const FunctionSignature* find_function(std::string_view name) {
    const auto found = registry().by_name.find(lower(name));
    return found == registry().by_name.end() ? nullptr : found->second;
}

std::span<const FunctionSignature> all_functions() {
    return registry().functions;
}

TypeSet type_of(const Value& value) noexcept {
    switch (value.type()) {
        case ValueType::kNull:
            return types::kNull;
        case ValueType::kBoolean:
            return types::kBoolean;
        case ValueType::kInteger:
            return types::kInteger;
        case ValueType::kFloat:
            return types::kFloat;
        case ValueType::kString:
            return types::kString;
        case ValueType::kBytes:
            return types::kBytes;
        case ValueType::kList:
            return types::kList;
        case ValueType::kMap:
            return types::kMap;
        case ValueType::kDate:
            return types::kDate;
        case ValueType::kLocalTime:
            return types::kLocalTime;
        case ValueType::kTime:
            return types::kTime;
        case ValueType::kLocalDateTime:
            return types::kLocalDateTime;
        case ValueType::kDateTime:
            return types::kDateTime;
        case ValueType::kDuration:
            return types::kDuration;
        case ValueType::kPoint:
            return types::kPoint;
        case ValueType::kNodeRef:
        case ValueType::kNode:
            return types::kNode;
        case ValueType::kRelationshipRef:
        case ValueType::kRelationship:
            return types::kRelationship;
        case ValueType::kPathRef:
        case ValueType::kPath:
            return types::kPath;
    }
    return types::kAny;
}

std::string type_set_text(TypeSet mask) {
    if ((mask & types::kAny) == types::kAny) {
        return "Any";
    }
    // Neo4j lists scalars by name, then what holds others.
    static constexpr std::pair<TypeSet, std::string_view> kNames[] = {
        {types::kBoolean, "Boolean"},
        {types::kFloat, "Float"},
        {types::kInteger, "Integer"},
        {types::kString, "String"},
        {types::kMap, "Map"},
        {types::kNode, "Node"},
        {types::kRelationship, "Relationship"},
        {types::kPath, "Path"},
        {types::kPoint, "Point"},
        {types::kDuration, "Duration"},
        {types::kDate, "Date"},
        {types::kTime, "Time"},
        {types::kLocalTime, "LocalTime"},
        {types::kLocalDateTime, "LocalDateTime"},
        {types::kDateTime, "DateTime"},
        {types::kBytes, "ByteArray"},
        {types::kList, "List<T>"},
    };
    std::vector<std::string_view> names;
    for (const auto& [bit, name] : kNames) {
        if ((mask & bit) != 0) {
            names.push_back(name);
        }
    }
    if (names.empty()) {
        return "Null";
    }
    std::string out;
    for (std::size_t i = 0; i < names.size(); ++i) {
        out += i == 0 ? "" : (i + 1 == names.size() ? " or " : ", ");
        out += names[i];
    }
    return out;
}

}  // namespace nornic::cypher
