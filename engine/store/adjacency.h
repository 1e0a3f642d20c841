// The relationships at a node, in the order in which they were created, and pages of 64 such lists.
//
// Entries carry no log index of their own. Since they are only appended, "what snapshot S saw" is a
// prefix, and a short list of marks says how long it was; what was removed stays as a tombstone
// while somebody may need it. Without marks and tombstones, which is the rule, a list is just read.
#pragma once

#include "engine/graph_reader.h"
#include "engine/store/page_store.h"

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace nornic::engine {

struct AdjacencyEntry {
    static constexpr std::uint32_t kOutgoing = 1;
    static constexpr std::uint32_t kIncoming = 2;  // both: a relationship from the node to itself

    RelId relationship;
    NodeId other;
    RelTypeId type;
    std::uint32_t direction = 0;
};
static_assert(sizeof(AdjacencyEntry) == 24);

constexpr std::uint32_t direction_mask(Direction direction) noexcept {
    switch (direction) {
        case Direction::kOutgoing:
            return AdjacencyEntry::kOutgoing;
        case Direction::kIncoming:
            return AdjacencyEntry::kIncoming;
        case Direction::kBoth:
            return AdjacencyEntry::kOutgoing | AdjacencyEntry::kIncoming;
    }
    return 0;
}

class Adjacency {
public:
    // All under the page's lock. Changes return by how many bytes the list grew.

    std::int64_t add(const AdjacencyEntry& entry, LogIndex at, LogIndex oldest);
    /// Removes those of `relationships` (sorted) that are here.
    std::int64_t remove(std::span<const RelId> relationships, LogIndex at, LogIndex oldest);
    /// Drops history that no snapshot at `oldest` or later needs.
    std::int64_t trim(LogIndex oldest);

    /// Calls fn(entry) for what `snapshot` sees.
    template <class Fn>
    void visit(LogIndex snapshot, Fn&& fn) const {
        for (const AdjacencyEntry& entry : visible_prefix(snapshot)) {
            fn(entry);
        }
        if (!history_) {
            return;
        }
        for (const Tombstone& stone : history_->tombstones) {
            if (stone.created <= snapshot && snapshot < stone.deleted) {
                fn(stone.entry);
            }
        }
    }
    /// Whether anything was added or removed after `snapshot`.
    [[nodiscard]] bool changed_since(LogIndex snapshot) const noexcept;
    [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
    [[nodiscard]] std::span<const AdjacencyEntry> newest() const noexcept { return entries_; }

private:
    friend struct AdjacencyTraits;
    struct Mark {
        LogIndex created;  // entries from `before` on were added at this index or later
        std::size_t before = 0;
    };
    struct Tombstone {
        AdjacencyEntry entry;
        LogIndex created;
        LogIndex deleted;
    };
    struct History {
        std::vector<Mark> marks;            // ascending
        std::vector<Tombstone> tombstones;  // by `deleted`, ascending
        LogIndex last_change;               // of what is in here
    };

    [[nodiscard]] std::span<const AdjacencyEntry> visible_prefix(LogIndex snapshot) const noexcept;
    History& history();
    void trim_history(LogIndex oldest);
    /// Moves the newest mark into the history, if somebody may need it.
    void put_mark_away(LogIndex oldest);
    [[nodiscard]] std::int64_t bytes() const noexcept;

    std::vector<AdjacencyEntry> entries_;
    std::unique_ptr<History> history_;
    // The newest mark stands here, so that a list that only grows, one transaction after the other,
    // needs no history on the heap.
    LogIndex last_added_;
    std::uint32_t added_before_ = 0;
    std::uint32_t durable_entries_ = 0;  // so many at the front are in the Kv as they are here
    std::uint32_t durable_chunks_ = 0;   // chunk records of this node in the Kv
    std::uint32_t previous_chunks_ = 0;  // the same before the write that is under way
};

/// Stored: format byte, then for each list that is not empty its slot, its length and its entries;
/// a list longer than kInlineMax has the number of its chunks there and the entries in records of
/// their own, of which a checkpoint rewrites only those that changed.
struct AdjacencyTraits {
    using Slot = Adjacency;
    using Slots = std::array<Slot, kPageSlots>;
    static constexpr std::uint8_t kFormat = 1;
#ifdef NORNIC_TINY
    static constexpr std::size_t kInlineMax = 2;
    static constexpr std::size_t kChunkEntries = 3;
#else
    static constexpr std::size_t kInlineMax = 128;
    static constexpr std::size_t kChunkEntries = 1024;
#endif

    static Result<std::int64_t> read(Kv& kv, DatabaseId database, std::uint64_t page, Slots& slots);
    static void write(
        Slots& slots, DatabaseId database, std::uint64_t page, LogIndex at, KvBatch& batch);
    static void unwritten(Slots& slots);
    static std::int64_t trim(Slots& slots, LogIndex oldest);
};

using AdjacencyStore = PageStore<AdjacencyTraits>;

}  // namespace nornic::engine
