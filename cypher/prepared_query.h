// What a PreparedQuery holds. Private to cypher/.
#pragma once

#include "cypher/cypher.h"
#include "cypher/planner/planner.h"

#include <memory>

namespace nornic::cypher {

class PreparedQuery {
public:
    PreparedQuery();
    ~PreparedQuery();
    PreparedQuery(const PreparedQuery&) = delete;
    PreparedQuery& operator=(const PreparedQuery&) = delete;

    PreparedInfo info;
    std::unique_ptr<Statement> statement;  // plans point into it
    Semantics semantics;
    PlanSpace space;
    PlanPtr root;
    // What it was planned for.
    std::uint64_t schema_version = 0;
    std::uint64_t nodes = 0;
    std::uint64_t relationships = 0;
};

}  // namespace nornic::cypher
