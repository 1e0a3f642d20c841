#include "engine/region/merge_scope.h"

#include <fmt/format.h>

#include <limits>

namespace nornic::engine {

void MergeScope::begin(const Stamp& write_stamp, const RegionHeader& write_header, bool is_seed) {
    stamp = write_stamp;
    small = write_stamp;
    small.rank = static_cast<std::uint16_t>(
        std::min<std::uint64_t>(write_header.epoch, std::numeric_limits<std::uint16_t>::max()));
    if (is_seed && write_header.author != 0) {
        small.region = write_header.author;
    }
    header = &write_header;
    seed = is_seed;
    state.rank = std::max(state.rank, write_header.rank);
    saw(stamp);
    if (is_seed || write_stamp.region == state.self) {
        return;
    }
    for (const RegionRow& row : state.regions) {
        const std::uint64_t seen = known_of(write_header.seen, row.number);
        if (row.number != state.self && row.number != write_stamp.region && seen > row.cursor_time) {
            engine_.regions_.note_ahead(write_stamp.region, write_stamp.time, row.number, seen);
        }
    }
}

bool MergeScope::unaware(const Stamp& other, const Stamp& own) const {
    return !live(other).none() && other.region != own.region &&
           !engine_.regions_.knew(other.region, other.time, own.region, own.time);
}

void MergeScope::note(Conflict conflict) {
    // Two that are the same are none; nobody loses anything.
    if (conflict.winner.value.is_null() && conflict.loser.value.is_null() && conflict.kind == ConflictKind::kDeleted) {
        return;
    }
    std::string key = conflict_key(conflict);
    ConflictLog& log = engine_.conflicts_;
    if (log.knows(key) || !engine_.regions_.small(small_catalog(key)).none()) {
        return;  // or somebody has dealt with it
    }
    ++state.conflicts;
    const auto victim = log.victim();
    if (!victim) {
        return;  // all wait for a person: this one is counted only
    }
    if (!victim->empty()) {
        engine_.put_catalog(*victim, std::nullopt);
    }
    conflict.open = conflict.open || header->manual;
    const auto name_of = [&](RegionNumber number) {
        const RegionRow* const row = state.find(number);
        return row != nullptr && !row->name.empty() ? row->name : fmt::format("{}", number);
    };
    engine_.put_catalog(key, conflict_row(conflict, time_, name_of, [&](const Stamp& of) { return engine_.regions_.metadata(of); }));
}

}  // namespace nornic::engine
