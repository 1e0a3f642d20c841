// Creating and dropping indexes and constraints. One transaction changes the rules of a database at
// a time. A constraint is made while nobody else writes, so that what was validated stays true.
#include "engine/owned_index.h"
#include "engine/transaction/transaction_impl.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::engine {
namespace {

/// Beside LockKey::schema, which data writers share: whoever changes rules holds this one alone.
LockKey rules_lock(DatabaseId database) {
    return {LockKind::kSchema, database, 1};
}

}  // namespace

Result<> TransactionImpl::begin_schema_change(bool exclusive) {
    const bool first = writes_ == Writes::kNone;
    NORNIC_TRY(begin_write(Writes::kSchema));
    NORNIC_TRY(lock(rules_lock(database_->info.id), LockMode::kExclusive));
    if (exclusive) {
        NORNIC_TRY(lock(LockKey::schema(database_->info.id), LockMode::kExclusive));
    }
    if (first) {
        working_schema_ = *database_->schema.schema();
    }
    if (first || exclusive) {
        // What was committed while we waited counts.
        engine_.snapshots().release(snapshot_);
        open_snapshot();
    }
    return success();
}

SchemaRuleId TransactionImpl::next_rule_id() {
    std::uint32_t next = database_->schema.next_id().value;
    for (const RuleChange& change : rule_changes_) {
        next = std::max(next, change.id.value + 1);
    }
    return SchemaRuleId{next};
}

Result<std::vector<PropertyKeyId>> TransactionImpl::keys_or_create(
    const std::vector<std::string>& names) {
    std::vector<PropertyKeyId> keys;
    for (const std::string& name : names) {
        NORNIC_TRY(const PropertyKeyId key, property_key_or_create(name));
        keys.push_back(key);
    }
    return keys;
}

Result<> TransactionImpl::create_index(const IndexDefinition& definition) {
    NORNIC_TRY(begin_schema_change(false));
    IndexRule rule;
    rule.name = definition.name;
    rule.type = definition.type;
    rule.entity = definition.entity;
    rule.options = definition.options;
    for (const std::string& name : definition.tokens) {
        NORNIC_TRY(const std::uint32_t token,
                   token_or_create(rule.entity == EntityKind::kNode ? TokenKind::kLabel
                                                                    : TokenKind::kRelationshipType,
                                   name));
        rule.tokens.push_back(token);
    }
    NORNIC_TRY(rule.properties, keys_or_create(definition.properties));
    if (rule.name.empty()) {
        rule.name = default_name(rule, tokens());
    }
    NORNIC_TRY(check_new_index(working_schema_, rule, tokens()));
    rule.id = next_rule_id();
    RuleChange change{WriteOp::kPutIndex, {}, rule.id};
    ByteWriter out{change.encoded};
    encode_rule(rule, out);
    rule_changes_.push_back(std::move(change));
    working_schema_.indexes.push_back(
        IndexView{rule, IndexState::kPopulating, 0.0, {}, 0, 0, 0, 0});
    counters_.indexes_added += 1;
    return success();
}

Result<> TransactionImpl::create_constraint(const ConstraintDefinition& definition) {
    NORNIC_TRY(begin_schema_change(true));
    ConstraintRule rule;
    rule.name = definition.name;
    rule.type = definition.type;
    rule.entity = definition.entity;
    rule.property_types = definition.property_types;
    NORNIC_TRY(rule.token,
               token_or_create(rule.entity == EntityKind::kNode ? TokenKind::kLabel
                                                                : TokenKind::kRelationshipType,
                               definition.token));
    NORNIC_TRY(rule.properties, keys_or_create(definition.properties));
    if (rule.name.empty()) {
        rule.name = default_name(rule, tokens());
    }
    NORNIC_TRY(check_new_constraint(working_schema_, rule, tokens()));
    NORNIC_TRY(validate_existing(rule));
    rule.id = next_rule_id();
    if (rule.type == ConstraintType::kUnique || rule.type == ConstraintType::kKey) {
        IndexRule index;
        index.id = rule.id;
        ++rule.id;
        index.name = rule.name;
        index.entity = rule.entity;
        index.tokens = {rule.token};
        index.properties = rule.properties;
        index.owning_constraint = rule.id;
        rule.owned_index = index.id;
        RuleChange change{WriteOp::kPutIndex, {}, index.id};
        ByteWriter out{change.encoded};
        encode_rule(index, out);
        rule_changes_.push_back(std::move(change));
        awaited_indexes_.push_back(index.id);
        working_schema_.indexes.push_back(
            IndexView{std::move(index), IndexState::kPopulating, 0.0, {}, 0, 0, 0, 0});
    }
    RuleChange change{WriteOp::kPutConstraint, {}, rule.id};
    ByteWriter out{change.encoded};
    encode_rule(rule, out);
    rule_changes_.push_back(std::move(change));
    working_schema_.constraints.push_back(std::move(rule));
    counters_.constraints_added += 1;
    return success();
}

Result<> TransactionImpl::drop_index(std::string_view name) {
    NORNIC_TRY(begin_schema_change(false));
    NORNIC_TRY(const IndexRule* rule, check_drop_index(working_schema_, name));
    const SchemaRuleId id = rule->id;
    rule_changes_.push_back(RuleChange{WriteOp::kDropRule, {}, id});
    std::erase_if(working_schema_.indexes,
                  [&](const IndexView& view) { return view.rule.id == id; });
    counters_.indexes_removed += 1;
    return success();
}

Result<> TransactionImpl::drop_constraint(std::string_view name) {
    NORNIC_TRY(begin_schema_change(true));
    NORNIC_TRY(const ConstraintRule* rule, check_drop_constraint(working_schema_, name));
    const SchemaRuleId id = rule->id;
    const IndexView* const own = index_of(working_schema_, *rule);
    const std::optional<SchemaRuleId> index = own != nullptr ? std::optional{own->rule.id} : std::nullopt;
    rule_changes_.push_back(RuleChange{WriteOp::kDropRule, {}, id});
    if (index) {
        rule_changes_.push_back(RuleChange{WriteOp::kDropRule, {}, *index});
    }
    std::erase_if(working_schema_.constraints, [&](const ConstraintRule& c) { return c.id == id; });
    std::erase_if(working_schema_.indexes,
                  [&](const IndexView& view) { return index && view.rule.id == *index; });
    counters_.constraints_removed += 1;
    return success();
}

}  // namespace nornic::engine
