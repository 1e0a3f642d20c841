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

/// kInvalidArgument where data of a group's member would go its own way under this mode: it would write log entries under numbers that
/// the group gives to others, and nobody would notice when it is back. `extra`: what the data's mode keeps in its hard state.
Result<> check_data_fits(const ModeEntry& mode, const std::string& directory, std::string_view extra, bool of_a_region);

/// A member that has a vote and nothing else: no engine, no Bolt.
bool is_witness(const env::ClusterSettings& settings);

/// Its members are a Raft group: in multi_region, those of one region.
bool is_raft(std::string_view mode);

}  // namespace nornic::server
