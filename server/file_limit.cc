#include "server/file_limit.h"

#include <sys/resource.h>

#include <algorithm>
#include <limits>

namespace nornic::server {
namespace {

// Tables of the store (256 at once), its logs, the segments of the log, event queues, a checkpoint under way.
constexpr std::size_t kOwnFiles = 400;
constexpr std::size_t kConnectionsMin = 16;

}  // namespace

std::size_t raise_file_limit() {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return std::numeric_limits<std::size_t>::max();
    }
    if (limit.rlim_cur < limit.rlim_max) {
        rlimit raised = limit;
        raised.rlim_cur = raised.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0) {
            limit = raised;
        }
    }
    return limit.rlim_cur;
}

ConnectionLimits connection_limits(std::size_t files, ConnectionLimits wanted) {
    const std::size_t left = std::max(files, kOwnFiles) - kOwnFiles;
    if (wanted.bolt + wanted.http <= left) {
        return wanted;
    }
    // HTTP is for the few; it keeps at most a fifth.
    ConnectionLimits out;
    out.http = std::max(kConnectionsMin, std::min(wanted.http, left / 5));
    out.bolt = std::max(kConnectionsMin, std::min(wanted.bolt, left - std::min(left, out.http)));
    return out;
}

}  // namespace nornic::server
