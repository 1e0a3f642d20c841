// An expression ready to run: a tree of nodes that know their slots. Immutable and shared between
// executions of a plan.
#pragma once

#include "cypher/execution/batch.h"
#include "cypher/execution/context.h"

#include <memory>
#include <vector>

namespace nornic::cypher {

class CompiledExpr {
public:
    CompiledExpr() = default;
    CompiledExpr(const CompiledExpr&) = delete;
    CompiledExpr& operator=(const CompiledExpr&) = delete;
    virtual ~CompiledExpr() = default;

    /// The value: a reference to where it already is (a slot, a constant, a parameter), or
    /// `scratch` after the value was put there. Valid until the row, or scratch, changes. Throws
    /// QueryError.
    virtual const Value& eval(Row row, ExecContext& context, Value& scratch) const = 0;
    [[nodiscard]] Value get(Row row, ExecContext& context) const {
        Value scratch;
        const Value& v = eval(row, context, scratch);
        return &v == &scratch ? std::move(scratch) : v;
    }
    [[nodiscard]] bool is_true(Row row, ExecContext& context) const {
        Value scratch;
        return eval(row, context, scratch).is_true();
    }
    /// Gives the same value on every row of every execution.
    [[nodiscard]] virtual bool constant() const noexcept { return false; }
    /// The slot if it is nothing but a slot.
    [[nodiscard]] virtual Slot slot() const noexcept { return kNoSlot; }
};
using CompiledPtr = std::shared_ptr<const CompiledExpr>;

CompiledPtr make_constant(Value value);
CompiledPtr make_slot(Slot slot);

}  // namespace nornic::cypher
