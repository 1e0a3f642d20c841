// Durations: added to temporal values, to each other, multiplied, and measured between two values.
#include "cypher/functions/temporal.h"

#include <algorithm>
#include <cmath>

namespace nornic::cypher::temporal {
namespace {

std::int64_t checked_add(std::int64_t a, std::int64_t b) {
    std::int64_t sum = 0;
    if (__builtin_add_overflow(a, b, &sum)) {
        throw_overflow();
    }
    return sum;
}

std::int64_t to_integer(long double v) {
    if (!(v > -9.2e18L && v < 9.2e18L)) {
        throw_overflow();
    }
    return static_cast<std::int64_t>(v);
}

std::int64_t floor_div(std::int64_t a, std::int64_t b) {
    return a / b - (a % b < 0 ? 1 : 0);
}

DurationValue negated(const DurationValue& d) {
    DurationValue out;
    if (__builtin_sub_overflow(std::int64_t{0}, d.months, &out.months) ||
        __builtin_sub_overflow(std::int64_t{0}, d.days, &out.days) ||
        __builtin_sub_overflow(std::int64_t{0}, d.seconds, &out.seconds)) {
        throw_overflow();
    }
    if (d.nanoseconds != 0) {
        --out.seconds;
        out.nanoseconds = static_cast<std::int32_t>(kNanosPerSecond) - d.nanoseconds;
    }
    return out;
}

/// The same day of the month, or its last where there is none.
std::int64_t plus_months(std::int64_t days, std::int64_t months) {
    if (months == 0) {
        return days;
    }
    constexpr std::int64_t kMonthsMax = 2 * 12 * (kYearMax + 1);
    if (months > kMonthsMax || months < -kMonthsMax) {
        throw_overflow();
    }
    const CivilDate d = civil_from_days(days);
    const std::int64_t total = d.year * 12 + (d.month - 1) + months;
    const std::int64_t year = floor_div(total, 12);
    const int month = static_cast<int>(total - year * 12) + 1;
    return days_of_date(
        year, month, std::min(d.day, days_in_month(year, month)), ErrorCode::kArgumentError);
}

std::int64_t plus_days(std::int64_t days, std::int64_t n) {
    return check_days(checked_add(days, n));
}

struct Local {
    std::int64_t days = 0;
    std::int64_t nanos = 0;  // of the day
};

/// The last whole day on the way from a to b.
std::int64_t end_day(const Local& a, const Local& b) {
    if (b.days > a.days && b.nanos < a.nanos) {
        return b.days - 1;
    }
    if (b.days < a.days && b.nanos > a.nanos) {
        return b.days + 1;
    }
    return b.days;
}

std::int64_t months_between(const Local& a, const Local& b) {
    const CivilDate from = civil_from_days(a.days);
    const CivilDate to = civil_from_days(end_day(a, b));
    const auto packed = [](const CivilDate& d) { return (d.year * 12 + d.month - 1) * 32 + d.day; };
    return (packed(to) - packed(from)) / 32;
}

struct Moment {
    Local local;
    std::int64_t utc_seconds = 0;
    std::int64_t nanos = 0;  // of the second
};

Moment moment_of(std::int64_t days, std::int64_t nanos_of_day, std::int32_t offset) {
    return {{days, nanos_of_day},
            days * kSecondsPerDay + nanos_of_day / kNanosPerSecond - offset,
            nanos_of_day % kNanosPerSecond};
}

Moment on_clock_of(const Zone& zone, std::int64_t utc_seconds, std::int64_t nanos) {
    const std::int32_t offset = offset_at_utc(zone, utc_seconds);
    const std::int64_t local = utc_seconds + offset;
    const std::int64_t days = floor_div(local, kSecondsPerDay);
    return {{days, (local - days * kSecondsPerDay) * kNanosPerSecond + nanos}, utc_seconds, nanos};
}

}  // namespace

DurationValue approximate(long double months,
                          long double days,
                          long double seconds,
                          long double nanoseconds) {
    // The average Gregorian month: 146,097 days in 4,800 months.
    constexpr long double kDaysPerMonth = 30.436875L;
    const long double whole_months = std::trunc(months);
    days += (months - whole_months) * kDaysPerMonth;
    const long double whole_days = std::trunc(days);
    seconds += (days - whole_days) * 86'400;
    const long double whole_seconds = std::trunc(seconds);
    nanoseconds += (seconds - whole_seconds) * 1e9L;
    // 0.7 has no exact binary form; a hundredth of a nanosecond makes up for that.
    const std::int64_t nanos =
        to_integer(std::trunc(nanoseconds + std::copysign(0.01L, nanoseconds)));
    const std::int64_t carry = floor_div(nanos, kNanosPerSecond);
    DurationValue out;
    out.months = to_integer(whole_months);
    out.days = to_integer(whole_days);
    out.seconds = checked_add(to_integer(whole_seconds), carry);
    out.nanoseconds = static_cast<std::int32_t>(nanos - carry * kNanosPerSecond);
    return out;
}

DurationValue scale(const DurationValue& d, double factor) {
    if (std::isnan(factor) || std::isinf(factor)) {
        throw_overflow();
    }
    const long double f = factor;
    return approximate(static_cast<long double>(d.months) * f,
                       static_cast<long double>(d.days) * f,
                       static_cast<long double>(d.seconds) * f,
                       static_cast<long double>(d.nanoseconds) * f);
}

DurationValue add_durations(const DurationValue& a, const DurationValue& b, int sign) {
    const DurationValue& other = sign < 0 ? negated(b) : b;
    DurationValue out;
    out.months = checked_add(a.months, other.months);
    out.days = checked_add(a.days, other.days);
    out.seconds = checked_add(a.seconds, other.seconds);
    std::int64_t nanos = std::int64_t{a.nanoseconds} + other.nanoseconds;
    if (nanos >= kNanosPerSecond) {
        nanos -= kNanosPerSecond;
        out.seconds = checked_add(out.seconds, 1);
    }
    out.nanoseconds = static_cast<std::int32_t>(nanos);
    return out;
}

Value add_duration(const Value& value, const DurationValue& duration, int sign) {
    const DurationValue d = sign < 0 ? negated(duration) : duration;
    const auto time_of_day = [&](std::int64_t nanos) {
        const std::int64_t moved =
            nanos + d.seconds % kSecondsPerDay * kNanosPerSecond + d.nanoseconds;
        return ((moved % kNanosPerDay) + kNanosPerDay) % kNanosPerDay;
    };
    switch (value.type()) {
        case ValueType::kDate: {
            // A date has no hours: of the time part only whole days count.
            const std::int64_t seconds =
                d.seconds < 0 && d.nanoseconds > 0 ? d.seconds + 1 : d.seconds;
            std::int64_t days = plus_months(value.as_date().days, d.months);
            days = plus_days(days, checked_add(d.days, seconds / kSecondsPerDay));
            return Value{Date{days}};
        }
        case ValueType::kLocalTime:
            return Value{LocalTime{time_of_day(value.as_local_time().nanoseconds)}};
        case ValueType::kTime:
            return Value{
                Time{time_of_day(value.as_time().nanoseconds), value.as_time().offset_seconds}};
        case ValueType::kLocalDateTime:
        case ValueType::kDateTime: {
            const Parts p = *parts_of(value);
            const bool zoned = p.zone.has_value();
            std::int64_t seconds = 0;  // local, or UTC if zoned
            std::int64_t nanos = *p.nanoseconds_of_day % kNanosPerSecond;
            if (d.months != 0 || d.days != 0) {
                const std::int64_t days = plus_days(plus_months(*p.days, d.months), d.days);
                const std::int64_t local =
                    days * kSecondsPerDay + *p.nanoseconds_of_day / kNanosPerSecond;
                seconds = zoned ? at_local(local, 0, *p.zone).seconds : local;
            } else {
                seconds = zoned ? value.as_date_time().seconds : value.as_local_date_time().seconds;
            }
            seconds = checked_add(seconds, d.seconds);
            nanos += d.nanoseconds;
            if (nanos >= kNanosPerSecond) {
                nanos -= kNanosPerSecond;
                seconds = checked_add(seconds, 1);
            }
            (void)check_days(floor_div(seconds, kSecondsPerDay));
            const auto n = static_cast<std::int32_t>(nanos);
            return zoned ? Value{at_instant(seconds, n, *p.zone)}
                         : Value{LocalDateTime{seconds, n}};
        }
        default:
            NORNIC_CHECK(false, "a {} takes no duration", type_name(value));
    }
    return {};
}

DurationValue between(Between unit, const Value& from_value, const Value& to_value) {
    const auto a = parts_of(from_value);
    const auto b = parts_of(to_value);
    if (!a || !b) {
        const Value& wrong = !a ? from_value : to_value;
        throw QueryError{ErrorCode::kTypeError,
                         "Cannot calculate a duration with " + to_cypher_text(wrong) +
                             ": expected a temporal value"};
    }
    // What one side lacks it takes from the other: the date, the time zone. A missing time is
    // midnight.
    const bool dated = a->days && b->days;
    const std::int64_t days_a = a->days ? *a->days : b->days.value_or(0);
    const std::int64_t days_b = b->days ? *b->days : a->days.value_or(0);
    const std::int64_t nanos_a = a->nanoseconds_of_day.value_or(0);
    const std::int64_t nanos_b = b->nanoseconds_of_day.value_or(0);
    const Zone zone = a->zone ? *a->zone : b->zone.value_or(Zone{});
    const auto place = [&](const Parts& p, const Value& v, std::int64_t days, std::int64_t nanos) {
        if (v.is(ValueType::kDateTime)) {
            return moment_of(days, nanos, p.offset_seconds);  // keeps its own side of an overlap
        }
        if (p.zone && v.is(ValueType::kTime)) {
            return moment_of(days, nanos, p.offset_seconds);
        }
        const std::int64_t local = days * kSecondsPerDay + nanos / kNanosPerSecond;
        const DateTime t =
            at_local(local, static_cast<std::int32_t>(nanos % kNanosPerSecond), zone);
        return moment_of(days, nanos, static_cast<std::int32_t>(local - t.seconds));
    };
    const Moment from = place(*a, from_value, days_a, nanos_a);
    Moment to = place(*b, to_value, days_b, nanos_b);
    if (a->zone && b->zone) {
        to = on_clock_of(*a->zone, to.utc_seconds, to.nanos);
    }

    DurationValue out;
    Moment at = from;
    const auto move_to = [&](std::int64_t days) {
        if (days != at.local.days) {
            const std::int64_t local = days * kSecondsPerDay + at.local.nanos / kNanosPerSecond;
            at.local.days = days;
            at.utc_seconds = at_local(local, 0, zone).seconds;
        }
    };
    if (dated && (unit == Between::kAll || unit == Between::kMonths)) {
        out.months = months_between(at.local, to.local);
        move_to(plus_months(at.local.days, out.months));
    }
    if (dated && (unit == Between::kAll || unit == Between::kDays)) {
        out.days = end_day(at.local, to.local) - at.local.days;
        move_to(at.local.days + out.days);
    }
    if (unit == Between::kAll || unit == Between::kSeconds) {
        out.seconds = to.utc_seconds - at.utc_seconds;
        std::int64_t nanos = to.nanos - at.nanos;
        if (nanos < 0) {
            nanos += kNanosPerSecond;
            --out.seconds;
        }
        out.nanoseconds = static_cast<std::int32_t>(nanos);
    }
    return out;
}

}  // namespace nornic::cypher::temporal
