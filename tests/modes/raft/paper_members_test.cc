// The thesis, continued from paper_test.cc: leadership transfer (3.10), membership (4), clients (6), pre-votes (9.6), the
// leader's disk (10.2.1).
#include "tests/modes/raft/solo.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace nornic::raft::testing {
namespace {

// ---- 3.10: leadership transfer ----

TEST(Thesis3_10, TheTargetIsToldOnceItHasAllEntriesAndWritesAreRefusedMeanwhile) {
    Solo solo;
    solo.lead();
    solo.acknowledge("3", 2);
    ASSERT_TRUE(solo.propose());
    solo.forget();
    ASSERT_TRUE(solo.core().transfer(1, "2"));
    solo.carry();
    EXPECT_TRUE(solo.said<TimeoutNow>().empty());
    EXPECT_FALSE(solo.propose());
    solo.acknowledge("2", 3);
    const auto told = solo.said<TimeoutNow>();
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(told[0].first, "2");
}

TEST(Thesis3_10, WhoIsToldStandsAtOnceWithoutAPreVoteAndNoLeaseProtectsTheLeader) {
    Solo target;
    target.hear("2", Heartbeat{.term = Term{1}, .round = 1});
    target.hear("2", TimeoutNow{Term{1}});
    EXPECT_EQ(target.core().role(), Role::kCandidate);
    EXPECT_TRUE(target.said<VoteRequest>().at(0).second.transfer);
    Solo voter;
    voter.hear("2", Heartbeat{.term = Term{1}, .round = 1});
    voter.hear("3", vote(2, 1, 1, false, true));
    EXPECT_TRUE(voter.said<VoteResponse>().at(0).second.granted);
}

TEST(Thesis3_10, ATransferEndsAfterAnElectionTimeOutAndTheLeaderGoesOn) {
    Solo solo;
    solo.lead();
    solo.acknowledge("3", 2);
    ASSERT_TRUE(solo.core().transfer(1, "2"));
    for (int i = 0; i < 11; ++i) {
        solo.tick();
        solo.hear("3", HeartbeatResponse{.term = solo.core().term(), .round = 1});
    }
    EXPECT_FALSE(solo.core().transferring());
    EXPECT_TRUE(solo.propose());
    const auto outcomes = solo.core().take_outcomes();
    ASSERT_EQ(outcomes.size(), 1U);
    EXPECT_FALSE(outcomes[0].outcome);
}

// ---- 4: membership ----

Change change(Change::Kind kind, const NodeName& id) {
    return {kind, id, {.address = id + ":7000", .directory = directory_of(id)}};
}

TEST(Thesis4_1, AConfigurationIsInForceFromTheLogOn) {
    Solo solo;
    Configuration four = group({"1", "2", "3", "4"});
    solo.hear("2", append(1, 1, 1, {members_entry(2, 1, four)}));
    EXPECT_EQ(solo.core().configuration(), four) << "not committed, and in force";
    solo.hear("3", append(2, 1, 1, {entry(2, 2)}));
    EXPECT_EQ(solo.core().configuration(), group({"1", "2", "3"})) << "and it goes with its entry";
}

TEST(Thesis4_1, ANewConfigurationCountsItsOwnMajority) {
    Solo solo{{.members = {"1", "2"}}};
    solo.lead();
    solo.acknowledge("2", 2);
    ASSERT_TRUE(solo.core().change_members(1, {change(Change::Kind::kRemove, "2")}));
    solo.carry();
    EXPECT_EQ(solo.core().committed().value, 3U) << "alone it is a majority of one";
}

TEST(Thesis4_1, OneChangeAtATimeAndNoneBeforeAnEntryOfTheTermIsCommitted) {
    Solo solo;
    solo.lead();
    const auto early = solo.core().change_members(1, {change(Change::Kind::kRemove, "3")});
    ASSERT_FALSE(early);  // the correction of 2015
    EXPECT_EQ(early.error().code(), ErrorCode::kBusy);
    solo.acknowledge("2", 2);
    ASSERT_TRUE(solo.core().change_members(2, {change(Change::Kind::kRemove, "3")}));
    solo.carry();
    EXPECT_FALSE(solo.core().change_members(3, {change(Change::Kind::kRemove, "2")}));
    solo.acknowledge("2", 3);
    EXPECT_TRUE(solo.core().change_members(4, {change(Change::Kind::kAddLearner, "4")}));
}

TEST(Thesis4_2_1, ANewVoterCatchesUpFirstAndCountsForNothingUntilThen) {
    Solo solo;
    solo.lead();
    solo.acknowledge("2", 2);
    ASSERT_TRUE(solo.core().change_members(1, {change(Change::Kind::kAddVoter, "4")}));
    solo.carry();
    EXPECT_EQ(solo.core().configuration().voters(), 3U);
    solo.acknowledge("4", 3);
    EXPECT_EQ(solo.core().committed().value, 2U) << "a learner's disk is no majority";
    solo.acknowledge("2", 3);
    solo.acknowledge("4", 4);
    solo.tick();
    EXPECT_TRUE(solo.core().configuration().is_voter("4"));
}

TEST(Thesis4_2_2, ALeaderThatRemovesItselfDoesNotCountItselfAndStepsDownOnceThatIsCommitted) {
    Solo solo;
    solo.lead();
    solo.acknowledge("2", 2);
    EXPECT_FALSE(solo.core().change_members(1, {change(Change::Kind::kRemove, "1")}))
        << "2 and 3 would be left, and 3 has not answered this leader yet";
    solo.acknowledge("3", 1);
    ASSERT_TRUE(solo.core().change_members(1, {change(Change::Kind::kRemove, "1")}));
    solo.carry();
    solo.acknowledge("2", 3);
    EXPECT_EQ(solo.core().role(), Role::kLeader);
    EXPECT_EQ(solo.core().committed().value, 2U) << "of 2 and 3 both must have it";
    solo.acknowledge("3", 3);
    EXPECT_EQ(solo.core().role(), Role::kFollower);
    EXPECT_TRUE(solo.core().removed());
    solo.tick(100);
    EXPECT_EQ(solo.core().role(), Role::kFollower);
}

TEST(Thesis4_2_2, OneThatIsNotPartOfItsLatestConfigurationStandsUntilThatIsCommitted) {
    Solo solo;
    solo.hear("2", append(1, 1, 1, {members_entry(2, 1, group({"2", "3"}))}));
    solo.tick(40);
    EXPECT_EQ(solo.core().role(), Role::kPreCandidate);
    Solo committed;
    committed.hear("2", append(1, 1, 1, {members_entry(2, 1, group({"2", "3"}))}, 2));
    committed.tick(40);
    EXPECT_EQ(committed.core().role(), Role::kFollower);
}

TEST(Thesis4_2_3, WhoHearsALeaderGivesNoVoteAndDoesNotTakeTheTerm) {
    for (const bool pre_vote : {false, true}) {
        Solo follower;
        follower.hear("2", Heartbeat{.term = Term{1}, .round = 1});
        follower.tick(5);
        follower.hear("3", vote(9, 50, 8, pre_vote));
        EXPECT_FALSE(follower.said<VoteResponse>().at(0).second.granted);
        EXPECT_EQ(follower.core().term().value, 1U);
        Solo leader;
        leader.lead();
        leader.forget();
        leader.hear("3", vote(9, 50, 8, pre_vote));
        EXPECT_FALSE(leader.said<VoteResponse>().at(0).second.granted);
        EXPECT_EQ(leader.core().role(), Role::kLeader);
    }
}

TEST(Thesis4_3, InAJointConfigurationBothMajoritiesElectAndCommit) {
    Configuration joint = group({"1", "2", "3", "4", "5"});
    joint.joint = true;
    for (const char* old : {"1", "2", "3"}) {
        joint.members[old].outgoing = true;
    }
    for (const char* gone : {"2", "3"}) {
        joint.members[gone].voter = false;
        joint.members[gone].leaving = true;
    }
    Solo solo;
    solo.hear("2", append(1, 1, 1, {members_entry(2, 1, joint)}));
    solo.tick(25);
    ASSERT_EQ(solo.core().role(), Role::kPreCandidate);
    const auto grant = [&](const NodeName& from, bool pre_vote) {
        solo.hear(from, VoteResponse{.term = Term{2}, .granted = true, .pre_vote = pre_vote});
    };
    grant("4", true);
    EXPECT_EQ(solo.core().role(), Role::kPreCandidate) << "1 and 4 of 1, 4, 5 and 1 of 1, 2, 3";
    grant("2", true);
    ASSERT_EQ(solo.core().role(), Role::kCandidate);
    grant("2", false);
    grant("3", false);
    EXPECT_EQ(solo.core().role(), Role::kCandidate) << "the old majority alone";
    grant("5", false);
    ASSERT_EQ(solo.core().role(), Role::kLeader);
    solo.acknowledge("4", 3);
    EXPECT_LT(solo.core().committed().value, 3U);
    solo.acknowledge("2", 3);
    EXPECT_EQ(solo.core().committed().value, 3U);
    EXPECT_FALSE(solo.core().configuration().joint) << "the leader leaves it by itself";
    EXPECT_EQ(solo.core().configuration(), leave_joint(joint));
}

TEST(Thesis4_4, AMemberIsReplacedWithoutEverHavingFewer) {
    Solo solo;
    solo.lead();
    solo.acknowledge("2", 2);
    ASSERT_TRUE(solo.core().change_members(1, {change(Change::Kind::kAddLearner, "4")}));
    solo.carry();
    solo.acknowledge("2", 3);
    ASSERT_TRUE(solo.core().change_members(2, {change(Change::Kind::kPromote, "4"), change(Change::Kind::kRemove, "3")}));
    solo.carry();
    EXPECT_TRUE(solo.core().configuration().joint);
    EXPECT_EQ(solo.core().configuration().voters(), 3U);
    EXPECT_TRUE(solo.core().configuration().is_voter("3")) << "until the new configuration is in force";
}

// ---- 6.2, 6.4: clients ----

TEST(Thesis6_2, ALeaderThatHearsNoMajorityStepsDownAndAnswersNothingMore) {
    Solo solo;
    solo.lead();
    solo.acknowledge("2", 2);
    solo.tick(12);
    EXPECT_EQ(solo.core().role(), Role::kFollower);
    EXPECT_FALSE(solo.propose());
}

TEST(Thesis6_4, AReadWaitsForAnEntryOfTheLeadersTermAndForARoundThatBeganAfterIt) {
    Solo solo{{.terms = {1}, .term = 1}};
    solo.lead();  // 3 is its first entry
    const auto answer = [&](std::uint64_t round) {
        solo.hear("2", HeartbeatResponse{.term = solo.core().term(), .round = round});
    };
    const std::uint64_t before = solo.said<Heartbeat>().back().second.round;
    ASSERT_TRUE(solo.core().read_index(ReadId{1}));
    solo.carry();
    answer(before);
    EXPECT_TRUE(solo.reads.empty()) << "that round began before the question";
    answer(before + 1);
    ASSERT_EQ(solo.reads.size(), 1U);
    EXPECT_EQ(solo.reads[0].index.value, 3U) << "what is committed is not known before that entry is";
}

TEST(Thesis6_4, ReadsThatComeDuringARoundShareTheNext) {
    Solo solo;
    solo.lead();
    solo.acknowledge("2", 2);
    solo.forget();
    for (std::uint64_t id = 1; id <= 100; ++id) {
        ASSERT_TRUE(solo.core().read_index(ReadId{id}));
        solo.carry();
    }
    auto round = solo.said<Heartbeat>();
    ASSERT_EQ(round.size(), 2U);
    solo.hear("2", HeartbeatResponse{.term = solo.core().term(), .round = round[0].second.round});
    EXPECT_EQ(solo.reads.size(), 1U);
    round = solo.said<Heartbeat>();
    ASSERT_EQ(round.size(), 2U);
    solo.hear("3", HeartbeatResponse{.term = solo.core().term(), .round = round[0].second.round});
    EXPECT_EQ(solo.reads.size(), 100U);
}

TEST(Thesis6_4, AFollowerAsksTheLeader) {
    Solo solo;
    EXPECT_FALSE(solo.core().read_index(ReadId{1})) << "there is none";
    solo.hear("2", Heartbeat{.term = Term{1}, .round = 1});
    ASSERT_TRUE(solo.core().read_index(ReadId{2}));
    solo.carry();
    const auto asked = solo.said<ReadIndexRequest>();
    ASSERT_EQ(asked.size(), 1U);
    solo.hear("3", ReadIndexResponse{asked[0].second.context, true, LogIndex{1}});
    EXPECT_TRUE(solo.reads.empty()) << "not the leader";
    solo.hear("2", ReadIndexResponse{asked[0].second.context, true, LogIndex{5}});
    ASSERT_EQ(solo.reads.size(), 1U);
    EXPECT_EQ(solo.reads[0].index.value, 5U);
}

TEST(Thesis6_4, LeadershipThatIsLostAnswersNoRead) {
    Solo solo;
    solo.lead();
    solo.acknowledge("2", 2);
    ASSERT_TRUE(solo.core().read_index(ReadId{1}));
    solo.hear("3", append(9, 1, 1));
    EXPECT_TRUE(solo.reads.empty());
    ASSERT_EQ(solo.refused.size(), 1U);
    EXPECT_EQ(solo.refused[0].id, ReadId{1});
}

TEST(Levels, AReadOfEveryoneWaitsUntilAllMembersHoldWhatItSees) {
    Solo solo;
    solo.lead();
    solo.core().peer_up("2", false);
    solo.core().peer_up("3", false);
    solo.acknowledge("2", 2);
    ASSERT_TRUE(solo.core().read_index(ReadId{1}, HeldBy::kEveryone));
    solo.carry();
    const std::uint64_t round = solo.said<Heartbeat>().back().second.round;
    solo.hear("2", HeartbeatResponse{.term = solo.core().term(), .round = round});
    EXPECT_TRUE(solo.reads.empty()) << "3 does not hold it";
    EXPECT_LT(solo.core().held_by_everyone().value, 2U);
    solo.hear("3", ReadIndexRequest{7, true});
    solo.hear("3", ReadIndexRequest{8, false});
    // The second one shares the round that begins once the first is confirmed.
    for (int i = 0; i < 2; ++i) {
        const auto round_now = solo.said<Heartbeat>();
        ASSERT_FALSE(round_now.empty());
        solo.hear("2", HeartbeatResponse{.term = solo.core().term(), .round = round_now.back().second.round});
    }
    auto answered = solo.said<ReadIndexResponse>();
    ASSERT_EQ(answered.size(), 1U) << "a majority will do for the other one";
    EXPECT_EQ(answered[0].second.context, 8U);
    solo.forget();
    solo.acknowledge("3", 2);
    ASSERT_EQ(solo.reads.size(), 1U);
    EXPECT_EQ(solo.reads[0].index.value, 2U);
    EXPECT_EQ(solo.core().held_by_everyone().value, 2U);
    answered = solo.said<ReadIndexResponse>();
    ASSERT_EQ(answered.size(), 1U);
    EXPECT_EQ(answered[0].second.context, 7U);
    EXPECT_TRUE(answered[0].second.granted);
}

TEST(Levels, AReadOfEveryoneIsRefusedWhileAMemberIsNotHeard) {
    Solo solo;
    solo.lead();
    solo.core().peer_up("2", false);
    solo.acknowledge("2", 2);
    EXPECT_EQ(solo.core().missing_member(), "3");
    const auto refused = solo.core().read_index(ReadId{1}, HeldBy::kEveryone);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kDatabaseUnavailable);
    solo.forget();
    solo.hear("2", ReadIndexRequest{7, true});
    const auto answered = solo.said<ReadIndexResponse>();
    ASSERT_EQ(answered.size(), 1U);
    EXPECT_FALSE(answered[0].second.granted);
    EXPECT_TRUE(solo.core().read_index(ReadId{2}));
}

TEST(Levels, LeadershipThatIsLostAnswersNoReadThatWaitsForEveryone) {
    Solo solo;
    solo.lead();
    solo.core().peer_up("2", false);
    solo.core().peer_up("3", false);
    solo.acknowledge("2", 2);
    ASSERT_TRUE(solo.core().read_index(ReadId{1}, HeldBy::kEveryone));
    solo.carry();
    solo.hear("2", HeartbeatResponse{.term = solo.core().term(), .round = solo.said<Heartbeat>().back().second.round});
    solo.hear("3", append(9, 1, 1));
    EXPECT_TRUE(solo.reads.empty());
    ASSERT_EQ(solo.refused.size(), 1U);
    EXPECT_EQ(solo.refused[0].id, ReadId{1});
}

// ---- 9.6: pre-votes ----

TEST(Thesis9_6, APreVoteRaisesNoTermAndIsWrittenNowhere) {
    Solo solo;
    solo.tick(25);
    EXPECT_EQ(solo.core().role(), Role::kPreCandidate);
    EXPECT_EQ(solo.core().term().value, 1U);
    EXPECT_EQ(solo.disk.hard_state.term.value, 1U);
    EXPECT_TRUE(solo.disk.hard_state.voted_for.empty());
    const auto asked = solo.said<VoteRequest>();
    ASSERT_GE(asked.size(), 2U);
    EXPECT_TRUE(asked[0].second.pre_vote);
    EXPECT_EQ(asked[0].second.term.value, 2U) << "the one it would lead in";
    solo.hear("2", vote(5, 1, 1, true));
    EXPECT_TRUE(solo.said<VoteResponse>().at(0).second.granted);
    EXPECT_EQ(solo.core().term().value, 1U);
    EXPECT_TRUE(solo.disk.hard_state.voted_for.empty());
    solo.hear("3", vote(5, 1, 1, true));
    EXPECT_TRUE(solo.said<VoteResponse>().at(0).second.granted) << "as many as ask";
}

TEST(Thesis9_6, APreVoteIsRefusedWhileALeaderIsHeardAndGrantedOnceItIsNot) {
    Solo solo;
    solo.hear("2", Heartbeat{.term = Term{1}, .round = 1});
    solo.tick(9);
    solo.hear("3", vote(2, 1, 1, true));
    EXPECT_FALSE(solo.said<VoteResponse>().at(0).second.granted);
    solo.tick(1);
    solo.hear("3", vote(2, 1, 1, true));
    EXPECT_TRUE(solo.said<VoteResponse>().at(0).second.granted);
}

TEST(Thesis9_6, ALostPreVoteLeavesEverythingAsItWas) {
    Solo solo;
    solo.tick(25);
    for (const char* name : {"2", "3"}) {
        solo.hear(name, VoteResponse{.term = Term{1}, .granted = false, .pre_vote = true});
    }
    EXPECT_EQ(solo.core().role(), Role::kFollower);
    EXPECT_EQ(solo.core().term().value, 1U);
    EXPECT_TRUE(solo.core().leader().empty());
}

// ---- 10.2.1 ----

TEST(Thesis10_2_1, TheLeaderSendsWhileItWritesAndItsOwnDiskCountsOnlyOnceItIsDone) {
    Solo solo;
    solo.lead();
    solo.acknowledge("2", 2);
    solo.forget();
    solo.hold_disk = true;
    ASSERT_TRUE(solo.propose());
    EXPECT_FALSE(solo.said<AppendEntries>().empty());
    solo.acknowledge("2", 3);
    EXPECT_EQ(solo.core().committed().value, 2U) << "one disk of three";
    solo.write();
    EXPECT_EQ(solo.core().committed().value, 3U);
}

}  // namespace
}  // namespace nornic::raft::testing
