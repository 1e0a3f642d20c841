// The query graph of a MATCH: nodes, relationships, paths and predicates with what they need.
#include "cypher/planner/planner_impl.h"

#include <fmt/format.h>

namespace nornic::cypher {
namespace {

void and_names(const LabelExpr& l, std::vector<std::string>& out) {
    if (l.kind == LabelExpr::Kind::kName) {
        out.push_back(l.name);
    } else if (l.kind == LabelExpr::Kind::kAnd) {
        for (const LabelExpr& c : l.children) {
            and_names(c, out);
        }
    }
}

void conjuncts(const LabelExpr& l, std::vector<const LabelExpr*>& out) {
    if (l.kind == LabelExpr::Kind::kAnd) {
        for (const LabelExpr& c : l.children) {
            conjuncts(c, out);
        }
    } else {
        out.push_back(&l);
    }
}

}  // namespace

void Planner::add_predicate(Graph& graph, const Expr& expr) {
    if (expr.kind == ExprKind::kBinary && static_cast<const Binary&>(expr).op == BinaryOp::kAnd) {
        add_predicate(graph, *static_cast<const Binary&>(expr).left);
        add_predicate(graph, *static_cast<const Binary&>(expr).right);
        return;
    }
    Predicate p;
    p.expr = &expr;
    collect_symbols(expr, p.needs);
    graph.predicates.push_back(std::move(p));
    if (expr.kind == ExprKind::kLabelCheck) {
        const auto& check = static_cast<const LabelCheck&>(expr);
        if (check.base->kind == ExprKind::kVariable) {
            for (GraphNode& n : graph.nodes) {
                if (n.symbol == static_cast<const Variable&>(*check.base).symbol) {
                    and_names(check.labels, n.labels);
                }
            }
        }
    }
}

void Planner::add_pattern(Graph& graph, const PathPattern& pattern) {
    if (graph.nodes.size() + graph.relationships.size() + pattern.nodes.size() +
            pattern.relationships.size() >
        kElementsMax) {
        throw QueryError{
            ErrorCode::kSyntaxError,
            fmt::format("The pattern has too many nodes and relationships: at most {} are "
                        "supported. Split it into several clauses, or UNWIND a list of what repeats.",
                        kElementsMax),
            "42001>42I06",
            pattern.position};
    }
    const auto variable = [&](SourcePosition at, Symbol symbol) {
        auto v = std::make_unique<Variable>(at, name_of(symbol));
        v->symbol = symbol;
        return v;
    };
    const auto own = [&](ExprPtr e) -> const Expr& {
        space_.made.push_back(std::move(e));
        return *space_.made.back();
    };
    const auto add_properties = [&](const ExprPtr& properties, Symbol symbol) {
        if (!properties) {
            return;
        }
        if (properties->kind != ExprKind::kMap) {
            throw QueryError{ErrorCode::kSyntaxError,
                             "Parameter maps cannot be used in `MATCH` patterns (use a literal map "
                             "instead, e.g. `{id: $param.id}`)",
                             "42001>42I46",
                             properties->position};
        }
        for (const auto& [key, value] : static_cast<const MapLiteral&>(*properties).entries) {
            auto left =
                std::make_unique<Property>(value->position, variable(value->position, symbol), key);
            auto equal = std::make_unique<Binary>(
                value->position, BinaryOp::kEqual, std::move(left), clone(*value));
            add_predicate(graph, own(std::move(equal)));
        }
    };
    for (const NodePattern& n : pattern.nodes) {
        graph.symbols.insert(n.symbol);
        if (std::ranges::none_of(graph.nodes,
                                 [&](const GraphNode& g) { return g.symbol == n.symbol; })) {
            graph.nodes.push_back({n.symbol, {}});
        }
        if (n.labels) {
            std::vector<const LabelExpr*> parts;
            conjuncts(*n.labels, parts);
            for (const LabelExpr* part : parts) {
                auto check =
                    std::make_unique<LabelCheck>(n.position, variable(n.position, n.symbol), *part);
                check->text = fmt::format("{}:{}", name_of(n.symbol), part->name);
                add_predicate(graph, own(std::move(check)));
            }
        }
        add_properties(n.properties, n.symbol);
        if (n.where) {
            add_predicate(graph, *n.where);
        }
    }
    GraphPath path;
    path.symbol = pattern.symbol;
    for (const NodePattern& n : pattern.nodes) {
        path.nodes.push_back(n.symbol);
    }
    for (std::size_t i = 0; i < pattern.relationships.size(); ++i) {
        const RelPattern& r = pattern.relationships[i];
        graph.symbols.insert(r.symbol);
        GraphRel rel;
        rel.pattern = &r;
        rel.symbol = r.symbol;
        rel.left = pattern.nodes[i].symbol;
        rel.right = pattern.nodes[i + 1].symbol;
        rel.selector = pattern.selector;
        rel.path = pattern.selector == PathSelector::kNone ? kNoSymbol : pattern.symbol;
        rel.in_path = pattern.symbol != kNoSymbol;
        graph.relationships.push_back(rel);
        path.relationships.push_back(r.symbol);
        if (!r.length) {
            add_properties(r.properties, r.symbol);
        }
        if (r.where && !r.quantified) {
            add_predicate(graph, *r.where);
        }
    }
    if (pattern.symbol != kNoSymbol) {
        graph.symbols.insert(pattern.symbol);
        if (pattern.selector == PathSelector::kNone) {
            graph.paths.push_back(std::move(path));
        }
    }
}

Planner::Graph Planner::make_graph(const std::vector<PathPattern>& patterns, const Expr* where) {
    Graph graph;
    for (const PathPattern& p : patterns) {
        add_pattern(graph, p);
    }
    if (where != nullptr) {
        add_predicate(graph, *where);
    }
    // Only what the patterns bring or the rows have can be waited for; the rest (variables inside
    // comprehensions and subqueries) is the expression's own.
    return graph;
}

const Planner::GraphNode* Planner::node_of(const Graph& graph, Symbol symbol) const {
    for (const GraphNode& n : graph.nodes) {
        if (n.symbol == symbol) {
            return &n;
        }
    }
    return nullptr;
}

/// Nodes reachable from one through relationships, not across what is there already.
std::set<Symbol> Planner::component_of(const Graph& graph,
                                       Symbol symbol,
                                       const SlotSet& live) const {
    std::set<Symbol> out{symbol};
    bool grown = true;
    while (grown) {
        grown = false;
        for (const GraphRel& r : graph.relationships) {
            if (r.selector != PathSelector::kNone || live.contains(r.left) ||
                live.contains(r.right)) {
                continue;
            }
            if (out.contains(r.left) != out.contains(r.right) ||
                (out.contains(r.left) && !out.contains(r.symbol))) {
                out.insert({r.left, r.right, r.symbol});
                grown = true;
            }
        }
    }
    return out;
}

}  // namespace nornic::cypher
