// What one client does: logs in, runs statements, opens transactions. Bolt connections and the HTTP
// Query API both come through here; there is no second way into the engine.
#pragma once

#include "base/random.h"
#include "bolt/backend.h"
#include "cypher/cypher.h"
#include "observability/trace.h"
#include "server/bookmark.h"
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

    /// For callers that authenticated elsewhere (HTTP).
    void login_as(std::string user);

private:
    struct Statement;
    using Done = std::function<void(Result<>)>;

    Result<> check_login() const;
    /// Waits until a read here is as fresh as bookmarks and level ask, then calls `then` on this thread or another.
    /// `confirm_later`: where it can be confirmed afterwards that this member led, that is left to the caller, and
    /// unconfirmed_ says so.
    void after_bookmarks(const bolt::TransactionOptions& options, bool confirm_later, Done then);
    [[nodiscard]] bool confirms_later(const bolt::TransactionOptions& options) const;
    /// Calls `then` once it is known that this member has led since the open transaction began.
    void confirm(Done then);
    /// The level of the transaction, the connection or the settings; the mode's own where none of them says one.
    Result<modes::ReadConsistency> level_of(const bolt::TransactionOptions& options) const;
    [[nodiscard]] bool is_causal(const bolt::TransactionOptions& options) const;
    /// The same for bookmarks of other regions.
    void after_regions(std::vector<Seen> seen, Deadline deadline, Done then);
    [[nodiscard]] Error not_reached(const Error& error) const;
    /// What these bookmarks name is part of this member's history as far as it goes, or not there yet.
    Result<> check_branch(const std::vector<Seen>& seen) const;
    /// The refusal of a routing driver's transaction of mode WRITE.
    Error send_away();
    /// kNotLeader, kDatabaseUnavailable, kConflict: why the open transaction cannot write.
    Result<> may_write() const;
    Result<> open_transaction(const bolt::TransactionOptions& options, bool autocommit);
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
    void begin_trace(std::string_view name, const bolt::TransactionOptions& options);
    /// A span of what is done for this statement, or for the transaction.
    [[nodiscard]] Span part(std::string_view name, const Statement* statement = nullptr) const;

    Instance& instance_;
    const bolt::ConnectionInfo info_;
    Random random_;     // for waits alone
    std::string user_;  // empty: not logged in
    bool credentials_expired_ = false;
    int sent_away_ = 0;  // how often in a row this connection's driver was told that another member is the writer

    bool explicit_ = false;
    bolt::TransactionOptions options_;
    std::string database_;
    bool unconfirmed_ = false;      // that this member led when the statement began is still to be confirmed
    Term began_in_;                 // of the open transaction; 0: this member took no writes then
    std::uint64_t generation_ = 0;  // of the engine's state, likewise
    std::int64_t next_statement_ = 0;
    std::int64_t last_statement_ = 0;
    std::vector<std::unique_ptr<Statement>> statements_;  // those with records left

    Span trace_;       // from RUN or BEGIN to the end of what that opened
    Span reading_;     // its part before a snapshot is taken: bookmarks are waited for, leadership is confirmed
    Span committing_;  // its part from the WriteSet to the outcome

    mutable std::mutex open_mutex_;  // interrupt() looks at open_ from another thread
    OpenTransactionPtr open_;
    bool interrupted_ = false;
};

}  // namespace nornic::server
