// Expressions as EXPLAIN writes them: near to the source, not exact where it would be long.
#include "cypher/planner/ast_walk.h"

#include <array>

namespace nornic::cypher {
namespace {

constexpr std::array<std::string_view, 21> kOperators{
    "OR", "XOR", "AND", "=", "<>", "<",           "<=",        ">",        ">=", "+", "||",
    "-",  "*",   "/",   "%", "^",  "STARTS WITH", "ENDS WITH", "CONTAINS", "=~", "IN"};

std::string label_text(const LabelExpr& l) {
    std::string_view between;
    switch (l.kind) {
        case LabelExpr::Kind::kName:
            return l.name;
        case LabelExpr::Kind::kWildcard:
            return "%";
        case LabelExpr::Kind::kNot:
            return "!" + label_text(l.children[0]);
        case LabelExpr::Kind::kAnd:
            between = "&";
            break;
        case LabelExpr::Kind::kOr:
            between = "|";
            break;
    }
    std::string out;
    for (const LabelExpr& c : l.children) {
        out += (out.empty() ? std::string{} : std::string{between}) + label_text(c);
    }
    return "(" + out + ")";
}

std::string list_text(const std::vector<ExprPtr>& items) {
    std::string out;
    for (const ExprPtr& e : items) {
        out += (out.empty() ? "" : ", ") + expr_text(*e);
    }
    return out;
}

}  // namespace

std::string expr_text(const Expr& expr) {
    if (!expr.text.empty()) {
        return expr.text;
    }
    switch (expr.kind) {
        case ExprKind::kLiteral: {
            std::string text = to_cypher_text(static_cast<const Literal&>(expr).value);
            return text.size() > 60 ? text.substr(0, 57) + "…" : text;
        }
        case ExprKind::kParameter:
            return "$" + static_cast<const Parameter&>(expr).name;
        case ExprKind::kVariable:
            return static_cast<const Variable&>(expr).name;
        case ExprKind::kProperty:
            return expr_text(*static_cast<const Property&>(expr).base) + "." +
                   static_cast<const Property&>(expr).key;
        case ExprKind::kLabelCheck: {
            const auto& l = static_cast<const LabelCheck&>(expr);
            return expr_text(*l.base) + ":" + label_text(l.labels);
        }
        case ExprKind::kUnary: {
            const auto& u = static_cast<const Unary&>(expr);
            return (u.op == UnaryOp::kNot ? "NOT " : (u.op == UnaryOp::kMinus ? "-" : "+")) +
                   expr_text(*u.operand);
        }
        case ExprKind::kBinary: {
            const auto& b = static_cast<const Binary&>(expr);
            return expr_text(*b.left) + " " +
                   std::string{kOperators[static_cast<std::size_t>(b.op)]} + " " +
                   expr_text(*b.right);
        }
        case ExprKind::kIsNull:
            return expr_text(*static_cast<const IsNull&>(expr).operand) +
                   (static_cast<const IsNull&>(expr).negated ? " IS NOT NULL" : " IS NULL");
        case ExprKind::kList:
            return "[" + list_text(static_cast<const ListLiteral&>(expr).items) + "]";
        case ExprKind::kIndex:
            return expr_text(*static_cast<const IndexAccess&>(expr).base) + "[" +
                   expr_text(*static_cast<const IndexAccess&>(expr).index) + "]";
        case ExprKind::kFunction: {
            const auto& f = static_cast<const FunctionCall&>(expr);
            return f.name + "(" + (f.distinct ? "DISTINCT " : "") + list_text(f.arguments) + ")";
        }
        case ExprKind::kCountStar:
            return "count(*)";
        case ExprKind::kMap:
            return "{…}";
        case ExprKind::kCase:
            return "CASE …";
        case ExprKind::kQuantifier:
            return "quantifier over " + expr_text(*static_cast<const Quantifier&>(expr).list);
        case ExprKind::kSubquery: {
            const auto kind = static_cast<const SubqueryExpr&>(expr).subquery;
            return kind == SubqueryKind::kExists
                       ? "EXISTS { … }"
                       : (kind == SubqueryKind::kCount ? "COUNT { … }" : "COLLECT { … }");
        }
        case ExprKind::kPatternPredicate:
            return "exists(pattern)";
        default:
            return "…";
    }
}

}  // namespace nornic::cypher
