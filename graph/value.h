// Value: the one value type of the database, for engine, Cypher and Bolt.
//
// 16 bytes. Scalars live inside; text, lists, maps and the larger temporal types are immutable
// heap objects with an atomic reference count, so a copy costs one increment and values may be
// shared between threads. Moving is free and leaves null behind.
#pragma once

#include "base/check.h"
#include "base/ids.h"
#include "graph/temporal.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nornic {

class Value;
struct Node;
struct Relationship;
struct Path;

/// The order of the enumerators carries no meaning; Cypher's sort order is compare_for_order().
enum class ValueType : std::uint8_t {
    kNull,
    kBoolean,
    kInteger,
    kFloat,
    kString,
    kBytes,
    kList,
    kMap,
    kDate,
    kLocalTime,
    kTime,
    kLocalDateTime,
    kDateTime,
    kDuration,
    kPoint,
    // An entity while a query runs: its id alone. The query's snapshot says what it holds.
    kNodeRef,
    kRelationshipRef,
    kPathRef,
    // An entity that left the query: id, labels or type, and properties, copied out.
    kNode,
    kRelationship,
    kPath,
};

/// One of Neo4j's four coordinate systems. Source: facts of the Bolt specification, Point2D/3D.
struct Point {
    static constexpr std::uint32_t kCartesian = 7203;
    static constexpr std::uint32_t kCartesian3D = 9157;
    static constexpr std::uint32_t kWgs84 = 4326;     // x = longitude, y = latitude, degrees
    static constexpr std::uint32_t kWgs84_3D = 4979;  // z = height, metres

    std::uint32_t srid = kCartesian;
    double x = 0;
    double y = 0;
    double z = 0;  // 0 where the system has two dimensions
    [[nodiscard]] bool is_3d() const noexcept { return srid == kCartesian3D || srid == kWgs84_3D; }
    [[nodiscard]] bool is_geographic() const noexcept {
        return srid == kWgs84 || srid == kWgs84_3D;
    }
    bool operator==(const Point&) const = default;
};

/// A path while a query runs: n nodes and n-1 relationships in walking order.
struct PathRef {
    std::vector<NodeId> nodes;
    std::vector<RelId> relationships;
};

using List = std::vector<Value>;

/// String keys to values, in insertion order (what the client wrote is what it reads back).
/// Lookups are linear below 16 entries and indexed above.
class Map {
public:
    using Entry = std::pair<std::string, Value>;

    Map();
    Map(std::initializer_list<Entry> entries);
    Map(const Map&);
    Map(Map&&) noexcept;
    Map& operator=(const Map&);
    Map& operator=(Map&&) noexcept;
    ~Map();

    /// Adds or replaces; a replaced key keeps its place.
    void set(std::string_view key, Value value);
    bool erase(std::string_view key);
    /// nullptr if absent.
    [[nodiscard]] const Value* find(std::string_view key) const noexcept;
    [[nodiscard]] bool contains(std::string_view key) const noexcept {
        return find(key) != nullptr;
    }
    [[nodiscard]] std::size_t size() const noexcept;
    [[nodiscard]] bool empty() const noexcept { return size() == 0; }
    [[nodiscard]] const Entry* begin() const noexcept;
    [[nodiscard]] const Entry* end() const noexcept;
    void reserve(std::size_t n);

private:
    struct Index;
    std::vector<Entry> entries_;
    // Built by set() only, so that const reads never write: maps are shared between threads.
    std::unique_ptr<Index> index_;
};

namespace detail {

/// What all heap objects begin with.
struct HeapHeader {
    std::atomic<std::uint32_t> references{1};
};

template <class T>
struct HeapBox : HeapHeader {
    template <class... Args>
    explicit HeapBox(Args&&... args) : value(std::forward<Args>(args)...) {}
    std::uint32_t depth = 0;  // of lists and maps, where else padding would be
    T value;
};

constexpr std::uint32_t bit(ValueType t) {
    return 1U << static_cast<unsigned>(t);
}
inline constexpr std::uint32_t kHeapTypes =
    bit(ValueType::kString) | bit(ValueType::kBytes) | bit(ValueType::kList) |
    bit(ValueType::kMap) | bit(ValueType::kTime) | bit(ValueType::kLocalDateTime) |
    bit(ValueType::kDateTime) | bit(ValueType::kDuration) | bit(ValueType::kPoint) |
    bit(ValueType::kPathRef) | bit(ValueType::kNode) | bit(ValueType::kRelationship) |
    bit(ValueType::kPath);

/// Characters follow the header in the same allocation.
struct HeapString : HeapHeader {
    std::uint32_t size = 0;
    [[nodiscard]] const char* data() const noexcept {
        return reinterpret_cast<const char*>(this + 1);
    }
    [[nodiscard]] char* data() noexcept { return reinterpret_cast<char*>(this + 1); }
};

}  // namespace detail

class Value {
public:
    Value() noexcept : type_{ValueType::kNull} { payload_.integer = 0; }
    Value(bool v) noexcept : type_{ValueType::kBoolean} { payload_.integer = v ? 1 : 0; }  // NOLINT
    Value(std::int64_t v) noexcept : type_{ValueType::kInteger} { payload_.integer = v; }  // NOLINT
    Value(int v) noexcept : Value(static_cast<std::int64_t>(v)) {}                         // NOLINT
    Value(double v) noexcept : type_{ValueType::kFloat} { payload_.real = v; }             // NOLINT
    Value(std::string_view v);                                                             // NOLINT
    Value(const char* v) : Value(std::string_view{v}) {}                                   // NOLINT
    Value(const std::string& v) : Value(std::string_view{v}) {}                            // NOLINT
    Value(List v);                                                                         // NOLINT
    Value(Map v);                                                                          // NOLINT
    Value(Date v) noexcept : type_{ValueType::kDate} { payload_.integer = v.days; }        // NOLINT
    Value(LocalTime v) noexcept : type_{ValueType::kLocalTime} {
        payload_.integer = v.nanoseconds;
    }                        // NOLINT
    Value(Time v);           // NOLINT
    Value(LocalDateTime v);  // NOLINT
    Value(DateTime v);       // NOLINT
    Value(DurationValue v);  // NOLINT
    Value(Point v);          // NOLINT
    Value(Node v);           // NOLINT
    Value(Relationship v);   // NOLINT
    Value(Path v);           // NOLINT
    Value(PathRef v);        // NOLINT
    Value(NodeId v) noexcept : type_{ValueType::kNodeRef} {
        payload_.integer = static_cast<std::int64_t>(v.value);
    }  // NOLINT
    Value(RelId v) noexcept : type_{ValueType::kRelationshipRef} {
        payload_.integer = static_cast<std::int64_t>(v.value);
    }  // NOLINT
    /// A pointer or a float-like number must not turn into a boolean by accident.
    template <class T>
    Value(T*) = delete;

    static Value bytes(std::string_view v);

    Value(const Value& other) noexcept : type_{other.type_}, payload_{other.payload_} {
        if (on_heap()) {
            payload_.heap->references.fetch_add(1, std::memory_order_relaxed);
        }
    }
    Value(Value&& other) noexcept : type_{other.type_}, payload_{other.payload_} {
        other.type_ = ValueType::kNull;
    }
    Value& operator=(const Value& other) noexcept {
        Value copy{other};
        swap(copy);
        return *this;
    }
    Value& operator=(Value&& other) noexcept {
        if (this != &other) {
            if (on_heap()) {
                release();
            }
            type_ = other.type_;
            payload_ = other.payload_;
            other.type_ = ValueType::kNull;
        }
        return *this;
    }
    ~Value() {
        if (on_heap()) {
            release();
        }
    }
    void swap(Value& other) noexcept {
        std::swap(type_, other.type_);
        std::swap(payload_, other.payload_);
    }

    [[nodiscard]] ValueType type() const noexcept { return type_; }
    [[nodiscard]] bool is(ValueType t) const noexcept { return type_ == t; }
    [[nodiscard]] bool is_null() const noexcept { return type_ == ValueType::kNull; }
    [[nodiscard]] bool is_true() const noexcept {
        return type_ == ValueType::kBoolean && payload_.integer != 0;
    }
    [[nodiscard]] bool is_number() const noexcept {
        return type_ == ValueType::kInteger || type_ == ValueType::kFloat;
    }
    [[nodiscard]] bool is_string() const noexcept { return type_ == ValueType::kString; }
    [[nodiscard]] bool is_list() const noexcept { return type_ == ValueType::kList; }
    [[nodiscard]] bool is_map() const noexcept { return type_ == ValueType::kMap; }

    // Precondition of each: the type fits (checked).
    [[nodiscard]] bool as_boolean() const {
        return expect(ValueType::kBoolean).payload_.integer != 0;
    }
    [[nodiscard]] std::int64_t as_integer() const {
        return expect(ValueType::kInteger).payload_.integer;
    }
    [[nodiscard]] double as_float() const { return expect(ValueType::kFloat).payload_.real; }
    /// Integer or float, as a float.
    [[nodiscard]] double as_number() const {
        return type_ == ValueType::kInteger ? static_cast<double>(payload_.integer) : as_float();
    }
    [[nodiscard]] std::string_view as_string() const { return text(ValueType::kString); }
    [[nodiscard]] std::string_view as_bytes() const { return text(ValueType::kBytes); }
    [[nodiscard]] const List& as_list() const { return boxed<List>(ValueType::kList); }
    [[nodiscard]] const Map& as_map() const { return boxed<Map>(ValueType::kMap); }
    [[nodiscard]] Date as_date() const { return Date{expect(ValueType::kDate).payload_.integer}; }
    [[nodiscard]] LocalTime as_local_time() const {
        return LocalTime{expect(ValueType::kLocalTime).payload_.integer};
    }
    [[nodiscard]] const Time& as_time() const { return boxed<Time>(ValueType::kTime); }
    [[nodiscard]] const LocalDateTime& as_local_date_time() const {
        return boxed<LocalDateTime>(ValueType::kLocalDateTime);
    }
    [[nodiscard]] const DateTime& as_date_time() const {
        return boxed<DateTime>(ValueType::kDateTime);
    }
    [[nodiscard]] const DurationValue& as_duration() const {
        return boxed<DurationValue>(ValueType::kDuration);
    }
    [[nodiscard]] const Point& as_point() const { return boxed<Point>(ValueType::kPoint); }
    [[nodiscard]] NodeId as_node_ref() const {
        return NodeId{static_cast<std::uint64_t>(expect(ValueType::kNodeRef).payload_.integer)};
    }
    [[nodiscard]] RelId as_relationship_ref() const {
        return RelId{
            static_cast<std::uint64_t>(expect(ValueType::kRelationshipRef).payload_.integer)};
    }
    [[nodiscard]] const PathRef& as_path_ref() const { return boxed<PathRef>(ValueType::kPathRef); }
    [[nodiscard]] const Node& as_node() const { return boxed<Node>(ValueType::kNode); }
    [[nodiscard]] const Relationship& as_relationship() const {
        return boxed<Relationship>(ValueType::kRelationship);
    }
    [[nodiscard]] const Path& as_path() const { return boxed<Path>(ValueType::kPath); }

    /// Moves the list out if nobody else holds it, else copies it. For building lists in steps.
    [[nodiscard]] List take_list() &&;
    [[nodiscard]] Map take_map() &&;

    /// How many lists and maps lie within one another: 0 for anything else, 1 for [] and [1], 2 for [{}]. Constant
    /// time. Who makes lists and maps in steps bounds it: walks over a value, its end included, go as deep.
    [[nodiscard]] std::size_t depth() const noexcept {
        if (type_ == ValueType::kList) {
            return static_cast<const detail::HeapBox<List>*>(payload_.heap)->depth;
        }
        return type_ == ValueType::kMap ? static_cast<const detail::HeapBox<Map>*>(payload_.heap)->depth
                                        : 0;
    }

    /// Bytes this value holds on the heap, nested values included; for memory limits.
    [[nodiscard]] std::size_t heap_bytes() const noexcept;

private:
    [[nodiscard]] bool on_heap() const noexcept {
        // One load from a bit mask instead of a switch: this runs at every copy and destruction.
        return ((detail::kHeapTypes >> static_cast<unsigned>(type_)) & 1U) != 0;
    }
    const Value& expect(ValueType t) const {
        NORNIC_CHECK(type_ == t,
                     "value type {} where {} was expected",
                     static_cast<int>(type_),
                     static_cast<int>(t));
        return *this;
    }
    [[nodiscard]] std::string_view text(ValueType t) const {
        const auto* s = static_cast<const detail::HeapString*>(expect(t).payload_.heap);
        return {s->data(), s->size};
    }
    template <class T>
    [[nodiscard]] const T& boxed(ValueType t) const {
        return static_cast<const detail::HeapBox<T>*>(expect(t).payload_.heap)->value;
    }
    static detail::HeapString* make_text(std::string_view v);
    void release() noexcept;

    ValueType type_;
    union Payload {
        std::int64_t integer;
        double real;
        detail::HeapHeader* heap;
    } payload_;
};
static_assert(sizeof(Value) == 16);

/// An entity as a client sees it. element_id is opaque: "4:<database uuid>:<id>".
struct Node {
    NodeId id;
    std::string element_id;
    std::vector<std::string> labels;
    Map properties;
};

struct Relationship {
    RelId id;
    std::string element_id;
    NodeId start;
    std::string start_element_id;
    NodeId end;
    std::string end_element_id;
    std::string type;
    Map properties;
};

/// nodes.size() == relationships.size() + 1; a relationship may be walked against its direction.
struct Path {
    std::vector<Node> nodes;
    std::vector<Relationship> relationships;
};

// ---- What Cypher says about values (graph/compare.cc). NodeRef and Node compare by id. ----

/// a = b in three-valued logic: 1 true, 0 false, -1 null. Different types are not equal; 1 = 1.0.
/// NaN equals nothing. Lists and maps holding null give null unless they differ elsewhere.
int equals(const Value& a, const Value& b) noexcept;

/// For DISTINCT, grouping, UNION, hash joins: null equals null, NaN equals NaN, 1 equals 1.0.
bool equivalent(const Value& a, const Value& b) noexcept;
/// equivalent(a, b) implies hash(a) == hash(b).
std::size_t hash(const Value& value) noexcept;

/// ORDER BY: a total order over all values: <0, 0, >0. Map, Node, Relationship, List, Path,
/// DateTime, LocalDateTime, Date, Time, LocalTime, Duration, Point, String, Boolean, Number, NaN
/// last of numbers, null last of all. Source: openCypher, "Orderability".
int compare_for_order(const Value& a, const Value& b) noexcept;

/// a < b and its kind: -1, 0, 1, or kIncomparable where the answer is null (different types, null,
/// NaN).
inline constexpr int kIncomparable = 2;
int compare(const Value& a, const Value& b) noexcept;

/// "Integer", "String", "List", "Node"… as Neo4j's error texts name them.
std::string_view type_name(const Value& value) noexcept;

/// The value as Cypher text would write it: 'text', [1, 2], {a: 1}, duration('P1D'), point({...}),
/// (:Label {k: 1}), [:TYPE {}], <(…)-[…]->(…)>. For the shell, EXPLAIN and error messages.
std::string to_cypher_text(const Value& value);
/// toString() of a scalar: no quotes, floats as Java prints them (1.0E10), temporals in ISO 8601.
std::string to_plain_text(const Value& value);
/// A float as Java's Double.toString: "1.0", "1.0E10", "NaN", "Infinity".
std::string format_float(double value);

}  // namespace nornic
