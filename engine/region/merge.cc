#include "engine/region/merge.h"

#include <algorithm>
#include <vector>

namespace nornic::engine {

void put_cell(EntityStamps& stamps, std::vector<CellStamp>& cells, std::uint32_t token, const Stamp& stamp, bool present) {
    // What is present and has no stamp of its own has that of the creation.
    const Stamp implied = present && stamps.life != Life::kAwaited ? stamps.stamp : Stamp{};
    if (stamp != implied) {
        set_stamp(cells, token, stamp);
    } else {
        std::erase_if(cells, [&](const CellStamp& cell) { return cell.token == token; });
    }
    if (stamps.life == Life::kAwaited) {
        stamps.stamp = std::max(stamps.stamp, stamp);
    }
}

bool tidy(EntityStamps& stamps, std::uint64_t watermark) {
    stamps.stamp = unexpired(stamps.stamp, watermark);
    if (stamps.stamp.none()) {
        // Else one without a stamp of its own would seem to be of the creation.
        const auto expired = [&](const CellStamp& cell) { return cell.stamp.time <= watermark; };
        std::erase_if(stamps.labels, expired);
        std::erase_if(stamps.properties, expired);
    }
    return !stamps.stamp.none() || !stamps.labels.empty() || !stamps.properties.empty();
}

std::uint64_t remains_time(const EntityStamps& stamps) noexcept {
    std::uint64_t time = stamps.stamp.time;
    for (const auto* cells : {&stamps.labels, &stamps.properties}) {
        for (const CellStamp& cell : *cells) {
            time = std::max(time, cell.stamp.time);
        }
    }
    return time;
}

}  // namespace nornic::engine
