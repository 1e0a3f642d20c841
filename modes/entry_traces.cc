#include "modes/entry_traces.h"

namespace nornic::modes {
namespace {

constexpr std::size_t kEntriesMax = 4096;

/// Whatever has log entries.
const google::protobuf::RepeatedPtrField<transport::LogEntry>* entries_of(const ClusterMessage& message) {
    switch (message.body_case()) {
        case ClusterMessage::kAppendEntries:
            return &message.append_entries().entries();
        case ClusterMessage::kWalBatch:
            return &message.wal_batch().entries();
        default:
            return nullptr;
    }
}

google::protobuf::RepeatedPtrField<transport::LogEntry>& entries_of(ClusterMessage& message) {
    return message.body_case() == ClusterMessage::kAppendEntries ? *message.mutable_append_entries()->mutable_entries()
                                                                 : *message.mutable_wal_batch()->mutable_entries();
}

}  // namespace

void EntryTraces::keep(LogIndex index, Term term, const TraceContext& trace) {
    entries_.insert_or_assign(index, Traced{term, trace});
    if (entries_.size() > kEntriesMax) {
        entries_.erase(entries_.begin());
    }
}

const EntryTraces::Traced* EntryTraces::find(LogIndex index, Term term) const {
    const auto found = entries_.find(index);
    return found == entries_.end() || found->second.term != term ? nullptr : &found->second;
}

void EntryTraces::proposed(ProposalId id, const TraceContext& trace) {
    if (trace) {
        proposals_.emplace(id, trace);
    }
}

void EntryTraces::placed(const Placed& placed) {
    if (const auto node = proposals_.extract(placed.id); !node.empty()) {
        keep(placed.index, placed.term, node.mapped());
    }
}

void EntryTraces::received(const ClusterMessage& message) {
    const auto* const entries = message.trace_parent().empty() ? nullptr : entries_of(message);
    if (entries == nullptr) {
        return;
    }
    for (const transport::LogEntry& entry : *entries) {
        if (const auto trace = TraceContext::parse(entry.trace_parent()); trace && *trace) {
            keep(LogIndex{entry.index()}, Term{entry.term()}, *trace);
        }
    }
}

void EntryTraces::label(std::vector<Outbound>& messages) const {
    for (Outbound& out : messages) {
        const auto* const entries = entries_.empty() ? nullptr : entries_of(*out.message);
        if (entries == nullptr || entries->empty()) {
            continue;
        }
        const auto from = entries_.lower_bound(LogIndex{entries->begin()->index()});
        const auto to = entries_.upper_bound(LogIndex{entries->rbegin()->index()});
        if (from == to) {
            continue;
        }
        auto labelled = std::make_shared<ClusterMessage>(*out.message);
        for (transport::LogEntry& entry : entries_of(*labelled)) {
            if (const Traced* const traced = find(LogIndex{entry.index()}, Term{entry.term()})) {
                entry.set_trace_parent(traced->trace.traceparent());
                if (labelled->trace_parent().empty()) {
                    labelled->set_trace_parent(entry.trace_parent());
                }
            }
        }
        out.message = std::move(labelled);
    }
}

EntryTraces::Contexts EntryTraces::among(std::span<const Entry> entries) const {
    Contexts out;
    if (entries_.empty() || entries.empty() || entries_.rbegin()->first < entries.front().index) {
        return out;
    }
    for (const Entry& entry : entries) {
        if (const Traced* const traced = find(entry.index, entry.term)) {
            out.emplace_back(entry.index, traced->trace);
        }
    }
    return out;
}

void EntryTraces::append_begins(std::span<const Entry> entries) {
    for (const auto& [index, trace] : among(entries)) {
        Span span = tracer_.child("log append", trace);
        span.set("nornicdb.log.index", static_cast<std::int64_t>(index.value));
        span.set("nornicdb.log.batch_entries", static_cast<std::int64_t>(entries.size()));
        appending_.push_back(std::move(span));
    }
}

void EntryTraces::append_ended(bool done, Duration sync) {
    for (Span& span : appending_) {
        if (done) {
            tracer_.add_past("log sync", span.context(), sync);
        } else {
            span.set_failed("the log was not written");
        }
    }
    appending_.clear();
}

}  // namespace nornic::modes
