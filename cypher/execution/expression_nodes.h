// Compiled expression nodes. Small ones are here whole; longer ones in expression_nodes.cc.
#pragma once

#include "cypher/ast/expression.h"
#include "cypher/execution/compiled_expr.h"
#include "cypher/functions/function.h"
#include "cypher/functions/operators.h"
#include "cypher/planner/plan.h"

#include <string>
#include <utility>
#include <vector>

namespace nornic::cypher {

using BinaryFn = Value (*)(const Value&, const Value&);
using UnaryFn = Value (*)(const Value&);

class UnaryExpr final : public CompiledExpr {
public:
    UnaryExpr(UnaryFn fn, CompiledPtr a) : fn_{fn}, a_{std::move(a)} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override {
        Value s;
        return scratch = fn_(a_->eval(row, context, s));
    }

private:
    UnaryFn fn_;
    CompiledPtr a_;
};

class BinaryExpr final : public CompiledExpr {
public:
    BinaryExpr(BinaryFn fn, CompiledPtr a, CompiledPtr b)
        : fn_{fn}, a_{std::move(a)}, b_{std::move(b)} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override {
        Value x;
        Value y;
        return scratch = fn_(a_->eval(row, context, x), b_->eval(row, context, y));
    }

private:
    BinaryFn fn_;
    CompiledPtr a_;
    CompiledPtr b_;
};

/// Throws kMemoryLimit if a + b, texts or lists, would be too large.
void check_joined(const Value& a, const Value& b, ExecContext& context);

/// a + b, and a || b.
template <auto kJoin>
class JoinExpr final : public CompiledExpr {
public:
    JoinExpr(CompiledPtr a, CompiledPtr b) : a_{std::move(a)}, b_{std::move(b)} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override {
        Value x;
        Value y;
        const Value& a = a_->eval(row, context, x);
        const Value& b = b_->eval(row, context, y);
        if (!a.is_number() || !b.is_number()) {
            check_joined(a, b, context);
        }
        return scratch = kJoin(a, b);
    }

private:
    CompiledPtr a_;
    CompiledPtr b_;
};

class EqualExpr final : public CompiledExpr {
public:
    EqualExpr(CompiledPtr a, CompiledPtr b) : a_{std::move(a)}, b_{std::move(b)} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override {
        Value x;
        Value y;
        const Value& a = a_->eval(row, context, x);
        const Value& b = b_->eval(row, context, y);
        if (a.is(ValueType::kInteger) && b.is(ValueType::kInteger)) {
            return scratch = Value{a.as_integer() == b.as_integer()};
        }
        return scratch = equal(a, b);
    }

private:
    CompiledPtr a_;
    CompiledPtr b_;
};

enum class CompareKind : std::uint8_t { kLess, kLessEqual, kGreater, kGreaterEqual };
template <CompareKind kKind>
class CompareExpr final : public CompiledExpr {
public:
    CompareExpr(CompiledPtr a, CompiledPtr b) : a_{std::move(a)}, b_{std::move(b)} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override {
        Value x;
        Value y;
        const Value& a = a_->eval(row, context, x);
        const Value& b = b_->eval(row, context, y);
        if (a.is(ValueType::kInteger) && b.is(ValueType::kInteger)) {
            const std::int64_t i = a.as_integer();
            const std::int64_t j = b.as_integer();
            if constexpr (kKind == CompareKind::kLess) {
                return scratch = Value{i < j};
            } else if constexpr (kKind == CompareKind::kLessEqual) {
                return scratch = Value{i <= j};
            } else if constexpr (kKind == CompareKind::kGreater) {
                return scratch = Value{i > j};
            } else {
                return scratch = Value{i >= j};
            }
        }
        if constexpr (kKind == CompareKind::kLess) {
            return scratch = less(a, b);
        } else if constexpr (kKind == CompareKind::kLessEqual) {
            return scratch = less_or_equal(a, b);
        } else if constexpr (kKind == CompareKind::kGreater) {
            return scratch = greater(a, b);
        } else {
            return scratch = greater_or_equal(a, b);
        }
    }

private:
    CompiledPtr a_;
    CompiledPtr b_;
};

/// AND (kOr = false) and OR: the right side is not looked at where the left decides.
template <bool kOr>
class LogicExpr final : public CompiledExpr {
public:
    LogicExpr(CompiledPtr a, CompiledPtr b) : a_{std::move(a)}, b_{std::move(b)} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override {
        Value x;
        const Value& a = a_->eval(row, context, x);
        if (a.is(ValueType::kBoolean) && a.is_true() == kOr) {
            return scratch = Value{kOr};
        }
        Value y;
        const Value& b = b_->eval(row, context, y);
        if constexpr (kOr) {
            return scratch = logical_or(a, b);
        } else {
            return scratch = logical_and(a, b);
        }
    }

private:
    CompiledPtr a_;
    CompiledPtr b_;
};

class IsNullExpr final : public CompiledExpr {
public:
    IsNullExpr(CompiledPtr a, bool negated) : a_{std::move(a)}, negated_{negated} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override {
        Value x;
        return scratch = Value{a_->eval(row, context, x).is_null() != negated_};
    }

private:
    CompiledPtr a_;
    bool negated_;
};

class IdExpr final : public CompiledExpr {
public:
    explicit IdExpr(CompiledPtr a) : a_{std::move(a)} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override;

private:
    CompiledPtr a_;
};

class PropertyExpr final : public CompiledExpr {
public:
    PropertyExpr(CompiledPtr base, TokenIndex key, std::string name)
        : base_{std::move(base)}, key_{key}, name_{std::move(name)} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override;

private:
    CompiledPtr base_;
    TokenIndex key_;
    std::string name_;
};

class LabelCheckExpr final : public CompiledExpr {
public:
    LabelCheckExpr(CompiledPtr base, CompiledLabels labels, CompiledLabels types)
        : base_{std::move(base)}, labels_{std::move(labels)}, types_{std::move(types)} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override;

private:
    CompiledPtr base_;
    CompiledLabels labels_;
    CompiledLabels types_;
};

class TypeCheckExpr final : public CompiledExpr {
public:
    TypeCheckExpr(CompiledPtr a, const TypeRef* type, bool negated)
        : a_{std::move(a)}, type_{type}, negated_{negated} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override;

private:
    CompiledPtr a_;
    const TypeRef* type_;
    bool negated_;
};

class NormalizedExpr final : public CompiledExpr {
public:
    NormalizedExpr(CompiledPtr a, std::string form, bool negated)
        : a_{std::move(a)}, form_{std::move(form)}, negated_{negated} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override {
        Value x;
        Value v = is_normalized(a_->eval(row, context, x), form_);
        return scratch = negated_ ? logical_not(v) : std::move(v);
    }

private:
    CompiledPtr a_;
    std::string form_;
    bool negated_;
};

class ListExpr final : public CompiledExpr {
public:
    explicit ListExpr(std::vector<CompiledPtr> items) : items_{std::move(items)} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override;
    [[nodiscard]] const std::vector<CompiledPtr>& items() const noexcept { return items_; }

private:
    std::vector<CompiledPtr> items_;
};

class MapExpr final : public CompiledExpr {
public:
    explicit MapExpr(std::vector<std::pair<std::string, CompiledPtr>> entries)
        : entries_{std::move(entries)} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override;

private:
    std::vector<std::pair<std::string, CompiledPtr>> entries_;
};

class IndexExpr final : public CompiledExpr {
public:
    IndexExpr(CompiledPtr base, CompiledPtr index)
        : base_{std::move(base)}, index_{std::move(index)} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override {
        Value x;
        Value y;
        return scratch =
                   index_of(base_->eval(row, context, x), index_->eval(row, context, y), context);
    }

private:
    CompiledPtr base_;
    CompiledPtr index_;
};

class SliceExpr final : public CompiledExpr {
public:
    SliceExpr(CompiledPtr base, CompiledPtr from, CompiledPtr to)
        : base_{std::move(base)}, from_{std::move(from)}, to_{std::move(to)} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override;

private:
    CompiledPtr base_;
    CompiledPtr from_;
    CompiledPtr to_;
};

class FunctionExpr final : public CompiledExpr {
public:
    FunctionExpr(const FunctionSignature* f, std::vector<CompiledPtr> arguments)
        : function_{f}, arguments_{std::move(arguments)} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override;

private:
    const FunctionSignature* function_;
    std::vector<CompiledPtr> arguments_;
};

class CoalesceExpr final : public CompiledExpr {
public:
    explicit CoalesceExpr(std::vector<CompiledPtr> arguments) : arguments_{std::move(arguments)} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override;

private:
    std::vector<CompiledPtr> arguments_;
};

class CaseExpr final : public CompiledExpr {
public:
    CaseExpr(CompiledPtr subject,
             std::vector<std::pair<CompiledPtr, CompiledPtr>> alternatives,
             CompiledPtr otherwise)
        : subject_{std::move(subject)},
          alternatives_{std::move(alternatives)},
          otherwise_{std::move(otherwise)} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override;

private:
    CompiledPtr subject_;
    std::vector<std::pair<CompiledPtr, CompiledPtr>> alternatives_;
    CompiledPtr otherwise_;
};

class ListComprehensionExpr final : public CompiledExpr {
public:
    ListComprehensionExpr(Slot slot, CompiledPtr list, CompiledPtr where, CompiledPtr projection)
        : slot_{slot},
          list_{std::move(list)},
          where_{std::move(where)},
          projection_{std::move(projection)} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override;

private:
    Slot slot_;
    CompiledPtr list_;
    CompiledPtr where_;
    CompiledPtr projection_;
};

class QuantifierExpr final : public CompiledExpr {
public:
    QuantifierExpr(QuantifierKind kind, Slot slot, CompiledPtr list, CompiledPtr where)
        : kind_{kind}, slot_{slot}, list_{std::move(list)}, where_{std::move(where)} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override;

private:
    QuantifierKind kind_;
    Slot slot_;
    CompiledPtr list_;
    CompiledPtr where_;
};

class ReduceExpr final : public CompiledExpr {
public:
    ReduceExpr(Slot accumulator, CompiledPtr initial, Slot slot, CompiledPtr list, CompiledPtr step)
        : accumulator_{accumulator},
          initial_{std::move(initial)},
          slot_{slot},
          list_{std::move(list)},
          step_{std::move(step)} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override;

private:
    Slot accumulator_;
    CompiledPtr initial_;
    Slot slot_;
    CompiledPtr list_;
    CompiledPtr step_;
};

class MapProjectionExpr final : public CompiledExpr {
public:
    struct Item {
        MapProjection::Item::Kind kind;
        std::string key;
        TokenIndex token;
        CompiledPtr value;
    };
    MapProjectionExpr(CompiledPtr base, std::vector<Item> items)
        : base_{std::move(base)}, items_{std::move(items)} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override;

private:
    CompiledPtr base_;
    std::vector<Item> items_;
};

/// A path from the slots of its elements; a list of relationships is a variable-length piece.
class PathExpr final : public CompiledExpr {
public:
    PathExpr(std::vector<Slot> nodes, std::vector<Slot> relationships)
        : nodes_{std::move(nodes)}, relationships_{std::move(relationships)} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override;

private:
    std::vector<Slot> nodes_;
    std::vector<Slot> relationships_;
};

/// EXISTS, COUNT and COLLECT over a nested plan that is run for the row.
class NestedPlanExpr final : public CompiledExpr {
public:
    enum class Kind : std::uint8_t { kExists, kCount, kCollect, kFirst };
    NestedPlanExpr(
        Kind kind, const PlanNode* plan, std::uint32_t index, std::uint32_t argument, Slot result)
        : kind_{kind}, plan_{plan}, index_{index}, argument_{argument}, result_{result} {}
    const Value& eval(Row row, ExecContext& context, Value& scratch) const override;

private:
    Kind kind_;
    const PlanNode* plan_;
    std::uint32_t index_;
    std::uint32_t argument_;
    Slot result_;
};

/// Whether a value is of a written type.
bool is_of_type(const Value& value, const TypeRef& type);
/// All properties of a node, relationship or map, as a map.
Map properties_of(const Value& value, ExecContext& context);
/// The list of values a quantifier, comprehension, UNWIND or FOREACH walks over; null gives
/// nullptr.
const List* list_of(const Value& value, List& holder);
[[noreturn]] void throw_deleted(std::string_view kind, std::uint64_t id);

}  // namespace nornic::cypher
