// The command line: everything of `nornicdb` that is not the server itself.
#pragma once

#include "env/settings.h"

#include <string>
#include <vector>

namespace nornic::cli {

/// `nornicdb shell …`: returns the exit code. arguments: what follows the subcommand.
int shell(const std::vector<std::string>& arguments);
/// `nornicdb status …`, `nornicdb peers …`, `nornicdb check …`: likewise.
int status(const std::vector<std::string>& arguments);
int peers(const std::vector<std::string>& arguments);
int check(const std::vector<std::string>& arguments);

/// The help of `nornicdb` and of `nornicdb serve`, made from the table of settings.
std::string general_help();
std::string serve_help();
std::string recover_help();
/// docs/settings.md.
std::string settings_markdown();

/// Reads `--flag value`, `--flag=value` and `--config file` of `serve` (and of `recover`) into a source of settings.
/// kInvalidArgument naming the flag; kNotFound with the help as its text for --help.
Result<env::Source> parse_serve(const std::vector<std::string>& arguments);

}  // namespace nornic::cli
