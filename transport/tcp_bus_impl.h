// The inside of tcp_bus.h. Two files implement it: tcp_bus.cc starts, stops, accepts and dials; tcp_bus_peers.cc has links
// that come and go, messages, and what is told of peers.
//
// Locks, in this order: a peer's `events` or an inbox's `delivering`, which are held while the handler is called, then mutex_,
// then a link's own. None of the bus's threads holds mutex_ while it calls the handler or waits.
#pragma once

#include "base/mutex.h"
#include "base/random.h"
#include "observability/log_limiter.h"
#include "transport/dialer.h"
#include "transport/link.h"
#include "transport/peer.h"
#include "transport/resolver.h"
#include "transport/tcp_bus.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace nornic::transport {

class TcpBus final : public MessageBus, public LinkHost, public DialHost {
public:
    TcpBus(const Settings& settings, Metrics* metrics, Clock& clock)
        : settings_{settings},
          clock_{clock},
          instance_{std::max<std::uint64_t>(Random::from_os().next(), 1)},
          meters_{metrics},
          log_limiter_{clock},
          shown_{clock, kShownInterval, kShownBurst},
          tls_{settings.tls, clock},
          bulk_work_{bulk_.get_executor()},
          slow_work_{slow_.get_executor()} {
        for (FastLane* const lane : {&control_, &log_}) {
            for (std::size_t i = 0; i < std::max<std::size_t>(settings.io_threads, 1); ++i) {
                auto& io = lane->contexts.emplace_back(std::make_unique<boost::asio::io_context>(1));
                lane->work.push_back(boost::asio::make_work_guard(*io));
            }
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

    struct FastLane {
        std::vector<std::unique_ptr<boost::asio::io_context>> contexts;
        std::vector<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> work;
        std::atomic<std::size_t> next{0};
    };

    // LinkHost
    const Settings& settings() const override { return settings_; }
    Clock& clock() const override { return clock_; }
    boost::asio::io_context& context(Lane lane) override {
        if (lane == LANE_BULK) {
            return bulk_;
        }
        FastLane& fast = lane == LANE_LOG ? log_ : control_;
        return *fast.contexts[fast.next.fetch_add(1) % fast.contexts.size()];
    }
    std::optional<Refusal> admit(const std::shared_ptr<Link>& link) override;
    std::optional<Refusal> verified(const std::shared_ptr<Link>& link) override;
    void news(const std::shared_ptr<Link>& link) override;
    void message(const std::shared_ptr<Link>& link, std::shared_ptr<const ClusterMessage> message, bool more) override;
    void closed(const std::shared_ptr<Link>& link) override;
    // DialHost
    bool may_dial(const Dialer& dialer) override;
    void connected(const std::shared_ptr<Dialer>& dialer, boost::asio::ip::tcp::socket socket) override;
    void cannot_connect(const Dialer& dialer, const std::string& why) override;

    Result<> listen();
    void accept();
    void on_accept(const boost::system::error_code& error, boost::asio::ip::tcp::socket socket);
    void housekeep();
    void warn_of_expiry();
    void run(boost::asio::io_context& io, const char* thread_name);
    void add_target(const std::string& address) REQUIRES(mutex_);
    std::shared_ptr<Link> make_link(Link::Options options, boost::asio::ip::tcp::socket socket);
    std::optional<Refusal> other_process(const Link& link, const std::vector<std::shared_ptr<Link>>& old) const;
    static bool take_news(Peer& peer, const Introduction& who);
    static std::vector<std::shared_ptr<Link>> links_of(const Peer& peer);
    std::shared_ptr<Peer> find(const NodeName& id) const REQUIRES(mutex_);
    static std::shared_ptr<Link> choose(Peer& peer, Lane lane);
    Identity identity() const REQUIRES(mutex_);
    void tell_end(const std::shared_ptr<Link>& link, const LinkEnd& end);
    void show(std::string_view direction, const NodeName& peer, Lane lane, const ClusterMessage& message);

    static constexpr Duration kShownInterval = std::chrono::seconds{1};
    static constexpr std::uint64_t kShownBurst = 10;

    const Settings settings_;
    Clock& clock_;
    const std::uint64_t instance_;
    Meters meters_;
    LogLimiter log_limiter_;
    LogLimiter shown_;  // of messages, with Settings::debug
    TlsKeeper tls_;
    MessageHandler* handler_ = nullptr;  // set before the threads start

    // Destroyed after everything that refers to them, and each run by one thread. Lanes have their own, so that whoever takes
    // entries to the disk delays no heartbeat; slow_ has the acceptor, dialers and handshakes, so that neither a stranger nor a
    // slow handler is in their way.
    FastLane control_;
    FastLane log_;
    boost::asio::io_context bulk_{1};
    boost::asio::io_context slow_{1};
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> bulk_work_;
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> slow_work_;
    Resolver resolver_{slow_};
    std::vector<std::thread> threads_;

    // Of slow_'s thread.
    boost::asio::ip::tcp::acceptor acceptor_{slow_};
    boost::asio::steady_timer accept_retry_{slow_};
    boost::asio::steady_timer housekeeping_{slow_};
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

}  // namespace nornic::transport
