// Procedures that need the process: dbms.*, and what SHOW and TERMINATE print of databases,
// transactions, settings and users. User administration is in user_procedures.cc, what is asked of a cluster in
// cluster_procedures.cc.
#include "server/procedures.h"

#include "bolt/server.h"
#include "server/instance.h"
#include "server/routing.h"
#include "server/session_log.h"
#include "server/version.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::server {

using cypher::Procedure;
using cypher::ProcedureCall;
using cypher::ProcedureField;
using cypher::ProcedureMode;
using cypher::ProcedureRegistry;

ProcedureField field(std::string name, std::string type) {
    return {std::move(name), std::move(type), cypher::types::kAny, std::nullopt, false};
}
ProcedureField extra(std::string name, std::string type) {
    return {std::move(name), std::move(type), cypher::types::kAny, std::nullopt, true};
}
ProcedureField argument(std::string name, std::string type, std::optional<Value> default_value) {
    return {std::move(name), std::move(type), cypher::types::kAny, std::move(default_value), false};
}

void add(ProcedureRegistry& registry,
         std::string name,
         std::string description,
         std::vector<ProcedureField> arguments,
         std::vector<ProcedureField> results,
         std::function<Result<>(ProcedureCall&)> run) {
    Procedure procedure;
    procedure.name = std::move(name);
    procedure.description = std::move(description);
    procedure.mode = ProcedureMode::kDbms;
    procedure.arguments = std::move(arguments);
    procedure.results = std::move(results);
    procedure.run = std::move(run);
    registry.add(std::move(procedure));
}

namespace {

void audit_call(const Instance& instance, const ProcedureCall& call, std::string_view action) {
    if (instance.settings().audit_enabled) {
        audit({call.caller.user, "", call.caller.connection_id, ""}, call.caller.database, action, nullptr);
    }
}

}  // namespace

std::vector<std::string> names_in(const ProcedureCall& call) {
    std::vector<std::string> out;
    const auto take = [&](const Value& v) {
        if (v.is_string()) {
            out.emplace_back(v.as_string());
        }
    };
    for (const Value& argument_value : call.arguments) {
        if (argument_value.is_list()) {
            for (const Value& v : argument_value.as_list()) {
                take(v);
            }
        }
    }
    return out;
}

Value utc_time(std::int64_t wall_ns) {
    DateTime time;
    time.seconds = wall_ns / kNanosPerSecond;
    time.nanoseconds = static_cast<std::int32_t>(wall_ns % kNanosPerSecond);
    return Value{to_text(time)};
}

Value strings(const std::vector<std::string>& texts) {
    List out;
    for (const std::string& text : texts) {
        out.emplace_back(text);
    }
    return Value{std::move(out)};
}

namespace {

Value routing_servers(const RoutingAddresses& addresses) {
    List servers;
    for (const auto& [role, list] : {std::pair{"WRITE", &addresses.writers},
                                     std::pair{"READ", &addresses.readers},
                                     std::pair{"ROUTE", &addresses.routers}}) {
        servers.emplace_back(Map{{"addresses", strings(*list)}, {"role", role}});
    }
    return Value{std::move(servers)};
}

void add_dbms(ProcedureRegistry& registry, Instance& instance) {
    add(registry,
        "dbms.components",
        "List DBMS components and their versions.",
        {},
        {field("name", "STRING"), field("versions", "LIST<STRING>"), field("edition", "STRING")},
        [](ProcedureCall& call) -> Result<> {
            // Drivers and tools look for this row and its version.
            call.emit({Value{"Neo4j Kernel"},
                       strings({std::string{kCompatibleVersion}}),
                       Value{"community"}});
            return success();
        });
    add(registry,
        "dbms.info",
        "Provides information regarding the DBMS.",
        {},
        {field("id", "STRING"), field("name", "STRING"), field("creationDate", "STRING")},
        [&instance](ProcedureCall& call) -> Result<> {
            call.emit({Value{instance.history()}, Value{"nornicdb"}, Value{}});
            return success();
        });
    add(registry,
        "dbms.showCurrentUser",
        "Shows the current user.",
        {},
        {field("username", "STRING"),
         field("roles", "LIST<STRING>"),
         field("flags", "LIST<STRING>")},
        [](ProcedureCall& call) -> Result<> {
            call.emit({Value{call.caller.user}, strings({"admin"}), strings({})});
            return success();
        });
    const auto routing = [&instance](ProcedureCall& call) -> Result<> {
        NORNIC_TRY(const RoutingAddresses addresses, routing_table(instance, call.arguments[0]));
        call.emit({Value{addresses.ttl_seconds}, routing_servers(addresses)});
        return success();
    };
    for (const char* name :
         {"dbms.routing.getRoutingTable", "dbms.cluster.routing.getRoutingTable"}) {
        add(registry,
            name,
            "Returns the advertised bolt capable endpoints for a given database, divided by each "
            "endpoint's capabilities.",
            {argument("context", "MAP", std::nullopt), argument("database", "STRING", Value{})},
            {field("ttl", "INTEGER"), field("servers", "LIST<MAP>")},
            routing);
    }
    add(registry,
        "dbms.listConnections",
        "List all accepted network connections at this instance that are visible to the user.",
        {},
        {field("connectionId", "STRING"),
         field("connectTime", "STRING"),
         field("connector", "STRING"),
         field("username", "STRING"),
         field("userAgent", "STRING"),
         field("serverAddress", "STRING"),
         field("clientAddress", "STRING")},
        [&instance](ProcedureCall& call) -> Result<> {
            if (instance.bolt_server() == nullptr) {
                return success();
            }
            for (const auto& c : instance.bolt_server()->connections()) {
                if (!call.emit({Value{c.connection_id},
                                utc_time(c.connected_at_ms * 1'000'000),
                                Value{"bolt"},
                                Value{c.user},
                                Value{c.user_agent},
                                Value{c.server_address},
                                Value{c.client_address}})) {
                    break;
                }
            }
            return success();
        });
    add(registry,
        "dbms.killConnection",
        "Kill network connection with the given connection id.",
        {argument("id", "STRING", std::nullopt)},
        {field("connectionId", "STRING"), field("username", "STRING"), field("message", "STRING")},
        [&instance](ProcedureCall& call) -> Result<> {
            const std::string id{call.arguments[0].is_string() ? call.arguments[0].as_string()
                                                               : ""};
            const bool found =
                instance.bolt_server() != nullptr && instance.bolt_server()->close_connection(id);
            audit_call(instance, call, "dbms.killConnection " + id);
            call.emit({Value{id},
                       Value{call.caller.user},
                       Value{found ? "Connection found" : "No connection found with this id"}});
            return success();
        });
    const auto settings_rows =
        [&instance](
            const std::function<bool(const env::SettingInfo&, const std::string&, bool)>& each) {
            for (const env::SettingInfo& info : env::all_settings()) {
                const auto it = instance.explicit_settings().find(info.name);
                const bool set = it != instance.explicit_settings().end();
                if (!each(info,
                          set                            ? it->second
                          : info.name == "NORNICDB_AUTH" ? "***"
                                                         : info.default_text,
                          set)) {
                    return;
                }
            }
        };
    add(registry,
        "dbms.listConfig",
        "List the currently active configuration settings.",
        {argument("searchString", "STRING", Value{""})},
        {field("name", "STRING"),
         field("description", "STRING"),
         field("value", "STRING"),
         field("dynamic", "BOOLEAN"),
         field("defaultValue", "STRING"),
         field("startupValue", "STRING"),
         field("explicitlySet", "BOOLEAN"),
         field("validValues", "STRING")},
        [settings_rows](ProcedureCall& call) -> Result<> {
            const std::string search{!call.arguments.empty() && call.arguments[0].is_string()
                                         ? call.arguments[0].as_string()
                                         : ""};
            settings_rows([&](const env::SettingInfo& info, const std::string& value, bool set) {
                if (info.name.find(search) == std::string::npos) {
                    return true;
                }
                return call.emit({Value{info.name},
                                  Value{info.description},
                                  Value{value},
                                  Value{false},
                                  Value{info.default_text},
                                  Value{value},
                                  Value{set},
                                  Value{info.takes}});
            });
            return success();
        });
    add(registry,
        "internal.show.settings",
        "",
        {argument("filter", "ANY", Value{}), argument("names", "ANY", Value{})},
        {field("name", "STRING"),
         field("value", "STRING"),
         field("isDynamic", "BOOLEAN"),
         field("defaultValue", "STRING"),
         field("description", "STRING"),
         extra("startupValue", "STRING"),
         extra("isExplicitlySet", "BOOLEAN"),
         extra("validValues", "STRING"),
         extra("isDeprecated", "BOOLEAN")},
        [settings_rows](ProcedureCall& call) -> Result<> {
            const std::vector<std::string> wanted = names_in(call);
            settings_rows([&](const env::SettingInfo& info, const std::string& value, bool set) {
                if (!wanted.empty() &&
                    std::find(wanted.begin(), wanted.end(), info.name) == wanted.end()) {
                    return true;
                }
                return call.emit({Value{info.name},
                                  Value{value},
                                  Value{false},
                                  Value{info.default_text},
                                  Value{info.description},
                                  Value{value},
                                  Value{set},
                                  Value{info.takes},
                                  Value{false}});
            });
            return success();
        });
}

void add_databases(ProcedureRegistry& registry, Instance& instance) {
    const auto columns = [](bool with_flags) {
        std::vector<ProcedureField> out = {field("name", "STRING"),
                                           field("type", "STRING"),
                                           field("aliases", "LIST<STRING>"),
                                           field("access", "STRING"),
                                           field("address", "STRING"),
                                           field("role", "STRING"),
                                           field("writer", "BOOLEAN"),
                                           field("requestedStatus", "STRING"),
                                           field("currentStatus", "STRING"),
                                           field("statusMessage", "STRING")};
        if (with_flags) {
            out.push_back(field("default", "BOOLEAN"));
            out.push_back(field("home", "BOOLEAN"));
        }
        for (ProcedureField f : {field("constituents", "LIST<STRING>"),
                                 extra("databaseID", "STRING"),
                                 extra("serverID", "STRING"),
                                 extra("currentPrimariesCount", "INTEGER"),
                                 extra("currentSecondariesCount", "INTEGER"),
                                 extra("requestedPrimariesCount", "INTEGER"),
                                 extra("requestedSecondariesCount", "INTEGER"),
                                 extra("creationTime", "ZONED DATETIME"),
                                 extra("lastStartTime", "ZONED DATETIME"),
                                 extra("lastStopTime", "ZONED DATETIME"),
                                 extra("store", "STRING"),
                                 extra("lastCommittedTxn", "INTEGER"),
                                 extra("replicationLag", "INTEGER"),
                                 extra("options", "MAP")}) {
            out.push_back(std::move(f));
        }
        return out;
    };
    const auto row_of = [&instance](const Database& database,
                                    const modes::ClusterView& view,
                                    const modes::MemberView& member,
                                    bool with_flags) {
        const bool self = member.id == view.self;
        const bool online = self || member.healthy;
        const std::string& address = self ? instance.bolt_address() : member.bolt_address;
        const bool writer = member.id == view.leader && (!self || view.accepts_writes);
        std::vector<Value> row = {Value{database.name},
                                  Value{database.type},
                                  strings(database.aliases),
                                  Value{instance.settings().read_only ? "read-only" : "read-write"},
                                  online && !address.empty() ? Value{address} : Value{},
                                  Value{online ? "primary" : "unknown"},
                                  Value{writer},
                                  Value{"online"},
                                  Value{online ? "online" : "unknown"},
                                  Value{online ? "" : "Server is unavailable"}};
        if (with_flags) {
            row.emplace_back(database.is_default);
            row.emplace_back(database.is_default);
        }
        const auto applied = [&](const modes::MemberView& m) {
            return static_cast<std::int64_t>(
                m.id == view.self ? instance.engine().applied_index().value : m.applied_index.value);
        };
        const auto data_members = static_cast<std::int64_t>(
            std::count_if(view.members.begin(), view.members.end(), [](const modes::MemberView& m) {
                return m.serves_data;
            }));
        // Transactions behind the newest that is known, as a negative number.
        const std::int64_t newest = static_cast<std::int64_t>(view.commit_index.value);
        for (Value v : {strings({}),
                        Value{instance.history()},
                        Value{member.id},
                        Value{data_members},
                        Value{std::int64_t{0}},
                        Value{data_members},
                        Value{std::int64_t{0}},
                        Value{},
                        Value{},
                        Value{},
                        Value{"nornic-1"},
                        Value{applied(member)},
                        Value{std::min(std::int64_t{0}, applied(member) - newest)},
                        Value{Map{}}}) {
            row.push_back(std::move(v));
        }
        return row;
    };
    const auto rows = [&instance, row_of](
                          ProcedureCall& call, bool with_flags, bool only_default) -> Result<> {
        const std::vector<std::string> wanted = names_in(call);
        const modes::ClusterView view = instance.replica().view();
        for (const Database& database : instance.databases()) {
            if ((only_default && !database.is_default) ||
                (!wanted.empty() &&
                 std::find(wanted.begin(), wanted.end(), database.name) == wanted.end())) {
                continue;
            }
            for (const modes::MemberView& member : view.members) {
                if (member.serves_data && !call.emit(row_of(database, view, member, with_flags))) {
                    return success();
                }
            }
        }
        return success();
    };
    const std::vector<ProcedureField> arguments = {argument("filter", "ANY", Value{}),
                                                   argument("names", "ANY", Value{})};
    for (const char* name : {"internal.show.databases", "internal.show.database"}) {
        add(registry, name, "", arguments, columns(true), [rows](ProcedureCall& call) {
            return rows(call, true, false);
        });
    }
    for (const char* name : {"internal.show.default database", "internal.show.home database"}) {
        add(registry, name, "", arguments, columns(false), [rows](ProcedureCall& call) {
            return rows(call, false, true);
        });
    }
}

Value elapsed(const OpenTransaction& t, Clock& clock) {
    const std::int64_t ns = clock.wall_ns() - t.started_wall_ns;
    return Value{
        DurationValue{0, 0, ns / kNanosPerSecond, static_cast<std::int32_t>(ns % kNanosPerSecond)}};
}

void add_transactions(ProcedureRegistry& registry, Instance& instance) {
    const auto rows = [&instance](ProcedureCall& call) -> Result<> {
        const std::vector<std::string> wanted = names_in(call);
        for (const OpenTransactionPtr& t : instance.transactions().all()) {
            if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), t->id) == wanted.end()) {
                continue;
            }
            std::string query;
            {
                const std::lock_guard lock{t->text_mutex};
                query = t->query;
            }
            if (!call.emit({Value{t->origin.database},
                            Value{t->id},
                            Value{fmt::format("query-{}", t->number)},
                            Value{t->origin.connection_id},
                            Value{t->origin.client_address},
                            Value{t->origin.user},
                            Value{query},
                            utc_time(t->started_wall_ns),
                            Value{"Running"},
                            elapsed(*t, instance.clock()),
                            t->origin.metadata.is_map() ? t->origin.metadata : Value{Map{}}})) {
                break;
            }
        }
        return success();
    };
    const std::vector<ProcedureField> columns = {field("database", "STRING"),
                                                 field("transactionId", "STRING"),
                                                 field("currentQueryId", "STRING"),
                                                 field("connectionId", "STRING"),
                                                 field("clientAddress", "STRING"),
                                                 field("username", "STRING"),
                                                 field("currentQuery", "STRING"),
                                                 field("startTime", "STRING"),
                                                 field("status", "STRING"),
                                                 field("elapsedTime", "DURATION"),
                                                 extra("metaData", "MAP")};
    const std::vector<ProcedureField> arguments = {argument("filter", "ANY", Value{}),
                                                   argument("names", "ANY", Value{})};
    add(registry, "internal.show.transactions", "", arguments, columns, rows);
    std::vector<ProcedureField> listed = columns;
    listed.back().hidden_by_default = false;
    add(registry,
        "dbms.listTransactions",
        "List all transactions currently executing at this instance.",
        {},
        listed,
        rows);

    const auto terminate = [&instance](ProcedureCall& call,
                                       const std::vector<std::string>& ids) -> Result<> {
        for (const std::string& id : ids) {
            const std::size_t cut = id.find("-transaction-");
            if (cut == std::string::npos || cut == 0) {
                return fail(
                    ErrorCode::kInvalidArgument,
                    "Could not parse id (expected format: <databasename>-transaction-<id>)");
            }
            const bool found =
                instance.transactions().terminate(id, "Explicitly terminated by the user.");
            audit_call(instance, call, "TERMINATE TRANSACTION " + id);
            call.emit({Value{id},
                       found ? Value{call.caller.user} : Value{},
                       Value{found ? "Transaction terminated." : "Transaction not found."}});
        }
        return success();
    };
    for (const char* name : {"internal.terminate.transactions", "internal.terminate"}) {
        add(registry,
            name,
            "",
            {argument("ids", "ANY", Value{})},
            {field("transactionId", "STRING"),
             field("username", "STRING"),
             field("message", "STRING")},
            [terminate](ProcedureCall& call) { return terminate(call, names_in(call)); });
    }
    add(registry,
        "dbms.killTransaction",
        "Kill transaction with provided id.",
        {argument("id", "STRING", std::nullopt)},
        {field("transactionId", "STRING"), field("username", "STRING"), field("message", "STRING")},
        [terminate](ProcedureCall& call) {
            return terminate(
                call,
                {std::string{call.arguments[0].is_string() ? call.arguments[0].as_string() : ""}});
        });
}

}  // namespace

void add_server_procedures(ProcedureRegistry& registry, Instance& instance) {
    add_dbms(registry, instance);
    add_databases(registry, instance);
    add_transactions(registry, instance);
    add_cluster_procedures(registry, instance);
    add_conflict_procedures(registry, instance);
    add_user_procedures(registry, instance);
}

}  // namespace nornic::server
