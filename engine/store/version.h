// One state of a node or relationship and, behind it, the states that open snapshots may still
// read. A slot of a page points at its newest version. `data` never changes once another thread can
// see it, so readers share it; `previous` is only touched under the page's lock.
#pragma once

#include "base/ids.h"
#include "engine/graph_reader.h"
#include "engine/region/stamps.h"

#include <cstdint>
#include <memory>
#include <utility>

namespace nornic::engine {

template <class Data>
struct Version {
    Data data;
    LogIndex created;  // the entry that made it; 0: read from the Kv
    bool deleted = false;
    std::shared_ptr<Version> previous;

    Version() = default;
    Version(Data d, LogIndex at) : data{std::move(d)}, created{at} {}
    Version(const Version&) = delete;
    Version& operator=(const Version&) = delete;
    // A hot node may have thousands of versions behind it: let go of them in a loop, since a chain
    // of destructors would overflow the stack.
    ~Version() {
        auto next = std::move(previous);
        while (next && next.use_count() == 1) {
            auto after = std::move(next->previous);
            next = std::move(after);
        }
    }
};

using NodeVersion = Version<NodeData>;
using RelVersion = Version<RelData>;

/// The newest of the chain as of `snapshot`, deleted or not; nullptr if there is none. Under the page's lock.
template <class Data>
const std::shared_ptr<Version<Data>>* version_at(const std::shared_ptr<Version<Data>>& head, LogIndex snapshot) noexcept {
    const std::shared_ptr<Version<Data>>* at = &head;
    while (*at && (*at)->created > snapshot) {
        at = &(*at)->previous;
    }
    return *at ? at : nullptr;
}

/// What `snapshot` sees of the chain; nullptr if nothing. Under the page's lock.
template <class Data>
const std::shared_ptr<Version<Data>>* visible_version(const std::shared_ptr<Version<Data>>& head,
                                                      LogIndex snapshot) noexcept {
    const std::shared_ptr<Version<Data>>* at = &head;
    while (*at && (*at)->created > snapshot) {
        at = &(*at)->previous;
    }
    return *at && !(*at)->deleted ? at : nullptr;
}

/// Deleted, or not there yet, and still to be remembered (engine/region/stamps.h).
template <class Data>
bool has_remains(const Version<Data>& version) noexcept {
    return version.deleted && version.data.stamps != nullptr;
}

inline std::int64_t heap_bytes(const std::vector<PropertyEntry>& properties) noexcept {
    std::size_t bytes = properties.capacity() * sizeof(PropertyEntry);
    for (const PropertyEntry& entry : properties) {
        bytes += entry.value.heap_bytes();
    }
    return static_cast<std::int64_t>(bytes);
}

/// Stamps without cells are shared by all that one transaction created.
inline std::int64_t heap_bytes(const std::shared_ptr<const EntityStamps>& stamps) noexcept {
    if (!stamps || (stamps->labels.empty() && stamps->properties.empty())) {
        return 0;
    }
    return static_cast<std::int64_t>(sizeof(EntityStamps) + 32 +
                                     (stamps->labels.capacity() + stamps->properties.capacity()) * sizeof(CellStamp));
}

/// About what a version takes, its control block and the allocator's share included.
inline std::int64_t version_bytes(const NodeVersion& version) noexcept {
    return static_cast<std::int64_t>(sizeof(NodeVersion) + 32 +
                                     version.data.labels.capacity() * sizeof(LabelId)) +
           heap_bytes(version.data.properties) + heap_bytes(version.data.stamps);
}
inline std::int64_t version_bytes(const RelVersion& version) noexcept {
    return static_cast<std::int64_t>(sizeof(RelVersion) + 24) + heap_bytes(version.data.properties) +
           heap_bytes(version.data.stamps);
}

/// Drops what nobody at `oldest` or later can see. Walks at most `steps` versions, so that an
/// update of a hot node stays cheap while an old snapshot is open. Returns the bytes let go.
template <class Data>
std::int64_t trim_versions(std::shared_ptr<Version<Data>>& head, LogIndex oldest, int steps) {
    Version<Data>* at = head.get();
    while (at != nullptr && at->created > oldest) {
        if (--steps < 0) {
            return 0;
        }
        at = at->previous.get();
    }
    if (at == nullptr) {
        return 0;
    }
    std::int64_t freed = 0;
    for (const Version<Data>* old = at->previous.get(); old != nullptr; old = old->previous.get()) {
        freed += version_bytes(*old);
    }
    at->previous.reset();
    if (at == head.get() && at->deleted && !has_remains(*at)) {
        freed += version_bytes(*at);
        head.reset();
    }
    return freed;
}

}  // namespace nornic::engine
