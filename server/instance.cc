#include "server/instance.h"

#include "base/random.h"
#include "engine/kv.h"
#include "engine/region.h"
#include "modes/raft/raft.h"
#include "observability/log.h"
#include "server/assembly.h"
#include "server/bookmark.h"
#include "server/trace_exporter.h"

#include <boost/asio/post.hpp>
#include <fmt/format.h>

#include <algorithm>

namespace nornic::server {
namespace {

std::string lower(std::string_view text) {
    std::string out{text};
    for (char& c : out) {
        c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    return out;
}

}  // namespace

Instance::Instance(const env::Loaded& loaded, Clock& clock)
    : settings_{loaded.settings},
      explicit_settings_{loaded.explicit_values},
      clock_{clock},
      pool_{pool_settings(loaded.settings)},
      transactions_{{loaded.settings.transactions_max}, clock},
      startup_lines_{settings_.cluster.raft_peer_list.empty() ? 0 : settings_.cluster.raft_peer_list.size() + 1} {}

Instance::~Instance() {
    close();
}

Result<std::unique_ptr<Instance>> Instance::open(const env::Loaded& loaded, Clock& clock) {
    std::unique_ptr<Instance> out{new Instance{loaded, clock}};
    NORNIC_TRY(out->open_all());
    return out;
}

Result<> Instance::open_all() {
    NORNIC_TRY(mode_, find_mode(settings_.cluster.mode));
    const std::string& directory = settings_.data_directory;
    NORNIC_TRY(make_data_directory(directory));
    NORNIC_TRY(node_id_, load_node_id(directory, settings_.cluster.node_id));
    NORNIC_TRY(log_, open_log(settings_, clock_));
    const std::string extra = log_->recovery().hard_state.extra;
    NORNIC_TRY(check_data_fits(*mode_, directory, extra, false));
    leaders_ = std::make_unique<LeaderHistory>(directory, clock_);

    engine::RocksKvSettings kv_settings;
    kv_settings.directory = directory + "/store";
    engine::Settings engine_settings;
    engine_settings.cache_bytes_max = settings_.cache_bytes;
    engine_settings.transaction_bytes_max = settings_.query_memory_bytes_max;
    engine_settings.lock_timeout = settings_.lock_timeout;
    engine_settings.checkpoint_log_bytes = settings_.checkpoint_log_bytes;
    engine_settings.checkpoint_interval = settings_.checkpoint_interval;
    NORNIC_TRY(engine_,
               engine::open_engine_host(
                   engine::make_rocks_kv_home(directory, kv_settings), engine_settings, clock_));
    NORNIC_TRY(check_data_fits(*mode_, directory, extra, engine_->regions() != nullptr && engine_->regions()->region_state()->self != 0));
    engine_->on_replaced([this] { forget_plans(); });
    open_users();

    // A transaction's own schema is that of its snapshot and never sees an index come online.
    cypher::GraphProcedureHooks hooks;
    hooks.await_indexes =
        [this](std::string_view database, std::string_view index, Deadline deadline) {
            return engine_->await_indexes(database, index, deadline);
        };
    cypher::add_graph_procedures(procedures_, std::move(hooks));
    add_server_procedures(procedures_, *this);
    return success();
}

void Instance::open_users() {
    UserSettings user_settings;
    user_settings.enabled = settings_.auth_enabled;
    user_settings.password_length_min = settings_.password_length_min;
    user_settings.failed_logins_max = settings_.failed_logins_max;
    user_settings.lockout = settings_.lockout_duration;
    user_settings.first_user = settings_.auth_user;
    user_settings.first_password = settings_.auth_password;
    users_ =
        std::make_unique<Users>(*engine_,
                                clock_,
                                user_settings,
                                [this](std::span<const Users::RowChange> changes) {
                                    return commit_catalog(changes);
                                },
                                [this] { return !last_catalog_change_.expired(); });
}

Result<> Instance::start(std::string bolt_address, std::string http_address) {
    bolt_address_ = std::move(bolt_address);
    http_address_ = std::move(http_address);
    log::set_node(node_id_);
    NORNIC_TRY(traces_, TraceExporter::start(settings_.trace, node_id_, metrics_, clock_));
    tracer_ = traces_ ? &traces_->tracer() : nullptr;
    modes::ReplicaParts parts;
    parts.tracer = tracer_;
    parts.start.self = node_id_;
    parts.start.cluster_id = settings_.cluster.raft_cluster_id;
    parts.start.bolt_address = bolt_address_;
    parts.start.http_address = http_address_;
    parts.start.seed = Random::from_os().next();
    if (mode_->has_peers) {
        parts.start.cluster_address = cluster_address(settings_);
        self_.id = node_id_;
        self_.mode = std::string{mode_->name};
        self_.cluster_address = parts.start.cluster_address;
        self_.bolt_address = bolt_address_;
        self_.http_address = http_address_;
        self_.features = features();
        bus_ = make_bus(settings_, *mode_, self_, metrics_, clock_);
    }
    modes::ReplicaSettings settings = replica_settings(settings_);
    settings.post = [this](std::function<void()> work) {
        boost::asio::post(pool_.io(), std::move(work));
    };
    parts.make_strategy = mode_->factory(settings_.cluster, settings.tick_interval);
    parts.engine = engine_.get();
    parts.log = log_.get();
    parts.bus = bus_.get();
    parts.clock = &clock_;
    replica_ = modes::make_replica(std::move(parts), settings);
    NORNIC_TRY(replica_->start());
    add_metrics();
    if (!settings_.auth_enabled) {
        log::warn(
            "Authentication is off (NORNICDB_AUTH=none): whoever reaches the ports may read and "
            "write everything.");
    }
    if (!mode_->has_peers) {
        NORNIC_TRY(make_first_user());
    }
    return success();
}

/// What peers are told of the data held here. Nothing is held before the first entry: the store's history is then one that
/// nobody has to respect.
std::vector<std::string> Instance::features() const {
    std::vector<std::string> out;
    for (const std::string& tag : settings_.cluster.server_tag_list) {
        out.push_back(std::string{modes::kTagFeature} + tag);
    }
    if (is_raft(mode_->name) && (log_->last_index() != LogIndex{0} || engine_->applied_index() != LogIndex{0})) {
        out.push_back(std::string{modes::kRaftHistoryFeature} + history());
    }
    if (is_raft(mode_->name) && settings_.cluster.raft_priority_is_set) {
        out.push_back(fmt::format("{}{}", modes::kRaftPriorityFeature, settings_.cluster.raft_priority));
    }
    return out;
}

void Instance::tend() {
    if (bus_ != nullptr) {
        if (auto now = features(); now != self_.features) {
            self_.features = std::move(now);
            bus_->set_self(self_);
        }
    }
    leaders_->tend(*replica_, pool_);
    if (mode_->has_peers) {
        const modes::ClusterView view = replica_->view();
        lag_.sample(view, replica_->stats(), clock_.now());
        if (is_raft(mode_->name)) {
            startup_lines_.look(view, engine_->applied_index(), history(), clock_.now());
        }
    }
    if (!mode_->has_peers || !settings_.auth_enabled || replica_->term() == Term{0} || users_->any() || awaits_first_user() ||
        making_first_user_.exchange(true)) {
        return;
    }
    // It may wait for a peer.
    boost::asio::post(pool_.io(), [this] {
        pool_.enter(nullptr);
        if (auto made = make_first_user(); !made) {
            log::warn("The first user could not be made yet: {}", made.error().message());
        }
        pool_.leave();
        making_first_user_.store(false);
    });
}

void Instance::forget_plans() {
    const std::lock_guard lock{plans_mutex_};
    generation_.fetch_add(1, std::memory_order_acq_rel);
    plans_.clear();
}

Result<> Instance::make_first_user() {
    if (!settings_.auth_enabled || users_->any()) {
        return success();
    }
    Users::Change change;
    change.password = settings_.auth_password;
    change.password_change_required = false;
    NORNIC_TRY(users_->create(settings_.auth_user, change, false));
    log::info("First user '{}' was made from NORNICDB_AUTH.", settings_.auth_user);
    if (!explicit_settings_.contains("NORNICDB_AUTH")) {
        log::warn(
            "Its password is the default one; change it with ALTER CURRENT USER SET PASSWORD FROM "
            "'admin' TO '…'.");
    }
    return success();
}

Result<> Instance::commit_catalog(std::span<const Users::RowChange> changes) {
    engine::BeginOptions options;
    options.database = "system";
    const Term began_in = replica_->term();
    if (began_in == Term{0}) {
        return write_refusal();
    }
    // Whoever hears nothing of the primary region needs a user nevertheless.
    if (auto refusal = making_first_user_.load() ? std::nullopt : primary_refusal()) {
        return *refusal;
    }
    NORNIC_TRY(auto begun, engine_->begin(options));
    const std::shared_ptr<engine::Transaction> transaction = std::move(begun);
    for (const auto& [key, row] : changes) {
        NORNIC_TRY(row ? transaction->put_catalog(key, *row) : transaction->erase_catalog(key));
    }
    NORNIC_TRY(auto write_set, transaction->prepare());
    last_catalog_change_ = transaction;
    NORNIC_TRY(replica_->commit_and_wait(std::move(write_set), began_in, transaction));
    transaction->finish();
    return success();
}

void Instance::close() {
    if (!engine_) {
        return;
    }
    if (replica_) {
        replica_->stop();
        leaders_->keep(*replica_);
        if (!replica_->failure()) {
            if (auto done = engine_->checkpoint(); !done) {
                log::warn(
                    "The last checkpoint was not written ({}); the next start replays the log "
                    "instead.",
                    done.error().message());
            }
        }
    }
    engine_->stop();
    users_.reset();
    replica_.reset();
    bus_.reset();
    plans_.clear();
    engine_.reset();
    log_.reset();
}

std::shared_ptr<cypher::PlanCache> Instance::plans(const std::string& database, std::uint64_t generation) {
    const std::lock_guard lock{plans_mutex_};
    if (generation != generation_.load(std::memory_order_relaxed)) {
        return nullptr;
    }
    auto& slot = plans_[database];
    if (!slot) {
        slot = std::make_shared<cypher::PlanCache>(procedures_, cypher::PlanCacheSettings{});
    }
    return slot;
}

Result<std::string> Instance::resolve(std::string_view name) const {
    const std::string wanted = lower(name);
    for (const Database& database : databases()) {
        if (wanted == lower(database.name) || (wanted.empty() && database.is_default)) {
            return database.name;
        }
        for (const std::string& alias : database.aliases) {
            if (wanted == alias) {
                return database.name;
            }
        }
    }
    return fail(ErrorCode::kDatabaseNotFound, fmt::format("Graph not found: {}", name));
}

std::vector<Database> Instance::databases() const {
    // One graph and the system database; its name is the setting's, whatever it was made under.
    std::vector<std::string> aliases;
    for (const char* alias : {"default", "nornic", "neo4j"}) {
        if (alias != settings_.default_database) {
            aliases.emplace_back(alias);
        }
    }
    return {{settings_.default_database, "standard", aliases, true},
            {"system", "system", {}, false}};
}

namespace {

const modes::RegionView* primary_of(const modes::ClusterView& view) {
    for (const modes::RegionView& region : view.regions) {
        if (region.primary) {
            return &region;
        }
    }
    return nullptr;
}

/// "region 'us-east' (its leader is at host:7687)".
std::string named(const modes::RegionView& region) {
    const std::string& where = region.leader_bolt_address.empty() ? region.leader_address : region.leader_bolt_address;
    return fmt::format("region '{}'{}", region.name, where.empty() ? " (no leader of it is known now)" : " (its leader is at " + where + ")");
}

}  // namespace

const modes::RegionView* Instance::writing_region(const modes::ClusterView& view) const {
    const modes::RegionView* primary = settings_.cluster.region_writes == "primary" ? primary_of(view) : nullptr;
    return primary != nullptr && !primary->self ? primary : nullptr;
}

bool Instance::awaits_first_user() {
    constexpr std::chrono::seconds kPatience{10};
    if (mode_->name != "multi_region") {
        return false;
    }
    const modes::ClusterView view = replica_->view();
    const modes::RegionView* primary = primary_of(view);
    if (primary == nullptr || primary->self) {
        return false;
    }
    if (!first_user_due_) {
        first_user_due_ = clock_.now() + kPatience;
    }
    return clock_.now() < *first_user_due_;
}

std::optional<Error> Instance::primary_refusal() const {
    if (mode_->name != "multi_region") {
        return std::nullopt;
    }
    const modes::ClusterView view = replica_->view();
    const modes::RegionView* primary = primary_of(view);
    if (primary == nullptr || primary->self) {
        return std::nullopt;
    }
    // Not a code that makes a driver look for another member and try again: no member of this region takes it.
    return Error{ErrorCode::kForbidden,
                 fmt::format("Schema, users and databases are changed in the primary region alone, which is {}; this is region '{}'. "
                             "POST /admin/region/promote makes this one the primary.",
                             named(*primary),
                             view.regions.front().name)};
}

Error Instance::write_refusal() const {
    if (auto failure = replica_->failure()) {
        return Error{ErrorCode::kDatabaseUnavailable, "this member takes no writes since " + failure->message()};
    }
    const modes::ClusterView view = replica_->view();
    if (const modes::RegionView* region = writing_region(view)) {
        return Error{region->leader_bolt_address.empty() ? ErrorCode::kDatabaseUnavailable : ErrorCode::kNotLeader,
                     fmt::format("No write operations are allowed directly on this database. Writes are taken by {} alone "
                                 "(NORNICDB_CLUSTER_REGION_WRITES=primary).",
                                 named(*region)),
                     region->leader_bolt_address};
    }
    if (view.leader.empty() || view.leader == view.self) {
        const std::string& why = view.reason;
        return Error{ErrorCode::kDatabaseUnavailable,
                     fmt::format("No write operations are allowed now: {}",
                                 why.empty() ? "no member of the cluster is known to take writes" : why)};
    }
    std::string writer;
    for (const modes::MemberView& member : view.members) {
        if (member.id == view.leader) {
            writer = member.bolt_address;
        }
    }
    // To the letter: shells show it, and clients look for it.
    return Error{ErrorCode::kNotLeader,
                 "No write operations are allowed directly on this database. Writes must pass through the leader. The role of this "
                 "server is: FOLLOWER",
                 writer};
}

std::vector<std::string> Instance::other_histories() const {
    std::vector<std::string> out;
    if (engine::RegionData* const data = engine_->regions()) {
        const auto state = data->region_state();
        for (const engine::RegionRow& row : state->regions) {
            if (row.number != state->self && !row.history.empty()) {
                out.push_back(row.history);
            }
        }
    }
    return out;
}

std::string Instance::bookmark(LogIndex index, std::optional<Term> term) const {
    if (!term) {
        term = replica_->term_at(index);
    }
    return make_bookmark(history(), index, term);
}

}  // namespace nornic::server
