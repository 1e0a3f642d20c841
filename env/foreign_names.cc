#include "env/foreign_names.h"

#include "env/settings.h"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <arpa/inet.h>
#include <charconv>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <optional>
#include <unistd.h>

namespace nornic::env {
namespace {

namespace json = boost::json;

struct InitPeer {
    std::string id;
    std::string ip;
    std::uint16_t raft_port = 0;
    std::uint16_t bolt_port = 0;
};

/// What was said under foreign names, before it is put together.
struct Wish {
    MappedNames out;
    std::string host;
    std::string directory;
    std::string log_directory;
    std::optional<bool> enable_ha;
    std::optional<std::uint16_t> cluster_port;
    std::string cluster_port_name;
    std::string node_id;
    std::vector<InitPeer> init_peers;
    std::string ha_conf;
    int bootstrap_role = 0;
    bool witness = false;
    std::string server_groups;
    std::string policies;
    std::string first_ha_name;  // of what only means something with enable_ha
};

std::optional<std::int64_t> number_in(std::string_view text, std::int64_t low, std::int64_t high) {
    std::int64_t n = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
    return error == std::errc{} && end == text.data() + text.size() && n >= low && n <= high ? std::optional{n}
                                                                                             : std::nullopt;
}

std::optional<bool> truth(std::string_view text) {
    if (text == "true" || text == "1") {
        return true;
    }
    return text == "false" || text == "0" ? std::optional{false} : std::nullopt;
}

std::string joined(const std::string& host, std::uint16_t port) {
    return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

bool is_wildcard(const std::string& host) {
    return host.empty() || host == "0.0.0.0" || host == "::";
}

using Read = bool (*)(Wish&, const std::string& name, const std::string& value);
struct ForeignRow {
    std::string_view name;
    std::string_view takes;
    std::string_view meaning;  // for docs/settings.md
    Read read;
};

bool read_port(Wish& w, const char* setting, const std::string& value) {
    w.out.settings[setting] = value;
    return number_in(value, 0, 65535).has_value();
}

bool read_cluster_port(Wish& w, const std::string& name, const std::string& value) {
    const auto port = number_in(value, 1, 65535);
    if (port) {
        w.cluster_port = static_cast<std::uint16_t>(*port);
        w.cluster_port_name = name;
    }
    return port.has_value();
}

bool read_init_peers(Wish& w, const std::string&, const std::string& value) {
    boost::system::error_code error;
    const json::value parsed = json::parse(value, error);
    if (error || !parsed.is_array() || parsed.get_array().empty()) {
        return false;
    }
    for (const json::value& entry : parsed.get_array()) {
        if (!entry.is_object()) {
            return false;
        }
        const json::object& object = entry.get_object();
        const json::value* id = object.if_contains("bolt_raft_node_id");
        const json::value* ip = object.if_contains("ip");
        const json::value* raft = object.if_contains("bolt_raft_port");
        const json::value* bolt = object.if_contains("bolt_port");
        const auto is_port = [](const json::value* v) {
            return v != nullptr && v->is_int64() && v->get_int64() > 0 && v->get_int64() <= 65535;
        };
        if (id == nullptr || !id->is_int64() || id->get_int64() < 0 || ip == nullptr || !ip->is_string() || !is_port(raft) ||
            !is_port(bolt)) {
            return false;
        }
        w.init_peers.push_back({std::to_string(id->get_int64()),
                                std::string{ip->get_string()},
                                static_cast<std::uint16_t>(raft->get_int64()),
                                static_cast<std::uint16_t>(bolt->get_int64())});
    }
    return true;
}

void needs_ha(Wish& w, const std::string& name) {
    if (w.first_ha_name.empty()) {
        w.first_ha_name = name;
    }
}

bool ignore(Wish& w, const std::string& name, std::string_view why) {
    w.out.warnings.push_back(fmt::format("'{}' is taken and does nothing: {}", name, why));
    return true;
}

constexpr std::string_view kPolicyPrefix = "causal_clustering.load_balancing.config.server_policies.";
constexpr std::string_view kHostPort = "host:port, or several with commas between";

const std::vector<ForeignRow>& rows() {
    static const std::vector<ForeignRow> table = {
        {"host",
         "an address",
         "`NORNICDB_ADDRESS`; with the cluster port `NORNICDB_CLUSTER_ADVERTISE_ADDR`",
         [](Wish& w, const std::string&, const std::string& v) {
             w.host = v;
             return !v.empty() && v.find_first_of(" ,/") == std::string::npos;
         }},
        {"port",
         "a port, 0 to 65535",
         "`NORNICDB_HTTP_PORT`",
         [](Wish& w, const std::string&, const std::string& v) { return read_port(w, "NORNICDB_HTTP_PORT", v); }},
        {"bolt_port",
         "a port, 0 to 65535",
         "`NORNICDB_BOLT_PORT`",
         [](Wish& w, const std::string&, const std::string& v) { return read_port(w, "NORNICDB_BOLT_PORT", v); }},
        {"directory",
         "a folder",
         "`NORNICDB_DATA_DIR`; without it a member that has a `bolt_raft_node_id` uses `./data/node-<id>`",
         [](Wish& w, const std::string&, const std::string& v) {
             w.directory = v;
             return !v.empty();
         }},
        {"verbose",
         "0, 1 or 2",
         "`NORNICDB_LOG_LEVEL`: warn, info, debug",
         [](Wish& w, const std::string&, const std::string& v) {
             constexpr const char* kLevels[] = {"warn", "info", "debug"};
             const auto level = number_in(v, 0, 2);
             if (level) {
                 w.out.settings["NORNICDB_LOG_LEVEL"] = kLevels[*level];
             }
             return level.has_value();
         }},
        {"log_dir",
         "a folder",
         "`NORNICDB_LOG_DIR`; of a member that has a `bolt_raft_node_id`, `node-<id>` in it",
         [](Wish& w, const std::string&, const std::string& v) {
             w.log_directory = v;
             return true;
         }},
        {"bolt_raft_port", "a port, 1 to 65535", "port of `NORNICDB_CLUSTER_BIND_ADDR`; mode `raft`", read_cluster_port},
        {"bolt_raft_node_id",
         "a number",
         "`NORNICDB_CLUSTER_NODE_ID`; mode `raft`",
         [](Wish& w, const std::string&, const std::string& v) {
             w.node_id = v;
             return number_in(v, 0, INT64_MAX).has_value();
         }},
        {"bolt_raft_init_peers",
         R"(a list of {"bolt_raft_node_id", "ip", "bolt_raft_port", "bolt_port"})",
         "`NORNICDB_CLUSTER_RAFT_PEERS`, of the own entry `_ADVERTISE_ADDR` and `NORNICDB_BOLT_ADVERTISE_ADDR`; the first "
         "of the list has `_RAFT_BOOTSTRAP=true`; one that is not in the list asks the others to be taken in",
         read_init_peers},
        {"enable_ha",
         "true or false",
         "mode `raft`; without it the names that begin with `ha_` are refused, with `false` they do nothing",
         [](Wish& w, const std::string&, const std::string& v) {
             w.enable_ha = truth(v);
             return w.enable_ha.has_value();
         }},
        {"rpc_port", "a port, 1 to 65535", "port of `NORNICDB_CLUSTER_BIND_ADDR`", read_cluster_port},
        {"ha_conf",
         kHostPort,
         "several: `NORNICDB_CLUSTER_RAFT_PEERS`, and the first of them has `_RAFT_BOOTSTRAP=true`; one, or without this "
         "member: `NORNICDB_CLUSTER_RAFT_JOIN`",
         [](Wish& w, const std::string& n, const std::string& v) {
             needs_ha(w, n);
             w.ha_conf = v;
             const std::vector<std::string> parts = split_list(v);
             return !parts.empty() && std::all_of(parts.begin(), parts.end(), [](const std::string& part) {
                 const auto parsed = parse_host_port(part);
                 return parsed && parsed->second != 0;
             });
         }},
        {"ha_bootstrap_role",
         "0, 1 or 2",
         "1: this member makes the group and its data is the group's (`_RAFT_BOOTSTRAP=true`); 2: it joins "
         "(`_RAFT_JOIN`); 0: as the place in `ha_conf` says",
         [](Wish& w, const std::string& n, const std::string& v) {
             needs_ha(w, n);
             const auto role = number_in(v, 0, 2);
             w.bootstrap_role = static_cast<int>(role.value_or(0));
             return role.has_value();
         }},
        {"ha_is_witness",
         "true or false",
         "`NORNICDB_CLUSTER_RAFT_ROLE=witness`",
         [](Wish& w, const std::string& n, const std::string& v) {
             needs_ha(w, n);
             const auto yes = truth(v);
             w.witness = yes.value_or(false);
             return yes.has_value();
         }},
        {"ha_enable_witness_to_leader",
         "true or false",
         "`NORNICDB_CLUSTER_RAFT_WITNESS_MAY_LEAD`",
         [](Wish& w, const std::string& n, const std::string& v) {
             needs_ha(w, n);
             const auto yes = truth(v);
             w.out.settings["NORNICDB_CLUSTER_RAFT_WITNESS_MAY_LEAD"] = yes.value_or(false) ? "true" : "false";
             return yes.has_value();
         }},
        {"ha_election_timeout_ms",
         "milliseconds",
         "`NORNICDB_CLUSTER_RAFT_ELECTION_TIMEOUT`",
         [](Wish& w, const std::string& n, const std::string& v) {
             needs_ha(w, n);
             w.out.settings["NORNICDB_CLUSTER_RAFT_ELECTION_TIMEOUT"] = v + "ms";
             return number_in(v, 1, INT32_MAX).has_value();
         }},
        {"ha_snapshot_interval_s",
         "seconds",
         "`NORNICDB_CLUSTER_RAFT_SNAPSHOT_INTERVAL`",
         [](Wish& w, const std::string& n, const std::string& v) {
             needs_ha(w, n);
             w.out.settings["NORNICDB_CLUSTER_RAFT_SNAPSHOT_INTERVAL"] = v;
             return number_in(v, 1, INT32_MAX).has_value();
         }},
        {"ha_node_join_group_s",
         "seconds",
         "nothing: a member asks until it is taken in",
         [](Wish& w, const std::string& n, const std::string&) {
             needs_ha(w, n);
             return ignore(w, n, "a member asks until it is taken in");
         }},
        {"ha_node_offline_ms",
         "milliseconds",
         "nothing: a member that is away stays one",
         [](Wish& w, const std::string& n, const std::string&) {
             needs_ha(w, n);
             return ignore(w, n, "a member that is away stays one until it is removed");
         }},
        {"ha_node_remove_ms",
         "milliseconds",
         "nothing: members are removed by `/admin/cluster/remove` alone",
         [](Wish& w, const std::string& n, const std::string&) {
             needs_ha(w, n);
             return ignore(w, n, "members are removed by POST /admin/cluster/remove alone");
         }},
        {"causal_clustering.server_groups",
         "names with commas between",
         "`NORNICDB_CLUSTER_SERVER_TAGS`",
         [](Wish& w, const std::string&, const std::string& v) {
             w.server_groups = v;
             return true;
         }},
        {kPolicyPrefix,
         "a routing policy; its name follows the last dot",
         "one policy of `NORNICDB_CLUSTER_ROUTING_POLICIES`",
         [](Wish& w, const std::string& n, const std::string& v) {
             w.policies += fmt::format("{}{} = {}", w.policies.empty() ? "" : " | ", n.substr(kPolicyPrefix.size()), v);
             return v.find('|') == std::string::npos;
         }},
    };
    return table;
}

/// A row whose name ends with a dot is for all names that begin with it.
bool names(const ForeignRow& row, std::string_view name) {
    return row.name.ends_with('.') ? name.starts_with(row.name) && name.size() > row.name.size() : row.name == name;
}

auto refuse(std::string_view name, std::string_view value, std::string_view why) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("{}='{}': {}", name, value, why));
}

Result<> place_by_init_peers(Wish& w) {
    auto& out = w.out.settings;
    const auto own = std::find_if(w.init_peers.begin(), w.init_peers.end(), [&](const InitPeer& peer) {
        return peer.id == w.node_id;
    });
    std::string peers;
    std::string addresses;
    for (const InitPeer& peer : w.init_peers) {
        const std::string address = joined(peer.ip, peer.raft_port);
        peers += fmt::format("{}{}:{}", peers.empty() ? "" : ",", peer.id, address);
        addresses += (addresses.empty() ? "" : ",") + address;
    }
    if (own == w.init_peers.end()) {
        out["NORNICDB_CLUSTER_RAFT_JOIN"] = addresses;
        return success();
    }
    if (w.cluster_port && *w.cluster_port != own->raft_port) {
        return refuse(w.cluster_port_name,
                      std::to_string(*w.cluster_port),
                      fmt::format("bolt_raft_init_peers says {} of node {}", own->raft_port, own->id));
    }
    w.cluster_port = own->raft_port;
    out["NORNICDB_CLUSTER_RAFT_PEERS"] = peers;
    out["NORNICDB_CLUSTER_RAFT_BOOTSTRAP"] = own == w.init_peers.begin() ? "true" : "false";
    out["NORNICDB_CLUSTER_ADVERTISE_ADDR"] = joined(own->ip, own->raft_port);
    out["NORNICDB_BOLT_ADVERTISE_ADDR"] = joined(own->ip, own->bolt_port);
    w.out.http_port_may_move = std::count_if(w.init_peers.begin(), w.init_peers.end(), [&](const InitPeer& peer) {
                                   return peer.ip == own->ip;
                               }) > 1;
    return success();
}

Result<> place_by_ha_conf(Wish& w, const IsOwnHost& is_own) {
    auto& out = w.out.settings;
    std::string others;
    bool first_is_own = false;
    bool has_own = false;
    std::size_t count = 0;
    for (const std::string& part : split_list(w.ha_conf)) {
        const auto parsed = parse_host_port(part);
        const bool own = parsed && w.cluster_port && parsed->second == *w.cluster_port &&
                         (parsed->first == w.host || is_own(parsed->first));
        if (own) {
            first_is_own = first_is_own || count == 0;
            has_own = true;
            out["NORNICDB_CLUSTER_ADVERTISE_ADDR"] = part;
        } else {
            others += (others.empty() ? "" : ",") + part;
        }
        ++count;
    }
    const bool makes = w.bootstrap_role == 1 || (w.bootstrap_role == 0 && first_is_own && count > 1);
    if (makes && w.witness) {
        return refuse("ha_conf",
                      w.ha_conf,
                      "its first member makes the group, or the one with ha_bootstrap_role=1, and must hold data: a witness "
                      "stands further behind");
    }
    if (makes) {
        out["NORNICDB_CLUSTER_RAFT_BOOTSTRAP"] = "true";
        out["NORNICDB_CLUSTER_RAFT_PEERS"] = others;
    } else if (others.empty()) {
        return refuse("ha_conf",
                      w.ha_conf,
                      "it names this member alone; ha_bootstrap_role=1 makes a group of one, else it takes a member of a group");
    } else {
        const bool joins = w.bootstrap_role == 2 || !has_own;
        out[joins ? "NORNICDB_CLUSTER_RAFT_JOIN" : "NORNICDB_CLUSTER_RAFT_PEERS"] = others;
    }
    return success();
}

Result<MappedNames> put_together(Wish w, const IsOwnHost& is_own) {
    auto& out = w.out.settings;
    if (!w.host.empty()) {
        out["NORNICDB_ADDRESS"] = w.host;
    }
    const bool by_bolt_raft = !w.node_id.empty() || !w.init_peers.empty() || w.cluster_port_name == "bolt_raft_port";
    if (!w.directory.empty()) {
        out["NORNICDB_DATA_DIR"] = w.directory;
    } else if (!w.node_id.empty()) {
        out["NORNICDB_DATA_DIR"] = "./data/node-" + w.node_id;
    }
    if (!w.log_directory.empty()) {
        // Members of one machine are often given the same.
        out["NORNICDB_LOG_DIR"] = w.node_id.empty() ? w.log_directory : w.log_directory + "/node-" + w.node_id;
    }
    if (!w.enable_ha && !by_bolt_raft && !w.first_ha_name.empty()) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("'{}' takes enable_ha=true as well", w.first_ha_name));
    }
    if (!w.enable_ha.value_or(by_bolt_raft)) {
        std::erase_if(out, [](const auto& entry) { return entry.first.starts_with("NORNICDB_CLUSTER_"); });
        return std::move(w.out);
    }
    out["NORNICDB_CLUSTER_MODE"] = "raft";
    if (!w.node_id.empty()) {
        out["NORNICDB_CLUSTER_NODE_ID"] = w.node_id;
    }
    if (w.witness) {
        out["NORNICDB_CLUSTER_RAFT_ROLE"] = "witness";
    }
    if (!w.init_peers.empty()) {
        if (w.node_id.empty()) {
            return fail(ErrorCode::kInvalidArgument, "bolt_raft_init_peers takes bolt_raft_node_id as well");
        }
        NORNIC_TRY(place_by_init_peers(w));
    }
    if (!w.ha_conf.empty()) {
        NORNIC_TRY(place_by_ha_conf(w, is_own));
    }
    if (w.cluster_port) {
        out["NORNICDB_CLUSTER_BIND_ADDR"] = joined(is_wildcard(w.host) ? "0.0.0.0" : w.host, *w.cluster_port);
        if (!is_wildcard(w.host)) {
            out.try_emplace("NORNICDB_CLUSTER_ADVERTISE_ADDR", joined(w.host, *w.cluster_port));
        }
    }
    return std::move(w.out);
}

}  // namespace

bool is_foreign_name(std::string_view name) {
    return std::any_of(rows().begin(), rows().end(), [&](const ForeignRow& row) { return names(row, name); });
}

std::vector<ForeignName> all_foreign_names() {
    std::vector<ForeignName> out;
    for (const ForeignRow& row : rows()) {
        out.push_back({std::string{row.name}, std::string{row.takes}, std::string{row.meaning}});
    }
    return out;
}

bool is_own_host(const std::string& host) {
    if (host == "localhost" || host.starts_with("127.") || host == "::1") {
        return true;
    }
    char name[256] = {};
    if (::gethostname(name, sizeof name - 1) == 0 && host == name) {
        return true;
    }
    ifaddrs* all = nullptr;
    if (::getifaddrs(&all) != 0) {
        return false;
    }
    bool found = false;
    for (const ifaddrs* one = all; one != nullptr && !found; one = one->ifa_next) {
        char text[INET6_ADDRSTRLEN] = {};
        if (one->ifa_addr == nullptr) {
            continue;
        }
        if (one->ifa_addr->sa_family == AF_INET) {
            const auto* const address = reinterpret_cast<const sockaddr_in*>(one->ifa_addr);
            found = ::inet_ntop(AF_INET, &address->sin_addr, text, sizeof text) != nullptr && host == text;
        } else if (one->ifa_addr->sa_family == AF_INET6) {
            const auto* const address = reinterpret_cast<const sockaddr_in6*>(one->ifa_addr);
            found = ::inet_ntop(AF_INET6, &address->sin6_addr, text, sizeof text) != nullptr && host == text;
        }
    }
    ::freeifaddrs(all);
    return found;
}

Result<MappedNames> map_foreign_names(const std::map<std::string, std::string>& values, const IsOwnHost& is_own) {
    Wish wish;
    for (const ForeignRow& row : rows()) {
        for (const auto& [name, value] : values) {
            if (names(row, name) && !row.read(wish, name, value)) {
                return refuse(name, value, fmt::format("it takes {}", row.takes));
            }
        }
    }
    const std::string groups = wish.server_groups;
    const std::string policies = wish.policies;
    NORNIC_TRY(MappedNames out, put_together(std::move(wish), is_own));
    if (!groups.empty()) {
        out.settings["NORNICDB_CLUSTER_SERVER_TAGS"] = groups;
    }
    if (!policies.empty()) {
        out.settings["NORNICDB_CLUSTER_ROUTING_POLICIES"] = policies;
    }
    return out;
}

}  // namespace nornic::env
