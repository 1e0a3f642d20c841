// Names, types, aggregation and clause composition: what is refused with which words, and what the
// tree says afterwards.

#include "cypher/semantics/semantics.h"

#include "cypher/ast/print.h"
#include "cypher/parser/parser.h"
#include "cypher/procedures/procedure.h"
#include "engine/tokens.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace nornic::cypher {
namespace {

ProcedureRegistry test_registry() {
    ProcedureRegistry registry;
    Procedure p;
    p.name = "test.proc";
    p.arguments = {ProcedureField{"name", "STRING", types::kString, std::nullopt, false},
                   ProcedureField{"n", "INTEGER", types::kInteger, Value{7}, false}};
    p.results = {ProcedureField{"out", "STRING", types::kString, std::nullopt, false},
                 ProcedureField{"extra", "INTEGER", types::kInteger, std::nullopt, true}};
    p.run = [](ProcedureCall&) -> Result<> { return success(); };
    registry.add(p);
    p.name = "test.nothing";
    p.arguments.clear();
    p.results.clear();
    registry.add(p);
    p.name = "internal.show.indexes";
    p.results = {ProcedureField{"name", "STRING", types::kString, std::nullopt, false},
                 ProcedureField{"options", "MAP", types::kMap, std::nullopt, true}};
    registry.add(p);
    return registry;
}

struct Outcome {
    std::unique_ptr<Statement> statement;
    Semantics semantics;
    std::string error;
    std::string gql;
    ErrorCode code = ErrorCode::kInternal;
};

Outcome run(std::string_view text, const Map& parameters = {}) {
    static const ProcedureRegistry kRegistry = test_registry();
    Outcome out;
    auto parsed = parse(text);
    if (!parsed) {
        out.error = "parse: " + parsed.error().message();
        return out;
    }
    out.statement = std::move(parsed).value();
    auto analysed = analyse(*out.statement, parameters, &kRegistry);
    if (!analysed) {
        out.error = analysed.error().message();
        out.gql = analysed.error().gql();
        out.code = analysed.error().code();
        return out;
    }
    out.semantics = std::move(analysed).value();
    return out;
}

struct Refused {
    std::string_view text;
    std::string_view message;  // up to the position
    std::uint32_t column;
    std::string_view gql;
};

TEST(SemanticsErrors, SayWhatAndWhere) {
    const Refused cases[] = {
        {"RETURN nofunc(1)", "Unknown function 'nofunc'", 8, "42001>42N48"},
        {"RETURN nope", "Variable `nope` not defined", 8, "42001>42N62"},
        {"MATCH (n) RETURN m", "Variable `m` not defined", 18, "42001>42N62"},
        {"RETURN 1 + {a:1}",
         "Type mismatch: expected Float, Integer, String or List<T> but was Map",
         12,
         "42001>22NB1"},
        {"RETURN size(1)",
         "Type mismatch: expected String or List<T> but was Integer",
         13,
         "22G03>22N27"},
        {"WITH 1 AS x RETURN x.a",
         "Type mismatch: expected Map, Node, Relationship, Point, Duration, Date, Time, LocalTime, "
         "LocalDateTime or DateTime but was Integer",
         20,
         "22G03>22N27"},
        {"UNWIND [1] AS x RETURN x.a",
         "Type mismatch: expected Map, Node, Relationship, Point, Duration, Date, Time, LocalTime, "
         "LocalDateTime or DateTime but was Integer",
         24,
         "22G03>22N27"},
        {"CREATE (a)-[:F]-(b)",
         "Only directed relationships are supported in CREATE",
         11,
         "42001>42I56"},
        {"CREATE (a)-[:F|G]->(b)",
         "A single relationship type must be specified for CREATE",
         11,
         "42001>42I14"},
        {"CREATE (a)-[:F*2]->(b)",
         "Variable length relationships cannot be used in CREATE",
         11,
         ""},
        {"RETURN 1 AS a, 2 AS a",
         "Multiple result columns with the same name are not supported",
         21,
         "42001>42N38"},
        {"MATCH (n) WITH n.a RETURN 1",
         "Expression in WITH must be aliased (use AS)",
         16,
         "42001>42N21"},
        {"CALL { RETURN 1 } RETURN 2",
         "Expression in CALL { RETURN ... } must be aliased (use AS)",
         15,
         "42001>42N21"},
        {"RETURN 1 AS a UNION RETURN 2 AS b",
         "All sub queries in an UNION must have the same return column names",
         21,
         "42001>42N39"},
        {"RETURN 1 AS x LIMIT -1",
         "Invalid input. '-1' is not a valid value. Must be a non-negative integer.",
         21,
         "42001>42N31"},
        {"RETURN 1 AS x SKIP 1.5",
         "Invalid input. '1.5' is not a valid value. Must be a non-negative integer.",
         20,
         "42001>42N31"},
        {"MATCH (n) RETURN n LIMIT n.c",
         "It is not allowed to refer to variables in LIMIT, so that the value for LIMIT can be "
         "statically calculated",
         26,
         ""},
        {"RETURN count(*) + sum(count(*))",
         "Can't use aggregate functions inside of aggregate functions.",
         23,
         "42001>42I24"},
        {"MATCH (n) WHERE count(n)>1 RETURN n",
         "Invalid use of aggregating function count(...) in this context",
         17,
         "42001>42I24"},
        {"RETURN *",
         "RETURN * is not allowed when there are no variables in scope",
         1,
         "42001>42I37"},
        {"MATCH (n) RETURN (n)-->()",
         "A pattern expression should only be used in order to test the existence of a pattern.",
         18,
         ""},
        {"MATCH (a) CREATE (a)", "Variable `a` already declared", 19, "42001>42N59"},
        {"MATCH ()-[r]-() MATCH (r) RETURN r",
         "Type mismatch: r defined with conflicting type Relationship (expected Node)",
         24,
         "42001>22NB1"},
        {"WITH 1 AS n MATCH (n) RETURN n",
         "Type mismatch: n defined with conflicting type Integer (expected Node)",
         20,
         "42001>22NB1"},
        {"MATCH (a)-[r]->()-[r]->(a) RETURN r",
         "Cannot use the same relationship variable 'r' for multiple relationships",
         20,
         ""},
        {"MATCH (n $p) RETURN n", "Parameter maps cannot be used in `MATCH` patterns", 10, ""},
        {"MATCH (n) DELETE n:P",
         "DELETE doesn't support removing labels from a node. Try REMOVE.",
         19,
         ""},
        {"MATCH (n) DELETE 1 + 1",
         "Type mismatch: expected Node, Path or Relationship but was Integer",
         20,
         ""},
        {"CREATE (n) SET n = 1",
         "Type mismatch: expected Map, Node or Relationship but was Integer",
         20,
         "42001>22NB1"},
        {"CREATE (n) MATCH (m) RETURN m",
         "WITH is required between CREATE and MATCH",
         12,
         "42001>42N24"},
        {"MATCH (n)", "Query cannot conclude with MATCH", 1, "42001>42N71"},
        {"RETURN 1 AS a RETURN 2 AS b", "RETURN can only be used at the end of the query.", 1, ""},
        {"MATCH (a) RETURN a.x + count(*)",
         "Aggregation column contains implicit grouping expressions.",
         22,
         "42001>42I18"},
        {"MATCH (a) RETURN DISTINCT a.x ORDER BY a.y",
         "In a WITH/RETURN with DISTINCT or an aggregation, it is not possible to access variables "
         "declared before the WITH/RETURN: a",
         40,
         ""},
        {"MATCH (n) WHERE EXISTS { MATCH (n)-->(m) SET m.x = 1 } RETURN n",
         "An Exists Expression cannot contain any updates",
         42,
         ""},
        {"WITH 1 AS x CALL { RETURN x AS y } RETURN y",
         "Variable `x` not defined",
         27,
         "42001>42N62"},
        {"WITH 1 AS x CALL (x) { RETURN 2 AS x } RETURN x",
         "Variable `x` already declared in outer scope",
         36,
         ""},
        {"FOREACH (x IN [1] | MATCH (n))", "Invalid use of MATCH inside FOREACH", 21, ""},
        {"MATCH (n) WHERE (n)-->(m) RETURN n",
         "PatternExpressions are not allowed to introduce new variables: 'm'.",
         24,
         ""},
        {"RETURN [x IN [1] | count(*)]",
         "Can't use aggregating expressions inside of expressions executing over lists",
         20,
         ""},
        {"RETURN all(x IN 1 WHERE x)",
         "Type mismatch: expected List<T> but was Integer",
         17,
         "42001>22NB1"},
        {"RETURN 1 IN 2", "Type mismatch: expected List<T> but was Integer", 13, ""},
        {"RETURN NOT 1", "Type mismatch: expected Boolean but was Integer", 12, ""},
        {"CALL test.proc('a', 1, 2)",
         "Procedure call provides too many arguments: got 3 expected no more than 2.",
         1,
         "42001>42I13"},
        {"CALL test.nothing(1)",
         "Procedure call provides too many arguments: got 1 expected none.\n\nProcedure "
         "test.nothing has signature: test.nothing() :: VOID",
         1,
         ""},
        {"CALL test.proc()",
         "Procedure call does not provide the required number of arguments: got 0 expected at "
         "least 1.",
         1,
         ""},
        {"CALL test.proc('a') YIELD nope", "Unknown procedure output: `nope`", 27, "42001>42N50"},
        {"CALL test.proc(1)", "Type mismatch: expected String but was Integer", 16, ""},
        {"WITH 'x' AS out CALL test.proc('a') YIELD out RETURN out",
         "Variable `out` already declared",
         43,
         ""},
        {"SHOW INDEXES YIELD nope", "Trying to YIELD non-existing column: `nope`", 20, ""},
    };
    for (const auto& c : cases) {
        const auto out = run(c.text);
        EXPECT_TRUE(out.error.starts_with(c.message)) << c.text << "\n" << out.error;
        EXPECT_NE(out.error.find(fmt::format(", column {} (", c.column)), std::string::npos)
            << c.text << "\n"
            << out.error;
        if (!c.gql.empty()) {
            EXPECT_EQ(out.gql, c.gql) << c.text;
        }
        EXPECT_EQ(out.code, ErrorCode::kSyntaxError) << c.text;
    }
}

TEST(SemanticsErrors, HaveCodesOfTheirOwnWhereNeo4jHas) {
    EXPECT_EQ(run("RETURN $a + $b", Map{{"a", Value{1}}}).error, "Expected parameter(s): b");
    EXPECT_EQ(run("RETURN $a").code, ErrorCode::kParameterMissing);
    EXPECT_EQ(run("EXPLAIN RETURN $a").error, "");
    EXPECT_EQ(run("CALL nope.proc()").code, ErrorCode::kProcedureNotFound);
    EXPECT_EQ(run("CALL internal.show.indexes()").code, ErrorCode::kProcedureNotFound);
    const auto refused = run("CREATE DATABASE foo");
    EXPECT_EQ(refused.code, ErrorCode::kUnsupportedAdministrationCommand);
    EXPECT_EQ(refused.error, "Unsupported administration command: CREATE DATABASE foo");
    EXPECT_EQ(run("SHOW ALIASES FOR DATABASE").code, ErrorCode::kNotSystemDatabase);
    const auto typed = run("RETURN 1 AS x LIMIT $l", Map{{"l", Value{"a"}}});
    EXPECT_TRUE(
        typed.error.starts_with("Type mismatch for parameter 'l': expected Integer but was String"))
        << typed.error;
    EXPECT_NE(run("RETURN $p + 1", Map{{"p", Value{Map{}}}}).error, "");
}

TEST(SemanticsScopes, TakeWhatIsVisible) {
    for (const std::string_view text : {
             "MATCH (a) WITH a.name AS name WHERE a.age > 1 RETURN name ORDER BY name",
             "MATCH (a) RETURN a.x AS x ORDER BY a.y, x",
             "MATCH (a) RETURN a.x, a.x + count(*) AS c ORDER BY a.x, a.x + count(*)",
             "MATCH (a)-->(b) WITH DISTINCT a.x AS x ORDER BY a.x RETURN x",
             "MATCH (a {x: b.y}), (b) RETURN a",
             "MATCH (a) MERGE (a)-[:R]->(b {x: a.y}) ON CREATE SET b.z = 1 RETURN b",
             "CREATE (a)-[:T]->(b), (a)-[:S]->(c {x: b.y}) RETURN *",
             "WITH 1 AS x CALL { WITH x RETURN x + 1 AS y } RETURN x, y",
             "WITH 1 AS x CALL (x) { WITH 2 AS z RETURN x + z AS y } RETURN x, y",
             "MATCH (n) WHERE EXISTS { WITH 1 AS one MATCH (n)-->(m) WHERE m.x = one RETURN m } "
             "RETURN n",
             "MATCH (n) RETURN [(n)-->(m) WHERE m.x > 1 | m.y] AS l, [x IN [1, 2] WHERE x > 1 | x] "
             "AS m",
             "RETURN reduce(s = 0, x IN [1, 2] | s + x) AS r, any(x IN [true] WHERE x) AS a",
             "WITH [1, 2] AS rs MATCH (a)-[x*]->(b) RETURN rs, x",
             "MATCH (n) FOREACH (x IN [1, 2] | SET n.x = x CREATE (m {y: x}))",
             "CALL test.proc('a') YIELD out AS o WHERE o = 'b' RETURN o",
             "CALL test.proc",
             "SHOW INDEXES YIELD name AS n ORDER BY n WHERE n STARTS WITH 'a' RETURN count(*) AS c",
             "RETURN null.x, null + 1, size(null), null IN null",
             "MATCH (n) WHERE (n)-->() AND NOT exists((n)<--()) OR CASE WHEN (n)--() THEN true END "
             "RETURN n",
         }) {
        EXPECT_EQ(run(text, Map{{"name", Value{"x"}}}).error, "") << text;
    }
}

TEST(SemanticsTree, KeepsSymbolsOfVariablesThatPassThrough) {
    const auto out = run("MATCH (n)-[r]->() WITH n, n.x AS x MATCH (n)-->(m) RETURN n, m, x");
    ASSERT_EQ(out.error, "");
    const auto& clauses = std::get<Query>(out.statement->body).parts[0].clauses;
    const auto& first = std::get<MatchClause>(clauses[0].body).patterns[0];
    const auto& second = std::get<MatchClause>(clauses[2].body).patterns[0];
    EXPECT_EQ(first.nodes[0].symbol, second.nodes[0].symbol);
    EXPECT_FALSE(first.nodes[0].bound_before);
    EXPECT_TRUE(second.nodes[0].bound_before);
    EXPECT_FALSE(second.nodes[1].bound_before);
    EXPECT_TRUE(out.semantics.symbols[first.nodes[1].symbol].anonymous);
    EXPECT_EQ(out.semantics.columns, (std::vector<std::string>{"n", "m", "x"}));
    EXPECT_EQ(out.semantics.column_symbols[0], first.nodes[0].symbol);
    EXPECT_FALSE(out.semantics.writes);
    EXPECT_TRUE(out.semantics.has_return);
}

TEST(SemanticsTree, ExpandsStarsByName) {
    const auto out = run("MATCH (b)-[a]->(c) WITH *, 1 AS d RETURN *");
    ASSERT_EQ(out.error, "");
    EXPECT_EQ(out.semantics.columns, (std::vector<std::string>{"a", "b", "c", "d"}));
}

TEST(SemanticsTree, UnionPartsShareSymbolsByName) {
    const auto out = run("RETURN 1 AS a, 2 AS b UNION RETURN 3 AS b, 4 AS a");
    ASSERT_EQ(out.error, "");
    const auto& parts = std::get<Query>(out.statement->body).parts;
    const auto& first = std::get<ReturnClause>(parts[0].clauses[0].body).projection.items;
    const auto& second = std::get<ReturnClause>(parts[1].clauses[0].body).projection.items;
    EXPECT_EQ(first[0].symbol, second[1].symbol);
    EXPECT_EQ(first[1].symbol, second[0].symbol);
}

TEST(SemanticsTree, ReplacesProjectedExpressionsBehindTheProjection) {
    const auto out = run("MATCH (a) RETURN a.x, count(*) AS c ORDER BY a.x DESC, count(*) + 1");
    ASSERT_EQ(out.error, "");
    const auto& p =
        std::get<ReturnClause>(std::get<Query>(out.statement->body).parts[0].clauses[1].body)
            .projection;
    ASSERT_EQ(p.order_by[0].expression->kind, ExprKind::kVariable);
    EXPECT_EQ(static_cast<const Variable&>(*p.order_by[0].expression).symbol, p.items[0].symbol);
    EXPECT_EQ(to_text(*p.order_by[1].expression), "c + 1");
}

TEST(SemanticsTree, CompletesCalls) {
    const auto out = run("CALL test.proc", Map{{"name", Value{"x"}}});
    ASSERT_EQ(out.error, "");
    const auto& call =
        std::get<CallClause>(std::get<Query>(out.statement->body).parts[0].clauses[0].body);
    ASSERT_TRUE(call.arguments);
    ASSERT_EQ(call.arguments->size(), 2U);
    EXPECT_EQ(to_text(*(*call.arguments)[0]), "$name");
    EXPECT_EQ(to_text(*(*call.arguments)[1]), "7");
    EXPECT_EQ(out.semantics.columns, (std::vector<std::string>{"out"}));
    EXPECT_EQ(run("CALL test.proc").error, "Expected parameter(s): name");
    EXPECT_EQ(run("SHOW INDEXES YIELD *").semantics.columns,
              (std::vector<std::string>{"name", "options"}));
    EXPECT_EQ(run("SHOW INDEXES").semantics.columns, (std::vector<std::string>{"name"}));
    const auto sub = run("WITH 1 AS x, 2 AS y CALL { WITH y RETURN y + 1 AS z } RETURN z");
    ASSERT_EQ(sub.error, "");
    const auto& clauses = std::get<Query>(sub.statement->body).parts[0].clauses;
    const auto& items = std::get<WithClause>(clauses[0].body).projection.items;
    EXPECT_EQ(std::get<SubqueryClause>(clauses[1].body).import_symbols,
              (std::vector<Symbol>{items[1].symbol}));
}

TEST(SemanticsTypes, FollowVariables) {
    const auto out =
        run("MATCH p = (n)-[r:R*]->() WITH p, collect(n) AS ns, r UNWIND ns AS m RETURN "
            "nodes(p)[0] AS first, m, 1 + 2.0 AS f");
    ASSERT_EQ(out.error, "");
    const auto type = [&](std::size_t column) {
        return out.semantics.symbols[out.semantics.column_symbols[column]].types;
    };
    EXPECT_EQ(type(0), types::kNode | types::kNull);
    EXPECT_EQ(type(1), types::kNode);
    EXPECT_EQ(type(2), types::kFloat);
}

TEST(SemanticsNotifications, RemarkOnQueriesThatWork) {
    const auto codes = [](std::string_view text) {
        std::vector<std::string> out;
        for (const auto& n : run(text).semantics.notifications) {
            out.push_back(n.gql_status);
        }
        return out;
    };
    EXPECT_EQ(codes("MATCH (n) RETURN id(n)"), std::vector<std::string>{"01N02"});
    EXPECT_EQ(codes("MATCH (a), (b) RETURN a, b"), std::vector<std::string>{"03N90"});
    EXPECT_EQ(codes("MATCH (a)-->(b), (b)-->(c) RETURN a"), std::vector<std::string>{});
    EXPECT_EQ(codes("MATCH p = shortestPath((a)-[*]-(b)) RETURN p"),
              std::vector<std::string>{"03N91"});
    EXPECT_EQ(codes("MATCH p = shortestPath((a)-[*..5]-(b)) RETURN p"), std::vector<std::string>{});
}

class SomeTokens final : public engine::Tokens {
public:
    [[nodiscard]] std::optional<std::uint32_t> find(engine::TokenKind,
                                                    std::string_view name) const override {
        return name.starts_with("known") ? std::optional<std::uint32_t>{0} : std::nullopt;
    }
    [[nodiscard]] std::string_view name(engine::TokenKind, std::uint32_t) const override {
        return "known";
    }
    [[nodiscard]] std::vector<std::string> all(engine::TokenKind) const override {
        return {"known"};
    }
};

TEST(SemanticsNotifications, WarnOfNamesTheDatabaseDoesNotHave) {
    const SomeTokens tokens;
    const auto out =
        run("MATCH (n:known:Lost {known1: 1})-[:Gone]->() WHERE n.missing = 1 AND n:Lost RETURN "
            "n.known2, {a: 1}.a CREATE (:New)");
    EXPECT_NE(out.error, "");
    const auto good =
        run("MATCH (n:known:Lost {known1: 1})-[:Gone]->() WHERE n.missing = 1 AND n:Lost CREATE "
            "(:New) RETURN n.known2");
    ASSERT_EQ(good.error, "");
    std::vector<std::string> codes;
    for (const auto& n : token_warnings(*good.statement, tokens)) {
        codes.push_back(n.gql_status);
    }
    std::ranges::sort(codes);
    EXPECT_EQ(codes, (std::vector<std::string>{"01N50", "01N51", "01N52"}));
}

}  // namespace
}  // namespace nornic::cypher
