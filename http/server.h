// The HTTP listener: discovery, /health, /ready, /metrics and Neo4j's Query API. The front door of
// this room, with backend.h.
//
// Threads: everything runs on the threads that run the io_context; calls of the backend that may
// take long are surrounded by settings.enter_blocking and leave_blocking.
#pragma once

#include "base/clock.h"
#include "base/result.h"
#include "http/backend.h"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace boost::asio {
class io_context;
}

namespace nornic::http {

struct TlsSettings {
    bool enabled = false;
    bool required = false;         // refuse plain requests; else both are served on the same port
    std::string certificate_file;  // PEM, with the chain
    std::string key_file;
    std::string client_ca_file;
};

struct Settings {
    std::string address = "127.0.0.1";
    std::uint16_t port = 7474;  // 0: any free one
    TlsSettings tls;
    std::size_t connections_max = 1000;
    std::size_t header_bytes_max = 16 * 1024;
    std::size_t body_bytes_max = std::size_t{64} << 20;
    /// Of a request without credentials, where they are needed: it is only there to be refused.
    std::size_t body_bytes_max_without_credentials = 64 * 1024;
    /// Of all requests that are being read together; beyond it large ones are told to come again.
    std::size_t bodies_bytes_max = std::size_t{512} << 20;
    std::chrono::milliseconds request_timeout{30'000};     // from its first byte to its last
    std::chrono::milliseconds keep_alive_timeout{60'000};  // idle between requests
    std::function<void(const void* client)> enter_blocking;                  // may be empty
    std::function<void()> leave_blocking;
    std::function<void(std::string_view)> log_warning;  // may be empty
};

struct Metrics {
    std::atomic<std::uint64_t> requests{0};
    std::atomic<std::uint64_t> failures{0};  // answered with 4xx or 5xx
    std::atomic<std::uint64_t> connections_opened{0};
    std::atomic<std::uint64_t> connections_closed{0};
};

class Server {
public:
    /// Listens. kInvalidArgument for an address or certificate that cannot be used, kIo if the port
    /// is taken. The io_context and the backend must outlive it.
    static Result<std::unique_ptr<Server>> start(boost::asio::io_context& io,
                                                 Settings settings,
                                                 Backend& backend);
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    [[nodiscard]] std::uint16_t port() const;
    [[nodiscard]] const Metrics& metrics() const;
    /// Stops to accept, lets requests under way end until the deadline, then closes. Blocks; not on
    /// a thread that the io_context needs.
    void stop(Deadline deadline);

private:
    class Impl;
    explicit Server(std::shared_ptr<Impl> impl);
    std::shared_ptr<Impl> impl_;
};

}  // namespace nornic::http
