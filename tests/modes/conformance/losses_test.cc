// Stories in which something that was acknowledged could be lost, each of which once was, in one mode or the
// other. What is kept is judged at the end by expect_progress_and_convergence().
#include "tests/modes/conformance/suite.h"

namespace nornic::modes::conformance {
namespace {

class Acknowledged : public EveryMode {
protected:
    void release_disks() {
        for (const NodeName& name : cluster.names()) {
            cluster.hold_disk(name, Hold::kNothing);
            cluster.fill_disk(name, false);
        }
    }
    /// Offers writes to whoever takes them.
    void write_anywhere(const std::string& text) {
        for (const NodeName& name : cluster.writers()) {
            (void)cluster.propose(name, text);
        }
        cluster.run(3);
    }
};
NORNIC_FOR_EVERY_MODE(Acknowledged);

TEST_P(Acknowledged, SurvivesThatAnotherMemberReceivedItAndHasNoRoom) {
    form();
    for (const NodeName& other : others()) {
        cluster.hold_disk(other, Hold::kAppend);
        cluster.fill_disk(other, true);
    }
    const auto ids = propose(4, "received ");
    cluster.run(2);
    cluster.isolate(writer);
    for (const NodeName& other : others()) {
        cluster.hold_disk(other, Hold::kNothing);  // and the batch finds no room
    }
    cluster.run(5);
    for (const NodeName& other : others()) {
        cluster.fill_disk(other, false);
    }
    cluster.run(GetParam().settle_ticks);
    write_anywhere("meanwhile");
    cluster.expect_progress_and_convergence();
}

TEST_P(Acknowledged, SurvivesThatAnotherMembersDiskIsFullOnlyOnceItTakesOver) {
    form();
    for (const NodeName& other : others()) {
        cluster.hold_disk(other, Hold::kAppend);
    }
    const auto ids = propose(4, "received ");
    cluster.run(2);
    cluster.isolate(writer);
    cluster.run(GetParam().settle_ticks / 2);
    for (const NodeName& other : others()) {
        cluster.fill_disk(other, true);
        cluster.hold_disk(other, Hold::kNothing);
    }
    cluster.run(5);
    release_disks();
    cluster.run(GetParam().settle_ticks);
    write_anywhere("meanwhile");
    cluster.expect_progress_and_convergence();
}

TEST_P(Acknowledged, SurvivesACrashOfTheMemberThatTakesOverAtAnyRecord) {
    for (std::size_t records = 0; records < 6; ++records) {
        Cluster fresh{GetParam()};
        fresh.start_all();
        const auto found = fresh.await_writer(GetParam().settle_ticks);
        ASSERT_TRUE(found);
        fresh.run(GetParam().settle_ticks);
        std::vector<NodeName> other = fresh.data_members();
        std::erase(other, *found);
        for (const NodeName& name : other) {
            fresh.hold_disk(name, Hold::kSync);
        }
        for (int i = 0; i < 3; ++i) {
            ASSERT_TRUE(fresh.propose(*found, "received " + std::to_string(i)));
        }
        fresh.run(2);
        fresh.isolate(*found);
        fresh.run(GetParam().settle_ticks / 2);
        for (const NodeName& name : other) {
            // What waits behind the hanging batch is written, and the next one is on its way.
            fresh.hold_disk(name, Hold::kNothing);
            fresh.step_driver(name);
            fresh.step_driver(name);
            fresh.hold_disk(name, Hold::kSync);
            fresh.step_driver(name);
            fresh.crash(name, records);
            fresh.start(name);
        }
        fresh.run(GetParam().settle_ticks);
        for (const NodeName& name : fresh.writers()) {
            (void)fresh.propose(name, "meanwhile");
        }
        fresh.expect_progress_and_convergence();
    }
}

TEST_P(Acknowledged, SurvivesAnOperatorWhoForcesNothing) {
    form();
    ASSERT_TRUE(await(propose(3, "w"), Outcome::kCommitted));
    cluster.run(10);
    cluster.crash(writer);
    cluster.run(GetParam().settle_ticks);
    for (const Command& command : GetParam().commands) {
        for (const NodeName& other : others()) {
            (void)cluster.command(other, command);
        }
        cluster.run(20);
    }
    write_anywhere("meanwhile");
    for (const NodeName& other : others()) {
        cluster.crash(other);
    }
    cluster.start(writer);
    cluster.run(GetParam().settle_ticks);
    for (const Command& command : GetParam().commands) {
        (void)cluster.command(writer, command);
        cluster.run(20);
    }
    write_anywhere("after the others died");
    cluster.expect_progress_and_convergence();
}

TEST_P(Acknowledged, IsNotMixedWithWhatAWriterThatWasReplacedHadNotWritten) {
    form();
    ASSERT_TRUE(await(propose(3, "w"), Outcome::kCommitted));
    cluster.run(10);
    cluster.hold_disk(writer, Hold::kAppend);
    const auto first = propose(2, "with the disk ");
    cluster.settle();
    const auto second = propose(3, "behind it ");
    cluster.isolate(writer);
    cluster.run(GetParam().settle_ticks);
    for (const Command& command : GetParam().commands) {
        for (const NodeName& other : others()) {
            (void)cluster.command(other, command);
        }
    }
    cluster.run(20);
    write_anywhere("meanwhile");
    // The log of those that go on does not reach back to where the two part.
    for (const NodeName& other : others()) {
        cluster.checkpoint(other, Cluster::Retention::kNone);
    }
    release_disks();
    cluster.expect_progress_and_convergence();
    for (const auto& ids : {first, second}) {
        for (const ProposalId id : ids) {
            EXPECT_NE(cluster.proposal(id).outcome, Outcome::kOpen);
        }
    }
}

TEST_P(Acknowledged, SurvivesThatNewsOfAPeerAreOld) {
    form();
    ASSERT_TRUE(await(propose(3, "w"), Outcome::kCommitted));
    // Heartbeats and acknowledgements that were true lie on the way while what they speak of changes.
    for (const NodeName& other : others()) {
        cluster.hold_disk(other, Hold::kAppend);
        cluster.fill_disk(other, true);
    }
    (void)propose(4, "received ");
    cluster.run(2);
    for (int i = 0; i < 4; ++i) {
        cluster.pass_interval();
        cluster.step_driver(writer);
    }
    cluster.cut(writer, others().empty() ? writer : others().front());
    for (const NodeName& other : others()) {
        cluster.hold_disk(other, Hold::kNothing);
        while (cluster.step_driver(other)) {
        }
    }
    cluster.heal();
    cluster.settle();
    cluster.crash(writer);
    for (const NodeName& other : others()) {
        cluster.fill_disk(other, false);
    }
    cluster.run(GetParam().settle_ticks);
    write_anywhere("meanwhile");
    cluster.start(writer);
    cluster.expect_progress_and_convergence();
}

}  // namespace
}  // namespace nornic::modes::conformance
