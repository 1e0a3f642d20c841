#include "server/routing.h"

#include "server/instance.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace nornic::server {
namespace {

// A driver that talks to the primary of a lost branch learns of the other one when its table runs out.
constexpr std::int64_t kClusterTtlSeconds = 10;
constexpr std::string_view kByClient = "client";

std::string_view text_in(const Value& context, std::string_view key) {
    const Value* const v = context.is_map() ? context.as_map().find(key) : nullptr;
    return v != nullptr && v->is_string() ? v->as_string() : std::string_view{};
}

bool has_any(const Candidate& candidate, const std::vector<std::string>& tags) {
    return std::ranges::any_of(tags, [&](const std::string& tag) { return std::ranges::find(candidate.tags, tag) != candidate.tags.end(); });
}

std::vector<std::string> addresses_of(std::vector<Candidate> candidates) {
    std::vector<std::string> out;
    out.reserve(candidates.size());
    for (Candidate& one : candidates) {
        out.push_back(std::move(one.address));
    }
    return out;
}

/// The one address of all roles, if this member answers so.
std::optional<std::string> single_address(Instance& instance, const Value& context) {
    const env::Settings& settings = instance.settings();
    const std::string asked{text_in(context, "address")};
    const bool reachable = env::parse_host_port(asked).has_value();
    if (!settings.bolt_routing_address.empty()) {
        if (settings.bolt_routing_address != kByClient) {
            return settings.bolt_routing_address;
        }
        return reachable ? asked : instance.bolt_address();
    }
    if (instance.mode().has_peers) {
        return std::nullopt;
    }
    // The address that the client came by is known to work.
    return settings.bolt_advertise_address.empty() && reachable ? asked : instance.bolt_address();
}

}  // namespace

std::vector<Candidate> apply(const env::RoutingPolicy& policy, std::vector<Candidate> candidates) {
    using Kind = env::RoutingStep::Kind;
    for (const auto& rule : policy.rules) {
        std::vector<Candidate> left = candidates;
        for (const env::RoutingStep& step : rule) {
            switch (step.kind) {
                case Kind::kAll:
                    break;
                case Kind::kTags:
                    std::erase_if(left, [&](const Candidate& one) { return !has_any(one, step.tags); });
                    break;
                case Kind::kMin:
                    if (left.size() < step.count) {
                        left.clear();
                    }
                    break;
                case Kind::kHalt:
                    return {};
            }
        }
        if (!left.empty()) {
            return left;
        }
    }
    return candidates;
}

Result<const env::RoutingPolicy*> find_policy(std::span<const env::RoutingPolicy> policies, std::string_view name) {
    constexpr std::string_view kDefault = "default";
    const std::string_view wanted = name.empty() ? kDefault : name;
    const auto found = std::ranges::find(policies, wanted, &env::RoutingPolicy::name);
    if (found != policies.end()) {
        return &*found;
    }
    if (wanted == kDefault) {
        return nullptr;
    }
    // Not a code after which a driver asks the other members, which would say the same.
    return Error{ErrorCode::kArgumentError,
                 fmt::format("Policy definition for '{}' could not be found", wanted.substr(0, 100)),
                 std::nullopt,
                 "08N15"};
}

bool is_forwarded(const bolt::ConnectionInfo& info) {
    return info.routing_context.is_map() && info.routing_context.as_map().contains(kForwardedKey);
}

bool goes_to_the_writer(const Instance& instance, const bolt::ConnectionInfo& info) {
    return info.routing_context.is_map() && (instance.settings().bolt_routing_address.empty() || is_forwarded(info));
}

Result<RoutingAddresses> routing_table(Instance& instance, const Value& context) {
    const env::ClusterSettings& cluster = instance.settings().cluster;
    NORNIC_TRY(const env::RoutingPolicy* policy, find_policy(cluster.routing_policy_list, text_in(context, "policy")));
    RoutingAddresses out;
    if (auto single = single_address(instance, context)) {
        out.writers = out.readers = out.routers = {std::move(*single)};
        return out;
    }
    out.ttl_seconds = kClusterTtlSeconds;
    const modes::ClusterView view = instance.replica().view();
    std::string leader;
    std::vector<Candidate> routers;
    std::vector<Candidate> readers;
    std::vector<Candidate> behind;  // would show a state of long ago, or none
    std::optional<Candidate> last;
    for (const modes::MemberView& member : view.members) {
        const bool self = member.id == view.self;
        Candidate one{self ? instance.bolt_address() : member.bolt_address, self ? cluster.server_tag_list : member.tags};
        if (one.address.empty() || !member.serves_data || (!self && !member.healthy)) {
            continue;
        }
        routers.push_back(one);
        if (member.id == view.leader) {
            leader = one.address;
            last = std::move(one);
            continue;
        }
        // How far others are only a leader knows.
        const bool known = self || view.is_leader();
        const bool empty = known && (self ? instance.engine().applied_index() : member.applied_index) == LogIndex{0};
        (empty || (self && view.state == "catching_up") ? behind : readers).push_back(std::move(one));
    }
    if (last) {
        // Of another member it is only known that it leads; it refuses by itself what it cannot take.
        if (view.leader != view.self || (view.accepts_writes && !instance.replica().failure())) {
            out.writers.push_back(leader);
        }
        // Last, as drivers that read in order spare it; without it a lone primary would have no reader.
        readers.push_back(std::move(*last));
    }
    if (const modes::RegionView* region = instance.writing_region(view)) {
        out.writers.clear();
        if (!region->leader_bolt_address.empty()) {
            out.writers.push_back(region->leader_bolt_address);
        }
    }
    if (readers.empty()) {
        readers = std::move(behind);  // a table without readers is no table to a driver
    }
    if (policy != nullptr) {
        readers = apply(*policy, std::move(readers));
        // Who passes is asked first for the next table; the others still tell where those are.
        std::vector<Candidate> ordered = apply(*policy, routers);
        for (Candidate& one : routers) {
            if (std::ranges::find(ordered, one.address, &Candidate::address) == ordered.end()) {
                ordered.push_back(std::move(one));
            }
        }
        routers = std::move(ordered);
    }
    out.readers = addresses_of(std::move(readers));
    out.routers = addresses_of(std::move(routers));
    return out;
}

}  // namespace nornic::server
