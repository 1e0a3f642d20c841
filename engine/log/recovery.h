// Reading a segment back: what is valid, what a crash tore, what is damage (docs/log_format.md,
// "Recovery"). A torn tail is the mark of a power failure amid a write that nobody was told of;
// damage is anything else, and is an error, never cut.
#pragma once

#include "base/result.h"
#include "engine/log/codec.h"
#include "engine/log/entry_index.h"
#include "engine/log/file.h"

#include <optional>
#include <string>

namespace nornic::engine {

struct SegmentToScan {
    File& file;
    const std::string& path;
    const SegmentHeader& header;
    std::uint64_t size;  // Of the file.
    /// Where the next segment says that this one ends, and its last record's checksum; nullopt for
    /// the newest, the only one that a crash can tear.
    struct Sealed {
        std::uint64_t end;
        std::uint32_t last_crc;
    };
    std::optional<Sealed> sealed;
};

struct SegmentScan {
    std::uint64_t end = 0;  // After the last valid record.
    std::uint32_t last_crc = 0;
    std::uint64_t proven = 0;    // The segment was synced at least up to here.
    std::uint64_t torn_end = 0;  // The last byte that is not 0 is before this; end if none is torn.
    bool ends_with_mark = false;
};

/// Has `index` follow each record; the segment is already its newest. kCorruption names the
/// segment, the offset, the entry expected and what to do. Changes nothing on disk.
Result<SegmentScan> scan_segment(const SegmentToScan& segment, EntryIndex& index);

/// The last sentence of every report of damage.
extern const char* const kDamageAdvice;

}  // namespace nornic::engine
