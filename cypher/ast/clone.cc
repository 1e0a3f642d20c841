// Deep copies of the tree.

#include "cypher/ast/expression.h"
#include "cypher/ast/statement.h"

namespace nornic::cypher {
namespace {

ExprPtr copy(const ExprPtr& e) {
    return e ? clone(*e) : nullptr;
}

std::vector<ExprPtr> copy(const std::vector<ExprPtr>& list) {
    std::vector<ExprPtr> out;
    out.reserve(list.size());
    for (const auto& e : list) {
        out.push_back(copy(e));
    }
    return out;
}

std::vector<SetItem> copy(const std::vector<SetItem>& items) {
    std::vector<SetItem> out;
    out.reserve(items.size());
    for (const auto& i : items) {
        out.push_back(SetItem{i.kind,
                              copy(i.target),
                              i.key,
                              copy(i.dynamic_key),
                              i.labels,
                              copy(i.value),
                              i.position});
    }
    return out;
}

Projection copy(const Projection& p) {
    Projection out;
    out.distinct = p.distinct;
    out.star = p.star;
    for (const auto& i : p.items) {
        out.items.push_back(
            ProjectionItem{copy(i.expression), i.alias, i.aliased, i.symbol, i.position});
    }
    for (const auto& s : p.order_by) {
        out.order_by.push_back(SortItem{copy(s.expression), s.descending});
    }
    out.skip = copy(p.skip);
    out.limit = copy(p.limit);
    return out;
}

std::vector<PathPattern> copy(const std::vector<PathPattern>& patterns) {
    std::vector<PathPattern> out;
    out.reserve(patterns.size());
    for (const auto& p : patterns) {
        out.push_back(clone(p));
    }
    return out;
}

Clause copy(const Clause& clause);

struct BodyCopier {
    ClauseBody operator()(const MatchClause& c) const {
        return MatchClause{c.optional, copy(c.patterns), c.hints, copy(c.where)};
    }
    ClauseBody operator()(const UnwindClause& c) const {
        return UnwindClause{copy(c.list), c.variable, c.symbol};
    }
    ClauseBody operator()(const WithClause& c) const {
        return WithClause{copy(c.projection), copy(c.where)};
    }
    ClauseBody operator()(const ReturnClause& c) const { return ReturnClause{copy(c.projection)}; }
    ClauseBody operator()(const FinishClause&) const { return FinishClause{}; }
    ClauseBody operator()(const CreateClause& c) const { return CreateClause{copy(c.patterns)}; }
    ClauseBody operator()(const SetClause& c) const { return SetClause{copy(c.items)}; }
    ClauseBody operator()(const RemoveClause& c) const {
        RemoveClause out;
        for (const auto& i : c.items) {
            out.items.push_back(RemoveItem{
                i.kind, copy(i.target), i.key, copy(i.dynamic_key), i.labels, i.position});
        }
        return out;
    }
    ClauseBody operator()(const DeleteClause& c) const {
        return DeleteClause{c.detach, copy(c.expressions)};
    }
    ClauseBody operator()(const MergeClause& c) const {
        return MergeClause{clone(c.pattern), copy(c.on_create), copy(c.on_match)};
    }
    ClauseBody operator()(const CallClause& c) const {
        CallClause out;
        out.procedure = c.procedure;
        out.optional = c.optional;
        if (c.arguments) {
            out.arguments = copy(*c.arguments);
        }
        out.yield_star = c.yield_star;
        out.yields = c.yields;
        out.has_yield = c.has_yield;
        out.where = copy(c.where);
        out.standalone = c.standalone;
        return out;
    }
    ClauseBody operator()(const SubqueryClause& c) const {
        SubqueryClause out;
        out.query = std::make_unique<Query>(clone(*c.query));
        out.optional = c.optional;
        out.imports = c.imports;
        out.import_star = c.import_star;
        out.import_symbols = c.import_symbols;
        if (c.in_transactions) {
            const auto& t = *c.in_transactions;
            out.in_transactions = InTransactions{copy(t.batch_size),
                                                 t.on_error,
                                                 t.report_variable,
                                                 t.report_symbol,
                                                 copy(t.concurrency)};
        }
        return out;
    }
    ClauseBody operator()(const ForeachClause& c) const {
        ForeachClause out{c.variable, c.symbol, copy(c.list), {}};
        for (const auto& u : c.updates) {
            out.updates.push_back(copy(u));
        }
        return out;
    }
    ClauseBody operator()(const LoadCsvClause& c) const {
        return LoadCsvClause{c.with_headers, copy(c.url), c.variable, c.symbol, c.field_terminator};
    }
    ClauseBody operator()(const UseClause& c) const { return c; }
};

Clause copy(const Clause& clause) {
    return Clause{clause.position, std::visit(BodyCopier{}, clause.body)};
}

template <class T>
const T& as(const Expr& e) {
    return static_cast<const T&>(e);
}

ExprPtr clone_node(const Expr& expr) {
    const SourcePosition p = expr.position;
    switch (expr.kind) {
        case ExprKind::kLiteral:
            return std::make_unique<Literal>(p, as<Literal>(expr).value);
        case ExprKind::kParameter:
            return std::make_unique<Parameter>(p, as<Parameter>(expr).name);
        case ExprKind::kVariable: {
            auto out = std::make_unique<Variable>(p, as<Variable>(expr).name);
            out->symbol = as<Variable>(expr).symbol;
            return out;
        }
        case ExprKind::kProperty:
            return std::make_unique<Property>(
                p, copy(as<Property>(expr).base), as<Property>(expr).key);
        case ExprKind::kLabelCheck:
            return std::make_unique<LabelCheck>(
                p, copy(as<LabelCheck>(expr).base), as<LabelCheck>(expr).labels);
        case ExprKind::kUnary:
            return std::make_unique<Unary>(p, as<Unary>(expr).op, copy(as<Unary>(expr).operand));
        case ExprKind::kBinary: {
            const auto& e = as<Binary>(expr);
            return std::make_unique<Binary>(p, e.op, copy(e.left), copy(e.right));
        }
        case ExprKind::kIsNull:
            return std::make_unique<IsNull>(
                p, copy(as<IsNull>(expr).operand), as<IsNull>(expr).negated);
        case ExprKind::kTypeCheck: {
            const auto& e = as<TypeCheck>(expr);
            return std::make_unique<TypeCheck>(p, copy(e.operand), e.type, e.negated);
        }
        case ExprKind::kNormalizedCheck: {
            const auto& e = as<NormalizedCheck>(expr);
            return std::make_unique<NormalizedCheck>(p, copy(e.operand), e.form, e.negated);
        }
        case ExprKind::kList: {
            auto out = std::make_unique<ListLiteral>(p);
            out->items = copy(as<ListLiteral>(expr).items);
            return out;
        }
        case ExprKind::kMap: {
            auto out = std::make_unique<MapLiteral>(p);
            for (const auto& [key, value] : as<MapLiteral>(expr).entries) {
                out->entries.emplace_back(key, copy(value));
            }
            return out;
        }
        case ExprKind::kIndex:
            return std::make_unique<IndexAccess>(
                p, copy(as<IndexAccess>(expr).base), copy(as<IndexAccess>(expr).index));
        case ExprKind::kSlice: {
            const auto& e = as<Slice>(expr);
            return std::make_unique<Slice>(p, copy(e.base), copy(e.from), copy(e.to));
        }
        case ExprKind::kFunction: {
            const auto& e = as<FunctionCall>(expr);
            auto out = std::make_unique<FunctionCall>(p, e.name);
            out->distinct = e.distinct;
            out->arguments = copy(e.arguments);
            out->aggregating = e.aggregating;
            return out;
        }
        case ExprKind::kCountStar:
            return std::make_unique<CountStar>(p);
        case ExprKind::kCase: {
            const auto& e = as<Case>(expr);
            auto out = std::make_unique<Case>(p);
            out->subject = copy(e.subject);
            for (const auto& [when, then] : e.alternatives) {
                out->alternatives.emplace_back(copy(when), copy(then));
            }
            out->otherwise = copy(e.otherwise);
            return out;
        }
        case ExprKind::kListComprehension: {
            const auto& e = as<ListComprehension>(expr);
            auto out = std::make_unique<ListComprehension>(p);
            out->variable = e.variable;
            out->symbol = e.symbol;
            out->list = copy(e.list);
            out->where = copy(e.where);
            out->projection = copy(e.projection);
            return out;
        }
        case ExprKind::kPatternComprehension: {
            const auto& e = as<PatternComprehension>(expr);
            auto out = std::make_unique<PatternComprehension>(p);
            out->pattern = clone(e.pattern);
            out->where = copy(e.where);
            out->projection = copy(e.projection);
            return out;
        }
        case ExprKind::kQuantifier: {
            const auto& e = as<Quantifier>(expr);
            auto out = std::make_unique<Quantifier>(p);
            out->quantifier = e.quantifier;
            out->variable = e.variable;
            out->symbol = e.symbol;
            out->list = copy(e.list);
            out->where = copy(e.where);
            return out;
        }
        case ExprKind::kReduce: {
            const auto& e = as<Reduce>(expr);
            auto out = std::make_unique<Reduce>(p);
            out->accumulator = e.accumulator;
            out->accumulator_symbol = e.accumulator_symbol;
            out->initial = copy(e.initial);
            out->variable = e.variable;
            out->symbol = e.symbol;
            out->list = copy(e.list);
            out->step = copy(e.step);
            return out;
        }
        case ExprKind::kMapProjection: {
            const auto& e = as<MapProjection>(expr);
            auto out = std::make_unique<MapProjection>(p);
            out->base = copy(e.base);
            for (const auto& i : e.items) {
                out->items.push_back(MapProjection::Item{i.kind, i.key, copy(i.value)});
            }
            return out;
        }
        case ExprKind::kPatternPredicate: {
            auto out = std::make_unique<PatternPredicate>(p);
            out->pattern = clone(as<PatternPredicate>(expr).pattern);
            return out;
        }
        case ExprKind::kSubquery: {
            const auto& e = as<SubqueryExpr>(expr);
            auto out = std::make_unique<SubqueryExpr>(p, e.subquery);
            out->query = std::make_unique<Query>(clone(*e.query));
            return out;
        }
        case ExprKind::kShortestPath: {
            auto out = std::make_unique<ShortestPathExpr>(p);
            out->pattern = clone(as<ShortestPathExpr>(expr).pattern);
            return out;
        }
    }
    return nullptr;
}

}  // namespace

ExprPtr clone(const Expr& expr) {
    ExprPtr out = clone_node(expr);
    out->text = expr.text;
    out->height = expr.height;
    return out;
}

PathPattern clone(const PathPattern& p) {
    PathPattern out;
    out.position = p.position;
    out.variable = p.variable;
    out.symbol = p.symbol;
    out.selector = p.selector;
    for (const auto& n : p.nodes) {
        out.nodes.push_back(NodePattern{n.position,
                                        n.variable,
                                        n.symbol,
                                        n.bound_before,
                                        n.labels,
                                        copy(n.properties),
                                        copy(n.where)});
    }
    for (const auto& r : p.relationships) {
        out.relationships.push_back(RelPattern{r.position,
                                               r.variable,
                                               r.symbol,
                                               r.bound_before,
                                               r.direction,
                                               r.types,
                                               r.length,
                                               copy(r.properties),
                                               copy(r.where),
                                               r.quantified,
                                               r.step});
    }
    return out;
}

Query clone(const Query& query) {
    Query out;
    out.union_all = query.union_all;
    for (const auto& part : query.parts) {
        auto& copied = out.parts.emplace_back();
        for (const auto& clause : part.clauses) {
            copied.clauses.push_back(copy(clause));
        }
    }
    return out;
}

}  // namespace nornic::cypher
