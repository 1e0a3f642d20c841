#include "env/settings.h"

#include <gtest/gtest.h>

#include <fstream>

namespace nornic::env {
namespace {

Source with(std::map<std::string, std::string> environment) {
    Source source;
    source.environment = std::move(environment);
    return source;
}

TEST(Settings, DefaultsAreThoseOfTheReference) {
    const auto loaded = load({});
    ASSERT_TRUE(loaded) << loaded.error().message();
    const Settings& s = loaded.value().settings;
    EXPECT_EQ(s.address, "127.0.0.1");
    EXPECT_EQ(s.bolt_port, 7687);
    EXPECT_EQ(s.http_port, 7474);
    EXPECT_EQ(s.auth_user, "admin");
    EXPECT_EQ(s.auth_password, "admin");
    EXPECT_EQ(s.cluster.mode, "standalone");
    EXPECT_EQ(s.cluster.raft_election_timeout, std::chrono::seconds{1});
    EXPECT_EQ(s.cluster.raft_snapshot_interval, std::chrono::seconds{300});
    EXPECT_EQ(s.cluster.raft_digest_interval, std::chrono::hours{1});
    EXPECT_EQ(s.cluster.ha_heartbeat, std::chrono::milliseconds{1000});
    EXPECT_TRUE(loaded.value().warnings.empty());
}

struct BadCase {
    const char* name;
    std::map<std::string, std::string> environment;
    std::vector<std::string> words;  // all stand in the one line
};

class BadSettings : public testing::TestWithParam<BadCase> {};

TEST_P(BadSettings, StopTheStartWithOneLineThatNamesThem) {
    const auto loaded = load(with(GetParam().environment));
    ASSERT_FALSE(loaded);
    const std::string& line = loaded.error().message();
    EXPECT_EQ(line.find('\n'), std::string::npos);
    for (const std::string& word : GetParam().words) {
        EXPECT_NE(line.find(word), std::string::npos) << line << " lacks " << word;
    }
}

INSTANTIATE_TEST_SUITE_P(
    All,
    BadSettings,
    testing::Values(
        BadCase{
            "port", {{"NORNICDB_BOLT_PORT", "70000"}}, {"NORNICDB_BOLT_PORT", "70000", "65535"}},
        BadCase{"port_text", {{"NORNICDB_HTTP_PORT", "http"}}, {"NORNICDB_HTTP_PORT", "http"}},
        BadCase{"same_port",
                {{"NORNICDB_HTTP_PORT", "7687"}},
                {"NORNICDB_HTTP_PORT", "NORNICDB_BOLT_PORT"}},
        BadCase{"mode",
                {{"NORNICDB_CLUSTER_MODE", "paxos"}},
                {"NORNICDB_CLUSTER_MODE", "paxos", "raft"}},
        BadCase{"unknown_cluster_name",
                {{"NORNICDB_CLUSTER_RAFT_ELECTION", "1s"}},
                {"NORNICDB_CLUSTER_RAFT_ELECTION"}},
        BadCase{"election",
                {{"NORNICDB_CLUSTER_RAFT_ELECTION_TIMEOUT", "150ms"}},
                {"election timeout must exceed 2 × heartbeat timeout"}},
        BadCase{"raft_peer_text",
                {{"NORNICDB_CLUSTER_MODE", "raft"}, {"NORNICDB_CLUSTER_RAFT_PEERS", "node-2"}},
                {"NORNICDB_CLUSTER_RAFT_PEERS", "'node-2'", "id:host:port"}},
        BadCase{"raft_peer_port",
                {{"NORNICDB_CLUSTER_MODE", "raft"}, {"NORNICDB_CLUSTER_RAFT_PEERS", "node-2:b:0"}},
                {"NORNICDB_CLUSTER_RAFT_PEERS", "node-2:b:0"}},
        BadCase{"raft_peer_bare_v6",
                {{"NORNICDB_CLUSTER_MODE", "raft"}, {"NORNICDB_CLUSTER_RAFT_PEERS", "::1:7688"}},
                {"NORNICDB_CLUSTER_RAFT_PEERS", "around an IPv6"}},
        BadCase{"raft_peer_twice",
                {{"NORNICDB_CLUSTER_MODE", "raft"}, {"NORNICDB_CLUSTER_RAFT_PEERS", "x:b:1,x:c:1"}},
                {"NORNICDB_CLUSTER_RAFT_PEERS", "'x' twice"}},
        BadCase{"raft_address_twice",
                {{"NORNICDB_CLUSTER_MODE", "raft"}, {"NORNICDB_CLUSTER_RAFT_PEERS", "x:b:1,y:b:1"}},
                {"NORNICDB_CLUSTER_RAFT_PEERS", "b:1 twice"}},
        BadCase{"raft_own_address",
                {{"NORNICDB_CLUSTER_MODE", "raft"}, {"NORNICDB_CLUSTER_NODE_ID", "a"}, {"NORNICDB_CLUSTER_ADVERTISE_ADDR", "a:1"}, {"NORNICDB_CLUSTER_RAFT_PEERS", "b:a:1"}},
                {"NORNICDB_CLUSTER_RAFT_PEERS", "own address", "'b'"}},
        BadCase{"raft_eight_voters",
                {{"NORNICDB_CLUSTER_MODE", "raft"}, {"NORNICDB_CLUSTER_RAFT_PEERS", "b:1,c:1,d:1,e:1,f:1,g:1,h:1"}},
                {"NORNICDB_CLUSTER_RAFT_PEERS", "at most 7"}},
        BadCase{"raft_name",
                {{"NORNICDB_CLUSTER_MODE", "raft"}, {"NORNICDB_CLUSTER_NODE_ID", "a:b"}},
                {"NORNICDB_CLUSTER_NODE_ID", "colon"}},
        BadCase{"raft_witness_bootstraps",
                {{"NORNICDB_CLUSTER_MODE", "raft"}, {"NORNICDB_CLUSTER_RAFT_ROLE", "witness"}, {"NORNICDB_CLUSTER_RAFT_BOOTSTRAP", "true"}},
                {"NORNICDB_CLUSTER_RAFT_ROLE", "BOOTSTRAP"}},
        BadCase{"raft_bootstraps_and_joins",
                {{"NORNICDB_CLUSTER_MODE", "raft"}, {"NORNICDB_CLUSTER_RAFT_JOIN", "a:1"}, {"NORNICDB_CLUSTER_RAFT_BOOTSTRAP", "true"}},
                {"NORNICDB_CLUSTER_RAFT_JOIN", "one of both"}},
        BadCase{"raft_join",
                {{"NORNICDB_CLUSTER_MODE", "raft"}, {"NORNICDB_CLUSTER_RAFT_JOIN", "a"}},
                {"NORNICDB_CLUSTER_RAFT_JOIN", "host:port"}},
        BadCase{"raft_heartbeat",
                {{"NORNICDB_CLUSTER_MODE", "raft"}, {"NORNICDB_CLUSTER_RAFT_HEARTBEAT_TIMEOUT", "1ms"}},
                {"NORNICDB_CLUSTER_RAFT_HEARTBEAT_TIMEOUT", "at least 5ms"}},
        BadCase{"duration",
                {{"NORNICDB_CLUSTER_HA_FAILOVER_TIMEOUT", "soon"}},
                {"NORNICDB_CLUSTER_HA_FAILOVER_TIMEOUT", "soon", "30s"}},
        BadCase{"size",
                {{"NORNICDB_CACHE_SIZE", "12 parsecs"}},
                {"NORNICDB_CACHE_SIZE", "12 parsecs", "MiB"}},
        BadCase{"small_cache", {{"NORNICDB_CACHE_SIZE", "1k"}}, {"NORNICDB_CACHE_SIZE", "16MiB"}},
        BadCase{"auth", {{"NORNICDB_AUTH", "admin"}}, {"NORNICDB_AUTH", "none"}},
        BadCase{"role",
                {{"NORNICDB_CLUSTER_MODE", "ha_standby"}, {"NORNICDB_CLUSTER_HA_PEER_ADDR", "b:1"}},
                {"NORNICDB_CLUSTER_HA_ROLE"}},
        BadCase{"peer",
                {{"NORNICDB_CLUSTER_MODE", "ha_standby"},
                 {"NORNICDB_CLUSTER_HA_ROLE", "primary"},
                 {"NORNICDB_CLUSTER_HA_PEER_ADDR", "a:1,b:2"}},
                {"NORNICDB_CLUSTER_HA_PEER_ADDR", "a:1,b:2", "one host:port"}},
        BadCase{"peer_address",
                {{"NORNICDB_CLUSTER_HA_PEER_ADDR", "a:1,b"}},
                {"NORNICDB_CLUSTER_HA_PEER_ADDR", "a:1,b", "host:port"}},
        BadCase{"witness_peers",
                {{"NORNICDB_CLUSTER_MODE", "ha_standby"},
                 {"NORNICDB_CLUSTER_HA_ROLE", "witness"},
                 {"NORNICDB_CLUSTER_HA_PEER_ADDR", "a:1"}},
                {"NORNICDB_CLUSTER_HA_PEER_ADDR", "a:1", "both"}},
        BadCase{"witness_policy",
                {{"NORNICDB_CLUSTER_MODE", "ha_standby"},
                 {"NORNICDB_CLUSTER_HA_ROLE", "standby"},
                 {"NORNICDB_CLUSTER_HA_PEER_ADDR", "a:1"},
                 {"NORNICDB_CLUSTER_HA_FENCE_POLICY", "witness"}},
                {"NORNICDB_CLUSTER_HA_FENCE_POLICY", "NORNICDB_CLUSTER_HA_WITNESS_ADDR"}},
        BadCase{"witness_is_peer",
                {{"NORNICDB_CLUSTER_MODE", "ha_standby"},
                 {"NORNICDB_CLUSTER_HA_ROLE", "standby"},
                 {"NORNICDB_CLUSTER_HA_PEER_ADDR", "a:1"},
                 {"NORNICDB_CLUSTER_HA_WITNESS_ADDR", "a:1"}},
                {"NORNICDB_CLUSTER_HA_WITNESS_ADDR", "a:1", "third"}},
        BadCase{"failover",
                {{"NORNICDB_CLUSTER_MODE", "ha_standby"},
                 {"NORNICDB_CLUSTER_HA_ROLE", "primary"},
                 {"NORNICDB_CLUSTER_HA_PEER_ADDR", "a:1"},
                 {"NORNICDB_CLUSTER_HA_FAILOVER_TIMEOUT", "3s"}},
                {"NORNICDB_CLUSTER_HA_FAILOVER_TIMEOUT", "3000ms", "must exceed 3 × heartbeat"}},
        BadCase{"heartbeat",
                {{"NORNICDB_CLUSTER_MODE", "ha_standby"},
                 {"NORNICDB_CLUSTER_HA_ROLE", "primary"},
                 {"NORNICDB_CLUSTER_HA_PEER_ADDR", "a:1"},
                 {"NORNICDB_CLUSTER_HA_HEARTBEAT_MS", "1"}},
                {"NORNICDB_CLUSTER_HA_HEARTBEAT_MS", "at least 10"}},
        BadCase{"cluster_port",
                {{"NORNICDB_CLUSTER_MODE", "ha_standby"},
                 {"NORNICDB_CLUSTER_HA_ROLE", "primary"},
                 {"NORNICDB_CLUSTER_HA_PEER_ADDR", "a:1"},
                 {"NORNICDB_CLUSTER_BIND_ADDR", "0.0.0.0:7687"}},
                {"NORNICDB_CLUSTER_BIND_ADDR", "NORNICDB_BOLT_PORT"}},
        BadCase{"cluster_tls",
                {{"NORNICDB_CLUSTER_MODE", "ha_standby"},
                 {"NORNICDB_CLUSTER_HA_ROLE", "primary"},
                 {"NORNICDB_CLUSTER_HA_PEER_ADDR", "a:1"},
                 {"NORNICDB_CLUSTER_TLS_ENABLED", "true"}},
                {"NORNICDB_CLUSTER_TLS_CERT_FILE"}},
        BadCase{"cluster_tls_file",
                {{"NORNICDB_CLUSTER_MODE", "ha_standby"},
                 {"NORNICDB_CLUSTER_HA_ROLE", "primary"},
                 {"NORNICDB_CLUSTER_HA_PEER_ADDR", "a:1"},
                 {"NORNICDB_CLUSTER_TLS_ENABLED", "true"},
                 {"NORNICDB_CLUSTER_TLS_CERT_FILE", "/no/such.pem"},
                 {"NORNICDB_CLUSTER_TLS_KEY_FILE", "/no/such.pem"}},
                {"NORNICDB_CLUSTER_TLS_CERT_FILE", "/no/such.pem", "can be read"}},
        BadCase{"secret_file",
                {{"NORNICDB_CLUSTER_REPLICATION_SECRET_FILE", "/no/such/secret"}},
                {"NORNICDB_CLUSTER_REPLICATION_SECRET_FILE", "/no/such/secret"}},
        BadCase{
            "region", {{"NORNICDB_CLUSTER_MODE", "multi_region"}}, {"NORNICDB_CLUSTER_REGION_ID"}},
        BadCase{"region_name",
                {{"NORNICDB_CLUSTER_MODE", "multi_region"}, {"NORNICDB_CLUSTER_REGION_ID", "eu west"}},
                {"NORNICDB_CLUSTER_REGION_ID='eu west'", "63"}},
        BadCase{"remote_region",
                {{"NORNICDB_CLUSTER_MODE", "multi_region"},
                 {"NORNICDB_CLUSTER_REGION_ID", "us"},
                 {"NORNICDB_CLUSTER_REMOTE_REGIONS", "eu:a:1,b:2"}},
                {"NORNICDB_CLUSTER_REMOTE_REGIONS", "'b:2'", "region:host:port"}},
        BadCase{"remote_region_name",
                {{"NORNICDB_CLUSTER_MODE", "multi_region"},
                 {"NORNICDB_CLUSTER_REGION_ID", "us"},
                 {"NORNICDB_CLUSTER_REMOTE_REGIONS", "e/u:a:1"}},
                {"NORNICDB_CLUSTER_REMOTE_REGIONS", "'e/u'"}},
        BadCase{"own_region",
                {{"NORNICDB_CLUSTER_MODE", "multi_region"},
                 {"NORNICDB_CLUSTER_REGION_ID", "us"},
                 {"NORNICDB_CLUSTER_REMOTE_REGIONS", "eu:a:1,us:b:2"}},
                {"NORNICDB_CLUSTER_REMOTE_REGIONS", "'us:b:2'", "this region itself"}},
        BadCase{"remote_region_twice",
                {{"NORNICDB_CLUSTER_MODE", "multi_region"},
                 {"NORNICDB_CLUSTER_REGION_ID", "us"},
                 {"NORNICDB_CLUSTER_REMOTE_REGIONS", "eu:a:1,ap:a:1"}},
                {"NORNICDB_CLUSTER_REMOTE_REGIONS", "a:1 twice"}},
        BadCase{"remote_region_here",
                {{"NORNICDB_CLUSTER_MODE", "multi_region"},
                 {"NORNICDB_CLUSTER_REGION_ID", "us"},
                 {"NORNICDB_CLUSTER_RAFT_PEERS", "n2:b:2"},
                 {"NORNICDB_CLUSTER_REMOTE_REGIONS", "eu:b:2"}},
                {"NORNICDB_CLUSTER_REMOTE_REGIONS", "'eu:b:2'", "this region"}},
        BadCase{"region_timeout",
                {{"NORNICDB_CLUSTER_MODE", "multi_region"},
                 {"NORNICDB_CLUSTER_REGION_ID", "us"},
                 {"NORNICDB_CLUSTER_CROSS_REGION_TIMEOUT", "1ms"}},
                {"NORNICDB_CLUSTER_CROSS_REGION_TIMEOUT", "10ms"}},
        BadCase{"region_fallback",
                {{"NORNICDB_CLUSTER_CROSS_REGION_FALLBACK", "panic"}},
                {"NORNICDB_CLUSTER_CROSS_REGION_FALLBACK", "degrade or refuse"}},
        BadCase{"secret",
                {{"NORNICDB_CLUSTER_REPLICATION_SECRET", "short"}},
                {"NORNICDB_CLUSTER_REPLICATION_SECRET", "32"}},
        BadCase{"address",
                {{"NORNICDB_CLUSTER_BIND_ADDR", "7688"}},
                {"NORNICDB_CLUSTER_BIND_ADDR", "host:port"}},
        BadCase{"tls", {{"NORNICDB_BOLT_TLS_ENABLED", "true"}}, {"NORNICDB_BOLT_TLS_CERT"}},
        BadCase{
            "tls_require", {{"NORNICDB_HTTP_TLS_REQUIRE", "true"}}, {"NORNICDB_HTTP_TLS_ENABLED"}}),
    [](const auto& info) { return std::string{info.param.name}; });

TEST(Settings, SecretsAreNotRepeatedInErrors) {
    const auto loaded = load(with({{"NORNICDB_AUTH", "hunter2hunter2"}}));
    ASSERT_FALSE(loaded);
    EXPECT_EQ(loaded.error().message().find("hunter2"), std::string::npos);
}

TEST(Settings, WhatHotStandbyIsNotToldFollowsFromTheRest) {
    std::map<std::string, std::string> environment = {{"NORNICDB_CLUSTER_MODE", "ha_standby"},
                                                      {"NORNICDB_CLUSTER_HA_ROLE", "primary"},
                                                      {"NORNICDB_CLUSTER_HA_PEER_ADDR", "b:7688"}};
    const auto plain = load(with(environment));
    ASSERT_TRUE(plain) << plain.error().message();
    EXPECT_EQ(plain.value().settings.cluster.ha_fence_policy, "available");
    EXPECT_EQ(plain.value().settings.cluster.ha_sync_timeout, std::chrono::seconds{5});
    environment["NORNICDB_CLUSTER_HA_WITNESS_ADDR"] = "w:7688";
    environment["NORNICDB_CLUSTER_HA_FAILOVER_TIMEOUT"] = "6s";
    const auto witnessed = load(with(environment));
    ASSERT_TRUE(witnessed) << witnessed.error().message();
    EXPECT_EQ(witnessed.value().settings.cluster.ha_fence_policy, "witness");
    EXPECT_EQ(witnessed.value().settings.cluster.ha_sync_timeout, std::chrono::seconds{2});
    environment = {{"NORNICDB_CLUSTER_MODE", "ha_standby"}, {"NORNICDB_CLUSTER_HA_ROLE", "witness"}};
    EXPECT_TRUE(load(with(environment)));
    environment["NORNICDB_CLUSTER_HA_PEER_ADDR"] = "a:7688, b:7688";
    EXPECT_TRUE(load(with(environment)));
}

TEST(Settings, TheSecretOfAFileIsReadWithoutItsNewlineAndHeldToTheSameLength) {
    const std::string path = testing::TempDir() + "/nornic_settings_secret";
    std::ofstream{path} << "0123456789abcdef0123456789abcdef\n";
    const auto loaded = load(with({{"NORNICDB_CLUSTER_REPLICATION_SECRET_FILE", path}}));
    ASSERT_TRUE(loaded) << loaded.error().message();
    EXPECT_EQ(loaded.value().settings.cluster.replication_secret, "0123456789abcdef0123456789abcdef");
    std::ofstream{path} << "short\n";
    const auto weak = load(with({{"NORNICDB_CLUSTER_REPLICATION_SECRET_FILE", path}}));
    ASSERT_FALSE(weak);
    EXPECT_NE(weak.error().message().find("at least 32"), std::string::npos) << weak.error().message();
    EXPECT_EQ(weak.error().message().find("short"), std::string::npos);
    const auto both = load(with({{"NORNICDB_CLUSTER_REPLICATION_SECRET_FILE", path},
                                 {"NORNICDB_CLUSTER_REPLICATION_SECRET", "0123456789abcdef0123456789abcdef"}}));
    EXPECT_FALSE(both);
}

TEST(Settings, RaftPeersAreTheOthersWithTheirNamesWhereTheyAreGiven) {
    const auto loaded = load(with({{"NORNICDB_CLUSTER_MODE", "raft"},
                                   {"NORNICDB_CLUSTER_NODE_ID", "node-1"},
                                   {"NORNICDB_CLUSTER_ADVERTISE_ADDR", "node1:7688"},
                                   {"NORNICDB_CLUSTER_RAFT_PEERS",
                                    "node-1:10.0.0.1:7688, node-2:node2:7688,node3:7688,node1:7688,v6:[::1]:9,[fe80::1]:9"},
                                   {"NORNICDB_CLUSTER_RAFT_BOOTSTRAP", "true"}}));
    ASSERT_TRUE(loaded) << loaded.error().message();
    const std::vector<RaftPeerAddress> wanted = {
        {"node-2", "node2:7688"}, {"", "node3:7688"}, {"v6", "[::1]:9"}, {"", "[fe80::1]:9"}};
    EXPECT_EQ(loaded.value().settings.cluster.raft_peer_list, wanted);
}

TEST(Settings, ACopyThatWouldNeverEndIsRefused) {
    const auto at_rate = [](const char* rate) {
        return load(with({{"NORNICDB_CLUSTER_MODE", "raft"}, {"NORNICDB_CLUSTER_SNAPSHOT_RATE", rate}}));
    };
    EXPECT_TRUE(at_rate("1MiB")) << at_rate("1MiB").error().message();
    for (const char* rate : {"0", "1023KiB"}) {
        ASSERT_FALSE(at_rate(rate)) << rate;
        EXPECT_NE(at_rate(rate).error().message().find("at least 1MiB"), std::string::npos) << at_rate(rate).error().message();
    }
}

TEST(Settings, NamesThatNoPeerWouldTakeAreRefused) {
    for (const char* setting : {"NORNICDB_CLUSTER_NODE_ID", "NORNICDB_CLUSTER_RAFT_CLUSTER_ID"}) {
        const auto with_name = [&](std::size_t bytes) {
            return load(with({{"NORNICDB_CLUSTER_MODE", "raft"}, {setting, std::string(bytes, 'n')}, {"NORNICDB_CLUSTER_RAFT_BOOTSTRAP", "true"}}));
        };
        EXPECT_TRUE(with_name(255)) << with_name(255).error().message();
        const auto refused = with_name(256);
        ASSERT_FALSE(refused) << setting;
        EXPECT_NE(refused.error().message().find(setting), std::string::npos) << refused.error().message();
    }
}

TEST(Settings, SeveralEntriesOfARegionAreItsAddressesAndItsOwnGroupIsThatOfRaft) {
    const auto loaded = load(with({{"NORNICDB_CLUSTER_MODE", "multi_region"},
                                   {"NORNICDB_CLUSTER_REGION_ID", "us-east.1_a"},
                                   {"NORNICDB_CLUSTER_RAFT_PEERS", "n2:b:2"},
                                   {"NORNICDB_CLUSTER_REMOTE_REGIONS", "eu:a:1, ap:[::1]:9,eu:c:3"},
                                   {"NORNICDB_CLUSTER_REGION_CLOCK_OFFSET_MAX", "250ms"}}));
    ASSERT_TRUE(loaded) << loaded.error().message();
    const ClusterSettings& c = loaded.value().settings.cluster;
    const std::vector<RemoteRegionAddresses> wanted = {{"eu", {"a:1", "c:3"}}, {"ap", {"[::1]:9"}}};
    EXPECT_EQ(c.remote_region_list, wanted);
    EXPECT_EQ(c.raft_peer_list, (std::vector<RaftPeerAddress>{{"n2", "b:2"}}));
    EXPECT_EQ(c.cross_region_timeout, std::chrono::seconds{1});
    EXPECT_EQ(c.cross_region_fallback, "degrade");
    EXPECT_EQ(c.region_clock_offset_max, std::chrono::milliseconds{250});
}

TEST(Settings, ARegionMayBeginAlone) {
    const auto loaded = load(with({{"NORNICDB_CLUSTER_MODE", "multi_region"}, {"NORNICDB_CLUSTER_REGION_ID", "us"}}));
    ASSERT_TRUE(loaded) << loaded.error().message();
    EXPECT_TRUE(loaded.value().settings.cluster.remote_region_list.empty());
}

TEST(Settings, AMemberThatJoinsLeavesItselfOut) {
    const auto loaded = load(with({{"NORNICDB_CLUSTER_MODE", "raft"},
                                   {"NORNICDB_CLUSTER_ADVERTISE_ADDR", "node4:7688"},
                                   {"NORNICDB_CLUSTER_RAFT_JOIN", "node1:7688,node4:7688"},
                                   {"NORNICDB_CLUSTER_RAFT_ROLE", "learner"}}));
    ASSERT_TRUE(loaded) << loaded.error().message();
    EXPECT_EQ(loaded.value().settings.cluster.raft_join_list, std::vector<std::string>{"node1:7688"});
}

TEST(Settings, UnknownNamesOutsideTheClusterAreOneWarning) {
    const auto loaded = load(with({{"NORNICDB_EMBEDDING_URL", "x"}, {"NORNICDB_GPU", "1"}}));
    ASSERT_TRUE(loaded);
    ASSERT_EQ(loaded.value().warnings.size(), 1U);
    EXPECT_NE(loaded.value().warnings[0].find("NORNICDB_EMBEDDING_URL, NORNICDB_GPU"),
              std::string::npos);
}

TEST(Settings, TheCommandLineBeatsTheEnvironmentBeatsTheFile) {
    const std::string path = testing::TempDir() + "/nornic_settings_test.conf";
    std::ofstream{path}
        << "# comment\nNORNICDB_BOLT_PORT=1\nNORNICDB_HTTP_PORT=2\nNORNICDB_MAX_TRANSACTIONS=3\n";
    Source source;
    source.config_file = path;
    source.environment = {{"NORNICDB_HTTP_PORT", "20"}, {"NORNICDB_MAX_TRANSACTIONS", "30"}};
    source.command_line = {{"NORNICDB_MAX_TRANSACTIONS", "300"}};
    const auto loaded = load(source);
    ASSERT_TRUE(loaded) << loaded.error().message();
    EXPECT_EQ(loaded.value().settings.bolt_port, 1);
    EXPECT_EQ(loaded.value().settings.http_port, 20);
    EXPECT_EQ(loaded.value().settings.transactions_max, 300);
}

TEST(Settings, AMissingConfigFileIsNamed) {
    Source source;
    source.config_file = "/no/such/file";
    const auto loaded = load(source);
    ASSERT_FALSE(loaded);
    EXPECT_NE(loaded.error().message().find("/no/such/file"), std::string::npos);
}

TEST(Settings, AFolderIsNoEmptyConfigFile) {
    Source source;
    source.config_file = testing::TempDir();
    const auto loaded = load(source);
    ASSERT_FALSE(loaded);
    EXPECT_NE(loaded.error().message().find(testing::TempDir()), std::string::npos);
}

TEST(Settings, AuthTakesBothSeparators) {
    for (const char* text : {"neo4j/secret:x", "neo4j:secret:x"}) {
        const auto loaded = load(with({{"NORNICDB_AUTH", text}}));
        ASSERT_TRUE(loaded);
        EXPECT_EQ(loaded.value().settings.auth_user, "neo4j");
        EXPECT_EQ(loaded.value().settings.auth_password, "secret:x");
    }
    const auto off = load(with({{"NORNICDB_AUTH", "none"}}));
    ASSERT_TRUE(off);
    EXPECT_FALSE(off.value().settings.auth_enabled);
}

TEST(Parse, DurationsSizesAndAddresses) {
    EXPECT_EQ(parse_duration("1.5s", std::chrono::seconds{1}).value(),
              std::chrono::milliseconds{1500});
    EXPECT_EQ(parse_duration("250", std::chrono::milliseconds{1}).value(),
              std::chrono::milliseconds{250});
    EXPECT_FALSE(parse_duration("", std::chrono::seconds{1}));
    EXPECT_FALSE(parse_duration("5 fortnights", std::chrono::seconds{1}));
    EXPECT_FALSE(parse_duration("99999999999999h", std::chrono::seconds{1}));
    EXPECT_EQ(parse_bytes("1KiB").value(), 1024U);
    EXPECT_EQ(parse_bytes("2g").value(), std::uint64_t{2} << 30);
    EXPECT_FALSE(parse_bytes("1q"));
    EXPECT_EQ(parse_host_port("[::1]:7687")->first, "::1");
    EXPECT_FALSE(parse_host_port("::1:7687"));
    EXPECT_FALSE(parse_host_port("[[x]:1"));
    EXPECT_FALSE(parse_host_port("host:"));
    EXPECT_FALSE(parse_host_port("host:99999"));
    EXPECT_EQ(split_list(" a:1, b:2 ,,"), (std::vector<std::string>{"a:1", "b:2"}));
    EXPECT_TRUE(split_list("").empty());
}

}  // namespace
}  // namespace nornic::env
