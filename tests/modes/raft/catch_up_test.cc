// A follower that is far behind is sent what it missed as fast as the driver allows, unless somebody waits for it.
#include "tests/modes/raft/solo.h"

namespace nornic::raft::testing {
namespace {

constexpr std::uint64_t kEntry = 64 + 1;  // what counts of an entry with a payload of one byte
constexpr std::size_t kMissed = 5000;

/// Member 1 leads 2, which has all, and 3, which missed thousands of entries.
class RaftCatchUp : public ::testing::Test {
protected:
    RaftCatchUp() : solo{{.terms = std::vector<std::uint64_t>(kMissed, 1)}} {
        solo.core().peer_up("2", false);
        solo.core().peer_up("3", false);
        solo.lead();
        solo.acknowledge("2", last());
        LogIndex asked;
        for (const auto& [to, append] : solo.said<AppendEntries>()) {
            asked = to == "3" ? append.prev_index : asked;
        }
        solo.hear("3",
                  AppendResponse{.term = solo.core().term(), .success = false, .match = asked, .conflict_index = LogIndex{at_ + 1}, .conflict_term = Term{1}});
        solo.forget();
    }
    [[nodiscard]] std::uint64_t last() { return solo.core().log().last().value; }
    /// It acknowledges what it was sent, again and again, until it is sent no more. Returns how many entries those were.
    std::uint64_t follow() {
        const std::uint64_t began = at_;
        for (bool more = true; more;) {
            more = false;
            solo.acknowledge("3", at_);
            for (const auto& [to, append] : solo.said<AppendEntries>()) {
                if (to == "3" && !append.entries.empty()) {
                    at_ = append.entries.back()->index.value;
                    more = true;
                }
            }
        }
        return at_ - began;
    }
    void expect_all() {
        follow();
        EXPECT_EQ(at_, last());
    }

    Solo solo;

private:
    std::uint64_t at_ = 10;
};

TEST_F(RaftCatchUp, GoesAsFastAsItCanWhereNothingWasSaid) {
    expect_all();
    EXPECT_FALSE(solo.core().catches_up());
}

TEST_F(RaftCatchUp, GoesAsFastAsIsAllowed) {
    solo.core().allow_catch_up(200 * kEntry);
    const std::uint64_t first = follow();
    EXPECT_GE(first, 200U);
    EXPECT_LE(first, 200U + quick_settings().append_entries_max);
    EXPECT_TRUE(solo.core().catches_up());
    EXPECT_EQ(follow(), 0U);
    solo.tick();
    EXPECT_EQ(follow(), 0U);
    solo.core().allow_catch_up(200 * kEntry);
    solo.tick();
    // What was more than allowed is made up for, so each round takes about as many.
    EXPECT_LE(first + follow(), 400U + quick_settings().append_entries_max);
    for (int i = 0; i < 40; ++i) {
        solo.core().allow_catch_up(200 * kEntry);
        solo.tick();
        follow();
    }
    expect_all();
}

TEST_F(RaftCatchUp, GoesTwiceAsFastAsWritesComeHoweverLittleIsAllowed) {
    solo.core().allow_catch_up(0);
    follow();
    for (int i = 0; i < 100; ++i) {
        ASSERT_TRUE(solo.propose());
        solo.acknowledge("2", last());
    }
    solo.core().allow_catch_up(1);
    EXPECT_GE(follow(), 150U);
}

TEST_F(RaftCatchUp, IsNotHeldBackWhereACommitNeedsIt) {
    solo.core().allow_catch_up(0);
    follow();
    solo.core().peer_down("2", true);
    solo.tick();
    expect_all();
}

TEST_F(RaftCatchUp, IsNotHeldBackWhereTheOtherOneHasFallenSilent) {
    solo.core().allow_catch_up(0);
    follow();
    for (std::uint32_t i = 0; i < 4 * quick_settings().heartbeat_ticks; ++i) {
        solo.tick();
        follow();
    }
    expect_all();
}

TEST_F(RaftCatchUp, IsNotHeldBackWhereLeadershipIsHandedToIt) {
    solo.core().allow_catch_up(0);
    follow();
    ASSERT_TRUE(solo.core().transfer(1, "3"));
    solo.tick();
    expect_all();
}

TEST_F(RaftCatchUp, OneThatKeepsUpIsNotHeldBack) {
    expect_all();
    solo.core().allow_catch_up(0);
    for (int i = 0; i < 100; ++i) {
        ASSERT_TRUE(solo.propose());
    }
    expect_all();
}

}  // namespace
}  // namespace nornic::raft::testing
