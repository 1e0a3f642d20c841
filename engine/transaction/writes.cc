#include "engine/transaction/storable.h"
#include "engine/transaction/transaction_impl.h"
#include "graph/codec.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::engine {
namespace {

/// A node has two locks: one for what it holds, one for its existence. Relationships are attached
/// under a shared lock on the second, so that many may attach to one node at once and do not meet
/// changes of its properties; only who deletes the node, or must know all its relationships, has
/// it alone.
LockKey existence_lock(DatabaseId database, NodeId id) {
    return LockKey::node(database, NodeId{id.value | std::uint64_t{1} << 63});
}

constexpr std::string_view kConflictAdvice =
    "was changed by another transaction after this one began. Run the whole transaction again.";

}  // namespace

Error TransactionImpl::conflict(std::string_view what, std::uint64_t id) const {
    return Error{ErrorCode::kConflict, fmt::format("{}({}) {}", what, id, kConflictAdvice)};
}

Error TransactionImpl::not_found(NodeId id) const {
    if (deleted_here(id)) {
        return Error{ErrorCode::kEntityNotFound,
                     fmt::format("Node with id {} has been deleted in this transaction", id.value)};
    }
    return Error{ErrorCode::kEntityNotFound,
                 fmt::format("Unable to load NODE 4:{}:{}.", element_uuid(), id.value)};
}

Error TransactionImpl::not_found(RelId id) const {
    if (deleted_here(id)) {
        return Error{
            ErrorCode::kEntityNotFound,
            fmt::format("Relationship with id {} has been deleted in this transaction", id.value)};
    }
    return Error{ErrorCode::kEntityNotFound,
                 fmt::format("Unable to load RELATIONSHIP 5:{}:{}.", element_uuid(), id.value)};
}

Result<> TransactionImpl::lock(const LockKey& key, LockMode mode) {
    Deadline deadline = deadline_;
    bool by_setting = false;
    if (engine_.settings().lock_timeout > Duration::zero()) {
        const Deadline limit = engine_.clock().now() + engine_.settings().lock_timeout;
        by_setting = limit < deadline;
        deadline = std::min(deadline, limit);
    }
    Result<> taken = engine_.locks().acquire(locks_, key, mode, deadline);
    if (!taken && taken.error().code() == ErrorCode::kLockTimeout && !by_setting) {
        if (auto reason = kill_reason()) {
            return *reason;
        }
    }
    return taken;
}

Result<> TransactionImpl::check_open() const {
    if (killed()) {
        return kill_reason().value();
    }
    if (!open_) {
        return fail(ErrorCode::kTerminated, "The transaction has ended. Retry your operation in a new transaction.");
    }
    NORNIC_CHECK(!prepared_, "transaction {} is on its way to the log", id_.value);
    return success();
}

Result<> TransactionImpl::begin_write(Writes kind) {
    NORNIC_TRY(check_open());
    if (mode_ == AccessMode::kRead) {
        return fail(ErrorCode::kAccessMode,
                    fmt::format("Writing in read access mode not allowed. Attempted write to {}",
                                database_->info.name));
    }
    if (writes_ != Writes::kNone && writes_ != kind) {
        return fail(
            ErrorCode::kForbiddenByTransactionType,
            kind == Writes::kData
                ? "Cannot perform data updates in a transaction that has performed schema updates."
                : "Cannot perform schema updates in a transaction that has performed data "
                  "updates.");
    }
    if (writes_ == Writes::kNone && kind == Writes::kData) {
        // Shared by all that write data, held alone by who makes a constraint.
        NORNIC_TRY(lock(LockKey::schema(database_->info.id), LockMode::kShared));
        rules_ = database_->schema.schema();
    }
    writes_ = kind;
    return success();
}

Result<> TransactionImpl::charge(std::size_t bytes) {
    memory_bytes_ += bytes;
    if (memory_bytes_ > engine_.settings().transaction_bytes_max) {
        return fail(ErrorCode::kMemoryLimit,
                    fmt::format("The allocation of an extra {} bytes would use more than the limit "
                                "of {} bytes for one "
                                "transaction. Currently using {} bytes.",
                                bytes,
                                engine_.settings().transaction_bytes_max,
                                memory_bytes_ - bytes));
    }
    return success();
}

// ---- Tokens ----

Result<std::uint32_t> TransactionImpl::token_or_create(TokenKind kind, std::string_view name) {
    if (const auto known = database_->tokens.find(kind, name);
        known && database_->tokens.committed(kind, *known)) {
        return *known;
    }
    if (mode_ == AccessMode::kRead) {
        return fail(ErrorCode::kAccessMode,
                    fmt::format("Writing in read access mode not allowed. Attempted write to {}",
                                database_->info.name));
    }
    NORNIC_TRY(const auto reserved, database_->tokens.reserve(kind, name));
    const std::pair entry{kind, reserved.id};
    if (!reserved.committed &&
        std::find(new_tokens_.begin(), new_tokens_.end(), entry) == new_tokens_.end()) {
        new_tokens_.push_back(entry);
    }
    return reserved.id;
}

Result<LabelId> TransactionImpl::label_or_create(std::string_view name) {
    NORNIC_TRY(const auto id, token_or_create(TokenKind::kLabel, name));
    return LabelId{id};
}
Result<RelTypeId> TransactionImpl::relationship_type_or_create(std::string_view name) {
    NORNIC_TRY(const auto id, token_or_create(TokenKind::kRelationshipType, name));
    return RelTypeId{id};
}
Result<PropertyKeyId> TransactionImpl::property_key_or_create(std::string_view name) {
    NORNIC_TRY(const auto id, token_or_create(TokenKind::kPropertyKey, name));
    return PropertyKeyId{id};
}

// ---- Nodes ----

Result<std::vector<PropertyEntry>> TransactionImpl::storable_properties(
    std::span<const PropertyEntry> properties) {
    std::vector<PropertyEntry> out;
    out.reserve(properties.size());
    bool sorted = true;
    for (const PropertyEntry& entry : properties) {
        if (entry.value.is_null()) {
            continue;
        }
        if (!out.empty() && !(out.back().key < entry.key)) {
            sorted = false;
        }
        if (entry.value.is_list() || entry.value.is_map() ||
            entry.value.type() >= ValueType::kNodeRef) {
            NORNIC_TRY(auto value, storable(entry.value));
            out.push_back(PropertyEntry{entry.key, std::move(value)});
        } else {
            out.push_back(entry);
        }
    }
    if (!sorted) {
        // Of two values for one key the later wins.
        std::vector<std::pair<PropertyKeyId, std::size_t>> order;
        order.reserve(out.size());
        for (std::size_t i = 0; i < out.size(); ++i) {
            order.emplace_back(out[i].key, i);
        }
        std::sort(order.begin(), order.end());
        std::vector<PropertyEntry> in_order;
        in_order.reserve(out.size());
        for (std::size_t i = 0; i < order.size(); ++i) {
            if (i + 1 == order.size() || order[i + 1].first != order[i].first) {
                in_order.push_back(std::move(out[order[i].second]));
            }
        }
        out = std::move(in_order);
    }
    return out;
}

Result<NodeId> TransactionImpl::create_node(std::span<const LabelId> labels,
                                            std::span<const PropertyEntry> properties) {
    NORNIC_TRY(begin_write(Writes::kData));
    NORNIC_TRY(auto stored, storable_properties(properties));
    auto data = std::make_shared<NodeData>();
    data->labels.assign(labels.begin(), labels.end());
    if (data->labels.size() > 1) {
        std::sort(data->labels.begin(), data->labels.end());
        data->labels.erase(std::unique(data->labels.begin(), data->labels.end()),
                           data->labels.end());
    }
    data->properties = std::move(stored);
    NORNIC_TRY(charge(sizeof(NodeData) + 64 + data->labels.size() * sizeof(LabelId) +
                      static_cast<std::size_t>(heap_bytes(data->properties))));
    const NodeId id{created_nodes_.draw(database_->node_ids, engine_.region())};
    if (sequence_of(id.value) >= NodeStore::kSequenceMax) {
        return fail(ErrorCode::kTokenLimit, "No more node ids are available in this region");
    }
    if (!rules_->constraints.empty()) {
        NORNIC_TRY(check_unique(id, *data, std::nullopt, std::nullopt));
    }
    counters_.nodes_created += 1;
    counters_.labels_added += static_cast<std::int64_t>(data->labels.size());
    counters_.properties_set += static_cast<std::int64_t>(data->properties.size());
    created_nodes_.add(std::move(data));
    return id;
}

/// An entity as this transaction may change it: its own, or a copy of the committed one, which is locked.
template <class Data, class Id, class Pages>
Result<TransactionImpl::Writable<Data>> TransactionImpl::writable_entity(Id id,
                                                                         std::string_view what,
                                                                         const LockKey& key,
                                                                         Pages& committed,
                                                                         CreatedList<Data>& created,
                                                                         std::unordered_map<Id, Change<Data>>& changes,
                                                                         std::vector<std::uint64_t>& log) {
    NORNIC_TRY(begin_write(Writes::kData));
    if (auto* item = created.find(id.value)) {
        if (item->deleted) {
            return not_found(id);
        }
        return Writable<Data>{&item->data, nullptr};
    }
    if (const auto at = changes.find(id); at != changes.end()) {
        if (at->second.deleted) {
            return not_found(id);
        }
        return Writable<Data>{&at->second.data, &at->second};
    }
    NORNIC_TRY(lock(key, LockMode::kExclusive));
    std::shared_ptr<const Data> base;
    bool newer = false;
    committed.read(page_of(id.value), [&](const typename Pages::Slots& slots) {
        const auto& slot = slots[slot_of(id.value)];
        newer = slot && slot->created > snapshot_;
        if (const auto* version = visible_version(slot, snapshot_)) {
            base = std::shared_ptr<const Data>{*version, &(*version)->data};
        }
    });
    if (!base) {
        return not_found(id);
    }
    if (newer) {
        return conflict(what, id.value);
    }
    NORNIC_TRY(charge(sizeof(Change<Data>) + 96 +
                      static_cast<std::size_t>(heap_bytes(base->properties))));
    // Scans that open from here on look for it among the transaction's own, changed or not.
    Change<Data>& change = changes[id];
    change.began = log.size();
    log.push_back(id.value);
    change.data = std::make_shared<Data>(*base);
    change.base = std::move(base);
    return Writable<Data>{&change.data, &change};
}

Result<TransactionImpl::WritableNode> TransactionImpl::writable_node(NodeId id) {
    return writable_entity(
        id, "Node", LockKey::node(database_->info.id, id), database_->nodes, created_nodes_, node_changes_, node_log_);
}

Result<bool> TransactionImpl::add_label(NodeId id, LabelId label) {
    NORNIC_TRY(const WritableNode node, writable_node(id));
    if ((*node.data)->has_label(label)) {
        return false;
    }
    NORNIC_TRY(charge(sizeof(LabelId)));
    NodeData& data = writable(*node.data);
    data.labels.insert(std::lower_bound(data.labels.begin(), data.labels.end(), label), label);
    node_log_.push_back(id.value);
    counters_.labels_added += 1;
    if (!rules_->constraints.empty()) {
        NORNIC_TRY(check_unique(id, data, label, std::nullopt));
    }
    return true;
}

Result<bool> TransactionImpl::remove_label(NodeId id, LabelId label) {
    NORNIC_TRY(const WritableNode node, writable_node(id));
    if (!(*node.data)->has_label(label)) {
        return false;
    }
    NodeData& data = writable(*node.data);
    data.labels.erase(std::lower_bound(data.labels.begin(), data.labels.end(), label));
    node_log_.push_back(id.value);
    counters_.labels_removed += 1;
    return true;
}

namespace {

/// Whether anything was set or was there to remove.
bool change_property(std::vector<PropertyEntry>& properties, PropertyKeyId key, Value value) {
    const auto at =
        std::lower_bound(properties.begin(), properties.end(), key, [](const auto& entry, auto k) {
            return entry.key < k;
        });
    const bool there = at != properties.end() && at->key == key;
    if (value.is_null()) {
        if (there) {
            properties.erase(at);
        }
        return there;
    }
    if (there) {
        at->value = std::move(value);
    } else {
        properties.insert(at, PropertyEntry{key, std::move(value)});
    }
    return true;
}

}  // namespace

Result<bool> TransactionImpl::set_property(NodeId id, PropertyKeyId key, Value value) {
    NORNIC_TRY(value, storable(std::move(value)));
    NORNIC_TRY(const WritableNode node, writable_node(id));
    if (value.is_null() && (*node.data)->property(key) == nullptr) {
        return false;
    }
    NORNIC_TRY(charge(sizeof(PropertyEntry) + value.heap_bytes()));
    const bool removes = value.is_null();
    NodeData& data = writable(*node.data);
    change_property(data.properties, key, std::move(value));
    if (node.change != nullptr) {
        node.change->touched(key);
    }
    node_log_.push_back(id.value);
    counters_.properties_set += 1;
    if (!rules_->constraints.empty() && !removes) {
        NORNIC_TRY(check_unique(id, data, std::nullopt, key));
    }
    return true;
}

Result<bool> TransactionImpl::delete_node(NodeId id) {
    if (deleted_here(id)) {
        return false;
    }
    NORNIC_TRY(const WritableNode node, writable_node(id));
    if (node.change == nullptr) {
        created_nodes_.find(id.value)->deleted = true;
    } else {
        NORNIC_TRY(lock(existence_lock(database_->info.id, id), LockMode::kExclusive));
        bool attached = false;
        database_->adjacency.read(page_of(id.value), [&](const AdjacencyStore::Slots& slots) {
            attached = slots[slot_of(id.value)].changed_since(snapshot_);
        });
        if (attached) {
            return conflict("Node", id.value);
        }
        node.change->deleted = true;
    }
    node_log_.push_back(id.value);
    counters_.nodes_deleted += 1;
    return true;
}

Result<> TransactionImpl::lock_node(NodeId id) {
    NORNIC_TRY(begin_write(Writes::kData));
    if (created_nodes_.find(id.value) != nullptr) {
        return success();
    }
    NORNIC_TRY(lock(existence_lock(database_->info.id, id), LockMode::kExclusive));
    bool attached = false;
    database_->adjacency.read(page_of(id.value), [&](const AdjacencyStore::Slots& slots) {
        attached = slots[slot_of(id.value)].changed_since(snapshot_);
    });
    if (attached) {
        return conflict("Node", id.value);
    }
    return success();
}

Result<> TransactionImpl::lock_for_merge(LabelId label, std::span<const PropertyEntry> properties) {
    NORNIC_TRY(begin_write(Writes::kData));
    std::vector<PropertyEntry> sorted{properties.begin(), properties.end()};
    std::sort(
        sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.key < b.key; });
    std::string key;
    ByteWriter out{key};
    out.put_u32(label.value);
    for (const PropertyEntry& entry : sorted) {
        out.put_u32(entry.key.value);
        if (is_indexable(entry.value)) {
            encode_index_key(entry.value, key);  // 1 and 1.0 are one value to MERGE
        }
    }
    const std::uint64_t hash = hash_index_key(label.value, key);
    NORNIC_TRY(lock(LockKey::merge(database_->info.id, hash), LockMode::kExclusive));
    if (database_->merges.last(hash) > snapshot_) {
        return fail(ErrorCode::kConflict,
                    "Another transaction merged the same label and properties after this one "
                    "began. Run the whole "
                    "transaction again.");
    }
    if (std::find(merge_keys_.begin(), merge_keys_.end(), hash) == merge_keys_.end()) {
        NORNIC_TRY(charge(sizeof hash));
        merge_keys_.push_back(hash);
    }
    return success();
}

// ---- Relationships ----

/// One end of a new relationship: there, and there to stay until this transaction ends.
Result<> TransactionImpl::hold_end(NodeId id) {
    if (const auto* item = created_nodes_.find(id.value)) {
        if (item->deleted) {
            return not_found(id);
        }
        return success();
    }
    if (const auto at = node_changes_.find(id); at != node_changes_.end() && at->second.deleted) {
        return not_found(id);
    }
    NORNIC_TRY(lock(existence_lock(database_->info.id, id), LockMode::kShared));
    bool visible = false;
    bool deleted = false;
    database_->nodes.read(page_of(id.value), [&](const NodeStore::Slots& slots) {
        const auto& slot = slots[slot_of(id.value)];
        visible = visible_version(slot, snapshot_) != nullptr;
        deleted = !slot || slot->deleted;
    });
    if (!visible) {
        return not_found(id);
    }
    if (deleted) {
        return conflict("Node", id.value);
    }
    return success();
}

Result<RelId> TransactionImpl::create_relationship(NodeId start,
                                                   RelTypeId type,
                                                   NodeId end,
                                                   std::span<const PropertyEntry> properties) {
    NORNIC_TRY(begin_write(Writes::kData));
    NORNIC_TRY(auto stored, storable_properties(properties));
    NORNIC_TRY(hold_end(start));
    if (end != start) {
        NORNIC_TRY(hold_end(end));
    }
    auto data = std::make_shared<RelData>();
    data->type = type;
    data->start = start;
    data->end = end;
    data->properties = std::move(stored);
    NORNIC_TRY(
        charge(sizeof(RelData) + 64 + static_cast<std::size_t>(heap_bytes(data->properties))));
    const RelId id{created_rels_.draw(database_->rel_ids, engine_.region())};
    if (sequence_of(id.value) >= RelStore::kSequenceMax) {
        return fail(ErrorCode::kTokenLimit,
                    "No more relationship ids are available in this region");
    }
    if (!rules_->constraints.empty()) {
        NORNIC_TRY(check_unique(id, *data, std::nullopt));
    }
    counters_.relationships_created += 1;
    counters_.properties_set += static_cast<std::int64_t>(data->properties.size());
    created_rels_.add(std::move(data));
    return id;
}

Result<TransactionImpl::WritableRel> TransactionImpl::writable_relationship(RelId id) {
    return writable_entity(
        id, "Relationship", LockKey::relationship(database_->info.id, id), database_->relationships, created_rels_, rel_changes_, rel_log_);
}

Result<bool> TransactionImpl::set_property(RelId id, PropertyKeyId key, Value value) {
    NORNIC_TRY(value, storable(std::move(value)));
    NORNIC_TRY(const WritableRel relationship, writable_relationship(id));
    if (value.is_null() && (*relationship.data)->property(key) == nullptr) {
        return false;
    }
    NORNIC_TRY(charge(sizeof(PropertyEntry) + value.heap_bytes()));
    const bool removes = value.is_null();
    RelData& data = writable(*relationship.data);
    change_property(data.properties, key, std::move(value));
    if (relationship.change != nullptr) {
        relationship.change->touched(key);
    }
    rel_log_.push_back(id.value);
    counters_.properties_set += 1;
    if (!rules_->constraints.empty() && !removes) {
        NORNIC_TRY(check_unique(id, data, key));
    }
    return true;
}

Result<bool> TransactionImpl::delete_relationship(RelId id) {
    if (deleted_here(id)) {
        return false;
    }
    NORNIC_TRY(const WritableRel relationship, writable_relationship(id));
    if (relationship.change == nullptr) {
        created_rels_.find(id.value)->deleted = true;
    } else {
        relationship.change->deleted = true;
    }
    ++deleted_rels_;
    rel_log_.push_back(id.value);
    counters_.relationships_deleted += 1;
    return true;
}

// ---- Catalogue ----

Result<> TransactionImpl::put_catalog(std::string_view key, const Value& value) {
    NORNIC_TRY(check_open());
    NORNIC_TRY(charge(key.size() + value.heap_bytes() + 64));
    catalog_changes_.emplace_back(std::string{key}, value);
    counters_.system_updates += 1;
    return success();
}

Result<> TransactionImpl::erase_catalog(std::string_view key) {
    NORNIC_TRY(check_open());
    catalog_changes_.emplace_back(std::string{key}, std::nullopt);
    counters_.system_updates += 1;
    return success();
}

}  // namespace nornic::engine
