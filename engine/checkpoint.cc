// Checkpoints: everything that changed since the last one, as of one log index, in one atomic batch
// that carries that index. One batch, not several: what a crash leaves is then exactly the state at
// the index it names, and replaying the log from there needs no special cases.
#include "engine/engine_impl.h"
#include "graph/codec.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::engine {
namespace {

constexpr std::uint8_t kStateFormat = 1;

std::string membership_key() {
    return text_key(KeyKind::kMeta, "membership");
}

template <class Store>
void put_limits(const Store& store, ByteWriter& out) {
    std::uint32_t used = 0;
    for (std::uint32_t region = 0; region < kRegions; ++region) {
        used += store.page_limit(region) > 0 ? 1 : 0;
    }
    out.put_varint(used);
    for (std::uint32_t region = 0; region < kRegions; ++region) {
        if (store.page_limit(region) > 0) {
            out.put_varint(region);
            out.put_varint(store.page_limit(region));
        }
    }
}

template <class Store>
bool get_limits(ByteReader& in, Store& store) {
    const std::uint64_t used = in.get_varint();
    if (used > kRegions) {
        return false;
    }
    for (std::uint64_t i = 0; i < used; ++i) {
        const std::uint64_t region = in.get_varint();
        const std::uint64_t limit = in.get_varint();
        if (!in.ok() || region >= kRegions || limit > Store::kSequenceMax / kPageSlots) {
            return false;
        }
        store.set_durable_limit(static_cast<std::uint32_t>(region), limit);
    }
    return in.ok();
}

/// The dirty pages of one store, as one checkpoint handles them.
template <class Store>
class DirtyPages {
public:
    explicit DirtyPages(Store& store) : store_{store}, pages_{store.take_dirty()} {}
    void write(LogIndex at, KvBatch& batch) {
        std::sort(pages_.begin(), pages_.end(), [](const auto* a, const auto* b) {
            return a->number < b->number;
        });
        for (auto* page : pages_) {
            store_.write(*page, at, batch);
        }
    }
    void end(bool written, LogIndex at) {
        if (written) {
            store_.written(pages_, at);
        } else {
            store_.not_written(pages_);
        }
    }

private:
    Store& store_;
    std::vector<typename Store::Page*> pages_;
};

/// What a checkpoint takes of one database at the moment it names its index.
struct DatabaseCheckpoint {
    DatabaseCheckpoint(std::shared_ptr<Database> d, LogIndex at)
        : database{std::move(d)},
          nodes{database->nodes},
          adjacency{database->adjacency},
          relationships{database->relationships},
          tokens{database->tokens.take_changes()},
          counts{database->counts.encode()},
          indexes{database->indexes()} {
        database->labels.begin_checkpoint(at);
        database->types.begin_checkpoint(at);
        database->schema.begin_checkpoint();
        for (const auto& handle : indexes->all) {
            handle->index.begin_checkpoint();
        }
    }
    void write(LogIndex at, KvBatch& batch) {
        nodes.write(at, batch);
        adjacency.write(at, batch);
        relationships.write(at, batch);
        database->tokens.write(tokens, batch);
        database->labels.write_checkpoint(batch);
        database->types.write_checkpoint(batch);
        database->schema.write_checkpoint(batch);
        for (const auto& handle : indexes->all) {
            handle->index.write_checkpoint(batch);
        }
        batch.put(key_prefix(KeyKind::kCounts, database->info.id), counts);
    }
    void end(bool written, LogIndex at) {
        nodes.end(written, at);
        adjacency.end(written, at);
        relationships.end(written, at);
        if (!written) {
            database->tokens.give_back(std::move(tokens));
        }
        database->labels.end_checkpoint(written);
        database->types.end_checkpoint(written);
        database->schema.end_checkpoint(written);
        for (const auto& handle : indexes->all) {
            handle->index.end_checkpoint(written);
        }
    }

    std::shared_ptr<Database> database;
    DirtyPages<NodeStore> nodes;
    DirtyPages<AdjacencyStore> adjacency;
    DirtyPages<RelStore> relationships;
    TokenTable::Changes tokens;
    std::string counts;
    std::shared_ptr<const IndexSet> indexes;
};

}  // namespace

std::string EngineImpl::encode_state(LogIndex index, Term term) const {
    std::string bytes;
    ByteWriter out{bytes};
    out.put_u8(kStateFormat);
    out.put_varint(index.value);
    out.put_varint(term.value);
    const auto databases = all_databases();
    out.put_varint(databases.size());
    for (const auto& database : databases) {
        out.put_varint(database->info.id.value);
        out.put_string(database->info.name);
        out.put_string(next_history_.empty() || database->info.name != "system" ? database->info.uuid : next_history_);
        out.put_varint(database->node_ids.next());
        out.put_varint(database->rel_ids.next());
        put_limits(database->nodes, out);
        put_limits(database->adjacency, out);
        put_limits(database->relationships, out);
    }
    return bytes;
}

Result<> EngineImpl::load_state(std::string_view bytes) {
    ByteReader in{bytes};
    const std::uint8_t format = in.get_u8();
    if (format != kStateFormat) {
        return fail(
            ErrorCode::kCorruption,
            fmt::format("the store has format {}, this version reads {}", format, kStateFormat));
    }
    const std::uint64_t index = in.get_varint();
    const Term term{in.get_varint()};
    const std::uint64_t count = in.get_varint();
    NORNIC_TRY(in.finish("the store's state record"));
    snapshots_.advance(LogIndex{index});
    durable_ = index;
    {
        const MutexLock lock{apply_mutex_};
        applied_term_ = term;
    }
    for (std::uint64_t i = 0; i < count; ++i) {
        DatabaseInfo info;
        info.id = DatabaseId{static_cast<std::uint32_t>(in.get_varint())};
        info.name = std::string{in.get_string()};
        info.uuid = std::string{in.get_string()};
        const std::uint64_t nodes = in.get_varint();
        const std::uint64_t relationships = in.get_varint();
        NORNIC_TRY(in.finish("the store's list of databases"));
        const auto database = add_database(std::move(info));
        if (nodes > 0) {
            database->node_ids.seen(nodes - 1);
        }
        if (relationships > 0) {
            database->rel_ids.seen(relationships - 1);
        }
        if (!get_limits(in, database->nodes) || !get_limits(in, database->adjacency) ||
            !get_limits(in, database->relationships)) {
            return fail(ErrorCode::kCorruption,
                        "the store's state record: page limits are not valid");
        }
    }
    return success();
}

Result<> EngineImpl::load_membership() {
    NORNIC_TRY(const auto bytes, kv_->get(membership_key()));
    if (!bytes) {
        return success();
    }
    ByteReader in{*bytes};
    const LogIndex index{in.get_varint()};
    std::string payload{in.get_string()};
    if (!in.ok() || !in.at_end() || index.value == 0 || index > durable_index()) {
        return fail(ErrorCode::kCorruption, "the store's record of the membership is not valid");
    }
    const MutexLock lock{apply_mutex_};
    membership_ = {index, std::move(payload)};
    return success();
}

Result<> EngineImpl::write_checkpoint(const std::function<void(LogIndex, Term)>& written) {
    const MutexLock one_at_a_time{writing_mutex_};
    if (retired_) {
        return fail(ErrorCode::kStopping, "This state was replaced by another");
    }
    std::vector<std::unique_ptr<DatabaseCheckpoint>> parts;
    LogIndex at;
    Term term;
    std::string state;
    std::string membership;  // empty: the Kv has the newest
    Catalog::Changes catalog;
    std::uint64_t log_bytes = 0;
    {
        // Nothing is applied while the parts are taken, so all are as of `at`; pages are only
        // listed.
        const MutexLock lock{apply_mutex_};
        if (broken_) {
            return *broken_;
        }
        at = snapshots_.acquire();
        log_bytes = log_bytes_.exchange(0, std::memory_order_relaxed);
        term = applied_term_;
        state = encode_state(at, term);
        if (membership_.first > durable_index()) {
            ByteWriter out{membership};
            out.put_varint(membership_.first.value);
            out.put_string(membership_.second);
        }
        catalog = catalog_.take_changes();
        regions_.begin_checkpoint();
        for (const auto& database : all_databases()) {
            parts.push_back(std::make_unique<DatabaseCheckpoint>(database, at));
        }
    }
    const auto batch = kv_->new_batch();
    for (const auto& part : parts) {
        part->write(at, *batch);
    }
    Catalog::write(catalog, *batch);
    regions_.write_checkpoint(*batch);
    batch->put(text_key(KeyKind::kMeta, "state"), state);
    if (!membership.empty()) {
        batch->put(membership_key(), membership);
    }
    // Only what was applied on top of an imported state proves that the log fits it, too.
    const std::uint64_t imported_at = imported_at_.load(std::memory_order_relaxed);
    const bool outgrown = imported_at != kNotImported && at.value > imported_at;
    if (outgrown) {
        batch->erase(kImportKey);
    }
    Result<> done = kv_->write(*batch);
    if (done) {
        done = kv_->flush();
    }
    for (const auto& part : parts) {
        part->end(done.has_value(), at);
    }
    {
        const MutexLock lock{apply_mutex_};
        regions_.end_checkpoint(done.has_value());
    }
    snapshots_.release(at);
    if (!done) {
        log_bytes_.fetch_add(log_bytes, std::memory_order_relaxed);
        catalog_.give_back(catalog);
    } else {
        durable_.store(at.value, std::memory_order_release);
        if (outgrown) {
            imported_at_.store(kNotImported, std::memory_order_release);
        }
        if (written) {
            written(at, term);
        }
        checkpoints_.fetch_add(1, std::memory_order_relaxed);
        for (const auto& part : parts) {
            Database& database = *part->database;
            database.nodes.collect();
            database.adjacency.collect();
            database.relationships.collect();
            // Of drops that this checkpoint carries: what replays from it must find the entries of the others.
            database.sweep_dropped(std::min(snapshots_.oldest(), at));
            if (cache_.over()) {
                // Twice around: the first round takes the marks of use away.
                database.nodes.evict(2 * database.nodes.resident_pages());
                database.adjacency.evict(2 * database.adjacency.resident_pages());
                database.relationships.evict(2 * database.relationships.resident_pages());
            }
        }
    }
    {
        const MutexLock lock{checkpoint_mutex_};
        checkpoint_error_ = done ? std::nullopt : std::optional{done.error()};
    }
    checkpoint_done_.notify_all();
    if (done) {
        const MutexLock lock{callback_mutex_};
        if (callback_) {
            callback_(at);
        }
    }
    return done;
}

Result<> EngineImpl::checkpoint() {
    return write_checkpoint();
}

Result<> EngineImpl::checkpoint(const std::function<void(LogIndex, Term)>& written) {
    return write_checkpoint(written);
}

void EngineImpl::on_checkpoint(std::function<void(LogIndex)> callback) {
    const MutexLock lock{callback_mutex_};
    callback_ = std::move(callback);
}

bool EngineImpl::checkpoint_due() const {
    return log_bytes_.load(std::memory_order_relaxed) >= settings_.checkpoint_log_bytes ||
           cache_.dirty_bytes.load(std::memory_order_relaxed) > cache_.bytes_max / 2;
}

void EngineImpl::ask_for_checkpoint() {
    {
        const MutexLock lock{checkpoint_mutex_};
        if (checkpoint_asked_) {
            return;
        }
        checkpoint_asked_ = true;
    }
    checkpoint_wake_.notify_all();
}

void EngineImpl::checkpoint_loop() {
    constexpr auto kRetryAfter = std::chrono::seconds{1};
    const auto now = [] { return std::chrono::steady_clock::now(); };
    MutexLock lock{checkpoint_mutex_};
    auto next_by_time = now() + settings_.checkpoint_interval;
    while (true) {
        while (!stopping_ && !checkpoint_asked_ && now() < next_by_time) {
            checkpoint_wake_.wait_until(lock, next_by_time);
        }
        if (stopping_) {
            return;
        }
        if (!checkpoint_asked_ && log_bytes_.load(std::memory_order_relaxed) == 0) {
            next_by_time = now() + settings_.checkpoint_interval;
            continue;
        }
        checkpoint_asked_ = false;
        lock.unlock();
        const Result<> done = write_checkpoint();
        lock.lock();
        next_by_time = now() + settings_.checkpoint_interval;
        if (!done) {
            // The disk may be full: try again soon, but do not spin on it.
            const auto again = now() + kRetryAfter;
            while (!stopping_ && now() < again) {
                checkpoint_wake_.wait_until(lock, again);
            }
            checkpoint_asked_ = true;
        }
    }
}

void EngineImpl::make_way(std::size_t payload_bytes) {
    // For a moment only: whoever applies may have messages to pass on, and what follows waits again. So a member that catches
    // up goes on at this pace at most, whatever the checkpoint waits for.
    constexpr auto kPause = std::chrono::milliseconds{20};
    constexpr std::size_t kBytesPerMillisecond = std::size_t{4} << 10;
    if (!is_crowded()) {
        return;
    }
    ask_for_checkpoint();
    const auto until =
        std::chrono::steady_clock::now() + kPause + std::chrono::milliseconds{payload_bytes / kBytesPerMillisecond};
    MutexLock lock{checkpoint_mutex_};
    while (is_crowded() && !stopping_ && !checkpoint_error_ && std::chrono::steady_clock::now() < until) {
        checkpoint_done_.wait_until(lock, until);
        if (!checkpoint_asked_) {
            checkpoint_asked_ = true;
            checkpoint_wake_.notify_all();
        }
    }
}

Result<> EngineImpl::wait_for_room(Deadline deadline) {
    const auto crowded = [&] {
        return cache_.dirty_bytes.load(std::memory_order_relaxed) > cache_.bytes_max / 4 * 3;
    };
    if (!crowded()) {
        return success();
    }
    if (!settings_.background) {
        return write_checkpoint();
    }
    ask_for_checkpoint();
    MutexLock lock{checkpoint_mutex_};
    while (crowded()) {
        if (stopping_) {
            return fail(ErrorCode::kStopping, "The server is stopping");
        }
        if (checkpoint_error_) {
            return *checkpoint_error_;
        }
        const auto wake =
            std::min(deadline, std::chrono::steady_clock::now() + std::chrono::milliseconds{100});
        checkpoint_done_.wait_until(lock, wake);
        if (deadline != kNoDeadline && clock_.now() >= deadline) {
            return fail(ErrorCode::kTransactionTimedOut,
                        "The transaction's time ran out while it waited for changed pages to be "
                        "written to disk");
        }
        if (!checkpoint_asked_) {
            checkpoint_asked_ = true;
            checkpoint_wake_.notify_all();
        }
    }
    return success();
}

}  // namespace nornic::engine
