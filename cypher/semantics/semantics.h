// Semantic analysis: resolves names to symbols, checks scopes, types known at compile time, aggregation
// rules and clause composition, and completes the tree (expands *, names anonymous pattern elements,
// marks aggregating calls and bound pattern variables). The errors are Neo4j's, with position and caret.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "cypher/ast/statement.h"
#include "graph/failure.h"

namespace nornic::cypher {

struct SymbolInfo {
    std::string name;  // as written; anonymous elements: "anon_3"
    TypeSet types = types::kAny;
    TypeSet element_types = types::kAny;  // of lists
    bool anonymous = false;
};

struct Semantics {
    std::vector<SymbolInfo> symbols;  // by Symbol
    std::vector<std::string> columns;  // of the result; empty where there is none
    std::vector<Symbol> column_symbols;
    bool writes = false;
    bool schema = false;  // schema or administration command
    bool has_return = false;
    std::vector<Notification> notifications;  // deprecations, cartesian products
};

/// Completes `statement` in place. parameters: the map given with the run; types of parameters take
/// part in checks (kParameterMissing if one is absent).
Result<Semantics> analyse(Statement& statement, const Map& parameters);

}  // namespace nornic::cypher
