// The keys of the Kv: one byte that names the kind of record, the database in four big-endian bytes
// (where a record belongs to one), and the rest of the key, big-endian so that it sorts.
#pragma once

#include "base/bytes.h"
#include "base/ids.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace nornic::engine {

/// First byte of every key. Never renumbered: they are on disk.
enum class KeyKind : char {
    kAdjacency = 'a',       // database, page: relationships of 64 nodes
    kCatalog = 'c',         // text: a catalogue row
    kRemains = 'g',         // time, database, entity, id: what was deleted or is awaited, for the watermark to let go of
    kAdjacencyChunk = 'h',  // database, node, chunk: part of a node with many relationships
    kCounts = 'k',          // database: counters for the planner
    kLabels = 'l',          // database, ...: written by LabelIndex, nodes by label
    kMeta = 'm',            // text: applied index, databases, high-water marks
    kNode = 'n',            // database, page: 64 nodes
    kRelationship = 'r',    // database, page: 64 relationships
    kSchema = 's',          // database, ...: written by SchemaCatalog
    kToken = 't',           // database, kind, id: a name
    kRangeIndex = 'x',      // database, rule, ...: written by RangeIndex
    kWaiting = 'w',         // database, node, relationship: one that was created before its end
    kTypes = 'y',           // database, ...: written by LabelIndex, relationships by type
};

/// How far an import has come. Beside a complete state it says that nothing was added to that yet. Never exported.
inline constexpr std::string_view kImportKey = "mimport";

inline std::string key_prefix(KeyKind kind, DatabaseId database) {
    std::string key;
    ByteWriter out{key};
    out.put_u8(static_cast<std::uint8_t>(kind));
    out.put_be32(database.value);
    return key;
}

inline std::string page_key(KeyKind kind, DatabaseId database, std::uint64_t page) {
    std::string key = key_prefix(kind, database);
    ByteWriter{key}.put_be64(page);
    return key;
}

inline std::string chunk_key(DatabaseId database, std::uint64_t node, std::uint32_t chunk) {
    std::string key = page_key(KeyKind::kAdjacencyChunk, database, node);
    ByteWriter{key}.put_be32(chunk);
    return key;
}

inline std::string text_key(KeyKind kind, std::string_view text) {
    std::string key(1, static_cast<char>(kind));
    key.append(text);
    return key;
}

// Ids to pages: 64 consecutive sequence numbers of one region share a page.
inline constexpr std::uint64_t kPageSlots = 64;
inline constexpr std::uint64_t kRegionMask = (std::uint64_t{1} << kRegionBits) - 1;
inline constexpr std::uint32_t kRegions = 1U << kRegionBits;

constexpr std::uint64_t sequence_of(std::uint64_t id) noexcept {
    return id >> kRegionBits;
}
constexpr std::uint32_t region_of(std::uint64_t id) noexcept {
    return static_cast<std::uint32_t>(id & kRegionMask);
}
constexpr std::uint64_t id_of(std::uint64_t sequence, std::uint32_t region) noexcept {
    return (sequence << kRegionBits) | region;
}
/// A page's number carries its region in the low bits, as ids do.
constexpr std::uint64_t page_of(std::uint64_t id) noexcept {
    return id_of(sequence_of(id) / kPageSlots, region_of(id));
}
constexpr unsigned slot_of(std::uint64_t id) noexcept {
    return static_cast<unsigned>(sequence_of(id) % kPageSlots);
}
constexpr std::uint64_t id_in_page(std::uint64_t page, unsigned slot) noexcept {
    return id_of(sequence_of(page) * kPageSlots + slot, region_of(page));
}

}  // namespace nornic::engine
