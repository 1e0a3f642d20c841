#include "tests/modes/raft/core_disk.h"

#include "base/check.h"

#include <algorithm>
#include <functional>

namespace nornic::raft::testing {

std::uint64_t chain_of(std::uint64_t before, const Entry& entry) {
    std::uint64_t h = before ^ (entry.term.value * 0x9E3779B97F4A7C15ULL) ^ (entry.index.value << 20);
    h = (h ^ (h >> 29)) * 0xBF58476D1CE4E5B9ULL;
    h ^= std::hash<std::string>{}(entry.payload) + static_cast<std::uint64_t>(entry.kind);
    h = (h ^ (h >> 32)) * 0x94D049BB133111EBULL;
    return h ^ (h >> 31);
}

Result<Term> Disk::term_at(LogIndex index) {
    if (index == base_) {
        return base_term_;
    }
    if (!holds(index)) {
        return fail(ErrorCode::kNotFound, "no such entry");
    }
    return at(index).term;
}

Result<std::vector<Entry>> Disk::read(LogIndex from, LogIndex to, std::size_t bytes) {
    if (unreadable) {
        return fail(ErrorCode::kCorruption, "segment 7 is damaged");
    }
    if (!holds(from)) {
        return fail(ErrorCode::kNotFound, "no such entry");
    }
    std::vector<Entry> out;
    std::size_t size = 0;
    for (LogIndex i = from; i <= std::min(to, last_index()) && (out.empty() || size < bytes); ++i) {
        out.push_back(at(i));
        size += out.back().payload.size();
    }
    return out;
}

std::uint64_t Disk::chain_at(LogIndex index) const {
    if (index == base_) {
        return base_chain_;
    }
    NORNIC_CHECK(holds(index), "no entry {} in {} to {}", index.value, first_index().value, last_index().value);
    return chains_[index.value - base_.value - 1];
}

bool Disk::covers(LogIndex index, Term term) {
    const auto here = term_at(index);
    return index < base_ || (here && here.value() == term);
}

void Disk::append(const std::vector<EntryPtr>& entries) {
    for (const EntryPtr& entry : entries) {
        NORNIC_CHECK(entry->index > base_ && entry->index.value <= last_index().value + 1,
                     "entry {} in a log of {} to {}", entry->index.value, first_index().value, last_index().value);
        const std::uint64_t before = chain_at(LogIndex{entry->index.value - 1});
        entries_.resize(entry->index.value - base_.value - 1);
        chains_.resize(entries_.size());
        entries_.push_back(*entry);
        chains_.push_back(chain_of(before, *entry));
    }
}

void Disk::cut_before(LogIndex first) {
    if (first <= first_index()) {
        return;
    }
    const LogIndex base{first.value - 1};
    const auto term = term_at(base);
    NORNIC_CHECK(term.has_value(), "cut at {} of {}", base.value, last_index().value);
    const std::uint64_t chain = chain_at(base);
    const auto n = static_cast<std::ptrdiff_t>(base.value - base_.value);
    entries_.erase(entries_.begin(), entries_.begin() + n);
    chains_.erase(chains_.begin(), chains_.begin() + n);
    base_ = base;
    base_term_ = term.value();
    base_chain_ = chain;
}

void Disk::reset(LogIndex index, Term term, std::uint64_t chain) {
    base_ = index;
    base_term_ = term;
    base_chain_ = chain;
    entries_.clear();
    chains_.clear();
}

}  // namespace nornic::raft::testing
