// What ends a statement before it has finished: the memory it may hold, and being killed.
#include "tests/cypher/harness.h"

#include <atomic>
#include <thread>

namespace nornic::cypher {
namespace {

using testing::Database;

constexpr std::size_t kKiB = 1024;

/// Two hubs of 5,000 leaves each and no way from one to the other; 40 x 40 ways from :S to :T; a
/// ring of twelve nodes that all know each other.
void build(Database& db) {
    for (const char* text :
         {"CREATE (a:Hub {k: 1}), (b:Hub {k: 2}) "
          "FOREACH (i IN range(1, 5000) | CREATE (a)-[:R]->(:Leaf), (b)-[:R]->(:Leaf))",
          "CREATE (s:S), (t:T) FOREACH (i IN range(1, 40) | CREATE (s)-[:P]->(:X)) "
          "FOREACH (i IN range(1, 40) | CREATE (:Y)-[:P]->(t))",
          "MATCH (x:X), (y:Y) CREATE (x)-[:P]->(y)",
          "FOREACH (i IN range(0, 11) | CREATE (:K {i: i}))",
          "MATCH (a:K), (b:K) WHERE a.i < b.i CREATE (a)-[:Q]->(b)"}) {
        const auto a = db.run(text);
        ASSERT_FALSE(a.error) << text << ": " << a.text();
    }
}

struct Case {
    const char* query;
    std::size_t limit;
};

const Case kTooMuch[] = {
    // Walks.
    {"MATCH (h:Hub {k: 1}) WITH h MATCH (h)-[:R*1..2]->(x) RETURN count(*)", 64 * kKiB},
    {"MATCH (h:Hub {k: 1}) WITH h MATCH (h)-[:R*1..2]->(x) RETURN count(DISTINCT x)", 256 * kKiB},
    {"MATCH (a:Hub {k: 1}), (b:Hub {k: 2}), p = shortestPath((a)-[:R*]-(b)) RETURN length(p)",
     256 * kKiB},
    {"MATCH (a:S), (b:T), p = allShortestPaths((a)-[:P*]-(b)) RETURN count(p)", 128 * kKiB},
    // Aggregates, within groups as well as without.
    {"UNWIND range(1, 20000) AS i RETURN i % 3 AS g, count(DISTINCT i) AS c", 256 * kKiB},
    {"UNWIND range(1, 20000) AS i RETURN count(DISTINCT i) AS c", 256 * kKiB},
    {"UNWIND range(1, 20000) AS i RETURN i % 3 AS g, sum(DISTINCT i) AS c", 256 * kKiB},
    {"UNWIND range(1, 20000) AS i RETURN i % 3 AS g, collect(DISTINCT i) AS c", 256 * kKiB},
    {"UNWIND range(1, 20000) AS i RETURN i % 3 AS g, size(collect(i)) AS c", 256 * kKiB},
    {"UNWIND range(1, 20000) AS i RETURN i % 3 AS g, percentileCont(i, 0.5) AS c", 256 * kKiB},
    {"UNWIND range(1, 20000) AS i RETURN i AS g, count(*) AS c", 256 * kKiB},
    {"UNWIND range(1, 20000) AS i RETURN DISTINCT i", 256 * kKiB},
    // Rows kept aside.
    {"UNWIND range(1, 20000) AS i RETURN i ORDER BY i", 256 * kKiB},
    {"MATCH (a:Leaf), (b:Leaf) RETURN count(*)", 32 * kKiB},
    {"UNWIND range(1, 20000) AS i WITH i UNWIND range(1, 2) AS j CREATE (:Z) RETURN i", 256 * kKiB},
    {"MERGE (n:Leaf) RETURN count(n)", 64 * kKiB},
    {"UNWIND range(1, 20000) AS i CALL { WITH i CREATE (:Z {i: i}) } IN TRANSACTIONS OF 20000 ROWS",
     128 * kKiB},
    {"RETURN size(COLLECT { MATCH (n:Leaf) RETURN n })", 64 * kKiB},
    // Values: each would pass by itself, all of a batch or a list do not.
    {"UNWIND range(1, 1000) AS i WITH range(i, i + 1000) AS l RETURN count(l)", 1024 * kKiB},
    {"UNWIND range(1, 50) AS i RETURN size([x IN range(1, 500) | range(i, i + 500)])", 1024 * kKiB},
    {"UNWIND [1000] AS i RETURN size([range(1, i), range(2, i), range(3, i)])", 40 * kKiB},
    {"RETURN size(reduce(s = 'x', i IN range(1, 40) | s + s))", 1024 * kKiB},
    {"RETURN size(reduce(s = [1], i IN range(1, 40) | s + s))", 1024 * kKiB},
    {"RETURN size(reduce(s = 'xy', i IN range(1, 40) | replace(s, 'x', s)))", 1024 * kKiB},
    {"RETURN size(reduce(s = 'x', i IN range(1, 40) | s || s))", 1024 * kKiB},
    {"RETURN size(split(reduce(s = 'ab', i IN range(1, 16) | s + s), ''))", 1024 * kKiB},
    {"RETURN size(split(reduce(s = 'a,', i IN range(1, 16) | s + s), ','))", 1024 * kKiB},
    {"RETURN size(toUpper(reduce(s = 'ä', i IN range(1, 17) | s + s)))", 1024 * kKiB},
    {"RETURN size(toStringList(range(1, 40000)))", 1024 * kKiB},
    {"RETURN reduce(m = {a: range(1, 100)}, i IN range(1, 40) | m {x: m, y: m}) IS NULL",
     1024 * kKiB},
};

TEST(Limits, WhatAStatementHoldsIsCounted) {
    Database db;
    build(db);
    for (const Case& c : kTooMuch) {
        db.memory_bytes_max = c.limit;
        const auto a = db.run(c.query);
        ASSERT_TRUE(a.error) << c.query;
        EXPECT_EQ(a.error->code(), ErrorCode::kMemoryLimit) << c.query << ": " << a.text();
    }
    EXPECT_EQ(db.run("MATCH (z:Z) RETURN count(*)").text(), "0\n") << "what failed left nothing";
}

TEST(Limits, WhatIsUsedUpIsGivenBack) {
    Database db;
    build(db);
    db.memory_bytes_max = 512 * kKiB;
    for (const char* query : {
             // Hundreds of searches, sorts and lists one after the other, none of which is large.
             "UNWIND range(1, 300) AS i MATCH (a:K {i: 0})-[:Q*1..3]->(x) RETURN count(*) > 0",
             "UNWIND range(1, 300) AS i MATCH (a:K {i: 0}), (b:K {i: 11}), "
             "p = shortestPath((a)-[:Q*]-(b)) RETURN sum(length(p)) > 0",
             "UNWIND range(1, 300) AS i CALL { MATCH (k:K) RETURN k ORDER BY k.i LIMIT 5 } "
             "RETURN count(*) > 0",
             "UNWIND range(1, 100000) AS i WITH [i, i + 1] AS l RETURN sum(l[0]) > 0",
             "UNWIND range(1, 3000) AS i RETURN sum(size([x IN range(1, 500) | x + i])) > 0",
             "UNWIND range(1, 300) AS i RETURN sum(size(COLLECT { MATCH (k:K) RETURN k })) > 0",
         }) {
        EXPECT_EQ(db.run(query).text(), "true\n") << query;
    }
}

TEST(Limits, RowsThatAreCompletedForLaterAreCounted) {
    Database db;
    build(db);
    const auto complete = [&](std::size_t limit) -> std::optional<Error> {
        db.memory_bytes_max = limit;
        const auto transaction = db.engine().begin();
        const Map none;
        auto prepared = db.cache().prepare(
            "MATCH (n:Leaf) WITH {l: collect(n)} AS l CREATE (:Done) RETURN l", none, *transaction);
        if (!prepared) {
            return prepared.error();
        }
        auto execution = start(prepared.value(), db.services(*transaction), none);
        if (!execution) {
            return execution.error();
        }
        if (auto worked = execution.value()->pull(0, nullptr); !worked) {
            return Error{ErrorCode::kTerminated, worked.error().message()};
        }
        if (auto completed = execution.value()->complete_rows(); !completed) {
            return completed.error();
        }
        return std::nullopt;
    };
    // 10,000 references pass, as many nodes do not.
    const auto error = complete(2048 * kKiB);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code(), ErrorCode::kMemoryLimit) << error->message();
    EXPECT_FALSE(complete(64 * 1024 * kKiB));
}

TEST(Limits, TransactionsOfTheirOwnTakeAGroupOfRowsAtATime) {
    Database db;
    ASSERT_FALSE(db.run("UNWIND range(1, 20000) AS i CREATE (:Z)").error);
    db.memory_bytes_max = 128 * kKiB;
    const auto a = db.run("MATCH (n) CALL { WITH n DETACH DELETE n } IN TRANSACTIONS OF 100 ROWS");
    ASSERT_FALSE(a.error) << a.text();
    EXPECT_EQ(a.summary.counters.nodes_deleted, 20000);
    EXPECT_EQ(db.run("MATCH (n) RETURN count(*)").text(), "0\n");
}

TEST(Limits, ValuesAreNestedOnlySoDeep) {
    Database db;
    for (const char* query : {
             "RETURN reduce(a = {}, x IN range(1, 1000000) | a {k: a}) IS NULL",
             "RETURN reduce(a = {}, x IN range(1, 1000000) | {k: a}) IS NULL",
             "RETURN reduce(a = [], x IN range(1, 1000000) | [a]) IS NULL",
             "RETURN reduce(a = [], x IN range(1, 1000000) | [y IN [1] | a]) IS NULL",
             "RETURN reduce(a = [], x IN range(1, 1000000) | [] + [a]) IS NULL",
             "RETURN reduce(a = [], x IN range(1, 1000000) | COLLECT { RETURN a }) IS NULL",
             "UNWIND range(1, 3) AS i WITH i, reduce(a = 1, x IN range(1, 1000) | [a]) AS a "
             "RETURN collect(a) IS NULL",
         }) {
        const auto a = db.run(query);
        ASSERT_TRUE(a.error) << query;
        EXPECT_EQ(a.error->code(), ErrorCode::kArgumentError) << query << ": " << a.text();
    }
    const auto a =
        db.run("WITH reduce(a = 1, x IN range(1, 998) | {k: a}) AS a, "
               "reduce(a = 1, x IN range(1, 998) | {k: a}) AS b "
               "WITH a, b, a = b AS same ORDER BY a, b RETURN DISTINCT collect([a, b]), same");
    ASSERT_EQ(a.rows.size(), 1U) << a.text();
    EXPECT_EQ(a.rows[0][0].depth(), 1000U);
    EXPECT_TRUE(a.rows[0][1].is_true());
}

TEST(Limits, AStatementHasOnlySoManyClauses) {
    Database db;
    const auto repeat = [](std::string text, std::string_view more, int times) {
        for (int i = 0; i < times; ++i) {
            text += more;
        }
        return text;
    };
    for (const auto& [text, more] : std::initializer_list<std::pair<const char*, const char*>>{
             {"EXPLAIN CREATE (n)", " SET n.a = 1"},
             {"CREATE (n)", " SET n.a = 1"},
             {"MATCH (n)", " WITH n MATCH (n)"},
             {"MATCH (n)", "-->()"},
             {"MATCH (n)", ", ()"},
             {"MATCH (n)", " CALL { RETURN 1 AS x } WITH n"},
             {"RETURN 1 IN [1", ", COUNT { MATCH (n) }"},
         }) {
        const bool open = std::string_view{text}.find('[') != std::string_view::npos;
        const auto a = db.run(repeat(text, more, 20'000) + (open ? "]" : " FINISH"));
        ASSERT_TRUE(a.error) << text << more;
        EXPECT_EQ(a.error->code(), ErrorCode::kSyntaxError) << a.text();
        EXPECT_NE(a.error->message().find("too many"), std::string::npos) << a.text();
    }
    EXPECT_EQ(db.run("MATCH (n) RETURN count(*)").text(), "0\n");
    EXPECT_FALSE(db.run(repeat("CREATE (n)", " SET n.a = 1", 2999)).error);
    EXPECT_FALSE(db.run(repeat("CREATE (n)", " CREATE (:B)", 2999)).error);
    // What lies beside the clauses is not on top of them.
    for (const auto& [text, more] : std::initializer_list<std::pair<const char*, const char*>>{
             {"MERGE (n:M {a: 1})", " MERGE (:M {a: 2})"},
             {"MATCH (n:M {a: 1})", " OPTIONAL MATCH (:M {a: 3})"},
             {"MATCH (n:M {a: 1})", " CALL { WITH n SET n.b = 1 SET n.b = 2 SET n.b = 3 }"},
             {"MATCH (n:M {a: 1})", " FOREACH (i IN [1, 2] | SET n.c = i SET n.d = i SET n.e = i)"},
         }) {
        const auto a = db.run(repeat(text, more, 800) + " RETURN count(*)");
        EXPECT_EQ(a.text(), "1\n") << text << more;
    }
    // But on top of one another within it.
    const auto inner = db.run("MATCH (n) CALL { WITH n" + repeat("", " SET n.a = 1", 3100) + " } FINISH");
    ASSERT_TRUE(inner.error);
    EXPECT_EQ(inner.error->code(), ErrorCode::kSyntaxError) << inner.text();
    EXPECT_FALSE(db.run(repeat("CREATE (n)", ", (:B)", 20'000)).error);
    EXPECT_EQ(db.run(repeat("RETURN 1 AS x", " UNION ALL RETURN 1 AS x", 2999)).rows.size(), 3000U);
}

TEST(Limits, ALongListMayBeLookedUpInAnIndex) {
    Database db;
    ASSERT_FALSE(db.run("CREATE INDEX p FOR (p:P) ON (p.id)").error);
    ASSERT_FALSE(db.run("UNWIND range(1, 1000) AS i CREATE (:P {id: i})").error);
    List ids;
    for (int i = 0; i < 300'000; ++i) {
        ids.emplace_back(i % 250'000);
        if (i % 1000 == 0) {
            ids.emplace_back(static_cast<double>(i % 250'000));  // the same value
        }
    }
    const Map parameters{{"ids", Value{std::move(ids)}}};
    EXPECT_EQ(db.run("MATCH (p:P) WHERE p.id IN $ids RETURN count(*), sum(p.id)", parameters).text(),
              "1000 | 500500\n");
    db.memory_bytes_max = 1024 * kKiB;
    const auto a = db.run("MATCH (p:P) WHERE p.id IN $ids RETURN count(*)", parameters);
    ASSERT_TRUE(a.error);
    EXPECT_EQ(a.error->code(), ErrorCode::kMemoryLimit);
}

TEST(Limits, AShortestPathMayBeLong) {
    Database db;
    ASSERT_FALSE(db.run("CREATE (:C {i: 0})").error);
    ASSERT_FALSE(db.run("UNWIND range(1, 60000) AS i CREATE (:C {i: i})").error);
    ASSERT_FALSE(db.run("CREATE INDEX c FOR (c:C) ON (c.i)").error);
    ASSERT_FALSE(db.run("UNWIND range(1, 60000) AS i MATCH (a:C {i: i - 1}), (b:C {i: i}) "
                        "CREATE (a)-[:N]->(b)")
                     .error);
    EXPECT_EQ(db.run("MATCH (a:C {i: 0}), (b:C {i: 60000}), p = shortestPath((a)-[:N*]->(b)) "
                     "RETURN length(p)")
                  .text(),
              "60000\n");
}

TEST(Limits, AllShortestPathsAreAllOfThem) {
    Database db;
    build(db);
    EXPECT_EQ(db.run("MATCH (a:S), (b:T), p = allShortestPaths((a)-[:P*]-(b)) "
                     "RETURN count(DISTINCT p), min(length(p)), max(length(p))")
                  .text(),
              "1600 | 3 | 3\n");
    // A predicate over the whole path: the shortest of those that pass.
    EXPECT_EQ(db.run("MATCH (a:K {i: 0}), (b:K {i: 3}), p = allShortestPaths((a)-[:Q*]->(b)) "
                     "WHERE length(p) > 1 RETURN [n IN nodes(p) | n.i] AS l ORDER BY l")
                  .text(),
              "[0, 1, 3]\n[0, 2, 3]\n");
}

TEST(Limits, AConditionOnEachRelationshipCutsTheSearchForAShortestPath) {
    Database db;
    build(db);
    ASSERT_FALSE(db.run("MATCH (:K)-[r:Q]->(:K {i: 11}) SET r.closed = true").error);
    // A hundred million ways lead from 0 to its neighbours.
    for (const char* condition : {"none(r IN relationships(p) WHERE r.closed IS NOT NULL)",
                                  "all(x IN relationships(p) WHERE x.closed IS NULL)",
                                  "all(x IN r WHERE coalesce(x.closed, false) = wanted)"}) {
        EXPECT_EQ(db.run(std::string{"WITH false AS wanted MATCH (a:K {i: 0}), (b:K {i: 11}), "
                                     "p = shortestPath((a)-[r:Q*]-(b)) WHERE "} +
                         condition + " RETURN count(p)")
                      .text(),
                  "0\n")
            << condition;
    }
    ASSERT_FALSE(db.run("CREATE (s:Start), (e:End), (m), (n), (s)-[:W {w: 1}]->(m)-[:W {w: 9}]->(e), "
                        "(s)-[:W {w: 2}]->(n)-[:W {w: 2}]->(:X)-[:W {w: 3}]->(e)")
                     .error);
    EXPECT_EQ(db.run("MATCH p = shortestPath((:Start)-[:W*]->(:End)) "
                     "WHERE all(r IN relationships(p) WHERE r.w < 9) "
                     "AND none(r IN relationships(p) WHERE r.w = 7) AND length(p) > 1 "
                     "RETURN [r IN relationships(p) | r.w]")
                  .text(),
              "[2, 2, 3]\n");
}

TEST(Limits, AKilledStatementEndsWhereverItIs) {
    Database db;
    build(db);
    std::atomic<bool> running{false};
    Procedure started;
    started.name = "test.started";
    started.run = [&](ProcedureCall&) -> Result<> {
        running = true;
        return success();
    };
    db.registry().add(std::move(started));
    for (const char* query : {
             "UNWIND range(1, 1000000000000) AS i RETURN count(i)",
             "UNWIND range(1, 1000000000000) AS i WITH i WHERE i < 0 RETURN i",
             "MATCH (a:K)-[:Q*]-(b) RETURN count(*)",
             "MATCH (a:Leaf), (b:Leaf), (c:Leaf) RETURN count(*)",
             "MATCH (a:K {i: 0}), (b:K {i: 11}), p = shortestPath((a)-[:Q*]-(b)) "
             "WHERE length(p) > 60 RETURN p",
             "RETURN size([x IN range(1, 1000000) WHERE all(y IN range(1, 1000000) WHERE y > 0)])",
             "RETURN reduce(s = 0, x IN range(1, 1000000) | "
             "reduce(t = s, y IN range(1, 1000000) | t % 7 + y))",
             "UNWIND range(1, 1000000000000) AS i FOREACH (x IN [] | CREATE (:Z))",
         }) {
        running = false;
        const auto transaction = db.engine().begin();
        std::thread killer{[&] {
            while (!running) {
                std::this_thread::yield();
            }
            transaction->terminate(Error{ErrorCode::kTerminated, "stop it"});
        }};
        const auto a = db.run_in(*transaction, std::string{"CALL test.started() "} + query);
        if (!running) {
            running = true;  // It failed before it began: the thread must end all the same.
        }
        killer.join();
        ASSERT_TRUE(a.error) << query;
        EXPECT_EQ(a.error->code(), ErrorCode::kTerminated) << query << ": " << a.text();
    }
}

}  // namespace
}  // namespace nornic::cypher
