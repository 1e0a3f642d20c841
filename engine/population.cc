// Filling a new index from what is there. Writes that are applied meanwhile enter it by themselves,
// so each batch may be read at a snapshot of its own and no old versions pile up.
#include "engine/engine_impl.h"
#include "observability/log.h"

#include <fmt/format.h>

namespace nornic::engine {
namespace {

constexpr std::size_t kWordsPerBatch = 256;  // up to 16,384 entities
constexpr std::size_t kEntriesPerBulk = 1 << 16;
constexpr auto kRetryAfter = std::chrono::seconds{1};
constexpr unsigned kIoTries = 10;

/// Of the disk, not of the data: it may be gone a moment later. An error of the disk that stays is told, as writers wait; the
/// next start tries anew.
bool may_pass(ErrorCode code, unsigned tries) noexcept {
    return code == ErrorCode::kDiskFull || (code == ErrorCode::kIo && tries < kIoTries);
}

class SnapshotHold {
public:
    explicit SnapshotHold(Snapshots& snapshots) : snapshots_{snapshots}, at{snapshots.acquire()} {}
    ~SnapshotHold() { snapshots_.release(at); }
    SnapshotHold(const SnapshotHold&) = delete;
    SnapshotHold& operator=(const SnapshotHold&) = delete;

private:
    Snapshots& snapshots_;

public:
    const LogIndex at;
};

template <class Store>
void collect_entries(Store& store,
                     const IndexRule& rule,
                     const PageWord& word,
                     LogIndex at,
                     std::vector<RangeIndex::BulkEntry>& entries) {
    const std::uint64_t page = id_of(word.page, word.region);
    store.read(page, [&](const auto& slots) {
        for (unsigned slot = 0; slot < kPageSlots; ++slot) {
            if ((word.mask >> slot & 1) == 0) {
                continue;
            }
            const auto* version = visible_version(slots[slot], at);
            if (version == nullptr) {
                continue;
            }
            const auto& data = (*version)->data;
            if constexpr (std::is_same_v<Store, NodeStore>) {
                bool labelled = false;
                for (const std::uint32_t token : rule.tokens) {
                    labelled = labelled || data.has_label(LabelId{token});
                }
                if (!labelled) {
                    continue;
                }
            }
            std::string key;
            if (index_key_of(rule, data.properties, key)) {
                entries.push_back(RangeIndex::BulkEntry{std::move(key), id_in_page(page, slot)});
            }
        }
    });
}

}  // namespace

void EngineImpl::populate(std::shared_ptr<Database> database, SchemaRuleId index) {
    const MutexLock lock{population_mutex_};
    if (stopping_) {
        return;
    }
    populations_.push_back(Population{std::move(database), index});
    if (settings_.background && !population_thread_.joinable()) {
        population_thread_ = std::thread{[this] { population_loop(); }};
    }
    population_wake_.notify_all();
}

void EngineImpl::population_loop() {
    MutexLock lock{population_mutex_};
    while (true) {
        while (!stopping_ && populations_.empty()) {
            population_wake_.wait(lock);
        }
        if (stopping_) {
            return;
        }
        Population next = std::move(populations_.front());
        populations_.pop_front();
        lock.unlock();
        const bool over = run_population(next);
        lock.lock();
        population_done_.notify_all();
        if (!over) {
            populations_.push_back(std::move(next));
            const auto again = std::chrono::steady_clock::now() + kRetryAfter;
            while (!stopping_ && std::chrono::steady_clock::now() < again) {
                population_wake_.wait_until(lock, again);
            }
        }
    }
}

void EngineImpl::populate_here() {
    MutexLock lock{population_mutex_};
    std::deque<Population> later;  // with the next apply
    while (!populations_.empty()) {
        Population next = std::move(populations_.front());
        populations_.pop_front();
        lock.unlock();
        const bool over = run_population(next);
        lock.lock();
        if (!over) {
            later.push_back(std::move(next));
        }
    }
    populations_ = std::move(later);
    population_done_.notify_all();
}

bool EngineImpl::run_population(Population& next) {
    std::shared_ptr<IndexHandle> handle;
    const auto indexes = next.database->indexes();
    for (const auto& candidate : indexes->all) {
        if (candidate->rule.id == next.index) {
            handle = candidate;
        }
    }
    if (!handle || handle->online) {  // gone, or asked for twice: by two rules that had this id
        return true;
    }
    const Result<> done = populate_index(*next.database, *handle, true);
    if (handle->dropped) {
        // What was added since the drop erased its entries goes as well, unless another rule of this id began since.
        if (next.database->indexes()->find(next.index) == nullptr) {
            static_cast<void>(handle->index.clear());
        }
    } else if (stopping_ || failure_.failed()) {
        // It stays unpopulated; the next start begins anew.
    } else if (done) {
        handle->online = true;
        next.database->schema.set_online(next.index);
    } else if (may_pass(done.error().code(), next.tries)) {
        if (++next.tries == 1) {
            log::warn("Index '{}' cannot be populated now, it is tried again: {}",
                      handle->rule.name,
                      done.error().message());
        }
        return false;
    } else {
        next.database->schema.set_failed(next.index, done.error().message());
    }
    return true;
}

Result<> EngineImpl::populate_index(Database& database, IndexHandle& handle, bool from_start) {
    if (from_start) {
        NORNIC_TRY(handle.index.clear());
    }
    const IndexRule& rule = handle.rule;
    std::vector<RangeIndex::BulkEntry> entries;
    std::array<PageWord, kWordsPerBatch> words;
    for (const std::uint32_t token : rule.tokens) {
        LabelIndex& scanned = rule.entity == EntityKind::kNode ? database.labels : database.types;
        NORNIC_TRY(const std::uint64_t end, scanned.end_page(token));
        LabelScan scan = scanned.scan(token);
        std::size_t count = 0;
        do {
            if (stopping_ || handle.dropped) {
                return success();
            }
            NORNIC_TRY(count, scan.next_words(words));
            const SnapshotHold snapshot{snapshots_};
            for (std::size_t i = 0; i < count; ++i) {
                if (rule.entity == EntityKind::kNode) {
                    collect_entries(database.nodes, rule, words[i], snapshot.at, entries);
                } else {
                    collect_entries(database.relationships, rule, words[i], snapshot.at, entries);
                }
            }
            if (failure_.failed()) {
                return failure_.error().value();
            }
            if (entries.size() >= kEntriesPerBulk || count < words.size()) {
                NORNIC_TRY(handle.index.bulk_add(std::exchange(entries, {})));
            }
            if (count > 0 && end > 0) {
                const double done =
                    static_cast<double>(words[count - 1].page + 1) / static_cast<double>(end);
                database.schema.set_progress(rule.id, std::min(99.9, 100.0 * done));
            }
        } while (count == words.size());
    }
    handle.index.bulk_done();
    return success();
}

Result<> EngineImpl::await_index(Database& database, SchemaRuleId index, Deadline deadline) {
    MutexLock lock{population_mutex_};
    while (true) {
        const auto schema = database.schema.schema();
        const IndexView* view = nullptr;
        for (const IndexView& candidate : schema->indexes) {
            if (candidate.rule.id == index) {
                view = &candidate;
            }
        }
        if (view == nullptr) {
            return fail(ErrorCode::kIndexNotFound,
                        fmt::format("No such index, id {}", index.value));
        }
        if (view->state == IndexState::kOnline) {
            return success();
        }
        if (view->state == IndexState::kFailed) {
            return fail(
                ErrorCode::kProcedureCallFailed,
                fmt::format("Index '{}' is in state FAILED: {}", view->rule.name, view->failure));
        }
        if (stopping_) {
            return fail(ErrorCode::kStopping, "The server is stopping");
        }
        if (failure_.failed()) {
            return failure_.error().value();
        }
        // Without a thread nothing changes while anybody waits.
        if (!settings_.background || (deadline != kNoDeadline && clock_.now() >= deadline)) {
            return fail(
                ErrorCode::kTimedOut,
                fmt::format("Index '{}' was not online in time; {:.1f} % of it is populated",
                            view->rule.name,
                            view->population_percent));
        }
        // A short bound, because the deadline is in the engine's clock and not the machine's.
        population_done_.wait_until(
            lock, std::chrono::steady_clock::now() + std::chrono::milliseconds{50});
    }
}

Result<> EngineImpl::await_indexes(std::string_view database_name,
                                   std::string_view index_name,
                                   Deadline deadline) {
    const auto database = database_named(database_name);
    if (!database) {
        return fail(ErrorCode::kDatabaseNotFound,
                    fmt::format("Database does not exist. Database name: '{}'.", database_name));
    }
    const auto schema = database->schema.schema();
    bool found = index_name.empty();
    for (const IndexView& view : schema->indexes) {
        if (index_name.empty() || view.rule.name == index_name) {
            found = true;
            const Result<> online = await_index(*database, view.rule.id, deadline);
            if (!online &&
                !(index_name.empty() && online.error().code() == ErrorCode::kIndexNotFound)) {
                return online;
            }
        }
    }
    if (!found) {
        return fail(ErrorCode::kIndexNotFound, fmt::format("No such index '{}'", index_name));
    }
    return success();
}

}  // namespace nornic::engine
