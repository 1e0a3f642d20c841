// What indexes and constraints made with Cypher do to statements.
#include "tests/cypher/harness.h"

#include <thread>

namespace nornic::cypher {
namespace {

using testing::Database;

void expect_refused(Database& db, const char* query, ErrorCode code) {
    const auto a = db.run(query);
    ASSERT_TRUE(a.error) << query;
    EXPECT_EQ(a.error->code(), code) << query << ": " << a.text();
}

TEST(Schema, RelationshipIndexesAreSought) {
    Database db;
    ASSERT_FALSE(db.run("CREATE INDEX r FOR ()-[r:R]-() ON (r.k)").error);
    for (const char* wait = "SHOW INDEXES YIELD name, state WHERE name = 'r' RETURN state";
         db.run(wait).text() != "'ONLINE'\n";) {
        ASSERT_FALSE(db.run(wait).error) << db.run(wait).text();
        std::this_thread::yield();
    }
    ASSERT_FALSE(
        db.run("UNWIND range(1, 500) AS i CREATE (:A {i: i})-[:R {k: i}]->(:B {i: i})").error);
    ASSERT_FALSE(db.run("CREATE (n:L {i: 0}) CREATE (n)-[:R {k: 1000}]->(n)").error);
    struct Case {
        const char* query;
        const char* op;
        const char* expected;
    };
    for (const Case& c : {
             Case{"MATCH (a)-[r:R {k: 7}]->(b) RETURN a.i, b.i, r.k",
                  "DirectedRelationshipIndexSeek",
                  "7 | 7 | 7\n"},
             Case{"MATCH (a)<-[r:R]-(b) WHERE r.k = 7 RETURN labels(a)[0], labels(b)[0]",
                  "DirectedRelationshipIndexSeek",
                  "'B' | 'A'\n"},
             Case{"MATCH (a)-[r:R {k: 7}]-(b) RETURN labels(a)[0] AS l",
                  "UndirectedRelationshipIndexSeek",
                  "'A'\n'B'\n"},
             Case{"MATCH (a)-[r:R {k: 1000}]-(b) RETURN a.i",
                  "UndirectedRelationshipIndexSeek",
                  "0\n"},
             Case{"MATCH ()-[r:R]->() WHERE r.k > 498 AND r.k <= 500 RETURN r.k",
                  "DirectedRelationshipIndexSeekByRange",
                  "499\n500\n"},
             Case{"MATCH ()-[r:R]->() WHERE r.k IN [3, 4, 4, 600] RETURN r.k",
                  "DirectedRelationshipIndexSeek",
                  "3\n4\n"},
         }) {
        EXPECT_EQ(db.run(c.query).sorted_text(), c.expected) << c.query;
        const auto plan = db.run(std::string{"EXPLAIN "} + c.query);
        ASSERT_FALSE(plan.error) << plan.text();
        EXPECT_NE(to_cypher_text(plan.summary.plan).find(std::string{"'"} + c.op + "@"),
                  std::string::npos)
            << c.query << "\n"
            << to_cypher_text(plan.summary.plan);
    }
    // The index follows what this transaction wrote and what others deleted.
    ASSERT_FALSE(db.run("MATCH ()-[r:R {k: 7}]->() SET r.k = 8").error);
    EXPECT_EQ(db.run("MATCH ()-[r:R {k: 7}]->() RETURN count(r)").text(), "0\n");
    EXPECT_EQ(db.run("MATCH ()-[r:R {k: 8}]->() RETURN count(r)").text(), "2\n");
    ASSERT_FALSE(db.run("MATCH ()-[r:R {k: 8}]->() DELETE r").error);
    EXPECT_EQ(db.run("MATCH ()-[r:R {k: 8}]->() RETURN count(r)").text(), "0\n");
}

TEST(Schema, PropertyTypesAreHeld) {
    Database db;
    ASSERT_FALSE(db.run("CREATE CONSTRAINT t FOR (n:P) REQUIRE n.x IS :: INTEGER").error);
    ASSERT_FALSE(
        db.run("CREATE CONSTRAINT l FOR (n:P) REQUIRE n.l IS :: LIST<STRING NOT NULL> | STRING")
            .error);
    ASSERT_FALSE(db.run("CREATE CONSTRAINT r FOR ()-[r:R]-() REQUIRE r.d IS :: DATE").error);
    ASSERT_FALSE(
        db.run("CREATE (:P {x: 1, l: ['a']}), (:P), (:Q {x: 'text'}), (:P {l: 'a'})").error);
    ASSERT_FALSE(db.run("CREATE ()-[:R {d: date('2024-02-29')}]->()").error);
    expect_refused(db, "CREATE (:P {x: 'text'})", ErrorCode::kConstraintViolation);
    expect_refused(db, "CREATE (:P {x: 1.0})", ErrorCode::kConstraintViolation);
    expect_refused(db, "MATCH (p:P {x: 1}) SET p.x = true", ErrorCode::kConstraintViolation);
    expect_refused(db, "MATCH (p:P {x: 1}) SET p.l = [1]", ErrorCode::kConstraintViolation);
    expect_refused(db, "MATCH (q:Q) SET q:P", ErrorCode::kConstraintViolation);
    expect_refused(db, "MATCH ()-[r:R]->() SET r.d = '2024'", ErrorCode::kConstraintViolation);
    EXPECT_EQ(db.run("MATCH (p:P) RETURN p.x, p.l").sorted_text(),
              "1 | ['a']\nnull | 'a'\nnull | null\n");
    // What was wrong in between may be right in the end.
    EXPECT_FALSE(db.run("CREATE (p:P {x: 'text'}) SET p.x = 2").error);
    expect_refused(db,
                   "CREATE CONSTRAINT q FOR (n:Q) REQUIRE n.x IS :: INTEGER",
                   ErrorCode::kConstraintCreationFailed);
    ASSERT_FALSE(db.run("DROP CONSTRAINT t").error);
    EXPECT_FALSE(db.run("CREATE (:P {x: 'text'})").error);
}

TEST(Schema, PlansAreMadeAnewWhenTheGraphHasGrownTenfold) {
    Database db;
    ASSERT_FALSE(db.run("UNWIND range(1, 150) AS i CREATE (:P {i: i})").error);
    const auto misses_of_32_runs = [&db] {
        const std::uint64_t before = db.cache().misses();
        for (int i = 0; i < 32; ++i) {
            EXPECT_FALSE(db.run("MATCH (p:P {i: 3}) RETURN p.i").error);
        }
        return db.cache().misses() - before;
    };
    EXPECT_EQ(misses_of_32_runs(), 1U);
    EXPECT_EQ(misses_of_32_runs(), 0U);
    ASSERT_FALSE(db.run("UNWIND range(1, 1000) AS i CREATE (:P {i: i})").error);
    EXPECT_EQ(misses_of_32_runs(), 0U) << "eight times as many are no reason";
    ASSERT_FALSE(db.run("UNWIND range(1, 1000) AS i CREATE (:P {i: i})").error);
    EXPECT_EQ(misses_of_32_runs(), 1U);
    EXPECT_EQ(misses_of_32_runs(), 0U);
    ASSERT_FALSE(db.run("MATCH (p:P) DELETE p").error);
    EXPECT_EQ(misses_of_32_runs(), 1U);
}

TEST(Schema, MergeNamesThePatternOfANull) {
    Database db;
    const auto message = [&db](const char* query) {
        const auto a = db.run(query);
        return a.error ? a.error->message() : std::string{"no error"};
    };
    EXPECT_EQ(message("MERGE (n:UQ {k: null})"),
              "Cannot merge the following node because of null property value for 'k': "
              "(:UQ {k: null})");
    EXPECT_EQ(message("MERGE (n:A:B {j: 1, k: null})"),
              "Cannot merge the following node because of null property value for 'k': "
              "(:A:B {k: null})");
    EXPECT_EQ(message("MERGE ({k: null})"),
              "Cannot merge the following node because of null property value for 'k': "
              "({k: null})");
    EXPECT_EQ(message("CREATE (a), (b) MERGE (a)-[:R {k: null}]->(b)"),
              "Cannot merge the following relationship because of null property value for 'k': "
              "(a)-[:R {k: null}]->(b)");
}

}  // namespace
}  // namespace nornic::cypher
