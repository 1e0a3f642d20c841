// RangeIndex: entries (encoded key, entity id) in key order, for equality, range, prefix and
// existence over one or several properties.
//
// The Kv holds the entries as of the last checkpoint; a layer in memory holds what was added and
// removed since. A checkpoint freezes that layer, writes it and forgets it; readers that began
// before keep theirs. It answers candidates: an entry is found from its apply on, also by older
// snapshots, and a removed one until no snapshot needs it, so the caller verifies each candidate:
// the version it sees encodes to the candidate's key (otherwise it is met under another key, or not
// at all) and fits the query (index_query.h: matches(); keys longer than kIndexKeyBytesMax are
// cut).
//
// Threads: one applier (add, remove, begin_checkpoint), one population thread beside it (bulk_add),
// one checkpoint thread (write_checkpoint, end_checkpoint), readers anywhere.
//
// Kv keys: prefix, 'e', key, id (be64), empty value; prefix, 's': statistics.
#pragma once

#include "base/ids.h"
#include "base/result.h"
#include "engine/graph_reader.h"
#include "engine/index/delta_layer.h"
#include "engine/index/equality_cache.h"
#include "engine/index/index_query.h"
#include "engine/kv.h"
#include "graph/value.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::engine {

/// A candidate. The key lives until the cursor's next call.
struct IndexEntry {
    std::string_view key;
    std::uint64_t id = 0;
};

/// Walks candidates in key order (then id), ascending or descending.
class RangeCursor {
public:
    ~RangeCursor();
    RangeCursor(RangeCursor&&) noexcept;
    RangeCursor& operator=(RangeCursor&&) noexcept;
    /// Fills up to out.size(); fewer only at the end. kIo, kCorruption.
    Result<std::size_t> next(std::span<IndexEntry> out);

private:
    friend class RangeIndex;
    struct State;
    explicit RangeCursor(std::unique_ptr<State> state) noexcept;
    std::unique_ptr<State> state_;
};

class RangeIndex {
public:
    /// `kv` and `cache` outlive this. Nothing but this index may live under the prefix.
    RangeIndex(Kv& kv, EqualityCache& cache, std::string key_prefix);
    ~RangeIndex();
    RangeIndex(const RangeIndex&) = delete;
    RangeIndex& operator=(const RangeIndex&) = delete;
    /// Reads the statistics; once, before use. kIo, kCorruption.
    Result<> open();

    // ---- Apply. `key` is make_index_key() of the indexed values. Idempotent. Below 0.5 µs.
    void add(std::string_view key, std::uint64_t id);
    /// The entity lost this key at log index `at`.
    void remove(std::string_view key, std::uint64_t id, LogIndex at);
    /// Snapshots before this index are gone: what was removed at or before it need not be found.
    void set_min_active(LogIndex index) noexcept {
        min_active_.store(index.value, std::memory_order_relaxed);
    }

    // ---- Population: entries as of some snapshot, while applies go on. Sorted here and written to
    // ---- the Kv at once, so memory stays bounded; what apply said of an entry since then wins.
    struct BulkEntry {
        std::string key;
        std::uint64_t id = 0;
    };
    Result<> bulk_add(std::vector<BulkEntry> entries);
    /// Forgets what the equality cache learnt while the index was not complete. Call before
    /// "online".
    void bulk_done();
    /// Erases what the Kv holds of the index: before a population that starts over, or after a
    /// drop. What apply added and no checkpoint wrote stays. A snapshot taken afterwards sees all
    /// that was erased and still holds, so a population that reads at such snapshots brings it
    /// back.
    Result<> clear();

    // ---- Reads.
    /// Appends the ids that may hold exactly `key`; no order, no duplicates. 100–150 ns when hot.
    Result<> seek_equals(std::string_view key, std::vector<std::uint64_t>& out) const;
    /// Candidates as of `snapshot`.
    [[nodiscard]] Result<RangeCursor> seek(const KeyRange& range, LogIndex snapshot) const;
    [[nodiscard]] Result<RangeCursor> seek(const IndexQuery& query, LogIndex snapshot) const {
        return seek(key_range(query), snapshot);
    }

    // ---- Checkpoint as of F: begin (by the applier, when exactly F is applied), write, end.
    void begin_checkpoint();
    void write_checkpoint(KvBatch& batch);
    /// Whether the batch was written; if not, the next checkpoint writes it again.
    void end_checkpoint(bool written);

    // ---- About, for the planner.
    [[nodiscard]] std::uint64_t entries() const noexcept;
    [[nodiscard]] std::uint64_t distinct_values() const;
    [[nodiscard]] std::size_t memory_bytes() const;
    [[nodiscard]] std::size_t delta_entries() const;

private:
    friend class RangeCursor;
    /// What a reader merges, oldest layer first; the last takes the writes.
    using Layers = std::vector<std::shared_ptr<DeltaLayer>>;
    [[nodiscard]] std::shared_ptr<const Layers> layers() const;
    void note_key(std::uint64_t hash) noexcept;
    void base_written();

    static constexpr std::size_t kRegisters = 1024;  // of the distinct estimate: about 3 % off

    Kv& kv_;
    EqualityCache& cache_;
    const std::string prefix_;  // with the 'e'
    const std::string statistics_key_;
    std::atomic<std::uint64_t> owner_;
    std::atomic<bool> base_empty_{false};  // nothing under the prefix: searches need not ask the Kv
    std::atomic<std::uint64_t> min_active_{0};

    mutable std::mutex layers_mutex_;
    std::shared_ptr<const Layers> layers_;  // under layers_mutex_
    std::uint64_t base_writes_ = 0;         // under layers_mutex_
    bool cleared_ = false;                  // under layers_mutex_: since the last begin_checkpoint()
    std::shared_ptr<DeltaLayer> active_;    // the applier's; == layers_->back()

    // Of the running checkpoint: how many of layers_ it writes, and the removals that must outlive
    // it.
    std::size_t frozen_count_ = 0;
    std::int64_t frozen_entries_ = 0;
    std::vector<const DeltaLayer::Item*> carried_;

    std::atomic<std::int64_t> entries_{0};
    std::atomic<bool> statistics_changed_{false};  // by a population, which no layer shows
    std::array<std::atomic<std::uint8_t>, kRegisters> registers_{};
};

}  // namespace nornic::engine
