#include "http/json_values.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <charconv>
#include <cmath>
#include <functional>

namespace nornic::http {
namespace {

namespace json = boost::json;

std::string base64(std::string_view bytes) {
    std::string out(4 * ((bytes.size() + 2) / 3), '\0');
    EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                    reinterpret_cast<const unsigned char*>(bytes.data()),
                    static_cast<int>(bytes.size()));
    return out;
}

std::string point_text(const Point& p) {
    return p.is_3d()
               ? fmt::format("SRID={};POINT Z ({} {} {})",
                             p.srid,
                             format_float(p.x),
                             format_float(p.y),
                             format_float(p.z))
               : fmt::format("SRID={};POINT ({} {})", p.srid, format_float(p.x), format_float(p.y));
}

json::value typed(std::string_view type, json::value value) {
    return json::object{{"$type", type}, {"_value", std::move(value)}};
}

json::object properties(const Map& map, JsonStyle style) {
    json::object out;
    for (const auto& [key, v] : map) {
        out[key] = to_json(v, style);
    }
    return out;
}

json::value node_json(const Node& n, JsonStyle style) {
    json::array labels;
    for (const std::string& label : n.labels) {
        labels.emplace_back(label);
    }
    if (style == JsonStyle::kTyped) {
        return typed("Node",
                     json::object{{"_element_id", n.element_id},
                                  {"_labels", std::move(labels)},
                                  {"_properties", properties(n.properties, style)}});
    }
    return json::object{{"elementId", n.element_id},
                        {"labels", std::move(labels)},
                        {"properties", properties(n.properties, style)}};
}

json::value relationship_json(const Relationship& r, JsonStyle style) {
    if (style == JsonStyle::kTyped) {
        return typed("Relationship",
                     json::object{{"_element_id", r.element_id},
                                  {"_start_node_element_id", r.start_element_id},
                                  {"_end_node_element_id", r.end_element_id},
                                  {"_type", r.type},
                                  {"_properties", properties(r.properties, style)}});
    }
    return json::object{{"elementId", r.element_id},
                        {"startNodeElementId", r.start_element_id},
                        {"endNodeElementId", r.end_element_id},
                        {"type", r.type},
                        {"properties", properties(r.properties, style)}};
}

json::value path_json(const Path& p, JsonStyle style) {
    json::array out;
    for (std::size_t i = 0; i < p.nodes.size(); ++i) {
        out.push_back(node_json(p.nodes[i], style));
        if (i < p.relationships.size()) {
            out.push_back(relationship_json(p.relationships[i], style));
        }
    }
    return style == JsonStyle::kTyped ? typed("Path", json::value(std::move(out)))
                                      : json::value(std::move(out));
}

json::value float_json(double v) {
    // JSON has no NaN and no infinities; Neo4j writes them as text.
    return std::isfinite(v) ? json::value(v) : json::value(format_float(v));
}

}  // namespace

json::value to_json(const Value& value, JsonStyle style) {
    const bool plain = style == JsonStyle::kPlain;
    const auto text = [&](std::string_view type, std::string v) -> json::value {
        return plain ? json::value(std::move(v)) : typed(type, json::value(std::move(v)));
    };
    switch (value.type()) {
        case ValueType::kNull:
            return plain ? json::value(nullptr) : typed("Null", nullptr);
        case ValueType::kBoolean:
            return plain ? json::value(value.as_boolean())
                         : typed("Boolean", json::value(value.as_boolean()));
        case ValueType::kInteger:
            return plain ? json::value(value.as_integer())
                         : typed("Integer", json::value(std::to_string(value.as_integer())));
        case ValueType::kFloat:
            return plain ? float_json(value.as_float())
                         : typed("Float", json::value(format_float(value.as_float())));
        case ValueType::kString:
            return text("String", std::string{value.as_string()});
        case ValueType::kBytes:
            return text("Base64", base64(value.as_bytes()));
        case ValueType::kList: {
            json::array out;
            for (const Value& v : value.as_list()) {
                out.push_back(to_json(v, style));
            }
            return plain ? json::value(std::move(out)) : typed("List", json::value(std::move(out)));
        }
        case ValueType::kMap: {
            json::object out = properties(value.as_map(), style);
            return plain ? json::value(std::move(out)) : typed("Map", json::value(std::move(out)));
        }
        case ValueType::kDate:
            return text("Date", to_text(value.as_date()));
        case ValueType::kLocalTime:
            return text("LocalTime", to_text(value.as_local_time()));
        case ValueType::kTime:
            return text("Time", to_text(value.as_time()));
        case ValueType::kLocalDateTime:
            return text("LocalDateTime", to_text(value.as_local_date_time()));
        case ValueType::kDateTime:
            return text(value.as_date_time().zone.empty() ? "OffsetDateTime" : "ZonedDateTime",
                        to_text(value.as_date_time()));
        case ValueType::kDuration:
            return text("Duration", to_text(value.as_duration()));
        case ValueType::kPoint:
            return text("Point", point_text(value.as_point()));
        case ValueType::kNode:
            return node_json(value.as_node(), style);
        case ValueType::kRelationship:
            return relationship_json(value.as_relationship(), style);
        case ValueType::kPath:
            return path_json(value.as_path(), style);
        case ValueType::kNodeRef:
        case ValueType::kRelationshipRef:
        case ValueType::kPathRef:
            break;
    }
    NORNIC_CHECK(false, "a reference left its query: type {}", static_cast<int>(value.type()));
    return nullptr;
}

namespace {

Error bad(std::string text) {
    return Error{ErrorCode::kInvalidRequest, std::move(text)};
}

Result<Value> typed_text(std::string_view type,
                         std::string_view text,
                         const ParseTemporal& parse_temporal) {
    if (type == "String") {
        return Value{text};
    }
    if (type == "Integer") {
        std::int64_t n = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
        if (error != std::errc{} || end != text.data() + text.size()) {
            return bad(fmt::format("'{}' is not an Integer", text));
        }
        return Value{n};
    }
    if (type == "Float") {
        if (text == "NaN") {
            return Value{std::nan("")};
        }
        if (text == "Infinity" || text == "-Infinity") {
            return Value{text.front() == '-' ? -HUGE_VAL : HUGE_VAL};
        }
        double n = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
        if (error != std::errc{} || end != text.data() + text.size()) {
            return bad(fmt::format("'{}' is not a Float", text));
        }
        return Value{n};
    }
    if (type == "Base64") {
        if (text.size() % 4 != 0) {
            return bad("a Base64 value's length is not a multiple of 4");
        }
        std::string out(text.size() / 4 * 3, '\0');
        const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                         reinterpret_cast<const unsigned char*>(text.data()),
                                         static_cast<int>(text.size()));
        if (size < 0) {
            return bad("a Base64 value holds other characters");
        }
        std::size_t padding = 0;
        while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') {
            ++padding;
        }
        out.resize(static_cast<std::size_t>(size) - padding);
        return Value::bytes(out);
    }
    if (type == "Point") {
        Point p;
        double z = 0;
        const std::string owned{text};
        if (std::sscanf(owned.c_str(), "SRID=%u;POINT Z (%lf %lf %lf)", &p.srid, &p.x, &p.y, &z) ==
            4) {
            p.z = z;
        } else if (std::sscanf(owned.c_str(), "SRID=%u;POINT (%lf %lf)", &p.srid, &p.x, &p.y) !=
                   3) {
            return bad(
                fmt::format("'{}' is not a Point: it takes SRID=7203;POINT (1.0 2.0)", text));
        }
        const bool three = std::abs(z) > 0 || owned.find("POINT Z") != std::string::npos;
        if (three != p.is_3d() || (p.srid != Point::kCartesian && p.srid != Point::kCartesian3D &&
                                   p.srid != Point::kWgs84 && p.srid != Point::kWgs84_3D)) {
            return bad(fmt::format("'{}' names no coordinate system of its dimensions", text));
        }
        return Value{p};
    }
    return parse_temporal(type, text);
}

}  // namespace

Result<Value> from_json(const json::value& value,
                        JsonStyle style,
                        const ParseTemporal& parse_temporal) {
    switch (value.kind()) {
        case json::kind::null:
            return Value{};
        case json::kind::bool_:
            return Value{value.get_bool()};
        case json::kind::int64:
            return Value{value.get_int64()};
        case json::kind::uint64:
            return bad(fmt::format("{} is larger than an Integer holds", value.get_uint64()));
        case json::kind::double_:
            return Value{value.get_double()};
        case json::kind::string:
            return Value{std::string_view{value.get_string()}};
        case json::kind::array: {
            List out;
            out.reserve(value.get_array().size());
            for (const json::value& item : value.get_array()) {
                NORNIC_TRY(Value v, from_json(item, style, parse_temporal));
                out.push_back(std::move(v));
            }
            return Value{std::move(out)};
        }
        case json::kind::object:
            break;
    }
    const json::object& object = value.get_object();
    if (style == JsonStyle::kTyped && object.contains("$type")) {
        const json::value* type = object.if_contains("$type");
        const json::value* inner = object.if_contains("_value");
        if (!type->is_string() || inner == nullptr) {
            return bad("a typed value takes {\"$type\": text, \"_value\": …}");
        }
        const std::string_view name = type->get_string();
        if (name == "Null") {
            return Value{};
        }
        if (name == "Boolean" && inner->is_bool()) {
            return Value{inner->get_bool()};
        }
        if ((name == "List" && inner->is_array()) || (name == "Map" && inner->is_object())) {
            return from_json(*inner, style, parse_temporal);
        }
        if (inner->is_string()) {
            return typed_text(name, inner->get_string(), parse_temporal);
        }
        return bad(fmt::format("a value of type '{}' does not take that", name));
    }
    Map out;
    out.reserve(object.size());
    for (const auto& [key, item] : object) {
        NORNIC_TRY(Value v, from_json(item, style, parse_temporal));
        out.set(key, std::move(v));
    }
    return Value{std::move(out)};
}

}  // namespace nornic::http
