// Short histories of a group of cores under all faults at once: what Raft promises is looked at after each call, and once
// everything is healed the group must go on. A failure names its seed; RAFT_FIRST=<seed> RAFT_SEEDS=1 runs it again,
// RAFT_TRACE=1 tells all that happens.
#include "tests/modes/raft/core_cluster.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>

namespace nornic::raft::testing {
namespace {

std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

Settings draw_settings(Random& random) {
    Settings s;
    s.election_ticks = static_cast<std::uint32_t>(6 + random.below(10));
    s.heartbeat_ticks = static_cast<std::uint32_t>(1 + random.below(3));
    s.append_entries_max = 1 + random.below(5);
    s.append_bytes_max = random.one_in(2) ? 1 : 1 << 20;
    s.follower.messages_max = 1 + random.below(4);
    s.follower.bytes_max = random.one_in(3) ? 1 + random.below(20) : 1 << 20;
    s.uncommitted_entries_max = 2 + random.below(30);
    s.tail_bytes_max = random.one_in(2) ? 0 : 1 << 20;
    s.promote_within = LogIndex{random.below(4)};
    s.witness_may_lead = random.one_in(2);
    return s;
}

class History {
public:
    explicit History(std::uint64_t seed) : random_{seed}, cluster_{seed, draw_settings(random_)} {
        cluster_.on_violation = [this](const std::string& what) {
            violations_.push_back(what);
        };
        if (std::getenv("RAFT_TRACE") != nullptr) {
            cluster_.trace = [this](const std::string& line) { fmt::print("{:>4} {}\n", step_, line); };
            cluster_.trace_messages = true;
        }
        // Which faults there are at all.
        for (bool* fault : {&loses_, &repeats_, &reorders_, &cuts_, &crashes_, &hangs_, &fills_, &compacts_, &changes_,
                            &transfers_, &pauses_, &slow_applies_, &slow_snapshots_, &wipes_, &unfits_}) {
            *fault = random_.one_in(2);
        }
        if (wipes_ && random_.one_in(2)) {
            changes_ = false;  // a member that lost its disk may be needed by the configuration that would come out
        } else {
            wipes_ = false;
        }
    }

    std::vector<std::string> run() {
        form();
        const std::uint64_t steps = 100 + random_.below(300);
        cluster_.hold_messages = cluster_.hold_snapshots = true;
        for (step_ = 1; step_ <= steps && violations_.empty(); ++step_) {
            act();
        }
        if (violations_.empty()) {
            heal();
        }
        return violations_;
    }

private:
    bool chance(unsigned percent) { return random_.below(100) < percent; }
    NodeName any() { return names_[random_.below(names_.size())]; }

    void form() {
        std::vector<NodeName> voters;
        for (std::uint64_t n = 1 + random_.below(5); n > 0; --n) {
            voters.push_back(std::string(1, static_cast<char>('a' + voters.size())));
        }
        std::vector<NodeName> witnesses;
        if (voters.size() > 1 && random_.one_in(3)) {
            witnesses.push_back("w");
        }
        cluster_.form(voters, witnesses);
        for (const char* other : {"x", "y", "z"}) {
            if (changes_) {
                cluster_.add(other);
                cluster_.start(other);
            }
        }
        names_ = cluster_.names();
        witnessed_ = !witnesses.empty();
        wipes_ = wipes_ && voters.size() + witnesses.size() > 2;
        if (unfits_ && !changes_ && !wipes_ && voters.size() > 2) {
            unfit_ = {any()};  // its data is known to be wrong, when somebody looks
        } else if (random_.one_in(3)) {
            const NodeName name = any();
            Change change{Change::Kind::kUpdate, name, cluster_.member(name)};
            change.member.directory = {};
            change.member.priority = random_.one_in(2) ? 0 : 200;
            static_cast<void>(cluster_.change(voters.front(), 0, {change}));
        }
    }

    void act() {
        const std::uint64_t what = random_.below(100);
        if (what < 30) {
            network();
        } else if (what < 50) {
            random_.one_in(3) ? cluster_.tick_all() : cluster_.tick(any());
        } else if (what < 62) {
            const NodeName leader = cluster_.leader();
            const NodeName to = leader.empty() || random_.one_in(10) ? any() : leader;
            if (cluster_.running(to)) {
                static_cast<void>(cluster_.propose(to, fmt::format("{}", ++proposals_)));
            }
        } else if (what < 66) {
            const NodeName to = any();
            if (cluster_.running(to)) {
                static_cast<void>(cluster_.read(to, ++reads_));
            }
        } else if (what < 76) {
            disk();
        } else if (what < 80) {
            if (!cluster_.snapshots.empty() && (!slow_snapshots_ || random_.one_in(4))) {
                cluster_.carry_snapshot(random_.below(cluster_.snapshots.size()), loses_ && random_.one_in(4));
            }
        } else if (what < 85) {
            links();
        } else if (what < 90) {
            lives();
        } else if (what < 95) {
            operators();
        } else {
            // A quiet while, in which things come to pass.
            const std::uint64_t quiet = 1 + random_.below(4);
            for (std::uint64_t i = 0; i < quiet; ++i) {
                cluster_.tick_all();
                cluster_.deliver_all_messages();
            }
        }
    }

    void network() {
        for (std::uint64_t n = 1 + random_.below(6); n > 0 && !cluster_.network.empty(); --n) {
            const std::size_t size = cluster_.network.size();
            const std::size_t at = reorders_ && random_.one_in(3) ? random_.below(size) : 0;
            if (loses_ && chance(8)) {
                cluster_.drop(at);
            } else {
                if (repeats_ && chance(10)) {
                    cluster_.duplicate(at);
                }
                cluster_.deliver(at);
            }
        }
    }

    void disk() {
        Node& n = cluster_.node(any());
        if (n.core == nullptr) {
            return;
        }
        const std::uint64_t what = random_.below(8);
        if (what < 2 && hangs_) {
            n.disk_hangs = !n.disk_hangs;
        } else if (what == 2 && fills_) {
            n.disk_full = !n.disk_full;
        } else if (what == 3 && slow_applies_) {
            n.apply_hangs = !n.apply_hangs;
            cluster_.apply(n.name);
        } else if (what == 4 && compacts_) {
            if (!n.writing && !n.installing) {
                cluster_.compact(n.name, random_.below(4));
            }
        } else if (what == 5 && hangs_) {
            cluster_.with(n.name, [&](Core& core) { core.disk_stalled(n.writing.has_value() && random_.one_in(2)); });
        } else {
            cluster_.finish_write(n.name);
        }
    }

    void links() {
        if (!cuts_ || random_.one_in(3)) {
            cluster_.heal();
            return;
        }
        const NodeName a = any();
        const NodeName b = any();
        if (random_.one_in(4)) {
            cluster_.isolate(a);
        } else if (a != b) {
            cluster_.cut(a, b);
            if (random_.one_in(2)) {
                cluster_.cut(b, a);
            }
        }
        if (a != b && cluster_.running(a) && cluster_.is_cut(b, a) && random_.one_in(2)) {
            cluster_.with(a, [&](Core& core) { core.peer_down(b, false); });
        }
    }

    void lives() {
        const NodeName name = any();
        if (!cluster_.running(name)) {
            cluster_.start(name);
        } else if (wipes_ && !wiped_ && random_.one_in(3) && (!witnessed_ || name == "w")) {
            // (A group that counts on a witness's log may lose with one disk what it needs to go on.)
            wiped_ = true;
            cluster_.wipe(name);
            cluster_.start(name);
        } else if (crashes_) {
            cluster_.crash(name, random_.below(4));
            if (random_.one_in(2)) {
                cluster_.start(name);
            }
        } else if (!unfit_.empty() && random_.one_in(3)) {
            cluster_.with(name, [&](Core& core) { core.set_unfit(unfit_); });
        } else if (pauses_) {
            cluster_.with(name, [&](Core& core) { core.paused(1 + random_.below(40)); });
        }
    }

    void operators() {
        const NodeName leader = cluster_.leader();
        if (leader.empty()) {
            return;
        }
        if (transfers_ && random_.one_in(3)) {
            cluster_.with(leader, [&](Core& core) {
                if (random_.one_in(3)) {
                    static_cast<void>(core.step_down("asked"));
                } else {
                    static_cast<void>(core.transfer(1, random_.one_in(2) ? NodeName{} : any()));
                }
            });
            return;
        }
        if (!changes_) {
            return;
        }
        std::vector<Change> changes;
        for (std::uint64_t n = 1 + random_.below(2); n > 0; --n) {
            const NodeName name = any();
            const Member* known = cluster_.core(leader).configuration().find(name);
            using Kind = Change::Kind;
            // What fits, mostly, so that two of them are often a joint configuration.
            const Kind fitting = known == nullptr ? (random_.one_in(2) ? Kind::kAddLearner : Kind::kAddVoter)
                                 : known->voter   ? (random_.one_in(2) ? Kind::kDemote : Kind::kRemove)
                                                  : Kind::kPromote;
            const Kind kind = random_.one_in(4) ? static_cast<Kind>(random_.below(6)) : fitting;
            Change change{kind, name, cluster_.member(name)};
            if (change.kind == Change::Kind::kUpdate) {
                change.member.priority = static_cast<std::uint32_t>(random_.below(3) * 100);
                change.member.directory = {};
            }
            changes.push_back(std::move(change));
        }
        static_cast<void>(cluster_.change(leader, 2, changes));
    }

    /// Everything works again: the group must have a leader soon, take writes, and bring all members up to date.
    void heal() {
        cluster_.lose = nullptr;
        cluster_.hold_messages = cluster_.hold_snapshots = false;
        for (const NodeName& name : names_) {
            Node& n = cluster_.node(name);
            n.disk_hangs = n.disk_full = n.apply_hangs = false;
            n.accepts_snapshots = true;
            if (n.core == nullptr) {
                cluster_.start(name);
            }
            cluster_.with(name, [&](Core& core) {
                core.disk_stalled(false);
                core.set_unfit(unfit_);
            });
            cluster_.finish_write(name);
            cluster_.install(name);
            cluster_.apply(name);
        }
        cluster_.heal();
        for (int attempt = 0; attempt < 20 && violations_.empty(); ++attempt) {
            cluster_.run(20);
            const NodeName leader = cluster_.leader();
            if (leader.empty() || !cluster_.propose(leader, "last")) {
                continue;
            }
            cluster_.run(20);
            if (settled(leader)) {
                cluster_.read(leader, ++reads_).value();
                cluster_.run(5);
                if (!cluster_.node(leader).reads.contains(reads_)) {
                    violations_.push_back(fmt::format("seed {}: a read was not answered", cluster_.seed()));
                }
                return;
            }
        }
        if (violations_.empty()) {
            std::string what;
            for (const NodeName& name : names_) {
                Core& core = cluster_.core(name);
                what += fmt::format("\n  {}: {} term={} leader='{}' log={} to {} committed={} applied={} members: {}", name,
                                    to_string(core.role()), core.term().value, core.leader(), core.log().first().value,
                                    core.log().last().value, core.committed().value, core.applied_index().value,
                                    core.configuration().describe());
            }
            violations_.push_back(fmt::format("seed {}: healed, and does not go on:{}", cluster_.seed(), what));
        }
    }

    bool settled(const NodeName& leader) {
        Core& core = cluster_.core(leader);
        if (core.role() != Role::kLeader || core.committed() != core.log().last() || core.configuration().joint) {
            return false;
        }
        return std::ranges::all_of(core.configuration().members, [&](const auto& m) {
            return cluster_.core(m.first).applied_index() == core.committed() && !m.second.promote;
        });
    }

    Random random_;
    CoreCluster cluster_;
    std::vector<NodeName> names_;
    std::vector<std::string> violations_;
    std::set<NodeName> unfit_;
    std::uint64_t step_ = 0;
    std::uint64_t proposals_ = 0;
    std::uint64_t reads_ = 0;
    bool loses_ = false, repeats_ = false, reorders_ = false, cuts_ = false, crashes_ = false, hangs_ = false,
         fills_ = false, compacts_ = false, changes_ = false, transfers_ = false, pauses_ = false, slow_applies_ = false,
         slow_snapshots_ = false, wipes_ = false, wiped_ = false, witnessed_ = false,
         unfits_ = false;
};

/// A check in the core aborts; the seed is told all the same.
volatile std::uint64_t running_seed = 0;
void tell_seed(int) {
    std::fprintf(stderr, "again: RAFT_FIRST=%llu RAFT_SEEDS=1\n", static_cast<unsigned long long>(running_seed));
}

TEST(RaftRandom, WhateverHappensNothingPromisedIsBrokenAndAHealedGroupGoesOn) {
    const std::uint64_t first = number_from("RAFT_FIRST", 1);
    const std::uint64_t seeds = number_from("RAFT_SEEDS", 3000);
    std::size_t failures = 0;
    const auto before = std::signal(SIGABRT, tell_seed);
    for (std::uint64_t seed = first; seed < first + seeds && failures < 5; ++seed) {
        running_seed = seed;
        const auto violations = History{seed}.run();
        if (!violations.empty()) {
            ++failures;
            ADD_FAILURE() << violations.front() << "\n  again: RAFT_FIRST=" << seed << " RAFT_SEEDS=1";
        }
    }
    std::signal(SIGABRT, before);
}

}  // namespace
}  // namespace nornic::raft::testing
