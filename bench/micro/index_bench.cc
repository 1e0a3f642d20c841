// What locks and indexes cost: an uncontended lock, a bit of the label index, an equality and a
// range of the range index, an added entry.
#include "engine/index/label_index.h"
#include "engine/index/range_index.h"
#include "engine/lock_manager.h"

#include <benchmark/benchmark.h>

#include <memory>
#include <random>

namespace nornic::engine {
namespace {

constexpr std::uint64_t kEntities = 1'000'000;

/// One lock taken and let go, in transactions of `range(0)` locks.
void lock_exclusive(benchmark::State& state) {
    LockManager manager;
    const auto batch = static_cast<std::uint64_t>(state.range(0));
    std::uint64_t id = 0;
    for (auto _ : state) {
        LockClient client{manager, TransactionId{1}};
        for (std::uint64_t i = 0; i < batch; ++i) {
            benchmark::DoNotOptimize(
                manager.acquire(client,
                                LockKey::node(DatabaseId{1}, NodeId{id++ << kRegionBits}),
                                LockMode::kExclusive));
        }
    }
    state.SetItemsProcessed(
        static_cast<std::int64_t>(state.iterations() * static_cast<std::int64_t>(batch)));
}
BENCHMARK(lock_exclusive)->Arg(1)->Arg(10'000)->Arg(1'000'000);

void label_set(benchmark::State& state) {
    const std::unique_ptr<Kv> kv = make_memory_kv();
    LabelIndex index{*kv, "L"};
    std::uint64_t id = 0;
    for (auto _ : state) {
        benchmark::DoNotOptimize(index.set(3, id++ << kRegionBits));
    }
}
BENCHMARK(label_set);

void label_scan(benchmark::State& state) {
    const std::unique_ptr<Kv> kv = make_memory_kv();
    LabelIndex index{*kv, "L"};
    for (std::uint64_t i = 0; i < kEntities; ++i) {
        benchmark::DoNotOptimize(index.set(3, i << kRegionBits));
    }
    std::vector<PageWord> words(256);
    for (auto _ : state) {
        LabelScan scan = index.scan(3);
        while (scan.next_words(words).value() == words.size()) {
        }
    }
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kEntities));
}
BENCHMARK(label_scan);

std::string number_key(std::uint64_t n) {
    const Value value{static_cast<std::int64_t>(n)};
    return make_index_key(std::span{&value, 1});
}

/// Arg 0: growing keys. Arg 1: random ones.
void range_add(benchmark::State& state) {
    const std::unique_ptr<Kv> kv = make_memory_kv();
    EqualityCache cache{std::size_t{64} << 20};
    std::vector<std::string> keys;
    for (std::uint64_t i = 0; i < kEntities; ++i) {
        keys.push_back(number_key(state.range(0) == 0 ? i : i * 0x9E3779B97F4A7C15ULL >> 8));
    }
    for (auto _ : state) {
        RangeIndex index{*kv, cache, "R"};
        for (std::uint64_t i = 0; i < kEntities; ++i) {
            index.add(keys[i], i);
        }
        state.counters["bytes_per_entry"] =
            static_cast<double>(index.memory_bytes()) / static_cast<double>(kEntities);
    }
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kEntities));
}
BENCHMARK(range_add)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);

/// Arg: how many keys are asked for in turn; few are in the processor's caches.
void range_equals(benchmark::State& state) {
    const std::unique_ptr<Kv> kv = make_memory_kv();
    EqualityCache cache{std::size_t{256} << 20};
    RangeIndex index{*kv, cache, "R"};
    benchmark::DoNotOptimize(index.open());
    std::vector<std::string> keys;
    for (std::uint64_t i = 0; i < kEntities; ++i) {
        keys.push_back(number_key(i));
        index.add(keys.back(), i);
    }
    std::mt19937_64 random{1};
    std::vector<std::uint64_t> out;
    const auto asked = static_cast<std::uint64_t>(state.range(0));
    for (std::uint64_t i = 0; i < asked; ++i) {
        benchmark::DoNotOptimize(index.seek_equals(keys[i], out));
    }
    for (auto _ : state) {
        out.clear();
        benchmark::DoNotOptimize(index.seek_equals(keys[random() % asked], out));
    }
}
BENCHMARK(range_equals)->Arg(1000)->Arg(100'000)->Arg(1'000'000);

void range_equals_miss(benchmark::State& state) {
    const std::unique_ptr<Kv> kv = make_memory_kv();
    EqualityCache cache{1 << 16};
    RangeIndex index{*kv, cache, "R"};
    benchmark::DoNotOptimize(index.open());
    for (std::uint64_t i = 0; i < kEntities; ++i) {
        index.add(number_key(i), i);
    }
    std::mt19937_64 random{1};
    std::vector<std::uint64_t> out;
    for (auto _ : state) {
        out.clear();
        benchmark::DoNotOptimize(index.seek_equals(number_key(random() % kEntities), out));
    }
}
BENCHMARK(range_equals_miss);

/// All entries in order, from memory alone or half from the Kv.
void range_scan(benchmark::State& state) {
    const std::unique_ptr<Kv> kv = make_memory_kv();
    EqualityCache cache{1 << 16};
    RangeIndex index{*kv, cache, "R"};
    for (std::uint64_t i = 0; i < kEntities; i += 2) {
        index.add(number_key(i), i);
    }
    if (state.range(0) == 1) {
        index.begin_checkpoint();
        const auto batch = kv->new_batch();
        index.write_checkpoint(*batch);
        benchmark::DoNotOptimize(kv->write(*batch));
        index.end_checkpoint(true);
    }
    for (std::uint64_t i = 1; i < kEntities; i += 2) {
        index.add(number_key(i), i);
    }
    std::vector<IndexEntry> entries(256);
    for (auto _ : state) {
        auto cursor = index.seek(IndexQuery{{IndexQuery::Column{}}}, LogIndex{1});
        while (cursor.value().next(entries).value() == entries.size()) {
        }
    }
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kEntities));
}
BENCHMARK(range_scan)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace nornic::engine
