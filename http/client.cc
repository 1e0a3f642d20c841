#include "http/client.h"

#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast.hpp>
#include <boost/beast/ssl.hpp>
#include <fmt/format.h>
#include <openssl/evp.h>

#include <charconv>
#include <ctime>

namespace nornic::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using tcp = asio::ip::tcp;
using ErrorCodeAsio = boost::system::error_code;

constexpr std::uint64_t kAnswerBytesMax = std::uint64_t{64} << 20;
constexpr std::uint16_t kDefaultPort = 7474;

std::string joined(const std::string& host, std::uint16_t port) {
    return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

std::string base64(std::string_view text) {
    std::string out((text.size() + 2) / 3 * 4 + 1, '\0');
    const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(text.data()),
                                     static_cast<int>(text.size()));
    out.resize(static_cast<std::size_t>(size));
    return out;
}

/// "Sat, 28 Nov 2026 15:30:00 GMT"
std::optional<std::int64_t> seconds_of(const std::string& date) {
    std::tm parts{};
    if (::strptime(date.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &parts) == nullptr) {
        return std::nullopt;
    }
    return ::timegm(&parts);
}

/// One request: each step is begun and the loop run until it is done or it is too late.
class Exchange {
public:
    Exchange(const Site& site, std::string_view what)
        : site_{site}, what_{what}, deadline_{std::chrono::steady_clock::now() + site.timeout} {}

    Result<Answer> run(beast::http::request<beast::http::string_body>& request) {
        NORNIC_TRY(connect());
        if (!site_.tls) {
            return exchange(socket_, request);
        }
        asio::ssl::context tls{asio::ssl::context::tls_client};
        NORNIC_TRY(set_trust(tls));
        asio::ssl::stream<tcp::socket&> secure{socket_, tls};
        if (site_.tls_verify) {
            secure.set_verify_callback(asio::ssl::host_name_verification{site_.host});
        }
        SSL_set_tlsext_host_name(secure.native_handle(), site_.host.c_str());
        NORNIC_TRY(step("TLS with", [&](auto done) {
            secure.async_handshake(asio::ssl::stream_base::client, [done](ErrorCodeAsio error) { done(error); });
        }));
        return exchange(secure, request);
    }

private:
    template <class Begin>
    Result<> step(std::string_view doing, Begin begin, ErrorCode code = ErrorCode::kIo) {
        ErrorCodeAsio outcome = asio::error::would_block;
        begin([&outcome](ErrorCodeAsio error) { outcome = error; });
        io_.restart();
        while (outcome == asio::error::would_block && io_.run_one_until(deadline_) > 0) {
        }
        if (outcome == asio::error::would_block) {
            // What was begun ends before what it works on goes.
            ErrorCodeAsio ignored;
            socket_.close(ignored);
            resolver_.cancel();
            io_.restart();
            io_.run_for(std::chrono::milliseconds{100});
            return fail(code,
                        fmt::format("{} does not answer within {} ms ({} it)", what_, site_.timeout.count(), doing));
        }
        if (outcome) {
            return fail(code, fmt::format("{} cannot be reached: {} it: {}", what_, doing, outcome.message()));
        }
        return success();
    }

    Result<> connect() {
        tcp::resolver::results_type found;
        NORNIC_TRY(step("resolving", [&](auto done) {
            resolver_.async_resolve(site_.host,
                                    std::to_string(site_.port),
                                    [done, &found](ErrorCodeAsio error, tcp::resolver::results_type results) {
                                        found = std::move(results);
                                        done(error);
                                    });
        }));
        return step("connecting to", [&](auto done) {
            asio::async_connect(socket_, found, [done](ErrorCodeAsio error, const tcp::endpoint&) { done(error); });
        });
    }

    Result<> set_trust(asio::ssl::context& tls) const {
        ErrorCodeAsio error;
        if (!site_.tls_verify) {
            tls.set_verify_mode(asio::ssl::verify_none, error);
            return success();
        }
        tls.set_verify_mode(asio::ssl::verify_peer, error);
        if (site_.tls_ca_file.empty()) {
            tls.set_default_verify_paths(error);
        } else {
            tls.load_verify_file(site_.tls_ca_file, error);
        }
        if (error) {
            return fail(ErrorCode::kInvalidArgument, fmt::format("'{}' cannot be used: {}", site_.tls_ca_file, error.message()));
        }
        return success();
    }

    template <class Stream>
    Result<Answer> exchange(Stream& stream, beast::http::request<beast::http::string_body>& request) {
        NORNIC_TRY(step("asking", [&](auto done) {
            beast::http::async_write(stream, request, [done](ErrorCodeAsio error, std::size_t) { done(error); });
        }, ErrorCode::kUnknownCommit));
        beast::flat_buffer buffer;
        beast::http::response_parser<beast::http::string_body> parser;
        parser.body_limit(kAnswerBytesMax);
        NORNIC_TRY(step("hearing", [&](auto done) {
            beast::http::async_read(stream, buffer, parser, [done](ErrorCodeAsio error, std::size_t) { done(error); });
        }, ErrorCode::kUnknownCommit));
        auto& response = parser.get();
        Answer out;
        out.status = static_cast<int>(response.result_int());
        out.date = seconds_of(std::string{response[beast::http::field::date]});
        out.body = std::move(response.body());
        return out;
    }

    const Site& site_;
    const std::string what_;
    const std::chrono::steady_clock::time_point deadline_;
    asio::io_context io_;
    tcp::resolver resolver_{io_};
    tcp::socket socket_{io_};
};

}  // namespace

std::string Site::url() const {
    return fmt::format("{}://{}", tls ? "https" : "http", joined(host, port));
}

Result<Site> parse_site(std::string_view text, const Site& defaults) {
    Site out = defaults;
    std::string_view rest = text;
    if (const std::size_t scheme_end = rest.find("://"); scheme_end != std::string_view::npos) {
        const std::string_view scheme = rest.substr(0, scheme_end);
        if (scheme != "http" && scheme != "https") {
            return fail(ErrorCode::kInvalidArgument, fmt::format("'{}': it takes http://host:port or https://host:port", text));
        }
        out.tls = scheme == "https";
        rest.remove_prefix(scheme_end + 3);
    }
    rest = rest.substr(0, rest.find('/'));
    out.port = kDefaultPort;
    const std::size_t bracket = rest.find(']');
    const std::size_t colon = rest.find(':', bracket == std::string_view::npos ? 0 : bracket);
    if (colon != std::string_view::npos) {
        const std::string_view port = rest.substr(colon + 1);
        const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), out.port);
        if (error != std::errc{} || end != port.data() + port.size() || out.port == 0) {
            return fail(ErrorCode::kInvalidArgument, fmt::format("'{}': '{}' is no port, 1 to 65535", text, port));
        }
        rest = rest.substr(0, colon);
    }
    if (rest.starts_with('[') && rest.ends_with(']')) {
        rest = rest.substr(1, rest.size() - 2);
    }
    if (rest.empty()) {
        return fail(ErrorCode::kInvalidArgument, fmt::format("'{}': it takes http://host:port", text));
    }
    out.host = std::string{rest};
    return out;
}

Result<Answer> fetch(const Site& site, std::string_view method, std::string_view target, std::string body, const Headers& headers) {
    beast::http::request<beast::http::string_body> request;
    request.method_string(method);
    request.target(target);
    request.version(11);
    request.set(beast::http::field::host, joined(site.host, site.port));
    request.set(beast::http::field::user_agent, "nornicdb");
    request.set(beast::http::field::accept, "application/json");
    request.keep_alive(false);
    if (!site.user.empty()) {
        request.set(beast::http::field::authorization, "Basic " + base64(site.user + ":" + site.password));
    }
    if (!body.empty()) {
        request.set(beast::http::field::content_type, "application/json");
    }
    for (const auto& [name, value] : headers) {
        request.set(name, value);
    }
    request.body() = std::move(body);
    request.prepare_payload();
    return Exchange{site, site.url()}.run(request);
}

}  // namespace nornic::http
