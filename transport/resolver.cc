#include "transport/resolver.h"

#include "base/mutex.h"

#include <boost/asio/ip/address.hpp>
#include <boost/asio/post.hpp>
#include <fmt/format.h>

#include <netdb.h>
#include <sys/socket.h>

#include <charconv>
#include <cstring>
#include <map>
#include <system_error>
#include <thread>

namespace nornic::transport {

namespace asio = boost::asio;

Result<std::pair<std::string, std::uint16_t>> split_host_port(std::string_view address) {
    const auto bad = [&] {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("'{}' is no address: host:port was expected", address));
    };
    const std::size_t colon = address.rfind(':');
    if (colon == std::string_view::npos) {
        return bad();
    }
    std::string_view host = address.substr(0, colon);
    const std::string_view digits = address.substr(colon + 1);
    if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
        host = host.substr(1, host.size() - 2);
    } else if (host.find(':') != std::string_view::npos) {
        return bad();
    }
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (digits.empty() || error != std::errc{} || end != digits.data() + digits.size()) {
        return bad();
    }
    return std::pair{std::string{host}, port};
}

Result<Endpoints> resolve_now(const std::string& host, std::uint16_t port) {
    boost::system::error_code not_literal;
    const auto literal = asio::ip::make_address(host, not_literal);
    if (!not_literal) {
        return Endpoints{{literal, port}};
    }
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int code = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
    if (code != 0) {
        return fail(ErrorCode::kIo,
                    fmt::format("the name '{}' cannot be looked up: {}",
                                host,
                                code == EAI_SYSTEM ? std::generic_category().message(errno)
                                                   : std::string{::gai_strerror(code)}));
    }
    Endpoints out;
    for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
        if (at->ai_family != AF_INET && at->ai_family != AF_INET6) {
            continue;
        }
        asio::ip::tcp::endpoint endpoint;
        std::memcpy(endpoint.data(), at->ai_addr, at->ai_addrlen);
        endpoint.port(port);
        out.push_back(endpoint);
    }
    ::freeaddrinfo(found);
    if (out.empty()) {
        return fail(ErrorCode::kIo, fmt::format("the name '{}' has no address", host));
    }
    return out;
}

struct Resolver::State {
    explicit State(asio::io_context& context) : io{context} {}
    Mutex mutex;
    bool abandoned GUARDED_BY(mutex) = false;
    asio::io_context& io GUARDED_BY(mutex);  // only while not abandoned
    std::map<std::string, std::vector<std::pair<std::uint16_t, Callback>>> waiting GUARDED_BY(mutex);

    void finish(const std::string& host, const Result<Endpoints>& outcome) {
        MutexLock lock{mutex};
        if (abandoned) {
            return;
        }
        for (auto& [port, callback] : waiting[host]) {
            Result<Endpoints> own = outcome;
            if (own) {
                for (auto& endpoint : own.value()) {
                    endpoint.port(port);
                }
            }
            asio::post(io, [call = std::move(callback), answer = std::move(own)] { call(answer); });
        }
        waiting.erase(host);
    }
};

Resolver::Resolver(asio::io_context& io) : state_{std::make_shared<State>(io)} {}

Resolver::~Resolver() {
    MutexLock lock{state_->mutex};
    state_->abandoned = true;
    state_->waiting.clear();
}

void Resolver::lookup(const std::string& host, std::uint16_t port, Callback callback) {
    {
        MutexLock lock{state_->mutex};
        auto& queue = state_->waiting[host];
        queue.emplace_back(port, std::move(callback));
        if (queue.size() > 1) {
            return;
        }
    }
    boost::system::error_code not_literal;
    asio::ip::make_address(host, not_literal);
    if (!not_literal) {
        state_->finish(host, resolve_now(host, port));
        return;
    }
    // getaddrinfo() cannot be told to stop: the thread is left to itself, and what it finds is dropped if nobody
    // wants it any more. At most one a name.
    try {
        std::thread{[state = state_, host] { state->finish(host, resolve_now(host, 0)); }}.detach();
    } catch (const std::system_error& error) {
        state_->finish(host,
                       fail(ErrorCode::kIo, fmt::format("no thread to look '{}' up: {}", host, error.what())));
    }
}

}  // namespace nornic::transport
