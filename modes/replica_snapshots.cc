// Replacing a member's state: transfers run beside the pump; the moment of exchange is a step of it.
#include "modes/replica_impl.h"
#include "modes/snapshot_transfer.h"
#include "observability/log.h"

namespace nornic::modes {

void ReplicaImpl::make_transfers() {
    if (bus_ == nullptr || engine_ == nullptr) {
        return;
    }
    const auto run = [this](std::function<void()> work) { snapshot_work(std::move(work)); };
    SnapshotTransferSettings transfer;
    transfer.chunk_bytes = settings_.snapshot_chunk_bytes;
    transfer.window_chunks = settings_.snapshot_window_chunks;
    transfer.bytes_per_second = settings_.snapshot_bytes_per_second;
    transfer.keep = settings_.snapshot_keep;
    sender_ = std::make_unique<SnapshotSender>(
        *engine_, *bus_, clock_, transfer, run, [this](const NodeName& to, std::optional<LogIndex> index) {
            const MutexLock lock{mutex_};
            if (halted()) {
                return;
            }
            stats_.snapshots_sent += index ? 1 : 0;
            strategy_->snapshot_sent(to, index);
            after_input(Where::kBus);
        });
    receiver_ = std::make_unique<SnapshotReceiver>(
        *engine_,
        *bus_,
        clock_,
        run,
        [this](const NodeName& from, Term term, LogIndex index, std::string_view history, std::string& reason) {
            const MutexLock lock{mutex_};
            if (halted() || !strategy_->accepts_snapshot(from, term, index, history, reason)) {
                return false;
            }
            snapshot_source_ = {from, term};
            return true;
        },
        [this](std::unique_ptr<engine::SnapshotImport> import,
               const engine::SnapshotInfo&,
               std::function<void(Result<>)> done) {
            const MutexLock lock{mutex_};
            if (halted()) {
                return;
            }
            install_ = Install{std::move(import), std::move(done)};
            after_input(Where::kCaller);
        });
}

void ReplicaImpl::begin_snapshots(const std::vector<NodeName>& peers) {
    const Term epoch = strategy_->view().term;
    const LogIndex least{log_.first_index().value - 1};
    // Outside mutex_: the sender may answer at once.
    for (const NodeName& peer : peers) {
        snapshot_work([this, peer, epoch, least] {
            if (sender_) {
                sender_->send(peer, epoch, least);
            }
        });
    }
}

/// The exchange itself: while this thread has the pump nobody applies, and the log is nobody else's.
void ReplicaImpl::install_pending(Completions& completions) {
    Install install = std::move(*install_);
    install_.reset();
    const engine::SnapshotInfo info = install.import->info();
    std::string reason;
    // It may have been promoted, or follow another primary, since the last chunk came.
    const bool wanted =
        strategy_->accepts_snapshot(
            snapshot_source_.first, snapshot_source_.second, info.index, info.history, reason);
    mutex_.unlock();
    Result<> done = wanted ? engine_->install(std::move(install.import))
                           : Result<>{fail(ErrorCode::kNotLeader, reason)};
    const bool replaced = done.has_value();
    if (done) {
        // A crash before this is noticed at the start: the store says that it was put there freshly.
        done = log_.reset(LogIndex{info.index.value + 1}, info.term);
    }
    if (done) {
        done = log_.sync();
    }
    mutex_.lock();
    if (!done && replaced) {
        log::error("The log could not be begun anew behind the snapshot: {}. This server stops; start it again.",
                   done.error().message());
        fail_for_good(done.error(), completions);
    } else if (done) {
        unapplied_.clear();
        log_view_.whole();
        cut_before_.store(0, std::memory_order_relaxed);  // of the state before
        ++stats_.snapshots_installed;
        give_up_waiting("it is unknown whether the transaction was committed: this member's state was replaced by the "
                        "primary's meanwhile",
                        completions);
        observe_state();
        auto [membership_index, membership] = engine_->membership();
        strategy_->snapshot_installed({.index = info.index,
                                       .term = info.term,
                                       .history = info.history,
                                       .membership = std::move(membership),
                                       .membership_index = membership_index});
        release_readers(completions);
    } else {
        log::warn("A snapshot could not be put in place: {}. It will be asked for again.", done.error().message());
    }
    completions.emplace_back([answer = std::move(install.done), done] { answer(done); });
}

void ReplicaImpl::snapshot_work(std::function<void()> work) {
    if (settings_.run_snapshot) {
        settings_.run_snapshot(std::move(work));
        return;
    }
    if (!settings_.own_threads) {
        work();
        return;
    }
    const MutexLock lock{disk_mutex_};
    if (disk_stopping_) {
        return;
    }
    if (!snapshot_thread_.joinable()) {
        snapshot_thread_ = std::thread{[this] { snapshot_loop(); }};
    }
    snapshot_work_.push_back(std::move(work));
    snapshot_wake_.notify_one();
}

void ReplicaImpl::snapshot_loop() {
    MutexLock lock{disk_mutex_};
    while (!disk_stopping_) {
        if (snapshot_work_.empty()) {
            snapshot_wake_.wait(lock);
            continue;
        }
        std::function<void()> work = std::move(snapshot_work_.front());
        snapshot_work_.pop_front();
        lock.unlock();
        work();
        lock.lock();
    }
}

}  // namespace nornic::modes
