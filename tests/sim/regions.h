// Several regions: a world of its own for each, with its group, faults and checkers, all on one ground; between them a network
// that is cut for (wall clock) days, clocks that differ, and clients that write to the same nodes everywhere.
#pragma once

#include "tests/sim/world.h"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace nornic::sim {

struct Answer;

/// What clients wrote, wherever it was, and what became of it. Nodes are told apart by their property `name`; ids of writes
/// that came to nothing may be drawn again.
class Ledger {
public:
    struct Effect {
        enum class Kind : std::uint8_t { kCreate, kDelete, kOwn, kShared };
        Kind kind = Kind::kCreate;
        std::int64_t name = 0;
        std::int64_t value = 0;  // kShared: 0 removes it
        std::int64_t seen = 0;   // kShared: what stood there; 0: nothing
    };
    using Draft = std::vector<Effect>;
    struct Write {
        std::int64_t value = 0;
        std::optional<LogIndex> index;  // nullopt: of unknown outcome
    };
    struct Story {
        std::optional<std::size_t> created;  // by which region, if it is known to be
        bool perhaps_deleted = false;
        std::map<std::size_t, LogIndex> deleted;           // by region that acknowledged it: where
        std::map<std::size_t, std::vector<Write>> own;     // by region: of the property that only it writes
        std::set<std::int64_t> shared;                     // ever written to the one that all write
        std::map<std::int64_t, std::size_t> overwritten;   // of these: by a region where it had been seen
        std::set<std::int64_t> perhaps_overwritten;        // … if that write came to be
        std::map<std::int64_t, std::size_t> acknowledged;  // of these: by which region
        bool perhaps_removed = false;
    };
    [[nodiscard]] std::int64_t draw() { return next_++; }
    /// What it alone had is nowhere any more; some of what it acknowledged may have come to others.
    void lose(std::size_t region);
    void ended(const Draft& draft, std::size_t region, const Answer& answer);

    std::map<std::int64_t, Story> stories;

private:
    std::set<std::size_t> lost_;
    std::int64_t next_ = 1;
};

class Regions {
public:
    Regions(std::uint64_t seed, Mutation mutation, Tracing tracing, Marks& marks);
    ~Regions();
    void run();

    /// "r1", "r2", …
    static std::string name_of(std::size_t region);
    [[nodiscard]] Node& node(std::size_t number) { return *all_[number]; }
    [[nodiscard]] std::size_t number_of(const Node& node) const;
    [[nodiscard]] std::optional<std::size_t> find(const std::string& name) const;

    [[nodiscard]] std::optional<Violation> violation() const;
    [[nodiscard]] std::deque<std::string> lines() const;
    [[nodiscard]] std::size_t acknowledged_count() const;

    Ground ground;
    Menu between_menu;  // of the network between them
    Ledger ledger;
    bool seeded = false;  // a state was merged in pieces: what was written at once may be seen by half for a moment

private:
    void every(Duration mean, std::function<void()> fault);
    void plan_faults();
    void cut(std::size_t a, std::size_t b, bool cut);
    void set_clocks();
    void begin_as_group();
    void start_late(World& world);
    void lose_one();
    void drop(std::size_t region);
    [[nodiscard]] bool until(Duration deadline);
    [[nodiscard]] std::string states() const;
    void heal();
    /// Of all regions' logs, everywhere: it grows as long as something is taken in.
    [[nodiscard]] std::uint64_t cursors() const;
    [[nodiscard]] bool all_equal(const std::vector<Node*>& leaders);
    /// In which lines their graphs differ from the first one's.
    [[nodiscard]] static std::string differences(const std::vector<Node*>& leaders);
    void judge(const std::vector<Node*>& leaders);
    /// `shared`: what the property that all write has in the end, by the names of nodes.
    void judge_conflicts(const std::vector<Node*>& leaders, const std::map<std::int64_t, std::int64_t>& shared);

    Duration days_{};              // that went by on all wall clocks
    std::vector<Duration> skews_;  // of each member's

public:
    // What worlds refer to goes after them.
    std::unique_ptr<Network> between;

private:
    std::vector<std::unique_ptr<World>> worlds_;
    std::vector<Node*> all_;
};

}  // namespace nornic::sim
