// `nornicdb check`.
#include "cli/check/checks.h"
#include "cli/cli.h"
#include "cli/command_line.h"

#include <fmt/format.h>

#include <cstdio>
#include <regex>

namespace nornic::cli {
namespace {

constexpr int kExitProblem = 1;
constexpr int kExitUsage = 2;

/// Leaves a setting at its default, so that others can be looked at. false: it is set in the config file, or not at all.
bool set_aside(env::Source& source, const std::string& name) {
    return source.environment.erase(name) + source.command_line.erase(name) > 0;
}

}  // namespace

std::optional<env::Loaded> check_settings(env::Source source, Findings& out) {
    static const std::regex kName{"NORNICDB_[A-Z_]+|OTEL_[A-Z_]+"};
    for (;;) {
        auto loaded = env::load(source);
        if (loaded) {
            for (const std::string& warning : loaded.value().warnings) {
                out.warning("settings", warning);
            }
            if (out.problems() == 0) {
                const env::Settings& s = loaded.value().settings;
                out.ok("settings", fmt::format("valid: mode {}, data in '{}'", s.cluster.mode, s.data_directory));
            }
            return std::move(loaded).value();
        }
        const std::string text = loaded.error().message();
        out.problem("settings", text);
        std::smatch found;
        if (!std::regex_search(text, found, kName) || !set_aside(source, found.str())) {
            return std::nullopt;
        }
    }
}

int check(const std::vector<std::string>& arguments) {
    const auto source = parse_serve(arguments);
    if (!source) {
        if (source.error().code() == ErrorCode::kNotFound) {
            std::fputs(help_of(*find_command("check")).c_str(), stdout);
            return 0;
        }
        std::fprintf(stderr, "nornicdb check: %s\n", source.error().message().c_str());
        return kExitUsage;
    }
    Findings found;
    if (const auto loaded = check_settings(source.value(), found)) {
        const env::Settings& settings = loaded->settings;
        check_data_directory(settings, found);
        check_ports(settings, found);
        check_certificates(settings, found);
        check_peers(settings, found);
        check_limits(settings, found);
    }
    for (const Finding& f : found.all()) {
        const char* kind = f.kind == Finding::Kind::kOk ? "ok      " : f.kind == Finding::Kind::kWarning ? "warning " : "PROBLEM ";
        fmt::print("{} {}: {}\n", kind, f.about, f.text);
    }
    if (found.problems() == 0) {
        fmt::print("No problem found: `nornicdb serve` can start with these settings.\n");
        return 0;
    }
    fmt::print("{} problem{}.\n", found.problems(), found.problems() == 1 ? "" : "s");
    return kExitProblem;
}

}  // namespace nornic::cli
