#include "engine/token_table.h"

#include <gtest/gtest.h>

namespace nornic::engine {
namespace {

TEST(TokenTable, ANameThatAnOverruledReservationHadAsWellIsStillFound) {
    TokenTable tokens{DatabaseId{1}};
    // Transactions of this member reserved two names and never committed; then another member led.
    ASSERT_EQ(tokens.reserve(TokenKind::kLabel, "X").value().id, 0U);
    ASSERT_EQ(tokens.reserve(TokenKind::kLabel, "Y").value().id, 1U);
    ASSERT_TRUE(tokens.put(TokenKind::kLabel, 0, "Y"));
    ASSERT_TRUE(tokens.put(TokenKind::kLabel, 1, "Z"));
    EXPECT_EQ(tokens.find(TokenKind::kLabel, "Y"), 0U) << "the reservation it once was at 1 is void, not the name";
    EXPECT_EQ(tokens.find(TokenKind::kLabel, "Z"), 1U);
    EXPECT_FALSE(tokens.find(TokenKind::kLabel, "X"));
    EXPECT_EQ(tokens.reserve(TokenKind::kLabel, "Y").value().id, 0U);
    EXPECT_EQ(tokens.reserve(TokenKind::kLabel, "X").value().id, 2U);
}

}  // namespace
}  // namespace nornic::engine
