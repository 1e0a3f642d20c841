// What is the chain's own; what it promises like every mode is in tests/modes/conformance.
#include "tests/modes/chain/chain.h"

#include "tests/modes/conformance/suite.h"

namespace nornic::modes {
namespace {

using conformance::Cluster;
using conformance::Hold;
using conformance::Outcome;

class ChainTest : public testing::Test {
protected:
    explicit ChainTest(const conformance::ModeUnderTest& mode = conformance::mode_under_test("chain"))
        : cluster{mode} {}
    void SetUp() override {
        cluster.start_all();
        ASSERT_EQ(cluster.await_writer(50), "a");
        cluster.run(3);
    }
    ProposalId propose(const NodeName& to, const std::string& payload) {
        const auto offered = cluster.propose(to, payload);
        EXPECT_TRUE(offered) << (offered ? "" : offered.error().message());
        return offered ? offered.value() : ProposalId{0};
    }
    Result<std::uint64_t> change(Command::Kind kind, const NodeName& at, const NodeName& target, bool force = false) {
        return cluster.command(at, {.kind = kind, .target = target, .force = force});
    }
    /// Asks, and waits for the new chain to work.
    void reform(Command::Kind kind, const NodeName& at, const NodeName& target, bool force = false) {
        const auto asked = change(kind, at, target, force);
        ASSERT_TRUE(asked) << asked.error().message();
        ASSERT_TRUE(cluster.run_until([&] { return cluster.answer(asked.value()).has_value(); }, 50));
        EXPECT_TRUE(*cluster.answer(asked.value())) << cluster.answer(asked.value())->error().message();
    }
    bool holds(const NodeName& name, const std::string& payload) {
        const auto last = cluster.log(name).last_index();
        const Entry* entry = cluster.log(name).find(last);
        return entry != nullptr && entry->payload == payload;
    }
    [[nodiscard]] bool has_applied(const NodeName& name, const std::string& payload) const {
        const auto& state = cluster.applied(name);
        return std::any_of(state.begin(), state.end(), [&](const Entry& entry) { return entry.payload == payload; });
    }
    [[nodiscard]] Outcome outcome(ProposalId id) const { return cluster.proposal(id).outcome; }

    static constexpr auto kRemove = Command::Kind::kRemoveMember;
    static constexpr auto kAdd = Command::Kind::kAddMember;
    Cluster cluster;
};

TEST_F(ChainTest, AMemberForwardsWhatIsOnItsDisk) {
    cluster.hold_disk("a", Hold::kSync);
    const ProposalId id = propose("a", "w");
    cluster.run(2);
    EXPECT_FALSE(holds("b", "w"));
    cluster.hold_disk("b", Hold::kSync);
    cluster.hold_disk("a", Hold::kNothing);
    cluster.run(2);
    EXPECT_TRUE(holds("a", "w"));
    EXPECT_FALSE(holds("c", "w")) << "b has not synced it";
    cluster.hold_disk("b", Hold::kNothing);
    cluster.run(2);
    EXPECT_TRUE(holds("c", "w"));
    EXPECT_EQ(outcome(id), Outcome::kCommitted);
}

TEST_F(ChainTest, TheTailCommitsAndTheAcknowledgementComesBack) {
    cluster.cut("b", "a");
    const ProposalId id = propose("a", "w");
    cluster.settle();
    EXPECT_TRUE(has_applied("c", "w"));
    EXPECT_TRUE(has_applied("b", "w"));
    EXPECT_FALSE(has_applied("a", "w")) << "it has not heard of it";
    EXPECT_EQ(outcome(id), Outcome::kOpen);
    cluster.heal();
    cluster.run(3);
    EXPECT_EQ(outcome(id), Outcome::kCommitted);
}

TEST_F(ChainTest, WhileAMemberIsDeadNothingIsTakenAndNothingIsLost) {
    cluster.crash("c");
    const ProposalId id = propose("a", "before it is noticed");
    cluster.run(20);
    EXPECT_EQ(outcome(id), Outcome::kOpen);
    const auto refused = cluster.propose("a", "after");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kDatabaseUnavailable);
    EXPECT_EQ(cluster.strategy("a").view().state, "no_quorum");
    cluster.start("c");
    cluster.run(5);
    EXPECT_EQ(outcome(id), Outcome::kCommitted);
}

TEST_F(ChainTest, WithoutADeadMiddleItGoesOn) {
    cluster.crash("b");
    const ProposalId open = propose("a", "on its way");
    cluster.run(20);
    reform(kRemove, "a", "b");
    cluster.run(3);
    EXPECT_EQ(outcome(open), Outcome::kCommitted) << "what stood in the log counts in the new chain";
    const ProposalId id = propose("a", "w");
    cluster.run(3);
    EXPECT_EQ(outcome(id), Outcome::kCommitted);
    EXPECT_TRUE(holds("c", "w"));
    cluster.start("b");
    cluster.run(5);
    EXPECT_EQ(cluster.strategy("b").view().state, "read_only");
    reform(kAdd, "a", "b");
    cluster.expect_progress_and_convergence();
}

TEST_F(ChainTest, WithoutADeadHeadTheNextOneLeadsAndTheOldOneGivesUpWhatNobodyTook) {
    ASSERT_EQ(cluster.strategy("a").write_term(), Term{1});
    cluster.cut("a", "b");
    const ProposalId lost = propose("a", "nobody took it");
    cluster.settle();
    cluster.crash("a");
    cluster.heal();
    reform(kRemove, "b", "a");
    EXPECT_EQ(cluster.strategy("b").write_term().value % 3, 2U) << "epochs of b";
    const ProposalId id = propose("b", "w");
    cluster.run(3);
    EXPECT_EQ(outcome(id), Outcome::kCommitted);
    cluster.start("a");
    cluster.run(5);
    EXPECT_EQ(cluster.propose("a", "x").error().code(), ErrorCode::kNotLeader);
    EXPECT_EQ(cluster.propose("a", "x").error().hint(), cluster.info("b").bolt_address);
    reform(kAdd, "b", "a");
    cluster.expect_progress_and_convergence();
    ASSERT_EQ(cluster.diverged("a").size(), 1U);
    EXPECT_EQ(cluster.diverged("a").front().payload, "nobody took it");
    EXPECT_EQ(outcome(lost), Outcome::kUnknown) << "its member crashed before anybody could say";
}

TEST_F(ChainTest, AHeadThatWasReplacedWhileItLivedTellsItsClientsThatTheirWritesAreLost) {
    cluster.isolate("a");
    const ProposalId lost = propose("a", "nobody took it");
    cluster.settle();
    reform(kRemove, "b", "a");
    cluster.heal();
    cluster.run(5);
    EXPECT_EQ(outcome(lost), Outcome::kOpen) << "it stands in a log that may count again";
    reform(kAdd, "b", "a");
    cluster.run(3);
    EXPECT_EQ(outcome(lost), Outcome::kLost);
}

TEST_F(ChainTest, TheWriteOfAReplacedHeadCountsIfTheNextOneHadIt) {
    cluster.cut("b", "a");
    const ProposalId id = propose("a", "b took it");
    cluster.settle();
    cluster.isolate("a");
    reform(kRemove, "b", "a");
    EXPECT_TRUE(has_applied("b", "b took it"));
    cluster.heal();
    cluster.run(5);
    reform(kAdd, "b", "a");
    cluster.run(3);
    EXPECT_EQ(outcome(id), Outcome::kCommitted);
}

TEST_F(ChainTest, AMemberWithTheNewerLogFollowsNoOlderOne) {
    // a and c go on without b and acknowledge a write. Then b, which knows nothing of it, is told to lead.
    cluster.isolate("b");
    cluster.run(20);
    reform(kRemove, "a", "b");
    const ProposalId id = propose("a", "w");
    cluster.run(3);
    ASSERT_EQ(outcome(id), Outcome::kCommitted);
    cluster.crash("a");
    cluster.heal();
    const auto asked = change(kRemove, "b", "a");
    ASSERT_TRUE(asked);
    cluster.run(50);
    EXPECT_FALSE(cluster.answer(asked.value())) << "c holds what b does not";
    EXPECT_TRUE(cluster.writers().empty());
    EXPECT_TRUE(has_applied("c", "w"));
    cluster.start("a");
    cluster.run(20);
    EXPECT_EQ(cluster.writers(), std::vector<NodeName>{"a"});
    reform(kAdd, "a", "b");
    cluster.expect_progress_and_convergence();
}

TEST_F(ChainTest, AnEntryOfAnOlderEpochIsCommittedByOneOfThisEpochBehindIt) {
    // Raft's figure 8 for a chain: an entry on all disks of a chain may still be overwritten by a member that was
    // in no contact and has an entry of a later epoch.
    const auto step_until_answered = [&](const NodeName& head, std::uint64_t asked) {
        for (int i = 0; i < 100 && !cluster.answer(asked); ++i) {
            cluster.step_driver(head);
            cluster.deliver(head, "c", Lane::LANE_LOG);
            cluster.step_driver("c");
            cluster.deliver("c", head, Lane::LANE_LOG);
        }
        return cluster.answer(asked).has_value();
    };
    cluster.isolate("a");
    (void)propose("a", "old");
    cluster.settle();
    ASSERT_TRUE(holds("a", "old"));
    // b leads c and gets no further than to write its first entry on its own disk.
    const auto to_b = change(kRemove, "b", "a");
    ASSERT_TRUE(to_b);
    ASSERT_TRUE(step_until_answered("b", to_b.value()));
    cluster.isolate("b");
    cluster.settle();
    ASSERT_EQ(cluster.log("b").term_at(LogIndex{2}).value(), cluster.strategy("b").view().term);
    cluster.crash("b");
    // a leads c, and "old" comes to all of this chain before its own first entry is on disk.
    cluster.heal();
    const auto to_a = change(kRemove, "a", "b");
    ASSERT_TRUE(to_a);
    ASSERT_TRUE(step_until_answered("a", to_a.value()));
    cluster.hold_disk("a", Hold::kSync);
    cluster.settle();
    ASSERT_TRUE(holds("c", "old"));
    EXPECT_FALSE(has_applied("c", "old")) << "b could still lead c, and c would take b's entry in its place";
    cluster.hold_disk("a", Hold::kNothing);
    cluster.settle();
    EXPECT_TRUE(has_applied("c", "old"));
}

TEST_F(ChainTest, IsChangedAtItsHeadAlone) {
    for (const auto& [at, target] : {std::pair{"b", "c"}, std::pair{"c", "a"}, std::pair{"c", "b"}, std::pair{"a", "a"}}) {
        const auto asked = change(kRemove, at, target);
        ASSERT_FALSE(asked) << at << " without " << target;
        EXPECT_EQ(asked.error().code(), ErrorCode::kNotLeader);
    }
    EXPECT_EQ(change(kRemove, "a", "nobody").error().code(), ErrorCode::kNotFound);
    EXPECT_EQ(change(kAdd, "a", "b").error().code(), ErrorCode::kInvalidArgument);
    EXPECT_EQ(change(Command::Kind::kPromote, "b", "").error().code(), ErrorCode::kUnsupported);
}

/// What force may cost is not held against it.
conformance::ModeUnderTest forced() {
    conformance::ModeUnderTest mode = conformance::mode_under_test("chain");
    mode.copies = 1;
    mode.keeps_acknowledged = mode.applies_for_good = mode.fresh_reads = false;
    return mode;
}

class ForcedChain : public ChainTest {
protected:
    ForcedChain() : ChainTest{forced_} {}
    static inline const conformance::ModeUnderTest forced_ = forced();
};

TEST_F(ForcedChain, OfLessThanHalfTakesWritesAlone) {
    cluster.crash("b");
    cluster.crash("c");
    cluster.run(20);
    ASSERT_TRUE(change(kRemove, "a", "b"));
    const auto refused = change(kRemove, "a", "c");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kDatabaseUnavailable);
    reform(kRemove, "a", "c", true);
    const ProposalId id = propose("a", "alone");
    cluster.run(3);
    EXPECT_EQ(outcome(id), Outcome::kCommitted);
    cluster.expect_progress_and_convergence();
}

TEST_F(ForcedChain, IsNotMixedWithWhatTheOthersWroteMeanwhile) {
    cluster.isolate("b");
    cluster.run(20);
    reform(kRemove, "a", "b");
    const ProposalId here = propose("a", "here");
    ASSERT_TRUE(change(kRemove, "b", "a"));
    reform(kRemove, "b", "c", true);  // an operator is sure that a and c are dead, and wrong
    cluster.run(3);
    const ProposalId there = propose("b", "there");
    cluster.run(3);
    EXPECT_EQ(outcome(here), Outcome::kCommitted);
    EXPECT_EQ(outcome(there), Outcome::kCommitted);
    cluster.heal();
    cluster.run(5);
    EXPECT_EQ(cluster.writers(), std::vector<NodeName>{"b"}) << "the later epoch stands";
    ASSERT_TRUE(change(kAdd, "b", "a"));
    cluster.run(20);
    EXPECT_EQ(cluster.strategy("a").view().state, "foreign_data");
    EXPECT_TRUE(has_applied("a", "here"));
    EXPECT_FALSE(has_applied("a", "there"));
    EXPECT_TRUE(cluster.writers().empty()) << "no chain works with it";
    reform(kRemove, "b", "a", true);
    EXPECT_EQ(cluster.writers(), std::vector<NodeName>{"b"});
}

TEST_F(ChainTest, AReadAtTheHeadWaitsForARoundOfTheWholeChain) {
    const auto read = cluster.read("a", ReadConsistency::kQuorum);
    ASSERT_TRUE(read);
    cluster.step_driver("a");
    EXPECT_FALSE(cluster.asked(read.value()).index);
    cluster.settle();
    EXPECT_TRUE(cluster.asked(read.value()).answered_at);
}

TEST_F(ChainTest, AReadAtAHeadThatWasReplacedIsRefused) {
    cluster.isolate("a");
    const auto read = cluster.read("a", ReadConsistency::kQuorum);
    ASSERT_TRUE(read) << "it does not know yet";
    reform(kRemove, "b", "a");
    EXPECT_FALSE(cluster.asked(read.value()).index);
    cluster.heal();
    cluster.run(5);
    ASSERT_TRUE(cluster.asked(read.value()).error);
    EXPECT_EQ(cluster.asked(read.value()).error->code(), ErrorCode::kNotLeader);
}

}  // namespace
}  // namespace nornic::modes
