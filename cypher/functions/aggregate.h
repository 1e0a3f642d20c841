// Aggregating functions: count, sum, avg, min, max, collect, stDev, stDevP, percentileCont,
// percentileDisc. One Aggregator holds one group's state.
//
// The classes that run once a row in the commonest queries (count, sum, avg, min, max) are final
// and inline, so that an operator which knows its kind pays no virtual call.
#pragma once

#include "cypher/functions/function.h"
#include "cypher/query_error.h"
#include "graph/value.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace nornic::cypher {

enum class AggregateKind : std::uint8_t {
    kCountStar,
    kCount,
    kSum,
    kAvg,
    kMin,
    kMax,
    kCollect,
    kStDev,
    kStDevP,
    kPercentileCont,
    kPercentileDisc,
};

class Aggregator {
public:
    Aggregator() = default;
    Aggregator(const Aggregator&) = delete;
    Aggregator& operator=(const Aggregator&) = delete;
    virtual ~Aggregator() = default;
    /// One row's value. Null is skipped by all but count(*). QueryError if the type does not fit.
    virtual void add(const Value& value) = 0;
    /// The percentile, for percentileCont and percentileDisc; called with each row's value before
    /// add(), of which the first counts. Others ignore it.
    virtual void set_parameter(const Value& /*parameter*/) {}
    /// The aggregate over what was added. Called once.
    virtual Value result() = 0;
    /// Bytes held on the heap, for memory limits. Grows with collect, DISTINCT and percentiles.
    [[nodiscard]] virtual std::size_t heap_bytes() const noexcept { return 0; }
};

/// The kind of an aggregating function, by name in any case; count(*) is not asked here.
bool find_aggregate(std::string_view name, AggregateKind& kind) noexcept;
/// distinct: each value counts once (equivalent() decides).
std::unique_ptr<Aggregator> make_aggregator(AggregateKind kind, bool distinct);

class CountStarAggregator final : public Aggregator {
public:
    void add(const Value&) override { ++count_; }
    void add_rows(std::int64_t n) noexcept { count_ += n; }
    Value result() override { return Value{count_}; }

private:
    std::int64_t count_ = 0;
};

class CountAggregator final : public Aggregator {
public:
    void add(const Value& value) override { count_ += value.is_null() ? 0 : 1; }
    Value result() override { return Value{count_}; }

private:
    std::int64_t count_ = 0;
};

class SumAggregator final : public Aggregator {
public:
    void add(const Value& value) override {
        if (value.is(ValueType::kInteger) && !is_float_ && !is_duration_) {
            if (!__builtin_add_overflow(integers_, value.as_integer(), &integers_)) [[likely]] {
                return;
            }
            overflow();
        }
        if (value.is(ValueType::kFloat) && is_float_) {
            add_float(value.as_float());
            return;
        }
        add_slow(value);
    }
    Value result() override;

private:
    /// Kahan's compensated sum: a long column of decimals adds up as people expect.
    void add_float(double v) noexcept {
        const double y = v - compensation_;
        const double t = floats_ + y;
        const double c = (t - floats_) - y;
        compensation_ = c == c ? c : 0.0;  // Infinity minus infinity must not poison the sum.
        floats_ = t;
    }
    void add_slow(const Value& value);
    [[noreturn]] static void overflow();

    std::int64_t integers_ = 0;
    double floats_ = 0;
    double compensation_ = 0;
    DurationValue duration_;
    bool is_float_ = false;
    bool is_duration_ = false;
    bool is_number_ = false;
};

class AvgAggregator final : public Aggregator {
public:
    void add(const Value& value) override {
        // Integers add up exactly in 128 bits; 80-bit floats neither overflow nor lose the small
        // beside the large.
        if (value.is(ValueType::kInteger) && !is_duration_) {
            is_number_ = true;
            ++count_;
            integers_ += value.as_integer();
            return;
        }
        if (value.is(ValueType::kFloat) && !is_duration_) {
            is_number_ = true;
            ++count_;
            floats_ += static_cast<long double>(value.as_float());
            return;
        }
        add_slow(value);
    }
    Value result() override;

private:
    void add_slow(const Value& value);

    std::int64_t count_ = 0;
    __int128 integers_ = 0;
    long double floats_ = 0;
    double months_ = 0;
    double days_ = 0;
    double seconds_ = 0;
    double nanoseconds_ = 0;
    bool is_number_ = false;
    bool is_duration_ = false;
};

/// min and max over all types: numbers before… as ORDER BY sorts, but by the rules of min() where
/// numbers are greater than strings, and those greater than lists.
template <int kSign>
class ExtremeAggregator final : public Aggregator {
public:
    void add(const Value& value) override {
        if (value.is_null()) {
            return;
        }
        if (value.is(ValueType::kInteger) && best_.is(ValueType::kInteger)) {
            if (kSign * (value.as_integer() < best_.as_integer() ? -1 : 1) > 0) {
                best_ = value;
            }
            return;
        }
        if (best_.is_null() || kSign * compare_for_order(value, best_) > 0) {
            best_ = value;
        }
    }
    Value result() override { return best_; }

private:
    Value best_;
};
using MinAggregator = ExtremeAggregator<-1>;
using MaxAggregator = ExtremeAggregator<1>;

}  // namespace nornic::cypher
