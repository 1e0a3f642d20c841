#include "engine/region/translate.h"

#include "engine/region/stamps.h"
#include "engine/schema_catalog.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

namespace nornic::engine {
namespace {

Result<> check_once(bool once, std::string_view what, std::uint64_t id) {
    if (once) {
        return success();
    }
    return fail(ErrorCode::kCorruption, fmt::format("write set: entity {} names {} twice", id, what));
}

/// By token again; false if one is there twice.
template <class Entries, class TokenOf>
bool sort_by(Entries& entries, TokenOf&& token_of) {
    const auto less = [&](const auto& a, const auto& b) { return token_of(a) < token_of(b); };
    if (!std::is_sorted(entries.begin(), entries.end(), less)) {
        std::sort(entries.begin(), entries.end(), less);
    }
    const auto equal = [&](const auto& a, const auto& b) { return token_of(a) == token_of(b); };
    return std::adjacent_find(entries.begin(), entries.end(), equal) == entries.end();
}

Result<> map_properties(std::vector<PropertyEntry>& properties, std::uint64_t id, const TokenMap& map) {
    for (PropertyEntry& entry : properties) {
        NORNIC_TRY(const std::uint32_t key, map(TokenKind::kPropertyKey, entry.key.value));
        entry.key = PropertyKeyId{key};
        if (entry.value.is_null()) {
            return fail(ErrorCode::kCorruption, fmt::format("write set: a property of entity {} is null", id));
        }
    }
    return check_once(sort_by(properties, [](const PropertyEntry& entry) { return entry.key; }), "a key", id);
}

Result<> map_cells(std::vector<CellStamp>& cells, TokenKind kind, std::uint64_t id, const TokenMap& map) {
    for (CellStamp& cell : cells) {
        NORNIC_TRY(cell.token, map(kind, cell.token));
    }
    return check_once(sort_by(cells, [](const CellStamp& cell) { return cell.token; }), "a stamp", id);
}

template <class Data>
Result<> map_stamps(Data& data, std::uint64_t id, const TokenMap& map) {
    if (!data.stamps) {
        return success();
    }
    auto stamps = std::make_shared<EntityStamps>(*data.stamps);
    NORNIC_TRY(map_cells(stamps->labels, TokenKind::kLabel, id, map));
    NORNIC_TRY(map_cells(stamps->properties, TokenKind::kPropertyKey, id, map));
    data.stamps = std::move(stamps);
    return success();
}

Result<> map_node(NodeData& node, std::uint64_t id, const TokenMap& map) {
    for (LabelId& label : node.labels) {
        NORNIC_TRY(const std::uint32_t mapped, map(TokenKind::kLabel, label.value));
        label = LabelId{mapped};
    }
    NORNIC_TRY(check_once(sort_by(node.labels, [](LabelId label) { return label; }), "a label", id));
    NORNIC_TRY(map_properties(node.properties, id, map));
    return map_stamps(node, id, map);
}

Result<> map_relationship(RelData& relationship, std::uint64_t id, const TokenMap& map) {
    // One that nobody created yet has no type.
    if (!relationship.stamps || relationship.stamps->life == Life::kLive || relationship.stamps->life == Life::kHidden) {
        NORNIC_TRY(const std::uint32_t type, map(TokenKind::kRelationshipType, relationship.type.value));
        relationship.type = RelTypeId{type};
    }
    NORNIC_TRY(map_properties(relationship.properties, id, map));
    return map_stamps(relationship, id, map);
}

TokenKind token_kind(EntityKind entity) noexcept {
    return entity == EntityKind::kNode ? TokenKind::kLabel : TokenKind::kRelationshipType;
}

Result<> map_keys(std::vector<PropertyKeyId>& keys, const TokenMap& map) {
    for (PropertyKeyId& key : keys) {
        NORNIC_TRY(const std::uint32_t mapped, map(TokenKind::kPropertyKey, key.value));
        key = PropertyKeyId{mapped};
    }
    return success();
}

Result<> map_rule(WriteOperation& operation, std::string& encoded, const TokenMap& map) {
    ByteReader in{operation.text};
    std::string bytes;
    ByteWriter out{bytes};
    if (operation.op == WriteOp::kPutIndex) {
        NORNIC_TRY(IndexRule rule, decode_index_rule(in));
        for (std::uint32_t& token : rule.tokens) {
            NORNIC_TRY(token, map(token_kind(rule.entity), token));
        }
        NORNIC_TRY(map_keys(rule.properties, map));
        encode_rule(rule, out);
    } else {
        NORNIC_TRY(ConstraintRule rule, decode_constraint_rule(in));
        NORNIC_TRY(rule.token, map(token_kind(rule.entity), rule.token));
        NORNIC_TRY(map_keys(rule.properties, map));
        encode_rule(rule, out);
    }
    if (!in.at_end()) {
        return fail(ErrorCode::kCorruption, "write set: bytes are left behind an index or constraint");
    }
    encoded = std::move(bytes);
    operation.text = encoded;
    return success();
}

}  // namespace

Result<> map_tokens(WriteOperation& operation, std::string& rule, const TokenMap& map) {
    switch (operation.op) {
        case WriteOp::kCreateNode:
        case WriteOp::kMergeNode:
            return map_node(operation.node, operation.id, map);
        case WriteOp::kCreateRelationship:
        case WriteOp::kMergeRelationship:
            return map_relationship(operation.relationship, operation.id, map);
        case WriteOp::kAddLabel:
        case WriteOp::kRemoveLabel: {
            NORNIC_TRY(operation.token, map(TokenKind::kLabel, operation.token));
            return success();
        }
        case WriteOp::kSetNodeProperty:
        case WriteOp::kSetRelProperty:
            if (operation.value.is_null()) {
                return fail(ErrorCode::kCorruption,
                            fmt::format("write set: a property of entity {} is null", operation.id));
            }
            [[fallthrough]];
        case WriteOp::kRemoveNodeProperty:
        case WriteOp::kRemoveRelProperty: {
            NORNIC_TRY(operation.token, map(TokenKind::kPropertyKey, operation.token));
            return success();
        }
        case WriteOp::kPutIndex:
        case WriteOp::kPutConstraint:
            return map_rule(operation, rule, map);
        default:
            return success();
    }
}

void write_operation(const WriteOperation& operation, WriteSetWriter& out) {
    const NodeId node{operation.id};
    const RelId relationship{operation.id};
    const PropertyKeyId key{operation.token};
    switch (operation.op) {
        case WriteOp::kCreateToken:
            return out.create_token(operation.token_kind, operation.token, operation.text);
        case WriteOp::kCreateNode:
            return out.create_node(node, operation.node);
        case WriteOp::kDeleteNode:
            return out.delete_node(node);
        case WriteOp::kAddLabel:
            return out.add_label(node, LabelId{operation.token});
        case WriteOp::kRemoveLabel:
            return out.remove_label(node, LabelId{operation.token});
        case WriteOp::kSetNodeProperty:
            return out.set_property(node, key, operation.value);
        case WriteOp::kRemoveNodeProperty:
            return out.set_property(node, key, Value{});
        case WriteOp::kCreateRelationship:
            return out.create_relationship(relationship, operation.relationship);
        case WriteOp::kDeleteRelationship:
            return out.delete_relationship(relationship);
        case WriteOp::kSetRelProperty:
            return out.set_property(relationship, key, operation.value);
        case WriteOp::kRemoveRelProperty:
            return out.set_property(relationship, key, Value{});
        case WriteOp::kPutIndex:
        case WriteOp::kPutConstraint:
            return out.put_rule(operation.op, operation.text);
        case WriteOp::kDropRule:
            return out.drop_rule(SchemaRuleId{static_cast<std::uint32_t>(operation.id)});
        case WriteOp::kPutCatalog:
            return out.put_catalog(operation.text, operation.value);
        case WriteOp::kEraseCatalog:
            return out.erase_catalog(operation.text);
        case WriteOp::kCreateDatabase:
            return out.create_database(
                DatabaseId{static_cast<std::uint32_t>(operation.id)}, operation.text, operation.text2);
        case WriteOp::kRegion:
            return out.change_region(operation.text);
        case WriteOp::kMetadata:
            return out.note_metadata(operation.value);
        case WriteOp::kSeen:
            return out.note_seen(operation.text);
        case WriteOp::kMergeNode:
            return out.merge_node(node, operation.node);
        case WriteOp::kMergeRelationship:
            return out.merge_relationship(relationship, operation.relationship);
    }
}

}  // namespace nornic::engine
