#include "graph/temporal.h"

#include "base/random.h"

#include <gtest/gtest.h>

#include <thread>

namespace nornic {
namespace {

TEST(Calendar, DaysAndDatesAreInverse) {
    Random random{7};
    for (int i = 0; i < 200'000; ++i) {
        const std::int64_t days =
            static_cast<std::int64_t>(random.below(730'000'000'000)) - 365'000'000'000;
        const CivilDate d = civil_from_days(days);
        ASSERT_GE(d.month, 1);
        ASSERT_LE(d.month, 12);
        ASSERT_GE(d.day, 1);
        ASSERT_LE(d.day, days_in_month(d.year, d.month));
        ASSERT_EQ(days_from_civil(d), days);
    }
}

TEST(Calendar, KnowsTheEndsOfItsRange) {
    EXPECT_EQ(to_text(Date{days_from_civil({kYearMax, 12, 31})}), "+999999999-12-31");
    EXPECT_EQ(to_text(Date{days_from_civil({-kYearMax, 1, 1})}), "-999999999-01-01");
    EXPECT_EQ(days_from_civil({1970, 1, 1}), 0);
    EXPECT_EQ(days_from_civil({2000, 3, 1}), 11'017);
}

TEST(Calendar, IsoWeeksBelongToTheYearOfTheirThursday) {
    struct Row {
        CivilDate date;
        std::int64_t year;
        int week;
        int weekday;
    };
    const Row rows[] = {
        {{1816, 12, 30}, 1817, 1, 1},
        {{1818, 12, 28}, 1818, 53, 1},
        {{2021, 1, 3}, 2020, 53, 7},
        {{2021, 1, 4}, 2021, 1, 1},
        {{1970, 1, 1}, 1970, 1, 4},
        {{2024, 12, 30}, 2025, 1, 1},
        {{-1, 1, 1}, -2, 53, 5},
    };
    for (const Row& r : rows) {
        const std::int64_t days = days_from_civil(r.date);
        EXPECT_EQ(iso_week(days).week_year, r.year) << to_text(Date{days});
        EXPECT_EQ(iso_week(days).week, r.week) << to_text(Date{days});
        EXPECT_EQ(iso_weekday(days), r.weekday) << to_text(Date{days});
    }
}

TEST(TemporalText, IsIso8601AsJavaPrintsIt) {
    EXPECT_EQ(to_text(Date{days_from_civil({10000, 1, 1})}), "+10000-01-01");
    EXPECT_EQ(to_text(Date{days_from_civil({5, 1, 1})}), "0005-01-01");
    EXPECT_EQ(to_text(Date{days_from_civil({-5, 1, 1})}), "-0005-01-01");
    EXPECT_EQ(to_text(LocalTime{0}), "00:00");
    EXPECT_EQ(to_text(LocalTime{12 * 3600 * kNanosPerSecond + 1}), "12:00:00.000000001");
    EXPECT_EQ(to_text(LocalTime{3 * kNanosPerSecond + 500'000'000}), "00:00:03.500");
    EXPECT_EQ(to_text(LocalTime{3 * kNanosPerSecond + 500'001'000}), "00:00:03.500001");
    EXPECT_EQ(to_text(Time{0, 0}), "00:00Z");
    EXPECT_EQ(to_text(Time{0, -(2 * 3600 + 5 * 60 + 7)}), "00:00-02:05:07");
    EXPECT_EQ(to_text(LocalDateTime{-1, 999'999'999}), "1969-12-31T23:59:59.999999999");
    EXPECT_EQ(to_text(DateTime{1'704'157'445, 6'000'000, 3600, "Europe/Berlin"}),
              "2024-01-02T02:04:05.006+01:00[Europe/Berlin]");
}

TEST(TemporalText, DurationsKeepTheirSignsApart) {
    struct Row {
        DurationValue value;
        const char* text;
    };
    const Row rows[] = {
        {{0, 0, 0, 0}, "PT0S"},
        {{14, 3, 4 * 3600 + 5 * 60 + 6, 700'000'000}, "P1Y2M3DT4H5M6.7S"},
        {{0, 0, -1, 500'000'000}, "PT-0.5S"},
        {{0, 0, -86'400, 100'000'000}, "PT-23H-59M-59.9S"},
        {{12, -28, 24 * 60, 1}, "P1Y-28DT24M0.000000001S"},
        {{-13, 0, 0, 0}, "P-1Y-1M"},
        {{0, 0, -60, 0}, "PT-1M"},
        {{0, 0, -61, 999'999'999}, "PT-1M-0.000000001S"},
    };
    for (const Row& r : rows) {
        EXPECT_EQ(to_text(r.value), r.text);
    }
}

TEST(Zones, KnowTheirRulesAndTheirLocalMeanTime) {
    // Stockholm follows Berlin's data: +00:53:28 before standard time came.
    EXPECT_EQ(
        zone_offset_at_local("Europe/Stockholm", days_from_civil({1818, 7, 21}) * kSecondsPerDay)
            .value(),
        3208);
    EXPECT_EQ(
        zone_offset_at_local("Europe/Stockholm", days_from_civil({1984, 7, 20}) * kSecondsPerDay)
            .value(),
        7200);
    EXPECT_EQ(
        zone_offset_at_local("Europe/Stockholm", days_from_civil({1984, 10, 11}) * kSecondsPerDay)
            .value(),
        3600);
    EXPECT_EQ(zone_offset_at_utc("America/New_York", 0).value(), -18'000);
    EXPECT_EQ(zone_offset_at_utc("UTC", 0).value(), 0);
    EXPECT_FALSE(is_known_zone("Nope/Zone"));
    EXPECT_FALSE(is_known_zone(""));
    EXPECT_FALSE(is_known_zone("+01:00"));
    EXPECT_FALSE(is_known_zone(std::string(100'000, 'x')));
    const auto error = zone_offset_at_utc("Nope/Zone", 0);
    ASSERT_FALSE(error);
    EXPECT_EQ(error.error().code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(error.error().message().find("Nope/Zone"), std::string::npos);
}

TEST(Zones, ResolveGapsAndOverlapsAsJavaDoes) {
    const auto at = [](CivilDate d, int hour, int minute) {
        return zone_offset_at_local("Europe/Berlin",
                                    days_from_civil(d) * kSecondsPerDay + hour * 3600 + minute * 60)
            .value();
    };
    EXPECT_EQ(at({2017, 10, 29}, 1, 59), 7200);
    EXPECT_EQ(at({2017, 10, 29}, 2, 30), 7200);  // twice on the clock: the earlier one
    EXPECT_EQ(at({2017, 10, 29}, 3, 0), 3600);
    EXPECT_EQ(at({2017, 3, 26}, 2, 30), 3600);  // never on the clock: the offset before
    EXPECT_EQ(at({2017, 3, 26}, 3, 0), 7200);
}

TEST(Zones, HoldFarBeyondTheirTables) {
    for (const std::int64_t year : {kYearMax, std::int64_t{100'000}, std::int64_t{4000}}) {
        EXPECT_EQ(
            zone_offset_at_local("Europe/Berlin", days_from_civil({year, 7, 1}) * kSecondsPerDay)
                .value(),
            7200)
            << year;
        EXPECT_EQ(
            zone_offset_at_local("Europe/Berlin", days_from_civil({year, 12, 1}) * kSecondsPerDay)
                .value(),
            3600)
            << year;
    }
    EXPECT_EQ(
        zone_offset_at_local("Europe/Berlin", days_from_civil({-kYearMax, 7, 1}) * kSecondsPerDay)
            .value(),
        3208);
}

TEST(Zones, AreReadFromManyThreads) {
    std::vector<std::thread> threads;
    std::atomic<int> wrong = 0;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&] {
            for (int i = 0; i < 2'000; ++i) {
                wrong += zone_offset_at_utc("Asia/Tokyo", i * 86'400).value() == 32'400 ? 0 : 1;
            }
        });
    }
    for (auto& t : threads) {
        t.join();
    }
    EXPECT_EQ(wrong.load(), 0);
}

}  // namespace
}  // namespace nornic
