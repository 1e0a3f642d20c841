// WITH and RETURN: projection, aggregation, DISTINCT, ORDER BY, SKIP, LIMIT, WHERE.
#include "cypher/planner/planner_impl.h"

#include <fmt/format.h>

namespace nornic::cypher {
namespace {

/// A slot of the row that a nested plan was called with: constant while it runs.
class ArgumentSlotExpr final : public CompiledExpr {
public:
    ArgumentSlotExpr(std::uint32_t argument, Slot slot) : argument_{argument}, slot_{slot} {}
    const Value& eval(Row, ExecContext& context, Value&) const override {
        return context.arguments[argument_][slot_];
    }

private:
    std::uint32_t argument_;
    Slot slot_;
};

/// Aggregating calls inside an expression, outermost first.
void find_aggregates(const Expr& expr, std::vector<const Expr*>& out) {
    if (expr.kind == ExprKind::kCountStar ||
        (expr.kind == ExprKind::kFunction && static_cast<const FunctionCall&>(expr).aggregating)) {
        out.push_back(&expr);
        return;
    }
    for_each_child(expr, [&](const Expr& e) { find_aggregates(e, out); });
}

std::string item_details(const Projection& p) {
    std::string out;
    for (const ProjectionItem& i : p.items) {
        out += (out.empty() ? "" : ", ") + (expr_text(*i.expression) == i.alias
                                                ? i.alias
                                                : expr_text(*i.expression) + " AS " + i.alias);
    }
    return out;
}

bool writes_below(const PlanNode& node) {
    switch (node.op) {
        case Op::kCreate:
        case Op::kMerge:
        case Op::kSet:
        case Op::kRemove:
        case Op::kDelete:
        case Op::kForeach:
        case Op::kInTransactions:
            return true;
        default:
            return std::ranges::any_of(node.children,
                                       [](const PlanPtr& c) { return writes_below(*c); });
    }
}

}  // namespace

void Planner::add_filter(PlanPtr& plan, const Expr& expr) {
    auto filter = std::make_unique<FilterPlan>();
    filter->predicates.push_back(compile(expr, plan->live));
    filter->details = expr_text(expr);
    FilterPlan& f = push(plan, std::move(filter));
    f.estimated_rows *= 0.5;
}

void Planner::plan_projection(const Projection& p, Line& line, bool last, const Expr* where) {
    PlanPtr& plan = line.plan;
    const std::vector<Slot> before = plan->live;
    bool aggregating = false;
    for (const ProjectionItem& item : p.items) {
        aggregating = aggregating || has_aggregate(*item.expression);
    }
    for (const SortItem& item : p.order_by) {
        aggregating = aggregating || has_aggregate(*item.expression);
    }
    std::unordered_map<std::string, Slot> by_key;  // of items, for ORDER BY
    for (const ProjectionItem& item : p.items) {
        by_key.try_emplace(Compiler::key(*item.expression), item.symbol);
    }
    SlotSet out{line.frame.slots.begin(), line.frame.slots.end()};
    for (const ProjectionItem& item : p.items) {
        out.insert(item.symbol);
    }
    if (where != nullptr && !aggregating && !p.distinct) {
        // WITH … WHERE may look at what the projection leaves behind.
        std::set<Symbol> mentioned;
        collect_symbols(*where, mentioned);
        for (const Slot s : before) {
            if (mentioned.contains(s)) {
                out.insert(s);
            }
        }
    }

    if (aggregating) {
        auto aggregation = std::make_unique<AggregationPlan>();
        aggregation->details = item_details(p);
        std::unordered_map<std::string, Slot> replaced;
        SlotSet made;
        std::vector<const ProjectionItem*> mixed;
        for (const ProjectionItem& item : p.items) {
            if (!has_aggregate(*item.expression)) {
                aggregation->keys.emplace_back(item.symbol, compile(*item.expression, before));
                replaced.try_emplace(Compiler::key(*item.expression), item.symbol);
                made.insert(item.symbol);
            }
        }
        const auto add_aggregate = [&](const Expr& e, Slot to) {
            AggregateItem a;
            a.to = to;
            if (e.kind == ExprKind::kCountStar) {
                a.kind = AggregateKind::kCountStar;
            } else {
                const auto& f = static_cast<const FunctionCall&>(e);
                if (!find_aggregate(f.name, a.kind)) {
                    throw QueryError{ErrorCode::kSyntaxError,
                                     fmt::format("Unknown function '{}'", f.name),
                                     "42001>42N48",
                                     f.position};
                }
                a.distinct = f.distinct;
                if (f.arguments.empty()) {
                    throw QueryError{
                        ErrorCode::kSyntaxError,
                        fmt::format("Insufficient parameters for function '{}'", f.name),
                        "42001>42I13",
                        f.position};
                }
                a.argument = compile(*f.arguments[0], before);
                if (f.arguments.size() > 1) {
                    a.parameter = compile(*f.arguments[1], before);
                }
            }
            aggregation->aggregates.push_back(std::move(a));
            made.insert(to);
            replaced.try_emplace(Compiler::key(e), to);
        };
        std::vector<const Expr*> calls;
        for (const ProjectionItem& item : p.items) {
            if (!has_aggregate(*item.expression)) {
                continue;
            }
            const Expr& e = *item.expression;
            if (e.kind == ExprKind::kCountStar ||
                (e.kind == ExprKind::kFunction &&
                 static_cast<const FunctionCall&>(e).aggregating)) {
                add_aggregate(e, item.symbol);
            } else {
                mixed.push_back(&item);
                find_aggregates(e, calls);
            }
        }
        for (const SortItem& item : p.order_by) {
            if (!by_key.contains(Compiler::key(*item.expression))) {
                find_aggregates(*item.expression, calls);
            }
        }
        for (const Expr* e : calls) {
            if (!replaced.contains(Compiler::key(*e))) {
                add_aggregate(*e, space_.new_slot(""));
            }
        }
        AggregationPlan& a = push(plan, std::move(aggregation));
        a.estimated_rows = a.keys.empty() ? 1 : std::max(1.0, a.estimated_rows * 0.3);
        a.name = a.aggregates.empty() ? "Distinct" : "EagerAggregation";
        SlotSet live = made;
        set_live(a, live);
        auto projection = std::make_unique<ProjectionPlan>();
        for (const Slot s : line.frame.slots) {
            projection->items.emplace_back(
                s, std::make_shared<ArgumentSlotExpr>(line.frame.argument, s));
            live.insert(s);
        }
        compiler_.replaced = replaced;
        const std::vector<Slot> after{live.begin(), live.end()};
        for (const ProjectionItem* item : mixed) {
            projection->items.emplace_back(item->symbol, compile(*item->expression, after));
        }
        compiler_.replaced.clear();
        for (const auto& [k, s] : replaced) {
            by_key.try_emplace(k, s);
        }
        if (!projection->items.empty()) {
            ProjectionPlan& pr = push(plan, std::move(projection));
            for (const ProjectionItem* item : mixed) {
                live.insert(item->symbol);
            }
            set_live(pr, live);
        }
        line.pending_reads = {};
        line.pending_writes = {};
    } else {
        auto projection = std::make_unique<ProjectionPlan>();
        projection->details = item_details(p);
        for (const ProjectionItem& item : p.items) {
            CompiledPtr e = compile(*item.expression, before);
            if (e->slot() != item.symbol) {
                projection->items.emplace_back(item.symbol, std::move(e));
            }
        }
        SlotSet live = out;
        if (!p.distinct && !p.order_by.empty()) {
            live.insert(before.begin(), before.end());
        }
        if (!projection->items.empty()) {
            set_live(push(plan, std::move(projection)), live);
        } else if (!p.distinct && !last) {
            // Nothing to compute; later operators copy what is left only.
            auto trim = std::make_unique<ProjectionPlan>();
            trim->details = item_details(p);
            set_live(push(plan, std::move(trim)), live);
        }
    }
    if (p.distinct) {
        auto distinct = std::make_unique<DistinctPlan>();
        for (const ProjectionItem& item : p.items) {
            distinct->slots.push_back(item.symbol);
        }
        distinct->details = item_details(p);
        set_live(push(plan, std::move(distinct)), [&] {
            SlotSet live = live_of(*plan);
            if (!aggregating) {
                live = out;
            }
            return live;
        }());
    }
    if (!p.order_by.empty()) {
        auto projection = std::make_unique<ProjectionPlan>();
        auto sort = std::make_unique<SortPlan>();
        SlotSet live = live_of(*plan);
        std::string details;
        compiler_.replaced = by_key;
        for (const SortItem& item : p.order_by) {
            CompiledPtr e = compile(*item.expression, plan->live);
            Slot s = e->slot();
            if (s == kNoSlot) {
                s = space_.new_slot(item.expression->text);
                projection->items.emplace_back(s, std::move(e));
            }
            live.insert(s);
            sort->keys.emplace_back(s, item.descending);
            details += fmt::format("{}{} {}",
                                   details.empty() ? "" : ", ",
                                   name_of(s),
                                   item.descending ? "DESC" : "ASC");
        }
        compiler_.replaced.clear();
        if (!projection->items.empty()) {
            set_live(push(plan, std::move(projection)), live);
        }
        sort->details = details;
        SortPlan& s = push(plan, std::move(sort));
        SlotSet kept = out;
        for (const auto& [slot, descending] : s.keys) {
            kept.insert(slot);
        }
        set_live(s, kept);
        line.pending_reads = {};
        line.pending_writes = {};
    }
    const bool exhaust = (p.skip || p.limit) && writes_below(*plan);
    if (p.skip) {
        auto skip = std::make_unique<SkipLimitPlan>(false);
        skip->count = compile(*p.skip, {});
        skip->details = expr_text(*p.skip);
        push(plan, std::move(skip));
    }
    if (p.limit) {
        auto limit = std::make_unique<SkipLimitPlan>(true);
        limit->count = compile(*p.limit, {});
        limit->exhaust = exhaust;
        limit->details = expr_text(*p.limit);
        SkipLimitPlan& l = push(plan, std::move(limit));
        if (exhaust && !last) {
            // What comes after must not stop what was asked for before.
            l.exhaust = true;
        }
    }
}

void Planner::plan_with(const WithClause& with, Line& line) {
    plan_projection(with.projection, line, false, with.where.get());
    if (with.where) {
        add_filter(line.plan, *with.where);
    }
}

void Planner::plan_return(const ReturnClause& ret, Line& line) {
    plan_projection(ret.projection, line, true, nullptr);
    line.has_return = true;
    line.returned.clear();
    for (const ProjectionItem& item : ret.projection.items) {
        line.returned.push_back(item.symbol);
    }
}

}  // namespace nornic::cypher
