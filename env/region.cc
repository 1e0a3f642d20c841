#include "env/region.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace nornic::env {
namespace {

constexpr std::size_t kNameBytesMax = 63;  // as a label of a host name has
constexpr std::size_t kRegionsMax = 31;    // five bits of an id say whose it is
constexpr std::size_t kAddressesMax = 64;  // of all regions together
constexpr std::string_view kRegion = "NORNICDB_CLUSTER_REGION_ID";
constexpr std::string_view kRemotes = "NORNICDB_CLUSTER_REMOTE_REGIONS";
constexpr Duration kOffsetMin = std::chrono::milliseconds{1};

auto refuse(std::string_view name, std::string_view value, std::string_view why) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("{}='{}': {}", name, value, why));
}

bool is_region_name(std::string_view text) {
    return !text.empty() && text.size() <= kNameBytesMax && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    });
}

std::string what_a_name_is() {
    return fmt::format("a region's name has letters, digits, '-', '_' and '.', at most {} of them", kNameBytesMax);
}

/// "eu-west:host:7688", "eu-west:[::1]:7688".
Result<> add_remote(ClusterSettings& c, const std::string& part) {
    const std::size_t colon = part.find(':');
    const std::string name = part.substr(0, colon);
    const std::string address = colon == std::string::npos ? std::string{} : part.substr(colon + 1);
    const auto parsed = parse_host_port(address);
    if (!parsed || parsed->second == 0) {
        return refuse(kRemotes, c.remote_regions, fmt::format("'{}' is not region:host:port ([…] around an IPv6 address)", part));
    }
    if (!is_region_name(name)) {
        return refuse(kRemotes, c.remote_regions, fmt::format("'{}' in '{}': {}", name, part, what_a_name_is()));
    }
    if (name == c.region_id) {
        return refuse(kRemotes,
                      c.remote_regions,
                      fmt::format("'{}' names this region itself ({}); its own members are in NORNICDB_CLUSTER_RAFT_PEERS", part, kRegion));
    }
    auto region = std::find_if(c.remote_region_list.begin(), c.remote_region_list.end(), [&](const auto& r) { return r.name == name; });
    if (region == c.remote_region_list.end()) {
        c.remote_region_list.push_back({name, {}});
        region = std::prev(c.remote_region_list.end());
    }
    region->addresses.push_back(address);
    return success();
}

}  // namespace

Result<> resolve_region(ClusterSettings& c) {
    if (!is_region_name(c.region_id)) {
        return refuse(kRegion, c.region_id, "multi_region takes this region's name: " + what_a_name_is());
    }
    c.remote_region_list.clear();
    const std::vector<std::string> parts = split_list(c.remote_regions);
    if (parts.size() > kAddressesMax) {
        return refuse(kRemotes, c.remote_regions, fmt::format("it takes at most {} addresses; two or three of a region are enough", kAddressesMax));
    }
    std::set<std::string> addresses;
    for (const std::string& part : parts) {
        NORNIC_TRY(add_remote(c, part));
        const std::string& address = part.substr(part.find(':') + 1);
        if (!addresses.insert(address).second) {
            return refuse(kRemotes, c.remote_regions, fmt::format("it names {} twice", address));
        }
        const auto is_peer = [&](const RaftPeerAddress& peer) { return peer.address == address; };
        if (address == c.advertise_address || address == c.bind_address ||
            std::any_of(c.raft_peer_list.begin(), c.raft_peer_list.end(), is_peer)) {
            return refuse(kRemotes, c.remote_regions, fmt::format("'{}' has the address of a member of this region", part));
        }
    }
    if (c.remote_region_list.size() >= kRegionsMax) {
        return refuse(kRemotes, c.remote_regions, fmt::format("there are at most {} regions, this one among them", kRegionsMax));
    }
    if (c.cross_region_timeout < std::chrono::milliseconds{10}) {
        return refuse("NORNICDB_CLUSTER_CROSS_REGION_TIMEOUT",
                      fmt::format("{}ms", std::chrono::duration_cast<std::chrono::milliseconds>(c.cross_region_timeout).count()),
                      "it takes at least 10ms");
    }
    if (c.region_clock_offset_max < kOffsetMin || c.region_clock_offset_max > std::chrono::hours{24}) {
        return refuse("NORNICDB_CLUSTER_REGION_CLOCK_OFFSET_MAX",
                      fmt::format("{}ms", std::chrono::duration_cast<std::chrono::milliseconds>(c.region_clock_offset_max).count()),
                      "it takes 1ms to 24h");
    }
    return success();
}

}  // namespace nornic::env
