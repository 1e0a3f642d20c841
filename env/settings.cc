#include "env/settings.h"

#include "env/foreign_names.h"
#include "env/raft.h"
#include "env/region.h"
#include "env/routing.h"
#include "env/table.h"

#include <boost/json.hpp>
#include <boost/program_options.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <unistd.h>

extern char** environ;

namespace nornic::env {
namespace {

constexpr std::string_view kPrefix = "NORNICDB_";
constexpr std::string_view kClusterPrefix = "NORNICDB_CLUSTER_";
constexpr std::string_view kOpenTelemetryPrefix = "OTEL_";
constexpr std::uint64_t kSnapshotRateMin = std::uint64_t{1} << 20;
constexpr std::uint64_t kCacheBytesMin = std::uint64_t{16} << 20;

/// What this process may use: the machine's memory, or less where its container is limited.
std::uint64_t memory_bytes() {
    std::uint64_t out =
        static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
    // Of control groups version 2 and 1, as a container sees its own. No limit is "max" or a number beyond all memory.
    for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
        std::uint64_t limit = 0;
        if (std::ifstream file{path}; file >> limit && limit > 0) {
            out = std::min(out, limit);
        }
    }
    return out;
}

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

using Texts = std::map<std::string, std::string>;

constexpr std::size_t kConfigBytesMax = std::size_t{1} << 20;

/// One object; lists stay JSON.
Result<Texts> read_json_config(const std::string& path, const std::string& text) {
    boost::system::error_code error;
    const boost::json::value parsed = boost::json::parse(text, error);
    if (error || !parsed.is_object()) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("config file '{}' begins with '{{' and is no JSON object{}",
                                path,
                                error ? ": " + error.message() : ""));
    }
    Texts out;
    for (const auto& [name, value] : parsed.get_object()) {
        out[std::string{name}] = value.is_string() ? std::string{value.get_string()} : boost::json::serialize(value);
    }
    return out;
}

Result<Texts> read_line_config(const std::string& path, const std::string& text) {
    Texts out;
    try {
        const boost::program_options::options_description none;
        std::istringstream file{text};
        const auto parsed = boost::program_options::parse_config_file(file, none, true);
        for (const auto& option : parsed.options) {
            out[option.string_key] = option.value.empty() ? "" : option.value.front();
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

Result<Texts> read_config_file(const std::string& path) {
    std::ifstream file{path, std::ios::binary};
    std::string text(kConfigBytesMax + 1, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (!file.eof() || file.bad() || (file.gcount() == 0 && !std::filesystem::is_regular_file(path))) {
        // A folder, say: it opens, and reads as nothing.
        return fail(ErrorCode::kIo,
                    fmt::format("config file '{}' cannot be read{}",
                                path,
                                file.gcount() > static_cast<std::streamsize>(kConfigBytesMax) ? ": it is over 1 MiB" : ""));
    }
    text.resize(static_cast<std::size_t>(file.gcount()));
    const std::size_t begin = text.find_first_not_of(" \t\r\n");
    return begin != std::string::npos && text[begin] == '{' ? read_json_config(path, text) : read_line_config(path, text);
}

/// Takes the foreign names out of `from`.
Texts take_foreign(Texts& from) {
    Texts out;
    for (auto it = from.begin(); it != from.end();) {
        if (is_foreign_name(it->first)) {
            out.insert(*it);
            it = from.erase(it);
        } else {
            ++it;
        }
    }
    return out;
}

/// What foreign names say becomes settings of the layer that says it. A flag may complete what a file began
/// (--rpc_port beside its ha_conf), so flags are read together with the file, and what they change ranks with flags.
/// Returns whether the HTTP port may move.
Result<bool> map_layers(Texts& file, Texts& flags, std::vector<std::string>& warnings) {
    const Texts in_file = take_foreign(file);
    Texts both = take_foreign(flags);
    const bool any_flag = !both.empty();
    both.insert(in_file.begin(), in_file.end());
    if (both.empty()) {
        return false;
    }
    NORNIC_TRY(MappedNames mapped, map_foreign_names(both));
    warnings.insert(warnings.end(), mapped.warnings.begin(), mapped.warnings.end());
    if (any_flag) {
        // The file alone need not make sense; then all ranks with the flags.
        const auto alone = map_foreign_names(in_file);
        for (const auto& [name, value] : mapped.settings) {
            const auto before = alone ? alone.value().settings.find(name) : mapped.settings.end();
            const bool of_file = alone && before != alone.value().settings.end() && before->second == value;
            (of_file ? file : flags).try_emplace(name, value);
        }
    } else {
        file.insert(mapped.settings.begin(), mapped.settings.end());
    }
    return mapped.http_port_may_move;
}

Error bad(std::string_view name, std::string_view value, std::string_view takes) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("{}='{}': it takes {}", name, value, takes)};
}

std::int64_t milliseconds(Duration d) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(d).count();
}

/// What every mode with peers needs.
Result<> check_cluster(const Settings& s) {
    const ClusterSettings& c = s.cluster;
    const auto bind = parse_host_port(c.bind_address);
    for (const auto& [port, name] :
         {std::pair{s.bolt_port, "NORNICDB_BOLT_PORT"}, std::pair{s.http_port, "NORNICDB_HTTP_PORT"}}) {
        if (bind && bind->second == port && port != 0) {
            return fail(ErrorCode::kInvalidArgument,
                        fmt::format("NORNICDB_CLUSTER_BIND_ADDR='{}': its port is {}, too: they must differ",
                                    c.bind_address,
                                    name));
        }
    }
    if (c.tls_enabled && (c.tls_certificate_file.empty() || c.tls_key_file.empty())) {
        return fail(ErrorCode::kInvalidArgument,
                    "NORNICDB_CLUSTER_TLS_ENABLED=true takes NORNICDB_CLUSTER_TLS_CERT_FILE and "
                    "NORNICDB_CLUSTER_TLS_KEY_FILE as well");
    }
    if (c.tls_verify_client && (!c.tls_enabled || c.tls_ca_file.empty())) {
        return fail(ErrorCode::kInvalidArgument,
                    "NORNICDB_CLUSTER_TLS_VERIFY_CLIENT=true takes NORNICDB_CLUSTER_TLS_ENABLED=true and "
                    "NORNICDB_CLUSTER_TLS_CA_FILE as well");
    }
    for (const auto& [path, name] : {std::pair{&c.tls_certificate_file, "NORNICDB_CLUSTER_TLS_CERT_FILE"},
                                     std::pair{&c.tls_key_file, "NORNICDB_CLUSTER_TLS_KEY_FILE"},
                                     std::pair{&c.tls_ca_file, "NORNICDB_CLUSTER_TLS_CA_FILE"}}) {
        if (c.tls_enabled && !path->empty() && ::access(path->c_str(), R_OK) != 0) {
            return fail(ErrorCode::kInvalidArgument,
                        fmt::format("{}='{}': it takes a PEM file that can be read ({})",
                                    name,
                                    *path,
                                    std::strerror(errno)));
        }
    }
    return success();
}

Result<> check_hot_standby(const Settings& s) {
    const ClusterSettings& c = s.cluster;
    if (c.ha_role.empty()) {
        return fail(ErrorCode::kInvalidArgument,
                    "NORNICDB_CLUSTER_HA_ROLE='': ha_standby takes primary, standby or witness");
    }
    const std::size_t peers = split_list(c.ha_peer_address).size();
    if (c.ha_role != "witness" && peers != 1) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("NORNICDB_CLUSTER_HA_PEER_ADDR='{}': a {} takes the one host:port of the other data "
                                "member",
                                c.ha_peer_address,
                                c.ha_role));
    }
    if (c.ha_role == "witness" && peers != 0 && peers != 2) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("NORNICDB_CLUSTER_HA_PEER_ADDR='{}': a witness takes both data members, host:port,"
                                "host:port, or nothing",
                                c.ha_peer_address));
    }
    if (c.ha_role == "witness" && !c.ha_witness_address.empty()) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("NORNICDB_CLUSTER_HA_WITNESS_ADDR='{}': a witness takes none; primary and standby do",
                                c.ha_witness_address));
    }
    if (c.ha_role != "witness" && c.ha_fence_policy == "witness" && c.ha_witness_address.empty()) {
        return fail(ErrorCode::kInvalidArgument,
                    "NORNICDB_CLUSTER_HA_FENCE_POLICY='witness': it takes NORNICDB_CLUSTER_HA_WITNESS_ADDR as well");
    }
    if (!c.ha_witness_address.empty() && c.ha_witness_address == c.ha_peer_address) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("NORNICDB_CLUSTER_HA_WITNESS_ADDR='{}' is NORNICDB_CLUSTER_HA_PEER_ADDR, too: a "
                                "witness is a third process",
                                c.ha_witness_address));
    }
    if (c.ha_heartbeat < std::chrono::milliseconds{10}) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("NORNICDB_CLUSTER_HA_HEARTBEAT_MS={}: it takes at least 10",
                                milliseconds(c.ha_heartbeat)));
    }
    if (c.ha_failover_timeout <= 3 * c.ha_heartbeat) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("NORNICDB_CLUSTER_HA_FAILOVER_TIMEOUT={}ms: failover timeout must exceed 3 × heartbeat "
                                "(NORNICDB_CLUSTER_HA_HEARTBEAT_MS={})",
                                milliseconds(c.ha_failover_timeout),
                                milliseconds(c.ha_heartbeat)));
    }
    if (c.ha_sync_timeout < std::chrono::milliseconds{10}) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("NORNICDB_CLUSTER_HA_SYNC_TIMEOUT={}ms: it takes at least 10ms",
                                milliseconds(c.ha_sync_timeout)));
    }
    return success();
}

/// The secret of the file, if one is named.
Result<> read_secret(ClusterSettings& c) {
    constexpr std::size_t kSecretMin = 32;
    constexpr std::size_t kSecretMax = 4096;
    const bool from_file = !c.replication_secret_file.empty();
    const std::string_view name =
        from_file ? "NORNICDB_CLUSTER_REPLICATION_SECRET_FILE" : "NORNICDB_CLUSTER_REPLICATION_SECRET";
    if (from_file) {
        if (!c.replication_secret.empty()) {
            return fail(ErrorCode::kInvalidArgument,
                        fmt::format("NORNICDB_CLUSTER_REPLICATION_SECRET_FILE='{}': NORNICDB_CLUSTER_REPLICATION_SECRET "
                                    "is set, too; it takes one of both",
                                    c.replication_secret_file));
        }
        std::ifstream file{c.replication_secret_file, std::ios::binary};
        std::string text(kSecretMax + 1, '\0');
        file.read(text.data(), static_cast<std::streamsize>(text.size()));
        text.resize(static_cast<std::size_t>(file.gcount()));
        while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) {
            text.pop_back();
        }
        if (text.empty()) {
            return fail(ErrorCode::kInvalidArgument,
                        fmt::format("{}='{}': it takes a file that can be read and is not empty",
                                    name,
                                    c.replication_secret_file));
        }
        c.replication_secret = std::move(text);
    }
    if (const std::size_t size = c.replication_secret.size();
        (size > 0 && size < kSecretMin) || size > kSecretMax) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("{}: the secret has {} characters: it takes at least {}, at most {}",
                                name,
                                size > kSecretMax ? fmt::format("more than {}", kSecretMax) : fmt::to_string(size),
                                kSecretMin,
                                kSecretMax));
    }
    return success();
}

/// Defaults that depend on other settings.
void resolve(ClusterSettings& c) {
    constexpr Duration kSyncTimeoutMax = std::chrono::seconds{5};
    if (c.ha_sync_timeout == Duration::zero()) {
        c.ha_sync_timeout = std::min(c.ha_failover_timeout / 3, kSyncTimeoutMax);
    }
    if (c.ha_fence_policy.empty()) {
        c.ha_fence_policy = c.ha_witness_address.empty() ? "available" : "witness";
    }
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
    if (c.mode == "ha_standby") {
        NORNIC_TRY(check_hot_standby(s));
    }
    if (c.mode != "standalone") {
        NORNIC_TRY(check_cluster(s));
        if (c.snapshot_bytes_per_second < kSnapshotRateMin) {
            return fail(ErrorCode::kInvalidArgument,
                        fmt::format("NORNICDB_CLUSTER_SNAPSHOT_RATE={}: it takes at least 1MiB (a second), or a member that was away "
                                    "would never catch up",
                                    c.snapshot_bytes_per_second));
        }
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
    s.cache_bytes = std::max<std::uint64_t>(kCacheBytesMin, memory_bytes() / 4);

    Texts file;
    if (!source.config_file.empty()) {
        NORNIC_TRY(file, read_config_file(source.config_file));
    }
    Texts flags = source.command_line;
    NORNIC_TRY(s.http_port_may_move, map_layers(file, flags, loaded.warnings));
    std::vector<std::string> unknown;
    using Layer = const Texts*;
    for (const Layer layer : {Layer{&file}, Layer{&source.environment}, Layer{&flags}}) {
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
                            "config file '{}': '{}' is not a setting; names begin with NORNICDB_, or are among "
                            "those that docs/settings.md lists of other servers",
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
    s.cluster.raft_priority_is_set = loaded.explicit_values.contains("NORNICDB_CLUSTER_RAFT_PRIORITY");
    NORNIC_TRY(read_secret(s.cluster));
    resolve(s.cluster);
    NORNIC_TRY(check_relations(s));
    if (s.cluster.mode == "raft" || s.cluster.mode == "multi_region") {
        NORNIC_TRY(resolve_raft(s.cluster));
    }
    if (s.cluster.mode == "multi_region") {
        NORNIC_TRY(resolve_region(s.cluster));
    }
    NORNIC_TRY(resolve_routing(s.cluster));
    return loaded;
}

std::map<std::string, std::string> process_environment() {
    std::map<std::string, std::string> out;
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
        const std::string_view text{*entry};
        const std::size_t equals = text.find('=');
        const std::string_view name = text.substr(0, equals);
        if (equals != std::string_view::npos && (name.starts_with(kPrefix) || name.starts_with(kOpenTelemetryPrefix))) {
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
