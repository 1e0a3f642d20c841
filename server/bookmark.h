// Bookmarks: "nb1:<history>:<log index>". Opaque to drivers. The history is a uuid drawn when the
// data was first made (and anew when acknowledged writes were given up), so that a bookmark of lost
// or foreign data is refused instead of waited for.
#pragma once

#include "base/ids.h"
#include "base/result.h"

#include <string>
#include <string_view>
#include <vector>

namespace nornic::server {

std::string make_bookmark(std::string_view history, LogIndex index);

/// The latest index that the bookmarks name; 0 if there are none. kInvalidBookmark for what is none
/// of ours or of another history.
Result<LogIndex> latest_of(const std::vector<std::string>& bookmarks, std::string_view history);

}  // namespace nornic::server
