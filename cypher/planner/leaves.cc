// Where a pattern can start: ids, indexes, labels, relationship types; and what each is thought to
// cost.
#include "cypher/planner/planner_impl.h"

#include <fmt/format.h>

#include <cmath>

namespace nornic::cypher {
namespace {

bool named(const std::string& name, std::string_view lower) {
    return std::ranges::equal(name, lower, [](char x, char y) {
        return std::tolower(static_cast<unsigned char>(x)) == y;
    });
}

const Variable* as_variable(const Expr& e) {
    return e.kind == ExprKind::kVariable ? &static_cast<const Variable&>(e) : nullptr;
}

/// symbol.key: the key, or nullptr.
const std::string* property_key(const Expr& e, Symbol symbol) {
    if (e.kind != ExprKind::kProperty) {
        return nullptr;
    }
    const auto& p = static_cast<const Property&>(e);
    const Variable* v = as_variable(*p.base);
    return v != nullptr && v->symbol == symbol ? &p.key : nullptr;
}

BinaryOp flipped(BinaryOp op) {
    switch (op) {
        case BinaryOp::kLess:
            return BinaryOp::kGreater;
        case BinaryOp::kLessEqual:
            return BinaryOp::kGreaterEqual;
        case BinaryOp::kGreater:
            return BinaryOp::kLess;
        case BinaryOp::kGreaterEqual:
            return BinaryOp::kLessEqual;
        default:
            return op;
    }
}

}  // namespace

double Planner::label_rows(const std::vector<std::string>& labels) {
    const auto all = static_cast<double>(reader_.node_count(std::nullopt));
    double least = all;
    for (const std::string& name : labels) {
        const auto id = reader_.tokens().label(name);
        least = std::min(least, id ? static_cast<double>(reader_.node_count(*id)) : 0.0);
    }
    return least;
}

/// What the predicates on one symbol alone are thought to let through.
double Planner::selectivity(const Graph& graph, Symbol symbol) {
    double out = 1;
    for (const Predicate& p : graph.predicates) {
        if (p.done || !p.needs.contains(symbol) || p.expr->kind == ExprKind::kLabelCheck) {
            continue;
        }
        if (p.expr->kind == ExprKind::kBinary) {
            switch (static_cast<const Binary&>(*p.expr).op) {
                case BinaryOp::kEqual:
                    out *= 0.1;
                    break;
                case BinaryOp::kIn:
                    out *= 0.2;
                    break;
                case BinaryOp::kNotEqual:
                    out *= 0.9;
                    break;
                default:
                    out *= 0.3;
                    break;
            }
        } else {
            out *= 0.5;
        }
    }
    return std::max(out, 0.001);
}

void Planner::id_leaves(
    const Graph& graph, Symbol symbol, const SlotSet& live, Leaf base, std::vector<Leaf>& out) {
    for (std::size_t i = 0; i < graph.predicates.size(); ++i) {
        const Predicate& p = graph.predicates[i];
        if (p.done || p.expr->kind != ExprKind::kBinary) {
            continue;
        }
        const auto& b = static_cast<const Binary&>(*p.expr);
        if (b.op != BinaryOp::kEqual && b.op != BinaryOp::kIn) {
            continue;
        }
        const auto try_side = [&](const Expr& call, const Expr& value) {
            if (call.kind != ExprKind::kFunction) {
                return;
            }
            const auto& f = static_cast<const FunctionCall&>(call);
            const bool element = named(f.name, "elementid");
            if ((!element && !named(f.name, "id")) || f.arguments.size() != 1) {
                return;
            }
            const Variable* v = as_variable(*f.arguments[0]);
            if (v == nullptr || v->symbol != symbol) {
                return;
            }
            std::set<Symbol> needs;
            collect_symbols(value, needs);
            for (const Symbol s : needs) {
                if (graph.symbols.contains(s) && !live.contains(s)) {
                    return;
                }
            }
            Leaf leaf = base;
            leaf.kind = base.kind == Leaf::Kind::kRelScan ? Leaf::Kind::kRelId : Leaf::Kind::kId;
            leaf.rows = b.op == BinaryOp::kEqual ? 1 : 10;
            leaf.unique = b.op == BinaryOp::kEqual;
            leaf.id = &value;
            leaf.id_list = b.op == BinaryOp::kIn;
            leaf.element_id = element;
            leaf.consumed = {i};
            out.push_back(std::move(leaf));
        };
        try_side(*b.left, *b.right);
        if (b.op == BinaryOp::kEqual) {
            try_side(*b.right, *b.left);
        }
    }
}

void Planner::index_leaves(const Graph& graph,
                           Symbol symbol,
                           engine::EntityKind entity,
                           const std::vector<std::string>& tokens,
                           const SlotSet& live,
                           Leaf base,
                           std::vector<Leaf>& out) {
    const auto usable = [&](const Expr& value) {
        std::set<Symbol> needs;
        collect_symbols(value, needs);
        return std::ranges::all_of(needs, [&](Symbol s) {
            return live.contains(s) || (s != symbol && !graph.symbols.contains(s));
        });
    };
    for (const engine::IndexView& index : schema_->indexes) {
        if (index.rule.type != engine::IndexType::kRange || index.rule.entity != entity ||
            index.state != engine::IndexState::kOnline || index.rule.tokens.size() != 1) {
            continue;
        }
        const bool ours = std::ranges::any_of(tokens, [&](const std::string& name) {
            const auto id = reader_.tokens().find(entity == engine::EntityKind::kNode
                                                      ? engine::TokenKind::kLabel
                                                      : engine::TokenKind::kRelationshipType,
                                                  name);
            return id && *id == index.rule.tokens[0];
        });
        if (!ours) {
            continue;
        }
        Leaf leaf = base;
        leaf.kind = base.kind == Leaf::Kind::kRelScan ? Leaf::Kind::kRelIndex : Leaf::Kind::kIndex;
        leaf.index = &index;
        bool complete = true;
        bool prefix_open = true;  // equality so far
        bool any_list = false;
        double share = 1;
        std::size_t equalities = 0;
        for (std::size_t c = 0; complete && c < index.rule.properties.size(); ++c) {
            const std::string_view key = reader_.tokens().name(index.rule.properties[c]);
            IndexColumn column;
            const Expr* value = nullptr;
            const Expr* lower = nullptr;
            const Expr* upper = nullptr;
            std::vector<std::size_t> answered;
            bool found = false;
            int rank = 0;
            for (std::size_t i = 0; i < graph.predicates.size(); ++i) {
                const Predicate& p = graph.predicates[i];
                if (p.done) {
                    continue;
                }
                if (p.expr->kind == ExprKind::kIsNull) {
                    const auto& n = static_cast<const IsNull&>(*p.expr);
                    const std::string* k = property_key(*n.operand, symbol);
                    if (n.negated && k != nullptr && *k == key && rank == 0) {
                        found = true;
                        rank = 1;
                        column.kind = engine::IndexQuery::Kind::kExists;
                        answered = {i};
                    }
                    continue;
                }
                if (p.expr->kind != ExprKind::kBinary) {
                    continue;
                }
                const auto& b = static_cast<const Binary&>(*p.expr);
                const Expr* other = nullptr;
                BinaryOp op = b.op;
                if (const std::string* k = property_key(*b.left, symbol);
                    k != nullptr && *k == key) {
                    other = b.right.get();
                } else if (const std::string* r = property_key(*b.right, symbol);
                           r != nullptr && *r == key && op != BinaryOp::kIn &&
                           op != BinaryOp::kStartsWith) {
                    other = b.left.get();
                    op = flipped(op);
                }
                if (other == nullptr || !usable(*other)) {
                    continue;
                }
                switch (op) {
                    case BinaryOp::kEqual:
                        if (rank < 5) {
                            rank = 5;
                            found = true;
                            column = {};
                            column.kind = engine::IndexQuery::Kind::kEquals;
                            value = other;
                            answered = {i};
                        }
                        break;
                    case BinaryOp::kIn:
                        if (rank < 4 && !any_list) {
                            rank = 4;
                            found = true;
                            column = {};
                            column.kind = engine::IndexQuery::Kind::kEquals;
                            column.in_list = true;
                            value = other;
                            answered = {i};
                        }
                        break;
                    case BinaryOp::kStartsWith:
                        if (rank < 3) {
                            rank = 3;
                            found = true;
                            column = {};
                            column.kind = engine::IndexQuery::Kind::kPrefix;
                            value = other;
                            answered = {i};
                        }
                        break;
                    case BinaryOp::kLess:
                    case BinaryOp::kLessEqual:
                        if (rank <= 2 && upper == nullptr) {
                            rank = 2;
                            found = true;
                            column.kind = engine::IndexQuery::Kind::kRange;
                            upper = other;
                            column.upper_inclusive = op == BinaryOp::kLessEqual;
                            answered.clear();  // the filter stays: it knows all types
                        }
                        break;
                    case BinaryOp::kGreater:
                    case BinaryOp::kGreaterEqual:
                        if (rank <= 2 && lower == nullptr) {
                            rank = 2;
                            found = true;
                            column.kind = engine::IndexQuery::Kind::kRange;
                            lower = other;
                            column.lower_inclusive = op == BinaryOp::kGreaterEqual;
                            answered.clear();
                        }
                        break;
                    default:
                        break;
                }
            }
            if (!found || (!prefix_open && rank > 1)) {
                complete = false;
                break;
            }
            const auto entries = static_cast<double>(std::max<std::uint64_t>(index.entries, 1));
            const double distinct = index.distinct_values > 0
                                        ? static_cast<double>(index.distinct_values)
                                        : std::sqrt(entries);
            switch (rank) {
                case 5:
                    share /= distinct;
                    ++equalities;
                    break;
                case 4:
                    share *= std::min(1.0, 10 / distinct);
                    any_list = true;
                    break;
                case 3:
                    share *= 0.1;
                    break;
                case 2:
                    share *= lower != nullptr && upper != nullptr ? 0.1 : 0.3;
                    break;
                default:
                    break;
            }
            prefix_open = prefix_open && rank >= 4;
            leaf.values.push_back(rank == 2 ? lower : value);
            leaf.values.push_back(rank == 2 ? upper : nullptr);
            leaf.columns.emplace_back(0, column);
            leaf.consumed.insert(leaf.consumed.end(), answered.begin(), answered.end());
        }
        if (!complete) {
            continue;
        }
        const bool owned = index.rule.owning_constraint.has_value();
        leaf.unique = owned && equalities == index.rule.properties.size();
        leaf.rows = leaf.unique ? 1 : std::max(1.0, static_cast<double>(index.entries) * share);
        // The index holds only entities with the label, so that check is answered, too.
        for (std::size_t i = 0; i < graph.predicates.size(); ++i) {
            const Predicate& p = graph.predicates[i];
            if (p.done || p.expr->kind != ExprKind::kLabelCheck ||
                entity != engine::EntityKind::kNode) {
                continue;
            }
            const auto& check = static_cast<const LabelCheck&>(*p.expr);
            const Variable* v = as_variable(*check.base);
            if (v != nullptr && v->symbol == symbol &&
                check.labels.kind == LabelExpr::Kind::kName) {
                const auto id = reader_.tokens().label(check.labels.name);
                if (id && id->value == index.rule.tokens[0]) {
                    leaf.consumed.push_back(i);
                }
            }
        }
        out.push_back(std::move(leaf));
    }
}

std::vector<Planner::Leaf> Planner::leaves_of(const Graph& graph,
                                              const GraphNode& node,
                                              const SlotSet& live) {
    std::vector<Leaf> out;
    Leaf all;
    all.symbol = node.symbol;
    all.kind = Leaf::Kind::kAll;
    all.rows = static_cast<double>(reader_.node_count(std::nullopt));
    if (settings_.on(Rule::kIndexSeek)) {
        id_leaves(graph, node.symbol, live, all, out);
        index_leaves(graph, node.symbol, engine::EntityKind::kNode, node.labels, live, all, out);
    }
    for (const std::string& label : node.labels) {
        Leaf leaf = all;
        leaf.kind = Leaf::Kind::kLabel;
        leaf.label = label;
        leaf.rows = label_rows({label});
        for (std::size_t i = 0; i < graph.predicates.size(); ++i) {
            const Predicate& p = graph.predicates[i];
            if (p.done || p.expr->kind != ExprKind::kLabelCheck) {
                continue;
            }
            const auto& check = static_cast<const LabelCheck&>(*p.expr);
            const Variable* v = as_variable(*check.base);
            if (v != nullptr && v->symbol == node.symbol &&
                check.labels.kind == LabelExpr::Kind::kName && check.labels.name == label) {
                leaf.consumed.push_back(i);
            }
        }
        if (!leaf.consumed.empty()) {
            out.push_back(std::move(leaf));
        }
    }
    if (out.empty() || node.labels.empty()) {
        out.push_back(std::move(all));
    }
    return out;
}

void Planner::rel_leaves(const Graph& graph,
                         std::size_t i,
                         const SlotSet& live,
                         std::vector<Leaf>& out) {
    const GraphRel& r = graph.relationships[i];
    if (r.done || r.pattern->length || r.selector != PathSelector::kNone || r.left == r.right ||
        live.contains(r.left) || live.contains(r.right) || live.contains(r.symbol)) {
        return;
    }
    std::vector<TokenIndex> types;
    std::optional<CompiledLabels> filter;
    compile_types(*r.pattern, types, filter);
    if (filter) {
        return;
    }
    Leaf leaf;
    leaf.kind = Leaf::Kind::kRelScan;
    leaf.symbol = r.symbol;
    leaf.relationship = i;
    std::vector<std::string> names;
    for (const TokenIndex t : types) {
        names.push_back(space_.tokens.types[t]);
        const auto id = reader_.tokens().relationship_type(names.back());
        leaf.rows += id ? static_cast<double>(reader_.relationship_count(*id)) : 0;
    }
    if (types.empty()) {
        leaf.rows = static_cast<double>(reader_.relationship_count(std::nullopt));
    }
    if (r.pattern->direction == PatternDirection::kBoth) {
        leaf.rows *= 2;
    }
    if (settings_.on(Rule::kIndexSeek)) {
        id_leaves(graph, r.symbol, live, leaf, out);
        index_leaves(graph,
                     r.symbol,
                     engine::EntityKind::kRelationship,
                     names.size() == 1 ? names : std::vector<std::string>{},
                     live,
                     leaf,
                     out);
        // Reading a relationship costs more than the next id of a scan, so ends with labels win.
        const bool bare =
            node_of(graph, r.left)->labels.empty() && node_of(graph, r.right)->labels.empty();
        if (bare) {
            out.push_back(std::move(leaf));
        }
    }
}

double Planner::expand_factor(const Graph& graph, const GraphRel& rel, bool from_left, bool into) {
    const Symbol from = from_left ? rel.left : rel.right;
    const Symbol to = from_left ? rel.right : rel.left;
    const auto label_id = [&](Symbol s) -> std::optional<LabelId> {
        const GraphNode* n = node_of(graph, s);
        if (n == nullptr || n->labels.empty()) {
            return std::nullopt;
        }
        return reader_.tokens().label(n->labels[0]);
    };
    const auto a = label_id(from);
    const auto b = label_id(to);
    std::vector<TokenIndex> types;
    std::optional<CompiledLabels> filter;
    compile_types(*rel.pattern, types, filter);
    const auto count = [&](std::optional<LabelId> start, std::optional<LabelId> end) {
        if (types.empty()) {
            return reader_.relationship_count_estimate(start, std::nullopt, end);
        }
        double n = 0;
        for (const TokenIndex t : types) {
            if (const auto id = reader_.tokens().relationship_type(space_.tokens.types[t])) {
                n += reader_.relationship_count_estimate(start, *id, end);
            }
        }
        return n;
    };
    double n = 0;
    const PatternDirection d = rel.pattern->direction;
    if (d != PatternDirection::kIncoming) {
        n += from_left ? count(a, b) : count(b, a);
    }
    if (d != PatternDirection::kOutgoing) {
        n += from_left ? count(b, a) : count(a, b);
    }
    const double sources = std::max(1.0,
                                    a ? static_cast<double>(reader_.node_count(*a))
                                      : static_cast<double>(reader_.node_count(std::nullopt)));
    double factor = n / sources;
    if (rel.pattern->length) {
        const auto max = rel.pattern->length->max.value_or(5);
        factor = std::pow(std::max(factor, 0.5),
                          static_cast<double>(std::clamp<std::int64_t>(max, 1, 5)));
    }
    if (into) {
        const double targets = std::max(1.0,
                                        b ? static_cast<double>(reader_.node_count(*b))
                                          : static_cast<double>(reader_.node_count(std::nullopt)));
        factor /= targets;
    }
    return factor;
}

/// Rows touched if the pattern is walked from this leaf, cheapest step first.
double Planner::simulate(const Graph& graph, const Leaf& leaf, const SlotSet& live) {
    SlotSet have = live;
    std::vector<bool> done;
    for (const GraphRel& r : graph.relationships) {
        done.push_back(r.done);
    }
    double rows = std::max(leaf.rows, 0.01);
    double cost = rows;
    // An access through an index or by id is dearer than the next row of a scan.
    if (leaf.kind == Leaf::Kind::kIndex || leaf.kind == Leaf::Kind::kRelIndex) {
        cost *= 1.2;
    }
    const auto arrive = [&](Symbol s) {
        have.insert(s);
        if (leaf.symbol != s || leaf.kind == Leaf::Kind::kAll || leaf.kind == Leaf::Kind::kLabel) {
            rows *= selectivity(graph, s);
        }
    };
    if (leaf.kind == Leaf::Kind::kRelScan || leaf.kind == Leaf::Kind::kRelId ||
        leaf.kind == Leaf::Kind::kRelIndex) {
        done[leaf.relationship] = true;
        arrive(graph.relationships[leaf.relationship].left);
        arrive(graph.relationships[leaf.relationship].right);
    } else {
        arrive(leaf.symbol);
    }
    while (true) {
        std::size_t best = SIZE_MAX;
        double least = 0;
        for (std::size_t i = 0; i < graph.relationships.size(); ++i) {
            const GraphRel& r = graph.relationships[i];
            if (done[i] || r.selector != PathSelector::kNone) {
                continue;
            }
            const bool left = have.contains(r.left);
            const bool right = have.contains(r.right);
            if (!left && !right) {
                continue;
            }
            const double factor = expand_factor(graph, r, left, left && right);
            if (best == SIZE_MAX || factor < least) {
                best = i;
                least = factor;
            }
        }
        if (best == SIZE_MAX) {
            return cost;
        }
        done[best] = true;
        const GraphRel& r = graph.relationships[best];
        rows = std::max(rows * least, 0.001);
        cost += rows * 1.5;
        if (!have.contains(r.left)) {
            arrive(r.left);
        }
        if (!have.contains(r.right)) {
            arrive(r.right);
        }
    }
}

std::optional<Planner::Leaf> Planner::best_leaf(const Graph& graph,
                                                const SlotSet& live,
                                                bool component_only,
                                                const std::set<Symbol>& component) {
    std::vector<Leaf> leaves;
    for (const GraphNode& n : graph.nodes) {
        if (live.contains(n.symbol) || (component_only && !component.contains(n.symbol))) {
            continue;
        }
        std::vector<Leaf> of_node = leaves_of(graph, n, live);
        std::ranges::move(of_node, std::back_inserter(leaves));
        if (!settings_.on(Rule::kCostOrder) && !leaves.empty()) {
            return leaves[0];
        }
    }
    for (std::size_t i = 0; i < graph.relationships.size(); ++i) {
        if (!component_only || component.contains(graph.relationships[i].left)) {
            rel_leaves(graph, i, live, leaves);
        }
    }
    if (leaves.empty()) {
        return std::nullopt;
    }
    std::size_t best = 0;
    double least = 0;
    for (std::size_t i = 0; i < leaves.size(); ++i) {
        const double cost = simulate(graph, leaves[i], live);
        if (i == 0 || cost < least) {
            best = i;
            least = cost;
        }
    }
    return leaves[best];
}

}  // namespace nornic::cypher
