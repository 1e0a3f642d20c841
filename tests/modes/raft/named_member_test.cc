// The first configuration can only name who is not there yet (docs/modes/raft.md, "Forming"). What such a member is it says
// itself, from the moment that it is heard, and nobody takes it for anything else before that is written down.
#include "tests/modes/raft/solo.h"

namespace nornic::raft::testing {
namespace {

/// Member 1 leads; of 3, a witness, nothing but the name and the address was known when the group was made.
class NamedMember : public ::testing::Test {
protected:
    NamedMember() {
        solo.lead();
        solo.core().peer_up("2", false);
        solo.core().peer_up("3", true);
        solo.carry();
        solo.acknowledge("2", solo.core().log().last().value);
    }
    [[nodiscard]] const Member& named() { return *solo.core().configuration().find("3"); }

    Solo solo{{.by_name = {"3"}}};
};

TEST_F(NamedMember, ItsDiskAndItsKindAreOneEntry) {
    const LogIndex before = solo.core().log().last();
    solo.acknowledge("3", 1);
    solo.tick();
    EXPECT_EQ(solo.core().log().last().value, before.value + 1);
    EXPECT_EQ(named().directory, directory_of("3"));
    EXPECT_TRUE(named().witness) << "else it could be left to vote with one member that has data";
}

TEST_F(NamedMember, AWitnessIsNotHandedLeadershipBeforeThatIsWrittenDown) {
    ASSERT_FALSE(named().witness);
    const Result<> asked = solo.core().transfer(1, "3");
    ASSERT_FALSE(asked);
    EXPECT_NE(asked.error().message().find("is a witness"), std::string::npos) << asked.error().message();
}

/// Its disk was written down without that by an earlier version.
TEST(NamedMembers, AWitnessIsSentAPlaceAndNoState) {
    Solo solo;
    solo.lead();
    solo.core().peer_up("3", true);
    solo.acknowledge("2", solo.core().log().last().value);
    ASSERT_FALSE(solo.core().configuration().find("3")->witness);
    solo.forget();
    solo.hear("3", AppendResponse{.term = solo.core().term(), .match = LogIndex{1}, .needs_snapshot = true});
    EXPECT_FALSE(solo.said<LogReset>().empty());
    EXPECT_TRUE(solo.snapshots_due.empty());
}

TEST_F(NamedMember, ThePriorityThatItAskedWithIsTaken) {
    solo.core().note_joining("3", directory_of("3"), 0);
    solo.tick();
    EXPECT_EQ(named().directory, directory_of("3"));
    EXPECT_EQ(named().priority, 0U);
}

TEST(NamedMembers, OneWitnessTooManyDoesNotCountAndThatIsSaidOnce) {
    Solo solo{{.members = {"1", "2", "v", "w"}, .by_name = {"w"}, .witnesses = {"v"}}};
    solo.lead();
    solo.core().peer_up("w", true);
    for (const char* name : {"2", "v"}) {
        solo.acknowledge(name, solo.core().log().last().value);
    }
    solo.events.clear();
    for (int i = 0; i < 3; ++i) {
        solo.acknowledge("w", 1);
        solo.tick();
    }
    EXPECT_EQ(solo.core().configuration().find("w")->directory, DirectoryId{});
    ASSERT_EQ(solo.events.size(), 1U);
    EXPECT_EQ(solo.events[0].find("What 'w' votes and holds does not count yet: witnesses must be fewer"), 0U) << solo.events[0];
}

/// It may have been told so before, by somebody who is gone; whoever is left may itself be out since long.
TEST(RemovedMember, HearsOfItFromOneOfAnEarlierTerm) {
    Solo solo{{.term = 9}};
    solo.hear("3", NotMember{Term{3}, LogIndex{7}});
    EXPECT_TRUE(solo.core().removed());
}

TEST(RemovedMember, NobodyIsOutOfAGroupThatIsOnlyBeingFormed) {
    Disk disk;
    Start start;
    start.self = "1";
    start.hard_state.directory = directory_of("1");
    Core forming{start, quick_settings(), disk};
    ASSERT_TRUE(forming.bootstrap(group({"1", "2"})));
    forming.take_messages();
    forming.step("3", Message{directory_of("3"), VoteRequest{.term = Term{1}, .pre_vote = true}});
    for (const auto& sent : forming.take_messages()) {
        EXPECT_FALSE(std::holds_alternative<NotMember>(sent.message->body)) << "3 forms one as well, and would give that up for good";
    }
}

/// All voters that it knows of may be out as well.
TEST(RemovedMember, AsksThoseThatWereLearnersToo) {
    Solo solo;
    Configuration grows = group({"1", "2", "3"});
    grows.members["4"] = {.address = "4:7000", .directory = directory_of("4"), .voter = false};
    solo.hear("2", append(1, 1, 1, {members_entry(2, 1, grows)}));
    solo.forget();
    for (int i = 0; i < 100 && solo.core().role() == Role::kFollower; ++i) {
        solo.tick();
    }
    EXPECT_EQ(solo.said<VoteRequest>().size(), 3U);
    solo.hear("4", VoteResponse{.term = Term{2}, .granted = true, .pre_vote = true});
    EXPECT_EQ(solo.core().role(), Role::kPreCandidate) << "a learner's vote does not count";
    solo.hear("4", NotMember{Term{3}, LogIndex{7}});
    EXPECT_TRUE(solo.core().removed());
}

/// Who told it may be gone, or have nothing of the group on its disk any more.
/// One without a vote asks nobody.
TEST(RemovedMember, IsToldOnceItIsThere) {
    Solo solo;
    solo.hear("2", append(1, 1, 1, {members_entry(2, 1, group({"1", "2"}))}, 1));
    solo.forget();
    solo.core().peer_up("3", false);
    solo.carry();
    EXPECT_TRUE(solo.said<NotMember>().empty()) << "that is not committed yet";
    solo.hear("2", append(1, 2, 1, {}, 2));
    solo.core().peer_up("3", false);
    solo.carry();
    const auto told = solo.said<NotMember>();
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(told[0].first, "3");
    EXPECT_EQ(told[0].second.index, LogIndex{2});
}

/// It is sent a group's state, and what added it is given up.
class LeftOut : public ::testing::Test {
protected:
    LeftOut() {
        start.self = "1";
        start.hard_state.directory = directory_of("1");
    }
    void begin() { core = std::make_unique<Core>(start, quick_settings(), disk); }
    void hear(const NodeName& from, Body body) { core->step(from, Message{directory_of(from), std::move(body)}); }

    Disk disk;
    Start start;
    std::unique_ptr<Core> core;
};

TEST_F(LeftOut, WhoNeverWasAMemberAsksToBeTakenInAndIsNotOut) {
    begin();
    EXPECT_FALSE(core->left_out()) << "it knows of no group";
    core->snapshot_installed(LogIndex{5}, Term{1}, LogIndex{3}, group({"2", "3", "4"}));
    EXPECT_TRUE(core->left_out());
    hear("3", NotMember{Term{3}, LogIndex{7}});
    EXPECT_FALSE(core->removed());
    EXPECT_TRUE(core->left_out());
    hear("2", append(1, 5, 1));
    EXPECT_FALSE(core->left_out()) << "a leader speaks to it";
}

TEST_F(LeftOut, WhoIsSentTheLogFromItsBeginningIsNotOutBeforeItsOwnEntryComes) {
    begin();
    hear("2", append(1, 0, 0, {members_entry(1, 1, group({"2", "3"})), entry(2, 1)}, 2));
    EXPECT_EQ(core->committed(), LogIndex{2});
    EXPECT_FALSE(core->removed());
}

/// An earlier version did not write down that it was taken out, and nobody knows any more whether it ever was in.
TEST_F(LeftOut, WhoStartsWithAGroupThatItIsNotInCountsAsTakenOut) {
    start.configuration = group({"2", "3", "4"});
    start.configuration_index = LogIndex{3};
    disk.reset(LogIndex{5}, Term{1}, 0);
    start.last_index = start.applied = LogIndex{5};
    start.last_term = Term{1};
    begin();
    EXPECT_TRUE(core->removed());
    EXPECT_FALSE(core->left_out()) << "an operator took it out, and it does not come back by itself";
    hear("2", append(1, 5, 1, {members_entry(6, 1, group({"1", "2", "3"}))}));
    EXPECT_FALSE(core->removed()) << "it was added again";
}

TEST(RemovedMember, IsInAgainIfALaterConfigurationWasAllThatCameToItsDisk) {
    Solo solo;
    solo.hear("3", NotMember{Term{3}, LogIndex{1}});
    solo.disk.append({members_entry(2, 1, group({"1", "2"}))});
    solo.restart();
    EXPECT_FALSE(solo.core().removed());
}

TEST(RemovedMember, KnowsOfItWhenItStartsAnew) {
    Solo solo;
    solo.hear("3", NotMember{Term{3}, LogIndex{7}});
    solo.events.clear();
    solo.restart();
    EXPECT_TRUE(solo.core().removed());
    solo.forget();
    solo.tick(100);
    EXPECT_TRUE(solo.said<VoteRequest>().empty());
    ASSERT_EQ(solo.events.size(), 1U) << "its operator is told again";
    EXPECT_NE(solo.events[0].find("taken out of the group"), std::string::npos) << solo.events[0];
}

TEST(RemovedMember, StaysInWhenItStartsAnewBehindALaterConfiguration) {
    Solo solo;
    solo.hear("3", NotMember{Term{9}, LogIndex{1}});
    solo.hear("2", append(1, 1, 1, {members_entry(2, 1, group({"1", "2", "4"}))}));
    solo.restart();
    EXPECT_FALSE(solo.core().removed());
    solo.campaign();
}

TEST(RemovedMember, IsInAgainByALaterConfiguration) {
    Solo solo;
    solo.hear("2", append(1, 1, 1, {members_entry(2, 1, group({"1", "2", "4"}))}));
    solo.hear("3", NotMember{Term{9}, LogIndex{1}});
    EXPECT_FALSE(solo.core().removed());
}

}  // namespace
}  // namespace nornic::raft::testing
