// GraphMerge: one entry's stamped operations on one graph. Rules: docs/modes/multi_region.md.
#pragma once

#include "engine/apply.h"
#include "engine/region/merge_scope.h"
#include "engine/region/region_state.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace nornic::engine {

class GraphMerge {
public:
    GraphMerge(MergeScope& scope, std::shared_ptr<Database> database);

    /// An operation on nodes, relationships, tokens or rules, as part of the scope's write. Only malformed bytes are an error.
    Result<> one(WriteOperation& op);
    /// At the end of each write.
    Result<> flush();
    /// At the end of each write but those of a seed, which brings rules one by one, and once all of a seed is there: conflicts of
    /// constraints whose index is not theirs.
    void note_unenforced();
    void rules_changed() noexcept { rules_changed_ = true; }
    /// At the end of the entry.
    Result<> finish() { return applier_.finish(); }
    /// What expired, if it is still there as it was.
    Result<> let_go(const Remains& remains);

    [[nodiscard]] Applier& applier() noexcept { return applier_; }

private:
    /// An entity while it changes. One that is not there is an awaited one without cells.
    template <class Data>
    struct Open {
        std::uint64_t id = 0;
        std::shared_ptr<Version<Data>> before;
        Data data;
        EntityStamps stamps;
        bool open = false;
        bool changed = false;
        [[nodiscard]] const Data* visible_before() const noexcept {
            return before && !before->deleted ? &before->data : nullptr;
        }
    };
    using OpenNode = Open<NodeData>;
    using OpenRel = Open<RelData>;

    template <class Data>
    static void load(Open<Data>& entity, std::uint64_t id, std::shared_ptr<Version<Data>> newest);
    Result<> open_node(std::uint64_t id);
    Result<> open_relationship(std::uint64_t id);
    Result<> store(OpenNode& node);
    Result<> store(OpenRel& relationship);
    template <class Data>
    Result<> place(Open<Data>& entity);

    // ---- Cells. `fresh`: of an entity that was not there before.
    template <class Data>
    void put_property(Open<Data>& entity, PropertyKeyId key, Value value, const Stamp& stamp, bool detect, bool fresh);
    void put_label(OpenNode& node, LabelId label, bool present, const Stamp& stamp, bool detect, bool fresh);
    template <class Data>
    void note_lost(const Open<Data>& entity);
    template <class Data>
    void put_properties(Open<Data>& entity, Data&& from, const EntityStamps* stamps, bool fresh);
    [[nodiscard]] Conflict conflict_of(ConflictKind kind, const OpenNode& node) const;
    [[nodiscard]] Conflict conflict_of(ConflictKind kind, const OpenRel& relationship) const;

    // ---- Existence. `stamps`: a seed's, whose cells have their own.
    Result<> create_node(std::uint64_t id, NodeData&& data, const EntityStamps* stamps);
    Result<> delete_node(std::uint64_t id, const Stamp& stamp);
    Result<> create_relationship(std::uint64_t id, RelData&& data, const EntityStamps* stamps);
    Result<> delete_relationship(std::uint64_t id, const Stamp& stamp);
    Result<> merge_node(WriteOperation& op);
    Result<> merge_relationship(WriteOperation& op);
    /// Live, hidden or dead, as its ends are.
    Result<> settle(OpenRel& relationship);
    Result<> await(NodeId node, RelId relationship, const Stamp& stamp);
    /// A node at its end died.
    Result<> kill(RelId id, const Stamp& stamp);
    /// A node that it waited for came, or never will.
    Result<> reconsider(RelId id);
    template <class Data>
    Result<> check_unique(const Open<Data>& entity, const Data& data);

    Result<> change_rule(const WriteOperation& op);

    MergeScope& scope_;
    Applier applier_;
    Database& database_;
    const Tokens& tokens_;
    // One of them is open at most; the first operation on something else closes it.
    OpenNode node_;
    OpenRel relationship_;
    std::shared_ptr<const EntityStamps> created_;  // shared by all that the write creates
    bool rules_changed_ = false;
    std::string key_;
    std::string other_key_;
};

}  // namespace nornic::engine
