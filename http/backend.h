// All that http asks of the rest of the product; server implements it, tests mock it.
#pragma once

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

namespace nornic::http {

template <class T>
using Completion = std::function<void(Result<T>)>;

/// Answers of the endpoints that need no query: a status and a text.
struct Document {
    int status = 200;
    std::string json;
    std::string content_type = "application/json";
    std::string allow = {};  // 405: the methods there are
};

/// What an operator asks: paths under /admin/, /info/ and /db/{name}/cluster/.
struct AdminRequest {
    std::string method;
    std::string path;  // decoded, without the query string
    std::string body;
    std::string user;
    std::string client_address;
};

struct Credentials {
    std::string user;
    std::string password;
    bool present = false;
};

struct QueryRequest {
    std::string database;
    std::string statement;
    Value parameters;  // map
    AccessMode mode = AccessMode::kWrite;
    std::vector<std::string> bookmarks;
    bool include_counters = false;
    std::optional<std::string> impersonated_user;
    std::string trace_parent;  // the request's header; empty: none
    std::optional<std::string> consistency;
    std::optional<std::int64_t> data_version;  // no older state will do
    Credentials credentials;                   // of whoever asks, for what another member does for them
};

struct QueryAnswer {
    std::vector<std::string> fields;
    std::vector<std::vector<Value>> rows;  // bounded by the server's limit on a result's bytes
    StatementSummary summary;
    std::vector<std::string> bookmarks;
    std::int64_t data_version = 0;  // 0: not told
};

/// An explicit transaction of the Query API, kept between requests.
struct OpenTransaction {
    std::string id;
    std::string expires;  // RFC 3339
};

/// Calls may compute on the calling thread; each completion is invoked exactly once, on any thread.
class Backend {
public:
    virtual ~Backend() = default;

    /// Neo4j's discovery document for the host that the client asked for.
    virtual Document discovery(const std::string& host) = 0;
    virtual Document health() = 0;
    virtual Document ready() = 0;
    /// 200 only for the member that takes writes, and for one that serves reads beside it; 503 else. For load balancers.
    virtual Document leader_probe() = 0;
    virtual Document replica_probe() = 0;
    /// Prometheus text exposition format.
    virtual std::string metrics() = 0;

    [[nodiscard]] virtual bool authentication_enabled() const = 0;
    /// kUnauthorized, kAuthRateLimit. Gives the user's name.
    virtual Result<std::string> authenticate(const Credentials& credentials) = 0;

    /// The user is authenticated. Paths, methods and answers are the backend's; 404 for what it does not have.
    virtual void admin(AdminRequest request, Completion<Document> done) = 0;

    /// A typed parameter of a temporal type: "Date", "Time", "LocalTime", "OffsetDateTime",
    /// "ZonedDateTime", "LocalDateTime", "Duration" and its ISO 8601 text. kInvalidRequest.
    virtual Result<Value> parse_temporal(std::string_view type, std::string_view text) = 0;

    virtual void query(std::string user, QueryRequest request, Completion<QueryAnswer> done) = 0;
    virtual void begin(std::string user,
                       QueryRequest request,
                       Completion<std::pair<OpenTransaction, QueryAnswer>> done) = 0;
    /// kTransactionNotFound if it is unknown, expired or another user's.
    virtual void query_in(std::string user,
                          std::string transaction,
                          QueryRequest request,
                          Completion<std::pair<OpenTransaction, QueryAnswer>> done) = 0;
    virtual void commit(std::string user,
                        std::string transaction,
                        QueryRequest request,
                        Completion<QueryAnswer> done) = 0;
    virtual void rollback(std::string user, std::string transaction, Completion<void> done) = 0;
};

}  // namespace nornic::http
