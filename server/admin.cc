#include "server/admin.h"

#include "observability/log.h"
#include "server/membership.h"
#include "server/modes_table.h"
#include "server/status.h"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <cstdlib>
#include <optional>
#include <string_view>

namespace nornic::server {
namespace {

namespace json = boost::json;
using Done = http::Completion<http::Document>;

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

/// Where to ask instead, where only the leader can do it.
void add_leader_address(json::object& out, const modes::ClusterView& view, std::string_view path) {
    for (const modes::MemberView& m : view.members) {
        if (m.id == view.leader && m.id != view.self) {
            out["leader_address"] = m.cluster_address;
            if (!m.http_address.empty()) {
                out["leader_http_address"] = m.http_address;
                out["how_to"] = fmt::format("POST it to {}{}", m.http_address, path);
            }
        }
    }
}

/// What the mode answered a command: done, refused with a reason, or not to be had now.
http::Document outcome_document(const Member& member,
                                std::string_view flag,
                                std::string_view path,
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
        case ErrorCode::kDatabaseUnavailable:
            return document(503, out);
        case ErrorCode::kInvalidArgument:
        case ErrorCode::kNotFound:
            return document(400, out);
        case ErrorCode::kNotLeader:
            add_leader_address(out, view, path);
            return document(view.leader.empty() ? 503 : 409, out);
        default:
            break;
    }
    if (!how_to_force.empty() && outcome.error().code() != ErrorCode::kUnsupported) {
        out["how_to_force"] = how_to_force;
    }
    return document(409, out);
}

// Each takes what it knows out of the body; the error's text is for the client.

Result<> take_text(const json::object& body, std::string_view name, std::string_view takes, std::string& out) {
    const json::value* value = body.if_contains(name);
    if (value == nullptr) {
        return success();
    }
    // The clustering guide writes names as text; TuGraph's are numbers.
    if (value->is_int64() && value->get_int64() >= 0) {
        out = std::to_string(value->get_int64());
        return success();
    }
    if (!value->is_string()) {
        return fail(ErrorCode::kInvalidRequest, fmt::format("Illegal value for field \"{}\": it takes {}.", name, takes));
    }
    out = std::string{value->get_string()};
    return success();
}

Result<> take_nothing(const json::object&, modes::Command&) {
    return success();
}

Result<> take_force(const json::object& body, modes::Command& command) {
    if (const json::value* force = body.if_contains("force")) {
        if (!force->is_bool()) {
            return fail(ErrorCode::kInvalidRequest, R"(Illegal value for field "force": it takes true or false.)");
        }
        command.force = force->get_bool();
    }
    return success();
}

Result<> take_target(const json::object& body, modes::Command& command) {
    return take_text(body, "target", "a node id", command.target);
}

Result<> take_node_id(const json::object& body, modes::Command& command) {
    NORNIC_TRY(take_text(body, "node_id", "a node id", command.target));
    if (command.target.empty()) {
        return fail(ErrorCode::kInvalidRequest, R"(The field "node_id" is missing: it takes a node id.)");
    }
    return success();
}

/// What is given up has to be named twice: all that only that region had is lost.
Result<> take_region(const json::object& body, modes::Command& command) {
    std::string confirmed;
    NORNIC_TRY(take_text(body, "region", "a region's name", command.target));
    NORNIC_TRY(take_text(body, "confirm", "the region's name", confirmed));
    if (command.target.empty()) {
        return fail(ErrorCode::kInvalidRequest, R"(The field "region" is missing: it takes a region's name.)");
    }
    if (confirmed != command.target) {
        return fail(ErrorCode::kInvalidRequest,
                    fmt::format("Dropping region '{0}' is for good: what it wrote and did not ship is lost to the others, and it comes "
                                "back only as a new one without data. If that is meant, add \"confirm\": \"{0}\".",
                                command.target));
    }
    return success();
}

Result<> take_member(const json::object& body, modes::Command& command) {
    NORNIC_TRY(take_node_id(body, command));
    NORNIC_TRY(take_text(body, "address", "host:port of the cluster port", command.address));
    std::string role = "voter";
    NORNIC_TRY(take_text(body, "role", "voter, learner or witness", role));
    NORNIC_TRY(command.member_role, member_role(role));
    if (const json::value* priority = body.if_contains("priority")) {
        constexpr std::int64_t kPriorityMax = 1000;
        if (!priority->is_int64() || priority->get_int64() < 0 || priority->get_int64() > kPriorityMax) {
            return fail(ErrorCode::kInvalidRequest, R"(Illegal value for field "priority": it takes a number, 0 to 1000.)");
        }
        command.priority = static_cast<std::uint32_t>(priority->get_int64());
    }
    return check_new_member(command);
}

struct CommandPath {
    std::string_view path;
    modes::Command::Kind kind;
    std::string_view flag;    // true in the answer if it worked
    std::string_view wish;    // for the log
    Result<> (*take)(const json::object& body, modes::Command& command);
};
using Kind = modes::Command::Kind;
constexpr CommandPath kCommands[] = {
    {"/admin/promote", Kind::kPromote, "promoted", "to take over", take_force},
    {"/admin/cluster/transfer-leadership", Kind::kTransfer, "transferred", "to hand leadership over", take_target},
    {"/admin/transfer-leadership", Kind::kTransfer, "transferred", "to hand leadership over", take_target},
    {"/admin/cluster/add", Kind::kAddMember, "added", "to take in a member", take_member},
    {"/admin/cluster/remove", Kind::kRemoveMember, "removed", "to take out a member", take_node_id},
    {"/admin/region/promote", Kind::kPromoteRegion, "promoted", "to make its region the primary one", take_force},
    {"/admin/region/drop", Kind::kDropRegion, "dropped", "to drop a region", take_region},
    {"/admin/raft/transfer-leadership", Kind::kTransfer, "transferred", "to hand leadership over", take_target},
    {"/admin/raft/step-down", Kind::kStepDown, "stepped_down", "to step down", take_nothing},
    {"/admin/raft/snapshot", Kind::kSnapshot, "snapshot", "for a snapshot", take_nothing},
};

void run_command(const Member& member, const CommandPath& path, const http::AdminRequest& request, Done done) {
    const auto body = body_of(request);
    if (!body) {
        done(bad_request(body.error().message()));
        return;
    }
    modes::Command command;
    command.kind = path.kind;
    if (auto taken = path.take(body.value(), command); !taken) {
        done(bad_request(taken.error().message()));
        return;
    }
    log::info("User '{}' asks this member {}{}{}.",
              request.user,
              path.wish,
              command.target.empty() ? "" : ": '" + command.target + "'",
              command.force ? ", whatever may be lost" : "");
    const bool may_force = path.kind == Kind::kPromote && !command.force && member.replica.view().mode == "ha_standby";
    member.replica.command(
        command,
        member.clock.now() + kCommandPatience,
        [member, &path, may_force, done = std::move(done)](Result<std::string> outcome) {
            if (!outcome) {
                log::warn("It was asked {} and did not: {}", path.wish, outcome.error().message());
            }
            done(outcome_document(
                member, path.flag, path.path, outcome, may_force ? R"(POST {"force": true} to accept that)" : ""));
        });
}

/// What Neo4j's members say of one database.
json::object neo4j_database_status(const Member& member, const modes::ClusterView& view) {
    json::array voters;
    for (const modes::MemberView& m : sorted_members(view)) {
        if (m.role != modes::Role::kLearner) {
            voters.emplace_back(m.id);
        }
    }
    const bool healthy = !member.replica.failure() && !member.replica.out_of_service();
    const bool core = view.role != modes::Role::kLearner;
    json::object out{{"lastAppliedRaftIndex", member.replica.stats().applied_index.value},
                     {"votingMembers", std::move(voters)},
                     {"memberId", view.self},
                     {"participatingInRaftGroup", core && !view.leader.empty()},
                     {"core", core},
                     {"isHealthy", healthy},
                     {"healthy", healthy}};
    if (!view.leader.empty()) {
        out["leader"] = view.leader;
    }
    if (core && view.is_leader()) {
        out["millisSinceLastLeaderMessage"] = 0;
    }
    for (const auto& [name, value] : view.details) {
        if (core && !view.is_leader() && name == "leader_silent_ms") {
            out["millisSinceLastLeaderMessage"] = std::atoll(value.c_str());
        }
    }
    return out;
}

/// The last word of Neo4j's endpoints for load balancers, as its versions spell them: /db/{name}/cluster/…, and
/// /db/manage/server/causalclustering/… (also core/…, read-replica/…).
std::optional<std::string_view> neo4j_endpoint(std::string_view path) {
    if (!path.starts_with("/db/")) {
        return std::nullopt;
    }
    for (const std::string_view place : {"/manage/server/causalclustering/", "/manage/server/core/",
                                         "/manage/server/read-replica/", "/cluster/"}) {
        if (const std::size_t at = path.find(place); at != std::string_view::npos) {
            return path.substr(at + place.size());
        }
    }
    return std::nullopt;
}

/// The status and a word, or JSON.
std::optional<http::Document> neo4j_status(const Member& member, std::string_view path) {
    const modes::ClusterView view = member.replica.view();
    if (path == "/dbms/cluster/status") {
        return http::Document{
            200,
            json::serialize(json::array{json::object{{"databaseName", member.settings.default_database},
                                                     {"databaseUuid", member.history},
                                                     {"databaseStatus", neo4j_database_status(member, view)}}})};
    }
    const auto what = neo4j_endpoint(path);
    if (!what) {
        return std::nullopt;
    }
    const bool data = !member.history.empty() && !member.replica.out_of_service();
    const bool writes = view.is_leader() && view.accepts_writes && !member.replica.failure();
    const auto word = [](bool yes) {
        return http::Document{yes ? 200 : 404, yes ? "true" : "false", "text/plain"};
    };
    if (*what == "writable") {
        return word(writes);
    }
    if (*what == "read-only") {
        return word(data && !writes);
    }
    if (*what == "available") {
        return word(data && !member.replica.failure());
    }
    if (*what == "status") {
        return document(200, neo4j_database_status(member, view));
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
                                {"/admin/cluster/history", leader_history},
                                {"/admin/replication/lag", replication_lag},
                                {"/admin/wal/position", wal_position}};
    for (const Shown& shown : kShown) {
        if (request.path == shown.path) {
            return reads ? done(document(200, shown.show(member))) : wrong_method("GET, HEAD");
        }
    }
    if (request.path == "/info/peers") {
        return reads ? done({200, json::serialize(info_peers(member))}) : wrong_method("GET, HEAD");
    }
    if (request.path.starts_with("/admin/region/") && member.settings.cluster.mode != "multi_region") {
        return done(bad_request(fmt::format("This member's mode is {}: it has no regions.", member.settings.cluster.mode)));
    }
    if (request.path == "/admin/region/status") {
        return reads ? done(document(200, region_status(member))) : wrong_method("GET, HEAD");
    }
    if (request.path == "/admin/raft/state") {
        if (!is_raft(member.settings.cluster.mode)) {
            return done(bad_request(fmt::format("This member's mode is {}: it has no Raft state.", member.settings.cluster.mode)));
        }
        return reads ? done(document(200, raft_state(member))) : wrong_method("GET, HEAD");
    }
    for (const CommandPath& command : kCommands) {
        if (request.path == command.path) {
            return request.method == "POST" ? run_command(member, command, request, std::move(done))
                                            : wrong_method("POST");
        }
    }
    if (auto answer = neo4j_status(member, request.path)) {
        return reads ? done(std::move(*answer)) : wrong_method("GET, HEAD");
    }
    done(error_document(
        404, "Neo.ClientError.Request.Invalid", fmt::format("There is nothing at '{}'.", request.path)));
}

}  // namespace nornic::server
