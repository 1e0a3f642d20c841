// A group whose first state is empty: a snapshot as of index 0 gives a new member the data's identity and nothing else.
#include "tests/modes/raft/solo.h"

namespace nornic::raft::testing {
namespace {

TEST(RaftEmptyState, AMemberThatTookItIsSentEntriesThoughTheWordOfTheTransfersEndWasLost) {
    Solo solo;
    solo.lead();
    solo.hear("2", AppendResponse{.term = solo.core().term(), .needs_snapshot = true});
    ASSERT_EQ(solo.core().progress("2")->state(), Progress::State::kSnapshot);
    solo.forget();
    solo.acknowledge("2", 0);
    EXPECT_NE(solo.core().progress("2")->state(), Progress::State::kSnapshot);
    const auto sent = solo.said<AppendEntries>();
    ASSERT_EQ(sent.size(), 1U);
    EXPECT_EQ(sent[0].first, "2");
    EXPECT_EQ(sent[0].second.prev_index, LogIndex{0});
    EXPECT_FALSE(sent[0].second.entries.empty());
}

}  // namespace
}  // namespace nornic::raft::testing
