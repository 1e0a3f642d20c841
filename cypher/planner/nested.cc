// Plans inside plans: EXISTS, COUNT, COLLECT, pattern predicates and comprehensions, CALL { … };
// and clauses that make rows from elsewhere: CALL procedure, UNWIND, LOAD CSV.
#include "cypher/execution/expression_nodes.h"
#include "cypher/planner/planner_impl.h"

#include <fmt/format.h>

namespace nornic::cypher {

CompiledPtr Planner::nested_expr(const Expr& expr) {
    std::set<Symbol> mentioned;
    collect_symbols(expr, mentioned);
    const std::vector<Slot> live = current_live_;
    const Frame frame = make_frame(mentioned, live);
    // The names that an aggregation replaced mean nothing inside.
    std::unordered_map<std::string, Slot> replaced;
    replaced.swap(compiler_.replaced);
    PlanPtr plan = start(frame);
    NestedPlanExpr::Kind kind = NestedPlanExpr::Kind::kExists;
    Slot result = kNoSlot;
    switch (expr.kind) {
        case ExprKind::kPatternPredicate: {
            Graph graph;
            add_pattern(graph, static_cast<const PatternPredicate&>(expr).pattern);
            solve(graph, plan);
            break;
        }
        case ExprKind::kPatternComprehension: {
            const auto& p = static_cast<const PatternComprehension&>(expr);
            Graph graph;
            add_pattern(graph, p.pattern);
            if (p.where) {
                add_predicate(graph, *p.where);
            }
            solve(graph, plan);
            kind = NestedPlanExpr::Kind::kCollect;
            result = space_.new_slot("");
            auto projection = std::make_unique<ProjectionPlan>();
            projection->items.emplace_back(result, compile(*p.projection, plan->live));
            push(plan, std::move(projection), {result});
            break;
        }
        case ExprKind::kShortestPath: {
            const auto& s = static_cast<const ShortestPathExpr&>(expr);
            Graph graph;
            add_pattern(graph, s.pattern);
            solve(graph, plan);
            kind = s.pattern.selector == PathSelector::kAllShortest ? NestedPlanExpr::Kind::kCollect
                                                                    : NestedPlanExpr::Kind::kFirst;
            const PlanNode* node = plan.get();
            while (node != nullptr && node->op != Op::kShortestPath) {
                node = node->child();
            }
            NORNIC_CHECK(node != nullptr, "shortestPath without a search");
            result = static_cast<const ShortestPathPlan&>(*node).path;
            break;
        }
        default: {
            const auto& s = static_cast<const SubqueryExpr&>(expr);
            std::vector<Symbol> returned;
            bool has_return = false;
            plan = plan_query(*s.query, frame, returned, has_return);
            if (s.subquery == SubqueryKind::kCount) {
                kind = NestedPlanExpr::Kind::kCount;
            } else if (s.subquery == SubqueryKind::kCollect) {
                kind = NestedPlanExpr::Kind::kCollect;
                if (returned.empty()) {
                    throw QueryError{ErrorCode::kSyntaxError,
                                     "A Collect Expression must end with a single return column.",
                                     "42001>42N22",
                                     s.position};
                }
                result = returned[0];
            }
            break;
        }
    }
    replaced.swap(compiler_.replaced);
    current_live_ = live;
    const PlanNode* raw = plan.get();
    space_.nested.push_back(std::move(plan));
    return std::make_shared<NestedPlanExpr>(
        kind, raw, static_cast<std::uint32_t>(space_.nested.size() - 1), frame.argument, result);
}

void Planner::plan_subquery(const SubqueryClause& sub, Line& line) {
    std::set<Symbol> mentioned;
    collect_symbols(*sub.query, mentioned);
    mentioned.insert(sub.import_symbols.begin(), sub.import_symbols.end());
    const Frame frame = make_frame(mentioned, line.plan->live);
    std::vector<Symbol> returned;
    bool has_return = false;
    PlanPtr inner;
    beside([&] { inner = plan_query(*sub.query, frame, returned, has_return); });
    const SlotSet outer = live_of(*line.plan);
    SlotSet live = outer;
    live.insert(returned.begin(), returned.end());
    const double rows = line.plan->estimated_rows * (has_return ? inner->estimated_rows : 1);
    if (sub.in_transactions) {
        in_transactions_ = true;
        auto node = std::make_unique<InTransactionsPlan>();
        node->argument = frame.argument;
        node->unit = !has_return;
        node->introduced = returned;
        node->on_error = sub.in_transactions->on_error;
        node->name = has_return ? "TransactionApply" : "TransactionForeach";
        if (sub.in_transactions->batch_size) {
            node->batch_size = compile(*sub.in_transactions->batch_size, {});
        }
        if (!sub.in_transactions->report_variable.empty()) {
            node->report = sub.in_transactions->report_symbol;
            live.insert(node->report);
        }
        InTransactionsPlan& n = push(line.plan, std::move(node));
        n.children.push_back(std::move(inner));
        set_live(n, live);
        n.estimated_rows = rows;
        return;
    }
    auto node = std::make_unique<ApplyPlan>(
        !has_return ? ApplyPlan::Kind::kUnit
                    : (sub.optional ? ApplyPlan::Kind::kOptional : ApplyPlan::Kind::kPlain));
    node->name = has_return ? "Apply" : "SubqueryForeach";
    node->argument = frame.argument;
    node->introduced = returned;
    ApplyPlan& n = push(line.plan, std::move(node));
    n.children.push_back(std::move(inner));
    set_live(n, live);
    n.estimated_rows = rows;
}

void Planner::plan_call(const CallClause& call, Line& line) {
    const Procedure* procedure =
        call.procedure.starts_with("internal.") ? nullptr : procedures_.find(call.procedure);
    if (procedure == nullptr) {
        throw QueryError{
            ErrorCode::kProcedureNotFound,
            fmt::format("There is no procedure with the name `{}` registered for this database "
                        "instance. Please ensure you've spelled the procedure name correctly and "
                        "that the procedure is properly deployed.",
                        call.procedure),
            "42001>42N08"};
    }
    auto node = std::make_unique<ProcedureCallPlan>();
    node->procedure = procedure;
    node->optional = call.optional;
    node->void_call = procedure->results.empty();
    node->details = fmt::format("{}()", procedure->name);
    dbms_ = dbms_ || procedure->mode == ProcedureMode::kDbms;
    if (procedure->mode == ProcedureMode::kWrite || procedure->mode == ProcedureMode::kSchema) {
        procedure_writes_ = true;
        line.writes = true;
    }
    procedure_schema_ = procedure_schema_ || procedure->mode == ProcedureMode::kSchema;
    procedure_admin_ = procedure_admin_ || procedure->admin;
    in_transactions_ = in_transactions_ || procedure->own_transactions;
    std::size_t required = 0;
    for (const ProcedureField& f : procedure->arguments) {
        required += f.default_value ? 0 : 1;
    }
    if (call.arguments) {
        if (call.arguments->size() < required ||
            (call.arguments->size() > procedure->arguments.size() && !procedure->variadic)) {
            throw QueryError{ErrorCode::kSyntaxError,
                             fmt::format("Procedure call does not provide the required number of "
                                         "arguments: got {} expected {}: procedure {}",
                                         call.arguments->size(),
                                         required == procedure->arguments.size()
                                             ? fmt::format("{}", required)
                                             : fmt::format("at least {}, at most {}",
                                                           required,
                                                           procedure->arguments.size()),
                                         procedure->name),
                             "42001>42I13"};
        }
        for (std::size_t i = 0; i < call.arguments->size(); ++i) {
            const Expr& e = *(*call.arguments)[i];
            if (has_aggregate(e)) {
                throw QueryError{ErrorCode::kSyntaxError,
                                 "Invalid use of aggregating function count(...) in this context",
                                 "42001>42I18",
                                 e.position};
            }
            node->arguments.push_back(compile(e, line.plan->live));
        }
    }
    std::vector<Slot> more;
    const auto column_of = [&](const std::string& name) -> std::size_t {
        for (std::size_t i = 0; i < procedure->results.size(); ++i) {
            if (procedure->results[i].name == name) {
                return i;
            }
        }
        throw QueryError{ErrorCode::kSyntaxError,
                         fmt::format("Unknown procedure output: `{}`", name),
                         "42001>42N63"};
    };
    for (const YieldItem& y : call.yields) {
        const Slot s = y.symbol == kNoSymbol ? space_.new_slot(y.alias) : y.symbol;
        node->yields.emplace_back(column_of(y.column), s);
        more.push_back(s);
    }
    ProcedureCallPlan& n = push(line.plan, std::move(node));
    SlotSet live = live_of(n);
    live.insert(more.begin(), more.end());
    set_live(n, live);
    n.estimated_rows *= 10;
    if (call.standalone) {
        line.returned = more;
        line.has_return = !more.empty();
    }
    if (call.where) {
        add_filter(line.plan, *call.where);
    }
}

void Planner::plan_unwind(const UnwindClause& unwind, Line& line) {
    auto node = std::make_unique<UnwindPlan>();
    node->slot = unwind.symbol;
    node->details = fmt::format("{} AS {}", expr_text(*unwind.list), unwind.variable);
    if (unwind.list->kind == ExprKind::kFunction && settings_.on(Rule::kUnwindRange)) {
        const auto& f = static_cast<const FunctionCall&>(*unwind.list);
        if (f.name == "range" && (f.arguments.size() == 2 || f.arguments.size() == 3)) {
            node->range_from = compile(*f.arguments[0], line.plan->live);
            node->range_to = compile(*f.arguments[1], line.plan->live);
            node->range_step =
                f.arguments.size() == 3 ? compile(*f.arguments[2], line.plan->live) : nullptr;
        }
    }
    node->list = compile(*unwind.list, line.plan->live);
    if (line.plan->op == Op::kArgument &&
        static_cast<ArgumentPlan&>(*line.plan).argument == kNoSlot) {
        line.plan = nullptr;
    }
    UnwindPlan& n = push(line.plan, std::move(node), {unwind.symbol});
    n.estimated_rows *= 10;
}

void Planner::plan_load_csv(const LoadCsvClause& load, Line& line) {
    auto node = std::make_unique<LoadCsvPlan>();
    node->url = compile(*load.url, line.plan->live);
    node->slot = load.symbol;
    node->headers = load.with_headers;
    if (!load.field_terminator.empty()) {
        node->terminator = load.field_terminator[0];
    }
    node->details = load.variable;
    push(line.plan, std::move(node), {load.symbol});
}

}  // namespace nornic::cypher
