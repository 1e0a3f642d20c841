// How many files this process may have open, and what that leaves for connections.
#pragma once

#include <cstddef>

namespace nornic::server {

/// Raises this process's limit to the most it may set for itself, and returns that. Login shells and
/// service managers begin with 1024, which is less than the connections a server takes.
std::size_t raise_file_limit();

struct ConnectionLimits {
    std::size_t bolt = 0;
    std::size_t http = 0;
};

/// As wanted, or as many as `files` leave when the store and the log have theirs: a store that cannot open a
/// file stops the process, a connection that is refused stops nobody.
ConnectionLimits connection_limits(std::size_t files, ConnectionLimits wanted);

}  // namespace nornic::server
