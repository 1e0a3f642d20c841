// Expand(All), Expand(Into), OptionalExpand and ProjectEndpoints: one relationship further.
#include "cypher/execution/expression_nodes.h"
#include "cypher/execution/operators/input.h"

#include <fmt/format.h>

namespace nornic::cypher {
namespace {

using engine::Adjacent;
using engine::Direction;

class ExpandOperator final : public RowMaker {
public:
    ExpandOperator(const ExpandPlan& plan, ExecContext& context)
        : RowMaker{plan, context}, plan_{plan} {}

private:
    bool begin(Row row) override {
        adjacent_.clear();
        at_ = 0;
        matched_ = false;
        const Value& from = row[plan_.from];
        if (!from.is(ValueType::kNodeRef) || !types_.resolve(plan_.types, context_)) {
            return plan_.optional;
        }
        NodeId a = from.as_node_ref();
        Direction direction = plan_.direction;
        if (plan_.into) {
            const Value& to = row[plan_.to];
            if (!to.is(ValueType::kNodeRef)) {
                return plan_.optional;
            }
            target_ = to.as_node_ref();
            // A node with many relationships is looked at from the other end.
            if (target_ != a &&
                context_.reader->degree(a, direction, types_.ids) >
                    context_.reader->degree(target_, opposite(direction), types_.ids)) {
                std::swap(a, target_);
                direction = opposite(direction);
            }
        }
        context_.reader->expand(a, direction, types_.ids, adjacent_);
        context_.db_hits += adjacent_.size() + 1;
        return plan_.optional || !adjacent_.empty();
    }
    bool produce(Batch& out) override {
        const Row row = input_.row();
        while (at_ < adjacent_.size()) {
            if (out.full()) {
                return true;
            }
            const Adjacent& e = adjacent_[at_++];
            if (plan_.into && e.other != target_) {
                continue;
            }
            if (plan_.type_filter && !matches_type(*plan_.type_filter, e.type, context_)) {
                continue;
            }
            if (!plan_.different_from.empty() &&
                !differs(e.relationship, plan_.different_from, row)) {
                continue;
            }
            input_.copy_to(out, out.rows);
            out.column(plan_.relationship)[out.rows] = Value{e.relationship};
            if (!plan_.into) {
                out.column(plan_.to)[out.rows] = Value{e.other};
            }
            if (plan_.predicate != nullptr &&
                !plan_.predicate->is_true(Row{&out, out.rows}, context_)) {
                continue;
            }
            matched_ = true;
            ++out.rows;
        }
        if (plan_.optional && !matched_) {
            if (out.full()) {
                return true;
            }
            input_.copy_to(out, out.rows);
            out.column(plan_.relationship)[out.rows] = Value{};
            if (!plan_.into) {
                out.column(plan_.to)[out.rows] = Value{};
            }
            ++out.rows;
            matched_ = true;
        }
        return false;
    }
    const ExpandPlan& plan_;
    TypeSetCache types_;
    std::vector<Adjacent> adjacent_;
    std::size_t at_ = 0;
    NodeId target_;
    bool matched_ = false;
};

class ProjectEndpointsOperator final : public RowMaker {
public:
    ProjectEndpointsOperator(const ProjectEndpointsPlan& plan, ExecContext& context)
        : RowMaker{plan, context}, plan_{plan} {}

private:
    bool begin(Row row) override {
        found_.clear();
        at_ = 0;
        if (!types_.resolve(plan_.types, context_)) {
            return false;
        }
        const Value& v = row[plan_.relationship];
        if (plan_.variable_length) {
            if (v.is_list()) {
                walk(row, v.as_list());
            }
        } else if (v.is(ValueType::kRelationshipRef)) {
            const auto rel = context_.reader->relationship(v.as_relationship_ref());
            if (rel == nullptr || !fits(*rel) ||
                !differs(v.as_relationship_ref(), plan_.different_from, row)) {
                return false;
            }
            if (plan_.direction != Direction::kIncoming) {
                add(row, rel->start, rel->end);
            }
            if (plan_.direction == Direction::kIncoming ||
                (plan_.direction == Direction::kBoth && rel->start != rel->end)) {
                add(row, rel->end, rel->start);
            }
        }
        return !found_.empty();
    }
    bool fits(const engine::RelData& rel) {
        if (!plan_.types.empty() && std::ranges::find(types_.ids, rel.type) == types_.ids.end()) {
            return false;
        }
        return !plan_.type_filter || matches_type(*plan_.type_filter, rel.type, context_);
    }
    /// The list must be a walk in the pattern's direction.
    void walk(Row row, const List& list) {
        if (list.size() < plan_.min || list.size() > plan_.max || list.empty()) {
            return;
        }
        std::vector<engine::RelPtr> rels;
        for (const Value& v : list) {
            if (!v.is(ValueType::kRelationshipRef)) {
                return;
            }
            auto rel = context_.reader->relationship(v.as_relationship_ref());
            if (rel == nullptr || !fits(*rel) ||
                !differs(v.as_relationship_ref(), plan_.different_from, row)) {
                return;
            }
            rels.push_back(std::move(rel));
        }
        const auto try_from = [&](NodeId first) {
            NodeId at = first;
            for (const auto& rel : rels) {
                if (plan_.direction != Direction::kIncoming && rel->start == at) {
                    at = rel->end;
                } else if (plan_.direction != Direction::kOutgoing && rel->end == at) {
                    at = rel->start;
                } else {
                    return;
                }
            }
            add(row, first, at);
        };
        if (plan_.direction != Direction::kIncoming) {
            try_from(rels.front()->start);
        }
        if (plan_.direction == Direction::kIncoming ||
            (plan_.direction == Direction::kBoth && rels.front()->start != rels.front()->end)) {
            try_from(rels.front()->end);
        }
    }
    void add(Row row, NodeId a, NodeId b) {
        const auto fits_slot = [&](Slot slot, bool bound, NodeId id) {
            return !bound || (row[slot].is(ValueType::kNodeRef) && row[slot].as_node_ref() == id);
        };
        if (fits_slot(plan_.start, plan_.start_bound, a) &&
            fits_slot(plan_.end, plan_.end_bound, b) && (plan_.start != plan_.end || a == b)) {
            found_.emplace_back(a, b);
        }
    }
    bool produce(Batch& out) override {
        while (at_ < found_.size() && !out.full()) {
            input_.copy_to(out, out.rows);
            out.column(plan_.start)[out.rows] = Value{found_[at_].first};
            out.column(plan_.end)[out.rows] = Value{found_[at_].second};
            ++at_;
            ++out.rows;
        }
        return at_ < found_.size();
    }
    const ProjectEndpointsPlan& plan_;
    TypeSetCache types_;
    std::vector<std::pair<NodeId, NodeId>> found_;
    std::size_t at_ = 0;
};

}  // namespace

OperatorPtr make_expand(const ExpandPlan& plan, ExecContext& context) {
    return std::make_unique<ExpandOperator>(plan, context);
}
OperatorPtr make_project_endpoints(const ProjectEndpointsPlan& plan, ExecContext& context) {
    return std::make_unique<ProjectEndpointsOperator>(plan, context);
}

}  // namespace nornic::cypher
