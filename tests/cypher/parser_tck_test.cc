// Every query of the openCypher TCK's feature files parses, but those whose scenario expects a
// syntax error.

#include "cypher/parser/parser.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace nornic::cypher {
namespace {

std::string trimmed(const std::string& line) {
    const auto from = line.find_first_not_of(" \t\r");
    return from == std::string::npos ? std::string{}
                                     : line.substr(from, line.find_last_not_of(" \t\r") - from + 1);
}

TEST(ParserTck, ParsesEveryQuery) {
    const char* configured = std::getenv("NORNICDB_TCK_DIR");
    const std::filesystem::path root = configured != nullptr ? configured : "tests/tck/features";
    if (!std::filesystem::is_directory(root)) {
        GTEST_SKIP() << "no feature files: set NORNICDB_TCK_DIR to their folder";
    }
    std::size_t parsed_count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
        if (entry.path().extension() != ".feature") {
            continue;
        }
        std::ifstream file{entry.path()};
        std::vector<std::string> lines;
        for (std::string line; std::getline(file, line);) {
            lines.push_back(line);
        }
        for (std::size_t i = 0; i + 1 < lines.size(); ++i) {
            const std::string step = trimmed(lines[i]);
            if (trimmed(lines[i + 1]) != "\"\"\"" || step.find("quer") == std::string::npos ||
                !step.ends_with(":")) {
                continue;
            }
            std::string query;
            std::size_t j = i + 2;
            for (; j < lines.size() && trimmed(lines[j]) != "\"\"\""; ++j) {
                query += lines[j] + "\n";
            }
            const std::string then = j + 1 < lines.size() ? trimmed(lines[j + 1]) : "";
            // Outlines hold <names> that their examples replace.
            bool template_query = false;
            for (auto open = query.find('<'); open != std::string::npos;
                 open = query.find('<', open + 1)) {
                const auto close = query.find_first_not_of(
                    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", open + 1);
                template_query = template_query || (close != std::string::npos &&
                                                    close > open + 1 && query[close] == '>');
            }
            i = j;
            if (then.find("SyntaxError") != std::string::npos || template_query) {
                continue;
            }
            const auto result = parse(query);
            ++parsed_count;
            EXPECT_TRUE(result) << entry.path() << "\n"
                                << query << (result ? "" : result.error().message());
        }
    }
    EXPECT_GT(parsed_count, 100U);
}

}  // namespace
}  // namespace nornic::cypher
