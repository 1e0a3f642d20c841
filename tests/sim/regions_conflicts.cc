// What the regions' conflict logs must tell in the end.
#include "engine/region.h"
#include "tests/sim/regions.h"
#include "tests/sim/workload_support.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::sim {
namespace {

using Rows = std::map<std::string, Map>;  // by key

Rows rows_of(Node& node) {
    Rows out;
    for (const auto& [key, row] : node.engine().catalog_range(engine::kConflictPrefix)) {
        out.emplace(key, row.as_map());
    }
    return out;
}

Value field(const Map& row, std::string_view name) {
    const Value* const found = row.find(name);
    return found == nullptr ? Value{} : *found;
}

Value side(const Map& row, std::string_view which, std::string_view name) {
    return field(field(row, which).as_map(), name);
}

/// What does not depend on where and when it was found. Of the creations of two nodes of one key only the ids last.
std::string essence(const Map& row) {
    if (field(row, "kind").as_string() == "unique") {
        const auto [first, second] = std::minmax(side(row, "winner", "value").as_integer(), side(row, "loser", "value").as_integer());
        return fmt::format("{} and {}", first, second);
    }
    std::string out;
    for (const std::string_view name : {"kind", "database", "entity", "id", "cell"}) {
        out += fmt::format("{} ", to_cypher_text(field(row, name)));
    }
    for (const std::string_view which : {"winner", "loser"}) {
        for (const std::string_view name : {"value", "region", "time", "rank"}) {
            out += fmt::format("{} ", to_cypher_text(side(row, which, name)));
        }
    }
    return out;
}

std::set<std::int64_t> values_of(const std::vector<Rows>& logs, std::string_view kind, std::string_view cell) {
    std::set<std::int64_t> out;
    for (const Rows& rows : logs) {
        for (const auto& [key, row] : rows) {
            if (field(row, "kind").as_string() != kind || field(row, "cell").as_string() != cell) {
                continue;
            }
            for (const std::string_view which : {"winner", "loser"}) {
                if (const Value value = side(row, which, "value"); value.is(ValueType::kInteger)) {
                    out.insert(value.as_integer());
                }
            }
        }
    }
    return out;
}

}  // namespace

void Regions::judge_conflicts(const std::vector<Node*>& leaders, const std::map<std::int64_t, std::int64_t>& shared) {
    World& world = *worlds_.front();
    std::vector<Rows> logs;
    bool lost = false;
    for (Node* const leader : leaders) {
        lost = lost || leader == nullptr;
        logs.push_back(leader == nullptr ? Rows{} : rows_of(*leader));
    }
    // One conflict has one name and one content, whoever found it.
    Rows all;
    for (const Rows& rows : logs) {
        for (const auto& [key, row] : rows) {
            const auto [there, fresh] = all.emplace(key, row);
            if (!fresh) {
                world.mark("conflicts: found in two regions");
            }
            if (essence(there->second) != essence(row)) {
                world.violate(fmt::format("the conflict {} is {} in one region and {} in another", key, essence(there->second), essence(row)));
                return;
            }
        }
    }
    // Two nodes of one key are named by the region that made the rule, which never was without it.
    const auto reader = read_now(*leaders.front());
    std::map<std::int64_t, std::vector<NodeId>> keys;
    for (const NodeId id : nodes_of(*reader, "Key")) {
        keys[integer_of(*reader, id, "key")].push_back(id);
    }
    std::set<std::pair<std::uint64_t, std::uint64_t>> pairs;
    for (const auto& [key, row] : logs.front()) {
        if (field(row, "kind").as_string() == "unique") {
            const auto winner = static_cast<std::uint64_t>(side(row, "winner", "value").as_integer());
            const auto loser = static_cast<std::uint64_t>(side(row, "loser", "value").as_integer());
            pairs.insert(std::minmax(winner, loser));
        }
    }
    for (const auto& [key, nodes] : keys) {
        for (std::size_t i = 0; i < nodes.size(); ++i) {
            for (std::size_t j = i + 1; j < nodes.size(); ++j) {
                world.mark("conflicts: two nodes of one key");
                if (!pairs.contains(std::minmax(nodes[i].value, nodes[j].value))) {
                    world.violate(fmt::format("nodes {} and {} are both of key {}, and {} has no conflict that says so",
                                              nodes[i].value, nodes[j].value, key, leaders.front()->id()));
                    return;
                }
            }
        }
    }
    // What lost against a write that had not seen it is in somebody's log. Cells of a seed are merged without asking who had seen them.
    if (seeded || lost) {
        return;
    }
    const std::set<std::int64_t> told = values_of(logs, "property", "shared");
    for (const auto& [name, value] : shared) {
        const Ledger::Story& story = ledger.stories.at(name);
        for (const auto& [written, region] : story.acknowledged) {
            if (written == value || story.perhaps_overwritten.contains(written)) {
                continue;
            }
            world.mark("conflicts: a value was lost that nobody had seen");
            if (!told.contains(written)) {
                world.violate(fmt::format("node {} has {} in the property that all write; {} of {} is gone, nobody who had seen it wrote another, and no "
                                          "conflict tells of it",
                                          name, value, written, name_of(region)));
                return;
            }
        }
    }
}

}  // namespace nornic::sim
