// Trees as Cypher text: for EXPLAIN's details, for messages and for tests.
#pragma once

#include "cypher/ast/statement.h"

#include <string>

namespace nornic::cypher {

/// With the fewest parentheses that keep the structure, so that two trees print alike only if they
/// are.
std::string to_text(const Expr& expr);
std::string to_text(const LabelExpr& labels);
std::string to_text(const NodePattern& node);
std::string to_text(const RelPattern& relationship);
std::string to_text(const PathPattern& pattern);
std::string to_text(const Projection& projection);
std::string to_text(const Clause& clause);
std::string to_text(const Query& query);
/// The statement as one line.
std::string to_text(const Statement& statement);
/// A name, in backticks where it needs them.
std::string quoted_name(std::string_view name);

}  // namespace nornic::cypher
