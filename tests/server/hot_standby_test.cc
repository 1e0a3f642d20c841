// Two data members and a witness in this process, joined over loopback: what sessions, ROUTE, bookmarks and an
// operator's paths answer in each role.
#include "server/witness.h"
#include "tests/server/members.h"

#include <filesystem>
#include <memory>
#include <string>
#include <unistd.h>
#include <vector>

namespace nornic::server {
namespace {

using namespace std::chrono_literals;

class HotStandbyTest : public testing::Test {
protected:
    void SetUp() override {
        ports_ = free_ports(3);
        directory_ = std::filesystem::temp_directory_path() /
                     fmt::format("hot_standby_test.{}.{}",
                                 ::getpid(),
                                 testing::UnitTest::GetInstance()->current_test_info()->name());
        std::filesystem::remove_all(directory_);
    }
    void TearDown() override {
        a.stop();
        b.stop();
        if (witness_) {
            witness_->replica().stop();
            witness_->pool().stop();
            witness_.reset();
        }
        std::filesystem::remove_all(directory_);
    }
    env::Loaded loaded(std::size_t index, const std::string& role) {
        env::Source source;
        source.environment = {
            {"NORNICDB_DATA_DIR", directory_ / std::to_string(index)},
            {"NORNICDB_AUTH", auth_},
            {"NORNICDB_CLUSTER_MODE", "ha_standby"},
            {"NORNICDB_CLUSTER_NODE_ID", "node-" + std::to_string(index)},
            {"NORNICDB_CLUSTER_BIND_ADDR", fmt::format("127.0.0.1:{}", ports_[index])},
            {"NORNICDB_CLUSTER_HA_ROLE", role},
            {"NORNICDB_CLUSTER_HA_PEER_ADDR",
             role == "witness" ? "" : fmt::format("127.0.0.1:{}", ports_[1 - index])},
            {"NORNICDB_CLUSTER_HA_HEARTBEAT_MS", "50"},
            {"NORNICDB_CLUSTER_HA_FAILOVER_TIMEOUT", "1s"},
            {"NORNICDB_CLUSTER_REPLICATION_SECRET", "0123456789abcdef0123456789abcdef"}};
        for (const auto& [name, value] : more_) {
            source.environment[name] = value;
        }
        if (role != "witness" && with_witness_) {
            source.environment["NORNICDB_CLUSTER_HA_WITNESS_ADDR"] = fmt::format("127.0.0.1:{}", ports_[2]);
        }
        auto out = env::load(source);
        EXPECT_TRUE(out) << out.error().message();
        return out.value();
    }
    void start(DataMember& member, std::size_t index, const std::string& role) {
        auto opened = Instance::open(loaded(index, role), system_clock());
        ASSERT_TRUE(opened) << opened.error().message();
        member.instance = std::move(opened).value();
        const auto started =
            member.instance->start(fmt::format("bolt-{}:7687", index), fmt::format("http-{}:7474", index));
        ASSERT_TRUE(started) << started.error().message();
        member.http = std::make_unique<HttpBackend>(*member.instance);
        member.instance->pool().start();
    }
    /// a leads, b follows and is in sync.
    void form() {
        start(a, 0, "primary");
        start(b, 1, "standby");
        ASSERT_TRUE(eventually([&] { return a.instance->replica().term() != Term{0}; }));
        ASSERT_TRUE(eventually([&] { return b.http->ready().status == 200; })) << b.http->ready().json;
        ASSERT_TRUE(eventually([&] { return b.replication().at("sync_state") == "synced"; }));
    }

    std::filesystem::path directory_;
    std::vector<std::uint16_t> ports_;
    std::map<std::string, std::string> more_;
    std::string auth_ = "none";
    bool with_witness_ = false;
    DataMember a;
    DataMember b;
    std::unique_ptr<Witness> witness_;
};

TEST_F(HotStandbyTest, WhatThePrimaryAcknowledgesTheStandbyShowsWithItsBookmark) {
    form();
    const auto written = a.run("CREATE (:P {n: 1})");
    ASSERT_TRUE(written) << written.error().message();
    bolt::TransactionOptions options;
    options.mode = AccessMode::kRead;
    options.bookmarks = {written.value().bookmark};
    const auto read = b.run("MATCH (p:P) RETURN p.n", options);
    ASSERT_TRUE(read) << read.error().message();
    ASSERT_EQ(read.value().rows.size(), 1U);
    EXPECT_EQ(read.value().rows[0][0].as_integer(), 1);
    // Without a routing driver a session is of mode WRITE, and may still read here.
    EXPECT_TRUE(b.run("MATCH (p:P) RETURN count(p)"));
}

TEST_F(HotStandbyTest, AWriteOnTheStandbyIsRefusedBeforeItDoesAnything) {
    form();
    const auto refused = b.run("CREATE (:P)");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kNotLeader);
    EXPECT_TRUE(refused.error().message().starts_with(
        "No write operations are allowed directly on this database. Writes must pass through the leader. The role of "
        "this server is: FOLLOWER"))
        << refused.error().message();
    EXPECT_EQ(refused.error().hint(), "bolt-0:7687");
    // At RUN, not at COMMIT.
    const auto open = b.session();
    ASSERT_TRUE(wait<bolt::Begun>([&](auto done) { open->begin({}, done); }));
    const auto running =
        wait<bolt::Running>([&](auto done) { open->run_in_transaction("CREATE (:P)", Value{Map{}}, done); });
    ASSERT_FALSE(running);
    EXPECT_EQ(running.error().code(), ErrorCode::kNotLeader);
    EXPECT_TRUE(b.run("EXPLAIN CREATE (:P)"));
}

TEST_F(HotStandbyTest, ARoutedSessionThatWantsTheWriterIsSentAwayAtItsBeginning) {
    form();
    const auto begun =
        wait<bolt::Begun>([&](auto done) { b.session(Scheme::kNeo4j)->begin({}, done); });
    ASSERT_FALSE(begun);
    EXPECT_EQ(begun.error().code(), ErrorCode::kNotLeader);
    EXPECT_FALSE(b.run("RETURN 1", {}, Scheme::kNeo4j));
    bolt::TransactionOptions reads;
    reads.mode = AccessMode::kRead;
    EXPECT_TRUE(b.run("RETURN 1", reads, Scheme::kNeo4j));
}

TEST_F(HotStandbyTest, BothMembersRouteWritersToThePrimaryAndReadersToTheStandbyFirst) {
    form();
    for (const DataMember* member : {&a, &b}) {
        const bolt::RoutingTable table = member->route();
        EXPECT_EQ(addresses(table, "WRITE"), std::vector<std::string>{"bolt-0:7687"});
        EXPECT_EQ(addresses(table, "READ"), (std::vector<std::string>{"bolt-1:7687", "bolt-0:7687"}));
        EXPECT_EQ(addresses(table, "ROUTE").size(), 2U);
        EXPECT_EQ(table.ttl_seconds, 10);
    }
}

TEST_F(HotStandbyTest, WithoutAPrimaryThereIsNoWriterAndWritesAreToBeTriedAgain) {
    start(b, 1, "standby");
    const bolt::RoutingTable table = b.route();
    EXPECT_TRUE(addresses(table, "WRITE").empty());
    EXPECT_EQ(addresses(table, "READ"), std::vector<std::string>{"bolt-1:7687"});
    EXPECT_EQ(addresses(table, "ROUTE"), std::vector<std::string>{"bolt-1:7687"});
    const auto refused = b.run("CREATE (:P)");
    ASSERT_FALSE(refused);
    EXPECT_EQ(to_failure(refused.error()).code, "Neo.TransientError.General.DatabaseUnavailable");
    // It would show an empty graph for the cluster's.
    bolt::TransactionOptions reads;
    reads.mode = AccessMode::kRead;
    EXPECT_EQ(b.run("RETURN 1", reads, Scheme::kNeo4j).error().code(), ErrorCode::kDatabaseUnavailable);
    EXPECT_EQ(b.http->health().status, 200);
    EXPECT_EQ(b.http->ready().status, 503);
    EXPECT_EQ(json::parse(b.admin("GET", "/admin/cluster/status").json).as_object().at("leader"), nullptr);
}

TEST_F(HotStandbyTest, HealthHasTheFieldsOfTheGuideAndSaysWhoIsWhat) {
    form();
    const json::object primary = a.replication();
    EXPECT_EQ(primary.at("mode"), "ha_standby");
    EXPECT_EQ(primary.at("node_id"), "node-0");
    EXPECT_EQ(primary.at("role"), "primary");
    EXPECT_EQ(primary.at("is_leader"), true);
    EXPECT_EQ(primary.at("state"), "ready");
    EXPECT_EQ(primary.at("peers").as_array().size(), 1U);
    const json::object& peer = primary.at("peers").as_array()[0].as_object();
    EXPECT_EQ(peer.at("id"), "node-1");
    EXPECT_EQ(peer.at("healthy"), true);
    const json::object standby = b.replication();
    EXPECT_EQ(standby.at("role"), "standby");
    EXPECT_EQ(standby.at("is_leader"), false);
    EXPECT_EQ(standby.at("leader"), "node-0");
    const json::object status = json::parse(b.admin("GET", "/admin/cluster/status").json).as_object();
    EXPECT_EQ(status.at("leader").as_object().at("id"), "node-0");
    EXPECT_EQ(status.at("members").as_array().size(), 2U);
    EXPECT_EQ(status.at("cluster_auth"), "hmac");
    EXPECT_EQ(b.admin("POST", "/admin/cluster/status").status, 405);
    EXPECT_EQ(b.admin("GET", "/admin/nothing").status, 404);
    EXPECT_EQ(a.admin("GET", "/db/neo4j/cluster/writable").json, "true");
    EXPECT_EQ(b.admin("GET", "/db/neo4j/cluster/writable").status, 404);
    EXPECT_EQ(b.admin("GET", "/db/neo4j/cluster/read-only").json, "true");
    const std::string metrics = b.http->metrics();
    for (const char* line : {"nornicdb_replication_mode{mode=\"ha_standby\"} 1",
                             "nornicdb_replication_is_leader 0",
                             "nornicdb_replication_peer_healthy{peer=\"node-0\"} 1",
                             "nornicdb_peer_healthy{peer=\"node-0\"} 1",
                             "nornicdb_replication_lag_seconds",
                             "nornicdb_cluster_leader_changes_total",
                             "nornicdb_wal_position",
                             "nornicdb_replication_epoch 1",
                             "nornicdb_replication_bytes_total{direction=\"sent\",peer=\"node-0\"}",
                             "nornicdb_replication_diverged_entries_total 0"}) {
        EXPECT_NE(metrics.find(line), std::string::npos) << line << "\n" << metrics;
    }
}

TEST_F(HotStandbyTest, AnOperatorPromotesTheStandbyAndTheOldPrimaryFollows) {
    form();
    const auto before = a.run("CREATE (:P {n: 1})");
    ASSERT_TRUE(before);
    // A transaction that is open meanwhile is told where to go, and nothing of it is written.
    const auto open = a.session();
    ASSERT_TRUE(wait<bolt::Begun>([&](auto done) { open->begin({}, done); }));
    ASSERT_TRUE(wait<bolt::Running>(
        [&](auto done) { open->run_in_transaction("CREATE (:P {n: 2})", Value{Map{}}, done); }));
    EXPECT_EQ(b.admin("POST", "/admin/promote", "[]").status, 400);
    EXPECT_EQ(b.admin("GET", "/admin/promote").status, 405);
    const http::Document promoted = b.admin("POST", "/admin/promote");
    EXPECT_EQ(promoted.status, 200) << promoted.json;
    ASSERT_TRUE(eventually([&] { return b.instance->replica().term() != Term{0}; }));
    const auto late = wait<std::string>([&](auto done) { open->commit(done); });
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code(), ErrorCode::kNotLeader) << late.error().message();
    const auto after = b.run("CREATE (:P {n: 3}) WITH 1 AS one MATCH (p:P) RETURN count(p)");
    ASSERT_TRUE(after) << after.error().message();
    EXPECT_EQ(after.value().rows[0][0].as_integer(), 2);
    ASSERT_TRUE(eventually([&] { return a.http->ready().status == 200; })) << a.http->ready().json;
    EXPECT_EQ(a.replication().at("role"), "standby");
    EXPECT_EQ(addresses(a.route(), "WRITE"), std::vector<std::string>{"bolt-1:7687"});
    // Bookmarks of both times are good on both.
    for (const DataMember* member : {&a, &b}) {
        bolt::TransactionOptions options;
        options.mode = AccessMode::kRead;
        options.bookmarks = {before.value().bookmark, after.value().bookmark};
        const auto counted = member->run("MATCH (p:P) RETURN count(p)", options);
        ASSERT_TRUE(counted) << counted.error().message();
        EXPECT_EQ(counted.value().rows[0][0].as_integer(), 2);
    }
    EXPECT_EQ(b.admin("POST", "/admin/cluster/transfer-leadership").status, 200);
    EXPECT_TRUE(eventually([&] { return a.instance->replica().term() != Term{0}; }));
}

TEST_F(HotStandbyTest, ABookmarkOfALostBranchIsInvalidAndOneOfTheFutureIsWaitedFor) {
    form();
    ASSERT_TRUE(a.run("CREATE (:P)"));
    ASSERT_EQ(b.admin("POST", "/admin/promote").status, 200);
    ASSERT_TRUE(eventually([&] { return b.run("CREATE (:P)").has_value(); }));
    const LogIndex now = b.instance->engine().applied_index();
    bolt::TransactionOptions options;
    options.mode = AccessMode::kRead;
    options.bookmarks = {fmt::format("nb1:{}:{}:1", b.instance->history(), now.value)};
    const auto lost = b.run("RETURN 1", options);
    ASSERT_FALSE(lost);
    EXPECT_EQ(lost.error().code(), ErrorCode::kInvalidBookmark) << lost.error().message();
    options.bookmarks = {fmt::format("nb1:{}:{}:1", b.instance->history(), now.value + 5)};
    EXPECT_EQ(b.run("RETURN 1", options).error().code(), ErrorCode::kInvalidBookmark);
    // The next write of this very branch is waited for.
    options.bookmarks = {fmt::format("nb1:{}:{}:2", b.instance->history(), now.value + 1)};
    std::promise<Result<Answer>> answered;
    std::thread reader{[&] { answered.set_value(b.run("MATCH (p:P) RETURN count(p)", options)); }};
    auto answer = answered.get_future();
    EXPECT_TRUE(b.run("CREATE (:P)"));
    EXPECT_TRUE(answer.get());
    reader.join();
}

TEST_F(HotStandbyTest, TheFirstUserIsMadeByThePrimaryAndKnownOnTheStandby) {
    auth_ = "admin/first-password";
    start(b, 1, "standby");
    // Nobody has made it yet, but somebody must be able to look and to promote.
    EXPECT_FALSE(b.instance->users().any());
    EXPECT_TRUE(b.http->authenticate({"admin", "first-password", true}));
    EXPECT_FALSE(b.http->authenticate({"admin", "wrong", true}));
    start(a, 0, "primary");
    ASSERT_TRUE(eventually([&] {
        a.instance->tend();
        b.instance->tend();
        return a.instance->users().any();
    }));
    ASSERT_TRUE(eventually([&] { return b.instance->users().any(); }));
    EXPECT_TRUE(b.http->authenticate({"admin", "first-password", true}));
    EXPECT_EQ(b.instance->users().all().size(), 1U);
}

TEST_F(HotStandbyTest, LevelsOfConsistencyAreTakenFromTheTransactionAndChecked) {
    form();
    bolt::TransactionOptions options;
    options.mode = AccessMode::kRead;
    options.metadata = Value{Map{{"consistency", Value{"QUORUM"}}}};
    EXPECT_TRUE(a.run("RETURN 1", options));
    const auto refused = b.run("RETURN 1", options);
    ASSERT_FALSE(refused);
    // Drivers take NotALeader in a session that only reads for a write in it, and give up.
    EXPECT_EQ(refused.error().code(), ErrorCode::kDatabaseUnavailable);
    options.metadata = Value{Map{{"consistency", Value{"MOSTLY"}}}};
    EXPECT_EQ(a.run("RETURN 1", options).error().code(), ErrorCode::kArgumentError);
}

TEST_F(HotStandbyTest, AWitnessShowsItselfAndHoldsNothing) {
    with_witness_ = true;
    auto opened = Witness::open(loaded(2, "witness"), system_clock());
    ASSERT_TRUE(opened) << opened.error().message();
    witness_ = std::move(opened).value();
    ASSERT_TRUE(witness_->start("http-2:7474"));
    witness_->pool().start();
    form();
    ASSERT_TRUE(eventually([&] { return witness_->ready().status == 200; })) << witness_->ready().json;
    const json::object health =
        json::parse(witness_->health().json).as_object().at("replication").as_object();
    EXPECT_EQ(health.at("role"), "witness");
    EXPECT_EQ(health.at("peers").as_array().size(), 2U);
    EXPECT_NE(witness_->metrics().find("nornicdb_replication_mode{mode=\"ha_standby\"} 1"), std::string::npos);
    const auto refused =
        wait<http::QueryAnswer>([&](auto done) { witness_->query("x", http::QueryRequest{}, done); });
    EXPECT_EQ(refused.error().code(), ErrorCode::kUnsupported);
    // It is listed, but no client is sent to it.
    EXPECT_EQ(json::parse(a.admin("GET", "/admin/cluster/status").json).as_object().at("members").as_array().size(), 3U);
    EXPECT_EQ(addresses(a.route(), "ROUTE").size(), 2U);
    // And a data directory is none of a witness's.
    auto wrong = loaded(0, "witness");
    EXPECT_FALSE(Witness::open(wrong, system_clock()));
}

}  // namespace
}  // namespace nornic::server
