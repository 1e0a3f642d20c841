// A disk in memory for tests and the simulator: it forgets what was not synced when the power
// fails, sector by sector, and fails in the ways that disks fail. Deterministic from its seed.
#pragma once

#include "base/mutex.h"
#include "base/random.h"
#include "engine/log/file.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace nornic::engine {

/// Thread-safe. Files opened before a crash fail from then on.
class SimulatedDisk final : public FileSystem {
public:
    explicit SimulatedDisk(std::uint64_t seed);
    ~SimulatedDisk() override;

    Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override;
    Result<> rename(const std::string& from, const std::string& to) override;
    Result<> remove(const std::string& path) override;
    Result<> make_directories(const std::string& directory) override;
    Result<std::vector<std::string>> list(const std::string& directory) override;
    Result<> sync_directory(const std::string& directory) override;
    Result<std::uint64_t> free_bytes(const std::string& directory) override;
    Result<std::unique_ptr<DirectoryLock>> lock(const std::string& directory) override;

    enum class Lost {
        kNothing,  // The process was killed; the page cache lived.
        kEverything,
        kSomeSectors,  // Each unsynced sector by a coin; names as a prefix of what was done.
    };
    /// Ends all locks and open files, and loses what was not synced.
    void crash(Lost lost);

    // Faults; each stays until it is taken back.
    /// Writes fail with `code` after `bytes` more bytes, the last of them written in part.
    void fail_writes_after(std::uint64_t bytes, ErrorCode code);
    /// Whether fail_writes_after() ends with the first write that it fails.
    void fail_only_next_write(bool only);
    void fail_syncs(bool fail);
    void fail_names(bool fail);  // rename, remove, sync_directory
    /// Syncs wait until they are let go.
    void hold_syncs(bool hold);
    [[nodiscard]] bool sync_is_held() const;
    /// So do writes, before anything of them is done.
    void hold_writes(bool hold);
    [[nodiscard]] bool write_is_held() const;
    void heal();
    void set_free_bytes(std::uint64_t bytes);

    // Looking in and doing harm.
    [[nodiscard]] std::string contents(const std::string& path);
    void overwrite(const std::string& path, std::uint64_t offset, std::string_view bytes);
    void truncate(const std::string& path, std::uint64_t size);
    [[nodiscard]] std::uint64_t syncs() const;
    [[nodiscard]] std::uint64_t writes() const;
    /// A disk with the same durable and present contents and no open files.
    [[nodiscard]] std::unique_ptr<SimulatedDisk> copy(std::uint64_t seed) const;

private:
    friend class SimulatedFile;
    friend class SimulatedLock;
    struct Inode {
        std::string bytes;
        std::uint64_t durable_size = 0;
        std::map<std::uint64_t, std::string> old_sectors;  // Unsynced sectors as they were durably.
        // The same, after a sync failed: until they are written again no sync makes them durable.
        std::map<std::uint64_t, std::string> given_up;
    };
    using Names = std::map<std::string, std::shared_ptr<Inode>>;

    void put(Inode& inode, std::uint64_t offset, std::string_view bytes) REQUIRES(mutex_);

    mutable Mutex mutex_;
    ConditionVariable released_;
    Random random_ GUARDED_BY(mutex_);
    Names names_ GUARDED_BY(mutex_);
    Names durable_names_ GUARDED_BY(mutex_);
    std::vector<std::function<void(Names&)>> name_changes_ GUARDED_BY(mutex_);
    std::set<std::string> locks_ GUARDED_BY(mutex_);
    std::uint64_t generation_ GUARDED_BY(mutex_) = 0;  // Counts crashes.
    std::optional<std::uint64_t> writes_fail_after_ GUARDED_BY(mutex_);
    ErrorCode write_error_ GUARDED_BY(mutex_) = ErrorCode::kIo;
    bool fail_only_next_write_ GUARDED_BY(mutex_) = false;
    int held_ GUARDED_BY(mutex_) = 0;
    bool fail_syncs_ GUARDED_BY(mutex_) = false;
    bool fail_names_ GUARDED_BY(mutex_) = false;
    bool hold_syncs_ GUARDED_BY(mutex_) = false;
    int held_writes_ GUARDED_BY(mutex_) = 0;
    bool hold_writes_ GUARDED_BY(mutex_) = false;
    std::uint64_t free_bytes_ GUARDED_BY(mutex_) = std::uint64_t{1} << 40;
    std::uint64_t syncs_ GUARDED_BY(mutex_) = 0;
    std::uint64_t writes_ GUARDED_BY(mutex_) = 0;
};

}  // namespace nornic::engine
