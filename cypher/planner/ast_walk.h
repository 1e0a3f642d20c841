// What planning asks of the tree: expressions of clauses, symbols they mention. The walk over an
// expression itself is in ast/walk.h.
#pragma once

#include "cypher/ast/statement.h"
#include "cypher/ast/walk.h"

#include <functional>
#include <set>
#include <string>

namespace nornic::cypher {

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

/// All symbols that occur in the expression, those of nested patterns and queries included.
void collect_symbols(const Expr& expr, std::set<Symbol>& out);
void collect_symbols(const PathPattern& pattern, std::set<Symbol>& out);
void collect_symbols(const Query& query, std::set<Symbol>& out);
void collect_symbols(const Clause& clause, std::set<Symbol>& out);
/// The expression for people, as EXPLAIN shows it.
std::string expr_text(const Expr& expr);
/// Whether it holds an aggregating call (not inside a nested query).
bool has_aggregate(const Expr& expr);
/// Whether it holds a pattern or a query, which has symbols and a plan of its own.
bool has_nested_plan(const Expr& expr);

}  // namespace nornic::cypher
