// The server over real sockets, spoken to by our own client and by raw bytes.
#include "bolt/server.h"

#include "bolt/client.h"
#include "bolt/websocket.h"
#include "fake_backend.h"
#include "support.h"

#include <boost/asio.hpp>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <future>
#include <thread>

namespace nornic::bolt {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

/// A self-signed certificate for localhost and 127.0.0.1, as two PEM files.
struct Certificate {
    std::string certificate_file;
    std::string key_file;
};
Certificate make_certificate(const std::filesystem::path& folder, const std::string& name) {
    EVP_PKEY* key = EVP_EC_gen("P-256");
    X509* x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_NAME* subject = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(subject,
                               "CN",
                               MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("localhost"),
                               -1,
                               -1,
                               0);
    X509_set_issuer_name(x, subject);
    X509_EXTENSION* names =
        X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
    X509_add_ext(x, names, -1);
    X509_EXTENSION_free(names);
    X509_sign(x, key, EVP_sha256());
    Certificate out{(folder / (name + ".crt")).string(), (folder / (name + ".key")).string()};
    std::FILE* f = std::fopen(out.certificate_file.c_str(), "w");
    PEM_write_X509(f, x);
    std::fclose(f);
    f = std::fopen(out.key_file.c_str(), "w");
    PEM_write_PrivateKey(f, key, nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(f);
    X509_free(x);
    EVP_PKEY_free(key);
    return out;
}

/// Polls until it holds; the test's own time-out is the limit.
template <class Condition>
bool eventually(Condition condition) {
    for (int i = 0; i < 10'000; ++i) {
        if (condition()) {
            return true;
        }
        std::this_thread::sleep_for(1ms);
    }
    return false;
}

/// Whether nobody listens there any more. A server that is about to stop drops what asks for a connection, which is asked again a
/// second later: that is not waited for.
bool refuses(const asio::ip::tcp::endpoint& address) {
    asio::io_context io;
    asio::ip::tcp::socket socket{io};
    std::optional<boost::system::error_code> outcome;
    socket.async_connect(address, [&](const boost::system::error_code& error) { outcome = error; });
    io.run_for(20ms);
    return outcome == boost::system::error_code{asio::error::connection_refused};
}

std::string hello_and_logon() {
    return request(MessageTag::kHello, {map_of({{"user_agent", "x"}, {"bolt_agent", map_of({{"product", "x"}})}})}) +
           request(MessageTag::kLogon, {map_of({{"scheme", "basic"}, {"principal", "n"}, {"credentials", "secret"}})});
}

/// HELLO's answer came, and then an end that is no reset.
void expect_answered_in_order(asio::ip::tcp::socket& socket) {
    std::string answers;
    boost::system::error_code end;
    asio::read(socket, asio::dynamic_buffer(answers), asio::transfer_all(), end);
    EXPECT_EQ(end, asio::error::eof);
    EXPECT_NE(answers.find("server"), std::string::npos);
}

class BoltServerTest : public ::testing::Test {
protected:
    void SetUp() override {
        folder_ =
            std::filesystem::temp_directory_path() / ("bolt_test_" + std::to_string(::getpid()));
        std::filesystem::create_directories(folder_);
        settings_.port = 0;
        settings_.sweep_interval = 10ms;
    }
    void TearDown() override {
        if (server_ != nullptr) {
            EXPECT_EQ(server_->stop(system_clock().now() + 5s), 0U);
            server_.reset();
        }
        work_.reset();
        threads_.clear();
        EXPECT_EQ(backend_.live.load(), 0);
        std::filesystem::remove_all(folder_);
    }
    void serve() {
        auto started = Server::start(io_, settings_, backend_);
        ASSERT_TRUE(started) << started.error().message();
        server_ = std::move(started).value();
        for (int i = 0; i < 3; ++i) {
            threads_.emplace_back([this] { io_.run(); });
        }
    }
    ClientSettings client_settings() const {
        ClientSettings c;
        c.port = server_->port();
        c.user = "neo4j";
        c.password = "secret";
        c.receive_timeout = 20s;
        return c;
    }
    std::unique_ptr<Client> connect() { return connect(client_settings()); }
    static std::unique_ptr<Client> connect(const ClientSettings& c) {
        auto client = Client::connect(c);
        EXPECT_TRUE(client) << client.error().message();
        return client ? std::move(client).value() : nullptr;
    }
    static std::int64_t count_rows(Client& client) {
        std::int64_t n = 0;
        while (true) {
            auto record = client.next();
            if (!record || !record.value()) {
                EXPECT_TRUE(record) << record.error().message();
                return n;
            }
            ++n;
        }
    }
    /// A socket without a client around it.
    asio::ip::tcp::socket raw() {
        asio::ip::tcp::socket socket{io_};
        socket.connect({asio::ip::make_address("127.0.0.1"), server_->port()});
        return socket;
    }
    static std::string read_all(asio::ip::tcp::socket& socket) {
        std::string out;
        boost::system::error_code ec;
        asio::read(socket, asio::dynamic_buffer(out), asio::transfer_all(), ec);
        return out;
    }

    /// Runs WAIT on a thread of its own; its RUN is answered together with its PULL, at the end.
    class Waiter {
    public:
        explicit Waiter(Client& client)
            : thread_{[this, &client] {
                  const auto run = client.run("WAIT");
                  if (!run) {
                      error_ = run.error();
                  } else if (const auto record = client.next(); !record) {
                      error_ = record.error();
                  }
                  done_ = true;
              }} {}
        ~Waiter() {
            if (thread_.joinable()) {
                thread_.join();
            }
        }
        /// Interrupts until it has ended.
        void interrupt(Client& client) {
            EXPECT_TRUE(eventually([&] {
                client.interrupt();
                return done_.load();
            }));
        }
        /// How it ended.
        std::optional<Error> error() {
            thread_.join();
            return error_;
        }

    private:
        std::optional<Error> error_;
        std::atomic<bool> done_{false};
        std::thread thread_;
    };
    bool running() const {
        for (const auto& c : server_->connections()) {
            if (c.running) {
                return true;
            }
        }
        return false;
    }

    struct Joined : std::thread {
        using std::thread::thread;
        Joined(Joined&&) = default;
        ~Joined() {
            if (joinable()) {
                join();
            }
        }
    };
    std::filesystem::path folder_;
    asio::io_context io_;
    std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work_{
        asio::make_work_guard(io_)};
    FakeBackend backend_;
    Settings settings_;
    std::unique_ptr<Server> server_;
    std::vector<Joined> threads_;
};

TEST_F(BoltServerTest, EveryVersionRunsAStatement) {
    serve();
    for (const Version v : {Version{4, 2},
                            Version{4, 3},
                            Version{4, 4},
                            Version{5, 0},
                            Version{5, 1},
                            Version{5, 2},
                            Version{5, 3},
                            Version{5, 4},
                            Version{5, 6},
                            Version{5, 7},
                            Version{5, 8}}) {
        ClientSettings c = client_settings();
        c.only_version = v;
        auto client = connect(c);
        ASSERT_NE(client, nullptr) << v.to_text();
        const auto fields = client->run("ROWS 2500");
        ASSERT_TRUE(fields) << v.to_text() << ": " << fields.error().message();
        EXPECT_EQ(fields.value(), std::vector<std::string>{"n"});
        EXPECT_EQ(count_rows(*client), 2500);
        EXPECT_EQ(client->summary().find("type")->as_string(), "r");
    }
    ClientSettings c = client_settings();
    c.only_version = Version{5, 5};
    EXPECT_EQ(Client::connect(c).error().code(), ErrorCode::kUnsupported);
    EXPECT_EQ(connect()->version(), (Version{5, 8}));
}

TEST_F(BoltServerTest, ValuesGoThereAndBack) {
    serve();
    auto client = connect();
    const std::vector<Value> values{1,
                                    2.5,
                                    "x",
                                    List{1, Value{}},
                                    Map{{"k", true}},
                                    DateTime{1, 2, 3600, "Europe/Berlin"},
                                    std::string(300'000, 'y')};
    for (const Value& v : values) {
        ASSERT_TRUE(client->run("ECHO", map_of({{"x", v}})));
        const auto record = client->next();
        ASSERT_TRUE(record && record.value());
        EXPECT_TRUE(equivalent((*record.value())[0], v));
    }
}

TEST_F(BoltServerTest, TransactionsAndFailures) {
    serve();
    auto client = connect();
    ASSERT_TRUE(client->begin());
    ASSERT_TRUE(client->run("ROWS 3"));
    EXPECT_EQ(client->commit().value(), "FB:1");
    const auto failed = client->run("FAIL");
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().hint(), "Neo.ClientError.Statement.SyntaxError");
    EXPECT_EQ(client->last_failure()->message, "Invalid input");
    ASSERT_TRUE(client->begin());
    EXPECT_FALSE(client->run("FAIL"));
    EXPECT_FALSE(client->in_transaction());
    ASSERT_TRUE(client->run("ROWS 1"));
    EXPECT_EQ(count_rows(*client), 1);
    ASSERT_TRUE(client->run("ROWS 5000"));
    ASSERT_TRUE(client->reset());
    EXPECT_EQ(client->route().value().as_map().find("ttl")->as_integer(), 300);
    ASSERT_TRUE(client->logon("other", "secret"));
    EXPECT_EQ(server_->connections().at(0).user, "other");
    EXPECT_EQ(client->logon("other", "wrong").error().hint(),
              "Neo.ClientError.Security.Unauthorized");
}

TEST_F(BoltServerTest, AWrongPasswordIsAnswered) {
    serve();
    for (const Version v : {Version{4, 4}, Version{5, 8}}) {
        ClientSettings c = client_settings();
        c.password = "wrong";
        c.only_version = v;
        const auto client = Client::connect(c);
        ASSERT_FALSE(client);
        EXPECT_EQ(client.error().code(), ErrorCode::kUnauthorized);
        EXPECT_EQ(client.error().hint(), "Neo.ClientError.Security.Unauthorized");
    }
}

TEST_F(BoltServerTest, ARunningStatementIsInterruptedByReset) {
    serve();
    auto client = connect();
    for (int round = 0; round < 20; ++round) {
        Waiter waiter{*client};
        waiter.interrupt(*client);
        const std::optional<Error> error = waiter.error();
        ASSERT_TRUE(error);
        EXPECT_TRUE(error->code() == ErrorCode::kTerminated ||
                    error->hint() == "Neo.ClientError.Transaction.Terminated")
            << error->message();
        ASSERT_TRUE(client->run("ROWS 1"));
        EXPECT_EQ(count_rows(*client), 1);
    }
}

TEST_F(BoltServerTest, PingsWhosePongsNobodyReadsAreLeftOut) {
    serve();
    auto socket = raw();
    asio::write(socket, asio::buffer(upgrade_request("localhost", "0123456789abcdef")));
    std::string head;
    asio::read_until(socket, asio::dynamic_buffer(head), "\r\n\r\n");
    std::string pings;
    for (int i = 0; i < 1000; ++i) {
        pings += std::string{"\x89\xFD\0\0\0\0", 6} + std::string(125, 'p');
    }
    constexpr std::uint64_t kPings = 500;
    for (std::uint64_t i = 0; i < kPings; ++i) {
        asio::write(socket, asio::buffer(pings));
    }
    const std::uint64_t sent = kPings * pings.size();
    ASSERT_TRUE(eventually([&] { return server_->metrics().bytes_received.load() >= sent; }));
    // What the kernel took for us, and what waits in the server.
    EXPECT_LT(server_->metrics().bytes_sent.load(), sent / 2);

    // Whoever reads is answered again.
    asio::write(socket, asio::buffer(std::string{"\x89\x80\0\0\0\0\x88\x80\0\0\0\0", 12}));
    const std::string answers = read_all(socket);
    EXPECT_TRUE(answers.ends_with(std::string{"\x88\x02\x03\xE8"}));
}

TEST_F(BoltServerTest, AWebSocketMayBeginItsFramesBesideAFullHead) {
    serve();
    auto socket = raw();
    std::string all = upgrade_request("localhost", "0123456789abcdef");
    all.insert(all.size() - 2, "X-Long: " + std::string(7900, 'x') + "\r\n");
    ASSERT_LT(all.size(), kHttpHeadBytesMax);
    for (int i = 0; i < 20; ++i) {
        all += std::string{"\x89\xFD\0\0\0\0", 6} + std::string(125, 'p');
    }
    all += std::string{"\x88\x80\0\0\0\0", 6};
    ASSERT_LT(all.size(), 16 * 1024U);  // One read.
    asio::write(socket, asio::buffer(all));
    const std::string answers = read_all(socket);
    EXPECT_NE(answers.find(std::string(125, 'p')), std::string::npos);
    EXPECT_TRUE(answers.ends_with(std::string{"\x88\x02\x03\xE8"}));
}

TEST_F(BoltServerTest, TlsWebSocketAndBothOnOnePort) {
    const Certificate own = make_certificate(folder_, "server");
    settings_.tls = {
        .enabled = true, .certificate_file = own.certificate_file, .key_file = own.key_file};
    serve();
    for (const bool tls : {false, true}) {
        for (const bool websocket : {false, true}) {
            ClientSettings c = client_settings();
            c.tls = tls;
            c.websocket = websocket;
            c.tls_ca_file = own.certificate_file;
            auto client = connect(c);
            ASSERT_NE(client, nullptr) << tls << websocket;
            ASSERT_TRUE(client->run("TEXT 3000"));
            EXPECT_EQ(server_->connections().at(0).encrypted, tls);
            EXPECT_EQ(count_rows(*client), 3000);
            ASSERT_TRUE(client->run("ECHO", map_of({{"x", std::string(200'000, 'z')}})));
            EXPECT_EQ((*client->next().value())[0].as_string().size(), 200'000U);
            client.reset();
            EXPECT_TRUE(eventually([&] { return server_->connections().empty(); }));
        }
    }
}

TEST_F(BoltServerTest, TlsThatIsRequiredRefusesPlainPeers) {
    const Certificate own = make_certificate(folder_, "server");
    settings_.tls = {.enabled = true,
                     .required = true,
                     .certificate_file = own.certificate_file,
                     .key_file = own.key_file};
    serve();
    EXPECT_EQ(Client::connect(client_settings()).error().code(), ErrorCode::kIo);
    ClientSettings c = client_settings();
    c.tls = true;
    // Signed by nobody that the system trusts.
    EXPECT_NE(Client::connect(c).error().message().find("TLS"), std::string::npos);
    c.tls_verify = false;
    EXPECT_NE(connect(c), nullptr);
}

TEST_F(BoltServerTest, ClientCertificatesAreAskedFor) {
    const Certificate own = make_certificate(folder_, "server");
    const Certificate client = make_certificate(folder_, "client");
    settings_.tls = {.enabled = true,
                     .required = true,
                     .certificate_file = own.certificate_file,
                     .key_file = own.key_file,
                     .client_ca_file = client.certificate_file};
    serve();
    ClientSettings c = client_settings();
    c.tls = true;
    c.tls_ca_file = own.certificate_file;
    EXPECT_FALSE(Client::connect(c));
    c.tls_cert_file = client.certificate_file;
    c.tls_key_file = client.key_file;
    EXPECT_NE(connect(c), nullptr);
}

TEST_F(BoltServerTest, ACertificateThatCannotBeReadStopsTheStart) {
    settings_.tls = {
        .enabled = true, .certificate_file = "/nowhere.crt", .key_file = "/nowhere.key"};
    const auto started = Server::start(io_, settings_, backend_);
    ASSERT_FALSE(started);
    EXPECT_NE(started.error().message().find("/nowhere.crt"), std::string::npos);
    settings_.tls = {};
    settings_.address = "not an address";
    EXPECT_EQ(Server::start(io_, settings_, backend_).error().code(), ErrorCode::kInvalidArgument);
}

TEST_F(BoltServerTest, AHttpGetIsAnswered) {
    serve();
    auto socket = raw();
    asio::write(socket, asio::buffer(std::string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n"}));
    const std::string answer = read_all(socket);
    EXPECT_EQ(answer,
              "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\naccess-control-allow-origin: "
              "*\r\ncontent-length: 0\r\n\r\n");
}

TEST_F(BoltServerTest, JunkClosesWithoutAByte) {
    serve();
    auto socket = raw();
    asio::write(socket, asio::buffer(std::string{"\x16\x03\x01junk"}));
    EXPECT_EQ(read_all(socket), "");
    EXPECT_TRUE(eventually([&] { return server_->connections().empty(); }));
}

TEST_F(BoltServerTest, PeersThatDoNotLogInAreClosed) {
    settings_.authentication_timeout = 50ms;
    serve();
    auto silent = raw();
    auto shaken = raw();
    asio::write(shaken, asio::buffer(bytes_of("6060B017 00000805 00000000 00000000 00000000")));
    EXPECT_EQ(read_all(silent), "");
    EXPECT_EQ(hex_of(read_all(shaken)), "00000805");
}

TEST_F(BoltServerTest, ConnectionsBeyondTheLimitAreClosed) {
    settings_.connections_max = 2;
    std::atomic<int> lines{0};
    settings_.log_warning = [&](std::string_view line) {
        EXPECT_NE(line.find("connection limit of 2"), std::string_view::npos);
        ++lines;
    };
    serve();
    auto one = connect();
    auto two = connect();
    for (int i = 0; i < 3; ++i) {
        auto socket = raw();
        EXPECT_EQ(read_all(socket), "");
    }
    EXPECT_EQ(lines.load(), 1);
    EXPECT_EQ(server_->metrics().connections_refused.load(), 3U);
    one.reset();
    EXPECT_TRUE(eventually([&] { return server_->metrics().connections_open() == 1; }));
    EXPECT_NE(connect(), nullptr);
}

TEST_F(BoltServerTest, NoopsAreSentWhileARequestRunsAndOnlyThen) {
    settings_.keep_alive = 20ms;
    serve();
    auto client = connect();
    const auto idle = server_->metrics().bytes_sent.load();
    Waiter waiter{*client};
    // The answers wait for the end of PULL: what is sent meanwhile are NOOPs.
    EXPECT_TRUE(eventually([&] { return server_->metrics().bytes_sent.load() >= idle + 6; }));
    EXPECT_TRUE(running());
    waiter.interrupt(*client);
    EXPECT_TRUE(waiter.error());
    ASSERT_TRUE(client->run("ROWS 1"));
    EXPECT_EQ(count_rows(*client), 1);
}

TEST_F(BoltServerTest, APeerThatDoesNotReadHoldsTheStatementNotTheMemory) {
    settings_.output_bytes_max = 64 * 1024;
    serve();
    FakeSession::pauses = 0;
    auto client = connect();
    RunOptions all;
    all.fetch_size = -1;
    ASSERT_TRUE(client->run("TEXT 100000", {}, all));
    // 100 MB in all: the sockets' buffers fill, then the pull stands still.
    EXPECT_TRUE(eventually([&] {
        const auto sent = server_->metrics().bytes_sent.load();
        std::this_thread::sleep_for(20ms);
        return sent == server_->metrics().bytes_sent.load();
    }));
    EXPECT_LT(server_->metrics().bytes_sent.load(), 50'000'000U);
    // Others go on meanwhile.
    auto other = connect();
    ASSERT_TRUE(other->run("ROWS 10"));
    EXPECT_EQ(count_rows(*other), 10);
    EXPECT_EQ(count_rows(*client), 100'000);
    EXPECT_GT(FakeSession::pauses.load(), 5);
}

TEST_F(BoltServerTest, APeerThatAsksTurnByTurnAndNeverReadsIsNotReadFromForEver) {
    settings_.output_bytes_max = 64 * 1024;
    settings_.input_bytes_max = 64 * 1024;
    serve();
    auto socket = raw();
    asio::write(socket, asio::buffer(bytes_of("6060B017 00000805 00000000 00000000 00000000") + hello_and_logon()));
    EXPECT_TRUE(eventually([&] { return backend_.live.load() == 1; }));
    std::string requests;
    while (requests.size() < 16 * 1024) {
        requests += request(MessageTag::kRun, {"TEXT 1", Map{}, Map{}}) + request(MessageTag::kPull, {map_of({{"n", -1}})});
    }
    socket.non_blocking(true);
    boost::system::error_code ec;
    std::size_t at = 0;
    std::uint64_t received = 0;
    do {
        received = server_->metrics().bytes_received.load();
        for (ec.clear(); !ec && server_->metrics().bytes_received.load() < 100'000'000;) {
            at = (at + socket.write_some(asio::buffer(requests) + at, ec)) % requests.size();
        }
        std::this_thread::sleep_for(50ms);
    } while (server_->metrics().bytes_received.load() != received && received < 100'000'000);
    EXPECT_LT(received, 100'000'000U);
    EXPECT_EQ(server_->connections().size(), 1U);
    // It is still noticed that it goes.
    socket.set_option(asio::socket_base::linger{true, 0});
    socket.close();
    EXPECT_TRUE(eventually([&] { return backend_.live.load() == 0 && server_->connections().empty(); }));
}

TEST_F(BoltServerTest, AReaderThatNeverReadsIsGivenUp) {
    settings_.output_bytes_max = 64 * 1024;
    settings_.slow_reader_timeout = 100ms;
    serve();
    auto client = connect();
    RunOptions all;
    all.fetch_size = -1;
    ASSERT_TRUE(client->run("TEXT 100000", {}, all));
    EXPECT_TRUE(eventually([&] { return server_->connections().empty(); }));
}

TEST_F(BoltServerTest, AClientThatVanishesEndsItsStatement) {
    serve();
    {
        auto socket = raw();
        std::string bytes = bytes_of("6060B017 00000805 00000000 00000000 00000000");
        bytes +=
            request(MessageTag::kHello,
                    {map_of({{"user_agent", "x"}, {"bolt_agent", map_of({{"product", "x"}})}})});
        bytes +=
            request(MessageTag::kLogon,
                    {map_of({{"scheme", "basic"}, {"principal", "n"}, {"credentials", "secret"}})});
        bytes += request(MessageTag::kRun, {"WAIT", Map{}, Map{}});
        bytes += request(MessageTag::kPull, {map_of({{"n", -1}})});
        asio::write(socket, asio::buffer(bytes));
        EXPECT_TRUE(eventually([&] { return backend_.live.load() == 1; }));
    }
    EXPECT_TRUE(
        eventually([&] { return backend_.live.load() == 0 && server_->connections().empty(); }));
}

TEST_F(BoltServerTest, AClientThatVanishesWhileItsInputWaitsEndsItsStatementToo) {
    settings_.input_bytes_max = 1000;
    serve();
    for (const bool closed_by_server : {false, true}) {
        auto socket = raw();
        std::string bytes = bytes_of("6060B017 00000805 00000000 00000000 00000000");
        bytes +=
            request(MessageTag::kHello,
                    {map_of({{"user_agent", "x"}, {"bolt_agent", map_of({{"product", "x"}})}})});
        bytes +=
            request(MessageTag::kLogon,
                    {map_of({{"scheme", "basic"}, {"principal", "n"}, {"credentials", "secret"}})});
        bytes += request(MessageTag::kRun, {"WAIT", Map{}, Map{}});
        bytes += request(MessageTag::kPull, {map_of({{"n", -1}})});
        asio::write(socket, asio::buffer(bytes));
        EXPECT_TRUE(eventually([&] { return running(); }));
        // More than it lets wait, until it no longer reads.
        socket.non_blocking(true);
        const std::string more(100'000, '\0');
        const std::string run = request(MessageTag::kRun, {std::string(5000, 'x'), Map{}, Map{}});
        boost::system::error_code ec;
        std::uint64_t received = 0;
        asio::write(socket, asio::buffer(run), ec);
        do {
            received = server_->metrics().bytes_received.load();
            while (!ec) {
                asio::write(socket, asio::buffer(more), ec);
            }
            std::this_thread::sleep_for(50ms);
            ec.clear();
        } while (server_->metrics().bytes_received.load() != received);
        if (closed_by_server) {
            EXPECT_TRUE(server_->close_connection(server_->connections().at(0).connection_id));
            EXPECT_TRUE(eventually([&] { return server_->connections().empty(); }));
        } else {
            socket.set_option(asio::socket_base::linger{true, 0});
            socket.close();
            EXPECT_TRUE(eventually(
                [&] { return backend_.live.load() == 0 && server_->connections().empty(); }));
        }
    }
}

TEST_F(BoltServerTest, CloseConnectionEndsTheStatementOfOne) {
    serve();
    auto client = connect();
    Waiter waiter{*client};
    EXPECT_TRUE(eventually([&] { return running(); }));
    EXPECT_FALSE(server_->close_connection("bolt-999"));
    EXPECT_TRUE(server_->close_connection(server_->connections().at(0).connection_id));
    EXPECT_TRUE(waiter.error());
    EXPECT_TRUE(eventually([&] { return server_->connections().empty(); }));
}

TEST_F(BoltServerTest, AConnectionThatIsClosedWhenIdleIsAnsweredUntilItsTransactionHasEnded) {
    serve();
    auto client = connect();
    auto other = connect();
    ASSERT_TRUE(client->begin());
    EXPECT_FALSE(server_->close_connection_when_idle("bolt-999"));
    EXPECT_TRUE(server_->close_connection_when_idle(server_->connections().at(0).connection_id));
    EXPECT_TRUE(server_->close_connection_when_idle(server_->connections().at(1).connection_id));
    EXPECT_TRUE(eventually([&] { return !other->is_idle(); }));
    other.reset();
    ASSERT_TRUE(client->run("ROWS 3"));
    EXPECT_EQ(count_rows(*client), 3);
    EXPECT_TRUE(client->commit());
    EXPECT_TRUE(eventually([&] { return !client->is_idle(); }));
    client.reset();
    EXPECT_TRUE(eventually([&] { return server_->connections().empty(); }));
}

TEST_F(BoltServerTest, AStopClosesIdleConnectionsAndInterruptsTheRestAtTheDeadline) {
    serve();
    auto idle = connect();
    auto busy = connect();
    Waiter waiter{*busy};
    EXPECT_TRUE(eventually([&] { return running(); }));
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(server_->stop(system_clock().now() + 100ms), 0U);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 4s);
    EXPECT_FALSE(idle->run("ROWS 1"));
    EXPECT_TRUE(waiter.error());
}

TEST_F(BoltServerTest, AStopLetsAHandshakeThatHasBegunEndInOrder) {
    serve();
    auto socket = raw();
    asio::write(socket, asio::buffer(bytes_of("6060B017 00000805 00000000 00000000 00000000")));
    std::string version(4, '\0');
    asio::read(socket, asio::buffer(version));
    Joined stop{[&] { EXPECT_EQ(server_->stop(system_clock().now() + 5s), 0U); }};
    const asio::ip::tcp::endpoint address{asio::ip::make_address("127.0.0.1"), server_->port()};
    EXPECT_TRUE(eventually([&] { return refuses(address); }));
    asio::write(socket, asio::buffer(hello_and_logon()));
    expect_answered_in_order(socket);
}

TEST_F(BoltServerTest, AStopLetsThoseLogInWhomTheKernelHasConnectedAlready) {
    serve();
    std::promise<void> release;
    std::shared_future<void> released = release.get_future().share();
    std::atomic<int> held{0};
    for (int i = 0; i < 3; ++i) {
        asio::post(io_, [&held, released] {
            ++held;
            released.wait();
        });
    }
    EXPECT_TRUE(eventually([&] { return held.load() == 3; }));  // nobody is there to accept
    std::vector<asio::ip::tcp::socket> sockets;
    for (int i = 0; i < 3; ++i) {
        sockets.push_back(raw());
        asio::write(sockets.back(),
                    asio::buffer(bytes_of("6060B017 00000805 00000000 00000000 00000000") + hello_and_logon()));
    }
    Joined stop{[&] { EXPECT_EQ(server_->stop(system_clock().now() + 5s), 0U); }};
    const asio::ip::tcp::endpoint address{asio::ip::make_address("127.0.0.1"), server_->port()};
    EXPECT_TRUE(eventually([&] { return refuses(address); }));
    release.set_value();
    for (auto& socket : sockets) {
        expect_answered_in_order(socket);
    }
}

TEST_F(BoltServerTest, AStopDoesNotWaitForLongForWhoNeverLogsIn) {
    serve();
    auto silent = raw();
    auto begun = raw();
    asio::write(begun, asio::buffer(bytes_of("6060B017 00000805 00000000 00000000 00000000")));
    std::string version(4, '\0');
    asio::read(begun, asio::buffer(version));
    const Deadline began = system_clock().now();
    EXPECT_EQ(server_->stop(began + 20s), 0U);
    EXPECT_LT(system_clock().now() - began, 10s);
}

TEST_F(BoltServerTest, ManyClientsAtOnce) {
    serve();
    std::vector<Joined> clients;
    std::atomic<int> good{0};
    for (int i = 0; i < 8; ++i) {
        clients.emplace_back([&] {
            auto client = connect();
            for (int n = 0; n < 200; ++n) {
                if (client->run("ROWS 3") && count_rows(*client) == 3) {
                    ++good;
                }
            }
        });
    }
    clients.clear();
    EXPECT_EQ(good.load(), 1600);
}

}  // namespace
}  // namespace nornic::bolt
