// Statements of a client: prepared, run, run again when another transaction won, streamed as records.
#include "server/query_session_impl.h"

#include "observability/log.h"
#include "server/session_log.h"

#include <boost/asio/dispatch.hpp>
#include <fmt/format.h>

#include <chrono>
#include <thread>

namespace nornic::server {
namespace {

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
    services.begin_inner = [this]() -> Result<std::shared_ptr<engine::Transaction>> {
        NORNIC_TRY(auto inner, begin_engine_transaction());
        return open_->take_along(std::move(inner));
    };
    services.commit_inner = [this](const std::shared_ptr<engine::Transaction>& inner) -> Result<> {
        if (inner->has_writes()) {
            if (const Term now = instance_.replica().term(); now != Term{0} && now != began_in_) {
                // No conflict, after which the rows would be tried again: each try would end here.
                return fail(ErrorCode::kDatabaseUnavailable, "leadership changed while the statement ran");
            }
            NORNIC_TRY(auto write_set, inner->prepare());
            const auto committed = instance_.replica().commit_and_wait(std::move(write_set), began_in_, inner);
            if (!committed) {
                if (committed.error().code() == ErrorCode::kUnknownCommit) {
                    open_->leave_behind(inner);
                }
                return committed.error();
            }
            wrote_parts_ = true;
        }
        inner->finish();
        inner->await_indexes();  // of constraints that TuGraph's procedures make
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
        if (code == ErrorCode::kConflict && !open_->transaction().killed()) {
            // It keeps the locks it has, so nobody can win these rows again.
            open_->transaction().restart_keeping_locks();
        } else {
            // The victim of a deadlock lets go of everything, so that the others get through, and
            // waits a moment of its own length: those that met once would meet again. A transaction
            // that ended itself, because the plan names an index that is gone, cannot go on either.
            open_->transaction().finish();
            const auto longest = std::uint64_t{1000} << std::min(attempt, kBackOffDoublingsMax);
            std::this_thread::sleep_for(std::chrono::microseconds{random_.below(longest)});
            NORNIC_TRY(auto fresh, begin_engine_transaction());
            open_->replace(std::move(fresh));
        }
        // By the rules as the new snapshot has them.
        if (const auto plans = instance_.plans(database_, generation_)) {
            NORNIC_TRY(statement.query,
                       plans->prepare(statement.text, statement.parameters, open_->transaction()));
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
                running.finished = true;
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
    wrote_parts_ = false;
    begin_trace("RUN", options);
    if (needs_no_wait(options) || (options.bookmarks.empty() && asks_this_member(query))) {
        generation_ = instance_.generation();
        wanted_ = LogIndex{};
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
        if (worked && statement->autocommit && (sink != nullptr || count >= 0)) {
            // Its commit lets go of the snapshot, and what others change then must not show in its rows.
            worked = statement->execution->complete_rows();
        }
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
        // A commit may end on a thread of the bus, and rows take their time.
        boost::asio::dispatch(instance_.pool().io(), [this, statement, count, sink, done = std::move(done)]() mutable {
            stream(*statement, count, sink, std::move(done));
        });
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
    const bool administers = info.schema || (info.administration && info.writes) || info.admin_procedure;
    if (administers && !info.explain_only && instance_.settings().audit_enabled) {
        std::string action = shown_text(statement.text, info);
        // Which conflict was resolved, and how.
        if (info.admin_procedure && !statement.parameters.empty()) {
            action = cut(action + " " + to_cypher_text(Value{statement.parameters}));
        }
        audit({user_, info_.client_address, info_.connection_id, info_.user_agent}, database_, action, error);
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

}  // namespace nornic::server
