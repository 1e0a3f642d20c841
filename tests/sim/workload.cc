#include "tests/sim/workload.h"

#include "base/check.h"
#include "tests/sim/checker.h"
#include "tests/sim/workload_support.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace nornic::sim {

// ---- What they share ----

std::vector<NodeId> nodes_of(engine::GraphReader& reader, std::string_view label) {
    std::vector<NodeId> out;
    const auto id = reader.tokens().label(label);
    if (!id) {
        return out;
    }
    const auto cursor = reader.scan_label(*id);
    std::array<NodeId, 64> batch;
    for (std::size_t n = cursor->next(batch); n > 0; n = cursor->next(batch)) {
        out.insert(out.end(), batch.begin(), batch.begin() + static_cast<std::ptrdiff_t>(n));
    }
    return out;
}

std::int64_t integer_of(engine::GraphReader& reader, NodeId id, std::string_view key) {
    const auto property = reader.tokens().property_key(key);
    const auto data = reader.node(id);
    if (!property || !data) {
        return 0;
    }
    const Value* const value = data->property(*property);
    return value == nullptr ? 0 : value->as_integer();
}

Result<NodeId> create_node(Transaction& tx, std::string_view label, std::initializer_list<Integer> properties) {
    NORNIC_TRY(const LabelId id, tx.label_or_create(label));
    std::vector<PropertyEntry> entries;
    for (const auto& [name, value] : properties) {
        NORNIC_TRY(const PropertyKeyId key, tx.property_key_or_create(name));
        entries.push_back({key, Value{value}});
    }
    return tx.create_node({&id, 1}, entries);
}

Result<> set_integer(Transaction& tx, NodeId node, std::string_view name, std::int64_t value) {
    NORNIC_TRY(const PropertyKeyId key, tx.property_key_or_create(name));
    NORNIC_TRY(tx.set_property(node, key, Value{value}));
    return success();
}

namespace {

/// As server/query_session.cc does: only what is applied here counts.
std::optional<ReadEnd> compare_branches(Node& node, const std::optional<Bookmark>& bookmark) {
    if (!bookmark) {
        return std::nullopt;
    }
    const LogIndex applied = node.engine().applied_index();
    const auto here = node.replica().term_at(std::min(bookmark->index, applied));
    if (!here) {
        node.world().mark("read: the log does not reach back to the bookmark");
        return std::nullopt;
    }
    if (*here > bookmark->term) {
        return ReadEnd::kLostBranch;
    }
    if (bookmark->index <= applied && *here < bookmark->term) {
        return ReadEnd::kRefused;
    }
    return std::nullopt;
}

}  // namespace

void read_at(Node& node,
             const ReadPlan& plan,
             std::function<void(Transaction&)> body,
             std::function<void(ReadEnd)> done) {
    if (!node.accepting() || node.witness()) {
        done(ReadEnd::kRefused);
        return;
    }
    if (const auto early = compare_branches(node, plan.bookmark)) {
        done(*early);
        return;
    }
    // A member that dies may never answer; its client notices.
    const Duration patience = node.world().menu.failover_timeout() * 2;
    const auto waiting = std::make_shared<std::function<void(ReadEnd)>>(std::move(done));
    const auto end = [waiting](ReadEnd how) {
        if (const auto once = std::exchange(*waiting, nullptr)) {
            once(how);
        }
    };
    node.world().scheduler.after(patience * 3 / 2, [end] { end(ReadEnd::kRefused); });
    auto read =
        [&node, life = node.life(), bookmark = plan.bookmark, body = std::move(body), end, waiting](
            const Result<LogIndex>& point) {
            if (!*waiting) {
                return;  // its client has given up and does something else
            }
            if (!point || life->dead) {
                end(ReadEnd::kRefused);
                return;
            }
            if (const auto early = compare_branches(node, bookmark)) {
                end(*early);
                return;
            }
            auto begun = node.engine().begin({.mode = AccessMode::kRead});
            if (!begun) {
                end(ReadEnd::kRefused);
                return;
            }
            Transaction& tx = *begun.value();
            if (tx.snapshot() < point.value()) {
                node.world().violate(fmt::format("{} answered read point {} and reads at {}",
                                                 node.id(),
                                                 point.value().value,
                                                 tx.snapshot().value));
            }
            body(tx);
            tx.finish();
            end(ReadEnd::kRead);
        };
    if (node.world().menu.mutation == Mutation::kReadEarly && node.world().faults) {
        read(LogIndex{0});
        return;
    }
    node.replica().read_point(plan.level,
                              plan.bookmark ? std::optional{plan.bookmark->index} : std::nullopt,
                              node.clock().now() + patience,
                              std::move(read));
}

std::unique_ptr<Transaction> read_now(Node& node) {
    auto begun = node.engine().begin({.mode = AccessMode::kRead});
    if (!begun) {
        node.world().violate(fmt::format("no reading transaction on {}: {}", node.id(), begun.error().message()));
        return nullptr;
    }
    return std::move(begun).value();
}

// ---- The table ----

namespace {

/// Several at once: their transactions meet in one log.
class Mix final : public Workload {
public:
    Mix(World& world, std::vector<std::unique_ptr<Workload>> parts) : world_{world}, parts_{std::move(parts)} {}
    void transact(Node& node, Duration think, std::function<void(const Answer&)> done) override {
        any().transact(node, think, std::move(done));
    }
    void read(Node& node, std::function<void()> done) override { any().read(node, std::move(done)); }
    void judge(Node& primary) override {
        for (const auto& part : parts_) {
            part->judge(primary);
        }
    }

private:
    Workload& any() { return *parts_[world_.random.below(parts_.size())]; }

    World& world_;
    std::vector<std::unique_ptr<Workload>> parts_;
};

using Maker = std::unique_ptr<Workload> (*)(World&);
constexpr std::array<std::pair<std::string_view, Maker>, 7> kWorkloads{{
    {"set", make_set},
    {"counter", make_counter},
    {"bank", make_bank},
    {"ring", make_ring},
    {"register", make_register},
    {"causal", make_causal},
    {"regions", make_regions},
}};

}  // namespace

std::unique_ptr<Workload> make_workload(World& world, std::string_view names) {
    std::vector<std::unique_ptr<Workload>> parts;
    while (!names.empty()) {
        const std::size_t end = std::min(names.find('+'), names.size());
        const std::string_view name = names.substr(0, end);
        names.remove_prefix(std::min(end + 1, names.size()));
        const auto* const at = std::ranges::find(kWorkloads, name, &std::pair<std::string_view, Maker>::first);
        NORNIC_CHECK(at != kWorkloads.end(), "no workload '{}'", name);
        parts.push_back(at->second(world));
    }
    return std::make_unique<Mix>(world, std::move(parts));
}

// ---- Clients ----

void Clients::start() {
    for (std::size_t i = 0; i < world_.menu.clients; ++i) {
        next(world_.between(Duration::zero(), kMillisecond * 50));
    }
}

/// Mostly one that says it leads; now and then any, as a client with an old routing table would.
Node& Clients::choose() {
    std::vector<Node*> leaders;
    std::vector<Node*> all;
    for (const auto& node : world_.nodes) {
        if (!node->witness()) {
            all.push_back(node.get());
            if (node->accepting() && node->replica().term().value != 0) {
                leaders.push_back(node.get());
            }
        }
    }
    auto& from = leaders.empty() || world_.random.one_in(8) ? all : leaders;
    return *from[world_.random.below(from.size())];
}

void Clients::next(Duration pause) {
    world_.scheduler.after(pause, [this] {
        if (!world_.faults) {
            return;
        }
        ++running_;
        if (world_.random.one_in(4)) {
            read_once();
        } else {
            write_once();
        }
    });
}

void Clients::write_once() {
    Node& node = choose();
    const Duration think =
        world_.random.one_in(3) ? world_.between(Duration::zero(), world_.menu.think_max) : Duration::zero();
    workload_.transact(node, think, [this, at = &node](const Answer& answer) {
        --running_;
        const bool committed = answer.outcome == Outcome::kCommitted;
        if (committed) {
            world_.trace("{} acknowledged entry {} of epoch {}",
                         at->id(),
                         answer.committed.index.value,
                         answer.committed.term.value);
            world_.checker->acknowledged(*at, answer.committed);
        }
        next(world_.between(Duration::zero(), committed ? world_.menu.think_max : kMillisecond * 40));
    });
}

void Clients::read_once() {
    // Any member, as a router spreads them.
    Node& node = world_.random.one_in(2) ? choose() : world_.node(world_.random.below(world_.menu.data_members()));
    workload_.read(node, [this] {
        --running_;
        next(world_.between(Duration::zero(), world_.menu.think_max));
    });
}

void Clients::write(Node& node, std::function<void(bool)> done) {
    workload_.transact(node, Duration::zero(), [this, at = &node, done = std::move(done)](const Answer& answer) {
        if (answer.outcome == Outcome::kCommitted) {
            world_.checker->acknowledged(*at, answer.committed);
        } else {
            world_.trace("{} did not take the last write: {}", at->id(), answer.error);
        }
        done(answer.outcome == Outcome::kCommitted);
    });
}

}  // namespace nornic::sim
