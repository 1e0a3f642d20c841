// What every mode promises of a write.
#include "tests/modes/conformance/suite.h"

namespace nornic::modes::conformance {
namespace {

using Writes = EveryMode;
NORNIC_FOR_EVERY_MODE(Writes);

TEST_P(Writes, EndInExactlyOneAnswer) {
    form();
    const auto first = propose(5, "first ");
    EXPECT_TRUE(await(first, Outcome::kCommitted));
    const auto second = propose(5, "second ");
    EXPECT_TRUE(await(second, Outcome::kCommitted));
    EXPECT_EQ(cluster.open_proposals(), 0U);
    LogIndex before;
    for (const ProposalId id : first) {
        EXPECT_GT(cluster.proposal(id).placed->index, before) << "writes of one caller keep their order";
        before = cluster.proposal(id).placed->index;
    }
    cluster.expect_progress_and_convergence();
}

TEST_P(Writes, HaveAPlaceInTheLogBeforeTheyAreCommitted) {
    form();
    cluster.hold_disk(writer, Hold::kSync);
    const auto held = propose(2, "held ");
    cluster.settle();
    for (const ProposalId id : held) {
        EXPECT_TRUE(cluster.proposal(id).placed);
        EXPECT_EQ(cluster.proposal(id).outcome, Outcome::kOpen)
            << "it was acknowledged before it was on the writer's disk";
    }
    cluster.hold_disk(writer, Hold::kNothing);
    EXPECT_TRUE(await(held, Outcome::kCommitted));
}

TEST_P(Writes, WaitForTheDisksThatTheModeSpeaksOf) {
    form();
    for (const NodeName& other : others()) {
        cluster.hold_disk(other, Hold::kSync);
    }
    const auto held = propose(1, "held ");
    cluster.run(3);
    EXPECT_EQ(all_end_as(held, Outcome::kCommitted), GetParam().copies == 1);
    for (const NodeName& other : others()) {
        cluster.hold_disk(other, Hold::kNothing);
    }
    EXPECT_TRUE(await(held, Outcome::kCommitted));
}

TEST_P(Writes, ForWhichTheDiskHasNoRoomAreRefusedAndTakeNoPlace) {
    form();
    const LogIndex before = cluster.log(writer).last_index();
    cluster.fill_disk(writer, true);
    cluster.hold_disk(writer, Hold::kAppend);
    const auto refused = propose(3, "refused ");
    cluster.settle();
    const auto behind = propose(2, "behind ");  // they come in while the first ones fail
    cluster.hold_disk(writer, Hold::kNothing);
    cluster.step_driver(writer);
    EXPECT_TRUE(all_end_as(refused, Outcome::kRefused));
    EXPECT_EQ(cluster.proposal(refused[0]).error->code(), ErrorCode::kDiskFull);
    EXPECT_TRUE(all_end_as(behind, Outcome::kOpen));
    cluster.fill_disk(writer, false);
    EXPECT_TRUE(await(behind, Outcome::kCommitted));
    EXPECT_EQ(cluster.proposal(behind[0]).placed->index.value, before.value + 1);
    cluster.expect_progress_and_convergence();
    EXPECT_TRUE(all_end_as(refused, Outcome::kRefused));
}

TEST_P(Writes, AreNotLostWhereAnotherMembersDiskIsFullForAWhile) {
    form();
    for (const NodeName& other : others()) {
        cluster.fill_disk(other, true);
    }
    const auto ids = propose(4, "w");
    cluster.run(3);
    for (const NodeName& other : others()) {
        cluster.fill_disk(other, false);
    }
    EXPECT_TRUE(await(ids, Outcome::kCommitted));
    cluster.expect_progress_and_convergence();
}

TEST_P(Writes, BeyondTheLimitOfWhatIsUnderWayFindItBusyUntilThereIsRoom) {
    form();
    cluster.hold_disk(writer, Hold::kSync);
    std::vector<ProposalId> taken;
    std::optional<Error> refusal;
    while (!refusal && taken.size() < 100) {
        const auto offered = cluster.propose(writer, "w" + std::to_string(taken.size()));
        offered ? taken.push_back(offered.value()) : void(refusal = offered.error());
    }
    ASSERT_TRUE(refusal);
    EXPECT_EQ(refusal->code(), ErrorCode::kBusy);
    EXPECT_EQ(taken.size(), ClusterOptions{}.inflight_max);
    cluster.hold_disk(writer, Hold::kNothing);
    EXPECT_TRUE(await(taken, Outcome::kCommitted));
    EXPECT_TRUE(await(propose(1, "there is room "), Outcome::kCommitted));
}

TEST_P(Writes, BeyondTheBytesUnderWayFindItBusyAndOneIsAlwaysTaken) {
    form();
    cluster.hold_disk(writer, Hold::kSync);
    const std::string big(ClusterOptions{}.inflight_bytes_max + 1, 'x');
    const auto taken = cluster.propose(writer, big);
    ASSERT_TRUE(taken) << "one write is taken whatever its size";
    const auto refused = cluster.propose(writer, "x");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kBusy);
    cluster.hold_disk(writer, Hold::kNothing);
    EXPECT_TRUE(await({taken.value()}, Outcome::kCommitted));
    EXPECT_TRUE(await(propose(1, "there is room "), Outcome::kCommitted));
}

TEST_P(Writes, AreRefusedByWhoDoesNotLeadWithAHint) {
    form();
    for (const NodeName& other : others()) {
        const auto offered = cluster.propose(other, "w");
        ASSERT_FALSE(offered) << other;
        EXPECT_EQ(offered.error().code(), ErrorCode::kNotLeader) << other;
        EXPECT_EQ(offered.error().hint(), cluster.info(writer).bolt_address) << other;
    }
    for (const MemberSpec& spec : GetParam().members) {
        if (spec.witness) {
            EXPECT_EQ(cluster.propose(spec.name, "w").error().code(), ErrorCode::kReadOnly);
        }
    }
}

TEST_P(Writes, ArriveWholeWhateverTheirSizeAndNumber) {
    form();
    std::vector<ProposalId> ids;
    for (int i = 0; i < 60; ++i) {
        const auto offered = cluster.propose(writer, std::string(static_cast<std::size_t>(i * 13 % 200), 'a') + "!");
        ASSERT_TRUE(offered);
        ids.push_back(offered.value());
        if (i % 7 == 0) {
            cluster.run(1);
        }
        if (cluster.open_proposals() >= 12) {
            ASSERT_TRUE(await(ids, Outcome::kCommitted));
        }
    }
    EXPECT_TRUE(await(ids, Outcome::kCommitted));
    cluster.expect_progress_and_convergence();
}

}  // namespace
}  // namespace nornic::modes::conformance
