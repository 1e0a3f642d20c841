// Scans and seeks. Each has a source of committed entities that verifies candidates against the
// snapshot, and a list of what the transaction had made or changed when the cursor opened; the
// cursor merges the two. The source reads as the cursor goes and leaves out what that list has.
#include "engine/transaction/transaction_impl.h"

#include <algorithm>
#include <array>
#include <deque>

namespace nornic::engine {
namespace {

/// Entities in ascending id order.
template <class Id, class Cursor, class Source>
class MergedScan final : public Cursor {
public:
    MergedScan(Source source, std::vector<std::uint64_t> own)
        : source_{std::move(source)}, own_{std::move(own)} {}

    std::size_t next(std::span<Id> out) override {
        std::size_t filled = 0;
        while (filled < out.size()) {
            if (at_ == buffer_.size() && !source_done_) {
                buffer_.clear();
                at_ = 0;
                source_done_ = !source_.fill(buffer_);
                continue;
            }
            const bool have = at_ < buffer_.size();
            if (own_at_ < own_.size() && (!have || own_[own_at_] < buffer_[at_])) {
                const std::uint64_t id = own_[own_at_++];
                if (source_.still(id)) {
                    out[filled++] = Id{id};
                }
            } else if (have) {
                out[filled++] = Id{buffer_[at_++]};
            } else {
                break;
            }
        }
        return filled;
    }

private:
    Source source_;
    std::vector<std::uint64_t> own_;
    std::size_t own_at_ = 0;
    std::vector<std::uint64_t> buffer_;
    std::size_t at_ = 0;
    bool source_done_ = false;
};

/// All nodes: page after page, all regions of a page together so that ids ascend.
class NodePages {
public:
    explicit NodePages(TransactionImpl& transaction)
        : transaction_{transaction}, seen_{transaction.changes_seen(NodeId{})} {
        for (std::uint32_t region = 0; region < kRegions; ++region) {
            end_ = std::max(end_, transaction.store().nodes.page_limit(region));
        }
    }
    bool fill(std::vector<std::uint64_t>& out) {
        while (page_ < end_ && out.empty()) {
            for (std::uint32_t region = 0; region < kRegions; ++region) {
                const std::uint64_t number = id_of(page_, region);
                transaction_.store().nodes.read(number, [&](const NodeStore::Slots& slots) {
                    for (unsigned slot = 0; slot < kPageSlots; ++slot) {
                        const std::uint64_t id = id_in_page(number, slot);
                        if (visible_version(slots[slot], transaction_.snapshot()) != nullptr &&
                            !transaction_.hidden(NodeId{id}, seen_)) {
                            out.push_back(id);
                        }
                    }
                });
            }
            if (!std::is_sorted(out.begin(), out.end())) {
                std::sort(out.begin(), out.end());
            }
            ++page_;
        }
        return page_ < end_;
    }
    [[nodiscard]] bool still(std::uint64_t id) const {
        return transaction_.own(NodeId{id}) != nullptr;
    }

private:
    TransactionImpl& transaction_;
    std::size_t seen_;
    std::uint64_t page_ = 0;
    std::uint64_t end_ = 0;
};

/// Nodes of one label, from the label index's candidates.
class LabelledNodes {
public:
    LabelledNodes(TransactionImpl& transaction, LabelId label)
        : transaction_{transaction},
          seen_{transaction.changes_seen(NodeId{})},
          label_{label},
          scan_{transaction.store().labels.scan(label.value)} {}

    bool fill(std::vector<std::uint64_t>& out) {
        std::array<PageWord, 64> words;
        while (out.empty()) {
            const Result<std::size_t> found = scan_.next_words(words);
            if (!found) {
                transaction_.store_failed(found.error());
                return false;
            }
            for (std::size_t i = 0; i < found.value(); ++i) {
                verify(words[i], out);
            }
            if (!std::is_sorted(out.begin(), out.end())) {
                std::sort(out.begin(), out.end());
            }
            if (found.value() < words.size()) {
                return false;
            }
        }
        return true;
    }
    [[nodiscard]] bool still(std::uint64_t id) const {
        const NodeData* data = transaction_.own(NodeId{id});
        return data != nullptr && data->has_label(label_);
    }

private:
    void verify(const PageWord& word, std::vector<std::uint64_t>& out) {
        const std::uint64_t number = id_of(word.page, word.region);
        transaction_.store().nodes.read(number, [&](const NodeStore::Slots& slots) {
            for (std::uint64_t mask = word.mask; mask != 0; mask &= mask - 1) {
                const auto slot = static_cast<unsigned>(__builtin_ctzll(mask));
                const auto* version = visible_version(slots[slot], transaction_.snapshot());
                if (version != nullptr && (*version)->data.has_label(label_)) {
                    const std::uint64_t id = id_in_page(number, slot);
                    if (!transaction_.hidden(NodeId{id}, seen_)) {
                        out.push_back(id);
                    }
                }
            }
        });
    }
    TransactionImpl& transaction_;
    std::size_t seen_;
    LabelId label_;
    LabelScan scan_;
};

/// Relationships of some types, or all.
class TypedRelationships {
public:
    TypedRelationships(TransactionImpl& transaction, std::span<const RelTypeId> types)
        : transaction_{transaction},
          seen_{transaction.changes_seen(RelId{})},
          types_{types.begin(), types.end()} {
        std::sort(types_.begin(), types_.end());
        types_.erase(std::unique(types_.begin(), types_.end()), types_.end());
        for (std::uint32_t region = 0; region < kRegions; ++region) {
            end_ = std::max(end_, transaction.store().relationships.page_limit(region));
        }
    }
    bool fill(std::vector<std::uint64_t>& out) {
        while (page_ < end_ && out.empty()) {
            for (std::uint32_t region = 0; region < kRegions; ++region) {
                if (page_ < transaction_.store().relationships.page_limit(region)) {
                    read_page(region, out);
                }
            }
            if (!std::is_sorted(out.begin(), out.end())) {
                std::sort(out.begin(), out.end());
            }
            ++page_;
        }
        return page_ < end_;
    }
    [[nodiscard]] bool still(std::uint64_t id) const {
        return transaction_.own(RelId{id}) != nullptr;
    }

private:
    void read_page(std::uint32_t region, std::vector<std::uint64_t>& out) {
        std::uint64_t mask = types_.empty() ? ~std::uint64_t{0} : 0;
        for (const RelTypeId type : types_) {
            const Result<std::uint64_t> word =
                transaction_.store().types.word(type.value, region, page_);
            if (!word) {
                transaction_.store_failed(word.error());
                return;
            }
            mask |= word.value();
        }
        if (mask == 0) {
            return;
        }
        const std::uint64_t number = id_of(page_, region);
        transaction_.store().relationships.read(number, [&](const RelStore::Slots& slots) {
            for (; mask != 0; mask &= mask - 1) {
                const auto slot = static_cast<unsigned>(__builtin_ctzll(mask));
                const auto* version = visible_version(slots[slot], transaction_.snapshot());
                if (version != nullptr &&
                    (types_.empty() ||
                     std::binary_search(types_.begin(), types_.end(), (*version)->data.type))) {
                    const std::uint64_t id = id_in_page(number, slot);
                    if (!transaction_.hidden(RelId{id}, seen_)) {
                        out.push_back(id);
                    }
                }
            }
        });
    }
    TransactionImpl& transaction_;
    std::size_t seen_;
    std::vector<RelTypeId> types_;
    std::uint64_t page_ = 0;
    std::uint64_t end_ = 0;
};

template <class Id>
struct EntityTraits;
template <>
struct EntityTraits<NodeId> {
    using Cursor = NodeCursor;
    static std::span<const PropertyEntry> properties(const NodeData& data,
                                                     const IndexRule& rule,
                                                     bool& member) {
        member = false;
        for (const std::uint32_t token : rule.tokens) {
            member = member || data.has_label(LabelId{token});
        }
        return data.properties;
    }
    template <class Fn>
    static void visible(TransactionImpl& transaction, std::uint64_t id, Fn&& fn) {
        transaction.store().nodes.read(page_of(id), [&](const NodeStore::Slots& slots) {
            if (const auto* version = visible_version(slots[slot_of(id)], transaction.snapshot())) {
                fn((*version)->data);
            }
        });
    }
};
template <>
struct EntityTraits<RelId> {
    using Cursor = RelCursor;
    static std::span<const PropertyEntry> properties(const RelData& data,
                                                     const IndexRule& rule,
                                                     bool& member) {
        member =
            std::find(rule.tokens.begin(), rule.tokens.end(), data.type.value) != rule.tokens.end();
        return data.properties;
    }
    template <class Fn>
    static void visible(TransactionImpl& transaction, std::uint64_t id, Fn&& fn) {
        transaction.store().relationships.read(page_of(id), [&](const RelStore::Slots& slots) {
            if (const auto* version = visible_version(slots[slot_of(id)], transaction.snapshot())) {
                fn((*version)->data);
            }
        });
    }
};

}  // namespace

/// One seek: which candidates to look at and whether one fits.
class SeekSource {
public:
    SeekSource(TransactionImpl& transaction, const IndexHandle& handle, const IndexQuery& query)
        : transaction_{transaction},
          seen_{handle.rule.entity == EntityKind::kNode ? transaction.changes_seen(NodeId{})
                                                        : transaction.changes_seen(RelId{})},
          handle_{handle},
          query_{query},
          range_{key_range(query)} {}

    [[nodiscard]] const KeyRange& range() const noexcept { return range_; }
    [[nodiscard]] const IndexHandle& handle() const noexcept { return handle_; }
    [[nodiscard]] TransactionImpl& transaction() const noexcept { return transaction_; }

    /// Whether this state of an entity stands in the index under `key` and fits the query.
    template <class Id, class Data>
    bool fits(const Data& data, std::string_view key) {
        bool member = false;
        const auto properties = EntityTraits<Id>::properties(data, handle_.rule, member);
        if (!member || !index_key_of(handle_.rule, properties, key_) || key_ != key) {
            return false;
        }
        if (range_.exact && key.size() < kIndexKeyBytesMax) {
            return true;  // equal keys are equal values
        }
        values_.clear();
        for (const PropertyKeyId column : handle_.rule.properties) {
            values_.push_back(*find_property(properties, column));
        }
        return matches(query_, values_);
    }
    template <class Id>
    bool committed_fits(std::uint64_t id, std::string_view key) {
        bool fit = false;
        EntityTraits<Id>::visible(
            transaction_, id, [&](const auto& data) { fit = fits<Id>(data, key); });
        return fit && !transaction_.hidden(Id{id}, seen_);
    }
    /// The transaction's own candidates in key order.
    std::vector<std::pair<std::string, std::uint64_t>> own_candidates() {
        std::vector<std::pair<std::string, std::uint64_t>> out;
        if (transaction_.writes_ != TransactionImpl::Writes::kData) {
            return out;
        }
        const auto& entries = transaction_.own_entries(handle_).entries;
        for (auto at = entries.lower_bound({range_.lower, 0});
             at != entries.end() && (!range_.upper || at->first < *range_.upper);
             ++at) {
            out.push_back(*at);
        }
        if (query_.descending) {
            std::reverse(out.begin(), out.end());
        }
        return out;
    }

private:
    TransactionImpl& transaction_;
    const std::size_t seen_;
    const IndexHandle& handle_;
    const IndexQuery query_;
    const KeyRange range_;
    std::string key_;
    std::vector<Value> values_;
};

namespace {

template <class Id>
class SeekCursor final : public EntityTraits<Id>::Cursor {
public:
    SeekCursor(SeekSource source, std::shared_ptr<const IndexSet> indexes)
        : source_{std::move(source)}, indexes_{std::move(indexes)} {
        if (source_.range().empty) {
            done_ = true;
            return;
        }
        own_ = source_.own_candidates();
        if (source_.range().exact) {
            seek_exactly();
            done_ = true;
            return;
        }
        Result<RangeCursor> cursor =
            source_.handle().index.seek(source_.range(), source_.transaction().snapshot());
        if (!cursor) {
            source_.transaction().store_failed(cursor.error());
            done_ = true;
            return;
        }
        cursor_.emplace(std::move(cursor).value());
    }

    std::size_t next(std::span<Id> out) override {
        std::size_t filled = 0;
        while (filled < out.size()) {
            if (ready_.empty() && !done_) {
                fill();
                continue;
            }
            if (own_at_ < own_.size() &&
                (ready_.empty() || before(own_[own_at_], ready_.front()))) {
                const auto& [key, id] = own_[own_at_++];
                const auto* data = source_.transaction().own(Id{id});
                if (data != nullptr && source_.template fits<Id>(*data, key)) {
                    out[filled++] = Id{id};
                }
            } else if (!ready_.empty()) {
                out[filled++] = Id{ready_.front().second};
                ready_.pop_front();
            } else {
                break;
            }
        }
        return filled;
    }

private:
    using Entry = std::pair<std::string, std::uint64_t>;

    [[nodiscard]] bool before(const Entry& a, const Entry& b) const {
        return source_.range().descending ? b < a : a < b;
    }
    void seek_exactly() {
        const std::string& key = *source_.range().exact;
        std::vector<std::uint64_t> ids;
        const Result<> found = source_.handle().index.seek_equals(key, ids);
        if (!found) {
            source_.transaction().store_failed(found.error());
            return;
        }
        std::sort(ids.begin(), ids.end());
        for (const std::uint64_t id : ids) {
            if (source_.template committed_fits<Id>(id, key)) {
                // Own entries go first or last by id alone: all have one key.
                ready_.emplace_back(own_.empty() ? std::string{} : key, id);
            }
        }
        if (source_.range().descending) {
            std::reverse(ready_.begin(), ready_.end());
        }
    }
    void fill() {
        std::array<IndexEntry, kBatch> entries;
        const Result<std::size_t> found = cursor_->next(entries);
        if (!found) {
            source_.transaction().store_failed(found.error());
            done_ = true;
            return;
        }
        for (std::size_t i = 0; i < found.value(); ++i) {
            if (source_.template committed_fits<Id>(entries[i].id, entries[i].key)) {
                ready_.emplace_back(own_.empty() ? std::string{} : std::string{entries[i].key},
                                    entries[i].id);
            }
        }
        done_ = found.value() < entries.size();
    }

    static constexpr std::size_t kBatch = 64;
    SeekSource source_;
    const std::shared_ptr<const IndexSet> indexes_;  // keeps the index alive
    std::optional<RangeCursor> cursor_;
    std::deque<Entry> ready_;
    std::vector<Entry> own_;
    std::size_t own_at_ = 0;
    bool done_ = false;
};

template <class Id>
class NothingCursor final : public EntityTraits<Id>::Cursor {
public:
    std::size_t next(std::span<Id>) override { return 0; }
};

}  // namespace

// ---- The transaction's own nodes and relationships, as candidates ----

OwnLabelled& TransactionImpl::own_labelled(LabelId label) {
    OwnLabelled& view = own_labelled_[label.value];
    const std::size_t known = view.ids.size();
    for (; view.followed.created < created_nodes_.size(); ++view.followed.created) {
        const auto& item = created_nodes_.at(view.followed.created);
        if (!item.deleted && item.data->has_label(label)) {
            view.ids.push_back(created_nodes_.id_at(view.followed.created));
        }
    }
    for (; view.followed.changed < node_log_.size(); ++view.followed.changed) {
        const std::uint64_t id = node_log_[view.followed.changed];
        const NodeData* data = own(NodeId{id});
        if (data != nullptr && data->has_label(label)) {
            view.ids.push_back(id);
        }
    }
    if (view.ids.size() > known &&
        !std::is_sorted(view.ids.begin() + static_cast<std::ptrdiff_t>(known > 0 ? known - 1 : 0),
                        view.ids.end(),
                        [](auto a, auto b) { return a <= b; })) {
        std::sort(view.ids.begin(), view.ids.end());
        view.ids.erase(std::unique(view.ids.begin(), view.ids.end()), view.ids.end());
    }
    return view;
}

OwnIndexEntries& TransactionImpl::own_entries(const IndexHandle& handle) {
    OwnIndexEntries& view = own_entries_[handle.rule.id.value];
    std::string key;
    const auto enter = [&](auto id, const auto* data) {
        bool member = false;
        if (data != nullptr) {
            const auto properties =
                EntityTraits<decltype(id)>::properties(*data, handle.rule, member);
            if (member && index_key_of(handle.rule, properties, key)) {
                view.entries.emplace(key, id.value);
            }
        }
    };
    const auto follow = [&](auto id_tag, const auto& created, const auto& log) {
        using Id = decltype(id_tag);
        for (; view.followed.created < created.size(); ++view.followed.created) {
            const Id id{created.id_at(view.followed.created)};
            enter(id, own(id));
        }
        for (; view.followed.changed < log.size(); ++view.followed.changed) {
            const Id id{log[view.followed.changed]};
            enter(id, own(id));
        }
    };
    if (handle.rule.entity == EntityKind::kNode) {
        follow(NodeId{}, created_nodes_, node_log_);
    } else {
        follow(RelId{}, created_rels_, rel_log_);
    }
    return view;
}

// ---- GraphReader ----

std::unique_ptr<NodeCursor> TransactionImpl::scan_nodes() {
    std::vector<std::uint64_t> own_ids;
    own_ids.reserve(created_nodes_.size() + node_changes_.size());
    created_nodes_.each([&](std::uint64_t id, const auto& item) {
        if (!item.deleted) {
            own_ids.push_back(id);
        }
    });
    for (const auto& [id, change] : node_changes_) {
        if (!change.deleted) {
            own_ids.push_back(id.value);
        }
    }
    std::sort(own_ids.begin(), own_ids.end());
    return std::make_unique<MergedScan<NodeId, NodeCursor, NodePages>>(NodePages{*this},
                                                                       std::move(own_ids));
}

std::unique_ptr<NodeCursor> TransactionImpl::scan_label(LabelId label) {
    std::vector<std::uint64_t> own_ids;
    if (!created_nodes_.empty() || !node_changes_.empty()) {
        own_ids = own_labelled(label).ids;
    }
    return std::make_unique<MergedScan<NodeId, NodeCursor, LabelledNodes>>(
        LabelledNodes{*this, label}, std::move(own_ids));
}

std::unique_ptr<RelCursor> TransactionImpl::scan_relationships(std::span<const RelTypeId> types) {
    std::vector<std::uint64_t> own_ids;
    const auto fits = [&](const RelData& data) {
        return types.empty() || std::find(types.begin(), types.end(), data.type) != types.end();
    };
    created_rels_.each([&](std::uint64_t id, const auto& item) {
        if (!item.deleted && fits(*item.data)) {
            own_ids.push_back(id);
        }
    });
    for (const auto& [id, change] : rel_changes_) {
        if (!change.deleted && fits(*change.data)) {
            own_ids.push_back(id.value);
        }
    }
    std::sort(own_ids.begin(), own_ids.end());
    return std::make_unique<MergedScan<RelId, RelCursor, TypedRelationships>>(
        TypedRelationships{*this, types}, std::move(own_ids));
}

/// A plan may be older than the rules: then the transaction ends with an error that makes it run
/// again with a new plan.
const IndexHandle* TransactionImpl::index_to_read(SchemaRuleId id, EntityKind entity) {
    const IndexHandle* handle = indexes_->find(id);
    if (handle == nullptr || handle->rule.entity != entity) {
        terminate(Error{ErrorCode::kConflict,
                        "An index that this statement uses was dropped. Run it again."});
        return nullptr;
    }
    if (handle->counters) {
        handle->counters->reads.fetch_add(1, std::memory_order_relaxed);
        handle->counters->last_read_ms.store(engine_.clock().wall_ns() / 1'000'000,
                                             std::memory_order_relaxed);
    }
    return handle;
}

std::unique_ptr<NodeCursor> TransactionImpl::seek_nodes(SchemaRuleId index,
                                                        const IndexQuery& query) {
    const IndexHandle* handle = index_to_read(index, EntityKind::kNode);
    if (handle == nullptr) {
        return std::make_unique<NothingCursor<NodeId>>();
    }
    return std::make_unique<SeekCursor<NodeId>>(SeekSource{*this, *handle, query}, indexes_);
}

std::unique_ptr<RelCursor> TransactionImpl::seek_relationships(SchemaRuleId index,
                                                               const IndexQuery& query) {
    const IndexHandle* handle = index_to_read(index, EntityKind::kRelationship);
    if (handle == nullptr) {
        return std::make_unique<NothingCursor<RelId>>();
    }
    return std::make_unique<SeekCursor<RelId>>(SeekSource{*this, *handle, query}, indexes_);
}

}  // namespace nornic::engine
