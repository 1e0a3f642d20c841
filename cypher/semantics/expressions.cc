// Expressions: names, static types, where aggregation and pattern predicates may stand.

#include "cypher/ast/walk.h"
#include "cypher/lexer/keywords.h"
#include "cypher/semantics/analyser.h"

#include <fmt/format.h>

namespace nornic::cypher {
namespace {

constexpr TypeSet kUnknownElements = types::kAny;

StaticType list_of(TypeSet elements) {
    return {types::kList, elements};
}
StaticType type_of_elements(StaticType list) {
    // Elements of a list whose own elements are lists are not followed deeper.
    if ((list.set & types::kList) == 0 || list.elements == 0) {
        return {};
    }
    return {list.elements, kUnknownElements};
}
bool definite(StaticType t) {
    return (t.set & types::kNull) == 0 && t.set != 0;
}

StaticType join(StaticType a, StaticType b) {
    TypeSet elements = 0;
    elements |= (a.set & types::kList) != 0 ? a.elements : 0;
    elements |= (b.set & types::kList) != 0 ? b.elements : 0;
    return {a.set | b.set, elements == 0 ? kUnknownElements : elements};
}

TypeSet type_of_value(const Value& v) {
    if (v.is_null()) {
        return types::kNull;
    }
    return type_of(v);
}

/// Long lists are sampled no further than this: then nothing is known of their elements.
constexpr std::size_t kElementsLookedAt = 64;

StaticType static_type_of(const Value& v) {
    StaticType t{type_of_value(v), kUnknownElements};
    if (v.is_list()) {
        const auto& list = v.as_list();
        if (list.size() <= kElementsLookedAt) {
            t.elements = 0;
            for (const auto& item : list) {
                t.elements |= type_of_value(item);
            }
            t.elements = t.elements == 0 ? kUnknownElements : t.elements;
        }
    }
    return t;
}

constexpr TypeSet kPropertyBase = types::kMap | types::kNode | types::kRelationship |
                                  types::kPoint | types::kDuration | types::kTemporal;
constexpr std::string_view kPropertyBaseText =
    "Map, Node, Relationship, Point, Duration, Date, Time, LocalTime, LocalDateTime or DateTime";
constexpr std::string_view kAddable = "Float, Integer, String or List<T>";
constexpr std::string_view kPatternMisused =
    "A pattern expression should only be used in order to test the existence of a pattern. It "
    "should therefore only be used in contexts that "
    "evaluate to a boolean, e.g. inside the function exists() or in a WHERE-clause. No other uses "
    "are allowed, instead they should be "
    "replaced by a pattern comprehension.";

}  // namespace

void Analyser::check_predicate(ExprPtr& e) {
    const StaticType t = check(e, true);
    if (!t.may_be(types::kBoolean)) {
        mismatch(*e, "Boolean", t, "42001>22NB1");
    }
}

StaticType Analyser::check(ExprPtr& e, bool as_predicate) {
    return check_inner(e, as_predicate);
}

StaticType Analyser::check_variable(Variable& v) {
    const auto it = scope_.find(v.name);
    if (it == scope_.end()) {
        fail(v.position, fmt::format("Variable `{}` not defined", v.name), "42001>42N62");
    }
    v.symbol = it->second;
    return type_of_symbol(v.symbol);
}

StaticType Analyser::check_parameter(const Parameter& p) const {
    const Value* v = parameters_.find(p.name);
    return v == nullptr ? StaticType{} : static_type_of(*v);
}

StaticType Analyser::check_list(ListLiteral& e) {
    TypeSet elements = 0;
    for (auto& item : e.items) {
        elements |= check(item).set;
    }
    return {types::kList, elements == 0 ? kUnknownElements : elements};
}

void Analyser::enter_aggregate(const Expr& e, std::string_view name) {
    switch (aggregates_) {
        case Aggregates::kAllowed:
            ++aggregates_seen_;
            return;
        case Aggregates::kInside:
            fail(e.position,
                 "Can't use aggregate functions inside of aggregate functions.",
                 "42001>42I24");
        case Aggregates::kInList:
            fail(e.position,
                 "Can't use aggregating expressions inside of expressions executing over lists",
                 "42001>42I24");
        case Aggregates::kForbidden:
            fail(e.position,
                 fmt::format("Invalid use of aggregating function {}(...) in this context", name),
                 "42001>42I24");
    }
}

StaticType Analyser::check_inner(ExprPtr& expr, bool as_predicate) {
    Expr& base = *expr;
    const auto in_list = [&](auto&& body) {
        const auto outer =
            std::exchange(aggregates_,
                          aggregates_ == Aggregates::kAllowed || aggregates_ == Aggregates::kInside
                              ? Aggregates::kInList
                              : aggregates_);
        body();
        aggregates_ = outer;
    };
    switch (base.kind) {
        case ExprKind::kLiteral:
            return static_type_of(static_cast<const Literal&>(base).value);
        case ExprKind::kParameter:
            return check_parameter(static_cast<const Parameter&>(base));
        case ExprKind::kVariable:
            return check_variable(static_cast<Variable&>(base));
        case ExprKind::kProperty: {
            auto& e = static_cast<Property&>(base);
            const StaticType t = check(e.base);
            if (!t.may_be(kPropertyBase)) {
                mismatch(*e.base, kPropertyBaseText, t, "22G03>22N27");
            }
            return {};
        }
        case ExprKind::kLabelCheck: {
            auto& e = static_cast<LabelCheck&>(base);
            require(*e.base, check(e.base), types::kEntity);
            return {types::kBoolean | types::kNull, 0};
        }
        case ExprKind::kUnary: {
            auto& e = static_cast<Unary&>(base);
            if (e.op == UnaryOp::kNot) {
                const StaticType t = check(e.operand, true);
                require(*e.operand, t, types::kBoolean);
                return {types::kBoolean | (t.set & types::kNull), 0};
            }
            const StaticType t = check(e.operand);
            require(*e.operand, t, types::kNumber | types::kDuration);
            return t;
        }
        case ExprKind::kBinary:
            return check_binary(static_cast<Binary&>(base));
        case ExprKind::kIsNull:
            check(static_cast<IsNull&>(base).operand);
            return {types::kBoolean, 0};
        case ExprKind::kTypeCheck:
            check(static_cast<TypeCheck&>(base).operand);
            return {types::kBoolean, 0};
        case ExprKind::kNormalizedCheck: {
            auto& e = static_cast<NormalizedCheck&>(base);
            check(e.operand);
            return {types::kBoolean | types::kNull, 0};
        }
        case ExprKind::kList:
            return check_list(static_cast<ListLiteral&>(base));
        case ExprKind::kMap:
            for (auto& entry : static_cast<MapLiteral&>(base).entries) {
                check(entry.second);
            }
            return {types::kMap, 0};
        case ExprKind::kIndex: {
            auto& e = static_cast<IndexAccess&>(base);
            const StaticType t = check(e.base);
            const StaticType index = check(e.index);
            require(*e.base, t, types::kList | types::kMap | types::kEntity);
            if ((t.set & ~types::kNull) == types::kList) {
                require(*e.index, index, types::kInteger, "22G03>22N27");
                StaticType element = type_of_elements(t);
                element.set |= types::kNull;
                return element;
            }
            return {};
        }
        case ExprKind::kSlice: {
            auto& e = static_cast<Slice&>(base);
            const StaticType t = check(e.base);
            require(*e.base, t, types::kList);
            for (ExprPtr* bound : {&e.from, &e.to}) {
                if (*bound) {
                    require(**bound, check(*bound), types::kInteger);
                }
            }
            return {types::kList | types::kNull, t.elements};
        }
        case ExprKind::kFunction:
            return check_function(static_cast<FunctionCall&>(base), as_predicate);
        case ExprKind::kCountStar:
            enter_aggregate(base, "count");
            return {types::kInteger, 0};
        case ExprKind::kCase:
            return check_case(static_cast<Case&>(base), as_predicate);
        case ExprKind::kListComprehension: {
            auto& e = static_cast<ListComprehension&>(base);
            const StaticType list = check(e.list);
            require(*e.list, list, types::kList);
            const StaticType element = type_of_elements(list);
            e.symbol = new_symbol(e.variable, element);
            StaticType projected = element;
            const Local local{*this, e.variable, e.symbol};
            in_list([&] {
                if (e.where) {
                    check_predicate(e.where);
                }
                if (e.projection) {
                    projected = check(e.projection);
                }
            });
            return {types::kList | (list.set & types::kNull),
                    projected.set == 0 ? kUnknownElements : projected.set};
        }
        case ExprKind::kPatternComprehension: {
            auto& e = static_cast<PatternComprehension&>(base);
            const Scope outer = scope_;
            StaticType projected;
            const auto first_new = static_cast<Symbol>(result_.symbols.size());
            std::unordered_set<Symbol> relationships;
            in_list([&] {
                declare_pattern(e.pattern, PatternUse::kMatch, first_new, relationships);
                check_pattern_expressions(e.pattern, PatternUse::kMatch, first_new);
                if (e.where) {
                    check_predicate(e.where);
                }
                projected = check(e.projection);
            });
            scope_ = outer;
            return list_of(projected.set);
        }
        case ExprKind::kQuantifier: {
            auto& e = static_cast<Quantifier&>(base);
            const StaticType list = check(e.list);
            require(*e.list, list, types::kList);
            e.symbol = new_symbol(e.variable, type_of_elements(list));
            const Local local{*this, e.variable, e.symbol};
            in_list([&] { check_predicate(e.where); });
            return {types::kBoolean | types::kNull, 0};
        }
        case ExprKind::kReduce: {
            auto& e = static_cast<Reduce&>(base);
            check(e.initial);
            const StaticType list = check(e.list);
            require(*e.list, list, types::kList);
            e.accumulator_symbol = new_symbol(e.accumulator, {});
            e.symbol = new_symbol(e.variable, type_of_elements(list));
            const Local accumulator{*this, e.accumulator, e.accumulator_symbol};
            const Local element{*this, e.variable, e.symbol};
            in_list([&] { check(e.step); });
            return {};
        }
        case ExprKind::kMapProjection: {
            auto& e = static_cast<MapProjection&>(base);
            const StaticType t = check(e.base);
            require(*e.base, t, types::kMap | types::kEntity);
            for (auto& item : e.items) {
                if (item.value) {
                    check(item.value);
                }
            }
            return {types::kMap | (t.set & types::kNull), 0};
        }
        case ExprKind::kPatternPredicate: {
            if (!as_predicate) {
                fail(base.position, kPatternMisused, "42001>42I06");
            }
            auto& e = static_cast<PatternPredicate&>(base);
            std::unordered_set<Symbol> relationships;
            const auto first_new = static_cast<Symbol>(result_.symbols.size());
            declare_pattern(e.pattern, PatternUse::kPredicate, first_new, relationships);
            in_list([&] {
                check_pattern_expressions(e.pattern, PatternUse::kPredicate, first_new);
            });
            return {types::kBoolean, 0};
        }
        case ExprKind::kSubquery:
            return check_subquery(static_cast<SubqueryExpr&>(base));
        case ExprKind::kShortestPath: {
            auto& e = static_cast<ShortestPathExpr&>(base);
            std::unordered_set<Symbol> relationships;
            const Scope outer = scope_;
            const auto first_new = static_cast<Symbol>(result_.symbols.size());
            check_shortest(e.pattern);
            in_list([&] {
                declare_pattern(e.pattern, PatternUse::kMatch, first_new, relationships);
                check_pattern_expressions(e.pattern, PatternUse::kMatch, first_new);
            });
            scope_ = outer;
            if (e.pattern.selector == PathSelector::kAllShortest) {
                return list_of(types::kPath);
            }
            return {types::kPath | types::kNull, 0};
        }
    }
    return {};
}

StaticType Analyser::check_binary(Binary& e) {
    const bool logical = e.op == BinaryOp::kAnd || e.op == BinaryOp::kOr || e.op == BinaryOp::kXor;
    const StaticType left = check(e.left, logical);
    const StaticType right = check(e.right, logical);
    const TypeSet null = (left.set | right.set) & types::kNull;
    switch (e.op) {
        case BinaryOp::kAnd:
        case BinaryOp::kOr:
        case BinaryOp::kXor:
            require(*e.left, left, types::kBoolean);
            require(*e.right, right, types::kBoolean);
            return {types::kBoolean | null, 0};
        case BinaryOp::kIn:
            require(*e.right, right, types::kList);
            return {types::kBoolean | types::kNull, 0};
        case BinaryOp::kEqual:
        case BinaryOp::kNotEqual:
        case BinaryOp::kLess:
        case BinaryOp::kLessEqual:
        case BinaryOp::kGreater:
        case BinaryOp::kGreaterEqual:
        case BinaryOp::kStartsWith:
        case BinaryOp::kEndsWith:
        case BinaryOp::kContains:
        case BinaryOp::kRegex:
            return {types::kBoolean | types::kNull, 0};
        case BinaryOp::kAdd:
            return check_addition(e, left, right);
        case BinaryOp::kConcat:
            require(*e.left, left, types::kString | types::kList);
            require(*e.right, right, types::kString | types::kList);
            return {(left.set | right.set) & (types::kString | types::kList | types::kNull),
                    kUnknownElements};
        case BinaryOp::kSubtract: {
            require(*e.left, left, types::kNumber | types::kDuration | types::kTemporal);
            const bool number = definite(left) && (left.set & ~types::kNumber) == 0;
            require(*e.right,
                    right,
                    number ? types::kNumber : types::kNumber | types::kDuration | types::kTemporal);
            break;
        }
        case BinaryOp::kMultiply:
            require(*e.left, left, types::kNumber | types::kDuration);
            require(*e.right, right, types::kNumber | types::kDuration);
            break;
        case BinaryOp::kDivide:
            require(*e.left, left, types::kNumber | types::kDuration);
            require(*e.right, right, types::kNumber);
            break;
        case BinaryOp::kModulo:
        case BinaryOp::kPower:
            require(*e.left, left, types::kNumber);
            require(*e.right, right, types::kNumber);
            break;
    }
    const bool numbers = left.set != 0 && right.set != 0 &&
                         ((left.set | right.set) & ~(types::kNumber | types::kNull)) == 0;
    if (!numbers) {
        return {};
    }
    if (e.op == BinaryOp::kPower) {
        return {types::kFloat | null, 0};
    }
    const bool has_float = left.set == types::kFloat || right.set == types::kFloat;
    const bool integers = ((left.set | right.set) & types::kFloat) == 0;
    return {(has_float ? types::kFloat : (integers ? types::kInteger : types::kNumber)) | null, 0};
}

StaticType Analyser::check_addition(Binary& e, StaticType left, StaticType right) {
    const TypeSet null = (left.set | right.set) & types::kNull;
    if (left.set == types::kNull || right.set == types::kNull ||
        ((left.set | right.set) & types::kList) != 0) {
        // A list takes anything, on either side.
        if (left.set == types::kList || right.set == types::kList) {
            const TypeSet l = left.set == types::kList ? left.elements : left.set;
            const TypeSet r = right.set == types::kList ? right.elements : right.set;
            return {types::kList | null, l | r};
        }
        return {};
    }
    constexpr TypeSet kText = types::kNumber | types::kString;
    constexpr TypeSet kTimes = types::kTemporal | types::kDuration;
    constexpr TypeSet kAddableSet = kText | kTimes | types::kBoolean | types::kPoint;
    if ((left.set & kText) != 0 && (left.set & ~kText & ~types::kNull) == 0) {
        const TypeSet accepted = (left.set & types::kString) != 0 ? kAddableSet : kText;
        if ((right.set & accepted) == 0) {
            mismatch(*e.right, kAddable, right, "42001>22NB1");
        }
        if ((left.set | right.set) == types::kInteger ||
            (left.set | right.set) == (types::kInteger | types::kNull)) {
            return {types::kInteger | null, 0};
        }
        if (((left.set | right.set) & ~(types::kNumber | types::kNull)) == 0) {
            return {(left.set == types::kFloat || right.set == types::kFloat ? types::kFloat
                                                                             : types::kNumber) |
                        null,
                    0};
        }
        if (left.set == types::kString && (right.set & ~kText & ~types::kNull) == 0) {
            return {types::kString | null, 0};
        }
        return {};
    }
    if ((left.set & kAddableSet) == 0) {
        mismatch(*e.left, kAddable, left, "42001>22NB1");
    }
    if ((right.set & kAddableSet) == 0) {
        mismatch(*e.right, kAddable, right, "42001>22NB1");
    }
    return {};
}

StaticType Analyser::check_case(Case& e, bool as_predicate) {
    if (e.subject) {
        check(e.subject);
    }
    StaticType out{0, 0};
    for (auto& [when, then] : e.alternatives) {
        if (e.subject) {
            check(when);
        } else {
            check_predicate(when);
        }
        out = join(out, check(then, as_predicate));
    }
    out = e.otherwise ? join(out, check(e.otherwise, as_predicate)) : join(out, {types::kNull, 0});
    return out;
}

StaticType Analyser::check_function(FunctionCall& e, bool /*as_predicate*/) {
    const FunctionSignature* f = find_function(e.name);
    if (f == nullptr) {
        fail(e.position, fmt::format("Unknown function '{}'", e.name), "42001>42N48");
    }
    if (equals_ignoring_case(e.name, "id")) {
        notify_deprecated_id(e.position);
    }
    e.aggregating = f->aggregating;
    if (e.distinct && !f->aggregating) {
        fail(e.position,
             fmt::format("Invalid use of DISTINCT with function '{}'", f->name),
             "42001>42I25");
    }
    if (f->aggregating) {
        enter_aggregate(e, f->name);
    } else if (aggregates_ == Aggregates::kInside && (equals_ignoring_case(e.name, "rand") ||
                                                      equals_ignoring_case(e.name, "randomUUID"))) {
        fail(e.position,
             "Can't use non-deterministic (random) functions inside of aggregate functions.",
             "42001>42I24");
    }
    const auto count = static_cast<int>(e.arguments.size());
    if (count < f->args_min) {
        fail(e.position,
             fmt::format("Insufficient parameters for function '{}'", f->name),
             "42001>42I13");
    }
    if (f->args_max >= 0 && count > f->args_max) {
        fail(e.position,
             fmt::format("Too many parameters for function '{}'", f->name),
             "42001>42I13");
    }
    const bool takes_pattern = equals_ignoring_case(e.name, "exists");
    const auto outer = aggregates_;
    if (f->aggregating) {
        aggregates_ = Aggregates::kInside;
    }
    StaticType first;
    for (std::size_t i = 0; i < e.arguments.size(); ++i) {
        auto& argument = e.arguments[i];
        const StaticType t = check(argument, takes_pattern);
        first = i == 0 ? t : first;
        TypeSet accepted = f->argument_type(i);
        accepted |= (accepted & types::kFloat) != 0 ? types::kInteger : 0;
        if (!t.may_be(accepted)) {
            mismatch(*argument,
                     type_set_text(f->argument_type(i)),
                     t,
                     accepted == types::kList ? "42001>22NB1" : "22G03>22N27");
        }
        if (takes_pattern && argument->kind != ExprKind::kPatternPredicate &&
            argument->kind != ExprKind::kProperty && argument->kind != ExprKind::kIndex) {
            fail(argument->position,
                 "Argument to exists(...) is not a property or pattern",
                 "22G03>22N27");
        }
    }
    aggregates_ = outer;
    const auto is = [&](std::string_view name) { return equals_ignoring_case(f->name, name); };
    if (is("head") || is("last")) {
        StaticType t = type_of_elements(first);
        t.set |= types::kNull;
        return t;
    }
    if (is("tail") || is("reverse")) {
        return {first.set & f->result_types ? first.set : f->result_types, first.elements};
    }
    if (is("nodes")) {
        return {types::kList | types::kNull, types::kNode};
    }
    if (is("relationships")) {
        return {types::kList | types::kNull, types::kRelationship};
    }
    if (is("labels") || is("keys") || is("split")) {
        return {types::kList | types::kNull, types::kString};
    }
    if (is("range")) {
        return list_of(types::kInteger);
    }
    if (is("collect")) {
        return list_of(first.set == 0 ? kUnknownElements : first.set);
    }
    if (is("coalesce")) {
        return {};
    }
    return {f->result_types | types::kNull, kUnknownElements};
}

StaticType Analyser::check_subquery(SubqueryExpr& e) {
    const Scope outer = scope_;
    const Scope outer_base = base_;
    const auto outer_aggregates = std::exchange(aggregates_, Aggregates::kForbidden);
    auto outer_columns = std::move(columns_);
    auto outer_symbols = std::move(column_symbols_);
    base_ = scope_;
    const QueryKind kind = e.subquery == SubqueryKind::kExists  ? QueryKind::kExists
                           : e.subquery == SubqueryKind::kCount ? QueryKind::kCount
                                                                : QueryKind::kCollect;
    analyse_query(*e.query, kind, outer);
    if (kind == QueryKind::kCollect && columns_.size() != 1) {
        fail(e.position,
             "A Collect Expression must end with a single return column.",
             "42001>42N22");
    }
    TypeSet elements = types::kAny;
    if (kind == QueryKind::kCollect) {
        elements = result_.symbols[column_symbols_[0]].types;
    }
    columns_ = std::move(outer_columns);
    column_symbols_ = std::move(outer_symbols);
    scope_ = outer;
    base_ = outer_base;
    aggregates_ = outer_aggregates;
    switch (kind) {
        case QueryKind::kExists:
            return {types::kBoolean, 0};
        case QueryKind::kCount:
            return {types::kInteger, 0};
        default:
            return list_of(elements);
    }
}

}  // namespace nornic::cypher
