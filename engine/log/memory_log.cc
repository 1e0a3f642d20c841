#include "base/check.h"
#include "base/mutex.h"
#include "engine/log.h"
#include "engine/log/codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <functional>

namespace nornic::engine {
namespace {

/// What a log holds. Entries are shared between the state in use and the one on "disk".
struct State {
    LogIndex first{1};
    Term previous_term;
    std::deque<std::shared_ptr<const LogEntry>> entries;
    HardState hard_state;

    [[nodiscard]] LogIndex next() const { return LogIndex{first.value + entries.size()}; }
    void append(const std::vector<std::shared_ptr<const LogEntry>>& added) {
        entries.resize(added.front()->index.value - first.value);
        entries.insert(entries.end(), added.begin(), added.end());
    }
    void truncate_before(LogIndex first_kept) {
        while (first < first_kept && !entries.empty()) {
            previous_term = entries.front()->term;
            entries.pop_front();
            ++first;
        }
    }
    [[nodiscard]] Term last_term() const {
        return entries.empty() ? previous_term : entries.back()->term;
    }
};

class MemoryLog final : public Log {
public:
    const LogRecovery& recovery() const override { return recovery_; }
    LogIndex first_index() const override {
        const MutexLock lock{mutex_};
        return state_.first;
    }
    LogIndex last_index() const override {
        const MutexLock lock{mutex_};
        return LogIndex{state_.next().value - 1};
    }

    Result<> append(std::span<const LogEntry> entries) override {
        if (entries.empty()) {
            return success();
        }
        const MutexLock lock{mutex_};
        const LogIndex from = entries.front().index;
        NORNIC_CHECK(from >= state_.first && from <= state_.next(),
                     "append at {} to a log of [{}, {})",
                     from.value,
                     state_.first.value,
                     state_.next().value);
        std::vector<std::shared_ptr<const LogEntry>> added;
        added.reserve(entries.size());
        for (const LogEntry& entry : entries) {
            NORNIC_CHECK(entry.index.value == from.value + added.size(), "{}", entry.index.value);
            added.push_back(std::make_shared<const LogEntry>(entry));
        }
        state_.append(added);
        unsynced_.push_back([added = std::move(added)](State& to) { to.append(added); });
        return success();
    }

    Result<> set_hard_state(const HardState& state) override {
        NORNIC_TRY(check_hard_state(state));
        const MutexLock lock{mutex_};
        state_.hard_state = state;
        unsynced_.push_back([state](State& to) { to.hard_state = state; });
        return success();
    }

    Result<> sync() override {
        const MutexLock lock{mutex_};
        sync_locked();
        return success();
    }
    bool failed() const override { return false; }

    Result<> read(LogIndex from,
                  LogIndex to,
                  const std::function<bool(const LogEntry&)>& visit) override {
        for (; from <= to; ++from) {
            std::shared_ptr<const LogEntry> entry;
            {
                const MutexLock lock{mutex_};
                if (from < state_.first) {
                    return fail(ErrorCode::kNotFound,
                                fmt::format("the log begins at entry {}; entry {} is gone",
                                            state_.first.value,
                                            from.value));
                }
                if (from >= state_.next()) {
                    return success();
                }
                entry = state_.entries[from.value - state_.first.value];
            }
            if (!visit(*entry)) {
                return success();
            }
        }
        return success();
    }

    Result<Term> term_at(LogIndex index) override {
        const MutexLock lock{mutex_};
        if (index.value + 1 == state_.first.value) {
            return state_.previous_term;
        }
        if (index < state_.first || index >= state_.next()) {
            return fail(ErrorCode::kNotFound,
                        fmt::format("the log holds entries {} to {}, not {}",
                                    state_.first.value,
                                    state_.next().value - 1,
                                    index.value));
        }
        return state_.entries[index.value - state_.first.value]->term;
    }

    Result<> truncate_after(LogIndex last) override {
        const MutexLock lock{mutex_};
        const std::uint64_t kept = last.value + 1 - state_.first.value;
        if (kept < state_.entries.size()) {
            state_.entries.resize(kept);
            unsynced_.push_back([kept](State& to) { to.entries.resize(kept); });
        }
        return success();
    }
    bool may_truncate_before(LogIndex first_kept) const override { return first_kept > first_index(); }
    Result<> truncate_before(LogIndex first_kept) override {
        const MutexLock lock{mutex_};
        sync_locked();
        state_.truncate_before(first_kept);
        durable_.truncate_before(first_kept);
        return success();
    }

    Result<> reset(LogIndex next, Term previous_term) override {
        const MutexLock lock{mutex_};
        sync_locked();
        for (State* state : {&state_, &durable_}) {
            state->entries.clear();
            state->first = next;
            state->previous_term = previous_term;
        }
        return success();
    }

    std::optional<Deadline> writing_since() const override { return std::nullopt; }
    std::uint64_t disk_bytes() const override {
        const MutexLock lock{mutex_};
        std::uint64_t bytes = 0;
        for (const auto& entry : state_.entries) {
            bytes += record_bytes(entry->payload.size());
        }
        return bytes;
    }

    void crash() {
        const MutexLock lock{mutex_};
        unsynced_.clear();
        state_ = durable_;
        recovery_ = LogRecovery{state_.first,
                                LogIndex{state_.next().value - 1},
                                state_.last_term(),
                                state_.hard_state,
                                0};
    }

private:
    void sync_locked() REQUIRES(mutex_) {
        for (const std::function<void(State&)>& change : unsynced_) {
            change(durable_);
        }
        unsynced_.clear();
    }

    LogRecovery recovery_{LogIndex{1}, LogIndex{0}, Term{0}, {}, 0};
    mutable Mutex mutex_;
    State state_ GUARDED_BY(mutex_);
    State durable_ GUARDED_BY(mutex_);
    std::vector<std::function<void(State&)>> unsynced_ GUARDED_BY(mutex_);
};

}  // namespace

std::unique_ptr<Log> make_memory_log() {
    return std::make_unique<MemoryLog>();
}

void crash_memory_log(Log& log) {
    auto* const memory = dynamic_cast<MemoryLog*>(&log);
    NORNIC_CHECK(memory != nullptr, "crash_memory_log() needs a log of make_memory_log()");
    memory->crash();
}

}  // namespace nornic::engine
