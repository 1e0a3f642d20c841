// Visits the direct children of an expression: for analysis and rewriting without a class per pass.
#pragma once

#include "cypher/ast/expression.h"

namespace nornic::cypher {

namespace detail {
template <class F>
void visit_if(ExprPtr& e, F& f) {
    if (e) {
        f(e);
    }
}
}  // namespace detail

/// Calls f(ExprPtr&) for each expression in a pattern: properties and inline WHERE.
template <class F>
void for_each_child(PathPattern& pattern, F&& f) {
    for (std::size_t i = 0; i < pattern.nodes.size(); ++i) {
        detail::visit_if(pattern.nodes[i].properties, f);
        detail::visit_if(pattern.nodes[i].where, f);
        if (i < pattern.relationships.size()) {
            detail::visit_if(pattern.relationships[i].properties, f);
            detail::visit_if(pattern.relationships[i].where, f);
        }
    }
}

/// Calls f(ExprPtr&) for each direct child, in the order of the text. f may replace it. The query
/// of a subquery expression is not entered: it is a scope of its own.
template <class F>
void for_each_child(Expr& expr, F&& f) {
    switch (expr.kind) {
        case ExprKind::kLiteral:
        case ExprKind::kParameter:
        case ExprKind::kVariable:
        case ExprKind::kCountStar:
        case ExprKind::kSubquery:
            return;
        case ExprKind::kProperty:
            return detail::visit_if(static_cast<Property&>(expr).base, f);
        case ExprKind::kLabelCheck:
            return detail::visit_if(static_cast<LabelCheck&>(expr).base, f);
        case ExprKind::kUnary:
            return detail::visit_if(static_cast<Unary&>(expr).operand, f);
        case ExprKind::kBinary: {
            auto& e = static_cast<Binary&>(expr);
            detail::visit_if(e.left, f);
            detail::visit_if(e.right, f);
            return;
        }
        case ExprKind::kIsNull:
            return detail::visit_if(static_cast<IsNull&>(expr).operand, f);
        case ExprKind::kTypeCheck:
            return detail::visit_if(static_cast<TypeCheck&>(expr).operand, f);
        case ExprKind::kNormalizedCheck:
            return detail::visit_if(static_cast<NormalizedCheck&>(expr).operand, f);
        case ExprKind::kList:
            for (auto& item : static_cast<ListLiteral&>(expr).items) {
                f(item);
            }
            return;
        case ExprKind::kMap:
            for (auto& entry : static_cast<MapLiteral&>(expr).entries) {
                f(entry.second);
            }
            return;
        case ExprKind::kIndex: {
            auto& e = static_cast<IndexAccess&>(expr);
            detail::visit_if(e.base, f);
            detail::visit_if(e.index, f);
            return;
        }
        case ExprKind::kSlice: {
            auto& e = static_cast<Slice&>(expr);
            detail::visit_if(e.base, f);
            detail::visit_if(e.from, f);
            detail::visit_if(e.to, f);
            return;
        }
        case ExprKind::kFunction:
            for (auto& argument : static_cast<FunctionCall&>(expr).arguments) {
                f(argument);
            }
            return;
        case ExprKind::kCase: {
            auto& e = static_cast<Case&>(expr);
            detail::visit_if(e.subject, f);
            for (auto& alternative : e.alternatives) {
                f(alternative.first);
                f(alternative.second);
            }
            detail::visit_if(e.otherwise, f);
            return;
        }
        case ExprKind::kListComprehension: {
            auto& e = static_cast<ListComprehension&>(expr);
            detail::visit_if(e.list, f);
            detail::visit_if(e.where, f);
            detail::visit_if(e.projection, f);
            return;
        }
        case ExprKind::kPatternComprehension: {
            auto& e = static_cast<PatternComprehension&>(expr);
            for_each_child(e.pattern, f);
            detail::visit_if(e.where, f);
            detail::visit_if(e.projection, f);
            return;
        }
        case ExprKind::kQuantifier: {
            auto& e = static_cast<Quantifier&>(expr);
            detail::visit_if(e.list, f);
            detail::visit_if(e.where, f);
            return;
        }
        case ExprKind::kReduce: {
            auto& e = static_cast<Reduce&>(expr);
            detail::visit_if(e.initial, f);
            detail::visit_if(e.list, f);
            detail::visit_if(e.step, f);
            return;
        }
        case ExprKind::kMapProjection: {
            auto& e = static_cast<MapProjection&>(expr);
            detail::visit_if(e.base, f);
            for (auto& item : e.items) {
                detail::visit_if(item.value, f);
            }
            return;
        }
        case ExprKind::kPatternPredicate:
            return for_each_child(static_cast<PatternPredicate&>(expr).pattern, f);
        case ExprKind::kShortestPath:
            return for_each_child(static_cast<ShortestPathExpr&>(expr).pattern, f);
    }
}

/// Read-only: f(const Expr&).
template <class F>
void for_each_child(const Expr& expr, F&& f) {
    // The children are reached through the same switch; f gets no way to change them.
    for_each_child(const_cast<Expr&>(expr),
                   [&](ExprPtr& child) { f(static_cast<const Expr&>(*child)); });  // NOLINT
}

/// Whether two resolved expressions say the same: kinds, names, symbols and literals equal;
/// positions aside. Two calls of a random function or two subqueries are never the same.
bool same_expression(const Expr& a, const Expr& b);

}  // namespace nornic::cypher
