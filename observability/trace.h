// Trace spans: what was done for a statement, where, and how long it took, across members. A trace is known by its W3C
// context (https://www.w3.org/TR/trace-context/), which comes in with a transaction, goes along with forwarded statements
// and with log entries, and is looked at by nobody who is not sampled.
//
// Whoever may trace holds a Tracer*, nullptr where tracing is off. A Span of something that is not sampled is empty: it costs
// a null check. Ended spans wait in a bounded ring for whoever exports them (server/trace_exporter.h); what has no room is
// dropped and counted, nothing waits.
#pragma once

#include "base/clock.h"
#include "base/mutex.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace nornic {

/// One span of one trace; without ids it stands for none.
struct TraceContext {
    std::array<std::uint8_t, 16> trace_id{};
    std::array<std::uint8_t, 8> span_id{};
    bool is_sampled = false;

    [[nodiscard]] bool is_valid() const noexcept;
    /// Of a trace that is recorded.
    explicit operator bool() const noexcept { return is_sampled && is_valid(); }
    bool operator==(const TraceContext&) const = default;

    /// "00-<32 hex digits>-<16 hex digits>-<2 hex digits>"; nullopt if it is not that.
    static std::optional<TraceContext> parse(std::string_view traceparent);
    [[nodiscard]] std::string traceparent() const;
    [[nodiscard]] std::string trace_id_text() const;
};

/// Numbers as in OTLP.
enum class SpanKind : std::uint8_t { kInternal = 1, kServer = 2, kClient = 3 };

using SpanValue = std::variant<std::string, std::int64_t, bool>;

/// What is known of a span when it has ended.
struct SpanRecord {
    TraceContext context;
    std::array<std::uint8_t, 8> parent_id{};  // zeros: the root of its trace
    std::string name;
    SpanKind kind = SpanKind::kInternal;
    std::int64_t start_ns = 0;  // since 1970
    std::int64_t end_ns = 0;
    std::vector<std::pair<std::string, SpanValue>> attributes;
    bool failed = false;
    std::string failure;
};

class Tracer;

/// Ends when it is destroyed. One thread at a time; an empty one does nothing.
class Span {
public:
    Span() = default;
    Span(Span&&) = default;
    Span& operator=(Span&& other) noexcept {
        end();
        tracer_ = other.tracer_;
        began_ = other.began_;
        record_ = std::move(other.record_);
        return *this;
    }
    ~Span() { end(); }

    explicit operator bool() const noexcept { return record_ != nullptr; }
    /// For children; not sampled if empty.
    [[nodiscard]] TraceContext context() const { return record_ ? record_->context : TraceContext{}; }
    void set(std::string_view key, std::string_view value) {
        if (record_) {
            record_->attributes.emplace_back(key, std::string{value});
        }
    }
    void set(std::string_view key, std::int64_t value) {
        if (record_) {
            record_->attributes.emplace_back(key, value);
        }
    }
    void set_failed(std::string_view why) {
        if (record_) {
            record_->failed = true;
            record_->failure = why;
        }
    }
    void end();

private:
    friend class Tracer;
    Tracer* tracer_ = nullptr;
    Deadline began_{};
    std::unique_ptr<SpanRecord> record_;
};

struct TracerSettings {
    double sample_ratio = 1;         // of traces that begin here
    std::size_t waiting_max = 8192;  // spans that wait to be exported
    std::size_t batch = 512;         // whoever exports is woken when there are so many
};

struct TracerStats {
    std::uint64_t recorded = 0;
    std::uint64_t dropped = 0;  // spans for which there was no room, and traces that were not begun for that reason
    std::size_t waiting = 0;
};

/// Thread-safe. Outlives all its spans.
class Tracer {
public:
    Tracer(const TracerSettings& settings, Clock& clock) : settings_{settings}, clock_{clock} {}

    /// What comes in from a client. With a parent it is sampled as that is, else as the ratio has it. While the ring is
    /// full no trace is begun.
    Span root(std::string_view name, SpanKind kind, const std::optional<TraceContext>& parent);
    /// Empty if the parent is not sampled.
    Span child(std::string_view name, const TraceContext& parent, SpanKind kind = SpanKind::kInternal);
    /// A child that has ended already, `took` ago and now.
    void add_past(std::string_view name, const TraceContext& parent, Duration took);
    /// Of a trace that is not recorded, for others to whom that is told.
    static TraceContext not_sampled();

    /// Spans that ended, oldest first, once there is a batch of them or `wait` has passed; none: closed, or nothing ended.
    std::vector<SpanRecord> take(Duration wait);
    /// take() waits no more.
    void close();

    [[nodiscard]] TracerStats stats() const;

private:
    friend class Span;
    void add(SpanRecord record);
    Span begin(std::string_view name, SpanKind kind, const TraceContext& context, std::array<std::uint8_t, 8> parent_id);

    const TracerSettings settings_;
    Clock& clock_;
    std::atomic<std::uint64_t> recorded_{0};
    std::atomic<std::uint64_t> dropped_{0};
    std::atomic<bool> is_full_{false};
    mutable Mutex mutex_;
    ConditionVariable ready_;
    bool closed_ GUARDED_BY(mutex_) = false;
    std::deque<SpanRecord> waiting_ GUARDED_BY(mutex_);
};

/// A child of `parent`, or an empty one where nothing is traced.
inline Span child_span(Tracer* tracer, std::string_view name, const TraceContext& parent) {
    return tracer != nullptr && parent ? tracer->child(name, parent) : Span{};
}

}  // namespace nornic
