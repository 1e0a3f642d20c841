// EngineImpl: puts the parts of the engine together. apply.cc applies entries, checkpoint.cc writes
// to the Kv, population.cc fills new indexes; engine_impl.cc opens, begins and stops.
#pragma once

#include "base/mutex.h"
#include "engine/database.h"
#include "engine/engine.h"
#include "engine/lock_manager.h"
#include "engine/region/conflicts.h"
#include "engine/region/region_state.h"
#include "engine/write_set.h"

#include <atomic>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

namespace nornic::engine {

class StateView;
class TransactionImpl;

/// Rows that belong to no graph: users, databases, aliases. Small, all in memory.
class Catalog {
public:
    [[nodiscard]] std::optional<Value> get(std::string_view key) const EXCLUDES(mutex_);
    [[nodiscard]] std::vector<std::pair<std::string, Value>> range(std::string_view prefix) const
        EXCLUDES(mutex_);
    void put(std::string_view key, std::optional<Value> value) EXCLUDES(mutex_);
    Result<> load(Kv& kv) EXCLUDES(mutex_);
    /// What changed since the last call, as it is now; nullopt: erased.
    using Changes = std::vector<std::pair<std::string, std::optional<Value>>>;
    Changes take_changes() EXCLUDES(mutex_);
    static void write(const Changes& changes, KvBatch& batch);
    void give_back(const Changes& changes) EXCLUDES(mutex_);

private:
    mutable Mutex mutex_;
    std::map<std::string, Value, std::less<>> rows_ GUARDED_BY(mutex_);
    std::set<std::string, std::less<>> changed_ GUARDED_BY(mutex_);
};

class EngineImpl final : public Engine {
public:
    EngineImpl(std::shared_ptr<Kv> kv,
               const Settings& settings,
               Clock& clock,
               LogIndex durable,
               Term term);
    ~EngineImpl() override;

    Result<> open();

    Result<> apply(const LogEntry& entry) override;
    LogIndex applied_index() const override { return snapshots_.applied(); }
    LogIndex durable_index() const override {
        return LogIndex{durable_.load(std::memory_order_acquire)};
    }
    void on_checkpoint(std::function<void(LogIndex)> callback) override;
    Result<> checkpoint() override;
    Result<std::unique_ptr<Transaction>> begin(const BeginOptions& options) override {
        return begin(options, nullptr);
    }
    std::vector<DatabaseInfo> databases() const override;
    std::optional<Value> catalog(std::string_view key) const override { return catalog_.get(key); }
    std::vector<std::pair<std::string, Value>> catalog_range(
        std::string_view prefix) const override {
        return catalog_.range(prefix);
    }
    Result<> await_indexes(std::string_view database,
                           std::string_view index_name,
                           Deadline deadline) override;
    EngineStats stats() const override;
    Result<std::uint64_t> digest() override;
    void stop() override;

    // ---- For EngineHost, which replaces one of these by another.
    /// The transaction holds `keep_alive` until it is destroyed.
    Result<std::unique_ptr<Transaction>> begin(const BeginOptions& options,
                                               std::shared_ptr<const void> keep_alive);
    /// A checkpoint; `written` is called once it is durable and before anything else can be, with what it is of.
    Result<> checkpoint(const std::function<void(LogIndex, Term)>& written);
    /// As stop(), with the reason that open transactions are given; nothing is written to the Kv after it returns.
    void retire(const Error& reason);
    /// Between two applies. The view holds `keep_alive` until it is destroyed.
    [[nodiscard]] std::unique_ptr<StateView> view_state(std::shared_ptr<const void> keep_alive) EXCLUDES(apply_mutex_);
    [[nodiscard]] Term applied_term() EXCLUDES(apply_mutex_);
    [[nodiscard]] bool is_crowded() const noexcept {
        return settings_.background && cache_.dirty_bytes.load(std::memory_order_relaxed) > cache_.bytes_max / 8 * 7;
    }
    [[nodiscard]] std::pair<LogIndex, std::string> membership() EXCLUDES(apply_mutex_);
    [[nodiscard]] std::string history() const;
    /// Writes a checkpoint whose history is another; whoever opens it next finds that.
    Result<> renew_history(std::string uuid) EXCLUDES(apply_mutex_);
    [[nodiscard]] std::string token_name(DatabaseId database, TokenKind kind, std::uint32_t id) const;
    [[nodiscard]] std::shared_ptr<Database> database_with(DatabaseId id) const EXCLUDES(databases_mutex_);
    /// The Kv holds an imported state to which nothing was added yet.
    [[nodiscard]] bool freshly_installed() const noexcept {
        return imported_at_.load(std::memory_order_acquire) != kNotImported;
    }

    // ---- For RegionData.
    [[nodiscard]] std::shared_ptr<const RegionState> region_state() const { return regions_.state(); }
    /// Of catalogue rows and rules: what small_catalog() and small_rule() name. Between two applies.
    [[nodiscard]] std::map<std::string, Stamp> small_stamps() EXCLUDES(apply_mutex_);

    // ---- For transactions.
    /// The low bits of ids drawn here.
    [[nodiscard]] std::uint32_t region() const noexcept {
        const RegionNumber self = regions_.self();
        return self != 0 ? self : settings_.region;
    }
    [[nodiscard]] const Settings& settings() const noexcept { return settings_; }
    [[nodiscard]] Clock& clock() const noexcept { return clock_; }
    [[nodiscard]] Snapshots& snapshots() noexcept { return snapshots_; }
    [[nodiscard]] LockManager& locks() noexcept { return locks_; }
    [[nodiscard]] const StoreFailure& failure() const noexcept { return failure_; }
    void closed(TransactionImpl& transaction) EXCLUDES(transactions_mutex_);
    /// Waits while dirty pages fill the cache, since only a checkpoint makes room. kDiskFull, kIo
    /// if checkpoints fail; kTransactionTimedOut and kStopping otherwise.
    Result<> wait_for_room(Deadline deadline) EXCLUDES(checkpoint_mutex_);
    /// Until the index is online: kTimedOut, kIndexNotFound, kStopping, or why its population
    /// failed.
    Result<> await_index(Database& database, SchemaRuleId index, Deadline deadline)
        EXCLUDES(population_mutex_);

private:
    friend class Applier;
    friend class RegionApplier;
    friend class GraphMerge;
    friend class MergeScope;
    friend class EngineStateView;
    friend class RegionSeed;

    std::shared_ptr<Database> database_named(std::string_view name) const
        EXCLUDES(databases_mutex_);
    std::vector<std::shared_ptr<Database>> all_databases() const EXCLUDES(databases_mutex_);
    std::shared_ptr<Database> add_database(DatabaseInfo info) EXCLUDES(databases_mutex_);
    StoreContext store_context() { return StoreContext{*kv_, cache_, snapshots_, failure_}; }

    Result<> apply_entry(const LogEntry& entry) EXCLUDES(apply_mutex_);
    Result<> apply_write_set(const LogEntry& entry) REQUIRES(apply_mutex_);
    Result<> apply_regions(const LogEntry& entry) REQUIRES(apply_mutex_);  // engine/region/region_apply.cc
    Result<std::shared_ptr<Database>> database_of_entry(DatabaseId id, LogIndex entry) const;
    void put_catalog(std::string_view key, std::optional<Value> value);
    /// An id that this member's group draws: never draw it again.
    [[nodiscard]] bool is_own(std::uint64_t id) const noexcept {
        return region_of(id) == settings_.region || region_of(id) == regions_.self();
    }
    void stop_with(const Error& reason);

    // checkpoint.cc
    Result<> write_checkpoint(const std::function<void(LogIndex, Term)>& written = {})
        EXCLUDES(apply_mutex_, writing_mutex_);
    void checkpoint_loop() EXCLUDES(checkpoint_mutex_);
    [[nodiscard]] bool checkpoint_due() const;
    /// Before an entry of so many bytes is applied: lets the running checkpoint catch up where dirty pages fill the cache.
    void make_way(std::size_t payload_bytes) EXCLUDES(checkpoint_mutex_);
    void ask_for_checkpoint() EXCLUDES(checkpoint_mutex_);
    [[nodiscard]] std::string encode_state(LogIndex index, Term term) const REQUIRES(apply_mutex_);
    Result<> load_state(std::string_view bytes);
    Result<> load_membership();

    // population.cc
    void populate(std::shared_ptr<Database> database, SchemaRuleId index)
        EXCLUDES(population_mutex_);
    void population_loop() EXCLUDES(population_mutex_);
    /// Without a thread: what populate() asked for.
    void populate_here() EXCLUDES(population_mutex_);
    Result<> populate_index(Database& database, IndexHandle& handle, bool from_start);

    const std::shared_ptr<Kv> kv_;
    const Settings settings_;
    Clock& clock_;
    CacheBudget cache_;
    StoreFailure failure_;
    Snapshots snapshots_;
    EqualityCache equality_;
    LockManager locks_;
    Catalog catalog_;
    RegionStore regions_;       // apply's, but for what says otherwise
    ConflictLog conflicts_;     // apply's

    mutable Mutex databases_mutex_;
    std::vector<std::shared_ptr<Database>> databases_ GUARDED_BY(databases_mutex_);

    Mutex apply_mutex_;  // one apply at a time; a checkpoint takes it to name its index
    Term applied_term_ GUARDED_BY(apply_mutex_);
    /// Index and payload of the newest kMembership entry; what it means is for others to know. 0: there was none.
    std::pair<LogIndex, std::string> membership_ GUARDED_BY(apply_mutex_);
    std::string next_history_ GUARDED_BY(apply_mutex_);     // of the checkpoints written from now on; empty: as it is
    std::optional<Error> broken_ GUARDED_BY(apply_mutex_);  // an entry could not be applied

    std::atomic<std::uint64_t> durable_;
    std::atomic<std::uint64_t> log_bytes_{0};  // applied since the last checkpoint began
    std::atomic<std::uint64_t> checkpoints_{0};
    std::atomic<bool> stopping_{false};

    Mutex writing_mutex_;  // one checkpoint at a time
    bool retired_ GUARDED_BY(writing_mutex_) = false;
    static constexpr std::uint64_t kNotImported = UINT64_MAX;
    std::atomic<std::uint64_t> imported_at_{kNotImported};
    mutable Mutex checkpoint_mutex_;
    ConditionVariable checkpoint_wake_;
    ConditionVariable checkpoint_done_;
    bool checkpoint_asked_ GUARDED_BY(checkpoint_mutex_) = false;
    std::optional<Error> checkpoint_error_ GUARDED_BY(checkpoint_mutex_);
    Mutex callback_mutex_;  // held while it is called
    std::function<void(LogIndex)> callback_ GUARDED_BY(callback_mutex_);
    std::thread checkpoint_thread_;

    struct Population {
        std::shared_ptr<Database> database;
        SchemaRuleId index;
        unsigned tries = 0;  // that failed for a reason that may pass
    };
    /// false: it failed for a reason that may pass, and is to be run again.
    bool run_population(Population& population) EXCLUDES(population_mutex_);
    Mutex population_mutex_;
    ConditionVariable population_wake_;
    ConditionVariable population_done_;
    std::deque<Population> populations_ GUARDED_BY(population_mutex_);
    std::thread population_thread_ GUARDED_BY(population_mutex_);  // started by the first index

    mutable Mutex transactions_mutex_;
    std::unordered_set<TransactionImpl*> transactions_ GUARDED_BY(transactions_mutex_);
    std::optional<Error> stop_reason_ GUARDED_BY(transactions_mutex_);  // of stopping_
    std::atomic<std::uint64_t> next_transaction_{1};
};

}  // namespace nornic::engine
