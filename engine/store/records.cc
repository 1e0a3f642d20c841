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
    const std::uint8_t format = in.get_u8();
    if (format != kFormat && format != kStampedFormat) {
        return damaged(fmt::format("format {} is unknown, expected {} or {}", format, kFormat, kStampedFormat));
    }
    const std::uint64_t held = in.get_u64();
    const std::uint64_t stamped = format == kStampedFormat ? in.get_u64() : 0;
    std::int64_t bytes = 0;
    for (unsigned i = 0; i < kPageSlots; ++i) {
        if ((held >> i & 1) == 0) {
            continue;
        }
        auto version = std::make_shared<Version<Data>>();
        if (!decode_record(in, version->data)) {
            return damaged("bytes end too early");
        }
        if ((stamped >> i & 1) != 0) {
            auto stamps = std::make_shared<EntityStamps>();
            if (!decode_stamps(in, *stamps)) {
                return damaged("stamps end too early or are not valid");
            }
            version->deleted = stamps->life != Life::kLive;
            version->data.stamps = std::move(stamps);
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
    std::uint64_t stamped = 0;
    for (unsigned i = 0; i < kPageSlots; ++i) {
        const auto* version = version_at(slots[i], at);
        if (version == nullptr || ((*version)->deleted && !has_remains(**version))) {
            continue;
        }
        seen[i] = &(*version)->data;
        held |= std::uint64_t{1} << i;
        if (seen[i]->stamps) {
            stamped |= std::uint64_t{1} << i;
        }
    }
    const std::string key = page_key(kKey, database, page);
    if (held == 0) {
        batch.erase(key);
        return;
    }
    std::string value;
    ByteWriter out{value};
    out.put_u8(stamped == 0 ? kFormat : kStampedFormat);
    out.put_u64(held);
    if (stamped != 0) {
        out.put_u64(stamped);
    }
    for (const Data* data : seen) {
        if (data != nullptr) {
            encode_record(*data, out);
            if (data->stamps) {
                encode_stamps(*data->stamps, out);
            }
        }
    }
    batch.put(key, value);
}

template struct RecordTraits<NodeData, KeyKind::kNode>;
template struct RecordTraits<RelData, KeyKind::kRelationship>;

}  // namespace nornic::engine
