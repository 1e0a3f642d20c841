// Disk, ports, limits of this machine.
#include "cli/check/checks.h"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <netdb.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

namespace nornic::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kComfortableBytes = std::uint64_t{1} << 30;
// Beside connections: tables of the store, segments of the log.
constexpr std::uint64_t kOwnFiles = 1400;

std::string in_mib(std::uint64_t bytes) {
    return fmt::format("{} MiB", bytes >> 20);
}

/// "" or why not.
std::string why_not_writable(const std::string& directory) {
    const std::string probe = fmt::format("{}/.check-{}", directory, ::getpid());
    const int fd = ::open(probe.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return std::strerror(errno);
    }
    const bool synced = ::write(fd, "x", 1) == 1 && ::fsync(fd) == 0;
    const std::string why = synced ? std::string{} : std::strerror(errno);
    ::close(fd);
    ::unlink(probe.c_str());
    return why;
}

/// Of node.json; empty: none.
std::string name_on_disk(const std::string& directory) {
    std::ifstream file{directory + "/node.json"};
    const std::string text{std::istreambuf_iterator<char>{file}, {}};
    boost::system::error_code error;
    const auto parsed = boost::json::parse(text, error);
    const boost::json::value* id = !error && parsed.is_object() ? parsed.get_object().if_contains("node_id") : nullptr;
    return id != nullptr && id->is_string() ? std::string{id->get_string()} : std::string{};
}

/// "" or why this address cannot be listened on.
std::string why_not_free(const std::string& host, std::uint16_t port) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE;
    addrinfo* found = nullptr;
    if (const int error = ::getaddrinfo(host == "*" ? nullptr : host.c_str(), std::to_string(port).c_str(), &hints, &found); error != 0) {
        return ::gai_strerror(error);
    }
    const int fd = ::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const bool bound = fd >= 0 && ::bind(fd, found->ai_addr, found->ai_addrlen) == 0 && ::listen(fd, 1) == 0;
    const int error = errno;
    ::freeaddrinfo(found);
    if (fd >= 0) {
        ::close(fd);
    }
    return bound ? std::string{} : std::strerror(error);
}

void check_port(const std::string& about, const std::string& host, std::uint16_t port, std::string_view setting, bool may_move, Findings& out) {
    if (port == 0) {
        out.ok(about, "any free one");
        return;
    }
    const std::string why = why_not_free(host, port);
    if (why.empty()) {
        out.ok(about, fmt::format("{}:{} is free", host, port));
    } else if (may_move) {
        out.warning(about, fmt::format("{}:{} cannot be used ({}); the next free one will be", host, port, why));
    } else {
        out.problem(about,
                    fmt::format("{}:{} cannot be used: {}. Stop what listens there (`ss -ltnp` shows it), or change {}", host, port, why, setting));
    }
}

/// What a container may use; nullopt: all of the machine.
std::optional<std::uint64_t> memory_limit() {
    std::ifstream file{"/sys/fs/cgroup/memory.max"};
    std::uint64_t bytes = 0;
    return file >> bytes ? std::optional{bytes} : std::nullopt;
}

}  // namespace

void check_data_directory(const env::Settings& settings, Findings& out) {
    const std::string about = "data directory";
    const std::string& directory = settings.data_directory;
    std::error_code error;
    // What does not exist yet is made by the server: the nearest that does must let it.
    fs::path nearest = fs::absolute(directory, error);
    while (!nearest.empty() && !fs::exists(nearest, error) && nearest.has_parent_path() && nearest != nearest.parent_path()) {
        nearest = nearest.parent_path();
    }
    const std::string what = fmt::format("NORNICDB_DATA_DIR='{}'", directory);
    if (!fs::is_directory(nearest, error)) {
        out.problem(about, fmt::format("{}: '{}' is no directory", what, nearest.string()));
        return;
    }
    if (const std::string why = why_not_writable(nearest.string()); !why.empty()) {
        out.problem(about,
                    fmt::format("{}: '{}' is not writable by user {}: {}. Give it to that user, or name another directory",
                                what,
                                nearest.string(),
                                ::getuid(),
                                why));
        return;
    }
    struct statvfs space {};
    std::uint64_t bytes = 0;
    if (::statvfs(nearest.c_str(), &space) == 0) {
        bytes = static_cast<std::uint64_t>(space.f_bavail) * space.f_frsize;
    }
    if (bytes < settings.disk_reserve_bytes) {
        out.problem(about, fmt::format("{}: {} are free, less than the {} that are kept in reserve: nothing could be written. Make room",
                                       what,
                                       in_mib(bytes),
                                       in_mib(settings.disk_reserve_bytes)));
    } else if (bytes < settings.disk_reserve_bytes + kComfortableBytes) {
        out.warning(about, fmt::format("{}: only {} are free", what, in_mib(bytes)));
    } else {
        out.ok(about, fmt::format("'{}' is writable, {} are free", directory, in_mib(bytes)));
    }
    if (const std::string known = name_on_disk(directory); !known.empty()) {
        if (!settings.cluster.node_id.empty() && settings.cluster.node_id != known) {
            out.problem("member",
                        fmt::format("NORNICDB_CLUSTER_NODE_ID='{}', but '{}' holds the data of '{}': use that name or another directory, or "
                                    "let the data forget it with nornicdb unbind",
                                    settings.cluster.node_id,
                                    directory,
                                    known));
        } else {
            out.ok("member", fmt::format("the data here is that of '{}'", known));
        }
    }
}

void check_ports(const env::Settings& settings, Findings& out) {
    const bool witness = settings.cluster.ha_role == "witness" && settings.cluster.mode == "ha_standby";
    if (!witness) {
        check_port("bolt port", settings.address, settings.bolt_port, "NORNICDB_BOLT_PORT", false, out);
    }
    check_port("http port", settings.address, settings.http_port, "NORNICDB_HTTP_PORT", settings.http_port_may_move, out);
    if (settings.bolt_port == settings.http_port && settings.bolt_port != 0) {
        out.problem("ports", fmt::format("NORNICDB_BOLT_PORT and NORNICDB_HTTP_PORT are both {}: each takes one of its own", settings.bolt_port));
    }
    if (settings.cluster.mode != "standalone") {
        if (const auto bind = env::parse_host_port(settings.cluster.bind_address)) {
            check_port("cluster port", bind->first, bind->second, "NORNICDB_CLUSTER_BIND_ADDR", false, out);
        }
    }
}

void check_limits(const env::Settings& settings, Findings& out) {
    rlimit files{};
    const std::uint64_t wanted = static_cast<std::uint64_t>(settings.bolt_connections_max) + kOwnFiles;
    if (::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max < wanted) {
        out.warning("open files",
                    fmt::format("{} may be open (ulimit -Hn), {} are wanted: fewer Bolt connections than the {} of NORNICDB_BOLT_MAX_CONNECTIONS "
                                "will be taken. Raise LimitNOFILE= or the container's ulimit",
                                files.rlim_max,
                                wanted,
                                settings.bolt_connections_max));
    } else {
        out.ok("open files", fmt::format("{} may be open", files.rlim_max));
    }
    const auto pages = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    const std::uint64_t memory = std::min(memory_limit().value_or(pages), pages);
    if (settings.cache_bytes > memory / 2) {
        out.warning("memory",
                    fmt::format("the cache may take {} of {}: queries and connections need room beside it; set NORNICDB_CACHE_SIZE",
                                in_mib(settings.cache_bytes),
                                in_mib(memory)));
    } else {
        out.ok("memory", fmt::format("the cache may take {} of {}", in_mib(settings.cache_bytes), in_mib(memory)));
    }
}

}  // namespace nornic::cli
