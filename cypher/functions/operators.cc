#include "cypher/functions/operators.h"

#include "cypher/functions/temporal.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

namespace nornic::cypher {
namespace {

[[noreturn]] void throw_cannot(std::string_view verb,
                               std::string_view word,
                               const Value& a,
                               const Value& b) {
    throw QueryError{ErrorCode::kTypeError,
                     fmt::format("Cannot {} `{}` {} `{}`", verb, type_name(a), word, type_name(b)),
                     "22G03>22N01"};
}

[[noreturn]] void throw_by_zero(std::string gql) {
    throw QueryError{ErrorCode::kArithmeticError, "/ by zero", std::move(gql)};
}

bool is_integers(const Value& a, const Value& b) {
    return a.is(ValueType::kInteger) && b.is(ValueType::kInteger);
}
bool is_numbers(const Value& a, const Value& b) {
    return a.is_number() && b.is_number();
}
bool is_null(const Value& a, const Value& b) {
    return a.is_null() || b.is_null();
}

bool is_temporal(const Value& v) {
    switch (v.type()) {
        case ValueType::kDate:
        case ValueType::kLocalTime:
        case ValueType::kTime:
        case ValueType::kLocalDateTime:
        case ValueType::kDateTime:
            return true;
        default:
            return false;
    }
}

/// What a string takes on: "a" + 1 is "a1".
bool joins_text(const Value& v) {
    return v.is_string() || v.is_number() || v.is(ValueType::kBoolean);
}

Value join_text(const Value& a, const Value& b) {
    if (a.is_string() && b.is_string()) {
        std::string out;
        out.reserve(a.as_string().size() + b.as_string().size());
        out += a.as_string();
        out += b.as_string();
        return Value{out};
    }
    return Value{to_plain_text(a) + to_plain_text(b)};
}

Value join_lists(const Value& a, const Value& b) {
    List out;
    const std::size_t n =
        (a.is_list() ? a.as_list().size() : 1) + (b.is_list() ? b.as_list().size() : 1);
    out.reserve(n);
    const auto append = [&out](const Value& v) {
        if (v.is_list()) {
            out.insert(out.end(), v.as_list().begin(), v.as_list().end());
        } else {
            out.push_back(v);
        }
    };
    append(a);
    append(b);
    return bounded(Value{std::move(out)});
}

Value from_three(int truth) {
    return truth < 0 ? Value{} : Value{truth == 1};
}

bool is_nan(const Value& v) {
    return v.is(ValueType::kFloat) && std::isnan(v.as_float());
}

template <class Test>
Value compared(const Value& a, const Value& b, Test test) {
    if (is_integers(a, b)) {
        return Value{
            test(a.as_integer() < b.as_integer() ? -1 : (a.as_integer() > b.as_integer() ? 1 : 0))};
    }
    const int c = compare(a, b);
    if (c != kIncomparable) {
        return Value{test(c)};
    }
    // NaN among numbers is neither less nor greater: false. Values that do not compare: null.
    return is_numbers(a, b) && (is_nan(a) || is_nan(b)) ? Value{false} : Value{};
}

/// 1, 0, or -1 for null.
int truth_of(const Value& v) {
    if (v.is_null()) {
        return -1;
    }
    if (!v.is(ValueType::kBoolean)) {
        throw QueryError{ErrorCode::kTypeError,
                         fmt::format("Type mismatch: expected Boolean but was {}", type_name(v)),
                         "22G03>22N01"};
    }
    return v.as_boolean() ? 1 : 0;
}

}  // namespace

namespace detail {

Value add_slow(const Value& a, const Value& b) {
    if (is_null(a, b)) {
        return {};
    }
    if (is_integers(a, b)) {
        temporal::throw_overflow();
    }
    if (is_numbers(a, b)) {
        return Value{a.as_number() + b.as_number()};
    }
    if (a.is_list() || b.is_list()) {
        return join_lists(a, b);
    }
    if ((a.is_string() && joins_text(b)) || (b.is_string() && joins_text(a))) {
        return join_text(a, b);
    }
    if (a.is(ValueType::kDuration) && b.is(ValueType::kDuration)) {
        return Value{temporal::add_durations(a.as_duration(), b.as_duration(), 1)};
    }
    if (is_temporal(a) && b.is(ValueType::kDuration)) {
        return temporal::add_duration(a, b.as_duration(), 1);
    }
    if (a.is(ValueType::kDuration) && is_temporal(b)) {
        return temporal::add_duration(b, a.as_duration(), 1);
    }
    throw_cannot("add", "and", a, b);
}

Value subtract_slow(const Value& a, const Value& b) {
    if (is_null(a, b)) {
        return {};
    }
    if (is_integers(a, b)) {
        temporal::throw_overflow();
    }
    if (is_numbers(a, b)) {
        return Value{a.as_number() - b.as_number()};
    }
    if (a.is(ValueType::kDuration) && b.is(ValueType::kDuration)) {
        return Value{temporal::add_durations(a.as_duration(), b.as_duration(), -1)};
    }
    if (is_temporal(a) && b.is(ValueType::kDuration)) {
        return temporal::add_duration(a, b.as_duration(), -1);
    }
    throw_cannot("subtract", "from", b, a);
}

Value multiply_slow(const Value& a, const Value& b) {
    if (is_null(a, b)) {
        return {};
    }
    if (is_integers(a, b)) {
        temporal::throw_overflow();
    }
    if (is_numbers(a, b)) {
        return Value{a.as_number() * b.as_number()};
    }
    if (a.is(ValueType::kDuration) && b.is_number()) {
        return Value{temporal::scale(a.as_duration(), b.as_number())};
    }
    if (a.is_number() && b.is(ValueType::kDuration)) {
        return Value{temporal::scale(b.as_duration(), a.as_number())};
    }
    throw_cannot("multiply", "and", a, b);
}

}  // namespace detail

Value divide(const Value& a, const Value& b) {
    if (is_null(a, b)) {
        return {};
    }
    if (is_integers(a, b)) {
        if (b.as_integer() == 0) {
            throw_by_zero("22012>22N28");
        }
        if (b.as_integer() == -1) {
            return negate(a);  // the one division that overflows
        }
        return Value{a.as_integer() / b.as_integer()};
    }
    if (is_numbers(a, b)) {
        return Value{a.as_number() / b.as_number()};
    }
    if (a.is(ValueType::kDuration) && b.is_number()) {
        if (b.as_number() == 0) {
            throw_by_zero("22012>22N28");
        }
        return Value{temporal::scale(a.as_duration(), 1.0 / b.as_number())};
    }
    throw_cannot("divide", "by", a, b);
}

Value modulo(const Value& a, const Value& b) {
    if (is_null(a, b)) {
        return {};
    }
    if (is_integers(a, b)) {
        if (b.as_integer() == 0) {
            throw_by_zero("22003>22N28");
        }
        return b.as_integer() == -1 ? Value{0} : Value{a.as_integer() % b.as_integer()};
    }
    if (is_numbers(a, b)) {
        return Value{std::fmod(a.as_number(), b.as_number())};
    }
    throw_cannot("calculate modulus of", "and", a, b);
}

Value power(const Value& a, const Value& b) {
    if (is_null(a, b)) {
        return {};
    }
    if (is_numbers(a, b)) {
        return Value{std::pow(a.as_number(), b.as_number())};
    }
    throw_cannot("raise", "to the power of", a, b);
}

Value negate(const Value& a) {
    switch (a.type()) {
        case ValueType::kNull:
            return {};
        case ValueType::kInteger:
            if (a.as_integer() == std::numeric_limits<std::int64_t>::min()) {
                temporal::throw_overflow();
            }
            return Value{-a.as_integer()};
        case ValueType::kFloat:
            return Value{-a.as_float()};
        case ValueType::kDuration:
            return Value{temporal::add_durations(DurationValue{}, a.as_duration(), -1)};
        default:
            throw_cannot("subtract", "from", a, Value{0});
    }
}

Value plus(const Value& a) {
    if (a.is_null() || a.is_number()) {
        return a;
    }
    throw_cannot("add", "and", Value{0}, a);
}

Value concatenate(const Value& a, const Value& b) {
    if (is_null(a, b)) {
        return {};
    }
    if (a.is_string() && b.is_string()) {
        return join_text(a, b);
    }
    if (a.is_list() && b.is_list()) {
        return join_lists(a, b);
    }
    throw_cannot("concatenate", "and", a, b);
}

Value equal(const Value& a, const Value& b) {
    return from_three(equals(a, b));
}

Value not_equal(const Value& a, const Value& b) {
    const int e = equals(a, b);
    return e < 0 ? Value{} : Value{e == 0};
}

Value less(const Value& a, const Value& b) {
    return compared(a, b, [](int c) { return c < 0; });
}
Value less_or_equal(const Value& a, const Value& b) {
    return compared(a, b, [](int c) { return c <= 0; });
}
Value greater(const Value& a, const Value& b) {
    return compared(a, b, [](int c) { return c > 0; });
}
Value greater_or_equal(const Value& a, const Value& b) {
    return compared(a, b, [](int c) { return c >= 0; });
}

Value in_list(const Value& value, const Value& list) {
    if (list.is_null()) {
        return {};
    }
    if (!list.is_list()) {
        throw QueryError{ErrorCode::kTypeError,
                         fmt::format("Type mismatch: expected List<T> but was {}", type_name(list)),
                         "22G03>22N01"};
    }
    bool unknown = false;
    for (const Value& v : list.as_list()) {
        const int e = equals(value, v);
        if (e == 1) {
            return Value{true};
        }
        unknown = unknown || e < 0;
    }
    return unknown ? Value{} : Value{false};
}

Value logical_and(const Value& a, const Value& b) {
    const int x = truth_of(a);
    const int y = truth_of(b);
    if (x == 0 || y == 0) {
        return Value{false};
    }
    return x < 0 || y < 0 ? Value{} : Value{true};
}

Value logical_or(const Value& a, const Value& b) {
    const int x = truth_of(a);
    const int y = truth_of(b);
    if (x == 1 || y == 1) {
        return Value{true};
    }
    return x < 0 || y < 0 ? Value{} : Value{false};
}

Value logical_xor(const Value& a, const Value& b) {
    const int x = truth_of(a);
    const int y = truth_of(b);
    return x < 0 || y < 0 ? Value{} : Value{x != y};
}

Value logical_not(const Value& a) {
    const int x = truth_of(a);
    return x < 0 ? Value{} : Value{x == 0};
}

Value starts_with(const Value& text, const Value& prefix) {
    return text.is_string() && prefix.is_string()
               ? Value{text.as_string().starts_with(prefix.as_string())}
               : Value{};
}
Value ends_with(const Value& text, const Value& suffix) {
    return text.is_string() && suffix.is_string()
               ? Value{text.as_string().ends_with(suffix.as_string())}
               : Value{};
}
Value contains(const Value& text, const Value& part) {
    return text.is_string() && part.is_string()
               ? Value{text.as_string().find(part.as_string()) != std::string_view::npos}
               : Value{};
}

}  // namespace nornic::cypher
