// Each file of scripts/ is a test: what its commands do must be what stands below them. REWRITE=1 writes what they do now;
// the difference is to be read.
#include "tests/modes/raft/script.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace nornic::raft::testing {
namespace {

std::filesystem::path folder() {
    return std::filesystem::path{NORNIC_SOURCE_DIR} / "tests/modes/raft/scripts";
}

std::vector<std::string> scripts() {
    std::vector<std::string> out;
    for (const auto& file : std::filesystem::directory_iterator{folder()}) {
        if (file.path().extension() == ".txt") {
            out.push_back(file.path().stem().string());
        }
    }
    std::ranges::sort(out);
    return out;
}

class RaftScript : public ::testing::TestWithParam<std::string> {};

TEST_P(RaftScript, DoesWhatItSays) {
    const std::filesystem::path path = folder() / (GetParam() + ".txt");
    std::stringstream text;
    text << std::ifstream{path}.rdbuf();
    Script script;
    const std::string result = script.run(text.str());
    EXPECT_TRUE(script.failures.empty()) << script.failures.front();
    EXPECT_EQ(result.find("ERROR:"), std::string::npos) << result;
    if (std::getenv("REWRITE") != nullptr) {
        std::ofstream{path} << result;
    } else {
        EXPECT_EQ(result, text.str()) << "REWRITE=1 renews it";
    }
}

INSTANTIATE_TEST_SUITE_P(Scripts, RaftScript, ::testing::ValuesIn(scripts()), [](const auto& each) { return each.param; });

}  // namespace
}  // namespace nornic::raft::testing
