// Graph procedures on a real engine: rows and columns.

#include "cypher/procedures/procedure.h"
#include "tests/engine/harness.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace nornic::cypher {
namespace {

using engine::testing::Harness;

class ProceduresTest : public ::testing::Test {
protected:
    void SetUp() override {
        add_graph_procedures(registry_);
        ASSERT_TRUE(harness_.write([](engine::Transaction& t) -> Result<> {
            NORNIC_TRY(const NodeId a, engine::testing::create(t, "Person", "name", Value{"a"}));
            NORNIC_TRY(const NodeId b, engine::testing::create(t, "City", "size", Value{7}));
            NORNIC_TRY(t.create_relationship(a, engine::testing::type(t, "LIVES_IN"), b, {}));
            NORNIC_TRY(t.label_or_create("Unused"));
            return success();
        }));
        ASSERT_TRUE(harness_.write([](engine::Transaction& t) -> Result<> {
            engine::IndexDefinition index;
            index.name = "by_name";
            index.tokens = {"Person"};
            index.properties = {"name"};
            NORNIC_TRY(t.create_index(index));
            engine::ConstraintDefinition unique;
            unique.name = "one_size";
            unique.token = "City";
            unique.properties = {"size"};
            return t.create_constraint(unique);
        }));
    }

    Result<std::vector<std::vector<Value>>> run(std::string_view name,
                                                std::vector<Value> arguments = {},
                                                std::size_t rows_max = SIZE_MAX,
                                                bool writing = false) {
        auto transaction = harness_.begin(writing ? AccessMode::kWrite : AccessMode::kRead);
        EvalContext context;
        context.reader = transaction.get();
        context.transaction = writing ? transaction.get() : nullptr;
        context.database = "neo4j";
        const Procedure* p = registry_.find(name);
        EXPECT_NE(p, nullptr) << name;
        std::vector<std::vector<Value>> rows;
        const EmitRow emit = [&](std::vector<Value> row) {
            EXPECT_EQ(row.size(), p->results.size()) << name;
            rows.push_back(std::move(row));
            return rows.size() < rows_max;
        };
        const Caller caller;
        ProcedureCall call{context, caller, arguments, emit};
        NORNIC_TRY(p->run(call));
        if (writing) {
            NORNIC_TRY(harness_.commit(*transaction));
        }
        return rows;
    }
    std::vector<std::string> column(std::string_view name,
                                    std::size_t at,
                                    std::vector<Value> arguments = {}) {
        auto rows = run(name, std::move(arguments));
        EXPECT_TRUE(rows) << (rows ? "" : rows.error().message());
        std::vector<std::string> out;
        if (rows) {
            for (const auto& row : rows.value()) {
                out.push_back(to_cypher_text(row[at]));
            }
        }
        std::ranges::sort(out);
        return out;
    }
    std::vector<std::string> columns(std::string_view name) {
        std::vector<std::string> out;
        for (const auto& f : registry_.find(name)->results) {
            if (!f.hidden_by_default) {
                out.push_back(f.name);
            }
        }
        return out;
    }

    Harness harness_;
    ProcedureRegistry registry_;
};

using Texts = std::vector<std::string>;

TEST_F(ProceduresTest, ListTokensInUse) {
    EXPECT_EQ(column("db.labels", 0), (Texts{"'City'", "'Person'"}));
    EXPECT_EQ(column("DB.RELATIONSHIPTYPES", 0), Texts{"'LIVES_IN'"});
    EXPECT_EQ(column("db.propertyKeys", 0), (Texts{"'name'", "'size'"}));
    EXPECT_EQ(run("db.labels", {}, 1).value().size(), 1U);
}

TEST_F(ProceduresTest, CreateTokens) {
    ASSERT_TRUE(run("db.createProperty", {Value{"colour"}}, SIZE_MAX, true));
    EXPECT_EQ(column("db.propertyKeys", 0), (Texts{"'colour'", "'name'", "'size'"}));
    const auto refused = run("db.createLabel", {Value{"X"}});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kAccessMode);
    EXPECT_FALSE(run("db.createLabel", {Value{""}}, SIZE_MAX, true));
}

TEST_F(ProceduresTest, DescribeTheData) {
    EXPECT_EQ(column("db.schema.nodeTypeProperties", 0), (Texts{"':`City`'", "':`Person`'"}));
    EXPECT_EQ(column("db.schema.nodeTypeProperties", 3), (Texts{"['Long']", "['String']"}));
    EXPECT_EQ(column("db.schema.relTypeProperties", 0), Texts{"':`LIVES_IN`'"});
    const auto rows = run("db.schema.visualization");
    ASSERT_TRUE(rows);
    ASSERT_EQ(rows.value().size(), 1U);
    const List& nodes = rows.value()[0][0].as_list();
    const List& relationships = rows.value()[0][1].as_list();
    ASSERT_EQ(nodes.size(), 2U);
    ASSERT_EQ(relationships.size(), 1U);
    EXPECT_EQ(nodes[0].as_node().labels, Texts{"City"});
    EXPECT_TRUE(nodes[0].as_node().element_id.starts_with("-"));
    EXPECT_EQ(relationships[0].as_relationship().start, nodes[1].as_node().id);
    EXPECT_EQ(relationships[0].as_relationship().end, nodes[0].as_node().id);
    const auto counts = run("db.stats.retrieve", {Value{"GRAPH COUNTS"}, Value{Map{}}});
    ASSERT_TRUE(counts);
    EXPECT_EQ(counts.value()[0][1]
                  .as_map()
                  .find("nodes")
                  ->as_list()[0]
                  .as_map()
                  .find("count")
                  ->as_integer(),
              2);
    EXPECT_FALSE(run("db.stats.retrieve", {Value{"NOPE"}, Value{Map{}}}));
}

TEST_F(ProceduresTest, ShowIndexesAndConstraints) {
    ASSERT_TRUE(run("db.awaitIndexes", {Value{10}}));
    EXPECT_EQ(columns("internal.show.indexes"),
              (Texts{"id",
                     "name",
                     "state",
                     "populationPercent",
                     "type",
                     "entityType",
                     "labelsOrTypes",
                     "properties",
                     "indexProvider",
                     "owningConstraint",
                     "lastRead",
                     "readCount"}));
    EXPECT_EQ(columns("internal.show.constraints"),
              (Texts{"id",
                     "name",
                     "type",
                     "entityType",
                     "labelsOrTypes",
                     "properties",
                     "ownedIndex",
                     "propertyType"}));
    const std::vector<Value> range{Value{"RANGE"}, Value{}};
    const auto names = column("internal.show.indexes", 1, range);
    EXPECT_NE(std::ranges::find(names, "'by_name'"), names.end());
    for (const auto& state : column("internal.show.indexes", 2, range)) {
        EXPECT_EQ(state, "'ONLINE'");
    }
    const auto statements = column("internal.show.indexes", 15, range);
    EXPECT_NE(std::ranges::find(statements,
                                "'CREATE RANGE INDEX `by_name` FOR (n:`Person`) ON (n.`name`)'"),
              statements.end())
        << statements[0];
    EXPECT_TRUE(column("internal.show.indexes", 1, {Value{"TEXT"}, Value{}}).empty());
    EXPECT_EQ(column("internal.show.constraints", 1), Texts{"'one_size'"});
    EXPECT_EQ(column("internal.show.constraints", 2, {Value{"NODE UNIQUE"}, Value{}}),
              Texts{"'UNIQUENESS'"});
    EXPECT_TRUE(column("internal.show.constraints", 2, {Value{"KEY"}, Value{}}).empty());
    EXPECT_EQ(column("internal.show.constraints", 9),
              Texts{"'CREATE CONSTRAINT `one_size` FOR (n:`City`) REQUIRE (n.`size`) IS UNIQUE'"});
    EXPECT_TRUE(run("db.awaitIndex", {Value{"by_name"}, Value{10}}));
    const auto missing = run("db.awaitIndex", {Value{"nope"}, Value{10}});
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code(), ErrorCode::kIndexNotFound);
}

TEST_F(ProceduresTest, ShowCallables) {
    EXPECT_EQ(columns("internal.show.functions"), (Texts{"name", "category", "description"}));
    EXPECT_EQ(columns("internal.show.procedures"),
              (Texts{"name", "description", "mode", "worksOnSystem"}));
    const auto functions = column("internal.show.functions", 0);
    EXPECT_NE(std::ranges::find(functions, "'toInteger'"), functions.end());
    const auto procedures = column("internal.show.procedures", 0);
    EXPECT_NE(std::ranges::find(procedures, "'db.labels'"), procedures.end());
    EXPECT_TRUE(std::ranges::none_of(
        procedures, [](const std::string& n) { return n.starts_with("'internal."); }));
    EXPECT_TRUE(column("internal.show.functions", 0, {Value{"USER DEFINED"}, Value{}}).empty());
    const auto signatures = column("internal.show.procedures", 4);
    EXPECT_NE(
        std::ranges::find(signatures, "'db.awaitIndexes(timeOutSeconds = 300 :: INTEGER) :: VOID'"),
        signatures.end());
}

}  // namespace
}  // namespace nornic::cypher
