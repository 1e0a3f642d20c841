#include "engine/log/segment_pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace nornic::engine {
namespace {

constexpr std::string_view kSparePrefix = "spare-";

}  // namespace

SegmentPool::SegmentPool(FileSystem& file_system, Settings settings)
    : file_system_{file_system}, settings_{std::move(settings)} {}

SegmentPool::~SegmentPool() {
    {
        const MutexLock lock{mutex_};
        stopping_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) {
        thread_.join();
    }
}

void SegmentPool::adopt(const std::vector<std::string>& names) {
    const MutexLock lock{mutex_};
    for (const std::string& name : names) {
        if (!name.starts_with(kSparePrefix)) {
            continue;
        }
        std::uint64_t number = 0;
        std::from_chars(name.data() + kSparePrefix.size(), name.data() + name.size(), number, 16);
        spare_number_ = std::max(spare_number_.load(), number + 1);
        const std::string path = join_path(settings_.directory, name);
        auto file = file_system_.open(path, OpenMode::kExisting);
        const auto size = file ? file.value()->size() : Result<std::uint64_t>{std::uint64_t{0}};
        if (!size || size.value() != settings_.segment_bytes || unzeroed_.size() >= kSparesMax) {
            // A spare holds nothing; one that cannot be deleted is only lost space.
            (void)file_system_.remove(path);
            continue;
        }
        spare_bytes_ += size.value();
        unzeroed_.push_back({std::move(file).value(), path, 0, size.value()});
    }
}

std::string SegmentPool::next_path() {
    return join_path(settings_.directory,
                     fmt::format("{}{:016x}", kSparePrefix, spare_number_.fetch_add(1)));
}

Result<SegmentPool::Spare> SegmentPool::create(std::uint64_t bytes) {
    Spare spare;
    spare.path = next_path();
    NORNIC_TRY(spare.file, file_system_.open(spare.path, OpenMode::kCreate));
    const Result<> written = write_zeros(*spare.file, 0, bytes);
    if (!written) {
        (void)file_system_.remove(spare.path);
        return boost::outcome_v2::failure(written.error());
    }
    spare.prepared = spare.size = bytes;
    return spare;
}

Result<SegmentPool::Spare> SegmentPool::take(std::uint64_t bytes) {
    Spare spare;
    {
        const MutexLock lock{mutex_};
        if (bytes <= settings_.segment_bytes) {
            if (!ready_.empty()) {
                spare = std::move(ready_.front());
                ready_.pop_front();
                has_ready_ = !ready_.empty();
            } else if (!settings_.background && !unzeroed_.empty()) {
                spare = std::move(unzeroed_.front());
                unzeroed_.pop_front();
            }
        }
    }
    if (!spare.file) {
        return create(std::max(bytes, std::min(kZeroChunkBytes, settings_.segment_bytes)));
    }
    spare_bytes_ -= spare.size;
    if (spare.prepared < spare.size) {
        const Result<> zeroed = write_zeros(*spare.file, spare.prepared, spare.size);
        if (!zeroed) {
            discard(std::move(spare));
            return boost::outcome_v2::failure(zeroed.error());
        }
        spare.prepared = spare.size;
    }
    return spare;
}

void SegmentPool::discard(Spare spare) {
    (void)file_system_.remove(spare.path);
}

Result<> SegmentPool::recycle(std::shared_ptr<Segment> segment) {
    segment->recycled.store(true);
    const std::uint64_t size = segment->prepared;
    bool keep = size == settings_.segment_bytes;
    if (keep) {
        const MutexLock lock{mutex_};
        keep = ready_.size() + unzeroed_.size() + (working_ ? 1 : 0) < kSparesMax;
    }
    if (!keep) {
        NORNIC_TRY(file_system_.remove(segment->path));
        return file_system_.sync_directory(settings_.directory);
    }
    Spare spare;
    spare.path = next_path();
    spare.size = size;
    NORNIC_TRY(file_system_.rename(segment->path, spare.path));
    NORNIC_TRY(file_system_.sync_directory(settings_.directory));
    // Its own descriptor: a reader may still hold the segment's.
    NORNIC_TRY(spare.file, file_system_.open(spare.path, OpenMode::kExisting));
    spare_bytes_ += size;
    {
        const MutexLock lock{mutex_};
        unzeroed_.push_back(std::move(spare));
    }
    changed_.notify_all();
    return success();
}

void SegmentPool::want_spare() {
    if (!settings_.background) {
        return;
    }
    {
        const MutexLock lock{mutex_};
        if (wanted_ || !ready_.empty()) {
            return;
        }
        wanted_ = true;
        if (!thread_.joinable()) {
            thread_ = std::thread{[this] { run(); }};
        }
    }
    changed_.notify_all();
}

bool SegmentPool::zero_a_chunk(Spare& spare) {
    const std::uint64_t to = std::min(spare.prepared + kZeroChunkBytes, settings_.segment_bytes);
    if (!write_zeros(*spare.file, spare.prepared, to) || !spare.file->sync_data()) {
        return false;
    }
    spare.prepared = to;
    return true;
}

void SegmentPool::run() {
    Spare spare;  // The one in the making.
    MutexLock lock{mutex_};
    while (!stopping_) {
        if (!wanted_ || !ready_.empty()) {
            wanted_ = false;
            changed_.wait(lock);
            continue;
        }
        working_ = true;
        if (!spare.file && !unzeroed_.empty()) {
            spare = std::move(unzeroed_.front());
            unzeroed_.pop_front();
        }
        lock.unlock();
        const bool usable = (spare.file || begin_spare(spare)) && zero_a_chunk(spare);
        if (!usable && spare.file) {
            spare_bytes_ -= spare.size;
            discard(std::exchange(spare, Spare{}));
        }
        lock.lock();
        working_ = spare.file != nullptr;
        if (!usable) {
            wanted_ = false;  // The log asks again as it fills.
        } else if (spare.prepared >= settings_.segment_bytes) {
            ready_.push_back(std::exchange(spare, Spare{}));
            has_ready_ = true;
            wanted_ = working_ = false;
        }
    }
}

bool SegmentPool::begin_spare(Spare& spare) {
    const auto free = file_system_.free_bytes(settings_.directory);
    if (!free || free.value() < settings_.reserve_bytes + settings_.segment_bytes) {
        return false;
    }
    auto made = create(0);
    if (!made) {
        return false;
    }
    spare = std::move(made).value();
    spare.size = settings_.segment_bytes;
    spare_bytes_ += spare.size;
    return true;
}

}  // namespace nornic::engine
