// LeaderHistory: who led when, and why that changed, beyond this process: the last changes that this member saw are kept in
// leaders.json in its data directory. It is for people alone, nothing is decided by it, so what cannot be read is left out with
// a warning.
#pragma once

#include "base/clock.h"
#include "base/mutex.h"
#include "modes/replica.h"
#include "server/elastic_pool.h"

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace nornic::server {

class LeaderHistory {
public:
    /// Reads what the processes before this one left in `directory`.
    LeaderHistory(const std::string& directory, Clock& clock);

    /// The file in a data directory.
    static std::string file(const std::string& directory) { return directory + "/leaders.json"; }

    [[nodiscard]] std::int64_t started_wall_ns() const noexcept { return started_wall_ns_; }
    /// Those of before and those since the start, the newest last; modes::kLeaderChangesKept of them.
    [[nodiscard]] std::vector<modes::SeenLeaderChange> all(std::vector<modes::SeenLeaderChange> since_start) const;

    /// Now and then: if something was remembered that the file does not have, a thread of the pool writes it. Both outlive that.
    void tend(const modes::Replica& replica, ElasticPool& pool);
    /// Writes the file if it is behind; waits for the disk. Warns once if it cannot.
    void keep(const modes::Replica& replica);

private:
    const std::string path_;
    const std::int64_t started_wall_ns_;
    std::vector<modes::SeenLeaderChange> before_;  // the newest last; not changed later
    std::atomic<std::uint64_t> kept_{0};           // of this process's changes; the file has these
    std::atomic<bool> keeping_{false};             // a thread of the pool is at it
    Mutex writing_;
    bool warned_ GUARDED_BY(writing_) = false;
};

}  // namespace nornic::server
