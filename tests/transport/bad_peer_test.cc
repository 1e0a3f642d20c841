// Peers that do not belong here, do not speak the protocol, or do not listen.

#include "tests/transport/support.h"

#include <gtest/gtest.h>

#include <sys/socket.h>

#include <list>

namespace nornic::transport {
namespace {

const std::string kSecret(40, 's');

TEST(JsonPeer, IsAnsweredInJsonOnItsOwnConnection) {
    Member a{"a"};
    a.start();
    RawPeer peer{a.bus->address()};
    ASSERT_TRUE(peer.write(std::string("\0\0\0\x7c", 4) +
                           R"({"hello":{"version_min":1,"version_max":1,"cluster_id":"test","node_id":"py","mode":"ha_standby","lane":"LANE_CONTROL"}}    )"));
    const auto hello = peer.read_payload();
    ASSERT_TRUE(hello);
    EXPECT_EQ(hello->front(), '{');
    EXPECT_EQ(decode(*hello).value()->hello().node_id(), "a");
    ASSERT_TRUE(a.handler.wait_up("py"));
    ASSERT_TRUE(peer.send(*numbered(5), WireFormat::kJson));
    ASSERT_TRUE(a.handler.wait_messages(1));
    EXPECT_EQ(number_of(*a.handler.received().front().message), 5U);
    ASSERT_TRUE(a.send("py", 6));
    std::set<std::string> types;
    while (true) {
        const auto payload = peer.read_payload();
        ASSERT_TRUE(payload);
        EXPECT_EQ(payload->front(), '{') << *payload;
        const auto message = decode(*payload).value();
        types.emplace(type_name(*message));
        if (message->has_heartbeat()) {
            EXPECT_EQ(number_of(*message), 6U);
            break;
        }
    }
    EXPECT_TRUE(types.contains("LaneSwitch"));  // Before the first message.
    EXPECT_FALSE(a.send("py", 7, LANE_LOG));    // It has no such lane.
    EXPECT_EQ(a.stats_of("py").dropped, 1U);
    peer.reset();
    EXPECT_EQ(a.handler.wait_down("py"), LostReason::kClosed);
}

TEST(JsonPeer, ProvesItsMembershipToo) {
    Member a{"a", [](Settings& s) { s.secret = kSecret; }};
    a.start();
    EXPECT_EQ(a.bus->authentication(), "hmac");
    RawPeer peer{a.bus->address()};
    ASSERT_TRUE(peer.introduce(make_raw_hello("py"), WireFormat::kJson, kSecret));
    EXPECT_TRUE(a.handler.wait_up("py"));
}

TEST(JsonMembers, TalkToProtobufOnes) {
    Member a{"a"};
    Member b{"b", [](Settings& s) { s.wire_format = WireFormat::kJson; }};
    a.start();
    b.start({a.bus->address()});
    ASSERT_TRUE(a.handler.wait_up("b"));
    ASSERT_TRUE(a.handler.wait([&] { return a.bus->send("b", LANE_LOG, sized(100, 3)); }));
    ASSERT_TRUE(b.handler.wait_messages(1));
    EXPECT_EQ(b.handler.received().front().message->wal_batch().entries(0).payload(), std::string(100, 'x'));
}

struct Wrong {
    const char* name;
    std::function<void(Settings&, PeerInfo&)> change;
    const char* part;
};
class WrongMember : public ::testing::TestWithParam<Wrong> {};
TEST_P(WrongMember, IsRefusedAndKeepsTrying) {
    Member a{"a", [](Settings& s) { s.secret = kSecret; }};
    a.start();
    Settings changed = quick_settings();
    changed.secret = kSecret;
    PeerInfo self = make_self("b");
    GetParam().change(changed, self);
    Member b{"b", [&](Settings& s) { s = changed; }};
    b.self = self;
    b.start({a.bus->address()});
    std::string error;
    ASSERT_TRUE(b.handler.wait([&] {
        error = b.bus->stats().front().last_error;
        return !error.empty();
    }));
    EXPECT_NE(error.find(GetParam().part), std::string::npos) << error;
    EXPECT_TRUE(a.handler.ups().empty());
    EXPECT_TRUE(b.handler.ups().empty());
    EXPECT_FALSE(b.send("a", 1));
}
INSTANTIATE_TEST_SUITE_P(
    Table,
    WrongMember,
    ::testing::Values(Wrong{"Cluster", [](Settings& s, PeerInfo&) { s.cluster_id = "other"; }, "cluster 'other'"},
                      Wrong{"Mode", [](Settings&, PeerInfo& p) { p.mode = "raft"; }, "NORNICDB_CLUSTER_MODE"},
                      Wrong{"Name", [](Settings&, PeerInfo& p) { p.id = "a"; }, "two members call themselves 'a'"},
                      Wrong{"Secret", [](Settings& s, PeerInfo&) { s.secret += "x"; }, "NORNICDB_CLUSTER_REPLICATION_SECRET"},
                      Wrong{"NoSecret", [](Settings& s, PeerInfo&) { s.secret.clear(); }, "node 'b' has no secret"}),
    [](const auto& info) { return std::string{info.param.name}; });

TEST(WrongMember, DialsItself) {
    Member a{"a"};
    a.start();
    a.bus->set_peers({a.bus->address()});
    EXPECT_TRUE(a.handler.wait(
        [&] { return a.bus->stats().front().last_error.find("dialed itself") != std::string::npos; }));
    EXPECT_TRUE(a.handler.ups().empty());
}

TEST(WrongMember, ASecondProcessOfOneNameIsRefusedWhileTheFirstIsAlive) {
    Member a{"a"};
    a.start();
    auto b = std::make_unique<Member>("b");
    b->start({a.bus->address()});
    ASSERT_TRUE(a.handler.wait_up("b"));
    Member impostor{"b"};
    impostor.start({a.bus->address()});
    ASSERT_TRUE(impostor.handler.wait([&] {
        return impostor.bus->stats().front().last_error.find("another process calls itself node 'b'") != std::string::npos;
    }));
    EXPECT_TRUE(impostor.handler.ups().empty());
    // Once the first has gone, the second is the member.
    b.reset();
    EXPECT_TRUE(impostor.handler.wait_up("a"));
    EXPECT_TRUE(a.handler.wait_up("b", 2));
}

TEST(Restart, AMemberWhoseEndNobodySawTakesItsPlaceAgain) {
    Member a{"a", [](Settings& s) { s.keep_alive = 10ms; s.silence_timeout = 30s; }};
    a.start();
    Hello hello = make_raw_hello("b");
    hello.set_instance(1);
    RawPeer before{a.bus->address()};
    ASSERT_TRUE(before.introduce(hello));
    ASSERT_TRUE(a.handler.wait_up("b"));
    // The machine is gone without a word: its connection stays, and is silent. It is refused while that is new.
    hello.set_instance(2);
    std::unique_ptr<RawPeer> after;
    EXPECT_TRUE(a.handler.wait([&] {
        after = std::make_unique<RawPeer>(a.bus->address());
        return after->introduce(hello);
    }));
    EXPECT_TRUE(a.handler.wait_up("b", 2));
    EXPECT_EQ(a.handler.wait_down("b"), LostReason::kSilent);
    EXPECT_TRUE(before.wait_closed());
    EXPECT_TRUE(after->send(*numbered(1)));
    EXPECT_TRUE(a.handler.wait_messages(1));
}

/// What is written on a fresh connection, and what the last word of the bus is.
struct Garbage {
    const char* name;
    std::function<std::string()> bytes;
    bool reject;
};
std::string frame_of(const ClusterMessage& message) {
    return std::string{encode(message, WireFormat::kProtobuf, kFrameBytesCeiling).value().view()};
}
std::string hello_with(const std::function<void(Hello&)>& change) {
    ClusterMessage message;
    *message.mutable_hello() = make_raw_hello("b");
    change(*message.mutable_hello());
    return frame_of(message);
}
class GarbageAtFirst : public ::testing::TestWithParam<Garbage> {};
TEST_P(GarbageAtFirst, IsRefusedAndHarmsNobody) {
    for (const bool with_secret : {false, true}) {
        Member a{"a", [&](Settings& s) { s.secret = with_secret ? kSecret : ""; }};
        a.start();
        RawPeer peer{a.bus->address()};
        ASSERT_TRUE(peer.write(GetParam().bytes()));
        std::shared_ptr<ClusterMessage> last;
        while (auto message = peer.receive()) {
            last = message;
        }
        EXPECT_EQ(last != nullptr && last->has_reject(), GetParam().reject);
        EXPECT_TRUE(a.handler.ups().empty());
        // Members find each other all the same.
        RawPeer good{a.bus->address()};
        EXPECT_TRUE(good.introduce(make_raw_hello("b"), WireFormat::kProtobuf, with_secret ? kSecret : ""));
        EXPECT_TRUE(a.handler.wait_up("b"));
    }
}
INSTANTIATE_TEST_SUITE_P(
    Table,
    GarbageAtFirst,
    ::testing::Values(
        Garbage{"Zeros", [] { return std::string(64, '\0'); }, true},
        Garbage{"Ones", [] { return std::string(64, '\xff'); }, true},
        Garbage{"Http", [] { return std::string{"GET / HTTP/1.1\r\n\r\n"}; }, true},
        Garbage{"FrameBeyondTheFirstLimit", [] { return std::string("\0\0\x40\x01", 4) + std::string(100, 'x'); }, true},
        Garbage{"NoMessage", [] { return std::string("\0\0\0\x04\xff\xff\xff\xff", 8); }, true},
        Garbage{"NoJson", [] { return std::string("\0\0\0\x02{x", 6); }, true},
        Garbage{"DeepJson", [] { return std::string("\0\0\x27\x10", 4) + std::string(10000, '{'); }, true},
        Garbage{"MessageBeforeHello", [] { return frame_of(*numbered(1)); }, true},
        Garbage{"PingBeforeHello", [] { ClusterMessage m; m.mutable_ping(); return frame_of(m); }, true},
        Garbage{"UnknownTypeBeforeHello", [] { return std::string("\0\0\0\x05\xe2\x03\x02\x08\x01", 9); }, true},
        Garbage{"HelloOfNobody", [] { return hello_with([](Hello& h) { h.clear_node_id(); }); }, true},
        Garbage{"HelloOfAnUnknownLane", [] { return hello_with([](Hello& h) { h.set_lane(static_cast<Lane>(9)); }); }, true},
        Garbage{"HelloWithAShortNonce", [] { return hello_with([](Hello& h) { h.set_nonce("x"); }); }, true}),
    [](const auto& info) { return std::string{info.param.name}; });

TEST(GarbageLater, BreaksThatConnectionAlone) {
    Member a{"a"};
    a.start();
    RawPeer good{a.bus->address()};
    ASSERT_TRUE(good.introduce(make_raw_hello("c")));
    std::size_t times = 0;
    for (const std::string& bytes : {std::string(8, '\xff'),
                                     std::string("\0\0\0\x02{x", 6),
                                     std::string("\0\0\0\x04\xff\xff\xff\xff", 8),
                                     hello_with([](Hello& h) { h.set_lane(LANE_BULK); }),
                                     hello_with([](Hello& h) { h.set_node_id("c"); }),
                                     [] { ClusterMessage m; m.mutable_hello_proof()->set_hmac("x"); return frame_of(m); }()}) {
        RawPeer peer{a.bus->address()};
        ASSERT_TRUE(peer.introduce(make_raw_hello("b")));
        ASSERT_TRUE(a.handler.wait_up("b", ++times));
        ASSERT_TRUE(peer.write(bytes));
        std::shared_ptr<ClusterMessage> last;
        while (auto message = peer.receive()) {
            last = message;
        }
        ASSERT_TRUE(last);
        EXPECT_TRUE(last->has_reject());
        EXPECT_EQ(last->reject().code(), Reject::MALFORMED) << last->reject().reason();
        peer.reset();
        EXPECT_EQ(a.handler.wait_down("b", times), LostReason::kRefused);
    }
    EXPECT_TRUE(a.send("c", 1));
    const auto message = good.receive_message();
    EXPECT_TRUE(message != nullptr);
}

TEST(GarbageLater, WhatALaterVersionSaysIsSkipped) {
    Member a{"a"};
    a.start();
    RawPeer peer{a.bus->address()};
    ASSERT_TRUE(peer.introduce(make_raw_hello("b")));
    ASSERT_TRUE(peer.write(std::string("\0\0\0\x05\xe2\x03\x02\x08\x01", 9)));
    ASSERT_TRUE(peer.send(*numbered(9)));
    ASSERT_TRUE(a.handler.wait_messages(1));
    EXPECT_EQ(number_of(*a.handler.received().front().message), 9U);
}

TEST(Proof, AWrongOneIsRefused) {
    Member a{"a", [](Settings& s) { s.secret = kSecret; }};
    a.start();
    RawPeer peer{a.bus->address()};
    EXPECT_FALSE(peer.introduce(make_raw_hello("b"), WireFormat::kProtobuf, kSecret + "x"));
    ClusterMessage proof;
    proof.mutable_hello_proof()->set_hmac(std::string(32, 'x'));
    ASSERT_TRUE(peer.send(proof));
    std::shared_ptr<ClusterMessage> last;
    while (auto message = peer.receive()) {
        last = message;
    }
    ASSERT_TRUE(last);
    EXPECT_EQ(last->reject().code(), Reject::PROOF);
    EXPECT_NE(last->reject().reason().find("does not know the secret"), std::string::npos);
    EXPECT_TRUE(a.handler.ups().empty());
}

TEST(HalfOpen, ConnectionsAreBoundedAndTheOldestGoesFirst) {
    Member a{"a", [](Settings& s) { s.handshakes_max = 8; s.handshake_timeout = 60s; }};
    a.start();
    std::list<RawPeer> silent;
    for (int i = 0; i < 40; ++i) {
        silent.emplace_back(a.bus->address());
    }
    for (int i = 0; i < 32; ++i) {
        EXPECT_TRUE(silent.front().wait_closed()) << i;
        silent.pop_front();
    }
    RawPeer good{a.bus->address()};
    EXPECT_TRUE(good.introduce(make_raw_hello("b")));
    EXPECT_TRUE(a.handler.wait_up("b"));
}

TEST(HalfOpen, AHandshakeHasItsTime) {
    Member a{"a", [](Settings& s) { s.handshake_timeout = 20ms; s.secret = kSecret; }};
    a.start();
    RawPeer silent{a.bus->address()};
    EXPECT_TRUE(silent.wait_closed());
    RawPeer halfway{a.bus->address()};
    ClusterMessage hello;
    *hello.mutable_hello() = make_raw_hello("b");
    hello.mutable_hello()->set_nonce(random_nonce());
    EXPECT_TRUE(halfway.send(hello));
    EXPECT_TRUE(halfway.wait_closed());
    EXPECT_TRUE(a.handler.ups().empty());
}

TEST(HalfOpen, AFullHouseRefusesMore) {
    Member a{"a", [](Settings& s) { s.connections_max = 2; }};
    a.start();
    RawPeer one{a.bus->address()};
    RawPeer two{a.bus->address()};
    EXPECT_TRUE(one.introduce(make_raw_hello("b")));
    EXPECT_TRUE(two.introduce(make_raw_hello("b", LANE_LOG)));
    ASSERT_TRUE(a.handler.wait([&] { return a.send("b", 1, LANE_CONTROL) && a.send("b", 1, LANE_LOG); }));
    RawPeer three{a.bus->address()};
    EXPECT_TRUE(three.wait_closed());
    // There is room again once one has left.
    one.reset();
    EXPECT_TRUE(a.handler.wait([&] { return RawPeer{a.bus->address()}.introduce(make_raw_hello("c")); }));
}

TEST(Silence, APeerThatSaysNothingIsGivenUp) {
    Member a{"a", [](Settings& s) { s.keep_alive = 10ms; s.silence_timeout = 60ms; }};
    a.start();
    RawPeer peer{a.bus->address()};
    ASSERT_TRUE(peer.introduce(make_raw_hello("b")));
    ASSERT_TRUE(a.handler.wait_up("b"));
    EXPECT_EQ(a.handler.wait_down("b"), LostReason::kSilent);
    EXPECT_TRUE(peer.wait_closed());
}

TEST(Silence, WhoWasNotListeningDoesNotCallItSo) {
    Member a{"a"};
    a.start();
    Member b{"b", [](Settings& s) {
                 s.keep_alive = 10ms;
                 s.silence_timeout = 50ms;
             }};
    Mutex mutex;
    ConditionVariable never;
    b.handler.on_message = [&](const Recorder::Received& received) {
        if (number_of(*received.message) == 1) {
            // As long as four times of silence, on the thread that also has the control lane.
            MutexLock lock{mutex};
            never.wait_for(lock, 200ms);
        }
    };
    b.start({a.bus->address()});
    ASSERT_TRUE(a.handler.wait_up("b"));
    ASSERT_TRUE(a.handler.wait([&] { return a.send("b", 1, LANE_LOG); }));
    ASSERT_TRUE(a.handler.wait([&] { return a.send("b", 2, LANE_LOG); }));
    ASSERT_TRUE(b.handler.wait_messages(2));
    ASSERT_TRUE(b.handler.wait([&] { return b.send("a", 3); }));
    ASSERT_TRUE(a.handler.wait_messages(1));
    EXPECT_EQ(b.handler.downs(), 0U);
    EXPECT_EQ(a.handler.downs(), 0U);
}

TEST(Silence, PingsAreAnsweredAndMeasured) {
    Metrics metrics;
    Member a{"a", [](Settings& s) { s.keep_alive = 5ms; }, &metrics};
    Member b{"b"};
    a.start();
    b.start({a.bus->address()});
    ASSERT_TRUE(a.handler.wait([&] { return a.stats_of("b").round_trip > Duration{}; }));
    ASSERT_TRUE(a.handler.wait([&] { return a.send("b", 1); }));
    const std::string text = metrics.text();
    EXPECT_NE(text.find("nornicdb_cluster_connected{peer=\"b\"} 1"), std::string::npos) << text;
    EXPECT_NE(text.find("nornicdb_cluster_sent_messages_total{lane=\"control\",peer=\"b\"} 1"), std::string::npos) << text;
    EXPECT_NE(text.find("nornicdb_cluster_round_trip_seconds{lane=\"control\",peer=\"b\"} "), std::string::npos) << text;
    b.bus->stop();
    ASSERT_TRUE(a.handler.wait_down("b"));
    EXPECT_NE(metrics.text().find("nornicdb_cluster_connected{peer=\"b\"} 0"), std::string::npos);
}

TEST(SlowReader, CostsOneQueueAndThenLosesMessages) {
    constexpr std::size_t kQueue = std::size_t{1} << 20;
    Member a{"a", [](Settings& s) { s.queue_bytes_max[LANE_LOG] = kQueue; s.silence_timeout = 60s; }};
    a.start();
    RawPeer peer{a.bus->address()};
    ASSERT_TRUE(peer.introduce(make_raw_hello("b", LANE_LOG)));
    ASSERT_TRUE(a.handler.wait_up("b"));
    const auto message = sized(64 << 10);
    std::size_t accepted = 0;
    while (a.bus->send("b", LANE_LOG, message)) {
        ++accepted;
        ASSERT_LE(a.bus->queued_bytes("b", LANE_LOG), kQueue + (128 << 10));
        ASSERT_LT(accepted, 100000U);
    }
    EXPECT_GT(a.bus->queued_bytes("b", LANE_LOG), kQueue / 2);
    EXPECT_EQ(a.stats_of("b").dropped, 1U);
    // What was accepted arrives once it reads, and then there is room again.
    for (std::size_t i = 0; i < accepted; ++i) {
        const auto got = peer.receive();
        ASSERT_TRUE(got);
        if (!got->has_wal_batch()) {
            --i;
        }
    }
    EXPECT_TRUE(a.handler.wait([&] { return a.bus->queued_bytes("b", LANE_LOG) == 0; }));
    EXPECT_TRUE(a.bus->send("b", LANE_LOG, message));
}

TEST(SlowReader, IsGivenUpAfterTheTimeOfSilence) {
    Member a{"a", [](Settings& s) { s.keep_alive = 10ms; s.silence_timeout = 100ms; }};
    a.start();
    RawPeer peer{a.bus->address()};
    ASSERT_TRUE(peer.introduce(make_raw_hello("b", LANE_LOG)));
    ASSERT_TRUE(a.handler.wait_up("b"));
    while (a.bus->queued_bytes("b", LANE_LOG) < (4 << 20) && a.bus->send("b", LANE_LOG, sized(256 << 10))) {
    }
    // It talks, but does not listen.
    EXPECT_TRUE(a.handler.wait([&] {
        peer.send(*numbered(1));
        return a.handler.downs() == 1;
    }));
    EXPECT_EQ(a.handler.wait_down("b"), LostReason::kSilent);
}

TEST(SlowHandler, HoldsUpItsOwnLaneAlone) {
    Member a{"a"};
    a.start();
    Member b{"b"};
    std::atomic<bool> in_bulk{false};
    Mutex gate;
    ConditionVariable opened;
    bool open = false;
    b.handler.on_message = [&](const Recorder::Received& received) {
        if (received.lane == LANE_BULK) {
            in_bulk = true;
            MutexLock lock{gate};
            while (!open) {
                opened.wait(lock);
            }
        }
    };
    b.start({a.bus->address()});
    ASSERT_TRUE(a.handler.wait_up("b"));
    ASSERT_TRUE(a.handler.wait([&] { return a.send("b", 1, LANE_BULK); }));
    ASSERT_TRUE(b.handler.wait([&] { return in_bulk.load(); }));
    for (std::uint64_t i = 0; i < 100; ++i) {
        ASSERT_TRUE(a.handler.wait([&] { return a.send("b", i, LANE_CONTROL); }));
    }
    EXPECT_TRUE(b.handler.wait_messages(100));
    // Others come meanwhile, the same peer on another lane included.
    ASSERT_TRUE(a.handler.wait([&] { return a.send("b", 100, LANE_LOG); }));
    EXPECT_TRUE(b.handler.wait_messages(101));
    RawPeer other{b.bus->address()};
    EXPECT_TRUE(other.introduce(make_raw_hello("c")));
    EXPECT_TRUE(b.handler.wait_up("c"));
    {
        MutexLock lock{gate};
        open = true;
        opened.notify_all();
    }
    EXPECT_TRUE(b.handler.wait_messages(102));
}

TEST(Overtaken, WhatAnAbandonedLinkStillBringsIsDropped) {
    Member a{"a"};
    a.start();
    RawPeer old_link{a.bus->address()};
    RawPeer new_link{a.bus->address()};
    ASSERT_TRUE(old_link.introduce(make_raw_hello("b", LANE_LOG)));
    ASSERT_TRUE(new_link.introduce(make_raw_hello("b", LANE_LOG)));
    const auto generation = [](std::uint64_t n) {
        ClusterMessage message;
        message.mutable_lane_switch()->set_generation(n);
        return message;
    };
    ASSERT_TRUE(old_link.send(generation(1)));
    ASSERT_TRUE(old_link.send(*numbered(1)));
    ASSERT_TRUE(a.handler.wait_messages(1));
    ASSERT_TRUE(new_link.send(generation(2)));
    ASSERT_TRUE(new_link.send(*numbered(2)));
    ASSERT_TRUE(a.handler.wait_messages(2));
    ASSERT_TRUE(old_link.send(*numbered(99)));
    ClusterMessage ping;
    ping.mutable_ping()->set_sequence(12345);
    ASSERT_TRUE(old_link.send(ping));
    while (true) {  // The answer says that what came before it was looked at.
        const auto answer = old_link.receive();
        ASSERT_TRUE(answer);
        if (answer->has_pong() && answer->pong().sequence() == 12345) {
            break;
        }
    }
    ASSERT_TRUE(new_link.send(*numbered(3)));
    ASSERT_TRUE(a.handler.wait_messages(3));
    EXPECT_EQ(number_of(*a.handler.received().back().message), 3U);
}

TEST(News, OfAddressesReachThePeer) {
    Member a{"a"};
    a.start();
    Member b{"b"};
    b.start({a.bus->address()});
    ASSERT_TRUE(a.handler.wait_up("b"));
    PeerInfo moved = b.self;
    moved.bolt_address = "elsewhere:1";
    moved.features.push_back("more");
    b.bus->set_self(moved);
    ASSERT_TRUE(a.handler.wait_up("b", 2));
    EXPECT_EQ(a.handler.ups().back(), moved);
    EXPECT_EQ(a.handler.downs(), 0U);
}

TEST(Peers, ThatAreTakenAwayAreNoLongerDialed) {
    Member a{"a"};
    a.start();
    Member b{"b"};
    b.start({a.bus->address()});
    ASSERT_TRUE(b.handler.wait_up("a"));
    b.bus->set_peers({});
    EXPECT_EQ(b.handler.wait_down("a"), LostReason::kClosed);
    EXPECT_EQ(a.handler.wait_down("b"), LostReason::kClosed);
    b.bus->set_peers({a.bus->address()});
    EXPECT_TRUE(b.handler.wait_up("a", 2));
}

TEST(Peers, AreLookedForUnderEachAddressOfTheirName) {
    // localhost may be ::1 first, where nobody listens.
    Member a{"a"};
    a.start();
    Member b{"b"};
    const std::string address = a.bus->address();
    b.start({"localhost" + address.substr(address.rfind(':'))});
    EXPECT_TRUE(b.handler.wait_up("a"));
    Member c{"c"};
    c.start({"no-such-name.invalid:1"});
    EXPECT_TRUE(c.handler.wait([&] {
        return c.bus->stats().front().last_error.find("'no-such-name.invalid' cannot be looked up") != std::string::npos;
    }));
}

TEST(Start, SaysWhichAddressItCannotBind) {
    Member a{"a"};
    a.start();
    Member b{"b", [&](Settings& s) { s.bind_address = a.bus->address(); }};
    b.bus->set_self(b.self);
    const auto started = b.bus->start(b.handler);
    ASSERT_FALSE(started);
    EXPECT_EQ(started.error().code(), ErrorCode::kIo);
    EXPECT_NE(started.error().message().find("NORNICDB_CLUSTER_BIND_ADDR='" + a.bus->address() + "'"), std::string::npos);
}

}  // namespace
}  // namespace nornic::transport
