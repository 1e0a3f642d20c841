// Applier: what one entry does to one database. Any transition of a node or relationship (none to some, some to other, some to
// none) is one call of place(): counts, indexes and adjacency follow from what was visible and what is.
#pragma once

#include "engine/engine_impl.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace nornic::engine {

class Applier {
public:
    Applier(EngineImpl& engine, std::shared_ptr<Database> database, LogIndex at);

    /// All operations of a write set of format 1, and finish().
    Result<> run(WriteSetReader& reader);

    // ---- Parts, for merges (engine/region/graph_merge.h). A change is only visible after finish() and Snapshots::advance.

    /// kCorruption: no id can be that.
    static Result<> check_id(std::uint64_t id);
    /// The newest version, deleted or not; null if there is none.
    std::shared_ptr<NodeVersion> newest_node(std::uint64_t id);
    std::shared_ptr<RelVersion> newest_relationship(std::uint64_t id);
    /// Makes `version` the newest of its slot. `before`: what was visible; nullptr if nothing.
    Result<> place(std::uint64_t id, const NodeData* before, std::shared_ptr<NodeVersion> version);
    Result<> place(std::uint64_t id, const RelData* before, std::shared_ptr<RelVersion> version);
    Result<> change_schema(const WriteOperation& op);
    /// Once, behind the last operation.
    Result<> finish();

    [[nodiscard]] const std::shared_ptr<Database>& database() const noexcept { return shared_; }
    [[nodiscard]] const IndexSet& indexes() const noexcept { return *indexes_; }

    /// Indexes that this entry created, to be populated once it is visible.
    std::vector<SchemaRuleId> to_populate;

private:
    template <class Data>
    struct Pending {
        std::uint64_t id = 0;
        std::shared_ptr<Version<Data>> before;
        Data after;
        bool open = false;
    };

    Result<> one(WriteOperation& op);
    [[nodiscard]] Error missing(std::string_view what, std::uint64_t id) const;
    Result<> create_node(WriteOperation& op);
    Result<> delete_node(std::uint64_t id);
    Result<> change_node(WriteOperation& op);
    Result<> flush_node();
    Result<> create_relationship(WriteOperation& op);
    Result<> delete_relationship(std::uint64_t id);
    Result<> change_relationship(WriteOperation& op);
    Result<> flush_relationship();

    template <class Data>
    std::int64_t push(std::shared_ptr<Version<Data>>& slot, std::shared_ptr<Version<Data>> version) const;
    Result<> enter_label(std::uint64_t id, LabelId label, const NodeData& data);
    Result<> leave_label(std::uint64_t id, LabelId label, const NodeData& data);
    void move_entries(const std::vector<IndexHandle*>& handles,
                      std::uint64_t id,
                      std::span<const PropertyEntry> before,
                      std::span<const PropertyEntry> after);
    void count_relationship(std::uint64_t id, const RelData& data, std::int64_t by);
    void count_end(NodeId node, CountKind kind, RelTypeId type, std::int64_t by);
    Result<> add_entry(NodeId node, const AdjacencyEntry& entry);
    Result<> remove_adjacency();

    static constexpr int kTrimSteps = 8;
    static constexpr std::uint64_t kCountAllBelow = 1 << 16;

    EngineImpl& engine_;
    const std::shared_ptr<Database> shared_;
    Database& database_;
    const LogIndex at_;
    const LogIndex oldest_;
    std::shared_ptr<const IndexSet> indexes_;
    CountDelta counts_;
    Pending<NodeData> node_;
    Pending<RelData> relationship_;
    std::vector<std::pair<NodeId, RelId>> removed_;
    std::string key_;
    std::string new_key_;
};

}  // namespace nornic::engine
