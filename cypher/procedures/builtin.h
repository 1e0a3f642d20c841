// Helpers of the built-in graph procedures; private to this folder.
#pragma once

#include "cypher/procedures/procedure.h"

#include <string>
#include <utility>
#include <vector>

namespace nornic::cypher {

inline ProcedureField result_field(std::string name,
                                   std::string type,
                                   TypeSet types,
                                   bool hidden = false) {
    return ProcedureField{
        std::move(name), std::move(type), types | types::kNull, std::nullopt, hidden};
}
inline ProcedureField argument_field(std::string name,
                                     std::string type,
                                     TypeSet types,
                                     std::optional<Value> default_value = std::nullopt) {
    return ProcedureField{std::move(name), std::move(type), types, std::move(default_value), false};
}
/// What every procedure behind a SHOW command takes: the words between SHOW and its subject, and
/// names.
std::vector<ProcedureField> show_arguments();
/// The filter in capitals; empty: none.
std::string show_filter(const ProcedureCall& call);

/// A list of strings as a value.
Value text_list(const std::vector<std::string>& items);

void add_token_procedures(ProcedureRegistry& registry);
void add_schema_procedures(ProcedureRegistry& registry);
void add_index_procedures(ProcedureRegistry& registry, GraphProcedureHooks hooks);
void add_tugraph_procedures(ProcedureRegistry& registry);
void add_show_schema(ProcedureRegistry& registry);
void add_show_callables(ProcedureRegistry& registry);

}  // namespace nornic::cypher
