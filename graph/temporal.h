// Cypher's temporal types as plain numbers, their text (ISO 8601) and calendar arithmetic on days.
// Functions of the language (date(), duration.between, truncation) live in
// cypher/functions/temporal.
#pragma once

#include "base/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace nornic {

inline constexpr std::int64_t kNanosPerSecond = 1'000'000'000;
inline constexpr std::int64_t kSecondsPerDay = 86'400;
inline constexpr std::int64_t kNanosPerDay = kSecondsPerDay * kNanosPerSecond;
/// Years run from -999,999,999 to 999,999,999 (as java.time).
inline constexpr std::int64_t kYearMax = 999'999'999;

struct Date {
    std::int64_t days = 0;  // since 1970-01-01, proleptic Gregorian
    auto operator<=>(const Date&) const = default;
};
struct LocalTime {
    std::int64_t nanoseconds = 0;  // since midnight
    auto operator<=>(const LocalTime&) const = default;
};
struct Time {
    std::int64_t nanoseconds = 0;  // local, since midnight
    std::int32_t offset_seconds = 0;
    bool operator==(const Time&) const = default;
};
struct LocalDateTime {
    std::int64_t seconds = 0;      // since 1970-01-01T00:00:00, local
    std::int32_t nanoseconds = 0;  // 0 … 999,999,999
    auto operator<=>(const LocalDateTime&) const = default;
};
struct DateTime {
    std::int64_t seconds = 0;  // since 1970-01-01T00:00:00Z
    std::int32_t nanoseconds = 0;
    std::int32_t offset_seconds = 0;  // the offset in force at this instant
    std::string zone;                 // IANA name, or empty for a plain offset
    bool operator==(const DateTime&) const = default;
};
/// Months, days, seconds and nanoseconds are kept apart: a day is not always 24 hours.
struct DurationValue {
    std::int64_t months = 0;
    std::int64_t days = 0;
    std::int64_t seconds = 0;
    std::int32_t nanoseconds = 0;  // 0 … 999,999,999, added to seconds (which may be negative)
    bool operator==(const DurationValue&) const = default;
};

struct CivilDate {
    std::int64_t year = 1970;
    int month = 1;
    int day = 1;
};
/// Days since 1970-01-01 of a proleptic Gregorian date, and back. Howard Hinnant's algorithms.
std::int64_t days_from_civil(CivilDate date) noexcept;
CivilDate civil_from_days(std::int64_t days) noexcept;
bool is_leap_year(std::int64_t year) noexcept;
int days_in_month(std::int64_t year, int month) noexcept;
/// 1 = Monday … 7 = Sunday.
int iso_weekday(std::int64_t days) noexcept;
struct IsoWeek {
    std::int64_t week_year = 1970;
    int week = 1;
};
IsoWeek iso_week(std::int64_t days) noexcept;

/// The UTC offset of an IANA zone at a UTC instant / at a local time (in a gap: the offset before
/// it; in an overlap: the earlier one, as java.time). Zone data: ICU; local mean time before the
/// zone's first rule. kInvalidArgument naming the zone if it is unknown.
Result<std::int32_t> zone_offset_at_utc(std::string_view zone, std::int64_t utc_seconds);
Result<std::int32_t> zone_offset_at_local(std::string_view zone, std::int64_t local_seconds);
bool is_known_zone(std::string_view zone);

std::string to_text(Date value);
std::string to_text(LocalTime value);
std::string to_text(const Time& value);
std::string to_text(const LocalDateTime& value);
std::string to_text(const DateTime& value);       // 2024-01-02T03:04:05.006+01:00[Europe/Berlin]
std::string to_text(const DurationValue& value);  // P1Y2M3DT4H5M6.7S

}  // namespace nornic
