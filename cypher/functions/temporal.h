// Temporal values as the language sees them: built from maps, strings and each other, truncated,
// taken apart and added to. The plain types and their calendar are in graph/temporal.h.
#pragma once

#include "cypher/functions/function.h"
#include "graph/temporal.h"
#include "graph/value.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace nornic::cypher::temporal {

/// Offsets and named zones, as "timezone" may be given.
struct Zone {
    std::int32_t offset_seconds = 0;  // of a plain offset
    std::string name;                 // IANA name, else empty
};
/// "Z", "+01:00", "+0100", "+01", "Europe/Berlin". QueryError if it is none.
Zone parse_zone(std::string_view text);
std::int32_t offset_at_utc(const Zone& zone, std::int64_t seconds);
/// A local time in a gap moves forward by the gap's length; in an overlap the earlier offset holds.
DateTime at_local(std::int64_t local_seconds, std::int32_t nanoseconds, const Zone& zone);
DateTime at_instant(std::int64_t utc_seconds, std::int32_t nanoseconds, const Zone& zone);

/// Any temporal value but a duration, taken apart. Local: as its own clock shows it.
struct Parts {
    std::optional<std::int64_t> days;
    std::optional<std::int64_t> nanoseconds_of_day;
    std::optional<Zone> zone;
    std::int32_t offset_seconds = 0;  // in force, where there is a zone
};
std::optional<Parts> parts_of(const Value& value);

// ---- From text. SyntaxError, as Neo4j answers. ----
Date parse_date(std::string_view text);
LocalTime parse_local_time(std::string_view text);
Time parse_time(std::string_view text, const Zone& default_zone, std::int64_t now_utc_seconds);
LocalDateTime parse_local_date_time(std::string_view text);
DateTime parse_date_time(std::string_view text, const Zone& default_zone);
DurationValue parse_duration(std::string_view text);

/// The name of the function that makes one: "localdatetime".
constexpr std::string_view kind_name(ValueType kind) {
    switch (kind) {
        case ValueType::kDate:
            return "date";
        case ValueType::kLocalTime:
            return "localtime";
        case ValueType::kTime:
            return "time";
        case ValueType::kLocalDateTime:
            return "localdatetime";
        default:
            return "datetime";
    }
}

// ---- From maps and other temporal values. `kind` is the wanted type. ----
Value now(ValueType kind, Instant instant, const Zone& zone);
Value from_map(ValueType kind, const Map& fields, EvalContext& context);
Value from_value(ValueType kind, const Value& value, EvalContext& context);
Value truncate(ValueType kind,
               std::string_view unit,
               const Value& value,
               const Map* fields,
               EvalContext& context);
DurationValue duration_from_map(const Map& fields);

// ---- Calculating. ----
/// temporal + duration * sign; sign is 1 or -1.
Value add_duration(const Value& value, const DurationValue& duration, int sign);
DurationValue add_durations(const DurationValue& a, const DurationValue& b, int sign);
DurationValue scale(const DurationValue& d, double factor);
enum class Between : std::uint8_t { kAll, kMonths, kDays, kSeconds };
DurationValue between(Between unit, const Value& from, const Value& to);
/// Months, days and seconds with fractions: a fraction of a month falls to days and seconds by the
/// average month, one of a day to seconds.
DurationValue approximate(long double months,
                          long double days,
                          long double seconds,
                          long double nanoseconds);

/// value.key, or a QueryError naming the key.
Value component(const Value& value, std::string_view key);

[[noreturn]] void throw_argument(std::string message, std::string gql = "22000>22N11");
/// Throws if the day is outside of the years that exist.
std::int64_t check_days(std::int64_t days);
[[noreturn]] void throw_overflow();

struct DateFields {
    std::int64_t year = 0;
    int quarter = 0;
    int month = 0;
    int day = 0;
    int day_of_quarter = 0;
    int day_of_year = 0;
    int week = 0;
    std::int64_t week_year = 0;
    int weekday = 0;
};
DateFields fields_of(std::int64_t days);
// Each checks its arguments; `code` is that of the error.
std::int64_t days_of_date(std::int64_t year, std::int64_t month, std::int64_t day, ErrorCode code);
std::int64_t days_of_week(std::int64_t week_year,
                          std::int64_t week,
                          std::int64_t weekday,
                          ErrorCode code);
std::int64_t days_of_quarter(std::int64_t year,
                             std::int64_t quarter,
                             std::int64_t day,
                             ErrorCode code);
std::int64_t days_of_ordinal(std::int64_t year, std::int64_t day, ErrorCode code);
std::int64_t nanoseconds_of(std::int64_t hour,
                            std::int64_t minute,
                            std::int64_t second,
                            std::int64_t nanosecond,
                            ErrorCode code);

}  // namespace nornic::cypher::temporal
