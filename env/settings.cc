#include "env/settings.h"

#include "env/table.h"

#include <boost/program_options.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <unistd.h>

extern char** environ;

namespace nornic::env {
namespace {

constexpr std::string_view kPrefix = "NORNICDB_";
constexpr std::string_view kClusterPrefix = "NORNICDB_CLUSTER_";
constexpr std::uint64_t kCacheBytesMin = std::uint64_t{16} << 20;

std::string flag_of(std::string_view name) {
    if (name.starts_with(kPrefix)) {
        name.remove_prefix(kPrefix.size());
    }
    std::string flag;
    for (const char c : name) {
        flag.push_back(c == '_' ? '-'
                                : static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
    }
    return flag;
}

const Row* find_row(std::string_view name) {
    for (const Row& row : table()) {
        if (row.name == name) {
            return &row;
        }
    }
    return nullptr;
}

Result<std::map<std::string, std::string>> read_config_file(const std::string& path) {
    std::ifstream file{path};
    if (!file) {
        return fail(ErrorCode::kNotFound, fmt::format("config file '{}' cannot be read", path));
    }
    std::map<std::string, std::string> out;
    try {
        const boost::program_options::options_description none;
        const auto parsed = boost::program_options::parse_config_file(file, none, true);
        for (const auto& option : parsed.options) {
            out[option.string_key] = option.value.empty() ? "" : option.value.front();
        }
        if (file.bad()) {  // A folder, say: it opens, and reads as nothing.
            return fail(ErrorCode::kIo, fmt::format("config file '{}' cannot be read", path));
        }
    } catch (const boost::program_options::invalid_syntax& e) {
        // Not e.what(): it replaces the placeholder by the line, for ever if the line holds the
        // placeholder.
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("config file '{}': '{}' is not NAME = VALUE", path, e.tokens()));
    } catch (const std::exception& e) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("config file '{}': {}", path, e.what()));
    }
    return out;
}

Error bad(std::string_view name, std::string_view value, std::string_view takes) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("{}='{}': it takes {}", name, value, takes)};
}

/// Relations between settings, each with the line an operator needs.
Result<> check_relations(const Settings& s) {
    const ClusterSettings& c = s.cluster;
    if (s.http_port == s.bolt_port && s.http_port != 0) {
        return fail(
            ErrorCode::kInvalidArgument,
            fmt::format("NORNICDB_HTTP_PORT={} is NORNICDB_BOLT_PORT, too: they must differ",
                        s.http_port));
    }
    if (c.raft_election_timeout <= 2 * c.raft_heartbeat_timeout) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("NORNICDB_CLUSTER_RAFT_ELECTION_TIMEOUT={}ms: election timeout "
                                "must exceed 2 × heartbeat timeout "
                                "(NORNICDB_CLUSTER_RAFT_HEARTBEAT_TIMEOUT={}ms)",
                                c.raft_election_timeout.count() / 1000000,
                                c.raft_heartbeat_timeout.count() / 1000000));
    }
    if (!c.replication_secret.empty() && c.replication_secret.size() < 32) {
        return fail(
            ErrorCode::kInvalidArgument,
            fmt::format(
                "NORNICDB_CLUSTER_REPLICATION_SECRET has {} characters: it takes at least 32",
                c.replication_secret.size()));
    }
    if (c.mode == "ha_standby" && c.ha_role.empty()) {
        return fail(ErrorCode::kInvalidArgument,
                    "NORNICDB_CLUSTER_HA_ROLE='': ha_standby takes primary or standby");
    }
    if (c.mode == "ha_standby" && c.ha_peer_address.empty()) {
        return fail(ErrorCode::kInvalidArgument,
                    "NORNICDB_CLUSTER_HA_PEER_ADDR='': ha_standby takes the peer's host:port");
    }
    if (c.mode == "multi_region" && c.region_id.empty()) {
        return fail(ErrorCode::kInvalidArgument,
                    "NORNICDB_CLUSTER_REGION_ID='': multi_region takes this region's name");
    }
    for (const auto& [tls, prefix] : {std::pair{&s.bolt_tls, "NORNICDB_BOLT_TLS"},
                                      std::pair{&s.http_tls, "NORNICDB_HTTP_TLS"}}) {
        if (tls->enabled && (tls->certificate_file.empty() || tls->key_file.empty())) {
            return fail(ErrorCode::kInvalidArgument,
                        fmt::format("{0}_ENABLED=true takes {0}_CERT and {0}_KEY as well", prefix));
        }
        if (!tls->enabled && tls->required) {
            return fail(ErrorCode::kInvalidArgument,
                        fmt::format("{0}_REQUIRE=true takes {0}_ENABLED=true as well", prefix));
        }
    }
    if (s.cache_bytes < kCacheBytesMin) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("NORNICDB_CACHE_SIZE={}: it takes at least 16MiB", s.cache_bytes));
    }
    if (s.checkpoint_log_bytes < (std::uint64_t{1} << 20)) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("NORNICDB_CHECKPOINT_LOG_SIZE={}: it takes at least 1MiB",
                                s.checkpoint_log_bytes));
    }
    return success();
}

}  // namespace

const std::vector<SettingInfo>& all_settings() {
    static const std::vector<SettingInfo> infos = [] {
        std::vector<SettingInfo> out;
        for (const Row& row : table()) {
            out.push_back({row.name,
                           flag_of(row.name),
                           row.default_text,
                           row.field.takes,
                           row.description,
                           row.group});
        }
        return out;
    }();
    return infos;
}

Result<Loaded> load(const Source& source) {
    Loaded loaded;
    Settings& s = loaded.settings;
    for (const Row& row : table()) {
        if (!row.field.read(s, row.default_text)) {
            return bad(row.name, row.default_text, row.field.takes);
        }
    }
    s.cache_bytes =
        std::max<std::uint64_t>(kCacheBytesMin,
                                static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                                    static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)) / 4);

    std::map<std::string, std::string> file;
    if (!source.config_file.empty()) {
        NORNIC_TRY(file, read_config_file(source.config_file));
    }
    std::vector<std::string> unknown;
    using Layer = const std::map<std::string, std::string>*;
    for (const Layer layer :
         {Layer{&file}, Layer{&source.environment}, Layer{&source.command_line}}) {
        for (const auto& [name, value] : *layer) {
            const Row* row = find_row(name);
            if (row == nullptr) {
                if (name.starts_with(kClusterPrefix)) {
                    return fail(
                        ErrorCode::kInvalidArgument,
                        fmt::format(
                            "{}='{}': there is no such setting; docs/settings.md lists them",
                            name,
                            value));
                }
                if (name.starts_with(kPrefix)) {
                    unknown.push_back(name);
                } else if (layer == &file) {
                    return fail(
                        ErrorCode::kInvalidArgument,
                        fmt::format(
                            "config file '{}': '{}' is not a setting; names begin with NORNICDB_",
                            source.config_file,
                            name));
                }
                continue;
            }
            if (!row->field.read(s, value)) {
                return bad(name, row->secret ? "***" : value, row->field.takes);
            }
            loaded.explicit_values[name] = row->secret ? "***" : value;
        }
    }
    if (!unknown.empty()) {
        std::string names;
        for (const std::string& name : unknown) {
            names += (names.empty() ? "" : ", ") + name;
        }
        loaded.warnings.push_back("settings that this server does not know are ignored: " + names);
    }
    NORNIC_TRY(check_relations(s));
    return loaded;
}

std::map<std::string, std::string> process_environment() {
    std::map<std::string, std::string> out;
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
        const std::string_view text{*entry};
        const std::size_t equals = text.find('=');
        const std::string_view name = text.substr(0, equals);
        if (equals != std::string_view::npos && name.starts_with(kPrefix)) {
            out.emplace(name, text.substr(equals + 1));
        }
    }
    return out;
}

std::string home_directory() {
    const char* home = std::getenv("HOME");
    return home == nullptr ? std::string{} : std::string{home};
}

}  // namespace nornic::env
