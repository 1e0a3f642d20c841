#include "bolt/handshake.h"

#include "support.h"

namespace nornic::bolt {
namespace {

struct Row {
    const char* sent;
    Handshake::Outcome outcome;
    const char* reply;
    Version version;
};

using Outcome = Handshake::Outcome;

TEST(Handshake, AnswersAsNeo4jDoes) {
    const Row rows[] = {
        {"00080805 00000000 00000000 00000000", Outcome::kAgreed, "00000805", {5, 8}},
        {"00636305 00000000 00000000 00000000", Outcome::kAgreed, "00000805", {5, 8}},
        {"00000505 00000000 00000000 00000000", Outcome::kRefused, "00000000", {}},
        {"00010505 00000000 00000000 00000000", Outcome::kAgreed, "00000405", {5, 4}},
        {"00010605 00000000 00000000 00000000", Outcome::kAgreed, "00000605", {5, 6}},
        {"00000905 00000006 00000103 000002FF", Outcome::kRefused, "00000000", {}},
        {"00000003 00000002 00000001 00000000", Outcome::kAgreed, "00000003", {3, 0}},
        {"00000002 00000001 00000000 00000000", Outcome::kRefused, "00000000", {}},
        {"00000004 00000003 00000002 00000001", Outcome::kAgreed, "00000004", {4, 0}},
        {"00000000 00000000 00000000 00000000", Outcome::kRefused, "00000000", {}},
        {"00000404 00000405 00000000 00000000", Outcome::kAgreed, "00000404", {4, 4}},
        {"00000405 000001FF 00000000 00000000", Outcome::kAgreed, "00000405", {5, 4}},
        {"00000004 00000000 00000000 00000000", Outcome::kAgreed, "00000004", {4, 0}},
        {"000001FF 00080805 00020404 00000003",
         Outcome::kNeedMore,
         "000001FF0300040404000404050002080500",
         {}},
        {"00000003 000001FF 00000000 00000000", Outcome::kAgreed, "00000003", {3, 0}},
    };
    for (const Row& row : rows) {
        const std::string bytes = bytes_of(std::string{"6060B017"} + row.sent);
        // In one piece and byte by byte.
        for (const std::size_t piece : {bytes.size(), std::size_t{1}}) {
            Handshake handshake;
            std::string reply;
            Outcome outcome = Outcome::kNeedMore;
            for (std::size_t i = 0; i < bytes.size(); i += piece) {
                std::string_view in = std::string_view{bytes}.substr(i, piece);
                outcome = handshake.feed(in, reply);
            }
            EXPECT_EQ(outcome, row.outcome) << row.sent;
            EXPECT_EQ(hex_of(reply), row.reply) << row.sent;
            if (outcome == Outcome::kAgreed) {
                EXPECT_EQ(handshake.version(), row.version) << row.sent;
                EXPECT_FALSE(handshake.by_manifest());
            }
        }
    }
}

TEST(Handshake, WrongMagicGetsNoByte) {
    for (const char* hex : {"00", "6061", "160301"}) {
        Handshake handshake;
        std::string reply;
        const std::string bytes = bytes_of(hex);
        std::string_view in = bytes;
        EXPECT_EQ(handshake.feed(in, reply), Outcome::kRefused) << hex;
        EXPECT_EQ(reply, "");
    }
}

Outcome choose(std::string_view choice, Handshake& handshake, std::string& rest) {
    std::string bytes = bytes_of("6060B017 000001FF 00080805 00020404 00000003");
    bytes += bytes_of(choice);
    std::string_view in = bytes;
    std::string reply;
    const Outcome outcome = handshake.feed(in, reply);
    rest = in;
    return outcome;
}

TEST(Handshake, TheManifestsChoiceMayBePipelinedWithHello) {
    Handshake handshake;
    std::string rest;
    EXPECT_EQ(choose("00000805 00 0001 41", handshake, rest), Outcome::kAgreed);
    EXPECT_EQ(handshake.version(), (Version{5, 8}));
    EXPECT_TRUE(handshake.by_manifest());
    EXPECT_EQ(hex_of(rest), "000141");
}

TEST(Handshake, AManifestChoiceThatWasNotOfferedIsRefused) {
    for (const char* choice : {"00000505 00",
                               "00000000 00",
                               "00000006 00",
                               "00080805 00",
                               "00000805 FFFFFFFFFFFFFFFFFFFF"}) {
        Handshake handshake;
        std::string rest;
        EXPECT_EQ(choose(choice, handshake, rest), Outcome::kRefused) << choice;
    }
}

}  // namespace
}  // namespace nornic::bolt
