// What a Bolt server can be told, and what it counts. Defaults are Neo4j's.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace boost::asio {
class io_context;
}

namespace nornic::bolt {

/// Entered around calls of the backend that may take long or block, on the thread that runs the
/// io_context: an elastic pool then makes sure that another thread is there for the sockets.
/// `client` only tells one client's requests from another's; nullptr: of no client. Calls nest never and pair up on one
/// thread. Thread-safe.
class BlockingScope {
public:
    virtual ~BlockingScope() = default;
    virtual void enter(const void* client) = 0;
    virtual void leave() = 0;
};

/// Counters since the start; read them at any time from any thread.
struct Metrics {
    std::atomic<std::uint64_t> connections_opened{0};
    std::atomic<std::uint64_t> connections_closed{0};
    std::atomic<std::uint64_t> connections_refused{0};
    std::atomic<std::uint64_t> connections_running{0};  // now: those with a request in work
    std::atomic<std::uint64_t> messages_received{0};
    std::atomic<std::uint64_t> messages_failed{0};
    std::atomic<std::uint64_t> records_sent{0};
    std::atomic<std::uint64_t> bytes_received{0};
    std::atomic<std::uint64_t> bytes_sent{0};
    std::atomic<std::uint64_t> authentication_failures{0};
    [[nodiscard]] std::uint64_t connections_open() const noexcept {
        return connections_opened.load(std::memory_order_relaxed) -
               connections_closed.load(std::memory_order_relaxed);
    }
};

/// What one conversation, whatever carries it, must know.
struct ConversationSettings {
    std::size_t message_bytes_max = std::size_t{512} << 20;
    /// Before the first login: an unknown peer must not be able to make the server store much.
    std::size_t message_bytes_max_unauthenticated = 8192;
    /// Records are made until this much waits for the socket; then the peer has to read first.
    std::size_t output_bytes_max = 256 * 1024;
    /// Responses leave when no request is left to work on, or at this size.
    std::size_t flush_bytes = 64 * 1024;
    /// Requests wait in memory up to this size; then the socket is no longer read.
    std::size_t input_bytes_max = std::size_t{16} << 20;
    /// HELLO's hint connection.recv_timeout_seconds: drivers drop a connection silent for so long.
    std::int64_t receive_timeout_hint_seconds = 120;
    /// HELLO's hint telemetry.enabled.
    bool telemetry_hint = false;
    /// HELLO's hint ssr.enabled (5.8): drivers then cache home databases.
    bool server_side_routing_hint = true;
    BlockingScope* blocking_scope = nullptr;
    /// Run by one thread, for connections whose requests mostly wait for another member (Session::waits_elsewhere()): nobody has
    /// to be woken there to watch the sockets meanwhile. nullptr: none.
    boost::asio::io_context* shared_io = nullptr;
    /// Called for each TELEMETRY message with 0 … 3; may be empty.
    std::function<void(int)> on_telemetry;
};

struct TlsSettings {
    bool enabled = false;
    /// Refuses peers that do not speak TLS; else both are served on the same port.
    bool required = false;
    std::string certificate_file;  // PEM, with the chain
    std::string key_file;          // PEM
    std::string client_ca_file;    // PEM; if set, clients must present a certificate it vouches for
};

struct Settings : ConversationSettings {
    std::string address = "127.0.0.1";
    std::uint16_t port = 7687;  // 0: any free one
    std::size_t connections_max = 10'000;
    TlsSettings tls;
    /// From accept to a successful login.
    std::chrono::milliseconds authentication_timeout{30'000};
    /// A NOOP is sent each time a request has been in work for so long; 0: never.
    std::chrono::milliseconds keep_alive{60'000};
    /// A peer that takes no byte of a waiting answer for so long is given up.
    std::chrono::milliseconds slow_reader_timeout{300'000};
    /// How often time-outs and keep-alives are looked at.
    std::chrono::milliseconds sweep_interval{1'000};
    /// "bolt-17": the text before the number.
    std::string connection_id_prefix = "bolt-";
    /// One line for an operator ("bolt: connection limit of 10 reached …"); may be empty.
    std::function<void(std::string_view)> log_warning;
};

}  // namespace nornic::bolt
