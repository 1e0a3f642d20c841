// Dates and zones: what parsing, construction and arithmetic of temporal values share.
#include "cypher/functions/temporal.h"

#include <fmt/format.h>

namespace nornic::cypher::temporal {
namespace {

void check_range(std::string_view field,
                 std::int64_t value,
                 std::int64_t from,
                 std::int64_t to,
                 ErrorCode code) {
    if (value < from || value > to) {
        throw QueryError{
            code,
            fmt::format("Invalid value for {} (valid values {} - {}): {}", field, from, to, value),
            "22000>22N11"};
    }
}

void check_year(std::int64_t year, ErrorCode code) {
    check_range("Year", year, -kYearMax, kYearMax, code);
}

}  // namespace

void throw_argument(std::string message, std::string gql) {
    throw QueryError{ErrorCode::kArgumentError, std::move(message), std::move(gql)};
}

void throw_overflow() {
    throw QueryError{ErrorCode::kArithmeticError, "long overflow", "22003>22N28"};
}

std::int64_t check_days(std::int64_t days) {
    static const std::int64_t kFirst = days_from_civil({-kYearMax, 1, 1});
    static const std::int64_t kLast = days_from_civil({kYearMax, 12, 31});
    if (days < kFirst || days > kLast) {
        throw_argument(fmt::format(
            "Invalid value for EpochDay (valid values {} - {}): {}", kFirst, kLast, days));
    }
    return days;
}

DateFields fields_of(std::int64_t days) {
    const CivilDate d = civil_from_days(days);
    const IsoWeek w = iso_week(days);
    DateFields f;
    f.year = d.year;
    f.month = d.month;
    f.day = d.day;
    f.quarter = (d.month - 1) / 3 + 1;
    f.day_of_year = static_cast<int>(days - days_from_civil({d.year, 1, 1})) + 1;
    f.day_of_quarter =
        static_cast<int>(days - days_from_civil({d.year, (f.quarter - 1) * 3 + 1, 1})) + 1;
    f.week = w.week;
    f.week_year = w.week_year;
    f.weekday = iso_weekday(days);
    return f;
}

std::int64_t days_of_date(std::int64_t year, std::int64_t month, std::int64_t day, ErrorCode code) {
    check_year(year, code);
    check_range("MonthOfYear", month, 1, 12, code);
    check_range("DayOfMonth", day, 1, 31, code);
    const int length = days_in_month(year, static_cast<int>(month));
    if (day > length) {
        static constexpr const char* kMonths[] = {"JANUARY",
                                                  "FEBRUARY",
                                                  "MARCH",
                                                  "APRIL",
                                                  "MAY",
                                                  "JUNE",
                                                  "JULY",
                                                  "AUGUST",
                                                  "SEPTEMBER",
                                                  "OCTOBER",
                                                  "NOVEMBER",
                                                  "DECEMBER"};
        throw QueryError{
            code,
            month == 2 && day == 29
                ? fmt::format("Invalid date 'February 29' as '{}' is not a leap year", year)
                : fmt::format("Invalid date '{} {}'", kMonths[month - 1], day),
            "22000>22N11"};
    }
    return days_from_civil({year, static_cast<int>(month), static_cast<int>(day)});
}

std::int64_t days_of_week(std::int64_t week_year,
                          std::int64_t week,
                          std::int64_t weekday,
                          ErrorCode code) {
    check_year(week_year, code);
    check_range("WeekOfWeekBasedYear", week, 1, 53, code);
    check_range("DayOfWeek", weekday, 1, 7, code);
    // January 4th is in week 1.
    const std::int64_t fourth = days_from_civil({week_year, 1, 4});
    const std::int64_t monday = fourth - (iso_weekday(fourth) - 1) + (week - 1) * 7;
    if (iso_week(monday).week_year != week_year) {
        throw QueryError{code,
                         fmt::format("Year {} does not contain {} weeks.", week_year, week),
                         "22000>22N11"};
    }
    return check_days(monday + weekday - 1);
}

std::int64_t days_of_quarter(std::int64_t year,
                             std::int64_t quarter,
                             std::int64_t day,
                             ErrorCode code) {
    check_year(year, code);
    check_range("QuarterOfYear", quarter, 1, 4, code);
    const int month = static_cast<int>(quarter - 1) * 3 + 1;
    const int length = days_in_month(year, month) + days_in_month(year, month + 1) +
                       days_in_month(year, month + 2);
    check_range("DayOfQuarter", day, 1, length, code);
    return days_from_civil({year, month, 1}) + day - 1;
}

std::int64_t days_of_ordinal(std::int64_t year, std::int64_t day, ErrorCode code) {
    check_year(year, code);
    check_range("DayOfYear", day, 1, 366, code);
    if (day == 366 && !is_leap_year(year)) {
        throw QueryError{
            code,
            fmt::format("Invalid date 'DayOfYear 366' as '{}' is not a leap year", year),
            "22000>22N11"};
    }
    return days_from_civil({year, 1, 1}) + day - 1;
}

std::int64_t nanoseconds_of(std::int64_t hour,
                            std::int64_t minute,
                            std::int64_t second,
                            std::int64_t nanosecond,
                            ErrorCode code) {
    check_range("HourOfDay", hour, 0, 23, code);
    check_range("MinuteOfHour", minute, 0, 59, code);
    check_range("SecondOfMinute", second, 0, 59, code);
    check_range("NanoOfSecond", nanosecond, 0, kNanosPerSecond - 1, code);
    return ((hour * 60 + minute) * 60 + second) * kNanosPerSecond + nanosecond;
}

std::int32_t offset_at_utc(const Zone& zone, std::int64_t seconds) {
    return zone.name.empty() ? zone.offset_seconds
                             : value_or_throw(zone_offset_at_utc(zone.name, seconds));
}

DateTime at_instant(std::int64_t utc_seconds, std::int32_t nanoseconds, const Zone& zone) {
    const std::int32_t offset = offset_at_utc(zone, utc_seconds);
    (void)check_days((utc_seconds + offset) / kSecondsPerDay);
    return {utc_seconds, nanoseconds, offset, zone.name};
}

DateTime at_local(std::int64_t local_seconds, std::int32_t nanoseconds, const Zone& zone) {
    if (zone.name.empty()) {
        return {local_seconds - zone.offset_seconds, nanoseconds, zone.offset_seconds, {}};
    }
    const std::int32_t before = value_or_throw(zone_offset_at_local(zone.name, local_seconds));
    return at_instant(local_seconds - before, nanoseconds, zone);
}

std::optional<Parts> parts_of(const Value& value) {
    const auto split = [](std::int64_t local_seconds, std::int32_t nanoseconds) {
        const std::int64_t days =
            (local_seconds >= 0 ? local_seconds : local_seconds - (kSecondsPerDay - 1)) /
            kSecondsPerDay;
        Parts p;
        p.days = days;
        p.nanoseconds_of_day =
            (local_seconds - days * kSecondsPerDay) * kNanosPerSecond + nanoseconds;
        return p;
    };
    switch (value.type()) {
        case ValueType::kDate: {
            Parts p;
            p.days = value.as_date().days;
            return p;
        }
        case ValueType::kLocalTime: {
            Parts p;
            p.nanoseconds_of_day = value.as_local_time().nanoseconds;
            return p;
        }
        case ValueType::kTime: {
            Parts p;
            p.nanoseconds_of_day = value.as_time().nanoseconds;
            p.offset_seconds = value.as_time().offset_seconds;
            p.zone = Zone{p.offset_seconds, {}};
            return p;
        }
        case ValueType::kLocalDateTime:
            return split(value.as_local_date_time().seconds,
                         value.as_local_date_time().nanoseconds);
        case ValueType::kDateTime: {
            const DateTime& t = value.as_date_time();
            Parts p = split(t.seconds + t.offset_seconds, t.nanoseconds);
            p.offset_seconds = t.offset_seconds;
            p.zone = Zone{t.zone.empty() ? t.offset_seconds : 0, t.zone};
            return p;
        }
        default:
            return std::nullopt;
    }
}

}  // namespace nornic::cypher::temporal
