#include "transport/link.h"

#include "base/check.h"
#include "transport/peer.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <fmt/format.h>

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <utility>

namespace nornic::transport {

namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr std::size_t kRawBytes = std::size_t{64} << 10;
// Frames in one system call.
constexpr std::size_t kGatherMax = 64;
// Written in one go before others have their turn at the mutex and the thread.
constexpr std::size_t kFlushBytesMax = std::size_t{1} << 20;
// Encrypted ahead of the socket.
constexpr std::size_t kCipherBytes = std::size_t{64} << 10;
// What TLS may answer by itself (key updates) to a peer that never reads.
constexpr std::size_t kCipherBytesMax = std::size_t{1} << 20;
// For a Reject to arrive: closing earlier could throw it away on its way (a reset overtakes data).
constexpr std::chrono::seconds kLinger{1};

std::string seconds_text(Duration d) {
    return fmt::format("{:g} s", std::chrono::duration<double>(d).count());
}

Frame frame_of(const ClusterMessage& message, WireFormat format) {
    auto frame = encode(message, format, kFrameBytesCeiling);
    NORNIC_CHECK(frame, "a {} of our own: {}", type_name(message), frame.error().message());
    return std::move(frame).value();
}

}  // namespace

Link::Link(LinkHost& host, Options options, Socket socket, asio::io_context& context)
    : host_{host},
      options_{std::move(options)},
      revision_sent_{options_.identity.revision},
      format_{host.settings().wire_format},
      context_{&context},
      socket_{std::move(socket)},
      timer_{context},
      handshake_{options_.side, options_.identity, options_.lane},
      descriptor_{socket_.native_handle()} {}

void Link::start() {
    const Deadline now = host_.clock().now();
    last_heard_ns_ = now.time_since_epoch().count();
    error_code ignored;
    socket_.set_option(asio::ip::tcp::no_delay{true}, ignored);
    socket_.non_blocking(true, ignored);
    start_timer(host_.settings().handshake_timeout);
    {
        MutexLock lock{mutex_};
        last_progress_ = now;
        if (options_.tls != nullptr) {
            tls_ = std::make_unique<TlsChannel>(options_.tls, options_.side, options_.tls_name);
            raw_.resize(kRawBytes);
            if (options_.side == Side::kDialer) {
                tls_->begin(cipher_);
            }
        }
        if (options_.side == Side::kDialer) {
            push(frame_of(handshake_.hello(), format()));  // With TLS it waits until that is ready.
        }
    }
    read();
}

// ---- Reading ----

void Link::read() {
    if (is_closed()) {
        finish();
        return;
    }
    const std::span<char> space =
        options_.tls != nullptr || phase_ == Phase::kLingering ? std::span{raw_} : reader_.space();
    socket_.async_read_some(asio::buffer(space.data(), space.size()),
                            [self = shared_from_this()](const error_code& error, std::size_t n) {
                                self->on_read(error, n);
                            });
}

void Link::on_read(const error_code& error, std::size_t n) {
    if (error) {
        std::string why = error == asio::error::eof ? "the other side closed the connection" : error.message();
        if (phase_ == Phase::kHandshake && options_.side == Side::kDialer) {
            why += " before it said who it is";
        }
        close(LostReason::kClosed, std::move(why));
        finish();
        return;
    }
    if (is_closed()) {
        finish();
        return;
    }
    last_heard_ns_.store(host_.clock().now().time_since_epoch().count(), std::memory_order_relaxed);
    if (phase_ != Phase::kLingering) {
        if (options_.tls != nullptr) {
            if (const auto failure = decrypt(n)) {
                std::string why = failure->message();
                if (phase_ == Phase::kHandshake && !spoken_to_) {
                    why += " (is NORNICDB_CLUSTER_TLS_ENABLED the same on both sides?)";
                }
                // The alert says why to the other side; there is no way to say Reject.
                MutexLock lock{mutex_};
                linger({LostReason::kRefused, std::move(why), true, false});
            }
        } else {
            reader_.commit(n);
        }
        if (phase_ != Phase::kLingering && !take_frames()) {
            return;
        }
    }
    if (peer_ended_) {
        close(LostReason::kClosed, "the other side closed the connection");
    }
    read();
}

std::optional<Error> Link::decrypt(std::size_t n) {
    MutexLock lock{mutex_};
    const auto fed = tls_->feed(std::span{raw_.data(), n}, cipher_);
    while (fed) {
        const std::span<char> space = reader_.space();
        const auto got = tls_->read(space, cipher_);
        if (!got) {
            if (!closed_ && !broken_ && !waiting_writable_) {
                flush();
            }
            return got.error();
        }
        if (got.value() == 0) {
            break;
        }
        reader_.commit(got.value());
    }
    if (!closed_ && !broken_ && !waiting_writable_) {
        flush();
    }
    if (!fed) {
        return fed.error();
    }
    if (cipher_.size() > kCipherBytesMax) {
        return Error{ErrorCode::kIo, "TLS: the other side makes this one talk and does not listen"};
    }
    peer_ended_ = tls_->ended();
    return std::nullopt;
}

/// false: the chain goes on elsewhere.
bool Link::take_frames() {
    while (phase_ != Phase::kLingering) {
        auto next = reader_.next();
        if (!next) {
            refuse({Reject::MALFORMED, fmt::format("{} sent {}", peer_name(), next.error().message())});
            break;
        }
        if (!next.value()) {
            break;
        }
        if (!take_payload(*next.value())) {
            return false;
        }
        if (is_closed()) {
            break;
        }
    }
    return true;
}

bool Link::take_payload(std::string_view payload) {
    if (!spoken_to_) {
        spoken_to_ = true;
        if (options_.side == Side::kAcceptor) {
            format_.store(format_of(payload), std::memory_order_relaxed);
        }
    }
    auto message = decode(payload);
    if (!message) {
        refuse({Reject::MALFORMED, fmt::format("{} sent {}", peer_name(), message.error().message())});
        return true;
    }
    if (phase_ == Phase::kHandshake) {
        return take_handshake(*message.value());
    }
    take_message(std::move(message).value(), payload.size());
    return true;
}

bool Link::take_handshake(const ClusterMessage& message) {
    Handshake::Step step = handshake_.receive(message);
    if (step.rejected) {
        MutexLock lock{mutex_};
        const bool stopping = step.rejected->code == Reject::STOPPING;
        set_end({stopping ? LostReason::kClosed : LostReason::kRefused,
                 fmt::format("the other side refused: {}", step.rejected->reason.substr(0, 500)),
                 false,
                 !stopping});
        close_locked(LostReason::kRefused, "");
        return true;
    }
    if (!step.refusal && step.introduced) {
        step.refusal = host_.admit(shared_from_this());
    }
    if (step.refusal) {
        refuse(*step.refusal);
        return true;
    }
    for (const ClusterMessage& reply_message : step.replies) {
        reply(reply_message);
    }
    if (step.verified) {
        become_verified();
        return false;
    }
    return true;
}

/// Dialing and handshakes have a thread of their own; what is verified moves away from it.
void Link::become_verified() {
    reader_.set_frame_bytes_max(host_.settings().frame_bytes_max);
    asio::io_context& target = host_.context(lane());
    if (&target != context_ && !is_closed()) {
        move_to(target);
    }
    asio::post(target, [self = shared_from_this()] { self->resume(); });
}

void Link::move_to(asio::io_context& target) {
    error_code error;
    const auto protocol = socket_.local_endpoint(error).protocol();
    MutexLock lock{mutex_};
    ++generation_;
    const auto handle = socket_.release(error);
    socket_ = Socket{target};
    if (!error) {
        socket_.assign(protocol, handle, error);
        if (error) {
            ::close(handle);
        }
    }
    if (error) {
        close_locked(LostReason::kClosed, error.message());
        return;
    }
    socket_.non_blocking(true, error);
    descriptor_ = socket_.native_handle();
    timer_ = asio::steady_timer{target};
    context_ = &target;
    if (std::exchange(waiting_writable_, false)) {
        wait_writable();
    }
}

void Link::resume() {
    phase_ = Phase::kUp;
    verified_at_ = host_.clock().now();
    {
        MutexLock lock{mutex_};
        last_progress_ = verified_at_;
        up_ = !closed_;
    }
    next_ping_ = verified_at_;
    timer_due_ = {};
    keep_alive();
    if (!is_closed()) {
        if (const auto refusal = host_.verified(shared_from_this())) {
            refuse(*refusal);
        } else if (!take_frames()) {
            return;
        }
    }
    read();
}

void Link::adopt(std::shared_ptr<Peer> peer) {
    peer_ = std::move(peer);
    (*peer_->traffic)[index_of(lane())].links.fetch_add(1, std::memory_order_relaxed);
    MutexLock lock{mutex_};
    if (!closed_) {
        usable_.store(true, std::memory_order_release);
    }
}

void Link::take_message(std::shared_ptr<ClusterMessage> message, std::size_t bytes) {
    Traffic& traffic = (*peer_->traffic)[index_of(lane())];
    traffic.bytes_received.fetch_add(bytes + kFrameHeaderBytes, std::memory_order_relaxed);
    switch (message->body_case()) {
        case ClusterMessage::kPing: {
            ClusterMessage pong;
            pong.mutable_pong()->set_sequence(message->ping().sequence());
            reply(pong);
            return;
        }
        case ClusterMessage::kPong: {
            MutexLock lock{mutex_};
            if (message->pong().sequence() == ping_sequence_) {
                traffic.round_trip_ns.store((host_.clock().now() - ping_sent_at_).count(), std::memory_order_relaxed);
            }
            return;
        }
        case ClusterMessage::kHello:
            if (const auto refusal = handshake_.receive_again(message->hello())) {
                refuse(*refusal);
            } else {
                host_.news(shared_from_this());
            }
            return;
        case ClusterMessage::kLaneSwitch:
            generation_received_ = message->lane_switch().generation();
            return;
        case ClusterMessage::kHelloProof:
            refuse({Reject::MALFORMED, fmt::format("{} sent a HelloProof that nobody asked for", peer_name())});
            return;
        case ClusterMessage::kReject: {
            const bool stopping = message->reject().code() == Reject::STOPPING;
            MutexLock lock{mutex_};
            set_end({stopping ? LostReason::kClosed : LostReason::kRefused,
                     fmt::format("the other side {}: {}",
                                 stopping ? "leaves" : "refused",
                                 message->reject().reason().substr(0, 500)),
                     false,
                     !stopping});
            close_locked(LostReason::kRefused, "");
            return;
        }
        case ClusterMessage::BODY_NOT_SET:
            return;  // Of a later version.
        default:
            break;
    }
    traffic.messages_received.fetch_add(1, std::memory_order_relaxed);
    host_.message(shared_from_this(), std::move(message), reader_.pending_bytes() > 0);
}

void Link::refuse(const Refusal& refusal) {
    MutexLock lock{mutex_};
    if (!closed_) {
        push(frame_of(make_reject(refusal), format()));
    }
    linger({LostReason::kRefused, refusal.reason, true, false});
}

void Link::reply(const ClusterMessage& message) {
    Frame frame = frame_of(message, format());
    MutexLock lock{mutex_};
    // A peer that sends Pings and never reads makes no queue grow.
    if (!closed_ && !broken_ && plain_bytes_ < host_.settings().queue_bytes_max[index_of(LANE_CONTROL)]) {
        push(std::move(frame));
    }
}

void Link::finish() {
    error_code ignored;
    socket_.close(ignored);
    timer_.cancel();
    if (peer_ != nullptr) {
        (*peer_->traffic)[index_of(lane())].links.fetch_sub(1, std::memory_order_relaxed);
    }
    host_.closed(shared_from_this());
}

LinkEnd Link::end() {
    MutexLock lock{mutex_};
    return end_.value_or(LinkEnd{});
}

bool Link::hung_up() {
    MutexLock lock{mutex_};
    if (closed_ || broken_ || lingering_) {
        return true;
    }
    pollfd look{descriptor_, POLLRDHUP, 0};
    return ::poll(&look, 1, 0) > 0 && (look.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

// ---- Ending ----

void Link::set_end(LinkEnd end) {
    if (!end_) {
        end_ = std::move(end);
    }
}

/// Sends what waits, then no more; the chain goes on reading, so that the other side's last bytes do not make the
/// kernel answer with a reset that overtakes ours.
void Link::linger(LinkEnd end) {
    phase_ = Phase::kLingering;
    raw_.resize(kRawBytes);
    if (closed_) {
        return;
    }
    set_end(std::move(end));
    usable_.store(false, std::memory_order_release);
    lingering_ = true;
    start_timer(kLinger);
    if (!waiting_writable_) {
        flush();
    }
}

void Link::close(LostReason reason, std::string why) {
    MutexLock lock{mutex_};
    close_locked(reason, std::move(why));
}

void Link::close_locked(LostReason reason, std::string why) {
    if (closed_) {
        return;
    }
    set_end({reason, std::move(why), false, false});
    closed_.store(true, std::memory_order_release);
    up_ = false;
    usable_.store(false, std::memory_order_release);
    drop_queue();
    // Ends the read that is under way, wherever this is called; the chain then closes the socket.
    ::shutdown(descriptor_, SHUT_RDWR);
}

void Link::drop_queue() {
    queue_.clear();
    plain_bytes_ = front_sent_ = 0;
    cipher_.clear();
    cipher_sent_ = 0;
    update_queued();
}

void Link::close_stopping() {
    {
        MutexLock lock{mutex_};
        if (!closed_ && !broken_ && !lingering_ && up_) {
            push(frame_of(make_reject({Reject::STOPPING, fmt::format("node '{}' stops", options_.identity.self.id)}),
                          format()));
        }
        close_locked(LostReason::kClosed, "this process stops");
    }
    error_code ignored;
    socket_.close(ignored);
}

// ---- Time ----

void Link::start_timer(Duration after) {
    after = std::max(after, Duration{std::chrono::milliseconds{1}});
    timer_due_ = host_.clock().now() + after;
    timer_.expires_after(after);
    timer_.async_wait([self = shared_from_this(), generation = generation_](const error_code& error) {
        if (!error && generation == self->generation_) {
            self->on_timer();
        }
    });
}

void Link::on_timer() {
    if (phase_ == Phase::kUp) {
        keep_alive();
    } else if (phase_ == Phase::kLingering) {
        close(LostReason::kClosed, "");
    } else {
        close(LostReason::kSilent,
              fmt::format("no complete handshake within {}", seconds_text(host_.settings().handshake_timeout)));
    }
}

void Link::keep_alive() {
    const Settings& settings = host_.settings();
    const Deadline now = host_.clock().now();
    if (is_closed()) {
        return;
    }
    // A process that was paused, or a handler that took its time, heard nothing because it did not listen.
    const Duration deaf = timer_due_ == Deadline{} ? Duration{} : now - timer_due_;
    if (deaf > settings.keep_alive) {
        last_heard_ns_.fetch_add(deaf.count(), std::memory_order_relaxed);
        MutexLock lock{mutex_};
        last_progress_ += deaf;
    }
    if (now - last_heard() >= settings.silence_timeout) {
        close(LostReason::kSilent, fmt::format("nothing was heard for {}", seconds_text(settings.silence_timeout)));
        return;
    }
    {
        MutexLock lock{mutex_};
        if (!nothing_waits() && now - last_progress_ >= settings.silence_timeout) {
            close_locked(LostReason::kSilent,
                         fmt::format("the other side took nothing for {}", seconds_text(settings.silence_timeout)));
            return;
        }
        if (now >= next_ping_) {
            next_ping_ = now + settings.keep_alive;
            // With a full queue there is enough to be heard of.
            if (!broken_ && plain_bytes_ < settings.queue_bytes_max[index_of(LANE_CONTROL)]) {
                ClusterMessage ping;
                ping.mutable_ping()->set_sequence(++ping_sequence_);
                ping_sent_at_ = now;
                push(frame_of(ping, format()));
            }
        }
    }
    start_timer(std::min(next_ping_, last_heard() + settings.silence_timeout) - now);
}

// ---- Writing ----

bool Link::send(Frame frame) {
    const std::size_t bytes = frame.size();
    {
        MutexLock lock{mutex_};
        if (!usable_.load(std::memory_order_relaxed) || broken_) {
            return false;
        }
        const std::size_t waiting = queued_bytes();
        if (waiting > 0 && waiting + bytes > host_.settings().queue_bytes_max[index_of(lane())]) {
            return false;
        }
        push(std::move(frame));
    }
    Traffic& traffic = (*peer_->traffic)[index_of(lane())];
    traffic.bytes_sent.fetch_add(bytes, std::memory_order_relaxed);
    traffic.messages_sent.fetch_add(1, std::memory_order_relaxed);
    return true;
}

void Link::send_hello(const Identity& identity) {
    // Without a nonce: what was proven stays proven.
    Frame frame = frame_of(make_hello(identity, lane(), {}), format());
    revision_sent_.store(identity.revision);
    MutexLock lock{mutex_};
    if (usable_.load(std::memory_order_relaxed) && !broken_) {
        push(std::move(frame));
    }
}

void Link::begin_lane(std::uint64_t generation) {
    ClusterMessage message;
    message.mutable_lane_switch()->set_generation(generation);
    reply(message);
}

void Link::push(Frame frame) {
    if (nothing_waits()) {
        last_progress_ = host_.clock().now();
    }
    plain_bytes_ += frame.size();
    queue_.push_back(std::move(frame));
    if (waiting_writable_ || broken_) {
        update_queued();
    } else {
        flush();
    }
}

void Link::flush() {
    std::size_t written = 0;
    while (!broken_) {
        if (tls_ != nullptr && cipher_sent_ == cipher_.size()) {
            encrypt_some();
        }
        if (tls_ != nullptr ? cipher_sent_ == cipher_.size() : queue_.empty()) {
            break;
        }
        if (written >= kFlushBytesMax) {
            wait_writable();
            break;
        }
        const long n = write_some();
        if (n > 0) {
            consume(static_cast<std::size_t>(n));
            written += static_cast<std::size_t>(n);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            wait_writable();
            break;
        } else if (errno != EINTR) {
            // What the other side said last may still be unread, a Reject for example: the chain reads it and then
            // meets the end.
            broken_ = true;
            usable_.store(false, std::memory_order_release);
            drop_queue();
            ::shutdown(descriptor_, SHUT_RDWR);
        }
    }
    if (written > 0) {
        last_progress_ = host_.clock().now();
    }
    update_queued();
    if (lingering_ && !broken_ && nothing_waits()) {
        ::shutdown(descriptor_, SHUT_WR);
    }
}

long Link::write_some() {
    std::array<iovec, kGatherMax> parts;
    std::size_t count = 0;
    std::size_t bytes = 0;
    if (tls_ != nullptr) {
        parts[count++] = {cipher_.data() + cipher_sent_, cipher_.size() - cipher_sent_};
    } else {
        for (std::size_t skip = front_sent_; const Frame& frame : queue_) {
            if (count == kGatherMax || bytes >= kFlushBytesMax) {
                break;
            }
            parts[count++] = {const_cast<char*>(frame.data()) + skip, frame.size() - skip};
            bytes += frame.size() - skip;
            skip = 0;
        }
    }
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = count;
    return ::sendmsg(descriptor_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/// Several small frames become one record, a large one is taken piece by piece.
void Link::encrypt_some() {
    cipher_.clear();
    cipher_sent_ = 0;
    if (!tls_->ready()) {
        return;
    }
    staging_.clear();
    while (!queue_.empty() && staging_.size() < kCipherBytes) {
        const Frame& front = queue_.front();
        const std::size_t n = std::min(front.size() - front_sent_, kCipherBytes - staging_.size());
        staging_.append(front.data() + front_sent_, n);
        front_sent_ += n;
        plain_bytes_ -= n;
        if (front_sent_ == front.size()) {
            queue_.pop_front();
            front_sent_ = 0;
        }
    }
    if (!staging_.empty()) {
        tls_->write(staging_, cipher_);
    }
}

void Link::consume(std::size_t bytes) {
    if (tls_ != nullptr) {
        cipher_sent_ += bytes;
        return;
    }
    plain_bytes_ -= bytes;
    while (bytes > 0) {
        const std::size_t rest = queue_.front().size() - front_sent_;
        if (bytes < rest) {
            front_sent_ += bytes;
            break;
        }
        bytes -= rest;
        front_sent_ = 0;
        queue_.pop_front();
    }
}

void Link::wait_writable() {
    if (waiting_writable_) {
        return;
    }
    waiting_writable_ = true;
    asio::post(*context_, [self = shared_from_this(), generation = generation_] {
        if (generation == self->generation_) {
            self->arm_write();
        }
    });
}

void Link::arm_write() {
    if (is_closed()) {
        return;
    }
    socket_.async_wait(Socket::wait_write,
                       [self = shared_from_this(), generation = generation_](const error_code& error) {
                           MutexLock lock{self->mutex_};
                           if (error || generation != self->generation_ || self->closed_) {
                               return;
                           }
                           self->waiting_writable_ = false;
                           self->flush();
                       });
}

void Link::update_queued() {
    const std::size_t now = plain_bytes_ + (cipher_.size() - cipher_sent_);
    queued_bytes_.store(now, std::memory_order_relaxed);
    if (usable_.load(std::memory_order_relaxed) || traffic_counted_ != 0) {
        // What was counted is taken back as it goes.
        const auto counted = usable_.load(std::memory_order_relaxed) ? static_cast<std::int64_t>(now) : 0;
        (*peer_->traffic)[index_of(lane())].queued_bytes.fetch_add(counted - traffic_counted_, std::memory_order_relaxed);
        traffic_counted_ = counted;
    }
}

}  // namespace nornic::transport
