// A disk for one raft::Core: what was synced, and nothing else, is there after a crash.
#pragma once

#include "modes/raft/core/core.h"

#include <cstdint>
#include <vector>

namespace nornic::raft::testing {

/// The state of a member's data at an index. `chain` stands for all entries up to there: two states are equal where theirs
/// are.
struct State {
    LogIndex index;
    Term term;
    std::uint64_t chain = 0;
    LogIndex configuration_index;
    Configuration configuration;
};

/// Of everything up to and with an entry.
std::uint64_t chain_of(std::uint64_t before, const Entry& entry);

class Disk final : public Storage {
public:
    HardState hard_state;
    bool unreadable = false;
    bool fresh = true;     // no hard state was written yet
    State checkpoint;      // what a restart begins with
    State recorded;        // a witness's configuration, beside the hard state

    LogIndex first_index() const override { return LogIndex{base_.value + 1}; }
    LogIndex last_index() const override { return LogIndex{base_.value + entries_.size()}; }
    Result<Term> term_at(LogIndex index) override;
    Result<std::vector<Entry>> read(LogIndex from, LogIndex to, std::size_t bytes) override;

    [[nodiscard]] bool holds(LogIndex index) const { return index > base_ && index <= last_index(); }
    [[nodiscard]] const Entry& at(LogIndex index) const { return entries_.at(index.value - base_.value - 1); }
    /// Of the entry before the first, too.
    [[nodiscard]] std::uint64_t chain_at(LogIndex index) const;
    /// Is everything up to `index`, as (index, term) names it, safe here?
    [[nodiscard]] bool covers(LogIndex index, Term term);

    /// Drops what is at or past the first, as the product's log does.
    void append(const std::vector<EntryPtr>& entries);
    void cut_before(LogIndex first);
    void reset(LogIndex index, Term term, std::uint64_t chain);

private:
    LogIndex base_;
    Term base_term_;
    std::uint64_t base_chain_ = 0;
    std::vector<Entry> entries_;
    std::vector<std::uint64_t> chains_;
};

}  // namespace nornic::raft::testing
