// Procedures about the members: Neo4j's dbms.cluster.*, SHOW SERVERS, dbms.listServers, and db.bolt.* by which a Raft group
// is shown and changed.
#include "server/instance.h"
#include "server/membership.h"
#include "server/procedures.h"
#include "server/status.h"
#include "server/version.h"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace nornic::server {
namespace {

using cypher::ProcedureCall;
using cypher::ProcedureRegistry;

/// In the words that Neo4j has for members of a cluster.
std::string_view neo4j_role(const modes::ClusterView& view, const modes::MemberView& member) {
    if (member.id == view.leader || member.role == modes::Role::kStandalone) {
        return "LEADER";
    }
    return member.role == modes::Role::kLearner ? "READ_REPLICA" : "FOLLOWER";
}

Value or_null(const std::string& text) {
    return text.empty() ? Value{} : Value{text};
}

/// A member with the addresses that clients are shown, also where it is this one.
struct Shown {
    const modes::MemberView& member;
    const std::string& bolt;
    const std::string& http;
    const std::vector<std::string>& tags;
    bool reachable;
};

/// `row` returns false once no more are wanted.
void each_member(Instance& instance,
                 const modes::ClusterView& view,
                 const std::function<bool(const Shown&)>& row) {
    for (const modes::MemberView& member : sorted_members(view)) {
        const bool self = member.id == view.self;
        if (!row({member,
                  self && member.serves_data ? instance.bolt_address() : member.bolt_address,
                  self ? instance.http_address() : member.http_address,
                  self ? instance.settings().cluster.server_tag_list : member.tags,
                  self || member.healthy})) {
            return;
        }
    }
}

void add_overview(ProcedureRegistry& registry, Instance& instance) {
    add(registry,
        "dbms.cluster.overview",
        "Overview of all members of this cluster, their addresses and roles.",
        {},
        {field("id", "STRING"),
         field("addresses", "LIST<STRING>"),
         field("role", "STRING"),
         field("groups", "LIST<STRING>"),
         field("database", "STRING")},
        [&instance](ProcedureCall& call) -> Result<> {
            const modes::ClusterView view = instance.replica().view();
            each_member(instance, view, [&](const Shown& m) {
                // One that cannot be reached is absent, as in Neo4j.
                if (!m.reachable || !m.member.serves_data) {
                    return true;
                }
                return call.emit({Value{m.member.id},
                                  strings({"bolt://" + m.bolt, "http://" + m.http}),
                                  Value{neo4j_role(view, m.member)},
                                  strings(m.tags),
                                  Value{instance.settings().default_database}});
            });
            return success();
        });
    add(registry,
        "dbms.cluster.role",
        "The role of this instance in the cluster.",
        {argument("databaseName", "STRING", Value{})},
        {field("role", "STRING")},
        [&instance](ProcedureCall& call) -> Result<> {
            const modes::ClusterView view = instance.replica().view();
            call.emit({Value{neo4j_role(view, view.members.front())}});
            return success();
        });
    add(registry,
        "dbms.listServers",
        "All members of this cluster as this one knows them.",
        {},
        {field("id", "STRING"),
         field("rpc_address", "STRING"),
         field("rest_address", "STRING"),
         field("bolt_address", "STRING"),
         field("state", "STRING"),
         field("healthy", "BOOLEAN")},
        [&instance](ProcedureCall& call) -> Result<> {
            const modes::ClusterView view = instance.replica().view();
            each_member(instance, view, [&](const Shown& m) {
                std::string state{m.member.id == view.leader ? "leader" : modes::to_string(m.member.role)};
                std::transform(state.begin(), state.end(), state.begin(), [](unsigned char c) {
                    return static_cast<char>(std::toupper(c));
                });
                return call.emit({Value{m.member.id},
                                  or_null(m.member.cluster_address),
                                  or_null(m.http),
                                  or_null(m.bolt),
                                  Value{state},
                                  Value{m.reachable}});
            });
            return success();
        });
}

void add_show_servers(ProcedureRegistry& registry, Instance& instance) {
    add(registry,
        "internal.show.servers",
        "",
        {argument("filter", "ANY", Value{}), argument("names", "ANY", Value{})},
        {field("name", "STRING"),
         field("address", "STRING"),
         field("state", "STRING"),
         field("health", "STRING"),
         field("hosting", "LIST<STRING>"),
         extra("serverId", "STRING"),
         extra("httpAddress", "STRING"),
         extra("httpsAddress", "STRING"),
         extra("requestedHosting", "LIST<STRING>"),
         extra("tags", "LIST<STRING>"),
         extra("allowedDatabases", "LIST<STRING>"),
         extra("deniedDatabases", "LIST<STRING>"),
         extra("modeConstraint", "STRING"),
         extra("version", "STRING")},
        [&instance](ProcedureCall& call) -> Result<> {
            const modes::ClusterView view = instance.replica().view();
            std::vector<std::string> databases;
            for (const Database& database : instance.databases()) {
                databases.push_back(database.name);
            }
            const bool tls = instance.settings().http_tls.enabled;
            each_member(instance, view, [&](const Shown& m) {
                const Value hosting = strings(m.member.serves_data ? databases : std::vector<std::string>{});
                const bool self = m.member.id == view.self;
                return call.emit({Value{m.member.id},
                                  or_null(m.bolt),
                                  Value{"Enabled"},
                                  Value{m.reachable ? "Available" : "Unavailable"},
                                  hosting,
                                  Value{m.member.id},
                                  tls ? Value{} : or_null(m.http),
                                  tls ? or_null(m.http) : Value{},
                                  hosting,
                                  strings(m.tags),
                                  strings({}),
                                  strings({}),
                                  Value{m.member.role == modes::Role::kLearner ? "SECONDARY" : "NONE"},
                                  self ? Value{std::string{kCompatibleVersion}} : Value{}});
            });
            return success();
        });
}

/// Ids are numbers with those who name their members so, names with others.
Value node_id_value(const std::string& id) {
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), number);
    const bool is_number = error == std::errc{} && end == id.data() + id.size() && std::to_string(number) == id;
    return is_number ? Value{number} : Value{id};
}

Value port_of(const std::string& address) {
    const auto parsed = env::parse_host_port(address);
    return parsed ? Value{std::int64_t{parsed->second}} : Value{};
}

Result<std::string> node_id_argument(const Value& value) {
    if (value.type() == ValueType::kInteger) {
        return std::to_string(value.as_integer());
    }
    if (value.is_string() && !value.as_string().empty()) {
        return std::string{value.as_string()};
    }
    return fail(ErrorCode::kInvalidArgument, "A node id is a number or a name.");
}

Result<> run_command(Instance& instance, const modes::Command& command) {
    if (auto done = instance.replica().command_and_wait(command, instance.clock().now() + kCommandPatience); !done) {
        // The words and the code that make drivers find who can do it.
        return done.error().code() == ErrorCode::kNotLeader ? instance.write_refusal() : done.error();
    }
    return success();
}

Result<> add_member(Instance& instance, const ProcedureCall& call, modes::Command::MemberRole role) {
    modes::Command command;
    command.kind = modes::Command::Kind::kAddMember;
    command.member_role = role;
    NORNIC_TRY(command.target, node_id_argument(call.arguments[0]));
    const Value& host = call.arguments[1];
    const Value& port = call.arguments[3];
    if (!host.is_string() || port.type() != ValueType::kInteger) {
        return fail(ErrorCode::kInvalidArgument, "It takes (node id, ip, bolt_port, bolt_raft_port).");
    }
    const std::string name{host.as_string()};
    command.address = name.find(':') == std::string::npos ? fmt::format("{}:{}", name, port.as_integer())
                                                          : fmt::format("[{}]:{}", name, port.as_integer());
    NORNIC_TRY(check_new_member(command));
    return run_command(instance, command);
}

void add_raft(ProcedureRegistry& registry, Instance& instance) {
    add(registry,
        "db.bolt.listRaftNodes",
        "The members of this Raft group.",
        {},
        {field("node_id", "ANY"),
         field("ip", "STRING"),
         field("bolt_port", "INTEGER"),
         field("bolt_raft_port", "INTEGER"),
         field("is_leader", "BOOLEAN"),
         field("is_learner", "BOOLEAN")},
        [&instance](ProcedureCall& call) -> Result<> {
            const modes::ClusterView view = instance.replica().view();
            each_member(instance, view, [&](const Shown& m) {
                const auto where = env::parse_host_port(m.member.cluster_address);
                return call.emit({node_id_value(m.member.id),
                                  where ? Value{where->first} : Value{},
                                  port_of(m.bolt),
                                  where ? Value{std::int64_t{where->second}} : Value{},
                                  Value{m.member.id == view.leader},
                                  Value{m.member.role == modes::Role::kLearner}});
            });
            return success();
        });
    add(registry,
        "db.bolt.getRaftStatus",
        "What this member knows of its Raft group, as JSON.",
        {},
        {field("status", "STRING")},
        [&instance](ProcedureCall& call) -> Result<> {
            call.emit({Value{boost::json::serialize(raft_state(instance.member()))}});
            return success();
        });
    using Role = modes::Command::MemberRole;
    for (const auto& [name, role, what] :
         {std::tuple{"db.bolt.addRaftNode", Role::kVoter, "Takes in a member that votes once it has caught up."},
          std::tuple{"db.bolt.addRaftLearnerNode", Role::kLearner, "Takes in a member that has the data and no vote."}}) {
        add(registry,
            name,
            what,
            {argument("node_id", "ANY", std::nullopt),
             argument("ip", "STRING", std::nullopt),
             argument("bolt_port", "INTEGER", std::nullopt),
             argument("bolt_raft_port", "INTEGER", std::nullopt)},
            {},
            [&instance, role](ProcedureCall& call) { return add_member(instance, call, role); });
    }
    add(registry,
        "db.bolt.removeRaftNode",
        "Takes a member out of this Raft group.",
        {argument("node_id", "ANY", std::nullopt)},
        {},
        [&instance](ProcedureCall& call) -> Result<> {
            modes::Command command;
            command.kind = modes::Command::Kind::kRemoveMember;
            NORNIC_TRY(command.target, node_id_argument(call.arguments[0]));
            return run_command(instance, command);
        });
}

}  // namespace

void add_cluster_procedures(ProcedureRegistry& registry, Instance& instance) {
    add_overview(registry, instance);
    add_show_servers(registry, instance);
    add_raft(registry, instance);
}

}  // namespace nornic::server
