// How one setting is read: shared by the table and the loader. Private to env.
#pragma once

#include "env/settings.h"

#include <charconv>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::env {

/// What a setting takes, in words, and the code that reads it. `read` returns false if the text is
/// not it.
struct Field {
    std::string takes;
    std::function<bool(Settings&, const std::string&)> read;
};

struct Row {
    std::string name;
    std::string default_text;
    std::string group;
    std::string description;
    Field field;
    bool secret = false;
};

const std::vector<Row>& table();

template <class Get>
Field text_field(Get get) {
    return {"text", [get](Settings& s, const std::string& v) {
                get(s) = v;
                return true;
            }};
}
template <class Get>
Field bool_field(Get get) {
    return {"true or false", [get](Settings& s, const std::string& v) {
                const bool yes = v == "true" || v == "1" || v == "yes" || v == "on";
                const bool no = v == "false" || v == "0" || v == "no" || v == "off";
                get(s) = yes;
                return yes || no;
            }};
}
template <class Get>
Field port_field(Get get) {
    return {"a port, 0 to 65535 (0: any free one)", [get](Settings& s, const std::string& v) {
                unsigned n = 0;
                const auto [end, error] = std::from_chars(v.data(), v.data() + v.size(), n);
                get(s) = static_cast<std::uint16_t>(n);
                return error == std::errc{} && end == v.data() + v.size() && n <= 65535;
            }};
}
template <class Get>
Field int_field(std::int64_t low, std::int64_t high, Get get) {
    return {"a number, " + std::to_string(low) + " to " + std::to_string(high),
            [get, low, high](Settings& s, const std::string& v) {
                std::int64_t n = 0;
                const auto [end, error] = std::from_chars(v.data(), v.data() + v.size(), n);
                get(s) = n;
                return error == std::errc{} && end == v.data() + v.size() && n >= low && n <= high;
            }};
}
template <class Get>
Field duration_of(Duration plain_unit, std::string takes, Get get) {
    return {std::move(takes), [get, plain_unit](Settings& s, const std::string& v) {
                auto parsed = parse_duration(v, plain_unit);
                if (!parsed) {
                    return false;
                }
                get(s) = parsed.value();
                return true;
            }};
}
template <class Get>
Field duration_field(Get get) {
    return duration_of(std::chrono::seconds{1},
                       "a duration such as 500ms, 30s, 5m (plain numbers are seconds)",
                       get);
}
template <class Get>
Field milliseconds_field(Get get) {
    return duration_of(
        std::chrono::milliseconds{1}, "a duration (plain numbers are milliseconds)", get);
}
template <class Get>
Field bytes_field(Get get) {
    return {"a size such as 512MiB, 1GiB", [get](Settings& s, const std::string& v) {
                auto parsed = parse_bytes(v);
                if (!parsed) {
                    return false;
                }
                get(s) = parsed.value();
                return true;
            }};
}
template <class Get>
Field optional_bytes(Get get) {
    return {"a size such as 512MiB, 1GiB", [get](Settings& s, const std::string& v) {
                if (v.empty()) {
                    return true;
                }
                return bytes_field(get).read(s, v);
            }};
}
template <class Get>
Field host_port(Get get) {
    return {"host:port", [get](Settings& s, const std::string& v) {
                get(s) = v;
                return parse_host_port(v).has_value();
            }};
}
template <class Get>
Field optional_host_port(Get get) {
    return {"host:port", [get](Settings& s, const std::string& v) {
                get(s) = v;
                return v.empty() || parse_host_port(v).has_value();
            }};
}
template <class Get>
Field host_port_list(Get get) {
    return {"host:port, or several with commas between", [get](Settings& s, const std::string& v) {
                get(s) = v;
                for (const std::string& part : split_list(v)) {
                    if (!parse_host_port(part)) {
                        return false;
                    }
                }
                return v.empty() || !split_list(v).empty();
            }};
}
template <class Get>
Field raft_peers_field(Get get) {
    return {"id:host:port or host:port, several with commas between", [get](Settings& s, const std::string& v) {
                get(s) = v;  // entries are looked at once the mode is known: resolve_raft()
                return true;
            }};
}
template <class Get>
Field remote_regions_field(Get get) {
    return {"region:host:port, several with commas between", [get](Settings& s, const std::string& v) {
                get(s) = v;  // likewise: resolve_region()
                return true;
            }};
}
template <class Get>
Field optional_duration(Get get) {
    return {"a duration such as 500ms, 30s, 5m (plain numbers are seconds)",
            [get](Settings& s, const std::string& v) {
                return v.empty() || duration_field(get).read(s, v);
            }};
}
template <class Get>
Field choice_field(std::vector<std::string> choices, bool or_empty, Get get) {
    std::string takes;
    for (std::size_t i = 0; i < choices.size(); ++i) {
        takes += (i == 0 ? "" : i + 1 == choices.size() ? " or " : ", ") + choices[i];
    }
    return {std::move(takes), [get, choices, or_empty](Settings& s, const std::string& v) {
                get(s) = v;
                if (or_empty && v.empty()) {
                    return true;
                }
                for (const std::string& c : choices) {
                    if (c == v) {
                        return true;
                    }
                }
                return false;
            }};
}
template <class Get>
Field ratio_field(Get get) {
    return {"a number, 0 to 1", [get](Settings& s, const std::string& v) {
                double n = 0;
                const auto [end, error] = std::from_chars(v.data(), v.data() + v.size(), n);
                get(s) = n;
                return error == std::errc{} && end == v.data() + v.size() && n >= 0 && n <= 1;
            }};
}
template <class Get>
Field http_url_field(Get get) {
    return {"an address such as http://host:4318 or https://host/path", [get](Settings& s, const std::string& v) {
                get(s) = v;
                const bool plain = v.starts_with("http://");
                const std::string_view rest = std::string_view{v}.substr(plain ? 7 : v.starts_with("https://") ? 8 : v.size());
                const std::string_view authority = rest.substr(0, rest.find_first_of("/?#"));
                const bool with_port = !authority.ends_with(']') && authority.find(':') != std::string_view::npos;
                const bool blank = v.find_first_of(" \t\r\n@") != std::string::npos;
                return v.empty() || (!authority.empty() && !blank && (!with_port || parse_host_port(authority).has_value()));
            }};
}
template <class Get>
Field pairs_field(Get get) {
    return {"name=value, several with commas between", [get](Settings& s, const std::string& v) {
                get(s) = v;
                return parse_pairs(v).has_value();
            }};
}
inline Field auth_field() {
    return {"name/password, name:password or none", [](Settings& s, const std::string& v) {
                if (v == "none") {
                    s.auth_enabled = false;
                    s.auth_user.clear();
                    s.auth_password.clear();
                    return true;
                }
                const std::size_t cut = v.find_first_of("/:");
                if (cut == std::string::npos || cut == 0 || cut + 1 == v.size()) {
                    return false;
                }
                s.auth_enabled = true;
                s.auth_user = v.substr(0, cut);
                s.auth_password = v.substr(cut + 1);
                return true;
            }};
}

}  // namespace nornic::env
