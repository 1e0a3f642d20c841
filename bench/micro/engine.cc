// Apply, point read and expand: the engine without disk and network.

#include "bench/micro/memory_graph.h"

#include <benchmark/benchmark.h>

#include <array>
#include <cstdint>

namespace nornic::bench {
namespace {

constexpr std::int64_t kNodes = 20000;

/// CREATE (:W {id, v}) from begin to visible, but for the log.
void commit_one_node(benchmark::State& state) {
    MemoryGraph graph;
    graph.add_nodes("W", 1);
    std::int64_t next = 0;
    for (auto _ : state) {
        auto transaction = graph.begin();
        const LabelId label = transaction->label_or_create("W").value();
        const std::array properties{
            engine::PropertyEntry{transaction->property_key_or_create("id").value(), Value{next++}},
            engine::PropertyEntry{transaction->property_key_or_create("v").value(),
                                  Value{std::string("some value")}}};
        benchmark::DoNotOptimize(transaction->create_node(std::span{&label, 1}, properties));
        graph.commit(*transaction);
    }
}
BENCHMARK(commit_one_node);

/// Only the application of an entry that creates `range` nodes.
void apply_nodes(benchmark::State& state) {
    MemoryGraph graph;
    for (auto _ : state) {
        state.PauseTiming();
        auto transaction = graph.begin();
        const LabelId label = transaction->label_or_create("W").value();
        for (std::int64_t i = 0; i < state.range(0); ++i) {
            const engine::PropertyEntry id{transaction->property_key_or_create("id").value(),
                                           Value{i}};
            benchmark::DoNotOptimize(
                transaction->create_node(std::span{&label, 1}, std::span{&id, 1}));
        }
        std::string write_set = transaction->prepare().value();
        state.ResumeTiming();
        graph.apply(std::move(write_set));
        state.PauseTiming();
        transaction->finish();
        transaction.reset();
        state.ResumeTiming();
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(apply_nodes)->Arg(1000);

/// One property of one node whose id is known; a snapshot is taken once.
void read_one_property(benchmark::State& state) {
    MemoryGraph graph;
    const auto nodes = graph.add_nodes("P", kNodes);
    auto reader = graph.begin(AccessMode::kRead);
    const PropertyKeyId key = reader->tokens().property_key("id").value();
    std::size_t at = 0;
    for (auto _ : state) {
        Value value;
        at = (at + 7919) % nodes.size();
        reader->node_properties(std::span{&nodes[at], 1}, key, std::span{&value, 1});
        benchmark::DoNotOptimize(value);
    }
}
BENCHMARK(read_one_property);

/// Begin and end of a reading transaction: what every query pays.
void begin_and_end_reading(benchmark::State& state) {
    MemoryGraph graph;
    graph.add_nodes("P", 1000);
    for (auto _ : state) {
        benchmark::DoNotOptimize(graph.begin(AccessMode::kRead));
    }
}
BENCHMARK(begin_and_end_reading);

/// All outgoing relationships of a node with `range` of them; time is per relationship.
void expand(benchmark::State& state) {
    MemoryGraph graph;
    const auto nodes = graph.add_nodes("U", 2000);
    std::uint64_t random = 42;
    for (std::size_t from = 0; from < nodes.size();) {
        auto transaction = graph.begin();
        const RelTypeId type = transaction->relationship_type_or_create("F").value();
        for (int batch = 0; batch < 100 && from < nodes.size(); ++batch, ++from) {
            for (std::int64_t i = 0; i < state.range(0); ++i) {
                random = random * 6364136223846793005U + 1442695040888963407U;
                benchmark::DoNotOptimize(transaction->create_relationship(
                    nodes[from], type, nodes[(random >> 33U) % nodes.size()], {}));
            }
        }
        graph.commit(*transaction);
    }
    auto reader = graph.begin(AccessMode::kRead);
    const RelTypeId type = reader->tokens().relationship_type("F").value();
    std::vector<engine::Adjacent> found;
    std::size_t at = 0;
    for (auto _ : state) {
        found.clear();
        at = (at + 769) % nodes.size();
        reader->expand(nodes[at], engine::Direction::kOutgoing, std::span{&type, 1}, found);
        benchmark::DoNotOptimize(found.data());
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(expand)->Arg(10)->Arg(100);

}  // namespace
}  // namespace nornic::bench
