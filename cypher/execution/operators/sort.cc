// Sort, and Top, which keeps no more rows than will be asked for.
#include "cypher/execution/operators/input.h"

#include <algorithm>
#include <numeric>

namespace nornic::cypher {
namespace {

class SortOperator final : public Operator {
public:
    SortOperator(const SortPlan& plan, ExecContext& context)
        : plan_{plan},
          context_{context},
          child_{make_operator(*plan.child(), context)},
          rows_{plan.live},
          memory_{context} {
        for (const auto& [slot, descending] : plan.keys) {
            const auto at = std::ranges::find(plan.live, slot);
            keys_.emplace_back(static_cast<std::size_t>(at - plan.live.begin()), descending);
        }
    }
    bool next(Batch& out) override {
        if (!filled_) {
            fill();
        }
        while (at_ < order_.size() && !out.full()) {
            rows_.load(order_[at_++], out, out.rows);
            ++out.rows;
        }
        return out.rows > 0;
    }
    void reset() override {
        filled_ = false;
        at_ = 0;
        rows_.clear();
        order_.clear();
        memory_.release();
        child_->reset();
    }

private:
    /// Rows of equal keys stay in the order they came in.
    [[nodiscard]] bool before(std::size_t a, std::size_t b) const {
        const Value* x = rows_.row(a);
        const Value* y = rows_.row(b);
        for (const auto& [column, descending] : keys_) {
            const Value& v = x[column];
            const Value& w = y[column];
            int c = 0;
            if (v.is(ValueType::kInteger) && w.is(ValueType::kInteger)) {
                c = v.as_integer() < w.as_integer() ? -1
                                                    : (v.as_integer() > w.as_integer() ? 1 : 0);
            } else {
                c = compare_for_order(v, w);
            }
            if (c != 0) {
                return descending ? c > 0 : c < 0;
            }
        }
        return a < b;
    }
    void fill() {
        filled_ = true;
        std::uint64_t most = UINT64_MAX;
        if (plan_.limit != nullptr) {
            most = row_count(*plan_.limit, "LIMIT", context_);
            if (plan_.skip != nullptr) {
                const std::uint64_t skip = row_count(*plan_.skip, "SKIP", context_);
                most = most > UINT64_MAX - skip ? UINT64_MAX : most + skip;
            }
        }
        Batch batch{context_.slots};
        const auto less = [this](std::size_t a, std::size_t b) { return before(a, b); };
        for (batch.begin_fill(); child_->next(batch); batch.begin_fill()) {
            for (std::uint32_t i = 0; i < batch.rows; ++i) {
                order_.push_back(rows_.size());
                memory_.take(rows_.add(Row{&batch, i}) + sizeof(std::size_t));
            }
            // Dropped in large steps, so that each row is looked at a constant number of times.
            if (most < 1'000'000 && order_.size() > 2 * most + 4096) {
                shrink(most, less);
            }
        }
        if (most < order_.size()) {
            std::ranges::partial_sort(
                order_, order_.begin() + static_cast<std::ptrdiff_t>(most), less);
            order_.resize(most);
        } else {
            std::ranges::sort(order_, less);
        }
    }
    template <class Less>
    void shrink(std::uint64_t most, const Less& less) {
        std::ranges::nth_element(order_, order_.begin() + static_cast<std::ptrdiff_t>(most), less);
        order_.resize(most);
        std::ranges::sort(order_);
        Batch one{context_.slots};
        one.begin_exact(1);
        RowStore kept{rows_.slots()};
        memory_.release();
        for (const std::size_t i : order_) {
            rows_.load(i, one, 0);
            memory_.take(kept.add(Row{&one, 0}) + sizeof(std::size_t));
        }
        rows_ = std::move(kept);
        std::iota(order_.begin(), order_.end(), std::size_t{0});
    }

    const SortPlan& plan_;
    ExecContext& context_;
    OperatorPtr child_;
    RowStore rows_;
    MemoryShare memory_;
    std::vector<std::pair<std::size_t, bool>> keys_;
    std::vector<std::size_t> order_;
    std::size_t at_ = 0;
    bool filled_ = false;
};

}  // namespace

OperatorPtr make_sort(const SortPlan& plan, ExecContext& context) {
    return std::make_unique<SortOperator>(plan, context);
}

}  // namespace nornic::cypher
