#include "modes/strategy.h"

namespace nornic::modes {

std::string_view to_string(Role role) noexcept {
    switch (role) {
        case Role::kStandalone:
        case Role::kLeader:
            return "leader";
        case Role::kFollower:
            return "follower";
        case Role::kCandidate:
            return "candidate";
        case Role::kLearner:
            return "learner";
        case Role::kWitness:
            return "witness";
        case Role::kPrimary:
            return "primary";
        case Role::kStandby:
            return "standby";
    }
    return "unknown";
}

}  // namespace nornic::modes
