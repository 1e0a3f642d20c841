// Sessions on a real instance in this process: what other threads may do to a session's
// transaction.
#include "server/http_backend.h"
#include "server/instance.h"
#include "server/query_session.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace nornic::server {
namespace {

/// Makes a call and waits for its completion.
template <class T>
Result<T> wait(const std::function<void(std::function<void(Result<T>)>)>& call) {
    auto answered = std::make_shared<std::promise<Result<T>>>();
    auto answer = answered->get_future();
    call([answered](Result<T> result) { answered->set_value(std::move(result)); });
    return answer.get();
}

struct Table {
    std::vector<std::vector<Value>> rows;
    [[nodiscard]] std::int64_t number() const { return rows.at(0).at(0).as_integer(); }
};

class Rows final : public bolt::RecordSink {
public:
    bool record(std::span<const Value> values) override {
        table.rows.emplace_back(values.begin(), values.end());
        return true;
    }
    Table table;
};

class SessionsTest : public testing::Test {
protected:
    void SetUp() override {
        directory_ = std::filesystem::temp_directory_path() /
                     fmt::format("sessions_test.{}.{}",
                                 ::getpid(),
                                 testing::UnitTest::GetInstance()->current_test_info()->name());
        std::filesystem::remove_all(directory_);
        env::Source source;
        source.environment = {{"NORNICDB_DATA_DIR", directory_.string()},
                              {"NORNICDB_AUTH", "none"},
                              {"NORNICDB_QUERY_MEMORY_MAX", query_memory_max_}};
        auto loaded = env::load(source);
        ASSERT_TRUE(loaded) << loaded.error().message();
        auto opened = Instance::open(loaded.value(), system_clock());
        ASSERT_TRUE(opened) << opened.error().message();
        instance_ = std::move(opened).value();
        const auto started = instance_->start("127.0.0.1:7687", "127.0.0.1:7474");
        ASSERT_TRUE(started) << started.error().message();
        instance_->pool().start();
    }
    void TearDown() override {
        if (instance_) {
            instance_->pool().stop();
            instance_->close();
        }
        std::filesystem::remove_all(directory_);
    }

    std::unique_ptr<QuerySession> session() {
        auto out = std::make_unique<QuerySession>(*instance_, bolt::ConnectionInfo{});
        out->login_as("tester");
        return out;
    }
    /// An autocommit statement and all its records.
    static Result<Table> run(QuerySession& session, const std::string& query) {
        NORNIC_TRY(
            wait<bolt::Running>([&](auto done) { session.run(query, Value{Map{}}, {}, done); }));
        Rows rows;
        NORNIC_TRY(wait<bolt::Pulled>([&](auto done) { session.pull(-1, -1, rows, done); }));
        return std::move(rows.table);
    }
    static Result<bolt::Running> run_in(QuerySession& session, const std::string& query) {
        return wait<bolt::Running>(
            [&](auto done) { session.run_in_transaction(query, Value{Map{}}, done); });
    }
    static Result<std::string> commit(QuerySession& session) {
        return wait<std::string>([&](auto done) { session.commit(done); });
    }
    static Result<bolt::Begun> begin(QuerySession& session, Duration timeout) {
        bolt::TransactionOptions options;
        options.timeout = timeout;
        return wait<bolt::Begun>([&](auto done) { session.begin(options, done); });
    }
    std::int64_t count(const std::string& label) {
        const auto counted = run(*session(), "MATCH (n:" + label + ") RETURN count(n)");
        return counted ? counted.value().number() : -1;
    }

    std::string query_memory_max_ = "1GiB";
    std::filesystem::path directory_;
    std::unique_ptr<Instance> instance_;
};

class SmallQueriesTest : public SessionsTest {
protected:
    SmallQueriesTest() { query_memory_max_ = "16MiB"; }
};

TEST_F(SessionsTest, ACommitAfterTheTransactionTimedOutIsRefusedAndItsLocksAreGone) {
    const auto late = session();
    ASSERT_TRUE(begin(*late, std::chrono::milliseconds{20}));
    ASSERT_TRUE(run_in(*late, "MERGE (n:Late {id: 1}) SET n.by = 'late'"));
    // It waits for the lock that only the time-out lets go of.
    const auto other = session();
    const auto merged = run(*other, "MERGE (n:Late {id: 1}) SET n.by = 'other' RETURN n.by");
    ASSERT_TRUE(merged) << merged.error().message();
    const auto committed = commit(*late);
    ASSERT_FALSE(committed);
    EXPECT_EQ(committed.error().code(), ErrorCode::kTransactionTimedOutByClient);
    EXPECT_EQ(count("Late"), 1);
}

/// Its client says nothing more, and may not for long.
TEST_F(SessionsTest, LocksOfATransactionThatWasTerminatedAreGone) {
    const auto silent = session();
    ASSERT_TRUE(begin(*silent, {}));
    ASSERT_TRUE(run_in(*silent, "MERGE (n:Held {id: 1}) SET n.by = 'silent'"));
    ASSERT_EQ(instance_->transactions().count(), 1U);
    EXPECT_TRUE(instance_->transactions().terminate(instance_->transactions().all().front()->id, "an administrator asked for it"));
    const auto merged = run(*session(), "MERGE (n:Held {id: 1}) SET n.by = 'other' RETURN n.by");
    ASSERT_TRUE(merged) << merged.error().message();
    const auto committed = commit(*silent);
    ASSERT_FALSE(committed);
    EXPECT_EQ(committed.error().code(), ErrorCode::kTerminated);
    EXPECT_EQ(count("Held"), 1);
}

/// What waits is the transaction within the statement's own, and nothing of that one's would wake it.
TEST_F(SessionsTest, AWaitForALockWithinCallInTransactionsEndsWithItsStatement) {
    const std::vector<std::function<void(QuerySession&)>> ends{
        [](QuerySession& waiting) { waiting.interrupt(); },
        [&](QuerySession&) {
            for (const OpenTransactionPtr& t : instance_->transactions().all()) {
                const std::lock_guard lock{t->text_mutex};
                if (t->query.find("IN TRANSACTIONS") != std::string::npos) {
                    EXPECT_TRUE(instance_->transactions().terminate(t->id, "an administrator asked for it"));
                }
            }
        }};
    ASSERT_TRUE(run(*session(), "CREATE (:L {id: 1}), (:L {id: 2})"));
    for (const auto& end : ends) {
        for (const char* on_error : {"", " ON ERROR CONTINUE"}) {
            const auto holder = session();
            ASSERT_TRUE(begin(*holder, {}));
            ASSERT_TRUE(run_in(*holder, "MATCH (n:L) SET n.by = 'holder'"));
            const auto waiting = session();
            auto outcome = std::async(std::launch::async, [&] {
                return run(*waiting, fmt::format("MATCH (n:L) CALL {{ WITH n SET n.by = 'other' }} IN TRANSACTIONS OF 1 ROW{}", on_error));
            });
            // The holder's, the statement's, and that within.
            while (instance_->engine().stats().open_transactions < 3) {
                std::this_thread::yield();
            }
            end(*waiting);
            EXPECT_EQ(outcome.wait_for(std::chrono::seconds{10}), std::future_status::ready);
            EXPECT_TRUE(wait<void>([&](auto done) { holder->rollback(done); }));
            const auto ended = outcome.get();
            ASSERT_FALSE(ended);
            EXPECT_EQ(ended.error().code(), ErrorCode::kTerminated) << ended.error().message();
        }
    }
    const auto others = run(*session(), "MATCH (n:L {by: 'other'}) RETURN count(n)");
    ASSERT_TRUE(others);
    EXPECT_EQ(others.value().number(), 0);
}

TEST_F(SessionsTest, RowsOfAWriteAreThoseOfItsTransactionWhateverOthersChangeBetweenTwoPulls) {
    ASSERT_TRUE(run(*session(), "CREATE (:A {v: 1})-[:R {v: 1}]->(:B {v: 1})"));
    const auto reader = session();
    ASSERT_TRUE(wait<bolt::Running>([&](auto done) {
        reader->run("MATCH p = (a:A)-[r:R]->(b:B) CREATE (c:C {v: 1}) WITH p, a, r, c UNWIND range(1, 3) AS i RETURN a, [r] AS r, c, p",
                    Value{Map{}},
                    {},
                    done);
    }));
    Rows rows;
    const auto first = wait<bolt::Pulled>([&](auto done) { reader->pull(-1, 1, rows, done); });
    ASSERT_TRUE(first) << first.error().message();
    ASSERT_EQ(first.value().outcome, bolt::PullOutcome::kHasMore);
    ASSERT_TRUE(run(*session(), "MATCH (a:A)-[r:R]->(b:B) MATCH (c:C) SET a.v = 2, a:X, r.v = 2, c.v = 2 DELETE r, b"));
    ASSERT_TRUE(run(*session(), "MATCH (a:A) SET a.v = 3"));
    const auto rest = wait<bolt::Pulled>([&](auto done) { reader->pull(-1, -1, rows, done); });
    ASSERT_TRUE(rest) << rest.error().message();
    EXPECT_FALSE(rest.value().bookmark.empty());
    ASSERT_EQ(rows.table.rows.size(), 3U);
    for (const std::vector<Value>& row : rows.table.rows) {
        for (std::size_t column = 0; column < row.size(); ++column) {
            EXPECT_EQ(to_cypher_text(row[column]), to_cypher_text(rows.table.rows[0][column])) << column;
        }
    }
    EXPECT_NE(to_cypher_text(rows.table.rows[2][0]).find("v: 1"), std::string::npos) << to_cypher_text(rows.table.rows[2][0]);
}

TEST_F(SmallQueriesTest, WhatFailsOncePartsOfItAreCommittedIsNotSaidToBeDoneAgain) {
    const auto session_of_parts = session();
    const auto failed = run(*session_of_parts,
                            "UNWIND [1, 10000000] AS size CALL { WITH size UNWIND range(1, size) AS i WITH collect(toString(i)) AS texts "
                            "CREATE (:Part {n: size(texts)}) } IN TRANSACTIONS OF 1 ROW");
    ASSERT_FALSE(failed);
    EXPECT_EQ(count("Part"), 1);
    EXPECT_EQ(failed.error().code(), ErrorCode::kUnknownCommit) << failed.error().message();
    // What comes next on the connection is another matter.
    bolt::TransactionOptions options;
    options.timeout = std::chrono::milliseconds{10};
    options.bookmarks = {instance_->bookmark(LogIndex{instance_->engine().applied_index().value + 1000})};
    const auto late = wait<bolt::Running>([&](auto done) { session_of_parts->run("RETURN 1", Value{Map{}}, options, done); });
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code(), ErrorCode::kBookmarkTimeout) << late.error().message();
}

/// Between two of them somebody could log in as both, or stop after the first.
TEST_F(SessionsTest, AUserIsRenamedInOneStep) {
    const auto admin = session();
    ASSERT_TRUE(run(*admin, "CREATE USER bob SET PASSWORD 'long enough 1' CHANGE NOT REQUIRED"));
    const LogIndex before = instance_->engine().applied_index();
    const auto renamed = run(*admin, "RENAME USER bob TO alice");
    ASSERT_TRUE(renamed) << renamed.error().message();
    EXPECT_EQ(instance_->engine().applied_index().value, before.value + 1);
    EXPECT_FALSE(instance_->users().authenticate("bob", "long enough 1"));
    EXPECT_TRUE(instance_->users().authenticate("alice", "long enough 1"));
}

TEST_F(SessionsTest, AUserThatIsReplacedInVainIsThereAsBefore) {
    const auto admin = session();
    const auto created = run(*admin, "CREATE USER bob SET PASSWORD 'long enough 1' CHANGE NOT REQUIRED");
    ASSERT_TRUE(created) << created.error().message();
    EXPECT_FALSE(run(*admin, "CREATE OR REPLACE USER bob SET PASSWORD 'short'"));
    EXPECT_TRUE(instance_->users().authenticate("bob", "long enough 1"));
    const auto replaced = run(*admin, "CREATE OR REPLACE USER bob SET PASSWORD 'another one 2' CHANGE NOT REQUIRED");
    ASSERT_TRUE(replaced) << replaced.error().message();
    EXPECT_TRUE(instance_->users().authenticate("bob", "another one 2"));
    EXPECT_FALSE(instance_->users().authenticate("bob", "long enough 1"));
}

TEST_F(SessionsTest, OfTwoChangesOfOneUserAtOnceNoneIsUndone) {
    ASSERT_TRUE(run(*session(), "CREATE USER bob SET PASSWORD 'long enough 0' CHANGE NOT REQUIRED"));
    for (int round = 1; round <= 5; ++round) {
        const bool suspends = round % 2 == 1;
        const std::string password = fmt::format("long enough {}", round);
        std::thread other{[&] {
            const auto altered = run(*session(), fmt::format("ALTER USER bob SET PASSWORD '{}'", password));
            EXPECT_TRUE(altered) << altered.error().message();
        }};
        const auto altered = run(*session(), fmt::format("ALTER USER bob SET STATUS {}", suspends ? "SUSPENDED" : "ACTIVE"));
        EXPECT_TRUE(altered) << altered.error().message();
        other.join();
        EXPECT_EQ(instance_->users().find("bob")->suspended, suspends) << round;
        if (!suspends) {
            EXPECT_TRUE(instance_->users().authenticate("bob", password)) << round;
        }
    }
}

TEST_F(SessionsTest, ATransactionThatTimedOutGivesNoMoreRecords) {
    const auto late = session();
    ASSERT_TRUE(begin(*late, std::chrono::milliseconds{20}));
    ASSERT_TRUE(run_in(*late, "CREATE (:Gone)"));
    ASSERT_TRUE(run_in(*late, "MATCH (n) RETURN n"));
    for (;;) {
        Rows rows;
        const auto pulled = wait<bolt::Pulled>([&](auto done) { late->pull(-1, 0, rows, done); });
        if (!pulled) {
            EXPECT_EQ(pulled.error().code(), ErrorCode::kTransactionTimedOutByClient);
            break;
        }
    }
    late->reset();
    EXPECT_EQ(instance_->transactions().count(), 0U);
    EXPECT_EQ(count("Gone"), 0);
}

/// Deadlocks make sessions exchange their transactions while others list and terminate them.
TEST_F(SessionsTest, TransactionsAreListedAndTerminatedWhileTheirStatementsRunAgain) {
    ASSERT_TRUE(run(*session(), "CREATE (:C {id: 0, n: 0}), (:C {id: 1, n: 0})"));
    constexpr int kWriters = 4;
    constexpr int kRounds = 40;
    std::atomic<int> running{kWriters};
    std::atomic<int> succeeded{0};
    std::vector<std::thread> threads;
    for (int w = 0; w < kWriters; ++w) {
        threads.emplace_back([&, w] {
            const auto mine = session();
            const std::string query = fmt::format(
                "MATCH (a:C {{id: {}}}) SET a.n = a.n + 1 WITH a MATCH (b:C {{id: {}}}) SET b.n = "
                "b.n + 1 RETURN b.n",
                w % 2,
                1 - w % 2);
            for (int i = 0; i < kRounds; ++i) {
                const auto done = run(*mine, query);
                if (done) {
                    succeeded.fetch_add(1);
                } else {
                    EXPECT_EQ(done.error().code(), ErrorCode::kTerminated)
                        << done.error().message();
                    mine->reset();
                }
            }
            running.fetch_sub(1);
        });
    }
    threads.emplace_back([&] {
        const auto watcher = session();
        while (running.load() > 0) {
            EXPECT_TRUE(run(*watcher, "SHOW TRANSACTIONS YIELD *"));
            for (const OpenTransactionPtr& t : instance_->transactions().all()) {
                if (t->number % 7 == 0) {
                    static_cast<void>(instance_->transactions().terminate(
                        t->id, "test"));  // It may be over by now.
                }
            }
        }
    });
    for (std::thread& thread : threads) {
        thread.join();
    }
    const auto ends = run(*session(), "MATCH (c:C) RETURN c.n ORDER BY c.id");
    ASSERT_TRUE(ends);
    EXPECT_EQ(ends.value().rows.at(0).at(0).as_integer(), succeeded.load());
    EXPECT_EQ(ends.value().rows.at(1).at(0).as_integer(), succeeded.load());
    EXPECT_EQ(instance_->transactions().count(), 0U);
}

TEST_F(SessionsTest, AStatementThatRunsAgainIsPlannedByTheRulesOfThen) {
    const auto other = session();
    ASSERT_TRUE(run(*other, "CREATE INDEX d FOR (n:D) ON (n.id)"));
    ASSERT_TRUE(run(*other, "CALL db.awaitIndexes(60)"));
    ASSERT_TRUE(run(*other, "UNWIND range(1, 100) AS i CREATE (:D {id: i})"));
    const auto late = session();
    // Planned here, but what it writes is written when its records are asked for.
    ASSERT_TRUE(wait<bolt::Running>([&](auto done) {
        late->run("MATCH (n:D {id: 1}) SET n.by = 'late' RETURN n.by", Value{Map{}}, {}, done);
    }));
    ASSERT_TRUE(run(*other, "MATCH (n:D {id: 1}) SET n.by = 'other'"));
    ASSERT_TRUE(run(*other, "DROP INDEX d"));
    Rows rows;
    const auto pulled =
        wait<bolt::Pulled>([&](auto done) { late->pull(-1, -1, rows, done); });
    ASSERT_TRUE(pulled) << pulled.error().message();
    EXPECT_EQ(rows.table.rows.at(0).at(0).as_string(), "late");
}

TEST_F(SessionsTest, OneRequestAtATimeUsesAnHttpTransaction) {
    HttpBackend http{*instance_};
    using Begun = std::pair<http::OpenTransaction, http::QueryAnswer>;
    const auto request = [](std::string text) {
        http::QueryRequest out;
        out.statement = std::move(text);
        out.parameters = Value{Map{}};
        return out;
    };
    for (int round = 0; round < 20; ++round) {
        const auto begun =
            wait<Begun>([&](auto done) { http.begin("tester", request("CREATE (:H)"), done); });
        ASSERT_TRUE(begun) << begun.error().message();
        const std::string id = begun.value().first.id;
        std::atomic<int> committed{0};
        std::vector<std::thread> threads;
        for (int i = 0; i < 3; ++i) {
            threads.emplace_back([&] {
                const auto answer = wait<http::QueryAnswer>(
                    [&](auto done) { http.commit("tester", id, request(""), done); });
                if (answer) {
                    committed.fetch_add(1);
                    return;
                }
                EXPECT_TRUE(answer.error().code() == ErrorCode::kInvalidRequest ||
                            answer.error().code() == ErrorCode::kTransactionNotFound)
                    << answer.error().message();
            });
        }
        for (std::thread& thread : threads) {
            thread.join();
        }
        EXPECT_EQ(committed.load(), 1);
    }
    EXPECT_EQ(count("H"), 20);
}

TEST_F(SessionsTest, ARollbackEndsTheRequestThatUsesItsTransaction) {
    HttpBackend http{*instance_};
    using Begun = std::pair<http::OpenTransaction, http::QueryAnswer>;
    const auto request = [](std::string text) {
        http::QueryRequest out;
        out.statement = std::move(text);
        out.parameters = Value{Map{}};
        return out;
    };
    const auto begun =
        wait<Begun>([&](auto done) { http.begin("tester", request("CREATE (:R)"), done); });
    ASSERT_TRUE(begun);
    const std::string id = begun.value().first.id;
    std::thread long_one{[&] {
        for (;;) {
            const auto answer = wait<Begun>([&](auto done) {
                http.query_in("tester",
                              id,
                              request("UNWIND range(1, 1000000000000) AS x RETURN sum(x)"),
                              done);
            });
            ASSERT_FALSE(answer);
            if (answer.error().code() !=
                ErrorCode::kInvalidRequest) {  // A probe was in the transaction: try again.
                EXPECT_EQ(answer.error().code(), ErrorCode::kTerminated)
                    << answer.error().message();
                break;
            }
        }
    }};
    for (;;) {
        const auto probe =
            wait<Begun>([&](auto done) { http.query_in("tester", id, request("RETURN 1"), done); });
        if (!probe) {
            EXPECT_EQ(probe.error().code(), ErrorCode::kInvalidRequest) << probe.error().message();
            break;
        }
        http.expire_idle();
    }
    EXPECT_TRUE(wait<void>([&](auto done) { http.rollback("tester", id, done); }));
    long_one.join();
    const auto gone =
        wait<Begun>([&](auto done) { http.query_in("tester", id, request("RETURN 1"), done); });
    ASSERT_FALSE(gone);
    EXPECT_EQ(gone.error().code(), ErrorCode::kTransactionNotFound);
    EXPECT_EQ(instance_->transactions().count(), 0U);
    EXPECT_EQ(count("R"), 0);
}

}  // namespace
}  // namespace nornic::server
