#include "cypher/planner/compiler.h"

#include "cypher/execution/expression_nodes.h"
#include "cypher/execution/expressions.h"
#include "cypher/functions/function.h"
#include "cypher/functions/operators.h"
#include "cypher/planner/ast_walk.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::cypher {
namespace {

TokenIndex intern(const std::string& name,
                  std::vector<std::string>& names,
                  std::unordered_map<std::string, TokenIndex>& index) {
    const auto [at, fresh] = index.try_emplace(name, static_cast<TokenIndex>(names.size()));
    if (fresh) {
        names.push_back(name);
    }
    return at->second;
}

bool equals_ignoring_case(std::string_view a, std::string_view b) {
    return std::ranges::equal(a, b, [](char x, char y) {
        return std::tolower(static_cast<unsigned char>(x)) ==
               std::tolower(static_cast<unsigned char>(y));
    });
}

void append_labels(const LabelExpr& l, std::string& out) {
    out += fmt::format("({}", static_cast<int>(l.kind));
    out += l.name;
    for (const LabelExpr& c : l.children) {
        append_labels(c, out);
    }
    out += ')';
}

void append_pattern(const PathPattern& p, std::string& out) {
    out += fmt::format("P{}:{}", p.symbol, static_cast<int>(p.selector));
    for (const NodePattern& n : p.nodes) {
        out += fmt::format("n{}", n.symbol);
        if (n.labels) {
            append_labels(*n.labels, out);
        }
    }
    for (const RelPattern& r : p.relationships) {
        out += fmt::format("r{}:{}", r.symbol, static_cast<int>(r.direction));
        if (r.types) {
            append_labels(*r.types, out);
        }
    }
}

}  // namespace

TokenIndex PlanSpace::label(const std::string& name) {
    return intern(name, tokens.labels, label_index);
}
TokenIndex PlanSpace::type(const std::string& name) {
    return intern(name, tokens.types, type_index);
}
TokenIndex PlanSpace::key(const std::string& name) {
    return intern(name, tokens.keys, key_index);
}
Slot PlanSpace::new_slot(std::string name) {
    slot_names.push_back(std::move(name));
    return slots++;
}

CompiledPtr make_constant(Value value) {
    return std::make_shared<ConstantExpr>(std::move(value));
}
CompiledPtr make_slot(Slot slot) {
    return std::make_shared<SlotExpr>(slot);
}

std::string Compiler::key(const Expr& expr) {
    std::string out = fmt::format("[{}", static_cast<int>(expr.kind));
    switch (expr.kind) {
        case ExprKind::kLiteral: {
            const Value& v = static_cast<const Literal&>(expr).value;
            out += fmt::format(" {}:{}", static_cast<int>(v.type()), to_cypher_text(v));
            break;
        }
        case ExprKind::kParameter:
            out += " $" + static_cast<const Parameter&>(expr).name;
            break;
        case ExprKind::kVariable: {
            const auto& v = static_cast<const Variable&>(expr);
            out += v.symbol == kNoSymbol ? " ?" + v.name : fmt::format(" #{}", v.symbol);
            break;
        }
        case ExprKind::kProperty:
            out += " ." + static_cast<const Property&>(expr).key;
            break;
        case ExprKind::kLabelCheck:
            append_labels(static_cast<const LabelCheck&>(expr).labels, out);
            break;
        case ExprKind::kUnary:
            out += fmt::format(" {}", static_cast<int>(static_cast<const Unary&>(expr).op));
            break;
        case ExprKind::kBinary:
            out += fmt::format(" {}", static_cast<int>(static_cast<const Binary&>(expr).op));
            break;
        case ExprKind::kIsNull:
            out += static_cast<const IsNull&>(expr).negated ? " !" : "";
            break;
        case ExprKind::kTypeCheck:
            out += " " + static_cast<const TypeCheck&>(expr).type.text +
                   (static_cast<const TypeCheck&>(expr).negated ? "!" : "");
            break;
        case ExprKind::kNormalizedCheck:
            out += " " + static_cast<const NormalizedCheck&>(expr).form;
            break;
        case ExprKind::kMap:
            for (const auto& [k, v] : static_cast<const MapLiteral&>(expr).entries) {
                out += " " + k;
            }
            break;
        case ExprKind::kSlice:
            out += static_cast<const Slice&>(expr).from ? " f" : " -";
            out += static_cast<const Slice&>(expr).to ? "t" : "-";
            break;
        case ExprKind::kFunction: {
            const auto& f = static_cast<const FunctionCall&>(expr);
            std::string name = f.name;
            std::ranges::transform(name, name.begin(), [](unsigned char c) {
                return static_cast<char>(std::tolower(c));
            });
            out += " " + name + (f.distinct ? " d" : "");
            break;
        }
        case ExprKind::kCase:
            out += static_cast<const Case&>(expr).subject ? " s" : " -";
            break;
        case ExprKind::kListComprehension: {
            const auto& l = static_cast<const ListComprehension&>(expr);
            out +=
                fmt::format(" {}{}{}", l.variable, l.where ? "w" : "-", l.projection ? "p" : "-");
            break;
        }
        case ExprKind::kQuantifier:
            out += fmt::format(" {}",
                               static_cast<int>(static_cast<const Quantifier&>(expr).quantifier));
            break;
        case ExprKind::kMapProjection:
            for (const auto& i : static_cast<const MapProjection&>(expr).items) {
                out += fmt::format(" {}{}", static_cast<int>(i.kind), i.key);
            }
            break;
        case ExprKind::kPatternComprehension:
            append_pattern(static_cast<const PatternComprehension&>(expr).pattern, out);
            break;
        case ExprKind::kPatternPredicate:
            append_pattern(static_cast<const PatternPredicate&>(expr).pattern, out);
            break;
        case ExprKind::kShortestPath:
            append_pattern(static_cast<const ShortestPathExpr&>(expr).pattern, out);
            break;
        // Two subqueries are never the same one.
        case ExprKind::kSubquery:
            out += fmt::format(" {}", static_cast<const void*>(&expr));
            break;
        default:
            break;
    }
    for_each_child(expr, [&](const Expr& e) { out += key(e); });
    out += ']';
    return out;
}

CompiledPtr Compiler::fold(CompiledPtr expr) {
    ExecContext context;
    // Plans are kept: a constant like range(1, 1000000000) is for the run to make, under its own
    // limit.
    constexpr std::size_t kFoldedBytesMax = std::size_t{64} << 10;
    context.memory_bytes_max = kFoldedBytesMax;
    try {
        return make_constant(expr->get(Row{}, context));
    } catch (const QueryError&) {
        // The error belongs to the run, which may never reach it.
        return expr;
    }
}

CompiledLabels Compiler::compile_labels(const LabelExpr& labels, bool relationship) {
    CompiledLabels out;
    out.kind = labels.kind;
    if (labels.kind == LabelExpr::Kind::kName) {
        out.token = relationship ? space_.type(labels.name) : space_.label(labels.name);
    }
    for (const LabelExpr& c : labels.children) {
        out.children.push_back(compile_labels(c, relationship));
    }
    return out;
}

PropertySource Compiler::compile_properties(const Expr* properties) {
    PropertySource out;
    if (properties == nullptr) {
        return out;
    }
    if (properties->kind == ExprKind::kMap) {
        for (const auto& [k, e] : static_cast<const MapLiteral&>(*properties).entries) {
            out.fixed.emplace_back(space_.key(k), compile(*e));
        }
        return out;
    }
    out.map = compile(*properties);
    return out;
}

CompiledPtr Compiler::compile(const Expr& expr) {
    if (!replaced.empty()) {
        if (const auto at = replaced.find(key(expr)); at != replaced.end()) {
            return make_slot(at->second);
        }
    }
    return compile_inner(expr);
}

CompiledPtr Compiler::compile_inner(const Expr& expr) {
    switch (expr.kind) {
        case ExprKind::kLiteral:
            return make_constant(static_cast<const Literal&>(expr).value);
        case ExprKind::kParameter:
            return std::make_shared<ParameterExpr>(static_cast<const Parameter&>(expr).name);
        case ExprKind::kVariable: {
            const auto& v = static_cast<const Variable&>(expr);
            if (v.symbol != kNoSymbol) {
                return make_slot(v.symbol);
            }
            const auto at = named.find(v.name);
            if (at == named.end()) {
                throw QueryError{ErrorCode::kSyntaxError,
                                 fmt::format("Variable `{}` not defined", v.name),
                                 "42001>42N62",
                                 v.position};
            }
            return make_slot(at->second);
        }
        case ExprKind::kProperty: {
            const auto& p = static_cast<const Property&>(expr);
            CompiledPtr base = compile(*p.base);
            const TokenIndex k = space_.key(p.key);
            if (base->slot() != kNoSlot) {
                return std::make_shared<SlotPropertyExpr>(base->slot(), k);
            }
            const bool constant = base->constant();
            auto out = std::make_shared<PropertyExpr>(std::move(base), k, p.key);
            return constant ? fold(out) : out;
        }
        case ExprKind::kLabelCheck: {
            const auto& l = static_cast<const LabelCheck&>(expr);
            return std::make_shared<LabelCheckExpr>(
                compile(*l.base), compile_labels(l.labels, false), compile_labels(l.labels, true));
        }
        case ExprKind::kUnary: {
            const auto& u = static_cast<const Unary&>(expr);
            CompiledPtr a = compile(*u.operand);
            const bool constant = a->constant();
            auto out = std::make_shared<UnaryExpr>(
                u.op == UnaryOp::kNot ? &logical_not : (u.op == UnaryOp::kMinus ? &negate : &plus),
                std::move(a));
            return constant ? fold(out) : out;
        }
        case ExprKind::kBinary:
            return binary(static_cast<const Binary&>(expr));
        case ExprKind::kIsNull: {
            const auto& n = static_cast<const IsNull&>(expr);
            return std::make_shared<IsNullExpr>(compile(*n.operand), n.negated);
        }
        case ExprKind::kTypeCheck: {
            const auto& t = static_cast<const TypeCheck&>(expr);
            return std::make_shared<TypeCheckExpr>(compile(*t.operand), &t.type, t.negated);
        }
        case ExprKind::kNormalizedCheck: {
            const auto& n = static_cast<const NormalizedCheck&>(expr);
            return std::make_shared<NormalizedExpr>(compile(*n.operand), n.form, n.negated);
        }
        case ExprKind::kList: {
            std::vector<CompiledPtr> items;
            bool constant = true;
            for (const ExprPtr& e : static_cast<const ListLiteral&>(expr).items) {
                items.push_back(compile(*e));
                constant = constant && items.back()->constant();
            }
            auto out = std::make_shared<ListExpr>(std::move(items));
            return constant ? fold(out) : out;
        }
        case ExprKind::kMap: {
            std::vector<std::pair<std::string, CompiledPtr>> entries;
            bool constant = true;
            for (const auto& [k, e] : static_cast<const MapLiteral&>(expr).entries) {
                entries.emplace_back(k, compile(*e));
                constant = constant && entries.back().second->constant();
            }
            auto out = std::make_shared<MapExpr>(std::move(entries));
            return constant ? fold(out) : out;
        }
        case ExprKind::kIndex: {
            const auto& i = static_cast<const IndexAccess&>(expr);
            return std::make_shared<IndexExpr>(compile(*i.base), compile(*i.index));
        }
        case ExprKind::kSlice: {
            const auto& s = static_cast<const Slice&>(expr);
            return std::make_shared<SliceExpr>(compile(*s.base),
                                               s.from ? compile(*s.from) : nullptr,
                                               s.to ? compile(*s.to) : nullptr);
        }
        case ExprKind::kFunction:
            return function(static_cast<const FunctionCall&>(expr));
        case ExprKind::kCountStar:
            throw QueryError{ErrorCode::kSyntaxError,
                             "Invalid use of aggregating function count(...) in this context",
                             "42001>42I18",
                             expr.position};
        case ExprKind::kCase: {
            const auto& c = static_cast<const Case&>(expr);
            std::vector<std::pair<CompiledPtr, CompiledPtr>> alternatives;
            for (const auto& [when, then] : c.alternatives) {
                alternatives.emplace_back(compile(*when), compile(*then));
            }
            return std::make_shared<CaseExpr>(c.subject ? compile(*c.subject) : nullptr,
                                              std::move(alternatives),
                                              c.otherwise ? compile(*c.otherwise) : nullptr);
        }
        case ExprKind::kListComprehension: {
            const auto& l = static_cast<const ListComprehension&>(expr);
            return std::make_shared<ListComprehensionExpr>(
                l.symbol,
                compile(*l.list),
                l.where ? compile(*l.where) : nullptr,
                l.projection ? compile(*l.projection) : nullptr);
        }
        case ExprKind::kQuantifier: {
            const auto& q = static_cast<const Quantifier&>(expr);
            return std::make_shared<QuantifierExpr>(
                q.quantifier, q.symbol, compile(*q.list), compile(*q.where));
        }
        case ExprKind::kReduce: {
            const auto& r = static_cast<const Reduce&>(expr);
            return std::make_shared<ReduceExpr>(r.accumulator_symbol,
                                                compile(*r.initial),
                                                r.symbol,
                                                compile(*r.list),
                                                compile(*r.step));
        }
        case ExprKind::kMapProjection: {
            const auto& m = static_cast<const MapProjection&>(expr);
            std::vector<MapProjectionExpr::Item> items;
            for (const MapProjection::Item& i : m.items) {
                items.push_back(
                    {i.kind,
                     i.key,
                     i.kind == MapProjection::Item::Kind::kProperty ? space_.key(i.key) : 0,
                     i.value ? compile(*i.value) : nullptr});
            }
            return std::make_shared<MapProjectionExpr>(compile(*m.base), std::move(items));
        }
        case ExprKind::kPatternComprehension:
        case ExprKind::kPatternPredicate:
        case ExprKind::kSubquery:
        case ExprKind::kShortestPath:
            return nested_(expr);
    }
    return make_constant(Value{});
}

CompiledPtr Compiler::binary(const Binary& expr) {
    CompiledPtr a = compile(*expr.left);
    CompiledPtr b = compile(*expr.right);
    const bool constant = a->constant() && b->constant();
    CompiledPtr out;
    switch (expr.op) {
        case BinaryOp::kAnd:
            out = std::make_shared<LogicExpr<false>>(std::move(a), std::move(b));
            break;
        case BinaryOp::kOr:
            out = std::make_shared<LogicExpr<true>>(std::move(a), std::move(b));
            break;
        case BinaryOp::kEqual:
            out = std::make_shared<EqualExpr>(std::move(a), std::move(b));
            break;
        case BinaryOp::kLess:
            out = std::make_shared<CompareExpr<CompareKind::kLess>>(std::move(a), std::move(b));
            break;
        case BinaryOp::kLessEqual:
            out =
                std::make_shared<CompareExpr<CompareKind::kLessEqual>>(std::move(a), std::move(b));
            break;
        case BinaryOp::kGreater:
            out = std::make_shared<CompareExpr<CompareKind::kGreater>>(std::move(a), std::move(b));
            break;
        case BinaryOp::kGreaterEqual:
            out = std::make_shared<CompareExpr<CompareKind::kGreaterEqual>>(std::move(a),
                                                                            std::move(b));
            break;
        case BinaryOp::kAdd:
            out = std::make_shared<JoinExpr<&add>>(std::move(a), std::move(b));
            break;
        case BinaryOp::kConcat:
            out = std::make_shared<JoinExpr<&concatenate>>(std::move(a), std::move(b));
            break;
        default: {
            BinaryFn fn = nullptr;
            switch (expr.op) {
                case BinaryOp::kXor:
                    fn = &logical_xor;
                    break;
                case BinaryOp::kNotEqual:
                    fn = &not_equal;
                    break;
                case BinaryOp::kSubtract:
                    fn = [](const Value& x, const Value& y) { return subtract(x, y); };
                    break;
                case BinaryOp::kMultiply:
                    fn = [](const Value& x, const Value& y) { return multiply(x, y); };
                    break;
                case BinaryOp::kDivide:
                    fn = &divide;
                    break;
                case BinaryOp::kModulo:
                    fn = &modulo;
                    break;
                case BinaryOp::kPower:
                    fn = &power;
                    break;
                case BinaryOp::kStartsWith:
                    fn = &starts_with;
                    break;
                case BinaryOp::kEndsWith:
                    fn = &ends_with;
                    break;
                case BinaryOp::kContains:
                    fn = &contains;
                    break;
                case BinaryOp::kRegex:
                    fn = &regex_match;
                    break;
                default:
                    fn = &in_list;
                    break;
            }
            out = std::make_shared<BinaryExpr>(fn, std::move(a), std::move(b));
        }
    }
    return constant ? fold(out) : out;
}

CompiledPtr Compiler::function(const FunctionCall& expr) {
    if (expr.aggregating) {
        throw QueryError{
            ErrorCode::kSyntaxError,
            fmt::format("Invalid use of aggregating function {}(...) in this context", expr.name),
            "42001>42I18",
            expr.position};
    }
    std::vector<CompiledPtr> arguments;
    bool constant = true;
    for (const ExprPtr& e : expr.arguments) {
        arguments.push_back(compile(*e));
        constant = constant && arguments.back()->constant();
    }
    if (equals_ignoring_case(expr.name, "coalesce")) {
        return std::make_shared<CoalesceExpr>(std::move(arguments));
    }
    if (equals_ignoring_case(expr.name, "exists") && arguments.size() == 1) {
        const ExprKind kind = expr.arguments[0]->kind;
        if (kind == ExprKind::kPatternPredicate || kind == ExprKind::kSubquery) {
            return arguments[0];  // exists((a)-->(b)): the pattern is the answer
        }
        return std::make_shared<IsNullExpr>(std::move(arguments[0]), true);
    }
    if (equals_ignoring_case(expr.name, "id") && arguments.size() == 1 &&
        arguments[0]->slot() != kNoSlot) {
        return std::make_shared<IdExpr>(std::move(arguments[0]));
    }
    const FunctionSignature* f = find_function(expr.name);
    if (f == nullptr || f->call == nullptr) {
        throw QueryError{ErrorCode::kSyntaxError,
                         fmt::format("Unknown function '{}'", expr.name),
                         "42001>42N48",
                         expr.position};
    }
    const auto n = static_cast<int>(arguments.size());
    if (n < f->args_min || (f->args_max >= 0 && n > f->args_max)) {
        throw QueryError{ErrorCode::kSyntaxError,
                         fmt::format("{} parameters for function '{}'",
                                     n < f->args_min ? "Insufficient" : "Too many",
                                     expr.name),
                         "42001>42I13",
                         expr.position};
    }
    // A folded range would be kept, whole, as long as its plan.
    const bool foldable = constant && f->deterministic && !equals_ignoring_case(expr.name, "range");
    auto out = std::make_shared<FunctionExpr>(f, std::move(arguments));
    return foldable ? fold(out) : out;
}

}  // namespace nornic::cypher
