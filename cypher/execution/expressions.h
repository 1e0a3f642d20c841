// The node classes of compiled expressions that operators or passes look into.
#pragma once

#include "cypher/execution/compiled_expr.h"

namespace nornic::cypher {

class ConstantExpr final : public CompiledExpr {
public:
    explicit ConstantExpr(Value v) : value_{std::move(v)} {}
    const Value& eval(Row, ExecContext&, Value&) const override { return value_; }
    [[nodiscard]] bool constant() const noexcept override { return true; }
    [[nodiscard]] const Value& value() const noexcept { return value_; }

private:
    Value value_;
};

class SlotExpr final : public CompiledExpr {
public:
    explicit SlotExpr(Slot s) : slot_{s} {}
    const Value& eval(Row row, ExecContext&, Value&) const override { return row[slot_]; }
    [[nodiscard]] Slot slot() const noexcept override { return slot_; }

private:
    Slot slot_;
};

/// Null where the parameter is missing: semantics has checked that it is there.
class ParameterExpr final : public CompiledExpr {
public:
    explicit ParameterExpr(std::string n) : name_{std::move(n)} {}
    const Value& eval(Row, ExecContext& context, Value& scratch) const override;

private:
    std::string name_;
};

/// slot.key of a node or relationship by id, of anything else by name. May be told later that the
/// value is found in a slot: see CacheProperties.
class SlotPropertyExpr final : public CompiledExpr {
public:
    SlotPropertyExpr(Slot base, TokenIndex key) : base_{base}, key_{key} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override;
    [[nodiscard]] Slot base() const noexcept { return base_; }
    [[nodiscard]] TokenIndex key() const noexcept { return key_; }

private:
    Slot base_;
    TokenIndex key_;
};

/// The property of whatever value. Throws kEntityNotFound where this transaction deleted the
/// entity.
const Value& read_property(const Value& base, TokenIndex key, ExecContext& context, Value& scratch);

}  // namespace nornic::cypher
