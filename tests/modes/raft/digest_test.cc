// Members that compare what they hold (practice A31), on the conformance suite's cluster: who is told what, and who then serves.
#include "modes/raft/extra.h"
#include "modes/raft/raft.h"
#include "tests/modes/conformance/fixture.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace nornic::modes::conformance {
namespace {

/// Members a, b, c; what their digests are can be changed.
struct Group {
    explicit Group(const std::string& label = "raft_three")
        : cluster{mode_under_test(label), ClusterOptions{.digest = [this](const NodeName& name) -> std::optional<Result<std::uint64_t>> {
              const auto own = digests.find(name);
              return own == digests.end() ? Result<std::uint64_t>{1} : own->second;
          }}} {
        cluster.start_all();
        leader = cluster.await_writer(2000).value();
        for (const NodeName& name : cluster.data_members()) {
            if (name != leader) {
                followers.push_back(name);
            }
        }
    }
    ClusterView view(const NodeName& name) { return cluster.strategy(name).view(); }
    std::string detail(const NodeName& name, std::string_view which) {
        for (const auto& [key, value] : view(name).details) {
            if (key == which) {
                return value;
            }
        }
        return "none";
    }
    bool quarantined(const NodeName& name) { return view(name).state == "quarantined"; }
    bool run_until_quarantined(const NodeName& name) {
        return cluster.run_until([&] { return quarantined(name); }, 500);
    }
    bool alarmed(const NodeName& name, std::string_view words) {
        return std::ranges::any_of(cluster.errors(name), [&](const std::string& error) { return error.find(words) != std::string::npos; });
    }
    bool said(const NodeName& name, std::string_view words) {
        return std::ranges::any_of(cluster.events(name), [&](const std::string& event) { return event.find(words) != std::string::npos; });
    }
    /// A write that goes through at the writer there is then.
    bool write(const std::string& what) {
        const auto writer = cluster.await_writer(2000);
        if (!writer) {
            return false;
        }
        const auto id = cluster.propose(*writer, what);
        return id && cluster.run_until([&] { return cluster.proposal(id.value()).outcome != Outcome::kOpen; }, 200) &&
               cluster.proposal(id.value()).outcome == Outcome::kCommitted;
    }

    std::map<NodeName, std::optional<Result<std::uint64_t>>> digests;
    Cluster cluster;
    NodeName leader;
    std::vector<NodeName> followers;
};

TEST(RaftDigest, EqualMembersAreFoundEqualAgainAndAgain) {
    Group group;
    ASSERT_TRUE(group.cluster.run_until([&] { return group.detail(group.leader, "state_comparisons") == "3"; }, 1000));
    group.cluster.run(5);
    for (const NodeName& name : group.cluster.data_members()) {
        EXPECT_EQ(group.view(name).state, "ready");
        EXPECT_NE(group.detail(name, "state_compared_index"), "0") << name;
        EXPECT_EQ(group.detail(name, "state_mismatches"), "0") << name;
    }
    EXPECT_TRUE(group.said(group.leader, "is equal at log index"));
}

TEST(RaftDigest, OneThatDiffersServesNobodyAndStillVotesAndAcknowledges) {
    Group group;
    const NodeName odd = group.followers[0];
    const NodeName other = group.followers[1];
    group.digests[odd] = Result<std::uint64_t>{2};
    ASSERT_TRUE(group.run_until_quarantined(odd));
    group.cluster.run(5);
    EXPECT_FALSE(group.cluster.strategy(odd).serves());
    EXPECT_NE(group.view(odd).reason.find("empty its data directory"), std::string::npos) << group.view(odd).reason;
    EXPECT_EQ(group.detail(odd, "state_mismatches"), "1");
    EXPECT_TRUE(group.alarmed(odd, "This member is in quarantine"));
    EXPECT_TRUE(group.alarmed(group.leader, "differs from that of"));
    EXPECT_TRUE(group.cluster.errors(other).empty());
    EXPECT_EQ(group.detail(group.leader, "state_mismatches"), "1");
    const auto read = group.cluster.strategy(odd).read(ReadId{77}, ReadConsistency::kOne);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code(), ErrorCode::kDatabaseUnavailable);
    for (const NodeName& name : group.cluster.data_members()) {
        const ClusterView view = group.view(name);
        EXPECT_EQ(std::ranges::find(view.members, odd, &MemberView::id)->serves_data, false) << name;
        EXPECT_EQ(std::ranges::find(view.members, group.leader, &MemberView::id)->serves_data, true) << name;
    }
    // It acknowledges: with the third member away nothing could be committed without it.
    group.cluster.isolate(other);
    EXPECT_TRUE(group.write("two of three"));
    group.cluster.heal();
    group.cluster.run(50);
    // Nobody hands over to it, and it does not campaign; it votes, or there would be no leader.
    EXPECT_FALSE(group.cluster.command(group.leader, {.kind = Command::Kind::kTransfer, .target = odd}));
    group.cluster.crash(group.leader);
    EXPECT_EQ(group.cluster.await_writer(2000), other);
    EXPECT_TRUE(group.write("without the old leader"));
    EXPECT_TRUE(group.quarantined(odd));
}

TEST(RaftDigest, ALeaderThatDiffersHandsOverAndServesNobody) {
    Group group;
    group.digests[group.leader] = Result<std::uint64_t>{2};
    ASSERT_TRUE(group.run_until_quarantined(group.leader));
    EXPECT_EQ(group.cluster.strategy(group.leader).write_term(), Term{0});
    EXPECT_FALSE(group.cluster.propose(group.leader, "wrong"));
    ASSERT_TRUE(group.cluster.run_until(
        [&] { return group.cluster.writers().size() == 1 && group.cluster.writers().front() != group.leader; }, 50))
        << "no election time-out needs to pass";
    EXPECT_TRUE(group.write("right"));
    EXPECT_TRUE(group.quarantined(group.leader));
    EXPECT_TRUE(group.said(group.leader, "holds data that is in order"));
}

TEST(RaftDigest, WithoutAMajorityBothAreToldAndGoOn) {
    Group group{"raft_two_and_witness"};
    group.digests[group.followers.at(0)] = Result<std::uint64_t>{2};
    ASSERT_TRUE(group.cluster.run_until([&] { return group.detail(group.leader, "state_differs") == "true"; }, 500));
    group.cluster.run(5);
    for (const NodeName& name : group.cluster.data_members()) {
        EXPECT_EQ(group.view(name).state, "ready");
        EXPECT_TRUE(group.cluster.strategy(name).serves());
        EXPECT_EQ(group.detail(name, "state_differs"), "true") << name;
        EXPECT_NE(group.detail(name, "state_mismatches"), "0") << name;
        EXPECT_NE(group.detail(name, "state_differs_index"), "0") << name;
    }
    EXPECT_TRUE(group.alarmed(group.leader, "no majority says whose is right"));
    EXPECT_TRUE(group.write("still"));
    // The alarm ends when they are equal again.
    group.digests.clear();
    EXPECT_TRUE(group.cluster.run_until(
        [&] {
            return std::ranges::all_of(group.cluster.data_members(),
                                       [&](const NodeName& name) { return group.detail(name, "state_differs") == "false"; });
        },
        500));
}

TEST(RaftDigest, OneThatHasNoDigestIsNeverTakenForEqual) {
    Group group;
    group.digests[group.followers[0]] = Result<std::uint64_t>{Error{ErrorCode::kIo, "page 7 cannot be read"}};
    group.digests[group.followers[1]] = std::nullopt;
    ASSERT_TRUE(group.cluster.run_until([&] { return group.said(group.leader, "could not be compared"); }, 20'000));
    EXPECT_TRUE(group.said(group.leader, "page 7 cannot be read"));
    EXPECT_TRUE(group.said(group.leader, "no answer"));
    EXPECT_EQ(group.detail(group.leader, "state_comparisons"), "0");
    for (const NodeName& name : group.cluster.data_members()) {
        EXPECT_EQ(group.detail(name, "state_compared_index"), "0") << name;
        EXPECT_FALSE(group.quarantined(name)) << name;
    }
}

TEST(RaftDigest, WhoGotTheStateFromBehindAMarkIsNotWaitedFor) {
    Group group;
    const NodeName away = group.followers.front();
    group.cluster.crash(away);
    // A mark that it will never apply: the log is cut behind it.
    const std::size_t before = group.cluster.applied(group.leader).size();
    ASSERT_TRUE(group.cluster.run_until(
        [&] {
            const auto& applied = group.cluster.applied(group.leader);
            return std::any_of(applied.begin() + static_cast<std::ptrdiff_t>(before), applied.end(), is_comparison_mark);
        },
        500));
    ASSERT_TRUE(group.write("behind it"));
    group.cluster.checkpoint(group.leader, Cluster::Retention::kNone);
    group.cluster.start(away);
    EXPECT_TRUE(group.cluster.run_until([&] { return group.said(group.leader, "it was sent a snapshot from behind it"); }, 500));
    EXPECT_TRUE(group.cluster.run_until([&] { return group.detail(away, "state_compared_index") != "0"; }, 500));
}

TEST(RaftDigest, QuarantineOutlivesARestartAndEndsWithTheLeadersData) {
    Group group;
    const NodeName odd = group.followers[0];
    group.digests[odd] = Result<std::uint64_t>{2};
    ASSERT_TRUE(group.run_until_quarantined(odd));
    group.cluster.run(20);
    group.cluster.crash(odd);
    group.digests.clear();
    group.cluster.start(odd);
    EXPECT_TRUE(group.quarantined(odd));
    group.cluster.run(300);
    EXPECT_TRUE(group.quarantined(odd)) << "what is equal by chance later is not trusted";
    // Too far behind for entries, it is sent all data.
    group.cluster.isolate(odd);
    for (int i = 0; i < 20; ++i) {
        ASSERT_TRUE(group.write("entry " + std::to_string(i)));
    }
    group.cluster.checkpoint(group.leader, Cluster::Retention::kNone);
    group.cluster.heal();
    ASSERT_TRUE(group.cluster.run_until([&] { return !group.quarantined(odd); }, 2000));
    EXPECT_TRUE(group.cluster.strategy(odd).serves());
    ASSERT_TRUE(group.cluster.run_until(
        [&] {
            const ClusterView view = group.view(group.leader);
            return std::ranges::find(view.members, odd, &MemberView::id)->serves_data;
        },
        2000));
    group.cluster.run(20);
    group.cluster.crash(odd);
    group.cluster.start(odd);
    EXPECT_FALSE(group.quarantined(odd));
}

TEST(RaftDigest, WhatOneInQuarantineAloneHoldsIsHandedOn) {
    Group group;
    const NodeName odd = group.followers[0];
    const NodeName other = group.followers[1];
    group.digests[odd] = Result<std::uint64_t>{2};
    ASSERT_TRUE(group.run_until_quarantined(odd));
    group.cluster.run(20);
    group.cluster.isolate(other);
    ASSERT_TRUE(group.write("on two disks"));
    group.cluster.crash(group.leader);
    group.cluster.heal();
    ASSERT_TRUE(group.cluster.run_until(
        [&] { return group.cluster.writers().size() == 1 && group.cluster.writers().front() == other; }, 3000));
    EXPECT_TRUE(std::ranges::any_of(group.cluster.applied(other), [](const Entry& e) { return e.payload == "on two disks"; }));
    EXPECT_TRUE(group.quarantined(odd));
}

TEST(RaftDigest, AVerdictCountsOnlyFromTheLeaderAndAboutWhatWasSaid) {
    Group group;
    ASSERT_TRUE(group.cluster.run_until([&] { return group.detail(group.followers[0], "state_compared_index") != "0"; }, 500));
    const std::uint64_t index = std::stoull(group.detail(group.followers[0], "state_compared_index"));
    ClusterMessage message;
    auto& verdict = *message.mutable_state_verdict();
    verdict.set_kind(transport::StateVerdict::ODD);
    verdict.set_term(group.view(group.leader).term.value);
    verdict.set_index(index);
    group.cluster.step(group.followers[0], group.followers[1], message);
    EXPECT_FALSE(group.quarantined(group.followers[0])) << "not from a follower";
    verdict.set_index(index + 1);
    group.cluster.step(group.followers[0], group.leader, message);
    EXPECT_FALSE(group.quarantined(group.followers[0])) << "not about another index";
    verdict.set_index(index);
    verdict.set_term(verdict.term() - 1);
    group.cluster.step(group.followers[0], group.leader, message);
    EXPECT_FALSE(group.quarantined(group.followers[0])) << "not of an earlier term";
    verdict.set_term(verdict.term() + 1);
    group.cluster.step(group.followers[0], group.leader, message);
    EXPECT_TRUE(group.quarantined(group.followers[0]));
}

TEST(RaftDigest, WhatTheDiskRemembersIsReadBackAndOlderVersionsIgnoreIt) {
    const RaftExtra extra{.directory = raft::DirectoryId{0xab}, .configuration_index = {}, .configuration = {}, .quarantine = LogIndex{17}};
    const std::string text = format_raft_extra(extra);
    EXPECT_EQ(text, "raft 00000000000000ab quarantined=17");
    const auto back = parse_raft_extra(text);
    ASSERT_TRUE(back);
    EXPECT_EQ(back->directory, extra.directory);
    EXPECT_EQ(back->quarantine, extra.quarantine);
    EXPECT_TRUE(back->configuration.empty());
    const auto witness = parse_raft_extra("raft 00000000000000ab 5 bytes of it");
    ASSERT_TRUE(witness);
    EXPECT_EQ(witness->configuration_index, LogIndex{5});
    EXPECT_EQ(witness->configuration, "bytes of it");
    EXPECT_FALSE(witness->quarantine);
    EXPECT_EQ(format_raft_extra(*witness), "raft 00000000000000ab 5 bytes of it");
    EXPECT_TRUE(parse_raft_extra("raft 00000000000000ab quarantined=?")->quarantine);
    EXPECT_EQ(witness->removed_at, LogIndex{0});
    for (const char* removed : {"raft 00000000000000ab,removed=7", "raft 00000000000000ab,removed=7 5 bytes of it",
                                "raft 00000000000000ab,removed=7 quarantined=17"}) {
        ASSERT_TRUE(parse_raft_extra(removed)) << removed;
        EXPECT_EQ(parse_raft_extra(removed)->removed_at, LogIndex{7}) << removed;
        EXPECT_EQ(format_raft_extra(*parse_raft_extra(removed)), removed);
    }
}

}  // namespace
}  // namespace nornic::modes::conformance
