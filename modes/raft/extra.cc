#include "modes/raft/extra.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace nornic::modes {
namespace {

constexpr std::string_view kQuarantined = "quarantined=";
constexpr std::string_view kGrouped = "grouped";
constexpr std::string_view kRemoved = ",removed=";

}  // namespace

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
    const std::string_view directory = word();
    if (!number(directory, out.directory.value, 16) || out.directory.value == 0) {
        return std::nullopt;
    }
    if (const std::size_t at = directory.find(kRemoved); at != std::string_view::npos) {
        number(directory.substr(at + kRemoved.size()), out.removed_at.value, 10);
    }
    const std::string_view third = word();
    if (third.starts_with(kQuarantined)) {
        // Whatever it says: where it is unclear since when, it is still in quarantine.
        out.quarantine = LogIndex{0};
        number(third.substr(kQuarantined.size()), out.quarantine->value, 10);
    } else if (third == kGrouped) {
        out.grouped = true;
    } else if (number(third, out.configuration_index.value, 10)) {
        out.configuration = text;
    }
    return out;
}

std::string format_raft_extra(const RaftExtra& extra) {
    std::string out = fmt::format("{} {:016x}", kRaftExtraName, extra.directory.value);
    if (extra.removed_at.value > 0) {
        out += fmt::format("{}{}", kRemoved, extra.removed_at.value);
    }
    if (extra.quarantine) {
        out += fmt::format(" {}{}", kQuarantined, extra.quarantine->value);
    } else if (!extra.configuration.empty()) {
        out += fmt::format(" {} {}", extra.configuration_index.value, extra.configuration);
    } else if (extra.grouped) {
        out += fmt::format(" {}", kGrouped);
    }
    return out;
}

}  // namespace nornic::modes
