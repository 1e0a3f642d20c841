#include "cli/shell/splitter.h"

#include "cli/cli.h"
#include "cli/shell/format.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace nornic::cli {
namespace {

std::vector<std::string> split(const std::string& text) {
    Splitter splitter;
    splitter.feed(text);
    std::vector<std::string> out;
    while (auto statement = splitter.next()) {
        out.push_back(*statement);
    }
    if (auto statement = splitter.rest()) {
        out.push_back("rest:" + *statement);
    }
    return out;
}

using Strings = std::vector<std::string>;

TEST(Splitter, EndsAtSemicolonsOutsideQuotesAndComments) {
    EXPECT_EQ(split("RETURN 1; RETURN 2;\n"), (Strings{"RETURN 1", "RETURN 2"}));
    EXPECT_EQ(split("RETURN ';', \"a;b\", `c;d`;"), (Strings{"RETURN ';', \"a;b\", `c;d`"}));
    EXPECT_EQ(split("RETURN 'it\\'s; fine';"), (Strings{"RETURN 'it\\'s; fine'"}));
    EXPECT_EQ(split("RETURN 1 // a; b\n+ 2 /* ; */;"), (Strings{"RETURN 1 // a; b\n+ 2 /* ; */"}));
    EXPECT_EQ(split(";;\n ; // nothing\n"), Strings{});
    EXPECT_EQ(split("RETURN 'open;"), (Strings{"rest:RETURN 'open;"}));
}

TEST(Splitter, CommandsAreLines) {
    EXPECT_EQ(split(":param x => 1\nRETURN $x;\n:exit\n"),
              (Strings{":param x => 1", "RETURN $x", ":exit"}));
}

TEST(Splitter, StatementsMaySpanFeeds) {
    Splitter splitter;
    splitter.feed("MATCH (n)\n");
    EXPECT_FALSE(splitter.next());
    EXPECT_TRUE(splitter.in_statement());
    splitter.feed("RETURN n;\n");
    EXPECT_EQ(splitter.next(), "MATCH (n)\nRETURN n");
    EXPECT_FALSE(splitter.in_statement());
}

std::string printed(Format format) {
    std::ostringstream out;
    const auto printer = make_printer(format, out);
    printer->columns({"name", "n"});
    printer->row({Value{"Ann, \"A\""}, Value{std::int64_t{1}}});
    printer->row({Value{}, Value{1.5}});
    Map summary{{"stats", Value{Map{{"nodes-created", Value{std::int64_t{2}}}}}},
                {"t_last", Value{std::int64_t{3}}}};
    printer->end(2, summary, 12);
    return out.str();
}

TEST(Printer, PlainIsOneLineARow) {
    EXPECT_EQ(printed(Format::kPlain), "name, n\n\"Ann, \\\"A\\\"\", 1\nNULL, 1.5\n");
}

TEST(Printer, TableHasRulesCountsAndTimes) {
    const std::string text = printed(Format::kTable);
    EXPECT_NE(text.find("| name "), std::string::npos);
    EXPECT_NE(text.find("2 rows\nready to start consuming query after 12 ms, results consumed "
                        "after another 3 ms\nAdded 2 nodes\n"),
              std::string::npos)
        << text;
}

TEST(Printer, JsonIsOneObjectALine) {
    EXPECT_EQ(printed(Format::kJson),
              "{\"name\":\"Ann, \\\"A\\\"\",\"n\":1}\n{\"name\":null,\"n\":1.5E0}\n");
}

TEST(Printer, CsvQuotesWhatNeedsIt) {
    EXPECT_EQ(printed(Format::kCsv), "name,n\r\n\"Ann, \"\"A\"\"\",1\r\n,1.5\r\n");
}

TEST(Options, FlagsBecomeSettings) {
    const auto source =
        parse_serve({"--bolt-port", "1234", "--data-dir=/tmp/x", "--config", "f.conf"});
    ASSERT_TRUE(source);
    EXPECT_EQ(source.value().command_line.at("NORNICDB_BOLT_PORT"), "1234");
    EXPECT_EQ(source.value().command_line.at("NORNICDB_DATA_DIR"), "/tmp/x");
    EXPECT_EQ(source.value().config_file, "f.conf");
    EXPECT_NE(parse_serve({"--no-such"}).error().message().find("--no-such"), std::string::npos);
    EXPECT_NE(parse_serve({"--bolt-port"}).error().message().find("takes a value"),
              std::string::npos);
}

TEST(Options, TheSettingsPageIsTheTable) {
    std::ifstream file{NORNIC_SOURCE_DIR "/docs/settings.md"};
    const std::string page{std::istreambuf_iterator<char>{file}, {}};
    EXPECT_EQ(page, settings_markdown())
        << "renew it: build/release/nornicdb settings --markdown > docs/settings.md";
}

}  // namespace
}  // namespace nornic::cli
