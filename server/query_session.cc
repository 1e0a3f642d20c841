#include "server/query_session.h"

#include "bolt/server.h"
#include "observability/log.h"
#include "server/query_session_impl.h"
#include "server/routing.h"
#include "server/session_log.h"

#include <boost/asio/post.hpp>
#include <fmt/format.h>

#include <chrono>

namespace nornic::server {

QuerySession::QuerySession(Instance& instance, bolt::ConnectionInfo info)
    : instance_{instance},
      info_{std::move(info)},
      routes_{goes_to_the_writer(instance, info_)},
      random_{static_cast<std::uint64_t>(instance.clock().now().time_since_epoch().count())} {}

QuerySession::~QuerySession() {
    close_transaction();
}

// ---- Tracing ----

void QuerySession::begin_trace(std::string_view name, const bolt::TransactionOptions& options) {
    Tracer* const tracer = instance_.tracer();
    if (tracer == nullptr) {
        return;
    }
    trace_ = tracer->root(name, SpanKind::kServer, trace_parent(options.metadata));
    if (trace_) {
        trace_.set("db.system.name", "nornicdb");
        trace_.set("enduser.id", user_);
        trace_.set("client.address", info_.client_address);
        trace_.set("nornicdb.connection", info_.connection_id);
    }
}

Span QuerySession::part(std::string_view name, const Statement* statement) const {
    return child_span(instance_.tracer(), name, statement != nullptr && statement->trace ? statement->trace.context() : trace_.context());
}

// ---- Login ----

void QuerySession::login(const bolt::AuthToken& token, bolt::Completion<bolt::Login> done) {
    if (!instance_.users().enabled()) {
        user_ = token.principal.empty() ? "anonymous" : token.principal;
        done(bolt::Login{user_, false});
        return;
    }
    const auto refuse = [&](std::string text) {
        done(fail(ErrorCode::kUnauthorized, "Unsupported authentication token, " + text));
    };
    if (token.scheme.empty()) {
        return refuse("missing key `scheme`");
    }
    if (token.scheme == "none") {
        return refuse("scheme 'none' is only allowed when auth is disabled.");
    }
    if (token.scheme != "basic") {
        return refuse(fmt::format("scheme '{}' is not supported.", token.scheme));
    }
    if (token.principal.empty()) {
        return refuse("missing key `principal`");
    }
    if (!token.has_credentials) {
        return refuse("missing key `credentials`");
    }
    auto user = instance_.users().authenticate(token.principal, token.credentials);
    if (!user) {
        if (const auto held_back = instance_.log_limiter().allow("login/" + token.principal)) {
            log::warn("Login of user '{}' from {} was refused: {}{}",
                      token.principal,
                      info_.client_address,
                      to_string(user.error().code()),
                      and_more(*held_back));
        }
        done(user.error());
        return;
    }
    user_ = user.value().name;
    credentials_expired_ = user.value().password_change_required;
    done(bolt::Login{user_, credentials_expired_});
}

void QuerySession::login_as(std::string user) {
    user_ = std::move(user);
}

void QuerySession::logoff() {
    user_.clear();
    credentials_expired_ = false;
}

Result<> QuerySession::check_login() const {
    if (user_.empty()) {
        return fail(ErrorCode::kUnauthorized,
                    "The client is unauthorized due to authentication failure.");
    }
    return success();
}

Result<> QuerySession::check_impersonation(const std::string& user) const {
    if (user.empty()) {
        return success();
    }
    return fail(ErrorCode::kArgumentError,
                instance_.users().enabled() ? "Impersonation is not supported." : "Impersonation is not supported with auth disabled.");
}

bool QuerySession::is_joining() const {
    if (!instance_.mode().has_peers) {
        return false;
    }
    const modes::ClusterView view = instance_.replica().view();
    return !view.is_leader() && view.state != "ready";
}

Result<std::string> QuerySession::resolve(const std::string& database) const {
    auto name = instance_.resolve(database);
    if (!name && is_joining()) {
        // A driver that is told that there is no such database asks nobody else.
        return fail(ErrorCode::kDatabaseUnavailable,
                    fmt::format("Database '{}' is not known to this member, which may not know all yet", database));
    }
    return name;
}

// ---- Transactions ----

bool QuerySession::state_was_replaced() const {
    return !shown_.empty() && shown_generation_ != instance_.generation();
}

bool QuerySession::needs_no_wait(const bolt::TransactionOptions& options) const {
    return options.bookmarks.empty() && asked_.causal() && !asked_.data_version && !state_was_replaced();
}

std::string QuerySession::answered(LogIndex index, std::optional<Term> term) {
    data_version_ = index;
    shown_ = instance_.bookmark(index, term);
    shown_generation_ = generation_;
    return shown_;
}

Error QuerySession::send_away() {
    constexpr int kPatience = 2;
    Error refusal = instance_.write_refusal();
    if (refusal.code() == ErrorCode::kNotLeader && ++sent_away_ >= kPatience) {
        // A driver that was told so comes back over the same connection only if it keeps it under the writer's
        // address: its resolver gave this member's for that once, when the other one was down. It would come back for
        // ever; on a new connection it finds the right one. What it asks before that is answered: a COMMIT that is cut off it
        // takes for one of unknown outcome.
        boost::asio::post(instance_.pool().io(), [&instance = instance_, id = info_.connection_id] {
            if (bolt::Server* const server = instance.bolt_server(); server != nullptr) {
                server->close_connection_when_idle(id);
            }
        });
    }
    return refusal;
}

Result<> QuerySession::may_write() const {
    const Term now = instance_.replica().term();
    if (now == Term{0}) {
        return instance_.write_refusal();
    }
    if (began_in_ != now) {
        return fail(ErrorCode::kConflict,
                    "leadership changed while the transaction ran; others may have written what it read");
    }
    return success();
}

Result<std::unique_ptr<engine::Transaction>> QuerySession::begin_engine_transaction() const {
    if (auto why = instance_.replica().out_of_service()) {
        return *why;
    }
    engine::BeginOptions begin;
    begin.database = database_ == "system" ? "system" : "neo4j";
    begin.mode = options_.mode;
    if (open_) {
        // One within it, or in its place: no more time than it has.
        begin.deadline = open_->origin.deadline;
        begin.deadline_by_client = open_->origin.deadline_by_client;
    } else if (const auto limit = time_limit(options_)) {
        begin.deadline = instance_.clock().now() + *limit;
        begin.deadline_by_client = options_.timeout.has_value();
    }
    begin.metadata = options_.metadata;
    return instance_.engine().begin(begin);
}

std::optional<Duration> QuerySession::time_limit(const bolt::TransactionOptions& options) const {
    const Duration limit = options.timeout.value_or(instance_.settings().transaction_timeout);
    return limit.count() > 0 ? std::optional{limit} : std::nullopt;
}

Result<> QuerySession::open_transaction(const bolt::TransactionOptions& options, bool autocommit) {
    NORNIC_TRY(check_login());
    NORNIC_TRY(check_impersonation(options.impersonated_user));
    NORNIC_TRY(database_, resolve(options.database));
    trace_.set("db.namespace", database_);
    options_ = options;
    explicit_ = !autocommit;
    next_statement_ = 0;
    // Before the snapshot is taken: whoever led since has seen all of it.
    began_in_ = instance_.replica().term();
    if (routes_ && options.mode == AccessMode::kWrite && began_in_ == Term{0} && instance_.mode().has_peers) {
        // Its driver asked for the writer; on bolt:// every session is of this mode, and may read here.
        return send_away();
    }
    if (options.mode == AccessMode::kWrite) {
        sent_away_ = 0;
    }
    if (routes_ && instance_.mode().has_peers && instance_.engine().applied_index() == LogIndex{0}) {
        return fail(ErrorCode::kDatabaseUnavailable, "this member has not got the data of its cluster yet");
    }
    NORNIC_TRY(auto transaction, begin_engine_transaction());
    if (instance_.generation() != generation_ || transaction->snapshot() < wanted_) {
        // What took its place is behind what the bookmarks name, or may be on a branch without it.
        return fail(ErrorCode::kDatabaseUnavailable, "this member's state was replaced as the transaction began; try again");
    }
    TransactionOrigin origin{
        database_, user_, info_.connection_id, info_.client_address, options.metadata, kNoDeadline};
    if (const auto limit = time_limit(options)) {
        origin.deadline = instance_.clock().now() + *limit;
        origin.deadline_by_client = options.timeout.has_value();
    }
    NORNIC_TRY(auto open, instance_.transactions().open(std::move(origin), std::move(transaction)));
    const std::lock_guard lock{open_mutex_};
    if (interrupted_) {
        open->terminate(terminated(ErrorCode::kTerminated, "Explicitly terminated by the user."));
    }
    open_ = std::move(open);
    return success();
}

void QuerySession::close_transaction() {
    OpenTransactionPtr open;
    {
        const std::lock_guard lock{open_mutex_};
        open = std::move(open_);
        open_.reset();
    }
    {
        // Executions read through the transaction; they go first.
        std::unique_lock<std::mutex> use;
        if (open) {
            use = std::unique_lock{open->use};
        }
        statements_.clear();
        if (open && !open->unsettled) {
            open->transaction().finish();
        }
    }
    if (open) {
        instance_.transactions().close(open);
    }
    explicit_ = false;
    committing_.end();
    trace_.end();
}

void QuerySession::begin(bolt::TransactionOptions options, bolt::Completion<bolt::Begun> done) {
    auto asked = asked_of(options, info_.routing_context, instance_.settings(), instance_.mode());
    if (!asked) {
        done(asked.error());
        return;
    }
    asked_ = asked.value();
    wrote_parts_ = false;
    auto shared = std::make_shared<bolt::TransactionOptions>(std::move(options));
    begin_trace("transaction", *shared);
    reading_ = part("read point");
    after_bookmarks(*shared, false, [this, shared, done = std::move(done)](Result<> ready) {
        reading_.end();
        if (ready) {
            ready = open_transaction(*shared, false);
        }
        if (!ready) {
            trace_.set_failed(ready.error().message());
            trace_.end();
            done(describe(ready.error()));
            return;
        }
        done(bolt::Begun{database_});
    });
}

void QuerySession::rollback(bolt::Completion<void> done) {
    close_transaction();
    done(success());
}

void QuerySession::commit(bolt::Completion<std::string> done) {
    if (!open_) {
        done(fail(ErrorCode::kInvalidRequest, "There is no open transaction."));
        return;
    }
    Result<> ready = success();
    {
        const std::lock_guard use{open_->use};
        ready = finish_earlier_work();
    }
    if (!ready) {
        const Error error = describe(ready.error());
        trace_.set_failed(error.message());
        close_transaction();
        done(error);
        return;
    }
    commit_transaction([this, done = std::move(done)](Result<std::string> bookmark) {
        if (!bookmark) {
            trace_.set_failed(bookmark.error().message());
        }
        close_transaction();
        if (bookmark) {
            done(bookmark.value());
        } else {
            done(describe(bookmark.error()));
        }
    });
}

/// With open_->use held.
Result<> QuerySession::still_alive() const {
    if (auto why = instance_.replica().out_of_service()) {
        return *why;
    }
    const engine::Transaction& transaction = open_->transaction();
    if (transaction.killed()) {
        if (auto reason = transaction.kill_reason()) {
            return *reason;
        }
    }
    return success();
}

/// The one place where changes go to the log.
void QuerySession::commit_transaction(std::function<void(Result<std::string>)> done) {
    std::unique_lock use{open_->use};
    engine::Transaction& transaction = open_->transaction();
    if (!transaction.has_writes()) {
        // At least what it saw; where its procedures changed users or inner transactions, that as
        // well.
        const LogIndex seen = instance_.engine().applied_index();
        const Result<> alive = still_alive();
        transaction.finish();
        use.unlock();
        if (!alive) {
            done(alive.error());
        } else if (wrote_parts_) {
            // Its own commits were this member's as leader; that it could not be told must not look as if nothing had happened.
            unconfirmed_ = false;
            acknowledge(seen, [this, seen, done = std::move(done)](const Result<>& held) {
                done(held ? answered(seen, std::nullopt) : Result<std::string>{held.error()});
            });
        } else if (std::exchange(unconfirmed_, false)) {
            confirm([this, seen, done = std::move(done)](const Result<>& current) {
                done(current ? answered(seen, std::nullopt) : Result<std::string>{current.error()});
            });
        } else {
            done(answered(seen, std::nullopt));
        }
        return;
    }
    committing_ = part("commit");
    Result<std::string> write_set =
        fail(ErrorCode::kReadOnly,
             "No write operations are allowed on this server: NORNICDB_READ_ONLY is set.");
    if (!instance_.settings().read_only) {
        // One that timed out was let go of already and has nothing to prepare.
        Result<> ready = still_alive();
        if (ready && asked_.write) {
            ready = instance_.replica().expect(*asked_.write);
        }
        if (ready) {
            Span preparing = child_span(instance_.tracer(), "write set", committing_.context());
            write_set = transaction.prepare();
            if (preparing && write_set) {
                preparing.set("nornicdb.write_set.bytes", static_cast<std::int64_t>(write_set.value().size()));
            }
        } else {
            write_set = ready.error();
        }
    }
    if (!write_set) {
        use.unlock();
        committing_.set_failed(write_set.error().message());
        committing_.end();
        done(write_set.error());
        return;
    }
    // From here its locks stay until the outcome is known, whatever its deadline is.
    open_->committing = true;
    use.unlock();
    auto answer = [this, done = std::move(done)](const Result<modes::Committed>& committed) {
        if (!committed) {
            committing_.set_failed(committed.error().message());
            committing_.end();
            done(committed.error());
            return;
        }
        committing_.set("nornicdb.log.index", static_cast<std::int64_t>(committed.value().index.value));
        committing_.set("nornicdb.log.term", static_cast<std::int64_t>(committed.value().term.value));
        committing_.end();
        const std::string bookmark = answered(committed.value().index, committed.value().term);
        acknowledge(committed.value().index, [bookmark, done](const Result<>& held) {
            done(held ? bookmark : Result<std::string>{held.error()});
        });
    };
    instance_.replica().commit(
        std::move(write_set).value(),
        began_in_,
        committing_.context(),
        // `open` stays with the replica until it knows the outcome; all else ends with the answer.
        [this, open = open_, last = std::move(answer)](Result<modes::Committed> committed) mutable {
            const auto answer = std::move(last);
            bool awaits = false;
            {
                const std::lock_guard lock{open->use};
                open->unsettled = !committed && committed.error().code() == ErrorCode::kUnknownCommit;
                if (!open->unsettled) {
                    open->transaction().finish();
                    awaits = committed && open->transaction().awaits_indexes();
                }
            }
            if (!awaits) {
                answer(committed);
                return;
            }
            // Whoever made a constraint goes on when it is in force. That may take minutes, and this may be a thread of the bus
            // or of the log.
            boost::asio::post(instance_.pool().io(), [this, answer, committed = std::move(committed)] {
                {
                    const ElasticPool::Away away{instance_.pool()};
                    open_->transaction().await_indexes();
                }
                answer(committed);
            });
        });
}

/// A driver that goes by tables runs the function again as after any conflict, but would come back here for it; one that hears
/// that another leads asks for a new table first.
Error QuerySession::lost_with_leadership(Error error) const {
    const bool another_leads = routes_ && instance_.write_refusal().code() == ErrorCode::kNotLeader;
    return another_leads ? Error{ErrorCode::kNotLeader, error.message()} : error;
}

/// Errors of lower rooms in the words that Neo4j's clients know.
Error QuerySession::describe(Error error) const {
    if (wrote_parts_) {
        return is_retried(error.code())
                   ? Error{ErrorCode::kUnknownCommit,
                           "some of the statement's own transactions were committed before it failed: " + error.message()}
                   : error;
    }
    switch (error.code()) {
        case ErrorCode::kNotLeader:
            return instance_.write_refusal();
        case ErrorCode::kConflict:
            return instance_.replica().term() == Term{0} ? lost_with_leadership(std::move(error)) : error;
        case ErrorCode::kBusy:
        case ErrorCode::kStopping:
            return Error{ErrorCode::kDatabaseUnavailable,
                         "The database is not available: " + error.message()};
        default:
            return error;
    }
}

// ---- The rest ----

void QuerySession::route(Value context,
                         std::vector<std::string> bookmarks,
                         std::string database,
                         std::string impersonated_user,
                         bolt::Completion<bolt::RoutingTable> done) {
    Result<> fine = check_login();
    if (fine) {
        fine = check_impersonation(impersonated_user);
    }
    if (fine) {
        fine = check_bookmarks(bookmarks);
    }
    // Of another region, or of a history that this member has not got yet, a bookmark may be a good one.
    if (fine && !is_joining() && instance_.mode().name != "multi_region") {
        if (const auto parsed = parse_bookmarks(bookmarks, instance_.history()); !parsed) {
            fine = parsed.error();
        }
    }
    if (!fine) {
        done(fine.error());
        return;
    }
    // Otherwise not waited for: where the databases are does not depend on what was written to them, and a member that
    // cannot catch up must still tell where the others are.
    if (instance_.resolve(database) || bookmarks.empty() || !instance_.mode().has_peers) {
        answer_route(context, database, done);
        return;
    }
    bolt::TransactionOptions options;
    options.mode = AccessMode::kRead;
    options.bookmarks = std::move(bookmarks);
    asked_ = Asked{};
    after_bookmarks(options, false, [this, context = std::move(context), database = std::move(database), done = std::move(done)](Result<> ready) {
        if (ready) {
            answer_route(context, database, done);
        } else {
            done(Error{ErrorCode::kDatabaseUnavailable,
                       fmt::format("Database '{}' is not known to this member, which has not got what the bookmark names: {}",
                                   database,
                                   ready.error().message())});
        }
    });
}

void QuerySession::answer_route(const Value& context,
                                const std::string& database,
                                const bolt::Completion<bolt::RoutingTable>& done) {
    auto resolved = resolve(database);
    if (!resolved) {
        done(resolved.error().code() != ErrorCode::kDatabaseNotFound
                 ? resolved.error()
                 : Error{ErrorCode::kDatabaseNotFound,
                         fmt::format("Unable to get a routing table for database '{}' because this database does not exist",
                                     database)});
        return;
    }
    auto addresses = routing_table(instance_, context.is_map() ? context : info_.routing_context);
    if (!addresses) {
        done(addresses.error());
        return;
    }
    bolt::RoutingTable table;
    table.ttl_seconds = addresses.value().ttl_seconds;
    // Drivers look for a table under the name that they asked for, also where that is an alias.
    table.database = database.empty() ? std::move(resolved).value() : database;
    table.servers = {{"WRITE", std::move(addresses.value().writers)},
                     {"READ", std::move(addresses.value().readers)},
                     {"ROUTE", std::move(addresses.value().routers)}};
    done(std::move(table));
}

void QuerySession::interrupt() {
    const std::lock_guard lock{open_mutex_};
    interrupted_ = true;
    if (open_) {
        open_->terminate(terminated(ErrorCode::kTerminated, "Explicitly terminated by the user."));
    }
    if (waiting_) {
        boost::asio::post(instance_.pool().io(), [this, &instance = instance_, wait = waiting_] {
            end_wait(this, instance, wait, wait->if_interrupted);
        });
    }
}

void QuerySession::reset() {
    close_transaction();
    const std::lock_guard lock{open_mutex_};
    interrupted_ = false;
}

}  // namespace nornic::server
