#include "observability/log.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace nornic {
namespace {

/// What is written to standard error meanwhile.
template <class Work>
std::string lines_of(Work work) {
    testing::internal::CaptureStderr();
    work();
    log::flush();
    return testing::internal::GetCapturedStderr();
}

/// Without the time.
std::string behind_time(const std::string& line) {
    return line.substr(line.find("Z") + 1);
}

class Log : public testing::Test {
protected:
    void TearDown() override { log::configure(log::Level::kInfo, log::Format::kText); }
};

TEST_F(Log, AnEventIsOneLineOfTextWhateverIsInIt) {
    const std::string out = lines_of([] {
        log::event(log::Level::kWarn, "slow_query", "Slow:", {{"ms", std::int64_t{12}}, {"user", "ann"}, {"text", "RETURN \"a\"\n// b"}, {"none", ""}});
        log::info("two\nlines\x01");
        log::event(log::Level::kDebug, "hidden", "Hidden.", {});
    });
    EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 2);
    EXPECT_EQ(behind_time(out.substr(0, out.find('\n'))), R"( WARN  Slow: ms=12 user=ann text="RETURN \"a\"\n// b" none="")");
    EXPECT_NE(out.find(R"(INFO  two\nlines\x01)"), std::string::npos);
}

TEST_F(Log, AnEventIsOneObjectOfJson) {
    log::configure(log::Level::kInfo, log::Format::kJson);
    log::set_node("node-1");
    const std::string out = lines_of([] {
        log::event(log::Level::kWarn, "slow_query", "Slow:", {{"ms", std::int64_t{12}}, {"text", "a\"b\\\n"}});
        log::info("plain");
    });
    EXPECT_NE(out.find(R"("level":"WARN","node":"node-1","event":"slow_query","message":"Slow:","ms":12,"text":"a\"b\\\n"})"),
              std::string::npos)
        << out;
    EXPECT_NE(out.find(R"("level":"INFO","node":"node-1","message":"plain"})"), std::string::npos) << out;
}

TEST_F(Log, WhatIsAuditedIsWrittenAtEveryLevelAndToItsFile) {
    const std::string folder = testing::TempDir() + "/nornic_log_test";
    std::filesystem::remove_all(folder);
    log::Settings settings;
    settings.level = log::Level::kError;
    settings.directory = folder + "/logs";
    settings.audit_file = folder + "/audit.log";
    ASSERT_TRUE(log::configure(settings));
    const std::string out = lines_of([] {
        log::warn("not this");
        log::audit("Audit:", {{"user", "ann"}, {"outcome", "done"}});
        log::event_always(log::Level::kDebug, "cluster_message", "Shown.", {});
    });
    EXPECT_EQ(out.find("not this"), std::string::npos);
    EXPECT_NE(out.find("Audit: user=ann outcome=done"), std::string::npos);
    EXPECT_NE(out.find("Shown."), std::string::npos);
    const auto text_of = [](const std::string& path) {
        std::ifstream file{path};
        return std::string{std::istreambuf_iterator<char>{file}, {}};
    };
    EXPECT_NE(text_of(settings.directory + "/debug.log").find("Audit: user=ann"), std::string::npos);
    EXPECT_NE(text_of(settings.audit_file).find("Audit: user=ann"), std::string::npos);
    EXPECT_EQ(text_of(settings.audit_file).find("Shown."), std::string::npos);

    log::Settings wrong;
    wrong.audit_file = settings.audit_file + "/below/a/file";
    const auto refused = log::configure(wrong);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message().find("below"), std::string::npos) << refused.error().message();
}

}  // namespace
}  // namespace nornic
