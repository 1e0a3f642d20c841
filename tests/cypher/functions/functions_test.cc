#include "tests/cypher/functions/call.h"

#include <cmath>
#include <limits>

namespace nornic::cypher {
namespace {

using test::answer;
using test::call;

struct Row {
    const char* function;
    test::Arguments args;
    const char* want;
};

void expect(const std::vector<Row>& rows) {
    for (const Row& r : rows) {
        std::string shown;
        for (const Value& v : r.args.values) {
            shown += (shown.empty() ? "" : ", ") + to_cypher_text(v);
        }
        EXPECT_EQ(answer(r.function, r.args), r.want) << r.function << '(' << shown << ')';
    }
}

TEST(Table, HasAConsistentRowForEachFunction) {
    EXPECT_GE(all_functions().size(), 110U);
    std::string previous;
    for (const FunctionSignature& f : all_functions()) {
        EXPECT_LT(previous, f.name);
        previous = f.name;
        EXPECT_EQ(find_function(f.name), &f);
        EXPECT_EQ(f.aggregating, f.call == nullptr) << f.name;
        EXPECT_FALSE(f.description.empty()) << f.name;
        EXPECT_FALSE(f.category.empty()) << f.name;
        EXPECT_TRUE(f.signature.starts_with(f.name + "(")) << f.signature;
        EXPECT_NE(f.signature.find(") :: "), std::string::npos) << f.signature;
        EXPECT_TRUE(f.args_max < 0 || f.args_min <= f.args_max) << f.name;
    }
    EXPECT_EQ(find_function("TOINTEGER"), find_function("toInteger"));
    EXPECT_EQ(find_function("Duration.INDAYS")->name, "duration.inDays");
    EXPECT_EQ(find_function("nofunc"), nullptr);
}

TEST(Table, AnswersNullForNullAlmostEverywhere) {
    // Those that look at null itself, or take no argument that could be one.
    const std::vector<std::string> others = {"coalesce", "exists", "nullIf", "valueType"};
    for (const FunctionSignature& f : all_functions()) {
        if (f.aggregating || f.args_min == 0 ||
            std::find(others.begin(), others.end(), f.name) != others.end()) {
            continue;
        }
        const std::vector<Value> args(static_cast<std::size_t>(f.args_min));
        EXPECT_EQ(answer(f.name, args), "null") << f.name;
    }
}

TEST(Table, NeverCrashesOnAnyType) {
    const Value samples[] = {Value{true},
                             Value{7},
                             Value{-1},
                             Value{2.5},
                             Value{"text"},
                             Value::bytes("x"),
                             Value{List{1}},
                             Value{Map{{"a", 1}}},
                             Value{Date{0}},
                             Value{LocalTime{}},
                             Value{Time{}},
                             Value{LocalDateTime{}},
                             Value{DateTime{}},
                             Value{DurationValue{1, 2, 3, 4}},
                             Value{Point{}},
                             Value{List{}},
                             Value{""},
                             Value{Map{}},
                             Value{PathRef{{NodeId{1}}, {}}},
                             Value{std::numeric_limits<std::int64_t>::min()},
                             Value{std::numeric_limits<std::int64_t>::max()},
                             Value{std::numeric_limits<double>::quiet_NaN()},
                             Value{std::numeric_limits<double>::infinity()}};
    for (const FunctionSignature& f : all_functions()) {
        if (f.aggregating) {
            continue;
        }
        const int n = f.args_max < 0 ? 3 : f.args_max;
        for (int count = std::max(1, f.args_min); count <= n; ++count) {
            Random random{static_cast<std::uint64_t>(count)};
            for (int i = 0; i < 300; ++i) {
                std::vector<Value> args;
                for (int a = 0; a < count; ++a) {
                    args.push_back(samples[random.below(std::size(samples))]);
                }
                EXPECT_FALSE(answer(f.name, args).empty()) << f.name;
            }
        }
    }
}

TEST(Scalars, ChooseAndConvert) {
    expect({
        {"coalesce", {Value{}, 2, 3}, "2"},
        {"coalesce", {Value{}}, "null"},
        {"nullIf", {1, 1.0}, "null"},
        {"nullIf", {1, 2}, "1"},
        {"valueType", {1.5}, "'FLOAT NOT NULL'"},
        {"timestamp", {}, "1704157445006"},
        {"toInteger", {"42"}, "42"},
        {"toInteger", {"-2.9"}, "-2"},
        {"toInteger", {"1e3"}, "1000"},
        {"toInteger", {"foo"}, "null"},
        {"toInteger", {""}, "null"},
        {"toInteger", {"0x1F"}, "null"},
        {"toInteger", {82.9}, "82"},
        {"toInteger", {true}, "1"},
        {"toInteger", {"9223372036854775807"}, "9223372036854775807"},
        {"toInteger",
         {"99999999999999999999"},
         "type error: integer, 99999999999999999999, is too large"},
        {"toInteger", {1e300}, "9223372036854775807"},
        {"toFloat", {"5"}, "5.0"},
        {"toFloat", {" 1.5e3 "}, "1500.0"},
        {"toFloat", {"1e999"}, "Infinity"},
        {"toFloat", {"1e-999"}, "0.0"},
        {"toFloat", {"-Infinity"}, "-Infinity"},
        {"toFloat", {"--1"}, "null"},
        {"toFloat", {"foo"}, "null"},
        {"toFloat", {3}, "3.0"},
        {"toBoolean", {"TRUE"}, "true"},
        {"toBoolean", {" false "}, "false"},
        {"toBoolean", {" tru "}, "null"},
        {"toBoolean", {0}, "false"},
        {"toBoolean", {-3}, "true"},
        {"toString", {1.0}, "'1.0'"},
        {"toString", {1e10}, "'1.0E10'"},
        {"toString", {true}, "'true'"},
        {"toString", {Date{0}}, "'1970-01-01'"},
        {"toIntegerOrNull", {List{1}}, "null"},
        {"toStringOrNull", {Map{}}, "null"},
        {"toIntegerList", {List{"1", "a", 2.5, Value{}, List{}}}, "[1, null, 2, null, null]"},
        {"toBooleanList", {List{"true", 1, 2.5}}, "[true, true, null]"},
        {"toStringList", {List{1, 2.5}}, "['1', '2.5']"},
    });
    EXPECT_TRUE(answer("toInteger", {List{}})
                    .starts_with("type error: Invalid input for function 'toInteger()'"));
    EXPECT_TRUE(answer("toFloat", {true}).starts_with("type error: "));
    EXPECT_TRUE(answer("toBoolean", {1.0}).starts_with("type error: "));
    EXPECT_TRUE(answer("toString", {List{}}).starts_with("type error: "));
    EXPECT_TRUE(answer("toIntegerList", {1}).starts_with("type error: "));
}

TEST(Scalars, DrawRandomUuidsOfVersion4) {
    const std::string a{call("randomUUID", {}).as_string()};
    const std::string b{call("randomUUID", {}).as_string()};
    EXPECT_NE(a, b);
    ASSERT_EQ(a.size(), 36U);
    EXPECT_EQ(a[14], '4');
    EXPECT_NE(std::string{"89ab"}.find(a[19]), std::string::npos);
}

TEST(Numbers, AreRoundedAsPeopleRound) {
    expect({
        {"round", {2.5}, "3.0"},
        {"round", {-1.5}, "-1.0"},
        {"round", {-1.6}, "-2.0"},
        {"round", {3}, "3.0"},
        {"round", {1.249, 1}, "1.2"},
        {"round", {2.345, 2}, "2.35"},
        {"round", {-2.345, 2}, "-2.35"},
        {"round", {1.55, 1, "HALF_EVEN"}, "1.6"},
        {"round", {1.45, 1, "HALF_EVEN"}, "1.4"},
        {"round", {1.5, 0, "HALF_DOWN"}, "1.0"},
        {"round", {1.21, 1, "UP"}, "1.3"},
        {"round", {1.29, 1, "DOWN"}, "1.2"},
        {"round", {-1.21, 1, "CEILING"}, "-1.2"},
        {"round", {-1.21, 1, "floor"}, "-1.3"},
        {"round", {9.99, 1}, "10.0"},
        {"round", {0.04, 1}, "0.0"},
        {"round", {0.06, 1}, "0.1"},
        {"round", {1e300, 2}, "1.0E300"},
        {"round", {1.5, 500}, "1.5"},
        {"ceil", {1.2}, "2.0"},
        {"floor", {-1.2}, "-2.0"},
        {"abs", {-3}, "3"},
        {"abs", {-3.5}, "3.5"},
        {"abs", {std::numeric_limits<std::int64_t>::min()}, "arithmetic error: long overflow"},
        {"sign", {-0.5}, "-1"},
        {"sign", {0}, "0"},
        {"sqrt", {12.96}, "3.6"},
        {"sqrt", {-1}, "NaN"},
        {"isNaN", {std::numeric_limits<double>::quiet_NaN()}, "true"},
        {"isNaN", {1}, "false"},
        {"log10", {1000}, "3.0"},
        {"e", {}, "2.718281828459045"},
        {"pi", {}, "3.141592653589793"},
        {"degrees", {3.141592653589793}, "180.0"},
        {"radians", {180}, "3.141592653589793"},
        {"atan2", {1, 1}, "0.7853981633974483"},
        {"haversin", {0}, "0.0"},
    });
    EXPECT_TRUE(answer("round", {1.5, -1}).starts_with("argument error: "));
    EXPECT_TRUE(
        answer("round", {1.5, 1, "SIDEWAYS"}).starts_with("argument error: Unknown rounding mode"));
    for (int i = 0; i < 1000; ++i) {
        const double r = call("rand", {}).as_float();
        ASSERT_GE(r, 0.0);
        ASSERT_LT(r, 1.0);
    }
}

TEST(Text, CountsCharactersNotBytes) {
    const char* word =
        "\xC3\xA9t\xC3\xA9\xF0\x9F\x98\x80";  // été and a face: 4 characters, 9 bytes
    expect({
        {"size", {word}, "4"},
        {"char_length", {word}, "4"},
        {"left", {word, 1}, "'\xC3\xA9'"},
        {"right", {word, 1}, "'\xF0\x9F\x98\x80'"},
        {"right", {word, 99}, "'\xC3\xA9t\xC3\xA9\xF0\x9F\x98\x80'"},
        {"substring", {word, 1, 2}, "'t\xC3\xA9'"},
        {"substring", {"abc", 5}, "''"},
        {"substring", {"abc", 1}, "'bc'"},
        {"substring",
         {"abc", -1},
         "argument error: Function argument to 'substring()' is out of range"},
        {"left", {"abc", -1}, "argument error: Function argument to 'left()' is out of range"},
        {"reverse", {word}, "'\xF0\x9F\x98\x80\xC3\xA9t\xC3\xA9'"},
        {"toUpper",
         {"stra\xC3\x9F"
          "e"},
         "'STRASSE'"},
        {"toLower", {"\xC3\x89T"}, "'\xC3\xA9t'"},
        {"upper", {"abc"}, "'ABC'"},
        {"trim", {" \t a b \n"}, "'a b'"},
        {"ltrim", {"  a "}, "'a '"},
        {"rtrim", {"  a "}, "'  a'"},
        {"btrim", {"xyaxy", "yx"}, "'a'"},
        {"trim", {"   "}, "''"},
        {"replace", {"hello", "l", "w"}, "'hewwo'"},
        {"replace", {"hello", "x", "w"}, "'hello'"},
        {"replace", {"ab", "", "-"}, "'-a-b-'"},
        {"split", {"one,two,", ","}, "['one', 'two', '']"},
        {"split", {"abc", ""}, "['a', 'b', 'c']"},
        {"split", {"a,b;c", List{",", ";"}}, "['a', 'b', 'c']"},
        {"split", {"", ","}, "['']"},
        {"normalize", {"e\xCC\x81"}, "'\xC3\xA9'"},
        {"normalize", {"\xC3\xA9", "NFD"}, "'e\xCC\x81'"},
        {"isEmpty", {""}, "true"},
    });
    EXPECT_TRUE(answer("normalize", {"a", "NFX"}).starts_with("argument error: "));
    EXPECT_TRUE(answer("toUpper", {1}).starts_with("type error: "));
}

TEST(Lists, AreTakenApartAndMade) {
    expect({
        {"head", {List{1, 2}}, "1"},
        {"head", {List{}}, "null"},
        {"last", {List{1, 2}}, "2"},
        {"tail", {List{1, 2, 3}}, "[2, 3]"},
        {"tail", {List{}}, "[]"},
        {"size", {List{1, Value{}}}, "2"},
        {"reverse", {List{1, 2}}, "[2, 1]"},
        {"isEmpty", {Map{}}, "true"},
        {"range", {0, 3}, "[0, 1, 2, 3]"},
        {"range", {1381, -3412, -1298}, "[1381, 83, -1215, -2513]"},
        {"range", {0, -1}, "[]"},
        {"range", {0, 1, -1}, "[]"},
        {"range", {5, 5, -1}, "[5]"},
        {"range", {1, 10, 0}, "argument error: Step argument to 'range()' cannot be zero"},
        {"range",
         {std::numeric_limits<std::int64_t>::max() - 1, std::numeric_limits<std::int64_t>::max()},
         "[9223372036854775806, 9223372036854775807]"},
        {"vector.similarity.cosine", {List{1, 0}, List{1, 0}}, "1.0"},
        {"vector.similarity.euclidean", {List{0, 0}, List{0, 3}}, "0.1"},
        {"keys", {Map{{"a", 1}, {"b", Value{}}}}, "['a', 'b']"},
        {"nodes", {PathRef{{NodeId{1}, NodeId{2}}, {RelId{3}}}}, "[(1), (2)]"},
        {"relationships", {PathRef{{NodeId{1}, NodeId{2}}, {RelId{3}}}}, "[[3]]"},
        {"length", {PathRef{{NodeId{1}, NodeId{2}}, {RelId{3}}}}, "1"},
        {"id", {NodeId{7}}, "7"},
    });
    EXPECT_TRUE(answer("range", {0, 1.5}).starts_with("argument error: "));
    EXPECT_TRUE(answer("range", {0, 1'000'000'000}).starts_with("memory limit: "));
    EXPECT_TRUE(
        answer("range",
               {std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()})
            .starts_with("argument error: "));
}

TEST(Points, AreMadeAndMeasured) {
    const auto point = [](Map m) { return call("point", {Value{std::move(m)}}); };
    expect({
        {"point", {Map{{"x", 1}, {"y", 2}}}, "point({x: 1.0, y: 2.0, crs: 'cartesian'})"},
        {"point",
         {Map{{"longitude", 12}, {"latitude", 56}, {"height", 3}}},
         "point({x: 12.0, y: 56.0, z: 3.0, crs: 'wgs-84-3d'})"},
        {"point",
         {Map{{"x", 1}, {"y", 2}, {"srid", 4326}}},
         "point({x: 1.0, y: 2.0, crs: 'wgs-84'})"},
        {"point", {Map{{"x", 1}, {"y", Value{}}}}, "null"},
        {"point",
         {Map{{"latitude", 100}, {"longitude", 1}}},
         "argument error: Cannot create WGS84 point with invalid coordinate: [1.0, 100.0]. Valid "
         "range for Y coordinate is "
         "[-90, 90]."},
    });
    EXPECT_TRUE(answer("point", {Map{{"x", 1}}}).starts_with("argument error: "));
    EXPECT_TRUE(answer("point", {Map{{"x", 1}, {"y", 2}, {"crs", "cartesian-3d"}}})
                    .starts_with("argument error: "));
    EXPECT_TRUE(answer("point", {Map{{"x", 1}, {"y", 2}, {"crs", "mars"}}})
                    .starts_with("argument error: "));
    const Value origin = point({{"x", 0}, {"y", 0}});
    EXPECT_EQ(answer("point.distance", {origin, point({{"x", 3}, {"y", 4}})}), "5.0");
    EXPECT_EQ(answer("point.distance", {origin, point({{"latitude", 3}, {"longitude", 4}})}),
              "null");
    EXPECT_EQ(answer("point.distance", {origin, Value{1}}), "null");
    // A quarter of the way round.
    EXPECT_NEAR(call("point.distance",
                     {point({{"latitude", 0}, {"longitude", 0}}),
                      point({{"latitude", 90}, {"longitude", 0}})})
                    .as_float(),
                6'378'140.0 * 3.141592653589793 / 2,
                1e-3);
    const auto geographic = [&](double longitude) {
        return point({{"longitude", longitude}, {"latitude", 0}});
    };
    EXPECT_EQ(answer("point.withinBBox", {geographic(180), geographic(170), geographic(-170)}),
              "true");
    EXPECT_EQ(answer("point.withinBBox", {geographic(0), geographic(170), geographic(-170)}),
              "false");
    EXPECT_EQ(answer("point.withinBBox",
                     {point({{"x", 1}, {"y", 1}}), origin, point({{"x", 2}, {"y", 2}})}),
              "true");
    EXPECT_EQ(answer("point.withinBBox",
                     {point({{"x", 3}, {"y", 1}}), origin, point({{"x", 2}, {"y", 2}})}),
              "false");
}

}  // namespace
}  // namespace nornic::cypher
