// GraphReader: how a query sees the graph. One snapshot plus, in a writing transaction, its own
// changes. Narrow on purpose: what stands behind it (page cache, RocksDB, indexes) may change
// without touching the executor.
//
// Not thread-safe: one query, one thread at a time. Records are immutable and shared; they stay
// valid as long as somebody holds them.
#pragma once

#include "base/ids.h"
#include "base/result.h"
#include "engine/schema.h"
#include "engine/tokens.h"
#include "graph/value.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::engine {

struct EntityStamps;  // engine/region/stamps.h

struct PropertyEntry {
    PropertyKeyId key;
    Value value;
};

/// nullptr if absent. `properties` is sorted by key.
const Value* find_property(std::span<const PropertyEntry> properties, PropertyKeyId key) noexcept;

/// What a node holds at one moment. labels sorted by id, properties by key. Stamps: only where regions exchange writes.
struct NodeData {
    std::vector<LabelId> labels;
    std::vector<PropertyEntry> properties;
    std::shared_ptr<const EntityStamps> stamps = nullptr;
    [[nodiscard]] bool has_label(LabelId label) const noexcept;
    [[nodiscard]] const Value* property(PropertyKeyId key) const noexcept {
        return find_property(properties, key);
    }
};

struct RelData {
    RelTypeId type;
    NodeId start;
    NodeId end;
    std::vector<PropertyEntry> properties;
    std::shared_ptr<const EntityStamps> stamps = nullptr;
    [[nodiscard]] const Value* property(PropertyKeyId key) const noexcept {
        return find_property(properties, key);
    }
};

using NodePtr = std::shared_ptr<const NodeData>;
using RelPtr = std::shared_ptr<const RelData>;

enum class Direction : std::uint8_t { kOutgoing, kIncoming, kBoth };

/// One relationship as seen from a node. A self-relationship is reported once, also for kBoth.
struct Adjacent {
    RelId relationship;
    NodeId other;
    RelTypeId type;
    bool outgoing = true;  // the node asked about is its start
};

/// Node ids in ascending order (scans) or index order (seeks), a batch at a time.
class NodeCursor {
public:
    virtual ~NodeCursor() = default;
    /// Fills up to out.size() ids; fewer than that only at the end. 0: no more.
    virtual std::size_t next(std::span<NodeId> out) = 0;
};
class RelCursor {
public:
    virtual ~RelCursor() = default;
    virtual std::size_t next(std::span<RelId> out) = 0;
};

/// What an index is asked. Columns follow the index's properties; a composite index takes equality
/// on a prefix of its columns, then at most one range or prefix, then existence for the rest.
struct IndexQuery {
    enum class Kind : std::uint8_t { kExists, kEquals, kRange, kPrefix };
    struct Column {
        Kind kind = Kind::kExists;
        Value value;                 // kEquals, kPrefix (a string)
        std::optional<Value> lower;  // kRange; both of one comparable type
        std::optional<Value> upper;
        bool lower_inclusive = true;
        bool upper_inclusive = true;
    };
    std::vector<Column> columns;
    bool descending = false;
};

class GraphReader {
public:
    virtual ~GraphReader() = default;

    [[nodiscard]] virtual const Tokens& tokens() const = 0;
    [[nodiscard]] virtual std::shared_ptr<const Schema> schema() const = 0;
    /// The uuid of this database inside element ids: "4:<uuid>:<id>".
    [[nodiscard]] virtual std::string_view element_uuid() const = 0;

    /// nullptr: no such node in this view.
    virtual NodePtr node(NodeId id) = 0;
    virtual RelPtr relationship(RelId id) = 0;
    /// Whether it existed in this transaction's view and was deleted by it.
    [[nodiscard]] virtual bool deleted_here(NodeId id) const = 0;
    [[nodiscard]] virtual bool deleted_here(RelId id) const = 0;

    /// One property of many nodes: out[i] is null where node or property is absent. Cheaper than
    /// node() for ids in ascending order, since those share pages.
    virtual void node_properties(std::span<const NodeId> ids,
                                 PropertyKeyId key,
                                 std::span<Value> out) = 0;

    /// Appends the relationships of `id` with one of `types` (empty: any) to `out`.
    virtual void expand(NodeId id,
                        Direction direction,
                        std::span<const RelTypeId> types,
                        std::vector<Adjacent>& out) = 0;
    virtual std::uint64_t degree(NodeId id,
                                 Direction direction,
                                 std::span<const RelTypeId> types) = 0;

    virtual std::unique_ptr<NodeCursor> scan_nodes() = 0;
    virtual std::unique_ptr<NodeCursor> scan_label(LabelId label) = 0;
    virtual std::unique_ptr<RelCursor> scan_relationships(std::span<const RelTypeId> types) = 0;
    /// Precondition: the index is online and of that entity kind.
    virtual std::unique_ptr<NodeCursor> seek_nodes(SchemaRuleId index, const IndexQuery& query) = 0;
    virtual std::unique_ptr<RelCursor> seek_relationships(SchemaRuleId index,
                                                          const IndexQuery& query) = 0;

    // Exact at this view where cheap (no label, or one label, or one type); the planner and count
    // stores use them. An estimate otherwise.
    virtual std::uint64_t node_count(std::optional<LabelId> label) = 0;
    virtual std::uint64_t relationship_count(std::optional<RelTypeId> type) = 0;
    /// Relationships of `type` whose start (or end) node has `label`; an estimate for the planner.
    virtual double relationship_count_estimate(std::optional<LabelId> start,
                                               std::optional<RelTypeId> type,
                                               std::optional<LabelId> end) = 0;
};

}  // namespace nornic::engine
