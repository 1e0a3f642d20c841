#include "base/hybrid_clock.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <vector>

namespace nornic {
namespace {

constexpr std::uint64_t kNoon = 1'800'000'000'000;  // ms

TEST(HybridClock, ShowsTheWallClockWhereNothingElseIsKnown) {
    HybridClock clock;
    const auto time = clock.next(kNoon);
    EXPECT_EQ(wall_ms_of(time), kNoon);
    EXPECT_EQ(time, hybrid_time_of(kNoon));
    EXPECT_EQ(clock.last(), time);
}

TEST(HybridClock, GivesLaterTimesWhileTheWallClockStandsStillOrGoesBack) {
    HybridClock clock;
    std::uint64_t before = 0;
    for (const std::uint64_t wall : {kNoon, kNoon, kNoon - 86'400'000, std::uint64_t{0}, kNoon - 1, kNoon + 1}) {
        const auto time = clock.next(wall);
        EXPECT_GT(time, before);
        before = time;
    }
    EXPECT_EQ(before, hybrid_time_of(kNoon + 1)) << "and comes back to the wall clock once that is ahead again";
}

TEST(HybridClock, BorrowsFromTheNextMillisecondWhenTheCounterIsUsedUp) {
    HybridClock clock;
    std::uint64_t time = clock.next(kNoon);
    for (int i = 0; i < 1 << kHybridCounterBits; ++i) {
        const auto next = clock.next(kNoon);
        ASSERT_EQ(next, time + 1);
        time = next;
    }
    EXPECT_EQ(wall_ms_of(time), kNoon + 1);
    EXPECT_GT(clock.next(kNoon + 1), time);
}

TEST(HybridClock, IsLaterThanWhatItSaw) {
    HybridClock clock;
    clock.observe(hybrid_time_of(kNoon + 5'000) + 17);
    EXPECT_EQ(clock.next(kNoon), hybrid_time_of(kNoon + 5'000) + 18);
    clock.observe(hybrid_time_of(kNoon));  // old news
    EXPECT_EQ(clock.next(kNoon), hybrid_time_of(kNoon + 5'000) + 19);
}

TEST(HybridClock, GoesOnBehindWhatIsOnDiskAfterARestartWithAClockThatWentBack) {
    std::uint64_t on_disk = 0;
    {
        HybridClock clock;
        for (int i = 0; i < 10; ++i) {
            on_disk = clock.next(kNoon);
        }
    }
    HybridClock restarted;
    restarted.observe(on_disk);
    EXPECT_GT(restarted.next(kNoon - 3'600'000), on_disk);
}

TEST(HybridClock, PassesOverTimesThatNoClockCanShow) {
    HybridClock clock;
    clock.observe(UINT64_MAX);
    clock.observe(kHybridTimeMax + 1);
    EXPECT_EQ(clock.next(kNoon), hybrid_time_of(kNoon));
    EXPECT_EQ(clock.next(UINT64_MAX), hybrid_time_of(kNoon) + 1) << "nor can this machine's";
}

TEST(HybridClock, SaysHowFarATimeIsAhead) {
    EXPECT_EQ(ahead_ms(hybrid_time_of(kNoon + 700), kNoon), 700U);
    EXPECT_EQ(ahead_ms(hybrid_time_of(kNoon + 1) - 1, kNoon), 0U);
    EXPECT_EQ(ahead_ms(hybrid_time_of(kNoon - 700), kNoon), 0U);
    EXPECT_EQ(ahead_ms(UINT64_MAX, 0), (std::uint64_t{1} << 48) - 1);
}

// Whatever clocks show and however late messages are: what a member writes after it saw something is later than it, and
// nobody runs ahead of the fastest wall clock.
TEST(HybridClock, KeepsCauseBeforeEffectAmongSkewedClocks) {
    struct Member {
        HybridClock clock;
        std::int64_t skew_ms = 0;
        std::uint64_t on_disk = 0;
    };
    for (std::uint32_t seed = 1; seed <= 200; ++seed) {
        std::mt19937 random{seed};
        const auto draw = [&](std::uint64_t n) { return std::uniform_int_distribution<std::uint64_t>{0, n - 1}(random); };
        std::array<Member, 4> members;
        std::vector<std::uint64_t> under_way;
        std::uint64_t wall = kNoon;
        std::uint64_t fastest = 0;
        std::uint64_t drawn = 0;
        for (int step = 0; step < 300; ++step) {
            wall += draw(3);
            Member& member = members[draw(members.size())];
            switch (draw(5)) {
                case 0:
                    member.skew_ms = static_cast<std::int64_t>(draw(20'000)) - 10'000;
                    break;
                case 1:  // a restart
                    member.clock = HybridClock{};
                    member.clock.observe(member.on_disk);
                    break;
                case 2:
                    if (!under_way.empty()) {
                        const auto seen = under_way[draw(under_way.size())];
                        member.clock.observe(seen);
                        member.on_disk = std::max(member.on_disk, seen);
                        EXPECT_GE(member.clock.last(), seen);
                    }
                    break;
                default: {
                    const auto shown = wall + static_cast<std::uint64_t>(member.skew_ms);
                    fastest = std::max(fastest, shown);
                    const auto time = member.clock.next(shown);
                    ++drawn;
                    ASSERT_GT(time, member.on_disk) << "seed " << seed;
                    ASSERT_LE(time, hybrid_time_of(fastest) + drawn) << "seed " << seed;
                    member.on_disk = time;
                    under_way.push_back(time);
                }
            }
        }
    }
}

}  // namespace
}  // namespace nornic
