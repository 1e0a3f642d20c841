// Link: one connection to another member, from its first byte to its last. It peels off TLS, splits frames, lets
// Handshake find out who is there, then carries one lane both ways, with a bounded queue and a keep-alive.
//
// Threads: a link lives on the one thread of an io_context; that of handshakes first, then, once, it moves to that of
// its lane. Reading is a chain of one handler after another there; all that calls the host is part of it, so a host
// hears of a link's events one at a time and in order, and closed() last. send() writes from the calling thread where
// nothing waits before it: one hand-over less on the way of every commit. Other threads touch the descriptor only,
// under mutex_, which is not held while the link reads and never while the host is called.
#pragma once

#include "base/clock.h"
#include "base/mutex.h"
#include "transport/frames.h"
#include "transport/handshake.h"
#include "transport/meters.h"
#include "transport/settings.h"
#include "transport/tls.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::transport {

class Dialer;
class Link;
struct Peer;

/// What a link asks of its bus.
class LinkHost {
public:
    virtual ~LinkHost() = default;
    [[nodiscard]] virtual const Settings& settings() const = 0;
    [[nodiscard]] virtual Clock& clock() const = 0;
    /// Where a verified link of this lane lives; run by one thread.
    virtual boost::asio::io_context& context(Lane lane) = 0;

    /// Its Hello has come, nothing is proven yet.
    virtual std::optional<Refusal> admit(const std::shared_ptr<Link>& link) = 0;
    /// From now on it carries messages.
    virtual std::optional<Refusal> verified(const std::shared_ptr<Link>& link) = 0;
    /// A later Hello.
    virtual void news(const std::shared_ptr<Link>& link) = 0;
    virtual void message(const std::shared_ptr<Link>& link, std::shared_ptr<const ClusterMessage> message, bool more) = 0;
    /// Nothing more comes; end() says why.
    virtual void closed(const std::shared_ptr<Link>& link) = 0;
};

/// Why a link ended.
struct LinkEnd {
    LostReason reason = LostReason::kClosed;
    std::string why;
    bool refused_here = false;   // this side refused the other
    bool rejected = false;       // the other side refused this one
};

class Link final : public std::enable_shared_from_this<Link> {
public:
    using Socket = boost::asio::ip::tcp::socket;
    struct Options {
        Side side = Side::kAcceptor;
        Lane lane = LANE_CONTROL;      // a dialer's
        Identity identity;
        std::string address;           // as configured or as it came
        std::string tls_name;          // a dialer's: expected in the certificate
        std::shared_ptr<const TlsContext> tls;  // nullptr: plain
        std::weak_ptr<Dialer> dialer;
    };

    Link(LinkHost& host, Options options, Socket socket, boost::asio::io_context& context);
    void start();

    /// Queues a frame of a verified link. false: it is not up or its queue is full; the frame was not taken.
    bool send(Frame frame);
    /// This link carries its lane from now on: said to the peer before the first message.
    void begin_lane(std::uint64_t generation);
    /// Tells the peer what this member now says of itself.
    void send_hello(const Identity& identity);
    /// Ends it now, whatever is unsent. The first reason counts.
    void close(LostReason reason, std::string why);
    /// As close(), with a Reject that says that this process stops, if it can still be sent. When no thread of the bus
    /// runs any more.
    void close_stopping();

    [[nodiscard]] Side side() const noexcept { return options_.side; }
    [[nodiscard]] const std::string& address() const noexcept { return options_.address; }
    [[nodiscard]] std::shared_ptr<Dialer> dialer() const { return options_.dialer.lock(); }
    [[nodiscard]] WireFormat format() const noexcept { return format_.load(std::memory_order_relaxed); }
    /// send() may succeed.
    [[nodiscard]] bool usable() const noexcept { return usable_.load(std::memory_order_acquire); }
    [[nodiscard]] std::size_t queued_bytes() const noexcept { return queued_bytes_.load(std::memory_order_relaxed); }
    [[nodiscard]] Deadline last_heard() const noexcept {
        return Deadline{Duration{last_heard_ns_.load(std::memory_order_relaxed)}};
    }
    /// The kernel knows that the other side has gone, or it is closed already.
    [[nodiscard]] bool hung_up();

    // Of the reading chain, and so of the host's calls.
    [[nodiscard]] const Introduction& introduction() const noexcept { return handshake_.introduction(); }
    [[nodiscard]] Lane lane() const noexcept { return handshake_.introduction().lane; }
    [[nodiscard]] std::string peer_name() const { return handshake_.peer_name(); }
    /// Of this member's last Hello on it.
    [[nodiscard]] std::uint64_t revision_sent() const noexcept { return revision_sent_.load(); }
    [[nodiscard]] Deadline verified_at() const noexcept { return verified_at_; }
    [[nodiscard]] LinkEnd end();
    /// Of the last LaneSwitch that came on it; 0: none.
    [[nodiscard]] std::uint64_t generation_received() const noexcept { return generation_received_; }
    /// It is this peer's, carries messages and counts them; called by the host in verified().
    void adopt(std::shared_ptr<Peer> peer);
    /// nullptr: never adopted.
    [[nodiscard]] Peer* peer() const noexcept { return peer_.get(); }

private:
    enum class Phase : std::uint8_t { kHandshake, kUp, kLingering };

    void read();
    void on_read(const boost::system::error_code& error, std::size_t n);
    [[nodiscard]] std::optional<Error> decrypt(std::size_t n);
    bool take_frames();
    bool take_payload(std::string_view payload);
    bool take_handshake(const ClusterMessage& message);
    void take_message(std::shared_ptr<ClusterMessage> message, std::size_t bytes);
    void become_verified();
    void resume();
    void refuse(const Refusal& refusal);
    void reply(const ClusterMessage& message);
    [[nodiscard]] bool is_closed() const noexcept { return closed_.load(std::memory_order_acquire); }
    void finish();
    void move_to(boost::asio::io_context& target);

    void start_timer(Duration after);
    void on_timer();
    void keep_alive();

    void push(Frame frame) REQUIRES(mutex_);
    void flush() REQUIRES(mutex_);
    long write_some() REQUIRES(mutex_);
    void encrypt_some() REQUIRES(mutex_);
    void consume(std::size_t bytes) REQUIRES(mutex_);
    void wait_writable() REQUIRES(mutex_);
    void arm_write();
    void update_queued() REQUIRES(mutex_);
    void linger(LinkEnd end) REQUIRES(mutex_);  // on the link's thread
    void drop_queue() REQUIRES(mutex_);
    void close_locked(LostReason reason, std::string why) REQUIRES(mutex_);
    void set_end(LinkEnd end) REQUIRES(mutex_);
    [[nodiscard]] bool nothing_waits() const REQUIRES(mutex_) {
        return queue_.empty() && cipher_sent_ == cipher_.size();
    }

    LinkHost& host_;
    const Options options_;
    std::atomic<std::uint64_t> revision_sent_;
    std::atomic<WireFormat> format_;
    std::atomic<bool> usable_{false};
    std::atomic<bool> closed_{false};  // set under mutex_
    std::atomic<std::size_t> queued_bytes_{0};
    std::atomic<std::int64_t> last_heard_ns_{0};

    // Of the link's thread.
    boost::asio::io_context* context_;
    Socket socket_;
    boost::asio::steady_timer timer_;
    std::uint64_t generation_ = 0;  // counts the move; handlers of before it do nothing
    Deadline next_ping_{};
    Deadline timer_due_{};
    Handshake handshake_;
    FrameReader reader_{kUnverifiedFrameBytesMax};
    std::vector<char> raw_;  // what came, before TLS
    Phase phase_ = Phase::kHandshake;
    bool spoken_to_ = false;  // the first payload has come
    bool peer_ended_ = false;  // TLS said so
    std::uint64_t generation_received_ = 0;
    Deadline verified_at_{};
    std::shared_ptr<Peer> peer_;  // set in adopt(), read by send() after usable_

    Mutex mutex_;
    int descriptor_ GUARDED_BY(mutex_);  // socket_'s, good until closed_
    std::unique_ptr<TlsChannel> tls_ GUARDED_BY(mutex_);
    std::deque<Frame> queue_ GUARDED_BY(mutex_);
    std::size_t front_sent_ GUARDED_BY(mutex_) = 0;   // of queue_.front()
    std::size_t plain_bytes_ GUARDED_BY(mutex_) = 0;  // in queue_, not yet sent or encrypted
    std::string cipher_ GUARDED_BY(mutex_);           // out of TLS
    std::size_t cipher_sent_ GUARDED_BY(mutex_) = 0;
    std::string staging_ GUARDED_BY(mutex_);
    bool waiting_writable_ GUARDED_BY(mutex_) = false;
    bool lingering_ GUARDED_BY(mutex_) = false;
    bool broken_ GUARDED_BY(mutex_) = false;  // nothing can be written any more
    bool up_ GUARDED_BY(mutex_) = false;
    std::optional<LinkEnd> end_ GUARDED_BY(mutex_);
    Deadline last_progress_ GUARDED_BY(mutex_){};
    std::int64_t traffic_counted_ GUARDED_BY(mutex_) = 0;  // of ours in traffic_'s queued bytes
    std::uint64_t ping_sequence_ GUARDED_BY(mutex_) = 0;
    Deadline ping_sent_at_ GUARDED_BY(mutex_){};
};

}  // namespace nornic::transport
