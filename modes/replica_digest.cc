// Digests of the state, for comparing members: a view of it is read beside everything else, a slice a tick, so that neither
// disk nor cache is taken from those who are served.
#include "modes/replica_impl.h"

#include <algorithm>

namespace nornic::modes {
namespace {

constexpr std::uint64_t kSliceBytesMin = std::uint64_t{64} << 10;

}  // namespace

void ReplicaImpl::begin_digest(LogIndex index, Result<std::unique_ptr<engine::StateView>> view) {
    if (digesting_) {
        strategy_->state_digest(digesting_->index, fail(ErrorCode::kBusy, "the next comparison began before this one had ended"));
        digesting_.reset();
    }
    if (view) {
        digesting_ = std::make_shared<Digesting>(Digesting{index, std::move(view).value()});
    } else {
        strategy_->state_digest(index, view.error());
    }
}

void ReplicaImpl::continue_digest() {
    std::shared_ptr<Digesting> digesting;
    {
        const MutexLock lock{mutex_};
        if (!digesting_ || slice_runs_ || halted()) {
            return;
        }
        slice_runs_ = true;
        digesting = digesting_;
    }
    snapshot_work([this, digesting = std::move(digesting)] { read_slice(digesting); });
}

void ReplicaImpl::read_slice(const std::shared_ptr<Digesting>& digesting) {
    const auto tick_us = std::chrono::duration_cast<std::chrono::microseconds>(settings_.tick_interval).count();
    const std::uint64_t bytes = settings_.snapshot_bytes_per_second / 1'000'000 * static_cast<std::uint64_t>(tick_us);
    const Result<bool> all = digesting->view->read(std::max(bytes, kSliceBytesMin));
    const MutexLock lock{mutex_};
    slice_runs_ = false;
    if (digesting_ != digesting || halted() || (all && !all.value())) {
        return;
    }
    digesting_.reset();
    strategy_->state_digest(digesting->index, all ? Result<std::uint64_t>{digesting->view->digest()} : all.error());
    after_input(Where::kBus);
}

}  // namespace nornic::modes
