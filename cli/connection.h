// Where a command's servers are and how it gets in: --address, --user and their like, or the environment of a server on this machine.
#pragma once

#include "base/result.h"
#include "cli/command_line.h"
#include "http/client.h"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::cli {

/// In the order in which they are tried. `environment`: NORNICDB_* names. kInvalidArgument.
Result<std::vector<http::Site>> sites_of(const Arguments& arguments, const std::map<std::string, std::string>& environment);

/// Where a member may be that the one at `asked` names: at the HTTP address that clients are shown, or beside its cluster address at the
/// port that was asked (within a network of containers, whose shown addresses are the host's). An answer tells whether it is there.
std::vector<http::Site> doors_of(const http::Site& asked, std::string_view http_address, std::string_view cluster_address);

}  // namespace nornic::cli
