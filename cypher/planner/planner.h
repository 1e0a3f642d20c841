// The planner's front: a completed tree in, a plan out.
#pragma once

#include "cypher/optimizer/optimizer.h"
#include "cypher/planner/compiler.h"
#include "cypher/planner/plan.h"
#include "cypher/procedures/procedure.h"
#include "cypher/semantics/semantics.h"

#include <string>
#include <vector>

namespace nornic::cypher {

struct PlanResult {
    PlanPtr root;
    std::vector<std::string> columns;
    bool writes = false;
    bool in_transactions = false;
    bool dbms = false;    // a procedure of mode DBMS: type "s"
    bool schema = false;  // a procedure of mode SCHEMA
    bool admin = false;   // a procedure that administers
};

/// Throws QueryError: kProcedureNotFound, kSyntaxError for what only the planner knows.
PlanResult plan_statement(const Statement& statement,
                          const Semantics& semantics,
                          PlanSpace& space,
                          const ProcedureRegistry& procedures,
                          engine::GraphReader& reader,
                          const OptimizerSettings& settings);

}  // namespace nornic::cypher
