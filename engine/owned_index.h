// Which index holds up which constraint. Both sides name each other, and both must: regions decide each rule by itself, so a rule of
// another region may have the place of either. A constraint without an index of its own is not enforced.
#pragma once

#include "engine/schema.h"

#include <algorithm>

namespace nornic::engine {

[[nodiscard]] inline bool holds_up(const IndexRule& index, const ConstraintRule& constraint) noexcept {
    return constraint.owned_index == index.id && index.owning_constraint == constraint.id;
}

/// nullptr: it has none.
[[nodiscard]] inline const IndexView* index_of(const Schema& schema, const ConstraintRule& constraint) noexcept {
    const auto at = std::ranges::find_if(schema.indexes, [&](const IndexView& view) { return holds_up(view.rule, constraint); });
    return at == schema.indexes.end() ? nullptr : &*at;
}

}  // namespace nornic::engine
