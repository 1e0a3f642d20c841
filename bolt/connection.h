// One socket of the server: what comes first on it (TLS, HTTP, WebSocket, Bolt) is recognized,
// peeled off, and a Conversation fed with the rest.
//
// Threads: one read is outstanding at a time, its handler is "the reader". Writes come from any
// thread. All calls on the socket are made under io_mutex_.
#pragma once

#include "base/clock.h"
#include "base/mutex.h"
#include "bolt/backend.h"
#include "bolt/conversation.h"
#include "bolt/handshake.h"
#include "bolt/server.h"
#include "bolt/settings.h"
#include "bolt/tls.h"
#include "bolt/websocket.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace nornic::bolt {

class Connection;

/// What a connection needs of its server.
class ConnectionHost {
public:
    virtual ~ConnectionHost() = default;
    virtual void forget(const std::shared_ptr<Connection>& connection) = 0;

    boost::asio::io_context& io;
    const Settings settings;
    Backend& backend;
    Metrics metrics;
    std::shared_ptr<TlsContext> tls;  // nullptr: TLS is off
    std::atomic<bool> stopping{false};

protected:
    ConnectionHost(boost::asio::io_context& io_context, Settings own_settings, Backend& own_backend)
        : io{io_context}, settings{std::move(own_settings)}, backend{own_backend} {}
};

class Connection final : public Transport, public std::enable_shared_from_this<Connection> {
public:
    using Socket = boost::asio::ip::tcp::socket;

    Connection(std::shared_ptr<ConnectionHost> host, Socket socket, std::string id);
    ~Connection() override;

    void start();
    /// Time-outs and keep-alives; called now and then by the server.
    void sweep(Deadline now);
    [[nodiscard]] bool authenticated() const;
    /// While no request is in work: how many times there were some. nullopt: there are.
    [[nodiscard]] std::optional<std::uint64_t> idle_after_turns() const;
    /// Ends as soon as its client is logged in and nothing runs, as when the server stops.
    void close_when_idle();
    /// Interrupts what runs, then ends.
    void terminate();
    /// Ends now, whatever is unsent.
    void abort();

    [[nodiscard]] const std::string& id() const noexcept { return info_.connection_id; }
    [[nodiscard]] ConnectionStatus status() const;

    std::size_t write(std::string& bytes) override;
    bool drained_or_notify() override;
    void close() override;
    void resume_input() override;
    void post(std::function<void()> task) override;
    [[nodiscard]] bool on_shared_thread() const override;
    std::shared_ptr<void> share() override { return shared_from_this(); }

private:
    enum class Phase : std::uint8_t { kSniff, kHttp, kHandshake, kMessages };

    void start_read();
    void move_to_shared_thread();
    void on_read(const boost::system::error_code& error, std::size_t n);
    void on_end_of_input();
    bool take(std::string_view raw);
    bool take_stream(std::string_view bytes);
    bool take_http(std::string_view bytes);
    bool take_handshake(std::string_view bytes);
    void write_raw(std::string_view raw) REQUIRES(io_mutex_);
    void send_alone(std::string_view raw) REQUIRES(io_mutex_);
    /// Whether an answer of TLS or WebSocket itself may be written; counts it.
    bool has_room_for_control(std::size_t bytes) REQUIRES(io_mutex_);
    void send_waiting() REQUIRES(io_mutex_);
    void on_written(const boost::system::error_code& error, std::size_t n);
    void break_off() REQUIRES(io_mutex_);
    [[nodiscard]] bool peer_is_gone() REQUIRES(io_mutex_);
    void shut_down() REQUIRES(io_mutex_);
    void notify_writable() REQUIRES(io_mutex_);
    void settle();
    [[nodiscard]] bool nothing_waits() const REQUIRES(io_mutex_) {
        return waiting_.empty() && sending_.empty();
    }
    [[nodiscard]] std::size_t waiting_bytes() const REQUIRES(io_mutex_) {
        return waiting_.size() + sending_.size() - sent_;
    }

    std::shared_ptr<ConnectionHost> host_;
    ConnectionInfo info_;
    const Deadline connected_at_;
    const std::int64_t connected_at_ms_;

    // Of the reader alone.
    Phase phase_ = Phase::kSniff;
    std::array<char, 16 * 1024> input_;
    std::string head_;     // of an HTTP request
    std::string plain_;    // out of TLS
    std::string payload_;  // out of WebSocket frames
    bool moved_ = false;   // the socket is on the shared thread
    Handshake handshake_;

    mutable Mutex io_mutex_;
    Socket socket_ GUARDED_BY(io_mutex_);
    std::unique_ptr<TlsChannel> tls_ GUARDED_BY(io_mutex_);
    std::unique_ptr<WebSocketFrames> frames_ GUARDED_BY(io_mutex_);
    std::string encoded_ GUARDED_BY(io_mutex_);
    std::string waiting_ GUARDED_BY(io_mutex_);  // not yet given to the socket
    std::string sending_ GUARDED_BY(io_mutex_);  // given to it, sent up to sent_
    std::size_t sent_ GUARDED_BY(io_mutex_) = 0;
    bool sending_alone_ GUARDED_BY(io_mutex_) = false;  // a thread is in send(); the socket stays open for it
    std::size_t control_bytes_ GUARDED_BY(io_mutex_) =
        0;  // has_room_for_control() since nothing waited
    Deadline last_progress_ GUARDED_BY(io_mutex_){};
    Deadline last_noop_ GUARDED_BY(io_mutex_){};
    Deadline closing_since_ GUARDED_BY(io_mutex_){};
    bool notify_ GUARDED_BY(io_mutex_) = false;
    bool closing_ GUARDED_BY(io_mutex_) = false;
    bool shut_ GUARDED_BY(io_mutex_) = false;
    bool broken_ GUARDED_BY(io_mutex_) = false;
    bool reading_ GUARDED_BY(io_mutex_) = false;  // false once reading began: input is paused, or has ended
    bool reading_ended_ GUARDED_BY(io_mutex_) = false;
    bool settled_ GUARDED_BY(io_mutex_) = false;

    // Made by the reader once, then read by all.
    std::unique_ptr<Conversation> owned_;
    std::atomic<Conversation*> conversation_{nullptr};
    std::atomic<bool> ends_when_idle_{false};
};

}  // namespace nornic::bolt
