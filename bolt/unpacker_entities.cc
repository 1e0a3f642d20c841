// Nodes, relationships and paths as a client reads them.
#include "bolt/packstream.h"

#include <fmt/format.h>

#include <limits>

namespace nornic::bolt {

namespace {
constexpr std::string_view kInvalid = "08N06>22N00>22N97";
}

/// 0: not an entity, or none is taken here.
std::size_t Unpacker::entity_fields(std::uint8_t tag) const noexcept {
    if (entities_ == Entities::kRefused) {
        return 0;
    }
    const bool element_ids = dialect_.element_ids();
    switch (static_cast<StructTag>(tag)) {
        case StructTag::kNode:
        case StructTag::kUnboundRelationship:
            return element_ids ? 4 : 3;
        case StructTag::kRelationship:
            return element_ids ? 8 : 5;
        case StructTag::kPath:
            return 3;
        default:
            return 0;
    }
}

bool Unpacker::entity(std::uint8_t tag, Value& out) {
    switch (static_cast<StructTag>(tag)) {
        case StructTag::kNode:
            return node(out);
        case StructTag::kRelationship:
            return relationship(true, out);
        case StructTag::kUnboundRelationship:
            return relationship(false, out);
        default:
            return path(out);
    }
}

bool Unpacker::id_field(std::uint64_t& out) {
    std::int64_t id = 0;
    if (!integer_field("id",
                       id,
                       std::numeric_limits<std::int64_t>::min(),
                       std::numeric_limits<std::int64_t>::max())) {
        return false;
    }
    out = static_cast<std::uint64_t>(id);
    return true;
}

bool Unpacker::text_field(std::string& out) {
    std::string_view text;
    if (!string(text)) {
        return false;
    }
    out = text;
    return true;
}

bool Unpacker::node(Value& out) {
    Node n;
    Value labels;
    if (!id_field(n.id.value) || !nested_value(labels)) {
        return false;
    }
    if (!labels.is_list()) {
        return fail("A node's labels are not a list", std::string{kInvalid});
    }
    for (const Value& label : labels.as_list()) {
        if (!label.is_string()) {
            return fail("A label is not a string", std::string{kInvalid});
        }
        n.labels.emplace_back(label.as_string());
    }
    if (!map(n.properties) || (dialect_.element_ids() && !text_field(n.element_id))) {
        return false;
    }
    out = Value{std::move(n)};
    return true;
}

bool Unpacker::relationship(bool bound, Value& out) {
    Relationship r;
    if (!id_field(r.id.value) || (bound && (!id_field(r.start.value) || !id_field(r.end.value))) ||
        !text_field(r.type) || !map(r.properties)) {
        return false;
    }
    if (dialect_.element_ids()) {
        if (!text_field(r.element_id) ||
            (bound && (!text_field(r.start_element_id) || !text_field(r.end_element_id)))) {
            return false;
        }
    }
    out = Value{std::move(r)};
    return true;
}

/// The walk's indices are put back into nodes and relationships in walking order.
bool Unpacker::path(Value& out) {
    Value nodes;
    Value relationships;
    Value walk;
    if (!nested_value(nodes) || !nested_value(relationships) || !nested_value(walk)) {
        return false;
    }
    const auto bad = [this] {
        return fail("A path's indices do not fit its entities", std::string{kInvalid});
    };
    if (!nodes.is_list() || !relationships.is_list() || !walk.is_list() ||
        nodes.as_list().empty() || walk.as_list().size() % 2 != 0) {
        return bad();
    }
    const auto count_nodes = static_cast<std::int64_t>(nodes.as_list().size());
    const auto count_relationships = static_cast<std::int64_t>(relationships.as_list().size());
    const auto node_at = [&](std::int64_t i) -> const Value& {
        return nodes.as_list()[static_cast<std::size_t>(i)];
    };
    for (const Value& n : nodes.as_list()) {
        if (!n.is(ValueType::kNode)) {
            return bad();
        }
    }
    Path p;
    p.nodes.push_back(node_at(0).as_node());
    for (std::size_t i = 0; i < walk.as_list().size(); i += 2) {
        const Value& step = walk.as_list()[i];
        const Value& to = walk.as_list()[i + 1];
        if (!step.is(ValueType::kInteger) || !to.is(ValueType::kInteger)) {
            return bad();
        }
        const std::int64_t signed_index = step.as_integer();
        if (signed_index == 0 || signed_index > count_relationships ||
            signed_index < -count_relationships || to.as_integer() < 0 ||
            to.as_integer() >= count_nodes) {
            return bad();
        }
        const bool forward = signed_index > 0;
        const auto index = static_cast<std::size_t>((forward ? signed_index : -signed_index) - 1);
        const Value& relationship_value = relationships.as_list()[index];
        if (!relationship_value.is(ValueType::kRelationship)) {
            return bad();
        }
        Relationship r = relationship_value.as_relationship();
        const Node from_node = p.nodes.back();
        const Node& to_node = node_at(to.as_integer()).as_node();
        const Node& start = forward ? from_node : to_node;
        const Node& end = forward ? to_node : from_node;
        r.start = start.id;
        r.start_element_id = start.element_id;
        r.end = end.id;
        r.end_element_id = end.element_id;
        p.relationships.push_back(std::move(r));
        p.nodes.push_back(to_node);
    }
    out = Value{std::move(p)};
    return true;
}

}  // namespace nornic::bolt
