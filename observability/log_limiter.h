// Keeps what repeats itself from filling the log.
#pragma once

#include "base/clock.h"
#include "base/mutex.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

namespace nornic {

/// Thread-safe.
class LogLimiter {
public:
    /// At most `burst` lines about one subject in an interval.
    explicit LogLimiter(Clock& clock, Duration interval = std::chrono::seconds{30}, std::uint64_t burst = 1)
        : clock_{clock}, interval_{interval}, burst_{burst} {}

    /// Whether a line may be written about this subject: at once if it is new, then once in a while; and how many were held
    /// back since the last one.
    std::optional<std::uint64_t> allow(const std::string& subject) {
        const MutexLock lock{mutex_};
        const Deadline now = clock_.now();
        if (subjects_.size() >= kSubjectsMax && !subjects_.contains(subject)) {
            std::erase_if(subjects_, [now](const auto& entry) { return entry.second.until <= now; });
            if (subjects_.size() >= kSubjectsMax) {
                return std::nullopt;
            }
        }
        Subject& s = subjects_[subject];
        if (now >= s.until) {
            s.until = now + interval_;
            s.written = 0;
        }
        if (s.written >= burst_) {
            ++s.held_back;
            return std::nullopt;
        }
        ++s.written;
        return std::exchange(s.held_back, 0);
    }
    /// The trouble is over; when it comes back it is new.
    void forget(const std::string& subject) {
        const MutexLock lock{mutex_};
        subjects_.erase(subject);
    }

private:
    struct Subject {
        Deadline until{};  // of the interval that runs
        std::uint64_t written = 0;
        std::uint64_t held_back = 0;
    };
    static constexpr std::size_t kSubjectsMax = 1000;
    Clock& clock_;
    const Duration interval_;
    const std::uint64_t burst_;
    Mutex mutex_;
    std::map<std::string, Subject> subjects_ GUARDED_BY(mutex_);
};

/// " (and 17 more like it)", or nothing.
inline std::string and_more(std::uint64_t held_back) {
    return held_back == 0 ? std::string{} : " (and " + std::to_string(held_back) + " more like it)";
}

}  // namespace nornic
