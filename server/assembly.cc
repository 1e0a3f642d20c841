#include "server/assembly.h"

#include "base/random.h"
#include "engine/log/file.h"
#include "modes/hot_standby/hot_standby.h"
#include "observability/log.h"
#include "server/disk_room.h"
#include "server/version.h"
#include "transport/tcp_bus.h"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace nornic::server {
namespace {

constexpr Duration kSilenceMin = std::chrono::seconds{1};
constexpr Duration kSilenceMax = std::chrono::seconds{5};
constexpr int kPingsPerSilence = 4;
constexpr Duration kRaftSilenceMin = std::chrono::milliseconds{500};
/// A frame of 64 MiB takes it in either wire format, and with the names that other regions are told.
constexpr std::size_t kReplicatedBytesMax = std::size_t{40} << 20;
constexpr Duration kRaftReconnectMin = std::chrono::milliseconds{20};
constexpr Duration kRaftReconnectMax = std::chrono::milliseconds{500};
constexpr Duration kTickMin = std::chrono::milliseconds{1};
constexpr Duration kUnknownMargin = std::chrono::seconds{2};

bool is_wildcard(const std::string& host) {
    return host == "0.0.0.0" || host == "::" || host == "*";
}

std::string machine_name() {
    char name[256] = {};
    return ::gethostname(name, sizeof name - 1) == 0 && name[0] != 0 ? std::string{name} : "localhost";
}

std::string joined(const std::string& host, std::uint16_t port) {
    return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

}  // namespace

ElasticPool::Settings pool_settings(const env::Settings& settings) {
    ElasticPool::Settings out;
    out.threads_min = std::max<std::size_t>(3, std::thread::hardware_concurrency() + 1);
    out.threads_max = std::max(out.threads_min, static_cast<std::size_t>(settings.threads_max));
    // With peers another thread answers, and a client's next request may find the one that took the first still at work.
    out.may_park = settings.cluster.mode == "standalone";
    return out;
}

std::string recovery_mark(const std::string& directory) {
    return directory + "/recovery.unfinished";
}

Result<> make_data_directory(const std::string& directory) {
    if (auto made = engine::posix_file_system().make_directories(directory); !made) {
        return fail(made.error().code(),
                    fmt::format("NORNICDB_DATA_DIR='{}' cannot be created: {}", directory, made.error().message()));
    }
    if (::access(directory.c_str(), R_OK | W_OK | X_OK) != 0) {
        return fail(ErrorCode::kIo,
                    fmt::format("NORNICDB_DATA_DIR='{}' cannot be read and written by user {}, whose this process is: {}",
                                directory,
                                ::getuid(),
                                std::strerror(errno)));
    }
    std::error_code error;
    if (std::filesystem::exists(recovery_mark(directory), error)) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("NORNICDB_DATA_DIR='{}' is of a member whose recovery was interrupted, so it is of the old group by half: run "
                                "'nornicdb recover --force-new-cluster' again before it is started",
                                directory));
    }
    const auto there = [&](std::string_view name) { return std::filesystem::exists(fmt::format("{}/{}", directory, name), error); };
    // The log is made before the store: without it, what was written since the last checkpoint is lost.
    if ((there("store") || there("store.current")) && !there("log")) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("NORNICDB_DATA_DIR='{}' holds a store and no log, in which the newest writes were. Put log/ back, or restore "
                                "the whole directory from a backup, or, in a cluster, empty it so that this member is rebuilt from the others",
                                directory));
    }
    return check_room_to_start(directory);
}

Result<> replace_file(const std::string& path, std::string_view text) {
    const std::string temporary = path + ".new";
    const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    const bool written = fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && ::fsync(fd) == 0;
    const int why = errno;
    if (fd >= 0) {
        ::close(fd);
    }
    if (!written || ::rename(temporary.c_str(), path.c_str()) != 0) {
        return fail(ErrorCode::kIo, fmt::format("'{}' cannot be written: {}", path, std::strerror(written ? errno : why)));
    }
    return success();
}

Result<std::string> load_node_id(const std::string& directory, const std::string& wanted) {
    const std::string path = directory + "/node.json";
    std::string known;
    if (std::ifstream file{path}) {
        const std::string text{std::istreambuf_iterator<char>{file}, {}};
        boost::system::error_code error;
        const auto parsed = boost::json::parse(text, error);
        if (error || !parsed.is_object() || !parsed.as_object().contains("node_id") ||
            !parsed.at("node_id").is_string()) {
            return fail(ErrorCode::kCorruption,
                        fmt::format("'{}' is damaged: it should hold {{\"node_id\": …}}", path));
        }
        known = std::string{parsed.at("node_id").as_string()};
    }
    if (!known.empty()) {
        if (!wanted.empty() && wanted != known) {
            return fail(ErrorCode::kInvalidArgument,
                        fmt::format("NORNICDB_CLUSTER_NODE_ID='{}', but the data in '{}' belongs "
                                    "to '{}': use that name or another data directory",
                                    wanted,
                                    directory,
                                    known));
        }
        return known;
    }
    known = wanted.empty() ? "node-" + make_uuid().substr(0, 8) : wanted;
    NORNIC_TRY(replace_file(path, boost::json::serialize(boost::json::object{{"node_id", known}}) + "\n"));
    return known;
}

Result<std::unique_ptr<engine::Log>> open_log(const env::Settings& settings, Clock& clock) {
    engine::LogSettings log_settings;
    log_settings.directory = settings.data_directory + "/log";
    log_settings.reserve_bytes = settings.disk_reserve_bytes;
    NORNIC_TRY(auto log, engine::open_segmented_log(log_settings, clock));
    if (const std::uint64_t cut = log->recovery().torn_bytes_cut; cut > 0) {
        log::info("The log's end was torn by a crash; {} bytes that nobody was promised were cut.", cut);
    }
    return log;
}

std::string cluster_address(const env::Settings& settings) {
    if (!settings.cluster.advertise_address.empty()) {
        return settings.cluster.advertise_address;
    }
    const auto bind = env::parse_host_port(settings.cluster.bind_address);
    if (!bind || bind->second == 0) {
        return {};
    }
    return joined(is_wildcard(bind->first) ? machine_name() : bind->first, bind->second);
}

std::string host_to_advertise(const env::Settings& settings) {
    if (const auto cluster = env::parse_host_port(settings.cluster.advertise_address)) {
        return cluster->first;
    }
    if (!is_wildcard(settings.address)) {
        return settings.address;
    }
    return settings.cluster.mode == "standalone" ? "localhost" : machine_name();
}

std::unique_ptr<transport::MessageBus> make_bus(const env::Settings& settings,
                                                const ModeEntry& mode,
                                                const transport::PeerInfo& self,
                                                Metrics& metrics,
                                                Clock& clock) {
    const env::ClusterSettings& cluster = settings.cluster;
    transport::Settings out;
    out.bind_address = cluster.bind_address;
    out.cluster_id = cluster.raft_cluster_id;
    out.region = cluster.mode == "multi_region" ? cluster.region_id : std::string{};
    out.software_version = std::string{kVersion};
    out.wire_format =
        cluster.wire_format == "json" ? transport::WireFormat::kJson : transport::WireFormat::kProtobuf;
    out.secret = cluster.replication_secret;
    out.tls = {cluster.tls_enabled,
               cluster.tls_certificate_file,
               cluster.tls_key_file,
               cluster.tls_ca_file,
               cluster.tls_verify_client,
               cluster.tls_min_version,
               cluster.tls_server_name};
    out.debug = cluster.debug;
    // A link that is dead is noticed no later than its member, and dialed again before it is given up.
    if (is_raft(cluster.mode)) {
        out.silence_timeout = std::clamp(cluster.raft_election_timeout, kRaftSilenceMin, kSilenceMax);
        out.reconnect_max = std::min(kRaftReconnectMax, cluster.raft_election_timeout / 2);
        out.reconnect_min = std::min(kRaftReconnectMin, out.reconnect_max);
    } else {
        out.silence_timeout = std::clamp(cluster.ha_failover_timeout, kSilenceMin, kSilenceMax);
        out.reconnect_max = std::min(cluster.ha_reconnect_interval, cluster.ha_failover_timeout / 2);
        out.reconnect_min = std::min(out.reconnect_min, out.reconnect_max);
    }
    out.keep_alive = out.silence_timeout / kPingsPerSilence;
    auto bus = transport::make_tcp_bus(out, &metrics, clock);
    bus->set_self(self);
    bus->set_peers(mode.peers(cluster));
    return bus;
}

modes::ReplicaSettings replica_settings(const env::Settings& settings) {
    modes::ReplicaSettings out;
    out.diverged_directory = settings.data_directory + "/diverged";
    out.log_retention_bytes = settings.cluster.log_retention_bytes;
    out.snapshot_bytes_per_second = settings.cluster.snapshot_bytes_per_second;
    out.gather = settings.cluster.ha_wal_batch_timeout;
    if (settings.cluster.mode != "standalone") {
        out.write_set_bytes_max = kReplicatedBytesMax;
    }
    if (settings.cluster.mode == "ha_standby") {
        // Its writes may have to wait until a silent standby could not take over any more.
        const Duration longest = modes::alone_after(settings.cluster.ha_failover_timeout, settings.cluster.ha_heartbeat);
        out.unknown_after = std::max(out.unknown_after, longest + kUnknownMargin);
    }
    if (is_raft(settings.cluster.mode)) {
        // At least two ticks a heartbeat, in whole milliseconds.
        out.tick_interval = std::min(
            out.tick_interval,
            std::max(kTickMin,
                     Duration{std::chrono::floor<std::chrono::milliseconds>(settings.cluster.raft_heartbeat_timeout / 2)}));
    }
    return out;
}

std::string make_uuid() {
    Random random = Random::from_os();
    return nornic::make_uuid(random);
}

}  // namespace nornic::server
