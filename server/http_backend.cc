#include "server/http_backend.h"

#include "cypher/functions/temporal.h"
#include "cypher/query_error.h"
#include "server/admin.h"
#include "server/assembly.h"
#include "server/consistency.h"
#include "server/session_log.h"
#include "server/status.h"
#include "server/version.h"

#include <boost/asio/dispatch.hpp>
#include <boost/json.hpp>
#include <fmt/format.h>

namespace nornic::server {
namespace {

constexpr std::size_t kAnswerBytesMax = std::size_t{256} << 20;

/// Keeps all records of an answer, up to a limit.
class Collector final : public bolt::RecordSink {
public:
    explicit Collector(http::QueryAnswer& answer) : answer_{answer} {}
    bool record(std::span<const Value> values) override {
        for (const Value& v : values) {
            bytes += sizeof(Value) + v.heap_bytes();
        }
        if (bytes <= kAnswerBytesMax) {
            answer_.rows.emplace_back(values.begin(), values.end());
        }
        return true;
    }
    std::size_t bytes = 0;

private:
    http::QueryAnswer& answer_;
};

bolt::TransactionOptions options_of(const http::QueryRequest& request) {
    bolt::TransactionOptions out;
    out.database = request.database;
    out.mode = request.mode;
    out.bookmarks = request.bookmarks;
    out.impersonated_user = request.impersonated_user.value_or("");
    Map metadata;
    if (request.consistency) {
        metadata.set(std::string{kConsistencyKey}, Value{*request.consistency});
    }
    if (request.data_version) {
        metadata.set(std::string{kDataVersionKey}, Value{*request.data_version});
    }
    if (!request.trace_parent.empty()) {
        metadata.set("traceparent", Value{request.trace_parent});
    }
    if (!metadata.empty()) {
        out.metadata = Value{std::move(metadata)};
    }
    return out;
}

}  // namespace

http::Document HttpBackend::discovery(const std::string& host) {
    // The host the client came by is one it can reach; the ports are ours.
    const auto at = [&](const std::string& address) {
        const auto parsed = env::parse_host_port(address);
        return parsed && !host.empty() ? fmt::format("{}:{}", host, parsed->second) : address;
    };
    const std::string& single = instance_.settings().bolt_routing_address;
    const std::string bolt = env::parse_host_port(single) ? single
                             : instance_.settings().bolt_advertise_address.empty()
                                 ? at(instance_.bolt_address())
                                 : instance_.bolt_address();
    const std::string http = instance_.settings().http_advertise_address.empty()
                                 ? at(instance_.http_address())
                                 : instance_.http_address();
    const std::string scheme = instance_.settings().http_tls.enabled ? "https" : "http";
    return {200,
            boost::json::serialize(boost::json::object{
                {"bolt_routing", "neo4j://" + bolt},
                {"query", fmt::format("{}://{}/db/{{databaseName}}/query/v2", scheme, http)},
                {"transaction", fmt::format("{}://{}/db/{{databaseName}}/tx", scheme, http)},
                {"bolt_direct", "bolt://" + bolt},
                {"neo4j_version", kCompatibleVersion},
                {"neo4j_edition", "community"}})};
}

http::Document HttpBackend::health() {
    return server::health(instance_.member());
}

http::Document HttpBackend::ready() {
    return server::ready(instance_.member());
}

http::Document HttpBackend::leader_probe() {
    return server::leader_probe(instance_.member());
}

http::Document HttpBackend::replica_probe() {
    return server::replica_probe(instance_.member());
}

void HttpBackend::admin(http::AdminRequest request, http::Completion<http::Document> done) {
    constexpr std::string_view kDatabases = "/db/";
    if (request.path.starts_with(kDatabases) && !request.path.starts_with("/db/manage/server/")) {
        const std::string_view rest = std::string_view{request.path}.substr(kDatabases.size());
        if (auto known = instance_.resolve(rest.substr(0, rest.find('/'))); !known) {
            done(known.error());
            return;
        }
    }
    if (instance_.settings().audit_enabled) {
        done = audited(request, std::move(done));
    }
    handle_admin(instance_.member(), request, std::move(done));
}

std::string HttpBackend::metrics() {
    return instance_.metrics().text();
}

bool HttpBackend::authentication_enabled() const {
    return instance_.users().enabled();
}

Result<std::string> HttpBackend::authenticate(const http::Credentials& credentials) {
    if (!instance_.users().enabled()) {
        return credentials.user.empty() ? std::string{"anonymous"} : credentials.user;
    }
    NORNIC_TRY(const User user,
               instance_.users().authenticate(credentials.user, credentials.password));
    if (user.password_change_required) {
        return fail(
            ErrorCode::kForbidden,
            "The credentials are valid but must be changed before this server can be used.");
    }
    return user.name;
}

Result<Value> HttpBackend::parse_temporal(std::string_view type, std::string_view text) {
    const cypher::temporal::Zone utc = cypher::temporal::parse_zone("Z");
    try {
        if (type == "Date") {
            return Value{cypher::temporal::parse_date(text)};
        }
        if (type == "LocalTime") {
            return Value{cypher::temporal::parse_local_time(text)};
        }
        if (type == "Time") {
            return Value{cypher::temporal::parse_time(
                text, utc, instance_.clock().wall_ns() / kNanosPerSecond)};
        }
        if (type == "LocalDateTime") {
            return Value{cypher::temporal::parse_local_date_time(text)};
        }
        if (type == "OffsetDateTime" || type == "ZonedDateTime") {
            return Value{cypher::temporal::parse_date_time(text, utc)};
        }
        if (type == "Duration") {
            return Value{cypher::temporal::parse_duration(text)};
        }
    } catch (const cypher::QueryError& e) {
        return fail(ErrorCode::kInvalidRequest, e.error().message());
    }
    return fail(ErrorCode::kInvalidRequest, fmt::format("there is no type '{}'", type));
}

std::unique_ptr<bolt::Session> HttpBackend::make_session(const std::string& user, const http::Credentials& credentials) {
    bolt::ConnectionInfo info;
    {
        const std::lock_guard lock{mutex_};
        info.connection_id = fmt::format("http-{}", next_session_++);
    }
    info.server_address = instance_.http_address();
    if (may_forward(instance_, info)) {
        auto session = std::make_unique<ForwardingSession>(instance_, forwarding_, info);
        session->login_as(user, {credentials.present ? "basic" : "none", credentials.user, credentials.password, {}, credentials.present});
        return session;
    }
    auto session = std::make_unique<QuerySession>(instance_, info);
    session->login_as(user);
    return session;
}

void HttpBackend::collect(bolt::Session& session,
                          std::shared_ptr<http::QueryAnswer> answer,
                          Answered done) {
    auto collector = std::make_shared<Collector>(*answer);
    session.pull(
        -1,
        -1,
        *collector,
        [answer, collector, &session, done = std::move(done)](Result<bolt::Pulled> pulled) {
            if (!pulled) {
                done(pulled.error());
                return;
            }
            if (collector->bytes > kAnswerBytesMax) {
                done(
                    fail(ErrorCode::kMemoryLimit,
                         fmt::format(
                             "The answer is larger than {} MiB; use Bolt, which streams, or LIMIT.",
                             kAnswerBytesMax >> 20)));
                return;
            }
            answer->summary = std::move(pulled.value().summary);
            if (!pulled.value().bookmark.empty()) {
                answer->bookmarks = {pulled.value().bookmark};
                answer->data_version = session.data_version();
            }
            done(std::move(*answer));
        });
}

void HttpBackend::query(std::string user, http::QueryRequest request, Answered done) {
    const std::shared_ptr<bolt::Session> session = make_session(user, request.credentials);
    bolt::TransactionOptions options = options_of(request);
    session->run(request.statement,
                 request.parameters,
                 std::move(options),
                 [this, session, done = std::move(done)](Result<bolt::Running> running) {
                     if (!running) {
                         done(running.error());
                         return;
                     }
                     auto answer = std::make_shared<http::QueryAnswer>();
                     answer->fields = running.value().fields;
                     collect(*session, answer, [session, done](Result<http::QueryAnswer> result) {
                         done(std::move(result));
                     });
                 });
}

http::OpenTransaction HttpBackend::give_back(const OpenPtr& open) {
    {
        const std::lock_guard lock{mutex_};
        open->in_use = false;
        open->expires = instance_.clock().now() + kTransactionLife;
        if (open->doomed) {
            open_.erase(open->id);  // `open` outlives the lock
        }
    }
    DateTime time;
    time.seconds =
        (instance_.clock().wall_ns() + std::chrono::nanoseconds{kTransactionLife}.count()) /
        kNanosPerSecond;
    return {open->id, to_text(time)};
}

void HttpBackend::begin(
    std::string user,
    http::QueryRequest request,
    http::Completion<std::pair<http::OpenTransaction, http::QueryAnswer>> done) {
    auto open = std::make_shared<Open>();
    open->user = user;
    open->id = make_uuid().substr(0, 8);
    open->session = make_session(user, request.credentials);
    open->in_use = true;
    bolt::TransactionOptions options = options_of(request);
    auto shared = std::make_shared<http::QueryRequest>(std::move(request));
    open->session->begin(
        std::move(options),
        [this, open, shared, done = std::move(done)](Result<bolt::Begun> begun) {
            if (!begun) {
                done(begun.error());
                return;
            }
            {
                const std::lock_guard lock{mutex_};
                open_[open->id] = open;
            }
            if (shared->statement.empty()) {
                done(std::pair{give_back(open), http::QueryAnswer{}});
                return;
            }
            run_in(open, std::move(*shared), [this, open, done](Result<http::QueryAnswer> answer) {
                if (!answer) {
                    forget(open->id);
                    done(answer.error());
                    return;
                }
                done(std::pair{give_back(open), std::move(answer).value()});
            });
        });
}

void HttpBackend::run_in(const OpenPtr& open, http::QueryRequest request, Answered done) {
    open->session->run_in_transaction(
        request.statement,
        request.parameters,
        [this, open, done = std::move(done)](Result<bolt::Running> running) {
            if (!running) {
                done(running.error());
                return;
            }
            auto answer = std::make_shared<http::QueryAnswer>();
            answer->fields = running.value().fields;
            collect(*open->session, answer, done);
        });
}

Result<HttpBackend::OpenPtr> HttpBackend::find(const std::string& user,
                                               const std::string& transaction) {
    const auto it = open_.find(transaction);
    if (it == open_.end() || it->second->user != user || it->second->doomed ||
        (!it->second->in_use && it->second->expires <= instance_.clock().now())) {
        return fail(
            ErrorCode::kTransactionNotFound,
            fmt::format(
                "Unable to locate the transaction '{}'. It may have been terminated or timed out.",
                transaction));
    }
    return it->second;
}

Result<HttpBackend::OpenPtr> HttpBackend::take(const std::string& user,
                                               const std::string& transaction) {
    const std::lock_guard lock{mutex_};
    NORNIC_TRY(OpenPtr open, find(user, transaction));
    if (open->in_use) {
        return fail(ErrorCode::kInvalidRequest, "Another request is using this transaction.");
    }
    open->in_use = true;
    return open;
}

void HttpBackend::forget(const std::string& id) {
    OpenPtr gone;
    const std::lock_guard lock{mutex_};
    const auto it = open_.find(id);
    if (it != open_.end()) {
        gone = it->second;
        open_.erase(it);
    }
}

void HttpBackend::query_in(
    std::string user,
    std::string transaction,
    http::QueryRequest request,
    http::Completion<std::pair<http::OpenTransaction, http::QueryAnswer>> done) {
    auto taken = take(user, transaction);
    if (!taken) {
        done(taken.error());
        return;
    }
    const OpenPtr open = taken.value();
    run_in(open,
           std::move(request),
           [this, open, done = std::move(done)](Result<http::QueryAnswer> answer) {
               if (!answer) {
                   forget(open->id);
                   done(answer.error());
                   return;
               }
               done(std::pair{give_back(open), std::move(answer).value()});
           });
}

void HttpBackend::commit(std::string user,
                         std::string transaction,
                         http::QueryRequest request,
                         Answered done) {
    auto taken = take(user, transaction);
    if (!taken) {
        done(taken.error());
        return;
    }
    const OpenPtr open = taken.value();
    const auto finish = [this, open, done](http::QueryAnswer answer) {
        auto kept = std::make_shared<http::QueryAnswer>(std::move(answer));
        open->session->commit([this, open, kept, done](Result<std::string> bookmark) {
            forget(open->id);
            if (!bookmark) {
                done(bookmark.error());
                return;
            }
            kept->bookmarks = {bookmark.value()};
            kept->data_version = open->session->data_version();
            // A commit may end on a thread of the bus, and an answer with many rows takes its time.
            boost::asio::dispatch(instance_.pool().io(), [kept, done] { done(std::move(*kept)); });
        });
    };
    if (request.statement.empty()) {
        finish({});
        return;
    }
    run_in(open, std::move(request), [this, open, finish, done](Result<http::QueryAnswer> answer) {
        if (!answer) {
            forget(open->id);
            done(answer.error());
            return;
        }
        finish(std::move(answer).value());
    });
}

void HttpBackend::rollback(std::string user, std::string transaction, http::Completion<void> done) {
    OpenPtr open;
    {
        const std::lock_guard lock{mutex_};
        auto found = find(user, transaction);
        if (!found) {
            done(found.error());
            return;
        }
        open = found.value();
        if (open->in_use) {
            // Its own request rolls it back, as nobody else may touch the session.
            open->doomed = true;
            open->session->interrupt();
            done(success());
            return;
        }
        open->in_use = true;
    }
    open->session->rollback([this, open, done = std::move(done)](Result<> result) {
        forget(open->id);
        done(std::move(result));
    });
}

void HttpBackend::expire_idle(Duration life) {
    std::vector<OpenPtr> late;
    {
        const std::lock_guard lock{mutex_};
        const Deadline now = instance_.clock().now();
        for (auto it = open_.begin(); it != open_.end();) {
            if (!it->second->in_use && it->second->expires - kTransactionLife + life <= now) {
                late.push_back(it->second);
                it = open_.erase(it);
            } else {
                ++it;
            }
        }
    }
    // Their sessions roll back as they go.
}

void HttpBackend::close_all() {
    std::map<std::string, OpenPtr> all;
    const std::lock_guard lock{mutex_};
    all.swap(open_);
}

}  // namespace nornic::server
