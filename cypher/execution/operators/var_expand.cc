// VarLengthExpand: all trails (no relationship twice) of a length, depth first; or, where only the
// distinct end nodes matter, a breadth-first search that visits each node once (pruning).
#include "cypher/execution/expression_nodes.h"
#include "cypher/execution/operators/input.h"

#include <algorithm>
#include <unordered_set>

namespace nornic::cypher {
namespace {

using engine::Adjacent;

class VarExpandOperator final : public RowMaker {
public:
    VarExpandOperator(const VarExpandPlan& plan, ExecContext& context)
        : RowMaker{plan, context}, plan_{plan}, memory_{context} {}

private:
    struct Level {
        std::vector<Adjacent> edges;
        std::size_t at = 0;
    };

    bool begin(Row row) override {
        const Value& from = row[plan_.from];
        depth_ = 0;
        trail_.clear();
        emit_start_ = false;
        if (!from.is(ValueType::kNodeRef)) {
            return false;
        }
        start_ = from.as_node_ref();
        if (plan_.into) {
            const Value& to = row[plan_.to];
            if (!to.is(ValueType::kNodeRef)) {
                return false;
            }
            target_ = to.as_node_ref();
        }
        emit_start_ = plan_.min == 0;
        if (plan_.max > 0 && types_.resolve(plan_.types, context_)) {
            if (plan_.pruning) {
                search(row);
            } else {
                push(start_);
            }
        } else {
            found_.clear();
            found_at_ = 0;
        }
        return true;
    }
    void push(NodeId node) {
        if (levels_.size() <= depth_) {
            levels_.emplace_back();
        }
        Level& level = levels_[depth_++];
        level.edges.clear();
        level.at = 0;
        const std::size_t room = level.edges.capacity();
        context_.reader->expand(node, plan_.direction, types_.ids, level.edges);
        context_.db_hits += level.edges.size() + 1;
        // Levels keep their room for the next descent.
        memory_.take((level.edges.capacity() - room) * sizeof(Adjacent));
        if ((++expansions_ & 255U) == 0) {
            context_.check_killed();
        }
    }
    bool passes(const Adjacent& e, Row row) {
        if (plan_.type_filter && !matches_type(*plan_.type_filter, e.type, context_)) {
            return false;
        }
        if (!plan_.different_from.empty() && !differs(e.relationship, plan_.different_from, row)) {
            return false;
        }
        if (plan_.step_predicate != nullptr) {
            row[plan_.step] = Value{e.relationship};
            return plan_.step_predicate->is_true(row, context_);
        }
        return true;
    }
    void emit(Batch& out, NodeId end) {
        if (plan_.into && end != target_) {
            return;
        }
        input_.copy_to(out, out.rows);
        if (plan_.need_list) {
            List list;
            list.reserve(trail_.size());
            for (const RelId r : trail_) {
                list.emplace_back(r);
            }
            if (plan_.reversed) {
                std::ranges::reverse(list);
            }
            count_emitted(list.size() * sizeof(Value));
            out.column(plan_.relationships)[out.rows] = Value{std::move(list)};
        }
        out.column(plan_.to)[out.rows] = Value{end};
        ++out.rows;
    }
    bool produce(Batch& out) override {
        if (emit_start_) {
            emit_start_ = false;
            emit(out, start_);
            if (out.full()) {
                return true;
            }
        }
        return plan_.pruning ? produce_found(out) : produce_trails(out);
    }
    bool produce_trails(Batch& out) {
        const Row row = input_.row();
        while (depth_ > 0) {
            if (!has_room(out)) {
                return true;
            }
            Level& level = levels_[depth_ - 1];
            if (level.at == level.edges.size()) {
                --depth_;
                if (!trail_.empty()) {
                    trail_.pop_back();
                }
                continue;
            }
            const Adjacent e = level.edges[level.at++];
            if (std::ranges::find(trail_, e.relationship) != trail_.end() || !passes(e, row)) {
                continue;
            }
            trail_.push_back(e.relationship);
            const std::size_t length = trail_.size();
            if (length >= plan_.min) {
                emit(out, e.other);
            }
            if (length < plan_.max) {
                push(e.other);
            } else {
                trail_.pop_back();
            }
        }
        return false;
    }
    /// Every node within max steps, the start only where a cycle leads back to it.
    void search(Row row) {
        found_.clear();
        found_at_ = 0;
        seen_.clear();
        frontier_.assign(1, start_);
        std::vector<NodeId> next;
        for (std::uint64_t d = 0; d < plan_.max && !frontier_.empty(); ++d) {
            next.clear();
            for (const NodeId node : frontier_) {
                edges_.clear();
                context_.reader->expand(node, plan_.direction, types_.ids, edges_);
                context_.db_hits += edges_.size() + 1;
                if ((++expansions_ & 255U) == 0) {
                    context_.check_killed();
                }
                memory_.hold(seen_.size() * kSeenBytes + edges_.capacity() * sizeof(Adjacent) +
                             (frontier_.capacity() + next.capacity() + found_.capacity()) *
                                 sizeof(NodeId));
                for (const Adjacent& e : edges_) {
                    if (seen_.contains(e.other) || !passes(e, row)) {
                        continue;
                    }
                    seen_.insert(e.other);
                    // The start was expanded already, and was given out where min is 0.
                    if (e.other != start_) {
                        next.push_back(e.other);
                        found_.push_back(e.other);
                    } else if (plan_.min > 0) {
                        found_.push_back(e.other);
                    }
                }
            }
            frontier_.swap(next);
        }
    }
    bool produce_found(Batch& out) {
        while (found_at_ < found_.size() && !out.full()) {
            emit(out, found_[found_at_++]);
        }
        return found_at_ < found_.size();
    }

    static constexpr std::size_t kSeenBytes = 48;  // a node of the hash set and its bucket

    const VarExpandPlan& plan_;
    MemoryShare memory_;
    TypeSetCache types_;
    NodeId start_;
    NodeId target_;
    bool emit_start_ = false;
    std::vector<Level> levels_;
    std::size_t depth_ = 0;
    std::vector<RelId> trail_;
    std::uint64_t expansions_ = 0;
    // Pruning.
    std::unordered_set<NodeId> seen_;
    std::vector<NodeId> frontier_;
    std::vector<NodeId> found_;
    std::vector<Adjacent> edges_;
    std::size_t found_at_ = 0;
};

}  // namespace

OperatorPtr make_var_expand(const VarExpandPlan& plan, ExecContext& context) {
    return std::make_unique<VarExpandOperator>(plan, context);
}

}  // namespace nornic::cypher
