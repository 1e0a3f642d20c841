// CREATE, MERGE, SET, REMOVE, DELETE, FOREACH.
#include "cypher/planner/planner_impl.h"

#include <fmt/format.h>

namespace nornic::cypher {
namespace {

void label_names(const LabelExpr& l, std::vector<std::string>& out) {
    if (l.kind == LabelExpr::Kind::kName) {
        out.push_back(l.name);
    }
    for (const LabelExpr& c : l.children) {
        label_names(c, out);
    }
}

}  // namespace

void Planner::add_create_pattern(const PathPattern& pattern,
                                 SlotSet& bound,
                                 const std::vector<Slot>& live,
                                 CreateItems& items) {
    // Properties may look at what the same clause creates before them.
    current_live_ = live;
    const auto bind = [&](Slot s) {
        if (bound.insert(s).second) {
            current_live_.push_back(s);
        }
    };
    for (const NodePattern& n : pattern.nodes) {
        if (bound.contains(n.symbol)) {
            continue;
        }
        CreateNodeItem item;
        item.slot = n.symbol;
        if (n.labels) {
            std::vector<std::string> names;
            label_names(*n.labels, names);
            for (const std::string& name : names) {
                item.labels.push_back(space_.label(name));
            }
        }
        item.properties = compiler_.compile_properties(n.properties.get());
        items.order.emplace_back(true, items.nodes.size());
        items.nodes.push_back(std::move(item));
        bind(n.symbol);
    }
    for (std::size_t i = 0; i < pattern.relationships.size(); ++i) {
        const RelPattern& r = pattern.relationships[i];
        if (bound.contains(r.symbol)) {
            continue;
        }
        CreateRelItem item;
        item.slot = r.symbol;
        const bool incoming = r.direction == PatternDirection::kIncoming;
        item.start = pattern.nodes[incoming ? i + 1 : i].symbol;
        item.end = pattern.nodes[incoming ? i : i + 1].symbol;
        item.start_name = name_of(item.start);
        item.end_name = name_of(item.end);
        item.name = name_of(r.symbol);
        if (r.types) {
            std::vector<std::string> names;
            label_names(*r.types, names);
            item.type = space_.type(names.at(0));
        }
        item.properties = compiler_.compile_properties(r.properties.get());
        items.order.emplace_back(false, items.relationships.size());
        items.relationships.push_back(std::move(item));
        bind(r.symbol);
    }
    if (pattern.symbol != kNoSymbol) {
        CreatePath path;
        path.slot = pattern.symbol;
        for (const NodePattern& n : pattern.nodes) {
            path.nodes.push_back(n.symbol);
        }
        for (const RelPattern& r : pattern.relationships) {
            path.relationships.push_back(r.symbol);
        }
        items.paths.push_back(std::move(path));
        bind(pattern.symbol);
    }
}

void Planner::plan_create(const CreateClause& create, Line& line) {
    auto node = std::make_unique<CreatePlan>();
    SlotSet bound = live_of(*line.plan);
    std::vector<Slot> live = line.plan->live;
    for (const PathPattern& p : create.patterns) {
        add_create_pattern(p, bound, live, node->items);
        live = std::move(current_live_);
    }
    for (const CreateNodeItem& n : node->items.nodes) {
        std::string labels;
        for (const TokenIndex t : n.labels) {
            labels += ":" + space_.tokens.labels[t];
        }
        node->details +=
            fmt::format("{}({}{})", node->details.empty() ? "" : ", ", name_of(n.slot), labels);
    }
    for (const CreateRelItem& r : node->items.relationships) {
        node->details += fmt::format("{}({})-[{}:{}]->({})",
                                     node->details.empty() ? "" : ", ",
                                     r.start_name,
                                     r.name,
                                     space_.tokens.types[r.type],
                                     r.end_name);
    }
    set_live(push(line.plan, std::move(node)), bound);
}

std::vector<SetOperation> Planner::compile_sets(const std::vector<SetItem>& items,
                                                const std::vector<Slot>& live) {
    std::vector<SetOperation> out;
    for (const SetItem& item : items) {
        SetOperation op;
        op.target = compile(*item.target, live);
        if (item.value) {
            op.value = compile(*item.value, live);
        }
        switch (item.kind) {
            case SetItem::Kind::kProperty:
                op.kind = SetOperation::Kind::kProperty;
                op.key = space_.key(item.key);
                break;
            case SetItem::Kind::kReplaceProperties:
                op.kind = SetOperation::Kind::kReplace;
                break;
            case SetItem::Kind::kMergeProperties:
                op.kind = SetOperation::Kind::kMerge;
                break;
            case SetItem::Kind::kLabels:
                op.kind = SetOperation::Kind::kLabels;
                for (const std::string& l : item.labels) {
                    op.labels.push_back(space_.label(l));
                }
                break;
            case SetItem::Kind::kDynamicProperty:
                op.kind = SetOperation::Kind::kDynamicProperty;
                op.dynamic_key = compile(*item.dynamic_key, live);
                break;
        }
        out.push_back(std::move(op));
    }
    return out;
}

void Planner::plan_set(const SetClause& set, Line& line) {
    auto node = std::make_unique<SetPlan>();
    node->items = compile_sets(set.items, line.plan->live);
    switch (set.items[0].kind) {
        case SetItem::Kind::kLabels:
            node->name = "SetLabels";
            break;
        case SetItem::Kind::kReplaceProperties:
        case SetItem::Kind::kMergeProperties:
            node->name = "SetPropertiesFromMap";
            break;
        default:
            node->name = set.items.size() > 1 ? "SetProperties" : "SetProperty";
            break;
    }
    push(line.plan, std::move(node));
}

void Planner::plan_remove(const RemoveClause& remove, Line& line) {
    auto node = std::make_unique<RemovePlan>();
    const std::vector<Slot> live = line.plan->live;
    for (const RemoveItem& item : remove.items) {
        SetOperation op;
        op.target = compile(*item.target, live);
        switch (item.kind) {
            case RemoveItem::Kind::kProperty:
                op.kind = SetOperation::Kind::kProperty;
                op.key = space_.key(item.key);
                break;
            case RemoveItem::Kind::kLabels:
                op.kind = SetOperation::Kind::kLabels;
                for (const std::string& l : item.labels) {
                    op.labels.push_back(space_.label(l));
                }
                break;
            case RemoveItem::Kind::kDynamicProperty:
                op.kind = SetOperation::Kind::kDynamicProperty;
                op.dynamic_key = compile(*item.dynamic_key, live);
                break;
        }
        node->items.push_back(std::move(op));
    }
    node->name = remove.items[0].kind == RemoveItem::Kind::kLabels ? "RemoveLabels" : "SetProperty";
    push(line.plan, std::move(node));
}

void Planner::plan_delete(const DeleteClause& del, Line& line) {
    auto node = std::make_unique<DeletePlan>();
    node->detach = del.detach;
    node->name = del.detach ? "DetachDelete" : "Delete";
    for (const ExprPtr& e : del.expressions) {
        node->targets.push_back(compile(*e, line.plan->live));
        node->details += (node->details.empty() ? "" : ", ") + expr_text(*e);
    }
    push(line.plan, std::move(node));
}

void Planner::plan_merge(const MergeClause& merge, Line& line) {
    auto node = std::make_unique<MergePlan>();
    const SlotSet before = live_of(*line.plan);
    std::set<Symbol> mentioned;
    collect_symbols(merge.pattern, mentioned);
    const Frame frame = make_frame(mentioned, line.plan->live);
    node->argument = frame.argument;
    PlanPtr search;
    beside([&] {
        search = start(frame);
        Graph graph;
        // {…} from a parameter may describe a node to create; a search by it is not possible.
        add_pattern(graph, merge.pattern);
        solve(graph, search);
    });
    SlotSet bound = before;
    add_create_pattern(merge.pattern, bound, line.plan->live, node->items);
    for (const Slot s : bound) {
        if (!before.contains(s)) {
            node->introduced.push_back(s);
        }
    }
    for (const NodePattern& n : merge.pattern.nodes) {
        if (before.contains(n.symbol) && !merge.pattern.relationships.empty()) {
            node->bound_nodes.push_back(n.symbol);
        }
    }
    const std::vector<Slot> live{bound.begin(), bound.end()};
    node->on_create = compile_sets(merge.on_create, live);
    node->on_match = compile_sets(merge.on_match, live);
    // The search gives all that is introduced, variable or not.
    SlotSet found = live_of(*search);
    for (const Slot s : node->introduced) {
        found.insert(s);
    }
    set_live(*search, found);
    MergePlan& m = push(line.plan, std::move(node));
    m.children.push_back(std::move(search));
    set_live(m, bound);
}

void Planner::plan_foreach(const ForeachClause& foreach, Line& line) {
    auto node = std::make_unique<ForeachPlan>();
    node->slot = foreach.symbol;
    node->list = compile(*foreach.list, line.plan->live);
    node->details = fmt::format("{} IN {}", foreach.variable, expr_text(*foreach.list));
    std::set<Symbol> mentioned{foreach.symbol};
    for (const Clause& c : foreach.updates) {
        collect_symbols(c, mentioned);
    }
    std::vector<Slot> live = line.plan->live;
    live.push_back(foreach.symbol);
    const Frame frame = make_frame(mentioned, live);
    node->argument = frame.argument;
    Line inner;
    inner.frame = frame;
    beside([&] {
        inner.plan = start(frame);
        for (const Clause& c : foreach.updates) {
            plan_clause(c, inner);
        }
        push(inner.plan, std::make_unique<EmptyResultPlan>());
    });
    ForeachPlan& f = push(line.plan, std::move(node));
    f.children.push_back(std::move(inner.plan));
}

}  // namespace nornic::cypher
