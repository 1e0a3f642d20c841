#include "engine/store/snapshots.h"

#include "base/check.h"

#include <algorithm>

namespace nornic::engine {

LogIndex Snapshots::acquire() {
    const MutexLock lock{mutex_};
    const LogIndex index{applied_.load(std::memory_order_relaxed)};
    if (open_.empty() || open_.back().index != index) {
        open_.push_back(Open{index, 0});
    }
    ++open_.back().holders;
    settle();
    return index;
}

void Snapshots::release(LogIndex snapshot) {
    const MutexLock lock{mutex_};
    const auto at = std::lower_bound(
        open_.begin(), open_.end(), snapshot, [](const Open& open, LogIndex index) {
            return open.index < index;
        });
    NORNIC_CHECK(at != open_.end() && at->index == snapshot && at->holders > 0,
                 "snapshot={}",
                 snapshot.value);
    --at->holders;
    settle();
}

void Snapshots::advance(LogIndex index) {
    const MutexLock lock{mutex_};
    NORNIC_CHECK(index.value >= applied_.load(std::memory_order_relaxed), "index={}", index.value);
    applied_.store(index.value, std::memory_order_release);
    settle();
}

void Snapshots::settle() {
    while (!open_.empty() && open_.front().holders == 0) {
        open_.pop_front();
    }
    oldest_.store(
        open_.empty() ? applied_.load(std::memory_order_relaxed) : open_.front().index.value,
        std::memory_order_release);
}

}  // namespace nornic::engine
