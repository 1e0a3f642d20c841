// The few things that functions ask of a running statement.
#include "cypher/execution/eval_context.h"
#include "cypher/functions/function.h"
#include "cypher/functions/graph_access.h"

#include <chrono>

namespace nornic::cypher {

Instant current_instant(EvalContext& context, ClockKind kind) {
    std::int64_t ns = 0;
    switch (kind) {
        case ClockKind::kStatement:
            ns = context.statement_wall_ns;
            break;
        case ClockKind::kTransaction:
            ns = context.transaction_wall_ns;
            break;
        case ClockKind::kRealtime:
            ns = std::chrono::duration_cast<std::chrono::nanoseconds>(
                     std::chrono::system_clock::now().time_since_epoch())
                     .count();
            break;
    }
    const std::int64_t seconds = (ns >= 0 ? ns : ns - (kNanosPerSecond - 1)) / kNanosPerSecond;
    return {seconds, static_cast<std::int32_t>(ns - seconds * kNanosPerSecond)};
}

std::string_view default_zone(EvalContext& context) {
    return context.default_zone;
}

std::uint64_t random_bits(EvalContext& context) {
    if (context.random == nullptr) {
        thread_local Random own = Random::from_os();
        return own.next();
    }
    return context.random->next();
}

engine::GraphReader* graph_of(EvalContext& context) {
    return context.reader;
}

namespace {
// A value keeps the size of its text in 32 bits; what a caller adds to a text must fit too.
constexpr std::size_t kTextBytesMax = std::size_t{1} << 31;
}  // namespace

Value bounded(Value value) {
    if (value.depth() > kValueDepthMax) {
        throw QueryError{ErrorCode::kArgumentError,
                         "Lists and maps are nested too deeply: at most " +
                             std::to_string(kValueDepthMax) + " levels are supported"};
    }
    return value;
}

void check_memory(EvalContext& context, std::size_t bytes) {
    const std::size_t held = context.memory_bytes < context.memory_bytes_max
                                 ? context.memory_bytes
                                 : context.memory_bytes_max;
    if (bytes > context.memory_bytes_max - held) {
        throw QueryError{ErrorCode::kMemoryLimit,
                         "The allocation of " + std::to_string(bytes) +
                             " bytes would exceed the limit of " +
                             std::to_string(context.memory_bytes_max) + " bytes of this query"};
    }
}

void check_text(EvalContext& context, std::size_t bytes) {
    check_memory(context, bytes);
    if (bytes > kTextBytesMax) {
        throw QueryError{ErrorCode::kMemoryLimit,
                         "A text of " + std::to_string(bytes) +
                             " bytes is too large; the maximum is " +
                             std::to_string(kTextBytesMax) + " bytes"};
    }
}

engine::NodePtr read_node(NodeId id, EvalContext& context) {
    NORNIC_CHECK(context.reader != nullptr, "node {} read while constants are folded", id.value);
    ++context.db_hits;
    engine::NodePtr node = context.reader->node(id);
    if (!node) {
        const bool here = context.reader->deleted_here(id);
        throw QueryError{ErrorCode::kEntityNotFound,
                         "Node with id " + std::to_string(id.value) +
                             (here ? " has been deleted in this transaction" : " does not exist"),
                         "25N13"};
    }
    return node;
}

engine::RelPtr read_relationship(RelId id, EvalContext& context) {
    NORNIC_CHECK(
        context.reader != nullptr, "relationship {} read while constants are folded", id.value);
    ++context.db_hits;
    engine::RelPtr relationship = context.reader->relationship(id);
    if (!relationship) {
        const bool here = context.reader->deleted_here(id);
        throw QueryError{ErrorCode::kEntityNotFound,
                         "Relationship with id " + std::to_string(id.value) +
                             (here ? " has been deleted in this transaction" : " does not exist"),
                         "25N13"};
    }
    return relationship;
}

namespace {
template <class Record>
Value property(const Record& record, std::string_view key, EvalContext& context) {
    const auto id = context.reader->tokens().property_key(key);
    const Value* value = id ? record->property(*id) : nullptr;
    return value != nullptr ? *value : Value{};
}
}  // namespace

Value node_property(NodeId id, std::string_view key, EvalContext& context) {
    return property(read_node(id, context), key, context);
}

Value relationship_property(RelId id, std::string_view key, EvalContext& context) {
    return property(read_relationship(id, context), key, context);
}

Map properties_map(std::span<const engine::PropertyEntry> properties, EvalContext& context) {
    Map out;
    out.reserve(properties.size());
    for (const engine::PropertyEntry& p : properties) {
        out.set(context.reader->tokens().name(p.key), p.value);
    }
    return out;
}

}  // namespace nornic::cypher
