// What clients and operators ask of a chain.
#include "tests/modes/chain/chain_impl.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::modes {

// ---- What is asked ----

Result<> Chain::propose(ProposalId id, std::string write_set, std::uint64_t hybrid_time) {
    NORNIC_TRY(may_write());
    if (last_.value - applied_.value >= start_.inflight_max ||
        (inflight_bytes_ > 0 && inflight_bytes_ + write_set.size() > start_.inflight_bytes_max)) {
        return fail(ErrorCode::kBusy,
                    fmt::format("{} writes ({} bytes) are on their way along the chain",
                                last_.value - applied_.value,
                                inflight_bytes_));
    }
    const LogIndex index{last_.value + 1};
    inflight_bytes_ += write_set.size();
    sizes_.emplace_back(index, write_set.size());
    ready_.placed.push_back({id, index, epoch_});
    append({epoch_, index, hybrid_time, EntryKind::kWriteSet, std::move(write_set)});
    return success();
}

Result<> Chain::read(ReadId id, ReadConsistency level) {
    if (level == ReadConsistency::kOne || level == ReadConsistency::kLocalOne) {
        ready_.reads.push_back({id, applied_});
        return success();
    }
    NORNIC_TRY(may_write());
    if (reads_.size() >= start_.inflight_max) {
        return fail(ErrorCode::kBusy, fmt::format("{} reads wait for the tail", reads_.size()));
    }
    // A round that begins now and comes back shows that nobody had begun a later epoch when it began.
    // All that was ever acknowledged is committed here: what earlier heads wrote is applied (may_write()).
    reads_.push_back({id, committed_, round_ + 1});
    begin_round();
    return success();
}

Result<> Chain::command(std::uint64_t id, const Command& asked) {
    if (rewinding_) {
        return fail(ErrorCode::kBusy, "this member gives up a branch of its log; repeat in a moment");
    }
    std::vector<NodeName> chain = chain_;
    if (asked.kind == Command::Kind::kRemoveMember) {
        if (std::erase(chain, asked.target) == 0) {
            return fail(ErrorCode::kNotFound, fmt::format("'{}' is not in the chain {}", asked.target, join_chain(chain_)));
        }
        if (chain.size() * 2 <= settings_.members.size() && !asked.force) {
            return fail(ErrorCode::kDatabaseUnavailable,
                        fmt::format("without '{}' the chain has {} of {} members, and the others could go on "
                                    "without it; make sure that they are dead and repeat with force",
                                    asked.target,
                                    chain.size(),
                                    settings_.members.size()));
        }
    } else if (asked.kind == Command::Kind::kAddMember) {
        // The first entry of an epoch, which is written when its chain works, is what makes this log newer
        // than that of a member that was away.
        NORNIC_TRY(may_write());
        if (!contains(settings_.members, asked.target) || contains(chain, asked.target) || !is_up(asked.target)) {
            return fail(ErrorCode::kInvalidArgument,
                        fmt::format("'{}' is in the chain already, not configured, or not connected", asked.target));
        }
        chain.push_back(asked.target);
    } else {
        return fail(ErrorCode::kUnsupported, "a chain takes members out and back in, and nothing else");
    }
    if (chain.empty() || chain.front() != start_.self) {
        const NodeName head = chain.empty() ? NodeName{} : chain.front();
        return fail(ErrorCode::kNotLeader, fmt::format("ask '{}', the chain's head", head), bolt_address(head));
    }
    // No two members begin the same epoch: each has the numbers of its place.
    const std::uint64_t members = settings_.members.size();
    const auto self = std::find(settings_.members.begin(), settings_.members.end(), start_.self);
    const auto place = static_cast<std::uint64_t>(self - settings_.members.begin()) + 1;
    std::uint64_t epoch = std::max(epoch_, later_epoch_).value + 1;
    while (epoch % members != place % members) {
        ++epoch;
    }
    begin_epoch(Term{epoch}, std::move(chain));
    commands_.push_back(id);
    begin_round();
    return success();
}

// ---- Looks ----

ClusterView Chain::view() const {
    ClusterView view;
    view.mode = "chain";
    view.cluster_id = start_.cluster_id;
    view.self = start_.self;
    view.role = !is_head() ? Role::kFollower : active_ ? Role::kLeader : Role::kCandidate;
    view.term = epoch_;
    view.commit_index = committed_;
    view.leader_changes = leader_changes_;
    const bool heard = is_head() ? active_ : tick_ - heard_tick_ < settings_.silence_ticks;
    view.leader = heard ? chain_.front() : NodeName{};
    const Result<> writable = may_write();
    view.accepts_writes = writable.has_value();
    if (!is_in_chain()) {
        view.state = "read_only";
        view.reason = fmt::format("this member was taken out of the chain, which is {} now; add it again there", join_chain(chain_));
    } else if (diverged_) {
        view.state = "foreign_data";
        view.reason = "this member holds entries of a chain that was given up by force; empty its data directory";
    } else if (is_head() ? !writable : !heard) {
        view.state = is_head() && active_ && !stalled_ ? "starting" : "no_quorum";
        view.reason = is_head() ? writable.error().message() : fmt::format("'{}' has been silent", neighbour(-1));
    }
    MemberView self;
    self.id = start_.self;
    self.cluster_address = start_.cluster_address;
    self.bolt_address = start_.bolt_address;
    self.http_address = start_.http_address;
    self.role = view.role;
    self.match_index = persisted_;
    self.applied_index = applied_;
    view.members.push_back(std::move(self));
    for (const NodeName& id : settings_.members) {
        if (id == start_.self) {
            continue;
        }
        MemberView member;
        member.id = id;
        if (const auto peer = peers_.find(id); peer != peers_.end()) {
            member.cluster_address = peer->second.info.cluster_address;
            member.bolt_address = peer->second.info.bolt_address;
            member.http_address = peer->second.info.http_address;
        }
        member.role = id == chain_.front() ? Role::kLeader : Role::kFollower;
        member.healthy = is_up(id);
        member.match_index = id == neighbour(1) ? received_ : contains(chain_, id) ? committed_ : LogIndex{0};
        view.members.push_back(std::move(member));
    }
    view.details = {{"chain", join_chain(chain_)}};
    return view;
}

}  // namespace nornic::modes
