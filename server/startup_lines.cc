#include "server/startup_lines.h"

#include "observability/log.h"

#include <algorithm>

namespace nornic::server {
namespace {

constexpr std::chrono::seconds kWaitingInterval{10};
constexpr std::chrono::seconds kCatchupInterval{5};
constexpr std::chrono::seconds kPatience{3};  // of a member that was ready, which elections end before
constexpr std::chrono::minutes kNotReadyInterval{1};

}  // namespace

void StartupLines::look(const modes::ClusterView& view, LogIndex applied, const std::string& history, Deadline now) {
    for (const modes::MemberView& member : view.members) {
        const bool other = member.id != view.self && member.healthy && !member.cluster_address.empty();
        if (other && discovered_.insert(member.cluster_address).second) {
            log::info("Discovered core member at {}", member.cluster_address);
        }
    }
    if (joined_) {
        watch(view, now);
        return;
    }
    if (view.leader.empty()) {
        if (now >= next_) {
            if (wanted_ > 1) {
                log::info("Waiting for a total of {} core members...", wanted_);
            }
            if (next_ != Deadline{} && !view.reason.empty()) {  // not at once: others start, too
                log::warn("Not ready yet: {}.", view.reason);
            }
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

/// Of a member that has joined.
void StartupLines::watch(const modes::ClusterView& view, Deadline now) {
    if (view.state == "ready") {
        if (said_not_ready_) {
            log::info("Ready again.");
        }
        said_not_ready_ = false;
        not_ready_since_.reset();
        return;
    }
    if (!not_ready_since_) {
        not_ready_since_ = now;
    }
    if (now - *not_ready_since_ >= kPatience && (!said_not_ready_ || now >= next_)) {
        log::warn("Not ready ({}): {}.", view.state, view.reason.empty() ? "it does not say why" : view.reason);
        said_not_ready_ = true;
        next_ = now + kNotReadyInterval;
    }
}

}  // namespace nornic::server
