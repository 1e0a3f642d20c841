// Linearizable reads (thesis 6.4): the leader notes its commit index and answers once a majority has answered a heartbeat
// that began after the question. No leases: no clock is trusted (practice A4, A6).
#include "modes/raft/core/core.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::raft {

Result<> Core::read_index(ReadId id) {
    if (role_ == Role::kLeader) {
        // Before this term's first entry is committed, the commit index may be behind (practice A5).
        reads_.push_back({id, {}, 0, std::max(committed_, term_begins_), round_ + 1});
        start_read_round();
        return success();
    }
    if (leader_.empty()) {
        return fail(ErrorCode::kDatabaseUnavailable, "no leader is known: " + why_no_leader());
    }
    const std::uint64_t context = next_context_++;
    asked_leader_.emplace(context, id);
    asked_tick_ = tick_;
    say(leader_, Lane::kControl, ReadIndexRequest{context});
    return success();
}

void Core::on_read_request(const NodeName& from, const ReadIndexRequest& m) {
    // One that was taken out is sent no more entries and would wait in vain until it has applied them.
    if (role_ != Role::kLeader || configuration().find(from) == nullptr) {
        say(from, Lane::kControl, ReadIndexResponse{m.context, false, {}});
        return;
    }
    constexpr std::size_t kReadsMax = 65536;
    if (reads_.size() >= kReadsMax) {
        return;  // it asks again
    }
    reads_.push_back({{}, from, m.context, std::max(committed_, term_begins_), round_ + 1});
    start_read_round();
}

void Core::on_read_response(const NodeName& from, const ReadIndexResponse& m) {
    const auto asked = asked_leader_.find(m.context);
    if (asked == asked_leader_.end() || from != leader_) {
        return;
    }
    if (m.granted) {
        out_.reads.push_back({asked->second, m.index});
    } else {
        out_.refused_reads.push_back(
            {asked->second, Error{ErrorCode::kDatabaseUnavailable, "the leader changed; ask again"}});
    }
    asked_leader_.erase(asked);
}

/// The question or its answer may have been lost.
void Core::ask_leader_again() {
    if (leader_.empty() || asked_leader_.empty() || tick_ - asked_tick_ < 2 * std::uint64_t{settings_.heartbeat_ticks}) {
        return;
    }
    asked_tick_ = tick_;
    for (const auto& [context, id] : asked_leader_) {
        say(leader_, Lane::kControl, ReadIndexRequest{context});
    }
}

/// Reads that come while a round is on its way share the next one.
void Core::start_read_round() {
    const bool under_way = !reads_.empty() && reads_.front().round <= round_;
    if (!under_way && !reads_.empty()) {
        send_heartbeats();
    }
}

void Core::release_reads() {
    while (role_ == Role::kLeader && !reads_.empty() && reads_.front().round <= round_) {
        const std::uint64_t round = reads_.front().round;
        const bool confirmed = configuration().has_quorum([&](const NodeName& id) {
            const auto at = answered_round_.find(id);
            return id == start_.self || (at != answered_round_.end() && at->second >= round);
        });
        if (!confirmed) {
            return;
        }
        while (!reads_.empty() && reads_.front().round == round) {
            const WaitingRead& read = reads_.front();
            if (read.from.empty()) {
                out_.reads.push_back({read.id, read.index});
            } else {
                say(read.from, Lane::kControl, ReadIndexResponse{read.context, true, read.index});
            }
            reads_.pop_front();
        }
        start_read_round();
    }
}

void Core::refuse_reads(const Error& error) {
    for (const WaitingRead& read : reads_) {
        if (read.from.empty()) {
            out_.refused_reads.push_back({read.id, error});
        } else {
            say(read.from, Lane::kControl, ReadIndexResponse{read.context, false, {}});
        }
    }
    reads_.clear();
    for (const auto& [context, id] : asked_leader_) {
        out_.refused_reads.push_back({id, error});
    }
    asked_leader_.clear();
}

}  // namespace nornic::raft
