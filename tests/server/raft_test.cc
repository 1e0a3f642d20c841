// Three members of a Raft group in this process, joined over loopback: what sessions, ROUTE, procedures and an operator's
// paths answer, who may change the group, and how one is begun anew from a single member.
#include "server/assembly.h"
#include "server/recover.h"
#include "server/witness.h"
#include "tests/server/members.h"

#include <array>
#include <filesystem>
#include <memory>
#include <sstream>
#include <string>
#include <unistd.h>
#include <vector>

namespace nornic::server {
namespace {

using namespace std::chrono_literals;

class RaftGroupTest : public testing::Test {
protected:
    static constexpr std::size_t kMembers = 4;

    void SetUp() override {
        ports_ = free_ports(kMembers);
        directory_ = std::filesystem::temp_directory_path() /
                     fmt::format("raft_test.{}.{}",
                                 ::getpid(),
                                 testing::UnitTest::GetInstance()->current_test_info()->name());
        std::filesystem::remove_all(directory_);
    }
    void TearDown() override {
        for (DataMember& member : members) {
            member.stop();
        }
        if (witness_) {
            witness_->replica().stop();
            witness_->pool().stop();
            witness_.reset();
        }
        std::filesystem::remove_all(directory_);
    }
    static std::string id(std::size_t index) { return "node-" + std::to_string(index); }
    std::string address(std::size_t index) const { return fmt::format("127.0.0.1:{}", ports_[index]); }
    env::Loaded loaded(std::size_t index, std::map<std::string, std::string> more = {}) const {
        env::Source source;
        source.environment = {{"NORNICDB_DATA_DIR", directory_ / std::to_string(index)},
                              {"NORNICDB_AUTH", "none"},
                              {"NORNICDB_CLUSTER_MODE", "raft"},
                              {"NORNICDB_CLUSTER_NODE_ID", id(index)},
                              {"NORNICDB_CLUSTER_BIND_ADDR", address(index)},
                              {"NORNICDB_CLUSTER_RAFT_ELECTION_TIMEOUT", "300ms"},
                              {"NORNICDB_CLUSTER_RAFT_HEARTBEAT_TIMEOUT", "30ms"},
                              {"NORNICDB_CLUSTER_REPLICATION_SECRET", "0123456789abcdef0123456789abcdef"}};
        if (index < 3) {
            std::string peers;
            for (std::size_t i = 0; i < 3; ++i) {
                peers += fmt::format("{}{}:{}", peers.empty() ? "" : ",", id(i), address(i));
            }
            source.environment["NORNICDB_CLUSTER_RAFT_PEERS"] = peers;
            source.environment["NORNICDB_CLUSTER_RAFT_BOOTSTRAP"] = index == 0 ? "true" : "false";
        }
        more.insert(everywhere_.begin(), everywhere_.end());
        for (const auto& [name, value] : more) {
            source.environment[name] = value;
        }
        auto out = env::load(source);
        EXPECT_TRUE(out) << out.error().message();
        return out.value();
    }
    void start(std::size_t index, std::map<std::string, std::string> more = {}) {
        DataMember& member = members[index];
        auto opened = Instance::open(loaded(index, std::move(more)), system_clock());
        ASSERT_TRUE(opened) << opened.error().message();
        member.instance = std::move(opened).value();
        const auto started =
            member.instance->start(fmt::format("bolt-{}:7687", index), fmt::format("http-{}:7474", index));
        ASSERT_TRUE(started) << started.error().message();
        member.http = std::make_unique<HttpBackend>(*member.instance);
        member.instance->pool().start();
    }
    void tend() {
        for (DataMember& member : members) {
            if (member.instance) {
                member.instance->tend();
            }
        }
    }
    bool soon(const std::function<bool()>& condition, Duration patience = 20s) {
        return eventually(
            [&] {
                tend();
                return condition();
            },
            patience);
    }
    bool ready(std::size_t index) const { return members[index].http->ready().status == 200; }
    DataMember* leader() {
        for (DataMember& member : members) {
            if (member.instance && member.instance->replica().term() != Term{0}) {
                return &member;
            }
        }
        return nullptr;
    }
    DataMember& follower() {
        for (DataMember& member : members) {
            if (member.instance && &member != leader()) {
                return member;
            }
        }
        return members[0];
    }
    void form() {
        for (std::size_t i = 0; i < 3; ++i) {
            start(i);
        }
        ASSERT_TRUE(soon([&] { return leader() != nullptr && ready(0) && ready(1) && ready(2); }))
            << members[1].http->ready().json << members[2].http->ready().json;
    }
    static json::object parsed(const http::Document& document) { return json::parse(document.json).as_object(); }
    json::object status(const DataMember& member) const { return parsed(member.admin("GET", "/admin/cluster/status")); }

    /// A stopped member's store loses its first page of nodes.
    void damage(std::size_t index) const {
        for (const auto& entry : std::filesystem::directory_iterator{directory_ / std::to_string(index)}) {
            if (!entry.is_directory() || !entry.path().filename().string().starts_with("store")) {
                continue;
            }
            auto kv = engine::open_rocks_kv({.directory = entry.path().string()});
            ASSERT_TRUE(kv) << kv.error().message();
            const auto cursor = kv.value()->new_cursor();
            cursor->seek("n");
            ASSERT_TRUE(cursor->valid() && cursor->key().starts_with("n"));
            const auto batch = kv.value()->new_batch();
            batch->erase(cursor->key());
            ASSERT_TRUE(kv.value()->write(*batch));
            ASSERT_TRUE(kv.value()->flush());
        }
    }
    std::size_t index_of(const DataMember& member) const {
        return static_cast<std::size_t>(std::distance(members.data(), &member));
    }
    bool quarantined(std::size_t index) const { return members[index].replication().at("state") == "quarantined"; }

    std::filesystem::path directory_;
    std::map<std::string, std::string> everywhere_;  // settings of all
    std::vector<std::uint16_t> ports_;
    std::array<DataMember, kMembers> members;
    std::unique_ptr<Witness> witness_;
};

TEST_F(RaftGroupTest, WhatTheLeaderAcknowledgesEachMemberShowsWithItsBookmark) {
    form();
    const auto written = leader()->run("CREATE (:P {n: 1})");
    ASSERT_TRUE(written) << written.error().message();
    bolt::TransactionOptions options;
    options.mode = AccessMode::kRead;
    options.bookmarks = {written.value().bookmark};
    for (std::size_t i = 0; i < 3; ++i) {
        const auto read = members[i].run("MATCH (p:P) RETURN p.n", options);
        ASSERT_TRUE(read) << read.error().message();
        EXPECT_EQ(read.value().rows.size(), 1U);
    }
}

TEST_F(RaftGroupTest, AFollowerRefusesWritesAndNamesTheLeader) {
    form();
    const auto refused = follower().run("CREATE (:P)");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kNotLeader);
    EXPECT_EQ(refused.error().hint(), leader()->instance->bolt_address());
}

TEST_F(RaftGroupTest, StatusAndHealthHaveTheFieldsOfTheGuide) {
    form();
    const json::object status = this->status(*leader());
    EXPECT_EQ(status.at("cluster_id"), "nornicdb");
    EXPECT_EQ(status.at("mode"), "raft");
    const std::string leader_id{status.at("leader").as_object().at("id").as_string()};
    EXPECT_EQ(leader_id, leader()->instance->node_id());
    EXPECT_TRUE(status.at("leader").as_object().at("address").as_string().starts_with("127.0.0.1:"));
    const json::array& listed = status.at("members").as_array();
    ASSERT_EQ(listed.size(), 3U);
    for (std::size_t i = 0; i < 3; ++i) {
        const json::object& member = listed[i].as_object();
        EXPECT_EQ(member.at("id").as_string(), id(i));
        EXPECT_EQ(member.at("address").as_string(), address(i));
        EXPECT_EQ(member.at("state"), id(i) == leader_id ? "leader" : "follower");
        EXPECT_EQ(member.at("healthy"), true);
    }
    EXPECT_GT(status.at("commit_index").to_number<std::int64_t>(), 0);
    EXPECT_GT(status.at("term").to_number<std::int64_t>(), 0);

    const json::object replication = leader()->replication();
    EXPECT_EQ(replication.at("mode"), "raft");
    EXPECT_EQ(replication.at("role"), "leader");
    EXPECT_EQ(replication.at("is_leader"), true);
    EXPECT_EQ(replication.at("state"), "ready");
    EXPECT_EQ(replication.at("peers").as_array().size(), 2U);

    const json::object state = parsed(follower().admin("GET", "/admin/raft/state"));
    EXPECT_EQ(state.at("role"), "follower");
    EXPECT_EQ(state.at("leader").as_string(), leader_id);
    EXPECT_EQ(state.at("voters").as_array().size(), 3U);
    // A follower knows its own place in the log and nobody else's.
    for (const json::value& member : state.at("members").as_array()) {
        const bool self = member.at("id") == state.at("node_id");
        EXPECT_EQ(member.at("match_index").is_null(), !self);
    }
    const std::string metrics = leader()->http->metrics();
    for (const char* line : {"nornicdb_replication_mode{mode=\"raft\"} 1",
                             "nornicdb_raft_role{role=\"leader\"} 1",
                             "nornicdb_raft_term ",
                             "nornicdb_raft_commit_index ",
                             "nornicdb_raft_elections_total ",
                             "nornicdb_raft_peer_match_lag{peer=",
                             "nornicdb_cluster_leader_changes_total"}) {
        EXPECT_NE(metrics.find(line), std::string::npos) << line;
    }
}

TEST_F(RaftGroupTest, Neo4jsEndpointsTellLoadBalancersWhoTakesWhat) {
    form();
    for (const std::string place : {"/db/neo4j/cluster/", "/db/manage/server/causalclustering/", "/db/manage/server/core/"}) {
        EXPECT_EQ(leader()->admin("GET", place + "writable").status, 200) << place;
        EXPECT_EQ(leader()->admin("GET", place + "read-only").json, "false") << place;
        EXPECT_EQ(follower().admin("GET", place + "writable").status, 404) << place;
        EXPECT_EQ(follower().admin("GET", place + "read-only").json, "true") << place;
        EXPECT_EQ(follower().admin("GET", place + "available").status, 200) << place;
        const json::object status = parsed(follower().admin("GET", place + "status"));
        EXPECT_EQ(status.at("leader").as_string(), leader()->instance->node_id());
        EXPECT_EQ(status.at("memberId").as_string(), follower().instance->node_id());
        EXPECT_EQ(status.at("votingMembers").as_array().size(), 3U);
        EXPECT_EQ(status.at("participatingInRaftGroup"), true);
        EXPECT_LT(status.at("millisSinceLastLeaderMessage").as_int64(), 1000);
    }
    const json::array all = json::parse(leader()->admin("GET", "/dbms/cluster/status").json).as_array();
    EXPECT_EQ(all.at(0).as_object().at("databaseName"), "neo4j");
    EXPECT_EQ(all.at(0).as_object().at("databaseStatus").as_object().at("millisSinceLastLeaderMessage"), 0);
    EXPECT_EQ(leader()->admin("GET", "/db/manage/server/causalclustering/nothing").status, 404);
}

TEST_F(RaftGroupTest, ProceduresShowTheMembersAsOtherServersDo) {
    form();
    const auto listed = follower().run("CALL db.bolt.listRaftNodes()");
    ASSERT_TRUE(listed) << listed.error().message();
    ASSERT_EQ(listed.value().rows.size(), 3U);
    for (std::size_t i = 0; i < 3; ++i) {
        const auto& row = listed.value().rows[i];
        EXPECT_EQ(row[0].as_string(), id(i));
        EXPECT_EQ(row[1].as_string(), "127.0.0.1");
        EXPECT_EQ(row[2].as_integer(), 7687);
        EXPECT_EQ(row[3].as_integer(), ports_[i]);
        EXPECT_EQ(row[4].as_boolean(), id(i) == leader()->instance->node_id());
        EXPECT_FALSE(row[5].as_boolean());
    }
    const auto state = leader()->run("CALL db.bolt.getRaftStatus()");
    ASSERT_TRUE(state);
    EXPECT_EQ(json::parse(std::string{state.value().rows[0][0].as_string()}).at("role"), "leader");
    EXPECT_EQ(follower().run("CALL dbms.cluster.role()").value().rows[0][0].as_string(), "FOLLOWER");
    EXPECT_EQ(leader()->run("CALL dbms.cluster.role()").value().rows[0][0].as_string(), "LEADER");
    EXPECT_EQ(leader()->run("CALL dbms.cluster.overview()").value().rows.size(), 3U);
    EXPECT_EQ(leader()->run("CALL dbms.listServers() YIELD state WHERE state = 'LEADER' RETURN count(*)").value().rows[0][0].as_integer(), 1);
    const auto servers = leader()->run("SHOW SERVERS");
    ASSERT_TRUE(servers) << servers.error().message();
    EXPECT_EQ(servers.value().rows.size(), 3U);
    EXPECT_EQ(servers.value().rows[0][3].as_string(), "Available");
}

TEST_F(RaftGroupTest, LeadershipIsHandedToWhomAnOperatorNames) {
    form();
    const std::string target = follower().instance->node_id();
    DataMember* const before = leader();
    const http::Document refused = follower().admin("POST", "/admin/raft/transfer-leadership", "{\"target\": \"node-0\"}");
    EXPECT_EQ(refused.status, 409);
    EXPECT_EQ(parsed(refused).at("leader").as_string(), before->instance->node_id());
    EXPECT_EQ(parsed(refused).at("leader_http_address").as_string(), before->instance->http_address());
    const http::Document done =
        before->admin("POST", "/admin/raft/transfer-leadership", fmt::format("{{\"target\": \"{}\"}}", target));
    EXPECT_EQ(done.status, 200) << done.json;
    ASSERT_TRUE(soon([&] { return leader() != nullptr && leader()->instance->node_id() == target; }));
    EXPECT_EQ(leader()->admin("POST", "/admin/raft/transfer-leadership", R"({"target": "nobody"})").status, 400);
    // The one that shall lead may be asked as well.
    DataMember& next = follower();
    const http::Document promoted = next.admin("POST", "/admin/promote");
    EXPECT_EQ(promoted.status, 200) << promoted.json;
    ASSERT_TRUE(soon([&] { return leader() == &next; }));
    EXPECT_EQ(leader()->admin("POST", "/admin/raft/step-down").status, 200);
    EXPECT_TRUE(soon([&] { return leader() != nullptr; }));
    EXPECT_EQ(leader()->admin("POST", "/admin/raft/snapshot").status, 200);
    EXPECT_EQ(leader()->admin("GET", "/admin/raft/snapshot").status, 405);
}

TEST_F(RaftGroupTest, AMemberIsAddedBecomesAVoterAndIsRemovedAgain) {
    form();
    ASSERT_TRUE(leader()->run("UNWIND range(1, 200) AS i CREATE (:P {n: i})"));
    start(3, {{"NORNICDB_CLUSTER_RAFT_JOIN", ""}});
    EXPECT_EQ(parsed(members[3].admin("GET", "/admin/cluster/status")).at("state"), "starting");
    const std::string body = fmt::format(R"({{"node_id": "node-3", "address": "{}"}})", address(3));
    EXPECT_EQ(follower().admin("POST", "/admin/cluster/add", body).status, 409);
    const http::Document added = leader()->admin("POST", "/admin/cluster/add", body);
    EXPECT_EQ(added.status, 200) << added.json;
    ASSERT_TRUE(soon([&] {
        return parsed(leader()->admin("GET", "/admin/raft/state")).at("learners").as_array().empty() && ready(3);
    })) << members[3].http->ready().json;
    EXPECT_EQ(parsed(leader()->admin("GET", "/admin/raft/state")).at("voters").as_array().size(), 4U);
    bolt::TransactionOptions reads;
    reads.mode = AccessMode::kRead;
    EXPECT_EQ(members[3].run("MATCH (p:P) RETURN count(p)", reads).value().rows[0][0].as_integer(), 200);
    // One change at a time: that it is a voter is seen before a majority has noted it.
    ASSERT_TRUE(soon([&] {
        const http::Document removed = leader()->admin("POST", "/admin/cluster/remove", R"({"node_id": "node-3"})");
        EXPECT_TRUE(removed.status == 200 || removed.status == 503) << removed.json;
        return removed.status == 200;
    }));
    EXPECT_TRUE(soon([&] { return status(*leader()).at("members").as_array().size() == 3; }));
    EXPECT_EQ(leader()->admin("POST", "/admin/cluster/remove", R"({"node_id": "node-3"})").status, 400);
}

TEST_F(RaftGroupTest, AMemberThatKnowsOneOfTheGroupIsTakenIn) {
    form();
    start(3, {{"NORNICDB_CLUSTER_RAFT_JOIN", address(1)}, {"NORNICDB_CLUSTER_RAFT_ROLE", "learner"}});
    ASSERT_TRUE(soon([&] { return ready(3); })) << members[3].http->ready().json;
    const auto listed = leader()->run("CALL db.bolt.listRaftNodes()");
    ASSERT_TRUE(listed);
    ASSERT_EQ(listed.value().rows.size(), 4U);
    EXPECT_TRUE(listed.value().rows[3][5].as_boolean());
    EXPECT_EQ(leader()->run("CALL dbms.cluster.overview() YIELD id, role WHERE id = 'node-3' RETURN role")
                  .value()
                  .rows[0][0]
                  .as_string(),
              "READ_REPLICA");
    const http::Document refused = members[3].admin("POST", "/admin/promote");
    EXPECT_EQ(refused.status, 409) << refused.json;
    EXPECT_FALSE(parsed(refused).contains("how_to_force")) << "nothing is forced in Raft";
    EXPECT_TRUE(soon([&] { return leader()->run("CALL db.bolt.removeRaftNode('node-3')").has_value(); }));
    EXPECT_TRUE(soon([&] { return status(*leader()).at("members").as_array().size() == 3; }));
}

TEST_F(RaftGroupTest, AddingAWrongAddressCostsNothing) {
    form();
    const auto added = leader()->run("CALL db.bolt.addRaftNode('nowhere', '127.0.0.1', 1, 1)");
    ASSERT_TRUE(added) << added.error().message();
    ASSERT_TRUE(leader()->run("CREATE (:P)"));
    EXPECT_EQ(parsed(leader()->admin("GET", "/admin/raft/state")).at("learners").as_array().size(), 1U);
    follower().stop();
    ASSERT_TRUE(soon([&] { return leader() != nullptr && leader()->run("CREATE (:P)"); }));
    EXPECT_TRUE(leader()->run("CALL db.bolt.removeRaftNode('nowhere')"));
    for (const char* body : {R"({"address": "a:1"})",
                             R"({"node_id": "x"})",
                             R"({"node_id": "x", "address": "a"})",
                             R"({"node_id": "x:y", "address": "a:1"})",
                             R"({"node_id": "x", "address": "a:1", "role": "king"})",
                             R"({"node_id": "x", "address": "a:1", "priority": -1})",
                             R"({"node_id": true, "address": "a:1"})"}) {
        EXPECT_EQ(leader()->admin("POST", "/admin/cluster/add", body).status, 400) << body;
    }
    EXPECT_FALSE(leader()->run("CALL db.bolt.addRaftLearnerNode(5, 'a b', 1, 1)"));
    EXPECT_FALSE(leader()->run("CALL db.bolt.addRaftLearnerNode(1.5, 'a', 1, 1)"));
}

TEST_F(RaftGroupTest, AStopThatLeavesTakesTheMemberOutAndAPlainOneDoesNot) {
    form();
    start(3, {{"NORNICDB_CLUSTER_RAFT_JOIN", address(1)}, {"NORNICDB_CLUSTER_LEAVE_ON_STOP", "true"}});
    ASSERT_TRUE(soon([&] {
        return ready(3) && parsed(leader()->admin("GET", "/admin/raft/state")).at("voters").as_array().size() == 4;
    }));
    // Also if it leads: it hands over first.
    const http::Document moved = leader()->admin("POST", "/admin/transfer-leadership", R"({"target": "node-3"})");
    EXPECT_EQ(moved.status, 200) << moved.json;
    ASSERT_TRUE(soon([&] { return leader() == &members[3]; }));
    members[3].instance->replica().leave(system_clock().now() + 10s);
    ASSERT_TRUE(soon([&] { return leader() != nullptr && leader() != &members[3]; }));
    EXPECT_EQ(status(*leader()).at("members").as_array().size(), 3U);
    members[3].stop();
    DataMember& plain = follower();
    plain.instance->replica().leave(system_clock().now() + 10s);
    plain.stop();
    ASSERT_TRUE(leader()->run("CREATE (:P)"));
    EXPECT_EQ(status(*leader()).at("members").as_array().size(), 3U);
}

TEST_F(RaftGroupTest, TheDataOfAStandaloneServerBecomesTheGroups) {
    start(0, {{"NORNICDB_CLUSTER_MODE", "standalone"}});
    ASSERT_TRUE(members[0].run("CREATE (:P {n: 7})"));
    const std::string before = members[0].instance->history();
    members[0].stop();
    form();
    EXPECT_EQ(leader(), &members[0]);
    bolt::TransactionOptions reads;
    reads.mode = AccessMode::kRead;
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(members[i].instance->history(), before);
        EXPECT_EQ(members[i].run("MATCH (p:P) RETURN p.n", reads).value().rows.at(0)[0].as_integer(), 7);
    }
}

TEST_F(RaftGroupTest, AMemberWithDataOfItsOwnIsNotOverwritten) {
    start(3, {{"NORNICDB_CLUSTER_MODE", "standalone"}});
    ASSERT_TRUE(members[3].run("CREATE (:Own)"));
    members[3].stop();
    form();
    start(3, {{"NORNICDB_CLUSTER_RAFT_JOIN", address(0)}});
    ASSERT_TRUE(soon([&] { return !members[3].replication().at("reason").as_string().empty() &&
                                  members[3].replication().at("reason").as_string().find("empty") != std::string::npos; }))
        << members[3].http->health().json;
    EXPECT_EQ(status(*leader()).at("members").as_array().size(), 3U);
    bolt::TransactionOptions reads;
    reads.mode = AccessMode::kRead;
    EXPECT_EQ(members[3].run("MATCH (p:Own) RETURN count(p)", reads).value().rows.at(0)[0].as_integer(), 1);
}

TEST_F(RaftGroupTest, WithoutAMajorityReadsStayAndWritesAnswerAtOnce) {
    form();
    ASSERT_TRUE(leader()->run("CREATE (:P)"));
    DataMember& left = follower();
    ASSERT_TRUE(soon([&] { return left.instance->engine().applied_index() == leader()->instance->engine().applied_index(); }));
    for (DataMember& member : members) {
        if (&member != &left) {
            member.stop();
        }
    }
    ASSERT_TRUE(soon([&] { return left.replication().at("leader").is_null(); }));
    const Deadline began = system_clock().now();
    const auto refused = left.run("CREATE (:P)");
    EXPECT_LT(system_clock().now() - began, 2s);
    ASSERT_FALSE(refused);
    EXPECT_EQ(to_failure(refused.error()).code, "Neo.TransientError.General.DatabaseUnavailable");
    const json::object said = left.replication();
    EXPECT_EQ(said.at("state"), "no_quorum");
    EXPECT_FALSE(said.at("reason").as_string().empty());
    EXPECT_NE(said.at("how_to").as_string().find("recover --force-new-cluster"), std::string::npos);
    EXPECT_EQ(parsed(left.admin("GET", "/admin/raft/state")).at("how_to"), said.at("how_to"));
    for (const char* command : {"/admin/promote", "/admin/raft/transfer-leadership", "/admin/raft/step-down"}) {
        EXPECT_EQ(left.admin("POST", command).status, 503) << command << ": there is no leader who could do it";
    }
    bolt::TransactionOptions reads;
    reads.mode = AccessMode::kRead;
    EXPECT_EQ(left.run("MATCH (p:P) RETURN count(p)", reads).value().rows[0][0].as_integer(), 1);
    const bolt::RoutingTable table = left.route();
    EXPECT_TRUE(addresses(table, "WRITE").empty());
    EXPECT_FALSE(addresses(table, "READ").empty());
}

TEST_F(RaftGroupTest, AMemberWhoseDataDiffersServesNobodyUntilItIsRebuilt) {
    everywhere_ = {{"NORNICDB_CLUSTER_RAFT_DIGEST_INTERVAL", "500ms"}};
    form();
    const auto written = leader()->run("UNWIND range(1, 200) AS i CREATE (:P {n: i})");
    ASSERT_TRUE(written);
    bolt::TransactionOptions reads;
    reads.mode = AccessMode::kRead;
    reads.bookmarks = {written.value().bookmark};
    ASSERT_TRUE(follower().run("RETURN 1", reads));
    ASSERT_TRUE(soon([&] { return leader()->replication().at("state_comparisons").to_number<std::int64_t>() >= 2; }));
    EXPECT_EQ(leader()->replication().at("state_mismatches").to_number<std::int64_t>(), 0);
    EXPECT_EQ(leader()->replication().at("state_differs"), false);

    const std::size_t odd = index_of(follower());
    ASSERT_TRUE(leader()->run("CREATE (:Q)"));
    members[odd].stop();
    damage(odd);
    start(odd);
    ASSERT_TRUE(soon([&] { return quarantined(odd); }));
    const auto read = members[odd].run("MATCH (p:P) RETURN count(p)", reads);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code(), ErrorCode::kDatabaseUnavailable);
    EXPECT_NE(read.error().message().find("empty its data directory"), std::string::npos) << read.error().message();
    EXPECT_NE(read.error().message().find("log index"), std::string::npos) << read.error().message();
    EXPECT_FALSE(members[odd].run("CREATE (:R)"));
    EXPECT_EQ(members[odd].http->ready().status, 503);
    EXPECT_EQ(parsed(members[odd].admin("GET", "/admin/raft/state")).at("state"), "quarantined");
    EXPECT_EQ(members[odd].admin("GET", "/db/neo4j/cluster/available").status, 404);
    EXPECT_EQ(members[odd].admin("GET", "/db/neo4j/cluster/read-only").status, 404);
    EXPECT_NE(members[odd].http->metrics().find("nornicdb_state_digest_mismatches_total 1"), std::string::npos);
    EXPECT_NE(members[odd].http->metrics().find("nornicdb_replication_quarantined 1"), std::string::npos);
    EXPECT_NE(leader()->http->metrics().find("nornicdb_state_digest_comparisons_total "), std::string::npos);
    const std::string odd_address = members[odd].instance->bolt_address();
    for (DataMember& member : members) {
        if (member.instance) {
            EXPECT_TRUE(soon([&] {
                const bolt::RoutingTable table = member.route();
                return std::ranges::none_of(table.servers, [&](const auto& server) {
                    return std::ranges::find(server.addresses, odd_address) != server.addresses.end();
                });
            }));
        }
    }
    EXPECT_EQ(leader()
                  ->admin("POST", "/admin/raft/transfer-leadership", fmt::format(R"({{"target": "{}"}})", id(odd)))
                  .status,
              400);
    // It still acknowledges: of three members it is one of the two that are left.
    const std::size_t other = 3 - odd - index_of(*leader());
    members[other].stop();
    EXPECT_TRUE(leader()->run("CREATE (:S)"));
    start(other);
    // A restart changes nothing.
    members[odd].stop();
    start(odd);
    EXPECT_TRUE(quarantined(odd));
    // Emptied, it is rebuilt.
    members[odd].stop();
    std::filesystem::remove_all(directory_ / std::to_string(odd));
    start(odd);
    ASSERT_TRUE(soon([&] { return ready(odd); })) << members[odd].http->ready().json;
    ASSERT_TRUE(soon([&] {
        const auto count = members[odd].run("MATCH (p:P) RETURN count(p)", reads);
        return count && count.value().rows[0][0].as_integer() == 200;
    }));
    ASSERT_TRUE(soon([&] { return members[odd].replication().at("state_compared_index").to_number<std::int64_t>() > 0; }));
    EXPECT_FALSE(quarantined(odd));
}

TEST_F(RaftGroupTest, ALeaderWhoseDataDiffersHandsOver) {
    everywhere_ = {{"NORNICDB_CLUSTER_RAFT_DIGEST_INTERVAL", "2s"}};
    form();
    ASSERT_TRUE(leader()->run("UNWIND range(1, 200) AS i CREATE (:P {n: i})"));
    const std::size_t odd = index_of(follower());
    ASSERT_TRUE(soon([&] { return members[odd].replication().at("state_compared_index").to_number<std::int64_t>() > 0; }));
    members[odd].stop();
    damage(odd);
    start(odd);
    // Before the next comparison, if this machine is quick.
    soon([&] {
        return leader() == &members[odd] || quarantined(odd) || members[odd].admin("POST", "/admin/promote").status == 200;
    });
    ASSERT_TRUE(soon([&] { return quarantined(odd) && leader() != nullptr; }));
    EXPECT_NE(leader(), &members[odd]);
    EXPECT_TRUE(leader()->run("CREATE (:Q)"));
}

TEST_F(RaftGroupTest, AWitnessVotesAndHoldsNothing) {
    start(0);
    start(1);
    auto opened = Witness::open(loaded(2, {{"NORNICDB_CLUSTER_RAFT_ROLE", "witness"}}), system_clock());
    ASSERT_TRUE(opened) << opened.error().message();
    witness_ = std::move(opened).value();
    ASSERT_TRUE(witness_->start("http-2:7474"));
    witness_->pool().start();
    ASSERT_TRUE(soon([&] { return leader() != nullptr && ready(0) && ready(1); }));
    ASSERT_TRUE(soon([&] { return status(*leader()).at("members").as_array().size() == 3; }));
    ASSERT_TRUE(soon([&] { return parsed(witness_->health()).at("replication").as_object().at("role") == "witness"; }));
    ASSERT_TRUE(leader()->run("CREATE (:P)"));
    const http::Document refused = leader()->admin("POST", "/admin/raft/transfer-leadership", R"({"target": "node-2"})");
    EXPECT_EQ(refused.status, 400) << refused.json;
    // With its voice the other one leads.
    DataMember& other = follower();
    leader()->stop();
    ASSERT_TRUE(soon([&] { return other.instance->replica().term() != Term{0}; }));
    const auto written = other.run("CREATE (:P)");
    EXPECT_TRUE(written) << written.error().message();
    EXPECT_EQ(addresses(other.route(), "READ").size(), 1U);
}

TEST_F(RaftGroupTest, AGroupBegunAnewFromOneMemberRefusesTheOthersUntilTheyAreEmptied) {
    form();
    ASSERT_TRUE(leader()->run("CREATE (:P {n: 1})"));
    const std::string before = members[0].instance->history();
    ASSERT_TRUE(soon([&] { return members[1].instance->engine().applied_index() == leader()->instance->engine().applied_index(); }));
    for (DataMember& member : members) {
        member.stop();
    }
    {
        std::istringstream no{"yes\n"};
        std::ostringstream said;
        EXPECT_EQ(recover(loaded(1).settings, false, no, said), 1);
        for (const char* word : {"node-0 at ", "node-2 at ", "LOST", "node-1", "Nothing was changed"}) {
            EXPECT_NE(said.str().find(word), std::string::npos) << word << "\n" << said.str();
        }
    }
    // As if a run before had been interrupted.
    ASSERT_TRUE(replace_file(recovery_mark(loaded(1).settings.data_directory), ""));
    std::istringstream yes{"node-1\n"};
    std::ostringstream said;
    ASSERT_EQ(recover(loaded(1).settings, false, yes, said), 0) << said.str();

    // Old members that have a majority of the old group among them change nothing for the new one, nor it for them.
    start(1);
    ASSERT_TRUE(soon([&] { return members[1].instance->replica().term() != Term{0}; }));
    EXPECT_NE(members[1].instance->history(), before);
    EXPECT_EQ(members[1].run("MATCH (p:P) RETURN p.n").value().rows.size(), 1U);
    start(0);
    start(2);
    ASSERT_TRUE(soon([&] { return members[0].instance->replica().term() != Term{0} || members[2].instance->replica().term() != Term{0}; }));
    const Term term = members[1].instance->replica().term();
    ASSERT_TRUE(members[1].run("CREATE (:P {n: 2})"));
    EXPECT_EQ(members[1].instance->replica().term(), term);
    EXPECT_EQ(members[0].instance->history(), before);
    members[2].stop();
    ASSERT_TRUE(soon([&] { return members[0].replication().at("state") == "foreign_data"; })) << members[0].http->health().json;
    EXPECT_NE(members[0].replication().at("reason").as_string().find("empty"), std::string::npos);
    const auto added = members[1].run(fmt::format("CALL db.bolt.addRaftNode('node-0', '127.0.0.1', 1, {})", ports_[0]));
    EXPECT_TRUE(added) << added.error().message();
    EXPECT_EQ(members[1].instance->replica().term(), term);
    EXPECT_EQ(members[0].instance->history(), before);

    // Emptied, it is a member as any other.
    members[0].stop();
    std::filesystem::remove_all(directory_ / "0");
    start(0);
    ASSERT_TRUE(soon([&] { return ready(0) && members[0].instance->history() == members[1].instance->history(); }))
        << members[0].http->health().json;
    bolt::TransactionOptions reads;
    reads.mode = AccessMode::kRead;
    EXPECT_EQ(members[0].run("MATCH (p:P) RETURN count(p)", reads).value().rows[0][0].as_integer(), 2);
}

TEST_F(RaftGroupTest, RecoveryTakesAStoppedMemberOfAGroupAndNothingElse) {
    form();
    const auto running = Recovery::open(loaded(0).settings, system_clock());
    EXPECT_FALSE(running);
    const auto nothing = Recovery::open(loaded(3).settings, system_clock());
    ASSERT_FALSE(nothing);
    EXPECT_NE(nothing.error().message().find("node.json"), std::string::npos);
    members[3].stop();
    start(3, {{"NORNICDB_CLUSTER_MODE", "standalone"}});
    members[3].stop();
    const auto alone = Recovery::open(loaded(3).settings, system_clock());
    ASSERT_FALSE(alone);
    EXPECT_NE(alone.error().message().find("no Raft group"), std::string::npos) << alone.error().message();
}

}  // namespace
}  // namespace nornic::server
