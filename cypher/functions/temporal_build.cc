// date({...}), datetime(other), date.truncate(...): temporal values from maps and from each other.
#include "cypher/functions/temporal.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace nornic::cypher::temporal {
namespace {

constexpr ErrorCode kCode = ErrorCode::kArgumentError;

bool wants_date(ValueType kind) {
    return kind == ValueType::kDate || kind == ValueType::kLocalDateTime ||
           kind == ValueType::kDateTime;
}
bool wants_time(ValueType kind) {
    return kind != ValueType::kDate;
}
bool wants_zone(ValueType kind) {
    return kind == ValueType::kTime || kind == ValueType::kDateTime;
}

constexpr std::array<std::string_view, 9> kDateKeys = {
    "date", "year", "quarter", "month", "week", "dayOfWeek", "dayOfQuarter", "ordinalDay", "day"};
constexpr std::array<std::string_view, 7> kTimeKeys = {
    "time", "hour", "minute", "second", "millisecond", "microsecond", "nanosecond"};

template <std::size_t N>
bool is_one_of(const std::array<std::string_view, N>& keys, std::string_view key) {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
}

void check_keys(ValueType kind, const Map& fields) {
    const bool both = wants_date(kind) && wants_time(kind);
    for (const auto& [key, value] : fields) {
        const bool known =
            (wants_date(kind) && is_one_of(kDateKeys, key)) ||
            (wants_time(kind) && is_one_of(kTimeKeys, key)) || (both && key == "datetime") ||
            key == "timezone" ||
            (kind == ValueType::kDateTime && (key == "epochSeconds" || key == "epochMillis"));
        if (!known) {
            throw_argument(fmt::format("No such field: {}", key));
        }
    }
}

std::optional<std::int64_t> integer_field(const Map& fields, std::string_view key) {
    const Value* v = fields.find(key);
    if (v == nullptr) {
        return std::nullopt;
    }
    if (!v->is(ValueType::kInteger)) {
        throw_argument(
            fmt::format("{} must be an integer value, but was a {}Value", key, type_name(*v)));
    }
    return v->as_integer();
}

/// The date of a map: `base` gives what the map leaves open. nullopt if neither says a thing.
std::optional<std::int64_t> assign_date(std::optional<std::int64_t> base, const Map& fields) {
    const auto year = integer_field(fields, "year");
    const auto month = integer_field(fields, "month");
    const auto day = integer_field(fields, "day");
    const auto week = integer_field(fields, "week");
    const auto weekday = integer_field(fields, "dayOfWeek");
    const auto quarter = integer_field(fields, "quarter");
    const auto day_of_quarter = integer_field(fields, "dayOfQuarter");
    const auto ordinal = integer_field(fields, "ordinalDay");
    const bool by_month = month || day;
    const bool by_week = week || weekday;
    const bool by_quarter = quarter || day_of_quarter;
    const int groups =
        (by_month ? 1 : 0) + (by_week ? 1 : 0) + (by_quarter ? 1 : 0) + (ordinal ? 1 : 0);
    if (groups == 0 && !year) {
        return base;
    }
    if (groups > 1) {
        throw_argument(
            "Cannot select a date by more than one of month and day, week, quarter and ordinal "
            "day");
    }
    if (!base) {
        const auto need = [](bool given, std::string_view name) {
            if (!given) {
                throw_argument(fmt::format("{} must be specified", name));
            }
        };
        need(year.has_value(), "year");
        if (by_week) {
            need(week.has_value(), "week");
            return days_of_week(*year, *week, weekday.value_or(1), kCode);
        }
        if (by_quarter) {
            need(quarter.has_value(), "quarter");
            return days_of_quarter(*year, *quarter, day_of_quarter.value_or(1), kCode);
        }
        if (ordinal) {
            return days_of_ordinal(*year, *ordinal, kCode);
        }
        need(month.has_value() || !day, "month");
        return days_of_date(*year, month.value_or(1), day.value_or(1), kCode);
    }
    const DateFields old = fields_of(*base);
    if (by_week) {
        return days_of_week(year.value_or(old.week_year),
                            week.value_or(old.week),
                            weekday.value_or(old.weekday),
                            kCode);
    }
    const std::int64_t y = year.value_or(old.year);
    if (by_quarter) {
        return days_of_quarter(
            y, quarter.value_or(old.quarter), day_of_quarter.value_or(old.day_of_quarter), kCode);
    }
    if (ordinal) {
        return days_of_ordinal(y, *ordinal, kCode);
    }
    const std::int64_t m = month.value_or(old.month);
    // January 31st moved to a shorter month is that month's last day.
    const std::int64_t last = m >= 1 && m <= 12 && y >= -kYearMax && y <= kYearMax
                                  ? days_in_month(y, static_cast<int>(m))
                                  : 31;
    return days_of_date(y, m, day.value_or(std::min<std::int64_t>(old.day, last)), kCode);
}

std::optional<std::int64_t> assign_time(std::optional<std::int64_t> base, const Map& fields) {
    const auto hour = integer_field(fields, "hour");
    const auto minute = integer_field(fields, "minute");
    const auto second = integer_field(fields, "second");
    const auto milli = integer_field(fields, "millisecond");
    const auto micro = integer_field(fields, "microsecond");
    const auto nano = integer_field(fields, "nanosecond");
    const bool fraction = milli || micro || nano;
    if (!hour && !minute && !second && !fraction) {
        return base;
    }
    if (!base) {
        const auto need = [](bool given, bool needed, std::string_view name) {
            if (needed && !given) {
                throw_argument(fmt::format("{} must be specified", name));
            }
        };
        need(hour.has_value(), minute || second || fraction, "hour");
        need(minute.has_value(), second || fraction, "minute");
        need(second.has_value(), fraction, "second");
    }
    std::int64_t nanos = base.value_or(0) % kNanosPerSecond;
    if (fraction) {
        const auto check =
            [](std::optional<std::int64_t> v, std::int64_t max, std::string_view name) {
                if (v && (*v < 0 || *v > max)) {
                    throw_argument(fmt::format("Invalid value for {}: {}", name, *v));
                }
            };
        check(milli, 999, "Millisecond");
        check(micro, milli ? 999 : 999'999, "Microsecond");
        check(nano, micro ? 999 : (milli ? 999'999 : 999'999'999), "Nanosecond");
        nanos = milli.value_or(0) * 1'000'000 + micro.value_or(0) * 1'000 + nano.value_or(0);
    }
    const std::int64_t old = base.value_or(0) / kNanosPerSecond;
    return nanoseconds_of(hour.value_or(old / 3600),
                          minute.value_or(old / 60 % 60),
                          second.value_or(old % 60),
                          nanos,
                          kCode);
}

Zone default_zone_of(EvalContext& context) {
    return parse_zone(default_zone(context));
}

Zone zone_field(const Value& value) {
    if (!value.is_string()) {
        throw_argument(fmt::format("timezone must be a string, but was a {}", type_name(value)));
    }
    return parse_zone(value.as_string());
}

Value assemble(
    ValueType kind, std::int64_t days, std::int64_t nanos, const Zone& zone, EvalContext& context) {
    const std::int64_t seconds = days * kSecondsPerDay + nanos / kNanosPerSecond;
    const auto nano = static_cast<std::int32_t>(nanos % kNanosPerSecond);
    switch (kind) {
        case ValueType::kDate:
            return Value{Date{days}};
        case ValueType::kLocalTime:
            return Value{LocalTime{nanos}};
        case ValueType::kTime:
            return Value{
                Time{nanos,
                     offset_at_utc(zone, current_instant(context, ClockKind::kStatement).seconds)}};
        case ValueType::kLocalDateTime:
            return Value{LocalDateTime{seconds, nano}};
        default:
            return Value{at_local(seconds, nano, zone)};
    }
}

/// The same instant on another clock.
Value move_to(const Value& value, const Zone& zone, EvalContext& context) {
    if (value.is(ValueType::kDateTime)) {
        return Value{
            at_instant(value.as_date_time().seconds, value.as_date_time().nanoseconds, zone)};
    }
    const Time& t = value.as_time();
    const std::int32_t offset =
        offset_at_utc(zone, current_instant(context, ClockKind::kStatement).seconds);
    std::int64_t nanos =
        t.nanoseconds + static_cast<std::int64_t>(offset - t.offset_seconds) * kNanosPerSecond;
    nanos = ((nanos % kNanosPerDay) + kNanosPerDay) % kNanosPerDay;
    return Value{Time{nanos, offset}};
}

Parts parts_field(const Value& value, std::string_view key, bool date, bool time) {
    const auto parts = parts_of(value);
    if (!parts || (date && !parts->days) || (time && !parts->nanoseconds_of_day)) {
        throw_argument(fmt::format("Cannot get the {} of: {}", key, to_cypher_text(value)));
    }
    return *parts;
}

}  // namespace

Value now(ValueType kind, Instant instant, const Zone& zone) {
    const DateTime t = at_instant(instant.seconds, instant.nanoseconds, zone);
    const Parts p = *parts_of(Value{t});
    switch (kind) {
        case ValueType::kDate:
            return Value{Date{*p.days}};
        case ValueType::kLocalTime:
            return Value{LocalTime{*p.nanoseconds_of_day}};
        case ValueType::kTime:
            return Value{Time{*p.nanoseconds_of_day, t.offset_seconds}};
        case ValueType::kLocalDateTime:
            return Value{LocalDateTime{t.seconds + t.offset_seconds, t.nanoseconds}};
        default:
            return Value{t};
    }
}

Value from_map(ValueType kind, const Map& fields, EvalContext& context) {
    check_keys(kind, fields);
    const Value* zone_value = fields.find("timezone");
    const std::optional<Zone> zone =
        zone_value != nullptr ? std::optional{zone_field(*zone_value)} : std::nullopt;
    if (fields.size() == (zone ? 1U : 0U)) {
        if (!zone) {
            throw_argument("At least one temporal unit must be specified.");
        }
        return now(kind, current_instant(context, ClockKind::kStatement), *zone);
    }
    if (zone && !wants_zone(kind)) {
        throw_argument(fmt::format("Cannot assign time zone to a {}", kind_name(kind)));
    }
    if (const auto seconds = integer_field(fields, "epochSeconds"),
        millis = integer_field(fields, "epochMillis");
        seconds || millis) {
        const auto nano = integer_field(fields, "nanosecond").value_or(0);
        if (nano < 0 || nano >= kNanosPerSecond) {
            throw_argument(fmt::format("Invalid value for Nanosecond: {}", nano));
        }
        std::int64_t s = seconds.value_or(0);
        std::int64_t n = nano;
        if (millis) {
            const std::int64_t rest = *millis % 1000;
            s = *millis / 1000 - (rest < 0 ? 1 : 0);
            n += (rest < 0 ? rest + 1000 : rest) * 1'000'000;
            if (n >= kNanosPerSecond) {
                throw_argument(fmt::format("Invalid value for Nanosecond: {}", nano));
            }
        }
        (void)check_days(s / kSecondsPerDay);
        return Value{
            at_instant(s, static_cast<std::int32_t>(n), zone ? *zone : default_zone_of(context))};
    }
    std::optional<std::int64_t> base_days;
    std::optional<std::int64_t> base_nanos;
    std::optional<Parts> zoned;
    if (const Value* v = fields.find("datetime")) {
        zoned = parts_field(*v, "datetime", true, true);
        base_days = zoned->days;
        base_nanos = zoned->nanoseconds_of_day;
    }
    if (const Value* v = fields.find("date")) {
        base_days = parts_field(*v, "date", true, false).days;
    }
    if (const Value* v = fields.find("time")) {
        zoned = parts_field(*v, "time", false, true);
        base_nanos = zoned->nanoseconds_of_day;
    }
    const auto days = assign_date(base_days, fields);
    const auto nanos = assign_time(base_nanos, fields);
    if (wants_date(kind) && !days) {
        throw_argument("year must be specified");
    }
    if (!wants_date(kind) && !nanos) {
        throw_argument("hour must be specified");
    }
    const bool has_source_zone = wants_zone(kind) && zoned && zoned->zone;
    const Zone source =
        has_source_zone
            ? (kind == ValueType::kTime ? Zone{zoned->offset_seconds, {}} : *zoned->zone)
        : zone             ? *zone
        : wants_zone(kind) ? default_zone_of(context)
                           : Zone{};
    Value out = assemble(kind, days.value_or(0), nanos.value_or(0), source, context);
    return has_source_zone && zone ? move_to(out, *zone, context) : out;
}

Value from_value(ValueType kind, const Value& value, EvalContext& context) {
    if (value.type() == kind) {
        return value;
    }
    const auto parts = parts_of(value);
    if (!parts || (wants_date(kind) && !parts->days) ||
        (!wants_date(kind) && !parts->nanoseconds_of_day) ||
        (kind == ValueType::kLocalDateTime && !parts->nanoseconds_of_day && !parts->days)) {
        throw_argument(
            fmt::format("Cannot get the {} of: {}", kind_name(kind), to_cypher_text(value)));
    }
    Zone zone;
    if (wants_zone(kind)) {
        zone = !parts->zone               ? default_zone_of(context)
               : kind == ValueType::kTime ? Zone{parts->offset_seconds, {}}
                                          : *parts->zone;
    }
    return assemble(
        kind, parts->days.value_or(0), parts->nanoseconds_of_day.value_or(0), zone, context);
}

namespace {

constexpr std::array<std::string_view, 14> kUnits = {"millennium",
                                                     "century",
                                                     "decade",
                                                     "year",
                                                     "weekYear",
                                                     "quarter",
                                                     "month",
                                                     "week",
                                                     "day",
                                                     "hour",
                                                     "minute",
                                                     "second",
                                                     "millisecond",
                                                     "microsecond"};
constexpr std::size_t kDayUnit = 8;

std::int64_t floor_to(std::int64_t v, std::int64_t step) {
    const std::int64_t r = v % step;
    return v - (r < 0 ? r + step : r);
}

std::int64_t truncate_days(std::int64_t days, std::size_t unit) {
    const DateFields f = fields_of(days);
    switch (unit) {
        case 0:
            return days_of_date(floor_to(f.year, 1000), 1, 1, kCode);
        case 1:
            return days_of_date(floor_to(f.year, 100), 1, 1, kCode);
        case 2:
            return days_of_date(floor_to(f.year, 10), 1, 1, kCode);
        case 3:
            return days_of_date(f.year, 1, 1, kCode);
        case 4:
            return days_of_week(f.week_year, 1, 1, kCode);
        case 5:
            return days_of_quarter(f.year, f.quarter, 1, kCode);
        case 6:
            return days_of_date(f.year, f.month, 1, kCode);
        case 7:
            return days - (f.weekday - 1);
        default:
            return days;
    }
}

std::int64_t truncate_nanos(std::int64_t nanos, std::size_t unit) {
    static constexpr std::int64_t kSteps[] = {kNanosPerDay,
                                              3600 * kNanosPerSecond,
                                              60 * kNanosPerSecond,
                                              kNanosPerSecond,
                                              1'000'000,
                                              1'000};
    return unit < kDayUnit ? 0 : floor_to(nanos, kSteps[unit - kDayUnit]);
}

}  // namespace

Value truncate(ValueType kind,
               std::string_view unit_name,
               const Value& value,
               const Map* fields,
               EvalContext& context) {
    std::size_t unit = kUnits.size();
    for (std::size_t i = 0; i < kUnits.size(); ++i) {
        const bool same =
            kUnits[i].size() == unit_name.size() &&
            std::equal(unit_name.begin(), unit_name.end(), kUnits[i].begin(), [](char a, char b) {
                return (a | 0x20) == (b | 0x20);
            });
        if (same) {
            unit = i;
        }
    }
    if (unit == kUnits.size()) {
        throw_argument(fmt::format("Unsupported unit: {}", unit_name));
    }
    const auto parts = parts_of(value);
    if (!parts || (wants_date(kind) && !parts->days) ||
        (!wants_date(kind) && !parts->nanoseconds_of_day)) {
        throw_argument(
            fmt::format("Cannot truncate {} to a {}", to_cypher_text(value), kind_name(kind)));
    }
    if (kind == ValueType::kDate && unit > kDayUnit) {
        throw_argument(fmt::format("Unit is too small for truncation: {}", unit_name));
    }
    if (!wants_date(kind) && unit < kDayUnit) {
        throw_argument(fmt::format("Unit is too large for truncation: {}", unit_name));
    }
    if (unit > kDayUnit && !parts->nanoseconds_of_day) {
        throw_argument(fmt::format("Unit is too small for truncation: {}", unit_name));
    }
    std::int64_t days = truncate_days(parts->days.value_or(0), unit);
    std::int64_t nanos = truncate_nanos(parts->nanoseconds_of_day.value_or(0), unit);
    Zone zone;
    if (wants_zone(kind)) {
        zone = !parts->zone               ? default_zone_of(context)
               : kind == ValueType::kTime ? Zone{parts->offset_seconds, {}}
                                          : *parts->zone;
    }
    if (fields != nullptr && !fields->empty()) {
        check_keys(kind, *fields);
        Map rest = *fields;
        if (const Value* z = fields->find("timezone")) {
            if (!wants_zone(kind)) {
                throw_argument(fmt::format("Cannot assign time zone to a {}", kind_name(kind)));
            }
            zone = zone_field(*z);
        }
        // Below the unit the map counts from what is left: microsecond 645876 and {nanosecond: 2}
        // are .645876002.
        if (unit == 12 && (rest.contains("microsecond") || rest.contains("nanosecond")) &&
            !rest.contains("millisecond")) {
            rest.set("millisecond", Value{nanos % kNanosPerSecond / 1'000'000});
        }
        if (unit == 13 && rest.contains("nanosecond") && !rest.contains("microsecond")) {
            rest.set("microsecond", Value{nanos % kNanosPerSecond / 1'000});
        }
        if (wants_date(kind)) {
            days = assign_date(days, rest).value_or(days);
        }
        if (wants_time(kind)) {
            nanos = assign_time(nanos, rest).value_or(nanos);
        }
    }
    return assemble(kind, days, nanos, zone, context);
}

DurationValue duration_from_map(const Map& fields) {
    long double months = 0;
    long double days = 0;
    long double seconds = 0;
    long double nanos = 0;
    for (const auto& [key, value] : fields) {
        struct Unit {
            std::string_view name;
            long double* into;
            long double factor;
        };
        const Unit units[] = {
            {"years", &months, 12},
            {"quarters", &months, 3},
            {"months", &months, 1},
            {"weeks", &days, 7},
            {"days", &days, 1},
            {"hours", &seconds, 3600},
            {"minutes", &seconds, 60},
            {"seconds", &seconds, 1},
            {"milliseconds", &nanos, 1e6L},
            {"microseconds", &nanos, 1e3L},
            {"nanoseconds", &nanos, 1},
        };
        const auto* unit = std::find_if(
            std::begin(units), std::end(units), [&](const Unit& u) { return u.name == key; });
        if (unit == std::end(units)) {
            throw_argument(fmt::format("No such field: {}", key));
        }
        if (!value.is_number()) {
            throw_argument(
                fmt::format("{} must be a number value, but was a {}", key, type_name(value)));
        }
        *unit->into += unit->factor * (value.is(ValueType::kInteger)
                                           ? static_cast<long double>(value.as_integer())
                                           : static_cast<long double>(value.as_float()));
    }
    if (fields.empty()) {
        throw_argument("At least one temporal unit must be specified.");
    }
    return approximate(months, days, seconds, nanos);
}

}  // namespace nornic::cypher::temporal
