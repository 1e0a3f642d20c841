#include "http/server.h"

#include "http/query_api.h"

#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast.hpp>
#include <boost/beast/ssl.hpp>
#include <boost/url.hpp>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <openssl/evp.h>

#include <condition_variable>
#include <ctime>
#include <mutex>
#include <set>
#include <variant>

namespace nornic::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using tcp = asio::ip::tcp;
using ErrorCodeAsio = boost::system::error_code;

// Beyond the largest header: what one read may bring. It also bounds what Beast itself does not, such as the head
// of a chunk.
constexpr std::size_t kReadBytes = 64 * 1024;
// Bodies up to here are read even when those of all requests together are at their bound.
constexpr std::size_t kSmallBodyBytes = 64 * 1024;
constexpr std::chrono::milliseconds kAcceptRetry{100};
constexpr std::chrono::seconds kRefusalLogInterval{10};
// After an answer to a request that was not read to its end: a reset could overtake the answer.
constexpr std::chrono::seconds kLinger{1};
constexpr std::size_t kLingerBytesMax = std::size_t{1} << 20;

std::string decode_base64(std::string_view text) {
    if (text.empty() || text.size() % 4 != 0 || text.size() > 4096) {
        return {};
    }
    std::string out(text.size() / 4 * 3, '\0');
    const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(text.data()),
                                     static_cast<int>(text.size()));
    if (size < 0) {
        return {};
    }
    out.resize(static_cast<std::size_t>(size) - (text.ends_with("==")  ? 2U
                                                 : text.ends_with("=") ? 1U
                                                                       : 0U));
    return out;
}

Credentials credentials_of(std::string_view header) {
    constexpr std::string_view kBasic = "Basic ";
    Credentials out;
    if (header.size() <= kBasic.size() ||
        !beast::iequals(header.substr(0, kBasic.size()), kBasic)) {
        return out;
    }
    const std::string pair = decode_base64(header.substr(kBasic.size()));
    const std::size_t colon = pair.find(':');
    if (colon == std::string::npos) {
        return out;
    }
    return {pair.substr(0, colon), pair.substr(colon + 1), true};
}

std::string host_of(std::string_view header) {
    const std::size_t colon = header.rfind(':');
    const bool port_behind =
        colon != std::string_view::npos && header.find(']', colon) == std::string_view::npos;
    const std::string_view host = port_behind ? header.substr(0, colon) : header;
    for (const char c : host) {
        const bool fine = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' ||
                          c == '-' || c == '_' || c == '[' || c == ']' || c == ':';
        if (!fine) {
            return {};
        }
    }
    return std::string{host.substr(0, 255)};
}

}  // namespace

class Server::Impl : public std::enable_shared_from_this<Server::Impl> {
public:
    Impl(asio::io_context& io, Settings settings, Backend& backend)
        : io_{io},
          settings_{std::move(settings)},
          backend_{backend},
          acceptor_{asio::make_strand(io)},
          retry_{acceptor_.get_executor()} {}

    Result<> listen();
    void accept();
    void refused(const std::string& line);
    void stop(Deadline deadline);

    template <class Stream>
    class Connection;
    class Detector;

    asio::io_context& io_;
    const Settings settings_;
    Backend& backend_;
    std::optional<asio::ssl::context> tls_;
    tcp::acceptor acceptor_;
    asio::steady_timer retry_;
    Deadline next_refusal_line_{};           // of the acceptor's strand alone
    std::atomic<std::size_t> detecting_{0};  // connections whose first bytes are looked at
    std::atomic<std::size_t> body_bytes_{0};  // held by all connections
    std::uint16_t port_ = 0;
    Metrics metrics_;

    struct Closable {
        virtual ~Closable() = default;
        /// Closes at once if idle, after the answer if not; `now`: whatever runs. Any thread.
        virtual void close(bool now) = 0;
    };
    void entered(Closable* c) {
        const std::lock_guard lock{mutex_};
        connections_.insert(c);
        metrics_.connections_opened.fetch_add(1, std::memory_order_relaxed);
    }
    void left(Closable* c) {
        const std::lock_guard lock{mutex_};
        connections_.erase(c);
        metrics_.connections_closed.fetch_add(1, std::memory_order_relaxed);
        gone_.notify_all();
    }
    [[nodiscard]] bool full() {
        const std::lock_guard lock{mutex_};
        return connections_.size() + detecting_.load() >= settings_.connections_max;
    }
    std::atomic<bool> stopping_{false};
    std::mutex mutex_;
    std::condition_variable gone_;
    std::set<Closable*> connections_;
};

/// One connection: reads a request, answers it, and again.
template <class Stream>
class Server::Impl::Connection final : public Closable,
                                       public std::enable_shared_from_this<Connection<Stream>> {
public:
    Connection(std::shared_ptr<Impl> server, Stream stream, beast::flat_buffer buffer)
        : server_{std::move(server)}, stream_{std::move(stream)}, buffer_{std::move(buffer)} {}
    ~Connection() override {
        release_body();
        server_->left(this);
    }

    /// Not in the constructor: whoever closes all connections needs a shared pointer to be had.
    void start() {
        server_->entered(this);
        if (server_->stopping_.load()) {
            return;
        }
        read();
    }

    void close(bool now) override {
        asio::post(stream_.get_executor(), [self = this->weak_from_this(), now] {
            if (const auto connection = self.lock()) {
                connection->closing_ = true;
                if (now || !connection->busy_) {
                    ErrorCodeAsio ignored;
                    beast::get_lowest_layer(connection->stream_).socket().close(ignored);
                }
            }
        });
    }

private:
    void read() {
        parser_.emplace();
        parser_->header_limit(static_cast<std::uint32_t>(server_->settings_.header_bytes_max));
        parser_->body_limit(server_->settings_.body_bytes_max);
        beast::get_lowest_layer(stream_).expires_after(server_->settings_.keep_alive_timeout);
        beast::http::async_read_header(
            stream_,
            buffer_,
            *parser_,
            [self = this->shared_from_this()](ErrorCodeAsio error, std::size_t) {
                if (error) {
                    self->end(error);
                    return;
                }
                self->busy_ = true;
                beast::get_lowest_layer(self->stream_)
                    .expires_after(self->server_->settings_.request_timeout);
                self->begin_body();
            });
    }

    void begin_body() {
        const Settings& settings = server_->settings_;
        const bool known =
            !server_->backend_.authentication_enabled() ||
            parser_->get().find(beast::http::field::authorization) != parser_->get().end();
        const std::size_t most =
            known ? settings.body_bytes_max
                  : std::min(settings.body_bytes_max, settings.body_bytes_max_without_credentials);
        if (const auto length = parser_->content_length(); length && *length > most) {
            end(beast::http::error::body_limit);
            return;
        }
        parser_->body_limit(most);
        read_body();
    }

    void read_body() {
        if (parser_->is_done()) {
            work();
            return;
        }
        beast::http::async_read_some(
            stream_,
            buffer_,
            *parser_,
            [self = this->shared_from_this()](ErrorCodeAsio error, std::size_t) {
                if (error) {
                    self->end(error);
                } else if (!self->hold_body()) {
                    self->refuse(
                        503,
                        "The server is reading as much as it can hold; send the request again.");
                } else {
                    self->read_body();
                }
            });
    }

    /// Counts what has been read of the body. False if all together have become too much.
    bool hold_body() {
        const std::size_t now = parser_->get().body().size();
        const std::size_t more = now - body_bytes_;
        body_bytes_ = now;
        const std::size_t all = server_->body_bytes_.fetch_add(more) + more;
        return now <= kSmallBodyBytes || all <= server_->settings_.bodies_bytes_max;
    }
    void release_body() {
        server_->body_bytes_.fetch_sub(body_bytes_);
        body_bytes_ = 0;
    }

    void work() {
        const auto& message = parser_->get();
        ApiRequest request;
        request.method = std::string{message.method_string()};
        const std::string_view target = message.target();
        const auto url = boost::urls::parse_origin_form(target);
        if (!url) {
            respond(
                {400,
                 "application/json",
                 R"({"errors":[{"code":"Neo.ClientError.Request.Invalid","message":"The request's target is not a path."}]})",
                 {},
                 false});
            return;
        }
        request.path = url->path();
        request.content_type = std::string{message[beast::http::field::content_type]};
        request.accept = std::string{message[beast::http::field::accept]};
        request.host = host_of(message[beast::http::field::host]);
        request.credentials = credentials_of(message[beast::http::field::authorization]);
        request.trace_parent = std::string{message["traceparent"]};
        ErrorCodeAsio gone;
        if (const auto client = beast::get_lowest_layer(stream_).socket().remote_endpoint(gone); !gone) {
            request.client_address = fmt::format("{}:{}", client.address().to_string(), client.port());
        }
        request.body = std::move(parser_->get().body());
        server_->metrics_.requests.fetch_add(1, std::memory_order_relaxed);
        beast::get_lowest_layer(stream_).expires_never();
        const bool blocks = may_block(request);
        const Settings& settings = server_->settings_;
        if (blocks && settings.enter_blocking) {
            settings.enter_blocking(this);
        }
        handle(server_->backend_,
               std::move(request),
               [self = this->shared_from_this()](ApiResponse response) {
                   asio::dispatch(self->stream_.get_executor(),
                                  [self, response = std::move(response)]() mutable {
                                      self->respond(std::move(response));
                                  });
               });
        if (blocks && settings.leave_blocking) {
            settings.leave_blocking();
        }
    }

    /// Answers a request that is not read to its end, and closes.
    void refuse(int status, std::string_view message) {
        closing_ = true;
        unread_ = true;
        respond({status,
                 "application/json",
                 fmt::format(
                     R"({{"errors":[{{"code":"Neo.ClientError.Request.Invalid","message":"{}"}}]}})",
                     message),
                 {},
                 false});
    }

    void respond(ApiResponse answer) {
        release_body();
        const auto& request = parser_->get();
        auto response = std::make_shared<beast::http::response<beast::http::string_body>>(
            static_cast<beast::http::status>(answer.status), request.version());
        response->set(beast::http::field::content_type, answer.content_type);
        response->set(beast::http::field::access_control_allow_origin, "*");
        response->set(beast::http::field::cache_control, "no-store");
        response->set(beast::http::field::date, fmt::format("{:%a, %d %b %Y %H:%M:%S} GMT", fmt::gmtime(std::time(nullptr))));
        if (answer.ask_credentials) {
            response->set(beast::http::field::www_authenticate,
                          "Basic realm=\"nornicdb\", charset=\"UTF-8\"");
        }
        if (!answer.allow.empty()) {
            response->set(beast::http::field::allow, answer.allow);
        }
        if (answer.status >= 400) {
            server_->metrics_.failures.fetch_add(1, std::memory_order_relaxed);
        }
        const bool keep = request.keep_alive() && !closing_ && !server_->stopping_.load();
        response->keep_alive(keep);
        response->body() = std::move(answer.body);
        response->prepare_payload();
        if (request.method() == beast::http::verb::head) {
            response->body().clear();
        }
        beast::get_lowest_layer(stream_).expires_after(server_->settings_.request_timeout);
        beast::http::async_write(
            stream_,
            *response,
            [self = this->shared_from_this(), response, keep](ErrorCodeAsio error, std::size_t) {
                self->busy_ = false;
                if (error || !keep || self->closing_) {
                    self->end(error);
                    return;
                }
                self->read();
            });
    }

    void end(ErrorCodeAsio error) {
        namespace http = beast::http;
        if (error == http::error::body_limit || error == http::error::header_limit ||
            error == http::error::buffer_overflow) {
            refuse(413, "The request is larger than this server takes.");
            return;
        }
        const bool cut = error == http::error::end_of_stream || error == http::error::partial_message;
        if (error.category() == make_error_code(http::error::bad_method).category() && !cut) {
            refuse(400, "This is not an HTTP request.");
            return;
        }
        ErrorCodeAsio ignored;
        auto& lowest = beast::get_lowest_layer(stream_);
        lowest.socket().shutdown(tcp::socket::shutdown_send, ignored);
        if (unread_) {
            lowest.expires_after(kLinger);
            discard(kLingerBytesMax);
        }
    }

    /// Reads on for a moment, so that the peer gets our last answer and not a reset.
    void discard(std::size_t left) {
        buffer_.clear();
        beast::get_lowest_layer(stream_).async_read_some(
            buffer_.prepare(kReadBytes),
            [self = this->shared_from_this(), left](ErrorCodeAsio error, std::size_t n) {
                if (!error && n < left) {
                    self->discard(left - n);
                }
            });
    }

    const std::shared_ptr<Impl> server_;
    Stream stream_;
    beast::flat_buffer buffer_;
    std::optional<beast::http::request_parser<beast::http::string_body>> parser_;
    bool busy_ = false;  // between a request's header and its answer
    bool closing_ = false;
    bool unread_ = false;         // the peer may still be sending a request that was refused
    std::size_t body_bytes_ = 0;  // counted in the server's
};

/// Looks at the first bytes: TLS or plain.
class Server::Impl::Detector final : public std::enable_shared_from_this<Detector> {
public:
    Detector(std::shared_ptr<Impl> server, tcp::socket socket)
        : server_{std::move(server)},
          stream_{std::move(socket)},
          buffer_{server_->settings_.header_bytes_max + kReadBytes} {
        server_->detecting_.fetch_add(1);
    }
    ~Detector() { server_->detecting_.fetch_sub(1); }
    Detector(const Detector&) = delete;
    Detector& operator=(const Detector&) = delete;
    void start() {
        if (!server_->tls_) {
            std::make_shared<Connection<beast::tcp_stream>>(
                server_, std::move(stream_), std::move(buffer_))
                ->start();
            return;
        }
        stream_.expires_after(server_->settings_.request_timeout);
        beast::async_detect_ssl(
            stream_, buffer_, [self = shared_from_this()](ErrorCodeAsio error, bool tls) {
                if (error || (!tls && self->server_->settings_.tls.required)) {
                    return;
                }
                if (!tls) {
                    std::make_shared<Connection<beast::tcp_stream>>(
                        self->server_, std::move(self->stream_), std::move(self->buffer_))
                        ->start();
                    return;
                }
                self->secure_.emplace(std::move(self->stream_), *self->server_->tls_);
                // What was peeked at belongs to the handshake.
                self->secure_->async_handshake(
                    asio::ssl::stream_base::server,
                    self->buffer_.data(),
                    [self](ErrorCodeAsio failed, std::size_t used) {
                        if (failed) {
                            return;
                        }
                        self->buffer_.consume(used);
                        std::make_shared<Connection<asio::ssl::stream<beast::tcp_stream>>>(
                            self->server_, std::move(*self->secure_), std::move(self->buffer_))
                            ->start();
                    });
            });
    }

private:
    const std::shared_ptr<Impl> server_;
    beast::tcp_stream stream_;
    std::optional<asio::ssl::stream<beast::tcp_stream>> secure_;
    beast::flat_buffer buffer_;
};

Result<> Server::Impl::listen() {
    ErrorCodeAsio error;
    const auto address = asio::ip::make_address(
        settings_.address == "localhost" ? "127.0.0.1" : settings_.address, error);
    if (error) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("NORNICDB_ADDRESS='{}' is not an IP address to listen on",
                                settings_.address));
    }
    if (settings_.tls.enabled) {
        tls_.emplace(asio::ssl::context::tls_server);
        tls_->set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_tlsv1 |
                          asio::ssl::context::no_tlsv1_1);
        const auto broken = [&](const std::string& file) {
            return fail(ErrorCode::kInvalidArgument,
                        fmt::format("HTTP TLS: '{}' cannot be used: {}", file, error.message()));
        };
        if (tls_->use_certificate_chain_file(settings_.tls.certificate_file, error); error) {
            return broken(settings_.tls.certificate_file);
        }
        if (tls_->use_private_key_file(settings_.tls.key_file, asio::ssl::context::pem, error);
            error) {
            return broken(settings_.tls.key_file);
        }
        if (!settings_.tls.client_ca_file.empty()) {
            if (tls_->load_verify_file(settings_.tls.client_ca_file, error); error) {
                return broken(settings_.tls.client_ca_file);
            }
            tls_->set_verify_mode(asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert);
        }
    }
    const tcp::endpoint endpoint{address, settings_.port};
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
        return fail(
            ErrorCode::kIo,
            fmt::format("HTTP cannot listen on {}:{}: {} (NORNICDB_ADDRESS, NORNICDB_HTTP_PORT)",
                        settings_.address,
                        settings_.port,
                        error.message()));
    }
    port_ = acceptor_.local_endpoint().port();
    return success();
}

void Server::Impl::accept() {
    acceptor_.async_accept(
        asio::make_strand(io_),
        [self = shared_from_this()](ErrorCodeAsio error, tcp::socket socket) {
            if (self->stopping_.load() || error == asio::error::operation_aborted) {
                return;
            }
            if (error) {
                // Out of file descriptors, most likely: the queue of the kernel keeps the peers.
                self->refused(fmt::format("HTTP cannot accept a connection: {}", error.message()));
                self->retry_.expires_after(kAcceptRetry);
                self->retry_.async_wait([self](ErrorCodeAsio cancelled) {
                    if (!cancelled && !self->stopping_.load()) {
                        self->accept();
                    }
                });
                return;
            }
            if (self->full()) {
                self->refused(fmt::format("HTTP connection limit of {} reached; one was refused.",
                                          self->settings_.connections_max));
            } else {
                ErrorCodeAsio ignored;
                socket.set_option(tcp::no_delay{true}, ignored);
                std::make_shared<Detector>(self, std::move(socket))->start();
            }
            self->accept();
        });
}

/// One line for the operator, unless there was one a moment ago.
void Server::Impl::refused(const std::string& line) {
    const Deadline now = system_clock().now();
    if (settings_.log_warning && now >= next_refusal_line_) {
        next_refusal_line_ = now + kRefusalLogInterval;
        settings_.log_warning(line);
    }
}

void Server::Impl::stop(Deadline deadline) {
    if (stopping_.exchange(true)) {
        return;
    }
    asio::post(acceptor_.get_executor(), [self = shared_from_this()] {
        ErrorCodeAsio ignored;
        self->acceptor_.close(ignored);
        self->retry_.cancel();
    });
    std::unique_lock lock{mutex_};
    for (Closable* connection : connections_) {
        connection->close(false);
    }
    gone_.wait_until(lock, deadline, [this] { return connections_.empty(); });
    for (Closable* connection : connections_) {
        connection->close(true);
    }
    gone_.wait_for(lock, std::chrono::seconds{2}, [this] { return connections_.empty(); });
}

Server::Server(std::shared_ptr<Impl> impl) : impl_{std::move(impl)} {}
Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::start(asio::io_context& io,
                                              Settings settings,
                                              Backend& backend) {
    auto impl = std::make_shared<Impl>(io, std::move(settings), backend);
    NORNIC_TRY(impl->listen());
    impl->accept();
    return std::unique_ptr<Server>{new Server{std::move(impl)}};
}

std::uint16_t Server::port() const {
    return impl_->port_;
}
const Metrics& Server::metrics() const {
    return impl_->metrics_;
}
void Server::stop(Deadline deadline) {
    impl_->stop(deadline);
}

}  // namespace nornic::http
