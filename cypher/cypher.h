// The front door of Cypher: text in, rows out.
//
//   auto prepared = cache.prepare(text, parameters, *transaction);   // parse, analyse, plan:
//   cached auto execution = start(prepared, services, parameters); while (execution->pull(n, sink)
//   == kMore) … execution->summary()
//
// Inside, errors of a running query are thrown (cypher/query_error.h) and end the query; here they
// come out as an Error.
#pragma once

#include "base/result.h"
#include "cypher/procedures/procedure.h"
#include "engine/transaction.h"
#include "graph/failure.h"
#include "graph/value.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::cypher {

/// A planned statement: immutable, shared between sessions, valid while schema version and
/// statistics are near what it was planned for.
class PreparedQuery;

/// What callers must know before they run it.
struct PreparedInfo {
    StatementType type = StatementType::kRead;
    std::vector<std::string> columns;
    bool writes = false;           // needs a transaction of mode kWrite
    bool schema = false;           // CREATE/DROP INDEX/CONSTRAINT
    bool administration = false;   // users, databases: runs whichever database was named
    bool admin_procedure = false;  // calls one that administers: db.conflicts.resolve
    bool in_transactions = false;  // CALL { … } IN TRANSACTIONS: autocommit only
    bool explain_only = false;
    std::string use_graph;  // USE …; empty: none
};
const PreparedInfo& info(const PreparedQuery& query) noexcept;
/// Its operators in one line, for logs: "ProduceResults(n) < Filter(n.x > 1) < NodeByLabelScan(n:Person)".
std::string plan_text(const PreparedQuery& query);

/// What EXPLAIN, planning and the cache look at, cheaply readable from any transaction.
struct PlanCacheSettings {
    std::size_t entries_max = 1000;
    std::size_t text_bytes_max = 1 << 20;  // longer statements are planned each time
    std::uint32_t disabled_rules = 0;  // optimizer rules by bit (optimizer/optimizer.h); tests only
};

/// Thread-safe. One a database.
class PlanCache {
public:
    PlanCache(const ProcedureRegistry& procedures, PlanCacheSettings settings);
    ~PlanCache();
    /// parameters take part by their static types. kSyntaxError, kSemanticError, kParameterMissing,
    /// …
    Result<std::shared_ptr<const PreparedQuery>> prepare(std::string_view text,
                                                         const Map& parameters,
                                                         engine::GraphReader& reader);
    void clear();
    [[nodiscard]] std::uint64_t hits() const noexcept;
    [[nodiscard]] std::uint64_t misses() const noexcept;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// What an execution needs besides its plan.
struct ExecutionServices {
    engine::Transaction* transaction = nullptr;
    const ProcedureRegistry* procedures = nullptr;
    Caller caller;
    std::int64_t transaction_wall_ns = 0;
    std::size_t memory_bytes_max = std::size_t{1} << 30;
    /// CALL { … } IN TRANSACTIONS: a fresh transaction, one at a time, and its commit (blocks until it is
    /// durable). Whoever ends the transaction around it ends this one, too. One whose outcome is unknown is kept for as long
    /// as its locks have to stay.
    std::function<Result<std::shared_ptr<engine::Transaction>>()> begin_inner;
    std::function<Result<>(const std::shared_ptr<engine::Transaction>&)> commit_inner;
    /// LOAD CSV: false refuses file:// and http:// alike.
    bool allow_load_csv = true;
    std::string import_directory;
};

/// Takes one row; false: enough for now.
class RowSink {
public:
    virtual ~RowSink() = default;
    virtual bool row(std::span<const Value> values) = 0;
};

enum class PullStatus : std::uint8_t { kPaused, kLimitReached, kFinished };

/// One run of a statement. Entities in rows are complete (Node, Relationship, Path), never
/// references.
class Execution {
public:
    virtual ~Execution() = default;
    /// At most `rows_max` rows into `sink` (null: made and dropped). kPaused when the sink said
    /// enough, kLimitReached after rows_max, kFinished after the last row. A statement that writes
    /// does all its work in the first call, whatever rows_max is, and keeps its rows.
    virtual Result<PullStatus> pull(std::uint64_t rows_max, RowSink* sink) = 0;
    /// Completes the entities of the rows that a statement which writes keeps: from then on rows show what its transaction
    /// saw, though that lets go of its snapshot. kMemoryLimit, and what pull() fails with.
    virtual Result<> complete_rows() = 0;
    /// After kFinished.
    virtual StatementSummary summary() = 0;
};

/// The transaction and the services must outlive the execution.
Result<std::unique_ptr<Execution>> start(std::shared_ptr<const PreparedQuery> query,
                                         ExecutionServices services,
                                         Map parameters);

}  // namespace nornic::cypher
