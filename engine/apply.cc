// Applying a WriteSet: every effect becomes a new version that carries the entry's index. Nothing
// is visible before Snapshots::advance, so a reader sees all of an entry or none of it.
#include "engine/engine_impl.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::engine {

class Applier {
public:
    Applier(EngineImpl& engine, std::shared_ptr<Database> database, LogIndex at)
        : engine_{engine},
          shared_{std::move(database)},
          database_{*shared_},
          at_{at},
          oldest_{engine.snapshots_.oldest()},
          indexes_{database_.indexes()} {}

    Result<> run(WriteSetReader& reader) {
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
        NORNIC_TRY(remove_adjacency());
        database_.counts.apply(at_, counts_, oldest_);
        database_.labels.reclaim(oldest_);
        database_.types.reclaim(oldest_);
        for (const auto& handle : indexes_->all) {
            handle->index.set_min_active(oldest_);
        }
        return success();
    }

    /// Indexes that this entry created, to be populated once it is visible.
    std::vector<SchemaRuleId> to_populate;

private:
    template <class Data>
    struct Pending {
        std::uint64_t id = 0;
        std::shared_ptr<Version<Data>> before;
        Data after;
        bool open = false;
    };

    Result<> one(WriteOperation& op) {
        // Changes of one entity stand together; the first operation on another one closes it.
        if (node_.open && (op.op < WriteOp::kAddLabel || op.op > WriteOp::kRemoveNodeProperty ||
                           op.id != node_.id)) {
            NORNIC_TRY(flush_node());
        }
        if (relationship_.open &&
            (op.op < WriteOp::kSetRelProperty || op.op > WriteOp::kRemoveRelProperty ||
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
                engine_.catalog_.put(op.text, std::move(op.value));
                return success();
            case WriteOp::kEraseCatalog:
                engine_.catalog_.put(op.text, std::nullopt);
                return success();
            case WriteOp::kCreateDatabase:
                engine_.add_database(DatabaseInfo{DatabaseId{static_cast<std::uint32_t>(op.id)},
                                                  std::string{op.text},
                                                  std::string{op.text2}});
                return success();
            case WriteOp::kRegion:
            case WriteOp::kMergeNode:
            case WriteOp::kMergeRelationship:
                break;  // in write sets of regions only
        }
        return fail(ErrorCode::kCorruption, "write set: unknown operation");
    }

    static Result<> check_id(std::uint64_t id) {
        if (sequence_of(id) >= NodeStore::kSequenceMax) {
            return fail(ErrorCode::kCorruption, fmt::format("id {} is out of range", id));
        }
        return success();
    }
    Error missing(std::string_view what, std::uint64_t id) const {
        return Error{
            ErrorCode::kCorruption,
            fmt::format(
                "entry {} changes {} {}, which does not exist here: this member's state is not "
                "the one the entry was made for",
                at_.value,
                what,
                id)};
    }

    /// Makes `version` the newest of its slot. Returns by how much the page grew.
    template <class Data>
    std::int64_t push(std::shared_ptr<Version<Data>>& slot,
                      std::shared_ptr<Version<Data>> version) const {
        const std::int64_t grown = version_bytes(*version);
        version->previous = std::move(slot);
        slot = std::move(version);
        return grown - trim_versions(slot, oldest_, kTrimSteps);
    }
    template <class Store>
    auto newest(Store& store, std::uint64_t id) -> typename Store::Slot {
        typename Store::Slot found;
        store.read(page_of(id), [&](const auto& slots) { found = slots[slot_of(id)]; });
        if (found && found->deleted) {
            found.reset();
        }
        return found;
    }

    // ---- Nodes

    Result<> create_node(WriteOperation& op) {
        NORNIC_TRY(check_id(op.id));
        auto version = std::make_shared<NodeVersion>(std::move(op.node), at_);
        const NodeData& data = version->data;
        counts_.add(count_key(CountKind::kNodes), 1);
        for (const LabelId label : data.labels) {
            NORNIC_TRY(enter_label(op.id, label, data));
        }
        if (region_of(op.id) == engine_.settings_.region) {
            database_.node_ids.seen(sequence_of(op.id));
        }
        return database_.nodes.modify(
            op.id, at_, [&](auto& slot) { return push(slot, std::move(version)); });
    }

    Result<> enter_label(std::uint64_t id, LabelId label, const NodeData& data) {
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
    Result<> leave_label(std::uint64_t id, LabelId label, const NodeData& data) {
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

    Result<> delete_node(std::uint64_t id) {
        const auto before = newest(database_.nodes, id);
        if (!before) {
            return missing("node", id);
        }
        counts_.add(count_key(CountKind::kNodes), -1);
        for (const LabelId label : before->data.labels) {
            NORNIC_TRY(leave_label(id, label, before->data));
        }
        auto version = std::make_shared<NodeVersion>(NodeData{}, at_);
        version->deleted = true;
        return database_.nodes.modify(
            id, at_, [&](auto& slot) { return push(slot, std::move(version)); });
    }

    Result<> change_node(WriteOperation& op) {
        if (!node_.open) {
            node_.before = newest(database_.nodes, op.id);
            if (!node_.before) {
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

    static void change_property(std::vector<PropertyEntry>& properties, WriteOperation& op) {
        const PropertyKeyId key{op.token};
        const auto at = std::lower_bound(
            properties.begin(), properties.end(), key, [](const auto& entry, auto k) {
                return entry.key < k;
            });
        const bool there = at != properties.end() && at->key == key;
        const bool removes =
            op.op == WriteOp::kRemoveNodeProperty || op.op == WriteOp::kRemoveRelProperty;
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

    Result<> flush_node() {
        if (!node_.open) {
            return success();
        }
        node_.open = false;
        const auto before = std::move(node_.before);
        auto version = std::make_shared<NodeVersion>(std::move(node_.after), at_);
        const NodeData& data = version->data;
        for (const LabelId label : before->data.labels) {
            if (!data.has_label(label)) {
                NORNIC_TRY(leave_label(node_.id, label, before->data));
            } else if (const auto* handles = indexes_->over(EntityKind::kNode, label.value)) {
                move_entries(*handles, node_.id, before->data.properties, data.properties);
            }
        }
        for (const LabelId label : data.labels) {
            if (!before->data.has_label(label)) {
                NORNIC_TRY(enter_label(node_.id, label, data));
            }
        }
        return database_.nodes.modify(
            node_.id, at_, [&](auto& slot) { return push(slot, std::move(version)); });
    }

    void move_entries(const std::vector<IndexHandle*>& handles,
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
    void count_relationship(std::uint64_t id, const RelData& data, std::int64_t by) {
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
    void count_end(NodeId node, CountKind kind, RelTypeId type, std::int64_t by) {
        database_.nodes.read(page_of(node.value), [&](const NodeStore::Slots& slots) {
            const auto& slot = slots[slot_of(node.value)];
            if (slot) {
                for (const LabelId label : slot->data.labels) {
                    counts_.add(count_key(kind, label.value, type.value), by);
                }
            }
        });
    }

    Result<> create_relationship(WriteOperation& op) {
        NORNIC_TRY(check_id(op.id));
        NORNIC_TRY(check_id(op.relationship.start.value));
        NORNIC_TRY(check_id(op.relationship.end.value));
        auto version = std::make_shared<RelVersion>(std::move(op.relationship), at_);
        const RelData& data = version->data;
        count_relationship(op.id, data, 1);
        NORNIC_TRY(database_.types.set(data.type.value, op.id));
        if (const auto* handles = indexes_->over(EntityKind::kRelationship, data.type.value)) {
            move_entries(*handles, op.id, {}, data.properties);
        }
        const RelId id{op.id};
        if (data.start == data.end) {
            NORNIC_TRY(add_entry(
                data.start,
                {id, data.end, data.type, AdjacencyEntry::kOutgoing | AdjacencyEntry::kIncoming}));
        } else {
            NORNIC_TRY(add_entry(data.start, {id, data.end, data.type, AdjacencyEntry::kOutgoing}));
            NORNIC_TRY(add_entry(data.end, {id, data.start, data.type, AdjacencyEntry::kIncoming}));
        }
        if (region_of(op.id) == engine_.settings_.region) {
            database_.rel_ids.seen(sequence_of(op.id));
        }
        return database_.relationships.modify(
            op.id, at_, [&](auto& slot) { return push(slot, std::move(version)); });
    }
    Result<> add_entry(NodeId node, const AdjacencyEntry& entry) {
        return database_.adjacency.modify(
            node.value, at_, [&](Adjacency& list) { return list.add(entry, at_, oldest_); });
    }

    Result<> delete_relationship(std::uint64_t id) {
        const auto before = newest(database_.relationships, id);
        if (!before) {
            return missing("relationship", id);
        }
        const RelData& data = before->data;
        count_relationship(id, data, -1);
        NORNIC_TRY(database_.types.clear(data.type.value, id, at_));
        if (const auto* handles = indexes_->over(EntityKind::kRelationship, data.type.value)) {
            move_entries(*handles, id, data.properties, {});
        }
        removed_.emplace_back(data.start, RelId{id});
        if (data.start != data.end) {
            removed_.emplace_back(data.end, RelId{id});
        }
        auto version = std::make_shared<RelVersion>(RelData{}, at_);
        version->deleted = true;
        return database_.relationships.modify(
            id, at_, [&](auto& slot) { return push(slot, std::move(version)); });
    }

    /// One pass over each list, however many of its relationships go: a node that loses a million
    /// must not cost a million passes.
    Result<> remove_adjacency() {
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

    Result<> change_relationship(WriteOperation& op) {
        if (!relationship_.open) {
            relationship_.before = newest(database_.relationships, op.id);
            if (!relationship_.before) {
                return missing("relationship", op.id);
            }
            relationship_.id = op.id;
            relationship_.after = relationship_.before->data;
            relationship_.open = true;
        }
        change_property(relationship_.after.properties, op);
        return success();
    }
    Result<> flush_relationship() {
        if (!relationship_.open) {
            return success();
        }
        relationship_.open = false;
        const auto before = std::move(relationship_.before);
        auto version = std::make_shared<RelVersion>(std::move(relationship_.after), at_);
        const RelData& data = version->data;
        if (const auto* handles = indexes_->over(EntityKind::kRelationship, data.type.value)) {
            move_entries(*handles, relationship_.id, before->data.properties, data.properties);
        }
        return database_.relationships.modify(
            relationship_.id, at_, [&](auto& slot) { return push(slot, std::move(version)); });
    }

    // ---- Schema

    Result<> change_schema(const WriteOperation& op) {
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
        database_.schema.put_index(
            rule, holds_entries(rule) ? IndexState::kPopulating : IndexState::kOnline);
        if (database_.add_index(rule)) {
            indexes_ = database_.indexes();
            to_populate.push_back(id);
        }
        return success();
    }

    static constexpr int kTrimSteps = 8;
    static constexpr std::uint64_t kCountAllBelow = 1 << 16;

    EngineImpl& engine_;
    const std::shared_ptr<Database> shared_;
    Database& database_;
    const LogIndex at_;
    const LogIndex oldest_;
    std::shared_ptr<const IndexSet> indexes_;
    CountDelta counts_;
    Pending<NodeData> node_;
    Pending<RelData> relationship_;
    std::vector<std::pair<NodeId, RelId>> removed_;
    std::string key_;
    std::string new_key_;
};

Result<> EngineImpl::apply(const LogEntry& entry) {
    const Result<> done = apply_entry(entry);
    if (done && !settings_.background) {
        populate_here();
    }
    return done;
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
        const auto run = [&]() -> Result<> {
            NORNIC_TRY(auto reader, WriteSetReader::open(entry.payload));
            auto database = database_with(reader.database());
            if (!database) {
                return fail(ErrorCode::kCorruption,
                            fmt::format("entry {} names database {}, which does not exist here",
                                        entry.index.value,
                                        reader.database().value));
            }
            Applier applier{*this, database, entry.index};
            NORNIC_TRY(applier.run(reader));
            snapshots_.advance(entry.index);
            for (const SchemaRuleId index : applier.to_populate) {
                populate(database, index);
            }
            return success();
        };
        if (Result<> done = run(); !done) {
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
