// The two procedures by which TuGraph's clients begin: db.createVertexLabel, whose rules become constraints here, and
// db.dropDB, which empties the database.
#include "cypher/cypher.h"
#include "cypher/procedures/builtin.h"
#include "engine/transaction/storable.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <optional>

namespace nornic::cypher {
namespace {

using engine::ConstraintDefinition;
using engine::ConstraintType;
using engine::PropertyTypeBit;
using engine::Transaction;

// What one transaction deletes: some MB of log, and others wait no longer for its locks.
constexpr std::size_t kDeletedPerTransaction = 5000;
// A transaction that others overtake is begun again so often.
constexpr int kAttempts = 20;

// ---- db.createVertexLabel ----

std::string upper(std::string_view text) {
    std::string out{text};
    std::ranges::transform(
        out, out.begin(), [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
    return out;
}

/// What a value of that type of TuGraph's is here; nothing where it has no counterpart.
std::optional<std::uint64_t> property_types(std::string_view name) {
    using enum PropertyTypeBit;
    constexpr auto bit = [](PropertyTypeBit b) { return engine::property_type(b); };
    static constexpr std::array<std::pair<std::string_view, std::uint64_t>, 11> kTypes{{
        {"BOOL", bit(kBoolean)},
        {"INT8", bit(kInteger)},
        {"INT16", bit(kInteger)},
        {"INT32", bit(kInteger)},
        {"INT64", bit(kInteger)},
        {"FLOAT", bit(kFloat)},
        {"DOUBLE", bit(kFloat)},
        {"DATE", bit(kDate)},
        {"DATETIME", bit(kDateTime) | bit(kLocalDateTime)},
        {"STRING", bit(kString)},
        {"POINT", bit(kPoint)},
    }};
    const std::string wanted = upper(name);
    const auto* const it = std::ranges::find(kTypes, std::string_view{wanted}, &std::pair<std::string_view, std::uint64_t>::first);
    return it == kTypes.end() ? std::nullopt : std::optional{it->second};
}

struct Field {
    std::string name;
    std::uint64_t types = 0;
    bool optional = false;
};

Error wrong(std::string message) {
    return {ErrorCode::kArgumentError, "db.createVertexLabel: " + std::move(message)};
}

/// (label, primary field, then name, type and whether it may be absent of each field)
Result<std::vector<Field>> fields_in(const ProcedureCall& call) {
    const auto given = call.arguments.subspan(2);
    if (given.empty() || given.size() % 3 != 0) {
        return wrong("each field has a name, a type and whether it may be absent, as in 'id', 'INT32', false");
    }
    std::vector<Field> fields;
    for (std::size_t i = 0; i < given.size(); i += 3) {
        if (!given[i].is_string() || given[i].as_string().empty() || !given[i + 1].is_string() ||
            !given[i + 2].is(ValueType::kBoolean)) {
            return wrong(fmt::format("field {} is (name STRING, type STRING, optional BOOLEAN), not ({}, {}, {})",
                                     i / 3 + 1,
                                     to_cypher_text(given[i]),
                                     to_cypher_text(given[i + 1]),
                                     to_cypher_text(given[i + 2])));
        }
        const auto types = property_types(given[i + 1].as_string());
        if (!types) {
            return wrong(fmt::format("the type of field '{}' is '{}'; it takes BOOL, INT8, INT16, INT32, INT64, FLOAT, DOUBLE, "
                                     "DATE, DATETIME, STRING and POINT",
                                     given[i].as_string(),
                                     given[i + 1].as_string()));
        }
        if (std::ranges::find(fields, given[i].as_string(), &Field::name) != fields.end()) {
            return wrong(fmt::format("field '{}' is there twice", given[i].as_string()));
        }
        fields.push_back({std::string{given[i].as_string()}, *types, given[i + 2].as_boolean()});
    }
    return fields;
}

Result<> create_vertex_label(ProcedureCall& call) {
    if (!call.arguments[0].is_string() || call.arguments[0].as_string().empty() || !call.arguments[1].is_string()) {
        return wrong("it takes the label's name, that of its primary field, and the fields");
    }
    const std::string label{call.arguments[0].as_string()};
    const std::string primary{call.arguments[1].as_string()};
    NORNIC_TRY(const std::vector<Field> fields, fields_in(call));
    const auto key = std::ranges::find(fields, primary, &Field::name);
    if (key == fields.end() || key->optional) {
        return wrong(fmt::format("the primary field '{}' is one of the fields and never absent", primary));
    }
    Transaction& transaction = *call.context.transaction;
    const auto require = [&](ConstraintType type, const Field& field) {
        ConstraintDefinition definition;
        definition.type = type;
        definition.token = label;
        definition.properties = {field.name};
        if (type == ConstraintType::kPropertyType) {
            definition.property_types.bits = field.types;
        }
        return transaction.create_constraint(definition);
    };
    NORNIC_TRY(require(ConstraintType::kKey, *key));
    for (const Field& field : fields) {
        NORNIC_TRY(require(ConstraintType::kPropertyType, field));
        if (!field.optional && field.name != primary) {
            NORNIC_TRY(require(ConstraintType::kExists, field));
        }
    }
    return success();
}

// ---- db.dropDB ----

bool was_overtaken(const Error& error) {
    return error.code() == ErrorCode::kConflict || error.code() == ErrorCode::kDeadlock;
}

/// A transaction of its own, begun again where others overtook it.
Result<> in_transaction(const ProcedureCall& call, const std::function<Result<>(Transaction&)>& work) {
    for (int attempt = 1;; ++attempt) {
        NORNIC_TRY(auto inner, call.services->begin_inner());
        Result<> done = work(*inner);
        if (done && inner->has_writes()) {
            done = call.services->commit_inner(inner);
        }
        if (done || !was_overtaken(done.error()) || attempt == kAttempts) {
            return done;
        }
        if (call.context.transaction->killed()) {
            return call.context.transaction->kill_reason().value_or(Error{ErrorCode::kTerminated, {}});
        }
    }
}

template <class Cursor, class Id>
Result<> delete_all(const ProcedureCall& call, Cursor& cursor, const std::function<Result<>(Transaction&, Id)>& erase) {
    std::vector<Id> ids(kDeletedPerTransaction);
    while (const std::size_t n = cursor.next(ids)) {
        if (call.context.transaction->killed()) {
            return call.context.transaction->kill_reason().value_or(Error{ErrorCode::kTerminated, {}});
        }
        NORNIC_TRY(in_transaction(call, [&](Transaction& inner) -> Result<> {
            for (std::size_t i = 0; i < n; ++i) {
                NORNIC_TRY(erase(inner, ids[i]));
            }
            return success();
        }));
    }
    return success();
}

Result<> delete_relationship(Transaction& inner, RelId id) {
    NORNIC_TRY(inner.delete_relationship(id));
    return success();
}

/// With what others tied to it meanwhile.
Result<> delete_node(Transaction& inner, NodeId id) {
    if (inner.node(id) == nullptr) {
        return success();
    }
    std::vector<engine::Adjacent> adjacent;
    inner.expand(id, engine::Direction::kBoth, {}, adjacent);
    for (const engine::Adjacent& a : adjacent) {
        NORNIC_TRY(inner.delete_relationship(a.relationship));
    }
    NORNIC_TRY(inner.delete_node(id));
    return success();
}

/// All but the indexes of labels and types, which every database has.
Result<> drop_rules(Transaction& inner) {
    const auto schema = inner.schema();
    for (const engine::ConstraintRule& rule : schema->constraints) {
        NORNIC_TRY(inner.drop_constraint(rule.name));
    }
    for (const engine::IndexView& index : schema->indexes) {
        if (index.rule.type != engine::IndexType::kLookup && !index.rule.owning_constraint) {
            NORNIC_TRY(inner.drop_index(index.rule.name));
        }
    }
    return success();
}

Result<> drop_database(ProcedureCall& call) {
    if (call.services == nullptr || !call.services->begin_inner || !call.services->commit_inner) {
        return fail(ErrorCode::kTransactionStartFailed, "db.dropDB runs in transactions of its own, outside of an explicit one");
    }
    const auto relationships = call.context.reader->scan_relationships({});
    NORNIC_TRY((delete_all<engine::RelCursor, RelId>(call, *relationships, delete_relationship)));
    const auto nodes = call.context.reader->scan_nodes();
    NORNIC_TRY((delete_all<engine::NodeCursor, NodeId>(call, *nodes, delete_node)));
    return in_transaction(call, drop_rules);
}

}  // namespace

void add_tugraph_procedures(ProcedureRegistry& registry) {
    Procedure label;
    label.name = "db.createVertexLabel";
    label.description = "Makes constraints for a label: the primary field is its key, each field has a type, and all but optional ones must be there.";
    label.mode = ProcedureMode::kSchema;
    label.works_on_system = false;
    label.arguments = {argument_field("label", "STRING", types::kString),
                       argument_field("primaryField", "STRING", types::kString),
                       argument_field("fields", "ANY", types::kAny)};
    label.variadic = true;
    label.run = create_vertex_label;
    registry.add(std::move(label));
    Procedure drop;
    drop.name = "db.dropDB";
    drop.description = "Deletes all nodes, relationships, constraints and indexes of this database, in transactions of its own.";
    drop.mode = ProcedureMode::kSchema;
    drop.works_on_system = false;
    drop.own_transactions = true;
    drop.run = drop_database;
    registry.add(std::move(drop));
}

}  // namespace nornic::cypher
