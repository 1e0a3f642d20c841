// Merge: look, and only if nothing is found take the locks that decide who may create, look again,
// and create. So a MERGE that finds what it wants costs one search and no lock.
#include "cypher/execution/operators/input.h"
#include "cypher/execution/operators/write_support.h"

#include <fmt/format.h>

namespace nornic::cypher {
namespace {

class MergeOperator final : public RowMaker {
public:
    MergeOperator(const MergePlan& plan, ExecContext& context)
        : RowMaker{plan, context},
          plan_{plan},
          search_{make_operator(*plan.children[1], context)},
          batch_{context.slots},
          found_{plan.introduced},
          memory_{context} {}

private:
    bool begin(Row row) override {
        found_.clear();
        memory_.release();
        at_ = 0;
        check_properties(row);
        search(row);
        if (found_.size() == 0) {
            lock(row);
            search(row);
        }
        return true;
    }
    bool produce(Batch& out) override {
        const Row row{&out, out.rows};
        if (found_.size() == 0) {
            input_.copy_to(out, out.rows);
            create_all(plan_.items, row, context_);
            for (const SetOperation& s : plan_.on_create) {
                apply_set(s, row, context_);
            }
            ++out.rows;
            return false;
        }
        while (at_ < found_.size() && !out.full()) {
            const Row to{&out, out.rows};
            input_.copy_to(out, out.rows);
            found_.load(at_++, out, out.rows);
            for (const SetOperation& s : plan_.on_match) {
                apply_set(s, to, context_);
            }
            ++out.rows;
        }
        return at_ < found_.size();
    }
    void search(Row row) {
        context_.arguments[plan_.argument] = row;
        if (used_) {
            search_->reset();
        }
        used_ = true;
        for (batch_.begin_fill(); search_->next(batch_); batch_.begin_fill()) {
            for (std::uint32_t i = 0; i < batch_.rows; ++i) {
                memory_.take(found_.add(Row{&batch_, i}));
            }
        }
        batch_.rows = 0;
    }
    void check_properties(Row row) {
        // `text` makes the pattern as the error shows it, out of the name of the property.
        const auto check = [&](const PropertySource& source,
                               std::string_view kind,
                               const auto& text) {
            for (const auto& [key, expr] : source.fixed) {
                Value scratch;
                if (expr->eval(row, context_, scratch).is_null()) {
                    const std::string& name = context_.names->keys[key];
                    throw QueryError{ErrorCode::kSemanticError,
                                     fmt::format("Cannot merge the following {} because of null "
                                                 "property value for '{}': {}",
                                                 kind,
                                                 name,
                                                 text(name)),
                                     "22N31"};
                }
            }
        };
        for (const CreateNodeItem& n : plan_.items.nodes) {
            check(n.properties, "node", [&](const std::string& key) {
                std::string labels;
                for (const TokenIndex label : n.labels) {
                    labels += ":" + context_.names->labels[label];
                }
                return fmt::format("({}{}{{{}: null}})", labels, labels.empty() ? "" : " ", key);
            });
        }
        for (const CreateRelItem& r : plan_.items.relationships) {
            check(r.properties, "relationship", [&](const std::string& key) {
                return fmt::format("({})-[:{} {{{}: null}}]->({})",
                                   r.start_name,
                                   context_.names->types[r.type],
                                   key,
                                   r.end_name);
            });
        }
    }
    void lock(Row row) {
        engine::Transaction& tx = context_.writer();
        std::vector<engine::PropertyEntry> properties;
        for (const CreateNodeItem& n : plan_.items.nodes) {
            if (n.labels.empty()) {
                continue;
            }
            collect_properties(n.properties, row, context_, properties);
            value_or_throw(tx.lock_for_merge(context_.label_or_create(n.labels[0]), properties));
        }
        // In the order of ids, so that two statements over the same pair do not wait for each
        // other.
        std::vector<NodeId> nodes;
        for (const Slot s : plan_.bound_nodes) {
            const Value& v = row[s];
            if (v.is(ValueType::kNodeRef)) {
                nodes.push_back(v.as_node_ref());
            }
        }
        std::ranges::sort(nodes);
        for (const NodeId n : nodes) {
            value_or_throw(tx.lock_node(n));
        }
    }
    static void value_or_throw(Result<> result) {
        if (!result) {
            throw QueryError{std::move(result).error()};
        }
    }

    const MergePlan& plan_;
    OperatorPtr search_;
    Batch batch_;
    RowStore found_;
    MemoryShare memory_;
    std::size_t at_ = 0;
    bool used_ = false;
};

}  // namespace

OperatorPtr make_merge(const MergePlan& plan, ExecContext& context) {
    return std::make_unique<MergeOperator>(plan, context);
}

}  // namespace nornic::cypher
