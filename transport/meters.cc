#include "transport/meters.h"

#include <algorithm>

namespace nornic::transport {

std::string_view lane_name(Lane lane) noexcept {
    switch (lane) {
        case LANE_CONTROL:
            return "control";
        case LANE_LOG:
            return "log";
        case LANE_BULK:
            return "bulk";
        default:
            return "unknown";
    }
}

namespace {

/// A counter of ours that follows an atomic.
class Follower {
public:
    Follower(Counter& counter, const std::atomic<std::uint64_t>& source) : counter_{counter}, source_{source} {}
    void refresh() {
        const std::uint64_t now = source_.load(std::memory_order_relaxed);
        counter_.add(static_cast<double>(now - seen_));
        seen_ = now;
    }

private:
    Counter& counter_;
    const std::atomic<std::uint64_t>& source_;
    std::uint64_t seen_ = 0;
};

struct LaneMeters {
    std::vector<Follower> counters;
    Gauge* queue_bytes = nullptr;
    Gauge* round_trip = nullptr;
};

struct PeerMeters {
    std::shared_ptr<PeerTraffic> traffic;
    std::array<LaneMeters, kLanes> lanes;
    Gauge* connected = nullptr;

    void refresh() {
        bool up = false;
        for (std::size_t i = 0; i < kLanes; ++i) {
            for (Follower& counter : lanes[i].counters) {
                counter.refresh();
            }
            const Traffic& t = (*traffic)[i];
            lanes[i].queue_bytes->set(static_cast<double>(t.queued_bytes.load(std::memory_order_relaxed)));
            lanes[i].round_trip->set(static_cast<double>(t.round_trip_ns.load(std::memory_order_relaxed)) / 1e9);
            up = up || t.links.load(std::memory_order_relaxed) > 0;
        }
        connected->set(up ? 1 : 0);
    }
};

PeerMeters make_meters(Metrics& metrics, const NodeName& peer, std::shared_ptr<PeerTraffic> traffic) {
    PeerMeters out;
    out.traffic = std::move(traffic);
    out.connected =
        &metrics.gauge("nornicdb_cluster_connected", "1 while a connection to this peer is up.", {{"peer", peer}});
    for (std::size_t i = 0; i < kLanes; ++i) {
        const Traffic& t = (*out.traffic)[i];
        const MetricLabels labels{{"peer", peer}, {"lane", std::string{lane_name(static_cast<Lane>(i))}}};
        const auto counter =
            [&](const char* name, const char* help, const std::atomic<std::uint64_t>& source) {
                out.lanes[i].counters.emplace_back(metrics.counter(name, help, labels), source);
            };
        counter("nornicdb_cluster_sent_bytes_total", "Bytes of frames for this peer.", t.bytes_sent);
        counter("nornicdb_cluster_received_bytes_total", "Bytes of frames from this peer.", t.bytes_received);
        counter("nornicdb_cluster_sent_messages_total", "Messages for this peer.", t.messages_sent);
        counter("nornicdb_cluster_received_messages_total", "Messages from this peer.", t.messages_received);
        counter("nornicdb_cluster_dropped_messages_total",
                "Messages for this peer that were dropped: no connection, or a full queue.",
                t.dropped);
        counter("nornicdb_cluster_reconnects_total", "Connections that came back after a loss.", t.reconnects);
        out.lanes[i].queue_bytes = &metrics.gauge(
            "nornicdb_cluster_queue_bytes", "Bytes that wait for the network.", labels);
        out.lanes[i].round_trip = &metrics.gauge(
            "nornicdb_cluster_round_trip_seconds", "What the last Ping and Pong took.", labels);
    }
    return out;
}

}  // namespace

struct Meters::State {
    explicit State(Metrics* m) : metrics{m} {}
    Metrics* const metrics;
    Counter* refusals = nullptr;
    Gauge* expiry = nullptr;
    Mutex mutex;
    std::vector<PeerMeters> peers GUARDED_BY(mutex);
    std::function<double()> expiry_of GUARDED_BY(mutex);

    void refresh() {
        MutexLock lock{mutex};
        for (PeerMeters& peer : peers) {
            peer.refresh();
        }
        if (expiry_of && expiry != nullptr) {
            expiry->set(expiry_of());
        }
    }
};

Meters::Meters(Metrics* metrics) : state_{std::make_shared<State>(metrics)} {
    if (metrics == nullptr) {
        return;
    }
    state_->refusals = &metrics->counter("nornicdb_cluster_refused_connections_total",
                                         "Connections that this side or the other refused.");
    metrics->on_scrape([weak = std::weak_ptr{state_}] {
        if (const auto state = weak.lock()) {
            state->refresh();
        }
    });
}

Meters::~Meters() {
    // A reading may be under way and hold the state; what it would call is gone after this.
    MutexLock lock{state_->mutex};
    state_->expiry_of = nullptr;
}

std::shared_ptr<PeerTraffic> Meters::add_peer(const NodeName& peer) {
    auto traffic = std::make_shared<PeerTraffic>();
    if (state_->metrics != nullptr) {
        PeerMeters meters = make_meters(*state_->metrics, peer, traffic);
        MutexLock lock{state_->mutex};
        state_->peers.push_back(std::move(meters));
    }
    return traffic;
}

void Meters::count_refusal() {
    if (state_->refusals != nullptr) {
        state_->refusals->add();
    }
}

void Meters::set_certificate_expiry(std::function<double()> seconds_since_1970) {
    if (seconds_since_1970 && state_->metrics != nullptr && state_->expiry == nullptr) {
        state_->expiry = &state_->metrics->gauge("nornicdb_cluster_tls_certificate_expiry_timestamp_seconds",
                                                 "When this member's cluster certificate ends.");
    }
    MutexLock lock{state_->mutex};
    state_->expiry_of = std::move(seconds_since_1970);
}

}  // namespace nornic::transport
