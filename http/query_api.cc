#include "http/query_api.h"

#include "http/json_values.h"
#include "http/openapi_json.h"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utf8proc.h>
#include <vector>

namespace nornic::http {
namespace {

namespace json = boost::json;

constexpr std::string_view kTypedJson = "application/vnd.neo4j.query";
constexpr int kAccepted = 202;
constexpr std::size_t kAdminBodyBytesMax = 64 * 1024;

/// JSON holds nothing else, and paths come back in messages.
bool is_utf8(std::string_view text) {
    const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
    const auto size = static_cast<utf8proc_ssize_t>(text.size());
    utf8proc_int32_t code_point = 0;
    for (utf8proc_ssize_t at = 0; at < size;) {
        const utf8proc_ssize_t length = utf8proc_iterate(bytes + at, size - at, &code_point);
        if (length <= 0) {
            return false;
        }
        at += length;
    }
    return true;
}

ApiResponse not_found(std::string_view path) {
    json::object body{
        {"errors",
         json::array{json::object{{"code", "Neo.ClientError.Request.Invalid"},
                                  {"message", fmt::format("There is nothing at '{}'.", path)}}}}};
    return {404, "application/json", json::serialize(body), {}, false};
}

ApiResponse wrong_method(std::string allow) {
    json::object body{{"errors",
                       json::array{json::object{{"code", "Neo.ClientError.Request.Invalid"},
                                                {"message", "This path takes " + allow + "."}}}}};
    return {405, "application/json", json::serialize(body), std::move(allow), false};
}

struct Parsed {
    QueryRequest request;
    JsonStyle reply = JsonStyle::kPlain;
};

Error bad(std::string text) {
    return Error{ErrorCode::kInvalidRequest, std::move(text)};
}

Result<std::string> text_of(const json::value& v, std::string_view name) {
    if (!v.is_string()) {
        return bad(fmt::format("Illegal value for field \"{}\": it takes text.", name));
    }
    return std::string{v.get_string()};
}

Result<Parsed> parse_body(Backend& backend,
                          const ApiRequest& http,
                          const std::string& database,
                          bool statement_required) {
    Parsed out;
    out.request.database = database;
    out.request.parameters = Value{Map{}};
    const JsonStyle style =
        http.content_type.starts_with(kTypedJson) ? JsonStyle::kTyped : JsonStyle::kPlain;
    out.reply =
        http.accept.find(kTypedJson) != std::string::npos ? JsonStyle::kTyped : JsonStyle::kPlain;
    if (http.body.empty()) {
        if (statement_required) {
            return bad("The request has no body; it takes {\"statement\": …}.");
        }
        return out;
    }
    boost::system::error_code error;
    json::parse_options options;
    options.max_depth = 64;
    const json::value body = json::parse(http.body, error, {}, options);
    if (error || !body.is_object()) {
        return bad("The request's body is not a JSON object: " +
                   (error ? error.message() : std::string{"another kind of value"}));
    }
    for (const auto& [key, value] : body.get_object()) {
        if (value.is_null()) {
            continue;
        }
        if (key == "statement") {
            NORNIC_TRY(out.request.statement, text_of(value, key));
        } else if (key == "parameters") {
            if (!value.is_object()) {
                return bad("Illegal value for field \"parameters\": it takes an object.");
            }
            Map parameters;
            for (const auto& [name, item] : value.get_object()) {
                NORNIC_TRY(
                    Value v,
                    from_json(item, style, [&](std::string_view type, std::string_view text) {
                        return backend.parse_temporal(type, text);
                    }));
                parameters.set(name, std::move(v));
            }
            out.request.parameters = Value{std::move(parameters)};
        } else if (key == "includeCounters") {
            if (!value.is_bool()) {
                return bad("Illegal value for field \"includeCounters\": it takes true or false.");
            }
            out.request.include_counters = value.get_bool();
        } else if (key == "accessMode") {
            NORNIC_TRY(const std::string mode, text_of(value, key));
            if (mode != "READ" && mode != "WRITE" && mode != "Read" && mode != "Write") {
                return bad(fmt::format(
                    "Illegal value for field \"accessMode\": '{}' is not READ or WRITE.", mode));
            }
            out.request.mode = mode.starts_with('R') ? AccessMode::kRead : AccessMode::kWrite;
        } else if (key == "bookmarks") {
            if (!value.is_array()) {
                return bad("Illegal value for field \"bookmarks\": it takes a list.");
            }
            for (const json::value& item : value.get_array()) {
                NORNIC_TRY(std::string bookmark, text_of(item, key));
                out.request.bookmarks.push_back(std::move(bookmark));
            }
        } else if (key == "impersonatedUser") {
            NORNIC_TRY(out.request.impersonated_user, text_of(value, key));
        } else if (key == "consistency") {
            NORNIC_TRY(out.request.consistency, text_of(value, key));
        } else if (key == "dataVersion") {
            const std::int64_t* const version = value.if_int64();
            if (version == nullptr || *version < 0) {
                return bad("Illegal value for field \"dataVersion\": it takes a number, as an earlier answer had it.");
            }
            out.request.data_version = *version;
        }
    }
    if (statement_required && out.request.statement.empty()) {
        return bad("Illegal value for field \"statement\": Expected value to be non-null");
    }
    return out;
}

json::object counters_json(const UpdateCounters& c) {
    return {{"containsUpdates", c.contains_updates()},
            {"nodesCreated", c.nodes_created},
            {"nodesDeleted", c.nodes_deleted},
            {"propertiesSet", c.properties_set},
            {"relationshipsCreated", c.relationships_created},
            {"relationshipsDeleted", c.relationships_deleted},
            {"labelsAdded", c.labels_added},
            {"labelsRemoved", c.labels_removed},
            {"indexesAdded", c.indexes_added},
            {"indexesRemoved", c.indexes_removed},
            {"constraintsAdded", c.constraints_added},
            {"constraintsRemoved", c.constraints_removed},
            {"containsSystemUpdates", c.system_updates > 0},
            {"systemUpdates", c.system_updates}};
}

json::object answer_json(const QueryAnswer& answer, const Parsed& asked) {
    json::array fields;
    for (const std::string& name : answer.fields) {
        fields.emplace_back(name);
    }
    json::array values;
    values.reserve(answer.rows.size());
    for (const auto& row : answer.rows) {
        json::array cells;
        cells.reserve(row.size());
        for (const Value& v : row) {
            cells.push_back(to_json(v, asked.reply));
        }
        values.push_back(std::move(cells));
    }
    json::object out{
        {"data", json::object{{"fields", std::move(fields)}, {"values", std::move(values)}}}};
    if (asked.request.include_counters) {
        out["counters"] = counters_json(answer.summary.counters);
    }
    if (!answer.summary.notifications.empty()) {
        json::array notifications;
        for (const Notification& n : answer.summary.notifications) {
            json::object item{{"code", n.code},
                              {"title", n.title},
                              {"description", n.description},
                              {"severity", n.severity},
                              {"category", n.category}};
            if (n.position) {
                item["position"] = json::object{{"offset", n.position->offset},
                                                {"line", n.position->line},
                                                {"column", n.position->column}};
            }
            notifications.push_back(std::move(item));
        }
        out["notifications"] = std::move(notifications);
    }
    if (!answer.summary.plan.is_null()) {
        out["queryPlan"] = to_json(answer.summary.plan, JsonStyle::kPlain);
    }
    if (!answer.summary.profile.is_null()) {
        out["profiledQueryPlan"] = to_json(answer.summary.profile, JsonStyle::kPlain);
    }
    if (!answer.bookmarks.empty()) {
        json::array bookmarks;
        for (const std::string& bookmark : answer.bookmarks) {
            bookmarks.emplace_back(bookmark);
        }
        out["bookmarks"] = std::move(bookmarks);
        if (answer.data_version > 0) {
            out["dataVersion"] = answer.data_version;
        }
    }
    return out;
}

ApiResponse accepted(json::object body, JsonStyle style) {
    return {kAccepted,
            std::string{style == JsonStyle::kTyped ? kTypedJson : "application/json"},
            json::serialize(body),
            {},
            false};
}

std::vector<std::string> split(std::string_view path) {
    std::vector<std::string> out;
    while (!path.empty()) {
        const std::size_t slash = path.find('/');
        const std::string_view part = path.substr(0, slash);
        if (!part.empty()) {
            out.emplace_back(part);
        }
        path = slash == std::string_view::npos ? std::string_view{} : path.substr(slash + 1);
    }
    return out;
}

/// /db/{name}/query/v2[/tx[/{id}[/commit]]], credentials already checked.
void handle_query(Backend& backend,
                  const std::string& user,
                  const ApiRequest& request,
                  const std::vector<std::string>& path,
                  Respond respond) {
    const bool in_transactions = path.size() >= 5;
    const bool has_id = path.size() >= 6;
    const bool is_commit = path.size() == 7;
    if (has_id && !is_commit && request.method == "DELETE") {
        backend.rollback(user, path[5], [respond](Result<> done) {
            respond(done ? ApiResponse{200, "application/json", "{}", {}, false}
                         : error_response(done.error()));
        });
        return;
    }
    if (request.method != "POST") {
        respond(wrong_method(has_id && !is_commit ? "POST, DELETE" : "POST"));
        return;
    }
    auto parsed = parse_body(backend, request, path[1], !in_transactions);
    if (!parsed) {
        respond(error_response(parsed.error()));
        return;
    }
    auto asked = std::make_shared<Parsed>(std::move(parsed).value());
    asked->request.trace_parent = request.trace_parent;
    asked->request.credentials = request.credentials;
    const auto answer = [asked, respond](Result<QueryAnswer> result) {
        if (!result) {
            respond(error_response(result.error()));
            return;
        }
        respond(accepted(answer_json(result.value(), *asked), asked->reply));
    };
    const auto answer_open = [asked,
                              respond](Result<std::pair<OpenTransaction, QueryAnswer>> result) {
        if (!result) {
            respond(error_response(result.error()));
            return;
        }
        json::object body = answer_json(result.value().second, *asked);
        body["transaction"] = json::object{{"id", result.value().first.id},
                                           {"expires", result.value().first.expires}};
        respond(accepted(std::move(body), asked->reply));
    };
    if (!in_transactions) {
        backend.query(user, asked->request, answer);
    } else if (!has_id) {
        backend.begin(user, asked->request, answer_open);
    } else if (is_commit) {
        backend.commit(user, path[5], asked->request, answer);
    } else if (asked->request.statement.empty()) {
        respond(error_response(
            bad("Illegal value for field \"statement\": Expected value to be non-null")));
    } else {
        backend.query_in(user, path[5], asked->request, answer_open);
    }
}

bool is_query_path(const std::vector<std::string>& path) {
    if (path.size() < 4 || path[0] != "db" || path[2] != "query" || path[3] != "v2") {
        return false;
    }
    return path.size() == 4 ||
           (path[4] == "tx" && (path.size() <= 6 || (path.size() == 7 && path[6] == "commit")));
}

/// What an operator asks for, and Neo4j's endpoints that load balancers look at.
bool is_admin_path(const std::vector<std::string>& path) {
    return (path.size() >= 2 && path[0] == "admin") ||
           (path.size() == 4 && path[0] == "db" && path[2] == "cluster") ||
           (path.size() == 5 && path[0] == "db" && path[1] == "manage" && path[2] == "server") ||
           (path.size() == 3 && path[0] == "dbms" && path[1] == "cluster") || (path.size() == 2 && path[0] == "info");
}

}  // namespace

ApiResponse error_response(const Error& error) {
    const Failure failure = to_failure(error);
    int status = failure.code.starts_with("Neo.ClientError.") ? 400 : 500;
    bool ask = false;
    switch (error.code()) {
        case ErrorCode::kUnauthorized:
            status = 401;
            ask = true;
            break;
        case ErrorCode::kAuthRateLimit:
            status = 429;
            break;
        case ErrorCode::kForbidden:
        case ErrorCode::kCredentialsExpired:
            status = 403;
            break;
        case ErrorCode::kTransactionNotFound:
        case ErrorCode::kDatabaseNotFound:
            status = 404;
            break;
        case ErrorCode::kDatabaseUnavailable:
        case ErrorCode::kStopping:
        case ErrorCode::kBusy:
            status = 503;
            break;
        default:
            break;
    }
    json::object body{
        {"errors",
         json::array{json::object{{"code", failure.code}, {"message", failure.message}}}}};
    return {status, "application/json", json::serialize(body), {}, ask};
}

bool may_block(const ApiRequest& request) {
    return request.path.starts_with("/db/") || request.path.starts_with("/admin/") ||
           request.path.starts_with("/dbms/") || request.path.starts_with("/info/");
}

void handle(Backend& backend, ApiRequest request, Respond respond) {
    const auto document = [&](Document d) {
        respond({d.status, std::move(d.content_type), std::move(d.json), std::move(d.allow), false});
    };
    const bool reads = request.method == "GET" || request.method == "HEAD";
    // What load balancers and orchestrators ask, by the names that they know; nobody needs a password for it.
    struct Probe {
        std::string_view path;
        Document (Backend::*answer)();
    };
    constexpr Probe kProbes[] = {{"/health", &Backend::health},
                                 {"/live", &Backend::health},
                                 {"/ready", &Backend::ready},
                                 {"/leader", &Backend::leader_probe},
                                 {"/primary", &Backend::leader_probe},
                                 {"/replica", &Backend::replica_probe}};
    const auto probe = std::find_if(std::begin(kProbes), std::end(kProbes), [&](const Probe& p) { return p.path == request.path; });
    const bool is_probe = probe != std::end(kProbes);
    if ((is_probe || request.path == "/" || request.path == "/metrics" || request.path == "/openapi.json") && !reads) {
        respond(wrong_method("GET, HEAD"));
        return;
    }
    if (request.path == "/") {
        document(backend.discovery(request.host));
        return;
    }
    if (is_probe) {
        document((backend.*probe->answer)());
        return;
    }
    if (request.path == "/metrics") {
        respond({200, "text/plain; version=0.0.4; charset=utf-8", backend.metrics(), {}, false});
        return;
    }
    if (request.path == "/openapi.json") {
        respond({200, "application/json", std::string{kOpenApi}, {}, false});
        return;
    }
    if (!is_utf8(request.path)) {
        respond(
            error_response(Error{ErrorCode::kInvalidRequest, "The request's path is not UTF-8."}));
        return;
    }
    const std::vector<std::string> path = split(request.path);
    const bool is_admin = is_admin_path(path);
    if (!is_admin && !is_query_path(path)) {
        respond(not_found(request.path));
        return;
    }
    if (backend.authentication_enabled() && !request.credentials.present) {
        respond(
            error_response(Error{ErrorCode::kUnauthorized, "No authentication header supplied."}));
        return;
    }
    auto user = backend.authenticate(request.credentials);
    if (!user) {
        respond(error_response(user.error()));
        return;
    }
    if (!is_admin) {
        handle_query(backend, user.value(), request, path, std::move(respond));
        return;
    }
    if (request.body.size() > kAdminBodyBytesMax) {
        respond(error_response(bad(fmt::format(
            "The request's body has {} bytes; this path takes at most {}.", request.body.size(), kAdminBodyBytesMax))));
        return;
    }
    backend.admin({request.method, request.path, std::move(request.body), std::move(user).value(), std::move(request.client_address)},
                  [respond = std::move(respond)](Result<Document> answer) {
                      if (!answer) {
                          respond(error_response(answer.error()));
                          return;
                      }
                      Document d = std::move(answer).value();
                      respond({d.status, std::move(d.content_type), std::move(d.json), std::move(d.allow), false});
                  });
}

}  // namespace nornic::http
