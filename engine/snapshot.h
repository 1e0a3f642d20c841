// A member's state as it travels to another: all pairs of the Kv as of one checkpoint, in key order, in
// checksummed chunks that can be taken up again where they were cut. And EngineHost, the engine of a member
// whose state can be replaced beneath its users.
#pragma once

#include "base/ids.h"
#include "base/result.h"
#include "engine/engine.h"
#include "engine/kv.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace nornic::engine {

struct SnapshotInfo {
    std::string id;  // drawn at export; the same id means the same pairs
    LogIndex index;
    Term term;            // of the entry at index
    std::string history;  // the system database's uuid
    std::uint64_t bytes_estimate = 0;
};

struct SnapshotChunk {
    std::string pairs;  // repeated: varint key length, key, varint value length, value
    std::uint32_t crc32c = 0;
    bool last = false;
    std::uint64_t pair_count = 0;  // of all pairs up to and with this chunk
    std::uint64_t digest = 0;      // likewise: FNV-1a 64 over the bytes of all pairs in order
};

/// Where a transfer goes on: what the receiver holds.
struct SnapshotPosition {
    std::string last_key;  // empty: nothing
    std::uint64_t pair_count = 0;
    std::uint64_t digest = 0;
};

/// Reads one state of the Kv that does not change while it lives. One thread at a time.
class SnapshotExport {
public:
    virtual ~SnapshotExport() = default;
    [[nodiscard]] virtual const SnapshotInfo& info() const = 0;
    /// Continues behind `position`.
    virtual Result<> seek(const SnapshotPosition& position) = 0;
    /// About `bytes` of pairs, at least one pair; the last chunk says so and may be empty.
    virtual Result<SnapshotChunk> next(std::size_t bytes) = 0;
};

/// Collects a state beside the one in use. One thread at a time. What add() accepted survives a restart of the
/// process (not always the newest of it), and begin_import() with the same id goes on from there.
class SnapshotImport {
public:
    virtual ~SnapshotImport() = default;
    [[nodiscard]] virtual const SnapshotInfo& info() const = 0;
    [[nodiscard]] virtual SnapshotPosition position() const = 0;
    /// kCorruption: a checksum, the order of keys or the final count and digest are wrong; the chunk was not taken.
    /// kDiskFull, kIo.
    virtual Result<> add(const SnapshotChunk& chunk) = 0;
    /// All of it was added and verified.
    [[nodiscard]] virtual bool complete() const = 0;
};

/// Where one member's Kvs live: the one in use, and beside it one that is arriving.
class KvHome {
public:
    virtual ~KvHome() = default;
    /// The one in use, made if there is none. It must be closed before install_incoming().
    virtual Result<std::unique_ptr<Kv>> open() = 0;
    /// The one that is arriving, made if there is none.
    virtual Result<std::unique_ptr<Kv>> open_incoming() = 0;
    virtual Result<> discard_incoming() = 0;
    /// From now on open() gives what was incoming; atomic, also if the machine dies in between. Both must be closed.
    virtual Result<> install_incoming() = 0;
};

/// `<directory>/store` and `<directory>/store.incoming` on RocksDB.
std::unique_ptr<KvHome> make_rocks_kv_home(const std::string& directory, const RocksKvSettings& settings);
/// For tests and the simulator. crash_memory_kv_home(): what a power failure leaves of both.
std::unique_ptr<KvHome> make_memory_kv_home();
void crash_memory_kv_home(KvHome& home);

/// An Engine whose state can be replaced. All calls of Engine go to the present one; what was begun on the one
/// before ends with kStopping at its next step.
class EngineHost : public Engine {
public:
    /// Term of the entry at applied_index(); 0 before the first.
    [[nodiscard]] virtual Term applied_term() const = 0;
    /// The system database's uuid.
    [[nodiscard]] virtual std::string history() const = 0;
    /// The state was put there by install() and no checkpoint was written since: a log that ends before
    /// durable_index(), or disagrees with it, is older and to be reset.
    [[nodiscard]] virtual bool freshly_installed() const = 0;

    /// Forgets everything after durable_index() by opening the Kv again. Not beside apply().
    virtual Result<> reload() = 0;

    /// Writes a checkpoint and gives its pairs. Any thread.
    virtual Result<std::unique_ptr<SnapshotExport>> begin_export() = 0;
    /// Goes on with what is there of the same id, or discards it and begins.
    virtual Result<std::unique_ptr<SnapshotImport>> begin_import(const SnapshotInfo& info) = 0;
    /// Puts a complete import in the place of the state. Not beside apply(). On an error the state is as before.
    virtual Result<> install(std::unique_ptr<SnapshotImport> import) = 0;

    /// Called whenever reload() or install() put another state in the place of the one before, once nothing can begin
    /// on the old one and before anything can begin on the new one. For what is remembered of a state outside it (query
    /// plans hold its ids). Set before the first of them.
    virtual void on_replaced(std::function<void()> callback) { static_cast<void>(callback); }
};

Result<std::unique_ptr<EngineHost>> open_engine_host(std::unique_ptr<KvHome> home,
                                                     const Settings& settings,
                                                     Clock& clock);

/// A write set for people: one JSON object a change, ids and names as they stood. Never fails: what it cannot
/// read it shows as hexadecimal.
std::string describe_write_set(std::string_view write_set);

}  // namespace nornic::engine
