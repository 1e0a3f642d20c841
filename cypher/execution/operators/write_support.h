// What Create, Merge and Set share.
#pragma once

#include "cypher/execution/context.h"
#include "cypher/planner/plan.h"

#include <vector>

namespace nornic::cypher {

/// Evaluates properties; keys get their ids, null values are left out.
void collect_properties(const PropertySource& source,
                        Row row,
                        ExecContext& context,
                        std::vector<engine::PropertyEntry>& out);
/// Creates what is not bound, in the order of the text, and puts the new entities and paths into
/// the row.
void create_all(const CreateItems& items, Row row, ExecContext& context);
void apply_set(const SetOperation& item, Row row, ExecContext& context);

}  // namespace nornic::cypher
