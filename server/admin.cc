#include "server/admin.h"

#include "observability/log.h"
#include "server/status.h"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <chrono>
#include <optional>
#include <string_view>

namespace nornic::server {
namespace {

namespace json = boost::json;
using Done = http::Completion<http::Document>;

constexpr std::chrono::seconds kCommandPatience{10};

http::Document document(int status, const json::object& body) {
    return {status, json::serialize(body)};
}

http::Document error_document(int status, std::string_view code, std::string_view message) {
    return document(status, {{"errors", json::array{json::object{{"code", code}, {"message", message}}}}});
}

http::Document bad_request(std::string_view message) {
    return error_document(400, "Neo.ClientError.Request.Invalid", message);
}

/// The body's object; an empty body is an empty one.
Result<json::object> body_of(const http::AdminRequest& request) {
    if (request.body.find_first_not_of(" \t\r\n") == std::string::npos) {
        return json::object{};
    }
    boost::system::error_code error;
    json::parse_options options;
    options.max_depth = 16;
    json::value body = json::parse(request.body, error, {}, options);
    if (error || !body.is_object()) {
        return fail(ErrorCode::kInvalidRequest, "The request's body is not a JSON object.");
    }
    return std::move(body).as_object();
}

/// What the mode answered a command: done, refused with a reason, or not to be had now.
http::Document outcome_document(const Member& member,
                                std::string_view flag,
                                const Result<std::string>& outcome,
                                std::string_view how_to_force) {
    const modes::ClusterView view = member.replica.view();
    json::object out{{std::string{flag}, outcome.has_value()},
                     {"node_id", view.self},
                     {"role", modes::to_string(view.role)},
                     {"leader", view.leader.empty() ? json::value(nullptr) : json::value(view.leader)},
                     {"term", view.term.value}};
    if (outcome) {
        out["message"] = outcome.value();
        return document(200, out);
    }
    out["reason"] = outcome.error().message();
    switch (outcome.error().code()) {
        case ErrorCode::kTimedOut:
        case ErrorCode::kStopping:
        case ErrorCode::kBusy:
            return document(503, out);
        case ErrorCode::kInvalidArgument:
        case ErrorCode::kNotFound:
            return document(400, out);
        default:
            break;
    }
    if (!how_to_force.empty() && outcome.error().code() != ErrorCode::kUnsupported) {
        out["how_to_force"] = how_to_force;
    }
    return document(409, out);
}

void promote(const Member& member, const http::AdminRequest& request, Done done) {
    const auto body = body_of(request);
    if (!body) {
        done(bad_request(body.error().message()));
        return;
    }
    modes::Command command;
    command.kind = modes::Command::Kind::kPromote;
    if (const json::value* force = body.value().if_contains("force")) {
        if (!force->is_bool()) {
            done(bad_request("Illegal value for field \"force\": it takes true or false."));
            return;
        }
        command.force = force->get_bool();
    }
    log::info("User '{}' asks this member to become the primary{}.",
              request.user,
              command.force ? ", whatever may be lost" : "");
    member.replica.command(command,
                           member.clock.now() + kCommandPatience,
                           [member, forced = command.force, done = std::move(done)](Result<std::string> outcome) {
                               if (!outcome) {
                                   log::warn("It was not promoted: {}", outcome.error().message());
                               }
                               done(outcome_document(member,
                                                     "promoted",
                                                     outcome,
                                                     forced ? "" : R"(POST {"force": true} to accept that)"));
                           });
}

void transfer(const Member& member, const http::AdminRequest& request, Done done) {
    const auto body = body_of(request);
    if (!body) {
        done(bad_request(body.error().message()));
        return;
    }
    modes::Command command;
    command.kind = modes::Command::Kind::kTransfer;
    if (const json::value* target = body.value().if_contains("target")) {
        if (!target->is_string()) {
            done(bad_request("Illegal value for field \"target\": it takes a node id."));
            return;
        }
        command.target = std::string{target->get_string()};
    }
    log::info("User '{}' asks this member to hand leadership over.", request.user);
    member.replica.command(command,
                           member.clock.now() + kCommandPatience,
                           [member, done = std::move(done)](Result<std::string> outcome) {
                               done(outcome_document(member, "transferred", outcome, ""));
                           });
}

/// Neo4j's endpoints for load balancers: the status and a word.
std::optional<http::Document> neo4j_status(const Member& member, std::string_view path) {
    const std::size_t at = path.find("/cluster/");
    if (!path.starts_with("/db/") || at == std::string_view::npos) {
        return std::nullopt;
    }
    const std::string_view what = path.substr(at + std::string_view{"/cluster/"}.size());
    const modes::ClusterView view = member.replica.view();
    const bool data = !member.history.empty();
    const bool writes = view.is_leader() && view.accepts_writes && !member.replica.failure();
    const auto word = [](bool yes) {
        return http::Document{yes ? 200 : 404, yes ? "true" : "false", "text/plain"};
    };
    if (what == "writable") {
        return word(writes);
    }
    if (what == "read-only") {
        return word(data && !writes);
    }
    if (what == "available") {
        return word(data && !member.replica.failure());
    }
    if (what == "status") {
        json::array voters;
        for (const modes::MemberView& m : view.members) {
            voters.emplace_back(m.id);
        }
        const bool healthy = !member.replica.failure();
        json::object out{{"lastAppliedRaftIndex", member.replica.stats().applied_index.value},
                         {"votingMembers", std::move(voters)},
                         {"memberId", view.self},
                         {"participatingInRaftGroup", !view.leader.empty()},
                         {"core", true},
                         {"isHealthy", healthy},
                         {"healthy", healthy}};
        if (!view.leader.empty()) {
            out["leader"] = view.leader;
        }
        return document(200, out);
    }
    return std::nullopt;
}

}  // namespace

void handle_admin(const Member& member, const http::AdminRequest& request, Done done) {
    const bool reads = request.method == "GET" || request.method == "HEAD";
    const auto wrong_method = [&](const std::string& takes) {
        http::Document out =
            error_document(405, "Neo.ClientError.Request.Invalid", "This path takes " + takes + ".");
        out.allow = takes;
        done(std::move(out));
    };
    using Shows = json::object (*)(const Member&);
    struct Shown {
        std::string_view path;
        Shows show;
    };
    constexpr Shown kShown[] = {{"/admin/cluster/status", cluster_status},
                                {"/admin/replication/lag", replication_lag},
                                {"/admin/wal/position", wal_position}};
    for (const Shown& shown : kShown) {
        if (request.path == shown.path) {
            return reads ? done(document(200, shown.show(member))) : wrong_method("GET, HEAD");
        }
    }
    using Does = void (*)(const Member&, const http::AdminRequest&, Done);
    struct Command {
        std::string_view path;
        Does run;
    };
    constexpr Command kCommands[] = {{"/admin/promote", promote},
                                     {"/admin/cluster/transfer-leadership", transfer}};
    for (const Command& command : kCommands) {
        if (request.path == command.path) {
            return request.method == "POST" ? command.run(member, request, std::move(done)) : wrong_method("POST");
        }
    }
    if (auto answer = neo4j_status(member, request.path)) {
        return reads ? done(std::move(*answer)) : wrong_method("GET, HEAD");
    }
    done(error_document(
        404, "Neo.ClientError.Request.Invalid", fmt::format("There is nothing at '{}'.", request.path)));
}

}  // namespace nornic::server
