// regions: clients of all regions write to the same nodes, some to properties that only their region writes, some to one that
// all write; nodes and relationships come and go.
#include "tests/sim/regions.h"
#include "tests/sim/workload_support.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace nornic::sim {
namespace {

constexpr std::size_t kNodesMax = 30;

class Shared final : public Workload {
public:
    explicit Shared(World& world)
        : world_{world},
          own_{"own" + std::to_string(world.region)},
          pair_{"Pair" + std::to_string(world.region)} {}

    void transact(Node& node, Duration think, std::function<void(const Answer&)> done) override {
        const auto draft = std::make_shared<Ledger::Draft>();
        node.transact(
            think,
            [this, draft](Transaction& tx) { return change(tx, *draft); },
            [this, draft, done = std::move(done)](const Answer& answer) {
                ledger().ended(*draft, world_.region, answer);
                done(answer);
            });
    }
    void read(Node& node, std::function<void()> done) override {
        read_at(
            node, {}, [this, &node](Transaction& tx) { look(node, tx); }, [done = std::move(done)](ReadEnd) { done(); });
    }
    void judge(Node& primary) override {
        if (const auto reader = read_now(primary)) {
            look(primary, *reader);
        }
    }

private:
    using Kind = Ledger::Effect::Kind;
    Ledger& ledger() { return world_.regions->ledger; }

    Result<bool> change(Transaction& tx, Ledger::Draft& draft) {
        if (world_.region == 0 && tx.schema()->constraint_named("one") == nullptr && world_.random.one_in(4)) {
            return make_rule(tx);
        }
        const auto nodes = nodes_of(tx, "N");
        const std::uint64_t choice = world_.random.below(100);
        if (nodes.size() < 4 || (choice < 15 && nodes.size() < kNodesMax)) {
            return create(tx, draft);
        }
        if (choice >= 96) {
            return turn_pair(tx);
        }
        if (choice >= 92) {
            return turn_key(tx);
        }
        const NodeId id = nodes[world_.random.below(nodes.size())];
        const std::int64_t name = integer_of(tx, id, "name");
        if (choice < 45) {
            const std::int64_t value = ledger().draw();
            draft.push_back({Kind::kOwn, name, value, 0});
            NORNIC_TRY(set_integer(tx, id, own_, value));
            return true;
        }
        if (choice < 70) {
            const std::int64_t value = choice < 64 ? ledger().draw() : 0;
            draft.push_back({Kind::kShared, name, value, integer_of(tx, id, "shared")});
            NORNIC_TRY(const PropertyKeyId key, tx.property_key_or_create("shared"));
            NORNIC_TRY(tx.set_property(id, key, value == 0 ? Value{} : Value{value}));
            return true;
        }
        if (choice < 78) {
            return erase(tx, id, name, draft);
        }
        if (choice < 86) {
            NORNIC_TRY(const RelTypeId type, tx.relationship_type_or_create("R"));
            NORNIC_TRY(const PropertyKeyId key, tx.property_key_or_create("weight"));
            const PropertyEntry weight{key, Value{ledger().draw()}};
            NORNIC_TRY(tx.create_relationship(id, type, nodes[world_.random.below(nodes.size())], {&weight, 1}));
            return true;
        }
        std::vector<engine::Adjacent> around;
        tx.expand(id, engine::Direction::kBoth, {}, around);
        if (choice < 90 && !around.empty()) {
            const RelId relationship = around[world_.random.below(around.size())].relationship;
            if (choice < 88) {
                NORNIC_TRY(tx.delete_relationship(relationship));
            } else {
                NORNIC_TRY(const PropertyKeyId key, tx.property_key_or_create("weight"));
                NORNIC_TRY(tx.set_property(relationship, key, Value{ledger().draw()}));
            }
            return true;
        }
        NORNIC_TRY(const LabelId label, tx.label_or_create("Marked"));
        const auto data = tx.node(id);
        if (data != nullptr && data->has_label(label)) {
            NORNIC_TRY(tx.remove_label(id, label));
        } else {
            NORNIC_TRY(tx.add_label(id, label));
        }
        return true;
    }

    Result<bool> create(Transaction& tx, Ledger::Draft& draft) {
        const std::int64_t name = ledger().draw();
        const std::int64_t own = ledger().draw();
        const std::int64_t shared = ledger().draw();
        draft.push_back({Kind::kCreate, name, 0, 0});
        draft.push_back({Kind::kOwn, name, own, 0});
        draft.push_back({Kind::kShared, name, shared, 0});
        NORNIC_TRY(create_node(tx, "N", {{"name", name}, {own_, own}, {"shared", shared}}));
        return true;
    }

    Result<bool> erase(Transaction& tx, NodeId id, std::int64_t name, Ledger::Draft& draft) {
        draft.push_back({Kind::kDelete, name, 0, 0});
        std::vector<engine::Adjacent> around;
        tx.expand(id, engine::Direction::kBoth, {}, around);
        for (const engine::Adjacent& one : around) {
            NORNIC_TRY(tx.delete_relationship(one.relationship));
        }
        NORNIC_TRY(tx.delete_node(id));
        return true;
    }

    Result<bool> make_rule(Transaction& tx) {
        engine::ConstraintDefinition rule;
        rule.name = "one";
        rule.type = engine::ConstraintType::kUnique;
        rule.entity = engine::EntityKind::kNode;
        rule.token = "Key";
        rule.properties = {"key"};
        NORNIC_TRY(tx.create_constraint(rule));
        return true;
    }

    /// Nodes of which there is one of each key, as far as this region knows.
    Result<bool> turn_key(Transaction& tx) {
        if (tx.schema()->constraint_named("one") == nullptr) {
            return turn_pair(tx);
        }
        constexpr std::uint64_t kKeys = 4;
        const auto key = static_cast<std::int64_t>(world_.random.below(kKeys));
        const auto nodes = nodes_of(tx, "Key");
        const auto there = std::ranges::find_if(nodes, [&](NodeId id) { return integer_of(tx, id, "key") == key; });
        if (there == nodes.end()) {
            NORNIC_TRY(create_node(tx, "Key", {{"key", key}}));
        } else if (world_.random.one_in(2)) {
            NORNIC_TRY(tx.delete_node(*there));
        } else {
            NORNIC_TRY(set_integer(tx, *there, "key", static_cast<std::int64_t>(world_.random.below(kKeys))));
        }
        return true;
    }

    /// Two nodes that only this region writes, always at once.
    Result<bool> turn_pair(Transaction& tx) {
        NORNIC_TRY(const LabelId label, tx.label_or_create(pair_));
        auto nodes = nodes_of(tx, pair_);
        if (nodes.empty()) {
            NORNIC_TRY(tx.lock_for_merge(label, {}));
            nodes = nodes_of(tx, pair_);
        }
        const std::int64_t value = ledger().draw();
        if (nodes.empty()) {
            NORNIC_TRY(create_node(tx, pair_, {{"value", value}}));
            NORNIC_TRY(create_node(tx, pair_, {{"value", value}}));
            return true;
        }
        for (const NodeId id : nodes) {
            NORNIC_TRY(set_integer(tx, id, "value", value));
        }
        return true;
    }

    void look(Node& node, Transaction& tx) {
        std::set<std::int64_t> names;
        for (const NodeId id : nodes_of(tx, "N")) {
            const std::int64_t name = integer_of(tx, id, "name");
            if (!names.insert(name).second) {
                world_.violate(fmt::format("{} shows node {} twice", node.id(), name));
            }
            const auto story = ledger().stories.find(name);
            if (story == ledger().stories.end()) {
                continue;  // under way, or its client was never told
            }
            const auto gone = story->second.deleted.find(world_.region);
            if (gone != story->second.deleted.end() && gone->second <= tx.snapshot()) {
                world_.violate(fmt::format("{} shows node {} at entry {}, which was deleted by entry {}",
                                           node.id(),
                                           name,
                                           tx.snapshot().value,
                                           gone->second.value));
            }
        }
        for (std::size_t region = 0; region < world_.menu.regions.regions && !world_.regions->seeded; ++region) {
            const auto nodes = nodes_of(tx, "Pair" + std::to_string(region));
            const bool whole = nodes.empty() || (nodes.size() == 2 && integer_of(tx, nodes[0], "value") == integer_of(tx, nodes[1], "value"));
            if (!whole) {
                world_.violate(fmt::format("{} shows half a transaction of {} at entry {}",
                                           node.id(),
                                           Regions::name_of(region),
                                           tx.snapshot().value));
            }
        }
    }

    World& world_;
    const std::string own_;
    const std::string pair_;
};

}  // namespace

std::unique_ptr<Workload> make_regions(World& world) {
    return std::make_unique<Shared>(world);
}

}  // namespace nornic::sim
