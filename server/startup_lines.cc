#include "server/startup_lines.h"

#include "observability/log.h"

#include <algorithm>

namespace nornic::server {
namespace {

constexpr std::chrono::seconds kWaitingInterval{10};
constexpr std::chrono::seconds kCatchupInterval{5};

}  // namespace

void StartupLines::look(const modes::ClusterView& view, LogIndex applied, const std::string& history, Deadline now) {
    for (const modes::MemberView& member : view.members) {
        const bool other = member.id != view.self && member.healthy && !member.cluster_address.empty();
        if (other && discovered_.insert(member.cluster_address).second) {
            log::info("Discovered core member at {}", member.cluster_address);
        }
    }
    if (joined_) {
        return;
    }
    if (view.leader.empty()) {
        if (wanted_ > 1 && now >= next_) {
            log::info("Waiting for a total of {} core members...", wanted_);
            next_ = now + kWaitingInterval;
        }
        return;
    }
    if (!bound_ && !history.empty() && applied.value > 0) {
        log::info("Bound to cluster with id {}", history);
        bound_ = true;
        next_ = now;
    }
    const std::uint64_t behind = view.commit_index.value - std::min(view.commit_index.value, applied.value);
    const bool caught_up = behind == 0 && bound_ && view.state == "ready";
    if (!caught_up && behind == 0 && !view.reason.empty()) {
        if (now >= next_) {  // it waits for something else, and for somebody
            log::warn("Not ready yet: {}.", view.reason);
            next_ = now + kWaitingInterval;
        }
    } else if (caught_up || now >= next_) {
        log::info("Waiting to catchup with leader... we are {} entries behind leader at {}.", behind, view.commit_index.value);
        next_ = now + kCatchupInterval;
    }
    if (caught_up) {
        log::info("Successfully joined the Raft group.");
        joined_ = true;
    }
}

}  // namespace nornic::server
