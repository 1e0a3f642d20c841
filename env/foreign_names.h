// Names of other servers' configuration files and flags (bolt_raft_init_peers, --ha_conf), so that a cluster described
// for them starts here. One table maps them onto NORNICDB_ settings; docs/settings.md lists it. Private to env.
#pragma once

#include "base/result.h"

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::env {

struct MappedNames {
    std::map<std::string, std::string> settings;  // by NORNICDB_ name
    std::vector<std::string> warnings;
    bool http_port_may_move = false;  // the file gives all members of one machine the same one
};

/// Whether `host` is one of this machine's; a parameter for tests.
using IsOwnHost = std::function<bool(const std::string& host)>;
bool is_own_host(const std::string& host);

/// kInvalidArgument with one line that names what is wrong. All names are known (is_foreign_name()).
Result<MappedNames> map_foreign_names(const std::map<std::string, std::string>& values,
                                      const IsOwnHost& is_own = is_own_host);

}  // namespace nornic::env
