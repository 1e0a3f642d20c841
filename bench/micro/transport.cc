// Messages between members: encoding, splitting, and one round trip over loopback through two buses, which is what a
// semi-synchronous commit waits for.

#include "base/mutex.h"
#include "transport/frames.h"
#include "transport/tcp_bus.h"

#include <benchmark/benchmark.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>

namespace nornic::transport {
namespace {

std::shared_ptr<ClusterMessage> batch_of(std::size_t entries, std::size_t bytes) {
    auto message = std::make_shared<ClusterMessage>();
    WALBatch& batch = *message->mutable_wal_batch();
    batch.set_epoch(3);
    batch.set_history("5e9bff2d-1c43-4b02-9d0c-2c7f0d4d43aa");
    batch.set_commit_index(123456);
    for (std::size_t i = 0; i < entries; ++i) {
        LogEntry& entry = *batch.add_entries();
        entry.set_term(3);
        entry.set_index(123456 + i);
        entry.set_hybrid_time(1);
        entry.set_kind(ENTRY_WRITE_SET);
        entry.set_payload(std::string(bytes, 'x'));
    }
    return message;
}

void BM_encode_batch(benchmark::State& state) {
    const auto message = batch_of(static_cast<std::size_t>(state.range(0)), 200);
    for (auto _ : state) {
        benchmark::DoNotOptimize(encode(*message, WireFormat::kProtobuf, kFrameBytesCeiling));
    }
}
BENCHMARK(BM_encode_batch)->Arg(1)->Arg(64);

void BM_split_and_decode_batch(benchmark::State& state) {
    const auto message = batch_of(static_cast<std::size_t>(state.range(0)), 200);
    const Frame frame = encode(*message, WireFormat::kProtobuf, kFrameBytesCeiling).value();
    FrameReader reader{kFrameBytesCeiling};
    for (auto _ : state) {
        reader.feed(std::as_bytes(std::span{frame.data(), frame.size()}));
        benchmark::DoNotOptimize(decode(*reader.next().value()));
        benchmark::DoNotOptimize(reader.space());
    }
}
BENCHMARK(BM_split_and_decode_batch)->Arg(1)->Arg(64);

/// Calls back on each message.
class Callback final : public MessageHandler {
public:
    explicit Callback(std::function<void(const ClusterMessage&)> call) : call_{std::move(call)} {}
    void peer_up(const PeerInfo&) override {}
    void peer_down(const NodeName&, LostReason) override {}
    void message(const NodeName&, Lane, std::shared_ptr<const ClusterMessage> message, bool /*more*/) override { call_(*message); }

private:
    std::function<void(const ClusterMessage&)> call_;
};

std::unique_ptr<MessageBus> bus_of(const NodeName& id) {
    Settings settings;
    settings.bind_address = "127.0.0.1:0";
    settings.secret = std::string(32, 's');
    auto bus = make_tcp_bus(settings, nullptr, system_clock());
    PeerInfo self;
    self.id = id;
    self.mode = "ha_standby";
    bus->set_self(self);
    return bus;
}

void BM_round_trip(benchmark::State& state) {
    const auto a = bus_of("a");
    const auto b = bus_of("b");
    const auto batch = batch_of(1, static_cast<std::size_t>(state.range(0)));
    auto answer = std::make_shared<ClusterMessage>();
    answer->mutable_wal_batch_response()->set_received_index(7);
    Mutex mutex;
    ConditionVariable came;
    std::uint64_t answers = 0;
    Callback at_a{[&](const ClusterMessage&) {
        MutexLock lock{mutex};
        ++answers;
        came.notify_one();
    }};
    Callback at_b{[&](const ClusterMessage&) { b->send("a", LANE_LOG, answer); }};
    if (!a->start(at_a) || !b->start(at_b)) {
        state.SkipWithError("no bus");
        return;
    }
    a->set_peers({b->address()});
    std::uint64_t sent = 0;
    while (!a->send("b", LANE_LOG, batch)) {
    }
    ++sent;
    for (auto _ : state) {
        while (!a->send("b", LANE_LOG, batch)) {
        }
        ++sent;
        MutexLock lock{mutex};
        while (answers < sent) {
            came.wait(lock);
        }
    }
    a->stop();
    b->stop();
}
BENCHMARK(BM_round_trip)->Arg(200)->Arg(100000)->UseRealTime();

void BM_one_way_throughput(benchmark::State& state) {
    const auto a = bus_of("a");
    const auto b = bus_of("b");
    const auto bytes = static_cast<std::size_t>(state.range(0));
    const auto batch = batch_of(1, bytes);
    std::atomic<std::uint64_t> received{0};
    Callback at_a{[](const ClusterMessage&) {}};
    Callback at_b{[&](const ClusterMessage&) {
        received.fetch_add(1);
        received.notify_one();
    }};
    if (!a->start(at_a) || !b->start(at_b)) {
        state.SkipWithError("no bus");
        return;
    }
    a->set_peers({b->address()});
    while (!a->send("b", LANE_LOG, batch)) {
    }
    std::uint64_t sent = 1;
    for (auto _ : state) {
        while (!a->send("b", LANE_LOG, batch)) {
            received.wait(received.load());
        }
        ++sent;
    }
    for (std::uint64_t seen = received.load(); seen < sent; seen = received.load()) {
        received.wait(seen);
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes));
    a->stop();
    b->stop();
}
BENCHMARK(BM_one_way_throughput)->Arg(200)->Arg(500000)->UseRealTime();

}  // namespace
}  // namespace nornic::transport
