// SHOW, TERMINATE and administration: calls of internal procedures, with the usual clauses behind
// them.
#include "cypher/execution/expression_nodes.h"
#include "cypher/planner/planner_impl.h"

#include <fmt/format.h>

namespace nornic::cypher {

const Procedure& Planner::internal_procedure(const std::string& name,
                                             const std::string& shown) const {
    const Procedure* p = procedures_.find(name);
    if (p == nullptr) {
        throw QueryError{ErrorCode::kUnsupportedAdministrationCommand,
                         fmt::format("Unsupported administration command: {}", shown),
                         "51N27"};
    }
    return *p;
}

PlanPtr Planner::plan_show(const ShowCommand& show, PlanResult& result) {
    const Procedure& procedure = internal_procedure(show_procedure(show), "SHOW " + show.what);
    auto call = std::make_unique<ProcedureCallPlan>();
    call->procedure = &procedure;
    call->name = fmt::format(
        "Show{}", show.what.empty() ? "" : show.what.substr(0, 1) + [&] {
            std::string rest = show.what.substr(1);
            std::ranges::transform(rest, rest.begin(), [](unsigned char c) {
                return static_cast<char>(std::tolower(c));
            });
            return rest;
        }());
    call->arguments.push_back(make_constant(show.filter.empty() ? Value{} : Value{show.filter}));
    std::vector<CompiledPtr> names;
    for (const ExprPtr& e : show.names) {
        names.push_back(compile(*e, {}));
    }
    call->arguments.push_back(std::make_shared<ListExpr>(std::move(names)));
    Line line;
    std::vector<Slot> slots;
    if (show.yields) {
        for (const YieldItem& y : *show.yields) {
            for (std::size_t i = 0; i < procedure.results.size(); ++i) {
                if (procedure.results[i].name == y.column) {
                    call->yields.emplace_back(i, y.symbol);
                }
            }
            slots.push_back(y.symbol);
        }
    }
    line.plan = start(Frame{});
    set_live(push(line.plan, std::move(call)), {slots.begin(), slots.end()});
    if (show.where) {
        add_filter(line.plan, *show.where);
    }
    if (!show.order_by.empty() || show.skip || show.limit) {
        // The clauses of a projection that keeps all columns.
        auto sort = std::make_unique<SortPlan>();
        auto keys = std::make_unique<ProjectionPlan>();
        SlotSet live = live_of(*line.plan);
        for (const SortItem& item : show.order_by) {
            CompiledPtr e = compile(*item.expression, line.plan->live);
            Slot s = e->slot();
            if (s == kNoSlot) {
                s = space_.new_slot("");
                keys->items.emplace_back(s, std::move(e));
            }
            live.insert(s);
            sort->keys.emplace_back(s, item.descending);
        }
        set_live(push(line.plan, std::move(keys)), live);
        if (!sort->keys.empty()) {
            push(line.plan, std::move(sort));
        }
        for (const bool limit : {false, true}) {
            const ExprPtr& count = limit ? show.limit : show.skip;
            if (count) {
                auto node = std::make_unique<SkipLimitPlan>(limit);
                node->count = compile(*count, {});
                push(line.plan, std::move(node));
            }
        }
    }
    if (show.returns) {
        plan_return(*show.returns, line);
        slots = line.returned;
    }
    auto produce = std::make_unique<ProduceResultsPlan>();
    produce->columns = slots;
    push(line.plan, std::move(produce));
    result.columns = semantics_.columns;
    return std::move(line.plan);
}

PlanPtr Planner::plan_terminate(const TerminateCommand& terminate, PlanResult& result) {
    const Procedure& procedure =
        internal_procedure("internal.terminate.transactions", "TERMINATE TRANSACTIONS");
    auto call = std::make_unique<ProcedureCallPlan>();
    call->procedure = &procedure;
    call->name = "TerminateTransactions";
    std::vector<CompiledPtr> ids;
    for (const ExprPtr& e : terminate.ids) {
        ids.push_back(compile(*e, {}));
    }
    call->arguments.push_back(std::make_shared<ListExpr>(std::move(ids)));
    SlotSet live;
    std::vector<Slot> slots;
    for (std::size_t i = 0; i < procedure.results.size(); ++i) {
        const Slot s = space_.new_slot(procedure.results[i].name);
        call->yields.emplace_back(i, s);
        slots.push_back(s);
        live.insert(s);
        result.columns.push_back(procedure.results[i].name);
    }
    PlanPtr plan = start(Frame{});
    set_live(push(plan, std::move(call)), live);
    auto produce = std::make_unique<ProduceResultsPlan>();
    produce->columns = slots;
    push(plan, std::move(produce));
    return plan;
}

PlanPtr Planner::plan_admin(const AdminCommand& admin, PlanResult& result) {
    std::string name;
    switch (admin.kind) {
        case AdminCommand::Kind::kCreateUser:
            name = "createuser";
            break;
        case AdminCommand::Kind::kAlterUser:
            name = "alteruser";
            break;
        case AdminCommand::Kind::kDropUser:
            name = "dropuser";
            break;
        case AdminCommand::Kind::kRenameUser:
            name = "renameuser";
            break;
        case AdminCommand::Kind::kAlterCurrentUserPassword:
            name = "altercurrentuserpassword";
            break;
        case AdminCommand::Kind::kUnsupported:
            name = "unsupported";
            break;
    }
    const Procedure& procedure = internal_procedure("internal.admin." + name, admin.text);
    std::vector<std::pair<std::string, CompiledPtr>> entries;
    const auto add = [&](const char* key, const ExprPtr& e) {
        if (e) {
            entries.emplace_back(key, compile(*e, {}));
        }
    };
    add("user", admin.user);
    add("new_name", admin.new_name);
    add("password", admin.password);
    add("old_password", admin.old_password);
    const auto constant = [&](const char* key, Value v) {
        entries.emplace_back(key, make_constant(std::move(v)));
    };
    if (admin.password_change_required) {
        constant("password_change_required", Value{*admin.password_change_required});
    }
    if (admin.suspended) {
        constant("suspended", Value{*admin.suspended});
    }
    if (!admin.home_database.empty()) {
        constant("home_database", Value{admin.home_database});
    }
    constant("if_exists", Value{admin.if_exists});
    constant("if_not_exists", Value{admin.if_not_exists});
    constant("replace", Value{admin.replace});
    auto call = std::make_unique<ProcedureCallPlan>();
    call->procedure = &procedure;
    call->name = "AdministrationCommand";
    call->void_call = true;
    call->arguments.push_back(std::make_shared<MapExpr>(std::move(entries)));
    PlanPtr plan = start(Frame{});
    push(plan, std::move(call));
    push(plan, std::make_unique<EmptyResultPlan>());
    push(plan, std::make_unique<ProduceResultsPlan>());
    result.writes = true;
    return plan;
}

}  // namespace nornic::cypher
