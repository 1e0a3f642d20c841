// Three members of a Raft group in this process, each behind a Bolt port: what a client that does not route is answered by
// one that takes no writes.
#include "bolt/client.h"
#include "bolt/server.h"
#include "server/bolt_backend.h"
#include "server/forwarding.h"
#include "tests/server/members.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <array>
#include <atomic>
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace nornic::server {
namespace {

using namespace std::chrono_literals;

struct Listening {
    DataMember member;
    std::unique_ptr<BoltBackend> backend;
    std::unique_ptr<bolt::Server> bolt;

    void hang_up() {
        if (bolt) {
            bolt->stop(system_clock().now());
        }
    }
    void stop() {
        hang_up();
        if (member.instance) {
            member.instance->set_bolt_server(nullptr);
        }
        bolt.reset();  // before the member's io_context
        member.stop();
        backend.reset();
    }
};

/// Takes so many records and then wants a pause.
class Sipping final : public bolt::RecordSink {
public:
    bool record(std::span<const Value> values) override {
        seen.push_back(values[0].as_integer());
        return seen.size() % 7 != 0;
    }
    std::vector<std::int64_t> seen;
};

class ForwardingTest : public testing::Test {
protected:
    static constexpr std::size_t kMembers = 3;

    void SetUp() override {
        ports_ = free_ports(2 * kMembers);
        directory_ = std::filesystem::temp_directory_path() /
                     fmt::format("forwarding_test.{}.{}",
                                 ::getpid(),
                                 testing::UnitTest::GetInstance()->current_test_info()->name());
        std::filesystem::remove_all(directory_);
    }
    void TearDown() override {
        session_.reset();
        for (Listening& one : members_) {
            one.stop();
        }
        std::filesystem::remove_all(directory_);
    }
    void start(std::size_t index, const std::string& follower_writes) {
        std::string peers;
        for (std::size_t i = 0; i < kMembers; ++i) {
            peers += fmt::format("{}node-{}:{}:{}", peers.empty() ? "" : ",", i, host(i), ports_[i]);
        }
        env::Source source;
        source.environment = {{"NORNICDB_DATA_DIR", directory_ / std::to_string(index)},
                              {"NORNICDB_AUTH", "none"},
                              {"NORNICDB_FOLLOWER_WRITES", follower_writes},
                              {"NORNICDB_CLUSTER_MODE", "raft"},
                              {"NORNICDB_CLUSTER_NODE_ID", fmt::format("node-{}", index)},
                              {"NORNICDB_FOLLOWER_WRITES_PORT", shown_elsewhere_ ? std::to_string(ports_[kMembers]) : "0"},
                              {"NORNICDB_CLUSTER_BIND_ADDR", fmt::format("{}:{}", host(index), ports_[index])},
                              {"NORNICDB_CLUSTER_RAFT_PEERS", peers},
                              {"NORNICDB_CLUSTER_RAFT_BOOTSTRAP", index == 0 ? "true" : "false"},
                              {"NORNICDB_CLUSTER_RAFT_ELECTION_TIMEOUT", "300ms"},
                              {"NORNICDB_CLUSTER_RAFT_HEARTBEAT_TIMEOUT", "30ms"},
                              {"NORNICDB_CLUSTER_REPLICATION_SECRET", "0123456789abcdef0123456789abcdef"}};
        const auto loaded = env::load(source);
        ASSERT_TRUE(loaded) << loaded.error().message();
        Listening& one = members_[index];
        auto opened = Instance::open(loaded.value(), system_clock());
        ASSERT_TRUE(opened) << opened.error().message();
        one.member.instance = std::move(opened).value();
        Instance& instance = *one.member.instance;
        one.backend = std::make_unique<BoltBackend>(instance);
        one.member.http = std::make_unique<HttpBackend>(instance);
        bolt::Settings settings;
        settings.address = host(index);
        settings.port = ports_[shown_elsewhere_ ? kMembers : kMembers + index];
        settings.blocking_scope = &instance.pool();
        auto bolt = bolt::Server::start(instance.pool().io(), settings, *one.backend);
        ASSERT_TRUE(bolt) << bolt.error().message();
        one.bolt = std::move(bolt).value();
        const auto started =
            instance.start(shown_elsewhere_ ? "clients.invalid:1" : fmt::format("127.0.0.1:{}", settings.port), "127.0.0.1:1");
        ASSERT_TRUE(started) << started.error().message();
        instance.set_bolt_server(one.bolt.get());
        instance.pool().start();
    }
    void form(const std::string& follower_writes = "forward") {
        for (std::size_t i = 0; i < kMembers; ++i) {
            start(i, follower_writes);
        }
        ASSERT_TRUE(eventually([&] {
            return leader() != nullptr && std::ranges::all_of(members_, [](const Listening& one) {
                       return one.member.http->ready().status == 200;
                   });
        }));
    }
    Listening* leader() {
        const auto found = std::ranges::find_if(
            members_, [](const Listening& one) { return one.member.instance && one.member.instance->replica().term() != Term{0}; });
        return found == members_.end() ? nullptr : &*found;
    }
    Listening& follower() {
        const Listening* leads = leader();
        return *std::ranges::find_if(members_, [&](const Listening& one) { return one.member.instance && &one != leads; });
    }
    /// A client's session, as the Bolt listener opens it.
    bolt::Session& connect(Listening& to, Value routing = {}) {
        bolt::ConnectionInfo info;
        info.connection_id = "bolt-1";
        info.client_address = "127.0.0.1:5";
        info.routing_context = std::move(routing);
        session_ = to.backend->open_session(info);
        bolt::AuthToken token;
        token.scheme = "none";
        EXPECT_TRUE(wait<bolt::Login>([&](auto done) { session_->login(token, done); }));
        return *session_;
    }
    Result<bolt::Running> start_statement(const std::string& query, bolt::TransactionOptions options = {}) {
        return wait<bolt::Running>([&](auto done) { session_->run(query, Value{Map{}}, options, done); });
    }
    Result<bolt::Pulled> pull(bolt::RecordSink& sink, std::int64_t count = -1, std::int64_t id = -1) {
        return wait<bolt::Pulled>([&](auto done) { session_->pull(id, count, sink, done); });
    }
    Result<Answer> run(const std::string& query, bolt::TransactionOptions options = {}) {
        NORNIC_TRY(start_statement(query, std::move(options)));
        Rows rows;
        NORNIC_TRY(const auto pulled, pull(rows));
        return Answer{std::move(rows.rows), pulled.bookmark};
    }
    Result<> begin() {
        NORNIC_TRY(wait<bolt::Begun>([&](auto done) { session_->begin({}, done); }));
        return success();
    }
    Result<bolt::Running> run_in(const std::string& query) {
        return wait<bolt::Running>([&](auto done) { session_->run_in_transaction(query, Value{Map{}}, done); });
    }
    Result<std::string> commit() {
        return wait<std::string>([&](auto done) { session_->commit(done); });
    }
    std::int64_t count_at(Listening& one, const std::string& label) {
        const auto read = one.member.run(fmt::format("MATCH (n:{}) RETURN count(n)", label));
        EXPECT_TRUE(read) << read.error().message();
        return read ? read.value().rows[0][0].as_integer() : -1;
    }
    std::string metrics(Listening& one) const { return one.member.instance->metrics().text(); }

    [[nodiscard]] std::string host(std::size_t index) const {
        return fmt::format("127.0.0.{}", shown_elsewhere_ ? index + 1 : 1);
    }

    /// As containers are: each on a host of its own with the same ports, while clients know them by addresses that
    /// members cannot reach.
    bool shown_elsewhere_ = false;
    std::filesystem::path directory_;
    std::vector<std::uint16_t> ports_;
    std::array<Listening, kMembers> members_;
    std::unique_ptr<bolt::Session> session_;
};

TEST_F(ForwardingTest, AWriteOnAFollowerRunsAtTheLeaderAndTheNextReadOnTheConnectionSeesIt) {
    form();
    connect(follower());
    bolt::TransactionOptions reading;
    reading.mode = AccessMode::kRead;
    for (std::int64_t n = 1; n <= 30; ++n) {
        ASSERT_TRUE(start_statement("CREATE (p:P) SET p.n = 1 RETURN p"));
        Rows rows;
        const auto pulled = pull(rows);
        ASSERT_TRUE(pulled) << pulled.error().message();
        EXPECT_EQ(pulled.value().outcome, bolt::PullOutcome::kFinished);
        EXPECT_EQ(pulled.value().summary.counters.nodes_created, 1);
        EXPECT_EQ(pulled.value().summary.database, "neo4j");
        EXPECT_EQ(pulled.value().summary.type, StatementType::kReadWrite);
        EXPECT_FALSE(pulled.value().bookmark.empty());
        ASSERT_EQ(rows.rows.size(), 1U);
        EXPECT_EQ(rows.rows[0][0].type(), ValueType::kNode);
        // Of access mode READ and without a bookmark: answered here.
        const auto read = run("MATCH (p:P) RETURN count(p)", reading);
        ASSERT_TRUE(read) << read.error().message();
        EXPECT_EQ(read.value().rows[0][0].as_integer(), n);
    }
    EXPECT_EQ(count_at(*leader(), "P"), 30);
    EXPECT_NE(metrics(follower()).find("nornicdb_forwarded_statements_total{outcome=\"done\"} 30"), std::string::npos);
}

TEST_F(ForwardingTest, AMemberThatShowsClientsAnAddressOfTheirsIsReachedAtThatOfItsCluster) {
    shown_elsewhere_ = true;
    form();
    connect(follower());
    const auto written = run("CREATE (:P) RETURN 1");
    ASSERT_TRUE(written) << written.error().message();
    EXPECT_EQ(count_at(*leader(), "P"), 1);
}

TEST_F(ForwardingTest, AnExplicitTransactionIsTheLeadersFromItsBeginOn) {
    form();
    connect(follower());
    ASSERT_TRUE(begin());
    ASSERT_TRUE(run_in("CREATE (:P)"));
    const auto second = run_in("UNWIND range(1, 2500) AS i RETURN i");
    ASSERT_TRUE(second) << second.error().message();
    EXPECT_EQ(second.value().statement_id, 1);
    EXPECT_EQ(second.value().fields, std::vector<std::string>{"i"});
    // Results stay open side by side.
    const auto third = run_in("UNWIND range(1, 5) AS i RETURN -i");
    ASSERT_TRUE(third) << third.error().message();
    Rows some;
    ASSERT_TRUE(pull(some, 3, 1));
    Rows others;
    ASSERT_TRUE(pull(others, -1, 2));
    EXPECT_EQ(others.rows.size(), 5U);
    ASSERT_TRUE(pull(some, -1, 1));
    ASSERT_EQ(some.rows.size(), 2500U);
    for (std::int64_t i = 0; i < 2500; ++i) {
        ASSERT_EQ(some.rows[static_cast<std::size_t>(i)][0].as_integer(), i + 1);
    }
    EXPECT_EQ(count_at(*leader(), "P"), 0);
    const auto bookmark = commit();
    ASSERT_TRUE(bookmark) << bookmark.error().message();
    EXPECT_EQ(count_at(*leader(), "P"), 1);

    ASSERT_TRUE(begin());
    ASSERT_TRUE(run_in("CREATE (:P)"));
    ASSERT_TRUE(wait<void>([&](auto done) { session_->rollback(done); }));
    EXPECT_EQ(count_at(*leader(), "P"), 1);
    EXPECT_FALSE(session_->has_open_statement());
}

TEST_F(ForwardingTest, RecordsComeInOrderHoweverTheyAreAskedFor) {
    form();
    connect(follower());
    ASSERT_TRUE(start_statement("UNWIND range(0, 4999) AS i CREATE (:P {i: i}) RETURN i"));
    Sipping sink;
    std::int64_t handed = 0;
    auto outcome = bolt::PullOutcome::kHasMore;
    for (int turn = 0; outcome != bolt::PullOutcome::kFinished; ++turn) {
        const std::int64_t wanted = turn % 3 == 0 ? 1 : 1300;
        std::int64_t got = 0;
        do {
            const auto pulled = pull(sink, wanted - got);
            ASSERT_TRUE(pulled) << pulled.error().message();
            got += pulled.value().records;
            outcome = pulled.value().outcome;
        } while (outcome == bolt::PullOutcome::kPaused && got < wanted);
        EXPECT_LE(got, wanted);
        handed += got;
    }
    EXPECT_EQ(handed, 5000);
    ASSERT_EQ(sink.seen.size(), 5000U);
    for (std::size_t i = 0; i < sink.seen.size(); ++i) {
        ASSERT_EQ(sink.seen[i], static_cast<std::int64_t>(i));
    }
    // Thrown away, whether it came along or is still at the leader.
    ASSERT_TRUE(start_statement("UNWIND range(0, 4999) AS i CREATE (:Q {i: i}) RETURN i"));
    const auto discarded = wait<bolt::Pulled>([&](auto done) { session_->discard(-1, -1, done); });
    ASSERT_TRUE(discarded) << discarded.error().message();
    EXPECT_EQ(discarded.value().outcome, bolt::PullOutcome::kFinished);
    EXPECT_EQ(discarded.value().summary.counters.nodes_created, 5000);
}

TEST_F(ForwardingTest, AFailureOfTheLeaderIsItsOwnWordForWord) {
    form();
    ASSERT_TRUE(leader()->member.run("CREATE CONSTRAINT one FOR (p:P) REQUIRE p.id IS UNIQUE"));
    ASSERT_TRUE(leader()->member.run("CREATE (:P {id: 1})"));
    connect(follower());
    for (const char* query : {"CREATE (:P {id: 1})", "CREATE (:P {id: 1 / 0})", "CREATE (p:P {id: 2}) RETURN p.id + date()"}) {
        const auto direct = leader()->member.run(query);
        const auto forwarded = run(query);
        ASSERT_FALSE(direct) << query;
        ASSERT_FALSE(forwarded) << query;
        const Failure want = to_failure(direct.error());
        const Failure got = to_failure(forwarded.error());
        EXPECT_EQ(got.code, want.code);
        EXPECT_EQ(got.gql_status, want.gql_status);
        EXPECT_EQ(got.message.substr(0, 20), want.message.substr(0, 20));
        session_->reset();
    }
    // The connection goes on, in transactions as well.
    ASSERT_TRUE(begin());
    ASSERT_FALSE(run_in("CREATE (:P {id: 1})"));
    session_->reset();
    ASSERT_TRUE(run("CREATE (:P {id: 3})"));
    EXPECT_EQ(count_at(*leader(), "P"), 2);
}

TEST_F(ForwardingTest, ReadsSyntaxErrorsAndRoutingClientsAreAnsweredHere) {
    form();
    connect(follower());
    ASSERT_TRUE(run("MATCH (n) RETURN count(n)"));
    ASSERT_TRUE(run("EXPLAIN CREATE (:P)"));
    const auto wrong = run("CREATE (:P");
    ASSERT_FALSE(wrong);
    EXPECT_EQ(wrong.error().code(), ErrorCode::kSyntaxError);
    bolt::TransactionOptions reading;
    reading.mode = AccessMode::kRead;
    const auto refused = run("CREATE (:P)", reading);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kAccessMode);
    EXPECT_NE(metrics(follower()).find("nornicdb_forwarded_statements_total{outcome=\"done\"} 0"), std::string::npos);

    connect(follower(), Value{Map{}});
    const auto sent_away = run("CREATE (:P)");
    ASSERT_FALSE(sent_away);
    EXPECT_EQ(sent_away.error().code(), ErrorCode::kNotLeader);
    EXPECT_EQ(sent_away.error().hint(), leader()->member.instance->bolt_address());
}

TEST_F(ForwardingTest, ARoutingConnectionThatIsSentAwayAgainIsClosedOnceItsNextTransactionHasEnded) {
    form();
    Instance& instance = *follower().member.instance;
    BoltBackend& backend = *follower().backend;
    boost::asio::io_context io;
    bolt::Settings own;
    own.port = 0;
    auto started = bolt::Server::start(io, own, backend);
    ASSERT_TRUE(started) << started.error().message();
    bolt::Server& server = *started.value();
    bolt::Server* const before = instance.bolt_server();
    instance.set_bolt_server(&server);
    std::thread serving{[&] { io.run(); }};
    bolt::ClientSettings settings;
    settings.port = server.port();
    settings.routing = Value{Map{}};
    settings.receive_timeout = 20s;
    auto client = bolt::Client::connect(settings);
    EXPECT_TRUE(client);
    bolt::RunOptions writing;
    writing.metadata = Value{Map{{"consistency", Value{"ONE"}}}};  // waits for nothing in the pool
    bolt::RunOptions reading = writing;
    reading.read_only = true;

    // The pool, which is to close it, comes to that when the connection is in use again.
    std::promise<void> in_use;
    const std::shared_future<void> until = in_use.get_future().share();
    std::atomic<std::size_t> held{0};
    const std::size_t threads = instance.pool().threads();
    for (std::size_t i = 0; i < threads; ++i) {
        boost::asio::post(instance.pool().io(), [&held, until] {
            ++held;
            until.wait();
        });
    }
    EXPECT_TRUE(eventually([&] { return held == threads; }));
    for (int i = 0; i < 2; ++i) {
        EXPECT_FALSE(client.value()->begin(writing));
        EXPECT_EQ(client.value()->last_failure().value_or(bolt::ServerFailure{}).code, "Neo.ClientError.Cluster.NotALeader");
    }
    EXPECT_TRUE(client.value()->begin(reading));
    std::promise<void> told;
    boost::asio::post(instance.pool().io(), [&] { told.set_value(); });
    in_use.set_value();
    told.get_future().wait();
    EXPECT_TRUE(client.value()->run("MATCH (n) RETURN count(n)"));
    EXPECT_TRUE(client.value()->commit());
    EXPECT_TRUE(eventually([&] { return !client.value()->is_idle(); }));

    instance.set_bolt_server(before);
    server.stop(system_clock().now());
    serving.join();
}

TEST_F(ForwardingTest, WithRejectAWriteIsRefusedInTheWordsOfTheGuide) {
    form("reject");
    connect(follower());
    const auto refused = run("CREATE (:P)");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kNotLeader);
    EXPECT_TRUE(refused.error().message().starts_with(
        "No write operations are allowed directly on this database. Writes must pass through the leader. The role of this "
        "server is: FOLLOWER"));
}

TEST_F(ForwardingTest, ACommitWhoseAnswerIsLostIsUnknown) {
    form();
    connect(follower());
    ASSERT_TRUE(begin());
    ASSERT_TRUE(run_in("CREATE (:P)"));
    Listening& leads = *leader();
    ASSERT_EQ(leads.member.instance->transactions().count(), 1U);
    const OpenTransactionPtr there = leads.member.instance->transactions().all().front();
    std::unique_lock use{there->use};  // the leader gets no further
    const std::uint64_t received = leads.bolt->metrics().bytes_received.load();
    auto outcome = std::async(std::launch::async, [&] { return commit(); });
    EXPECT_TRUE(eventually([&] { return leads.bolt->metrics().bytes_received.load() > received; }));
    leads.hang_up();
    const auto committed = outcome.get();
    use.unlock();
    ASSERT_FALSE(committed);
    EXPECT_EQ(committed.error().code(), ErrorCode::kUnknownCommit) << committed.error().message();
    EXPECT_NE(metrics(follower()).find("nornicdb_forwarded_statements_total{outcome=\"unknown\"} 1"), std::string::npos);
}

TEST_F(ForwardingTest, ATransactionWhoseConnectionIsLostBeforeItsCommitIsRolledBack) {
    form();
    connect(follower());
    ASSERT_TRUE(begin());
    ASSERT_TRUE(run_in("CREATE (:P)"));
    leader()->hang_up();
    const auto committed = commit();
    ASSERT_FALSE(committed);
    EXPECT_EQ(committed.error().code(), ErrorCode::kDatabaseUnavailable) << committed.error().message();
    EXPECT_NE(metrics(follower()).find("nornicdb_forwarded_statements_total{outcome=\"refused\"} 1"), std::string::npos);
    session_->reset();
    EXPECT_EQ(count_at(*leader(), "P"), 0);

    // Nobody answers any more, so nothing can have happened; it is tried until the time of the transaction is over.
    bolt::TransactionOptions options;
    options.timeout = 100ms;
    const auto refused = run("CREATE (:P)", options);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kDatabaseUnavailable);
}

TEST_F(ForwardingTest, AStatementWaitsForTheNextLeader) {
    form();
    Listening& asked = follower();
    connect(asked);
    ASSERT_TRUE(run("CREATE (:P)"));
    Listening& old = *leader();
    old.stop();
    const auto written = run("CREATE (:P)");
    ASSERT_TRUE(written) << written.error().message();
    ASSERT_TRUE(eventually([&] { return leader() != nullptr; }));
    EXPECT_EQ(count_at(*leader(), "P"), 2);
}

TEST_F(ForwardingTest, AnInterruptEndsWhatRunsAtTheLeader) {
    form();
    connect(follower());
    std::thread client{[&] {
        EXPECT_TRUE(eventually([&] { return leader()->member.instance->transactions().count() > 0; }));
        session_->interrupt();
    }};
    const auto ended = run("UNWIND range(1, 100000000) AS i WITH max(i) AS m CREATE (:P {m: m})");
    client.join();
    ASSERT_FALSE(ended);
    EXPECT_EQ(ended.error().code(), ErrorCode::kTerminated);
    session_->reset();
    ASSERT_TRUE(run("CREATE (:Q)"));
    EXPECT_EQ(count_at(*leader(), "P"), 0);
}

}  // namespace
}  // namespace nornic::server
