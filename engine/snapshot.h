// A member's state as it travels to another: all pairs of the Kv as of one checkpoint, in key order, in
// checksummed chunks that can be taken up again where they were cut. And EngineHost, the engine of a member
// whose state can be replaced beneath its users.
#pragma once

#include "base/hash.h"
#include "base/ids.h"
#include "base/result.h"
#include "engine/engine.h"
#include "engine/kv.h"
#include "engine/region.h"
#include "engine/tokens.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace nornic::engine {

struct SnapshotInfo {
    std::string id;  // drawn at export; the same id means the same pairs
    LogIndex index;
    Term term;            // of the entry at index
    std::string history;  // the system database's uuid
    std::uint64_t bytes_estimate = 0;
};

/// A slice of one stream: varint key length, key, varint value length, value, and so on in the order of keys. It may
/// begin and end within a pair, since one value may be larger than what travels in one message.
struct SnapshotChunk {
    std::string pairs;
    std::uint32_t crc32c = 0;
    bool last = false;
    std::uint64_t pair_count = 0;  // whole pairs up to the end of this chunk
    std::uint64_t digest = 0;      // FNV-1a 64 over the stream up to the end of this chunk
};

/// FNV-1a 64 of nothing: the digest where the stream begins.
inline constexpr std::uint64_t kSnapshotDigestStart = kFnv1aStart;

/// A place in the stream. What a receiver holds always ends with a whole pair.
struct SnapshotPosition {
    std::string last_key;  // of the last whole pair; empty: none
    std::uint64_t pair_count = 0;
    std::uint64_t digest = kSnapshotDigestStart;
    std::uint64_t partial = 0;  // bytes of the pair behind it
    bool operator==(const SnapshotPosition&) const = default;
};

/// Reads one state of the Kv that does not change while it lives. One thread at a time.
class SnapshotExport {
public:
    virtual ~SnapshotExport() = default;
    [[nodiscard]] virtual const SnapshotInfo& info() const = 0;
    /// Continues behind `position`; free if that is where it is. kInvalidArgument: no such place.
    virtual Result<> seek(const SnapshotPosition& position) = 0;
    [[nodiscard]] virtual const SnapshotPosition& position() const = 0;
    /// The next `bytes` of the stream, or what is left; the last chunk says so and may be empty.
    virtual Result<SnapshotChunk> next(std::size_t bytes) = 0;
};

/// Collects a state beside the one in use. One thread at a time. What add() accepted survives a restart of the
/// process (not always the newest of it), and begin_import() with the same id goes on from there.
class SnapshotImport {
public:
    virtual ~SnapshotImport() = default;
    [[nodiscard]] virtual const SnapshotInfo& info() const = 0;
    /// The end of what add() took, where it lies within a pair: that of the pair before.
    [[nodiscard]] virtual SnapshotPosition position() const = 0;
    /// kCorruption: a checksum, the order of keys, the count or the digest is wrong. kDiskFull, kIo. After an error it
    /// is where it was and the next chunk must begin at position().
    virtual Result<> add(const SnapshotChunk& chunk) = 0;
    /// Forgets what lies behind position(): the next chunk begins there.
    virtual void drop_partial() = 0;
    /// All of it was added and verified.
    [[nodiscard]] virtual bool complete() const = 0;
};

/// The state as of one index, whatever is applied while it lives, for comparing members: two that applied the same entries
/// up to index() have equal digests. As an open transaction does, it keeps old versions in memory. One thread at a time.
class StateView {
public:
    virtual ~StateView() = default;
    [[nodiscard]] virtual LogIndex index() const = 0;
    /// Takes about so many bytes more into the digest; true: that was all. After an error there is no digest: kStopping,
    /// the state was replaced; kBusy, so much changed meanwhile that memory runs short; else what could not be read.
    virtual Result<bool> read(std::size_t bytes) = 0;
    /// Once read() gave true.
    [[nodiscard]] virtual std::uint64_t digest() const = 0;
};
/// Counts how the digest is made: digests of two versions cannot be compared.
inline constexpr std::uint32_t kStateDigestVersion = 1;

/// Where one member's Kvs live: the one in use, and beside it one that is arriving. One call at a time.
class KvHome {
public:
    virtual ~KvHome() = default;
    /// The one in use, made if there is none.
    virtual Result<std::unique_ptr<Kv>> open() = 0;
    /// The one that is arriving, made if there is none. kBusy while it is open.
    virtual Result<std::unique_ptr<Kv>> open_incoming() = 0;
    /// kBusy while it is open.
    virtual Result<> discard_incoming() = 0;
    /// What is incoming is the one in use from now on, now and after a restart; atomic, also if the machine dies in
    /// between. Both may be open and stay so; the one replaced is removed once nobody reads it any more. What is
    /// incoming was flushed. On an error nothing was replaced.
    virtual Result<> install_incoming() = 0;
    /// Room for what arrives.
    [[nodiscard]] virtual std::uint64_t free_bytes() const { return UINT64_MAX; }
};

/// On RocksDB: `<directory>/store`, and after the first installation `store-1`, `store-2`, …; the file `store.current`
/// names the one in use, and the next number is incoming. Everything else of such a name is removed at open().
std::unique_ptr<KvHome> make_rocks_kv_home(const std::string& directory, const RocksKvSettings& settings);
/// For tests and the simulator. crash_memory_kv_home(): what a power failure leaves of both, after whoever had them
/// open is gone.
std::unique_ptr<KvHome> make_memory_kv_home();
void crash_memory_kv_home(KvHome& home);
/// For an EngineHost whose home outlives it, as a disk does a process.
std::unique_ptr<KvHome> lend_kv_home(KvHome& home);

/// An Engine whose state can be replaced. All calls of Engine go to the present one; what was begun on the one
/// before ends with kStopping at its next step.
class EngineHost : public Engine {
public:
    /// What regions exchange; lives as long as this does.
    [[nodiscard]] virtual RegionData* regions() { return nullptr; }
    /// Dirty pages fill the cache: apply() waits a moment with each entry. Cheap.
    [[nodiscard]] virtual bool is_crowded() const { return false; }
    /// Term of the entry at applied_index(); 0 before the first.
    [[nodiscard]] virtual Term applied_term() const = 0;
    /// The system database's uuid.
    [[nodiscard]] virtual std::string history() const = 0;
    /// Index and payload of the newest kMembership entry that was applied: part of the state, as everything else is. {0, ""}:
    /// there was none.
    [[nodiscard]] virtual std::pair<LogIndex, std::string> membership() const = 0;
    /// The state was put there by install() and no checkpoint of anything applied on top of it was written since: a log
    /// that ends before durable_index(), or disagrees with it, is older and to be reset.
    [[nodiscard]] virtual bool freshly_installed() const = 0;

    /// Forgets everything after durable_index(). Not beside apply(). kDiskFull, kIo: nothing happened, if the Kv could
    /// not be flushed; else the engine is stopped for good. durable_index() may have grown: a checkpoint whose flush
    /// had failed counts once the flush here succeeds.
    virtual Result<> reload() = 0;

    /// Makes the state one of another history, for a group that is begun anew from it: no member of the old one, and no
    /// bookmark, fits it any more. Element ids stay. Not beside anything else.
    virtual Result<> renew_history() { return fail(ErrorCode::kUnsupported, "this engine keeps its history"); }

    /// The state as of applied_index(). Not beside apply(); cheap.
    virtual Result<std::unique_ptr<StateView>> view_state() {
        return fail(ErrorCode::kUnsupported, "this engine gives no view of its state");
    }

    /// Writes a checkpoint and gives its pairs. Any thread. The export may outlive the state it is of.
    virtual Result<std::unique_ptr<SnapshotExport>> begin_export() = 0;
    /// Goes on with what is there of the same id, or discards it and begins. kBusy while another import is alive;
    /// kDiskFull if the estimate says that it will not fit.
    virtual Result<std::unique_ptr<SnapshotImport>> begin_import(const SnapshotInfo& info) = 0;
    /// Gives back the room of an import that is not wanted any more. kBusy while it is alive.
    virtual Result<> discard_import() { return success(); }
    /// Puts a complete import in the place of the state. Not beside apply(). On an error the state is as before.
    virtual Result<> install(std::unique_ptr<SnapshotImport> import) = 0;

    /// Called whenever reload() or install() put another state in the place of the one before, once nothing can begin
    /// on the old one and before anything can begin on the new one. For what is remembered of a state outside it (query
    /// plans hold its ids). Set before the first of them.
    virtual void on_replaced(std::function<void()> callback) { static_cast<void>(callback); }

    /// As the present state has it; empty if it does not. For describe_write_set().
    [[nodiscard]] virtual std::string token_name(DatabaseId, TokenKind, std::uint32_t) const { return {}; }
};

Result<std::unique_ptr<EngineHost>> open_engine_host(std::unique_ptr<KvHome> home,
                                                     const Settings& settings,
                                                     Clock& clock);

/// The name of a label, type or property key; empty if it is not known.
using TokenNames = std::function<std::string(DatabaseId database, TokenKind kind, std::uint32_t id)>;

/// A write set for people: one JSON object a line and change. Labels, types and keys are named where the write set
/// itself or `names` knows them, else numbers ("#3"). Rows of the catalogue are named only, since some hold secrets.
/// Never fails: from where it cannot be read on it is shown as hexadecimal.
std::string describe_write_set(std::string_view write_set, const TokenNames& names = {});

}  // namespace nornic::engine
