// The stamps of one entity's cells, beside its data. Most entities have none (other modes), or share one object with all that
// their transaction created.
#pragma once

#include "base/bytes.h"
#include "base/ids.h"
#include "engine/region.h"

#include <cstdint>
#include <vector>

namespace nornic::engine {

/// Only live entities are visible; what else is remembered stands in a deleted version.
enum class Life : std::uint8_t {
    kLive = 0,
    kAwaited = 1,  // written to before it was created: another region's write overtook the creation
    kHidden = 2,   // a relationship that was created and waits for a node at its end
    kDead = 3,     // deleted, for good: there is no data, only the stamp of the delete
};

struct CellStamp {
    std::uint32_t token = 0;  // label or key
    Stamp stamp;
    bool operator==(const CellStamp&) const = default;
};

struct EntityStamps {
    Life life = Life::kLive;
    /// Of the creation, also for every cell that is present and has no stamp of its own; of the delete if dead; of the latest
    /// write that concerns it if awaited.
    Stamp stamp;
    std::vector<CellStamp> labels;      // by token; what is not among the data is absent since then
    std::vector<CellStamp> properties;  // the same
    bool operator==(const EntityStamps&) const = default;
};

/// The stamp that `token`'s cell carries, whether it has expired or not.
Stamp stamp_of(const EntityStamps& stamps, const std::vector<CellStamp>& cells, std::uint32_t token, bool present) noexcept;
void set_stamp(std::vector<CellStamp>& cells, std::uint32_t token, const Stamp& stamp);

/// Stored: life, stamp, labels, properties. Decoding is bounded by what there is.
void encode_stamps(const EntityStamps& stamps, ByteWriter& out);
bool decode_stamps(ByteReader& in, EntityStamps& stamps);

}  // namespace nornic::engine
