#include "server/membership.h"

#include "env/settings.h"

#include <fmt/format.h>

namespace nornic::server {

Result<modes::Command::MemberRole> member_role(std::string_view text) {
    using Role = modes::Command::MemberRole;
    if (text == "voter") {
        return Role::kVoter;
    }
    if (text == "learner") {
        return Role::kLearner;
    }
    if (text == "witness") {
        return Role::kWitness;
    }
    return fail(ErrorCode::kInvalidRequest,
                fmt::format("'{}' is no role of a member: it takes voter, learner or witness.", text));
}

Result<> check_new_member(const modes::Command& command) {
    // The same rule as for NORNICDB_CLUSTER_RAFT_PEERS.
    if (auto parsed = env::parse_raft_peers(command.target + ":" + command.address);
        !parsed || parsed.value().size() != 1 || parsed.value().front().id != command.target) {
        return fail(ErrorCode::kInvalidRequest,
                    fmt::format("Member '{}' at '{}': it takes a name without blank, comma, slash, colon or bracket, and "
                                "the host:port of its cluster port.",
                                command.target,
                                command.address));
    }
    return success();
}

}  // namespace nornic::server
