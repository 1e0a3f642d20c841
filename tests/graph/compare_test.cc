#include "graph/value.h"
#include "tests/graph/values.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace nornic {
namespace {

const double kNaN = std::numeric_limits<double>::quiet_NaN();

TEST(Equals, FollowsThreeValuedLogic) {
    struct Row {
        Value a;
        Value b;
        int want;
    };
    const Row rows[] = {
        {Value{}, Value{}, -1},
        {Value{1}, Value{}, -1},
        {Value{1}, Value{1.0}, 1},
        {Value{1}, Value{"1"}, 0},
        {Value{true}, Value{1}, 0},
        {Value{kNaN}, Value{kNaN}, 0},
        {Value{0.0}, Value{-0.0}, 1},
        {Value{(std::int64_t{1} << 53) + 1}, Value{9007199254740992.0}, 0},
        {Value{std::numeric_limits<std::int64_t>::max()}, Value{9223372036854775808.0}, 0},
        {Value{List{1, Value{}}}, Value{List{1, Value{}}}, -1},
        {Value{List{1, Value{}}}, Value{List{2, Value{}}}, 0},
        {Value{List{Value{}, 1}}, Value{List{Value{}, 2}}, 0},
        {Value{List{1}}, Value{List{1, Value{}}}, 0},
        {Value{Map{{"a", 1}, {"b", 2}}}, Value{Map{{"b", 2}, {"a", 1.0}}}, 1},
        {Value{Map{{"a", Value{}}}}, Value{Map{{"a", Value{}}}}, -1},
        {Value{Map{{"a", Value{}}}}, Value{Map{{"b", Value{}}}}, 0},
        {Value{NodeId{7}}, Value{Node{NodeId{7}, "4:x:7", {}, {}}}, 1},
        {Value{NodeId{7}}, Value{RelId{7}}, 0},
        {Value{DurationValue{0, 1, 0, 0}}, Value{DurationValue{0, 0, 86'400, 0}}, 0},
        {Value{DateTime{0, 0, 0, ""}}, Value{DateTime{0, 0, 3600, ""}}, 0},
    };
    for (const Row& r : rows) {
        EXPECT_EQ(equals(r.a, r.b), r.want) << to_cypher_text(r.a) << " = " << to_cypher_text(r.b);
        EXPECT_EQ(equals(r.b, r.a), r.want) << to_cypher_text(r.b) << " = " << to_cypher_text(r.a);
    }
}

TEST(Compare, SaysWhichPairsHaveNoAnswer) {
    struct Row {
        Value a;
        Value b;
        int want;
    };
    const Row rows[] = {
        {Value{1}, Value{1.5}, -1},
        {Value{"a"}, Value{"b"}, -1},
        {Value{"a"}, Value{1}, kIncomparable},
        {Value{}, Value{1}, kIncomparable},
        {Value{kNaN}, Value{1}, kIncomparable},
        {Value{false}, Value{true}, -1},
        {Value{List{1, 2}}, Value{List{1, 3}}, -1},
        {Value{List{1}}, Value{List{1, 0}}, -1},
        {Value{List{1}}, Value{List{1, Value{}}}, -1},
        {Value{List{1, 2}}, Value{List{1, Value{}}}, kIncomparable},
        {Value{List{1, "a"}}, Value{List{3, Value{}}}, -1},
        {Value{Map{}}, Value{Map{}}, kIncomparable},
        {Value{DurationValue{1, 0, 0, 0}}, Value{DurationValue{0, 1, 0, 0}}, kIncomparable},
        {Value{DurationValue{1, 0, 0, 0}}, Value{DurationValue{1, 0, 0, 0}}, 0},
        // 10:00+01:00 is before 09:35Z.
        {Value{Time{36'000 * kNanosPerSecond, 3600}}, Value{Time{34'500 * kNanosPerSecond, 0}}, -1},
    };
    for (const Row& r : rows) {
        EXPECT_EQ(compare(r.a, r.b), r.want) << to_cypher_text(r.a) << " < " << to_cypher_text(r.b);
        EXPECT_EQ(compare(r.b, r.a), r.want == kIncomparable ? r.want : -r.want);
    }
}

TEST(Order, PutsTypesInTheirPlaces) {
    const Value ascending[] = {
        Value{Map{{"a", 1}}},
        Value{NodeId{3}},
        Value{RelId{1}},
        Value{List{1}},
        Value{PathRef{{NodeId{1}}, {}}},
        Value{DateTime{}},
        Value{LocalDateTime{}},
        Value{Date{}},
        Value{Time{}},
        Value{LocalTime{}},
        Value{DurationValue{}},
        Value{Point{}},
        Value{"text"},
        Value{false},
        Value{true},
        Value{-std::numeric_limits<double>::infinity()},
        Value{1},
        Value{1.5},
        Value{kNaN},
        Value{},
    };
    for (std::size_t i = 0; i < std::size(ascending); ++i) {
        for (std::size_t j = 0; j < std::size(ascending); ++j) {
            const int c = compare_for_order(ascending[i], ascending[j]);
            EXPECT_EQ(c < 0, i < j)
                << to_cypher_text(ascending[i]) << " / " << to_cypher_text(ascending[j]);
            EXPECT_EQ(c == 0, i == j);
        }
    }
}

TEST(Order, IsTotalAndAgreesWithEquivalenceAndHash) {
    Random random{11};
    for (int i = 0; i < 100'000; ++i) {
        const Value a = test::random_value(random);
        const Value b = test::random_value(random);
        const Value c = test::random_value(random);
        const int ab = compare_for_order(a, b);
        ASSERT_EQ(ab, -compare_for_order(b, a));
        ASSERT_EQ(ab == 0, equivalent(a, b)) << to_cypher_text(a) << " / " << to_cypher_text(b);
        if (ab == 0) {
            ASSERT_EQ(hash(a), hash(b)) << to_cypher_text(a) << " / " << to_cypher_text(b);
        }
        if (ab <= 0 && compare_for_order(b, c) <= 0) {
            ASSERT_LE(compare_for_order(a, c), 0);
        }
        ASSERT_EQ(equals(a, b) == 1, equivalent(a, b))
            << to_cypher_text(a) << " / " << to_cypher_text(b);
    }
}

TEST(Equivalence, TreatsNullAndNaNAsThemselves) {
    EXPECT_TRUE(equivalent(Value{}, Value{}));
    EXPECT_TRUE(equivalent(Value{kNaN}, Value{-kNaN}));
    EXPECT_EQ(hash(Value{kNaN}), hash(Value{-kNaN}));
    EXPECT_TRUE(equivalent(Value{List{Value{}}}, Value{List{Value{}}}));
    EXPECT_EQ(hash(Value{1}), hash(Value{1.0}));
    EXPECT_EQ(hash(Value{Map{{"a", 1}, {"b", 2}}}), hash(Value{Map{{"b", 2}, {"a", 1}}}));
    EXPECT_NE(hash(Value{1}), hash(Value{2}));
}

}  // namespace
}  // namespace nornic
