// What operators that make rows out of rows share: walking over the child's rows one at a time.
#pragma once

#include "cypher/execution/operator.h"
#include "cypher/planner/plan.h"

#include <optional>
#include <vector>

namespace nornic::cypher {

inline engine::Direction opposite(engine::Direction d) {
    using engine::Direction;
    return d == Direction::kOutgoing ? Direction::kIncoming
                                     : (d == Direction::kIncoming ? Direction::kOutgoing : d);
}

/// The rows of a child, one after the other; without a child, one empty row.
class Input {
public:
    Input(const PlanNode* child, ExecContext& context)
        : batch_{context.slots},
          live_{child == nullptr ? std::span<const Slot>{} : std::span<const Slot>{child->live}} {
        if (child != nullptr) {
            child_ = make_operator(*child, context);
        }
    }
    /// Moves to the next row; false at the end.
    bool advance() {
        if (child_ == nullptr) {
            if (done_) {
                return false;
            }
            done_ = true;
            return true;
        }
        if (started_ && ++index_ < batch_.rows) {
            return true;
        }
        if (done_) {
            return false;
        }
        batch_.begin_fill();
        if (!child_->next(batch_)) {
            done_ = true;
            batch_.rows = 0;
            return false;
        }
        started_ = true;
        index_ = 0;
        return true;
    }
    [[nodiscard]] Row row() noexcept {
        if (child_ == nullptr && batch_.capacity() == 0) {
            batch_.begin_exact(1);  // expressions of a leaf may use slots of their own
        }
        return Row{&batch_, index_};
    }
    void copy_to(Batch& out, std::uint32_t out_row) {
        if (!live_.empty()) {
            copy_row(Row{&batch_, index_}, out, out_row, live_);
        }
    }
    void reset() {
        done_ = false;
        started_ = false;
        index_ = 0;
        batch_.rows = 0;
        if (child_ != nullptr) {
            child_->reset();
        }
    }
    [[nodiscard]] bool has_child() const noexcept { return child_ != nullptr; }
    [[nodiscard]] std::span<const Slot> live() const noexcept { return live_; }

private:
    OperatorPtr child_;
    Batch batch_;
    std::span<const Slot> live_;
    std::uint32_t index_ = 0;
    bool started_ = false;
    bool done_ = false;
};

/// An operator that makes any number of rows out of each input row.
class RowMaker : public Operator {
public:
    RowMaker(const PlanNode& plan, ExecContext& context)
        : context_{context}, input_{plan.child(), context}, emitted_{context} {}
    bool next(Batch& out) final {
        context_.check_killed();
        emitted_.release();  // The rows of the batch before are used up, or others count them.
        while (has_room(out)) {
            if (!active_) {
                if (!input_.advance()) {
                    break;
                }
                active_ = begin(input_.row());
                if (!active_) {
                    continue;
                }
            }
            active_ = produce(out);
        }
        return out.rows > 0;
    }
    void reset() override {
        active_ = false;
        emitted_.release();
        input_.reset();
    }

protected:
    /// A batch of large values is handed on before it is full.
    static constexpr std::size_t kBatchBytes = std::size_t{1} << 20;
    [[nodiscard]] bool has_room(const Batch& out) const noexcept {
        return !out.full() && (emitted_.held() < kBatchBytes || out.rows == 0);
    }
    /// What the row being made holds outside its slots.
    void count_emitted(std::size_t bytes) { emitted_.take(bytes); }

    /// A new input row; false: it gives nothing.
    virtual bool begin(Row row) = 0;
    /// Adds rows until `out` is full or the input row is used up; true: it has more. Called only
    /// while there is room.
    virtual bool produce(Batch& out) = 0;

    ExecContext& context_;
    Input input_;

private:
    MemoryShare emitted_;
    bool active_ = false;
};

/// Ids of the types a pattern names; nullopt: it names some, and none exists, so nothing matches.
class TypeSetCache {
public:
    bool resolve(const std::vector<TokenIndex>& types, ExecContext& context) {
        if (types.empty()) {
            return true;
        }
        if (ids.size() == types.size()) {
            return true;
        }
        ids.clear();
        for (const TokenIndex t : types) {
            if (const auto id = context.type_id(t)) {
                ids.push_back(*id);
            }
        }
        return !ids.empty();
    }
    std::vector<RelTypeId> ids;
};

/// Whether `rel` is none of those in the slots (a relationship, or a list of them, each).
inline bool differs(RelId rel, std::span<const Slot> slots, Row row) {
    for (const Slot s : slots) {
        const Value& v = row[s];
        if (v.is(ValueType::kRelationshipRef)) {
            if (v.as_relationship_ref() == rel) {
                return false;
            }
        } else if (v.is_list()) {
            for (const Value& r : v.as_list()) {
                if (r.is(ValueType::kRelationshipRef) && r.as_relationship_ref() == rel) {
                    return false;
                }
            }
        }
    }
    return true;
}

/// The value of SKIP or LIMIT; throws unless it is an integer of 0 or more.
std::uint64_t row_count(const CompiledExpr& expr, std::string_view what, ExecContext& context);

OperatorPtr make_leaf(const PlanNode& plan, ExecContext& context);
OperatorPtr make_expand(const ExpandPlan& plan, ExecContext& context);
OperatorPtr make_project_endpoints(const ProjectEndpointsPlan& plan, ExecContext& context);
OperatorPtr make_var_expand(const VarExpandPlan& plan, ExecContext& context);
OperatorPtr make_shortest_path(const ShortestPathPlan& plan, ExecContext& context);
OperatorPtr make_row_operator(const PlanNode& plan, ExecContext& context);
OperatorPtr make_sort(const SortPlan& plan, ExecContext& context);
OperatorPtr make_aggregation(const AggregationPlan& plan, ExecContext& context);
OperatorPtr make_distinct(const DistinctPlan& plan, ExecContext& context);
OperatorPtr make_nesting(const PlanNode& plan, ExecContext& context);
OperatorPtr make_join(const PlanNode& plan, ExecContext& context);
OperatorPtr make_write(const PlanNode& plan, ExecContext& context);
OperatorPtr make_merge(const MergePlan& plan, ExecContext& context);
OperatorPtr make_in_transactions(const InTransactionsPlan& plan, ExecContext& context);
OperatorPtr make_procedure_call(const ProcedureCallPlan& plan, ExecContext& context);
OperatorPtr make_load_csv(const LoadCsvPlan& plan, ExecContext& context);
OperatorPtr make_schema_command(const SchemaCommandPlan& plan, ExecContext& context);

}  // namespace nornic::cypher
