#include "modes/raft/core/log.h"

#include "base/check.h"

#include <algorithm>

namespace nornic::raft {
namespace {

/// With what an entry costs besides its payload, so that a flood of small ones is bounded, too.
std::size_t cost(const Entry& entry) {
    return entry.payload.size() + 64;
}

LogIndex operator-(LogIndex index, std::uint64_t n) {
    return LogIndex{index.value - n};
}
LogIndex operator+(LogIndex index, std::uint64_t n) {
    return LogIndex{index.value + n};
}

}  // namespace

RaftLog::RaftLog(Storage& storage, LogIndex last, Term last_term, std::size_t tail_bytes_max)
    : storage_{storage},
      last_{last},
      last_term_{last_term},
      taken_{last},
      persisted_{last},
      tail_bytes_max_{tail_bytes_max} {}

std::optional<Term> RaftLog::term_at(LogIndex index) const {
    if (index > last_) {
        return std::nullopt;
    }
    if (index == last_) {
        return last_term_;
    }
    if (!tail_.empty() && index >= tail_.front()->index) {
        return tail_[index.value - tail_.front()->index.value]->term;
    }
    NORNIC_CHECK(index <= persisted_, "entry {} is neither in memory nor on disk (up to {})", index.value,
                 persisted_.value);
    if (index.value == 0) {
        return Term{0};
    }
    auto term = storage_.term_at(index);
    return term ? std::optional{term.value()} : std::nullopt;
}

bool RaftLog::is_up_to_date(LogIndex last, Term term) const {
    return term > last_term_ || (term == last_term_ && last >= last_);
}

LogIndex RaftLog::first_of_term_run(LogIndex at) const {
    const auto term = term_at(at);
    NORNIC_CHECK(term.has_value(), "no entry {} in a log of {} to {}", at.value, first().value, last_.value);
    // Terms never fall along the log, so the run's beginning can be searched for by halves.
    LogIndex low = std::min(first(), at);
    LogIndex high = at;
    while (low < high) {
        const LogIndex middle{low.value + (high.value - low.value) / 2};
        if (matches(middle, *term)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return high;
}

Result<std::vector<EntryPtr>> RaftLog::slice(LogIndex from, LogIndex to, std::size_t count, std::size_t bytes) const {
    std::vector<EntryPtr> out;
    to = std::min(to, last_);
    if (from > to || count == 0) {
        return out;
    }
    to = std::min(to, from + (count - 1));
    std::size_t size = 0;
    const LogIndex in_memory = tail_.empty() ? last_ + 1 : tail_.front()->index;
    if (from < in_memory) {
        if (from < first()) {
            return fail(ErrorCode::kNotFound, "the entries are forgotten");
        }
        NORNIC_TRY(auto read, storage_.read(from, std::min(to, in_memory - 1), bytes));
        for (Entry& entry : read) {
            NORNIC_CHECK(entry.index == from, "read entry {} where {} was asked", entry.index.value, from.value);
            size += cost(entry);
            ++from.value;
            out.push_back(std::make_shared<const Entry>(std::move(entry)));
        }
        if (from < in_memory) {
            return out;
        }
    }
    for (; from <= to; ++from.value) {
        const EntryPtr& entry = tail_[from.value - in_memory.value];
        size += cost(*entry);
        if (!out.empty() && size > bytes) {
            break;
        }
        out.push_back(entry);
    }
    return out;
}

void RaftLog::append(EntryPtr entry) {
    NORNIC_CHECK(entry->index.value == last_.value + 1, "entry {} behind {}", entry->index.value, last_.value);
    NORNIC_CHECK(entry->term >= last_term_, "term {} behind {}", entry->term.value, last_term_.value);
    last_ = entry->index;
    last_term_ = entry->term;
    tail_bytes_ += cost(*entry);
    new_bytes_ += cost(*entry);
    tail_.push_back(std::move(entry));
}

void RaftLog::truncate(LogIndex keep) {
    NORNIC_CHECK(keep <= last_, "cut behind {} in a log up to {}", keep.value, last_.value);
    const auto term = term_at(keep);
    NORNIC_CHECK(term.has_value(), "cut behind {}, which is forgotten", keep.value);
    while (!tail_.empty() && tail_.back()->index > keep) {
        tail_bytes_ -= cost(*tail_.back());
        new_bytes_ -= tail_.back()->index > taken_ ? cost(*tail_.back()) : 0;
        tail_.pop_back();
    }
    last_ = keep;
    last_term_ = *term;
    taken_ = std::min(taken_, keep);
    persisted_ = std::min(persisted_, keep);
}

std::vector<EntryPtr> RaftLog::take() {
    std::vector<EntryPtr> out;
    if (has_new()) {
        out.assign(tail_.end() - static_cast<std::ptrdiff_t>(last_.value - taken_.value), tail_.end());
    }
    taken_ = last_;
    new_bytes_ = 0;
    return out;
}

void RaftLog::persisted_taken() {
    // What was truncated since take() lowered taken_: a new entry in the same place is not the one that was persisted.
    persisted_ = taken_;
    trim();
}

void RaftLog::reset(LogIndex index, Term term) {
    tail_.clear();
    tail_bytes_ = new_bytes_ = 0;
    last_ = taken_ = persisted_ = index;
    last_term_ = term;
}

void RaftLog::trim() {
    while (tail_bytes_ > tail_bytes_max_ && !tail_.empty() && tail_.front()->index <= persisted_) {
        tail_bytes_ -= cost(*tail_.front());
        tail_.pop_front();
    }
}

}  // namespace nornic::raft
