#include "base/check.h"
#include "engine/log/segmented_log_impl.h"
#include "observability/log.h"

#include <fmt/format.h>

namespace nornic::engine {
namespace {

/// Entries leave this much of a segment, and at most a quarter, to hard states, so that a vote finds room on a full
/// disk.
constexpr std::uint64_t kHardStateSlackBytes = 16384;
static_assert(kHardStateSlackBytes > 2 * (record_bytes(kVotedForBytesMax + kHardStateExtraBytesMax) + 8));
/// How long an answer about free space is believed while there is enough.
constexpr Duration kRoomBelievedFor = std::chrono::milliseconds{200};
/// An encoding buffer over this is given back after use.
constexpr std::size_t kBufferBytesKept = std::size_t{1} << 20;
/// Entries whose places a reader takes at a time.
constexpr std::size_t kReadChunkEntries = 4096;

}  // namespace

void SegmentedLog::warn(const std::string& line) const {
    if (warn_) {
        warn_(line);
    } else {
        nornic::log::write(nornic::log::Level::kWarn, line);
    }
}

Result<> SegmentedLog::check_alive() const {
    if (failed_.load()) {
        return fail(ErrorCode::kIo,
                    fmt::format("the log in {} failed ({}) and takes no more writes: restart the "
                                "process, so that it verifies the log from the disk",
                                settings_.directory,
                                failure_));
    }
    return success();
}

Result<> SegmentedLog::break_with(const Error& reason) {
    if (!failed_.load()) {
        failure_ = reason.message();
        failed_.store(true);
    }
    return check_alive();
}

Result<> SegmentedLog::timed_sync(File& file) {
    const Deadline start = clock_.now();
    const Writing writing{*this};
    const Result<> synced = file.sync_data();
    const Duration took = clock_.now() - start;
    if (took >= settings_.sync_warn_after) {
        warn(fmt::format("log: a sync in {} took {} ms; the disk stalls",
                         settings_.directory,
                         std::chrono::duration_cast<std::chrono::milliseconds>(took).count()));
    }
    return synced;
}

// Writing.

RecordEncoder SegmentedLog::encoder() {
    buffer_.clear();
    return RecordEncoder{buffer_, {active_->salt, active_->end, active_->last_crc, synced_}};
}

void SegmentedLog::advance(const RecordEncoder& encoder) {
    active_->end = encoder.end();
    active_->last_crc = encoder.last_crc();
    marked_ = false;
}

Result<> SegmentedLog::write_buffer() {
    const Result<> written = active_->file->write(active_->end, buffer_);
    if (written) {
        return success();
    }
    if (written.error().code() != ErrorCode::kDiskFull) {
        return break_with(written.error());
    }
    // Whole records may have been written, and must not come back after a crash.
    Result<> undone = write_zeros(*active_->file, active_->end, active_->end + buffer_.size());
    if (undone) {
        undone = timed_sync(*active_->file);
    }
    if (!undone) {
        return break_with(undone.error());
    }
    return written;
}

Result<> SegmentedLog::check_reserve() {
    const Deadline now = clock_.now();
    if (room_seen_at_ && now - *room_seen_at_ < kRoomBelievedFor) {
        return success();
    }
    room_seen_at_.reset();
    NORNIC_TRY(const std::uint64_t free, file_system_.free_bytes(settings_.directory));
    if (free < settings_.reserve_bytes) {
        return fail(ErrorCode::kDiskFull,
                    fmt::format("the disk of {} has {} bytes free, less than the reserve of {}; "
                                "nothing was written",
                                settings_.directory,
                                free,
                                settings_.reserve_bytes));
    }
    room_seen_at_ = now;
    return success();
}

Result<> SegmentedLog::make_room(std::uint64_t bytes, std::uint64_t slack) {
    const std::uint64_t need = active_->end + bytes + slack;
    if (need > active_->prepared) {
        // A segment that began small (the first of all, or one that was needed before a spare was
        // ready) is left for a whole one as soon as there is one, else extended.
        if (need > settings_.segment_bytes || pool_.has_ready()) {
            NORNIC_TRY(roll(bytes + slack));
        } else {
            NORNIC_TRY(extend(std::max(
                need, std::min(active_->prepared + kZeroChunkBytes, settings_.segment_bytes))));
        }
    }
    if ((need > settings_.segment_bytes / 2 || active_->prepared < settings_.segment_bytes) &&
        need >= spare_asked_at_) {
        pool_.want_spare();
        spare_asked_at_ = need + settings_.segment_bytes / 16;
    }
    return success();
}

Result<> SegmentedLog::extend(std::uint64_t to) {
    Result<> extended = write_zeros(*active_->file, active_->prepared, to);
    if (!extended && extended.error().code() == ErrorCode::kDiskFull) {
        return extended;  // What was written of the zeros does no harm.
    }
    if (extended) {
        extended = timed_sync(*active_->file);
    }
    if (!extended) {
        return break_with(extended.error());
    }
    const MutexLock lock{mutex_};
    active_->prepared = to;
    return success();
}

Result<> SegmentedLog::roll(std::uint64_t bytes) {
    HardState hard_state;
    SegmentHeader header;
    header.sequence = 1;
    {
        const MutexLock lock{mutex_};
        hard_state = index_.hard_state();
        header.first_index = index_.next();
        header.previous_term = index_.last_term();
    }
    if (active_) {
        // A segment is complete before the next one exists; so only the newest can be torn.
        NORNIC_TRY(sync());
        header.sequence = active_->sequence + 1;
        header.previous_end = active_->end;
        header.previous_crc = active_->last_crc;
    }
    const std::uint64_t head_bytes =
        kSegmentHeaderBytes + hard_state_record_bytes(hard_state);
    auto taken = pool_.take(head_bytes + bytes);
    if (!taken) {
        return taken.error().code() == ErrorCode::kDiskFull ? Result<>{taken.error()}
                                                            : break_with(taken.error());
    }
    SegmentPool::Spare spare = std::move(taken).value();
    header.salt = random_.next();
    header.created_bytes = spare.prepared;
    std::string head = encode_segment_header(header);
    RecordEncoder records{head,
                          {header.salt, kSegmentHeaderBytes, header.crc, kSegmentHeaderBytes}};
    records.add_hard_state(hard_state);
    Result<> made = spare.file->write(0, head);
    if (made) {
        made = timed_sync(*spare.file);
    }
    if (!made) {
        pool_.discard(std::move(spare));
        return made.error().code() == ErrorCode::kDiskFull ? made : break_with(made.error());
    }
    auto segment = std::make_shared<Segment>();
    segment->sequence = header.sequence;
    segment->salt = header.salt;
    segment->path = join_path(settings_.directory, segment_name(header.sequence));
    made = file_system_.rename(spare.path, segment->path);
    if (made) {
        made = file_system_.sync_directory(settings_.directory);
    }
    if (!made) {
        return break_with(made.error());
    }
    segment->file = std::move(spare.file);
    segment->prepared = spare.prepared;
    segment->end = records.end();
    segment->last_crc = records.last_crc();
    {
        const MutexLock lock{mutex_};
        index_.add_segment(segment);
    }
    active_ = segment;
    synced_ = active_->end;
    marked_ = true;
    spare_asked_at_ = 0;
    if (active_->prepared < settings_.segment_bytes) {
        pool_.want_spare();
    }
    return success();
}

Result<> SegmentedLog::append(std::span<const LogEntry> entries) {
    NORNIC_TRY(check_alive());
    if (entries.empty()) {
        return success();
    }
    const Writing writing{*this};
    const LogIndex from = entries.front().index;
    std::optional<Term> cut_term;
    {
        const MutexLock lock{mutex_};
        NORNIC_CHECK(from >= index_.first() && from <= index_.next(),
                     "append at {} to a log of [{}, {})",
                     from.value,
                     index_.first().value,
                     index_.next().value);
        if (from < index_.next()) {
            cut_term = index_.term_at(LogIndex{from.value - 1});
        }
    }
    std::uint64_t bytes = cut_term ? record_bytes(0) : 0;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        NORNIC_CHECK(entries[i].index.value == from.value + i,
                     "entry {} at place {} after {}",
                     entries[i].index.value,
                     i,
                     from.value);
        if (entries[i].payload.size() > settings_.entry_bytes_max) {
            return fail(ErrorCode::kInvalidArgument,
                        fmt::format("a log entry of {} bytes is over the limit of {}",
                                    entries[i].payload.size(),
                                    settings_.entry_bytes_max));
        }
        bytes += record_bytes(entries[i].payload.size());
    }
    if (bytes > kLogSegmentBytesMax / 2) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("a batch of {} bytes is more than a log segment can hold", bytes));
    }
    NORNIC_TRY(check_reserve());
    NORNIC_TRY(make_room(bytes, std::min(kHardStateSlackBytes, settings_.segment_bytes / 4)));

    RecordEncoder records = encoder();
    buffer_.reserve(bytes);
    if (cut_term) {
        records.add_cut(from, *cut_term);
    }
    for (const LogEntry& entry : entries) {
        records.add_entry(entry);
    }
    NORNIC_TRY(write_buffer());
    {
        const MutexLock lock{mutex_};
        if (cut_term) {
            index_.cut(from, *cut_term);
        }
        std::uint64_t offset = active_->end + (cut_term ? record_bytes(0) : 0);
        for (const LogEntry& entry : entries) {
            index_.add_entry(entry.index, entry.term, offset);
            offset += record_bytes(entry.payload.size());
        }
        advance(records);
    }
    if (buffer_.capacity() > kBufferBytesKept) {
        buffer_ = std::string{};
    }
    return success();
}

Result<> SegmentedLog::write_one(std::uint64_t bytes, const std::function<void(RecordEncoder&)>& encode) {
    const Writing writing{*this};
    NORNIC_TRY(make_room(bytes, 0));
    RecordEncoder records = encoder();
    encode(records);
    NORNIC_TRY(write_buffer());
    const MutexLock lock{mutex_};
    advance(records);
    return success();
}

Result<> SegmentedLog::set_hard_state(const HardState& state) {
    NORNIC_TRY(check_alive());
    NORNIC_TRY(check_hard_state(state));
    NORNIC_TRY(write_one(hard_state_record_bytes(state),
                         [&state](RecordEncoder& to) { to.add_hard_state(state); }));
    const MutexLock lock{mutex_};
    index_.set_hard_state(state);
    return success();
}

Result<> SegmentedLog::sync() {
    NORNIC_TRY(check_alive());
    if (synced_ == active_->end) {
        return success();
    }
    const Result<> synced = timed_sync(*active_->file);
    if (!synced) {
        return break_with(synced.error());
    }
    synced_ = active_->end;
    return success();
}

// Reading.

Result<> SegmentedLog::read(LogIndex from,
                            LogIndex to,
                            const std::function<bool(const LogEntry&)>& visit) {
    LogEntry entry;
    std::vector<std::uint32_t> places;
    while (from <= to) {
        std::shared_ptr<Segment> segment;
        std::uint64_t limit = 0;
        {
            const MutexLock lock{mutex_};
            if (from < index_.first()) {
                return fail(ErrorCode::kNotFound,
                            fmt::format("the log in {} begins at entry {}; entry {} is gone",
                                        settings_.directory,
                                        index_.first().value,
                                        from.value));
            }
            if (from >= index_.next()) {
                return success();
            }
            segment = index_.find(from);
            const std::size_t skip = from.value - segment->first.value;
            const std::size_t held = segment->offsets.size() - skip;
            const std::size_t count =
                std::min<std::size_t>({held,
                                       kReadChunkEntries,
                                       static_cast<std::size_t>(std::min<std::uint64_t>(
                                           to.value - from.value, UINT32_MAX)) +
                                           1});
            const auto begin = segment->offsets.begin() + static_cast<std::ptrdiff_t>(skip);
            places.assign(begin, begin + static_cast<std::ptrdiff_t>(count));
            limit = count < held ? std::uint64_t{*(begin + static_cast<std::ptrdiff_t>(count))} *
                                       kRecordAlignment
                                 : segment->end;
        }
        // A new window for each chunk: what it read ahead may have been written since.
        FileWindow window{*segment->file, limit};
        for (const std::uint32_t place : places) {
            const std::uint64_t offset = std::uint64_t{place} * kRecordAlignment;
            NORNIC_TRY(const std::optional<RecordView> record,
                       window.record(offset, segment->salt));
            if (!record || record->header.type != RecordType::kEntry ||
                record->header.index != from.value) {
                if (segment->recycled.load()) {
                    return fail(
                        ErrorCode::kNotFound,
                        fmt::format("entry {} was truncated while it was read", from.value));
                }
                return fail(ErrorCode::kCorruption,
                            fmt::format("log segment {} is damaged at offset {}: entry {} is not "
                                        "what was written there. {}",
                                        segment->path,
                                        offset,
                                        from.value,
                                        kDamageAdvice));
            }
            entry.term = Term{record->header.term};
            entry.index = from;
            entry.hybrid_time = record->header.hybrid_time;
            entry.kind = record->header.kind;
            entry.payload.assign(record->payload);
            if (!visit(entry)) {
                return success();
            }
            ++from;
        }
    }
    return success();
}

Result<Term> SegmentedLog::term_at(LogIndex index) {
    const MutexLock lock{mutex_};
    if (const std::optional<Term> term = index_.term_at(index)) {
        return *term;
    }
    return fail(ErrorCode::kNotFound,
                fmt::format("the log in {} holds entries {} to {}, not {}",
                            settings_.directory,
                            index_.first().value,
                            index_.last().value,
                            index.value));
}

std::uint64_t SegmentedLog::disk_bytes() const {
    std::uint64_t bytes = pool_.spare_bytes();
    const MutexLock lock{mutex_};
    for (const std::shared_ptr<Segment>& segment : index_.segments()) {
        bytes += segment->prepared;
    }
    return bytes;
}

// Truncation.

Result<> SegmentedLog::truncate_after(LogIndex last) {
    NORNIC_TRY(check_alive());
    const LogIndex from{last.value + 1};
    Term previous_term;
    {
        const MutexLock lock{mutex_};
        NORNIC_CHECK(from >= index_.first(), "cut at {}, first {}", from.value, index_.first().value);
        if (from >= index_.next()) {
            return success();
        }
        previous_term = *index_.term_at(last);
    }
    NORNIC_TRY(write_one(record_bytes(0), [&](RecordEncoder& to) { to.add_cut(from, previous_term); }));
    const MutexLock lock{mutex_};
    index_.cut(from, previous_term);
    return success();
}

Result<> SegmentedLog::recycle_before(LogIndex first_kept, std::size_t segments_max) {
    // What follows a dropped segment must not depend on records that a crash could still lose.
    NORNIC_TRY(sync());
    const Writing writing{*this};
    for (std::size_t i = 0; i < segments_max; ++i) {
        std::shared_ptr<Segment> segment;
        {
            const MutexLock lock{mutex_};
            segment = index_.take_oldest_before(first_kept);
        }
        if (!segment) {
            return success();
        }
        // One at a time and durably, so that a crash never leaves a gap.
        const Result<> recycled = pool_.recycle(std::move(segment));
        if (!recycled) {
            return break_with(recycled.error());
        }
    }
    return success();
}

Result<> SegmentedLog::reset(LogIndex next, Term previous_term) {
    NORNIC_CHECK(next.value > 0, "reset to entry 0");
    NORNIC_TRY(check_alive());
    NORNIC_TRY(write_one(record_bytes(0),
                         [&](RecordEncoder& to) { to.add_reset(next, previous_term); }));
    {
        const MutexLock lock{mutex_};
        index_.restart(next, previous_term);
    }
    return recycle_before(next, SIZE_MAX);
}

}  // namespace nornic::engine
