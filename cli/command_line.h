// The table of commands and their options: what parses a command line, prints the helps and makes the shells' completions.
#pragma once

#include "base/result.h"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::cli {

struct Option {
    std::string name;         // "address": --address
    char letter = 0;          // -a
    std::string value;        // what stands behind it, in the help: "HOST:PORT"; empty: it is a switch
    std::string description;
    bool value_may_lack = false;  // --watch, --watch 5
    bool is_file = false;         // for completion
};

struct CommandInfo {
    std::string name;
    std::string summary;  // one line, in the list of commands
    std::string usage;    // "[options] [statement]"
    std::string text;     // what it does, what it exits with
    std::vector<Option> options;
    std::vector<std::string> words;     // what the first argument may be, for completion
    std::vector<std::string> examples;  // one a line, with a comment behind it
};

/// All of `nornicdb`, in the order of the help.
const std::vector<CommandInfo>& all_commands();
/// nullptr: there is no such command.
const CommandInfo* find_command(std::string_view name);

/// Those of `nornicdb shell`, which reads them itself.
std::vector<Option> shell_options();

/// Usage, text, options and examples.
std::string help_of(const CommandInfo& command);

struct Arguments {
    std::map<std::string, std::string> options;  // by name; a switch has an empty value
    std::vector<std::string> words;
    [[nodiscard]] bool has(const std::string& name) const { return options.contains(name); }
    [[nodiscard]] std::string get(const std::string& name, std::string otherwise = {}) const {
        const auto at = options.find(name);
        return at == options.end() ? std::move(otherwise) : at->second;
    }
};

/// `--name value`, `--name=value`, `-n value`; options and words in any order, `--` ends the options. kInvalidArgument naming what
/// is wrong.
Result<Arguments> parse_arguments(const CommandInfo& command, const std::vector<std::string>& arguments);

/// A script for "bash", "zsh" or "fish". kInvalidArgument.
Result<std::string> completion(std::string_view shell);

}  // namespace nornic::cli
