// DeltaLayer: the entries of a range index that one stretch of the log added or removed, ordered.
//
// A B+ tree of pointers to items that never move and are never freed before the layer, so a reader
// may keep them; the first 16 bytes of a key stand in the tree itself. One lock: inserts take it
// alone, readers share it for a batch of items. A frozen layer is not written any more.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <shared_mutex>
#include <span>
#include <string_view>
#include <vector>

namespace nornic::engine {

class DeltaLayer {
public:
    /// An entry and what became of it. Its key's bytes follow it in memory.
    struct Item {
        std::uint64_t id;
        /// 0: it is there. Else the log index that removed it: snapshots from there on miss it.
        std::atomic<std::uint64_t> removed_at;
        std::uint32_t key_size;
        [[nodiscard]] std::string_view key() const noexcept {
            return {reinterpret_cast<const char*>(this + 1), key_size};
        }
        [[nodiscard]] bool visible(std::uint64_t snapshot) const noexcept {
            const std::uint64_t removed = removed_at.load(std::memory_order_relaxed);
            return removed == 0 || removed > snapshot;
        }
    };

    DeltaLayer();
    ~DeltaLayer();
    DeltaLayer(const DeltaLayer&) = delete;
    DeltaLayer& operator=(const DeltaLayer&) = delete;

    /// Present from now on. Whether that is news to this layer.
    bool add(std::string_view key, std::uint64_t id);
    /// Removed at `at`.
    void remove(std::string_view key, std::uint64_t id, std::uint64_t at);
    /// Removed at `at`, unless this layer knows of the entry.
    void carry_removal(std::string_view key, std::uint64_t id, std::uint64_t at);
    [[nodiscard]] bool knows(std::string_view key, std::uint64_t id) const;

    /// Up to out.size() items in ascending order from (key, id) on, or, where `after`, behind it.
    std::size_t read_ascending(std::string_view key,
                               std::uint64_t id,
                               bool after,
                               std::span<const Item*> out) const;
    /// Up to out.size() items in descending order, all before (key, id).
    std::size_t read_descending(std::string_view key,
                                std::uint64_t id,
                                std::span<const Item*> out) const;
    /// The same from the end.
    std::size_t read_last(std::span<const Item*> out) const;
    /// Appends the items with exactly this key.
    void find(std::string_view key, std::vector<const Item*>& out) const;

    [[nodiscard]] std::size_t size() const noexcept {
        return size_.load(std::memory_order_relaxed);
    }
    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        return bytes_.load(std::memory_order_relaxed);
    }

private:
    struct Node;
    struct Leaf;
    struct Inner;
    struct Position;
    /// The first 16 bytes of the key, big-endian: most comparisons end here.
    struct Head {
        std::uint64_t high = 0;
        std::uint64_t low = 0;
        auto operator<=>(const Head&) const = default;
    };
    struct Probe {
        Head head;
        std::string_view key;
        std::uint64_t id;
    };
    /// A place in a tree node: smaller than what it points to.
    struct Ref {
        Head head;
        Item* item = nullptr;
    };
    static constexpr unsigned kFanout = 32;
    static constexpr unsigned kLevelsMax = 16;

    static Probe probe(std::string_view key, std::uint64_t id) noexcept;
    static int order(const Ref& ref, const Probe& p) noexcept;
    [[nodiscard]] static unsigned lower_bound(const Ref* refs,
                                              unsigned count,
                                              const Probe& p) noexcept;
    [[nodiscard]] static unsigned child_of(const Inner& node, const Probe& p) noexcept;
    [[nodiscard]] const Leaf* leaf_of(const Probe& p) const noexcept;
    /// The item, made if it is missing; second: whether it was made.
    std::pair<Item*, bool> item_of(const Probe& p);
    [[nodiscard]] const Item* lookup(const Probe& p) const noexcept;
    void insert(Leaf& leaf,
                unsigned at,
                const Ref& ref,
                std::span<Inner*> path,
                std::span<const unsigned> turns);
    Item* make_item(const Probe& p);
    template <class T>
    T* make_node();

    mutable std::shared_mutex mutex_;
    Node* root_;
    unsigned levels_ = 0;  // of inner nodes above the leaves
    Leaf* last_leaf_;
    std::vector<std::unique_ptr<std::byte[]>> blocks_;
    std::byte* free_ = nullptr;
    std::size_t free_bytes_ = 0;
    std::size_t next_block_bytes_;
    std::vector<Leaf*> leaves_;
    std::vector<Inner*> inners_;
    std::atomic<std::size_t> size_{0};
    std::atomic<std::size_t> bytes_{0};
};

}  // namespace nornic::engine
