// nornic_sim: the production driver, strategies and engine in a world of one seed. docs/simulator.md.
#include "observability/log.h"
#include "tests/sim/checker.h"
#include "tests/sim/commit.h"
#include "tests/sim/network.h"
#include "tests/sim/node.h"
#include "tests/sim/regions.h"
#include "tests/sim/world.h"

#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <string_view>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace nornic::sim {
namespace {

struct Options {
    std::uint64_t first = 1;
    std::uint64_t count = 1;
    double seconds = 0;  // 0: no limit
    bool verbose = false;
    bool twice = false;
    bool keep_going = false;
    bool marks = false;
    std::string mode = "ha_standby";
    Mutation mutation = Mutation::kNone;
    std::uint64_t jobs = 1;
    std::uint64_t before = 0;  // seeds that an aborted process did
    std::uint64_t failed_before = 0;
};

constexpr std::uint64_t kFailuresMax = 100;  // with --keep-going
constexpr std::uint64_t kTwiceEvery = 50;    // seeds of a run of many are run twice, to see that they do the same

std::uint64_t seed_now = 0;
std::uint64_t failed_now = 0;
Mutation mutation_now = Mutation::kNone;

std::string_view mode_now = "ha_standby";

std::string repro(std::uint64_t seed, Mutation mutation) {
    std::string out = fmt::format("nornic_sim --seed={}", seed);
    if (mode_now != "ha_standby") {
        out += fmt::format(" --mode={}", mode_now);
    }
    if (mutation != Mutation::kNone) {
        out += fmt::format(" --mutation={}", to_string(mutation));
    }
    return out;
}

Options* options_now = nullptr;
char** arguments_now = nullptr;

/// A failed check ends the process; which seed it was is said on its way out. With --keep-going a new process goes on
/// behind it.
void on_signal(int number) {
    const std::string text = fmt::format("FAILED seed {}: signal {}\n  {} --verbose\n", seed_now, number, repro(seed_now, mutation_now));
    static_cast<void>(!::write(STDOUT_FILENO, text.data(), text.size()));
    if (options_now->keep_going && options_now->count > 1 &&
        options_now->failed_before + failed_now + 1 < kFailuresMax) {
        const std::uint64_t next = seed_now + 1;
        const std::uint64_t end = options_now->first + options_now->count;
        std::vector<std::string> words{arguments_now[0]};
        for (char** word = arguments_now + 1; *word != nullptr; ++word) {
            const std::string_view name{*word};
            if (!name.starts_with("--first=") && !name.starts_with("--seeds=") && !name.starts_with("--before=") &&
                !name.starts_with("--failed-before=") && !name.starts_with("--jobs=")) {
                words.emplace_back(name);
            }
        }
        words.push_back(fmt::format("--first={}", next));
        words.push_back(fmt::format("--seeds={}", end - next));
        words.push_back(fmt::format("--before={}", options_now->before + next - options_now->first));
        words.push_back(fmt::format("--failed-before={}", options_now->failed_before + failed_now + 1));
        std::vector<char*> pointers;
        for (std::string& word : words) {
            pointers.push_back(word.data());
        }
        pointers.push_back(nullptr);
        ::execv("/proc/self/exe", pointers.data());
    }
    ::_exit(3);
}

struct Run {
    std::uint64_t digest = 0;
    std::optional<Violation> violation;
    std::deque<std::string> lines;
    std::size_t acknowledged = 0;
};

Run run_seed(std::uint64_t seed, Mutation mutation, Tracing tracing, Marks& marks) {
    seed_now = seed;
    mutation_now = mutation;
    if (mode_now == "multi_region") {
        Regions regions{seed, mutation, tracing, marks};
        regions.run();
        return {regions.ground.scheduler.digest(), regions.violation(), regions.lines(), regions.acknowledged_count()};
    }
    Ground ground{seed};
    World world{draw_menu(seed, mutation, mode_now), tracing, marks, ground};
    world.run();
    return {world.scheduler.digest(), world.violation(), world.lines(), world.checker->acknowledged_count()};
}

std::string describe(std::uint64_t seed, Mutation mutation) {
    if (mode_now != "multi_region") {
        return draw_menu(seed, mutation, mode_now).describe();
    }
    std::string out;
    for (const Menu& menu : draw_regions(seed, mutation)) {
        out += "\n    " + menu.describe();
    }
    return out;
}

bool parse(int argc, char** argv, Options& options) {
    for (int i = 1; i < argc; ++i) {
        const std::string_view text{argv[i]};
        const std::size_t equals = std::min(text.find('='), text.size());
        const std::string_view name = text.substr(0, equals);
        const std::string_view value = text.substr(std::min(equals + 1, text.size()));
        std::uint64_t number = 0;
        const bool is_number = std::from_chars(value.data(), value.data() + value.size(), number).ec == std::errc{};
        if (name == "--seed" && is_number) {
            options.first = number;
            options.count = 1;
        } else if (name == "--seeds" && is_number) {
            options.count = number;
        } else if (name == "--first" && is_number) {
            options.first = number;
        } else if (name == "--seconds" && is_number) {
            options.seconds = static_cast<double>(number);
        } else if (name == "--jobs" && is_number && number > 0 && number <= 256) {
            options.jobs = number;
        } else if (name == "--before" && is_number) {
            options.before = number;
        } else if (name == "--failed-before" && is_number) {
            options.failed_before = number;
        } else if (name == "--mode" && (value == "ha_standby" || value == "standalone" || value == "raft" || value == "multi_region")) {
            options.mode = value;
        } else if (text == "--verbose") {
            options.verbose = true;
        } else if (text == "--twice") {
            options.twice = true;
        } else if (text == "--keep-going") {
            options.keep_going = true;
        } else if (text == "--marks") {
            options.marks = true;
        } else if (name == "--mutation" && parse_mutation(value, options.mutation)) {
        } else {
            fmt::print(stderr,
                       "'{}' is not understood. nornic_sim [--seed=N | --first=N --seeds=N [--jobs=J]] [--seconds=S] [--verbose] "
                       "[--twice] [--keep-going] [--marks] [--mode=ha_standby|standalone|raft|multi_region] [--mutation=NAME]\n",
                       text);
            return false;
        }
    }
    return true;
}

int run(const Options& options) {
    Marks marks;
    std::uint64_t done = 0;
    std::uint64_t failed = 0;
    std::uint64_t acknowledged = 0;
    std::uint64_t digest = 0;
    const auto began = std::chrono::steady_clock::now();
    const auto passed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count(); };
    for (std::uint64_t seed = options.first; seed < options.first + options.count; ++seed) {
        if (options.seconds > 0 && passed() > options.seconds) {
            break;
        }
        if (options.count == 1) {
            fmt::print("seed {} of {}: {}\n", seed, kCommit, describe(seed, options.mutation));
            std::fflush(stdout);
        }
        Run result = run_seed(seed, options.mutation, {options.verbose, options.verbose}, marks);
        ++done;
        acknowledged += result.acknowledged;
        digest = (digest ^ result.digest) * 0x100000001B3ULL;
        if ((options.twice || (options.count > 1 && seed % kTwiceEvery == 0)) && !result.violation) {
            Marks again;
            if (run_seed(seed, options.mutation, {true, false}, again).digest != result.digest) {
                result.violation = Violation{"run twice, the seed gave two histories"};
            }
        }
        if (!result.violation) {
            continue;
        }
        failed_now = ++failed;
        fmt::print("FAILED seed {}: {}\n", seed, result.violation->what);
        if (options.count != 1) {
            fmt::print("  {}\n", describe(seed, options.mutation));
        }
        fmt::print("  {} --verbose\n", repro(seed, options.mutation));
        if (!options.verbose && options.mutation == Mutation::kNone && !options.keep_going) {
            Marks again;
            for (const std::string& line : run_seed(seed, options.mutation, {true, false}, again).lines) {
                fmt::print("    {}\n", line);
            }
        }
        std::fflush(stdout);
        if (!options.keep_going || failed + options.failed_before >= kFailuresMax) {
            break;
        }
    }
    if (options.marks) {
        for (const auto& [name, count] : marks) {
            fmt::print("{:8} {}\n", count, name);
        }
    }
    fmt::print("{} seeds in {:.1f} s, {} failed, {} writes acknowledged, digest {:016x}\n",
               done + options.before,
               passed(),
               failed + options.failed_before,
               acknowledged,
               digest);
    return failed + options.failed_before == 0 ? 0 : 1;
}

/// Each process takes a part of the seeds.
int run_jobs(Options& options) {
    const std::uint64_t end = options.first + options.count;
    const std::uint64_t share = (options.count + options.jobs - 1) / options.jobs;
    std::vector<::pid_t> children;
    for (std::uint64_t first = options.first; first < end; first += share) {
        std::fflush(stdout);
        const ::pid_t child = ::fork();
        if (child == 0) {
            options.first = first;
            options.count = std::min(share, end - first);
            const int status = run(options);
            std::fflush(stdout);
            ::_exit(status);
        }
        children.push_back(child);
    }
    int worst = 0;
    for (const ::pid_t child : children) {
        int status = 0;
        if (child < 0 || ::waitpid(child, &status, 0) != child) {
            worst = 3;
            continue;
        }
        worst = std::max(worst, WIFEXITED(status) ? WEXITSTATUS(status) : 3);
    }
    return worst;
}

}  // namespace
}  // namespace nornic::sim

int main(int argc, char** argv) {
    nornic::sim::Options options;
    if (!nornic::sim::parse(argc, argv, options)) {
        return 2;
    }
    if (!options.verbose) {
        // What servers say to operators is in the trace.
        nornic::log::configure(nornic::log::Level::kError, nornic::log::Format::kText);
        if (const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC); null >= 0) {
            ::dup2(null, STDERR_FILENO);
            ::close(null);
        }
    }
    nornic::sim::options_now = &options;
    nornic::sim::mode_now = options.mode;
    nornic::sim::arguments_now = argv;
    ::sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    for (const int number : {SIGABRT, SIGSEGV, SIGFPE, SIGBUS}) {
        std::signal(number, nornic::sim::on_signal);
    }
    return options.jobs > 1 && options.count > 1 ? nornic::sim::run_jobs(options) : nornic::sim::run(options);
}
