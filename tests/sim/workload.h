// What clients do, what they may see on the way, and what must be there of it in the end.
#pragma once

#include "tests/sim/node.h"

#include <functional>
#include <memory>
#include <string_view>

namespace nornic::sim {

class Workload {
public:
    virtual ~Workload() = default;
    /// One writing transaction on a member that may be the primary; `done` is called once.
    virtual void transact(Node& node, Duration think, std::function<void(const Answer&)> done) = 0;
    /// One read on any member that holds data; what it sees must make sense. `done` is called once.
    virtual void read(Node& node, std::function<void()> done) = 0;
    /// The state of the primary in the end, after Checker::judge().
    virtual void judge(Node& primary) = 0;
};

/// "set", "counter", "bank", "ring", "register", "causal", "regions", or several with a '+' between them.
std::unique_ptr<Workload> make_workload(World& world, std::string_view names);

/// Lets clients go on until the faults end. To be kept as long as the world runs.
class Clients {
public:
    Clients(World& world, Workload& workload) : world_{world}, workload_{workload} {}
    void start();
    /// One write, at the end; `done` says whether it was committed.
    void write(Node& node, std::function<void(bool)> done);
    /// No transaction is under way.
    [[nodiscard]] bool idle() const { return running_ == 0; }

private:
    void next(Duration pause);
    void write_once();
    void read_once();
    Node& choose();

    World& world_;
    Workload& workload_;
    std::size_t running_ = 0;
};

}  // namespace nornic::sim
