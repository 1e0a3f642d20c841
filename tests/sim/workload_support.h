// What the workloads share: looking at the graph without Cypher, and reads at a level and behind a bookmark.
#pragma once

#include "tests/sim/workload.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace nornic::sim {

using engine::PropertyEntry;
using engine::Transaction;

/// All nodes of a label, in the order of their ids.
std::vector<NodeId> nodes_of(engine::GraphReader& reader, std::string_view label);
/// 0 if node or property is absent.
std::int64_t integer_of(engine::GraphReader& reader, NodeId id, std::string_view key);
/// CREATE (:label {key: value, …})
struct Integer {
    std::string_view key;
    std::int64_t value;
};
Result<NodeId> create_node(Transaction& tx, std::string_view label, std::initializer_list<Integer> properties);
Result<> set_integer(Transaction& tx, NodeId node, std::string_view key, std::int64_t value);

/// A place in the history that a client has seen, as its bookmark says it.
struct Bookmark {
    LogIndex index;
    Term term;
};

struct ReadPlan {
    modes::ReadConsistency level = modes::ReadConsistency::kLocalOne;
    std::optional<Bookmark> bookmark;
};

enum class ReadEnd : std::uint8_t {
    kRead,
    kRefused,
    kLostBranch,  // the bookmark is known to be of a branch that was given up
};

/// Waits for the read point, compares branches as the server does and runs `body` on a reading transaction. `done` is
/// called once, also if the member dies.
void read_at(Node& node,
             const ReadPlan& plan,
             std::function<void(Transaction&)> body,
             std::function<void(ReadEnd)> done);
/// A reading transaction now, or a violation.
std::unique_ptr<Transaction> read_now(Node& node);

std::unique_ptr<Workload> make_set(World& world);
std::unique_ptr<Workload> make_counter(World& world);
std::unique_ptr<Workload> make_bank(World& world);
std::unique_ptr<Workload> make_ring(World& world);
std::unique_ptr<Workload> make_register(World& world);
std::unique_ptr<Workload> make_causal(World& world);
std::unique_ptr<Workload> make_regions(World& world);

}  // namespace nornic::sim
