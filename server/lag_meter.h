// How long members have been behind, in any mode: what the newest log index was at moments of the past, and which of
// them a member has reached by now.
#pragma once

#include "base/clock.h"
#include "modes/replica.h"

#include <cstdint>
#include <mutex>
#include <vector>

namespace nornic::server {

/// Thread-safe.
class LagMeter {
public:
    /// Now and then, more often than lags that matter.
    void sample(const modes::ClusterView& view, const modes::ReplicaStats& stats, Deadline now);
    /// Since when the member lacks something that was there, in milliseconds; 0 if it lacks nothing that is known here.
    [[nodiscard]] std::uint64_t lag_ms(const modes::ClusterView& view,
                                       const modes::ReplicaStats& stats,
                                       const modes::MemberView& member,
                                       Deadline now,
                                       std::int64_t wall_ns) const;

    /// The newest index that is known here to exist anywhere.
    static LogIndex newest(const modes::ClusterView& view, const modes::ReplicaStats& stats);
    /// What a member has of it, applied.
    static LogIndex reached(const modes::ClusterView& view,
                            const modes::ReplicaStats& stats,
                            const modes::MemberView& member);

private:
    struct Sample {
        Deadline when;
        LogIndex newest;
    };
    mutable std::mutex mutex_;
    std::vector<Sample> samples_;  // oldest first; the further back, the sparser
};

}  // namespace nornic::server
