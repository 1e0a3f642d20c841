// `nornicdb check`, one check at a time.
#include "cli/check/checks.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <filesystem>
#include <fstream>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace nornic::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string text(const Findings& found) {
    std::string out;
    for (const Finding& f : found.all()) {
        out += fmt::format("{} {}: {}\n", static_cast<int>(f.kind), f.about, f.text);
    }
    return out;
}

class CheckTest : public ::testing::Test {
protected:
    CheckTest() : folder{std::filesystem::temp_directory_path() / fmt::format("check-test-{}", ::getpid())} {
        std::filesystem::create_directories(folder);
        settings = env::load({}).value().settings;
        settings.data_directory = folder / "data";
    }
    ~CheckTest() override { std::filesystem::remove_all(folder); }

    std::filesystem::path folder;
    env::Settings settings;
    Findings found;
};

TEST_F(CheckTest, AllProblemsOfTheSettingsAreNamed) {
    env::Source source;
    source.environment = {{"NORNICDB_BOLT_PORT", "x"}, {"NORNICDB_CLUSTER_NO_SUCH", "1"}, {"NORNICDB_LOG_LEVEL", "loud"}, {"NORNICDB_NEW", "1"}};
    EXPECT_TRUE(check_settings(source, found)) << "the rest can still be checked";
    EXPECT_EQ(found.problems(), 3) << text(found);
    for (const char* name : {"NORNICDB_BOLT_PORT='x'", "NORNICDB_CLUSTER_NO_SUCH", "NORNICDB_LOG_LEVEL='loud'", "NORNICDB_NEW"}) {
        EXPECT_THAT(text(found), HasSubstr(name));
    }
}

TEST_F(CheckTest, WhatIsMissingEndsTheCheckOfSettings) {
    env::Source source;
    source.environment = {{"NORNICDB_CLUSTER_MODE", "ha_standby"}};
    check_settings(source, found);
    EXPECT_GE(found.problems(), 1);
    EXPECT_THAT(text(found), HasSubstr("NORNICDB_CLUSTER_HA_ROLE"));
}

TEST_F(CheckTest, ADirectoryThatCanBeMadeIsFine) {
    check_data_directory(settings, found);
    EXPECT_EQ(found.problems(), 0) << text(found);
    EXPECT_FALSE(std::filesystem::exists(folder / "data")) << "a check leaves nothing behind";
    EXPECT_TRUE(std::filesystem::is_empty(folder));
}

TEST_F(CheckTest, AFileInItsPlaceIsAProblem) {
    std::ofstream{folder / "data"} << "x";
    check_data_directory(settings, found);
    EXPECT_EQ(found.problems(), 1) << text(found);
    EXPECT_THAT(text(found), HasSubstr("no directory"));
}

TEST_F(CheckTest, AReserveThatTheDiskDoesNotHaveIsAProblem) {
    settings.disk_reserve_bytes = UINT64_MAX / 2;
    check_data_directory(settings, found);
    EXPECT_EQ(found.problems(), 1) << text(found);
}

TEST_F(CheckTest, DataOfAnotherMemberIsAProblem) {
    std::filesystem::create_directories(folder / "data");
    std::ofstream{folder / "data" / "node.json"} << R"({"node_id":"node-1"})";
    settings.cluster.node_id = "node-2";
    check_data_directory(settings, found);
    EXPECT_EQ(found.problems(), 1) << text(found);
    EXPECT_THAT(text(found), HasSubstr("holds the data of 'node-1'"));
}

TEST_F(CheckTest, APortThatIsTakenIsAProblem) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
    ASSERT_EQ(::listen(fd, 1), 0);
    ASSERT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
    settings.address = "127.0.0.1";
    settings.bolt_port = ntohs(address.sin_port);
    settings.http_port = 0;
    check_ports(settings, found);
    EXPECT_EQ(found.problems(), 1) << text(found);
    EXPECT_THAT(text(found), HasSubstr("NORNICDB_BOLT_PORT"));
    ::close(fd);
    Findings again;
    check_ports(settings, again);
    EXPECT_EQ(again.problems(), 0) << text(again);
}

TEST_F(CheckTest, PeersThatDoNotAnswerAreWarnings) {
    settings.cluster.mode = "raft";
    settings.cluster.bind_address = "0.0.0.0:7688";
    settings.cluster.raft_peer_list = {{"node-2", "no-such-host.invalid:7688"}, {"node-3", "127.0.0.1:1"}, {"node-4", "127.0.0.1:2"}};
    check_peers(settings, found);
    EXPECT_EQ(found.problems(), 0) << text(found);
    EXPECT_THAT(text(found), HasSubstr("peer 'node-2': 'no-such-host.invalid:7688' cannot be resolved"));
    EXPECT_THAT(text(found), HasSubstr("127.0.0.1:1 does not answer"));
    EXPECT_THAT(text(found), HasSubstr("4 members are named: an even number"));
    EXPECT_THAT(text(found), HasSubstr("cluster auth"));
}

TEST_F(CheckTest, EncryptionAloneProvesNoMembership) {
    settings.cluster.mode = "raft";
    settings.cluster.bind_address = "0.0.0.0:7688";
    settings.cluster.tls_enabled = true;
    settings.cluster.raft_peer_list = {{"node-2", "no-such-host.invalid:7688"}, {"node-3", "no-such-host.invalid:7689"}};
    check_peers(settings, found);
    EXPECT_THAT(text(found), HasSubstr("NORNICDB_CLUSTER_TLS_VERIFY_CLIENT"));
    settings.cluster.tls_verify_client = true;
    Findings mutual;
    check_peers(settings, mutual);
    EXPECT_THAT(text(mutual), Not(HasSubstr("cluster auth")));
}

TEST_F(CheckTest, PeersElsewhereCannotReachLoopback) {
    settings.cluster.mode = "raft";
    settings.cluster.bind_address = "127.0.0.1:7688";
    settings.cluster.replication_secret = std::string(32, 's');
    settings.cluster.raft_peer_list = {{"node-2", "no-such-host.invalid:7688"}, {"node-3", "no-such-host.invalid:7689"}};
    check_peers(settings, found);
    EXPECT_EQ(found.problems(), 1) << text(found);
    EXPECT_THAT(text(found), HasSubstr("0.0.0.0:7688"));
    EXPECT_THAT(text(found), Not(HasSubstr("cluster auth")));
}

TEST_F(CheckTest, CertificatesThatAreNotThereAreProblems) {
    settings.bolt_tls = {true, folder / "no.crt", folder / "no.key", false, ""};
    settings.cluster.mode = "raft";
    settings.cluster.tls_enabled = true;
    settings.cluster.tls_certificate_file = folder / "x.pem";
    settings.cluster.tls_ca_file = folder / "ca.pem";
    std::ofstream{folder / "x.pem"} << "no certificate";
    check_certificates(settings, found);
    EXPECT_EQ(found.problems(), 3) << text(found);
    EXPECT_THAT(text(found), HasSubstr("NORNICDB_BOLT_TLS_CERT="));
    EXPECT_THAT(text(found), HasSubstr("NORNICDB_CLUSTER_TLS_CERT_FILE="));
    EXPECT_THAT(text(found), HasSubstr("NORNICDB_CLUSTER_TLS_CA_FILE="));
}

}  // namespace
}  // namespace nornic::cli
