// Any bytes as a WriteSet: refused with a reason that names the place, or read to the end, and then
// written again by the writer and read as the same operations.

#include "base/check.h"
#include "engine/region/codec.h"
#include "engine/region/translate.h"
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
        write_operation(operation, writer);
    }
}

/// What regions exchange is written and read again as the same bytes.
void read_of_regions(std::string_view bytes) {
    if (const auto batch = decode_region_batch(bytes)) {
        const std::string once = encode_region_batch(batch.value());
        const auto again = decode_region_batch(once);
        NORNIC_CHECK(again && encode_region_batch(again.value()) == once, "writing a batch is not stable");
        for (const StampedWrite& write : batch.value().writes) {
            WriteSetReader reader = write.reader();
            WriteOperation operation;
            for (Result<bool> more = true; more && more.value();) {
                more = reader.next(operation);
            }
        }
    }
    if (const auto state = decode_region_state(bytes)) {
        NORNIC_CHECK(decode_region_state(encode_region_state(state.value())).value() == state.value(), "another state");
    }
    if (const auto change = decode_region_change(bytes)) {
        const std::string once = encode_region_change(change.value());
        NORNIC_CHECK(encode_region_change(decode_region_change(once).value()) == once, "another change");
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text = describe_write_set({reinterpret_cast<const char*>(data), size});
    NORNIC_CHECK(text.empty() || text.ends_with("}\n"), "a description that is cut off");
    read_of_regions({reinterpret_cast<const char*>(data), size});
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
