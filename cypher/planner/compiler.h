// Compiles expressions of the tree into nodes that run. Names are symbols by now, so this is a
// walk; what needs plans of its own (EXISTS, pattern comprehensions) is asked of the planner.
#pragma once

#include "cypher/ast/expression.h"
#include "cypher/execution/compiled_expr.h"
#include "cypher/planner/plan.h"

#include <functional>
#include <map>
#include <string>
#include <unordered_map>

namespace nornic::cypher {

/// What a statement's plan is made of besides its tree. Owned by the prepared query.
struct PlanSpace {
    PlanTokens tokens;
    std::uint32_t slots = 0;
    std::uint32_t arguments = 0;
    std::vector<PlanPtr> nested;  // plans inside expressions
    std::vector<ExprPtr> made;    // expressions the planner wrote
    std::vector<std::string> slot_names;
    std::unordered_map<std::string, TokenIndex> label_index;
    std::unordered_map<std::string, TokenIndex> type_index;
    std::unordered_map<std::string, TokenIndex> key_index;

    TokenIndex label(const std::string& name);
    TokenIndex type(const std::string& name);
    TokenIndex key(const std::string& name);
    Slot new_slot(std::string name);
};

/// A property read that the plan has already done into a slot.
using CachedProperties = std::map<std::pair<Slot, TokenIndex>, Slot>;

class Compiler {
public:
    /// Makes the nested plan of a subquery expression: EXISTS, COUNT, COLLECT, pattern predicates
    /// and comprehensions, shortestPath().
    using NestedExpr = std::function<CompiledPtr(const Expr&)>;

    Compiler(PlanSpace& space, NestedExpr nested) : space_{space}, nested_{std::move(nested)} {}

    CompiledPtr compile(const Expr& expr);
    CompiledLabels compile_labels(const LabelExpr& labels, bool relationship);
    PropertySource compile_properties(const Expr* properties);

    /// While set, an expression whose key() is found is read from that slot (after an aggregation).
    std::unordered_map<std::string, Slot> replaced;
    /// Names that semantics could not resolve, since their columns come from a procedure.
    std::unordered_map<std::string, Slot> named;

    /// A text that is equal for equal expressions.
    static std::string key(const Expr& expr);

private:
    CompiledPtr compile_inner(const Expr& expr);
    CompiledPtr fold(CompiledPtr expr);
    CompiledPtr binary(const Binary& expr);
    CompiledPtr function(const FunctionCall& expr);

    PlanSpace& space_;
    NestedExpr nested_;
};

}  // namespace nornic::cypher
