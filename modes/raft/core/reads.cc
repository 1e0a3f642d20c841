// Linearizable reads (thesis 6.4): the leader notes its commit index and answers once a majority has answered a heartbeat
// that began after the question. No leases: no clock is trusted (practice A4, A6).
#include "modes/raft/core/core.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace nornic::raft {

Result<> Core::read_index(ReadId id, HeldBy held_by) {
    if (role_ == Role::kLeader) {
        const NodeName missing = held_by == HeldBy::kEveryone ? missing_member() : NodeName{};
        if (!missing.empty()) {
            return fail(ErrorCode::kDatabaseUnavailable,
                        fmt::format("consistency ALL takes all {} members, and '{}' has not been heard lately",
                                    configuration().members.size(),
                                    missing));
        }
        // Before this term's first entry is committed, the commit index may be behind (practice A5).
        reads_.push_back({id, {}, 0, std::max(committed_, term_begins_), round_ + 1, held_by, tick_});
        start_read_round();
        return success();
    }
    if (leader_.empty()) {
        return fail(ErrorCode::kDatabaseUnavailable, "no leader is known: " + why_no_leader());
    }
    const std::uint64_t context = next_context_++;
    asked_leader_.emplace(context, AskedRead{id, held_by, tick_});
    asked_tick_ = tick_;
    say(leader_, Lane::kControl, ReadIndexRequest{context, held_by == HeldBy::kEveryone});
    return success();
}

void Core::on_read_request(const NodeName& from, const ReadIndexRequest& m) {
    // One that was taken out is sent no more entries and would wait in vain until it has applied them.
    if (role_ != Role::kLeader || configuration().find(from) == nullptr || (m.everyone && !missing_member().empty())) {
        say(from, Lane::kControl, ReadIndexResponse{m.context, false, {}});
        return;
    }
    constexpr std::size_t kReadsMax = 65536;
    if (reads_.size() >= kReadsMax || held_reads_.size() >= kReadsMax) {
        return;  // it asks again
    }
    if (held_contexts_.contains({from, m.context})) {
        return;
    }
    reads_.push_back({{},
                      from,
                      m.context,
                      std::max(committed_, term_begins_),
                      round_ + 1,
                      m.everyone ? HeldBy::kEveryone : HeldBy::kMajority,
                      tick_});
    start_read_round();
    // It reads once it hears that as much is committed.
    if (const auto follower = followers_.find(from); follower != followers_.end()) {
        tell_promptly(from, follower->second);
    }
}

void Core::on_read_response(const NodeName& from, const ReadIndexResponse& m) {
    const auto asked = asked_leader_.find(m.context);
    if (asked == asked_leader_.end() || from != leader_) {
        return;
    }
    if (m.granted) {
        out_.reads.push_back({asked->second.id, m.index});
    } else {
        out_.refused_reads.push_back({asked->second.id,
                                      Error{ErrorCode::kDatabaseUnavailable,
                                            asked->second.held_by == HeldBy::kEveryone
                                                ? "the leader changed, or does not hear all members that consistency ALL takes; ask again"
                                                : "the leader changed; ask again"}});
    }
    asked_leader_.erase(asked);
}

/// The question or its answer may have been lost.
void Core::ask_leader_again() {
    if (leader_.empty() || asked_leader_.empty() || tick_ - asked_tick_ < 2 * std::uint64_t{settings_.heartbeat_ticks}) {
        return;
    }
    asked_tick_ = tick_;
    // In the order of their contexts, so that of many each has its turn.
    constexpr std::size_t kAgainMax = 1024;
    auto next = asked_leader_.upper_bound(asked_again_);
    for (std::size_t i = std::min(kAgainMax, asked_leader_.size()); i > 0; --i) {
        next = next == asked_leader_.end() ? asked_leader_.begin() : next;
        say(leader_, Lane::kControl, ReadIndexRequest{next->first, next->second.held_by == HeldBy::kEveryone});
        asked_again_ = next->first;
        ++next;
    }
}

/// Whoever asked has given up long since.
void Core::give_up_old_reads() {
    if (tick_ % settings_.heartbeat_ticks != 0) {
        return;
    }
    const auto is_old = [&](std::uint64_t since) { return tick_ - since >= settings_.read_ticks_max; };
    const auto refuse = [&](ReadId id) {
        out_.refused_reads.push_back({id, Error{ErrorCode::kTimedOut, "the read was not confirmed in time"}});
    };
    std::erase_if(asked_leader_, [&](const auto& asked) {
        if (!is_old(asked.second.tick)) {
            return false;
        }
        refuse(asked.second.id);
        return true;
    });
    std::erase_if(held_reads_, [&](const WaitingRead& read) {
        if (!is_old(read.tick)) {
            return false;
        }
        if (read.from.empty()) {
            refuse(read.id);
        }
        held_contexts_.erase({read.from, read.context});
        return true;
    });
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
        if (!configuration().has_quorum([&](const NodeName& id) { return has_answered(id, round); })) {
            return;
        }
        while (!reads_.empty() && reads_.front().round == round) {
            if (WaitingRead& read = reads_.front(); read.held_by == HeldBy::kEveryone) {
                if (read.from.empty() || held_contexts_.emplace(read.from, read.context).second) {
                    held_reads_.push_back(std::move(read));
                }
            } else {
                answer_read(reads_.front());
            }
            reads_.pop_front();
        }
        release_held_reads();
        start_read_round();
    }
}

void Core::answer_read(const WaitingRead& read) {
    if (read.from.empty()) {
        out_.reads.push_back({read.id, read.index});
    } else {
        say(read.from, Lane::kControl, ReadIndexResponse{read.context, true, read.index});
    }
}

void Core::release_held_reads() {
    // In the order of their indexes.
    while (!held_reads_.empty() && held_reads_.front().index <= held_by_everyone()) {
        answer_read(held_reads_.front());
        held_contexts_.erase({held_reads_.front().from, held_reads_.front().context});
        held_reads_.pop_front();
    }
}

LogIndex Core::held_by_everyone() const {
    LogIndex out = log_.persisted();
    for (const auto& [id, member] : configuration().members) {
        if (id != start_.self) {
            const Progress* const found = progress(id);
            out = std::min(out, found == nullptr ? LogIndex{0} : found->match());
        }
    }
    return out;
}

NodeName Core::missing_member() const {
    for (const auto& [id, member] : configuration().members) {
        if (id != start_.self && !(is_heard(id) && is_up(id))) {
            return id;
        }
    }
    return {};
}

void Core::refuse_reads(const Error& error) {
    std::ranges::move(held_reads_, std::back_inserter(reads_));
    held_reads_.clear();
    held_contexts_.clear();
    for (const WaitingRead& read : reads_) {
        if (read.from.empty()) {
            out_.refused_reads.push_back({read.id, error});
        } else {
            say(read.from, Lane::kControl, ReadIndexResponse{read.context, false, {}});
        }
    }
    reads_.clear();
    for (const auto& [context, asked] : asked_leader_) {
        out_.refused_reads.push_back({asked.id, error});
    }
    asked_leader_.clear();
}

}  // namespace nornic::raft
