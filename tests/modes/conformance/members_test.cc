// What every mode promises of its members: who writes, what each says of itself, what a crash, a cut and
// a leave do.
#include "tests/modes/conformance/suite.h"

namespace nornic::modes::conformance {
namespace {

using Members = EveryMode;
NORNIC_FOR_EVERY_MODE(Members);

TEST_P(Members, AreOfTheModeTheyAreNamedAfter) {
    cluster.start_all();
    for (const NodeName& name : cluster.names()) {
        EXPECT_EQ(cluster.strategy(name).name(), GetParam().mode);
    }
}

TEST_P(Members, OfAFreshClusterHaveOneWriterAndKeepIt) {
    form();
    for (std::uint64_t i = 0; i < GetParam().settle_ticks; ++i) {
        cluster.tick();
        ASSERT_EQ(cluster.writers(), std::vector<NodeName>{writer});
    }
    for (const NodeName& name : cluster.names()) {
        const ClusterView view = cluster.strategy(name).view();
        EXPECT_EQ(view.leader, writer) << name;
        EXPECT_EQ(view.state, "ready") << name << ": " << view.reason;
        EXPECT_EQ(view.members.size(), cluster.names().size()) << name;
    }
}

TEST_P(Members, HaveNothingToDoWhileNothingHappens) {
    form();
    for (const NodeName& name : cluster.names()) {
        for (int i = 0; i < 3; ++i) {
            const Ready ready = cluster.strategy(name).take_ready();
            EXPECT_TRUE(ready.empty()) << name;
            EXPECT_EQ(ready.committed.value, cluster.applied(name).size()) << name;
            EXPECT_TRUE(cluster.strategy(name).take_messages().empty()) << name;
            EXPECT_TRUE(cluster.strategy(name).take_answers().empty()) << name;
            EXPECT_FALSE(cluster.strategy(name).may_gather()) << name;
        }
    }
}

TEST_P(Members, ReadWhatWasAcknowledged) {
    form();
    ASSERT_TRUE(await(propose(3, "w"), Outcome::kCommitted));
    for (const ReadConsistency level : {ReadConsistency::kOne,
                                        ReadConsistency::kLocalOne,
                                        ReadConsistency::kQuorum,
                                        ReadConsistency::kLocalQuorum,
                                        ReadConsistency::kAll}) {
        const auto asked = cluster.read(writer, level);
        ASSERT_TRUE(asked) << asked.error().message();
        cluster.run(3);
        const ReadAsked& read = cluster.asked(asked.value());
        ASSERT_TRUE(read.answered_at) << "no answer at level " << static_cast<int>(level);
        EXPECT_GE(*read.index, read.acknowledged);
    }
    for (const NodeName& other : others()) {
        const auto local = cluster.read(other, ReadConsistency::kOne);
        ASSERT_TRUE(local) << local.error().message();
        cluster.run(3);
        EXPECT_TRUE(cluster.asked(local.value()).answered_at);
        const auto fresh = cluster.read(other, ReadConsistency::kQuorum);
        EXPECT_TRUE(fresh || fresh.error().code() == ErrorCode::kNotLeader);
    }
}

TEST_P(Members, ThatAllRestartKeepWhatWasCommitted) {
    form();
    ASSERT_TRUE(await(propose(5, "w"), Outcome::kCommitted));
    const std::vector<Entry> before = cluster.applied(writer);
    for (const NodeName& name : cluster.names()) {
        cluster.crash(name);
    }
    cluster.expect_progress_and_convergence();
    for (const NodeName& name : cluster.data_members()) {
        for (std::size_t i = 0; i < before.size(); ++i) {
            EXPECT_EQ(cluster.applied(name)[i].payload, before[i].payload) << name;
        }
    }
}

TEST_P(Members, RestartAtAnyRecordOfABatch) {
    for (const NodeName& name : cluster.data_members()) {
        for (std::size_t records = 0; records < 5; ++records) {
            Cluster fresh{GetParam()};
            fresh.start_all();
            const auto found = fresh.await_writer(GetParam().settle_ticks);
            ASSERT_TRUE(found);
            fresh.run(20);
            fresh.hold_disk(name, Hold::kSync);
            for (int i = 0; i < 4; ++i) {
                ASSERT_TRUE(fresh.propose(*found, "w" + std::to_string(i)));
            }
            fresh.settle();
            fresh.crash(name, records);
            fresh.run(5);
            fresh.start(name);
            fresh.expect_progress_and_convergence();
        }
    }
}

TEST_P(Members, CrashOneByOneAndComeBack) {
    form();
    for (const NodeName& name : cluster.names()) {
        const std::vector<NodeName> writing = cluster.writers();
        if (!writing.empty()) {
            (void)cluster.propose(writing.front(), "before " + name + " crashes");
        }
        cluster.crash(name);
        cluster.run(GetParam().settle_ticks);
        if (const auto found = cluster.writers(); !found.empty()) {
            (void)cluster.propose(found.front(), "while " + name + " is away");
        }
        cluster.run(5);
        cluster.start(name);
        cluster.expect_progress_and_convergence();
    }
}

TEST_P(Members, TakeOverFromAWriterThatCrashed) {
    if (!GetParam().takes_over) {
        return;
    }
    form();
    ASSERT_TRUE(await(propose(3, "w"), Outcome::kCommitted));
    cluster.run(10);
    const NodeName crashed = writer;
    cluster.crash(crashed);
    const auto found = cluster.await_writer(GetParam().settle_ticks);
    ASSERT_TRUE(found) << "nobody took over";
    EXPECT_NE(*found, crashed);
    EXPECT_GE(cluster.applied(*found).size(), 3U);
    cluster.start(crashed);
    cluster.expect_progress_and_convergence();
}

TEST_P(Members, ThatWereCutOffComeTogetherAgain) {
    form();
    for (const NodeName& name : cluster.names()) {
        cluster.isolate(name);
        for (std::uint64_t i = 0; i < GetParam().settle_ticks; i += 5) {
            for (const NodeName& data : cluster.data_members()) {
                (void)cluster.propose(data, "while " + name + " is cut off");
            }
            cluster.run(5);
        }
        cluster.expect_progress_and_convergence();
    }
}

TEST_P(Members, ThatCannotBeHeardComeTogetherAgain) {
    form();
    for (const NodeName& from : cluster.names()) {
        for (const NodeName& to : cluster.names()) {
            if (from == to) {
                continue;
            }
            cluster.cut(from, to);
            for (int i = 0; i < 10; ++i) {
                for (const NodeName& data : cluster.data_members()) {
                    (void)cluster.propose(data, from + " to " + to + " is lost");
                }
                cluster.run(4);
            }
            cluster.expect_progress_and_convergence();
        }
    }
}

TEST_P(Members, GoOnAfterAPause) {
    form();
    for (const NodeName& name : cluster.names()) {
        cluster.pause(name);
        for (std::uint64_t i = 0; i < GetParam().settle_ticks; i += 5) {
            for (const NodeName& data : cluster.data_members()) {
                if (cluster.serves(data)) {
                    (void)cluster.propose(data, "during the pause");
                }
            }
            cluster.run(5);
        }
        cluster.resume(name);
        for (const NodeName& data : cluster.data_members()) {
            (void)cluster.propose(data, "after the pause");
        }
        cluster.expect_progress_and_convergence();
    }
}

TEST_P(Members, WhoseDiskHangsAreTickedAndHeardAndGoOn) {
    form();
    for (const NodeName& name : cluster.data_members()) {
        cluster.hold_disk(name, Hold::kSync);
        for (const NodeName& data : cluster.data_members()) {
            (void)cluster.propose(data, "while a disk hangs");
        }
        cluster.run(GetParam().settle_ticks);
        cluster.expect_progress_and_convergence();
    }
}

TEST_P(Members, HandOverBeforeTheyLeaveWhereTheModeCan) {
    form();
    ASSERT_TRUE(await(propose(3, "w"), Outcome::kCommitted));
    cluster.run(10);
    cluster.leave(writer);
    ASSERT_TRUE(cluster.run_until([&] { return cluster.strategy(writer).left(); }, GetParam().settle_ticks));
    if (!GetParam().hands_over) {
        return;
    }
    std::vector<NodeName> writing;
    const bool handed_over = cluster.run_until(
        [&] {
            writing = cluster.writers();
            return writing.size() == 1 && writing.front() != writer;
        },
        20);
    ASSERT_TRUE(handed_over);
    cluster.crash(writer);
    EXPECT_TRUE(cluster.strategy(writing.front()).view().is_leader());
    EXPECT_EQ(cluster.writers().empty(), !GetParam().takes_over);
    cluster.start(writer);
    cluster.expect_progress_and_convergence();
}

TEST_P(Members, WhoDoesNotLeadWaitsForNothingButThatItsLeaderKnows) {
    form();
    ASSERT_TRUE(await(propose(3, "w"), Outcome::kCommitted));
    cluster.run(10);
    for (const NodeName& other : others()) {
        cluster.leave(other);
        EXPECT_TRUE(cluster.run_until([&] { return cluster.strategy(other).left(); }, 30)) << other;
    }
    EXPECT_EQ(cluster.writers(), std::vector{writer});
}

TEST_P(Members, MayAllLeaveAtOnce) {
    form();
    ASSERT_TRUE(await(propose(3, "w"), Outcome::kCommitted));
    cluster.run(10);
    for (const NodeName& name : cluster.names()) {
        cluster.leave(name);
    }
    EXPECT_TRUE(cluster.run_until(
        [&] { return std::ranges::all_of(cluster.names(), [&](const NodeName& name) { return cluster.strategy(name).left(); }); },
        GetParam().settle_ticks));
}

TEST_P(Members, WithNobodyToHandOverToMayLeaveAtOnce) {
    cluster.start(cluster.names().front());
    cluster.run(GetParam().settle_ticks);
    cluster.leave(cluster.names().front());
    EXPECT_TRUE(cluster.strategy(cluster.names().front()).left());
}

TEST_P(Members, ThatTheLogDoesNotReachGetASnapshot) {
    form();
    for (const NodeName& other : others()) {
        cluster.crash(other);
    }
    for (int i = 0; i < 6; ++i) {
        (void)cluster.propose(writer, "while they are away " + std::to_string(i));
        cluster.run(20);
    }
    cluster.checkpoint(writer, Cluster::Retention::kNone);
    cluster.expect_progress_and_convergence();
}

TEST_P(Members, WithoutDataThatTheLogDoesNotReachBeginTheirsAnew) {
    const auto witness = std::find_if(
        GetParam().members.begin(), GetParam().members.end(), [](const MemberSpec& spec) { return spec.witness; });
    if (witness == GetParam().members.end() || !GetParam().witness_keeps_log) {
        return;
    }
    form();
    const NodeName w = witness->name;
    cluster.crash(w);
    for (int i = 0; i < 6; ++i) {
        ASSERT_TRUE(await(propose(1, "while it is away " + std::to_string(i)), Outcome::kCommitted));
    }
    for (const NodeName& name : cluster.data_members()) {
        cluster.checkpoint(name, Cluster::Retention::kNone);
    }
    const LogIndex held = cluster.log(writer).first_index();
    ASSERT_GT(held, cluster.log(w).last_index());
    cluster.start(w);
    cluster.run(GetParam().settle_ticks);
    EXPECT_GT(cluster.marks().at("log reset"), 0);
    EXPECT_GE(cluster.log(w).last_index().value + 1, held.value);
    // It counts again: with it alone the writer goes on, also after it was started again.
    cluster.crash(w);
    cluster.start(w);
    for (const NodeName& name : cluster.data_members()) {
        if (name != writer) {
            cluster.crash(name);
        }
    }
    cluster.run(20);
    EXPECT_TRUE(await(propose(1, "with the witness alone"), Outcome::kCommitted));
    cluster.expect_progress_and_convergence();
}

TEST_P(Members, KeepTheLogThatTheirPeersWant) {
    form();
    ASSERT_TRUE(await(propose(5, "w"), Outcome::kCommitted));
    cluster.run(10);
    cluster.checkpoint(writer);
    for (const NodeName& other : others()) {
        cluster.checkpoint(other);
    }
    ASSERT_TRUE(await(propose(5, "x"), Outcome::kCommitted));
    cluster.expect_progress_and_convergence();
    if (const auto wanted = cluster.strategy(writer).wanted_from()) {
        EXPECT_LE(wanted->value, cluster.log(writer).last_index().value + 1);
    }
}

TEST_P(Members, AnswerEachCommandOnce) {
    for (int kind = 0; kind <= static_cast<int>(Command::Kind::kSnapshot); ++kind) {
        Cluster fresh{GetParam()};
        fresh.start_all();
        ASSERT_TRUE(fresh.await_writer(GetParam().settle_ticks));
        fresh.run(20);
        for (const NodeName& name : fresh.names()) {
            for (const NodeName& target : {NodeName{}, name, fresh.names().back(), NodeName{"nobody"}}) {
                Command command;
                command.kind = static_cast<Command::Kind>(kind);
                command.target = target;
                const auto taken = fresh.command(name, command);
                if (!taken) {
                    EXPECT_FALSE(taken.error().message().empty());
                    continue;
                }
                fresh.run(GetParam().settle_ticks);
                EXPECT_TRUE(fresh.answer(taken.value())) << "no answer to command " << kind << " at " << name;
            }
        }
        fresh.expect_progress_and_convergence();
    }
}

}  // namespace
}  // namespace nornic::modes::conformance
