// The listener over real sockets, spoken to by raw bytes: what it takes, what it refuses, what it holds.
#include "http/server.h"

#include "tests/fuzz/http_backend.h"

#include <boost/asio.hpp>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <optional>
#include <thread>

namespace nornic::http {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using tcp = asio::ip::tcp;

const std::string kKnown = "Authorization: Basic YTpi\r\n";
const std::string kPost = "POST /db/neo4j/query/v2 HTTP/1.1\r\nHost: h\r\n";

class HttpServerTest : public ::testing::Test {
protected:
    void SetUp() override {
        settings_.port = 0;
        settings_.log_warning = [this](std::string_view) { warnings_.fetch_add(1); };
    }
    void TearDown() override {
        if (server_ != nullptr) {
            server_->stop(system_clock().now() + 5s);
            server_.reset();
        }
        work_.reset();
        thread_.join();
    }
    void serve() {
        auto started = Server::start(io_, settings_, backend_);
        ASSERT_TRUE(started) << started.error().message();
        server_ = std::move(started).value();
        thread_ = std::jthread{[this] { io_.run(); }};
    }
    tcp::socket dial() {
        tcp::socket socket{client_io_};
        socket.connect({asio::ip::make_address("127.0.0.1"), server_->port()});
        return socket;
    }
    /// All it answers until it closes.
    static std::string read_all(tcp::socket& socket) {
        std::string out;
        boost::system::error_code error;
        asio::read(socket, asio::dynamic_buffer(out), asio::transfer_all(), error);
        return out;
    }
    std::string exchange(const std::string& bytes) {
        tcp::socket socket = dial();
        boost::system::error_code ignored;  // It may close while we still send.
        asio::write(socket, asio::buffer(bytes), ignored);
        socket.shutdown(tcp::socket::shutdown_send, ignored);
        return read_all(socket);
    }
    static std::string body_of(std::size_t bytes) {
        return R"({"statement":"RETURN 1","parameters":{"x":")" + std::string(bytes, 'x') + "\"}}";
    }
    static std::string with_length(const std::string& body) {
        return "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    }

    fuzzing::EchoBackend backend_;
    asio::io_context io_;
    asio::io_context client_io_;
    asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};
    Settings settings_;
    std::atomic<int> warnings_{0};
    std::unique_ptr<Server> server_;
    std::jthread thread_;
};

TEST_F(HttpServerTest, AnswersOneRequestAfterAnother) {
    serve();
    const std::string body = body_of(200'000);
    const std::string answers = exchange(kPost + kKnown + with_length(body) + "GET / HTTP/1.1\r\n\r\n");
    EXPECT_TRUE(answers.starts_with("HTTP/1.1 202 ")) << answers.substr(0, 200);
    EXPECT_NE(answers.find("HTTP/1.1 200 "), std::string::npos);
    EXPECT_NE(answers.find(std::string(200'000, 'x')), std::string::npos);
}

TEST_F(HttpServerTest, TakesBodiesInChunks) {
    serve();
    const std::string body = body_of(100'000);
    const auto chunk = [](std::string_view part) {
        std::ostringstream size;
        size << std::hex << part.size();
        return size.str() + "\r\n" + std::string{part} + "\r\n";
    };
    const std::string answer = exchange(kPost + kKnown + "Transfer-Encoding: chunked\r\n\r\n" + chunk(body.substr(0, 10)) +
                                        chunk(body.substr(10)) + "0\r\n\r\n");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 202 ")) << answer.substr(0, 200);
}

TEST_F(HttpServerTest, ReadsLittleOfWhoShowsNoCredentials) {
    settings_.body_bytes_max_without_credentials = 1000;
    serve();
    EXPECT_TRUE(exchange(kPost + with_length(body_of(100))).starts_with("HTTP/1.1 401 "));
    EXPECT_TRUE(exchange(kPost + with_length(body_of(1000))).starts_with("HTTP/1.1 413 "));
    EXPECT_TRUE(exchange(kPost + "Transfer-Encoding: chunked\r\n\r\n800\r\n" + std::string(0x800, 'x')).starts_with("HTTP/1.1 413 "));
    EXPECT_TRUE(exchange(kPost + kKnown + with_length(body_of(1000))).starts_with("HTTP/1.1 202 "));
}

TEST_F(HttpServerTest, TheHeadOfAChunkIsBounded) {
    serve();
    tcp::socket socket = dial();
    asio::write(socket, asio::buffer(kPost + kKnown + "Transfer-Encoding: chunked\r\n\r\n1;"));
    const std::string more(1 << 20, 'x');
    boost::system::error_code error;
    std::size_t sent = 0;
    while (!error && sent < (std::size_t{256} << 20)) {
        sent += asio::write(socket, asio::buffer(more), error);
    }
    EXPECT_TRUE(error) << "it takes 256 MiB of the head of a chunk";
}

TEST_F(HttpServerTest, AllBodiesTogetherAreBounded) {
    settings_.bodies_bytes_max = 300'000;
    serve();
    const std::string body = body_of(250'000);
    const std::string request = kPost + kKnown + with_length(body);
    // Whichever of the two the server meets first is held and the other finds no room; tried until it is
    // the second one that finds none.
    std::optional<tcp::socket> held;
    std::string answer;
    for (int i = 0; i < 1000 && !answer.starts_with("HTTP/1.1 503 "); ++i) {
        held.emplace(dial());
        asio::write(*held, asio::buffer(request.data(), request.size() - 1));
        answer = exchange(request);
    }
    tcp::socket& first = *held;
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 503 ")) << answer.substr(0, 100);
    EXPECT_TRUE(exchange(kPost + kKnown + with_length(body_of(100))).starts_with("HTTP/1.1 202 "));
    // The first is served, and its room is free again.
    asio::write(first, asio::buffer("}", 1));
    first.shutdown(tcp::socket::shutdown_send);
    EXPECT_TRUE(read_all(first).starts_with("HTTP/1.1 202 "));
    EXPECT_TRUE(exchange(request).starts_with("HTTP/1.1 202 "));
}

TEST_F(HttpServerTest, SaysWhatIsWrongWithARequest) {
    serve();
    EXPECT_TRUE(exchange("nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
    EXPECT_TRUE(exchange("GET / HTTP/1.1\r\nX: " + std::string(20'000, 'x')).starts_with("HTTP/1.1 413 "));
    EXPECT_TRUE(exchange(kPost + kKnown + "Content-Length: 99999999999\r\n\r\n").starts_with("HTTP/1.1 413 "));
    EXPECT_TRUE(exchange("GET http://h/ HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 400 "));
    EXPECT_EQ(exchange("GET / HTT"), "");
}

TEST_F(HttpServerTest, WithoutFileDescriptorsItWaitsAndServesLater) {
    serve();
#if __has_feature(undefined_behavior_sanitizer)
    GTEST_SKIP() << "without descriptors the sanitizer cannot look at objects and calls them invalid";
#endif
    ASSERT_TRUE(exchange("GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 200 "));
    std::vector<tcp::socket> waiting;
    for (int i = 0; i < 3; ++i) {
        tcp::socket socket{client_io_};
        socket.open(tcp::v4());
        waiting.push_back(std::move(socket));
    }
    rlimit before{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    const int next = ::dup(0);
    ::close(next);
    rlimit none = before;
    none.rlim_cur = static_cast<rlim_t>(next);
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    for (tcp::socket& socket : waiting) {
        socket.connect({asio::ip::make_address("127.0.0.1"), server_->port()});
        asio::write(socket, asio::buffer(std::string{"GET / HTTP/1.0\r\n\r\n"}));
    }
    while (warnings_.load() == 0) {
        std::this_thread::yield();
    }
    const std::clock_t start = std::clock();
    std::this_thread::sleep_for(500ms);  // The time over which the work done is measured.
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_LT(seconds, 0.2);
    EXPECT_EQ(warnings_.load(), 1);
    for (tcp::socket& socket : waiting) {
        EXPECT_TRUE(read_all(socket).starts_with("HTTP/1.0 200 "));
    }
}

}  // namespace
}  // namespace nornic::http
