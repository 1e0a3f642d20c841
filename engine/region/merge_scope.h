// MergeScope: the write that is being merged, and what of the state its merge needs besides the graph.
#pragma once

#include "engine/engine_impl.h"
#include "engine/region/conflicts.h"
#include "engine/region/merge.h"

#include <algorithm>
#include <cstdint>

namespace nornic::engine {

class MergeScope {
public:
    MergeScope(EngineImpl& engine, LogIndex at, std::uint64_t time) : engine_{engine}, at_{at}, time_{time}, state{*engine.region_state()} {}

    /// `seed`: what comes is no write but cells with stamps of their own; nobody made it without having seen something.
    void begin(const Stamp& write_stamp, const RegionHeader& write_header, bool is_seed);

    [[nodiscard]] EngineImpl& engine() const noexcept { return engine_; }
    [[nodiscard]] LogIndex at() const noexcept { return at_; }
    /// As any rule takes it.
    [[nodiscard]] Stamp live(const Stamp& other) const noexcept { return unexpired(other, state.watermark); }
    /// Whether neither the write's author had seen another region's write of this stamp, nor the other way round.
    [[nodiscard]] bool unseen(const Stamp& other) const {
        return !seed && known_of(header->seen, other.region) < other.time && unaware(other, stamp);
    }
    /// Whether `other` was written elsewhere than `own`, by somebody who had not seen that.
    [[nodiscard]] bool unaware(const Stamp& other, const Stamp& own) const;
    void saw(const Stamp& other) noexcept { state.time = std::max(state.time, other.time); }
    void note(Conflict conflict);

private:
    EngineImpl& engine_;
    const LogIndex at_;
    const std::uint64_t time_;  // of the entry

public:
    RegionState state;  // as it will be once the entry is applied
    Stamp stamp;        // of the write's cells
    Stamp small;        // of schema and catalogue in it
    const RegionHeader* header = nullptr;
    bool seed = false;
};

}  // namespace nornic::engine
