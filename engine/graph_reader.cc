#include "engine/graph_reader.h"

#include <algorithm>

namespace nornic::engine {

const Value* find_property(std::span<const PropertyEntry> properties, PropertyKeyId key) noexcept {
    // A handful of properties is the rule, and a linear pass beats a search there.
    if (properties.size() <= 8) {
        for (const PropertyEntry& entry : properties) {
            if (entry.key == key) {
                return &entry.value;
            }
        }
        return nullptr;
    }
    const auto at = std::lower_bound(
        properties.begin(), properties.end(), key, [](const PropertyEntry& entry, PropertyKeyId k) {
            return entry.key < k;
        });
    return at != properties.end() && at->key == key ? &at->value : nullptr;
}

bool NodeData::has_label(LabelId label) const noexcept {
    for (const LabelId held : labels) {
        if (held == label) {
            return true;
        }
    }
    return false;
}

}  // namespace nornic::engine
