#include "transport/tcp_bus.h"

#include "base/check.h"
#include "observability/log.h"
#include "transport/tcp_bus_impl.h"

#include <boost/asio/post.hpp>
#include <fmt/format.h>

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace nornic::transport {

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::chrono::milliseconds kAcceptRetry{100};
constexpr std::chrono::seconds kHousekeeping{5};
constexpr std::chrono::hours kExpiryWarning{24 * 14};
constexpr std::chrono::hours kExpiryRepeat{24};

std::string endpoint_text(const tcp::endpoint& endpoint) {
    const auto address = endpoint.address();
    return fmt::format(
        fmt::runtime(address.is_v6() ? "[{}]:{}" : "{}:{}"), address.to_string(), endpoint.port());
}

Result<> check(const Settings& settings) {
    if (!settings.secret.empty() && settings.secret.size() < kSecretBytesMin) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("NORNICDB_CLUSTER_REPLICATION_SECRET has {} characters: at least {} were expected",
                                settings.secret.size(),
                                kSecretBytesMin));
    }
    if (!settings.tls.enabled && settings.tls.verify_client) {
        return fail(ErrorCode::kInvalidArgument,
                    "NORNICDB_CLUSTER_TLS_VERIFY_CLIENT='true': NORNICDB_CLUSTER_TLS_ENABLED='true' was expected "
                    "with it");
    }
    return success();
}

}  // namespace

// ---- Start and stop ----

Result<> TcpBus::start(MessageHandler& handler) {
    NORNIC_TRY(check(settings_));
    {
        MutexLock lock{mutex_};
        NORNIC_CHECK(!started_ && !stopped_, "a bus starts once");
        if (self_.id.empty()) {
            return fail(ErrorCode::kInvalidArgument, "NORNICDB_CLUSTER_NODE_ID='': a name was expected");
        }
        for (const auto& [peer_address, target] : targets_) {
            NORNIC_TRY(split_host_port(peer_address));
        }
    }
    if (settings_.tls.enabled) {
        NORNIC_TRY(tls_.load());
        warn_of_expiry();
        meters_.set_certificate_expiry([this] { return static_cast<double>(tls_.current()->not_after()); });
    }
    NORNIC_TRY(listen());
    handler_ = &handler;
    if (authentication() == "none") {
        log::warn("cluster: members prove nothing to each other: whoever reaches {} can read and change everything. "
                  "Set NORNICDB_CLUSTER_REPLICATION_SECRET (at least {} characters, equal on all members), or "
                  "NORNICDB_CLUSTER_TLS_ENABLED with NORNICDB_CLUSTER_TLS_VERIFY_CLIENT",
                  address(),
                  kSecretBytesMin);
    }
    accept();
    housekeep();
    {
        MutexLock lock{mutex_};
        started_ = true;
        for (auto& [peer_address, target] : targets_) {
            add_target(peer_address);
        }
    }
    for (const auto& io : control_.contexts) {
        threads_.emplace_back([this, &io = *io] { run(io, "cluster-io"); });
    }
    for (const auto& io : log_.contexts) {
        threads_.emplace_back([this, &io = *io] { run(io, "cluster-log"); });
    }
    threads_.emplace_back([this] { run(bulk_, "cluster-bulk"); });
    threads_.emplace_back([this] { run(slow_, "cluster-dial"); });
    return success();
}

void TcpBus::run(asio::io_context& io, const char* thread_name) {
    ::pthread_setname_np(::pthread_self(), thread_name);
    io.run();
}

Result<> TcpBus::listen() {
    NORNIC_TRY(const auto parts, split_host_port(settings_.bind_address));
    auto endpoints = resolve_now(parts.first.empty() ? "0.0.0.0" : parts.first, parts.second);
    if (!endpoints) {
        return fail(endpoints.error().code(),
                    fmt::format("NORNICDB_CLUSTER_BIND_ADDR='{}': {}",
                                settings_.bind_address,
                                endpoints.error().message()));
    }
    const tcp::endpoint endpoint = endpoints.value().front();
    error_code error;
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
                    fmt::format("the cluster cannot listen on NORNICDB_CLUSTER_BIND_ADDR='{}': {}",
                                settings_.bind_address,
                                error.message()));
    }
    MutexLock lock{mutex_};
    bound_address_ = endpoint_text(acceptor_.local_endpoint(error));
    return success();
}

void TcpBus::stop() {
    {
        MutexLock lock{mutex_};
        if (std::exchange(stopped_, true)) {
            return;
        }
    }
    for (const std::thread& thread : threads_) {
        NORNIC_CHECK(thread.get_id() != std::this_thread::get_id(), "stop() on a thread of the bus");
    }
    for (const FastLane* const lane : {&control_, &log_}) {
        for (const auto& io : lane->contexts) {
            io->stop();
        }
    }
    bulk_.stop();
    slow_.stop();
    for (std::thread& thread : threads_) {
        thread.join();
    }
    threads_.clear();
    // Nobody else is here any more.
    meters_.set_certificate_expiry(nullptr);
    error_code ignored;
    acceptor_.close(ignored);
    std::vector<std::shared_ptr<Link>> links;
    {
        MutexLock lock{mutex_};
        for (const auto& [address, target] : targets_) {
            for (const auto& dialer : target.dialers) {
                if (dialer != nullptr) {
                    dialer->stop();
                }
            }
        }
        for (const auto& [key, link] : links_) {
            links.push_back(link);
        }
    }
    for (const auto& link : links) {
        link->close_stopping();
    }
    MutexLock lock{mutex_};
    links_.clear();
    unverified_.clear();
    for (const auto& [id, peer] : peers_) {
        peer->outboxes = {};
        peer->up = false;
    }
}

void TcpBus::housekeep() {
    if (settings_.tls.enabled) {
        static_cast<void>(tls_.current());  // Looks whether the files have changed.
        warn_of_expiry();
    }
    housekeeping_.expires_after(kHousekeeping);
    housekeeping_.async_wait([this](const error_code& error) {
        if (!error) {
            housekeep();
        }
    });
}

void TcpBus::warn_of_expiry() {
    const Deadline now = clock_.now();
    if (expiry_warned_at_ != Deadline{} && now - expiry_warned_at_ < kExpiryRepeat) {
        return;
    }
    const std::int64_t left_s = tls_.current()->not_after() - clock_.wall_ns() / 1'000'000'000;
    if (left_s < std::chrono::seconds{kExpiryWarning}.count()) {
        expiry_warned_at_ = now;
        log::warn("cluster: the certificate {} {}: put a new one in its place, it is read without a restart",
                  settings_.tls.certificate_file,
                  left_s <= 0 ? std::string{"has expired"} : fmt::format("expires in {} days", left_s / 86400));
    }
}

// ---- Accepting and dialing ----

void TcpBus::accept() {
    acceptor_.async_accept([this](const error_code& error, tcp::socket socket) {
        if (error != asio::error::operation_aborted) {
            on_accept(error, std::move(socket));
        }
    });
}

void TcpBus::on_accept(const error_code& error, tcp::socket socket) {
    if (error) {
        // Out of file descriptors, most likely: the queue of the kernel keeps the peers.
        if (log_limiter_.allow("accept")) {
            log::warn("cluster: cannot accept a connection: {}", error.message());
        }
        accept_retry_.expires_after(kAcceptRetry);
        accept_retry_.async_wait([this](const error_code& cancelled) {
            if (!cancelled) {
                accept();
            }
        });
        return;
    }
    error_code gone;
    const auto remote = socket.remote_endpoint(gone);
    std::shared_ptr<Link> too_old;
    bool full = false;
    {
        MutexLock lock{mutex_};
        if (unverified_.size() >= std::max<std::size_t>(settings_.handshakes_max, 1)) {
            too_old = unverified_.front();
            unverified_.pop_front();
        }
        full = accepted_ >= settings_.connections_max + (too_old != nullptr ? 1 : 0);
    }
    if (too_old != nullptr) {
        too_old->close(LostReason::kSilent, "too many connections that do not say who they are");
    }
    if (full) {
        if (log_limiter_.allow("full")) {
            log::warn("cluster: {} connections are open, more are not accepted", settings_.connections_max);
        }
        socket.close(gone);
    } else if (!gone) {
        Link::Options options;
        options.side = Side::kAcceptor;
        options.address = endpoint_text(remote);
        make_link(std::move(options), std::move(socket))->start();
    }
    accept();
}

std::shared_ptr<Link> TcpBus::make_link(Link::Options options, tcp::socket socket) {
    if (settings_.tls.enabled) {
        options.tls = tls_.current();
    }
    const bool accepted = options.side == Side::kAcceptor;
    MutexLock lock{mutex_};
    options.identity = identity();
    auto link = std::make_shared<Link>(*this, std::move(options), std::move(socket), slow_);
    links_.emplace(link.get(), link);
    if (accepted) {
        ++accepted_;
        unverified_.push_back(link);
    }
    return link;
}

Identity TcpBus::identity() const {
    Identity out;
    out.self = self_;
    out.self.region = settings_.region;
    out.cluster_id = settings_.cluster_id;
    out.secret = settings_.secret;
    out.software_version = settings_.software_version;
    out.instance = instance_;
    out.revision = self_revision_;
    return out;
}

void TcpBus::add_target(const std::string& address) {
    Target& target = targets_[address];
    if (!started_ || stopped_ || target.dialers[0] != nullptr) {
        return;
    }
    for (std::size_t i = 0; i < kLanes; ++i) {
        auto dialer = std::make_shared<Dialer>(*this,
                                               resolver_,
                                               slow_,
                                               Dialer::Options{address,
                                                               static_cast<Lane>(i),
                                                               settings_.connect_timeout,
                                                               settings_.reconnect_min,
                                                               settings_.reconnect_max});
        target.dialers[i] = dialer;
        asio::post(slow_, [dialer] { dialer->start(); });
    }
}

void TcpBus::set_peers(std::vector<std::string> addresses) {
    std::vector<std::shared_ptr<Link>> unwanted;
    {
        MutexLock lock{mutex_};
        for (auto at = targets_.begin(); at != targets_.end();) {
            if (std::ranges::find(addresses, at->first) != addresses.end()) {
                ++at;
                continue;
            }
            for (const auto& dialer : at->second.dialers) {
                if (dialer != nullptr) {
                    asio::post(slow_, [dialer] { dialer->stop(); });
                }
            }
            for (const auto& [key, link] : links_) {
                if (link->side() == Side::kDialer && link->address() == at->first) {
                    unwanted.push_back(link);
                }
            }
            at = targets_.erase(at);
        }
        for (const std::string& address : addresses) {
            add_target(address);
        }
    }
    for (const auto& link : unwanted) {
        link->close(LostReason::kClosed, "the address is no longer that of a peer");
    }
}

/// The control lane goes first: a peer that is up can be talked to, and one that is down is tried once, not three
/// times.
bool TcpBus::may_dial(const Dialer& dialer) {
    MutexLock lock{mutex_};
    const auto at = targets_.find(dialer.address());
    return dialer.lane() == LANE_CONTROL || (at != targets_.end() && at->second.control_up);
}

void TcpBus::connected(const std::shared_ptr<Dialer>& dialer, tcp::socket socket) {
    Link::Options options;
    options.side = Side::kDialer;
    options.lane = dialer->lane();
    options.address = dialer->address();
    options.tls_name = settings_.tls.server_name.empty() ? dialer->host_name() : settings_.tls.server_name;
    options.dialer = dialer;
    make_link(std::move(options), std::move(socket))->start();
}

void TcpBus::cannot_connect(const Dialer& dialer, const std::string& why) {
    {
        MutexLock lock{mutex_};
        if (const auto at = targets_.find(dialer.address()); at != targets_.end()) {
            at->second.last_error = why;
        }
    }
    if (log_limiter_.allow(dialer.address())) {
        log::warn("cluster: cannot connect to {}: {}; trying on", dialer.address(), why);
    }
}

std::unique_ptr<MessageBus> make_tcp_bus(const Settings& settings, Metrics* metrics, Clock& clock) {
    return std::make_unique<TcpBus>(settings, metrics, clock);
}

}  // namespace nornic::transport
