#include "cli/shell/shell.h"

#include "cli/cli.h"
#include "cli/command_line.h"
#include "cli/shell/interrupt_watch.h"
#include "cli/shell/splitter.h"

#include <boost/program_options.hpp>
#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <editline/readline.h>
#include <fstream>
#include <iostream>
#include <unistd.h>

namespace nornic::cli {
namespace {

constexpr int kSourceDepthMax = 16;

constexpr std::string_view kHelp = R"(
Available commands:
  :begin      Open a transaction
  :commit     Commit the currently open transaction
  :exit       Exit the shell (also :quit)
  :help       Show this help message
  :history    Statement history
  :param      Set the value of a query parameter: :param name => expression, or :param {name: expression}
  :params     Print all query parameters; :params clear forgets them
  :rollback   Rollback the currently open transaction
  :source     Run statements from a file: :source file.cypher
  :use        Set the active database: :use name

Statements end with a semicolon and may span lines. Ctrl-C interrupts a statement.
)";

std::string trimmed(std::string_view text) {
    const std::size_t begin = text.find_first_not_of(" \t\r\n");
    if (begin == std::string_view::npos) {
        return {};
    }
    return std::string{text.substr(begin, text.find_last_not_of(" \t\r\n;") - begin + 1)};
}

}  // namespace

Shell::Shell(ShellSettings settings,
             std::unique_ptr<bolt::Client> client,
             std::ostream& out,
             std::ostream& errors)
    : settings_{std::move(settings)}, client_{std::move(client)}, out_{out}, errors_{errors} {}

void Shell::print_failure(const Error& error) {
    errors_ << error.message() << '\n';
    if (settings_.interactive && client_->last_failure()) {
        errors_ << "(" << client_->last_failure()->code << ")\n";
    }
    errors_.flush();
}

bool Shell::reconnect() {
    if (client_->is_open()) {
        return true;
    }
    auto fresh = bolt::Client::connect(settings_.connection);
    if (!fresh) {
        errors_ << "The connection is lost and cannot be made again: " << fresh.error().message()
                << '\n';
        return false;
    }
    if (interrupts_ != nullptr) {
        interrupts_->watch(fresh.value().get());
    }
    client_ = std::move(fresh).value();
    errors_ << "The connection was lost and has been made again; an open transaction is gone.\n";
    return true;
}

bool Shell::run_statement(const std::string& statement) {
    if (!reconnect()) {
        return false;
    }
    bolt::RunOptions options;
    options.database = settings_.database;
    const auto began = std::chrono::steady_clock::now();
    auto columns = client_->run(statement, settings_.parameters, options);
    if (!columns) {
        print_failure(columns.error());
        return false;
    }
    const auto available = std::chrono::duration_cast<std::chrono::milliseconds>(
                               std::chrono::steady_clock::now() - began)
                               .count();
    const auto printer = make_printer(settings_.format, out_);
    printer->columns(columns.value());
    std::int64_t rows = 0;
    for (;;) {
        auto row = client_->next();
        if (!row) {
            print_failure(row.error());
            return false;
        }
        if (!row.value()) {
            break;
        }
        printer->row(*row.value());
        ++rows;
    }
    printer->end(rows, client_->summary(), available);
    return true;
}

bool Shell::set_parameter(const std::string& text) {
    const std::size_t arrow = text.find("=>");
    const bool is_map = text.starts_with("{");
    const std::string name = is_map ? "" : trimmed(text.substr(0, arrow));
    const std::string expression = is_map                       ? text
                                   : arrow == std::string::npos ? ""
                                                                : trimmed(text.substr(arrow + 2));
    if (expression.empty() || (!is_map && name.empty())) {
        errors_
            << "Incorrect usage.\nusage: :param name => expression, or :param {name: expression}\n";
        return false;
    }
    if (!reconnect()) {
        return false;
    }
    // The server evaluates the expression, so that all of Cypher's literals work.
    auto columns = client_->run("RETURN " + expression + " AS value", settings_.parameters, {});
    auto row = columns ? client_->next() : Result<std::optional<List>>{columns.error()};
    if (!row || !row.value() || row.value()->empty()) {
        if (!row) {
            print_failure(row.error());
        }
        return false;
    }
    const Value value = row.value()->front();
    if (auto rest = client_->consume(); !rest) {
        print_failure(rest.error());
        return false;
    }
    if (is_map) {
        if (!value.is_map()) {
            errors_ << ":param takes a map there\n";
            return false;
        }
        for (const auto& [key, v] : value.as_map()) {
            settings_.parameters.set(key, v);
        }
        return true;
    }
    settings_.parameters.set(name, value);
    return true;
}

Shell::After Shell::run_command(const std::string& line, bool& ok) {
    const std::string command_line = trimmed(line);
    const std::size_t space = command_line.find_first_of(" \t");
    const std::string command = command_line.substr(0, space);
    const std::string rest = space == std::string::npos ? "" : trimmed(command_line.substr(space));
    ok = true;
    const auto report = [&](const Result<>& done) {
        ok = done.has_value();
        if (!ok) {
            print_failure(done.error());
        }
    };
    if (command == ":exit" || command == ":quit") {
        if (settings_.interactive) {
            out_ << "\nBye!\n";
        }
        return After::kExit;
    }
    if (command == ":help") {
        out_ << kHelp << '\n';
    } else if (command == ":param" && !rest.empty()) {
        ok = set_parameter(rest);
    } else if ((command == ":params" || command == ":param") && (rest.empty() || rest == "list")) {
        out_ << to_cypher_text(Value{settings_.parameters}) << '\n';
    } else if (command == ":params" && rest == "clear") {
        settings_.parameters = {};
    } else if (command == ":begin") {
        bolt::RunOptions options;
        options.database = settings_.database;
        report(client_->begin(options));
    } else if (command == ":commit") {
        auto bookmark = client_->commit();
        report(bookmark ? Result<>{success()} : Result<>{bookmark.error()});
    } else if (command == ":rollback") {
        report(client_->rollback());
    } else if (command == ":use") {
        settings_.database = rest;
    } else if (command == ":history") {
        for (int i = history_base; i < history_base + history_length; ++i) {
            if (const HIST_ENTRY* entry = history_get(i)) {
                out_ << fmt::format("{:>4}  {}\n", i, entry->line);
            }
        }
    } else if (command == ":source" && !rest.empty()) {
        std::FILE* file = depth_ < kSourceDepthMax ? std::fopen(rest.c_str(), "re") : nullptr;
        if (file == nullptr) {
            errors_ << "Cannot find file: '" << rest << "'\n";
            ok = false;
        } else {
            ++depth_;
            ok = run_file(file) == 0;
            --depth_;
            std::fclose(file);
        }
    } else {
        errors_ << "Could not find command " << command_line
                << ", use :help to see available commands\n";
        ok = false;
    }
    out_.flush();
    return After::kGoOn;
}

int Shell::run_text(const std::string& text) {
    Splitter splitter;
    splitter.feed(text);
    splitter.feed("\n");
    int code = 0;
    const auto run = [&](const std::string& statement) {
        bool ok = true;
        if (statement.starts_with(":")) {
            if (run_command(statement, ok) == After::kExit) {
                return false;
            }
        } else {
            ok = run_statement(statement);
        }
        if (!ok) {
            code = 1;
        }
        return ok || !settings_.fail_fast;
    };
    while (auto statement = splitter.next()) {
        if (!run(*statement)) {
            return code;
        }
    }
    if (auto statement = splitter.rest()) {
        run(*statement);
    }
    return code;
}

int Shell::run_file(std::FILE* file) {
    Splitter splitter;
    char buffer[65536];
    int code = 0;
    bool more = true;
    while (more) {
        // Line by line, so that statements run as they arrive on a pipe.
        if (std::fgets(buffer, sizeof buffer, file) != nullptr) {
            splitter.feed(buffer);
        } else {
            more = false;
        }
        for (;;) {
            std::optional<std::string> statement = splitter.next();
            if (!statement && !more) {
                statement = splitter.rest();
            }
            if (!statement) {
                break;
            }
            bool ok = true;
            if (statement->starts_with(":")) {
                if (run_command(*statement, ok) == After::kExit) {
                    return code;
                }
            } else {
                ok = run_statement(*statement);
            }
            code = ok ? code : 1;
            if (!ok && settings_.fail_fast) {
                return code;
            }
        }
    }
    return code;
}

std::string Shell::prompt() const {
    const std::string database = settings_.database.empty() ? "neo4j" : settings_.database;
    return fmt::format("{}@{}{} ",
                       settings_.connection.user.empty() ? "anonymous" : settings_.connection.user,
                       database,
                       client_->in_transaction() ? "#" : ">");
}

int Shell::run_interactive() {
    const std::string home = env::home_directory();
    const std::string history_file = home.empty() ? "" : home + "/.nornicdb_history";
    using_history();
    stifle_history(1000);
    if (!history_file.empty()) {
        read_history(history_file.c_str());
    }
    InterruptWatch interrupts;
    interrupts.watch(client_.get());
    interrupts_ = &interrupts;
    const Value* agent = client_->server_info().find("server");
    out_ << fmt::format(
        "Connected to {} at bolt://{} as user {}.\nType :help for a list of available commands or "
        ":exit to exit the shell.\n"
        "Note that Cypher queries must end with a semicolon.\n",
        agent != nullptr && agent->is_string() ? agent->as_string() : "the server",
        settings_.address,
        settings_.connection.user.empty() ? "anonymous" : settings_.connection.user);
    out_.flush();
    Splitter splitter;
    std::string entered;
    for (;;) {
        const std::string text =
            splitter.in_statement() ? std::string(prompt().size(), ' ') : prompt();
        char* line = readline(text.c_str());
        if (line == nullptr) {
            out_ << "\nBye!\n";
            break;
        }
        splitter.feed(line);
        splitter.feed("\n");
        entered += entered.empty() ? line : std::string{" "} + line;
        std::free(line);
        bool leave = false;
        while (auto statement = splitter.next()) {
            add_history(entered.c_str());
            entered.clear();
            bool ok = true;
            if (statement->starts_with(":")) {
                leave = run_command(*statement, ok) == After::kExit;
            } else {
                run_statement(*statement);
            }
            if (leave) {
                break;
            }
        }
        if (leave) {
            break;
        }
    }
    if (!history_file.empty()) {
        write_history(history_file.c_str());
    }
    interrupts_ = nullptr;
    return 0;
}

namespace {

/// host:port of "bolt://host:port", "neo4j+s://…" or "host:port"; sets TLS by the scheme.
Result<> read_address(const std::string& text, ShellSettings& settings) {
    std::string rest = text;
    if (const std::size_t scheme_end = rest.find("://"); scheme_end != std::string::npos) {
        const std::string scheme = rest.substr(0, scheme_end);
        rest.erase(0, scheme_end + 3);
        if (scheme == "bolt+s" || scheme == "neo4j+s") {
            settings.connection.tls = true;
        } else if (scheme == "bolt+ssc" || scheme == "neo4j+ssc") {
            settings.connection.tls = true;
            settings.connection.tls_verify = false;
        } else if (scheme != "bolt" && scheme != "neo4j") {
            return fail(ErrorCode::kInvalidArgument,
                        fmt::format("'{}': it takes bolt://host:port or neo4j://host:port", text));
        }
    }
    if (rest.find(':') == std::string::npos) {
        rest += ":7687";
    }
    const auto parsed = env::parse_host_port(rest);
    if (!parsed) {
        return fail(ErrorCode::kInvalidArgument, fmt::format("'{}': it takes host:port", text));
    }
    settings.connection.host = parsed->first;
    settings.connection.port = parsed->second;
    settings.address = rest;
    return success();
}

Result<Format> read_format(const std::string& text, bool interactive) {
    if (text == "auto") {
        return interactive ? Format::kTable : Format::kPlain;
    }
    if (text == "table" || text == "verbose") {
        return Format::kTable;
    }
    if (text == "plain") {
        return Format::kPlain;
    }
    if (text == "json") {
        return Format::kJson;
    }
    if (text == "csv") {
        return Format::kCsv;
    }
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("--format '{}': it takes auto, plain, table, json or csv", text));
}

}  // namespace

namespace {

struct ShellArguments {
    std::string address;
    std::string format;
    std::string file;
    std::vector<std::string> parameters;
};

/// Reads into both.
boost::program_options::options_description describe_options(ShellSettings& settings, ShellArguments& given) {
    namespace po = boost::program_options;
    po::options_description options{"Options"};
    auto add = options.add_options();
    add("address,a",
        po::value(&given.address)->default_value("bolt://127.0.0.1:7687"),
        "server to connect to");
    add("username,u", po::value(&settings.connection.user), "user to log in as");
    add("password,p", po::value(&settings.connection.password), "its password");
    add("database,d",
        po::value(&settings.database),
        "database to use; by default the user's home database");
    add("format",
        po::value(&given.format)->default_value("auto"),
        "auto, plain, table, json or csv; auto is table on a terminal, else plain");
    add("param,P", po::value(&given.parameters), "'name => expression'; may be repeated");
    add("file,f", po::value(&given.file), "run the statements of this file and exit");
    add("fail-fast", "exit at the first error of a script (default)");
    add("fail-at-end", "go on after errors and exit with 1 at the end");
    add("non-interactive", "never prompt, also on a terminal");
    add("tls-ca",
        po::value(&settings.connection.tls_ca_file),
        "PEM file of the authorities to trust (bolt+s://)");
    add("help,h", "this text");
    return options;
}

}  // namespace

std::vector<Option> shell_options() {
    namespace po = boost::program_options;
    ShellSettings settings;
    ShellArguments given;
    const po::options_description described = describe_options(settings, given);
    std::vector<Option> out;
    for (const auto& option : described.options()) {
        const std::string& name = option->long_name();
        const std::string short_name = option->canonical_display_name(po::command_line_style::allow_dash_for_short);
        out.push_back({name,
                       short_name.size() == 2 ? short_name[1] : '\0',
                       option->semantic()->max_tokens() > 0 ? "VALUE" : "",
                       option->description(),
                       false,
                       name == "file" || name == "tls-ca"});
    }
    return out;
}

int shell(const std::vector<std::string>& arguments) {
    namespace po = boost::program_options;
    ShellArguments asked;
    std::vector<std::string> statements;
    ShellSettings settings;
    const po::options_description options = describe_options(settings, asked);
    const std::string& address = asked.address;
    const std::string& format = asked.format;
    const std::string& file = asked.file;
    const std::vector<std::string>& parameters = asked.parameters;
    po::options_description hidden;
    hidden.add_options()("statement", po::value(&statements));
    po::options_description all;
    all.add(options).add(hidden);
    po::positional_options_description positional;
    positional.add("statement", -1);
    po::variables_map given;
    const auto refuse = [](const std::string& text) {
        std::cerr << "nornicdb shell: " << text << '\n';
        return 2;
    };
    try {
        po::store(po::command_line_parser(arguments).options(all).positional(positional).run(),
                  given);
        po::notify(given);
    } catch (const po::error& e) {
        return refuse(std::string{e.what()} + "; see `nornicdb shell --help`");
    }
    if (given.contains("help")) {
        std::cout << "Usage: nornicdb shell [options] [statement]\n\nRuns Cypher against a server: "
                     "the statement given, a file, standard input, "
                     "or what is typed.\n\n"
                  << options;
        return 0;
    }
    settings.interactive = isatty(STDIN_FILENO) != 0 && statements.empty() && file.empty() &&
                           !given.contains("non-interactive");
    settings.fail_fast = !given.contains("fail-at-end");
    if (auto read = read_address(address, settings); !read) {
        return refuse(read.error().message());
    }
    auto chosen = read_format(format, settings.interactive);
    if (!chosen) {
        return refuse(chosen.error().message());
    }
    settings.format = chosen.value();
    if (settings.interactive && !settings.connection.user.empty() &&
        settings.connection.password.empty()) {
        if (const char* typed = getpass("password: ")) {
            settings.connection.password = typed;
        }
    }
    auto client = bolt::Client::connect(settings.connection);
    if (!client) {
        std::cerr << client.error().message() << '\n';
        return 1;
    }
    Shell runner{settings, std::move(client).value(), std::cout, std::cerr};
    for (const std::string& parameter : parameters) {
        if (!runner.set_parameter(parameter)) {
            return 1;
        }
    }
    if (!statements.empty()) {
        std::string text;
        for (const std::string& statement : statements) {
            text += (text.empty() ? "" : " ") + statement;
        }
        return runner.run_text(text);
    }
    if (!file.empty()) {
        std::FILE* input = std::fopen(file.c_str(), "re");
        if (input == nullptr) {
            return refuse("'" + file + "' cannot be read");
        }
        const int code = runner.run_file(input);
        std::fclose(input);
        return code;
    }
    return settings.interactive ? runner.run_interactive() : runner.run_file(stdin);
}

}  // namespace nornic::cli
