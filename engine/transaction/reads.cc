#include "engine/transaction/transaction_impl.h"

namespace nornic::engine {
namespace {

bool wanted(std::span<const RelTypeId> types, RelTypeId type) noexcept {
    if (types.empty()) {
        return true;
    }
    for (const RelTypeId t : types) {
        if (t == type) {
            return true;
        }
    }
    return false;
}

Adjacent adjacent(const AdjacencyEntry& entry, std::uint32_t mask) noexcept {
    // A relationship from a node to itself is outgoing unless only incoming ones were asked for.
    return Adjacent{entry.relationship,
                    entry.other,
                    entry.type,
                    (entry.direction & mask & AdjacencyEntry::kOutgoing) != 0};
}

}  // namespace

std::shared_ptr<const Schema> TransactionImpl::schema() const {
    if (indexes_->all.empty()) {
        return schema_;
    }
    return database_->with_numbers(schema_, engine_.clock().now());
}

NodePtr TransactionImpl::committed(NodeId id) {
    NodePtr out;
    database_->nodes.read(page_of(id.value), [&](const NodeStore::Slots& slots) {
        if (const auto* version = visible_version(slots[slot_of(id.value)], snapshot_)) {
            out = NodePtr{*version, &(*version)->data};
        }
    });
    return out;
}

RelPtr TransactionImpl::committed(RelId id) {
    RelPtr out;
    database_->relationships.read(page_of(id.value), [&](const RelStore::Slots& slots) {
        if (const auto* version = visible_version(slots[slot_of(id.value)], snapshot_)) {
            out = RelPtr{*version, &(*version)->data};
        }
    });
    return out;
}

NodePtr TransactionImpl::node(NodeId id) {
    if (writes_ == Writes::kData) {
        if (const auto* item = created_nodes_.find(id.value)) {
            return item->deleted ? nullptr : NodePtr{item->data};
        }
        if (const auto at = node_changes_.find(id); at != node_changes_.end()) {
            return at->second.deleted ? nullptr : NodePtr{at->second.data};
        }
    }
    return committed(id);
}

RelPtr TransactionImpl::relationship(RelId id) {
    if (writes_ == Writes::kData) {
        if (const auto* item = created_rels_.find(id.value)) {
            return item->deleted ? nullptr : RelPtr{item->data};
        }
        if (const auto at = rel_changes_.find(id); at != rel_changes_.end()) {
            return at->second.deleted ? nullptr : RelPtr{at->second.data};
        }
    }
    return committed(id);
}

const NodeData* TransactionImpl::own(NodeId id) const {
    if (const auto* item = created_nodes_.find(id.value)) {
        return item->deleted ? nullptr : item->data.get();
    }
    const auto at = node_changes_.find(id);
    return at == node_changes_.end() || at->second.deleted ? nullptr : at->second.data.get();
}

const RelData* TransactionImpl::own(RelId id) const {
    if (const auto* item = created_rels_.find(id.value)) {
        return item->deleted ? nullptr : item->data.get();
    }
    const auto at = rel_changes_.find(id);
    return at == rel_changes_.end() || at->second.deleted ? nullptr : at->second.data.get();
}

bool TransactionImpl::deleted_here(NodeId id) const {
    if (const auto* item = created_nodes_.find(id.value)) {
        return item->deleted;
    }
    const auto at = node_changes_.find(id);
    return at != node_changes_.end() && at->second.deleted;
}

bool TransactionImpl::deleted_here(RelId id) const {
    if (const auto* item = created_rels_.find(id.value)) {
        return item->deleted;
    }
    const auto at = rel_changes_.find(id);
    return at != rel_changes_.end() && at->second.deleted;
}

void TransactionImpl::node_properties(std::span<const NodeId> ids,
                                      PropertyKeyId key,
                                      std::span<Value> out) {
    NORNIC_CHECK(out.size() >= ids.size(), "out={} ids={}", out.size(), ids.size());
    for (std::size_t first = 0; first < ids.size();) {
        const std::uint64_t page = page_of(ids[first].value);
        std::size_t end = first;
        while (end < ids.size() && page_of(ids[end].value) == page) {
            out[end] = Value{};
            ++end;
        }
        database_->nodes.read(page, [&](const NodeStore::Slots& slots) {
            for (std::size_t i = first; i < end; ++i) {
                if (const auto* version =
                        visible_version(slots[slot_of(ids[i].value)], snapshot_)) {
                    if (const Value* value = (*version)->data.property(key)) {
                        out[i] = *value;
                    }
                }
            }
        });
        first = end;
    }
    if (created_nodes_.empty() && node_changes_.empty()) {
        return;
    }
    for (std::size_t i = 0; i < ids.size(); ++i) {
        if (created_nodes_.find(ids[i].value) != nullptr || changed(ids[i])) {
            const NodeData* data = own(ids[i]);
            const Value* value = data != nullptr ? data->property(key) : nullptr;
            out[i] = value != nullptr ? *value : Value{};
        }
    }
}

void TransactionImpl::follow_created_relationships() {
    for (; own_adjacency_followed_ < created_rels_.size(); ++own_adjacency_followed_) {
        const RelData& data = *created_rels_.at(own_adjacency_followed_).data;
        own_adjacency_[data.start].push_back(static_cast<std::uint32_t>(own_adjacency_followed_));
        if (data.end != data.start) {
            own_adjacency_[data.end].push_back(static_cast<std::uint32_t>(own_adjacency_followed_));
        }
    }
}

void TransactionImpl::add_own_relationships(NodeId id,
                                            std::uint32_t mask,
                                            std::span<const RelTypeId> types,
                                            std::vector<Adjacent>& out) {
    follow_created_relationships();
    const auto at = own_adjacency_.find(id);
    if (at == own_adjacency_.end()) {
        return;
    }
    for (const std::uint32_t index : at->second) {
        const auto& item = created_rels_.at(index);
        if (item.deleted || !wanted(types, item.data->type)) {
            continue;
        }
        AdjacencyEntry entry{RelId{created_rels_.id_at(index)}, item.data->end, item.data->type, 0};
        if (item.data->start == id) {
            entry.direction |= AdjacencyEntry::kOutgoing;
        }
        if (item.data->end == id) {
            entry.direction |= AdjacencyEntry::kIncoming;
            entry.other = item.data->start;
        }
        if ((entry.direction & mask) != 0) {
            out.push_back(adjacent(entry, mask));
        }
    }
}

void TransactionImpl::expand(NodeId id,
                             Direction direction,
                             std::span<const RelTypeId> types,
                             std::vector<Adjacent>& out) {
    const std::uint32_t mask = direction_mask(direction);
    const bool own_changes = writes_ == Writes::kData;
    if (!own_changes || created_nodes_.find(id.value) == nullptr) {
        const std::size_t first = out.size();
        database_->adjacency.read(page_of(id.value), [&](const AdjacencyStore::Slots& slots) {
            slots[slot_of(id.value)].visit(snapshot_, [&](const AdjacencyEntry& entry) {
                if ((entry.direction & mask) != 0 && wanted(types, entry.type)) {
                    out.push_back(adjacent(entry, mask));
                }
            });
        });
        if (deleted_rels_ > 0) {
            out.erase(
                std::remove_if(out.begin() + static_cast<std::ptrdiff_t>(first),
                               out.end(),
                               [&](const Adjacent& a) { return deleted_here(a.relationship); }),
                out.end());
        }
    }
    if (own_changes && !created_rels_.empty()) {
        add_own_relationships(id, mask, types, out);
    }
}

std::uint64_t TransactionImpl::degree(NodeId id,
                                      Direction direction,
                                      std::span<const RelTypeId> types) {
    if (deleted_rels_ > 0 || !created_rels_.empty()) {
        std::vector<Adjacent> all;
        expand(id, direction, types, all);
        return all.size();
    }
    const std::uint32_t mask = direction_mask(direction);
    std::uint64_t count = 0;
    database_->adjacency.read(page_of(id.value), [&](const AdjacencyStore::Slots& slots) {
        slots[slot_of(id.value)].visit(snapshot_, [&](const AdjacencyEntry& entry) {
            count += (entry.direction & mask) != 0 && wanted(types, entry.type) ? 1 : 0;
        });
    });
    return count;
}

// ---- Counts ----

std::uint64_t TransactionImpl::count_committed(CountKind kind, std::optional<std::uint32_t> token) {
    const bool nodes = kind == CountKind::kNodes;
    const std::uint64_t key = !token  ? count_key(kind)
                              : nodes ? count_key(CountKind::kNodesByLabel, *token)
                                      : count_key(CountKind::kRelsByType, 0, *token);
    if (const auto count = database_->counts.at(snapshot_, key)) {
        return static_cast<std::uint64_t>(std::max<std::int64_t>(0, *count));
    }
    // The snapshot is older than what the counters remember: count what it sees.
    std::uint64_t count = 0;
    if (nodes) {
        for (std::uint32_t region = 0; region < kRegions; ++region) {
            for (std::uint64_t page = 0; page < database_->nodes.page_limit(region); ++page) {
                database_->nodes.read(id_of(page, region), [&](const NodeStore::Slots& slots) {
                    for (const auto& slot : slots) {
                        const auto* version = visible_version(slot, snapshot_);
                        count += version != nullptr &&
                                         (!token || (*version)->data.has_label(LabelId{*token}))
                                     ? 1
                                     : 0;
                    }
                });
            }
        }
        return count;
    }
    for (std::uint32_t region = 0; region < kRegions; ++region) {
        for (std::uint64_t page = 0; page < database_->relationships.page_limit(region); ++page) {
            database_->relationships.read(id_of(page, region), [&](const RelStore::Slots& slots) {
                for (const auto& slot : slots) {
                    const auto* version = visible_version(slot, snapshot_);
                    count += version != nullptr && (!token || (*version)->data.type.value == *token)
                                 ? 1
                                 : 0;
                }
            });
        }
    }
    return count;
}

std::uint64_t TransactionImpl::node_count(std::optional<LabelId> label) {
    std::int64_t count = static_cast<std::int64_t>(
        count_committed(CountKind::kNodes, label ? std::optional{label->value} : std::nullopt));
    const auto counts_here = [&](const NodeData& data) { return !label || data.has_label(*label); };
    created_nodes_.each([&](std::uint64_t, const auto& item) {
        count += !item.deleted && counts_here(*item.data) ? 1 : 0;
    });
    for (const auto& [id, change] : node_changes_) {
        count -= counts_here(*change.base) ? 1 : 0;
        count += !change.deleted && counts_here(*change.data) ? 1 : 0;
    }
    return static_cast<std::uint64_t>(std::max<std::int64_t>(0, count));
}

std::uint64_t TransactionImpl::relationship_count(std::optional<RelTypeId> type) {
    std::int64_t count = static_cast<std::int64_t>(
        count_committed(CountKind::kRels, type ? std::optional{type->value} : std::nullopt));
    created_rels_.each([&](std::uint64_t, const auto& item) {
        count += !item.deleted && (!type || item.data->type == *type) ? 1 : 0;
    });
    for (const auto& [id, change] : rel_changes_) {
        count -= change.deleted && (!type || change.base->type == *type) ? 1 : 0;
    }
    return static_cast<std::uint64_t>(std::max<std::int64_t>(0, count));
}

double TransactionImpl::relationship_count_estimate(std::optional<LabelId> start,
                                                    std::optional<RelTypeId> type,
                                                    std::optional<LabelId> end) {
    const Counts& counts = database_->counts;
    const auto from = [&](CountKind kind, LabelId label) {
        const std::int64_t count = type ? counts.newest(count_key(kind, label.value, type->value))
                                        : counts.newest_from(kind, label.value);
        return static_cast<double>(std::max<std::int64_t>(0, count));
    };
    const auto all = static_cast<double>(relationship_count(type));
    if (!start && !end) {
        return all;
    }
    if (start && end) {
        // As if the labels at both ends were independent.
        return all == 0 ? 0
                        : from(CountKind::kRelsFromLabel, *start) *
                              from(CountKind::kRelsToLabel, *end) / all;
    }
    return start ? from(CountKind::kRelsFromLabel, *start) : from(CountKind::kRelsToLabel, *end);
}

}  // namespace nornic::engine
