// What a transaction has changed and not committed, in the forms that reading it back needs.
#pragma once

#include "engine/database.h"
#include "engine/graph_reader.h"
#include "engine/store/keys.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace nornic::engine {

/// Data that may be changed in place: nobody outside holds it. Else a copy takes its place, since
/// records that were given out never change.
template <class Data>
Data& writable(std::shared_ptr<Data>& data) {
    if (data.use_count() > 1) {
        data = std::make_shared<Data>(*data);
    } else {
        std::atomic_thread_fence(std::memory_order_acquire);
    }
    return *data;
}

/// Entities made by this transaction, in order. Their ids come from few contiguous stretches, so
/// finding one is a short search instead of a hash table that a bulk load would have to fill.
template <class Data>
class CreatedList {
public:
    struct Item {
        std::shared_ptr<Data> data;
        bool deleted = false;
    };

    /// Draws the next id. Few at first, so that small transactions leave no holes.
    std::uint64_t draw(IdSource& source, std::uint32_t region) {
        if (next_ == end_) {
            const std::uint64_t count = std::clamp<std::uint64_t>(items_.size(), 1, kDrawMax);
            const std::uint64_t from = source.draw(count);
            if (stretches_.empty() || from != end_) {
                stretches_.push_back(Stretch{from, items_.size()});
            }
            next_ = from;
            end_ = from + count;
        }
        if (items_.empty()) {
            region_ = region;  // of all of them: the group may become a region meanwhile
        }
        return id_of(next_, region_);
    }
    /// Adds the entity with the id that draw() gave.
    void add(std::shared_ptr<Data> data) {
        items_.push_back(Item{std::move(data), false});
        ++next_;
    }
    Item* find(std::uint64_t id) noexcept {
        if (items_.empty() || region_of(id) != region_) {
            return nullptr;
        }
        const std::uint64_t sequence = sequence_of(id);
        auto after = std::upper_bound(
            stretches_.begin(), stretches_.end(), sequence, [](auto s, const Stretch& stretch) {
                return s < stretch.first;
            });
        if (after == stretches_.begin()) {
            return nullptr;
        }
        const std::size_t limit = after == stretches_.end() ? items_.size() : after->index;
        --after;
        const std::uint64_t index = after->index + (sequence - after->first);
        return index < limit ? &items_[index] : nullptr;
    }
    [[nodiscard]] const Item* find(std::uint64_t id) const noexcept {
        return const_cast<CreatedList*>(this)->find(id);
    }
    [[nodiscard]] std::uint64_t id_at(std::size_t index) const noexcept {
        auto after = std::upper_bound(
            stretches_.begin(), stretches_.end(), index, [](auto i, const Stretch& stretch) {
                return i < stretch.index;
            });
        --after;
        return id_of(after->first + (index - after->index), region_);
    }
    Item& at(std::size_t index) noexcept { return items_[index]; }
    [[nodiscard]] const Item& at(std::size_t index) const noexcept { return items_[index]; }
    [[nodiscard]] std::size_t size() const noexcept { return items_.size(); }
    [[nodiscard]] bool empty() const noexcept { return items_.empty(); }
    /// Calls fn(id, item) in order of creation.
    template <class Fn>
    void each(Fn&& fn) const {
        for (std::size_t s = 0; s < stretches_.size(); ++s) {
            const std::size_t limit =
                s + 1 < stretches_.size() ? stretches_[s + 1].index : items_.size();
            for (std::size_t i = stretches_[s].index; i < limit; ++i) {
                fn(id_of(stretches_[s].first + (i - stretches_[s].index), region_), items_[i]);
            }
        }
    }
    /// Numbers drawn and not used go back, so that small transactions leave no holes.
    void release_unused(IdSource& source) {
        source.give_back(next_, end_);
        next_ = end_ = 0;
    }
    void clear(IdSource& source) {
        release_unused(source);
        *this = {};
    }

private:
    static constexpr std::uint64_t kDrawMax = 1024;
    struct Stretch {
        std::uint64_t first = 0;  // sequence number
        std::size_t index = 0;    // of its item
    };
    std::vector<Item> items_;
    std::vector<Stretch> stretches_;
    std::uint64_t next_ = 0;
    std::uint64_t end_ = 0;
    std::uint32_t region_ = 0;
};

/// A committed entity that this transaction changed or deleted.
template <class Data>
struct Change {
    std::shared_ptr<const Data> base;  // as the snapshot has it
    std::shared_ptr<Data> data;
    std::vector<PropertyKeyId> keys;  // properties set or removed
    std::size_t began = 0;            // place in the log of changes
    bool deleted = false;

    void touched(PropertyKeyId key) {
        if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
            keys.push_back(key);
        }
    }
};

/// How far a lazily built view has followed the changes.
struct Followed {
    std::size_t created = 0;
    std::size_t changed = 0;
};

/// The transaction's own nodes that carry, or carried, a label: candidates.
struct OwnLabelled {
    Followed followed;
    std::vector<std::uint64_t> ids;  // sorted, unique
};

/// The same for an index: (key, id) candidates in key order.
struct OwnIndexEntries {
    Followed followed;
    std::set<std::pair<std::string, std::uint64_t>> entries;
};

}  // namespace nornic::engine
