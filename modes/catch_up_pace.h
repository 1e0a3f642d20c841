// How fast what others have missed is sent, a copy of the state or entries from long ago: at its setting, unless writes here
// become slow by it: where disk, machine or network are shared, here or at the one that gets it, it makes writers wait. Halved
// when they do, raised step by step when they do not (AIMD). "Copy" stands for both.
#pragma once

#include "base/clock.h"

#include <cstdint>

namespace nornic::modes {

class CatchUpPace {
public:
    /// Never slower than this: a copy must end.
    static constexpr std::uint64_t kLeast = std::uint64_t{4} << 20;

    explicit CatchUpPace(std::uint64_t bytes_per_second_max);

    /// A client's write, from its place in the log to its answer.
    void write_took(Duration took);
    /// Now and then; `copying`: a copy is under way.
    void tick(Deadline now, bool copying);
    [[nodiscard]] std::uint64_t bytes_per_second() const noexcept { return rate_; }

private:
    [[nodiscard]] bool knows_quiet() const noexcept;
    void learn(double took);
    [[nodiscard]] static double moved(double quantile_ns, double quantile, double took);
    void judge(Deadline now);

    const std::uint64_t most_;
    const std::uint64_t least_;
    std::uint64_t rate_;
    bool copying_ = false;
    // The 97th percentile of writes without a copy, or with one at its slowest.
    double quiet_ns_ = 0;
    double quiet_tail_ns_ = 0;  // the 99th
    std::uint64_t learnt_ = 0;
    // Since the rate was last judged.
    Deadline since_{};
    std::uint64_t writes_ = 0;
    std::uint64_t slow_ = 0;
    std::uint64_t very_slow_ = 0;
};

}  // namespace nornic::modes
