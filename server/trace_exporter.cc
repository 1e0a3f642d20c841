#include "server/trace_exporter.h"

#include "observability/log.h"
#include "server/scraped.h"
#include "server/version.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::server {
namespace {

constexpr std::chrono::seconds kBatchInterval{1};
constexpr std::chrono::milliseconds kRequestTimeout{5000};
/// How long a stop goes on sending what waits.
constexpr Duration kLastBatches = std::chrono::seconds{2};
constexpr Duration kPauseMin = std::chrono::seconds{1};
constexpr Duration kPauseMax = std::chrono::seconds{30};
constexpr std::uint16_t kDefaultPort = 4318;
constexpr int kRefusalBytesShown = 300;

bool is_for_later(int status) {
    return status == 429 || status == 502 || status == 503 || status == 504;
}

}  // namespace

Result<std::unique_ptr<TraceExporter>> TraceExporter::start(const env::TraceSettings& settings,
                                                            const std::string& node_id,
                                                            Metrics& metrics,
                                                            Clock& clock) {
    if (settings.endpoint.empty()) {
        return std::unique_ptr<TraceExporter>{};
    }
    http::Site defaults;
    defaults.timeout = kRequestTimeout;
    auto site = http::parse_site(settings.endpoint, defaults);
    if (!site) {
        return fail(ErrorCode::kInvalidArgument, "OTEL_EXPORTER_OTLP_ENDPOINT=" + site.error().message());
    }
    const std::string_view rest = std::string_view{settings.endpoint}.substr(settings.endpoint.find("://") + 3);
    const std::size_t slash = rest.find('/');
    const std::string_view authority = rest.substr(0, slash);
    if (authority.ends_with(']') || authority.find(':') == std::string_view::npos) {
        site.value().port = kDefaultPort;
    }
    std::string path{slash == std::string_view::npos ? std::string_view{} : rest.substr(slash)};
    while (path.ends_with('/')) {
        path.pop_back();
    }
    TracerSettings tracer;
    tracer.sample_ratio = settings.sample_ratio;
    std::unique_ptr<TraceExporter> out{new TraceExporter{std::move(site).value(), path + "/v1/traces", tracer, clock}};
    out->headers_ = env::parse_pairs(settings.headers).value_or(http::Headers{});
    out->headers_.emplace_back("Content-Type", "application/x-protobuf");
    out->headers_.emplace_back("Accept", "application/x-protobuf");
    out->resource_ = env::parse_pairs(settings.resource_attributes).value_or(otlp::Attributes{});
    const auto add = [&](const char* name, std::string value) {
        const auto same = [&](const auto& pair) { return pair.first == name; };
        if (std::ranges::none_of(out->resource_, same)) {
            out->resource_.emplace_back(name, std::move(value));
        }
    };
    std::erase_if(out->resource_, [](const auto& pair) { return pair.first == "service.name"; });
    add("service.name", settings.service_name);
    add("service.version", std::string{kVersion});
    add("service.instance.id", node_id);
    out->add_metrics(metrics);
    out->thread_ = std::thread{[exporter = out.get()] { exporter->loop(); }};
    log::info("Traces go to {}{} as '{}'; {} of those that begin here.",
              out->site_.url(),
              out->target_,
              settings.service_name,
              settings.sample_ratio >= 1 ? "all" : fmt::format("{}", settings.sample_ratio));
    return out;
}

TraceExporter::~TraceExporter() {
    {
        const MutexLock lock{mutex_};
        stopping_ = true;
        stop_by_ = clock_.now() + kLastBatches;
        woken_.notify_all();
    }
    tracer_.close();
    thread_.join();
}

void TraceExporter::add_metrics(Metrics& metrics) {
    show_when_scraped(metrics, [this](Scraped& out) {
        const TracerStats stats = tracer_.stats();
        out.counter("nornicdb_traces_exported_total",
                    "Spans that the collector took.",
                    static_cast<double>(exported_.load(std::memory_order_relaxed)));
        out.counter("nornicdb_traces_failed_total",
                    "Spans that the collector refused.",
                    static_cast<double>(failed_.load(std::memory_order_relaxed)));
        out.counter("nornicdb_traces_dropped_total",
                    "Spans for which there was no room while the collector was away or slow, and traces that were not begun for "
                    "that reason.",
                    static_cast<double>(stats.dropped));
        out.gauge("nornicdb_traces_waiting", "Spans that wait to be sent.", static_cast<double>(stats.waiting));
    });
}

bool TraceExporter::pause(Duration how_long) {
    MutexLock lock{mutex_};
    const Deadline until = clock_.now() + how_long;
    while (!stopping_ && clock_.now() < until) {
        woken_.wait_until(lock, until);
    }
    return !stopping_;
}

bool TraceExporter::is_late() {
    const MutexLock lock{mutex_};
    return stopping_ && clock_.now() >= stop_by_;
}

void TraceExporter::loop() {
    for (;;) {
        const std::vector<SpanRecord> batch = tracer_.take(kBatchInterval);
        if (const bool goes_on = pause(Duration::zero()); !goes_on && (batch.empty() || is_late())) {
            return;
        }
        if (batch.empty()) {
            continue;
        }
        // Once, however often it is sent.
        const std::string body = otlp::trace_request(resource_, kVersion, batch);
        Duration wait = kPauseMin;
        Outcome outcome = send(body, batch.size());
        while (outcome == Outcome::kTryAgain) {
            if (!pause(wait)) {
                return;
            }
            wait = std::min(wait * 2, kPauseMax);
            outcome = send(body, batch.size());
        }
        const std::size_t refused = outcome == Outcome::kDone ? rejected_ : batch.size();
        failed_.fetch_add(refused, std::memory_order_relaxed);
        exported_.fetch_add(batch.size() - refused, std::memory_order_relaxed);
    }
}

TraceExporter::Outcome TraceExporter::send(const std::string& body, std::size_t spans) {
    const auto answer = http::fetch(site_, "POST", target_, body, headers_);
    if (!answer) {
        return not_now(answer.error().message());
    }
    const int status = answer.value().status;
    if (is_for_later(status)) {
        return not_now(fmt::format("{} answers {}", site_.url(), status));
    }
    if (!reachable_) {
        log::info("Traces are sent to {} again.", site_.url());
        reachable_ = true;
    }
    std::string why;
    rejected_ = 0;
    if (status / 100 != 2) {
        why = fmt::format("it answers {}: {}", status, std::string_view{answer.value().body}.substr(0, kRefusalBytesShown));
    } else if (const auto rejected = otlp::read_trace_response(answer.value().body); rejected && rejected->spans > 0) {
        rejected_ = std::min(rejected->spans, spans);
        why = rejected->why.empty() ? "it says nothing more" : rejected->why;
    }
    if (!why.empty() && !refusing_) {
        log::warn("{} does not take traces: {}", site_.url(), why);
    }
    refusing_ = !why.empty();
    return status / 100 == 2 ? Outcome::kDone : Outcome::kRefused;
}

TraceExporter::Outcome TraceExporter::not_now(const std::string& why) {
    if (reachable_) {
        log::warn("Traces cannot be sent: {}. A bounded number waits, the rest is dropped and counted.", why);
        reachable_ = false;
    }
    return Outcome::kTryAgain;
}

}  // namespace nornic::server
