// What must hold in Raft beyond what holds in any mode: thesis figure 3.2 and chapter 4, watched from outside.
#pragma once

#include "modes/raft/core/configuration.h"
#include "tests/sim/node.h"
#include "tests/sim/world.h"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace nornic::sim {

class RaftChecker {
public:
    explicit RaftChecker(World& world);

    /// An entry went into a member's log, whose line goes up to it.
    void logged(Node& node, const engine::LogEntry& entry);
    /// A member is about to log this: a configuration is in force from here on (thesis 4.1).
    void about_to_log(const engine::LogEntry& entry);
    /// Entries from there on are on a member's disk.
    void durable(Node& node, LogIndex from);
    void wiped(Node& node);
    /// A member knows, and may apply, that entries up to there are committed.
    void decided(Node& node, LogIndex last);
    void applied(Node& node, const engine::LogEntry& entry);
    /// A member sends this.
    void said(Node& from, Node& to, const transport::ClusterMessage& message);

    /// What a member's log says of who is in the group; empty: nothing.
    [[nodiscard]] raft::Configuration configuration_of(Node& node) const;
    /// The newest that is known to be committed.
    [[nodiscard]] const raft::Configuration& configuration() const { return committed_configuration_; }
    /// Its disk may be emptied: in each configuration that may be in force the others that still have theirs can go on without it.
    [[nodiscard]] bool may_wipe(Node& node) const;
    /// It has lost its disk, and the group does not know its new one yet.
    [[nodiscard]] bool lacks_disk(const Node& node) const;
    /// The directory id of a member's present disk; 0: it has not spoken yet.
    [[nodiscard]] std::uint64_t directory_of(const Node& node) const { return directories_[node.number()]; }
    /// That of its disk before the present one; 0: there was none.
    [[nodiscard]] std::uint64_t old_directory_of(const Node& node) const { return old_directories_[node.number()]; }
    /// Votes that were asked for, by anybody.
    [[nodiscard]] std::uint64_t elections() const { return elections_; }

    void judge(Node& leader) const;

private:
    using Place = std::pair<LogIndex, Term>;
    [[nodiscard]] bool holds(const Node& node, Place place) const;
    [[nodiscard]] bool has_quorum(Place place) const;
    [[nodiscard]] bool among_voters_of(const Node& node, const std::function<bool(const Node&)>& counts) const;
    void check_intersect(Node& node, const raft::Configuration& before, const raft::Configuration& after, LogIndex index);

    World& world_;
    std::map<Place, raft::Configuration> configurations_;  // in somebody's log
    std::map<Place, raft::Configuration> begun_;           // or on their way there
    std::map<Place, std::uint64_t> durable_;  // members that ever had it on disk, a bit each
    std::vector<Term> committed_{Term{0}};    // term of each entry known to be committed
    raft::Configuration committed_configuration_;
    LogIndex committed_configuration_index_;
    std::vector<LogIndex> checked_;           // of each member's line, in its present process
    std::vector<std::uint64_t> lives_;
    std::vector<std::uint64_t> disks_;        // how often each was emptied
    std::vector<std::uint64_t> directories_;
    std::vector<std::uint64_t> old_directories_;
    std::map<std::uint64_t, std::pair<std::size_t, std::uint64_t>> owners_;  // of directory ids: member and disk
    std::map<Term, std::size_t> leaders_;
    struct Voter {
        std::size_t member;
        std::uint64_t disk;
        Term term;
        auto operator<=>(const Voter&) const = default;
    };
    std::map<Voter, std::size_t> votes_;
    std::uint64_t elections_ = 0;
};

}  // namespace nornic::sim
