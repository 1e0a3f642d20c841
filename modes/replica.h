// Replica: the one driver of every mode. Takes writes, carries the strategy's Ready out (persist,
// send, apply, answer) and is what server talks to.
//
// Threads: calls come from any thread. Whoever finds work and nobody at it does it: the thread that
// commits also writes, syncs and applies, so a single client pays for no hand-over; what arrives
// meanwhile is the next batch (group commit). Completions run on the thread that finished the work.
#pragma once

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "engine/engine.h"
#include "engine/log.h"
#include "modes/strategy.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace nornic::modes {

/// A write that is durable as its mode promises, and applied here.
struct Committed {
    LogIndex index;
    Term term;
};

struct ReplicaStats {
    std::uint64_t commits = 0;
    std::uint64_t batches = 0;  // commits / batches: how many share a sync
    std::uint64_t refused = 0;
    std::uint64_t log_bytes = 0;
    LogIndex last_index;
    LogIndex applied_index;
    std::uint64_t sync_count = 0;
    std::uint64_t sync_ns_total = 0;
    std::uint64_t sync_ns_max = 0;
    bool failed = false;
    bool disk_full = false;
};

class Replica {
public:
    using CommitDone = std::function<void(Result<Committed>)>;

    virtual ~Replica() = default;

    /// Replays the log into the engine. kCorruption, kIo: the member must not serve.
    virtual Result<> start() = 0;
    /// Refuses new writes with kStopping and waits for those under way.
    virtual void stop() = 0;

    /// Each ends in exactly one of three ways: committed (and applied: the next snapshot sees it),
    /// not committed (any error but kUnknownCommit), or kUnknownCommit. Called on any thread,
    /// perhaps this one.
    virtual void commit(std::string write_set, CommitDone done) = 0;
    /// The same, waiting here.
    Result<Committed> commit_and_wait(std::string write_set);

    /// Done once the engine's applied index is at least what `level` asks; kBookmarkTimeout at the
    /// deadline.
    virtual void read_point(ReadConsistency level,
                            std::optional<LogIndex> bookmark,
                            Deadline deadline,
                            std::function<void(Result<LogIndex>)> done) = 0;

    [[nodiscard]] virtual ClusterView view() const = 0;
    [[nodiscard]] virtual ReplicaStats stats() const = 0;
    /// Since when a sync has been hanging, for the watchdog.
    [[nodiscard]] virtual std::optional<Deadline> sync_running_since() const = 0;
    /// What made this member stop taking writes for good (a failed sync, an entry that cannot be
    /// applied).
    [[nodiscard]] virtual std::optional<Error> failure() const = 0;
};

struct ReplicaSettings {
    /// One batch's limits: what gathers while a sync runs.
    std::size_t batch_entries_max = 4096;
    std::size_t batch_bytes_max = std::size_t{64} << 20;
    Duration sync_warn_after = std::chrono::seconds{1};
    /// Runs completions elsewhere while this thread goes on with the next batch; empty: all run
    /// here.
    std::function<void(std::function<void()>)> post;
};

/// engine and log must outlive it.
std::unique_ptr<Replica> make_replica(std::unique_ptr<Strategy> strategy,
                                      engine::Engine& engine,
                                      engine::Log& log,
                                      Clock& clock,
                                      const ReplicaSettings& settings);

}  // namespace nornic::modes
