// The Bolt listener: TCP, TLS and WebSocket on one port. The front door of this room, with
// backend.h and settings.h.
//
// Threads: everything runs on the threads that run the io_context. A request is worked on by the
// thread that received it, the socket is watched meanwhile by another one (so RESET is seen), which
// is why `settings.blocking_scope` should make sure that there is another one.
#pragma once

#include "base/clock.h"
#include "base/result.h"
#include "bolt/backend.h"
#include "bolt/settings.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace boost::asio {
class io_context;
}

namespace nornic::bolt {

/// A connection, for `dbms.listConnections` and for operators.
struct ConnectionStatus {
    std::string connection_id;
    std::string client_address;
    std::string server_address;
    std::string user_agent;
    std::string user;
    std::string protocol_version;      // empty: not agreed yet
    std::int64_t connected_at_ms = 0;  // since 1970
    bool encrypted = false;
    bool running = false;
};

// In a stop: how long a client with an open transaction may think between two requests, and how often that is looked at. For
// transactions over HTTP, too.
inline constexpr std::chrono::seconds kStopIdleGrace{1};
inline constexpr std::chrono::milliseconds kStopIdleLook{100};

class Server {
public:
    /// Listens. kInvalidArgument for an address or a certificate that cannot be used, kIo if the
    /// port is taken. The io_context, what settings point to and the backend must outlive it.
    static Result<std::unique_ptr<Server>> start(boost::asio::io_context& io,
                                                 Settings settings,
                                                 Backend& backend);

    /// stop() must have been called, or the io_context must no longer run.
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    /// Where it listens: the port that was found if settings said 0.
    [[nodiscard]] std::uint16_t port() const;
    [[nodiscard]] const Metrics& metrics() const;
    [[nodiscard]] std::vector<ConnectionStatus> connections() const;
    /// Ends a connection and what runs on it. False if there is none of this id.
    bool close_connection(const std::string& connection_id);
    /// The same, but what was asked there is answered, and an open transaction ends, first.
    bool close_connection_when_idle(const std::string& connection_id);

    /// Stops to accept, closes idle connections, lets running requests go on until the deadline, and open
    /// transactions as long as their clients ask for something within kStopIdleGrace; then interrupts them. Blocks until all are gone; not to be called on a
    /// thread that the io_context needs. Returns how many did not end even then (a few seconds
    /// past the deadline). Calling it again is harmless.
    std::size_t stop(Deadline deadline);

private:
    class Impl;
    explicit Server(std::shared_ptr<Impl> impl);
    std::shared_ptr<Impl> impl_;
};

}  // namespace nornic::bolt
