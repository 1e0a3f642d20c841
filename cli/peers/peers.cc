// `nornicdb peers`: membership and leadership, over HTTP.
#include "cli/cli.h"
#include "cli/command_line.h"
#include "cli/connection.h"
#include "env/settings.h"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <optional>
#include <set>

namespace nornic::cli {
namespace {

namespace json = boost::json;

constexpr int kDone = 0;
constexpr int kRefused = 1;
constexpr int kUnreachable = 2;
constexpr int kAskedMax = 8;  // the sites that were given, the leader, its successor; each by two doors

struct Request {
    std::string method = "GET";
    std::string path;
    json::object body;
    bool of_this_member = false;  // not to be sent on to the leader
};

Error wrong(std::string text) {
    return Error{ErrorCode::kInvalidArgument, text + "; see `nornicdb peers --help`"};
}

Result<> expect_words(const Arguments& given, std::size_t least, std::size_t most, std::string_view takes) {
    if (given.words.size() < least || given.words.size() > most) {
        return wrong(fmt::format("peers {} takes {}", given.words.front(), takes));
    }
    return success();
}

Result<Request> region_request(const Arguments& given) {
    const std::string what = given.words.size() > 1 ? given.words[1] : "";
    Request out;
    if (what == "status") {
        out.path = "/admin/region/status";
        out.of_this_member = true;
        return out;
    }
    out.method = "POST";
    if (what == "promote") {
        out.path = "/admin/region/promote";
        if (given.has("force")) {
            out.body["force"] = true;
        }
        return out;
    }
    if (what == "drop") {
        NORNIC_TRY(expect_words(given, 3, 3, "drop NAME --confirm NAME"));
        out.path = "/admin/region/drop";
        out.body["region"] = given.words[2];
        if (given.has("confirm")) {
            out.body["confirm"] = given.get("confirm");
        }
        return out;
    }
    return wrong("peers region takes status, promote or drop NAME");
}

Result<Request> request_of(const Arguments& given) {
    if (given.words.empty()) {
        return wrong("peers takes a command");
    }
    const std::string& what = given.words.front();
    Request out;
    if (what == "list") {
        NORNIC_TRY(expect_words(given, 1, 1, "no argument"));
        out.path = "/admin/cluster/status";
        out.of_this_member = true;
        return out;
    }
    if (what == "history") {
        NORNIC_TRY(expect_words(given, 1, 1, "no argument"));
        out.path = "/admin/cluster/history";
        out.of_this_member = true;
        return out;
    }
    if (what == "region") {
        return region_request(given);
    }
    out.method = "POST";
    if (what == "add") {
        NORNIC_TRY(expect_words(given, 3, 3, "ID HOST:PORT"));
        out.path = "/admin/cluster/add";
        out.body = {{"node_id", given.words[1]}, {"address", given.words[2]}};
        if (given.has("role")) {
            out.body["role"] = given.get("role");
        }
        if (given.has("priority")) {
            const std::string text = given.get("priority");
            std::int64_t number = 0;
            const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
            if (error != std::errc{} || end != text.data() + text.size()) {
                return wrong(fmt::format("--priority '{}': it takes a number, 0 to 1000", text));
            }
            out.body["priority"] = number;
        }
    } else if (what == "remove") {
        NORNIC_TRY(expect_words(given, 2, 2, "ID"));
        out.path = "/admin/cluster/remove";
        out.body = {{"node_id", given.words[1]}};
    } else if (what == "transfer") {
        NORNIC_TRY(expect_words(given, 1, 2, "an ID or nothing"));
        out.path = "/admin/cluster/transfer-leadership";
        if (given.words.size() == 2) {
            out.body = {{"target", given.words[1]}};
        }
    } else if (what == "promote") {
        NORNIC_TRY(expect_words(given, 1, 1, "no argument: the member of --address is promoted"));
        out.path = "/admin/promote";
        out.of_this_member = true;
        if (given.has("force")) {
            out.body["force"] = true;
        }
    } else if (what == "step-down") {
        NORNIC_TRY(expect_words(given, 1, 1, "no argument"));
        out.path = "/admin/raft/step-down";
    } else if (what == "snapshot") {
        NORNIC_TRY(expect_words(given, 1, 1, "no argument"));
        out.path = "/admin/raft/snapshot";
        out.of_this_member = true;
    } else {
        return wrong(fmt::format("there is no command 'peers {}'", what));
    }
    return out;
}

struct Outcome {
    int status = 0;
    json::object body;
    std::string text;  // as it came
};

std::string text_of(const json::object& from, std::string_view name) {
    const json::value* v = from.if_contains(name);
    if (v == nullptr || v->is_null()) {
        return "-";
    }
    return v->is_string() ? std::string{v->get_string()} : json::serialize(*v);
}

/// The first of the sites that answers; where only the leader can do it and is named, the leader.
Result<Outcome> send(std::vector<http::Site> sites, const Request& request) {
    std::string errors;
    std::optional<Outcome> refused;  // by one that is not the leader
    std::set<std::string> asked;
    for (int i = 0; i < kAskedMax && !sites.empty(); ++i) {
        const http::Site site = sites.front();
        sites.erase(sites.begin());
        if (!asked.insert(site.url()).second) {
            continue;
        }
        const auto answer = http::fetch(
            site, request.method, request.path, request.method == "POST" ? json::serialize(request.body) : std::string{});
        if (!answer) {
            errors += (errors.empty() ? "" : "; ") + answer.error().message();
            if (answer.error().code() == ErrorCode::kUnknownCommit && request.method == "POST") {
                // It may still come: nobody else is asked for the same.
                return Error{ErrorCode::kIo, errors + "; it may still be carried out, look at nornicdb status"};
            }
            continue;
        }
        Outcome out;
        out.status = answer.value().status;
        out.text = answer.value().body;
        boost::system::error_code error;
        if (json::value parsed = json::parse(out.text, error); !error && parsed.is_object()) {
            out.body = std::move(parsed).as_object();
        }
        const json::value* leader = out.body.if_contains("leader_http_address");
        if (out.status == 409 && !request.of_this_member && leader != nullptr && leader->is_string()) {
            const std::vector<http::Site> doors = doors_of(site, text_of(out.body, "leader_http_address"), text_of(out.body, "leader_address"));
            sites.insert(sites.begin(), doors.begin(), doors.end());
            refused = std::move(out);
            continue;
        }
        return out;
    }
    if (refused) {
        return std::move(*refused);
    }
    return Error{ErrorCode::kIo, errors};
}

void print_rows(const json::object& body, std::string_view list, const std::vector<std::pair<const char*, const char*>>& columns) {
    std::vector<std::vector<std::string>> rows(1);
    for (const auto& [title, name] : columns) {
        rows.front().emplace_back(title);
    }
    if (const json::value* items = body.if_contains(list); items != nullptr && items->is_array()) {
        for (const json::value& item : items->get_array()) {
            if (item.is_object()) {
                rows.emplace_back();
                for (const auto& [title, name] : columns) {
                    rows.back().push_back(text_of(item.get_object(), name));
                }
            }
        }
    }
    for (const auto& row : rows) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) {
            std::size_t width = 0;
            for (const auto& other : rows) {
                width = std::max(width, other[i].size());
            }
            line += i + 1 == row.size() ? row[i] : fmt::format("{:<{}}  ", row[i], width);
        }
        std::puts(line.c_str());
    }
}

void print_done(const Request& request, const json::object& body) {
    if (request.path == "/admin/cluster/status") {
        print_rows(body, "members",
                   {{"ID", "id"}, {"ADDRESS", "address"}, {"ROLE", "state"}, {"HEALTHY", "healthy"}, {"BOLT", "bolt_address"}, {"HTTP", "http_address"}});
    } else if (request.path == "/admin/cluster/history") {
        std::puts(fmt::format("As '{}' saw it, which was started {}.", text_of(body, "node_id"), text_of(body, "started")).c_str());
        print_rows(body, "changes", {{"AT", "at"}, {"TERM", "term"}, {"FROM", "from"}, {"TO", "to"}, {"WHY", "reason"}});
    } else if (request.path == "/admin/region/status") {
        print_rows(body, "regions",
                   {{"REGION", "name"}, {"NUMBER", "number"}, {"PRIMARY", "primary"}, {"STATE", "state"}, {"LAG", "lag_entries"}, {"LEADER", "leader"}});
    } else {
        const std::string message = text_of(body, "message");
        std::puts(message == "-" || message.empty() ? "Done." : message.c_str());
    }
}

/// The server's words on why not.
std::string refusal(const Outcome& outcome) {
    if (const json::value* errors = outcome.body.if_contains("errors"); errors != nullptr && errors->is_array() && !errors->get_array().empty()) {
        const json::value& first = errors->get_array().front();
        if (first.is_object()) {
            return text_of(first.get_object(), "message");
        }
    }
    std::string out = outcome.body.contains("reason") ? text_of(outcome.body, "reason") : fmt::format("status {}: {}", outcome.status, outcome.text);
    for (const char* more : {"how_to_force", "how_to"}) {
        if (outcome.body.contains(more)) {
            out += std::string{more} == "how_to_force" ? " (--force accepts that)" : " (" + text_of(outcome.body, more) + ")";
            break;
        }
    }
    return out;
}

}  // namespace

int peers(const std::vector<std::string>& arguments) {
    const auto say = [](const std::string& text) { std::fprintf(stderr, "nornicdb peers: %s\n", text.c_str()); };
    const auto given = parse_arguments(*find_command("peers"), arguments);
    if (!given) {
        say(given.error().message());
        return kUnreachable;
    }
    const auto request = request_of(given.value());
    if (!request) {
        say(request.error().message());
        return kUnreachable;
    }
    auto sites = sites_of(given.value(), env::process_environment());
    if (!sites) {
        say(sites.error().message());
        return kUnreachable;
    }
    if (!given.value().has("timeout")) {
        // The server itself waits for 10 s for what it was asked to come true.
        for (http::Site& site : sites.value()) {
            site.timeout = std::chrono::seconds{15};
        }
    }
    const auto outcome = send(std::move(sites).value(), request.value());
    if (!outcome) {
        say(outcome.error().message());
        return kUnreachable;
    }
    const bool done = outcome.value().status == 200;
    if (given.value().has("json")) {
        std::puts(outcome.value().text.c_str());
    } else if (done) {
        print_done(request.value(), outcome.value().body);
    } else {
        say(refusal(outcome.value()));
    }
    return done ? kDone : kRefused;
}

}  // namespace nornic::cli
