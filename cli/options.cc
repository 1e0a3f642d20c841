// Flags of `serve` and the help texts, all from the table of settings.
#include "cli/cli.h"
#include "cli/command_line.h"

#include <fmt/format.h>

namespace nornic::cli {

std::string general_help() {
    std::string out = "nornicdb: a replicated property-graph database that Neo4j drivers use.\n\n"
                      "Usage: nornicdb [command] [options]\n\nCommands:\n";
    for (const CommandInfo& command : all_commands()) {
        out += fmt::format("  {:<11}{}{}\n", command.name, command.summary, command.name == "serve" ? " (also what no command means)" : "");
    }
    return out + "\n`nornicdb <command> --help` says more about each.\n";
}

std::string recover_help() {
    return R"(Usage: nornicdb recover --force-new-cluster [--yes] [--data-dir DIR] [--config FILE]

For a Raft group that lost its majority for good. Works on the data directory of one stopped member:
shows what its disk holds, which members are given up and what may be lost, asks for the member's
name, and makes it the only voter of a new group. The members given up are refused from then on until
their data directories are emptied.

  --force-new-cluster
      What is to be done; nothing else is offered.
  --yes
      Does not ask.
  --data-dir DIR, --config FILE and other settings
      As of `nornicdb serve`: where this member's data is.
)";
}

std::string serve_help() {
    std::string out = R"(Usage: nornicdb serve [--config FILE] [--<setting> VALUE]...

Starts a server. Settings come, in rising order, from their defaults, the config file (lines of
NAME=value, or a JSON object), the environment and these flags.

  --config FILE, -c FILE
      Config file.
  --help
      This text.
)";
    std::string group;
    for (const env::SettingInfo& info : env::all_settings()) {
        if (info.group != group) {
            group = info.group;
            out += "\n" + group + ":\n";
        }
        out += fmt::format("  --{} VALUE   ({}{})\n      {} It takes {}.\n",
                           info.flag,
                           info.name,
                           info.default_text.empty() ? "" : "=" + info.default_text,
                           info.description,
                           info.takes);
    }
    out += "\nNames of other servers' configurations, in JSON config files and as flags (docs/settings.md says more):\n ";
    for (const env::ForeignName& foreign : env::all_foreign_names()) {
        out += " " + foreign.name;
    }
    return out + "\n";
}

std::string settings_markdown() {
    std::string out =
        "# Settings\n\nThey come, in rising order, from the defaults, a config file (`--config`, "
        "lines of `NAME=value`, or a JSON object), the environment "
        "and the\ncommand line (`--bolt-port 7687` is `NORNICDB_BOLT_PORT=7687`). A value that "
        "cannot be used stops the start with one line "
        "that\nnames the variable, its value and what it takes. So does an unknown name under "
        "`NORNICDB_CLUSTER_`; other unknown `NORNICDB_` "
        "names\nare listed in one warning.\n\nThis page is printed by `nornicdb settings --markdown`; "
        "a test holds them together.\n";
    std::string group;
    for (const env::SettingInfo& info : env::all_settings()) {
        if (info.group != group) {
            group = info.group;
            out += fmt::format(
                "\n## {}\n\n| variable | default | takes | meaning |\n|---|---|---|---|\n", group);
        }
        out += fmt::format("| `{}` | {} | {} | {} |\n",
                           info.name,
                           info.default_text.empty() ? "" : "`" + info.default_text + "`",
                           info.takes,
                           info.description);
    }
    out += R"(
## Names of other servers

A configuration that was written for TuGraph's clusters starts a Raft cluster here: `--config` takes its JSON file, and its flags are taken
(`--ha_conf host1:9090,host2:9090,host3:9090 --rpc_port 9090 --enable_ha true`). They become the settings below, of the layer that they
stand in; a setting by its own name in a higher layer wins. Where all members of a file have one address, a web port that is taken already
becomes the next free one, with a warning.

| name | takes | becomes |
|---|---|---|
)";
    for (const env::ForeignName& foreign : env::all_foreign_names()) {
        out += fmt::format("| `{}` | {} | {} |\n", foreign.name, foreign.takes, foreign.meaning);
    }
    return out;
}

Result<env::Source> parse_serve(const std::vector<std::string>& arguments) {
    env::Source source;
    source.environment = env::process_environment();
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        std::string flag = arguments[i];
        if (flag == "--help" || flag == "-h") {
            return fail(ErrorCode::kNotFound, serve_help());
        }
        if (flag == "-c") {
            flag = "--config";
        }
        if (!flag.starts_with("--")) {
            return fail(ErrorCode::kInvalidArgument,
                        fmt::format("'{}' is not an option; see `nornicdb serve --help`", flag));
        }
        std::optional<std::string> value;
        if (const std::size_t equals = flag.find('='); equals != std::string::npos) {
            value = flag.substr(equals + 1);
            flag.resize(equals);
        } else if (i + 1 < arguments.size()) {
            value = arguments[++i];
        }
        flag.erase(0, 2);
        std::string name = env::is_foreign_name(flag) ? flag : "";
        for (const env::SettingInfo& info : env::all_settings()) {
            if (info.flag == flag) {
                name = info.name;
            }
        }
        if (name.empty() && flag != "config") {
            return fail(
                ErrorCode::kInvalidArgument,
                fmt::format("there is no option '--{}'; see `nornicdb serve --help`", flag));
        }
        if (!value) {
            return fail(ErrorCode::kInvalidArgument, fmt::format("--{} takes a value", flag));
        }
        if (flag == "config") {
            source.config_file = *value;
        } else {
            source.command_line[name] = *value;
        }
    }
    return source;
}

}  // namespace nornic::cli
