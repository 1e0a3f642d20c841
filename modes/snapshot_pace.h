// How fast a copy of the state goes: at its setting, unless this member's own syncs become slow by it, for where disk or
// machine are shared the copy makes writers wait. Halved when they do, raised step by step when they do not (AIMD).
#pragma once

#include "base/clock.h"

#include <cstdint>

namespace nornic::modes {

class SnapshotPace {
public:
    /// Never slower than this: a copy must end.
    static constexpr std::uint64_t kLeast = std::uint64_t{4} << 20;

    explicit SnapshotPace(std::uint64_t bytes_per_second_max);

    /// A sync of this member's log.
    void sync_took(Duration took);
    /// Now and then; `copying`: a copy is under way.
    void tick(Deadline now, bool copying);
    [[nodiscard]] std::uint64_t bytes_per_second() const noexcept { return rate_; }

private:
    [[nodiscard]] bool knows_quiet() const noexcept;
    void learn(double took);
    void judge(Deadline now);

    const std::uint64_t most_;
    const std::uint64_t least_;
    std::uint64_t rate_;
    bool copying_ = false;
    // The 95th percentile of syncs without a copy.
    double quiet_ns_ = 0;
    std::uint64_t learnt_ = 0;
    // Since the rate was last judged.
    Deadline since_{};
    std::uint64_t syncs_ = 0;
    std::uint64_t slow_ = 0;
};

}  // namespace nornic::modes
