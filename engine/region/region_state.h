// RegionStore: what this member's state holds about regions beside the graph: RegionState, stamps of small things (catalogue
// rows and rules), and, by time, what was deleted or is awaited, so that the watermark can let go of it.
//
// Threads: state() and self() from any; everything else only while nothing is applied, or by apply itself.
#pragma once

#include "base/ids.h"
#include "base/mutex.h"
#include "base/result.h"
#include "engine/kv.h"
#include "engine/region.h"
#include "engine/region/rows.h"
#include "engine/region/stamps.h"
#include "engine/schema.h"
#include "graph/value.h"

#include <atomic>
#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nornic::engine {

/// Something that is not visible and still remembered.
struct Remains {
    std::uint64_t time = 0;  // of the latest write that concerns it
    DatabaseId database;
    EntityKind entity = EntityKind::kNode;
    std::uint64_t id = 0;
    auto operator<=>(const Remains&) const = default;
};

/// What small_stamps() calls a row of the catalogue, and an index or constraint.
std::string small_catalog(std::string_view key);
std::string small_rule(DatabaseId database, SchemaRuleId id);

class RegionStore {
public:
    explicit RegionStore(Kv& kv);

    [[nodiscard]] std::shared_ptr<const RegionState> state() const EXCLUDES(mutex_);
    /// RegionState.self; 0: no region yet.
    [[nodiscard]] RegionNumber self() const noexcept { return self_.load(std::memory_order_acquire); }

    void set_state(RegionState next) EXCLUDES(mutex_);

    // Small things by name; also those that are gone, until their stamp expires.
    [[nodiscard]] Stamp small(const std::string& name) const;
    void set_small(const std::string& name, const Stamp& stamp);
    [[nodiscard]] const std::map<std::string, Stamp>& small_stamps() const noexcept { return small_; }
    void forget_small(std::uint64_t watermark);

    void remember(const Remains& remains);
    void forget(const Remains& remains);
    /// The oldest that are not younger than the watermark, so many at most; they stay.
    Result<std::vector<Remains>> expired(std::uint64_t watermark, std::size_t max);
    [[nodiscard]] std::uint64_t remains_count() const noexcept { return remains_count_; }

    // Metadata of transactions, by the stamps of their writes: of the newest ones, until they expire.
    void note_metadata(const Stamp& stamp, const Value& metadata);
    [[nodiscard]] Value metadata(const Stamp& stamp) const;

    // A region's writes may come before those of a third one that it had seen: what meets those is no conflict.
    /// `region`'s write of `time` was made with all of `other` up to `seen`, which is not all here.
    void note_ahead(RegionNumber region, std::uint64_t time, RegionNumber other, std::uint64_t seen);
    /// Whether `region`, writing at `time`, had seen what `other` wrote at `other_time`, which comes here only now.
    [[nodiscard]] bool knew(RegionNumber region, std::uint64_t time, RegionNumber other, std::uint64_t other_time) const;
    /// All of `other` up to `time` is here.
    void caught_up(RegionNumber other, std::uint64_t time);

    /// Relationships that were created before this node.
    void wait(DatabaseId database, NodeId node, RelId relationship);
    /// They wait no longer.
    Result<std::vector<RelId>> take_waiting(DatabaseId database, NodeId node);

    /// At opening.
    Result<> load();
    // ---- Checkpoint as of F: begin (by the applier, when exactly F is applied), write, end (between two applies).
    void begin_checkpoint();
    void write_checkpoint(KvBatch& batch) const;
    void end_checkpoint(bool written);

private:
    mutable Mutex mutex_;
    std::shared_ptr<const RegionState> state_ GUARDED_BY(mutex_);
    std::atomic<RegionNumber> self_{0};
    Kv& kv_;
    std::map<std::string, Stamp> small_;
    struct Ahead {
        std::uint64_t time = 0;
        std::uint64_t seen = 0;
    };
    static constexpr std::size_t kAheadMax = 1024;  // of a pair; beyond it some are taken for conflicts that are none
    std::map<std::pair<RegionNumber, RegionNumber>, std::vector<Ahead>> ahead_;  // by writer and seen; both ascend
    static constexpr std::size_t kMetadataMax = 1000;
    std::map<std::pair<std::uint64_t, RegionNumber>, Value> metadata_;  // by time
    bool changed_ = false;  // state_, small_, ahead_ or metadata_
    std::string writing_;   // they, of the checkpoint that is under way; empty: they had not changed
    RowSet remains_;
    RowSet waiting_;
    std::uint64_t remains_count_ = 0;
    std::string oldest_;  // no key of remains_ is before it
};

}  // namespace nornic::engine
