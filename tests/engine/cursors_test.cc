// Cursors of a transaction that changes what they have not reached yet.
#include "tests/engine/harness.h"

#include <chrono>
#include <functional>

namespace nornic::engine {
namespace {

using namespace testing;

/// More than all that a cursor reads at once: 64 words of 64 nodes, and a page.
constexpr int kNodes = 6000;

struct Graph {
    std::vector<std::uint64_t> nodes;
    std::vector<std::uint64_t> sparse;  // one of each page
    std::vector<std::uint64_t> relationships;
};

Graph fill(Harness& h) {
    Graph out;
    EXPECT_TRUE(h.write([&](Transaction& t) {
        return t.create_index({.name = "nodes", .tokens = {"P"}, .properties = {"id"}});
    }));
    EXPECT_TRUE(h.write([&](Transaction& t) {
        return t.create_index({.name = "relationships",
                               .entity = EntityKind::kRelationship,
                               .tokens = {"R"},
                               .properties = {"id"}});
    }));
    EXPECT_TRUE(h.write([&](Transaction& t) -> Result<> {
        const RelTypeId r = type(t, "R");
        const PropertyKeyId id = key(t, "id");
        for (int i = 0; i < kNodes; ++i) {
            NORNIC_TRY(const NodeId n, create(t, "P", "id", i));
            out.nodes.push_back(n.value);
            if (i % 64 == 0) {
                NORNIC_TRY(t.add_label(n, label(t, "S")));
                out.sparse.push_back(n.value);
            }
            const PropertyEntry number{id, Value{i}};
            NORNIC_TRY(const RelId rel, t.create_relationship(n, r, n, std::span{&number, 1}));
            out.relationships.push_back(rel.value);
        }
        return success();
    }));
    EXPECT_TRUE(
        h->await_indexes("neo4j", "", system_clock().now() + std::chrono::seconds{30}));
    return out;
}

IndexQuery all_ids() {
    IndexQuery query;
    query.columns.resize(1);
    query.columns[0].kind = IndexQuery::Kind::kRange;
    query.columns[0].lower = Value{0};
    return query;
}

template <class Cursor, class Id>
std::vector<std::uint64_t> first_then_rest(Cursor& cursor, const std::function<void()>& between, Id) {
    Id one[1];
    EXPECT_EQ(cursor.next(one), 1U);
    between();
    std::vector<std::uint64_t> out = drain(cursor);
    out.insert(out.begin(), one[0].value);
    return out;
}

TEST(Cursors, GiveWhatTheTransactionChangesWhileTheyAreOpen) {
    Harness h;
    const Graph g = fill(h);
    // Before a cursor opens some are changed already; then all are, in the order from the end.
    for (const bool some_before : {false, true}) {
        const auto nodes_changed_under = [&](const auto& open) {
            auto t = h.begin();
            const PropertyKeyId other = key(*t, "other");
            const auto change = [&](std::size_t step) {
                for (std::size_t i = g.nodes.size(); i-- > 0;) {
                    if (i % step == 0) {
                        EXPECT_TRUE(t->set_property(NodeId{g.nodes[i]}, other, Value{1}));
                        EXPECT_TRUE(t->add_label(NodeId{g.nodes[i]}, label(*t, "Q")));
                    }
                }
            };
            if (some_before) {
                change(3);
            }
            const std::unique_ptr<NodeCursor> cursor = open(*t);
            return first_then_rest(*cursor, [&] { change(1); }, NodeId{});
        };
        EXPECT_EQ(nodes_changed_under([](Transaction& t) { return t.scan_nodes(); }), g.nodes);
        EXPECT_EQ(nodes_changed_under([](Transaction& t) { return t.scan_label(label(t, "P")); }),
                  g.nodes);
        EXPECT_EQ(nodes_changed_under([](Transaction& t) { return t.scan_label(label(t, "S")); }),
                  g.sparse);
        EXPECT_EQ(nodes_changed_under([](Transaction& t) {
                      return t.seek_nodes(t.schema()->index_named("nodes")->rule.id, all_ids());
                  }),
                  g.nodes);
        const auto relationships_changed_under = [&](const auto& open) {
            auto t = h.begin();
            const PropertyKeyId other = key(*t, "other");
            const auto change = [&](std::size_t step) {
                for (std::size_t i = g.relationships.size(); i-- > 0;) {
                    if (i % step == 0) {
                        EXPECT_TRUE(t->set_property(RelId{g.relationships[i]}, other, Value{1}));
                    }
                }
            };
            if (some_before) {
                change(3);
            }
            const std::unique_ptr<RelCursor> cursor = open(*t);
            return first_then_rest(*cursor, [&] { change(1); }, RelId{});
        };
        EXPECT_EQ(
            relationships_changed_under([](Transaction& t) { return t.scan_relationships({}); }),
            g.relationships);
        EXPECT_EQ(relationships_changed_under([](Transaction& t) {
                      const RelTypeId r = type(t, "R");
                      return t.scan_relationships(std::span{&r, 1});
                  }),
                  g.relationships);
        EXPECT_EQ(relationships_changed_under([](Transaction& t) {
                      return t.seek_relationships(
                          t.schema()->index_named("relationships")->rule.id, all_ids());
                  }),
                  g.relationships);
    }
}

TEST(Cursors, DoNotGiveWhatTheTransactionDeletesAheadOfThem) {
    Harness h;
    const Graph g = fill(h);
    auto t = h.begin();
    const std::unique_ptr<NodeCursor> nodes = t->scan_label(label(*t, "P"));
    const std::unique_ptr<RelCursor> relationships = t->scan_relationships({});
    // What a cursor has read it gives; the last thousand it has not.
    constexpr std::size_t kLeft = kNodes - 1000;
    const auto delete_the_last = [&] {
        for (std::size_t i = kLeft; i < kNodes; ++i) {
            ASSERT_TRUE(t->delete_relationship(RelId{g.relationships[i]}));
            ASSERT_TRUE(t->delete_node(NodeId{g.nodes[i]}));
        }
    };
    EXPECT_EQ(first_then_rest(*nodes, delete_the_last, NodeId{}),
              (std::vector(g.nodes.begin(), g.nodes.begin() + kLeft)));
    EXPECT_EQ(drain(*relationships),
              (std::vector(g.relationships.begin(), g.relationships.begin() + kLeft)));
}

}  // namespace
}  // namespace nornic::engine
