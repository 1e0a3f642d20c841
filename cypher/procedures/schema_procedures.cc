// db.schema.*: what the data looks like, from a bounded sample of it; db.stats.retrieve.

#include "cypher/procedures/builtin.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

namespace nornic::cypher {
namespace {

using engine::TokenKind;

/// Enough to meet each shape of a label or type; more would make a look at the schema a scan of the
/// graph.
constexpr std::size_t kSampledPerToken = 1000;
constexpr std::size_t kSampledUnlabelled = 10'000;

/// Java's names of stored types, as Neo4j prints them here.
std::string java_type(const Value& v) {
    switch (v.type()) {
        case ValueType::kBoolean:
            return "Boolean";
        case ValueType::kInteger:
            return "Long";
        case ValueType::kFloat:
            return "Double";
        case ValueType::kString:
            return "String";
        case ValueType::kBytes:
            return "ByteArray";
        case ValueType::kDate:
            return "Date";
        case ValueType::kLocalTime:
            return "LocalTime";
        case ValueType::kTime:
            return "Time";
        case ValueType::kLocalDateTime:
            return "LocalDateTime";
        case ValueType::kDateTime:
            return "DateTime";
        case ValueType::kDuration:
            return "Duration";
        case ValueType::kPoint:
            return "Point";
        case ValueType::kList:
            return v.as_list().empty() ? "StringArray" : java_type(v.as_list()[0]) + "Array";
        default:
            return "Any";
    }
}

struct Shape {
    std::uint64_t seen = 0;
    struct Use {
        std::uint64_t seen = 0;
        std::set<std::string> types;
    };
    std::map<std::string, Use> properties;

    void add(const engine::Tokens& tokens, const std::vector<engine::PropertyEntry>& entries) {
        ++seen;
        for (const auto& entry : entries) {
            auto& use = properties[std::string{tokens.name(entry.key)}];
            ++use.seen;
            use.types.insert(java_type(entry.value));
        }
    }
};

/// f(id) for the first `limit` of a cursor; false from f ends it.
template <class Id, class Cursor, class F>
void sample(Cursor& cursor, std::size_t limit, F&& f) {
    std::array<Id, 128> ids{};
    std::size_t done = 0;
    while (done < limit) {
        const std::size_t n = cursor.next(std::span{ids}.first(std::min(ids.size(), limit - done)));
        for (std::size_t i = 0; i < n; ++i) {
            f(ids[i]);
        }
        done += n;
        if (n == 0) {
            return;
        }
    }
}

using LabelSet = std::vector<std::string>;

std::map<LabelSet, Shape> sample_nodes(engine::GraphReader& reader) {
    std::map<LabelSet, Shape> shapes;
    std::set<NodeId> met;
    const auto& tokens = reader.tokens();
    const auto add = [&](NodeId id) {
        if (!met.insert(id).second) {
            return;
        }
        if (const auto node = reader.node(id)) {
            LabelSet labels;
            for (const LabelId label : node->labels) {
                labels.emplace_back(tokens.name(label));
            }
            std::ranges::sort(labels);
            shapes[labels].add(tokens, node->properties);
        }
    };
    for (const auto& name : tokens.all(TokenKind::kLabel)) {
        if (const auto label = tokens.label(name); label && reader.node_count(*label) > 0) {
            auto cursor = reader.scan_label(*label);
            sample<NodeId>(*cursor, kSampledPerToken, add);
        }
    }
    auto cursor = reader.scan_nodes();
    sample<NodeId>(*cursor, kSampledUnlabelled, add);
    return shapes;
}

Result<> node_type_properties(ProcedureCall& call) {
    for (const auto& [labels, shape] : sample_nodes(*call.context.reader)) {
        std::string type;
        for (const auto& label : labels) {
            type += fmt::format(":`{}`", label);
        }
        if (shape.properties.empty()) {
            if (!call.emit({Value{type}, text_list(labels), Value{}, Value{}, Value{false}})) {
                return success();
            }
        }
        for (const auto& [key, use] : shape.properties) {
            if (!call.emit({Value{type},
                            text_list(labels),
                            Value{key},
                            text_list({use.types.begin(), use.types.end()}),
                            Value{use.seen == shape.seen}})) {
                return success();
            }
        }
    }
    return success();
}

Result<> rel_type_properties(ProcedureCall& call) {
    auto& reader = *call.context.reader;
    const auto& tokens = reader.tokens();
    for (const auto& name : tokens.all(TokenKind::kRelationshipType)) {
        const auto type = tokens.relationship_type(name);
        if (!type || reader.relationship_count(*type) == 0) {
            continue;
        }
        Shape shape;
        auto cursor = reader.scan_relationships(std::span{&*type, 1});
        sample<RelId>(*cursor, kSampledPerToken, [&](RelId id) {
            if (const auto r = reader.relationship(id)) {
                shape.add(tokens, r->properties);
            }
        });
        const std::string printed = fmt::format(":`{}`", name);
        if (shape.properties.empty() &&
            !call.emit({Value{printed}, Value{}, Value{}, Value{false}})) {
            return success();
        }
        for (const auto& [key, use] : shape.properties) {
            if (!call.emit({Value{printed},
                            Value{key},
                            text_list({use.types.begin(), use.types.end()}),
                            Value{use.seen == shape.seen}})) {
                return success();
            }
        }
    }
    return success();
}

/// One row: a virtual node for each label, a virtual relationship for each type between two labels.
Result<> visualization(ProcedureCall& call) {
    auto& reader = *call.context.reader;
    const auto& tokens = reader.tokens();
    const auto schema = reader.schema();
    // Virtual entities count down from -1, so that no client takes them for stored ones.
    std::int64_t next = -1;
    std::map<std::string, Node> nodes;
    const auto node_for = [&](const std::string& label) -> const Node& {
        const auto it = nodes.find(label);
        if (it != nodes.end()) {
            return it->second;
        }
        List indexes;
        List constraints;
        const auto id = tokens.label(label);
        for (const auto& index : schema->indexes) {
            if (id && index.rule.entity == engine::EntityKind::kNode &&
                !index.rule.owning_constraint &&
                std::ranges::find(index.rule.tokens, id->value) != index.rule.tokens.end()) {
                std::vector<std::string> keys;
                for (const auto key : index.rule.properties) {
                    keys.emplace_back(tokens.name(key));
                }
                indexes.emplace_back(fmt::format("{}", fmt::join(keys, ",")));
            }
        }
        for (const auto& c : schema->constraints) {
            if (id && c.entity == engine::EntityKind::kNode && c.token == id->value) {
                constraints.emplace_back(c.name);
            }
        }
        Node n;
        n.id = NodeId{static_cast<std::uint64_t>(next)};
        n.element_id = std::to_string(next);
        --next;
        n.labels = {label};
        n.properties = Map{{"name", Value{label}},
                           {"indexes", Value{std::move(indexes)}},
                           {"constraints", Value{std::move(constraints)}}};
        return nodes.emplace(label, std::move(n)).first->second;
    };
    for (const auto& name : tokens.all(TokenKind::kLabel)) {
        if (const auto label = tokens.label(name); label && reader.node_count(*label) > 0) {
            node_for(name);
        }
    }
    List relationships;
    std::int64_t next_relationship = -1;
    for (const auto& name : tokens.all(TokenKind::kRelationshipType)) {
        const auto type = tokens.relationship_type(name);
        if (!type || reader.relationship_count(*type) == 0) {
            continue;
        }
        std::set<std::pair<std::string, std::string>> ends;
        auto cursor = reader.scan_relationships(std::span{&*type, 1});
        sample<RelId>(*cursor, kSampledPerToken, [&](RelId id) {
            const auto r = reader.relationship(id);
            const auto start = r ? reader.node(r->start) : nullptr;
            const auto end = r ? reader.node(r->end) : nullptr;
            if (!start || !end) {
                return;
            }
            for (const auto from : start->labels) {
                for (const auto to : end->labels) {
                    ends.emplace(tokens.name(from), tokens.name(to));
                }
            }
        });
        for (const auto& [from, to] : ends) {
            const Node& start = node_for(from);
            const Node& end = node_for(to);
            Relationship r;
            r.id = RelId{static_cast<std::uint64_t>(next_relationship)};
            r.element_id = std::to_string(next_relationship);
            --next_relationship;
            r.start = start.id;
            r.start_element_id = start.element_id;
            r.end = end.id;
            r.end_element_id = end.element_id;
            r.type = name;
            r.properties = Map{{"name", Value{name}}};
            relationships.emplace_back(std::move(r));
        }
    }
    List node_list;
    for (auto& [label, node] : nodes) {
        node_list.emplace_back(node);
    }
    call.emit({Value{std::move(node_list)}, Value{std::move(relationships)}});
    return success();
}

Result<> statistics(ProcedureCall& call) {
    const Value& section = call.arguments[0];
    if (!section.is_string() || section.as_string() != "GRAPH COUNTS") {
        return fail(ErrorCode::kArgumentError,
                    fmt::format("Unknown retrieve section '{}': expected 'GRAPH COUNTS'",
                                section.is_string() ? std::string{section.as_string()} : "null"));
    }
    auto& reader = *call.context.reader;
    const auto& tokens = reader.tokens();
    const auto count = [](std::uint64_t n) { return Value{static_cast<std::int64_t>(n)}; };
    List nodes;
    nodes.emplace_back(Map{{"count", count(reader.node_count(std::nullopt))}});
    for (const auto& name : tokens.all(TokenKind::kLabel)) {
        nodes.emplace_back(
            Map{{"label", Value{name}}, {"count", count(reader.node_count(tokens.label(name)))}});
    }
    List relationships;
    relationships.emplace_back(Map{{"count", count(reader.relationship_count(std::nullopt))}});
    for (const auto& name : tokens.all(TokenKind::kRelationshipType)) {
        relationships.emplace_back(
            Map{{"relationshipType", Value{name}},
                {"count", count(reader.relationship_count(tokens.relationship_type(name)))}});
    }
    List indexes;
    List constraints;
    const auto schema = reader.schema();
    const auto keys_of = [&](const std::vector<PropertyKeyId>& keys) {
        List out;
        for (const auto key : keys) {
            out.emplace_back(tokens.name(key));
        }
        return Value{std::move(out)};
    };
    const auto names_of = [&](engine::EntityKind entity, const std::vector<std::uint32_t>& ids) {
        List out;
        for (const auto id : ids) {
            out.emplace_back(tokens.name(entity == engine::EntityKind::kNode
                                             ? TokenKind::kLabel
                                             : TokenKind::kRelationshipType,
                                         id));
        }
        return Value{std::move(out)};
    };
    for (const auto& index : schema->indexes) {
        indexes.emplace_back(
            Map{{index.rule.entity == engine::EntityKind::kNode ? "labels" : "relationshipTypes",
                 names_of(index.rule.entity, index.rule.tokens)},
                {"properties", keys_of(index.rule.properties)},
                {"totalSize", count(index.entries)},
                {"estimatedUniqueSize", count(index.distinct_values)},
                {"updatesSinceEstimation", Value{0}}});
    }
    for (const auto& c : schema->constraints) {
        constraints.emplace_back(
            Map{{c.entity == engine::EntityKind::kNode ? "label" : "relationshipType",
                 names_of(c.entity, {c.token}).as_list()[0]},
                {"properties", keys_of(c.properties)}});
    }
    call.emit({section,
               Value{Map{{"nodes", Value{std::move(nodes)}},
                         {"relationships", Value{std::move(relationships)}},
                         {"indexes", Value{std::move(indexes)}},
                         {"constraints", Value{std::move(constraints)}}}}});
    return success();
}

}  // namespace

void add_schema_procedures(ProcedureRegistry& registry) {
    registry.add(Procedure{"db.schema.visualization",
                           "Visualizes the schema of the data based on available statistics. A new "
                           "node is returned for each label. The "
                           "properties represented on the node include: `name` (label name), "
                           "`indexes` (list of indexes), and "
                           "`constraints` (list of constraints). A relationship of a given type is "
                           "returned for all possible combinations "
                           "of start and end nodes.",
                           ProcedureMode::kRead,
                           {},
                           {result_field("nodes", "LIST<NODE>", types::kList),
                            result_field("relationships", "LIST<RELATIONSHIP>", types::kList)},
                           false,
                           true,
                           false,
                           visualization});
    registry.add(Procedure{"db.schema.nodeTypeProperties",
                           "Show the derived property schema of the nodes in tabular form.",
                           ProcedureMode::kRead,
                           {},
                           {result_field("nodeType", "STRING", types::kString),
                            result_field("nodeLabels", "LIST<STRING>", types::kList),
                            result_field("propertyName", "STRING", types::kString),
                            result_field("propertyTypes", "LIST<STRING>", types::kList),
                            result_field("mandatory", "BOOLEAN", types::kBoolean)},
                           false,
                           true,
                           false,
                           node_type_properties});
    registry.add(Procedure{"db.schema.relTypeProperties",
                           "Show the derived property schema of the relationships in tabular form.",
                           ProcedureMode::kRead,
                           {},
                           {result_field("relType", "STRING", types::kString),
                            result_field("propertyName", "STRING", types::kString),
                            result_field("propertyTypes", "LIST<STRING>", types::kList),
                            result_field("mandatory", "BOOLEAN", types::kBoolean)},
                           false,
                           true,
                           false,
                           rel_type_properties});
    registry.add(Procedure{
        "db.stats.retrieve",
        "Retrieve statistical data about the current database. Valid sections are 'GRAPH COUNTS'.",
        ProcedureMode::kRead,
        {argument_field("section", "STRING", types::kString),
         argument_field("config", "MAP", types::kMap, Value{Map{}})},
        {result_field("section", "STRING", types::kString),
         result_field("data", "MAP", types::kMap)},
        true,
        true,
        false,
        statistics});
}

}  // namespace nornic::cypher
