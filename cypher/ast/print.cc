#include "cypher/ast/print.h"

#include <fmt/format.h>

namespace nornic::cypher {
namespace {

// Higher binds tighter.
enum Level : int {
    kOrLevel = 1,
    kXorLevel,
    kAndLevel,
    kNotLevel,
    kCompareLevel,
    kPredicateLevel,
    kAddLevel,
    kMultiplyLevel,
    kPowerLevel,
    kUnaryLevel,
    kPostfixLevel,
    kAtomLevel
};

template <class T>
const T& as(const Expr& e) {
    return static_cast<const T&>(e);
}

struct Operator {
    std::string_view text;
    int level;
};
Operator operator_of(BinaryOp op) {
    switch (op) {
        case BinaryOp::kOr:
            return {"OR", kOrLevel};
        case BinaryOp::kXor:
            return {"XOR", kXorLevel};
        case BinaryOp::kAnd:
            return {"AND", kAndLevel};
        case BinaryOp::kEqual:
            return {"=", kCompareLevel};
        case BinaryOp::kNotEqual:
            return {"<>", kCompareLevel};
        case BinaryOp::kLess:
            return {"<", kCompareLevel};
        case BinaryOp::kLessEqual:
            return {"<=", kCompareLevel};
        case BinaryOp::kGreater:
            return {">", kCompareLevel};
        case BinaryOp::kGreaterEqual:
            return {">=", kCompareLevel};
        case BinaryOp::kAdd:
            return {"+", kAddLevel};
        case BinaryOp::kConcat:
            return {"||", kAddLevel};
        case BinaryOp::kSubtract:
            return {"-", kAddLevel};
        case BinaryOp::kMultiply:
            return {"*", kMultiplyLevel};
        case BinaryOp::kDivide:
            return {"/", kMultiplyLevel};
        case BinaryOp::kModulo:
            return {"%", kMultiplyLevel};
        case BinaryOp::kPower:
            return {"^", kPowerLevel};
        case BinaryOp::kStartsWith:
            return {"STARTS WITH", kPredicateLevel};
        case BinaryOp::kEndsWith:
            return {"ENDS WITH", kPredicateLevel};
        case BinaryOp::kContains:
            return {"CONTAINS", kPredicateLevel};
        case BinaryOp::kRegex:
            return {"=~", kPredicateLevel};
        case BinaryOp::kIn:
            return {"IN", kPredicateLevel};
    }
    return {"?", kAtomLevel};
}

int level_of(const Expr& e) {
    switch (e.kind) {
        case ExprKind::kBinary:
            return operator_of(as<Binary>(e).op).level;
        case ExprKind::kUnary:
            return as<Unary>(e).op == UnaryOp::kNot ? int{kNotLevel} : int{kUnaryLevel};
        case ExprKind::kIsNull:
        case ExprKind::kTypeCheck:
        case ExprKind::kNormalizedCheck:
            return kPredicateLevel;
        case ExprKind::kProperty:
        case ExprKind::kIndex:
        case ExprKind::kSlice:
        case ExprKind::kLabelCheck:
            return kPostfixLevel;
        default:
            return kAtomLevel;
    }
}

std::string at_least(const Expr& e, int level) {
    std::string text = to_text(e);
    return level_of(e) < level ? "(" + text + ")" : text;
}

std::string list_of(const std::vector<ExprPtr>& items) {
    std::string out;
    for (const auto& item : items) {
        out += out.empty() ? "" : ", ";
        out += to_text(*item);
    }
    return out;
}

bool associative(BinaryOp op) {
    return op == BinaryOp::kAnd || op == BinaryOp::kOr || op == BinaryOp::kXor;
}

std::string label_text(const LabelExpr& l, int level) {
    // 0: or, 1: and, 2: not
    const auto joined = [&](std::string_view separator, int own) {
        std::string out;
        for (const auto& child : l.children) {
            out += out.empty() ? "" : separator;
            out += label_text(child, own + 1);
        }
        return own < level ? "(" + out + ")" : out;
    };
    switch (l.kind) {
        case LabelExpr::Kind::kName:
            return quoted_name(l.name);
        case LabelExpr::Kind::kWildcard:
            return "%";
        case LabelExpr::Kind::kNot:
            return "!" + label_text(l.children[0], 2);
        case LabelExpr::Kind::kAnd:
            return joined("&", 1);
        case LabelExpr::Kind::kOr:
            return joined("|", 0);
    }
    return {};
}

std::string pattern_tail(const ExprPtr& properties, const ExprPtr& where, bool first) {
    std::string out;
    if (properties) {
        out += (first ? "" : " ") + to_text(*properties);
        first = false;
    }
    if (where) {
        out += (first ? "WHERE " : " WHERE ") + to_text(*where);
    }
    return out;
}

std::string patterns_of(const std::vector<PathPattern>& patterns) {
    std::string out;
    for (const auto& p : patterns) {
        out += out.empty() ? "" : ", ";
        out += to_text(p);
    }
    return out;
}

std::string set_items(const std::vector<SetItem>& items) {
    std::string out;
    for (const auto& i : items) {
        out += out.empty() ? "" : ", ";
        const std::string target = at_least(*i.target, kPostfixLevel);
        switch (i.kind) {
            case SetItem::Kind::kProperty:
                out += target + "." + quoted_name(i.key) + " = " + to_text(*i.value);
                break;
            case SetItem::Kind::kReplaceProperties:
                out += target + " = " + to_text(*i.value);
                break;
            case SetItem::Kind::kMergeProperties:
                out += target + " += " + to_text(*i.value);
                break;
            case SetItem::Kind::kDynamicProperty:
                out += target + "[" + to_text(*i.dynamic_key) + "] = " + to_text(*i.value);
                break;
            case SetItem::Kind::kLabels:
                out += target;
                for (const auto& l : i.labels) {
                    out += ":" + quoted_name(l);
                }
                break;
        }
    }
    return out;
}

std::string sort_items(const std::vector<SortItem>& items) {
    std::string out;
    for (const auto& i : items) {
        out += (out.empty() ? " ORDER BY " : ", ") + to_text(*i.expression) +
               (i.descending ? " DESC" : "");
    }
    return out;
}

std::string where_of(const ExprPtr& where) {
    return where ? " WHERE " + to_text(*where) : std::string{};
}

std::string dotted(std::string_view name) {
    return std::string{name};
}

struct ClausePrinter {
    std::string operator()(const MatchClause& c) const {
        std::string out = (c.optional ? "OPTIONAL MATCH " : "MATCH ") + patterns_of(c.patterns);
        for (const auto& h : c.hints) {
            if (h.kind == UsingHint::Kind::kJoin) {
                out += " USING JOIN ON " + quoted_name(h.variable);
                for (const auto& v : h.properties) {
                    out += ", " + quoted_name(v);
                }
                continue;
            }
            out += h.kind == UsingHint::Kind::kScan ? " USING SCAN " : " USING INDEX ";
            out += quoted_name(h.variable) + ":" + quoted_name(h.label);
            if (h.kind == UsingHint::Kind::kIndex) {
                out += fmt::format("({})", fmt::join(h.properties, ", "));
            }
        }
        return out + where_of(c.where);
    }
    std::string operator()(const UnwindClause& c) const {
        return "UNWIND " + to_text(*c.list) + " AS " + quoted_name(c.variable);
    }
    std::string operator()(const WithClause& c) const {
        return "WITH " + to_text(c.projection) + where_of(c.where);
    }
    std::string operator()(const ReturnClause& c) const {
        return "RETURN " + to_text(c.projection);
    }
    std::string operator()(const FinishClause&) const { return "FINISH"; }
    std::string operator()(const CreateClause& c) const {
        return "CREATE " + patterns_of(c.patterns);
    }
    std::string operator()(const SetClause& c) const { return "SET " + set_items(c.items); }
    std::string operator()(const RemoveClause& c) const {
        std::string out;
        for (const auto& i : c.items) {
            out += (out.empty() ? "REMOVE " : ", ") + at_least(*i.target, kPostfixLevel);
            if (i.kind == RemoveItem::Kind::kProperty) {
                out += "." + quoted_name(i.key);
            } else if (i.kind == RemoveItem::Kind::kDynamicProperty) {
                out += "[" + to_text(*i.dynamic_key) + "]";
            }
            for (const auto& l : i.labels) {
                out += ":" + quoted_name(l);
            }
        }
        return out;
    }
    std::string operator()(const DeleteClause& c) const {
        return (c.detach ? "DETACH DELETE " : "DELETE ") + list_of(c.expressions);
    }
    std::string operator()(const MergeClause& c) const {
        std::string out = "MERGE " + to_text(c.pattern);
        if (!c.on_create.empty()) {
            out += " ON CREATE SET " + set_items(c.on_create);
        }
        if (!c.on_match.empty()) {
            out += " ON MATCH SET " + set_items(c.on_match);
        }
        return out;
    }
    std::string operator()(const CallClause& c) const {
        std::string out = (c.optional ? "OPTIONAL CALL " : "CALL ") + dotted(c.procedure);
        if (c.arguments) {
            out += "(" + list_of(*c.arguments) + ")";
        }
        if (c.yield_star) {
            out += " YIELD *";
        } else if (c.has_yield) {
            out += " YIELD " + yields(c.yields);
        }
        return out + where_of(c.where);
    }
    static std::string yields(const std::vector<YieldItem>& items) {
        std::string out;
        for (const auto& y : items) {
            out += (out.empty() ? "" : ", ") + quoted_name(y.column) +
                   (y.alias == y.column ? "" : " AS " + quoted_name(y.alias));
        }
        return out;
    }
    std::string operator()(const SubqueryClause& c) const {
        std::string out = c.optional ? "OPTIONAL CALL " : "CALL ";
        if (c.import_star) {
            out += "(*) ";
        } else if (c.imports) {
            out += fmt::format("({}) ", fmt::join(*c.imports, ", "));
        }
        out += "{ " + to_text(*c.query) + " }";
        if (const auto& t = c.in_transactions) {
            out += " IN";
            if (t->concurrency) {
                out += " " + to_text(*t->concurrency) + " CONCURRENT";
            }
            out += " TRANSACTIONS";
            if (t->batch_size) {
                out += " OF " + to_text(*t->batch_size) + " ROWS";
            }
            if (t->on_error != InTransactions::OnError::kFail) {
                out += t->on_error == InTransactions::OnError::kContinue ? " ON ERROR CONTINUE"
                                                                         : " ON ERROR BREAK";
            }
            if (!t->report_variable.empty()) {
                out += " REPORT STATUS AS " + quoted_name(t->report_variable);
            }
        }
        return out;
    }
    std::string operator()(const ForeachClause& c) const {
        std::string out = "FOREACH (" + quoted_name(c.variable) + " IN " + to_text(*c.list) + " |";
        for (const auto& u : c.updates) {
            out += " " + to_text(u);
        }
        return out + ")";
    }
    std::string operator()(const LoadCsvClause& c) const {
        std::string out = c.with_headers ? "LOAD CSV WITH HEADERS FROM " : "LOAD CSV FROM ";
        out += to_text(*c.url) + " AS " + quoted_name(c.variable);
        return out +
               (c.field_terminator.empty() ? "" : " FIELDTERMINATOR '" + c.field_terminator + "'");
    }
    std::string operator()(const UseClause& c) const { return "USE " + c.graph; }
};

struct StatementPrinter {
    std::string operator()(const Query& q) const { return to_text(q); }
    std::string operator()(const CreateIndexCommand& c) const {
        constexpr std::string_view kTypes[] = {
            "RANGE", "LOOKUP", "TEXT", "POINT", "FULLTEXT", "VECTOR"};
        return fmt::format("CREATE {} INDEX {}{}FOR {} [{}] ON [{}]{}",
                           kTypes[static_cast<std::size_t>(c.type)],
                           name(c.name),
                           c.if_not_exists ? "IF NOT EXISTS " : "",
                           c.entity == engine::EntityKind::kNode ? "NODE" : "RELATIONSHIP",
                           fmt::join(c.tokens, ", "),
                           fmt::join(c.properties, ", "),
                           options(c.options));
    }
    std::string operator()(const CreateConstraintCommand& c) const {
        constexpr std::string_view kTypes[] = {"UNIQUE", "KEY", "NOT NULL", "TYPED"};
        return fmt::format("CREATE CONSTRAINT {}{}FOR {} [{}] REQUIRE [{}] IS {}{}{}",
                           name(c.name),
                           c.if_not_exists ? "IF NOT EXISTS " : "",
                           c.entity == engine::EntityKind::kNode ? "NODE" : "RELATIONSHIP",
                           c.token,
                           fmt::join(c.properties, ", "),
                           kTypes[static_cast<std::size_t>(c.type)],
                           c.property_type ? " " + c.property_type->text : "",
                           options(c.options));
    }
    std::string operator()(const DropSchemaCommand& c) const {
        return fmt::format("DROP {} {}{}",
                           c.constraint ? "CONSTRAINT" : "INDEX",
                           quoted_name(c.name),
                           c.if_exists ? " IF EXISTS" : "");
    }
    std::string operator()(const ShowCommand& c) const {
        std::string out = "SHOW " + (c.filter.empty() ? "" : c.filter + " ") + c.what;
        for (std::size_t i = 0; i < c.names.size(); ++i) {
            out += (i == 0 ? " " : ", ") + to_text(*c.names[i]);
        }
        if (c.yield_star) {
            out += " YIELD *";
        } else if (c.yields) {
            out += " YIELD " + ClausePrinter::yields(*c.yields);
        }
        out += sort_items(c.order_by);
        out += c.skip ? " SKIP " + to_text(*c.skip) : "";
        out += c.limit ? " LIMIT " + to_text(*c.limit) : "";
        out += where_of(c.where);
        return out + (c.returns ? " RETURN " + to_text(c.returns->projection) : "");
    }
    std::string operator()(const TerminateCommand& c) const {
        return "TERMINATE TRANSACTIONS " + list_of(c.ids);
    }
    std::string operator()(const AdminCommand& c) const {
        constexpr std::string_view kKinds[] = {"CREATE USER",
                                               "ALTER USER",
                                               "DROP USER",
                                               "RENAME USER",
                                               "ALTER CURRENT USER",
                                               "UNSUPPORTED"};
        std::string out{kKinds[static_cast<std::size_t>(c.kind)]};
        const auto add = [&](std::string_view label, const ExprPtr& e) {
            if (e) {
                out += fmt::format(" {}{}", label, to_text(*e));
            }
        };
        add("", c.user);
        out += c.replace ? " OR REPLACE" : "";
        out += c.if_exists ? " IF EXISTS" : "";
        out += c.if_not_exists ? " IF NOT EXISTS" : "";
        add("TO ", c.new_name);
        add("FROM ", c.old_password);
        add("PASSWORD ", c.password);
        if (c.password_change_required) {
            out += *c.password_change_required ? " CHANGE REQUIRED" : " CHANGE NOT REQUIRED";
        }
        if (c.suspended) {
            out += *c.suspended ? " SUSPENDED" : " ACTIVE";
        }
        out += c.home_database.empty() ? "" : " HOME " + c.home_database;
        return out + (c.text.empty() ? "" : " " + c.text);
    }
    static std::string name(const std::string& n) { return n.empty() ? "" : quoted_name(n) + " "; }
    static std::string options(const ExprPtr& o) {
        return o ? " OPTIONS " + to_text(*o) : std::string{};
    }
};

}  // namespace

std::string quoted_name(std::string_view name) {
    bool plain = !name.empty() && !(name[0] >= '0' && name[0] <= '9');
    for (const char c : name) {
        plain =
            plain && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_' || (static_cast<unsigned char>(c) >= 0x80));
    }
    if (plain) {
        return std::string{name};
    }
    std::string out = "`";
    for (const char c : name) {
        out += c;
        if (c == '`') {
            out += c;
        }
    }
    return out + "`";
}

std::string to_text(const LabelExpr& labels) {
    return label_text(labels, 0);
}

std::string to_text(const NodePattern& n) {
    std::string out = "(" + (n.variable.empty() ? "" : quoted_name(n.variable));
    if (n.labels) {
        out += ":" + to_text(*n.labels);
    }
    return out + pattern_tail(n.properties, n.where, out.size() == 1) + ")";
}

std::string to_text(const RelPattern& r) {
    std::string inside = r.variable.empty() ? "" : quoted_name(r.variable);
    if (r.types) {
        inside += ":" + to_text(*r.types);
    }
    // A condition on each relationship can only be said where the length stands behind the arrow.
    const bool behind = r.quantified && r.where;
    if (r.length && !behind) {
        inside += "*";
        if (r.length->min && r.length->max && *r.length->min == *r.length->max) {
            inside += std::to_string(*r.length->min);
        } else if (r.length->min || r.length->max) {
            inside += (r.length->min ? std::to_string(*r.length->min) : "") + ".." +
                      (r.length->max ? std::to_string(*r.length->max) : "");
        }
    }
    inside += pattern_tail(r.properties, r.where, inside.empty());
    const std::string body = inside.empty() ? "--" : "-[" + inside + "]-";
    std::string length;
    if (behind) {
        length = "{" + std::to_string(r.length->min.value_or(0)) + "," +
                 (r.length->max ? std::to_string(*r.length->max) : "") + "}";
    }
    return (r.direction == PatternDirection::kIncoming ? "<" : "") + body +
           (r.direction == PatternDirection::kOutgoing ? ">" : "") + length;
}

std::string to_text(const PathPattern& p) {
    std::string out = p.variable.empty() ? "" : quoted_name(p.variable) + " = ";
    if (p.selector != PathSelector::kNone) {
        out += p.selector == PathSelector::kShortest ? "shortestPath(" : "allShortestPaths(";
    }
    for (std::size_t i = 0; i < p.nodes.size(); ++i) {
        out += to_text(p.nodes[i]);
        if (i < p.relationships.size()) {
            out += to_text(p.relationships[i]);
        }
    }
    return out + (p.selector != PathSelector::kNone ? ")" : "");
}

std::string to_text(const Projection& p) {
    std::string out = p.distinct ? "DISTINCT " : "";
    bool first = true;
    if (p.star) {
        out += "*";
        first = false;
    }
    for (const auto& i : p.items) {
        out += (first ? "" : ", ") + to_text(*i.expression) +
               (i.aliased ? " AS " + quoted_name(i.alias) : "");
        first = false;
    }
    out += sort_items(p.order_by);
    out += p.skip ? " SKIP " + to_text(*p.skip) : "";
    return out + (p.limit ? " LIMIT " + to_text(*p.limit) : "");
}

std::string to_text(const Clause& clause) {
    return std::visit(ClausePrinter{}, clause.body);
}

std::string to_text(const Query& query) {
    std::string out;
    for (const auto& part : query.parts) {
        out += out.empty() ? "" : (query.union_all ? " UNION ALL " : " UNION ");
        bool first = true;
        for (const auto& c : part.clauses) {
            out += (first ? "" : " ") + to_text(c);
            first = false;
        }
    }
    return out;
}

std::string to_text(const Statement& s) {
    std::string out = s.explain == ExplainMode::kExplain
                          ? "EXPLAIN "
                          : (s.explain == ExplainMode::kProfile ? "PROFILE " : "");
    out += s.use_graph.empty() ? "" : "USE " + s.use_graph + " ";
    return out + std::visit(StatementPrinter{}, s.body);
}

std::string to_text(const Expr& expr) {
    switch (expr.kind) {
        case ExprKind::kLiteral:
            return to_cypher_text(as<Literal>(expr).value);
        case ExprKind::kParameter:
            return "$" + quoted_name(as<Parameter>(expr).name);
        case ExprKind::kVariable:
            return quoted_name(as<Variable>(expr).name);
        case ExprKind::kProperty:
            return at_least(*as<Property>(expr).base, kPostfixLevel) + "." +
                   quoted_name(as<Property>(expr).key);
        case ExprKind::kLabelCheck:
            return at_least(*as<LabelCheck>(expr).base, kPostfixLevel) + ":" +
                   to_text(as<LabelCheck>(expr).labels);
        case ExprKind::kUnary: {
            const auto& e = as<Unary>(expr);
            if (e.op == UnaryOp::kNot) {
                return "NOT " + at_least(*e.operand, kNotLevel);
            }
            return (e.op == UnaryOp::kMinus ? "-" : "+") + at_least(*e.operand, kPostfixLevel);
        }
        case ExprKind::kBinary: {
            const auto& e = as<Binary>(expr);
            const auto [text, level] = operator_of(e.op);
            const bool compare = level == kCompareLevel;
            const bool right_same = associative(e.op) && e.right->kind == ExprKind::kBinary &&
                                    as<Binary>(*e.right).op == e.op;
            return fmt::format("{} {} {}",
                               at_least(*e.left, compare ? level + 1 : level),
                               text,
                               at_least(*e.right, right_same ? level : level + 1));
        }
        case ExprKind::kIsNull:
            return at_least(*as<IsNull>(expr).operand, kPredicateLevel) +
                   (as<IsNull>(expr).negated ? " IS NOT NULL" : " IS NULL");
        case ExprKind::kTypeCheck:
            return at_least(*as<TypeCheck>(expr).operand, kPredicateLevel) +
                   (as<TypeCheck>(expr).negated ? " IS NOT :: " : " IS :: ") +
                   as<TypeCheck>(expr).type.text;
        case ExprKind::kNormalizedCheck:
            return at_least(*as<NormalizedCheck>(expr).operand, kPredicateLevel) +
                   (as<NormalizedCheck>(expr).negated ? " IS NOT " : " IS ") +
                   as<NormalizedCheck>(expr).form + " NORMALIZED";
        case ExprKind::kList:
            return "[" + list_of(as<ListLiteral>(expr).items) + "]";
        case ExprKind::kMap: {
            std::string out;
            for (const auto& [key, value] : as<MapLiteral>(expr).entries) {
                out += (out.empty() ? "" : ", ") + quoted_name(key) + ": " + to_text(*value);
            }
            return "{" + out + "}";
        }
        case ExprKind::kIndex:
            return at_least(*as<IndexAccess>(expr).base, kPostfixLevel) + "[" +
                   to_text(*as<IndexAccess>(expr).index) + "]";
        case ExprKind::kSlice: {
            const auto& e = as<Slice>(expr);
            return at_least(*e.base, kPostfixLevel) + "[" + (e.from ? to_text(*e.from) : "") +
                   ".." + (e.to ? to_text(*e.to) : "") + "]";
        }
        case ExprKind::kFunction:
            return as<FunctionCall>(expr).name + "(" +
                   (as<FunctionCall>(expr).distinct ? "DISTINCT " : "") +
                   list_of(as<FunctionCall>(expr).arguments) + ")";
        case ExprKind::kCountStar:
            return "count(*)";
        case ExprKind::kCase: {
            const auto& e = as<Case>(expr);
            std::string out = e.subject ? "CASE " + to_text(*e.subject) : "CASE";
            for (const auto& [when, then] : e.alternatives) {
                out += " WHEN " + to_text(*when) + " THEN " + to_text(*then);
            }
            return out + (e.otherwise ? " ELSE " + to_text(*e.otherwise) : "") + " END";
        }
        case ExprKind::kListComprehension: {
            const auto& e = as<ListComprehension>(expr);
            return "[" + quoted_name(e.variable) + " IN " + to_text(*e.list) + where_of(e.where) +
                   (e.projection ? " | " + to_text(*e.projection) : "") + "]";
        }
        case ExprKind::kPatternComprehension: {
            const auto& e = as<PatternComprehension>(expr);
            return "[" + to_text(e.pattern) + where_of(e.where) + " | " + to_text(*e.projection) +
                   "]";
        }
        case ExprKind::kQuantifier: {
            const auto& e = as<Quantifier>(expr);
            constexpr std::string_view kNames[] = {"all", "any", "none", "single"};
            return fmt::format("{}({} IN {} WHERE {})",
                               kNames[static_cast<std::size_t>(e.quantifier)],
                               quoted_name(e.variable),
                               to_text(*e.list),
                               to_text(*e.where));
        }
        case ExprKind::kReduce: {
            const auto& e = as<Reduce>(expr);
            return fmt::format("reduce({} = {}, {} IN {} | {})",
                               quoted_name(e.accumulator),
                               to_text(*e.initial),
                               quoted_name(e.variable),
                               to_text(*e.list),
                               to_text(*e.step));
        }
        case ExprKind::kMapProjection: {
            const auto& e = as<MapProjection>(expr);
            using Kind = MapProjection::Item::Kind;
            std::string out;
            for (const auto& i : e.items) {
                out += out.empty() ? "" : ", ";
                switch (i.kind) {
                    case Kind::kAllProperties:
                        out += ".*";
                        break;
                    case Kind::kProperty:
                        out += "." + quoted_name(i.key);
                        break;
                    case Kind::kVariable:
                        out += quoted_name(i.key);
                        break;
                    case Kind::kLiteral:
                        out += quoted_name(i.key) + ": " + to_text(*i.value);
                        break;
                }
            }
            return to_text(*e.base) + "{" + out + "}";
        }
        case ExprKind::kPatternPredicate:
            return to_text(as<PatternPredicate>(expr).pattern);
        case ExprKind::kSubquery: {
            const auto& e = as<SubqueryExpr>(expr);
            constexpr std::string_view kNames[] = {"EXISTS", "COUNT", "COLLECT"};
            return fmt::format(
                "{} {{ {} }}", kNames[static_cast<std::size_t>(e.subquery)], to_text(*e.query));
        }
        case ExprKind::kShortestPath:
            return to_text(as<ShortestPathExpr>(expr).pattern);
    }
    return {};
}

}  // namespace nornic::cypher
