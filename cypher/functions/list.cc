// Lists, and what lists share with text and maps: size, isEmpty, reverse.
#include "cypher/functions/registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace nornic::cypher {
namespace {

const List& list_of(std::string_view function, const Value& v) {
    if (!v.is_list()) {
        throw_input(function, "a List", v);
    }
    return v.as_list();
}

bool is_start(char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
}

Value head(Args args, EvalContext&) {
    if (args[0].is_null()) {
        return {};
    }
    const List& l = list_of("head", args[0]);
    return l.empty() ? Value{} : l.front();
}

Value last(Args args, EvalContext&) {
    if (args[0].is_null()) {
        return {};
    }
    const List& l = list_of("last", args[0]);
    return l.empty() ? Value{} : l.back();
}

Value tail(Args args, EvalContext& context) {
    if (args[0].is_null()) {
        return {};
    }
    const List& l = list_of("tail", args[0]);
    check_memory(context, l.size() * sizeof(Value));
    return l.empty() ? Value{List{}} : Value{List(l.begin() + 1, l.end())};
}

Value size(Args args, EvalContext&) {
    const Value& v = args[0];
    switch (v.type()) {
        case ValueType::kNull:
            return {};
        case ValueType::kList:
            return Value{static_cast<std::int64_t>(v.as_list().size())};
        case ValueType::kString: {
            const std::string_view s = v.as_string();
            return Value{static_cast<std::int64_t>(std::count_if(s.begin(), s.end(), is_start))};
        }
        default:
            throw_input("size", "a String or List", v);
    }
}

Value is_empty(Args args, EvalContext&) {
    const Value& v = args[0];
    switch (v.type()) {
        case ValueType::kNull:
            return {};
        case ValueType::kList:
            return Value{v.as_list().empty()};
        case ValueType::kString:
            return Value{v.as_string().empty()};
        case ValueType::kMap:
            return Value{v.as_map().empty()};
        default:
            throw_input("isEmpty", "a List, Map or String", v);
    }
}

Value reverse(Args args, EvalContext& context) {
    const Value& v = args[0];
    switch (v.type()) {
        case ValueType::kNull:
            return {};
        case ValueType::kList:
            check_memory(context, v.as_list().size() * sizeof(Value));
            return Value{List(v.as_list().rbegin(), v.as_list().rend())};
        case ValueType::kString: {
            const std::string_view s = v.as_string();
            check_text(context, s.size());
            std::string out;
            out.reserve(s.size());
            for (std::size_t end = s.size(); end > 0;) {
                std::size_t begin = end - 1;
                while (begin > 0 && !is_start(s[begin])) {
                    --begin;
                }
                out += s.substr(begin, end - begin);
                end = begin;
            }
            return Value{out};
        }
        default:
            throw_input("reverse", "a String or List", v);
    }
}

Value range(Args args, EvalContext& context) {
    if (any_null(args)) {
        return {};
    }
    for (const Value& v : args) {
        if (!v.is(ValueType::kInteger)) {
            throw QueryError{ErrorCode::kArgumentError,
                             fmt::format("Expected range() arguments to be Integer, but got: {}",
                                         to_cypher_text(v)),
                             "22N38>22N01"};
        }
    }
    const std::int64_t start = args[0].as_integer();
    const std::int64_t end = args[1].as_integer();
    const std::int64_t step = args.size() > 2 ? args[2].as_integer() : 1;
    if (step == 0) {
        throw QueryError{
            ErrorCode::kArgumentError, "Step argument to 'range()' cannot be zero", "22N38>22N03"};
    }
    if (step > 0 ? start > end : start < end) {
        return Value{List{}};
    }
    // Unsigned: the distance from the least to the greatest integer fits only there.
    const auto distance = step > 0
                              ? static_cast<std::uint64_t>(end) - static_cast<std::uint64_t>(start)
                              : static_cast<std::uint64_t>(start) - static_cast<std::uint64_t>(end);
    const std::uint64_t stride =
        step > 0 ? static_cast<std::uint64_t>(step) : -static_cast<std::uint64_t>(step);
    const std::uint64_t n = distance / stride;
    constexpr std::uint64_t kElementsMax = 1ULL << 31;
    if (n >= kElementsMax) {
        throw QueryError{
            ErrorCode::kArgumentError,
            fmt::format(
                "range({}, {}, {}) has more than {} elements", start, end, step, kElementsMax),
            "22N38>22N03"};
    }
    check_memory(context, (n + 1) * sizeof(Value));
    List out;
    out.reserve(n + 1);
    auto v = static_cast<std::uint64_t>(start);
    for (std::uint64_t i = 0; i <= n; ++i, v += static_cast<std::uint64_t>(step)) {
        out.emplace_back(static_cast<std::int64_t>(v));
    }
    return Value{std::move(out)};
}

/// Two vectors of one length, or nullopt where the answer is null.
template <double (*kCombine)(const List&, const List&)>
Value vector_function(Args args, EvalContext&) {
    if (any_null(args)) {
        return {};
    }
    const List& a = list_of("vector.similarity", args[0]);
    const List& b = list_of("vector.similarity", args[1]);
    const auto is_number = [](const Value& v) { return v.is_number(); };
    if (a.empty() || a.size() != b.size() || !std::all_of(a.begin(), a.end(), is_number) ||
        !std::all_of(b.begin(), b.end(), is_number)) {
        throw QueryError{
            ErrorCode::kArgumentError,
            fmt::format("Vectors must be lists of numbers of one length, but are of {} and {}",
                        a.size(),
                        b.size()),
            "22N38>22N04"};
    }
    return Value{kCombine(a, b)};
}

double cosine(const List& a, const List& b) {
    double dot = 0;
    double aa = 0;
    double bb = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        dot += a[i].as_number() * b[i].as_number();
        aa += a[i].as_number() * a[i].as_number();
        bb += b[i].as_number() * b[i].as_number();
    }
    return (1 + dot / std::sqrt(aa * bb)) / 2;
}

double euclidean(const List& a, const List& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const double d = a[i].as_number() - b[i].as_number();
        sum += d * d;
    }
    return 1 / (1 + sum);
}

}  // namespace

void add_list_functions(FunctionList& list) {
    const std::vector<TypeSet> lists{types::kList};
    add_function(list,
                 "Scalar",
                 "head(list :: LIST<ANY>) :: ANY",
                 {1, 1},
                 lists,
                 types::kAny,
                 "The first element.",
                 head);
    add_function(list,
                 "Scalar",
                 "last(list :: LIST<ANY>) :: ANY",
                 {1, 1},
                 lists,
                 types::kAny,
                 "The last element.",
                 last);
    add_function(list,
                 "List",
                 "tail(input :: LIST<ANY>) :: LIST<ANY>",
                 {1, 1},
                 lists,
                 types::kList,
                 "All elements but the first.",
                 tail);
    add_function(list,
                 "Scalar",
                 "size(input :: STRING | LIST<ANY>) :: INTEGER",
                 {1, 1},
                 {types::kString | types::kList},
                 types::kInteger,
                 "How many elements a list, or characters a text, has.",
                 size);
    add_function(list,
                 "Predicate",
                 "isEmpty(input :: STRING | MAP | LIST<ANY>) :: BOOLEAN",
                 {1, 1},
                 {types::kString | types::kMap | types::kList},
                 types::kBoolean,
                 "Whether a text, list or map holds nothing.",
                 is_empty);
    add_function(list,
                 "List",
                 "reverse(input :: STRING | LIST<ANY>) :: STRING | LIST<ANY>",
                 {1, 1},
                 {types::kString | types::kList},
                 types::kString | types::kList,
                 "The text or list from its end.",
                 reverse);
    add_function(list,
                 "List",
                 "range(start :: INTEGER, end :: INTEGER, step = 1 :: INTEGER) :: LIST<INTEGER>",
                 {2, 3},
                 {types::kAny},
                 types::kList,
                 "The integers from start to end, both included.",
                 range);
    add_function(
        list,
        "Vector",
        "vector.similarity.cosine(a :: LIST<INTEGER | FLOAT>, b :: LIST<INTEGER | FLOAT>) :: FLOAT",
        {2, 2},
        lists,
        types::kFloat,
        "How alike two directions are, from 0 to 1.",
        vector_function<cosine>);
    add_function(list,
                 "Vector",
                 "vector.similarity.euclidean(a :: LIST<INTEGER | FLOAT>, b :: LIST<INTEGER | "
                 "FLOAT>) :: FLOAT",
                 {2, 2},
                 lists,
                 types::kFloat,
                 "How near two vectors are, from 0 to 1.",
                 vector_function<euclidean>);
}

}  // namespace nornic::cypher
