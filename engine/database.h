// One database: everything that belongs to one graph, on this member.
#pragma once

#include "base/mutex.h"
#include "engine/counts.h"
#include "engine/engine.h"
#include "engine/index/equality_cache.h"
#include "engine/index/label_index.h"
#include "engine/index/range_index.h"
#include "engine/schema_catalog.h"
#include "engine/store/adjacency.h"
#include "engine/store/records.h"
#include "engine/token_table.h"

#include <atomic>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace nornic::engine {

/// A range index in use: its rule and its entries. Lives as long as a transaction that knows it.
struct IndexHandle {
    IndexHandle(IndexRule r,
                Kv& kv,
                EqualityCache& cache,
                std::string prefix,
                std::shared_ptr<IndexCounters> c)
        : rule{std::move(r)}, index{kv, cache, std::move(prefix)}, counters{std::move(c)} {}
    const IndexRule rule;
    RangeIndex index;
    const std::shared_ptr<IndexCounters> counters;  // may be null
    std::atomic<bool> online{false};
    std::atomic<bool> dropped{false};
};

/// The indexes that hold entries, found by what they are over. Immutable; swapped at schema
/// changes.
struct IndexSet {
    std::vector<std::shared_ptr<IndexHandle>> all;
    std::unordered_map<std::uint32_t, std::vector<IndexHandle*>> by_label;
    std::unordered_map<std::uint32_t, std::vector<IndexHandle*>> by_type;

    void add(std::shared_ptr<IndexHandle> handle);
    [[nodiscard]] IndexHandle* find(SchemaRuleId id) const noexcept;
    [[nodiscard]] const std::vector<IndexHandle*>* over(EntityKind entity,
                                                        std::uint32_t token) const noexcept;
};

/// Whether such an index keeps entries in a RangeIndex.
bool holds_entries(const IndexRule& rule) noexcept;

/// The key under which an entity with these properties stands in the index; false if it does not.
bool index_key_of(const IndexRule& rule,
                  std::span<const PropertyEntry> properties,
                  std::string& key);

/// Sequence numbers for new nodes or relationships. Numbers of transactions that fail leave gaps.
class IdSource {
public:
    [[nodiscard]] std::uint64_t draw(std::uint64_t count) noexcept {
        return next_.fetch_add(count, std::memory_order_relaxed);
    }
    /// Takes [from, to) back if nobody drew since.
    void give_back(std::uint64_t from, std::uint64_t to) noexcept {
        next_.compare_exchange_strong(to, from, std::memory_order_relaxed);
    }
    /// A committed number: never draw it or a lower one again.
    void seen(std::uint64_t sequence) noexcept {
        std::uint64_t next = next_.load(std::memory_order_relaxed);
        while (next <= sequence &&
               !next_.compare_exchange_weak(next, sequence + 1, std::memory_order_relaxed)) {
        }
    }
    [[nodiscard]] std::uint64_t next() const noexcept {
        return next_.load(std::memory_order_relaxed);
    }

private:
    std::atomic<std::uint64_t> next_{0};
};

/// When a key that MERGE locks was last let go of after a commit, so that the next one to get the
/// lock can tell that its snapshot is too old to know what is there.
class MergeClock {
public:
    [[nodiscard]] LogIndex last(std::uint64_t hash) const EXCLUDES(mutex_);
    void set(std::uint64_t hash, LogIndex at, LogIndex oldest) EXCLUDES(mutex_);

private:
    static constexpr std::size_t kSweepAt = 4096;
    mutable Mutex mutex_;
    std::unordered_map<std::uint64_t, LogIndex> last_ GUARDED_BY(mutex_);
    std::size_t sweep_at_ GUARDED_BY(mutex_) = kSweepAt;
};

class Database {
public:
    Database(StoreContext context, EqualityCache& equality, DatabaseInfo database_info);

    const DatabaseInfo info;
    const StoreContext context;
    EqualityCache& equality;

    TokenTable tokens;
    NodeStore nodes;
    AdjacencyStore adjacency;
    RelStore relationships;
    LabelIndex labels;  // nodes by label
    LabelIndex types;   // relationships by type
    Counts counts;
    SchemaCatalog schema;
    IdSource node_ids;
    IdSource rel_ids;
    MergeClock merges;

    /// Tokens, rules, counters and the list of indexes; nothing that grows with the graph.
    Result<> load();
    [[nodiscard]] std::shared_ptr<const IndexSet> indexes() const EXCLUDES(mutex_);
    /// `base` with sizes and reads filled in, a little old: for the planner and SHOW INDEXES.
    [[nodiscard]] std::shared_ptr<const Schema> with_numbers(
        const std::shared_ptr<const Schema>& base, Deadline now) EXCLUDES(mutex_);
    /// By apply, after the rule is in the schema. A rule over anything that holds no entries of its
    /// own (token lookup) gives nullptr.
    std::shared_ptr<IndexHandle> add_index(const IndexRule& rule) EXCLUDES(mutex_);
    /// The entries go once no transaction can seek there: sweep_dropped().
    void drop_index(SchemaRuleId id, LogIndex at) EXCLUDES(mutex_);
    /// Erases the entries of what was dropped at or before `before`; those that cannot be erased now, the next time.
    void sweep_dropped(LogIndex before) EXCLUDES(mutex_);

private:
    [[nodiscard]] std::string entries_prefix(SchemaRuleId id) const;
    Result<> erase_unknown_entries(const Schema& rules);
    struct Dropped {
        LogIndex at;
        std::shared_ptr<IndexHandle> handle;
    };
    mutable Mutex mutex_;
    std::shared_ptr<const IndexSet> indexes_ GUARDED_BY(mutex_);
    std::vector<Dropped> dropped_ GUARDED_BY(mutex_);
    std::shared_ptr<const Schema> numbered_ GUARDED_BY(mutex_);
    Deadline numbered_at_ GUARDED_BY(mutex_);
};

}  // namespace nornic::engine
