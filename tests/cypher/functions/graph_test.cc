#include "cypher/functions/graph_access.h"
#include "tests/cypher/functions/call.h"

#include <map>

namespace nornic::cypher {
namespace {

using test::text_of;

class FakeTokens final : public engine::Tokens {
public:
    using engine::Tokens::name;
    std::optional<std::uint32_t> find(engine::TokenKind kind,
                                      std::string_view wanted) const override {
        const auto& names = of(kind);
        for (std::uint32_t i = 0; i < names.size(); ++i) {
            if (names[i] == wanted) {
                return i;
            }
        }
        return std::nullopt;
    }
    std::string_view name(engine::TokenKind kind, std::uint32_t id) const override {
        return of(kind)[id];
    }
    std::vector<std::string> all(engine::TokenKind kind) const override { return of(kind); }

private:
    const std::vector<std::string>& of(engine::TokenKind kind) const {
        return kind == engine::TokenKind::kLabel              ? labels_
               : kind == engine::TokenKind::kRelationshipType ? types_
                                                              : keys_;
    }
    std::vector<std::string> labels_{"Person", "Admin"};
    std::vector<std::string> types_{"KNOWS"};
    std::vector<std::string> keys_{"name", "since"};
};

/// (1:Person:Admin {name: 'Ann'})-[5:KNOWS {since: 7}]->(2); node 3 was deleted by this
/// transaction.
class FakeGraph final : public engine::GraphReader {
public:
    FakeGraph() {
        auto ann = std::make_shared<engine::NodeData>();
        ann->labels = {LabelId{0}, LabelId{1}};
        ann->properties = {{PropertyKeyId{0}, Value{"Ann"}}};
        nodes_[NodeId{1}] = ann;
        nodes_[NodeId{2}] = std::make_shared<engine::NodeData>();
        auto knows = std::make_shared<engine::RelData>();
        knows->start = NodeId{1};
        knows->end = NodeId{2};
        knows->properties = {{PropertyKeyId{1}, Value{7}}};
        knows_ = knows;
    }
    const engine::Tokens& tokens() const override { return tokens_; }
    std::shared_ptr<const engine::Schema> schema() const override { return nullptr; }
    std::string_view element_uuid() const override { return "u-1"; }
    engine::NodePtr node(NodeId id) override {
        const auto it = nodes_.find(id);
        return it == nodes_.end() ? nullptr : it->second;
    }
    engine::RelPtr relationship(RelId id) override { return id == RelId{5} ? knows_ : nullptr; }
    bool deleted_here(NodeId id) const override { return id == NodeId{3}; }
    bool deleted_here(RelId) const override { return false; }
    void node_properties(std::span<const NodeId>, PropertyKeyId, std::span<Value>) override {}
    void expand(NodeId,
                engine::Direction,
                std::span<const RelTypeId>,
                std::vector<engine::Adjacent>&) override {}
    std::uint64_t degree(NodeId, engine::Direction, std::span<const RelTypeId>) override {
        return 0;
    }
    std::unique_ptr<engine::NodeCursor> scan_nodes() override { return nullptr; }
    std::unique_ptr<engine::NodeCursor> scan_label(LabelId) override { return nullptr; }
    std::unique_ptr<engine::RelCursor> scan_relationships(std::span<const RelTypeId>) override {
        return nullptr;
    }
    std::unique_ptr<engine::NodeCursor> seek_nodes(SchemaRuleId,
                                                   const engine::IndexQuery&) override {
        return nullptr;
    }
    std::unique_ptr<engine::RelCursor> seek_relationships(SchemaRuleId,
                                                          const engine::IndexQuery&) override {
        return nullptr;
    }
    std::uint64_t node_count(std::optional<LabelId>) override { return 2; }
    std::uint64_t relationship_count(std::optional<RelTypeId>) override { return 1; }
    double relationship_count_estimate(std::optional<LabelId>,
                                       std::optional<RelTypeId>,
                                       std::optional<LabelId>) override {
        return 1;
    }

private:
    FakeTokens tokens_;
    std::map<NodeId, engine::NodePtr> nodes_;
    engine::RelPtr knows_;
};

TEST(GraphFunctions, ReadTheGraph) {
    FakeGraph graph;
    EvalContext context;
    context.reader = &graph;
    const Value ann{NodeId{1}};
    const Value bare{NodeId{2}};
    const Value knows{RelId{5}};
    struct Row {
        const char* function;
        Value argument;
        const char* want;
    };
    const Row rows[] = {
        {"labels", ann, "['Person', 'Admin']"},
        {"labels", bare, "[]"},
        {"keys", ann, "['name']"},
        {"keys", knows, "['since']"},
        {"properties", ann, "{name: 'Ann'}"},
        {"properties", bare, "{}"},
        {"type", knows, "'KNOWS'"},
        {"startNode", knows, "(1)"},
        {"endNode", knows, "(2)"},
        {"elementId", ann, "'4:u-1:1'"},
        {"elementId", knows, "'5:u-1:5'"},
        {"id", knows, "5"},
        {"point", bare, "null"},
    };
    for (const Row& r : rows) {
        EXPECT_EQ(text_of([&] { return test::call(r.function, {r.argument}, context); }), r.want)
            << r.function;
    }
    EXPECT_EQ(text_of([&] { return property_of(ann, "name", context); }), "'Ann'");
    EXPECT_EQ(text_of([&] { return property_of(ann, "since", context); }), "null");
    EXPECT_EQ(text_of([&] { return property_of(ann, "unheard of", context); }), "null");
    EXPECT_EQ(text_of([&] { return index_of(knows, Value{"since"}, context); }), "7");
    EXPECT_GT(context.db_hits, 0U);
}

TEST(GraphFunctions, RefuseWhatIsDeleted) {
    FakeGraph graph;
    EvalContext context;
    context.reader = &graph;
    for (const char* f : {"labels", "properties", "keys"}) {
        EXPECT_EQ(text_of([&] { return test::call(f, {Value{NodeId{3}}}, context); }),
                  "entity not found: Node with id 3 has been deleted in this transaction");
    }
    EXPECT_TRUE(text_of([&] {
                    return test::call("type", {Value{RelId{9}}}, context);
                }).starts_with("entity not found: "));
    EXPECT_TRUE(text_of([&] {
                    return test::call("labels", {Value{RelId{5}}}, context);
                }).starts_with("type error: "));
}

TEST(GraphFunctions, TakeWhatLeftTheQueryToo) {
    const Node node{NodeId{1}, "4:u:1", {"A"}, Map{{"k", 1}}};
    const Relationship rel{
        RelId{2}, "5:u:2", NodeId{1}, "4:u:1", NodeId{3}, "4:u:3", "T", Map{{"k", 2}}};
    EXPECT_EQ(test::answer("labels", {node}), "['A']");
    EXPECT_EQ(test::answer("properties", {rel}), "{k: 2}");
    EXPECT_EQ(test::answer("type", {rel}), "'T'");
    EXPECT_EQ(test::answer("startNode", {rel}), "(1)");
    EXPECT_EQ(test::answer("elementId", {node}), "'4:u:1'");
    EXPECT_EQ(to_cypher_text(property_of(Value{node}, "k")), "1");
}

}  // namespace
}  // namespace nornic::cypher
