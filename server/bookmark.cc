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
}  // namespace

std::string make_bookmark(std::string_view history, LogIndex index) {
    return fmt::format("{}{}:{}", kPrefix, history, index.value);
}

Result<LogIndex> latest_of(const std::vector<std::string>& bookmarks, std::string_view history) {
    LogIndex latest;
    for (const std::string& bookmark : bookmarks) {
        std::string_view rest = bookmark;
        if (!rest.starts_with(kPrefix)) {
            return invalid(bookmark, "is not a bookmark of this server");
        }
        rest.remove_prefix(kPrefix.size());
        const std::size_t colon = rest.find(':');
        if (colon == std::string_view::npos) {
            return invalid(bookmark, "has no index");
        }
        const std::string_view digits = rest.substr(colon + 1);
        std::uint64_t index = 0;
        const auto [end, error] =
            std::from_chars(digits.data(), digits.data() + digits.size(), index);
        if (error != std::errc{} || end != digits.data() + digits.size() || digits.empty()) {
            return invalid(bookmark, "has no index");
        }
        if (rest.substr(0, colon) != history) {
            return invalid(bookmark, "belongs to another history of this data");
        }
        latest = std::max(latest, LogIndex{index});
    }
    return latest;
}

}  // namespace nornic::server
