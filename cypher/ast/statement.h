// Clauses and statements. See expression.h.
#pragma once

#include "cypher/ast/expression.h"
#include "engine/schema.h"

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace nornic::cypher {

struct UsingHint {
    enum class Kind : std::uint8_t { kIndex, kScan, kJoin } kind = Kind::kIndex;
    std::string variable;
    std::string label;
    std::vector<std::string> properties;
    SourcePosition position;
};

struct MatchClause {
    bool optional = false;
    std::vector<PathPattern> patterns;
    std::vector<UsingHint> hints;
    ExprPtr where;  // may be null
};
struct UnwindClause {
    ExprPtr list;
    std::string variable;
    Symbol symbol = kNoSymbol;
};

struct ProjectionItem {
    ExprPtr expression;
    std::string alias;  // column name; for an unaliased item the source text
    bool aliased = false;
    Symbol symbol = kNoSymbol;
    SourcePosition position;
};
struct SortItem {
    ExprPtr expression;
    bool descending = false;
};
struct Projection {
    bool distinct = false;
    bool star = false;  // semantics expands it into items (in front) and leaves this set
    std::vector<ProjectionItem> items;
    std::vector<SortItem> order_by;
    ExprPtr skip;   // may be null
    ExprPtr limit;  // may be null
};
struct WithClause {
    Projection projection;
    ExprPtr where;  // may be null
};
struct ReturnClause {
    Projection projection;
};
struct FinishClause {};
struct CreateClause {
    std::vector<PathPattern> patterns;
};

struct SetItem {
    enum class Kind : std::uint8_t {
        kProperty,
        kReplaceProperties,
        kMergeProperties,
        kLabels,
        kDynamicProperty
    };
    Kind kind = Kind::kProperty;
    ExprPtr target;  // the entity (kProperty: the base of a.b)
    std::string key;
    ExprPtr dynamic_key;  // a[expr] = …
    std::vector<std::string> labels;
    ExprPtr value;
    SourcePosition position;
};
struct SetClause {
    std::vector<SetItem> items;
};
struct RemoveItem {
    enum class Kind : std::uint8_t { kProperty, kLabels, kDynamicProperty } kind = Kind::kProperty;
    ExprPtr target;
    std::string key;
    ExprPtr dynamic_key;
    std::vector<std::string> labels;
    SourcePosition position;
};
struct RemoveClause {
    std::vector<RemoveItem> items;
};
struct DeleteClause {
    bool detach = false;
    std::vector<ExprPtr> expressions;
};
struct MergeClause {
    PathPattern pattern;
    std::vector<SetItem> on_create;
    std::vector<SetItem> on_match;
};

struct YieldItem {
    std::string column;  // the procedure's
    std::string alias;
    Symbol symbol = kNoSymbol;
    SourcePosition position;
};
struct CallClause {
    std::string procedure;  // "db.labels"
    bool optional = false;
    std::optional<std::vector<ExprPtr>>
        arguments;  // none: implicit, from parameters (standalone CALL only)
    bool yield_star = false;
    std::vector<YieldItem> yields;
    bool has_yield = false;
    ExprPtr where;  // may be null
    bool standalone = false;
};

struct InTransactions {
    ExprPtr batch_size;  // null: 1000
    enum class OnError : std::uint8_t { kFail, kContinue, kBreak } on_error = OnError::kFail;
    std::string report_variable;
    Symbol report_symbol = kNoSymbol;
    ExprPtr concurrency;  // may be null
};
struct SubqueryClause {
    std::unique_ptr<Query> query;
    bool optional = false;
    /// CALL (a, b) { … }; none: the importing WITH form. star: CALL (*) { … }.
    std::optional<std::vector<std::string>> imports;
    bool import_star = false;
    std::vector<Symbol> import_symbols;
    std::optional<InTransactions> in_transactions;
    ~SubqueryClause();
    SubqueryClause();
    SubqueryClause(SubqueryClause&&) noexcept;
    SubqueryClause& operator=(SubqueryClause&&) noexcept;
};
struct Clause;
struct ForeachClause {
    std::string variable;
    Symbol symbol = kNoSymbol;
    ExprPtr list;
    std::vector<Clause> updates;
};
struct LoadCsvClause {
    bool with_headers = false;
    ExprPtr url;
    std::string variable;
    Symbol symbol = kNoSymbol;
    std::string field_terminator;  // empty: comma
};
struct UseClause {
    std::string graph;
};

using ClauseBody = std::variant<MatchClause,
                                UnwindClause,
                                WithClause,
                                ReturnClause,
                                FinishClause,
                                CreateClause,
                                SetClause,
                                RemoveClause,
                                DeleteClause,
                                MergeClause,
                                CallClause,
                                SubqueryClause,
                                ForeachClause,
                                LoadCsvClause,
                                UseClause>;
struct Clause {
    SourcePosition position;
    ClauseBody body;
};

/// One that changes the graph by itself.
inline bool is_update(const Clause& c) {
    return std::holds_alternative<CreateClause>(c.body) ||
           std::holds_alternative<SetClause>(c.body) ||
           std::holds_alternative<RemoveClause>(c.body) ||
           std::holds_alternative<DeleteClause>(c.body) ||
           std::holds_alternative<MergeClause>(c.body) ||
           std::holds_alternative<ForeachClause>(c.body);
}

struct SingleQuery {
    std::vector<Clause> clauses;
};
/// Parts joined by UNION (distinct) or UNION ALL; one kind throughout.
struct Query {
    std::vector<SingleQuery> parts;
    bool union_all = false;
};
/// A deep copy, positions and symbols included.
Query clone(const Query& query);

// ---- Schema commands ----

struct CreateIndexCommand {
    std::string name;
    engine::IndexType type = engine::IndexType::kRange;
    engine::EntityKind entity = engine::EntityKind::kNode;
    std::vector<std::string> tokens;  // empty: LOOKUP
    std::vector<std::string> properties;
    bool if_not_exists = false;
    ExprPtr options;  // map; may be null
};
struct CreateConstraintCommand {
    std::string name;
    engine::ConstraintType type = engine::ConstraintType::kUnique;
    engine::EntityKind entity = engine::EntityKind::kNode;
    std::string token;
    std::vector<std::string> properties;
    std::optional<TypeRef> property_type;
    bool if_not_exists = false;
    ExprPtr options;
};
struct DropSchemaCommand {
    bool constraint = false;
    std::string name;
    bool if_exists = false;
};

// ---- SHOW and administration ----

/// SHOW <what> [filters] [YIELD … [ORDER BY …] [SKIP …] [LIMIT …] [WHERE …]] [WHERE …] [RETURN …].
/// The planner turns it into a call of an internal procedure followed by these clauses.
struct ShowCommand {
    std::string
        what;  // "INDEXES", "CONSTRAINTS", "DATABASES", "DEFAULT DATABASE", "HOME DATABASE",
               // "FUNCTIONS", "PROCEDURES", "TRANSACTIONS", "SETTINGS", "CONFLICTS", "USERS", …
    std::string filter;          // "ALL", "RANGE", "UNIQUE", "BUILT IN", …; empty: none
    std::vector<ExprPtr> names;  // SHOW TRANSACTIONS 'a','b'; SHOW SETTINGS …; SHOW DATABASE name
    std::optional<std::vector<YieldItem>> yields;  // none: default columns
    bool yield_star = false;
    std::vector<SortItem> order_by;
    ExprPtr skip;
    ExprPtr limit;
    ExprPtr where;
    std::optional<ReturnClause> returns;
};
struct TerminateCommand {
    std::vector<ExprPtr> ids;
};
/// CREATE / ALTER / DROP / RENAME USER, ALTER CURRENT USER SET PASSWORD, and what is parsed only to
/// be refused by name (roles, privileges, servers).
struct AdminCommand {
    enum class Kind : std::uint8_t {
        kCreateUser,
        kAlterUser,
        kDropUser,
        kRenameUser,
        kAlterCurrentUserPassword,
        kUnsupported
    } kind = Kind::kUnsupported;
    ExprPtr user;  // Literal string or Parameter
    ExprPtr new_name;
    ExprPtr password;
    ExprPtr old_password;
    std::optional<bool> password_change_required;
    std::optional<bool> suspended;
    std::string home_database;
    bool if_exists = false;
    bool if_not_exists = false;
    bool replace = false;
    std::string text;  // kUnsupported: how Neo4j names it, "CREATE DATABASE foo"
};

using StatementBody = std::variant<Query,
                                   CreateIndexCommand,
                                   CreateConstraintCommand,
                                   DropSchemaCommand,
                                   ShowCommand,
                                   TerminateCommand,
                                   AdminCommand>;

enum class ExplainMode : std::uint8_t { kNone, kExplain, kProfile };
struct Statement {
    ExplainMode explain = ExplainMode::kNone;
    std::string text;
    std::string use_graph;  // a leading USE, if any
    StatementBody body;
    std::vector<std::string> parameters;  // names used, in order of first use
};

}  // namespace nornic::cypher
