#include "graph/value.h"
#include "tests/graph/values.h"

#include <gtest/gtest.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>

namespace nornic {
namespace {

TEST(FloatText, IsAsJavaPrintsIt) {
    struct Row {
        double value;
        const char* text;
    };
    const Row rows[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {1.0, "1.0"},
        {-1.5, "-1.5"},
        {100.0, "100.0"},
        {1234567.0, "1234567.0"},
        {9999999.0, "9999999.0"},
        {1e7, "1.0E7"},
        {1e10, "1.0E10"},
        {0.001, "0.001"},
        {0.00099, "9.9E-4"},
        {1e-3, "0.001"},
        {123456.789, "123456.789"},
        {12345678.9, "1.23456789E7"},
        {1e-5, "1.0E-5"},
        {0.1, "0.1"},
        {5e-324, "4.9E-324"},
        {1.7976931348623157e308, "1.7976931348623157E308"},
        {1e21, "1.0E21"},
        {std::numeric_limits<double>::infinity(), "Infinity"},
        {-std::numeric_limits<double>::infinity(), "-Infinity"},
        {std::numeric_limits<double>::quiet_NaN(), "NaN"},
    };
    for (const Row& r : rows) {
        EXPECT_EQ(format_float(r.value), r.text);
    }
}

TEST(FloatText, ReadsBackAsTheSameFloat) {
    Random random{21};
    for (int i = 0; i < 100'000; ++i) {
        const double d = std::bit_cast<double>(random.next());
        if (!std::isfinite(d)) {
            continue;
        }
        const std::string text = format_float(d);
        ASSERT_EQ(std::strtod(text.c_str(), nullptr), d) << text;
        ASSERT_NE(text.find('.'), std::string::npos) << text;
    }
}

TEST(CypherText, WritesEachTypeAsALiteralOrACall) {
    const Node node{NodeId{1}, "4:x:1", {"Person", "Odd Name"}, Map{{"name", "Ann"}}};
    const Node other{NodeId{2}, "4:x:2", {}, {}};
    const Relationship knows{
        RelId{5}, "5:x:5", NodeId{2}, "4:x:2", NodeId{1}, "4:x:1", "KNOWS", Map{{"since", 1}}};
    struct Row {
        Value value;
        const char* text;
    };
    const Row rows[] = {
        {Value{}, "null"},
        {Value{true}, "true"},
        {Value{-7}, "-7"},
        {Value{"it's\n"}, "'it\\'s\\n'"},
        {Value{List{1, "a", Value{}}}, "[1, 'a', null]"},
        {Value{Map{{"a", 1}, {"b c", 2}, {"d`", 3}}}, "{a: 1, `b c`: 2, `d```: 3}"},
        {Value{Date{0}}, "date('1970-01-01')"},
        {Value{DurationValue{0, 1, 0, 0}}, "duration('P1D')"},
        {Value{Point{Point::kWgs84, 1, 2, 0}}, "point({x: 1.0, y: 2.0, crs: 'wgs-84'})"},
        {Value{node}, "(:Person:`Odd Name` {name: 'Ann'})"},
        {Value{other}, "()"},
        {Value{knows}, "[:KNOWS {since: 1}]"},
        {Value{Path{{node, other}, {knows}}},
         "<(:Person:`Odd Name` {name: 'Ann'})<-[:KNOWS {since: 1}]-()>"},
        {Value::bytes("\x01\xAB"), "bytes(01AB)"},
    };
    for (const Row& r : rows) {
        EXPECT_EQ(to_cypher_text(r.value), r.text);
    }
}

TEST(PlainText, HasNoQuotes) {
    EXPECT_EQ(to_plain_text(Value{"it's"}), "it's");
    EXPECT_EQ(to_plain_text(Value{Date{0}}), "1970-01-01");
    EXPECT_EQ(to_plain_text(Value{1.0}), "1.0");
    EXPECT_EQ(to_plain_text(Value{LocalTime{0}}), "00:00");
}

}  // namespace
}  // namespace nornic
