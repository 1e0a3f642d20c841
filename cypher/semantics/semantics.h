// Semantic analysis: resolves names to symbols, checks scopes, types known at compile time,
// aggregation rules and clause composition, and completes the tree (expands *, names anonymous
// pattern elements, marks aggregating calls and bound pattern variables). The errors are Neo4j's,
// with position and caret.
//
// What the tree says afterwards:
// - An item that passes a variable on under its own name (WITH a, RETURN a, *) keeps that
// variable's symbol;
//   every other item has a new one. Nothing else is ever written twice to one symbol, so a symbol
//   may be a slot.
// - All parts of a UNION share the item symbols of the first part, column by column (by name: the
// items of
//   later parts may stand in another order).
// - ORDER BY, and WHERE after WITH, are resolved against what the projection reads and what it
// makes, the latter
//   first. Any part of them that equals a projected expression has become the Variable of that
//   item. Where the projection aggregates or is DISTINCT, nothing else than its items remains in
//   them.
// - CALL procedure, given a registry: `arguments` is always there (implicit ones are Parameters,
// absent ones the
//   defaults as Literals), and `yields` lists every column that is kept, each with a symbol, also
//   for a standalone call without YIELD.
// - SHOW, given a registry: `yields` lists the columns, with symbols, in the order of the result
// without RETURN.
// - CALL { … }: import_symbols are the outer symbols that the inner query may read, under the same
// number.
#pragma once

#include "base/result.h"
#include "cypher/ast/statement.h"
#include "graph/failure.h"

#include <string>
#include <vector>

namespace nornic::engine {
class Tokens;
}

namespace nornic::cypher {

class ProcedureRegistry;

struct SymbolInfo {
    std::string name;  // as written; anonymous elements: "anon_3"
    TypeSet types = types::kAny;
    TypeSet element_types = types::kAny;  // of lists
    bool anonymous = false;
};

struct Semantics {
    std::vector<SymbolInfo> symbols;   // by Symbol
    std::vector<std::string> columns;  // of the result; empty where there is none
    std::vector<Symbol> column_symbols;
    bool writes = false;
    bool schema = false;  // schema or administration command
    bool has_return = false;
    std::vector<Notification> notifications;  // deprecations, cartesian products
};

/// Completes `statement` in place. parameters: the map given with the run; types of parameters take
/// part in checks (kParameterMissing if one is absent). procedures: null: calls are not checked,
/// and a standalone CALL or SHOW without YIELD has no columns.
Result<Semantics> analyse(Statement& statement,
                          const Map& parameters,
                          const ProcedureRegistry* procedures = nullptr);

/// "internal.show.indexes", "internal.show.current user": what a SHOW command calls, with its
/// filter (a string or null) and its names (a list) as arguments.
std::string show_procedure(const ShowCommand& command);

/// Warnings about labels, relationship types and property keys that the database does not have.
/// Apart from analyse(), since they change while a plan stays valid.
std::vector<Notification> token_warnings(const Statement& statement, const engine::Tokens& tokens);

}  // namespace nornic::cypher
