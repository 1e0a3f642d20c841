// WriteSet: what one transaction changes, as resolved effects, in the bytes that the log carries.
//
// Format byte (1), database (varint), then operations to the end: a byte that names it and its
// fields. Effects are absolute ("this property is now 3"), never relative. Whoever meets a format
// or an operation it does not know must stop: skipping would be divergence.
#pragma once

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "engine/graph_reader.h"
#include "engine/tokens.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::engine {

/// On disk and on the wire: never renumbered.
enum class WriteOp : std::uint8_t {
    kCreateToken = 1,         // kind, id, name
    kCreateNode = 2,          // id, labels, properties
    kDeleteNode = 3,          // id
    kAddLabel = 4,            // id, label
    kRemoveLabel = 5,         // id, label
    kSetNodeProperty = 6,     // id, key, value
    kRemoveNodeProperty = 7,  // id, key
    kCreateRelationship = 8,  // id, type, start, end, properties
    kDeleteRelationship = 9,  // id
    kSetRelProperty = 10,     // id, key, value
    kRemoveRelProperty = 11,  // id, key
    kPutIndex = 12,           // an encoded IndexRule
    kPutConstraint = 13,      // an encoded ConstraintRule
    kDropRule = 14,           // id
    kPutCatalog = 15,         // key, value
    kEraseCatalog = 16,       // key
    kCreateDatabase = 17,     // id, name, uuid
    // In write sets of regions only (engine/region/codec.h).
    kRegion = 18,             // an encoded RegionChange
    kMergeNode = 19,          // id, labels, properties, stamps: a seed's cells
    kMergeRelationship = 20,  // id, type, start, end, properties, stamps
    kMetadata = 21,           // value: of the transaction, before what it wrote; for the conflict log alone
    // From Transaction::prepare() to stamp_write_set(), which takes it away.
    kSeen = 22,               // an encoded Frontier: what the transaction's snapshot had of other regions, before all else
};

/// Appends to a string that the caller owns.
class WriteSetWriter {
public:
    static constexpr std::uint8_t kFormat = 1;

    WriteSetWriter(std::string& out, DatabaseId database) : out_{out} {
        out_.put_u8(kFormat);
        out_.put_varint(database.value);
    }
    void create_token(TokenKind kind, std::uint32_t id, std::string_view name);
    void create_node(NodeId id, const NodeData& data);
    void delete_node(NodeId id) { op(WriteOp::kDeleteNode, id.value); }
    void add_label(NodeId id, LabelId label) { op(WriteOp::kAddLabel, id.value, label.value); }
    void remove_label(NodeId id, LabelId label) {
        op(WriteOp::kRemoveLabel, id.value, label.value);
    }
    /// A null value removes.
    void set_property(NodeId id, PropertyKeyId key, const Value& value);
    void set_property(RelId id, PropertyKeyId key, const Value& value);
    void create_relationship(RelId id, const RelData& data);
    void delete_relationship(RelId id) { op(WriteOp::kDeleteRelationship, id.value); }
    /// `encoded`: encode_rule() of schema_catalog.h.
    void put_rule(WriteOp which, std::string_view encoded);
    void drop_rule(SchemaRuleId id) { op(WriteOp::kDropRule, id.value); }
    void put_catalog(std::string_view key, const Value& value);
    void erase_catalog(std::string_view key);
    void create_database(DatabaseId id, std::string_view name, std::string_view uuid);
    /// `encoded`: encode_region_change() of region.h.
    void change_region(std::string_view encoded);
    /// Precondition: data has stamps. What is not live has no labels, properties or ends of any meaning unless awaited or
    /// hidden.
    void merge_node(NodeId id, const NodeData& data);
    void merge_relationship(RelId id, const RelData& data);
    void note_metadata(const Value& metadata);
    /// `encoded`: put_frontier() of region/codec.h.
    void note_seen(std::string_view encoded);

private:
    void op(WriteOp which, std::uint64_t id) {
        out_.put_u8(static_cast<std::uint8_t>(which));
        out_.put_varint(id);
    }
    void op(WriteOp which, std::uint64_t id, std::uint64_t token) {
        op(which, id);
        out_.put_varint(token);
    }
    ByteWriter out_;
};

/// One operation; the fields that its kind names hold something.
struct WriteOperation {
    WriteOp op = WriteOp::kCreateNode;
    std::uint64_t id = 0;
    std::uint32_t token = 0;  // label, type or key
    TokenKind token_kind = TokenKind::kLabel;
    NodeData node;         // kCreateNode, kMergeNode (with stamps); may be moved out
    RelData relationship;  // kCreateRelationship, kMergeRelationship (with stamps); may be moved out
    Value value;
    std::string_view text;   // name, catalogue key, encoded rule or change of regions; lives as long as the payload
    std::string_view text2;  // kCreateDatabase: uuid
};

class WriteSetReader {
public:
    /// kCorruption if the format is not known.
    static Result<WriteSetReader> open(std::string_view payload);
    /// Over what stands behind the database, where another format holds it (region/codec.h).
    static WriteSetReader over(DatabaseId database, std::string_view operations) {
        WriteSetReader reader{operations};
        reader.database_ = database;
        return reader;
    }

    [[nodiscard]] DatabaseId database() const noexcept { return database_; }
    /// false at the end. kCorruption naming the offset if an operation is unknown or cut off.
    Result<bool> next(WriteOperation& operation);
    /// Where the next operation begins.
    [[nodiscard]] std::size_t position() const noexcept { return in_.position(); }

private:
    explicit WriteSetReader(std::string_view payload) : in_{payload} {}
    ByteReader in_;
    DatabaseId database_;
};

}  // namespace nornic::engine
