// What SHOW FUNCTIONS and SHOW PROCEDURES list.

#include "cypher/functions/function.h"
#include "cypher/procedures/builtin.h"

#include <fmt/format.h>

namespace nornic::cypher {
namespace {

/// "f(a :: STRING, b = 1 :: INTEGER) :: R" split into descriptions of a and b.
Value arguments_of(std::string_view signature) {
    List out;
    const auto open = signature.find('(');
    const auto close = signature.rfind(") ::");
    if (open == std::string_view::npos || close == std::string_view::npos || close <= open) {
        return Value{std::move(out)};
    }
    const std::string_view inside = signature.substr(open + 1, close - open - 1);
    std::size_t from = 0;
    int depth = 0;
    const auto add = [&](std::string_view one) {
        while (one.starts_with(' ')) {
            one.remove_prefix(1);
        }
        const auto separator = one.find(" :: ");
        if (separator == std::string_view::npos) {
            return;
        }
        std::string_view name = one.substr(0, separator);
        const auto type = one.substr(separator + 4);
        Map entry;
        const auto equals_sign = name.find(" = ");
        if (equals_sign != std::string_view::npos) {
            entry.set("default",
                      Value{fmt::format("DefaultParameterValue{{value={}, type={}}}",
                                        name.substr(equals_sign + 3),
                                        type)});
            name = name.substr(0, equals_sign);
        }
        entry.set("name", Value{name});
        entry.set("description", Value{one});
        entry.set("type", Value{type});
        entry.set("isDeprecated", Value{false});
        out.emplace_back(std::move(entry));
    };
    for (std::size_t i = 0; i <= inside.size(); ++i) {
        const char c = i < inside.size() ? inside[i] : ',';
        depth += c == '<' || c == '(' || c == '{' || c == '['
                     ? 1
                     : (c == '>' || c == ')' || c == '}' || c == ']' ? -1 : 0);
        if (c == ',' && (depth <= 0 || i == inside.size())) {
            add(inside.substr(from, i - from));
            from = i + 1;
        }
    }
    return Value{std::move(out)};
}

Result<> show_functions(ProcedureCall& call) {
    if (show_filter(call) == "USER DEFINED") {
        return success();
    }
    for (const auto& f : all_functions()) {
        const auto returns = f.signature.rfind(" :: ");
        if (!call.emit({Value{f.name},
                        Value{f.category},
                        Value{f.description},
                        Value{f.signature},
                        Value{true},
                        arguments_of(f.signature),
                        Value{returns == std::string::npos ? std::string{"ANY"}
                                                           : f.signature.substr(returns + 4)},
                        Value{f.aggregating},
                        Value{},
                        Value{},
                        Value{f.deprecated},
                        f.deprecated_by.empty() ? Value{} : Value{f.deprecated_by}})) {
            break;
        }
    }
    return success();
}

Value describe(const std::vector<ProcedureField>& fields) {
    List out;
    for (const auto& f : fields) {
        Map entry{{"name", Value{f.name}},
                  {"description", Value{fmt::format("{} :: {}", f.name, f.type)}},
                  {"type", Value{f.type}},
                  {"isDeprecated", Value{false}}};
        if (f.default_value) {
            entry.set("default",
                      Value{fmt::format("DefaultParameterValue{{value={}, type={}}}",
                                        to_cypher_text(*f.default_value),
                                        f.type)});
        }
        out.emplace_back(std::move(entry));
    }
    return Value{std::move(out)};
}

std::string signature_of(const Procedure& p) {
    std::string out = p.name + "(";
    for (std::size_t i = 0; i < p.arguments.size(); ++i) {
        const auto& a = p.arguments[i];
        out += i == 0 ? "" : ", ";
        out += a.default_value
                   ? fmt::format("{} = {} :: {}", a.name, to_cypher_text(*a.default_value), a.type)
                   : fmt::format("{} :: {}", a.name, a.type);
    }
    out += ") :: ";
    if (p.results.empty()) {
        return out + "VOID";
    }
    out += "(";
    for (std::size_t i = 0; i < p.results.size(); ++i) {
        out += fmt::format("{}{} :: {}", i == 0 ? "" : ", ", p.results[i].name, p.results[i].type);
    }
    return out + ")";
}

}  // namespace

void add_show_callables(ProcedureRegistry& registry) {
    const auto text = [](std::string name, bool hidden) {
        return result_field(std::move(name), "STRING", types::kString, hidden);
    };
    const auto boolean = [](std::string name, bool hidden) {
        return result_field(std::move(name), "BOOLEAN", types::kBoolean, hidden);
    };
    const auto list = [](std::string name) {
        return result_field(std::move(name), "LIST<ANY>", types::kList, true);
    };
    registry.add(Procedure{"internal.show.functions",
                           "",
                           ProcedureMode::kRead,
                           show_arguments(),
                           {text("name", false),
                            text("category", false),
                            text("description", false),
                            text("signature", true),
                            boolean("isBuiltIn", true),
                            list("argumentDescription"),
                            text("returnDescription", true),
                            boolean("aggregating", true),
                            list("rolesExecution"),
                            list("rolesBoostedExecution"),
                            boolean("isDeprecated", true),
                            text("deprecatedBy", true)},
                           false,
                           true,
                           false,
                           show_functions});
    const ProcedureRegistry* all = &registry;
    registry.add(
        Procedure{"internal.show.procedures",
                  "",
                  ProcedureMode::kRead,
                  show_arguments(),
                  {text("name", false),
                   text("description", false),
                   text("mode", false),
                   boolean("worksOnSystem", false),
                   text("signature", true),
                   list("argumentDescription"),
                   list("returnDescription"),
                   boolean("admin", true),
                   list("rolesExecution"),
                   list("rolesBoostedExecution"),
                   boolean("isDeprecated", true),
                   text("deprecatedBy", true),
                   result_field("option", "MAP", types::kMap, true)},
                  false,
                  true,
                  false,
                  [all](ProcedureCall& call) -> Result<> {
                      const std::string_view modes[] = {"READ", "WRITE", "SCHEMA", "DBMS"};
                      for (const Procedure* p : all->all()) {
                          if (p->name.starts_with("internal.")) {
                              continue;
                          }
                          if (!call.emit({Value{p->name},
                                          Value{p->description},
                                          Value{modes[static_cast<std::size_t>(p->mode)]},
                                          Value{p->works_on_system},
                                          Value{signature_of(*p)},
                                          describe(p->arguments),
                                          describe(p->results),
                                          Value{p->admin},
                                          Value{},
                                          Value{},
                                          Value{p->deprecated},
                                          Value{},
                                          Value{Map{{"deprecated", Value{p->deprecated}}}}})) {
                              break;
                          }
                      }
                      return success();
                  }});
}

}  // namespace nornic::cypher
