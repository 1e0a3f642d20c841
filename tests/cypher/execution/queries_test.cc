// Whole queries: what goes in, what comes out. Each case has a database of its own.
#include "tests/cypher/harness.h"

namespace nornic::cypher {
namespace {

using testing::Database;

struct Case {
    std::vector<const char*> setup;
    const char* query;
    const char* expected;  // rows, sorted, one a line
};

const Case kCases[] = {
    {{}, "RETURN 1 AS a, 'x' AS b", "1 | 'x'\n"},
    {{}, "UNWIND [3, 1, 2] AS i RETURN i ORDER BY i DESC LIMIT 2", "2\n3\n"},
    {{},
     "UNWIND range(1, 5) AS i WITH i WHERE i % 2 = 1 RETURN sum(i) AS s, count(*) AS n",
     "9 | 3\n"},
    {{}, "CREATE (n:A {x: 1})-[:T {y: 2}]->(m:B) RETURN n.x, labels(m)", "1 | ['B']\n"},
    {{"CREATE (:A {x: 1}), (:A {x: 2}), (:B {x: 3})"}, "MATCH (n:A) RETURN n.x", "1\n2\n"},
    {{"CREATE (:A {x: 1}), (:A {x: 2}), (:B {x: 3})"},
     "MATCH (n) WHERE n.x > 1 RETURN n.x AS x",
     "2\n3\n"},
    {{"CREATE (:A {x: 1}), (:A {x: 2}), (:B {x: 3})"},
     "MATCH (n) RETURN labels(n)[0] AS l, count(*) AS c, max(n.x) AS m",
     "'A' | 2 | 2\n'B' | 1 | 3\n"},
    {{"CREATE (a:A {k: 1})-[:R]->(b:A {k: 2})-[:R]->(c:A {k: 3})"},
     "MATCH (a)-[:R]->(b)-[:R]->(c) RETURN a.k, b.k, c.k",
     "1 | 2 | 3\n"},
    {{"CREATE (a:A {k: 1})-[:R]->(b:A {k: 2})-[:R]->(c:A {k: 3})"},
     "MATCH (a)-[:R]-(b) RETURN a.k, b.k",
     "1 | 2\n2 | 1\n2 | 3\n3 | 2\n"},
    {{"CREATE (a:A {k: 1})-[:R]->(b:A {k: 2})-[:R]->(c:A {k: 3})"},
     "MATCH (a {k: 1})-[r:R*1..2]->(b) RETURN b.k, size(r)",
     "2 | 1\n3 | 2\n"},
    {{"CREATE (a:A {k: 1})-[:R]->(b:A {k: 2})-[:R]->(c:A {k: 3})"},
     "MATCH (a {k: 1})-[:R*0..]->(b) RETURN count(DISTINCT b) AS n",
     "3\n"},
    {{"CREATE (a:A {k: 1})-[:R]->(b:A {k: 2})-[:R]->(c:A {k: 3})"},
     "MATCH p = (a {k: 1})-[:R*]->(b {k: 3}) RETURN length(p), [n IN nodes(p) | n.k] AS ks",
     "2 | [1, 2, 3]\n"},
    {{"CREATE (a:A {k: 1})-[:R]->(b:A {k: 2})"},
     "MATCH (a:A) OPTIONAL MATCH (a)-[:R]->(b) RETURN a.k, b.k",
     "1 | 2\n2 | null\n"},
    {{"CREATE (a:A {k: 1})-[:R]->(b:A {k: 2})"},
     "MATCH (a:A) OPTIONAL MATCH (a)-[:R]->(b)-[:R]->(c) RETURN a.k, c",
     "1 | null\n2 | null\n"},
    {{"CREATE (a:A {k: 1})-[:R]->(b:A {k: 2})"},
     "MATCH (a:A) WHERE EXISTS { (a)-[:R]->() } RETURN a.k",
     "1\n"},
    {{"CREATE (a:A {k: 1})-[:R]->(b:A {k: 2})"},
     "MATCH (a:A) WHERE NOT (a)-[:R]->() RETURN a.k",
     "2\n"},
    {{"CREATE (a:A {k: 1})-[:R]->(b:A {k: 2})"},
     "MATCH (a:A) RETURN a.k, [(a)-[:R]->(b) | b.k] AS l",
     "1 | [2]\n2 | []\n"},
    {{"CREATE (a:A {k: 1})-[:R]->(b:A {k: 2})"},
     "MATCH (a:A) RETURN a.k, COUNT { (a)-[:R]->() } AS n",
     "1 | 1\n2 | 0\n"},
    {{"CREATE (a:A {k: 1})-[:R]->(b:A {k: 2})"},
     "MATCH (a:A) RETURN a.k, COLLECT { MATCH (a)-[:R]->(b) RETURN b.k } AS n",
     "1 | [2]\n2 | []\n"},
    {{"CREATE (a:A {k: 1})-[:R]->(b:A {k: 2})-[:R]->(c:A {k: 3}), (a)-[:R]->(c)"},
     "MATCH (a {k: 1}), (c {k: 3}), p = shortestPath((a)-[:R*]->(c)) RETURN length(p)",
     "1\n"},
    {{"MERGE (n:P {id: 1}) ON CREATE SET n.c = 1", "MERGE (n:P {id: 1}) ON MATCH SET n.m = 2"},
     "MATCH (n:P) RETURN n.id, n.c, n.m",
     "1 | 1 | 2\n"},
    {{"UNWIND [1, 1, 2] AS i MERGE (:P {id: i})"}, "MATCH (n:P) RETURN count(*) AS c", "2\n"},
    {{"CREATE (:P {id: 1}), (:P {id: 2})",
      "MATCH (a:P {id: 1}), (b:P {id: 2}) MERGE (a)-[:T]->(b)",
      "MATCH (a:P {id: 1}), (b:P {id: 2}) MERGE (a)-[:T]->(b)"},
     "MATCH ()-[r:T]->() RETURN count(r) AS c",
     "1\n"},
    {{"CREATE (:P {id: 1, x: 1}), (:P {id: 2})",
      "MATCH (n:P {id: 1}) SET n.x = n.x + 1, n:Q REMOVE n:P"},
     "MATCH (n:Q) RETURN n.x, labels(n)",
     "2 | ['Q']\n"},
    {{"CREATE (:P {id: 1, x: 1})", "MATCH (n:P) SET n += {y: 2, x: null}"},
     "MATCH (n) RETURN properties(n) AS p",
     "{id: 1, y: 2}\n"},
    {{"CREATE (:P)-[:T]->(:P)", "MATCH (n:P) DETACH DELETE n"},
     "MATCH (n) RETURN count(*) AS c",
     "0\n"},
    {{"FOREACH (i IN range(1, 3) | CREATE (:F {i: i}))"},
     "MATCH (n:F) RETURN sum(n.i) AS s",
     "6\n"},
    {{"CREATE (:P {id: 1}), (:P {id: 2})"},
     "MATCH (p:P) CALL { WITH p RETURN p.id * 10 AS t } RETURN t",
     "10\n20\n"},
    {{"CREATE (:P {id: 1}), (:P {id: 2})"},
     "MATCH (p:P) CALL (p) { MATCH (q:P) WHERE q.id < p.id RETURN count(q) AS c } RETURN p.id, c",
     "1 | 0\n2 | 1\n"},
    {{}, "RETURN 1 AS x UNION RETURN 2 AS x UNION RETURN 1 AS x", "1\n2\n"},
    {{}, "RETURN 1 AS x UNION ALL RETURN 1 AS x", "1\n1\n"},
    {{"UNWIND range(1, 3) AS i CREATE (:N {i: i})"},
     "MATCH (a:N), (b:N) WHERE a.i < b.i RETURN a.i, b.i",
     "1 | 2\n1 | 3\n2 | 3\n"},
    {{"UNWIND range(1, 30) AS i CREATE (:N {i: i}), (:M {j: i * 2})"},
     "MATCH (a:N), (b:M) WHERE a.i = b.j RETURN count(*) AS c",
     "15\n"},
    {{"UNWIND range(1, 30) AS i CREATE (:N {i: i})"},
     "MATCH (a:N) WITH a ORDER BY a.i SKIP 5 LIMIT 2 RETURN a.i",
     "6\n7\n"},
    {{"CREATE (:N {i: 1})"}, "MATCH (n:N) CREATE (:N {i: n.i + 1}) RETURN n.i", "1\n"},
    {{"UNWIND range(1, 20) AS i CREATE (:N {i: i})", "MATCH (n:N) CREATE (:N {i: n.i + 100})"},
     "MATCH (n:N) RETURN count(*) AS c",
     "40\n"},
    {{"CREATE INDEX i FOR (n:P) ON (n.id)", "UNWIND range(1, 50) AS i CREATE (:P {id: i})"},
     "MATCH (n:P {id: 7}) RETURN n.id",
     "7\n"},
    {{"CREATE INDEX i FOR (n:P) ON (n.id)", "UNWIND range(1, 50) AS i CREATE (:P {id: i})"},
     "MATCH (n:P) WHERE n.id IN [3, 4, 4, 99] RETURN n.id",
     "3\n4\n"},
    {{"CREATE INDEX i FOR (n:P) ON (n.id)", "UNWIND range(1, 50) AS i CREATE (:P {id: i})"},
     "MATCH (n:P) WHERE 10 < n.id <= 12 RETURN n.id",
     "11\n12\n"},
    {{"CREATE INDEX i FOR (n:P) ON (n.name)",
      "UNWIND ['ab', 'ac', 'b'] AS i CREATE (:P {name: i})"},
     "MATCH (n:P) WHERE n.name STARTS WITH 'a' RETURN n.name",
     "'ab'\n'ac'\n"},
    {{},
     "WITH [1, 2, 3] AS l RETURN [x IN l WHERE x > 1 | x * 2] AS r, all(x IN l WHERE x > 0) AS a, "
     "reduce(s = 0, x IN l | s + x) AS t",
     "[4, 6] | true | 6\n"},
    {{},
     "UNWIND [1, 2] AS a UNWIND [3, 4] AS b RETURN a + b AS s, count(*) AS c ORDER BY s",
     "4 | 1\n5 | 2\n6 | 1\n"},
    {{"CREATE (:A {x: 1})"}, "MATCH (n:A) RETURN n {.x, y: 2} AS m", "{x: 1, y: 2}\n"},
    {{"CREATE (:A {x: 1})"},
     "MATCH (n:A) WITH n.x AS x, n WHERE x = 1 RETURN count(n) + 1 AS c",
     "2\n"},
    {{"CREATE (a:A)-[:R]->(b:B)<-[:R]-(c:A)"},
     "MATCH (a:A)-[:R]->(b)<-[:R]-(c) RETURN count(*) AS c",
     "2\n"},
    {{"CREATE (a:A {x: 1}), (b:A {x: 2})"},
     "MATCH (a:A) RETURN CASE a.x WHEN 1 THEN 'one' ELSE 'more' END AS t",
     "'more'\n'one'\n"},
    // Anonymous relationships of pieces that are joined differ, too.
    {{"UNWIND range(1, 3) AS i CREATE (:A)-[:X]->()",
      "UNWIND range(1, 5) AS i CREATE (:C:E)-[:T]->()"},
     "MATCH (:A)-[:X]->(), (:C)-[:T*1..2]->(d), (:E)-[:T]->(f) RETURN count(*)",
     "60\n"},
    // A condition on each relationship of a quantified one.
    {{"CREATE (:N {k: 0})-[:T {w: 5}]->(:N {k: 1})-[:T {w: 4}]->(:N {k: 2})-[:T {w: 1}]->(:N {k: "
      "3})"},
     "MATCH (:N {k: 0})-[r:T WHERE r.w > 3]->{1,5}(b) RETURN b.k, size(r)",
     "1 | 1\n2 | 2\n"},
    {{"CREATE (:N {k: 0})-[:T {w: 5, x: 1}]->(:N {k: 1})-[:T {w: 4}]->(:N {k: 2})"},
     "WITH 3 AS least MATCH (:N {k: 0})-[r:T {x: 1} WHERE r.w > least]->*(b) RETURN b.k",
     "0\n1\n"},
    {{"CREATE (:N {k: 0})-[:T {w: 5}]->(:N {k: 1})-[:T {w: 4}]->(:N:Z {k: 2})"},
     "MATCH p = (:N {k: 0})-[r WHERE EXISTS { MATCH (s) WHERE s = startNode(r) AND s.k < 1 }]->+(b) "
     "RETURN length(p)",
     "1\n"},
    {{"CREATE (:N {k: 0})-[:T {w: 5}]->(:N {k: 1})-[:T {w: 4}]->(:N {k: 2})"},
     "MATCH (a:N) RETURN a.k, [(a)-[r WHERE r.w = 4]->+(b) | b.k] AS l, count(*)",
     "0 | [] | 1\n1 | [2] | 1\n2 | [] | 1\n"},
    {{"CREATE (:N {k: 0})-[:T {w: 5}]->(:N {k: 1})-[:T {w: 4}]->(:N {k: 2})"},
     "MATCH p = SHORTEST 1 (a:N {k: 0})-[r WHERE r.w > 4]->+(b:N {k: 1}) RETURN b.k",
     "1\n"},
};

std::string run_case(const Case& c, std::uint32_t disabled) {
    Database db{disabled};
    for (const char* s : c.setup) {
        const auto a = db.run(s);
        if (a.error) {
            return std::string{"setup "} + s + ": " + a.text();
        }
    }
    return db.run(c.query).sorted_text();
}

TEST(Queries, GiveTheExpectedRows) {
    for (const Case& c : kCases) {
        EXPECT_EQ(run_case(c, 0), c.expected) << c.query;
    }
}

TEST(Queries, GiveTheSameRowsWithoutAnyOneRuleOrAll) {
    for (const Case& c : kCases) {
        for (std::uint32_t rule = 0; rule <= 9; ++rule) {
            const std::uint32_t disabled = rule == 9 ? 0x1FF : 1U << rule;
            EXPECT_EQ(run_case(c, disabled), c.expected)
                << c.query << " without rules " << disabled;
        }
    }
}

TEST(Queries, CountWhatTheyChange) {
    Database db;
    const auto a = db.run("CREATE (n:A {x: 1})-[:R]->(:B)");
    ASSERT_FALSE(a.error) << a.text();
    EXPECT_EQ(a.summary.counters.nodes_created, 2);
    EXPECT_EQ(a.summary.counters.relationships_created, 1);
    EXPECT_EQ(a.summary.counters.labels_added, 2);
    EXPECT_EQ(a.summary.counters.properties_set, 1);
    EXPECT_EQ(a.summary.type, StatementType::kWrite);
}

TEST(Queries, MemoryIsBounded) {
    Database db;
    db.memory_bytes_max = 1 << 20;
    const auto a = db.run("UNWIND range(1, 1000000) AS i RETURN collect(toString(i)) AS l");
    ASSERT_TRUE(a.error);
    EXPECT_EQ(a.error->code(), ErrorCode::kMemoryLimit);
}

TEST(Queries, CanBeKilled) {
    Database db;
    auto transaction = db.engine().begin();
    transaction->terminate(Error{ErrorCode::kTerminated, "stop it"});
    const auto a = db.run_in(*transaction, "UNWIND range(1, 1000000000) AS i RETURN count(i)");
    ASSERT_TRUE(a.error);
    EXPECT_EQ(a.error->code(), ErrorCode::kTerminated);
}

TEST(Queries, DeletedEntitiesKeepTheirIdAndLoseTheRest) {
    Database db;
    ASSERT_FALSE(db.run("CREATE (:A {x: 1})").error);
    const auto a = db.run("MATCH (n:A) DELETE n RETURN n");
    ASSERT_EQ(a.rows.size(), 1U) << a.text();
    EXPECT_TRUE(a.rows[0][0].as_node().labels.empty());
    ASSERT_FALSE(db.run("CREATE (:A {x: 1})").error);
    const auto b = db.run("MATCH (n:A) DELETE n RETURN n.x");
    ASSERT_TRUE(b.error);
    EXPECT_EQ(b.error->code(), ErrorCode::kEntityNotFound);
}

TEST(Queries, APathOverWhatIsNoNodeIsATypeError) {
    Database db;
    for (const char* query : {
             "WITH coalesce(5) AS m MATCH p = (m) RETURN p",
             "WITH {x: 5} AS w WITH w.x AS m MATCH p = (m) RETURN p",
             "UNWIND [coalesce('a')] AS m MATCH p = (m) RETURN p",
         }) {
        const auto a = db.run(query);
        ASSERT_TRUE(a.error) << query << ": " << a.text();
        EXPECT_EQ(a.error->code(), ErrorCode::kTypeError) << a.text();
    }
    EXPECT_EQ(db.run("WITH coalesce(5) AS m MATCH p = (m)-->() RETURN p").text(), "");
    EXPECT_EQ(db.run("WITH coalesce(null) AS m MATCH p = (m) RETURN p").text(), "null\n");
}

TEST(Queries, AConditionOnEachStepSeesWhatIsBoundBefore) {
    Database db;
    for (const char* query : {
             // b, and the path, come only with the match.
             "MATCH (a)-[r WHERE r.w > b.w]->{1,3}(b) RETURN b",
             "MATCH p = (a)-[r WHERE length(p) > 1]->+(b) RETURN b",
             "MATCH ()-[r*]->() MATCH (a)-[r WHERE r.w > 1]->+(b) RETURN b",
         }) {
        const auto a = db.run(query);
        ASSERT_TRUE(a.error) << query;
        EXPECT_EQ(a.error->code(), ErrorCode::kSyntaxError) << a.text();
    }
}

TEST(Queries, InTransactionsCommitInGroups) {
    Database db;
    const auto a = db.run(
        "UNWIND range(1, 10) AS i CALL { WITH i CREATE (:T {i: i}) } IN TRANSACTIONS OF 3 ROWS");
    ASSERT_FALSE(a.error) << a.text();
    EXPECT_EQ(a.summary.counters.nodes_created, 10);
    EXPECT_EQ(db.run("MATCH (n:T) RETURN count(*) AS c").text(), "10\n");
}

TEST(Queries, PlansAreCachedByTextAndParameterTypes) {
    Database db;
    ASSERT_FALSE(db.run("RETURN $x AS x", Map{{"x", Value{1}}}).error);
    ASSERT_FALSE(db.run("RETURN $x AS x", Map{{"x", Value{2}}}).error);
    EXPECT_EQ(db.cache().hits(), 1U);
    ASSERT_FALSE(db.run("RETURN $x AS x", Map{{"x", Value{"s"}}}).error);
    EXPECT_EQ(db.cache().hits(), 1U);
}

}  // namespace
}  // namespace nornic::cypher
