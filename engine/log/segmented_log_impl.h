// The inside of the segmented log: one class in two files, segmented_log.cc (writing, reading,
// truncation) and segmented_log_open.cc (recovery, the end). Others include engine/log.h.
#pragma once

#include "base/mutex.h"
#include "base/random.h"
#include "engine/log/codec.h"
#include "engine/log/entry_index.h"
#include "engine/log/recovery.h"
#include "engine/log/segment.h"
#include "engine/log/segment_pool.h"
#include "engine/log/segmented_log.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace nornic::engine {

/// Offsets are kept in 32 bits of kRecordAlignment units.
inline constexpr std::uint64_t kLogSegmentBytesMax = std::uint64_t{32} << 30;

class SegmentedLog final : public Log {
public:
    SegmentedLog(const LogSettings& settings, Clock& clock, LogWorld world)
        : settings_{settings},
          clock_{clock},
          file_system_{*world.file_system},
          warn_{std::move(world.warn)},
          random_{world.seed == 0 ? Random::from_os() : Random{world.seed}},
          pool_{file_system_,
                {settings.directory,
                 settings.segment_bytes,
                 settings.reserve_bytes,
                 world.prepare_in_background}} {}

    ~SegmentedLog() override { close(); }

    Result<> open();

    const LogRecovery& recovery() const override { return recovery_; }
    LogIndex first_index() const override {
        const MutexLock lock{mutex_};
        return index_.first();
    }
    LogIndex last_index() const override {
        const MutexLock lock{mutex_};
        return index_.last();
    }
    Result<> append(std::span<const LogEntry> entries) override;
    Result<> set_hard_state(const HardState& state) override;
    Result<> sync() override;
    bool failed() const override { return failed_.load(); }
    Result<> read(LogIndex from,
                  LogIndex to,
                  const std::function<bool(const LogEntry&)>& visit) override;
    Result<Term> term_at(LogIndex index) override;
    Result<> truncate_after(LogIndex last) override;
    Result<> truncate_before(LogIndex first_kept) override { return recycle_before(first_kept, kRecycledAtATime); }
    bool may_truncate_before(LogIndex first_kept) const override {
        const MutexLock lock{mutex_};
        return index_.may_take_before(first_kept);
    }
    Result<> reset(LogIndex next, Term previous_term) override;
    std::optional<Deadline> writing_since() const override {
        const std::int64_t since = writing_since_.load(std::memory_order_acquire);
        return since == kNoWrite ? std::nullopt : std::optional{Deadline{Duration{since}}};
    }
    std::uint64_t disk_bytes() const override;

private:
    static constexpr std::int64_t kNoWrite = INT64_MIN;
    static constexpr std::size_t kRecycledAtATime = 2;

    /// What writing_since() tells of, from the outermost one's begin to its end.
    class Writing {
    public:
        explicit Writing(SegmentedLog& log) : log_{log}, outermost_{log.writing_since_.load(std::memory_order_relaxed) == kNoWrite} {
            if (outermost_) {
                log_.writing_since_.store(log_.clock_.now().time_since_epoch().count(), std::memory_order_release);
            }
        }
        ~Writing() {
            if (outermost_) {
                log_.writing_since_.store(kNoWrite, std::memory_order_release);
            }
        }
        Writing(const Writing&) = delete;
        Writing& operator=(const Writing&) = delete;

    private:
        SegmentedLog& log_;
        const bool outermost_;
    };

    Result<> recover(const std::vector<std::uint64_t>& sequences);
    Result<> recover_segment(std::uint64_t sequence, bool newest, const SegmentHeader* next);
    Result<SegmentHeader> read_header(std::uint64_t sequence);
    /// Makes the newest segment's tail durable and clean, whatever the last process saw.
    Result<> settle_tail(Segment& segment, const SegmentScan& scan);
    void close();

    /// Starts a segment that can take `bytes` of records. kDiskFull changes nothing.
    Result<> roll(std::uint64_t bytes);
    Result<> make_room(std::uint64_t bytes, std::uint64_t slack);
    /// Zero-writes the active segment up to `to`. kDiskFull changes nothing.
    Result<> extend(std::uint64_t to);
    Result<> check_reserve();
    /// Writes buffer_ at the end of the active segment.
    Result<> write_buffer();
    /// `bytes`: the length of the record.
    Result<> write_one(std::uint64_t bytes, const std::function<void(RecordEncoder&)>& encode);
    Result<> recycle_before(LogIndex first_kept, std::size_t segments_max);
    RecordEncoder encoder();
    void advance(const RecordEncoder& encoder) REQUIRES(mutex_);

    Result<> timed_sync(File& file);
    Result<> check_alive() const;
    /// Remembers the first reason and returns a kIo.
    Result<> break_with(const Error& reason);
    void warn(const std::string& line) const;

    const LogSettings settings_;
    Clock& clock_;
    FileSystem& file_system_;
    std::function<void(const std::string&)> warn_;
    Random random_;
    std::unique_ptr<DirectoryLock> directory_lock_;
    SegmentPool pool_;
    LogRecovery recovery_;

    // The writer's alone.
    std::shared_ptr<Segment> active_;
    std::uint64_t synced_ = 0;  // The active segment is on disk up to here.
    std::uint64_t spare_asked_at_ = 0;
    bool marked_ = true;  // The last record is a mark, or none is needed.
    std::string buffer_;
    std::optional<Deadline> room_seen_at_;

    std::atomic<bool> failed_{false};
    std::string failure_;  // Written once, before failed_.
    std::atomic<std::int64_t> writing_since_{kNoWrite};

    mutable Mutex mutex_;
    EntryIndex index_ GUARDED_BY(mutex_);
};

}  // namespace nornic::engine
