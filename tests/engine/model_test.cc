// Random operations against a simple model, with checkpoints, crashes, evictions and old snapshots
// in between. A failure prints its seed.
#include "base/random.h"
#include "tests/engine/harness.h"

#include <map>
#include <set>

namespace nornic::engine {
namespace {

using namespace testing;

struct ModelNode {
    std::set<std::string> labels;
    std::map<std::string, std::int64_t> properties;
    bool operator==(const ModelNode&) const = default;
};
struct ModelRel {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    std::string type;
    std::map<std::string, std::int64_t> properties;
    bool operator==(const ModelRel&) const = default;
};
struct Model {
    std::map<std::uint64_t, ModelNode> nodes;
    std::map<std::uint64_t, ModelRel> rels;
};

const std::string kLabels[] = {"A", "B", "C"};
const std::string kKeys[] = {"x", "y"};
const std::string kTypes[] = {"R", "S"};

std::map<std::string, std::int64_t> properties_of(const Transaction& t,
                                                  const std::vector<PropertyEntry>& entries) {
    std::map<std::string, std::int64_t> out;
    for (const PropertyEntry& entry : entries) {
        out[std::string{t.tokens().name(entry.key)}] = entry.value.as_integer();
    }
    return out;
}

/// Everything a reader can ask must agree with the model.
void compare(Transaction& t, const Model& model) {
    std::vector<std::uint64_t> all;
    std::map<std::string, std::vector<std::uint64_t>> by_label;
    for (const auto& [id, want] : model.nodes) {
        all.push_back(id);
        const NodePtr got = t.node(NodeId{id});
        ASSERT_NE(got, nullptr) << "node " << id;
        std::set<std::string> labels;
        for (const LabelId label : got->labels) {
            labels.emplace(t.tokens().name(label));
        }
        ASSERT_EQ(labels, want.labels) << "node " << id;
        ASSERT_EQ(properties_of(t, got->properties), want.properties) << "node " << id;
        for (const std::string& label : want.labels) {
            by_label[label].push_back(id);
        }
    }
    ASSERT_EQ(drain(*t.scan_nodes()), all);
    ASSERT_EQ(t.node_count(std::nullopt), all.size());
    for (const std::string& name : kLabels) {
        if (const auto label = t.tokens().label(name)) {
            ASSERT_EQ(drain(*t.scan_label(*label)), by_label[name]) << name;
            ASSERT_EQ(t.node_count(label), by_label[name].size()) << name;
        }
    }
    std::vector<NodeId> ids;
    for (const std::uint64_t id : all) {
        ids.emplace_back(id);
    }
    if (const auto key = t.tokens().property_key("x")) {
        std::vector<Value> values(ids.size());
        t.node_properties(ids, *key, values);
        for (std::size_t i = 0; i < ids.size(); ++i) {
            const auto& want = model.nodes.at(ids[i].value).properties;
            const auto at = want.find("x");
            ASSERT_TRUE(at == want.end() ? values[i].is_null()
                                         : equivalent(values[i], Value{at->second}));
        }
    }
    std::map<std::uint64_t, std::multiset<std::uint64_t>> outgoing;
    std::map<std::uint64_t, std::multiset<std::uint64_t>> incoming;
    std::map<std::uint64_t, std::multiset<std::uint64_t>> both;
    std::vector<std::uint64_t> rel_ids;
    for (const auto& [id, want] : model.rels) {
        rel_ids.push_back(id);
        const RelPtr got = t.relationship(RelId{id});
        ASSERT_NE(got, nullptr) << "relationship " << id;
        ASSERT_EQ((ModelRel{got->start.value,
                            got->end.value,
                            std::string{t.tokens().name(got->type)},
                            properties_of(t, got->properties)}),
                  want);
        outgoing[want.start].insert(id);
        incoming[want.end].insert(id);
        both[want.start].insert(id);
        if (want.end != want.start) {
            both[want.end].insert(id);
        }
    }
    ASSERT_EQ(drain(*t.scan_relationships({})), rel_ids);
    ASSERT_EQ(t.relationship_count(std::nullopt), rel_ids.size());
    for (const std::uint64_t id : all) {
        for (const auto& [direction, want] : {std::pair{Direction::kOutgoing, &outgoing},
                                              std::pair{Direction::kIncoming, &incoming},
                                              std::pair{Direction::kBoth, &both}}) {
            std::vector<Adjacent> got;
            t.expand(NodeId{id}, direction, {}, got);
            std::multiset<std::uint64_t> got_ids;
            for (const Adjacent& a : got) {
                got_ids.insert(a.relationship.value);
                const ModelRel& rel = model.rels.at(a.relationship.value);
                ASSERT_EQ(a.other.value, a.outgoing ? rel.end : rel.start);
            }
            ASSERT_EQ(got_ids, (*want)[id]) << "node " << id;
            ASSERT_EQ(t.degree(NodeId{id}, direction, {}), got_ids.size());
        }
    }
    if (const IndexView* index = t.schema()->index_named("by_x");
        index != nullptr && index->state == IndexState::kOnline) {
        for (std::int64_t value = 0; value < 6; ++value) {
            IndexQuery query;
            query.columns.push_back({.kind = IndexQuery::Kind::kEquals, .value = Value{value}});
            std::vector<std::uint64_t> want;
            std::vector<std::uint64_t> want_range;
            for (const auto& [id, node] : model.nodes) {
                const auto at = node.properties.find("x");
                if (node.labels.contains("A") && at != node.properties.end()) {
                    if (at->second == value) {
                        want.push_back(id);
                    }
                    if (at->second >= value) {
                        want_range.push_back(id);
                    }
                }
            }
            auto got = drain(*t.seek_nodes(index->rule.id, query));
            std::sort(got.begin(), got.end());
            ASSERT_EQ(got, want) << "x = " << value;
            IndexQuery range;
            range.columns.push_back({.kind = IndexQuery::Kind::kRange, .lower = Value{value}});
            got = drain(*t.seek_nodes(index->rule.id, range));
            std::int64_t last = -1;
            for (const std::uint64_t id : got) {
                const std::int64_t x = model.nodes.at(id).properties.at("x");
                ASSERT_LE(last, x) << "in index order";
                last = x;
            }
            std::sort(got.begin(), got.end());
            ASSERT_EQ(got, want_range) << "x >= " << value;
        }
    }
}

class Walk {
public:
    explicit Walk(std::uint64_t seed, Settings settings)
        : random_{seed}, harness_{std::move(settings)} {}

    void run(int steps) {
        for (int step = 0; step < steps && !::testing::Test::HasFatalFailure(); ++step) {
            switch (random_.below(24)) {
                case 0: {
                    const std::uint64_t before = harness_->digest().value();
                    old_.clear();
                    harness_.crash();
                    ASSERT_EQ(harness_->digest().value(), before) << "step " << step;
                    break;
                }
                case 1:
                case 2: {
                    const auto done = harness_->checkpoint();
                    ASSERT_TRUE(done) << done.error().message();
                    break;
                }
                case 3:
                    if (old_.size() < 4) {
                        old_.emplace_back(harness_.begin(AccessMode::kRead), model_);
                    }
                    break;
                case 4:
                    if (!old_.empty()) {
                        const std::size_t at = random_.below(old_.size());
                        compare(*old_[at].first, old_[at].second);
                        old_.erase(old_.begin() + static_cast<std::ptrdiff_t>(at));
                    }
                    break;
                case 5: {
                    auto reader = harness_.begin(AccessMode::kRead);
                    compare(*reader, model_);
                    break;
                }
                case 6:
                    if (step > 40 && !indexed_) {
                        indexed_ = true;
                        const auto done = harness_.write([](Transaction& t) {
                            return t.create_index(
                                {.name = "by_x", .tokens = {"A"}, .properties = {"x"}});
                        });
                        ASSERT_TRUE(done) << done.error().message();
                    }
                    break;
                default:
                    transaction();
                    break;
            }
        }
        for (auto& [snapshot, model] : old_) {
            compare(*snapshot, model);
        }
        ASSERT_TRUE(
            harness_->await_indexes("neo4j", "", system_clock().now() + std::chrono::seconds{30}));
        auto reader = harness_.begin(AccessMode::kRead);
        compare(*reader, model_);
    }

private:
    template <class Map>
    std::uint64_t pick(const Map& map) {
        auto at = map.begin();
        std::advance(at, static_cast<std::ptrdiff_t>(random_.below(map.size())));
        return at->first;
    }

    void transaction() {
        auto t = harness_.begin();
        Model model = model_;
        const std::uint64_t operations = 1 + random_.below(random_.one_in(8) ? 120 : 8);
        for (std::uint64_t i = 0; i < operations; ++i) {
            operation(*t, model);
            if (::testing::Test::HasFatalFailure()) {
                return;
            }
        }
        if (random_.one_in(3)) {
            compare(*t, model);
        }
        if (random_.one_in(6)) {
            return;  // rolled back
        }
        const auto done = harness_.commit(*t);
        ASSERT_TRUE(done) << done.error().message();
        model_ = std::move(model);
    }

    void operation(Transaction& t, Model& model) {
        const std::string& label_name = kLabels[random_.below(3)];
        const std::string& key_name = kKeys[random_.below(2)];
        const auto value = static_cast<std::int64_t>(random_.below(6));
        const std::uint64_t kind = random_.below(12);
        if (kind < 3 || model.nodes.empty()) {
            const auto id = create(t, label_name, key_name, Value{value});
            ASSERT_TRUE(id);
            model.nodes[id.value().value] = ModelNode{{label_name}, {{key_name, value}}};
            return;
        }
        const std::uint64_t node = pick(model.nodes);
        if (kind < 7) {
            // Often the same few nodes, so that some lists grow long.
            const std::uint64_t other =
                random_.one_in(2) ? model.nodes.begin()->first : pick(model.nodes);
            const std::string& type_name = kTypes[random_.below(2)];
            const auto id =
                t.create_relationship(NodeId{node}, type(t, type_name), NodeId{other}, {});
            ASSERT_TRUE(id);
            model.rels[id.value().value] = ModelRel{node, other, type_name, {}};
        } else if (kind == 7) {
            const bool removes = random_.one_in(3);
            ASSERT_TRUE(
                t.set_property(NodeId{node}, key(t, key_name), removes ? Value{} : Value{value}));
            if (removes) {
                model.nodes[node].properties.erase(key_name);
            } else {
                model.nodes[node].properties[key_name] = value;
            }
        } else if (kind == 8) {
            if (random_.one_in(2)) {
                ASSERT_EQ(t.add_label(NodeId{node}, label(t, label_name)).value(),
                          model.nodes[node].labels.insert(label_name).second);
            } else {
                ASSERT_EQ(t.remove_label(NodeId{node}, label(t, label_name)).value(),
                          model.nodes[node].labels.erase(label_name) == 1);
            }
        } else if (kind == 9 && !model.rels.empty()) {
            const std::uint64_t rel = pick(model.rels);
            ASSERT_TRUE(t.set_property(RelId{rel}, key(t, key_name), Value{value}));
            model.rels[rel].properties[key_name] = value;
        } else if (kind == 10 && !model.rels.empty()) {
            const std::uint64_t rel = pick(model.rels);
            ASSERT_TRUE(t.delete_relationship(RelId{rel}).value());
            model.rels.erase(rel);
        } else if (random_.one_in(2)) {
            std::vector<Adjacent> attached;
            t.expand(NodeId{node}, Direction::kBoth, {}, attached);
            for (const Adjacent& a : attached) {
                ASSERT_TRUE(t.delete_relationship(a.relationship).value());
                model.rels.erase(a.relationship.value);
            }
            ASSERT_TRUE(t.delete_node(NodeId{node}).value());
            model.nodes.erase(node);
        }
    }

    Random random_;
    Harness harness_;
    Model model_;
    std::vector<std::pair<std::unique_ptr<Transaction>, Model>> old_;
    bool indexed_ = false;
};

TEST(EngineModel, RandomOperationsAgreeWithTheModel) {
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        SCOPED_TRACE(seed);
        Walk walk{seed, quiet_settings()};
        walk.run(300);
        if (HasFatalFailure()) {
            return;
        }
    }
}

TEST(EngineModel, ATinyCacheChangesNothing) {
    for (std::uint64_t seed = 100; seed <= 110; ++seed) {
        SCOPED_TRACE(seed);
        Settings settings = quiet_settings();
        settings.cache_bytes_max = 64
                                   << 10;  // evicts all the time, and dirty pages make checkpoints
        Walk walk{seed, settings};
        walk.run(300);
        if (HasFatalFailure()) {
            return;
        }
    }
}

TEST(EngineModel, AHubInManyChunksSurvivesCheckpointAndCrash) {
    Harness h;
    NodeId hub;
    std::vector<RelId> rels;
    ASSERT_TRUE(h.write([&](Transaction& t) -> Result<> {
        NORNIC_TRY(hub, create(t, "Hub", "n", 0));
        return success();
    }));
    const auto grow = [&](int count) {
        ASSERT_TRUE(h.write([&](Transaction& t) -> Result<> {
            for (int i = 0; i < count; ++i) {
                NORNIC_TRY(const NodeId leaf, create(t, "Leaf", "n", i));
                NORNIC_TRY(const RelId rel, t.create_relationship(hub, type(t, "R"), leaf, {}));
                rels.push_back(rel);
            }
            return success();
        }));
    };
    const auto shrink = [&](std::size_t from, std::size_t count) {
        ASSERT_TRUE(h.write([&](Transaction& t) -> Result<> {
            for (std::size_t i = from; i < from + count; ++i) {
                NORNIC_TRY(t.delete_relationship(rels[i]));
            }
            return success();
        }));
        rels.erase(rels.begin() + static_cast<std::ptrdiff_t>(from),
                   rels.begin() + static_cast<std::ptrdiff_t>(from + count));
    };
    const auto check = [&](const char* when) {
        auto t = h.begin(AccessMode::kRead);
        std::vector<Adjacent> out;
        t->expand(hub, Direction::kOutgoing, {}, out);
        std::set<std::uint64_t> got;
        for (const Adjacent& a : out) {
            got.insert(a.relationship.value);
        }
        std::set<std::uint64_t> want;
        for (const RelId rel : rels) {
            want.insert(rel.value);
        }
        ASSERT_EQ(out.size(), rels.size()) << when;
        ASSERT_EQ(got, want) << when;
    };
    grow(3000);
    check("grown");
    ASSERT_TRUE(h->checkpoint());
    h.crash();
    check("after the first crash");
    grow(10);
    ASSERT_TRUE(h->checkpoint());
    h.crash();
    check("only the last chunk was written");
    shrink(2990, 15);
    ASSERT_TRUE(h->checkpoint());
    h.crash();
    check("shortened at the end");
    shrink(100, 1500);
    {
        auto old = h.begin(AccessMode::kRead);
        shrink(0, 10);
        h.kv_view->fail_writes = true;
        ASSERT_FALSE(h->checkpoint());
        h.kv_view->fail_writes = false;
        ASSERT_TRUE(h->checkpoint());
        EXPECT_EQ(old->degree(hub, Direction::kBoth, {}), rels.size() + 10);
    }
    h.crash();
    check("shortened in the middle");
    shrink(0, rels.size() - 5);
    ASSERT_TRUE(h->checkpoint());
    h.crash();
    check("light again");
}

}  // namespace
}  // namespace nornic::engine
