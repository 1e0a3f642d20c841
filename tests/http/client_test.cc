// The commands' HTTP client, against the real listener and against those who answer nonsense or nothing.
#include "http/client.h"

#include "http/server.h"
#include "tests/fuzz/http_backend.h"

#include <boost/asio.hpp>
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <thread>

namespace nornic::http {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using tcp = asio::ip::tcp;

TEST(HttpSite, IsReadFromWhatPeopleWrite) {
    Site defaults;
    defaults.user = "admin";
    struct Case {
        const char* text;
        const char* url;
    };
    for (const Case& c : {Case{"node2", "http://node2:7474"},
                          Case{"node2:7475", "http://node2:7475"},
                          Case{"http://node2:7475/health", "http://node2:7475"},
                          Case{"https://db.example", "https://db.example:7474"},
                          Case{"[::1]:7475", "http://[::1]:7475"}}) {
        const auto site = parse_site(c.text, defaults);
        ASSERT_TRUE(site) << c.text;
        EXPECT_EQ(site.value().url(), c.url);
        EXPECT_EQ(site.value().user, "admin");
    }
    for (const char* text : {"", "bolt://node2:7687", "node2:", "node2:x", "node2:0", "node2:70000", "http://"}) {
        const auto site = parse_site(text, defaults);
        ASSERT_FALSE(site) << text;
        EXPECT_EQ(site.error().code(), ErrorCode::kInvalidArgument);
    }
}

class HttpClientTest : public ::testing::Test {
protected:
    HttpClientTest() {
        Settings settings;
        settings.port = 0;
        server_ = Server::start(io_, settings, backend_).value();
        thread_ = std::jthread{[this] { io_.run(); }};
        site_.port = server_->port();
    }
    ~HttpClientTest() override {
        server_->stop(system_clock().now() + 5s);
        server_.reset();
        work_.reset();
    }

    fuzzing::EchoBackend backend_;
    asio::io_context io_;
    asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};
    std::unique_ptr<Server> server_;
    std::jthread thread_;
    Site site_;
};

TEST_F(HttpClientTest, SendsCredentialsAndABodyAndReadsTheAnswer) {
    EXPECT_EQ(fetch(site_, "GET", "/admin/x").value().status, 401);
    site_.user = "someone";
    site_.password = "p:/ä";
    const auto answer = fetch(site_, "POST", "/admin/x", R"({"a":1})");
    ASSERT_TRUE(answer) << answer.error().message();
    EXPECT_EQ(answer.value().status, 200);
    EXPECT_EQ(answer.value().body, R"({"body_bytes":7})");
    site_.user = "refused";
    EXPECT_EQ(fetch(site_, "GET", "/admin/x").value().status, 401);
}

TEST_F(HttpClientTest, KnowsTheServersClock) {
    const auto answer = fetch(site_, "GET", "/health");
    ASSERT_TRUE(answer);
    ASSERT_TRUE(answer.value().date);
    EXPECT_LE(std::llabs(*answer.value().date - std::time(nullptr)), 2);
}

TEST(HttpClient, SaysWhyNobodyAnswers) {
    asio::io_context io;
    tcp::acceptor silent{io, {asio::ip::make_address("127.0.0.1"), 0}};
    Site site;
    site.port = silent.local_endpoint().port();
    site.timeout = 100ms;
    const auto late = fetch(site, "GET", "/");
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code(), ErrorCode::kUnknownCommit) << "it was asked";
    EXPECT_NE(late.error().message().find(site.url()), std::string::npos) << late.error().message();
    silent.close();
    const auto refused = fetch(site, "GET", "/");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kIo);
    EXPECT_NE(refused.error().message().find("refused"), std::string::npos) << refused.error().message();
    site.host = "no-such-host.invalid";
    site.timeout = 20s;
    EXPECT_EQ(fetch(site, "GET", "/").error().code(), ErrorCode::kIo);
}

TEST(HttpClient, RefusesWhatIsNoHttp) {
    asio::io_context io;
    tcp::acceptor acceptor{io, {asio::ip::make_address("127.0.0.1"), 0}};
    Site site;
    site.port = acceptor.local_endpoint().port();
    site.timeout = 5s;
    const std::jthread other{[&] {
        tcp::socket socket = acceptor.accept();
        boost::system::error_code ignored;
        asio::write(socket, asio::buffer(std::string_view{"SSH-2.0-OpenSSH_9.2\r\n\r\n"}), ignored);
        char bytes[4096];
        socket.read_some(asio::buffer(bytes), ignored);
    }};
    const auto answer = fetch(site, "GET", "/");
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code(), ErrorCode::kUnknownCommit);
}

}  // namespace
}  // namespace nornic::http
