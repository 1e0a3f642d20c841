// Instance: one running member, assembled. Everything that sessions need, nothing that knows of
// sockets.
#pragma once

#include "base/clock.h"
#include "cypher/cypher.h"
#include "engine/engine.h"
#include "engine/log.h"
#include "engine/snapshot.h"
#include "env/settings.h"
#include "modes/replica.h"
#include "observability/log_limiter.h"
#include "observability/metrics.h"
#include "server/elastic_pool.h"
#include "server/member.h"
#include "server/modes_table.h"
#include "server/startup_lines.h"
#include "server/transactions.h"
#include "server/users.h"

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nornic {
class Tracer;
namespace bolt {
class Server;
}
}  // namespace nornic
namespace nornic::http {
class Server;
}

namespace nornic::server {

class TraceExporter;

/// What SHOW DATABASES says of one.
struct Database {
    std::string name;
    std::string type;  // "standard", "system"
    std::vector<std::string> aliases;
    bool is_default = false;
};

class Instance {
public:
    /// Opens log and store. The error's text is the one line for the operator.
    static Result<std::unique_ptr<Instance>> open(const env::Loaded& loaded, Clock& clock);
    /// Replays the log and joins the others, who are told the addresses that clients are shown. To be called once,
    /// before anybody is served; without peers it makes the first user, too.
    Result<> start(std::string bolt_address, std::string http_address);
    ~Instance();

    /// Now and then: lags are measured, and the first user is made by whichever member comes to take writes while there is none.
    void tend();
    /// Checkpoints and closes. Sessions must be gone.
    void close();

    const env::Settings& settings() const noexcept { return settings_; }
    const std::map<std::string, std::string>& explicit_settings() const noexcept {
        return explicit_settings_;
    }
    Clock& clock() noexcept { return clock_; }
    ElasticPool& pool() noexcept { return pool_; }
    engine::EngineHost& engine() noexcept { return *engine_; }
    modes::Replica& replica() noexcept { return *replica_; }
    Users& users() noexcept { return *users_; }
    Transactions& transactions() noexcept { return transactions_; }
    Metrics& metrics() noexcept { return metrics_; }
    /// nullptr: nothing is traced.
    [[nodiscard]] Tracer* tracer() const noexcept { return tracer_; }
    /// For lines that clients could make come by the thousand.
    LogLimiter& log_limiter() noexcept { return log_limiter_; }
    const cypher::ProcedureRegistry& procedures() const noexcept { return procedures_; }
    /// The plans of a database as of `generation`; nullptr if the engine's state was replaced since, as plans hold
    /// ids of the state that they were made for.
    std::shared_ptr<cypher::PlanCache> plans(const std::string& database, std::uint64_t generation);
    [[nodiscard]] std::uint64_t generation() const noexcept { return generation_.load(std::memory_order_acquire); }
    /// The uuid in bookmarks. Another one once the state was replaced by a peer's of other origin.
    [[nodiscard]] std::string history() const { return engine_->history(); }
    /// Those of other regions, whose bookmarks are waited for.
    [[nodiscard]] std::vector<std::string> other_histories() const;
    const ModeEntry& mode() const noexcept { return *mode_; }
    [[nodiscard]] Member member() const { return {*replica_, bus_.get(), settings_, clock_, lag_, *leaders_, history()}; }
    const std::string& node_id() const noexcept { return node_id_; }

    /// The canonical name; empty names the default. kDatabaseNotFound "Graph not found: nope".
    Result<std::string> resolve(std::string_view name) const;
    [[nodiscard]] std::vector<Database> databases() const;

    /// Advertised addresses.
    [[nodiscard]] const std::string& bolt_address() const noexcept { return bolt_address_; }
    [[nodiscard]] const std::string& http_address() const noexcept { return http_address_; }
    /// The region that takes all writes (NORNICDB_CLUSTER_REGION_WRITES=primary), if it is not this one.
    [[nodiscard]] const modes::RegionView* writing_region(const modes::ClusterView& view) const;
    /// Why no write is taken now, in the words and with the code that make drivers find who takes it: kNotLeader with
    /// the writer's address as hint, or kDatabaseUnavailable while there is none.
    [[nodiscard]] Error write_refusal() const;
    /// Why this region may not change schema, users and databases: another one is the primary. nullopt: it may, or the mode
    /// has no regions.
    [[nodiscard]] std::optional<Error> primary_refusal() const;
    /// For dbms.listConnections; null before the listener runs.
    void set_bolt_server(bolt::Server* server) { bolt_server_.store(server); }
    [[nodiscard]] bolt::Server* bolt_server() const noexcept { return bolt_server_.load(); }
    /// For metrics alone; null as above.
    void set_http_server(const http::Server* server) { http_server_.store(server); }

    /// The bookmark of everything up to `index`.
    [[nodiscard]] std::string bookmark(LogIndex index, std::optional<Term> term = std::nullopt) const;

    /// Makes the changes in one transaction of the system database and waits until it is durable.
    Result<> commit_catalog(std::span<const Users::RowChange> changes);

    struct Counters {
        Counter* statements = nullptr;
        Counter* failures = nullptr;
        Counter* reruns = nullptr;
        Histogram* seconds = nullptr;
    };
    [[nodiscard]] const Counters& counters() const noexcept { return counters_; }

private:
    Instance(const env::Loaded& loaded, Clock& clock);
    Result<> open_all();
    void open_users();
    Result<> make_first_user();
    void forget_plans();
    void add_metrics();
    [[nodiscard]] std::vector<std::string> features() const;
    /// The primary region makes the first user for all regions; only one that hears of none for a while makes its own.
    [[nodiscard]] bool awaits_first_user();

    const env::Settings settings_;
    const std::map<std::string, std::string> explicit_settings_;
    Clock& clock_;
    Metrics metrics_;
    Counters counters_;
    LogLimiter log_limiter_{clock_};
    std::unique_ptr<TraceExporter> traces_;  // whatever may hold a span goes before it
    Tracer* tracer_ = nullptr;
    ElasticPool pool_;
    Transactions transactions_;
    const ModeEntry* mode_ = nullptr;
    std::unique_ptr<engine::Log> log_;
    std::unique_ptr<engine::EngineHost> engine_;
    std::unique_ptr<transport::MessageBus> bus_;  // null: no peers
    transport::PeerInfo self_;                    // what it says of this member
    std::unique_ptr<modes::Replica> replica_;
    LagMeter lag_;
    std::unique_ptr<LeaderHistory> leaders_;
    StartupLines startup_lines_;  // of tend()'s thread
    std::unique_ptr<Users> users_;
    cypher::ProcedureRegistry procedures_;
    std::mutex plans_mutex_;
    std::map<std::string, std::shared_ptr<cypher::PlanCache>> plans_;
    std::atomic<std::uint64_t> generation_{0};  // counts replacements of the engine's state
    std::string node_id_;
    std::string bolt_address_;
    std::string http_address_;
    std::atomic<bool> making_first_user_{false};
    std::weak_ptr<engine::Transaction> last_catalog_change_;  // alive: its outcome is unknown. Users, which makes one at a time, guards it
    std::optional<Deadline> first_user_due_;  // of tend()'s thread
    std::atomic<bolt::Server*> bolt_server_{nullptr};
    std::atomic<const http::Server*> http_server_{nullptr};
};

/// dbms.*, SHOW DATABASES / TRANSACTIONS / SETTINGS / USERS, user administration.
void add_server_procedures(cypher::ProcedureRegistry& registry, Instance& instance);

}  // namespace nornic::server
