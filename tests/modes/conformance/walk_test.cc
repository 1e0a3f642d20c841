// Random walks: clients, crashes, cuts, hanging and full disks, lost messages and pauses in any order, and
// the Cluster looks on. The simulator (docs/simulator.md) does the same with the whole driver and engine; this is
// the first place to look at a new mode, since it needs nothing but the strategy.
//
// NORNIC_WALK_SEED=n NORNIC_WALK_SEEDS=m run m seeds from n on, instead of the ones below.
#include "tests/modes/conformance/suite.h"

#include "base/random.h"

#include <array>
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
        : random_{seed}, cluster_{mode, options(seed)} {
        draw_faults();
    }

    void go() {
        cluster_.start_all();
        for (int step = 0; step < kSteps && !testing::Test::HasFailure(); ++step) {
            random_.one_in(fault_one_in_) ? fault() : work();
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

    enum Fault : std::uint8_t {
        kCrash,
        kStart,
        kCut,
        kIsolate,
        kHeal,
        kHang,
        kFill,
        kMend,
        kCheckpoint,
        kDrop,
        kPause,
        kResume,
        kCommand,
        kFaults
    };
    /// Each walk has faults of its own: some often, some never. What mends is always there.
    void draw_faults() {
        for (int fault = 0; fault < kFaults; ++fault) {
            const bool mends = fault == kStart || fault == kHeal || fault == kMend || fault == kResume;
            const std::uint64_t weight = mends ? 2 + random_.below(3) : std::array<std::uint64_t, 4>{0, 1, 1, 4}[random_.below(4)];
            faults_.insert(faults_.end(), weight, static_cast<Fault>(fault));
        }
        fault_one_in_ = std::array<std::uint64_t, 4>{12, 40, 100, 100'000}[random_.below(4)];
    }

    void fault() {
        const NodeName name = any();
        const NodeName other = any();
        switch (pick(faults_)) {
            case kCrash:
                cluster_.crash(name, random_.below(5));
                break;
            case kStart:
                if (!cluster_.alive(name)) {
                    cluster_.start(name);
                }
                break;
            case kCut:
                if (name != other) {
                    cluster_.cut(name, other);
                }
                break;
            case kIsolate:
                cluster_.isolate(name);
                break;
            case kHeal:
                cluster_.heal();
                break;
            case kHang:
                cluster_.hold_disk(name, random_.one_in(2) ? Hold::kAppend : Hold::kSync);
                break;
            case kFill:
                cluster_.fill_disk(name, true);
                break;
            case kMend:
                cluster_.hold_disk(name, Hold::kNothing);
                cluster_.fill_disk(name, false);
                break;
            case kCheckpoint:
                cluster_.checkpoint(name,
                                    random_.one_in(3) ? Cluster::Retention::kNone : Cluster::Retention::kForPeers);
                break;
            case kDrop:
                if (name != other) {
                    cluster_.drop(name, other, static_cast<Lane>(random_.below(transport::kLanes)));
                }
                break;
            case kPause:
                cluster_.pause(name);
                break;
            case kResume:
                cluster_.resume(name);
                break;
            case kCommand:
                if (cluster_.serves(name) && !cluster_.mode().commands.empty()) {
                    (void)cluster_.command(name, pick(cluster_.mode().commands));
                }
                break;
            case kFaults:
                break;
        }
    }

    Random random_;
    Cluster cluster_;
    std::vector<Fault> faults_;
    std::uint64_t fault_one_in_ = 1;
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
        const bool expected = count == kSeeds &&
                              (GetParam().members.size() > 1 || mark == std::string_view{"no room"}) &&
                              (!GetParam().overwrites || mark != std::string_view{"rewind"});
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
