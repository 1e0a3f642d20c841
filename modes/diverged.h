// Entries of a lost branch, kept where a person can read them. A lost branch is what an old primary logged and nobody
// took over: it is never applied again and never dropped in silence.
#pragma once

#include "base/result.h"
#include "engine/log.h"
#include "engine/snapshot.h"

#include <functional>
#include <string>
#include <vector>

namespace nornic::modes {

/// "epoch-3-entries-118-124.jsonl"
std::string diverged_name(const std::vector<engine::LogEntry>& entries);
/// One JSON object a line: index, epoch, time, kind and the changes in words. `names`: of the state that they were
/// written on.
std::string describe_entries(const std::vector<engine::LogEntry>& entries, const engine::TokenNames& names = {});

/// Writes and syncs `directory`/`name`; a file of that name (the same branch, met again after a crash) is replaced.
Result<> save_diverged(const std::string& directory, const std::string& name, const std::string& text);

}  // namespace nornic::modes
