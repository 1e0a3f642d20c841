// Where rows come from: Argument, scans, seeks by id, counts.
#include "cypher/execution/operators/input.h"

#include <fmt/format.h>

#include <charconv>
#include <unordered_set>

namespace nornic::cypher {
namespace {

using engine::RelPtr;

class ArgumentOperator final : public Operator {
public:
    ArgumentOperator(const ArgumentPlan& plan, ExecContext& context)
        : plan_{plan}, context_{context} {}
    bool next(Batch& out) override {
        if (done_) {
            return false;
        }
        done_ = true;
        out.rows = 1;
        if (plan_.argument != kNoSlot) {
            copy_row(context_.arguments[plan_.argument], out, 0, plan_.live);
        }
        return true;
    }
    void reset() override { done_ = false; }

private:
    const ArgumentPlan& plan_;
    ExecContext& context_;
    bool done_ = false;
};

/// All nodes, or those with one label.
class NodeScanOperator final : public RowMaker {
public:
    NodeScanOperator(const PlanNode& plan,
                     Slot node,
                     std::optional<TokenIndex> label,
                     ExecContext& context)
        : RowMaker{plan, context}, node_{node}, label_{label} {}

private:
    bool begin(Row) override {
        cursor_.reset();
        if (label_) {
            const auto id = context_.label(*label_);
            if (!id) {
                return false;
            }
            cursor_ = context_.reader->scan_label(*id);
        } else {
            cursor_ = context_.reader->scan_nodes();
        }
        return true;
    }
    bool produce(Batch& out) override {
        const std::uint32_t room = out.capacity() - out.rows;
        ids_.resize(room);
        const std::size_t n = cursor_->next(ids_);
        context_.db_hits += n;
        Value* column = out.column(node_);
        for (std::size_t i = 0; i < n; ++i) {
            column[out.rows] = Value{ids_[i]};
            input_.copy_to(out, out.rows);
            ++out.rows;
        }
        return n == room;
    }
    Slot node_;
    std::optional<TokenIndex> label_;
    std::unique_ptr<engine::NodeCursor> cursor_;
    std::vector<NodeId> ids_;
};

/// Puts a relationship and its ends into a row, once or once in each direction.
class RelEmitter {
public:
    RelEmitter(Slot rel, Slot start, Slot end, bool both)
        : rel_{rel}, start_{start}, end_{end}, both_{both} {}
    /// False: no room for a second row yet.
    bool emit(RelId id, const RelPtr& data, Batch& out, Input& input) {
        if (!second_) {
            put(id, data->start, data->end, out, input);
            if (!both_ || data->start == data->end) {
                return true;
            }
            second_ = true;
            if (out.full()) {
                return false;
            }
        }
        second_ = false;
        put(id, data->end, data->start, out, input);
        return true;
    }
    void reset() { second_ = false; }

private:
    void put(RelId id, NodeId a, NodeId b, Batch& out, Input& input) {
        input.copy_to(out, out.rows);
        out.column(rel_)[out.rows] = Value{id};
        out.column(start_)[out.rows] = Value{a};
        out.column(end_)[out.rows] = Value{b};
        ++out.rows;
    }
    Slot rel_;
    Slot start_;
    Slot end_;
    bool both_;
    bool second_ = false;
};

class RelationshipScanOperator final : public RowMaker {
public:
    RelationshipScanOperator(const RelationshipScanPlan& plan, ExecContext& context)
        : RowMaker{plan, context},
          plan_{plan},
          emitter_{plan.relationship, plan.start, plan.end, plan.both_directions} {}

private:
    bool begin(Row) override {
        cursor_.reset();
        count_ = 0;
        at_ = 0;
        emitter_.reset();
        if (!types_.resolve(plan_.types, context_)) {
            return false;
        }
        cursor_ = context_.reader->scan_relationships(types_.ids);
        return true;
    }
    bool produce(Batch& out) override {
        while (!out.full()) {
            if (at_ == count_) {
                ids_.resize(kBatchRows);
                count_ = cursor_->next(ids_);
                at_ = 0;
                if (count_ == 0) {
                    return false;
                }
            }
            const RelPtr data = context_.reader->relationship(ids_[at_]);
            ++context_.db_hits;
            if (data == nullptr || emitter_.emit(ids_[at_], data, out, input_)) {
                ++at_;
            }
        }
        return true;
    }
    const RelationshipScanPlan& plan_;
    RelEmitter emitter_;
    TypeSetCache types_;
    std::unique_ptr<engine::RelCursor> cursor_;
    std::vector<RelId> ids_;
    std::size_t count_ = 0;
    std::size_t at_ = 0;
};

std::optional<std::uint64_t> id_of(const Value& v, bool element, bool node, std::string_view uuid) {
    if (!element) {
        if (v.is(ValueType::kInteger) && v.as_integer() >= 0) {
            return static_cast<std::uint64_t>(v.as_integer());
        }
        if (v.is(ValueType::kFloat) && v.as_float() >= 0 && v.as_float() < 9e15 &&
            v.as_float() == static_cast<double>(static_cast<std::int64_t>(v.as_float()))) {
            return static_cast<std::uint64_t>(v.as_float());
        }
        return std::nullopt;
    }
    if (!v.is_string()) {
        return std::nullopt;
    }
    const std::string_view s = v.as_string();
    if (s.size() < uuid.size() + 4 || s[0] != (node ? '4' : '5') || s[1] != ':' ||
        s.substr(2, uuid.size()) != uuid || s[uuid.size() + 2] != ':') {
        return std::nullopt;
    }
    std::uint64_t id = 0;
    const auto [end, error] = std::from_chars(s.data() + uuid.size() + 3, s.data() + s.size(), id);
    if (error != std::errc{} || end != s.data() + s.size()) {
        return std::nullopt;
    }
    return id;
}

class IdSeekOperator final : public RowMaker {
public:
    IdSeekOperator(const IdSeekPlan& plan, bool node, ExecContext& context)
        : RowMaker{plan, context},
          plan_{plan},
          node_{node},
          emitter_{plan.slot, plan.start, plan.end, plan.both_directions} {}

private:
    bool begin(Row row) override {
        ids_.clear();
        at_ = 0;
        emitter_.reset();
        const Value v = plan_.id->get(row, context_);
        const auto add = [&](const Value& one) {
            if (const auto id = id_of(one, plan_.element, node_, context_.reader->element_uuid())) {
                ids_.push_back(*id);
            }
        };
        if (plan_.many) {
            if (!v.is_list()) {
                return false;
            }
            for (const Value& one : v.as_list()) {
                add(one);
            }
            std::ranges::sort(ids_);
            ids_.erase(std::unique(ids_.begin(), ids_.end()), ids_.end());
        } else {
            add(v);
        }
        return !ids_.empty();
    }
    bool produce(Batch& out) override {
        while (!out.full() && at_ < ids_.size()) {
            ++context_.db_hits;
            if (node_) {
                const NodeId id{ids_[at_++]};
                if (context_.reader->node(id) != nullptr) {
                    input_.copy_to(out, out.rows);
                    out.column(plan_.slot)[out.rows++] = Value{id};
                }
                continue;
            }
            const RelId id{ids_[at_]};
            const RelPtr data = context_.reader->relationship(id);
            if (data == nullptr || emitter_.emit(id, data, out, input_)) {
                ++at_;
            }
        }
        return at_ < ids_.size();
    }
    const IdSeekPlan& plan_;
    bool node_;
    RelEmitter emitter_;
    std::vector<std::uint64_t> ids_;
    std::size_t at_ = 0;
};

/// Whether a property can hold it, so that an index may be asked for it.
bool storable(const Value& v) {
    switch (v.type()) {
        case ValueType::kNull:
        case ValueType::kMap:
        case ValueType::kNodeRef:
        case ValueType::kRelationshipRef:
        case ValueType::kPathRef:
        case ValueType::kNode:
        case ValueType::kRelationship:
        case ValueType::kPath:
            return false;
        case ValueType::kFloat:
            return v.as_float() == v.as_float();
        case ValueType::kList:
            return std::ranges::all_of(v.as_list(),
                                       [](const Value& e) { return !e.is_list() && storable(e); });
        default:
            return true;
    }
}

/// Nodes or relationships from an index; an IN list asks it once a value.
class IndexSeekOperator final : public RowMaker {
public:
    IndexSeekOperator(const IndexSeekPlan& plan, bool node, ExecContext& context)
        : RowMaker{plan, context},
          plan_{plan},
          node_{node},
          emitter_{plan.slot, plan.start, plan.end, plan.both_directions},
          memory_{context} {
        query_.columns.resize(plan.columns.size());
        query_.descending = plan.descending;
    }

private:
    bool begin(Row row) override {
        list_.clear();
        memory_.release();
        list_at_ = 0;
        list_column_ = plan_.columns.size();
        for (std::size_t i = 0; i < plan_.columns.size(); ++i) {
            const IndexColumn& c = plan_.columns[i];
            engine::IndexQuery::Column& q = query_.columns[i];
            q.kind = c.kind;
            if (c.in_list) {
                const Value v = c.value->get(row, context_);
                if (!v.is_list()) {
                    return false;
                }
                take_list(v.as_list());
                list_column_ = i;
                if (list_.empty()) {
                    return false;
                }
                continue;
            }
            switch (c.kind) {
                case engine::IndexQuery::Kind::kExists:
                    break;
                case engine::IndexQuery::Kind::kEquals:
                    q.value = c.value->get(row, context_);
                    if (!storable(q.value)) {
                        return false;
                    }
                    break;
                case engine::IndexQuery::Kind::kPrefix:
                    q.value = c.value->get(row, context_);
                    if (!q.value.is_string()) {
                        return false;
                    }
                    break;
                case engine::IndexQuery::Kind::kRange: {
                    q.lower.reset();
                    q.upper.reset();
                    if (c.lower) {
                        q.lower = c.lower->get(row, context_);
                        if (!storable(*q.lower)) {
                            return false;
                        }
                    }
                    if (c.upper) {
                        q.upper = c.upper->get(row, context_);
                        if (!storable(*q.upper)) {
                            return false;
                        }
                    }
                    if (q.lower && q.upper && compare(*q.lower, *q.upper) == kIncomparable) {
                        return false;
                    }
                    q.lower_inclusive = c.lower_inclusive;
                    q.upper_inclusive = c.upper_inclusive;
                    break;
                }
            }
        }
        open();
        return true;
    }
    /// The values to ask for, each once.
    void take_list(const List& values) {
        struct Hash {
            std::size_t operator()(const Value& v) const noexcept { return hash(v); }
        };
        struct Same {
            bool operator()(const Value& a, const Value& b) const noexcept {
                return equivalent(a, b);
            }
        };
        constexpr std::size_t kEntryBytes = 48;  // a node of the hash set and its bucket
        MemoryShare memory{context_};
        std::unordered_set<Value, Hash, Same> seen;
        for (std::size_t i = 0; i < values.size(); ++i) {
            if ((i & 1023U) == 1023U) {
                context_.check_killed();
            }
            if (storable(values[i]) && seen.insert(values[i]).second) {
                memory.take(kEntryBytes);
                memory_.take(sizeof(Value) + values[i].heap_bytes());
                list_.push_back(values[i]);
            }
        }
    }
    void open() {
        if (list_column_ < query_.columns.size()) {
            query_.columns[list_column_].value = list_[list_at_];
        }
        ++context_.db_hits;
        if (node_) {
            nodes_ = context_.reader->seek_nodes(plan_.index, query_);
        } else {
            rels_ = context_.reader->seek_relationships(plan_.index, query_);
        }
        count_ = 0;
        at_ = 0;
        emitter_.reset();
    }
    bool next_value() {
        if (++list_at_ >= list_.size()) {
            return false;
        }
        open();
        return true;
    }
    bool produce(Batch& out) override { return node_ ? produce_nodes(out) : produce_rels(out); }
    bool produce_nodes(Batch& out) {
        while (!out.full()) {
            const std::uint32_t room = out.capacity() - out.rows;
            ids_.resize(room);
            const std::size_t n = nodes_->next(ids_);
            context_.db_hits += n;
            Value* column = out.column(plan_.slot);
            for (std::size_t i = 0; i < n; ++i) {
                column[out.rows] = Value{ids_[i]};
                input_.copy_to(out, out.rows);
                ++out.rows;
            }
            if (n < room && !next_value()) {
                return false;
            }
        }
        return true;
    }
    bool produce_rels(Batch& out) {
        while (!out.full()) {
            if (at_ == count_) {
                rel_ids_.resize(kBatchRows);
                count_ = rels_->next(rel_ids_);
                at_ = 0;
                if (count_ == 0) {
                    if (!next_value()) {
                        return false;
                    }
                    continue;
                }
            }
            const RelPtr data = context_.reader->relationship(rel_ids_[at_]);
            if (data == nullptr || emitter_.emit(rel_ids_[at_], data, out, input_)) {
                ++at_;
            }
        }
        return true;
    }
    const IndexSeekPlan& plan_;
    bool node_;
    RelEmitter emitter_;
    engine::IndexQuery query_;
    std::unique_ptr<engine::NodeCursor> nodes_;
    std::unique_ptr<engine::RelCursor> rels_;
    std::vector<NodeId> ids_;
    std::vector<RelId> rel_ids_;
    std::size_t count_ = 0;
    std::size_t at_ = 0;
    List list_;
    MemoryShare memory_;  // of list_
    std::size_t list_at_ = 0;
    std::size_t list_column_ = 0;
};

class CountStoreOperator final : public RowMaker {
public:
    CountStoreOperator(const CountStorePlan& plan, ExecContext& context)
        : RowMaker{plan, context}, plan_{plan} {}

private:
    bool begin(Row) override { return true; }
    bool produce(Batch& out) override {
        std::uint64_t n = 0;
        if (plan_.relationships) {
            if (!plan_.token) {
                n = context_.reader->relationship_count(std::nullopt);
            } else if (const auto id = context_.type_id(*plan_.token)) {
                n = context_.reader->relationship_count(*id);
            }
        } else if (!plan_.token) {
            n = context_.reader->node_count(std::nullopt);
        } else if (const auto id = context_.label(*plan_.token)) {
            n = context_.reader->node_count(*id);
        }
        ++context_.db_hits;
        input_.copy_to(out, out.rows);
        out.column(plan_.to)[out.rows++] = Value{static_cast<std::int64_t>(n)};
        return false;
    }
    const CountStorePlan& plan_;
};

}  // namespace

OperatorPtr make_leaf(const PlanNode& plan, ExecContext& context) {
    switch (plan.op) {
        case Op::kArgument:
            return std::make_unique<ArgumentOperator>(static_cast<const ArgumentPlan&>(plan),
                                                      context);
        case Op::kAllNodesScan:
            return std::make_unique<NodeScanOperator>(
                plan, static_cast<const AllNodesScanPlan&>(plan).node, std::nullopt, context);
        case Op::kNodeByLabelScan: {
            const auto& p = static_cast<const LabelScanPlan&>(plan);
            return std::make_unique<NodeScanOperator>(plan, p.node, p.label, context);
        }
        case Op::kNodeByIdSeek:
        case Op::kRelationshipByIdSeek:
            return std::make_unique<IdSeekOperator>(
                static_cast<const IdSeekPlan&>(plan), plan.op == Op::kNodeByIdSeek, context);
        case Op::kNodeIndexSeek:
        case Op::kRelationshipIndexSeek:
            return std::make_unique<IndexSeekOperator>(
                static_cast<const IndexSeekPlan&>(plan), plan.op == Op::kNodeIndexSeek, context);
        case Op::kRelationshipScan:
            return std::make_unique<RelationshipScanOperator>(
                static_cast<const RelationshipScanPlan&>(plan), context);
        default:
            return std::make_unique<CountStoreOperator>(static_cast<const CountStorePlan&>(plan),
                                                        context);
    }
}

}  // namespace nornic::cypher
