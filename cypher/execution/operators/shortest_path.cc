// shortestPath and allShortestPaths between two known nodes: a breadth-first search from both ends
// that always widens the smaller side. Where a predicate looks at the whole path, trails are tried
// in order of length instead.
#include "cypher/execution/expression_nodes.h"
#include "cypher/execution/operators/input.h"

#include <algorithm>
#include <unordered_map>

namespace nornic::cypher {
namespace {

using engine::Adjacent;
using engine::Direction;

Direction opposite(Direction d) {
    return d == Direction::kOutgoing ? Direction::kIncoming
                                     : (d == Direction::kIncoming ? Direction::kOutgoing : d);
}

class ShortestPathOperator final : public RowMaker {
public:
    ShortestPathOperator(const ShortestPathPlan& plan, ExecContext& context)
        : RowMaker{plan, context}, plan_{plan} {}

private:
    struct Parent {
        NodeId node;
        RelId relationship;
    };
    struct Seen {
        std::uint64_t distance = 0;
        std::vector<Parent> parents;
    };
    struct Side {
        std::unordered_map<NodeId, Seen> seen;
        std::vector<NodeId> frontier;
        std::uint64_t depth = 0;
        Direction direction = Direction::kOutgoing;
    };

    bool begin(Row row) override {
        paths_.clear();
        at_ = 0;
        const Value& from = row[plan_.from];
        const Value& to = row[plan_.to];
        if (!from.is(ValueType::kNodeRef) || !to.is(ValueType::kNodeRef) ||
            !types_.resolve(plan_.types, context_)) {
            return false;
        }
        const NodeId a = from.as_node_ref();
        const NodeId b = to.as_node_ref();
        if (a == b && plan_.min == 0) {
            paths_.push_back(PathRef{{a}, {}});
            if (!accepted(row, paths_.back())) {
                paths_.clear();
            }
            return !paths_.empty();
        }
        if (a == b) {
            throw QueryError{
                ErrorCode::kExecutionFailed,
                "The shortest path algorithm does not work when the start and end nodes are the "
                "same. Use a "
                "variable-length pattern, ordered by its length, or exclude such rows first."};
        }
        if (plan_.path_predicate != nullptr || plan_.min > 1) {
            exhaustive(row, a, b);
        } else {
            bidirectional(row, a, b);
        }
        return !paths_.empty();
    }
    bool accepted(Row row, const PathRef& path) {
        if (plan_.path_predicate == nullptr) {
            return true;
        }
        put(row, path);
        return plan_.path_predicate->is_true(row, context_);
    }
    void put(Row row, const PathRef& path) {
        if (plan_.path != kNoSlot) {
            row[plan_.path] = Value{path};
        }
        if (plan_.relationships != kNoSlot) {
            List list;
            for (const RelId r : path.relationships) {
                list.emplace_back(r);
            }
            row[plan_.relationships] = Value{std::move(list)};
        }
    }
    bool passes(const Adjacent& e, Row row) {
        if (plan_.type_filter && !matches_type(*plan_.type_filter, e.type, context_)) {
            return false;
        }
        if (plan_.step_predicate != nullptr) {
            row[plan_.step] = Value{e.relationship};
            return plan_.step_predicate->is_true(row, context_);
        }
        return true;
    }
    /// One level further; the nodes that the other side knows.
    std::vector<NodeId> widen(Side& side, const Side& other, Row row) {
        std::vector<NodeId> next;
        std::vector<NodeId> met;
        for (const NodeId node : side.frontier) {
            edges_.clear();
            context_.reader->expand(node, side.direction, types_.ids, edges_);
            context_.db_hits += edges_.size() + 1;
            if ((++expansions_ & 255U) == 0) {
                context_.check_killed();
            }
            for (const Adjacent& e : edges_) {
                if (!passes(e, row)) {
                    continue;
                }
                const auto [at, fresh] = side.seen.try_emplace(e.other);
                if (fresh) {
                    at->second.distance = side.depth + 1;
                    next.push_back(e.other);
                    if (other.seen.contains(e.other)) {
                        met.push_back(e.other);
                    }
                }
                if (fresh || (plan_.all && at->second.distance == side.depth + 1)) {
                    at->second.parents.push_back({node, e.relationship});
                }
            }
        }
        side.frontier = std::move(next);
        ++side.depth;
        return met;
    }
    void bidirectional(Row row, NodeId a, NodeId b) {
        Side left;
        Side right;
        left.seen.try_emplace(a);
        right.seen.try_emplace(b);
        left.frontier = {a};
        right.frontier = {b};
        left.direction = plan_.direction;
        right.direction = opposite(plan_.direction);
        while (!left.frontier.empty() && !right.frontier.empty() &&
               left.depth + right.depth < plan_.max) {
            const bool go_left = left.frontier.size() <= right.frontier.size();
            const std::vector<NodeId> met =
                go_left ? widen(left, right, row) : widen(right, left, row);
            if (met.empty()) {
                continue;
            }
            for (const NodeId m : met) {
                std::vector<PathRef> heads;
                std::vector<PathRef> tails;
                PathRef seed{{m}, {}};
                walk_back(left, m, seed, heads);
                walk_back(right, m, seed, tails);
                for (const PathRef& head : heads) {
                    for (const PathRef& tail : tails) {
                        PathRef path;
                        path.nodes.assign(head.nodes.rbegin(), head.nodes.rend());
                        path.relationships.assign(head.relationships.rbegin(),
                                                  head.relationships.rend());
                        path.nodes.insert(
                            path.nodes.end(), tail.nodes.begin() + 1, tail.nodes.end());
                        path.relationships.insert(path.relationships.end(),
                                                  tail.relationships.begin(),
                                                  tail.relationships.end());
                        paths_.push_back(std::move(path));
                        if (!plan_.all) {
                            return;
                        }
                    }
                }
            }
            return;
        }
    }
    void walk_back(const Side& side, NodeId node, PathRef& path, std::vector<PathRef>& out) {
        const Seen& seen = side.seen.at(node);
        if (seen.parents.empty()) {
            out.push_back(path);
            return;
        }
        for (const Parent& p : seen.parents) {
            path.nodes.push_back(p.node);
            path.relationships.push_back(p.relationship);
            walk_back(side, p.node, path, out);
            path.nodes.pop_back();
            path.relationships.pop_back();
            if (!plan_.all) {
                return;
            }
        }
    }
    void exhaustive(Row row, NodeId a, NodeId b) {
        for (std::uint64_t limit = std::max<std::uint64_t>(plan_.min, 1); limit <= plan_.max;
             ++limit) {
            PathRef path{{a}, {}};
            deeper_ = false;
            trails(row, a, b, limit, path);
            if (!paths_.empty() || !deeper_) {
                return;
            }
        }
    }
    void trails(Row row, NodeId at, NodeId b, std::uint64_t left, PathRef& path) {
        std::vector<Adjacent> edges;
        context_.reader->expand(at, plan_.direction, types_.ids, edges);
        context_.check_killed();
        for (const Adjacent& e : edges) {
            if (std::ranges::find(path.relationships, e.relationship) != path.relationships.end() ||
                !passes(e, row)) {
                continue;
            }
            path.relationships.push_back(e.relationship);
            path.nodes.push_back(e.other);
            if (left == 1) {
                deeper_ = true;
                if (e.other == b && accepted(row, path)) {
                    paths_.push_back(path);
                }
            } else {
                trails(row, e.other, b, left - 1, path);
            }
            path.relationships.pop_back();
            path.nodes.pop_back();
            if (!plan_.all && !paths_.empty()) {
                return;
            }
        }
    }
    bool produce(Batch& out) override {
        while (at_ < paths_.size() && !out.full()) {
            input_.copy_to(out, out.rows);
            put(Row{&out, out.rows}, paths_[at_++]);
            ++out.rows;
        }
        return at_ < paths_.size();
    }

    const ShortestPathPlan& plan_;
    TypeSetCache types_;
    std::vector<PathRef> paths_;
    std::size_t at_ = 0;
    std::vector<Adjacent> edges_;
    std::uint64_t expansions_ = 0;
    bool deeper_ = false;
};

}  // namespace

OperatorPtr make_shortest_path(const ShortestPathPlan& plan, ExecContext& context) {
    return std::make_unique<ShortestPathOperator>(plan, context);
}

}  // namespace nornic::cypher
