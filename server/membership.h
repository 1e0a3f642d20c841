// What people ask of a group's membership, over HTTP and in Cypher: read and checked before the mode sees it.
#pragma once

#include "base/result.h"
#include "modes/strategy.h"

#include <chrono>
#include <string_view>

namespace nornic::server {

/// How long whoever asked for a change waits for its end.
inline constexpr std::chrono::seconds kCommandPatience{10};

/// "voter", "learner", "witness". kInvalidRequest.
Result<modes::Command::MemberRole> member_role(std::string_view text);
/// A name and an address that could be a member's. kInvalidRequest with a sentence.
Result<> check_new_member(const modes::Command& command);

}  // namespace nornic::server
