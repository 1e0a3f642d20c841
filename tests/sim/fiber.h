// Fibers: a member's disk thread without a thread. What runs on one can stand still in a sync while the scheduler
// delivers messages and ticks to the same member.
#pragma once

#include <functional>
#include <memory>
#include <vector>

namespace nornic::sim {

class Fiber;

class Fibers {
public:
    Fibers();
    ~Fibers();
    Fibers(const Fibers&) = delete;
    Fibers& operator=(const Fibers&) = delete;

    /// Runs `work` until its end or its first suspend().
    void run(std::function<void()> work);
    /// nullptr outside of run() and resume().
    [[nodiscard]] Fiber* current() const { return current_; }
    /// Leaves the current fiber; returns when somebody resumes it.
    void suspend();
    void resume(Fiber* fiber);

private:
    void enter(Fiber* fiber);

    std::vector<std::unique_ptr<Fiber>> all_;
    std::vector<Fiber*> idle_;
    Fiber* current_ = nullptr;
};

}  // namespace nornic::sim
