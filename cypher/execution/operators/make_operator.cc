// From plan nodes to running operators.
#include "cypher/execution/operators/input.h"

namespace nornic::cypher {
namespace {

/// Counts what comes out of an operator, and the database hits beneath it, for PROFILE.
class CountingOperator final : public Operator {
public:
    CountingOperator(OperatorPtr inner, std::size_t id, ExecContext& context)
        : inner_{std::move(inner)}, id_{id}, context_{context} {
        if (context.counts.size() <= id) {
            context.counts.resize(id + 1);
        }
    }
    bool next(Batch& out) override {
        const std::uint64_t before = context_.db_hits;
        const bool more = inner_->next(out);
        context_.counts[id_].rows += out.rows;
        context_.counts[id_].hits += static_cast<std::int64_t>(context_.db_hits - before);
        return more;
    }
    void reset() override { inner_->reset(); }

private:
    OperatorPtr inner_;
    std::size_t id_;
    ExecContext& context_;
};

OperatorPtr make_plain(const PlanNode& plan, ExecContext& context) {
    switch (plan.op) {
        case Op::kArgument:
        case Op::kAllNodesScan:
        case Op::kNodeByLabelScan:
        case Op::kNodeByIdSeek:
        case Op::kNodeIndexSeek:
        case Op::kRelationshipScan:
        case Op::kRelationshipByIdSeek:
        case Op::kRelationshipIndexSeek:
        case Op::kCountStore:
            return make_leaf(plan, context);
        case Op::kExpand:
            return make_expand(static_cast<const ExpandPlan&>(plan), context);
        case Op::kVarExpand:
            return make_var_expand(static_cast<const VarExpandPlan&>(plan), context);
        case Op::kProjectEndpoints:
            return make_project_endpoints(static_cast<const ProjectEndpointsPlan&>(plan), context);
        case Op::kShortestPath:
            return make_shortest_path(static_cast<const ShortestPathPlan&>(plan), context);
        case Op::kApply:
        case Op::kForeach:
            return make_nesting(plan, context);
        case Op::kCartesianProduct:
        case Op::kHashJoin:
            return make_join(plan, context);
        case Op::kFilter:
        case Op::kProjection:
        case Op::kCacheProperties:
        case Op::kSkipLimit:
        case Op::kUnwind:
        case Op::kUnion:
        case Op::kEager:
        case Op::kProduceResults:
        case Op::kEmptyResult:
            return make_row_operator(plan, context);
        case Op::kAggregation:
            return make_aggregation(static_cast<const AggregationPlan&>(plan), context);
        case Op::kDistinct:
            return make_distinct(static_cast<const DistinctPlan&>(plan), context);
        case Op::kSort:
            return make_sort(static_cast<const SortPlan&>(plan), context);
        case Op::kCreate:
        case Op::kSet:
        case Op::kRemove:
        case Op::kDelete:
            return make_write(plan, context);
        case Op::kMerge:
            return make_merge(static_cast<const MergePlan&>(plan), context);
        case Op::kProcedureCall:
            return make_procedure_call(static_cast<const ProcedureCallPlan&>(plan), context);
        case Op::kLoadCsv:
            return make_load_csv(static_cast<const LoadCsvPlan&>(plan), context);
        case Op::kInTransactions:
            return make_in_transactions(static_cast<const InTransactionsPlan&>(plan), context);
        case Op::kSchemaCommand:
            return make_schema_command(static_cast<const SchemaCommandPlan&>(plan), context);
    }
    return nullptr;
}

}  // namespace

OperatorPtr make_operator(const PlanNode& plan, ExecContext& context) {
    OperatorPtr made = make_plain(plan, context);
    if (context.profile) {
        return std::make_unique<CountingOperator>(
            std::move(made), static_cast<std::size_t>(plan.id), context);
    }
    return made;
}

}  // namespace nornic::cypher
