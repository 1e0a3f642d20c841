#include "cypher/execution/materialize.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::cypher {
namespace {

std::string element_id(char kind, std::uint64_t id, ExecContext& context) {
    return fmt::format("{}:{}:{}", kind, context.reader->element_uuid(), id);
}

Map properties(const std::vector<engine::PropertyEntry>& entries, ExecContext& context) {
    Map out;
    out.reserve(entries.size());
    for (const engine::PropertyEntry& p : entries) {
        out.set(context.reader->tokens().name(p.key), p.value);
    }
    return out;
}

Node make_node(NodeId id, ExecContext& context) {
    Node out;
    out.id = id;
    out.element_id = element_id('4', id.value, context);
    if (const auto data = context.reader->node(id)) {
        for (const LabelId l : data->labels) {
            out.labels.emplace_back(context.reader->tokens().name(l));
        }
        out.properties = properties(data->properties, context);
    }
    return out;
}

Relationship make_relationship(RelId id, ExecContext& context) {
    Relationship out;
    out.id = id;
    out.element_id = element_id('5', id.value, context);
    if (const auto data = context.reader->relationship(id)) {
        out.start = data->start;
        out.end = data->end;
        out.type = context.reader->tokens().name(data->type);
        out.properties = properties(data->properties, context);
    }
    out.start_element_id = element_id('4', out.start.value, context);
    out.end_element_id = element_id('4', out.end.value, context);
    return out;
}

bool holds_references(const Value& value) noexcept {
    switch (value.type()) {
        case ValueType::kNodeRef:
        case ValueType::kRelationshipRef:
        case ValueType::kPathRef:
            return true;
        case ValueType::kList:
            return std::ranges::any_of(value.as_list(),
                                       [](const Value& v) { return holds_references(v); });
        case ValueType::kMap:
            return std::ranges::any_of(
                value.as_map(), [](const Map::Entry& e) { return holds_references(e.second); });
        default:
            return false;
    }
}

}  // namespace

std::size_t references_in(const Value& value) noexcept {
    std::size_t out = 0;
    switch (value.type()) {
        case ValueType::kNodeRef:
        case ValueType::kRelationshipRef:
            return 1;
        case ValueType::kPathRef:
            return value.as_path_ref().nodes.size() + value.as_path_ref().relationships.size();
        case ValueType::kList:
            for (const Value& v : value.as_list()) {
                out += references_in(v);
            }
            return out;
        case ValueType::kMap:
            for (const auto& [k, v] : value.as_map()) {
                out += references_in(v);
            }
            return out;
        default:
            return out;
    }
}

Value materialize(const Value& value, ExecContext& context) {
    if (!holds_references(value)) {
        return value;
    }
    switch (value.type()) {
        case ValueType::kNodeRef:
            return Value{make_node(value.as_node_ref(), context)};
        case ValueType::kRelationshipRef:
            return Value{make_relationship(value.as_relationship_ref(), context)};
        case ValueType::kPathRef: {
            const PathRef& path = value.as_path_ref();
            Path out;
            for (const NodeId n : path.nodes) {
                out.nodes.push_back(make_node(n, context));
            }
            for (const RelId r : path.relationships) {
                out.relationships.push_back(make_relationship(r, context));
            }
            return Value{std::move(out)};
        }
        case ValueType::kList: {
            List out;
            out.reserve(value.as_list().size());
            for (const Value& v : value.as_list()) {
                out.push_back(materialize(v, context));
            }
            return Value{std::move(out)};
        }
        default: {
            Map out;
            out.reserve(value.as_map().size());
            for (const auto& [k, v] : value.as_map()) {
                out.set(k, materialize(v, context));
            }
            return Value{std::move(out)};
        }
    }
}

}  // namespace nornic::cypher
