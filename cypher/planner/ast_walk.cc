#include "cypher/planner/ast_walk.h"

#include <functional>

namespace nornic::cypher {
namespace {

void add_set_items(const std::vector<SetItem>& items, const std::function<void(const Expr&)>& fn) {
    for (const SetItem& item : items) {
        for (const ExprPtr* e : {&item.target, &item.dynamic_key, &item.value}) {
            if (*e) {
                fn(**e);
            }
        }
    }
}

void add_projection(const Projection& p, const std::function<void(const Expr&)>& fn) {
    for (const ProjectionItem& item : p.items) {
        if (item.expression) {
            fn(*item.expression);
        }
    }
    for (const SortItem& item : p.order_by) {
        fn(*item.expression);
    }
    if (p.skip) {
        fn(*p.skip);
    }
    if (p.limit) {
        fn(*p.limit);
    }
}

}  // namespace

void for_each_expr(const Clause& clause, const std::function<void(const Expr&)>& fn) {
    const auto visit = [&](const ExprPtr& e) {
        if (e) {
            fn(*e);
        }
    };
    std::visit(
        [&](const auto& c) {
            using T = std::decay_t<decltype(c)>;
            if constexpr (std::is_same_v<T, MatchClause>) {
                for (const PathPattern& p : c.patterns) {
                    for_each_expr(p, fn);
                }
                visit(c.where);
            } else if constexpr (std::is_same_v<T, UnwindClause>) {
                visit(c.list);
            } else if constexpr (std::is_same_v<T, WithClause>) {
                add_projection(c.projection, fn);
                visit(c.where);
            } else if constexpr (std::is_same_v<T, ReturnClause>) {
                add_projection(c.projection, fn);
            } else if constexpr (std::is_same_v<T, CreateClause>) {
                for (const PathPattern& p : c.patterns) {
                    for_each_expr(p, fn);
                }
            } else if constexpr (std::is_same_v<T, SetClause>) {
                add_set_items(c.items, fn);
            } else if constexpr (std::is_same_v<T, RemoveClause>) {
                for (const RemoveItem& item : c.items) {
                    visit(item.target);
                    visit(item.dynamic_key);
                }
            } else if constexpr (std::is_same_v<T, DeleteClause>) {
                for (const ExprPtr& e : c.expressions) {
                    visit(e);
                }
            } else if constexpr (std::is_same_v<T, MergeClause>) {
                for_each_expr(c.pattern, fn);
                add_set_items(c.on_create, fn);
                add_set_items(c.on_match, fn);
            } else if constexpr (std::is_same_v<T, CallClause>) {
                if (c.arguments) {
                    for (const ExprPtr& e : *c.arguments) {
                        visit(e);
                    }
                }
                visit(c.where);
            } else if constexpr (std::is_same_v<T, SubqueryClause>) {
                if (c.in_transactions) {
                    visit(c.in_transactions->batch_size);
                }
            } else if constexpr (std::is_same_v<T, ForeachClause>) {
                visit(c.list);
            } else if constexpr (std::is_same_v<T, LoadCsvClause>) {
                visit(c.url);
            }
        },
        clause.body);
}

void collect_symbols(const PathPattern& pattern, std::set<Symbol>& out) {
    if (pattern.symbol != kNoSymbol) {
        out.insert(pattern.symbol);
    }
    for (const NodePattern& n : pattern.nodes) {
        out.insert(n.symbol);
    }
    for (const RelPattern& r : pattern.relationships) {
        out.insert(r.symbol);
    }
    for_each_expr(pattern, [&](const Expr& e) { collect_symbols(e, out); });
}

void collect_symbols(const Clause& clause, std::set<Symbol>& out) {
    for_each_expr(clause, [&](const Expr& e) { collect_symbols(e, out); });
    if (const auto* m = std::get_if<MatchClause>(&clause.body)) {
        for (const PathPattern& p : m->patterns) {
            collect_symbols(p, out);
        }
    } else if (const auto* c = std::get_if<CreateClause>(&clause.body)) {
        for (const PathPattern& p : c->patterns) {
            collect_symbols(p, out);
        }
    } else if (const auto* g = std::get_if<MergeClause>(&clause.body)) {
        collect_symbols(g->pattern, out);
    } else if (const auto* s = std::get_if<SubqueryClause>(&clause.body)) {
        out.insert(s->import_symbols.begin(), s->import_symbols.end());
        collect_symbols(*s->query, out);
    } else if (const auto* f = std::get_if<ForeachClause>(&clause.body)) {
        for (const Clause& u : f->updates) {
            collect_symbols(u, out);
        }
    } else if (const auto* w = std::get_if<WithClause>(&clause.body)) {
        for (const ProjectionItem& i : w->projection.items) {
            out.insert(i.symbol);
        }
    } else if (const auto* r = std::get_if<ReturnClause>(&clause.body)) {
        for (const ProjectionItem& i : r->projection.items) {
            out.insert(i.symbol);
        }
    }
}

void collect_symbols(const Query& query, std::set<Symbol>& out) {
    for (const SingleQuery& part : query.parts) {
        for (const Clause& clause : part.clauses) {
            collect_symbols(clause, out);
        }
    }
}

void collect_symbols(const Expr& expr, std::set<Symbol>& out) {
    switch (expr.kind) {
        case ExprKind::kVariable:
            out.insert(static_cast<const Variable&>(expr).symbol);
            break;
        case ExprKind::kPatternComprehension:
            collect_symbols(static_cast<const PatternComprehension&>(expr).pattern, out);
            break;
        case ExprKind::kPatternPredicate:
            collect_symbols(static_cast<const PatternPredicate&>(expr).pattern, out);
            break;
        case ExprKind::kShortestPath:
            collect_symbols(static_cast<const ShortestPathExpr&>(expr).pattern, out);
            break;
        case ExprKind::kSubquery:
            collect_symbols(*static_cast<const SubqueryExpr&>(expr).query, out);
            break;
        default:
            break;
    }
    for_each_child(expr, [&](const Expr& e) { collect_symbols(e, out); });
}

bool has_nested_plan(const Expr& expr) {
    if (expr.kind == ExprKind::kSubquery || expr.kind == ExprKind::kPatternPredicate ||
        expr.kind == ExprKind::kPatternComprehension || expr.kind == ExprKind::kShortestPath) {
        return true;
    }
    bool found = false;
    for_each_child(expr, [&](const Expr& e) { found = found || has_nested_plan(e); });
    return found;
}

bool has_aggregate(const Expr& expr) {
    if (expr.kind == ExprKind::kCountStar) {
        return true;
    }
    if (expr.kind == ExprKind::kFunction && static_cast<const FunctionCall&>(expr).aggregating) {
        return true;
    }
    bool found = false;
    for_each_child(expr, [&](const Expr& e) { found = found || has_aggregate(e); });
    return found;
}

}  // namespace nornic::cypher
