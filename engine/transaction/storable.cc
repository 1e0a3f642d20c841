#include "engine/transaction/storable.h"

#include <fmt/format.h>

#include <array>
#include <optional>

namespace nornic::engine {
namespace {

constexpr std::size_t kShownBytesMax = 200;

/// As the reference server prints values in this message: Map{b -> Long(1)}.
void describe(const Value& value, std::string& out) {
    if (out.size() > kShownBytesMax) {
        return;
    }
    switch (value.type()) {
        case ValueType::kNull:
            out += "NO_VALUE";
            break;
        case ValueType::kBoolean:
            out += fmt::format("Boolean('{}')", value.is_true());
            break;
        case ValueType::kInteger:
            out += fmt::format("Long({})", value.as_integer());
            break;
        case ValueType::kFloat:
            out += fmt::format("Double({:e})", value.as_float());
            break;
        case ValueType::kString:
            out += fmt::format("String(\"{}\")", value.as_string().substr(0, kShownBytesMax));
            break;
        case ValueType::kList: {
            out += "List{";
            std::string_view separator;
            for (const Value& item : value.as_list()) {
                out += separator;
                describe(item, out);
                separator = ", ";
            }
            out += '}';
            break;
        }
        case ValueType::kMap: {
            out += "Map{";
            std::string_view separator;
            for (const auto& [key, item] : value.as_map()) {
                out += separator;
                out += key;
                out += " -> ";
                describe(item, out);
                separator = ", ";
            }
            out += '}';
            break;
        }
        case ValueType::kNodeRef:
            out += fmt::format("({})", value.as_node_ref().value);
            break;
        case ValueType::kRelationshipRef:
            out += fmt::format("-[{}]-", value.as_relationship_ref().value);
            break;
        case ValueType::kPathRef:
            out += "Path";
            break;
        default:
            out += to_cypher_text(value);
            break;
    }
}

auto not_primitive(const Value& value) {
    std::string shown;
    describe(value, shown);
    return fail(
        ErrorCode::kTypeError,
        fmt::format(
            "Property values can only be of primitive types or arrays thereof. Encountered: {}.",
            shown));
}

bool is_scalar(ValueType type) noexcept {
    switch (type) {
        case ValueType::kBoolean:
        case ValueType::kInteger:
        case ValueType::kFloat:
        case ValueType::kString:
        case ValueType::kDate:
        case ValueType::kLocalTime:
        case ValueType::kTime:
        case ValueType::kLocalDateTime:
        case ValueType::kDateTime:
        case ValueType::kDuration:
        case ValueType::kPoint:
            return true;
        default:
            return false;
    }
}

Result<Value> storable_list(Value value) {
    const List& list = value.as_list();
    if (list.empty()) {
        return value;
    }
    const ValueType first = list.front().type();
    bool same = true;
    bool numbers = true;
    for (const Value& item : list) {
        if (item.is_null()) {
            return fail(ErrorCode::kTypeError,
                        "Collections containing null values can not be stored in properties.");
        }
        if (item.is_list()) {
            return fail(ErrorCode::kTypeError,
                        "Collections containing collections can not be stored in properties.");
        }
        if (!is_scalar(item.type())) {
            return not_primitive(item);
        }
        if (first == ValueType::kPoint && item.is(ValueType::kPoint) &&
            item.as_point().srid != list.front().as_point().srid) {
            return fail(ErrorCode::kTypeError,
                        "Collections containing point values with different CRS can not be stored "
                        "in properties.");
        }
        same = same && item.type() == first;
        numbers = numbers && item.is_number();
    }
    if (same) {
        return value;
    }
    if (!numbers) {
        return fail(ErrorCode::kTypeError,
                    "Neo4j only supports a subset of Cypher types for storage as singleton or "
                    "array properties. "
                    "Please refer to section cypher/syntax/values of the manual for more details.");
    }
    List floats;
    floats.reserve(list.size());
    for (const Value& item : list) {
        floats.emplace_back(item.as_number());
    }
    return Value{std::move(floats)};
}

std::optional<PropertyTypeBit> bit_of(ValueType type) noexcept {
    switch (type) {
        case ValueType::kBoolean:
            return PropertyTypeBit::kBoolean;
        case ValueType::kString:
            return PropertyTypeBit::kString;
        case ValueType::kInteger:
            return PropertyTypeBit::kInteger;
        case ValueType::kFloat:
            return PropertyTypeBit::kFloat;
        case ValueType::kDate:
            return PropertyTypeBit::kDate;
        case ValueType::kLocalTime:
            return PropertyTypeBit::kLocalTime;
        case ValueType::kTime:
            return PropertyTypeBit::kTime;
        case ValueType::kLocalDateTime:
            return PropertyTypeBit::kLocalDateTime;
        case ValueType::kDateTime:
            return PropertyTypeBit::kDateTime;
        case ValueType::kDuration:
            return PropertyTypeBit::kDuration;
        case ValueType::kPoint:
            return PropertyTypeBit::kPoint;
        default:
            return std::nullopt;
    }
}

constexpr std::array<std::string_view, 11> kTypeNames{"BOOLEAN",
                                                      "STRING",
                                                      "INTEGER",
                                                      "FLOAT",
                                                      "DATE",
                                                      "LOCAL TIME",
                                                      "ZONED TIME",
                                                      "LOCAL DATETIME",
                                                      "ZONED DATETIME",
                                                      "DURATION",
                                                      "POINT"};

}  // namespace

Result<Value> storable(Value value) {
    if (is_scalar(value.type()) || value.is_null() || value.is(ValueType::kBytes)) {
        return value;
    }
    if (value.is_list()) {
        return storable_list(std::move(value));
    }
    return not_primitive(value);
}

bool has_type(const Value& value, PropertyTypes types) noexcept {
    if (value.is_list()) {
        constexpr std::uint64_t kAnyList = 0xFFFFFFFFULL << 32;
        const List& list = value.as_list();
        if (list.empty()) {
            return (types.bits & kAnyList) != 0;
        }
        const auto bit = bit_of(list.front().type());
        return bit && (types.bits & property_type(*bit, true)) != 0;
    }
    const auto bit = bit_of(value.type());
    return bit && (types.bits & property_type(*bit)) != 0;
}

std::string stored_type_name(const Value& value) {
    if (value.is_list()) {
        const List& list = value.as_list();
        const auto bit = list.empty() ? std::nullopt : bit_of(list.front().type());
        return fmt::format("LIST<{} NOT NULL>",
                           bit ? kTypeNames[static_cast<std::size_t>(*bit)] : "NOTHING");
    }
    const auto bit = bit_of(value.type());
    return bit ? std::string{kTypeNames[static_cast<std::size_t>(*bit)]} : std::string{"BYTES"};
}

std::string to_string(PropertyTypes types) {
    std::string out;
    for (const bool list : {false, true}) {
        for (std::size_t i = 0; i < kTypeNames.size(); ++i) {
            if ((types.bits & property_type(static_cast<PropertyTypeBit>(i), list)) != 0) {
                out += out.empty() ? "" : " | ";
                out += list ? fmt::format("LIST<{} NOT NULL>", kTypeNames[i])
                            : std::string{kTypeNames[i]};
            }
        }
    }
    return out;
}

}  // namespace nornic::engine
