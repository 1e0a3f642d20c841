#include "engine/index/label_index.h"

#include "base/bytes.h"
#include "base/check.h"

#include <algorithm>
#include <bit>

namespace nornic::engine {
namespace {

constexpr std::uint64_t kChunkEntities = 4096;
constexpr std::uint64_t kPagesPerChunk = kChunkEntities / 64;

// Stored chunks: few bits as a list of 16-bit places, many as the bitmap.
enum class ChunkForm : std::uint8_t { kPlaces = 0, kBitmap = 1 };
constexpr int kPlacesMax = 200;

struct Place {
    std::uint32_t region;
    std::uint64_t chunk;
    unsigned word;
    std::uint64_t bit;
};

Place place_of(std::uint64_t entity) noexcept {
    const std::uint64_t sequence = entity >> kRegionBits;
    return {static_cast<std::uint32_t>(entity & ((1U << kRegionBits) - 1)),
            sequence / kChunkEntities,
            static_cast<unsigned>(sequence / 64 % kPagesPerChunk),
            std::uint64_t{1} << (sequence % 64)};
}

}  // namespace

/// Numbers to pointers, for dense numbers: buckets that double in size and never move, so readers
/// need no lock. Whoever adds does so under a lock of its own.
template <class T>
class LabelIndex::Directory {
public:
    Directory() = default;
    ~Directory() {
        for (auto& bucket : buckets_) {
            delete[] bucket.load(std::memory_order_relaxed);
        }
    }
    Directory(const Directory&) = delete;
    Directory& operator=(const Directory&) = delete;

    [[nodiscard]] T* find(std::uint64_t number) const noexcept {
        const unsigned bucket = bucket_of(number);
        const std::atomic<T*>* slots = buckets_[bucket].load(std::memory_order_acquire);
        return slots == nullptr ? nullptr
                                : slots[number + 1 - (std::uint64_t{1} << bucket)].load(
                                      std::memory_order_acquire);
    }
    void put(std::uint64_t number, T* value) {
        const unsigned bucket = bucket_of(number);
        NORNIC_CHECK(bucket < kBuckets, "number {} of a dense row", number);
        std::atomic<T*>* slots = buckets_[bucket].load(std::memory_order_relaxed);
        if (slots == nullptr) {
            slots = new std::atomic<T*>[std::uint64_t{1} << bucket]();
            buckets_[bucket].store(slots, std::memory_order_release);
        }
        slots[number + 1 - (std::uint64_t{1} << bucket)].store(value, std::memory_order_release);
    }

private:
    static unsigned bucket_of(std::uint64_t number) noexcept {
        return static_cast<unsigned>(std::bit_width(number + 1) - 1);
    }
    std::array<std::atomic<std::atomic<T*>*>, kBuckets + 24> buckets_{};
};

struct LabelIndex::Chunk {
    std::array<std::atomic<std::uint64_t>, kChunkWords> words{};
    std::uint64_t number = 0;
    std::uint32_t token = 0;
    std::uint32_t region = 0;
    std::atomic<bool> dirty{false};
};

struct LabelIndex::Region {
    Directory<Chunk> chunks;
    std::atomic<std::uint64_t> end{0};  // one past the highest chunk in memory
    std::uint64_t kv_end = 0;  // one past the highest chunk of the Kv when the token was first used
    std::vector<std::unique_ptr<Chunk>> owned;  // under load_mutex_
    /// Stands for "looked for and not there".
    Chunk absent;
};

struct LabelIndex::Token {
    std::uint32_t number = 0;
    std::array<std::atomic<Region*>, kRegions> regions{};
    std::vector<std::unique_ptr<Region>> owned;  // under load_mutex_
};

LabelIndex::LabelIndex(Kv& kv, std::string key_prefix)
    : kv_{kv}, prefix_{std::move(key_prefix)}, tokens_{std::make_unique<Directory<Token>>()} {}

LabelIndex::~LabelIndex() = default;

std::string LabelIndex::chunk_key(std::uint32_t token,
                                  std::uint32_t region,
                                  std::uint64_t chunk) const {
    std::string key = prefix_;
    ByteWriter writer{key};
    writer.put_be32(token);
    writer.put_u8(static_cast<std::uint8_t>(region));
    writer.put_be64(chunk);
    return key;
}

// ---- Finding chunks

LabelIndex::Region& LabelIndex::region_of(Token& token, std::uint32_t region) {
    if (Region* found = token.regions[region].load(std::memory_order_acquire); found != nullptr) {
        return *found;
    }
    auto made = std::make_unique<Region>();
    Region& result = *made;
    token.owned.push_back(std::move(made));
    token.regions[region].store(&result, std::memory_order_release);
    return result;
}

/// Steps from the last chunk of each region to the last of the one before: a seek a region.
Result<> LabelIndex::find_bounds(Token& token) {
    const std::string first = chunk_key(token.number, 0, 0);
    const std::string token_prefix = first.substr(0, prefix_.size() + sizeof token.number);
    const std::unique_ptr<KvCursor> cursor = kv_.new_cursor();
    cursor->seek_back(chunk_key(token.number, kRegions - 1, UINT64_MAX));
    while (cursor->valid() && cursor->key().starts_with(token_prefix)) {
        if (cursor->key().size() != first.size()) {
            return fail(
                ErrorCode::kCorruption,
                fmt::format("a label chunk of token {} has a key of {} bytes, {} were expected",
                            token.number,
                            cursor->key().size(),
                            first.size()));
        }
        ByteReader reader{cursor->key().substr(token_prefix.size())};
        const std::uint32_t region = reader.get_u8();
        const std::uint64_t chunk = reader.get_be64();
        if (region >= kRegions || chunk > (std::uint64_t{1} << 53) / kChunkEntities) {
            return fail(ErrorCode::kCorruption,
                        fmt::format("a label chunk of token {} names region {}, chunk {}",
                                    token.number,
                                    region,
                                    chunk));
        }
        region_of(token, region).kv_end = chunk + 1;
        if (region == 0) {
            break;
        }
        cursor->seek_back(chunk_key(token.number, region - 1, UINT64_MAX));
    }
    return cursor->status();
}

Result<LabelIndex::Token*> LabelIndex::token_of(std::uint32_t token) {
    Token* found =
        token == kEveryEntity ? every_.load(std::memory_order_acquire) : tokens_->find(token);
    if (found != nullptr) {
        return found;
    }
    const std::lock_guard lock{load_mutex_};
    found = token == kEveryEntity ? every_.load(std::memory_order_acquire) : tokens_->find(token);
    if (found != nullptr) {
        return found;
    }
    auto made = std::make_unique<Token>();
    made->number = token;
    NORNIC_TRY(find_bounds(*made));
    found = made.get();
    memory_bytes_.fetch_add(sizeof(Token), std::memory_order_relaxed);
    owned_.push_back(std::move(made));
    if (token == kEveryEntity) {
        every_.store(found, std::memory_order_release);
    } else {
        tokens_->put(token, found);
    }
    return found;
}

LabelIndex::Chunk& LabelIndex::add_chunk(Token& token, Region& region, std::uint64_t chunk) {
    auto made = std::make_unique<Chunk>();
    Chunk& result = *made;
    result.number = chunk;
    result.token = token.number;
    for (std::uint32_t r = 0; r < kRegions; ++r) {
        if (token.regions[r].load(std::memory_order_relaxed) == &region) {
            result.region = r;
        }
    }
    region.owned.push_back(std::move(made));
    memory_bytes_.fetch_add(sizeof(Chunk), std::memory_order_relaxed);
    return result;
}

Result<> LabelIndex::load_chunks(Token& token,
                                 Region& region,
                                 std::uint64_t first,
                                 std::uint64_t end) {
    std::uint32_t number = 0;
    while (token.regions[number].load(std::memory_order_relaxed) != &region) {
        ++number;
    }
    const std::string start = chunk_key(token.number, number, first);
    const std::size_t fixed = start.size() - sizeof(std::uint64_t);
    const std::unique_ptr<KvCursor> cursor = kv_.new_cursor();
    std::uint64_t next = first;
    for (cursor->seek(start); cursor->valid(); cursor->next()) {
        if (cursor->key().size() != start.size() ||
            !cursor->key().starts_with(std::string_view{start}.substr(0, fixed))) {
            break;
        }
        const std::uint64_t chunk = ByteReader{cursor->key().substr(fixed)}.get_be64();
        if (chunk >= end) {
            break;
        }
        for (; next < chunk; ++next) {
            if (region.chunks.find(next) == nullptr) {
                region.chunks.put(next, &region.absent);
            }
        }
        next = chunk + 1;
        if (region.chunks.find(chunk) != nullptr) {
            continue;
        }
        Chunk& added = add_chunk(token, region, chunk);
        ByteReader reader{cursor->value()};
        const auto form = static_cast<ChunkForm>(reader.get_u8());
        bool good = form == ChunkForm::kPlaces || form == ChunkForm::kBitmap;
        if (form == ChunkForm::kBitmap) {
            for (auto& word : added.words) {
                word.store(reader.get_u64(), std::memory_order_relaxed);
            }
        } else if (form == ChunkForm::kPlaces) {
            while (good && reader.ok() && !reader.at_end()) {
                const unsigned low = reader.get_u8();
                const unsigned place = low | static_cast<unsigned>(reader.get_u8()) << 8;
                good = place < kChunkEntities;
                if (good) {
                    auto& word = added.words[place / 64];
                    word.store(
                        word.load(std::memory_order_relaxed) | std::uint64_t{1} << (place % 64),
                        std::memory_order_relaxed);
                }
            }
        }
        if (!good || !reader.ok() || !reader.at_end()) {
            region.owned.pop_back();
            return fail(ErrorCode::kCorruption,
                        fmt::format("chunk {} of token {} does not decode ({} bytes)",
                                    chunk,
                                    token.number,
                                    cursor->value().size()));
        }
        region.chunks.put(chunk, &added);
    }
    NORNIC_TRY(cursor->status());
    for (; next < end; ++next) {
        if (region.chunks.find(next) == nullptr) {
            region.chunks.put(next, &region.absent);
        }
    }
    return success();
}

Result<LabelIndex::Chunk*> LabelIndex::chunk_of(Token& token,
                                                std::uint32_t region_number,
                                                std::uint64_t chunk,
                                                bool create,
                                                std::uint64_t ahead) {
    Region* region = token.regions[region_number].load(std::memory_order_acquire);
    if (region != nullptr) {
        Chunk* found = region->chunks.find(chunk);
        if (found != nullptr && found != &region->absent) {
            return found;
        }
        if (!create && (found == &region->absent || chunk >= region->kv_end)) {
            return nullptr;
        }
    } else if (!create) {
        return nullptr;
    }
    const std::lock_guard lock{load_mutex_};
    region = &region_of(token, region_number);
    Chunk* found = region->chunks.find(chunk);
    if (found == nullptr && chunk < region->kv_end) {
        NORNIC_TRY(load_chunks(token, *region, chunk, std::min(chunk + ahead, region->kv_end)));
        found = region->chunks.find(chunk);
    }
    if (found != nullptr && found != &region->absent) {
        return found;
    }
    if (!create) {
        return nullptr;
    }
    Chunk& added = add_chunk(token, *region, chunk);
    region->chunks.put(chunk, &added);
    if (region->end.load(std::memory_order_relaxed) <= chunk) {
        region->end.store(chunk + 1, std::memory_order_release);
    }
    return &added;
}

// ---- Apply

void LabelIndex::mark_dirty(Chunk& chunk) {
    // After the bit, and write_checkpoint() takes the mark before it reads the bits: so a bit is
    // either read or marked anew.
    if (!chunk.dirty.exchange(true, std::memory_order_acq_rel)) {
        const std::lock_guard lock{dirty_mutex_};
        dirty_.push_back(&chunk);
    }
}

Result<> LabelIndex::set(std::uint32_t token, std::uint64_t entity) {
    NORNIC_TRY(Token * t, token_of(token));
    const Place place = place_of(entity);
    NORNIC_TRY(Chunk * chunk, chunk_of(*t, place.region, place.chunk, true));
    const std::uint64_t before =
        chunk->words[place.word].fetch_or(place.bit, std::memory_order_relaxed);
    bool changed = (before & place.bit) == 0;
    if (any_pending_.load(std::memory_order_acquire)) {
        const std::lock_guard lock{pending_mutex_};
        changed = pending_.erase({token, entity}) > 0 || changed;
        any_pending_.store(!pending_.empty(), std::memory_order_release);
    }
    if (changed) {
        mark_dirty(*chunk);
    }
    return success();
}

Result<> LabelIndex::clear(std::uint32_t token, std::uint64_t entity, LogIndex at) {
    NORNIC_TRY(Token * t, token_of(token));
    const Place place = place_of(entity);
    NORNIC_TRY(Chunk * chunk, chunk_of(*t, place.region, place.chunk, false));
    if (chunk == nullptr ||
        (chunk->words[place.word].load(std::memory_order_relaxed) & place.bit) == 0) {
        return success();
    }
    {
        const std::lock_guard lock{pending_mutex_};
        const PendingClear clear{token, entity};
        pending_[clear] = at.value;
        pending_order_.emplace_back(at.value, clear);
        any_pending_.store(true, std::memory_order_release);
    }
    mark_dirty(*chunk);
    return success();
}

void LabelIndex::reclaim(LogIndex min_active) {
    if (!any_pending_.load(std::memory_order_acquire)) {
        const std::lock_guard lock{pending_mutex_};
        pending_order_.clear();
        return;
    }
    std::vector<PendingClear> due;
    {
        const std::lock_guard lock{pending_mutex_};
        while (!pending_order_.empty() && pending_order_.front().first <= min_active.value) {
            const auto [at, clear] = pending_order_.front();
            pending_order_.pop_front();
            const auto found = pending_.find(clear);
            if (found != pending_.end() && found->second == at) {
                pending_.erase(found);
                due.push_back(clear);
            }
        }
        any_pending_.store(!pending_.empty(), std::memory_order_release);
    }
    for (const PendingClear& clear : due) {
        const Place place = place_of(clear.entity);
        Token* t = clear.token == kEveryEntity ? every_.load(std::memory_order_acquire)
                                               : tokens_->find(clear.token);
        Region* region = t->regions[place.region].load(std::memory_order_acquire);
        Chunk* chunk = region->chunks.find(place.chunk);  // in memory since clear()
        chunk->words[place.word].fetch_and(~place.bit, std::memory_order_relaxed);
        mark_dirty(*chunk);
    }
}

std::size_t LabelIndex::pending_clears() const {
    const std::lock_guard lock{pending_mutex_};
    return pending_.size();
}

// ---- Reads

Result<std::uint64_t> LabelIndex::word(std::uint32_t token,
                                       std::uint32_t region,
                                       std::uint64_t page) {
    NORNIC_CHECK(region < kRegions, "region={}", region);
    NORNIC_TRY(Token * t, token_of(token));
    NORNIC_TRY(Chunk * chunk, chunk_of(*t, region, page / kPagesPerChunk, false));
    return chunk == nullptr ? 0
                            : chunk->words[page % kPagesPerChunk].load(std::memory_order_relaxed);
}

Result<bool> LabelIndex::may_contain(std::uint32_t token, std::uint64_t entity) {
    const Place place = place_of(entity);
    NORNIC_TRY(const std::uint64_t bits,
               word(token, place.region, place.chunk * kPagesPerChunk + place.word));
    return (bits & place.bit) != 0;
}

Result<std::uint64_t> LabelIndex::end_page(std::uint32_t token) {
    NORNIC_TRY(Token * t, token_of(token));
    std::uint64_t end = 0;
    for (const auto& slot : t->regions) {
        if (const Region* region = slot.load(std::memory_order_acquire); region != nullptr) {
            end = std::max({end, region->kv_end, region->end.load(std::memory_order_acquire)});
        }
    }
    return end * kPagesPerChunk;
}

LabelScan LabelIndex::scan(std::uint32_t token, std::uint64_t first_page, std::uint64_t end_page) {
    return LabelScan{*this, token, first_page, end_page};
}

Result<bool> LabelScan::enter() {
    if (page_ >= end_page_) {
        return false;
    }
    NORNIC_TRY(const std::uint64_t end, index_->end_page(token_));
    NORNIC_TRY(LabelIndex::Token * token, index_->token_of(token_));
    while (page_ < std::min(end, end_page_)) {
        const std::uint64_t chunk = page_ / kPagesPerChunk;
        for (std::uint32_t region = 0; region < LabelIndex::kRegions; ++region) {
            if (token->regions[region].load(std::memory_order_acquire) == nullptr) {
                continue;
            }
            NORNIC_TRY(const LabelIndex::Chunk* found,
                       index_->chunk_of(*token, region, chunk, false, LabelIndex::kReadAhead));
            if (found != nullptr) {
                sources_.push_back({region, found->words.data()});
            }
        }
        if (!sources_.empty()) {
            source_ = 0;
            return true;
        }
        page_ = (chunk + 1) * kPagesPerChunk;
    }
    return false;
}

Result<std::size_t> LabelScan::next_words(std::span<PageWord> out) {
    std::size_t n = 0;
    while (n < out.size()) {
        if (sources_.empty()) {
            NORNIC_TRY(const bool more, enter());
            if (!more) {
                break;
            }
        }
        const Source& source = sources_[source_];
        const std::uint64_t mask =
            source.words[page_ % kPagesPerChunk].load(std::memory_order_relaxed);
        if (mask != 0) {
            out[n++] = {page_, source.region, mask};
        }
        if (++source_ == sources_.size()) {
            source_ = 0;
            ++page_;
            if (page_ % kPagesPerChunk == 0 || page_ >= end_page_) {
                sources_.clear();
            }
        }
    }
    return n;
}

Result<std::size_t> LabelScan::next_ids(std::span<std::uint64_t> out) {
    std::size_t n = 0;
    for (;;) {
        const std::size_t taken = std::min(out.size() - n, ids_.size() - ids_taken_);
        std::copy_n(ids_.begin() + static_cast<std::ptrdiff_t>(ids_taken_),
                    taken,
                    out.begin() + static_cast<std::ptrdiff_t>(n));
        ids_taken_ += taken;
        n += taken;
        if (n == out.size()) {
            return n;
        }
        if (sources_.empty()) {
            NORNIC_TRY(const bool more, enter());
            if (!more) {
                return n;
            }
        }
        ids_.clear();
        ids_taken_ = 0;
        for (const Source& source : sources_) {
            for (std::uint64_t mask =
                     source.words[page_ % kPagesPerChunk].load(std::memory_order_relaxed);
                 mask != 0;
                 mask &= mask - 1) {
                ids_.push_back(page_entity(
                    page_, source.region, static_cast<unsigned>(std::countr_zero(mask))));
            }
        }
        if (sources_.size() > 1) {
            std::ranges::sort(ids_);
        }
        ++page_;
        if (page_ % kPagesPerChunk == 0 || page_ >= end_page_) {
            sources_.clear();
        }
    }
}

// ---- Checkpoint

void LabelIndex::begin_checkpoint(LogIndex f) {
    const std::lock_guard lock{pending_mutex_};
    writing_clears_.clear();
    for (const auto& [at, clear] : pending_order_) {
        if (at <= f.value) {
            writing_clears_.emplace_back(at, clear);
        }
    }
}

void LabelIndex::write_checkpoint(KvBatch& batch) {
    {
        const std::lock_guard lock{dirty_mutex_};
        writing_.swap(dirty_);
        dirty_.clear();
    }
    for (Chunk* chunk : writing_) {
        chunk->dirty.exchange(false, std::memory_order_acq_rel);
    }
    // After the marks are taken: whoever cancels a clear from here on marks the chunk again.
    std::unordered_map<const Chunk*, std::array<std::uint64_t, kChunkWords>> cleared;
    {
        const std::lock_guard lock{pending_mutex_};
        for (const auto& [at, clear] : writing_clears_) {
            const auto found = pending_.find(clear);
            if (found == pending_.end() || found->second != at) {
                continue;
            }
            const Place place = place_of(clear.entity);
            const Token* t = clear.token == kEveryEntity ? every_.load(std::memory_order_acquire)
                                                         : tokens_->find(clear.token);
            const Chunk* chunk =
                t->regions[place.region].load(std::memory_order_acquire)->chunks.find(place.chunk);
            cleared.try_emplace(chunk).first->second[place.word] |= place.bit;
        }
    }
    for (const Chunk* chunk : writing_) {
        std::array<std::uint64_t, kChunkWords> words{};
        const auto gone = cleared.find(chunk);
        int bits = 0;
        for (unsigned i = 0; i < kChunkWords; ++i) {
            words[i] = chunk->words[i].load(std::memory_order_relaxed);
            if (gone != cleared.end()) {
                words[i] &= ~gone->second[i];
            }
            bits += std::popcount(words[i]);
        }
        const std::string key = chunk_key(chunk->token, chunk->region, chunk->number);
        if (bits == 0) {
            batch.erase(key);
            continue;
        }
        std::string value;
        ByteWriter writer{value};
        writer.put_u8(static_cast<std::uint8_t>(bits <= kPlacesMax ? ChunkForm::kPlaces
                                                                   : ChunkForm::kBitmap));
        for (unsigned i = 0; i < kChunkWords; ++i) {
            if (bits > kPlacesMax) {
                writer.put_u64(words[i]);
                continue;
            }
            for (std::uint64_t mask = words[i]; mask != 0; mask &= mask - 1) {
                const unsigned place = i * 64 + static_cast<unsigned>(std::countr_zero(mask));
                writer.put_u8(static_cast<std::uint8_t>(place & 0xFF));
                writer.put_u8(static_cast<std::uint8_t>(place >> 8));
            }
        }
        batch.put(key, value);
    }
}

void LabelIndex::end_checkpoint(bool written) {
    if (!written) {
        for (Chunk* chunk : writing_) {
            mark_dirty(*chunk);
        }
    }
    writing_.clear();
    writing_clears_.clear();
}

}  // namespace nornic::engine
