// Instance: one running member, assembled. Everything that sessions need, nothing that knows of
// sockets.
#pragma once

#include "base/clock.h"
#include "cypher/cypher.h"
#include "engine/engine.h"
#include "engine/log.h"
#include "env/settings.h"
#include "modes/replica.h"
#include "observability/metrics.h"
#include "server/elastic_pool.h"
#include "server/transactions.h"
#include "server/users.h"

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

namespace nornic::bolt {
class Server;
}

namespace nornic::server {

/// What SHOW DATABASES says of one.
struct Database {
    std::string name;
    std::string type;  // "standard", "system"
    std::vector<std::string> aliases;
    bool is_default = false;
};

class Instance {
public:
    /// Opens log and store, replays, makes the first user. The error's text is the one line for the
    /// operator.
    static Result<std::unique_ptr<Instance>> open(const env::Loaded& loaded, Clock& clock);
    ~Instance();

    /// Checkpoints and closes. Sessions must be gone.
    void close();

    const env::Settings& settings() const noexcept { return settings_; }
    const std::map<std::string, std::string>& explicit_settings() const noexcept {
        return explicit_settings_;
    }
    Clock& clock() noexcept { return clock_; }
    ElasticPool& pool() noexcept { return pool_; }
    engine::Engine& engine() noexcept { return *engine_; }
    modes::Replica& replica() noexcept { return *replica_; }
    Users& users() noexcept { return *users_; }
    Transactions& transactions() noexcept { return transactions_; }
    Metrics& metrics() noexcept { return metrics_; }
    const cypher::ProcedureRegistry& procedures() const noexcept { return procedures_; }
    cypher::PlanCache& plans(const std::string& database);
    /// The uuid in bookmarks.
    const std::string& history() const noexcept { return history_; }
    const std::string& node_id() const noexcept { return node_id_; }

    /// The canonical name; empty names the default. kDatabaseNotFound "Graph not found: nope".
    Result<std::string> resolve(std::string_view name) const;
    [[nodiscard]] std::vector<Database> databases() const;

    /// Advertised addresses, known once the listeners have their ports.
    void set_addresses(std::string bolt, std::string http);
    [[nodiscard]] std::string bolt_address() const;
    [[nodiscard]] std::string http_address() const;
    /// For dbms.listConnections; null before the listener runs.
    void set_bolt_server(bolt::Server* server) { bolt_server_.store(server); }
    [[nodiscard]] bolt::Server* bolt_server() const noexcept { return bolt_server_.load(); }

    /// Runs `change` in a transaction of the system database and waits until it is durable.
    Result<> commit_catalog(const std::string& key, const std::optional<Value>& row);

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
    Result<> make_first_user();
    void add_metrics();

    const env::Settings settings_;
    const std::map<std::string, std::string> explicit_settings_;
    Clock& clock_;
    Metrics metrics_;
    Counters counters_;
    ElasticPool pool_;
    Transactions transactions_;
    std::unique_ptr<engine::Log> log_;
    std::unique_ptr<engine::Engine> engine_;
    std::unique_ptr<modes::Replica> replica_;
    std::unique_ptr<Users> users_;
    cypher::ProcedureRegistry procedures_;
    std::mutex plans_mutex_;
    std::map<std::string, std::unique_ptr<cypher::PlanCache>> plans_;
    std::string history_;
    std::string node_id_;
    mutable std::mutex addresses_mutex_;
    std::string bolt_address_;
    std::string http_address_;
    std::atomic<bolt::Server*> bolt_server_{nullptr};
};

/// dbms.*, SHOW DATABASES / TRANSACTIONS / SETTINGS / USERS, user administration.
void add_server_procedures(cypher::ProcedureRegistry& registry, Instance& instance);

/// A random version 4 uuid.
std::string make_uuid();

}  // namespace nornic::server
