// Procedures: what CALL, SHOW and administration commands reach. cypher/procedures holds those that
// only need the graph; server adds those that need the process (users, transactions, settings,
// routing).
#pragma once

#include "base/clock.h"
#include "base/result.h"
#include "cypher/ast/expression.h"
#include "cypher/execution/eval_context.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::cypher {

enum class ProcedureMode : std::uint8_t { kRead, kWrite, kSchema, kDbms };

struct ProcedureField {
    std::string name;
    std::string type;  // as SHOW PROCEDURES prints it: "STRING", "LIST<STRING>"
    TypeSet types = types::kAny;
    std::optional<Value> default_value;  // arguments only
    bool hidden_by_default = false;      // SHOW commands: only with YIELD
};

/// Who called: for SHOW TRANSACTIONS, ALTER CURRENT USER and the like.
struct Caller {
    std::string user;
    std::string database;
    std::string connection_id;
    Value routing_context;  // map or null
};

struct ExecutionServices;

using EmitRow = std::function<bool(std::vector<Value>)>;  // false: the consumer has enough

struct ProcedureCall {
    EvalContext& context;
    const Caller& caller;
    std::span<const Value> arguments;
    const EmitRow& emit;
    /// For those with transactions of their own; null in unit tests of others.
    const ExecutionServices* services = nullptr;
};

struct Procedure {
    std::string name;  // "db.labels"; names under "internal." cannot be CALLed and are not listed
    std::string description;
    ProcedureMode mode = ProcedureMode::kRead;
    std::vector<ProcedureField> arguments;
    std::vector<ProcedureField> results;
    bool admin = false;
    bool works_on_system = true;
    bool deprecated = false;
    std::function<Result<>(ProcedureCall&)> run;
    bool variadic = false;          // the last argument may come any number of times
    bool own_transactions = false;  // commits as it goes, as CALL { … } IN TRANSACTIONS: autocommit only
};

/// Filled at start, then only read. Lookup ignores case.
class ProcedureRegistry {
public:
    void add(Procedure procedure);
    [[nodiscard]] const Procedure* find(std::string_view name) const;
    [[nodiscard]] std::vector<const Procedure*> all() const;

private:
    std::map<std::string, Procedure, std::less<>> by_name_;  // lower case
};

/// What graph procedures need of the process around the graph.
struct GraphProcedureHooks {
    /// Waits until the index of that name (all of them if empty) is online. Null: the procedures
    /// look at the schema of their transaction every few milliseconds.
    std::function<Result<>(std::string_view database, std::string_view index, Deadline deadline)>
        await_indexes;
};

/// db.labels, db.relationshipTypes, db.propertyKeys, db.schema.*, db.awaitIndex(es), db.createLabel
/// …, and the internal ones behind SHOW INDEXES, SHOW CONSTRAINTS, SHOW FUNCTIONS, SHOW PROCEDURES.
/// The registry must stay where it is: SHOW PROCEDURES lists it.
void add_graph_procedures(ProcedureRegistry& registry, GraphProcedureHooks hooks = {});

}  // namespace nornic::cypher
