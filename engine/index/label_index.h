// LabelIndex: which entities may carry a token. One bit an entity for each label (or relationship
// type), in chunks of 4,096 entities that are read from the Kv when first touched.
//
// It answers candidates: a bit is set when the entry is applied and cleared only when no snapshot
// can see the entity with the token any more, so a set bit must be verified against the version
// that the caller sees, and a clear bit is final. Readers take no lock on a chunk in memory.
//
// Threads: one applier (set, clear, reclaim, begin_checkpoint); one population thread may set
// beside it; write_checkpoint and end_checkpoint come from one checkpoint thread; scans from any
// thread.
//
// Kv keys: prefix, token (be32), region (1 byte), chunk (be64). Nothing else lives under the
// prefix.
#pragma once

#include "base/ids.h"
#include "base/result.h"
#include "engine/kv.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace nornic::engine {

/// Up to 64 candidates: bit b of mask is the entity page_entity(page, region, b).
struct PageWord {
    std::uint64_t page = 0;  // sequence number / 64; the sequence is the id without its region bits
    std::uint32_t region = 0;
    std::uint64_t mask = 0;
};

/// The id behind a bit of a PageWord.
constexpr std::uint64_t page_entity(std::uint64_t page,
                                    std::uint32_t region,
                                    unsigned bit) noexcept {
    return ((page * 64 + bit) << kRegionBits) | region;
}

class LabelIndex;

/// Walks the candidates of one token in ascending (page, region) order: ids ascend inside a word,
/// and from word to word where one region drew them all. Where words of several regions share a
/// page, their ids interleave; next_ids() gives them in order. What is applied behind the cursor's
/// place is not met; the caller's snapshot does not need it.
class LabelScan {
public:
    /// Fills words with a mask that is not 0; fewer than out.size() only at the end. kCorruption,
    /// kIo.
    Result<std::size_t> next_words(std::span<PageWord> out);
    /// The same as ids in ascending order. Do not mix with next_words() on one scan.
    Result<std::size_t> next_ids(std::span<std::uint64_t> out);

private:
    friend class LabelIndex;
    LabelScan(LabelIndex& index,
              std::uint32_t token,
              std::uint64_t first_page,
              std::uint64_t end_page) noexcept
        : index_{&index}, token_{token}, page_{first_page}, end_page_{end_page} {}
    LabelIndex* index_;
    std::uint32_t token_;
    /// Makes sources_ hold the chunk of page_, skipping what is empty; false at the end.
    Result<bool> enter();

    std::uint64_t page_;
    std::uint64_t end_page_;
    struct Source {
        std::uint32_t region;
        const std::atomic<std::uint64_t>* words;
    };
    std::vector<Source> sources_;     // of one chunk, by region; empty: enter() comes next
    std::size_t source_ = 0;          // next_words(): the next one on page_
    std::vector<std::uint64_t> ids_;  // next_ids(): what one page gave
    std::size_t ids_taken_ = 0;
};

class LabelIndex {
public:
    /// A token of its own for "every node" or "every relationship", for scans without a label.
    static constexpr std::uint32_t kEveryEntity = 0xFFFFFFFFU;

    /// `kv` outlives this. Reads nothing yet.
    LabelIndex(Kv& kv, std::string key_prefix);
    ~LabelIndex();
    LabelIndex(const LabelIndex&) = delete;
    LabelIndex& operator=(const LabelIndex&) = delete;

    // ---- Apply. Idempotent; about 10 ns where the chunk is in memory. Errors are those of the Kv.
    Result<> set(std::uint32_t token, std::uint64_t entity);
    /// The entity lost the token (or was deleted) at log index `at`: snapshots before it still see
    /// it, so the bit stays until reclaim(min_active >= at). A set() in between cancels it.
    Result<> clear(std::uint32_t token, std::uint64_t entity, LogIndex at);
    /// Clears what no snapshot at or after `min_active` sees. While a checkpoint as of F is being
    /// written, F counts as an active snapshot.
    void reclaim(LogIndex min_active);

    // ---- Reads.
    /// Candidates on pages [first_page, end_page), for parallel scans too.
    [[nodiscard]] LabelScan scan(std::uint32_t token,
                                 std::uint64_t first_page = 0,
                                 std::uint64_t end_page = UINT64_MAX);
    /// The 64 candidates of one page, for intersecting labels. kCorruption, kIo.
    Result<std::uint64_t> word(std::uint32_t token, std::uint32_t region, std::uint64_t page);
    Result<bool> may_contain(std::uint32_t token, std::uint64_t entity);
    /// One past the highest page with a candidate. Loads nothing but the token's bounds.
    Result<std::uint64_t> end_page(std::uint32_t token);

    // ---- Checkpoint as of F: begin (by the applier, when exactly F is applied), write, end.
    void begin_checkpoint(LogIndex f);
    /// Puts the chunks changed since the last one; clears pending at or before F are written as
    /// done.
    void write_checkpoint(KvBatch& batch);
    /// Whether the batch was written; if not, the chunks stay dirty.
    void end_checkpoint(bool written);

    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        return memory_bytes_.load(std::memory_order_relaxed);
    }
    [[nodiscard]] std::size_t pending_clears() const;

private:
    friend class LabelScan;
    static constexpr unsigned kChunkWords = 64;  // 4,096 entities, 512 bytes
    static constexpr unsigned kRegions = 1U << kRegionBits;
    static constexpr unsigned kBuckets = 40;
    static constexpr std::uint64_t kReadAhead = 64;
    template <class T>
    class Directory;
    struct Chunk;
    struct Region;
    struct Token;
    struct PendingClear {
        std::uint32_t token;
        std::uint64_t entity;
        bool operator==(const PendingClear&) const = default;
    };
    struct PendingHash {
        std::size_t operator()(const PendingClear& p) const noexcept {
            return (p.entity + (std::uint64_t{p.token} << 40)) * 0x9E3779B97F4A7C15ULL;
        }
    };

    Result<Token*> token_of(std::uint32_t token);
    /// The chunk, read from the Kv if need be; nullptr where there is none and `create` is false.
    Result<Chunk*> chunk_of(Token& token,
                            std::uint32_t region,
                            std::uint64_t chunk,
                            bool create,
                            std::uint64_t ahead = 1);
    /// Reads chunks [first, end) of the Kv that are not in memory.
    Result<> load_chunks(Token& token, Region& region, std::uint64_t first, std::uint64_t end);
    Region& region_of(Token& token, std::uint32_t region);
    Chunk& add_chunk(Token& token, Region& region, std::uint64_t chunk);
    Result<> find_bounds(Token& token);
    void mark_dirty(Chunk& chunk);
    [[nodiscard]] std::string chunk_key(std::uint32_t token,
                                        std::uint32_t region,
                                        std::uint64_t chunk) const;

    Kv& kv_;
    const std::string prefix_;
    std::unique_ptr<Directory<Token>> tokens_;
    std::atomic<Token*> every_{nullptr};
    std::mutex load_mutex_;  // whoever adds tokens, regions or chunks; hits never take it
    std::vector<std::unique_ptr<Token>> owned_;  // under load_mutex_

    mutable std::mutex pending_mutex_;
    std::unordered_map<PendingClear, std::uint64_t, PendingHash>
        pending_;  // to the index of the clear
    std::deque<std::pair<std::uint64_t, PendingClear>> pending_order_;
    std::atomic<bool> any_pending_{false};

    std::mutex dirty_mutex_;
    std::vector<Chunk*> dirty_;
    std::vector<Chunk*> writing_;
    std::vector<std::pair<std::uint64_t, PendingClear>> writing_clears_;
    std::atomic<std::size_t> memory_bytes_{0};
};

}  // namespace nornic::engine
