#include "graph/value.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

namespace nornic {

using detail::HeapBox;
using detail::HeapHeader;
using detail::HeapString;

namespace {
template <class T>
HeapHeader* box(T value) {
    return new HeapBox<T>(std::move(value));
}
template <class T>
void destroy(HeapHeader* heap) noexcept {
    delete static_cast<HeapBox<T>*>(heap);
}
constexpr std::size_t kEntityBytes = 256;  // about what a node or relationship takes beside its values, which it shares
}  // namespace

HeapString* Value::make_text(std::string_view v) {
    NORNIC_CHECK(v.size() <= UINT32_MAX, "string of {} bytes", v.size());
    void* memory = ::operator new(sizeof(HeapString) + v.size());
    auto* s = new (memory) HeapString;
    s->size = static_cast<std::uint32_t>(v.size());
    if (!v.empty()) {
        std::memcpy(s->data(), v.data(), v.size());
    }
    return s;
}

Value::Value(std::string_view v) : type_{ValueType::kString} {
    payload_.heap = make_text(v);
}
Value::Value(List v) : type_{ValueType::kList} {
    std::size_t depth = 0;
    for (const Value& item : v) {
        depth = std::max(depth, item.depth());
    }
    auto* heap = new HeapBox<List>(std::move(v));
    heap->depth = static_cast<std::uint32_t>(depth + 1);
    payload_.heap = heap;
}
Value::Value(Map v) : type_{ValueType::kMap} {
    std::size_t depth = 0;
    for (const auto& [key, item] : v) {
        depth = std::max(depth, item.depth());
    }
    auto* heap = new HeapBox<Map>(std::move(v));
    heap->depth = static_cast<std::uint32_t>(depth + 1);
    payload_.heap = heap;
}
Value::Value(Time v) : type_{ValueType::kTime} {
    payload_.heap = box(v);
}
Value::Value(LocalDateTime v) : type_{ValueType::kLocalDateTime} {
    payload_.heap = box(v);
}
Value::Value(DateTime v) : type_{ValueType::kDateTime} {
    payload_.heap = box(std::move(v));
}
Value::Value(DurationValue v) : type_{ValueType::kDuration} {
    payload_.heap = box(v);
}
Value::Value(Point v) : type_{ValueType::kPoint} {
    payload_.heap = box(v);
}
Value::Value(Node v) : type_{ValueType::kNode} {
    payload_.heap = box(std::move(v));
}
Value::Value(Relationship v) : type_{ValueType::kRelationship} {
    payload_.heap = box(std::move(v));
}
Value::Value(Path v) : type_{ValueType::kPath} {
    payload_.heap = box(std::move(v));
}
Value::Value(PathRef v) : type_{ValueType::kPathRef} {
    payload_.heap = box(std::move(v));
}

Value Value::bytes(std::string_view v) {
    Value out;
    out.payload_.heap = make_text(v);
    out.type_ = ValueType::kBytes;
    return out;
}

void Value::release() noexcept {
    HeapHeader* heap = payload_.heap;
    if (heap->references.fetch_sub(1, std::memory_order_acq_rel) != 1) {
        return;
    }
    switch (type_) {
        case ValueType::kString:
        case ValueType::kBytes:
            static_cast<HeapString*>(heap)->~HeapString();
            ::operator delete(heap);
            return;
        case ValueType::kList:
            return destroy<List>(heap);
        case ValueType::kMap:
            return destroy<Map>(heap);
        case ValueType::kTime:
            return destroy<Time>(heap);
        case ValueType::kLocalDateTime:
            return destroy<LocalDateTime>(heap);
        case ValueType::kDateTime:
            return destroy<DateTime>(heap);
        case ValueType::kDuration:
            return destroy<DurationValue>(heap);
        case ValueType::kPoint:
            return destroy<Point>(heap);
        case ValueType::kPathRef:
            return destroy<PathRef>(heap);
        case ValueType::kNode:
            return destroy<Node>(heap);
        case ValueType::kRelationship:
            return destroy<Relationship>(heap);
        case ValueType::kPath:
            return destroy<Path>(heap);
        default:
            return;
    }
}

List Value::take_list() && {
    auto* heap = static_cast<HeapBox<List>*>(expect(ValueType::kList).payload_.heap);
    if (heap->references.load(std::memory_order_acquire) == 1) {
        List out = std::move(heap->value);
        *this = Value{};
        return out;
    }
    return heap->value;
}

Map Value::take_map() && {
    auto* heap = static_cast<HeapBox<Map>*>(expect(ValueType::kMap).payload_.heap);
    if (heap->references.load(std::memory_order_acquire) == 1) {
        Map out = std::move(heap->value);
        *this = Value{};
        return out;
    }
    return heap->value;
}

std::size_t Value::heap_bytes() const noexcept {
    switch (type_) {
        case ValueType::kString:
        case ValueType::kBytes:
            return sizeof(HeapString) + text(type_).size();
        case ValueType::kList: {
            std::size_t n = sizeof(HeapBox<List>) + as_list().capacity() * sizeof(Value);
            for (const Value& v : as_list()) {
                n += v.heap_bytes();
            }
            return n;
        }
        case ValueType::kMap: {
            std::size_t n = sizeof(HeapBox<Map>);
            for (const auto& [key, v] : as_map()) {
                n += sizeof(Map::Entry) + key.capacity() + v.heap_bytes();
            }
            return n;
        }
        case ValueType::kPathRef:
            return sizeof(HeapBox<PathRef>) +
                   (as_path_ref().nodes.capacity() + as_path_ref().relationships.capacity()) * 8;
        case ValueType::kTime:
        case ValueType::kLocalDateTime:
        case ValueType::kDateTime:
        case ValueType::kDuration:
        case ValueType::kPoint:
            return 48;
        case ValueType::kNode:
        case ValueType::kRelationship:
            return kEntityBytes;
        case ValueType::kPath:
            return sizeof(HeapBox<Path>) + (as_path().nodes.size() + as_path().relationships.size()) * kEntityBytes;
        default:
            return 0;
    }
}

// ---- Map ----

namespace {
constexpr std::size_t kIndexedFrom = 16;
}

/// Views point into the entries' own keys; any change to the entries' storage drops the index.
struct Map::Index {
    std::unordered_map<std::string_view, std::size_t> places;
};

Map::Map() = default;
Map::Map(std::initializer_list<Entry> entries) {
    reserve(entries.size());
    for (const Entry& e : entries) {
        set(e.first, e.second);
    }
}
Map::Map(const Map& other) : entries_{other.entries_} {}
Map::Map(Map&& other) noexcept : entries_{std::move(other.entries_)} {
    other.index_.reset();
}
Map& Map::operator=(const Map& other) {
    if (this != &other) {
        entries_ = other.entries_;
        index_.reset();
    }
    return *this;
}
Map& Map::operator=(Map&& other) noexcept {
    entries_ = std::move(other.entries_);
    index_.reset();
    other.index_.reset();
    return *this;
}
Map::~Map() = default;

void Map::set(std::string_view key, Value value) {
    if (entries_.size() >= kIndexedFrom && !index_) {
        index_ = std::make_unique<Index>();
        for (std::size_t i = 0; i < entries_.size(); ++i) {
            index_->places.emplace(entries_[i].first, i);
        }
    }
    if (const Value* old = find(key)) {
        const_cast<Value&>(*old) = std::move(value);
        return;
    }
    const bool moves = entries_.size() == entries_.capacity();
    entries_.emplace_back(std::string{key}, std::move(value));
    if (index_) {
        if (moves) {
            index_.reset();
            return;
        }
        index_->places.emplace(entries_.back().first, entries_.size() - 1);
    }
}

bool Map::erase(std::string_view key) {
    for (auto it = entries_.begin(); it != entries_.end(); ++it) {
        if (it->first == key) {
            entries_.erase(it);
            index_.reset();
            return true;
        }
    }
    return false;
}

const Value* Map::find(std::string_view key) const noexcept {
    if (index_) {
        const auto it = index_->places.find(key);
        return it == index_->places.end() ? nullptr : &entries_[it->second].second;
    }
    for (const Entry& e : entries_) {
        if (e.first == key) {
            return &e.second;
        }
    }
    return nullptr;
}

std::size_t Map::size() const noexcept {
    return entries_.size();
}
const Map::Entry* Map::begin() const noexcept {
    return entries_.data();
}
const Map::Entry* Map::end() const noexcept {
    return entries_.data() + entries_.size();
}
void Map::reserve(std::size_t n) {
    entries_.reserve(n);
    index_.reset();
}

}  // namespace nornic
