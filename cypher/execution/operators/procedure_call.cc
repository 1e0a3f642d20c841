// CALL of a procedure; also what SHOW and administration commands come down to.
#include "cypher/execution/operators/input.h"

namespace nornic::cypher {
namespace {

class ProcedureCallOperator final : public RowMaker {
public:
    ProcedureCallOperator(const ProcedureCallPlan& plan, ExecContext& context)
        : RowMaker{plan, context}, plan_{plan}, memory_{context} {}

private:
    bool begin(Row row) override {
        rows_.clear();
        memory_.release();
        at_ = 0;
        if (plan_.procedure->mode == ProcedureMode::kWrite ||
            plan_.procedure->mode == ProcedureMode::kSchema) {
            context_.writer();
        }
        std::vector<Value> arguments;
        for (const CompiledPtr& e : plan_.arguments) {
            arguments.push_back(e->get(row, context_));
        }
        for (std::size_t i = arguments.size(); i < plan_.procedure->arguments.size(); ++i) {
            arguments.push_back(plan_.procedure->arguments[i].default_value.value_or(Value{}));
        }
        const EmitRow emit = [this](std::vector<Value> values) {
            std::size_t bytes = values.size() * sizeof(Value);
            for (const Value& v : values) {
                bytes += v.heap_bytes();
            }
            memory_.take(bytes);
            rows_.push_back(std::move(values));
            context_.check_killed();
            return true;
        };
        ProcedureCall call{context_, context_.services->caller, arguments, emit, context_.services};
        if (auto done = plan_.procedure->run(call); !done) {
            throw QueryError{std::move(done).error()};
        }
        if (plan_.void_call || (plan_.optional && rows_.empty())) {
            rows_.assign(1, {});
        }
        return !rows_.empty();
    }
    bool produce(Batch& out) override {
        while (at_ < rows_.size() && !out.full()) {
            std::vector<Value>& values = rows_[at_++];
            input_.copy_to(out, out.rows);
            for (const auto& [column, slot] : plan_.yields) {
                out.column(slot)[out.rows] = column < values.size() ? values[column] : Value{};
            }
            ++out.rows;
        }
        return at_ < rows_.size();
    }
    const ProcedureCallPlan& plan_;
    MemoryShare memory_;
    std::vector<std::vector<Value>> rows_;
    std::size_t at_ = 0;
};

}  // namespace

OperatorPtr make_procedure_call(const ProcedureCallPlan& plan, ExecContext& context) {
    return std::make_unique<ProcedureCallOperator>(plan, context);
}

}  // namespace nornic::cypher
