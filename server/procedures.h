// Helpers that the files of server procedures share. Private to server.
#pragma once

#include "cypher/procedures/procedure.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace nornic::server {

class Instance;

/// A result column; extra() ones appear only where YIELD asks.
cypher::ProcedureField field(std::string name, std::string type);
cypher::ProcedureField extra(std::string name, std::string type);
/// Without a default the caller must give it.
cypher::ProcedureField argument(std::string name,
                                std::string type,
                                std::optional<Value> default_value);

void add(cypher::ProcedureRegistry& registry,
         std::string name,
         std::string description,
         std::vector<cypher::ProcedureField> arguments,
         std::vector<cypher::ProcedureField> results,
         std::function<Result<>(cypher::ProcedureCall&)> run);

/// The strings in a call's list arguments: the names after SHOW … or TERMINATE ….
std::vector<std::string> names_in(const cypher::ProcedureCall& call);
Value strings(const std::vector<std::string>& texts);
/// RFC 3339 text of a wall-clock time.
Value utc_time(std::int64_t wall_ns);

void add_cluster_procedures(cypher::ProcedureRegistry& registry, Instance& instance);
void add_conflict_procedures(cypher::ProcedureRegistry& registry, Instance& instance);
void add_user_procedures(cypher::ProcedureRegistry& registry, Instance& instance);

}  // namespace nornic::server
