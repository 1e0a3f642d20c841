#include "modes/catch_up_pace.h"

#include <gtest/gtest.h>

namespace nornic::modes {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr std::uint64_t kMost = std::uint64_t{64} << 20;

/// A member that takes a write each millisecond.
class Paced {
public:
    explicit Paced(std::uint64_t most = kMost) : pace{most} {}
    /// `slow_above`: of the rate; faster makes each `one_in`-th write take four times as long.
    void run(int ms, bool copying, std::uint64_t slow_above = UINT64_MAX, bool writes = true) {
        for (int i = 0; i < ms; ++i) {
            now += milliseconds{1};
            if (writes) {
                const bool slow = copying && pace.bytes_per_second() > slow_above && ++count_ % one_in == 0;
                pace.write_took(slow ? microseconds{800} : microseconds{200 + i % 10});
            }
            pace.tick(now, copying);
            most_seen = copying ? std::max(most_seen, pace.bytes_per_second()) : 0;
        }
    }
    int one_in = 4;
    CatchUpPace pace;
    Deadline now{std::chrono::hours{1}};
    std::uint64_t most_seen = 0;

private:
    int count_ = 0;
};

TEST(CatchUpPace, ReachesItsSettingWhereWritesStayAsTheyWere) {
    Paced paced;
    paced.run(1000, false);
    paced.run(10'000, true);
    EXPECT_EQ(paced.pace.bytes_per_second(), kMost);
}

void expect_about_where_writes_become_slow(int one_in) {
    Paced paced;
    paced.one_in = one_in;
    paced.run(1000, false);
    const std::uint64_t bearable = kMost / 2;
    paced.run(20'000, true, bearable);
    paced.most_seen = 0;
    paced.run(10'000, true, bearable);
    EXPECT_LE(paced.most_seen, bearable + kMost / 16);
    EXPECT_GE(paced.pace.bytes_per_second(), bearable / 4);
}

TEST(CatchUpPace, StaysAboutWhereWritesBecomeSlow) {
    expect_about_where_writes_become_slow(4);
}

TEST(CatchUpPace, AFewThatBecomeVerySlowAreEnough) {
    expect_about_where_writes_become_slow(50);
}

TEST(CatchUpPace, NeverEndsAltogether) {
    Paced paced;
    paced.run(1000, false);
    paced.run(20'000, true, CatchUpPace::kLeast);
    EXPECT_GE(paced.pace.bytes_per_second(), CatchUpPace::kLeast);
    EXPECT_LE(paced.pace.bytes_per_second(), CatchUpPace::kLeast + kMost / 32);
    Paced slower{1000};
    slower.run(1000, false);
    slower.run(20'000, true, 0);
    EXPECT_EQ(slower.pace.bytes_per_second(), 1000U) << "the setting, if that is less";
}

TEST(CatchUpPace, WritesThatAreSlowerWhateverItsPaceDoNotHoldItUp) {
    Paced paced;
    paced.run(1000, false);
    paced.run(600, true, 0);
    EXPECT_EQ(paced.pace.bytes_per_second(), CatchUpPace::kLeast) << "it tries";
    paced.run(20'000, true, 0);
    EXPECT_EQ(paced.pace.bytes_per_second(), kMost);
}

TEST(CatchUpPace, WhereNobodyWritesThereIsNobodyToWait) {
    Paced paced;
    paced.run(20'000, true, 0, false);
    EXPECT_EQ(paced.pace.bytes_per_second(), kMost);
}

TEST(CatchUpPace, ADiskThatIsSlowWithoutACopyDoesNotHoldItUp) {
    Paced paced;
    for (int i = 0; i < 5000; ++i) {
        paced.pace.write_took(i % 5 == 0 ? milliseconds{9} : milliseconds{1});
    }
    for (int i = 0; i < 20'000; ++i) {
        paced.now += milliseconds{1};
        paced.pace.write_took(i % 5 == 0 ? milliseconds{9} : milliseconds{1});
        paced.pace.tick(paced.now, true);
    }
    EXPECT_EQ(paced.pace.bytes_per_second(), kMost);
}

}  // namespace
}  // namespace nornic::modes
