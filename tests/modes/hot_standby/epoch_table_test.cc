#include "modes/hot_standby/epoch_table.h"

#include <gtest/gtest.h>

namespace nornic::modes {
namespace {

EpochTable table(std::string_view text) {
    return EpochTable::parse(text);
}

struct Case {
    const char* mine;
    std::uint64_t my_last;
    const char* theirs;
    std::uint64_t their_last;
    std::optional<std::uint64_t> want;
};

TEST(EpochTable, TellsWhereTwoLogsPart) {
    const Case cases[] = {
        {"1:1", 10, "1:1", 8, 8},                 // one is the beginning of the other
        {"1:1", 10, "1:1,2:9", 20, 8},            // promoted at 9: 9 and 10 are a lost branch
        {"1:1", 8, "1:1,2:9", 20, 8},             // nothing is lost
        {"1:1,3:9", 12, "1:1,2:9", 20, 8},        // both went on alone
        {"1:1,3:9,5:15", 20, "1:1,3:9,4:12", 30, 11},
        {"2:1", 5, "1:1", 5, 0},                  // nothing in common
        {"7:500", 600, "9:100", 700, std::nullopt},  // too long ago for these tables
        {"", 0, "1:1", 5, 0},
    };
    for (const Case& c : cases) {
        const auto got = last_common(table(c.mine), LogIndex{c.my_last}, table(c.theirs), LogIndex{c.their_last});
        EXPECT_EQ(got.has_value(), c.want.has_value()) << c.mine << " | " << c.theirs;
        if (got && c.want) {
            EXPECT_EQ(got->value, *c.want) << c.mine << " | " << c.theirs;
        }
    }
}

TEST(EpochTable, KeepsTheNewestRowsAndOutlivesItsText) {
    EpochTable made;
    for (std::uint64_t i = 1; i <= 100; ++i) {
        made.begins(Term{i}, LogIndex{i * 10});
    }
    EXPECT_EQ(made.rows().size(), EpochTable::kRowsMax);
    EXPECT_EQ(made.rows().back().epoch.value, 100U);
    EXPECT_EQ(table(made.text()).rows(), made.rows());
    made.forget_after(LogIndex{955});
    EXPECT_EQ(made.rows().back().epoch.value, 95U);
    for (const char* nonsense : {"", ":", "1", "1:", "x:1", "1:2,", "1:2,,", "2:5,1:3", "99999999999999999999:1"}) {
        EXPECT_LE(table(nonsense).rows().size(), 1U) << nonsense;
    }
}

}  // namespace
}  // namespace nornic::modes
