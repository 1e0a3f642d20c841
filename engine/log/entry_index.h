// Where each entry of the log stands, and its term. Kept the same way by the writer and by
// recovery, so that a restart sees what the running log saw. Not thread-safe.
#pragma once

#include "base/ids.h"
#include "base/result.h"
#include "engine/log.h"
#include "engine/log/codec.h"
#include "engine/log/segment.h"

#include <deque>
#include <memory>
#include <optional>
#include <vector>

namespace nornic::engine {

class EntryIndex {
public:
    /// Nothing held; the next entry is `next`.
    void restart(LogIndex next, Term previous_term);

    void add_segment(std::shared_ptr<Segment> segment) { segments_.push_back(std::move(segment)); }
    /// Takes the oldest segment out, if entries before `first_kept` are all it holds and it is not
    /// the newest; nullptr if not.
    std::shared_ptr<Segment> take_oldest_before(LogIndex first_kept);
    [[nodiscard]] bool may_take_before(LogIndex first_kept) const;

    /// Follows a record that stands at `offset` of the newest segment. kCorruption with the reason
    /// alone if it cannot come next (the caller knows the place).
    Result<> follow(const RecordHeader& header, std::string_view payload, std::uint64_t offset);
    void add_entry(LogIndex index, Term term, std::uint64_t offset);
    /// Drops entries at or past `from`.
    void cut(LogIndex from, Term previous_term);

    [[nodiscard]] LogIndex first() const noexcept { return first_; }
    [[nodiscard]] LogIndex last() const noexcept { return LogIndex{next_.value - 1}; }
    [[nodiscard]] LogIndex next() const noexcept { return next_; }
    [[nodiscard]] Term last_term() const noexcept {
        return runs_.empty() ? previous_term_ : runs_.back().term;
    }
    /// Knows first() - 1 too.
    [[nodiscard]] std::optional<Term> term_at(LogIndex index) const;
    [[nodiscard]] const HardState& hard_state() const noexcept { return hard_state_; }
    void set_hard_state(HardState state) { hard_state_ = std::move(state); }

    [[nodiscard]] const std::deque<std::shared_ptr<Segment>>& segments() const noexcept {
        return segments_;
    }
    /// The segment that holds `index`, which must be held.
    [[nodiscard]] const std::shared_ptr<Segment>& find(LogIndex index) const;

private:
    struct TermRun {
        LogIndex first;
        Term term;
    };
    std::deque<std::shared_ptr<Segment>> segments_;  // Oldest first; the newest is written.
    std::vector<TermRun> runs_;  // By first; the entries [first_, next_) and nothing else.
    LogIndex first_{1};
    LogIndex next_{1};
    Term previous_term_;  // Of first_ - 1.
    HardState hard_state_;
};

}  // namespace nornic::engine
