// Numbers: rounding, logarithms, trigonometry, chance.
#include "cypher/functions/registry.h"
#include "cypher/functions/temporal.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <numbers>

namespace nornic::cypher {
namespace {

double number(std::string_view function, const Value& v) {
    if (!v.is_number()) {
        throw_input(function, "a number", v);
    }
    return v.as_number();
}

/// A name as a template argument.
template <std::size_t kSize>
struct Name {
    constexpr Name(const char (&text)[kSize]) { std::copy_n(text, kSize, value); }  // NOLINT
    char value[kSize] = {};
};

/// One float in, one float out.
template <double (*kFunction)(double), Name kName>
Value apply(Args args, EvalContext&) {
    return args[0].is_null() ? Value{} : Value{kFunction(number(kName.value, args[0]))};
}

double cot(double x) {
    return 1.0 / std::tan(x);
}
double coth(double x) {
    return 1.0 / std::tanh(x);
}
double haversin(double x) {
    return (1.0 - std::cos(x)) / 2.0;
}
double degrees(double x) {
    return x * (180.0 / std::numbers::pi);
}
double radians(double x) {
    return x / 180.0 * std::numbers::pi;
}

Value absolute(Args args, EvalContext&) {
    const Value& v = args[0];
    if (v.is_null()) {
        return {};
    }
    if (v.is(ValueType::kInteger)) {
        if (v.as_integer() == std::numeric_limits<std::int64_t>::min()) {
            temporal::throw_overflow();
        }
        return Value{v.as_integer() < 0 ? -v.as_integer() : v.as_integer()};
    }
    return Value{std::fabs(number("abs", v))};
}

Value sign(Args args, EvalContext&) {
    if (args[0].is_null()) {
        return {};
    }
    const double v = number("sign", args[0]);
    return Value{v > 0 ? 1 : (v < 0 ? -1 : 0)};
}

Value is_nan(Args args, EvalContext&) {
    return args[0].is_null() ? Value{} : Value{std::isnan(number("isNaN", args[0]))};
}

Value atan2(Args args, EvalContext&) {
    return any_null(args) ? Value{}
                          : Value{std::atan2(number("atan2", args[0]), number("atan2", args[1]))};
}

Value e(Args, EvalContext&) {
    return Value{std::numbers::e};
}
Value pi(Args, EvalContext&) {
    return Value{std::numbers::pi};
}

Value rand(Args, EvalContext& context) {
    // 53 bits: every float in [0, 1) that is a multiple of 2^-53.
    return Value{static_cast<double>(random_bits(context) >> 11) * 0x1.0p-53};
}

enum class Rounding : std::uint8_t { kUp, kDown, kCeiling, kFloor, kHalfUp, kHalfDown, kHalfEven };

Rounding rounding_mode(const Value& v) {
    static constexpr std::pair<std::string_view, Rounding> kModes[] = {
        {"UP", Rounding::kUp},
        {"DOWN", Rounding::kDown},
        {"CEILING", Rounding::kCeiling},
        {"FLOOR", Rounding::kFloor},
        {"HALF_UP", Rounding::kHalfUp},
        {"HALF_DOWN", Rounding::kHalfDown},
        {"HALF_EVEN", Rounding::kHalfEven},
    };
    if (v.is_string()) {
        for (const auto& [name, mode] : kModes) {
            const std::string_view s = v.as_string();
            if (s.size() == name.size() &&
                std::equal(s.begin(), s.end(), name.begin(), [](char a, char b) {
                    return a == b || (b != '_' && (a & ~0x20) == b);
                })) {
                return mode;
            }
        }
    }
    throw QueryError{ErrorCode::kArgumentError,
                     fmt::format("Unknown rounding mode. Valid values are: CEILING, FLOOR, UP, "
                                 "DOWN, HALF_EVEN, HALF_UP, "
                                 "HALF_DOWN, but got: {}",
                                 to_cypher_text(v)),
                     "22000>22N26"};
}

/// Rounds the decimal digits that the float prints as, as a person would: 2.345 is 2.35, although
/// the float is a little less.
double round_decimal(double value, std::int64_t precision, Rounding mode) {
    constexpr std::int64_t kDigitsMax = 400;
    if (!std::isfinite(value) || value == 0 || precision > kDigitsMax) {
        return value;
    }
    char buffer[40];
    const auto text_end = std::to_chars(
        buffer, buffer + sizeof buffer, std::fabs(value), std::chars_format::scientific);
    const std::string_view text{buffer, static_cast<std::size_t>(text_end.ptr - buffer)};
    const std::size_t e_at = text.find('e');
    std::string digits{text.substr(0, 1)};
    if (e_at > 2) {
        digits += text.substr(2, e_at - 2);
    }
    int exponent = 0;
    const char* exponent_at = buffer + e_at + (text[e_at + 1] == '+' ? 2 : 1);
    std::from_chars(exponent_at, text_end.ptr, exponent);
    // digits[i] stands at 10^(exponent - i); those beyond 10^-precision go.
    const std::int64_t keep = exponent + precision + 1;
    if (keep >= static_cast<std::int64_t>(digits.size())) {
        return value;
    }
    const bool negative = value < 0;
    std::string kept = keep > 0 ? digits.substr(0, static_cast<std::size_t>(keep)) : "";
    const char next = keep >= 0 ? digits[static_cast<std::size_t>(keep)] : '0';
    const bool rest = keep >= 0 ? static_cast<std::size_t>(keep) + 1 < digits.size() : true;
    bool up = false;
    switch (mode) {
        case Rounding::kUp:
            up = true;
            break;
        case Rounding::kDown:
            up = false;
            break;
        case Rounding::kCeiling:
            up = !negative;
            break;
        case Rounding::kFloor:
            up = negative;
            break;
        case Rounding::kHalfUp:
            up = next >= '5';
            break;
        case Rounding::kHalfDown:
            up = next > '5' || (next == '5' && rest);
            break;
        case Rounding::kHalfEven: {
            const bool odd = !kept.empty() && (kept.back() - '0') % 2 == 1;
            up = next > '5' || (next == '5' && (rest || odd));
            break;
        }
    }
    if (up) {
        std::size_t i = kept.size();
        while (i > 0 && kept[i - 1] == '9') {
            kept[--i] = '0';
        }
        if (i == 0) {
            kept.insert(kept.begin(), '1');
        } else {
            ++kept[i - 1];
        }
    }
    if (kept.empty()) {
        kept = "0";
    }
    kept += fmt::format("e{}", -precision);
    double out = 0;
    std::from_chars(kept.data(), kept.data() + kept.size(), out);
    return negative ? -out : out;
}

Value round(Args args, EvalContext&) {
    if (any_null(args)) {
        return {};
    }
    const double v = number("round", args[0]);
    if (args.size() == 1) {
        // Ties go up, also below zero: round(-1.5) is -1.
        return Value{std::isfinite(v) && std::fabs(v) < 4503599627370496.0 ? std::floor(v + 0.5)
                                                                           : v};
    }
    if (!args[1].is_number() || args[1].as_number() < 0) {
        throw QueryError{ErrorCode::kArgumentError,
                         "Precision argument to 'round()' cannot be negative",
                         "22N38>22N02"};
    }
    const auto precision = static_cast<std::int64_t>(std::fmin(args[1].as_number(), 1000.0));
    if (args.size() == 2 && precision == 0) {
        return Value{std::isfinite(v) && std::fabs(v) < 4503599627370496.0 ? std::floor(v + 0.5)
                                                                           : v};
    }
    return Value{
        round_decimal(v, precision, args.size() > 2 ? rounding_mode(args[2]) : Rounding::kHalfUp)};
}

}  // namespace

void add_math_functions(FunctionList& list) {
    const std::vector<TypeSet> numbers{types::kNumber};
    const auto put = [&](std::string_view category,
                         std::string_view name,
                         std::string_view description,
                         ScalarFn call) {
        add_function(list,
                     category,
                     fmt::format("{}(input :: FLOAT) :: FLOAT", name),
                     {1, 1},
                     numbers,
                     types::kFloat,
                     description,
                     call);
    };
    add_function(list,
                 "Numeric",
                 "abs(input :: INTEGER | FLOAT) :: INTEGER | FLOAT",
                 {1, 1},
                 numbers,
                 types::kNumber,
                 "The number without its sign.",
                 absolute);
    put("Numeric", "ceil", "The least whole number that is not less.", apply<std::ceil, "ceil">);
    put("Numeric",
        "floor",
        "The greatest whole number that is not greater.",
        apply<std::floor, "floor">);
    add_function(
        list,
        "Numeric",
        "round(value :: FLOAT, precision = 0 :: INTEGER, mode = HALF_UP :: STRING) :: FLOAT",
        {1, 3},
        {types::kNumber, types::kNumber, types::kString},
        types::kFloat,
        "The number rounded to so many decimals; without a precision ties go up.",
        round);
    add_function(list,
                 "Numeric",
                 "sign(input :: INTEGER | FLOAT) :: INTEGER",
                 {1, 1},
                 numbers,
                 types::kInteger,
                 "-1, 0 or 1.",
                 sign);
    add_function(list,
                 "Numeric",
                 "isNaN(input :: INTEGER | FLOAT) :: BOOLEAN",
                 {1, 1},
                 numbers,
                 types::kBoolean,
                 "Whether the number is not a number.",
                 is_nan);
    add_function(list,
                 "Numeric",
                 "rand() :: FLOAT",
                 {0, 0},
                 {},
                 types::kFloat,
                 "A random number from 0 to below 1.",
                 rand)
        .deterministic = false;
    put("Logarithmic", "exp", "e to the power of the number.", apply<std::exp, "exp">);
    put("Logarithmic", "log", "The natural logarithm.", apply<std::log, "log">);
    put("Logarithmic", "log10", "The logarithm to base 10.", apply<std::log10, "log10">);
    put("Logarithmic", "sqrt", "The square root.", apply<std::sqrt, "sqrt">);
    add_function(list,
                 "Logarithmic",
                 "e() :: FLOAT",
                 {0, 0},
                 {},
                 types::kFloat,
                 "The base of the natural logarithm.",
                 e);
    add_function(list,
                 "Trigonometric",
                 "pi() :: FLOAT",
                 {0, 0},
                 {},
                 types::kFloat,
                 "The circle's constant.",
                 pi);
    put("Trigonometric", "sin", "The sine of an angle in radians.", apply<std::sin, "sin">);
    put("Trigonometric", "cos", "The cosine of an angle in radians.", apply<std::cos, "cos">);
    put("Trigonometric", "tan", "The tangent of an angle in radians.", apply<std::tan, "tan">);
    put("Trigonometric", "cot", "The cotangent of an angle in radians.", apply<cot, "cot">);
    put("Trigonometric", "asin", "The angle of a sine, in radians.", apply<std::asin, "asin">);
    put("Trigonometric", "acos", "The angle of a cosine, in radians.", apply<std::acos, "acos">);
    put("Trigonometric", "atan", "The angle of a tangent, in radians.", apply<std::atan, "atan">);
    put("Trigonometric", "sinh", "The hyperbolic sine.", apply<std::sinh, "sinh">);
    put("Trigonometric", "cosh", "The hyperbolic cosine.", apply<std::cosh, "cosh">);
    put("Trigonometric", "tanh", "The hyperbolic tangent.", apply<std::tanh, "tanh">);
    put("Trigonometric", "coth", "The hyperbolic cotangent.", apply<coth, "coth">);
    put("Trigonometric",
        "haversin",
        "Half the versed sine of an angle in radians.",
        apply<haversin, "haversin">);
    put("Trigonometric", "degrees", "Radians as degrees.", apply<degrees, "degrees">);
    put("Trigonometric", "radians", "Degrees as radians.", apply<radians, "radians">);
    add_function(list,
                 "Trigonometric",
                 "atan2(y :: FLOAT, x :: FLOAT) :: FLOAT",
                 {2, 2},
                 numbers,
                 types::kFloat,
                 "The angle of the point (x, y), in radians.",
                 atan2);
}

}  // namespace nornic::cypher
