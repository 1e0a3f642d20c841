#include "server/bookmark.h"

#include <gtest/gtest.h>

namespace nornic::server {
namespace {

constexpr std::string_view kHistory = "d5fdbe46-877e-49b6-bc52-ef7522d0096c";

TEST(Bookmark, TheLatestOfSeveralCounts) {
    const auto latest = latest_of({make_bookmark(kHistory, LogIndex{7}),
                                   make_bookmark(kHistory, LogIndex{12}),
                                   make_bookmark(kHistory, LogIndex{3})},
                                  kHistory);
    ASSERT_TRUE(latest);
    EXPECT_EQ(latest.value().value, 12U);
    EXPECT_EQ(latest_of({}, kHistory).value().value, 0U);
}

TEST(Bookmark, WhatIsNoneOfOursIsInvalidNotWaitedFor) {
    for (const std::string& bad :
         {std::string{"garbage"},
          std::string{""},
          std::string{"nb1:"},
          std::string{"nb1:x"},
          std::string{"nb1:"}.append(kHistory).append(":"),
          std::string{"nb1:"}.append(kHistory).append(":1x"),
          std::string{"nb1:"}.append(kHistory).append(":99999999999999999999"),
          std::string{"nb1:another-history:5"},
          std::string{"FB:kcwQ1f2+Rod+SbS8Uu91ItAJbE2Q"}}) {
        const auto latest = latest_of({make_bookmark(kHistory, LogIndex{1}), bad}, kHistory);
        ASSERT_FALSE(latest) << bad;
        EXPECT_EQ(latest.error().code(), ErrorCode::kInvalidBookmark);
    }
}

}  // namespace
}  // namespace nornic::server
