#include "engine/engine_impl.h"

#include "base/random.h"
#include "engine/transaction/transaction_impl.h"
#include "graph/codec.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::engine {
namespace {

constexpr std::size_t kEqualityCacheShare = 16;  // of the cache's bytes, one part in so many
constexpr std::size_t kEqualityCacheMax = std::size_t{64} << 20;

}  // namespace

// ---- Catalog ----

std::optional<Value> Catalog::get(std::string_view key) const {
    const MutexLock lock{mutex_};
    const auto at = rows_.find(key);
    return at == rows_.end() ? std::nullopt : std::optional{at->second};
}

std::vector<std::pair<std::string, Value>> Catalog::range(std::string_view prefix) const {
    const MutexLock lock{mutex_};
    std::vector<std::pair<std::string, Value>> out;
    for (auto at = rows_.lower_bound(prefix); at != rows_.end() && at->first.starts_with(prefix);
         ++at) {
        out.emplace_back(at->first, at->second);
    }
    return out;
}

void Catalog::put(std::string_view key, std::optional<Value> value) {
    const MutexLock lock{mutex_};
    changed_.emplace(key);
    if (value) {
        rows_.insert_or_assign(std::string{key}, std::move(*value));
    } else if (const auto at = rows_.find(key); at != rows_.end()) {
        rows_.erase(at);
    }
}

Result<> Catalog::load(Kv& kv) {
    const std::string prefix(1, static_cast<char>(KeyKind::kCatalog));
    const auto cursor = kv.new_cursor();
    const MutexLock lock{mutex_};
    for (cursor->seek(prefix); cursor->valid() && cursor->key().starts_with(prefix);
         cursor->next()) {
        ByteReader in{cursor->value()};
        Value value = decode_value(in);
        if (!in.ok() || !in.at_end()) {
            return fail(ErrorCode::kCorruption,
                        fmt::format("catalogue row '{}' is not valid", cursor->key().substr(1)));
        }
        rows_.insert_or_assign(std::string{cursor->key().substr(1)}, std::move(value));
    }
    return cursor->status();
}

Catalog::Changes Catalog::take_changes() {
    const MutexLock lock{mutex_};
    Changes changes;
    for (const std::string& key : changed_) {
        const auto at = rows_.find(key);
        changes.emplace_back(key, at == rows_.end() ? std::nullopt : std::optional{at->second});
    }
    changed_.clear();
    return changes;
}

void Catalog::write(const Changes& changes, KvBatch& batch) {
    for (const auto& [key, value] : changes) {
        const std::string row = text_key(KeyKind::kCatalog, key);
        if (!value) {
            batch.erase(row);
            continue;
        }
        std::string bytes;
        ByteWriter out{bytes};
        encode_value(*value, out);
        batch.put(row, bytes);
    }
}

void Catalog::give_back(const Changes& changes) {
    const MutexLock lock{mutex_};
    for (const auto& [key, value] : changes) {
        changed_.insert(key);
    }
}

// ---- EngineImpl ----

EngineImpl::EngineImpl(
    std::shared_ptr<Kv> kv, const Settings& settings, Clock& clock, LogIndex durable, Term term)
    : kv_{std::move(kv)},
      settings_{settings},
      clock_{clock},
      cache_{settings.cache_bytes_max},
      snapshots_{durable},
      equality_{std::min(kEqualityCacheMax, settings.cache_bytes_max / kEqualityCacheShare)},
      regions_{*kv_},
      applied_term_{term},
      durable_{durable.value} {}

EngineImpl::~EngineImpl() {
    stop();
}

Result<> EngineImpl::open() {
    NORNIC_TRY(const auto state, kv_->get(text_key(KeyKind::kMeta, "state")));
    if (state) {
        NORNIC_TRY(load_state(*state));
        for (const auto& database : all_databases()) {
            NORNIC_TRY(database->load());
        }
        NORNIC_TRY(catalog_.load(*kv_));
        NORNIC_TRY(regions_.load());
        for (const auto& [key, row] : catalog_.range(kConflictPrefix)) {
            conflicts_.note(key, &row);
        }
        NORNIC_TRY(load_membership());
        NORNIC_TRY(const auto import, kv_->get(kImportKey));
        if (import) {
            imported_at_ = durable_.load();
        }
    } else {
        Random random = settings_.seed == 0 ? Random::from_os() : Random{settings_.seed};
        add_database(DatabaseInfo{DatabaseId{1}, settings_.default_database, make_uuid(random)});
        add_database(DatabaseInfo{DatabaseId{2}, "system", make_uuid(random)});
        // At once, so that the databases keep their uuids whatever happens before the first
        // checkpoint.
        NORNIC_TRY(write_checkpoint());
    }
    for (const auto& database : all_databases()) {
        const auto schema = database->schema.schema();
        for (const IndexView& view : schema->indexes) {
            if (view.state == IndexState::kPopulating) {
                populate(database, view.rule.id);
            }
        }
    }
    if (settings_.background) {
        checkpoint_thread_ = std::thread{[this] { checkpoint_loop(); }};
    } else {
        populate_here();
    }
    return success();
}

std::shared_ptr<Database> EngineImpl::add_database(DatabaseInfo info) {
    if (auto known = database_with(info.id)) {
        return known;
    }
    auto database = std::make_shared<Database>(store_context(), equality_, std::move(info));
    for (const IndexRule& rule : SchemaCatalog::initial_rules()) {
        database->schema.put_index(rule, IndexState::kOnline);
    }
    const MutexLock lock{databases_mutex_};
    databases_.push_back(database);
    return database;
}

std::shared_ptr<Database> EngineImpl::database_named(std::string_view name) const {
    const MutexLock lock{databases_mutex_};
    for (const auto& database : databases_) {
        if (database->info.name == name) {
            return database;
        }
    }
    return nullptr;
}

std::shared_ptr<Database> EngineImpl::database_with(DatabaseId id) const {
    const MutexLock lock{databases_mutex_};
    for (const auto& database : databases_) {
        if (database->info.id == id) {
            return database;
        }
    }
    return nullptr;
}

std::vector<std::shared_ptr<Database>> EngineImpl::all_databases() const {
    const MutexLock lock{databases_mutex_};
    return databases_;
}

void EngineImpl::put_catalog(std::string_view key, std::optional<Value> value) {
    if (key.starts_with(kConflictPrefix)) {
        conflicts_.note(key, value ? &*value : nullptr);
    }
    catalog_.put(key, std::move(value));
}

std::map<std::string, Stamp> EngineImpl::small_stamps() {
    const MutexLock lock{apply_mutex_};
    return regions_.small_stamps();
}

std::vector<DatabaseInfo> EngineImpl::databases() const {
    std::vector<DatabaseInfo> out;
    for (const auto& database : all_databases()) {
        out.push_back(database->info);
    }
    return out;
}

Result<std::unique_ptr<Transaction>> EngineImpl::begin(const BeginOptions& options,
                                                       std::shared_ptr<const void> keep_alive) {
    auto database = database_named(options.database);
    if (!database) {
        return fail(ErrorCode::kDatabaseNotFound,
                    fmt::format("Database does not exist. Database name: '{}'.", options.database));
    }
    if (failure_.failed()) {
        return failure_.error().value();
    }
    const TransactionId id{next_transaction_.fetch_add(1, std::memory_order_relaxed)};
    auto transaction = std::make_unique<TransactionImpl>(
        *this, std::move(keep_alive), std::move(database), id, options);
    const MutexLock lock{transactions_mutex_};
    if (stopping_) {
        transaction->detach();
        return stop_reason_.value();
    }
    transactions_.insert(transaction.get());
    return std::unique_ptr<Transaction>{std::move(transaction)};
}

void EngineImpl::closed(TransactionImpl& transaction) {
    const MutexLock lock{transactions_mutex_};
    transactions_.erase(&transaction);
}

EngineStats EngineImpl::stats() const {
    EngineStats stats;
    stats.cache_bytes = static_cast<std::size_t>(
        std::max<std::int64_t>(0, cache_.bytes.load(std::memory_order_relaxed)));
    stats.cache_misses = cache_.misses.load(std::memory_order_relaxed);
    stats.checkpoints = checkpoints_.load(std::memory_order_relaxed);
    stats.checkpoint_index = durable_index();
    {
        const MutexLock lock{transactions_mutex_};
        stats.open_transactions = transactions_.size();
    }
    stats.kv_disk_bytes = kv_->disk_bytes();
    stats.kv_memory_bytes = kv_->memory_bytes() + equality_.memory_bytes();
    stats.kv = kv_->stats();
    return stats;
}

void EngineImpl::stop() {
    stop_with(Error{ErrorCode::kStopping, "The server is stopping"});
}

void EngineImpl::retire(const Error& reason) {
    stop_with(reason);
    on_checkpoint({});
    // Waits for a checkpoint that somebody else asked for.
    const MutexLock lock{writing_mutex_};
    retired_ = true;
}

Term EngineImpl::applied_term() {
    const MutexLock lock{apply_mutex_};
    return applied_term_;
}

std::pair<LogIndex, std::string> EngineImpl::membership() {
    const MutexLock lock{apply_mutex_};
    return membership_;
}

std::string EngineImpl::history() const {
    const auto system = database_named("system");
    return system ? system->info.uuid : std::string{};
}

Result<> EngineImpl::renew_history(std::string uuid) {
    {
        const MutexLock lock{apply_mutex_};
        next_history_ = std::move(uuid);
    }
    return write_checkpoint();
}

std::string EngineImpl::token_name(DatabaseId id, TokenKind kind, std::uint32_t token) const {
    const auto database = database_with(id);
    return database && database->tokens.committed(kind, token)
               ? std::string{database->tokens.name(kind, token)}
               : std::string{};
}

void EngineImpl::stop_with(const Error& reason) {
    {
        const MutexLock checkpoint_lock{checkpoint_mutex_};
        const MutexLock population_lock{population_mutex_};
        const MutexLock transactions_lock{transactions_mutex_};
        stopping_ = true;
        if (!stop_reason_) {
            stop_reason_ = reason;
        }
        for (TransactionImpl* transaction : transactions_) {
            transaction->terminate(reason);
        }
    }
    checkpoint_wake_.notify_all();
    checkpoint_done_.notify_all();
    population_wake_.notify_all();
    population_done_.notify_all();
    if (checkpoint_thread_.joinable()) {
        checkpoint_thread_.join();
    }
    std::thread population;
    {
        const MutexLock lock{population_mutex_};
        population = std::move(population_thread_);
    }
    if (population.joinable()) {
        population.join();
    }
}

Result<std::unique_ptr<Engine>> open_engine(std::unique_ptr<Kv> kv,
                                            const Settings& settings,
                                            Clock& clock) {
    auto engine = std::make_unique<EngineImpl>(std::move(kv), settings, clock, LogIndex{}, Term{});
    NORNIC_TRY(engine->open());
    return std::unique_ptr<Engine>{std::move(engine)};
}

}  // namespace nornic::engine
