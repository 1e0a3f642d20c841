#include "modes/raft/messages.h"

#include <fmt/format.h>

namespace nornic::modes {
namespace {

using transport::ClusterMessage;
namespace wire = transport;

// ---- Out ----

void put(const raft::VoteRequest& m, const NodeName& self, wire::VoteRequest& out) {
    out.set_term(m.term.value);
    out.set_candidate_id(self);
    out.set_last_log_index(m.last_index.value);
    out.set_last_log_term(m.last_term.value);
    out.set_pre_vote(m.pre_vote);
    out.set_transfer(m.transfer);
}

void put(const raft::VoteResponse& m, wire::VoteResponse& out) {
    out.set_term(m.term.value);
    out.set_vote_granted(m.granted);
    out.set_pre_vote(m.pre_vote);
    out.set_reason(m.reason.substr(0, kRaftReasonBytesMax));
}

void put(const raft::AppendEntries& m, const NodeName& self, std::string_view history, wire::AppendEntries& out) {
    out.set_term(m.term.value);
    out.set_leader_id(self);
    out.set_prev_log_index(m.prev_index.value);
    out.set_prev_log_term(m.prev_term.value);
    out.set_leader_commit(m.commit.value);
    out.set_history(std::string{history});
    out.mutable_entries()->Reserve(static_cast<int>(m.entries.size()));
    for (const raft::EntryPtr& entry : m.entries) {
        wire::LogEntry& to = *out.add_entries();
        to.set_term(entry->term.value);
        to.set_index(entry->index.value);
        to.set_hybrid_time(entry->hybrid_time);
        to.set_kind(static_cast<wire::EntryKind>(entry->kind));
        to.set_payload(entry->payload);
    }
}

void put(const raft::AppendResponse& m, wire::AppendEntriesResponse& out) {
    out.set_term(m.term.value);
    out.set_success(m.success);
    out.set_match_index(m.match.value);
    out.set_conflict_index(m.conflict_index.value);
    out.set_conflict_term(m.conflict_term.value);
    out.set_applied_index(m.applied.value);
    out.set_needs_snapshot(m.needs_snapshot);
    out.set_foreign(m.foreign);
}

void put(const raft::Heartbeat& m, wire::Heartbeat& out) {
    out.set_epoch(m.term.value);
    out.set_sequence(m.round);
    out.set_commit_index(m.commit.value);
}

void put(const raft::HeartbeatResponse& m, wire::HeartbeatResponse& out) {
    out.set_epoch(m.term.value);
    out.set_sequence(m.round);
    out.set_persisted_index(m.match.value);
    out.set_applied_index(m.applied.value);
    out.set_readers_wait(m.readers_wait);
}

void put(const raft::ReadIndexResponse& m, wire::ReadIndexResponse& out) {
    out.set_context(m.context);
    out.set_granted(m.granted);
    out.set_index(m.index.value);
}

void put(const raft::LogReset& m, wire::LogReset& out) {
    out.set_term(m.term.value);
    out.set_index(m.index.value);
    out.set_index_term(m.index_term.value);
    out.set_configuration(m.configuration);
}

/// Puts each body into its place of the wire's message.
struct Writer {
    ClusterMessage& to;
    const NodeName& self;
    std::string_view history;
    std::uint64_t directory;

    void operator()(const raft::VoteRequest& m) const {
        put(m, self, *to.mutable_vote_request());
        to.mutable_vote_request()->set_directory(directory);
    }
    void operator()(const raft::VoteResponse& m) const {
        put(m, *to.mutable_vote_response());
        to.mutable_vote_response()->set_directory(directory);
    }
    void operator()(const raft::AppendEntries& m) const {
        put(m, self, history, *to.mutable_append_entries());
        to.mutable_append_entries()->set_directory(directory);
    }
    void operator()(const raft::AppendResponse& m) const {
        put(m, *to.mutable_append_entries_response());
        to.mutable_append_entries_response()->set_directory(directory);
    }
    void operator()(const raft::Heartbeat& m) const {
        put(m, *to.mutable_heartbeat());
        to.mutable_heartbeat()->set_directory(directory);
    }
    void operator()(const raft::HeartbeatResponse& m) const {
        put(m, *to.mutable_heartbeat_response());
        to.mutable_heartbeat_response()->set_directory(directory);
    }
    void operator()(const raft::TimeoutNow& m) const {
        to.mutable_timeout_now()->set_term(m.term.value);
        to.mutable_timeout_now()->set_directory(directory);
    }
    void operator()(const raft::ReadIndexRequest& m) const {
        to.mutable_read_index_request()->set_context(m.context);
        to.mutable_read_index_request()->set_everyone(m.everyone);
        to.mutable_read_index_request()->set_directory(directory);
    }
    void operator()(const raft::ReadIndexResponse& m) const {
        put(m, *to.mutable_read_index_response());
        to.mutable_read_index_response()->set_directory(directory);
    }
    void operator()(const raft::LogReset& m) const {
        put(m, *to.mutable_log_reset());
        to.mutable_log_reset()->set_directory(directory);
    }
    void operator()(const raft::NotMember& m) const {
        to.mutable_not_member()->set_term(m.term.value);
        to.mutable_not_member()->set_index(m.index.value);
        to.mutable_not_member()->set_directory(directory);
    }
};

// ---- In ----

/// Takes values out of one message and remembers the first thing that is wrong.
class Reader {
public:
    explicit Reader(std::string& why) : why_{why} {}

    std::uint64_t number(std::string_view name, std::uint64_t value) {
        if (value >= kRaftNumberMax) {
            refuse("{} is {}; below 2^62 was expected", name, value);
        }
        return value;
    }
    Term term(std::string_view name, std::uint64_t value) { return Term{number(name, value)}; }
    LogIndex index(std::string_view name, std::uint64_t value) { return LogIndex{number(name, value)}; }
    /// Of a leader: term 0 has none.
    Term leader_term(std::uint64_t value) {
        if (value == 0) {
            refuse("its term is 0; 1 or more was expected");
        }
        return term("its term", value);
    }
    /// The place of an entry in the log of who speaks in `term`.
    void place(std::string_view what, LogIndex index, Term at, Term term) {
        if ((index.value == 0) != (at.value == 0)) {
            refuse("{} has index {} and term {}; both or none is 0", what, index.value, at.value);
        }
        if (at > term) {
            refuse("{} is of term {}, later than the message's {}", what, at.value, term.value);
        }
    }
    void configuration(std::string_view where, const std::string& bytes) {
        if (const auto decoded = raft::Configuration::decode(bytes); !decoded) {
            refuse("the configuration in {} cannot be read: {}", where, decoded.error().message());
        }
    }
    std::string text(std::string_view name, const std::string& value) {
        if (value.size() > raft::kNameBytesMax) {
            refuse("{} has {} bytes; at most {} were expected", name, value.size(), raft::kNameBytesMax);
        }
        return value;
    }
    template <class... Args>
    void refuse(fmt::format_string<Args...> format, Args&&... args) {
        if (why_.empty()) {
            why_ = fmt::format(format, std::forward<Args>(args)...);
        }
    }
    [[nodiscard]] bool ok() const { return why_.empty(); }

private:
    std::string& why_;
};

raft::Body take(const wire::VoteRequest& m, Reader& in) {
    raft::VoteRequest out{in.leader_term(m.term()),
                          in.index("last_log_index", m.last_log_index()),
                          in.term("last_log_term", m.last_log_term()),
                          m.pre_vote(),
                          m.transfer()};
    in.place("the candidate's last entry", out.last_index, out.last_term, out.term);
    return out;
}

raft::Body take(const wire::VoteResponse& m, Reader& in) {
    return raft::VoteResponse{
        in.term("its term", m.term()), m.vote_granted(), m.pre_vote(), m.reason().substr(0, kRaftReasonBytesMax)};
}

raft::EntryPtr take_entry(const wire::LogEntry& m, LogIndex index, Term least, Term most, Reader& in) {
    if (m.index() != index.value) {
        in.refuse("entry {} stands where {} was expected", m.index(), index.value);
    }
    if (m.term() < least.value || m.term() > most.value || m.term() == 0) {
        in.refuse("entry {} is of term {}; {} to {} was expected", m.index(), m.term(), least.value, most.value);
    }
    const int kind = static_cast<int>(m.kind());
    // One that only a later version knows is stored and acknowledged, and stops who would have to apply it: left out, it would
    // keep this member behind for ever, or be skipped.
    if (kind < 0 || kind > UINT8_MAX) {
        in.refuse("entry {} is of kind {}; 0 to {} was expected", m.index(), kind, UINT8_MAX);
        return nullptr;
    }
    if (static_cast<raft::EntryKind>(kind) == raft::EntryKind::kMembership) {
        in.configuration(fmt::format("entry {}", m.index()), m.payload());
    }
    return std::make_shared<const raft::Entry>(raft::Entry{
        Term{m.term()}, LogIndex{m.index()}, m.hybrid_time(), static_cast<raft::EntryKind>(kind), m.payload()});
}

raft::Body take(const wire::AppendEntries& m, Reader& in) {
    raft::AppendEntries out;
    out.term = in.leader_term(m.term());
    out.prev_index = in.index("prev_log_index", m.prev_log_index());
    out.prev_term = in.term("prev_log_term", m.prev_log_term());
    out.commit = in.index("leader_commit", m.leader_commit());
    in.place("the entry before the first", out.prev_index, out.prev_term, out.term);
    if (m.entries_size() > kRaftEntriesMax) {
        in.refuse("{} entries; at most {} were expected", m.entries_size(), kRaftEntriesMax);
    }
    out.entries.reserve(in.ok() ? static_cast<std::size_t>(m.entries_size()) : 0);
    Term least = out.prev_term;
    LogIndex index = out.prev_index;
    for (const wire::LogEntry& entry : m.entries()) {
        if (!in.ok()) {
            break;
        }
        out.entries.push_back(take_entry(entry, ++index, least, out.term, in));
        least = Term{entry.term()};
    }
    in.index("the last entry's index", index.value);
    return out;
}

raft::Body take(const wire::AppendEntriesResponse& m, Reader& in) {
    raft::AppendResponse out;
    out.term = in.term("its term", m.term());
    out.success = m.success();
    out.match = in.index("match_index", m.match_index());
    out.conflict_index = in.index("conflict_index", m.conflict_index());
    out.conflict_term = in.term("conflict_term", m.conflict_term());
    out.applied = in.index("applied_index", m.applied_index());
    out.needs_snapshot = m.needs_snapshot();
    out.foreign = m.foreign();
    return out;
}

raft::Body take(const wire::Heartbeat& m, Reader& in) {
    return raft::Heartbeat{
        in.leader_term(m.epoch()), in.number("sequence", m.sequence()), in.index("commit_index", m.commit_index())};
}

raft::Body take(const wire::HeartbeatResponse& m, Reader& in) {
    return raft::HeartbeatResponse{in.term("epoch", m.epoch()),
                                   in.number("sequence", m.sequence()),
                                   in.index("persisted_index", m.persisted_index()),
                                   in.index("applied_index", m.applied_index()),
                                   m.readers_wait()};
}

raft::Body take(const wire::TimeoutNow& m, Reader& in) {
    return raft::TimeoutNow{in.leader_term(m.term())};
}

raft::Body take(const wire::ReadIndexRequest& m, Reader&) {
    return raft::ReadIndexRequest{m.context(), m.everyone()};
}

raft::Body take(const wire::ReadIndexResponse& m, Reader& in) {
    return raft::ReadIndexResponse{m.context(), m.granted(), in.index("index", m.index())};
}

raft::Body take(const wire::LogReset& m, Reader& in) {
    raft::LogReset out{in.leader_term(m.term()),
                       in.index("index", m.index()),
                       in.term("index_term", m.index_term()),
                       m.configuration()};
    if (out.index.value == 0) {
        in.refuse("its index is 0; 1 or more was expected");
    }
    in.place("the entry to go on behind", out.index, out.index_term, out.term);
    in.configuration("a LogReset", out.configuration);
    return out;
}

raft::Body take(const wire::NotMember& m, Reader& in) {
    return raft::NotMember{in.term("its term", m.term()), in.index("index", m.index())};
}

}  // namespace

std::shared_ptr<const ClusterMessage> to_wire(const raft::Message& message,
                                              const NodeName& self,
                                              std::string_view history) {
    auto out = std::make_shared<ClusterMessage>();
    std::visit(Writer{*out, self, history, message.directory.value}, message.body);
    return out;
}

std::optional<raft::Message> from_wire(const ClusterMessage& message, std::string& history, std::string& why) {
    why.clear();
    history.clear();
    Reader in{why};
    raft::Message out;
    const auto read = [&](const auto& body) {
        out.directory = raft::DirectoryId{body.directory()};
        out.body = take(body, in);
    };
    switch (message.body_case()) {
        case ClusterMessage::kVoteRequest:
            read(message.vote_request());
            break;
        case ClusterMessage::kVoteResponse:
            read(message.vote_response());
            break;
        case ClusterMessage::kAppendEntries:
            read(message.append_entries());
            history = in.text("history", message.append_entries().history());
            break;
        case ClusterMessage::kAppendEntriesResponse:
            read(message.append_entries_response());
            break;
        case ClusterMessage::kHeartbeat:
            read(message.heartbeat());
            break;
        case ClusterMessage::kHeartbeatResponse:
            read(message.heartbeat_response());
            break;
        case ClusterMessage::kTimeoutNow:
            read(message.timeout_now());
            break;
        case ClusterMessage::kReadIndexRequest:
            read(message.read_index_request());
            break;
        case ClusterMessage::kReadIndexResponse:
            read(message.read_index_response());
            break;
        case ClusterMessage::kLogReset:
            read(message.log_reset());
            break;
        case ClusterMessage::kNotMember:
            read(message.not_member());
            break;
        default:
            return std::nullopt;
    }
    return in.ok() ? std::optional{std::move(out)} : std::nullopt;
}

}  // namespace nornic::modes
