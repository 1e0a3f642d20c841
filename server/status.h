// What a member says of itself and the others: the JSON of /health, /ready and /admin/. Names and shape of the
// first fields are the clustering guide's; ours follow behind them.
#pragma once

#include "http/backend.h"
#include "server/member.h"

#include <boost/json.hpp>

#include <vector>

namespace nornic::server {

/// 200 as long as the process serves, so that a cluster can form; 503 once it cannot go on.
http::Document health(const Member& member);
/// 200 only if the member can do its role's work: a primary that takes writes, a standby that follows one.
http::Document ready(const Member& member);

/// 200 for the member that takes writes.
http::Document leader_probe(const Member& member);
/// 200 for one that serves reads beside it and has caught up.
http::Document replica_probe(const Member& member);

boost::json::object cluster_status(const Member& member);
/// Who led when, and why that changed, as this member saw it since its start.
boost::json::object leader_history(const Member& member);
/// The members in the words of dbms.listServers.
boost::json::array info_peers(const Member& member);
boost::json::object replication_lag(const Member& member);
boost::json::object wal_position(const Member& member);
/// Of a member of a Raft group.
boost::json::object raft_state(const Member& member);
/// Of a member in mode multi_region: the regions as this one sees them, and what it knows of conflicts.
boost::json::object region_status(const Member& member);

/// In the order of their names, whoever was asked.
std::vector<modes::MemberView> sorted_members(const modes::ClusterView& view);
/// Whether the member that was asked knows how far this one is.
bool progress_known(const modes::ClusterView& view, const modes::MemberView& member);
/// How long one of its members has been behind, in milliseconds; 0 for one that leads.
std::uint64_t lag_ms(const Member& asked,
                     const modes::ClusterView& view,
                     const modes::ReplicaStats& stats,
                     const modes::MemberView& member);
/// The same of the member that was asked.
std::uint64_t own_lag_ms(const Member& asked, const modes::ClusterView& view, const modes::ReplicaStats& stats);

}  // namespace nornic::server
