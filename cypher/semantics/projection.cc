// WITH and RETURN: items, grouping, ORDER BY, SKIP, LIMIT and the scope behind.

#include "cypher/ast/print.h"
#include "cypher/ast/walk.h"
#include "cypher/lexer/keywords.h"
#include "cypher/semantics/analyser.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::cypher {
namespace {

bool contains_aggregate(const Expr& e) {
    if (e.kind == ExprKind::kCountStar ||
        (e.kind == ExprKind::kFunction && static_cast<const FunctionCall&>(e).aggregating)) {
        return true;
    }
    bool found = false;
    for_each_child(e, [&](const Expr& child) { found = found || contains_aggregate(child); });
    return found;
}

/// x, x.a, x.a.b: what an aggregating item may repeat from the grouping items.
bool is_simple(const Expr& e) {
    if (e.kind == ExprKind::kVariable) {
        return true;
    }
    return e.kind == ExprKind::kProperty && is_simple(*static_cast<const Property&>(e).base);
}

const Variable* variable_in(const Expr& e, const std::function<bool(const Variable&)>& wanted) {
    if (e.kind == ExprKind::kVariable) {
        const auto& v = static_cast<const Variable&>(e);
        return wanted(v) ? &v : nullptr;
    }
    const Variable* found = nullptr;
    for_each_child(e, [&](const Expr& child) {
        found = found == nullptr ? variable_in(child, wanted) : found;
    });
    return found;
}

}  // namespace

void Analyser::expand_star(Projection& p, bool is_with, SourcePosition at) {
    std::vector<std::string> names;
    names.reserve(scope_.size());
    for (const auto& [name, symbol] : scope_) {
        if (!base_.contains(name) || base_.at(name) != symbol || is_with) {
            names.push_back(name);
        }
    }
    if (names.empty() && !is_with && p.items.empty()) {
        fail(at, "RETURN * is not allowed when there are no variables in scope", "42001>42I37");
    }
    std::ranges::sort(names);
    std::vector<ProjectionItem> items;
    for (auto& name : names) {
        ProjectionItem item;
        item.expression = std::make_unique<Variable>(at, name);
        item.expression->text = name;
        item.alias = std::move(name);
        item.position = at;
        items.push_back(std::move(item));
    }
    p.items.insert(p.items.begin(),
                   std::make_move_iterator(items.begin()),
                   std::make_move_iterator(items.end()));
}

void Analyser::find_ungrouped(const Expr& e,
                              const Projection& p,
                              const std::vector<bool>& aggregating,
                              std::vector<std::string>& out) {
    if (e.kind == ExprKind::kCountStar ||
        (e.kind == ExprKind::kFunction && static_cast<const FunctionCall&>(e).aggregating)) {
        return;
    }
    if (is_simple(e)) {
        for (const Expr* part = &e; part != nullptr;) {
            for (std::size_t i = 0; i < p.items.size(); ++i) {
                if (!aggregating[i] && same_expression(*p.items[i].expression, *part)) {
                    return;
                }
            }
            part = part->kind == ExprKind::kProperty
                       ? static_cast<const Property&>(*part).base.get()
                       : nullptr;
        }
        // A variable of a comprehension inside this very expression is no key.
        const auto outer = [&](const Variable& v) {
            const auto it = scope_.find(v.name);
            return it != scope_.end() && it->second == v.symbol;
        };
        if (variable_in(e, outer) != nullptr) {
            out.push_back(to_text(e));
        }
        return;
    }
    for_each_child(e, [&](const Expr& child) { find_ungrouped(child, p, aggregating, out); });
}

void Analyser::check_grouping(const Projection& p, const std::vector<bool>& aggregating) {
    for (std::size_t i = 0; i < p.items.size(); ++i) {
        if (!aggregating[i]) {
            continue;
        }
        std::vector<std::string> illegal;
        find_ungrouped(*p.items[i].expression, p, aggregating, illegal);
        if (!illegal.empty()) {
            fail(p.items[i].expression->position,
                 fmt::format("Aggregation column contains implicit grouping expressions. For "
                             "example, in 'RETURN n.a, n.a + n.b + count(*)' the "
                             "aggregation expression 'n.a + n.b + count(*)' includes the implicit "
                             "grouping key 'n.b'. It may be possible to rewrite "
                             "the query by extracting these grouping/aggregation expressions into "
                             "a preceding WITH clause. Illegal expression(s): {}",
                             fmt::join(illegal, ", ")),
                 "42001>42I18");
        }
    }
}

void Analyser::replace_projected(ExprPtr& e,
                                 const Projection& p,
                                 const std::vector<bool>& aggregating,
                                 bool whole,
                                 bool has_aggregate) {
    for (std::size_t i = 0; i < p.items.size(); ++i) {
        const auto& item = p.items[i];
        if (item.expression->kind == ExprKind::kLiteral ||
            item.expression->kind == ExprKind::kParameter) {
            continue;
        }
        // Beside an aggregate, a grouping item is recognised only if it is simple, as in the items
        // themselves.
        const bool usable =
            whole || aggregating[i] || !has_aggregate || is_simple(*item.expression);
        if (usable && same_expression(*item.expression, *e)) {
            auto v = std::make_unique<Variable>(e->position, item.alias);
            v->symbol = item.symbol;
            v->text = e->text;
            e = std::move(v);
            return;
        }
    }
    for_each_child(*e, [&](ExprPtr& child) {
        replace_projected(child, p, aggregating, false, has_aggregate);
    });
}

void Analyser::resolve_after(ExprPtr& e,
                             const Projection& p,
                             const Scope& before,
                             const Scope& after,
                             const std::vector<bool>& aggregating,
                             bool closed,
                             bool predicate,
                             std::string_view clause) {
    scope_ = before;
    for (const auto& [name, symbol] : after) {
        scope_[name] = symbol;
    }
    const bool any_aggregate = std::ranges::find(aggregating, true) != aggregating.end();
    const std::size_t seen = aggregates_seen_;
    const auto outer =
        std::exchange(aggregates_, any_aggregate ? Aggregates::kAllowed : Aggregates::kForbidden);
    if (predicate) {
        check_predicate(e);
    } else {
        check(e);
    }
    aggregates_ = outer;
    aggregates_seen_ = seen;
    const bool has_aggregate = contains_aggregate(*e);
    replace_projected(e, p, aggregating, true, has_aggregate);
    if (!closed) {
        return;
    }
    // What is left may read the items and the names of its own comprehensions, nothing from before.
    const auto from_before = [&](const Variable& v) {
        const auto now = after.find(v.name);
        if (now != after.end() && now->second == v.symbol) {
            return false;
        }
        const auto then = before.find(v.name);
        if (then == before.end() || then->second != v.symbol) {
            return false;
        }
        return !std::ranges::any_of(p.items, [&](const ProjectionItem& item) {
            return item.symbol == v.symbol;
        }) && !(base_.contains(v.name) && base_.at(v.name) == v.symbol);
    };
    if (const Variable* v = variable_in(*e, from_before)) {
        if (has_aggregate && clause == "RETURN") {
            fail(e->position,
                 fmt::format("Aggregation column contains implicit grouping expressions. Illegal "
                             "expression(s): {}",
                             v->name),
                 "42001>42I18");
        }
        fail(v->position,
             fmt::format("In a WITH/RETURN with DISTINCT or an aggregation, it is not possible to "
                         "access variables declared before the WITH/RETURN: {}",
                         v->name),
             "42001>42N44");
    }
    if (contains_aggregate(*e)) {
        fail(e->position,
             fmt::format("Illegal aggregation in {}: it must also be an item of the projection",
                         predicate ? "WHERE" : "ORDER BY"),
             "42001>42I24");
    }
}

void Analyser::check_row_count(ExprPtr& e, std::string_view clause) {
    const Variable* v = variable_in(*e, [](const Variable&) { return true; });
    const bool reads_graph = e->kind == ExprKind::kPatternPredicate ||
                             e->kind == ExprKind::kPatternComprehension ||
                             e->kind == ExprKind::kSubquery;
    if (v != nullptr || reads_graph) {
        fail(v != nullptr ? v->position : e->position,
             fmt::format("It is not allowed to refer to variables in {}, so that the value for {} "
                         "can be statically calculated",
                         clause,
                         clause),
             "42001>42I58");
    }
    const StaticType t = check(e);
    if (e->kind == ExprKind::kLiteral) {
        const auto& value = static_cast<const Literal&>(*e).value;
        if (!value.is(ValueType::kInteger) || value.as_integer() < 0) {
            fail(e->position,
                 fmt::format(
                     "Invalid input. '{}' is not a valid value. Must be a non-negative integer.",
                     to_plain_text(value)),
                 "42001>42N31");
        }
        return;
    }
    require(*e, t, types::kInteger, "22G03>22N27");
}

void Analyser::analyse_projection(
    Projection& p, ExprPtr* where, bool is_with, QueryKind kind, SourcePosition at) {
    if (p.star) {
        expand_star(p, is_with, at);
    }
    const Scope before = scope_;
    std::vector<bool> aggregating;
    std::vector<StaticType> item_types;
    const auto outer_aggregates = std::exchange(aggregates_, Aggregates::kAllowed);
    for (auto& item : p.items) {
        const std::size_t seen = aggregates_seen_;
        item_types.push_back(check(item.expression));
        aggregating.push_back(aggregates_seen_ != seen);
    }
    aggregates_ = outer_aggregates;
    if (std::ranges::find(aggregating, true) != aggregating.end()) {
        check_grouping(p, aggregating);
    }
    Scope after = base_;
    std::unordered_set<std::string> names;
    for (std::size_t i = 0; i < p.items.size(); ++i) {
        auto& item = p.items[i];
        const bool is_variable = item.expression->kind == ExprKind::kVariable;
        if (!item.aliased && !is_variable && is_with) {
            fail(item.position, "Expression in WITH must be aliased (use AS)", "42001>42N21");
        }
        if (!item.aliased && !is_variable && kind == QueryKind::kCall) {
            fail(item.position,
                 "Expression in CALL { RETURN ... } must be aliased (use AS)",
                 "42001>42N21");
        }
        if (!names.insert(item.alias).second) {
            fail(item.position,
                 "Multiple result columns with the same name are not supported",
                 "42001>42N38");
        }
        if (is_variable && static_cast<const Variable&>(*item.expression).name == item.alias) {
            item.symbol = static_cast<const Variable&>(*item.expression).symbol;
        } else {
            item.symbol = new_symbol(item.alias, item_types[i]);
        }
        after[item.alias] = item.symbol;
    }
    const bool closed = p.distinct || std::ranges::find(aggregating, true) != aggregating.end();
    const std::string_view clause = is_with ? "WITH" : "RETURN";
    for (auto& sort : p.order_by) {
        resolve_after(sort.expression, p, before, after, aggregating, closed, false, clause);
    }
    scope_ = before;
    if (p.skip) {
        check_row_count(p.skip, "SKIP");
    }
    if (p.limit) {
        check_row_count(p.limit, "LIMIT");
    }
    if (where != nullptr && *where) {
        resolve_after(*where, p, before, after, aggregating, closed, true, clause);
    }
    scope_ = std::move(after);
}

}  // namespace nornic::cypher
