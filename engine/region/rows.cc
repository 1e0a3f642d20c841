#include "engine/region/rows.h"

#include <algorithm>

namespace nornic::engine {

Result<> RowSet::visit(std::string_view from, const std::function<bool(std::string_view key)>& fn) const {
    auto newest = active_.lower_bound(from);
    auto older = writing_.lower_bound(from);
    const auto cursor = kv_.new_cursor();
    cursor->seek(prefix_ + std::string{from});
    while (true) {
        const bool stored = cursor->valid() && cursor->key().starts_with(prefix_);
        // The smallest key of the three, as the newest of them that has it says.
        const std::string* changed = nullptr;
        if (newest != active_.end()) {
            changed = &newest->first;
        }
        if (older != writing_.end() && (changed == nullptr || older->first < *changed)) {
            changed = &older->first;
        }
        if (changed == nullptr && !stored) {
            break;
        }
        std::string key{stored ? cursor->key().substr(prefix_.size()) : std::string_view{}};
        if (changed != nullptr && (!stored || *changed < key)) {
            key = *changed;
        }
        bool there = false;
        if (stored && cursor->key().substr(prefix_.size()) == key) {
            there = true;
            cursor->next();
        }
        if (older != writing_.end() && older->first == key) {
            there = older->second;
            ++older;
        }
        if (newest != active_.end() && newest->first == key) {
            there = newest->second;
            ++newest;
        }
        if (there && !fn(key)) {
            return success();
        }
    }
    return cursor->status();
}

void RowSet::write_checkpoint(KvBatch& batch) const {
    for (const auto& [key, there] : writing_) {
        if (there) {
            batch.put(prefix_ + key, "");
        } else {
            batch.erase(prefix_ + key);
        }
    }
}

void RowSet::end_checkpoint(bool written) {
    if (!written) {
        active_.merge(writing_);  // what changed again since then stays as it is now
    }
    writing_.clear();
}

}  // namespace nornic::engine
