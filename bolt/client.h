// A small blocking Bolt client, for the shell, for a member that forwards writes and for tests. It speaks 5.0 to 5.8 and 4.4.
//
// One thread at a time, except interrupt(), which any thread may call at any time.
#pragma once

#include "base/result.h"
#include "bolt/version.h"
#include "graph/value.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::bolt {

struct ClientSettings {
    std::string host = "127.0.0.1";
    std::uint16_t port = 7687;
    /// "basic", "bearer" or "none"; empty: basic if there is a user, else none.
    std::string scheme;
    std::string user;
    std::string password;
    bool tls = false;
    /// PEM file of the authorities to trust; empty: the system's.
    std::string tls_ca_file;
    /// false takes any certificate (bolt+ssc://).
    bool tls_verify = true;
    /// PEM files this client proves itself with, where the server asks for that.
    std::string tls_cert_file;
    std::string tls_key_file;
    /// Speaks Bolt inside WebSocket frames, as a browser does.
    bool websocket = false;
    std::string user_agent = "nornicdb-shell/1.0";
    /// HELLO's routing context; null: bolt://, no routing.
    Value routing;
    /// Offers this version alone; unset: the newest the server has, by manifest.
    std::optional<Version> only_version;
    /// Offers this version before the others.
    std::optional<Version> first_version;
    std::chrono::milliseconds connect_timeout{10'000};
    /// The longest silence while an answer is due (the server sends keep-alives); 0: for ever.
    std::chrono::milliseconds receive_timeout{0};
    /// Asked some times a second while an answer is due; false: nobody waits for it any more, and the connection is given
    /// up. Empty: not asked.
    std::function<bool()> still_wanted;
};

/// What the server said when it refused.
struct ServerFailure {
    std::string code;  // "Neo.ClientError.Statement.SyntaxError"
    std::string message;
    std::string gql_status;   // from 5.7 on
    std::string description;  // from 5.7 on
    Value details;            // the whole FAILURE map
};

struct RunOptions {
    std::string database;  // empty: the home database
    bool read_only = false;
    std::vector<std::string> bookmarks;
    std::optional<std::chrono::milliseconds> timeout;
    Value metadata;  // map or null
    std::string impersonated_user;
    /// Records asked for at a time.
    std::int64_t fetch_size = 1000;
};

class Client {
public:
    /// Connects, shakes hands and logs in. kUnauthorized if the server refuses the login, with its
    /// code as hint; kIo if it cannot be reached; kUnsupported without a common version.
    static Result<std::unique_ptr<Client>> connect(const ClientSettings& settings);

    /// Says GOODBYE.
    ~Client();
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    /// Runs a statement, in the open transaction if there is one (options are then not looked at),
    /// else autocommit. Returns its columns. A result that is still open is thrown away first.
    /// An error of the server comes as kExecutionFailed with its text as message and its code as
    /// hint, see last_failure(); kIo: the connection is lost. The session is then usable again
    /// (the client sent RESET), an open transaction is gone.
    Result<std::vector<std::string>> run(std::string query,
                                         Map parameters = {},
                                         const RunOptions& options = {});

    /// The next record, or nullopt after the last one; then summary() is filled.
    Result<std::optional<List>> next();

    /// Throws the rest of the result away; writes still happen in full.
    Result<> consume();

    /// The metadata of the last finished result: type, stats, plan, profile, notifications or
    /// statuses, t_first, t_last, db, bookmark.
    [[nodiscard]] const Map& summary() const;

    Result<> begin(const RunOptions& options = {});
    /// The bookmark.
    Result<std::string> commit();
    Result<> rollback();
    [[nodiscard]] bool in_transaction() const;
    /// Whether anything of the last send() or commit() has left. If not, the server has done nothing of it, though the
    /// connection is lost.
    [[nodiscard]] bool has_left() const;

    // ---- One request at a time, for who passes on what others ask. Answers are messages as they came, good until the next
    // call; unpack_record() and unpack_metadata() tell what is in them. ----

    /// RUN and the first PULL in one write. Other results of the transaction stay open.
    Result<> send(const std::string& query, const Map& parameters, const RunOptions& options);
    /// RUN's SUCCESS.
    Result<std::string_view> started();
    /// Whether started() and read() would return so many messages in all without waiting and without an error; takes what has
    /// come meanwhile.
    bool has_arrived(std::size_t messages);
    /// Of the socket, for who waits until something has come.
    [[nodiscard]] int descriptor() const;
    /// PULL or DISCARD (n -1: all) of an open result, once read() has given the end of the last one.
    enum class Want : std::uint8_t { kRecords, kNone };
    Result<> ask(Want want, std::int64_t n, std::int64_t statement_id);
    struct Piece {
        bool is_record = false;
        std::string_view message;
    };
    /// The next RECORD of what send() or ask() asked for, or after the last the SUCCESS: {has_more: true} or that of the
    /// whole result.
    Result<Piece> read();
    /// An idle connection that the server has not closed meanwhile. Asks nothing of the server.
    bool is_idle();
    /// Closes without a word: what runs there is ended and rolled back.
    void abandon();

    /// The routing table: {ttl, db, servers}.
    Result<Value> route(const std::string& database = {});
    /// RESET: drops results, rolls back.
    Result<> reset();
    /// Logs in as somebody else on this connection (from 5.1 on).
    Result<> logon(const std::string& user, const std::string& password);

    /// Makes the running statement fail with Neo.ClientError.Transaction.Terminated: sends RESET
    /// past it. Any thread; does nothing while no call waits for an answer.
    void interrupt();

    /// What the last error of the server said; nullopt if the last error was not the server's.
    [[nodiscard]] const std::optional<ServerFailure>& last_failure() const;

    [[nodiscard]] Version version() const;
    [[nodiscard]] const Dialect& dialect() const;
    /// HELLO's answer: server, connection_id, hints.
    [[nodiscard]] const Map& server_info() const;
    /// False once the connection is lost.
    [[nodiscard]] bool is_open() const;

private:
    struct Impl;
    explicit Client(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

/// The values of a RECORD, the map of a SUCCESS. kIo: it cannot be read.
Result<List> unpack_record(std::string_view message, const Dialect& dialect);
Result<Map> unpack_metadata(std::string_view message, const Dialect& dialect);

}  // namespace nornic::bolt
