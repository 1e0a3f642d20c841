// Pages of nodes and of relationships: slots that point at version chains, and their stored form.
#pragma once

#include "base/bytes.h"
#include "engine/store/page_store.h"
#include "engine/store/version.h"

#include <array>
#include <cstdint>
#include <memory>
#include <string>

namespace nornic::engine {

/// Stored: format byte, bit map of the slots held (u64), then each record in slot order. Format 2, where any has stamps: a
/// second bit map, of those, and their stamps behind their records; what is not live is there, too.
/// A node: labels (count, ids), properties (count, each key and value).
/// A relationship: type, start, end, properties.
void encode_record(const NodeData& node, ByteWriter& out);
void encode_record(const RelData& relationship, ByteWriter& out);
bool decode_record(ByteReader& in, NodeData& node);
bool decode_record(ByteReader& in, RelData& relationship);

void encode_properties(std::span<const PropertyEntry> properties, ByteWriter& out);
bool decode_properties(ByteReader& in, std::vector<PropertyEntry>& properties);

template <class Data, KeyKind kKey>
struct RecordTraits {
    using Slot = std::shared_ptr<Version<Data>>;
    using Slots = std::array<Slot, kPageSlots>;
    static constexpr std::uint8_t kFormat = 1;
    static constexpr std::uint8_t kStampedFormat = 2;

    static Result<std::int64_t> read(Kv& kv, DatabaseId database, std::uint64_t page, Slots& slots);
    static void write(
        Slots& slots, DatabaseId database, std::uint64_t page, LogIndex at, KvBatch& batch);
    static void unwritten(Slots&) {}
    static std::int64_t trim(Slots& slots, LogIndex oldest) {
        std::int64_t freed = 0;
        for (Slot& slot : slots) {
            if (slot) {
                freed += trim_versions(slot, oldest, 1 << 30);
            }
        }
        return freed;
    }
};

using NodeTraits = RecordTraits<NodeData, KeyKind::kNode>;
using RelTraits = RecordTraits<RelData, KeyKind::kRelationship>;
extern template struct RecordTraits<NodeData, KeyKind::kNode>;
extern template struct RecordTraits<RelData, KeyKind::kRelationship>;

using NodeStore = PageStore<NodeTraits>;
using RelStore = PageStore<RelTraits>;

}  // namespace nornic::engine
