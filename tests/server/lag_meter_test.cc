#include "server/lag_meter.h"

#include <gtest/gtest.h>

namespace nornic::server {
namespace {

using namespace std::chrono_literals;

/// A primary "a" whose standby "b" has so much.
modes::ClusterView primary(std::uint64_t commit, std::uint64_t has) {
    modes::ClusterView view;
    view.self = view.leader = "a";
    view.role = modes::Role::kPrimary;
    view.commit_index = LogIndex{commit};
    view.members.resize(2);
    view.members[0].id = "a";
    view.members[1].id = "b";
    view.members[1].match_index = view.members[1].applied_index = LogIndex{has};
    return view;
}

Deadline at(Duration since) {
    return Deadline{} + since;
}

TEST(LagMeter, OneThatHasEverythingIsNotBehindHoweverLongNothingWasWritten) {
    LagMeter meter;
    for (int second = 0; second < 100; ++second) {
        meter.sample(primary(7, 7), {}, at(std::chrono::seconds{second}));
    }
    const auto view = primary(7, 7);
    EXPECT_EQ(meter.lag_ms(view, {}, view.members[1], at(100s), 0), 0U);
    EXPECT_EQ(meter.lag_ms(view, {}, view.members[0], at(100s), 0), 0U);
}

TEST(LagMeter, ALagIsSinceWhenSomethingIsMissingNotSinceTheLastWriteBefore) {
    LagMeter meter;
    meter.sample(primary(7, 7), {}, at(0s));
    meter.sample(primary(7, 7), {}, at(60s));
    meter.sample(primary(8, 7), {}, at(61s));
    meter.sample(primary(9, 7), {}, at(62s));
    const auto view = primary(9, 7);
    EXPECT_EQ(meter.lag_ms(view, {}, view.members[1], at(63s), 0), 3000U);
    const auto closer = primary(9, 8);
    EXPECT_EQ(meter.lag_ms(closer, {}, closer.members[1], at(63s), 0), 2000U);
}

TEST(LagMeter, OneThatKeepsUpIsBehindByAMomentAlone) {
    LagMeter meter;
    for (std::uint64_t i = 0; i < 5000; ++i) {
        meter.sample(primary(100 * i, 100 * i - std::min<std::uint64_t>(i, 1)), {}, at(i * 200ms));
    }
    const auto view = primary(499'950, 499'949);
    EXPECT_LE(meter.lag_ms(view, {}, view.members[1], at(5000 * 200ms), 0), 400U);
}

TEST(LagMeter, AFollowerMeasuresItselfByWhatTheLeaderIsKnownToHave) {
    LagMeter meter;
    modes::ClusterView view = primary(5, 5);
    view.self = "b";
    view.role = modes::Role::kStandby;
    std::swap(view.members[0], view.members[1]);  // itself first
    view.members[1].match_index = LogIndex{9};
    modes::ReplicaStats stats;
    stats.applied_index = LogIndex{5};
    meter.sample(view, stats, at(10s));
    EXPECT_EQ(meter.lag_ms(view, stats, view.members[0], at(14s), 0), 4000U);
    // It applied something that was new a moment ago.
    stats.last_applied_wall_ns = std::chrono::nanoseconds{99s}.count();
    EXPECT_EQ(meter.lag_ms(view, stats, view.members[0], at(14s), std::chrono::nanoseconds{100s}.count()), 1000U);
    stats.applied_index = LogIndex{9};
    EXPECT_EQ(meter.lag_ms(view, stats, view.members[0], at(14s), 0), 0U);
}

}  // namespace
}  // namespace nornic::server
