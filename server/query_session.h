// What one client does: logs in, runs statements, opens transactions. Bolt connections and the HTTP
// Query API both come through here; there is no second way into the engine.
#pragma once

#include "base/random.h"
#include "bolt/backend.h"
#include "cypher/cypher.h"
#include "observability/trace.h"
#include "server/bookmark.h"
#include "server/consistency.h"
#include "server/instance.h"
#include "server/transactions.h"

#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace nornic::server {

class QuerySession final : public bolt::Session {
public:
    QuerySession(Instance& instance, bolt::ConnectionInfo info);
    ~QuerySession() override;

    void login(const bolt::AuthToken& token, bolt::Completion<bolt::Login> done) override;
    void logoff() override;
    void run(std::string query,
             Value parameters,
             bolt::TransactionOptions options,
             bolt::Completion<bolt::Running> done) override;
    void begin(bolt::TransactionOptions options, bolt::Completion<bolt::Begun> done) override;
    void run_in_transaction(std::string query,
                            Value parameters,
                            bolt::Completion<bolt::Running> done) override;
    void commit(bolt::Completion<std::string> done) override;
    void rollback(bolt::Completion<void> done) override;
    void pull(std::int64_t statement_id,
              std::int64_t count,
              bolt::RecordSink& sink,
              bolt::Completion<bolt::Pulled> done) override;
    void discard(std::int64_t statement_id,
                 std::int64_t count,
                 bolt::Completion<bolt::Pulled> done) override;
    [[nodiscard]] bool has_open_statement() const override;
    void route(Value context,
               std::vector<std::string> bookmarks,
               std::string database,
               std::string impersonated_user,
               bolt::Completion<bolt::RoutingTable> done) override;
    void interrupt() override;
    void reset() override;

    [[nodiscard]] std::int64_t data_version() const override { return static_cast<std::int64_t>(data_version_.value); }

    /// For callers that authenticated elsewhere (HTTP).
    void login_as(std::string user);

private:
    struct Statement;
    struct Wait;
    using Done = std::function<void(Result<>)>;

    Result<> check_login() const;
    Result<> check_impersonation(const std::string& user) const;
    /// Its canonical name. kDatabaseNotFound; kDatabaseUnavailable where this member may lack what others know.
    Result<std::string> resolve(const std::string& database) const;
    /// It has not got, or not yet caught up with, the data of its cluster.
    [[nodiscard]] bool is_joining() const;
    void answer_route(const Value& context, const std::string& database, const bolt::Completion<bolt::RoutingTable>& done);
    /// Waits until a read here is as fresh as bookmarks and level ask, then calls `then` on this thread or another.
    /// `confirm_later`: where it can be confirmed afterwards that this member led, that is left to the caller, and
    /// unconfirmed_ says so.
    void after_bookmarks(const bolt::TransactionOptions& options, bool confirm_later, Done then);
    [[nodiscard]] bool confirms_later(const bolt::TransactionOptions& options) const;
    /// Calls `then` once it is known that this member has led since the open transaction began.
    void confirm(Done then);
    /// What is applied here now will do for a transaction with these options and asked_.
    [[nodiscard]] bool needs_no_wait(const bolt::TransactionOptions& options) const;
    /// The state here was taken back or replaced since this connection was last shown any.
    [[nodiscard]] bool state_was_replaced() const;
    /// `then` for others to call, on any thread; it runs in the pool, unless interrupt() comes first, which calls it with
    /// `if_interrupted`. That may be before this returns: then this session may be gone already.
    Done interruptible(Done then, const Error& if_interrupted);
    static void end_wait(QuerySession* session, Instance& instance, const std::shared_ptr<Wait>& wait, const Result<>& outcome);
    /// Calls `then` once so many members hold the log up to `index` as was asked for.
    void acknowledge(LogIndex index, Done then);
    /// The bookmark of what is answered now, which this connection will see again.
    std::string answered(LogIndex index, std::optional<Term> term);
    /// The same for bookmarks of other regions.
    void after_regions(std::vector<Seen> seen, AccessMode mode, Deadline deadline, Done then);
    [[nodiscard]] Error not_reached(const Error& error, AccessMode mode) const;
    /// What these bookmarks name is part of this member's history as far as it goes, or not there yet.
    Result<> check_branch(const std::vector<Seen>& seen) const;
    /// The refusal of a routing driver's transaction of mode WRITE.
    Error send_away();
    /// kNotLeader, kDatabaseUnavailable, kConflict: why the open transaction cannot write.
    Result<> may_write() const;
    Result<> open_transaction(const bolt::TransactionOptions& options, bool autocommit);
    /// The client's own goes before the server's, and 0 of it is none.
    [[nodiscard]] std::optional<Duration> time_limit(const bolt::TransactionOptions& options) const;
    Result<std::unique_ptr<engine::Transaction>> begin_engine_transaction() const;
    /// Why the open transaction was terminated, if it was.
    Result<> still_alive() const;
    Result<std::unique_ptr<Statement>> make_statement(std::string query, Value parameters);
    Result<> start_execution(Statement& statement);
    /// Does a writing statement's work; in autocommit runs it again when another transaction won.
    Result<> do_work(Statement& statement);
    Result<> finish_earlier_work();
    void commit_transaction(std::function<void(Result<std::string>)> done);
    void pull_into(std::int64_t statement_id,
                   std::int64_t count,
                   bolt::RecordSink* sink,
                   bolt::Completion<bolt::Pulled> done);
    void stream(Statement& statement,
                std::int64_t count,
                bolt::RecordSink* sink,
                bolt::Completion<bolt::Pulled> done);
    void close_transaction();
    void statement_failed(Statement& statement, const Error& error);
    void statement_ended(Statement& statement);
    /// Lines for those who look at what was slow, and at who changed what: nullptr for one that came through.
    void report(const Statement& statement, const Error* error);
    Error describe(Error error) const;
    Error lost_with_leadership(Error error) const;
    void begin_trace(std::string_view name, const bolt::TransactionOptions& options);
    /// A span of what is done for this statement, or for the transaction.
    [[nodiscard]] Span part(std::string_view name, const Statement* statement = nullptr) const;

    Instance& instance_;
    const bolt::ConnectionInfo info_;
    const bool routes_;  // the driver goes by routing tables, and to the writer by itself
    Random random_;     // for waits alone
    std::string user_;  // empty: not logged in
    bool credentials_expired_ = false;
    int sent_away_ = 0;  // how often in a row this connection's driver was told that another member is the writer

    bool explicit_ = false;
    Asked asked_;
    bool wrote_parts_ = false;  // of the open transaction's statement some is committed already
    LogIndex data_version_;     // of the last answer that had a bookmark
    std::string shown_;         // the bookmark of the newest state that this connection was shown
    std::uint64_t shown_generation_ = 0;
    bolt::TransactionOptions options_;
    std::string database_;
    bool unconfirmed_ = false;      // that this member led when the statement began is still to be confirmed
    Term began_in_;                 // of the open transaction; 0: this member took no writes then
    LogIndex wanted_;               // the bookmarks' newest, or where a read has to be confirmed the index that confirmed it
    std::uint64_t generation_ = 0;  // of the engine's state, as the bookmarks were looked at
    std::int64_t next_statement_ = 0;
    std::int64_t last_statement_ = 0;
    std::vector<std::unique_ptr<Statement>> statements_;  // those with records left

    Span trace_;       // from RUN or BEGIN to the end of what that opened
    Span reading_;     // its part before a snapshot is taken: bookmarks are waited for, leadership is confirmed
    Span committing_;  // its part from the WriteSet to the outcome

    mutable std::mutex open_mutex_;  // interrupt() looks at open_ and waiting_ from another thread
    OpenTransactionPtr open_;
    std::shared_ptr<Wait> waiting_;
    bool interrupted_ = false;
};

}  // namespace nornic::server
