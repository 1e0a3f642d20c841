// Functions of nodes, relationships and paths. They read the graph, so none is a constant.
#include "cypher/execution/eval_context.h"
#include "cypher/functions/graph_access.h"
#include "cypher/functions/registry.h"

#include <fmt/format.h>

namespace nornic::cypher {
namespace {

Value id(Args args, EvalContext&) {
    const Value& v = args[0];
    switch (v.type()) {
        case ValueType::kNull:
            return {};
        case ValueType::kNodeRef:
            return Value{static_cast<std::int64_t>(v.as_node_ref().value)};
        case ValueType::kNode:
            return Value{static_cast<std::int64_t>(v.as_node().id.value)};
        case ValueType::kRelationshipRef:
            return Value{static_cast<std::int64_t>(v.as_relationship_ref().value)};
        case ValueType::kRelationship:
            return Value{static_cast<std::int64_t>(v.as_relationship().id.value)};
        default:
            throw_input("id", "a Node or Relationship", v);
    }
}

Value element_id(Args args, EvalContext& context) {
    const Value& v = args[0];
    const auto text = [&](int kind, std::uint64_t number) {
        NORNIC_CHECK(
            context.reader != nullptr, "elementId of {} while constants are folded", number);
        return Value{fmt::format("{}:{}:{}", kind, context.reader->element_uuid(), number)};
    };
    switch (v.type()) {
        case ValueType::kNull:
            return {};
        case ValueType::kNodeRef:
            return text(4, v.as_node_ref().value);
        case ValueType::kNode:
            return Value{v.as_node().element_id};
        case ValueType::kRelationshipRef:
            return text(5, v.as_relationship_ref().value);
        case ValueType::kRelationship:
            return Value{v.as_relationship().element_id};
        default:
            throw_input("elementId", "a Node or Relationship", v);
    }
}

Value labels(Args args, EvalContext& context) {
    const Value& v = args[0];
    List out;
    if (v.is_null()) {
        return {};
    }
    if (v.is(ValueType::kNodeRef)) {
        for (const LabelId label : read_node(v.as_node_ref(), context)->labels) {
            out.emplace_back(context.reader->tokens().name(label));
        }
    } else if (v.is(ValueType::kNode)) {
        for (const std::string& label : v.as_node().labels) {
            out.emplace_back(label);
        }
    } else {
        throw_input("labels", "a Node", v);
    }
    return Value{std::move(out)};
}

Value type(Args args, EvalContext& context) {
    const Value& v = args[0];
    switch (v.type()) {
        case ValueType::kNull:
            return {};
        case ValueType::kRelationshipRef:
            return Value{context.reader->tokens().name(
                read_relationship(v.as_relationship_ref(), context)->type)};
        case ValueType::kRelationship:
            return Value{v.as_relationship().type};
        default:
            throw_input("type", "a Relationship", v);
    }
}

Map properties_of(std::string_view function, const Value& v, EvalContext& context) {
    switch (v.type()) {
        case ValueType::kMap:
            return v.as_map();
        case ValueType::kNodeRef:
            return properties_map(read_node(v.as_node_ref(), context)->properties, context);
        case ValueType::kRelationshipRef:
            return properties_map(read_relationship(v.as_relationship_ref(), context)->properties,
                                  context);
        case ValueType::kNode:
            return v.as_node().properties;
        case ValueType::kRelationship:
            return v.as_relationship().properties;
        default:
            throw_input(function, "a Node, Relationship or Map", v);
    }
}

Value properties(Args args, EvalContext& context) {
    const Value& v = args[0];
    return v.is_null() || v.is_map() ? v : Value{properties_of("properties", v, context)};
}

Value keys(Args args, EvalContext& context) {
    if (args[0].is_null()) {
        return {};
    }
    List out;
    for (const auto& entry : properties_of("keys", args[0], context)) {
        out.emplace_back(entry.first);
    }
    return Value{std::move(out)};
}

template <bool kStart>
Value end_of(Args args, EvalContext& context) {
    const Value& v = args[0];
    switch (v.type()) {
        case ValueType::kNull:
            return {};
        case ValueType::kRelationshipRef: {
            const engine::RelPtr r = read_relationship(v.as_relationship_ref(), context);
            return Value{kStart ? r->start : r->end};
        }
        case ValueType::kRelationship:
            return Value{kStart ? v.as_relationship().start : v.as_relationship().end};
        default:
            throw_input(kStart ? "startNode" : "endNode", "a Relationship", v);
    }
}

Value nodes(Args args, EvalContext&) {
    const Value& v = args[0];
    List out;
    if (v.is_null()) {
        return {};
    }
    if (v.is(ValueType::kPathRef)) {
        out.assign(v.as_path_ref().nodes.begin(), v.as_path_ref().nodes.end());
    } else if (v.is(ValueType::kPath)) {
        out.assign(v.as_path().nodes.begin(), v.as_path().nodes.end());
    } else {
        throw_input("nodes", "a Path", v);
    }
    return Value{std::move(out)};
}

Value relationships(Args args, EvalContext&) {
    const Value& v = args[0];
    List out;
    if (v.is_null()) {
        return {};
    }
    if (v.is(ValueType::kPathRef)) {
        out.assign(v.as_path_ref().relationships.begin(), v.as_path_ref().relationships.end());
    } else if (v.is(ValueType::kPath)) {
        out.assign(v.as_path().relationships.begin(), v.as_path().relationships.end());
    } else {
        throw_input("relationships", "a Path", v);
    }
    return Value{std::move(out)};
}

Value length(Args args, EvalContext&) {
    const Value& v = args[0];
    switch (v.type()) {
        case ValueType::kNull:
            return {};
        case ValueType::kPathRef:
            return Value{static_cast<std::int64_t>(v.as_path_ref().relationships.size())};
        case ValueType::kPath:
            return Value{static_cast<std::int64_t>(v.as_path().relationships.size())};
        default:
            throw_input("length", "a Path", v);
    }
}

}  // namespace

void add_graph_functions(FunctionList& list) {
    const auto put = [&](std::string_view category,
                         std::string_view signature,
                         TypeSet accepted,
                         TypeSet result,
                         std::string_view description,
                         ScalarFn call) -> FunctionSignature& {
        FunctionSignature& f =
            add_function(list, category, signature, {1, 1}, {accepted}, result, description, call);
        f.deterministic = false;
        return f;
    };
    FunctionSignature& f =
        put("Scalar",
            "id(input :: NODE | RELATIONSHIP) :: INTEGER",
            types::kEntity,
            types::kInteger,
            "The number of a node or relationship; it may be reused after a deletion.",
            id);
    f.deprecated = true;
    f.deprecated_by = "elementId";
    put("Scalar",
        "elementId(input :: NODE | RELATIONSHIP) :: STRING",
        types::kEntity,
        types::kString,
        "The opaque id of a node or relationship.",
        element_id);
    put("List",
        "labels(input :: NODE) :: LIST<STRING>",
        types::kNode,
        types::kList,
        "The labels of a node.",
        labels);
    put("Scalar",
        "type(input :: RELATIONSHIP) :: STRING",
        types::kRelationship,
        types::kString,
        "The type of a relationship.",
        type);
    put("List",
        "keys(input :: NODE | RELATIONSHIP | MAP) :: LIST<STRING>",
        types::kEntity | types::kMap,
        types::kList,
        "The names of all properties, or of a map's entries.",
        keys);
    put("Scalar",
        "properties(input :: NODE | RELATIONSHIP | MAP) :: MAP",
        types::kEntity | types::kMap,
        types::kMap,
        "All properties as a map.",
        properties);
    put("Scalar",
        "startNode(input :: RELATIONSHIP) :: NODE",
        types::kRelationship,
        types::kNode,
        "The node at which a relationship begins.",
        end_of<true>);
    put("Scalar",
        "endNode(input :: RELATIONSHIP) :: NODE",
        types::kRelationship,
        types::kNode,
        "The node at which a relationship ends.",
        end_of<false>);
    put("List",
        "nodes(input :: PATH) :: LIST<NODE>",
        types::kPath,
        types::kList,
        "The nodes of a path, in order.",
        nodes);
    put("List",
        "relationships(input :: PATH) :: LIST<RELATIONSHIP>",
        types::kPath,
        types::kList,
        "The relationships of a path, in order.",
        relationships);
    put("Scalar",
        "length(input :: PATH) :: INTEGER",
        types::kPath,
        types::kInteger,
        "How many relationships a path has.",
        length);
}

}  // namespace nornic::cypher
