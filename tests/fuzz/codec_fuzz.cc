// Any bytes as stored values: refused, or read, and then what was read is written and read again as
// the same, and its index key sorts against the next value's as the values themselves do.

#include "base/check.h"
#include "engine/index/index_query.h"
#include "graph/codec.h"

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace nornic;

constexpr std::size_t kValuesMax = 8;

std::string encoded(const Value& value) {
    std::string out;
    ByteWriter writer{out};
    encode_value(value, writer);
    return out;
}

int sign(int n) {
    return (n > 0) - (n < 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    ByteReader reader{{reinterpret_cast<const char*>(data), size}};
    std::vector<Value> values;
    while (!reader.at_end() && values.size() < kValuesMax) {
        Value value = decode_value(reader);
        if (!reader.ok()) {
            NORNIC_CHECK(value.is_null(), "a refused value is not null");
            break;
        }
        values.push_back(std::move(value));
    }
    for (const Value& value : values) {
        const std::string bytes = encoded(value);
        ByteReader again{bytes};
        const Value back = decode_value(again);
        NORNIC_CHECK(again.ok() && again.at_end(), "written bytes are refused");
        NORNIC_CHECK(
            equivalent(value, back), "{} became {}", to_cypher_text(value), to_cypher_text(back));
        NORNIC_CHECK(hash(value) == hash(back), "{} hashes in two ways", to_cypher_text(value));
        NORNIC_CHECK(compare_for_order(value, back) == 0,
                     "{} is not in order with itself",
                     to_cypher_text(value));
        NORNIC_CHECK(encoded(back) == bytes, "writing is not stable: {}", to_cypher_text(value));
        static_cast<void>(to_plain_text(value));
        static_cast<void>(value.heap_bytes());
    }
    for (const Value& a : values) {
        for (const Value& b : values) {
            const int order = sign(compare_for_order(a, b));
            NORNIC_CHECK(order == -sign(compare_for_order(b, a)),
                         "no order: {} and {}",
                         to_cypher_text(a),
                         to_cypher_text(b));
            NORNIC_CHECK(!equivalent(a, b) || hash(a) == hash(b),
                         "equivalent, with two hashes: {} and {}",
                         to_cypher_text(a),
                         to_cypher_text(b));
            static_cast<void>(equals(a, b));
            static_cast<void>(compare(a, b));
            if (!engine::is_indexable(a) || !engine::is_indexable(b)) {
                continue;
            }
            std::string key_of_a;
            std::string key_of_b;
            encode_index_key(a, key_of_a);
            encode_index_key(b, key_of_b);
            NORNIC_CHECK(sign(key_of_a.compare(key_of_b)) == order,
                         "keys and values sort differently: {} and {}",
                         to_cypher_text(a),
                         to_cypher_text(b));
        }
    }
    return 0;
}
