// Statements, lines of clauses, and where an Eager must stand.
#include "cypher/planner/planner.h"

#include "cypher/planner/planner_impl.h"

#include <fmt/format.h>

namespace nornic::cypher {

Planner::Planner(const Semantics& semantics,
                 PlanSpace& space,
                 const ProcedureRegistry& procedures,
                 engine::GraphReader& reader,
                 const OptimizerSettings& settings)
    : semantics_{semantics},
      space_{space},
      procedures_{procedures},
      reader_{reader},
      settings_{settings},
      schema_{reader.schema()},
      compiler_{space, [this](const Expr& e) { return nested_expr(e); }} {
    space_.slots = static_cast<std::uint32_t>(semantics.symbols.size());
    for (const SymbolInfo& s : semantics.symbols) {
        space_.slot_names.push_back(s.name);
    }
}

std::string Planner::name_of(Slot slot) const {
    return slot < space_.slot_names.size() ? space_.slot_names[slot] : fmt::format("slot_{}", slot);
}

namespace {

/// Whether the value of an expression of the clause may hang on anything in the graph but one node's own labels and
/// properties: on a pattern or a query of its own, or on what other variables of the row stand for.
bool looks_elsewhere(const Clause& clause, Slot node, const std::vector<Slot>& live) {
    bool elsewhere = false;
    for_each_expr(clause, [&](const Expr& e) {
        std::set<Symbol> mentioned;
        collect_symbols(e, mentioned);
        elsewhere = elsewhere || has_nested_plan(e) ||
                    std::ranges::any_of(mentioned, [&](Symbol s) {
                        return s != node && std::ranges::find(live, s) != live.end();
                    });
    });
    return elsewhere;
}

/// Whether the clause changes or deletes that node and nothing else.
bool writes_only(const Clause& clause, Slot node) {
    const auto is_node = [&](const ExprPtr& e) {
        return e && e->kind == ExprKind::kVariable &&
               static_cast<const Variable&>(*e).symbol == node;
    };
    if (const auto* set = std::get_if<SetClause>(&clause.body)) {
        return std::ranges::all_of(set->items,
                                   [&](const SetItem& item) { return is_node(item.target); });
    }
    if (const auto* remove = std::get_if<RemoveClause>(&clause.body)) {
        return std::ranges::all_of(remove->items,
                                   [&](const RemoveItem& item) { return is_node(item.target); });
    }
    const auto* del = std::get_if<DeleteClause>(&clause.body);
    return del != nullptr && std::ranges::all_of(del->expressions, is_node);
}

void collect_lambdas(const Expr& expr, std::set<Symbol>& out) {
    switch (expr.kind) {
        case ExprKind::kListComprehension:
            out.insert(static_cast<const ListComprehension&>(expr).symbol);
            break;
        case ExprKind::kQuantifier:
            out.insert(static_cast<const Quantifier&>(expr).symbol);
            break;
        case ExprKind::kReduce:
            out.insert(static_cast<const Reduce&>(expr).symbol);
            out.insert(static_cast<const Reduce&>(expr).accumulator_symbol);
            break;
        default:
            break;
    }
    for_each_child(expr, [&](const Expr& e) { collect_lambdas(e, out); });
}
}  // namespace

CompiledPtr Planner::compile(const Expr& expr, const std::vector<Slot>& live) {
    std::vector<Slot> outer = live;
    outer.swap(current_live_);
    const std::set<Symbol> lambdas = lambda_symbols_;
    collect_lambdas(expr, lambda_symbols_);
    CompiledPtr out = compiler_.compile(expr);
    lambda_symbols_ = lambdas;
    outer.swap(current_live_);
    return out;
}

void Planner::count_level() {
    if (++levels_ > kLevelsMax) {
        throw QueryError{
            ErrorCode::kSyntaxError,
            fmt::format("The statement has too many clauses: its plan may have at most {} operators "
                        "on top of one another. Split it into several statements, or UNWIND a list "
                        "of what repeats.",
                        kLevelsMax),
            "42001>42I06"};
    }
}

PlanPtr Planner::start(const Frame& frame) {
    count_level();
    auto argument = std::make_unique<ArgumentPlan>();
    argument->argument = frame.argument;
    argument->live = frame.slots;
    return argument;
}

Planner::Frame Planner::make_frame(const std::set<Symbol>& mentioned,
                                   const std::vector<Slot>& live) {
    Frame frame;
    frame.argument = space_.arguments++;
    SlotSet slots;
    for (const Symbol s : mentioned) {
        if (std::ranges::find(live, s) != live.end() || lambda_symbols_.contains(s)) {
            slots.insert(s);
        }
    }
    frame.slots.assign(slots.begin(), slots.end());
    return frame;
}

void Planner::eager(Line& line) {
    if (line.plan->op != Op::kArgument) {
        push(line.plan, std::make_unique<EagerPlan>());
    }
    line.pending_reads = {};
    line.pending_writes = {};
    line.single_node = kNoSlot;
}

void Planner::separate(const Clause& clause, Line& line) {
    const Effects e = effects_of(clause);
    const bool reads_after_write = conflict(e, line.pending_writes);
    bool writes_after_read = conflict(line.pending_reads, e);
    if (writes_after_read && line.single_node != kNoSlot && e.changed_labels.empty() &&
        writes_only(clause, line.single_node)) {
        // One scan gives each node once, before it is written, and each row reads and writes its own: no row can see
        // another row's write. Not where an index over what is written leads the way.
        const PlanNode* leaf = line.plan.get();
        while (leaf->child() != nullptr) {
            leaf = leaf->child();
        }
        if (leaf->op == Op::kNodeByLabelScan || leaf->op == Op::kAllNodesScan) {
            writes_after_read = false;
        }
    }
    if (const auto* call = std::get_if<SubqueryClause>(&clause.body);
        call != nullptr && call->in_transactions && !line.writes) {
        // Its transactions are not the one that the rows so far are read in, which never meets what they commit: each group
        // may be committed before the next is read.
        writes_after_read = false;
    }
    if (reads_after_write || writes_after_read || (e.deletes && line.pending_writes.writes()) ||
        (line.pending_writes.deletes && e.writes())) {
        eager(line);
    }
    line.pending_reads.add(e);
    Effects writes = e;
    if (writes.writes()) {
        line.pending_writes.add(writes);
        line.writes = true;
    }
}

void Planner::plan_clause(const Clause& clause, Line& line) {
    separate(clause, line);
    const Slot node = line.single_node;
    const std::vector<Slot> live = line.plan->live;
    const bool node_kept = node != kNoSlot && !looks_elsewhere(clause, node, live);
    line.single_node = kNoSlot;
    std::visit(
        [&](const auto& c) {
            using T = std::decay_t<decltype(c)>;
            if constexpr (std::is_same_v<T, MatchClause>) {
                const bool first = line.plan->op == Op::kArgument;
                plan_match(c, line);
                if (first && !c.optional && c.patterns.size() == 1 &&
                    c.patterns[0].relationships.empty() &&
                    !looks_elsewhere(clause, c.patterns[0].nodes[0].symbol, live)) {
                    line.single_node = c.patterns[0].nodes[0].symbol;
                }
            } else if constexpr (std::is_same_v<T, UnwindClause>) {
                plan_unwind(c, line);
            } else if constexpr (std::is_same_v<T, WithClause>) {
                plan_with(c, line);
            } else if constexpr (std::is_same_v<T, ReturnClause>) {
                plan_return(c, line);
            } else if constexpr (std::is_same_v<T, CreateClause>) {
                plan_create(c, line);
            } else if constexpr (std::is_same_v<T, SetClause>) {
                plan_set(c, line);
                line.single_node = node_kept ? node : kNoSlot;
            } else if constexpr (std::is_same_v<T, RemoveClause>) {
                plan_remove(c, line);
                line.single_node = node_kept ? node : kNoSlot;
            } else if constexpr (std::is_same_v<T, DeleteClause>) {
                plan_delete(c, line);
            } else if constexpr (std::is_same_v<T, MergeClause>) {
                plan_merge(c, line);
            } else if constexpr (std::is_same_v<T, CallClause>) {
                plan_call(c, line);
            } else if constexpr (std::is_same_v<T, SubqueryClause>) {
                plan_subquery(c, line);
            } else if constexpr (std::is_same_v<T, ForeachClause>) {
                plan_foreach(c, line);
            } else if constexpr (std::is_same_v<T, LoadCsvClause>) {
                plan_load_csv(c, line);
            }
        },
        clause.body);
}

bool Planner::goes_on(const Clause& clause) const {
    if (const auto* call = std::get_if<CallClause>(&clause.body)) {
        const Procedure* p = procedures_.find(call->procedure);
        return p != nullptr &&
               (p->mode == ProcedureMode::kWrite || p->mode == ProcedureMode::kSchema);
    }
    if (const auto* call = std::get_if<SubqueryClause>(&clause.body)) {
        return call->in_transactions.has_value() ||
               std::ranges::any_of(call->query->parts,
                                   [&](const SingleQuery& part) { return goes_on(part); });
    }
    return is_update(clause);
}

bool Planner::goes_on(const SingleQuery& query) const {
    return std::ranges::any_of(query.clauses, [&](const Clause& c) { return goes_on(c); });
}

void Planner::plan_single(const SingleQuery& query,
                          std::span<const SingleQuery> later,
                          Line& line) {
    for (auto clause = query.clauses.begin(); clause != query.clauses.end(); ++clause) {
        plan_clause(*clause, line);
        const auto* call = std::get_if<SubqueryClause>(&clause->body);
        if (call == nullptr || !call->in_transactions) {
            continue;
        }
        if (std::any_of(clause + 1, query.clauses.end(), [&](const Clause& c) { return goes_on(c); }) ||
            std::ranges::any_of(later, [&](const SingleQuery& part) { return goes_on(part); })) {
            // Or the first rows would be read as all was committed and the others, once something is written, as the
            // statement found the graph.
            NORNIC_CHECK(line.plan->op == Op::kInTransactions, "the CALL lies below something else");
            static_cast<InTransactionsPlan&>(*line.plan).goes_on = true;
            eager(line);
        }
    }
}

PlanPtr Planner::plan_query(const Query& query,
                            const Frame& frame,
                            std::vector<Symbol>& returned,
                            bool& has_return) {
    std::vector<PlanPtr> parts;
    std::vector<std::vector<Slot>> columns;
    // Parts of a UNION lie beside one another.
    const std::size_t below = levels_;
    std::size_t highest = levels_;
    for (auto part = query.parts.begin(); part != query.parts.end(); ++part) {
        levels_ = below;
        Line line;
        line.frame = frame;
        line.plan = start(frame);
        plan_single(*part, {part + 1, query.parts.end()}, line);
        parts.push_back(std::move(line.plan));
        columns.push_back(line.returned);
        has_return = line.has_return;
        highest = std::max(highest, levels_);
    }
    levels_ = highest;
    returned = columns.empty() ? std::vector<Symbol>{} : columns[0];
    if (parts.size() == 1) {
        return std::move(parts[0]);
    }
    // Columns go by name; parts may list them in different orders.
    std::vector<std::vector<std::string>> names;
    for (const SingleQuery& part : query.parts) {
        std::vector<std::string> of_part;
        for (const Clause& c : part.clauses) {
            if (const auto* r = std::get_if<ReturnClause>(&c.body)) {
                for (const ProjectionItem& i : r->projection.items) {
                    of_part.push_back(i.alias);
                }
            }
        }
        names.push_back(std::move(of_part));
    }
    auto node = std::make_unique<UnionPlan>();
    node->to = returned;
    for (std::size_t p = 0; p < parts.size(); ++p) {
        std::vector<Slot> from;
        for (std::size_t c = 0; c < returned.size(); ++c) {
            const auto at = std::ranges::find(names[p], names[0][c]);
            from.push_back(
                columns[p][at == names[p].end() ? c
                                                : static_cast<std::size_t>(at - names[p].begin())]);
        }
        node->from.push_back(std::move(from));
        node->estimated_rows += parts[p]->estimated_rows;
        node->children.push_back(std::move(parts[p]));
    }
    SlotSet live{returned.begin(), returned.end()};
    live.insert(frame.slots.begin(), frame.slots.end());
    set_live(*node, live);
    PlanPtr out = std::move(node);
    if (!query.union_all) {
        auto distinct = std::make_unique<DistinctPlan>();
        distinct->slots = returned;
        push(out, std::move(distinct));
    }
    return out;
}

PlanResult Planner::plan(const Statement& statement) {
    PlanResult result;
    if (const auto* query = std::get_if<Query>(&statement.body)) {
        bool has_return = false;
        std::vector<Symbol> returned;
        PlanPtr plan = plan_query(*query, Frame{}, returned, has_return);
        if (has_return) {
            result.columns = semantics_.columns;
            auto produce = std::make_unique<ProduceResultsPlan>();
            produce->columns = returned;
            push(plan, std::move(produce));
        } else {
            push(plan, std::make_unique<EmptyResultPlan>());
            push(plan, std::make_unique<ProduceResultsPlan>());
        }
        result.writes = semantics_.writes || procedure_writes_;
        result.root = std::move(plan);
    } else if (const auto* show = std::get_if<ShowCommand>(&statement.body)) {
        result.root = plan_show(*show, result);
    } else if (const auto* terminate = std::get_if<TerminateCommand>(&statement.body)) {
        result.root = plan_terminate(*terminate, result);
    } else if (const auto* admin = std::get_if<AdminCommand>(&statement.body)) {
        result.root = plan_admin(*admin, result);
    } else {
        auto command = std::make_unique<SchemaCommandPlan>();
        command->statement = &statement;
        const ExprPtr* options = nullptr;
        if (const auto* i = std::get_if<CreateIndexCommand>(&statement.body)) {
            options = &i->options;
            command->name = "CreateIndex";
            command->details = fmt::format("{}", i->name);
        } else if (const auto* c = std::get_if<CreateConstraintCommand>(&statement.body)) {
            options = &c->options;
            command->name = "CreateConstraint";
            command->details = fmt::format("{}", c->name);
        } else {
            command->name = std::get<DropSchemaCommand>(statement.body).constraint
                                ? "DropConstraint"
                                : "DropIndex";
        }
        if (options != nullptr && *options) {
            command->options = compile(**options, {});
        }
        PlanPtr plan = std::move(command);
        push(plan, std::make_unique<ProduceResultsPlan>());
        result.root = std::move(plan);
        result.writes = true;
    }
    result.in_transactions = in_transactions_;
    result.dbms = dbms_;
    result.schema = procedure_schema_;
    result.admin = procedure_admin_;
    optimize(result.root, space_, settings_);
    for (PlanPtr& nested : space_.nested) {
        optimize(nested, space_, settings_);
    }
    int id = 0;
    const auto number = [&](const auto& self, PlanNode& node) -> void {
        node.id = id++;
        for (const PlanPtr& c : node.children) {
            self(self, *c);
        }
    };
    number(number, *result.root);
    for (const PlanPtr& nested : space_.nested) {
        number(number, *nested);
    }
    return result;
}

PlanResult plan_statement(const Statement& statement,
                          const Semantics& semantics,
                          PlanSpace& space,
                          const ProcedureRegistry& procedures,
                          engine::GraphReader& reader,
                          const OptimizerSettings& settings) {
    return Planner{semantics, space, procedures, reader, settings}.plan(statement);
}

}  // namespace nornic::cypher
