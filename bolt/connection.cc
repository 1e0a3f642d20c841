#include "bolt/connection.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

namespace nornic::bolt {

namespace {

namespace asio = boost::asio;
using boost::system::error_code;

// After our last byte the peer may take this long to close its side; closing earlier could throw
// that last byte away on its way (a reset overtakes data).
constexpr std::chrono::milliseconds kLinger{1000};
constexpr std::size_t kKeptBytes = 1 << 20;
// How much may wait for the socket of what TLS and WebSocket answer by themselves (key updates,
// pongs): nothing else bounds what a peer makes us say that sends such requests and never reads.
constexpr std::size_t kControlBytesMax = 256 * 1024;
constexpr char kTlsHandshakeRecord = 0x16;

std::string endpoint_text(const asio::ip::tcp::endpoint& endpoint) {
    const std::string port = std::to_string(endpoint.port());
    const asio::ip::address address = endpoint.address();
    if (address.is_v6()) {
        if (address.to_v6().is_v4_mapped()) {
            return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()).to_string() +
                   ":" + port;
        }
        return "[" + address.to_string() + "]:" + port;
    }
    return address.to_string() + ":" + port;
}

void drop_large(std::string& buffer) {
    buffer.clear();
    if (buffer.capacity() > kKeptBytes) {
        std::string{}.swap(buffer);
    }
}

}  // namespace

Connection::Connection(std::shared_ptr<ConnectionHost> host, Socket socket, std::string id)
    : host_{std::move(host)},
      connected_at_{system_clock().now()},
      connected_at_ms_{system_clock().wall_ns() / 1'000'000},
      socket_{std::move(socket)} {
    info_.connection_id = std::move(id);
    error_code ignored;
    const auto remote = socket_.remote_endpoint(ignored);
    info_.client_address = endpoint_text(remote);
    const auto local = socket_.local_endpoint(ignored);
    info_.server_address = endpoint_text(local);
}

Connection::~Connection() = default;

void Connection::start() {
    {
        MutexLock lock{io_mutex_};
        error_code ignored;
        socket_.set_option(asio::ip::tcp::no_delay{true}, ignored);
        socket_.set_option(asio::socket_base::keep_alive{true}, ignored);
        socket_.non_blocking(true, ignored);
        last_progress_ = connected_at_;
        last_noop_ = connected_at_;
    }
    start_read();
}

ConnectionStatus Connection::status() const {
    ConnectionStatus s;
    s.connection_id = info_.connection_id;
    s.client_address = info_.client_address;
    s.server_address = info_.server_address;
    s.connected_at_ms = connected_at_ms_;
    if (const Conversation* conversation = conversation_.load(std::memory_order_acquire)) {
        s.user = conversation->user();
        s.user_agent = conversation->user_agent();
        s.protocol_version = info_.protocol_version;
        s.running = conversation->busy_since() != 0;
        s.encrypted = info_.encrypted;
    }
    return s;
}

// ---- reading ----

void Connection::start_read() {
    MutexLock lock{io_mutex_};
    if (broken_) {
        reading_ended_ = true;
        lock.unlock();
        on_end_of_input();
        return;
    }
    reading_ = true;
    socket_.async_read_some(asio::buffer(input_),
                            [self = shared_from_this()](const error_code& error, std::size_t n) {
                                self->on_read(error, n);
                            });
}

void Connection::on_read(const error_code& error, std::size_t n) {
    if (error) {
        {
            MutexLock lock{io_mutex_};
            reading_ended_ = true;
        }
        on_end_of_input();
        return;
    }
    host_->metrics.bytes_received.fetch_add(n, std::memory_order_relaxed);
    bool going_on = true;
    {
        MutexLock lock{io_mutex_};
        going_on = !closing_;  // What comes after our last word is thrown away.
    }
    if (going_on && !take({input_.data(), n})) {
        close();
    }
    Conversation* const conversation = conversation_.load(std::memory_order_relaxed);
    if (conversation == nullptr) {
        start_read();
        return;
    }
    if (!moved_ && host_->settings.shared_io != nullptr && conversation->waits_elsewhere()) {
        move_to_shared_thread();
    }
    {
        // Before asking: the answer "later" may be followed by resume_input() at once.
        MutexLock lock{io_mutex_};
        reading_ = false;
    }
    if (conversation->wants_input()) {
        start_read();
    }
    conversation->work();
}

void Connection::resume_input() {
    start_read();
}

/// While no operation is outstanding: its next events come there.
void Connection::move_to_shared_thread() {
    MutexLock lock{io_mutex_};
    if (broken_ || shut_ || sending_alone_ || !nothing_waits()) {
        return;
    }
    error_code error;
    const auto protocol = socket_.local_endpoint(error).protocol();
    Socket there{*host_->settings.shared_io};
    const int descriptor = error ? -1 : socket_.release(error);
    if (error) {
        return;
    }
    there.assign(protocol, descriptor, error);
    if (error) {
        ::close(descriptor);
        break_off();
        return;
    }
    socket_ = std::move(there);
    socket_.non_blocking(true, error);
    moved_ = true;
}

bool Connection::on_shared_thread() const {
    return host_->settings.shared_io != nullptr && host_->settings.shared_io->get_executor().running_in_this_thread();
}

void Connection::on_end_of_input() {
    if (on_shared_thread()) {
        post([this] { on_end_of_input(); });
        return;
    }
    if (Conversation* const conversation = conversation_.load(std::memory_order_relaxed)) {
        conversation->terminate(false);
    } else {
        close();
    }
    settle();
}

/// False: the connection cannot go on.
bool Connection::take(std::string_view raw) {
    if (raw.empty()) {
        return true;
    }
    bool encrypted = false;
    {
        MutexLock lock{io_mutex_};
        if (phase_ == Phase::kSniff && tls_ == nullptr) {
            if (raw[0] == kTlsHandshakeRecord && host_->tls != nullptr) {
                tls_ = std::make_unique<TlsChannel>(host_->tls);
                info_.encrypted = true;
            } else if (host_->tls != nullptr && host_->settings.tls.required) {
                return false;
            }
        }
        encrypted = tls_ != nullptr;
        if (encrypted) {
            plain_.clear();
            std::string reply;
            const Result<> fed = tls_->feed(raw, plain_, reply);
            const bool bounded = has_room_for_control(reply.size());
            if (bounded) {
                write_raw(reply);
            }
            if (!fed || !bounded) {
                return false;
            }
        }
    }
    if (encrypted) {
        const bool good = plain_.empty() || take_stream(plain_);
        MutexLock lock{io_mutex_};
        return good && !tls_->ended();
    }
    return take_stream(raw);
}

bool Connection::take_stream(std::string_view bytes) {
    bool framed = false;
    bool open = true;
    {
        MutexLock lock{io_mutex_};
        framed = frames_ != nullptr;
        if (framed) {
            payload_.clear();
            std::string reply;
            open = frames_->feed(bytes, payload_, reply);
            // A pong may be left out (RFC 6455, 5.5.3), the close frame not.
            if (!reply.empty() && (has_room_for_control(reply.size()) || !open)) {
                if (tls_ != nullptr) {
                    std::string raw;
                    tls_->wrap(reply, raw);
                    write_raw(raw);
                } else {
                    write_raw(reply);
                }
            }
        }
    }
    if (framed) {
        return (payload_.empty() || take_handshake(payload_)) && open;
    }
    if (phase_ == Phase::kSniff) {
        phase_ = bytes[0] == 'G' ? Phase::kHttp : Phase::kHandshake;
    }
    return phase_ == Phase::kHttp ? take_http(bytes) : take_handshake(bytes);
}

bool Connection::take_http(std::string_view bytes) {
    head_.append(bytes);  // One read's worth at most.
    const std::size_t end = head_.find("\r\n\r\n");
    if (end == std::string::npos || end + 4 > kHttpHeadBytesMax) {
        return end == std::string::npos && head_.size() < kHttpHeadBytesMax;
    }
    Result<HttpAnswer> answer = answer_http(std::string_view{head_}.substr(0, end + 4));
    if (!answer) {
        return false;
    }
    write(answer.value().response);
    if (!answer.value().upgraded) {
        return false;
    }
    const std::string rest = head_.substr(end + 4);
    std::string{}.swap(head_);
    phase_ = Phase::kHandshake;
    {
        MutexLock lock{io_mutex_};
        frames_ = std::make_unique<WebSocketFrames>(WebSocketFrames::Side::kServer);
    }
    return rest.empty() || take_stream(rest);
}

bool Connection::take_handshake(std::string_view bytes) {
    if (phase_ == Phase::kMessages) {
        owned_->receive(bytes);
        return true;
    }
    phase_ = Phase::kHandshake;
    std::string reply;
    const Handshake::Outcome outcome = handshake_.feed(bytes, reply);
    if (!reply.empty()) {
        write(reply);
    }
    if (outcome == Handshake::Outcome::kRefused) {
        return false;
    }
    if (outcome == Handshake::Outcome::kNeedMore) {
        return true;
    }
    phase_ = Phase::kMessages;
    info_.protocol_version = handshake_.version().to_text();
    owned_ = std::make_unique<Conversation>(host_->backend,
                                            host_->settings,
                                            host_->metrics,
                                            *this,
                                            info_,
                                            Dialect{handshake_.version(), false},
                                            handshake_.by_manifest());
    if (!bytes.empty()) {
        owned_->receive(bytes);
    }
    conversation_.store(owned_.get());
    if (ends_when_idle_.load()) {
        owned_->close_when_idle();
    }
    return true;
}

// ---- writing ----

std::size_t Connection::write(std::string& bytes) {
    bool over = false;
    std::size_t left = 0;
    {
        MutexLock lock{io_mutex_};
        if (!broken_ && !shut_ && nothing_waits() && !sending_alone_ && frames_ == nullptr && tls_ == nullptr) {
            send_alone(bytes);
            over = broken_ || closing_;
        } else if (!broken_ && !shut_) {
            std::string_view raw = bytes;
            std::string framed;
            if (frames_ != nullptr) {
                frames_->wrap(raw, framed);
                raw = framed;
            }
            if (tls_ != nullptr) {
                encoded_.clear();
                tls_->wrap(raw, encoded_);
                raw = encoded_;
            }
            write_raw(raw);
        }
        left = waiting_bytes();
    }
    if (over) {
        settle();
    }
    drop_large(bytes);
    return left;
}

/// Sends without the mutex. Whoever waits for the answer may run in place of this thread before send() returns, and
/// the thread that gets the next request must not wait for that.
void Connection::send_alone(std::string_view raw) {
    host_->metrics.bytes_sent.fetch_add(raw.size(), std::memory_order_relaxed);
    sending_alone_ = true;
    const int descriptor = socket_.native_handle();
    io_mutex_.unlock();
    ssize_t n = 0;
    do {
        n = ::send(descriptor, raw.data(), raw.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    const bool failed = n < 0 && errno != EAGAIN && errno != EWOULDBLOCK;
    io_mutex_.lock();
    sending_alone_ = false;
    if (broken_ || failed) {
        break_off();
        return;
    }
    raw.remove_prefix(n < 0 ? 0 : static_cast<std::size_t>(n));
    if (!raw.empty()) {
        last_progress_ = system_clock().now();
        waiting_.insert(0, raw);
    }
    if (!waiting_.empty()) {
        send_waiting();
    } else if (closing_) {
        shut_down();
    }
}

/// Sends what the socket takes at once; a system call here saves waking a thread later.
void Connection::write_raw(std::string_view raw) {
    if (broken_ || raw.empty()) {
        return;
    }
    host_->metrics.bytes_sent.fetch_add(raw.size(), std::memory_order_relaxed);
    if (nothing_waits() && !sending_alone_) {
        error_code error;
        const std::size_t n = socket_.write_some(asio::buffer(raw.data(), raw.size()), error);
        if (error && error != asio::error::would_block && error != asio::error::try_again) {
            break_off();
            return;
        }
        if (!error) {
            raw.remove_prefix(n);
        }
        if (raw.empty()) {
            return;
        }
        last_progress_ = system_clock().now();
    }
    waiting_.append(raw);
    if (sending_.empty() && !sending_alone_) {
        send_waiting();
    }
}

bool Connection::has_room_for_control(std::size_t bytes) {
    if (nothing_waits()) {
        control_bytes_ = 0;
    }
    if (bytes > kControlBytesMax - control_bytes_) {
        return false;
    }
    control_bytes_ += bytes;
    return true;
}

void Connection::send_waiting() {
    if (sent_ == sending_.size()) {
        drop_large(sending_);
        sending_.swap(waiting_);
        sent_ = 0;
    }
    socket_.async_write_some(asio::buffer(sending_.data() + sent_, sending_.size() - sent_),
                             [self = shared_from_this()](const error_code& error, std::size_t n) {
                                 self->on_written(error, n);
                             });
}

void Connection::on_written(const error_code& error, std::size_t n) {
    Conversation* to_notify = nullptr;
    {
        MutexLock lock{io_mutex_};
        if (error || broken_) {
            break_off();
        } else {
            last_progress_ = system_clock().now();
            sent_ += n;
            if (sent_ < sending_.size() || !waiting_.empty()) {
                send_waiting();
                return;
            }
            drop_large(sending_);
            sent_ = 0;
            if (closing_) {
                shut_down();
            }
            if (notify_) {
                notify_ = false;
                to_notify = owned_.get();
            }
        }
    }
    if (to_notify != nullptr && on_shared_thread()) {
        post([to_notify] { to_notify->on_writable(); });
    } else if (to_notify != nullptr) {
        to_notify->on_writable();
    }
    settle();
}

bool Connection::drained_or_notify() {
    MutexLock lock{io_mutex_};
    if (broken_ || nothing_waits()) {
        return true;
    }
    notify_ = true;
    return false;
}

/// Nothing can be sent any more.
void Connection::break_off() {
    broken_ = true;
    waiting_.clear();
    sending_.clear();
    sent_ = 0;
    error_code ignored;
    if (sending_alone_) {
        socket_.shutdown(Socket::shutdown_both, ignored);  // closed once send() has returned
    } else {
        socket_.close(ignored);
    }
    notify_writable();
    if (!reading_ && !reading_ended_) {
        // The input is paused, so no read will fail and tell.
        reading_ended_ = true;
        asio::post(host_->io, [self = shared_from_this()] { self->on_end_of_input(); });
    }
}

/// Whether the peer has reset the connection. A read would tell, but while input is paused there is none.
bool Connection::peer_is_gone() {
    pollfd socket{socket_.native_handle(), 0, 0};
    return ::poll(&socket, 1, 0) > 0 && (socket.revents & (POLLERR | POLLHUP)) != 0;
}

void Connection::notify_writable() {
    if (notify_) {
        notify_ = false;
        asio::post(host_->io, [self = shared_from_this()] { self->owned_->on_writable(); });
    }
}

void Connection::post(std::function<void()> task) {
    asio::post(host_->io, [self = shared_from_this(), work = std::move(task)] { work(); });
}

// ---- the end ----

/// Everything is said: tell the peer so.
void Connection::shut_down() {
    if (shut_ || broken_) {
        return;
    }
    shut_ = true;
    error_code ignored;
    if (host_->stopping.load(std::memory_order_relaxed)) {
        // Idle drivers do not notice an end of stream, so waiting for them would hold the stop up.
        break_off();
    } else {
        socket_.shutdown(Socket::shutdown_send, ignored);
    }
}

void Connection::close() {
    {
        MutexLock lock{io_mutex_};
        if (closing_) {
            return;
        }
        closing_ = true;
        closing_since_ = system_clock().now();
        if (!broken_) {
            std::string last;
            if (frames_ != nullptr) {
                frames_->close(last);
            }
            if (tls_ != nullptr) {
                std::string raw;
                if (!last.empty()) {
                    tls_->wrap(last, raw);
                }
                tls_->close(raw);
                last = std::move(raw);
            }
            write_raw(last);
        }
        if (!broken_ && nothing_waits() && !sending_alone_) {
            shut_down();
        }
    }
    settle();
}

/// Lets the server forget this connection once both directions are over.
void Connection::settle() {
    {
        MutexLock lock{io_mutex_};
        if (settled_ || sending_alone_ || !closing_ || !reading_ended_ || (!broken_ && !nothing_waits())) {
            return;
        }
        settled_ = true;
        error_code ignored;
        socket_.close(ignored);
        broken_ = true;
    }
    host_->forget(shared_from_this());
}

void Connection::abort() {
    {
        MutexLock lock{io_mutex_};
        break_off();
    }
    if (Conversation* const conversation = conversation_.load(std::memory_order_acquire)) {
        conversation->terminate(true);
    } else {
        close();
    }
}

void Connection::terminate() {
    if (Conversation* const conversation = conversation_.load(std::memory_order_acquire)) {
        conversation->terminate(true);
        // A peer that does not read would hold the end up.
        MutexLock lock{io_mutex_};
        notify_writable();
    } else {
        abort();
    }
}

bool Connection::authenticated() const {
    const Conversation* const conversation = conversation_.load(std::memory_order_acquire);
    return conversation != nullptr && conversation->authenticated();
}

std::optional<std::uint64_t> Connection::idle_after_turns() const {
    const Conversation* const conversation = conversation_.load(std::memory_order_acquire);
    return conversation == nullptr || conversation->busy_since() != 0 ? std::nullopt : std::optional{conversation->turns()};
}

void Connection::close_when_idle() {
    ends_when_idle_.store(true);
    if (Conversation* const conversation = conversation_.load()) {
        conversation->close_when_idle();
        MutexLock lock{io_mutex_};
        if (shut_ && host_->stopping.load(std::memory_order_relaxed)) {
            break_off();
        }
    }
}

void Connection::sweep(Deadline now) {
    const Settings& settings = host_->settings;
    Conversation* const conversation = conversation_.load(std::memory_order_acquire);
    const bool authenticated = conversation != nullptr && conversation->authenticated();
    bool give_up = !authenticated && now - connected_at_ >= settings.authentication_timeout;
    if (conversation != nullptr && conversation->busy_since() != 0 &&
        now - Deadline{Duration{conversation->busy_since()}} >= settings.sweep_interval) {
        conversation->flush_soon();
    }
    {
        MutexLock lock{io_mutex_};
        if (broken_) {
            return;
        }
        if (!reading_ && !reading_ended_) {
            give_up = give_up || peer_is_gone();
        }
        if (closing_) {
            give_up = give_up || (nothing_waits() && now - closing_since_ >= kLinger);
        }
        if (!nothing_waits()) {
            give_up = give_up || now - last_progress_ >= settings.slow_reader_timeout;
        }
        if (!give_up && authenticated && !closing_ && nothing_waits() &&
            conversation->takes_noops() && settings.keep_alive.count() > 0) {
            const std::int64_t busy_ns = conversation->busy_since();
            const Deadline busy{Duration{busy_ns}};
            if (busy_ns != 0 && now - std::max(busy, last_noop_) >= settings.keep_alive) {
                last_noop_ = now;
                std::string noop(2, '\0');
                std::string framed;
                if (frames_ != nullptr) {
                    frames_->wrap(noop, framed);
                    noop.swap(framed);
                }
                if (tls_ != nullptr) {
                    std::string raw;
                    tls_->wrap(noop, raw);
                    noop.swap(raw);
                }
                write_raw(noop);
            }
        }
    }
    if (give_up) {
        abort();
    }
}

}  // namespace nornic::bolt
