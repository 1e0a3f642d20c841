// Dialer: keeps one link to one configured address, for one lane. It looks the name up at each try, goes through
// the addresses found, and comes back with growing pauses when a link is lost or refused.
//
// All of it runs on one thread, that of the io_context it is given.
#pragma once

#include "base/clock.h"
#include "transport/backoff.h"
#include "transport/message_bus.h"
#include "transport/resolver.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include <functional>
#include <memory>
#include <string>

namespace nornic::transport {

class Dialer;

/// What a dialer asks of its bus.
class DialHost {
public:
    virtual ~DialHost() = default;
    /// false: try again later.
    virtual bool may_dial(const Dialer& dialer) = 0;
    /// Connected: make a link of it and start it. Its end is reported by Dialer::lost().
    virtual void connected(const std::shared_ptr<Dialer>& dialer, boost::asio::ip::tcp::socket socket) = 0;
    virtual void cannot_connect(const Dialer& dialer, const std::string& why) = 0;
};

class Dialer final : public std::enable_shared_from_this<Dialer> {
public:
    struct Options {
        std::string address;  // "host:port"
        Lane lane = LANE_CONTROL;
        Duration connect_timeout{};
        Duration reconnect_min{};
        Duration reconnect_max{};
    };
    Dialer(DialHost& host, Resolver& resolver, boost::asio::io_context& io, Options options);

    void start();
    /// No call to the host comes after it.
    void stop();
    /// There is reason to believe that the address answers now: tries at once if it was waiting.
    void kick();
    /// The link that connected() made has ended. `stable`: it had been good for a while.
    void lost(bool stable);

    [[nodiscard]] const std::string& address() const noexcept { return options_.address; }
    [[nodiscard]] const std::string& host_name() const noexcept { return host_name_; }
    [[nodiscard]] Lane lane() const noexcept { return options_.lane; }

private:
    using Socket = boost::asio::ip::tcp::socket;
    void dial();
    void try_next();
    void on_connect(const boost::system::error_code& error);
    void failed(const std::string& why);
    void wait();

    DialHost& host_;
    Resolver& resolver_;
    boost::asio::io_context& io_;
    const Options options_;
    std::string host_name_;
    Backoff backoff_;
    boost::asio::steady_timer timer_;
    Socket socket_;
    Endpoints endpoints_;
    std::size_t next_endpoint_ = 0;
    std::string last_failure_;
    std::uint64_t attempt_ = 0;  // answers to an older one are dropped
    bool connecting_ = false;
    bool timed_out_ = false;
    bool waiting_ = false;
    bool stopped_ = false;
};

}  // namespace nornic::transport
