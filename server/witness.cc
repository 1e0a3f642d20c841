#include "server/witness.h"

#include "base/random.h"
#include "observability/log.h"
#include "server/admin.h"
#include "server/assembly.h"
#include "server/process_metrics.h"
#include "server/replication_metrics.h"
#include "server/session_log.h"
#include "server/modes_table.h"
#include "server/status.h"
#include "server/version.h"

#include <boost/asio/post.hpp>
#include <boost/json.hpp>
#include <fmt/format.h>
#include <openssl/crypto.h>

#include <filesystem>

namespace nornic::server {
namespace {

Error no_data() {
    return Error{ErrorCode::kUnsupported, "This member is a witness and holds no data; ask another member."};
}

bool same(std::string_view a, std::string_view b) {
    return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace

Witness::Witness(const env::Settings& settings, Clock& clock)
    : settings_{settings}, clock_{clock}, pool_{pool_settings(settings)} {}

Witness::~Witness() {
    close();
}

Result<std::unique_ptr<Witness>> Witness::open(const env::Loaded& loaded, Clock& clock) {
    const env::Settings& settings = loaded.settings;
    const std::string& directory = settings.data_directory;
    NORNIC_TRY(make_data_directory(directory));
    std::error_code ignored;
    if (std::filesystem::exists(directory + "/store", ignored) ||
        std::filesystem::exists(directory + "/store.current", ignored)) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("{}='witness', but '{}' holds a database: a witness takes a data directory of its own",
                                is_raft(settings.cluster.mode) ? "NORNICDB_CLUSTER_RAFT_ROLE" : "NORNICDB_CLUSTER_HA_ROLE",
                                directory));
    }
    std::unique_ptr<Witness> out{new Witness{settings, clock}};
    NORNIC_TRY(out->node_id_, load_node_id(directory, settings.cluster.node_id));
    NORNIC_TRY(out->log_, open_log(settings, clock));
    out->leaders_ = std::make_unique<LeaderHistory>(directory, clock);
    return out;
}

Result<> Witness::start(std::string http_address) {
    NORNIC_TRY(const ModeEntry* mode, find_mode(settings_.cluster.mode));
    modes::ReplicaParts parts;
    parts.start.self = node_id_;
    parts.start.cluster_id = settings_.cluster.raft_cluster_id;
    parts.start.cluster_address = cluster_address(settings_);
    parts.start.http_address = http_address;
    parts.start.seed = Random::from_os().next();
    transport::PeerInfo self;
    self.id = node_id_;
    self.mode = std::string{mode->name};
    self.cluster_address = parts.start.cluster_address;
    self.http_address = std::move(http_address);
    self.witness = true;
    bus_ = make_bus(settings_, *mode, self, metrics_, clock_);
    modes::ReplicaSettings settings = replica_settings(settings_);
    settings.diverged_directory.clear();
    settings.post = [this](std::function<void()> work) {
        boost::asio::post(pool_.io(), std::move(work));
    };
    parts.make_strategy = mode->factory(settings_.cluster, settings.tick_interval);
    log::set_node(node_id_);
    NORNIC_TRY(traces_, TraceExporter::start(settings_.trace, node_id_, metrics_, clock_));
    parts.tracer = traces_ ? &traces_->tracer() : nullptr;
    parts.log = log_.get();
    parts.bus = bus_.get();
    parts.clock = &clock_;
    replica_ = modes::make_replica(std::move(parts), settings);
    NORNIC_TRY(replica_->start());
    add_process_metrics(metrics_, settings_);
    add_replication_metrics(metrics_, [this] { return member(); });
    return success();
}

void Witness::tend() {
    lag_.sample(replica_->view(), replica_->stats(), clock_.now());
    leaders_->tend(*replica_, pool_);
}

void Witness::close() {
    if (replica_) {
        replica_->stop();
        leaders_->keep(*replica_);
    }
    replica_.reset();
    bus_.reset();
    log_.reset();
}

http::Document Witness::discovery(const std::string&) {
    return {200,
            boost::json::serialize(boost::json::object{{"nornicdb_version", kVersion}, {"role", "witness"}})};
}
http::Document Witness::health() {
    return server::health(member());
}
http::Document Witness::ready() {
    return server::ready(member());
}
http::Document Witness::leader_probe() {
    return server::leader_probe(member());
}
http::Document Witness::replica_probe() {
    return server::replica_probe(member());
}
std::string Witness::metrics() {
    return metrics_.text();
}
bool Witness::authentication_enabled() const {
    return settings_.auth_enabled;
}
Result<std::string> Witness::authenticate(const http::Credentials& credentials) {
    if (!settings_.auth_enabled) {
        return credentials.user.empty() ? std::string{"anonymous"} : credentials.user;
    }
    if (!same(credentials.user, settings_.auth_user) || !same(credentials.password, settings_.auth_password)) {
        return fail(ErrorCode::kUnauthorized, "The client is unauthorized due to authentication failure.");
    }
    return credentials.user;
}
void Witness::admin(http::AdminRequest request, http::Completion<http::Document> done) {
    if (settings_.audit_enabled) {
        done = audited(request, std::move(done));
    }
    handle_admin(member(), request, std::move(done));
}

Result<Value> Witness::parse_temporal(std::string_view, std::string_view) {
    return no_data();
}
void Witness::query(std::string, http::QueryRequest, http::Completion<http::QueryAnswer> done) {
    done(no_data());
}
void Witness::begin(std::string,
                    http::QueryRequest,
                    http::Completion<std::pair<http::OpenTransaction, http::QueryAnswer>> done) {
    done(no_data());
}
void Witness::query_in(std::string,
                       std::string,
                       http::QueryRequest,
                       http::Completion<std::pair<http::OpenTransaction, http::QueryAnswer>> done) {
    done(no_data());
}
void Witness::commit(std::string, std::string, http::QueryRequest, http::Completion<http::QueryAnswer> done) {
    done(no_data());
}
void Witness::rollback(std::string, std::string, http::Completion<void> done) {
    done(no_data());
}

}  // namespace nornic::server
