// Configurations of other servers: spec files and flags become NORNICDB_ settings, or one clear line.
#include "env/foreign_names.h"

#include "env/settings.h"

#include <gtest/gtest.h>

#include <fstream>

namespace nornic::env {
namespace {

constexpr const char* kPeers = R"([
    {"bolt_raft_node_id":1,"ip":"127.0.0.1","bolt_raft_port":8000,"bolt_port":7687},
    {"bolt_raft_node_id":2,"ip":"127.0.0.1","bolt_raft_port":8001,"bolt_port":7688},
    {"bolt_raft_node_id":3,"ip":"127.0.0.1","bolt_raft_port":8002,"bolt_port":7689}])";

std::string node_file(int id) {
    const std::string path = testing::TempDir() + "/nornic_foreign_" + std::to_string(id) + ".json";
    std::ofstream{path} << "\n{\n  \"host\": \"127.0.0.1\",\n  \"port\": 7070,\n  \"bolt_port\":" << 7686 + id
                        << ",\n  \"bolt_raft_port\":" << 7999 + id << ",\n  \"bolt_raft_node_id\":" << id
                        << ",\n  \"bolt_raft_init_peers\":" << kPeers << ",\n  \"verbose\": 1,\n  \"log_dir\": \"log\"\n}\n";
    return path;
}

bool is_local(const std::string& host) {
    return host == "172.22.224.15";
}

std::map<std::string, std::string> ha(std::map<std::string, std::string> more) {
    more.insert({{"enable_ha", "true"},
                 {"rpc_port", "9090"},
                 {"ha_conf", "172.22.224.15:9090,172.22.224.16:9090,172.22.224.17:9090"}});
    return more;
}

TEST(ForeignNames, TheNodeFilesOfABoltRaftClusterBecomeItsMembers) {
    for (const int id : {1, 2, 3}) {
        Source source;
        source.config_file = node_file(id);
        const auto loaded = load(source);
        ASSERT_TRUE(loaded) << loaded.error().message();
        const Settings& s = loaded.value().settings;
        EXPECT_EQ(s.cluster.mode, "raft");
        EXPECT_EQ(s.cluster.node_id, std::to_string(id));
        EXPECT_EQ(s.bolt_port, 7686 + id);
        EXPECT_EQ(s.http_port, 7070);
        EXPECT_TRUE(s.http_port_may_move);
        EXPECT_EQ(s.cluster.bind_address, "127.0.0.1:" + std::to_string(7999 + id));
        EXPECT_EQ(s.cluster.advertise_address, s.cluster.bind_address);
        EXPECT_EQ(s.bolt_advertise_address, "127.0.0.1:" + std::to_string(7686 + id));
        EXPECT_EQ(s.data_directory, "./data/node-" + std::to_string(id));
        EXPECT_EQ(s.cluster.raft_bootstrap, id == 1);
        EXPECT_EQ(s.cluster.raft_peer_list.size(), 2U);
        EXPECT_EQ(s.log_level, "info");
        EXPECT_EQ(s.log_directory, "log/node-" + std::to_string(id));
        EXPECT_TRUE(loaded.value().warnings.empty());
    }
}

TEST(ForeignNames, TheEnvironmentBeatsAForeignFileAndFlagsBeatBoth) {
    Source source;
    source.config_file = node_file(1);
    source.environment = {{"NORNICDB_DATA_DIR", "elsewhere"}, {"NORNICDB_HTTP_PORT", "7475"}};
    source.command_line = {{"port", "7476"}};
    const auto loaded = load(source);
    ASSERT_TRUE(loaded) << loaded.error().message();
    EXPECT_EQ(loaded.value().settings.data_directory, "elsewhere");
    EXPECT_EQ(loaded.value().settings.http_port, 7476);
    EXPECT_EQ(loaded.value().settings.bolt_port, 7687);
}

TEST(ForeignNames, FlagsCompleteWhatAFileBegan) {
    const std::string path = testing::TempDir() + "/nornic_foreign_lgraph.json";
    std::ofstream{path} << R"({"port": 7070, "rpc_port": 9090, "NORNICDB_BOLT_PORT": 7600})";
    Source source;
    source.config_file = path;
    source.command_line = {{"enable_ha", "true"}, {"ha_conf", "10.255.255.1:9090"}};
    const auto loaded = load(source);
    ASSERT_TRUE(loaded) << loaded.error().message();
    EXPECT_EQ(loaded.value().settings.cluster.mode, "raft");
    EXPECT_EQ(loaded.value().settings.cluster.bind_address, "0.0.0.0:9090");
    EXPECT_EQ(loaded.value().settings.cluster.raft_join_list, std::vector<std::string>{"10.255.255.1:9090"});
    EXPECT_EQ(loaded.value().settings.http_port, 7070);
    EXPECT_EQ(loaded.value().settings.bolt_port, 7600);
}

TEST(ForeignNames, AnInitialGroupIsMadeByTheFirstOfItsList) {
    auto first = map_foreign_names(ha({}), is_local);
    ASSERT_TRUE(first) << first.error().message();
    auto& settings = first.value().settings;
    EXPECT_EQ(settings["NORNICDB_CLUSTER_MODE"], "raft");
    EXPECT_EQ(settings["NORNICDB_CLUSTER_RAFT_BOOTSTRAP"], "true");
    EXPECT_EQ(settings["NORNICDB_CLUSTER_RAFT_PEERS"], "172.22.224.16:9090,172.22.224.17:9090");
    EXPECT_EQ(settings["NORNICDB_CLUSTER_ADVERTISE_ADDR"], "172.22.224.15:9090");
    auto second = map_foreign_names(ha({{"host", "172.22.224.16"}}), [](const std::string&) { return false; });
    ASSERT_TRUE(second) << second.error().message();
    EXPECT_FALSE(second.value().settings.contains("NORNICDB_CLUSTER_RAFT_BOOTSTRAP"));
    EXPECT_EQ(second.value().settings["NORNICDB_CLUSTER_RAFT_PEERS"], "172.22.224.15:9090,172.22.224.17:9090");
}

TEST(ForeignNames, TheBootstrapRoleSaysWhoseDataTheGroupHas) {
    auto leader = map_foreign_names(ha({{"ha_bootstrap_role", "1"}}), is_local);
    ASSERT_TRUE(leader);
    EXPECT_EQ(leader.value().settings["NORNICDB_CLUSTER_RAFT_BOOTSTRAP"], "true");
    auto follower = map_foreign_names(ha({{"ha_bootstrap_role", "2"}}), is_local);
    ASSERT_TRUE(follower);
    EXPECT_FALSE(follower.value().settings.contains("NORNICDB_CLUSTER_RAFT_BOOTSTRAP"));
    EXPECT_EQ(follower.value().settings["NORNICDB_CLUSTER_RAFT_JOIN"], "172.22.224.16:9090,172.22.224.17:9090");
}

TEST(ForeignNames, WitnessFlagsAreTaken) {
    auto witness = map_foreign_names(
        ha({{"ha_is_witness", "1"}, {"ha_enable_witness_to_leader", "1"}, {"ha_node_join_group_s", "60"}}),
        [](const std::string& host) { return host == "172.22.224.17"; });
    ASSERT_TRUE(witness) << witness.error().message();
    EXPECT_EQ(witness.value().settings["NORNICDB_CLUSTER_RAFT_ROLE"], "witness");
    EXPECT_EQ(witness.value().settings["NORNICDB_CLUSTER_RAFT_WITNESS_MAY_LEAD"], "true");
    EXPECT_EQ(witness.value().warnings.size(), 1U);
}

TEST(ForeignNames, HaSwitchedOffLeavesAStandaloneServer) {
    auto off = map_foreign_names({{"enable_ha", "false"}, {"rpc_port", "9090"}, {"ha_conf", "a:1,b:1"}, {"port", "7070"}});
    ASSERT_TRUE(off) << off.error().message();
    EXPECT_EQ(off.value().settings, (std::map<std::string, std::string>{{"NORNICDB_HTTP_PORT", "7070"}}));
}

TEST(ForeignNames, WhatCannotBeUsedIsOneLineThatNamesIt) {
    struct Case {
        std::map<std::string, std::string> values;
        std::vector<std::string> words;
    };
    for (const Case& c : std::vector<Case>{
             {{{"bolt_port", "seven"}}, {"bolt_port", "seven", "65535"}},
             {{{"bolt_raft_init_peers", "[]"}, {"bolt_raft_node_id", "1"}}, {"bolt_raft_init_peers", "a list of"}},
             {{{"bolt_raft_init_peers", R"([{"bolt_raft_node_id":1}])"}, {"bolt_raft_node_id", "1"}}, {"bolt_raft_init_peers"}},
             {{{"bolt_raft_init_peers", kPeers}}, {"bolt_raft_node_id"}},
             {{{"bolt_raft_init_peers", kPeers}, {"bolt_raft_node_id", "1"}, {"bolt_raft_port", "9"}}, {"bolt_raft_port", "8000"}},
             {{{"ha_conf", "a:1,b:1"}}, {"ha_conf", "enable_ha"}},
             {{{"ha_conf", "a"}, {"enable_ha", "true"}}, {"ha_conf", "host:port"}},
             {{{"ha_conf", "172.22.224.15:1"}, {"enable_ha", "true"}, {"rpc_port", "1"}}, {"ha_conf", "alone"}},
             {{{"ha_bootstrap_role", "3"}, {"enable_ha", "true"}}, {"ha_bootstrap_role", "0, 1 or 2"}},
             {ha({{"ha_is_witness", "1"}}), {"ha_conf", "witness"}},
         }) {
        const auto mapped = map_foreign_names(c.values, is_local);
        ASSERT_FALSE(mapped) << c.words[0];
        for (const std::string& word : c.words) {
            EXPECT_NE(mapped.error().message().find(word), std::string::npos) << mapped.error().message();
        }
    }
}

TEST(ForeignNames, AnUnknownNameInAJsonFileIsRefusedAndSoIsBrokenJson) {
    const std::string path = testing::TempDir() + "/nornic_foreign_bad.json";
    for (const char* text : {R"({"subgraph_max": 4})", R"({"port": )", "{} trailing"}) {
        std::ofstream{path} << text;
        Source source;
        source.config_file = path;
        const auto loaded = load(source);
        ASSERT_FALSE(loaded) << text;
        EXPECT_NE(loaded.error().message().find(path), std::string::npos) << loaded.error().message();
    }
}

TEST(ForeignNames, AMemberThatIsNotInTheListAsksToBeTakenIn) {
    auto fourth = map_foreign_names({{"bolt_raft_node_id", "4"}, {"bolt_raft_port", "60003"}, {"bolt_raft_init_peers", kPeers}});
    ASSERT_TRUE(fourth) << fourth.error().message();
    EXPECT_EQ(fourth.value().settings["NORNICDB_CLUSTER_RAFT_JOIN"], "127.0.0.1:8000,127.0.0.1:8001,127.0.0.1:8002");
    EXPECT_FALSE(fourth.value().settings.contains("NORNICDB_CLUSTER_RAFT_PEERS"));
}

}  // namespace
}  // namespace nornic::env
