#include "modes/strategy.h"

namespace nornic::modes {
namespace {

/// Version and kind of a mark.
constexpr std::string_view kComparisonMark{"\x01\x01", 2};

}  // namespace

bool is_known(EntryKind kind) noexcept {
    switch (kind) {
        case EntryKind::kNoop:
        case EntryKind::kWriteSet:
        case EntryKind::kMembership:
            return true;
    }
    return false;
}

std::string comparison_mark() {
    return std::string{kComparisonMark};
}

bool is_comparison_mark(const Entry& entry) noexcept {
    return entry.kind == EntryKind::kNoop && entry.payload == kComparisonMark;
}

std::vector<std::string> tags_of(const PeerInfo& peer) {
    std::vector<std::string> out;
    for (const std::string_view feature : peer.features) {
        if (feature.starts_with(kTagFeature)) {
            out.emplace_back(feature.substr(kTagFeature.size()));
        }
    }
    return out;
}

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

std::string_view to_string(ReadConsistency level) noexcept {
    switch (level) {
        case ReadConsistency::kOne:
            return "ONE";
        case ReadConsistency::kLocalOne:
            return "LOCAL_ONE";
        case ReadConsistency::kQuorum:
            return "QUORUM";
        case ReadConsistency::kLocalQuorum:
            return "LOCAL_QUORUM";
        case ReadConsistency::kAll:
            return "ALL";
    }
    return "unknown";
}

}  // namespace nornic::modes
