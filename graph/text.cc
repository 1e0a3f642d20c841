#include "graph/value.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace nornic {
namespace {

bool is_plain_name(std::string_view name) {
    if (name.empty() || (name.front() >= '0' && name.front() <= '9')) {
        return false;
    }
    for (const char c : name) {
        const bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
        if (!ok) {
            return false;
        }
    }
    return true;
}

void put_name(std::string& out, std::string_view name) {
    if (is_plain_name(name)) {
        out += name;
        return;
    }
    out += '`';
    for (const char c : name) {
        out += c;
        if (c == '`') {
            out += c;
        }
    }
    out += '`';
}

void put_quoted(std::string& out, std::string_view text) {
    out += '\'';
    for (const char c : text) {
        switch (c) {
            case '\'':
                out += "\\'";
                break;
            case '\\':
                out += "\\\\";
                break;
            case '\n':
                out += "\\n";
                break;
            case '\r':
                out += "\\r";
                break;
            case '\t':
                out += "\\t";
                break;
            default:
                if (static_cast<unsigned char>(c) < 0x20) {
                    out += fmt::format("\\u{:04X}", static_cast<unsigned>(c));
                } else {
                    out += c;
                }
        }
    }
    out += '\'';
}

void put(std::string& out, const Value& value);

void put_map(std::string& out, const Map& map) {
    out += '{';
    bool first = true;
    for (const auto& [key, v] : map) {
        if (!first) {
            out += ", ";
        }
        first = false;
        put_name(out, key);
        out += ": ";
        put(out, v);
    }
    out += '}';
}

void put_node(std::string& out, const Node& node) {
    out += '(';
    for (const std::string& label : node.labels) {
        out += ':';
        put_name(out, label);
    }
    if (!node.properties.empty()) {
        if (!node.labels.empty()) {
            out += ' ';
        }
        put_map(out, node.properties);
    }
    out += ')';
}

void put_relationship(std::string& out, const Relationship& relationship) {
    out += "[:";
    put_name(out, relationship.type);
    if (!relationship.properties.empty()) {
        out += ' ';
        put_map(out, relationship.properties);
    }
    out += ']';
}

void put_path(std::string& out, const Path& path) {
    out += '<';
    for (std::size_t i = 0; i < path.nodes.size(); ++i) {
        put_node(out, path.nodes[i]);
        if (i < path.relationships.size()) {
            const bool forward = path.relationships[i].start == path.nodes[i].id;
            out += forward ? "-" : "<-";
            put_relationship(out, path.relationships[i]);
            out += forward ? "->" : "-";
        }
    }
    out += '>';
}

void put_path(std::string& out, const PathRef& path) {
    out += '<';
    for (std::size_t i = 0; i < path.nodes.size(); ++i) {
        out += fmt::format("({})", path.nodes[i].value);
        if (i < path.relationships.size()) {
            out += fmt::format("-[{}]-", path.relationships[i].value);
        }
    }
    out += '>';
}

std::string point_text(const Point& p) {
    const char* crs = p.is_geographic() ? (p.is_3d() ? "wgs-84-3d" : "wgs-84")
                                        : (p.is_3d() ? "cartesian-3d" : "cartesian");
    std::string out = "point({x: " + format_float(p.x) + ", y: " + format_float(p.y);
    if (p.is_3d()) {
        out += ", z: " + format_float(p.z);
    }
    return out + ", crs: '" + crs + "'})";
}

void put_call(std::string& out, std::string_view function, const std::string& text) {
    out += function;
    out += "('";
    out += text;
    out += "')";
}

void put(std::string& out, const Value& value) {
    switch (value.type()) {
        case ValueType::kNull:
            out += "null";
            return;
        case ValueType::kBoolean:
            out += value.as_boolean() ? "true" : "false";
            return;
        case ValueType::kInteger:
            out += std::to_string(value.as_integer());
            return;
        case ValueType::kFloat:
            out += format_float(value.as_float());
            return;
        case ValueType::kString:
            put_quoted(out, value.as_string());
            return;
        case ValueType::kBytes: {
            out += "bytes(";
            for (const char c : value.as_bytes()) {
                out += fmt::format("{:02X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
            }
            out += ')';
            return;
        }
        case ValueType::kList: {
            out += '[';
            bool first = true;
            for (const Value& v : value.as_list()) {
                if (!first) {
                    out += ", ";
                }
                first = false;
                put(out, v);
            }
            out += ']';
            return;
        }
        case ValueType::kMap:
            put_map(out, value.as_map());
            return;
        case ValueType::kDate:
            put_call(out, "date", to_text(value.as_date()));
            return;
        case ValueType::kLocalTime:
            put_call(out, "localtime", to_text(value.as_local_time()));
            return;
        case ValueType::kTime:
            put_call(out, "time", to_text(value.as_time()));
            return;
        case ValueType::kLocalDateTime:
            put_call(out, "localdatetime", to_text(value.as_local_date_time()));
            return;
        case ValueType::kDateTime:
            put_call(out, "datetime", to_text(value.as_date_time()));
            return;
        case ValueType::kDuration:
            put_call(out, "duration", to_text(value.as_duration()));
            return;
        case ValueType::kPoint:
            out += point_text(value.as_point());
            return;
        case ValueType::kNodeRef:
            out += fmt::format("({})", value.as_node_ref().value);
            return;
        case ValueType::kRelationshipRef:
            out += fmt::format("[{}]", value.as_relationship_ref().value);
            return;
        case ValueType::kPathRef:
            put_path(out, value.as_path_ref());
            return;
        case ValueType::kNode:
            put_node(out, value.as_node());
            return;
        case ValueType::kRelationship:
            put_relationship(out, value.as_relationship());
            return;
        case ValueType::kPath:
            put_path(out, value.as_path());
            return;
    }
}

}  // namespace

std::string_view type_name(const Value& value) noexcept {
    switch (value.type()) {
        case ValueType::kNull:
            return "Null";
        case ValueType::kBoolean:
            return "Boolean";
        case ValueType::kInteger:
            return "Integer";
        case ValueType::kFloat:
            return "Float";
        case ValueType::kString:
            return "String";
        case ValueType::kBytes:
            return "ByteArray";
        case ValueType::kList:
            return "List";
        case ValueType::kMap:
            return "Map";
        case ValueType::kDate:
            return "Date";
        case ValueType::kLocalTime:
            return "LocalTime";
        case ValueType::kTime:
            return "Time";
        case ValueType::kLocalDateTime:
            return "LocalDateTime";
        case ValueType::kDateTime:
            return "DateTime";
        case ValueType::kDuration:
            return "Duration";
        case ValueType::kPoint:
            return "Point";
        case ValueType::kNodeRef:
        case ValueType::kNode:
            return "Node";
        case ValueType::kRelationshipRef:
        case ValueType::kRelationship:
            return "Relationship";
        case ValueType::kPathRef:
        case ValueType::kPath:
            return "Path";
    }
    return "Any";
}

std::string to_cypher_text(const Value& value) {
    std::string out;
    put(out, value);
    return out;
}

std::string to_plain_text(const Value& value) {
    switch (value.type()) {
        case ValueType::kString:
            return std::string{value.as_string()};
        case ValueType::kDate:
            return to_text(value.as_date());
        case ValueType::kLocalTime:
            return to_text(value.as_local_time());
        case ValueType::kTime:
            return to_text(value.as_time());
        case ValueType::kLocalDateTime:
            return to_text(value.as_local_date_time());
        case ValueType::kDateTime:
            return to_text(value.as_date_time());
        case ValueType::kDuration:
            return to_text(value.as_duration());
        default:
            return to_cypher_text(value);
    }
}

std::string format_float(double value) {
    if (std::isnan(value)) {
        return "NaN";
    }
    if (std::isinf(value)) {
        return value > 0 ? "Infinity" : "-Infinity";
    }
    if (value == 0) {
        return std::signbit(value) ? "-0.0" : "0.0";
    }
    // The shortest digits that read back as this float: "d.ddde±xx".
    char buffer[40];
    const auto end =
        std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
    std::string_view text{buffer, static_cast<std::size_t>(end.ptr - buffer)};
    std::string out;
    if (text.front() == '-') {
        out += '-';
        text.remove_prefix(1);
    }
    const std::size_t e = text.find('e');
    std::string digits{text.substr(0, 1)};
    if (e > 2) {
        digits += text.substr(2, e - 2);
    }
    if (digits.size() == 1) {
        // Java considers two digits at least: the smallest float is 4.9E-324 there, not 5.0E-324.
        char two[40];
        const auto two_end =
            std::to_chars(two, two + sizeof two, value, std::chars_format::scientific, 1);
        double back = 0;
        std::from_chars(two, two_end.ptr, back);
        const char* first = two + (two[0] == '-' ? 1 : 0);
        if (back == value && first[0] != digits[0]) {
            digits = {first[0], first[2]};
        }
    }
    const char* from = text.data() + e + 1;
    if (*from == '+') {
        ++from;
    }
    int exponent = 0;
    std::from_chars(from, text.data() + text.size(), exponent);
    // Java writes 10^-3 … 10^7 plainly, the rest in scientific notation, always with a fraction.
    if (exponent >= -3 && exponent < 7) {
        if (exponent < 0) {
            out += "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
            return out;
        }
        const auto whole = static_cast<std::size_t>(exponent) + 1;
        if (digits.size() < whole) {
            digits.append(whole - digits.size(), '0');
        }
        out += digits.substr(0, whole) + '.' + (digits.size() > whole ? digits.substr(whole) : "0");
        return out;
    }
    out += digits.substr(0, 1) + '.' + (digits.size() > 1 ? digits.substr(1) : "0") + 'E' +
           std::to_string(exponent);
    return out;
}

}  // namespace nornic
