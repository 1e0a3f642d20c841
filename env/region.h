// What NORNICDB_CLUSTER_REGION_* and its neighbours must be together. Private to env.
#pragma once

#include "env/settings.h"

namespace nornic::env {

/// Checks the names of regions and fills remote_region_list. kInvalidArgument with one line that names the variable and
/// the part of it.
Result<> resolve_region(ClusterSettings& cluster);

}  // namespace nornic::env
