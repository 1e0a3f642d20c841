#include "server/modes_table.h"

#include "modes/hot_standby/hot_standby.h"
#include "modes/multi_region/multi_region.h"
#include "modes/raft/extra.h"
#include "modes/raft/raft.h"
#include "modes/standalone/standalone.h"
#include "server/version.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::server {
namespace {

std::uint32_t ticks(Duration time, Duration tick) {
    return static_cast<std::uint32_t>(std::clamp<std::int64_t>((time.count() + tick.count() - 1) / tick.count(), 1, INT32_MAX));
}

template <class Number = std::uint32_t>
Number milliseconds(Duration time) {
    return static_cast<Number>(std::chrono::duration_cast<std::chrono::milliseconds>(time).count());
}

modes::StrategyFactory standalone(const env::ClusterSettings&, Duration) {
    return [](const modes::StrategyStart& start) { return modes::make_standalone(start); };
}

modes::StrategyFactory hot_standby(const env::ClusterSettings& cluster, Duration tick) {
    if (is_witness(cluster)) {
        modes::WitnessSettings settings;
        settings.failover_ticks = ticks(cluster.ha_failover_timeout, tick);
        settings.tick_ms = milliseconds(tick);
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
    settings.tick_ms = milliseconds(tick);
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

modes::StrategyFactory raft(const env::ClusterSettings& cluster, Duration tick) {
    modes::RaftSettings settings;
    settings.bootstrap = cluster.raft_bootstrap;
    for (const env::RaftPeerAddress& peer : cluster.raft_peer_list) {
        settings.peers.push_back({peer.id, peer.address});
    }
    settings.join = cluster.raft_join_list;
    settings.role = cluster.raft_role == "witness"   ? modes::RaftRole::kWitness
                    : cluster.raft_role == "learner" ? modes::RaftRole::kLearner
                                                     : modes::RaftRole::kVoter;
    settings.priority = static_cast<std::uint32_t>(cluster.raft_priority);
    settings.priority_is_set = cluster.raft_priority_is_set;
    settings.witness_may_lead = cluster.raft_witness_may_lead;
    settings.leave_on_stop = cluster.leave_on_stop;
    settings.election_ticks = ticks(cluster.raft_election_timeout, tick);
    settings.heartbeat_ticks = ticks(cluster.raft_heartbeat_timeout, tick);
    settings.append_entries_max = static_cast<std::size_t>(cluster.raft_max_append_entries);
    settings.snapshot_interval_ticks = ticks(cluster.raft_snapshot_interval, tick);
    settings.digest_interval_ticks =
        cluster.raft_digest_interval.count() == 0 ? 0 : ticks(cluster.raft_digest_interval, tick);
    settings.snapshot_threshold = static_cast<std::uint64_t>(cluster.raft_snapshot_threshold);
    settings.trailing_logs = static_cast<std::uint64_t>(cluster.raft_trailing_logs);
    settings.tick_ms = milliseconds(tick);
    return [settings](const modes::StrategyStart& start) {
        modes::RaftSettings own = settings;
        // The name may have been drawn at the first start, and the address follow from the port.
        std::erase_if(own.peers, [&](const modes::RaftPeer& peer) {
            return peer.id == start.self || (!peer.address.empty() && peer.address == start.cluster_address);
        });
        std::erase(own.join, start.cluster_address);
        return modes::make_raft(start, own);
    };
}

std::vector<std::string> raft_peers(const env::ClusterSettings& cluster) {
    std::vector<std::string> out = cluster.raft_join_list;
    for (const env::RaftPeerAddress& peer : cluster.raft_peer_list) {
        if (std::find(out.begin(), out.end(), peer.address) == out.end()) {
            out.push_back(peer.address);
        }
    }
    return out;
}

modes::StrategyFactory multi_region(const env::ClusterSettings& cluster, Duration tick) {
    modes::MultiRegionSettings settings;
    settings.region = cluster.region_id;
    for (const env::RemoteRegionAddresses& remote : cluster.remote_region_list) {
        settings.remotes.push_back({remote.name, remote.addresses});
    }
    settings.semi_sync = cluster.cross_region_mode == "semi_sync";
    settings.semi_sync_ticks = ticks(cluster.cross_region_timeout, tick);
    settings.refuse_degraded = cluster.cross_region_fallback == "refuse";
    settings.manual = cluster.conflict_strategy == "manual";
    settings.primary_only = cluster.region_writes == "primary";
    settings.clock_offset_max_ms = milliseconds<std::uint64_t>(cluster.region_clock_offset_max);
    // What the mode counts in ticks of 10 ms, in ticks of any length.
    const auto scaled = [&](std::uint32_t tens) { return ticks(tens * std::chrono::milliseconds{10}, tick); };
    settings.status_ticks = scaled(settings.status_ticks);
    settings.silent_ticks = scaled(settings.silent_ticks);
    settings.form_ticks = scaled(settings.form_ticks);
    settings.retry_ticks = scaled(settings.retry_ticks);
    settings.watermark_ticks = scaled(settings.watermark_ticks);
    settings.tick_ms = milliseconds(tick);
    return [settings, local = raft(cluster, tick)](const modes::StrategyStart& start) {
        return modes::make_multi_region(start, settings, local);
    };
}

std::vector<std::string> multi_region_peers(const env::ClusterSettings& cluster) {
    std::vector<std::string> out = raft_peers(cluster);
    for (const env::RemoteRegionAddresses& remote : cluster.remote_region_list) {
        out.insert(out.end(), remote.addresses.begin(), remote.addresses.end());
    }
    return out;
}

constexpr ModeEntry kModes[] = {
    {"standalone", false, modes::ReadConsistency::kOne, standalone, no_peers},
    {"ha_standby", true, modes::ReadConsistency::kOne, hot_standby, hot_standby_peers},
    {"raft", true, modes::ReadConsistency::kQuorum, raft, raft_peers},
    {"multi_region", true, modes::ReadConsistency::kLocalQuorum, multi_region, multi_region_peers},
};

}  // namespace

Result<const ModeEntry*> find_mode(std::string_view name) {
    std::string known;
    for (const ModeEntry& mode : kModes) {
        if (mode.name == name) {
            return &mode;
        }
        known += (known.empty() ? "" : ", ") + std::string{mode.name};
    }
    return fail(ErrorCode::kUnsupported,
                fmt::format("NORNICDB_CLUSTER_MODE='{}': version {} serves {} alone", name, kVersion, known));
}

Result<> check_data_fits(const ModeEntry& mode, const std::string& directory, std::string_view extra, bool of_a_region) {
    const bool of_raft = extra.starts_with(modes::kRaftExtraName);
    const std::string_view was = of_a_region      ? "multi_region"
                                 : of_raft        ? "raft"
                                 : !extra.empty() ? "ha_standby"
                                                  : "standalone";
    const bool fits = mode.name == was || was == "standalone" || (was == "raft" && mode.name == "multi_region") ||
                      (was == "ha_standby" && is_raft(mode.name));
    if (fits) {
        return success();
    }
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("the data in '{}' is that of a member in mode {}, and NORNICDB_CLUSTER_MODE is '{}': what it writes now the others "
                            "would never learn of, and it could not go back to them unharmed. Set NORNICDB_CLUSTER_MODE={} as before; {}",
                            directory,
                            was,
                            mode.name,
                            was,
                            of_a_region ? "a region's member does not leave with its data"
                                        : "to leave the others for good and keep the data, run nornicdb unbind first"));
}

bool is_witness(const env::ClusterSettings& settings) {
    return (settings.mode == "ha_standby" && settings.ha_role == "witness") ||
           (is_raft(settings.mode) && settings.raft_role == "witness");
}

bool is_raft(std::string_view mode) {
    return mode == "raft" || mode == "multi_region";
}

}  // namespace nornic::server
