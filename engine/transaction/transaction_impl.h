// TransactionImpl: reads.cc and cursors.cc see the snapshot and the transaction's own changes as
// one; writes.cc changes data under locks; constraints.cc and schema_changes.cc guard and change
// the rules; prepare.cc ends it.
#pragma once

#include "engine/engine_impl.h"
#include "engine/lock_manager.h"
#include "engine/transaction/own_changes.h"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace nornic::engine {

class TransactionImpl final : public Transaction {
public:
    TransactionImpl(EngineImpl& engine,
                    std::shared_ptr<const void> keep_alive,
                    std::shared_ptr<Database> database,
                    TransactionId id,
                    const BeginOptions& options);
    ~TransactionImpl() override;

    // GraphReader
    const Tokens& tokens() const override { return database_->tokens; }
    std::shared_ptr<const Schema> schema() const override;
    std::string_view element_uuid() const override { return database_->info.uuid; }
    NodePtr node(NodeId id) override;
    RelPtr relationship(RelId id) override;
    bool deleted_here(NodeId id) const override;
    bool deleted_here(RelId id) const override;
    void node_properties(std::span<const NodeId> ids,
                         PropertyKeyId key,
                         std::span<Value> out) override;
    void expand(NodeId id,
                Direction direction,
                std::span<const RelTypeId> types,
                std::vector<Adjacent>& out) override;
    std::uint64_t degree(NodeId id, Direction direction, std::span<const RelTypeId> types) override;
    std::unique_ptr<NodeCursor> scan_nodes() override;
    std::unique_ptr<NodeCursor> scan_label(LabelId label) override;
    std::unique_ptr<RelCursor> scan_relationships(std::span<const RelTypeId> types) override;
    std::unique_ptr<NodeCursor> seek_nodes(SchemaRuleId index, const IndexQuery& query) override;
    std::unique_ptr<RelCursor> seek_relationships(SchemaRuleId index,
                                                  const IndexQuery& query) override;
    std::uint64_t node_count(std::optional<LabelId> label) override;
    std::uint64_t relationship_count(std::optional<RelTypeId> type) override;
    double relationship_count_estimate(std::optional<LabelId> start,
                                       std::optional<RelTypeId> type,
                                       std::optional<LabelId> end) override;

    // Transaction
    TransactionId id() const override { return id_; }
    DatabaseId database() const override { return database_->info.id; }
    LogIndex snapshot() const override { return snapshot_; }
    AccessMode mode() const override { return mode_; }
    Result<LabelId> label_or_create(std::string_view name) override;
    Result<RelTypeId> relationship_type_or_create(std::string_view name) override;
    Result<PropertyKeyId> property_key_or_create(std::string_view name) override;
    Result<NodeId> create_node(std::span<const LabelId> labels,
                               std::span<const PropertyEntry> properties) override;
    Result<RelId> create_relationship(NodeId start,
                                      RelTypeId type,
                                      NodeId end,
                                      std::span<const PropertyEntry> properties) override;
    Result<bool> add_label(NodeId node, LabelId label) override;
    Result<bool> remove_label(NodeId node, LabelId label) override;
    Result<bool> set_property(NodeId node, PropertyKeyId key, Value value) override;
    Result<bool> set_property(RelId relationship, PropertyKeyId key, Value value) override;
    Result<bool> delete_node(NodeId node) override;
    Result<bool> delete_relationship(RelId relationship) override;
    Result<> lock_for_merge(LabelId label, std::span<const PropertyEntry> properties) override;
    Result<> lock_node(NodeId node) override;
    Result<> create_index(const IndexDefinition& definition) override;
    Result<> create_constraint(const ConstraintDefinition& definition) override;
    Result<> drop_index(std::string_view name) override;
    Result<> drop_constraint(std::string_view name) override;
    Result<> put_catalog(std::string_view key, const Value& value) override;
    Result<> erase_catalog(std::string_view key) override;
    const UpdateCounters& counters() const override { return counters_; }
    bool has_writes() const override;
    std::size_t memory_bytes() const override { return memory_bytes_ + locks_.memory_bytes(); }
    Result<std::string> prepare() override;
    void finish() override;
    bool awaits_indexes() const override;
    void await_indexes() override;
    void terminate(Error reason) override;
    bool killed() const noexcept override;
    std::optional<Error> kill_reason() const override;
    void restart_keeping_locks() override;

    /// It never began: do not tell the engine that it ended.
    void detach() noexcept { attached_ = false; }

    // ---- For cursors.
    [[nodiscard]] Database& store() noexcept { return *database_; }
    [[nodiscard]] bool changed(NodeId id) const {
        return !node_changes_.empty() && node_changes_.contains(id);
    }
    [[nodiscard]] bool changed(RelId id) const {
        return !rel_changes_.empty() && rel_changes_.contains(id);
    }
    /// How far the log of changes has come: what a cursor remembers of the moment when it opens.
    [[nodiscard]] std::size_t changes_seen(NodeId) const noexcept { return node_log_.size(); }
    [[nodiscard]] std::size_t changes_seen(RelId) const noexcept { return rel_log_.size(); }
    /// Whether a cursor that saw so much of the log must not give the committed entity: it is deleted, or was already
    /// changed when the cursor opened and so is among its own ones. What was changed later is in no cursor's own list and
    /// counts as the snapshot has it.
    [[nodiscard]] bool hidden(NodeId id, std::size_t seen) const {
        return hidden_by(node_changes_, id, seen);
    }
    [[nodiscard]] bool hidden(RelId id, std::size_t seen) const {
        return hidden_by(rel_changes_, id, seen);
    }
    /// Own data as it is now; nullptr if the entity is not this transaction's or is deleted.
    [[nodiscard]] const NodeData* own(NodeId id) const;
    [[nodiscard]] const RelData* own(RelId id) const;
    [[nodiscard]] NodePtr committed(NodeId id);
    [[nodiscard]] RelPtr committed(RelId id);
    void store_failed(const Error& error) { terminate(error); }

private:
    enum class Writes : std::uint8_t { kNone, kData, kSchema };

    template <class Id, class Data>
    static bool hidden_by(const std::unordered_map<Id, Change<Data>>& changes,
                          Id id,
                          std::size_t seen) {
        if (changes.empty()) {
            return false;
        }
        const auto at = changes.find(id);
        return at != changes.end() && (at->second.deleted || at->second.began < seen);
    }
    void open_snapshot();
    void forget_changes();

    // writes.cc
    /// kTerminated, or why it was ended: its time may have run out, or somebody ended it, while its client was silent.
    Result<> check_open() const;
    Result<> begin_write(Writes kind);
    Result<> lock(const LockKey& key, LockMode mode);
    Result<> charge(std::size_t bytes);
    Result<std::uint32_t> token_or_create(TokenKind kind, std::string_view name);
    Result<std::vector<PropertyEntry>> storable_properties(
        std::span<const PropertyEntry> properties);
    template <class Data>
    struct Writable {
        std::shared_ptr<Data>* data = nullptr;
        Change<Data>* change = nullptr;  // nullptr: created here
    };
    using WritableNode = Writable<NodeData>;
    using WritableRel = Writable<RelData>;
    template <class Data, class Id, class Pages>
    Result<Writable<Data>> writable_entity(Id id,
                                           std::string_view what,
                                           const LockKey& key,
                                           Pages& committed,
                                           CreatedList<Data>& created,
                                           std::unordered_map<Id, Change<Data>>& changes,
                                           std::vector<std::uint64_t>& log);
    Result<WritableNode> writable_node(NodeId id);
    Result<WritableRel> writable_relationship(RelId id);
    Result<> hold_end(NodeId id);
    [[nodiscard]] Error conflict(std::string_view what, std::uint64_t id) const;
    [[nodiscard]] Error not_found(NodeId id) const;
    [[nodiscard]] Error not_found(RelId id) const;

    // reads.cc
    void follow_created_relationships();
    void add_own_relationships(NodeId id,
                               std::uint32_t mask,
                               std::span<const RelTypeId> types,
                               std::vector<Adjacent>& out);
    [[nodiscard]] std::uint64_t count_committed(CountKind kind, std::optional<std::uint32_t> token);
    OwnLabelled& own_labelled(LabelId label);
    const IndexHandle* index_to_read(SchemaRuleId id, EntityKind entity);
    OwnIndexEntries& own_entries(const IndexHandle& handle);
    friend class SeekSource;
    friend class OwnCandidates;

    // constraints.cc
    Result<> check_unique(NodeId id,
                          const NodeData& data,
                          std::optional<LabelId> label,
                          std::optional<PropertyKeyId> key);
    Result<> check_unique(RelId id, const RelData& data, std::optional<PropertyKeyId> key);
    Result<> check_unique_rule(const ConstraintRule& rule,
                               std::uint64_t id,
                               std::span<const PropertyEntry> properties);
    Result<> check_required(NodeId id, const NodeData& data);
    Result<> check_required(RelId id, const RelData& data);
    Result<> check_required_rule(const ConstraintRule& rule,
                                 std::uint64_t id,
                                 std::span<const PropertyEntry> properties) const;
    Result<> validate_existing(const ConstraintRule& rule);

    // schema_changes.cc
    Result<> begin_schema_change(bool exclusive);
    Result<std::vector<PropertyKeyId>> keys_or_create(const std::vector<std::string>& names);
    [[nodiscard]] SchemaRuleId next_rule_id();

    // prepare.cc
    /// Until the index is online or `ended` says that it is not worth while any more; kTimedOut then.
    Result<> await_index(SchemaRuleId index, const std::function<bool()>& ended);
    Result<> check_deleted_nodes();
    Result<> check_all_required();
    void encode(std::string& out);
    [[nodiscard]] Value bounded_metadata() const;

    const std::shared_ptr<const void> keep_alive_;  // first, so that it is let go of last
    EngineImpl& engine_;
    const std::shared_ptr<Database> database_;
    const TransactionId id_;
    const AccessMode mode_;
    const Deadline deadline_;
    const bool deadline_by_client_;
    const Value metadata_;
    std::shared_ptr<const RegionState> seen_;  // of other regions, by the snapshot; null: there are none, or it only reads
    LogIndex snapshot_;
    std::shared_ptr<const Schema> schema_;
    std::shared_ptr<const IndexSet> indexes_;
    bool attached_ = true;
    bool open_ = true;
    bool prepared_ = false;

    LockClient locks_;
    Writes writes_ = Writes::kNone;
    bool schema_lock_held_ = false;
    std::shared_ptr<const Schema> rules_;  // as of the schema lock: what writes must keep
    UpdateCounters counters_;
    std::size_t memory_bytes_ = 0;

    CreatedList<NodeData> created_nodes_;
    CreatedList<RelData> created_rels_;
    std::unordered_map<NodeId, Change<NodeData>> node_changes_;
    std::unordered_map<RelId, Change<RelData>> rel_changes_;
    std::vector<std::uint64_t>
        node_log_;  // nodes whose labels or properties changed after creation
    std::vector<std::uint64_t> rel_log_;
    std::vector<std::pair<TokenKind, std::uint32_t>> new_tokens_;
    std::vector<std::pair<std::string, std::optional<Value>>> catalog_changes_;
    std::vector<std::uint64_t> merge_keys_;

    // Built when first asked for.
    std::unordered_map<NodeId, std::vector<std::uint32_t>>
        own_adjacency_;  // indexes into created_rels_
    std::size_t own_adjacency_followed_ = 0;
    std::size_t deleted_rels_ = 0;
    std::unordered_map<std::uint32_t, OwnLabelled> own_labelled_;
    std::unordered_map<std::uint32_t, OwnIndexEntries> own_entries_;

    struct RuleChange {
        WriteOp op = WriteOp::kPutIndex;
        std::string encoded;
        SchemaRuleId id;
    };
    std::vector<RuleChange> rule_changes_;
    Schema working_schema_;                      // with rule_changes_ made
    std::vector<SchemaRuleId> awaited_indexes_;  // of constraints created here

    std::atomic<bool> killed_{false};
    mutable Mutex kill_mutex_;
    std::optional<Error> kill_reason_ GUARDED_BY(kill_mutex_);
};

}  // namespace nornic::engine
