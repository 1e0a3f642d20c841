// same_expression: whether two parts of a query say the same, so that one may stand for the other.

#include "cypher/ast/walk.h"
#include "cypher/lexer/keywords.h"

namespace nornic::cypher {
namespace {

template <class T>
const T& as(const Expr& e) {
    return static_cast<const T&>(e);
}

bool same(const LabelExpr& a, const LabelExpr& b) {
    if (a.kind != b.kind || a.name != b.name || a.children.size() != b.children.size()) {
        return false;
    }
    for (std::size_t i = 0; i < a.children.size(); ++i) {
        if (!same(a.children[i], b.children[i])) {
            return false;
        }
    }
    return true;
}

bool same_optional(const std::optional<LabelExpr>& a, const std::optional<LabelExpr>& b) {
    return a.has_value() == b.has_value() && (!a || same(*a, *b));
}

bool same_optional(const ExprPtr& a, const ExprPtr& b) {
    return (a == nullptr) == (b == nullptr) && (!a || same_expression(*a, *b));
}

bool same_literal(const Value& a, const Value& b) {
    return a.type() == b.type() && equivalent(a, b);
}

bool same(const PathPattern& a, const PathPattern& b) {
    if (a.symbol != b.symbol || a.selector != b.selector || a.nodes.size() != b.nodes.size()) {
        return false;
    }
    for (std::size_t i = 0; i < a.nodes.size(); ++i) {
        const auto& x = a.nodes[i];
        const auto& y = b.nodes[i];
        if (x.variable != y.variable || (!x.variable.empty() && x.symbol != y.symbol) ||
            !same_optional(x.labels, y.labels) || !same_optional(x.properties, y.properties) ||
            !same_optional(x.where, y.where)) {
            return false;
        }
    }
    for (std::size_t i = 0; i < a.relationships.size(); ++i) {
        const auto& x = a.relationships[i];
        const auto& y = b.relationships[i];
        const bool same_length =
            x.length.has_value() == y.length.has_value() &&
            (!x.length || (x.length->min == y.length->min && x.length->max == y.length->max));
        if (x.variable != y.variable || (!x.variable.empty() && x.symbol != y.symbol) ||
            x.direction != y.direction || !same_length || x.quantified != y.quantified ||
            !same_optional(x.types, y.types) ||
            !same_optional(x.properties, y.properties) || !same_optional(x.where, y.where)) {
            return false;
        }
    }
    return true;
}

/// Everything but the children.
bool same_head(const Expr& a, const Expr& b) {
    switch (a.kind) {
        case ExprKind::kLiteral:
            return same_literal(as<Literal>(a).value, as<Literal>(b).value);
        case ExprKind::kParameter:
            return as<Parameter>(a).name == as<Parameter>(b).name;
        case ExprKind::kVariable:
            return as<Variable>(a).symbol == as<Variable>(b).symbol &&
                   as<Variable>(a).name == as<Variable>(b).name;
        case ExprKind::kProperty:
            return as<Property>(a).key == as<Property>(b).key;
        case ExprKind::kLabelCheck:
            return same(as<LabelCheck>(a).labels, as<LabelCheck>(b).labels);
        case ExprKind::kUnary:
            return as<Unary>(a).op == as<Unary>(b).op;
        case ExprKind::kBinary:
            return as<Binary>(a).op == as<Binary>(b).op;
        case ExprKind::kIsNull:
            return as<IsNull>(a).negated == as<IsNull>(b).negated;
        case ExprKind::kTypeCheck:
            return as<TypeCheck>(a).negated == as<TypeCheck>(b).negated &&
                   as<TypeCheck>(a).type.text == as<TypeCheck>(b).type.text;
        case ExprKind::kNormalizedCheck:
            return as<NormalizedCheck>(a).negated == as<NormalizedCheck>(b).negated &&
                   as<NormalizedCheck>(a).form == as<NormalizedCheck>(b).form;
        case ExprKind::kMap: {
            const auto& x = as<MapLiteral>(a).entries;
            const auto& y = as<MapLiteral>(b).entries;
            for (std::size_t i = 0; i < x.size() && i < y.size(); ++i) {
                if (x[i].first != y[i].first) {
                    return false;
                }
            }
            return x.size() == y.size();
        }
        case ExprKind::kSlice:
            return (as<Slice>(a).from == nullptr) == (as<Slice>(b).from == nullptr) &&
                   (as<Slice>(a).to == nullptr) == (as<Slice>(b).to == nullptr);
        case ExprKind::kFunction: {
            const auto& x = as<FunctionCall>(a);
            const auto& y = as<FunctionCall>(b);
            return x.distinct == y.distinct && equals_ignoring_case(x.name, y.name) &&
                   !equals_ignoring_case(x.name, "rand") &&
                   !equals_ignoring_case(x.name, "randomUUID");
        }
        case ExprKind::kCase:
            return (as<Case>(a).subject == nullptr) == (as<Case>(b).subject == nullptr) &&
                   as<Case>(a).alternatives.size() == as<Case>(b).alternatives.size();
        case ExprKind::kListComprehension: {
            const auto& x = as<ListComprehension>(a);
            const auto& y = as<ListComprehension>(b);
            return x.variable == y.variable && (x.where == nullptr) == (y.where == nullptr) &&
                   (x.projection == nullptr) == (y.projection == nullptr);
        }
        case ExprKind::kQuantifier:
            return as<Quantifier>(a).quantifier == as<Quantifier>(b).quantifier &&
                   as<Quantifier>(a).variable == as<Quantifier>(b).variable;
        case ExprKind::kReduce:
            return as<Reduce>(a).variable == as<Reduce>(b).variable &&
                   as<Reduce>(a).accumulator == as<Reduce>(b).accumulator;
        case ExprKind::kMapProjection: {
            const auto& x = as<MapProjection>(a).items;
            const auto& y = as<MapProjection>(b).items;
            for (std::size_t i = 0; i < x.size() && i < y.size(); ++i) {
                if (x[i].kind != y[i].kind || x[i].key != y[i].key) {
                    return false;
                }
            }
            return x.size() == y.size();
        }
        case ExprKind::kPatternPredicate:
            return same(as<PatternPredicate>(a).pattern, as<PatternPredicate>(b).pattern);
        case ExprKind::kShortestPath:
            return same(as<ShortestPathExpr>(a).pattern, as<ShortestPathExpr>(b).pattern);
        case ExprKind::kList:
        case ExprKind::kIndex:
        case ExprKind::kCountStar:
            return true;
        case ExprKind::kPatternComprehension:
        case ExprKind::kSubquery:
            return false;
    }
    return false;
}

}  // namespace

bool same_expression(const Expr& a, const Expr& b) {
    if (&a == &b) {
        return true;
    }
    if (a.kind != b.kind || a.height != b.height || !same_head(a, b)) {
        return false;
    }
    std::vector<const Expr*> left;
    for_each_child(a, [&](const Expr& child) { left.push_back(&child); });
    std::size_t i = 0;
    bool same = true;
    for_each_child(b, [&](const Expr& child) {
        same = same && i < left.size() && same_expression(*left[i], child);
        ++i;
    });
    return same && i == left.size();
}

}  // namespace nornic::cypher
