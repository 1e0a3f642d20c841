// Chain replication (van Renesse and Schneider, OSDI 2004) as a mode: the example that
// docs/writing-a-mode.md walks through. The head takes writes; each member forwards down the chain what
// is on its disk; what the tail has on disk is on every disk, so the tail commits, and the
// acknowledgement travels back up. Nothing is elected: while a member is away no write ends, until an
// operator takes it out of the chain, which begins a new configuration epoch.
//
// Its messages are two of Raft's with a reading of their own:
//   AppendEntries, down: term = configuration epoch, leader_id = the chain ("a,b,c", head first),
//     prev_log_* and entries as in Raft, read_context = the round of the head that this carries on.
//   AppendEntriesResponse, up: match_index = committed here and behind, conflict_index = the entry that
//     is wanted next (success or not), read_context = the newest round that came back from the tail.
#pragma once

#include "modes/strategy.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace nornic::modes {

struct ChainSettings {
    /// All members, in the order of the first chain. Equal everywhere.
    std::vector<NodeName> members;
    std::uint32_t heartbeat_ticks = 10;
    /// A head that hears nothing from the tail for so long takes no writes.
    std::uint32_t silence_ticks = 100;
    std::size_t batch_bytes_max = std::size_t{512} << 10;
    /// Sent to the successor and not known to be on its disk.
    std::uint64_t window_entries = 4096;
};

std::unique_ptr<Strategy> make_chain(const StrategyStart& start, const ChainSettings& settings);

}  // namespace nornic::modes
