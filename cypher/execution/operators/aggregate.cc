// EagerAggregation and Distinct: hash tables over equivalent keys.
#include "cypher/execution/operators/input.h"

#include <algorithm>
#include <bit>

namespace nornic::cypher {
namespace {

/// Keys of a fixed width, numbered in the order they were first seen. Open addressing; the keys lie
/// one after the other, so that a probe touches two lines at most.
class KeyTable {
public:
    explicit KeyTable(std::size_t width) : width_{width}, buckets_(16, kEmpty) {}
    /// The number of the key, and whether it is new.
    std::pair<std::size_t, bool> add(std::span<const Value> key) {
        // hash() is not used for integers here, so a float that equals one must be taken to it.
        const std::size_t h = hash_normalised(key);
        std::size_t at = h & (buckets_.size() - 1);
        while (buckets_[at] != kEmpty) {
            const std::size_t n = buckets_[at];
            if (hashes_[n] == h && same(n, key)) {
                return {n, false};
            }
            at = (at + 1) & (buckets_.size() - 1);
        }
        const std::size_t n = hashes_.size();
        buckets_[at] = n;
        hashes_.push_back(h);
        keys_.insert(keys_.end(), key.begin(), key.end());
        if (hashes_.size() * 2 > buckets_.size()) {
            rehash();
        }
        return {n, true};
    }
    [[nodiscard]] std::size_t size() const noexcept { return hashes_.size(); }
    [[nodiscard]] std::span<const Value> key(std::size_t n) const noexcept {
        return {keys_.data() + n * width_, width_};
    }
    void clear() {
        keys_.clear();
        hashes_.clear();
        buckets_.assign(16, kEmpty);
    }

private:
    static constexpr std::size_t kEmpty = SIZE_MAX;
    static std::size_t mix(std::uint64_t v) { return (v ^ (v >> 32)) * 0xD6E8FEB86659FD93ULL; }
    static std::size_t hash_normalised(std::span<const Value> key) {
        std::size_t h = 0;
        for (const Value& v : key) {
            std::size_t one = 0;
            if (v.is(ValueType::kInteger)) {
                one = mix(static_cast<std::uint64_t>(v.as_integer()));
            } else if (v.is(ValueType::kFloat) && v.as_float() >= -9.2e18 &&
                       v.as_float() <= 9.2e18 &&
                       v.as_float() ==
                           static_cast<double>(static_cast<std::int64_t>(v.as_float()))) {
                one = mix(static_cast<std::uint64_t>(static_cast<std::int64_t>(v.as_float())));
            } else {
                one = hash(v);
            }
            h = (std::rotl(h, 23) ^ one) * 0x9E3779B97F4A7C15ULL;
        }
        return h ^ (h >> 29);
    }
    [[nodiscard]] bool same(std::size_t n, std::span<const Value> key) const {
        const Value* k = keys_.data() + n * width_;
        for (std::size_t i = 0; i < width_; ++i) {
            if (k[i].is(ValueType::kInteger) && key[i].is(ValueType::kInteger)) {
                if (k[i].as_integer() != key[i].as_integer()) {
                    return false;
                }
            } else if (!equivalent(k[i], key[i])) {
                return false;
            }
        }
        return true;
    }
    void rehash() {
        buckets_.assign(buckets_.size() * 4, kEmpty);
        for (std::size_t n = 0; n < hashes_.size(); ++n) {
            std::size_t at = hashes_[n] & (buckets_.size() - 1);
            while (buckets_[at] != kEmpty) {
                at = (at + 1) & (buckets_.size() - 1);
            }
            buckets_[at] = n;
        }
    }
    std::size_t width_;
    std::vector<Value> keys_;
    std::vector<std::size_t> hashes_;
    std::vector<std::size_t> buckets_;
};

std::size_t key_bytes(std::span<const Value> key) {
    std::size_t bytes = 32;
    for (const Value& v : key) {
        bytes += sizeof(Value) + v.heap_bytes();
    }
    return bytes;
}

class AggregationOperator final : public Operator {
public:
    AggregationOperator(const AggregationPlan& plan, ExecContext& context)
        : plan_{plan},
          context_{context},
          child_{make_operator(*plan.child(), context)},
          table_{plan.keys.size()},
          memory_{context} {}
    bool next(Batch& out) override {
        if (!filled_) {
            fill();
        }
        while (at_ < table_.size() && !out.full()) {
            const auto key = table_.key(at_);
            for (std::size_t k = 0; k < key.size(); ++k) {
                out.column(plan_.keys[k].first)[out.rows] = key[k];
            }
            for (std::size_t a = 0; a < plan_.aggregates.size(); ++a) {
                out.column(plan_.aggregates[a].to)[out.rows] =
                    groups_[at_ * plan_.aggregates.size() + a]->result();
            }
            ++out.rows;
            ++at_;
        }
        return out.rows > 0;
    }
    void reset() override {
        filled_ = false;
        at_ = 0;
        table_.clear();
        groups_.clear();
        memory_.release();
        child_->reset();
    }

private:
    void new_group() {
        for (const AggregateItem& item : plan_.aggregates) {
            groups_.push_back(make_aggregator(item.kind, item.distinct));
        }
    }
    void fill() {
        filled_ = true;
        if (plan_.keys.empty()) {
            table_.add({});
            new_group();
        }
        Batch batch{context_.slots};
        std::vector<std::size_t> group_of;
        std::vector<Value> key(plan_.keys.size());
        for (batch.begin_fill(); child_->next(batch); batch.begin_fill()) {
            group_of.assign(batch.rows, 0);
            if (!plan_.keys.empty()) {
                number_groups(batch, key, group_of);
            }
            for (std::size_t a = 0; a < plan_.aggregates.size(); ++a) {
                add_column(a, batch, group_of);
            }
            context_.check_killed();
        }
    }
    void number_groups(Batch& batch, std::vector<Value>& key, std::vector<std::size_t>& group_of) {
        for (std::uint32_t i = 0; i < batch.rows; ++i) {
            for (std::size_t k = 0; k < key.size(); ++k) {
                Value scratch;
                const Value& v = plan_.keys[k].second->eval(Row{&batch, i}, context_, scratch);
                key[k] = v;
            }
            const auto [group, fresh] = table_.add(key);
            group_of[i] = group;
            if (fresh) {
                memory_.take(key_bytes(key) + plan_.aggregates.size() * kGroupBytes);
                new_group();
            }
        }
    }
    template <class A>
    void add_as(std::size_t a,
                const CompiledExpr& argument,
                Batch& batch,
                const std::vector<std::size_t>& group_of) {
        const std::size_t width = plan_.aggregates.size();
        if (const Slot s = argument.slot(); s != kNoSlot) {
            const Value* column = batch.column(s);
            for (std::uint32_t i = 0; i < batch.rows; ++i) {
                static_cast<A&>(*groups_[group_of[i] * width + a]).add(column[i]);
            }
            return;
        }
        for (std::uint32_t i = 0; i < batch.rows; ++i) {
            Value scratch;
            static_cast<A&>(*groups_[group_of[i] * width + a])
                .add(argument.eval(Row{&batch, i}, context_, scratch));
        }
    }
    void add_column(std::size_t a, Batch& batch, const std::vector<std::size_t>& group_of) {
        const AggregateItem& item = plan_.aggregates[a];
        const std::size_t width = plan_.aggregates.size();
        if (item.argument == nullptr) {
            if (plan_.keys.empty()) {
                static_cast<CountStarAggregator&>(*groups_[a]).add_rows(batch.rows);
                return;
            }
            for (std::uint32_t i = 0; i < batch.rows; ++i) {
                static_cast<CountStarAggregator&>(*groups_[group_of[i] * width + a]).add_rows(1);
            }
            return;
        }
        if (!item.distinct) {
            switch (item.kind) {
                case AggregateKind::kCount:
                    add_as<CountAggregator>(a, *item.argument, batch, group_of);
                    return;
                case AggregateKind::kSum:
                    add_as<SumAggregator>(a, *item.argument, batch, group_of);
                    return;
                case AggregateKind::kAvg:
                    add_as<AvgAggregator>(a, *item.argument, batch, group_of);
                    return;
                case AggregateKind::kMin:
                    add_as<MinAggregator>(a, *item.argument, batch, group_of);
                    return;
                case AggregateKind::kMax:
                    add_as<MaxAggregator>(a, *item.argument, batch, group_of);
                    return;
                default:
                    break;
            }
        }
        for (std::uint32_t i = 0; i < batch.rows; ++i) {
            Aggregator& g = *groups_[group_of[i] * width + a];
            if (item.parameter != nullptr) {
                g.set_parameter(item.parameter->get(Row{&batch, i}, context_));
            }
            Value scratch;
            const Value& v = item.argument->eval(Row{&batch, i}, context_, scratch);
            const std::size_t before = g.heap_bytes();
            g.add(v);
            if (const std::size_t after = g.heap_bytes(); after > before) {
                memory_.take(after - before);
            }
        }
    }

    static constexpr std::size_t kGroupBytes = 96;  // an aggregator and the pointer to it

    const AggregationPlan& plan_;
    ExecContext& context_;
    OperatorPtr child_;
    KeyTable table_;
    std::vector<std::unique_ptr<Aggregator>> groups_;
    MemoryShare memory_;
    std::size_t at_ = 0;
    bool filled_ = false;
};

class DistinctOperator final : public Operator {
public:
    DistinctOperator(const DistinctPlan& plan, ExecContext& context)
        : plan_{plan},
          context_{context},
          child_{make_operator(*plan.child(), context)},
          table_{plan.slots.size()},
          key_(plan.slots.size()),
          memory_{context} {}
    bool next(Batch& out) override {
        while (child_->next(out)) {
            std::uint32_t kept = 0;
            for (std::uint32_t i = 0; i < out.rows; ++i) {
                for (std::size_t k = 0; k < key_.size(); ++k) {
                    key_[k] = out.column(plan_.slots[k])[i];
                }
                if (!table_.add(key_).second) {
                    continue;
                }
                memory_.take(key_bytes(key_));
                if (kept != i) {
                    for (const Slot s : plan_.live) {
                        out.column(s)[kept] = std::move(out.column(s)[i]);
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
        return false;
    }
    void reset() override {
        table_.clear();
        memory_.release();
        child_->reset();
    }

private:
    const DistinctPlan& plan_;
    ExecContext& context_;
    OperatorPtr child_;
    KeyTable table_;
    std::vector<Value> key_;
    MemoryShare memory_;
};

}  // namespace

OperatorPtr make_aggregation(const AggregationPlan& plan, ExecContext& context) {
    return std::make_unique<AggregationOperator>(plan, context);
}
OperatorPtr make_distinct(const DistinctPlan& plan, ExecContext& context) {
    return std::make_unique<DistinctOperator>(plan, context);
}

}  // namespace nornic::cypher
