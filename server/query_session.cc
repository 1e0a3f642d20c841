#include "server/query_session.h"

#include "bolt/server.h"
#include "observability/log.h"
#include "server/routing.h"
#include "server/session_log.h"

#include <boost/asio/post.hpp>
#include <fmt/format.h>

#include <chrono>
#include <thread>

namespace nornic::server {
namespace {

constexpr std::chrono::seconds kBookmarkPatience{30};
// How long a write that is committed waits for those members that its level takes besides.
constexpr std::chrono::seconds kAcknowledgePatience{10};
// How long an autocommit statement that keeps losing to others is run again before its client hears
// of it.
constexpr std::chrono::seconds kRerunPatience{30};
constexpr std::int64_t kBackOffDoublingsMax = 6;

std::int64_t ms_since(Deadline start, Clock& clock) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(clock.now() - start).count();
}

/// "CALL dbms.….…(…)" and nothing more: what a member says of itself and of the others needs nobody's confirmation. Drivers of
/// Neo4j 3.5's age get their routing table so, in a session that may write, also from a member that hears of no leader.
bool asks_this_member(std::string_view query) {
    constexpr std::string_view kSpace = " \t\r\n";
    const auto starts_with = [&](std::string_view word) {
        const bool same = query.size() >= word.size() &&
                          std::equal(word.begin(), word.end(), query.begin(), [](char a, char b) { return a == (b | 0x20); });
        query.remove_prefix(same ? word.size() : 0);
        return same;
    };
    query.remove_prefix(std::min(query.find_first_not_of(kSpace), query.size()));
    if (!starts_with("call") || query.find_first_not_of(kSpace) == 0) {
        return false;
    }
    query.remove_prefix(std::min(query.find_first_not_of(kSpace), query.size()));
    if (!starts_with("dbms") || !query.starts_with('.')) {
        return false;
    }
    query = query.substr(0, query.find_last_not_of(" \t\r\n;") + 1);
    const std::size_t open = query.find('(');
    const bool plain_name = query.substr(0, open).find_first_of(kSpace) == std::string_view::npos;
    return plain_name && (open == std::string_view::npos || query.find_first_of("()", open + 1) == query.size() - 1);
}

/// Hands rows on as records.
class SinkAdapter final : public cypher::RowSink {
public:
    explicit SinkAdapter(bolt::RecordSink& sink) : sink_{sink} {}
    bool row(std::span<const Value> values) override {
        ++rows;
        return sink_.record(values);
    }
    std::int64_t rows = 0;

private:
    bolt::RecordSink& sink_;
};

}  // namespace

struct QuerySession::Statement {
    Span trace;  // in an explicit transaction; else that of the session is the statement's
    std::int64_t id = 0;
    std::string text;
    Map parameters;
    std::shared_ptr<const cypher::PreparedQuery> query;
    std::unique_ptr<cypher::Execution> execution;
    bool does_work_first = false;  // it writes: all its work comes before its first record
    bool worked = false;
    bool autocommit = false;
    bool committed = false;
    std::string bookmark;
    std::int64_t records = 0;
    Deadline started;
    Deadline last_event;
    bool reported = false;
};

/// What answers a request that waits: whoever has the outcome first, or interrupt().
struct QuerySession::Wait {
    Wait(Done next, Error interrupted) : then{std::move(next)}, if_interrupted{std::move(interrupted)} {}
    std::atomic<bool> over{false};
    Done then;
    const Error if_interrupted;
};

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

QuerySession::Done QuerySession::interruptible(Done then, const Error& if_interrupted) {
    auto wait = std::make_shared<Wait>(std::move(then), if_interrupted);
    bool already = false;
    {
        const std::lock_guard lock{open_mutex_};
        already = interrupted_;
        waiting_ = wait;
    }
    // Once it has answered, this session may be gone.
    Done end = [this, &instance = instance_, wait](const Result<>& outcome) {
        // A statement may block for long; not on the thread that wakes waiters.
        boost::asio::post(instance.pool().io(), [this, &instance, wait, outcome] { end_wait(this, instance, wait, outcome); });
    };
    if (already) {
        end(if_interrupted);
    }
    return end;
}

void QuerySession::end_wait(QuerySession* session,
                            Instance& instance,
                            const std::shared_ptr<Wait>& wait,
                            const Result<>& outcome) {
    if (wait->over.exchange(true)) {
        return;
    }
    const Done then = std::move(wait->then);
    instance.pool().enter();
    {
        const std::lock_guard lock{session->open_mutex_};
        session->waiting_.reset();
    }
    then(outcome);
    instance.pool().leave();
}

void QuerySession::acknowledge(LogIndex index, Done then) {
    if (!asked_.write) {
        then(success());
        return;
    }
    instance_.replica().await_acknowledged(
        *asked_.write,
        index,
        instance_.clock().now() + kAcknowledgePatience,
        interruptible(std::move(then),
                      Error{ErrorCode::kUnknownCommit,
                            "the transaction was committed as this cluster's mode promises; whether as many members hold it as its "
                            "consistency asks for was not waited for, since the connection was reset"}));
}

namespace {

/// Moves what is of other regions' logs out of `seen`.
std::vector<Seen> take_others(std::vector<Seen>& seen) {
    std::vector<Seen> out;
    for (const Seen& s : seen) {
        if (!s.history.empty()) {
            out.push_back(s);
        }
    }
    std::erase_if(seen, [](const Seen& s) { return !s.history.empty(); });
    return out;
}

}  // namespace

Result<> QuerySession::check_branch(const std::vector<Seen>& seen) const {
    if (!instance_.mode().has_peers) {
        return success();
    }
    const LogIndex applied = instance_.engine().applied_index();
    for (const Seen& s : seen) {
        // Only what is applied here counts: the rest of this member's log may itself be of a lost branch.
        const auto here = instance_.replica().term_at(std::min(s.index, applied));
        if (!s.term || !here) {
            continue;
        }
        if (*here > *s.term) {
            return lost_branch(s);
        }
        if (s.index <= applied && *here < *s.term) {
            return fail(ErrorCode::kDatabaseUnavailable,
                        "this member has not yet joined the branch of the log that the bookmark is of");
        }
    }
    return success();
}

void QuerySession::after_bookmarks(const bolt::TransactionOptions& options, bool confirm_later, Done then) {
    auto parsed = parse_bookmarks(options.bookmarks, instance_.history(), instance_.other_histories());
    if (!parsed) {
        // A standby that has not got the primary's data yet must not call a good bookmark a bad one.
        then(is_joining() ? Error{ErrorCode::kDatabaseUnavailable,
                                  "this member is being brought up to date: " + instance_.replica().view().reason}
                          : parsed.error());
        return;
    }
    auto seen = std::make_shared<std::vector<Seen>>(std::move(parsed).value());
    if (asked_.data_version) {
        seen->push_back({*asked_.data_version, std::nullopt, {}, {}});
    }
    if (state_was_replaced()) {
        // Not with what a client sends along: nobody told it that there was anything to send.
        auto shown = parse_bookmarks({shown_}, instance_.history());
        if (!shown || !check_branch(shown.value())) {
            shown_.clear();
            then(fail(ErrorCode::kDatabaseUnavailable,
                      "what this connection was shown before was taken back on this member: another one leads, without it"));
            return;
        }
        seen->push_back(std::move(shown.value().front()));
    }
    Duration patience = kBookmarkPatience;
    if (options.timeout && options.timeout->count() > 0) {
        patience = std::min(patience, *options.timeout);
    }
    const Deadline deadline = instance_.clock().now() + patience;
    const AccessMode mode = options.mode;
    if (std::vector<Seen> others = take_others(*seen); !others.empty()) {
        then = [this, others = std::move(others), mode, deadline, then = std::move(then)](Result<> ready) {
            if (ready) {
                after_regions(others, mode, deadline, then);
            } else {
                then(ready);
            }
        };
    }
    if (const Result<> fine = check_branch(*seen); !fine) {
        then(fine.error());
        return;
    }
    LogIndex latest;
    for (const Seen& one : *seen) {
        latest = std::max(latest, one.index);
    }
    const bool causal = asked_.causal();
    // That this member led says nothing of what other regions acknowledged, or of what all members hold.
    const bool crosses = asked_.read == modes::ReadConsistency::kAll ||
                         (instance_.mode().name == "multi_region" && asked_.read != modes::ReadConsistency::kLocalQuorum);
    unconfirmed_ = !causal && !crosses && confirm_later && confirms_later(options);
    if (unconfirmed_) {
        // What is committed may have been shown by others before it is applied here.
        latest = std::max(latest, instance_.replica().committed());
    }
    if ((causal || unconfirmed_) && latest <= instance_.engine().applied_index()) {
        then(success());
        return;
    }
    const Done reached = interruptible(
        [this, seen, mode, then = std::move(then)](const Result<>& point) {
            then(point ? check_branch(*seen) : Result<>{not_reached(point.error(), mode)});
        },
        terminated(ErrorCode::kTerminated, "Explicitly terminated by the user."));
    instance_.replica().read_point(unconfirmed_ ? modes::ReadConsistency::kOne : asked_.read,
                                   latest == LogIndex{0} ? std::nullopt : std::optional{latest},
                                   deadline,
                                   [reached](Result<LogIndex> point) {
                                       reached(point ? Result<>{success()} : Result<>{point.error()});
                                   });
}

Error QuerySession::not_reached(const Error& error, AccessMode mode) const {
    if (error.code() == ErrorCode::kNotLeader && mode == AccessMode::kRead) {
        // Drivers take the other code for that of a write in a session that only reads, and give up.
        return {ErrorCode::kDatabaseUnavailable, error.message()};
    }
    if (error.code() != ErrorCode::kBookmarkTimeout) {
        return error;
    }
    return {ErrorCode::kBookmarkTimeout,
            "Database '" + instance_.settings().default_database + "' " + error.message()};
}

/// One region after the other: it takes as long as the slowest.
void QuerySession::after_regions(std::vector<Seen> seen, AccessMode mode, Deadline deadline, Done then) {
    if (seen.empty()) {
        then(success());
        return;
    }
    const Seen next = std::move(seen.back());
    seen.pop_back();
    const Done reached = interruptible(
        [this, next, seen = std::move(seen), mode, deadline, then = std::move(then)](const Result<>& point) {
            if (point) {
                after_regions(seen, mode, deadline, then);
            } else {
                then(point.error().code() == ErrorCode::kNotFound ? foreign_bookmark(next) : not_reached(point.error(), mode));
            }
        },
        terminated(ErrorCode::kTerminated, "Explicitly terminated by the user."));
    instance_.replica().region_point(next.history, next.index, deadline, [reached](Result<LogIndex> point) {
        reached(point ? Result<>{success()} : Result<>{point.error()});
    });
}

bool QuerySession::confirms_later(const bolt::TransactionOptions& options) const {
    return options.mode == AccessMode::kWrite && instance_.mode().has_peers && instance_.replica().term() != Term{0};
}

/// All that this leader knew to be committed is in the snapshot already. That no other member led before it was taken is
/// confirmed afterwards: by the commit itself, if there is one, else here.
void QuerySession::confirm(Done then) {
    const Done confirmed = interruptible(
        [this, then = std::move(then)](const Result<>& point) {
            if (!point) {
                then(point.error());
            } else if (began_in_ == Term{0} || instance_.replica().term() != began_in_) {
                then(fail(ErrorCode::kDatabaseUnavailable, "leadership changed while the statement ran"));
            } else {
                then(success());
            }
        },
        terminated(ErrorCode::kTerminated, "Explicitly terminated by the user."));
    instance_.replica().read_point(modes::ReadConsistency::kLocalQuorum,
                                   std::nullopt,
                                   instance_.clock().now() + kBookmarkPatience,
                                   [confirmed](Result<LogIndex> point) {
                                       confirmed(point ? Result<>{success()} : Result<>{point.error()});
                                   });
}

Error QuerySession::send_away() {
    constexpr int kPatience = 2;
    Error refusal = instance_.write_refusal();
    if (refusal.code() == ErrorCode::kNotLeader && ++sent_away_ >= kPatience) {
        // A driver that was told so comes back over the same connection only if it keeps it under the writer's
        // address: its resolver gave this member's for that once, when the other one was down. It would come back for
        // ever; on a new connection it finds the right one.
        boost::asio::post(instance_.pool().io(), [&instance = instance_, id = info_.connection_id] {
            if (bolt::Server* const server = instance.bolt_server(); server != nullptr) {
                server->close_connection(id);
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
    if (options_.timeout && options_.timeout->count() > 0) {
        begin.deadline = instance_.clock().now() + *options_.timeout;
        begin.deadline_by_client = true;
    } else if (!options_.timeout && instance_.settings().transaction_timeout.count() > 0) {
        begin.deadline = instance_.clock().now() + instance_.settings().transaction_timeout;
    }
    begin.metadata = options_.metadata;
    return instance_.engine().begin(begin);
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
    generation_ = instance_.generation();
    wrote_parts_ = false;
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
    TransactionOrigin origin{
        database_, user_, info_.connection_id, info_.client_address, options.metadata, kNoDeadline};
    if (options.timeout && options.timeout->count() > 0) {
        origin.deadline = instance_.clock().now() + *options.timeout;
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
        if (open) {
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
    instance_.replica().commit(
        std::move(write_set).value(),
        began_in_,
        committing_.context(),
        [this, done = std::move(done)](Result<modes::Committed> committed) {
            {
                const std::lock_guard lock{open_->use};
                open_->transaction().finish();
            }
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
        });
}

// ---- Statements ----

Result<std::unique_ptr<QuerySession::Statement>> QuerySession::make_statement(std::string query,
                                                                              Value parameters) {
    auto statement = std::make_unique<Statement>();
    statement->started = instance_.clock().now();
    statement->last_event = statement->started;
    statement->text = std::move(query);
    if (parameters.is_map()) {
        statement->parameters = std::move(parameters).take_map();
    }
    {
        const std::lock_guard lock{open_->text_mutex};
        open_->query = statement->text;
    }
    instance_.counters().statements->add();
    const auto plans = instance_.plans(database_, generation_);
    if (!plans) {
        return fail(ErrorCode::kStopping, "this member's state was replaced by a copy of the primary's");
    }
    if (explicit_) {
        statement->trace = part("RUN");
    }
    {
        const Span planning = part("plan", statement.get());
        NORNIC_TRY(statement->query,
                   plans->prepare(statement->text, statement->parameters, open_->transaction()));
    }
    const cypher::PreparedInfo& info = cypher::info(*statement->query);
    if (Span& trace = statement->trace ? statement->trace : trace_; trace) {
        trace.set("db.query.text", shown_text(statement->text, info));
    }
    if (!info.use_graph.empty()) {
        NORNIC_TRY(const std::string graph, instance_.resolve(info.use_graph));
        if (graph != database_) {
            return fail(ErrorCode::kUnsupported,
                        fmt::format("USE {}: a statement cannot leave its session's database '{}'; "
                                    "open a session on '{}'.",
                                    info.use_graph,
                                    database_,
                                    graph));
        }
    }
    if (credentials_expired_ && !info.administration) {
        return fail(ErrorCode::kCredentialsExpired,
                    fmt::format("ACCESS on database '{}' is not allowed.\n\nThe credentials you "
                                "provided were valid, but must be changed "
                                "before you can use this instance. If this is the first time you "
                                "are using Neo4j, this is to ensure you "
                                "are not using the default credentials in production. If you are "
                                "not using default credentials, you are "
                                "getting this message because an administrator requires a password "
                                "change.\nChanging your password is "
                                "easy to do via the Neo4j Browser.\nIf you are connecting via a "
                                "shell or programmatically via a driver, "
                                "just issue a `ALTER CURRENT USER SET PASSWORD FROM 'current "
                                "password' TO 'new password'` statement "
                                "against the system database in the current session, and then "
                                "restart your driver with the new password "
                                "configured.",
                                database_));
    }
    const bool writes = info.writes || info.schema;
    if (writes && options_.mode == AccessMode::kRead && !info.explain_only) {
        return fail(ErrorCode::kAccessMode,
                    fmt::format("Writing in read access mode not allowed. Attempted write to {}",
                                database_));
    }
    if (writes && instance_.settings().read_only && !info.explain_only) {
        return fail(ErrorCode::kReadOnly,
                    "No write operations are allowed on this server: NORNICDB_READ_ONLY is set.");
    }
    if (writes && !info.explain_only && instance_.mode().has_peers) {
        NORNIC_TRY(may_write());
        if (asked_.write) {
            NORNIC_TRY(instance_.replica().expect(*asked_.write));
        }
        if (auto refusal = info.schema || info.administration ? instance_.primary_refusal() : std::nullopt) {
            return *refusal;
        }
    }
    if (info.in_transactions && explicit_ && !info.explain_only) {
        return fail(ErrorCode::kTransactionStartFailed,
                    "A query with 'CALL { ... } IN TRANSACTIONS' can only be executed in an "
                    "implicit transaction, but tried to execute "
                    "in an explicit transaction.");
    }
    statement->autocommit = !explicit_;
    statement->does_work_first = writes && !info.explain_only && !info.in_transactions;
    NORNIC_TRY(start_execution(*statement));
    return statement;
}

Result<> QuerySession::start_execution(Statement& statement) {
    cypher::ExecutionServices services;
    services.transaction = &open_->transaction();
    services.procedures = &instance_.procedures();
    services.caller = {user_, database_, info_.connection_id, info_.routing_context};
    services.transaction_wall_ns = open_->started_wall_ns;
    services.memory_bytes_max = instance_.settings().query_memory_bytes_max;
    services.allow_load_csv = !instance_.settings().import_directory.empty();
    services.import_directory = instance_.settings().import_directory;
    services.begin_inner = [this] { return begin_engine_transaction(); };
    services.commit_inner = [this](engine::Transaction& inner) -> Result<> {
        if (inner.has_writes()) {
            NORNIC_TRY(auto write_set, inner.prepare());
            NORNIC_TRY(instance_.replica().commit_and_wait(std::move(write_set), began_in_));
            wrote_parts_ = true;
        }
        inner.finish();
        return success();
    };
    NORNIC_TRY(statement.execution,
               cypher::start(statement.query, std::move(services), statement.parameters));
    return success();
}

Result<> QuerySession::do_work(Statement& statement) {
    Span working = part("execute", &statement);
    for (std::int64_t attempt = 1;; ++attempt) {
        auto worked = statement.execution->pull(0, nullptr);
        if (worked) {
            statement.worked = true;
            const cypher::PreparedInfo& info = cypher::info(*statement.query);
            wrote_parts_ = wrote_parts_ || (info.administration && info.writes);  // by procedures, each by itself
            working.set("nornicdb.attempts", attempt);
            return success();
        }
        const ErrorCode code = worked.error().code();
        const bool again = statement.autocommit &&
                           instance_.clock().now() - statement.started < kRerunPatience &&
                           (code == ErrorCode::kConflict || code == ErrorCode::kDeadlock);
        if (!again) {
            return worked.error();
        }
        instance_.counters().reruns->add();
        statement.execution.reset();
        if (code == ErrorCode::kConflict) {
            // It keeps the locks it has, so nobody can win these rows again.
            open_->transaction().restart_keeping_locks();
        } else {
            // The victim of a deadlock lets go of everything, so that the others get through, and
            // waits a moment of its own length: those that met once would meet again.
            open_->transaction().finish();
            const auto longest = std::uint64_t{1000} << std::min(attempt, kBackOffDoublingsMax);
            std::this_thread::sleep_for(std::chrono::microseconds{random_.below(longest)});
            NORNIC_TRY(auto fresh, begin_engine_transaction());
            open_->replace(std::move(fresh));
        }
        NORNIC_TRY(start_execution(statement));
    }
}

Result<> QuerySession::finish_earlier_work() {
    for (const auto& statement : statements_) {
        if (statement->does_work_first && !statement->worked) {
            NORNIC_TRY(do_work(*statement));
        }
    }
    return success();
}

void QuerySession::run(std::string query,
                       Value parameters,
                       bolt::TransactionOptions options,
                       bolt::Completion<bolt::Running> done) {
    const auto start = [this](std::string text,
                              Value values,
                              const bolt::TransactionOptions& opts,
                              const bolt::Completion<bolt::Running>& answer) {
        Result<> ready = open_transaction(opts, true);
        if (!ready) {
            trace_.set_failed(ready.error().message());
            close_transaction();
            answer(describe(ready.error()));
            return;
        }
        std::unique_lock use{open_->use};
        auto made = make_statement(std::move(text), std::move(values));
        if (!made) {
            instance_.counters().failures->add();
            const Error error = describe(made.error());
            trace_.set_failed(error.message());
            use.unlock();
            close_transaction();
            answer(error);
            return;
        }
        statements_.push_back(std::move(made).value());
        Statement& statement = *statements_.back();
        statement.id = 0;
        last_statement_ = 0;
        bolt::Running running;
        running.fields = cypher::info(*statement.query).columns;
        running.database = database_;
        if (!statement.does_work_first || !running.fields.empty()) {
            running.available_after_ms = ms_since(statement.started, instance_.clock());
            statement.last_event = instance_.clock().now();
            use.unlock();
            if (statement.does_work_first || !std::exchange(unconfirmed_, false)) {
                answer(std::move(running));
                return;
            }
            // It only reads, so there is no commit to confirm it, and records come before its end.
            confirm([this, answer, running = std::move(running)](const Result<>& current) mutable {
                if (current) {
                    answer(std::move(running));
                    return;
                }
                instance_.counters().failures->add();
                const Error error = describe(current.error());
                trace_.set_failed(error.message());
                close_transaction();
                answer(error);
            });
            return;
        }
        // No records will come: do everything now, so that an error answers RUN.
        Result<> worked = do_work(statement);
        use.unlock();
        if (!worked) {
            statement_failed(statement, worked.error());
            const Error error = describe(worked.error());
            close_transaction();
            answer(error);
            return;
        }
        commit_transaction(
            [this, answer, running = std::move(running)](Result<std::string> bookmark) mutable {
                Statement& ran = *statements_.back();
                if (!bookmark) {
                    statement_failed(ran, bookmark.error());
                    const Error error = describe(bookmark.error());
                    close_transaction();
                    answer(error);
                    return;
                }
                ran.committed = true;
                ran.bookmark = std::move(bookmark).value();
                running.available_after_ms = ms_since(ran.started, instance_.clock());
                ran.last_event = instance_.clock().now();
                answer(std::move(running));
            });
    };
    auto asked = asked_of(options, info_.routing_context, instance_.settings(), instance_.mode());
    if (!asked) {
        done(asked.error());
        return;
    }
    asked_ = asked.value();
    unconfirmed_ = false;
    begin_trace("RUN", options);
    if (needs_no_wait(options) || (options.bookmarks.empty() && asks_this_member(query))) {
        start(std::move(query), std::move(parameters), options, done);
        return;
    }
    auto shared = std::make_shared<bolt::TransactionOptions>(std::move(options));
    reading_ = part("read point");
    after_bookmarks(*shared,
                    true,
                    [this,
                     start,
                     shared,
                     text = std::move(query),
                     values = std::move(parameters),
                     done = std::move(done)](Result<> ready) {
                        reading_.end();
                        if (!ready) {
                            trace_.set_failed(ready.error().message());
                            trace_.end();
                            done(describe(ready.error()));
                            return;
                        }
                        start(text, values, *shared, done);
                    });
}

void QuerySession::run_in_transaction(std::string query,
                                      Value parameters,
                                      bolt::Completion<bolt::Running> done) {
    if (!open_) {
        done(fail(ErrorCode::kInvalidRequest, "There is no open transaction."));
        return;
    }
    const auto work = [&]() -> Result<bolt::Running> {
        const std::lock_guard use{open_->use};
        NORNIC_TRY(still_alive());
        NORNIC_TRY(finish_earlier_work());
        NORNIC_TRY(auto statement, make_statement(std::move(query), std::move(parameters)));
        statement->id = next_statement_++;
        last_statement_ = statement->id;
        bolt::Running running;
        running.statement_id = statement->id;
        running.fields = cypher::info(*statement->query).columns;
        running.database = database_;
        if (statement->does_work_first && running.fields.empty()) {
            if (const Result<> worked = do_work(*statement); !worked) {
                report(*statement, &worked.error());
                return worked.error();
            }
        }
        running.available_after_ms = ms_since(statement->started, instance_.clock());
        statement->last_event = instance_.clock().now();
        statements_.push_back(std::move(statement));
        return running;
    };
    auto running = work();
    if (!running) {
        instance_.counters().failures->add();
        done(describe(running.error()));
        return;
    }
    done(std::move(running));
}

bool QuerySession::has_open_statement() const {
    return !statements_.empty();
}

void QuerySession::pull(std::int64_t statement_id,
                        std::int64_t count,
                        bolt::RecordSink& sink,
                        bolt::Completion<bolt::Pulled> done) {
    pull_into(statement_id, count, &sink, std::move(done));
}

void QuerySession::discard(std::int64_t statement_id,
                           std::int64_t count,
                           bolt::Completion<bolt::Pulled> done) {
    pull_into(statement_id, count, nullptr, std::move(done));
}

void QuerySession::pull_into(std::int64_t statement_id,
                             std::int64_t count,
                             bolt::RecordSink* sink,
                             bolt::Completion<bolt::Pulled> done) {
    const std::int64_t wanted = statement_id == -1 ? last_statement_ : statement_id;
    Statement* statement = nullptr;
    for (const auto& candidate : statements_) {
        if (candidate->id == wanted) {
            statement = candidate.get();
        }
    }
    if (statement == nullptr) {
        done(fail(ErrorCode::kInvalidFormat, fmt::format("No such statement: {}", wanted)));
        return;
    }
    const bool must_work = statement->does_work_first && !statement->worked;
    if (!must_work) {
        stream(*statement, count, sink, std::move(done));
        return;
    }
    Result<> worked = success();
    {
        const std::lock_guard use{open_->use};
        worked = do_work(*statement);
    }
    if (!worked) {
        statement_failed(*statement, worked.error());
        const Error error = describe(worked.error());
        if (statement->autocommit) {
            close_transaction();
        }
        done(error);
        return;
    }
    if (!statement->autocommit) {
        stream(*statement, count, sink, std::move(done));
        return;
    }
    commit_transaction([this, statement, count, sink, done = std::move(done)](
                           Result<std::string> bookmark) mutable {
        if (!bookmark) {
            statement_failed(*statement, bookmark.error());
            const Error error = describe(bookmark.error());
            close_transaction();
            done(error);
            return;
        }
        statement->committed = true;
        statement->bookmark = std::move(bookmark).value();
        stream(*statement, count, sink, std::move(done));
    });
}

void QuerySession::stream(Statement& statement,
                          std::int64_t count,
                          bolt::RecordSink* sink,
                          bolt::Completion<bolt::Pulled> done) {
    bolt::Pulled pulled;
    Span streaming = part(statement.worked ? "stream" : "execute", &statement);
    const std::uint64_t rows_max = count < 0 ? UINT64_MAX : static_cast<std::uint64_t>(count);
    Result<cypher::PullStatus> status = cypher::PullStatus::kFinished;
    {
        const std::lock_guard use{open_->use};
        if (const Result<> alive = statement.committed ? success() : still_alive(); !alive) {
            status = alive.error();
        } else if (sink != nullptr) {
            SinkAdapter adapter{*sink};
            status = statement.execution->pull(rows_max, &adapter);
            pulled.records = adapter.rows;
            statement.records += adapter.rows;
        } else {
            status = statement.execution->pull(rows_max, nullptr);
        }
    }
    streaming.set("nornicdb.records", pulled.records);
    streaming.end();
    if (!status) {
        statement_failed(statement, status.error());
        const Error error = describe(status.error());
        if (statement.autocommit) {
            close_transaction();
        }
        done(error);
        return;
    }
    if (status.value() != cypher::PullStatus::kFinished) {
        pulled.outcome = status.value() == cypher::PullStatus::kPaused
                             ? bolt::PullOutcome::kPaused
                             : bolt::PullOutcome::kHasMore;
        done(std::move(pulled));
        return;
    }
    pulled.outcome = bolt::PullOutcome::kFinished;
    {
        const std::lock_guard use{open_->use};
        pulled.summary = statement.execution->summary();
    }
    pulled.summary.database = database_;
    const cypher::PreparedInfo& info = cypher::info(*statement.query);
    if (info.administration && info.writes && !info.explain_only) {
        pulled.summary.counters.system_updates = 1;
    }
    pulled.summary.records = statement.records;
    pulled.summary.result_consumed_after_ms = ms_since(statement.last_event, instance_.clock());
    statement_ended(statement);
    if (!statement.autocommit) {
        std::erase_if(statements_, [&](const auto& s) { return s.get() == &statement; });
        done(std::move(pulled));
        return;
    }
    if (statement.committed) {
        pulled.bookmark = statement.bookmark;
        close_transaction();
        done(std::move(pulled));
        return;
    }
    // It only read (or committed as it went, CALL … IN TRANSACTIONS): nothing goes to the log here.
    commit_transaction([this, pulled = std::move(pulled), done = std::move(done)](
                           Result<std::string> bookmark) mutable {
        close_transaction();
        if (!bookmark) {
            done(describe(bookmark.error()));
            return;
        }
        pulled.bookmark = std::move(bookmark).value();
        done(std::move(pulled));
    });
}

void QuerySession::statement_failed(Statement& statement, const Error& error) {
    instance_.counters().failures->add();
    (statement.trace ? statement.trace : trace_).set_failed(error.message());
    report(statement, &error);
    if (error.code() == ErrorCode::kInternal || error.code() == ErrorCode::kCorruption ||
        error.code() == ErrorCode::kIo) {
        if (const auto held_back = instance_.log_limiter().allow(fmt::format("failed/{}", to_string(error.code())))) {
            log::error("Statement of user '{}' failed: {}: {}{}", user_, to_string(error.code()), error.message(), and_more(*held_back));
        }
    }
    statement.trace.end();
}

void QuerySession::statement_ended(Statement& statement) {
    const Duration took = instance_.clock().now() - statement.started;
    instance_.counters().seconds->observe(static_cast<double>(took.count()) / 1e9);
    Span& trace = statement.trace ? statement.trace : trace_;
    trace.set("nornicdb.records", statement.records);
    report(statement, nullptr);
    statement.trace.end();
}

void QuerySession::report(const Statement& statement, const Error* error) {
    if (statement.query == nullptr) {
        return;
    }
    const cypher::PreparedInfo& info = cypher::info(*statement.query);
    const bool changes = info.schema || (info.administration && info.writes);
    if (changes && !info.explain_only && instance_.settings().audit_enabled) {
        audit({user_, info_.client_address, info_.connection_id, info_.user_agent}, database_, shown_text(statement.text, info), error);
    }
    const Duration took = instance_.clock().now() - statement.started;
    const Duration threshold = instance_.settings().slow_query_threshold;
    if (threshold.count() <= 0 || took < threshold) {
        return;
    }
    const TraceContext trace = statement.trace ? statement.trace.context() : trace_.context();
    const std::string plan = info.administration ? std::string{} : cut(cypher::plan_text(*statement.query));
    const std::string parameters = instance_.settings().slow_query_parameters && !info.administration
                                       ? cut(to_cypher_text(Value{statement.parameters}))
                                       : std::string{};
    log::event(log::Level::kWarn,
               "slow_query",
               "Slow statement:",
               {{"milliseconds", std::chrono::duration_cast<std::chrono::milliseconds>(took).count()},
                {"records", statement.records},
                {"user", user_},
                {"database", database_},
                {"connection", info_.connection_id},
                {"client", info_.client_address},
                {"outcome", error == nullptr ? std::string_view{"done"} : to_string(error->code())},
                {"trace_id", trace ? std::string_view{trace.trace_id_text()} : std::string_view{}},
                {"text", shown_text(statement.text, info)},
                {"parameters", parameters},
                {"plan", plan}});
}

/// Errors of lower rooms in the words that Neo4j's clients know.
Error QuerySession::describe(Error error) const {
    if (wrote_parts_ && error.code() != ErrorCode::kUnknownCommit) {
        switch (error.code()) {
            case ErrorCode::kNotLeader:
            case ErrorCode::kBusy:
            case ErrorCode::kStopping:
            case ErrorCode::kDatabaseUnavailable:
            case ErrorCode::kConflict:
            case ErrorCode::kTimedOut:
                // Each of them says that nothing happened, and that it may be run again.
                return Error{ErrorCode::kUnknownCommit,
                             "some of the statement's own transactions were committed before it failed: " + error.message()};
            default:
                return error;
        }
    }
    switch (error.code()) {
        case ErrorCode::kNotLeader:
            return instance_.write_refusal();
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
