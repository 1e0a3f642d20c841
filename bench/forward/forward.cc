// What a write costs that a member passes on to the leader, beside the leader's own: one client of each, and for scale an echo of
// 100 bytes by another process on another core (as members are to each other) and by one on the same core, take turns of a few
// operations, so that all see the same moments of the machine. Prints one JSON line; times are medians in microseconds.
//
//   forward_bench LEADER_HOST:PORT FOLLOWER_HOST:PORT USER PASSWORD [SECONDS]

#include "bolt/client.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <string>
#include <string_view>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace {

using namespace nornic;
using Clock = std::chrono::steady_clock;

constexpr int kTurn = 20;  // operations; the first is not counted: it finds the others' traces in the caches
constexpr std::size_t kEchoBytes = 100;
constexpr double kWarmUpSeconds = 1;

[[noreturn]] void fail(std::string_view what) {
    fmt::print(stderr, "forward_bench: {}\n", what);
    std::exit(1);
}

bool transfer_all(int socket, char* bytes, std::size_t size, bool sending) {
    while (size > 0) {
        const ssize_t moved = sending ? send(socket, bytes, size, MSG_NOSIGNAL) : recv(socket, bytes, size, 0);
        if (moved <= 0) {
            return false;
        }
        bytes += moved;
        size -= static_cast<std::size_t>(moved);
    }
    return true;
}

/// For as long as it lives the calling thread runs on one core only.
class Pinned {
public:
    explicit Pinned(std::size_t core) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(core, &one);
        if (sched_getaffinity(0, sizeof before_, &before_) != 0 || sched_setaffinity(0, sizeof one, &one) != 0) {
            fail("no core of its own for the echo");
        }
    }
    ~Pinned() { sched_setaffinity(0, sizeof before_, &before_); }
    Pinned(const Pinned&) = delete;
    Pinned& operator=(const Pinned&) = delete;

private:
    cpu_set_t before_{};
};

/// A connection over loopback to a process that sends back what it gets, and ends with this one. That one runs on `core`, whoever
/// asks on core 0.
class Echo {
public:
    explicit Echo(std::size_t core) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        auto* const generic = reinterpret_cast<sockaddr*>(&address);
        socklen_t length = sizeof address;
        const int listener = socket(AF_INET, SOCK_STREAM, 0);
        socket_ = socket(AF_INET, SOCK_STREAM, 0);
        if (listener < 0 || socket_ < 0 || bind(listener, generic, length) != 0 || getsockname(listener, generic, &length) != 0 ||
            listen(listener, 1) != 0 || connect(socket_, generic, length) != 0) {
            fail("no socket for the echo");
        }
        const int other = accept(listener, nullptr, nullptr);
        const int on = 1;
        for (const int end : {socket_, other}) {
            setsockopt(end, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        }
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            close(socket_);
            const Pinned here{core};
            std::array<char, kEchoBytes> bytes{};
            while (transfer_all(other, bytes.data(), bytes.size(), false) && transfer_all(other, bytes.data(), bytes.size(), true)) {
            }
            _exit(0);
        }
        close(other);
        close(listener);
    }
    ~Echo() { close(socket_); }
    Echo(const Echo&) = delete;
    Echo& operator=(const Echo&) = delete;

    void operator()() {
        if (!transfer_all(socket_, bytes_.data(), bytes_.size(), true) || !transfer_all(socket_, bytes_.data(), bytes_.size(), false)) {
            fail("the echo ended");
        }
    }

private:
    int socket_ = -1;
    std::array<char, kEchoBytes> bytes_{};
};

class Writer {
public:
    Writer(std::string_view address, const char* user, const char* password) {
        const std::size_t colon = address.rfind(':');
        bolt::ClientSettings settings;
        settings.host = address.substr(0, colon);
        settings.port = static_cast<std::uint16_t>(std::atoi(address.substr(colon + 1).data()));
        settings.user = user;
        settings.password = password;
        auto client = bolt::Client::connect(settings);
        if (!client) {
            fail(client.error().message());
        }
        client_ = std::move(client).value();
    }
    void operator()() {
        static std::int64_t id = 0;
        auto ran = client_->run("CREATE (:Hop {id: $id, v: $v})", Map{{"id", Value{++id}}, {"v", Value{"some hundred bytes would be more"}}});
        const Result<> done = ran ? client_->consume() : Result<>{ran.error()};
        if (!done) {
            fail(done.error().message());
        }
    }

private:
    std::unique_ptr<bolt::Client> client_;
};

struct Lap {
    std::vector<double> micros;

    template <class Operation>
    void turn(Operation& operation, bool counts) {
        auto began = Clock::now();
        for (int i = 0; i < kTurn; ++i) {
            operation();
            const auto ended = Clock::now();
            if (counts && i > 0) {
                micros.push_back(std::chrono::duration<double, std::micro>(ended - began).count());
            }
            began = ended;
        }
    }
    double quantile(double q) {
        std::ranges::sort(micros);
        return micros[static_cast<std::size_t>(q * static_cast<double>(micros.size() - 1))];
    }
};

}  // namespace

int main(int argc, char** argv) {
    if (argc < 5) {
        fail("usage: forward_bench LEADER_HOST:PORT FOLLOWER_HOST:PORT USER PASSWORD [SECONDS]");
    }
    const double seconds = argc > 5 ? std::strtod(argv[5], nullptr) : 5;
    Echo across{1};
    Echo beside{0};
    Writer own{argv[1], argv[3], argv[4]};
    Writer forwarded{argv[2], argv[3], argv[4]};
    Lap acrosses;
    Lap besides;
    Lap owns;
    Lap forwards;
    const auto start = Clock::now();
    for (double past = 0; past < kWarmUpSeconds + seconds;) {
        const bool counts = past >= kWarmUpSeconds;
        {
            const Pinned here{0};
            acrosses.turn(across, counts);
            besides.turn(beside, counts);
        }
        owns.turn(own, counts);
        forwards.turn(forwarded, counts);
        past = std::chrono::duration<double>(Clock::now() - start).count();
    }
    fmt::print("{{\"writes\":{},\"round_trip_us\":{:.1f},\"same_core_us\":{:.1f},\"own_us\":{:.1f},\"forwarded_us\":{:.1f},\"own_p99_us\":{:.1f},\"forwarded_p99_us\":{:.1f}}}\n",
               owns.micros.size(),
               acrosses.quantile(0.5),
               besides.quantile(0.5),
               owns.quantile(0.5),
               forwards.quantile(0.5),
               owns.quantile(0.99),
               forwards.quantile(0.99));
    return 0;
}
