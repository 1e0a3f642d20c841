// Policies: who of the members that could read is left.
#include "server/routing.h"

#include <gtest/gtest.h>

namespace nornic::server {
namespace {

env::RoutingPolicy policy(const std::string& rules) {
    env::Source source;
    source.environment = {{"NORNICDB_CLUSTER_ROUTING_POLICIES", "p = " + rules}};
    const auto loaded = env::load(source);
    EXPECT_TRUE(loaded) << loaded.error().message();
    return loaded ? loaded.value().settings.cluster.routing_policy_list.front() : env::RoutingPolicy{};
}

std::string left(const std::string& rules) {
    std::string out;
    for (const Candidate& one : apply(policy(rules), {{"a", {"eu"}}, {"b", {"us", "ssd"}}, {"c", {"eu", "ssd"}}, {"d", {}}})) {
        out += one.address;
    }
    return out;
}

TEST(RoutingPolicy, TheFirstRuleThatLeavesAnybodyCounts) {
    EXPECT_EQ(left("all()"), "abcd");
    EXPECT_EQ(left("tags(eu)"), "ac");
    EXPECT_EQ(left("groups(eu, us)"), "abc");
    EXPECT_EQ(left("tags(eu)->tags(ssd)"), "c");
    EXPECT_EQ(left("tags(eu)->min(2)"), "ac");
    EXPECT_EQ(left("tags(eu)->min(3); tags(us)"), "b");
    EXPECT_EQ(left("tags(asia); tags(us); all()"), "b");
}

TEST(RoutingPolicy, WhereNoRuleLeavesAnybodyAllAreLeftUnlessItHalts) {
    EXPECT_EQ(left("tags(asia)"), "abcd");
    EXPECT_EQ(left("tags(asia); halt()"), "");
    EXPECT_EQ(left("tags(us); halt()"), "b");
}

TEST(RoutingPolicy, AnUnknownOneIsRefusedWithACodeThatEndsTheSearch) {
    const std::vector<env::RoutingPolicy> policies{policy("tags(eu)")};
    EXPECT_EQ(find_policy(policies, "p").value(), policies.data());
    EXPECT_EQ(find_policy(policies, "").value(), nullptr);
    EXPECT_EQ(find_policy(policies, "default").value(), nullptr);
    const auto unknown = find_policy(policies, "q");
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().code(), ErrorCode::kArgumentError);
    EXPECT_EQ(unknown.error().message(), "Policy definition for 'q' could not be found");
}

TEST(RoutingPolicy, TheOneNamedDefaultIsForThoseThatNameNone) {
    std::vector<env::RoutingPolicy> policies{policy("tags(eu)")};
    policies[0].name = "default";
    EXPECT_EQ(find_policy(policies, "").value(), policies.data());
}

}  // namespace
}  // namespace nornic::server
