// The shape of plans: operators from the root down, right sides in brackets.
#include "tests/cypher/harness.h"

namespace nornic::cypher {
namespace {

using testing::Database;

std::string shape(const Value& plan) {
    const Map& m = plan.as_map();
    std::string name{m.find("operatorType")->as_string()};
    name = name.substr(0, name.find('@'));
    if (const Value* children = m.find("children")) {
        for (std::size_t i = 1; i < children->as_list().size(); ++i) {
            name += "[" + shape(children->as_list()[i]) + "]";
        }
        name += " " + shape(children->as_list()[0]);
    }
    return name;
}

std::string explain(Database& db, const std::string& query, Map parameters = {}) {
    const auto a = db.run("EXPLAIN " + query, std::move(parameters));
    return a.error ? a.text() : shape(a.summary.plan);
}

TEST(Plans, SeekThroughTheIndexThatFits) {
    Database db;
    ASSERT_FALSE(db.run("CREATE CONSTRAINT c FOR (n:P) REQUIRE n.id IS UNIQUE").error);
    ASSERT_FALSE(db.run("UNWIND range(1, 1000) AS i CREATE (:P {id: i})").error);
    EXPECT_EQ(explain(db, "MATCH (p:P {id: $id}) RETURN p.v AS v", Map{{"id", Value{1}}}),
              "ProduceResults Projection CacheProperties NodeUniqueIndexSeek");
    EXPECT_EQ(explain(db, "MATCH (p:P) WHERE p.id > 3 RETURN p"),
              "ProduceResults Filter NodeIndexSeekByRange");
    EXPECT_EQ(explain(db, "MATCH (p) WHERE id(p) = 3 RETURN p"), "ProduceResults NodeByIdSeek");
}

TEST(Plans, CountsComeFromTheCountStore) {
    Database db;
    EXPECT_EQ(explain(db, "MATCH (n:P) RETURN count(*)"), "ProduceResults NodeCountFromCountStore");
    EXPECT_EQ(explain(db, "MATCH (n) RETURN count(n)"), "ProduceResults NodeCountFromCountStore");
    EXPECT_EQ(explain(db, "MATCH ()-[r:T]->() RETURN count(r)"),
              "ProduceResults RelationshipCountFromCountStore");
}

TEST(Plans, OrderWithLimitKeepsWhatIsAskedFor) {
    Database db;
    EXPECT_EQ(explain(db, "UNWIND [1, 2] AS i RETURN i ORDER BY i LIMIT 1"),
              "ProduceResults Limit Top Unwind");
}

TEST(Plans, ReadsStandBehindAnEagerOnlyWhereWritesCouldBeSeen) {
    Database db;
    EXPECT_EQ(explain(db, "UNWIND [1] AS i CREATE (:B {id: i})").find("Eager"), std::string::npos);
    EXPECT_EQ(
        explain(db, "UNWIND [1] AS i MATCH (a:U {id: i}) CREATE (a)-[:F]->(:X)").find("Eager"),
        std::string::npos);
    EXPECT_NE(explain(db, "MATCH (a:U) CREATE (:U)").find("Eager"), std::string::npos);
    EXPECT_NE(explain(db, "MATCH (a)-[r:F]->(b) CREATE (b)-[:F]->(a)").find("Eager"),
              std::string::npos);
    // A lone scan that writes the node it reads, and nothing else.
    for (const char* query : {
             "MATCH (n:U) WHERE n.x = 1 SET n.x = 2",
             "MATCH (n:U) WHERE n.x = 1 SET n.x = 2, n += {y: n.x} REMOVE n.x SET n.y = 3",
             "MATCH (n) WHERE any(x IN n.l WHERE x > $least) SET n.l = []",
             "MATCH (n:U {x: 1}) DETACH DELETE n",
         }) {
        EXPECT_EQ(explain(db, query, Map{{"least", Value{1}}}).find("Eager"), std::string::npos)
            << query;
    }
    for (const char* query : {
             "MATCH (n:U) WHERE NOT (n)-[:F]->() DETACH DELETE n",
             "MATCH (n:U WHERE NOT EXISTS { (n)-[:F]->(m) WHERE m.x = 1 }) SET n.x = 1",
             "MATCH (n:U) WHERE size([(n)-->(m) | m.x]) > 0 SET n.x = 1",
             "MATCH (n:U) WHERE n.x = 1 FOREACH (m IN [n] | SET m.x = 2)",
             "MATCH (n:U) SET n.y = COUNT { (m:U {x: 1}) } SET n.x = 1",
         }) {
        EXPECT_NE(explain(db, query).find("Eager"), std::string::npos) << query;
    }
}

TEST(Plans, RowsForTransactionsOfTheirOwnAreNotGatheredFirst) {
    Database db;
    for (const char* query : {
             "MATCH (n) CALL { WITH n DETACH DELETE n } IN TRANSACTIONS OF 10 ROWS",
             "MATCH ()-[r]->() CALL { WITH r DELETE r } IN TRANSACTIONS",
             "MATCH (n:U) WHERE n.x = 1 CALL { WITH n SET n.x = 2 CREATE (:U {x: 1}) } IN TRANSACTIONS",
             "MATCH (n:U) CALL { WITH n CREATE (m:U) RETURN m } IN TRANSACTIONS RETURN m",
         }) {
        EXPECT_EQ(explain(db, query).find("Eager"), std::string::npos) << query;
    }
    // What comes after them may meet it.
    const std::string plan =
        explain(db, "MATCH (n:U) CALL { WITH n CREATE (:V) } IN TRANSACTIONS MATCH (v:V) RETURN v");
    EXPECT_NE(plan.find("Eager TransactionForeach"), std::string::npos) << plan;
    // Where it goes on in the statement's own transaction, that waits for all of them.
    for (const char* query : {
             "CREATE (:W)",
             "CALL { WITH n CREATE (:W) } IN TRANSACTIONS",
             "CALL { WITH n CALL { CREATE (:W) } }",
             "RETURN 1 AS x UNION CREATE (:W) RETURN 1 AS x",
         }) {
        const std::string waits =
            explain(db, std::string{"MATCH (n:U) CALL { WITH n CREATE (:V) } IN TRANSACTIONS "} + query);
        EXPECT_NE(waits.find("Eager TransactionForeach"), std::string::npos) << query << ": " << waits;
    }
}

TEST(Plans, DistinctEndsPruneTheWalk) {
    Database db;
    const std::string plan =
        explain(db, "MATCH (u:U {id: 1})-[:F*1..3]->(x) RETURN count(DISTINCT x)");
    EXPECT_NE(plan.find("VarLengthExpand(Pruning,BFS)"), std::string::npos) << plan;
}

}  // namespace
}  // namespace nornic::cypher
