// Metrics that are looked up when somebody scrapes, rather than counted where things happen.
#pragma once

#include "observability/metrics.h"

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>

namespace nornic::server {

/// What one scrape shows.
class Scraped {
public:
    explicit Scraped(Metrics& metrics) : metrics_{metrics} {}

    void gauge(const std::string& name, const std::string& help, double value, const MetricLabels& labels = {});
    /// total: since some start. One that went back has started anew, and what was counted before stays counted.
    void counter(const std::string& name, const std::string& help, double total, const MetricLabels& labels = {});

private:
    friend void show_when_scraped(Metrics& metrics, std::function<void(Scraped&)> look);
    void begin() { shown_.clear(); }
    void end();

    using Key = std::pair<std::string, MetricLabels>;
    Metrics& metrics_;
    std::map<Key, Gauge*> gauges_;
    std::set<Key> shown_;  // gauges of this scrape
    std::map<Key, double> totals_;
};

/// `look` is called at each scrape, never twice at once. A gauge that it has shown before and no longer shows, as that of a
/// peer that is gone, is NaN from then on: no alert fires for it.
void show_when_scraped(Metrics& metrics, std::function<void(Scraped&)> look);

}  // namespace nornic::server
