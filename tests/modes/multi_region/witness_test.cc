// A member without data hears its own region's members and nobody else.
#include "modes/multi_region/multi_region.h"
#include "tests/modes/conformance/mocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nornic::modes {
namespace {

using testing::_;
using testing::Field;
using testing::NiceMock;

TEST(RegionWitness, TakesNobodyOfAnotherRegionForAMemberOfItsGroup) {
    NiceMock<conformance::MockStrategy>* made = nullptr;
    const auto witness = make_multi_region(StrategyStart{}, {}, [&](const StrategyStart&) {
        auto local = std::make_unique<NiceMock<conformance::MockStrategy>>();
        made = local.get();
        return local;
    });
    conformance::MockStrategy& group = *made;
    transport::PeerInfo own;
    own.id = "a";
    transport::PeerInfo other;
    other.id = transport::foreign_name("west", "a");
    other.region = "west";
    ClusterMessage message;
    message.mutable_join_request()->set_address("elsewhere:7688");

    EXPECT_CALL(group, peer_up(_)).Times(0);
    EXPECT_CALL(group, peer_down(_, _)).Times(0);
    EXPECT_CALL(group, step(_, _)).Times(0);
    witness->peer_up(other);
    witness->step(other.id, message);
    witness->peer_down(other.id, transport::LostReason::kClosed);
    testing::Mock::VerifyAndClearExpectations(&group);

    EXPECT_CALL(group, peer_up(Field(&transport::PeerInfo::id, "a")));
    EXPECT_CALL(group, step("a", _));
    EXPECT_CALL(group, peer_down("a", transport::LostReason::kClosed));
    witness->peer_up(own);
    witness->step(own.id, message);
    witness->peer_down(own.id, transport::LostReason::kClosed);
}

}  // namespace
}  // namespace nornic::modes
