#include "cypher/execution/context.h"

#include "cypher/execution/operator.h"

#include <fmt/format.h>

namespace nornic::cypher {

ExecContext::Nested::Nested() = default;
ExecContext::Nested::~Nested() = default;
ExecContext::Nested::Nested(Nested&&) noexcept = default;
ExecContext::Nested& ExecContext::Nested::operator=(Nested&&) noexcept = default;

void ExecContext::prepare_tokens(const PlanTokens& tokens) {
    names = &tokens;
    label_ids.assign(tokens.labels.size(), kUnknown);
    type_ids.assign(tokens.types.size(), kUnknown);
    key_ids.assign(tokens.keys.size(), kUnknown);
}

void ExecContext::find_label(TokenIndex i) {
    if (const auto id = reader->tokens().label(names->labels[i])) {
        label_ids[i] = id->value;
    }
}
void ExecContext::find_type(TokenIndex i) {
    if (const auto id = reader->tokens().relationship_type(names->types[i])) {
        type_ids[i] = id->value;
    }
}
void ExecContext::find_key(TokenIndex i) {
    if (const auto id = reader->tokens().property_key(names->keys[i])) {
        key_ids[i] = id->value;
    }
}

LabelId ExecContext::label_or_create(TokenIndex i) {
    if (label_ids[i] == kUnknown) {
        label_ids[i] = value_or_throw(writer().label_or_create(names->labels[i])).value;
    }
    return LabelId{label_ids[i]};
}
RelTypeId ExecContext::type_or_create(TokenIndex i) {
    if (type_ids[i] == kUnknown) {
        type_ids[i] = value_or_throw(writer().relationship_type_or_create(names->types[i])).value;
    }
    return RelTypeId{type_ids[i]};
}
PropertyKeyId ExecContext::key_or_create(TokenIndex i) {
    if (key_ids[i] == kUnknown) {
        key_ids[i] = value_or_throw(writer().property_key_or_create(names->keys[i])).value;
    }
    return PropertyKeyId{key_ids[i]};
}

engine::Transaction& ExecContext::writer() {
    if (transaction == nullptr || transaction->mode() == AccessMode::kRead) {
        throw QueryError{
            ErrorCode::kAccessMode,
            fmt::format("Writing in read access mode not allowed. Attempted write to {}",
                        database)};
    }
    reader = transaction;  // whoever writes reads what it wrote
    return *transaction;
}

void ExecContext::switch_transaction(engine::Transaction* to) {
    transaction = to;
    reader = to;
    prepare_tokens(*names);
}

void ExecContext::throw_killed() const {
    if (auto reason = transaction->kill_reason()) {
        throw QueryError{*reason};
    }
    throw QueryError{ErrorCode::kTerminated, "The transaction has been terminated."};
}

void ExecContext::throw_memory() const {
    throw QueryError{
        ErrorCode::kMemoryLimit,
        fmt::format("The allocation of memory for this statement would exceed its limit: {} bytes "
                    "are held, the maximum is {} bytes.",
                    memory_bytes,
                    memory_bytes_max)};
}

}  // namespace nornic::cypher
