// Multi-region: a Raft group in each region, and between them streams of writes that merge by their stamps
// (docs/modes/multi_region.md). What is acknowledged is never lost in its region; regions go on alone and end equal.
#pragma once

#include "engine/region.h"
#include "modes/strategy.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace nornic::modes {

/// NORNICDB_CLUSTER_REMOTE_REGIONS: "region:host:port", several of one region are several addresses of it.
struct RemoteRegion {
    std::string name;
    std::vector<std::string> addresses;
};

struct MultiRegionSettings {
    std::string region;  // NORNICDB_CLUSTER_REGION_ID
    std::vector<RemoteRegion> remotes;
    bool semi_sync = false;          // a write is answered once a majority of another region has it, or the time is over
    std::uint32_t semi_sync_ticks = 100;
    bool refuse_degraded = false;    // semi_sync without another region: refuse writes; else go on, visibly
    bool manual = false;             // CONFLICT_STRATEGY
    bool primary_only = false;       // REGION_WRITES=primary
    std::uint32_t status_ticks = 20;     // between two words to each peer of another region
    std::uint32_t silent_ticks = 300;    // without any: the region counts as gone
    std::uint32_t form_ticks = 200;      // a group that nobody numbered waits so long for one that is numbered
    std::uint32_t watermark_ticks = 500; // between two looks at what every region has
    std::size_t batch_entries_max = 1024;
    std::size_t batch_bytes_max = std::size_t{512} << 10;
    std::size_t window_batches = 8;      // on their way to one region
    std::uint32_t retry_ticks = 200;     // without an acknowledgement the stream begins again at the cursor
    std::uint64_t clock_offset_max_ms = 500;  // writes from further in the future are parked until it is their time
    std::uint32_t tick_ms = 10;
};

/// Makes the strategy of one region: Raft, from the same start.
using LocalStrategy = std::function<std::unique_ptr<Strategy>(const StrategyStart&)>;

/// start.regions is needed, start.log too. A witness or any member without an engine only votes: it runs the local
/// strategy alone.
std::unique_ptr<Strategy> make_multi_region(const StrategyStart& start, const MultiRegionSettings& settings, const LocalStrategy& local);

}  // namespace nornic::modes
