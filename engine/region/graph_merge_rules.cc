// Of a graph's rules: what a merge does to unique keys, and how indexes and constraints merge.
#include "engine/region/graph_merge.h"

#include <cstdint>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace nornic::engine {

/// A second live node of a key is taken in, since both were right where they were made; people hear of it.
Result<> GraphMerge::check_unique(const OpenNode& node, const NodeData& data) {
    for (const LabelId label : data.labels) {
        const auto* const handles = applier_.indexes().over(EntityKind::kNode, label.value);
        if (handles == nullptr) {
            continue;
        }
        for (IndexHandle* const handle : *handles) {
            if (!handle->rule.owning_constraint || !index_key_of(handle->rule, data.properties, key_)) {
                continue;
            }
            const NodeData* const before = node.visible_before();
            if (before != nullptr && before->has_label(label) &&
                index_key_of(handle->rule, before->properties, other_key_) && other_key_ == key_) {
                continue;
            }
            std::vector<std::uint64_t> others;
            NORNIC_TRY(handle->index.seek_equals(key_, others));
            for (const std::uint64_t other : others) {
                const auto there = other == node.id ? nullptr : applier_.newest_node(other);
                if (!there || there->deleted || !there->data.has_label(label) ||
                    !index_key_of(handle->rule, there->data.properties, other_key_) || other_key_ != key_) {
                    continue;
                }
                const auto side = [&](std::uint64_t id, const NodeData& of) {
                    Conflict::Side made{Value{static_cast<std::int64_t>(id)}, {}};
                    made.stamp = of.stamps ? scope_.live(of.stamps->stamp) : Stamp{};
                    return made;
                };
                Conflict conflict = conflict_of(ConflictKind::kUnique, node);
                conflict.winner = side(other, there->data);
                conflict.loser = side(node.id, data);
                if (std::tie(conflict.loser.stamp, node.id) < std::tie(conflict.winner.stamp, other)) {
                    std::swap(conflict.winner, conflict.loser);
                }
                conflict.id = static_cast<std::uint64_t>(conflict.loser.value.as_integer());
                conflict.cell = handle->rule.name;
                conflict.open = true;  // nothing was decided: both are there
                scope_.note(std::move(conflict));
            }
        }
    }
    return success();
}

/// A rule is a cell by its id; the primary region draws them.
Result<> GraphMerge::change_rule(const WriteOperation& op) {
    SchemaRuleId id{static_cast<std::uint32_t>(op.id)};
    const auto schema = database_.schema.schema();
    std::string there;
    ByteWriter out{there};
    const auto find = [&] {
        for (const IndexView& view : schema->indexes) {
            if (view.rule.id == id) {
                encode_rule(view.rule, out);
            }
        }
        for (const ConstraintRule& rule : schema->constraints) {
            if (rule.id == id) {
                encode_rule(rule, out);
            }
        }
    };
    std::string name;
    ByteReader in{op.text};
    if (op.op == WriteOp::kPutIndex) {
        NORNIC_TRY(const auto rule, decode_index_rule(in));
        id = rule.id;
        name = rule.name;
    } else if (op.op == WriteOp::kPutConstraint) {
        NORNIC_TRY(const auto rule, decode_constraint_rule(in));
        id = rule.id;
        name = rule.name;
    }
    find();
    RegionStore& regions = scope_.engine().regions_;
    const std::string small = small_rule(database_.info.id, id);
    const Stamp present = scope_.live(regions.small(small));
    const Stamp coming = scope_.seed ? scope_.live(scope_.small) : scope_.small;
    const bool taken = takes(present, coming, true);
    if (scope_.unseen(present) && op.text != there) {
        Conflict conflict;
        conflict.kind = ConflictKind::kSchema;
        conflict.database = database_.info.name;
        conflict.id = id.value;
        conflict.cell = name;
        conflict.winner = {Value{}, taken ? coming : present};
        conflict.loser = {Value{}, taken ? present : coming};
        scope_.note(std::move(conflict));
    }
    if (!taken) {
        return success();
    }
    if (!coming.none()) {
        regions.set_small(small, coming);
    }
    if (op.text == there) {
        return success();  // as it is
    }
    if (!there.empty()) {
        WriteOperation drop;
        drop.op = WriteOp::kDropRule;
        drop.id = id.value;
        NORNIC_TRY(applier_.change_schema(drop));
    }
    return op.op == WriteOp::kDropRule ? success() : applier_.change_schema(op);
}

}  // namespace nornic::engine
