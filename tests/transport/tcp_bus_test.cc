// Two and more buses in one process, over real sockets of 127.0.0.1.

#include "tests/transport/support.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

namespace nornic::transport {
namespace {

/// Two members of which the second dials the first.
struct Pair {
    explicit Pair(const std::function<void(Settings&)>& change = {}) : a{"a", change}, b{"b", change} {
        a.start();
        b.start({a.bus->address()});
        EXPECT_TRUE(a.handler.wait_up("b"));
        EXPECT_TRUE(b.handler.wait_up("a"));
    }
    /// All three lanes are there, so that a test may count what is dropped.
    void wait_lanes() {
        for (const Lane lane : {LANE_CONTROL, LANE_LOG, LANE_BULK}) {
            EXPECT_TRUE(a.handler.wait([&] { return a.send("b", 0, lane); }));
            EXPECT_TRUE(b.handler.wait([&] { return b.send("a", 0, lane); }));
        }
        EXPECT_TRUE(a.handler.wait_messages(kLanes));
        EXPECT_TRUE(b.handler.wait_messages(kLanes));
        a.handler.clear();
        b.handler.clear();
    }
    Member a;
    Member b;
};

TEST(TcpBus, TellsEachSideWhoTheOtherIs) {
    Pair pair;
    const PeerInfo seen = pair.a.handler.ups().front();
    EXPECT_EQ(seen, pair.b.self);
    EXPECT_EQ(pair.b.handler.ups().front(), pair.a.self);
    EXPECT_EQ(pair.a.bus->authentication(), "none");
}

TEST(TcpBus, NamesMembersOfAnotherRegionByTheRegionToo) {
    const auto of_region = [](const char* region) {
        return [region](Settings& settings) {
            settings.region = region;
            settings.cluster_id = std::string{"group-"} + region;
        };
    };
    Member west{"node-1", of_region("west")};
    Member east{"node-1", of_region("east")};
    west.self.mode = kMultiRegion;
    east.self.mode = kMultiRegion;
    west.start();
    east.start({west.bus->address()});
    ASSERT_TRUE(west.handler.wait_up("east/node-1"));
    ASSERT_TRUE(east.handler.wait_up("west/node-1"));
    EXPECT_EQ(west.handler.ups().front().region, "east");
    // That a peer is up says that one of its lanes is.
    EXPECT_TRUE(west.handler.wait([&] { return west.send("east/node-1", 1); }));
    EXPECT_TRUE(east.handler.wait([&] { return east.send("west/node-1", 2); }));
    ASSERT_TRUE(west.handler.wait_messages(1));
    ASSERT_TRUE(east.handler.wait_messages(1));
    EXPECT_EQ(west.handler.received().front().from, "east/node-1");
    EXPECT_EQ(number_of(*east.handler.received().front().message), 1U);
    EXPECT_EQ(west.stats_of("east/node-1").messages_received, 1U);
}

TEST(TcpBus, CarriesMessagesBothWaysInOrderOnEachLane) {
    Pair pair;
    pair.wait_lanes();
    constexpr std::uint64_t kCount = 2000;
    for (std::uint64_t i = 1; i <= kCount; ++i) {
        for (const Lane lane : {LANE_CONTROL, LANE_LOG, LANE_BULK}) {
            EXPECT_TRUE(pair.a.send("b", i, lane));
            EXPECT_TRUE(pair.b.send("a", i, lane));
        }
    }
    for (Member* member : {&pair.a, &pair.b}) {
        ASSERT_TRUE(member->handler.wait_messages(kCount * kLanes));
        std::array<std::uint64_t, kLanes> last{};
        for (const auto& received : member->handler.received()) {
            std::uint64_t& previous = last[static_cast<std::size_t>(received.lane)];
            EXPECT_EQ(number_of(*received.message), ++previous);
        }
    }
    const PeerStats stats = pair.a.stats_of("b");
    EXPECT_EQ(stats.messages_sent, (kCount + 1) * kLanes);
    EXPECT_EQ(stats.messages_received, (kCount + 1) * kLanes);
    EXPECT_GT(stats.bytes_sent, kCount * kLanes * 8);
    EXPECT_TRUE(stats.connected);
}

TEST(TcpBus, ManyThreadsSendWhileSeveralCarry) {
    constexpr std::uint64_t kThreads = 4;
    constexpr std::uint64_t kCount = 1000;
    Pair pair{[](Settings& s) { s.io_threads = 3; }};
    pair.wait_lanes();
    std::vector<std::thread> threads;
    for (std::uint64_t t = 0; t < kThreads; ++t) {
        threads.emplace_back([&pair, t] {
            Member& from = t % 2 == 0 ? pair.a : pair.b;
            for (std::uint64_t i = 0; i < kCount; ++i) {
                EXPECT_TRUE(from.send(t % 2 == 0 ? "b" : "a", t * kCount + i, i % 2 == 0 ? LANE_LOG : LANE_CONTROL));
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    for (Member* member : {&pair.a, &pair.b}) {
        ASSERT_TRUE(member->handler.wait_messages(kCount * kThreads / 2));
        std::map<std::pair<std::uint64_t, Lane>, std::uint64_t> last;  // by thread and lane
        for (const auto& received : member->handler.received()) {
            const std::uint64_t number = number_of(*received.message);
            const auto [at, first] = last.try_emplace({number / kCount, received.lane}, number);
            EXPECT_TRUE(first || at->second < number);
            at->second = number;
        }
    }
}

TEST(TcpBus, AHandlerThatTakesItsTimeOverEntriesKeepsNoHeartbeatWaiting) {
    std::promise<void> entries;
    std::promise<void> heartbeat;
    std::shared_future<void> heard{heartbeat.get_future()};
    Member a{"a"};
    Member b{"b"};
    a.start();
    b.handler.on_message = [&](const Recorder::Received& received) {
        if (received.lane == LANE_CONTROL) {
            heartbeat.set_value();
        } else {
            entries.set_value();
            EXPECT_EQ(heard.wait_for(kPatience), std::future_status::ready);
        }
    };
    b.start({a.bus->address()});
    ASSERT_TRUE(a.handler.wait_up("b"));
    ASSERT_TRUE(a.handler.wait([&] { return a.send("b", 1, LANE_LOG); }));
    ASSERT_EQ(entries.get_future().wait_for(kPatience), std::future_status::ready);
    ASSERT_TRUE(a.handler.wait([&] { return a.send("b", 2, LANE_CONTROL); }));
    ASSERT_TRUE(b.handler.wait_messages(2));
}

TEST(TcpBus, SaysWhetherMoreHasComeBehindAMessage) {
    Member a{"a"};
    a.start();
    RawPeer b{a.bus->address()};
    ASSERT_TRUE(b.introduce(make_raw_hello("b", LANE_LOG)));
    ASSERT_TRUE(a.handler.wait_up("b"));
    std::string together;
    for (std::uint64_t number = 1; number <= 2; ++number) {
        together += encode(*numbered(number), WireFormat::kProtobuf, kFrameBytesCeiling).value().view();
    }
    ASSERT_TRUE(b.write(together));
    ASSERT_TRUE(a.handler.wait_messages(2));
    EXPECT_TRUE(a.handler.received()[0].more);
    EXPECT_FALSE(a.handler.received()[1].more);
}

TEST(TcpBus, CarriesLargeMessages) {
    Pair pair;
    pair.wait_lanes();
    for (std::size_t i = 0; i < 4; ++i) {
        ASSERT_TRUE(pair.a.bus->send("b", LANE_LOG, sized(std::size_t{10} << 20, i)));
    }
    ASSERT_TRUE(pair.b.handler.wait_messages(4));
    const auto received = pair.b.handler.received();
    for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_EQ(received[i].message->wal_batch().commit_index(), i);
        EXPECT_EQ(received[i].message->wal_batch().entries(0).payload(), std::string(std::size_t{10} << 20, 'x'));
    }
    EXPECT_EQ(pair.a.bus->queued_bytes("b", LANE_LOG), 0U);
}

TEST(TcpBus, ComesBackWhenTheOtherHasStartedAgain) {
    Member a{"a"};
    a.start();
    const std::string address = a.bus->address();
    auto b = std::make_unique<Member>("b");
    b->start({address});
    ASSERT_TRUE(a.handler.wait_up("b"));
    b.reset();
    EXPECT_EQ(a.handler.wait_down("b"), LostReason::kClosed);
    EXPECT_FALSE(a.send("b", 1));
    b = std::make_unique<Member>("b");
    b->start({address});
    ASSERT_TRUE(a.handler.wait_up("b", 2));
    ASSERT_TRUE(b->handler.wait_up("a"));
    ASSERT_TRUE(a.handler.wait([&] { return a.send("b", 2); }));
    ASSERT_TRUE(b->handler.wait_messages(1));
}

TEST(TcpBus, TheDialerComesBackWhenTheListenerHasStartedAgain) {
    auto a = std::make_unique<Member>("a");
    a->start();
    const std::string address = a->bus->address();
    Member b{"b"};
    b.start({address});
    ASSERT_TRUE(b.handler.wait_up("a"));
    a.reset();
    EXPECT_EQ(b.handler.wait_down("a"), LostReason::kClosed);
    EXPECT_TRUE(b.handler.wait([&] { return !b.bus->stats().front().last_error.empty(); }));
    a = std::make_unique<Member>("a", [&](Settings& s) { s.bind_address = address; });
    a->start();
    ASSERT_TRUE(b.handler.wait_up("a", 2));
    ASSERT_TRUE(b.handler.wait([&] { return b.send("a", 1); }));
    ASSERT_TRUE(a->handler.wait_messages(1));
    EXPECT_TRUE(b.handler.wait([&] { return b.stats_of("a").reconnects >= 1; }));
}

TEST(TcpBus, BothDialEachOther) {
    Member a{"a"};
    a.start();
    Member b{"b"};
    b.start({a.bus->address()});
    a.bus->set_peers({b.bus->address()});
    ASSERT_TRUE(a.handler.wait_up("b"));
    ASSERT_TRUE(b.handler.wait_up("a"));
    constexpr std::uint64_t kCount = 500;
    std::uint64_t sent = 0;
    ASSERT_TRUE(a.handler.wait([&] { return a.send("b", 0, LANE_LOG); }));
    while (sent < kCount) {
        ASSERT_TRUE(a.send("b", ++sent, LANE_LOG));
    }
    ASSERT_TRUE(b.handler.wait_messages(kCount + 1));
    std::uint64_t expected = 0;
    for (const auto& received : b.handler.received()) {
        EXPECT_EQ(number_of(*received.message), expected++);
    }
    EXPECT_EQ(a.handler.ups().size(), 1U);
}

TEST(TcpBus, AnswersFromWithinTheHandler) {
    Member a{"a"};
    Member b{"b"};
    a.start();
    b.handler.on_message = [&](const Recorder::Received& received) {
        auto answer = std::make_shared<ClusterMessage>();
        answer->mutable_heartbeat_response()->set_sequence(received.message->heartbeat().sequence());
        EXPECT_TRUE(b.bus->send(received.from, received.lane, answer));
    };
    b.start({a.bus->address()});
    ASSERT_TRUE(a.handler.wait_up("b"));
    ASSERT_TRUE(a.handler.wait([&] { return a.send("b", 7); }));
    ASSERT_TRUE(a.handler.wait_messages(1));
    EXPECT_EQ(a.handler.received().front().message->heartbeat_response().sequence(), 7U);
}

}  // namespace
}  // namespace nornic::transport
