// What must hold. It watches logs, answers and states while the world runs, and judges the end.
#pragma once

#include "engine/log.h"
#include "engine/snapshot.h"
#include "modes/replica.h"
#include "tests/sim/node.h"
#include "tests/sim/world.h"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nornic::sim {

class Checker {
public:
    explicit Checker(World& world) : world_{world} {}

    /// An entry went into a member's log. One (index, epoch) is one entry, wherever it is.
    void logged(Node& node, const engine::LogEntry& entry);
    /// The one member of a standalone world starts again. Its indexes are used again, all in one term.
    void reopened(Node& node, LogIndex last);
    /// A member's log was synced from there to its end.
    void synced(Node& node, LogIndex from);
    /// A member's disk is emptied: what was on both is on one, until it is there again.
    void wiped() { on_both_.clear(); }
    /// A member that leads in `term` decided that entries are committed.
    void committed(Node& node, Term term, LogIndex last);
    /// A member begins to lead in `term`.
    void leads(Term term);
    /// A member's log goes on behind a snapshot of (index, term).
    void replaced(Node& node, LogIndex index, Term term);
    void diverged(Node& node, const std::string& name, const std::string& text);
    /// A write set is offered; the number names it to answered().
    std::uint64_t proposed(std::string_view write_set);
    void answered(std::uint64_t payload, const Answer& answer);
    /// A client was told that its write is committed.
    void acknowledged(Node& node, modes::Committed committed);

    /// A member's engine has taken an entry in. It is one that was logged, and the state it leads to is the same wherever
    /// it is applied.
    void applied(Node& node, engine::EngineHost& engine, const engine::LogEntry& entry);

    /// Members that stand at the same entry have the same state; under witness and strict one member leads.
    void compare_states();
    void count_primaries();
    /// What members say of themselves makes sense.
    void check_views();

    /// Everything is healed and quiet; `primary` leads.
    void judge(Node& primary);
    /// Whether that acknowledged write is still there. Valid after judge().
    [[nodiscard]] bool survived(modes::Committed committed) const;
    [[nodiscard]] std::size_t acknowledged_count() const { return acknowledged_.size(); }

private:
    struct Acknowledged {
        modes::Committed committed;
        std::size_t node = 0;
        Duration at{};
        bool in_sync = false;  // its primary said then that nothing is acknowledged without the standby
    };
    void compare_state(Node& node, engine::EngineHost& engine);
    void judge_proposals();
    [[nodiscard]] std::string why_lost_is_wrong(const Acknowledged& lost) const;

    World& world_;
    std::map<std::pair<LogIndex, Term>, std::uint64_t> entries_;  // hash of each entry ever logged
    std::map<std::pair<LogIndex, Term>, std::uint64_t> holders_;  // members that ever logged it, a bit each
    std::map<std::pair<LogIndex, Term>, std::uint64_t> states_;   // digest of the state there
    std::set<std::pair<LogIndex, Term>> diverged_;
    std::set<std::pair<LogIndex, Term>> on_both_;  // durable on both data members at a time
    Term newest_committed_;                        // epoch in which a primary last decided
    std::set<std::pair<LogIndex, Term>> late_;     // by the primary of an epoch that was over
    std::map<Term, std::size_t> leaders_;  // who acknowledged in an epoch
    std::map<Term, Duration> led_since_;
    std::vector<Acknowledged> acknowledged_;
    struct Place {
        LogIndex index;
        Term term;
        std::uint64_t entry = 0;  // its hash
    };
    struct Proposal {
        std::uint32_t times = 0;  // write sets of the same bytes cannot be told from each other
        std::optional<Answer> answer;
    };
    std::map<std::uint64_t, std::vector<Place>> places_;    // by hash of the write set, wherever it was ever logged
    std::map<std::uint64_t, Proposal> proposals_;           // the same
    std::vector<Term> history_;  // of the primary at the end
};

}  // namespace nornic::sim
