// Engine: the graph state of one member. Applies log entries in order, gives out snapshots and
// transactions, and writes checkpoints to its Kv. Knows nothing of who else applies the same log.
#pragma once

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "engine/kv.h"
#include "engine/log.h"
#include "engine/transaction.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::engine {

struct Settings {
    std::size_t cache_bytes_max = std::size_t{1} << 30;  // decoded pages and versions
    std::size_t transaction_bytes_max = std::size_t{1} << 30;
    Duration lock_timeout = Duration::zero();  // 0: only the transaction's own time-out ends a wait
    std::uint64_t checkpoint_log_bytes = std::uint64_t{64}
                                         << 20;              // a checkpoint after so much log …
    Duration checkpoint_interval = std::chrono::minutes{5};  // … or so long with anything to write
    std::uint32_t region = 0;                                // the low bits of ids drawn here
    std::string default_database = "neo4j";  // made at the first opening, beside `system`
    std::uint64_t seed = 0;  // of what is drawn here (uuids, ids of exports); 0: the operating system
    /// false: no thread is started. Checkpoints are written when asked for or when dirty pages leave no room, indexes
    /// are populated by the apply that created them: the same calls then give the same state. For the simulator.
    bool background = true;
};

struct BeginOptions {
    std::string database = "neo4j";  // resolved name
    AccessMode mode = AccessMode::kWrite;
    Deadline deadline = kNoDeadline;  // the transaction's time-out
    bool deadline_by_client = false;
    Value metadata = {};  // of the transaction: goes with its write set between regions, for the conflict log
};

struct DatabaseInfo {
    DatabaseId id;
    std::string name;
    std::string uuid;
};

struct EngineStats {
    std::size_t cache_bytes = 0;
    std::uint64_t cache_misses = 0;
    std::uint64_t checkpoints = 0;
    LogIndex checkpoint_index;
    std::uint64_t open_transactions = 0;
    std::uint64_t kv_disk_bytes = 0;
    std::size_t kv_memory_bytes = 0;
    KvStats kv;
};

class Engine {
public:
    virtual ~Engine() = default;

    /// Applies one committed entry: deterministic, in log order, one caller at a time. It cannot be
    /// refused: an entry that is not understood is kCorruption and the member must stop, since
    /// going on would be divergence. Visible to new snapshots when it returns.
    virtual Result<> apply(const LogEntry& entry) = 0;
    [[nodiscard]] virtual LogIndex applied_index() const = 0;
    /// Entries up to here survive a crash without the log.
    [[nodiscard]] virtual LogIndex durable_index() const = 0;
    /// Called (any thread) after durable_index() grew: the log may be cut before it. Takes the place of the
    /// callback before, which is not running any more when this returns; so not to be called from one.
    /// Locks of the engine are held meanwhile: what may replace its state is handed to another thread.
    virtual void on_checkpoint(std::function<void(LogIndex)> callback) = 0;
    /// Writes everything applied to the Kv now. For a clean stop and for backup.
    virtual Result<> checkpoint() = 0;

    /// kDatabaseNotFound, kTransactionLimit.
    virtual Result<std::unique_ptr<Transaction>> begin(const BeginOptions& options) = 0;
    [[nodiscard]] virtual std::vector<DatabaseInfo> databases() const = 0;

    /// Catalogue rows at the applied index; prefix scan in key order.
    [[nodiscard]] virtual std::optional<Value> catalog(std::string_view key) const = 0;
    [[nodiscard]] virtual std::vector<std::pair<std::string, Value>> catalog_range(
        std::string_view prefix) const = 0;

    /// Waits until all indexes of the database are online. kTimedOut, kIndexNotFound, or its
    /// failure.
    virtual Result<> await_indexes(std::string_view database,
                                   std::string_view index_name,
                                   Deadline deadline) = 0;

    [[nodiscard]] virtual EngineStats stats() const = 0;
    /// Order-independent digest of the whole state at the applied index, for tests and consistency
    /// checks.
    virtual Result<std::uint64_t> digest() = 0;

    /// Stops background work. Open transactions fail with kStopping.
    virtual void stop() = 0;
};

/// Reads what the Kv holds (catalogue, tokens, schema, counters: nothing that grows with the
/// graph).
Result<std::unique_ptr<Engine>> open_engine(std::unique_ptr<Kv> kv,
                                            const Settings& settings,
                                            Clock& clock);

}  // namespace nornic::engine
