// Any bytes as a WriteSet: refused with a reason that names the place, or read to the end, and then
// written again by the writer and read as the same operations.

#include "base/check.h"
#include "engine/schema_catalog.h"
#include "engine/snapshot.h"
#include "engine/write_set.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace {

using namespace nornic;
using namespace nornic::engine;

void write(WriteSetWriter& writer, const WriteOperation& operation) {
    switch (operation.op) {
        case WriteOp::kCreateToken:
            return writer.create_token(operation.token_kind, operation.token, operation.text);
        case WriteOp::kCreateNode:
            return writer.create_node(NodeId{operation.id}, operation.node);
        case WriteOp::kDeleteNode:
            return writer.delete_node(NodeId{operation.id});
        case WriteOp::kAddLabel:
            return writer.add_label(NodeId{operation.id}, LabelId{operation.token});
        case WriteOp::kRemoveLabel:
            return writer.remove_label(NodeId{operation.id}, LabelId{operation.token});
        case WriteOp::kSetNodeProperty:
            return writer.set_property(
                NodeId{operation.id}, PropertyKeyId{operation.token}, operation.value);
        case WriteOp::kRemoveNodeProperty:
            return writer.set_property(
                NodeId{operation.id}, PropertyKeyId{operation.token}, Value{});
        case WriteOp::kCreateRelationship:
            return writer.create_relationship(RelId{operation.id}, operation.relationship);
        case WriteOp::kDeleteRelationship:
            return writer.delete_relationship(RelId{operation.id});
        case WriteOp::kSetRelProperty:
            return writer.set_property(
                RelId{operation.id}, PropertyKeyId{operation.token}, operation.value);
        case WriteOp::kRemoveRelProperty:
            return writer.set_property(
                RelId{operation.id}, PropertyKeyId{operation.token}, Value{});
        case WriteOp::kPutIndex:
        case WriteOp::kPutConstraint:
            return writer.put_rule(operation.op, operation.text);
        case WriteOp::kDropRule:
            return writer.drop_rule(SchemaRuleId{static_cast<std::uint32_t>(operation.id)});
        case WriteOp::kPutCatalog:
            return writer.put_catalog(operation.text, operation.value);
        case WriteOp::kEraseCatalog:
            return writer.erase_catalog(operation.text);
        case WriteOp::kCreateDatabase:
            return writer.create_database(DatabaseId{static_cast<std::uint32_t>(operation.id)},
                                          operation.text,
                                          operation.text2);
    }
    NORNIC_CHECK(false, "an operation that the reader should not know");
}

/// A rule that is taken is written and read again as the same bytes.
template <class Decode>
void read_rule(std::string_view bytes, Decode&& decode) {
    ByteReader reader{bytes};
    const auto rule = decode(reader);
    if (!rule) {
        NORNIC_CHECK(!rule.error().message().empty(), "a refusal without a reason");
        return;
    }
    std::string written;
    ByteWriter writer{written};
    encode_rule(rule.value(), writer);
    ByteReader again{written};
    const auto back = decode(again);
    NORNIC_CHECK(back && again.at_end(), "a written rule is refused");
    std::string written_again;
    ByteWriter writer_again{written_again};
    encode_rule(back.value(), writer_again);
    NORNIC_CHECK(written == written_again, "writing a rule is not stable");
}

/// Reads `bytes` to the end into the canonical form, or gives the error.
Result<std::string> rewritten(std::string_view bytes) {
    NORNIC_TRY(WriteSetReader reader, WriteSetReader::open(bytes));
    std::string out;
    WriteSetWriter writer{out, reader.database()};
    for (;;) {
        WriteOperation operation;
        NORNIC_TRY(const bool more, reader.next(operation));
        if (!more) {
            return out;
        }
        if (operation.op == WriteOp::kPutIndex) {
            read_rule(operation.text, decode_index_rule);
        } else if (operation.op == WriteOp::kPutConstraint) {
            read_rule(operation.text, decode_constraint_rule);
        }
        write(writer, operation);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text = describe_write_set({reinterpret_cast<const char*>(data), size});
    NORNIC_CHECK(text.empty() || text.ends_with("}\n"), "a description that is cut off");
    const Result<std::string> once = rewritten({reinterpret_cast<const char*>(data), size});
    if (!once) {
        NORNIC_CHECK(!once.error().message().empty(), "a refusal without a reason");
        return 0;
    }
    const Result<std::string> twice = rewritten(once.value());
    NORNIC_CHECK(twice, "written bytes are refused: {}", twice.error().message());
    NORNIC_CHECK(once.value() == twice.value(), "writing is not stable");
    return 0;
}
