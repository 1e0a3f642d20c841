#include "modes/raft/extra.h"

#include <algorithm>
#include <charconv>

namespace nornic::modes {

std::optional<RaftExtra> parse_raft_extra(std::string_view text) {
    RaftExtra out;
    const auto word = [&]() {
        const std::size_t space = std::min(text.find(' '), text.size());
        const std::string_view first = text.substr(0, space);
        text.remove_prefix(std::min(space + 1, text.size()));
        return first;
    };
    if (word() != kRaftExtraName) {
        return std::nullopt;  // of another mode
    }
    const auto number = [](std::string_view from, std::uint64_t& to, int base) {
        return std::from_chars(from.data(), from.data() + from.size(), to, base).ec == std::errc{};
    };
    if (!number(word(), out.directory.value, 16) || out.directory.value == 0) {
        return std::nullopt;
    }
    if (number(word(), out.configuration_index.value, 10)) {
        out.configuration = text;
    }
    return out;
}

}  // namespace nornic::modes
