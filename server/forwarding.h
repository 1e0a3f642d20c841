// Write forwarding: what a client that does not route (bolt://) asks of a member that takes no writes is run at the one
// that does, over a Bolt connection with the client's own credentials (server/hop.h). Autocommit statements that write go
// there, and explicit transactions of mode WRITE from BEGIN on; everything else is answered here.
#pragma once

#include "base/mutex.h"
#include "bolt/backend.h"
#include "observability/trace.h"
#include "server/hop.h"
#include "server/hop_wait.h"
#include "server/instance.h"
#include "server/query_session.h"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace nornic::server {

struct ForwardingMetrics {
    explicit ForwardingMetrics(Metrics& metrics);
    Counter* done;     // the leader did it
    Counter* failed;   // the leader refused it, with an answer of its own
    Counter* refused;  // no leader was reached: nothing happened
    Counter* unknown;  // the connection was lost before the answer
    Histogram* seconds;
};

/// What a statement asks of the member that runs it.
enum class Needs : std::uint8_t { kReader, kWriter, kSchemaWriter };

/// Whether a statement of this connection could ever have to go elsewhere.
bool may_forward(const Instance& instance, const bolt::ConnectionInfo& info);

class ForwardingSession final : public bolt::Session {
public:
    ForwardingSession(Instance& instance, ForwardingMetrics& metrics, const bolt::ConnectionInfo& info);
    ~ForwardingSession() override;

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
    [[nodiscard]] std::int64_t data_version() const override;

    [[nodiscard]] bool waits_elsewhere() const override { return waits_elsewhere_.load(std::memory_order_relaxed); }
    [[nodiscard]] bool runs_at_once(const std::string& query, const bolt::TransactionOptions& options) const override;
    [[nodiscard]] bool pulls_at_once() const override;

    /// For callers that authenticated elsewhere (HTTP); `token` is for the member that writes are passed on to.
    void login_as(std::string user, bolt::AuthToken token);

    void route(Value context,
               std::vector<std::string> bookmarks,
               std::string database,
               std::string impersonated_user,
               bolt::Completion<bolt::RoutingTable> done) override;
    void interrupt() override;
    void reset() override;

private:
    /// Where what is open now runs.
    enum class Place : std::uint8_t { kHere, kStatementThere, kTransactionThere };

    struct Missing {
        Needs needs = Needs::kReader;  // kReader: nothing
        bool in_parts = false;         // it commits as it goes: CALL { … } IN TRANSACTIONS
    };
    /// An autocommit statement.
    struct Asked {
        std::string query;
        Value parameters;
        bolt::TransactionOptions options;
        Missing what;
        Deadline began{};
        bolt::Completion<bolt::Running> done;
    };
    void run_anywhere(std::shared_ptr<Asked> asked);
    /// `under_way`: hop_ has it already, of which at_leader() speaks.
    void run_there(Asked& asked, std::optional<std::string> member, std::uint64_t version, bool under_way);
    void ran_there(Asked& asked, Result<bolt::Running> running);
    void run_here(Asked& asked);
    /// On the shared thread. false: it has to be run elsewhere.
    bool run_at_once(const std::shared_ptr<Asked>& asked);
    /// On one of the pool's threads.
    void elsewhere(std::function<void()> task);

    static bool nothing_happened(ErrorCode code);
    /// What the statement needs that is not to be had here.
    Missing missing(const std::string& query, const Value& parameters, const std::string& database);
    /// What it would need of a member that has nothing.
    Missing needed(const std::string& query, const Value& parameters, const std::string& database);
    [[nodiscard]] bool taken_here(Needs needs) const;
    /// An election is under way, among members that are a majority.
    [[nodiscard]] bool leader_is_coming() const;
    /// The Bolt address of another member that gives this; nullopt: none is known.
    [[nodiscard]] std::optional<std::string> member_for(Needs needs) const;
    /// The same, from what is known of the connection that is open, while nobody else has come to lead.
    [[nodiscard]] std::optional<std::string> likely_member_for(Needs needs) const;

    /// Does `work` with a connection to `member`. While nothing happened there since it does not lead (any more), the next
    /// leader is waited for and asked. nullopt: by now this member takes it.
    /// `version`: leader_version() before `member` was looked up. `under_way`: the first time hop_ is taken as it is.
    std::optional<Result<>> at_leader(Needs needs,
                                      std::optional<std::string> member,
                                      std::uint64_t version,
                                      bool under_way,
                                      const bolt::TransactionOptions& options,
                                      const std::function<Result<>(Hop&, const bolt::RunOptions&)>& work);
    /// One exchange with it in what is open there.
    template <class Work>
    auto there(Work work) {
        std::optional<ElasticPool::Away> away;
        if (!arrival_.on_its_thread()) {
            away.emplace(instance_.pool());
        }
        return work();
    }
    Result<> reach(const std::string& address);
    /// false: interrupted, or late.
    bool pause(Deadline until);
    bool still_wanted();
    void drop_hop();
    std::optional<Deadline> interrupted() const;
    bolt::RunOptions options_there(const bolt::TransactionOptions& options, Deadline began) const;
    /// What an error of an open transaction or statement there means to the client.
    Error ended_there(Error error, bool may_have_committed);
    void count(const Result<>& outcome);
    void begin_trace(std::string_view name, const bolt::TransactionOptions& options);
    /// nullptr: it came through.
    void end_trace(const Error* error);
    [[nodiscard]] std::string resolved(const std::string& database) const;
    void wrote(std::string bookmark);
    void wrote(const bolt::Pulled& pulled);
    /// The form in which answers there are passed on to this client.
    [[nodiscard]] Hop::Form form_for(const Hop& hop, const bolt::TransactionOptions& options) const;
    void pull_there(std::int64_t statement_id, std::int64_t count, bolt::RecordSink* sink, bolt::Completion<bolt::Pulled> done);
    /// Makes what runs here see what was written there.
    template <class T>
    bolt::Completion<T> after_writes(bolt::TransactionOptions& options, bolt::Completion<T> done);

    Instance& instance_;
    ForwardingMetrics& metrics_;
    const bolt::ConnectionInfo info_;
    const bool regional_;  // in a mode with regions
    const std::optional<bolt::Version> version_;  // in which answers of others may be passed on as they came
    QuerySession local_;
    bolt::AuthToken token_;  // of whoever is logged in
    Place place_ = Place::kHere;
    std::string database_;  // of what is open there
    std::string bookmark_;  // of the last write there that nothing here was behind yet
    std::string answered_;  // a packed answer that bookmark_ has still to be taken from
    std::optional<LogIndex> version_there_;  // of the last answer, if it came from there

    // A client says the same again and again; what a statement does is a matter of its text alone.
    struct Known {
        std::string query;
        std::string database;
        Missing needed;
    };
    Known known_;

    // What still_wanted() looks at.
    Needs needs_ = Needs::kWriter;
    std::optional<Deadline> unwanted_since_;
    std::unique_ptr<Hop> hop_;
    HopWait arrival_;  // of what hop_ was asked
    std::atomic<bool> waits_elsewhere_{false};
    std::uint64_t hop_version_ = 0;  // Replica::leader_version() before it was asked who is at the other end
    Span trace_;    // of what runs there
    Span passing_;  // its part there, which the other member's spans are children of

    mutable Mutex mutex_;  // interrupt() comes from another thread
    ConditionVariable woken_;
    std::optional<Deadline> interrupted_ GUARDED_BY(mutex_);
};

}  // namespace nornic::server
