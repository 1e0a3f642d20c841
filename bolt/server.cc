#include "bolt/server.h"

#include "bolt/connection.h"

#include <boost/asio/steady_timer.hpp>
#include <fmt/format.h>

#include <linux/filter.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <unordered_map>

namespace nornic::bolt {

namespace {

namespace asio = boost::asio;
using boost::system::error_code;

// After the deadline of a stop: for interrupted requests to notice, then for sockets to close.
constexpr std::chrono::seconds kInterruptGrace{5};
constexpr std::chrono::seconds kAbortGrace{2};
constexpr std::chrono::milliseconds kJoinLook{10};
constexpr std::chrono::milliseconds kAcceptRetry{100};
constexpr std::chrono::seconds kRefusalLogInterval{10};

/// From now on the kernel begins no connection on a listening socket: what asks for one (SYN) is dropped, and asked again by its
/// sender. Where that cannot be had, a connection of the last moment is reset.
void begin_no_more(int listener) {
    constexpr std::uint32_t kFlagsAt = 13;  // in the TCP header
    constexpr std::uint32_t kSyn = 0x02;
    sock_filter code[] = {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, kFlagsAt),
                          BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, kSyn, 0, 1),
                          BPF_STMT(BPF_RET | BPF_K, 0),
                          BPF_STMT(BPF_RET | BPF_K, UINT32_MAX)};
    const sock_fprog program{std::size(code), code};
    static_cast<void>(::setsockopt(listener, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
}

}  // namespace

class Server::Impl final : public ConnectionHost,
                           public std::enable_shared_from_this<Server::Impl> {
public:
    Impl(asio::io_context& io_context, Settings own_settings, Backend& own_backend)
        : ConnectionHost{io_context, std::move(own_settings), own_backend},
          acceptor_{io_context},
          sweeper_{io_context},
          retry_{io_context} {}

    Result<> listen() {
        if (settings.tls.enabled) {
            NORNIC_TRY(auto context, TlsContext::server(settings.tls));
            tls = std::move(context);
        }
        error_code error;
        const auto address = asio::ip::make_address(settings.address, error);
        if (error) {
            return fail(ErrorCode::kInvalidArgument,
                        fmt::format("Bolt cannot listen on NORNICDB_ADDRESS='{}': an IP address was expected",
                                    settings.address));
        }
        const asio::ip::tcp::endpoint endpoint{address, settings.port};
        MutexLock lock{mutex_};
        acceptor_.open(endpoint.protocol(), error);
        if (!error) {
            acceptor_.set_option(asio::socket_base::reuse_address{true}, error);
        }
        if (!error) {
            acceptor_.bind(endpoint, error);
        }
        if (!error) {
            acceptor_.listen(asio::socket_base::max_listen_connections, error);
        }
        if (error) {
            return fail(ErrorCode::kIo,
                        fmt::format("Bolt cannot listen on {}:{}: {} (NORNICDB_ADDRESS, NORNICDB_BOLT_PORT)",
                                    settings.address,
                                    settings.port,
                                    error.message()));
        }
        port_ = acceptor_.local_endpoint(error).port();
        accept();
        sweep_later();
        return success();
    }

    [[nodiscard]] std::uint16_t port() const { return port_; }

    std::vector<std::shared_ptr<Connection>> all() const {
        MutexLock lock{mutex_};
        std::vector<std::shared_ptr<Connection>> out;
        out.reserve(connections_.size());
        for (const auto& [key, connection] : connections_) {
            out.push_back(connection);
        }
        return out;
    }

    std::shared_ptr<Connection> find(std::string_view id) const {
        const auto connections = all();
        const auto found = std::ranges::find(connections, id, [](const auto& c) -> std::string_view { return c->id(); });
        return found == connections.end() ? nullptr : *found;
    }

    void forget(const std::shared_ptr<Connection>& connection) override {
        MutexLock lock{mutex_};
        if (connections_.erase(connection.get()) > 0) {
            metrics.connections_closed.fetch_add(1, std::memory_order_relaxed);
        }
        if (connections_.empty()) {
            all_gone_.notify_all();
        }
    }

    std::size_t stop(Deadline deadline) {
        std::vector<std::shared_ptr<Connection>> last;
        {
            MutexLock lock{mutex_};
            stopping.store(true, std::memory_order_relaxed);
            last = take_waiting();
            error_code ignored;
            acceptor_.close(ignored);
            retry_.cancel();
        }
        for (const auto& connection : last) {
            connection->start();
        }
        for (const auto& connection : all()) {
            connection->close_when_idle();
        }
        wait_for_joining(std::min(deadline, system_clock().now() + kStopIdleGrace));
        for (const auto& connection : all()) {
            if (!connection->authenticated()) {
                connection->terminate();
            }
        }
        if (!wait_for_busy(deadline)) {
            for (const auto& connection : all()) {
                connection->terminate();
            }
            if (!wait_until(system_clock().now() + kInterruptGrace)) {
                for (const auto& connection : all()) {
                    connection->abort();
                }
                wait_until(system_clock().now() + kAbortGrace);
            }
        }
        MutexLock lock{mutex_};
        stopped_ = true;
        sweeper_.cancel();
        return connections_.size();
    }

    void halt() {
        MutexLock lock{mutex_};
        stopping.store(true, std::memory_order_relaxed);
        stopped_ = true;
        error_code ignored;
        acceptor_.close(ignored);
        retry_.cancel();
        sweeper_.cancel();
    }

private:
    /// Whom the kernel has connected already. A client that is about to log in would meet a reset, which some drivers take for
    /// an error of their own, and not for a server that is gone.
    std::vector<std::shared_ptr<Connection>> take_waiting() REQUIRES(mutex_) {
        std::vector<std::shared_ptr<Connection>> out;
        begin_no_more(acceptor_.native_handle());
        error_code error;
        acceptor_.non_blocking(true, error);
        while (!error && connections_.size() < settings.connections_max) {
            asio::ip::tcp::socket socket{io};
            acceptor_.accept(socket, error);
            if (!error) {
                out.push_back(adopt(std::move(socket)));
            }
        }
        return out;
    }

    /// Until all are logged in, or gone.
    void wait_for_joining(Deadline end) {
        for (Deadline now = system_clock().now(); now < end; now = system_clock().now()) {
            const auto connections = all();
            MutexLock lock{mutex_};
            if (!accepting_ && std::ranges::all_of(connections, [](const auto& c) { return c->authenticated(); })) {
                return;
            }
            all_gone_.wait_until(lock, std::min(end, now + kJoinLook));
        }
    }

    /// Whose client has a transaction open and thinks for long is not waited for.
    bool wait_for_busy(Deadline deadline) {
        struct Idle {
            std::uint64_t turns = 0;
            Deadline since;
        };
        std::unordered_map<const Connection*, Idle> idle;
        while (!wait_until(std::min(deadline, system_clock().now() + kStopIdleLook))) {
            const Deadline now = system_clock().now();
            if (now >= deadline) {
                return false;
            }
            for (const auto& connection : all()) {
                const auto turns = connection->idle_after_turns();
                if (!turns) {
                    idle.erase(connection.get());
                    continue;
                }
                const auto [known, is_new] = idle.try_emplace(connection.get(), Idle{*turns, now});
                if (known->second.turns != *turns) {
                    known->second = {*turns, now};
                } else if (now - known->second.since >= kStopIdleGrace) {
                    connection->terminate();
                }
            }
        }
        return true;
    }

    bool wait_until(Deadline deadline) {
        MutexLock lock{mutex_};
        while (!connections_.empty()) {
            if (deadline == kNoDeadline) {
                all_gone_.wait(lock);
            } else if (system_clock().now() >= deadline) {
                return false;
            } else {
                all_gone_.wait_until(lock, deadline);
            }
        }
        return true;
    }

    std::shared_ptr<Connection> adopt(asio::ip::tcp::socket socket) REQUIRES(mutex_) {
        ++last_id_;
        auto made = std::make_shared<Connection>(
            shared_from_this(), std::move(socket), settings.connection_id_prefix + std::to_string(last_id_));
        connections_.emplace(made.get(), made);
        metrics.connections_opened.fetch_add(1, std::memory_order_relaxed);
        return made;
    }

    void accept() REQUIRES(mutex_) {
        if (stopping.load(std::memory_order_relaxed)) {
            return;
        }
        accepting_ = true;
        acceptor_.async_accept(
            [self = shared_from_this()](const error_code& error, asio::ip::tcp::socket socket) {
                self->on_accept(error, std::move(socket));
            });
    }

    void on_accept(const error_code& error, asio::ip::tcp::socket socket) {
        std::shared_ptr<Connection> made;
        std::string warning;
        {
            MutexLock lock{mutex_};
            accepting_ = false;
            if (stopped_ || (error && stopping.load(std::memory_order_relaxed))) {
                all_gone_.notify_all();
                return;
            }
            if (error) {
                // Out of file descriptors, most likely: the queue of the kernel keeps the peers.
                warning =
                    refusal(fmt::format("bolt: cannot accept a connection: {}", error.message()));
                retry_.expires_after(kAcceptRetry);
                retry_.async_wait([self = shared_from_this()](const error_code& cancelled) {
                    MutexLock again{self->mutex_};
                    if (!cancelled) {
                        self->accept();
                    }
                });
            } else if (connections_.size() >= settings.connections_max) {
                metrics.connections_refused.fetch_add(1, std::memory_order_relaxed);
                warning = refusal(
                    fmt::format("bolt: connection limit of {} reached, {} refused so far",
                                settings.connections_max,
                                metrics.connections_refused.load(std::memory_order_relaxed)));
                error_code ignored;
                socket.close(ignored);
                accept();
            } else {
                made = adopt(std::move(socket));
                accept();
            }
        }
        if (!warning.empty() && settings.log_warning) {
            settings.log_warning(warning);
        }
        if (made != nullptr) {
            made->start();
            if (stopping.load(std::memory_order_relaxed)) {
                made->close_when_idle();
            }
        }
    }

    /// The line, or nothing if one was written a moment ago.
    std::string refusal(std::string line) REQUIRES(mutex_) {
        const Deadline now = system_clock().now();
        if (now < next_refusal_line_) {
            return {};
        }
        next_refusal_line_ = now + kRefusalLogInterval;
        return line;
    }

    void sweep_later() REQUIRES(mutex_) {
        sweeper_.expires_after(settings.sweep_interval);
        sweeper_.async_wait([self = shared_from_this()](const error_code& error) {
            if (error) {
                return;
            }
            const Deadline now = system_clock().now();
            for (const auto& connection : self->all()) {
                connection->sweep(now);
            }
            MutexLock lock{self->mutex_};
            if (!self->stopped_) {
                self->sweep_later();
            }
        });
    }

    mutable Mutex mutex_;
    asio::ip::tcp::acceptor acceptor_ GUARDED_BY(mutex_);
    asio::steady_timer sweeper_ GUARDED_BY(mutex_);
    asio::steady_timer retry_ GUARDED_BY(mutex_);
    std::unordered_map<Connection*, std::shared_ptr<Connection>> connections_ GUARDED_BY(mutex_);
    ConditionVariable all_gone_;
    std::uint64_t last_id_ GUARDED_BY(mutex_) = 0;
    Deadline next_refusal_line_ GUARDED_BY(mutex_){};
    bool accepting_ GUARDED_BY(mutex_) = false;
    bool stopped_ GUARDED_BY(mutex_) = false;
    std::uint16_t port_ = 0;
};

Server::Server(std::shared_ptr<Impl> impl) : impl_{std::move(impl)} {}
Server::~Server() {
    impl_->halt();
}

Result<std::unique_ptr<Server>> Server::start(asio::io_context& io,
                                              Settings settings,
                                              Backend& backend) {
    auto impl = std::make_shared<Impl>(io, std::move(settings), backend);
    NORNIC_TRY(impl->listen());
    return std::unique_ptr<Server>{new Server{std::move(impl)}};
}

std::uint16_t Server::port() const {
    return impl_->port();
}
const Metrics& Server::metrics() const {
    return impl_->metrics;
}

std::vector<ConnectionStatus> Server::connections() const {
    std::vector<ConnectionStatus> out;
    for (const auto& connection : impl_->all()) {
        out.push_back(connection->status());
    }
    return out;
}

bool Server::close_connection(const std::string& connection_id) {
    const auto connection = impl_->find(connection_id);
    if (connection) {
        connection->terminate();
    }
    return connection != nullptr;
}

bool Server::close_connection_when_idle(const std::string& connection_id) {
    const auto connection = impl_->find(connection_id);
    if (connection) {
        connection->close_when_idle();
    }
    return connection != nullptr;
}

std::size_t Server::stop(Deadline deadline) {
    return impl_->stop(deadline);
}

}  // namespace nornic::bolt
