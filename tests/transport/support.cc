#include "tests/transport/support.h"

#include "transport/resolver.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace nornic::transport {

void Recorder::peer_up(const PeerInfo& peer) {
    MutexLock lock{mutex_};
    ups_.push_back(peer);
    changed_.notify_all();
}

void Recorder::peer_down(const NodeName& peer, LostReason reason) {
    MutexLock lock{mutex_};
    downs_.push_back({peer, reason});
    changed_.notify_all();
}

void Recorder::message(const NodeName& from, Lane lane, std::shared_ptr<const ClusterMessage> message, bool more) {
    const Received received{from, lane, std::move(message), more};
    if (on_message) {
        on_message(received);
    }
    MutexLock lock{mutex_};
    while (blocked_) {
        changed_.wait(lock);
    }
    received_.push_back(received);
    changed_.notify_all();
}

bool Recorder::wait(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (!condition()) {
        MutexLock lock{mutex_};
        // Also now and then: a condition may depend on what no event announces.
        changed_.wait_for(lock, 5ms);
        if (std::chrono::steady_clock::now() > end) {
            return false;
        }
    }
    return true;
}

bool Recorder::wait_up(const NodeName& peer, std::size_t times) {
    return wait([&] {
        const auto all = ups();
        return std::cmp_greater_equal(std::ranges::count(all, peer, &PeerInfo::id), times);
    });
}

std::optional<LostReason> Recorder::wait_down(const NodeName& peer, std::size_t times) {
    std::optional<LostReason> reason;
    wait([&] {
        MutexLock lock{mutex_};
        std::size_t found = 0;
        for (const Down& down : downs_) {
            if (down.id == peer && ++found == times) {
                reason = down.reason;
            }
        }
        return reason.has_value();
    });
    return reason;
}

bool Recorder::wait_messages(std::size_t count) {
    return wait([&] { return received().size() >= count; });
}

std::vector<Recorder::Received> Recorder::received() const {
    MutexLock lock{mutex_};
    return received_;
}

std::vector<PeerInfo> Recorder::ups() const {
    MutexLock lock{mutex_};
    return ups_;
}

std::size_t Recorder::downs() const {
    MutexLock lock{mutex_};
    return downs_.size();
}

void Recorder::clear() {
    MutexLock lock{mutex_};
    received_.clear();
}

void Recorder::block() {
    MutexLock lock{mutex_};
    blocked_ = true;
}

void Recorder::unblock() {
    MutexLock lock{mutex_};
    blocked_ = false;
    changed_.notify_all();
}

PeerInfo make_self(const NodeName& id) {
    PeerInfo self;
    self.id = id;
    self.mode = "ha_standby";
    self.bolt_address = id + ":7687";
    self.http_address = id + ":7474";
    self.features = {"snapshots"};
    return self;
}

Settings quick_settings() {
    Settings settings;
    settings.bind_address = "127.0.0.1:0";
    settings.cluster_id = "test";
    settings.software_version = "0.1.0";
    settings.keep_alive = 50ms;
    settings.silence_timeout = 5s;
    settings.reconnect_min = 5ms;
    settings.reconnect_max = 50ms;
    return settings;
}

Member::Member(const NodeName& id, const std::function<void(Settings&)>& change, Metrics* metrics)
    : self{make_self(id)}, settings{quick_settings()} {
    if (change) {
        change(settings);
    }
    bus = make_tcp_bus(settings, metrics, system_clock());
}

Member::~Member() {
    handler.unblock();
    bus->stop();
}

void Member::start(const std::vector<std::string>& peers) {
    bus->set_self(self);
    bus->set_peers(peers);
    const auto started = bus->start(handler);
    ASSERT_TRUE(started) << started.error().message();
}

bool Member::send(const NodeName& to, std::uint64_t number, Lane lane) {
    return bus->send(to, lane, numbered(number));
}

PeerStats Member::stats_of(const NodeName& peer) const {
    for (const PeerStats& stats : bus->stats()) {
        if (stats.id == peer) {
            return stats;
        }
    }
    return {};
}

std::shared_ptr<ClusterMessage> numbered(std::uint64_t number) {
    auto message = std::make_shared<ClusterMessage>();
    message->mutable_heartbeat()->set_epoch(1);
    message->mutable_heartbeat()->set_sequence(number);
    return message;
}

std::uint64_t number_of(const ClusterMessage& message) {
    return message.has_heartbeat() ? message.heartbeat().sequence() : message.wal_batch().commit_index();
}

std::shared_ptr<ClusterMessage> sized(std::size_t bytes, std::uint64_t number) {
    auto message = std::make_shared<ClusterMessage>();
    message->mutable_wal_batch()->set_commit_index(number);
    LogEntry& entry = *message->mutable_wal_batch()->add_entries();
    entry.set_index(number);
    entry.set_payload(std::string(bytes, 'x'));
    return message;
}

Hello make_raw_hello(const NodeName& id, Lane lane) {
    Hello hello;
    hello.set_version_min(1);
    hello.set_version_max(1);
    hello.set_cluster_id("test");
    hello.set_node_id(id);
    hello.set_mode("ha_standby");
    hello.set_lane(lane);
    return hello;
}

RawPeer::RawPeer(const std::string& address) {
    const auto parts = split_host_port(address).value();
    const auto endpoint = resolve_now(parts.first, parts.second).value().front();
    fd_ = ::socket(endpoint.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(::connect(fd_, endpoint.data(), static_cast<socklen_t>(endpoint.size())), 0) << std::strerror(errno);
}

RawPeer::RawPeer(RawPeer&& other) noexcept
    : fd_{std::exchange(other.fd_, -1)}, pending_{std::move(other.pending_)} {}

RawPeer::~RawPeer() {
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

void RawPeer::reset() {
    const linger now{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    ::close(std::exchange(fd_, -1));
}

bool RawPeer::write(std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
}

bool RawPeer::send(const ClusterMessage& message, WireFormat format) {
    return write(encode(message, format, kFrameBytesCeiling).value().view());
}

std::optional<std::string> RawPeer::read_payload() {
    while (true) {
        if (pending_.size() >= kFrameHeaderBytes) {
            std::uint32_t length = 0;
            std::memcpy(&length, pending_.data(), sizeof length);
            length = __builtin_bswap32(length);
            if (pending_.size() >= kFrameHeaderBytes + length) {
                std::string payload = pending_.substr(kFrameHeaderBytes, length);
                pending_.erase(0, kFrameHeaderBytes + length);
                return payload;
            }
        }
        pollfd look{fd_, POLLIN, 0};
        if (::poll(&look, 1, static_cast<int>(std::chrono::milliseconds{kPatience}.count())) <= 0) {
            return std::nullopt;
        }
        char buffer[65536];
        const ssize_t n = ::recv(fd_, buffer, sizeof buffer, 0);
        if (n <= 0) {
            return std::nullopt;
        }
        pending_.append(buffer, static_cast<std::size_t>(n));
    }
}

std::shared_ptr<ClusterMessage> RawPeer::receive() {
    const auto payload = read_payload();
    return payload ? decode(*payload).value() : nullptr;
}

std::shared_ptr<ClusterMessage> RawPeer::receive_message() {
    while (true) {
        auto message = receive();
        if (message == nullptr || !(message->has_ping() || message->has_hello())) {
            return message;
        }
    }
}

bool RawPeer::wait_closed() {
    while (read_payload()) {
    }
    pollfd look{fd_, POLLIN, 0};
    char byte = 0;
    return ::poll(&look, 1, static_cast<int>(std::chrono::milliseconds{kPatience}.count())) > 0 &&
           ::recv(fd_, &byte, 1, 0) <= 0;
}

bool RawPeer::introduce(const Hello& hello, WireFormat format, const std::string& secret) {
    ClusterMessage message;
    *message.mutable_hello() = hello;
    if (!secret.empty()) {
        message.mutable_hello()->set_nonce(random_nonce());
    }
    if (!send(message, format)) {
        return false;
    }
    const auto answer = receive();
    if (answer == nullptr || !answer->has_hello()) {
        return false;
    }
    if (secret.empty()) {
        return true;
    }
    const ProofInput input{.dialer_nonce = message.hello().nonce(),
                           .acceptor_nonce = answer->hello().nonce(),
                           .dialer_id = hello.node_id(),
                           .acceptor_id = answer->hello().node_id(),
                           .cluster_id = hello.cluster_id()};
    const auto proof = receive();
    if (proof == nullptr || proof->hello_proof().hmac() != membership_proof(secret, Side::kAcceptor, input)) {
        return false;
    }
    ClusterMessage own;
    own.mutable_hello_proof()->set_hmac(membership_proof(secret, Side::kDialer, input));
    return send(own, format);
}

}  // namespace nornic::transport
