// What would go on for ever, or never, though nothing more than one thing is wrong.
#include "tests/modes/raft/solo.h"

#include <gmock/gmock.h>

namespace nornic::raft::testing {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kElection = 10;  // of quick_settings(), in ticks

/// A member that needs entries which cannot be read any more gets the state, and an operator hears why.
TEST(RaftStuck, WhoNeedsEntriesOfADamagedLogIsSentASnapshot) {
    Solo::Setup setup;
    setup.settings.tail_bytes_max = 1;
    Solo solo{setup};
    solo.lead();
    solo.core().peer_up("3", false);
    solo.acknowledge("2", solo.core().log().last().value);
    for (int i = 0; i < 20; ++i) {
        ASSERT_TRUE(solo.propose());
        solo.acknowledge("2", solo.core().log().last().value);
    }
    solo.disk.unreadable = true;
    solo.hear("3", AppendResponse{.term = solo.core().term(), .success = true, .match = LogIndex{1}});
    EXPECT_THAT(solo.snapshots_due, ::testing::ElementsAre("3"));
    EXPECT_THAT(solo.events, ::testing::Contains(HasSubstr("cannot be read from entry 2 on: segment 7 is damaged")));
}

/// Of a peer that is not in order: whatever it sends, nothing here ends by it.
TEST(RaftStuck, ALogWhoseTermsFallIsNotTaken) {
    Solo solo{{.terms = {3}, .term = 3}};
    solo.hear("2", append(3, 1, 1, {entry(2, 3)}, 2));
    solo.hear("2", append(3, 2, 1, {entry(3, 2)}));
    EXPECT_EQ(terms(solo.core()), (Terms{1, 3}));
    EXPECT_THAT(solo.events, ::testing::Contains(HasSubstr("as no leader does")));
}

class RaftStuckReads : public ::testing::Test {
protected:
    static Solo::Setup settings() {
        Solo::Setup setup;
        setup.settings.read_ticks_max = 200;
        return setup;
    }
    Solo solo{settings()};
};

TEST_F(RaftStuckReads, WhatTheLeaderDoesNotAnswerIsGivenUp) {
    solo.hear("2", append(1, 1, 1));
    ASSERT_TRUE(solo.core().read_index(ReadId{1}, HeldBy::kEveryone));
    for (int i = 0; i < 199; ++i) {
        solo.tick();
        solo.hear("2", append(1, 1, 1));
    }
    EXPECT_TRUE(solo.refused.empty());
    EXPECT_GT(solo.said<ReadIndexRequest>().size(), 10U) << "question and answer may have been lost";
    for (int i = 0; i < 4; ++i) {
        solo.tick();
        solo.hear("2", append(1, 1, 1));
    }
    ASSERT_EQ(solo.refused.size(), 1U);
    EXPECT_EQ(solo.refused[0].error.code(), ErrorCode::kTimedOut);
    solo.forget();
    solo.tick(5);
    EXPECT_TRUE(solo.said<ReadIndexRequest>().empty());
}

TEST_F(RaftStuckReads, OfManyEachIsAskedForAgainInItsTurn) {
    solo.hear("2", append(1, 1, 1));
    for (std::uint64_t i = 0; i < 3000; ++i) {
        ASSERT_TRUE(solo.core().read_index(ReadId{i}, HeldBy::kEveryone));
    }
    solo.carry();
    solo.forget();
    std::set<std::uint64_t> asked;
    for (int round = 0; round < 3; ++round) {
        std::size_t in_round = 0;
        for (std::uint32_t i = 0; i < 2 * quick_settings().heartbeat_ticks; ++i) {
            solo.tick();
            for (const auto& [to, m] : solo.said<ReadIndexRequest>()) {
                asked.insert(m.context);
                ++in_round;
            }
        }
        EXPECT_LE(in_round, 1024U);
        solo.hear("2", append(1, 1, 1));
    }
    EXPECT_EQ(asked.size(), 3000U);
}

/// The one that lacks it is heard, and behind: in the middle of a snapshot, say.
TEST_F(RaftStuckReads, WhatSomebodyNeverHoldsIsGivenUpByTheLeader) {
    solo.lead();
    const auto hear_both = [&] {
        for (const char* name : {"2", "3"}) {
            solo.core().peer_up(name, false);
            solo.hear(name, HeartbeatResponse{.term = solo.core().term(), .round = 1'000'000});
        }
    };
    solo.acknowledge("2", solo.core().log().last().value);
    hear_both();
    ASSERT_TRUE(solo.core().read_index(ReadId{1}, HeldBy::kEveryone));
    solo.hear("2", ReadIndexRequest{77, true});
    for (int i = 0; i < 150; ++i) {
        solo.tick();
        hear_both();
    }
    EXPECT_TRUE(solo.refused.empty());
    for (int i = 0; i < 60; ++i) {
        solo.tick();
        hear_both();
    }
    ASSERT_EQ(solo.refused.size(), 1U);
    EXPECT_EQ(solo.refused[0].error.code(), ErrorCode::kTimedOut);
    solo.forget();
    solo.acknowledge("3", solo.core().log().last().value);
    EXPECT_TRUE(solo.said<ReadIndexResponse>().empty()) << "nobody waits for it any more";
}

/// It reaches this member alone, and can never win.
TEST(RaftStuck, WhoWasPreferredAndDidNotWinIsNotPreferredAgainSoon) {
    Configuration preferred = group({"1", "2", "3"});
    preferred.members["2"].priority = 200;
    Solo solo;
    solo.hear("3", append(1, 1, 1, {members_entry(2, 1, preferred)}, 2));
    const auto lead_until_asked = [&](std::uint64_t ticks) {
        for (int i = 0; i < 100 && solo.core().role() == Role::kFollower; ++i) {
            solo.tick();
        }
        for (const char* name : {"2", "3"}) {
            solo.hear(name, VoteResponse{.term = Term{solo.core().term().value + 1}, .granted = true, .pre_vote = true});
        }
        for (const char* name : {"2", "3"}) {
            solo.hear(name, VoteResponse{.term = solo.core().term(), .granted = true});
        }
        EXPECT_EQ(solo.core().role(), Role::kLeader);
        solo.forget();
        for (std::uint64_t i = 0; i < ticks && solo.core().role() == Role::kLeader; ++i) {
            solo.acknowledge("2", solo.core().log().last().value);
            solo.acknowledge("3", solo.core().log().last().value);
            solo.tick();
            if (!solo.said<TimeoutNow>().empty()) {
                return true;
            }
        }
        return false;
    };
    ASSERT_TRUE(lead_until_asked(5 * kElection));
    const auto another_leads = [&] {
        const Term term{solo.core().term().value + 2};
        solo.hear("3", append(term.value, solo.core().log().last().value, solo.core().log().last_term().value));
        solo.tick();
    };
    another_leads();
    EXPECT_FALSE(lead_until_asked(5 * kElection)) << "the group would be without a leader again and again";
    another_leads();
    EXPECT_TRUE(lead_until_asked(12 * kElection)) << "it may be able to lead by now";
    another_leads();
    EXPECT_FALSE(lead_until_asked(12 * kElection)) << "each time it is longer";
}

TEST(RaftStuck, ADiskWithoutRoomIsLeftOnceInAWhile) {
    Solo solo;
    solo.lead();
    solo.acknowledge("2", solo.core().log().last().value);
    solo.hold_disk = true;
    ASSERT_TRUE(solo.propose());
    solo.core().not_persisted();
    std::size_t asked = 0;
    for (std::uint64_t i = 0; i < 5 * kElection && solo.core().role() == Role::kLeader; ++i) {
        solo.hear("2", HeartbeatResponse{.term = solo.core().term(), .round = 1});
        solo.core().tick();
        for (const auto& out : solo.core().take_messages()) {
            asked += std::holds_alternative<TimeoutNow>(out.message->body) ? 1 : 0;
        }
    }
    EXPECT_EQ(asked, 1U) << "one that does not take it is not asked again and again, and writes go on once there is room";
}

}  // namespace
}  // namespace nornic::raft::testing
