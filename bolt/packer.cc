#include "bolt/packstream.h"

#include <limits>
#include <unordered_map>

namespace nornic::bolt {

void Packer::bytes(std::string_view v) {
    // Bytes have no tiny form.
    wide_header(v.size(), 0xCC);
    out_.append(v);
}

void Packer::wide_header(std::size_t size, std::uint8_t marker8) {
    NORNIC_CHECK(size <= kValueSizeMax, "a value of {} items cannot be packed", size);
    if (size <= 0xFF) {
        put_sized<std::uint8_t>(marker8, static_cast<std::uint8_t>(size));
    } else if (size <= 0xFFFF) {
        put_sized<std::uint16_t>(static_cast<std::uint8_t>(marker8 + 1),
                                 static_cast<std::uint16_t>(size));
    } else {
        put_sized<std::uint32_t>(static_cast<std::uint8_t>(marker8 + 2),
                                 static_cast<std::uint32_t>(size));
    }
}

void Packer::wide_integer(std::int64_t v) {
    if (v >= std::numeric_limits<std::int8_t>::min() &&
        v <= std::numeric_limits<std::int8_t>::max()) {
        put_sized<std::uint8_t>(0xC8, static_cast<std::uint8_t>(v));
    } else if (v >= std::numeric_limits<std::int16_t>::min() &&
               v <= std::numeric_limits<std::int16_t>::max()) {
        put_sized<std::uint16_t>(0xC9, static_cast<std::uint16_t>(v));
    } else if (v >= std::numeric_limits<std::int32_t>::min() &&
               v <= std::numeric_limits<std::int32_t>::max()) {
        put_sized<std::uint32_t>(0xCA, static_cast<std::uint32_t>(v));
    } else {
        put_sized<std::uint64_t>(0xCB, static_cast<std::uint64_t>(v));
    }
}

void Packer::map(const Map& v) {
    map(v.size());
    for (const auto& [key, item] : v) {
        string(key);
        value(item);
    }
}

namespace {
constexpr std::uint8_t tag_of(StructTag tag) {
    return static_cast<std::uint8_t>(tag);
}
constexpr std::int64_t id_of(std::uint64_t id) {
    return static_cast<std::int64_t>(id);
}
}  // namespace

void Packer::other_value(const Value& v) {
    switch (v.type()) {
        case ValueType::kNull:
            return null();
        case ValueType::kBoolean:
            return boolean(v.as_boolean());
        case ValueType::kInteger:
            return integer(v.as_integer());
        case ValueType::kFloat:
            return real(v.as_float());
        case ValueType::kString:
            return string(v.as_string());
        case ValueType::kBytes:
            return bytes(v.as_bytes());
        case ValueType::kList: {
            const List& items = v.as_list();
            list(items.size());
            for (const Value& item : items) {
                value(item);
            }
            return;
        }
        case ValueType::kMap:
            return map(v.as_map());
        case ValueType::kDate:
            structure(tag_of(StructTag::kDate), 1);
            return integer(v.as_date().days);
        case ValueType::kLocalTime:
            structure(tag_of(StructTag::kLocalTime), 1);
            return integer(v.as_local_time().nanoseconds);
        case ValueType::kTime:
            structure(tag_of(StructTag::kTime), 2);
            integer(v.as_time().nanoseconds);
            return integer(v.as_time().offset_seconds);
        case ValueType::kLocalDateTime:
            structure(tag_of(StructTag::kLocalDateTime), 2);
            integer(v.as_local_date_time().seconds);
            return integer(v.as_local_date_time().nanoseconds);
        case ValueType::kDateTime:
            return date_time(v.as_date_time());
        case ValueType::kDuration:
            structure(tag_of(StructTag::kDuration), 4);
            integer(v.as_duration().months);
            integer(v.as_duration().days);
            integer(v.as_duration().seconds);
            return integer(v.as_duration().nanoseconds);
        case ValueType::kPoint: {
            const Point& p = v.as_point();
            structure(tag_of(p.is_3d() ? StructTag::kPoint3D : StructTag::kPoint2D),
                      p.is_3d() ? 4 : 3);
            integer(p.srid);
            real(p.x);
            real(p.y);
            if (p.is_3d()) {
                real(p.z);
            }
            return;
        }
        case ValueType::kNode:
            return node(v.as_node());
        case ValueType::kRelationship:
            return relationship(v.as_relationship());
        case ValueType::kPath:
            return path(v.as_path());
        case ValueType::kNodeRef:
        case ValueType::kRelationshipRef:
        case ValueType::kPathRef:
            break;
    }
    NORNIC_CHECK(
        false, "value type {} must be resolved before it is packed", static_cast<int>(v.type()));
}

void Packer::date_time(const DateTime& v) {
    const bool utc = dialect_.utc_date_times();
    // The old structures count seconds of the local wall clock.
    const std::int64_t seconds = utc ? v.seconds : v.seconds + v.offset_seconds;
    if (v.zone.empty()) {
        structure(tag_of(utc ? StructTag::kDateTime : StructTag::kLegacyDateTime), 3);
        integer(seconds);
        integer(v.nanoseconds);
        integer(v.offset_seconds);
    } else {
        structure(tag_of(utc ? StructTag::kDateTimeZoneId : StructTag::kLegacyDateTimeZoneId), 3);
        integer(seconds);
        integer(v.nanoseconds);
        string(v.zone);
    }
}

void Packer::node(const Node& v) {
    structure(tag_of(StructTag::kNode), dialect_.element_ids() ? 4 : 3);
    integer(id_of(v.id.value));
    list(v.labels.size());
    for (const std::string& label : v.labels) {
        string(label);
    }
    map(v.properties);
    if (dialect_.element_ids()) {
        string(v.element_id);
    }
}

void Packer::relationship(const Relationship& v) {
    structure(tag_of(StructTag::kRelationship), dialect_.element_ids() ? 8 : 5);
    integer(id_of(v.id.value));
    integer(id_of(v.start.value));
    integer(id_of(v.end.value));
    string(v.type);
    map(v.properties);
    if (dialect_.element_ids()) {
        string(v.element_id);
        string(v.start_element_id);
        string(v.end_element_id);
    }
}

void Packer::unbound_relationship(const Relationship& v) {
    structure(tag_of(StructTag::kUnboundRelationship), dialect_.element_ids() ? 4 : 3);
    integer(id_of(v.id.value));
    string(v.type);
    map(v.properties);
    if (dialect_.element_ids()) {
        string(v.element_id);
    }
}

void Packer::path(const Path& v) {
    NORNIC_CHECK(v.nodes.size() == v.relationships.size() + 1,
                 "a path of {} nodes and {} relationships",
                 v.nodes.size(),
                 v.relationships.size());
    // Each entity is sent once; the walk is told by indices: relationships from 1 on, negative when
    // walked from end to start, nodes from 0 on; the first node goes without saying.
    std::vector<const Node*> nodes;
    std::vector<const Relationship*> relationships;
    std::unordered_map<std::uint64_t, std::int64_t> node_index;
    std::unordered_map<std::uint64_t, std::int64_t> relationship_index;
    std::vector<std::int64_t> walk;
    walk.reserve(v.relationships.size() * 2);
    const auto index_of_node = [&](const Node& n) {
        const auto [it, fresh] =
            node_index.try_emplace(n.id.value, static_cast<std::int64_t>(nodes.size()));
        if (fresh) {
            nodes.push_back(&n);
        }
        return it->second;
    };
    index_of_node(v.nodes[0]);
    for (std::size_t i = 0; i < v.relationships.size(); ++i) {
        const Relationship& r = v.relationships[i];
        const auto [it, fresh] = relationship_index.try_emplace(
            r.id.value, static_cast<std::int64_t>(relationships.size()) + 1);
        if (fresh) {
            relationships.push_back(&r);
        }
        const bool forward = r.start == v.nodes[i].id && r.end == v.nodes[i + 1].id;
        walk.push_back(forward ? it->second : -it->second);
        walk.push_back(index_of_node(v.nodes[i + 1]));
    }
    structure(tag_of(StructTag::kPath), 3);
    list(nodes.size());
    for (const Node* n : nodes) {
        node(*n);
    }
    list(relationships.size());
    for (const Relationship* r : relationships) {
        unbound_relationship(*r);
    }
    list(walk.size());
    for (const std::int64_t step : walk) {
        integer(step);
    }
}

}  // namespace nornic::bolt
