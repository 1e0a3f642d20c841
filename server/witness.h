// The witness of a hot standby or a Raft group: a member without data and without Bolt that has one vote. HTTP shows it: /health,
// /metrics, /admin/cluster/status.
#pragma once

#include "base/clock.h"
#include "engine/log.h"
#include "env/settings.h"
#include "http/backend.h"
#include "server/trace_exporter.h"
#include "modes/replica.h"
#include "observability/metrics.h"
#include "server/elastic_pool.h"
#include "server/member.h"

#include <memory>
#include <string>

namespace nornic::server {

class Witness final : public http::Backend {
public:
    /// Opens its log, in which it keeps whom it gave its vote. The error's text is the one line for the operator.
    static Result<std::unique_ptr<Witness>> open(const env::Loaded& loaded, Clock& clock);
    ~Witness() override;
    /// Joins the data members. To be called once.
    Result<> start(std::string http_address);
    /// Now and then.
    void tend();
    void close();

    [[nodiscard]] ElasticPool& pool() noexcept { return pool_; }
    [[nodiscard]] modes::Replica& replica() noexcept { return *replica_; }

    http::Document discovery(const std::string& host) override;
    http::Document health() override;
    http::Document ready() override;
    http::Document leader_probe() override;
    http::Document replica_probe() override;
    std::string metrics() override;
    [[nodiscard]] bool authentication_enabled() const override;
    /// It holds no users: the pair of NORNICDB_AUTH is its operator.
    Result<std::string> authenticate(const http::Credentials& credentials) override;
    void admin(http::AdminRequest request, http::Completion<http::Document> done) override;
    Result<Value> parse_temporal(std::string_view type, std::string_view text) override;
    void query(std::string user, http::QueryRequest request, http::Completion<http::QueryAnswer> done) override;
    void begin(std::string user,
               http::QueryRequest request,
               http::Completion<std::pair<http::OpenTransaction, http::QueryAnswer>> done) override;
    void query_in(std::string user,
                  std::string transaction,
                  http::QueryRequest request,
                  http::Completion<std::pair<http::OpenTransaction, http::QueryAnswer>> done) override;
    void commit(std::string user,
                std::string transaction,
                http::QueryRequest request,
                http::Completion<http::QueryAnswer> done) override;
    void rollback(std::string user, std::string transaction, http::Completion<void> done) override;

private:
    Witness(const env::Settings& settings, Clock& clock);
    [[nodiscard]] Member member() const { return {*replica_, bus_.get(), settings_, clock_, lag_, *leaders_, {}}; }

    const env::Settings settings_;
    Clock& clock_;
    Metrics metrics_;
    ElasticPool pool_;
    std::string node_id_;
    std::unique_ptr<TraceExporter> traces_;  // whatever may hold a span goes before it
    std::unique_ptr<engine::Log> log_;
    std::unique_ptr<transport::MessageBus> bus_;
    std::unique_ptr<modes::Replica> replica_;
    LagMeter lag_;
    std::unique_ptr<LeaderHistory> leaders_;
};

}  // namespace nornic::server
