// Counts: how many nodes and relationships there are, in all and by label and type. Kept exact by
// apply and, through the recent changes it remembers, exact for every snapshot that is not very
// old. Pairs of label and type are estimates for the planner.
#pragma once

#include "base/ids.h"
#include "base/mutex.h"
#include "base/result.h"
#include "engine/store/snapshots.h"

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace nornic::engine {

/// What is counted, as one number: kind in the top byte, label and type below.
enum class CountKind : std::uint8_t {
    kNodes,
    kNodesByLabel,
    kRels,
    kRelsByType,
    kRelsFromLabel,
    kRelsToLabel
};

constexpr std::uint64_t count_key(CountKind kind,
                                  std::uint32_t label = 0,
                                  std::uint32_t type = 0) noexcept {
    // Both token ids stay below 2^24 (token_table.h), which leaves room for the kind.
    return static_cast<std::uint64_t>(kind) << 56 | std::uint64_t{label} << 28 | type;
}

/// What one entry changes.
class CountDelta {
public:
    void add(std::uint64_t key, std::int64_t by) {
        if (last_ < changes_.size() && changes_[last_].first == key) {
            changes_[last_].second += by;
            return;
        }
        // A statement changes few kinds of things, mostly in runs; a search is only needed past a
        // few.
        if (changes_.size() < 16) {
            for (std::size_t i = 0; i < changes_.size(); ++i) {
                if (changes_[i].first == key) {
                    changes_[i].second += by;
                    last_ = i;
                    return;
                }
            }
        } else {
            const auto [at, inserted] = index_.try_emplace(key, changes_.size());
            if (!inserted) {
                changes_[at->second].second += by;
                return;
            }
        }
        last_ = changes_.size();
        changes_.emplace_back(key, by);
    }
    [[nodiscard]] const std::vector<std::pair<std::uint64_t, std::int64_t>>& changes()
        const noexcept {
        return changes_;
    }

private:
    std::vector<std::pair<std::uint64_t, std::int64_t>> changes_;
    std::unordered_map<std::uint64_t, std::size_t> index_;
    std::size_t last_ = 0;
};

class Counts {
public:
    /// By apply, before `at` becomes visible.
    void apply(LogIndex at, const CountDelta& delta, LogIndex oldest) EXCLUDES(mutex_);
    /// nullopt: the snapshot is older than what is remembered.
    [[nodiscard]] std::optional<std::int64_t> at(LogIndex snapshot, std::uint64_t key) const
        EXCLUDES(mutex_);
    [[nodiscard]] std::int64_t newest(std::uint64_t key) const EXCLUDES(mutex_);
    /// The sum over all labels (types): relationships from a label of any type.
    [[nodiscard]] std::int64_t newest_from(CountKind kind, std::uint32_t label) const
        EXCLUDES(mutex_);

    /// At a moment when nothing is applied.
    [[nodiscard]] std::string encode() const EXCLUDES(mutex_);
    Result<> decode(std::string_view bytes) EXCLUDES(mutex_);

private:
    static constexpr std::size_t kRememberedMax = 8192;
    struct Change {
        LogIndex at;
        std::vector<std::pair<std::uint64_t, std::int64_t>> changes;
    };
    mutable Mutex mutex_;
    std::unordered_map<std::uint64_t, std::int64_t> counts_ GUARDED_BY(mutex_);
    std::deque<Change> recent_ GUARDED_BY(mutex_);
    LogIndex forgotten_ GUARDED_BY(mutex_);  // changes up to here are no longer in recent_
};

}  // namespace nornic::engine
