// References become entities when they leave the query.
#pragma once

#include "cypher/execution/context.h"

namespace nornic::cypher {

/// The value with every reference inside replaced by what it stands for. A deleted entity keeps its
/// id and loses the rest.
Value materialize(const Value& value, ExecContext& context);
/// How many nodes and relationships materialize() makes of it.
[[nodiscard]] std::size_t references_in(const Value& value) noexcept;

}  // namespace nornic::cypher
