#include "engine/store/adjacency.h"

#include "base/bytes.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace nornic::engine {
namespace {

void encode_entries(std::span<const AdjacencyEntry> entries, std::uint64_t node, ByteWriter& out) {
    std::uint64_t last = 0;
    for (const AdjacencyEntry& entry : entries) {
        out.put_zigzag(static_cast<std::int64_t>(entry.relationship.value - last));
        out.put_zigzag(static_cast<std::int64_t>(entry.other.value - node));
        out.put_varint(std::uint64_t{entry.type.value} << 2 | entry.direction);
        last = entry.relationship.value;
    }
}

bool decode_entries(ByteReader& in,
                    std::uint64_t count,
                    std::uint64_t node,
                    std::vector<AdjacencyEntry>& out) {
    if (!in.ok() || count > in.remaining()) {
        return false;
    }
    std::uint64_t last = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        last += static_cast<std::uint64_t>(in.get_zigzag());
        const std::uint64_t other = node + static_cast<std::uint64_t>(in.get_zigzag());
        const std::uint64_t type = in.get_varint();
        out.push_back(AdjacencyEntry{RelId{last},
                                     NodeId{other},
                                     RelTypeId{static_cast<std::uint32_t>(type >> 2)},
                                     static_cast<std::uint32_t>(type & 3)});
    }
    return in.ok();
}

}  // namespace

Adjacency::History& Adjacency::history() {
    if (!history_) {
        history_ = std::make_unique<History>();
    }
    return *history_;
}

std::int64_t Adjacency::bytes() const noexcept {
    std::size_t bytes = entries_.capacity() * sizeof(AdjacencyEntry);
    if (history_) {
        bytes += sizeof(History) + history_->marks.capacity() * sizeof(Mark) +
                 history_->tombstones.capacity() * sizeof(Tombstone);
    }
    return static_cast<std::int64_t>(bytes);
}

void Adjacency::trim_history(LogIndex oldest) {
    if (!history_) {
        return;
    }
    if (history_->last_change <= oldest) {
        history_.reset();
        return;
    }
    auto& marks = history_->marks;
    marks.erase(marks.begin(), std::find_if(marks.begin(), marks.end(), [&](const Mark& m) {
                    return m.created > oldest;
                }));
    auto& stones = history_->tombstones;
    stones.erase(stones.begin(),
                 std::find_if(stones.begin(), stones.end(), [&](const Tombstone& t) {
                     return t.deleted > oldest;
                 }));
}

void Adjacency::put_mark_away(LogIndex oldest) {
    if (last_added_ > oldest) {
        History& past = history();
        past.marks.push_back(Mark{last_added_, added_before_});
        past.last_change = std::max(past.last_change, last_added_);
    }
    last_added_ = LogIndex{};
}

std::int64_t Adjacency::trim(LogIndex oldest) {
    const std::int64_t before = bytes();
    trim_history(oldest);
    return before - bytes();
}

std::int64_t Adjacency::add(const AdjacencyEntry& entry, LogIndex at, LogIndex oldest) {
    const std::int64_t before = bytes();
    trim_history(oldest);
    if (last_added_ != at) {
        put_mark_away(oldest);
        last_added_ = at;
        added_before_ = static_cast<std::uint32_t>(entries_.size());
    }
    if (entries_.size() == entries_.capacity()) {
        // Most lists stay short, and there are millions: grow by a half, not by doubling.
        entries_.reserve(entries_.size() + std::max<std::size_t>(2, entries_.size() / 2));
    }
    entries_.push_back(entry);
    return bytes() - before;
}

std::int64_t Adjacency::remove(std::span<const RelId> relationships, LogIndex at, LogIndex oldest) {
    const std::int64_t before = bytes();
    trim_history(oldest);
    put_mark_away(oldest);
    History& past = history();
    past.last_change = at;
    std::size_t kept = 0;
    std::size_t mark = 0;
    std::size_t first_removed = entries_.size();
    LogIndex created;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
        // Marks move down with the entries before them.
        while (mark < past.marks.size() && past.marks[mark].before == i) {
            created = past.marks[mark].created;
            past.marks[mark].before = kept;
            ++mark;
        }
        if (std::binary_search(
                relationships.begin(), relationships.end(), entries_[i].relationship)) {
            first_removed = std::min(first_removed, i);
            past.tombstones.push_back(Tombstone{entries_[i], created, at});
        } else {
            entries_[kept++] = entries_[i];
        }
    }
    for (; mark < past.marks.size(); ++mark) {
        past.marks[mark].before = kept;
    }
    entries_.resize(kept);
    durable_entries_ =
        static_cast<std::uint32_t>(std::min<std::size_t>(durable_entries_, first_removed));
    return bytes() - before;
}

std::span<const AdjacencyEntry> Adjacency::visible_prefix(LogIndex snapshot) const noexcept {
    if (history_) {
        for (const Mark& mark : history_->marks) {
            if (mark.created > snapshot) {
                return std::span{entries_}.first(mark.before);
            }
        }
    }
    return last_added_ > snapshot ? std::span{entries_}.first(added_before_) : std::span{entries_};
}

bool Adjacency::changed_since(LogIndex snapshot) const noexcept {
    return last_added_ > snapshot || (history_ && history_->last_change > snapshot);
}

// ---- Stored form ----

Result<std::int64_t> AdjacencyTraits::read(Kv& kv,
                                           DatabaseId database,
                                           std::uint64_t page,
                                           Slots& slots) {
    NORNIC_TRY(const auto stored, kv.get(page_key(KeyKind::kAdjacency, database, page)));
    if (!stored) {
        return 0;
    }
    const auto damaged = [&](std::string_view what) {
        return fail(
            ErrorCode::kCorruption,
            fmt::format("relationships of page {} of database {}: {}", page, database.value, what));
    };
    ByteReader in{*stored};
    if (const std::uint8_t format = in.get_u8(); format != kFormat) {
        return damaged(fmt::format("format {} is unknown, expected {}", format, kFormat));
    }
    std::int64_t bytes = 0;
    while (in.ok() && !in.at_end()) {
        const std::uint8_t slot = in.get_u8();
        const std::uint64_t count = in.get_varint();
        if (!in.ok() || slot >= kPageSlots || count > std::numeric_limits<std::uint32_t>::max()) {
            return damaged("a list's head is not valid");
        }
        const std::uint64_t node = id_in_page(page, slot);
        Adjacency& list = slots[slot];
        if (count <= kInlineMax) {
            list.entries_.reserve(count);
            if (!decode_entries(in, count, node, list.entries_)) {
                return damaged("bytes end too early");
            }
        } else {
            const auto chunks =
                static_cast<std::uint32_t>((count + kChunkEntries - 1) / kChunkEntries);
            for (std::uint32_t chunk = 0; chunk < chunks; ++chunk) {
                NORNIC_TRY(const auto part, kv.get(chunk_key(database, node, chunk)));
                if (!part) {
                    return damaged(fmt::format("chunk {} of node {} is missing", chunk, node));
                }
                ByteReader chunk_in{*part};
                const std::uint64_t expected =
                    std::min<std::uint64_t>(kChunkEntries, count - list.entries_.size());
                list.entries_.reserve(list.entries_.size() + expected);
                if (chunk_in.get_u8() != kFormat ||
                    !decode_entries(chunk_in, expected, node, list.entries_) ||
                    !chunk_in.at_end()) {
                    return damaged(fmt::format("chunk {} of node {} is not valid", chunk, node));
                }
            }
            list.durable_chunks_ = chunks;
        }
        list.durable_entries_ = static_cast<std::uint32_t>(count);
        bytes += list.bytes();
    }
    NORNIC_TRY(in.finish("relationships of a page"));
    return bytes;
}

void AdjacencyTraits::write(
    Slots& slots, DatabaseId database, std::uint64_t page, LogIndex at, KvBatch& batch) {
    std::string value;
    ByteWriter out{value};
    out.put_u8(kFormat);
    std::vector<AdjacencyEntry> mixed;
    for (unsigned slot = 0; slot < kPageSlots; ++slot) {
        Adjacency& list = slots[slot];
        const std::uint64_t node = id_in_page(page, slot);
        std::span<const AdjacencyEntry> entries = list.entries_;
        std::size_t durable = list.durable_entries_;
        bool same_prefix = true;
        if (list.changed_since(at)) {
            entries = list.visible_prefix(at);
            durable = std::min(durable, entries.size());
            if (list.history_ && !list.history_->tombstones.empty()) {
                // What was removed after `at` belongs to this state, in whatever place.
                mixed.clear();
                list.visit(at, [&](const AdjacencyEntry& entry) { mixed.push_back(entry); });
                same_prefix = mixed.size() == entries.size();
                entries = mixed;
            }
        }
        std::uint32_t chunks = 0;
        if (!entries.empty()) {
            out.put_u8(static_cast<std::uint8_t>(slot));
            out.put_varint(entries.size());
            if (entries.size() <= kInlineMax) {
                encode_entries(entries, node, out);
            } else {
                chunks = static_cast<std::uint32_t>((entries.size() + kChunkEntries - 1) /
                                                    kChunkEntries);
                // Chunks that lie wholly in the durable prefix are there already.
                std::size_t first = list.durable_chunks_ == 0 ? 0 : durable / kChunkEntries;
                if (!same_prefix) {
                    first = 0;
                }
                for (std::size_t chunk = first; chunk < chunks; ++chunk) {
                    const std::size_t from = chunk * kChunkEntries;
                    std::string part;
                    ByteWriter part_out{part};
                    part_out.put_u8(kFormat);
                    encode_entries(
                        entries.subspan(from, std::min(kChunkEntries, entries.size() - from)),
                        node,
                        part_out);
                    batch.put(chunk_key(database, node, static_cast<std::uint32_t>(chunk)), part);
                }
            }
        }
        for (std::uint32_t chunk = chunks; chunk < list.durable_chunks_; ++chunk) {
            batch.erase(chunk_key(database, node, chunk));
        }
        list.previous_chunks_ = list.durable_chunks_;
        list.durable_chunks_ = chunks;
        list.durable_entries_ = same_prefix ? static_cast<std::uint32_t>(entries.size()) : 0;
    }
    const std::string key = page_key(KeyKind::kAdjacency, database, page);
    if (value.size() == 1) {
        batch.erase(key);
    } else {
        batch.put(key, value);
    }
}

void AdjacencyTraits::unwritten(Slots& slots) {
    for (Adjacency& list : slots) {
        list.durable_entries_ = 0;
        // So many may be there: erase up to the most there can be, and write all others again.
        list.durable_chunks_ = std::max(list.durable_chunks_, list.previous_chunks_);
    }
}

std::int64_t AdjacencyTraits::trim(Slots& slots, LogIndex oldest) {
    std::int64_t freed = 0;
    for (Adjacency& list : slots) {
        freed += list.trim(oldest);
    }
    return freed;
}

}  // namespace nornic::engine
