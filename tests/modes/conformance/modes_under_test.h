// The modes that the conformance suite is run over, one row each: who its members are, how their
// strategies are made, and what the mode promises beyond what every mode does.
#pragma once

#include "modes/strategy.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace nornic::modes::conformance {

class Cluster;

struct MemberSpec {
    NodeName name;
    bool witness = false;
    std::function<std::unique_ptr<Strategy>(const StrategyStart&)> make;
};

struct ModeUnderTest {
    std::string label;  // of this variant, a part of the test's name
    std::string mode;   // the value of NORNICDB_CLUSTER_MODE
    std::vector<MemberSpec> members;
    /// How many members have an entry on disk when it is acknowledged.
    std::size_t copies = 1;
    /// What was acknowledged is never lost, whatever crashes, hangs or is cut off, as long as every
    /// member comes back with its disk.
    bool keeps_acknowledged = true;
    /// An entry that any member applied is never taken back.
    bool applies_for_good = true;
    /// A linearizable read never misses what was acknowledged before it was asked.
    bool fresh_reads = true;
    /// A witness holds the log, and no state.
    bool witness_keeps_log = false;
    /// What nobody else has of a log is overwritten in place, since nothing of it was applied: it is not rewound.
    bool overwrites = false;
    /// When the writer's process ends, another member takes writes by itself.
    bool takes_over = false;
    /// leave() moves the lead to another member before the process ends.
    bool hands_over = false;
    /// Within so many ticks a fresh or healed cluster has a writer, and everybody is up to date.
    std::uint64_t settle_ticks = 200;
    /// What an operator asks now and then in a random walk; nothing that accepts a loss.
    std::vector<Command> commands;
    /// What an operator does once everybody is back, for all members to take part again.
    std::function<void(Cluster&)> restore;
};

/// All of them.
const std::vector<ModeUnderTest>& modes_under_test();
/// By label.
const ModeUnderTest& mode_under_test(const std::string& label);
void PrintTo(const ModeUnderTest& mode, std::ostream* out);
std::string test_name(const testing::TestParamInfo<ModeUnderTest>& info);

}  // namespace nornic::modes::conformance
