// Where a command's servers are and how it gets in: --address, --user and their like, or the environment of a server on this machine.
#pragma once

#include "base/result.h"
#include "cli/command_line.h"
#include "http/client.h"

#include <map>
#include <string>
#include <vector>

namespace nornic::cli {

/// In the order in which they are tried. `environment`: NORNICDB_* names. kInvalidArgument.
Result<std::vector<http::Site>> sites_of(const Arguments& arguments, const std::map<std::string, std::string>& environment);

}  // namespace nornic::cli
