// How long to wait before the next try: doubling, with jitter, so that members that lost each other together
// do not come back together.
#pragma once

#include "base/clock.h"
#include "base/random.h"

#include <algorithm>

namespace nornic::transport {

class Backoff {
public:
    Backoff(Duration least, Duration most, Random random)
        : least_{std::max(least, Duration{1})}, most_{std::max(most, least_)}, next_{least_}, random_{random} {}

    /// Between half of the present step and all of it.
    Duration next() noexcept {
        const auto step = static_cast<std::uint64_t>(next_.count());
        next_ = std::min(next_ * 2, most_);
        return Duration{static_cast<std::int64_t>(step - random_.below(step / 2 + 1))};
    }
    void reset() noexcept { next_ = least_; }

private:
    Duration least_;
    Duration most_;
    Duration next_;
    Random random_;
};

}  // namespace nornic::transport
