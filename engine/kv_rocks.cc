#include "engine/kv_rocks.h"

#include "base/check.h"
#include "base/mutex.h"

#include <fmt/format.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/checkpoint.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <map>
#include <thread>

namespace nornic::engine {
namespace {

rocksdb::Slice slice(std::string_view bytes) {
    return {bytes.data(), bytes.size()};
}
std::string_view view(const rocksdb::Slice& bytes) {
    return {bytes.data(), bytes.size()};
}

constexpr std::string_view kHowToRestore =
    ". Keep a copy of the data directory; then restore it from a backup, or, in a cluster, empty it so that this member is rebuilt from the "
    "others";

Error status_error(const rocksdb::Status& status,
                   std::string_view action,
                   const std::string& directory) {
    const ErrorCode code = status.IsNoSpace()      ? ErrorCode::kDiskFull
                           : status.IsCorruption() ? ErrorCode::kCorruption
                                                   : ErrorCode::kIo;
    return Error{code,
                 fmt::format("cannot {} the store {}: {}{}",
                             action,
                             directory,
                             status.ToString(),
                             status.IsCorruption() || status.IsPathNotFound() ? kHowToRestore : "")};
}

/// Runs `call`, which returns a Status, and turns its status or what it throws into a Result.
template <class Call>
Result<> guarded(std::string_view action, const std::string& directory, Call&& call) {
    try {
        const rocksdb::Status status = call();
        if (status.ok()) {
            return success();
        }
        return boost::outcome_v2::failure(status_error(status, action, directory));
    } catch (const std::exception& exception) {
        return fail(ErrorCode::kIo,
                    fmt::format("cannot {} the store {}: {}", action, directory, exception.what()));
    }
}

class RocksBatch final : public KvBatch {
public:
    void put(std::string_view key, std::string_view value) override {
        keep(batch_.Put(slice(key), slice(value)));
    }
    void erase(std::string_view key) override { keep(batch_.Delete(slice(key))); }
    void erase_range(std::string_view begin, std::string_view end) override {
        if (begin < end) {
            keep(batch_.DeleteRange(slice(begin), slice(end)));
        }
    }
    std::size_t bytes() const override { return batch_.GetDataSize(); }

    /// The first thing that did not fit into the batch; such a batch must not be written.
    [[nodiscard]] const rocksdb::Status& status() const { return status_; }
    rocksdb::WriteBatch& batch() { return batch_; }

private:
    void keep(rocksdb::Status status) {
        if (status_.ok()) {
            status_ = std::move(status);
        }
    }
    rocksdb::WriteBatch batch_;
    rocksdb::Status status_;
};

class RocksCursor final : public KvCursor {
public:
    RocksCursor(std::shared_ptr<rocksdb::DB> db,
                std::string directory,
                std::unique_ptr<rocksdb::Iterator> iterator)
        : db_{std::move(db)}, directory_{std::move(directory)}, iterator_{std::move(iterator)} {}

    void seek(std::string_view key) override { iterator_->Seek(slice(key)); }
    void seek_back(std::string_view key) override { iterator_->SeekForPrev(slice(key)); }
    // RocksDB's assertions are live: moving an invalid iterator would abort the process.
    void next() override {
        if (iterator_->Valid()) {
            iterator_->Next();
        }
    }
    void previous() override {
        if (iterator_->Valid()) {
            iterator_->Prev();
        }
    }
    bool valid() const override { return iterator_->Valid(); }
    std::string_view key() const override {
        NORNIC_CHECK(iterator_->Valid(), "key() of a cursor that is not valid()");
        return view(iterator_->key());
    }
    std::string_view value() const override {
        NORNIC_CHECK(iterator_->Valid(), "value() of a cursor that is not valid()");
        return view(iterator_->value());
    }
    Result<> status() const override {
        return guarded("read", directory_, [this] { return iterator_->status(); });
    }

private:
    std::shared_ptr<rocksdb::DB> db_;  // Lives as long as any cursor; so it comes first.
    std::string directory_;
    std::unique_ptr<rocksdb::Iterator> iterator_;
};

class RocksKv final : public Kv {
public:
    RocksKv(std::shared_ptr<rocksdb::DB> db,
            std::string directory,
            std::shared_ptr<rocksdb::Cache> cache)
        : db_{std::move(db)}, directory_{std::move(directory)}, cache_{std::move(cache)} {}

    /// What is flushed now need not be replayed from the log at the next start.
    ~RocksKv() override { (void)flush(); }

    std::unique_ptr<KvBatch> new_batch() override { return std::make_unique<RocksBatch>(); }

    Result<> write(KvBatch& batch) override {
        auto* const rocks = dynamic_cast<RocksBatch*>(&batch);
        NORNIC_CHECK(rocks != nullptr, "a batch of another store");
        NORNIC_TRY(guarded("add to a batch of", directory_, [&] { return rocks->status(); }));
        return again_when_there_is_room("write to", [&] {
            rocksdb::WriteOptions options;
            options.disableWAL = true;
            return db_->Write(options, &rocks->batch());
        });
    }

    Result<> flush() override {
        // For a while after it recovered from an error RocksDB's Flush does not wait, and says that
        // all went well. So its word is checked: nothing immutable may be left in memory.
        constexpr int kRoundsMax = 5000;
        for (int round = 0; round < kRoundsMax; ++round) {
            NORNIC_TRY(again_when_there_is_room("flush", [&] {
                rocksdb::FlushOptions options;
                options.wait = true;
                options.allow_write_stall = true;
                return db_->Flush(options);
            }));
            if (property(rocksdb::DB::Properties::kNumImmutableMemTable) == 0) {
                return success();
            }
            std::this_thread::sleep_for(std::chrono::milliseconds{2});
        }
        return fail(ErrorCode::kIo,
                    fmt::format("the store {} does not finish writing its memtables; restart the "
                                "process, the log will be replayed",
                                directory_));
    }

    Result<std::optional<std::string>> get(std::string_view key) override {
        std::optional<std::string> found;
        NORNIC_TRY(guarded("read", directory_, [&] {
            rocksdb::PinnableSlice value;
            const rocksdb::Status status =
                db_->Get(rocksdb::ReadOptions{}, db_->DefaultColumnFamily(), slice(key), &value);
            if (status.ok()) {
                found.emplace(value.data(), value.size());
            }
            return status.IsNotFound() ? rocksdb::Status::OK() : status;
        }));
        return found;
    }

    std::unique_ptr<KvCursor> new_cursor() override {
        return std::make_unique<RocksCursor>(
            db_,
            directory_,
            std::unique_ptr<rocksdb::Iterator>{db_->NewIterator(rocksdb::ReadOptions{})});
    }

    std::unique_ptr<KvCursor> new_scan() override {
        rocksdb::ReadOptions options;
        options.fill_cache = false;
        options.readahead_size = std::size_t{1} << 20;
        return std::make_unique<RocksCursor>(
            db_, directory_, std::unique_ptr<rocksdb::Iterator>{db_->NewIterator(options)});
    }

    Result<> checkpoint(const std::string& directory) override {
        std::error_code error;
        if (std::filesystem::exists(directory, error)) {
            return fail(ErrorCode::kAlreadyExists,
                        fmt::format("cannot write a checkpoint to {}: it exists", directory));
        }
        return guarded("copy", directory_, [&] {
            rocksdb::Checkpoint* raw = nullptr;
            rocksdb::Status status = rocksdb::Checkpoint::Create(db_.get(), &raw);
            const std::unique_ptr<rocksdb::Checkpoint> checkpoint{raw};
            return status.ok() ? checkpoint->CreateCheckpoint(directory) : status;
        });
    }

    std::size_t memory_bytes() const override {
        return cache_->GetUsage() + property(rocksdb::DB::Properties::kSizeAllMemTables) +
               property(rocksdb::DB::Properties::kEstimateTableReadersMem);
    }
    std::size_t disk_bytes() const override {
        return property(rocksdb::DB::Properties::kTotalSstFilesSize);
    }
    KvStats stats() const override {
        using Properties = rocksdb::DB::Properties;
        KvStats out;
        out.memtable_bytes = property(Properties::kSizeAllMemTables);
        out.block_cache_bytes = cache_->GetUsage();
        out.block_cache_bytes_max = cache_->GetCapacity();
        out.table_reader_bytes = property(Properties::kEstimateTableReadersMem);
        out.sst_bytes = property(Properties::kTotalSstFilesSize);
        out.sst_live_bytes = property(Properties::kLiveSstFilesSize);
        std::string files;
        if (db_->GetProperty(Properties::kNumFilesAtLevelPrefix + "0", &files)) {
            out.level0_files = std::strtoull(files.c_str(), nullptr, 10);
        }
        out.compaction_pending_bytes = property(Properties::kEstimatePendingCompactionBytes);
        out.compactions_running = property(Properties::kNumRunningCompactions);
        out.flushes_running = property(Properties::kNumRunningFlushes);
        out.background_errors = property(Properties::kBackgroundErrors);
        out.writes_stopped = property(Properties::kIsWriteStopped) != 0;
        std::map<std::string, std::string> figures;
        db_->GetMapProperty(Properties::kCFStats, &figures);
        out.stall_slowdowns = std::strtoull(figures["io_stalls.total_slowdown"].c_str(), nullptr, 10);
        out.stall_stops = std::strtoull(figures["io_stalls.total_stop"].c_str(), nullptr, 10);
        return out;
    }

private:
    std::size_t property(const std::string& name) const {
        std::uint64_t value = 0;
        db_->GetIntProperty(name, &value);
        return value;
    }

    /// After a full disk RocksDB refuses writes until it is told to try again, which costs one
    /// flush; the memtables it could not write are still there.
    template <class Call>
    Result<> again_when_there_is_room(std::string_view action, Call&& call) {
        const Result<> first = guarded(action, directory_, call);
        if (first || first.error().code() == ErrorCode::kCorruption) {
            return first;
        }
        const MutexLock lock{resume_mutex_};
        await_running_flushes();
        const Result<> resumed = guarded("resume", directory_, [&] { return db_->Resume(); });
        if (!resumed) {
            return resumed.error().code() == ErrorCode::kDiskFull ? resumed : first;
        }
        return guarded(action, directory_, call);
    }

    /// A flush that failed stays at it for a second. Resume during that time can lose the request it
    /// makes, and then waits for it without end.
    void await_running_flushes() const {
        constexpr int kRoundsMax = 5000;
        for (int round = 0; round < kRoundsMax; ++round) {
            if (property(rocksdb::DB::Properties::kNumRunningFlushes) == 0) {
                return;
            }
            std::this_thread::sleep_for(std::chrono::milliseconds{2});
        }
    }

    std::shared_ptr<rocksdb::DB> db_;
    const std::string directory_;
    std::shared_ptr<rocksdb::Cache> cache_;
    Mutex resume_mutex_;
};

/// RocksDB's own recovery from a full disk looks every five seconds and meanwhile refuses to be
/// told that there is room; ours tries again at each write.
class NoAutomaticRecovery final : public rocksdb::EventListener {
public:
    void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason /*reason*/,
                              rocksdb::Status /*error*/,
                              bool* automatic) override {
        *automatic = false;
    }
};

rocksdb::Options make_options(const RocksKvSettings& settings,
                              const std::shared_ptr<rocksdb::Cache>& cache) {
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = cache;
    table.block_size = std::size_t{8} << 10;
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
    table.whole_key_filtering = true;
    table.format_version = 5;
    // Index and filters count against the cache: memory is bounded by settings, not by data.
    table.cache_index_and_filter_blocks = true;
    table.cache_index_and_filter_blocks_with_high_priority = true;

    rocksdb::Options options;
    options.create_if_missing = true;
    options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    options.compression = rocksdb::kLZ4Compression;
    options.write_buffer_size = settings.write_buffer_bytes_max;
    options.max_write_buffer_number = 2;
    options.arena_block_size = std::size_t{256} << 10;
    options.target_file_size_base = std::uint64_t{16} << 20;
    options.max_bytes_for_level_base = std::uint64_t{64} << 20;
    options.level_compaction_dynamic_level_bytes = true;
    options.max_background_jobs = 2;
    options.max_subcompactions = 1;
    options.max_open_files = settings.open_files_max;
    options.max_file_opening_threads = 1;
    options.skip_stats_update_on_db_open = true;
    options.skip_checking_sst_file_sizes_on_db_open = true;
    options.bytes_per_sync = std::uint64_t{1} << 20;
    options.compaction_readahead_size = std::size_t{1} << 20;
    options.stats_dump_period_sec = 0;
    options.stats_persist_period_sec = 0;
    // The manifest is rewritten at each open; a small one keeps that quick.
    options.max_manifest_file_size = std::uint64_t{4} << 20;
    options.info_log_level = rocksdb::InfoLogLevel::WARN_LEVEL;
    options.keep_log_file_num = 2;
    options.max_log_file_size = std::size_t{1} << 20;
    options.listeners.push_back(std::make_shared<NoAutomaticRecovery>());
    return options;
}

}  // namespace

Result<std::unique_ptr<Kv>> open_rocks_kv_on(const RocksKvSettings& settings,
                                             rocksdb::Env* env,
                                             std::function<void()> closed,
                                             bool steadily) {
    std::error_code error;
    std::filesystem::create_directories(settings.directory, error);
    if (error) {
        return fail(
            error == std::errc::no_space_on_device ? ErrorCode::kDiskFull : ErrorCode::kIo,
            fmt::format(
                "cannot create the store directory {}: {}", settings.directory, error.message()));
    }
    std::shared_ptr<rocksdb::Cache> cache;
    std::unique_ptr<rocksdb::DB> db;
    NORNIC_TRY(guarded("open", settings.directory, [&] {
        // Few shards: each gets a fair part of a small cache.
        cache = rocksdb::NewLRUCache(settings.block_cache_bytes_max, 2, false, 0.5);
        rocksdb::Options options = make_options(settings, cache);
        if (env != nullptr) {
            options.env = env;
        }
        if (steadily) {
            options.bytes_per_sync = std::uint64_t{256} << 10;
            options.strict_bytes_per_sync = true;
        }
        rocksdb::DB* raw = nullptr;
        const rocksdb::Status status = rocksdb::DB::Open(options, settings.directory, &raw);
        db.reset(raw);
        return status;
    }));
    std::shared_ptr<rocksdb::DB> shared{db.release(),
                                        [closed = std::move(closed)](rocksdb::DB* last) {
                                            delete last;
                                            if (closed) {
                                                closed();
                                            }
                                        }};
    return std::unique_ptr<Kv>{
        std::make_unique<RocksKv>(std::move(shared), settings.directory, std::move(cache))};
}

Result<std::unique_ptr<Kv>> open_rocks_kv(const RocksKvSettings& settings) {
    return open_rocks_kv_on(settings, nullptr);
}

}  // namespace nornic::engine
