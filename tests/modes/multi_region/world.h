// Regions of one member each, on real engines, with no thread, socket or disk: the strategy around a standalone one, driven as
// modes::Replica does. What goes between regions waits in a queue that can be cut, and members can crash.
#pragma once

#include "base/hybrid_clock.h"
#include "engine/snapshot.h"
#include "modes/multi_region/multi_region.h"
#include "tests/modes/conformance/fixture.h"

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace nornic::modes::regions {

/// What people would see, by names: a line for each node and relationship.
std::string dump(engine::Engine& engine);

class World {
public:
    struct Options {
        MultiRegionSettings settings;  // region and remotes are filled in
        std::map<std::string, std::int64_t> clock_offset_ms;
        /// Around a region's own strategy, if anything.
        std::function<std::unique_ptr<Strategy>(const std::string& region, std::unique_ptr<Strategy>)> around;
    };
    World(const std::vector<std::string>& regions, Options options);
    ~World();

    void add(const std::string& region, std::vector<std::string> remotes);
    [[nodiscard]] std::vector<std::string> names() const;
    void start(const std::string& region);
    void crash(const std::string& region);
    [[nodiscard]] LogIndex last_index(const std::string& region) { return members_.at(region).log.last_index(); }
    /// Its disk is replaced by an older copy. Only where no checkpoint was made since.
    void set_back(const std::string& region, LogIndex to);
    /// Its disk is replaced by an empty one.
    void wipe(const std::string& region);
    void cut(const std::string& a, const std::string& b) { cut_.insert({a, b}), cut_.insert({b, a}), disconnect(); }
    /// Once so many more batches of `from` have come to `to`.
    void cut_after(const std::string& from, const std::string& to, std::uint64_t batches) { cut_after_[{from, to}] = batches; }
    [[nodiscard]] bool is_cut(const std::string& a, const std::string& b) const { return cut_.contains({a, b}); }
    void heal() { cut_.clear(); }
    void heal(const std::string& a, const std::string& b) { cut_.erase({a, b}), cut_.erase({b, a}); }
    void run(std::uint64_t ticks);
    bool run_until(const std::function<bool()>& done, std::uint64_t ticks = 3000);
    /// Until every region has what every other has.
    bool converge(std::uint64_t ticks = 6000);

    using Work = std::function<void(engine::Transaction&)>;
    /// One transaction; the error, if it was refused. Does not wait.
    Result<> write(const std::string& region, const Work& work);
    Result<std::string> command(const std::string& region, Command command);
    /// The log forgets all that the state has, whoever wants it.
    void cut_log(const std::string& region);

    [[nodiscard]] engine::EngineHost& engine(const std::string& region) { return *members_.at(region).engine; }
    [[nodiscard]] ClusterView view(const std::string& region) { return members_.at(region).strategy->view(); }
    [[nodiscard]] std::shared_ptr<const engine::RegionState> state(const std::string& region) {
        return engine(region).regions()->region_state();
    }
    [[nodiscard]] std::string dump_of(const std::string& region) { return dump(engine(region)); }
    [[nodiscard]] const std::vector<std::string>& events(const std::string& region) { return members_.at(region).events; }
    [[nodiscard]] bool applied_all(const std::string& region) { return members_.at(region).open == 0; }
    [[nodiscard]] std::uint64_t batches(const std::string& region) const { return members_.at(region).batches; }

private:
    struct Member {
        std::vector<std::string> remotes;
        std::unique_ptr<engine::KvHome> home;
        std::uint64_t disks = 0;  // before this one
        std::unique_ptr<engine::EngineHost> engine;
        conformance::MemoryLog log;
        std::unique_ptr<Strategy> strategy;
        HybridClock clock;
        std::map<ProposalId, std::unique_ptr<engine::Transaction>> offered;
        std::map<LogIndex, std::unique_ptr<engine::Transaction>> waiting;
        std::size_t open = 0;
        std::set<std::string> connected;
        std::vector<std::string> events;
        std::map<std::uint64_t, Result<std::string>> answers;
        std::uint64_t next_id = 1;
        std::uint64_t batches = 0;  // of other regions that came here
    };
    [[nodiscard]] std::uint64_t wall_ms(const std::string& region) const;
    void watch_connections();
    void disconnect();
    void pump(const std::string& region);
    bool deliver();
    void settle();

    Options options_;
    std::uint64_t tick_ = 0;
    std::map<std::string, Member> members_;
    std::set<std::pair<std::string, std::string>> cut_;
    std::map<std::pair<std::string, std::string>, std::uint64_t> cut_after_;
    struct Message {
        std::string from;
        std::string to;
        std::shared_ptr<const ClusterMessage> message;
    };
    std::deque<Message> network_;
};

}  // namespace nornic::modes::regions
