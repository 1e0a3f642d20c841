// What an expression may look at while it is evaluated.
#pragma once

#include "base/random.h"
#include "engine/graph_reader.h"
#include "engine/transaction.h"
#include "graph/value.h"

#include <cstddef>
#include <cstdint>
#include <string>

namespace nornic::cypher {

/// One per running statement. Not thread-safe.
struct EvalContext {
    engine::GraphReader* reader = nullptr;  // null only while constants are folded at compile time
    engine::Transaction* transaction = nullptr;  // null in a read-only execution
    const Map* parameters = nullptr;
    Random* random = nullptr;
    /// datetime() and datetime.statement() answer this; .transaction() the other; .realtime() looks
    /// at a clock.
    std::int64_t statement_wall_ns = 0;
    std::int64_t transaction_wall_ns = 0;
    std::string default_zone = "Z";
    std::string user;
    std::string database;

    /// Bytes that rows, hash tables and sorts hold; add() throws QueryError kMemoryLimit past the
    /// maximum.
    std::size_t memory_bytes = 0;
    std::size_t memory_bytes_max = SIZE_MAX;
    std::uint64_t db_hits = 0;  // PROFILE
};

}  // namespace nornic::cypher
