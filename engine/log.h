// The replicated log on disk: a segmented, checksummed append log with group commit.
//
// Segments are zero-written ahead and recycled, so an append never changes a file's size and a sync
// costs one flush of data. Exact bytes: docs/log_format.md. One writer at a time (append, sync,
// truncate_*); reads may run beside it. Sources: docs/log_format.md; Raft practice: a failed sync
// is fatal for the file (the page cache may be clean but lost), a torn tail is cut, damage in the
// middle is reported and never dropped.
#pragma once

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::engine {

enum class EntryKind : std::uint8_t {
    kNoop = 0,      // A new leader's first entry.
    kWriteSet = 1,  // engine/write_set.h
    kMembership = 2,
};

/// One entry. The payload is opaque to the log.
struct LogEntry {
    Term term;
    LogIndex index;
    std::uint64_t hybrid_time = 0;  // 48 bits of wall milliseconds, 16 of a counter.
    EntryKind kind = EntryKind::kWriteSet;
    std::string payload;
};

/// What a strategy must not forget besides entries: Raft's term and vote, the standby's epoch.
struct HardState {
    Term term;
    std::string voted_for;
    LogIndex committed;  // A hint: never beyond what is durable.
    std::string extra;   // What else a mode must not forget, in its own form; at most 4 KiB.
    bool operator==(const HardState&) const = default;
};

struct LogSettings {
    std::string directory;
    std::uint64_t segment_bytes = std::uint64_t{16} << 20;
    std::uint64_t entry_bytes_max = std::uint64_t{1}
                                    << 30;  // An entry may span segments' normal size.
    std::uint64_t reserve_bytes = std::uint64_t{32}
                                  << 20;  // Disk space kept free; below it kDiskFull.
    Duration sync_warn_after = std::chrono::seconds{1};  // One warning line a stall.
};

struct LogRecovery {
    LogIndex first;  // First index held; last + 1 if empty.
    LogIndex last;
    Term last_term;
    HardState hard_state;
    std::uint64_t torn_bytes_cut = 0;
};

class Log {
public:
    virtual ~Log() = default;

    [[nodiscard]] virtual const LogRecovery& recovery() const = 0;
    [[nodiscard]] virtual LogIndex first_index() const = 0;  // last_index() + 1 when empty
    [[nodiscard]] virtual LogIndex last_index() const = 0;

    /// Appends entries with consecutive indexes from last_index() + 1, or, after overwrite, from an
    /// earlier one: entries at or past the first new index are dropped first (Raft's conflict
    /// rule). Not durable before sync(). kDiskFull: nothing was appended and the log goes on; kIo:
    /// the log is broken (see failed()).
    virtual Result<> append(std::span<const LogEntry> entries) = 0;
    /// Durable after sync(). kInvalidArgument: a name over 1 KiB or `extra` over 4 KiB.
    virtual Result<> set_hard_state(const HardState& state) = 0;
    /// One fdatasync for everything appended. On failure the log is failed() for good: the process
    /// must restart and verify from disk, never retry on the same file.
    virtual Result<> sync() = 0;
    [[nodiscard]] virtual bool failed() const = 0;

    /// Calls `visit` for entries [from, to] in order until it returns false. kNotFound if `from` is
    /// before first_index(), kCorruption naming segment and offset if a checksum fails.
    virtual Result<> read(LogIndex from,
                          LogIndex to,
                          const std::function<bool(const LogEntry&)>& visit) = 0;
    /// Knows the entry before first_index(), too. kNotFound.
    virtual Result<Term> term_at(LogIndex index) = 0;

    /// Entries behind `last`, which is at least first_index() - 1, are dropped. Not durable before sync(). kDiskFull, kIo as
    /// at append.
    virtual Result<> truncate_after(LogIndex last) = 0;
    /// Recycles segments that hold only entries before `first_kept`, the oldest first and a few at a time: each is a durable
    /// change of the directory, and nothing is appended meanwhile.
    virtual Result<> truncate_before(LogIndex first_kept) = 0;
    /// Whether truncate_before() would recycle anything. Thread-safe.
    [[nodiscard]] virtual bool may_truncate_before(LogIndex first_kept) const = 0;
    /// Forgets everything and continues at `next` (a snapshot was installed).
    virtual Result<> reset(LogIndex next, Term previous_term) = 0;

    /// Since when the write or sync that runs now has been running; nullopt if none is. Thread-safe: for the
    /// watchdog that gives up leadership, or reports, on a hung disk.
    [[nodiscard]] virtual std::optional<Deadline> writing_since() const = 0;
    [[nodiscard]] virtual std::uint64_t disk_bytes() const = 0;
};

/// Replays segment headers and checksums. kCorruption naming the segment, the offset and what to do
/// if damage lies before the last valid record; a torn tail is cut and counted in recovery().
Result<std::unique_ptr<Log>> open_segmented_log(const LogSettings& settings, Clock& clock);

/// For tests and the simulator: keeps what was synced and drops the rest at crash.
std::unique_ptr<Log> make_memory_log();
/// What a power failure leaves: the state of the last sync(). recovery() then tells of it.
void crash_memory_log(Log& log);

}  // namespace nornic::engine
