// Walks over the tree: children of an expression, symbols it mentions.
#pragma once

#include "cypher/ast/statement.h"

#include <functional>
#include <set>
#include <string>

namespace nornic::cypher {

template <class Fn>
void for_each_child(const Expr& expr, const Fn& fn);

template <class Fn>
void for_each_expr(const PathPattern& pattern, const Fn& fn) {
    const auto visit = [&](const ExprPtr& e) {
        if (e) {
            fn(*e);
        }
    };
    for (const NodePattern& n : pattern.nodes) {
        visit(n.properties);
        visit(n.where);
    }
    for (const RelPattern& r : pattern.relationships) {
        visit(r.properties);
        visit(r.where);
    }
}

/// Every direct expression of a clause (patterns' included, nested queries not).
void for_each_expr(const Clause& clause, const std::function<void(const Expr&)>& fn);

template <class Fn>
void for_each_child(const Expr& expr, const Fn& fn) {
    const auto visit = [&](const ExprPtr& e) {
        if (e) {
            fn(*e);
        }
    };
    switch (expr.kind) {
        case ExprKind::kLiteral:
        case ExprKind::kParameter:
        case ExprKind::kVariable:
        case ExprKind::kCountStar:
            break;
        case ExprKind::kProperty:
            visit(static_cast<const Property&>(expr).base);
            break;
        case ExprKind::kLabelCheck:
            visit(static_cast<const LabelCheck&>(expr).base);
            break;
        case ExprKind::kUnary:
            visit(static_cast<const Unary&>(expr).operand);
            break;
        case ExprKind::kBinary:
            visit(static_cast<const Binary&>(expr).left);
            visit(static_cast<const Binary&>(expr).right);
            break;
        case ExprKind::kIsNull:
            visit(static_cast<const IsNull&>(expr).operand);
            break;
        case ExprKind::kTypeCheck:
            visit(static_cast<const TypeCheck&>(expr).operand);
            break;
        case ExprKind::kNormalizedCheck:
            visit(static_cast<const NormalizedCheck&>(expr).operand);
            break;
        case ExprKind::kList:
            for (const ExprPtr& e : static_cast<const ListLiteral&>(expr).items) {
                visit(e);
            }
            break;
        case ExprKind::kMap:
            for (const auto& [k, e] : static_cast<const MapLiteral&>(expr).entries) {
                visit(e);
            }
            break;
        case ExprKind::kIndex:
            visit(static_cast<const IndexAccess&>(expr).base);
            visit(static_cast<const IndexAccess&>(expr).index);
            break;
        case ExprKind::kSlice:
            visit(static_cast<const Slice&>(expr).base);
            visit(static_cast<const Slice&>(expr).from);
            visit(static_cast<const Slice&>(expr).to);
            break;
        case ExprKind::kFunction:
            for (const ExprPtr& e : static_cast<const FunctionCall&>(expr).arguments) {
                visit(e);
            }
            break;
        case ExprKind::kCase: {
            const auto& c = static_cast<const Case&>(expr);
            visit(c.subject);
            for (const auto& [when, then] : c.alternatives) {
                visit(when);
                visit(then);
            }
            visit(c.otherwise);
            break;
        }
        case ExprKind::kListComprehension:
            visit(static_cast<const ListComprehension&>(expr).list);
            visit(static_cast<const ListComprehension&>(expr).where);
            visit(static_cast<const ListComprehension&>(expr).projection);
            break;
        case ExprKind::kPatternComprehension:
            for_each_expr(static_cast<const PatternComprehension&>(expr).pattern, fn);
            visit(static_cast<const PatternComprehension&>(expr).where);
            visit(static_cast<const PatternComprehension&>(expr).projection);
            break;
        case ExprKind::kQuantifier:
            visit(static_cast<const Quantifier&>(expr).list);
            visit(static_cast<const Quantifier&>(expr).where);
            break;
        case ExprKind::kReduce:
            visit(static_cast<const Reduce&>(expr).initial);
            visit(static_cast<const Reduce&>(expr).list);
            visit(static_cast<const Reduce&>(expr).step);
            break;
        case ExprKind::kMapProjection:
            visit(static_cast<const MapProjection&>(expr).base);
            for (const MapProjection::Item& item : static_cast<const MapProjection&>(expr).items) {
                visit(item.value);
            }
            break;
        case ExprKind::kPatternPredicate:
            for_each_expr(static_cast<const PatternPredicate&>(expr).pattern, fn);
            break;
        case ExprKind::kShortestPath:
            for_each_expr(static_cast<const ShortestPathExpr&>(expr).pattern, fn);
            break;
        case ExprKind::kSubquery:
            break;  // Its query: for_each_clause.
    }
}

/// All symbols that occur in the expression, those of nested patterns and queries included.
void collect_symbols(const Expr& expr, std::set<Symbol>& out);
void collect_symbols(const PathPattern& pattern, std::set<Symbol>& out);
void collect_symbols(const Query& query, std::set<Symbol>& out);
void collect_symbols(const Clause& clause, std::set<Symbol>& out);
/// The expression for people, as EXPLAIN shows it.
std::string expr_text(const Expr& expr);
/// Whether it holds an aggregating call (not inside a nested query).
bool has_aggregate(const Expr& expr);

}  // namespace nornic::cypher
