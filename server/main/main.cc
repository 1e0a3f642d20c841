// nornicdb: one binary, its subcommands.
#include "cli/cli.h"
#include "server/recover.h"
#include "server/serve.h"
#include "server/version.h"

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
    if (command == "version") {
        return print(wants_help ? "Usage: nornicdb version\n\nPrints the version.\n"
                                : "nornicdb " + std::string{nornic::server::kVersion} +
                                      " (speaks as Neo4j " +
                                      std::string{nornic::server::kCompatibleVersion} + ")\n");
    }
    if (command == "settings") {
        if (wants_help) {
            return print(
                "Usage: nornicdb settings [--markdown]\n\nPrints the settings, their defaults and "
                "what they take.\n");
        }
        const bool markdown = !arguments.empty() && arguments.front() == "--markdown";
        return print(markdown ? nornic::cli::settings_markdown() : nornic::cli::serve_help());
    }
    if (command == "help") {
        return print(nornic::cli::general_help());
    }
    return usage_error("there is no command '" + command +
                       "'; it takes serve, shell, settings, recover or version");
}
