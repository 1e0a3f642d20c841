// A member: EngineHost, log, bus and modes::Replica as they run in production, with no threads. It can be killed at
// any call that it makes to the outside, paused, stopped in order and started again on the same disk.
#pragma once

#include "engine/snapshot.h"
#include "engine/transaction.h"
#include "modes/replica.h"
#include "tests/sim/disk.h"
#include "tests/sim/world.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::sim {

/// One process of a member. Whatever it left in the scheduler does nothing once it is dead.
struct Life {
    bool dead = false;
    std::uint64_t number = 0;
};

enum class Outcome : std::uint8_t { kCommitted, kRefused, kUnknown };
struct Answer {
    Outcome outcome = Outcome::kRefused;
    modes::Committed committed{};
    std::string error;
};

/// A client's transaction on one member. Ends once: with what the member answers, or with the member.
struct Attempt {
    std::shared_ptr<Life> life;
    std::unique_ptr<engine::Transaction> transaction;
    Term began;
    bool proposed = false;
    std::uint64_t payload = 0;  // as the checker knows it
    bool answered = false;
    std::uint32_t completions = 0;
    std::function<void(const Answer&)> done;
};

class Node {
public:
    Node(World& world, std::size_t number, std::string id, bool witness);
    ~Node();
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;

    void start();
    /// power_lost: what was not synced goes with it. It starts again after `away`.
    void crash(bool power_lost, Duration away);
    void pause(Duration how_long);
    void stop_in_order(Duration away);
    /// Its process is killed and not started again until somebody calls start().
    void retire();
    /// For good, at once; not within a call of its process.
    void end();
    /// Everything works again and goes on.
    void heal();

    /// A call of the present process to the outside. false: it died here, or before.
    bool seam(std::string_view call);
    /// Now, or once it is not paused any more, if the process that runs now still does then.
    void when_running(Action action);

    /// Begins a transaction of a client; `body` makes its changes, false gives it up.
    using Body = std::function<Result<bool>(engine::Transaction&)>;
    void transact(Duration think, const Body& body, std::function<void(const Answer&)> done);

    [[nodiscard]] bool alive() const { return life_ != nullptr && !life_->dead && replica_ != nullptr && started_; }
    [[nodiscard]] bool paused() const { return paused_; }
    /// It was paused and nothing ran in it since: it has not found out, and what it says of itself is from before.
    [[nodiscard]] bool just_resumed() const { return just_resumed_; }
    /// Takes part: alive and not paused.
    [[nodiscard]] bool running() const { return alive() && !paused_; }
    [[nodiscard]] bool witness() const { return witness_; }
    /// No process of it runs, and none will by itself: it was not started yet, or was retired.
    [[nodiscard]] bool retired() const { return retired_; }
    /// It is a server of its own, whatever it will be later.
    [[nodiscard]] bool standalone() const;
    [[nodiscard]] const std::string& id() const { return id_; }
    [[nodiscard]] std::size_t number() const { return number_; }
    [[nodiscard]] World& world() { return world_; }
    [[nodiscard]] SkewedClock& clock() { return clock_; }
    [[nodiscard]] Disk& disk() { return disk_; }
    [[nodiscard]] const std::shared_ptr<Life>& life() const { return life_; }
    [[nodiscard]] modes::Replica& replica() { return *replica_; }
    /// Also from within a call of its strategy. Precondition: alive().
    [[nodiscard]] modes::ClusterView strategy_view() const { return strategy_->view(); }
    [[nodiscard]] engine::EngineHost& engine() { return *engine_; }
    [[nodiscard]] bool accepting() const { return running() && !stopping_; }
    [[nodiscard]] bool runs_disk(const Fiber* fiber) const { return fiber == disk_fiber_; }

    bool configured_primary = false;
    modes::RaftSettings raft;        // what this one is started with
    modes::MultiRegionSettings region;
    bool group_first = false;        // its group is no region for now
    bool standalone_first = false;   // in Raft: it runs alone for now, in that mode
    std::uint64_t newest_round = 0;  // of its heartbeats; kept for a mutation
    bool removed = false;            // an operator took it out of the group, and it has not been added since

private:
    std::unique_ptr<modes::Strategy> make_strategy(const modes::StrategyStart& start);
    void leave_network(bool power_lost);
    void bury(Duration away, bool power_lost);
    void tick();
    void schedule_tick();
    void watch_stop(Duration away, Duration deadline);
    void lose_attempts();
    void later(Duration delay, Action action);
    void answer(const std::shared_ptr<Attempt>& attempt, Result<modes::Committed> result);

    World& world_;
    const std::size_t number_;
    const std::string id_;
    const bool witness_;
    const std::uint64_t seed_;
    SkewedClock clock_;
    Disk disk_;
    std::shared_ptr<Life> life_;
    bool started_ = false;
    bool stopping_ = false;
    bool just_resumed_ = false;
    bool retired_ = true;
    bool orderly_ = false;  // it ended by itself and could close its log
    bool paused_ = false;
    std::uint64_t pauses_ = 0;
    std::uint64_t missed_ticks_ = 0;
    std::uint64_t disk_work_ = 0;  // handed over and not done
    std::vector<Action> deferred_;
    std::vector<std::shared_ptr<Attempt>> attempts_;
    const Fiber* disk_fiber_ = nullptr;

    std::unique_ptr<engine::Log> log_;
    std::unique_ptr<engine::EngineHost> engine_;
    std::unique_ptr<transport::MessageBus> bus_;
    modes::Strategy* strategy_ = nullptr;  // the replica's
    std::unique_ptr<modes::Replica> replica_;
};

/// Hands everything on to `inner` and shows what it says to operators.
std::unique_ptr<modes::Strategy> watch_strategy(World& world, std::string id, std::unique_ptr<modes::Strategy> inner);

}  // namespace nornic::sim
