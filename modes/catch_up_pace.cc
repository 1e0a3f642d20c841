#include "modes/catch_up_pace.h"

#include <algorithm>

namespace nornic::modes {
namespace {

constexpr double kQuantile = 0.97;
constexpr double kTail = 0.99;
constexpr double kStep = 1.0 / 16;           // how far one write moves what is believed to be the quantile
constexpr std::uint64_t kLearntEnough = 64;  // writes, until it is believed
constexpr double kSlow = 1.5;                // of that
constexpr std::uint64_t kSlowShare = 24;     // every so many-th write may be slow; without a copy it is every 50th or so
constexpr double kVerySlow = 1.7;            // of the tail
constexpr std::uint64_t kVerySlowShare = 96;  // so the 99th percentile does not double; one alone proves nothing
constexpr Duration kJudgeAfter = std::chrono::milliseconds{200};
constexpr Duration kIdleAfter = std::chrono::seconds{1};
constexpr std::uint64_t kWritesToJudge = 48;
constexpr std::uint64_t kSteps = 32;         // from nothing to the setting

}  // namespace

CatchUpPace::CatchUpPace(std::uint64_t bytes_per_second_max)
    : most_{bytes_per_second_max}, least_{std::min(kLeast, most_)}, rate_{most_} {}

bool CatchUpPace::knows_quiet() const noexcept {
    return learnt_ >= kLearntEnough;
}

/// A quantile without a list: up by a lot for each that is above, down by little for each below.
double CatchUpPace::moved(double quantile_ns, double quantile, double took) {
    const double step = std::max(quantile_ns, 1000.0) * kStep;
    return quantile_ns + (took > quantile_ns ? step * quantile : -step * (1 - quantile));
}

void CatchUpPace::learn(double took) {
    if (learnt_++ == 0) {
        quiet_ns_ = quiet_tail_ns_ = took;
    }
    quiet_ns_ = moved(quiet_ns_, kQuantile, took);
    quiet_tail_ns_ = moved(quiet_tail_ns_, kTail, took);
}

void CatchUpPace::write_took(Duration took) {
    const auto ns = static_cast<double>(took.count());
    const bool knew = knows_quiet();
    // A copy that begins before this is known begins slowly. Where the slowest is too fast still, it is not the copy that
    // writes wait for: there are more of them than before.
    if (!copying_ || !knew || rate_ == least_) {
        learn(ns);
    }
    if (!copying_ || !knew) {
        return;
    }
    ++writes_;
    slow_ += ns > kSlow * quiet_ns_ ? 1 : 0;
    very_slow_ += ns > kVerySlow * quiet_tail_ns_ ? 1 : 0;
}

void CatchUpPace::tick(Deadline now, bool copying) {
    if (copying != copying_) {
        copying_ = copying;
        rate_ = copying ? std::max(least_, most_ / 4) : most_;
        since_ = now;
        writes_ = slow_ = very_slow_ = 0;
    }
    if (copying_) {
        judge(now);
    }
}

void CatchUpPace::judge(Deadline now) {
    const Duration passed = now - since_;
    const bool idle = passed >= kIdleAfter && writes_ < kWritesToJudge;  // hardly anybody writes, so hardly anybody waits
    if (!idle && (passed < kJudgeAfter || writes_ < kWritesToJudge)) {
        return;
    }
    const bool tail = very_slow_ * kVerySlowShare > writes_;
    if (slow_ * kSlowShare > writes_ || (tail && very_slow_ > 1)) {
        rate_ = std::max(least_, rate_ / 2);
    } else if (!tail) {
        rate_ = std::min(most_, rate_ + std::max<std::uint64_t>(1, most_ / (idle ? 4 : kSteps)));
    }
    since_ = now;
    writes_ = slow_ = very_slow_ = 0;
}

}  // namespace nornic::modes
