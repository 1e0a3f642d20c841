// The pass behind analyse(). One object per statement; private to this folder. Throws QueryError.
#pragma once

#include "cypher/functions/function.h"
#include "cypher/procedures/procedure.h"
#include "cypher/query_error.h"
#include "cypher/semantics/semantics.h"

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace nornic::cypher {

/// What an expression may be. elements: of its lists.
struct StaticType {
    TypeSet set = types::kAny;
    TypeSet elements = types::kAny;
    [[nodiscard]] bool may_be(TypeSet t) const noexcept {
        return (set & t) != 0 || set == types::kNull || set == 0;
    }
};

/// "Integer", "List<String>", "Node or Relationship": as error texts say what was found.
std::string type_text(StaticType type);

class Analyser {
public:
    Analyser(Statement& statement, const Map& parameters, const ProcedureRegistry* procedures)
        : statement_{statement}, parameters_{parameters}, procedures_{procedures} {}
    Semantics run();

private:
    using Scope = std::unordered_map<std::string, Symbol>;
    enum class Aggregates : std::uint8_t { kForbidden, kAllowed, kInside, kInList };
    enum class PatternUse : std::uint8_t { kMatch, kCreate, kMerge, kPredicate };
    enum class QueryKind : std::uint8_t { kTop, kCall, kExists, kCount, kCollect };

    // ---- Helpers (analyser.cc) ----
    [[noreturn]] void fail(SourcePosition where,
                           std::string_view message,
                           std::string gql = {},
                           ErrorCode code = ErrorCode::kSyntaxError) const;
    [[noreturn]] void mismatch(const Expr& e,
                               std::string_view expected,
                               StaticType was,
                               std::string gql) const;
    void require(const Expr& e, StaticType type, TypeSet accepted, std::string gql = "42001>22NB1");
    Symbol new_symbol(std::string name, StaticType type, bool anonymous = false);
    Symbol declare(const std::string& name, StaticType type, SourcePosition where);
    [[nodiscard]] StaticType type_of_symbol(Symbol s) const {
        return {result_.symbols[s].types, result_.symbols[s].element_types};
    }
    void notify_deprecated_id(SourcePosition where);
    void finish_parameters();

    /// A name that is visible in part of an expression only.
    struct Local {
        Local(Analyser& a, const std::string& name, Symbol symbol);
        ~Local();
        Local(const Local&) = delete;
        Local& operator=(const Local&) = delete;
        Analyser& analyser;
        std::string name;
        Symbol before = kNoSymbol;
    };

    // ---- Expressions (expressions.cc) ----
    StaticType check(ExprPtr& e, bool as_predicate = false);
    StaticType check_inner(ExprPtr& e, bool as_predicate);
    void check_predicate(ExprPtr& e);
    StaticType check_variable(Variable& v);
    StaticType check_binary(Binary& e);
    StaticType check_addition(Binary& e, StaticType left, StaticType right);
    StaticType check_function(FunctionCall& e, bool as_predicate);
    StaticType check_case(Case& e, bool as_predicate);
    StaticType check_list(ListLiteral& e);
    StaticType check_subquery(SubqueryExpr& e);
    StaticType check_parameter(const Parameter& p) const;
    void enter_aggregate(const Expr& e, std::string_view name);

    // ---- Patterns (patterns.cc) ----
    void declare_pattern(PathPattern& p,
                         PatternUse use,
                         Symbol first_new,
                         std::unordered_set<Symbol>& relationships);
    void declare_node(NodePattern& n, PatternUse use, Symbol first_new, bool alone);
    void declare_relationship(RelPattern& r,
                              PatternUse use,
                              Symbol first_new,
                              std::unordered_set<Symbol>& relationships);
    void check_pattern_expressions(PathPattern& p, PatternUse use, Symbol first_new);
    void check_step(RelPattern& r, Symbol first_new);
    void check_properties(ExprPtr& properties, PatternUse use);
    void analyse_patterns(std::vector<PathPattern>& patterns, PatternUse use);
    void create_pattern(PathPattern& p, PatternUse use, Symbol first_new);
    void check_shortest(const PathPattern& p);
    void check_labels_to_create(const std::optional<LabelExpr>& labels, PatternUse use) const;
    void note_cartesian(const MatchClause& m, Symbol first_new);

    // ---- Clauses (clauses.cc) ----
    void analyse_query(Query& q, QueryKind kind, const Scope& inner);
    void analyse_part(SingleQuery& part, QueryKind kind);
    void check_composition(const SingleQuery& part, QueryKind kind) const;
    void analyse_clause(Clause& clause, QueryKind kind);
    void analyse_match(MatchClause& c);
    void analyse_set_items(std::vector<SetItem>& items);
    void analyse_remove(RemoveClause& c);
    void analyse_delete(DeleteClause& c);
    void analyse_merge(MergeClause& c);
    void analyse_foreach(ForeachClause& c);
    void analyse_call(CallClause& c, SourcePosition where);
    void analyse_subquery_call(SubqueryClause& c, SourcePosition where);
    [[nodiscard]] bool is_importing_with(const SingleQuery& part) const;
    void analyse_show(ShowCommand& c);
    void analyse_admin(const AdminCommand& c) const;

    // ---- Projections (projection.cc) ----
    void analyse_projection(
        Projection& p, ExprPtr* where, bool is_with, QueryKind kind, SourcePosition at);
    void expand_star(Projection& p, bool is_with, SourcePosition at);
    void check_grouping(const Projection& p, const std::vector<bool>& aggregating);
    void find_ungrouped(const Expr& e,
                        const Projection& p,
                        const std::vector<bool>& aggregating,
                        std::vector<std::string>& out);
    void resolve_after(ExprPtr& e,
                       const Projection& p,
                       const Scope& before,
                       const Scope& after,
                       const std::vector<bool>& aggregating,
                       bool closed,
                       bool predicate,
                       std::string_view clause);
    void replace_projected(ExprPtr& e,
                           const Projection& p,
                           const std::vector<bool>& aggregating,
                           bool whole,
                           bool has_aggregate);
    void check_row_count(ExprPtr& e, std::string_view clause);

    Statement& statement_;
    const Map& parameters_;
    const ProcedureRegistry* procedures_;
    Semantics result_;
    Scope scope_;
    Scope base_;  // visible in all of a subquery, also behind its WITHs
    Aggregates aggregates_ = Aggregates::kForbidden;
    std::size_t aggregates_seen_ = 0;
    unsigned depth_ = 0;
    bool in_part_with_updates_ = false;
    std::vector<std::string> columns_;  // of the query analysed last
    std::vector<Symbol> column_symbols_;
};

}  // namespace nornic::cypher
