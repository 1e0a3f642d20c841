// bank: money moves and does not change. ring: three neighbours turn around, and it stays one ring.
#include "tests/sim/workload_support.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

namespace nornic::sim {
namespace {

/// A workload whose graph is made by its first transaction and must look whole in every snapshot from then on.
class Invariant : public Workload {
public:
    Invariant(World& world, std::string_view label) : world_{world}, label_{label} {}

    void transact(Node& node, Duration think, std::function<void(const Answer&)> done) override {
        const auto body = [this](Transaction& tx) -> Result<bool> {
            auto nodes = nodes_of(tx, label_);
            if (nodes.empty()) {
                NORNIC_TRY(const LabelId label, tx.label_or_create(label_));
                NORNIC_TRY(tx.lock_for_merge(label, {}));
                nodes = nodes_of(tx, label_);
            }
            return nodes.empty() ? make(tx) : change(tx, nodes);
        };
        node.transact(think, body, std::move(done));
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

protected:
    virtual Result<bool> make(Transaction& tx) = 0;
    virtual Result<bool> change(Transaction& tx, const std::vector<NodeId>& nodes) = 0;
    /// Empty: it is whole.
    virtual std::string flaw(Transaction& tx, const std::vector<NodeId>& nodes) = 0;

    World& world_;

private:
    void look(Node& node, Transaction& tx) {
        const auto nodes = nodes_of(tx, label_);
        if (nodes.empty()) {
            return;  // nobody has made it yet, or who did was given up
        }
        if (const std::string found = flaw(tx, nodes); !found.empty()) {
            world_.violate(fmt::format("{} at entry {}: {}", node.id(), tx.snapshot().value, found));
        }
    }

    const std::string label_;
};

class Bank final : public Invariant {
public:
    explicit Bank(World& world) : Invariant{world, "Account"}, accounts_{2 + world.random.below(6)} {}

private:
    static constexpr std::int64_t kMoney = 100;

    Result<bool> make(Transaction& tx) override {
        for (std::size_t i = 0; i < accounts_; ++i) {
            NORNIC_TRY(create_node(tx, "Account", {{"money", kMoney}}));
        }
        return true;
    }
    Result<bool> change(Transaction& tx, const std::vector<NodeId>& nodes) override {
        const NodeId from = nodes[world_.random.below(nodes.size())];
        const NodeId to = nodes[world_.random.below(nodes.size())];
        if (from == to) {
            return set_integer(tx, from, "visits", integer_of(tx, from, "visits") + 1) ? Result<bool>{true} : false;
        }
        const std::int64_t has = integer_of(tx, from, "money");
        const auto amount = static_cast<std::int64_t>(world_.random.below(static_cast<std::uint64_t>(has) + 1));
        NORNIC_TRY(set_integer(tx, from, "money", has - amount));
        NORNIC_TRY(set_integer(tx, to, "money", integer_of(tx, to, "money") + amount));
        return true;
    }
    std::string flaw(Transaction& tx, const std::vector<NodeId>& nodes) override {
        std::int64_t sum = 0;
        std::int64_t least = 0;
        for (const NodeId id : nodes) {
            const std::int64_t money = integer_of(tx, id, "money");
            sum += money;
            least = std::min(least, money);
        }
        if (nodes.size() == accounts_ && sum == kMoney * static_cast<std::int64_t>(accounts_) && least >= 0) {
            return {};
        }
        return fmt::format("{} accounts of {} hold {} together, the poorest {}", nodes.size(), accounts_, sum, least);
    }

    const std::size_t accounts_;
};

/// FoundationDB's Cycle as a graph.
class Ring final : public Invariant {
public:
    explicit Ring(World& world) : Invariant{world, "Ring"}, size_{4 + world.random.below(8)} {}

private:
    Result<bool> make(Transaction& tx) override {
        NORNIC_TRY(const RelTypeId type, tx.relationship_type_or_create("NEXT"));
        std::vector<NodeId> nodes;
        for (std::size_t i = 0; i < size_; ++i) {
            NORNIC_TRY(const NodeId id, create_node(tx, "Ring", {{"n", static_cast<std::int64_t>(i)}}));
            nodes.push_back(id);
        }
        for (std::size_t i = 0; i < size_; ++i) {
            NORNIC_TRY(tx.create_relationship(nodes[i], type, nodes[(i + 1) % size_], {}));
        }
        return true;
    }
    /// a -> b -> c -> d becomes a -> c -> b -> d.
    Result<bool> change(Transaction& tx, const std::vector<NodeId>& nodes) override {
        NORNIC_TRY(const RelTypeId type, tx.relationship_type_or_create("NEXT"));
        NodeId at = nodes[world_.random.below(nodes.size())];
        std::vector<NodeId> walk{at};
        std::vector<RelId> steps;
        for (int i = 0; i < 3; ++i) {
            const auto next = next_of(tx, at);
            if (next.size() != 1) {
                world_.violate(fmt::format("a node of the ring has {} successors at entry {}", next.size(), tx.snapshot().value));
                return false;
            }
            at = next.front().other;
            walk.push_back(at);
            steps.push_back(next.front().relationship);
        }
        for (const RelId step : steps) {
            NORNIC_TRY(const bool there, tx.delete_relationship(step));
            if (!there) {
                return false;
            }
        }
        NORNIC_TRY(tx.create_relationship(walk[0], type, walk[2], {}));
        NORNIC_TRY(tx.create_relationship(walk[2], type, walk[1], {}));
        NORNIC_TRY(tx.create_relationship(walk[1], type, walk[3], {}));
        return true;
    }
    std::string flaw(Transaction& tx, const std::vector<NodeId>& nodes) override {
        std::size_t steps = 0;
        NodeId at = nodes.front();
        do {
            const auto next = next_of(tx, at);
            if (next.size() != 1) {
                return fmt::format("node {} of the ring has {} successors", at.value, next.size());
            }
            at = next.front().other;
            ++steps;
        } while (at != nodes.front() && steps <= nodes.size());
        if (steps == size_ && nodes.size() == size_) {
            return {};
        }
        return fmt::format("a walk through the ring of {} nodes, once {}, took {} steps", nodes.size(), size_, steps);
    }
    static std::vector<engine::Adjacent> next_of(Transaction& tx, NodeId at) {
        std::vector<engine::Adjacent> out;
        if (const auto type = tx.tokens().relationship_type("NEXT")) {
            tx.expand(at, engine::Direction::kOutgoing, {&*type, 1}, out);
        }
        return out;
    }

    const std::size_t size_;
};

}  // namespace

std::unique_ptr<Workload> make_bank(World& world) {
    return std::make_unique<Bank>(world);
}
std::unique_ptr<Workload> make_ring(World& world) {
    return std::make_unique<Ring>(world);
}

}  // namespace nornic::sim
