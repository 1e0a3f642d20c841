// CREATE and DROP of indexes and constraints.
#include "cypher/execution/expression_nodes.h"
#include "cypher/execution/operators/input.h"
#include "engine/transaction/storable.h"

#include <fmt/format.h>

namespace nornic::cypher {
namespace {

using engine::PropertyTypeBit;

std::uint64_t type_bits(const TypeRef& type, bool list) {
    static constexpr std::pair<TypeSet, PropertyTypeBit> kBits[] = {
        {types::kBoolean, PropertyTypeBit::kBoolean},
        {types::kString, PropertyTypeBit::kString},
        {types::kInteger, PropertyTypeBit::kInteger},
        {types::kFloat, PropertyTypeBit::kFloat},
        {types::kDate, PropertyTypeBit::kDate},
        {types::kLocalTime, PropertyTypeBit::kLocalTime},
        {types::kTime, PropertyTypeBit::kTime},
        {types::kLocalDateTime, PropertyTypeBit::kLocalDateTime},
        {types::kDateTime, PropertyTypeBit::kDateTime},
        {types::kDuration, PropertyTypeBit::kDuration},
        {types::kPoint, PropertyTypeBit::kPoint},
    };
    std::uint64_t out = 0;
    for (const auto& [type_bit, property_bit] : kBits) {
        if ((type.types & type_bit) != 0) {
            out |= engine::property_type(property_bit, list);
        }
    }
    for (const TypeRef& e : type.list_elements) {
        out |= type_bits(e, true);
    }
    for (const TypeRef& a : type.alternatives) {
        out |= type_bits(a, list);
    }
    return out;
}

Notification no_op(bool created, std::string_view command, std::string_view what) {
    Notification n;
    n.severity = "INFORMATION";
    n.category = "SCHEMA";
    if (created) {
        n.code = "Neo.ClientNotification.Schema.IndexOrConstraintAlreadyExists";
        n.gql_status = "00NA0";
        n.title = fmt::format("`{}` has no effect.", command);
        n.description = fmt::format("`{}` already exists.", what);
        n.status_description = fmt::format(
            "note: successful completion - index or constraint already exists. The command '{}' "
            "has no effect. The index or constraint specified by '{}' already exists.",
            command,
            what);
    } else {
        n.code = "Neo.ClientNotification.Schema.IndexOrConstraintDoesNotExist";
        n.gql_status = "00NA1";
        n.title = fmt::format("`{}` has no effect.", command);
        n.description = fmt::format("`{}` does not exist.", what);
        n.status_description = fmt::format(
            "note: successful completion - index or constraint does not exist. The command '{}' "
            "has no effect. The specified index or constraint '{}' does not exist.",
            command,
            what);
    }
    return n;
}

class SchemaCommandOperator final : public Operator {
public:
    SchemaCommandOperator(const SchemaCommandPlan& plan, ExecContext& context)
        : plan_{plan}, context_{context} {}
    bool next(Batch&) override {
        if (!done_) {
            done_ = true;
            run();
        }
        return false;
    }
    void reset() override { done_ = false; }

private:
    void run() {
        const Statement& s = *plan_.statement;
        if (const auto* c = std::get_if<CreateIndexCommand>(&s.body)) {
            create(*c);
        } else if (const auto* k = std::get_if<CreateConstraintCommand>(&s.body)) {
            create(*k);
        } else {
            drop(std::get<DropSchemaCommand>(s.body));
        }
    }
    static void check(Result<> result) {
        if (!result) {
            throw QueryError{std::move(result).error()};
        }
    }
    static bool exists_already(ErrorCode code) {
        return code == ErrorCode::kIndexAlreadyExists ||
               code == ErrorCode::kConstraintAlreadyExists ||
               code == ErrorCode::kEquivalentSchemaRuleAlreadyExists;
    }
    /// IF NOT EXISTS turns "there is one already" into a remark.
    void finish(Result<> result, bool lenient) {
        if (!result && lenient && exists_already(result.error().code())) {
            context_.notifications.push_back(no_op(true, plan_.statement->text, plan_.details));
            return;
        }
        check(std::move(result));
    }
    /// IF NOT EXISTS of a name that is taken: nothing to do but to remark it.
    bool there_already(std::string_view name, bool lenient) {
        if (!lenient || name.empty()) {
            return false;
        }
        const auto schema = context_.reader->schema();
        if (schema->index_named(name) == nullptr && schema->constraint_named(name) == nullptr) {
            return false;
        }
        context_.notifications.push_back(no_op(true, plan_.statement->text, plan_.details));
        return true;
    }
    void create(const CreateIndexCommand& c) {
        engine::Transaction& tx = context_.writer();
        if (there_already(c.name, c.if_not_exists)) {
            return;
        }
        engine::IndexDefinition d;
        d.name = c.name;
        d.type = c.type;
        d.entity = c.entity;
        d.tokens = c.tokens;
        d.properties = c.properties;
        if (plan_.options != nullptr) {
            Batch batch{context_.slots};
            batch.begin_exact(1);
            d.options = to_cypher_text(plan_.options->get(Row{&batch, 0}, context_));
        }
        finish(tx.create_index(d), c.if_not_exists);
    }
    void create(const CreateConstraintCommand& c) {
        engine::Transaction& tx = context_.writer();
        if (there_already(c.name, c.if_not_exists)) {
            return;
        }
        engine::ConstraintDefinition d;
        d.name = c.name;
        d.type = c.type;
        d.entity = c.entity;
        d.token = c.token;
        d.properties = c.properties;
        if (c.property_type) {
            d.property_types.bits = type_bits(*c.property_type, false);
        }
        finish(tx.create_constraint(d), c.if_not_exists);
    }
    void drop(const DropSchemaCommand& c) {
        engine::Transaction& tx = context_.writer();
        const auto schema = tx.schema();
        const bool there = c.constraint ? schema->constraint_named(c.name) != nullptr
                                        : schema->index_named(c.name) != nullptr;
        if (!there && c.if_exists) {
            context_.notifications.push_back(no_op(false, plan_.statement->text, c.name));
            return;
        }
        if (!there) {
            throw QueryError{
                c.constraint ? ErrorCode::kConstraintDropFailed : ErrorCode::kIndexDropFailed,
                c.constraint
                    ? fmt::format("Unable to drop constraint `{}`: No such constraint `{}`.",
                                  c.name,
                                  c.name)
                    : fmt::format("Unable to drop index called `{}`. There is no such index.",
                                  c.name)};
        }
        check(c.constraint ? tx.drop_constraint(c.name) : tx.drop_index(c.name));
    }
    const SchemaCommandPlan& plan_;
    ExecContext& context_;
    bool done_ = false;
};

}  // namespace

OperatorPtr make_schema_command(const SchemaCommandPlan& plan, ExecContext& context) {
    return std::make_unique<SchemaCommandOperator>(plan, context);
}

}  // namespace nornic::cypher
