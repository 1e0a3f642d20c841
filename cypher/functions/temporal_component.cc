// d.year, d.epochMillis, duration.minutesOfHour: what a temporal value is made of.
#include "cypher/functions/temporal.h"

#include <fmt/format.h>

namespace nornic::cypher::temporal {
namespace {

[[noreturn]] void no_such(std::string_view key) {
    throw_argument(fmt::format("No such field: {}", key));
}

std::string offset_text(std::int32_t offset) {
    // A time of midnight prints as "00:00" and then the offset.
    return to_text(Time{0, offset}).substr(5);
}

std::optional<Value> date_component(std::int64_t days, std::string_view key) {
    const DateFields f = fields_of(days);
    if (key == "year") {
        return Value{f.year};
    }
    if (key == "quarter") {
        return Value{f.quarter};
    }
    if (key == "month") {
        return Value{f.month};
    }
    if (key == "week") {
        return Value{f.week};
    }
    if (key == "weekYear") {
        return Value{f.week_year};
    }
    if (key == "dayOfQuarter" || key == "quarterDay") {
        return Value{f.day_of_quarter};
    }
    if (key == "day") {
        return Value{f.day};
    }
    if (key == "ordinalDay") {
        return Value{f.day_of_year};
    }
    if (key == "dayOfWeek" || key == "weekDay") {
        return Value{f.weekday};
    }
    return std::nullopt;
}

std::optional<Value> time_component(std::int64_t nanos_of_day, std::string_view key) {
    const std::int64_t seconds = nanos_of_day / kNanosPerSecond;
    const std::int64_t nanos = nanos_of_day % kNanosPerSecond;
    if (key == "hour") {
        return Value{seconds / 3600};
    }
    if (key == "minute") {
        return Value{seconds / 60 % 60};
    }
    if (key == "second") {
        return Value{seconds % 60};
    }
    if (key == "millisecond") {
        return Value{nanos / 1'000'000};
    }
    if (key == "microsecond") {
        return Value{nanos / 1'000};
    }
    if (key == "nanosecond") {
        return Value{nanos};
    }
    return std::nullopt;
}

std::optional<Value> zone_component(const Parts& p, std::string_view key) {
    if (key == "timezone") {
        return Value{p.zone->name.empty() ? offset_text(p.offset_seconds) : p.zone->name};
    }
    if (key == "offset") {
        return Value{offset_text(p.offset_seconds)};
    }
    if (key == "offsetMinutes") {
        return Value{p.offset_seconds / 60};
    }
    if (key == "offsetSeconds") {
        return Value{p.offset_seconds};
    }
    return std::nullopt;
}

Value duration_component(const DurationValue& d, std::string_view key) {
    struct Component {
        std::string_view key;
        std::int64_t value;
    };
    const auto scaled = [&](std::int64_t per_second) -> std::int64_t {
        std::int64_t out = 0;
        if (__builtin_mul_overflow(d.seconds, per_second, &out) ||
            __builtin_add_overflow(out, d.nanoseconds / (kNanosPerSecond / per_second), &out)) {
            throw_overflow();
        }
        return out;
    };
    if (key == "milliseconds") {
        return Value{scaled(1'000)};
    }
    if (key == "microseconds") {
        return Value{scaled(1'000'000)};
    }
    if (key == "nanoseconds") {
        return Value{scaled(kNanosPerSecond)};
    }
    const Component components[] = {
        {"years", d.months / 12},
        {"quarters", d.months / 3},
        {"months", d.months},
        {"weeks", d.days / 7},
        {"days", d.days},
        {"hours", d.seconds / 3600},
        {"minutes", d.seconds / 60},
        {"seconds", d.seconds},
        {"quartersOfYear", d.months / 3 % 4},
        {"monthsOfQuarter", d.months % 3},
        {"monthsOfYear", d.months % 12},
        {"daysOfWeek", d.days % 7},
        {"minutesOfHour", d.seconds / 60 % 60},
        {"secondsOfMinute", d.seconds % 60},
        {"millisecondsOfSecond", d.nanoseconds / 1'000'000},
        {"microsecondsOfSecond", d.nanoseconds / 1'000},
        {"nanosecondsOfSecond", d.nanoseconds},
    };
    for (const Component& c : components) {
        if (c.key == key) {
            return Value{c.value};
        }
    }
    no_such(key);
}

}  // namespace

Value component(const Value& value, std::string_view key) {
    if (value.is(ValueType::kDuration)) {
        return duration_component(value.as_duration(), key);
    }
    const auto parts = parts_of(value);
    NORNIC_CHECK(parts.has_value(), "a {} has no components", type_name(value));
    std::optional<Value> out;
    if (parts->days) {
        out = date_component(*parts->days, key);
    }
    if (!out && parts->nanoseconds_of_day) {
        out = time_component(*parts->nanoseconds_of_day, key);
    }
    if (!out && parts->zone) {
        out = zone_component(*parts, key);
    }
    if (!out && value.is(ValueType::kDateTime)) {
        const DateTime& t = value.as_date_time();
        if (key == "epochSeconds") {
            out = Value{t.seconds};
        } else if (key == "epochMillis") {
            std::int64_t millis = 0;
            if (__builtin_mul_overflow(t.seconds, 1'000, &millis)) {
                throw_overflow();
            }
            out = Value{millis + t.nanoseconds / 1'000'000};
        }
    }
    if (!out) {
        no_such(key);
    }
    return *std::move(out);
}

}  // namespace nornic::cypher::temporal
