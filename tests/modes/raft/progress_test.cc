#include "modes/raft/core/progress.h"

#include <gtest/gtest.h>

namespace nornic::raft {
namespace {

using State = Progress::State;

LogIndex at(std::uint64_t index) {
    return LogIndex{index};
}

/// Equal to its leader up to `match`.
Progress replicating(std::uint64_t match) {
    Progress p{at(match + 1), 0};
    p.sent(at(match), 0, 0);
    p.matched(at(match), 0);
    return p;
}

const ProgressLimits kLimits{.messages_max = 3, .bytes_max = 100};

TEST(Progress, ProbesWithOneMessageAtATimeUntilTheLogsMeet) {
    Progress p{at(11), 5};
    EXPECT_EQ(p.state(), State::kProbe);
    EXPECT_TRUE(p.may_send(kLimits));
    p.sent(at(12), 30, 6);
    EXPECT_FALSE(p.may_send(kLimits));
    EXPECT_EQ(p.next(), at(11)) << "whether the guess was right is not known";
    EXPECT_TRUE(p.rejected(at(10), at(4), 7));
    EXPECT_EQ(p.next(), at(4));
    EXPECT_TRUE(p.may_send(kLimits));
    p.sent(at(3), 0, 8);
    EXPECT_TRUE(p.matched(at(2), 9)) << "durable, and less than what was asked";
    EXPECT_EQ(p.state(), State::kProbe);
    EXPECT_EQ(p.next(), at(4));
    EXPECT_TRUE(p.matched(at(3), 9));
    EXPECT_EQ(p.state(), State::kReplicate);
    EXPECT_EQ(p.next(), at(4));
    p.probe();
    p.sent(at(3), 0, 10);
    EXPECT_FALSE(p.matched(at(3), 11)) << "nothing new, but the logs met";
    EXPECT_EQ(p.state(), State::kReplicate);
}

TEST(Progress, AWindowOfMessages) {
    Progress p = replicating(10);
    for (std::uint64_t i = 11; i <= 13; ++i) {
        ASSERT_TRUE(p.may_send(kLimits));
        p.sent(at(i), 1, 1);
    }
    EXPECT_FALSE(p.may_send(kLimits));
    EXPECT_EQ(p.next(), at(14));
    EXPECT_TRUE(p.matched(at(12), 2));
    EXPECT_TRUE(p.may_send(kLimits)) << "two of three were answered by one";
    EXPECT_EQ(p.next(), at(14));
    p.sent(at(14), 1, 3);
    p.sent(at(15), 1, 3);
    EXPECT_FALSE(p.may_send(kLimits));
    EXPECT_TRUE(p.matched(at(15), 4));
    EXPECT_FALSE(p.waits());
}

TEST(Progress, AWindowOfBytesWithRoomForOneLargeEntry) {
    Progress p = replicating(10);
    p.sent(at(11), 99, 1);
    EXPECT_TRUE(p.may_send(kLimits));
    p.sent(at(12), 5000, 1);
    EXPECT_FALSE(p.may_send(kLimits));
    EXPECT_TRUE(p.matched(at(11), 2));
    EXPECT_FALSE(p.may_send(kLimits));
    EXPECT_TRUE(p.matched(at(12), 3));
    EXPECT_TRUE(p.may_send(kLimits));
}

TEST(Progress, OldRepeatedAndReorderedAnswersChangeNothing) {
    Progress p = replicating(10);
    p.sent(at(11), 1, 1);
    p.sent(at(12), 1, 1);
    p.sent(at(13), 1, 1);
    EXPECT_TRUE(p.matched(at(12), 2));
    EXPECT_FALSE(p.matched(at(11), 3));
    EXPECT_FALSE(p.matched(at(12), 3));
    EXPECT_FALSE(p.rejected(at(11), at(3), 3)) << "it matched there, and a log does not shrink in a term";
    EXPECT_FALSE(p.rejected(at(14), at(3), 3)) << "nobody asked";
    EXPECT_EQ(p.state(), State::kReplicate);
    EXPECT_EQ(p.match(), at(12));
    EXPECT_EQ(p.next(), at(14));
    EXPECT_TRUE(p.waits());
}

TEST(Progress, ARejectInAWindowGoesBackToWhereTheFollowerSays) {
    Progress p = replicating(10);
    p.sent(at(11), 1, 1);
    p.sent(at(12), 1, 1);
    p.sent(at(13), 1, 1);  // 12 was lost on the way
    EXPECT_TRUE(p.matched(at(11), 2));
    EXPECT_TRUE(p.rejected(at(12), at(12), 3));
    EXPECT_EQ(p.state(), State::kProbe);
    EXPECT_EQ(p.next(), at(12));
    EXPECT_TRUE(p.may_send(kLimits));
    EXPECT_FALSE(p.rejected(at(12), at(5), 4)) << "the answer to the message behind: probing began anew since";
    EXPECT_EQ(p.next(), at(12));
}

TEST(Progress, ARejectNeverGoesBehindWhatMatchedNorForward) {
    Progress p{at(20), 0};
    p.sent(at(19), 0, 0);
    EXPECT_TRUE(p.rejected(at(19), at(500), 1));
    EXPECT_EQ(p.next(), at(19));
    p = replicating(10);
    p.sent(at(11), 1, 1);
    p.sent(at(15), 1, 1);
    EXPECT_TRUE(p.rejected(at(11), at(0), 2));
    EXPECT_EQ(p.next(), at(11));
}

TEST(Progress, ProbingAfterALossStartsBehindWhatMatched) {
    Progress p = replicating(10);
    p.sent(at(15), 50, 3);
    EXPECT_TRUE(p.waits());
    EXPECT_EQ(p.progress_tick(), 3U);
    p.sent(at(16), 1, 8);
    EXPECT_EQ(p.progress_tick(), 3U) << "the oldest is what counts";
    p.probe();
    EXPECT_EQ(p.state(), State::kProbe);
    EXPECT_EQ(p.next(), at(11));
    EXPECT_FALSE(p.waits());
    EXPECT_TRUE(p.matched(at(16), 9)) << "it had not been lost after all";
    EXPECT_EQ(p.state(), State::kReplicate);
    EXPECT_EQ(p.next(), at(17));
    // The guess of a probe that was lost stays.
    Progress guess{at(9), 0};
    guess.sent(at(8), 0, 0);
    guess.probe();
    EXPECT_EQ(guess.next(), at(9));
    EXPECT_TRUE(guess.may_send(kLimits));
}

TEST(Progress, NothingGoesOutDuringASnapshotAndProbingGoesOnBehindIt) {
    Progress p = replicating(10);
    p.sent(at(11), 1, 1);
    p.snapshot(7);
    EXPECT_FALSE(p.may_send(kLimits));
    EXPECT_FALSE(p.waits());
    p.probe();
    EXPECT_EQ(p.state(), State::kSnapshot) << "only its end ends it";
    EXPECT_FALSE(p.rejected(at(11), at(3), 2));
    EXPECT_TRUE(p.matched(at(11), 3)) << "late, and true all the same";
    EXPECT_EQ(p.state(), State::kSnapshot);
    p.snapshot_ended(at(40));
    EXPECT_EQ(p.state(), State::kProbe);
    EXPECT_EQ(p.next(), at(41));
    EXPECT_EQ(p.match(), at(11)) << "the follower itself has not said so yet";
    p.snapshot_ended(at(90));
    EXPECT_EQ(p.next(), at(41)) << "none was on its way";
}

TEST(Progress, WhereTheLogWasCutTheFollowerIsAskedAtItsBeginning) {
    Progress p = replicating(10);
    p.sent(at(11), 1, 1);
    p.probe_from(at(31));
    EXPECT_EQ(p.state(), State::kProbe);
    EXPECT_EQ(p.next(), at(31));
    EXPECT_EQ(p.match(), at(10));
    EXPECT_TRUE(p.may_send(kLimits));
    p.sent(at(30), 0, 2);
    EXPECT_TRUE(p.rejected(at(30), at(12), 3));
    EXPECT_EQ(p.next(), at(12));
}

TEST(Progress, ASnapshotThatFailedStartsAgainBehindWhatMatched) {
    Progress p = replicating(10);
    p.snapshot(7);
    p.snapshot_ended(at(0));
    EXPECT_EQ(p.state(), State::kProbe);
    EXPECT_EQ(p.next(), at(11));
    EXPECT_TRUE(p.may_send(kLimits));
}

TEST(Progress, APauseOfThisProcessIsNotAFollowersSilence) {
    Progress p = replicating(10);
    p.heard(5);
    p.sent(at(11), 1, 6);
    p.shift(100);
    EXPECT_EQ(p.heard_tick(), 105U);
    EXPECT_EQ(p.progress_tick(), 106U);
    p.note_applied(at(9));
    p.note_applied(at(4));
    EXPECT_EQ(p.applied(), at(9));
}

}  // namespace
}  // namespace nornic::raft
