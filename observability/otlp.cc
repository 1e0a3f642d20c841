#include "observability/otlp.h"

#include "observability/proto/otlp.pb.h"

#include <google/protobuf/arena.h>

#include <algorithm>

namespace nornic::otlp {
namespace {

constexpr std::uint32_t kStatusError = 2;

template <std::size_t n>
std::string bytes_of(const std::array<std::uint8_t, n>& bytes) {
    return {bytes.begin(), bytes.end()};
}

/// A proto3 string must be UTF-8; what came from outside is made so.
void set_text(std::string_view text, std::string& out) {
    out.assign(text);
    std::size_t i = 0;
    while (i < out.size()) {
        const auto byte = static_cast<unsigned char>(out[i]);
        const std::size_t more = byte < 0x80 ? 0 : byte >= 0xc2 && byte < 0xe0 ? 1 : byte >= 0xe0 && byte < 0xf0 ? 2 : byte >= 0xf0 && byte < 0xf5 ? 3 : 4;
        bool whole = more < 4 && i + more < out.size();
        for (std::size_t k = 1; whole && k <= more; ++k) {
            whole = (static_cast<unsigned char>(out[i + k]) & 0xc0) == 0x80;
        }
        if (!whole) {
            out[i] = '?';
        }
        i += whole ? more + 1 : 1;
    }
}

void add(std::string_view key, const SpanValue& value, google::protobuf::RepeatedPtrField<KeyValue>& out) {
    KeyValue& pair = *out.Add();
    pair.set_key(std::string{key});
    if (const auto* const text = std::get_if<std::string>(&value)) {
        set_text(*text, *pair.mutable_value()->mutable_string_value());
    } else if (const auto* const number = std::get_if<std::int64_t>(&value)) {
        pair.mutable_value()->set_int_value(*number);
    } else {
        pair.mutable_value()->set_bool_value(std::get<bool>(value));
    }
}

void put(const SpanRecord& from, otlp::Span& to) {
    to.set_trace_id(bytes_of(from.context.trace_id));
    to.set_span_id(bytes_of(from.context.span_id));
    if (std::ranges::any_of(from.parent_id, [](std::uint8_t byte) { return byte != 0; })) {
        to.set_parent_span_id(bytes_of(from.parent_id));
    }
    to.set_name(from.name);
    to.set_kind(static_cast<std::uint32_t>(from.kind));
    to.set_start_time_unix_nano(static_cast<std::uint64_t>(from.start_ns));
    to.set_end_time_unix_nano(static_cast<std::uint64_t>(from.end_ns));
    for (const auto& [key, value] : from.attributes) {
        add(key, value, *to.mutable_attributes());
    }
    if (from.failed) {
        set_text(from.failure, *to.mutable_status()->mutable_message());
        to.mutable_status()->set_code(kStatusError);
    }
    to.set_flags(1);  // sampled
}

}  // namespace

std::string trace_request(const Attributes& resource, std::string_view version, std::span<const SpanRecord> spans) {
    google::protobuf::Arena arena;
    auto& request = *google::protobuf::Arena::CreateMessage<TraceRequest>(&arena);
    ResourceSpans& all = *request.add_resource_spans();
    for (const auto& [key, value] : resource) {
        add(key, value, *all.mutable_resource()->mutable_attributes());
    }
    ScopeSpans& scope = *all.add_scope_spans();
    scope.mutable_scope()->set_name("nornicdb");
    scope.mutable_scope()->set_version(std::string{version});
    for (const SpanRecord& span : spans) {
        put(span, *scope.add_spans());
    }
    return request.SerializeAsString();
}

std::optional<Rejected> read_trace_response(std::string_view body) {
    TraceResponse response;
    if (body.size() > INT32_MAX || !response.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
        return std::nullopt;
    }
    const PartialSuccess& partial = response.partial_success();
    return Rejected{static_cast<std::size_t>(std::max<std::int64_t>(partial.rejected_spans(), 0)), partial.error_message()};
}

}  // namespace nornic::otlp
