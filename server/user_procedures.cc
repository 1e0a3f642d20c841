// SHOW USERS and the statements that administer users. An administration statement arrives as a
// call with one map: {user, password, old_password, new_name, password_change_required, suspended,
// home_database, if_exists, if_not_exists, replace}.
#include "server/instance.h"
#include "server/procedures.h"

#include <fmt/format.h>

namespace nornic::server {

using cypher::ProcedureCall;
using cypher::ProcedureField;
using cypher::ProcedureRegistry;

namespace {

const Map& options_of(const ProcedureCall& call) {
    static const Map none;
    return !call.arguments.empty() && call.arguments[0].is_map() ? call.arguments[0].as_map()
                                                                 : none;
}

std::string text_of(const Map& options, std::string_view key) {
    const Value* v = options.find(key);
    return v != nullptr && v->is_string() ? std::string{v->as_string()} : std::string{};
}

bool is_set(const Map& options, std::string_view key) {
    const Value* v = options.find(key);
    return v != nullptr && v->is_true();
}

Users::Change change_of(const Map& options) {
    Users::Change change;
    if (const Value* v = options.find("password"); v != nullptr && v->is_string()) {
        change.password = v->as_string();
    }
    if (const Value* v = options.find("password_change_required");
        v != nullptr && v->is(ValueType::kBoolean)) {
        change.password_change_required = v->as_boolean();
    }
    if (const Value* v = options.find("suspended"); v != nullptr && v->is(ValueType::kBoolean)) {
        change.suspended = v->as_boolean();
    }
    if (const Value* v = options.find("home_database");
        v != nullptr && v->is_string() && !v->as_string().empty()) {
        change.home_database = v->as_string();
    }
    return change;
}

std::vector<Value> user_row(const User& user) {
    return {Value{user.name},
            Value{},
            Value{user.password_change_required},
            Value{user.suspended},
            user.home_database.empty() ? Value{} : Value{user.home_database}};
}

}  // namespace

void add_user_procedures(ProcedureRegistry& registry, Instance& instance) {
    const std::vector<ProcedureField> columns = {field("user", "STRING"),
                                                 field("roles", "LIST<STRING>"),
                                                 field("passwordChangeRequired", "BOOLEAN"),
                                                 field("suspended", "BOOLEAN"),
                                                 field("home", "STRING")};
    const std::vector<ProcedureField> show_arguments = {argument("filter", "ANY", Value{}),
                                                        argument("names", "ANY", Value{})};
    add(registry,
        "internal.show.users",
        "",
        show_arguments,
        columns,
        [&instance](ProcedureCall& call) -> Result<> {
            for (const User& user : instance.users().all()) {
                if (!call.emit(user_row(user))) {
                    break;
                }
            }
            return success();
        });
    add(registry,
        "internal.show.current user",
        "",
        show_arguments,
        columns,
        [&instance](ProcedureCall& call) -> Result<> {
            if (const auto user = instance.users().find(call.caller.user)) {
                call.emit(user_row(*user));
            }
            return success();
        });

    const std::vector<ProcedureField> arguments = {argument("options", "MAP", Value{})};
    add(registry,
        "internal.admin.createuser",
        "",
        arguments,
        {},
        [&instance](ProcedureCall& call) -> Result<> {
            const Map& options = options_of(call);
            const std::string name = text_of(options, "user");
            const bool exists = instance.users().find(name).has_value();
            if (exists && is_set(options, "if_not_exists")) {
                return success();
            }
            if (exists && is_set(options, "replace")) {
                return instance.users().replace(name, change_of(options));
            }
            return instance.users().create(name, change_of(options), true);
        });
    add(registry,
        "internal.admin.alteruser",
        "",
        arguments,
        {},
        [&instance](ProcedureCall& call) -> Result<> {
            const Map& options = options_of(call);
            const std::string name = text_of(options, "user");
            if (is_set(options, "if_exists") && !instance.users().find(name)) {
                return success();
            }
            return instance.users().alter(name, change_of(options));
        });
    add(registry,
        "internal.admin.dropuser",
        "",
        arguments,
        {},
        [&instance](ProcedureCall& call) -> Result<> {
            const Map& options = options_of(call);
            const std::string name = text_of(options, "user");
            if (is_set(options, "if_exists") && !instance.users().find(name)) {
                return success();
            }
            if (name == call.caller.user) {
                return fail(ErrorCode::kArgumentError,
                            fmt::format("Failed to delete the specified user '{}': Deleting "
                                        "yourself is not allowed.",
                                        name));
            }
            return instance.users().drop(name);
        });
    add(registry,
        "internal.admin.renameuser",
        "",
        arguments,
        {},
        [&instance](ProcedureCall& call) -> Result<> {
            const Map& options = options_of(call);
            const std::string name = text_of(options, "user");
            if (is_set(options, "if_exists") && !instance.users().find(name)) {
                return success();
            }
            return instance.users().rename(name, text_of(options, "new_name"));
        });
    add(registry,
        "internal.admin.altercurrentuserpassword",
        "",
        arguments,
        {},
        [&instance](ProcedureCall& call) -> Result<> {
            const Map& options = options_of(call);
            return instance.users().change_own_password(
                call.caller.user, text_of(options, "old_password"), text_of(options, "password"));
        });
    add(registry,
        "dbms.changePassword",
        "Change the current user's password.",
        {argument("password", "STRING", std::nullopt)},
        {},
        [&instance](ProcedureCall& call) -> Result<> {
            Users::Change change;
            change.password = call.arguments[0].is_string()
                                  ? std::string{call.arguments[0].as_string()}
                                  : std::string{};
            change.password_change_required = false;
            return instance.users().alter(call.caller.user, change);
        });
}

}  // namespace nornic::server
