// Values to bytes and back.

#include "bolt/packstream.h"

#include <benchmark/benchmark.h>

#include <string>

namespace nornic::bench {
namespace {

/// A RECORD of one integer, as a stream of numbers has a million of.
void pack_integer_record(benchmark::State& state) {
    std::string out;
    std::int64_t i = 0;
    for (auto _ : state) {
        out.clear();
        bolt::Packer packer{out};
        packer.structure(0x71, 1);
        packer.list(1);
        packer.integer(++i);
        benchmark::DoNotOptimize(out.data());
    }
}
BENCHMARK(pack_integer_record);

std::string mixed_map() {
    std::string out;
    bolt::Packer packer{out};
    packer.map(5);
    packer.string("id");
    packer.integer(123456789);
    packer.string("name");
    packer.string("a name of some length");
    packer.string("score");
    packer.real(12.5);
    packer.string("tags");
    packer.list(3);
    for (const char* tag : {"one", "two", "three"}) {
        packer.string(tag);
    }
    packer.string("active");
    packer.boolean(true);
    return out;
}

void unpack_mixed_map(benchmark::State& state) {
    const std::string bytes = mixed_map();
    for (auto _ : state) {
        bolt::Unpacker unpacker{bytes};
        Value value;
        benchmark::DoNotOptimize(unpacker.value(value));
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes.size()));
}
BENCHMARK(unpack_mixed_map);

void pack_mixed_map(benchmark::State& state) {
    const std::string bytes = mixed_map();
    Value value;
    bolt::Unpacker unpacker{bytes};
    if (!unpacker.value(value)) {
        state.SkipWithError("it does not unpack");
        return;
    }
    std::string out;
    for (auto _ : state) {
        out.clear();
        bolt::Packer{out}.value(value);
        benchmark::DoNotOptimize(out.data());
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes.size()));
}
BENCHMARK(pack_mixed_map);

}  // namespace
}  // namespace nornic::bench
