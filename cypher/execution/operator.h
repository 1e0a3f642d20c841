// The running side of a plan: one Operator per plan node and execution, pulled from the root.
#pragma once

#include "cypher/execution/batch.h"
#include "cypher/execution/context.h"

#include <memory>

namespace nornic::cypher {

class Operator {
public:
    Operator() = default;
    Operator(const Operator&) = delete;
    Operator& operator=(const Operator&) = delete;
    virtual ~Operator() = default;
    /// Puts at least one and at most out.capacity() rows into `out`, which the caller emptied with
    /// begin_fill(). False: there are none left (and out.rows is 0).
    virtual bool next(Batch& out) = 0;
    /// Back to the start, with new arguments; children included.
    virtual void reset() = 0;
};
using OperatorPtr = std::unique_ptr<Operator>;

/// The operator tree of a plan; cheap.
OperatorPtr make_operator(const PlanNode& plan, ExecContext& context);

}  // namespace nornic::cypher
