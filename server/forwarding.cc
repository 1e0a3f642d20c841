#include "server/forwarding.h"

#include "observability/log.h"
#include "server/bookmark.h"
#include "server/routing.h"
#include "server/session_log.h"
#include "server/version.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace nornic::server {
namespace {

// How long a statement waits for the next leader: some elections.
constexpr std::chrono::seconds kLeaderPatience{10};
constexpr std::chrono::milliseconds kLeaderInterval{10};
// A leader that was replaced in good order answers at once; one that was cut off or stopped may not for long.
constexpr std::chrono::seconds kOldLeaderPatience{2};
constexpr std::chrono::seconds kInterruptPatience{2};
constexpr std::chrono::milliseconds kConnectTimeout{3000};
// Twice the keep-alive of a member that works on a request, and some more.
constexpr std::chrono::milliseconds kReceiveTimeout{150'000};

bool nothing_happened(ErrorCode code) {
    return code == ErrorCode::kNotLeader || code == ErrorCode::kDatabaseUnavailable;
}

/// What a member says that has just stopped to lead. Run again over this connection it would be passed on, which a driver
/// that does not route does only for a transient error.
template <class T>
bolt::Completion<T> transient(bolt::Completion<T> done) {
    return [done = std::move(done)](Result<T> result) {
        if (!result && result.error().code() == ErrorCode::kNotLeader) {
            result = Error{ErrorCode::kDatabaseUnavailable, result.error().message()};
        }
        done(std::move(result));
    };
}

const Map& as_map(const Value& value) {
    static const Map kNone;
    return value.is_map() ? value.as_map() : kNone;
}

}  // namespace

ForwardingMetrics::ForwardingMetrics(Metrics& metrics) {
    const auto counter = [&](const char* outcome) {
        return &metrics.counter("nornicdb_forwarded_statements_total",
                                "Autocommit statements and transactions that were run at the leader for a client of this member.",
                                {{"outcome", outcome}});
    };
    done = counter("done");
    failed = counter("failed");
    refused = counter("refused");
    unknown = counter("unknown");
    seconds = &metrics.histogram("nornicdb_forwarded_seconds",
                                 "From RUN of a forwarded autocommit statement to its first record or its end.",
                                 {0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60});
}

bool may_forward(const Instance& instance, const bolt::ConnectionInfo& info) {
    // A driver that routes is told who takes writes, so that it goes there. So is a member that forwards: one hop is all. One that
    // is told a single address for all members can go nowhere else.
    const env::Settings& settings = instance.settings();
    return instance.mode().has_peers && (settings.follower_writes == "forward" || !settings.bolt_routing_address.empty()) &&
           !settings.read_only && !goes_to_the_writer(instance, info);
}

ForwardingSession::ForwardingSession(Instance& instance, ForwardingMetrics& metrics, const bolt::ConnectionInfo& info)
    : instance_{instance}, metrics_{metrics}, info_{info}, regional_{instance.mode().name == "multi_region"}, local_{instance, info} {}

ForwardingSession::~ForwardingSession() {
    reset();
}

// ---- Who takes it ----

bool ForwardingSession::taken_here(Needs needs) const {
    if (needs == Needs::kReader) {
        return true;
    }
    if (instance_.replica().term() == Term{0}) {
        return false;
    }
    return needs == Needs::kWriter || !regional_ || !instance_.primary_refusal();
}

std::optional<std::string> ForwardingSession::member_for(Needs needs) const {
    const modes::ClusterView view = instance_.replica().view();
    std::string address;
    std::string cluster_address;
    const auto primary = std::ranges::find(view.regions, true, &modes::RegionView::primary);
    const bool by_primary = needs == Needs::kSchemaWriter || instance_.settings().cluster.region_writes == "primary";
    if (by_primary && primary != view.regions.end() && !primary->self) {
        address = primary->leader_bolt_address;
        cluster_address = primary->leader_address;
    } else if (view.leader != view.self) {
        const auto leader = std::ranges::find(view.members, view.leader, &modes::MemberView::id);
        if (leader != view.members.end()) {
            address = leader->bolt_address;
            cluster_address = leader->cluster_address;
        }
    }
    const std::uint16_t port = instance_.settings().follower_writes_port;
    if (const auto at = env::parse_host_port(cluster_address); at && port != 0 && !address.empty()) {
        address = at->first.find(':') == std::string::npos ? fmt::format("{}:{}", at->first, port)
                                                           : fmt::format("[{}]:{}", at->first, port);
    }
    return address.empty() ? std::nullopt : std::optional{std::move(address)};
}

bool ForwardingSession::leader_is_coming() const {
    const modes::ClusterView view = instance_.replica().view();
    return view.leader.empty() && view.state == "read_only";
}

ForwardingSession::Missing ForwardingSession::missing(const std::string& query, const Value& parameters, const std::string& database) {
    if (!regional_ && taken_here(Needs::kWriter)) {
        return {};
    }
    // What is wrong with the statement or with this member is said by the session that runs it.
    const auto resolved = instance_.resolve(database);
    const auto plans = resolved ? instance_.plans(resolved.value(), instance_.generation()) : nullptr;
    if (!plans || instance_.replica().out_of_service()) {
        return {};
    }
    engine::BeginOptions options;
    options.database = resolved.value() == "system" ? "system" : "neo4j";
    options.mode = AccessMode::kRead;
    auto transaction = instance_.engine().begin(options);
    if (!transaction) {
        return {};
    }
    const auto prepared = plans->prepare(query, as_map(parameters), *transaction.value());
    transaction.value()->finish();
    if (!prepared) {
        return {};
    }
    const cypher::PreparedInfo& info = cypher::info(*prepared.value());
    if (info.explain_only || !(info.writes || info.schema)) {
        return {};
    }
    const Needs needs = info.schema || info.administration ? Needs::kSchemaWriter : Needs::kWriter;
    return taken_here(needs) ? Missing{} : Missing{needs, info.in_transactions};
}

// ---- The connection to it ----

Result<> ForwardingSession::reach(const std::string& address) {
    if (hop_ && hop_->address() == address && hop_->is_idle()) {
        return success();
    }
    drop_hop();
    const env::Settings& settings = instance_.settings();
    bolt::ClientSettings client;
    client.scheme = token_.has_credentials ? token_.scheme : "none";
    client.user = token_.principal;
    client.password = token_.credentials;
    client.user_agent = fmt::format("nornicdb-forward/{} {}", kVersion, info_.client_address);
    // A connection that routes: there it is refused, and not forwarded again, where no writes are taken.
    client.routing = Value{Map{{"address", Value{address}}, {std::string{kForwardedKey}, Value{"true"}}}};
    client.tls = settings.bolt_tls.enabled;
    client.tls_ca_file = settings.cluster.tls_ca_file;
    if (!settings.bolt_tls.client_ca_file.empty()) {
        client.tls_cert_file = settings.bolt_tls.certificate_file;
        client.tls_key_file = settings.bolt_tls.key_file;
    }
    client.connect_timeout = kConnectTimeout;
    client.receive_timeout = kReceiveTimeout;
    client.still_wanted = [this] { return still_wanted(); };
    NORNIC_TRY(auto hop, Hop::open(address, std::move(client)));
    log::debug("{} of user '{}' writes through {}.", info_.connection_id, token_.principal, address);
    hop_ = std::move(hop);
    return success();
}

void ForwardingSession::drop_hop() {
    if (hop_ && !hop_->is_idle()) {
        hop_->abandon();
    }
    hop_.reset();
}

bool ForwardingSession::still_wanted() {
    const Deadline now = instance_.clock().now();
    if (const auto since = interrupted()) {
        if (hop_) {
            hop_->interrupt();
        }
        return now - *since < kInterruptPatience;
    }
    const auto member = member_for(needs_);
    const bool replaced = taken_here(needs_) || (member && hop_ && *member != hop_->address());
    if (!replaced) {
        unwanted_since_.reset();
        return true;
    }
    if (!unwanted_since_) {
        unwanted_since_ = now;
    }
    return now - *unwanted_since_ < kOldLeaderPatience;
}

std::optional<Deadline> ForwardingSession::interrupted() const {
    const MutexLock lock{mutex_};
    return interrupted_;
}

bool ForwardingSession::pause(Deadline until) {
    MutexLock lock{mutex_};
    if (interrupted_ || instance_.clock().now() >= until) {
        return false;
    }
    woken_.wait_for(lock, kLeaderInterval);
    return !interrupted_;
}

bolt::RunOptions ForwardingSession::options_there(const bolt::TransactionOptions& options, Deadline began) const {
    bolt::RunOptions out;
    out.database = options.database;
    out.bookmarks = options.bookmarks;
    out.metadata = options.metadata;
    if (instance_.tracer() != nullptr && (passing_ || !trace_parent(options.metadata))) {
        // Whether it is traced is decided once.
        Map metadata = as_map(options.metadata);
        metadata.set("traceparent", Value{(passing_ ? passing_.context() : Tracer::not_sampled()).traceparent()});
        out.metadata = Value{std::move(metadata)};
    }
    out.impersonated_user = options.impersonated_user;
    if (options.timeout) {
        // What is left of it; 0 would mean none at all.
        const Duration left = *options.timeout - (instance_.clock().now() - began);
        const auto whole = std::chrono::ceil<std::chrono::milliseconds>(left);
        out.timeout = options.timeout->count() == 0 ? std::chrono::milliseconds{0} : std::max(whole, std::chrono::milliseconds{1});
    }
    return out;
}

template <class T, class Work>
std::optional<Result<T>> ForwardingSession::at_leader(Needs needs,
                                                      std::optional<std::string> member,
                                                      const bolt::TransactionOptions& options,
                                                      Work work) {
    const Deadline began = instance_.clock().now();
    Duration patience = kLeaderPatience;
    if (options.timeout && options.timeout->count() > 0) {
        patience = std::min(patience, *options.timeout);
    }
    const ElasticPool::Away away{instance_.pool()};
    needs_ = needs;
    unwanted_since_.reset();
    Error last{ErrorCode::kDatabaseUnavailable, "no member of the cluster is known to take writes"};
    for (bool first = true; first || pause(began + patience); first = false) {
        if (!first || !member) {
            if (taken_here(needs)) {
                return std::nullopt;
            }
            member = member_for(needs);
            if (!member) {
                continue;
            }
        }
        Result<> reached = reach(*member);
        if (!reached) {
            last = reached.error();
            if (nothing_happened(last.code())) {
                continue;
            }
            return Result<T>{last};
        }
        Result<T> result = work(*hop_, options_there(options, began));
        if (result || !nothing_happened(result.error().code())) {
            return result;
        }
        last = result.error();
    }
    if (interrupted()) {
        return Result<T>{fail(ErrorCode::kTerminated, std::string{})};
    }
    return Result<T>{fail(ErrorCode::kDatabaseUnavailable,
                          "The write could not be passed on to the leader, and nothing was written: " + last.message())};
}

template <class Work>
auto ForwardingSession::there(Work work) {
    const ElasticPool::Away away{instance_.pool()};
    return work();
}

Error ForwardingSession::ended_there(Error error, bool may_have_committed) {
    const std::string where = hop_ ? hop_->address() : std::string{"the leader"};
    if (error.code() == ErrorCode::kIo) {
        drop_hop();
        place_ = Place::kHere;
        if (may_have_committed) {
            error = Error{ErrorCode::kUnknownCommit,
                          fmt::format("The connection to the leader at {} was lost after the write was passed on to it: it may or may "
                                      "not have been committed ({}).",
                                      where,
                                      error.message())};
        } else {
            error = Error{ErrorCode::kDatabaseUnavailable,
                          fmt::format("The connection to the leader at {} was lost, and the transaction was rolled back: {}",
                                      where,
                                      error.message())};
        }
    } else if (error.code() == ErrorCode::kNotLeader) {
        error = Error{ErrorCode::kDatabaseUnavailable, error.message()};
    }
    log::debug("{}: what was passed on to {} ended with {}: {}", info_.connection_id, where, to_string(error.code()), error.message());
    return error;
}

void ForwardingSession::count(const Result<>& outcome) {
    if (outcome) {
        metrics_.done->add();
    } else if (outcome.error().code() == ErrorCode::kUnknownCommit) {
        metrics_.unknown->add();
    } else if (nothing_happened(outcome.error().code())) {
        metrics_.refused->add();
    } else {
        metrics_.failed->add();
    }
}

void ForwardingSession::begin_trace(std::string_view name, const bolt::TransactionOptions& options) {
    Tracer* const tracer = instance_.tracer();
    if (tracer == nullptr) {
        return;
    }
    trace_ = tracer->root(name, SpanKind::kServer, trace_parent(options.metadata));
    trace_.set("enduser.id", token_.principal);
    trace_.set("client.address", info_.client_address);
    trace_.set("nornicdb.connection", info_.connection_id);
    passing_ = tracer->child("forward", trace_.context(), SpanKind::kClient);
}

void ForwardingSession::end_trace(const Error* error) {
    if (hop_) {
        passing_.set("server.address", hop_->address());
    }
    if (error != nullptr) {
        passing_.set_failed(error->message());
        trace_.set_failed(error->message());
    }
    passing_.end();
    trace_.end();
}

// ---- Login ----

void ForwardingSession::login(const bolt::AuthToken& token, bolt::Completion<bolt::Login> done) {
    token_ = token;
    local_.login(token, [this, done = std::move(done)](Result<bolt::Login> login) {
        if (!login) {
            token_ = {};
        }
        done(std::move(login));
    });
}

void ForwardingSession::login_as(std::string user, bolt::AuthToken token) {
    token_ = std::move(token);
    local_.login_as(std::move(user));
}

void ForwardingSession::logoff() {
    token_ = {};
    drop_hop();
    local_.logoff();
}

std::string ForwardingSession::resolved(const std::string& database) const {
    const auto name = instance_.resolve(database);
    return name ? name.value() : database;
}

// ---- Autocommit ----

template <class T>
bolt::Completion<T> ForwardingSession::after_writes(bolt::TransactionOptions& options, bolt::Completion<T> done) {
    // Of a region that was met a moment ago the history is not known here yet; then there is nothing to wait by.
    if (bookmark_.empty() || !parse_bookmarks({bookmark_}, instance_.history(), instance_.other_histories())) {
        return done;
    }
    options.bookmarks.push_back(bookmark_);
    return [this, done = std::move(done)](Result<T> result) {
        // That the write is gone with a lost branch is told once.
        if (result || result.error().code() == ErrorCode::kInvalidBookmark) {
            bookmark_.clear();
        }
        done(std::move(result));
    };
}

void ForwardingSession::run(std::string query,
                            Value parameters,
                            bolt::TransactionOptions options,
                            bolt::Completion<bolt::Running> done) {
    const Missing what = options.mode == AccessMode::kWrite ? missing(query, parameters, options.database) : Missing{};
    // Where nobody is known, and nobody is about to be, it is refused here, in the words that say why.
    auto member = what.needs == Needs::kReader ? std::nullopt : member_for(what.needs);
    if (member || (what.needs != Needs::kReader && leader_is_coming())) {
        const Deadline began = instance_.clock().now();
        begin_trace("RUN", options);
        const auto await = what.in_parts ? Hop::Await::kStart : Hop::Await::kFirstRecord;
        auto ran = at_leader<bolt::Running>(what.needs, std::move(member), options, [&](Hop& hop, const bolt::RunOptions& there) -> Result<bolt::Running> {
            auto running = hop.run(query, as_map(parameters), there, await);
            if (running || nothing_happened(running.error().code())) {
                return running;
            }
            return ended_there(running.error(), true);
        });
        if (ran) {
            Result<bolt::Running>& running = *ran;
            if (!running) {
                end_trace(&running.error());
                count(running.error());
                done(running.error());
                return;
            }
            metrics_.seconds->observe(static_cast<double>((instance_.clock().now() - began).count()) / 1e9);
            place_ = Place::kStatementThere;
            if (running.value().database.empty()) {
                running.value().database = resolved(options.database);
            }
            database_ = running.value().database;
            done(std::move(running));
            return;
        }
        end_trace(nullptr);
    }
    version_there_.reset();
    done = after_writes(options, std::move(done));
    local_.run(std::move(query), std::move(parameters), std::move(options), transient(std::move(done)));
}

void ForwardingSession::pull(std::int64_t statement_id,
                             std::int64_t count,
                             bolt::RecordSink& sink,
                             bolt::Completion<bolt::Pulled> done) {
    if (place_ == Place::kHere) {
        local_.pull(statement_id, count, sink, transient(std::move(done)));
    } else {
        pull_there(statement_id, count, &sink, std::move(done));
    }
}

void ForwardingSession::discard(std::int64_t statement_id, std::int64_t count, bolt::Completion<bolt::Pulled> done) {
    if (place_ == Place::kHere) {
        local_.discard(statement_id, count, transient(std::move(done)));
    } else {
        pull_there(statement_id, count, nullptr, std::move(done));
    }
}

void ForwardingSession::pull_there(std::int64_t statement_id,
                                   std::int64_t records,
                                   bolt::RecordSink* sink,
                                   bolt::Completion<bolt::Pulled> done) {
    auto pulled = hop_ ? there([&] { return hop_->pull(statement_id, records, sink); })
                       : Result<bolt::Pulled>{fail(ErrorCode::kInvalidFormat, fmt::format("No such statement: {}", statement_id))};
    const bool autocommit = place_ == Place::kStatementThere;
    if (!pulled) {
        const Error error = ended_there(pulled.error(), autocommit);
        if (autocommit) {
            place_ = Place::kHere;
            end_trace(&error);
        }
        count(error);
        done(error);
        return;
    }
    if (pulled.value().outcome == bolt::PullOutcome::kFinished) {
        pulled.value().summary.database = database_;
        if (autocommit) {
            place_ = Place::kHere;
            end_trace(nullptr);
            bookmark_ = pulled.value().bookmark;
            note_version(bookmark_);
            count(success());
        }
    }
    done(std::move(pulled));
}

// ---- Explicit transactions ----

void ForwardingSession::begin(bolt::TransactionOptions options, bolt::Completion<bolt::Begun> done) {
    const bool elsewhere = options.mode == AccessMode::kWrite && !taken_here(Needs::kWriter);
    auto member = elsewhere ? member_for(Needs::kWriter) : std::nullopt;
    if (member || (elsewhere && leader_is_coming())) {
        begin_trace("transaction", options);
        auto begun = at_leader<void>(Needs::kWriter, std::move(member), options, [&](Hop& hop, const bolt::RunOptions& there) -> Result<> {
            Result<> there_now = hop.begin(there);
            return there_now || nothing_happened(there_now.error().code()) ? there_now : Result<>{ended_there(there_now.error(), false)};
        });
        if (begun) {
            if (!*begun) {
                end_trace(&begun->error());
                count(*begun);
                done(begun->error());
                return;
            }
            place_ = Place::kTransactionThere;
            database_ = resolved(options.database);
            done(bolt::Begun{database_});
            return;
        }
        end_trace(nullptr);
    }
    version_there_.reset();
    done = after_writes(options, std::move(done));
    local_.begin(std::move(options), std::move(done));
}

void ForwardingSession::run_in_transaction(std::string query, Value parameters, bolt::Completion<bolt::Running> done) {
    if (place_ != Place::kTransactionThere) {
        local_.run_in_transaction(std::move(query), std::move(parameters), transient(std::move(done)));
        return;
    }
    if (!hop_) {
        done(fail(ErrorCode::kInvalidRequest, "There is no open transaction."));
        return;
    }
    auto running = there([&] { return hop_->run(query, as_map(parameters), {}, Hop::Await::kStart); });
    if (!running) {
        const Error error = ended_there(running.error(), false);
        count(error);
        done(error);
        return;
    }
    running.value().database = database_;
    done(std::move(running));
}

void ForwardingSession::commit(bolt::Completion<std::string> done) {
    if (place_ != Place::kTransactionThere) {
        local_.commit(transient(std::move(done)));
        return;
    }
    auto bookmark = there([&] { return hop_->commit(); });
    if (!bookmark) {
        const Error error = ended_there(bookmark.error(), true);
        end_trace(&error);
        place_ = Place::kHere;
        count(error);
        done(error);
        return;
    }
    end_trace(nullptr);
    place_ = Place::kHere;
    bookmark_ = bookmark.value();
    note_version(bookmark_);
    count(success());
    done(std::move(bookmark));
}

void ForwardingSession::rollback(bolt::Completion<void> done) {
    if (place_ != Place::kTransactionThere) {
        local_.rollback(std::move(done));
        return;
    }
    if (const Result<> ended = there([&] { return hop_->rollback(); }); !ended) {
        drop_hop();  // Then it is rolled back there by itself.
    }
    end_trace(nullptr);
    place_ = Place::kHere;
    count(success());
    done(success());
}

// ---- The rest ----

std::int64_t ForwardingSession::data_version() const {
    return version_there_ ? static_cast<std::int64_t>(version_there_->value) : local_.data_version();
}

/// That of another region counts in a log of its own, and says nothing here.
void ForwardingSession::note_version(const std::string& bookmark) {
    const auto seen = parse_bookmarks({bookmark}, instance_.history());
    version_there_ = seen ? seen.value().front().index : LogIndex{0};
}

bool ForwardingSession::has_open_statement() const {
    return place_ == Place::kHere ? local_.has_open_statement() : hop_ && hop_->has_open_statement();
}

void ForwardingSession::route(Value context,
                              std::vector<std::string> bookmarks,
                              std::string database,
                              std::string impersonated_user,
                              bolt::Completion<bolt::RoutingTable> done) {
    local_.route(std::move(context), std::move(bookmarks), std::move(database), std::move(impersonated_user), std::move(done));
}

void ForwardingSession::interrupt() {
    {
        const MutexLock lock{mutex_};
        if (!interrupted_) {
            interrupted_ = instance_.clock().now();
        }
    }
    woken_.notify_all();
    local_.interrupt();
}

void ForwardingSession::reset() {
    end_trace(nullptr);
    if (hop_ && !hop_->is_idle()) {
        drop_hop();
    }
    place_ = Place::kHere;
    local_.reset();
    const MutexLock lock{mutex_};
    interrupted_.reset();
}

}  // namespace nornic::server
