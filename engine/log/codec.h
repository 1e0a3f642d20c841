// The bytes of a segment: its header and its records (docs/log_format.md). Pure functions.
#pragma once

#include "base/ids.h"
#include "base/result.h"
#include "engine/log.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace nornic::engine {

inline constexpr std::uint64_t kSegmentHeaderBytes = 4096;
inline constexpr std::uint64_t kRecordHeaderBytes = 48;
inline constexpr std::uint64_t kRecordAlignment = 8;
inline constexpr std::uint32_t kLogFormatVersion = 1;
/// What a disk writes whole or not at all.
inline constexpr std::uint64_t kSectorBytes = 512;
inline constexpr std::size_t kVotedForBytesMax = 1024;
inline constexpr std::size_t kHardStateExtraBytesMax = 4096;

/// The first page of a segment. It is durable before the segment has its final name.
struct SegmentHeader {
    std::uint64_t sequence = 0;       // Also the file's name.
    std::uint64_t salt = 0;           // New at each use of the file: old records never match it.
    std::uint64_t created_bytes = 0;  // The file was at least this long from the start.
    LogIndex first_index;             // The index that the next entry would get.
    Term previous_term;               // The term of the entry before it.
    std::uint64_t previous_end = 0;   // Where the segment before this one ends; 0 if none.
    std::uint32_t previous_crc = 0;   // The checksum of its last record.
    std::uint32_t crc = 0;            // Of this header; set by encode and decode.
};

/// kSegmentHeaderBytes bytes; sets header.crc.
std::string encode_segment_header(SegmentHeader& header);
/// `bytes`: the first kSegmentHeaderBytes of the file, or what there is. kCorruption naming `path`.
Result<SegmentHeader> decode_segment_header(std::string_view bytes, const std::string& path);

enum class RecordType : std::uint8_t {
    kEntry = 1,
    kHardState = 2,
    kCut = 3,  // Entries at or past `index` are dropped; `term` is that of the entry before.
    kReset =
        4,  // Everything is forgotten; the next entry is `index`, `term` that of the one before.
    kMark = 5,  // Only tells how far the segment was synced.
    kHardStateExtra = 6,  // A hard state whose `extra` is not empty.
};

/// A record's header as it stands in the file; little-endian like every machine we run on.
struct RecordHeader {
    std::uint32_t crc =
        0;  // CRC-32C of salt, offset, and all bytes of the record after this field.
    std::uint32_t length = 0;  // Of the payload, without padding.
    std::uint32_t tag = 0;     // From the salt; makes a search for records cheap.
    std::uint32_t previous_crc = 0;
    std::uint32_t synced =
        0;  // The segment was synced up to 8 times this offset before this record.
    RecordType type = RecordType::kEntry;
    EntryKind kind = EntryKind::kNoop;
    std::uint16_t zero = 0;
    std::uint64_t term = 0;
    std::uint64_t index = 0;
    std::uint64_t hybrid_time = 0;
};
static_assert(sizeof(RecordHeader) == kRecordHeaderBytes);

/// The length of a record with its header and its padding.
constexpr std::uint64_t record_bytes(std::uint64_t payload) noexcept {
    return (kRecordHeaderBytes + payload + kRecordAlignment - 1) / kRecordAlignment *
           kRecordAlignment;
}

std::uint32_t record_tag(std::uint64_t salt) noexcept;

/// kInvalidArgument if a part of it is over its limit.
Result<> check_hard_state(const HardState& state);
/// The length of its record.
std::uint64_t hard_state_record_bytes(const HardState& state);
/// From a record of type kHardState or kHardStateExtra. kCorruption with the reason alone.
Result<HardState> decode_hard_state(const RecordHeader& header, std::string_view payload);

/// Turns records into bytes one after another, as they will stand in a segment from `offset` on.
class RecordEncoder {
public:
    struct Place {
        std::uint64_t salt;
        std::uint64_t offset;
        std::uint32_t previous_crc;
        std::uint64_t synced;  // Offset up to which the segment is known to be on disk.
    };
    /// Appends to `out`, which the caller has emptied.
    RecordEncoder(std::string& out, const Place& place) : out_{out}, place_{place} {}

    /// type, kind, term, index and hybrid_time are taken from `header`; the rest is filled in.
    void add(RecordHeader header, std::string_view payload);
    void add_entry(const LogEntry& entry);
    void add_hard_state(const HardState& state);
    void add_cut(LogIndex from, Term previous_term);
    void add_reset(LogIndex next, Term previous_term);
    void add_mark();

    [[nodiscard]] std::uint64_t end() const noexcept { return place_.offset; }
    [[nodiscard]] std::uint32_t last_crc() const noexcept { return place_.previous_crc; }

private:
    std::string& out_;
    Place place_;
};

/// A record found in a segment; the payload points into the bytes it was read from.
struct RecordView {
    RecordHeader header;
    std::string_view payload;
    [[nodiscard]] std::uint64_t bytes() const noexcept { return record_bytes(payload.size()); }
};

/// How long the record at the start of `bytes` claims to be, or nullopt if no record of this salt
/// can start like that. Needs kRecordHeaderBytes bytes.
std::optional<std::uint64_t> claimed_record_bytes(std::string_view bytes, std::uint64_t salt);
/// The record at the start of `bytes`, which stands at `offset` of a segment with this salt.
std::optional<RecordView> decode_record(std::string_view bytes,
                                        std::uint64_t salt,
                                        std::uint64_t offset);

}  // namespace nornic::engine
