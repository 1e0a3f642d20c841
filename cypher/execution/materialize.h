// References become entities when they leave the query.
#pragma once

#include "cypher/execution/context.h"

namespace nornic::cypher {

/// The value with every reference inside replaced by what it stands for. A deleted entity keeps its
/// id and loses the rest.
Value materialize(const Value& value, ExecContext& context);
[[nodiscard]] bool holds_references(const Value& value) noexcept;

}  // namespace nornic::cypher
