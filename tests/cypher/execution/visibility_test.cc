// Statements that write what they read: each row must be one of the graph as the clause found it, not of what earlier
// rows of the same clause made of it.
#include "tests/cypher/harness.h"

#include <chrono>

namespace nornic::cypher {
namespace {

using testing::Database;

void run_all(Database& db, std::initializer_list<const char*> texts) {
    for (const char* text : texts) {
        const auto a = db.run(text);
        ASSERT_FALSE(a.error) << text << ": " << a.text();
    }
}

// More rows than a scan, a seek or an operator reads ahead.

TEST(Visibility, AScanGivesNodesThatEarlierRowsChanged) {
    // Everybody knows somebody far away, in either direction.
    for (const char* index : {"RETURN 1", "CREATE INDEX person FOR (p:Person) ON (p.id)"}) {
        Database db;
        run_all(db,
                {"UNWIND range(0, 5999) AS i CREATE (:Person {id: i, lonely: true})",
                 "MATCH (a:Person) WITH collect(a) AS all "
                 "UNWIND range(0, 5999) AS i WITH all[i] AS a, all[(i * 3001 + 17) % 6000] AS b "
                 "CREATE (a)-[:KNOWS]->(b)",
                 index});
        ASSERT_TRUE(db.engine()->await_indexes(
            "neo4j", "", system_clock().now() + std::chrono::seconds{30}));
        for (const char* query : {
                 "MATCH (a:Person)-[:KNOWS]->(b) SET b.popular = true RETURN count(*)",
                 "MATCH (a:Person)-[:KNOWS]->(b) SET b:Popular RETURN count(*)",
                 "MATCH (a:Person)-[:KNOWS]->(b) REMOVE b.lonely RETURN count(*)",
                 "MATCH p = (a:Person)-[:KNOWS]->() "
                 "FOREACH (n IN nodes(p) | SET n.seen = true) RETURN count(*)",
                 "MATCH (a:Person) WHERE a.id >= 0 MATCH (a)-[:KNOWS]->(b) SET b.popular = true "
                 "RETURN count(*)",
                 "MATCH (a) WHERE a.id >= 0 MATCH (a)-[:KNOWS]->(b) SET b.popular = true "
                 "RETURN count(*)",
                 "MATCH ()-[r:KNOWS]->()-[q:KNOWS]->() SET q.seen = true RETURN count(*)",
             }) {
            EXPECT_EQ(db.run(query).text(), "6000\n") << query << " after " << index;
        }
    }
}

TEST(Visibility, ASubqueryOfAPredicateDoesNotSeeWhatEarlierRowsWrote) {
    Database db;
    // Children before their parents, and these before theirs.
    run_all(db,
            {"UNWIND range(1, 1500) AS i CREATE (:Cat {i: i})",
             "MATCH (c:Cat) CREATE (:Parent:Cat)-[:HAS]->(c)",
             "MATCH (c:Parent) CREATE (:Grandparent:Cat)-[:HAS]->(c)",
             "MATCH (n:Cat) WHERE NOT (n)-[:HAS]->() DETACH DELETE n"});
    EXPECT_EQ(db.run("MATCH (n:Cat) RETURN count(*), COUNT { (:Cat)-[:HAS]->(:Cat) }").text(),
              "3000 | 1500\n");

    run_all(db,
            {"UNWIND range(1, 1500) AS i CREATE (:Task {done: false})",
             "MATCH (t:Task) CREATE (:Second:Task {done: false})-[:DEP]->(t)",
             "MATCH (t:Second) CREATE (:Task {done: false})-[:DEP]->(t)",
             "MATCH (t:Task) WHERE NOT EXISTS { (t)-[:DEP]->(x:Task) WHERE x.done = false } "
             "SET t.done = true"});
    EXPECT_EQ(db.run("MATCH (t:Task) WHERE t.done RETURN count(*)").text(), "1500\n");
}

TEST(Visibility, ALoneScanWritesAheadOnlyOfWhatItReadsItself) {
    Database db;
    run_all(db,
            {"CREATE (:Mark:N)",
             "UNWIND range(1, 1500) AS i CREATE (:N {i: i})",
             "MATCH (n:N) WHERE n.i > 0 CREATE (n)-[:NEXT]->(:Second:N)",
             "MATCH (n:Second) CREATE (n)-[:NEXT]->(:N)",
             "MATCH (n:N) WHERE n.p IS NULL FOREACH (m IN [(n)-[:NEXT]->(x) | x] | SET m.p = 1)"});
    EXPECT_EQ(db.run("MATCH (n:N) RETURN count(n.p)").text(), "3000\n");

    run_all(db, {"MATCH (n:N) SET n.y = COUNT { MATCH (m:Mark) WHERE m.z = 1 } SET n.z = 1"});
    EXPECT_EQ(db.run("MATCH (n:N) RETURN sum(n.y), sum(n.z)").text(), "0 | 4501\n");

    run_all(db,
            {"MATCH (n:N) WHERE n.q IS NULL CALL { WITH n MATCH (n)-[:NEXT]->(m) SET m.q = 1 }"});
    EXPECT_EQ(db.run("MATCH (n:N) RETURN count(n.q)").text(), "3000\n");
}

}  // namespace
}  // namespace nornic::cypher
