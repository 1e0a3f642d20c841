// All that bolt asks of the rest of the product; server implements it, tests mock it.
//
// Calls are asynchronous in form only where they must be: a call may compute on the calling thread
// for long (bolt runs it where blocking is allowed) and then invokes its completion exactly once,
// on this thread before returning or later on any other. One session is used by one connection, one
// call at a time, except interrupt() and the destructor's caller, see there.
#pragma once

#include "base/check.h"
#include "base/clock.h"
#include "base/result.h"
#include "graph/failure.h"
#include "graph/value.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::bolt {

template <class T>
using Completion = std::function<void(Result<T>)>;

struct AuthToken {
    std::string scheme;  // none, basic, bearer, …; empty: the client sent no scheme
    std::string principal;
    std::string credentials;
    std::string realm;
    bool has_credentials = false;
};

struct ConnectionInfo {
    std::string connection_id;   // "bolt-17"
    std::string client_address;  // "127.0.0.1:54321"
    std::string server_address;
    std::string user_agent;
    std::string protocol_version;  // "5.8"
    Value bolt_agent;              // map or null
    Value routing_context;         // map; null: the client does not route (scheme bolt://)
    bool encrypted = false;
};

struct Login {
    std::string user;
    bool credentials_expired = false;
};

enum class NotificationSeverity : std::uint8_t { kDefault, kOff, kWarning, kInformation };

struct NotificationFilter {
    NotificationSeverity minimum_severity = NotificationSeverity::kDefault;
    std::vector<std::string> disabled_categories;
};

struct TransactionOptions {
    std::string database;  // empty: the user's home database
    AccessMode mode = AccessMode::kWrite;
    /// The client does not say its mode (Bolt 3 drivers never do): it may write, and reads as one that only reads.
    bool mode_unsaid = false;
    std::vector<std::string> bookmarks;
    /// nullopt: the server's default; 0: no time-out.
    std::optional<Duration> timeout;
    Value metadata;  // map or null
    std::string impersonated_user;
    NotificationFilter notifications;
};

/// A statement that is ready to stream.
struct Running {
    std::int64_t statement_id = 0;  // qid; counts from 0 in each explicit transaction
    std::vector<std::string> fields;
    std::string database;  // the resolved name
    std::int64_t available_after_ms = 0;
    /// Another member's whole answer, a SUCCESS message of this connection's version that is passed on as it came; the rest of
    /// this is not filled then. Only where ConnectionInfo::protocol_version is.
    std::string packed;
    /// All is done: the next pull() or discard() of it has no records and only tells how it ended, at once and on any thread.
    bool finished = false;
};

struct Begun {
    std::string database;
};

/// Takes records as they are made. Returns false when it has enough for now (its buffer is full):
/// the pull then completes with PullOutcome::kPaused and is called again once there is room.
class RecordSink {
public:
    virtual ~RecordSink() = default;
    virtual bool record(std::span<const Value> values) = 0;
    /// The same for another member's RECORD message, of a statement whose Running was packed.
    virtual bool packed_record(std::string_view /*message*/) {
        NORNIC_CHECK(false, "a packed record for a sink that takes none");
        return false;
    }
};

enum class PullOutcome : std::uint8_t { kPaused, kHasMore, kFinished };

struct Pulled {
    PullOutcome outcome = PullOutcome::kFinished;
    std::int64_t records = 0;  // handed to the sink by this call
    StatementSummary summary;  // kFinished
    std::string bookmark;      // kFinished and autocommit
    std::string packed;        // kFinished, as Running::packed: instead of the two above
};

struct RoutingTable {
    struct Server {
        std::string role;  // ROUTE, READ, WRITE
        std::vector<std::string> addresses;
    };
    std::int64_t ttl_seconds = 300;
    std::string database;
    std::vector<Server> servers;
};

/// What one connection does after its handshake.
class Session {
public:
    /// Ends whatever runs, rolls back what is open. No call may be in progress.
    virtual ~Session() = default;

    /// kUnauthorized, kAuthRateLimit. Also after logoff().
    virtual void login(const AuthToken& token, Completion<Login> done) = 0;
    virtual void logoff() = 0;

    /// Starts an autocommit statement; it commits when its last record was pulled or discarded.
    virtual void run(std::string query,
                     Value parameters,
                     TransactionOptions options,
                     Completion<Running> done) = 0;

    virtual void begin(TransactionOptions options, Completion<Begun> done) = 0;
    virtual void run_in_transaction(std::string query,
                                    Value parameters,
                                    Completion<Running> done) = 0;
    /// The bookmark.
    virtual void commit(Completion<std::string> done) = 0;
    virtual void rollback(Completion<void> done) = 0;

    /// Up to `count` records (-1: all) of a statement into the sink. statement_id -1: the last one.
    /// An unknown id is kInvalidFormat "No such statement: 7".
    virtual void pull(std::int64_t statement_id,
                      std::int64_t count,
                      RecordSink& sink,
                      Completion<Pulled> done) = 0;
    /// The same without records. Writes still happen in full.
    virtual void discard(std::int64_t statement_id,
                         std::int64_t count,
                         Completion<Pulled> done) = 0;
    /// Statements of the open transaction that still have records, or the autocommit one.
    [[nodiscard]] virtual bool has_open_statement() const = 0;

    /// The version of the data as of the last answer that had a bookmark; it grows with each change. 0: not told.
    [[nodiscard]] virtual std::int64_t data_version() const { return 0; }

    /// Most of what this client asks for is done by another member, and waited for here. Any thread.
    [[nodiscard]] virtual bool waits_elsewhere() const { return false; }
    /// Whether run() with a message of a few KiB, or pull(), may be called on the thread that many connections share: it
    /// neither blocks nor computes for long there, however it ends.
    [[nodiscard]] virtual bool runs_at_once(const std::string& /*query*/, const TransactionOptions& /*options*/) const { return false; }
    [[nodiscard]] virtual bool pulls_at_once() const { return false; }

    virtual void route(Value context,
                       std::vector<std::string> bookmarks,
                       std::string database,
                       std::string impersonated_user,
                       Completion<RoutingTable> done) = 0;

    /// Makes the running call end soon with kTerminated. Any thread, any time, never blocks.
    virtual void interrupt() = 0;
    /// After interrupt() and when no call runs: drops statements, rolls the transaction back and
    /// makes the session usable again.
    virtual void reset() = 0;
};

/// Thread-safe.
class Backend {
public:
    virtual ~Backend() = default;
    virtual std::unique_ptr<Session> open_session(const ConnectionInfo& info) = 0;
    [[nodiscard]] virtual bool authentication_enabled() const = 0;
    /// "Neo4j/5.26.0 …": the Java driver takes no other beginning.
    [[nodiscard]] virtual std::string server_agent() const = 0;
    /// LOGON's advertised_address from 5.8 on.
    [[nodiscard]] virtual std::string advertised_address() const = 0;
};

}  // namespace nornic::bolt
