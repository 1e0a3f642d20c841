// Taking a member out must leave a group that can decide: enough of the rest must have been heard (docs/modes/raft.md).
#include "tests/modes/raft/solo.h"

namespace nornic::raft::testing {
namespace {

/// Member 1 leads 2, which has all, and 3, of which nothing was heard yet.
class RaftRemoval : public ::testing::Test {
protected:
    RaftRemoval() {
        solo.lead();
        solo.acknowledge("2", solo.core().log().last().value);
    }
    Result<> take_out(const NodeName& name, Change::Kind kind = Change::Kind::kRemove) {
        const Result<> asked = solo.core().change_members(1, {{kind, name, {}}});
        solo.carry();
        return asked;
    }
    void answer_heartbeat(const NodeName& from) {
        solo.hear(from, HeartbeatResponse{.term = solo.core().term(), .round = 1});
    }
    /// It is refused since this one is not there.
    void expect_missed(const Result<>& asked, const NodeName& name) {
        ASSERT_FALSE(asked);
        EXPECT_EQ(asked.error().code(), ErrorCode::kConflict);
        EXPECT_NE(asked.error().message().find("'" + name + "' does not answer"), std::string::npos) << asked.error().message();
        EXPECT_EQ(solo.core().configuration().voters(), 3U);
    }

    Solo solo;
};

TEST_F(RaftRemoval, OneThatIsAwayIsTakenOutWhereTheRestIsHeard) {
    ASSERT_TRUE(take_out("3"));
    EXPECT_EQ(solo.core().configuration().voters(), 2U);
}

TEST_F(RaftRemoval, OneThatIsHeardIsNotTakenOutWhereTheRestWasNeverHeard) {
    expect_missed(take_out("2"), "3");
    expect_missed(take_out("2", Change::Kind::kDemote), "3");
}

TEST_F(RaftRemoval, AnAnswerToAHeartbeatOfThisLeaderCounts) {
    answer_heartbeat("3");
    EXPECT_TRUE(take_out("2"));
}

TEST_F(RaftRemoval, WhoIsSilentForThreeHeartbeatsDoesNotCount) {
    solo.tick(3 * quick_settings().heartbeat_ticks - 1);
    const std::uint64_t last = solo.core().log().last().value;
    solo.tick();
    ASSERT_EQ(solo.core().role(), Role::kLeader);
    expect_missed(take_out("3"), "2");
    solo.acknowledge("2", last);
    EXPECT_TRUE(take_out("3"));
}

TEST_F(RaftRemoval, WhoseConnectionEndedDoesNotCount) {
    solo.core().peer_down("2", false);
    expect_missed(take_out("3"), "2");
}

TEST_F(RaftRemoval, WhoHasLostItsDiskDoesNotCount) {
    solo.core().step("2", Message{DirectoryId{99}, HeartbeatResponse{.term = solo.core().term(), .round = 1}});
    expect_missed(take_out("3"), "2");
}

TEST_F(RaftRemoval, OneThatStopsIsTakenOutOnceTheRestHasAnsweredAfterItAsked) {
    answer_heartbeat("3");
    solo.core().ask_removal("2");
    solo.carry();
    EXPECT_EQ(solo.core().configuration().voters(), 3U) << "3 may have died since it answered";
    answer_heartbeat("3");
    EXPECT_EQ(solo.core().configuration().voters(), 3U) << "an answer of before";
    solo.hear("3", HeartbeatResponse{.term = solo.core().term(), .round = 2});
    EXPECT_EQ(solo.core().configuration().voters(), 2U);
    EXPECT_EQ(solo.core().configuration().find("2"), nullptr);
}

TEST_F(RaftRemoval, OneThatStoppedWithoutIsNotTakenOutWhenItIsBack) {
    answer_heartbeat("3");
    solo.core().ask_removal("2");
    solo.tick(2 * quick_settings().heartbeat_ticks + 1);
    ASSERT_EQ(solo.core().role(), Role::kLeader);
    solo.hear("3", HeartbeatResponse{.term = solo.core().term(), .round = 9});
    solo.tick();
    EXPECT_EQ(solo.core().configuration().voters(), 3U);
}

TEST_F(RaftRemoval, OneThatWentWithoutIsNotTakenOutAfterwards) {
    answer_heartbeat("3");
    solo.core().ask_removal("2");
    solo.core().peer_down("2", false);
    solo.hear("3", HeartbeatResponse{.term = solo.core().term(), .round = 2});
    EXPECT_EQ(solo.core().configuration().voters(), 3U);
}

TEST_F(RaftRemoval, TheLastButOneMayGoWhoeverIsAway) {
    Solo pair{{.members = {"1", "2"}}};
    pair.lead();
    pair.acknowledge("2", pair.core().log().last().value);
    pair.core().peer_down("2", false);
    EXPECT_TRUE(pair.core().change_members(1, {{Change::Kind::kRemove, "2", {}}})) << "one alone is a majority of one";
}

TEST_F(RaftRemoval, TheLastButOneThatStopsGoesAtOnce) {
    Solo pair{{.members = {"1", "2"}}};
    pair.lead();
    pair.acknowledge("2", pair.core().log().last().value);
    pair.core().ask_removal("2");
    EXPECT_EQ(pair.core().configuration().voters(), 1U) << "nobody else has to answer";
}

}  // namespace
}  // namespace nornic::raft::testing
