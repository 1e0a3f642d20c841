#include "server/replication_metrics.h"

#include "server/modes_table.h"
#include "server/status.h"

#include <algorithm>
#include <cstdlib>
#include <limits>

namespace nornic::server {
namespace {

/// One gauge a peer; a peer that is gone shows its last values with health 0.
void refresh_peers(Metrics& metrics,
                   const Member& member,
                   const modes::ClusterView& view,
                   const modes::ReplicaStats& stats) {
    for (const modes::MemberView& m : view.members) {
        if (m.id == view.self) {
            continue;
        }
        const MetricLabels labels{{"peer", m.id}};
        const double healthy = m.healthy ? 1 : 0;
        metrics.gauge("nornicdb_replication_peer_healthy", "1 if this peer is heard.", labels).set(healthy);
        metrics.gauge("nornicdb_peer_healthy", "1 if this peer is heard.", labels).set(healthy);
        const bool known = progress_known(view, m);
        constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
        if (m.serves_data) {
            metrics
                .gauge("nornicdb_replication_peer_lag_seconds",
                       "How long this peer has been behind, as far as is known here.",
                       labels)
                .set(known ? static_cast<double>(lag_ms(member, view, stats, m)) / 1000.0 : kUnknown);
        }
        metrics.gauge("nornicdb_replication_peer_match_index", "Last log index durable on this peer.", labels)
            .set(known ? static_cast<double>(m.match_index.value) : kUnknown);
        if (is_raft(view.mode)) {
            metrics.gauge("nornicdb_raft_peer_match_lag", "Log entries that this peer has not yet.", labels)
                .set(known ? static_cast<double>(stats.last_index.value) - static_cast<double>(m.match_index.value)
                           : kUnknown);
        }
    }
    for (const transport::PeerStats& p : member.bus->stats()) {
        const std::string peer = p.id.empty() ? p.address : p.id;
        const auto bytes = [&](const char* direction, std::uint64_t value) {
            metrics
                .gauge("nornicdb_replication_bytes_total",
                       "Bytes exchanged with this peer.",
                       {{"peer", peer}, {"direction", direction}})
                .set(static_cast<double>(value));
        };
        bytes("sent", p.bytes_sent);
        bytes("received", p.bytes_received);
    }
}

/// One gauge each of another region; what only a leader knows is NaN elsewhere.
void refresh_regions(Metrics& metrics, const modes::ClusterView& view) {
    constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
    for (const modes::RegionView& r : view.regions) {
        const MetricLabels labels{{"region", r.name}};
        metrics.gauge("nornicdb_region_primary", "1 for the region that writes schema and users.", labels).set(r.primary ? 1 : 0);
        if (r.self) {
            continue;
        }
        // One that was given up is missed by nobody.
        const auto of_leader = [&](double value) { return view.is_leader() && !r.dropped ? value : kUnknown; };
        metrics.gauge("nornicdb_region_connected", "1 if this region is heard.", labels)
            .set(r.dropped ? kUnknown : r.connected ? 1 : 0);
        metrics.gauge("nornicdb_region_lag_entries", "Entries of this region's log that are not applied here.", labels)
            .set(of_leader(static_cast<double>(r.lag_entries)));
        metrics.gauge("nornicdb_region_lag_seconds", "How old the newest write of this region that is applied here is, while there are newer ones.", labels)
            .set(of_leader(static_cast<double>(r.lag_ms) / 1000.0));
        metrics.gauge("nornicdb_region_unacked_entries", "Entries of this log that this region is not known to have.", labels)
            .set(of_leader(static_cast<double>(r.unacked_entries)));
    }
    for (const auto& [name, value] : view.details) {
        const auto set = [&metrics, number = std::strtod(value.c_str(), nullptr)](const char* metric, const char* help) {
            metrics.gauge(metric, help).set(number);
        };
        if (name == "conflicts") {
            set("nornicdb_region_conflicts_total", "Conflicts that merging other regions' writes found.");
        } else if (name == "conflicts_open") {
            set("nornicdb_region_conflicts_open", "Those that wait for somebody to resolve them.");
        } else if (name == "tombstones") {
            set("nornicdb_region_tombstones", "Deleted nodes and relationships that some region may not have heard of yet.");
        } else if (name == "cross_region_mode") {
            metrics
                .gauge("nornicdb_region_semi_sync_degraded",
                       "1 while semi_sync writes are acknowledged without another region, or refused for want of one.")
                .set(value == "async" || value == "semi_sync" ? 0 : 1);
        }
    }
}

}  // namespace

void add_replication_metrics(Metrics& metrics, std::function<Member()> member) {
    auto& leader = metrics.gauge("nornicdb_replication_is_leader", "1 if this member takes writes.");
    auto& commit =
        metrics.gauge("nornicdb_replication_commit_index", "Last log index known to be committed.");
    auto& applied =
        metrics.gauge("nornicdb_replication_applied_index", "Last log index applied to the graph.");
    auto& lag = metrics.gauge("nornicdb_replication_lag_seconds",
                              "How long this member has been behind the leader; 0 on the leader.");
    auto& position = metrics.gauge("nornicdb_wal_position", "Last index of this member's log.");
    metrics.on_scrape([&metrics, &leader, &commit, &applied, &lag, &position, member = std::move(member)] {
        const Member now = member();
        const modes::ClusterView view = now.replica.view();
        const modes::ReplicaStats stats = now.replica.stats();
        metrics
            .gauge("nornicdb_replication_mode", "1 for the mode this member runs.", {{"mode", view.mode}})
            .set(1);
        leader.set(view.is_leader() && view.accepts_writes && !stats.failed ? 1 : 0);
        commit.set(static_cast<double>(view.commit_index.value));
        applied.set(static_cast<double>(stats.applied_index.value));
        lag.set(static_cast<double>(own_lag_ms(now, view, stats)) / 1000.0);
        position.set(static_cast<double>(stats.last_index.value));
        if (now.bus == nullptr) {
            return;
        }
        const auto set = [&](const char* name, const char* help, double value) {
            metrics.gauge(name, help).set(value);
        };
        const bool raft = view.mode != "ha_standby";
        if (raft) {
            set("nornicdb_raft_commit_index",
                "Last log index known to be committed.",
                static_cast<double>(view.commit_index.value));
            for (const auto& [name, value] : view.details) {
                const auto count = [&, &text = value](const char* metric, const char* help) {
                    set(metric, help, std::strtod(text.c_str(), nullptr));
                };
                if (name == "elections") {
                    count("nornicdb_raft_elections_total", "Elections that this member began since the start.");
                } else if (name == "state_comparisons") {
                    count("nornicdb_state_digest_comparisons_total",
                          "Comparisons of all members' data that this member made as the leader since the start.");
                } else if (name == "state_mismatches") {
                    count("nornicdb_state_digest_mismatches_total",
                          "Comparisons that found members' data to differ, as far as this member was told, since the start.");
                }
            }
            for (const modes::Role role : {modes::Role::kLeader,
                                           modes::Role::kFollower,
                                           modes::Role::kCandidate,
                                           modes::Role::kLearner,
                                           modes::Role::kWitness}) {
                metrics
                    .gauge("nornicdb_raft_role",
                           "1 for the role that this member has.",
                           {{"role", std::string{modes::to_string(role)}}})
                    .set(role == view.role ? 1 : 0);
            }
        }
        set(raft ? "nornicdb_raft_term" : "nornicdb_replication_epoch",
            raft ? "Current Raft term." : "Epoch of the primary that this member knows.",
            static_cast<double>(view.term.value));
        set("nornicdb_replication_ready",
            "1 if this member can do its role's work, as /ready says.",
            ready(now).status == 200 ? 1 : 0);
        set("nornicdb_replication_quarantined",
            "1 while this member serves nobody, since its data differs from the others'.",
            view.state == "quarantined" ? 1 : 0);
        set("nornicdb_replication_degraded",
            "1 while writes are acknowledged without the standby.",
            view.state == "degraded" ? 1 : 0);
        set("nornicdb_cluster_leader_changes_total",
            "Changes of the leader or primary seen since the start.",
            static_cast<double>(view.leader_changes));
        set("nornicdb_replication_diverged_entries_total",
            "Log entries of lost branches, saved under diverged/, since the start.",
            static_cast<double>(stats.diverged_entries));
        set("nornicdb_replication_snapshots_sent_total",
            "Copies of everything sent to peers.",
            static_cast<double>(stats.snapshots_sent));
        set("nornicdb_replication_snapshots_installed_total",
            "Copies of everything taken from peers.",
            static_cast<double>(stats.snapshots_installed));
        set("nornicdb_replication_snapshot_sent_bytes_total",
            "Bytes of them sent.",
            static_cast<double>(stats.snapshot_bytes_sent));
        set("nornicdb_replication_snapshot_received_bytes_total",
            "Bytes of them received.",
            static_cast<double>(stats.snapshot_bytes_received));
        refresh_peers(metrics, now, view, stats);
        refresh_regions(metrics, view);
    });
}

}  // namespace nornic::server
