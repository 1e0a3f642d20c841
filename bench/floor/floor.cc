// The floor under one client's durable writes: a minimal server that for each 100-byte request over
// loopback TCP appends 300 bytes to a zero-written file, syncs it and answers. Nothing that a
// database does is in it, so no database on this machine with one client and a sync a write is
// faster. Prints one JSON line.
//
//   floor FOLDER [SECONDS]
//
// With - as the folder nothing is written: what is left is one round trip over loopback.

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kRequestBytes = 100;
constexpr std::size_t kRecordBytes = 300;
// Large enough that a run seldom wraps around, small enough to be zero-written in a moment.
constexpr off_t kFileBytes = 64 << 20;

[[noreturn]] void fail(const char* what) {
    std::perror(what);
    std::exit(1);
}

int check(int result, const char* what) {
    if (result < 0) {
        fail(what);
    }
    return result;
}

void transfer_all(int socket, char* bytes, std::size_t size, bool sending) {
    while (size > 0) {
        const ssize_t moved =
            sending ? send(socket, bytes, size, MSG_NOSIGNAL) : recv(socket, bytes, size, 0);
        if (moved <= 0) {
            if (!sending && moved == 0) {
                return;  // The client is done; the caller sees the short read by its own means.
            }
            fail(sending ? "send" : "recv");
        }
        bytes += moved;
        size -= static_cast<std::size_t>(moved);
    }
}

void no_delay(int socket) {
    const int on = 1;
    check(setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
}

int zero_written_file(const std::string& folder) {
    std::string path = folder + "/floor-XXXXXX";
    const int file = check(mkstemp(path.data()), path.c_str());
    check(unlink(path.c_str()), "unlink");
    const std::vector<char> zeros(1 << 20);
    for (off_t at = 0; at < kFileBytes; at += static_cast<off_t>(zeros.size())) {
        if (pwrite(file, zeros.data(), zeros.size(), at) != static_cast<ssize_t>(zeros.size())) {
            fail("pwrite");
        }
    }
    check(fsync(file), "fsync");
    return file;
}

void serve(int listener, int file) {
    const int socket = check(accept(listener, nullptr, nullptr), "accept");
    no_delay(socket);
    std::array<char, kRequestBytes> request{};
    std::array<char, kRecordBytes> record{};
    off_t at = 0;
    while (true) {
        const ssize_t first = recv(socket, request.data(), request.size(), 0);
        if (first <= 0) {
            close(socket);
            return;
        }
        const auto got = static_cast<std::size_t>(first);
        transfer_all(socket, request.data() + got, request.size() - got, false);
        if (file < 0) {
            transfer_all(socket, request.data(), request.size(), true);
            continue;
        }
        std::memcpy(record.data(), request.data(), request.size());
        if (at + static_cast<off_t>(record.size()) > kFileBytes) {
            at = 0;
        }
        if (pwrite(file, record.data(), record.size(), at) != static_cast<ssize_t>(record.size())) {
            fail("pwrite");
        }
        at += static_cast<off_t>(record.size());
        check(fdatasync(file), "fdatasync");
        transfer_all(socket, request.data(), request.size(), true);
    }
}

double millis(Clock::duration time) {
    return std::chrono::duration<double, std::milli>(time).count();
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: floor FOLDER [SECONDS]\n");
        return 2;
    }
    const double seconds = argc > 2 ? std::strtod(argv[2], nullptr) : 5;
    const bool writes = std::string_view{argv[1]} != "-";
    const int file = writes ? zero_written_file(argv[1]) : -1;

    const int listener = check(socket(AF_INET, SOCK_STREAM, 0), "socket");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    // The sockets API takes every address family through one pointer type.
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    socklen_t length = sizeof address;
    check(bind(listener, generic, length), "bind");
    check(getsockname(listener, generic, &length), "getsockname");
    check(listen(listener, 1), "listen");
    std::thread server(serve, listener, file);

    const int client = check(socket(AF_INET, SOCK_STREAM, 0), "socket");
    check(connect(client, generic, length), "connect");
    no_delay(client);
    std::array<char, kRequestBytes> bytes{};
    std::vector<Clock::duration> latencies;
    latencies.reserve(1 << 20);
    const auto start = Clock::now();
    const auto end =
        start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    auto began = start;
    while (began < end) {
        transfer_all(client, bytes.data(), bytes.size(), true);
        transfer_all(client, bytes.data(), bytes.size(), false);
        const auto finished = Clock::now();
        latencies.push_back(finished - began);
        began = finished;
    }
    const double took = std::chrono::duration<double>(began - start).count();
    close(client);
    server.join();
    rusage usage{};
    check(getrusage(RUSAGE_SELF, &usage), "getrusage");
    const double cpu_micros =
        static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
        static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    std::ranges::sort(latencies);
    const auto count = static_cast<double>(latencies.size());
    std::printf(
        "{\"workload\":\"%s\",\"per_second\":%.1f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"both_ends_"
        "cpu_us\":%.1f}\n",
        writes ? "floor" : "round_trip",
        count / took,
        millis(latencies[latencies.size() / 2]),
        millis(latencies[latencies.size() * 99 / 100]),
        cpu_micros / count);
    return 0;
}
