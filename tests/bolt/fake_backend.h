// A backend for tests over real sockets: a few statements, real waiting, real interruption.
#pragma once

#include "bolt/backend.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>

namespace nornic::bolt {

/// "ROWS n": n rows of one integer. "TEXT n": n rows of 1000 characters. "WAIT": runs until it is
/// interrupted. "FAIL": a syntax error. "ECHO": one row, the parameter x. Password: secret.
class FakeSession final : public Session {
public:
    explicit FakeSession(std::atomic<int>& live) : live_{live} { ++live_; }
    ~FakeSession() override { --live_; }

    void login(const AuthToken& token, Completion<Login> done) override {
        if (token.credentials != "secret") {
            done(fail(ErrorCode::kUnauthorized,
                      "The client is unauthorized due to authentication failure."));
            return;
        }
        done(Login{token.principal, false});
    }
    void logoff() override {}
    void run(std::string query,
             Value parameters,
             TransactionOptions,
             Completion<Running> done) override {
        start(query, parameters, done);
    }
    void begin(TransactionOptions, Completion<Begun> done) override { done(Begun{"neo4j"}); }
    void run_in_transaction(std::string query,
                            Value parameters,
                            Completion<Running> done) override {
        start(query, parameters, done);
    }
    void commit(Completion<std::string> done) override { done(std::string{"FB:1"}); }
    void rollback(Completion<void> done) override { done(success()); }
    void pull(std::int64_t,
              std::int64_t count,
              RecordSink& sink,
              Completion<Pulled> done) override {
        if (query_ == "WAIT") {
            std::unique_lock lock{mutex_};
            changed_.wait(lock, [this] { return interrupted_; });
            done(fail(ErrorCode::kTerminated, {}));
            return;
        }
        Pulled pulled;
        while (left_ > 0) {
            if (pulled.records == count) {
                pulled.outcome = PullOutcome::kHasMore;
                done(std::move(pulled));
                return;
            }
            const Value v =
                query_ == "ECHO" ? echo_ : (query_ == "TEXT" ? text_ : Value{total_ - left_});
            --left_;
            ++pulled.records;
            if (!sink.record({&v, 1})) {
                ++pauses;
                pulled.outcome = PullOutcome::kPaused;
                done(std::move(pulled));
                return;
            }
        }
        pulled.summary.database = "neo4j";
        pulled.summary.records = total_;
        pulled.bookmark = "FB:1";
        done(std::move(pulled));
    }
    void discard(std::int64_t, std::int64_t, Completion<Pulled> done) override {
        left_ = 0;
        done(Pulled{});
    }
    bool has_open_statement() const override { return left_ > 0; }
    void route(Value,
               std::vector<std::string>,
               std::string,
               std::string,
               Completion<RoutingTable> done) override {
        RoutingTable table;
        table.database = "neo4j";
        table.servers = {{"WRITE", {"h:1"}}};
        done(std::move(table));
    }
    void interrupt() override {
        const std::lock_guard lock{mutex_};
        interrupted_ = true;
        changed_.notify_all();
    }
    void reset() override {
        const std::lock_guard lock{mutex_};
        interrupted_ = false;
        left_ = 0;
    }

    static inline std::atomic<int> pauses{0};

private:
    void start(const std::string& query, const Value& parameters, const Completion<Running>& done) {
        if (query == "FAIL") {
            done(fail(ErrorCode::kSyntaxError, "Invalid input"));
            return;
        }
        query_ = query.substr(0, 4);
        total_ = query.size() > 5 ? std::stoll(query.substr(5)) : 1;
        left_ = total_;
        const Value* x = parameters.as_map().find("x");
        echo_ = x == nullptr ? Value{} : *x;
        done(Running{0, {"n"}, "neo4j", 0});
    }
    std::atomic<int>& live_;
    std::string query_;
    std::int64_t total_ = 0;
    std::int64_t left_ = 0;
    Value echo_;
    Value text_{std::string(1000, 'x')};
    std::mutex mutex_;
    std::condition_variable changed_;
    bool interrupted_ = false;
};

class FakeBackend final : public Backend {
public:
    std::unique_ptr<Session> open_session(const ConnectionInfo&) override {
        return std::make_unique<FakeSession>(live);
    }
    bool authentication_enabled() const override { return true; }
    std::string server_agent() const override { return "Neo4j/5.26.0"; }
    std::string advertised_address() const override { return "localhost:7687"; }
    std::atomic<int> live{0};
};

}  // namespace nornic::bolt
