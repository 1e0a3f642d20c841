// EqualityCache: index key → the few entities that may hold it, for all range indexes of a process.
//
// Set-associative and bounded: a full set drops its oldest entry. An entry is complete or absent:
// it names every entity that any active snapshot could find under the key, so an empty one means
// "no such entity". RangeIndex tells it of each entry it adds; what is removed may stay, since the
// caller verifies candidates anyway. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

namespace nornic::engine {

/// 64 bits of an index key, stable between runs and machines. Also what LockKey::index_key takes,
/// seeded with the index's id.
std::uint64_t hash_index_key(std::uint64_t seed, std::string_view key) noexcept;

class EqualityCache {
public:
    static constexpr std::size_t kIdsMax = 64;  // an entry with more is not kept
    static constexpr std::size_t kKeyBytesMax = 512;

    explicit EqualityCache(std::size_t bytes_max);
    ~EqualityCache();
    EqualityCache(const EqualityCache&) = delete;
    EqualityCache& operator=(const EqualityCache&) = delete;

    /// A number no other index of this cache has or had. An index takes a new one to forget all.
    std::uint64_t new_owner() noexcept {
        return next_owner_.fetch_add(1, std::memory_order_relaxed);
    }

    /// Appends the ids and returns true on a hit. On a miss `stamp` is what insert() wants.
    bool find(std::uint64_t owner,
              std::uint64_t hash,
              std::string_view key,
              std::vector<std::uint64_t>& out,
              std::uint64_t& stamp);
    /// Keeps what a search found that began after find() gave `stamp`; refused if an entry was
    /// added near this key since, as the search may have missed it.
    void insert(std::uint64_t owner,
                std::uint64_t hash,
                std::string_view key,
                std::span<const std::uint64_t> ids,
                std::uint64_t stamp);
    /// An entry was added; call after it can be found by a search.
    void added(std::uint64_t owner, std::uint64_t hash, std::string_view key, std::uint64_t id);

    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        return bytes_.load(std::memory_order_relaxed);
    }

private:
    static constexpr unsigned kWays = 8;
    static constexpr std::size_t kStripes = 256;
    struct Record;
    struct Slot {
        std::uint64_t hash;
        Record* record;  // nullptr: free
    };
    struct Set {
        Slot slots[kWays];
    };
    struct alignas(64) Stripe {
        std::mutex mutex;
        std::uint64_t adds = 0;
        std::uint32_t hand = 0;
    };
    [[nodiscard]] Set& set_of(std::uint64_t hash) const noexcept {
        return sets_[(hash >> 8) & set_mask_];
    }
    [[nodiscard]] Stripe& stripe_of(std::uint64_t hash) const noexcept {
        return stripes_[(hash >> 8) & (kStripes - 1)];
    }
    void free_record(Record* record) noexcept;

    std::size_t bytes_max_;
    std::size_t set_mask_;
    Set* sets_;  // zero pages until used
    std::unique_ptr<Stripe[]> stripes_;
    std::atomic<std::size_t> bytes_{0};
    std::atomic<std::uint64_t> next_owner_{1};
};

}  // namespace nornic::engine
