// CartesianProduct and hash joins. The right side is kept in memory, the left one streams.
#include "cypher/execution/operators/input.h"

#include <unordered_map>

namespace nornic::cypher {
namespace {

class JoinOperator final : public RowMaker {
public:
    JoinOperator(const PlanNode& plan, const HashJoinPlan* keys, ExecContext& context)
        : RowMaker{plan, context},
          keys_{keys},
          right_{make_operator(*plan.children[1], context)},
          rows_{plan.children[1]->live},
          memory_{context} {}
    void reset() override {
        RowMaker::reset();
        filled_ = false;
        rows_.clear();
        table_.clear();
        memory_.release();
        right_->reset();
    }

private:
    static bool key_of(const std::vector<CompiledPtr>& exprs,
                       Row row,
                       ExecContext& context,
                       std::vector<Value>& out) {
        out.clear();
        for (const CompiledPtr& e : exprs) {
            out.push_back(e->get(row, context));
            if (out.back().is_null()) {
                return false;
            }
        }
        return true;
    }
    static std::size_t hash_of(const std::vector<Value>& key) {
        std::size_t h = 0;
        for (const Value& v : key) {
            h = h * 31 + hash(v);
        }
        return h;
    }
    void fill() {
        filled_ = true;
        Batch batch{context_.slots};
        std::vector<Value> key;
        for (batch.begin_fill(); right_->next(batch); batch.begin_fill()) {
            for (std::uint32_t i = 0; i < batch.rows; ++i) {
                const Row row{&batch, i};
                if (keys_ != nullptr) {
                    if (!key_of(keys_->right_keys, row, context_, key)) {
                        continue;
                    }
                    table_.emplace(hash_of(key), std::pair{rows_.size(), key});
                    std::size_t bytes = 64;
                    for (const Value& v : key) {
                        bytes += sizeof(Value) + v.heap_bytes();
                    }
                    memory_.take(bytes);
                }
                memory_.take(rows_.add(row));
            }
            context_.check_killed();
        }
    }
    bool begin(Row row) override {
        if (!filled_) {
            fill();
        }
        at_ = 0;
        if (keys_ == nullptr) {
            return rows_.size() > 0;
        }
        hits_.clear();
        std::vector<Value> key;
        if (!key_of(keys_->left_keys, row, context_, key)) {
            return false;
        }
        const auto [first, last] = table_.equal_range(hash_of(key));
        for (auto it = first; it != last; ++it) {
            bool same = true;
            for (std::size_t k = 0; same && k < key.size(); ++k) {
                same = equals(key[k], it->second.second[k]) == 1;
            }
            if (same) {
                hits_.push_back(it->second.first);
            }
        }
        std::ranges::sort(hits_);
        return !hits_.empty();
    }
    bool produce(Batch& out) override {
        const std::size_t n = keys_ == nullptr ? rows_.size() : hits_.size();
        while (at_ < n && !out.full()) {
            input_.copy_to(out, out.rows);
            rows_.load(keys_ == nullptr ? at_ : hits_[at_], out, out.rows);
            ++at_;
            ++out.rows;
        }
        return at_ < n;
    }
    const HashJoinPlan* keys_;
    OperatorPtr right_;
    RowStore rows_;
    MemoryShare memory_;
    std::unordered_multimap<std::size_t, std::pair<std::size_t, std::vector<Value>>> table_;
    std::vector<std::size_t> hits_;
    std::size_t at_ = 0;
    bool filled_ = false;
};

}  // namespace

OperatorPtr make_join(const PlanNode& plan, ExecContext& context) {
    return std::make_unique<JoinOperator>(
        plan,
        plan.op == Op::kHashJoin ? static_cast<const HashJoinPlan*>(&plan) : nullptr,
        context);
}

}  // namespace nornic::cypher
