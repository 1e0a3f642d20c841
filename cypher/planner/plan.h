// The plan: an immutable tree of nodes, each one operator with all it needs to run. Made by the
// planner, rewritten by optimizer passes, then shared by executions.
//
// `live` names the slots that hold something in a node's output rows; an operator copies no others.
#pragma once

#include "cypher/ast/statement.h"
#include "cypher/execution/batch.h"
#include "cypher/execution/compiled_expr.h"
#include "cypher/functions/aggregate.h"
#include "engine/graph_reader.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace nornic::cypher {

enum class Op : std::uint8_t {
    kArgument,
    kAllNodesScan,
    kNodeByLabelScan,
    kNodeByIdSeek,
    kNodeIndexSeek,
    kRelationshipScan,
    kRelationshipByIdSeek,
    kRelationshipIndexSeek,
    kExpand,
    kVarExpand,
    kProjectEndpoints,
    kShortestPath,
    kApply,
    kCartesianProduct,
    kHashJoin,
    kFilter,
    kProjection,
    kCacheProperties,
    kAggregation,
    kDistinct,
    kSort,
    kSkipLimit,
    kUnwind,
    kUnion,
    kEager,
    kEmptyResult,
    kProduceResults,
    kCreate,
    kMerge,
    kSet,
    kRemove,
    kDelete,
    kForeach,
    kProcedureCall,
    kLoadCsv,
    kInTransactions,
    kCountStore,
    kSchemaCommand,
};

struct PlanNode {
    PlanNode(Op o, std::string n) : op{o}, name{std::move(n)} {}
    PlanNode(const PlanNode&) = delete;
    PlanNode& operator=(const PlanNode&) = delete;
    virtual ~PlanNode() = default;
    Op op;
    std::string name;  // as EXPLAIN prints it
    std::string details;
    int id = 0;
    double estimated_rows = 1;
    std::vector<Slot> live;
    std::vector<std::unique_ptr<PlanNode>> children;
    [[nodiscard]] PlanNode* child() const { return children.empty() ? nullptr : children[0].get(); }
};
using PlanPtr = std::unique_ptr<PlanNode>;

/// A label expression over token indexes.
struct CompiledLabels {
    LabelExpr::Kind kind = LabelExpr::Kind::kName;
    TokenIndex token = 0;
    std::vector<CompiledLabels> children;
};
bool matches(const CompiledLabels& labels, const engine::NodeData& node, ExecContext& context);
bool matches_type(const CompiledLabels& labels, RelTypeId type, ExecContext& context);

/// {k: expr, …}, or one expression that gives a map.
struct PropertySource {
    std::vector<std::pair<TokenIndex, CompiledPtr>> fixed;
    CompiledPtr map;  // null: fixed only
    [[nodiscard]] bool empty() const noexcept { return fixed.empty() && map == nullptr; }
};

/// Gives out the row its nested plan was called with; at the top, one empty row.
struct ArgumentPlan final : PlanNode {
    ArgumentPlan() : PlanNode{Op::kArgument, "Argument"} {}
    std::uint32_t argument = kNoSlot;  // index in ExecContext::arguments; kNoSlot: an empty row
};
/// Scans and seeks run once a row of their child; without one, once.
struct AllNodesScanPlan final : PlanNode {
    AllNodesScanPlan() : PlanNode{Op::kAllNodesScan, "AllNodesScan"} {}
    Slot node = kNoSlot;
};
struct LabelScanPlan final : PlanNode {
    LabelScanPlan() : PlanNode{Op::kNodeByLabelScan, "NodeByLabelScan"} {}
    Slot node = kNoSlot;
    TokenIndex label = 0;
};
struct IdSeekPlan final : PlanNode {
    IdSeekPlan(Op o, std::string n) : PlanNode{o, std::move(n)} {}
    Slot slot = kNoSlot;
    CompiledPtr id;        // an id or a list of ids
    bool many = false;     // the value is a list
    bool element = false;  // element ids
    // Relationships: their ends.
    Slot start = kNoSlot;
    Slot end = kNoSlot;
    bool both_directions = false;
};
struct IndexColumn {
    engine::IndexQuery::Kind kind = engine::IndexQuery::Kind::kExists;
    CompiledPtr value;     // kEquals, kPrefix
    bool in_list = false;  // kEquals: value is a list of values
    CompiledPtr lower;
    CompiledPtr upper;
    bool lower_inclusive = true;
    bool upper_inclusive = true;
};
struct IndexSeekPlan final : PlanNode {
    IndexSeekPlan(Op o, std::string n) : PlanNode{o, std::move(n)} {}
    Slot slot = kNoSlot;
    SchemaRuleId index;
    bool unique = false;
    bool descending = false;
    std::vector<IndexColumn> columns;
    Slot start = kNoSlot;
    Slot end = kNoSlot;
    bool both_directions = false;
};
struct RelationshipScanPlan final : PlanNode {
    RelationshipScanPlan() : PlanNode{Op::kRelationshipScan, "DirectedRelationshipTypeScan"} {}
    Slot relationship = kNoSlot;
    Slot start = kNoSlot;
    Slot end = kNoSlot;
    bool both_directions = false;
    std::vector<TokenIndex> types;
};
struct ExpandPlan final : PlanNode {
    ExpandPlan() : PlanNode{Op::kExpand, "Expand(All)"} {}
    Slot from = kNoSlot;
    Slot relationship = kNoSlot;
    Slot to = kNoSlot;
    engine::Direction direction = engine::Direction::kOutgoing;
    std::vector<TokenIndex> types;
    std::optional<CompiledLabels> type_filter;  // !A&!B: what a list of types cannot say
    bool into = false;
    bool optional = false;  // OptionalExpand: a row of nulls where nothing matches
    CompiledPtr predicate;  // OptionalExpand: counts as part of the match
    bool need_relationship = true;
    std::vector<Slot> different_from;  // relationships (or lists) of the same MATCH
};
struct VarExpandPlan final : PlanNode {
    VarExpandPlan() : PlanNode{Op::kVarExpand, "VarLengthExpand(All)"} {}
    Slot from = kNoSlot;
    Slot relationships = kNoSlot;
    Slot to = kNoSlot;
    engine::Direction direction = engine::Direction::kOutgoing;
    std::vector<TokenIndex> types;
    std::optional<CompiledLabels> type_filter;
    std::uint64_t min = 1;
    std::uint64_t max = UINT64_MAX;
    bool into = false;
    bool reversed = false;  // walked from the pattern's right end: the list is turned round
    bool need_list = true;
    bool pruning = false;  // each end node once a row
    Slot step = kNoSlot;   // holds the relationship of a step while `step_predicate` looks at it
    CompiledPtr step_predicate;
    std::vector<Slot> different_from;
};
/// A relationship (or list) that is bound already: checks or gives its end nodes.
struct ProjectEndpointsPlan final : PlanNode {
    ProjectEndpointsPlan() : PlanNode{Op::kProjectEndpoints, "ProjectEndpoints"} {}
    Slot relationship = kNoSlot;
    Slot start = kNoSlot;
    Slot end = kNoSlot;
    bool start_bound = false;
    bool end_bound = false;
    bool variable_length = false;
    std::uint64_t min = 1;
    std::uint64_t max = UINT64_MAX;
    engine::Direction direction = engine::Direction::kOutgoing;
    std::vector<TokenIndex> types;
    std::optional<CompiledLabels> type_filter;
    std::vector<Slot> different_from;
};
struct ShortestPathPlan final : PlanNode {
    ShortestPathPlan() : PlanNode{Op::kShortestPath, "ShortestPath"} {}
    Slot from = kNoSlot;
    Slot to = kNoSlot;
    Slot relationships = kNoSlot;
    Slot path = kNoSlot;
    engine::Direction direction = engine::Direction::kOutgoing;
    std::vector<TokenIndex> types;
    std::optional<CompiledLabels> type_filter;
    std::uint64_t min = 1;
    std::uint64_t max = UINT64_MAX;
    bool all = false;
    Slot step = kNoSlot;
    CompiledPtr step_predicate;
    CompiledPtr path_predicate;  // looks at the finished path: the search is exhaustive then
};
/// children: rows, nested plan.
struct ApplyPlan final : PlanNode {
    enum class Kind : std::uint8_t { kPlain, kOptional, kUnit };
    explicit ApplyPlan(Kind k) : PlanNode{Op::kApply, "Apply"}, kind{k} {}
    Kind kind;  // kUnit: the nested plan runs for its effects
    std::uint32_t argument = 0;
    std::vector<Slot> introduced;  // null where an optional plan finds nothing
};
struct CartesianProductPlan final : PlanNode {
    CartesianProductPlan() : PlanNode{Op::kCartesianProduct, "CartesianProduct"} {}
};
/// children: build side's rows come from the first. kNodeHashJoin where the keys are plain slots.
struct HashJoinPlan final : PlanNode {
    HashJoinPlan() : PlanNode{Op::kHashJoin, "ValueHashJoin"} {}
    std::vector<CompiledPtr> left_keys;
    std::vector<CompiledPtr> right_keys;
};
struct FilterPlan final : PlanNode {
    FilterPlan() : PlanNode{Op::kFilter, "Filter"} {}
    std::vector<CompiledPtr> predicates;
};
struct ProjectionPlan final : PlanNode {
    ProjectionPlan() : PlanNode{Op::kProjection, "Projection"} {}
    std::vector<std::pair<Slot, CompiledPtr>> items;
};
struct CachePropertiesPlan final : PlanNode {
    CachePropertiesPlan() : PlanNode{Op::kCacheProperties, "CacheProperties"} {}
    struct Item {
        Slot node = kNoSlot;
        TokenIndex key = 0;
        Slot to = kNoSlot;
    };
    std::vector<Item> items;
};
struct AggregateItem {
    AggregateKind kind = AggregateKind::kCountStar;
    bool distinct = false;
    CompiledPtr argument;   // null: count(*)
    CompiledPtr parameter;  // percentiles
    Slot to = kNoSlot;
};
struct AggregationPlan final : PlanNode {
    AggregationPlan() : PlanNode{Op::kAggregation, "EagerAggregation"} {}
    std::vector<std::pair<Slot, CompiledPtr>> keys;
    std::vector<AggregateItem> aggregates;
};
struct DistinctPlan final : PlanNode {
    DistinctPlan() : PlanNode{Op::kDistinct, "Distinct"} {}
    std::vector<Slot> slots;
};
struct SortPlan final : PlanNode {
    SortPlan() : PlanNode{Op::kSort, "Sort"} {}
    std::vector<std::pair<Slot, bool>> keys;  // slot, descending
    CompiledPtr limit;                        // Top: skip + limit rows are enough
    CompiledPtr skip;
};
struct SkipLimitPlan final : PlanNode {
    explicit SkipLimitPlan(bool l) : PlanNode{Op::kSkipLimit, l ? "Limit" : "Skip"}, is_limit{l} {}
    bool is_limit;
    bool exhaust = false;  // what is below writes: all of it must happen
    CompiledPtr count;
};
struct UnwindPlan final : PlanNode {
    UnwindPlan() : PlanNode{Op::kUnwind, "Unwind"} {}
    Slot slot = kNoSlot;
    CompiledPtr list;
    // range(a, b, step) without a list.
    CompiledPtr range_from;
    CompiledPtr range_to;
    CompiledPtr range_step;
};
struct UnionPlan final : PlanNode {
    UnionPlan() : PlanNode{Op::kUnion, "Union"} {}
    /// By child: slots that become `live`, in its order.
    std::vector<std::vector<Slot>> from;
    std::vector<Slot> to;
};
struct EagerPlan final : PlanNode {
    EagerPlan() : PlanNode{Op::kEager, "Eager"} {}
};
struct EmptyResultPlan final : PlanNode {
    EmptyResultPlan() : PlanNode{Op::kEmptyResult, "EmptyResult"} {}
};
struct ProduceResultsPlan final : PlanNode {
    ProduceResultsPlan() : PlanNode{Op::kProduceResults, "ProduceResults"} {}
    std::vector<Slot> columns;
};
struct CreateNodeItem {
    Slot slot = kNoSlot;
    std::vector<TokenIndex> labels;
    PropertySource properties;
};
struct CreateRelItem {
    Slot slot = kNoSlot;
    Slot start = kNoSlot;
    Slot end = kNoSlot;
    TokenIndex type = 0;
    PropertySource properties;
    std::string start_name;
    std::string end_name;
    std::string name;
};
struct CreatePath {
    Slot slot = kNoSlot;
    std::vector<Slot> nodes;
    std::vector<Slot> relationships;
};
struct CreateItems {
    /// In the order of the text: a node or a relationship.
    std::vector<std::pair<bool, std::size_t>> order;
    std::vector<CreateNodeItem> nodes;
    std::vector<CreateRelItem> relationships;
    std::vector<CreatePath> paths;
};
struct CreatePlan final : PlanNode {
    CreatePlan() : PlanNode{Op::kCreate, "Create"} {}
    CreateItems items;
};
struct SetOperation {
    enum class Kind : std::uint8_t {
        kProperty,
        kDynamicProperty,
        kReplace,
        kMerge,
        kLabels
    } kind = Kind::kProperty;
    CompiledPtr target;
    TokenIndex key = 0;
    CompiledPtr dynamic_key;
    CompiledPtr value;
    std::vector<TokenIndex> labels;
};
struct SetPlan final : PlanNode {
    SetPlan() : PlanNode{Op::kSet, "SetProperty"} {}
    std::vector<SetOperation> items;
};
struct RemovePlan final : PlanNode {
    RemovePlan() : PlanNode{Op::kRemove, "RemoveLabels"} {}
    std::vector<SetOperation> items;  // value is unused
};
/// children: rows, nested plan that looks for the pattern.
struct MergePlan final : PlanNode {
    MergePlan() : PlanNode{Op::kMerge, "Merge"} {}
    std::uint32_t argument = 0;
    CreateItems items;
    std::vector<Slot> bound_nodes;  // that relationships will be attached to
    std::vector<Slot> introduced;
    std::vector<SetOperation> on_create;
    std::vector<SetOperation> on_match;
};
struct DeletePlan final : PlanNode {
    DeletePlan() : PlanNode{Op::kDelete, "Delete"} {}
    bool detach = false;
    std::vector<CompiledPtr> targets;
};
/// children: rows, nested plan of updates.
struct ForeachPlan final : PlanNode {
    ForeachPlan() : PlanNode{Op::kForeach, "Foreach"} {}
    Slot slot = kNoSlot;
    CompiledPtr list;
    std::uint32_t argument = 0;
};
struct ProcedureCallPlan final : PlanNode {
    ProcedureCallPlan() : PlanNode{Op::kProcedureCall, "ProcedureCall"} {}
    const Procedure* procedure = nullptr;
    std::vector<CompiledPtr> arguments;
    /// Column of the procedure, slot it goes to.
    std::vector<std::pair<std::size_t, Slot>> yields;
    bool optional = false;
    bool void_call = false;  // no columns: rows pass through
};
struct LoadCsvPlan final : PlanNode {
    LoadCsvPlan() : PlanNode{Op::kLoadCsv, "LoadCSV"} {}
    CompiledPtr url;
    Slot slot = kNoSlot;
    bool headers = false;
    char terminator = ',';
};
/// children: rows, nested plan.
struct InTransactionsPlan final : PlanNode {
    InTransactionsPlan() : PlanNode{Op::kInTransactions, "TransactionApply"} {}
    std::uint32_t argument = 0;
    CompiledPtr batch_size;
    InTransactions::OnError on_error = InTransactions::OnError::kFail;
    Slot report = kNoSlot;
    bool unit = true;
    /// The statement goes on with its own transaction: an Eager lies on top, and once it has all rows, that transaction is to
    /// see what was committed.
    bool goes_on = false;
    std::vector<Slot> introduced;
};
struct CountStorePlan final : PlanNode {
    CountStorePlan() : PlanNode{Op::kCountStore, "NodeCountFromCountStore"} {}
    Slot to = kNoSlot;
    bool relationships = false;
    std::optional<TokenIndex> token;
};
struct SchemaCommandPlan final : PlanNode {
    SchemaCommandPlan() : PlanNode{Op::kSchemaCommand, "SchemaCommand"} {}
    const Statement* statement = nullptr;
    CompiledPtr options;  // OPTIONS {…}; may be null
};

/// The tree as drivers read it: {operatorType, identifiers, args, children}.
struct PreparedPlan;
Value plan_to_value(const PlanNode& root,
                    const std::vector<std::string>& slot_names,
                    const ExecContext* profiled);
/// The operators alone, in one line.
std::string plan_to_line(const PlanNode& root);

}  // namespace nornic::cypher
