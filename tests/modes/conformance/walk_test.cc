// Random walks: clients, crashes, cuts, hanging and full disks, lost messages and pauses in any order, and
// the Cluster looks on. The simulator (docs/simulator.md) does the same with the whole driver and engine; this is
// the first place to look at a new mode, since it needs nothing but the strategy.
//
// NORNIC_WALK_SEED=n NORNIC_WALK_SEEDS=m run m seeds from n on, instead of the ones below.
#include "tests/modes/conformance/suite.h"

#include "base/random.h"

#include <cstdlib>

namespace nornic::modes::conformance {
namespace {

constexpr std::uint64_t kSeeds = 60;
constexpr int kSteps = 1500;

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
    const char* const text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

class Walk {
public:
    Walk(const ModeUnderTest& mode, std::uint64_t seed)
        : random_{seed}, cluster_{mode, options(seed)}, faults_{random_.below(4) != 0} {}

    void go() {
        cluster_.start_all();
        for (int step = 0; step < kSteps && !testing::Test::HasFailure(); ++step) {
            faults_ && random_.one_in(60) ? fault() : work();
        }
        if (!testing::Test::HasFailure()) {
            cluster_.expect_progress_and_convergence();
        }
    }
    [[nodiscard]] std::uint64_t digest() const { return cluster_.transcript().digest(); }
    [[nodiscard]] const Cluster& cluster() const { return cluster_; }

private:
    static ClusterOptions options(std::uint64_t seed) {
        ClusterOptions out;
        out.seed = seed;
        out.rewind_erases = seed % 2 == 0;
        out.apply_max = 1 + seed % 5;
        return out;
    }
    template <class T>
    const T& pick(const std::vector<T>& from) {
        return from[random_.below(from.size())];
    }
    NodeName any() { return pick(names_); }
    NodeName any_that_serves() {
        const NodeName name = any();
        return cluster_.serves(name) ? name : NodeName{};
    }

    void work() {
        const std::uint64_t what = random_.below(100);
        if (what < 35) {
            cluster_.step_driver(any());
        } else if (what < 75) {
            for (const NodeName& from : names_) {
                const NodeName to = any();
                const auto lane = static_cast<Lane>(random_.below(transport::kLanes));
                if (from != to) {
                    cluster_.deliver(from, to, lane);
                }
            }
        } else if (what < 85) {
            cluster_.pass_interval();
        } else if (what < 88) {
            cluster_.settle();
        } else if (const NodeName name = any_that_serves(); name.empty()) {
            return;
        } else if (what < 96) {
            // A client keeps to who takes its writes.
            const auto writers = cluster_.writers();
            const NodeName to = writers.empty() || random_.one_in(8) ? name : pick(writers);
            (void)cluster_.propose(to, "write " + std::to_string(++writes_));
        } else {
            (void)cluster_.read(name, random_.one_in(2) ? ReadConsistency::kQuorum : ReadConsistency::kOne);
        }
    }

    void fault() {
        const NodeName name = any();
        const NodeName other = any();
        switch (random_.below(14)) {
            case 0:
                cluster_.crash(name, random_.below(5));
                break;
            case 1:
            case 2:
            case 3:
                if (!cluster_.alive(name)) {
                    cluster_.start(name);
                }
                break;
            case 4:
                if (name != other) {
                    cluster_.cut(name, other);
                }
                break;
            case 5:
                cluster_.isolate(name);
                break;
            case 6:
            case 7:
                cluster_.heal();
                break;
            case 8:
                cluster_.hold_disk(name, static_cast<Hold>(random_.below(3)));
                break;
            case 9:
                cluster_.hold_disk(name, Hold::kNothing);
                cluster_.fill_disk(name, random_.one_in(4));
                break;
            case 10:
                cluster_.checkpoint(name,
                                    random_.one_in(3) ? Cluster::Retention::kNone : Cluster::Retention::kForPeers);
                break;
            case 11:
                if (name != other) {
                    cluster_.drop(name, other, static_cast<Lane>(random_.below(transport::kLanes)));
                }
                break;
            case 12:
                random_.one_in(3) ? cluster_.pause(name) : cluster_.resume(name);
                break;
            default:
                if (cluster_.serves(name) && !cluster_.mode().commands.empty()) {
                    (void)cluster_.command(name, pick(cluster_.mode().commands));
                }
                break;
        }
    }

    Random random_;
    Cluster cluster_;
    const bool faults_;
    const std::vector<NodeName> names_ = cluster_.names();
    int writes_ = 0;
};

using Walks = EveryMode;
NORNIC_FOR_EVERY_MODE(Walks);

TEST_P(Walks, KeepEveryPromise) {
    const std::uint64_t first = from_environment("NORNIC_WALK_SEED", 1);
    const std::uint64_t count = from_environment("NORNIC_WALK_SEEDS", kSeeds);
    std::map<std::string, int> marks;
    for (std::uint64_t seed = first; seed < first + count && !HasFailure(); ++seed) {
        SCOPED_TRACE("NORNIC_WALK_SEED=" + std::to_string(seed));
        Walk walk{GetParam(), seed};
        walk.go();
        for (const auto& [mark, times] : walk.cluster().marks()) {
            marks[mark] += times;
        }
    }
    // That nothing was found means something only if these were met.
    for (const char* const mark : {"rewind", "snapshot", "no room", "torn batch"}) {
        const bool expected = count == kSeeds && (GetParam().members.size() > 1 || mark == std::string_view{"no room"});
        EXPECT_TRUE(!expected || HasFailure() || marks[mark] > 0) << "no walk met: " << mark;
        RecordProperty(mark, std::to_string(marks[mark]));
    }
}

TEST_P(Walks, AreTheSameEachTime) {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        Walk once{GetParam(), seed};
        once.go();
        Walk again{GetParam(), seed};
        again.go();
        EXPECT_EQ(once.digest(), again.digest()) << "the same calls gave other decisions, seed " << seed;
    }
}

}  // namespace
}  // namespace nornic::modes::conformance
