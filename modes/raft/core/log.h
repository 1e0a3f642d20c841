// The core's view of the log: what is on disk, reached through Storage, and the newest entries in memory. Everything past
// persisted() is in memory.
#pragma once

#include "modes/raft/core/types.h"

#include <cstddef>
#include <deque>
#include <optional>
#include <vector>

namespace nornic::raft {

/// The durable part of the log. Reads are of what was persisted.
class Storage {
public:
    virtual ~Storage() = default;
    [[nodiscard]] virtual LogIndex first_index() const = 0;  // last_index() + 1 if empty
    [[nodiscard]] virtual LogIndex last_index() const = 0;
    /// Knows the entry before the first, too, and 0 for index 0. kNotFound.
    virtual Result<Term> term_at(LogIndex index) = 0;
    /// From `from` to at most `to`, about so many bytes, at least one. kNotFound, kCorruption.
    virtual Result<std::vector<Entry>> read(LogIndex from, LogIndex to, std::size_t bytes) = 0;
};

/// persisted() <= taken() <= last().
class RaftLog {
public:
    RaftLog(Storage& storage, LogIndex last, Term last_term, std::size_t tail_bytes_max);

    [[nodiscard]] LogIndex first() const { return storage_.first_index(); }
    [[nodiscard]] LogIndex last() const noexcept { return last_; }
    [[nodiscard]] Term last_term() const noexcept { return last_term_; }
    [[nodiscard]] LogIndex taken() const noexcept { return taken_; }        // handed to the disk
    [[nodiscard]] LogIndex persisted() const noexcept { return persisted_; }

    /// nullopt: forgotten, or not there yet.
    [[nodiscard]] std::optional<Term> term_at(LogIndex index) const;
    [[nodiscard]] bool matches(LogIndex index, Term term) const { return term_at(index) == term; }
    /// Thesis 3.6.1: a later last term, or as long a log in the same.
    [[nodiscard]] bool is_up_to_date(LogIndex last, Term term) const;
    /// The first entry of the run of equal terms that ends at `at`, as far as the log goes back.
    [[nodiscard]] LogIndex first_of_term_run(LogIndex at) const;
    /// Empty: from > to. kNotFound: they are forgotten; or as the disk answered.
    [[nodiscard]] Result<std::vector<EntryPtr>> slice(LogIndex from, LogIndex to, std::size_t count, std::size_t bytes) const;

    void append(EntryPtr entry);
    /// Forgets entries past `keep`, also those on their way to the disk: what persisted() says of them later counts for
    /// nothing (the ABA race of asynchronous appends, practice A15).
    void truncate(LogIndex keep);
    /// Entries not handed out yet, for the disk.
    [[nodiscard]] std::vector<EntryPtr> take();
    [[nodiscard]] bool has_new() const noexcept { return taken_ < last_; }
    [[nodiscard]] std::size_t new_bytes() const noexcept { return new_bytes_; }
    void persisted_taken();
    /// The log begins anew behind a snapshot.
    void reset(LogIndex index, Term term);

private:
    void trim();

    Storage& storage_;
    LogIndex last_;
    Term last_term_;
    LogIndex taken_;
    LogIndex persisted_;
    std::deque<EntryPtr> tail_;  // consecutive, up to last_
    std::size_t tail_bytes_ = 0;
    std::size_t new_bytes_ = 0;
    const std::size_t tail_bytes_max_;
};

}  // namespace nornic::raft
