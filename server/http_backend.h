// HTTP's view of an instance: discovery, health, metrics, and Query API requests through
// the sessions that Bolt connections have, too.
#pragma once

#include "http/backend.h"
#include "server/forwarding.h"
#include "server/instance.h"
#include "server/query_session.h"

#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace nornic::server {

class HttpBackend final : public http::Backend {
public:
    explicit HttpBackend(Instance& instance) : instance_{instance}, forwarding_{instance.metrics()} {}

    http::Document discovery(const std::string& host) override;
    http::Document health() override;
    http::Document ready() override;
    http::Document leader_probe() override;
    http::Document replica_probe() override;
    std::string metrics() override;
    [[nodiscard]] bool authentication_enabled() const override;
    Result<std::string> authenticate(const http::Credentials& credentials) override;
    void admin(http::AdminRequest request, http::Completion<http::Document> done) override;
    Result<Value> parse_temporal(std::string_view type, std::string_view text) override;
    void query(std::string user,
               http::QueryRequest request,
               http::Completion<http::QueryAnswer> done) override;
    void begin(std::string user,
               http::QueryRequest request,
               http::Completion<std::pair<http::OpenTransaction, http::QueryAnswer>> done) override;
    void query_in(
        std::string user,
        std::string transaction,
        http::QueryRequest request,
        http::Completion<std::pair<http::OpenTransaction, http::QueryAnswer>> done) override;
    void commit(std::string user,
                std::string transaction,
                http::QueryRequest request,
                http::Completion<http::QueryAnswer> done) override;
    void rollback(std::string user, std::string transaction, http::Completion<void> done) override;

    /// How long a transaction lives that nobody uses.
    static constexpr std::chrono::seconds kTransactionLife{30};
    /// Rolls back what its client left; called now and then.
    void expire_idle(Duration life = kTransactionLife);
    void close_all();

private:
    struct Open {
        std::string user;
        std::string id;
        std::unique_ptr<bolt::Session> session;  // of the request that uses it
        // With mutex_ held:
        bool in_use = false;
        bool doomed = false;  // rolled back as soon as its request is through
        Deadline expires;
    };
    using OpenPtr = std::shared_ptr<Open>;
    using Answered = http::Completion<http::QueryAnswer>;

    std::unique_ptr<bolt::Session> make_session(const std::string& user, const http::Credentials& credentials);
    /// Pulls the statement that runs into `answer`, then calls done.
    void collect(bolt::Session& session, std::shared_ptr<http::QueryAnswer> answer, Answered done);
    void run_in(const OpenPtr& open, http::QueryRequest request, Answered done);
    /// For one request alone, which ends with give_back() or forget(). A transaction in use is
    /// kInvalidRequest.
    Result<OpenPtr> take(const std::string& user, const std::string& transaction);
    http::OpenTransaction give_back(const OpenPtr& open);
    Result<OpenPtr> find(const std::string& user,
                         const std::string& transaction);  // with mutex_ held
    void forget(const std::string& id);

    Instance& instance_;
    ForwardingMetrics forwarding_;
    std::mutex mutex_;
    std::map<std::string, OpenPtr> open_;
    std::uint64_t next_session_ = 1;
};

}  // namespace nornic::server
