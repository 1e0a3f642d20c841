// Applying a WriteSet: every effect becomes a new version that carries the entry's index. Nothing
// is visible before Snapshots::advance, so a reader sees all of an entry or none of it.
#include "engine/apply.h"

#include "engine/region/codec.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::engine {

Applier::Applier(EngineImpl& engine, std::shared_ptr<Database> database, LogIndex at)
    : engine_{engine},
      shared_{std::move(database)},
      database_{*shared_},
      at_{at},
      oldest_{engine.snapshots_.oldest()},
      indexes_{database_.indexes()} {}

Result<> Applier::run(WriteSetReader& reader) {
    WriteOperation operation;
    while (true) {
        NORNIC_TRY(const bool more, reader.next(operation));
        if (!more) {
            break;
        }
        NORNIC_TRY(one(operation));
    }
    NORNIC_TRY(flush_node());
    NORNIC_TRY(flush_relationship());
    return finish();
}

Result<> Applier::finish() {
    NORNIC_TRY(remove_adjacency());
    database_.counts.apply(at_, counts_, oldest_);
    database_.labels.reclaim(oldest_);
    database_.types.reclaim(oldest_);
    for (const auto& handle : indexes_->all) {
        handle->index.set_min_active(oldest_);
    }
    return success();
}

Result<> Applier::one(WriteOperation& op) {
    // Changes of one entity stand together; the first operation on another one closes it.
    if (node_.open && (op.op < WriteOp::kAddLabel || op.op > WriteOp::kRemoveNodeProperty || op.id != node_.id)) {
        NORNIC_TRY(flush_node());
    }
    if (relationship_.open && (op.op < WriteOp::kSetRelProperty || op.op > WriteOp::kRemoveRelProperty ||
                               op.id != relationship_.id)) {
        NORNIC_TRY(flush_relationship());
    }
    switch (op.op) {
        case WriteOp::kCreateNode:
            return create_node(op);
        case WriteOp::kDeleteNode:
            return delete_node(op.id);
        case WriteOp::kAddLabel:
        case WriteOp::kRemoveLabel:
        case WriteOp::kSetNodeProperty:
        case WriteOp::kRemoveNodeProperty:
            return change_node(op);
        case WriteOp::kCreateRelationship:
            return create_relationship(op);
        case WriteOp::kDeleteRelationship:
            return delete_relationship(op.id);
        case WriteOp::kSetRelProperty:
        case WriteOp::kRemoveRelProperty:
            return change_relationship(op);
        case WriteOp::kCreateToken:
            return database_.tokens.put(op.token_kind, op.token, op.text);
        case WriteOp::kPutIndex:
        case WriteOp::kPutConstraint:
        case WriteOp::kDropRule:
            return change_schema(op);
        case WriteOp::kPutCatalog:
            engine_.put_catalog(op.text, std::move(op.value));
            return success();
        case WriteOp::kEraseCatalog:
            engine_.put_catalog(op.text, std::nullopt);
            return success();
        case WriteOp::kCreateDatabase:
            engine_.add_database(DatabaseInfo{
                DatabaseId{static_cast<std::uint32_t>(op.id)}, std::string{op.text}, std::string{op.text2}});
            return success();
        case WriteOp::kMetadata:
        case WriteOp::kSeen:
            return success();  // there are no other regions
        case WriteOp::kRegion:
        case WriteOp::kMergeNode:
        case WriteOp::kMergeRelationship:
            break;  // in write sets of regions only
    }
    return fail(ErrorCode::kCorruption,
                fmt::format("write set: operation {} has no place in format {}",
                            static_cast<int>(op.op),
                            WriteSetWriter::kFormat));
}

Result<> Applier::check_id(std::uint64_t id) {
    if (sequence_of(id) >= NodeStore::kSequenceMax) {
        return fail(ErrorCode::kCorruption, fmt::format("id {} is out of range", id));
    }
    return success();
}

Error Applier::missing(std::string_view what, std::uint64_t id) const {
    return Error{ErrorCode::kCorruption,
                 fmt::format("entry {} changes {} {}, which does not exist here: this member's state is not "
                             "the one the entry was made for",
                             at_.value,
                             what,
                             id)};
}

// ---- Versions

/// Makes `version` the newest of its slot. Returns by how much the page grew.
template <class Data>
std::int64_t Applier::push(std::shared_ptr<Version<Data>>& slot, std::shared_ptr<Version<Data>> version) const {
    std::int64_t grown = version_bytes(*version);
    if (slot && slot->created == at_) {
        // Of this entry, too: nobody has seen it.
        grown -= version_bytes(*slot);
        version->previous = std::move(slot->previous);
    } else {
        version->previous = std::move(slot);
    }
    slot = std::move(version);
    return grown - trim_versions(slot, oldest_, kTrimSteps);
}

std::shared_ptr<NodeVersion> Applier::newest_node(std::uint64_t id) {
    std::shared_ptr<NodeVersion> found;
    database_.nodes.read(page_of(id), [&](const auto& slots) { found = slots[slot_of(id)]; });
    return found;
}

std::shared_ptr<RelVersion> Applier::newest_relationship(std::uint64_t id) {
    std::shared_ptr<RelVersion> found;
    database_.relationships.read(page_of(id), [&](const auto& slots) { found = slots[slot_of(id)]; });
    return found;
}

// ---- Nodes

Result<> Applier::place(std::uint64_t id, const NodeData* before, std::shared_ptr<NodeVersion> version) {
    const NodeData* const after = version->deleted ? nullptr : &version->data;
    if ((before != nullptr) != (after != nullptr)) {
        counts_.add(count_key(CountKind::kNodes), after != nullptr ? 1 : -1);
    }
    if (before != nullptr) {
        for (const LabelId label : before->labels) {
            if (after == nullptr || !after->has_label(label)) {
                NORNIC_TRY(leave_label(id, label, *before));
            } else if (const auto* handles = indexes_->over(EntityKind::kNode, label.value)) {
                move_entries(*handles, id, before->properties, after->properties);
            }
        }
    }
    if (after != nullptr) {
        for (const LabelId label : after->labels) {
            if (before == nullptr || !before->has_label(label)) {
                NORNIC_TRY(enter_label(id, label, *after));
            }
        }
    }
    if (before == nullptr && engine_.is_own(id)) {
        database_.node_ids.seen(sequence_of(id));
    }
    return database_.nodes.modify(id, at_, [&](auto& slot) { return push(slot, std::move(version)); });
}

Result<> Applier::create_node(WriteOperation& op) {
    NORNIC_TRY(check_id(op.id));
    return place(op.id, nullptr, std::make_shared<NodeVersion>(std::move(op.node), at_));
}

Result<> Applier::enter_label(std::uint64_t id, LabelId label, const NodeData& data) {
    counts_.add(count_key(CountKind::kNodesByLabel, label.value), 1);
    NORNIC_TRY(database_.labels.set(label.value, id));
    if (const auto* handles = indexes_->over(EntityKind::kNode, label.value)) {
        for (IndexHandle* handle : *handles) {
            if (index_key_of(handle->rule, data.properties, key_)) {
                handle->index.add(key_, id);
            }
        }
    }
    return success();
}

Result<> Applier::leave_label(std::uint64_t id, LabelId label, const NodeData& data) {
    counts_.add(count_key(CountKind::kNodesByLabel, label.value), -1);
    NORNIC_TRY(database_.labels.clear(label.value, id, at_));
    if (const auto* handles = indexes_->over(EntityKind::kNode, label.value)) {
        for (IndexHandle* handle : *handles) {
            if (index_key_of(handle->rule, data.properties, key_)) {
                handle->index.remove(key_, id, at_);
            }
        }
    }
    return success();
}

Result<> Applier::delete_node(std::uint64_t id) {
    const auto before = newest_node(id);
    if (!before || before->deleted) {
        return missing("node", id);
    }
    auto version = std::make_shared<NodeVersion>(NodeData{}, at_);
    version->deleted = true;
    return place(id, &before->data, std::move(version));
}

namespace {

void change_property(std::vector<PropertyEntry>& properties, WriteOperation& op) {
    const PropertyKeyId key{op.token};
    const auto at = std::lower_bound(
        properties.begin(), properties.end(), key, [](const auto& entry, auto k) { return entry.key < k; });
    const bool there = at != properties.end() && at->key == key;
    const bool removes = op.op == WriteOp::kRemoveNodeProperty || op.op == WriteOp::kRemoveRelProperty;
    if (removes) {
        if (there) {
            properties.erase(at);
        }
    } else if (there) {
        at->value = std::move(op.value);
    } else {
        properties.insert(at, PropertyEntry{key, std::move(op.value)});
    }
}

}  // namespace

Result<> Applier::change_node(WriteOperation& op) {
    if (!node_.open) {
        node_.before = newest_node(op.id);
        if (!node_.before || node_.before->deleted) {
            return missing("node", op.id);
        }
        node_.id = op.id;
        node_.after = node_.before->data;
        node_.open = true;
    }
    const LabelId label{op.token};
    auto& labels = node_.after.labels;
    const auto at = std::lower_bound(labels.begin(), labels.end(), label);
    switch (op.op) {
        case WriteOp::kAddLabel:
            if (at == labels.end() || *at != label) {
                labels.insert(at, label);
            }
            break;
        case WriteOp::kRemoveLabel:
            if (at != labels.end() && *at == label) {
                labels.erase(at);
            }
            break;
        default:
            change_property(node_.after.properties, op);
            break;
    }
    return success();
}

Result<> Applier::flush_node() {
    if (!node_.open) {
        return success();
    }
    node_.open = false;
    const auto before = std::move(node_.before);
    return place(node_.id, &before->data, std::make_shared<NodeVersion>(std::move(node_.after), at_));
}

void Applier::move_entries(const std::vector<IndexHandle*>& handles,
                           std::uint64_t id,
                           std::span<const PropertyEntry> before,
                           std::span<const PropertyEntry> after) {
    for (IndexHandle* handle : handles) {
        const bool was = index_key_of(handle->rule, before, key_);
        const bool is = index_key_of(handle->rule, after, new_key_);
        if (was && is && key_ == new_key_) {
            continue;
        }
        if (was) {
            handle->index.remove(key_, id, at_);
        }
        if (is) {
            handle->index.add(new_key_, id);
        }
    }
}

// ---- Relationships

/// Relationships by type and the labels at their ends: what the planner estimates from. The
/// labels cost two visits of far pages, so of a large graph only a sample is looked at. Which
/// ones follows from the id alone, so that what creation added, deletion takes away.
void Applier::count_relationship(std::uint64_t id, const RelData& data, std::int64_t by) {
    counts_.add(count_key(CountKind::kRels), by);
    counts_.add(count_key(CountKind::kRelsByType, 0, data.type.value), by);
    if (sequence_of(id) >= kCountAllBelow) {
        if ((sequence_of(id) * 0x9E3779B97F4A7C15ULL) >> 60 != 0) {
            return;
        }
        by *= 16;
    }
    count_end(data.start, CountKind::kRelsFromLabel, data.type, by);
    count_end(data.end, CountKind::kRelsToLabel, data.type, by);
}

void Applier::count_end(NodeId node, CountKind kind, RelTypeId type, std::int64_t by) {
    database_.nodes.read(page_of(node.value), [&](const NodeStore::Slots& slots) {
        const auto& slot = slots[slot_of(node.value)];
        if (slot) {
            for (const LabelId label : slot->data.labels) {
                counts_.add(count_key(kind, label.value, type.value), by);
            }
        }
    });
}

Result<> Applier::place(std::uint64_t id, const RelData* before, std::shared_ptr<RelVersion> version) {
    const RelData* const after = version->deleted ? nullptr : &version->data;
    if (const RelData* const any = before != nullptr ? before : after) {
        const auto* handles = indexes_->over(EntityKind::kRelationship, any->type.value);
        if (handles != nullptr) {
            move_entries(*handles,
                         id,
                         before != nullptr ? std::span{before->properties} : std::span<const PropertyEntry>{},
                         after != nullptr ? std::span{after->properties} : std::span<const PropertyEntry>{});
        }
    }
    if (before == nullptr && after != nullptr) {
        count_relationship(id, *after, 1);
        NORNIC_TRY(database_.types.set(after->type.value, id));
        const RelId rel{id};
        if (after->start == after->end) {
            NORNIC_TRY(add_entry(
                after->start,
                {rel, after->end, after->type, AdjacencyEntry::kOutgoing | AdjacencyEntry::kIncoming}));
        } else {
            NORNIC_TRY(add_entry(after->start, {rel, after->end, after->type, AdjacencyEntry::kOutgoing}));
            NORNIC_TRY(add_entry(after->end, {rel, after->start, after->type, AdjacencyEntry::kIncoming}));
        }
    } else if (before != nullptr && after == nullptr) {
        count_relationship(id, *before, -1);
        NORNIC_TRY(database_.types.clear(before->type.value, id, at_));
        removed_.emplace_back(before->start, RelId{id});
        if (before->start != before->end) {
            removed_.emplace_back(before->end, RelId{id});
        }
    }
    if (before == nullptr && engine_.is_own(id)) {
        database_.rel_ids.seen(sequence_of(id));
    }
    return database_.relationships.modify(id, at_, [&](auto& slot) { return push(slot, std::move(version)); });
}

Result<> Applier::create_relationship(WriteOperation& op) {
    NORNIC_TRY(check_id(op.id));
    NORNIC_TRY(check_id(op.relationship.start.value));
    NORNIC_TRY(check_id(op.relationship.end.value));
    return place(op.id, nullptr, std::make_shared<RelVersion>(std::move(op.relationship), at_));
}

Result<> Applier::add_entry(NodeId node, const AdjacencyEntry& entry) {
    return database_.adjacency.modify(
        node.value, at_, [&](Adjacency& list) { return list.add(entry, at_, oldest_); });
}

Result<> Applier::delete_relationship(std::uint64_t id) {
    const auto before = newest_relationship(id);
    if (!before || before->deleted) {
        return missing("relationship", id);
    }
    auto version = std::make_shared<RelVersion>(RelData{}, at_);
    version->deleted = true;
    return place(id, &before->data, std::move(version));
}

/// One pass over each list, however many of its relationships go: a node that loses a million
/// must not cost a million passes.
Result<> Applier::remove_adjacency() {
    std::sort(removed_.begin(), removed_.end());
    std::vector<RelId> gone;
    for (std::size_t i = 0; i < removed_.size();) {
        const NodeId node = removed_[i].first;
        gone.clear();
        for (; i < removed_.size() && removed_[i].first == node; ++i) {
            gone.push_back(removed_[i].second);
        }
        NORNIC_TRY(database_.adjacency.modify(
            node.value, at_, [&](Adjacency& list) { return list.remove(gone, at_, oldest_); }));
    }
    return success();
}

Result<> Applier::change_relationship(WriteOperation& op) {
    if (!relationship_.open) {
        relationship_.before = newest_relationship(op.id);
        if (!relationship_.before || relationship_.before->deleted) {
            return missing("relationship", op.id);
        }
        relationship_.id = op.id;
        relationship_.after = relationship_.before->data;
        relationship_.open = true;
    }
    change_property(relationship_.after.properties, op);
    return success();
}

Result<> Applier::flush_relationship() {
    if (!relationship_.open) {
        return success();
    }
    relationship_.open = false;
    const auto before = std::move(relationship_.before);
    return place(relationship_.id, &before->data, std::make_shared<RelVersion>(std::move(relationship_.after), at_));
}

// ---- Schema

Result<> Applier::change_schema(const WriteOperation& op) {
    if (op.op == WriteOp::kDropRule) {
        const SchemaRuleId id{static_cast<std::uint32_t>(op.id)};
        database_.schema.drop(id);
        database_.drop_index(id, at_);
        indexes_ = database_.indexes();
        return success();
    }
    ByteReader in{op.text};
    if (op.op == WriteOp::kPutConstraint) {
        NORNIC_TRY(auto rule, decode_constraint_rule(in));
        database_.schema.put_constraint(std::move(rule));
        return success();
    }
    NORNIC_TRY(auto rule, decode_index_rule(in));
    const SchemaRuleId id = rule.id;
    if (indexes_->find(id) != nullptr) {
        return success();
    }
    database_.schema.put_index(rule, holds_entries(rule) ? IndexState::kPopulating : IndexState::kOnline);
    if (database_.add_index(rule)) {
        indexes_ = database_.indexes();
        to_populate.push_back(id);
    }
    return success();
}

// ---- Entries

Result<> EngineImpl::apply(const LogEntry& entry) {
    make_way(entry.payload.size());
    const Result<> done = apply_entry(entry);
    if (done && !settings_.background) {
        populate_here();
    }
    return done;
}

Result<> EngineImpl::apply_write_set(const LogEntry& entry) {
    NORNIC_TRY(auto reader, WriteSetReader::open(entry.payload));
    NORNIC_TRY(auto database, database_of_entry(reader.database(), entry.index));
    Applier applier{*this, database, entry.index};
    NORNIC_TRY(applier.run(reader));
    snapshots_.advance(entry.index);
    for (const SchemaRuleId index : applier.to_populate) {
        populate(database, index);
    }
    return success();
}

Result<std::shared_ptr<Database>> EngineImpl::database_of_entry(DatabaseId id, LogIndex entry) const {
    auto database = database_with(id);
    if (!database) {
        return fail(
            ErrorCode::kCorruption,
            fmt::format("entry {} names database {}, which does not exist here", entry.value, id.value));
    }
    return database;
}

Result<> EngineImpl::apply_entry(const LogEntry& entry) {
    const MutexLock lock{apply_mutex_};
    if (broken_) {
        return *broken_;
    }
    const LogIndex applied = snapshots_.applied();
    if (entry.index <= applied) {
        return success();  // replayed, and known
    }
    if (entry.index.value != applied.value + 1) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("entry {} follows {}: entries are missing between them",
                                entry.index.value,
                                applied.value));
    }
    if (entry.kind == EntryKind::kWriteSet) {
        const std::uint8_t format = write_set_format(entry.payload);
        const bool of_regions = format == kStampedFormat || format == kRegionBatchFormat;
        if (Result<> done = of_regions ? apply_regions(entry) : apply_write_set(entry); !done) {
            // Half of it may be in memory: nothing after it can be trusted, and no checkpoint may
            // be taken.
            broken_ = done.error();
            failure_.set(done.error());
            return done;
        }
    } else {
        if (entry.kind == EntryKind::kMembership) {
            membership_ = {entry.index, entry.payload};
        }
        snapshots_.advance(entry.index);
    }
    applied_term_ = entry.term;
    log_bytes_.fetch_add(entry.payload.size() + 32, std::memory_order_relaxed);
    if (checkpoint_due()) {
        ask_for_checkpoint();
    }
    return success();
}

}  // namespace nornic::engine
