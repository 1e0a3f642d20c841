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

class ShortestPathOperator final : public RowMaker {
public:
    ShortestPathOperator(const ShortestPathPlan& plan, ExecContext& context)
        : RowMaker{plan, context}, plan_{plan}, memory_{context} {}

private:
    struct Parent {
        NodeId node;
        RelId relationship;
    };
    struct Seen {
        std::uint64_t distance = 0;
        std::vector<Parent> parents;
    };
    struct Level {
        std::vector<Adjacent> edges;
        std::size_t at = 0;
    };
    struct Side {
        std::unordered_map<NodeId, Seen> seen;
        std::vector<NodeId> frontier;
        std::uint64_t depth = 0;
        Direction direction = Direction::kOutgoing;
    };

    bool begin(Row row) override {
        paths_.clear();
        levels_.clear();
        memory_.release();
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
                    memory_.take(kSeenBytes);
                    at->second.distance = side.depth + 1;
                    next.push_back(e.other);
                    if (other.seen.contains(e.other)) {
                        met.push_back(e.other);
                    }
                }
                if (fresh || (plan_.all && at->second.distance == side.depth + 1)) {
                    memory_.take(kParentBytes);
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
                walk_back(left, m, heads);
                walk_back(right, m, tails);
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
                        keep(std::move(path), paths_);
                        if (!plan_.all) {
                            return;
                        }
                    }
                }
            }
            return;
        }
    }
    /// Adds to `out` the ways from `node` back to where the side began, along its parents. Without
    /// recursion: a shortest path may be a million steps long.
    void walk_back(const Side& side, NodeId node, std::vector<PathRef>& out) {
        struct Step {
            const Seen* seen;
            std::size_t next;
        };
        PathRef path{{node}, {}};
        std::vector<Step> steps{{&side.seen.at(node), 0}};
        while (!steps.empty()) {
            Step& top = steps.back();
            if (top.seen->parents.empty()) {
                keep(path, out);
            } else if (top.next < top.seen->parents.size()) {
                const Parent& p = top.seen->parents[top.next++];
                path.nodes.push_back(p.node);
                path.relationships.push_back(p.relationship);
                steps.push_back({&side.seen.at(p.node), 0});
                continue;
            }
            if (!plan_.all && !out.empty()) {
                return;
            }
            steps.pop_back();
            path.nodes.pop_back();
            if (!path.relationships.empty()) {
                path.relationships.pop_back();
            }
        }
    }
    void keep(PathRef path, std::vector<PathRef>& out) {
        memory_.take(sizeof(PathRef) +
                     (path.nodes.size() + path.relationships.size()) * sizeof(NodeId));
        context_.check_killed();
        out.push_back(std::move(path));
    }
    /// Trails of one length after the other, until one length has a path that is accepted.
    void exhaustive(Row row, NodeId a, NodeId b) {
        for (std::uint64_t length = std::max<std::uint64_t>(plan_.min, 1); length <= plan_.max;
             ++length) {
            const bool deeper = trails(row, a, b, length);
            if (!paths_.empty() || !deeper) {
                return;
            }
        }
    }
    /// Depth first to exactly `length`; whether any trail is that long.
    bool trails(Row row, NodeId a, NodeId b, std::uint64_t length) {
        PathRef path{{a}, {}};
        std::size_t depth = 0;
        bool deeper = false;
        const auto descend = [&](NodeId node) {
            if (levels_.size() == depth) {
                levels_.emplace_back();
            }
            Level& level = levels_[depth++];
            const std::size_t room = level.edges.capacity();
            level.edges.clear();
            level.at = 0;
            context_.check_killed();
            context_.reader->expand(node, plan_.direction, types_.ids, level.edges);
            context_.db_hits += level.edges.size() + 1;
            memory_.take((level.edges.capacity() - room) * sizeof(Adjacent));
        };
        const auto ascend = [&] {
            path.relationships.pop_back();
            path.nodes.pop_back();
        };
        descend(a);
        while (depth > 0) {
            Level& level = levels_[depth - 1];
            if (level.at == level.edges.size()) {
                if (--depth > 0) {
                    ascend();
                }
                continue;
            }
            const Adjacent e = level.edges[level.at++];
            if (std::ranges::find(path.relationships, e.relationship) != path.relationships.end() ||
                !passes(e, row)) {
                continue;
            }
            path.relationships.push_back(e.relationship);
            path.nodes.push_back(e.other);
            if (depth < length) {
                descend(e.other);
                continue;
            }
            deeper = true;
            if (e.other == b && accepted(row, path)) {
                keep(path, paths_);
                if (!plan_.all) {
                    return true;
                }
            }
            ascend();
        }
        return deeper;
    }
    bool produce(Batch& out) override {
        while (at_ < paths_.size() && has_room(out)) {
            input_.copy_to(out, out.rows);
            count_emitted(paths_[at_].nodes.size() * (2 * sizeof(NodeId) + sizeof(Value)));
            put(Row{&out, out.rows}, paths_[at_++]);
            ++out.rows;
        }
        return at_ < paths_.size();
    }

    static constexpr std::size_t kSeenBytes = 80;  // a node of the hash map, its bucket, its place
    static constexpr std::size_t kParentBytes = 32;  // the smallest allocation

    const ShortestPathPlan& plan_;
    MemoryShare memory_;
    TypeSetCache types_;
    std::vector<PathRef> paths_;
    std::size_t at_ = 0;
    std::vector<Adjacent> edges_;
    std::vector<Level> levels_;
    std::uint64_t expansions_ = 0;
};

}  // namespace

OperatorPtr make_shortest_path(const ShortestPathPlan& plan, ExecContext& context) {
    return std::make_unique<ShortestPathOperator>(plan, context);
}

}  // namespace nornic::cypher
