#include "engine/log/recovery.h"

#include "engine/log/segment.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::engine {

const char* const kDamageAdvice =
    "Nothing was changed. Keep a copy of the data directory; then restore it from a backup, or, in "
    "a cluster, empty it so that this member is rebuilt from the others.";

namespace {

auto damaged(const SegmentToScan& segment,
             const EntryIndex& index,
             std::uint64_t offset,
             std::string_view what,
             ErrorCode code = ErrorCode::kCorruption) {
    return fail(code,
                fmt::format("log segment {} is damaged at offset {}, where entry {} would come "
                            "next: {}. {}",
                            segment.path,
                            offset,
                            index.next().value,
                            what,
                            kDamageAdvice));
}

bool all_zero(std::string_view bytes) {
    return bytes.find_first_not_of('\0') == std::string_view::npos;
}

/// What lies behind the first invalid record of the newest segment.
struct Tail {
    std::uint64_t nonzero_end = 0;  // Offset after the last byte that is not 0; 0 if all are.
    std::optional<std::uint64_t> next_valid;  // The first valid record.
    bool proves_damage = false;  // A valid record says that `from` had been synced before it.
};

Result<Tail> read_tail(const SegmentToScan& segment, std::uint64_t from) {
    Tail tail;
    FileWindow window{segment.file, segment.size};
    constexpr std::uint64_t kStep = 4096;
    std::uint64_t offset = from;
    std::uint64_t record_end = 0;  // Inside a valid record no other one is searched.
    while (offset < segment.size) {
        NORNIC_TRY(const std::string_view bytes, window.at(offset, kStep));
        if (bytes.empty()) {
            break;
        }
        const std::size_t last = bytes.find_last_not_of('\0');
        if (last == std::string_view::npos) {
            offset += bytes.size();
            continue;
        }
        tail.nonzero_end = offset + last + 1;
        const std::uint64_t step_end = offset + bytes.size();
        for (std::uint64_t at = std::max(offset, record_end); at < step_end;
             at += kRecordAlignment) {
            NORNIC_TRY(const std::optional<RecordView> record,
                       window.record(at, segment.header.salt));
            if (!record) {
                continue;
            }
            tail.next_valid = tail.next_valid.value_or(at);
            if (std::uint64_t{record->header.synced} * kRecordAlignment > from) {
                tail.proves_damage = true;
                return tail;
            }
            record_end = at + record->bytes();
            at = record_end - kRecordAlignment;
        }
        offset = step_end;
    }
    return tail;
}

/// Whether a sector of the record at `offset` was never written, as a power failure leaves it: it
/// is all zero, as the space was before. Rot does not look like that.
Result<bool> lost_a_sector(const SegmentToScan& segment,
                           std::uint64_t offset,
                           std::uint64_t next_valid) {
    FileWindow window{segment.file, segment.size};
    NORNIC_TRY(const std::string_view start, window.at(offset, kRecordAlignment));
    if (all_zero(start)) {
        return true;
    }
    NORNIC_TRY(const std::string_view head, window.at(offset, kRecordHeaderBytes));
    const std::uint64_t end = std::min(
        next_valid,
        offset + claimed_record_bytes(head, segment.header.salt).value_or(kRecordHeaderBytes));
    for (std::uint64_t sector = offset / kSectorBytes * kSectorBytes; sector < end;
         sector += kSectorBytes) {
        const std::uint64_t from = std::max(sector, offset);
        const std::uint64_t to = std::min(sector + kSectorBytes, end);
        // A sector that a valid record begins in was written.
        if (next_valid < sector + kSectorBytes) {
            continue;
        }
        NORNIC_TRY(const std::string_view bytes, window.at(from, to - from));
        if (all_zero(bytes)) {
            return true;
        }
    }
    return false;
}

}  // namespace

Result<SegmentScan> scan_segment(const SegmentToScan& segment, EntryIndex& index) {
    if (segment.size < segment.header.created_bytes) {
        return damaged(segment,
                       index,
                       segment.size,
                       fmt::format("the file ends here, but was made {} bytes long",
                                   segment.header.created_bytes));
    }
    const std::uint64_t limit = segment.sealed ? segment.sealed->end : segment.size;
    if (limit > segment.size || limit < kSegmentHeaderBytes) {
        return damaged(segment,
                       index,
                       std::min(segment.size, limit),
                       fmt::format("the file is {} bytes long, but the next segment says that "
                                   "this one ends at {}",
                                   segment.size,
                                   limit));
    }
    SegmentScan scan;
    scan.end = scan.proven = kSegmentHeaderBytes;
    scan.last_crc = segment.header.crc;
    FileWindow window{segment.file, limit};
    while (scan.end < limit) {
        NORNIC_TRY(const std::optional<RecordView> record,
                   window.record(scan.end, segment.header.salt));
        if (!record) {
            break;
        }
        if (record->header.previous_crc != scan.last_crc) {
            return damaged(
                segment, index, scan.end, "a valid record does not follow the one before it");
        }
        const Result<> followed = index.follow(record->header, record->payload, scan.end);
        if (!followed) {
            return damaged(
                segment, index, scan.end, followed.error().message(), followed.error().code());
        }
        scan.ends_with_mark =
            record->header.type == RecordType::kMark ||
            ((record->header.type == RecordType::kHardState ||
              record->header.type == RecordType::kHardStateExtra) &&
             scan.end == kSegmentHeaderBytes);
        scan.proven =
            std::max(scan.proven, std::uint64_t{record->header.synced} * kRecordAlignment);
        scan.last_crc = record->header.crc;
        scan.end += record->bytes();
    }
    scan.torn_end = scan.end;
    if (segment.sealed) {
        if (scan.end != limit || scan.last_crc != segment.sealed->last_crc) {
            return damaged(segment,
                           index,
                           scan.end,
                           fmt::format("no valid record here, though a later segment exists and "
                                       "says that this one goes on to offset {}",
                                       limit));
        }
        scan.proven = scan.end;
        return scan;
    }
    NORNIC_TRY(const Tail tail, read_tail(segment, scan.end));
    if (tail.proves_damage) {
        return damaged(
            segment, index, scan.end, "no valid record here, and later ones prove that there was");
    }
    if (tail.next_valid) {
        // All that follows may come from writes that were not synced yet, of which a power failure
        // keeps some sectors and loses others. Then a sector is missing; else it is rot.
        NORNIC_TRY(const bool lost, lost_a_sector(segment, scan.end, *tail.next_valid));
        if (!lost) {
            return damaged(
                segment,
                index,
                scan.end,
                fmt::format("no valid record here, but one at offset {}", *tail.next_valid));
        }
    }
    if (scan.end < scan.proven) {
        return damaged(
            segment, index, scan.end, fmt::format("records were synced up to {}", scan.proven));
    }
    scan.torn_end = std::max(scan.end, tail.nonzero_end);
    return scan;
}

}  // namespace nornic::engine
