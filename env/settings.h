// The process's settings: NORNICDB_* names (and OpenTelemetry's) from a config file, the environment and the command
// line, parsed and checked in one place. Nothing else reads the environment.
//
// docs/settings.md is made from the same table (`nornicdb settings --markdown`).
#pragma once

#include "base/clock.h"
#include "base/result.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::env {

struct TlsSettings {
    bool enabled = false;
    std::string certificate_file;  // PEM
    std::string key_file;
    bool required = false;  // refuse plain connections
    std::string client_ca_file;
};

/// One entry of NORNICDB_CLUSTER_RAFT_PEERS.
struct RaftPeerAddress {
    std::string id;  // empty: "host:port" alone was given
    std::string address;
    bool operator==(const RaftPeerAddress&) const = default;
};

/// What NORNICDB_CLUSTER_REMOTE_REGIONS says of one region.
struct RemoteRegionAddresses {
    std::string name;
    std::vector<std::string> addresses;  // of any of its members
    bool operator==(const RemoteRegionAddresses&) const = default;
};

/// One step of a rule of a routing policy: who passes it.
struct RoutingStep {
    enum class Kind : std::uint8_t {
        kAll,
        kTags,  // who has one of `tags`
        kMin,   // all of them if they are so many, else none
        kHalt,  // none, and no further rule is tried
    };
    Kind kind = Kind::kAll;
    std::vector<std::string> tags;
    std::uint32_t count = 0;
};
/// The first rule counts that leaves anybody; if none does, all pass unless the last one halts.
struct RoutingPolicy {
    std::string name;
    std::vector<std::vector<RoutingStep>> rules;
};

struct ClusterSettings {
    std::string mode;  // standalone, ha_standby, raft, multi_region
    std::string node_id;
    std::string bind_address;
    std::string advertise_address;
    std::string data_directory;
    bool debug = false;
    bool leave_on_stop = false;
    std::string wire_format;
    std::string replication_secret;  // of the file, if one is named; empty: none
    std::string replication_secret_file;
    std::uint64_t log_retention_bytes = 0;
    std::uint64_t snapshot_bytes_per_second = 0;
    std::string read_consistency;
    std::string write_consistency;
    std::string server_tags;
    std::string routing_policies;
    std::vector<std::string> server_tag_list;        // resolved
    std::vector<RoutingPolicy> routing_policy_list;  // resolved

    std::string ha_role;          // primary, standby, witness
    std::string ha_peer_address;  // a witness may name both data members: "a:7688,b:7688"
    std::string ha_sync_mode;
    Duration ha_heartbeat{};
    Duration ha_failover_timeout{};
    Duration ha_sync_timeout{};  // resolved: a third of the one before, at most 5 s
    bool ha_auto_failover = true;
    std::string ha_witness_address;
    std::string ha_fence_policy;  // resolved: witness if one is set, else available
    std::int64_t ha_wal_batch_size = 1000;
    Duration ha_wal_batch_timeout{};
    Duration ha_reconnect_interval{};

    std::string raft_cluster_id;
    bool raft_bootstrap = false;
    std::string raft_peers;
    Duration raft_election_timeout{};
    Duration raft_heartbeat_timeout{};
    Duration raft_snapshot_interval{};
    Duration raft_digest_interval{};
    std::int64_t raft_snapshot_threshold = 10000;
    std::int64_t raft_trailing_logs = 10000;
    std::int64_t raft_max_append_entries = 64;
    std::string raft_role;
    std::string raft_join;
    std::int64_t raft_priority = 100;
    bool raft_priority_is_set = false;  // by somebody, not by default
    bool raft_witness_may_lead = false;
    std::vector<RaftPeerAddress> raft_peer_list;  // resolved: the others of raft_peers
    std::vector<std::string> raft_join_list;      // resolved: the others of raft_join

    std::string region_id;
    std::string remote_regions;
    std::string cross_region_mode;
    Duration cross_region_timeout{};
    std::string cross_region_fallback;
    std::string conflict_strategy;
    std::string region_writes;
    Duration region_clock_offset_max{};
    std::vector<RemoteRegionAddresses> remote_region_list;  // resolved

    bool tls_enabled = false;
    std::string tls_certificate_file;
    std::string tls_key_file;
    std::string tls_ca_file;
    bool tls_verify_client = false;
    std::string tls_min_version;
    std::string tls_server_name;
};

/// OpenTelemetry's own names (docs/tracing.md).
struct TraceSettings {
    std::string endpoint;  // "http://host:4318"; empty: nothing is traced
    std::string service_name;
    double sample_ratio = 1;
    std::string headers;              // name=value, several with commas between
    std::string resource_attributes;  // likewise
};

struct Settings {
    std::string address;
    std::uint16_t bolt_port = 7687;
    std::uint16_t http_port = 7474;
    std::string bolt_advertise_address;  // empty: derived when the port is known
    std::string http_advertise_address;
    std::string bolt_routing_address;  // the one address of all roles, or "client": the one that the client came by; empty: off
    std::string data_directory;
    std::string auth_user;  // empty: authentication is off
    std::string auth_password;
    bool auth_enabled = true;
    std::string default_database;
    std::string log_level;
    std::string log_format;
    std::string log_directory;  // empty: standard error alone
    bool audit_enabled = true;
    std::string audit_file;  // empty: among the other lines alone
    TraceSettings trace;
    TlsSettings bolt_tls;
    TlsSettings http_tls;
    std::string follower_writes;
    std::uint16_t follower_writes_port = 0;  // 0: the leader's advertised address is dialed

    std::uint64_t cache_bytes = 0;  // resolved; the default is a quarter of the machine's memory
    std::uint64_t query_memory_bytes_max = 0;
    std::uint64_t disk_reserve_bytes = 0;
    std::uint64_t checkpoint_log_bytes = 0;
    Duration checkpoint_interval{};
    Duration transaction_timeout{};  // 0: none
    Duration lock_timeout{};         // 0: none
    std::int64_t transactions_max = 1000;
    Duration slow_query_threshold{};  // 0: off
    bool slow_query_parameters = false;
    bool read_only = false;
    bool http_port_may_move = false;  // resolved: a foreign file gives several members of this machine the same one
    std::int64_t bolt_connections_max = 10000;
    std::int64_t threads_max = 400;
    Duration shutdown_timeout{};
    std::int64_t password_length_min = 8;
    std::int64_t failed_logins_max = 3;
    Duration lockout_duration{};
    std::string import_directory;  // LOAD CSV file:///; empty: refused

    ClusterSettings cluster;
};

/// One row of the reference: what --help and docs/settings.md print.
struct SettingInfo {
    std::string name;          // NORNICDB_BOLT_PORT
    std::string flag;          // bolt-port
    std::string default_text;  // as a user would write it
    std::string takes;         // "a port, 0 to 65535 (0: any free one)"
    std::string description;
    std::string group;
};
const std::vector<SettingInfo>& all_settings();

/// A name that other servers' configurations use (bolt_raft_port, ha_conf): in a JSON config file and as a flag.
struct ForeignName {
    std::string name;
    std::string takes;
    std::string meaning;
};
std::vector<ForeignName> all_foreign_names();
bool is_foreign_name(std::string_view name);

struct Source {
    std::string config_file;                          // empty: none. Lines of NAME=value, or one JSON object
    std::map<std::string, std::string> environment;   // NORNICDB_* and OTEL_* alone
    std::map<std::string, std::string> command_line;  // by NORNICDB_ name, or a foreign one
};

struct Loaded {
    Settings settings;
    std::vector<std::string> warnings;  // one line each: unknown NORNICDB_ names and the like
    std::map<std::string, std::string>
        explicit_values;  // what was set, secrets masked; for SHOW SETTINGS
};

/// kInvalidArgument with one line that names the variable, its value and what it takes. Nothing is
/// half read. An unknown NORNICDB_CLUSTER_ name is an error, other unknown NORNICDB_ names a
/// warning.
Result<Loaded> load(const Source& source);

/// The NORNICDB_* and OTEL_* part of this process's environment.
std::map<std::string, std::string> process_environment();

/// Where this user's files go (HOME), or empty.
std::string home_directory();

/// "30s", "100ms", "5m", "1h", "1500" (plain numbers are of `plain_unit`).
Result<Duration> parse_duration(std::string_view text, Duration plain_unit);
/// "512MiB", "64m", "1GB", "1024".
Result<std::uint64_t> parse_bytes(std::string_view text);
/// "host:port", "[::1]:7687"; nullopt if it is not one.
std::optional<std::pair<std::string, std::uint16_t>> parse_host_port(std::string_view text);
/// "id:host:port", "host:port", "[::1]:7688", with commas between. kInvalidArgument naming the variable and the entry.
Result<std::vector<RaftPeerAddress>> parse_raft_peers(std::string_view text);
/// "name=value,name=value" as OpenTelemetry writes it, values percent-decoded; nullopt if it is not that.
std::optional<std::vector<std::pair<std::string, std::string>>> parse_pairs(std::string_view text);
/// The parts of a comma-separated list, without blanks around them; empty parts are left out.
std::vector<std::string> split_list(std::string_view text);

}  // namespace nornic::env
