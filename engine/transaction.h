// Transaction: a GraphReader that can also write. Works on a snapshot plus its own changes, locks
// what it writes and fails with kConflict only if it would overwrite what it did not see (snapshot
// isolation, first committer wins). Not thread-safe, except terminate() and killed().
//
// Life: Engine::begin → reads and writes → prepare() gives the WriteSet → the strategy orders it →
// Engine::apply → finish(). Locks are held until finish() or the destructor, so that what was
// promised to the log cannot be overtaken.
#pragma once

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "engine/graph_reader.h"
#include "graph/failure.h"

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::engine {

/// Name and shape of an index or constraint to create.
struct IndexDefinition {
    std::string name;  // empty: the engine makes one, index_<hash>
    IndexType type = IndexType::kRange;
    EntityKind entity = EntityKind::kNode;
    std::vector<std::string> tokens;
    std::vector<std::string> properties;
    std::string options;
};
struct ConstraintDefinition {
    std::string name;
    ConstraintType type = ConstraintType::kUnique;
    EntityKind entity = EntityKind::kNode;
    std::string token;
    std::vector<std::string> properties;
    PropertyTypes property_types;
};

class Transaction : public GraphReader {
public:
    [[nodiscard]] virtual TransactionId id() const = 0;
    [[nodiscard]] virtual DatabaseId database() const = 0;
    /// The log index whose state this transaction sees.
    [[nodiscard]] virtual LogIndex snapshot() const = 0;
    [[nodiscard]] virtual AccessMode mode() const = 0;

    // ---- Data. All may fail with kConflict, kDeadlock, kLockTimeout, kTerminated, kMemoryLimit,
    // ---- kForbiddenByTransactionType, kAccessMode, kTypeError (a value that cannot be stored);
    // ---- after a failure the transaction can only be rolled back.
    virtual Result<LabelId> label_or_create(std::string_view name) = 0;
    virtual Result<RelTypeId> relationship_type_or_create(std::string_view name) = 0;
    virtual Result<PropertyKeyId> property_key_or_create(std::string_view name) = 0;

    /// Null values are left out. Uniqueness is checked here (kConstraintViolation), existence and
    /// property types in prepare(), so that a statement may set them step by step.
    virtual Result<NodeId> create_node(std::span<const LabelId> labels,
                                       std::span<const PropertyEntry> properties) = 0;
    virtual Result<RelId> create_relationship(NodeId start,
                                              RelTypeId type,
                                              NodeId end,
                                              std::span<const PropertyEntry> properties) = 0;
    /// Whether anything changed. A deleted or absent entity: kEntityNotFound.
    virtual Result<bool> add_label(NodeId node, LabelId label) = 0;
    virtual Result<bool> remove_label(NodeId node, LabelId label) = 0;
    /// Null removes. Returns whether a property was set or was there to remove.
    virtual Result<bool> set_property(NodeId node, PropertyKeyId key, Value value) = 0;
    virtual Result<bool> set_property(RelId relationship, PropertyKeyId key, Value value) = 0;
    /// Whether it was there to delete (deleting twice is no error). Relationships that are still
    /// attached when prepare() runs are kConstraintViolation.
    virtual Result<bool> delete_node(NodeId node) = 0;
    virtual Result<bool> delete_relationship(RelId relationship) = 0;
    /// For MERGE: takes the lock that decides who may create a node with this label and these
    /// values, and brings the view of index lookups up to what is committed. No index needed.
    virtual Result<> lock_for_merge(LabelId label, std::span<const PropertyEntry> properties) = 0;
    /// Takes the write locks of both ends before relationships between them are looked for and
    /// created.
    virtual Result<> lock_node(NodeId node) = 0;

    // ---- Schema. Alone in its transaction. kIndexAlreadyExists,
    // kEquivalentSchemaRuleAlreadyExists,
    // ---- kConstraintAlreadyExists, kConstraintCreationFailed (existing data does not fit),
    // …NotFound.
    virtual Result<> create_index(const IndexDefinition& definition) = 0;
    virtual Result<> create_constraint(const ConstraintDefinition& definition) = 0;
    virtual Result<> drop_index(std::string_view name) = 0;
    virtual Result<> drop_constraint(std::string_view name) = 0;

    // ---- Catalogue: small rows that belong to no graph (users, databases, aliases), by key.
    virtual Result<> put_catalog(std::string_view key, const Value& value) = 0;
    virtual Result<> erase_catalog(std::string_view key) = 0;

    [[nodiscard]] virtual const UpdateCounters& counters() const = 0;
    [[nodiscard]] virtual bool has_writes() const = 0;
    /// Bytes of its changes; the executor adds what rows hold.
    [[nodiscard]] virtual std::size_t memory_bytes() const = 0;

    /// Checks what can only be checked at the end and gives the bytes to propose. Call once.
    virtual Result<std::string> prepare() = 0;
    /// The entry was applied, or is known never to be: lets go of locks and snapshot. No-op twice.
    virtual void finish() = 0;
    /// After finish(): whether it made constraints that are in force only once their indexes are populated.
    [[nodiscard]] virtual bool awaits_indexes() const = 0;
    /// Waits for those, however long that takes, so not on a thread that others need. Ends early where it is terminated, where
    /// the engine stops and where an index fails, which SHOW INDEXES tells.
    virtual void await_indexes() = 0;

    // ---- Any thread.
    /// Makes the next call, a lock wait and await_indexes() included, fail with `reason`.
    virtual void terminate(Error reason) = 0;
    /// Cheap: one relaxed load. Executors poll it between batches.
    [[nodiscard]] virtual bool killed() const noexcept = 0;
    [[nodiscard]] virtual std::optional<Error> kill_reason() const = 0;

    /// Forgets all changes and takes a new snapshot but keeps the locks, so that a statement that
    /// met kConflict can be run again and cannot lose a second time on the same rows.
    virtual void restart_keeping_locks() = 0;
};

}  // namespace nornic::engine
