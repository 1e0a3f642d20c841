// What the TCP bus is told; server/ fills it from the environment, tests write one.
#pragma once

#include "base/clock.h"
#include "transport/frames.h"
#include "transport/message_bus.h"
#include "transport/tls.h"

#include <array>
#include <chrono>
#include <cstddef>
#include <string>

namespace nornic::transport {

struct Settings {
    std::string bind_address = "0.0.0.0:7688";  // NORNICDB_CLUSTER_BIND_ADDR; port 0: any free one
    std::string cluster_id;                     // must be equal on all members of a region; may be empty
    std::string region;                         // NORNICDB_CLUSTER_REGION_ID in mode multi_region; else empty
    std::string software_version;
    /// What is spoken first on links that we dial; an accepted one answers in what it was spoken to.
    WireFormat wire_format = WireFormat::kProtobuf;
    /// NORNICDB_CLUSTER_REPLICATION_SECRET, at least kSecretBytesMin long; empty: membership is proven by mutual TLS,
    /// or not at all. With mutual TLS and a secret both are asked for.
    std::string secret;
    TlsSettings tls;
    bool debug = false;  // NORNICDB_CLUSTER_DEBUG: messages are lines, whatever the log's level is

    std::size_t frame_bytes_max = std::size_t{64} << 20;
    /// Bytes that may wait for a link, by lane. One message goes into an empty queue however large it is.
    std::array<std::size_t, kLanes> queue_bytes_max{
        std::size_t{4} << 20, std::size_t{64} << 20, std::size_t{16} << 20};

    Duration connect_timeout = std::chrono::seconds{2};
    Duration handshake_timeout = std::chrono::seconds{5};
    Duration keep_alive = std::chrono::seconds{1};  // a Ping is sent on each link this often
    /// A link on which nothing was heard for so long is given up; likewise one that takes nothing.
    Duration silence_timeout = std::chrono::seconds{5};
    Duration reconnect_min = std::chrono::milliseconds{50};
    Duration reconnect_max = std::chrono::seconds{2};

    std::size_t connections_max = 256;  // accepted ones
    /// Accepted and not yet verified; one more and the oldest of them goes.
    std::size_t handshakes_max = 64;
    std::size_t io_threads = 1;  // for control and as many for log lanes; bulk has one, dialing and handshakes another
};

}  // namespace nornic::transport
