// Two regions of one member each in this process, joined over loopback: what sessions, ROUTE, metrics and an operator's paths
// answer. And the conflict log as people see it, over rows as merging leaves them.
#include "base/hybrid_clock.h"
#include "engine/region.h"
#include "observability/log.h"
#include "tests/server/members.h"

#include <array>
#include <filesystem>
#include <memory>
#include <string>
#include <unistd.h>
#include <vector>

namespace nornic::server {
namespace {

using namespace std::chrono_literals;

std::filesystem::path test_directory() {
    return std::filesystem::temp_directory_path() /
           fmt::format("region_test.{}.{}", ::getpid(), testing::UnitTest::GetInstance()->current_test_info()->name());
}

void open(DataMember& member, const std::map<std::string, std::string>& environment, const std::string& name) {
    env::Source source;
    source.environment = environment;
    auto loaded = env::load(source);
    ASSERT_TRUE(loaded) << loaded.error().message();
    auto opened = Instance::open(loaded.value(), system_clock());
    ASSERT_TRUE(opened) << opened.error().message();
    member.instance = std::move(opened).value();
    const auto started = member.instance->start("bolt-" + name + ":7687", "http-" + name + ":7474");
    ASSERT_TRUE(started) << started.error().message();
    member.http = std::make_unique<HttpBackend>(*member.instance);
    member.instance->pool().start();
}

// ---- Regions ----

class RegionsTest : public testing::Test {
protected:
    void SetUp() override {
        ports_ = free_ports(2);
        directory_ = test_directory();
        std::filesystem::remove_all(directory_);
    }
    void TearDown() override {
        east.stop();
        west.stop();
        std::filesystem::remove_all(directory_);
    }
    void start(std::map<std::string, std::string> more = {}) {
        for (const std::size_t i : {0U, 1U}) {
            const std::string own = i == 0 ? "east" : "west";
            const std::string other = i == 0 ? "west" : "east";
            std::map<std::string, std::string> environment = {
                {"NORNICDB_DATA_DIR", directory_ / own},
                {"NORNICDB_AUTH", "none"},
                {"NORNICDB_CLUSTER_MODE", "multi_region"},
                {"NORNICDB_CLUSTER_NODE_ID", own + "-1"},
                {"NORNICDB_CLUSTER_BIND_ADDR", fmt::format("127.0.0.1:{}", ports_[i])},
                {"NORNICDB_CLUSTER_RAFT_CLUSTER_ID", own},
                {"NORNICDB_CLUSTER_RAFT_BOOTSTRAP", "true"},
                {"NORNICDB_CLUSTER_RAFT_ELECTION_TIMEOUT", "300ms"},
                {"NORNICDB_CLUSTER_RAFT_HEARTBEAT_TIMEOUT", "30ms"},
                {"NORNICDB_CLUSTER_REGION_ID", own},
                {"NORNICDB_CLUSTER_REMOTE_REGIONS", fmt::format("{}:127.0.0.1:{}", other, ports_[1 - i])},
                {"NORNICDB_FOLLOWER_WRITES", "reject"},  // nobody listens at the addresses here
                {"NORNICDB_CLUSTER_REPLICATION_SECRET", "0123456789abcdef0123456789abcdef"}};
            for (const auto& [name, value] : more) {
                environment[name] = value;
            }
            open(i == 0 ? east : west, environment, own);
        }
    }
    static json::object status(const DataMember& member) {
        return json::parse(member.admin("GET", "/admin/region/status").json).as_object();
    }
    /// What `member` says of the other region.
    static json::object other(const DataMember& member) {
        const json::object said = status(member);
        const json::array& regions = said.at("regions").as_array();
        return regions.size() < 2 ? json::object{} : regions[1].as_object();
    }
    static bool streams(const DataMember& member) {
        const json::object said = other(member);
        return !said.empty() && said.at("state").as_string() == "streaming";
    }
    static bool primary_is(const DataMember& member, std::string_view name) {
        const json::object said = status(member);
        return said.at("primary").is_string() && said.at("primary").as_string() == name;
    }

    std::filesystem::path directory_;
    std::vector<std::uint16_t> ports_;
    DataMember east;
    DataMember west;
};

TEST_F(RegionsTest, BothWriteAndStatusSaysHowFarTheyAre) {
    start();
    ASSERT_TRUE(eventually([&] { return streams(east) && streams(west); })) << json::serialize(status(east));
    ASSERT_TRUE(east.run("CREATE (:City {name: 'Boston'})"));
    ASSERT_TRUE(west.run("CREATE (:City {name: 'Oakland'})"));
    const auto both = [](const DataMember& member) {
        const auto answer = member.run("MATCH (c:City) RETURN count(c)");
        return answer && answer.value().rows.at(0).at(0).as_integer() == 2;
    };
    ASSERT_TRUE(eventually([&] { return both(east) && both(west); }));
    ASSERT_TRUE(eventually([&] { return other(east).at("lag_entries").as_int64() == 0; }));
    const json::object said = status(east);
    EXPECT_EQ(said.at("region").as_string(), "east");
    EXPECT_EQ(said.at("primary").as_string(), "east");
    EXPECT_EQ(said.at("conflicts").as_int64(), 0);
    EXPECT_EQ(other(east).at("leader_bolt_address").as_string(), "bolt-west:7687");
    EXPECT_EQ(east.replication().at("regions").as_array().size(), 2U);
    const std::string metrics = east.http->metrics();
    for (const char* line : {"nornicdb_region_connected{region=\"west\"} 1", "nornicdb_region_lag_entries{region=\"west\"} 0",
                             "nornicdb_region_primary{region=\"east\"} 1", "nornicdb_region_conflicts_total 0",
                             "nornicdb_region_semi_sync_degraded 0"}) {
        EXPECT_NE(metrics.find(line), std::string::npos) << line;
    }
}

TEST_F(RegionsTest, SchemaAndUsersBelongToThePrimaryRegion) {
    start();
    ASSERT_TRUE(eventually([&] { return streams(east) && streams(west); }));
    const auto refused = west.run("CREATE INDEX here FOR (n:Here) ON (n.x)");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kForbidden);
    EXPECT_NE(refused.error().message().find("region 'east' (its leader is at bolt-east:7687)"), std::string::npos)
        << refused.error().message();
    EXPECT_FALSE(west.run("CREATE USER ann SET PASSWORD 'long enough'"));
    EXPECT_TRUE(west.run("EXPLAIN CREATE INDEX here FOR (n:Here) ON (n.x)"));
    EXPECT_TRUE(west.run("SHOW USERS"));
    ASSERT_TRUE(east.run("CREATE USER ann SET PASSWORD 'long enough'"));

    const auto promoted = west.admin("POST", "/admin/region/promote");
    ASSERT_EQ(promoted.status, 200) << promoted.json;
    ASSERT_TRUE(eventually([&] { return primary_is(east, "west") && primary_is(west, "west"); }));
    EXPECT_TRUE(west.run("CREATE INDEX here FOR (n:Here) ON (n.x)"));
    EXPECT_FALSE(east.run("CREATE INDEX there FOR (n:There) ON (n.x)"));
}

TEST_F(RegionsTest, WhereThePrimaryAloneWritesOthersSendTheirClientsThere) {
    start({{"NORNICDB_CLUSTER_REGION_WRITES", "primary"}});
    ASSERT_TRUE(eventually([&] { return east.run("CREATE (:First)").has_value(); }));
    ASSERT_TRUE(eventually([&] { return addresses(west.route(), "WRITE") == std::vector<std::string>{"bolt-east:7687"}; }));
    EXPECT_EQ(addresses(west.route(), "READ"), (std::vector<std::string>{"bolt-west:7687"}));
    const auto refused = west.run("CREATE (:No)");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kNotLeader);
    EXPECT_EQ(refused.error().hint(), "bolt-east:7687");
    EXPECT_EQ(west.http->ready().status, 200);
}

TEST_F(RegionsTest, ARegionIsDroppedOnlyByItsNameTwice) {
    start();
    ASSERT_TRUE(eventually([&] { return streams(east) && streams(west); }));
    EXPECT_EQ(east.admin("POST", "/admin/region/drop", "{}").status, 400);
    const auto once = east.admin("POST", "/admin/region/drop", R"({"region": "west"})");
    EXPECT_EQ(once.status, 400);
    EXPECT_NE(once.json.find("confirm"), std::string::npos) << once.json;
    EXPECT_EQ(east.admin("POST", "/admin/region/drop", R"({"region": "north", "confirm": "north"})").status, 400);
    EXPECT_EQ(east.admin("POST", "/admin/region/drop", R"({"region": "east", "confirm": "east"})").status, 400);
    EXPECT_EQ(east.admin("GET", "/admin/region/drop").status, 405);
    const auto dropped = east.admin("POST", "/admin/region/drop", R"({"region": "west", "confirm": "west"})");
    EXPECT_EQ(dropped.status, 200) << dropped.json;
    ASSERT_TRUE(eventually([&] { return !west.run("CREATE (:No)"); }));
    EXPECT_TRUE(other(east).at("dropped").as_bool());
    EXPECT_EQ(east.http->metrics().find("nornicdb_region_connected{region=\"west\"} 0"), std::string::npos);
}

// ---- The conflict log ----

class ConflictsTest : public testing::Test {
protected:
    void SetUp() override {
        directory_ = test_directory();
        std::filesystem::remove_all(directory_);
        open(member, {{"NORNICDB_DATA_DIR", directory_.string()}, {"NORNICDB_AUTH", "none"}}, "alone");
        ASSERT_TRUE(run("CREATE (:Account {sum: 21})-[:HAS]->(:Tag)"));
        node_ = run("MATCH (a:Account) RETURN id(a)").rows.at(0).at(0).as_integer();
    }
    void TearDown() override {
        member.stop();
        std::filesystem::remove_all(directory_);
    }
    struct Ran : Answer {
        std::string error;
        explicit operator bool() const { return error.empty(); }
    };
    Ran run(const std::string& query) {
        auto answer = member.run(query);
        Ran out;
        if (answer) {
            static_cast<Answer&>(out) = std::move(answer).value();
        } else {
            out.error = answer.error().message();
        }
        return out;
    }
    static Value side(Value value, const char* region, std::uint64_t ms) {
        return Value{Map{{"value", std::move(value)}, {"region", Value{region}},
                         {"time", Value{static_cast<std::int64_t>(hybrid_time_of(ms))}}, {"rank", Value{std::int64_t{0}}}}};
    }
    /// As merging leaves one, found so many milliseconds after the beginning of 1970.
    void found(const std::string& id, const char* kind, Value cell, Value winner, Value loser, std::uint64_t ms, const char* state) {
        const Value row{Map{{"kind", Value{kind}},
                            {"database", Value{"neo4j"}},
                            {"entity", Value{"node"}},
                            {"id", Value{node_}},
                            {"cell", std::move(cell)},
                            {"winner", side(std::move(winner), "west", ms)},
                            {"loser", side(std::move(loser), "east", ms - 1)},
                            {"at", Value{static_cast<std::int64_t>(hybrid_time_of(ms))}},
                            {"state", Value{state}}}};
        const Users::RowChange change{std::string{engine::kConflictPrefix} + id, row};
        const auto put = member.instance->commit_catalog({&change, 1});
        ASSERT_TRUE(put) << put.error().message();
    }
    void found_sum(const std::string& id = "a", const char* state = "open") {
        found(id, "property", Value{"sum"}, Value{std::int64_t{21}}, Value{std::int64_t{11}}, 5000, state);
    }
    std::int64_t sum() { return run("MATCH (a:Account) RETURN a.sum").rows.at(0).at(0).as_integer(); }
    std::string text(const std::string& query) {
        const Ran ran = run(query);
        return !ran ? ran.error : ran.rows.empty() ? "" : to_cypher_text(ran.rows.at(0).at(0));
    }

    std::filesystem::path directory_;
    DataMember member;
    std::int64_t node_ = 0;
};

TEST_F(ConflictsTest, AreShownNewestFirstWithBothValues) {
    found_sum("a");
    found("b", "label", Value{"Old"}, Value{true}, Value{false}, 6000, "resolved");
    const Ran shown = run("SHOW CONFLICTS");
    ASSERT_TRUE(shown) << shown.error;
    ASSERT_EQ(shown.rows.size(), 2U);
    EXPECT_EQ(shown.rows[0].size(), 11U);
    EXPECT_EQ(text("SHOW CONFLICTS YIELD id RETURN collect(id) AS ids"), "['b', 'a']");
    EXPECT_EQ(text("SHOW CONFLICTS YIELD id, state WHERE state = 'open' RETURN id"), "'a'");
    EXPECT_EQ(text("SHOW CONFLICTS 'a' YIELD winner, winnerRegion, loser, loserRegion "
                   "RETURN [winner, winnerRegion, loser, loserRegion] AS all"),
              "[21, 'west', 11, 'east']");
    EXPECT_EQ(text("SHOW CONFLICTS YIELD at, key WHERE key = 'sum' RETURN toString(at)"), "'1970-01-01T00:00:05Z'");
    EXPECT_EQ(text("CALL db.conflicts.list(1) YIELD id RETURN id"), "'b'");
    EXPECT_EQ(text("CALL db.conflicts.get('a') YIELD elementId MATCH (n) WHERE elementId(n) = elementId RETURN labels(n)"), "['Account']");
    EXPECT_EQ(text("CALL db.conflicts.count() YIELD kept"), "2");
    EXPECT_NE(run("CALL db.conflicts.get('nope')").error.find("no conflict 'nope'"), std::string::npos);
    EXPECT_NE(run("CALL db.conflicts.list(-1)").error.find("0 or more"), std::string::npos);
}

TEST_F(ConflictsTest, TellTheMetadataOfTheTransactionsThatHadSome) {
    found_sum();
    EXPECT_EQ(text("SHOW CONFLICTS YIELD metadata RETURN metadata"), "null");
    const std::string key = std::string{engine::kConflictPrefix} + "a";
    Map row = member.instance->engine().catalog(key)->as_map();
    Map loser = row.find("loser")->as_map();
    loser.set("metadata", Value{Map{{"app", Value{"ledger"}}}});
    row.set("loser", Value{std::move(loser)});
    const Users::RowChange change{key, Value{std::move(row)}};
    ASSERT_TRUE(member.instance->commit_catalog({&change, 1}));
    EXPECT_EQ(text("SHOW CONFLICTS YIELD metadata RETURN metadata"), "{loser: {app: 'ledger'}}");
}

TEST_F(ConflictsTest, AreResolvedByAWriteThatClosesThem) {
    found_sum();
    EXPECT_EQ(text("CALL db.conflicts.resolve('a', 'loser') YIELD state, value RETURN [state, value] AS done"), "['resolved', 11]");
    EXPECT_EQ(sum(), 11);
    EXPECT_EQ(text("SHOW CONFLICTS YIELD state, resolution, resolvedBy RETURN [state, resolution, resolvedBy] AS how"),
              "['resolved', 'loser', 'tester']");
    // One that is closed can be decided otherwise.
    EXPECT_TRUE(run("CALL db.conflicts.resolve('a', 'winner')"));
    EXPECT_EQ(sum(), 21);
    EXPECT_TRUE(run("CALL db.conflicts.resolve('a', {value: 33})"));
    EXPECT_EQ(sum(), 33);
    EXPECT_NE(run("CALL db.conflicts.resolve('a', 'winner')").error.find("written since"), std::string::npos);
    EXPECT_EQ(sum(), 33);
}

TEST_F(ConflictsTest, WhoResolvesOneIsAuditedWithTheOutcome) {
    found_sum();
    const auto audited = [&](const std::function<void()>& work) {
        testing::internal::CaptureStderr();
        work();
        log::flush();
        const std::string lines = testing::internal::GetCapturedStderr();
        const std::size_t at = lines.find("Audit:");
        return at == std::string::npos ? std::string{} : lines.substr(at, lines.find('\n', at) - at);
    };
    const auto has = [](const std::string& line, std::string_view part) { return line.find(part) != std::string::npos; };
    const std::string done = audited([&] { EXPECT_TRUE(run("CALL db.conflicts.resolve('a', 'loser')")); });
    EXPECT_TRUE(has(done, "user=tester")) << done;
    EXPECT_TRUE(has(done, R"t(action="CALL db.conflicts.resolve('a', 'loser')" outcome=done)t")) << done;
    const std::string refused = audited([&] { EXPECT_FALSE(run("CALL db.conflicts.resolve('nope', 'loser')")); });
    EXPECT_TRUE(has(refused, "'nope'")) << refused;
    EXPECT_FALSE(has(refused, "outcome=done")) << refused;
    // The parameters say which one.
    const std::string told = audited([&] {
        const auto used = member.session();
        ASSERT_TRUE(wait<bolt::Running>([&](auto ran) {
            used->run("CALL db.conflicts.resolve($id, $how)", Value{Map{{"id", Value{"a"}}, {"how", Value{"winner"}}}}, {}, ran);
        }));
        Rows rows;
        ASSERT_TRUE(wait<bolt::Pulled>([&](auto pulled) { used->pull(-1, -1, rows, pulled); }));
    });
    EXPECT_TRUE(has(told, "($id, $how) {id: 'a', how: 'winner'}")) << told;
    EXPECT_TRUE(has(audited([&] { EXPECT_TRUE(run("CALL db.conflicts.clear()")); }), "db.conflicts.clear()"));
    EXPECT_EQ(audited([&] { EXPECT_TRUE(run("CALL db.conflicts.list(5)")); }), "");
    EXPECT_EQ(audited([&] { EXPECT_TRUE(run("EXPLAIN CALL db.conflicts.clear()")); }), "");
}

TEST_F(ConflictsTest, ATextIsAValueOnlyWhereItSaysSo) {
    found_sum();
    EXPECT_NE(run("CALL db.conflicts.resolve('a', 'looser')").error.find("{value: 'looser'}"), std::string::npos);
    EXPECT_FALSE(run("CALL db.conflicts.resolve('a', {value: 1, other: 2})"));
    EXPECT_EQ(sum(), 21);
    EXPECT_TRUE(run("CALL db.conflicts.resolve('a', 17)"));
    EXPECT_EQ(sum(), 17);
    EXPECT_TRUE(run("CALL db.conflicts.resolve('a', null)"));
    EXPECT_EQ(text("MATCH (a:Account) RETURN a.sum IS NULL"), "true");
}

TEST_F(ConflictsTest, LabelsAreThereOrNot) {
    found("l", "label", Value{"Old"}, Value{false}, Value{true}, 5000, "open");
    EXPECT_NE(run("CALL db.conflicts.resolve('l', 7)").error.find("true or false"), std::string::npos);
    EXPECT_TRUE(run("CALL db.conflicts.resolve('l', 'loser')"));
    EXPECT_EQ(text("MATCH (a:Account) RETURN a:Old"), "true");
}

TEST_F(ConflictsTest, OfWhatIsDeletedAreOnlyClosed) {
    found_sum();
    found("d", "deleted", Value{}, Value{}, Value{std::int64_t{1}}, 6000, "open");
    ASSERT_TRUE(run("MATCH (a:Account) DETACH DELETE a"));
    EXPECT_NE(run("CALL db.conflicts.resolve('a', 'loser')").error.find("final"), std::string::npos);
    EXPECT_NE(run("CALL db.conflicts.resolve('d', 'loser')").error.find("no value to choose"), std::string::npos);
    EXPECT_TRUE(run("CALL db.conflicts.resolve('a', 'winner')"));
    EXPECT_TRUE(run("CALL db.conflicts.resolve('d', 'winner')"));
    EXPECT_EQ(text("SHOW CONFLICTS YIELD state WHERE state = 'open' RETURN count(*)"), "0");
}

TEST_F(ConflictsTest, ClosedOnesAreClearedByAge) {
    found_sum("a", "open");
    found_sum("b", "resolved");
    found("c", "property", Value{"sum"}, Value{std::int64_t{1}}, Value{std::int64_t{2}}, 9000, "resolved");
    EXPECT_EQ(text("CALL db.conflicts.clear(datetime('1970-01-01T00:00:06Z')) YIELD removed"), "1");
    EXPECT_EQ(text("SHOW CONFLICTS YIELD id RETURN collect(id) AS ids"), "['c', 'a']");
    EXPECT_EQ(text("CALL db.conflicts.clear() YIELD removed"), "1");
    EXPECT_EQ(text("SHOW CONFLICTS YIELD id RETURN collect(id) AS ids"), "['a']");
    EXPECT_FALSE(run("CALL db.conflicts.clear(7)"));
}

}  // namespace
}  // namespace nornic::server
