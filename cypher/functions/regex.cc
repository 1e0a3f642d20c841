// text =~ pattern, on RE2: linear in the text whatever the pattern, so no query can hang on one.
// What only backtracking engines do (look-around, back-references) is refused as an invalid regex.
#include "cypher/functions/operators.h"

#include <fmt/format.h>

#include <memory>
#include <re2/re2.h>
#include <unordered_map>

namespace nornic::cypher {
namespace {

constexpr std::size_t kCachedPatternsMax = 64;
constexpr std::int64_t kPatternMemoryMax = 8 << 20;

struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view s) const noexcept {
        return std::hash<std::string_view>{}(s);
    }
};

const re2::RE2& compiled(std::string_view pattern) {
    using Cache =
        std::unordered_map<std::string, std::unique_ptr<re2::RE2>, TextHash, std::equal_to<>>;
    thread_local Cache cache;
    if (const auto found = cache.find(pattern); found != cache.end()) {
        return *found->second;
    }
    re2::RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(kPatternMemoryMax);
    auto regex =
        std::make_unique<re2::RE2>(re2::StringPiece{pattern.data(), pattern.size()}, options);
    if (!regex->ok()) {
        throw QueryError{
            ErrorCode::kSemanticError,
            fmt::format("Invalid Regex: {} near index 0\n{}\n^", regex->error(), pattern),
            "22000>22N11"};
    }
    if (cache.size() >= kCachedPatternsMax) {
        cache.clear();
    }
    return *cache.emplace(std::string{pattern}, std::move(regex)).first->second;
}

}  // namespace

Value regex_match(const Value& text, const Value& pattern) {
    if (!text.is_string() || pattern.is_null()) {
        return {};
    }
    if (!pattern.is_string()) {
        throw QueryError{
            ErrorCode::kTypeError,
            fmt::format("Type mismatch: expected String but was {}", type_name(pattern)),
            "22G03>22N01"};
    }
    const std::string_view s = text.as_string();
    return Value{
        re2::RE2::FullMatch(re2::StringPiece{s.data(), s.size()}, compiled(pattern.as_string()))};
}

}  // namespace nornic::cypher
