// Files for segments to come. Behind the log's back it zero-writes the rest of the segment in use
// and one spare, so that a writer waits for that only if it outruns it. Files of truncated segments
// come back here, are zeroed again and serve once more: their blocks stay allocated.
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
    /// Zero-writes a segment up to segment_bytes in the background.
    void grow_later(std::shared_ptr<Segment> segment);

    [[nodiscard]] std::uint64_t spare_bytes() const { return spare_bytes_.load(); }
    /// Whether the background has nothing left to do. For tests.
    [[nodiscard]] bool idle();

private:
    static constexpr std::size_t kSparesMax = 2;

    Result<Spare> create(std::uint64_t bytes);
    std::string next_path();
    void run();
    void grow_a_chunk(Segment& segment, File& file, bool& done);
    /// false if the spare could not be prepared; it is deleted then.
    bool zero_a_chunk(Spare& spare);

    FileSystem& file_system_;
    const Settings settings_;
    std::atomic<std::uint64_t> spare_number_{0};
    std::atomic<std::uint64_t> spare_bytes_{0};

    Mutex mutex_;
    ConditionVariable changed_;
    bool stopping_ GUARDED_BY(mutex_) = false;
    bool wanted_ GUARDED_BY(mutex_) = false;
    bool working_ GUARDED_BY(mutex_) = false;
    std::shared_ptr<Segment> growing_ GUARDED_BY(mutex_);
    std::deque<Spare> ready_ GUARDED_BY(mutex_);
    std::deque<Spare> unzeroed_ GUARDED_BY(mutex_);
    std::thread thread_;
};

}  // namespace nornic::engine
