#include "graph/codec.h"

#include "graph/number.h"

#include <bit>
#include <cmath>

namespace nornic {
namespace {

constexpr int kNestingMax = 64;

/// Never renumber: these are on disk.
enum class Tag : std::uint8_t {
    kNull = 0,
    kFalse = 1,
    kTrue = 2,
    kInteger = 3,
    kFloat = 4,
    kString = 5,
    kBytes = 6,
    kList = 7,
    kMap = 8,
    kDate = 9,
    kLocalTime = 10,
    kTime = 11,
    kLocalDateTime = 12,
    kDateTime = 13,
    kDuration = 14,
    kPoint = 15,
};

// Temporal values keep inside java.time's range, so that arithmetic on them cannot overflow.
constexpr std::int64_t kDaysMax = 366 * (kYearMax + 1 - 1970);
constexpr std::int64_t kDaysMin = -366 * (kYearMax + 1 + 1970);
constexpr std::int32_t kOffsetSecondsMax = 18 * 3600;
constexpr std::size_t kZoneBytesMax = 64;

bool is_nanos(std::int64_t n) {
    return n >= 0 && n < kNanosPerSecond;
}
bool is_nanos_of_day(std::int64_t n) {
    return n >= 0 && n < kNanosPerDay;
}
bool is_seconds(std::int64_t s) {
    return s >= kDaysMin * kSecondsPerDay && s <= kDaysMax * kSecondsPerDay;
}
bool is_offset(std::int64_t o) {
    return o >= -kOffsetSecondsMax && o <= kOffsetSecondsMax;
}

/// Runs the reader past its end, which is how it says that bytes are bad.
Value bad(ByteReader& reader) {
    (void)reader.get_raw(reader.remaining() + 1);
    return {};
}

Value decode(ByteReader& in, int depth) {
    const auto tag = static_cast<Tag>(in.get_u8());
    if (!in.ok()) {
        return {};
    }
    switch (tag) {
        case Tag::kNull:
            return {};
        case Tag::kFalse:
            return Value{false};
        case Tag::kTrue:
            return Value{true};
        case Tag::kInteger:
            return Value{in.get_zigzag()};
        case Tag::kFloat:
            return Value{in.get_f64()};
        case Tag::kString:
            return Value{in.get_string()};
        case Tag::kBytes:
            return Value::bytes(in.get_string());
        case Tag::kList: {
            const std::uint64_t n = in.get_varint();
            // Each element takes a byte or more, so a false count cannot make us reserve much.
            if (depth >= kNestingMax || n > in.remaining()) {
                return bad(in);
            }
            List list;
            list.reserve(n);
            for (std::uint64_t i = 0; i < n && in.ok(); ++i) {
                list.push_back(decode(in, depth + 1));
            }
            return in.ok() ? Value{std::move(list)} : Value{};
        }
        case Tag::kMap: {
            const std::uint64_t n = in.get_varint();
            if (depth >= kNestingMax || n > in.remaining() / 2) {
                return bad(in);
            }
            Map map;
            map.reserve(n);
            for (std::uint64_t i = 0; i < n && in.ok(); ++i) {
                const std::string_view key = in.get_string();
                map.set(key, decode(in, depth + 1));
            }
            return in.ok() ? Value{std::move(map)} : Value{};
        }
        case Tag::kDate: {
            const std::int64_t days = in.get_zigzag();
            return days >= kDaysMin && days <= kDaysMax ? Value{Date{days}} : bad(in);
        }
        case Tag::kLocalTime: {
            const std::int64_t n = in.get_zigzag();
            return is_nanos_of_day(n) ? Value{LocalTime{n}} : bad(in);
        }
        case Tag::kTime: {
            const std::int64_t n = in.get_zigzag();
            const std::int64_t offset = in.get_zigzag();
            return is_nanos_of_day(n) && is_offset(offset)
                       ? Value{Time{n, static_cast<std::int32_t>(offset)}}
                       : bad(in);
        }
        case Tag::kLocalDateTime: {
            const std::int64_t s = in.get_zigzag();
            const std::int64_t n = in.get_zigzag();
            return is_seconds(s) && is_nanos(n)
                       ? Value{LocalDateTime{s, static_cast<std::int32_t>(n)}}
                       : bad(in);
        }
        case Tag::kDateTime: {
            const std::int64_t s = in.get_zigzag();
            const std::int64_t n = in.get_zigzag();
            const std::int64_t offset = in.get_zigzag();
            const std::string_view zone = in.get_string();
            if (!is_seconds(s) || !is_nanos(n) || !is_offset(offset) ||
                zone.size() > kZoneBytesMax) {
                return bad(in);
            }
            return Value{DateTime{s,
                                  static_cast<std::int32_t>(n),
                                  static_cast<std::int32_t>(offset),
                                  std::string{zone}}};
        }
        case Tag::kDuration: {
            DurationValue d;
            d.months = in.get_zigzag();
            d.days = in.get_zigzag();
            d.seconds = in.get_zigzag();
            const std::int64_t n = in.get_zigzag();
            if (!is_nanos(n)) {
                return bad(in);
            }
            d.nanoseconds = static_cast<std::int32_t>(n);
            return Value{d};
        }
        case Tag::kPoint: {
            Point p;
            p.srid = static_cast<std::uint32_t>(in.get_varint());
            p.x = in.get_f64();
            p.y = in.get_f64();
            if (p.is_3d()) {
                p.z = in.get_f64();
            }
            const bool known = p.srid == Point::kCartesian || p.srid == Point::kWgs84 || p.is_3d();
            return known ? Value{p} : bad(in);
        }
    }
    return bad(in);
}

// ---- Index keys ----

void put_be32(std::string& out, std::uint32_t v) {
    ByteWriter{out}.put_be32(v);
}
void put_be64(std::string& out, std::uint64_t v) {
    ByteWriter{out}.put_be64(v);
}
/// Flipping the sign bit makes two's complement sort as unsigned bytes.
void put_signed(std::string& out, std::int64_t v) {
    put_be64(out, static_cast<std::uint64_t>(v) ^ (1ULL << 63));
}
void put_signed(std::string& out, std::int32_t v) {
    put_be32(out, static_cast<std::uint32_t>(v) ^ (1U << 31));
}

void put_float(std::string& out, double v) {
    std::uint64_t bits = 0;
    if (std::isnan(v)) {
        bits = 0x7FF8000000000000ULL;  // One NaN, above infinity.
    } else if (v != 0) {
        bits = std::bit_cast<std::uint64_t>(v);
    }  // else both zeros are one value
    bits ^= (bits >> 63) != 0 ? ~0ULL : (1ULL << 63);
    put_be64(out, bits);
}

/// The nearest float, then how far the number is from it: 1 and 1.0 give the same bytes, 2^53 and
/// 2^53 + 1 do not. Rounding is monotone, so numbers with different floats sort by those alone.
void put_number(std::string& out, const Value& v) {
    double nearest = 0;
    std::int32_t rest = 0;
    if (v.is(ValueType::kInteger)) {
        const std::int64_t i = v.as_integer();
        nearest = static_cast<double>(i);
        // 128 bits: the nearest float of 2^63 - 1 is 2^63.
        rest = static_cast<std::int32_t>(static_cast<__int128>(i) - static_cast<__int128>(nearest));
    } else {
        nearest = v.as_float();
    }
    put_float(out, nearest);
    const auto shifted = static_cast<std::uint32_t>(rest + 0x8000);
    out.push_back(static_cast<char>(shifted >> 8));
    out.push_back(static_cast<char>(shifted & 0xFF));
}

/// A zero byte becomes 00 FF and the end is 00 00, so that a prefix sorts before what it begins.
void put_text(std::string& out, std::string_view text) {
    std::size_t from = 0;
    for (;;) {
        const std::size_t zero = text.find('\0', from);
        if (zero == std::string_view::npos) {
            break;
        }
        out.append(text.substr(from, zero - from));
        out.push_back('\0');
        out.push_back('\xFF');
        from = zero + 1;
    }
    out.append(text.substr(from));
    out.push_back('\0');
    out.push_back('\0');
}

}  // namespace

void encode_value(const Value& value, ByteWriter& out) {
    const auto put = [&out](Tag tag) { out.put_u8(static_cast<std::uint8_t>(tag)); };
    switch (value.type()) {
        case ValueType::kNull:
            put(Tag::kNull);
            return;
        case ValueType::kBoolean:
            put(value.as_boolean() ? Tag::kTrue : Tag::kFalse);
            return;
        case ValueType::kInteger:
            put(Tag::kInteger);
            out.put_zigzag(value.as_integer());
            return;
        case ValueType::kFloat:
            put(Tag::kFloat);
            out.put_f64(value.as_float());
            return;
        case ValueType::kString:
            put(Tag::kString);
            out.put_string(value.as_string());
            return;
        case ValueType::kBytes:
            put(Tag::kBytes);
            out.put_string(value.as_bytes());
            return;
        case ValueType::kList:
            put(Tag::kList);
            out.put_varint(value.as_list().size());
            for (const Value& v : value.as_list()) {
                encode_value(v, out);
            }
            return;
        case ValueType::kMap:
            put(Tag::kMap);
            out.put_varint(value.as_map().size());
            for (const auto& [key, v] : value.as_map()) {
                out.put_string(key);
                encode_value(v, out);
            }
            return;
        case ValueType::kDate:
            put(Tag::kDate);
            out.put_zigzag(value.as_date().days);
            return;
        case ValueType::kLocalTime:
            put(Tag::kLocalTime);
            out.put_zigzag(value.as_local_time().nanoseconds);
            return;
        case ValueType::kTime:
            put(Tag::kTime);
            out.put_zigzag(value.as_time().nanoseconds);
            out.put_zigzag(value.as_time().offset_seconds);
            return;
        case ValueType::kLocalDateTime:
            put(Tag::kLocalDateTime);
            out.put_zigzag(value.as_local_date_time().seconds);
            out.put_zigzag(value.as_local_date_time().nanoseconds);
            return;
        case ValueType::kDateTime:
            put(Tag::kDateTime);
            out.put_zigzag(value.as_date_time().seconds);
            out.put_zigzag(value.as_date_time().nanoseconds);
            out.put_zigzag(value.as_date_time().offset_seconds);
            out.put_string(value.as_date_time().zone);
            return;
        case ValueType::kDuration:
            put(Tag::kDuration);
            out.put_zigzag(value.as_duration().months);
            out.put_zigzag(value.as_duration().days);
            out.put_zigzag(value.as_duration().seconds);
            out.put_zigzag(value.as_duration().nanoseconds);
            return;
        case ValueType::kPoint: {
            const Point& p = value.as_point();
            put(Tag::kPoint);
            out.put_varint(p.srid);
            out.put_f64(p.x);
            out.put_f64(p.y);
            if (p.is_3d()) {
                out.put_f64(p.z);
            }
            return;
        }
        default:
            NORNIC_CHECK(false, "a {} cannot be stored", type_name(value));
    }
}

Value decode_value(ByteReader& reader) {
    Value value = decode(reader, 0);
    return reader.ok() ? value : Value{};
}

void encode_index_key(const Value& value, std::string& out) {
    using detail::OrderGroup;
    const OrderGroup group = detail::order_group(value);
    out.push_back(static_cast<char>(group));
    switch (group) {
        case OrderGroup::kBoolean:
            out.push_back(value.as_boolean() ? '\1' : '\0');
            return;
        case OrderGroup::kNumber:
            put_number(out, value);
            return;
        case OrderGroup::kString:
            put_text(out, value.as_string());
            return;
        case OrderGroup::kBytes:
            put_text(out, value.as_bytes());
            return;
        case OrderGroup::kList:
            for (const Value& v : value.as_list()) {
                encode_index_key(v, out);
            }
            out.push_back(static_cast<char>(OrderGroup::kEnd));
            return;
        case OrderGroup::kDate:
            put_signed(out, value.as_date().days);
            return;
        case OrderGroup::kLocalTime:
            put_signed(out, value.as_local_time().nanoseconds);
            return;
        case OrderGroup::kTime: {
            const Time& t = value.as_time();
            put_signed(
                out, t.nanoseconds - static_cast<std::int64_t>(t.offset_seconds) * kNanosPerSecond);
            put_signed(out, t.offset_seconds);
            return;
        }
        case OrderGroup::kLocalDateTime:
            put_signed(out, value.as_local_date_time().seconds);
            put_signed(out, value.as_local_date_time().nanoseconds);
            return;
        case OrderGroup::kDateTime: {
            const DateTime& t = value.as_date_time();
            put_signed(out, t.seconds);
            put_signed(out, t.nanoseconds);
            put_text(out, t.zone);
            put_signed(out, t.offset_seconds);
            return;
        }
        case OrderGroup::kDuration: {
            const DurationValue& d = value.as_duration();
            const __int128 average = detail::average_seconds(d);
            put_signed(out, static_cast<std::int64_t>(average >> 64));
            put_be64(out, static_cast<std::uint64_t>(average));
            put_signed(out, d.nanoseconds);
            put_signed(out, d.months);
            put_signed(out, d.days);
            return;
        }
        case OrderGroup::kPoint: {
            const Point& p = value.as_point();
            put_be32(out, p.srid);
            put_float(out, p.x);
            put_float(out, p.y);
            put_float(out, p.z);
            return;
        }
        default:
            NORNIC_CHECK(false, "a {} has no place in an index", type_name(value));
    }
}

}  // namespace nornic
