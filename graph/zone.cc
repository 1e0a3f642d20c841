// Time zones from ICU's own data, which holds each zone's rules back to its local mean time.
#include "graph/temporal.h"

#include <memory>
#include <string>
#include <unicode/basictz.h>
#include <unicode/timezone.h>
#include <unordered_map>

namespace nornic {
namespace {

constexpr std::size_t kZoneNameBytesMax = 64;
constexpr std::size_t kCachedZonesMax = 1'024;

struct Zone {
    std::unique_ptr<icu::BasicTimeZone> rules;  // null: known to be unknown
};

struct StringHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view s) const noexcept {
        return std::hash<std::string_view>{}(s);
    }
};

std::unique_ptr<icu::BasicTimeZone> load_zone(std::string_view name) {
    if (name.empty() || name.size() > kZoneNameBytesMax) {
        return nullptr;
    }
    // ICU reads "GMT+5:30" and the like as zones of its own making; a plain offset is no zone here.
    const bool region = name.find_first_of("+-") == std::string_view::npos ||
                        name.find('/') != std::string_view::npos;
    if (!region) {
        return nullptr;
    }
    const auto id = icu::UnicodeString::fromUTF8(
        icu::StringPiece{name.data(), static_cast<std::int32_t>(name.size())});
    std::unique_ptr<icu::TimeZone> zone{icu::TimeZone::createTimeZone(id)};
    if (!zone || *zone == icu::TimeZone::getUnknown()) {
        return nullptr;
    }
    auto* basic = dynamic_cast<icu::BasicTimeZone*>(zone.get());
    if (basic == nullptr) {
        return nullptr;
    }
    (void)zone.release();
    return std::unique_ptr<icu::BasicTimeZone>{basic};
}

/// Zones are cached a thread, so that a lookup takes no lock. nullptr if unknown.
const icu::BasicTimeZone* find_zone(std::string_view name) {
    thread_local std::unordered_map<std::string, Zone, StringHash, std::equal_to<>> zones;
    const auto found = zones.find(name);
    if (found != zones.end()) {
        return found->second.rules.get();
    }
    if (zones.size() >= kCachedZonesMax) {
        // Only made-up names get us here; there are some 600 real ones.
        zones.clear();
    }
    return zones.emplace(std::string{name}, Zone{load_zone(name)}).first->second.rules.get();
}

/// ICU calculates with 32-bit years. The calendar repeats every 400 years, weekdays included, so a
/// far instant has the offset of its image in the fourth millennium; before the year 0 no zone has
/// a rule.
double icu_milliseconds(std::int64_t seconds) {
    constexpr std::int64_t kCycle = 146'097 * kSecondsPerDay;
    constexpr std::int64_t kYear3000 = 32'503'680'000;
    constexpr std::int64_t kYear0 = -62'167'219'200;
    if (seconds >= kYear3000 + kCycle) {
        seconds = kYear3000 + (seconds - kYear3000) % kCycle;
    } else if (seconds < kYear0) {
        seconds = kYear0;
    }
    return static_cast<double>(seconds) * 1000.0;
}

auto unknown_zone(std::string_view name) {
    return fail(ErrorCode::kInvalidArgument,
                "unknown time zone '" + std::string{name.substr(0, kZoneNameBytesMax)} + "'");
}

}  // namespace

Result<std::int32_t> zone_offset_at_utc(std::string_view zone, std::int64_t utc_seconds) {
    const icu::BasicTimeZone* rules = find_zone(zone);
    if (rules == nullptr) {
        return unknown_zone(zone);
    }
    std::int32_t raw = 0;
    std::int32_t saving = 0;
    UErrorCode status = U_ZERO_ERROR;
    rules->getOffset(icu_milliseconds(utc_seconds), static_cast<UBool>(false), raw, saving, status);
    if (U_FAILURE(status)) {
        return fail(ErrorCode::kInternal,
                    "time zone data of '" + std::string{zone} + "': " + u_errorName(status));
    }
    return (raw + saving) / 1000;
}

Result<std::int32_t> zone_offset_at_local(std::string_view zone, std::int64_t local_seconds) {
    const icu::BasicTimeZone* rules = find_zone(zone);
    if (rules == nullptr) {
        return unknown_zone(zone);
    }
    std::int32_t raw = 0;
    std::int32_t saving = 0;
    UErrorCode status = U_ZERO_ERROR;
    rules->getOffsetFromLocal(icu_milliseconds(local_seconds),
                              UCAL_TZ_LOCAL_FORMER,
                              UCAL_TZ_LOCAL_FORMER,
                              raw,
                              saving,
                              status);
    if (U_FAILURE(status)) {
        return fail(ErrorCode::kInternal,
                    "time zone data of '" + std::string{zone} + "': " + u_errorName(status));
    }
    return (raw + saving) / 1000;
}

bool is_known_zone(std::string_view zone) {
    return find_zone(zone) != nullptr;
}

}  // namespace nornic
