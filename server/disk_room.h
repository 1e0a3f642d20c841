// Room on the disk of the data directory: whether there is enough to start, and whether writes are still refused for lack of it.
#pragma once

#include "base/result.h"
#include "env/settings.h"
#include "modes/replica.h"

#include <string>
#include <string_view>

namespace nornic::server {

/// What status says then.
inline constexpr std::string_view kDiskIsFull =
    "the disk is full: less than NORNICDB_DISK_RESERVE is free; make room on the disk of the data directory, and writes go on by themselves";

/// The log notices that there is room again with the next write. Load balancers send none while this member says that its disk is
/// full, so the disk is asked, too.
bool disk_is_full(const modes::ReplicaStats& stats, const env::Settings& settings);

/// kDiskFull if there is not even room to open the data, which takes some new files. More is needed to write: kDiskFull of the log.
Result<> check_room_to_start(const std::string& directory);

}  // namespace nornic::server
