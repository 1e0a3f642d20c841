// Routing policies and tags as operators write them: read into rules, or refused with one line that says what is wrong.
#include "env/settings.h"

#include <gtest/gtest.h>

namespace nornic::env {
namespace {

Result<Loaded> load_with(std::map<std::string, std::string> environment) {
    Source source;
    source.environment = std::move(environment);
    return load(source);
}

std::string refusal(const std::string& policies) {
    const auto loaded = load_with({{"NORNICDB_CLUSTER_ROUTING_POLICIES", policies}});
    return loaded ? std::string{} : loaded.error().message();
}

TEST(Routing, PoliciesAreRulesOfSteps) {
    const auto loaded = load_with(
        {{"NORNICDB_CLUSTER_ROUTING_POLICIES", "eu = tags(eu, eu-west)->min(2); groups(us); all() | us=tags(us);halt() | default = all();"},
         {"NORNICDB_CLUSTER_SERVER_TAGS", "eu,ssd"}});
    ASSERT_TRUE(loaded) << loaded.error().message();
    const ClusterSettings& cluster = loaded.value().settings.cluster;
    EXPECT_EQ(cluster.server_tag_list, (std::vector<std::string>{"eu", "ssd"}));
    ASSERT_EQ(cluster.routing_policy_list.size(), 3U);
    const RoutingPolicy& eu = cluster.routing_policy_list[0];
    EXPECT_EQ(eu.name, "eu");
    ASSERT_EQ(eu.rules.size(), 3U);
    ASSERT_EQ(eu.rules[0].size(), 2U);
    EXPECT_EQ(eu.rules[0][0].tags, (std::vector<std::string>{"eu", "eu-west"}));
    EXPECT_EQ(eu.rules[0][1].kind, RoutingStep::Kind::kMin);
    EXPECT_EQ(eu.rules[0][1].count, 2U);
    EXPECT_EQ(eu.rules[1][0].kind, RoutingStep::Kind::kTags);
    EXPECT_EQ(eu.rules[2][0].kind, RoutingStep::Kind::kAll);
    EXPECT_EQ(cluster.routing_policy_list[1].rules[1][0].kind, RoutingStep::Kind::kHalt);
    EXPECT_EQ(cluster.routing_policy_list[2].rules.size(), 1U);
}

TEST(Routing, WhatIsNoPolicyStopsTheStartAndIsNamed) {
    for (const char* bad : {"eu",
                            "= all()",
                            "eu = ",
                            "eu = tags()",
                            "eu = tags(a b)",
                            "eu = min(0)",
                            "eu = min(two)",
                            "eu = all(x)",
                            "eu = tags(a)->",
                            "eu = ; all()",
                            "eu = near(eu)",
                            "eu = halt(); all()",
                            "eu = tags(a)->halt()",
                            "eu = all() | eu = all()",
                            "eu = all() |"}) {
        EXPECT_NE(refusal(bad).find("NORNICDB_CLUSTER_ROUTING_POLICIES"), std::string::npos) << bad << ": " << refusal(bad);
    }
    EXPECT_NE(refusal("eu = tags(a); near(b)").find("'near(b)' in policy 'eu'"), std::string::npos);
    std::string many = "eu = all()";
    for (int i = 0; i < 100; ++i) {
        many += "->all()";
    }
    EXPECT_NE(refusal(many), "");
}

TEST(Routing, TagsAreNames) {
    const auto bad = load_with({{"NORNICDB_CLUSTER_SERVER_TAGS", "eu,not ok"}});
    ASSERT_FALSE(bad);
    EXPECT_NE(bad.error().message().find("NORNICDB_CLUSTER_SERVER_TAGS"), std::string::npos);
}

TEST(Routing, TheOneAddressIsAHostAndPortOrTheClientsOwn) {
    EXPECT_TRUE(load_with({{"NORNICDB_BOLT_ROUTING_ADDRESS", "graph.example:7687"}}));
    EXPECT_TRUE(load_with({{"NORNICDB_BOLT_ROUTING_ADDRESS", "client"}}));
    EXPECT_FALSE(load_with({{"NORNICDB_BOLT_ROUTING_ADDRESS", "graph.example"}}));
}

TEST(Routing, NamesOfNeo4jsConfigurationAreTaken) {
    Source source;
    source.command_line = {{"causal_clustering.server_groups", "eu"},
                           {"causal_clustering.load_balancing.config.server_policies.eu_only", "groups(eu); halt();"},
                           {"causal_clustering.load_balancing.config.server_policies.near", "groups(eu)->min(2); all();"}};
    const auto loaded = load(source);
    ASSERT_TRUE(loaded) << loaded.error().message();
    const ClusterSettings& cluster = loaded.value().settings.cluster;
    EXPECT_EQ(cluster.server_tag_list, std::vector<std::string>{"eu"});
    ASSERT_EQ(cluster.routing_policy_list.size(), 2U);
    EXPECT_EQ(cluster.routing_policy_list[0].name, "eu_only");
    EXPECT_EQ(cluster.routing_policy_list[1].name, "near");
    source.command_line = {{"causal_clustering.load_balancing.config.server_policies.", "all()"}};
    EXPECT_FALSE(is_foreign_name("causal_clustering.load_balancing.config.server_policies."));
}

}  // namespace
}  // namespace nornic::env
