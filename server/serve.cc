#include "server/serve.h"

#include "bolt/server.h"
#include "http/server.h"
#include "observability/log.h"
#include "server/bolt_backend.h"
#include "server/file_limit.h"
#include "server/http_backend.h"
#include "server/instance.h"
#include "server/version.h"

#include <fmt/format.h>

#include <csignal>
#include <cstdlib>
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
    out.log_warning = warn_line;
    return out;
}

http::Settings http_settings(const env::Settings& settings,
                             std::size_t connections_max,
                             Instance& instance) {
    http::Settings out;
    out.address = settings.address;
    out.port = settings.http_port;
    out.connections_max = connections_max;
    out.tls = {settings.http_tls.enabled,
               settings.http_tls.required,
               settings.http_tls.certificate_file,
               settings.http_tls.key_file,
               settings.http_tls.client_ca_file};
    out.enter_blocking = [&instance] { instance.pool().enter(); };
    out.leave_blocking = [&instance] { instance.pool().leave(); };
    out.log_warning = warn_line;
    return out;
}

std::string host_to_advertise(const env::Settings& settings) {
    if (const auto cluster = env::parse_host_port(settings.cluster.advertise_address)) {
        return cluster->first;
    }
    return settings.address == "0.0.0.0" || settings.address == "::" ? "localhost"
                                                                     : settings.address;
}

/// Waits for SIGTERM or SIGINT; every 200 ms looks whether the member can go on. Returns false if
/// it cannot.
bool wait_for_end(Instance& instance, HttpBackend& http, const sigset_t& signals) {
    const timespec interval{0, std::chrono::nanoseconds{kWatchInterval}.count()};
    for (;;) {
        siginfo_t info{};
        const int signal = sigtimedwait(&signals, &info, &interval);
        if (signal == SIGTERM || signal == SIGINT) {
            log::info("{} received; stopping.", signal == SIGTERM ? "SIGTERM" : "SIGINT");
            return true;
        }
        http.expire_idle();
        if (instance.replica().failure()) {
            return false;
        }
    }
}

}  // namespace

int serve(const env::Loaded& loaded) {
    const env::Settings& settings = loaded.settings;
    log::configure(level_of(settings.log_level),
                   settings.log_format == "json" ? log::Format::kJson : log::Format::kText);
    std::signal(SIGPIPE, SIG_IGN);
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
    const auto refuse = [](const Error& error) {
        log::error("Start refused: {}", error.message());
        return kExitRefused;
    };
    if (settings.cluster.mode != "standalone") {
        return refuse(
            Error{ErrorCode::kUnsupported,
                  fmt::format("NORNICDB_CLUSTER_MODE='{}': version {} serves standalone alone",
                              settings.cluster.mode,
                              kVersion)});
    }

    auto opened = Instance::open(loaded, system_clock());
    if (!opened) {
        return refuse(opened.error());
    }
    Instance& instance = *opened.value();
    BoltBackend bolt_backend{instance};
    HttpBackend http_backend{instance};
    auto bolt =
        bolt::Server::start(instance.pool().io(),
                            bolt_settings(settings, connections.bolt, instance),
                            bolt_backend);
    if (!bolt) {
        return refuse(bolt.error());
    }
    auto http =
        http::Server::start(instance.pool().io(),
                            http_settings(settings, connections.http, instance),
                            http_backend);
    if (!http) {
        bolt.value()->stop(system_clock().now());
        return refuse(http.error());
    }
    const std::string host = host_to_advertise(settings);
    const auto advertised = [&](const std::string& wanted, std::uint16_t port) {
        return wanted.empty() ? fmt::format("{}:{}", host, port) : wanted;
    };
    instance.set_addresses(advertised(settings.bolt_advertise_address, bolt.value()->port()),
                           advertised(settings.http_advertise_address, http.value()->port()));
    instance.set_bolt_server(bolt.value().get());
    instance.pool().start();
    log::info("Bolt enabled on {}:{}.", settings.address, bolt.value()->port());
    log::info("HTTP enabled on {}:{}.", settings.address, http.value()->port());
    log::info("Started.");

    const bool clean = wait_for_end(instance, http_backend, signals);
    if (!clean) {
        log::error(
            "This server cannot go on and exits with code {}: {}. Restart it; nothing acknowledged "
            "is lost.",
            kExitFailed,
            instance.replica().failure()->message());
        log::flush();
        std::_Exit(kExitFailed);
    }
    const Deadline deadline = system_clock().now() + settings.shutdown_timeout;
    // What runs may end by itself until the deadline; then it is told why it cannot, and its client
    // with it.
    std::thread last_call{[&instance, deadline] {
        if (!instance.transactions().wait_until_idle(deadline)) {
            log::warn("{} transactions did not end in time and are rolled back.",
                      instance.transactions().count());
            instance.transactions().stop();
        }
    }};
    const std::size_t left = bolt.value()->stop(deadline + kLastAnswerGrace);
    http.value()->stop(deadline + kLastAnswerGrace);
    last_call.join();
    http_backend.close_all();
    instance.set_bolt_server(nullptr);
    if (left > 0) {
        log::warn(
            "{} connections did not end in time; what they had open is rolled back by the next "
            "start.",
            left);
        log::flush();
        std::_Exit(0);
    }
    instance.pool().stop();
    instance.close();
    log::info("Stopped.");
    return 0;
}

}  // namespace nornic::server
