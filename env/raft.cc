#include "env/raft.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace nornic::env {
namespace {

constexpr std::size_t kVotersMax = 7;
constexpr std::size_t kJoinMax = 32;
constexpr std::size_t kNameBytesMax = 255;  // a Hello carries no more
constexpr Duration kHeartbeatMin = std::chrono::milliseconds{5};
constexpr Duration kElectionMax = std::chrono::minutes{10};
constexpr std::string_view kPeers = "NORNICDB_CLUSTER_RAFT_PEERS";

auto refuse(std::string_view name, std::string_view value, std::string_view why) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("{}='{}': {}", name, value, why));
}

std::int64_t milliseconds(Duration d) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(d).count();
}

bool is_dialable(std::string_view address) {
    const auto parsed = parse_host_port(address);
    return parsed && parsed->second != 0;
}

/// A name that can stand before the colon of an entry.
bool is_name(std::string_view id) {
    return !id.empty() && id.size() <= kNameBytesMax &&
           std::all_of(id.begin(), id.end(), [](char c) {
               return static_cast<unsigned char>(c) > ' ' && c != ':' && c != ',' && c != '/' && c != '[' && c != ']';
           });
}

bool is_own_address(const ClusterSettings& c, const std::string& address) {
    return address == c.advertise_address || address == c.bind_address;
}

Result<> resolve_peers(ClusterSettings& c) {
    NORNIC_TRY(const std::vector<RaftPeerAddress> named, parse_raft_peers(c.raft_peers));
    c.raft_peer_list.clear();
    for (const RaftPeerAddress& peer : named) {
        const bool own_id = !peer.id.empty() && peer.id == c.node_id;
        if (is_own_address(c, peer.address) && !peer.id.empty() && !c.node_id.empty() && !own_id) {
            return refuse(kPeers,
                          c.raft_peers,
                          fmt::format("it gives this member's own address {} to '{}', but NORNICDB_CLUSTER_NODE_ID is '{}'",
                                      peer.address,
                                      peer.id,
                                      c.node_id));
        }
        if (!own_id && !is_own_address(c, peer.address)) {
            c.raft_peer_list.push_back(peer);
        }
    }
    if (c.raft_peer_list.size() >= kVotersMax) {
        return refuse(kPeers,
                      c.raft_peers,
                      fmt::format("a group takes at most {} voters; add further members as learners", kVotersMax));
    }
    return success();
}

Result<> resolve_join(ClusterSettings& c) {
    c.raft_join_list.clear();
    for (const std::string& address : split_list(c.raft_join)) {
        if (!is_dialable(address)) {
            return refuse("NORNICDB_CLUSTER_RAFT_JOIN", c.raft_join, fmt::format("'{}' is not host:port", address));
        }
        if (!is_own_address(c, address)) {
            c.raft_join_list.push_back(address);
        }
    }
    if (c.raft_join_list.size() > kJoinMax) {
        return refuse("NORNICDB_CLUSTER_RAFT_JOIN",
                      c.raft_join,
                      fmt::format("it takes at most {} addresses; one that answers is enough", kJoinMax));
    }
    return success();
}

Result<> check_bootstrap(const ClusterSettings& c) {
    if (!c.raft_bootstrap) {
        return success();
    }
    if (c.raft_role != "voter") {
        return refuse("NORNICDB_CLUSTER_RAFT_ROLE",
                      c.raft_role,
                      "NORNICDB_CLUSTER_RAFT_BOOTSTRAP=true takes a voter, since who makes a group holds its data");
    }
    if (!c.raft_join.empty()) {
        return refuse("NORNICDB_CLUSTER_RAFT_JOIN",
                      c.raft_join,
                      "NORNICDB_CLUSTER_RAFT_BOOTSTRAP=true makes a group, this joins one; it takes one of both");
    }
    return success();
}

Result<> check_times(const ClusterSettings& c) {
    if (c.raft_heartbeat_timeout < kHeartbeatMin) {
        return refuse("NORNICDB_CLUSTER_RAFT_HEARTBEAT_TIMEOUT",
                      fmt::format("{}ms", milliseconds(c.raft_heartbeat_timeout)),
                      fmt::format("it takes at least {}ms", milliseconds(kHeartbeatMin)));
    }
    if (c.raft_election_timeout > kElectionMax) {
        return refuse("NORNICDB_CLUSTER_RAFT_ELECTION_TIMEOUT",
                      fmt::format("{}ms", milliseconds(c.raft_election_timeout)),
                      "it takes at most 10m");
    }
    return success();
}

}  // namespace

Result<std::vector<RaftPeerAddress>> parse_raft_peers(std::string_view text) {
    std::vector<RaftPeerAddress> out;
    std::set<std::string> ids;
    std::set<std::string> addresses;
    for (const std::string& part : split_list(text)) {
        RaftPeerAddress peer;
        peer.address = part;
        if (!is_dialable(part)) {
            const std::size_t colon = part.find(':');
            peer.id = part.substr(0, colon);
            peer.address = colon == std::string::npos ? std::string{} : part.substr(colon + 1);
            if (!is_name(peer.id) || !is_dialable(peer.address)) {
                return refuse(kPeers,
                              text,
                              fmt::format("'{}' is neither id:host:port nor host:port ([…] around an IPv6 address)", part));
            }
        }
        if (!peer.id.empty() && !ids.insert(peer.id).second) {
            return refuse(kPeers, text, fmt::format("it names '{}' twice", peer.id));
        }
        if (!addresses.insert(peer.address).second) {
            return refuse(kPeers, text, fmt::format("it names {} twice", peer.address));
        }
        out.push_back(std::move(peer));
    }
    return out;
}

Result<> resolve_raft(ClusterSettings& c) {
    if (!c.node_id.empty() && !is_name(c.node_id)) {
        return refuse("NORNICDB_CLUSTER_NODE_ID",
                      c.node_id,
                      fmt::format("a member's name has at most {} characters and no blank, comma, slash, colon or bracket",
                                  kNameBytesMax));
    }
    if (c.raft_cluster_id.size() > kNameBytesMax) {
        return refuse("NORNICDB_CLUSTER_RAFT_CLUSTER_ID",
                      c.raft_cluster_id,
                      fmt::format("a cluster's name has at most {} bytes, this one has {}", kNameBytesMax, c.raft_cluster_id.size()));
    }
    NORNIC_TRY(resolve_peers(c));
    NORNIC_TRY(resolve_join(c));
    NORNIC_TRY(check_bootstrap(c));
    return check_times(c);
}

}  // namespace nornic::env
