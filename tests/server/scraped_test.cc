#include "server/process_metrics.h"
#include "server/scraped.h"

#include <gtest/gtest.h>

#include <string>

namespace nornic::server {
namespace {

bool has_line(const std::string& text, const std::string& line) {
    return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST(Scraped, ATotalThatWentBackHasStartedAnewAndNothingThatWasCountedIsLost) {
    Metrics metrics;
    double total = 0;
    show_when_scraped(metrics, [&](Scraped& out) { out.counter("things_total", "Things.", total); });
    EXPECT_TRUE(has_line(metrics.text(), "things_total 0"));
    total = 7;
    EXPECT_TRUE(has_line(metrics.text(), "things_total 7"));
    EXPECT_TRUE(has_line(metrics.text(), "# TYPE things_total counter"));
    total = 2;
    EXPECT_TRUE(has_line(metrics.text(), "things_total 9"));
    total = 3;
    EXPECT_TRUE(has_line(metrics.text(), "things_total 10"));
}

TEST(Scraped, AGaugeOfSomebodyWhoIsGoneIsNoNumberAndIsOneAgainWhenTheyAreBack) {
    Metrics metrics;
    bool there = true;
    show_when_scraped(metrics, [&](Scraped& out) {
        out.gauge("healthy", "1 if heard.", 1, {{"peer", "a"}});
        if (there) {
            out.gauge("healthy", "1 if heard.", 0, {{"peer", "b"}});
        }
    });
    EXPECT_TRUE(has_line(metrics.text(), "healthy{peer=\"b\"} 0"));
    there = false;
    const std::string without = metrics.text();
    EXPECT_TRUE(has_line(without, "healthy{peer=\"b\"} Nan") || has_line(without, "healthy{peer=\"b\"} NaN")) << without;
    EXPECT_TRUE(has_line(without, "healthy{peer=\"a\"} 1"));
    there = true;
    EXPECT_TRUE(has_line(metrics.text(), "healthy{peer=\"b\"} 0"));
}

TEST(Scraped, TheProcessIsDescribedAsOtherProgramsDescribeThemselves) {
    Metrics metrics;
    env::Settings settings;
    settings.data_directory = ".";
    add_process_metrics(metrics, settings);
    const std::string text = metrics.text();
    const auto value = [&](const std::string& name) {
        const std::size_t at = ("\n" + text).find("\n" + name + " ");
        return at == std::string::npos ? -1.0 : std::stod(text.substr(at + name.size()));
    };
    EXPECT_GT(value("process_start_time_seconds"), 1.6e9);
    EXPECT_GE(value("process_threads"), 1);
    EXPECT_GE(value("process_open_fds"), 3);
    EXPECT_GT(value("process_max_fds"), value("process_open_fds"));
    EXPECT_GT(value("process_cpu_seconds_total"), 0);
    EXPECT_GT(value("process_virtual_memory_bytes"), value("process_resident_memory_bytes"));
    EXPECT_GT(value("process_resident_memory_bytes"), 1 << 20);
    EXPECT_GT(value("nornicdb_disk_size_bytes"), value("nornicdb_disk_free_bytes"));
    EXPECT_GT(value("nornicdb_disk_free_bytes"), 0);
}

}  // namespace
}  // namespace nornic::server
