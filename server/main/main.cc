// nornicdb: one binary, its subcommands.
#include "bolt/handshake.h"
#include "cli/cli.h"
#include "cli/command_line.h"
#include "engine/log/codec.h"
#include "engine/write_set.h"
#include "server/main/commit.h"
#include "server/recover.h"
#include "server/serve.h"
#include "server/unbind.h"
#include "server/version.h"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

namespace {

constexpr int kExitUsage = 2;

int print(const std::string& text) {
    std::fputs(text.c_str(), stdout);
    return 0;
}

int usage_error(const std::string& text) {
    std::fprintf(stderr, "nornicdb: %s\n", text.c_str());
    return kExitUsage;
}

int run_serve(const std::vector<std::string>& arguments) {
    auto source = nornic::cli::parse_serve(arguments);
    if (!source) {
        const bool asked_for_help = source.error().code() == nornic::ErrorCode::kNotFound;
        return asked_for_help ? print(source.error().message())
                              : usage_error(source.error().message());
    }
    auto loaded = nornic::env::load(source.value());
    if (!loaded) {
        return usage_error(loaded.error().message());
    }
    return nornic::server::serve(loaded.value());
}

int run_recover(std::vector<std::string> arguments) {
    const bool forced = std::erase(arguments, "--force-new-cluster") > 0;
    const bool yes = std::erase(arguments, "--yes") > 0;
    auto source = nornic::cli::parse_serve(arguments);
    if (!source) {
        return source.error().code() == nornic::ErrorCode::kNotFound ? print(nornic::cli::recover_help())
                                                                     : usage_error(source.error().message());
    }
    if (!forced) {
        return usage_error("recover takes --force-new-cluster; see `nornicdb recover --help`");
    }
    auto loaded = nornic::env::load(source.value());
    if (!loaded) {
        return usage_error(loaded.error().message());
    }
    return nornic::server::recover(loaded.value().settings, yes, std::cin, std::cout);
}

int run_unbind(std::vector<std::string> arguments) {
    const bool yes = std::erase(arguments, "--yes") > 0;
    auto source = nornic::cli::parse_serve(arguments);
    if (!source) {
        return source.error().code() == nornic::ErrorCode::kNotFound ? print(help_of(*nornic::cli::find_command("unbind")))
                                                                     : usage_error(source.error().message());
    }
    auto loaded = nornic::env::load(source.value());
    if (!loaded) {
        return usage_error(loaded.error().message());
    }
    return nornic::server::run_unbind(loaded.value().settings, yes, std::cin, std::cout);
}

std::vector<std::string> bolt_versions() {
    std::vector<std::string> out;
    constexpr std::uint8_t kMost = 16;
    for (std::uint8_t major_number = 1; major_number < kMost; ++major_number) {
        for (std::uint8_t minor_number = 0; minor_number < kMost; ++minor_number) {
            if (const nornic::bolt::Version version{major_number, minor_number}; nornic::bolt::is_supported(version)) {
                out.push_back(version.to_text());
            }
        }
    }
    return out;
}

int run_version(const nornic::cli::Arguments& given) {
    namespace json = boost::json;
    constexpr std::string_view kSanitized = NORNIC_SANITIZE;
    const std::string build = std::string{NORNIC_BUILD_TYPE} + (kSanitized.empty() ? "" : " with sanitizers " + std::string{kSanitized});
    const std::vector<std::string> versions = bolt_versions();
    const std::uint32_t write_set = nornic::engine::WriteSetWriter::kFormat;
    if (given.has("json")) {
        json::array bolt(versions.begin(), versions.end());
        return print(json::serialize(json::object{{"version", nornic::server::kVersion},
                                                  {"commit", nornic::server::kCommit},
                                                  {"build", build},
                                                  {"compiler", __VERSION__},
                                                  {"neo4j_version", nornic::server::kCompatibleVersion},
                                                  {"bolt", std::move(bolt)},
                                                  {"log_format", nornic::engine::kLogFormatVersion},
                                                  {"write_set_format", write_set}}) +
                     "\n");
    }
    return print(fmt::format("nornicdb {} (speaks as Neo4j {})\ncommit    {}\nbuild     {}, {}\nformats   log {}, write set {}\nBolt      {} to {}\n",
                             nornic::server::kVersion,
                             nornic::server::kCompatibleVersion,
                             nornic::server::kCommit,
                             build,
                             __VERSION__,
                             nornic::engine::kLogFormatVersion,
                             write_set,
                             versions.front(),
                             versions.back()));
}

int run_completion(const nornic::cli::Arguments& given) {
    auto script = nornic::cli::completion(given.words.empty() ? "" : given.words.front());
    return script ? print(script.value()) : usage_error(script.error().message());
}

}  // namespace

int main(int argc, char** argv) {
    std::vector<std::string> arguments(argv + 1, argv + argc);
    std::string command = "serve";
    if (!arguments.empty() && !arguments.front().starts_with("-")) {
        command = arguments.front();
        arguments.erase(arguments.begin());
    } else if (!arguments.empty() && (arguments.front() == "--help" || arguments.front() == "-h")) {
        return print(nornic::cli::general_help());
    } else if (!arguments.empty() && arguments.front() == "--version") {
        command = "version";
    }
    const nornic::cli::CommandInfo* info = nornic::cli::find_command(command);
    if (info == nullptr) {
        return usage_error("there is no command '" + command + "'; see `nornicdb --help`");
    }
    const bool wants_help =
        !arguments.empty() && (arguments.front() == "--help" || arguments.front() == "-h");
    if (command == "serve") {
        return run_serve(arguments);
    }
    if (command == "shell") {
        return nornic::cli::shell(arguments);
    }
    if (command == "recover") {
        return run_recover(std::move(arguments));
    }
    if (command == "help") {
        return print(nornic::cli::general_help());
    }
    if (wants_help) {
        return print(help_of(*info));
    }
    if (command == "status") {
        return nornic::cli::status(arguments);
    }
    if (command == "peers") {
        return nornic::cli::peers(arguments);
    }
    if (command == "check") {
        return nornic::cli::check(arguments);
    }
    if (command == "unbind") {
        return run_unbind(std::move(arguments));
    }
    const auto given = parse_arguments(*info, arguments);
    if (!given) {
        return usage_error(given.error().message());
    }
    if (given.value().has("help")) {
        return print(help_of(*info));
    }
    if (command == "version") {
        return run_version(given.value());
    }
    if (command == "completion") {
        return run_completion(given.value());
    }
    return print(given.value().has("markdown") ? nornic::cli::settings_markdown() : nornic::cli::serve_help());
}
