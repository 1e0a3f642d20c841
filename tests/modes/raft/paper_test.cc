// A test for each rule of the thesis (Ongaro, "Consensus: Bridging Theory and Practice", 2014), its section in the name.
// Here figures 3.1 and 3.2 and sections 3.3 to 3.8; paper_members_test.cc has the others.
#include "tests/modes/raft/solo.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace nornic::raft::testing {
namespace {

// ---- 3.3: terms ----

TEST(Thesis3_3, WhoeverHearsOfALaterTermTakesItAndFollows) {
    const Body bodies[] = {append(7, 1, 1), Heartbeat{.term = Term{7}, .round = 1}, AppendResponse{.term = Term{7}},
                           HeartbeatResponse{.term = Term{7}}, VoteResponse{.term = Term{7}}, vote(7, 5, 6)};
    for (const Body& body : bodies) {
        for (const bool leads : {false, true}) {
            Solo solo;
            if (leads) {
                solo.lead();
                solo.tick(1);
                if (std::holds_alternative<VoteRequest>(body)) {
                    continue;  // 4.2.3: it is protected from requests for votes
                }
            }
            solo.hear("2", body);
            EXPECT_EQ(solo.core().term().value, 7U) << body.index();
            EXPECT_EQ(solo.core().role(), Role::kFollower) << body.index();
            EXPECT_EQ(solo.disk.hard_state.term.value, 7U) << body.index();
        }
    }
}

TEST(Thesis3_3, AMessageOfAnOlderTermIsRefused) {
    Solo solo{{.term = 5}};
    solo.hear("2", append(4, 1, 1, {entry(2, 4)}));
    EXPECT_EQ(solo.core().log().last().value, 1U);
    EXPECT_TRUE(solo.core().leader().empty());
    const auto answers = solo.said<AppendResponse>();
    ASSERT_EQ(answers.size(), 1U);
    EXPECT_FALSE(answers[0].second.success);
    EXPECT_EQ(answers[0].second.term.value, 5U) << "so that the old leader learns of it";
}

// ---- 3.4: leader election ----

TEST(Thesis3_4, AMemberStartsAsAFollower) {
    Solo solo{{.term = 9, .voted_for = "1"}};
    EXPECT_EQ(solo.core().role(), Role::kFollower);
    EXPECT_EQ(solo.core().term().value, 9U);
}

TEST(Thesis3_4, AFollowerThatHearsFromALeaderStaysOne) {
    Solo solo;
    for (int i = 0; i < 50; ++i) {
        solo.tick(5);
        solo.hear("2", Heartbeat{.term = Term{1}, .round = 1});
        ASSERT_EQ(solo.core().role(), Role::kFollower);
    }
    EXPECT_EQ(solo.core().leader(), "2");
}

TEST(Thesis3_4, ALeaderSendsHeartbeatsToAll) {
    Solo solo;
    solo.lead();
    solo.forget();
    solo.tick(2);
    std::vector<NodeName> to;
    for (const auto& [name, m] : solo.said<Heartbeat>()) {
        EXPECT_EQ(m.term, solo.core().term());
        to.push_back(name);
    }
    EXPECT_EQ(to, (std::vector<NodeName>{"2", "3"}));
}

TEST(Thesis3_4, ASilentLeaderIsGivenUpAndVotesAreAskedOfAllInTheNextTerm) {
    Solo solo;
    solo.campaign();
    EXPECT_EQ(solo.core().term().value, 2U);
    EXPECT_EQ(solo.core().voted_for(), "1");
    EXPECT_EQ(solo.disk.hard_state.voted_for, "1");
    std::vector<NodeName> to;
    for (const auto& [name, m] : solo.said<VoteRequest>()) {
        if (!m.pre_vote) {
            EXPECT_EQ(m.term.value, 2U);
            EXPECT_EQ(m.last_index.value, 1U);
            EXPECT_EQ(m.last_term.value, 1U);
            to.push_back(name);
        }
    }
    EXPECT_EQ(to, (std::vector<NodeName>{"2", "3"}));
}

TEST(Thesis3_4, AMajorityOfVotesMakesALeaderAndAMajorityOfRefusalsAFollower) {
    struct Row {
        std::vector<NodeName> members;
        std::vector<std::pair<NodeName, bool>> votes;
        Role want;
    };
    const Row rows[] = {
        {{"1", "2", "3"}, {{"2", true}}, Role::kLeader},
        {{"1", "2", "3"}, {{"2", false}}, Role::kCandidate},
        {{"1", "2", "3"}, {{"2", false}, {"3", false}}, Role::kFollower},
        {{"1", "2", "3", "4", "5"}, {{"2", true}}, Role::kCandidate},
        {{"1", "2", "3", "4", "5"}, {{"2", true}, {"2", true}}, Role::kCandidate},  // one vote, twice
        {{"1", "2", "3", "4", "5"}, {{"2", true}, {"3", true}}, Role::kLeader},
        {{"1", "2", "3", "4", "5"}, {{"2", true}, {"3", false}, {"4", false}}, Role::kCandidate},
        {{"1", "2", "3", "4", "5"}, {{"2", false}, {"3", false}, {"4", false}}, Role::kFollower},
        {{"1", "2", "3"}, {{"9", true}}, Role::kCandidate},  // no member
    };
    for (const Row& row : rows) {
        Solo solo{{.members = row.members}};
        solo.campaign();
        for (const auto& [name, granted] : row.votes) {
            solo.hear(name, VoteResponse{.term = solo.core().term(), .granted = granted});
        }
        EXPECT_EQ(solo.core().role(), row.want);
    }
    Solo alone{{.members = {"1"}}};
    alone.tick(40);
    EXPECT_EQ(alone.core().role(), Role::kLeader) << "a majority of one";
}

TEST(Thesis3_4, AVoteIsGivenToOneCandidateATerm) {
    Solo solo;
    solo.hear("2", vote(5, 9, 4));
    solo.hear("3", vote(5, 9, 4));
    solo.hear("2", vote(5, 9, 4));
    const auto answers = solo.said<VoteResponse>();
    ASSERT_EQ(answers.size(), 3U);
    EXPECT_TRUE(answers[0].second.granted);
    EXPECT_FALSE(answers[1].second.granted);
    EXPECT_TRUE(answers[2].second.granted) << "the same answer to the same question";
    solo.hear("3", vote(6, 9, 4));
    EXPECT_TRUE(solo.said<VoteResponse>().at(0).second.granted) << "another term, another vote";
}

TEST(Thesis3_4, ACandidateYieldsToTheLeaderOfItsTermAndNotToAnOlderOne) {
    Solo solo;
    solo.campaign();
    solo.hear("3", Heartbeat{.term = Term{1}, .round = 1});
    EXPECT_EQ(solo.core().role(), Role::kCandidate);
    solo.hear("3", append(2, 1, 1));
    EXPECT_EQ(solo.core().role(), Role::kFollower);
    EXPECT_EQ(solo.core().leader(), "3");
}

TEST(Thesis3_4, TimeOutsAreDrawnBetweenOnceAndTwiceTheElectionTimeOut) {
    std::set<int> seen;
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        Solo solo{{.seed = seed}};
        int ticks = 0;
        while (solo.core().role() == Role::kFollower && ticks < 100) {
            solo.tick();
            ++ticks;
        }
        EXPECT_GE(ticks, 10);
        EXPECT_LE(ticks, 20);
        seen.insert(ticks);
    }
    EXPECT_GE(seen.size(), 8U);
}

TEST(Thesis3_4, ASplitVoteIsFollowedByAnotherElection) {
    Solo solo;
    solo.campaign();
    const Term split = solo.core().term();
    solo.hear("2", VoteResponse{.term = split, .granted = false});
    solo.tick(40);
    solo.hear("2", VoteResponse{.term = Term{split.value + 1}, .granted = true, .pre_vote = true});
    EXPECT_EQ(solo.core().role(), Role::kCandidate);
    EXPECT_EQ(solo.core().term().value, split.value + 1);
}

// ---- 3.5: log replication ----

TEST(Thesis3_5, ALeaderAppendsAndSendsToAll) {
    Solo solo;
    solo.lead();
    solo.acknowledge("2", 2);
    solo.acknowledge("3", 2);
    solo.forget();
    ASSERT_TRUE(solo.propose("y"));
    const auto sent = solo.said<AppendEntries>();
    ASSERT_EQ(sent.size(), 2U);
    for (const auto& [name, m] : sent) {
        EXPECT_EQ(m.prev_index.value, 2U);
        EXPECT_EQ(m.prev_term, solo.core().term());
        ASSERT_EQ(m.entries.size(), 1U);
        EXPECT_EQ(m.entries[0]->payload, "y");
    }
}

TEST(Thesis3_5, AnEntryIsCommittedOnceAMajorityHasIt) {
    struct Row {
        std::vector<NodeName> members;
        std::vector<NodeName> has;
        bool want;
    };
    const Row rows[] = {{{"1"}, {}, true},
                        {{"1", "2"}, {}, false},
                        {{"1", "2"}, {"2"}, true},
                        {{"1", "2", "3"}, {}, false},
                        {{"1", "2", "3"}, {"2"}, true},
                        {{"1", "2", "3", "4", "5"}, {"2"}, false},
                        {{"1", "2", "3", "4", "5"}, {"2", "2"}, false},
                        {{"1", "2", "3", "4", "5"}, {"2", "3"}, true}};
    for (const Row& row : rows) {
        Solo solo{{.members = row.members}};
        if (row.members.size() == 1) {
            solo.tick(40);
        } else {
            solo.lead();
        }
        for (const NodeName& name : row.members) {
            solo.acknowledge(name, 2);
        }
        ASSERT_EQ(solo.core().committed().value, 2U);
        ASSERT_TRUE(solo.propose());
        for (const NodeName& name : row.has) {
            solo.acknowledge(name, 3);
        }
        EXPECT_EQ(solo.core().committed().value, row.want ? 3U : 2U) << row.members.size() << " " << row.has.size();
    }
}

TEST(Thesis3_5, AFollowerCommitsWhatTheLeaderSaysAsFarAsItIsKnownToBeEqual) {
    Solo solo;
    solo.hear("2", append(1, 1, 1, {entry(2, 1), entry(3, 1)}, 2));
    EXPECT_EQ(solo.core().committed().value, 2U);
    solo.hear("2", append(1, 3, 1, {}, 9));
    EXPECT_EQ(solo.core().committed().value, 3U);
    Solo other{{.terms = {1, 1, 1}}};  // 2 to 4, of which nothing is known
    other.hear("2", append(2, 2, 1, {}, 4));
    EXPECT_EQ(other.core().committed().value, 2U) << "3 and 4 may be others";
    other.hear("2", Heartbeat{.term = Term{2}, .round = 1, .commit = LogIndex{4}});
    EXPECT_EQ(other.core().committed().value, 2U);
}

TEST(Thesis3_5, TheConsistencyCheck) {
    struct Row {
        std::uint64_t prev;
        std::uint64_t prev_term;
        bool want;
    };
    const Row rows[] = {{0, 0, true}, {1, 1, true}, {2, 1, true}, {3, 2, true}, {3, 3, false}, {2, 2, false}, {4, 2, false}};
    for (const Row& row : rows) {
        Solo solo{{.terms = {1, 2}, .term = 3}};
        solo.hear("2", append(3, row.prev, row.prev_term));
        EXPECT_EQ(solo.said<AppendResponse>().at(0).second.success, row.want) << row.prev << "/" << row.prev_term;
        EXPECT_EQ(terms(solo.core()), (Terms{1, 1, 2})) << "a refusal or a probe changes nothing";
    }
}

TEST(Thesis3_5, AConflictingEntryGoesWithAllBehindItAndNothingElseDoes) {
    struct Row {
        const char* name;
        std::uint64_t prev;
        std::uint64_t prev_term;
        Terms entries;
        Terms want;
    };
    const Row rows[] = {
        {"appended", 3, 2, {3}, {1, 1, 2, 3}},
        {"overwritten", 2, 1, {3}, {1, 1, 3}},
        {"overwritten from further back", 1, 1, {3, 3}, {1, 3, 3}},
        {"the same again", 1, 1, {1, 2}, {1, 1, 2}},
        {"an old, shorter message", 1, 1, {1}, {1, 1, 2}},
        {"the same and more", 1, 1, {1, 2, 3}, {1, 1, 2, 3}},
        {"the same, then another", 1, 1, {1, 3}, {1, 1, 3}},
    };
    for (const Row& row : rows) {
        Solo solo{{.terms = {1, 2}, .term = 2}};
        std::vector<EntryPtr> entries;
        for (const std::uint64_t term : row.entries) {
            entries.push_back(entry(row.prev + 1 + entries.size(), term));
        }
        solo.hear("2", append(3, row.prev, row.prev_term, entries));
        EXPECT_EQ(terms(solo.core()), row.want) << row.name;
        EXPECT_EQ(solo.disk.last_index().value, row.want.size()) << row.name;
        const auto answer = solo.said<AppendResponse>().back().second;
        EXPECT_TRUE(answer.success) << row.name;
        EXPECT_EQ(answer.match.value, row.prev + row.entries.size()) << row.name << ": what is equal, not what is there";
    }
}

// Figure 3.6: what a new leader's followers may hold, and that all end up like it, with a message a term at most.
TEST(Thesis3_5, EveryFollowerOfFigure3_6EndsUpLikeItsLeader) {
    const Terms leader_log = {1, 1, 1, 4, 4, 5, 5, 6, 6, 6};
    const Terms followers[] = {
        {1, 1, 1, 4, 4, 5, 5, 6, 6}, {1, 1, 1, 4},         {1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6}, {1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7},
        {1, 1, 1, 4, 4, 4, 4},       {1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3},
    };
    for (const Terms& has : followers) {
        Solo leader{{.terms = Terms(leader_log.begin() + 1, leader_log.end()), .term = 7}};
        Solo follower{{.terms = Terms(has.begin() + 1, has.end()), .term = 7}};
        leader.lead();
        leader.forget();
        leader.tick(2);
        int probes = 0;
        leader.core().peer_down("2", false);
        leader.core().peer_up("2", false);
        leader.carry();
        for (int round = 0; round < 20; ++round) {
            for (const auto& [to, m] : leader.said<AppendEntries>()) {
                if (to == "2") {
                    probes += m.entries.empty() || follower.core().log().last() < m.prev_index ? 1 : 0;
                    follower.hear("2", m);
                }
            }
            for (auto& [to, m] : follower.said<AppendResponse>()) {
                leader.hear("2", m);
            }
        }
        Terms want = leader_log;
        want.push_back(8);
        EXPECT_EQ(terms(leader.core()), want) << "a leader never overwrites its own log";
        EXPECT_EQ(terms(follower.core()), want);
        EXPECT_LE(probes, 5);
    }
}

// ---- 3.6: safety ----

TEST(Thesis3_6_1, AVoteGoesOnlyToALogThatIsAtLeastAsUpToDate) {
    struct Row {
        std::uint64_t last;
        std::uint64_t term;
        bool want;
    };
    const Row rows[] = {{3, 2, true}, {4, 2, true}, {2, 2, false}, {1, 3, true}, {9, 1, false}};
    for (const Row& row : rows) {
        for (const bool pre_vote : {false, true}) {
            Solo solo{{.terms = {1, 2}, .term = 3}};
            solo.hear("2", vote(4, row.last, row.term, pre_vote));
            EXPECT_EQ(solo.said<VoteResponse>().at(0).second.granted, row.want) << row.last << "/" << row.term;
        }
    }
}

TEST(Thesis3_6_2, EntriesOfOlderTermsAreNotCommittedByCounting) {
    Solo solo{{.terms = {2, 2}, .term = 2}};
    solo.lead();
    ASSERT_EQ(terms(solo.core()), (Terms{1, 2, 2, 3}));
    solo.acknowledge("2", 3);
    EXPECT_EQ(solo.core().committed().value, 1U) << "a majority has 3, which is of term 2 (figure 3.7)";
    solo.acknowledge("2", 4);
    EXPECT_EQ(solo.core().committed().value, 4U) << "all before it come with it";
}

TEST(Thesis3_6_2, AProposalInAnOldLeadersLogIsNeverCountedForTheNewOne) {
    Solo solo{{.terms = {1}, .term = 1}};
    solo.lead();
    solo.hear("2", AppendResponse{.term = Term{1}, .success = true, .match = LogIndex{3}});
    EXPECT_EQ(solo.core().committed().value, 1U) << "an acknowledgement of an older term";
}

// ---- 3.7, 3.8: crashes and what is persisted ----

TEST(Thesis3_7, MessagesMayBeRepeated) {
    Solo solo;
    for (int i = 0; i < 3; ++i) {
        solo.hear("2", append(1, 1, 1, {entry(2, 1), entry(3, 1)}, 2));
        EXPECT_EQ(terms(solo.core()), (Terms{1, 1, 1}));
        EXPECT_EQ(solo.said<AppendResponse>().back().second.match.value, 3U);
    }
}

TEST(Thesis3_7, ALeaderGoesOnTryingAFollowerThatDoesNotAnswer) {
    Solo solo;
    solo.lead();
    solo.acknowledge("3", 2);
    solo.forget();
    for (int i = 0; i < 10; ++i) {
        solo.tick(4);
        solo.hear("3", HeartbeatResponse{.term = solo.core().term(), .round = 1});
        const auto sent = solo.said<AppendEntries>();
        EXPECT_TRUE(std::ranges::any_of(sent, [](const auto& s) { return s.first == "2"; })) << i;
    }
}

TEST(Thesis3_8, TermAndVoteAreOnDiskBeforeTheVoteIsSaid) {
    Solo solo;
    solo.hold_disk = true;
    solo.hear("2", vote(5, 9, 4));
    EXPECT_TRUE(solo.said<VoteResponse>().empty());
    solo.restart();
    EXPECT_EQ(solo.core().term().value, 1U) << "nobody heard of it";
    solo.hear("2", vote(5, 9, 4));
    solo.write();
    EXPECT_TRUE(solo.said<VoteResponse>().at(0).second.granted);
    solo.restart();
    EXPECT_EQ(solo.core().term().value, 5U);
    EXPECT_EQ(solo.core().voted_for(), "2");
    solo.hear("3", vote(5, 9, 4));
    EXPECT_FALSE(solo.said<VoteResponse>().at(0).second.granted) << "a restart gives no second vote";
}

TEST(Thesis3_8, EntriesAreOnDiskBeforeTheyAreAcknowledged) {
    Solo solo;
    solo.hear("2", append(1, 1, 1));
    solo.forget();
    solo.hold_disk = true;
    solo.hear("2", append(1, 1, 1, {entry(2, 1)}));
    EXPECT_TRUE(solo.said<AppendResponse>().empty());
    solo.hear("2", append(1, 2, 1, {entry(3, 1)}));
    solo.write();
    EXPECT_EQ(solo.said<AppendResponse>().at(0).second.match.value, 2U);
    solo.write();
    EXPECT_EQ(solo.said<AppendResponse>().at(0).second.match.value, 3U) << "what came meanwhile, too";
}

TEST(Thesis3_8, ACandidatesOwnVoteCountsOnceItIsOnDisk) {
    Solo solo{{.members = {"1"}}};
    solo.hold_disk = true;
    while (solo.core().role() != Role::kCandidate) {
        solo.tick();
    }
    solo.tick(8);
    EXPECT_EQ(solo.core().role(), Role::kCandidate);
    EXPECT_EQ(solo.core().term().value, 2U) << "a slow disk is waited for";
    solo.write();
    EXPECT_EQ(solo.core().role(), Role::kLeader);
}

}  // namespace
}  // namespace nornic::raft::testing
