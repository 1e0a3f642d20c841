// Hot standby by hand: one promise of docs/modes/ha_standby.md a test.
#include "tests/modes/hot_standby/pair.h"

namespace nornic::modes::testing {
namespace {

using Texts = std::vector<std::string>;

HotStandbySettings with(SyncMode mode, FencePolicy policy = FencePolicy::kAvailable) {
    HotStandbySettings settings;
    settings.sync_mode = mode;
    settings.fence_policy = policy;
    return settings;
}

ClusterMessage heartbeat(Pair& pair, std::uint64_t sequence, bool in_sync) {
    ClusterMessage message;
    auto& m = *message.mutable_heartbeat();
    m.set_epoch(pair.strategy("a").view().term.value);
    m.set_sequence(sequence);
    m.set_history(pair["a"].disk.history);
    m.set_commit_index(pair["a"].applied.value);
    m.set_last_index(pair["a"].disk.last_index().value);
    m.set_in_sync(in_sync);
    m.set_leading(true);
    m.set_primary_id("a");
    return message;
}

std::string sync_state(Pair& pair, const NodeName& id) {
    for (const auto& [name, value] : pair.strategy(id).view().details) {
        if (name == "sync_state") {
            return value;
        }
    }
    return {};
}

/// Both up, the standby seeded by a snapshot and in sync.
void form(Pair& pair) {
    pair.start_all();
    ASSERT_EQ(pair.wait_for_primary(), "a");
    pair.carry_snapshots();
    pair.ticks(3);
    pair.carry_snapshots();
    pair.ticks(3);
    ASSERT_TRUE(pair.saw("a", "Standby 'b' is in sync"));
}

TEST(HotStandby, TheConfiguredPrimaryLeadsAndTheStandbyFollowsWithTheSameData) {
    Pair pair;
    form(pair);
    EXPECT_TRUE(pair.write("a", "x"));
    EXPECT_TRUE(pair.write("a", "y"));
    EXPECT_EQ(pair.payloads("b"), (Texts{"x", "y"}));
    EXPECT_EQ(pair.strategy("b").view().leader, "a");
    EXPECT_EQ(pair.strategy("b").view().state, "ready");
    EXPECT_EQ(pair.strategy("a").view().members.size(), 2U);
}

TEST(HotStandby, AStandbyTakesNothingFromAnEntryOnThatItDoesNotUnderstandAndSaysSoOnce) {
    Pair pair;
    form(pair);
    ASSERT_TRUE(pair.write("a", "x"));
    const LogIndex last = pair["b"].disk.last_index();
    for (const int kind : {3, -1}) {
        ClusterMessage message;
        auto& m = *message.mutable_wal_batch();
        m.set_epoch(pair.strategy("a").view().term.value);
        m.set_history(pair["a"].disk.history);
        m.set_previous_index(last.value);
        m.set_previous_epoch(m.epoch());
        auto& entry = *m.add_entries();
        entry.set_term(m.epoch());
        entry.set_index(last.value + 1);
        entry.set_kind(static_cast<transport::EntryKind>(kind));
        pair.strategy("b").step("a", message);
        pair.settle();
    }
    EXPECT_EQ(pair["b"].disk.last_index(), last);
    EXPECT_TRUE(pair.saw("b", "is of kind 3, which this version does not know"));
    EXPECT_FALSE(pair.saw("b", "is of kind -1"));
}

TEST(HotStandby, AStandbyRefusesWritesAndNamesThePrimary) {
    Pair pair;
    form(pair);
    const auto refused = pair.strategy("b").propose(ProposalId{77}, "x", 1);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kNotLeader);
    EXPECT_EQ(refused.error().hint(), "a:7687");
    EXPECT_EQ(pair.strategy("b").write_term().value, 0U);
}

TEST(HotStandby, SemiSyncAcknowledgesWhatTheStandbyReceivedThoughItsDiskHangs) {
    Pair pair{with(SyncMode::kSemiSync)};
    form(pair);
    pair["b"].frozen_disk = true;
    EXPECT_TRUE(pair.write("a", "x"));
}

TEST(HotStandby, AStandbyTakesNoMoreThanItsDiskIsAllowedToBeBehind) {
    for (const SyncMode mode : {SyncMode::kAsync, SyncMode::kSemiSync}) {
        HotStandbySettings settings = with(mode);
        settings.unpersisted_bytes_max = 10'000;
        settings.window_batches = 4;
        Pair pair{settings};
        form(pair);
        pair["b"].frozen_disk = true;
        constexpr std::size_t kWrites = 40;
        for (std::size_t i = 0; i < kWrites; ++i) {
            ASSERT_TRUE(pair.propose("a", std::string(1000, 'x')));
        }
        if (mode == SyncMode::kSemiSync) {
            EXPECT_GT(pair["a"].committed.size(), 5U) << "what it takes is acknowledged before it is on disk";
            EXPECT_LT(pair["a"].committed.size(), 10U);
        }
        pair.ticks(3);  // it is sent them again, and again
        Ready ready = pair.strategy("b").take_ready();
        std::size_t bytes = 0;
        for (const Entry& entry : ready.entries) {
            bytes += entry.payload.size();
        }
        EXPECT_GT(bytes, 5'000U);
        EXPECT_LE(bytes, settings.unpersisted_bytes_max);
        pair["b"].waiting = std::move(ready);
        pair["b"].frozen_disk = false;
        pair.settle();
        for (int i = 0; i < 20 && pair.payloads("b").size() < kWrites; ++i) {
            pair.ticks(1);
        }
        EXPECT_EQ(pair["a"].committed.size(), kWrites);
        EXPECT_EQ(pair.payloads("b"), pair.payloads("a"));
        pair.ticks(3);
        EXPECT_EQ(sync_state(pair, "b"), "synced");
    }
}

TEST(HotStandby, SyncAcknowledgesOnlyWhatTheStandbyPersisted) {
    Pair pair{with(SyncMode::kSync)};
    form(pair);
    pair["b"].frozen_disk = true;
    EXPECT_FALSE(pair.write("a", "x"));
    pair["b"].frozen_disk = false;
    pair.settle();
    EXPECT_EQ(pair["a"].committed.size(), 1U);
}

TEST(HotStandby, AWriteOfALevelKnowsWhenTheStandbyHasItOnDisk) {
    Pair pair{with(SyncMode::kAsync)};
    form(pair);
    ASSERT_TRUE(pair.strategy("a").expect(ReadConsistency::kQuorum));
    pair["b"].frozen_disk = true;
    EXPECT_TRUE(pair.write("a", "x")) << "async asks the standby for nothing";
    const LogIndex index = pair["a"].disk.last_index();
    EXPECT_GE(pair.strategy("a").acknowledged(ReadConsistency::kOne), index);
    EXPECT_LT(pair.strategy("a").acknowledged(ReadConsistency::kAll), index);
    pair["b"].frozen_disk = false;
    pair.settle();
    EXPECT_GE(pair.strategy("a").acknowledged(ReadConsistency::kAll), index) << "it says so as soon as it is on disk";
    pair.cut("a", "b");
    pair.ticks(6);
    EXPECT_TRUE(pair.strategy("a").expect(ReadConsistency::kLocalOne));
    const auto refused = pair.strategy("a").expect(ReadConsistency::kQuorum);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kDatabaseUnavailable);
}

TEST(HotStandby, SyncRefusesWritesWhileTheStandbyIsGoneAndTakesThemWhenItIsBack) {
    Pair pair{with(SyncMode::kSync)};
    form(pair);
    pair.kill("b");
    EXPECT_FALSE(pair.write("a", "x"));
    EXPECT_EQ(pair["a"].refused.begin()->second, ErrorCode::kDatabaseUnavailable);
    EXPECT_EQ(pair.strategy("a").view().state, "read_only");
    pair.start("b");
    pair.ticks(4);
    EXPECT_TRUE(pair.write("a", "y"));
    EXPECT_EQ(pair.payloads("b"), (Texts{"y"}));
}

TEST(HotStandby, SemiSyncWaitsThenDegradesVisiblyAndHeals) {
    Pair pair{with(SyncMode::kSemiSync)};
    form(pair);
    pair.kill("b");
    EXPECT_FALSE(pair.write("a", "x")) << "a moment ago the standby was promised all acknowledged writes";
    pair.ticks(12);
    EXPECT_EQ(pair["a"].committed.size(), 0U) << "for all that 'a' knows 'b' is alive and about to take over";
    EXPECT_EQ(pair.strategy("a").view().state, "degraded");
    EXPECT_EQ(sync_state(pair, "a"), "waiting");
    EXPECT_NE(pair.strategy("a").view().reason.find("could not take over any more, which is in 0.2 s"), std::string::npos)
        << pair.strategy("a").view().reason;
    EXPECT_TRUE(pair.saw("a", "Writes wait until"));
    EXPECT_FALSE(pair.saw("a", "Degraded"));
    pair.ticks(18);
    EXPECT_EQ(pair["a"].committed.size(), 1U);
    EXPECT_EQ(pair.strategy("a").view().state, "degraded");
    EXPECT_EQ(sync_state(pair, "a"), "degraded");
    EXPECT_TRUE(pair.saw("a", "Degraded"));
    EXPECT_TRUE(pair.write("a", "y"));
    pair.start("b");
    pair.ticks(4);
    EXPECT_EQ(pair.strategy("a").view().state, "ready");
    EXPECT_EQ(pair.payloads("b"), (Texts{"x", "y"}));
}

TEST(HotStandby, TheStandbyPromotesItselfOnceThePrimaryIsSilentAndLosesNothing) {
    for (const SyncMode mode : {SyncMode::kSemiSync, SyncMode::kSync}) {
        Pair pair{with(mode)};
        form(pair);
        ASSERT_TRUE(pair.write("a", "x"));
        const Term before = pair.strategy("a").view().term;
        pair.kill("a");
        pair.ticks(10);
        EXPECT_EQ(pair.primary(), "") << "not before the time-out";
        EXPECT_EQ(pair.wait_for_primary(), "b");
        EXPECT_GT(pair.strategy("b").view().term, before);
        EXPECT_EQ(pair.payloads("b"), (Texts{"x"}));
    }
}

/// It falls silent, and the standby, which only answers, with it: that must not pass for a standby that lags.
TEST(HotStandby, APrimaryWhoseDiskHangsLosesTheLead) {
    for (const bool witness : {false, true}) {
        Pair pair{with(SyncMode::kSemiSync, witness ? FencePolicy::kWitness : FencePolicy::kAvailable), witness};
        form(pair);
        ASSERT_TRUE(pair.write("a", "x"));
        pair["a"].frozen_disk = true;
        ASSERT_TRUE(pair.propose("a", "y"));
        pair.strategy("a").disk_stalled(true);
        for (int i = 0; i < 60 && pair.strategy("b").write_term().value == 0; ++i) {
            pair.ticks(1);
            if (pair.strategy("a").view().role == Role::kPrimary) {
                pair.strategy("a").disk_stalled(true);
            }
        }
        EXPECT_TRUE(pair.write("b", "z")) << "witness: " << witness;
        ASSERT_GE(pair.payloads("b").size(), 2U);
        EXPECT_EQ(pair.payloads("b").front(), "x");
    }
}

TEST(HotStandby, APrimaryThatDegradedAcknowledgesNothingAloneWhileItsStandbyMayYetTakeOverWithoutIt) {
    Pair pair{with(SyncMode::kSemiSync)};
    form(pair);
    pair.cut("a", "b");
    ASSERT_TRUE(pair.propose("a", "alone"));
    for (int i = 0; i < 60 && pair.strategy("b").write_term().value == 0; ++i) {
        EXPECT_TRUE(pair["a"].committed.empty()) << "were it to die now, the other one would lead without it: tick " << i;
        pair.ticks(1);
    }
    ASSERT_NE(pair.strategy("b").write_term().value, 0U);
    pair.ticks(20);
    EXPECT_EQ(pair["a"].committed.size(), 1U) << "in a partition both go on";
}

TEST(HotStandby, AStandbyThatWasStoppedUntilItsPrimaryWentOnAloneDoesNotTakeOverByItself) {
    Pair pair{with(SyncMode::kSemiSync)};
    form(pair);
    pair.cut("a", "b");
    ASSERT_TRUE(pair.propose("a", "alone"));
    for (int i = 0; i < 40; ++i) {
        pair.strategy("a").tick();  // and 'b' does not run
        pair.settle();
    }
    ASSERT_EQ(pair["a"].committed.size(), 1U);
    pair.kill("a");
    pair.strategy("b").paused(40);
    pair.ticks(60);
    EXPECT_EQ(pair.primary(), "") << "nobody told it, but it knows how old the word is that it goes by";
    const auto refused = pair.command("b", {});
    ASSERT_FALSE(refused.outcome);
    EXPECT_NE(refused.outcome.error().message().find("goes on alone"), std::string::npos) << refused.outcome.error().message();
    pair.heal("a", "b");
    pair.start("a");
    EXPECT_EQ(pair.wait_for_primary(), "a");
    pair.ticks(3);
    EXPECT_EQ(pair.payloads("b"), (Texts{"alone"}));
}

TEST(HotStandby, APrimaryGoesOnAsSoonAsAStandbyThatLagsHasHeardOfIt) {
    Pair pair{with(SyncMode::kSemiSync)};
    form(pair);
    pair.loses = [](const NodeName&, const ClusterMessage& message) { return message.has_wal_batch(); };
    ASSERT_TRUE(pair.propose("a", "alone"));
    pair.ticks(6);
    EXPECT_EQ(pair["a"].committed.size(), 1U);
    EXPECT_EQ(sync_state(pair, "b"), "catching_up");
    pair.kill("a");
    pair.ticks(60);
    EXPECT_EQ(pair.primary(), "");
}

TEST(HotStandby, APrimaryGoesOnAsSoonAsTheWitnessHasHeardOfIt) {
    Pair pair{with(SyncMode::kSemiSync, FencePolicy::kWitness), true};
    form(pair);
    pair.cut("a", "b");
    ASSERT_TRUE(pair.propose("a", "alone"));
    pair.ticks(6);
    EXPECT_EQ(pair["a"].committed.size(), 1U);
    EXPECT_EQ(sync_state(pair, "w"), "alone");
    EXPECT_EQ(sync_state(pair, "b"), "synced") << "it does not know, and asks the witness";
    pair.kill("a");
    pair.ticks(60);
    EXPECT_EQ(pair.primary(), "");
}

TEST(HotStandby, AStandbyThatStopsInOrderKeepsNoWriteWaiting) {
    Pair pair{with(SyncMode::kSemiSync)};
    form(pair);
    pair.strategy("b").leave();
    EXPECT_FALSE(pair.strategy("b").left());
    pair.ticks(2);
    EXPECT_TRUE(pair.strategy("b").left());
    EXPECT_TRUE(pair.saw("a", "Standby 'b' stops"));
    pair.kill("b");
    EXPECT_TRUE(pair.write("a", "x"));
    pair.loses = [](const NodeName& from, const ClusterMessage& message) { return from == "b" && message.has_heartbeat_response(); };
    pair.start("b");
    EXPECT_EQ(sync_state(pair, "a"), "synced") << "the one that is back is not the one that left";
    pair.loses = nullptr;
    pair.ticks(4);
    EXPECT_EQ(sync_state(pair, "a"), "synced");
    EXPECT_EQ(pair.payloads("b"), (Texts{"x"}));
}

TEST(HotStandby, APrimaryThatStopsWaitsUntilItsStandbyWasToldThatItMayLead) {
    Pair pair{with(SyncMode::kSemiSync)};
    form(pair);
    pair["a"].frozen_disk = true;
    pair.strategy("a").leave();
    pair.settle();
    EXPECT_FALSE(pair.strategy("a").view().is_leader());
    EXPECT_FALSE(pair.strategy("a").left()) << "the disk does not know yet, so nobody may hear of it";
    pair["a"].frozen_disk = false;
    pair.settle();
    EXPECT_TRUE(pair.strategy("a").left());
    EXPECT_EQ(pair.primary(), "b");
}

TEST(HotStandby, AfterAPrimaryHasHandedOverAndStoppedNoWriteWaitsForIt) {
    for (const bool entries_first : {false, true}) {
        Pair pair{with(SyncMode::kSemiSync)};
        form(pair);
        if (entries_first) {
            // What comes on the control lane may be heard of later than what comes on the log lane.
            pair.loses = [seen = 0](const NodeName& from, const ClusterMessage& message) mutable {
                return from == "a" && message.has_heartbeat_response() && seen++ < 3;
            };
        }
        pair.strategy("a").leave();
        pair.settle();
        pair.ticks(entries_first ? 4 : 0);
        EXPECT_TRUE(pair.strategy("a").left());
        ASSERT_EQ(pair.primary(), "b");
        pair.kill("a");
        EXPECT_TRUE(pair.write("b", "x")) << entries_first;
    }
}

TEST(HotStandby, AStandbyThatStopsIsNotHandedOverTo) {
    Pair pair{with(SyncMode::kSemiSync)};
    form(pair);
    pair.strategy("b").leave();
    Command transfer;
    transfer.kind = Command::Kind::kTransfer;
    ASSERT_TRUE(pair.command("a", transfer).outcome);
    pair.ticks(10);
    EXPECT_EQ(pair.primary(), "a");
}

TEST(HotStandby, APromotionForWhichTheDiskTookTooLongIsGivenUp) {
    Pair pair{with(SyncMode::kSemiSync)};
    form(pair);
    pair.kill("a");
    pair["b"].frozen_disk = true;
    pair.ticks(17);
    pair["b"].frozen_disk = false;
    pair.settle();
    EXPECT_EQ(pair.primary(), "") << "for all that it knows 'a' is alive and has gone on alone";
    EXPECT_TRUE(pair.saw("b", "No promotion"));
    pair.start("a");
    EXPECT_NE(pair.wait_for_primary(), "");
}

TEST(HotStandby, WhatAPrimarySaysIsAsOldAsTheAnswerThatItNames) {
    Pair pair{with(SyncMode::kSemiSync)};
    form(pair);
    pair.cut("a", "b");
    const auto say = [&](std::uint64_t sequence, std::uint64_t answered) {
        ClusterMessage message = heartbeat(pair, sequence, true);
        message.mutable_heartbeat()->set_answered(answered);
        pair.strategy("b").step("a", message);
        pair.settle();
    };
    say(1000, 999);
    EXPECT_NE(sync_state(pair, "b"), "synced") << "it gave no such answer";
    say(1001, 1000);
    EXPECT_EQ(sync_state(pair, "b"), "synced");
    for (std::uint64_t i = 0; i < 15; ++i) {
        pair.strategy("b").tick();
        say(1002 + i, 1000);
    }
    EXPECT_EQ(sync_state(pair, "b"), "synced");
    pair.strategy("b").tick();
    say(1100, 1000);
    EXPECT_NE(sync_state(pair, "b"), "synced") << "a primary that heard nothing since may have gone on alone";
    say(1101, 1100);
    EXPECT_EQ(sync_state(pair, "b"), "synced");
}

TEST(HotStandby, AnOperatorPromotesAStandbyThatMayLackWritesByForceAlone) {
    HotStandbySettings settings = with(SyncMode::kSemiSync);
    settings.auto_failover = false;
    for (const int silent : {14, 17}) {
        Pair pair{settings};
        form(pair);
        pair.kill("a");
        pair.ticks(silent);
        EXPECT_EQ(pair.command("b", {}).outcome.has_value(), silent == 14) << silent;
    }
}

TEST(HotStandby, AfterAFailoverWritesGoOnAtOnceInSemiSync) {
    Pair pair{with(SyncMode::kSemiSync)};
    form(pair);
    pair.kill("a");
    ASSERT_EQ(pair.wait_for_primary(), "b");
    EXPECT_TRUE(pair.write("b", "x"));
}

TEST(HotStandby, NoPromotionByTimeOutWithoutAutoFailover) {
    HotStandbySettings settings = with(SyncMode::kSync);
    settings.auto_failover = false;
    Pair pair{settings};
    form(pair);
    pair.kill("a");
    pair.ticks(60);
    EXPECT_EQ(pair.primary(), "");
    const auto answer = pair.command("b", {});
    EXPECT_TRUE(answer.outcome) << answer.outcome.error().message();
    EXPECT_EQ(pair.primary(), "b");
}

TEST(HotStandby, AStandbyThatLagsDoesNotPromoteItselfUnlessForced) {
    Pair pair{with(SyncMode::kSemiSync)};
    form(pair);
    // Alive, but its disk hangs and its acknowledgements with it.
    pair.cut("a", "b");
    pair.ticks(8);  // degraded, before the time-out of the standby
    ASSERT_TRUE(pair.propose("a", "alone"));
    pair.heal("a", "b");
    pair["b"].frozen_disk = true;
    pair.kill("b");
    pair["b"].frozen_disk = false;
    pair.ticks(5);
    ASSERT_EQ(pair["a"].committed.size(), 1U);
    pair.kill("a");
    pair.start("b");
    pair.ticks(60);
    EXPECT_EQ(pair.primary(), "") << "what 'a' acknowledged alone would be lost";
    const auto refused = pair.command("b", {});
    ASSERT_FALSE(refused.outcome);
    EXPECT_NE(refused.outcome.error().message().find("force"), std::string::npos);
    Command forced;
    forced.force = true;
    EXPECT_TRUE(pair.command("b", forced).outcome);
    EXPECT_EQ(pair.primary(), "b");
}

TEST(HotStandby, AHeartbeatThatComesLateTakesBackNoNewerOne) {
    Pair pair{with(SyncMode::kSemiSync, FencePolicy::kWitness), true};
    form(pair);
    ASSERT_EQ(sync_state(pair, "b"), "synced");
    ASSERT_EQ(sync_state(pair, "w"), "synced");
    for (const NodeName& id : {"b", "w"}) {
        pair.strategy(id).step("a", heartbeat(pair, 1000, false));
        pair.strategy(id).step("a", heartbeat(pair, 999, true));
        pair.strategy(id).step("a", heartbeat(pair, 1000, true));
    }
    EXPECT_EQ(sync_state(pair, "b"), "catching_up") << "the primary may acknowledge without it by now";
    EXPECT_EQ(sync_state(pair, "w"), "alone");
}

TEST(HotStandby, ALateAnswerTakesBackNoNewerOne) {
    Pair pair{with(SyncMode::kSemiSync)};
    form(pair);
    ASSERT_TRUE(pair.write("a", "x"));
    pair.ticks(1);
    const auto standby = [&] { return pair.strategy("a").view().members.at(1); };
    ASSERT_EQ(standby().applied_index, pair["b"].applied);
    ClusterMessage late;
    auto& m = *late.mutable_heartbeat_response();
    m.set_epoch(pair.strategy("a").view().term.value);
    m.set_sequence(2);
    m.set_primary_id("a");
    m.set_history(pair["b"].disk.history);
    pair.strategy("a").step("b", late);
    EXPECT_EQ(standby().applied_index, pair["b"].applied);
    // One to a heartbeat that was never sent was meant for an earlier life of this member.
    m.set_sequence(1'000'000);
    pair.strategy("a").step("b", late);
    EXPECT_EQ(standby().applied_index, pair["b"].applied);
}

TEST(HotStandby, AnOldPrimaryThatComesBackFollowsAndItsLostBranchIsSaved) {
    Pair pair{with(SyncMode::kSemiSync)};
    form(pair);
    ASSERT_TRUE(pair.write("a", "shared"));
    pair.cut("a", "b");
    EXPECT_FALSE(pair.write("a", "lost"));
    EXPECT_EQ(pair.wait_for_primary(), "a");
    pair.ticks(12);
    ASSERT_NE(pair.strategy("b").write_term().value, 0U);
    EXPECT_TRUE(pair.write("b", "kept"));
    pair.heal("a", "b");
    pair.ticks(5);
    EXPECT_EQ(pair.primary(), "b");
    EXPECT_EQ(pair.payloads("a"), (Texts{"shared", "kept"}));
    EXPECT_EQ(pair["a"].diverged, (Texts{"lost"}));
    EXPECT_TRUE(pair.write("b", "after"));
    EXPECT_EQ(pair.payloads("a"), pair.payloads("b"));
}

TEST(HotStandby, ARestartedPrimaryAsksItsPeerBeforeItServes) {
    Pair pair;
    form(pair);
    pair.kill("a");
    ASSERT_EQ(pair.wait_for_primary(), "b");
    pair.cut("a", "b");
    pair.start("a");
    pair.ticks(100);
    EXPECT_EQ(pair.strategy("a").write_term().value, 0U);
    EXPECT_EQ(pair.strategy("a").view().state, "starting");
    pair.heal("a", "b");
    pair.ticks(3);
    EXPECT_EQ(pair.strategy("a").view().leader, "b");
}

TEST(HotStandby, APrimaryThatRestartsQuicklyLeadsAgainInANewEpoch) {
    Pair pair;
    form(pair);
    ASSERT_TRUE(pair.write("a", "x"));
    const Term before = pair.strategy("a").view().term;
    pair.kill("a");
    pair.start("a");
    EXPECT_EQ(pair.wait_for_primary(), "a");
    EXPECT_GT(pair.strategy("a").view().term, before);
    pair.ticks(3);
    EXPECT_EQ(sync_state(pair, "b"), "synced") << "though its heartbeats are counted from one again";
    EXPECT_TRUE(pair.write("a", "y"));
    EXPECT_EQ(pair.payloads("b"), (Texts{"x", "y"}));
}

TEST(HotStandby, OfTwoThatRestartTheOneWithTheNewerLogLeads) {
    Pair pair{with(SyncMode::kSemiSync)};
    form(pair);
    pair["a"].frozen_disk = true;  // 'a' sends nothing that it has not appended
    pair["a"].frozen_disk = false;
    ASSERT_TRUE(pair.write("a", "x"));
    pair.kill("a");
    ASSERT_EQ(pair.wait_for_primary(), "b");
    ASSERT_TRUE(pair.write("b", "y"));
    pair.kill("b");
    pair.start("a");
    pair.ticks(30);
    EXPECT_EQ(pair.primary(), "");
    pair.start("b");
    EXPECT_EQ(pair.wait_for_primary(), "b");
    pair.ticks(3);
    EXPECT_EQ(pair.payloads("a"), (Texts{"x", "y"}));
}

TEST(HotStandby, APlannedSwitchOverLosesNothingAndTakesNoTime) {
    Pair pair;
    form(pair);
    ASSERT_TRUE(pair.write("a", "x"));
    const auto answer = pair.command("b", {});
    EXPECT_TRUE(answer.outcome) << answer.outcome.error().message();
    EXPECT_EQ(pair.primary(), "b");
    EXPECT_TRUE(pair.write("b", "y"));
    pair.ticks(2);
    EXPECT_EQ(pair.strategy("a").view().leader, "b");
    EXPECT_EQ(pair.payloads("a"), (Texts{"x", "y"}));
}

TEST(HotStandby, ASwitchOverToAStandbyThatLagsIsRefusedAtOnceAndStopsNoWrite) {
    Pair pair{with(SyncMode::kSemiSync)};
    form(pair);
    pair.loses = [](const NodeName&, const ClusterMessage& message) { return message.has_wal_batch(); };
    for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(pair.propose("a", "alone"));
    }
    pair.ticks(6);
    Command transfer;
    transfer.kind = Command::Kind::kTransfer;
    for (const auto& refused : {pair.command("b", {}, 1), pair.command("a", transfer, 1)}) {
        ASSERT_FALSE(refused.outcome);
        EXPECT_EQ(refused.outcome.error().code(), ErrorCode::kConflict);
        EXPECT_NE(refused.outcome.error().message().find("b is not in sync"), std::string::npos) << refused.outcome.error().message();
        EXPECT_NE(refused.outcome.error().message().find("s 3 log entries. Repeat once sync_state is"), std::string::npos)
            << refused.outcome.error().message();
    }
    EXPECT_TRUE(pair.write("a", "x")) << "it goes on all the while";
    pair.loses = nullptr;
    pair.ticks(6);
    EXPECT_TRUE(pair.command("b", {}).outcome);
    EXPECT_EQ(pair.primary(), "b");
}

TEST(HotStandby, UnderAsyncASwitchOverBeginsOnlyWhereLittleIsLeftToSend) {
    HotStandbySettings settings = with(SyncMode::kAsync);
    settings.batch_bytes_max = 1000;
    settings.window_batches = 4;
    Pair pair{settings};
    form(pair);
    pair.loses = [](const NodeName&, const ClusterMessage& message) { return message.has_wal_batch(); };
    for (int i = 0; i < 5; ++i) {
        ASSERT_TRUE(pair.write("a", std::string(1000, 'x')));
    }
    const auto refused = pair.command("b", {}, 1);
    ASSERT_FALSE(refused.outcome);
    EXPECT_NE(refused.outcome.error().message().find("lags 5 log entries"), std::string::npos) << refused.outcome.error().message();
    EXPECT_TRUE(pair.write("a", "y"));
    pair.loses = nullptr;
    pair.ticks(6);
    EXPECT_TRUE(pair.command("b", {}).outcome);
    EXPECT_EQ(pair.payloads("b").size(), 6U);
}

TEST(HotStandby, AHandOverEndsAtOnceWhenTheOtherOneIsGone) {
    Pair pair{with(SyncMode::kAsync)};
    form(pair);
    pair.loses = [](const NodeName&, const ClusterMessage& message) { return message.has_wal_batch(); };
    ASSERT_TRUE(pair.write("a", "x"));
    Command transfer;
    transfer.kind = Command::Kind::kTransfer;
    ASSERT_TRUE(pair.command("a", transfer).outcome);
    ASSERT_TRUE(pair.saw("a", "Handing over to 'b'"));
    ASSERT_EQ(pair.strategy("a").write_term().value, 0U);
    pair.kill("b");
    EXPECT_TRUE(pair.write("a", "y"));
    EXPECT_TRUE(pair.saw("a", "'b' is not connected any more; this member stays the primary."));
}

TEST(HotStandby, APrimaryThatStopsHandsOver) {
    Pair pair;
    form(pair);
    EXPECT_TRUE(pair.write("a", "x"));
    pair.strategy("a").leave();
    EXPECT_FALSE(pair.strategy("a").left());
    pair.settle();
    EXPECT_TRUE(pair.strategy("a").left());
    EXPECT_EQ(pair.primary(), "b");
}

TEST(HotStandby, AStandbyRestartedWithTheRoleOfThePrimaryTakesOver) {
    Pair pair;
    form(pair);
    pair.kill("b");
    pair["b"].configured_primary = true;
    pair.start("b");
    pair.ticks(4);
    EXPECT_EQ(pair.primary(), "b");
    pair.ticks(3);
    // An unchanged role is no new wish: 'a', configured as primary all along, comes back as the standby.
    pair.kill("a");
    pair.start("a");
    pair.ticks(6);
    EXPECT_EQ(pair.primary(), "b");
}

TEST(HotStandby, AStandbyRestartedWithTheRoleOfThePrimaryTakesOverOnceItIsInSync) {
    Pair pair;
    form(pair);
    pair.kill("b");
    pair.ticks(30);
    ASSERT_TRUE(pair.write("a", "x"));
    pair.loses = [](const NodeName&, const ClusterMessage& message) { return message.has_wal_batch(); };
    pair["b"].configured_primary = true;
    pair.start("b");
    pair.ticks(20);
    EXPECT_TRUE(pair.write("a", "y")) << "which waits for nothing meanwhile";
    EXPECT_FALSE(pair.saw("a", "Handing over"));
    pair.loses = nullptr;
    pair.ticks(20);
    EXPECT_EQ(pair.primary(), "b");
    EXPECT_EQ(pair.payloads("b"), (Texts{"x", "y"}));
}

/// What the log has forgotten is nowhere else.
HotStandbySettings without_tail() {
    HotStandbySettings settings;
    settings.tail_bytes_max = 1;
    return settings;
}

/// The standby was away until the log of its primary began behind what it has.
void return_behind_the_log(Pair& pair) {
    form(pair);
    pair.kill("b");
    pair.ticks(30);
    for (int i = 0; i < 20; ++i) {
        ASSERT_TRUE(pair.write("a", std::to_string(i)));
    }
    pair["a"].disk.cut_before(LogIndex{15});
    pair.start("b");
}

TEST(HotStandby, AStandbyBehindTheLogIsSentASnapshot) {
    Pair pair{without_tail()};
    return_behind_the_log(pair);
    pair.ticks(2);
    EXPECT_EQ(pair["a"].wants_snapshot, (std::vector<NodeName>{"b"}));
    pair.carry_snapshots();
    pair.ticks(4);
    EXPECT_EQ(pair.payloads("b"), pair.payloads("a"));
    EXPECT_TRUE(pair.write("a", "after"));
}

TEST(HotStandby, AStandbyThatWaitsForACopyFromAPrimaryThatIsGoneLeadsByForce) {
    Pair pair{with(SyncMode::kAsync)};
    MemberDisk& newer = pair["a"].disk;
    newer.history = "h";
    for (std::uint64_t i = 1; i <= 12; ++i) {
        newer.entries.push_back({Term{1}, LogIndex{i}, i, EntryKind::kWriteSet, std::to_string(i)});
    }
    newer.hard_state.term = Term{7};
    MemberDisk& cut = pair["b"].disk;
    cut.history = "h";
    cut.base = LogIndex{9};
    cut.base_term = Term{5};
    cut.entries = {{Term{6}, LogIndex{10}, 20, EntryKind::kNoop, ""}};
    cut.hard_state.term = Term{6};
    Command forced;
    forced.force = true;
    pair.start("a");
    ASSERT_TRUE(pair.command("a", forced).outcome);
    pair.start("b");
    pair.ticks(4);
    ASSERT_NE(pair.strategy("b").view().reason.find("a snapshot of the primary's data is on its way"), std::string::npos)
        << pair.strategy("b").view().reason;
    EXPECT_FALSE(pair.command("b", forced).outcome) << "it is alive, and the copy will come";
    pair.kill("a");
    pair.ticks(13);
    EXPECT_FALSE(pair.command("b", {}).outcome);
    const auto done = pair.command("b", forced);
    ASSERT_TRUE(done.outcome) << done.outcome.error().message();
    EXPECT_EQ(pair.primary(), "b");
    EXPECT_TRUE(pair.write("b", "after"));
    EXPECT_EQ(pair.payloads("b"), (Texts{"after"}));
}

TEST(HotStandby, AnEmptyMemberThatWaitsForItsFirstCopyLeadsNotEvenByForce) {
    Pair pair;
    MemberDisk& disk = pair["a"].disk;
    disk.history = "h";
    disk.entries = {{Term{1}, LogIndex{1}, 1, EntryKind::kWriteSet, "x"}};
    pair.start_all();
    ASSERT_EQ(pair.wait_for_primary(), "a");
    pair.ticks(2);
    pair.kill("a");
    pair.ticks(13);
    Command forced;
    forced.force = true;
    const auto refused = pair.command("b", forced);
    ASSERT_FALSE(refused.outcome);
    EXPECT_NE(refused.outcome.error().message().find("holds no data yet"), std::string::npos) << refused.outcome.error().message();
}

/// The standby was away for 3000 writes of 1000 bytes, and is connected again.
void return_far_behind(Pair& pair, std::uint64_t allowed) {
    form(pair);
    pair.kill("b");
    pair.ticks(30);
    for (int i = 0; i < 3000; ++i) {
        ASSERT_TRUE(pair.write("a", std::string(1000, 'x')));
    }
    pair.strategy("a").allow_catch_up(0);  // what was written before counts no more
    pair.strategy("a").allow_catch_up(allowed);
    pair.start("b");
}

TEST(HotStandby, AStandbyThatIsFarBehindIsSentWhatIsAllowed) {
    for (const SyncMode mode : {SyncMode::kAsync, SyncMode::kSemiSync}) {
        HotStandbySettings settings = with(mode);
        settings.batch_bytes_max = 10'000;
        Pair pair{settings};
        return_far_behind(pair, 1);
        pair.ticks(5);
        EXPECT_LT(pair.payloads("b").size(), 20U) << "where nothing is allowed";
        EXPECT_TRUE(pair.strategy("a").catches_up());
        pair.strategy("a").allow_catch_up(500'000);
        pair.ticks(1);
        EXPECT_GT(pair.payloads("b").size(), 300U);
        EXPECT_LT(pair.payloads("b").size(), 520U);
        EXPECT_TRUE(pair.write("a", "x")) << "which does not wait for it";
        for (int i = 0; i < 10; ++i) {
            pair.strategy("a").allow_catch_up(500'000);
            pair.ticks(1);
        }
        EXPECT_EQ(pair.payloads("b"), pair.payloads("a"));
        EXPECT_FALSE(pair.strategy("a").catches_up());
        pair.strategy("a").allow_catch_up(0);
        EXPECT_TRUE(pair.write("a", "y"));
        EXPECT_EQ(pair.payloads("b"), pair.payloads("a")) << "one that keeps up is not held back";
    }
}

TEST(HotStandby, AStandbyThatWritesWaitForIsSentAllAtOnce) {
    Pair pair{with(SyncMode::kSync, FencePolicy::kStrict)};
    form(pair);
    pair["b"].frozen_disk = true;
    for (int i = 0; i < 3000; ++i) {
        ASSERT_TRUE(pair.propose("a", std::string(1000, 'x')));
    }
    pair.strategy("a").allow_catch_up(0);
    pair.strategy("a").allow_catch_up(1);
    pair["b"].frozen_disk = false;
    pair.ticks(8);
    EXPECT_EQ(pair.payloads("b").size(), 3000U);
}

/// It has no room for it, say: each try costs its primary a checkpoint.
TEST(HotStandby, AStandbyThatRefusesASnapshotIsNotSentTheNextAtOnce) {
    Pair pair{without_tail()};
    return_behind_the_log(pair);
    std::size_t sent = 0;
    for (int i = 0; i < 12; ++i) {
        pair.ticks(1);
        for (const NodeName& to : std::exchange(pair["a"].wants_snapshot, {})) {
            ++sent;
            pair.strategy("a").snapshot_sent(to, std::nullopt);
        }
    }
    EXPECT_GE(sent, 2U) << "it may have room by now";
    EXPECT_LE(sent, 3U);
}

TEST(HotStandby, ABranchIsSavedAlsoWhereTheOthersLogBeganAnewBehindASnapshot) {
    Pair pair{with(SyncMode::kAsync)};
    MemberDisk& old = pair["a"].disk;
    old.history = "h";
    for (std::uint64_t i = 1; i <= 5; ++i) {
        old.entries.push_back({Term{1}, LogIndex{i}, i, EntryKind::kWriteSet, std::to_string(i)});
    }
    old.hard_state.term = Term{1};
    // It died between the snapshot and its log, so that it knows of no epoch but by what stands before its log.
    MemberDisk& newer = pair["b"].disk;
    newer.history = "h";
    newer.base = LogIndex{1};
    newer.base_term = Term{1};
    newer.entries = {{Term{2}, LogIndex{2}, 6, EntryKind::kNoop, ""}};
    newer.hard_state.term = Term{2};
    pair.start_all();
    EXPECT_EQ(pair.wait_for_primary(), "b");
    pair.ticks(4);
    pair.carry_snapshots();
    EXPECT_EQ(pair["a"].diverged, (Texts{"2", "3", "4", "5"}));
}

TEST(HotStandby, AnEpochThatIsKnownByTheEntryBeforeTheLogAloneSaysNothingOfThoseBefore) {
    Pair pair{with(SyncMode::kAsync)};
    MemberDisk& old = pair["a"].disk;
    old.history = "h";
    for (std::uint64_t i = 1; i <= 12; ++i) {
        old.entries.push_back({Term{1}, LogIndex{i}, i, EntryKind::kWriteSet, std::to_string(i)});
    }
    old.hard_state.term = Term{1};
    MemberDisk& newer = pair["b"].disk;
    newer.history = "h";
    newer.base = LogIndex{9};
    newer.base_term = Term{5};
    newer.entries = {{Term{6}, LogIndex{10}, 20, EntryKind::kNoop, ""}};
    newer.hard_state.term = Term{6};
    newer.hard_state.extra = "standby a 1:1";  // of before the snapshot: epoch 1 may have ended long before entry 9
    pair.start_all();
    EXPECT_EQ(pair.wait_for_primary(), "b");
    pair.ticks(4);
    EXPECT_EQ(pair["b"].wants_snapshot, Texts{"a"}) << "entries 1 to 9 may differ";
}

/// 'a' led, acknowledged more than this one holds, and is gone with its disk.
TEST(HotStandby, AStandbyThatMayLackWritesDoesNotLeadBesideAnEmptyMachineWhateverItsName) {
    for (const NodeName& led : {"a", "the one before a"}) {
        Pair pair;
        MemberDisk& disk = pair["b"].disk;
        disk.history = "h";
        disk.entries = {{Term{1}, LogIndex{1}, 1, EntryKind::kNoop, ""}, {Term{1}, LogIndex{2}, 2, EntryKind::kWriteSet, "x"}};
        disk.hard_state.term = Term{1};
        disk.hard_state.voted_for = led;
        disk.hard_state.extra = "standby " + led + " 1:1";
        pair.start_all();
        pair.ticks(40);
        EXPECT_EQ(pair.primary(), "") << led;
        EXPECT_NE(pair.strategy("b").view().reason.find("'" + led + "' led, a has no data"), std::string::npos)
            << pair.strategy("b").view().reason;
        Command forced;
        forced.force = true;
        EXPECT_TRUE(pair.command("b", forced).outcome);
    }
}

TEST(HotStandby, AStandaloneServersDataLeadBesideAnEmptyMember) {
    Pair pair;
    MemberDisk& disk = pair["b"].disk;
    disk.history = "h";
    disk.entries = {{Term{1}, LogIndex{1}, 1, EntryKind::kWriteSet, "x"}};
    pair.start_all();
    EXPECT_EQ(pair.wait_for_primary(), "b");
    pair.ticks(3);
    pair.carry_snapshots();
    pair.ticks(3);
    EXPECT_EQ(pair.payloads("a"), (Texts{"x"}));
}

TEST(HotStandby, DataOfAnotherClusterIsNeverOverwritten) {
    Pair pair;
    pair["b"].disk.history = "foreign";
    pair["b"].disk.entries = {{Term{1}, LogIndex{1}, 1, EntryKind::kWriteSet, "mine"}};
    pair["a"].disk.entries = {{Term{1}, LogIndex{1}, 1, EntryKind::kWriteSet, "other"},
                              {Term{1}, LogIndex{2}, 2, EntryKind::kWriteSet, "more"}};
    pair.start_all();
    pair.ticks(40);
    EXPECT_EQ(pair["b"].disk.entries.size(), 1U);
    EXPECT_TRUE(pair.saw("b", "another cluster") || pair.saw("a", "another cluster"));
    pair.carry_snapshots();
    EXPECT_EQ(pair["b"].disk.history, "foreign");
}

/// Both have the default name of a cluster, say, and one was given the other's address.
TEST(HotStandby, AMemberOfAnotherClusterDeposesNobodyWhateverItsEpoch) {
    for (const bool known : {false, true}) {
        Pair pair;
        form(pair);
        ASSERT_TRUE(pair.write("a", "x"));
        ClusterMessage heartbeat_of_another = heartbeat(pair, 1, true);
        ClusterMessage batch;
        batch.mutable_wal_batch()->set_epoch(100);
        batch.mutable_wal_batch()->set_history("another");
        batch.mutable_wal_batch()->set_probe(1);
        ClusterMessage fence;
        fence.mutable_fence()->set_epoch(100);
        fence.mutable_fence()->set_candidate_id("b");
        fence.mutable_fence()->set_last_index(7);
        fence.mutable_fence()->set_last_epoch(99);
        fence.mutable_fence()->set_forced(true);
        fence.mutable_fence()->set_history(known ? "" : "another");  // an older version does not say
        ClusterMessage answer;
        answer.mutable_wal_batch_response()->set_epoch(100);
        answer.mutable_wal_batch_response()->set_outcome(transport::WALBatchResponse::FOREIGN_HISTORY);
        if (known) {
            heartbeat_of_another.mutable_heartbeat()->set_epoch(100);
            heartbeat_of_another.mutable_heartbeat()->set_history("another");
            heartbeat_of_another.mutable_heartbeat()->set_primary_id("b");
            pair.strategy("a").step("b", heartbeat_of_another);
        }
        for (const ClusterMessage& message : {batch, fence, answer}) {
            pair.strategy("a").step("b", message);
            pair.settle();
            EXPECT_EQ(pair.primary(), "a") << message.DebugString();
        }
        ClusterMessage stale;
        stale.mutable_wal_batch_response()->set_epoch(100);
        stale.mutable_wal_batch_response()->set_outcome(transport::WALBatchResponse::STALE_EPOCH);
        pair.strategy("a").step("b", stale);
        EXPECT_EQ(pair.primary(), "a") << "what it is by now";
        EXPECT_TRUE(pair.saw("a", "another cluster"));
    }
}

TEST(HotStandby, TheStandbyIsHeardAgainOnceASecondMemberThatTookItsPlaceIsGone) {
    Pair pair{with(SyncMode::kSemiSync, FencePolicy::kWitness), true};
    form(pair);
    PeerInfo stranger;
    stranger.id = "c";
    const auto both = [&](auto&& act) {
        act(pair.strategy("a"));
        act(pair.strategy("w"));
        pair.settle();
    };
    const auto standby = [&](const NodeName& at) {
        for (const MemberView& member : pair.strategy(at).view().members) {
            if (member.role == Role::kStandby) {
                return member.id;
            }
        }
        return NodeName{};
    };
    // While the standby is there, or was a moment ago, it has the place.
    both([&](Strategy& strategy) { strategy.peer_up(stranger); });
    pair.kill("b");
    pair.ticks(3);
    EXPECT_EQ(standby("a"), "b");
    EXPECT_EQ(standby("w"), "b");
    pair.ticks(13);
    EXPECT_EQ(standby("a"), "c");
    EXPECT_EQ(standby("w"), "c");
    pair.start("b");
    pair.ticks(3);
    EXPECT_EQ(standby("a"), "c");
    EXPECT_TRUE(pair.saw("a", "A second member, 'b', connected beside 'c' and is ignored until that one has been silent"));
    EXPECT_TRUE(pair.saw("w", "A third member, 'b', connected and is ignored until"));
    both([&](Strategy& strategy) { strategy.peer_down("c", transport::LostReason::kClosed); });
    pair.ticks(16);
    EXPECT_EQ(standby("a"), "b");
    EXPECT_EQ(standby("w"), "b");
    EXPECT_TRUE(pair.write("a", "x"));
    EXPECT_EQ(pair.payloads("b"), (Texts{"x"}));
}

// It may have taken over, or do so yet: it was told last that it is in sync.
TEST(HotStandby, WhoComesInTheStandbysPlaceDoesNotSpeakForIt) {
    for (const FencePolicy policy : {FencePolicy::kStrict, FencePolicy::kWitness, FencePolicy::kAvailable}) {
        SCOPED_TRACE(static_cast<int>(policy));
        Pair pair{with(SyncMode::kSemiSync, policy), policy == FencePolicy::kWitness};
        form(pair);
        ASSERT_TRUE(pair.write("a", "x"));
        pair.cut("a", "b");
        if (policy == FencePolicy::kWitness) {
            pair.cut("a", "w");
        }
        pair.ticks(12);
        Strategy& a = pair.strategy("a");
        PeerInfo stranger;
        stranger.id = "c";
        a.peer_up(stranger);
        pair.settle();
        ASSERT_EQ(a.view().members.at(1).id, "c");
        ClusterMessage answer;
        auto& m = *answer.mutable_heartbeat_response();
        m.set_epoch(a.view().term.value);
        m.set_primary_id("a");
        m.set_history(pair["a"].disk.history);
        for (std::uint64_t sequence = 1; sequence < 40; ++sequence) {
            m.set_sequence(sequence);
            a.step("c", answer);
        }
        EXPECT_FALSE(pair.write("a", "y")) << "it may be acknowledged by another primary by now";
    }
}

TEST(HotStandby, SettingsThatAreNotTheOthersAreNamedOnce) {
    Pair pair{with(SyncMode::kSemiSync, FencePolicy::kWitness), true};
    pair["b"].differs = [](HotStandbySettings& settings) {
        settings.degrade_ticks = 5;
        settings.sync_mode = SyncMode::kSync;
        settings.auto_failover = false;  // each member's own
    };
    pair["w"].differs = [](HotStandbySettings& settings) { settings.failover_ticks = 20; };
    form(pair);
    pair.ticks(20);
    const auto said = [&](const NodeName& at, std::string_view words) {
        return std::ranges::count_if(pair[at].events, [&](const std::string& event) { return event.find(words) != std::string::npos; });
    };
    EXPECT_EQ(said("b", "'a' has other settings: NORNICDB_CLUSTER_HA_SYNC_TIMEOUT is 50 ms here and 40 ms there, NORNICDB_CLUSTER_HA_SYNC_MODE is "
                        "sync here and semi_sync there. "),
              1);
    EXPECT_EQ(said("a", "'b' has other settings"), 1);
    EXPECT_EQ(said("a", "'w' has other settings: NORNICDB_CLUSTER_HA_FAILOVER_TIMEOUT is 120 ms here and 200 ms there. "), 1);
    // It is started again with the others', and then with other ones still.
    pair.kill("b");
    pair["b"].differs = nullptr;
    pair.start("b");
    pair.ticks(3);
    pair.kill("b");
    pair["b"].differs = [](HotStandbySettings& settings) { settings.fence_policy = FencePolicy::kAvailable; };
    pair.start("b");
    pair.ticks(3);
    EXPECT_EQ(said("a", "'b' has other settings"), 2);
    EXPECT_EQ(said("a", "NORNICDB_CLUSTER_HA_FENCE_POLICY is witness here and available there"), 1);
}

TEST(HotStandby, UnderStrictAnIsolatedPrimaryStopsBeforeTheStandbyLeads) {
    Pair pair{with(SyncMode::kAsync, FencePolicy::kStrict)};
    form(pair);
    EXPECT_TRUE(pair.write("a", "x"));
    pair.cut("a", "b");
    pair.ticks(9);
    EXPECT_FALSE(pair.write("a", "y")) << "two thirds of the time-out are over";
    EXPECT_EQ(pair.strategy("b").write_term().value, 0U);
    pair.ticks(6);
    EXPECT_NE(pair.strategy("b").write_term().value, 0U);
    EXPECT_FALSE(pair.write("a", "z"));
    pair.heal("a", "b");
    pair.ticks(4);
    EXPECT_EQ(pair.primary(), "b");
}

/// The standby asks no witness under that policy.
TEST(HotStandby, UnderStrictAWitnessThatIsHeardKeepsNoPrimaryInTheLead) {
    Pair pair{with(SyncMode::kAsync, FencePolicy::kStrict), true};
    form(pair);
    EXPECT_TRUE(pair.write("a", "x"));
    pair.cut("a", "b");
    pair.ticks(9);
    EXPECT_FALSE(pair.write("a", "y")) << "two thirds of the time-out are over";
    EXPECT_EQ(pair.strategy("b").write_term().value, 0U);
    pair.ticks(6);
    EXPECT_NE(pair.strategy("b").write_term().value, 0U);
    EXPECT_FALSE(pair.write("a", "z"));
}

TEST(HotStandby, TheWitnessLetsTheStandbyLeadOnlyWhenItDoesNotHearThePrimary) {
    Pair pair{with(SyncMode::kSemiSync, FencePolicy::kWitness), true};
    form(pair);
    ASSERT_TRUE(pair.write("a", "x"));
    pair.cut("a", "b");
    pair.ticks(40);
    EXPECT_EQ(pair.primary(), "a") << "the witness hears it";
    EXPECT_EQ(pair.strategy("b").write_term().value, 0U);
    EXPECT_TRUE(pair.write("a", "alone"));
    // What it acknowledged alone keeps the standby from taking over even when it dies now.
    pair.kill("a");
    pair.ticks(60);
    EXPECT_EQ(pair.primary(), "");
    EXPECT_TRUE(pair.saw("b", "Not promoted: the witness refuses: 'a' acknowledged writes that 'b' may not hold. To lead all the same, "
                              "POST /admin/promote {\"force\": true} here."));
    pair.start("a");
    pair.ticks(20);
    EXPECT_EQ(pair.primary(), "a") << "with the witness's vote";
    EXPECT_EQ(pair.payloads("a"), (Texts{"x", "alone"}));
}

/// The table of docs/modes/ha_standby.md: it survives any one loss, and loses what was not shipped.
TEST(HotStandby, UnderAsyncTheWitnessVotesForAStandbyThatLags) {
    Pair pair{with(SyncMode::kAsync, FencePolicy::kWitness), true};
    form(pair);
    ASSERT_TRUE(pair.write("a", "x"));
    pair.cut("a", "b");
    ASSERT_TRUE(pair.write("a", "not shipped"));
    pair.ticks(2);
    pair.kill("a");
    pair.ticks(60);
    EXPECT_TRUE(pair.write("b", "z"));
    EXPECT_EQ(pair.payloads("b"), (Texts{"x", "z"}));
}

TEST(HotStandby, UnderSyncTheWitnessVotesForAStandbyThatWasCutOff) {
    Pair pair{with(SyncMode::kSync, FencePolicy::kWitness), true};
    form(pair);
    ASSERT_TRUE(pair.write("a", "x"));
    pair.cut("a", "b");
    pair.ticks(4);
    EXPECT_FALSE(pair.write("a", "y")) << "it takes both";
    pair.kill("a");
    pair.ticks(60);
    EXPECT_EQ(pair.primary(), "b");
    EXPECT_EQ(pair.payloads("b").front(), "x");
}

TEST(HotStandby, WithAWitnessAnIsolatedPrimaryStopsAndTheStandbyLeads) {
    Pair pair{with(SyncMode::kSemiSync, FencePolicy::kWitness), true};
    form(pair);
    ASSERT_TRUE(pair.write("a", "x"));
    pair.cut("a", "b");
    pair.cut("a", "w");
    EXPECT_FALSE(pair.write("a", "y"));
    pair.ticks(39);
    EXPECT_NE(pair.strategy("b").write_term().value, 0U);
    EXPECT_TRUE(pair.write("b", "z"));
    EXPECT_FALSE(pair.propose("a", "w")) << "it stopped two thirds into the time-out";
    pair.heal("a", "b");
    pair.heal("a", "w");
    pair.ticks(4);
    EXPECT_EQ(pair.primary(), "b");
    EXPECT_EQ(pair.payloads("a"), (Texts{"x", "z"}));
    EXPECT_EQ(pair["a"].diverged, (Texts{"y"}));
}

TEST(HotStandby, AWitnessThatDoesNotKnowOfThePrimaryYetIsNotTakenAtItsWordByOneThatHeardIt) {
    HotStandbySettings settings = with(SyncMode::kAsync, FencePolicy::kWitness);
    settings.auto_failover = false;
    Pair pair{settings, true};
    form(pair);
    pair.cut("a", "w");
    pair.kill("a");
    pair.ticks(13);
    pair.start("a");  // the two agree on its next epoch, of which the witness has not heard
    ASSERT_EQ(pair.wait_for_primary(), "a");
    pair.ticks(2);
    pair.cut("a", "b");
    ASSERT_TRUE(pair.write("a", "x"));
    const auto refused = pair.command("b", {});
    ASSERT_FALSE(refused.outcome) << "two would take writes";
    EXPECT_NE(refused.outcome.error().message().find("may still be taking writes"), std::string::npos) << refused.outcome.error().message();
    pair.ticks(12);
    EXPECT_FALSE(pair.propose("a", "y")) << "it stopped two thirds into the time-out";
    EXPECT_TRUE(pair.command("b", {}).outcome);
    EXPECT_TRUE(pair.propose("b", "z"));
}

TEST(HotStandby, TwoNewStandbysSayWhatMakesOneOfThemThePrimary) {
    Pair pair;
    pair["a"].configured_primary = false;
    pair.start_all();
    for (int i = 0; i < 40; ++i) {
        pair.strategy("a").tick();
        EXPECT_TRUE(i < 2 || pair.strategy("a").view().reason.find("restart one with the role primary, or POST /admin/promote here") !=
                                 std::string::npos)
            << i << ": " << pair.strategy("a").view().reason;
        pair.settle();
    }
    EXPECT_EQ(pair.primary(), "");
    EXPECT_TRUE(pair.command("a", {}).outcome);
    EXPECT_EQ(pair.primary(), "a");
}

TEST(HotStandby, AnOperatorHearsAtOnceThatTheWitnessIsGone) {
    for (const bool asked_before : {false, true}) {
        Pair pair{with(SyncMode::kSemiSync, FencePolicy::kWitness), true};
        form(pair);
        pair.kill("a");
        if (!asked_before) {
            pair.kill("w");
        }
        pair.ticks(11);
        pair.loses = [](const NodeName& from, const ClusterMessage&) { return from == "w"; };
        pair.ticks(3);
        if (asked_before) {
            ASSERT_TRUE(pair.strategy("b").command(77, {}));
            pair.settle();
            ASSERT_TRUE(pair["b"].answers.empty());
            pair.kill("w");
        }
        const auto refused = asked_before && !pair["b"].answers.empty() ? pair["b"].answers.front() : pair.command("b", {}, 0);
        ASSERT_FALSE(refused.outcome);
        EXPECT_EQ(refused.outcome.error().code(), ErrorCode::kConflict);
        EXPECT_NE(refused.outcome.error().message().find("witness"), std::string::npos) << refused.outcome.error().message();
        EXPECT_EQ(asked_before, pair["b"].answers.size() == 1);
        pair.ticks(1);
        EXPECT_NE(pair.strategy("b").view().reason.find("the witness is not connected"), std::string::npos) << pair.strategy("b").view().reason;
        pair.loses = nullptr;
        pair.start("w");
        EXPECT_EQ(pair.wait_for_primary(), "b");
    }
}

TEST(HotStandby, AWriteDecidedOnBeforeAPauseIsNotCarriedOutBehindItUnlessTheLeadStillHolds) {
    Pair pair{with(SyncMode::kAsync, FencePolicy::kWitness), true};
    form(pair);
    pair["a"].disk_takes_no_entries = true;
    ASSERT_TRUE(pair.propose("a", "x"));
    pair.cut("a", "b");
    pair.cut("a", "w");
    pair.ticks(9);
    pair["a"].disk_takes_no_entries = false;
    pair.settle();
    ASSERT_TRUE(pair["a"].committed.empty()) << "logged, but two thirds of the time-out are over";
    // It is heard again, decides, and is stopped before it has carried that out.
    pair["a"].frozen_disk = true;
    pair.heal("a", "w");
    pair.ticks(1);
    pair.cut("a", "w");
    pair.strategy("a").paused(30);
    pair["a"].frozen_disk = false;
    pair.settle();
    EXPECT_TRUE(pair["a"].committed.empty()) << "another may lead by now";
    // That there was none shows.
    pair.heal("a", "w");
    pair.ticks(1);
    EXPECT_EQ(pair["a"].committed.size(), 1U);
}

TEST(HotStandby, AWriteDecidedOnAndNotCarriedOutIsNoneOfAPrimaryThatSteppedDown) {
    Pair pair{with(SyncMode::kAsync)};
    form(pair);
    pair.cut("a", "b");
    pair["a"].disk_takes_no_entries = true;
    ASSERT_TRUE(pair.propose("a", "x"));
    pair.ticks(20);
    ASSERT_NE(pair.strategy("b").write_term().value, 0U);
    Ready ready = *std::exchange(pair["a"].waiting, std::nullopt);
    pair["a"].disk.entries.push_back(ready.entries.front());
    pair.strategy("a").persisted(ready.entries.front().index);
    // In this moment it hears of its successor.
    pair["a"].disk_takes_no_entries = false;
    ClusterMessage later;
    later.mutable_heartbeat()->set_epoch(pair.strategy("b").view().term.value);
    later.mutable_heartbeat()->set_sequence(1);
    later.mutable_heartbeat()->set_leading(true);
    pair.strategy("a").step("b", later);
    EXPECT_EQ(pair.strategy("a").take_ready().committed, pair["a"].applied);
}

TEST(HotStandby, ANewPrimaryTakesNoWritesBeforeItHasAppliedWhatItInherited) {
    Pair pair{with(SyncMode::kSync)};
    form(pair);
    EXPECT_TRUE(pair.write("a", "x"));
    EXPECT_TRUE(pair.write("a", "y"));
    // Under sync it does not know that the standby has them before that is back.
    pair.kill("a");
    pair.kill("b");
    pair["a"].disk.hard_state.committed = LogIndex{1};
    pair.start("a");
    Command forced;
    forced.force = true;
    ASSERT_TRUE(pair.command("a", forced).outcome);
    ASSERT_EQ(pair.strategy("a").view().role, Role::kPrimary);
    ASSERT_LT(pair["a"].applied, pair["a"].disk.last_index());
    EXPECT_EQ(pair.strategy("a").write_term().value, 0U);
    EXPECT_FALSE(pair.propose("a", "z"));
    EXPECT_FALSE(pair.strategy("a").view().accepts_writes);

    pair.start("b");
    pair.ticks(5);
    EXPECT_NE(pair.strategy("a").write_term().value, 0U);
    EXPECT_TRUE(pair.write("a", "z"));
    EXPECT_EQ(pair.payloads("b"), (Texts{"x", "y", "z"}));
}

TEST(HotStandby, AFullDiskRefusesWhatNobodySaw) {
    Pair pair;
    form(pair);
    pair["a"].full_disk = true;
    EXPECT_FALSE(pair.write("a", "x"));
    pair.ticks(3);
    pair["a"].full_disk = false;
    EXPECT_TRUE(pair.write("a", "y"));
    EXPECT_EQ(pair.payloads("b"), (Texts{"y"}));
    EXPECT_EQ(pair.payloads("a"), (Texts{"y"}));
}

TEST(HotStandby, AMemberWhoseDiskHasNoRoomToLeadLeavesThatToTheOther) {
    Pair pair;
    form(pair);
    ASSERT_TRUE(pair.write("a", "x"));
    pair["b"].full_disk = true;  // nobody knows yet
    static_cast<void>(pair.command("b", {}));
    pair.ticks(3);
    EXPECT_EQ(pair.primary(), "a");
    const Term term = pair.strategy("a").view().term;
    pair.ticks(30);
    EXPECT_EQ(pair.strategy("a").view().term, term) << "and it stays so";
    pair.propose("a", "y");
    pair.ticks(30);
    EXPECT_EQ(pair["a"].committed.size(), 2U) << "without the other one, whose disk is full";
    pair["b"].full_disk = false;
    pair.ticks(5);
    EXPECT_EQ(pair.payloads("b"), (Texts{"x", "y"}));
    EXPECT_TRUE(pair.command("b", {}).outcome);
    EXPECT_TRUE(pair.write("b", "z"));
}

TEST(HotStandby, WhereNeitherDiskHasRoomToLeadItIsTriedNowAndThen) {
    Pair pair;
    form(pair);
    pair["a"].full_disk = pair["b"].full_disk = true;
    static_cast<void>(pair.command("b", {}));
    const Term term = pair.strategy("b").view().term;
    pair.ticks(48);
    EXPECT_EQ(pair.primary(), "");
    EXPECT_LT(pair.strategy("b").view().term.value, term.value + 20) << "four time-outs have passed";
    pair["a"].full_disk = pair["b"].full_disk = false;
    EXPECT_NE(pair.wait_for_primary(), "");
    pair.ticks(3);
    EXPECT_TRUE(pair.write(pair.primary(), "x"));
}

TEST(HotStandby, TwoMembersNeverUseTheSameEpoch) {
    Pair pair{with(SyncMode::kAsync)};
    form(pair);
    pair.cut("a", "b");
    Command forced;
    forced.force = true;
    for (int i = 0; i < 5; ++i) {
        pair.ticks(20);
        pair.kill("a");
        pair.start("a");
        static_cast<void>(pair.command("a", forced));
        pair.kill("b");
        pair.start("b");
        static_cast<void>(pair.command("b", forced));
        EXPECT_NE(pair.strategy("a").view().term.value % 2, pair.strategy("b").view().term.value % 2);
    }
}

}  // namespace
}  // namespace nornic::modes::testing
