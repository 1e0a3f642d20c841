#include "server/bookmark.h"

#include <gtest/gtest.h>

namespace nornic::server {
namespace {

constexpr std::string_view kHistory = "d5fdbe46-877e-49b6-bc52-ef7522d0096c";

TEST(Bookmark, TheLatestOfSeveralComesLastWithItsTerm) {
    const auto seen = parse_bookmarks({make_bookmark(kHistory, LogIndex{7}, Term{1}),
                                       make_bookmark(kHistory, LogIndex{12}, Term{2}),
                                       make_bookmark(kHistory, LogIndex{3}, std::nullopt)},
                                      kHistory);
    ASSERT_TRUE(seen) << seen.error().message();
    ASSERT_EQ(seen.value().size(), 3U);
    EXPECT_EQ(seen.value().back().index, LogIndex{12});
    EXPECT_EQ(seen.value().back().term, Term{2});
    EXPECT_EQ(seen.value().front().term, std::nullopt);
    EXPECT_TRUE(parse_bookmarks({}, kHistory).value().empty());
}

TEST(Bookmark, TheFormWithoutATermIsStillTaken) {
    const auto seen = parse_bookmarks({std::string{"nb1:"}.append(kHistory).append(":9")}, kHistory);
    ASSERT_TRUE(seen);
    EXPECT_EQ(seen.value().at(0).index, LogIndex{9});
    EXPECT_FALSE(seen.value().at(0).term);
}

TEST(Bookmark, ThoseOfOtherRegionsSayWhose) {
    const std::string west = "0bd1f1b2-4d55-4a4f-a5a7-6a3f6e3f0a11";
    const auto seen = parse_bookmarks({make_bookmark(west, LogIndex{70}, Term{3}), make_bookmark(kHistory, LogIndex{7}, Term{1})},
                                      kHistory,
                                      {"fa9c1b5e-0000-4a4f-a5a7-6a3f6e3f0a11", west});
    ASSERT_TRUE(seen) << seen.error().message();
    EXPECT_EQ(seen.value().at(0).history, "");
    EXPECT_EQ(seen.value().at(1).history, west);
    EXPECT_EQ(seen.value().at(1).index, LogIndex{70});
    for (const std::vector<std::string>& others : {std::vector<std::string>{}, {""}, {"another"}}) {
        const auto refused = parse_bookmarks({make_bookmark(west, LogIndex{70}, Term{3})}, kHistory, others);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code(), ErrorCode::kInvalidBookmark);
    }
    EXPECT_FALSE(parse_bookmarks({"nb1::5"}, kHistory, {""})) << "a region whose history is not known yet is nobody's";
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
          std::string{"nb1:"}.append(kHistory).append(":1:"),
          std::string{"nb1:"}.append(kHistory).append(":1:2:3"),
          std::string{"nb1:another-history:5"},
          std::string{"FB:kcwQ1f2+Rod+SbS8Uu91ItAJbE2Q"}}) {
        const auto latest = parse_bookmarks({make_bookmark(kHistory, LogIndex{1}, Term{1}), bad}, kHistory);
        ASSERT_FALSE(latest) << bad;
        EXPECT_EQ(latest.error().code(), ErrorCode::kInvalidBookmark);
    }
}

TEST(Bookmark, WhatIsNoBookmarkOfThisProductIsRefusedWhateverHistoryItIsOf) {
    EXPECT_TRUE(check_bookmarks({}));
    EXPECT_TRUE(check_bookmarks({make_bookmark("somebody-else", LogIndex{7}, Term{2}), make_bookmark("h", LogIndex{1}, std::nullopt)}));
    for (const char* bad : {"", "rubbish", "neo4j:bookmark:v1:tx42", "nb1:", "nb1:h", "nb1:h:", "nb1:h:x", "nb1:h:1:", "nb1:h:1:2:3"}) {
        const auto refused = check_bookmarks({bad});
        ASSERT_FALSE(refused) << bad;
        EXPECT_EQ(refused.error().code(), ErrorCode::kInvalidBookmark) << bad;
    }
}

}  // namespace
}  // namespace nornic::server
