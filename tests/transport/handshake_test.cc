#include "transport/handshake.h"

#include "tests/transport/support.h"
#include "transport/backoff.h"
#include "transport/resolver.h"

#include <gtest/gtest.h>

#include <set>

namespace nornic::transport {
namespace {

const std::string kSecret = "correct horse battery staple 2026";

Identity identity(const NodeName& id, const std::string& secret = {}) {
    Identity out;
    out.self = make_self(id);
    out.cluster_id = "test";
    out.secret = secret;
    out.software_version = "0.1.0";
    out.instance = static_cast<unsigned char>(id.front());
    return out;
}

/// Lets both talk until neither has more to say.
struct Outcome {
    Handshake::Step dialer;
    Handshake::Step acceptor;
    std::size_t messages = 1;
};
Outcome converse(Handshake& dialer, Handshake& acceptor) {
    Outcome out;
    std::vector<ClusterMessage> to_acceptor{dialer.hello()};
    while (!to_acceptor.empty()) {
        std::vector<ClusterMessage> to_dialer;
        for (const ClusterMessage& message : to_acceptor) {
            out.acceptor = acceptor.receive(message);
            to_dialer.insert(to_dialer.end(), out.acceptor.replies.begin(), out.acceptor.replies.end());
            if (out.acceptor.refusal) {
                to_dialer.push_back(make_reject(*out.acceptor.refusal));
            }
        }
        to_acceptor.clear();
        for (const ClusterMessage& message : to_dialer) {
            ++out.messages;
            out.dialer = dialer.receive(message);
            to_acceptor.insert(to_acceptor.end(), out.dialer.replies.begin(), out.dialer.replies.end());
            if (out.dialer.refusal || out.dialer.rejected) {
                return out;
            }
        }
        out.messages += to_acceptor.size();
    }
    return out;
}

TEST(Handshake, TwoMembersOfOneClusterAgree) {
    Handshake dialer{Side::kDialer, identity("b"), LANE_LOG};
    Handshake acceptor{Side::kAcceptor, identity("a"), LANE_CONTROL};
    const Outcome outcome = converse(dialer, acceptor);
    EXPECT_TRUE(outcome.dialer.verified);
    EXPECT_TRUE(outcome.acceptor.verified);
    EXPECT_EQ(outcome.messages, 2U);
    EXPECT_EQ(acceptor.introduction().lane, LANE_LOG);
    EXPECT_EQ(acceptor.introduction().peer, make_self("b"));
    EXPECT_EQ(acceptor.introduction().instance, std::uint64_t{'b'});
    EXPECT_EQ(dialer.introduction().peer, make_self("a"));
    EXPECT_EQ(dialer.introduction().version, 1U);
}

TEST(Handshake, TwoMembersThatKnowTheSecretAgree) {
    Handshake dialer{Side::kDialer, identity("b", kSecret), LANE_LOG};
    Handshake acceptor{Side::kAcceptor, identity("a", kSecret), LANE_CONTROL};
    const Outcome outcome = converse(dialer, acceptor);
    EXPECT_TRUE(outcome.dialer.verified);
    EXPECT_TRUE(outcome.acceptor.verified);
    EXPECT_EQ(outcome.messages, 4U);
}

TEST(Handshake, ProofIsAsTheProtocolPageComputesIt) {
    std::string dialer_nonce;
    std::string acceptor_nonce;
    for (char c = 0; c < 32; ++c) {
        dialer_nonce.push_back(c);
        acceptor_nonce.push_back(static_cast<char>(c + 32));
    }
    const ProofInput input{dialer_nonce, acceptor_nonce, "standby-1", "primary-1", "prod"};
    const auto hex = [](const std::string& bytes) {
        std::string out;
        for (const char c : bytes) {
            out += fmt::format("{:02x}", static_cast<unsigned char>(c));
        }
        return out;
    };
    EXPECT_EQ(hex(membership_proof(kSecret, Side::kDialer, input)), "cb2b0d85509feff365a18a2222936a49e82ff414112ab3f1f87c7fd021ad0648");
    EXPECT_EQ(hex(membership_proof(kSecret, Side::kAcceptor, input)), "4878ca19043cddca4228e1ed8b79dcf575a9d592bb978085aa166e4478127819");
    EXPECT_NE(random_nonce(), random_nonce());
    EXPECT_EQ(random_nonce().size(), kNonceBytes);
    EXPECT_TRUE(equal_in_constant_time("ab", "ab"));
    EXPECT_FALSE(equal_in_constant_time("ab", "ac"));
    EXPECT_FALSE(equal_in_constant_time("ab", "abc"));
}

Identity regional(const NodeName& id, const std::string& region, const std::string& cluster, const std::string& secret = {}) {
    Identity out = identity(id, secret);
    out.self.mode = kMultiRegion;
    out.self.region = region;
    out.cluster_id = cluster;
    return out;
}

TEST(Handshake, MembersOfTwoRegionsAgreeThoughTheirClustersDifferAndTheirNamesDoNot) {
    for (const std::string& secret : {std::string{}, kSecret}) {
        Handshake dialer{Side::kDialer, regional("node-1", "west", "group-w", secret), LANE_LOG};
        Handshake acceptor{Side::kAcceptor, regional("node-1", "east", "group-e", secret), LANE_CONTROL};
        const Outcome outcome = converse(dialer, acceptor);
        EXPECT_TRUE(outcome.dialer.verified);
        EXPECT_TRUE(outcome.acceptor.verified) << (outcome.acceptor.refusal ? outcome.acceptor.refusal->reason : "");
        EXPECT_EQ(acceptor.introduction().peer.id, "west/node-1");
        EXPECT_EQ(acceptor.introduction().peer.region, "west");
        EXPECT_EQ(dialer.introduction().peer.id, "east/node-1");

        Hello news = make_hello(regional("node-1", "west", "group-w"), LANE_LOG, "").hello();
        news.set_bolt_address("elsewhere:7687");
        EXPECT_FALSE(acceptor.receive_again(news));
        EXPECT_EQ(acceptor.introduction().peer.id, "west/node-1");
        EXPECT_EQ(acceptor.introduction().peer.bolt_address, "elsewhere:7687");
        for (const auto& change : std::initializer_list<std::function<void(Hello&)>>{
                 [](Hello& h) { h.set_region("north"); },
                 [](Hello& h) { h.set_cluster_id("group-x"); },
                 [](Hello& h) { h.set_node_id("node-2"); }}) {
            Hello changed = news;
            change(changed);
            const auto refusal = acceptor.receive_again(changed);
            ASSERT_TRUE(refusal);
            EXPECT_EQ(refusal->code, Reject::MALFORMED);
        }
    }
}

TEST(Handshake, MembersOfOneRegionAgreeAsEver) {
    Handshake dialer{Side::kDialer, regional("b", "west", "group-w", kSecret), LANE_LOG};
    Handshake acceptor{Side::kAcceptor, regional("a", "west", "group-w", kSecret), LANE_CONTROL};
    const Outcome outcome = converse(dialer, acceptor);
    EXPECT_TRUE(outcome.dialer.verified);
    EXPECT_TRUE(outcome.acceptor.verified);
    EXPECT_EQ(acceptor.introduction().peer.id, "b");
    EXPECT_EQ(acceptor.introduction().peer.region, "west");
}

TEST(Handshake, TheProofHoldsForThePairOfClustersAndRegionsThatWereNamed) {
    Handshake dialer{Side::kDialer, regional("node-1", "west", "group-w", kSecret), LANE_LOG};
    // Somebody between the two who says that he is of another region, and hands the proofs on.
    ClusterMessage hello = dialer.hello();
    hello.mutable_hello()->set_region("north");
    Handshake acceptor{Side::kAcceptor, regional("node-1", "east", "group-e", kSecret), LANE_CONTROL};
    const auto answers = acceptor.receive(hello).replies;
    ASSERT_EQ(answers.size(), 2U);
    EXPECT_FALSE(dialer.receive(answers[0]).refusal);
    const auto step = dialer.receive(answers[1]);
    ASSERT_TRUE(step.refusal);
    EXPECT_EQ(step.refusal->code, Reject::PROOF);
}

TEST(Handshake, WhoIsOfNoOtherRegionNeedsTheSameClusterAndANameOfHisOwn) {
    struct Row {
        const char* name;
        Identity dialer;
        Reject::Code code;
        const char* part;
    };
    Identity raft = regional("b", "west", "group-w");
    raft.self.mode = "raft";
    for (const Row& row : {Row{"of the same region", regional("b", "east", "other"), Reject::CLUSTER_ID, "cluster 'other'"},
                           Row{"of no region", regional("b", "", "other"), Reject::CLUSTER_ID, "cluster 'other'"},
                           Row{"of another mode", raft, Reject::CLUSTER_ID, "cluster 'group-w'"},
                           Row{"the listener's name", regional("a", "east", "group-e"), Reject::NODE_ID, "two members"},
                           Row{"a slash in the name", regional("west/b", "east", "group-e"), Reject::MALFORMED, "slash"},
                           Row{"a slash in the region", regional("b", "we/st", "group-w"), Reject::MALFORMED, "slash"},
                           Row{"a region that is too long",
                               regional("b", std::string(300, 'w'), "group-w"),
                               Reject::MALFORMED,
                               "longer than"}}) {
        Identity listener = regional("a", "east", "group-e");
        listener.instance = 99;
        Handshake dialer{Side::kDialer, row.dialer, LANE_LOG};
        Handshake acceptor{Side::kAcceptor, listener, LANE_CONTROL};
        const Outcome outcome = converse(dialer, acceptor);
        ASSERT_TRUE(outcome.acceptor.refusal) << row.name;
        EXPECT_EQ(outcome.acceptor.refusal->code, row.code) << row.name;
        EXPECT_NE(outcome.acceptor.refusal->reason.find(row.part), std::string::npos) << outcome.acceptor.refusal->reason;
        EXPECT_FALSE(outcome.dialer.verified) << row.name;
    }
}

struct Disagreement {
    const char* name;
    std::function<void(Identity&)> change;  // of the dialer
    std::string secret;                     // of the acceptor
    Reject::Code code;
    const char* part;  // of the reason
};
class HandshakeRefuses : public ::testing::TestWithParam<Disagreement> {};
TEST_P(HandshakeRefuses, ADialerThatDoesNotBelongHere) {
    Identity other = identity("b", GetParam().secret);
    GetParam().change(other);
    Handshake dialer{Side::kDialer, other, LANE_LOG};
    Handshake acceptor{Side::kAcceptor, identity("a", GetParam().secret), LANE_CONTROL};
    const Outcome outcome = converse(dialer, acceptor);
    // Whichever meets it first says it; with different secrets that is the dialer, who is shown proof first.
    const auto& refusal = outcome.acceptor.refusal ? outcome.acceptor.refusal : outcome.dialer.refusal;
    ASSERT_TRUE(refusal);
    EXPECT_EQ(refusal->code, GetParam().code);
    EXPECT_NE(refusal->reason.find(GetParam().part), std::string::npos) << refusal->reason;
    EXPECT_FALSE(outcome.dialer.verified);
    EXPECT_FALSE(outcome.acceptor.verified);
    if (outcome.acceptor.refusal) {
        ASSERT_TRUE(outcome.dialer.rejected);
        EXPECT_EQ(outcome.dialer.rejected->reason, refusal->reason);
    }
}
INSTANTIATE_TEST_SUITE_P(
    Table,
    HandshakeRefuses,
    ::testing::Values(
        Disagreement{"cluster", [](Identity& i) { i.cluster_id = "other"; }, "", Reject::CLUSTER_ID,
                     "node 'b' belongs to cluster 'other', node 'a' to cluster 'test'"},
        Disagreement{"mode", [](Identity& i) { i.self.mode = "raft"; }, "", Reject::MODE, "NORNICDB_CLUSTER_MODE"},
        Disagreement{"same id", [](Identity& i) { i.self.id = "a"; }, "", Reject::NODE_ID, "two members call themselves 'a'"},
        Disagreement{"itself", [](Identity& i) { i = identity("a"); }, "", Reject::NODE_ID, "has dialed itself"},
        Disagreement{"no id", [](Identity& i) { i.self.id = ""; }, "", Reject::MALFORMED, "node id"},
        Disagreement{"unprintable id", [](Identity& i) { i.self.id = "b\n"; }, "", Reject::MALFORMED, "node id"},
        Disagreement{"long id", [](Identity& i) { i.self.id = std::string(256, 'b'); }, "", Reject::MALFORMED, "255"},
        Disagreement{"long address", [](Identity& i) { i.self.bolt_address = std::string(256, 'b'); }, "",
                     Reject::MALFORMED, "255"},
        Disagreement{"too many features", [](Identity& i) { i.self.features.assign(65, "f"); }, "", Reject::MALFORMED,
                     "64 features"},
        Disagreement{"no secret there", [](Identity& i) { i.secret = ""; }, kSecret, Reject::PROOF,
                     "node 'b' has no secret"},
        Disagreement{"no secret here", [](Identity& i) { i.secret = kSecret; }, "", Reject::PROOF, "node 'a' has no secret"},
        Disagreement{"another secret", [](Identity& i) { i.secret = kSecret + "!"; }, kSecret, Reject::PROOF,
                     "node 'a' does not know the secret of node 'b'"}),
    [](const auto& info) {
        std::string name = info.param.name;
        std::ranges::replace(name, ' ', '_');
        return name;
    });

TEST(Handshake, RefusesVersionsItDoesNotSpeak) {
    Handshake dialer{Side::kDialer, identity("b"), LANE_LOG};
    for (const auto& [low, high, good] : {std::tuple{2U, 3U, false}, {0U, 0U, false}, {0U, 9U, true}, {3U, 1U, false}}) {
        ClusterMessage hello = dialer.hello();
        hello.mutable_hello()->set_version_min(low);
        hello.mutable_hello()->set_version_max(high);
        Handshake acceptor{Side::kAcceptor, identity("a"), LANE_CONTROL};
        const auto step = acceptor.receive(hello);
        EXPECT_EQ(step.verified, good) << low;
        if (!good) {
            EXPECT_EQ(step.refusal->code, Reject::VERSION);
        }
    }
}

TEST(Handshake, NothingButHelloIsTakenFirst) {
    for (const auto& message : {*numbered(1), make_reject({Reject::STOPPING, "so"})}) {
        Handshake acceptor{Side::kAcceptor, identity("a"), LANE_CONTROL};
        const auto step = acceptor.receive(message);
        EXPECT_FALSE(step.verified);
        EXPECT_TRUE(step.replies.empty());
        EXPECT_NE(step.refusal.has_value(), step.rejected.has_value());
    }
    ClusterMessage proof;
    proof.mutable_hello_proof()->set_hmac(std::string(32, 'x'));
    Handshake acceptor{Side::kAcceptor, identity("a", kSecret), LANE_CONTROL};
    EXPECT_EQ(acceptor.receive(proof).refusal->code, Reject::MALFORMED);
}

TEST(Handshake, ASecondHelloIsNoProof) {
    Handshake dialer{Side::kDialer, identity("b", kSecret), LANE_LOG};
    Handshake acceptor{Side::kAcceptor, identity("a", kSecret), LANE_CONTROL};
    EXPECT_FALSE(acceptor.receive(dialer.hello()).verified);
    EXPECT_EQ(acceptor.receive(dialer.hello()).refusal->code, Reject::MALFORMED);
}

TEST(Handshake, WhatItSaidItselfIsNoProof) {
    // A peer without the secret sends back the very nonce, or the very proof, that it was given.
    Handshake acceptor{Side::kAcceptor, identity("a", kSecret), LANE_CONTROL};
    ClusterMessage hello;
    *hello.mutable_hello() = make_raw_hello("b");
    hello.mutable_hello()->set_nonce(random_nonce());
    const auto step = acceptor.receive(hello);
    ASSERT_EQ(step.replies.size(), 2U);
    EXPECT_EQ(acceptor.receive(step.replies[1]).refusal->code, Reject::PROOF);

    Handshake dialer{Side::kDialer, identity("b", kSecret), LANE_CONTROL};
    ClusterMessage echo = dialer.hello();
    echo.mutable_hello()->set_node_id("a");
    EXPECT_EQ(dialer.receive(echo).refusal->code, Reject::MALFORMED);
}

TEST(Handshake, ADialerInsistsOnItsLane) {
    Handshake dialer{Side::kDialer, identity("b"), LANE_LOG};
    ClusterMessage hello;
    *hello.mutable_hello() = make_raw_hello("a", LANE_BULK);
    EXPECT_EQ(dialer.receive(hello).refusal->code, Reject::MALFORMED);
    hello.mutable_hello()->set_lane(static_cast<Lane>(7));
    Handshake acceptor{Side::kAcceptor, identity("a"), LANE_CONTROL};
    hello.mutable_hello()->set_node_id("c");
    EXPECT_EQ(acceptor.receive(hello).refusal->code, Reject::MALFORMED);
}

TEST(Handshake, ALaterHelloMayChangeAddressesAndNothingElse) {
    Handshake dialer{Side::kDialer, identity("b", kSecret), LANE_LOG};
    Handshake acceptor{Side::kAcceptor, identity("a", kSecret), LANE_CONTROL};
    ASSERT_TRUE(converse(dialer, acceptor).acceptor.verified);
    Identity moved = identity("b", kSecret);
    moved.self.bolt_address = "elsewhere:7687";
    EXPECT_FALSE(acceptor.receive_again(make_hello(moved, LANE_LOG, {}).hello()));
    EXPECT_EQ(acceptor.introduction().peer.bolt_address, "elsewhere:7687");
    EXPECT_TRUE(acceptor.receive_again(make_hello(moved, LANE_BULK, {}).hello()));
    EXPECT_TRUE(acceptor.receive_again(make_hello(identity("c", kSecret), LANE_LOG, {}).hello()));
}

TEST(Backoff, DoublesUpToItsMostWithJitterAndForgets) {
    Backoff backoff{100ms, 1000ms, Random{7}};
    std::set<Duration> seen;
    for (const auto step : {100ms, 200ms, 400ms, 800ms, 1000ms, 1000ms}) {
        const Duration wait = backoff.next();
        EXPECT_LE(wait, step);
        EXPECT_GE(wait, step / 2);
        seen.insert(wait);
    }
    EXPECT_EQ(seen.size(), 6U);
    backoff.reset();
    EXPECT_LE(backoff.next(), 100ms);
}

TEST(SplitHostPort, TakesNamesAndAddresses) {
    EXPECT_EQ(split_host_port("node1:7688").value(), (std::pair<std::string, std::uint16_t>{"node1", 7688}));
    EXPECT_EQ(split_host_port("[::1]:0").value(), (std::pair<std::string, std::uint16_t>{"::1", 0}));
    EXPECT_EQ(split_host_port(":7688").value(), (std::pair<std::string, std::uint16_t>{"", 7688}));
    for (const char* bad : {"", "node1", "node1:", "node1:x", "node1:70000", "::1:7688", "node1:-1", "node1:1x"}) {
        EXPECT_FALSE(split_host_port(bad)) << bad;
    }
}

}  // namespace
}  // namespace nornic::transport
