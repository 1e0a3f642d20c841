#include "graph/temporal.h"

#include <fmt/format.h>

#include <iterator>

namespace nornic {

std::int64_t days_from_civil(CivilDate date) noexcept {
    const std::int64_t y = date.year - (date.month <= 2 ? 1 : 0);
    const std::int64_t era = (y >= 0 ? y : y - 399) / 400;
    const std::int64_t year_of_era = y - era * 400;
    const std::int64_t month_from_march = (date.month + 9) % 12;
    const std::int64_t day_of_year = (153 * month_from_march + 2) / 5 + date.day - 1;
    const std::int64_t day_of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146'097 + day_of_era - 719'468;
}

CivilDate civil_from_days(std::int64_t days) noexcept {
    const std::int64_t z = days + 719'468;
    const std::int64_t era = (z >= 0 ? z : z - 146'096) / 146'097;
    const std::int64_t day_of_era = z - era * 146'097;
    const std::int64_t year_of_era =
        (day_of_era - day_of_era / 1'460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
    const std::int64_t day_of_year =
        day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const std::int64_t month_from_march = (5 * day_of_year + 2) / 153;
    const auto day = static_cast<int>(day_of_year - (153 * month_from_march + 2) / 5 + 1);
    const auto month =
        static_cast<int>(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
    return {year_of_era + era * 400 + (month <= 2 ? 1 : 0), month, day};
}

bool is_leap_year(std::int64_t year) noexcept {
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

int days_in_month(std::int64_t year, int month) noexcept {
    constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && is_leap_year(year) ? 29 : kDays[month - 1];
}

int iso_weekday(std::int64_t days) noexcept {
    // 1970-01-01 was a Thursday.
    const std::int64_t r = (days + 3) % 7;
    return static_cast<int>(r < 0 ? r + 7 : r) + 1;
}

IsoWeek iso_week(std::int64_t days) noexcept {
    // A week belongs to the year of its Thursday.
    const std::int64_t thursday = days - iso_weekday(days) + 4;
    const std::int64_t year = civil_from_days(thursday).year;
    return {year, static_cast<int>((thursday - days_from_civil({year, 1, 1})) / 7) + 1};
}

namespace {

using Out = fmt::memory_buffer;

void put_date(Out& out, std::int64_t days) {
    const CivilDate d = civil_from_days(days);
    auto to = std::back_inserter(out);
    if (d.year > 9999) {
        fmt::format_to(to, "+{}", d.year);
    } else if (d.year < 0) {
        fmt::format_to(to, "-{:04}", -d.year);
    } else {
        fmt::format_to(to, "{:04}", d.year);
    }
    fmt::format_to(to, "-{:02}-{:02}", d.month, d.day);
}

/// ".5" of 500,000,000 is written ".500": three, six or nine digits, as java.time does.
void put_fraction(Out& out, std::int64_t nanos) {
    auto to = std::back_inserter(out);
    if (nanos % 1'000'000 == 0) {
        fmt::format_to(to, ".{:03}", nanos / 1'000'000);
    } else if (nanos % 1'000 == 0) {
        fmt::format_to(to, ".{:06}", nanos / 1'000);
    } else {
        fmt::format_to(to, ".{:09}", nanos);
    }
}

void put_time(Out& out, std::int64_t nanos_of_day) {
    const std::int64_t seconds = nanos_of_day / kNanosPerSecond;
    const std::int64_t nanos = nanos_of_day % kNanosPerSecond;
    auto to = std::back_inserter(out);
    fmt::format_to(to, "{:02}:{:02}", seconds / 3600, seconds / 60 % 60);
    if (seconds % 60 != 0 || nanos != 0) {
        fmt::format_to(to, ":{:02}", seconds % 60);
    }
    if (nanos != 0) {
        put_fraction(out, nanos);
    }
}

void put_offset(Out& out, std::int32_t offset_seconds) {
    auto to = std::back_inserter(out);
    if (offset_seconds == 0) {
        fmt::format_to(to, "Z");
        return;
    }
    const std::int32_t a = offset_seconds < 0 ? -offset_seconds : offset_seconds;
    fmt::format_to(to, "{}{:02}:{:02}", offset_seconds < 0 ? '-' : '+', a / 3600, a / 60 % 60);
    if (a % 60 != 0) {
        fmt::format_to(to, ":{:02}", a % 60);
    }
}

void put_local_date_time(Out& out, std::int64_t seconds, std::int32_t nanoseconds) {
    const std::int64_t day =
        (seconds >= 0 ? seconds : seconds - (kSecondsPerDay - 1)) / kSecondsPerDay;
    put_date(out, day);
    out.push_back('T');
    put_time(out, (seconds - day * kSecondsPerDay) * kNanosPerSecond + nanoseconds);
}

}  // namespace

std::string to_text(Date value) {
    Out out;
    put_date(out, value.days);
    return fmt::to_string(out);
}

std::string to_text(LocalTime value) {
    Out out;
    put_time(out, value.nanoseconds);
    return fmt::to_string(out);
}

std::string to_text(const Time& value) {
    Out out;
    put_time(out, value.nanoseconds);
    put_offset(out, value.offset_seconds);
    return fmt::to_string(out);
}

std::string to_text(const LocalDateTime& value) {
    Out out;
    put_local_date_time(out, value.seconds, value.nanoseconds);
    return fmt::to_string(out);
}

std::string to_text(const DateTime& value) {
    Out out;
    put_local_date_time(out, value.seconds + value.offset_seconds, value.nanoseconds);
    put_offset(out, value.offset_seconds);
    if (!value.zone.empty()) {
        fmt::format_to(std::back_inserter(out), "[{}]", value.zone);
    }
    return fmt::to_string(out);
}

std::string to_text(const DurationValue& value) {
    Out out;
    auto to = std::back_inserter(out);
    const auto put = [&](std::int64_t n, char unit) {
        if (n != 0) {
            fmt::format_to(to, "{}{}", n, unit);
        }
    };
    out.push_back('P');
    put(value.months / 12, 'Y');
    put(value.months % 12, 'M');
    put(value.days, 'D');
    if (value.seconds != 0 || value.nanoseconds != 0) {
        const bool negative = value.seconds < 0;
        std::int64_t s = value.seconds;
        std::int64_t n = value.nanoseconds;
        if (negative && n != 0) {
            // -0.5 s is kept as -1 s and 500,000,000 ns; people read -0.5.
            ++s;
            n = kNanosPerSecond - n;
        }
        out.push_back('T');
        put(s / 3600, 'H');
        put(s / 60 % 60, 'M');
        const std::int64_t rest = s % 60;
        if (rest != 0 || n != 0) {
            if (rest == 0 && negative) {
                out.push_back('-');
            }
            fmt::format_to(to, "{}", rest);
            if (n != 0) {
                int width = 9;
                while (n % 10 == 0) {
                    n /= 10;
                    --width;
                }
                fmt::format_to(to, ".{:0{}}", n, width);
            }
            out.push_back('S');
        }
    }
    return out.size() == 1 ? std::string{"PT0S"} : fmt::to_string(out);
}

}  // namespace nornic
