// Text to tree. Hand-written: a lexer that gives views into the text and a recursive-descent parser
// with precedence climbing for expressions. Nesting is bounded; any bytes give a tree or an error.
#pragma once

#include "base/result.h"
#include "cypher/ast/statement.h"

#include <memory>
#include <string_view>

namespace nornic::cypher {

/// kSyntaxError with position; the message ends with the line of the statement and a caret, as
/// Neo4j's.
Result<std::unique_ptr<Statement>> parse(std::string_view text);

/// "message (line 1, column 8 (offset: 7))\n\"RETURN nope\"\n        ^": how every compile-time
/// error reads.
std::string with_caret(std::string_view message,
                       std::string_view statement,
                       SourcePosition position);

}  // namespace nornic::cypher
