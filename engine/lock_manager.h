// Locks of writing transactions: who may change a node, a relationship, an index key or the schema.
//
// Held from the write until the transaction ends, never let go of one by one. A request that cannot
// be granted waits in arrival order; one that would close a circle of waiting transactions fails at
// once with kDeadlock, so that no deadlock is ever waited out. Thread-safe; a LockClient belongs to
// one transaction and is used by one thread at a time, except interrupt().
#pragma once

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace nornic::engine {

enum class LockKind : std::uint8_t { kNode, kRelationship, kIndexKey, kSchema, kMerge };
enum class LockMode : std::uint8_t { kShared, kExclusive };

/// What is locked. `id` is a node or relationship id, or a 64-bit hash of what has no number (an
/// index with its key, a label with merged values): two things with one hash share a lock, which
/// costs waiting but never correctness.
struct LockKey {
    LockKind kind = LockKind::kNode;
    DatabaseId database;
    std::uint64_t id = 0;
    bool operator==(const LockKey&) const = default;

    static LockKey node(DatabaseId database, NodeId id) noexcept {
        return {LockKind::kNode, database, id.value};
    }
    static LockKey relationship(DatabaseId database, RelId id) noexcept {
        return {LockKind::kRelationship, database, id.value};
    }
    static LockKey index_key(DatabaseId database, std::uint64_t hash) noexcept {
        return {LockKind::kIndexKey, database, hash};
    }
    static LockKey schema(DatabaseId database) noexcept { return {LockKind::kSchema, database, 0}; }
    static LockKey merge(DatabaseId database, std::uint64_t hash) noexcept {
        return {LockKind::kMerge, database, hash};
    }
};

/// "NODE(13)", "RELATIONSHIP(4)", "INDEX_ENTRY(…)", "SCHEMA(0)", "MERGE(…)".
std::string to_string(const LockKey& key);
/// "SharedLock", "ExclusiveLock".
std::string_view to_string(LockMode mode) noexcept;

/// One transaction that waits, for SHOW TRANSACTIONS and status pages.
struct LockWait {
    TransactionId transaction;
    LockKey key;
    LockMode mode = LockMode::kExclusive;
    Deadline since;
    std::vector<TransactionId> blockers;  // holders and those ahead in the queue
};

class LockManager;
namespace detail {
struct LockWaiter;
}

/// The locks of one transaction. Its destructor lets go of them.
class LockClient {
public:
    LockClient(LockManager& manager, TransactionId transaction) noexcept
        : manager_{manager}, transaction_{transaction} {}
    ~LockClient();
    LockClient(const LockClient&) = delete;
    LockClient& operator=(const LockClient&) = delete;

    [[nodiscard]] TransactionId transaction() const noexcept { return transaction_; }
    [[nodiscard]] std::size_t held() const noexcept { return held_.size(); }
    /// For the transaction's memory limit: what its locks cost here and in the lock table.
    [[nodiscard]] std::size_t memory_bytes() const noexcept;

    /// Any thread. The wait that runs now and every later one fails with `reason`; the first reason
    /// stays. Requests that need no waiting still succeed: the transaction itself looks at
    /// killed().
    void interrupt(Error reason);

private:
    friend class LockManager;
    /// The key again, 16 bytes: a transaction may hold millions.
    struct Held {
        std::uint64_t space;
        std::uint64_t id;
    };
    LockManager& manager_;
    const TransactionId transaction_;
    std::vector<Held> held_;

    // The one wait that may run. waiting_ is under the manager's graph mutex, granted_ and
    // interruption_ under mutex_, which is only ever taken last.
    std::mutex mutex_;
    std::condition_variable wake_;
    bool granted_ = false;
    std::optional<Error> interruption_;
    detail::LockWaiter* waiting_ = nullptr;
};

class LockManager {
public:
    LockManager();
    ~LockManager();
    LockManager(const LockManager&) = delete;
    LockManager& operator=(const LockManager&) = delete;

    /// Takes or strengthens a lock; what is already held at least as strongly is granted at once.
    /// About 60 ns without contention. kDeadlock: waiting would never end; kLockTimeout: `deadline`
    /// passed; else the reason given to interrupt(). After an error the client holds what it held.
    Result<> acquire(LockClient& client,
                     const LockKey& key,
                     LockMode mode,
                     Deadline deadline = kNoDeadline);
    /// The same without waiting: false if another transaction is in the way.
    bool try_acquire(LockClient& client, const LockKey& key, LockMode mode);
    [[nodiscard]] bool holds(const LockClient& client, const LockKey& key, LockMode mode) const;

    /// Lets go of everything and wakes whom that serves.
    void release_all(LockClient& client) noexcept;

    [[nodiscard]] std::vector<LockWait> waiting() const;
    [[nodiscard]] std::size_t locked_keys() const;
    /// Since start, for metrics.
    [[nodiscard]] std::uint64_t deadlocks() const noexcept {
        return deadlocks_.load(std::memory_order_relaxed);
    }
    [[nodiscard]] std::uint64_t waits() const noexcept {
        return waits_.load(std::memory_order_relaxed);
    }

private:
    struct Shard;
    struct Slot;
    struct Contention;
    enum class Grant : std::uint8_t { kGranted, kAlreadyHeld, kQueued, kRefused };
    /// The pointer may dangle unless the client is in waiting_clients_; the number is a copy.
    struct Blocker {
        LockClient* client;
        TransactionId transaction;
    };
    struct Blockers {
        std::vector<Blocker> holders;
        std::vector<Blocker> ahead;  // in the queue
    };

    [[nodiscard]] Shard& shard_of(std::uint64_t hash) const noexcept;
    static bool is_holder(const Slot& slot, const LockClient& client) noexcept;
    static void add_holder(Slot& slot, LockClient& client, LockMode mode);
    static void drop_holder(Slot& slot, const LockClient& client) noexcept;
    /// Grants the front of the queue as far as it can go; erases the slot if nobody is left.
    static void serve(Shard& shard, Slot& slot) noexcept;
    Grant request(LockClient& client,
                  const LockKey& key,
                  LockMode mode,
                  detail::LockWaiter* waiter);
    Result<> wait(LockClient& client, detail::LockWaiter& waiter, Deadline deadline);
    /// Takes the waiter out of its queue; false if it was granted meanwhile.
    bool withdraw(detail::LockWaiter& waiter);
    /// Empty if the waiter waits no more.
    [[nodiscard]] Blockers blockers(const detail::LockWaiter& waiter) const;
    /// Whether waiting would close a circle. Precondition: graph_mutex_ is held.
    [[nodiscard]] std::optional<Error> find_deadlock(LockClient& client);
    enum class Circle : std::uint8_t { kNone, kClosed, kStale };
    /// One look at who waits for whom; kStale: the circle it found fell apart meanwhile.
    [[nodiscard]] Circle search_circle(LockClient& client, std::optional<Error>& error);

    static constexpr std::size_t kShards = 256;
    std::unique_ptr<Shard[]> shards_;
    // Held while a waiter enters or leaves the wait-for graph and while the graph is searched.
    mutable std::mutex graph_mutex_;
    // Under graph_mutex_. Who is in here is blocked, so it is alive and lets go of nothing.
    std::unordered_set<LockClient*> waiting_clients_;
    std::atomic<std::uint64_t> deadlocks_{0};
    std::atomic<std::uint64_t> waits_{0};
};

}  // namespace nornic::engine
