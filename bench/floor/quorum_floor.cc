// The floor under writes that three members hold: a leader takes 256-byte requests over loopback TCP, gives what came together
// to two followers, appends 300 bytes each to a zero-written file and syncs it while they do the same, and answers once one of
// them has. No Raft, no database: whatever replicates durably on this machine is slower. Three processes on one disk, and
// a client of its own. Prints one JSON line; CPU is that of the three.
//
//   quorum_floor FOLDER [SECONDS [CLIENTS]]

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kRequestBytes = 256;
constexpr std::size_t kRecordBytes = 300;
constexpr std::size_t kAnswerBytes = 16;
constexpr off_t kFileBytes = 64 << 20;
constexpr int kFollowers = 2;
constexpr int kEvents = 512;
constexpr double kWarmUpSeconds = 1;

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

/// false at the end of the stream.
bool receive_all(int socket, void* to, std::size_t size) {
    auto* bytes = static_cast<char*>(to);
    while (size > 0) {
        const ssize_t got = recv(socket, bytes, size, 0);
        if (got <= 0) {
            return false;
        }
        bytes += got;
        size -= static_cast<std::size_t>(got);
    }
    return true;
}

void send_all(int socket, const void* from, std::size_t size) {
    const auto* bytes = static_cast<const char*>(from);
    while (size > 0) {
        const ssize_t sent = send(socket, bytes, size, MSG_NOSIGNAL);
        if (sent <= 0) {
            fail("send");
        }
        bytes += sent;
        size -= static_cast<std::size_t>(sent);
    }
}

void no_delay(int socket) {
    const int on = 1;
    check(setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
}

struct Listener {
    int socket;
    sockaddr_in address;
};

// The sockets API takes every address family through one pointer type.
sockaddr* generic(sockaddr_in& address) {
    return reinterpret_cast<sockaddr*>(&address);
}

Listener listen_on_loopback() {
    Listener out{check(socket(AF_INET, SOCK_STREAM, 0), "socket"), {}};
    out.address.sin_family = AF_INET;
    out.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof out.address;
    check(bind(out.socket, generic(out.address), length), "bind");
    check(getsockname(out.socket, generic(out.address), &length), "getsockname");
    check(listen(out.socket, 1024), "listen");
    return out;
}

int dial(Listener& to) {
    const int out = check(socket(AF_INET, SOCK_STREAM, 0), "socket");
    check(connect(out, generic(to.address), sizeof to.address), "connect");
    no_delay(out);
    return out;
}

/// A log file that is written over and over.
class Log {
public:
    explicit Log(const std::string& folder) {
        std::string path = folder + "/quorum-XXXXXX";
        file_ = check(mkstemp(path.data()), path.c_str());
        check(unlink(path.c_str()), "unlink");
        const std::vector<char> zeros(1 << 20);
        for (off_t at = 0; at < kFileBytes; at += static_cast<off_t>(zeros.size())) {
            if (pwrite(file_, zeros.data(), zeros.size(), at) != static_cast<ssize_t>(zeros.size())) {
                fail("pwrite");
            }
        }
        check(fsync(file_), "fsync");
    }

    void append(const std::vector<char>& records) {
        if (at_ + static_cast<off_t>(records.size()) > kFileBytes) {
            at_ = 0;
        }
        if (pwrite(file_, records.data(), records.size(), at_) != static_cast<ssize_t>(records.size())) {
            fail("pwrite");
        }
        at_ += static_cast<off_t>(records.size());
        check(fdatasync(file_), "fdatasync");
    }

private:
    int file_ = -1;
    off_t at_ = 0;
};

[[noreturn]] void follow(const std::string& folder, const Listener& listener) {
    Log log{folder};
    const int leader = check(accept(listener.socket, nullptr, nullptr), "accept");
    no_delay(leader);
    std::vector<char> records;
    std::uint32_t size = 0;
    for (std::uint64_t batch = 1; receive_all(leader, &size, sizeof size); ++batch) {
        records.resize(size);
        if (!receive_all(leader, records.data(), size)) {
            break;
        }
        log.append(records);
        send_all(leader, &batch, sizeof batch);
    }
    std::exit(0);
}

class Leader {
public:
    Leader(const std::string& folder, std::array<Listener, kFollowers>& followers) : log_{folder} {
        for (std::size_t i = 0; i < kFollowers; ++i) {
            polls_[i] = {.fd = dial(followers[i]), .events = POLLIN, .revents = 0};
        }
    }

    [[noreturn]] void lead(const Listener& clients) {
        const int events = check(epoll_create1(0), "epoll_create1");
        watch(events, clients.socket);
        std::array<epoll_event, kEvents> ready{};
        std::array<char, kRequestBytes> request{};
        const std::array<char, kAnswerBytes> answer{};
        std::vector<int> asked;
        std::vector<char> records;
        while (true) {
            const int count = check(epoll_wait(events, ready.data(), kEvents, -1), "epoll_wait");
            asked.clear();
            records.assign(sizeof(std::uint32_t), 0);
            for (int i = 0; i < count; ++i) {
                const int socket = ready[static_cast<std::size_t>(i)].data.fd;
                if (socket == clients.socket) {
                    const int client = check(accept(socket, nullptr, nullptr), "accept");
                    no_delay(client);
                    watch(events, client);
                } else if (!receive_all(socket, request.data(), request.size())) {
                    std::exit(0);  // The client is done.
                } else {
                    asked.push_back(socket);
                    records.insert(records.end(), request.begin(), request.end());
                    records.resize(records.size() + kRecordBytes - kRequestBytes);
                }
            }
            if (asked.empty()) {
                continue;
            }
            const auto size = static_cast<std::uint32_t>(records.size() - sizeof(std::uint32_t));
            std::memcpy(records.data(), &size, sizeof size);
            for (const pollfd& follower : polls_) {
                send_all(follower.fd, records.data(), records.size());
            }
            log_.append(records);
            wait_for_one(++batch_);
            for (const int socket : asked) {
                send_all(socket, answer.data(), answer.size());
            }
        }
    }

private:
    static void watch(int events, int socket) {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.fd = socket;
        check(epoll_ctl(events, EPOLL_CTL_ADD, socket, &event), "epoll_ctl");
    }

    void wait_for_one(std::uint64_t batch) {
        while (*std::ranges::max_element(held_) < batch) {
            check(poll(polls_.data(), polls_.size(), -1), "poll");
            for (std::size_t i = 0; i < kFollowers; ++i) {
                if (polls_[i].revents != 0 && !receive_all(polls_[i].fd, &held_[i], sizeof held_[i])) {
                    std::exit(1);
                }
            }
        }
    }

    Log log_;
    std::array<pollfd, kFollowers> polls_{};
    std::array<std::uint64_t, kFollowers> held_{};
    std::uint64_t batch_ = 0;
};

double millis(Clock::duration time) {
    return std::chrono::duration<double, std::milli>(time).count();
}

/// A closed loop of so many clients in one thread.
class Client {
public:
    Client(Listener& leader, int clients) : events_{check(epoll_create1(0), "epoll_create1")} {
        began_.resize(static_cast<std::size_t>(clients));
        for (int i = 0; i < clients; ++i) {
            sockets_.push_back(dial(leader));
            epoll_event event{};
            event.events = EPOLLIN;
            event.data.u32 = static_cast<std::uint32_t>(i);
            check(epoll_ctl(events_, EPOLL_CTL_ADD, sockets_.back(), &event), "epoll_ctl");
            ask(static_cast<std::size_t>(i));
        }
    }

    /// How long each operation took that ended meanwhile. The next time goes on with what is under way.
    std::vector<Clock::duration> work(double seconds) {
        std::vector<Clock::duration> out;
        out.reserve(1 << 20);
        std::array<char, kAnswerBytes> answer{};
        std::array<epoll_event, kEvents> ready{};
        const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
        while (Clock::now() < end) {
            const int count = check(epoll_wait(events_, ready.data(), kEvents, 100), "epoll_wait");
            for (int e = 0; e < count; ++e) {
                const std::size_t i = ready[static_cast<std::size_t>(e)].data.u32;
                if (!receive_all(sockets_[i], answer.data(), answer.size())) {
                    fail("the leader ended");
                }
                out.push_back(Clock::now() - began_[i]);
                ask(i);
            }
        }
        return out;
    }

private:
    void ask(std::size_t i) {
        static constexpr std::array<char, kRequestBytes> kRequest{};
        began_[i] = Clock::now();
        send_all(sockets_[i], kRequest.data(), kRequest.size());
    }

    int events_;
    std::vector<int> sockets_;
    std::vector<Clock::time_point> began_;
};

double cpu_seconds(const std::vector<pid_t>& processes) {
    double out = 0;
    for (const pid_t process : processes) {
        clockid_t clock{};
        timespec used{};
        if (clock_getcpuclockid(process, &clock) != 0 || clock_gettime(clock, &used) != 0) {
            fail("a process's CPU clock");
        }
        out += static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9;
    }
    return out;
}

template <typename Run>
pid_t start(Run run) {
    const pid_t child = check(fork(), "fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        run();
    }
    return child;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: quorum_floor FOLDER [SECONDS [CLIENTS]]\n");
        return 2;
    }
    const std::string folder = argv[1];
    const double seconds = argc > 2 ? std::strtod(argv[2], nullptr) : 5;
    const int clients = argc > 3 ? std::atoi(argv[3]) : 1;
    std::array<Listener, kFollowers> followers{listen_on_loopback(), listen_on_loopback()};
    Listener leader = listen_on_loopback();
    std::vector<pid_t> processes;
    for (const Listener& listener : followers) {
        processes.push_back(start([&] { follow(folder, listener); }));
    }
    processes.push_back(start([&] { Leader{folder, followers}.lead(leader); }));
    close(leader.socket);
    leader.socket = -1;

    // The files are written meanwhile.
    Client client{leader, clients};
    client.work(kWarmUpSeconds);
    const double cpu_before = cpu_seconds(processes);
    const auto began = Clock::now();
    std::vector<Clock::duration> latencies = client.work(seconds);
    const double took = std::chrono::duration<double>(Clock::now() - began).count();
    const double cpu_micros = (cpu_seconds(processes) - cpu_before) * 1e6;
    for (const pid_t process : processes) {
        kill(process, SIGTERM);
        check(waitpid(process, nullptr, 0), "waitpid");
    }
    if (latencies.empty()) {
        std::fprintf(stderr, "nothing was done\n");
        return 1;
    }
    std::ranges::sort(latencies);
    const auto count = static_cast<double>(latencies.size());
    std::printf("{\"workload\":\"quorum_floor\",\"clients\":%d,\"per_second\":%.1f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"cpu_us\":%.1f}\n",
                clients,
                count / took,
                millis(latencies[latencies.size() / 2]),
                millis(latencies[latencies.size() * 99 / 100]),
                cpu_micros / count);
    return 0;
}
