#include "observability/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <mutex>

namespace nornic {
namespace {

class PrometheusCounter final : public Counter {
public:
    explicit PrometheusCounter(prometheus::Counter& counter) : counter_{counter} {}
    void add(double amount) override { counter_.Increment(amount); }

private:
    prometheus::Counter& counter_;
};
class PrometheusGauge final : public Gauge {
public:
    explicit PrometheusGauge(prometheus::Gauge& gauge) : gauge_{gauge} {}
    void set(double value) override { gauge_.Set(value); }

private:
    prometheus::Gauge& gauge_;
};
class PrometheusHistogram final : public Histogram {
public:
    explicit PrometheusHistogram(prometheus::Histogram& histogram) : histogram_{histogram} {}
    void observe(double value) override { histogram_.Observe(value); }

private:
    prometheus::Histogram& histogram_;
};

}  // namespace

struct Metrics::Impl {
    mutable std::mutex mutex;
    prometheus::Registry registry;
    std::map<std::pair<std::string, MetricLabels>, std::unique_ptr<Counter>> counters;
    std::map<std::pair<std::string, MetricLabels>, std::unique_ptr<Gauge>> gauges;
    std::map<std::pair<std::string, MetricLabels>, std::unique_ptr<Histogram>> histograms;
    std::vector<std::function<void()>> refreshers;
};

Metrics::Metrics() : impl_{std::make_unique<Impl>()} {}
Metrics::~Metrics() = default;

Counter& Metrics::counter(const std::string& name,
                          const std::string& help,
                          const MetricLabels& labels) {
    const std::lock_guard lock{impl_->mutex};
    auto& slot = impl_->counters[{name, labels}];
    if (!slot) {
        slot = std::make_unique<PrometheusCounter>(
            prometheus::BuildCounter().Name(name).Help(help).Register(impl_->registry).Add(labels));
    }
    return *slot;
}

Gauge& Metrics::gauge(const std::string& name,
                      const std::string& help,
                      const MetricLabels& labels) {
    const std::lock_guard lock{impl_->mutex};
    auto& slot = impl_->gauges[{name, labels}];
    if (!slot) {
        slot = std::make_unique<PrometheusGauge>(
            prometheus::BuildGauge().Name(name).Help(help).Register(impl_->registry).Add(labels));
    }
    return *slot;
}

Histogram& Metrics::histogram(const std::string& name,
                              const std::string& help,
                              const std::vector<double>& bounds,
                              const MetricLabels& labels) {
    const std::lock_guard lock{impl_->mutex};
    auto& slot = impl_->histograms[{name, labels}];
    if (!slot) {
        slot = std::make_unique<PrometheusHistogram>(prometheus::BuildHistogram()
                                                         .Name(name)
                                                         .Help(help)
                                                         .Register(impl_->registry)
                                                         .Add(labels, bounds));
    }
    return *slot;
}

void Metrics::on_scrape(std::function<void()> refresh) {
    const std::lock_guard lock{impl_->mutex};
    impl_->refreshers.push_back(std::move(refresh));
}

std::string Metrics::text() const {
    std::vector<std::function<void()>> refreshers;
    {
        const std::lock_guard lock{impl_->mutex};
        refreshers = impl_->refreshers;
    }
    for (const auto& refresh : refreshers) {
        refresh();
    }
    return prometheus::TextSerializer{}.Serialize(impl_->registry.Collect());
}

}  // namespace nornic
