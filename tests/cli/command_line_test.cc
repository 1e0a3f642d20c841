#include "cli/command_line.h"

#include "cli/cli.h"
#include "cli/connection.h"
#include "env/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nornic::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Result<Arguments> parse(std::string_view command, const std::vector<std::string>& arguments) {
    return parse_arguments(*find_command(command), arguments);
}

TEST(CommandLine, TakesOptionsAndWordsInAnyOrder) {
    const auto given = parse("peers", {"add", "--role=learner", "node-4", "-a", "http://n:1", "node4:7688", "--json", "--", "-x"});
    ASSERT_TRUE(given) << given.error().message();
    EXPECT_THAT(given.value().words, ElementsAre("add", "node-4", "node4:7688", "-x"));
    EXPECT_EQ(given.value().get("role"), "learner");
    EXPECT_EQ(given.value().get("address"), "http://n:1");
    EXPECT_TRUE(given.value().has("json"));
    EXPECT_FALSE(given.value().has("force"));
}

TEST(CommandLine, AValueThatMayLackIsTakenWhereItIsOne) {
    EXPECT_EQ(parse("status", {"--watch", "0.5"}).value().get("watch"), "0.5");
    EXPECT_EQ(parse("status", {"-w5"}).value().get("watch"), "5");
    const auto bare = parse("status", {"--watch", "--json"});
    EXPECT_TRUE(bare.value().has("watch"));
    EXPECT_EQ(bare.value().get("watch"), "");
    EXPECT_TRUE(bare.value().has("json"));
}

TEST(CommandLine, NamesWhatItDoesNotTake) {
    for (const std::vector<std::string>& wrong :
         {std::vector<std::string>{"--no-such"}, {"-z"}, {"--address"}, {"--json=yes"}, {"--w"}}) {
        const auto given = parse("status", wrong);
        ASSERT_FALSE(given) << wrong.front();
        EXPECT_EQ(given.error().code(), ErrorCode::kInvalidArgument);
        EXPECT_THAT(given.error().message(), HasSubstr(wrong.front().substr(0, wrong.front().find('='))));
    }
}

TEST(CommandLine, EveryCommandHasAHelpWithItsOptions) {
    for (const CommandInfo& command : all_commands()) {
        const std::string help = help_of(command);
        EXPECT_THAT(help, HasSubstr("Usage: nornicdb " + command.name));
        EXPECT_THAT(general_help(), HasSubstr("  " + command.name));
        for (const Option& option : command.options) {
            EXPECT_THAT(help, HasSubstr("--" + option.name)) << command.name;
            EXPECT_FALSE(option.description.empty()) << command.name << " --" << option.name;
        }
    }
    for (const char* name : {"status", "peers", "check"}) {
        EXPECT_THAT(help_of(*find_command(name)), HasSubstr("Exit codes:"));
        EXPECT_FALSE(find_command(name)->examples.empty());
    }
    EXPECT_EQ(find_command("no-such"), nullptr);
}

TEST(Completion, KnowsEveryCommandAndOption) {
    for (const char* shell : {"bash", "zsh", "fish"}) {
        const std::string script = completion(shell).value();
        for (const CommandInfo& command : all_commands()) {
            EXPECT_THAT(script, HasSubstr(command.name)) << shell;
            for (const Option& option : command.options) {
                EXPECT_THAT(script, HasSubstr(option.name)) << shell << " " << command.name;
            }
        }
        EXPECT_THAT(script, HasSubstr("bolt-port"));
    }
    EXPECT_FALSE(completion("tcsh"));
    EXPECT_FALSE(completion(""));
}

std::vector<http::Site> sites(const std::vector<std::string>& arguments, const std::map<std::string, std::string>& environment) {
    return sites_of(parse("status", arguments).value(), environment).value();
}

TEST(Connection, IsThatOfTheServerOfThisEnvironment) {
    const auto own = sites({}, {{"NORNICDB_HTTP_PORT", "7480"}, {"NORNICDB_AUTH", "anna/se:cret"}});
    ASSERT_EQ(own.size(), 1U);
    EXPECT_EQ(own[0].url(), "http://127.0.0.1:7480");
    EXPECT_EQ(own[0].user, "anna");
    EXPECT_EQ(own[0].password, "se:cret");
    EXPECT_EQ(sites({}, {}).front().user, "admin");
    EXPECT_EQ(sites({}, {{"NORNICDB_AUTH", "none"}}).front().user, "");
    EXPECT_EQ(sites({}, {{"NORNICDB_HTTP_TLS_REQUIRE", "true"}}).front().url(), "https://127.0.0.1:7474");
}

TEST(Connection, OptionsComeBeforeTheEnvironment) {
    const auto asked = sites({"-a", "node1:7474, https://node2", "-u", "bob:b", "--tls-ca", "ca.pem", "--timeout", "0.5"},
                             {{"NORNICDB_HTTP_PORT", "7480"}, {"NORNICDB_AUTH", "anna/x"}});
    ASSERT_EQ(asked.size(), 2U);
    EXPECT_EQ(asked[0].url(), "http://node1:7474");
    EXPECT_EQ(asked[1].url(), "https://node2:7474");
    EXPECT_EQ(asked[1].user, "bob");
    EXPECT_EQ(asked[1].password, "b");
    EXPECT_EQ(asked[1].tls_ca_file, "ca.pem");
    EXPECT_TRUE(asked[1].tls_verify);
    EXPECT_EQ(asked[0].timeout.count(), 500);
    EXPECT_FALSE(sites_of(parse("status", {"--timeout", "soon"}).value(), {}));
    EXPECT_FALSE(sites_of(parse("status", {"--password-file", "/no/such/file"}).value(), {}));
    EXPECT_FALSE(sites_of(parse("status", {"-a", "bolt://x"}).value(), {}));
}

}  // namespace
}  // namespace nornic::cli
