// Keeps what repeats itself at every try from filling the log.
#pragma once

#include "base/clock.h"
#include "base/mutex.h"

#include <chrono>
#include <map>
#include <string>

namespace nornic::transport {

/// Thread-safe.
class LogLimiter {
public:
    explicit LogLimiter(Clock& clock) : clock_{clock} {}

    /// Whether a line may be written about this subject: at once if it is new, then once in a while.
    bool allow(const std::string& subject) {
        MutexLock lock{mutex_};
        const Deadline now = clock_.now();
        if (next_.size() >= kSubjectsMax) {
            std::erase_if(next_, [now](const auto& entry) { return entry.second <= now; });
            if (next_.size() >= kSubjectsMax) {
                return false;
            }
        }
        const auto [at, inserted] = next_.try_emplace(subject, now + kInterval);
        if (!inserted) {
            if (now < at->second) {
                return false;
            }
            at->second = now + kInterval;
        }
        return true;
    }
    /// The trouble is over; when it comes back it is new.
    void forget(const std::string& subject) {
        MutexLock lock{mutex_};
        next_.erase(subject);
    }

private:
    static constexpr std::chrono::seconds kInterval{30};
    static constexpr std::size_t kSubjectsMax = 1000;
    Clock& clock_;
    Mutex mutex_;
    std::map<std::string, Deadline> next_ GUARDED_BY(mutex_);
};

}  // namespace nornic::transport
