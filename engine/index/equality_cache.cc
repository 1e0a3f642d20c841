#include "engine/index/equality_cache.h"

#include "base/check.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>

namespace nornic::engine {
namespace {

/// Both halves of a 128-bit product, folded: every bit of the input reaches every bit of the
/// result.
std::uint64_t fold(std::uint64_t a, std::uint64_t b) noexcept {
    const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::uint64_t load_tail(const char* p, std::size_t n) noexcept {
    std::uint64_t v = 0;
    if (n > 0) {
        std::memcpy(&v, p, n);
    }
    return v;
}

constexpr std::uint64_t kMixA = 0xD6E8FEB86659FD93ULL;
constexpr std::uint64_t kMixB = 0xC2B2AE3D27D4EB4FULL;
constexpr std::uint64_t kMixC = 0x9E3779B97F4A7C15ULL;

}  // namespace

std::uint64_t hash_index_key(std::uint64_t seed, std::string_view key) noexcept {
    std::uint64_t h = fold(seed ^ kMixA, kMixB ^ key.size());
    const char* p = key.data();
    std::size_t n = key.size();
    while (n >= 16) {
        h = fold(load_tail(p, 8) ^ h ^ kMixC, load_tail(p + 8, 8) ^ kMixA);
        p += 16;
        n -= 16;
    }
    const std::uint64_t first = load_tail(p, std::min<std::size_t>(n, 8));
    const std::uint64_t second = n > 8 ? load_tail(p + 8, n - 8) : 0;
    return fold(fold(first ^ h ^ kMixB, second ^ kMixC) ^ h, kMixA);
}

/// Followed by capacity ids and the key's bytes in one allocation.
struct EqualityCache::Record {
    std::uint64_t owner;
    std::uint16_t key_size;
    std::uint16_t count;
    std::uint16_t capacity;
    std::uint16_t unused;

    static std::size_t bytes_for(std::size_t capacity, std::size_t key_size) noexcept {
        return sizeof(Record) + capacity * sizeof(std::uint64_t) + key_size;
    }
    [[nodiscard]] std::size_t bytes() const noexcept { return bytes_for(capacity, key_size); }
    [[nodiscard]] std::uint64_t* ids() noexcept {
        return reinterpret_cast<std::uint64_t*>(this + 1);
    }
    [[nodiscard]] char* key() noexcept { return reinterpret_cast<char*>(ids() + capacity); }
    [[nodiscard]] bool is(std::uint64_t o, std::string_view k) noexcept {
        return owner == o && std::string_view{key(), key_size} == k;
    }

    static Record* make(std::uint64_t owner, std::string_view key, std::size_t capacity) {
        void* memory = std::malloc(bytes_for(capacity, key.size()));
        NORNIC_CHECK(memory != nullptr, "no memory for an index cache entry");
        auto* record = ::new (memory) Record{owner,
                                             static_cast<std::uint16_t>(key.size()),
                                             0,
                                             static_cast<std::uint16_t>(capacity),
                                             0};
        std::ranges::copy(key, record->key());
        return record;
    }
};

EqualityCache::EqualityCache(std::size_t bytes_max) : bytes_max_{bytes_max} {
    // A typical record with its share of the slots is near 128 bytes.
    constexpr std::size_t kTypicalBytes = 128;
    // At least a set for each stripe: a set belongs to one stripe alone.
    const std::size_t sets =
        std::bit_floor(std::max(bytes_max / (kTypicalBytes * kWays), kStripes));
    set_mask_ = sets - 1;
    sets_ = static_cast<Set*>(std::calloc(sets, sizeof(Set)));
    NORNIC_CHECK(sets_ != nullptr, "no memory for {} sets of the index cache", sets);
    stripes_ = std::make_unique<Stripe[]>(kStripes);
}

EqualityCache::~EqualityCache() {
    for (std::size_t i = 0; i <= set_mask_ && bytes_.load(std::memory_order_relaxed) != 0; ++i) {
        for (Slot& slot : sets_[i].slots) {
            if (slot.record != nullptr) {
                free_record(slot.record);
            }
        }
    }
    std::free(sets_);
}

void EqualityCache::free_record(Record* record) noexcept {
    bytes_.fetch_sub(record->bytes(), std::memory_order_relaxed);
    std::free(record);
}

bool EqualityCache::find(std::uint64_t owner,
                         std::uint64_t hash,
                         std::string_view key,
                         std::vector<std::uint64_t>& out,
                         std::uint64_t& stamp) {
    Stripe& stripe = stripe_of(hash);
    const std::lock_guard lock{stripe.mutex};
    for (Slot& slot : set_of(hash).slots) {
        if (slot.hash == hash && slot.record != nullptr && slot.record->is(owner, key)) {
            const std::uint64_t* ids = slot.record->ids();
            out.insert(out.end(), ids, ids + slot.record->count);
            return true;
        }
    }
    stamp = stripe.adds;
    return false;
}

void EqualityCache::insert(std::uint64_t owner,
                           std::uint64_t hash,
                           std::string_view key,
                           std::span<const std::uint64_t> ids,
                           std::uint64_t stamp) {
    if (ids.size() > kIdsMax || key.size() > kKeyBytesMax) {
        return;
    }
    Stripe& stripe = stripe_of(hash);
    const std::lock_guard lock{stripe.mutex};
    if (stripe.adds != stamp) {
        return;
    }
    Set& set = set_of(hash);
    Slot* place = nullptr;
    for (Slot& slot : set.slots) {
        if (slot.hash == hash && slot.record != nullptr && slot.record->is(owner, key)) {
            return;  // Another search was faster, and complete.
        }
        if (slot.record == nullptr && place == nullptr) {
            place = &slot;
        }
    }
    const std::size_t capacity = std::max<std::size_t>(ids.size(), 1);
    const bool over_budget =
        bytes_.load(std::memory_order_relaxed) + Record::bytes_for(capacity, key.size()) >
        bytes_max_;
    if (place == nullptr || over_budget) {
        Slot& victim = set.slots[stripe.hand++ % kWays];
        if (victim.record != nullptr) {
            free_record(victim.record);
            victim.record = nullptr;
        } else if (over_budget) {
            return;
        }
        place = &victim;
    }
    Record* record = Record::make(owner, key, capacity);
    std::copy(ids.begin(), ids.end(), record->ids());
    record->count = static_cast<std::uint16_t>(ids.size());
    bytes_.fetch_add(record->bytes(), std::memory_order_relaxed);
    *place = Slot{hash, record};
}

void EqualityCache::added(std::uint64_t owner,
                          std::uint64_t hash,
                          std::string_view key,
                          std::uint64_t id) {
    Stripe& stripe = stripe_of(hash);
    const std::lock_guard lock{stripe.mutex};
    ++stripe.adds;
    for (Slot& slot : set_of(hash).slots) {
        if (slot.hash != hash || slot.record == nullptr || !slot.record->is(owner, key)) {
            continue;
        }
        Record* record = slot.record;
        const std::span<std::uint64_t> ids{record->ids(), record->count};
        if (std::ranges::find(ids, id) != ids.end()) {
            return;
        }
        if (record->count < record->capacity) {
            record->ids()[record->count++] = id;
            return;
        }
        Record* larger = nullptr;
        if (record->count < kIdsMax) {
            larger = Record::make(
                owner, key, std::min<std::size_t>(std::size_t{record->capacity} * 2, kIdsMax));
            std::copy(ids.begin(), ids.end(), larger->ids());
            larger->ids()[record->count] = id;
            larger->count = static_cast<std::uint16_t>(record->count + 1);
            bytes_.fetch_add(larger->bytes(), std::memory_order_relaxed);
        }
        free_record(record);
        slot.record = larger;
        return;
    }
}

}  // namespace nornic::engine
