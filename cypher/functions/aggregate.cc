#include "cypher/functions/aggregate.h"

#include "cypher/functions/registry.h"
#include "cypher/functions/temporal.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace nornic::cypher {

void SumAggregator::overflow() {
    temporal::throw_overflow();
}

void SumAggregator::add_slow(const Value& value) {
    if (value.is_null()) {
        return;
    }
    if (value.is_number() && !is_duration_) {
        if (value.is(ValueType::kFloat) && !is_float_) {
            // From the first float on the sum is a float.
            is_float_ = true;
            floats_ = static_cast<double>(integers_);
        }
        add_float(value.as_number());
        is_number_ = true;
        return;
    }
    const bool nothing_yet = !is_float_ && !is_number_ && integers_ == 0;
    if (value.is(ValueType::kDuration) && (is_duration_ || nothing_yet)) {
        is_duration_ = true;
        duration_ = temporal::add_durations(duration_, value.as_duration(), 1);
        return;
    }
    if (value.is(ValueType::kDuration) || (value.is_number() && is_duration_)) {
        throw QueryError{
            ErrorCode::kTypeError, "sum() cannot mix numbers and durations", "22G03>22N01"};
    }
    throw_input("sum", "a number or a duration", value);
}

Value SumAggregator::result() {
    return is_duration_ ? Value{duration_} : (is_float_ ? Value{floats_} : Value{integers_});
}

void AvgAggregator::add_slow(const Value& value) {
    if (value.is_null()) {
        return;
    }
    if (value.is(ValueType::kDuration) && !is_number_) {
        is_duration_ = true;
        ++count_;
        const DurationValue& d = value.as_duration();
        months_ += static_cast<double>(d.months);
        days_ += static_cast<double>(d.days);
        seconds_ += static_cast<double>(d.seconds);
        nanoseconds_ += static_cast<double>(d.nanoseconds);
        return;
    }
    if (value.is(ValueType::kDuration) || value.is_number()) {
        throw QueryError{
            ErrorCode::kTypeError, "avg() cannot mix numbers and durations", "22G03>22N01"};
    }
    throw_input("avg", "a number or a duration", value);
}

Value AvgAggregator::result() {
    if (count_ == 0) {
        return {};
    }
    if (!is_duration_) {
        return Value{static_cast<double>((static_cast<long double>(integers_) + floats_) /
                                         static_cast<long double>(count_))};
    }
    const auto n = static_cast<long double>(count_);
    return Value{temporal::approximate(months_ / n, days_ / n, seconds_ / n, nanoseconds_ / n)};
}

namespace {

class CollectAggregator final : public Aggregator {
public:
    void add(const Value& value) override {
        if (!value.is_null()) {
            bytes_ += sizeof(Value) + value.heap_bytes();
            list_.push_back(value);
        }
    }
    Value result() override { return bounded(Value{std::move(list_)}); }
    [[nodiscard]] std::size_t heap_bytes() const noexcept override { return bytes_; }

private:
    List list_;
    std::size_t bytes_ = 0;
};

/// Welford's running variance.
class DeviationAggregator final : public Aggregator {
public:
    explicit DeviationAggregator(bool population) : population_{population} {}
    void add(const Value& value) override {
        if (value.is_null()) {
            return;
        }
        if (!value.is_number()) {
            throw_input(population_ ? "stDevP" : "stDev", "a number", value);
        }
        ++count_;
        const double delta = value.as_number() - mean_;
        mean_ += delta / static_cast<double>(count_);
        squares_ += delta * (value.as_number() - mean_);
    }
    Value result() override {
        const std::int64_t n = population_ ? count_ : count_ - 1;
        return Value{count_ < 2 ? 0.0 : std::sqrt(squares_ / static_cast<double>(n))};
    }

private:
    bool population_;
    std::int64_t count_ = 0;
    double mean_ = 0;
    double squares_ = 0;
};

class PercentileAggregator final : public Aggregator {
public:
    explicit PercentileAggregator(bool continuous) : continuous_{continuous} {}

    void set_parameter(const Value& parameter) override {
        if (has_parameter_) {
            return;
        }
        if (!parameter.is_number()) {
            throw_input(name(), "a number as percentile", parameter);
        }
        const double p = parameter.as_number();
        if (!(p >= 0.0 && p <= 1.0)) {
            throw QueryError{ErrorCode::kArgumentError,
                             fmt::format("Invalid input '{}' is not a valid argument, must be a "
                                         "number in the range 0.0 to 1.0",
                                         to_cypher_text(parameter)),
                             "22003>22N03"};
        }
        percentile_ = p;
        has_parameter_ = true;
    }

    void add(const Value& value) override {
        if (value.is_null()) {
            return;
        }
        if (!value.is_number()) {
            throw_input(name(), "a number", value);
        }
        values_.push_back(value);
    }

    Value result() override {
        if (values_.empty()) {
            return {};
        }
        std::sort(values_.begin(), values_.end(), [](const Value& a, const Value& b) {
            return compare_for_order(a, b) < 0;
        });
        const auto n = static_cast<double>(values_.size());
        if (continuous_) {
            const double place = percentile_ * (n - 1);
            const double below = std::floor(place);
            const auto i = static_cast<std::size_t>(below);
            const double low = values_[i].as_number();
            if (i + 1 >= values_.size() || place == below) {
                return Value{low};
            }
            const double high = values_[i + 1].as_number();
            return Value{low * (below + 1 - place) + high * (place - below)};
        }
        // The least value with at least that share of all values at or below it.
        const double place = std::ceil(percentile_ * n);
        const auto i = place < 1 ? 0 : static_cast<std::size_t>(place) - 1;
        return values_[std::min(i, values_.size() - 1)];
    }
    [[nodiscard]] std::size_t heap_bytes() const noexcept override {
        return values_.capacity() * sizeof(Value);
    }

private:
    [[nodiscard]] std::string_view name() const {
        return continuous_ ? "percentileCont" : "percentileDisc";
    }
    bool continuous_;
    bool has_parameter_ = false;
    double percentile_ = 0;
    std::vector<Value> values_;
};

class DistinctAggregator final : public Aggregator {
public:
    explicit DistinctAggregator(std::unique_ptr<Aggregator> inner) : inner_{std::move(inner)} {}
    void set_parameter(const Value& parameter) override { inner_->set_parameter(parameter); }
    void add(const Value& value) override {
        if (!value.is_null() && seen_.insert(value).second) {
            bytes_ += kEntryBytes + value.heap_bytes();
            inner_->add(value);
        }
    }
    Value result() override { return inner_->result(); }
    [[nodiscard]] std::size_t heap_bytes() const noexcept override {
        return bytes_ + inner_->heap_bytes();
    }

private:
    static constexpr std::size_t kEntryBytes = 48;  // a node of the hash set and its bucket
    struct Hash {
        std::size_t operator()(const Value& v) const noexcept { return hash(v); }
    };
    struct Same {
        bool operator()(const Value& a, const Value& b) const noexcept { return equivalent(a, b); }
    };
    std::unique_ptr<Aggregator> inner_;
    std::unordered_set<Value, Hash, Same> seen_;
    std::size_t bytes_ = 0;
};

std::unique_ptr<Aggregator> make_plain(AggregateKind kind) {
    switch (kind) {
        case AggregateKind::kCountStar:
            return std::make_unique<CountStarAggregator>();
        case AggregateKind::kCount:
            return std::make_unique<CountAggregator>();
        case AggregateKind::kSum:
            return std::make_unique<SumAggregator>();
        case AggregateKind::kAvg:
            return std::make_unique<AvgAggregator>();
        case AggregateKind::kMin:
            return std::make_unique<MinAggregator>();
        case AggregateKind::kMax:
            return std::make_unique<MaxAggregator>();
        case AggregateKind::kCollect:
            return std::make_unique<CollectAggregator>();
        case AggregateKind::kStDev:
            return std::make_unique<DeviationAggregator>(false);
        case AggregateKind::kStDevP:
            return std::make_unique<DeviationAggregator>(true);
        case AggregateKind::kPercentileCont:
            return std::make_unique<PercentileAggregator>(true);
        case AggregateKind::kPercentileDisc:
            return std::make_unique<PercentileAggregator>(false);
    }
    return nullptr;
}

struct Row {
    AggregateKind kind;
    std::string_view signature;
    int arguments;
    TypeSet accepted;
    TypeSet result;
    std::string_view description;
};

constexpr TypeSet kSummable = types::kNumber | types::kDuration;
constexpr Row kRows[] = {
    {AggregateKind::kCount,
     "count(input :: ANY) :: INTEGER",
     1,
     types::kAny,
     types::kInteger,
     "The number of values that are not null; of rows, with an asterisk."},
    {AggregateKind::kSum,
     "sum(input :: INTEGER | FLOAT | DURATION) :: INTEGER | FLOAT | DURATION",
     1,
     kSummable,
     kSummable,
     "The sum of numbers or durations; 0 of none."},
    {AggregateKind::kAvg,
     "avg(input :: INTEGER | FLOAT | DURATION) :: FLOAT | DURATION",
     1,
     kSummable,
     types::kFloat | types::kDuration,
     "The mean of numbers or durations; null of none."},
    {AggregateKind::kMin,
     "min(input :: ANY) :: ANY",
     1,
     types::kAny,
     types::kAny,
     "The least value; null of none."},
    {AggregateKind::kMax,
     "max(input :: ANY) :: ANY",
     1,
     types::kAny,
     types::kAny,
     "The greatest value; null of none."},
    {AggregateKind::kCollect,
     "collect(input :: ANY) :: LIST<ANY>",
     1,
     types::kAny,
     types::kList,
     "All values that are not null, as a list."},
    {AggregateKind::kStDev,
     "stDev(input :: FLOAT) :: FLOAT",
     1,
     types::kNumber,
     types::kFloat,
     "The standard deviation of a sample."},
    {AggregateKind::kStDevP,
     "stDevP(input :: FLOAT) :: FLOAT",
     1,
     types::kNumber,
     types::kFloat,
     "The standard deviation of a whole population."},
    {AggregateKind::kPercentileCont,
     "percentileCont(input :: FLOAT, percentile :: FLOAT) :: FLOAT",
     2,
     types::kNumber,
     types::kFloat,
     "The value at a percentile between 0 and 1, interpolated."},
    {AggregateKind::kPercentileDisc,
     "percentileDisc(input :: FLOAT, percentile :: FLOAT) :: INTEGER | FLOAT",
     2,
     types::kNumber,
     types::kNumber,
     "The value nearest to a percentile between 0 and 1."},
};

}  // namespace

void add_aggregate_functions(FunctionList& list) {
    for (const Row& r : kRows) {
        FunctionSignature& f = add_function(list,
                                            "Aggregating",
                                            r.signature,
                                            {r.arguments, r.arguments},
                                            {r.accepted},
                                            r.result,
                                            r.description,
                                            nullptr);
        f.aggregating = true;
    }
}

bool find_aggregate(std::string_view name, AggregateKind& kind) noexcept {
    for (const Row& r : kRows) {
        const std::string_view own = r.signature.substr(0, r.signature.find('('));
        const bool same = own.size() == name.size() &&
                          std::equal(own.begin(), own.end(), name.begin(), [](char a, char b) {
                              return (a | 0x20) == (b | 0x20);
                          });
        if (same) {
            kind = r.kind;
            return true;
        }
    }
    return false;
}

std::unique_ptr<Aggregator> make_aggregator(AggregateKind kind, bool distinct) {
    auto plain = make_plain(kind);
    // The extremes of a set are those of its values, counted once or often.
    if (!distinct || kind == AggregateKind::kMin || kind == AggregateKind::kMax ||
        kind == AggregateKind::kCountStar) {
        return plain;
    }
    return std::make_unique<DistinctAggregator>(std::move(plain));
}

}  // namespace nornic::cypher
