// db.createVertexLabel and db.dropDB, called as TuGraph's clients call them; {name} as drivers of Neo4j 3.5 write parameters.
#include "tests/cypher/harness.h"

namespace nornic::cypher {
namespace {

using testing::Answer;
using testing::Database;

constexpr const char* kPerson = "CALL db.createVertexLabel('person', 'id' , 'id', 'INT32', false, 'count', 'INT64', false, 'note', 'STRING', true)";

void expect_code(const Answer& answer, ErrorCode code, const char* what) {
    ASSERT_TRUE(answer.error) << what;
    EXPECT_EQ(answer.error->code(), code) << what << ": " << answer.text();
}

TEST(TuGraph, ALabelHasAKeyTypesAndFieldsThatMustBeThere) {
    Database db;
    ASSERT_FALSE(db.run(kPerson).error) << db.run(kPerson).text();
    EXPECT_EQ(db.run("SHOW CONSTRAINTS YIELD type, properties RETURN type, properties").sorted_text(),
              "'NODE_KEY' | ['id']\n'NODE_PROPERTY_EXISTENCE' | ['count']\n'NODE_PROPERTY_TYPE' | ['count']\n"
              "'NODE_PROPERTY_TYPE' | ['id']\n'NODE_PROPERTY_TYPE' | ['note']\n");
    EXPECT_FALSE(db.run("create (n1:person {id:1, count:0})").error);
    for (const char* refused : {"CREATE (:person {id: 1, count: 2})", "CREATE (:person {id: 2})", "CREATE (:person {count: 2})",
                                "CREATE (:person {id: 'x', count: 2})", "CREATE (:person {id: 2, count: 2, note: 3})"}) {
        expect_code(db.run(refused), ErrorCode::kConstraintViolation, refused);
    }
    EXPECT_FALSE(db.run("CREATE (:person {id: 2, count: 2, note: 'x'})").error);
}

TEST(TuGraph, WhatIsWrongWithALabelIsSaid) {
    Database db;
    for (const char* refused : {"CALL db.createVertexLabel('p', 'id')",
                                "CALL db.createVertexLabel('p', 'id', 'id', 'INT32')",
                                "CALL db.createVertexLabel('p', 'id', 'id', 'INT32', 'no')",
                                "CALL db.createVertexLabel('p', 'id', 'id', 'BLOB', false)",
                                "CALL db.createVertexLabel('p', 'id', 'other', 'INT32', false)",
                                "CALL db.createVertexLabel('p', 'id', 'id', 'INT32', true)",
                                "CALL db.createVertexLabel('p', 'id', 'id', 'INT32', false, 'id', 'INT32', false)",
                                "CALL db.createVertexLabel('', 'id', 'id', 'INT32', false)"}) {
        const Answer answer = db.run(refused);
        ASSERT_TRUE(answer.error) << refused;
        EXPECT_TRUE(answer.error->code() == ErrorCode::kArgumentError || answer.error->code() == ErrorCode::kSyntaxError) << answer.text();
    }
    EXPECT_EQ(db.run("SHOW CONSTRAINTS").text(), "");
}

TEST(TuGraph, DropDBEmptiesTheDatabaseInMoreThanOneTransaction) {
    Database db;
    ASSERT_FALSE(db.run(kPerson).error);
    ASSERT_FALSE(db.run("CREATE INDEX FOR (n:A) ON (n.k)").error);
    ASSERT_FALSE(db.run("UNWIND range(1, 6000) AS k CREATE (a:A {k: k})-[:R]->(a)").error);
    ASSERT_FALSE(db.run("CREATE (n:person {id: 1, count: 0})").error);
    const std::uint64_t before = db.engine()->applied_index().value;
    const Answer dropped = db.run("CALL db.dropDB()");
    ASSERT_FALSE(dropped.error) << dropped.text();
    EXPECT_EQ(db.engine()->applied_index().value - before, 5U);  // two of relationships, two of nodes, the rules
    EXPECT_EQ(db.run("MATCH (n) RETURN count(n)").text(), "0\n");
    EXPECT_EQ(db.run("SHOW CONSTRAINTS").text(), "");
    EXPECT_EQ(db.run("SHOW INDEXES YIELD type RETURN DISTINCT type").text(), "'LOOKUP'\n");
    EXPECT_FALSE(db.run("CALL db.dropDB()").error);
    EXPECT_FALSE(db.run(kPerson).error);
}

TEST(TuGraph, DropDBNeedsTransactionsOfItsOwn) {
    Database db;
    auto transaction = db.engine().begin();
    auto prepared = db.cache().prepare("CALL db.dropDB()", {}, *transaction);
    ASSERT_TRUE(prepared);
    EXPECT_TRUE(info(*prepared.value()).in_transactions);
    EXPECT_TRUE(info(*prepared.value()).schema);
    EXPECT_TRUE(info(*prepared.value()).writes);
    ExecutionServices services = db.services(*transaction);
    services.begin_inner = nullptr;
    EXPECT_EQ(start(prepared.value(), std::move(services), {}).error().code(), ErrorCode::kTransactionStartFailed);
}

TEST(BracedParameters, AreTakenWhereADollarIs) {
    Database db;
    Map parameters;
    parameters.set("name", "a");
    parameters.set("all", Value{Map{{"x", Value{1}}}});
    EXPECT_EQ(db.run("CREATE (n:P {all}) SET n.name = {name} RETURN n.x, n.name", parameters).text(), "1 | 'a'\n");
    EXPECT_EQ(db.run("MATCH (n:P {name: {name}}) WITH n, 2 AS y RETURN n {y}, {all}.x, {name} IN [{name}]", parameters).text(),
              "{y: 2} | 1 | true\n");
    expect_code(db.run("RETURN {nothing}"), ErrorCode::kParameterMissing, "RETURN {nothing}");
}

}  // namespace
}  // namespace nornic::cypher
