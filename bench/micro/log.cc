// The log on a real disk, in the working directory: append alone, and append with its sync.

#include "engine/log.h"

#include "base/clock.h"

#include <benchmark/benchmark.h>

#include <filesystem>
#include <string>
#include <vector>

namespace nornic::bench {
namespace {

void append(benchmark::State& state, bool sync) {
    const auto folder = std::filesystem::current_path() / "micro-bench-log";
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    {
        engine::LogSettings settings;
        settings.directory = folder.string();
        auto log = engine::open_segmented_log(settings, system_clock()).value();
        std::vector<engine::LogEntry> batch(static_cast<std::size_t>(state.range(0)));
        std::uint64_t index = log->last_index().value;
        for (auto& entry : batch) {
            entry.term = Term{1};
            entry.payload = std::string(256, 'x');
        }
        for (auto _ : state) {
            for (auto& entry : batch) {
                entry.index = LogIndex{++index};
            }
            if (!log->append(batch) || (sync && !log->sync())) {
                state.SkipWithError("the log failed");
                break;
            }
            // As a checkpoint would, so that segments are recycled as they are in a server.
            if (index % 65536 < batch.size()) {
                state.PauseTiming();
                benchmark::DoNotOptimize(log->sync());
                benchmark::DoNotOptimize(log->truncate_before(LogIndex{index}));
                state.ResumeTiming();
            }
        }
        state.SetItemsProcessed(state.iterations() * state.range(0));
    }
    std::filesystem::remove_all(folder);
}

void log_append(benchmark::State& state) {
    append(state, false);
}
BENCHMARK(log_append)->Arg(1)->Arg(64);

void log_append_and_sync(benchmark::State& state) {
    append(state, true);
}
BENCHMARK(log_append_and_sync)->Arg(1)->Arg(64)->UseRealTime();

}  // namespace
}  // namespace nornic::bench
