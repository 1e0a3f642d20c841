#include "engine/log/entry_index.h"

#include "base/check.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::engine {

void EntryIndex::restart(LogIndex next, Term previous_term) {
    first_ = next_ = next;
    previous_term_ = previous_term;
    runs_.clear();
    for (const std::shared_ptr<Segment>& segment : segments_) {
        segment->offsets.clear();
    }
}

bool EntryIndex::may_take_before(LogIndex first_kept) const {
    return segments_.size() > 1 && (!segments_.front()->holds_entries() || segments_.front()->last() < first_kept);
}

std::shared_ptr<Segment> EntryIndex::take_oldest_before(LogIndex first_kept) {
    if (!may_take_before(first_kept)) {
        return nullptr;
    }
    std::shared_ptr<Segment> oldest = segments_.front();
    if (oldest->holds_entries()) {
        const LogIndex first{oldest->last().value + 1};
        previous_term_ = *term_at(oldest->last());
        first_ = first;
        // The run that the first kept entry is in becomes the first run.
        while (runs_.size() > 1 && runs_[1].first <= first_) {
            runs_.erase(runs_.begin());
        }
        if (first_ == next_) {
            runs_.clear();
        } else {
            runs_.front().first = std::max(runs_.front().first, first_);
        }
    }
    segments_.pop_front();
    return oldest;
}

void EntryIndex::add_entry(LogIndex index, Term term, std::uint64_t offset) {
    NORNIC_CHECK(index == next_, "index {} next {}", index.value, next_.value);
    Segment& segment = *segments_.back();
    if (segment.offsets.empty()) {
        segment.first = index;
    }
    segment.offsets.push_back(static_cast<std::uint32_t>(offset / kRecordAlignment));
    if (runs_.empty() || runs_.back().term != term) {
        runs_.push_back({index, term});
    }
    ++next_;
}

void EntryIndex::cut(LogIndex from, Term previous_term) {
    if (from <= first_) {
        restart(from, previous_term);
        return;
    }
    next_ = from;
    while (!runs_.empty() && runs_.back().first >= from) {
        runs_.pop_back();
    }
    for (auto segment = segments_.rbegin(); segment != segments_.rend(); ++segment) {
        Segment& at = **segment;
        if (!at.holds_entries()) {
            continue;
        }
        if (at.last() < from) {
            break;
        }
        at.offsets.resize(at.first >= from ? 0 : from.value - at.first.value);
    }
}

Result<> EntryIndex::follow(const RecordHeader& header,
                            std::string_view payload,
                            std::uint64_t offset) {
    const LogIndex index{header.index};
    const Term term{header.term};
    switch (header.type) {
        case RecordType::kEntry:
            if (index != next_) {
                return fail(
                    ErrorCode::kCorruption,
                    fmt::format(
                        "entry {} stands where entry {} was expected", index.value, next_.value));
            }
            add_entry(index, term, offset);
            return success();
        case RecordType::kHardState:
        case RecordType::kHardStateExtra: {
            NORNIC_TRY(hard_state_, decode_hard_state(header, payload));
            return success();
        }
        case RecordType::kCut:
            if (index >= next_ || index.value == 0) {
                return fail(ErrorCode::kCorruption,
                            fmt::format("entries from {} on are dropped where the log ends at {}",
                                        index.value,
                                        last().value));
            }
            cut(index, term);
            return success();
        case RecordType::kReset:
            if (index.value == 0) {
                return fail(ErrorCode::kCorruption, "the log is set to entry 0");
            }
            restart(index, term);
            return success();
        case RecordType::kMark:
            return success();
    }
    return fail(ErrorCode::kUnsupported,
                fmt::format("record of type {} is of a later version of this program",
                            static_cast<unsigned>(header.type)));
}

std::optional<Term> EntryIndex::term_at(LogIndex index) const {
    if (index.value + 1 == first_.value) {
        return previous_term_;
    }
    if (index < first_ || index >= next_) {
        return std::nullopt;
    }
    const auto after =
        std::upper_bound(runs_.begin(), runs_.end(), index, [](LogIndex at, const TermRun& run) {
            return at < run.first;
        });
    NORNIC_CHECK(after != runs_.begin(), "index {} before the first term", index.value);
    return std::prev(after)->term;
}

const std::shared_ptr<Segment>& EntryIndex::find(LogIndex index) const {
    NORNIC_CHECK(index >= first_ && index < next_, "{}", index.value);
    // Segments without entries would break the order that a binary search needs; there are few
    // segments, and readers that matter come from the newest or in long runs.
    for (auto segment = segments_.rbegin(); segment != segments_.rend(); ++segment) {
        if ((*segment)->holds_entries() && (*segment)->first <= index) {
            return *segment;
        }
    }
    NORNIC_CHECK(false, "entry {} is in no segment", index.value);
}

}  // namespace nornic::engine
