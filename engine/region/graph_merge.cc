#include "engine/region/graph_merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <type_traits>
#include <utility>

namespace nornic::engine {
namespace {

/// The same for WriteOp of both kinds of entities.
template <class Data>
constexpr EntityKind kEntity = std::is_same_v<Data, NodeData> ? EntityKind::kNode : EntityKind::kRelationship;

EntityStamps dead_since(const Stamp& stamp) {
    EntityStamps stamps;
    stamps.life = Life::kDead;
    stamps.stamp = stamp;
    return stamps;
}

Stamp created_of(const EntityStamps& stamps) {
    return stamps.life == Life::kAwaited ? Stamp{} : stamps.stamp;
}

}  // namespace

GraphMerge::GraphMerge(MergeScope& scope, std::shared_ptr<Database> database)
    : scope_{scope}, applier_{scope.engine(), std::move(database), scope.at()}, database_{*applier_.database()}, tokens_{database_.tokens} {}

Result<> GraphMerge::one(WriteOperation& op) {
    const Stamp& stamp = scope_.stamp;
    switch (op.op) {
        case WriteOp::kCreateNode:
            return create_node(op.id, std::move(op.node), nullptr);
        case WriteOp::kDeleteNode:
            return delete_node(op.id, stamp);
        case WriteOp::kAddLabel:
        case WriteOp::kRemoveLabel: {
            NORNIC_TRY(open_node(op.id));
            put_label(node_, LabelId{op.token}, op.op == WriteOp::kAddLabel, stamp, true, false);
            return success();
        }
        case WriteOp::kSetNodeProperty:
        case WriteOp::kRemoveNodeProperty: {
            NORNIC_TRY(open_node(op.id));
            put_property(node_,
                         PropertyKeyId{op.token},
                         op.op == WriteOp::kSetNodeProperty ? std::move(op.value) : Value{},
                         stamp,
                         true,
                         false);
            return success();
        }
        case WriteOp::kCreateRelationship:
            return create_relationship(op.id, std::move(op.relationship), nullptr);
        case WriteOp::kDeleteRelationship:
            return delete_relationship(op.id, stamp);
        case WriteOp::kSetRelProperty:
        case WriteOp::kRemoveRelProperty: {
            NORNIC_TRY(open_relationship(op.id));
            put_property(relationship_,
                         PropertyKeyId{op.token},
                         op.op == WriteOp::kSetRelProperty ? std::move(op.value) : Value{},
                         stamp,
                         true,
                         false);
            return success();
        }
        case WriteOp::kMergeNode:
            return merge_node(op);
        case WriteOp::kMergeRelationship:
            return merge_relationship(op);
        case WriteOp::kCreateToken:
            return database_.tokens.put(op.token_kind, op.token, op.text);
        case WriteOp::kPutIndex:
        case WriteOp::kPutConstraint:
        case WriteOp::kDropRule: {
            NORNIC_TRY(flush());
            return change_rule(op);
        }
        default:
            return fail(ErrorCode::kCorruption,
                        fmt::format("write set: operation {} is not one on a graph", static_cast<int>(op.op)));
    }
}

Result<> GraphMerge::flush() {
    if (node_.open) {
        node_.open = false;
        return store(node_);
    }
    if (relationship_.open) {
        relationship_.open = false;
        return store(relationship_);
    }
    return success();
}

// ---- An entity while it changes

template <class Data>
void GraphMerge::load(Open<Data>& entity, std::uint64_t id, std::shared_ptr<Version<Data>> newest) {
    entity.id = id;
    entity.before = std::move(newest);
    entity.changed = false;
    if (entity.before && (!entity.before->deleted || has_remains(*entity.before))) {
        entity.data = entity.before->data;
        entity.stamps = entity.data.stamps ? *entity.data.stamps : EntityStamps{};
        entity.data.stamps.reset();
    } else {
        entity.data = {};
        entity.stamps = {};
        entity.stamps.life = Life::kAwaited;
    }
}

Result<> GraphMerge::open_node(std::uint64_t id) {
    if (node_.open && node_.id == id) {
        return success();
    }
    NORNIC_TRY(flush());
    NORNIC_TRY(Applier::check_id(id));
    load(node_, id, applier_.newest_node(id));
    node_.open = true;
    return success();
}

Result<> GraphMerge::open_relationship(std::uint64_t id) {
    if (relationship_.open && relationship_.id == id) {
        return success();
    }
    NORNIC_TRY(flush());
    NORNIC_TRY(Applier::check_id(id));
    load(relationship_, id, applier_.newest_relationship(id));
    relationship_.open = true;
    return success();
}

template <class Data>
Result<> GraphMerge::place(Open<Data>& entity) {
    RegionStore& regions = scope_.engine().regions_;
    const auto remains = [&](const EntityStamps& stamps) {
        return Remains{remains_time(stamps), database_.info.id, kEntity<Data>, entity.id};
    };
    if (entity.before && has_remains(*entity.before)) {
        regions.forget(remains(*entity.before->data.stamps));
    }
    const bool live = entity.stamps.life == Life::kLive;
    if (!live) {
        regions.remember(remains(entity.stamps));
    }
    if (!live || tidy(entity.stamps, scope_.state.watermark)) {
        const bool plain = live && entity.stamps.stamp == scope_.stamp && entity.stamps.labels.empty() &&
                           entity.stamps.properties.empty();
        if (!plain) {
            entity.data.stamps = std::make_shared<const EntityStamps>(std::move(entity.stamps));
        } else {
            if (!created_ || created_->stamp != scope_.stamp) {
                created_ = std::make_shared<const EntityStamps>(std::move(entity.stamps));
            }
            entity.data.stamps = created_;
        }
    }
    auto version = std::make_shared<Version<Data>>(std::move(entity.data), scope_.at());
    version->deleted = !live;
    return applier_.place(entity.id, entity.visible_before(), std::move(version));
}

Result<> GraphMerge::store(OpenNode& node) {
    if (!node.changed) {
        return success();
    }
    const std::uint64_t id = node.id;
    const Life life = node.stamps.life;
    const Stamp stamp = node.stamps.stamp;
    if (life == Life::kDead && node.visible_before() != nullptr) {
        std::vector<RelId> adjacent;
        database_.adjacency.read(page_of(id), [&](const AdjacencyStore::Slots& slots) {
            for (const AdjacencyEntry& entry : slots[slot_of(id)].newest()) {
                adjacent.push_back(entry.relationship);
            }
        });
        for (const RelId relationship : adjacent) {
            NORNIC_TRY(kill(relationship, stamp));
        }
    }
    // Whoever waited for an awaited node hears of it, once it is there or dead.
    std::vector<RelId> waiting;
    if (node.before && has_remains(*node.before) && node.before->data.stamps->life == Life::kAwaited && life != Life::kAwaited) {
        NORNIC_TRY(waiting, scope_.engine().regions_.take_waiting(database_.info.id, NodeId{id}));
    }
    NORNIC_TRY(place(node));
    if (life == Life::kLive && !applier_.indexes().by_label.empty()) {
        if (const auto now = applier_.newest_node(id)) {
            NORNIC_TRY(check_unique(node, now->data));
        }
    }
    for (const RelId relationship : waiting) {
        NORNIC_TRY(reconsider(relationship));
    }
    return success();
}

Result<> GraphMerge::store(OpenRel& relationship) {
    if (!relationship.changed) {
        return success();
    }
    const bool live = relationship.stamps.life == Life::kLive;
    NORNIC_TRY(place(relationship));
    if (live && !applier_.indexes().by_type.empty()) {
        if (const auto now = applier_.newest_relationship(relationship.id)) {
            NORNIC_TRY(check_unique(relationship, now->data));
        }
    }
    return success();
}

Result<> GraphMerge::let_go(const Remains& remains) {
    const auto drop = [&](const auto& newest) -> Result<> {
        using Entity = typename std::decay_t<decltype(newest)>::element_type;
        if (!newest || !has_remains(*newest) || remains_time(*newest->data.stamps) != remains.time) {
            return success();
        }
        auto version = std::make_shared<Entity>();
        version->created = scope_.at();
        version->deleted = true;
        return applier_.place(remains.id, nullptr, std::move(version));
    };
    RegionStore& regions = scope_.engine().regions_;
    regions.forget(remains);
    if (remains.entity == EntityKind::kRelationship) {
        return drop(applier_.newest_relationship(remains.id));
    }
    const auto node = applier_.newest_node(remains.id);
    if (node && has_remains(*node) && node->data.stamps->life == Life::kAwaited) {
        NORNIC_TRY(regions.take_waiting(remains.database, NodeId{remains.id}));
    }
    return drop(node);
}

// ---- Cells

Conflict GraphMerge::conflict_of(ConflictKind kind, const OpenNode& node) const {
    Conflict conflict;
    conflict.kind = kind;
    conflict.database = database_.info.name;
    conflict.entity = EntityKind::kNode;
    conflict.id = node.id;
    return conflict;
}

Conflict GraphMerge::conflict_of(ConflictKind kind, const OpenRel& relationship) const {
    Conflict conflict;
    conflict.kind = kind;
    conflict.database = database_.info.name;
    conflict.entity = EntityKind::kRelationship;
    conflict.id = relationship.id;
    return conflict;
}

template <class Data>
void GraphMerge::put_property(
    Open<Data>& entity, PropertyKeyId key, Value value, const Stamp& stamp, bool detect, bool fresh) {
    EntityStamps& stamps = entity.stamps;
    if (stamps.life == Life::kDead) {
        // Who wrote this cannot have seen the delete, whatever it had seen when its transaction ended.
        if (detect && !value.is_null() && !scope_.seed && scope_.unaware(stamps.stamp, stamp)) {
            Conflict conflict = conflict_of(ConflictKind::kDeleted, entity);
            conflict.cell = tokens_.name(key);
            conflict.winner = {Value{}, stamps.stamp};
            conflict.loser = {std::move(value), stamp};
            scope_.note(std::move(conflict));
        }
        return;
    }
    auto& properties = entity.data.properties;
    const auto at = std::lower_bound(
        properties.begin(), properties.end(), key, [](const PropertyEntry& entry, PropertyKeyId k) { return entry.key < k; });
    const bool there = at != properties.end() && at->key == key;
    const Stamp present = scope_.live(stamp_of(stamps, stamps.properties, key.value, there));
    const bool taken = takes(present, stamp, fresh);
    if (detect && scope_.unseen(present) && !equivalent(there ? at->value : Value{}, value)) {
        Conflict conflict = conflict_of(ConflictKind::kProperty, entity);
        conflict.cell = tokens_.name(key);
        Conflict::Side here{there ? at->value : Value{}, present};
        Conflict::Side comes{value, stamp};
        conflict.winner = taken ? comes : here;
        conflict.loser = taken ? std::move(here) : std::move(comes);
        scope_.note(std::move(conflict));
    }
    if (!taken) {
        return;
    }
    entity.changed = true;
    const bool holds = !value.is_null();
    if (!holds) {
        if (there) {
            properties.erase(at);
        }
    } else if (there) {
        at->value = std::move(value);
    } else {
        properties.insert(at, PropertyEntry{key, std::move(value)});
    }
    put_cell(stamps, stamps.properties, key.value, stamp, holds);
}

void GraphMerge::put_label(OpenNode& node, LabelId label, bool present, const Stamp& stamp, bool detect, bool fresh) {
    EntityStamps& stamps = node.stamps;
    if (stamps.life == Life::kDead) {
        if (detect && present && !scope_.seed && scope_.unaware(stamps.stamp, stamp)) {
            Conflict conflict = conflict_of(ConflictKind::kDeleted, node);
            conflict.cell = tokens_.name(label);
            conflict.winner = {Value{}, stamps.stamp};
            conflict.loser = {Value{true}, stamp};
            scope_.note(std::move(conflict));
        }
        return;
    }
    auto& labels = node.data.labels;
    const auto at = std::lower_bound(labels.begin(), labels.end(), label);
    const bool there = at != labels.end() && *at == label;
    const Stamp before = scope_.live(stamp_of(stamps, stamps.labels, label.value, there));
    const bool taken = takes(before, stamp, fresh);
    if (detect && scope_.unseen(before) && there != present) {
        Conflict conflict = conflict_of(ConflictKind::kLabel, node);
        conflict.cell = tokens_.name(label);
        Conflict::Side here{Value{there}, before};
        Conflict::Side comes{Value{present}, stamp};
        conflict.winner = taken ? comes : here;
        conflict.loser = taken ? std::move(here) : std::move(comes);
        scope_.note(std::move(conflict));
    }
    if (!taken) {
        return;
    }
    node.changed = true;
    if (present && !there) {
        labels.insert(at, label);
    } else if (!present && there) {
        labels.erase(at);
    }
    put_cell(stamps, stamps.labels, label.value, stamp, present);
}

/// Before a delete takes them: cells that its writer had not seen.
template <class Data>
void GraphMerge::note_lost(const Open<Data>& entity) {
    const auto lost = [&](std::string_view cell, Value value, const Stamp& stamp) {
        Conflict conflict = conflict_of(ConflictKind::kDeleted, entity);
        conflict.cell = cell;
        conflict.winner = {Value{}, scope_.stamp};
        conflict.loser = {std::move(value), stamp};
        scope_.note(std::move(conflict));
    };
    for (const CellStamp& cell : entity.stamps.properties) {
        const PropertyKeyId key{cell.token};
        if (const Value* value = entity.data.property(key); value != nullptr && scope_.unseen(cell.stamp)) {
            lost(tokens_.name(key), *value, cell.stamp);
        }
    }
    if constexpr (std::is_same_v<Data, NodeData>) {
        for (const CellStamp& cell : entity.stamps.labels) {
            const LabelId label{cell.token};
            if (entity.data.has_label(label) && scope_.unseen(cell.stamp)) {
                lost(tokens_.name(label), Value{true}, cell.stamp);
            }
        }
    }
}

/// The properties of a creation, or of a seed, whose cells have stamps of their own.
template <class Data>
void GraphMerge::put_properties(Open<Data>& entity, Data&& from, const EntityStamps* stamps, bool fresh) {
    for (PropertyEntry& entry : from.properties) {
        Stamp stamp = scope_.stamp;
        if (stamps != nullptr) {
            stamp = scope_.live(stamp_of(*stamps, stamps->properties, entry.key.value, true));
            scope_.saw(stamp);
        }
        put_property(entity, entry.key, std::move(entry.value), stamp, false, fresh);
    }
    if (stamps != nullptr) {
        for (const CellStamp& cell : stamps->properties) {
            // Moved from is not gone: the keys still tell what was present.
            const Stamp stamp = scope_.live(cell.stamp);
            if (!stamp.none() && from.property(PropertyKeyId{cell.token}) == nullptr) {
                scope_.saw(stamp);
                put_property(entity, PropertyKeyId{cell.token}, Value{}, stamp, false, false);
            }
        }
    }
}

// ---- Nodes

Result<> GraphMerge::create_node(std::uint64_t id, NodeData&& data, const EntityStamps* stamps) {
    NORNIC_TRY(open_node(id));
    OpenNode& node = node_;
    if (node.stamps.life == Life::kDead) {
        return success();
    }
    const bool fresh = node.stamps.life == Life::kAwaited;
    if (fresh) {
        const bool bare = !node.before && !node.changed;
        const Stamp created = stamps != nullptr ? scope_.live(stamps->stamp) : scope_.stamp;
        scope_.saw(created);
        node.changed = true;
        node.stamps.life = Life::kLive;
        node.stamps.stamp = created;
        if (stamps == nullptr && bare) {
            node.data = std::move(data);
            return success();
        }
    }
    for (const LabelId label : data.labels) {
        const Stamp stamp =
            stamps != nullptr ? scope_.live(stamp_of(*stamps, stamps->labels, label.value, true)) : scope_.stamp;
        scope_.saw(stamp);
        put_label(node, label, true, stamp, false, fresh);
    }
    if (stamps != nullptr) {
        for (const CellStamp& cell : stamps->labels) {
            const Stamp stamp = scope_.live(cell.stamp);
            if (!stamp.none() && !data.has_label(LabelId{cell.token})) {
                scope_.saw(stamp);
                put_label(node, LabelId{cell.token}, false, stamp, false, false);
            }
        }
    }
    put_properties(node, std::move(data), stamps, fresh);
    return success();
}

Result<> GraphMerge::delete_node(std::uint64_t id, const Stamp& stamp) {
    NORNIC_TRY(open_node(id));
    EntityStamps& stamps = node_.stamps;
    if (stamps.life == Life::kDead) {
        node_.changed = node_.changed || stamp > stamps.stamp;
        stamps.stamp = std::max(stamps.stamp, stamp);
        return success();
    }
    note_lost(node_);
    node_.changed = true;
    node_.data = {};
    stamps = dead_since(stamp);
    return flush();
}

Result<> GraphMerge::merge_node(WriteOperation& op) {
    const std::shared_ptr<const EntityStamps> stamps = op.node.stamps;
    op.node.stamps.reset();
    switch (stamps->life) {
        case Life::kLive:
            return create_node(op.id, std::move(op.node), stamps.get());
        case Life::kDead:
            scope_.saw(stamps->stamp);
            return delete_node(op.id, stamps->stamp);
        case Life::kAwaited:
            break;
        case Life::kHidden:
            return fail(ErrorCode::kCorruption, fmt::format("write set: node {} is hidden, as only relationships are", op.id));
    }
    NORNIC_TRY(open_node(op.id));
    for (const CellStamp& cell : stamps->labels) {
        if (const Stamp stamp = scope_.live(cell.stamp); !stamp.none()) {
            scope_.saw(stamp);
            put_label(node_, LabelId{cell.token}, op.node.has_label(LabelId{cell.token}), stamp, false, false);
        }
    }
    for (const CellStamp& cell : stamps->properties) {
        if (const Stamp stamp = scope_.live(cell.stamp); !stamp.none()) {
            scope_.saw(stamp);
            const Value* const value = op.node.property(PropertyKeyId{cell.token});
            put_property(
                node_, PropertyKeyId{cell.token}, value != nullptr ? *value : Value{}, stamp, false, false);
        }
    }
    return success();
}

// ---- Relationships

Result<> GraphMerge::create_relationship(std::uint64_t id, RelData&& data, const EntityStamps* stamps) {
    NORNIC_TRY(Applier::check_id(data.start.value));
    NORNIC_TRY(Applier::check_id(data.end.value));
    NORNIC_TRY(open_relationship(id));
    OpenRel& relationship = relationship_;
    if (relationship.stamps.life == Life::kDead) {
        return success();
    }
    const bool fresh = relationship.stamps.life == Life::kAwaited;
    if (fresh) {
        const Stamp created = stamps != nullptr ? scope_.live(stamps->stamp) : scope_.stamp;
        scope_.saw(created);
        relationship.stamps.life = Life::kLive;
        relationship.stamps.stamp = created;
        relationship.data.type = data.type;
        relationship.data.start = data.start;
        relationship.data.end = data.end;
    }
    put_properties(relationship, std::move(data), stamps, fresh);
    return fresh ? settle(relationship) : success();
}

Result<> GraphMerge::delete_relationship(std::uint64_t id, const Stamp& stamp) {
    NORNIC_TRY(open_relationship(id));
    EntityStamps& stamps = relationship_.stamps;
    if (stamps.life == Life::kDead) {
        relationship_.changed = relationship_.changed || stamp > stamps.stamp;
        stamps.stamp = std::max(stamps.stamp, stamp);
        return success();
    }
    note_lost(relationship_);
    relationship_.changed = true;
    relationship_.data = {};
    stamps = dead_since(stamp);
    return success();
}

Result<> GraphMerge::merge_relationship(WriteOperation& op) {
    const std::shared_ptr<const EntityStamps> stamps = op.relationship.stamps;
    op.relationship.stamps.reset();
    switch (stamps->life) {
        case Life::kLive:
        case Life::kHidden:
            return create_relationship(op.id, std::move(op.relationship), stamps.get());
        case Life::kDead:
            scope_.saw(stamps->stamp);
            return delete_relationship(op.id, stamps->stamp);
        case Life::kAwaited:
            break;
    }
    NORNIC_TRY(open_relationship(op.id));
    for (const CellStamp& cell : stamps->properties) {
        if (const Stamp stamp = scope_.live(cell.stamp); !stamp.none()) {
            scope_.saw(stamp);
            const Value* const value = op.relationship.property(PropertyKeyId{cell.token});
            put_property(
                relationship_, PropertyKeyId{cell.token}, value != nullptr ? *value : Value{}, stamp, false, false);
        }
    }
    return success();
}

Result<> GraphMerge::settle(OpenRel& relationship) {
    relationship.changed = true;
    EntityStamps& stamps = relationship.stamps;
    const RelData& data = relationship.data;
    const Stamp created = created_of(stamps);
    bool dead = false;
    Stamp deleted;
    std::vector<NodeId> awaited;
    const auto look = [&](NodeId end) {
        const auto node = applier_.newest_node(end.value);
        if (node && has_remains(*node) && node->data.stamps->life == Life::kDead) {
            dead = true;
            deleted = std::max(deleted, node->data.stamps->stamp);
        } else if (!node || node->deleted) {
            awaited.push_back(end);
        }
    };
    look(data.start);
    if (data.end != data.start) {
        look(data.end);
    }
    if (dead) {
        // Who made it cannot have seen the end's delete.
        if (!scope_.seed && !scope_.live(created).none() && scope_.unaware(deleted, created)) {
            Conflict conflict = conflict_of(ConflictKind::kEndpointDeleted, relationship);
            conflict.winner = {Value{}, deleted};
            conflict.loser = {Value{}, created};
            scope_.note(std::move(conflict));
        }
        relationship.data = {};
        stamps = dead_since(deleted);
        return success();
    }
    stamps.life = awaited.empty() ? Life::kLive : Life::kHidden;
    for (const NodeId end : awaited) {
        NORNIC_TRY(await(end, RelId{relationship.id}, created));
    }
    return success();
}

Result<> GraphMerge::await(NodeId id, RelId relationship, const Stamp& stamp) {
    OpenNode node;
    load(node, id.value, applier_.newest_node(id.value));
    scope_.engine().regions_.wait(database_.info.id, id, relationship);
    node.stamps.stamp = std::max(node.stamps.stamp, stamp);
    node.changed = true;
    return store(node);
}

Result<> GraphMerge::kill(RelId id, const Stamp& stamp) {
    OpenRel relationship;
    load(relationship, id.value, applier_.newest_relationship(id.value));
    EntityStamps& stamps = relationship.stamps;
    if (stamps.life == Life::kDead) {
        relationship.changed = stamp > stamps.stamp;
        stamps.stamp = std::max(stamps.stamp, stamp);
        return store(relationship);
    }
    if (scope_.unseen(created_of(stamps))) {
        Conflict conflict = conflict_of(ConflictKind::kEndpointDeleted, relationship);
        conflict.winner = {Value{}, stamp};
        conflict.loser = {Value{}, created_of(stamps)};
        scope_.note(std::move(conflict));
    }
    note_lost(relationship);
    relationship.changed = true;
    relationship.data = {};
    stamps = dead_since(stamp);
    return store(relationship);
}

Result<> GraphMerge::reconsider(RelId id) {
    OpenRel relationship;
    load(relationship, id.value, applier_.newest_relationship(id.value));
    if (relationship.stamps.life != Life::kHidden) {
        return success();
    }
    NORNIC_TRY(settle(relationship));
    return store(relationship);
}

}  // namespace nornic::engine
