// Patterns: which variables they introduce, which they meet, and what may stand in them.

#include "cypher/semantics/analyser.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::cypher {

namespace {
std::string_view clause_name(bool merge) {
    return merge ? "MERGE" : "CREATE";
}
}  // namespace

void Analyser::declare_node(NodePattern& n, PatternUse use, Symbol first_new, bool alone) {
    const bool writes = use == PatternUse::kCreate || use == PatternUse::kMerge;
    if (n.variable.empty()) {
        n.symbol = new_symbol({}, {types::kNode, 0}, true);
        return;
    }
    const auto it = scope_.find(n.variable);
    if (it == scope_.end()) {
        if (use == PatternUse::kPredicate) {
            fail(n.position,
                 fmt::format("PatternExpressions are not allowed to introduce new variables: '{}'.",
                             n.variable),
                 "42001>42I29");
        }
        n.symbol = declare(n.variable, {types::kNode, 0}, n.position);
        return;
    }
    n.symbol = it->second;
    n.bound_before = n.symbol < first_new;
    if (writes && (alone || n.labels || n.properties)) {
        fail(n.position, fmt::format("Variable `{}` already declared", n.variable), "42001>42N59");
    }
    const StaticType t = type_of_symbol(n.symbol);
    if (!t.may_be(types::kNode)) {
        fail(n.position,
             fmt::format("Type mismatch: {} defined with conflicting type {} (expected Node)",
                         n.variable,
                         type_text(t)),
             "42001>22NB1");
    }
    if (t.set == types::kAny) {
        // From here on it is known to be a node.
        result_.symbols[n.symbol].types = types::kNode | types::kNull;
    }
}

void Analyser::declare_relationship(RelPattern& r,
                                    PatternUse use,
                                    Symbol first_new,
                                    std::unordered_set<Symbol>& relationships) {
    const bool writes = use == PatternUse::kCreate || use == PatternUse::kMerge;
    const StaticType type = r.length ? StaticType{types::kList, types::kRelationship}
                                     : StaticType{types::kRelationship, 0};
    if (writes) {
        const auto clause = clause_name(use == PatternUse::kMerge);
        if (r.length) {
            fail(r.position,
                 fmt::format("Variable length relationships cannot be used in {}", clause),
                 "42001>42I57");
        }
        if (use == PatternUse::kCreate && r.direction == PatternDirection::kBoth) {
            fail(r.position, "Only directed relationships are supported in CREATE", "42001>42I56");
        }
        if (!r.types) {
            fail(r.position,
                 fmt::format("Exactly one relationship type must be specified for {}. Did you "
                             "forget to prefix your relationship type with a ':'?",
                             clause),
                 "42001>42I14");
        }
        if (r.types->kind != LabelExpr::Kind::kName) {
            fail(r.position,
                 fmt::format("A single relationship type must be specified for {}", clause),
                 "42001>42I14");
        }
        if (r.where) {
            fail(r.where->position,
                 fmt::format("Relationship pattern predicates are not allowed in a {} clause, but "
                             "only in a MATCH clause or inside a pattern comprehension",
                             clause),
                 "42001>42I06");
        }
    }
    if (r.variable.empty()) {
        r.symbol = new_symbol({}, type, true);
        return;
    }
    const auto it = scope_.find(r.variable);
    if (it == scope_.end()) {
        if (use == PatternUse::kPredicate) {
            fail(r.position,
                 fmt::format("PatternExpressions are not allowed to introduce new variables: '{}'.",
                             r.variable),
                 "42001>42I29");
        }
        r.symbol = declare(r.variable, type, r.position);
        relationships.insert(r.symbol);
        return;
    }
    r.symbol = it->second;
    r.bound_before = r.symbol < first_new;
    if (writes) {
        fail(r.position, fmt::format("Variable `{}` already declared", r.variable), "42001>42N59");
    }
    const StaticType t = type_of_symbol(r.symbol);
    if (!t.may_be(type.set) || (r.length && (t.set & types::kList) != 0 &&
                                !StaticType{t.elements, 0}.may_be(types::kRelationship))) {
        fail(r.position,
             fmt::format("Type mismatch: {} defined with conflicting type {} (expected {})",
                         r.variable,
                         type_text(t),
                         type_text(type)),
             "42001>22NB1");
    }
    if (!relationships.insert(r.symbol).second) {
        fail(
            r.position,
            fmt::format("Cannot use the same relationship variable '{}' for multiple relationships",
                        r.variable),
            "42001>42I19");
    }
}

void Analyser::check_shortest(const PathPattern& p) {
    if (p.relationships.size() != 1) {
        fail(p.position,
             fmt::format(
                 "{}(...) requires a pattern containing a single relationship",
                 p.selector == PathSelector::kShortest ? "shortestPath" : "allShortestPaths"),
             "42001>42N14");
    }
    const auto& length = p.relationships[0].length;
    if (length && length->min && *length->min > 1) {
        fail(p.position,
             fmt::format(
                 "{}(...) does not support a minimal length different from 0 or 1",
                 p.selector == PathSelector::kShortest ? "shortestPath" : "allShortestPaths"),
             "42001>42N14");
    }
    if (length && !length->max) {
        result_.notifications.push_back(
            Notification{"Neo.ClientNotification.Statement.UnboundedVariableLengthPattern",
                         "03N91",
                         "The provided pattern is unbounded, consider adding an upper limit to the "
                         "number of node hops.",
                         "Using shortest path with an unbounded pattern will likely result in long "
                         "execution times. It is recommended to use an upper limit to "
                         "the number of node hops in your pattern.",
                         "info: unbounded variable length pattern. The provided pattern is "
                         "unbounded. Shortest path with an unbounded pattern may result in long "
                         "execution times. Use an upper limit (e.g. `[*..5]`) on the number of "
                         "node hops in your pattern.",
                         "INFORMATION",
                         "PERFORMANCE",
                         p.relationships[0].position});
    }
}

void Analyser::declare_pattern(PathPattern& p,
                               PatternUse use,
                               Symbol first_new,
                               std::unordered_set<Symbol>& relationships) {
    if (p.selector != PathSelector::kNone && use != PatternUse::kMatch) {
        fail(p.position,
             fmt::format("{} cannot be used in this pattern",
                         p.selector == PathSelector::kShortest ? "shortestPath(...)"
                                                               : "allShortestPaths(...)"),
             "42001>42N14");
    }
    const bool alone = p.relationships.empty();
    for (std::size_t i = 0; i < p.nodes.size(); ++i) {
        declare_node(p.nodes[i], use, first_new, alone);
        if (i < p.relationships.size()) {
            declare_relationship(p.relationships[i], use, first_new, relationships);
        }
    }
    if (!p.variable.empty()) {
        p.symbol = declare(p.variable, {types::kPath, 0}, p.position);
    }
}

void Analyser::check_properties(ExprPtr& properties, PatternUse use) {
    if (!properties) {
        return;
    }
    if (properties->kind == ExprKind::kParameter && use != PatternUse::kCreate) {
        fail(properties->position,
             fmt::format("Parameter maps cannot be used in `{}` patterns (use a literal map "
                         "instead, e.g. `{{id: $param.id}}`)",
                         use == PatternUse::kMerge ? "MERGE" : "MATCH"),
             "42001>42I06");
    }
    const StaticType t = check(properties);
    require(*properties, t, types::kMap);
}

/// WHERE of a quantified relationship is asked at each step: the variable is one relationship there, and of what else
/// the patterns introduce nothing has a value yet.
void Analyser::check_step(RelPattern& r, Symbol first_new) {
    if (r.bound_before) {
        fail(r.position,
             fmt::format("Variable `{}` already declared: a quantified relationship with a "
                         "predicate needs a variable of its own",
                         r.variable),
             "42001>42N59");
    }
    const Scope scope = scope_;
    std::erase_if(scope_, [&](const auto& entry) { return entry.second >= first_new; });
    r.step = new_symbol(r.variable, {types::kRelationship, 0}, r.variable.empty());
    if (!r.variable.empty()) {
        scope_[r.variable] = r.step;
    }
    check_predicate(r.where);
    scope_ = scope;
}

void Analyser::check_pattern_expressions(PathPattern& p, PatternUse use, Symbol first_new) {
    for (std::size_t i = 0; i < p.nodes.size(); ++i) {
        auto& n = p.nodes[i];
        check_properties(n.properties, use);
        if (n.where) {
            check_predicate(n.where);
        }
        if (i < p.relationships.size()) {
            auto& r = p.relationships[i];
            check_properties(r.properties, use);
            if (r.where && r.quantified) {
                check_step(r, first_new);
            } else if (r.where) {
                check_predicate(r.where);
            }
        }
    }
}

void Analyser::check_labels_to_create(const std::optional<LabelExpr>& labels,
                                      PatternUse use) const {
    if (!labels) {
        return;
    }
    const auto names_only = [](const LabelExpr& l) {
        return l.kind == LabelExpr::Kind::kName ||
               (l.kind == LabelExpr::Kind::kAnd &&
                std::ranges::all_of(l.children, [](const LabelExpr& c) {
                    return c.kind == LabelExpr::Kind::kName;
                }));
    };
    if (!names_only(*labels)) {
        fail(labels->position,
             fmt::format("Label expressions in patterns are not allowed in a {} clause, but only "
                         "in a MATCH clause and in expressions",
                         clause_name(use == PatternUse::kMerge)),
             "42001>42I06");
    }
}

/// CREATE and MERGE: an element's properties see what stands before it, not itself.
void Analyser::create_pattern(PathPattern& p, PatternUse use, Symbol first_new) {
    std::unordered_set<Symbol> relationships;
    if (p.selector != PathSelector::kNone) {
        fail(p.position,
             fmt::format("shortestPath(...) and allShortestPaths(...) cannot be used in {}",
                         clause_name(use == PatternUse::kMerge)),
             "42001>42N14");
    }
    for (std::size_t i = 0; i < p.nodes.size(); ++i) {
        auto& n = p.nodes[i];
        check_labels_to_create(n.labels, use);
        if (n.where) {
            fail(n.where->position,
                 fmt::format("Node pattern predicates are not allowed in a {} clause, but only in "
                             "a MATCH clause or inside a pattern comprehension",
                             clause_name(use == PatternUse::kMerge)),
                 "42001>42I06");
        }
        check_properties(n.properties, use);
        declare_node(n, use, first_new, p.relationships.empty());
        if (i < p.relationships.size()) {
            check_properties(p.relationships[i].properties, use);
            declare_relationship(p.relationships[i], use, first_new, relationships);
        }
    }
    if (!p.variable.empty()) {
        p.symbol = declare(p.variable, {types::kPath, 0}, p.position);
    }
}

void Analyser::analyse_patterns(std::vector<PathPattern>& patterns, PatternUse use) {
    const auto first_new = static_cast<Symbol>(result_.symbols.size());
    std::unordered_set<Symbol> relationships;
    for (auto& p : patterns) {
        if (p.selector != PathSelector::kNone) {
            check_shortest(p);
        }
        declare_pattern(p, use, first_new, relationships);
    }
    for (auto& p : patterns) {
        check_pattern_expressions(p, use, first_new);
    }
}

/// Patterns of one MATCH that share no variable, nor any with what was matched before, multiply
/// their rows.
void Analyser::note_cartesian(const MatchClause& m, Symbol /*first_new*/) {
    if (m.patterns.size() < 2) {
        return;
    }
    std::vector<std::size_t> root(m.patterns.size());
    for (std::size_t i = 0; i < root.size(); ++i) {
        root[i] = i;
    }
    const auto find = [&](std::size_t i) {
        while (root[i] != i) {
            i = root[i];
        }
        return i;
    };
    std::unordered_map<Symbol, std::size_t> owner;
    for (std::size_t i = 0; i < m.patterns.size(); ++i) {
        const auto visit = [&](Symbol s) {
            const auto [it, inserted] = owner.emplace(s, i);
            if (!inserted) {
                root[find(i)] = find(it->second);
            }
        };
        for (const auto& n : m.patterns[i].nodes) {
            visit(n.symbol);
        }
        for (const auto& r : m.patterns[i].relationships) {
            visit(r.symbol);
        }
    }
    std::string others;
    std::size_t components = 0;
    for (std::size_t i = 0; i < root.size(); ++i) {
        if (find(i) != i) {
            continue;
        }
        if (++components > 1) {
            for (const auto& n : m.patterns[i].nodes) {
                if (!n.variable.empty()) {
                    others += (others.empty() ? "" : ", ") + n.variable;
                }
            }
        }
    }
    if (components < 2) {
        return;
    }
    result_.notifications.push_back(
        Notification{"Neo.ClientNotification.Statement.CartesianProduct",
                     "03N90",
                     "This query builds a cartesian product between disconnected patterns.",
                     "If a part of a query contains multiple disconnected patterns, this will "
                     "build a cartesian product between all those parts. This may produce a "
                     "large amount of data and slow down query processing. While occasionally "
                     "intended, it may often be possible to reformulate the query that avoids "
                     "the use of this cross product, perhaps by adding a relationship between the "
                     "different parts or by using OPTIONAL MATCH (identifier is: (" +
                         others + "))",
                     "info: cartesian product. The disconnected patterns build a cartesian "
                     "product. A cartesian product may produce a large amount of data and slow "
                     "down query processing.",
                     "INFORMATION",
                     "PERFORMANCE",
                     SourcePosition{}});
}

}  // namespace nornic::cypher
