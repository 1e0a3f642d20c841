// Who is a member of the group, and who decides. A change that moves more than one vote goes through a joint
// configuration, in which both the old and the new majority must agree (thesis 4.3).
#pragma once

#include "base/ids.h"
#include "base/result.h"

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::raft {

/// Drawn when a member's log is first made. A member that lost its disk has another and must not vote in the name of the
/// one that did (practice A9; the idea is Kafka's KIP-853). 0: not known yet.
using DirectoryId = StrongId<struct DirectoryIdTag>;

struct Member {
    std::string address;  // "host:port" that its peers dial
    DirectoryId directory;
    std::uint32_t priority = 100;  // who of the fit should lead; 0: takes no writes, and leads only to hand on what others lack
    bool voter = true;             // has a vote in the (new) configuration
    bool outgoing = false;         // has a vote in the old one of a joint configuration
    bool leaving = false;          // no member any more once the joint configuration is left
    bool witness = false;          // holds the log and no data
    bool promote = false;          // a learner that becomes a voter once it has caught up
    bool operator==(const Member&) const = default;

    [[nodiscard]] bool votes() const noexcept { return voter || outgoing; }
};

struct Configuration {
    std::map<NodeName, Member> members;
    bool joint = false;
    bool operator==(const Configuration&) const = default;

    [[nodiscard]] const Member* find(const NodeName& id) const;
    [[nodiscard]] bool is_voter(const NodeName& id) const;  // in either of the two
    [[nodiscard]] std::size_t voters() const;               // of the new configuration
    [[nodiscard]] std::size_t voters_with_data() const;     // … that are no witnesses

    /// The highest index that a majority (of both, while joint) has: thesis 3.6.2 and 4.3. 0 without voters.
    [[nodiscard]] LogIndex committed(const std::function<LogIndex(const NodeName&)>& match) const;
    enum class Outcome : std::uint8_t { kPending, kWon, kLost };
    /// `vote`: 1 granted, -1 refused, 0 not yet.
    [[nodiscard]] Outcome tally(const std::function<int(const NodeName&)>& vote) const;
    [[nodiscard]] bool has_quorum(const std::function<bool(const NodeName&)>& counts) const;

    /// Deterministic, versioned, at most kConfigurationBytesMax.
    [[nodiscard]] std::string encode() const;
    /// kCorruption: not one of ours, or with more than kMembersMax members.
    static Result<Configuration> decode(std::string_view bytes);
    /// Of bytes that were checked before, or are this disk's own; aborts if they are damaged all the same. `whose`: "of entry 7".
    static Configuration decode_checked(std::string_view bytes, std::string_view whose);
    /// "a (voter), b (learner), w (witness)", for people.
    [[nodiscard]] std::string describe() const;
};

inline constexpr std::size_t kMembersMax = 32;
inline constexpr std::size_t kVotersMax = 7;
inline constexpr std::size_t kNameBytesMax = 256;
inline constexpr std::size_t kConfigurationBytesMax = 32 * 1024;
inline constexpr std::size_t kWitnessConfigurationBytesMax = 3900;  // of engine::HardState's `extra`, 4 KiB

/// One wish of an operator or of the leader itself.
struct Change {
    enum class Kind : std::uint8_t {
        kAddVoter,    // as learner first, which becomes a voter once it has caught up (thesis 4.2.1)
        kAddLearner,
        kPromote,     // a learner that has caught up
        kDemote,      // to a learner
        kRemove,
        kUpdate,      // address (empty: as it is), priority, a directory that was not known; no votes
        kReplaceDirectory,  // it lost its disk: a learner again, which becomes a voter when it has caught up
    };
    Kind kind = Kind::kAddVoter;
    NodeName id;
    Member member;  // kAddVoter, kAddLearner, kUpdate, kReplaceDirectory
};

/// What the configuration becomes: joint where votes of more than one member change. kInvalidArgument, kNotFound,
/// kAlreadyExists, each with what would be right. Precondition: `from` is not joint.
/// Witnesses stay fewer than half of the voters: what they hold is no data (spec 004). Where a member lost its disk, its
/// vote is suspended all the same; it comes back.
Result<Configuration> apply_changes(const Configuration& from, const std::vector<Change>& changes);
/// Whether a group may begin with it. kInvalidArgument.
Result<> check_first(const Configuration& first);
/// The configuration that a joint one leads to.
Configuration leave_joint(const Configuration& joint);

}  // namespace nornic::raft
