#include "base/compress.h"

#include <gtest/gtest.h>

#include <string>

namespace nornic {
namespace {

std::string text() {
    std::string out;
    for (int i = 0; i < 1000; ++i) {
        out += "(:Person {name: 'Urd " + std::to_string(i) + "'})";
    }
    return out;
}

TEST(Compress, GivesBackWhatWasPacked) {
    for (const std::string& bytes : {std::string{}, std::string{"a"}, std::string(100'000, '\0'), text()}) {
        const auto back = decompress(compress(bytes), bytes.size());
        ASSERT_TRUE(back) << back.error().message();
        EXPECT_EQ(back.value(), bytes);
    }
    EXPECT_LT(compress(text()).size(), text().size() / 5);
}

TEST(Compress, UnpacksNoMoreThanIsAskedFor) {
    const std::string bomb = compress(std::string(std::size_t{64} << 20, 'x'));
    EXPECT_LT(bomb.size(), 10'000U);
    const auto refused = decompress(bomb, std::size_t{1} << 20);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kCorruption);
    EXPECT_NE(refused.error().message().find("67108864"), std::string::npos) << refused.error().message();
}

TEST(Compress, RefusesWhatIsNotOneWholeFrame) {
    const std::string packed = compress(text());
    for (const std::string& bytes : {std::string{},
                                     std::string{"not packed at all"},
                                     packed.substr(0, packed.size() / 2),
                                     packed.substr(0, packed.size() - 1),
                                     packed + "x",
                                     packed + packed}) {
        const auto refused = decompress(bytes, std::size_t{1} << 20);
        ASSERT_FALSE(refused) << bytes.size();
        EXPECT_EQ(refused.error().code(), ErrorCode::kCorruption);
    }
}

TEST(Compress, SurvivesDamageAnywhere) {
    const std::string packed = compress(text().substr(0, 2000));
    for (std::size_t i = 0; i < packed.size(); ++i) {
        for (int bit = 0; bit < 8; ++bit) {
            std::string damaged = packed;
            damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
            const auto out = decompress(damaged, 4000);  // a damaged length may pass, anything but this one may not
            if (out) {
                EXPECT_LE(out.value().size(), 4000U);
            }
        }
    }
}

}  // namespace
}  // namespace nornic
