#include "transport/tcp_bus.h"

#include "base/check.h"
#include "base/random.h"
#include "observability/log.h"
#include "transport/dialer.h"
#include "transport/link.h"
#include "transport/log_limiter.h"
#include "transport/peer.h"
#include "transport/resolver.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fmt/format.h>

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <list>
#include <map>
#include <thread>
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
// Members that ever said Hello, each with its counters; without proof of membership anybody can invent names.
constexpr std::size_t kPeersMax = 1000;

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

class TcpBus final : public MessageBus, public LinkHost, public DialHost {
public:
    TcpBus(const Settings& settings, Metrics* metrics, Clock& clock)
        : settings_{settings},
          clock_{clock},
          instance_{std::max<std::uint64_t>(Random::from_os().next(), 1)},
          meters_{metrics},
          log_limiter_{clock},
          tls_{settings.tls, clock},
          bulk_work_{bulk_.get_executor()},
          slow_work_{slow_.get_executor()} {
        for (std::size_t i = 0; i < std::max<std::size_t>(settings.io_threads, 1); ++i) {
            auto& io = fast_.emplace_back(std::make_unique<asio::io_context>(1));
            fast_work_.push_back(asio::make_work_guard(*io));
        }
    }

    ~TcpBus() override { stop(); }

    Result<> start(MessageHandler& handler) override;
    void stop() override;
    void set_peers(std::vector<std::string> addresses) override;
    void set_self(const PeerInfo& self) override;
    bool send(const NodeName& to, Lane lane, std::shared_ptr<const ClusterMessage> message) override;
    std::size_t queued_bytes(const NodeName& to, Lane lane) const override;
    std::vector<PeerStats> stats() const override;
    std::string address() const override {
        MutexLock lock{mutex_};
        return bound_address_;
    }
    std::string authentication() const override {
        if (settings_.tls.enabled && settings_.tls.verify_client) {
            return "mtls";
        }
        return settings_.secret.empty() ? "none" : "hmac";
    }

private:
    /// One address that was configured.
    struct Target {
        std::array<std::shared_ptr<Dialer>, kLanes> dialers;
        NodeName id;              // who answered there last
        bool control_up = false;  // our link for the control lane
        std::string last_error;
    };

    // LinkHost
    const Settings& settings() const override { return settings_; }
    Clock& clock() const override { return clock_; }
    asio::io_context& context(Lane lane) override {
        return lane == LANE_BULK ? bulk_ : *fast_[next_fast_.fetch_add(1) % fast_.size()];
    }
    std::optional<Refusal> admit(const std::shared_ptr<Link>& link) override;
    std::optional<Refusal> verified(const std::shared_ptr<Link>& link) override;
    void news(const std::shared_ptr<Link>& link) override;
    void message(const std::shared_ptr<Link>& link, std::shared_ptr<const ClusterMessage> message) override;
    void closed(const std::shared_ptr<Link>& link) override;
    // DialHost
    bool may_dial(const Dialer& dialer) override;
    void connected(const std::shared_ptr<Dialer>& dialer, tcp::socket socket) override;
    void cannot_connect(const Dialer& dialer, const std::string& why) override;

    Result<> listen();
    void accept();
    void on_accept(const error_code& error, tcp::socket socket);
    void housekeep();
    void warn_of_expiry();
    void run(asio::io_context& io, const char* thread_name);
    void add_target(const std::string& address) REQUIRES(mutex_);
    std::shared_ptr<Link> make_link(Link::Options options, tcp::socket socket);
    std::optional<Refusal> other_process(const Link& link, const std::vector<std::shared_ptr<Link>>& old) const;
    static bool take_news(Peer& peer, const Introduction& who);
    static std::vector<std::shared_ptr<Link>> links_of(const Peer& peer);
    std::shared_ptr<Peer> find(const NodeName& id) const REQUIRES(mutex_);
    static std::shared_ptr<Link> choose(Peer& peer, Lane lane);
    Identity identity() const REQUIRES(mutex_);
    void tell_end(const std::shared_ptr<Link>& link, const LinkEnd& end);

    const Settings settings_;
    Clock& clock_;
    const std::uint64_t instance_;
    Meters meters_;
    LogLimiter log_limiter_;
    TlsKeeper tls_;
    MessageHandler* handler_ = nullptr;  // set before the threads start

    // Destroyed after everything that refers to them, and each run by one thread. fast_ has the control and log lanes;
    // slow_ has the acceptor, dialers and handshakes, so that neither a stranger nor a slow handler is in their way.
    std::vector<std::unique_ptr<asio::io_context>> fast_;
    asio::io_context bulk_{1};
    asio::io_context slow_{1};
    std::atomic<std::size_t> next_fast_{0};
    std::vector<asio::executor_work_guard<asio::io_context::executor_type>> fast_work_;
    asio::executor_work_guard<asio::io_context::executor_type> bulk_work_;
    asio::executor_work_guard<asio::io_context::executor_type> slow_work_;
    Resolver resolver_{slow_};
    std::vector<std::thread> threads_;

    // Of slow_'s thread.
    tcp::acceptor acceptor_{slow_};
    asio::steady_timer accept_retry_{slow_};
    asio::steady_timer housekeeping_{slow_};
    Deadline expiry_warned_at_{};

    mutable Mutex mutex_;
    bool started_ GUARDED_BY(mutex_) = false;
    bool stopped_ GUARDED_BY(mutex_) = false;
    std::string bound_address_ GUARDED_BY(mutex_);
    PeerInfo self_ GUARDED_BY(mutex_);
    std::uint64_t self_revision_ GUARDED_BY(mutex_) = 0;
    std::map<NodeName, std::shared_ptr<Peer>, std::less<>> peers_ GUARDED_BY(mutex_);
    std::map<std::string, Target> targets_ GUARDED_BY(mutex_);
    std::map<const Link*, std::shared_ptr<Link>> links_ GUARDED_BY(mutex_);  // all that are not closed
    std::list<std::shared_ptr<Link>> unverified_ GUARDED_BY(mutex_);         // accepted ones, oldest first
    std::size_t accepted_ GUARDED_BY(mutex_) = 0;                            // accepted ones, all
};

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
    for (const auto& io : fast_) {
        threads_.emplace_back([this, &io = *io] { run(io, "cluster-io"); });
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
    for (const auto& io : fast_) {
        io->stop();
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

// ---- Links coming and going ----

std::vector<std::shared_ptr<Link>> TcpBus::links_of(const Peer& peer) {
    std::vector<std::shared_ptr<Link>> out;
    for (const auto& outbox : peer.outboxes) {
        out.insert(out.end(), outbox.links.begin(), outbox.links.end());
    }
    return out;
}

std::shared_ptr<Peer> TcpBus::find(const NodeName& id) const {
    const auto at = peers_.find(id);
    return at == peers_.end() ? nullptr : at->second;
}

/// A process of another instance has connections under this name. If they are alive there are two; if not, it is
/// the same member after a restart, and nobody has told us of the end of the one before.
std::optional<Refusal> TcpBus::other_process(const Link& link,
                                             const std::vector<std::shared_ptr<Link>>& old) const {
    const Deadline now = clock_.now();
    for (const auto& other : old) {
        if (!other->hung_up() && now - other->last_heard() < 2 * settings_.keep_alive) {
            return Refusal{Reject::NODE_ID,
                           fmt::format("another process calls itself node '{}' and is connected from {}: set "
                                       "NORNICDB_CLUSTER_NODE_ID to another name on one of them",
                                       link.introduction().peer.id,
                                       other->address())};
        }
    }
    return std::nullopt;
}

std::optional<Refusal> TcpBus::admit(const std::shared_ptr<Link>& link) {
    const Introduction& who = link->introduction();
    std::vector<std::shared_ptr<Link>> old;
    {
        MutexLock lock{mutex_};
        const auto peer = find(who.peer.id);
        if (peer == nullptr && peers_.size() >= kPeersMax) {
            return Refusal{Reject::LIMIT, fmt::format("node '{}' knows {} peers already", self_.id, kPeersMax)};
        }
        if (peer != nullptr && peer->up && peer->instance != who.instance) {
            old = links_of(*peer);
        }
    }
    return other_process(*link, old);
}

std::optional<Refusal> TcpBus::verified(const std::shared_ptr<Link>& link) {
    const Introduction& who = link->introduction();
    const Lane lane = who.lane;
    std::shared_ptr<Peer> peer;
    {
        MutexLock lock{mutex_};
        unverified_.remove(link);
        if (stopped_) {
            return Refusal{Reject::STOPPING, fmt::format("node '{}' stops", self_.id)};
        }
        peer = find(who.peer.id);
        if (peer == nullptr) {
            peer = std::make_shared<Peer>(who.peer.id, meters_.add_peer(who.peer.id));
            peers_.emplace(who.peer.id, peer);
        }
    }
    MutexLock events{peer->events};
    std::vector<std::shared_ptr<Link>> old;
    {
        MutexLock lock{mutex_};
        if (peer->up && peer->instance != who.instance) {
            old = links_of(*peer);
        }
    }
    if (!old.empty()) {
        if (auto refusal = other_process(*link, old)) {
            return refusal;
        }
        {
            MutexLock lock{mutex_};
            for (auto& outbox : peer->outboxes) {
                outbox.links.clear();
                outbox.sending.reset();
            }
            peer->up = false;
        }
        for (const auto& other : old) {
            other->close(LostReason::kSilent, "the member has started again");
        }
        handler_->peer_down(peer->id, LostReason::kSilent);
    }

    for (Peer::Inbox& inbox : peer->inboxes) {
        MutexLock lock{inbox.mutex};
        if (inbox.instance != who.instance) {
            inbox.instance = who.instance;
            inbox.generation = 0;
        }
    }

    bool tell = false;
    bool first = false;
    bool stale = false;
    PeerInfo info;
    Identity own;
    std::vector<std::shared_ptr<Dialer>> kicked;
    {
        MutexLock lock{mutex_};
        first = !peer->up;
        tell = take_news(*peer, who) || first;
        info = peer->info;
        peer->up = true;
        peer->last_error.clear();
        if (link->side() == Side::kAcceptor) {
            peer->address = link->address();
        }
        peer->outboxes[index_of(lane)].links.push_back(link);
        if (std::exchange(peer->was_up[index_of(lane)], true)) {
            (*peer->traffic)[index_of(lane)].reconnects.fetch_add(1, std::memory_order_relaxed);
        }
        for (auto& [address, target] : targets_) {
            if (link->side() == Side::kDialer && address == link->address()) {
                target.id = peer->id;
                target.last_error.clear();
                if (lane == LANE_CONTROL) {
                    target.control_up = true;
                    kicked.insert(kicked.end(), target.dialers.begin(), target.dialers.end());
                }
            } else if (first && (target.id == peer->id || address == who.peer.cluster_address)) {
                kicked.insert(kicked.end(), target.dialers.begin(), target.dialers.end());
            }
        }
        stale = link->revision_sent() != self_revision_;
        if (stale) {
            own = identity();
        }
    }
    link->adopt(peer);
    if (stale) {
        link->send_hello(own);
    }
    if (first) {
        log_limiter_.forget(link->address());
        log::info("cluster: node '{}' is connected ({} {})",
                  peer->id,
                  link->side() == Side::kDialer ? "dialed at" : "came from",
                  link->address());
    }
    if (tell) {
        handler_->peer_up(info);
    }
    for (const auto& dialer : kicked) {
        if (dialer != nullptr) {
            asio::post(slow_, [dialer] { dialer->kick(); });
        }
    }
    return std::nullopt;
}

/// Whether it is news. Connections of one peer are made side by side, so an older Hello may come after a newer one.
bool TcpBus::take_news(Peer& peer, const Introduction& who) {
    if (peer.instance == who.instance && who.revision < peer.revision) {
        return false;
    }
    peer.instance = who.instance;
    peer.revision = who.revision;
    return std::exchange(peer.info, who.peer) != who.peer;
}

void TcpBus::news(const std::shared_ptr<Link>& link) {
    Peer* const peer = link->peer();
    MutexLock events{peer->events};
    PeerInfo info;
    {
        MutexLock lock{mutex_};
        if (stopped_ || !peer->up || !take_news(*peer, link->introduction())) {
            return;
        }
        info = peer->info;
    }
    handler_->peer_up(info);
}

void TcpBus::message(const std::shared_ptr<Link>& link, std::shared_ptr<const ClusterMessage> message) {
    Peer* const peer = link->peer();
    const Lane lane = link->lane();
    Peer::Inbox& inbox = peer->inboxes[index_of(lane)];
    MutexLock delivering{inbox.delivering};
    {
        MutexLock lock{inbox.mutex};
        if (link->introduction().instance != inbox.instance || link->generation_received() < inbox.generation) {
            return;  // The peer has gone over to another link since, or is another process by now.
        }
        inbox.generation = link->generation_received();
    }
    handler_->message(peer->id, lane, std::move(message));
}

void TcpBus::closed(const std::shared_ptr<Link>& link) {
    const LinkEnd end = link->end();
    if (Peer* const peer = link->peer()) {
        MutexLock events{peer->events};
        bool down = false;
        {
            MutexLock lock{mutex_};
            auto& outbox = peer->outboxes[index_of(link->lane())];
            std::erase(outbox.links, link);
            if (outbox.sending == link) {
                outbox.sending.reset();
            }
            down = peer->up && !peer->has_links();
            if (down) {
                peer->up = false;
                peer->last_error = end.why;
            }
        }
        if (down) {
            log::warn("cluster: node '{}' is not connected any more: {}", peer->id, end.why);
            handler_->peer_down(peer->id, end.reason);
        }
    }
    tell_end(link, end);
    {
        MutexLock lock{mutex_};
        if (link->side() == Side::kAcceptor && links_.contains(link.get())) {
            unverified_.remove(link);
            --accepted_;
        }
        links_.erase(link.get());
    }
    if (const auto dialer = link->dialer()) {
        if (dialer->lane() == LANE_CONTROL) {
            MutexLock lock{mutex_};
            if (const auto at = targets_.find(dialer->address()); at != targets_.end()) {
                at->second.control_up = false;
            }
        }
        const bool stable = link->verified_at() != Deadline{} &&
                            clock_.now() - link->verified_at() >= settings_.reconnect_max;
        asio::post(slow_, [dialer, stable] { dialer->lost(stable); });
    }
}

void TcpBus::tell_end(const std::shared_ptr<Link>& link, const LinkEnd& end) {
    if (end.refused_here || end.rejected) {
        meters_.count_refusal();
    }
    const bool dialed = link->side() == Side::kDialer;
    const bool was_up = link->verified_at() != Deadline{};
    if (dialed && !was_up) {
        MutexLock lock{mutex_};
        if (const auto at = targets_.find(link->address()); at != targets_.end()) {
            at->second.last_error = end.why;
        }
    }
    // What is refused comes again with each try, and each time from another port.
    const std::string subject = dialed ? link->address() : link->peer_name() + " comes";
    if (end.refused_here || end.rejected || (dialed && !was_up)) {
        if (log_limiter_.allow(subject)) {
            log::warn("cluster: no connection {} {}: {}", dialed ? "to" : "from", link->address(), end.why);
        }
    } else if (!was_up && log::enabled(log::Level::kDebug)) {
        log::debug("cluster: no connection from {}: {}", link->address(), end.why);
    }
}

// ---- Messages ----

std::shared_ptr<Link> TcpBus::choose(Peer& peer, Lane lane) {
    Peer::Outbox& outbox = peer.outboxes[index_of(lane)];
    if (outbox.sending != nullptr && outbox.sending->usable()) {
        return outbox.sending;
    }
    outbox.sending.reset();
    for (const auto& link : outbox.links) {
        if (link->usable() && (outbox.sending == nullptr || link->side() == Side::kDialer)) {
            outbox.sending = link;
            if (link->side() == Side::kDialer) {
                break;
            }
        }
    }
    if (outbox.sending != nullptr) {
        outbox.sending->begin_lane(++outbox.generation);
    }
    return outbox.sending;
}

bool TcpBus::send(const NodeName& to, Lane lane, std::shared_ptr<const ClusterMessage> message) {
    NORNIC_CHECK(message != nullptr && message->body_case() != ClusterMessage::BODY_NOT_SET, "no message");
    NORNIC_CHECK(Lane_IsValid(lane), "lane {}", static_cast<int>(lane));
    std::shared_ptr<Link> link;
    std::shared_ptr<PeerTraffic> traffic;
    {
        MutexLock lock{mutex_};
        const auto peer = find(to);
        if (peer == nullptr) {
            return false;
        }
        link = choose(*peer, lane);
        traffic = peer->traffic;
    }
    const auto dropped = [&] {
        (*traffic)[index_of(lane)].dropped.fetch_add(1, std::memory_order_relaxed);
        return false;
    };
    if (link == nullptr) {
        return dropped();
    }
    auto frame = encode(*message, link->format(), settings_.frame_bytes_max);
    if (!frame) {
        if (log_limiter_.allow("encode")) {
            log::error("cluster: a message to node '{}' was dropped: {}", to, frame.error().message());
        }
        return dropped();
    }
    if (settings_.debug && log::enabled(log::Level::kDebug)) {
        log::debug("cluster: to {} ({}): {}", to, lane_name(lane), describe(*message));
    }
    return link->send(std::move(frame).value()) || dropped();
}

std::size_t TcpBus::queued_bytes(const NodeName& to, Lane lane) const {
    MutexLock lock{mutex_};
    const auto peer = find(to);
    if (peer == nullptr || peer->outboxes[index_of(lane)].sending == nullptr) {
        return 0;
    }
    return peer->outboxes[index_of(lane)].sending->queued_bytes();
}

void TcpBus::set_self(const PeerInfo& self) {
    std::vector<std::shared_ptr<Link>> links;
    Identity own;
    {
        MutexLock lock{mutex_};
        if (self_ == self) {
            return;
        }
        self_ = self;
        ++self_revision_;
        own = identity();
        for (const auto& [id, peer] : peers_) {
            for (auto& link : links_of(*peer)) {
                links.push_back(std::move(link));
            }
        }
    }
    for (const auto& link : links) {
        link->send_hello(own);
    }
}

std::vector<PeerStats> TcpBus::stats() const {
    std::vector<PeerStats> out;
    const auto fill = [](PeerStats& stats, const Peer& peer) {
        stats.id = peer.id;
        stats.connected = peer.up;
        for (const Traffic& traffic : *peer.traffic) {
            stats.bytes_sent += traffic.bytes_sent.load(std::memory_order_relaxed);
            stats.bytes_received += traffic.bytes_received.load(std::memory_order_relaxed);
            stats.messages_sent += traffic.messages_sent.load(std::memory_order_relaxed);
            stats.messages_received += traffic.messages_received.load(std::memory_order_relaxed);
            stats.dropped += traffic.dropped.load(std::memory_order_relaxed);
            stats.reconnects += traffic.reconnects.load(std::memory_order_relaxed);
            const auto round_trip = traffic.round_trip_ns.load(std::memory_order_relaxed);
            if (stats.round_trip == Duration{}) {
                stats.round_trip = Duration{round_trip};
            }
        }
    };
    MutexLock lock{mutex_};
    std::vector<NodeName> told;
    for (const auto& [address, target] : targets_) {
        PeerStats stats;
        stats.address = address;
        if (const auto peer = find(target.id)) {
            fill(stats, *peer);
            stats.last_error = peer->last_error;
            told.push_back(peer->id);
        }
        if (!target.last_error.empty()) {
            stats.last_error = target.last_error;
        }
        out.push_back(std::move(stats));
    }
    for (const auto& [id, peer] : peers_) {
        if (std::ranges::find(told, id) == told.end()) {
            PeerStats stats;
            stats.address = peer->address;
            fill(stats, *peer);
            stats.last_error = peer->last_error;
            out.push_back(std::move(stats));
        }
    }
    return out;
}

}  // namespace

std::unique_ptr<MessageBus> make_tcp_bus(const Settings& settings, Metrics* metrics, Clock& clock) {
    return std::make_unique<TcpBus>(settings, metrics, clock);
}

}  // namespace nornic::transport
