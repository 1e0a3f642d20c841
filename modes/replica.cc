#include "modes/replica.h"

#include "base/check.h"
#include "base/mutex.h"
#include "observability/log.h"

#include <fmt/format.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <thread>

namespace nornic::modes {
namespace {

constexpr Duration kWatchInterval = std::chrono::milliseconds{100};
constexpr std::size_t kSliceCompletions = 16;

class ReplicaImpl final : public Replica {
public:
    ReplicaImpl(std::unique_ptr<Strategy> strategy,
                engine::Engine& engine,
                engine::Log& log,
                Clock& clock,
                const ReplicaSettings& settings)
        : strategy_{std::move(strategy)},
          engine_{engine},
          log_{log},
          clock_{clock},
          settings_{settings} {}

    ~ReplicaImpl() override { stop(); }

    Result<> start() override;
    void stop() override;
    void commit(std::string write_set, CommitDone done) override;
    void read_point(ReadConsistency level,
                    std::optional<LogIndex> bookmark,
                    Deadline deadline,
                    std::function<void(Result<LogIndex>)> done) override;

    [[nodiscard]] ClusterView view() const override {
        const MutexLock lock{mutex_};
        return strategy_->view();
    }
    [[nodiscard]] ReplicaStats stats() const override {
        const MutexLock lock{mutex_};
        ReplicaStats out = stats_;
        out.last_index = log_.last_index();
        out.log_bytes = log_.disk_bytes();
        out.applied_index = engine_.applied_index();
        out.failed = failure_.has_value();
        return out;
    }
    [[nodiscard]] std::optional<Deadline> sync_running_since() const override {
        return log_.sync_running_since();
    }
    [[nodiscard]] std::optional<Error> failure() const override {
        const MutexLock lock{mutex_};
        return failure_;
    }

private:
    struct Waiting {
        Term term;
        CommitDone done;
    };
    struct Reader {
        LogIndex wanted;
        Deadline deadline;
        std::function<void(Result<LogIndex>)> done;
    };
    using Completions = std::vector<std::function<void()>>;
    enum class Where : std::uint8_t { kHere, kElsewhere };

    /// Carries out Readies until there is nothing to do. Precondition: pumping_ is false.
    void pump() REQUIRES(mutex_);
    /// Ready step 2.
    void persist(Ready& ready, Completions& completions) REQUIRES(mutex_);
    /// Ready step 4 and its answers.
    void apply(LogIndex committed, Completions& completions) REQUIRES(mutex_);
    void run(Completions& completions, Where where) REQUIRES(mutex_);
    void fail_for_good(const Error& error, Completions& completions) REQUIRES(mutex_);
    void release_readers(Completions& completions) REQUIRES(mutex_);
    void watch();
    std::uint64_t next_hybrid_time() REQUIRES(mutex_);

    const std::unique_ptr<Strategy> strategy_;  // Called with mutex_ held.
    engine::Engine& engine_;
    engine::Log& log_;
    Clock& clock_;
    const ReplicaSettings settings_;

    mutable Mutex mutex_;
    ConditionVariable changed_;
    bool pumping_ GUARDED_BY(mutex_) = false;  // Exactly one thread at a time carries out Readies.
    bool stopping_ GUARDED_BY(mutex_) = false;
    std::optional<Error> failure_ GUARDED_BY(mutex_);
    std::uint64_t next_proposal_ GUARDED_BY(mutex_) = 1;
    std::uint64_t last_hybrid_time_ GUARDED_BY(mutex_) = 0;
    std::map<ProposalId, CommitDone> proposed_ GUARDED_BY(mutex_);  // offered, not yet in a Ready
    std::map<LogIndex, Waiting> waiting_ GUARDED_BY(mutex_);        // in the log, not yet applied
    std::deque<Entry> unapplied_ GUARDED_BY(mutex_);                // persisted, in index order
    std::vector<Reader> readers_ GUARDED_BY(mutex_);
    ReplicaStats stats_ GUARDED_BY(mutex_);
    std::atomic<std::uint64_t> cut_before_{0};  // the log may forget entries before this
    std::thread watcher_;
    bool sync_warned_ = false;  // watcher_ alone
};

Result<> ReplicaImpl::start() {
    const LogIndex durable = engine_.applied_index();
    const LogIndex last = log_.last_index();
    if (last < durable) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("the store holds changes up to log index {} but the log ends at "
                                "{}: the log directory was lost or "
                                "replaced; restore both from one backup",
                                durable.value,
                                last.value));
    }
    if (log_.first_index() > LogIndex{durable.value + 1}) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("the store ends at log index {} but the log begins at {}: entries "
                                "between are missing; restore both "
                                "from one backup",
                                durable.value,
                                log_.first_index().value));
    }
    if (last > durable) {
        const Deadline began = clock_.now();
        Result<> outcome = success();
        NORNIC_TRY(log_.read(LogIndex{durable.value + 1}, last, [&](const Entry& entry) {
            outcome = engine_.apply(entry);
            return outcome.has_value();
        }));
        NORNIC_TRY(std::move(outcome));
        const auto ms =
            std::chrono::duration_cast<std::chrono::milliseconds>(clock_.now() - began).count();
        log::info("Replayed {} log entries ({} to {}) in {} ms.",
                  last.value - durable.value,
                  durable.value + 1,
                  last.value,
                  ms);
    }
    {
        const MutexLock lock{mutex_};
        strategy_->applied(last);
    }
    engine_.on_checkpoint([this](LogIndex index) {
        cut_before_.store(index.value + 1, std::memory_order_relaxed);
        MutexLock lock{mutex_};
        if (!pumping_ && !stopping_) {
            pump();
        }
    });
    watcher_ = std::thread{[this] { watch(); }};
    return success();
}

void ReplicaImpl::stop() {
    {
        MutexLock lock{mutex_};
        if (stopping_ && !watcher_.joinable()) {
            return;
        }
        stopping_ = true;
        changed_.notify_all();
        while (pumping_) {
            changed_.wait(lock);
        }
        Completions completions;
        for (Reader& reader : readers_) {
            completions.emplace_back([done = std::move(reader.done)] {
                done(fail(ErrorCode::kStopping, "the server is stopping"));
            });
        }
        readers_.clear();
        lock.unlock();
        for (auto& completion : completions) {
            completion();
        }
        lock.lock();
    }
    engine_.on_checkpoint([](LogIndex) {});
    if (watcher_.joinable()) {
        watcher_.join();
    }
}

void ReplicaImpl::commit(std::string write_set, CommitDone done) {
    MutexLock lock{mutex_};
    std::optional<Error> refusal;
    if (failure_) {
        refusal = Error{ErrorCode::kDatabaseUnavailable,
                        "this member takes no writes since " + failure_->message()};
    } else if (stopping_) {
        refusal = Error{ErrorCode::kStopping, "the server is stopping"};
    }
    if (!refusal) {
        const ProposalId id{next_proposal_++};
        if (auto offered = strategy_->propose(id, std::move(write_set), next_hybrid_time());
            offered) {
            proposed_.emplace(id, std::move(done));
            if (!pumping_) {
                pump();
            }
            return;
        } else {
            refusal = offered.error();
        }
    }
    ++stats_.refused;
    lock.unlock();
    done(*refusal);
}

void ReplicaImpl::read_point(ReadConsistency level,
                             std::optional<LogIndex> bookmark,
                             Deadline deadline,
                             std::function<void(Result<LogIndex>)> done) {
    const LogIndex applied = engine_.applied_index();
    const LogIndex wanted = bookmark.value_or(LogIndex{0});
    // Standalone: everything acknowledged is applied, whatever the level. A mode with peers answers
    // through Strategy::read.
    static_cast<void>(level);
    if (wanted <= applied) {
        done(applied);
        return;
    }
    const MutexLock lock{mutex_};
    readers_.push_back({wanted, deadline, std::move(done)});
}

std::uint64_t ReplicaImpl::next_hybrid_time() {
    const std::uint64_t wall = static_cast<std::uint64_t>(clock_.wall_ns() / 1'000'000) << 16;
    last_hybrid_time_ = std::max(last_hybrid_time_ + 1, wall);
    return last_hybrid_time_;
}

void ReplicaImpl::pump() {
    pumping_ = true;
    Completions completions;
    for (;;) {
        if (const std::uint64_t cut = cut_before_.exchange(0, std::memory_order_relaxed);
            cut != 0 && !failure_) {
            mutex_.unlock();
            if (auto cut_done = log_.truncate_before(LogIndex{cut}); !cut_done) {
                log::warn("The log could not be shortened before index {}: {}",
                          cut,
                          cut_done.error().message());
            }
            mutex_.lock();
        }
        Ready ready = strategy_->take_ready();
        for (const Placed& placed : ready.placed) {
            auto node = proposed_.extract(placed.id);
            if (!node.empty()) {
                waiting_[placed.index] = {placed.term, std::move(node.mapped())};
            }
        }
        for (Refusal& refusal : ready.refused) {
            auto node = proposed_.extract(refusal.id);
            if (!node.empty()) {
                completions.emplace_back(
                    [done = std::move(node.mapped()), error = refusal.error] { done(error); });
            }
        }
        const bool has_entries = !ready.entries.empty() || ready.hard_state.has_value();
        const LogIndex applied = engine_.applied_index();
        const bool has_applies = ready.committed > applied && !unapplied_.empty() && !failure_;
        if (!has_entries && !has_applies) {
            break;
        }
        // What the last round made durable is applied and answered first; its clients need not wait
        // for the next sync.
        if (has_applies) {
            apply(ready.committed, completions);
            // A single answer with nothing behind it waits for the end of the loop: it runs on this
            // thread once another may take the pump.
            if (has_entries || completions.size() > 1) {
                run(completions, Where::kElsewhere);
            }
        }
        if (has_entries) {
            persist(ready, completions);
        }
    }
    pumping_ = false;
    if (stopping_) {
        changed_.notify_all();  // stop() waits for it; else nobody is woken, a commit costs no such
                                // call
    }
    run(completions, Where::kHere);
}

void ReplicaImpl::persist(Ready& ready, Completions& completions) {
    const LogIndex first = ready.entries.empty() ? LogIndex{0} : ready.entries.front().index;
    const LogIndex last = ready.entries.empty() ? log_.last_index() : ready.entries.back().index;
    if (failure_) {
        fail_for_good(*failure_, completions);
        strategy_->persisted(last);
        return;
    }
    mutex_.unlock();
    Result<> done = ready.hard_state ? log_.set_hard_state(*ready.hard_state) : Result<>{success()};
    if (done && !ready.entries.empty()) {
        done = log_.append(ready.entries);
    }
    const Deadline began = clock_.now();
    if (done) {
        done = log_.sync();
    }
    const auto took = static_cast<std::uint64_t>((clock_.now() - began).count());
    mutex_.lock();
    if (done) {
        ++stats_.batches;
        ++stats_.sync_count;
        stats_.disk_full = false;
        stats_.sync_ns_total += took;
        stats_.sync_ns_max = std::max(stats_.sync_ns_max, took);
        for (Entry& entry : ready.entries) {
            unapplied_.push_back(std::move(entry));
        }
        strategy_->persisted(last);
        return;
    }
    const Error error = done.error();
    if (error.code() == ErrorCode::kDiskFull && !log_.failed()) {
        if (!stats_.disk_full) {
            log::error("The disk is full; writes are refused until there is room again: {}",
                       error.message());
        }
        stats_.disk_full = true;
        for (LogIndex index = first; index <= last; ++index) {
            auto node = waiting_.extract(index);
            if (!node.empty()) {
                ++stats_.refused;
                completions.emplace_back(
                    [waiter = std::move(node.mapped().done), error] { waiter(error); });
            }
        }
        strategy_->not_persisted(first);
        return;
    }
    log::error("The log cannot be written: {}. Restart this server: it verifies its log from disk.",
               error.message());
    fail_for_good(error, completions);
    strategy_->persisted(last);
}

void ReplicaImpl::fail_for_good(const Error& error, Completions& completions) {
    failure_ = error;
    const Error unknown{ErrorCode::kUnknownCommit,
                        "it is unknown whether the transaction was committed: " + error.message()};
    for (auto& [index, waiter] : waiting_) {
        completions.emplace_back([done = std::move(waiter.done), unknown] { done(unknown); });
    }
    waiting_.clear();
}

void ReplicaImpl::apply(LogIndex committed, Completions& completions) {
    std::vector<Entry> batch;
    while (!unapplied_.empty() && unapplied_.front().index <= committed) {
        batch.push_back(std::move(unapplied_.front()));
        unapplied_.pop_front();
    }
    mutex_.unlock();
    Result<> done = success();
    for (const Entry& entry : batch) {
        done = engine_.apply(entry);
        if (!done) {
            break;
        }
    }
    mutex_.lock();
    if (!done) {
        log::error(
            "Log entry {} cannot be applied: {}. This server stops: going on would be divergence.",
            engine_.applied_index().value + 1,
            done.error().message());
        fail_for_good(done.error(), completions);
        return;
    }
    const LogIndex last = batch.back().index;
    strategy_->applied(last);
    stats_.commits += batch.size();
    while (!waiting_.empty() && waiting_.begin()->first <= last) {
        auto node = waiting_.extract(waiting_.begin());
        completions.emplace_back(
            [waiter = std::move(node.mapped().done),
             result = Committed{node.key(), node.mapped().term}] { waiter(result); });
    }
    release_readers(completions);
}

void ReplicaImpl::release_readers(Completions& completions) {
    const LogIndex applied = engine_.applied_index();
    std::erase_if(readers_, [&](Reader& reader) {
        if (reader.wanted > applied) {
            return false;
        }
        completions.emplace_back([done = std::move(reader.done), applied] { done(applied); });
        return true;
    });
}

void ReplicaImpl::run(Completions& completions, Where where) {
    if (completions.empty()) {
        return;
    }
    Completions mine = std::move(completions);
    completions.clear();
    mutex_.unlock();
    if (where == Where::kElsewhere && settings_.post) {
        // In slices: a hand-over for each answer would cost more than the answer.
        for (std::size_t begin = 0; begin < mine.size(); begin += kSliceCompletions) {
            const std::size_t end = std::min(mine.size(), begin + kSliceCompletions);
            auto slice = std::make_shared<Completions>(
                std::make_move_iterator(mine.begin() + static_cast<std::ptrdiff_t>(begin)),
                std::make_move_iterator(mine.begin() + static_cast<std::ptrdiff_t>(end)));
            settings_.post([slice] {
                for (const auto& completion : *slice) {
                    completion();
                }
            });
        }
    } else {
        for (const auto& completion : mine) {
            completion();
        }
    }
    mutex_.lock();
}

void ReplicaImpl::watch() {
    MutexLock lock{mutex_};
    while (!stopping_) {
        changed_.wait_for(lock, kWatchInterval);
        const Deadline now = clock_.now();
        Completions completions;
        release_readers(completions);
        std::erase_if(readers_, [&](Reader& reader) {
            if (reader.deadline > now) {
                return false;
            }
            completions.emplace_back([done = std::move(reader.done),
                                      wanted = reader.wanted,
                                      applied = engine_.applied_index()] {
                done(fail(ErrorCode::kBookmarkTimeout,
                          fmt::format(
                              "not up to the requested version: {}. Latest database version is {}",
                              wanted.value,
                              applied.value)));
            });
            return true;
        });
        const auto since = log_.sync_running_since();
        const bool hangs = since && now - *since > settings_.sync_warn_after;
        if (hangs && !sync_warned_) {
            log::warn("The disk has not answered a sync for {} ms; writes wait for it.",
                      std::chrono::duration_cast<std::chrono::milliseconds>(now - *since).count());
        }
        sync_warned_ = hangs;
        run(completions, Where::kElsewhere);
    }
}

}  // namespace

Result<Committed> Replica::commit_and_wait(std::string write_set) {
    std::mutex mutex;
    std::condition_variable answered;
    std::optional<Result<Committed>> answer;
    commit(std::move(write_set), [&](Result<Committed> result) {
        const std::lock_guard lock{mutex};
        answer.emplace(std::move(result));
        answered.notify_one();
    });
    std::unique_lock lock{mutex};
    answered.wait(lock, [&] { return answer.has_value(); });
    return std::move(*answer);
}

std::unique_ptr<Replica> make_replica(std::unique_ptr<Strategy> strategy,
                                      engine::Engine& engine,
                                      engine::Log& log,
                                      Clock& clock,
                                      const ReplicaSettings& settings) {
    return std::make_unique<ReplicaImpl>(std::move(strategy), engine, log, clock, settings);
}

}  // namespace nornic::modes
