// Raw bytes to a listening HTTP server over loopback: it answers or closes, and goes on serving.

#include "base/check.h"
#include "http/server.h"
#include "tests/fuzz/http_backend.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <netinet/in.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace {

/// Lives as long as the process; started by the first input.
struct Listener {
    boost::asio::io_context io;
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work{
        io.get_executor()};
    nornic::http::fuzzing::EchoBackend backend;
    std::unique_ptr<nornic::http::Server> server;
    std::thread thread;

    Listener() {
        nornic::http::Settings settings;
        settings.port = 0;
        settings.body_bytes_max = 1 << 20;
        server = nornic::http::Server::start(io, settings, backend).value();
        thread = std::thread{[this] { io.run(); }};
    }
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;
    ~Listener() {
        server->stop(nornic::system_clock().now() + std::chrono::seconds{1});
        server.reset();
        work.reset();
        io.stop();
        thread.join();
    }
};

int dial(std::uint16_t port) {
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    NORNIC_CHECK(socket >= 0, "no socket");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int error = EINTR;
    // The fuzzer's alarm may interrupt it, and a port of our own to speak from may be wanting for a
    // moment after a hundred thousand connections.
    for (int tries = 0; (error == EINTR || error == EADDRNOTAVAIL) && tries < 1000; ++tries) {
        if (error == EADDRNOTAVAIL) {
            std::this_thread::sleep_for(std::chrono::milliseconds{10});
        }
        // The sockets API takes every address family through one pointer type.
        error = ::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0
                    ? 0
                    : errno;
    }
    NORNIC_CHECK(error == 0, "the server is gone: {}", std::strerror(error));
    // No TIME_WAIT, or a long run would use up the ports.
    const linger at_once{1, 0};
    NORNIC_CHECK(::setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0,
                 "linger");
    timeval patience{10, 0};
    NORNIC_CHECK(::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0,
                 "time-out");
    return socket;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static Listener listener;
    const int socket = dial(listener.server->port());
    std::size_t sent = 0;
    while (sent < size) {
        const ssize_t n = ::send(socket, data + sent, size - sent, MSG_NOSIGNAL);
        if (n <= 0) {
            break;  // It has had enough and closed.
        }
        sent += static_cast<std::size_t>(n);
    }
    ::shutdown(socket, SHUT_WR);
    std::array<char, 4096> answer{};
    ssize_t n = 0;
    do {
        n = ::recv(socket, answer.data(), answer.size(), 0);
    } while (n > 0);
    NORNIC_CHECK(n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK),
                 "no answer and no end within 10 s");
    ::close(socket);
    return 0;
}
