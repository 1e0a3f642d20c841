// ISO 8601 as Cypher reads it: basic and extended forms, week, ordinal and quarter dates.
#include "cypher/functions/temporal.h"

#include <fmt/format.h>

#include <array>

namespace nornic::cypher::temporal {
namespace {

constexpr std::size_t kTextBytesMax = 256;
constexpr std::int32_t kOffsetSecondsMax = 18 * 3600;

[[noreturn]] void fail_parse(std::string_view kind, std::string_view text) {
    throw QueryError{
        ErrorCode::kSyntaxError,
        fmt::format(
            "Text cannot be parsed to a {}\n\"{}\"\n ^", kind, text.substr(0, kTextBytesMax)),
        "22007>22N36"};
}

/// Reads from the front of a text; each call takes what it names or leaves the text alone.
class Cursor {
public:
    explicit Cursor(std::string_view text) : rest_{text} {}
    [[nodiscard]] bool at_end() const { return rest_.empty(); }
    [[nodiscard]] std::string_view rest() const { return rest_; }
    bool take(char c) {
        if (rest_.empty() || rest_.front() != c) {
            return false;
        }
        rest_.remove_prefix(1);
        return true;
    }
    [[nodiscard]] std::size_t digits_ahead() const {
        std::size_t n = 0;
        while (n < rest_.size() && rest_[n] >= '0' && rest_[n] <= '9') {
            ++n;
        }
        return n;
    }
    /// Exactly n digits (n <= 18), or nothing.
    std::optional<std::int64_t> take_digits(std::size_t n) {
        if (n == 0 || digits_ahead() < n) {
            return std::nullopt;
        }
        std::int64_t v = 0;
        for (std::size_t i = 0; i < n; ++i) {
            v = v * 10 + (rest_[i] - '0');
        }
        rest_.remove_prefix(n);
        return v;
    }

private:
    std::string_view rest_;
};

std::int64_t date_days(std::string_view text, std::string_view kind, std::string_view whole) {
    constexpr ErrorCode kCode = ErrorCode::kSyntaxError;
    const auto bad = [&]() { fail_parse(kind, whole); };
    Cursor in{text};
    std::int64_t year = 0;
    if (!text.empty() && (text.front() == '+' || text.front() == '-')) {
        const bool negative = text.front() == '-';
        (void)in.take(text.front());
        const std::size_t n = in.digits_ahead();
        if (n == 0 || n > 9) {
            bad();
        }
        year = *in.take_digits(n) * (negative ? -1 : 1);
        if (!in.at_end() && in.rest().front() != '-') {
            bad();
        }
    } else if (const auto y = in.take_digits(4)) {
        year = *y;
    } else {
        bad();
    }
    if (in.at_end()) {
        return days_of_date(year, 1, 1, kCode);
    }
    const bool extended = in.take('-');
    const auto separator = [&] {
        if (extended && !in.take('-')) {
            bad();
        }
    };
    const auto finish = [&](std::int64_t days) {
        if (!in.at_end()) {
            bad();
        }
        return days;
    };
    const auto number = [&](std::size_t n) -> std::int64_t {
        const auto v = in.take_digits(n);
        if (!v) {
            bad();
        }
        return v.value_or(0);
    };
    if (in.take('W')) {
        const std::int64_t week = number(2);
        std::int64_t weekday = 1;
        if (!in.at_end()) {
            separator();
            weekday = number(1);
        }
        return finish(days_of_week(year, week, weekday, kCode));
    }
    if (in.take('Q')) {
        const std::int64_t quarter = number(1);
        std::int64_t day = 1;
        if (!in.at_end()) {
            separator();
            day = number(2);
        }
        return finish(days_of_quarter(year, quarter, day, kCode));
    }
    const std::size_t digits = in.digits_ahead();
    if (digits == 3) {
        return finish(days_of_ordinal(year, number(3), kCode));
    }
    if (digits != 2 && (extended || digits != 4)) {
        bad();
    }
    const std::int64_t month = number(2);
    std::int64_t day = 1;
    if (!in.at_end()) {
        separator();
        day = number(2);
    }
    return finish(days_of_date(year, month, day, kCode));
}

std::int64_t time_nanoseconds(std::string_view text,
                              std::string_view kind,
                              std::string_view whole) {
    Cursor in{text};
    const auto number = [&](std::size_t n) -> std::int64_t {
        const auto v = in.take_digits(n);
        if (!v) {
            fail_parse(kind, whole);
        }
        return v.value_or(0);
    };
    const std::int64_t hour = number(2);
    std::int64_t minute = 0;
    std::int64_t second = 0;
    std::int64_t nano = 0;
    if (!in.at_end()) {
        const bool extended = in.take(':');
        minute = number(2);
        if (!in.at_end()) {
            if (extended && !in.take(':')) {
                fail_parse(kind, whole);
            }
            second = number(2);
            if (!in.at_end()) {
                if (!in.take('.') && !in.take(',')) {
                    fail_parse(kind, whole);
                }
                const std::size_t n = in.digits_ahead();
                if (n == 0 || n > 9) {
                    fail_parse(kind, whole);
                }
                nano = number(n);
                for (std::size_t i = n; i < 9; ++i) {
                    nano *= 10;
                }
            }
        }
    }
    if (!in.at_end()) {
        fail_parse(kind, whole);
    }
    return nanoseconds_of(hour, minute, second, nano, ErrorCode::kSyntaxError);
}

std::optional<std::int32_t> parse_offset(std::string_view text) {
    if (text == "Z" || text == "z") {
        return 0;
    }
    Cursor in{text};
    const bool negative = !text.empty() && text.front() == '-';
    if (!in.take('+') && !in.take('-')) {
        return std::nullopt;
    }
    std::array<std::int64_t, 3> parts{};
    std::size_t n = 0;
    bool extended = false;
    while (!in.at_end()) {
        if (n == 1) {
            extended = in.take(':');
        } else if (n > 1 && extended && !in.take(':')) {
            return std::nullopt;
        }
        const auto v = n < 3 ? in.take_digits(2) : std::nullopt;
        if (!v) {
            return std::nullopt;
        }
        parts[n++] = *v;
    }
    if (n == 0 || parts[1] > 59 || parts[2] > 59) {
        return std::nullopt;
    }
    const auto offset = static_cast<std::int32_t>(parts[0] * 3600 + parts[1] * 60 + parts[2]);
    if (offset > kOffsetSecondsMax) {
        return std::nullopt;
    }
    return negative ? -offset : offset;
}

/// "21:40:32.142+02:00[Europe/Stockholm]" in its three parts.
struct TimeText {
    std::string_view time;
    std::optional<std::int32_t> offset;
    std::string_view zone;
};

TimeText split_time(std::string_view text, std::string_view kind, std::string_view whole) {
    TimeText out;
    const std::size_t bracket = text.find('[');
    if (bracket != std::string_view::npos) {
        if (text.back() != ']' || text.size() < bracket + 3) {
            fail_parse(kind, whole);
        }
        out.zone = text.substr(bracket + 1, text.size() - bracket - 2);
        text = text.substr(0, bracket);
    }
    const std::size_t mark = text.find_first_of("Zz+-");
    out.time = text.substr(0, mark);
    if (mark != std::string_view::npos) {
        out.offset = parse_offset(text.substr(mark));
        if (!out.offset) {
            fail_parse(kind, whole);
        }
    }
    return out;
}

std::size_t find_t(std::string_view text) {
    const std::size_t t = text.find('T');
    return t != std::string_view::npos ? t : text.find('t');
}

}  // namespace

Zone parse_zone(std::string_view text) {
    if (const auto offset = parse_offset(text)) {
        return {*offset, {}};
    }
    if (!is_known_zone(text)) {
        throw_argument(fmt::format("Invalid value for TimeZone: unknown time zone '{}'",
                                   text.substr(0, kTextBytesMax)));
    }
    return {0, std::string{text}};
}

Date parse_date(std::string_view text) {
    return {date_days(text, "Date", text)};
}

LocalTime parse_local_time(std::string_view text) {
    return {time_nanoseconds(text, "LocalTime", text)};
}

Time parse_time(std::string_view text, const Zone& default_zone, std::int64_t now_utc_seconds) {
    const TimeText t = split_time(text, "Time", text);
    Time out;
    out.nanoseconds = time_nanoseconds(t.time, "Time", text);
    if (t.offset) {
        out.offset_seconds = *t.offset;
    } else {
        out.offset_seconds =
            offset_at_utc(t.zone.empty() ? default_zone : parse_zone(t.zone), now_utc_seconds);
    }
    return out;
}

LocalDateTime parse_local_date_time(std::string_view text) {
    const std::size_t t = find_t(text);
    const std::int64_t days = date_days(text.substr(0, t), "LocalDateTime", text);
    const std::int64_t nanos = t == std::string_view::npos
                                   ? 0
                                   : time_nanoseconds(text.substr(t + 1), "LocalDateTime", text);
    return {days * kSecondsPerDay + nanos / kNanosPerSecond,
            static_cast<std::int32_t>(nanos % kNanosPerSecond)};
}

DateTime parse_date_time(std::string_view text, const Zone& default_zone) {
    std::size_t t = find_t(text.substr(0, text.find('[')));
    std::string_view date = text.substr(0, t);
    TimeText rest;
    std::int64_t nanos = 0;
    if (t != std::string_view::npos) {
        rest = split_time(text.substr(t + 1), "DateTime", text);
        nanos = time_nanoseconds(rest.time, "DateTime", text);
    } else if (const std::size_t bracket = text.find('['); bracket != std::string_view::npos) {
        date = text.substr(0, bracket);
        rest = split_time(text.substr(bracket), "DateTime", text);
    }
    const std::int64_t local =
        date_days(date, "DateTime", text) * kSecondsPerDay + nanos / kNanosPerSecond;
    const auto nano = static_cast<std::int32_t>(nanos % kNanosPerSecond);
    if (rest.zone.empty()) {
        return at_local(local, nano, rest.offset ? Zone{*rest.offset, {}} : default_zone);
    }
    const Zone zone = parse_zone(rest.zone);
    if (!rest.offset) {
        return at_local(local, nano, zone);
    }
    // With both, the offset says which of two times in an overlap is meant; it must be one of the
    // zone's.
    const std::int64_t utc = local - *rest.offset;
    if (offset_at_utc(zone, utc) != *rest.offset) {
        throw_argument(
            fmt::format("Timezone and offset do not match: {}", text.substr(0, kTextBytesMax)));
    }
    return at_instant(utc, nano, zone);
}

DurationValue parse_duration(std::string_view text) {
    const auto bad = [&]() { fail_parse("Duration", text); };
    Cursor in{text};
    const bool negative = !text.empty() && text.front() == '-';
    if (negative || (!text.empty() && text.front() == '+')) {
        (void)in.take(text.front());
    }
    if (!in.take('P') || in.at_end()) {
        bad();
    }
    const long double sign = negative ? -1 : 1;
    // The date form: P2012-02-02T14:37:21.545, or P20120202T143721.
    const std::string_view body = in.rest();
    if (const std::size_t t = body.find('T');
        t != std::string_view::npos && in.digits_ahead() >= 4 &&
        (in.digits_ahead() == t || body[in.digits_ahead()] == '-')) {
        Cursor date{body.substr(0, t)};
        const auto year = date.take_digits(4);
        const bool extended = date.take('-');
        const auto month = date.take_digits(2);
        if (extended && !date.take('-')) {
            bad();
        }
        const auto day = date.take_digits(2);
        if (!year || !month || !day || !date.at_end() || *month > 12 || *day > 31) {
            bad();
        }
        const std::int64_t nanos = time_nanoseconds(body.substr(t + 1), "Duration", text);
        return approximate(sign * static_cast<long double>(*year * 12 + *month),
                           sign * static_cast<long double>(*day),
                           sign * static_cast<long double>(nanos / kNanosPerSecond),
                           sign * static_cast<long double>(nanos % kNanosPerSecond));
    }
    long double months = 0;
    long double days = 0;
    long double seconds = 0;
    long double nanos = 0;
    bool in_time = false;
    // Units come in their order, each once at most.
    std::string_view units = "YMWD";
    while (!in.at_end()) {
        if (!in_time && in.take('T')) {
            in_time = true;
            units = "HMS";
            if (in.at_end()) {
                bad();
            }
            continue;
        }
        const bool minus = in.take('-');
        if (!minus) {
            (void)in.take('+');
        }
        const std::size_t n = in.digits_ahead();
        if (n == 0 || n > 18) {
            bad();
        }
        const std::int64_t whole = *in.take_digits(n);
        long double fraction = 0;
        std::int64_t fraction_nanos = 0;
        if (in.take('.') || in.take(',')) {
            const std::size_t f = in.digits_ahead();
            if (f == 0 || f > 18) {
                bad();
            }
            std::int64_t scale = 1;
            for (std::size_t i = 0; i < f; ++i) {
                scale *= 10;
            }
            const std::int64_t digits = *in.take_digits(f);
            fraction = static_cast<long double>(digits) / static_cast<long double>(scale);
            fraction_nanos = scale > kNanosPerSecond ? digits / (scale / kNanosPerSecond)
                                                     : digits * (kNanosPerSecond / scale);
        }
        if (in.at_end()) {
            bad();
        }
        const char unit = in.rest().front();
        const std::size_t place = units.find(unit);
        if (place == std::string_view::npos) {
            bad();
        }
        (void)in.take(unit);
        units.remove_prefix(place + 1);
        const long double s = minus ? -sign : sign;
        const long double v = static_cast<long double>(whole) + fraction;
        if (unit == 'Y') {
            months += s * v * 12;
        } else if (unit == 'M' && !in_time) {
            months += s * v;
        } else if (unit == 'W') {
            days += s * v * 7;
        } else if (unit == 'D') {
            days += s * v;
        } else if (unit == 'H') {
            seconds += s * v * 3600;
        } else if (unit == 'M') {
            seconds += s * v * 60;
        } else {
            // Digits of a second are taken as they stand: 0.3 s is 300,000,000 ns.
            seconds += s * static_cast<long double>(whole);
            nanos += s * static_cast<long double>(fraction_nanos);
        }
    }
    return approximate(months, days, seconds, nanos);
}

}  // namespace nornic::cypher::temporal
