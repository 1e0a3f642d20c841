// What operators and compiled expressions share while one statement runs: the EvalContext of
// functions, and beside it token ids, arguments of nested plans and the machinery of errors.
#pragma once

#include "cypher/cypher.h"
#include "cypher/execution/batch.h"
#include "cypher/execution/eval_context.h"
#include "cypher/query_error.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace nornic::cypher {

class Operator;
struct PlanNode;

/// Names of labels, types and keys in a plan, by index; the plan is shared, their ids are looked up
/// by each execution, since a name may get its id after the plan was made.
struct PlanTokens {
    std::vector<std::string> labels;
    std::vector<std::string> types;
    std::vector<std::string> keys;
};
using TokenIndex = std::uint32_t;

struct ExecContext final : EvalContext {
    static constexpr std::uint32_t kUnknown = UINT32_MAX;

    const PlanTokens* names = nullptr;
    const ExecutionServices* services = nullptr;
    std::uint32_t slots = 0;
    bool profile = false;
    std::vector<std::uint32_t> label_ids;
    std::vector<std::uint32_t> type_ids;
    std::vector<std::uint32_t> key_ids;
    /// The row that a nested plan's Argument gives out, by argument index.
    std::vector<Row> arguments;
    /// Sees what CALL { … } IN TRANSACTIONS committed: what comes after the CALL reads here, its rows' entities included, if it
    /// only reads. Null before the first commit.
    std::shared_ptr<engine::Transaction> after_inner;
    /// Nested plans of expressions, made at first use.
    struct Nested {
        std::unique_ptr<Operator> root;
        std::unique_ptr<Batch> batch;
        bool busy = false;
        Nested();
        ~Nested();
        Nested(Nested&&) noexcept;
        Nested& operator=(Nested&&) noexcept;
    };
    std::vector<Nested> nested;
    std::vector<Notification> notifications;
    /// By plan node id, only under PROFILE.
    struct Count {
        std::int64_t rows = 0;
        std::int64_t hits = 0;
    };
    std::vector<Count> counts;
    StatementType* type = nullptr;
    UpdateCounters inner_counters;  // of transactions committed by CALL { … } IN TRANSACTIONS

    void prepare_tokens(const PlanTokens& tokens);
    [[nodiscard]] std::optional<LabelId> label(TokenIndex i) {
        if (label_ids[i] == kUnknown) {
            find_label(i);
        }
        return label_ids[i] == kUnknown ? std::nullopt : std::optional{LabelId{label_ids[i]}};
    }
    [[nodiscard]] std::optional<RelTypeId> type_id(TokenIndex i) {
        if (type_ids[i] == kUnknown) {
            find_type(i);
        }
        return type_ids[i] == kUnknown ? std::nullopt : std::optional{RelTypeId{type_ids[i]}};
    }
    [[nodiscard]] std::optional<PropertyKeyId> key(TokenIndex i) {
        if (key_ids[i] == kUnknown) {
            find_key(i);
        }
        return key_ids[i] == kUnknown ? std::nullopt : std::optional{PropertyKeyId{key_ids[i]}};
    }
    LabelId label_or_create(TokenIndex i);
    RelTypeId type_or_create(TokenIndex i);
    PropertyKeyId key_or_create(TokenIndex i);

    /// The transaction to write with. Throws where the statement runs read-only.
    engine::Transaction& writer();
    /// Throws the reason if the transaction was killed.
    void check_killed() const {
        if (transaction != nullptr && transaction->killed()) [[unlikely]] {
            throw_killed();
        }
    }
    /// Throws kMemoryLimit past the maximum.
    void take_memory(std::size_t bytes) {
        memory_bytes += bytes;
        if (memory_bytes > memory_bytes_max) [[unlikely]] {
            throw_memory();
        }
    }
    void give_memory(std::size_t bytes) noexcept { memory_bytes -= std::min(bytes, memory_bytes); }
    void switch_transaction(engine::Transaction* to);

private:
    void find_label(TokenIndex i);
    void find_type(TokenIndex i);
    void find_key(TokenIndex i);
    [[noreturn]] void throw_killed() const;
    [[noreturn]] void throw_memory() const;
};

/// Gives back at the end of a scope or an operator's life what it took.
class MemoryShare {
public:
    explicit MemoryShare(ExecContext& context) noexcept : context_{&context} {}
    MemoryShare(const MemoryShare&) = delete;
    MemoryShare& operator=(const MemoryShare&) = delete;
    ~MemoryShare() { release(); }
    void take(std::size_t bytes) {
        held_ += bytes;
        context_->take_memory(bytes);
    }
    /// Takes or gives back what is missing to `bytes`.
    void hold(std::size_t bytes) {
        if (bytes > held_) {
            take(bytes - held_);
        } else {
            context_->give_memory(held_ - bytes);
            held_ = bytes;
        }
    }
    [[nodiscard]] std::size_t held() const noexcept { return held_; }
    void release() noexcept {
        context_->give_memory(held_);
        held_ = 0;
    }

private:
    ExecContext* context_;
    std::size_t held_ = 0;
};

}  // namespace nornic::cypher
