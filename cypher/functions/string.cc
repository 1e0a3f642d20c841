// Text: case, trimming, parts of it. Places and lengths count Unicode characters, not bytes.
#include "cypher/functions/operators.h"
#include "cypher/functions/registry.h"

#include <fmt/format.h>

#include <unicode/locid.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <span>

namespace nornic::cypher {
namespace {

std::string_view text(std::string_view function, const Value& v) {
    if (!v.is_string()) {
        throw_input(function, "a String", v);
    }
    return v.as_string();
}

std::int64_t integer(std::string_view function, const Value& v) {
    if (!v.is(ValueType::kInteger)) {
        throw_input(function, "an Integer", v);
    }
    return v.as_integer();
}

bool is_start(char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
}

/// The byte at which character n begins; the size if there are not so many.
std::size_t byte_of(std::string_view s, std::int64_t n) {
    std::int64_t seen = 0;
    for (std::size_t i = 0; i < s.size(); ++i) {
        if (is_start(s[i])) {
            if (seen == n) {
                return i;
            }
            ++seen;
        }
    }
    return s.size();
}

icu::UnicodeString wide(std::string_view s) {
    return icu::UnicodeString::fromUTF8(
        icu::StringPiece{s.data(), static_cast<std::int32_t>(s.size())});
}

bool is_ascii(std::string_view s) {
    for (const char c : s) {
        if (static_cast<unsigned char>(c) >= 0x80) {
            return false;
        }
    }
    return true;
}

/// What ICU needs on the way from one text to another: twice in UTF-16, and the result.
void check_wide(EvalContext& context, std::string_view s) {
    check_text(context, s.size());
    check_memory(context, s.size() * 6);
}

template <bool kUpper>
Value change_case(Args args, EvalContext& context) {
    if (args[0].is_null()) {
        return {};
    }
    const std::string_view s = text(kUpper ? "toUpper" : "toLower", args[0]);
    if (is_ascii(s)) {
        std::string out{s};
        for (char& c : out) {
            if constexpr (kUpper) {
                c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
            } else {
                c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
            }
        }
        return Value{out};
    }
    check_wide(context, s);
    icu::UnicodeString u = wide(s);
    const icu::Locale& root = icu::Locale::getRoot();
    kUpper ? u.toUpper(root) : u.toLower(root);
    std::string out;
    u.toUTF8String(out);
    return Value{out};
}

/// Whether the character at the front (or back) is one to trim; its bytes.
bool in_set(char32_t c, const std::u32string& set) {
    return set.empty() ? u_isWhitespace(static_cast<UChar32>(c)) != 0
                       : set.find(c) != std::u32string::npos;
}

std::u32string characters(std::string_view s) {
    std::u32string out;
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(s.size());) {
        UChar32 c = 0;
        U8_NEXT_OR_FFFD(s.data(), i, static_cast<std::int32_t>(s.size()), c);
        out.push_back(static_cast<char32_t>(c));
    }
    return out;
}

std::string_view trim_text(std::string_view s, const std::u32string& set, bool front, bool back) {
    auto size = static_cast<std::int32_t>(s.size());
    std::int32_t first = 0;
    while (front && first < size) {
        std::int32_t next = first;
        UChar32 c = 0;
        U8_NEXT_OR_FFFD(s.data(), next, size, c);
        if (!in_set(static_cast<char32_t>(c), set)) {
            break;
        }
        first = next;
    }
    while (back && size > first) {
        std::int32_t before = size;
        UChar32 c = 0;
        U8_PREV_OR_FFFD(s.data(), first, before, c);
        if (!in_set(static_cast<char32_t>(c), set)) {
            break;
        }
        size = before;
    }
    return s.substr(static_cast<std::size_t>(first), static_cast<std::size_t>(size - first));
}

template <bool kFront, bool kBack>
Value trim(Args args, EvalContext&) {
    if (any_null(args)) {
        return {};
    }
    constexpr std::string_view kName = kFront ? (kBack ? "trim" : "ltrim") : "rtrim";
    const std::string_view s = text(kName, args[0]);
    if (args.size() > 1) {
        const std::u32string set = characters(text(kName, args[1]));
        return set.empty() ? args[0] : Value{trim_text(s, set, kFront, kBack)};
    }
    return Value{trim_text(s, {}, kFront, kBack)};
}

Value replace(Args args, EvalContext& context) {
    if (any_null(args)) {
        return {};
    }
    const std::string_view s = text("replace", args[0]);
    const std::string_view from = text("replace", args[1]);
    const std::string_view to = text("replace", args[2]);
    std::string out;
    if (from.empty()) {
        // As Java: between all characters, and at both ends.
        check_text(context, s.size() + (s.size() + 1) * to.size());
        for (std::size_t i = 0; i < s.size(); ++i) {
            if (is_start(s[i])) {
                out += to;
            }
            out += s[i];
        }
        out += to;
        return Value{out};
    }
    std::size_t hits = 0;
    for (std::size_t hit = s.find(from); hit != std::string_view::npos;
         hit = s.find(from, hit + from.size())) {
        ++hits;
    }
    check_text(context, s.size() + hits * to.size());
    std::size_t at = 0;
    for (;;) {
        const std::size_t hit = s.find(from, at);
        if (hit == std::string_view::npos) {
            break;
        }
        out += s.substr(at, hit - at);
        out += to;
        at = hit + from.size();
    }
    out += s.substr(at);
    return Value{out};
}

/// Calls fn(piece) for each piece of the text between delimiters; for each character if one of them is empty.
template <class Fn>
void each_piece(std::string_view s, std::span<const std::string_view> delimiters, Fn&& fn) {
    if (std::ranges::any_of(delimiters, [](std::string_view d) { return d.empty(); })) {
        for (std::size_t i = 0; i < s.size();) {
            std::size_t end = i + 1;
            while (end < s.size() && !is_start(s[end])) {
                ++end;
            }
            fn(s.substr(i, end - i));
            i = end;
        }
        if (s.empty()) {
            fn(s);
        }
        return;
    }
    std::size_t from = 0;
    for (std::size_t i = 0; i < s.size();) {
        std::size_t length = 0;
        for (const std::string_view d : delimiters) {
            if (s.substr(i).starts_with(d)) {
                length = std::max(length, d.size());
            }
        }
        if (length == 0) {
            ++i;
            continue;
        }
        fn(s.substr(from, i - from));
        i += length;
        from = i;
    }
    fn(s.substr(from));
}

Value split(Args args, EvalContext& context) {
    if (any_null(args)) {
        return {};
    }
    const std::string_view s = text("split", args[0]);
    std::vector<std::string_view> delimiters;
    if (args[1].is_list()) {
        for (const Value& v : args[1].as_list()) {
            if (v.is_null()) {
                return {};
            }
            delimiters.push_back(text("split", v));
        }
    } else {
        delimiters.push_back(text("split", args[1]));
    }
    std::size_t pieces = 0;
    each_piece(s, delimiters, [&](std::string_view) { ++pieces; });
    constexpr std::size_t kPieceBytes = sizeof(Value) + 32;  // and a text of its own, however short
    check_memory(context, pieces * kPieceBytes + s.size());
    List out;
    out.reserve(pieces);
    each_piece(s, delimiters, [&](std::string_view piece) { out.emplace_back(piece); });
    return Value{std::move(out)};
}

[[noreturn]] void out_of_range(std::string_view function) {
    throw QueryError{ErrorCode::kArgumentError,
                     fmt::format("Function argument to '{}()' is out of range", function),
                     "22N38>22N03"};
}

Value substring(Args args, EvalContext&) {
    if (any_null(args)) {
        return {};
    }
    const std::string_view s = text("substring", args[0]);
    const std::int64_t start = integer("substring", args[1]);
    if (start < 0 || (args.size() > 2 && integer("substring", args[2]) < 0)) {
        out_of_range("substring");
    }
    const std::string_view rest = s.substr(byte_of(s, start));
    return Value{args.size() > 2 ? rest.substr(0, byte_of(rest, args[2].as_integer())) : rest};
}

std::int64_t length_of(std::string_view s) {
    std::int64_t n = 0;
    for (const char c : s) {
        n += is_start(c) ? 1 : 0;
    }
    return n;
}

Value left(Args args, EvalContext&) {
    if (any_null(args)) {
        return {};
    }
    const std::string_view s = text("left", args[0]);
    const std::int64_t n = integer("left", args[1]);
    if (n < 0) {
        out_of_range("left");
    }
    return Value{s.substr(0, byte_of(s, n))};
}

Value right(Args args, EvalContext&) {
    if (any_null(args)) {
        return {};
    }
    const std::string_view s = text("right", args[0]);
    const std::int64_t n = integer("right", args[1]);
    if (n < 0) {
        out_of_range("right");
    }
    const std::int64_t length = length_of(s);
    return n >= length ? args[0] : Value{s.substr(byte_of(s, length - n))};
}

const icu::Normalizer2* normalizer(std::string_view form) {
    UErrorCode status = U_ZERO_ERROR;
    const icu::Normalizer2* n = form == "NFC"    ? icu::Normalizer2::getNFCInstance(status)
                                : form == "NFD"  ? icu::Normalizer2::getNFDInstance(status)
                                : form == "NFKC" ? icu::Normalizer2::getNFKCInstance(status)
                                : form == "NFKD" ? icu::Normalizer2::getNFKDInstance(status)
                                                 : nullptr;
    if (n == nullptr || U_FAILURE(status)) {
        throw QueryError{
            ErrorCode::kArgumentError,
            fmt::format("Unknown normal form '{}': expected NFC, NFD, NFKC or NFKD", form),
            "22000>22N11"};
    }
    return n;
}

Value normalize(Args args, EvalContext& context) {
    if (any_null(args)) {
        return {};
    }
    const std::string_view s = text("normalize", args[0]);
    const icu::Normalizer2* n = normalizer(args.size() > 1 ? text("normalize", args[1]) : "NFC");
    if (is_ascii(s)) {
        return args[0];
    }
    check_wide(context, s);
    UErrorCode status = U_ZERO_ERROR;
    const icu::UnicodeString u = n->normalize(wide(s), status);
    if (U_FAILURE(status)) {
        throw QueryError{ErrorCode::kExecutionFailed,
                         fmt::format("normalize(): {}", u_errorName(status))};
    }
    std::string out;
    u.toUTF8String(out);
    return Value{out};
}

Value char_length(Args args, EvalContext&) {
    return args[0].is_null() ? Value{} : Value{length_of(text("char_length", args[0]))};
}

}  // namespace

Value is_normalized(const Value& value, std::string_view form) {
    if (!value.is_string()) {
        return {};
    }
    UErrorCode status = U_ZERO_ERROR;
    const bool normal = normalizer(form)->isNormalized(wide(value.as_string()), status) != 0;
    return U_FAILURE(status) ? Value{} : Value{normal};
}

void add_string_functions(FunctionList& list) {
    const std::vector<TypeSet> strings{types::kString};
    const auto put = [&](std::string_view signature,
                         Arity arity,
                         std::vector<TypeSet> arguments,
                         std::string_view description,
                         ScalarFn call) -> FunctionSignature& {
        return add_function(list,
                            "String",
                            signature,
                            arity,
                            std::move(arguments),
                            types::kString,
                            description,
                            call);
    };
    put("toUpper(input :: STRING) :: STRING",
        {1, 1},
        strings,
        "The text in upper case.",
        change_case<true>);
    put("upper(input :: STRING) :: STRING",
        {1, 1},
        strings,
        "The text in upper case.",
        change_case<true>);
    put("toLower(input :: STRING) :: STRING",
        {1, 1},
        strings,
        "The text in lower case.",
        change_case<false>);
    put("lower(input :: STRING) :: STRING",
        {1, 1},
        strings,
        "The text in lower case.",
        change_case<false>);
    put("trim(input :: STRING, characters = null :: STRING) :: STRING",
        {1, 2},
        strings,
        "The text without white space, or the given characters, at both ends.",
        trim<true, true>);
    put("btrim(input :: STRING, characters = null :: STRING) :: STRING",
        {1, 2},
        strings,
        "The text without white space, or the given characters, at both ends.",
        trim<true, true>);
    put("ltrim(input :: STRING, characters = null :: STRING) :: STRING",
        {1, 2},
        strings,
        "The text without white space, or the given characters, at its beginning.",
        trim<true, false>);
    put("rtrim(input :: STRING, characters = null :: STRING) :: STRING",
        {1, 2},
        strings,
        "The text without white space, or the given characters, at its end.",
        trim<false, true>);
    put("replace(original :: STRING, search :: STRING, replace :: STRING) :: STRING",
        {3, 3},
        strings,
        "The text with each occurrence of one text replaced by another.",
        replace);
    put("split(original :: STRING, splitDelimiter :: STRING | LIST<STRING>) :: LIST<STRING>",
        {2, 2},
        {types::kString, types::kString | types::kList},
        "The parts of the text between the delimiters.",
        split)
        .result_types = types::kList;
    put("substring(original :: STRING, start :: INTEGER, length :: INTEGER) :: STRING",
        {2, 3},
        {types::kString, types::kInteger},
        "The text from a place on, counted from 0, and at most so long.",
        substring);
    put("left(original :: STRING, length :: INTEGER) :: STRING",
        {2, 2},
        {types::kString, types::kInteger},
        "The first characters.",
        left);
    put("right(original :: STRING, length :: INTEGER) :: STRING",
        {2, 2},
        {types::kString, types::kInteger},
        "The last characters.",
        right);
    put("normalize(input :: STRING, normalForm = NFC :: STRING) :: STRING",
        {1, 2},
        strings,
        "The text in a Unicode normal form.",
        normalize);
    for (const std::string_view name : {"char_length", "character_length"}) {
        put(fmt::format("{}(input :: STRING) :: INTEGER", name),
            {1, 1},
            strings,
            "How many characters the text has.",
            char_length)
            .result_types = types::kInteger;
    }
}

}  // namespace nornic::cypher
