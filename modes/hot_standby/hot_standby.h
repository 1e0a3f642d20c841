// Hot standby: a primary that takes writes and a standby that follows its log and can take its place
// (docs/modes/ha_standby.md has what is promised and what each failure costs). Two nodes cannot survive any single
// loss and exclude two primaries; which of the two is kept is the fence policy. Every frame carries the epoch; a
// promotion raises it durably before the first write, and who sees a higher one steps down at once.
#pragma once

#include "modes/strategy.h"

#include <cstdint>
#include <memory>

namespace nornic::modes {

enum class SyncMode : std::uint8_t {
    kAsync,     // acknowledged when synced here
    kSemiSync,  // … and received by the standby
    kSync,      // … and synced there, too; refuses writes while it cannot be
};

enum class FencePolicy : std::uint8_t {
    kAvailable,  // the standby promotes itself; a partition may have two primaries, of which the later one stays
    kWitness,    // a promotion needs the witness's vote; a primary that reaches neither stops
    kStrict,     // a primary that has not heard its standby for two thirds of the time-out stops
};

/// Under kAvailable and kSemiSync a standby that was told that it is in sync may take over for so long after it last answered the
/// primary: long enough to see the time-out pass, though answers were lost.
template <typename T>
constexpr T in_sync_lasts(T failover, T heartbeat) {
    return failover + 4 * heartbeat;
}
/// … and a primary whose standby says nothing goes on alone after so long. Clocks may differ by an eighth.
template <typename T>
constexpr T alone_after(T failover, T heartbeat) {
    return in_sync_lasts(failover, heartbeat) + in_sync_lasts(failover, heartbeat) / 8;
}

struct HotStandbySettings {
    bool configured_primary = false;  // NORNICDB_CLUSTER_HA_ROLE
    SyncMode sync_mode = SyncMode::kSemiSync;
    FencePolicy fence_policy = FencePolicy::kAvailable;
    bool auto_failover = true;
    bool has_witness = false;
    std::uint32_t heartbeat_ticks = 10;
    std::uint32_t failover_ticks = 300;
    /// semi_sync: how long a write waits for a standby that says nothing before it is told that it is not in sync any more. The
    /// primary goes on alone once that is known to have arrived, or the standby cannot take over any more.
    std::uint32_t degrade_ticks = 100;
    std::size_t batch_entries_max = 1000;
    std::size_t batch_bytes_max = std::size_t{512} << 10;
    std::size_t window_batches = 16;  // sent and not yet acknowledged
    /// Entries that a standby may have received and not begun to sync, where only that it received them was promised.
    std::size_t gather_bytes_max = std::size_t{1} << 20;
    /// … and may hold in memory until its disk has them. What comes beyond is not taken, and sent again.
    std::size_t unpersisted_bytes_max = std::size_t{64} << 20;
    /// How long a tick is; for what is said to people alone.
    std::uint32_t tick_ms = 10;
    /// Entries kept in memory for sending; older ones are read from the log.
    std::size_t tail_bytes_max = std::size_t{32} << 20;
};

std::unique_ptr<Strategy> make_hot_standby(const StrategyStart& start, const HotStandbySettings& settings);

struct WitnessSettings {
    std::uint32_t failover_ticks = 300;
    std::uint32_t tick_ms = 10;
};
/// The third voice: holds no data, gives one vote an epoch, and none while it hears the primary.
std::unique_ptr<Strategy> make_hot_standby_witness(const StrategyStart& start, const WitnessSettings& settings);

}  // namespace nornic::modes
