// What status, routing and metrics see.
#include "base/hybrid_clock.h"
#include "modes/multi_region/strategy.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::modes {

ClusterView MultiRegion::view() const {
    ClusterView out = local_->view();
    out.mode = "multi_region";
    const auto add = [&](std::string name, std::string value) { out.details.emplace_back(std::move(name), std::move(value)); };
    add("region", settings_.region);
    if (settings_.semi_sync) {
        add("cross_region_mode", degraded_ ? (settings_.refuse_degraded ? "semi_sync_refusing" : "degraded_async") : "semi_sync");
        add("semi_sync_degradations", std::to_string(degraded_count_));
    } else {
        add("cross_region_mode", "async");
    }
    if (!formed()) {
        out.accepts_writes = false;
        if (out.state == "ready") {
            out.state = "starting";
            out.reason = "this group is no region yet: " + (forming_why_.empty() ? std::string{"it has no leader"} : forming_why_);
        }
        RegionView self;
        self.name = settings_.region;
        self.self = true;
        self.state = "starting";
        self.reason = out.reason;
        self.leader = out.leader;
        out.regions.push_back(std::move(self));
        return out;
    }
    add("region_epoch", std::to_string(state_->epoch));
    add("conflicts", std::to_string(state_->conflicts));
    add("conflicts_open", std::to_string(state_->conflicts_open));
    add("tombstones", std::to_string(state_->tombstones));
    if (write_term().value == 0) {
        out.accepts_writes = false;
    }
    const auto odd = std::ranges::find_if(peers_, [](const auto& peer) { return !peer.second.differs.empty(); });
    if (out.state == "ready") {
        if (dropped_here_) {
            out.state = "read_only";
            out.reason = "this region was dropped by the others: empty its members' data directories and start it anew";
        } else if (stranger_) {
            out.state = "read_only";
            out.reason = kStranger;
        } else if (beyond_repair_) {
            out.state = "read_only";
            out.reason = "this region was set back to a state that cannot be made equal to the others' any more: drop it at another region, empty "
                         "its members' data directories and start it anew";
        } else if (odd != peers_.end()) {
            out.state = "degraded";
            out.reason = odd->second.differs;
        } else if (set_back_ || awaits_first_seed()) {
            out.state = "catching_up";
            out.reason = "this region receives the data of the others";
        } else if (settings_.primary_only && !primary()) {
            const auto* row = state_->find(state_->primary);
            out.reason = fmt::format("region '{}' takes the writes (NORNICDB_CLUSTER_REGION_WRITES=primary)", row == nullptr ? "?" : row->name);
        } else if (degraded_) {
            out.state = "degraded";
            out.reason = "no other region confirms writes";
        }
    }
    for (const auto& row : state_->regions) {
        RegionView region;
        region.name = row.name;
        region.number = row.number;
        region.self = row.number == state_->self;
        region.primary = row.number == state_->primary;
        region.dropped = row.dropped;
        if (region.self) {
            region.connected = true;
            region.leader = out.leader;
            region.state = out.state;
            region.reason = out.reason;
            for (const MemberView& member : out.members) {
                if (member.id == out.leader) {
                    region.leader_address = member.cluster_address;
                    region.leader_bolt_address = member.bolt_address;
                    region.leader_http_address = member.http_address;
                }
            }
            out.regions.insert(out.regions.begin(), std::move(region));
            continue;
        }
        std::string differs;
        for (const auto& [id, peer] : peers_) {
            if (peer.status.region() == row.name && !peer.differs.empty()) {
                differs = peer.differs;
            }
            if (peer.status.region() == row.name && peer.heard_tick != 0 && tick_ - peer.heard_tick < settings_.silent_ticks) {
                region.connected = true;
                if (!peer.status.leader_id().empty()) {
                    region.leader = peer.status.leader_id();
                    region.leader_address = peer.status.leader_address();
                }
            }
        }
        if (const Peer* leader = leader_of(row.name)) {
            region.leader_bolt_address = leader->info.bolt_address;
            region.leader_http_address = leader->info.http_address;
        }
        region.unacked_entries = 0;
        const auto in = inbound_.find(row.number);
        if (const auto sent = outbound_.find(row.number); sent != outbound_.end()) {
            region.unacked_entries = local_->committed().value - std::min(local_->committed().value, sent->second.durable.value);
        } else if (led_) {
            region.unacked_entries = local_->committed().value - std::min(local_->committed().value, row.acked.value);
        }
        if (row.dropped) {
            region.state = "dropped";
            region.reason = row.settled ? "" : "what others got of it is still to come, or they have not heard that it was dropped";
        } else if (!region.connected) {
            region.state = "silent";
            region.reason = "nothing was heard of it";
        } else if (!differs.empty()) {
            region.state = "refused";
            region.reason = std::move(differs);
        } else if (!led_) {
            region.state = "ready";
        } else if (in == inbound_.end() || in->second.stream == 0) {
            region.state = in != inbound_.end() && !in->second.refused.empty() ? "refused" : "waiting";
            region.reason = in == inbound_.end() ? "" : in->second.refused;
        } else {
            const Inbound& stream = in->second;
            region.state = stream.parked ? "parked" : stream.seeding ? "seeding" : "streaming";
            if (stream.parked) {
                region.reason = "its writes are from the future: look at the clocks";
            } else if (stream.seeding) {
                region.reason = fmt::format("{} of about {} nodes and relationships", stream.seed_entities, stream.seed_estimate);
            }
            const LogIndex have = std::max(row.cursor, stream.durable);
            region.lag_entries = stream.source_last.value - std::min(stream.source_last.value, have.value);
            if (region.lag_entries > 0 && row.cursor_time != 0) {
                region.lag_ms = ahead_ms(now_, wall_ms_of(row.cursor_time));
            }
        }
        out.regions.push_back(std::move(region));
    }
    return out;
}

}  // namespace nornic::modes
