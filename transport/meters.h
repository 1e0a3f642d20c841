// What is counted per peer and lane. The links count in plain atomics; Metrics is brought up to date when
// somebody reads it.
#pragma once

#include "base/mutex.h"
#include "observability/metrics.h"
#include "transport/message_bus.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace nornic::transport {

/// One peer's, on one lane. All relaxed: they are read for people.
struct Traffic {
    std::atomic<std::uint64_t> bytes_sent{0};
    std::atomic<std::uint64_t> bytes_received{0};
    std::atomic<std::uint64_t> messages_sent{0};
    std::atomic<std::uint64_t> messages_received{0};
    std::atomic<std::uint64_t> dropped{0};
    std::atomic<std::uint64_t> reconnects{0};
    std::atomic<std::int64_t> queued_bytes{0};
    std::atomic<std::int64_t> links{0};  // that are up
    std::atomic<std::int64_t> round_trip_ns{0};
};
using PeerTraffic = std::array<Traffic, kLanes>;

/// A valid lane's place in an array of kLanes.
constexpr std::size_t index_of(Lane lane) noexcept {
    return static_cast<std::size_t>(lane);
}

/// "control", "log", "bulk".
std::string_view lane_name(Lane lane) noexcept;

/// Thread-safe.
class Meters {
public:
    /// metrics may be nullptr; it may outlive this.
    explicit Meters(Metrics* metrics);
    ~Meters();
    Meters(const Meters&) = delete;
    Meters& operator=(const Meters&) = delete;

    /// A new peer's counters.
    std::shared_ptr<PeerTraffic> add_peer(const NodeName& peer);
    /// A connection was refused by this side or the other.
    void count_refusal();
    /// Called at each reading of Metrics, as long as this lives.
    void set_certificate_expiry(std::function<double()> seconds_since_1970);

private:
    struct State;
    std::shared_ptr<State> state_;
};

}  // namespace nornic::transport
