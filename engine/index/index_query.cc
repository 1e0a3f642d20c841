#include "engine/index/index_query.h"

#include "base/bytes.h"
#include "engine/index/equality_cache.h"
#include "graph/codec.h"

#include <algorithm>
#include <cmath>

namespace nornic::engine {
namespace {

constexpr std::uint64_t kCutHashSeed = 0x6B65792D637574ULL;

void cut_key(std::string& key) {
    if (key.size() <= kIndexKeyBytesMax) {
        return;
    }
    const std::uint64_t hash = hash_index_key(kCutHashSeed, key);
    key.resize(kIndexKeyBytesMax);
    ByteWriter{key}.put_be64(hash);
}

/// How many bytes of an encoded bound decide its place among values that Cypher compares. Times of
/// one instant but different offsets or zones sort apart in the index, yet compare by instant;
/// lists may hold such times. So a bound takes all of its second (or all lists) in; matches() sorts
/// them out.
std::size_t deciding_bytes(const Value& value, std::size_t encoded_bytes) noexcept {
    constexpr std::size_t kGroup = 1;
    constexpr std::size_t kInstant = 8;
    switch (value.type()) {
        case ValueType::kTime:
        case ValueType::kDateTime:
            return std::min(encoded_bytes, kGroup + kInstant);
        case ValueType::kList:
            return kGroup;
        default:
            return encoded_bytes;
    }
}

std::string encoded(const Value& value) {
    std::string out;
    encode_index_key(value, out);
    return out;
}

/// NaN equals nothing, itself included, though the index holds it under a key.
bool equals_something(const Value& value) noexcept {
    if (value.is_list()) {
        return std::ranges::all_of(value.as_list(), equals_something);
    }
    return !value.is(ValueType::kFloat) || !std::isnan(value.as_float());
}

/// The bytes that all strings with this prefix share, which lack the encoding's end of string: what
/// two strings that differ right after the prefix have in common.
std::string string_prefix_bytes(std::string_view prefix) {
    const std::string a = encoded(Value{std::string{prefix} + "a"});
    const std::string b = encoded(Value{std::string{prefix} + "b"});
    const auto differ = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
    return {a.begin(), differ.first};
}

/// All keys that begin with `prefix`, cut or not.
void set_prefix(KeyRange& range, std::string prefix) {
    if (prefix.size() > kIndexKeyBytesMax) {
        prefix.resize(kIndexKeyBytesMax);
    }
    range.upper = after_prefix(prefix);
    range.lower = std::move(prefix);
}

/// Narrows the keys that begin with `prefix` to those whose next column lies between the bounds.
void set_range(KeyRange& range, const std::string& prefix, const IndexQuery::Column& column) {
    const Value* either = column.lower ? &*column.lower : column.upper ? &*column.upper : nullptr;
    if (either == nullptr) {
        set_prefix(range, prefix);
        return;
    }
    if ((column.lower && !is_indexable(*column.lower)) ||
        (column.upper && !is_indexable(*column.upper))) {
        range.empty = true;
        return;
    }
    const std::string group = prefix + encoded(*either).substr(0, 1);
    set_prefix(range, group);
    if (column.lower) {
        std::string bound = encoded(*column.lower);
        const std::size_t decides = deciding_bytes(*column.lower, bound.size());
        const bool whole = decides == bound.size();
        bound.resize(decides);
        bound.insert(0, prefix);
        const bool cut = bound.size() > kIndexKeyBytesMax;
        bound.resize(std::min(bound.size(), kIndexKeyBytesMax));
        if (!column.lower_inclusive && whole && !cut) {
            bound = after_prefix(bound).value_or(std::move(bound));
        }
        range.lower = std::move(bound);
    }
    if (column.upper) {
        std::string bound = encoded(*column.upper);
        if (bound.front() != group.back()) {
            range.empty = true;  // Cypher compares no two values of different types.
            return;
        }
        const std::size_t decides = deciding_bytes(*column.upper, bound.size());
        const bool whole = decides == bound.size();
        bound.resize(decides);
        bound.insert(0, prefix);
        const bool cut = bound.size() > kIndexKeyBytesMax;
        bound.resize(std::min(bound.size(), kIndexKeyBytesMax));
        if (column.upper_inclusive || !whole || cut) {
            range.upper = after_prefix(bound);
        } else {
            range.upper = std::move(bound);
        }
    }
    if (range.upper && *range.upper <= range.lower) {
        range.empty = true;
    }
}

bool matches_column(const IndexQuery::Column& column, const Value& value) noexcept {
    switch (column.kind) {
        case IndexQuery::Kind::kExists:
            return !value.is_null();
        case IndexQuery::Kind::kEquals:
            return equals(value, column.value) == 1;
        case IndexQuery::Kind::kPrefix:
            return value.is_string() && column.value.is_string() &&
                   value.as_string().starts_with(column.value.as_string());
        case IndexQuery::Kind::kRange: {
            if (value.is_null()) {
                return false;
            }
            if (column.lower) {
                const int c = compare(value, *column.lower);
                if (c == kIncomparable || c < 0 || (c == 0 && !column.lower_inclusive)) {
                    return false;
                }
            }
            if (column.upper) {
                const int c = compare(value, *column.upper);
                if (c == kIncomparable || c > 0 || (c == 0 && !column.upper_inclusive)) {
                    return false;
                }
            }
            return true;
        }
    }
    return false;
}

}  // namespace

bool is_indexable(const Value& value) noexcept {
    switch (value.type()) {
        case ValueType::kNull:
        case ValueType::kMap:
        case ValueType::kNodeRef:
        case ValueType::kRelationshipRef:
        case ValueType::kPathRef:
        case ValueType::kNode:
        case ValueType::kRelationship:
        case ValueType::kPath:
            return false;
        case ValueType::kList:
            return std::ranges::all_of(value.as_list(), is_indexable);
        default:
            return true;
    }
}

void make_index_key(std::span<const Value> values, std::string& out) {
    out.clear();
    for (const Value& value : values) {
        encode_index_key(value, out);
    }
    cut_key(out);
}

std::string make_index_key(std::span<const Value> values) {
    std::string out;
    make_index_key(values, out);
    return out;
}

std::optional<std::string> after_prefix(std::string_view prefix) {
    const std::size_t last = prefix.find_last_not_of('\xFF');
    if (last == std::string_view::npos) {
        return std::nullopt;
    }
    std::string out{prefix.substr(0, last + 1)};
    out.back() = static_cast<char>(static_cast<unsigned char>(out.back()) + 1);
    return out;
}

KeyRange key_range(const IndexQuery& query) {
    KeyRange range;
    range.descending = query.descending;
    std::string prefix;
    for (const IndexQuery::Column& column : query.columns) {
        switch (column.kind) {
            case IndexQuery::Kind::kEquals:
                if (!is_indexable(column.value) || !equals_something(column.value)) {
                    range.empty = true;  // null and NaN equal nothing; a map is never stored
                    return range;
                }
                encode_index_key(column.value, prefix);
                continue;
            case IndexQuery::Kind::kRange:
                set_range(range, prefix, column);
                return range;
            case IndexQuery::Kind::kPrefix:
                if (!column.value.is_string()) {
                    range.empty = true;
                    return range;
                }
                set_prefix(range, prefix + string_prefix_bytes(column.value.as_string()));
                return range;
            case IndexQuery::Kind::kExists:
                set_prefix(range, std::move(prefix));
                return range;
        }
    }
    std::string key = prefix;
    cut_key(key);
    set_prefix(range, std::move(prefix));
    range.exact = std::move(key);
    return range;
}

bool matches(const IndexQuery& query, std::span<const Value> values) noexcept {
    if (values.size() != query.columns.size()) {
        return false;
    }
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (!matches_column(query.columns[i], values[i])) {
            return false;
        }
    }
    return true;
}

}  // namespace nornic::engine
