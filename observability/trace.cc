#include "observability/trace.h"

#include "base/random.h"

#include <algorithm>
#include <cstring>

namespace nornic {
namespace {

constexpr std::string_view kHex = "0123456789abcdef";
constexpr std::size_t kTraceparentSize = 55;

template <std::size_t n>
bool read_hex(std::string_view text, std::array<std::uint8_t, n>& out) {
    for (std::size_t i = 0; i < n; ++i) {
        const std::size_t high = kHex.find(text[2 * i]);
        const std::size_t low = kHex.find(text[2 * i + 1]);
        if (high == std::string_view::npos || low == std::string_view::npos) {
            return false;
        }
        out[i] = static_cast<std::uint8_t>(high << 4 | low);
    }
    return true;
}

template <std::size_t n>
void append_hex(const std::array<std::uint8_t, n>& bytes, std::string& out) {
    for (const std::uint8_t byte : bytes) {
        out.push_back(kHex[byte >> 4]);
        out.push_back(kHex[byte & 15]);
    }
}

template <std::size_t n>
bool is_zero(const std::array<std::uint8_t, n>& bytes) {
    return std::ranges::all_of(bytes, [](std::uint8_t byte) { return byte == 0; });
}

std::uint64_t draw() {
    thread_local Random random = Random::from_os();
    return random.next();
}

std::array<std::uint8_t, 8> draw_span_id() {
    const std::uint64_t number = draw() | 1;
    std::array<std::uint8_t, 8> out;
    std::memcpy(out.data(), &number, sizeof number);
    return out;
}

TraceContext draw_context(std::uint64_t low) {
    TraceContext out;
    const std::uint64_t high = draw() | 1;
    std::memcpy(out.trace_id.data(), &high, sizeof high);
    std::memcpy(out.trace_id.data() + sizeof high, &low, sizeof low);
    out.span_id = draw_span_id();
    return out;
}

}  // namespace

bool TraceContext::is_valid() const noexcept {
    return !is_zero(trace_id) && !is_zero(span_id);
}

std::optional<TraceContext> TraceContext::parse(std::string_view text) {
    // Later versions may be longer, and begin in the same way.
    if (text.size() < kTraceparentSize || text[2] != '-' || text[35] != '-' || text[52] != '-') {
        return std::nullopt;
    }
    std::array<std::uint8_t, 1> version{};
    std::array<std::uint8_t, 1> flags{};
    TraceContext out;
    if (!read_hex(text, version) || !read_hex(text.substr(3), out.trace_id) || !read_hex(text.substr(36), out.span_id) ||
        !read_hex(text.substr(53), flags)) {
        return std::nullopt;
    }
    const bool longer = text.size() > kTraceparentSize;
    if (version[0] == 0xff || (longer && (version[0] == 0 || text[kTraceparentSize] != '-')) || !out.is_valid()) {
        return std::nullopt;
    }
    out.is_sampled = (flags[0] & 1) != 0;
    return out;
}

std::string TraceContext::traceparent() const {
    std::string out = "00-";
    append_hex(trace_id, out);
    out += '-';
    append_hex(span_id, out);
    out += is_sampled ? "-01" : "-00";
    return out;
}

std::string TraceContext::trace_id_text() const {
    std::string out;
    append_hex(trace_id, out);
    return out;
}

void Span::end() {
    if (record_) {
        record_->end_ns = record_->start_ns + (tracer_->clock_.now() - began_).count();
        tracer_->add(std::move(*record_));
        record_.reset();
    }
}

Span Tracer::begin(std::string_view name, SpanKind kind, const TraceContext& context, std::array<std::uint8_t, 8> parent_id) {
    Span span;
    span.tracer_ = this;
    span.began_ = clock_.now();
    span.record_ = std::make_unique<SpanRecord>();
    span.record_->context = context;
    span.record_->parent_id = parent_id;
    span.record_->name = name;
    span.record_->kind = kind;
    span.record_->start_ns = clock_.wall_ns();
    return span;
}

Span Tracer::root(std::string_view name, SpanKind kind, const std::optional<TraceContext>& parent) {
    constexpr double kOne = 18446744073709551616.0;  // 2^64
    // What the ratio decides by is part of the trace id, so that another member would decide alike.
    const std::uint64_t low = parent ? 0 : draw();
    const bool sampled = parent ? parent->is_sampled
                                : settings_.sample_ratio >= 1 || static_cast<double>(low) < settings_.sample_ratio * kOne;
    if (!sampled) {
        return {};
    }
    if (is_full_.load(std::memory_order_relaxed)) {
        dropped_.fetch_add(1, std::memory_order_relaxed);
        return {};
    }
    TraceContext context = parent ? *parent : draw_context(low);
    context.is_sampled = true;
    if (parent) {
        context.span_id = draw_span_id();
    }
    return begin(name, kind, context, parent ? parent->span_id : std::array<std::uint8_t, 8>{});
}

Span Tracer::child(std::string_view name, const TraceContext& parent, SpanKind kind) {
    if (!parent) {
        return {};
    }
    TraceContext context = parent;
    context.span_id = draw_span_id();
    return begin(name, kind, context, parent.span_id);
}

void Tracer::add_past(std::string_view name, const TraceContext& parent, Duration took) {
    if (Span span = child(name, parent)) {
        span.began_ -= took;
        span.record_->start_ns -= took.count();
    }
}

TraceContext Tracer::not_sampled() {
    return draw_context(draw());
}

void Tracer::add(SpanRecord record) {
    const MutexLock lock{mutex_};
    if (waiting_.size() >= settings_.waiting_max) {
        is_full_.store(true, std::memory_order_relaxed);
        dropped_.fetch_add(1, std::memory_order_relaxed);
        return;
    }
    recorded_.fetch_add(1, std::memory_order_relaxed);
    waiting_.push_back(std::move(record));
    if (waiting_.size() == settings_.batch) {
        ready_.notify_one();
    }
}

std::vector<SpanRecord> Tracer::take(Duration wait) {
    MutexLock lock{mutex_};
    const Deadline until = clock_.now() + wait;
    while (!closed_ && waiting_.size() < settings_.batch && clock_.now() < until) {
        ready_.wait_until(lock, until);
    }
    std::vector<SpanRecord> out;
    const auto end = waiting_.begin() + static_cast<std::ptrdiff_t>(std::min(waiting_.size(), settings_.batch));
    out.assign(std::make_move_iterator(waiting_.begin()), std::make_move_iterator(end));
    waiting_.erase(waiting_.begin(), end);
    is_full_.store(waiting_.size() >= settings_.waiting_max, std::memory_order_relaxed);
    return out;
}

void Tracer::close() {
    const MutexLock lock{mutex_};
    closed_ = true;
    ready_.notify_all();
}

TracerStats Tracer::stats() const {
    TracerStats out;
    out.recorded = recorded_.load(std::memory_order_relaxed);
    out.dropped = dropped_.load(std::memory_order_relaxed);
    const MutexLock lock{mutex_};
    out.waiting = waiting_.size();
    return out;
}

}  // namespace nornic
