// What SHOW INDEXES and SHOW CONSTRAINTS list.

#include "cypher/procedures/builtin.h"
#include "engine/owned_index.h"
#include "engine/schema_catalog.h"
#include "engine/transaction/storable.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::cypher {
namespace {

using engine::ConstraintType;
using engine::EntityKind;
using engine::IndexType;

std::string_view entity_text(EntityKind entity) {
    return entity == EntityKind::kNode ? "NODE" : "RELATIONSHIP";
}

std::string type_text(const engine::ConstraintRule& c) {
    const bool node = c.entity == EntityKind::kNode;
    switch (c.type) {
        case ConstraintType::kUnique:
            return node ? "UNIQUENESS" : "RELATIONSHIP_UNIQUENESS";
        case ConstraintType::kKey:
            return node ? "NODE_KEY" : "RELATIONSHIP_KEY";
        case ConstraintType::kExists:
            return node ? "NODE_PROPERTY_EXISTENCE" : "RELATIONSHIP_PROPERTY_EXISTENCE";
        case ConstraintType::kPropertyType:
            return node ? "NODE_PROPERTY_TYPE" : "RELATIONSHIP_PROPERTY_TYPE";
    }
    return {};
}

class Names {
public:
    explicit Names(const engine::Tokens& tokens) : tokens_{tokens} {}
    [[nodiscard]] std::vector<std::string> tokens(EntityKind entity,
                                                  const std::vector<std::uint32_t>& ids) const {
        std::vector<std::string> out;
        for (const auto id : ids) {
            out.emplace_back(tokens_.name(entity == EntityKind::kNode
                                              ? engine::TokenKind::kLabel
                                              : engine::TokenKind::kRelationshipType,
                                          id));
        }
        return out;
    }
    [[nodiscard]] std::vector<std::string> keys(const std::vector<PropertyKeyId>& ids) const {
        std::vector<std::string> out;
        for (const auto id : ids) {
            out.emplace_back(tokens_.name(id));
        }
        return out;
    }

private:
    const engine::Tokens& tokens_;
};

std::string ticked(const std::string& name) {
    std::string out = "`";
    for (const char c : name) {
        out += c;
        out += c == '`' ? "`" : "";
    }
    return out + "`";
}

std::string pattern(EntityKind entity, const std::vector<std::string>& tokens) {
    std::string labels;
    for (const auto& t : tokens) {
        labels += (labels.empty() ? ":" : "|") + ticked(t);
    }
    return entity == EntityKind::kNode ? fmt::format("(n{})", labels)
                                       : fmt::format("()-[r{}]-()", labels);
}

std::string properties(EntityKind entity, const std::vector<std::string>& keys) {
    std::string out;
    for (const auto& key : keys) {
        out += fmt::format("{}{}.{}",
                           out.empty() ? "" : ", ",
                           entity == EntityKind::kNode ? "n" : "r",
                           ticked(key));
    }
    return out;
}

std::string create_statement(const engine::ConstraintRule& c, const Names& names) {
    const std::string_view kinds[] = {
        "IS UNIQUE",
        c.entity == EntityKind::kNode ? "IS NODE KEY" : "IS RELATIONSHIP KEY",
        "IS NOT NULL",
        "IS ::"};
    std::string kind{kinds[static_cast<std::size_t>(c.type)]};
    if (c.type == ConstraintType::kPropertyType) {
        kind += " " + engine::to_string(c.property_types);
    }
    return fmt::format("CREATE CONSTRAINT {} FOR {} REQUIRE ({}) {}",
                       ticked(c.name),
                       pattern(c.entity, names.tokens(c.entity, {c.token})),
                       properties(c.entity, names.keys(c.properties)),
                       kind);
}

std::string create_statement(const engine::IndexRule& i, const Names& names) {
    const std::string on = pattern(i.entity, names.tokens(i.entity, i.tokens));
    switch (i.type) {
        case IndexType::kLookup:
            return fmt::format("CREATE LOOKUP INDEX {} FOR {} ON EACH {}",
                               ticked(i.name),
                               on,
                               i.entity == EntityKind::kNode ? "labels(n)" : "type(r)");
        case IndexType::kFulltext:
            return fmt::format("CREATE FULLTEXT INDEX {} FOR {} ON EACH [{}]",
                               ticked(i.name),
                               on,
                               properties(i.entity, names.keys(i.properties)));
        default:
            return fmt::format("CREATE {} INDEX {} FOR {} ON ({})",
                               engine::index_type_name(i.type),
                               ticked(i.name),
                               on,
                               properties(i.entity, names.keys(i.properties)));
    }
}

Value options_of(IndexType type) {
    return Value{Map{{"indexConfig", Value{Map{}}},
                     {"indexProvider", Value{engine::index_provider_name(type)}}}};
}

Value text_list_or_null(const std::vector<std::string>& items) {
    return items.empty() ? Value{} : text_list(items);
}

Result<> show_indexes(ProcedureCall& call) {
    const std::string filter = show_filter(call);
    auto& reader = *call.context.reader;
    const auto schema = reader.schema();
    const Names names{reader.tokens()};
    std::vector<const engine::IndexView*> rows;
    for (const auto& index : schema->indexes) {
        if (filter.empty() || filter == "ALL" ||
            filter == engine::index_type_name(index.rule.type)) {
            rows.push_back(&index);
        }
    }
    std::ranges::sort(rows, {}, [](const auto* i) -> const std::string& { return i->rule.name; });
    for (const auto* index : rows) {
        const auto& rule = index->rule;
        const engine::ConstraintRule* owner = nullptr;
        for (const auto& c : schema->constraints) {
            owner = rule.owning_constraint && c.id == *rule.owning_constraint ? &c : owner;
        }
        const std::string_view states[] = {"POPULATING", "ONLINE", "FAILED"};
        // The time of the last read as a ZONED DATETIME in UTC.
        Value last_read;
        if (index->last_read_ms > 0) {
            DateTime t;
            t.seconds = index->last_read_ms / 1000;
            t.nanoseconds = static_cast<std::int32_t>(index->last_read_ms % 1000 * 1'000'000);
            last_read = Value{t};
        }
        if (!call.emit({Value{static_cast<std::int64_t>(rule.id.value)},
                        Value{rule.name},
                        Value{states[static_cast<std::size_t>(index->state)]},
                        Value{index->population_percent},
                        Value{engine::index_type_name(rule.type)},
                        Value{entity_text(rule.entity)},
                        text_list_or_null(names.tokens(rule.entity, rule.tokens)),
                        text_list_or_null(names.keys(rule.properties)),
                        Value{engine::index_provider_name(rule.type)},
                        owner != nullptr ? Value{owner->name} : Value{},
                        last_read,
                        Value{static_cast<std::int64_t>(index->reads)},
                        Value{},
                        options_of(rule.type),
                        Value{index->failure},
                        Value{owner != nullptr ? create_statement(*owner, names)
                                               : create_statement(rule, names)}})) {
            break;
        }
    }
    return success();
}

bool fits(const engine::ConstraintRule& c, const std::string& filter) {
    if (filter.empty() || filter == "ALL") {
        return true;
    }
    const auto has = [&](std::string_view word) { return filter.find(word) != std::string::npos; };
    if ((has("NODE") && c.entity != EntityKind::kNode) ||
        (has("REL") && c.entity != EntityKind::kRelationship)) {
        return false;
    }
    switch (c.type) {
        case ConstraintType::kUnique:
            return has("UNIQUE");
        case ConstraintType::kKey:
            return has("KEY");
        case ConstraintType::kExists:
            return has("EXIST");
        case ConstraintType::kPropertyType:
            return has("TYPE");
    }
    return false;
}

Result<> show_constraints(ProcedureCall& call) {
    const std::string filter = show_filter(call);
    auto& reader = *call.context.reader;
    const auto schema = reader.schema();
    const Names names{reader.tokens()};
    std::vector<const engine::ConstraintRule*> rows;
    for (const auto& c : schema->constraints) {
        if (fits(c, filter)) {
            rows.push_back(&c);
        }
    }
    std::ranges::sort(rows, {}, [](const auto* c) -> const std::string& { return c->name; });
    for (const auto* c : rows) {
        Value owned;
        if (const auto* index = engine::index_of(*schema, *c)) {
            owned = Value{index->rule.name};
        }
        const bool typed = c->type == ConstraintType::kPropertyType;
        if (!call.emit({Value{static_cast<std::int64_t>(c->id.value)},
                        Value{c->name},
                        Value{type_text(*c)},
                        Value{entity_text(c->entity)},
                        text_list(names.tokens(c->entity, {c->token})),
                        text_list(names.keys(c->properties)),
                        owned,
                        typed ? Value{engine::to_string(c->property_types)} : Value{},
                        c->owned_index ? options_of(IndexType::kRange) : Value{},
                        Value{create_statement(*c, names)}})) {
            break;
        }
    }
    return success();
}

}  // namespace

void add_show_schema(ProcedureRegistry& registry) {
    const auto text = [](std::string name, bool hidden = false) {
        return result_field(std::move(name), "STRING", types::kString, hidden);
    };
    const auto list = [](std::string name) {
        return result_field(std::move(name), "LIST<STRING>", types::kList);
    };
    registry.add(Procedure{"internal.show.indexes",
                           "",
                           ProcedureMode::kRead,
                           show_arguments(),
                           {result_field("id", "INTEGER", types::kInteger),
                            text("name"),
                            text("state"),
                            result_field("populationPercent", "FLOAT", types::kFloat),
                            text("type"),
                            text("entityType"),
                            list("labelsOrTypes"),
                            list("properties"),
                            text("indexProvider"),
                            text("owningConstraint"),
                            result_field("lastRead", "ZONED DATETIME", types::kDateTime),
                            result_field("readCount", "INTEGER", types::kInteger),
                            result_field("trackedSince", "ZONED DATETIME", types::kDateTime, true),
                            result_field("options", "MAP", types::kMap, true),
                            text("failureMessage", true),
                            text("createStatement", true)},
                           false,
                           true,
                           false,
                           show_indexes});
    registry.add(Procedure{"internal.show.constraints",
                           "",
                           ProcedureMode::kRead,
                           show_arguments(),
                           {result_field("id", "INTEGER", types::kInteger),
                            text("name"),
                            text("type"),
                            text("entityType"),
                            list("labelsOrTypes"),
                            list("properties"),
                            text("ownedIndex"),
                            text("propertyType"),
                            result_field("options", "MAP", types::kMap, true),
                            text("createStatement", true)},
                           false,
                           true,
                           false,
                           show_constraints});
}

}  // namespace nornic::cypher
