#include "server/serve.h"

#include "bolt/server.h"
#include "http/server.h"
#include "observability/log.h"
#include "server/assembly.h"
#include "server/bolt_backend.h"
#include "server/file_limit.h"
#include "server/http_backend.h"
#include "server/instance.h"
#include "server/version.h"
#include "server/witness.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <thread>

namespace nornic::server {
namespace {

constexpr int kExitRefused = 1;
constexpr int kExitFailed = 70;  // EX_SOFTWARE: restarting verifies the log from disk
constexpr std::chrono::milliseconds kWatchInterval{200};
// Between the end of a transaction that took too long and the end of its connection: time for its
// answer.
constexpr std::chrono::seconds kLastAnswerGrace{1};

log::Level level_of(const std::string& name) {
    if (name == "debug") {
        return log::Level::kDebug;
    }
    if (name == "warn") {
        return log::Level::kWarn;
    }
    return name == "error" ? log::Level::kError : log::Level::kInfo;
}

void warn_line(std::string_view line) {
    log::write(log::Level::kWarn, line);
}

bolt::Settings bolt_settings(const env::Settings& settings,
                             std::size_t connections_max,
                             Instance& instance) {
    bolt::Settings out;
    out.address = settings.address;
    out.port = settings.bolt_port;
    out.connections_max = connections_max;
    out.tls = {settings.bolt_tls.enabled,
               settings.bolt_tls.required,
               settings.bolt_tls.certificate_file,
               settings.bolt_tls.key_file,
               settings.bolt_tls.client_ca_file};
    out.blocking_scope = &instance.pool();
    out.shared_io = instance.mode().has_peers ? &instance.pool().shared_io() : nullptr;
    out.log_warning = warn_line;
    return out;
}

http::Settings http_settings(const env::Settings& settings,
                             std::size_t connections_max,
                             ElasticPool& pool) {
    http::Settings out;
    out.address = settings.address;
    out.port = settings.http_port;
    out.connections_max = connections_max;
    out.tls = {settings.http_tls.enabled,
               settings.http_tls.required,
               settings.http_tls.certificate_file,
               settings.http_tls.key_file,
               settings.http_tls.client_ca_file};
    out.enter_blocking = [&pool](const void* client) { pool.enter(client); };
    out.leave_blocking = [&pool] { pool.leave(); };
    out.log_warning = warn_line;
    return out;
}

/// Where a foreign configuration gives all members of this machine one web port, the next free one.
Result<std::unique_ptr<http::Server>> start_http(const env::Settings& settings,
                                                 std::size_t connections_max,
                                                 ElasticPool& pool,
                                                 http::Backend& backend) {
    constexpr int kPortsTried = 16;
    http::Settings wanted = http_settings(settings, connections_max, pool);
    auto server = http::Server::start(pool.io(), wanted, backend);
    if (!settings.http_port_may_move || wanted.port == 0) {
        return server;
    }
    for (int i = 1; i < kPortsTried && !server; ++i) {
        if (wanted.port == UINT16_MAX) {
            break;
        }
        ++wanted.port;
        if (auto next = http::Server::start(pool.io(), wanted, backend); next) {
            warn_line(fmt::format("Web port {} is taken and all members of the configuration have it: this one is on {}.",
                                  settings.http_port,
                                  wanted.port));
            server = std::move(next);
        }
    }
    return server;
}

/// Waits for SIGTERM or SIGINT; every 200 ms looks whether the member can go on, and calls `tend`. Returns false if
/// it cannot.
bool wait_for_end(modes::Replica& replica, const sigset_t& signals, const std::function<void()>& tend) {
    const timespec interval{0, std::chrono::nanoseconds{kWatchInterval}.count()};
    for (;;) {
        siginfo_t info{};
        const int signal = sigtimedwait(&signals, &info, &interval);
        if (signal == SIGTERM || signal == SIGINT) {
            log::info("{} received; stopping.", signal == SIGTERM ? "SIGTERM" : "SIGINT");
            return true;
        }
        tend();
        if (replica.failure()) {
            return false;
        }
    }
}

[[noreturn]] void exit_failed(const modes::Replica& replica) {
    log::error(
        "This server cannot go on and exits with code {}: {}. Restart it; nothing acknowledged "
        "is lost.",
        kExitFailed,
        replica.failure()->message());
    log::flush();
    std::_Exit(kExitFailed);
}

int refuse(const Error& error) {
    log::error("Start refused: {}", error.message());
    return kExitRefused;
}

std::string advertised(const env::Settings& settings, const std::string& wanted, std::uint16_t port) {
    if (!wanted.empty()) {
        return wanted;
    }
    const std::string host = host_to_advertise(settings);
    return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                               : fmt::format("[{}]:{}", host, port);
}

std::string as_list(const std::vector<std::string>& texts) {
    return texts.empty() ? "none" : fmt::format("{}", fmt::join(texts, ", "));
}

/// What this member was told, in one line.
void announce_membership(const env::ClusterSettings& cluster, const modes::ClusterView& view) {
    if (is_raft(cluster.mode)) {
        std::vector<std::string> peers;
        for (const env::RaftPeerAddress& peer : cluster.raft_peer_list) {
            peers.push_back(peer.id.empty() ? peer.address : peer.id + " at " + peer.address);
        }
        log::info("Member '{}' of cluster '{}' on {}, a {}{} (peers {}; joins {}; election {} ms, heartbeat {} ms).",
                  view.self,
                  view.cluster_id,
                  cluster.bind_address,
                  cluster.raft_role,
                  cluster.raft_bootstrap ? " that makes the group if there is none" : "",
                  as_list(peers),
                  as_list(cluster.raft_join_list),
                  cluster.raft_election_timeout / std::chrono::milliseconds{1},
                  cluster.raft_heartbeat_timeout / std::chrono::milliseconds{1});
        if (cluster.mode == "multi_region") {
            std::vector<std::string> remotes;
            for (const env::RemoteRegionAddresses& remote : cluster.remote_region_list) {
                remotes.push_back(fmt::format("{} at {}", remote.name, fmt::join(remote.addresses, " and ")));
            }
            log::info("Region '{}' (other regions: {}; {}; conflicts: {}; writes: {}).",
                      cluster.region_id,
                      as_list(remotes),
                      cluster.cross_region_mode,
                      cluster.conflict_strategy,
                      cluster.region_writes);
        }
        return;
    }
    log::info("Member '{}' of cluster '{}' on {}, started as {} (peer {}, {}, fence policy {}{}).",
              view.self,
              view.cluster_id,
              cluster.bind_address,
              cluster.ha_role,
              cluster.ha_peer_address.empty() ? "dials in" : cluster.ha_peer_address,
              cluster.ha_sync_mode,
              cluster.ha_fence_policy,
              cluster.ha_witness_address.empty() ? "" : ", witness " + cluster.ha_witness_address);
}

bool is_loopback(const std::string& host) {
    return host.starts_with("127.") || host == "localhost" || host == "::1";
}

void announce_cluster(const env::Settings& settings, const ModeEntry& mode, const modes::Replica& replica) {
    announce_membership(settings.cluster, replica.view());
    const std::vector<std::string> peers = mode.peers(settings.cluster);
    const bool far = std::any_of(peers.begin(), peers.end(), [](const std::string& address) {
        const auto peer = env::parse_host_port(address);
        return peer && !is_loopback(peer->first);
    });
    if (far && is_loopback(settings.address) && !is_witness(settings.cluster)) {
        log::warn("NORNICDB_ADDRESS='{}': clients on other machines cannot reach this member; 0.0.0.0 takes them.",
                  settings.address);
    }
}

int serve_witness(const env::Loaded& loaded,
                  const ModeEntry& mode,
                  std::size_t http_connections,
                  const sigset_t& signals) {
    const env::Settings& settings = loaded.settings;
    auto opened = Witness::open(loaded, system_clock());
    if (!opened) {
        return refuse(opened.error());
    }
    Witness& witness = *opened.value();
    auto http = start_http(settings, http_connections, witness.pool(), witness);
    if (!http) {
        return refuse(http.error());
    }
    if (auto started =
            witness.start(advertised(settings, settings.http_advertise_address, http.value()->port()));
        !started) {
        return refuse(started.error());
    }
    witness.pool().start();
    announce_cluster(settings, mode, witness.replica());
    log::info("HTTP enabled on {}:{}.", settings.address, http.value()->port());
    log::info("Started.");
    if (!wait_for_end(witness.replica(), signals, [&] { witness.tend(); })) {
        exit_failed(witness.replica());
    }
    const Deadline deadline = system_clock().now() + settings.shutdown_timeout;
    witness.replica().leave(deadline);
    http.value()->stop(deadline);
    witness.replica().stop();
    witness.pool().stop();
    witness.close();
    log::info("Stopped.");
    return 0;
}

/// Leadership first, so that somebody else takes writes by the time this member's clients are sent away. Then what
/// runs may end by itself until the deadline; after that it is told why it cannot, and its client with it.
void stop(const env::Settings& settings,
         Instance& instance,
         HttpBackend& http_backend,
         bolt::Server& bolt,
         http::Server& http) {
    const Deadline deadline = system_clock().now() + settings.shutdown_timeout;
    instance.replica().leave(deadline);
    std::thread last_call{[&instance, &http_backend, deadline] {
        // As connections do (bolt::Server::stop()): a client that thinks for longer is not waited for.
        for (Deadline now = system_clock().now(); now < deadline; now = system_clock().now()) {
            if (instance.transactions().wait_until_idle(std::min(deadline, now + bolt::kStopIdleLook))) {
                return;
            }
            http_backend.expire_idle(bolt::kStopIdleGrace);
        }
        if (!instance.transactions().wait_until_idle(deadline)) {
            log::warn("{} transactions did not end in time and are rolled back.",
                      instance.transactions().count());
            instance.transactions().stop();
        }
    }};
    const std::size_t left = bolt.stop(deadline + kLastAnswerGrace);
    http.stop(deadline + kLastAnswerGrace);
    last_call.join();
    http_backend.close_all();
    instance.set_bolt_server(nullptr);
    instance.set_http_server(nullptr);
    if (left > 0) {
        log::warn(
            "{} connections did not end in time; what they had open is rolled back by the next "
            "start.",
            left);
        log::flush();
        std::_Exit(0);
    }
}

int serve_data(const env::Loaded& loaded, const ConnectionLimits& connections, const sigset_t& signals) {
    const env::Settings& settings = loaded.settings;
    auto opened = Instance::open(loaded, system_clock());
    if (!opened) {
        return refuse(opened.error());
    }
    Instance& instance = *opened.value();
    BoltBackend bolt_backend{instance};
    HttpBackend http_backend{instance};
    // They listen, and serve once the pool has threads: peers are told these ports first.
    auto bolt =
        bolt::Server::start(instance.pool().io(),
                            bolt_settings(settings, connections.bolt, instance),
                            bolt_backend);
    if (!bolt) {
        return refuse(bolt.error());
    }
    auto http = start_http(settings, connections.http, instance.pool(), http_backend);
    if (!http) {
        bolt.value()->stop(system_clock().now());
        return refuse(http.error());
    }
    if (auto started =
            instance.start(advertised(settings, settings.bolt_advertise_address, bolt.value()->port()),
                           advertised(settings, settings.http_advertise_address, http.value()->port()));
        !started) {
        bolt.value()->stop(system_clock().now());
        return refuse(started.error());
    }
    instance.set_bolt_server(bolt.value().get());
    instance.set_http_server(http.value().get());
    instance.pool().start();
    if (instance.mode().has_peers) {
        announce_cluster(settings, instance.mode(), instance.replica());
    }
    log::info("Bolt enabled on {}:{}.", settings.address, bolt.value()->port());
    log::info("HTTP enabled on {}:{}.", settings.address, http.value()->port());
    log::info("Remote interface available at {}://{}/", settings.http_tls.enabled ? "https" : "http", instance.http_address());
    log::info("Started.");
    const bool clean = wait_for_end(instance.replica(), signals, [&] {
        http_backend.expire_idle();
        instance.tend();
    });
    if (!clean) {
        exit_failed(instance.replica());
    }
    stop(settings, instance, http_backend, *bolt.value(), *http.value());
    // First, since what runs in the pool may be waiting for it.
    instance.replica().stop();
    instance.pool().stop();
    instance.close();
    log::info("Stopped.");
    return 0;
}

}  // namespace

int serve(const env::Loaded& loaded) {
    const env::Settings& settings = loaded.settings;
    log::Settings log_settings;
    log_settings.level = level_of(settings.log_level);
    log_settings.format = settings.log_format == "json" ? log::Format::kJson : log::Format::kText;
    log_settings.directory = settings.log_directory;
    log_settings.audit_file = settings.audit_enabled ? settings.audit_file : std::string{};
    if (auto configured = log::configure(log_settings); !configured) {
        return refuse(Error{ErrorCode::kIo, "NORNICDB_LOG_DIR, NORNICDB_AUDIT_FILE: " + configured.error().message()});
    }
    std::signal(SIGPIPE, SIG_IGN);
    // As the first process of a container it inherits orphans; ignored, they leave no zombies. It starts no process itself.
    std::signal(SIGCHLD, SIG_IGN);
    // Blocked before any thread starts, so that this one alone gets them.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);

    log::info("nornicdb {} starting in mode {}; data in '{}'.",
              kVersion,
              settings.cluster.mode,
              settings.data_directory);
    for (const std::string& warning : loaded.warnings) {
        warn_line(warning);
    }
    const ConnectionLimits wanted{static_cast<std::size_t>(settings.bolt_connections_max),
                                  http::Settings{}.connections_max};
    const std::size_t files = raise_file_limit();
    const ConnectionLimits connections = connection_limits(files, wanted);
    if (connections.bolt < wanted.bolt) {
        warn_line(fmt::format("This process may open {} files (ulimit -n): {} Bolt connections are taken, not the {} of "
                              "NORNICDB_BOLT_MAX_CONNECTIONS.",
                              files,
                              connections.bolt,
                              wanted.bolt));
    }
    auto mode = find_mode(settings.cluster.mode);
    if (!mode) {
        return refuse(mode.error());
    }
    return is_witness(settings.cluster) ? serve_witness(loaded, *mode.value(), connections.http, signals)
                                        : serve_data(loaded, connections, signals);
}

}  // namespace nornic::server
