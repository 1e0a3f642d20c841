// The passes over finished plans.
#include "cypher/execution/expressions.h"
#include "cypher/optimizer/optimizer.h"

#include <algorithm>
#include <map>

namespace nornic::cypher {
namespace {

template <class Fn>
void each_child(PlanNode& node, const Fn& fn) {
    for (PlanPtr& c : node.children) {
        fn(c);
    }
}

/// Skips what changes no row's number.
PlanNode* below_passive(PlanNode* node) {
    while (node != nullptr && (node->op == Op::kProjection || node->op == Op::kCacheProperties)) {
        node = node->child();
    }
    return node;
}

}  // namespace

/// MATCH (n:L) RETURN count(*) and count(n): the engine counts as it writes.
void pass_count_store(PlanPtr& node, PlanSpace& space) {
    each_child(*node, [&](PlanPtr& c) { pass_count_store(c, space); });
    if (node->op != Op::kAggregation) {
        return;
    }
    auto& a = static_cast<AggregationPlan&>(*node);
    if (!a.keys.empty() || a.aggregates.size() != 1 || a.children.size() != 1 ||
        !a.children[0]->children.empty()) {
        return;
    }
    const AggregateItem& item = a.aggregates[0];
    PlanNode& leaf = *a.children[0];
    auto count = std::make_unique<CountStorePlan>();
    count->to = item.to;
    count->live = a.live;
    Slot counted = kNoSlot;
    if (leaf.op == Op::kAllNodesScan) {
        counted = static_cast<AllNodesScanPlan&>(leaf).node;
    } else if (leaf.op == Op::kNodeByLabelScan) {
        counted = static_cast<LabelScanPlan&>(leaf).node;
        count->token = static_cast<LabelScanPlan&>(leaf).label;
        count->details = "count( (:" + space.tokens.labels[*count->token] + ") )";
    } else if (leaf.op == Op::kRelationshipScan &&
               !static_cast<RelationshipScanPlan&>(leaf).both_directions &&
               static_cast<RelationshipScanPlan&>(leaf).types.size() <= 1) {
        const auto& r = static_cast<RelationshipScanPlan&>(leaf);
        counted = r.relationship;
        count->relationships = true;
        count->name = "RelationshipCountFromCountStore";
        if (!r.types.empty()) {
            count->token = r.types[0];
            count->details = "count( ()-[:" + space.tokens.types[*count->token] + "]->() )";
        }
    } else {
        return;
    }
    const bool star = item.kind == AggregateKind::kCountStar;
    const bool same = item.kind == AggregateKind::kCount && item.argument != nullptr &&
                      item.argument->slot() == counted;
    if (star || same) {
        node = std::move(count);
    }
}

/// LIMIT over ORDER BY: only so many rows need to be kept.
void pass_top(PlanPtr& node) {
    each_child(*node, [](PlanPtr& c) { pass_top(c); });
    if (node->op != Op::kSkipLimit) {
        return;
    }
    const auto& limit = static_cast<SkipLimitPlan&>(*node);
    if (!limit.is_limit) {
        return;
    }
    PlanNode* below = node->child();
    CompiledPtr skip;
    if (below->op == Op::kSkipLimit && !static_cast<SkipLimitPlan&>(*below).is_limit) {
        skip = static_cast<SkipLimitPlan&>(*below).count;
        below = below->child();
    }
    if (below->op == Op::kSort) {
        auto& sort = static_cast<SortPlan&>(*below);
        sort.limit = limit.count;
        sort.skip = skip;
        sort.name = "Top";
    }
}

/// Distinct ends are all that is asked for: no need to walk every trail to them.
void pass_pruning_expand(PlanPtr& node) {
    each_child(*node, [](PlanPtr& c) { pass_pruning_expand(c); });
    if (node->op == Op::kAggregation) {
        const auto& a = static_cast<AggregationPlan&>(*node);
        const bool indifferent = std::ranges::all_of(a.aggregates, [](const AggregateItem& i) {
            return i.distinct || i.kind == AggregateKind::kMin || i.kind == AggregateKind::kMax;
        });
        if (!indifferent) {
            return;
        }
    } else if (node->op != Op::kDistinct) {
        return;
    }
    PlanNode* below = node->child();
    while (below != nullptr && (below->op == Op::kProjection || below->op == Op::kCacheProperties ||
                                below->op == Op::kFilter)) {
        below = below->child();
    }
    if (below == nullptr || below->op != Op::kVarExpand) {
        return;
    }
    auto& expand = static_cast<VarExpandPlan&>(*below);
    // With a lower bound above 1 a node may be reached too early by its shortest way; without
    // directions the way back along the same relationship would look like a cycle.
    if (!expand.need_list && expand.min <= 1 && !expand.into &&
        expand.direction != engine::Direction::kBoth && expand.different_from.empty()) {
        expand.pruning = true;
        expand.name = "VarLengthExpand(Pruning,BFS)";
    }
}

namespace {

struct Reads {
    std::map<std::pair<Slot, TokenIndex>, int> counts;
};

void replace_slots(CompiledPtr& e, const std::map<std::pair<Slot, TokenIndex>, Slot>& cached) {
    if (const auto* p = dynamic_cast<const SlotPropertyExpr*>(e.get())) {
        if (const auto at = cached.find({p->base(), p->key()}); at != cached.end()) {
            e = make_slot(at->second);
        }
    }
}

void note(const CompiledPtr& e, std::vector<std::pair<Slot, TokenIndex>>& out) {
    if (const auto* p = dynamic_cast<const SlotPropertyExpr*>(e.get())) {
        const std::pair key{p->base(), p->key()};
        if (std::ranges::find(out, key) == out.end()) {
            out.push_back(key);
        }
    }
}

}  // namespace

/// Aggregation and projection over plain reads: whole columns of properties are fetched at once.
/// Only the direct operands of these operators are taken; they are read for every row anyway.
void pass_cache_properties(PlanPtr& node, PlanSpace& space) {
    each_child(*node, [&](PlanPtr& c) { pass_cache_properties(c, space); });
    std::vector<std::pair<Slot, TokenIndex>> reads;
    if (node->op == Op::kAggregation) {
        auto& a = static_cast<AggregationPlan&>(*node);
        for (auto& [slot, e] : a.keys) {
            note(e, reads);
        }
        for (AggregateItem& i : a.aggregates) {
            if (i.argument) {
                note(i.argument, reads);
            }
        }
    } else if (node->op == Op::kProjection) {
        for (auto& [slot, e] : static_cast<ProjectionPlan&>(*node).items) {
            note(e, reads);
        }
    } else {
        return;
    }
    PlanNode* source = below_passive(node->child());
    if (reads.empty() || node->child() == nullptr || source == nullptr) {
        return;
    }
    // One column of its own slot each: nodes of a scan, seek or expand.
    auto cache = std::make_unique<CachePropertiesPlan>();
    std::map<std::pair<Slot, TokenIndex>, Slot> cached;
    std::vector<Slot> live = node->child()->live;
    for (const auto& [slot, key] : reads) {
        if (std::ranges::find(live, slot) == live.end()) {
            continue;  // a slot that the same operator computes
        }
        const Slot to =
            space.new_slot("cache[" + space.slot_names[slot] + "." + space.tokens.keys[key] + "]");
        cache->items.push_back({slot, key, to});
        cache->details += (cache->details.empty() ? "" : ", ") + space.slot_names.back();
        cached.emplace(std::pair{slot, key}, to);
    }
    if (cached.empty()) {
        return;
    }
    if (node->op == Op::kAggregation) {
        auto& a = static_cast<AggregationPlan&>(*node);
        for (auto& [slot, e] : a.keys) {
            replace_slots(e, cached);
        }
        for (AggregateItem& i : a.aggregates) {
            if (i.argument) {
                replace_slots(i.argument, cached);
            }
        }
    } else {
        for (auto& [slot, e] : static_cast<ProjectionPlan&>(*node).items) {
            replace_slots(e, cached);
        }
    }
    for (const auto& [key, to] : cached) {
        live.push_back(to);
    }
    std::ranges::sort(live);
    cache->live = live;
    cache->estimated_rows = node->child()->estimated_rows;
    cache->children.push_back(std::move(node->children[0]));
    node->children[0] = std::move(cache);
}

}  // namespace nornic::cypher
