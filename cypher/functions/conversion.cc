// toInteger, toFloat, toBoolean, toString, and their …OrNull and …List forms.
#include "cypher/functions/registry.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <limits>

namespace nornic::cypher {
namespace {

std::string_view trimmed(std::string_view s) {
    constexpr std::string_view kSpaces = " \t\n\r\f\v";
    const std::size_t first = s.find_first_not_of(kSpaces);
    return first == std::string_view::npos
               ? std::string_view{}
               : s.substr(first, s.find_last_not_of(kSpaces) - first + 1);
}

bool is_decimal(std::string_view s) {
    bool digits = false;
    std::size_t i = !s.empty() && (s[0] == '+' || s[0] == '-') ? 1 : 0;
    for (; i < s.size() && (std::isdigit(static_cast<unsigned char>(s[i])) != 0 || s[i] == '.');
         ++i) {
        digits = digits || s[i] != '.';
    }
    if (!digits) {
        return false;
    }
    if (i < s.size() && (s[i] == 'e' || s[i] == 'E')) {
        ++i;
        i += i < s.size() && (s[i] == '+' || s[i] == '-') ? 1 : 0;
        const std::size_t first = i;
        while (i < s.size() && std::isdigit(static_cast<unsigned char>(s[i])) != 0) {
            ++i;
        }
        if (i == first) {
            return false;
        }
    }
    return i == s.size();
}

/// Null if the text is no number.
Value parse_float(std::string_view text) {
    std::string_view s = trimmed(text);
    const bool negative = s.starts_with('-');
    if (!s.empty() && (s[0] == '+' || s[0] == '-')) {
        s.remove_prefix(1);
    }
    if (s == "NaN") {
        return Value{std::numeric_limits<double>::quiet_NaN()};
    }
    double v = 0;
    if (s == "Infinity") {
        v = std::numeric_limits<double>::infinity();
    } else {
        if (!is_decimal(s) || s.starts_with('+') || s.starts_with('-')) {
            return {};
        }
        const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), v);
        if (end != s.data() + s.size()) {
            return {};
        }
        if (error == std::errc::result_out_of_range) {
            // Too large is infinite; too small is zero.
            const std::size_t e = s.find_first_of("eE");
            const bool small = e != std::string_view::npos
                                   ? s[e + 1] == '-'
                                   : s.starts_with("0") || s.starts_with(".");
            v = small ? 0.0 : std::numeric_limits<double>::infinity();
        }
    }
    return Value{negative ? -v : v};
}

std::int64_t saturated(double v) {
    if (std::isnan(v)) {
        return 0;
    }
    if (v >= 9223372036854775808.0) {
        return std::numeric_limits<std::int64_t>::max();
    }
    if (v < -9223372036854775808.0) {
        return std::numeric_limits<std::int64_t>::min();
    }
    return static_cast<std::int64_t>(v);
}

Value parse_integer(std::string_view text) {
    std::string_view s = trimmed(text);
    if (s.starts_with('+')) {
        s.remove_prefix(1);
        if (s.starts_with('-')) {
            return {};
        }
    }
    if (!is_decimal(s)) {
        return {};
    }
    const auto too_large = [&]() {
        throw QueryError{
            ErrorCode::kTypeError, fmt::format("integer, {}, is too large", text), "22003>22N03"};
    };
    // Digits before the point count; a fraction is cut off.
    if (s.find_first_of("eE") == std::string_view::npos) {
        const std::string_view whole = s.substr(0, s.find('.'));
        if (whole.empty() || whole == "-") {
            return Value{0};
        }
        std::int64_t v = 0;
        const auto [end, error] = std::from_chars(whole.data(), whole.data() + whole.size(), v);
        if (error == std::errc::result_out_of_range) {
            too_large();
        }
        return end == whole.data() + whole.size() ? Value{v} : Value{};
    }
    const Value v = parse_float(s);
    if (v.is_null()) {
        return {};
    }
    if (std::fabs(v.as_float()) >= 9223372036854775808.0) {
        too_large();
    }
    return Value{saturated(v.as_float())};
}

bool same_word(std::string_view text, std::string_view word) {
    const std::string_view s = trimmed(text);
    return s.size() == word.size() &&
           std::equal(
               s.begin(), s.end(), word.begin(), [](char a, char b) { return (a | 0x20) == b; });
}

enum class Kind : std::uint8_t { kInteger, kFloat, kBoolean, kString };

/// nullopt: the type has no such conversion.
std::optional<Value> convert(Kind kind, const Value& v) {
    switch (kind) {
        case Kind::kInteger:
            switch (v.type()) {
                case ValueType::kInteger:
                    return v;
                case ValueType::kFloat:
                    return Value{saturated(v.as_float())};
                case ValueType::kBoolean:
                    return Value{v.as_boolean() ? 1 : 0};
                case ValueType::kString:
                    return parse_integer(v.as_string());
                default:
                    return std::nullopt;
            }
        case Kind::kFloat:
            switch (v.type()) {
                case ValueType::kInteger:
                    return Value{static_cast<double>(v.as_integer())};
                case ValueType::kFloat:
                    return v;
                case ValueType::kString:
                    return parse_float(v.as_string());
                default:
                    return std::nullopt;
            }
        case Kind::kBoolean:
            switch (v.type()) {
                case ValueType::kBoolean:
                    return v;
                case ValueType::kInteger:
                    return Value{v.as_integer() != 0};
                case ValueType::kString:
                    return same_word(v.as_string(), "true")    ? Value{true}
                           : same_word(v.as_string(), "false") ? Value{false}
                                                               : Value{};
                default:
                    return std::nullopt;
            }
        case Kind::kString:
            switch (v.type()) {
                case ValueType::kString:
                    return v;
                case ValueType::kBoolean:
                case ValueType::kInteger:
                case ValueType::kFloat:
                case ValueType::kDate:
                case ValueType::kLocalTime:
                case ValueType::kTime:
                case ValueType::kLocalDateTime:
                case ValueType::kDateTime:
                case ValueType::kDuration:
                case ValueType::kPoint:
                    return Value{to_plain_text(v)};
                default:
                    return std::nullopt;
            }
    }
    return std::nullopt;
}

struct Names {
    std::string_view function;
    std::string_view expected;
    std::string_view type;
    TypeSet accepted;
    TypeSet result;
};
constexpr Names kNames[] = {
    {"toInteger",
     "a String, Float, Integer or Boolean",
     "INTEGER",
     types::kBoolean | types::kNumber | types::kString,
     types::kInteger},
    {"toFloat",
     "a String, Float or Integer",
     "FLOAT",
     types::kNumber | types::kString,
     types::kFloat},
    {"toBoolean",
     "a Boolean, Integer or String",
     "BOOLEAN",
     types::kBoolean | types::kInteger | types::kString,
     types::kBoolean},
    {"toString",
     "a String, Float, Integer, Boolean, Temporal or Duration",
     "STRING",
     types::kBoolean | types::kNumber | types::kString | types::kTemporal | types::kDuration |
         types::kPoint,
     types::kString},
};

template <Kind kKind>
Value to(Args args, EvalContext&) {
    if (args[0].is_null()) {
        return {};
    }
    if (auto v = convert(kKind, args[0])) {
        return *std::move(v);
    }
    const Names& names = kNames[static_cast<std::size_t>(kKind)];
    throw_input(names.function, names.expected, args[0]);
}

template <Kind kKind>
Value to_or_null(Args args, EvalContext&) {
    return args[0].is_null() ? Value{} : convert(kKind, args[0]).value_or(Value{});
}

/// What one converted value takes: a number none but its place, a text an object, too.
template <Kind kKind>
constexpr std::size_t kConvertedBytes = sizeof(Value) + (kKind == Kind::kString ? 32 : 0);

template <Kind kKind>
Value to_list(Args args, EvalContext& context) {
    if (args[0].is_null()) {
        return {};
    }
    if (!args[0].is_list()) {
        throw_input(fmt::format("{}List", kNames[static_cast<std::size_t>(kKind)].function),
                    "a List",
                    args[0]);
    }
    List out;
    check_memory(context, args[0].as_list().size() * kConvertedBytes<kKind>);
    out.reserve(args[0].as_list().size());
    for (const Value& v : args[0].as_list()) {
        out.push_back(v.is_null() ? Value{} : convert(kKind, v).value_or(Value{}));
    }
    return Value{std::move(out)};
}

template <Kind kKind>
void add_kind(FunctionList& list) {
    const Names& n = kNames[static_cast<std::size_t>(kKind)];
    add_function(list,
                 "Scalar",
                 fmt::format("{}(input :: ANY) :: {}", n.function, n.type),
                 {1, 1},
                 {n.accepted},
                 n.result,
                 fmt::format("The value as {}; null where a text does not spell one.", n.type),
                 to<kKind>);
    add_function(list,
                 "Scalar",
                 fmt::format("{}OrNull(input :: ANY) :: {}", n.function, n.type),
                 {1, 1},
                 {types::kAny},
                 n.result,
                 fmt::format("The value as {}; null where there is no conversion.", n.type),
                 to_or_null<kKind>);
    add_function(list,
                 "List",
                 fmt::format("{}List(input :: LIST<ANY>) :: LIST<{}>", n.function, n.type),
                 {1, 1},
                 {types::kList},
                 types::kList,
                 fmt::format("Each element as {}; null where there is no conversion.", n.type),
                 to_list<kKind>);
}

}  // namespace

void add_conversion_functions(FunctionList& list) {
    add_kind<Kind::kInteger>(list);
    add_kind<Kind::kFloat>(list);
    add_kind<Kind::kBoolean>(list);
    add_kind<Kind::kString>(list);
}

}  // namespace nornic::cypher
