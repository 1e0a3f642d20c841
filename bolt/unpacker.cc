#include "bolt/packstream.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace nornic::bolt {

namespace {

// What Neo4j's failures say of their causes.
constexpr std::string_view kUnknown = "50N42";
constexpr std::string_view kInvalidType = "08N06>22G03>22N01";
constexpr std::string_view kInvalidStruct = "08N06>22N00>22N97";
constexpr std::string_view kOutOfRange = "08N06>22N03";
constexpr std::string_view kTooLong = "08N06>22N56";
constexpr std::string_view kDuplicateKey = "08N06>22N54";

constexpr std::int64_t kOffsetSecondsMax = 18 * 3600;
// Of year -999,999,999 and of year 999,999,999.
constexpr std::int64_t kDayMin = -365'243'219'162;
constexpr std::int64_t kDayMax = 365'241'780'471;
constexpr std::int64_t kSecondMin = kDayMin * kSecondsPerDay;
constexpr std::int64_t kSecondMax = kDayMax * kSecondsPerDay + kSecondsPerDay - 1;

std::int64_t floor_div(std::int64_t a, std::int64_t b) {
    return a / b - static_cast<std::int64_t>(a % b < 0);
}

}  // namespace

std::string_view marker_type_name(std::uint8_t marker) noexcept {
    if (marker <= 0x7F || marker >= 0xF0) {
        return "INT";
    }
    switch (marker & 0xF0) {
        case 0x80:
            return "STRING";
        case 0x90:
            return "LIST";
        case 0xA0:
            return "MAP";
        case 0xB0:
            return "STRUCT";
        default:
            break;
    }
    switch (marker) {
        case 0xC0:
            return "NONE";
        case 0xC1:
            return "FLOAT";
        case 0xC2:
        case 0xC3:
            return "BOOLEAN";
        case 0xC8:
        case 0xC9:
        case 0xCA:
        case 0xCB:
            return "INT";
        case 0xCC:
        case 0xCD:
        case 0xCE:
            return "BYTES";
        case 0xD0:
        case 0xD1:
        case 0xD2:
            return "STRING";
        case 0xD4:
        case 0xD5:
        case 0xD6:
            return "LIST";
        case 0xD8:
        case 0xD9:
        case 0xDA:
            return "MAP";
        case 0xDC:
        case 0xDD:
            return "STRUCT";
        default:
            return "RESERVED";
    }
}

bool Unpacker::fail(std::string message, std::string gql) {
    if (ok()) {
        message_ = std::move(message);
        gql_ = std::move(gql);
    }
    return false;
}

void Unpacker::add_field(std::string_view field) {
    message_ = fmt::format("Illegal value for field \"{}\": {}", field, message_);
}

bool Unpacker::truncated() {
    return fail("Unexpected end of message", std::string{kUnknown});
}

bool Unpacker::unexpected(std::string_view expected, std::uint8_t marker) {
    if (marker == 0xC0) {
        return fail("Expected value to be non-null", std::string{kUnknown});
    }
    return fail(
        fmt::format("Unexpected type: Expected {} but got {}", expected, marker_type_name(marker)),
        std::string{kInvalidType});
}

template <class T>
bool Unpacker::big_endian(T& out) {
    if (remaining() < sizeof(T)) {
        return truncated();
    }
    std::uint64_t v = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) {
        v = (v << 8) | static_cast<std::uint8_t>(bytes_[position_ + i]);
    }
    position_ += sizeof(T);
    out = static_cast<T>(v);
    return true;
}

/// The size that follows marker8, marker8 + 1 or marker8 + 2.
bool Unpacker::sized(std::uint8_t marker, std::uint8_t marker8, std::uint64_t& out) {
    bool read = false;
    if (marker == marker8) {
        std::uint8_t v = 0;
        read = big_endian(v);
        out = v;
    } else if (marker == marker8 + 1) {
        std::uint16_t v = 0;
        read = big_endian(v);
        out = v;
    } else {
        std::uint32_t v = 0;
        read = big_endian(v);
        out = v;
    }
    if (read && out > kValueSizeMax) {
        return fail(fmt::format("Value of size {} exceeded limit of {}", out, kValueSizeMax),
                    std::string{kTooLong});
    }
    return read;
}

bool Unpacker::text(std::uint64_t size, std::string_view& out) {
    if (size > remaining()) {
        return truncated();
    }
    out = bytes_.substr(position_, size);
    position_ += size;
    return true;
}

bool Unpacker::string(std::string_view& out) {
    std::uint8_t marker = 0;
    if (!ok() || !big_endian(marker)) {
        return false;
    }
    std::uint64_t size = 0;
    if ((marker & 0xF0) == 0x80) {
        size = marker & 0x0F;
    } else if (marker >= 0xD0 && marker <= 0xD2) {
        if (!sized(marker, 0xD0, size)) {
            return false;
        }
    } else {
        return unexpected("STRING", marker);
    }
    return text(size, out);
}

bool Unpacker::map(Map& out) {
    std::uint8_t marker = 0;
    if (!ok() || !big_endian(marker)) {
        return false;
    }
    if (marker == 0xC0) {
        return true;
    }
    std::uint64_t size = 0;
    if ((marker & 0xF0) == 0xA0) {
        size = marker & 0x0F;
    } else if (marker >= 0xD8 && marker <= 0xDA) {
        if (!sized(marker, 0xD8, size)) {
            return false;
        }
    } else {
        return unexpected("MAP", marker);
    }
    return map_body(size, out);
}

bool Unpacker::structure(std::uint8_t& tag, std::size_t& fields) {
    std::uint8_t marker = 0;
    if (!ok() || !big_endian(marker)) {
        return false;
    }
    if ((marker & 0xF0) != 0xB0) {
        return unexpected("STRUCT", marker);
    }
    fields = marker & 0x0F;
    return big_endian(tag);
}

bool Unpacker::value(Value& out) {
    return ok() && nested_value(out);
}

bool Unpacker::nested_value(Value& out) {
    std::uint8_t marker = 0;
    if (!big_endian(marker)) {
        return false;
    }
    if (marker <= 0x7F || marker >= 0xF0) {
        out = Value{static_cast<std::int64_t>(static_cast<std::int8_t>(marker))};
        return true;
    }
    std::uint64_t size = marker & 0x0F;
    std::string_view characters;
    switch (marker) {
        case 0xC0:
            out = Value{};
            return true;
        case 0xC1: {
            std::uint64_t bits = 0;
            if (!big_endian(bits)) {
                return false;
            }
            out = Value{std::bit_cast<double>(bits)};
            return true;
        }
        case 0xC2:
        case 0xC3:
            out = Value{marker == 0xC3};
            return true;
        case 0xC8: {
            std::int8_t v = 0;
            if (!big_endian(v)) {
                return false;
            }
            out = Value{static_cast<std::int64_t>(v)};
            return true;
        }
        case 0xC9: {
            std::int16_t v = 0;
            if (!big_endian(v)) {
                return false;
            }
            out = Value{static_cast<std::int64_t>(v)};
            return true;
        }
        case 0xCA: {
            std::int32_t v = 0;
            if (!big_endian(v)) {
                return false;
            }
            out = Value{static_cast<std::int64_t>(v)};
            return true;
        }
        case 0xCB: {
            std::int64_t v = 0;
            if (!big_endian(v)) {
                return false;
            }
            out = Value{v};
            return true;
        }
        case 0xCC:
        case 0xCD:
        case 0xCE:
            if (!sized(marker, 0xCC, size) || !text(size, characters)) {
                return false;
            }
            out = Value::bytes(characters);
            return true;
        case 0xD0:
        case 0xD1:
        case 0xD2:
            if (!sized(marker, 0xD0, size)) {
                return false;
            }
            break;
        case 0xD4:
        case 0xD5:
        case 0xD6:
            if (!sized(marker, 0xD4, size)) {
                return false;
            }
            break;
        case 0xD8:
        case 0xD9:
        case 0xDA:
            if (!sized(marker, 0xD8, size)) {
                return false;
            }
            break;
        default:
            break;
    }
    const std::string_view kind = marker_type_name(marker);
    if (kind == "STRING") {
        if (!text(size, characters)) {
            return false;
        }
        out = Value{characters};
        return true;
    }
    if (depth_ >= kNestingMax) {
        return fail(fmt::format("Values are nested deeper than {} levels", kNestingMax),
                    std::string{kTooLong});
    }
    ++depth_;
    bool read = false;
    if (kind == "LIST") {
        List items;
        read = list_body(size, items);
        if (read) {
            out = Value{std::move(items)};
        }
    } else if (kind == "MAP") {
        Map entries;
        read = map_body(size, entries);
        if (read) {
            out = Value{std::move(entries)};
        }
    } else if ((marker & 0xF0) == 0xB0) {
        read = value_structure(size, out);
    } else {
        fail(fmt::format("Unexpected marker byte: 0x{:02X}", marker), std::string{kUnknown});
    }
    --depth_;
    return read;
}

bool Unpacker::list_body(std::uint64_t size, List& out) {
    // Each item takes a byte at least, so a size past the end is a lie.
    if (size > remaining()) {
        return truncated();
    }
    // An item of 16 bytes may take one byte on the wire: memory follows what was really read.
    out.reserve(std::min<std::uint64_t>(size, 1024));
    for (std::uint64_t i = 0; i < size; ++i) {
        Value& item = out.emplace_back();
        if (!nested_value(item)) {
            return false;
        }
    }
    return true;
}

bool Unpacker::map_body(std::uint64_t size, Map& out) {
    if (size > remaining() / 2) {
        return truncated();
    }
    out.reserve(std::min<std::uint64_t>(size, 64));
    for (std::uint64_t i = 0; i < size; ++i) {
        std::string_view key;
        if (!string(key)) {
            return false;
        }
        Value item;
        if (!nested_value(item)) {
            return false;
        }
        const std::size_t before = out.size();
        out.set(key, std::move(item));
        if (out.size() == before) {
            return fail(fmt::format("Duplicate map key: \"{}\"", key), std::string{kDuplicateKey});
        }
    }
    return true;
}

bool Unpacker::integer_field(std::string_view field,
                             std::int64_t& out,
                             std::int64_t least,
                             std::int64_t most) {
    Value v;
    const std::uint8_t marker = remaining() > 0 ? static_cast<std::uint8_t>(bytes_[position_]) : 0;
    if (!nested_value(v)) {
        return false;
    }
    if (!v.is(ValueType::kInteger)) {
        unexpected("INT", marker);
        add_field(field);
        return false;
    }
    out = v.as_integer();
    if (out < least || out > most) {
        fail(fmt::format("Expecting value between {} and {}, but got: {}", least, most, out),
             std::string{kOutOfRange});
        add_field(field);
        return false;
    }
    return true;
}

bool Unpacker::real_field(std::string_view field, double& out) {
    Value v;
    const std::uint8_t marker = remaining() > 0 ? static_cast<std::uint8_t>(bytes_[position_]) : 0;
    if (!nested_value(v)) {
        return false;
    }
    if (!v.is(ValueType::kFloat)) {
        unexpected("FLOAT", marker);
        add_field(field);
        return false;
    }
    out = v.as_float();
    return true;
}

bool Unpacker::zone_field(std::string& out) {
    std::string_view name;
    if (!string(name)) {
        add_field("tz_id");
        return false;
    }
    if (!is_known_zone(name)) {
        fail(fmt::format("Illegal zone identifier: \"{}\"", name),
             std::string{"08N06>22N00>22N03"});
        add_field("tz_id");
        return false;
    }
    out = name;
    return true;
}

bool Unpacker::point(bool three, Value& out) {
    std::int64_t srid = 0;
    Point p;
    if (!integer_field("srid",
                       srid,
                       std::numeric_limits<std::int64_t>::min(),
                       std::numeric_limits<std::int64_t>::max()) ||
        !real_field("x", p.x) || !real_field("y", p.y) || (three && !real_field("z", p.z))) {
        return false;
    }
    const bool known = three ? (srid == Point::kCartesian3D || srid == Point::kWgs84_3D)
                             : (srid == Point::kCartesian || srid == Point::kWgs84);
    if (!known) {
        fail(fmt::format("Illegal coordinate reference system: \"{}\"", srid),
             std::string{"08N06>22N00>22N03"});
        add_field("crs");
        return false;
    }
    p.srid = static_cast<std::uint32_t>(srid);
    out = Value{p};
    return true;
}

bool Unpacker::date_time(std::uint8_t tag, Value& out) {
    const bool with_zone = tag == static_cast<std::uint8_t>(StructTag::kDateTimeZoneId) ||
                           tag == static_cast<std::uint8_t>(StructTag::kLegacyDateTimeZoneId);
    const bool local = !dialect_.utc_date_times();
    DateTime v;
    std::int64_t nanoseconds = 0;
    if (!integer_field("epoch_seconds", v.seconds, kSecondMin, kSecondMax) ||
        !integer_field("nanoseconds", nanoseconds, 0, kNanosPerSecond - 1)) {
        return false;
    }
    v.nanoseconds = static_cast<std::int32_t>(nanoseconds);
    if (with_zone) {
        if (!zone_field(v.zone)) {
            return false;
        }
        const Result<std::int32_t> offset =
            local ? zone_offset_at_local(v.zone, v.seconds) : zone_offset_at_utc(v.zone, v.seconds);
        if (!offset) {
            fail(fmt::format("Illegal zone identifier: \"{}\"", v.zone),
                 std::string{"08N06>22N00>22N03"});
            add_field("tz_id");
            return false;
        }
        v.offset_seconds = offset.value();
    } else {
        std::int64_t offset = 0;
        if (!integer_field("tz_offset_seconds", offset, -kOffsetSecondsMax, kOffsetSecondsMax)) {
            return false;
        }
        v.offset_seconds = static_cast<std::int32_t>(offset);
    }
    if (local) {
        v.seconds -= v.offset_seconds;
    }
    out = Value{std::move(v)};
    return true;
}

bool Unpacker::value_structure(std::size_t fields, Value& out) {
    std::uint8_t tag = 0;
    if (!big_endian(tag)) {
        return false;
    }
    const bool utc = dialect_.utc_date_times();
    std::size_t expected = 0;
    switch (static_cast<StructTag>(tag)) {
        case StructTag::kDate:
        case StructTag::kLocalTime:
            expected = 1;
            break;
        case StructTag::kTime:
        case StructTag::kLocalDateTime:
            expected = 2;
            break;
        case StructTag::kPoint2D:
            expected = 3;
            break;
        case StructTag::kDuration:
        case StructTag::kPoint3D:
            expected = 4;
            break;
        case StructTag::kDateTime:
        case StructTag::kDateTimeZoneId:
            expected = utc ? 3 : 0;
            break;
        case StructTag::kLegacyDateTime:
        case StructTag::kLegacyDateTimeZoneId:
            expected = utc ? 0 : 3;
            break;
        default:
            break;
    }
    const std::size_t of_entity = expected == 0 ? entity_fields(tag) : 0;
    expected += of_entity;
    if (expected == 0) {
        return fail(fmt::format("Unexpected struct tag: 0x{:02X}", tag),
                    std::string{kInvalidStruct});
    }
    if (fields != expected) {
        return fail(fmt::format("Illegal struct size: Expected struct to be {} fields but got {}",
                                expected,
                                fields),
                    std::string{kInvalidStruct});
    }
    if (of_entity != 0) {
        return entity(tag, out);
    }
    std::int64_t a = 0;
    std::int64_t b = 0;
    switch (static_cast<StructTag>(tag)) {
        case StructTag::kDate:
            if (!integer_field("epoch_days", a, kDayMin, kDayMax)) {
                return false;
            }
            out = Value{Date{a}};
            return true;
        case StructTag::kLocalTime:
            if (!integer_field("nanoseconds", a, 0, kNanosPerDay - 1)) {
                return false;
            }
            out = Value{LocalTime{a}};
            return true;
        case StructTag::kTime:
            if (!integer_field("nanoseconds", a, 0, kNanosPerDay - 1) ||
                !integer_field("tz_offset_seconds", b, -kOffsetSecondsMax, kOffsetSecondsMax)) {
                return false;
            }
            out = Value{Time{a, static_cast<std::int32_t>(b)}};
            return true;
        case StructTag::kLocalDateTime:
            if (!integer_field("epoch_seconds", a, kSecondMin, kSecondMax) ||
                !integer_field("nanoseconds", b, 0, kNanosPerSecond - 1)) {
                return false;
            }
            out = Value{LocalDateTime{a, static_cast<std::int32_t>(b)}};
            return true;
        case StructTag::kDuration: {
            constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();
            constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
            DurationValue v;
            if (!integer_field("months", v.months, kLeast, kMost) ||
                !integer_field("days", v.days, kLeast, kMost) ||
                !integer_field("seconds", a, kLeast, kMost) ||
                !integer_field("nanoseconds", b, kLeast, kMost)) {
                return false;
            }
            const std::int64_t carry = floor_div(b, kNanosPerSecond);
            if (__builtin_add_overflow(a, carry, &v.seconds)) {
                return fail("Duration exceeds the range of seconds", std::string{kOutOfRange});
            }
            v.nanoseconds = static_cast<std::int32_t>(b - carry * kNanosPerSecond);
            out = Value{v};
            return true;
        }
        case StructTag::kPoint2D:
            return point(false, out);
        case StructTag::kPoint3D:
            return point(true, out);
        default:
            return date_time(tag, out);
    }
}

}  // namespace nornic::bolt
