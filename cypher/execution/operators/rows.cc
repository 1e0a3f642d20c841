// Operators that pass rows on: Filter, Projection, CacheProperties, Skip, Limit, Unwind, Union,
// Eager, EmptyResult, ProduceResults.
#include "cypher/execution/expression_nodes.h"
#include "cypher/execution/expressions.h"
#include "cypher/execution/operators/input.h"
#include "cypher/functions/operators.h"

#include <fmt/format.h>

namespace nornic::cypher {
namespace {

class FilterOperator final : public Operator {
public:
    FilterOperator(const FilterPlan& plan, ExecContext& context)
        : plan_{plan}, context_{context}, child_{make_operator(*plan.child(), context)} {}
    bool next(Batch& out) override {
        while (true) {
            if (!child_->next(out)) {
                return false;
            }
            std::uint32_t kept = 0;
            for (std::uint32_t i = 0; i < out.rows; ++i) {
                if (!passes(Row{&out, i})) {
                    continue;
                }
                if (kept != i) {
                    for (const Slot s : plan_.live) {
                        Value* column = out.column(s);
                        column[kept] = std::move(column[i]);
                    }
                }
                ++kept;
            }
            out.rows = kept;
            if (kept > 0) {
                return true;
            }
            context_.check_killed();
        }
    }
    void reset() override { child_->reset(); }

private:
    bool passes(Row row) const {
        for (const CompiledPtr& p : plan_.predicates) {
            if (!p->is_true(row, context_)) {
                return false;
            }
        }
        return true;
    }
    const FilterPlan& plan_;
    ExecContext& context_;
    OperatorPtr child_;
};

class ProjectionOperator final : public Operator {
public:
    ProjectionOperator(const ProjectionPlan& plan, ExecContext& context)
        : plan_{plan},
          context_{context},
          child_{make_operator(*plan.child(), context)},
          made_{context} {}
    bool next(Batch& out) override {
        made_.release();  // The rows of the batch before are used up, or others count them.
        if (!child_->next(out)) {
            return false;
        }
        for (const auto& [slot, expr] : plan_.items) {
            Value* column = out.column(slot);
            if (const Slot from = expr->slot(); from != kNoSlot) {
                if (from != slot) {
                    std::copy_n(out.column(from), out.rows, column);
                }
                continue;
            }
            for (std::uint32_t i = 0; i < out.rows; ++i) {
                Value scratch;
                const Value& v = expr->eval(Row{&out, i}, context_, scratch);
                if (&v == &scratch) {
                    // Short strings are not worth the counting; a batch holds few of them.
                    if (v.is_list() || v.is_map() || (v.is_string() && v.as_string().size() > 64)) {
                        made_.take(v.heap_bytes());
                    }
                    column[i] = std::move(scratch);
                } else {
                    column[i] = v;
                }
            }
        }
        return true;
    }
    void reset() override {
        made_.release();
        child_->reset();
    }

private:
    const ProjectionPlan& plan_;
    ExecContext& context_;
    OperatorPtr child_;
    MemoryShare made_;  // by the values in the batch that were computed here
};

/// Reads a property of all nodes of a batch at once, which shares pages and look-ups.
class CachePropertiesOperator final : public Operator {
public:
    CachePropertiesOperator(const CachePropertiesPlan& plan, ExecContext& context)
        : plan_{plan}, context_{context}, child_{make_operator(*plan.child(), context)} {}
    bool next(Batch& out) override {
        if (!child_->next(out)) {
            return false;
        }
        for (const CachePropertiesPlan::Item& item : plan_.items) {
            read(item, out);
        }
        return true;
    }
    void reset() override { child_->reset(); }

private:
    void read(const CachePropertiesPlan::Item& item, Batch& out) {
        const auto key = context_.key(item.key);
        Value* to = out.column(item.to);
        const Value* nodes = out.column(item.node);
        bool plain = key.has_value();
        for (std::uint32_t i = 0; plain && i < out.rows; ++i) {
            plain = nodes[i].is(ValueType::kNodeRef);
        }
        if (plain) {
            ids_.resize(out.rows);
            for (std::uint32_t i = 0; i < out.rows; ++i) {
                ids_[i] = nodes[i].as_node_ref();
            }
            context_.db_hits += out.rows;
            context_.reader->node_properties(ids_, *key, std::span<Value>{to, out.rows});
            if (context_.transaction != nullptr && context_.transaction->has_writes()) {
                for (std::uint32_t i = 0; i < out.rows; ++i) {
                    if (to[i].is_null() && context_.reader->deleted_here(ids_[i])) {
                        throw_deleted("Node", ids_[i].value);
                    }
                }
            }
            return;
        }
        for (std::uint32_t i = 0; i < out.rows; ++i) {
            Value scratch;
            const Value& v = read_property(nodes[i], item.key, context_, scratch);
            to[i] = &v == &scratch ? std::move(scratch) : v;
        }
    }
    const CachePropertiesPlan& plan_;
    ExecContext& context_;
    OperatorPtr child_;
    std::vector<NodeId> ids_;
};

class SkipLimitOperator final : public Operator {
public:
    SkipLimitOperator(const SkipLimitPlan& plan, ExecContext& context)
        : plan_{plan}, context_{context}, child_{make_operator(*plan.child(), context)} {}
    bool next(Batch& out) override {
        if (!known_) {
            left_ = row_count(*plan_.count, plan_.is_limit ? "LIMIT" : "SKIP", context_);
            known_ = true;
        }
        return plan_.is_limit ? limit(out) : skip(out);
    }
    void reset() override {
        known_ = false;
        child_->reset();
    }
    static std::uint64_t row_count(const CompiledExpr& expr,
                                   std::string_view what,
                                   ExecContext& context) {
        Batch batch{context.slots};
        batch.begin_exact(1);
        const Value v = expr.get(Row{&batch, 0}, context);
        if (!v.is(ValueType::kInteger) || v.as_integer() < 0) {
            throw QueryError{
                ErrorCode::kArgumentError,
                fmt::format(
                    "{}: Invalid input. '{}' is not a valid value. Must be a non-negative integer.",
                    what,
                    to_cypher_text(v)),
                "22003"};
        }
        return static_cast<std::uint64_t>(v.as_integer());
    }

private:
    bool limit(Batch& out) {
        if (left_ == 0) {
            if (plan_.exhaust) {
                while (child_->next(out)) {
                    out.rows = 0;
                }
            }
            return false;
        }
        if (!child_->next(out)) {
            return false;
        }
        out.rows = static_cast<std::uint32_t>(std::min<std::uint64_t>(out.rows, left_));
        left_ -= out.rows;
        return true;
    }
    bool skip(Batch& out) {
        while (child_->next(out)) {
            if (left_ >= out.rows) {
                left_ -= out.rows;
                out.rows = 0;
                continue;
            }
            if (left_ > 0) {
                const auto n = static_cast<std::uint32_t>(left_);
                for (const Slot s : plan_.live) {
                    Value* column = out.column(s);
                    std::move(column + n, column + out.rows, column);
                }
                out.rows -= n;
                left_ = 0;
            }
            return true;
        }
        return false;
    }
    const SkipLimitPlan& plan_;
    ExecContext& context_;
    OperatorPtr child_;
    bool known_ = false;
    std::uint64_t left_ = 0;
};

class UnwindOperator final : public RowMaker {
public:
    UnwindOperator(const UnwindPlan& plan, ExecContext& context)
        : RowMaker{plan, context}, plan_{plan} {}

private:
    bool begin(Row row) override {
        at_ = 0;
        if (plan_.range_from != nullptr) {
            const Value from = plan_.range_from->get(row, context_);
            const Value to = plan_.range_to->get(row, context_);
            const Value step =
                plan_.range_step != nullptr ? plan_.range_step->get(row, context_) : Value{1};
            if (from.is(ValueType::kInteger) && to.is(ValueType::kInteger) &&
                step.is(ValueType::kInteger) && step.as_integer() != 0) {
                from_ = from.as_integer();
                to_ = to.as_integer();
                step_ = step.as_integer();
                is_range_ = true;
                return step_ > 0 ? from_ <= to_ : from_ >= to_;
            }
        }
        is_range_ = false;
        holder_.clear();
        value_ = plan_.list->get(row, context_);
        list_ = list_of(value_, holder_);
        return list_ != nullptr && !list_->empty();
    }
    bool produce(Batch& out) override {
        Value* column = out.column(plan_.slot);
        if (is_range_) {
            while (!out.full()) {
                column[out.rows] = Value{from_};
                input_.copy_to(out, out.rows);
                ++out.rows;
                if (__builtin_add_overflow(from_, step_, &from_) ||
                    (step_ > 0 ? from_ > to_ : from_ < to_)) {
                    return false;
                }
            }
            return true;
        }
        while (at_ < list_->size() && !out.full()) {
            column[out.rows] = (*list_)[at_++];
            input_.copy_to(out, out.rows);
            ++out.rows;
        }
        return at_ < list_->size();
    }
    const UnwindPlan& plan_;
    Value value_;
    List holder_;
    const List* list_ = nullptr;
    std::size_t at_ = 0;
    bool is_range_ = false;
    std::int64_t from_ = 0;
    std::int64_t to_ = 0;
    std::int64_t step_ = 1;
};

class UnionOperator final : public Operator {
public:
    UnionOperator(const UnionPlan& plan, ExecContext& context) : plan_{plan} {
        for (const PlanPtr& c : plan.children) {
            children_.push_back(make_operator(*c, context));
        }
    }
    bool next(Batch& out) override {
        while (at_ < children_.size()) {
            if (children_[at_]->next(out)) {
                // Through a copy: one part's source may be another column's target.
                for (std::uint32_t i = 0; i < out.rows; ++i) {
                    row_.clear();
                    for (const Slot s : plan_.from[at_]) {
                        row_.push_back(out.column(s)[i]);
                    }
                    for (std::size_t c = 0; c < plan_.to.size(); ++c) {
                        out.column(plan_.to[c])[i] = std::move(row_[c]);
                    }
                }
                return true;
            }
            ++at_;
        }
        return false;
    }
    void reset() override {
        at_ = 0;
        for (const OperatorPtr& c : children_) {
            c->reset();
        }
    }

private:
    const UnionPlan& plan_;
    std::vector<OperatorPtr> children_;
    std::size_t at_ = 0;
    std::vector<Value> row_;
};

class EagerOperator final : public Operator {
public:
    EagerOperator(const EagerPlan& plan, ExecContext& context)
        : child_{make_operator(*plan.child(), context)},
          slots_{context.slots},
          rows_{plan.live},
          memory_{context} {}
    bool next(Batch& out) override {
        if (!filled_) {
            Batch batch{slots_};
            for (batch.begin_fill(); child_->next(batch); batch.begin_fill()) {
                for (std::uint32_t i = 0; i < batch.rows; ++i) {
                    memory_.take(rows_.add(Row{&batch, i}));
                }
            }
            filled_ = true;
        }
        while (at_ < rows_.size() && !out.full()) {
            rows_.load(at_++, out, out.rows);
            ++out.rows;
        }
        return out.rows > 0;
    }
    void reset() override {
        filled_ = false;
        at_ = 0;
        rows_.clear();
        memory_.release();
        child_->reset();
    }

private:
    OperatorPtr child_;
    std::uint32_t slots_;
    RowStore rows_;
    MemoryShare memory_;
    std::size_t at_ = 0;
    bool filled_ = false;
};

class EmptyResultOperator final : public Operator {
public:
    EmptyResultOperator(const PlanNode& plan, ExecContext& context)
        : child_{make_operator(*plan.child(), context)} {}
    bool next(Batch& out) override {
        while (child_->next(out)) {
            out.begin_fill();
        }
        out.rows = 0;
        return false;
    }
    void reset() override { child_->reset(); }

private:
    OperatorPtr child_;
};

}  // namespace

OperatorPtr make_row_operator(const PlanNode& plan, ExecContext& context) {
    switch (plan.op) {
        case Op::kFilter:
            return std::make_unique<FilterOperator>(static_cast<const FilterPlan&>(plan), context);
        case Op::kProjection:
            return std::make_unique<ProjectionOperator>(static_cast<const ProjectionPlan&>(plan),
                                                        context);
        case Op::kCacheProperties:
            return std::make_unique<CachePropertiesOperator>(
                static_cast<const CachePropertiesPlan&>(plan), context);
        case Op::kSkipLimit:
            return std::make_unique<SkipLimitOperator>(static_cast<const SkipLimitPlan&>(plan),
                                                       context);
        case Op::kUnwind:
            return std::make_unique<UnwindOperator>(static_cast<const UnwindPlan&>(plan), context);
        case Op::kUnion:
            return std::make_unique<UnionOperator>(static_cast<const UnionPlan&>(plan), context);
        case Op::kEager:
            return std::make_unique<EagerOperator>(static_cast<const EagerPlan&>(plan), context);
        case Op::kProduceResults:
            return make_operator(*plan.child(), context);
        default:
            return std::make_unique<EmptyResultOperator>(plan, context);
    }
}

std::uint64_t row_count(const CompiledExpr& expr, std::string_view what, ExecContext& context) {
    return SkipLimitOperator::row_count(expr, what, context);
}

}  // namespace nornic::cypher
