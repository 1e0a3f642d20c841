// The list of built-in graph procedures, and those over names: db.labels and its like.

#include "cypher/procedures/builtin.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::cypher {
namespace {

using engine::TokenKind;

Result<> list_labels(ProcedureCall& call) {
    auto& reader = *call.context.reader;
    const auto schema = reader.schema();
    const auto& tokens = reader.tokens();
    const auto in_rules = [&](std::uint32_t token, engine::EntityKind entity) {
        for (const auto& index : schema->indexes) {
            if (index.rule.entity == entity &&
                std::ranges::find(index.rule.tokens, token) != index.rule.tokens.end()) {
                return true;
            }
        }
        return std::ranges::any_of(schema->constraints, [&](const auto& c) {
            return c.entity == entity && c.token == token;
        });
    };
    for (const auto& name : tokens.all(TokenKind::kLabel)) {
        const auto label = tokens.label(name);
        if (label &&
            (reader.node_count(*label) > 0 || in_rules(label->value, engine::EntityKind::kNode)) &&
            !call.emit({Value{name}})) {
            break;
        }
    }
    return success();
}

Result<> list_types(ProcedureCall& call) {
    auto& reader = *call.context.reader;
    const auto schema = reader.schema();
    const auto& tokens = reader.tokens();
    for (const auto& name : tokens.all(TokenKind::kRelationshipType)) {
        const auto type = tokens.relationship_type(name);
        if (!type) {
            continue;
        }
        const auto has = [&](const auto& token_list) {
            return std::ranges::find(token_list, type->value) != token_list.end();
        };
        const bool in_rules =
            std::ranges::any_of(schema->indexes,
                                [&](const auto& i) {
                                    return i.rule.entity == engine::EntityKind::kRelationship &&
                                           has(i.rule.tokens);
                                }) ||
            std::ranges::any_of(schema->constraints, [&](const auto& c) {
                return c.entity == engine::EntityKind::kRelationship && c.token == type->value;
            });
        if ((in_rules || reader.relationship_count(*type) > 0) && !call.emit({Value{name}})) {
            break;
        }
    }
    return success();
}

Result<> list_keys(ProcedureCall& call) {
    for (const auto& name : call.context.reader->tokens().all(TokenKind::kPropertyKey)) {
        if (!call.emit({Value{name}})) {
            break;
        }
    }
    return success();
}

template <class Create>
std::function<Result<>(ProcedureCall&)> creating(Create create) {
    return [create](ProcedureCall& call) -> Result<> {
        engine::Transaction* transaction = call.context.transaction;
        if (transaction == nullptr) {
            return fail(
                ErrorCode::kAccessMode,
                fmt::format("Writing in read access mode not allowed. Attempted write to {}",
                            call.context.database));
        }
        if (!call.arguments[0].is_string() || call.arguments[0].as_string().empty()) {
            return fail(ErrorCode::kArgumentError, "A name must be a string that is not empty");
        }
        NORNIC_TRY(create(*transaction, call.arguments[0].as_string()));
        return success();
    };
}

}  // namespace

std::vector<ProcedureField> show_arguments() {
    return {argument_field("filter", "ANY", types::kAny, Value{}),
            argument_field("names", "ANY", types::kAny, Value{})};
}

std::string show_filter(const ProcedureCall& call) {
    if (call.arguments.empty() || !call.arguments[0].is_string()) {
        return {};
    }
    std::string out{call.arguments[0].as_string()};
    for (char& c : out) {
        c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    }
    return out;
}

Value text_list(const std::vector<std::string>& items) {
    List out;
    out.reserve(items.size());
    for (const auto& item : items) {
        out.emplace_back(item);
    }
    return Value{std::move(out)};
}

void add_token_procedures(ProcedureRegistry& registry) {
    registry.add(Procedure{"db.labels",
                           "List all labels attached to nodes within a database according to the "
                           "user's access rights. The procedure returns "
                           "empty results if the user is not authorized to view those labels.",
                           ProcedureMode::kRead,
                           {},
                           {result_field("label", "STRING", types::kString)},
                           false,
                           true,
                           false,
                           list_labels});
    registry.add(Procedure{"db.relationshipTypes",
                           "List all types attached to relationships within a database according "
                           "to the user's access rights. The "
                           "procedure returns empty results if the user is not authorized to view "
                           "those relationship types.",
                           ProcedureMode::kRead,
                           {},
                           {result_field("relationshipType", "STRING", types::kString)},
                           false,
                           true,
                           false,
                           list_types});
    registry.add(Procedure{"db.propertyKeys",
                           "List all property keys in the database.",
                           ProcedureMode::kRead,
                           {},
                           {result_field("propertyKey", "STRING", types::kString)},
                           false,
                           true,
                           false,
                           list_keys});
    registry.add(Procedure{"db.createLabel",
                           "Create a label",
                           ProcedureMode::kWrite,
                           {argument_field("newLabel", "STRING", types::kString)},
                           {},
                           false,
                           false,
                           false,
                           creating([](engine::Transaction& t, std::string_view name) -> Result<> {
                               NORNIC_TRY(t.label_or_create(name));
                               return success();
                           })});
    registry.add(Procedure{"db.createRelationshipType",
                           "Create a RelationshipType",
                           ProcedureMode::kWrite,
                           {argument_field("newRelationshipType", "STRING", types::kString)},
                           {},
                           false,
                           false,
                           false,
                           creating([](engine::Transaction& t, std::string_view name) -> Result<> {
                               NORNIC_TRY(t.relationship_type_or_create(name));
                               return success();
                           })});
    registry.add(Procedure{"db.createProperty",
                           "Create a Property",
                           ProcedureMode::kWrite,
                           {argument_field("newProperty", "STRING", types::kString)},
                           {},
                           false,
                           false,
                           false,
                           creating([](engine::Transaction& t, std::string_view name) -> Result<> {
                               NORNIC_TRY(t.property_key_or_create(name));
                               return success();
                           })});
    registry.add(Procedure{"db.ping",
                           "This procedure can be used by client side tooling to test whether they "
                           "are correctly connected to a database. The procedure is "
                           "available in all databases and always returns true. A faulty "
                           "connection can be detected by not being able to call this "
                           "procedure.",
                           ProcedureMode::kRead,
                           {},
                           {result_field("success", "BOOLEAN", types::kBoolean)},
                           false,
                           true,
                           false,
                           [](ProcedureCall& call) -> Result<> {
                               call.emit({Value{true}});
                               return success();
                           }});
    registry.add(Procedure{"db.info",
                           "Provides information regarding the database.",
                           ProcedureMode::kRead,
                           {},
                           {result_field("id", "STRING", types::kString),
                            result_field("name", "STRING", types::kString),
                            result_field("creationDate", "STRING", types::kString)},
                           false,
                           true,
                           false,
                           [](ProcedureCall& call) -> Result<> {
                               call.emit({Value{call.context.reader->element_uuid()},
                                          Value{call.context.database},
                                          Value{}});
                               return success();
                           }});
}

void add_graph_procedures(ProcedureRegistry& registry, GraphProcedureHooks hooks) {
    add_token_procedures(registry);
    add_schema_procedures(registry);
    add_index_procedures(registry, std::move(hooks));
    add_tugraph_procedures(registry);
    add_show_schema(registry);
    add_show_callables(registry);
}

}  // namespace nornic::cypher
