#include "cypher/functions/aggregate.h"

#include "tests/cypher/functions/call.h"

#include <limits>

namespace nornic::cypher {
namespace {

constexpr auto kMax = std::numeric_limits<std::int64_t>::max();

std::string aggregate(AggregateKind kind,
                      const std::vector<Value>& values,
                      bool distinct = false,
                      const Value& parameter = {}) {
    return test::text_of([&] {
        auto a = make_aggregator(kind, distinct);
        for (const Value& v : values) {
            if (!parameter.is_null()) {
                a->set_parameter(parameter);
            }
            a->add(v);
        }
        return a->result();
    });
}

TEST(Aggregates, AreFoundByName) {
    AggregateKind kind{};
    EXPECT_TRUE(find_aggregate("STDEVP", kind));
    EXPECT_EQ(kind, AggregateKind::kStDevP);
    EXPECT_FALSE(find_aggregate("head", kind));
    for (const FunctionSignature& f : all_functions()) {
        EXPECT_EQ(f.aggregating, find_aggregate(f.name, kind)) << f.name;
    }
}

TEST(Aggregates, GiveTheirAnswers) {
    using K = AggregateKind;
    struct Row {
        K kind;
        std::vector<Value> values;
        const char* want;
    };
    const Row rows[] = {
        {K::kCountStar, {1, Value{}}, "2"},
        {K::kCount, {1, Value{}, "a"}, "2"},
        {K::kCount, {}, "0"},
        {K::kSum, {}, "0"},
        {K::kSum, {1, 2, Value{}}, "3"},
        {K::kSum, {1, 2.5, 3}, "6.5"},
        {K::kSum, {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0}, "5.5"},
        {K::kSum, {kMax, 1}, "arithmetic error: long overflow"},
        {K::kSum, {DurationValue{0, 1, 0, 0}, DurationValue{1, 0, 5, 0}}, "P1M1DT5S"},
        {K::kSum, {std::numeric_limits<double>::infinity(), 1.0}, "Infinity"},
        {K::kAvg, {}, "null"},
        {K::kAvg, {1, 2, Value{}}, "1.5"},
        {K::kAvg, {kMax, kMax}, "9.223372036854776E18"},
        {K::kAvg, {DurationValue{0, 1, 0, 0}, DurationValue{0, 2, 0, 0}}, "P1DT12H"},
        {K::kMin, {}, "null"},
        {K::kMin, {1, "a", Value{}, List{1, 2}, 0.2, "b"}, "[1, 2]"},
        {K::kMax, {1, "a", Value{}, List{1, 2}, 0.2, "b"}, "1"},
        {K::kMin, {2, -1, 5}, "-1"},
        {K::kMax, {2, -1, 5}, "5"},
        {K::kMax, {1, 2.0, 5, Value{}, 3.2, 0.1}, "5"},
        {K::kCollect, {1, Value{}, 1}, "[1, 1]"},
        {K::kCollect, {}, "[]"},
        {K::kStDev, {1}, "0.0"},
        {K::kStDev, {2, 4, 4, 4, 5, 5, 7, 9}, "2.138089935299395"},
        {K::kStDevP, {2, 4, 4, 4, 5, 5, 7, 9}, "2.0"},
    };
    for (const Row& r : rows) {
        EXPECT_EQ(aggregate(r.kind, r.values), r.want) << static_cast<int>(r.kind);
    }
    EXPECT_TRUE(aggregate(K::kSum, {"a"}).starts_with("type error: "));
    EXPECT_TRUE(aggregate(K::kAvg, {1, DurationValue{}}).starts_with("type error: "));
    EXPECT_TRUE(aggregate(K::kSum, {1, DurationValue{}}).starts_with("type error: "));
}

TEST(Aggregates, TakePercentiles) {
    using K = AggregateKind;
    const std::vector<Value> prices{20.0, 10.0, 30.0};
    EXPECT_EQ(aggregate(K::kPercentileDisc, prices, false, Value{0.0}), "10.0");
    EXPECT_EQ(aggregate(K::kPercentileDisc, prices, false, Value{0.5}), "20.0");
    EXPECT_EQ(aggregate(K::kPercentileDisc, prices, false, Value{1.0}), "30.0");
    EXPECT_EQ(aggregate(K::kPercentileCont, prices, false, Value{0.25}), "15.0");
    EXPECT_EQ(aggregate(K::kPercentileCont, prices, false, Value{1}), "30.0");
    EXPECT_EQ(aggregate(K::kPercentileDisc, {1, 2}, false, Value{0.5}), "1");
    EXPECT_EQ(aggregate(K::kPercentileCont, {}, false, Value{0.5}), "null");
    for (const Value& p : {Value{1000}, Value{-1}, Value{1.1}}) {
        EXPECT_TRUE(
            aggregate(K::kPercentileCont, prices, false, p).starts_with("argument error: "));
        EXPECT_TRUE(
            aggregate(K::kPercentileDisc, prices, false, p).starts_with("argument error: "));
    }
}

TEST(Aggregates, CountDistinctValuesOnce) {
    using K = AggregateKind;
    EXPECT_EQ(aggregate(K::kCount, {1, 1.0, 2, Value{}, "1"}, true), "3");
    EXPECT_EQ(aggregate(K::kSum, {1, 1, 2}, true), "3");
    EXPECT_EQ(aggregate(K::kCollect, {List{1}, List{1}, Map{{"a", 1}}, Map{{"a", 1}}}, true),
              "[[1], {a: 1}]");
    EXPECT_EQ(aggregate(K::kPercentileDisc, {1, 1, 1, 9}, true, Value{1.0}), "9");
}

TEST(Aggregates, SayWhatMemoryTheyHold) {
    auto collect = make_aggregator(AggregateKind::kCollect, false);
    auto distinct = make_aggregator(AggregateKind::kCount, true);
    for (int i = 0; i < 1'000; ++i) {
        collect->add(Value{std::string(100, 'x')});
        distinct->add(Value{i});
    }
    EXPECT_GT(collect->heap_bytes(), 100'000U);
    EXPECT_GT(distinct->heap_bytes(), 16'000U);
}

}  // namespace
}  // namespace nornic::cypher
