#include "modes/raft/recovery.h"

#include "modes/raft/extra.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::modes {

Result<NewGroup> begin_anew(const GroupOnDisk& disk, std::uint64_t hybrid_time) {
    const auto extra = parse_raft_extra(disk.hard_state.extra);
    if (!extra || disk.configuration.members.empty()) {
        return fail(ErrorCode::kInvalidArgument, "this data directory belongs to no Raft group: there is nothing to recover");
    }
    const raft::Member* before = disk.configuration.find(disk.self);
    if (before == nullptr) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("'{}' was taken out of the group ({}): take a member of it", disk.self, disk.configuration.describe()));
    }
    if (before->witness) {
        return fail(ErrorCode::kInvalidArgument, fmt::format("'{}' is a witness and holds no data: take another member", disk.self));
    }
    raft::Member member;
    member.address = before->address;
    member.priority = std::max(before->priority, 1U);  // somebody must lead
    member.directory = extra->directory;
    raft::Configuration configuration;
    configuration.members.emplace(disk.self, std::move(member));

    NewGroup out;
    out.entry.term = Term{std::max(disk.hard_state.term, disk.last_term).value + kRecoveryTermJump};
    out.entry.index = LogIndex{disk.last_index.value + 1};
    out.entry.hybrid_time = hybrid_time;
    out.entry.kind = engine::EntryKind::kMembership;
    out.entry.payload = configuration.encode();
    // It is a majority of itself, so what is on its disk is committed, and nobody is left that its data could differ from.
    out.hard_state = {.term = out.entry.term,
                      .voted_for = disk.self,
                      .committed = out.entry.index,
                      .extra = format_raft_extra({.directory = extra->directory, .configuration_index = {}, .configuration = {}, .quarantine = {}})};
    return out;
}

}  // namespace nornic::modes
