// PageStore: the versioned page cache over one kind of record. A page holds 64 slots. Pages are
// found without a lock (a three-level directory per region whose parts never move), and each has a
// small mutex under which slots are read and changed; critical sections only copy pointers out,
// except that a page that is not in memory is read from the Kv under its lock.
//
// Reads may come from any thread; modify() from one at a time (apply). What is dirty stays in
// memory until a checkpoint wrote it; what open snapshots still need stays as well.
#pragma once

#include "base/check.h"
#include "base/ids.h"
#include "base/mutex.h"
#include "base/result.h"
#include "engine/kv.h"
#include "engine/store/keys.h"
#include "engine/store/snapshots.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace nornic::engine {

/// How much memory all page stores of an engine hold together.
struct CacheBudget {
    explicit CacheBudget(std::size_t max) : bytes_max{static_cast<std::int64_t>(max)} {}
    const std::int64_t bytes_max;
    std::atomic<std::int64_t> bytes{0};
    std::atomic<std::int64_t> dirty_bytes{0};  // of pages that wait for a checkpoint
    std::atomic<std::uint64_t> misses{0};
    [[nodiscard]] bool over() const noexcept {
        return bytes.load(std::memory_order_relaxed) > bytes_max;
    }
};

/// The first error met while reading stored pages. Reads have no way to report one, so
/// transactions look here before they believe what they saw.
class StoreFailure {
public:
    void set(const Error& error) EXCLUDES(mutex_) {
        const MutexLock lock{mutex_};
        if (!error_) {
            error_ = error;
            failed_.store(true, std::memory_order_release);
        }
    }
    [[nodiscard]] bool failed() const noexcept { return failed_.load(std::memory_order_relaxed); }
    [[nodiscard]] std::optional<Error> error() const EXCLUDES(mutex_) {
        const MutexLock lock{mutex_};
        return error_;
    }

private:
    mutable Mutex mutex_;
    std::optional<Error> error_ GUARDED_BY(mutex_);
    std::atomic<bool> failed_{false};
};

/// What page stores need of the engine around them.
struct StoreContext {
    Kv& kv;
    CacheBudget& cache;
    Snapshots& snapshots;
    StoreFailure& failure;
};

/// Traits: Slot; kKind; read(Kv&, database, page, slots) → bytes; write(slots, database, page, at,
/// batch); unwritten(slots), called if the batch was not written; trim(slots, oldest) → bytes
/// freed.
template <class Traits>
class PageStore {
public:
    using Slot = typename Traits::Slot;
    using Slots = std::array<Slot, kPageSlots>;

    struct Page {
        Mutex mutex;
        std::unique_ptr<Slots> slots;  // null: not in memory
        std::uint64_t number = 0;
        LogIndex last_change;    // since it came into memory
        std::int64_t bytes = 0;  // about; counted in the budget
        bool dirty = false;      // holds what the Kv does not
        bool referenced = false;
        bool aging = false;  // in aging_
    };

    PageStore(StoreContext context, DatabaseId database) : context_{context}, database_{database} {}
    PageStore(const PageStore&) = delete;
    PageStore& operator=(const PageStore&) = delete;

    /// Pages [0, limit) of a region may hold something.
    [[nodiscard]] std::uint64_t page_limit(std::uint32_t region) const noexcept {
        return regions_[region].limit.load(std::memory_order_acquire);
    }
    /// At opening: what the Kv holds.
    void set_durable_limit(std::uint32_t region, std::uint64_t limit) noexcept {
        regions_[region].limit.store(limit, std::memory_order_release);
        regions_[region].durable_limit.store(limit, std::memory_order_release);
    }

    /// Calls fn(slots) under the page's lock, unless the page is empty or cannot be read.
    template <class Fn>
    void read(std::uint64_t number, Fn&& fn) {
        look(number, true, std::forward<Fn>(fn));
    }
    /// The same for one that goes through all pages: it counts as no use of the page, so that what others use stays in
    /// memory.
    template <class Fn>
    void scan(std::uint64_t number, Fn&& fn) {
        look(number, false, std::forward<Fn>(fn));
    }

    /// Calls fn(slot), which changes it and returns by how many bytes it grew. Makes the page
    /// dirty.
    template <class Fn>
    Result<> modify(std::uint64_t id, LogIndex index, Fn&& fn) {
        Page& page = make(page_of(id));
        bool loaded = false;
        {
            const MutexLock lock{page.mutex};
            if (!page.slots) {
                if (!load(page)) {
                    return context_.failure.error().value();
                }
                loaded = true;
            }
            const std::int64_t grown = fn((*page.slots)[slot_of(id)]);
            page.bytes += grown;
            context_.cache.bytes.fetch_add(grown, std::memory_order_relaxed);
            page.last_change = index;
            page.referenced = true;
            if (page.dirty) {
                context_.cache.dirty_bytes.fetch_add(grown, std::memory_order_relaxed);
            } else {
                page.dirty = true;
                context_.cache.dirty_bytes.fetch_add(page.bytes, std::memory_order_relaxed);
                const MutexLock list_lock{mutex_};
                dirty_.push_back(&page);
            }
        }
        if (loaded && context_.cache.over()) {
            evict(kEvictPages);
        }
        return success();
    }

    // ---- Checkpoints: take_dirty, write each, then written or not_written. One at a time.

    [[nodiscard]] std::vector<Page*> take_dirty() {
        const MutexLock lock{mutex_};
        return std::exchange(dirty_, {});
    }
    /// Encodes the page as of `at`, which an open snapshot protects.
    void write(Page& page, LogIndex at, KvBatch& batch) {
        const MutexLock lock{page.mutex};
        NORNIC_CHECK(page.slots != nullptr && page.dirty, "page={}", page.number);
        Traits::write(*page.slots, database_, page.number, at, batch);
    }
    /// The batch is durable: pages unchanged since `at` are clean now.
    void written(const std::vector<Page*>& pages, LogIndex at) {
        for (Page* page : pages) {
            const MutexLock lock{page->mutex};
            if (page->last_change <= at) {
                page->dirty = false;
                context_.cache.dirty_bytes.fetch_sub(page->bytes, std::memory_order_relaxed);
            }
            const MutexLock list_lock{mutex_};
            if (page->dirty) {
                dirty_.push_back(page);
            }
            if (!page->aging) {
                page->aging = true;
                aging_.push_back(page);
            }
            std::uint64_t number = sequence_of(page->number);
            auto& durable = regions_[region_of(page->number)].durable_limit;
            if (durable.load(std::memory_order_relaxed) <= number) {
                durable.store(number + 1, std::memory_order_release);
            }
        }
    }
    void not_written(const std::vector<Page*>& pages) {
        for (Page* page : pages) {
            const MutexLock lock{page->mutex};
            Traits::unwritten(*page->slots);
            const MutexLock list_lock{mutex_};
            dirty_.push_back(page);
        }
    }

    /// Drops versions that no open snapshot can see from pages written before.
    void collect() {
        std::vector<Page*> pages;
        {
            const MutexLock lock{mutex_};
            pages = std::exchange(aging_, {});
        }
        const LogIndex oldest = context_.snapshots.oldest();
        std::vector<Page*> left;
        for (Page* page : pages) {
            const MutexLock lock{page->mutex};
            if (page->slots) {
                shrink(*page, Traits::trim(*page->slots, oldest));
            }
            if (page->slots && page->last_change > oldest) {
                left.push_back(page);
            } else {
                page->aging = false;
            }
        }
        const MutexLock lock{mutex_};
        aging_.insert(aging_.end(), left.begin(), left.end());
    }

    /// Looks at up to `count` pages (a clock hand over all in memory) and drops those that are
    /// clean, needed by no old snapshot and not used since the hand came by last.
    void evict(std::size_t count) {
        const LogIndex oldest = context_.snapshots.oldest();
        for (std::size_t i = 0; i < count && context_.cache.over(); ++i) {
            Page* page = nullptr;
            {
                const MutexLock lock{mutex_};
                if (resident_.empty()) {
                    return;
                }
                hand_ = hand_ + 1 < resident_.size() ? hand_ + 1 : 0;
                page = resident_[hand_];
            }
            if (!page->mutex.try_lock()) {
                continue;
            }
            drop_if_cold(*page, oldest);
            page->mutex.unlock();
        }
    }
    [[nodiscard]] std::size_t resident_pages() {
        const MutexLock lock{mutex_};
        return resident_.size();
    }

private:
    static constexpr std::size_t kFan = 1024;
    static constexpr std::size_t kEvictPages = 8;
    struct Leaf {
        std::array<Page, kFan> pages;
    };
    struct Middle {
        std::array<std::atomic<Leaf*>, kFan> leaves{};
    };
    struct Top {
        std::array<std::atomic<Middle*>, kFan> middles{};
    };
    struct Region {
        std::atomic<Top*> top{nullptr};
        std::atomic<std::uint64_t> limit{0};
        std::atomic<std::uint64_t> durable_limit{0};
    };

public:
    /// Sequence numbers from here on have no place in the directory.
    static constexpr std::uint64_t kSequenceMax = std::uint64_t{kFan} * kFan * kFan * kPageSlots;

private:
    template <class Fn>
    void look(std::uint64_t number, bool is_use, Fn&& fn) {
        Page* page = find(number);
        if (page == nullptr) {
            return;
        }
        bool loaded = false;
        {
            const MutexLock lock{page->mutex};
            if (!page->slots) {
                if (!load(*page)) {
                    return;
                }
                loaded = true;
            }
            page->referenced = page->referenced || is_use;
            fn(static_cast<const Slots&>(*page->slots));
        }
        if (loaded && context_.cache.over()) {
            evict(kEvictPages);
        }
    }

    Page* find(std::uint64_t number) {
        const std::uint64_t at = sequence_of(number);
        if (at >= page_limit(region_of(number))) {
            return nullptr;
        }
        Region& region = regions_[region_of(number)];
        if (Top* top = region.top.load(std::memory_order_acquire)) {
            if (Middle* middle = top->middles[at / (kFan * kFan)].load(std::memory_order_acquire)) {
                if (Leaf* leaf = middle->leaves[at / kFan % kFan].load(std::memory_order_acquire)) {
                    return &leaf->pages[at % kFan];
                }
            }
        }
        return &make(number);
    }

    Page& make(std::uint64_t number) {
        const std::uint64_t at = sequence_of(number);
        NORNIC_CHECK(at < kSequenceMax / kPageSlots, "page={}", number);
        Region& region = regions_[region_of(number)];
        if (at >= region.limit.load(std::memory_order_relaxed)) {
            region.limit.store(at + 1, std::memory_order_release);
        }
        Top* top = region.top.load(std::memory_order_acquire);
        Middle* middle =
            top ? top->middles[at / (kFan * kFan)].load(std::memory_order_acquire) : nullptr;
        Leaf* leaf =
            middle ? middle->leaves[at / kFan % kFan].load(std::memory_order_acquire) : nullptr;
        if (leaf == nullptr) {
            leaf = make_leaf(region, region_of(number), at);
        }
        return leaf->pages[at % kFan];
    }

    Leaf* make_leaf(Region& region, std::uint32_t region_number, std::uint64_t at)
        EXCLUDES(directory_mutex_) {
        const MutexLock lock{directory_mutex_};
        Top* top = region.top.load(std::memory_order_relaxed);
        if (top == nullptr) {
            top = tops_.emplace_back(std::make_unique<Top>()).get();
            region.top.store(top, std::memory_order_release);
        }
        auto& middle_at = top->middles[at / (kFan * kFan)];
        Middle* middle = middle_at.load(std::memory_order_relaxed);
        if (middle == nullptr) {
            middle = middles_.emplace_back(std::make_unique<Middle>()).get();
            middle_at.store(middle, std::memory_order_release);
        }
        auto& leaf_at = middle->leaves[at / kFan % kFan];
        Leaf* leaf = leaf_at.load(std::memory_order_relaxed);
        if (leaf == nullptr) {
            leaf = leaves_.emplace_back(std::make_unique<Leaf>()).get();
            for (std::size_t i = 0; i < kFan; ++i) {
                leaf->pages[i].number = id_of(at / kFan * kFan + i, region_number);
            }
            leaf_at.store(leaf, std::memory_order_release);
        }
        return leaf;
    }

    /// Under the page's lock.
    bool load(Page& page) {
        auto slots = std::make_unique<Slots>();
        std::int64_t bytes = sizeof(Slots) + 16;
        const Region& region = regions_[region_of(page.number)];
        if (sequence_of(page.number) < region.durable_limit.load(std::memory_order_acquire)) {
            context_.cache.misses.fetch_add(1, std::memory_order_relaxed);
            Result<std::int64_t> read = Traits::read(context_.kv, database_, page.number, *slots);
            if (!read) {
                context_.failure.set(read.error());
                return false;
            }
            bytes += read.value();
        }
        page.slots = std::move(slots);
        page.bytes = bytes;
        page.last_change = LogIndex{};
        context_.cache.bytes.fetch_add(bytes, std::memory_order_relaxed);
        const MutexLock lock{mutex_};
        resident_.push_back(&page);
        return true;
    }

    /// Under the page's lock (which the hand got by trying).
    void drop_if_cold(Page& page, LogIndex oldest) {
        if (!page.slots || page.dirty || page.last_change > oldest) {
            return;
        }
        if (page.referenced) {
            page.referenced = false;
            return;
        }
        {
            const MutexLock lock{mutex_};
            // The hand moves under other threads too, so look for the page where it most likely is.
            if (hand_ >= resident_.size() || resident_[hand_] != &page) {
                return;
            }
            resident_[hand_] = resident_.back();
            resident_.pop_back();
        }
        page.slots.reset();
        context_.cache.bytes.fetch_sub(std::exchange(page.bytes, 0), std::memory_order_relaxed);
    }

    void shrink(Page& page, std::int64_t bytes) {
        page.bytes -= bytes;
        context_.cache.bytes.fetch_sub(bytes, std::memory_order_relaxed);
        if (page.dirty) {
            context_.cache.dirty_bytes.fetch_sub(bytes, std::memory_order_relaxed);
        }
    }

    const StoreContext context_;
    const DatabaseId database_;
    std::array<Region, kRegions> regions_;

    Mutex directory_mutex_;
    std::vector<std::unique_ptr<Top>> tops_ GUARDED_BY(directory_mutex_);
    std::vector<std::unique_ptr<Middle>> middles_ GUARDED_BY(directory_mutex_);
    std::vector<std::unique_ptr<Leaf>> leaves_ GUARDED_BY(directory_mutex_);

    // Taken inside a page's lock, never around one.
    Mutex mutex_;
    std::vector<Page*> dirty_ GUARDED_BY(mutex_);
    std::vector<Page*> aging_ GUARDED_BY(mutex_);  // may hold versions that nobody needs any more
    std::vector<Page*> resident_ GUARDED_BY(mutex_);
    std::size_t hand_ GUARDED_BY(mutex_) = 0;
};

}  // namespace nornic::engine
