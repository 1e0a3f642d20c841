#include "tests/modes/conformance/modes_under_test.h"

#include "base/check.h"
#include "modes/hot_standby/hot_standby.h"
#include "modes/raft/raft.h"
#include "modes/standalone/standalone.h"
#include "tests/modes/conformance/fixture.h"
#include "tests/modes/chain/chain.h"

#include <algorithm>
#include <ostream>

namespace nornic::modes::conformance {
namespace {

ModeUnderTest standalone() {
    ModeUnderTest mode;
    mode.label = mode.mode = "standalone";
    mode.members = {{"a", false, make_standalone}};
    return mode;
}

ModeUnderTest hot_standby(const std::string& label, SyncMode sync_mode, FencePolicy policy) {
    ModeUnderTest mode;
    mode.label = "hot_standby_" + label;
    mode.mode = "ha_standby";
    // Small limits meet the corners: several batches, a full window, entries read back from the log.
    HotStandbySettings settings;
    settings.sync_mode = sync_mode;
    settings.fence_policy = policy;
    settings.has_witness = policy == FencePolicy::kWitness;
    settings.heartbeat_ticks = 2;
    settings.failover_ticks = 24;
    settings.degrade_ticks = 8;
    settings.batch_entries_max = 3;
    settings.batch_bytes_max = 64;
    settings.window_batches = 2;
    settings.tail_bytes_max = 256;
    const auto member = [&](const NodeName& name, bool primary) {
        settings.configured_primary = primary;
        return MemberSpec{name, false, [settings](const StrategyStart& start) {
                              return make_hot_standby(start, settings);
                          }};
    };
    mode.members = {member("a", true), member("b", false)};
    if (settings.has_witness) {
        WitnessSettings witness;
        witness.failover_ticks = settings.failover_ticks;
        mode.members.push_back({"w", true, [witness](const StrategyStart& start) {
                                    return make_hot_standby_witness(start, witness);
                                }});
    }
    mode.copies = sync_mode == SyncMode::kSync ? 2 : 1;
    // async loses what was not shipped, and under `available` a partition may have two primaries.
    mode.keeps_acknowledged =
        sync_mode == SyncMode::kSync ||
        (sync_mode == SyncMode::kSemiSync && policy != FencePolicy::kAvailable);
    // The standby applies what it has on disk, which may be more than was acknowledged.
    mode.applies_for_good = false;
    mode.fresh_reads = policy != FencePolicy::kAvailable;
    mode.takes_over = sync_mode != SyncMode::kSync;  // a new primary waits for its standby
    mode.hands_over = true;
    mode.commands = {Command{}, Command{.kind = Command::Kind::kTransfer}};
    return mode;
}

ModeUnderTest raft(const std::string& label, std::size_t members, bool witness) {
    ModeUnderTest mode;
    mode.label = "raft_" + label;
    mode.mode = "raft";
    RaftSettings settings;
    settings.election_ticks = 20;
    settings.heartbeat_ticks = 2;
    settings.append_entries_max = 3;
    settings.append_bytes_max = 64;
    settings.window_messages = 2;
    settings.tail_bytes_max = 256;
    settings.trailing_logs = 4;
    settings.digest_interval_ticks = 40;
    const std::vector<NodeName> names{"a", "b", "c", "d", "e"};
    for (std::size_t i = 0; i < members; ++i) {
        settings.peers.push_back({names[i], names[i] + ":7688"});
    }
    for (std::size_t i = 0; i < members; ++i) {
        RaftSettings own = settings;
        own.bootstrap = i == 0;
        const bool is_witness = witness && i + 1 == members;
        own.role = is_witness ? RaftRole::kWitness : RaftRole::kVoter;
        mode.members.push_back({names[i], is_witness, [own](const StrategyStart& start) { return make_raft(start, own); }});
        mode.commands.push_back(Command{.kind = Command::Kind::kTransfer, .target = names[i]});
    }
    mode.commands.push_back(Command{.kind = Command::Kind::kStepDown});
    mode.commands.push_back(Command{});
    mode.copies = witness ? 1 : members / 2 + 1;  // a witness's log is a copy, but no state
    mode.takes_over = members >= 3;
    mode.hands_over = members >= 2;
    mode.witness_keeps_log = true;
    mode.overwrites = true;
    // An operator adds those again that were taken out.
    mode.restore = [](Cluster& cluster) {
        for (const NodeName& name : cluster.names()) {
            if (!cluster.run_until([&] { return cluster.writers().size() == 1; }, cluster.mode().settle_ticks)) {
                return;
            }
            const NodeName writer = cluster.writers().front();
            const std::vector<MemberView> members = cluster.strategy(writer).view().members;
            if (std::any_of(members.begin(), members.end(), [&](const MemberView& m) { return m.id == name; })) {
                continue;
            }
            // Refused while another change is under way.
            cluster.run_until(
                [&] {
                    return cluster
                        .command(writer, {.kind = Command::Kind::kAddMember, .target = name, .address = name + ":7688"})
                        .has_value();
                },
                cluster.mode().settle_ticks);
            cluster.run(20);  // it becomes a voter
        }
    };
    return mode;
}

ModeUnderTest chain() {
    ModeUnderTest mode;
    mode.label = mode.mode = "chain";
    ChainSettings settings;
    settings.members = {"a", "b", "c"};
    settings.heartbeat_ticks = 2;
    settings.silence_ticks = 12;
    settings.batch_bytes_max = 64;
    settings.window_entries = 6;
    for (const NodeName& name : settings.members) {
        mode.members.push_back({name, false, [settings](const StrategyStart& start) {
                                    return make_chain(start, settings);
                                }});
        mode.commands.push_back(Command{.kind = Command::Kind::kRemoveMember, .target = name});
        mode.commands.push_back(Command{.kind = Command::Kind::kAddMember, .target = name});
    }
    // All of the chain; an operator may have shortened it to two.
    mode.copies = 2;
    mode.restore = [](Cluster& cluster) {
        const std::vector<NodeName> heads = cluster.writers();
        for (const NodeName& name : cluster.names()) {
            if (heads.empty()) {
                return;
            }
            const auto asked = cluster.command(heads.front(), {.kind = Command::Kind::kAddMember, .target = name});
            if (asked) {
                cluster.run_until([&] { return cluster.answer(asked.value()).has_value(); }, cluster.mode().settle_ticks);
            }
        }
    };
    return mode;
}

}  // namespace

const std::vector<ModeUnderTest>& modes_under_test() {
    static const std::vector<ModeUnderTest> modes{
        standalone(),
        hot_standby("async_available", SyncMode::kAsync, FencePolicy::kAvailable),
        hot_standby("semi_sync_available", SyncMode::kSemiSync, FencePolicy::kAvailable),
        hot_standby("semi_sync_strict", SyncMode::kSemiSync, FencePolicy::kStrict),
        hot_standby("semi_sync_witness", SyncMode::kSemiSync, FencePolicy::kWitness),
        hot_standby("sync_available", SyncMode::kSync, FencePolicy::kAvailable),
        hot_standby("sync_strict", SyncMode::kSync, FencePolicy::kStrict),
        hot_standby("sync_witness", SyncMode::kSync, FencePolicy::kWitness),
        raft("one", 1, false),
        raft("three", 3, false),
        raft("five", 5, false),
        raft("two_and_witness", 3, true),
        chain(),
    };
    return modes;
}

const ModeUnderTest& mode_under_test(const std::string& label) {
    for (const ModeUnderTest& mode : modes_under_test()) {
        if (mode.label == label) {
            return mode;
        }
    }
    NORNIC_CHECK(false, "no mode '{}' under test", label);
}

void PrintTo(const ModeUnderTest& mode, std::ostream* out) {
    *out << mode.label;
}

std::string test_name(const testing::TestParamInfo<ModeUnderTest>& info) {
    return info.param.label;
}

}  // namespace nornic::modes::conformance
