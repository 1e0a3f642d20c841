// Text to tree: what is taken, how it is grouped, what is refused and with which words.

#include "cypher/parser/parser.h"

#include "cypher/ast/print.h"

#include <gtest/gtest.h>

namespace nornic::cypher {
namespace {

std::string reprint(std::string_view text) {
    auto parsed = parse(text);
    return parsed ? to_text(*parsed.value()) : "error: " + parsed.error().message();
}

std::string expression(std::string_view text) {
    const std::string printed = reprint("RETURN " + std::string{text});
    return printed.starts_with("RETURN ") ? printed.substr(7) : printed;
}

struct Case {
    std::string_view text;
    std::string_view printed;
};

TEST(ParserExpressions, GroupsByPrecedence) {
    const Case cases[] = {
        {"1 + 2 * 3", "1 + 2 * 3"},
        {"(1 + 2) * 3", "(1 + 2) * 3"},
        {"1 - 2 - 3", "1 - 2 - 3"},
        {"1 - (2 - 3)", "1 - (2 - 3)"},
        {"2 ^ 3 ^ 2", "2 ^ 3 ^ 2"},
        {"2 ^ (3 ^ 2)", "2 ^ (3 ^ 2)"},
        {"-a ^ 2", "-a ^ 2"},
        {"-(a ^ 2)", "-(a ^ 2)"},
        {"NOT a = b", "NOT a = b"},
        {"(NOT a) = b", "(NOT a) = b"},
        {"a OR b AND c XOR d", "a OR b AND c XOR d"},
        {"(a OR b) AND c", "(a OR b) AND c"},
        {"a = b IN c", "a = b IN c"},
        {"(a = b) IN c", "(a = b) IN c"},
        {"a + b STARTS WITH c", "a + b STARTS WITH c"},
        {"1 < 2 <= 3", "1 < 2 AND 2 <= 3"},
        {"1 < a.b < 3 = 4", "1 < a.b AND a.b < 3 AND 3 = 4"},
        {"a IS NULL = b IS NOT NULL", "a IS NULL = b IS NOT NULL"},
        {"NOT NOT a", "NOT NOT a"},
        {"-9223372036854775808", "-9223372036854775808"},
        {"- 1.5", "-1.5"},
        {"a || b + c", "a || b + c"},
        {"a =~ 'x.*'", "a =~ 'x.*'"},
        {"n.list[0].x[1..2]", "n.list[0].x[1..2]"},
        {"a[..]", "a[..]"},
        {"a AND b AND c AND d AND e", "a AND b AND c AND d AND e"},
    };
    for (const auto& c : cases) {
        EXPECT_EQ(expression(c.text), c.printed) << c.text;
    }
}

TEST(ParserExpressions, TakesEveryForm) {
    const Case cases[] = {
        {"0x1F + 0o17 + 1e3 + .5 + 1_000", "31 + 15 + 1000.0 + 0.5 + 1000"},
        {"'it\\'s' + \"a\\tb\" + '\\u00e9\\U0001F600'", "'it\\'s' + 'a\\tb' + 'é😀'"},
        {"`a b`.`c``d`", "`a b`.`c``d`"},
        {"$p + $`q r` + $0", "$p + $`q r` + $`0`"},
        {"{p} + { `q r` } + {0}", "$p + $`q r` + $`0`"},
        {"n {p} + {p: {p}}", "n{p} + {p: $p}"},
        {"count(*) + count(DISTINCT n.x)", "count(*) + count(DISTINCT n.x)"},
        {"duration.between(a, b)", "duration.between(a, b)"},
        {"n:A:B", "n:A&B"},
        {"n:A|(B&!C)", "n:A|B&!C"},
        {"n:(A|B)&%", "n:(A|B)&%"},
        {"n IS :: INTEGER NOT NULL", "n IS :: INTEGER NOT NULL"},
        {"n IS NOT :: LIST<STRING> | FLOAT", "n IS NOT :: LIST<STRING> | FLOAT"},
        {"n IS NFKC NORMALIZED", "n IS NFKC NORMALIZED"},
        {"{a: 1, `b c`: [1, 2]}", "{a: 1, `b c`: [1, 2]}"},
        {"n{.*, .a, b, c: 1 + 2}", "n{.*, .a, b, c: 1 + 2}"},
        {"[x IN list WHERE x > 1 | x * 2]", "[x IN list WHERE x > 1 | x * 2]"},
        {"[x IN list WHERE x:A | x.name]", "[x IN list WHERE x:A | x.name]"},
        {"[(a)-->(b:B) WHERE b.x | b.name]", "[(a)-->(b:B) WHERE b.x | b.name]"},
        {"[p = (a)-[:R*1..3]->() | length(p)]", "[p = (a)-[:R*1..3]->() | length(p)]"},
        {"all(x IN l WHERE x) AND any(y IN l WHERE y)",
         "all(x IN l WHERE x) AND any(y IN l WHERE y)"},
        {"reduce(s = 0, x IN l | s + x)", "reduce(s = 0, x IN l | s + x)"},
        {"CASE a WHEN 1 THEN 'x' ELSE 'y' END", "CASE a WHEN 1 THEN 'x' ELSE 'y' END"},
        {"CASE WHEN a THEN 1 END", "CASE WHEN a THEN 1 END"},
        {"CASE a WHEN > 1, 0 THEN 'x' END", "CASE WHEN a > 1 OR a = 0 THEN 'x' END"},
        {"CASE a WHEN IS NULL THEN 'x' END", "CASE WHEN a IS NULL THEN 'x' END"},
        {"EXISTS { (a)-->(b) WHERE b.x = 1 }", "EXISTS { MATCH (a)-->(b) WHERE b.x = 1 }"},
        {"COUNT { MATCH (a) RETURN a }", "COUNT { MATCH (a) RETURN a }"},
        {"COLLECT { MATCH (a) RETURN a.x }", "COLLECT { MATCH (a) RETURN a.x }"},
        {"exists((a)-[:X]->())", "exists((a)-[:X]->())"},
        {"(a)--(b)", "(a)--(b)"},
        {"(a) - (b)", "a - b"},
        {"(a) < -1", "a < -1"},
        {"shortestPath((a)-[*]-(b))", "shortestPath((a)-[*]-(b))"},
        {"trim(BOTH 'x' FROM y)", "btrim(y, 'x')"},
        {"trim(y)", "trim(y)"},
        {"null IS NULL", "null IS NULL"},
        {"[1, 2][0]", "[1, 2][0]"},
        {"1..2", "error"},
    };
    for (const auto& c : cases) {
        if (c.printed == "error") {
            EXPECT_TRUE(expression(c.text).starts_with("error: ")) << c.text;
        } else {
            EXPECT_EQ(expression(c.text), c.printed) << c.text;
        }
    }
}

TEST(ParserClauses, TakesEveryClause) {
    const std::string_view same[] = {
        "MATCH (p:P {id: $id}) RETURN p.v",
        "OPTIONAL MATCH p = (a:A)-[r:R|S*1..3 {x: 1}]->(b)<--(c), (d) USING INDEX a:A(x, y) USING "
        "SCAN d:D WHERE a.x > 1 RETURN *",
        "MATCH (a WHERE a.x > 1)-[r:R WHERE r.y]-(b) RETURN DISTINCT a AS x, b ORDER BY x DESC, "
        "b.c SKIP 1 LIMIT $l",
        "UNWIND [1, 2] AS x WITH *, x + 1 AS y WHERE y > 2 RETURN y",
        "CREATE (a:A)-[:R]->(b), (c) SET a.x = 1, b = {y: 2}, b += $p, c:L:M, c[$k] = 3 REMOVE "
        "a.x, c:L, c['z'] DETACH DELETE a, b",
        "MERGE (a)-[:R]->(b) ON CREATE SET a.x = 1 ON MATCH SET a.y = 2 FINISH",
        "FOREACH (x IN [1, 2] | CREATE (:A {x: x}) FOREACH (y IN [1] | SET z.y = y))",
        "CALL db.labels() YIELD label AS l WHERE l = 'a' RETURN l",
        "CALL db.labels",
        "CALL db.labels() YIELD *",
        "CALL (a, b) { RETURN 1 AS x } RETURN x",
        "CALL (*) { RETURN 1 AS x UNION RETURN 2 AS x } RETURN x",
        "CALL { WITH a CREATE (a) } IN 4 CONCURRENT TRANSACTIONS OF 10 ROWS ON ERROR CONTINUE "
        "REPORT STATUS AS s RETURN s",
        "LOAD CSV WITH HEADERS FROM 'file:///a.csv' AS row FIELDTERMINATOR ';' RETURN row",
        "USE neo4j MATCH (n) RETURN n",
        "RETURN 1 AS a UNION ALL RETURN 2 AS a UNION ALL RETURN 3 AS a",
        "EXPLAIN MATCH (n) RETURN n",
        "MATCH p = allShortestPaths((a)-[*..4]->(b)) RETURN p",
        "MATCH (a)-[r:R {x: 1} WHERE r.w > 3]->{1,3}(b)<-[r2 WHERE r2.w > 3]-{0,}(c) RETURN a",
        "MATCH (match:MATCH)-[return:RETURN]->(where) WHERE match.in = 1 RETURN return AS order",
    };
    for (const auto text : same) {
        EXPECT_EQ(reprint(text), text);
    }
    const Case cases[] = {
        {"match (n) return n;", "MATCH (n) RETURN n"},
        {"MATCH (n:A:B)-[:R|:S]-() RETURN n", "MATCH (n:A&B)-[:R|S]-() RETURN n"},
        {"MATCH (n IS A)-[IS R]->(m) RETURN n", "MATCH (n:A)-[:R]->(m) RETURN n"},
        {"MATCH (a)-[:R]->{1,3}(b)-->+(c)<--*(d) RETURN a",
         "MATCH (a)-[:R*1..3]->(b)-[*1..]->(c)<-[*0..]-(d) RETURN a"},
        {"MATCH ANY SHORTEST (a)-[:R]-+(b) RETURN a",
         "MATCH shortestPath((a)-[:R*1..]-(b)) RETURN a"},
        {"INSERT (n:A) /* c */ // d\n FINISH", "CREATE (n:A) FINISH"},
        {"CYPHER 5 runtime=slotted PROFILE RETURN 1", "PROFILE RETURN 1"},
    };
    for (const auto& c : cases) {
        EXPECT_EQ(reprint(c.text), c.printed);
    }
}

TEST(ParserCommands, TakesSchemaAndAdministration) {
    const Case cases[] = {
        {"CREATE INDEX FOR (n:L) ON (n.a, n.b)", "CREATE RANGE INDEX FOR NODE [L] ON [a, b]"},
        {"CREATE INDEX x IF NOT EXISTS FOR ()-[r:T]-() ON (r.a) OPTIONS {}",
         "CREATE RANGE INDEX x IF NOT EXISTS FOR RELATIONSHIP [T] ON [a] OPTIONS {}"},
        {"CREATE TEXT INDEX x FOR (n:L) ON n.a", "CREATE TEXT INDEX x FOR NODE [L] ON [a]"},
        {"CREATE LOOKUP INDEX FOR (n) ON EACH labels(n)", "CREATE LOOKUP INDEX FOR NODE [] ON []"},
        {"CREATE LOOKUP INDEX FOR ()-[r]-() ON type(r)",
         "CREATE LOOKUP INDEX FOR RELATIONSHIP [] ON []"},
        {"CREATE FULLTEXT INDEX f FOR (n:A|B) ON EACH [n.x, n.y]",
         "CREATE FULLTEXT INDEX f FOR NODE [A, B] ON [x, y]"},
        {"CREATE VECTOR INDEX v FOR (n:A) ON (n.x) OPTIONS {indexConfig: {}}",
         "CREATE VECTOR INDEX v FOR NODE [A] ON [x] OPTIONS {indexConfig: {}}"},
        {"CREATE CONSTRAINT c FOR (n:A) REQUIRE n.x IS UNIQUE",
         "CREATE CONSTRAINT c FOR NODE [A] REQUIRE [x] IS UNIQUE"},
        {"CREATE CONSTRAINT FOR (n:A) REQUIRE (n.x, n.y) IS NODE KEY",
         "CREATE CONSTRAINT FOR NODE [A] REQUIRE [x, y] IS KEY"},
        {"CREATE CONSTRAINT IF NOT EXISTS FOR ()-[r:T]->() REQUIRE r.x IS NOT NULL",
         "CREATE CONSTRAINT IF NOT EXISTS FOR RELATIONSHIP [T] REQUIRE [x] IS NOT NULL"},
        {"CREATE CONSTRAINT FOR (n:A) REQUIRE n.x IS :: INTEGER | STRING",
         "CREATE CONSTRAINT FOR NODE [A] REQUIRE [x] IS TYPED INTEGER | STRING"},
        {"CREATE CONSTRAINT FOR ()-[r:T]-() REQUIRE r.x IS RELATIONSHIP UNIQUE",
         "CREATE CONSTRAINT FOR RELATIONSHIP [T] REQUIRE [x] IS UNIQUE"},
        {"DROP INDEX x IF EXISTS", "DROP INDEX x IF EXISTS"},
        {"DROP CONSTRAINT x", "DROP CONSTRAINT x"},
        {"SHOW INDEXES", "SHOW INDEXES"},
        {"SHOW RANGE INDEX WHERE name = 'a'", "SHOW RANGE INDEXES WHERE name = 'a'"},
        {"SHOW NODE KEY CONSTRAINTS YIELD name, type AS t ORDER BY name LIMIT 1 WHERE t = 'x' "
         "RETURN t",
         "SHOW NODE KEY CONSTRAINTS YIELD name, type AS t ORDER BY name LIMIT 1 WHERE t = 'x' "
         "RETURN t"},
        {"SHOW BUILT IN FUNCTIONS YIELD *", "SHOW BUILT IN FUNCTIONS YIELD *"},
        {"SHOW PROCEDURES EXECUTABLE", "SHOW PROCEDURES"},
        {"SHOW TRANSACTIONS 'a', 'b'", "SHOW TRANSACTIONS 'a', 'b'"},
        {"SHOW CONFLICTS YIELD id, state WHERE state = 'open'", "SHOW CONFLICTS YIELD id, state WHERE state = 'open'"},
        {"SHOW CONFLICT 'a'", "SHOW CONFLICTS 'a'"},
        {"SHOW DEFAULT DATABASE", "SHOW DEFAULT DATABASE"},
        {"SHOW DATABASE neo4j", "SHOW DATABASES 'neo4j'"},
        {"SHOW USERS", "SHOW USERS"},
        {"SHOW CURRENT USER", "SHOW CURRENT USER"},
        {"TERMINATE TRANSACTION 'neo4j-transaction-1'",
         "TERMINATE TRANSACTIONS 'neo4j-transaction-1'"},
        {"CREATE USER bob SET PASSWORD 'secret12' CHANGE NOT REQUIRED",
         "CREATE USER 'bob' PASSWORD 'secret12' CHANGE NOT REQUIRED"},
        {"CREATE OR REPLACE USER bob SET PASSWORD $p SET STATUS SUSPENDED",
         "CREATE USER 'bob' OR REPLACE PASSWORD $p SUSPENDED"},
        {"ALTER USER bob IF EXISTS SET PASSWORD CHANGE REQUIRED",
         "ALTER USER 'bob' IF EXISTS CHANGE REQUIRED"},
        {"ALTER CURRENT USER SET PASSWORD FROM 'a' TO 'b'",
         "ALTER CURRENT USER FROM 'a' PASSWORD 'b'"},
        {"DROP USER bob IF EXISTS", "DROP USER 'bob' IF EXISTS"},
        {"RENAME USER bob TO bill", "RENAME USER 'bob' TO 'bill'"},
        {"CREATE DATABASE foo;", "UNSUPPORTED CREATE DATABASE foo"},
        {"SHOW ROLES", "UNSUPPORTED SHOW ROLES"},
        {"GRANT ROLE a TO b", "UNSUPPORTED GRANT ROLE a TO b"},
    };
    for (const auto& c : cases) {
        EXPECT_EQ(reprint(c.text), c.printed) << c.text;
    }
}

TEST(ParserErrors, SayWhatAndWhere) {
    const Case cases[] = {
        {"RETURN 9223372036854775808",
         "integer is too large (line 1, column 8 (offset: 7))\n\"RETURN 9223372036854775808\"\n    "
         "    ^"},
        {"",
         "Unexpected end of input: expected CYPHER, EXPLAIN, PROFILE or Query (line 0, column 0 "
         "(offset: 1))\n\"\"\n ^"},
        {"// c",
         "Unexpected end of input: expected CYPHER, EXPLAIN, PROFILE or Query (line 0, column 0 "
         "(offset: 1))\n\"\"\n ^"},
        {"RETURN 1; RETURN 2", "Expected exactly one statement per query but got: 2"},
        {"RETURN 'abc",
         "Failed to parse string literal. The query must contain an even number of non-escaped "
         "quotes. (line 1, column 8 (offset: 7))\n\"RETURN 'abc\"\n        ^"},
        {"RETURN 017",
         "The octal integer literal syntax `017` is no longer supported, please use `0o17` instead "
         "(line 1, column 8 (offset: 7))\n\"RETURN 017\"\n        ^"},
        {"CYPHER 25 RETURN 1", "25 is not a valid option for cypher version. Valid options are: 5"},
        {"RETURN 0x",
         "invalid literal number (line 1, column 8 (offset: 7))\n\"RETURN 0x\"\n        ^"},
        {"CREATE INDEX ON :PR(b)",
         "Invalid create index syntax, use `CREATE INDEX FOR ...` instead. (line 1, column 14 "
         "(offset: 13))\n\"CREATE INDEX ON :PR(b)\"\n              ^"},
        {"RETURN 1\n +\n )",
         "Invalid input ')': expected an expression (line 3, column 2 (offset: 13))\n\" )\"\n  ^"},
        {"RETURN 'é' AS",
         "Invalid input '': expected a variable name (line 1, column 14 (offset: 13))\n\"RETURN "
         "'é' AS\"\n              ^"},
        {"RETURN 1 AS a UNION RETURN 2 AS a UNION ALL RETURN 3 AS a",
         "Invalid combination of UNION and UNION ALL (line 1, column 35 (offset: 34))\n\"RETURN 1 "
         "AS a UNION RETURN 2 AS a UNION ALL RETURN 3 AS a\"\n                                   "
         "^"},
    };
    for (const auto& c : cases) {
        EXPECT_EQ(reprint(c.text), "error: " + std::string{c.printed}) << c.text;
    }
    EXPECT_TRUE(
        reprint("RETRUN 1")
            .starts_with("error: Invalid input 'RETRUN': expected 'ALTER', 'CALL', 'CREATE', "))
        << reprint("RETRUN 1");
    EXPECT_NE(reprint("MATCH (n RETURN n").find("Invalid input 'RETURN': expected"),
              std::string::npos)
        << reprint("MATCH (n RETURN n");
    EXPECT_NE(reprint("MATCH (n RETURN n").find("')', ':'"), std::string::npos)
        << reprint("MATCH (n RETURN n");
    for (const std::string_view bad : {"RETURN 1.34E999",
                                       "RETURN '\\uH'",
                                       "RETURN 42 \u2014 41",
                                       "RETURN [,]",
                                       "RETURN {1: 2}",
                                       "RETURN {k: {k: {}}",
                                       "MATCH (a)-[:LIKES..]->(c) RETURN c",
                                       "MATCH (a)-[:LIKES*-2]->(c) RETURN c",
                                       "RETURN /* open",
                                       "RETURN `open",
                                       "SHOW FOO",
                                       "START n=node(1) RETURN n",
                                       "MATCH (n) RETURN n.`",
                                       "RETURN \xff",
                                       "WITH",
                                       "CALL {}"}) {
        const auto parsed = parse(bad);
        ASSERT_FALSE(parsed) << bad;
        EXPECT_EQ(parsed.error().code(), ErrorCode::kSyntaxError) << bad;
    }
}

TEST(ParserBounds, DeepAndLongInputEndsInAnError) {
    const auto repeated = [](std::string_view s, int n) {
        std::string out;
        for (int i = 0; i < n; ++i) {
            out += s;
        }
        return out;
    };
    for (const auto& text : {"RETURN " + repeated("(", 100000),
                             "RETURN " + repeated("[", 100000),
                             "RETURN " + repeated("-", 100000) + "1",
                             "RETURN " + repeated("{a:", 100000),
                             "RETURN 1" + repeated("+1", 100000),
                             "RETURN a" + repeated(".b", 100000),
                             repeated("CALL {", 100000),
                             "MATCH (n:" + repeated("(", 100000),
                             "MATCH (n:" + repeated("!", 100000),
                             "RETURN x IS :: " + repeated("LIST<", 100000),
                             "RETURN " + repeated("CASE WHEN ", 100000),
                             "MATCH " + repeated("(", 100000),
                             "RETURN " + repeated("NOT ", 100000) + "true",
                             "RETURN " + repeated("1 < (a < ", 150) + "1" + repeated(") < 1", 150),
                             "RETURN x IS :: INT" + repeated(" LIST", 100000)}) {
        const auto parsed = parse(text);
        EXPECT_FALSE(parsed) << text.substr(0, 40);
    }
    EXPECT_TRUE(parse("MATCH (n) WHERE n.x = 0" + repeated(" OR n.x = 1", 20000) + " RETURN n"));
    EXPECT_TRUE(parse("RETURN " + repeated("(", 150) + "1" + repeated(")", 150)));
}

TEST(ParserTree, RecordsNamesTextAndParameters) {
    auto parsed = parse("MATCH (n) RETURN  n.a , count( * ), $b + $a + $b AS c, `x y`");
    ASSERT_TRUE(parsed);
    const auto& s = *parsed.value();
    EXPECT_EQ(s.parameters, (std::vector<std::string>{"b", "a"}));
    const auto& items =
        std::get<ReturnClause>(std::get<Query>(s.body).parts[0].clauses[1].body).projection.items;
    ASSERT_EQ(items.size(), 4U);
    EXPECT_EQ(items[0].alias, "n.a");
    EXPECT_EQ(items[1].alias, "count( * )");
    EXPECT_EQ(items[2].alias, "c");
    EXPECT_EQ(items[3].alias, "x y");
    EXPECT_EQ(items[0].expression->position.column, 20U);
}

TEST(ParserTree, ClonesAreEqualAndApart) {
    for (const std::string_view text :
         {"MATCH p = (a)-[r:R*2]->(b {x: [1, 2]}) WHERE EXISTS { MATCH (a) RETURN a } RETURN a{.*, "
          ".x}, reduce(s = 0, x IN [1] | s + x)",
          "CALL (a) { RETURN 1 AS x } IN TRANSACTIONS OF 5 ROWS RETURN [(a)-->(b) | b], CASE a "
          "WHEN 1 THEN 2 ELSE 3 END"}) {
        auto parsed = parse(text);
        ASSERT_TRUE(parsed);
        const auto& query = std::get<Query>(parsed.value()->body);
        const Query copy = clone(query);
        EXPECT_EQ(to_text(copy), to_text(query));
    }
}

}  // namespace
}  // namespace nornic::cypher
