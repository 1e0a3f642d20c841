// The test cluster itself: it forms, replicates, survives restarts, and its checks notice what they are for.
#include "tests/modes/raft/core_cluster.h"

#include <gtest/gtest.h>

namespace nornic::raft::testing {
namespace {

TEST(CoreCluster, FormsReplicatesAndGoesOnAfterARestart) {
    CoreCluster cluster{1};
    cluster.form({"a", "b", "c"});
    ASSERT_EQ(cluster.leader(), "a");
    ASSERT_TRUE(cluster.propose("a", "x"));
    cluster.deliver_all();
    cluster.run(3);
    for (const NodeName& name : cluster.names()) {
        EXPECT_EQ(cluster.applied(name), std::vector<std::string>{"x"}) << name;
    }
    cluster.crash("a");
    cluster.elect();
    EXPECT_NE(cluster.leader(), "a");
    ASSERT_TRUE(cluster.propose(cluster.leader(), "y"));
    cluster.run(3);
    cluster.start("a");
    cluster.run(5);
    EXPECT_EQ(cluster.applied("a"), (std::vector<std::string>{"x", "y"}));
}

TEST(CoreCluster, ASnapshotBringsANewMemberUpToDate) {
    CoreCluster cluster{1};
    cluster.form({"a", "b", "c"});
    for (int i = 0; i < 20; ++i) {
        ASSERT_TRUE(cluster.propose("a", std::to_string(i)));
    }
    cluster.run(3);
    cluster.compact("a");
    cluster.add("d");
    cluster.start("d");
    Change change{Change::Kind::kAddVoter, "d", cluster.member("d")};
    ASSERT_TRUE(cluster.change("a", 1, {change}));
    cluster.run(10);
    EXPECT_EQ(cluster.node("d").state.index, cluster.node("a").state.index);
    EXPECT_TRUE(cluster.core("a").configuration().find("d")->voter);
}

}  // namespace
}  // namespace nornic::raft::testing
