// CALL { … } IN TRANSACTIONS beside other writers, and what the rest of the statement sees of its work.
#include "tests/cypher/harness.h"

namespace nornic::cypher {
namespace {

using testing::Database;

/// test.meddle(): commits `write` in a transaction of its own, the first `times` that it is called.
void add_meddler(Database& db, std::string write, int times) {
    Procedure meddle;
    meddle.name = "test.meddle";
    meddle.run = [&db, write = std::move(write), left = std::make_shared<int>(times)](
                     ProcedureCall&) -> Result<> {
        if (*left > 0) {
            --*left;
            const auto a = db.run(write);
            EXPECT_FALSE(a.error) << a.text();
        }
        return success();
    };
    db.registry().add(std::move(meddle));
}

TEST(InTransactions, AGroupThatLosesARowToAnotherWriterRunsAgain) {
    for (const char* on_error : {"", " ON ERROR CONTINUE", " ON ERROR BREAK"}) {
        Database db;
        ASSERT_FALSE(db.run("CREATE (:C {n: 0})").error);
        add_meddler(db, "MATCH (c:C) SET c.n = c.n + 100", 3);
        const auto a = db.run(std::string{"UNWIND [1, 2, 3] AS i CALL { WITH i MATCH (c:C) CALL test.meddle() "
                                          "SET c.n = c.n + i } IN TRANSACTIONS OF 2 ROWS"} +
                              on_error);
        ASSERT_FALSE(a.error) << a.text();
        EXPECT_EQ(db.run("MATCH (c:C) RETURN c.n").text(), "306\n");
        EXPECT_EQ(a.summary.counters.properties_set, 3) << "failed tries do not count";
    }
}

TEST(InTransactions, AnotherErrorFailsTheGroupAtOnce) {
    Database db;
    const auto a = db.run(
        "UNWIND [1, 0, 2] AS i CALL { WITH i CREATE (:D {x: 2 / i}) } IN TRANSACTIONS OF 1 ROW "
        "ON ERROR CONTINUE REPORT STATUS AS s RETURN i, s.committed, s.errorMessage IS NULL");
    EXPECT_EQ(a.text(), "1 | true | true\n0 | false | false\n2 | true | true\n");
    EXPECT_EQ(db.run("MATCH (d:D) RETURN count(*)").text(), "2\n");
}

TEST(InTransactions, WhatComesAfterSeesWhatWasCommitted) {
    Database db;
    EXPECT_EQ(db.run("UNWIND [1, 2, 3] AS i CALL { WITH i CREATE (n:X {i: i}) RETURN n } "
                     "IN TRANSACTIONS OF 2 ROWS RETURN n, n.i, labels(n)")
                  .text(),
              "(:X {i: 1}) | 1 | ['X']\n(:X {i: 2}) | 2 | ['X']\n(:X {i: 3}) | 3 | ['X']\n");
    EXPECT_EQ(db.run("MATCH (x:X) CALL { WITH x SET x.i = x.i * 10 } IN TRANSACTIONS OF 1 ROW "
                     "WITH x ORDER BY x.i DESC RETURN collect(x.i), sum(x.i)")
                  .text(),
              "[30, 20, 10] | 60\n");
    EXPECT_EQ(db.run("MATCH (x:X) CALL { WITH x CREATE (x)-[:R]->(y:Y) RETURN y } "
                     "IN TRANSACTIONS OF 1 ROW MATCH p = (x)-[:R]->(y) "
                     "RETURN count(p)")
                  .text(),
              "3\n");
}

TEST(InTransactions, TheInputDoesNotMeetItsOwnWork) {
    Database db;
    ASSERT_FALSE(db.run("UNWIND range(1, 300) AS i CREATE (:X {i: i})").error);
    EXPECT_EQ(db.run("MATCH (x:X) CALL { WITH x CREATE (n:X {i: -x.i}) RETURN n } "
                     "IN TRANSACTIONS OF 1 ROW RETURN count(*), sum(x.i + n.i)")
                  .text(),
              "300 | 0\n");
    EXPECT_EQ(db.run("MATCH (x:X) RETURN count(*)").text(), "600\n");
}

TEST(InTransactions, AllRowsSeeTheSameGraphWhereTheRestWrites) {
    Database db;
    const auto logged = [&](const char* query) {
        const auto a = db.run(query);
        EXPECT_FALSE(a.error) << query << ": " << a.text();
        const std::string out = db.run("MATCH (l:Log) RETURN count(*), count(l.v), sum(l.v)").text();
        EXPECT_FALSE(db.run("MATCH (l:Log) DETACH DELETE l").error);
        return out;
    };
    EXPECT_EQ(logged("UNWIND range(1, 20) AS i CALL { WITH i CREATE (n:X {i: i}) RETURN n } "
                     "IN TRANSACTIONS OF 3 ROWS WITH n, n.i AS v CREATE (:Log {v: v})"),
              "20 | 20 | 210\n");
    EXPECT_EQ(logged("MATCH (x:X) CALL { WITH x SET x.i = x.i * 10 } IN TRANSACTIONS OF 3 ROWS "
                     "WITH x, x.i AS v CREATE (:Log {v: v})"),
              "20 | 20 | 2100\n");
    EXPECT_EQ(logged("UNWIND range(1, 20) AS i CALL { WITH i CREATE (n:Y {i: i}) RETURN n } "
                     "IN TRANSACTIONS CREATE (:Log {v: n.i})"),
              "20 | 20 | 210\n");
    EXPECT_EQ(logged("UNWIND range(1, 20) AS i CALL { WITH i CREATE (n:Y {i: i}) RETURN n } "
                     "IN TRANSACTIONS CALL { WITH n CREATE (:Log {v: n.i}) }"),
              "20 | 20 | 210\n");
    EXPECT_EQ(logged("UNWIND range(1, 20) AS i CALL { WITH i CREATE (n:A {i: i}) RETURN n } "
                     "IN TRANSACTIONS OF 3 ROWS MATCH (a:A {i: n.i}) "
                     "CALL { WITH a CREATE (:Log {v: a.i}) } IN TRANSACTIONS OF 4 ROWS"),
              "20 | 20 | 210\n");
    EXPECT_EQ(logged("UNWIND range(1, 20) AS i CALL { WITH i CREATE (n:B {i: i}) RETURN n } "
                     "IN TRANSACTIONS RETURN n.i AS v UNION ALL "
                     "MATCH (b:B) WITH b, b.i AS v CREATE (:Log {v: v}) RETURN v"),
              "20 | 20 | 210\n");
    EXPECT_EQ(logged("UNWIND range(1, 20) AS i CALL { WITH i CREATE (:C {v: 2 / (i - 1)}) } "
                     "IN TRANSACTIONS OF 1 ROW ON ERROR CONTINUE CREATE (:Log {v: COUNT { (:C) }})"),
              "20 | 20 | 380\n");
}

TEST(InTransactions, TheRestMayChangeWhatWasCommitted) {
    Database db;
    const auto a = db.run("UNWIND range(1, 20) AS i CALL { WITH i CREATE (n:X) RETURN n } IN TRANSACTIONS "
                          "OF 3 ROWS CREATE (n)-[:R]->(:Z)");
    ASSERT_FALSE(a.error) << a.text();
    EXPECT_EQ(a.summary.counters.nodes_created, 40);
    EXPECT_EQ(db.run("MATCH (x:X) CALL { WITH x SET x.a = 1 } IN TRANSACTIONS OF 3 ROWS "
                     "SET x.done = x.a + 1 RETURN count(x), sum(x.done)")
                  .text(),
              "20 | 40\n");
    EXPECT_EQ(db.run("MATCH (x:X {a: 1, done: 2})-[:R]->(:Z) RETURN count(*)").text(), "20\n");
}

TEST(InTransactions, WhoWritesAfterItSeesItsOwnWrites) {
    Database db;
    ASSERT_FALSE(db.run("CREATE (:Z {i: 0})").error);
    EXPECT_EQ(db.run("UNWIND [1, 2] AS i CALL { WITH i CREATE (:X {i: i}) } "
                     "IN TRANSACTIONS OF 1 ROW MATCH (z:Z) SET z.i = z.i + i RETURN z.i")
                  .text(),
              "3\n3\n");
}

}  // namespace
}  // namespace nornic::cypher
