// Names to addresses, off the io threads: a name server that does not answer holds up neither other names nor
// a stop.
#pragma once

#include "base/result.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nornic::transport {

using Endpoints = std::vector<boost::asio::ip::tcp::endpoint>;

/// "host:port", "[::1]:7688"; kInvalidArgument naming what it is not.
Result<std::pair<std::string, std::uint16_t>> split_host_port(std::string_view address);

/// Blocks. An IP address is itself.
Result<Endpoints> resolve_now(const std::string& host, std::uint16_t port);

/// One caller at a time; callbacks run on `io`, none after it is destroyed.
class Resolver {
public:
    using Callback = std::function<void(Result<Endpoints>)>;
    explicit Resolver(boost::asio::io_context& io);
    ~Resolver();
    Resolver(const Resolver&) = delete;
    Resolver& operator=(const Resolver&) = delete;

    /// Those who ask for one name at the same time share one look-up.
    void lookup(const std::string& host, std::uint16_t port, Callback callback);

private:
    struct State;
    std::shared_ptr<State> state_;
};

}  // namespace nornic::transport
