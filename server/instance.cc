#include "server/instance.h"

#include "base/random.h"
#include "engine/kv.h"
#include "modes/standalone/standalone.h"
#include "observability/log.h"

#include <boost/asio/post.hpp>
#include <boost/json.hpp>
#include <fmt/format.h>

#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sys/stat.h>
#include <unistd.h>

namespace nornic::server {
namespace {

std::string lower(std::string_view text) {
    std::string out{text};
    for (char& c : out) {
        c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    return out;
}

ElasticPool::Settings pool_settings(const env::Settings& settings) {
    ElasticPool::Settings out;
    out.threads_min = std::max<std::size_t>(3, std::thread::hardware_concurrency() + 1);
    out.threads_max = std::max(out.threads_min, static_cast<std::size_t>(settings.threads_max));
    return out;
}

/// The name of this member: drawn once and kept in node.json. Written beside and renamed, so that a
/// crash leaves the old file or the new one.
Result<std::string> load_node_id(const std::string& directory, const std::string& wanted) {
    const std::string path = directory + "/node.json";
    std::string known;
    if (std::ifstream file{path}) {
        const std::string text{std::istreambuf_iterator<char>{file}, {}};
        boost::system::error_code error;
        const auto parsed = boost::json::parse(text, error);
        if (error || !parsed.is_object() || !parsed.as_object().contains("node_id") ||
            !parsed.at("node_id").is_string()) {
            return fail(ErrorCode::kCorruption,
                        fmt::format("'{}' is damaged: it should hold {{\"node_id\": …}}", path));
        }
        known = std::string{parsed.at("node_id").as_string()};
    }
    if (!known.empty()) {
        if (!wanted.empty() && wanted != known) {
            return fail(ErrorCode::kInvalidArgument,
                        fmt::format("NORNICDB_CLUSTER_NODE_ID='{}', but the data in '{}' belongs "
                                    "to '{}': use that name or another data directory",
                                    wanted,
                                    directory,
                                    known));
        }
        return known;
    }
    known = wanted.empty() ? "node-" + make_uuid().substr(0, 8) : wanted;
    const std::string text = boost::json::serialize(boost::json::object{{"node_id", known}}) + "\n";
    const std::string temporary = path + ".new";
    const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    const bool written =
        fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
        ::fsync(fd) == 0;
    if (fd >= 0) {
        ::close(fd);
    }
    if (!written || ::rename(temporary.c_str(), path.c_str()) != 0) {
        return fail(ErrorCode::kIo,
                    fmt::format("'{}' cannot be written: {}", path, std::strerror(errno)));
    }
    return known;
}

}  // namespace

std::string make_uuid() {
    Random random = Random::from_os();
    const std::uint64_t high = (random.next() & ~std::uint64_t{0xF000}) | 0x4000;
    const std::uint64_t low = (random.next() & 0x3FFF'FFFF'FFFF'FFFFULL) | 0x8000'0000'0000'0000ULL;
    return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
                       high >> 32,
                       (high >> 16) & 0xFFFF,
                       high & 0xFFFF,
                       low >> 48,
                       low & 0xFFFF'FFFF'FFFFULL);
}

Instance::Instance(const env::Loaded& loaded, Clock& clock)
    : settings_{loaded.settings},
      explicit_settings_{loaded.explicit_values},
      clock_{clock},
      pool_{pool_settings(loaded.settings)},
      transactions_{{loaded.settings.transactions_max}, clock} {}

Instance::~Instance() {
    close();
}

Result<std::unique_ptr<Instance>> Instance::open(const env::Loaded& loaded, Clock& clock) {
    std::unique_ptr<Instance> out{new Instance{loaded, clock}};
    NORNIC_TRY(out->open_all());
    return out;
}

Result<> Instance::open_all() {
    const std::string& directory = settings_.data_directory;
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    if (error) {
        return fail(
            ErrorCode::kIo,
            fmt::format(
                "NORNICDB_DATA_DIR='{}' cannot be created: {}", directory, error.message()));
    }
    NORNIC_TRY(node_id_, load_node_id(directory, settings_.cluster.node_id));

    engine::LogSettings log_settings;
    log_settings.directory = directory + "/log";
    log_settings.reserve_bytes = settings_.disk_reserve_bytes;
    NORNIC_TRY(log_, engine::open_segmented_log(log_settings, clock_));
    if (const std::uint64_t cut = log_->recovery().torn_bytes_cut; cut > 0) {
        log::info("The log's end was torn by a crash; {} bytes that nobody was promised were cut.",
                  cut);
    }

    engine::RocksKvSettings kv_settings;
    kv_settings.directory = directory + "/store";
    NORNIC_TRY(auto kv, engine::open_rocks_kv(kv_settings));
    engine::Settings engine_settings;
    engine_settings.cache_bytes_max = settings_.cache_bytes;
    engine_settings.transaction_bytes_max = settings_.query_memory_bytes_max;
    engine_settings.lock_timeout = settings_.lock_timeout;
    engine_settings.checkpoint_log_bytes = settings_.checkpoint_log_bytes;
    engine_settings.checkpoint_interval = settings_.checkpoint_interval;
    NORNIC_TRY(engine_, engine::open_engine(std::move(kv), engine_settings, clock_));
    for (const engine::DatabaseInfo& database : engine_->databases()) {
        if (database.name == "system") {
            history_ = database.uuid;
        }
    }

    modes::StrategyStart start;
    start.self = node_id_;
    start.last_index = log_->last_index();
    start.last_term = log_->recovery().last_term;
    start.hard_state = log_->recovery().hard_state;
    start.applied = engine_->applied_index();
    modes::ReplicaSettings replica_settings;
    replica_settings.post = [this](std::function<void()> work) {
        boost::asio::post(pool_.io(), std::move(work));
    };
    replica_ = modes::make_replica(
        modes::make_standalone(start), *engine_, *log_, clock_, replica_settings);
    NORNIC_TRY(replica_->start());

    UserSettings user_settings;
    user_settings.enabled = settings_.auth_enabled;
    user_settings.password_length_min = settings_.password_length_min;
    user_settings.failed_logins_max = settings_.failed_logins_max;
    user_settings.lockout = settings_.lockout_duration;
    users_ =
        std::make_unique<Users>(*engine_,
                                clock_,
                                user_settings,
                                [this](const std::string& key, const std::optional<Value>& row) {
                                    return commit_catalog(key, row);
                                });
    NORNIC_TRY(make_first_user());

    // A transaction's own schema is that of its snapshot and never sees an index come online.
    cypher::GraphProcedureHooks hooks;
    hooks.await_indexes =
        [this](std::string_view database, std::string_view index, Deadline deadline) {
            return engine_->await_indexes(database, index, deadline);
        };
    cypher::add_graph_procedures(procedures_, std::move(hooks));
    add_server_procedures(procedures_, *this);
    add_metrics();
    return success();
}

Result<> Instance::make_first_user() {
    if (!settings_.auth_enabled) {
        log::warn(
            "Authentication is off (NORNICDB_AUTH=none): whoever reaches the ports may read and "
            "write everything.");
        return success();
    }
    if (users_->any()) {
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

Result<> Instance::commit_catalog(const std::string& key, const std::optional<Value>& row) {
    engine::BeginOptions options;
    options.database = "system";
    NORNIC_TRY(auto transaction, engine_->begin(options));
    if (row) {
        NORNIC_TRY(transaction->put_catalog(key, *row));
    } else {
        NORNIC_TRY(transaction->erase_catalog(key));
    }
    NORNIC_TRY(auto write_set, transaction->prepare());
    NORNIC_TRY(replica_->commit_and_wait(std::move(write_set)));
    transaction->finish();
    return success();
}

void Instance::close() {
    if (replica_) {
        replica_->stop();
        if (!replica_->failure()) {
            if (auto done = engine_->checkpoint(); !done) {
                log::warn(
                    "The last checkpoint was not written ({}); the next start replays the log "
                    "instead.",
                    done.error().message());
            }
        }
        engine_->stop();
        users_.reset();
        replica_.reset();
    }
    plans_.clear();
    engine_.reset();
    log_.reset();
}

cypher::PlanCache& Instance::plans(const std::string& database) {
    const std::lock_guard lock{plans_mutex_};
    auto& slot = plans_[database];
    if (!slot) {
        slot = std::make_unique<cypher::PlanCache>(procedures_, cypher::PlanCacheSettings{});
    }
    return *slot;
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

void Instance::set_addresses(std::string bolt, std::string http) {
    const std::lock_guard lock{addresses_mutex_};
    bolt_address_ = std::move(bolt);
    http_address_ = std::move(http);
}
std::string Instance::bolt_address() const {
    const std::lock_guard lock{addresses_mutex_};
    return bolt_address_;
}
std::string Instance::http_address() const {
    const std::lock_guard lock{addresses_mutex_};
    return http_address_;
}

}  // namespace nornic::server
