// `nornicdb status`.
#include "cli/cli.h"
#include "cli/command_line.h"
#include "cli/connection.h"
#include "env/settings.h"
#include "cli/status/cluster.h"

#include <fmt/format.h>

#include <cstdio>
#include <thread>
#include <unistd.h>

namespace nornic::cli {
namespace {

constexpr int kHealthy = 0;
constexpr int kDegraded = 1;
constexpr int kUnreachable = 2;
constexpr std::string_view kClear = "\x1b[H\x1b[2J";

int look(const std::vector<http::Site>& sites, bool as_json, bool clear) {
    const auto report = look_at_cluster(sites, [](const http::Site& site, std::string_view target) { return http::fetch(site, "GET", target); });
    if (clear) {
        std::fwrite(kClear.data(), 1, kClear.size(), stdout);
    }
    if (!report) {
        std::fflush(stdout);
        std::fprintf(stderr, "nornicdb status: %s\n", report.error().message().c_str());
        return kUnreachable;
    }
    const std::string text = as_json ? boost::json::serialize(to_json(report.value())) + "\n" : to_text(report.value());
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
    return report.value().healthy() ? kHealthy : kDegraded;
}

}  // namespace

int status(const std::vector<std::string>& arguments) {
    const auto refuse = [](const std::string& text) {
        std::fprintf(stderr, "nornicdb status: %s\n", text.c_str());
        return kUnreachable;
    };
    const auto given = parse_arguments(*find_command("status"), arguments);
    if (!given) {
        return refuse(given.error().message());
    }
    if (!given.value().words.empty()) {
        return refuse(fmt::format("'{}' is not an option; see `nornicdb status --help`", given.value().words.front()));
    }
    const auto sites = sites_of(given.value(), env::process_environment());
    if (!sites) {
        return refuse(sites.error().message());
    }
    const bool as_json = given.value().has("json");
    if (!given.value().has("watch")) {
        return look(sites.value(), as_json, false);
    }
    const std::string every = given.value().get("watch");
    const auto interval = env::parse_duration(every.empty() ? "2" : every, std::chrono::seconds{1});
    if (!interval || interval.value() <= Duration::zero()) {
        return refuse(fmt::format("--watch '{}': it takes seconds, or 500ms", every));
    }
    for (;;) {
        look(sites.value(), as_json, ::isatty(STDOUT_FILENO) != 0 && !as_json);
        std::this_thread::sleep_for(interval.value());
    }
}

}  // namespace nornic::cli
