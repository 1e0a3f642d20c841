// Of a graph's rules: what a merge does to unique keys, and how indexes and constraints merge.
#include "engine/owned_index.h"
#include "engine/region/graph_merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace nornic::engine {

/// A second one of a key is taken in, since both were right where they were made; people hear of it.
template <class Data>
Result<> GraphMerge::check_unique(const Open<Data>& entity, const Data& data) {
    constexpr bool kNodes = std::is_same_v<Data, NodeData>;
    const auto has = [](const Data& of, std::uint32_t token) {
        if constexpr (kNodes) {
            return of.has_label(LabelId{token});
        } else {
            return of.type.value == token;
        }
    };
    const auto newest = [&](std::uint64_t id) {
        if constexpr (kNodes) {
            return applier_.newest_node(id);
        } else {
            return applier_.newest_relationship(id);
        }
    };
    const auto side = [&](std::uint64_t id, const Data& of) {
        Conflict::Side made{Value{static_cast<std::int64_t>(id)}, {}};
        made.stamp = of.stamps ? scope_.live(of.stamps->stamp) : Stamp{};
        return made;
    };
    const auto check = [&](IndexHandle& handle, std::uint32_t token) -> Result<> {
        if (!handle.rule.owning_constraint || !index_key_of(handle.rule, data.properties, key_)) {
            return success();
        }
        const auto schema = database_.schema.schema();
        if (std::ranges::none_of(schema->constraints, [&](const ConstraintRule& rule) { return holds_up(handle.rule, rule); })) {
            return success();  // a rule of another region has the place of the constraint
        }
        const Data* const before = entity.visible_before();
        if (before != nullptr && has(*before, token) && index_key_of(handle.rule, before->properties, other_key_) && other_key_ == key_) {
            return success();
        }
        std::vector<std::uint64_t> others;
        NORNIC_TRY(handle.index.seek_equals(key_, others));
        for (const std::uint64_t other : others) {
            const auto there = other == entity.id ? nullptr : newest(other);
            if (!there || there->deleted || !has(there->data, token) ||
                !index_key_of(handle.rule, there->data.properties, other_key_) || other_key_ != key_) {
                continue;
            }
            Conflict conflict = conflict_of(ConflictKind::kUnique, entity);
            conflict.winner = side(other, there->data);
            conflict.loser = side(entity.id, data);
            if (std::tie(conflict.loser.stamp, entity.id) < std::tie(conflict.winner.stamp, other)) {
                std::swap(conflict.winner, conflict.loser);
            }
            conflict.id = static_cast<std::uint64_t>(conflict.loser.value.as_integer());
            conflict.cell = handle.rule.name;
            conflict.open = true;  // nothing was decided: both are there
            scope_.note(std::move(conflict));
        }
        return success();
    };
    const auto check_all = [&](std::uint32_t token) -> Result<> {
        if (const auto* const handles = applier_.indexes().over(kNodes ? EntityKind::kNode : EntityKind::kRelationship, token)) {
            for (IndexHandle* const handle : *handles) {
                NORNIC_TRY(check(*handle, token));
            }
        }
        return success();
    };
    if constexpr (kNodes) {
        for (const LabelId label : data.labels) {
            NORNIC_TRY(check_all(label.value));
        }
        return success();
    } else {
        return check_all(data.type.value);
    }
}

template Result<> GraphMerge::check_unique(const Open<NodeData>& entity, const NodeData& data);
template Result<> GraphMerge::check_unique(const Open<RelData>& entity, const RelData& data);

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
    rules_changed_ = true;
    if (!there.empty()) {
        WriteOperation drop;
        drop.op = WriteOp::kDropRule;
        drop.id = id.value;
        NORNIC_TRY(applier_.change_schema(drop));
    }
    return op.op == WriteOp::kDropRule ? success() : applier_.change_schema(op);
}

/// Two primaries that did not hear of each other gave one id to rules of theirs, and each id is decided by itself.
void GraphMerge::note_unenforced() {
    if (!rules_changed_) {
        return;
    }
    rules_changed_ = false;
    const auto schema = database_.schema.schema();
    for (const ConstraintRule& rule : schema->constraints) {
        if (!rule.owned_index || index_of(*schema, rule) != nullptr) {
            continue;
        }
        const auto there = std::ranges::find_if(schema->indexes, [&](const IndexView& view) { return view.rule.id == rule.owned_index; });
        const auto stamp_of = [&](SchemaRuleId id) { return scope_.live(scope_.engine().regions_.small(small_rule(database_.info.id, id))); };
        Conflict conflict;
        conflict.kind = ConflictKind::kSchema;
        conflict.database = database_.info.name;
        conflict.id = rule.id.value;
        conflict.cell = rule.name;
        conflict.winner = {there == schema->indexes.end() ? Value{} : Value{fmt::format("index {}", there->rule.name)}, stamp_of(*rule.owned_index)};
        conflict.loser = {Value{fmt::format("constraint {}: not enforced, its index is not there; drop it and make it anew", rule.name)}, stamp_of(rule.id)};
        conflict.open = true;  // nothing holds it up before somebody does
        scope_.note(std::move(conflict));
    }
}

}  // namespace nornic::engine
