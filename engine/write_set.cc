#include "engine/write_set.h"

#include "engine/region/stamps.h"
#include "engine/store/records.h"
#include "graph/codec.h"

#include <fmt/format.h>

#include <limits>

namespace nornic::engine {

void WriteSetWriter::create_token(TokenKind kind, std::uint32_t id, std::string_view name) {
    op(WriteOp::kCreateToken, static_cast<std::uint64_t>(kind), id);
    out_.put_string(name);
}

void WriteSetWriter::create_node(NodeId id, const NodeData& data) {
    op(WriteOp::kCreateNode, id.value);
    encode_record(data, out_);
}

void WriteSetWriter::set_property(NodeId id, PropertyKeyId key, const Value& value) {
    if (value.is_null()) {
        op(WriteOp::kRemoveNodeProperty, id.value, key.value);
        return;
    }
    op(WriteOp::kSetNodeProperty, id.value, key.value);
    encode_value(value, out_);
}

void WriteSetWriter::set_property(RelId id, PropertyKeyId key, const Value& value) {
    if (value.is_null()) {
        op(WriteOp::kRemoveRelProperty, id.value, key.value);
        return;
    }
    op(WriteOp::kSetRelProperty, id.value, key.value);
    encode_value(value, out_);
}

void WriteSetWriter::create_relationship(RelId id, const RelData& data) {
    op(WriteOp::kCreateRelationship, id.value);
    encode_record(data, out_);
}

void WriteSetWriter::put_rule(WriteOp which, std::string_view encoded) {
    out_.put_u8(static_cast<std::uint8_t>(which));
    out_.put_string(encoded);
}

void WriteSetWriter::put_catalog(std::string_view key, const Value& value) {
    out_.put_u8(static_cast<std::uint8_t>(WriteOp::kPutCatalog));
    out_.put_string(key);
    encode_value(value, out_);
}

void WriteSetWriter::erase_catalog(std::string_view key) {
    out_.put_u8(static_cast<std::uint8_t>(WriteOp::kEraseCatalog));
    out_.put_string(key);
}

void WriteSetWriter::create_database(DatabaseId id, std::string_view name, std::string_view uuid) {
    op(WriteOp::kCreateDatabase, id.value);
    out_.put_string(name);
    out_.put_string(uuid);
}

void WriteSetWriter::change_region(std::string_view encoded) {
    out_.put_u8(static_cast<std::uint8_t>(WriteOp::kRegion));
    out_.put_string(encoded);
}

void WriteSetWriter::merge_node(NodeId id, const NodeData& data) {
    op(WriteOp::kMergeNode, id.value);
    encode_record(data, out_);
    encode_stamps(*data.stamps, out_);
}

void WriteSetWriter::merge_relationship(RelId id, const RelData& data) {
    op(WriteOp::kMergeRelationship, id.value);
    encode_record(data, out_);
    encode_stamps(*data.stamps, out_);
}

void WriteSetWriter::note_metadata(const Value& metadata) {
    out_.put_u8(static_cast<std::uint8_t>(WriteOp::kMetadata));
    encode_value(metadata, out_);
}

void WriteSetWriter::note_seen(std::string_view encoded) {
    out_.put_u8(static_cast<std::uint8_t>(WriteOp::kSeen));
    out_.put_string(encoded);
}

Result<WriteSetReader> WriteSetReader::open(std::string_view payload) {
    WriteSetReader reader{payload};
    const std::uint8_t format = reader.in_.get_u8();
    const std::uint64_t database = reader.in_.get_varint();
    if (!reader.in_.ok() || database > std::numeric_limits<std::uint32_t>::max()) {
        return fail(ErrorCode::kCorruption, "write set: its head is cut off or not valid");
    }
    if (format != WriteSetWriter::kFormat) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("write set: format {} is unknown to this version, which reads {}",
                                format,
                                WriteSetWriter::kFormat));
    }
    reader.database_ = DatabaseId{static_cast<std::uint32_t>(database)};
    return reader;
}

Result<bool> WriteSetReader::next(WriteOperation& operation) {
    if (in_.at_end()) {
        return false;
    }
    const std::size_t offset = in_.position();
    const std::uint8_t code = in_.get_u8();
    operation.op = static_cast<WriteOp>(code);
    bool ok = true;
    const auto token = [&] {
        const std::uint64_t value = in_.get_varint();
        ok = ok && value <= std::numeric_limits<std::uint32_t>::max();
        operation.token = static_cast<std::uint32_t>(value);
    };
    const auto stamps = [&](auto& data) {
        auto decoded = std::make_shared<EntityStamps>();
        const bool valid = decode_stamps(in_, *decoded);
        data.stamps = std::move(decoded);
        return valid;
    };
    switch (operation.op) {
        case WriteOp::kCreateToken: {
            const std::uint64_t kind = in_.get_varint();
            ok = kind <= static_cast<std::uint64_t>(TokenKind::kPropertyKey);
            operation.token_kind = static_cast<TokenKind>(kind);
            token();
            operation.text = in_.get_string();
            break;
        }
        case WriteOp::kCreateNode:
            operation.id = in_.get_varint();
            operation.node.stamps = nullptr;
            ok = decode_record(in_, operation.node);
            break;
        case WriteOp::kDeleteNode:
        case WriteOp::kDeleteRelationship:
        case WriteOp::kDropRule:
            operation.id = in_.get_varint();
            break;
        case WriteOp::kAddLabel:
        case WriteOp::kRemoveLabel:
        case WriteOp::kRemoveNodeProperty:
        case WriteOp::kRemoveRelProperty:
            operation.id = in_.get_varint();
            token();
            break;
        case WriteOp::kSetNodeProperty:
        case WriteOp::kSetRelProperty:
            operation.id = in_.get_varint();
            token();
            operation.value = decode_value(in_);
            break;
        case WriteOp::kCreateRelationship:
            operation.id = in_.get_varint();
            operation.relationship.stamps = nullptr;
            ok = decode_record(in_, operation.relationship);
            break;
        case WriteOp::kMergeNode:
            operation.id = in_.get_varint();
            ok = decode_record(in_, operation.node) && stamps(operation.node);
            break;
        case WriteOp::kMergeRelationship:
            operation.id = in_.get_varint();
            ok = decode_record(in_, operation.relationship) && stamps(operation.relationship);
            break;
        case WriteOp::kPutIndex:
        case WriteOp::kPutConstraint:
        case WriteOp::kEraseCatalog:
        case WriteOp::kRegion:
        case WriteOp::kSeen:
            operation.text = in_.get_string();
            break;
        case WriteOp::kMetadata:
            operation.value = decode_value(in_);
            break;
        case WriteOp::kPutCatalog:
            operation.text = in_.get_string();
            operation.value = decode_value(in_);
            break;
        case WriteOp::kCreateDatabase:
            operation.id = in_.get_varint();
            operation.text = in_.get_string();
            operation.text2 = in_.get_string();
            break;
        default:
            return fail(
                ErrorCode::kCorruption,
                fmt::format("write set: operation {} at offset {} is unknown to this version",
                            code,
                            offset));
    }
    if (!ok || !in_.ok()) {
        return fail(
            ErrorCode::kCorruption,
            fmt::format(
                "write set: operation {} at offset {} is cut off or not valid", code, offset));
    }
    return true;
}

}  // namespace nornic::engine
