// Reading nodes and relationships for property access and the graph functions.
#pragma once

#include "cypher/functions/function.h"
#include "engine/graph_reader.h"

#include <string_view>

namespace nornic::cypher {

/// The record, or EntityNotFound if this transaction deleted it or it is gone.
engine::NodePtr read_node(NodeId id, EvalContext& context);
engine::RelPtr read_relationship(RelId id, EvalContext& context);
Value node_property(NodeId id, std::string_view key, EvalContext& context);
Value relationship_property(RelId id, std::string_view key, EvalContext& context);
Map properties_map(std::span<const engine::PropertyEntry> properties, EvalContext& context);

}  // namespace nornic::cypher
