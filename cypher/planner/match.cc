// MATCH: predicates as early as they can be answered, relationships cheapest first, and what is not
// connected joined last.
#include "cypher/execution/expression_nodes.h"
#include "cypher/lexer/keywords.h"
#include "cypher/planner/planner_impl.h"

#include <fmt/format.h>

#include <cmath>

namespace nornic::cypher {
namespace {

engine::Direction direction_of(PatternDirection d, bool from_left) {
    switch (d) {
        case PatternDirection::kOutgoing:
            return from_left ? engine::Direction::kOutgoing : engine::Direction::kIncoming;
        case PatternDirection::kIncoming:
            return from_left ? engine::Direction::kIncoming : engine::Direction::kOutgoing;
        case PatternDirection::kBoth:
            break;
    }
    return engine::Direction::kBoth;
}

std::string type_text(const RelPattern& r,
                      const PlanTokens& tokens,
                      const std::vector<TokenIndex>& types) {
    std::string out;
    for (const TokenIndex t : types) {
        out += (out.empty() ? ":" : "|") + tokens.types[t];
    }
    if (r.length) {
        out += "*";
        if (r.length->min || r.length->max) {
            out += (r.length->min ? std::to_string(*r.length->min) : "") + ".." +
                   (r.length->max ? std::to_string(*r.length->max) : "");
        }
    }
    return out;
}

void set_length(const RelPattern& r, std::uint64_t& min, std::uint64_t& max) {
    min = r.length && r.length->min ? static_cast<std::uint64_t>(*r.length->min) : 1;
    max = r.length && r.length->max ? static_cast<std::uint64_t>(*r.length->max) : UINT64_MAX;
    if (!r.length) {
        max = 1;
    }
}

}  // namespace

void Planner::compile_types(const RelPattern& pattern,
                            std::vector<TokenIndex>& types,
                            std::optional<CompiledLabels>& filter) {
    if (!pattern.types) {
        return;
    }
    const auto alternatives = [&](const auto& self, const LabelExpr& l) -> bool {
        if (l.kind == LabelExpr::Kind::kName) {
            const TokenIndex t = space_.type(l.name);
            if (std::ranges::find(types, t) == types.end()) {
                types.push_back(t);
            }
            return true;
        }
        return l.kind == LabelExpr::Kind::kOr &&
               std::ranges::all_of(l.children, [&](const LabelExpr& c) { return self(self, c); });
    };
    if (!alternatives(alternatives, *pattern.types)) {
        types.clear();
        filter = compiler_.compile_labels(*pattern.types, true);
    }
}

std::vector<Slot> Planner::others(const Graph& graph,
                                  const GraphRel& rel,
                                  const SlotSet& live) const {
    const auto names = [](const RelPattern& r, std::set<std::string>& out) {
        if (!r.types) {
            return false;
        }
        const auto collect = [&](const auto& self, const LabelExpr& l) -> bool {
            if (l.kind == LabelExpr::Kind::kName) {
                out.insert(l.name);
                return true;
            }
            return l.kind == LabelExpr::Kind::kOr &&
                   std::ranges::all_of(l.children,
                                       [&](const LabelExpr& c) { return self(self, c); });
        };
        return collect(collect, *r.types);
    };
    std::set<std::string> mine;
    const bool plain = names(*rel.pattern, mine);
    std::vector<Slot> out;
    for (const GraphRel& r : graph.relationships) {
        if (&r == &rel || r.symbol == rel.symbol || r.selector != PathSelector::kNone || !r.done ||
            !live.contains(r.symbol)) {
            continue;
        }
        std::set<std::string> theirs;
        if (plain && names(*r.pattern, theirs) &&
            std::ranges::none_of(mine, [&](const std::string& s) { return theirs.contains(s); })) {
            continue;  // relationships of different types are different
        }
        out.push_back(r.symbol);
    }
    return out;
}

namespace {

void rename_symbol(Expr& expr, Symbol from, Symbol to) {
    if (expr.kind == ExprKind::kVariable && static_cast<Variable&>(expr).symbol == from) {
        static_cast<Variable&>(expr).symbol = to;
    }
    for_each_child(expr, [&](ExprPtr& child) { rename_symbol(*child, from, to); });
}

/// all(r IN relationships(p) WHERE …) or none(…) that asks of each relationship by itself; else nullptr.
const Quantifier* asks_each(const Expr& expr, Symbol path, Symbol relationships) {
    if (expr.kind != ExprKind::kQuantifier) {
        return nullptr;
    }
    const auto& q = static_cast<const Quantifier&>(expr);
    const auto is = [](const Expr& e, Symbol s) {
        return e.kind == ExprKind::kVariable && static_cast<const Variable&>(e).symbol == s;
    };
    bool over = is(*q.list, relationships);
    if (q.list->kind == ExprKind::kFunction) {
        const auto& f = static_cast<const FunctionCall&>(*q.list);
        over = equals_ignoring_case(f.name, "relationships") && f.arguments.size() == 1 &&
               is(*f.arguments[0], path);
    }
    std::set<Symbol> mentioned;
    collect_symbols(*q.where, mentioned);
    const bool fits =
        over && !mentioned.contains(path) && !mentioned.contains(relationships) &&
        !has_nested_plan(*q.where) &&
        (q.quantifier == QuantifierKind::kAll || q.quantifier == QuantifierKind::kNone);
    return fits ? &q : nullptr;
}

}  // namespace

CompiledPtr Planner::step_predicate(const RelPattern& pattern,
                                    Slot& step,
                                    const PlanNode& plan,
                                    const std::vector<const Quantifier*>& each) {
    const bool asks = pattern.where && pattern.quantified;
    const bool has_keys = pattern.properties && pattern.properties->kind == ExprKind::kMap &&
                          !static_cast<const MapLiteral&>(*pattern.properties).entries.empty();
    if (!asks && !has_keys && each.empty()) {
        return nullptr;
    }
    step = asks ? pattern.step : space_.new_slot("");
    ExprPtr all;
    const auto add = [&](SourcePosition at, ExprPtr e) {
        all = all ? std::make_unique<Binary>(at, BinaryOp::kAnd, std::move(all), std::move(e))
                  : std::move(e);
    };
    if (has_keys) {
        for (const auto& [key, value] :
             static_cast<const MapLiteral&>(*pattern.properties).entries) {
            auto v = std::make_unique<Variable>(value->position, "");
            v->symbol = step;
            add(value->position,
                std::make_unique<Binary>(
                    value->position,
                    BinaryOp::kEqual,
                    std::make_unique<Property>(value->position, std::move(v), key),
                    clone(*value)));
        }
    }
    if (asks) {
        add(pattern.where->position, clone(*pattern.where));
    }
    for (const Quantifier* q : each) {
        ExprPtr one = clone(*q->where);
        rename_symbol(*one, q->symbol, step);
        if (q->quantifier == QuantifierKind::kNone) {
            one = std::make_unique<Unary>(q->position, UnaryOp::kNot, std::move(one));
        }
        add(q->position, std::move(one));
    }
    space_.made.push_back(std::move(all));
    std::vector<Slot> live = plan.live;
    live.push_back(step);
    return compile(*space_.made.back(), live);
}

/// Predicates that can be answered now, and named paths whose parts are all there.
void Planner::finish_available(Graph& graph, PlanPtr& plan) {
    if (plan == nullptr) {
        return;
    }
    const auto ready = [&](const std::set<Symbol>& needs) {
        return std::ranges::all_of(needs, [&](Symbol s) {
            return !graph.symbols.contains(s) ||
                   std::ranges::find(plan->live, s) != plan->live.end();
        });
    };
    std::vector<const Expr*> now;
    for (Predicate& p : graph.predicates) {
        if (!p.done && ready(p.needs)) {
            p.done = true;
            now.push_back(p.expr);
        }
    }
    const auto add = [&] {
        if (now.empty()) {
            return;
        }
        // Cheap ones first; those with plans of their own last.
        const auto weight = [](const Expr* e) {
            return has_nested_plan(*e) ? 2 : (e->kind == ExprKind::kLabelCheck ? 0 : 1);
        };
        std::vector<const Expr*> sorted;
        for (int w = 0; w <= 2; ++w) {
            for (const Expr* e : now) {
                if (weight(e) == w) {
                    sorted.push_back(e);
                }
            }
        }
        auto filter = std::make_unique<FilterPlan>();
        for (const Expr* e : sorted) {
            filter->predicates.push_back(compile(*e, plan->live));
            filter->details += (filter->details.empty() ? "" : " AND ") + expr_text(*e);
        }
        const double share = std::pow(0.3, static_cast<double>(sorted.size()));
        push(plan, std::move(filter)).estimated_rows *= share;
        now.clear();
    };
    add();
    for (GraphPath& path : graph.paths) {
        if (path.done) {
            continue;
        }
        std::set<Symbol> needs{path.nodes.begin(), path.nodes.end()};
        needs.insert(path.relationships.begin(), path.relationships.end());
        if (!std::ranges::all_of(needs, [&](Symbol s) {
                return std::ranges::find(plan->live, s) != plan->live.end();
            })) {
            continue;
        }
        path.done = true;
        auto projection = std::make_unique<ProjectionPlan>();
        projection->details = name_of(path.symbol);
        projection->items.emplace_back(path.symbol,
                                       std::make_shared<PathExpr>(path.nodes, path.relationships));
        push(plan, std::move(projection), {path.symbol});
        for (Predicate& p : graph.predicates) {
            if (!p.done && ready(p.needs)) {
                p.done = true;
                now.push_back(p.expr);
            }
        }
        add();
    }
}

void Planner::add_endpoints(Graph& graph, PlanPtr& plan, GraphRel& rel) {
    auto node = std::make_unique<ProjectEndpointsPlan>();
    const SlotSet live = live_of(*plan);
    node->relationship = rel.symbol;
    node->start = rel.left;
    node->end = rel.right;
    node->start_bound = live.contains(rel.left);
    node->end_bound = live.contains(rel.right);
    node->variable_length = rel.pattern->length.has_value();
    node->direction = direction_of(rel.pattern->direction, true);
    set_length(*rel.pattern, node->min, node->max);
    compile_types(*rel.pattern, node->types, node->type_filter);
    node->different_from = others(graph, rel, live);
    node->details =
        fmt::format("({})-[{}]-({})", name_of(rel.left), name_of(rel.symbol), name_of(rel.right));
    push(plan, std::move(node), {rel.left, rel.right});
    rel.done = true;
}

void Planner::add_var_expand(
    Graph& graph, PlanPtr& plan, GraphRel& rel, bool from_left, bool into) {
    auto node = std::make_unique<VarExpandPlan>();
    node->name = into ? "VarLengthExpand(Into)" : "VarLengthExpand(All)";
    node->from = from_left ? rel.left : rel.right;
    node->to = from_left ? rel.right : rel.left;
    node->relationships = rel.symbol;
    node->direction = direction_of(rel.pattern->direction, from_left);
    node->into = into;
    node->reversed = !from_left;
    set_length(*rel.pattern, node->min, node->max);
    compile_types(*rel.pattern, node->types, node->type_filter);
    node->step_predicate = step_predicate(*rel.pattern, node->step, *plan);
    node->different_from = others(graph, rel, live_of(*plan));
    const bool named =
        rel.symbol < semantics_.symbols.size() && !semantics_.symbols[rel.symbol].anonymous;
    node->need_list = named || rel.in_path || graph.part || graph.relationships.size() > 1;
    node->details = fmt::format("({})-[{}{}]-({})",
                                name_of(node->from),
                                named ? name_of(rel.symbol) : "",
                                type_text(*rel.pattern, space_.tokens, node->types),
                                name_of(node->to));
    const double factor = expand_factor(graph, rel, from_left, into);
    VarExpandPlan& n = push(plan, std::move(node), {rel.symbol});
    if (!n.need_list) {
        SlotSet live = live_of(n);
        live.erase(rel.symbol);
        set_live(n, live);
    }
    SlotSet live = live_of(n);
    live.insert(n.to);
    set_live(n, live);
    n.estimated_rows *= factor;
    rel.done = true;
}

void Planner::add_shortest(Graph& graph, PlanPtr& plan, GraphRel& rel) {
    auto node = std::make_unique<ShortestPathPlan>();
    node->from = rel.left;
    node->to = rel.right;
    node->relationships = rel.symbol;
    node->path = rel.path == kNoSymbol ? space_.new_slot("") : rel.path;
    node->direction = direction_of(rel.pattern->direction, true);
    node->all = rel.selector == PathSelector::kAllShortest;
    set_length(*rel.pattern, node->min, node->max);
    compile_types(*rel.pattern, node->types, node->type_filter);
    node->details = fmt::format("{} = ({})-[{}{}]-({})",
                                name_of(node->path),
                                name_of(rel.left),
                                name_of(rel.symbol),
                                type_text(*rel.pattern, space_.tokens, node->types),
                                name_of(rel.right));
    // Conditions on the path decide which one is the shortest.
    SlotSet after = live_of(*plan);
    after.insert(node->path);
    after.insert(rel.symbol);
    ExprPtr all;
    std::vector<const Quantifier*> each;
    for (Predicate& p : graph.predicates) {
        const bool about = p.needs.contains(rel.symbol) || p.needs.contains(node->path);
        if (p.done || !about || !std::ranges::all_of(p.needs, [&](Symbol s) {
                return !graph.symbols.contains(s) || after.contains(s);
            })) {
            continue;
        }
        p.done = true;
        // What is asked of each relationship cuts the search short; a condition on the whole path makes it try every way.
        if (const Quantifier* q = asks_each(*p.expr, node->path, rel.symbol)) {
            each.push_back(q);
            continue;
        }
        all = all ? std::make_unique<Binary>(
                        p.expr->position, BinaryOp::kAnd, std::move(all), clone(*p.expr))
                  : clone(*p.expr);
    }
    node->step_predicate = step_predicate(*rel.pattern, node->step, *plan, each);
    if (all) {
        space_.made.push_back(std::move(all));
        node->path_predicate = compile(*space_.made.back(), {after.begin(), after.end()});
    }
    ShortestPathPlan& n = push(plan, std::move(node), {rel.symbol});
    SlotSet live = live_of(n);
    live.insert(n.path);
    set_live(n, live);
    rel.done = true;
}

void Planner::add_expand(Graph& graph, PlanPtr& plan, GraphRel& rel) {
    const SlotSet live = live_of(*plan);
    const bool left = live.contains(rel.left);
    const bool right = live.contains(rel.right);
    const bool into = left && right;
    const bool from_left = left;
    if (rel.pattern->length) {
        add_var_expand(graph, plan, rel, from_left, into);
        return;
    }
    auto node = std::make_unique<ExpandPlan>();
    node->into = into;
    node->name = into ? "Expand(Into)" : "Expand(All)";
    node->from = from_left ? rel.left : rel.right;
    node->to = from_left ? rel.right : rel.left;
    node->relationship = rel.symbol;
    node->direction = direction_of(rel.pattern->direction, from_left);
    compile_types(*rel.pattern, node->types, node->type_filter);
    node->different_from = others(graph, rel, live);
    node->details = fmt::format("({}){}-[{}{}]-{}({})",
                                name_of(node->from),
                                node->direction == engine::Direction::kIncoming ? "<" : "",
                                name_of(rel.symbol),
                                type_text(*rel.pattern, space_.tokens, node->types),
                                node->direction == engine::Direction::kOutgoing ? ">" : "",
                                name_of(node->to));
    const double factor = expand_factor(graph, rel, from_left, into);
    const Slot to = node->to;
    ExpandPlan& n = push(plan, std::move(node), {rel.symbol, to});
    n.estimated_rows *= factor;
    rel.done = true;
}

bool Planner::expand_one(Graph& graph, PlanPtr& plan) {
    if (plan == nullptr) {
        return false;
    }
    const SlotSet live = live_of(*plan);
    GraphRel* best = nullptr;
    double least = 0;
    for (GraphRel& r : graph.relationships) {
        if (r.done) {
            continue;
        }
        if (r.selector != PathSelector::kNone) {
            if (live.contains(r.left) && live.contains(r.right)) {
                add_shortest(graph, plan, r);
                return true;
            }
            continue;
        }
        if (live.contains(r.symbol)) {
            add_endpoints(graph, plan, r);
            return true;
        }
        const bool left = live.contains(r.left);
        const bool right = live.contains(r.right);
        if (!left && !right) {
            continue;
        }
        const double factor =
            settings_.on(Rule::kCostOrder) ? expand_factor(graph, r, left, left && right) : 1;
        if (best == nullptr || factor < least) {
            best = &r;
            least = factor;
        }
    }
    if (best == nullptr) {
        return false;
    }
    add_expand(graph, plan, *best);
    return true;
}

void Planner::add_leaf(Graph& graph, PlanPtr& plan, const Leaf& leaf) {
    // The row of an empty argument says nothing.
    if (plan != nullptr && plan->op == Op::kArgument &&
        static_cast<ArgumentPlan&>(*plan).argument == kNoSlot) {
        plan = nullptr;
    }
    const double outer = plan == nullptr ? 1 : plan->estimated_rows;
    const std::vector<Slot> live = plan == nullptr ? std::vector<Slot>{} : plan->live;
    for (const std::size_t i : leaf.consumed) {
        graph.predicates[i].done = true;
    }
    const auto seek = [&](IndexSeekPlan& node) {
        node.index = leaf.index->rule.id;
        node.unique = leaf.unique;
        std::string keys;
        for (std::size_t c = 0; c < leaf.columns.size(); ++c) {
            IndexColumn column = leaf.columns[c].second;
            const Expr* a = leaf.values[2 * c];
            const Expr* b = leaf.values[2 * c + 1];
            if (column.kind == engine::IndexQuery::Kind::kRange) {
                column.lower = a != nullptr ? compile(*a, live) : nullptr;
                column.upper = b != nullptr ? compile(*b, live) : nullptr;
            } else if (a != nullptr) {
                column.value = compile(*a, live);
            }
            keys += (c == 0 ? "" : ", ") +
                    std::string{reader_.tokens().name(leaf.index->rule.properties[c])};
            node.columns.push_back(std::move(column));
        }
        const auto kind = leaf.columns[0].second.kind;
        const std::string what = node.op == Op::kNodeIndexSeek ? "Node" : "DirectedRelationship";
        node.name =
            kind == engine::IndexQuery::Kind::kExists ? what + "IndexScan"
            : kind == engine::IndexQuery::Kind::kRange || kind == engine::IndexQuery::Kind::kPrefix
                ? what + "IndexSeekByRange"
                : (leaf.unique && what == "Node" ? "NodeUniqueIndexSeek" : what + "IndexSeek");
        const std::string token{node.op == Op::kNodeIndexSeek
                                    ? reader_.tokens().name(LabelId{leaf.index->rule.tokens[0]})
                                    : reader_.tokens().name(RelTypeId{leaf.index->rule.tokens[0]})};
        node.details = fmt::format("{}RANGE INDEX {}:{}({})",
                                   leaf.unique ? "UNIQUE " : "",
                                   name_of(leaf.symbol),
                                   token,
                                   keys);
    };
    const auto ends = [&](auto& node, const GraphRel& r) {
        const bool incoming = r.pattern->direction == PatternDirection::kIncoming;
        node.start = incoming ? r.right : r.left;
        node.end = incoming ? r.left : r.right;
        node.both_directions = r.pattern->direction == PatternDirection::kBoth;
    };
    switch (leaf.kind) {
        case Leaf::Kind::kAll: {
            auto node = std::make_unique<AllNodesScanPlan>();
            node->node = leaf.symbol;
            node->details = name_of(leaf.symbol);
            push(plan, std::move(node), {leaf.symbol});
            break;
        }
        case Leaf::Kind::kLabel: {
            auto node = std::make_unique<LabelScanPlan>();
            node->node = leaf.symbol;
            node->label = space_.label(leaf.label);
            node->details = fmt::format("{}:{}", name_of(leaf.symbol), leaf.label);
            push(plan, std::move(node), {leaf.symbol});
            break;
        }
        case Leaf::Kind::kId: {
            auto node = std::make_unique<IdSeekPlan>(
                Op::kNodeByIdSeek, leaf.element_id ? "NodeByElementIdSeek" : "NodeByIdSeek");
            node->slot = leaf.symbol;
            node->id = compile(*leaf.id, live);
            node->many = leaf.id_list;
            node->element = leaf.element_id;
            node->details = name_of(leaf.symbol);
            push(plan, std::move(node), {leaf.symbol});
            break;
        }
        case Leaf::Kind::kIndex: {
            auto node = std::make_unique<IndexSeekPlan>(Op::kNodeIndexSeek, "NodeIndexSeek");
            node->slot = leaf.symbol;
            seek(*node);
            push(plan, std::move(node), {leaf.symbol});
            break;
        }
        case Leaf::Kind::kRelScan:
        case Leaf::Kind::kRelId:
        case Leaf::Kind::kRelIndex: {
            GraphRel& r = graph.relationships[leaf.relationship];
            const bool both = r.pattern->direction == PatternDirection::kBoth;
            if (leaf.kind == Leaf::Kind::kRelScan) {
                auto node = std::make_unique<RelationshipScanPlan>();
                node->relationship = r.symbol;
                std::optional<CompiledLabels> filter;
                compile_types(*r.pattern, node->types, filter);
                ends(*node, r);
                node->name = fmt::format("{}Relationship{}Scan",
                                         both ? "Undirected" : "Directed",
                                         node->types.empty() ? "s" : "Type");
                if (node->types.empty()) {
                    node->name =
                        both ? "UndirectedAllRelationshipsScan" : "DirectedAllRelationshipsScan";
                }
                node->details = fmt::format("({})-[{}{}]-({})",
                                            name_of(r.left),
                                            name_of(r.symbol),
                                            type_text(*r.pattern, space_.tokens, node->types),
                                            name_of(r.right));
                push(plan, std::move(node), {r.symbol, r.left, r.right});
            } else if (leaf.kind == Leaf::Kind::kRelId) {
                auto node =
                    std::make_unique<IdSeekPlan>(Op::kRelationshipByIdSeek,
                                                 fmt::format("{}RelationshipBy{}Seek",
                                                             both ? "Undirected" : "Directed",
                                                             leaf.element_id ? "ElementId" : "Id"));
                node->slot = r.symbol;
                node->id = compile(*leaf.id, live);
                node->many = leaf.id_list;
                node->element = leaf.element_id;
                ends(*node, r);
                push(plan, std::move(node), {r.symbol, r.left, r.right});
            } else {
                auto node = std::make_unique<IndexSeekPlan>(Op::kRelationshipIndexSeek,
                                                            "DirectedRelationshipIndexSeek");
                node->slot = r.symbol;
                seek(*node);
                ends(*node, r);
                if (both) {
                    node->name.replace(0, std::string_view{"Directed"}.size(), "Undirected");
                }
                push(plan, std::move(node), {r.symbol, r.left, r.right});
            }
            // A seek by id knows nothing of the type.
            if (leaf.kind == Leaf::Kind::kRelId && r.pattern->types) {
                auto v = std::make_unique<Variable>(r.pattern->position, name_of(r.symbol));
                v->symbol = r.symbol;
                auto check = std::make_unique<LabelCheck>(
                    r.pattern->position, std::move(v), *r.pattern->types);
                space_.made.push_back(std::move(check));
                add_filter(plan, *space_.made.back());
            }
            const std::vector<Slot> different = others(graph, r, {live.begin(), live.end()});
            r.done = true;
            if (!different.empty()) {
                // Started in a second component of the same MATCH: still another relationship.
                auto check = std::make_unique<ProjectEndpointsPlan>();
                check->relationship = r.symbol;
                check->start = r.left;
                check->end = r.right;
                check->start_bound = true;
                check->end_bound = true;
                check->direction = direction_of(r.pattern->direction, true);
                check->different_from = different;
                push(plan, std::move(check));
            }
            break;
        }
    }
    plan->estimated_rows = outer * std::max(leaf.rows, 0.01);
}

void Planner::start_one(Graph& graph, PlanPtr& plan) {
    const bool empty = plan == nullptr || (plan->op == Op::kArgument &&
                                           static_cast<ArgumentPlan&>(*plan).argument == kNoSlot);
    const SlotSet live = plan == nullptr ? SlotSet{} : live_of(*plan);
    const std::optional<Leaf> leaf = best_leaf(graph, live, false, {});
    if (!leaf) {
        return;
    }
    const bool one_row = empty || plan->estimated_rows <= 1.5;
    if (one_row || leaf->unique || leaf->kind == Leaf::Kind::kId ||
        leaf->kind == Leaf::Kind::kIndex || leaf->rows <= 2) {
        add_leaf(graph, plan, *leaf);
        return;
    }
    // A piece of its own: made once and joined, if nothing in it looks at the rows so far.
    const bool is_rel = leaf->kind == Leaf::Kind::kRelScan || leaf->kind == Leaf::Kind::kRelId ||
                        leaf->kind == Leaf::Kind::kRelIndex;
    const std::set<Symbol> component = component_of(
        graph, is_rel ? graph.relationships[leaf->relationship].left : leaf->symbol, live);
    const auto mine = [&](const std::set<Symbol>& needs) {
        return std::ranges::all_of(needs, [&](Symbol s) {
            return component.contains(s) || (!graph.symbols.contains(s) && !live.contains(s));
        });
    };
    const auto outside = [&](const Expr* e) {
        std::set<Symbol> s;
        collect_symbols(*e, s);
        return std::ranges::any_of(s, [&](Symbol x) { return live.contains(x); });
    };
    bool depends = leaf->id != nullptr && outside(leaf->id);
    for (const Expr* e : leaf->values) {
        depends = depends || (e != nullptr && outside(e));
    }
    // Relationships of this piece must differ from those before: that check needs one row with
    // both.
    for (const GraphRel& r : graph.relationships) {
        if (component.contains(r.symbol) && component.contains(r.left)) {
            depends = depends || live.contains(r.symbol) || !others(graph, r, live).empty() ||
                      (r.pattern->properties && outside(r.pattern->properties.get()));
        }
    }
    if (depends) {
        add_leaf(graph, plan, *leaf);
        return;
    }
    Graph part;
    part.symbols = component;
    part.part = graph.part || graph.relationships.size() > 1;
    for (const GraphNode& n : graph.nodes) {
        if (component.contains(n.symbol)) {
            part.nodes.push_back(n);
        }
    }
    for (GraphRel& r : graph.relationships) {
        if (!r.done && r.selector == PathSelector::kNone && component.contains(r.symbol) &&
            component.contains(r.left)) {
            part.relationships.push_back(r);
            r.done = true;
        }
    }
    for (Predicate& p : graph.predicates) {
        if (!p.done && mine(p.needs) &&
            std::ranges::any_of(p.needs, [&](Symbol s) { return component.contains(s); })) {
            part.predicates.push_back(p);
            p.done = true;
        }
    }
    PlanPtr right;
    beside([&] { solve(part, right); });
    const double rows = plan->estimated_rows * right->estimated_rows;
    // a.x = b.y between the two sides: a hash join.
    auto join = std::make_unique<HashJoinPlan>();
    const SlotSet right_live = live_of(*right);
    if (settings_.on(Rule::kHashJoin)) {
        for (Predicate& p : graph.predicates) {
            if (p.done || p.expr->kind != ExprKind::kBinary ||
                static_cast<const Binary&>(*p.expr).op != BinaryOp::kEqual) {
                continue;
            }
            const auto& b = static_cast<const Binary&>(*p.expr);
            std::set<Symbol> l;
            std::set<Symbol> r;
            collect_symbols(*b.left, l);
            collect_symbols(*b.right, r);
            const auto within = [](const std::set<Symbol>& s, const SlotSet& slots) {
                return !s.empty() &&
                       std::ranges::all_of(s, [&](Symbol x) { return slots.contains(x); });
            };
            if (within(l, live) && within(r, right_live)) {
                join->left_keys.push_back(compile(*b.left, plan->live));
                join->right_keys.push_back(compile(*b.right, right->live));
            } else if (within(r, live) && within(l, right_live)) {
                join->left_keys.push_back(compile(*b.right, plan->live));
                join->right_keys.push_back(compile(*b.left, right->live));
            } else {
                continue;
            }
            join->details += (join->details.empty() ? "" : " AND ") + expr_text(*p.expr);
            p.done = true;
        }
    }
    SlotSet both = live;
    both.insert(right_live.begin(), right_live.end());
    PlanPtr node;
    if (!join->left_keys.empty()) {
        node = std::move(join);
        node->estimated_rows = std::max(plan->estimated_rows, right->estimated_rows);
    } else {
        node = std::make_unique<CartesianProductPlan>();
        node->estimated_rows = rows;
    }
    count_level();
    node->children.push_back(std::move(plan));
    node->children.push_back(std::move(right));
    set_live(*node, both);
    plan = std::move(node);
}

void Planner::solve(Graph& graph, PlanPtr& plan) {
    // A bound on rounds: each makes something available.
    for (std::size_t round = 0;
         round < 4 * (graph.nodes.size() + graph.relationships.size() + graph.paths.size()) + 4;
         ++round) {
        finish_available(graph, plan);
        if (expand_one(graph, plan)) {
            continue;
        }
        const bool missing = std::ranges::any_of(graph.nodes, [&](const GraphNode& n) {
            return plan == nullptr || std::ranges::find(plan->live, n.symbol) == plan->live.end();
        });
        if (!missing) {
            break;
        }
        start_one(graph, plan);
    }
    finish_available(graph, plan);
}

bool Planner::try_optional_expand(const MatchClause& match, Line& line) {
    if (!settings_.on(Rule::kOptionalExpand) || match.patterns.size() != 1) {
        return false;
    }
    const PathPattern& p = match.patterns[0];
    if (p.relationships.size() != 1 || p.symbol != kNoSymbol || p.selector != PathSelector::kNone ||
        p.relationships[0].length) {
        return false;
    }
    const SlotSet live = live_of(*line.plan);
    const Symbol a = p.nodes[0].symbol;
    const Symbol b = p.nodes[1].symbol;
    const Symbol r = p.relationships[0].symbol;
    if ((!live.contains(a) && !live.contains(b)) || live.contains(r) || a == b) {
        return false;
    }
    Graph graph = make_graph(match.patterns, match.where.get());
    add_expand(graph, line.plan, graph.relationships[0]);
    auto& node = static_cast<ExpandPlan&>(*line.plan);
    node.optional = true;
    node.name = node.into ? "OptionalExpand(Into)" : "OptionalExpand(All)";
    node.estimated_rows = std::max(node.estimated_rows, node.children[0]->estimated_rows);
    ExprPtr all;
    for (const Predicate& pred : graph.predicates) {
        all = all ? std::make_unique<Binary>(
                        pred.expr->position, BinaryOp::kAnd, std::move(all), clone(*pred.expr))
                  : clone(*pred.expr);
    }
    if (all) {
        space_.made.push_back(std::move(all));
        node.predicate = compile(*space_.made.back(), node.live);
    }
    return true;
}

void Planner::plan_match(const MatchClause& match, Line& line) {
    if (!match.optional) {
        Graph graph = make_graph(match.patterns, match.where.get());
        solve(graph, line.plan);
        return;
    }
    if (try_optional_expand(match, line)) {
        return;
    }
    std::set<Symbol> mentioned;
    for (const PathPattern& p : match.patterns) {
        collect_symbols(p, mentioned);
    }
    if (match.where) {
        collect_symbols(*match.where, mentioned);
    }
    const Frame frame = make_frame(mentioned, line.plan->live);
    PlanPtr inner;
    beside([&] {
        inner = start(frame);
        Graph graph = make_graph(match.patterns, match.where.get());
        solve(graph, inner);
    });
    const SlotSet outer = live_of(*line.plan);
    auto apply = std::make_unique<ApplyPlan>(ApplyPlan::Kind::kOptional);
    apply->argument = frame.argument;
    for (const Slot s : inner->live) {
        if (!outer.contains(s)) {
            apply->introduced.push_back(s);
        }
    }
    const std::vector<Slot> introduced = apply->introduced;
    auto optional =
        std::max(line.plan->estimated_rows, line.plan->estimated_rows * inner->estimated_rows);
    apply->name = "Apply";
    ApplyPlan& node = push(line.plan, std::move(apply));
    node.children.push_back(std::move(inner));
    SlotSet live = outer;
    live.insert(introduced.begin(), introduced.end());
    set_live(node, live);
    node.estimated_rows = optional;
}

}  // namespace nornic::cypher
