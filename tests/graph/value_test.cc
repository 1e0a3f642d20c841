#include "graph/value.h"

#include <gtest/gtest.h>

namespace nornic {
namespace {

TEST(Depth, CountsListsAndMapsWithinOneAnother) {
    EXPECT_EQ(Value{}.depth(), 0U);
    EXPECT_EQ(Value{"text"}.depth(), 0U);
    EXPECT_EQ(Value{List{}}.depth(), 1U);
    EXPECT_EQ((Value{List{1, "a"}}.depth()), 1U);
    EXPECT_EQ(Value{Map{}}.depth(), 1U);
    EXPECT_EQ((Value{List{1, Value{Map{{"k", Value{List{2}}}, {"l", 3}}}, 4}}.depth()), 3U);
    Value v{List{}};
    for (int i = 0; i < 100; ++i) {
        v = i % 2 == 0 ? Value{Map{{"k", v}}} : Value{List(1, v)};
    }
    EXPECT_EQ(v.depth(), 101U);
    EXPECT_EQ(Value{std::move(v).take_list()}.depth(), 101U) << "as it was";
}

}  // namespace
}  // namespace nornic
