// Metrics as Prometheus reads them. Names are made where they are counted; this facade knows none.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace nornic {

using MetricLabels = std::map<std::string, std::string>;

class Counter {
public:
    virtual ~Counter() = default;
    virtual void add(double amount = 1) = 0;
};
class Gauge {
public:
    virtual ~Gauge() = default;
    virtual void set(double value) = 0;
};
class Histogram {
public:
    virtual ~Histogram() = default;
    virtual void observe(double value) = 0;
};

/// Thread-safe. What it gives lives as long as it does; asking twice for one name and labels gives
/// the same.
class Metrics {
public:
    Metrics();
    ~Metrics();
    Metrics(const Metrics&) = delete;
    Metrics& operator=(const Metrics&) = delete;

    Counter& counter(const std::string& name,
                     const std::string& help,
                     const MetricLabels& labels = {});
    Gauge& gauge(const std::string& name, const std::string& help, const MetricLabels& labels = {});
    /// bounds: upper ends of the buckets, ascending.
    Histogram& histogram(const std::string& name,
                         const std::string& help,
                         const std::vector<double>& bounds,
                         const MetricLabels& labels = {});
    /// Counters and gauges that are cheaper to read when somebody asks. Called by text().
    void on_scrape(std::function<void()> refresh);
    /// The text exposition format, version 0.0.4.
    [[nodiscard]] std::string text() const;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace nornic
