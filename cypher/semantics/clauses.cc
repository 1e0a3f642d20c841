// Clauses and queries: what each adds to the scope, which may follow which, how parts join.

#include "cypher/ast/walk.h"
#include "cypher/lexer/keywords.h"
#include "cypher/semantics/analyser.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::cypher {
namespace {

std::string_view name_of(const Clause& clause) {
    static constexpr std::string_view kNames[] = {"MATCH",
                                                  "UNWIND",
                                                  "WITH",
                                                  "RETURN",
                                                  "FINISH",
                                                  "CREATE",
                                                  "SET",
                                                  "REMOVE",
                                                  "DELETE",
                                                  "MERGE",
                                                  "CALL",
                                                  "CALL",
                                                  "FOREACH",
                                                  "LOAD CSV",
                                                  "USE"};
    static_assert(std::size(kNames) == std::variant_size_v<ClauseBody>);
    return kNames[clause.body.index()];
}

bool has_return(const Query& q) {
    return std::holds_alternative<ReturnClause>(q.parts[0].clauses.back().body);
}

bool contains_update(const Query& q) {
    for (const auto& part : q.parts) {
        for (const auto& clause : part.clauses) {
            const auto* sub = std::get_if<SubqueryClause>(&clause.body);
            if (is_update(clause) || (sub != nullptr && contains_update(*sub->query))) {
                return true;
            }
        }
    }
    return false;
}

std::string signature_of(const Procedure& p) {
    std::string arguments;
    for (const auto& a : p.arguments) {
        arguments += arguments.empty() ? "" : ", ";
        arguments +=
            a.default_value
                ? fmt::format("{} = {} :: {}", a.name, to_cypher_text(*a.default_value), a.type)
                : fmt::format("{} :: {}", a.name, a.type);
    }
    std::string results;
    for (const auto& r : p.results) {
        results += fmt::format("{}{} :: {}", results.empty() ? "" : ", ", r.name, r.type);
    }
    return fmt::format(
        "{}({}) :: {}", p.name, arguments, p.results.empty() ? "VOID" : "(" + results + ")");
}

std::string expectation_of(const Procedure& p, std::size_t required) {
    if (p.arguments.empty()) {
        return "meaning that it expects no arguments";
    }
    std::string type_names;
    for (const auto& a : p.arguments) {
        type_names += (type_names.empty() ? "" : ", ") + a.type;
    }
    return fmt::format("meaning that it expects {}{} argument{} of type{} {}",
                       required == p.arguments.size() ? "" : "at least ",
                       required,
                       p.arguments.size() == 1 ? "" : "s",
                       p.arguments.size() == 1 ? "" : "s",
                       type_names);
}

}  // namespace

// ---- Queries ----

void Analyser::analyse_query(Query& q, QueryKind kind, const Scope& inner) {
    const Scope imported = inner;
    std::vector<std::string> columns;
    std::vector<Symbol> symbols;
    for (std::size_t i = 0; i < q.parts.size(); ++i) {
        auto& part = q.parts[i];
        if (kind == QueryKind::kCall && is_importing_with(part)) {
            // Its WITH reads the outer scope, which `inner` is then.
            scope_ = imported;
        } else {
            scope_ = kind == QueryKind::kCall ? base_ : imported;
        }
        columns_.clear();
        column_symbols_.clear();
        analyse_part(part, kind);
        if (i == 0) {
            columns = columns_;
            symbols = column_symbols_;
            continue;
        }
        auto sorted_first = columns;
        auto sorted_now = columns_;
        std::ranges::sort(sorted_first);
        std::ranges::sort(sorted_now);
        if (sorted_first != sorted_now) {
            fail(part.clauses.back().position,
                 "All sub queries in an UNION must have the same return column names",
                 "42001>42N39");
        }
        if (auto* r = std::get_if<ReturnClause>(&part.clauses.back().body)) {
            for (auto& item : r->projection.items) {
                const auto at = static_cast<std::size_t>(std::ranges::find(columns, item.alias) -
                                                         columns.begin());
                const Symbol shared = symbols[at];
                // ORDER BY of this part speaks of the item by its symbol.
                const Symbol own = item.symbol;
                const auto rename = [&](auto&& self, Expr& e) -> void {
                    if (e.kind == ExprKind::kVariable && static_cast<Variable&>(e).symbol == own &&
                        item.expression->kind != ExprKind::kVariable) {
                        static_cast<Variable&>(e).symbol = shared;
                    }
                    for_each_child(e, [&](ExprPtr& child) { self(self, *child); });
                };
                for (auto& sort : r->projection.order_by) {
                    rename(rename, *sort.expression);
                }
                auto& info = result_.symbols[shared];
                info.types |= result_.symbols[own].types;
                info.element_types |= result_.symbols[own].element_types;
                item.symbol = shared;
            }
        }
    }
    columns_ = std::move(columns);
    column_symbols_ = std::move(symbols);
}

void Analyser::check_composition(const SingleQuery& part, QueryKind kind) const {
    const auto& clauses = part.clauses;
    for (std::size_t i = 0; i < clauses.size(); ++i) {
        const auto& c = clauses[i];
        const bool last = i + 1 == clauses.size();
        if (!last && std::holds_alternative<ReturnClause>(c.body)) {
            fail(c.position, "RETURN can only be used at the end of the query.", "42001>42I38");
        }
        if (!last && std::holds_alternative<FinishClause>(c.body)) {
            fail(c.position, "FINISH can only be used at the end of the query.", "42001>42I38");
        }
        if (!last) {
            const auto& next = clauses[i + 1];
            const bool fits = is_update(next) || std::holds_alternative<WithClause>(next.body) ||
                              std::holds_alternative<ReturnClause>(next.body) ||
                              std::holds_alternative<FinishClause>(next.body);
            if (is_update(c) && !fits) {
                fail(next.position,
                     fmt::format("WITH is required between {} and {}", name_of(c), name_of(next)),
                     "42001>42N24");
            }
        }
        const bool subquery_expression =
            kind == QueryKind::kExists || kind == QueryKind::kCount || kind == QueryKind::kCollect;
        const auto* call = std::get_if<SubqueryClause>(&c.body);
        if (subquery_expression &&
            (is_update(c) || (call != nullptr && contains_update(*call->query)))) {
            const std::string_view name = kind == QueryKind::kExists  ? "An Exists"
                                          : kind == QueryKind::kCount ? "A Count"
                                                                      : "A Collect";
            fail(c.position,
                 fmt::format("{} Expression cannot contain any updates", name),
                 "42001>42N57");
        }
    }
    const auto& end = clauses.back();
    const bool without_return = kind == QueryKind::kExists || kind == QueryKind::kCount;
    const bool concludes = std::holds_alternative<ReturnClause>(end.body) ||
                           std::holds_alternative<FinishClause>(end.body) || is_update(end) ||
                           without_return;
    if (concludes) {
        return;
    }
    if (const auto* call = std::get_if<CallClause>(&end.body)) {
        if (call->standalone || !call->has_yield) {
            return;
        }
    }
    if (const auto* call = std::get_if<SubqueryClause>(&end.body)) {
        if (!has_return(*call->query) &&
            (!call->in_transactions || call->in_transactions->report_variable.empty())) {
            return;
        }
    }
    fail(end.position,
         fmt::format("Query cannot conclude with {} (must be a RETURN clause, a FINISH clause, an "
                     "update clause, a unit subquery call, or a procedure call "
                     "with no YIELD).",
                     name_of(end)),
         "42001>42N71");
}

void Analyser::analyse_part(SingleQuery& part, QueryKind kind) {
    check_composition(part, kind);
    const bool outer_updates = std::exchange(in_part_with_updates_, false);
    for (auto& clause : part.clauses) {
        analyse_clause(clause, kind);
        if (is_update(clause)) {
            in_part_with_updates_ = true;
        }
    }
    in_part_with_updates_ = outer_updates;
}

void Analyser::analyse_clause(Clause& clause, QueryKind kind) {
    result_.writes = result_.writes || is_update(clause);
    if (auto* match = std::get_if<MatchClause>(&clause.body)) {
        analyse_match(*match);
    } else if (auto* unwind = std::get_if<UnwindClause>(&clause.body)) {
        const StaticType t = check(unwind->list);
        StaticType element;
        if (t.set == types::kList) {
            element = {t.elements == 0 ? types::kAny : t.elements, types::kAny};
        }
        unwind->symbol = declare(unwind->variable, element, unwind->list->position);
    } else if (auto* with = std::get_if<WithClause>(&clause.body)) {
        analyse_projection(with->projection, &with->where, true, kind, clause.position);
    } else if (auto* ret = std::get_if<ReturnClause>(&clause.body)) {
        analyse_projection(ret->projection, nullptr, false, kind, clause.position);
        columns_.clear();
        column_symbols_.clear();
        for (const auto& item : ret->projection.items) {
            columns_.push_back(item.alias);
            column_symbols_.push_back(item.symbol);
        }
        result_.has_return = result_.has_return || kind == QueryKind::kTop;
    } else if (auto* create = std::get_if<CreateClause>(&clause.body)) {
        const auto first_new = static_cast<Symbol>(result_.symbols.size());
        for (auto& p : create->patterns) {
            create_pattern(p, PatternUse::kCreate, first_new);
        }
    } else if (auto* set = std::get_if<SetClause>(&clause.body)) {
        analyse_set_items(set->items);
    } else if (auto* remove = std::get_if<RemoveClause>(&clause.body)) {
        analyse_remove(*remove);
    } else if (auto* del = std::get_if<DeleteClause>(&clause.body)) {
        analyse_delete(*del);
    } else if (auto* merge = std::get_if<MergeClause>(&clause.body)) {
        analyse_merge(*merge);
    } else if (auto* call = std::get_if<CallClause>(&clause.body)) {
        if (kind != QueryKind::kTop) {
            call->standalone = false;
        }
        analyse_call(*call, clause.position);
    } else if (auto* sub = std::get_if<SubqueryClause>(&clause.body)) {
        analyse_subquery_call(*sub, clause.position);
    } else if (auto* foreach = std::get_if<ForeachClause>(&clause.body)) {
        analyse_foreach(*foreach);
    } else if (auto* load = std::get_if<LoadCsvClause>(&clause.body)) {
        require(*load->url, check(load->url), types::kString);
        load->symbol =
            declare(load->variable,
                    load->with_headers ? StaticType{types::kMap, 0}
                                       : StaticType{types::kList, types::kString | types::kNull},
                    clause.position);
    }
}

void Analyser::analyse_match(MatchClause& c) {
    const auto first_new = static_cast<Symbol>(result_.symbols.size());
    analyse_patterns(c.patterns, PatternUse::kMatch);
    if (c.where) {
        check_predicate(c.where);
    }
    for (const auto& hint : c.hints) {
        if (!scope_.contains(hint.variable)) {
            fail(hint.position,
                 fmt::format("Variable `{}` not defined", hint.variable),
                 "42001>42N62");
        }
    }
    note_cartesian(c, first_new);
}

void Analyser::analyse_set_items(std::vector<SetItem>& items) {
    for (auto& item : items) {
        const StaticType target = check(item.target);
        const TypeSet accepted =
            item.kind == SetItem::Kind::kProperty ? types::kEntity | types::kMap : types::kEntity;
        require(
            *item.target, target, item.kind == SetItem::Kind::kLabels ? types::kNode : accepted);
        if (item.dynamic_key) {
            require(*item.dynamic_key, check(item.dynamic_key), types::kString);
        }
        if (item.value) {
            const StaticType value = check(item.value);
            if (item.kind == SetItem::Kind::kReplaceProperties ||
                item.kind == SetItem::Kind::kMergeProperties) {
                if (!value.may_be(types::kMap | types::kEntity)) {
                    mismatch(*item.value, "Map, Node or Relationship", value, "42001>22NB1");
                }
            }
        }
    }
}

void Analyser::analyse_remove(RemoveClause& c) {
    for (auto& item : c.items) {
        const StaticType target = check(item.target);
        require(
            *item.target,
            target,
            item.kind == RemoveItem::Kind::kLabels ? types::kNode : types::kEntity | types::kMap);
        if (item.dynamic_key) {
            require(*item.dynamic_key, check(item.dynamic_key), types::kString);
        }
    }
}

void Analyser::analyse_delete(DeleteClause& c) {
    for (auto& e : c.expressions) {
        if (e->kind == ExprKind::kLabelCheck) {
            fail(e->position,
                 "DELETE doesn't support removing labels from a node. Try REMOVE.",
                 "42001>42I06");
        }
        const StaticType t = check(e);
        if (!t.may_be(types::kEntity | types::kPath)) {
            mismatch(*e, "Node, Path or Relationship", t, "42001>22NB1");
        }
    }
}

void Analyser::analyse_merge(MergeClause& c) {
    create_pattern(c.pattern, PatternUse::kMerge, static_cast<Symbol>(result_.symbols.size()));
    analyse_set_items(c.on_create);
    analyse_set_items(c.on_match);
}

void Analyser::analyse_foreach(ForeachClause& c) {
    const StaticType list = check(c.list);
    const Scope outer = scope_;
    StaticType element;
    if (list.set == types::kList) {
        element = {list.elements == 0 ? types::kAny : list.elements, types::kAny};
    }
    scope_.erase(c.variable);
    c.symbol = declare(c.variable, element, c.list->position);
    for (auto& update : c.updates) {
        if (!is_update(update)) {
            fail(update.position,
                 fmt::format("Invalid use of {} inside FOREACH", name_of(update)),
                 "42001>42I01");
        }
        analyse_clause(update, QueryKind::kTop);
    }
    scope_ = outer;
}

// ---- CALL ----

void Analyser::analyse_call(CallClause& c, SourcePosition where) {
    const Procedure* p = nullptr;
    if (procedures_ != nullptr) {
        p = procedures_->find(c.procedure);
        if (p == nullptr || p->name.starts_with("internal.")) {
            throw QueryError{
                ErrorCode::kProcedureNotFound,
                fmt::format("There is no procedure with the name `{}` registered for this database "
                            "instance. Please ensure you've spelled the "
                            "procedure name correctly and that the procedure is properly deployed.",
                            c.procedure),
                "42001>42N08"};
        }
        result_.writes =
            result_.writes || p->mode == ProcedureMode::kWrite || p->mode == ProcedureMode::kSchema;
    }
    if (!c.standalone && !c.arguments) {
        fail(where,
             "Procedure call inside a query does not support passing arguments implicitly. Please "
             "pass arguments explicitly in parentheses after procedure "
             "name",
             "42001>42N07");
    }
    if (!c.standalone && c.yield_star) {
        fail(where, "Cannot use `YIELD *` outside standalone call", "42001>42N14");
    }
    if (c.arguments) {
        for (auto& argument : *c.arguments) {
            const auto outer = std::exchange(aggregates_, Aggregates::kAllowed);
            const std::size_t seen = aggregates_seen_;
            check(argument);
            aggregates_ = outer;
            if (aggregates_seen_ != seen) {
                fail(argument->position,
                     "Procedure call cannot take an aggregating function as argument, please add a "
                     "'WITH' to your statement.",
                     "42001>42I24");
            }
        }
    }
    if (p != nullptr) {
        if (!c.arguments) {
            c.arguments.emplace();
            for (const auto& a : p->arguments) {
                if (!parameters_.contains(a.name) && a.default_value) {
                    c.arguments->push_back(std::make_unique<Literal>(where, *a.default_value));
                    continue;
                }
                c.arguments->push_back(std::make_unique<Parameter>(where, a.name));
                if (std::ranges::find(statement_.parameters, a.name) ==
                    statement_.parameters.end()) {
                    statement_.parameters.push_back(a.name);
                }
            }
        }
        const auto required = static_cast<std::size_t>(std::ranges::count_if(
            p->arguments, [](const ProcedureField& a) { return !a.default_value; }));
        const std::size_t given = c.arguments->size();
        const auto full_name = [&](std::string_view problem) {
            return fmt::format("{}\n\nProcedure {} has signature: {}\n{}",
                               problem,
                               p->name,
                               signature_of(*p),
                               expectation_of(*p, required));
        };
        if (given > p->arguments.size() && !p->variadic) {
            fail(where,
                 full_name(fmt::format(
                     "Procedure call provides too many arguments: got {} expected {}.",
                     given,
                     p->arguments.empty() ? "none"
                                          : fmt::format("no more than {}", p->arguments.size()))),
                 "42001>42I13");
        }
        if (given < required) {
            fail(where,
                 full_name(fmt::format("Procedure call does not provide the required number of "
                                       "arguments: got {} expected {}{}.",
                                       given,
                                       required == p->arguments.size() ? "" : "at least ",
                                       required)),
                 "42001>42I13");
        }
        for (std::size_t i = given; i < p->arguments.size(); ++i) {
            c.arguments->push_back(
                std::make_unique<Literal>(where, *p->arguments[i].default_value));
        }
        for (std::size_t i = 0; i < given; ++i) {
            const ProcedureField& formal = p->arguments[std::min(i, p->arguments.size() - 1)];
            TypeSet accepted = formal.types;
            accepted |= (accepted & types::kFloat) != 0 ? types::kInteger : 0;
            accepted |= (accepted & types::kInteger) != 0 && (accepted & types::kFloat) != 0
                            ? types::kFloat
                            : 0;
            const StaticType t = check((*c.arguments)[i]);
            if (!t.may_be(accepted)) {
                mismatch(
                    *(*c.arguments)[i], type_set_text(formal.types), t, "22G03>22N27");
            }
        }
        if (!c.standalone && !c.has_yield && !p->results.empty()) {
            fail(where,
                 "Procedure call inside a query does not support naming results implicitly (name "
                 "explicitly using `YIELD` instead)",
                 "42001>42N62");
        }
        if (c.standalone && (!c.has_yield || c.yield_star)) {
            c.yields.clear();
            for (const auto& r : p->results) {
                if (!r.hidden_by_default || c.yield_star) {
                    c.yields.push_back(YieldItem{r.name, r.name, kNoSymbol, where});
                }
            }
        }
    }
    for (auto& y : c.yields) {
        StaticType t;
        if (p != nullptr) {
            const auto field = std::ranges::find_if(
                p->results, [&](const ProcedureField& f) { return f.name == y.column; });
            if (field == p->results.end()) {
                fail(y.position,
                     fmt::format("Unknown procedure output: `{}`", y.column),
                     "42001>42N50");
            }
            t = {field->types, types::kAny};
        }
        y.symbol = declare(y.alias, t, y.position);
    }
    if (c.where) {
        check_predicate(c.where);
    }
    if (c.standalone) {
        columns_.clear();
        column_symbols_.clear();
        for (const auto& y : c.yields) {
            columns_.push_back(y.alias);
            column_symbols_.push_back(y.symbol);
        }
        result_.has_return = !columns_.empty();
    }
}

/// WITH a, b or WITH * in front of a CALL { … }: it names what the subquery reads from outside.
bool Analyser::is_importing_with(const SingleQuery& part) const {
    const auto* with = std::get_if<WithClause>(&part.clauses.front().body);
    if (with == nullptr) {
        return false;
    }
    const auto& p = with->projection;
    const bool simple = std::ranges::all_of(p.items, [](const ProjectionItem& i) {
        return i.expression->kind == ExprKind::kVariable && !i.aliased;
    });
    return simple && (p.star || !p.items.empty());
}

void Analyser::analyse_subquery_call(SubqueryClause& c, SourcePosition where) {
    const Scope outer = scope_;
    const Scope outer_base = base_;
    auto outer_columns = std::move(columns_);
    auto outer_symbols = std::move(column_symbols_);
    Scope inner;
    std::unordered_set<Symbol> imports;
    if (c.imports) {
        if (c.import_star) {
            inner = outer;
        }
        for (const auto& name : *c.imports) {
            const auto it = outer.find(name);
            if (it == outer.end()) {
                fail(where, fmt::format("Variable `{}` not defined", name), "42001>42N62");
            }
            inner.insert(*it);
        }
        base_ = inner;
        for (const auto& [name, symbol] : inner) {
            imports.insert(symbol);
        }
    } else {
        base_.clear();
        inner = outer;
        for (const auto& part : c.query->parts) {
            if (!is_importing_with(part)) {
                continue;
            }
            auto& importing = std::get<WithClause>(part.clauses.front().body);
            const auto& p = importing.projection;
            if (p.distinct || !p.order_by.empty() || p.skip || p.limit || importing.where) {
                fail(part.clauses.front().position,
                     "Importing WITH should consist only of simple references to outside "
                     "variables. DISTINCT, ORDER BY, WHERE, SKIP and LIMIT are not allowed.",
                     "42001>42N14");
            }
            for (const auto& item : p.items) {
                const auto it = outer.find(static_cast<const Variable&>(*item.expression).name);
                if (it != outer.end()) {
                    imports.insert(it->second);
                }
            }
            if (p.star) {
                for (const auto& [name, symbol] : outer) {
                    imports.insert(symbol);
                }
            }
        }
    }
    if (c.in_transactions && in_part_with_updates_) {
        fail(where,
             "CALL { ... } IN TRANSACTIONS after a write clause is not supported",
             "42001>42I25");
    }
    if (c.in_transactions && depth_ > 0) {
        fail(where,
             "CALL { ... } IN TRANSACTIONS nested in a regular CALL is not supported",
             "42001>42I25");
    }
    ++depth_;
    analyse_query(*c.query, QueryKind::kCall, inner);
    --depth_;
    c.import_symbols.assign(imports.begin(), imports.end());
    std::ranges::sort(c.import_symbols);
    scope_ = outer;
    base_ = outer_base;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
        if (!scope_.emplace(columns_[i], column_symbols_[i]).second) {
            const auto& body = c.query->parts[0].clauses.back();
            const auto* ret = std::get_if<ReturnClause>(&body.body);
            fail(ret != nullptr && i < ret->projection.items.size()
                     ? ret->projection.items[i].position
                     : body.position,
                 fmt::format("Variable `{}` already declared in outer scope", columns_[i]),
                 "42001>42N59");
        }
        if (c.optional) {
            result_.symbols[column_symbols_[i]].types |= types::kNull;
        }
    }
    columns_ = std::move(outer_columns);
    column_symbols_ = std::move(outer_symbols);
    if (auto& t = c.in_transactions) {
        if (t->batch_size) {
            check_row_count(t->batch_size, "OF ... ROWS");
        }
        if (t->concurrency) {
            check(t->concurrency);
        }
        if (!t->report_variable.empty()) {
            if (t->on_error == InTransactions::OnError::kFail) {
                fail(where,
                     "REPORT STATUS can only be used when specifying ON ERROR CONTINUE or ON ERROR "
                     "BREAK",
                     "42001>42I25");
            }
            t->report_symbol = declare(t->report_variable, {types::kMap, 0}, where);
        }
    }
}

// ---- SHOW and administration ----

std::string show_procedure(const ShowCommand& command) {
    std::string name = "internal.show.";
    for (const char c : command.what) {
        name += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    }
    return name;
}

void Analyser::analyse_show(ShowCommand& c) {
    for (auto& name : c.names) {
        check(name);
    }
    const Procedure* p = procedures_ != nullptr ? procedures_->find(show_procedure(c)) : nullptr;
    if (p == nullptr) {
        if (c.yields) {
            for (const auto& y : *c.yields) {
                result_.columns.push_back(y.alias);
            }
        }
        result_.has_return = true;
        return;
    }
    if (!c.yields) {
        c.yields.emplace();
        for (const auto& r : p->results) {
            if (!r.hidden_by_default || c.yield_star) {
                c.yields->push_back(YieldItem{r.name, r.name, kNoSymbol, SourcePosition{}});
            }
        }
    }
    for (auto& y : *c.yields) {
        const auto field = std::ranges::find_if(
            p->results, [&](const ProcedureField& f) { return f.name == y.column; });
        if (field == p->results.end()) {
            fail(y.position,
                 fmt::format("Trying to YIELD non-existing column: `{}`", y.column),
                 "42001>42N62");
        }
        y.symbol = declare(y.alias, {field->types, types::kAny}, y.position);
    }
    for (auto& sort : c.order_by) {
        check(sort.expression);
    }
    if (c.skip) {
        check_row_count(c.skip, "SKIP");
    }
    if (c.limit) {
        check_row_count(c.limit, "LIMIT");
    }
    if (c.where) {
        check_predicate(c.where);
    }
    result_.has_return = true;
    if (c.returns) {
        analyse_projection(
            c.returns->projection, nullptr, false, QueryKind::kTop, SourcePosition{});
        for (const auto& item : c.returns->projection.items) {
            result_.columns.push_back(item.alias);
            result_.column_symbols.push_back(item.symbol);
        }
        return;
    }
    for (const auto& y : *c.yields) {
        result_.columns.push_back(y.alias);
        result_.column_symbols.push_back(y.symbol);
    }
}

void Analyser::analyse_admin(const AdminCommand& c) const {
    if (c.kind != AdminCommand::Kind::kUnsupported) {
        return;
    }
    // SHOW ALIASES exists in each edition but belongs to the system database.
    const auto begins = [&](std::string_view prefix) {
        return equals_ignoring_case(std::string_view{c.text}.substr(0, prefix.size()), prefix);
    };
    const bool system_only = begins("SHOW ALIAS");
    throw QueryError{
        system_only ? ErrorCode::kNotSystemDatabase : ErrorCode::kUnsupportedAdministrationCommand,
        "Unsupported administration command: " + c.text,
        "51N27"};
}

}  // namespace nornic::cypher
