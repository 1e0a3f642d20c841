#include "graph/codec.h"

#include "tests/graph/values.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace nornic {
namespace {

std::string encoded(const Value& v) {
    std::string out;
    ByteWriter writer{out};
    encode_value(v, writer);
    return out;
}

std::string key(const Value& v) {
    std::string out;
    encode_index_key(v, out);
    return out;
}

TEST(Codec, GivesBackWhatItTook) {
    Random random{3};
    for (int i = 0; i < 100'000; ++i) {
        const Value v = test::random_value(random);
        const std::string bytes = encoded(v);
        ByteReader reader{bytes};
        const Value back = decode_value(reader);
        ASSERT_TRUE(reader.ok()) << to_cypher_text(v);
        ASSERT_TRUE(reader.at_end()) << to_cypher_text(v);
        ASSERT_EQ(to_cypher_text(back), to_cypher_text(v));
        ASSERT_EQ(back.type(), v.type());
    }
}

TEST(Codec, TakesNullsAndMapsForTheCatalogue) {
    const Value v{Map{{"b", Value{}}, {"a", List{Value{}, Map{{"x", 1.5}}}}}};
    const std::string bytes = encoded(v);
    ByteReader reader{bytes};
    EXPECT_EQ(to_cypher_text(decode_value(reader)), "{b: null, a: [null, {x: 1.5}]}");
}

TEST(Codec, RefusesEveryPrefix) {
    const Value v{
        List{1, "text", 2.5, DateTime{1, 2, 3600, "Europe/Berlin"}, Point{}, Map{{"k", true}}}};
    const std::string bytes = encoded(v);
    for (std::size_t n = 0; n < bytes.size(); ++n) {
        ByteReader reader{std::string_view{bytes}.substr(0, n)};
        EXPECT_TRUE(decode_value(reader).is_null());
        EXPECT_FALSE(reader.ok()) << n;
    }
}

TEST(Codec, SurvivesRandomBytes) {
    Random random{5};
    for (int i = 0; i < 200'000; ++i) {
        std::string bytes(random.below(40), '\0');
        for (char& c : bytes) {
            c = static_cast<char>(random.one_in(2) ? random.below(16) : random.below(256));
        }
        ByteReader reader{bytes};
        const Value v = decode_value(reader);
        if (reader.ok()) {
            // What was believed can be printed and written again.
            ASSERT_FALSE(to_cypher_text(v).empty());
            (void)encoded(v);
        }
    }
}

TEST(Codec, BoundsNestingAndCounts) {
    // A thousand lists of one element each.
    std::string deep;
    for (int i = 0; i < 1'000; ++i) {
        deep += std::string{"\x07\x01", 2};
    }
    deep += '\0';
    ByteReader nested{deep};
    (void)decode_value(nested);
    EXPECT_FALSE(nested.ok());

    const std::string wide{"\x07\xFF\xFF\xFF\xFF\x0F", 6};  // a list of 2^32 elements, and no bytes
    ByteReader counted{wide};
    (void)decode_value(counted);
    EXPECT_FALSE(counted.ok());
}

TEST(IndexKey, SortsAsTheValuesDo) {
    Random random{9};
    for (int i = 0; i < 300'000; ++i) {
        const Value a = random.one_in(3) ? test::random_number(random) : test::random_value(random);
        const Value b = random.one_in(3) ? test::random_number(random) : test::random_value(random);
        const int want = compare_for_order(a, b);
        const int got = key(a).compare(key(b));
        ASSERT_EQ(got < 0, want < 0) << to_cypher_text(a) << " / " << to_cypher_text(b);
        ASSERT_EQ(got == 0, want == 0) << to_cypher_text(a) << " / " << to_cypher_text(b);
    }
}

TEST(IndexKey, SortsColumnByColumn) {
    // No key is the beginning of another, so a second column never decides before the first.
    Random random{13};
    for (int i = 0; i < 100'000; ++i) {
        const Value a1 = test::random_value(random);
        const Value b1 = test::random_value(random);
        const Value a2 = test::random_value(random);
        const Value b2 = test::random_value(random);
        const int first = compare_for_order(a1, b1);
        const int want = first != 0 ? first : compare_for_order(a2, b2);
        const int got = (key(a1) + key(a2)).compare(key(b1) + key(b2));
        ASSERT_EQ(got < 0, want < 0);
        ASSERT_EQ(got == 0, want == 0);
    }
}

TEST(IndexKey, EqualNumbersGiveEqualBytes) {
    EXPECT_EQ(key(Value{1}), key(Value{1.0}));
    EXPECT_EQ(key(Value{0.0}), key(Value{-0.0}));
    EXPECT_EQ(key(Value{std::int64_t{1} << 62}), key(Value{4611686018427387904.0}));
    EXPECT_NE(key(Value{std::numeric_limits<std::int64_t>::max()}),
              key(Value{9223372036854775808.0}));
    EXPECT_LT(key(Value{std::numeric_limits<double>::infinity()}),
              key(Value{std::numeric_limits<double>::quiet_NaN()}));
}

TEST(IndexKeyDeathTest, RefusesWhatNoIndexHolds) {
    EXPECT_DEATH((void)key(Value{}), "CHECK failed");
    EXPECT_DEATH((void)key(Value{Map{}}), "CHECK failed");
    EXPECT_DEATH((void)encoded(Value{NodeId{1}}), "CHECK failed");
}

}  // namespace
}  // namespace nornic
