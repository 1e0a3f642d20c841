// `nornicdb shell`: statements and commands from a terminal, a file or standard input, against any
// Bolt server.
#pragma once

#include "bolt/client.h"
#include "cli/shell/format.h"

#include <cstdio>
#include <iosfwd>
#include <memory>
#include <string>

namespace nornic::cli {

class InterruptWatch;

struct ShellSettings {
    bolt::ClientSettings connection;
    std::string address;  // as the user wrote it
    std::string database;
    Format format = Format::kPlain;
    bool interactive = false;
    bool fail_fast = true;  // a script ends at its first error
    Map parameters;
};

class Shell {
public:
    Shell(ShellSettings settings,
          std::unique_ptr<bolt::Client> client,
          std::ostream& out,
          std::ostream& errors);

    /// Runs statements and commands as they come; returns the exit code.
    int run_text(const std::string& text);
    int run_file(std::FILE* file);
    int run_interactive();
    /// One statement. False if it failed.
    bool run_statement(const std::string& statement);
    /// The client that Ctrl-C interrupts.
    [[nodiscard]] bolt::Client& client() noexcept { return *client_; }
    /// name => expression, as for :param. False if it failed.
    bool set_parameter(const std::string& text);

private:
    enum class After : std::uint8_t { kGoOn, kExit };
    After run_command(const std::string& command, bool& ok);
    void print_failure(const Error& error);
    bool reconnect();
    [[nodiscard]] std::string prompt() const;

    ShellSettings settings_;
    std::unique_ptr<bolt::Client> client_;
    std::ostream& out_;
    std::ostream& errors_;
    InterruptWatch* interrupts_ = nullptr;  // while interactive
    int depth_ = 0;  // of :source
};

}  // namespace nornic::cli
