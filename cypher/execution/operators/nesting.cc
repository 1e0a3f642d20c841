// Apply: a nested plan, once a row. Foreach: nested updates, once an element.
#include "cypher/execution/expression_nodes.h"
#include "cypher/execution/operators/input.h"

namespace nornic::cypher {
namespace {

class ApplyOperator final : public RowMaker {
public:
    ApplyOperator(const ApplyPlan& plan, ExecContext& context)
        : RowMaker{plan, context},
          plan_{plan},
          inner_{make_operator(*plan.children[1], context)},
          batch_{context.slots} {}

private:
    bool begin(Row row) override {
        context_.arguments[plan_.argument] = row;
        if (used_) {
            inner_->reset();
        }
        used_ = true;
        found_ = false;
        batch_.rows = 0;
        at_ = 0;
        if (plan_.kind == ApplyPlan::Kind::kUnit) {
            for (batch_.begin_fill(); inner_->next(batch_); batch_.begin_fill()) {
            }
            batch_.rows = 0;
        }
        return true;
    }
    bool produce(Batch& out) override {
        if (plan_.kind == ApplyPlan::Kind::kUnit) {
            input_.copy_to(out, out.rows++);
            return false;
        }
        while (!out.full()) {
            if (at_ == batch_.rows) {
                batch_.begin_fill();
                at_ = 0;
                if (!inner_->next(batch_)) {
                    batch_.rows = 0;
                    break;
                }
            }
            found_ = true;
            input_.copy_to(out, out.rows);
            copy_row(Row{&batch_, at_++}, out, out.rows, plan_.introduced);
            ++out.rows;
        }
        if (out.full() && (at_ < batch_.rows || found_)) {
            return true;  // there may be more; asked again with room
        }
        if (!found_ && plan_.kind == ApplyPlan::Kind::kOptional && !out.full()) {
            found_ = true;
            input_.copy_to(out, out.rows);
            for (const Slot s : plan_.introduced) {
                out.column(s)[out.rows] = Value{};
            }
            ++out.rows;
        }
        return false;
    }
    const ApplyPlan& plan_;
    OperatorPtr inner_;
    Batch batch_;
    std::uint32_t at_ = 0;
    bool used_ = false;
    bool found_ = false;
};

class ForeachOperator final : public Operator {
public:
    ForeachOperator(const ForeachPlan& plan, ExecContext& context)
        : plan_{plan},
          context_{context},
          child_{make_operator(*plan.child(), context)},
          inner_{make_operator(*plan.children[1], context)},
          batch_{context.slots} {}
    bool next(Batch& out) override {
        if (!child_->next(out)) {
            return false;
        }
        for (std::uint32_t i = 0; i < out.rows; ++i) {
            const Row row{&out, i};
            const Value value = plan_.list->get(row, context_);
            List holder;
            const List* list = list_of(value, holder);
            if (list == nullptr) {
                continue;
            }
            for (const Value& v : *list) {
                row[plan_.slot] = v;
                context_.arguments[plan_.argument] = row;
                if (used_) {
                    inner_->reset();
                }
                used_ = true;
                for (batch_.begin_fill(); inner_->next(batch_); batch_.begin_fill()) {
                }
                batch_.rows = 0;
            }
            context_.check_killed();
        }
        return true;
    }
    void reset() override { child_->reset(); }

private:
    const ForeachPlan& plan_;
    ExecContext& context_;
    OperatorPtr child_;
    OperatorPtr inner_;
    Batch batch_;
    bool used_ = false;
};

}  // namespace

OperatorPtr make_nesting(const PlanNode& plan, ExecContext& context) {
    if (plan.op == Op::kForeach) {
        return std::make_unique<ForeachOperator>(static_cast<const ForeachPlan&>(plan), context);
    }
    return std::make_unique<ApplyOperator>(static_cast<const ApplyPlan&>(plan), context);
}

}  // namespace nornic::cypher
