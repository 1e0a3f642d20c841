// MessageBus: messages to and from the other members. Everything that knows of connections is behind it
// (tcp_bus.h on real sockets; the simulator has its own); modes::Replica is what it talks to.
#pragma once

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "transport/proto/cluster.pb.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::transport {

/// Lanes are connections of their own, so that bulk data never delays heartbeats.
inline constexpr std::size_t kLanes = 3;

/// The one mode whose members also talk to other clusters than their own.
inline constexpr std::string_view kMultiRegion = "multi_region";

/// Of a member of another region: two regions may each have a "node-1". Neither part holds a slash.
inline NodeName foreign_name(std::string_view region, std::string_view node_id) {
    return std::string{region} + '/' + std::string{node_id};
}

/// What a member says of itself in its Hello, once it was verified.
struct PeerInfo {
    NodeName id;  // of another region: foreign_name()
    std::string mode;
    std::string cluster_address;
    std::string bolt_address;
    std::string http_address;
    std::vector<std::string> features;
    bool witness = false;
    std::string region;  // empty: this mode has none
    bool operator==(const PeerInfo&) const = default;
};

/// Why the last connection to a peer ended.
enum class LostReason : std::uint8_t {
    kClosed,   // its process ended or went away: reset, refused, end of stream
    kSilent,   // nothing was heard for the keep-alive time
    kRefused,  // this side or the other rejected it; the log says why
};

/// Called on the bus's threads, one call at a time for one peer and lane, in the order of arrival; it must not
/// block for long. Messages of different lanes come on different threads.
class MessageHandler {
public:
    virtual ~MessageHandler() = default;
    /// The first lane to this peer is up, or its Hello says something new.
    virtual void peer_up(const PeerInfo& peer) = 0;
    /// No lane is up any more.
    virtual void peer_down(const NodeName& peer, LostReason reason) = 0;
    /// `more`: something behind it has come on the same connection already.
    virtual void message(const NodeName& from, Lane lane, std::shared_ptr<const ClusterMessage> message, bool more) = 0;
};

struct PeerStats {
    NodeName id;           // empty: not known yet
    std::string address;   // as configured or as it came
    bool connected = false;
    std::uint64_t bytes_sent = 0;
    std::uint64_t bytes_received = 0;
    std::uint64_t messages_sent = 0;
    std::uint64_t messages_received = 0;
    std::uint64_t dropped = 0;  // queue full or no connection
    std::uint64_t reconnects = 0;
    Duration round_trip{};      // of the last Ping
    std::string last_error;
};

/// Thread-safe.
class MessageBus {
public:
    virtual ~MessageBus() = default;
    /// Begins to listen and to dial. `handler` must outlive stop(). kIo naming the address that cannot be bound.
    virtual Result<> start(MessageHandler& handler) = 0;
    /// No call to the handler is under way or comes after it returns.
    virtual void stop() = 0;
    /// Addresses to dial ("host:port"), the whole list each time; ids are learnt from their Hello.
    virtual void set_peers(std::vector<std::string> addresses) = 0;
    /// What this member's own Hello says from now on.
    virtual void set_self(const PeerInfo& self) = 0;

    /// Queues a message; never blocks. Messages of one lane arrive in order or not at all. false: dropped, since no
    /// connection is up or the lane's queue is full.
    virtual bool send(const NodeName& to, Lane lane, std::shared_ptr<const ClusterMessage> message) = 0;
    /// Bytes queued and not yet taken by the kernel; for flow control of bulk data.
    [[nodiscard]] virtual std::size_t queued_bytes(const NodeName& to, Lane lane) const = 0;

    [[nodiscard]] virtual std::vector<PeerStats> stats() const = 0;
    /// "host:port" it listens on, with the port that was given for 0.
    [[nodiscard]] virtual std::string address() const = 0;
    /// How membership is proven: "mtls", "hmac" or "none"; for status.
    [[nodiscard]] virtual std::string authentication() const = 0;
};

}  // namespace nornic::transport
