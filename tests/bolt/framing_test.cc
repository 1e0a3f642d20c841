#include "bolt/framing.h"

#include "support.h"

namespace nornic::bolt {
namespace {

std::vector<std::string> fed(std::string_view bytes,
                             std::size_t piece,
                             std::size_t limit = 1 << 20) {
    ChunkReader reader;
    std::vector<std::string> out;
    for (std::size_t i = 0; i < bytes.size(); i += piece) {
        MessageBatch batch;
        if (!reader.feed(bytes.substr(i, piece), limit, batch)) {
            out.push_back("too large: " + std::to_string(reader.excess()));
            return out;
        }
        for (std::size_t m = 0; m < batch.size(); ++m) {
            out.emplace_back(batch[m]);
        }
    }
    return out;
}

TEST(ChunkReader, MessagesComeOutWhereverTheBytesAreCut) {
    const std::string bytes =
        bytes_of("0003 414243 0000 0000 0000 0002 4445 0001 46 0000 0001 47 0000");
    for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
        EXPECT_EQ(fed(bytes, piece), (std::vector<std::string>{"ABC", "DEF", "G"})) << piece;
    }
}

TEST(ChunkReader, AMessageBeyondTheLimitIsRefusedBeforeItIsStored) {
    EXPECT_EQ(fed(bytes_of("FFFF"), 2, 8192), std::vector<std::string>{"too large: 65535"});
    EXPECT_EQ(fed(bytes_of("0002 4142 0002 4344 0000"), 3, 3),
              std::vector<std::string>{"too large: 4"});
}

TEST(MessageFramer, LargeMessagesAreSplitAndComeBack) {
    for (const std::size_t size :
         {std::size_t{65535}, std::size_t{65536}, std::size_t{131070}, std::size_t{200001}}) {
        std::string body(size, '\0');
        for (std::size_t i = 0; i < size; ++i) {
            body[i] = static_cast<char>(i * 31 + i / 251);
        }
        std::string out = "before";
        MessageFramer framer{out};
        framer.begin();
        out += body;
        framer.end();
        const std::string framed = out.substr(6);
        EXPECT_EQ(framed.size(), size + 2 * ((size + 65534) / 65535) + 2);
        EXPECT_EQ(fed(framed, 8191), std::vector<std::string>{body});
    }
}

}  // namespace
}  // namespace nornic::bolt
