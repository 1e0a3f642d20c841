#include "server/scraped.h"

#include <limits>
#include <memory>
#include <mutex>

namespace nornic::server {

void Scraped::gauge(const std::string& name, const std::string& help, double value, const MetricLabels& labels) {
    Key key{name, labels};
    Gauge*& gauge = gauges_[key];
    if (gauge == nullptr) {
        gauge = &metrics_.gauge(name, help, labels);
    }
    gauge->set(value);
    shown_.insert(std::move(key));
}

void Scraped::counter(const std::string& name, const std::string& help, double total, const MetricLabels& labels) {
    double& before = totals_[{name, labels}];
    Counter& counter = metrics_.counter(name, help, labels);
    counter.add(total < before ? total : total - before);
    before = total;
}

void Scraped::end() {
    for (const auto& [key, gauge] : gauges_) {
        if (!shown_.contains(key)) {
            gauge->set(std::numeric_limits<double>::quiet_NaN());
        }
    }
}

void show_when_scraped(Metrics& metrics, std::function<void(Scraped&)> look) {
    struct State {
        explicit State(Metrics& m) : scraped{m} {}
        std::mutex mutex;
        Scraped scraped;
    };
    metrics.on_scrape([state = std::make_shared<State>(metrics), look = std::move(look)] {
        const std::lock_guard lock{state->mutex};
        state->scraped.begin();
        look(state->scraped);
        state->scraped.end();
    });
}

}  // namespace nornic::server
