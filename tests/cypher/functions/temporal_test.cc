#include "cypher/functions/temporal.h"

#include "tests/cypher/functions/call.h"

namespace nornic::cypher {
namespace {

using test::answer;
using test::call;
using test::text_of;

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

Value date(const char* text) {
    return call("date", {text});
}
Value datetime(const char* text) {
    return call("datetime", {text});
}
Value localdatetime(const char* text) {
    return call("localdatetime", {text});
}
Value duration(const char* text) {
    return call("duration", {text});
}

TEST(TemporalText, IsReadInAllItsForms) {
    expect({
        {"date", {"2031-05-09"}, "2031-05-09"},
        {"date", {"20310509"}, "2031-05-09"},
        {"date", {"2031-W19-5"}, "2031-05-09"},
        {"date", {"2031W195"}, "2031-05-09"},
        {"date", {"2031-Q2-39"}, "2031-05-09"},
        {"date", {"2031Q239"}, "2031-05-09"},
        {"date", {"2031-129"}, "2031-05-09"},
        {"date", {"2031129"}, "2031-05-09"},
        {"date", {"203105"}, "2031-05-01"},
        {"date", {"+12031-05-09"}, "+12031-05-09"},
        {"date", {"-0044-03-15"}, "-0044-03-15"},
        {"localtime", {"0705"}, "07:05"},
        {"localtime", {"07:05:09,5"}, "07:05:09.500"},
        {"time", {"07:05"}, "07:05Z"},
        {"time", {"070509-0330"}, "07:05:09-03:30"},
        {"localdatetime", {"2031129T07"}, "2031-05-09T07:00"},
        {"datetime", {"2031-05-09T07:05[Europe/Berlin]"}, "2031-05-09T07:05+02:00[Europe/Berlin]"},
        {"datetime",
         {"2031-05-09T07:05+02:00[Europe/Berlin]"},
         "2031-05-09T07:05+02:00[Europe/Berlin]"},
        {"datetime", {"2031-05-09"}, "2031-05-09T00:00Z"},
        {"datetime",
         {"2017-10-29T02:30+01:00[Europe/Berlin]"},
         "2017-10-29T02:30+01:00[Europe/Berlin]"},
        {"datetime", {"2017-03-26T02:30[Europe/Berlin]"}, "2017-03-26T03:30+02:00[Europe/Berlin]"},
        {"duration", {"P1Y2M3W4DT5H6M7.000000008S"}, "P1Y2M25DT5H6M7.000000008S"},
        {"duration", {"-P1DT0.3S"}, "P-1DT-0.3S"},
        {"duration", {"PT-0.1S"}, "PT-0.1S"},
        {"duration", {"P20310509T070509"}, "P2031Y5M9DT7H5M9S"},
        {"duration", {"P1.5Y"}, "P1Y6M"},
    });
}

TEST(TemporalText, IsRefusedWithThePlaceAndTheReason) {
    EXPECT_EQ(answer("date", {"garbage"}),
              "syntax error: Text cannot be parsed to a Date\n\"garbage\"\n ^");
    EXPECT_EQ(answer("date", {"2024-13-01"}),
              "syntax error: Invalid value for MonthOfYear (valid values 1 - 12): 13");
    for (const char* bad : {"",
                            "2024-02-30",
                            "2023-366",
                            "2024-W53",
                            "2024-1",
                            "2024-01-",
                            "2024-01-01x",
                            "24-01-01",
                            "+1234567890-01-01",
                            "2024-Q5",
                            "2024-01-01T",
                            "20240101T10"}) {
        EXPECT_TRUE(answer("date", {bad}).starts_with("syntax error: ")) << bad;
    }
    for (const char* bad : {"",
                            "24:00",
                            "7:05",
                            "07:60",
                            "07:05:60",
                            "07:05:09.",
                            "07:05:09.1234567890",
                            "07:05+19:00",
                            "07:05+1",
                            "07-",
                            "0705:09"}) {
        EXPECT_TRUE(answer("time", {bad}).starts_with("syntax error: ")) << bad;
    }
    for (const char* bad : {"", "P", "PT", "1D", "P1", "P1DT", "P1D2M", "P1S", "P1.D", "PxD"}) {
        EXPECT_TRUE(answer("duration", {bad}).starts_with("syntax error: ")) << bad;
    }
    EXPECT_TRUE(
        answer("datetime", {"2024-01-01T00:00[Nope/Zone]"}).starts_with("argument error: "));
    EXPECT_TRUE(answer("datetime", {"2024-01-01T00:00+05:00[Europe/Berlin]"})
                    .starts_with("argument error: Timezone and offset"));
}

TEST(TemporalText, SurvivesWhatItPrints) {
    Random random{17};
    for (int i = 0; i < 20'000; ++i) {
        const auto seconds = static_cast<std::int64_t>(random.below(60'000'000'000'000'000)) -
                             30'000'000'000'000'000;
        const auto nanos = static_cast<std::int32_t>(random.below(1'000'000'000));
        const LocalDateTime local{seconds, nanos};
        ASSERT_EQ(temporal::parse_local_date_time(to_text(local)), local);
        const DurationValue d{static_cast<std::int64_t>(random.below(1'000)) - 500,
                              static_cast<std::int64_t>(random.below(1'000)) - 500,
                              static_cast<std::int64_t>(random.below(1'000'000)) - 500'000,
                              nanos};
        ASSERT_EQ(temporal::parse_duration(to_text(d)), d) << to_text(d);
        static constexpr const char* kZones[] = {
            "Europe/Berlin", "America/New_York", "Asia/Kolkata", ""};
        const DateTime t =
            temporal::at_instant(seconds / 10'000'000, nanos, {3600, kZones[random.below(4)]});
        ASSERT_EQ(temporal::parse_date_time(to_text(t), {}), t) << to_text(t);
    }
}

TEST(TemporalText, NeverCrashesOnNoise) {
    Random random{19};
    const std::string_view letters = "0123456789-+:.,TWQPZ[]/YMDHS EuropBlin";
    for (int i = 0; i < 50'000; ++i) {
        std::string text;
        for (std::uint64_t n = random.below(24); n > 0; --n) {
            text += letters[random.below(letters.size())];
        }
        for (const char* f :
             {"date", "time", "localtime", "localdatetime", "datetime", "duration"}) {
            ASSERT_FALSE(answer(f, {text}).empty());
        }
    }
}

TEST(TemporalMaps, NameEachPart) {
    const Value day{date("2031-05-09")};
    expect({
        {"date", {Map{{"year", 2031}, {"month", 5}, {"day", 9}}}, "2031-05-09"},
        {"date", {Map{{"year", 2031}, {"week", 19}, {"dayOfWeek", 5}}}, "2031-05-09"},
        {"date", {Map{{"year", 2031}, {"quarter", 2}, {"dayOfQuarter", 39}}}, "2031-05-09"},
        {"date", {Map{{"year", 2031}, {"ordinalDay", 129}}}, "2031-05-09"},
        {"date", {Map{{"date", day}, {"month", 2}, {"day", 28}}}, "2031-02-28"},
        {"date", {Map{{"date", date("2031-01-31")}, {"month", 2}}}, "2031-02-28"},
        {"date", {Map{{"date", day}, {"year", -3}}}, "-0003-05-09"},
        {"localtime",
         {Map{{"hour", 7}, {"minute", 5}, {"second", 9}, {"millisecond", 1}, {"nanosecond", 2}}},
         "07:05:09.001000002"},
        {"time", {Map{{"hour", 7}, {"timezone", "-03:30"}}}, "07:00-03:30"},
        {"datetime",
         {Map{{"epochSeconds", 1}, {"nanosecond", 5}}},
         "1970-01-01T00:00:01.000000005Z"},
        {"datetime", {Map{{"epochMillis", -1}}}, "1969-12-31T23:59:59.999Z"},
        {"datetime",
         {Map{{"epochMillis", 0}, {"timezone", "Europe/Berlin"}}},
         "1970-01-01T01:00+01:00[Europe/Berlin]"},
        {"datetime",
         {Map{{"date", day}, {"time", call("time", {"23:30+01:00"})}, {"timezone", "+05:00"}}},
         "2031-05-10T03:30+05:00"},
        {"datetime",
         {Map{{"datetime", datetime("2031-05-09T07:05+02:00")}, {"timezone", "America/New_York"}}},
         "2031-05-09T01:05-04:00[America/New_York]"},
        {"datetime",
         {Map{{"year", 2031},
              {"month", 3},
              {"day", 30},
              {"hour", 2},
              {"minute", 30},
              {"timezone", "Europe/Berlin"}}},
         "2031-03-30T03:30+02:00[Europe/Berlin]"},
        {"datetime.fromEpoch", {416779, 999999999}, "1970-01-05T19:46:19.999999999Z"},
        {"datetime.fromEpochMillis", {-1}, "1969-12-31T23:59:59.999Z"},
        {"duration",
         {Map{{"years", 1}, {"quarters", 1}, {"weeks", 1}, {"microseconds", -1}}},
         "P1Y3M7DT-0.000001S"},
        {"duration", {Map{{"days", 0.7}}}, "PT16H48M"},
        {"duration", {Map{{"seconds", 0.3}}}, "PT0.3S"},
    });
}

TEST(TemporalMaps, RefuseWhatDoesNotFit) {
    const std::vector<std::pair<const char*, Map>> rows = {
        {"date", {}},
        {"date", {{"month", 5}}},
        {"date", {{"year", 2031}, {"day", 9}}},
        {"date", {{"year", 2031}, {"month", 13}}},
        {"date", {{"year", 2031}, {"month", 2}, {"day", 29}}},
        {"date", {{"year", 2031}, {"week", 53}}},
        {"date", {{"year", 2031}, {"month", 1}, {"week", 2}}},
        {"date", {{"year", 2031}, {"hour", 2}}},
        {"date", {{"year", 2031.5}}},
        {"date", {{"year", 1'000'000'000}}},
        {"date", {{"year", 2031}, {"century", 20}}},
        {"localtime", {{"minute", 5}}},
        {"localtime", {{"hour", 24}}},
        {"localtime", {{"hour", 1}, {"timezone", "Z"}}},
        {"localtime",
         {{"hour", 1}, {"minute", 1}, {"second", 1}, {"millisecond", 1}, {"microsecond", 1000}}},
        {"datetime", {{"year", 2024}, {"timezone", "Nope/Zone"}}},
        {"datetime", {{"epochSeconds", std::int64_t{1} << 62}}},
        {"datetime", {{"date", "2024-01-01"}}},
        {"duration", {}},
        {"duration", {{"year", 1}}},
        {"duration", {{"years", "1"}}},
    };
    for (const auto& [function, map] : rows) {
        EXPECT_TRUE(answer(function, {Value{map}}).starts_with("argument error: "))
            << function << to_cypher_text(Value{map}) << answer(function, {Value{map}});
    }
    EXPECT_EQ(answer("date", {Map{{"year", 2024}, {"month", 13}}}),
              "argument error: Invalid value for MonthOfYear (valid values 1 - 12): 13");
}

TEST(TemporalClocks, StandStillInAStatement) {
    expect({
        {"datetime", {}, "2024-01-02T01:04:05.006007008Z"},
        {"datetime.statement", {"+02:00"}, "2024-01-02T03:04:05.006007008+02:00"},
        {"datetime.transaction", {}, "2024-01-02T01:04:04.006007008Z"},
        {"date", {Map{{"timezone", "America/New_York"}}}, "2024-01-01"},
        {"localtime", {}, "01:04:05.006007008"},
        {"time", {}, "01:04:05.006007008Z"},
        {"date.truncate", {"month"}, "2024-01-01"},
    });
    EXPECT_GT(call("datetime.realtime", {}).as_date_time().seconds, 1'704'157'445);
}

TEST(Truncation, CutsAndThenReplaces) {
    const Value t = datetime("2031-05-09T07:05:09.123456789+02:00");
    expect({
        {"date.truncate", {"millennium", t}, "2000-01-01"},
        {"date.truncate", {"century", date("-0001-05-09")}, "-0100-01-01"},
        {"date.truncate", {"decade", t, Map{{"day", 2}}}, "2030-01-02"},
        {"date.truncate", {"quarter", t}, "2031-04-01"},
        {"date.truncate", {"week", t, Map{{"dayOfWeek", 2}}}, "2031-05-06"},
        {"date.truncate", {"weekYear", date("2021-01-03")}, "2019-12-30"},
        {"datetime.truncate", {"day", t}, "2031-05-09T00:00+02:00"},
        {"datetime.truncate",
         {"hour", t, Map{{"timezone", "Europe/Berlin"}}},
         "2031-05-09T07:00+02:00[Europe/Berlin]"},
        {"datetime.truncate",
         {"millisecond", t, Map{{"nanosecond", 2}}},
         "2031-05-09T07:05:09.123000002+02:00"},
        {"localdatetime.truncate", {"microsecond", t}, "2031-05-09T07:05:09.123456"},
        {"localtime.truncate", {"minute", t}, "07:05"},
        {"time.truncate", {"second", call("localtime", {"07:05:09.5"})}, "07:05:09Z"},
        {"datetime.truncate", {"month", date("2031-05-09")}, "2031-05-01T00:00Z"},
    });
    EXPECT_TRUE(answer("date.truncate", {"hour", t}).starts_with("argument error: "));
    EXPECT_TRUE(answer("time.truncate", {"month", t}).starts_with("argument error: "));
    EXPECT_TRUE(
        answer("date.truncate", {"fortnight", t}).starts_with("argument error: Unsupported unit"));
}

TEST(TemporalArithmetic, KnowsMonthsDaysAndSeconds) {
    struct Sum {
        Value a;
        const char* duration;
        const char* sum;
        const char* difference;
    };
    const Sum rows[] = {
        {date("2031-01-31"), "P1M", "2031-02-28", "2030-12-31"},
        {date("2031-05-09"), "PT48H", "2031-05-11", "2031-05-07"},
        {date("2031-05-09"), "PT23H", "2031-05-09", "2031-05-09"},
        {call("localtime", {"23:30"}), "PT1H", "00:30", "22:30"},
        {call("time", {"00:30+02:00"}), "P5DT1H", "01:30+02:00", "23:30+02:00"},
        {localdatetime("2031-12-31T23:59:59.9"),
         "PT0.2S",
         "2032-01-01T00:00:00.100",
         "2031-12-31T23:59:59.700"},
        // The clocks go back: a day is 25 hours, and 24 hours are less than a day.
        {datetime("2017-10-28T12:00[Europe/Berlin]"),
         "P1D",
         "2017-10-29T12:00+01:00[Europe/Berlin]",
         "2017-10-27T12:00+02:00[Europe/Berlin]"},
        {datetime("2017-10-28T12:00[Europe/Berlin]"),
         "PT24H",
         "2017-10-29T11:00+01:00[Europe/Berlin]",
         "2017-10-27T12:00+02:00[Europe/Berlin]"},
    };
    for (const Sum& r : rows) {
        EXPECT_EQ(text_of([&] { return add(r.a, duration(r.duration)); }), r.sum);
        EXPECT_EQ(text_of([&] { return add(duration(r.duration), r.a); }), r.sum);
        EXPECT_EQ(text_of([&] { return subtract(r.a, duration(r.duration)); }), r.difference);
    }
    EXPECT_EQ(to_plain_text(subtract(duration("P1D"), duration("PT0.5S"))), "P1DT-0.5S");
    EXPECT_EQ(to_plain_text(multiply(duration("P1M"), Value{0.5})), "P15DT5H14M33S");
    EXPECT_EQ(to_plain_text(multiply(Value{3}, duration("P1DT1S"))), "P3DT3S");
    EXPECT_EQ(to_plain_text(divide(duration("P1D"), Value{2})), "PT12H");
    EXPECT_EQ(to_plain_text(negate(duration("P1DT0.5S"))), "P-1DT-0.5S");
}

TEST(TemporalArithmetic, StaysInsideTheYearsThatExist) {
    const Value last = date("+999999999-12-31");
    EXPECT_TRUE(
        text_of([&] { return add(last, duration("P1D")); }).starts_with("argument error: "));
    EXPECT_TRUE(
        text_of([&] { return add(last, duration("P1M")); }).starts_with("argument error: "));
    const DurationValue most{INT64_MAX, INT64_MAX, INT64_MAX, 999'999'999};
    EXPECT_TRUE(text_of([&] { return add(last, Value{most}); }).starts_with("arithmetic error: "));
    EXPECT_TRUE(
        text_of([&] { return add(Value{most}, Value{most}); }).starts_with("arithmetic error: "));
    EXPECT_TRUE(
        text_of([&] { return multiply(Value{most}, Value{2}); }).starts_with("arithmetic error: "));
    EXPECT_TRUE(
        text_of([&] { return divide(Value{most}, Value{0}); }).starts_with("arithmetic error: "));
    EXPECT_TRUE(text_of([&] {
                    return add(Value{LocalDateTime{}}, Value{most});
                }).starts_with("arithmetic error: "));
}

TEST(DurationBetween, CountsWholeMonthsThenDaysThenSeconds) {
    const Value winter = datetime("2017-10-29T00:00[Europe/Stockholm]");
    expect({
        {"duration.between", {date("2031-01-31"), date("2031-03-01")}, "P1M1D"},
        {"duration.between", {date("2031-03-01"), date("2031-01-31")}, "P-1M-1D"},
        {"duration.between",
         {localdatetime("2031-01-01T12:00"), localdatetime("2031-02-01T11:00")},
         "P30DT23H"},
        {"duration.inMonths", {date("2031-01-31"), date("2032-01-30")}, "P11M"},
        {"duration.inDays", {date("2031-01-31"), date("2032-01-30")}, "P364D"},
        {"duration.inDays",
         {localdatetime("2031-01-01T12:00"), localdatetime("2031-01-02T11:59")},
         "PT0S"},
        {"duration.inSeconds", {winter, localdatetime("2017-10-29T04:00")}, "PT5H"},
        {"duration.inSeconds",
         {localdatetime("2017-10-29T00:00"), datetime("2017-10-29T04:00[Europe/Stockholm]")},
         "PT5H"},
        {"duration.inSeconds", {winter, call("localtime", {"04:00"})}, "PT5H"},
        {"duration.inSeconds", {winter, date("2017-10-30")}, "PT25H"},
        {"duration.inSeconds", {call("time", {"14:30"}), call("time", {"16:30+01:00"})}, "PT1H"},
        {"duration.between", {Value{}, winter}, "null"},
    });
    EXPECT_TRUE(answer("duration.between", {1, winter}).starts_with("type error: "));
}

TEST(DurationBetween, IsUndoneByAddition) {
    Random random{23};
    for (int i = 0; i < 20'000; ++i) {
        const auto moment = [&] {
            return LocalDateTime{
                static_cast<std::int64_t>(random.below(8'000'000'000)) - 4'000'000'000,
                static_cast<std::int32_t>(random.below(1'000'000'000))};
        };
        const Value a{moment()};
        const Value b{moment()};
        const Value d = call("duration.between", {a, b});
        ASSERT_EQ(to_plain_text(add(a, d)), to_plain_text(b))
            << to_plain_text(a) << " + " << to_plain_text(d);
    }
}

TEST(Components, AreNamedAsInTheManual) {
    struct Part {
        Value value;
        const char* key;
        const char* want;
    };
    const Value t = datetime("2031-05-09T07:05:09.123456789[Europe/Berlin]");
    const Value d{DurationValue{17, 10, 3661, 111'222'333}};
    const Part rows[] = {
        {t, "year", "2031"},
        {t, "quarter", "2"},
        {t, "month", "5"},
        {t, "week", "19"},
        {t, "weekYear", "2031"},
        {t, "dayOfQuarter", "39"},
        {t, "day", "9"},
        {t, "ordinalDay", "129"},
        {t, "dayOfWeek", "5"},
        {t, "weekDay", "5"},
        {t, "hour", "7"},
        {t, "minute", "5"},
        {t, "second", "9"},
        {t, "millisecond", "123"},
        {t, "microsecond", "123456"},
        {t, "nanosecond", "123456789"},
        {t, "timezone", "'Europe/Berlin'"},
        {t, "offset", "'+02:00'"},
        {t, "offsetMinutes", "120"},
        {t, "offsetSeconds", "7200"},
        {t, "epochSeconds", "1936069509"},
        {t, "epochMillis", "1936069509123"},
        {d, "years", "1"},
        {d, "quarters", "5"},
        {d, "months", "17"},
        {d, "weeks", "1"},
        {d, "daysOfWeek", "3"},
        {d, "hours", "1"},
        {d, "minutes", "61"},
        {d, "minutesOfHour", "1"},
        {d, "milliseconds", "3661111"},
        {d, "nanoseconds", "3661111222333"},
        {d, "microsecondsOfSecond", "111222"},
        {d, "monthsOfQuarter", "2"},
        {call("time", {"07:05Z"}), "timezone", "'Z'"},
        {datetime("1969-12-31T23:59:59.5Z"), "epochMillis", "-500"},
    };
    for (const Part& r : rows) {
        EXPECT_EQ(text_of([&] { return property_of(r.value, r.key); }), r.want) << r.key;
    }
    EXPECT_EQ(text_of([&] { return property_of(date("2031-05-09"), "hour"); }),
              "argument error: No such field: hour");
    EXPECT_EQ(text_of([&] { return property_of(d, "hour"); }),
              "argument error: No such field: hour");
}

}  // namespace
}  // namespace nornic::cypher
