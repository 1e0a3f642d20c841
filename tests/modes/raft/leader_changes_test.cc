// Who led when, and why that changed, as each member of a group saw it.
#include "tests/modes/raft/solo.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nornic::raft::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RaftLeaderChanges : public ::testing::Test {
protected:
    RaftLeaderChanges() {
        cluster.form({"1", "2", "3"});
        cluster.elect("1");
        cluster.run(5);
        forget();
    }
    void forget() {
        for (const NodeName& name : cluster.names()) {
            cluster.node(name).leader_changes.clear();
        }
    }
    /// "1 -> -", "- -> 2": from whom to whom.
    std::vector<std::string> changes(const NodeName& name) {
        std::vector<std::string> out;
        for (const LeaderChange& change : cluster.node(name).leader_changes) {
            out.push_back(fmt::format("{} -> {}", change.from, change.to.empty() ? "-" : change.to));
        }
        return out;
    }
    std::string last_reason(const NodeName& name) { return cluster.node(name).leader_changes.back().reason; }

    CoreCluster cluster{7};
};

TEST_F(RaftLeaderChanges, AHandOverIsKnownToAll) {
    cluster.with("1", [](Core& core) { ASSERT_TRUE(core.transfer(1, "2")); });
    cluster.run(5);
    ASSERT_EQ(cluster.leader(), "2");
    for (const char* name : {"1", "2", "3"}) {
        EXPECT_THAT(changes(name), ElementsAre("1 -> -", "1 -> 2")) << name;
        EXPECT_THAT(last_reason(name), HasSubstr("leadership over")) << name;
        EXPECT_EQ(cluster.node(name).leader_changes.back().term, cluster.core("2").term());
    }
}

TEST_F(RaftLeaderChanges, ASilentLeaderIsNamed) {
    cluster.isolate("1");
    cluster.run(200);
    const NodeName next = cluster.leader();
    ASSERT_NE(next, "1");
    const NodeName other = next == "2" ? "3" : "2";
    EXPECT_THAT(changes(next), ElementsAre("1 -> -", "1 -> " + next));
    EXPECT_EQ(last_reason(next), "'1' was silent for an election time-out");
    EXPECT_EQ(changes(other).back(), "1 -> " + next);
    // The one that was cut off knows why it stopped, and whom it follows when it is back.
    EXPECT_THAT(changes("1"), ElementsAre("1 -> -"));
    EXPECT_EQ(last_reason("1"), "no majority was heard for an election time-out");
    cluster.heal();
    cluster.run(50);
    EXPECT_EQ(changes("1").back(), "1 -> " + cluster.leader());
}

TEST_F(RaftLeaderChanges, ALeaderWhoseProcessEndedIsNamed) {
    cluster.crash("1");
    for (const char* name : {"2", "3"}) {
        cluster.with(name, [](Core& core) { core.peer_down("1", true); });
    }
    cluster.elect();
    EXPECT_EQ(last_reason(cluster.leader()), "the connection to '1' broke");
}

TEST_F(RaftLeaderChanges, AnOperatorIsNamed) {
    cluster.with("1", [](Core& core) { ASSERT_TRUE(core.step_down("an operator asked for it")); });
    EXPECT_THAT(changes("1"), ElementsAre("1 -> -"));
    EXPECT_EQ(last_reason("1"), "an operator asked for it");
}

TEST_F(RaftLeaderChanges, WithoutAChangeNothingIsNoted) {
    cluster.run(500);
    for (const char* name : {"1", "2", "3"}) {
        EXPECT_TRUE(changes(name).empty()) << name;
    }
}

TEST_F(RaftLeaderChanges, WithoutAMajorityOfTheDisksThatCountItIsSaidWhichAreNew) {
    for (const char* name : {"2", "3"}) {
        cluster.crash(name);
        cluster.wipe(name);
    }
    cluster.crash("1");
    for (const char* name : {"1", "2", "3"}) {
        cluster.start(name);
    }
    for (const char* name : {"2", "3"}) {
        cluster.with("1", [&](Core& core) { core.peer_up(name, false); });
    }
    cluster.run(200);
    EXPECT_EQ(cluster.leader(), "");
    EXPECT_FALSE(cluster.core("1").has_reachable_majority());
    EXPECT_THAT(cluster.core("1").why_no_leader(), HasSubstr("1 can be reached; these lost their disks, and do not count before there is a leader: '2', '3'"));
}

TEST(RaftWithoutLeader, ALearnerDoesNotCountItself) {
    Solo solo;
    Configuration others = group({"2", "3", "4"});
    others.members["1"] = {.address = "1:7000", .directory = directory_of("1"), .voter = false};
    solo.hear("2", append(1, 1, 1, {members_entry(2, 1, others)}));
    solo.core().peer_up("2", false);
    EXPECT_THAT(solo.core().why_no_leader(), HasSubstr("1 can be reached; start or reconnect '3' (3:7000), '4' (4:7000)"));
}

}  // namespace
}  // namespace nornic::raft::testing
