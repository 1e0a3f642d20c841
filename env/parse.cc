// Durations, sizes and addresses as people write them.
#include "env/settings.h"

#include <charconv>
#include <cmath>

namespace nornic::env {
namespace {

struct Number {
    double value;
    std::string_view rest;
};

std::optional<Number> leading_number(std::string_view text) {
    std::size_t n = 0;
    while (n < text.size() && ((text[n] >= '0' && text[n] <= '9') || text[n] == '.')) {
        ++n;
    }
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + n, value);
    if (n == 0 || error != std::errc{} || end != text.data() + n) {
        return std::nullopt;
    }
    while (n < text.size() && text[n] == ' ') {
        ++n;
    }
    return Number{value, text.substr(n)};
}

bool equals_ignoring_case(std::string_view a, std::string_view b) {
    if (a.size() != b.size()) {
        return false;
    }
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (std::tolower(static_cast<unsigned char>(a[i])) !=
            std::tolower(static_cast<unsigned char>(b[i]))) {
            return false;
        }
    }
    return true;
}

}  // namespace

Result<Duration> parse_duration(std::string_view text, Duration plain_unit) {
    const auto number = leading_number(text);
    if (!number) {
        return fail(ErrorCode::kInvalidArgument, "not a duration");
    }
    double nanoseconds = 0;
    const std::string_view unit = number->rest;
    if (unit.empty()) {
        nanoseconds = static_cast<double>(plain_unit.count());
    } else if (unit == "ns") {
        nanoseconds = 1;
    } else if (unit == "us") {
        nanoseconds = 1e3;
    } else if (unit == "ms") {
        nanoseconds = 1e6;
    } else if (unit == "s") {
        nanoseconds = 1e9;
    } else if (unit == "m" || unit == "min") {
        nanoseconds = 60e9;
    } else if (unit == "h") {
        nanoseconds = 3600e9;
    } else if (unit == "d") {
        nanoseconds = 86400e9;
    } else {
        return fail(ErrorCode::kInvalidArgument, "not a duration");
    }
    const double total = number->value * nanoseconds;
    if (!std::isfinite(total) || total > 9e18) {
        return fail(ErrorCode::kInvalidArgument, "duration too long");
    }
    return Duration{static_cast<std::int64_t>(total)};
}

Result<std::uint64_t> parse_bytes(std::string_view text) {
    const auto number = leading_number(text);
    if (!number) {
        return fail(ErrorCode::kInvalidArgument, "not a size");
    }
    std::string_view unit = number->rest;
    double factor = 1;
    if (!unit.empty() && !equals_ignoring_case(unit, "b")) {
        const char c = static_cast<char>(std::tolower(static_cast<unsigned char>(unit.front())));
        const std::string_view tail = unit.substr(1);
        const bool known_tail =
            tail.empty() || equals_ignoring_case(tail, "b") || equals_ignoring_case(tail, "ib");
        if (!known_tail) {
            return fail(ErrorCode::kInvalidArgument, "not a size");
        }
        switch (c) {
            case 'k':
                factor = 1024;
                break;
            case 'm':
                factor = 1024.0 * 1024;
                break;
            case 'g':
                factor = 1024.0 * 1024 * 1024;
                break;
            case 't':
                factor = 1024.0 * 1024 * 1024 * 1024;
                break;
            default:
                return fail(ErrorCode::kInvalidArgument, "not a size");
        }
    }
    const double total = number->value * factor;
    if (!std::isfinite(total) || total > 9e18) {
        return fail(ErrorCode::kInvalidArgument, "size too large");
    }
    return static_cast<std::uint64_t>(total);
}

std::optional<std::pair<std::string, std::uint16_t>> parse_host_port(std::string_view text) {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos || colon == 0 || colon + 1 == text.size()) {
        return std::nullopt;
    }
    std::string_view host = text.substr(0, colon);
    const std::string_view port_text = text.substr(colon + 1);
    if (host.front() == '[') {
        if (host.size() < 3 || host.back() != ']') {
            return std::nullopt;
        }
        host = host.substr(1, host.size() - 2);
    } else if (host.find(':') != std::string_view::npos) {
        return std::nullopt;
    }
    for (const char c : host) {
        if (c <= ' ' || c == '/' || c == ',' || c == '[' || c == ']') {
            return std::nullopt;
        }
    }
    unsigned port = 0;
    const auto [end, error] =
        std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
    if (error != std::errc{} || end != port_text.data() + port_text.size() || port > 65535) {
        return std::nullopt;
    }
    return std::pair{std::string{host}, static_cast<std::uint16_t>(port)};
}

std::optional<std::vector<std::pair<std::string, std::string>>> parse_pairs(std::string_view text) {
    std::vector<std::pair<std::string, std::string>> out;
    for (const std::string& part : split_list(text)) {
        const std::size_t equals = part.find('=');
        const auto is_odd = [](char c) { return c <= ' ' || c > '~' || c == ':'; };
        if (equals == std::string::npos || equals == 0 || std::any_of(part.begin(), part.begin() + static_cast<std::ptrdiff_t>(equals), is_odd)) {
            return std::nullopt;
        }
        std::string value;
        for (std::size_t i = equals + 1; i < part.size(); ++i) {
            if (part[i] != '%') {
                value.push_back(part[i]);
                continue;
            }
            unsigned byte = 0;
            const char* const digits = part.data() + i + 1;
            if (part.size() - i < 3 || std::from_chars(digits, digits + 2, byte, 16).ptr != digits + 2) {
                return std::nullopt;
            }
            value.push_back(static_cast<char>(byte));
            i += 2;
        }
        if (value.find_first_of(std::string_view{"\r\n\0", 3}) != std::string::npos) {
            return std::nullopt;  // it would be another header
        }
        out.emplace_back(part.substr(0, equals), std::move(value));
    }
    return out;
}

std::vector<std::string> split_list(std::string_view text) {
    std::vector<std::string> out;
    while (!text.empty()) {
        const std::size_t comma = text.find(',');
        std::string_view part = text.substr(0, comma);
        while (!part.empty() && part.front() == ' ') {
            part.remove_prefix(1);
        }
        while (!part.empty() && part.back() == ' ') {
            part.remove_suffix(1);
        }
        if (!part.empty()) {
            out.emplace_back(part);
        }
        text = comma == std::string_view::npos ? std::string_view{} : text.substr(comma + 1);
    }
    return out;
}

}  // namespace nornic::env
