// base.key, base[index] and list[from..to].
#include "cypher/functions/graph_access.h"
#include "cypher/functions/operators.h"
#include "cypher/functions/registry.h"
#include "cypher/functions/temporal.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::cypher {
namespace {

[[noreturn]] void throw_type(std::string message) {
    throw QueryError{ErrorCode::kTypeError, std::move(message), "22G03>22N27"};
}

Value point_component(const Point& p, std::string_view key) {
    if (key == "x" || (p.is_geographic() && key == "longitude")) {
        return Value{p.x};
    }
    if (key == "y" || (p.is_geographic() && key == "latitude")) {
        return Value{p.y};
    }
    if (p.is_3d() && (key == "z" || (p.is_geographic() && key == "height"))) {
        return Value{p.z};
    }
    if (key == "srid") {
        return Value{static_cast<std::int64_t>(p.srid)};
    }
    if (key == "crs") {
        return Value{p.is_geographic() ? (p.is_3d() ? "wgs-84-3d" : "wgs-84")
                                       : (p.is_3d() ? "cartesian-3d" : "cartesian")};
    }
    if (key == "z" || key == "longitude" || key == "latitude" || key == "height") {
        throw QueryError{
            ErrorCode::kArgumentError,
            fmt::format("Field: {} is not available on point: {}", key, to_cypher_text(Value{p})),
            "22000>22N24"};
    }
    throw QueryError{
        ErrorCode::kArgumentError, fmt::format("No such field: {}", key), "22000>22N11"};
}

const Map* properties_of(const Value& base) {
    switch (base.type()) {
        case ValueType::kMap:
            return &base.as_map();
        case ValueType::kNode:
            return &base.as_node().properties;
        case ValueType::kRelationship:
            return &base.as_relationship().properties;
        default:
            return nullptr;
    }
}

bool has_components(const Value& base) {
    return base.is(ValueType::kDuration) || temporal::parts_of(base).has_value();
}

}  // namespace

Value property_of(const Value& base, std::string_view key) {
    if (base.is_null()) {
        return {};
    }
    if (const Map* map = properties_of(base)) {
        const Value* found = map->find(key);
        return found != nullptr ? *found : Value{};
    }
    if (base.is(ValueType::kPoint)) {
        return point_component(base.as_point(), key);
    }
    if (has_components(base)) {
        return temporal::component(base, key);
    }
    throw_type(fmt::format("Type mismatch: expected a map but was {}", to_cypher_text(base)));
}

Value property_of(const Value& base, std::string_view key, EvalContext& context) {
    if (base.is(ValueType::kNodeRef)) {
        return node_property(base.as_node_ref(), key, context);
    }
    if (base.is(ValueType::kRelationshipRef)) {
        return relationship_property(base.as_relationship_ref(), key, context);
    }
    return property_of(base, key);
}

Value index_of(const Value& base, const Value& index, EvalContext& context) {
    if (base.is_null() || index.is_null()) {
        return {};
    }
    if (base.is_list()) {
        if (!index.is(ValueType::kInteger)) {
            throw_type(fmt::format("Cannot access a list '{}' using a non-number index, got {}",
                                   to_cypher_text(base),
                                   to_cypher_text(index)));
        }
        const List& list = base.as_list();
        const auto size = static_cast<std::int64_t>(list.size());
        std::int64_t i = index.as_integer();
        if (i < 0) {
            i += size;
        }
        return i >= 0 && i < size ? list[static_cast<std::size_t>(i)] : Value{};
    }
    const bool has_keys = properties_of(base) != nullptr || base.is(ValueType::kNodeRef) ||
                          base.is(ValueType::kRelationshipRef) || base.is(ValueType::kPoint) ||
                          has_components(base);
    if (!has_keys) {
        throw_type(fmt::format(
            "`{}` is not a collection or a map. Element access is only possible by performing a "
            "collection lookup using an integer index, or by performing a map lookup using a "
            "string "
            "key (found: {}[{}])",
            to_cypher_text(base),
            to_cypher_text(base),
            to_cypher_text(index)));
    }
    if (!index.is_string()) {
        throw_type(fmt::format("Cannot access a map '{}' by key '{}': Expected {} to be a string",
                               to_cypher_text(base),
                               to_cypher_text(index),
                               to_cypher_text(index)));
    }
    return property_of(base, index.as_string(), context);
}

Value slice(const Value& list, const Value* from, const Value* to, EvalContext& context) {
    if (list.is_null() || (from != nullptr && from->is_null()) ||
        (to != nullptr && to->is_null())) {
        return {};
    }
    if (!list.is_list()) {
        throw_type(fmt::format("Type mismatch: expected List<T> but was {}", type_name(list)));
    }
    const List& all = list.as_list();
    const auto size = static_cast<std::int64_t>(all.size());
    const auto bound = [&](const Value* v, std::int64_t absent) {
        if (v == nullptr) {
            return absent;
        }
        if (!v->is(ValueType::kInteger)) {
            throw_type(fmt::format("Type mismatch: expected Integer but was {}", type_name(*v)));
        }
        const std::int64_t i = v->as_integer() < 0 ? v->as_integer() + size : v->as_integer();
        return std::min(std::max<std::int64_t>(i, 0), size);
    };
    const std::int64_t first = bound(from, 0);
    const std::int64_t last = bound(to, size);
    if (first >= last) {
        return Value{List{}};
    }
    check_memory(context, static_cast<std::size_t>(last - first) * sizeof(Value));
    return Value{List(all.begin() + first, all.begin() + last)};
}

}  // namespace nornic::cypher
