#include "cli/cli.h"

#include <gtest/gtest.h>

namespace nornic::cli {
namespace {

TEST(ServeOptions, TakeSettingsForeignNamesAndAConfigFile) {
    const auto source = parse_serve(
        {"-c", "lgraph.json", "--rpc_port", "9090", "--ha_conf=a:9090,b:9090", "--bolt-port", "7700", "--enable_ha", "true"});
    ASSERT_TRUE(source) << source.error().message();
    EXPECT_EQ(source.value().config_file, "lgraph.json");
    const std::map<std::string, std::string> wanted = {{"rpc_port", "9090"},
                                                       {"ha_conf", "a:9090,b:9090"},
                                                       {"enable_ha", "true"},
                                                       {"NORNICDB_BOLT_PORT", "7700"}};
    EXPECT_EQ(source.value().command_line, wanted);
}

TEST(ServeOptions, NameWhatTheyDoNotKnow) {
    for (const char* option : {"--ha_confx", "--no-such", "plain"}) {
        const auto source = parse_serve({option, "x"});
        ASSERT_FALSE(source) << option;
        EXPECT_EQ(source.error().code(), ErrorCode::kInvalidArgument);
        EXPECT_NE(source.error().message().find(option), std::string::npos) << source.error().message();
    }
    EXPECT_FALSE(parse_serve({"--ha_conf"}));
}

TEST(ServeOptions, HelpListsEveryNameThatIsTaken) {
    const std::string help = serve_help();
    for (const env::SettingInfo& info : env::all_settings()) {
        EXPECT_NE(help.find("--" + info.flag), std::string::npos) << info.flag;
    }
    for (const env::ForeignName& foreign : env::all_foreign_names()) {
        EXPECT_NE(help.find(" " + foreign.name), std::string::npos) << foreign.name;
    }
    EXPECT_NE(recover_help().find("--force-new-cluster"), std::string::npos);
    EXPECT_NE(general_help().find("recover"), std::string::npos);
}

}  // namespace
}  // namespace nornic::cli
