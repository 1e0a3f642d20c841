// The table of modes: value of NORNICDB_CLUSTER_MODE → how its strategy is made from the settings. The one place
// that names them all.
#pragma once

#include "base/clock.h"
#include "base/result.h"
#include "env/settings.h"
#include "modes/replica.h"

#include <string>
#include <string_view>
#include <vector>

namespace nornic::server {

struct ModeEntry {
    std::string_view name;
    bool has_peers = true;
    /// The level of reads in access mode WRITE that ask for none themselves.
    modes::ReadConsistency write_mode_reads = modes::ReadConsistency::kOne;
    modes::StrategyFactory (*factory)(const env::ClusterSettings& settings, Duration tick) = nullptr;
    /// Cluster addresses to dial.
    std::vector<std::string> (*peers)(const env::ClusterSettings& settings) = nullptr;
};

/// kUnsupported naming the modes that this version has.
Result<const ModeEntry*> find_mode(std::string_view name);

/// A member that has a vote and nothing else: no engine, no Bolt.
bool is_witness(const env::ClusterSettings& settings);

/// Its members are a Raft group: in multi_region, those of one region.
bool is_raft(std::string_view mode);

}  // namespace nornic::server
