#include "server/lag_meter.h"

#include <algorithm>
#include <chrono>

namespace nornic::server {
namespace {

constexpr std::size_t kSamplesMax = 1024;

std::uint64_t milliseconds(Duration d) {
    return static_cast<std::uint64_t>(
        std::max<std::int64_t>(0, std::chrono::duration_cast<std::chrono::milliseconds>(d).count()));
}

}  // namespace

LogIndex LagMeter::newest(const modes::ClusterView& view, const modes::ReplicaStats& stats) {
    if (view.is_leader()) {
        return view.commit_index;
    }
    LogIndex out = std::max(view.commit_index, stats.applied_index);
    for (const modes::MemberView& m : view.members) {
        if (m.id == view.leader) {
            out = std::max(out, m.match_index);
        }
    }
    return out;
}

LogIndex LagMeter::reached(const modes::ClusterView& view,
                           const modes::ReplicaStats& stats,
                           const modes::MemberView& member) {
    return member.id == view.self ? stats.applied_index : std::max(member.applied_index, member.match_index);
}

void LagMeter::sample(const modes::ClusterView& view, const modes::ReplicaStats& stats, Deadline now) {
    const std::lock_guard lock{mutex_};
    const LogIndex index = newest(view, stats);
    if (!samples_.empty() && samples_.back().newest > index) {
        samples_.clear();  // a branch was given up, or everything was replaced
    }
    samples_.push_back({now, index});
    if (samples_.size() > kSamplesMax) {
        std::size_t kept = 0;
        for (std::size_t i = 0; i < samples_.size(); ++i) {
            if (i % 2 == 0 || i >= kSamplesMax / 2) {
                samples_[kept++] = samples_[i];
            }
        }
        samples_.resize(kept);
    }
}

std::uint64_t LagMeter::lag_ms(const modes::ClusterView& view,
                               const modes::ReplicaStats& stats,
                               const modes::MemberView& member,
                               Deadline now,
                               std::int64_t wall_ns) const {
    const LogIndex has = reached(view, stats, member);
    if (!member.serves_data || member.id == view.leader || has >= newest(view, stats)) {
        return 0;
    }
    Duration behind{};
    {
        const std::lock_guard lock{mutex_};
        const auto after = std::upper_bound(
            samples_.begin(), samples_.end(), has, [](LogIndex at, const Sample& s) { return at < s.newest; });
        if (after == samples_.end()) {
            return 0;  // newer than the last sample: since a moment
        }
        behind = now - (after == samples_.begin() ? after->when : std::prev(after)->when);
    }
    if (member.id == view.self && stats.last_applied_wall_ns > 0) {
        // What it applied last was new so long ago; the samples only say that it was not much longer.
        behind = std::min(behind, Duration{std::max<std::int64_t>(0, wall_ns - stats.last_applied_wall_ns)});
    }
    return milliseconds(behind);
}

}  // namespace nornic::server
