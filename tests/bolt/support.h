// A conversation over in-memory buffers, a mocked backend, and messages as text.
#pragma once

#include "bolt/backend.h"
#include "bolt/conversation.h"
#include "bolt/framing.h"
#include "bolt/messages.h"
#include "bolt/packstream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::bolt {

class MockSession : public Session {
public:
    MOCK_METHOD(void, login, (const AuthToken&, Completion<Login>), (override));
    MOCK_METHOD(void, logoff, (), (override));
    MOCK_METHOD(void,
                run,
                (std::string, Value, TransactionOptions, Completion<Running>),
                (override));
    MOCK_METHOD(void, begin, (TransactionOptions, Completion<Begun>), (override));
    MOCK_METHOD(void, run_in_transaction, (std::string, Value, Completion<Running>), (override));
    MOCK_METHOD(void, commit, (Completion<std::string>), (override));
    MOCK_METHOD(void, rollback, (Completion<void>), (override));
    MOCK_METHOD(void,
                pull,
                (std::int64_t, std::int64_t, RecordSink&, Completion<Pulled>),
                (override));
    MOCK_METHOD(void, discard, (std::int64_t, std::int64_t, Completion<Pulled>), (override));
    MOCK_METHOD(bool, has_open_statement, (), (const, override));
    MOCK_METHOD(
        void,
        route,
        (Value, std::vector<std::string>, std::string, std::string, Completion<RoutingTable>),
        (override));
    MOCK_METHOD(void, interrupt, (), (override));
    MOCK_METHOD(void, reset, (), (override));
};

class MockBackend : public Backend {
public:
    MOCK_METHOD(std::unique_ptr<Session>, open_session, (const ConnectionInfo&), (override));
    MOCK_METHOD(bool, authentication_enabled, (), (const, override));
    MOCK_METHOD(std::string, server_agent, (), (const, override));
    MOCK_METHOD(std::string, advertised_address, (), (const, override));
};

/// Collects what is written. `blocked` makes it a peer that does not read.
class BufferTransport final : public Transport {
public:
    std::size_t write(std::string& bytes) override {
        output += bytes;
        bytes.clear();
        ++writes;
        return blocked ? output.size() : 0;
    }
    bool drained_or_notify() override { return !blocked; }
    void close() override { closed = true; }
    void resume_input() override { input_resumed = true; }
    void post(std::function<void()> task) override { tasks.push_back(std::move(task)); }
    std::shared_ptr<void> share() override { return {}; }
    void run_tasks() {
        while (!tasks.empty()) {
            auto task = std::move(tasks.front());
            tasks.pop_front();
            task();
        }
    }

    std::string output;
    int writes = 0;
    bool blocked = false;
    bool closed = false;
    bool input_resumed = false;
    std::deque<std::function<void()>> tasks;
};

/// One framed request.
std::string request(MessageTag tag, const std::vector<Value>& fields = {}, Dialect dialect = {});
/// A string of bytes from hexadecimal digits; blanks are skipped.
std::string bytes_of(std::string_view hex);
std::string hex_of(std::string_view bytes);
/// "SUCCESS {…}", "RECORD […]", "IGNORED", "FAILURE {…}", in Cypher's notation.
std::vector<std::string> answers_of(std::string_view output, Dialect dialect);
Map map_of(std::initializer_list<Map::Entry> entries);

/// A conversation in a given version, with a session that works: it logs anyone in, runs
/// statements of one column `n` and the rows in `rows`, and commits with bookmark "FB:kcw=".
class ConversationTest : public ::testing::Test {
protected:
    explicit ConversationTest(Version version = {5, 8}) { start(version); }

    void start(Version version, bool by_manifest = false);
    /// HELLO and, where there is one, LOGON; their answers are dropped.
    void log_in();
    /// Sends messages in one piece and returns the answers.
    std::vector<std::string> send(const std::vector<std::string>& requests);
    std::vector<std::string> take_answers();

    static std::string hello(Map extra = {});
    static std::string logon() {
        return request(
            MessageTag::kLogon,
            {map_of({{"scheme", "basic"}, {"principal", "neo4j"}, {"credentials", "secret"}})});
    }
    static std::string run(std::string_view query = "RETURN 1 AS n",
                           Map parameters = {},
                           Map extra = {}) {
        return request(MessageTag::kRun, {query, std::move(parameters), std::move(extra)});
    }
    static std::string begin(Map extra = {}) {
        return request(MessageTag::kBegin, {std::move(extra)});
    }
    static std::string pull(std::int64_t n = -1) {
        return request(MessageTag::kPull, {map_of({{"n", n}})});
    }
    static std::string discard(std::int64_t n = -1) {
        return request(MessageTag::kDiscard, {map_of({{"n", n}})});
    }
    static std::string reset() { return request(MessageTag::kReset); }
    static std::string commit() { return request(MessageTag::kCommit); }
    static std::string rollback() { return request(MessageTag::kRollback); }

    void play_working_session(::testing::NiceMock<MockSession>& session);

    Dialect dialect_;
    ::testing::NiceMock<MockBackend> backend_;
    ConversationSettings settings_;
    Metrics metrics_;
    BufferTransport transport_;
    ::testing::NiceMock<MockSession>* session_ = nullptr;  // from HELLO to the end of the connection
    std::unique_ptr<Conversation> conversation_;
    ConnectionInfo info_seen_;
    std::vector<List> rows_;
    std::size_t next_row_ = 0;
    StatementSummary summary_;
    std::int64_t next_statement_ = 0;
    std::vector<std::string> fields_{"n"};
};

}  // namespace nornic::bolt
