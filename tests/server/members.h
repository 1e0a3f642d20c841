// Data members of a cluster in this process, joined over loopback, for tests of what they answer.
#pragma once

#include "server/http_backend.h"
#include "server/instance.h"
#include "server/query_session.h"

#include <boost/json.hpp>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace nornic::server {

namespace json = boost::json;

/// Ports that nobody has now.
inline std::vector<std::uint16_t> free_ports(std::size_t count) {
    std::vector<int> sockets;
    std::vector<std::uint16_t> out;
    for (std::size_t i = 0; i < count; ++i) {
        const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
        EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
        sockets.push_back(fd);
        out.push_back(ntohs(address.sin_port));
    }
    for (const int fd : sockets) {
        ::close(fd);
    }
    return out;
}

template <class T>
Result<T> wait(const std::function<void(std::function<void(Result<T>)>)>& call) {
    auto answered = std::make_shared<std::promise<Result<T>>>();
    auto answer = answered->get_future();
    call([answered](Result<T> result) { answered->set_value(std::move(result)); });
    return answer.get();
}

inline bool eventually(const std::function<bool()>& condition, Duration patience = std::chrono::seconds{20}) {
    const Deadline deadline = system_clock().now() + patience;
    while (!condition()) {
        if (system_clock().now() > deadline) {
            return false;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds{5});
    }
    return true;
}

class Rows final : public bolt::RecordSink {
public:
    bool record(std::span<const Value> values) override {
        rows.emplace_back(values.begin(), values.end());
        return true;
    }
    std::vector<std::vector<Value>> rows;
};

struct Answer {
    std::vector<std::vector<Value>> rows;
    std::string bookmark;
};

enum class Scheme : std::uint8_t { kBolt, kNeo4j };

/// A data member without listeners.
struct DataMember {
    std::unique_ptr<Instance> instance;
    std::unique_ptr<HttpBackend> http;

    ~DataMember() { stop(); }
    void stop() {
        if (instance) {
            instance->replica().stop();
            instance->pool().stop();
            http.reset();
            instance->close();
            instance.reset();
        }
    }
    std::unique_ptr<QuerySession> session(Scheme scheme = Scheme::kBolt) const {
        bolt::ConnectionInfo info;
        if (scheme == Scheme::kNeo4j) {
            info.routing_context = Value{Map{}};
        }
        auto out = std::make_unique<QuerySession>(*instance, info);
        out->login_as("tester");
        return out;
    }
    Result<Answer> run(const std::string& query,
                       bolt::TransactionOptions options = {},
                       Scheme scheme = Scheme::kBolt) const {
        const auto used = session(scheme);
        NORNIC_TRY(wait<bolt::Running>([&](auto done) { used->run(query, Value{Map{}}, options, done); }));
        Rows rows;
        NORNIC_TRY(const auto pulled,
                   wait<bolt::Pulled>([&](auto done) { used->pull(-1, -1, rows, done); }));
        return Answer{std::move(rows.rows), pulled.bookmark};
    }
    bolt::RoutingTable route() const {
        const auto used = session(Scheme::kNeo4j);
        auto table = wait<bolt::RoutingTable>([&](auto done) { used->route(Value{Map{}}, {}, "", "", done); });
        EXPECT_TRUE(table);
        return table ? table.value() : bolt::RoutingTable{};
    }
    http::Document admin(const std::string& method, const std::string& path, const std::string& body = {}) const {
        auto answer = wait<http::Document>(
            [&](auto done) { http->admin({method, path, body, "tester"}, done); });
        EXPECT_TRUE(answer) << path;
        return answer ? answer.value() : http::Document{};
    }
    json::object replication() const {
        return json::parse(http->health().json).as_object().at("replication").as_object();
    }
};

inline const std::vector<std::string>& addresses(const bolt::RoutingTable& table, std::string_view role) {
    static const std::vector<std::string> none;
    for (const auto& server : table.servers) {
        if (server.role == role) {
            return server.addresses;
        }
    }
    return none;
}

}  // namespace nornic::server
