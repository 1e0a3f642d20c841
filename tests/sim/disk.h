// What survives a member's process: its log, its store. SimLog is the log as one process sees it; a sync of it takes
// time, during which the member's other inputs go on, and may fail or never end.
#pragma once

#include "engine/log.h"
#include "engine/log/segmented_log.h"
#include "engine/log/simulated_disk.h"
#include "engine/snapshot.h"
#include "tests/sim/fiber.h"
#include "tests/sim/world.h"

#include <memory>
#include <optional>
#include <vector>

namespace nornic::sim {

class Node;

class Disk {
public:
    Disk(World& world, Node& node);
    ~Disk();

    /// For a process that starts. The store is lent to it.
    Result<std::unique_ptr<engine::Log>> open_log();
    [[nodiscard]] engine::KvHome& home() { return *home_; }
    /// The process is gone: killed, or (power_lost) with all that was not synced.
    void crash(bool power_lost);
    /// All that it holds is gone, and whose it was. Between two processes.
    void wipe();

    // Faults.
    bool full = false;
    bool hangs = false;       // no sync ends
    bool fails_next = false;  // the next sync fails

    /// Resumes what stands in a sync, if anything does.
    void resume_sync();
    [[nodiscard]] bool in_sync() const { return waiting_ != nullptr; }
    [[nodiscard]] Term newest_term() const { return hard_states_.back().term; }

    /// The term of each entry that this log ever had in its present line: [0] is that of index 0.
    std::vector<Term> lineage{Term{0}};
    /// The same as far as it was synced.
    std::vector<Term> durable{Term{0}};

private:
    friend class SimLog;
    void harm_memory_log();
    void rot();
    void synced();
    void check_reopened(const engine::Log& log);

    World& world_;
    Node& node_;
    std::unique_ptr<engine::SimulatedDisk> sectors_;  // beneath a segmented log
    std::unique_ptr<engine::Log> memory_log_;
    std::unique_ptr<engine::KvHome> home_;
    Fiber* waiting_ = nullptr;
    std::optional<Deadline> sync_since_;
    std::uint64_t opened_ = 0;
    bool standalone_ = false;  // who wrote it last
    std::size_t changed_from_ = SIZE_MAX;  // the first index that was written since the last sync
    bool line_changed_ = false;            // the log was begun anew since then
    struct Rotten {
        std::string path;
        std::uint64_t offset = 0;
        std::string sector;  // as it was
    };
    std::optional<Rotten> rotten_;
    std::vector<engine::HardState> hard_states_{engine::HardState{}};  // the one synced, and later ones
};

}  // namespace nornic::sim
