// TraceExporter: sends ended spans to a collector (Jaeger, an OpenTelemetry collector) as OTLP over HTTP, in batches, on a
// thread of its own. Nobody waits for it: while the collector is away or slow the spans stay in the tracer's bounded ring, and
// what has no room there is dropped and counted.
#pragma once

#include "base/mutex.h"
#include "env/settings.h"
#include "http/client.h"
#include "observability/metrics.h"
#include "observability/otlp.h"
#include "observability/trace.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace nornic::server {

class TraceExporter {
public:
    /// nullptr where no endpoint is set. kInvalidArgument naming the setting. `node_id` tells the members of a cluster apart.
    static Result<std::unique_ptr<TraceExporter>> start(const env::TraceSettings& settings,
                                                        const std::string& node_id,
                                                        Metrics& metrics,
                                                        Clock& clock);
    /// Sends what waits, for as long as the collector takes it and for two seconds at most.
    ~TraceExporter();
    TraceExporter(const TraceExporter&) = delete;
    TraceExporter& operator=(const TraceExporter&) = delete;

    /// Where spans are made. Whoever holds one is gone before this is.
    [[nodiscard]] Tracer& tracer() noexcept { return tracer_; }

private:
    enum class Outcome : std::uint8_t { kDone, kRefused, kTryAgain };

    TraceExporter(http::Site site, std::string target, const TracerSettings& settings, Clock& clock)
        : site_{std::move(site)}, target_{std::move(target)}, tracer_{settings, clock}, clock_{clock} {}
    void add_metrics(Metrics& metrics);
    void loop();
    Outcome send(const std::string& body, std::size_t spans);
    Outcome not_now(const std::string& why);
    /// false: it is to end.
    bool pause(Duration how_long);
    bool is_late();

    const http::Site site_;
    const std::string target_;
    Tracer tracer_;
    Clock& clock_;
    http::Headers headers_;
    otlp::Attributes resource_;
    std::atomic<std::uint64_t> exported_{0};  // spans that the collector took
    std::atomic<std::uint64_t> failed_{0};    // spans that it refused
    bool reachable_ = true;  // as the log has it; of the thread
    bool refusing_ = false;  // likewise
    std::size_t rejected_ = 0;  // of the batch that was sent last; of the thread

    Mutex mutex_;
    ConditionVariable woken_;
    bool stopping_ GUARDED_BY(mutex_) = false;
    Deadline stop_by_ GUARDED_BY(mutex_){};
    std::thread thread_;
};

}  // namespace nornic::server
