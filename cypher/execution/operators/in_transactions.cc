// CALL { … } IN TRANSACTIONS: rows in groups, each group's work committed by a transaction of its
// own.
#include "cypher/execution/operators/input.h"

#include <fmt/format.h>

#include <chrono>
#include <thread>

namespace nornic::cypher {
namespace {

/// As long as a session runs a statement of its own again.
constexpr std::chrono::seconds kRerunPatience{30};

class InTransactionsOperator final : public Operator {
public:
    InTransactionsOperator(const InTransactionsPlan& plan, ExecContext& context)
        : plan_{plan},
          context_{context},
          input_{std::in_place, plan.child(), context},
          batch_{context.slots},
          ready_{plan.live},
          memory_{context} {}
    bool next(Batch& out) override {
        while (at_ == ready_.size()) {
            at_ = 0;
            ready_.clear();
            memory_.release();
            // The input is read as the statement found the graph, so that it does not meet its own work.
            context_.reader = context_.transaction;
            if (!run_group()) {
                see_committed(true);
                return false;
            }
        }
        see_committed(false);
        while (at_ < ready_.size() && !out.full()) {
            ready_.load(at_++, out, out.rows);
            ++out.rows;
        }
        return out.rows > 0;
    }
    void reset() override {
        input_.emplace(plan_.child(), context_);
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
        if (!input_) {
            return false;
        }
        RowStore group{input_->live()};
        MemoryShare held{context_};
        while (group.size() < size_ && input_->advance()) {
            held.take(group.add(input_->row()));
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
    /// What comes after the CALL sees what was committed, but where a part of a UNION before it wrote: that must be seen then.
    void see_committed(bool end) {
        if (plan_.goes_on) {
            // Nobody reads before the end. The statement's own transaction has nothing to lose then, and may change what was
            // committed; all that may have something open in its old snapshot goes first.
            if (end && committed_ && !context_.transaction->has_writes()) {
                committed_ = false;
                input_.reset();
                context_.nested.clear();
                context_.transaction->restart_keeping_locks();
                context_.switch_transaction(context_.transaction);
            }
            return;
        }
        if (committed_) {
            committed_ = false;
            if (context_.after_inner == nullptr) {
                context_.after_inner = value_or_throw(context_.services->begin_inner());
            } else {
                context_.after_inner->restart_keeping_locks();  // it has none; only the snapshot is new
            }
        }
        context_.reader = context_.transaction;
        if (context_.after_inner != nullptr && !context_.transaction->has_writes()) {
            context_.reader = context_.after_inner.get();
        }
    }
    void run(const RowStore& group, Map& report) {
        const ExecutionServices& services = *context_.services;
        if (!services.begin_inner || !services.commit_inner) {
            throw QueryError{
                ErrorCode::kTransactionStartFailed,
                "A query with 'CALL { ... } IN TRANSACTIONS' can only be executed in an implicit "
                "transaction, but tried to execute in an explicit transaction."};
        }
        RowStore rows{plan_.live};
        MemoryShare held{context_};
        std::optional<Error> error;
        // A row that another transaction won, or a deadlock: nothing happened, and the same rows find the graph as it is
        // now. Pauses of random length, longer each time, so that those that met once do not meet again.
        const auto patient_until = std::chrono::steady_clock::now() + kRerunPatience;
        std::uint64_t longest_us = 1000;
        while (true) {
            bool again = false;
            error = run_once(group, rows, held, report, again);
            if (!again || std::chrono::steady_clock::now() >= patient_until) {
                break;
            }
            context_.check_killed();
            rows.clear();
            held.release();
            std::this_thread::sleep_for(
                std::chrono::microseconds{context_.random->below(longest_us)});
            longest_us = std::min<std::uint64_t>(longest_us * 2, 64'000);
        }
        if (error) {
            if (plan_.on_error == InTransactions::OnError::kFail) {
                throw QueryError{*error};
            }
            report.set("errorMessage", Value{error->message()});
            stopped_ = plan_.on_error == InTransactions::OnError::kBreak;
            return;
        }
        committed_ = true;
        Batch one{context_.slots};
        one.begin_exact(1);
        for (std::size_t i = 0; i < rows.size(); ++i) {
            rows.load(i, one, 0);
            add_ready(one, report);
        }
    }
    /// One try in a transaction of its own. again: it failed, and may do better in another one.
    std::optional<Error> run_once(
        const RowStore& group, RowStore& rows, MemoryShare& held, Map& report, bool& again) {
        const ExecutionServices& services = *context_.services;
        engine::Transaction* const outer = context_.transaction;
        std::shared_ptr<engine::Transaction> inner = value_or_throw(services.begin_inner());
        report.set("started", Value{true});
        report.set("transactionId",
                   Value{fmt::format("{}-transaction-{}", context_.database, inner->id().value)});
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
        // One that was ended from outside, or because the plan is out of date, would end so again.
        again = error && !inner->killed() &&
                (error->code() == ErrorCode::kConflict || error->code() == ErrorCode::kDeadlock);
        return error;
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
    std::optional<Input> input_;
    Batch batch_;
    RowStore ready_;
    MemoryShare memory_;
    std::size_t at_ = 0;
    std::uint64_t size_ = 0;
    bool stopped_ = false;
    bool committed_ = false;  // since after_inner's snapshot was taken
};

}  // namespace

OperatorPtr make_in_transactions(const InTransactionsPlan& plan, ExecContext& context) {
    return std::make_unique<InTransactionsOperator>(plan, context);
}

}  // namespace nornic::cypher
