// The planner as a class; its clauses are spread over match.cc, projection.cc, updates.cc,
// nested.cc and commands.cc.
#pragma once

#include "cypher/planner/ast_walk.h"
#include "cypher/planner/effects.h"
#include "cypher/planner/planner.h"

#include <map>
#include <optional>
#include <set>
#include <span>
#include <utility>

namespace nornic::cypher {

/// Sorted and unique.
using SlotSet = std::set<Slot>;

class Planner {
public:
    Planner(const Semantics& semantics,
            PlanSpace& space,
            const ProcedureRegistry& procedures,
            engine::GraphReader& reader,
            const OptimizerSettings& settings);

    PlanResult plan(const Statement& statement);

private:
    /// Where a nested plan starts: the slots it was called with, and the argument they come from.
    struct Frame {
        std::uint32_t argument = kNoSlot;
        std::vector<Slot> slots;
    };
    /// One path of clauses as it grows.
    struct Line {
        PlanPtr plan;
        Effects pending_reads;
        Effects pending_writes;
        // The one node of a lone pattern, while every read since was of it alone.
        Slot single_node = kNoSlot;
        bool writes = false;
        std::vector<Symbol> returned;  // of RETURN
        bool has_return = false;
        Frame frame;
    };

    // ---- planner.cc
    PlanPtr plan_query(const Query& query,
                       const Frame& frame,
                       std::vector<Symbol>& returned,
                       bool& has_return);
    /// later: the parts of the UNION after it.
    void plan_single(const SingleQuery& query, std::span<const SingleQuery> later, Line& line);
    /// Whether it writes with the statement's own transaction, or reads rows in that for transactions of their own.
    [[nodiscard]] bool goes_on(const Clause& clause) const;
    [[nodiscard]] bool goes_on(const SingleQuery& query) const;
    void plan_clause(const Clause& clause, Line& line);
    void separate(const Clause& clause, Line& line);
    PlanPtr start(const Frame& frame);
    /// A nested plan's frame: everything `mentioned` that is there now, and enclosing lambdas'
    /// variables.
    Frame make_frame(const std::set<Symbol>& mentioned, const std::vector<Slot>& live);
    static SlotSet live_of(const PlanNode& plan) { return {plan.live.begin(), plan.live.end()}; }
    template <class Node>
    Node& push(PlanPtr& plan, std::unique_ptr<Node> node, std::initializer_list<Slot> more = {});
    /// Operators that may lie on top of one another. Planning, running, printing and freeing a plan recurse over them:
    /// up to 600 bytes of stack each, a sanitizer's frames a few times that, of the 8 MiB that a thread has. A round 3,000
    /// clauses fit, with what lies above and below them.
    static constexpr std::size_t kLevelsMax = 3100;
    /// Nodes and relationships of one MATCH or MERGE: the search for their order takes seconds for so many, and the time
    /// grows with the cube.
    static constexpr std::size_t kElementsMax = 1000;
    /// One operator more; throws kSyntaxError past kLevelsMax.
    void count_level();
    /// Plans another child of the operator that is pushed next. It runs in turn with the line so far, not on top of that: the
    /// operator lies on top of the higher of the two.
    template <class Plan>
    void beside(const Plan& plan);
    static void set_live(PlanNode& node, const SlotSet& slots) {
        node.live.assign(slots.begin(), slots.end());
    }
    /// Compiles with nested plans seeing `live`.
    CompiledPtr compile(const Expr& expr, const std::vector<Slot>& live);
    [[nodiscard]] std::string name_of(Slot slot) const;
    void eager(Line& line);

    // ---- match.cc, graph.cc
    struct Predicate {
        const Expr* expr = nullptr;
        std::set<Symbol> needs;
        bool done = false;
    };
    struct GraphNode {
        Symbol symbol = kNoSymbol;
        std::vector<std::string> labels;  // names that must all be there
    };
    struct GraphRel {
        const RelPattern* pattern = nullptr;
        Symbol symbol = kNoSymbol;
        Symbol left = kNoSymbol;
        Symbol right = kNoSymbol;
        PathSelector selector = PathSelector::kNone;
        Symbol path = kNoSymbol;
        bool in_path = false;
        bool done = false;
    };
    struct GraphPath {
        Symbol symbol = kNoSymbol;
        std::vector<Symbol> nodes;
        std::vector<Symbol> relationships;
        bool done = false;
    };
    struct Graph {
        std::vector<GraphNode> nodes;
        std::vector<GraphRel> relationships;
        std::vector<GraphPath> paths;
        std::vector<Predicate> predicates;
        std::set<Symbol> symbols;  // introduced or used by the patterns
        bool part = false;         // of a graph with more relationships, which must differ from these
    };
    struct Leaf {
        enum class Kind : std::uint8_t {
            kAll,
            kLabel,
            kId,
            kIndex,
            kRelScan,
            kRelId,
            kRelIndex
        } kind = Kind::kAll;
        Symbol symbol = kNoSymbol;  // node, or relationship
        std::size_t relationship = 0;
        double rows = 0;
        std::string label;
        const engine::IndexView* index = nullptr;
        std::vector<std::pair<std::size_t, IndexColumn>>
            columns;  // predicate used; value not compiled yet
        std::vector<const Expr*> values;
        std::vector<std::size_t> consumed;  // predicates it answers fully
        const Expr* id = nullptr;
        bool id_list = false;
        bool element_id = false;
        bool unique = false;
    };

    void plan_match(const MatchClause& match, Line& line);
    Graph make_graph(const std::vector<PathPattern>& patterns, const Expr* where);
    void add_pattern(Graph& graph, const PathPattern& pattern);
    void add_predicate(Graph& graph, const Expr& expr);
    void solve(Graph& graph, PlanPtr& plan);
    void finish_available(Graph& graph, PlanPtr& plan);
    bool expand_one(Graph& graph, PlanPtr& plan);
    void start_one(Graph& graph, PlanPtr& plan);
    void add_expand(Graph& graph, PlanPtr& plan, GraphRel& rel);
    void add_var_expand(Graph& graph, PlanPtr& plan, GraphRel& rel, bool from_left, bool into);
    void add_shortest(Graph& graph, PlanPtr& plan, GraphRel& rel);
    void add_endpoints(Graph& graph, PlanPtr& plan, GraphRel& rel);
    std::vector<Slot> others(const Graph& graph, const GraphRel& rel, const SlotSet& live) const;
    void compile_types(const RelPattern& pattern,
                       std::vector<TokenIndex>& types,
                       std::optional<CompiledLabels>& filter);
    /// Conditions on each relationship of a variable-length pattern, `each` among them: all() and none() over its
    /// relationships; its slot.
    CompiledPtr step_predicate(const RelPattern& pattern,
                               Slot& step,
                               const PlanNode& plan,
                               const std::vector<const Quantifier*>& each = {});
    std::optional<Leaf> best_leaf(const Graph& graph,
                                  const SlotSet& live,
                                  bool component_only,
                                  const std::set<Symbol>& component);
    std::vector<Leaf> leaves_of(const Graph& graph, const GraphNode& node, const SlotSet& live);
    void rel_leaves(const Graph& graph, std::size_t i, const SlotSet& live, std::vector<Leaf>& out);
    void index_leaves(const Graph& graph,
                      Symbol symbol,
                      engine::EntityKind entity,
                      const std::vector<std::string>& tokens,
                      const SlotSet& live,
                      Leaf base,
                      std::vector<Leaf>& out);
    void id_leaves(
        const Graph& graph, Symbol symbol, const SlotSet& live, Leaf base, std::vector<Leaf>& out);
    void add_leaf(Graph& graph, PlanPtr& plan, const Leaf& leaf);
    double simulate(const Graph& graph, const Leaf& leaf, const SlotSet& live);
    double expand_factor(const Graph& graph, const GraphRel& rel, bool from_left, bool into);
    double label_rows(const std::vector<std::string>& labels);
    double selectivity(const Graph& graph, Symbol symbol);
    const GraphNode* node_of(const Graph& graph, Symbol symbol) const;
    std::set<Symbol> component_of(const Graph& graph, Symbol symbol, const SlotSet& live) const;
    bool try_optional_expand(const MatchClause& match, Line& line);

    // ---- projection.cc
    void plan_projection(const Projection& projection, Line& line, bool last, const Expr* where);
    void plan_with(const WithClause& with, Line& line);
    void plan_return(const ReturnClause& ret, Line& line);
    void add_filter(PlanPtr& plan, const Expr& expr);

    // ---- updates.cc
    void plan_create(const CreateClause& create, Line& line);
    void plan_merge(const MergeClause& merge, Line& line);
    void plan_set(const SetClause& set, Line& line);
    void plan_remove(const RemoveClause& remove, Line& line);
    void plan_delete(const DeleteClause& del, Line& line);
    void plan_foreach(const ForeachClause& foreach, Line& line);
    void add_create_pattern(const PathPattern& pattern,
                            SlotSet& bound,
                            const std::vector<Slot>& live,
                            CreateItems& items);
    std::vector<SetOperation> compile_sets(const std::vector<SetItem>& items,
                                           const std::vector<Slot>& live);

    // ---- nested.cc
    CompiledPtr nested_expr(const Expr& expr);
    void plan_subquery(const SubqueryClause& sub, Line& line);
    void plan_call(const CallClause& call, Line& line);
    void plan_unwind(const UnwindClause& unwind, Line& line);
    void plan_load_csv(const LoadCsvClause& load, Line& line);

    // ---- commands.cc
    PlanPtr plan_show(const ShowCommand& show, PlanResult& result);
    PlanPtr plan_terminate(const TerminateCommand& terminate, PlanResult& result);
    PlanPtr plan_admin(const AdminCommand& admin, PlanResult& result);
    const Procedure& internal_procedure(const std::string& name, const std::string& shown) const;

    const Semantics& semantics_;
    PlanSpace& space_;
    const ProcedureRegistry& procedures_;
    engine::GraphReader& reader_;
    const OptimizerSettings& settings_;
    std::shared_ptr<const engine::Schema> schema_;
    Compiler compiler_;
    std::vector<Slot> current_live_;   // what nested plans of the expression being compiled may see
    std::set<Symbol> lambda_symbols_;  // variables of comprehensions, which rows hold for a moment
    bool in_transactions_ = false;
    bool dbms_ = false;
    bool procedure_writes_ = false;
    bool procedure_schema_ = false;
    bool procedure_admin_ = false;
    std::size_t levels_ = 0;  // of the child being planned
};

template <class Node>
Node& Planner::push(PlanPtr& plan, std::unique_ptr<Node> node, std::initializer_list<Slot> more) {
    count_level();
    Node& out = *node;
    SlotSet live;
    if (plan != nullptr) {
        live = live_of(*plan);
        out.estimated_rows = plan->estimated_rows;
        out.children.push_back(std::move(plan));
    }
    for (const Slot s : more) {
        if (s != kNoSlot) {
            live.insert(s);
        }
    }
    set_live(out, live);
    plan = std::move(node);
    return out;
}

template <class Plan>
void Planner::beside(const Plan& plan) {
    const std::size_t line = std::exchange(levels_, 0);
    plan();
    levels_ = std::max(levels_, line);
}

}  // namespace nornic::cypher
