#include "server/bookmark.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace nornic::server {
namespace {
constexpr std::string_view kPrefix = "nb1:";

Error invalid(std::string_view bookmark, std::string_view why) {
    return Error{ErrorCode::kInvalidBookmark,
                 fmt::format("Parsing of supplied bookmarks failed with message: '{}' {}",
                             bookmark.substr(0, 100),
                             why)};
}

std::optional<std::uint64_t> number(std::string_view digits) {
    std::uint64_t out = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out);
    if (error != std::errc{} || end != digits.data() + digits.size() || digits.empty()) {
        return std::nullopt;
    }
    return out;
}

/// With its history always named.
Result<Seen> read_one(const std::string& bookmark) {
    std::string_view rest = bookmark;
    if (!rest.starts_with(kPrefix)) {
        return invalid(bookmark, "is not a bookmark of this server");
    }
    rest.remove_prefix(kPrefix.size());
    const std::size_t colon = rest.find(':');
    if (colon == std::string_view::npos) {
        return invalid(bookmark, "has no index");
    }
    std::string_view digits = rest.substr(colon + 1);
    Seen seen;
    if (const std::size_t next = digits.find(':'); next != std::string_view::npos) {
        const auto term = number(digits.substr(next + 1));
        if (!term) {
            return invalid(bookmark, "has no term");
        }
        seen.term = Term{*term};
        digits = digits.substr(0, next);
    }
    const auto index = number(digits);
    if (!index) {
        return invalid(bookmark, "has no index");
    }
    seen.history = rest.substr(0, colon);
    seen.index = LogIndex{*index};
    seen.text = bookmark.substr(0, 100);
    return seen;
}
}  // namespace

std::string make_bookmark(std::string_view history, LogIndex index, std::optional<Term> term) {
    return term ? fmt::format("{}{}:{}:{}", kPrefix, history, index.value, term->value)
                : fmt::format("{}{}:{}", kPrefix, history, index.value);
}

Result<std::vector<Seen>> parse_bookmarks(const std::vector<std::string>& bookmarks,
                                          std::string_view history,
                                          const std::vector<std::string>& regions) {
    std::vector<Seen> out;
    out.reserve(bookmarks.size());
    for (const std::string& bookmark : bookmarks) {
        NORNIC_TRY(Seen seen, read_one(bookmark));
        if (seen.history == history) {
            seen.history.clear();
        } else if (seen.history.empty() || std::ranges::find(regions, seen.history) == regions.end()) {
            return invalid(bookmark, "belongs to another history of this data");
        }
        out.push_back(std::move(seen));
    }
    std::ranges::sort(out, {}, &Seen::index);
    return out;
}

Result<> check_bookmarks(const std::vector<std::string>& bookmarks) {
    for (const std::string& bookmark : bookmarks) {
        NORNIC_TRY(read_one(bookmark));
    }
    return success();
}

Error foreign_bookmark(const Seen& seen) {
    return invalid(seen.text, "belongs to another history of this data");
}

Error lost_branch(const Seen& seen) {
    return invalid(seen.text, "names a write that was lost when another member became the primary");
}

}  // namespace nornic::server
