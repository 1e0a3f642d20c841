// Create, SET, REMOVE, DELETE.
#include "cypher/execution/expression_nodes.h"
#include "cypher/execution/operators/input.h"
#include "cypher/execution/operators/write_support.h"

#include <fmt/format.h>

namespace nornic::cypher {

void collect_properties(const PropertySource& source,
                        Row row,
                        ExecContext& context,
                        std::vector<engine::PropertyEntry>& out) {
    out.clear();
    for (const auto& [key, expr] : source.fixed) {
        Value v = expr->get(row, context);
        if (!v.is_null()) {
            out.push_back({context.key_or_create(key), std::move(v)});
        }
    }
    if (source.map != nullptr) {
        const Value map = source.map->get(row, context);
        if (map.is_null()) {
            return;
        }
        for (const auto& [name, v] : properties_of(map, context)) {
            if (!v.is_null()) {
                out.push_back({value_or_throw(context.writer().property_key_or_create(name)), v});
            }
        }
    }
    // A handful, mostly sorted already: insertion keeps equal keys in their order.
    for (std::size_t i = 1; i < out.size(); ++i) {
        for (std::size_t j = i; j > 0 && out[j].key < out[j - 1].key; --j) {
            std::swap(out[j], out[j - 1]);
        }
    }
    // {k: 1, k: 2}: the last one counts.
    for (std::size_t i = 0; i + 1 < out.size();) {
        if (out[i].key == out[i + 1].key) {
            out.erase(out.begin() + static_cast<std::ptrdiff_t>(i));
        } else {
            ++i;
        }
    }
}

void create_all(const CreateItems& items, Row row, ExecContext& context) {
    engine::Transaction& tx = context.writer();
    std::vector<engine::PropertyEntry> properties;
    std::vector<LabelId> labels;
    for (const auto& [is_node, i] : items.order) {
        if (is_node) {
            const CreateNodeItem& n = items.nodes[i];
            labels.clear();
            for (const TokenIndex t : n.labels) {
                labels.push_back(context.label_or_create(t));
            }
            std::ranges::sort(labels);
            labels.erase(std::unique(labels.begin(), labels.end()), labels.end());
            collect_properties(n.properties, row, context, properties);
            row[n.slot] = Value{value_or_throw(tx.create_node(labels, properties))};
            continue;
        }
        const CreateRelItem& r = items.relationships[i];
        const Value& start = row[r.start];
        const Value& end = row[r.end];
        if (!start.is(ValueType::kNodeRef) || !end.is(ValueType::kNodeRef)) {
            const bool first = !start.is(ValueType::kNodeRef);
            if (!(first ? start : end).is_null()) {
                throw QueryError{ErrorCode::kTypeError,
                                 fmt::format("Type mismatch: expected Node but was {}",
                                             type_name(first ? start : end))};
            }
            throw QueryError{
                ErrorCode::kExecutionFailed,
                fmt::format("Failed to create relationship `{}`, node `{}` is missing. If you "
                            "prefer to simply ignore rows where a relationship "
                            "node is missing, set 'dbms.cypher.lenient_create_relationship = true' "
                            "in neo4j.conf",
                            r.name,
                            first ? r.start_name : r.end_name)};
        }
        collect_properties(r.properties, row, context, properties);
        row[r.slot] = Value{value_or_throw(tx.create_relationship(
            start.as_node_ref(), context.type_or_create(r.type), end.as_node_ref(), properties))};
    }
    for (const CreatePath& p : items.paths) {
        PathRef path;
        for (const Slot s : p.nodes) {
            path.nodes.push_back(row[s].as_node_ref());
        }
        for (const Slot s : p.relationships) {
            path.relationships.push_back(row[s].as_relationship_ref());
        }
        row[p.slot] = Value{std::move(path)};
    }
}

namespace {

void set_one(engine::Transaction& tx, const Value& target, PropertyKeyId key, Value value) {
    if (target.is(ValueType::kNodeRef)) {
        value_or_throw(tx.set_property(target.as_node_ref(), key, std::move(value)));
    } else {
        value_or_throw(tx.set_property(target.as_relationship_ref(), key, std::move(value)));
    }
}

bool is_entity(const Value& v) {
    return v.is(ValueType::kNodeRef) || v.is(ValueType::kRelationshipRef);
}

/// False for null, which SET and REMOVE pass over.
bool check_entity(const Value& v) {
    if (v.is_null()) {
        return false;
    }
    if (!is_entity(v)) {
        throw QueryError{
            ErrorCode::kTypeError,
            fmt::format("Type mismatch: expected Node or Relationship but was {}", type_name(v)),
            "22G03>22N01"};
    }
    return true;
}

std::vector<engine::PropertyEntry> current_properties(const Value& v, ExecContext& context) {
    if (v.is(ValueType::kNodeRef)) {
        const auto node = context.reader->node(v.as_node_ref());
        return node == nullptr ? std::vector<engine::PropertyEntry>{} : node->properties;
    }
    const auto rel = context.reader->relationship(v.as_relationship_ref());
    return rel == nullptr ? std::vector<engine::PropertyEntry>{} : rel->properties;
}

}  // namespace

void apply_set(const SetOperation& item, Row row, ExecContext& context) {
    engine::Transaction& tx = context.writer();
    const Value target = item.target->get(row, context);
    if (!check_entity(target)) {
        return;
    }
    switch (item.kind) {
        case SetOperation::Kind::kProperty: {
            Value v = item.value->get(row, context);
            if (v.is_null()) {
                if (const auto key = context.key(item.key)) {
                    set_one(tx, target, *key, Value{});
                }
                return;
            }
            set_one(tx, target, context.key_or_create(item.key), std::move(v));
            return;
        }
        case SetOperation::Kind::kDynamicProperty: {
            const Value name = item.dynamic_key->get(row, context);
            if (!name.is_string()) {
                throw QueryError{
                    ErrorCode::kTypeError,
                    fmt::format("Type mismatch: expected String but was {}", type_name(name))};
            }
            set_one(tx,
                    target,
                    value_or_throw(tx.property_key_or_create(name.as_string())),
                    item.value->get(row, context));
            return;
        }
        case SetOperation::Kind::kReplace:
        case SetOperation::Kind::kMerge: {
            const Value value = item.value->get(row, context);
            if (value.is_null()) {
                if (item.kind == SetOperation::Kind::kReplace) {
                    for (const engine::PropertyEntry& p : current_properties(target, context)) {
                        set_one(tx, target, p.key, Value{});
                    }
                }
                return;
            }
            const Map map = properties_of(value, context);
            if (item.kind == SetOperation::Kind::kReplace) {
                for (const engine::PropertyEntry& p : current_properties(target, context)) {
                    const Value* fresh = map.find(context.reader->tokens().name(p.key));
                    if (fresh == nullptr || fresh->is_null()) {
                        set_one(tx, target, p.key, Value{});
                    }
                }
            }
            for (const auto& [name, v] : map) {
                if (v.is_null()) {
                    if (item.kind == SetOperation::Kind::kMerge) {
                        if (const auto key = context.reader->tokens().property_key(name)) {
                            set_one(tx, target, *key, Value{});
                        }
                    }
                    continue;
                }
                set_one(tx, target, value_or_throw(tx.property_key_or_create(name)), v);
            }
            return;
        }
        case SetOperation::Kind::kLabels:
            if (!target.is(ValueType::kNodeRef)) {
                throw QueryError{ErrorCode::kTypeError,
                                 "Type mismatch: expected Node but was Relationship",
                                 "22G03>22N01"};
            }
            for (const TokenIndex t : item.labels) {
                value_or_throw(tx.add_label(target.as_node_ref(), context.label_or_create(t)));
            }
            return;
    }
}

namespace {

void apply_remove(const SetOperation& item, Row row, ExecContext& context) {
    engine::Transaction& tx = context.writer();
    const Value target = item.target->get(row, context);
    if (!check_entity(target)) {
        return;
    }
    switch (item.kind) {
        case SetOperation::Kind::kProperty:
            if (const auto key = context.key(item.key)) {
                set_one(tx, target, *key, Value{});
            }
            return;
        case SetOperation::Kind::kDynamicProperty: {
            const Value name = item.dynamic_key->get(row, context);
            if (name.is_string()) {
                if (const auto key = context.reader->tokens().property_key(name.as_string())) {
                    set_one(tx, target, *key, Value{});
                }
            }
            return;
        }
        default:
            if (!target.is(ValueType::kNodeRef)) {
                throw QueryError{ErrorCode::kTypeError,
                                 "Type mismatch: expected Node but was Relationship",
                                 "22G03>22N01"};
            }
            for (const TokenIndex t : item.labels) {
                if (const auto label = context.label(t)) {
                    value_or_throw(tx.remove_label(target.as_node_ref(), *label));
                }
            }
    }
}

void delete_value(const Value& v, bool detach, ExecContext& context) {
    engine::Transaction& tx = context.writer();
    const auto delete_node = [&](NodeId id) {
        if (detach) {
            std::vector<engine::Adjacent> adjacent;
            tx.expand(id, engine::Direction::kBoth, {}, adjacent);
            for (const engine::Adjacent& e : adjacent) {
                value_or_throw(tx.delete_relationship(e.relationship));
            }
        }
        value_or_throw(tx.delete_node(id));
    };
    switch (v.type()) {
        case ValueType::kNull:
            return;
        case ValueType::kNodeRef:
            delete_node(v.as_node_ref());
            return;
        case ValueType::kRelationshipRef:
            value_or_throw(tx.delete_relationship(v.as_relationship_ref()));
            return;
        case ValueType::kPathRef:
            for (const RelId r : v.as_path_ref().relationships) {
                value_or_throw(tx.delete_relationship(r));
            }
            for (const NodeId n : v.as_path_ref().nodes) {
                delete_node(n);
            }
            return;
        case ValueType::kList:
            for (const Value& e : v.as_list()) {
                delete_value(e, detach, context);
            }
            return;
        default:
            throw QueryError{
                ErrorCode::kTypeError,
                fmt::format("Expected a Node, Relationship or Path, but got a {}", type_name(v)),
                "22G03>22N01"};
    }
}

/// One pass over the rows of each batch.
template <class Fn>
class EachRowOperator final : public Operator {
public:
    EachRowOperator(const PlanNode& plan, ExecContext& context, Fn fn)
        : context_{context}, child_{make_operator(*plan.child(), context)}, fn_{std::move(fn)} {}
    bool next(Batch& out) override {
        context_.check_killed();
        if (!child_->next(out)) {
            return false;
        }
        for (std::uint32_t i = 0; i < out.rows; ++i) {
            fn_(Row{&out, i}, context_);
        }
        return true;
    }
    void reset() override { child_->reset(); }

private:
    ExecContext& context_;
    OperatorPtr child_;
    Fn fn_;
};

template <class Fn>
OperatorPtr each_row(const PlanNode& plan, ExecContext& context, Fn fn) {
    return std::make_unique<EachRowOperator<Fn>>(plan, context, std::move(fn));
}

}  // namespace

OperatorPtr make_write(const PlanNode& plan, ExecContext& context) {
    switch (plan.op) {
        case Op::kCreate: {
            const auto* p = static_cast<const CreatePlan*>(&plan);
            return each_row(
                plan, context, [p](Row row, ExecContext& c) { create_all(p->items, row, c); });
        }
        case Op::kSet: {
            const auto* p = static_cast<const SetPlan*>(&plan);
            return each_row(plan, context, [p](Row row, ExecContext& c) {
                for (const SetOperation& item : p->items) {
                    apply_set(item, row, c);
                }
            });
        }
        case Op::kRemove: {
            const auto* p = static_cast<const RemovePlan*>(&plan);
            return each_row(plan, context, [p](Row row, ExecContext& c) {
                for (const SetOperation& item : p->items) {
                    apply_remove(item, row, c);
                }
            });
        }
        default: {
            const auto* p = static_cast<const DeletePlan*>(&plan);
            return each_row(plan, context, [p](Row row, ExecContext& c) {
                for (const CompiledPtr& target : p->targets) {
                    delete_value(target->get(row, c), p->detach, c);
                }
            });
        }
    }
}

}  // namespace nornic::cypher
