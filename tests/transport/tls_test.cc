// TLS between members: who is let in, and certificates that are renewed under way.

#include "transport/tls.h"

#include "tests/transport/certificates.h"
#include "tests/transport/support.h"

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <filesystem>
#include <fstream>

namespace nornic::transport {
namespace {

class TlsTest : public ::testing::Test {
protected:
    void SetUp() override {
        authority_.issue("a");
        authority_.issue("b");
    }

    TlsSettings tls(const std::string& member, const Authority& by) const {
        TlsSettings out;
        out.enabled = true;
        out.certificate_file = by.certificate_file(member);
        out.key_file = by.key_file(member);
        out.ca_file = authority_.ca_file();
        out.verify_client = true;
        return out;
    }
    std::function<void(Settings&)> with(const std::string& member,
                                        const std::function<void(Settings&)>& change = {}) const {
        return [=, this](Settings& s) {
            s.tls = tls(member, authority_);
            if (change) {
                change(s);
            }
        };
    }
    /// The dialer learns why it cannot connect.
    static std::string error_of(Member& dialer) {
        std::string error;
        EXPECT_TRUE(dialer.handler.wait([&] {
            error = dialer.bus->stats().front().last_error;
            return !error.empty();
        }));
        return error;
    }

    Authority authority_{"members"};
};

TEST_F(TlsTest, MembersTalkOverMutualTls) {
    Member a{"a", with("a")};
    Member b{"b", with("b")};
    a.start();
    b.start({a.bus->address()});
    ASSERT_TRUE(a.handler.wait_up("b"));
    ASSERT_TRUE(b.handler.wait_up("a"));
    EXPECT_EQ(a.bus->authentication(), "mtls");
    ASSERT_TRUE(a.handler.wait([&] { return a.send("b", 0, LANE_LOG); }));
    constexpr std::uint64_t kCount = 1000;
    for (std::uint64_t i = 1; i <= kCount; ++i) {
        ASSERT_TRUE(a.send("b", i, LANE_LOG));
    }
    ASSERT_TRUE(a.bus->send("b", LANE_LOG, sized(std::size_t{8} << 20, kCount + 1)));
    ASSERT_TRUE(b.handler.wait_messages(kCount + 2));
    std::uint64_t expected = 0;
    for (const auto& received : b.handler.received()) {
        EXPECT_EQ(number_of(*received.message), expected++);
    }
    EXPECT_EQ(b.handler.received().back().message->wal_batch().entries(0).payload().size(), std::size_t{8} << 20);
    EXPECT_EQ(a.bus->queued_bytes("b", LANE_LOG), 0U);
}

TEST_F(TlsTest, ASecretIsAskedForBesideIt) {
    const std::string secret(32, 's');
    Member a{"a", with("a", [&](Settings& s) { s.secret = secret; })};
    Member b{"b", with("b", [&](Settings& s) { s.secret = secret + "x"; })};
    a.start();
    b.start({a.bus->address()});
    EXPECT_NE(error_of(b).find("REPLICATION_SECRET"), std::string::npos);
    EXPECT_TRUE(a.handler.ups().empty());
}

TEST_F(TlsTest, TheLeastVersionIsHeld) {
    Member a{"a", with("a", [](Settings& s) { s.tls.min_version = "1.3"; })};
    Member b{"b", with("b", [](Settings& s) { s.tls.min_version = "1.3"; })};
    a.start();
    b.start({a.bus->address()});
    EXPECT_TRUE(a.handler.wait_up("b"));
}

TEST_F(TlsTest, AMemberOfAnotherAuthorityIsRefused) {
    const Authority stranger{"strangers"};
    stranger.issue("b");
    Member a{"a", with("a")};
    Member b{"b", with("b", [&](Settings& s) {
                 s.tls.certificate_file = stranger.certificate_file("b");
                 s.tls.key_file = stranger.key_file("b");
             })};
    a.start();
    b.start({a.bus->address()});
    EXPECT_NE(error_of(b).find("TLS: "), std::string::npos);
    EXPECT_TRUE(a.handler.ups().empty());
    EXPECT_TRUE(b.handler.ups().empty());
}

TEST_F(TlsTest, ACertificateForAnotherHostIsRefused) {
    authority_.issue("a", {.names = "DNS:elsewhere"});
    Member a{"a", with("a")};
    Member b{"b", with("b")};
    a.start();
    b.start({a.bus->address()});
    EXPECT_NE(error_of(b).find("IP address mismatch"), std::string::npos);
    // Where one name stands for all members, it is said so.
    Member c{"c", with("b", [](Settings& s) { s.tls.server_name = "elsewhere"; })};
    c.start({a.bus->address()});
    EXPECT_TRUE(c.handler.wait_up("a"));
}

TEST_F(TlsTest, AnExpiredCertificateIsRefused) {
    authority_.issue("a", {.valid = -3600s});
    Member a{"a", with("a")};
    Member b{"b", with("b")};
    a.start();
    b.start({a.bus->address()});
    EXPECT_NE(error_of(b).find("certificate has expired"), std::string::npos);
}

TEST_F(TlsTest, ADialerWithoutACertificateIsRefused) {
    Member a{"a", with("a")};
    a.start();
    RawPeer raw{a.bus->address()};
    SSL_CTX* context = SSL_CTX_new(TLS_client_method());
    SSL* ssl = SSL_new(context);
    SSL_set_fd(ssl, raw.fd());
    // Under TLS 1.3 the client's own part is done before it is told what it lacks.
    if (SSL_connect(ssl) == 1) {
        ClusterMessage hello;
        *hello.mutable_hello() = make_raw_hello("b");
        const Frame frame = encode(hello, WireFormat::kProtobuf, 1000).value();
        SSL_write(ssl, frame.data(), static_cast<int>(frame.size()));
        char answer = 0;
        EXPECT_LE(SSL_read(ssl, &answer, 1), 0);
    }
    EXPECT_EQ(ERR_GET_REASON(ERR_peek_error()), SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED);
    ERR_clear_error();
    SSL_free(ssl);
    SSL_CTX_free(context);
    EXPECT_TRUE(a.handler.ups().empty());
}

TEST_F(TlsTest, SilenceAndGarbageWithinTlsAreBounded) {
    Member a{"a", with("a", [](Settings& s) { s.handshake_timeout = 30ms; })};
    a.start();
    RawPeer silent{a.bus->address()};
    EXPECT_TRUE(silent.wait_closed());
    RawPeer garbage{a.bus->address()};
    std::string out;
    TlsChannel channel{TlsContext::load(tls("b", authority_)).value(), Side::kDialer, "127.0.0.1"};
    channel.begin(out);
    ASSERT_TRUE(garbage.write(out + std::string(100, 'x')));
    EXPECT_TRUE(garbage.wait_closed());
    EXPECT_TRUE(a.handler.ups().empty());
}

TEST_F(TlsTest, APlainMemberAndAnEncryptedOneTellTheirOperatorsWhy) {
    Member a{"a", with("a")};
    Member b{"b"};
    a.start();
    b.start({a.bus->address()});
    EXPECT_FALSE(error_of(b).empty());
    Member c{"c", with("b")};
    c.start({b.bus->address()});
    EXPECT_NE(error_of(c).find("NORNICDB_CLUSTER_TLS_ENABLED"), std::string::npos) << error_of(c);
    EXPECT_TRUE(a.handler.ups().empty());
}

TEST_F(TlsTest, ARenewedCertificateIsUsedWithoutARestartAndABadOneIsNot) {
    class SteppedClock final : public Clock {  // Files are looked at once a second; no test waits for that.
    public:
        Deadline now() const override { return Deadline{Duration{step_ += 1'100'000'000}}; }
        std::int64_t wall_ns() const override { return system_clock().wall_ns(); }
        mutable std::atomic<std::int64_t> step_{1};
    } clock;
    TlsKeeper keeper{tls("a", authority_), clock};
    ASSERT_TRUE(keeper.load());
    const auto first = keeper.current();
    EXPECT_EQ(keeper.current(), first);

    authority_.issue("a", {.valid = 7200s});
    const auto renewed = keeper.current();
    EXPECT_NE(renewed, first);
    EXPECT_LT(renewed->not_after(), first->not_after());
    EXPECT_EQ(keeper.current(), renewed);

    std::ofstream{authority_.certificate_file("a")} << "no certificate";
    EXPECT_EQ(keeper.current(), renewed);
    std::filesystem::remove(authority_.key_file("a"));
    EXPECT_EQ(keeper.current(), renewed);

    authority_.issue("a", {.valid = 14400s});
    EXPECT_GT(keeper.current()->not_after(), renewed->not_after());
}

TEST_F(TlsTest, AnExpiredCertificateThatIsRenewedLetsMembersFindEachOther) {
    authority_.issue("a", {.valid = -3600s});
    Member a{"a", with("a")};
    Member b{"b", with("b")};
    a.start();
    b.start({a.bus->address()});
    EXPECT_FALSE(error_of(b).empty());
    authority_.issue("a");
    EXPECT_TRUE(b.handler.wait_up("a"));
}

TEST_F(TlsTest, TheExpiryIsAMetric) {
    Metrics metrics;
    {
        Member a{"a", with("a"), &metrics};
        a.start();
        EXPECT_NE(metrics.text().find("nornicdb_cluster_tls_certificate_expiry_timestamp_seconds 1"), std::string::npos)
            << metrics.text();
    }
    EXPECT_FALSE(metrics.text().empty());  // After the bus is gone.
}

struct BadSetting {
    const char* name;
    std::function<void(Settings&, const std::string&)> change;
    const char* expected;
};
class TlsBadSettings : public TlsTest, public ::testing::WithParamInterface<BadSetting> {};
TEST_P(TlsBadSettings, StopTheStartWithOneLineThatNamesTheVariable) {
    authority_.issue("other");
    Member a{"a", with("a", [&](Settings& s) { GetParam().change(s, authority_.key_file("other")); })};
    a.bus->set_self(a.self);
    const auto started = a.bus->start(a.handler);
    ASSERT_FALSE(started);
    EXPECT_EQ(started.error().code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(started.error().message().find(GetParam().expected), std::string::npos) << started.error().message();
    EXPECT_EQ(started.error().message().find('\n'), std::string::npos);
}
INSTANTIATE_TEST_SUITE_P(
    Table,
    TlsBadSettings,
    ::testing::Values(
        BadSetting{"NoCertificate", [](Settings& s, auto&) { s.tls.certificate_file = ""; },
                   "NORNICDB_CLUSTER_TLS_CERT_FILE='': "},
        BadSetting{"MissingCertificate", [](Settings& s, auto&) { s.tls.certificate_file = "/no/such.crt"; },
                   "NORNICDB_CLUSTER_TLS_CERT_FILE='/no/such.crt': No such file or directory"},
        BadSetting{"NoKey", [](Settings& s, auto&) { s.tls.key_file = ""; }, "NORNICDB_CLUSTER_TLS_KEY_FILE='': "},
        BadSetting{"KeyIsNoKey", [](Settings& s, auto&) { s.tls.key_file = s.tls.certificate_file; },
                   "NORNICDB_CLUSTER_TLS_KEY_FILE="},
        BadSetting{"KeyOfAnother", [](Settings& s, const std::string& key) { s.tls.key_file = key; },
                   "NORNICDB_CLUSTER_TLS_KEY_FILE="},
        BadSetting{"MissingAuthority", [](Settings& s, auto&) { s.tls.ca_file = "/no/such.crt"; },
                   "NORNICDB_CLUSTER_TLS_CA_FILE='/no/such.crt': "},
        BadSetting{"NoAuthority", [](Settings& s, auto&) { s.tls.ca_file = ""; },
                   "NORNICDB_CLUSTER_TLS_CA_FILE='': "},
        BadSetting{"Version", [](Settings& s, auto&) { s.tls.min_version = "1.1"; },
                   "NORNICDB_CLUSTER_TLS_MIN_VERSION='1.1': "},
        BadSetting{"VerifyWithoutTls", [](Settings& s, auto&) { s.tls.enabled = false; },
                   "NORNICDB_CLUSTER_TLS_VERIFY_CLIENT='true': "},
        BadSetting{"ShortSecret", [](Settings& s, auto&) { s.secret = "short"; },
                   "NORNICDB_CLUSTER_REPLICATION_SECRET has 5 characters"}),
    [](const auto& info) { return std::string{info.param.name}; });

}  // namespace
}  // namespace nornic::transport
