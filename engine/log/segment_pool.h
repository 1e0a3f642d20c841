// Files for segments to come. Behind the log's back it zero-writes one spare, so that a writer
// waits for that only if it outruns it. It never touches the segment in use: a sync there would
// have to wait for the zeros. Files of truncated segments come back here, are zeroed again and
// serve once more: their blocks stay allocated.
#pragma once

#include "base/mutex.h"
#include "base/result.h"
#include "engine/log/file.h"
#include "engine/log/segment.h"

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace nornic::engine {

/// take() and recycle() belong to the log's writer; the rest is thread-safe.
class SegmentPool {
public:
    struct Settings {
        std::string directory;
        std::uint64_t segment_bytes;
        std::uint64_t reserve_bytes;
        bool background;  // false: no thread, all work at take(), for the simulator.
    };
    SegmentPool(FileSystem& file_system, Settings settings);
    ~SegmentPool();

    /// Takes over the spares that an earlier process left among `names`; deletes what is too many.
    void adopt(const std::vector<std::string>& names);

    struct Spare {
        std::unique_ptr<File> file;
        std::string path;
        std::uint64_t prepared = 0;  // Zero-written up to here, from 0 on.
        std::uint64_t size = 0;
    };
    /// A file zero-written for `bytes` at least; its name is a spare's until the caller renames it.
    Result<Spare> take(std::uint64_t bytes);
    /// Deletes a taken file again.
    void discard(Spare spare);
    /// Gives the file of a segment that is no longer needed; its old name is durably gone after.
    Result<> recycle(std::shared_ptr<Segment> segment);

    /// Prepares one whole spare in the background, if there is none.
    void want_spare();
    /// Whether take() would give a whole spare at once.
    [[nodiscard]] bool has_ready() const { return has_ready_.load(std::memory_order_acquire); }

    [[nodiscard]] std::uint64_t spare_bytes() const { return spare_bytes_.load(); }

private:
    static constexpr std::size_t kSparesMax = 2;

    Result<Spare> create(std::uint64_t bytes);
    std::string next_path();
    void run();
    /// false if there is no room for a new one.
    bool begin_spare(Spare& spare);
    /// false if the spare could not be prepared; it is deleted then.
    bool zero_a_chunk(Spare& spare);

    FileSystem& file_system_;
    const Settings settings_;
    std::atomic<std::uint64_t> spare_number_{0};
    std::atomic<std::uint64_t> spare_bytes_{0};
    std::atomic<bool> has_ready_{false};  // ready_ is not empty.

    Mutex mutex_;
    ConditionVariable changed_;
    bool stopping_ GUARDED_BY(mutex_) = false;
    bool wanted_ GUARDED_BY(mutex_) = false;
    bool working_ GUARDED_BY(mutex_) = false;  // The thread holds a spare that is in no list.
    std::deque<Spare> ready_ GUARDED_BY(mutex_);
    std::deque<Spare> unzeroed_ GUARDED_BY(mutex_);
    std::thread thread_;
};

}  // namespace nornic::engine
