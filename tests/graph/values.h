// Random values for property tests: small ranges, so that equal and neighbouring values are met.
#pragma once

#include "base/random.h"
#include "graph/value.h"

#include <limits>

namespace nornic::test {

inline std::string random_text(Random& random) {
    static constexpr const char* kPieces[] = {
        "a", "b", "ab", "\xC3\xA9", "\xF0\x9F\x98\x80", "z", "A"};
    std::string out;
    for (std::uint64_t n = random.below(4); n > 0; --n) {
        if (random.one_in(6)) {
            out += random.one_in(2) ? '\0' : '\xFF';
        } else {
            out += kPieces[random.below(std::size(kPieces))];
        }
    }
    return out;
}

inline Value random_number(Random& random) {
    constexpr auto kMax = std::numeric_limits<std::int64_t>::max();
    constexpr auto kMin = std::numeric_limits<std::int64_t>::min();
    static constexpr std::int64_t kIntegers[] = {0,
                                                 1,
                                                 -1,
                                                 2,
                                                 kMax,
                                                 kMax - 1,
                                                 kMin,
                                                 kMin + 1,
                                                 std::int64_t{1} << 53,
                                                 (std::int64_t{1} << 53) + 1,
                                                 (std::int64_t{1} << 53) - 1,
                                                 -(std::int64_t{1} << 53) - 1,
                                                 (std::int64_t{1} << 62) + 255};
    static constexpr double kInfinity = std::numeric_limits<double>::infinity();
    static constexpr double kFloats[] = {0.0,
                                         -0.0,
                                         1.0,
                                         -1.0,
                                         0.5,
                                         1e300,
                                         -1e300,
                                         5e-324,
                                         9007199254740992.0,
                                         9223372036854775808.0,
                                         -9223372036854775808.0,
                                         kInfinity,
                                         -kInfinity};
    switch (random.below(5)) {
        case 0:
            return Value{kIntegers[random.below(std::size(kIntegers))]};
        case 1:
            return Value{kFloats[random.below(std::size(kFloats))]};
        case 2:
            return Value{static_cast<std::int64_t>(random.below(8)) - 4};
        case 3:
            return Value{static_cast<double>(random.below(16)) / 2 - 4};
        default:
            return Value{static_cast<std::int64_t>(random.next())};
    }
}

/// A value that can be stored; with nesting, also in lists.
inline Value random_value(Random& random, bool may_nest = true) {
    const auto small = [&random](std::uint64_t n) {
        return static_cast<std::int64_t>(random.below(n)) - static_cast<std::int64_t>(n / 2);
    };
    const auto nanos = [&random] {
        return static_cast<std::int32_t>(random.below(3)) * 333'333'333;
    };
    const auto offset = [&small] { return static_cast<std::int32_t>(small(4)) * 3600; };
    switch (random.below(may_nest ? 13 : 12)) {
        case 0:
            return Value{random.one_in(2)};
        case 1:
        case 2:
            return random_number(random);
        case 3:
            return Value{random_text(random)};
        case 4:
            return Value::bytes(random_text(random));
        case 5:
            return Value{Date{small(5)}};
        case 6:
            return Value{LocalTime{static_cast<std::int64_t>(random.below(5)) * kNanosPerSecond}};
        case 7:
            return Value{Time{static_cast<std::int64_t>(random.below(24)) * 3600 * kNanosPerSecond,
                              offset()}};
        case 8:
            return Value{LocalDateTime{small(5), nanos()}};
        case 9: {
            static constexpr const char* kZones[] = {"", "Europe/Berlin", "Asia/Tokyo"};
            return Value{DateTime{small(4), nanos(), offset(), kZones[random.below(3)]}};
        }
        case 10:
            return Value{DurationValue{small(3), small(40), small(100'000), nanos()}};
        case 11: {
            static constexpr std::uint32_t kSrids[] = {
                Point::kCartesian, Point::kWgs84, Point::kCartesian3D};
            Point p{kSrids[random.below(3)],
                    static_cast<double>(small(4)),
                    static_cast<double>(small(4)),
                    0};
            if (p.is_3d()) {
                p.z = static_cast<double>(small(4)) / 2;
            }
            return Value{p};
        }
        default: {
            List list;
            for (std::uint64_t n = random.below(4); n > 0; --n) {
                list.push_back(random_value(random, random.one_in(3)));
            }
            return Value{std::move(list)};
        }
    }
}

}  // namespace nornic::test
