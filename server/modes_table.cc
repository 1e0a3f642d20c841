#include "server/modes_table.h"

#include "modes/hot_standby/hot_standby.h"
#include "modes/standalone/standalone.h"
#include "server/version.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::server {
namespace {

std::uint32_t ticks(Duration time, Duration tick) {
    return static_cast<std::uint32_t>(std::clamp<std::int64_t>((time.count() + tick.count() - 1) / tick.count(), 1, INT32_MAX));
}

modes::StrategyFactory standalone(const env::ClusterSettings&, Duration) {
    return [](const modes::StrategyStart& start) { return modes::make_standalone(start); };
}

modes::StrategyFactory hot_standby(const env::ClusterSettings& cluster, Duration tick) {
    if (is_witness(cluster)) {
        modes::WitnessSettings settings;
        settings.failover_ticks = ticks(cluster.ha_failover_timeout, tick);
        return [settings](const modes::StrategyStart& start) {
            return modes::make_hot_standby_witness(start, settings);
        };
    }
    modes::HotStandbySettings settings;
    settings.configured_primary = cluster.ha_role == "primary";
    settings.sync_mode = cluster.ha_sync_mode == "async"  ? modes::SyncMode::kAsync
                         : cluster.ha_sync_mode == "sync" ? modes::SyncMode::kSync
                                                          : modes::SyncMode::kSemiSync;
    settings.fence_policy = cluster.ha_fence_policy == "witness"  ? modes::FencePolicy::kWitness
                            : cluster.ha_fence_policy == "strict" ? modes::FencePolicy::kStrict
                                                                  : modes::FencePolicy::kAvailable;
    settings.auto_failover = cluster.ha_auto_failover;
    settings.has_witness = !cluster.ha_witness_address.empty();
    settings.heartbeat_ticks = ticks(cluster.ha_heartbeat, tick);
    settings.failover_ticks = ticks(cluster.ha_failover_timeout, tick);
    settings.degrade_ticks = ticks(cluster.ha_sync_timeout, tick);
    settings.tick_ms = static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::milliseconds>(tick).count());
    settings.batch_entries_max = static_cast<std::size_t>(cluster.ha_wal_batch_size);
    return [settings](const modes::StrategyStart& start) { return modes::make_hot_standby(start, settings); };
}

std::vector<std::string> no_peers(const env::ClusterSettings&) {
    return {};
}

std::vector<std::string> hot_standby_peers(const env::ClusterSettings& cluster) {
    std::vector<std::string> out = env::split_list(cluster.ha_peer_address);
    if (!cluster.ha_witness_address.empty()) {
        out.push_back(cluster.ha_witness_address);
    }
    return out;
}

constexpr ModeEntry kModes[] = {
    {"standalone", false, modes::ReadConsistency::kOne, standalone, no_peers},
    {"ha_standby", true, modes::ReadConsistency::kOne, hot_standby, hot_standby_peers},
};

}  // namespace

Result<const ModeEntry*> find_mode(std::string_view name) {
    std::string known;
    for (const ModeEntry& mode : kModes) {
        if (mode.name == name) {
            return &mode;
        }
        known += (known.empty() ? "" : " and ") + std::string{mode.name};
    }
    return fail(ErrorCode::kUnsupported,
                fmt::format("NORNICDB_CLUSTER_MODE='{}': version {} serves {} alone", name, kVersion, known));
}

bool is_witness(const env::ClusterSettings& settings) {
    return settings.mode == "ha_standby" && settings.ha_role == "witness";
}

}  // namespace nornic::server
