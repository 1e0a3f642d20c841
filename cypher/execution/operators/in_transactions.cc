// CALL { … } IN TRANSACTIONS: rows in groups, each group's work committed by a transaction of its
// own.
#include "cypher/execution/operators/input.h"

#include <fmt/format.h>

namespace nornic::cypher {
namespace {

class InTransactionsOperator final : public Operator {
public:
    InTransactionsOperator(const InTransactionsPlan& plan, ExecContext& context)
        : plan_{plan},
          context_{context},
          input_{plan.child(), context},
          batch_{context.slots},
          ready_{plan.live},
          memory_{context} {}
    bool next(Batch& out) override {
        while (at_ == ready_.size()) {
            at_ = 0;
            ready_.clear();
            memory_.release();
            if (!run_group()) {
                return false;
            }
        }
        while (at_ < ready_.size() && !out.full()) {
            ready_.load(at_++, out, out.rows);
            ++out.rows;
        }
        return out.rows > 0;
    }
    void reset() override {
        input_.reset();
        at_ = 0;
        ready_.clear();
        stopped_ = false;
    }

private:
    bool run_group() {
        if (size_ == 0) {
            size_ = plan_.batch_size == nullptr
                        ? 1000
                        : row_count(*plan_.batch_size, "OF … ROWS", context_);
            if (size_ == 0) {
                throw QueryError{
                    ErrorCode::kArgumentError,
                    "Invalid input. '0' is not a valid value. Must be a positive integer.",
                    "22003"};
            }
        }
        RowStore group{input_.live()};
        MemoryShare held{context_};
        while (group.size() < size_ && input_.advance()) {
            held.take(group.add(input_.row()));
        }
        if (group.size() == 0) {
            return false;
        }
        Map report{{"started", Value{false}},
                   {"committed", Value{false}},
                   {"transactionId", Value{}},
                   {"errorMessage", Value{}}};
        const std::size_t before = ready_.size();
        if (!stopped_) {
            run(group, report);
        }
        const bool committed = report.find("committed")->is_true();
        if (!committed && ready_.size() == before) {
            // A failed group still gives its rows, without what the nested plan would have added.
            emit_failed(group, report);
        }
        return true;
    }
    void run(const RowStore& group, Map& report) {
        const ExecutionServices& services = *context_.services;
        if (!services.begin_inner || !services.commit_inner) {
            throw QueryError{
                ErrorCode::kTransactionStartFailed,
                "A query with 'CALL { ... } IN TRANSACTIONS' can only be executed in an implicit "
                "transaction, but tried to execute in an explicit transaction."};
        }
        engine::Transaction* const outer = context_.transaction;
        std::shared_ptr<engine::Transaction> inner = value_or_throw(services.begin_inner());
        report.set("started", Value{true});
        report.set("transactionId",
                   Value{fmt::format("{}-transaction-{}", context_.database, inner->id().value)});
        RowStore rows{plan_.live};
        MemoryShare held{context_};
        std::optional<Error> error;
        context_.switch_transaction(inner.get());
        try {
            OperatorPtr nested = make_operator(*plan_.children[1], context_);
            Batch one{context_.slots};
            one.begin_exact(1);
            for (std::size_t i = 0; i < group.size(); ++i) {
                group.load(i, one, 0);
                context_.arguments[plan_.argument] = Row{&one, 0};
                nested->reset();
                for (batch_.begin_fill(); nested->next(batch_); batch_.begin_fill()) {
                    for (std::uint32_t r = 0; !plan_.unit && r < batch_.rows; ++r) {
                        copy_row(Row{&batch_, r}, one, 0, plan_.introduced);
                        held.take(rows.add(Row{&one, 0}));
                    }
                }
                batch_.rows = 0;
                if (plan_.unit) {
                    held.take(rows.add(Row{&one, 0}));
                }
            }
            nested.reset();
            context_.nested.clear();
            if (auto done = services.commit_inner(inner); !done) {
                error = std::move(done).error();
            } else {
                context_.inner_counters += inner->counters();
                report.set("committed", Value{true});
            }
        } catch (const QueryError& e) {
            error = e.error();
        }
        context_.nested.clear();
        context_.switch_transaction(outer);
        inner.reset();
        if (error) {
            if (plan_.on_error == InTransactions::OnError::kFail) {
                throw QueryError{*error};
            }
            report.set("errorMessage", Value{error->message()});
            stopped_ = plan_.on_error == InTransactions::OnError::kBreak;
            return;
        }
        Batch one{context_.slots};
        one.begin_exact(1);
        for (std::size_t i = 0; i < rows.size(); ++i) {
            rows.load(i, one, 0);
            add_ready(one, report);
        }
    }
    void emit_failed(const RowStore& group, const Map& report) {
        Batch one{context_.slots};
        one.begin_exact(1);
        for (std::size_t i = 0; i < group.size(); ++i) {
            group.load(i, one, 0);
            for (const Slot s : plan_.introduced) {
                one.column(s)[0] = Value{};
            }
            add_ready(one, report);
        }
    }
    void add_ready(Batch& one, const Map& report) {
        if (plan_.report != kNoSlot) {
            one.column(plan_.report)[0] = Value{report};
        }
        memory_.take(ready_.add(Row{&one, 0}));
    }

    const InTransactionsPlan& plan_;
    ExecContext& context_;
    Input input_;
    Batch batch_;
    RowStore ready_;
    MemoryShare memory_;
    std::size_t at_ = 0;
    std::uint64_t size_ = 0;
    bool stopped_ = false;
};

}  // namespace

OperatorPtr make_in_transactions(const InTransactionsPlan& plan, ExecContext& context) {
    return std::make_unique<InTransactionsOperator>(plan, context);
}

}  // namespace nornic::cypher
