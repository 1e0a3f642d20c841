// Bolt protocol versions and what each of them changed. Source: docs/bolt.md, "Versions".
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace nornic::bolt {

struct Version {
    std::uint8_t major_number = 0;
    std::uint8_t minor_number = 0;
    constexpr auto operator<=>(const Version&) const = default;
    [[nodiscard]] std::string to_text() const {
        return std::to_string(major_number) + "." + std::to_string(minor_number);
    }
};

/// How one connection speaks: the version, and whether 4.3 and 4.4 agreed on UTC date-times.
struct Dialect {
    Version version{5, 8};
    bool utc_patch = false;

    [[nodiscard]] constexpr bool at_least(std::uint8_t major_n, std::uint8_t minor_n) const {
        return version >= Version{major_n, minor_n};
    }
    /// 3 knows one database, PULL_ALL and DISCARD_ALL; an empty statement is the last one again.
    [[nodiscard]] constexpr bool is_legacy() const { return !at_least(4, 0); }
    [[nodiscard]] constexpr bool has_noop() const { return at_least(4, 1); }
    [[nodiscard]] constexpr bool utc_date_times() const { return utc_patch || at_least(5, 0); }
    [[nodiscard]] constexpr bool element_ids() const { return at_least(5, 0); }
    [[nodiscard]] constexpr bool has_route() const { return at_least(4, 3); }
    [[nodiscard]] constexpr bool has_logon() const { return at_least(5, 1); }
    [[nodiscard]] constexpr bool has_bolt_agent() const { return at_least(5, 3); }
    [[nodiscard]] constexpr bool has_telemetry() const { return at_least(5, 4); }
    [[nodiscard]] constexpr bool has_statuses() const { return at_least(5, 6); }
    [[nodiscard]] constexpr bool has_gql_errors() const { return at_least(5, 7); }
    [[nodiscard]] constexpr bool has_server_side_routing() const { return at_least(5, 8); }
};

}  // namespace nornic::bolt
