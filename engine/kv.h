// The key-value seam beneath the engine: RocksKv (RocksDB without its WAL) and MemoryKv (an ordered
// map, for the simulator). The engine writes it only at checkpoints, in one atomic batch a time
// that carries the applied index; the replicated log is what makes single commits durable.
#pragma once

#include "base/result.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace nornic::engine {

/// Puts and deletes that become visible together or not at all.
class KvBatch {
public:
    virtual ~KvBatch() = default;
    virtual void put(std::string_view key, std::string_view value) = 0;
    virtual void erase(std::string_view key) = 0;
    /// All keys in [begin, end).
    virtual void erase_range(std::string_view begin, std::string_view end) = 0;
    virtual std::size_t bytes() const = 0;
};

/// Walks keys in byte order over the state at its creation. Keys and values live until the next
/// move.
class KvCursor {
public:
    virtual ~KvCursor() = default;
    /// First key >= `key`.
    virtual void seek(std::string_view key) = 0;
    /// Last key <= `key`.
    virtual void seek_back(std::string_view key) = 0;
    virtual void next() = 0;
    virtual void previous() = 0;
    virtual bool valid() const = 0;
    virtual std::string_view key() const = 0;
    virtual std::string_view value() const = 0;
    /// An error met while walking (valid() is then false).
    virtual Result<> status() const = 0;
};

/// What an operator may want to know of the store beneath; all 0 where there is nothing of the kind. Totals are since
/// it was opened.
struct KvStats {
    std::uint64_t memtable_bytes = 0;
    std::uint64_t block_cache_bytes = 0;
    std::uint64_t block_cache_bytes_max = 0;
    std::uint64_t table_reader_bytes = 0;
    std::uint64_t sst_bytes = 0;       // on disk, with those that are read by somebody though no longer needed
    std::uint64_t sst_live_bytes = 0;
    std::uint64_t level0_files = 0;
    std::uint64_t compaction_pending_bytes = 0;
    std::uint64_t compactions_running = 0;
    std::uint64_t flushes_running = 0;
    std::uint64_t stall_slowdowns = 0;
    std::uint64_t stall_stops = 0;
    std::uint64_t background_errors = 0;
    bool writes_stopped = false;
};

/// Thread-safe.
class Kv {
public:
    virtual ~Kv() = default;
    virtual std::unique_ptr<KvBatch> new_batch() = 0;
    /// Atomic; visible to reads at once; durable only after flush(). kDiskFull, kIo.
    virtual Result<> write(KvBatch& batch) = 0;
    /// Everything written so far survives a crash once this returns. kDiskFull, kIo.
    virtual Result<> flush() = 0;
    /// nullopt if absent.
    virtual Result<std::optional<std::string>> get(std::string_view key) = 0;
    virtual std::unique_ptr<KvCursor> new_cursor() = 0;
    /// For reading everything once: leaves what is cached where it is.
    virtual std::unique_ptr<KvCursor> new_scan() { return new_cursor(); }
    /// A copy of the whole state under `directory` (hard links where it can). kIo, kDiskFull.
    virtual Result<> checkpoint(const std::string& directory) = 0;
    /// Bytes held: block cache and write buffers. For the memory metric.
    virtual std::size_t memory_bytes() const = 0;
    virtual std::size_t disk_bytes() const = 0;
    /// Looked up when asked for; cheap enough for every few seconds.
    virtual KvStats stats() const { return {}; }
};

struct RocksKvSettings {
    std::string directory;
    std::size_t block_cache_bytes_max = std::size_t{8} << 20;
    std::size_t write_buffer_bytes_max = std::size_t{8} << 20;
    int open_files_max = 256;
};
/// Creates the directory if it is missing. kCorruption, kIo, kDiskFull; the message names the
/// directory.
Result<std::unique_ptr<Kv>> open_rocks_kv(const RocksKvSettings& settings);

/// An ordered map in memory that keeps what was flushed and drops the rest at crash_memory_kv().
std::unique_ptr<Kv> make_memory_kv();
/// What a power failure leaves: the state of the last flush().
void crash_memory_kv(Kv& kv);

}  // namespace nornic::engine
