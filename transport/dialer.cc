#include "transport/dialer.h"

#include <boost/asio/error.hpp>
#include <fmt/format.h>

#include <utility>

namespace nornic::transport {

namespace {

namespace asio = boost::asio;
using boost::system::error_code;

std::string endpoint_text(const asio::ip::tcp::endpoint& endpoint) {
    const auto address = endpoint.address();
    return fmt::format(
        fmt::runtime(address.is_v6() ? "[{}]:{}" : "{}:{}"), address.to_string(), endpoint.port());
}

}  // namespace

Dialer::Dialer(DialHost& host, Resolver& resolver, asio::io_context& io, Options options)
    : host_{host},
      resolver_{resolver},
      io_{io},
      options_{std::move(options)},
      backoff_{options_.reconnect_min, options_.reconnect_max, Random::from_os()},
      timer_{io},
      socket_{io} {
    if (auto parts = split_host_port(options_.address)) {
        host_name_ = parts.value().first;
    }
}

void Dialer::start() {
    if (!stopped_) {
        dial();
    }
}

void Dialer::stop() {
    stopped_ = true;
    ++attempt_;
    timer_.cancel();
    error_code ignored;
    socket_.close(ignored);
}

void Dialer::kick() {
    if (waiting_ && !stopped_) {
        backoff_.reset();
        timer_.cancel();
        waiting_ = false;
        dial();
    }
}

void Dialer::lost(bool stable) {
    if (stopped_) {
        return;
    }
    if (stable) {
        backoff_.reset();
    }
    wait();
}

void Dialer::dial() {
    const std::uint64_t attempt = ++attempt_;
    if (!host_.may_dial(*this)) {
        wait();
        return;
    }
    const auto parts = split_host_port(options_.address);
    if (!parts) {
        failed(parts.error().message());
        return;
    }
    resolver_.lookup(parts.value().first,
                     parts.value().second,
                     [weak = weak_from_this(), attempt](Result<Endpoints> found) {
                         const auto self = weak.lock();
                         if (self == nullptr || self->stopped_ || self->attempt_ != attempt) {
                             return;
                         }
                         if (!found) {
                             self->failed(found.error().message());
                             return;
                         }
                         self->endpoints_ = std::move(found).value();
                         self->next_endpoint_ = 0;
                         self->try_next();
                     });
}

void Dialer::try_next() {
    if (next_endpoint_ == endpoints_.size()) {
        failed(last_failure_);
        return;
    }
    const auto endpoint = endpoints_[next_endpoint_++];
    socket_ = Socket{io_};
    connecting_ = true;
    timed_out_ = false;
    timer_.expires_after(options_.connect_timeout);
    timer_.async_wait([self = shared_from_this(), attempt = attempt_, at = next_endpoint_](const error_code& error) {
        if (!error && self->attempt_ == attempt && self->next_endpoint_ == at && self->connecting_) {
            self->timed_out_ = true;
            error_code ignored;
            self->socket_.close(ignored);
        }
    });
    socket_.async_connect(endpoint, [self = shared_from_this(), attempt = attempt_](const error_code& error) {
        if (self->attempt_ == attempt && !self->stopped_) {
            self->connecting_ = false;
            self->timer_.cancel();
            self->on_connect(error);
        }
    });
}

void Dialer::on_connect(const error_code& error) {
    const auto endpoint = endpoints_[next_endpoint_ - 1];
    if (error) {
        last_failure_ = fmt::format("{}: {}",
                                    endpoint_text(endpoint),
                                    timed_out_ ? std::string{"no answer"} : error.message());
        try_next();
        return;
    }
    error_code ignored;
    if (socket_.local_endpoint(ignored) == socket_.remote_endpoint(ignored)) {
        // Nobody listens, and the kernel has lent us that very port to dial from.
        last_failure_ = fmt::format("{}: nobody listens", endpoint_text(endpoint));
        socket_.close(ignored);
        try_next();
        return;
    }
    host_.connected(shared_from_this(), std::exchange(socket_, Socket{io_}));
}

void Dialer::failed(const std::string& why) {
    host_.cannot_connect(*this, why);
    wait();
}

void Dialer::wait() {
    waiting_ = true;
    timer_.expires_after(backoff_.next());
    timer_.async_wait([self = shared_from_this(), attempt = attempt_](const error_code& error) {
        if (!error && self->waiting_ && self->attempt_ == attempt && !self->stopped_) {
            self->waiting_ = false;
            self->dial();
        }
    });
}

}  // namespace nornic::transport
