#include "cli/command_line.h"

#include "cli/cli.h"
#include "env/settings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>

namespace nornic::cli {
namespace {

const Option kHelp{"help", 'h', "", "This text."};

/// How a command that asks servers over HTTP finds them and gets in.
std::vector<Option> connection_options() {
    return {{"address", 'a', "URL",
             "http://host:port of any member, or several with commas between, of which the first that answers is asked. Without it: "
             "this machine, at the port of NORNICDB_HTTP_PORT or 7474."},
            {"user", 'u', "USER:PASSWORD", "Who asks. Without it: NORNICDB_AUTH, or admin:admin."},
            {"password-file", 0, "FILE", "Its first line is the password; --user then names the user alone.", false, true},
            {"tls-ca", 0, "FILE", "PEM file of the authorities to trust (https://).", false, true},
            {"insecure", 0, "", "Take any certificate (https://)."},
            {"timeout", 0, "SECONDS", "How long to wait for a member (5)."}};
}

std::vector<Option> with(std::vector<Option> options, std::vector<Option> more) {
    options.insert(options.end(), more.begin(), more.end());
    options.push_back(kHelp);
    return options;
}

std::vector<Option> settings_options() {
    std::vector<Option> out{{"config", 'c', "FILE", "Config file: lines of NAME=value, or a JSON object.", false, true}};
    for (const env::SettingInfo& info : env::all_settings()) {
        const bool file = info.flag.ends_with("-file") || info.flag.ends_with("-dir") || info.flag.ends_with("-cert") ||
                          info.flag.ends_with("-key") || info.flag.ends_with("-ca");
        out.push_back({info.flag,
                       0,
                       "VALUE",
                       fmt::format("{}{}. {} It takes {}.",
                                   info.name,
                                   info.default_text.empty() ? "" : "=" + info.default_text,
                                   info.description,
                                   info.takes),
                       false,
                       file});
    }
    return out;
}

std::vector<CommandInfo> make_commands() {
    std::vector<CommandInfo> out;
    out.push_back({"serve", "start a server", "[--config FILE] [--<setting> VALUE]...", "",
                   with(settings_options(), {}), {}, {}});
    out.push_back({"status", "the whole cluster at a glance, from any member", "[options]",
                   "Asks one member who the others are and each of them how it is, and prints a table of them; below it what is wrong\n"
                   "and what to do about it.\n\n"
                   "Exit codes: 0 all is well, 1 something is wrong (a line says what), 2 no member answers, or the command line is wrong.\n",
                   with(connection_options(),
                        {{"watch", 'w', "SECONDS", "Look again every so many seconds (2) until it is interrupted.", true},
                         {"json", 'j', "", "Print JSON, for scripts."}}),
                   {},
                   {"nornicdb status                                       # of the server on this machine",
                    "nornicdb status -a http://node2:7474 -u admin:secret  # from any member",
                    "nornicdb status --watch 1                             # until Ctrl-C",
                    "nornicdb status --json | jq '.leader.id'              # for scripts"}});
    out.push_back({"peers", "list, add, remove and promote members; hand leadership over", "COMMAND [arguments] [options]",
                   "  list                        the members of the cluster\n"
                   "  add ID HOST:PORT            take a member in, by the address of its cluster port (--role, --priority)\n"
                   "  remove ID                   take a member out\n"
                   "  transfer [ID]               hand leadership over, to this member or whoever is fit\n"
                   "  promote                     make the member that is asked lead (hot standby: --force accepts the loss that a refusal named)\n"
                   "  step-down                   the leader stops leading\n"
                   "  snapshot                    the member that is asked writes a checkpoint\n"
                   "  history                     who led when, and why that changed, as the member that is asked saw it\n"
                   "  region status               the regions, as the member that is asked sees them\n"
                   "  region promote              make the region of the member that is asked the primary one (--force)\n"
                   "  region drop NAME            give a region up for good (--confirm NAME)\n\n"
                   "What only the leader can do is sent on to it.\n\n"
                   "Exit codes: 0 done, 1 refused (a line says why), 2 no member answers, or the command line is wrong.\n",
                   with(connection_options(),
                        {{"role", 0, "ROLE", "add: voter (default), learner or witness."},
                         {"priority", 0, "NUMBER", "add: 0 (leads only where nobody else can) to 1000; 100 if it is not given. NORNICDB_CLUSTER_RAFT_PRIORITY, where the member sets it, goes before."},
                         {"force", 0, "", "promote (hot standby), region promote: accept the loss."},
                         {"confirm", 0, "NAME", "region drop: the region's name once more."},
                         {"json", 'j', "", "Print the server's JSON."}}),
                   {"list", "add", "remove", "transfer", "promote", "step-down", "snapshot", "history", "region"},
                   {"nornicdb peers list -a http://node1:7474 -u admin:secret",
                    "nornicdb peers add node-4 node4:7688 --role learner",
                    "nornicdb peers remove node-4",
                    "nornicdb peers transfer node-2",
                    "nornicdb peers promote -a http://standby:7474       # hot standby: the standby takes over",
                    "nornicdb peers region promote -a http://eu-west-node1:7474"}});
    out.push_back({"check", "settings, ports, peers, certificates, disk and clock, before the first start",
                   "[--config FILE] [--<setting> VALUE]...",
                   "Reads settings as `nornicdb serve` does and looks whether a server could start with them, one line for each thing:\n"
                   "ok, warning, or PROBLEM with what to do. Nothing is written but a file that is removed again. Run it where the\n"
                   "server shall run, as the user that it shall run as, while it does not run.\n\n"
                   "Exit codes: 0 no problem (there may be warnings), 1 a problem, 2 the command line is wrong.\n",
                   with(settings_options(), {}), {},
                   {"nornicdb check --config /etc/nornicdb/nornicdb.conf",
                    "NORNICDB_CLUSTER_MODE=raft NORNICDB_CLUSTER_RAFT_PEERS=node-2:node2:7688,node-3:node3:7688 nornicdb check"}});
    out.push_back({"shell", "run Cypher against a server", "[options] [statement]", "", shell_options(), {}, {}});
    out.push_back({"settings", "print the settings and their defaults", "[--markdown]", "",
                   {{"markdown", 0, "", "As docs/settings.md."}, kHelp}, {}, {}});
    out.push_back({"recover", "begin a Raft group anew from one member, when its majority is lost for good",
                   "--force-new-cluster [--yes] [--data-dir DIR] [--config FILE]", "",
                   with(settings_options(),
                        {{"force-new-cluster", 0, "", "What is to be done."}, {"yes", 0, "", "Does not ask."}}),
                   {}, {}});
    out.push_back({"unbind", "let a stopped member forget its cluster and keep its data", "[--yes] [--data-dir DIR] [--config FILE]",
                   "Works on the data directory of one stopped member: it keeps the data and forgets its name, its vote and the members of\n"
                   "its cluster, and its data becomes a history of its own. Started again, it is a standalone server, a primary, or the\n"
                   "first member of another cluster, as its settings say. Take it out of its old cluster, too (nornicdb peers remove).\n\n"
                   "Exit codes: 0 done, 1 refused (a line says why), 2 the command line is wrong.\n",
                   with(settings_options(), {{"yes", 0, "", "Does not ask."}}), {},
                   {"nornicdb unbind --data-dir /var/lib/nornicdb"}});
    out.push_back({"version", "print the version, or with --json all of the build", "[--json]",
                   "Prints version, commit, kind of build, compiler and the formats and protocols that this program has.\n",
                   {{"json", 'j', "", "Print JSON."}, kHelp}, {}, {}});
    out.push_back({"completion", "print a script that completes commands and options in a shell", "bash|zsh|fish",
                   "", {kHelp}, {"bash", "zsh", "fish"},
                   {"source <(nornicdb completion bash)                           # in ~/.bashrc",
                    "nornicdb completion zsh > \"${fpath[1]}/_nornicdb\"",
                    "nornicdb completion fish > ~/.config/fish/completions/nornicdb.fish"}});
    out.push_back({"help", "print this text", "", "", {}, {}, {}});
    return out;
}

const Option* find_option(const CommandInfo& command, std::string_view name) {
    const auto at = std::find_if(command.options.begin(), command.options.end(), [&](const Option& o) {
        return name.size() == 1 ? o.letter == name.front() : o.name == name;
    });
    return at == command.options.end() ? nullptr : &*at;
}

bool is_number(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c) != 0 || c == '.'; });
}

/// The first sentence, for a shell's menu.
std::string short_text(const std::string& text) {
    std::string out = text.substr(0, text.find(". "));
    while (!out.empty() && out.back() == '.') {
        out.pop_back();
    }
    std::erase_if(out, [](char c) { return c == '\'' || c == '"' || c == '\\' || c == '[' || c == ']' || c == ':' || c == '`' || c == '$'; });
    return out;
}

std::string bash_completion() {
    std::string commands;
    std::string cases;
    for (const CommandInfo& command : all_commands()) {
        commands += (commands.empty() ? "" : " ") + command.name;
        std::vector<std::string> options;
        std::vector<std::string> files;
        for (const Option& o : command.options) {
            options.push_back("--" + o.name);
            if (o.is_file) {
                files.push_back("--" + o.name);
            }
        }
        cases += fmt::format("        {}) options=\"{}\"; words=\"{}\"; files=\" {} \" ;;\n",
                             command.name,
                             fmt::join(options, " "),
                             fmt::join(command.words, " "),
                             fmt::join(files, " "));
    }
    return fmt::format(R"(# bash completion of nornicdb; made by `nornicdb completion bash`
_nornicdb() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}" options="" words="" files=""
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{}" -- "$current"))
        return
    fi
    case "${{COMP_WORDS[1]}}" in
{}    esac
    if [[ "$files" == *" $previous "* ]]; then
        COMPREPLY=($(compgen -f -- "$current"))
    elif [[ "$current" == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$current"))
    else
        COMPREPLY=($(compgen -W "$words" -- "$current"))
    fi
}}
complete -F _nornicdb nornicdb
)",
                       commands,
                       cases);
}

std::string zsh_completion() {
    std::string commands;
    std::string cases;
    for (const CommandInfo& command : all_commands()) {
        commands += fmt::format("        '{}:{}'\n", command.name, short_text(command.summary));
        cases += fmt::format("        {})\n            _arguments", command.name);
        for (const Option& o : command.options) {
            cases += fmt::format(" \\\n                '--{}{}[{}]{}'",
                                 o.name,
                                 o.value.empty() ? "" : "=",
                                 short_text(o.description),
                                 o.value.empty() ? std::string{} : fmt::format(":{}:{}", short_text(o.value), o.is_file ? "_files" : ""));
        }
        if (!command.words.empty()) {
            cases += fmt::format(" \\\n                '1:command:({})'", fmt::join(command.words, " "));
        }
        cases += " ;;\n";
    }
    return fmt::format(R"(#compdef nornicdb
# zsh completion of nornicdb; made by `nornicdb completion zsh`
_nornicdb() {{
    local -a commands
    commands=(
{}    )
    if (( CURRENT == 2 )); then
        _describe 'command' commands
        return
    fi
    local command="$words[2]"
    shift words
    (( CURRENT-- ))
    case "$command" in
{}    esac
}}
if [ "$funcstack[1]" = "_nornicdb" ]; then
    _nornicdb "$@"
else
    compdef _nornicdb nornicdb
fi
)",
                       commands,
                       cases);
}

std::string fish_completion() {
    std::string out = "# fish completion of nornicdb; made by `nornicdb completion fish`\ncomplete -c nornicdb -f\n";
    for (const CommandInfo& command : all_commands()) {
        out += fmt::format("complete -c nornicdb -n __fish_use_subcommand -a {} -d '{}'\n", command.name, short_text(command.summary));
        const std::string when = fmt::format("complete -c nornicdb -n '__fish_seen_subcommand_from {}'", command.name);
        for (const Option& o : command.options) {
            out += fmt::format("{} -l {}{}{} -d '{}'\n",
                               when,
                               o.name,
                               o.letter == 0 ? std::string{} : fmt::format(" -s {}", o.letter),
                               o.value.empty() || o.value_may_lack ? "" : o.is_file ? " -r -F" : " -x",
                               short_text(o.description));
        }
        if (!command.words.empty()) {
            out += fmt::format("{} -a '{}'\n", when, fmt::join(command.words, " "));
        }
    }
    return out;
}

}  // namespace

const std::vector<CommandInfo>& all_commands() {
    static const std::vector<CommandInfo> commands = make_commands();
    return commands;
}

const CommandInfo* find_command(std::string_view name) {
    for (const CommandInfo& command : all_commands()) {
        if (command.name == name) {
            return &command;
        }
    }
    return nullptr;
}

std::string help_of(const CommandInfo& command) {
    std::string out = fmt::format("Usage: nornicdb {}{}{}\n\n", command.name, command.usage.empty() ? "" : " ", command.usage);
    out += command.text.empty() ? static_cast<char>(std::toupper(static_cast<unsigned char>(command.summary.front()))) +
                                      command.summary.substr(1) + ".\n"
                                : command.text;
    out += command.options.empty() ? "" : "\nOptions:\n";
    for (const Option& o : command.options) {
        const std::string value = o.value.empty() ? "" : o.value_may_lack ? " [" + o.value + "]" : " " + o.value;
        out += fmt::format("  {}--{}{}\n      {}\n", o.letter == 0 ? std::string{} : fmt::format("-{}, ", o.letter), o.name, value, o.description);
    }
    out += command.examples.empty() ? "" : "\nExamples:\n";
    for (const std::string& example : command.examples) {
        out += "  " + example + "\n";
    }
    return out;
}

Result<Arguments> parse_arguments(const CommandInfo& command, const std::vector<std::string>& arguments) {
    Arguments out;
    const auto see_help = [&] { return fmt::format("see `nornicdb {} --help`", command.name); };
    bool words_only = false;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        std::string flag = arguments[i];
        if (words_only || !flag.starts_with('-') || flag == "-") {
            out.words.push_back(std::move(flag));
            continue;
        }
        if (flag == "--") {
            words_only = true;
            continue;
        }
        std::optional<std::string> value;
        const bool is_long = flag.starts_with("--");
        if (const std::size_t equals = flag.find('='); is_long && equals != std::string::npos) {
            value = flag.substr(equals + 1);
            flag.resize(equals);
        }
        std::string name = flag.substr(is_long ? 2 : 1);
        if (!is_long && name.size() > 1) {
            value = name.substr(1);  // -wSECONDS
            name.resize(1);
        }
        const Option* option = (is_long && name.size() == 1) ? nullptr : find_option(command, name);
        if (option == nullptr) {
            return fail(ErrorCode::kInvalidArgument, fmt::format("there is no option '{}'; {}", flag, see_help()));
        }
        const bool takes_next = !option->value.empty() && !value && i + 1 < arguments.size() &&
                                (!option->value_may_lack || is_number(arguments[i + 1]));
        if (takes_next) {
            value = arguments[++i];
        }
        if (option->value.empty() && value) {
            return fail(ErrorCode::kInvalidArgument, fmt::format("--{} takes no value", option->name));
        }
        if (!option->value.empty() && !value && !option->value_may_lack) {
            return fail(ErrorCode::kInvalidArgument, fmt::format("--{} takes a value: {}", option->name, option->value));
        }
        out.options[option->name] = value.value_or("");
    }
    return out;
}

Result<std::string> completion(std::string_view shell) {
    if (shell == "bash") {
        return bash_completion();
    }
    if (shell == "zsh") {
        return zsh_completion();
    }
    if (shell == "fish") {
        return fish_completion();
    }
    return fail(ErrorCode::kInvalidArgument,
                shell.empty() ? std::string{"completion takes a shell: bash, zsh or fish"}
                              : fmt::format("there is no completion for '{}': it takes bash, zsh or fish", shell));
}

}  // namespace nornic::cli
