#include "graph/number.h"
#include "graph/value.h"

#include <algorithm>
#include <cstring>
#include <functional>

namespace nornic {
namespace detail {

OrderGroup order_group(const Value& value) noexcept {
    switch (value.type()) {
        case ValueType::kNull:
            return OrderGroup::kNull;
        case ValueType::kBoolean:
            return OrderGroup::kBoolean;
        case ValueType::kInteger:
        case ValueType::kFloat:
            return OrderGroup::kNumber;
        case ValueType::kString:
            return OrderGroup::kString;
        case ValueType::kBytes:
            return OrderGroup::kBytes;
        case ValueType::kList:
            return OrderGroup::kList;
        case ValueType::kMap:
            return OrderGroup::kMap;
        case ValueType::kDate:
            return OrderGroup::kDate;
        case ValueType::kLocalTime:
            return OrderGroup::kLocalTime;
        case ValueType::kTime:
            return OrderGroup::kTime;
        case ValueType::kLocalDateTime:
            return OrderGroup::kLocalDateTime;
        case ValueType::kDateTime:
            return OrderGroup::kDateTime;
        case ValueType::kDuration:
            return OrderGroup::kDuration;
        case ValueType::kPoint:
            return OrderGroup::kPoint;
        case ValueType::kNode:
        case ValueType::kNodeRef:
            return OrderGroup::kNode;
        case ValueType::kRelationship:
        case ValueType::kRelationshipRef:
            return OrderGroup::kRelationship;
        case ValueType::kPath:
        case ValueType::kPathRef:
            return OrderGroup::kPath;
    }
    return OrderGroup::kNull;
}

}  // namespace detail

namespace {

using detail::OrderGroup;

std::uint64_t node_id(const Value& v) {
    return v.is(ValueType::kNodeRef) ? v.as_node_ref().value : v.as_node().id.value;
}
std::uint64_t relationship_id(const Value& v) {
    return v.is(ValueType::kRelationshipRef) ? v.as_relationship_ref().value
                                             : v.as_relationship().id.value;
}

/// A path, running or copied out, as its ids.
class PathIds {
public:
    explicit PathIds(const Value& v)
        : ref_{v.is(ValueType::kPathRef) ? &v.as_path_ref() : nullptr},
          path_{ref_ == nullptr ? &v.as_path() : nullptr} {}
    [[nodiscard]] std::size_t length() const {
        return ref_ != nullptr ? ref_->relationships.size() : path_->relationships.size();
    }
    /// Nodes and relationships alternate; nodes at the even places.
    [[nodiscard]] std::uint64_t at(std::size_t i) const {
        if (i % 2 == 0) {
            return ref_ != nullptr ? ref_->nodes[i / 2].value : path_->nodes[i / 2].id.value;
        }
        return ref_ != nullptr ? ref_->relationships[i / 2].value
                               : path_->relationships[i / 2].id.value;
    }
    [[nodiscard]] std::size_t size() const { return 2 * length() + 1; }

private:
    const PathRef* ref_;
    const Path* path_;
};

template <class T>
int order(const T& a, const T& b) noexcept {
    return a < b ? -1 : (b < a ? 1 : 0);
}

int compare_paths(const Value& a, const Value& b) {
    const PathIds pa{a};
    const PathIds pb{b};
    const std::size_t n = std::min(pa.size(), pb.size());
    for (std::size_t i = 0; i < n; ++i) {
        if (const int c = order(pa.at(i), pb.at(i)); c != 0) {
            return c;
        }
    }
    return order(pa.size(), pb.size());
}

int compare_text(std::string_view a, std::string_view b) noexcept {
    // Bytes of UTF-8 sort as code points do.
    const int c = a.compare(b);
    return c < 0 ? -1 : (c > 0 ? 1 : 0);
}

std::int64_t utc_nanoseconds(const Time& t) noexcept {
    return t.nanoseconds - static_cast<std::int64_t>(t.offset_seconds) * kNanosPerSecond;
}

int compare_times(const Time& a, const Time& b) noexcept {
    const int c = order(utc_nanoseconds(a), utc_nanoseconds(b));
    return c != 0 ? c : order(a.offset_seconds, b.offset_seconds);
}

/// By instant; values of one instant differ by their zone, so that the order agrees with equality.
int compare_date_times(const DateTime& a, const DateTime& b) noexcept {
    if (const int c = order(a.seconds, b.seconds); c != 0) {
        return c;
    }
    if (const int c = order(a.nanoseconds, b.nanoseconds); c != 0) {
        return c;
    }
    if (const int c = compare_text(a.zone, b.zone); c != 0) {
        return c;
    }
    return order(a.offset_seconds, b.offset_seconds);
}

int compare_durations(const DurationValue& a, const DurationValue& b) noexcept {
    if (const int c = order(detail::average_seconds(a), detail::average_seconds(b)); c != 0) {
        return c;
    }
    if (const int c = order(a.nanoseconds, b.nanoseconds); c != 0) {
        return c;
    }
    if (const int c = order(a.months, b.months); c != 0) {
        return c;
    }
    return order(a.days, b.days);
}

int compare_points(const Point& a, const Point& b) noexcept {
    if (const int c = order(a.srid, b.srid); c != 0) {
        return c;
    }
    if (const int c = detail::compare_floats(a.x, b.x); c != 0) {
        return c;
    }
    if (const int c = detail::compare_floats(a.y, b.y); c != 0) {
        return c;
    }
    return detail::compare_floats(a.z, b.z);
}

/// The maps' entries sorted by key: order must not depend on how a map was written.
std::vector<const Map::Entry*> sorted_entries(const Map& map) {
    std::vector<const Map::Entry*> out;
    out.reserve(map.size());
    for (const Map::Entry& e : map) {
        out.push_back(&e);
    }
    std::sort(
        out.begin(), out.end(), [](const auto* a, const auto* b) { return a->first < b->first; });
    return out;
}

int compare_maps(const Map& a, const Map& b) {
    if (const int c = order(a.size(), b.size()); c != 0) {
        return c;
    }
    const auto ea = sorted_entries(a);
    const auto eb = sorted_entries(b);
    for (std::size_t i = 0; i < ea.size(); ++i) {
        if (const int c = compare_text(ea[i]->first, eb[i]->first); c != 0) {
            return c;
        }
    }
    for (std::size_t i = 0; i < ea.size(); ++i) {
        if (const int c = compare_for_order(ea[i]->second, eb[i]->second); c != 0) {
            return c;
        }
    }
    return 0;
}

int compare_lists(const List& a, const List& b) {
    const std::size_t n = std::min(a.size(), b.size());
    for (std::size_t i = 0; i < n; ++i) {
        if (const int c = compare_for_order(a[i], b[i]); c != 0) {
            return c;
        }
    }
    return order(a.size(), b.size());
}

/// Values of one group, not null, in their total order.
int compare_in_group(OrderGroup group, const Value& a, const Value& b) {
    switch (group) {
        case OrderGroup::kEnd:
        case OrderGroup::kNull:
            return 0;
        case OrderGroup::kMap:
            return compare_maps(a.as_map(), b.as_map());
        case OrderGroup::kNode:
            return order(node_id(a), node_id(b));
        case OrderGroup::kRelationship:
            return order(relationship_id(a), relationship_id(b));
        case OrderGroup::kList:
            return compare_lists(a.as_list(), b.as_list());
        case OrderGroup::kPath:
            return compare_paths(a, b);
        case OrderGroup::kDateTime:
            return compare_date_times(a.as_date_time(), b.as_date_time());
        case OrderGroup::kLocalDateTime:
            return order(a.as_local_date_time(), b.as_local_date_time());
        case OrderGroup::kDate:
            return order(a.as_date(), b.as_date());
        case OrderGroup::kTime:
            return compare_times(a.as_time(), b.as_time());
        case OrderGroup::kLocalTime:
            return order(a.as_local_time(), b.as_local_time());
        case OrderGroup::kDuration:
            return compare_durations(a.as_duration(), b.as_duration());
        case OrderGroup::kPoint:
            return compare_points(a.as_point(), b.as_point());
        case OrderGroup::kBytes:
            return compare_text(a.as_bytes(), b.as_bytes());
        case OrderGroup::kString:
            return compare_text(a.as_string(), b.as_string());
        case OrderGroup::kBoolean:
            return order(a.as_boolean(), b.as_boolean());
        case OrderGroup::kNumber:
            return detail::compare_numbers(a, b);
    }
    return 0;
}

std::size_t mix(std::size_t seed, std::size_t h) noexcept {
    // The finalizer of MurmurHash3 spreads the bits of small integers.
    std::uint64_t x = seed * 0x9E3779B97F4A7C15ULL + h;
    x ^= x >> 33;
    x *= 0xFF51AFD7ED558CCDULL;
    x ^= x >> 33;
    return x;
}

std::size_t hash_number(double d) noexcept {
    if (std::isnan(d)) {
        return mix(16, 0x7FF8);
    }
    if (d >= -9223372036854775808.0 && d < 9223372036854775808.0) {
        const auto whole = static_cast<std::int64_t>(d);
        if (static_cast<double>(whole) == d) {
            return mix(16, static_cast<std::size_t>(whole));
        }
    }
    return mix(16, std::bit_cast<std::uint64_t>(d));
}

std::size_t hash_text(std::string_view s) noexcept {
    return std::hash<std::string_view>{}(s);
}

}  // namespace

int equals(const Value& a, const Value& b) noexcept {
    if (a.is_null() || b.is_null()) {
        return -1;
    }
    const OrderGroup group = detail::order_group(a);
    if (group != detail::order_group(b)) {
        return 0;
    }
    switch (group) {
        case OrderGroup::kNumber:
            return !detail::is_nan(a) && !detail::is_nan(b) && detail::compare_numbers(a, b) == 0
                       ? 1
                       : 0;
        case OrderGroup::kString:
            return a.as_string() == b.as_string() ? 1 : 0;
        case OrderGroup::kDuration:
            return a.as_duration() == b.as_duration() ? 1 : 0;
        case OrderGroup::kPoint:
            return a.as_point() == b.as_point() ? 1 : 0;
        case OrderGroup::kList: {
            const List& la = a.as_list();
            const List& lb = b.as_list();
            if (la.size() != lb.size()) {
                return 0;
            }
            int result = 1;
            for (std::size_t i = 0; i < la.size(); ++i) {
                const int e = equals(la[i], lb[i]);
                if (e == 0) {
                    return 0;
                }
                result = std::min(result, e);
            }
            return result;
        }
        case OrderGroup::kMap: {
            const Map& ma = a.as_map();
            const Map& mb = b.as_map();
            if (ma.size() != mb.size()) {
                return 0;
            }
            for (const auto& entry : ma) {
                if (!mb.contains(entry.first)) {
                    return 0;
                }
            }
            int result = 1;
            for (const auto& [key, v] : ma) {
                const int e = equals(v, *mb.find(key));
                if (e == 0) {
                    return 0;
                }
                result = std::min(result, e);
            }
            return result;
        }
        default:
            return compare_in_group(group, a, b) == 0 ? 1 : 0;
    }
}

bool equivalent(const Value& a, const Value& b) noexcept {
    if (a.is(ValueType::kInteger) && b.is(ValueType::kInteger)) {
        return a.as_integer() == b.as_integer();
    }
    const OrderGroup group = detail::order_group(a);
    if (group != detail::order_group(b)) {
        return false;
    }
    switch (group) {
        case OrderGroup::kString:
            return a.as_string() == b.as_string();
        case OrderGroup::kList: {
            const List& la = a.as_list();
            const List& lb = b.as_list();
            return la.size() == lb.size() &&
                   std::equal(la.begin(), la.end(), lb.begin(), equivalent);
        }
        case OrderGroup::kMap: {
            const Map& ma = a.as_map();
            const Map& mb = b.as_map();
            return ma.size() == mb.size() &&
                   std::all_of(ma.begin(), ma.end(), [&](const Map::Entry& e) {
                       const Value* other = mb.find(e.first);
                       return other != nullptr && equivalent(e.second, *other);
                   });
        }
        default:
            return compare_in_group(group, a, b) == 0;
    }
}

std::size_t hash(const Value& value) noexcept {
    const OrderGroup group = detail::order_group(value);
    const auto seed = static_cast<std::size_t>(group);
    switch (value.type()) {
        case ValueType::kNull:
            return mix(seed, 0);
        case ValueType::kBoolean:
            return mix(seed, value.as_boolean() ? 1 : 2);
        case ValueType::kInteger:
            return mix(16, static_cast<std::size_t>(value.as_integer()));
        case ValueType::kFloat:
            return hash_number(value.as_float());
        case ValueType::kString:
            return mix(seed, hash_text(value.as_string()));
        case ValueType::kBytes:
            return mix(seed, hash_text(value.as_bytes()));
        case ValueType::kList: {
            std::size_t h = mix(seed, value.as_list().size());
            for (const Value& v : value.as_list()) {
                h = mix(h, hash(v));
            }
            return h;
        }
        case ValueType::kMap: {
            // A sum, since the order of entries does not count.
            std::size_t h = 0;
            for (const auto& [key, v] : value.as_map()) {
                h += mix(hash_text(key), hash(v));
            }
            return mix(seed, h);
        }
        case ValueType::kDate:
            return mix(seed, static_cast<std::size_t>(value.as_date().days));
        case ValueType::kLocalTime:
            return mix(seed, static_cast<std::size_t>(value.as_local_time().nanoseconds));
        case ValueType::kTime:
            return mix(seed, static_cast<std::size_t>(value.as_time().nanoseconds));
        case ValueType::kLocalDateTime: {
            const LocalDateTime& t = value.as_local_date_time();
            return mix(mix(seed, static_cast<std::size_t>(t.seconds)),
                       static_cast<std::size_t>(t.nanoseconds));
        }
        case ValueType::kDateTime: {
            const DateTime& t = value.as_date_time();
            return mix(mix(seed, static_cast<std::size_t>(t.seconds)),
                       static_cast<std::size_t>(t.nanoseconds));
        }
        case ValueType::kDuration: {
            const DurationValue& d = value.as_duration();
            std::size_t h = mix(seed, static_cast<std::size_t>(d.months));
            h = mix(h, static_cast<std::size_t>(d.days));
            h = mix(h, static_cast<std::size_t>(d.seconds));
            return mix(h, static_cast<std::size_t>(d.nanoseconds));
        }
        case ValueType::kPoint: {
            const Point& p = value.as_point();
            return mix(mix(mix(mix(seed, p.srid), hash_number(p.x)), hash_number(p.y)),
                       hash_number(p.z));
        }
        case ValueType::kNodeRef:
        case ValueType::kNode:
            return mix(seed, node_id(value));
        case ValueType::kRelationshipRef:
        case ValueType::kRelationship:
            return mix(seed, relationship_id(value));
        case ValueType::kPathRef:
        case ValueType::kPath: {
            const PathIds ids{value};
            std::size_t h = seed;
            for (std::size_t i = 0; i < ids.size(); ++i) {
                h = mix(h, ids.at(i));
            }
            return h;
        }
    }
    return 0;
}

int compare_for_order(const Value& a, const Value& b) noexcept {
    const OrderGroup ga = detail::order_group(a);
    const OrderGroup gb = detail::order_group(b);
    return ga != gb ? order(ga, gb) : compare_in_group(ga, a, b);
}

int compare(const Value& a, const Value& b) noexcept {
    const OrderGroup group = detail::order_group(a);
    if (group != detail::order_group(b) || group == OrderGroup::kNull) {
        return kIncomparable;
    }
    switch (group) {
        case OrderGroup::kNumber:
            return detail::is_nan(a) || detail::is_nan(b) ? kIncomparable
                                                          : detail::compare_numbers(a, b);
        case OrderGroup::kDuration:
            return a.as_duration() == b.as_duration() ? 0 : kIncomparable;
        case OrderGroup::kPoint:
            return a.as_point() == b.as_point() ? 0 : kIncomparable;
        case OrderGroup::kMap:
        case OrderGroup::kNode:
        case OrderGroup::kRelationship:
        case OrderGroup::kPath:
            return kIncomparable;
        case OrderGroup::kList: {
            const List& la = a.as_list();
            const List& lb = b.as_list();
            const std::size_t n = std::min(la.size(), lb.size());
            for (std::size_t i = 0; i < n; ++i) {
                if (const int c = compare(la[i], lb[i]); c != 0) {
                    return c;
                }
            }
            return order(la.size(), lb.size());
        }
        default:
            return compare_in_group(group, a, b);
    }
}

}  // namespace nornic
