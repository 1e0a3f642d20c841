// What NORNICDB_CLUSTER_ROUTING_POLICIES and NORNICDB_CLUSTER_SERVER_TAGS must be. Private to env.
#pragma once

#include "env/settings.h"

namespace nornic::env {

/// Checks both and fills routing_policy_list and server_tag_list. kInvalidArgument with one line that names the variable and
/// the part of it.
Result<> resolve_routing(ClusterSettings& cluster);

}  // namespace nornic::env
