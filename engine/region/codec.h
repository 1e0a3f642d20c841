// The bytes of what regions exchange and remember (engine/region.h), as log entries hold them.
//
// Format 2, a region's own write: 2, header, database, operations. Format 3, writes of another region in this region's token
// ids: 3, origin, number of writes, each: index, time, header, database, length and bytes of its operations; then how far the
// batch reaches. Operations are those of write_set.h. All of it may come from outside: whatever is read here is bounded
// before it is believed.
#pragma once

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "engine/region.h"
#include "engine/write_set.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::engine {

inline constexpr std::uint8_t kStampedFormat = 2;
inline constexpr std::uint8_t kRegionBatchFormat = 3;
inline constexpr DatabaseId kSystemDatabase{2};  // what belongs to no graph is written there

/// The first byte of an entry's payload; 0 if it is empty.
inline std::uint8_t write_set_format(std::string_view payload) noexcept {
    return payload.empty() ? 0 : static_cast<std::uint8_t>(payload.front());
}

/// One write with what stands before its operations. `operations` lives as long as the bytes it was read from.
struct StampedWrite {
    LogIndex index;          // in the origin's log. Format 2: 0, it is the entry's own; format 3: 0 is part of a seed
    std::uint64_t time = 0;  // format 2: 0, it is the entry's
    RegionHeader header;
    DatabaseId database;
    std::string_view operations;

    [[nodiscard]] WriteSetReader reader() const { return WriteSetReader::over(database, operations); }
};

/// What one entry brings of another region.
struct RegionBatch {
    RegionNumber origin = 0;
    std::vector<StampedWrite> writes;
    // As in RegionWrites.
    LogIndex through;
    std::uint64_t through_time = 0;
    Frontier frontier;
    LogIndex acked;
};

/// kCorruption names what is malformed; operations are not looked into.
Result<StampedWrite> decode_stamped(std::string_view payload);
Result<RegionBatch> decode_region_batch(std::string_view payload);
std::string encode_region_batch(const RegionBatch& batch);

/// RegionState for the store.
std::string encode_region_state(const RegionState& state);
Result<RegionState> decode_region_state(std::string_view bytes);

// Parts, for others that keep them. Reading turns in.ok() false, or gives false, where they are not valid.
void put_stamp(const Stamp& stamp, ByteWriter& out);
bool get_stamp(ByteReader& in, Stamp& stamp);
void put_frontier(const Frontier& frontier, ByteWriter& out);
bool get_frontier(ByteReader& in, Frontier& frontier);

}  // namespace nornic::engine
