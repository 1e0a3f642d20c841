#include "base/check.h"
#include "engine/log/segmented_log_impl.h"

#include <fmt/format.h>

namespace nornic::engine {
namespace {

constexpr std::uint64_t kSegmentBytesMin = std::uint64_t{16} << 10;

}  // namespace

Result<> SegmentedLog::open() {
    NORNIC_TRY(file_system_.make_directories(settings_.directory));
    NORNIC_TRY(directory_lock_, file_system_.lock(settings_.directory));
    NORNIC_TRY(const std::vector<std::string> names, file_system_.list(settings_.directory));
    std::vector<std::uint64_t> sequences;
    for (const std::string& name : names) {
        if (const std::optional<std::uint64_t> sequence = segment_sequence(name)) {
            sequences.push_back(*sequence);
        }
    }
    pool_.adopt(names);
    if (sequences.empty()) {
        NORNIC_TRY(roll(0));
    } else {
        NORNIC_TRY(recover(sequences));
    }
    {
        const MutexLock lock{mutex_};
        recovery_.first = index_.first();
        recovery_.last = index_.last();
        recovery_.last_term = index_.last_term();
        recovery_.hard_state = index_.hard_state();
    }
    if (active_->prepared < settings_.segment_bytes) {
        pool_.want_spare();
    }
    return success();
}

Result<SegmentHeader> SegmentedLog::read_header(std::uint64_t sequence) {
    const std::string path = join_path(settings_.directory, segment_name(sequence));
    NORNIC_TRY(const std::unique_ptr<File> file, file_system_.open(path, OpenMode::kExisting));
    std::string bytes(kSegmentHeaderBytes, '\0');
    NORNIC_TRY(const std::size_t got, file->read(0, bytes));
    bytes.resize(got);
    auto header = decode_segment_header(bytes, path);
    if (!header) {
        if (header.error().code() == ErrorCode::kCorruption) {
            return fail(ErrorCode::kCorruption,
                        fmt::format("{}. {}", header.error().message(), kDamageAdvice));
        }
        return header;
    }
    if (header.value().sequence != sequence) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("log segment {} says that it is number {:x}: the file was renamed "
                                "or copied. {}",
                                path,
                                header.value().sequence,
                                kDamageAdvice));
    }
    return header;
}

Result<> SegmentedLog::recover(const std::vector<std::uint64_t>& sequences) {
    for (std::size_t i = 1; i < sequences.size(); ++i) {
        if (sequences[i] != sequences[i - 1] + 1) {
            return fail(
                ErrorCode::kCorruption,
                fmt::format("log segment {} is missing, but {} exists. {}",
                            join_path(settings_.directory, segment_name(sequences[i - 1] + 1)),
                            segment_name(sequences[i]),
                            kDamageAdvice));
        }
    }
    for (std::size_t i = 0; i < sequences.size(); ++i) {
        const bool newest = i + 1 == sequences.size();
        SegmentHeader next;
        if (!newest) {
            NORNIC_TRY(next, read_header(sequences[i + 1]));
        }
        NORNIC_TRY(recover_segment(sequences[i], newest, newest ? nullptr : &next));
    }
    return success();
}

Result<> SegmentedLog::recover_segment(std::uint64_t sequence,
                                       bool newest,
                                       const SegmentHeader* next) {
    NORNIC_TRY(const SegmentHeader header, read_header(sequence));
    auto segment = std::make_shared<Segment>();
    segment->sequence = sequence;
    segment->salt = header.salt;
    segment->path = join_path(settings_.directory, segment_name(sequence));
    NORNIC_TRY(segment->file, file_system_.open(segment->path, OpenMode::kExisting));
    NORNIC_TRY(const std::uint64_t size, segment->file->size());
    segment->prepared = size;

    MutexLock lock{mutex_};
    if (index_.segments().empty()) {
        if (header.first_index.value == 0) {
            return fail(
                ErrorCode::kCorruption,
                fmt::format("log segment {} begins at entry 0. {}", segment->path, kDamageAdvice));
        }
        index_.restart(header.first_index, header.previous_term);
    } else if (header.first_index != index_.next() || header.previous_term != index_.last_term()) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("log segment {} begins at entry {} after term {}, but the segments "
                                "before it end at entry {} of term {}. {}",
                                segment->path,
                                header.first_index.value,
                                header.previous_term.value,
                                index_.last().value,
                                index_.last_term().value,
                                kDamageAdvice));
    }
    index_.add_segment(segment);
    std::optional<SegmentToScan::Sealed> sealed;
    if (next != nullptr) {
        sealed = SegmentToScan::Sealed{next->previous_end, next->previous_crc};
    }
    NORNIC_TRY(const SegmentScan scan,
               scan_segment({*segment->file, segment->path, header, size, sealed}, index_));
    segment->end = scan.end;
    segment->last_crc = scan.last_crc;
    lock.unlock();
    if (newest) {
        NORNIC_TRY(settle_tail(*segment, scan));
        active_ = std::move(segment);
        synced_ = active_->end;
        marked_ = scan.ends_with_mark;
        recovery_.torn_bytes_cut = scan.torn_end - scan.end;
    }
    return success();
}

Result<> SegmentedLog::settle_tail(Segment& segment, const SegmentScan& scan) {
    // What the last process did not know to be on disk may be in the page cache only, and after a
    // failed sync the cache calls such pages clean: writing the bytes again is what makes the sync
    // below mean something.
    FileWindow window{*segment.file, scan.end};
    for (std::uint64_t at = scan.proven; at < scan.end;) {
        NORNIC_TRY(const std::string_view bytes, window.at(at, kZeroChunkBytes));
        if (bytes.empty()) {
            return fail(ErrorCode::kIo,
                        fmt::format("{} became shorter while it was read", segment.path));
        }
        NORNIC_TRY(segment.file->write(at, bytes));
        at += bytes.size();
    }
    // Torn bytes must not be found behind records to come.
    NORNIC_TRY(write_zeros(*segment.file, scan.end, scan.torn_end));
    if (scan.torn_end > scan.proven) {
        NORNIC_TRY(timed_sync(*segment.file));
    }
    return success();
}

void SegmentedLog::close() {
    // After an orderly stop a mark proves that all before it was on disk, so that later damage to
    // the last records is told from a torn write. Best effort: without it nothing is lost.
    if (active_ && !failed_.load() && sync() && !marked_) {
        if (write_one(record_bytes(0), [](RecordEncoder& to) { to.add_mark(); })) {
            (void)sync();
        }
    }
}

Result<std::unique_ptr<Log>> open_segmented_log_on(const LogSettings& settings,
                                                   Clock& clock,
                                                   LogWorld world) {
    NORNIC_CHECK(world.file_system != nullptr, "no file system");
    if (settings.segment_bytes < kSegmentBytesMin ||
        settings.segment_bytes > kLogSegmentBytesMax / 2 ||
        settings.segment_bytes % kSegmentHeaderBytes != 0) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("log segments of {} bytes: expected a multiple of {} from {} to {}",
                                settings.segment_bytes,
                                kSegmentHeaderBytes,
                                kSegmentBytesMin,
                                kLogSegmentBytesMax / 2));
    }
    auto log = std::make_unique<SegmentedLog>(settings, clock, std::move(world));
    NORNIC_TRY(log->open());
    return std::unique_ptr<Log>{std::move(log)};
}

Result<std::unique_ptr<Log>> open_segmented_log(const LogSettings& settings, Clock& clock) {
    LogWorld world;
    world.file_system = &posix_file_system();
    return open_segmented_log_on(settings, clock, std::move(world));
}

}  // namespace nornic::engine
