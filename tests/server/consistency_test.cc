// What a transaction is asked for: its own metadata before its connection's routing context before the settings.
#include "server/consistency.h"

#include <gtest/gtest.h>

namespace nornic::server {
namespace {

using Level = modes::ReadConsistency;

class ConsistencyTest : public testing::Test {
protected:
    ConsistencyTest() : raft_{*find_mode("raft").value()} {}
    Result<Asked> asked(AccessMode mode, const Value& metadata = {}, const Value& routing = {}) const {
        bolt::TransactionOptions options;
        options.mode = mode;
        options.metadata = metadata;
        return asked_of(options, routing, settings_, raft_);
    }
    static Value level(std::string name) { return Value{Map{{"consistency", Value{std::move(name)}}}}; }

    const ModeEntry& raft_;
    env::Settings settings_;
};

TEST_F(ConsistencyTest, WhereNothingIsSaidTheModeDecides) {
    EXPECT_EQ(asked(AccessMode::kRead).value().read, Level::kOne);
    EXPECT_EQ(asked(AccessMode::kWrite).value().read, Level::kQuorum);
    EXPECT_FALSE(asked(AccessMode::kWrite).value().write);
}

TEST_F(ConsistencyTest, TheNearestWordCounts) {
    settings_.cluster.read_consistency = "QUORUM";
    settings_.cluster.write_consistency = "ALL";
    EXPECT_EQ(asked(AccessMode::kRead).value().read, Level::kQuorum);
    EXPECT_EQ(asked(AccessMode::kWrite).value().write, Level::kAll);
    EXPECT_EQ(asked(AccessMode::kRead, {}, level("ALL")).value().read, Level::kAll);
    EXPECT_EQ(asked(AccessMode::kWrite, {}, level("LOCAL_QUORUM")).value().write, Level::kLocalQuorum);
    EXPECT_EQ(asked(AccessMode::kRead, level("LOCAL_ONE"), level("ALL")).value().read, Level::kLocalOne);
    EXPECT_TRUE(asked(AccessMode::kRead, level("LOCAL_ONE"), level("ALL")).value().causal());
}

TEST_F(ConsistencyTest, NoLevelTakesAwayWhatTheModePromises) {
    EXPECT_FALSE(asked(AccessMode::kWrite, level("ONE")).value().write);
    EXPECT_FALSE(asked(AccessMode::kRead, level("ALL")).value().write);
}

TEST_F(ConsistencyTest, WhatIsNoLevelAndNoVersionIsRefusedByName) {
    for (const Value& bad : {level("EACH_QUORUM"), Value{Map{{"consistency", Value{std::int64_t{1}}}}}}) {
        const auto refused = asked(AccessMode::kRead, bad);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code(), ErrorCode::kArgumentError);
        EXPECT_NE(refused.error().message().find("LOCAL_QUORUM"), std::string::npos);
    }
    EXPECT_EQ(asked(AccessMode::kRead, Value{Map{{"data_version", Value{std::int64_t{7}}}}}).value().data_version, LogIndex{7});
    EXPECT_FALSE(asked(AccessMode::kRead, Value{Map{{"data_version", Value{std::int64_t{-1}}}}}));
    EXPECT_FALSE(asked(AccessMode::kRead, Value{Map{{"data_version", Value{"7"}}}}));
}

}  // namespace
}  // namespace nornic::server
