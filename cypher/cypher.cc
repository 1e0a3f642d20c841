// The front door: the plan cache, and executions.
#include "cypher/cypher.h"

#include "base/mutex.h"
#include "base/random.h"
#include "cypher/execution/context.h"
#include "cypher/execution/materialize.h"
#include "cypher/execution/operator.h"
#include "cypher/parser/parser.h"
#include "cypher/planner/planner.h"
#include "cypher/prepared_query.h"
#include "cypher/semantics/semantics.h"

#include <fmt/format.h>

#include <chrono>
#include <list>
#include <unordered_map>

namespace nornic::cypher {

PreparedQuery::PreparedQuery() = default;
PreparedQuery::~PreparedQuery() = default;

const PreparedInfo& info(const PreparedQuery& query) noexcept {
    return query.info;
}

namespace {

std::shared_ptr<PreparedQuery> prepare_fresh(std::string_view text,
                                             const Map& parameters,
                                             engine::GraphReader& reader,
                                             const ProcedureRegistry& procedures,
                                             const OptimizerSettings& settings) {
    auto query = std::make_shared<PreparedQuery>();
    query->statement = value_or_throw(parse(text));
    Statement& statement = *query->statement;
    query->semantics = value_or_throw(analyse(statement, parameters, &procedures));
    PlanResult planned =
        plan_statement(statement, query->semantics, query->space, procedures, reader, settings);
    query->root = std::move(planned.root);
    query->schema_version = reader.schema()->version;
    query->nodes = reader.node_count(std::nullopt);
    query->relationships = reader.relationship_count(std::nullopt);
    PreparedInfo& info = query->info;
    info.columns = planned.columns;
    info.explain_only = statement.explain == ExplainMode::kExplain;
    info.use_graph = statement.use_graph;
    info.in_transactions = planned.in_transactions;
    info.admin_procedure = planned.admin;
    info.schema = std::holds_alternative<CreateIndexCommand>(statement.body) ||
                  std::holds_alternative<CreateConstraintCommand>(statement.body) ||
                  std::holds_alternative<DropSchemaCommand>(statement.body) || planned.schema;
    const auto* show = std::get_if<ShowCommand>(&statement.body);
    info.administration = std::holds_alternative<AdminCommand>(statement.body) ||
                          (show != nullptr && show->what.find("USER") != std::string::npos);
    // Users are changed through a writing transaction; EXPLAIN never is.
    info.writes = planned.writes && !info.explain_only;
    if (info.schema || std::holds_alternative<AdminCommand>(statement.body) || planned.dbms) {
        info.type = StatementType::kSchema;
    } else if (planned.writes) {
        info.type = info.columns.empty() ? StatementType::kWrite : StatementType::kReadWrite;
    }
    return query;
}

/// Static types of parameters take part in planning, so they are part of the key.
void append_signature(const Map& parameters, std::string& key) {
    for (const auto& [name, value] : parameters) {
        key += '\0';
        key += name;
        key += ':';
        key += static_cast<char>('A' + static_cast<int>(value.type()));
    }
}

}  // namespace

struct PlanCache::Impl {
    struct Entry {
        std::shared_ptr<const PreparedQuery> query;
        std::list<const std::string*>::iterator place;
        std::uint32_t uses = 0;
    };
    struct Hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view s) const noexcept {
            return std::hash<std::string_view>{}(s);
        }
    };
    const ProcedureRegistry* procedures = nullptr;
    PlanCacheSettings settings;
    OptimizerSettings optimizer;
    mutable Mutex mutex;
    std::unordered_map<std::string, Entry, Hash, std::equal_to<>> entries GUARDED_BY(mutex);
    std::list<const std::string*> order GUARDED_BY(mutex);  // most recently used first
    std::atomic<std::uint64_t> hits{0};
    std::atomic<std::uint64_t> misses{0};

    /// Counts that grew or shrank tenfold may make another plan the better one.
    static bool stale(const PreparedQuery& q, engine::GraphReader& reader) {
        const auto far = [](std::uint64_t then, std::uint64_t now) {
            return std::max(then, now) > 1000 && (now > 10 * (then + 1) || then > 10 * (now + 1));
        };
        return far(q.nodes, reader.node_count(std::nullopt)) ||
               far(q.relationships, reader.relationship_count(std::nullopt));
    }
    std::shared_ptr<const PreparedQuery> find(const std::string& key, engine::GraphReader& reader) {
        const std::uint64_t version = reader.schema()->version;
        const MutexLock lock{mutex};
        const auto at = entries.find(key);
        if (at == entries.end()) {
            return nullptr;
        }
        Entry& entry = at->second;
        if (entry.query->schema_version != version ||
            ((++entry.uses & 15U) == 0 && stale(*entry.query, reader))) {
            order.erase(entry.place);
            entries.erase(at);
            return nullptr;
        }
        if (entry.place != order.begin()) {
            order.splice(order.begin(), order, entry.place);
        }
        return entry.query;
    }
    void add(std::string key, std::shared_ptr<const PreparedQuery> query) {
        const MutexLock lock{mutex};
        if (const auto at = entries.find(key); at != entries.end()) {
            at->second.query = std::move(query);
            return;
        }
        while (entries.size() >= settings.entries_max && !order.empty()) {
            const std::string oldest = *order.back();
            order.pop_back();
            entries.erase(oldest);
        }
        const auto at = entries.try_emplace(std::move(key)).first;
        order.push_front(&at->first);
        at->second.query = std::move(query);
        at->second.place = order.begin();
    }
};

PlanCache::PlanCache(const ProcedureRegistry& procedures, PlanCacheSettings settings)
    : impl_{std::make_unique<Impl>()} {
    impl_->procedures = &procedures;
    impl_->settings = settings;
    impl_->optimizer.disabled = settings.disabled_rules;
}
PlanCache::~PlanCache() = default;

Result<std::shared_ptr<const PreparedQuery>> PlanCache::prepare(std::string_view text,
                                                                const Map& parameters,
                                                                engine::GraphReader& reader) {
    const bool cacheable =
        text.size() <= impl_->settings.text_bytes_max && impl_->settings.entries_max > 0;
    std::string key;
    if (cacheable) {
        key.reserve(text.size() + parameters.size() * 16);
        key = text;
        append_signature(parameters, key);
        if (auto found = impl_->find(key, reader)) {
            impl_->hits.fetch_add(1, std::memory_order_relaxed);
            return found;
        }
    }
    impl_->misses.fetch_add(1, std::memory_order_relaxed);
    try {
        std::shared_ptr<const PreparedQuery> fresh =
            prepare_fresh(text, parameters, reader, *impl_->procedures, impl_->optimizer);
        if (cacheable && !fresh->info.schema && !fresh->info.administration) {
            impl_->add(std::move(key), fresh);
        }
        return fresh;
    } catch (const QueryError& e) {
        const Error& error = e.error();
        if (error.position() && error.message().find(" (line ") == std::string::npos) {
            return Error{error.code(),
                         with_caret(error.message(), text, *error.position()),
                         error.position(),
                         error.gql()};
        }
        return error;
    }
}

void PlanCache::clear() {
    const MutexLock lock{impl_->mutex};
    impl_->entries.clear();
    impl_->order.clear();
}
std::uint64_t PlanCache::hits() const noexcept {
    return impl_->hits.load(std::memory_order_relaxed);
}
std::uint64_t PlanCache::misses() const noexcept {
    return impl_->misses.load(std::memory_order_relaxed);
}

namespace {

class ExecutionImpl final : public Execution {
public:
    ExecutionImpl(std::shared_ptr<const PreparedQuery> query,
                  ExecutionServices services,
                  Map parameters)
        : query_{std::move(query)},
          services_{std::move(services)},
          parameters_{std::move(parameters)},
          random_{seed()},
          batch_{query_->space.slots} {
        context_.reader = services_.transaction;
        context_.transaction = services_.transaction;
        context_.parameters = &parameters_;
        context_.random = &random_;
        context_.statement_wall_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(
                                         std::chrono::system_clock::now().time_since_epoch())
                                         .count();
        context_.transaction_wall_ns = services_.transaction_wall_ns != 0
                                           ? services_.transaction_wall_ns
                                           : context_.statement_wall_ns;
        context_.user = services_.caller.user;
        context_.database = services_.caller.database;
        context_.memory_bytes_max = services_.memory_bytes_max;
        context_.services = &services_;
        context_.slots = query_->space.slots;
        context_.profile = query_->statement->explain == ExplainMode::kProfile;
        context_.arguments.resize(query_->space.arguments);
        context_.prepare_tokens(query_->space.tokens);
        counters_before_ = services_.transaction->counters();
        const PlanNode* top = query_->root.get();
        if (top->op == Op::kProduceResults) {
            columns_ = static_cast<const ProduceResultsPlan&>(*top).columns;
        }
        if (query_->info.explain_only) {
            finished_ = true;
        } else {
            root_ = make_operator(*query_->root, context_);
        }
    }

    Result<PullStatus> pull(std::uint64_t rows_max, RowSink* sink) override {
        if (failed_) {
            return *failed_;
        }
        try {
            return pull_inner(rows_max, sink);
        } catch (const QueryError& e) {
            failed_ = e.error();
            root_.reset();
            return *failed_;
        }
    }

    Result<> complete_rows() override {
        if (failed_) {
            return *failed_;
        }
        try {
            for (std::size_t i = at_; store_ != nullptr && i < store_->size(); ++i) {
                context_.check_killed();
                Value* const values = store_->row(i);
                for (std::size_t c = 0; c < columns_.size(); ++c) {
                    const std::size_t references = references_in(values[c]);
                    if (references == 0) {
                        continue;
                    }
                    // About what they will hold, before a list of a million is made; then what they do.
                    const std::size_t before = values[c].heap_bytes();
                    const std::size_t expected = references * kEntityBytes;
                    context_.take_memory(expected);
                    values[c] = materialize(values[c], context_);
                    context_.give_memory(expected);
                    context_.take_memory(values[c].heap_bytes());
                    context_.give_memory(before);
                }
            }
        } catch (const QueryError& e) {
            failed_ = e.error();
            return *failed_;
        }
        return success();
    }

    StatementSummary summary() override {
        StatementSummary out;
        out.type = query_->info.type;
        out.database = context_.database;
        out.records = records_;
        if (!query_->info.explain_only) {
            out.counters = difference(services_.transaction->counters(), counters_before_);
            out.counters += context_.inner_counters;
        }
        out.notifications = query_->semantics.notifications;
        if (!query_->info.schema && !query_->info.administration) {
            for (Notification& n :
                 token_warnings(*query_->statement, services_.transaction->tokens())) {
                out.notifications.push_back(std::move(n));
            }
        }
        for (const Notification& n : context_.notifications) {
            out.notifications.push_back(n);
        }
        if (query_->info.explain_only) {
            out.plan = plan_to_value(*query_->root, query_->space.slot_names, nullptr);
        } else if (context_.profile) {
            out.profile = plan_to_value(*query_->root, query_->space.slot_names, &context_);
        }
        return out;
    }

private:
    /// Of a small node.
    static constexpr std::size_t kEntityBytes = 256;
    static std::uint64_t seed() {
        // One draw from the operating system a thread; executions take from it.
        thread_local Random source = Random::from_os();
        return source.next();
    }
    static UpdateCounters difference(const UpdateCounters& now, const UpdateCounters& before) {
        UpdateCounters out;
        out.nodes_created = now.nodes_created - before.nodes_created;
        out.nodes_deleted = now.nodes_deleted - before.nodes_deleted;
        out.relationships_created = now.relationships_created - before.relationships_created;
        out.relationships_deleted = now.relationships_deleted - before.relationships_deleted;
        out.properties_set = now.properties_set - before.properties_set;
        out.labels_added = now.labels_added - before.labels_added;
        out.labels_removed = now.labels_removed - before.labels_removed;
        out.indexes_added = now.indexes_added - before.indexes_added;
        out.indexes_removed = now.indexes_removed - before.indexes_removed;
        out.constraints_added = now.constraints_added - before.constraints_added;
        out.constraints_removed = now.constraints_removed - before.constraints_removed;
        out.system_updates = now.system_updates - before.system_updates;
        return out;
    }
    void run_writes() {
        ran_ = true;
        store_ = std::make_unique<RowStore>(columns_);
        for (batch_.begin_fill(); root_->next(batch_); batch_.begin_fill()) {
            for (std::uint32_t i = 0; i < batch_.rows; ++i) {
                context_.take_memory(store_->add(Row{&batch_, i}));
            }
        }
        root_.reset();
    }
    bool emit(RowSink* sink) {
        ++records_;
        return sink == nullptr || sink->row(row_);
    }
    Result<PullStatus> pull_inner(std::uint64_t rows_max, RowSink* sink) {
        row_.resize(columns_.size());
        const bool buffered = query_->info.writes || query_->info.schema ||
                              query_->info.in_transactions || columns_.empty();
        if (!finished_ && buffered && !ran_) {
            run_writes();
        }
        std::uint64_t given = 0;
        while (!finished_) {
            if (buffered) {
                if (at_ == store_->size()) {
                    finished_ = true;
                    break;
                }
                if (given == rows_max) {
                    return PullStatus::kLimitReached;
                }
                const Value* values = store_->row(at_++);
                for (std::size_t c = 0; c < columns_.size(); ++c) {
                    row_[c] = materialize(values[c], context_);
                }
            } else {
                if (at_ == batch_.rows) {
                    at_ = 0;
                    batch_.begin_fill();
                    if (!root_->next(batch_)) {
                        batch_.rows = 0;
                        finished_ = true;
                        root_.reset();
                        break;
                    }
                }
                if (given == rows_max) {
                    return PullStatus::kLimitReached;
                }
                const auto i = at_++;
                for (std::size_t c = 0; c < columns_.size(); ++c) {
                    const Value& v = batch_.column(columns_[c])[i];
                    switch (v.type()) {
                        case ValueType::kNodeRef:
                        case ValueType::kRelationshipRef:
                        case ValueType::kPathRef:
                        case ValueType::kList:
                        case ValueType::kMap:
                            row_[c] = materialize(v, context_);
                            break;
                        default:
                            row_[c] = v;
                            break;
                    }
                }
            }
            ++given;
            if (!emit(sink)) {
                return PullStatus::kPaused;
            }
        }
        return PullStatus::kFinished;
    }

    std::shared_ptr<const PreparedQuery> query_;
    ExecutionServices services_;
    Map parameters_;
    Random random_;
    ExecContext context_;
    Batch batch_;
    OperatorPtr root_;
    std::vector<Slot> columns_;
    std::vector<Value> row_;
    std::unique_ptr<RowStore> store_;
    std::size_t at_ = 0;
    std::int64_t records_ = 0;
    bool ran_ = false;
    bool finished_ = false;
    std::optional<Error> failed_;
    UpdateCounters counters_before_;
};

}  // namespace

std::string plan_text(const PreparedQuery& query) {
    return plan_to_line(*query.root);
}

Result<std::unique_ptr<Execution>> start(std::shared_ptr<const PreparedQuery> query,
                                         ExecutionServices services,
                                         Map parameters) {
    NORNIC_CHECK(query != nullptr && services.transaction != nullptr,
                 "an execution needs a query and a transaction");
    if (query->info.writes && services.transaction->mode() == AccessMode::kRead) {
        return Error{ErrorCode::kAccessMode,
                     fmt::format("Writing in read access mode not allowed. Attempted write to {}",
                                 services.caller.database)};
    }
    if (query->info.in_transactions && !query->info.explain_only &&
        (!services.begin_inner || !services.commit_inner)) {
        return Error{ErrorCode::kTransactionStartFailed,
                     "A query with 'CALL { ... } IN TRANSACTIONS' can only be executed in an "
                     "implicit transaction, but tried to execute in an explicit transaction."};
    }
    try {
        return std::unique_ptr<Execution>{std::make_unique<ExecutionImpl>(
            std::move(query), std::move(services), std::move(parameters))};
    } catch (const QueryError& e) {
        return e.error();
    }
}

}  // namespace nornic::cypher
