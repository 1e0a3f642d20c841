// Whom drivers are told to go to: routing tables, by what this member knows of the others, and the policies that choose among
// them (docs/bolt.md, "Routing").
#pragma once

#include "base/result.h"
#include "bolt/backend.h"
#include "env/settings.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::server {

class Instance;

/// As ROUTE and the procedures answer it.
struct RoutingAddresses {
    std::vector<std::string> writers;  // none: nobody takes writes now
    std::vector<std::string> readers;  // the writer last
    std::vector<std::string> routers;
    std::int64_t ttl_seconds = 300;
};

/// A member that a policy chooses or not.
struct Candidate {
    std::string address;
    std::vector<std::string> tags;
};

/// What is left of `candidates`, in their order. A policy whose rules leave nobody leaves all, unless it halts.
std::vector<Candidate> apply(const env::RoutingPolicy& policy, std::vector<Candidate> candidates);

/// The policy of this name, or where it is empty the one named "default"; nullptr: all pass. kArgumentError "Policy definition
/// for 'x' could not be found".
Result<const env::RoutingPolicy*> find_policy(std::span<const env::RoutingPolicy> policies, std::string_view name);

/// In the routing context of a connection between members, so that what came over it goes no further.
inline constexpr std::string_view kForwardedKey = "forwarded";
[[nodiscard]] bool is_forwarded(const bolt::ConnectionInfo& info);
/// Its driver goes by routing tables that tell the writer from the others, so it is told where to go instead of being passed on.
[[nodiscard]] bool goes_to_the_writer(const Instance& instance, const bolt::ConnectionInfo& info);

/// `context`: the driver's routing context, a map or null. kArgumentError for an unknown policy.
Result<RoutingAddresses> routing_table(Instance& instance, const Value& context);

}  // namespace nornic::server
