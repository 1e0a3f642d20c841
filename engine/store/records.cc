#include "engine/store/records.h"

#include "graph/codec.h"

#include <fmt/format.h>

namespace nornic::engine {

void encode_properties(std::span<const PropertyEntry> properties, ByteWriter& out) {
    out.put_varint(properties.size());
    for (const PropertyEntry& entry : properties) {
        out.put_varint(entry.key.value);
        encode_value(entry.value, out);
    }
}

bool decode_properties(ByteReader& in, std::vector<PropertyEntry>& properties) {
    const std::uint64_t count = in.get_varint();
    if (!in.ok() || count > in.remaining()) {  // each takes at least two bytes
        return false;
    }
    properties.clear();
    properties.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) {
        const PropertyKeyId key{static_cast<std::uint32_t>(in.get_varint())};
        properties.push_back(PropertyEntry{key, decode_value(in)});
    }
    return in.ok();
}

void encode_record(const NodeData& node, ByteWriter& out) {
    out.put_varint(node.labels.size());
    for (const LabelId label : node.labels) {
        out.put_varint(label.value);
    }
    encode_properties(node.properties, out);
}

bool decode_record(ByteReader& in, NodeData& node) {
    const std::uint64_t count = in.get_varint();
    if (!in.ok() || count > in.remaining()) {
        return false;
    }
    node.labels.clear();
    node.labels.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) {
        node.labels.emplace_back(static_cast<std::uint32_t>(in.get_varint()));
    }
    return decode_properties(in, node.properties);
}

void encode_record(const RelData& relationship, ByteWriter& out) {
    out.put_varint(relationship.type.value);
    out.put_varint(relationship.start.value);
    out.put_varint(relationship.end.value);
    encode_properties(relationship.properties, out);
}

bool decode_record(ByteReader& in, RelData& relationship) {
    relationship.type = RelTypeId{static_cast<std::uint32_t>(in.get_varint())};
    relationship.start = NodeId{in.get_varint()};
    relationship.end = NodeId{in.get_varint()};
    return decode_properties(in, relationship.properties);
}

template <class Data, KeyKind kKey>
Result<std::int64_t> RecordTraits<Data, kKey>::read(Kv& kv,
                                                    DatabaseId database,
                                                    std::uint64_t page,
                                                    Slots& slots) {
    NORNIC_TRY(const auto stored, kv.get(page_key(kKey, database, page)));
    if (!stored) {
        return 0;
    }
    const auto damaged = [&](std::string_view what) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("page {} of database {}, kind '{}': {}",
                                page,
                                database.value,
                                static_cast<char>(kKey),
                                what));
    };
    ByteReader in{*stored};
    if (const std::uint8_t format = in.get_u8(); format != kFormat) {
        return damaged(fmt::format("format {} is unknown, expected {}", format, kFormat));
    }
    const std::uint64_t held = in.get_u64();
    std::int64_t bytes = 0;
    for (unsigned i = 0; i < kPageSlots; ++i) {
        if ((held >> i & 1) == 0) {
            continue;
        }
        auto version = std::make_shared<Version<Data>>();
        if (!decode_record(in, version->data)) {
            return damaged("bytes end too early");
        }
        bytes += version_bytes(*version);
        slots[i] = std::move(version);
    }
    if (!in.ok() || !in.at_end()) {
        return damaged("length does not fit its records");
    }
    return bytes;
}

template <class Data, KeyKind kKey>
void RecordTraits<Data, kKey>::write(
    Slots& slots, DatabaseId database, std::uint64_t page, LogIndex at, KvBatch& batch) {
    std::array<const Data*, kPageSlots> seen{};
    std::uint64_t held = 0;
    for (unsigned i = 0; i < kPageSlots; ++i) {
        if (const auto* version = visible_version(slots[i], at)) {
            seen[i] = &(*version)->data;
            held |= std::uint64_t{1} << i;
        }
    }
    const std::string key = page_key(kKey, database, page);
    if (held == 0) {
        batch.erase(key);
        return;
    }
    std::string value;
    ByteWriter out{value};
    out.put_u8(kFormat);
    out.put_u64(held);
    for (const Data* data : seen) {
        if (data != nullptr) {
            encode_record(*data, out);
        }
    }
    batch.put(key, value);
}

template struct RecordTraits<NodeData, KeyKind::kNode>;
template struct RecordTraits<RelData, KeyKind::kRelationship>;

}  // namespace nornic::engine
