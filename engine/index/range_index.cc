#include "engine/index/range_index.h"

#include "base/bytes.h"
#include "base/check.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace nornic::engine {
namespace {

constexpr std::size_t kIdBytes = 8;
constexpr std::size_t kBulkBatchBytes = std::size_t{1} << 20;
constexpr std::uint8_t kStatisticsVersion = 1;

std::string kv_key(std::string_view prefix, std::string_view key, std::uint64_t id) {
    std::string out;
    out.reserve(prefix.size() + key.size() + kIdBytes);
    out.append(prefix);
    out.append(key);
    ByteWriter{out}.put_be64(id);
    return out;
}

/// The entry behind a key of the Kv. Precondition: it begins with the prefix.
Result<IndexEntry> parse_kv_key(std::string_view prefix, std::string_view stored) {
    if (stored.size() < prefix.size() + kIdBytes) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("a range index entry has {} bytes, at least {} were expected",
                                stored.size(),
                                prefix.size() + kIdBytes));
    }
    stored.remove_prefix(prefix.size());
    ByteReader id{stored.substr(stored.size() - kIdBytes)};
    return IndexEntry{stored.substr(0, stored.size() - kIdBytes), id.get_be64()};
}

int order(const IndexEntry& a, const IndexEntry& b) noexcept {
    if (const int keys = a.key.compare(b.key); keys != 0) {
        return keys;
    }
    return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}

}  // namespace

// ---- Cursor

struct RangeCursor::State {
    /// A layer's items, read a batch at a time.
    struct Source {
        const DeltaLayer* layer;
        std::vector<const DeltaLayer::Item*> items;
        std::size_t taken = 0;
        bool more = true;
    };
    static constexpr std::size_t kFirstBatch = 16;  // most seeks want few
    static constexpr std::size_t kBatch = 256;

    State(std::shared_ptr<const std::vector<std::shared_ptr<DeltaLayer>>> all,
          std::unique_ptr<KvCursor> cursor,
          std::string key_prefix,
          KeyRange keys,
          LogIndex at)
        : layers{std::move(all)},
          base{std::move(cursor)},
          prefix{std::move(key_prefix)},
          range{std::move(keys)},
          snapshot{at.value} {
        for (const auto& layer : *layers) {
            if (layer->size() > 0) {
                sources.push_back(Source{layer.get(), {}, 0, true});
            }
        }
    }

    bool inside(std::string_view key) const noexcept {
        return range.descending ? key >= range.lower : !range.upper || key < *range.upper;
    }

    void fill(Source& source) {
        const DeltaLayer::Item* last = source.items.empty() ? nullptr : source.items.back();
        source.items.resize(last == nullptr ? kFirstBatch : kBatch);
        source.taken = 0;
        std::size_t n = 0;
        if (!range.descending) {
            n = last == nullptr
                    ? source.layer->read_ascending(range.lower, 0, false, source.items)
                    : source.layer->read_ascending(last->key(), last->id, true, source.items);
        } else if (last != nullptr) {
            n = source.layer->read_descending(last->key(), last->id, source.items);
        } else if (range.upper) {
            n = source.layer->read_descending(*range.upper, 0, source.items);
        } else {
            n = source.layer->read_last(source.items);
        }
        source.more = n == source.items.size();
        source.items.resize(n);
        while (!source.items.empty() && !inside(source.items.back()->key())) {
            source.items.pop_back();
            source.more = false;
        }
    }

    const DeltaLayer::Item* head(Source& source) {
        if (source.taken == source.items.size()) {
            if (!source.more) {
                return nullptr;
            }
            fill(source);
            if (source.items.empty()) {
                source.more = false;
                return nullptr;
            }
        }
        return source.items[source.taken];
    }

    /// Puts the Kv cursor on the first entry of the range.
    Result<> start_base() {
        if (!range.descending) {
            base->seek(prefix + range.lower);
            return read_base();
        }
        std::string end = range.upper ? prefix + *range.upper : after_prefix(prefix).value_or("");
        base->seek_back(end);
        if (base->valid() && base->key() >= end) {
            base->previous();
        }
        return read_base();
    }

    /// Sets base_head to what the Kv cursor is on, or drops the cursor at the end.
    Result<> read_base() {
        base_head.reset();
        while (base->valid() && base->key().starts_with(prefix)) {
            NORNIC_TRY(const IndexEntry entry, parse_kv_key(prefix, base->key()));
            if (!inside(entry.key)) {
                break;
            }
            if (range.descending ? range.upper && entry.key >= *range.upper
                                 : entry.key < range.lower) {
                step_base();
                continue;
            }
            base_head = entry;
            return success();
        }
        Result<> status = base->status();
        base.reset();
        return status;
    }

    void step_base() {
        if (range.descending) {
            base->previous();
        } else {
            base->next();
        }
    }

    std::shared_ptr<const std::vector<std::shared_ptr<DeltaLayer>>> layers;
    std::unique_ptr<KvCursor> base;  // nullptr: at its end
    std::string prefix;
    KeyRange range;
    std::uint64_t snapshot;
    std::vector<Source> sources;  // oldest first
    bool started = false;
    std::optional<IndexEntry> base_head;  // its key belongs to the Kv cursor
    std::string copies;                   // keys of the last batch that came from the Kv
};

RangeCursor::RangeCursor(std::unique_ptr<State> state) noexcept : state_{std::move(state)} {}
RangeCursor::~RangeCursor() = default;
RangeCursor::RangeCursor(RangeCursor&&) noexcept = default;
RangeCursor& RangeCursor::operator=(RangeCursor&&) noexcept = default;

Result<std::size_t> RangeCursor::next(std::span<IndexEntry> out) {
    if (state_ == nullptr) {
        return std::size_t{0};
    }
    State& s = *state_;
    if (!s.started) {
        s.started = true;
        if (s.base != nullptr) {
            NORNIC_TRY(s.start_base());
        }
    }
    s.copies.clear();
    // Views into copies_ would dangle while it grows, so they are set at the end.
    std::vector<std::pair<std::size_t, std::size_t>> copied;
    const int forward = s.range.descending ? -1 : 1;
    std::size_t n = 0;
    while (n < out.size()) {
        std::optional<IndexEntry> best = s.base_head;
        const DeltaLayer::Item* newest = nullptr;
        for (State::Source& source : s.sources) {
            const DeltaLayer::Item* item = s.head(source);
            if (item == nullptr) {
                continue;
            }
            const IndexEntry entry{item->key(), item->id};
            const int c = best ? order(entry, *best) * forward : -1;
            if (c <= 0) {
                best = entry;
                newest = item;  // of equal ones the newest layer knows best
            }
        }
        if (!best) {
            break;
        }
        const bool in_base = s.base_head && order(*s.base_head, *best) == 0;
        if (newest == nullptr || newest->visible(s.snapshot)) {
            out[n] = *best;
            if (newest == nullptr) {
                copied.emplace_back(n, s.copies.size());
                s.copies.append(best->key);
            }
            ++n;
        }
        for (State::Source& source : s.sources) {
            if (newest == nullptr) {
                break;
            }
            const DeltaLayer::Item* item = s.head(source);
            if (item != nullptr && (item == newest || order({item->key(), item->id}, *best) == 0)) {
                ++source.taken;
            }
        }
        if (in_base) {
            s.step_base();
            NORNIC_TRY(s.read_base());
        }
    }
    for (const auto& [index, offset] : copied) {
        out[index].key = std::string_view{s.copies}.substr(offset, out[index].key.size());
    }
    return n;
}

// ---- Index

RangeIndex::RangeIndex(Kv& kv, EqualityCache& cache, std::string key_prefix)
    : kv_{kv},
      cache_{cache},
      prefix_{key_prefix + "e"},
      statistics_key_{key_prefix + "s"},
      owner_{cache.new_owner()},
      active_{std::make_shared<DeltaLayer>()} {
    layers_ = std::make_shared<const Layers>(Layers{active_});
}

RangeIndex::~RangeIndex() = default;

Result<> RangeIndex::open() {
    NORNIC_TRY(const std::optional<std::string> statistics, kv_.get(statistics_key_));
    if (statistics) {
        ByteReader reader{*statistics};
        if (reader.get_u8() != kStatisticsVersion) {
            return fail(ErrorCode::kCorruption,
                        "the statistics of a range index have an unknown version");
        }
        entries_.store(static_cast<std::int64_t>(reader.get_u64()), std::memory_order_relaxed);
        for (auto& r : registers_) {
            r.store(reader.get_u8(), std::memory_order_relaxed);
        }
        NORNIC_TRY(reader.finish("the statistics of a range index"));
    }
    const std::unique_ptr<KvCursor> cursor = kv_.new_cursor();
    cursor->seek(prefix_);
    NORNIC_TRY(cursor->status());
    base_empty_.store(!(cursor->valid() && cursor->key().starts_with(prefix_)),
                      std::memory_order_relaxed);
    return success();
}

std::shared_ptr<const RangeIndex::Layers> RangeIndex::layers() const {
    const std::lock_guard lock{layers_mutex_};
    return layers_;
}

void RangeIndex::base_written() {
    const std::lock_guard lock{layers_mutex_};
    ++base_writes_;
    base_empty_.store(false, std::memory_order_release);
}

/// HyperLogLog: each register keeps the longest run of zero bits seen among the hashes it is shown.
void RangeIndex::note_key(std::uint64_t hash) noexcept {
    auto& r = registers_[hash % kRegisters];
    const auto rank = static_cast<std::uint8_t>(std::countl_zero(hash | 1) + 1);
    if (r.load(std::memory_order_relaxed) < rank) {
        r.store(rank, std::memory_order_relaxed);
    }
}

void RangeIndex::add(std::string_view key, std::uint64_t id) {
    if (active_->add(key, id)) {
        entries_.fetch_add(1, std::memory_order_relaxed);
        note_key(hash_index_key(0, key));
    }
    // Last: whoever misses the cache from here on finds the entry in the layer. So does who searches under an owner that is
    // newer than the one read here: bulk_done() came after the entry was in the layer then.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const std::uint64_t owner = owner_.load(std::memory_order_relaxed);
    cache_.added(owner, hash_index_key(owner, key), key, id);
}

void RangeIndex::remove(std::string_view key, std::uint64_t id, LogIndex at) {
    active_->remove(key, id, at.value);
    entries_.fetch_sub(1, std::memory_order_relaxed);
}

Result<> RangeIndex::bulk_add(std::vector<BulkEntry> entries) {
    std::ranges::sort(entries, [](const BulkEntry& a, const BulkEntry& b) {
        return order({a.key, a.id}, {b.key, b.id}) < 0;
    });
    const auto known_layers = layers();
    std::unique_ptr<KvBatch> batch = kv_.new_batch();
    for (const BulkEntry& entry : entries) {
        const bool known = std::ranges::any_of(*known_layers, [&](const auto& layer) {
            return layer->size() > 0 && layer->knows(entry.key, entry.id);
        });
        if (known) {
            continue;
        }
        batch->put(kv_key(prefix_, entry.key, entry.id), {});
        entries_.fetch_add(1, std::memory_order_relaxed);
        note_key(hash_index_key(0, entry.key));
        if (batch->bytes() >= kBulkBatchBytes) {
            NORNIC_TRY(kv_.write(*batch));
            base_written();
            batch = kv_.new_batch();
        }
    }
    NORNIC_TRY(kv_.write(*batch));
    statistics_changed_.store(true, std::memory_order_relaxed);
    if (!entries.empty()) {
        base_written();
    }
    return success();
}

void RangeIndex::bulk_done() {
    owner_.store(cache_.new_owner(), std::memory_order_seq_cst);
}

Result<> RangeIndex::clear() {
    std::uint64_t writes = 0;
    {
        const std::lock_guard lock{layers_mutex_};
        writes = base_writes_;
    }
    const std::unique_ptr<KvCursor> cursor = kv_.new_cursor();
    cursor->seek(prefix_);
    NORNIC_TRY(cursor->status());
    const std::unique_ptr<KvBatch> batch = kv_.new_batch();
    batch->erase(statistics_key_);
    if (cursor->valid() && cursor->key().starts_with(prefix_)) {
        // Only then: every later cursor would step over the mark that a range erase leaves.
        batch->erase_range(prefix_,
                           after_prefix(prefix_).value_or(std::string(prefix_.size() + 1, '\xFF')));
    }
    NORNIC_TRY(kv_.write(*batch));
    {
        // A checkpoint whose rows came after the look above either counted here, or will say so
        // before it drops the layers that still hold them.
        const std::lock_guard lock{layers_mutex_};
        if (base_writes_ == writes) {
            base_empty_.store(true, std::memory_order_release);
        }
        // Rows of a running checkpoint may be among the erased ones.
        cleared_ = true;
    }
    entries_.store(0, std::memory_order_relaxed);
    for (auto& r : registers_) {
        r.store(0, std::memory_order_relaxed);
    }
    statistics_changed_.store(true, std::memory_order_relaxed);
    bulk_done();
    return success();
}

Result<> RangeIndex::seek_equals(std::string_view key, std::vector<std::uint64_t>& out) const {
    const std::uint64_t owner = owner_.load(std::memory_order_acquire);
    const std::uint64_t hash = hash_index_key(owner, key);
    std::uint64_t stamp = 0;
    if (cache_.find(owner, hash, key, out, stamp)) {
        return success();
    }
    // The layers first: what a checkpoint moves from them to the Kv meanwhile is then seen twice,
    // not never.
    const std::shared_ptr<const Layers> all = layers();
    std::vector<std::uint64_t> found;
    if (!base_empty_.load(std::memory_order_acquire)) {
        std::string start = prefix_;
        start.append(key);
        const std::size_t size = start.size() + kIdBytes;
        const std::unique_ptr<KvCursor> cursor = kv_.new_cursor();
        for (cursor->seek(start); cursor->valid() && cursor->key().starts_with(start);
             cursor->next()) {
            if (cursor->key().size() == size) {
                ByteReader id{cursor->key().substr(size - kIdBytes)};
                found.push_back(id.get_be64());
            }
        }
        NORNIC_TRY(cursor->status());
    }
    const std::uint64_t min_active = min_active_.load(std::memory_order_relaxed);
    std::vector<const DeltaLayer::Item*> items;
    std::vector<std::uint64_t> merged;
    for (const auto& layer : *all) {
        if (layer->size() == 0) {
            continue;
        }
        items.clear();
        layer->find(key, items);
        if (items.empty()) {
            continue;
        }
        // Both ascend by id; the layer is the newer word.
        merged.clear();
        auto old = found.begin();
        for (const DeltaLayer::Item* item : items) {
            while (old != found.end() && *old < item->id) {
                merged.push_back(*old++);
            }
            if (old != found.end() && *old == item->id) {
                ++old;
            }
            if (item->visible(min_active)) {
                merged.push_back(item->id);
            }
        }
        merged.insert(merged.end(), old, found.end());
        found.swap(merged);
    }
    cache_.insert(owner, hash, key, found, stamp);
    out.insert(out.end(), found.begin(), found.end());
    return success();
}

Result<RangeCursor> RangeIndex::seek(const KeyRange& range, LogIndex snapshot) const {
    if (range.empty) {
        return RangeCursor{nullptr};
    }
    std::shared_ptr<const Layers> all = layers();
    std::unique_ptr<KvCursor> cursor =
        base_empty_.load(std::memory_order_acquire) ? nullptr : kv_.new_cursor();
    return RangeCursor{std::make_unique<RangeCursor::State>(
        std::move(all), std::move(cursor), prefix_, range, snapshot)};
}

void RangeIndex::begin_checkpoint() {
    NORNIC_CHECK(frozen_count_ == 0, "a checkpoint of the index is running");
    auto next = std::make_shared<Layers>(*layers());
    if (next->back()->size() > 0) {
        active_ = std::make_shared<DeltaLayer>();
        next->push_back(active_);
    }
    frozen_count_ = next->size() - 1;
    frozen_entries_ = entries_.load(std::memory_order_relaxed);
    const std::lock_guard lock{layers_mutex_};
    layers_ = std::move(next);
    cleared_ = false;
}

void RangeIndex::write_checkpoint(KvBatch& batch) {
    const std::uint64_t min_active = min_active_.load(std::memory_order_relaxed);
    const std::shared_ptr<const Layers> all = layers();
    carried_.clear();
    if (frozen_count_ == 0 && !statistics_changed_.exchange(false, std::memory_order_relaxed)) {
        return;
    }
    const std::span frozen = std::span{*all}.first(frozen_count_);
    std::vector<const DeltaLayer::Item*> items(1024);
    for (std::size_t i = 0; i < frozen_count_; ++i) {
        const DeltaLayer& layer = *frozen[i];
        std::size_t n = layer.read_ascending({}, 0, false, items);
        while (n > 0) {
            for (const DeltaLayer::Item* item : std::span{items}.first(n)) {
                // Several layers are frozen only where an earlier checkpoint failed.
                const bool outdated = std::ranges::any_of(
                    frozen.subspan(i + 1),
                    [item](const auto& newer) { return newer->knows(item->key(), item->id); });
                if (outdated) {
                    continue;
                }
                const std::uint64_t removed = item->removed_at.load(std::memory_order_relaxed);
                if (removed == 0) {
                    batch.put(kv_key(prefix_, item->key(), item->id), {});
                } else if (removed <= min_active) {
                    batch.erase(kv_key(prefix_, item->key(), item->id));
                } else {
                    // A snapshot still needs the entry: it stays in the Kv, and its removal in
                    // memory.
                    batch.put(kv_key(prefix_, item->key(), item->id), {});
                    carried_.push_back(item);
                }
            }
            const DeltaLayer::Item* last = items[n - 1];
            n = layer.read_ascending(last->key(), last->id, true, items);
        }
    }
    std::string statistics;
    ByteWriter writer{statistics};
    writer.put_u8(kStatisticsVersion);
    writer.put_u64(static_cast<std::uint64_t>(frozen_entries_));
    for (const auto& r : registers_) {
        writer.put_u8(r.load(std::memory_order_relaxed));
    }
    batch.put(statistics_key_, statistics);
}

void RangeIndex::end_checkpoint(bool written) {
    if (written && frozen_count_ > 0) {
        base_written();
        const std::shared_ptr<const Layers> all = layers();
        const auto first = all->begin() + static_cast<std::ptrdiff_t>(frozen_count_);
        auto rest = std::make_shared<const Layers>(first, all->end());
        for (const DeltaLayer::Item* item : carried_) {
            rest->back()->carry_removal(
                item->key(), item->id, item->removed_at.load(std::memory_order_relaxed));
        }
        // In one step, so that a population after clear() either finds these layers gone or kept: what it
        // leaves out because they know of it must stay in them, and the next checkpoint writes it again.
        const std::lock_guard lock{layers_mutex_};
        if (!cleared_) {
            layers_ = std::move(rest);
        }
    }
    carried_.clear();
    frozen_count_ = 0;
}

std::uint64_t RangeIndex::entries() const noexcept {
    return static_cast<std::uint64_t>(
        std::max<std::int64_t>(entries_.load(std::memory_order_relaxed), 0));
}

std::uint64_t RangeIndex::distinct_values() const {
    // Flajolet, Fusy, Gandouet, Meunier (2007): the harmonic mean of the registers, and the count
    // of empty ones where there are few values.
    constexpr double kCount = kRegisters;
    double sum = 0;
    double empty = 0;
    for (const auto& r : registers_) {
        const unsigned rank = r.load(std::memory_order_relaxed);
        sum += std::ldexp(1.0, -static_cast<int>(rank));
        empty += rank == 0 ? 1 : 0;
    }
    double estimate = 0.7213 / (1 + 1.079 / kCount) * kCount * kCount / sum;
    if (estimate <= 2.5 * kCount && empty > 0) {
        estimate = kCount * std::log(kCount / empty);
    }
    return std::min(static_cast<std::uint64_t>(std::llround(estimate)), entries());
}

std::size_t RangeIndex::memory_bytes() const {
    std::size_t bytes = sizeof *this;
    for (const auto& layer : *layers()) {
        bytes += layer->memory_bytes();
    }
    return bytes;
}

std::size_t RangeIndex::delta_entries() const {
    std::size_t n = 0;
    for (const auto& layer : *layers()) {
        n += layer->size();
    }
    return n;
}

}  // namespace nornic::engine
