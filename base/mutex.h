// std::mutex with the annotations that clang's -Wthread-safety reads (it is blind to libstdc++'s
// own).
#pragma once

#include <condition_variable>
#include <mutex>

#define NORNIC_CAPABILITY(x) __attribute__((capability(x)))
#define NORNIC_SCOPED_CAPABILITY __attribute__((scoped_lockable))
#define GUARDED_BY(x) __attribute__((guarded_by(x)))
#define REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
#define EXCLUDES(...) __attribute__((locks_excluded(__VA_ARGS__)))
#define ACQUIRE(...) __attribute__((acquire_capability(__VA_ARGS__)))
#define RELEASE(...) __attribute__((release_capability(__VA_ARGS__)))
#define NO_THREAD_SAFETY_ANALYSIS __attribute__((no_thread_safety_analysis))

namespace nornic {

class NORNIC_CAPABILITY("mutex") Mutex {
public:
    void lock() ACQUIRE() { mutex_.lock(); }
    void unlock() RELEASE() { mutex_.unlock(); }
    bool try_lock() __attribute__((try_acquire_capability(true))) { return mutex_.try_lock(); }

private:
    std::mutex mutex_;
};

/// Holds a Mutex for a scope; can be let go and taken again, and waited with (ConditionVariable).
class NORNIC_SCOPED_CAPABILITY MutexLock {
public:
    explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_{mutex} { mutex_.lock(); }
    ~MutexLock() RELEASE() {
        if (held_) {
            mutex_.unlock();
        }
    }
    MutexLock(const MutexLock&) = delete;
    MutexLock& operator=(const MutexLock&) = delete;
    void unlock() RELEASE() {
        mutex_.unlock();
        held_ = false;
    }
    void lock() ACQUIRE() {
        mutex_.lock();
        held_ = true;
    }

private:
    Mutex& mutex_;
    bool held_ = true;
};

/// Waits on a MutexLock.
using ConditionVariable = std::condition_variable_any;

}  // namespace nornic
