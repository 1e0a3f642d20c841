#include "cypher/execution/expression_nodes.h"

#include "cypher/execution/expressions.h"
#include "cypher/execution/operator.h"
#include "cypher/functions/registry.h"

#include <fmt/format.h>

#include <array>

namespace nornic::cypher {

namespace {

/// A long list in an expression is no way around RESET and time-outs.
class Steps {
public:
    explicit Steps(const ExecContext& context) noexcept : context_{context} {}
    void count() {
        if ((++n_ & 1023U) == 0) {
            context_.check_killed();
        }
    }

private:
    const ExecContext& context_;
    std::uint32_t n_ = 0;
};

}  // namespace

void throw_deleted(std::string_view kind, std::uint64_t id) {
    throw QueryError{ErrorCode::kEntityNotFound,
                     fmt::format("{} with id {} has been deleted in this transaction", kind, id)};
}

const Value& ParameterExpr::eval(Row, ExecContext& context, Value& scratch) const {
    const Value* v = context.parameters == nullptr ? nullptr : context.parameters->find(name_);
    if (v == nullptr) {
        if (context.parameters == nullptr) {
            throw QueryError{ErrorCode::kParameterMissing,
                             fmt::format("Expected parameter(s): {}", name_)};
        }
        return scratch = Value{};
    }
    return *v;
}

const Value& read_property(const Value& base,
                           TokenIndex key,
                           ExecContext& context,
                           Value& scratch) {
    switch (base.type()) {
        case ValueType::kNodeRef: {
            const NodeId id = base.as_node_ref();
            const engine::NodePtr node = context.reader->node(id);
            ++context.db_hits;
            if (node == nullptr) {
                if (context.reader->deleted_here(id)) {
                    throw_deleted("Node", id.value);
                }
                return scratch = Value{};
            }
            const auto k = context.key(key);
            const Value* v = k ? node->property(*k) : nullptr;
            return scratch = v == nullptr ? Value{} : *v;
        }
        case ValueType::kRelationshipRef: {
            const RelId id = base.as_relationship_ref();
            const engine::RelPtr rel = context.reader->relationship(id);
            ++context.db_hits;
            if (rel == nullptr) {
                if (context.reader->deleted_here(id)) {
                    throw_deleted("Relationship", id.value);
                }
                return scratch = Value{};
            }
            const auto k = context.key(key);
            const Value* v = k ? rel->property(*k) : nullptr;
            return scratch = v == nullptr ? Value{} : *v;
        }
        case ValueType::kNull:
            return scratch = Value{};
        case ValueType::kMap: {
            const Value* v = base.as_map().find(context.names->keys[key]);
            return scratch = v == nullptr ? Value{} : *v;
        }
        default:
            return scratch = property_of(base, context.names->keys[key], context);
    }
}

const Value& SlotPropertyExpr::eval(Row row, ExecContext& context, Value& scratch) const {
    return read_property(row[base_], key_, context, scratch);
}

const Value& PropertyExpr::eval(Row row, ExecContext& context, Value& scratch) const {
    Value x;
    const Value& base = base_->eval(row, context, x);
    if (context.names == nullptr) {
        return scratch = property_of(base, name_);
    }
    Value out;
    const Value& v = read_property(base, key_, context, out);
    return scratch = v;
}

const Value& IdExpr::eval(Row row, ExecContext& context, Value& scratch) const {
    Value x;
    const Value& v = a_->eval(row, context, x);
    switch (v.type()) {
        case ValueType::kNodeRef:
            return scratch = Value{static_cast<std::int64_t>(v.as_node_ref().value)};
        case ValueType::kRelationshipRef:
            return scratch = Value{static_cast<std::int64_t>(v.as_relationship_ref().value)};
        case ValueType::kNull:
            return scratch = Value{};
        default:
            throw QueryError{
                ErrorCode::kTypeError,
                fmt::format(
                    "Invalid input for function 'id()': Expected a Node or Relationship, got: {}",
                    to_cypher_text(v))};
    }
}

bool matches(const CompiledLabels& labels, const engine::NodeData& node, ExecContext& context) {
    switch (labels.kind) {
        case LabelExpr::Kind::kName: {
            const auto id = context.label(labels.token);
            return id && node.has_label(*id);
        }
        case LabelExpr::Kind::kAnd:
            return std::ranges::all_of(labels.children, [&](const CompiledLabels& c) {
                return matches(c, node, context);
            });
        case LabelExpr::Kind::kOr:
            return std::ranges::any_of(labels.children, [&](const CompiledLabels& c) {
                return matches(c, node, context);
            });
        case LabelExpr::Kind::kNot:
            return !matches(labels.children[0], node, context);
        case LabelExpr::Kind::kWildcard:
            return !node.labels.empty();
    }
    return false;
}

bool matches_type(const CompiledLabels& labels, RelTypeId type, ExecContext& context) {
    switch (labels.kind) {
        case LabelExpr::Kind::kName: {
            const auto id = context.type_id(labels.token);
            return id && *id == type;
        }
        case LabelExpr::Kind::kAnd:
            return std::ranges::all_of(labels.children, [&](const CompiledLabels& c) {
                return matches_type(c, type, context);
            });
        case LabelExpr::Kind::kOr:
            return std::ranges::any_of(labels.children, [&](const CompiledLabels& c) {
                return matches_type(c, type, context);
            });
        case LabelExpr::Kind::kNot:
            return !matches_type(labels.children[0], type, context);
        case LabelExpr::Kind::kWildcard:
            return true;
    }
    return false;
}

const Value& LabelCheckExpr::eval(Row row, ExecContext& context, Value& scratch) const {
    Value x;
    const Value& v = base_->eval(row, context, x);
    switch (v.type()) {
        case ValueType::kNull:
            return scratch = Value{};
        case ValueType::kNodeRef: {
            const engine::NodePtr node = context.reader->node(v.as_node_ref());
            ++context.db_hits;
            if (node == nullptr && context.reader->deleted_here(v.as_node_ref())) {
                throw_deleted("Node", v.as_node_ref().value);
            }
            return scratch = Value{node != nullptr && matches(labels_, *node, context)};
        }
        case ValueType::kRelationshipRef: {
            const engine::RelPtr rel = context.reader->relationship(v.as_relationship_ref());
            return scratch = Value{rel != nullptr && matches_type(types_, rel->type, context)};
        }
        default:
            throw QueryError{ErrorCode::kTypeError,
                             fmt::format("Type mismatch: expected Node or Relationship but was {}",
                                         type_name(v)),
                             "22G03>22N01"};
    }
}

bool is_of_type(const Value& value, const TypeRef& type) {
    if (!type.alternatives.empty()) {
        return std::ranges::any_of(type.alternatives,
                                   [&](const TypeRef& t) { return is_of_type(value, t); });
    }
    if (value.is_null()) {
        return !type.not_null;
    }
    TypeSet bit = 0;
    switch (value.type()) {
        case ValueType::kBoolean:
            bit = types::kBoolean;
            break;
        case ValueType::kInteger:
            bit = types::kInteger;
            break;
        case ValueType::kFloat:
            bit = types::kFloat;
            break;
        case ValueType::kString:
            bit = types::kString;
            break;
        case ValueType::kBytes:
            bit = types::kBytes;
            break;
        case ValueType::kList:
            bit = types::kList;
            break;
        case ValueType::kMap:
            bit = types::kMap;
            break;
        case ValueType::kDate:
            bit = types::kDate;
            break;
        case ValueType::kLocalTime:
            bit = types::kLocalTime;
            break;
        case ValueType::kTime:
            bit = types::kTime;
            break;
        case ValueType::kLocalDateTime:
            bit = types::kLocalDateTime;
            break;
        case ValueType::kDateTime:
            bit = types::kDateTime;
            break;
        case ValueType::kDuration:
            bit = types::kDuration;
            break;
        case ValueType::kPoint:
            bit = types::kPoint;
            break;
        case ValueType::kNodeRef:
        case ValueType::kNode:
            bit = types::kNode;
            break;
        case ValueType::kRelationshipRef:
        case ValueType::kRelationship:
            bit = types::kRelationship;
            break;
        case ValueType::kPathRef:
        case ValueType::kPath:
            bit = types::kPath;
            break;
        case ValueType::kNull:
            break;
    }
    if ((type.types & bit) == 0) {
        return false;
    }
    if (bit == types::kList && !type.list_elements.empty()) {
        return std::ranges::all_of(
            value.as_list(), [&](const Value& v) { return is_of_type(v, type.list_elements[0]); });
    }
    return true;
}

const Value& TypeCheckExpr::eval(Row row, ExecContext& context, Value& scratch) const {
    Value x;
    return scratch = Value{is_of_type(a_->eval(row, context, x), *type_) != negated_};
}

void check_joined(const Value& a, const Value& b, ExecContext& context) {
    if (a.is_list() || b.is_list()) {
        check_memory(
            context,
            ((a.is_list() ? a.as_list().size() : 1) + (b.is_list() ? b.as_list().size() : 1)) *
                sizeof(Value));
    } else if (a.is_string() || b.is_string()) {
        // Of the two, what is no string is short.
        check_text(context,
                   (a.is_string() ? a.as_string().size() : 0) +
                       (b.is_string() ? b.as_string().size() : 0));
    }
}

const Value& ListExpr::eval(Row row, ExecContext& context, Value& scratch) const {
    List out;
    out.reserve(items_.size());
    MemoryShare memory{context};
    for (const CompiledPtr& e : items_) {
        out.push_back(e->get(row, context));
        memory.take(sizeof(Value) + out.back().heap_bytes());
    }
    return scratch = bounded(Value{std::move(out)});
}

const Value& MapExpr::eval(Row row, ExecContext& context, Value& scratch) const {
    Map out;
    out.reserve(entries_.size());
    MemoryShare memory{context};
    for (const auto& [k, e] : entries_) {
        Value v = e->get(row, context);
        memory.take(v.heap_bytes());
        out.set(k, std::move(v));
    }
    return scratch = bounded(Value{std::move(out)});
}

const Value& SliceExpr::eval(Row row, ExecContext& context, Value& scratch) const {
    Value x;
    Value f;
    Value t;
    const Value& list = base_->eval(row, context, x);
    const Value* from = from_ ? &from_->eval(row, context, f) : nullptr;
    const Value* to = to_ ? &to_->eval(row, context, t) : nullptr;
    return scratch = slice(list, from, to, context);
}

const Value& FunctionExpr::eval(Row row, ExecContext& context, Value& scratch) const {
    if (arguments_.size() <= 4) {
        std::array<Value, 4> values;
        for (std::size_t i = 0; i < arguments_.size(); ++i) {
            Value x;
            const Value& v = arguments_[i]->eval(row, context, x);
            values[i] = &v == &x ? std::move(x) : v;
        }
        return scratch = function_->call(std::span<const Value>{values.data(), arguments_.size()},
                                         context);
    }
    std::vector<Value> values;
    values.reserve(arguments_.size());
    for (const CompiledPtr& e : arguments_) {
        values.push_back(e->get(row, context));
    }
    return scratch = function_->call(values, context);
}

const Value& CoalesceExpr::eval(Row row, ExecContext& context, Value& scratch) const {
    for (const CompiledPtr& e : arguments_) {
        Value x;
        const Value& v = e->eval(row, context, x);
        if (!v.is_null()) {
            return scratch = &v == &x ? std::move(x) : v;
        }
    }
    return scratch = Value{};
}

const Value& CaseExpr::eval(Row row, ExecContext& context, Value& scratch) const {
    if (subject_ != nullptr) {
        Value x;
        const Value& subject = subject_->eval(row, context, x);
        for (const auto& [when, then] : alternatives_) {
            Value y;
            const Value& candidate = when->eval(row, context, y);
            // A null subject is met by WHEN null, as Neo4j does.
            if ((subject.is_null() && candidate.is_null()) || equals(subject, candidate) == 1) {
                return then->eval(row, context, scratch);
            }
        }
    } else {
        for (const auto& [when, then] : alternatives_) {
            if (when->is_true(row, context)) {
                return then->eval(row, context, scratch);
            }
        }
    }
    if (otherwise_ == nullptr) {
        return scratch = Value{};
    }
    return otherwise_->eval(row, context, scratch);
}

const List* list_of(const Value& value, List& holder) {
    if (value.is_null()) {
        return nullptr;
    }
    if (value.is_list()) {
        return &value.as_list();
    }
    holder.push_back(value);
    return &holder;
}

namespace {
const List* strict_list(const Value& value) {
    if (value.is_null()) {
        return nullptr;
    }
    if (!value.is_list()) {
        throw QueryError{
            ErrorCode::kTypeError,
            fmt::format("Type mismatch: expected List<T> but was {}", type_name(value)),
            "22G03>22N01"};
    }
    return &value.as_list();
}
}  // namespace

const Value& ListComprehensionExpr::eval(Row row, ExecContext& context, Value& scratch) const {
    const Value holder = list_->get(row, context);
    const List* list = strict_list(holder);
    if (list == nullptr) {
        return scratch = Value{};
    }
    List out;
    MemoryShare memory{context};
    Steps steps{context};
    for (const Value& v : *list) {
        steps.count();
        row[slot_] = v;
        if (where_ != nullptr && !where_->is_true(row, context)) {
            continue;
        }
        out.push_back(projection_ == nullptr ? v : projection_->get(row, context));
        memory.take(sizeof(Value) + (projection_ == nullptr ? 0 : out.back().heap_bytes()));
    }
    row[slot_] = Value{};
    return scratch = bounded(Value{std::move(out)});
}

const Value& QuantifierExpr::eval(Row row, ExecContext& context, Value& scratch) const {
    const Value holder = list_->get(row, context);
    const List* list = strict_list(holder);
    if (list == nullptr) {
        return scratch = Value{};
    }
    std::size_t hits = 0;
    std::size_t misses = 0;
    std::size_t unknown = 0;
    Steps steps{context};
    for (const Value& v : *list) {
        steps.count();
        row[slot_] = v;
        Value x;
        const Value& answer = where_->eval(row, context, x);
        if (answer.is_null()) {
            ++unknown;
        } else if (answer.is_true()) {
            ++hits;
        } else {
            ++misses;
        }
    }
    row[slot_] = Value{};
    switch (kind_) {
        case QuantifierKind::kAll:
            return scratch = misses > 0 ? Value{false} : (unknown > 0 ? Value{} : Value{true});
        case QuantifierKind::kAny:
            return scratch = hits > 0 ? Value{true} : (unknown > 0 ? Value{} : Value{false});
        case QuantifierKind::kNone:
            return scratch = hits > 0 ? Value{false} : (unknown > 0 ? Value{} : Value{true});
        case QuantifierKind::kSingle:
            return scratch = hits > 1 ? Value{false} : (unknown > 0 ? Value{} : Value{hits == 1});
    }
    return scratch = Value{};
}

const Value& ReduceExpr::eval(Row row, ExecContext& context, Value& scratch) const {
    const Value holder = list_->get(row, context);
    const List* list = strict_list(holder);
    if (list == nullptr) {
        return scratch = Value{};
    }
    Value accumulator = initial_->get(row, context);
    Steps steps{context};
    for (const Value& v : *list) {
        steps.count();
        row[accumulator_] = std::move(accumulator);
        row[slot_] = v;
        accumulator = step_->get(row, context);
    }
    row[accumulator_] = Value{};
    row[slot_] = Value{};
    return scratch = std::move(accumulator);
}

Map properties_of(const Value& value, ExecContext& context) {
    Map out;
    const auto add_all = [&](const std::vector<engine::PropertyEntry>& properties) {
        out.reserve(properties.size());
        for (const engine::PropertyEntry& p : properties) {
            out.set(context.reader->tokens().name(p.key), p.value);
        }
    };
    switch (value.type()) {
        case ValueType::kNodeRef:
            if (const auto node = context.reader->node(value.as_node_ref())) {
                add_all(node->properties);
            } else if (context.reader->deleted_here(value.as_node_ref())) {
                throw_deleted("Node", value.as_node_ref().value);
            }
            break;
        case ValueType::kRelationshipRef:
            if (const auto rel = context.reader->relationship(value.as_relationship_ref())) {
                add_all(rel->properties);
            } else if (context.reader->deleted_here(value.as_relationship_ref())) {
                throw_deleted("Relationship", value.as_relationship_ref().value);
            }
            break;
        case ValueType::kMap:
            return value.as_map();
        case ValueType::kNode:
            return value.as_node().properties;
        case ValueType::kRelationship:
            return value.as_relationship().properties;
        default:
            throw QueryError{
                ErrorCode::kTypeError,
                fmt::format("Type mismatch: expected Map, Node or Relationship but was {}",
                            type_name(value)),
                "22G03>22N01"};
    }
    return out;
}

const Value& MapProjectionExpr::eval(Row row, ExecContext& context, Value& scratch) const {
    const Value base = base_->get(row, context);
    if (base.is_null()) {
        return scratch = Value{};
    }
    Map out;
    MemoryShare memory{context};
    const auto set = [&](std::string_view key, Value v) {
        memory.take(sizeof(Map::Entry) + v.heap_bytes());
        out.set(key, std::move(v));
    };
    for (const Item& item : items_) {
        switch (item.kind) {
            case MapProjection::Item::Kind::kAllProperties:
                for (const auto& [k, v] : properties_of(base, context)) {
                    set(k, v);
                }
                break;
            case MapProjection::Item::Kind::kProperty: {
                Value x;
                set(item.key, read_property(base, item.token, context, x));
                break;
            }
            case MapProjection::Item::Kind::kVariable:
            case MapProjection::Item::Kind::kLiteral:
                set(item.key, item.value->get(row, context));
                break;
        }
    }
    return scratch = bounded(Value{std::move(out)});
}

namespace {
/// The slots of a path may hold anything where their variables came in as of any type.
NodeId path_node(const Value& v) {
    if (!v.is(ValueType::kNodeRef)) {
        throw QueryError{ErrorCode::kTypeError,
                         fmt::format("Type mismatch: expected Node but was {}", type_name(v)),
                         "22G03>22N01"};
    }
    return v.as_node_ref();
}
RelId path_relationship(const Value& v) {
    if (!v.is(ValueType::kRelationshipRef)) {
        throw QueryError{
            ErrorCode::kTypeError,
            fmt::format("Type mismatch: expected Relationship but was {}", type_name(v)),
            "22G03>22N01"};
    }
    return v.as_relationship_ref();
}
}  // namespace

const Value& PathExpr::eval(Row row, ExecContext& context, Value& scratch) const {
    PathRef path;
    path.nodes.reserve(nodes_.size());
    path.relationships.reserve(relationships_.size());
    const Value& first = row[nodes_[0]];
    if (first.is_null()) {
        return scratch = Value{};
    }
    path.nodes.push_back(path_node(first));
    const auto other_end = [&](RelId id, NodeId from) {
        const auto rel = context.reader->relationship(id);
        if (rel == nullptr) {
            throw_deleted("Relationship", id.value);
        }
        return rel->start == from ? rel->end : rel->start;
    };
    for (std::size_t i = 0; i < relationships_.size(); ++i) {
        const Value& rel = row[relationships_[i]];
        if (rel.is_null()) {
            return scratch = Value{};
        }
        if (rel.is_list()) {
            for (const Value& r : rel.as_list()) {
                const RelId id = path_relationship(r);
                path.relationships.push_back(id);
                path.nodes.push_back(other_end(id, path.nodes.back()));
            }
            continue;
        }
        path.relationships.push_back(path_relationship(rel));
        const Value& to = row[nodes_[i + 1]];
        if (to.is_null()) {
            return scratch = Value{};
        }
        path.nodes.push_back(path_node(to));
    }
    return scratch = Value{std::move(path)};
}

const Value& NestedPlanExpr::eval(Row row, ExecContext& context, Value& scratch) const {
    if (context.nested.size() <= index_) {
        context.nested.resize(index_ + 1);
    }
    const Row outer = context.arguments[argument_];
    context.arguments[argument_] = row;
    ExecContext::Nested state = std::move(context.nested[index_]);
    if (state.root == nullptr) {
        state.root = make_operator(*plan_, context);
        state.batch = std::make_unique<Batch>(context.slots);
    } else {
        state.root->reset();
    }
    std::int64_t count = 0;
    List list;
    MemoryShare memory{context};
    Value first;
    Batch& batch = *state.batch;
    for (batch.begin_fill(); state.root->next(batch); batch.begin_fill()) {
        count += batch.rows;
        if (kind_ == Kind::kExists) {
            break;
        }
        if (kind_ == Kind::kCollect) {
            const Value* column = batch.column(result_);
            list.insert(list.end(), column, column + batch.rows);
            for (std::uint32_t i = 0; i < batch.rows; ++i) {
                memory.take(sizeof(Value) + column[i].heap_bytes());
            }
        } else if (kind_ == Kind::kFirst) {
            first = batch.column(result_)[0];
            break;
        }
    }
    if (context.nested.size() <= index_) {
        context.nested.resize(index_ + 1);
    }
    context.nested[index_] = std::move(state);
    context.arguments[argument_] = outer;
    switch (kind_) {
        case Kind::kExists:
            return scratch = Value{count > 0};
        case Kind::kCount:
            return scratch = Value{count};
        case Kind::kCollect:
            return scratch = bounded(Value{std::move(list)});
        case Kind::kFirst:
            return scratch = std::move(first);
    }
    return scratch = Value{};
}

}  // namespace nornic::cypher
