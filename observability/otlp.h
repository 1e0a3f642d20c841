// Spans as OTLP, the protocol that trace collectors take.
#pragma once

#include "observability/trace.h"

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nornic::otlp {

/// Who made the spans: "service.name" and what else collectors show.
using Attributes = std::vector<std::pair<std::string, std::string>>;

/// The body of POST /v1/traces, application/x-protobuf.
std::string trace_request(const Attributes& resource, std::string_view version, std::span<const SpanRecord> spans);

struct Rejected {
    std::size_t spans = 0;
    std::string why;
};
/// What the collector did not take, by its answer's body; nullopt: it cannot be read.
std::optional<Rejected> read_trace_response(std::string_view body);

}  // namespace nornic::otlp
