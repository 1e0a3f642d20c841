// The other members: do their names resolve, do they answer, do their clocks agree with this one?
#include "cli/check/checks.h"
#include "http/client.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <set>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace nornic::cli {
namespace {

constexpr int kConnectMs = 1000;
constexpr std::chrono::milliseconds kClockTimeout{1000};
constexpr std::int64_t kSkewSecondsWarned = 2;

struct Peer {
    std::string what;  // "peer 'node-2'"
    std::string address;
};

std::vector<Peer> peers_of(const env::ClusterSettings& cluster) {
    std::vector<Peer> out;
    if (cluster.mode == "ha_standby") {
        for (const std::string& address : env::split_list(cluster.ha_peer_address)) {
            out.push_back({"peer", address});
        }
        if (!cluster.ha_witness_address.empty()) {
            out.push_back({"witness", cluster.ha_witness_address});
        }
        return out;
    }
    if (cluster.mode == "standalone") {
        return out;
    }
    for (const env::RaftPeerAddress& peer : cluster.raft_peer_list) {
        out.push_back({peer.id.empty() ? "peer" : "peer '" + peer.id + "'", peer.address});
    }
    for (const std::string& address : cluster.raft_join_list) {
        out.push_back({"member to join", address});
    }
    if (cluster.mode == "multi_region") {
        for (const env::RemoteRegionAddresses& region : cluster.remote_region_list) {
            for (const std::string& address : region.addresses) {
                out.push_back({"region '" + region.name + "'", address});
            }
        }
    }
    return out;
}

bool is_loopback(const std::string& host) {
    return host == "localhost" || host == "::1" || host.starts_with("127.");
}

/// "" or why nobody answers there.
std::string why_not_reached(const addrinfo& where) {
    const int fd = ::socket(where.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return std::strerror(errno);
    }
    std::string why;
    if (::connect(fd, where.ai_addr, where.ai_addrlen) != 0) {
        pollfd waiting{fd, POLLOUT, 0};
        int error = errno;
        if (error == EINPROGRESS) {
            socklen_t size = sizeof error;
            error = ::poll(&waiting, 1, kConnectMs) == 1 && ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : ETIMEDOUT;
        }
        why = error == 0 ? std::string{} : std::strerror(error);
    }
    ::close(fd);
    return why;
}

void check_peer(const Peer& peer, Findings& out) {
    const auto where = env::parse_host_port(peer.address);
    if (!where) {
        return;  // settings were checked
    }
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (const int error = ::getaddrinfo(where->first.c_str(), std::to_string(where->second).c_str(), &hints, &found); error != 0) {
        out.warning(peer.what,
                    fmt::format("'{}' cannot be resolved: {}. If it is to be known by its start only (containers), that is no problem",
                                peer.address,
                                ::gai_strerror(error)));
        return;
    }
    std::string why;
    for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
        why = why_not_reached(*one);
        if (why.empty()) {
            break;
        }
    }
    ::freeaddrinfo(found);
    if (why.empty()) {
        out.ok(peer.what, fmt::format("{} answers", peer.address));
    } else {
        out.warning(peer.what, fmt::format("{} does not answer: {}. It may not have been started yet; else look at firewalls", peer.address, why));
    }
}

/// A peer's clock, by its HTTP port, if that is the same as here.
void check_clock(const env::Settings& settings, const std::string& host, Findings& out) {
    http::Site site;
    site.host = host;
    site.port = settings.http_port;
    site.tls = settings.http_tls.enabled;
    site.tls_verify = false;  // nothing secret is sent
    site.timeout = kClockTimeout;
    const auto answer = http::fetch(site, "GET", "/live");
    if (!answer || !answer.value().date) {
        return;
    }
    const std::int64_t apart = std::llabs(std::time(nullptr) - *answer.value().date);
    const std::int64_t most = std::chrono::duration_cast<std::chrono::seconds>(settings.cluster.region_clock_offset_max).count();
    const std::string text = fmt::format("this machine's clock and that of {} are {} s apart", host, apart);
    if (settings.cluster.mode == "multi_region" && apart > std::max<std::int64_t>(most, 1)) {
        out.problem("clock", text + fmt::format(", more than the {} s between regions: set both by NTP", most));
    } else if (apart > kSkewSecondsWarned) {
        out.warning("clock", text + ": set both by NTP");
    } else {
        out.ok("clock", fmt::format("agrees with that of {}", host));
    }
}

void check_number(const env::ClusterSettings& cluster, Findings& out) {
    const std::size_t voters = cluster.raft_peer_list.size() + 1;
    const bool raft = cluster.mode == "raft" || cluster.mode == "multi_region";
    if (raft && cluster.raft_join_list.empty() && voters % 2 == 0) {
        out.warning("members",
                    fmt::format("{} members are named: an even number survives no more losses than {}{}",
                                voters,
                                voters - 1,
                                voters == 2 ? "; a witness would make it three" : ""));
    }
}

void check_trust(const env::ClusterSettings& cluster, bool far, Findings& out) {
    if (far && !(cluster.tls_enabled && cluster.tls_verify_client) && cluster.replication_secret.empty()) {
        out.warning("cluster auth",
                    "whoever reaches the cluster port is taken for a member: set NORNICDB_CLUSTER_REPLICATION_SECRET_FILE, or "
                    "NORNICDB_CLUSTER_TLS_ENABLED with NORNICDB_CLUSTER_TLS_VERIFY_CLIENT");
    }
}

}  // namespace

void check_peers(const env::Settings& settings, Findings& out) {
    const env::ClusterSettings& cluster = settings.cluster;
    const std::vector<Peer> peers = peers_of(cluster);
    std::set<std::string> hosts;
    for (const Peer& peer : peers) {
        check_peer(peer, out);
        if (const auto where = env::parse_host_port(peer.address); where && !is_loopback(where->first)) {
            hosts.insert(where->first);
        }
    }
    if (peers.empty()) {
        return;
    }
    check_number(cluster, out);
    check_trust(cluster, !hosts.empty(), out);
    const auto bind = env::parse_host_port(cluster.bind_address);
    if (!hosts.empty() && bind && is_loopback(bind->first)) {
        out.problem("cluster port",
                    fmt::format("NORNICDB_CLUSTER_BIND_ADDR='{}' is reached from this machine alone, and peers are on others: 0.0.0.0:{}",
                                cluster.bind_address,
                                bind->second));
    }
    for (const std::string& host : hosts) {
        check_clock(settings, host, out);
    }
}

}  // namespace nornic::cli
