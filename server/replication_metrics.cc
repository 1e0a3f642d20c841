#include "server/replication_metrics.h"

#include "server/disk_room.h"
#include "server/modes_table.h"
#include "server/scraped.h"
#include "server/status.h"

#include <cstdlib>
#include <limits>

namespace nornic::server {
namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

double number(std::uint64_t value) {
    return static_cast<double>(value);
}

void show_peers(Scraped& out, const Member& member, const modes::ClusterView& view, const modes::ReplicaStats& stats) {
    for (const modes::MemberView& m : view.members) {
        if (m.id == view.self) {
            continue;
        }
        const MetricLabels labels{{"peer", m.id}};
        const double healthy = m.healthy ? 1 : 0;
        out.gauge("nornicdb_replication_peer_healthy", "1 if this peer is heard.", healthy, labels);
        out.gauge("nornicdb_peer_healthy", "1 if this peer is heard.", healthy, labels);
        const bool known = progress_known(view, m);
        if (m.serves_data) {
            out.gauge("nornicdb_replication_peer_lag_seconds",
                      "How long this peer has been behind, as far as is known here.",
                      known ? number(lag_ms(member, view, stats, m)) / 1000.0 : kUnknown,
                      labels);
        }
        out.gauge("nornicdb_replication_peer_match_index",
                  "Last log index durable on this peer.",
                  known ? number(m.match_index.value) : kUnknown,
                  labels);
        if (is_raft(view.mode)) {
            out.gauge("nornicdb_raft_peer_match_lag",
                      "Log entries that this peer has not yet.",
                      known ? number(stats.last_index.value) - number(m.match_index.value) : kUnknown,
                      labels);
        }
    }
    for (const transport::PeerStats& p : member.bus->stats()) {
        const std::string peer = p.id.empty() ? p.address : p.id;
        const auto bytes = [&](const char* direction, std::uint64_t value) {
            out.counter("nornicdb_replication_bytes_total",
                        "Bytes exchanged with this peer.",
                        number(value),
                        {{"peer", peer}, {"direction", direction}});
        };
        bytes("sent", p.bytes_sent);
        bytes("received", p.bytes_received);
    }
}

/// What only a leader knows is NaN elsewhere.
void show_regions(Scraped& out, const modes::ClusterView& view) {
    for (const modes::RegionView& r : view.regions) {
        const MetricLabels labels{{"region", r.name}};
        out.gauge("nornicdb_region_primary", "1 for the region that writes schema and users.", r.primary ? 1 : 0, labels);
        if (r.self) {
            continue;
        }
        // One that was given up is missed by nobody.
        const auto of_leader = [&](double value) { return view.is_leader() && !r.dropped ? value : kUnknown; };
        out.gauge("nornicdb_region_connected",
                  "1 if this region is heard.",
                  r.dropped ? kUnknown : r.connected ? 1 : 0,
                  labels);
        out.gauge("nornicdb_region_lag_entries",
                  "Entries of this region's log that are not applied here.",
                  of_leader(number(r.lag_entries)),
                  labels);
        out.gauge("nornicdb_region_lag_seconds",
                  "How old the newest write of this region that is applied here is, while there are newer ones.",
                  of_leader(number(r.lag_ms) / 1000.0),
                  labels);
        out.gauge("nornicdb_region_unacked_entries",
                  "Entries of this log that this region is not known to have.",
                  of_leader(number(r.unacked_entries)),
                  labels);
    }
    for (const auto& [name, text] : view.details) {
        const double value = std::strtod(text.c_str(), nullptr);
        if (name == "conflicts") {
            out.counter("nornicdb_region_conflicts_total", "Conflicts that merging other regions' writes found.", value);
        } else if (name == "conflicts_open") {
            out.gauge("nornicdb_region_conflicts_open", "Those that wait for somebody to resolve them.", value);
        } else if (name == "tombstones") {
            out.gauge("nornicdb_region_tombstones",
                      "Deleted nodes and relationships that some region may not have heard of yet.",
                      value);
        } else if (name == "cross_region_mode") {
            out.gauge("nornicdb_region_semi_sync_degraded",
                      "1 while semi_sync writes are acknowledged without another region, or refused for want of one.",
                      text == "async" || text == "semi_sync" ? 0 : 1);
        }
    }
}

void show_raft(Scraped& out, const modes::ClusterView& view) {
    out.gauge("nornicdb_raft_term", "Current Raft term.", number(view.term.value));
    out.gauge("nornicdb_raft_commit_index", "Last log index known to be committed.", number(view.commit_index.value));
    for (const auto& [name, text] : view.details) {
        const double value = std::strtod(text.c_str(), nullptr);
        if (name == "elections") {
            out.counter("nornicdb_raft_elections_total", "Elections that this member began since the start.", value);
        } else if (name == "state_comparisons") {
            out.counter("nornicdb_state_digest_comparisons_total",
                        "Comparisons of all members' data that this member made as the leader since the start.",
                        value);
        } else if (name == "state_mismatches") {
            out.counter("nornicdb_state_digest_mismatches_total",
                        "Comparisons that found members' data to differ, as far as this member was told, since the start.",
                        value);
        }
    }
    for (const modes::Role role : {modes::Role::kLeader,
                                   modes::Role::kFollower,
                                   modes::Role::kCandidate,
                                   modes::Role::kLearner,
                                   modes::Role::kWitness}) {
        out.gauge("nornicdb_raft_role",
                  "1 for the role that this member has.",
                  role == view.role ? 1 : 0,
                  {{"role", std::string{modes::to_string(role)}}});
    }
}

void show_log(Scraped& out, const Member& member, const modes::ReplicaStats& stats) {
    out.gauge("nornicdb_wal_position", "Last index of this member's log.", number(stats.last_index.value));
    out.gauge("nornicdb_log_first_index", "First index that the log still holds.", number(stats.first_index.value));
    out.gauge("nornicdb_log_bytes", "Bytes of the log on disk.", number(stats.log_bytes));
    out.counter("nornicdb_log_batches_total", "Batches of entries written to the log since the start.", number(stats.batches));
    out.counter("nornicdb_log_syncs_total",
                "Syncs of the log since the start; commits share them.",
                number(stats.sync_count));
    out.counter("nornicdb_log_sync_seconds_total", "Time spent in syncs of the log.", number(stats.sync_ns_total) / 1e9);
    out.gauge("nornicdb_log_sync_seconds_max", "Longest sync of the log since the start.", number(stats.sync_ns_max) / 1e9);
    out.gauge("nornicdb_log_failed", "1 once the log cannot be written; the process ends and verifies it when it starts.", stats.failed ? 1 : 0);
    out.gauge("nornicdb_disk_full", "1 while writes are refused for lack of disk space.", disk_is_full(stats, member.settings) ? 1 : 0);
}

void show_cluster(Scraped& out, const Member& member, const modes::ClusterView& view, const modes::ReplicaStats& stats) {
    if (is_raft(view.mode)) {
        show_raft(out, view);
    } else {
        out.gauge("nornicdb_replication_epoch", "Epoch of the primary that this member knows.", number(view.term.value));
        out.gauge("nornicdb_replication_degraded",
                  "1 while writes are acknowledged without the standby, or wait until that is safe.",
                  view.state == "degraded" ? 1 : 0);
        out.gauge("nornicdb_replication_degrading",
                  "1 while writes wait until it is safe to acknowledge them without the standby.",
                  std::ranges::count(view.details, std::pair{std::string{"sync_state"}, std::string{"waiting"}}) != 0 ? 1 : 0);
    }
    out.gauge("nornicdb_replication_quarantined",
              "1 while this member serves nobody, since its data differs from the others'.",
              view.state == "quarantined" ? 1 : 0);
    out.counter("nornicdb_cluster_leader_changes_total",
                "Changes of the leader or primary seen since the start.",
                number(view.leader_changes));
    out.counter("nornicdb_replication_diverged_entries_total",
                "Log entries of lost branches, saved under diverged/, since the start.",
                number(stats.diverged_entries));
    out.counter("nornicdb_replication_snapshots_sent_total",
                "Copies of everything sent to peers.",
                number(stats.snapshots_sent));
    out.counter("nornicdb_replication_snapshots_installed_total",
                "Copies of everything taken from peers.",
                number(stats.snapshots_installed));
    out.counter("nornicdb_replication_snapshot_sent_bytes_total", "Bytes of them sent.", number(stats.snapshot_bytes_sent));
    out.counter("nornicdb_replication_snapshot_received_bytes_total",
                "Bytes of them received.",
                number(stats.snapshot_bytes_received));
    show_peers(out, member, view, stats);
    show_regions(out, view);
}

}  // namespace

void add_replication_metrics(Metrics& metrics, std::function<Member()> member) {
    show_when_scraped(metrics, [member = std::move(member)](Scraped& out) {
        const Member now = member();
        const modes::ClusterView view = now.replica.view();
        const modes::ReplicaStats stats = now.replica.stats();
        out.gauge("nornicdb_replication_mode", "1 for the mode this member runs.", 1, {{"mode", view.mode}});
        out.gauge("nornicdb_replication_is_leader",
                  "1 if this member takes writes.",
                  view.is_leader() && view.accepts_writes && !stats.failed ? 1 : 0);
        out.gauge("nornicdb_replication_ready",
                  "1 if this member can do its role's work, as /ready says.",
                  ready(now).status == 200 ? 1 : 0);
        out.gauge("nornicdb_replication_commit_index",
                  "Last log index known to be committed.",
                  number(view.commit_index.value));
        out.gauge("nornicdb_replication_applied_index",
                  "Last log index applied to the graph.",
                  number(stats.applied_index.value));
        out.gauge("nornicdb_replication_lag_seconds",
                  "How long this member has been behind the leader; 0 on the leader.",
                  number(own_lag_ms(now, view, stats)) / 1000.0);
        show_log(out, now, stats);
        if (now.bus != nullptr) {
            show_cluster(out, now, view, stats);
        }
    });
}

}  // namespace nornic::server
