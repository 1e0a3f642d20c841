// db.awaitIndex, db.awaitIndexes, and what other servers need to keep their statistics fresh.

#include "cypher/procedures/builtin.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace nornic::cypher {
namespace {

constexpr std::chrono::milliseconds kPollInterval{5};
constexpr std::chrono::milliseconds kTurn{100};
constexpr std::int64_t kTimeoutSecondsMax = 86'400;

Result<> killed(const ProcedureCall& call) {
    if (call.context.transaction != nullptr && call.context.transaction->killed()) {
        if (auto reason = call.context.transaction->kill_reason()) {
            return *reason;
        }
    }
    return success();
}

/// Waits in short turns, so that a time-out, RESET or kill of the transaction ends it.
Result<> wait_in_turns(ProcedureCall& call,
                       const GraphProcedureHooks& hooks,
                       std::string_view index,
                       Deadline deadline) {
    while (true) {
        const Deadline now = std::chrono::steady_clock::now();
        const Result<> online =
            hooks.await_indexes(call.context.database, index, std::min(deadline, now + kTurn));
        if (online || online.error().code() != ErrorCode::kTimedOut || now >= deadline) {
            return online;
        }
        NORNIC_TRY(killed(call));
    }
}

/// Without a hook: looks at the schema until the index (all if empty) is online.
Result<> poll(ProcedureCall& call, std::string_view wanted, Deadline deadline) {
    while (true) {
        const auto schema = call.context.reader->schema();
        bool found = wanted.empty();
        bool ready = true;
        for (const auto& index : schema->indexes) {
            if (!wanted.empty() && index.rule.name != wanted) {
                continue;
            }
            found = true;
            if (index.state == engine::IndexState::kFailed) {
                return fail(
                    ErrorCode::kProcedureCallFailed,
                    fmt::format(
                        "Index '{}' is in a failed state: {}", index.rule.name, index.failure));
            }
            ready = ready && index.state == engine::IndexState::kOnline;
        }
        if (!found) {
            return fail(ErrorCode::kIndexNotFound,
                        fmt::format("There is no index called `{}`.", wanted));
        }
        if (ready) {
            return success();
        }
        if (std::chrono::steady_clock::now() >= deadline) {
            return fail(
                ErrorCode::kTimedOut,
                wanted.empty()
                    ? std::string{"Index(es) did not come online within the time given"}
                    : fmt::format("Index '{}' did not come online within the time given", wanted));
        }
        NORNIC_TRY(killed(call));
        std::this_thread::sleep_for(kPollInterval);
    }
}

Result<> await(ProcedureCall& call,
               const GraphProcedureHooks& hooks,
               std::string_view index,
               const Value& timeout) {
    const std::int64_t seconds = timeout.is(ValueType::kInteger) ? timeout.as_integer() : 300;
    if (seconds < 0) {
        return fail(ErrorCode::kArgumentError,
                    fmt::format("The time-out must not be negative, but is {} seconds", seconds));
    }
    const Deadline deadline = std::chrono::steady_clock::now() +
                              std::chrono::seconds{std::min(seconds, kTimeoutSecondsMax)};
    return hooks.await_indexes ? wait_in_turns(call, hooks, index, deadline)
                               : poll(call, index, deadline);
}

}  // namespace

void add_index_procedures(ProcedureRegistry& registry, GraphProcedureHooks hooks) {
    registry.add(Procedure{
        "db.awaitIndex",
        "Wait for an index to come online (for example: CALL db.awaitIndex(\"MyIndex\", 300)).",
        ProcedureMode::kRead,
        {argument_field("indexName", "STRING", types::kString),
         argument_field("timeOutSeconds", "INTEGER", types::kInteger, Value{300})},
        {},
        false,
        true,
        false,
        [hooks](ProcedureCall& call) -> Result<> {
            if (!call.arguments[0].is_string() || call.arguments[0].as_string().empty()) {
                return fail(ErrorCode::kArgumentError,
                            "An index's name must be a string that is not empty");
            }
            return await(call, hooks, call.arguments[0].as_string(), call.arguments[1]);
        }});
    registry.add(
        Procedure{"db.awaitIndexes",
                  "Wait for all indexes to come online (for example: CALL db.awaitIndexes(300)).",
                  ProcedureMode::kRead,
                  {argument_field("timeOutSeconds", "INTEGER", types::kInteger, Value{300})},
                  {},
                  false,
                  true,
                  false,
                  [hooks](ProcedureCall& call) -> Result<> {
                      return await(call, hooks, {}, call.arguments[0]);
                  }});
    // Statistics are kept up to date with each write, so there is nothing to sample again.
    const auto nothing = [](ProcedureCall&) -> Result<> { return success(); };
    registry.add(Procedure{"db.resampleIndex",
                           "Statistics are kept current with every write; this does nothing and is "
                           "here for compatibility.",
                           ProcedureMode::kRead,
                           {argument_field("indexName", "STRING", types::kString)},
                           {},
                           false,
                           true,
                           false,
                           [](ProcedureCall& call) -> Result<> {
                               const auto name = call.arguments[0].is_string()
                                                     ? call.arguments[0].as_string()
                                                     : std::string_view{};
                               if (call.context.reader->schema()->index_named(name) == nullptr) {
                                   return fail(ErrorCode::kIndexNotFound,
                                               fmt::format("There is no index called `{}`.", name));
                               }
                               return success();
                           }});
    registry.add(Procedure{"db.resampleOutdatedIndexes",
                           "Statistics are kept current with every write; this does nothing and is "
                           "here for compatibility.",
                           ProcedureMode::kRead,
                           {},
                           {},
                           false,
                           true,
                           false,
                           nothing});
    registry.add(Procedure{
        "db.prepareForReplanning",
        "Statistics are kept current with every write; this waits until indexes are online.",
        ProcedureMode::kRead,
        {argument_field("timeOutSeconds", "INTEGER", types::kInteger, Value{300})},
        {},
        true,
        true,
        false,
        [hooks](ProcedureCall& call) -> Result<> {
            return await(call, hooks, {}, call.arguments[0]);
        }});
}

}  // namespace nornic::cypher
