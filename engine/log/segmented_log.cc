#include "engine/log/segmented_log.h"

#include "base/check.h"
#include "base/mutex.h"
#include "base/random.h"
#include "engine/log/codec.h"
#include "engine/log/entry_index.h"
#include "engine/log/recovery.h"
#include "engine/log/segment.h"
#include "engine/log/segment_pool.h"
#include "observability/log.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <utility>

namespace nornic::engine {
namespace {

/// Entries leave this much of a segment to hard states, so that a vote finds room on a full disk.
constexpr std::uint64_t kHardStateSlackBytes = 4096;
constexpr std::uint64_t kVotedForBytesMax = 1024;
constexpr std::uint64_t kSegmentBytesMin = std::uint64_t{16} << 10;
/// Offsets are kept in 32 bits of kRecordAlignment units.
constexpr std::uint64_t kSegmentBytesMax = std::uint64_t{32} << 30;
/// How long an answer about free space is believed while there is enough.
constexpr Duration kRoomBelievedFor = std::chrono::milliseconds{200};
/// An encoding buffer over this is given back after use.
constexpr std::size_t kBufferBytesKept = std::size_t{1} << 20;
/// Entries whose places a reader takes at a time.
constexpr std::size_t kReadChunkEntries = 4096;

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
    Result<> truncate_before(LogIndex first_kept) override;
    Result<> reset(LogIndex next, Term previous_term) override;
    std::optional<Deadline> sync_running_since() const override {
        const std::int64_t since = sync_since_.load(std::memory_order_acquire);
        return since == kNoSync ? std::nullopt : std::optional{Deadline{Duration{since}}};
    }
    std::uint64_t disk_bytes() const override;

private:
    static constexpr std::int64_t kNoSync = INT64_MIN;

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
    Result<> write_one(const std::function<void(RecordEncoder&)>& encode);
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
    std::atomic<std::int64_t> sync_since_{kNoSync};

    mutable Mutex mutex_;
    EntryIndex index_ GUARDED_BY(mutex_);
};

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
    sync_since_.store(start.time_since_epoch().count(), std::memory_order_release);
    const Result<> synced = file.sync_data();
    sync_since_.store(kNoSync, std::memory_order_release);
    const Duration took = clock_.now() - start;
    if (took >= settings_.sync_warn_after) {
        warn(fmt::format("log: a sync in {} took {} ms; the disk stalls",
                         settings_.directory,
                         std::chrono::duration_cast<std::chrono::milliseconds>(took).count()));
    }
    return synced;
}

// Opening.

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
        if (write_one([](RecordEncoder& to) { to.add_mark(); })) {
            (void)sync();
        }
    }
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
        kSegmentHeaderBytes + record_bytes(hard_state.voted_for.size());
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
    if (bytes > kSegmentBytesMax / 2) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("a batch of {} bytes is more than a log segment can hold", bytes));
    }
    NORNIC_TRY(check_reserve());
    NORNIC_TRY(make_room(bytes, kHardStateSlackBytes));

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

Result<> SegmentedLog::write_one(const std::function<void(RecordEncoder&)>& encode) {
    NORNIC_TRY(make_room(record_bytes(kVotedForBytesMax), 0));
    RecordEncoder records = encoder();
    encode(records);
    NORNIC_TRY(write_buffer());
    const MutexLock lock{mutex_};
    advance(records);
    return success();
}

Result<> SegmentedLog::set_hard_state(const HardState& state) {
    NORNIC_TRY(check_alive());
    if (state.voted_for.size() > kVotedForBytesMax) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("a member's name of {} bytes is over the limit of {}",
                                state.voted_for.size(),
                                kVotedForBytesMax));
    }
    NORNIC_TRY(write_one([&state](RecordEncoder& to) { to.add_hard_state(state); }));
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

Result<> SegmentedLog::truncate_before(LogIndex first_kept) {
    // What follows a dropped segment must not depend on records that a crash could still lose.
    NORNIC_TRY(sync());
    while (true) {
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
}

Result<> SegmentedLog::reset(LogIndex next, Term previous_term) {
    NORNIC_CHECK(next.value > 0, "reset to entry 0");
    NORNIC_TRY(check_alive());
    NORNIC_TRY(write_one([&](RecordEncoder& to) { to.add_reset(next, previous_term); }));
    {
        const MutexLock lock{mutex_};
        index_.restart(next, previous_term);
    }
    return truncate_before(next);
}

}  // namespace

Result<std::unique_ptr<Log>> open_segmented_log_on(const LogSettings& settings,
                                                   Clock& clock,
                                                   LogWorld world) {
    NORNIC_CHECK(world.file_system != nullptr, "no file system");
    if (settings.segment_bytes < kSegmentBytesMin ||
        settings.segment_bytes > kSegmentBytesMax / 2 ||
        settings.segment_bytes % kSegmentHeaderBytes != 0) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("log segments of {} bytes: expected a multiple of {} from {} to {}",
                                settings.segment_bytes,
                                kSegmentHeaderBytes,
                                kSegmentBytesMin,
                                kSegmentBytesMax / 2));
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
