// EntryTraces: which log entries belong to a traced write. Kept beside the replica's own books and only where tracing is on:
// contexts come with proposals or with a peer's message, and go along in messages with the same entries.
//
// Not thread-safe; the replica holds its mutex.
#pragma once

#include "modes/strategy.h"
#include "observability/trace.h"

#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace nornic::modes {

class EntryTraces {
public:
    using Contexts = std::vector<std::pair<LogIndex, TraceContext>>;

    explicit EntryTraces(Tracer& tracer) : tracer_{tracer} {}

    void proposed(ProposalId id, const TraceContext& trace);
    void placed(const Placed& placed);
    void refused(ProposalId id) { proposals_.erase(id); }
    /// A peer's message, before the strategy is told.
    void received(const ClusterMessage& message);
    /// Puts the contexts into what is sent with traced entries, in copies.
    void label(std::vector<Outbound>& messages) const;

    void append_begins(std::span<const Entry> entries);
    /// All of the last append_begins() is on disk, or (false) is not.
    void append_ended(bool done, Duration sync);
    /// Those of them that are traced, in order.
    [[nodiscard]] Contexts among(std::span<const Entry> entries) const;

private:
    struct Traced {
        Term term;
        TraceContext trace;
    };
    void keep(LogIndex index, Term term, const TraceContext& trace);
    [[nodiscard]] const Traced* find(LogIndex index, Term term) const;

    Tracer& tracer_;
    std::map<ProposalId, TraceContext> proposals_;
    std::map<LogIndex, Traced> entries_;  // the newest; some are applied already, and still to be sent to a slow peer
    std::vector<Span> appending_;
};

}  // namespace nornic::modes
