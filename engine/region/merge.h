// How cells merge: pure functions of stamps, so that the order of writes and their repetition do not matter.
#pragma once

#include "engine/region/stamps.h"

#include <cstdint>

namespace nornic::engine {

/// A stamp that every region is known to have says nothing any more.
inline Stamp unexpired(const Stamp& stamp, std::uint64_t watermark) noexcept {
    return stamp.time <= watermark ? Stamp{} : stamp;
}

/// Whether a cell that carries `present` takes what comes with `coming`. Equal stamps are one write, whose operations stand
/// in order. Without any the cell stays, unless it is of an entity that was not there before.
inline bool takes(const Stamp& present, const Stamp& coming, bool fresh) noexcept {
    return coming > present || (coming == present && (fresh || !coming.none()));
}

/// Notes that a cell was taken over with `stamp`; `present`: it holds something.
void put_cell(EntityStamps& stamps, std::vector<CellStamp>& cells, std::uint32_t token, const Stamp& stamp, bool present);

/// Drops what has expired of a live entity's. False if nothing is left to remember.
bool tidy(EntityStamps& stamps, std::uint64_t watermark);

/// Of what is not live: the latest write that concerns it. Once that has expired it can go.
std::uint64_t remains_time(const EntityStamps& stamps) noexcept;

}  // namespace nornic::engine
