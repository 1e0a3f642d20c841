// What NORNICDB_CLUSTER_RAFT_* must be together. Private to env.
#pragma once

#include "env/settings.h"

namespace nornic::env {

/// Fills raft_peer_list and raft_join_list: the others alone, as this member's own entry may stand among them.
/// kInvalidArgument with one line that names the variable.
Result<> resolve_raft(ClusterSettings& cluster);

}  // namespace nornic::env
