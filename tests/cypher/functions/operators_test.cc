#include "cypher/functions/operators.h"

#include "tests/cypher/functions/call.h"

#include <limits>

namespace nornic::cypher {
namespace {

using test::context;
using test::text_of;

constexpr auto kMax = std::numeric_limits<std::int64_t>::max();
constexpr auto kMin = std::numeric_limits<std::int64_t>::min();
const double kNaN = std::numeric_limits<double>::quiet_NaN();

using Binary = Value (*)(const Value&, const Value&);

struct Case {
    Binary op;
    Value a;
    Value b;
    const char* want;
};

void expect(std::span<const Case> cases) {
    for (const Case& c : cases) {
        EXPECT_EQ(text_of([&] { return c.op(c.a, c.b); }), c.want)
            << to_cypher_text(c.a) << " ? " << to_cypher_text(c.b);
    }
}

TEST(Arithmetic, KeepsIntegersAndReportsOverflow) {
    const Case cases[] = {
        {add, Value{1}, Value{2}, "3"},
        {add, Value{1}, Value{2.5}, "3.5"},
        {add, Value{kMax}, Value{1}, "arithmetic error: long overflow"},
        {subtract, Value{kMin}, Value{1}, "arithmetic error: long overflow"},
        {multiply, Value{kMax}, Value{2}, "arithmetic error: long overflow"},
        {multiply, Value{3}, Value{-4}, "-12"},
        {divide, Value{7}, Value{2}, "3"},
        {divide, Value{-7}, Value{2}, "-3"},
        {divide, Value{7}, Value{2.0}, "3.5"},
        {divide, Value{1}, Value{0}, "arithmetic error: / by zero"},
        {divide, Value{1.0}, Value{0}, "Infinity"},
        {divide, Value{0.0}, Value{0.0}, "NaN"},
        {divide, Value{kMin}, Value{-1}, "arithmetic error: long overflow"},
        {modulo, Value{-7}, Value{3}, "-1"},
        {modulo, Value{kMin}, Value{-1}, "0"},
        {modulo, Value{1}, Value{0}, "arithmetic error: / by zero"},
        {modulo, Value{5.5}, Value{2}, "1.5"},
        {power, Value{2}, Value{10}, "1024.0"},
        {add, Value{1}, Value{}, "null"},
        {divide, Value{}, Value{0}, "null"},
        {subtract, Value{"a"}, Value{1}, "type error: Cannot subtract `Integer` from `String`"},
        {add, Value{1}, Value{Map{}}, "type error: Cannot add `Integer` and `Map`"},
        {add, Value{true}, Value{true}, "type error: Cannot add `Boolean` and `Boolean`"},
    };
    expect(cases);
    EXPECT_EQ(text_of([] { return negate(Value{kMin}); }), "arithmetic error: long overflow");
    EXPECT_EQ(text_of([] { return negate(Value{2.5}); }), "-2.5");
}

TEST(Arithmetic, JoinsTextAndLists) {
    const Case cases[] = {
        {add, Value{"a"}, Value{"b"}, "'ab'"},
        {add, Value{"a"}, Value{1}, "'a1'"},
        {add, Value{1.5}, Value{"a"}, "'1.5a'"},
        {add, Value{"a"}, Value{true}, "'atrue'"},
        {add, Value{"a"}, Value{Date{0}}, "type error: Cannot add `String` and `Date`"},
        {add, Value{List{1}}, Value{List{2, 3}}, "[1, 2, 3]"},
        {add, Value{List{1}}, Value{2}, "[1, 2]"},
        {add, Value{0}, Value{List{1}}, "[0, 1]"},
        {add, Value{List{1}}, Value{}, "null"},
        {concatenate, Value{"a"}, Value{"b"}, "'ab'"},
        {concatenate, Value{List{1}}, Value{List{2}}, "[1, 2]"},
        {concatenate,
         Value{"a"},
         Value{1},
         "type error: Cannot concatenate `String` and `Integer`"},
    };
    expect(cases);
}

TEST(Comparison, IsNullWhereNothingCanBeSaid) {
    const Case cases[] = {
        {less, Value{1}, Value{2}, "true"},
        {less, Value{1}, Value{1.5}, "true"},
        {less, Value{"a"}, Value{1}, "null"},
        {less, Value{}, Value{1}, "null"},
        {greater_or_equal, Value{kNaN}, Value{kNaN}, "false"},
        {greater, Value{kNaN}, Value{1}, "false"},
        {less, Value{kNaN}, Value{"a"}, "null"},
        {less_or_equal, Value{DurationValue{1, 0, 0, 0}}, Value{DurationValue{1, 0, 0, 0}}, "true"},
        {less, Value{DurationValue{1, 0, 0, 0}}, Value{DurationValue{0, 1, 0, 0}}, "null"},
        {greater_or_equal, Value{List{1, 2}}, Value{List{1, Value{}}}, "null"},
        {greater_or_equal, Value{List{1, 2}}, Value{List{3, Value{}}}, "false"},
        {greater_or_equal, Value{List{1, 0}}, Value{List{1}}, "true"},
        {equal, Value{1}, Value{1.0}, "true"},
        {equal, Value{}, Value{}, "null"},
        {not_equal, Value{1}, Value{"1"}, "true"},
        {not_equal, Value{kNaN}, Value{kNaN}, "true"},
        {not_equal, Value{1}, Value{}, "null"},
    };
    expect(cases);
}

TEST(Membership, FollowsThreeValuedLogic) {
    const Case cases[] = {
        {in_list, Value{3}, Value{List{1, Value{}, 3}}, "true"},
        {in_list, Value{4}, Value{List{1, Value{}, 3}}, "null"},
        {in_list, Value{4}, Value{List{1, 3}}, "false"},
        {in_list, Value{}, Value{List{}}, "false"},
        {in_list, Value{}, Value{List{1}}, "null"},
        {in_list, Value{1}, Value{}, "null"},
        {in_list, Value{List{1, 2}}, Value{List{1, List{1, 2}}}, "true"},
        {in_list, Value{List{1, 2}}, Value{List{Value{List{Value{}, 2}}}}, "null"},
        {in_list,
         Value{1},
         Value{"a"},
         "type error: Type mismatch: expected List<T> but was String"},
    };
    expect(cases);
}

TEST(Logic, IsKleenes) {
    const Value values[] = {Value{true}, Value{false}, Value{}};
    const char* and_want[] = {
        "true", "false", "null", "false", "false", "false", "null", "false", "null"};
    const char* or_want[] = {
        "true", "true", "true", "true", "false", "null", "true", "null", "null"};
    const char* xor_want[] = {
        "false", "true", "null", "true", "false", "null", "null", "null", "null"};
    for (std::size_t i = 0; i < 9; ++i) {
        const Value& a = values[i / 3];
        const Value& b = values[i % 3];
        EXPECT_EQ(to_cypher_text(logical_and(a, b)), and_want[i]);
        EXPECT_EQ(to_cypher_text(logical_or(a, b)), or_want[i]);
        EXPECT_EQ(to_cypher_text(logical_xor(a, b)), xor_want[i]);
    }
    EXPECT_EQ(to_cypher_text(logical_not(Value{true})), "false");
    EXPECT_TRUE(logical_not(Value{}).is_null());
    EXPECT_EQ(text_of([] { return logical_and(Value{1}, Value{true}); }),
              "type error: Type mismatch: expected Boolean but was Integer");
}

TEST(Strings, AnswerNullForWhatIsNoText) {
    const Case cases[] = {
        {starts_with, Value{"abc"}, Value{"ab"}, "true"},
        {starts_with, Value{"abc"}, Value{""}, "true"},
        {ends_with, Value{"abc"}, Value{"bc"}, "true"},
        {contains, Value{"abc"}, Value{"x"}, "false"},
        {contains, Value{1}, Value{"1"}, "null"},
        {starts_with, Value{"a"}, Value{}, "null"},
        {regex_match, Value{"abc"}, Value{"a.*"}, "true"},
        {regex_match, Value{"abc"}, Value{"b"}, "false"},
        {regex_match, Value{"ABC"}, Value{"(?i)abc"}, "true"},
        {regex_match, Value{"a\nb"}, Value{"a.b"}, "false"},
        {regex_match, Value{"\xC3\xA9"}, Value{"."}, "true"},
        {regex_match, Value{}, Value{"a"}, "null"},
        {regex_match, Value{1}, Value{"1"}, "null"},
    };
    expect(cases);
    const std::string bad = text_of([] { return regex_match(Value{"a"}, Value{"["}); });
    EXPECT_TRUE(bad.starts_with("semantic error: Invalid Regex: ")) << bad;
}

TEST(Regex, DoesNotHangOnEvilPatterns) {
    const Value text{std::string(50'000, 'a') + "b"};
    EXPECT_EQ(text_of([&] { return regex_match(text, Value{"(a+)+c"}); }), "false");
}

TEST(Access, IndexesListsFromBothEnds) {
    const Value list{List{1, 2, 3}};
    const auto at = [&](const Value& base, const Value& i) {
        return text_of([&] { return index_of(base, i, context()); });
    };
    EXPECT_EQ(at(list, Value{0}), "1");
    EXPECT_EQ(at(list, Value{-1}), "3");
    EXPECT_EQ(at(list, Value{3}), "null");
    EXPECT_EQ(at(list, Value{-4}), "null");
    EXPECT_EQ(at(list, Value{kMin}), "null");
    EXPECT_EQ(at(list, Value{}), "null");
    EXPECT_EQ(at(Value{}, Value{1}), "null");
    EXPECT_EQ(at(Value{Map{{"a", 1}}}, Value{"a"}), "1");
    EXPECT_EQ(at(Value{Map{{"a", 1}}}, Value{"b"}), "null");
    EXPECT_TRUE(at(list, Value{"a"}).starts_with("type error: Cannot access a list"));
    EXPECT_TRUE(at(list, Value{1.5}).starts_with("type error: Cannot access a list"));
    EXPECT_TRUE(at(Value{Map{}}, Value{0}).starts_with("type error: Cannot access a map"));
    EXPECT_TRUE(
        at(Value{100}, Value{0}).starts_with("type error: `100` is not a collection or a map"));
}

TEST(Access, SlicesWithinBounds) {
    const Value list{List{1, 2, 3}};
    struct Row {
        Value from;
        Value to;
        const char* want;
    };
    const Row rows[] = {
        {Value{0}, Value{0}, "[]"},
        {Value{1}, Value{3}, "[2, 3]"},
        {Value{-3}, Value{-1}, "[1, 2]"},
        {Value{3}, Value{1}, "[]"},
        {Value{-5}, Value{5}, "[1, 2, 3]"},
        {Value{}, Value{1}, "null"},
        {Value{0}, Value{}, "null"},
        {Value{kMin}, Value{kMax}, "[1, 2, 3]"},
    };
    for (const Row& r : rows) {
        EXPECT_EQ(text_of([&] { return slice(list, &r.from, &r.to, test::context()); }), r.want);
    }
    const Value one{1};
    EXPECT_EQ(to_cypher_text(slice(list, &one, nullptr, test::context())), "[2, 3]");
    EXPECT_EQ(to_cypher_text(slice(list, nullptr, &one, test::context())), "[1]");
    EXPECT_TRUE(slice(Value{}, &one, nullptr, test::context()).is_null());
}

TEST(Access, ReadsComponentsOfPoints) {
    const Value p{Point{Point::kWgs84_3D, 12, 56, 100}};
    EXPECT_EQ(to_cypher_text(property_of(p, "longitude")), "12.0");
    EXPECT_EQ(to_cypher_text(property_of(p, "y")), "56.0");
    EXPECT_EQ(to_cypher_text(property_of(p, "height")), "100.0");
    EXPECT_EQ(to_cypher_text(property_of(p, "srid")), "4979");
    EXPECT_EQ(to_cypher_text(property_of(p, "crs")), "'wgs-84-3d'");
    EXPECT_TRUE(text_of([] {
                    return property_of(Value{Point{}}, "longitude");
                }).starts_with("argument error: "));
    EXPECT_TRUE(property_of(Value{}, "x").is_null());
    EXPECT_TRUE(text_of([] { return property_of(Value{1}, "x"); }).starts_with("type error: "));
}

TEST(ValueTypes, AreWrittenAsCypherWritesThem) {
    EXPECT_EQ(value_type_text(Value{}), "NULL");
    EXPECT_EQ(value_type_text(Value{1}), "INTEGER NOT NULL");
    EXPECT_EQ(value_type_text(Value{DateTime{}}), "ZONED DATETIME NOT NULL");
    EXPECT_EQ(value_type_text(Value{List{}}), "LIST<NOTHING> NOT NULL");
    EXPECT_EQ(value_type_text(Value{List{1, Value{}}}), "LIST<INTEGER> NOT NULL");
    EXPECT_EQ(value_type_text(Value{List{1, "a"}}),
              "LIST<STRING NOT NULL | INTEGER NOT NULL> NOT NULL");
    EXPECT_EQ(value_type_text(Value{List{Value{List{true}}}}),
              "LIST<LIST<BOOLEAN NOT NULL> NOT NULL> NOT NULL");
}

}  // namespace
}  // namespace nornic::cypher
