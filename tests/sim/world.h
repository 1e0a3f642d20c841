// The world of one seed: what everything in it shares.
#pragma once

#include "base/random.h"
#include "modes/strategy.h"
#include "tests/sim/fiber.h"
#include "tests/sim/menu.h"
#include "tests/sim/scheduler.h"

#include <fmt/format.h>

#include <cstdio>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nornic::sim {

class Checker;
class Network;
class Node;
class RaftChecker;
class Clients;
class Workload;

/// Named marks of rare branches, counted over a run.
using Marks = std::map<std::string, std::uint64_t, std::less<>>;

struct Tracing {
    bool keep = false;   // the last lines, for a failure's report
    bool print = false;  // all of them, now
};

/// Thrown by nobody: a violation ends the run at the next event.
struct Violation {
    std::string what;
};

/// What all worlds of a run share: time, chance, and the stacks of what stands still.
struct Ground {
    explicit Ground(std::uint64_t seed) : random{seed} {}
    Scheduler scheduler;
    Random random;
    Fibers fibers;
};

class Regions;

/// One group of members. Several of them on one ground are regions (regions.h).
class World {
public:
    World(const Menu& drawn, Tracing tracing, Marks& counted, Ground& ground, Regions* among = nullptr, std::size_t which = 0);
    ~World();
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    /// The whole life of the world: faults, healing, checks.
    void run();

    template <class... Args>
    void trace(fmt::format_string<Args...> format, Args&&... args) {
        if (tracing_.keep || tracing_.print) {
            line(fmt::format(format, std::forward<Args>(args)...));
        }
    }
    [[nodiscard]] bool traces() const { return tracing_.keep || tracing_.print; }
    [[nodiscard]] bool prints() const { return tracing_.print; }
    void mark(std::string_view name) {
        auto at = marks_.find(name);
        if (at == marks_.end()) {
            at = marks_.emplace(std::string{name}, 0).first;
        }
        ++at->second;
    }
    /// The first one counts.
    void violate(std::string what);
    [[nodiscard]] const std::optional<Violation>& violation() const { return violation_; }
    [[nodiscard]] const std::deque<std::string>& lines() const { return lines_; }

    [[nodiscard]] bool chance(std::uint32_t per_million) {
        return per_million != 0 && faults && random.below(1'000'000) < per_million;
    }
    [[nodiscard]] Duration between(Duration least, Duration most) {
        return least + Duration{static_cast<Duration::rep>(
                           random.below(static_cast<std::uint64_t>(std::max<Duration::rep>(1, (most - least).count()))))};
    }
    [[nodiscard]] Node& node(std::size_t number) { return *nodes[number]; }
    [[nodiscard]] Node* find(const std::string& id) const;

    /// "r1/a:7688" in a region, "a:7688" elsewhere.
    [[nodiscard]] std::string address_of(const std::string& id) const;

    const Menu menu;
    Scheduler& scheduler;
    Random& random;
    Fibers& fibers;
    Regions* const regions;     // nullptr: this world is all there is
    const std::size_t region;   // which of them
    bool faults = true;  // false once everything is healed
    bool lost = false;   // all of it, for good
    std::uint64_t partitions = 0;  // that cut off a living member, or looked like it
    std::uint64_t forced = 0;      // promotions that an operator forced
    std::optional<Duration> switched_over_at;  // when an operator last asked for another primary
    std::unique_ptr<Network> network;
    std::unique_ptr<Checker> checker;
    std::unique_ptr<RaftChecker> raft_checker;  // null in other modes
    std::vector<std::unique_ptr<Node>> nodes;

private:
    friend class Regions;
    void line(std::string text);
    void plan_faults();
    void every(Duration mean, std::function<void()> fault);
    void probe();
    void heal();
    void live(Clients& clients, Workload& workload);
    /// The one member that takes writes, if all that matter are there.
    [[nodiscard]] Node* settled();
    [[nodiscard]] bool equal_to(Node& leader);
    /// It is to have what the leader has.
    [[nodiscard]] bool belongs(const Node& node, Node& leader) const;
    [[nodiscard]] std::string states() const;
    void until(Duration deadline);
    Node* stay_quiet(Node& leader);

    // world_raft.cc: a Raft group, and what its operator does.
    void prepare_raft();
    void start_raft();
    void plan_operator();
    void plan_wipes();
    void heal_raft();
    void split();
    void ask(Node& node, const modes::Command& command, std::function<void(bool)> done);
    Node* someone_to_ask();
    void add(Node& node);
    void keep_adding();
    void add_nobody();
    void remove_one();
    [[nodiscard]] Duration a_while();

    const Tracing tracing_;
    Marks& marks_;
    std::optional<Violation> violation_;
    std::deque<std::string> lines_;
};

}  // namespace nornic::sim
