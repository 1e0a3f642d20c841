// Any bytes: the reader must refuse or read, and what it read must pack and read again as the same.
#include "base/check.h"
#include "bolt/packstream.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace nornic;
    using namespace nornic::bolt;
    if (size == 0) {
        return 0;
    }
    const Dialect dialects[] = {{{5, 8}, false}, {{4, 4}, false}, {{4, 4}, true}};
    const Dialect dialect = dialects[data[0] % 3];
    const auto entities =
        (data[0] & 0x80) != 0 ? Unpacker::Entities::kTaken : Unpacker::Entities::kRefused;
    const std::string_view bytes{reinterpret_cast<const char*>(data) + 1, size - 1};
    Unpacker in{bytes, dialect, entities};
    Value value;
    if (!in.value(value)) {
        NORNIC_CHECK(!in.ok() && !in.message().empty(), "a refusal without a reason");
        return 0;
    }
    std::string packed;
    Packer{packed, dialect}.value(value);
    Unpacker again{packed, dialect, entities};
    Value back;
    NORNIC_CHECK(again.value(back), "packed bytes are refused: {}", again.message());
    std::string packed_again;
    Packer{packed_again, dialect}.value(back);
    NORNIC_CHECK(packed == packed_again, "packing is not stable");
    return 0;
}
