#include "engine/index/delta_layer.h"

#include "base/check.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <new>
#include <type_traits>

namespace nornic::engine {

struct DeltaLayer::Node {};

struct DeltaLayer::Leaf : Node {
    unsigned count = 0;
    Leaf* previous = nullptr;
    Leaf* next = nullptr;
    Ref refs[kFanout];
};

/// children[i] holds what is before splits[i]; the last child the rest. A split is the first
/// item that was ever first in the child behind it.
struct DeltaLayer::Inner : Node {
    unsigned count = 0;  // of children
    Ref splits[kFanout - 1];
    Node* children[kFanout] = {};
};

namespace {
constexpr std::size_t kFirstBlockBytes = 1024;
constexpr std::size_t kBlockBytesMax = std::size_t{1} << 20;
}  // namespace

DeltaLayer::DeltaLayer() : next_block_bytes_{kFirstBlockBytes} {
    last_leaf_ = make_node<Leaf>();
    root_ = last_leaf_;
}

DeltaLayer::~DeltaLayer() {
    for (Leaf* leaf : leaves_) {
        delete leaf;
    }
    for (Inner* inner : inners_) {
        delete inner;
    }
}

template <class T>
T* DeltaLayer::make_node() {
    T* node = new T;
    if constexpr (std::is_same_v<T, Leaf>) {
        leaves_.push_back(node);
    } else {
        inners_.push_back(node);
    }
    bytes_.fetch_add(sizeof(T), std::memory_order_relaxed);
    return node;
}

DeltaLayer::Probe DeltaLayer::probe(std::string_view key, std::uint64_t id) noexcept {
    std::uint64_t words[2] = {0, 0};
    if (!key.empty()) {
        std::memcpy(words, key.data(), std::min(key.size(), sizeof words));
    }
    return {{__builtin_bswap64(words[0]), __builtin_bswap64(words[1])}, key, id};
}

int DeltaLayer::order(const Ref& ref, const Probe& p) noexcept {
    if (const auto heads = ref.head <=> p.head; heads != 0) {
        return heads < 0 ? -1 : 1;
    }
    if (const int keys = ref.item->key().compare(p.key); keys != 0) {
        return keys;
    }
    return ref.item->id < p.id ? -1 : ref.item->id > p.id ? 1 : 0;
}

/// The first of `refs` not before the probe.
unsigned DeltaLayer::lower_bound(const Ref* refs, unsigned count, const Probe& p) noexcept {
    unsigned from = 0;
    while (count > 0) {
        const unsigned half = count / 2;
        if (order(refs[from + half], p) < 0) {
            from += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return from;
}

unsigned DeltaLayer::child_of(const Inner& node, const Probe& p) noexcept {
    const unsigned at = lower_bound(node.splits, node.count - 1, p);
    // An item equal to the split is in the child behind it.
    return at < node.count - 1 && order(node.splits[at], p) == 0 ? at + 1 : at;
}

const DeltaLayer::Leaf* DeltaLayer::leaf_of(const Probe& p) const noexcept {
    const Node* node = root_;
    for (unsigned level = levels_; level > 0; --level) {
        const auto* inner = static_cast<const Inner*>(node);
        node = inner->children[child_of(*inner, p)];
    }
    return static_cast<const Leaf*>(node);
}

const DeltaLayer::Item* DeltaLayer::lookup(const Probe& p) const noexcept {
    const Leaf* leaf = leaf_of(p);
    const unsigned at = lower_bound(leaf->refs, leaf->count, p);
    return at < leaf->count && order(leaf->refs[at], p) == 0 ? leaf->refs[at].item : nullptr;
}

DeltaLayer::Item* DeltaLayer::make_item(const Probe& p) {
    const std::size_t wanted =
        (sizeof(Item) + p.key.size() + alignof(Item) - 1) & ~(alignof(Item) - 1);
    if (wanted > free_bytes_) {
        const std::size_t block = std::max(wanted, next_block_bytes_);
        next_block_bytes_ = std::min(next_block_bytes_ * 2, kBlockBytesMax);
        blocks_.push_back(std::make_unique_for_overwrite<std::byte[]>(block));
        free_ = blocks_.back().get();
        free_bytes_ = block;
        bytes_.fetch_add(block, std::memory_order_relaxed);
    }
    auto* item = ::new (free_) Item{p.id, {0}, static_cast<std::uint32_t>(p.key.size())};
    std::ranges::copy(p.key, reinterpret_cast<char*>(free_ + sizeof(Item)));
    free_ += wanted;
    free_bytes_ -= wanted;
    return item;
}

std::pair<DeltaLayer::Item*, bool> DeltaLayer::item_of(const Probe& p) {
    std::array<Inner*, kLevelsMax> path;
    std::array<unsigned, kLevelsMax> turns;
    unsigned depth = 0;
    Leaf* leaf = nullptr;
    if (last_leaf_->count > 0 && order(last_leaf_->refs[last_leaf_->count - 1], p) < 0 &&
        last_leaf_->count < kFanout) {
        leaf = last_leaf_;  // Keys that only grow need no walk.
    } else {
        Node* node = root_;
        for (unsigned level = levels_; level > 0; --level) {
            auto* inner = static_cast<Inner*>(node);
            const unsigned turn = child_of(*inner, p);
            path[depth] = inner;
            turns[depth] = turn;
            ++depth;
            node = inner->children[turn];
        }
        leaf = static_cast<Leaf*>(node);
    }
    const unsigned at = lower_bound(leaf->refs, leaf->count, p);
    if (at < leaf->count && order(leaf->refs[at], p) == 0) {
        return {leaf->refs[at].item, false};
    }
    Item* item = make_item(p);
    insert(
        *leaf, at, Ref{p.head, item}, std::span{path}.first(depth), std::span{turns}.first(depth));
    size_.fetch_add(1, std::memory_order_relaxed);
    return {item, true};
}

void DeltaLayer::insert(Leaf& leaf,
                        unsigned at,
                        const Ref& ref,
                        std::span<Inner*> path,
                        std::span<const unsigned> turns) {
    if (leaf.count < kFanout) {
        std::copy_backward(leaf.refs + at, leaf.refs + leaf.count, leaf.refs + leaf.count + 1);
        leaf.refs[at] = ref;
        ++leaf.count;
        return;
    }
    // Keys that only grow fill leaves to the brim; others split in the middle.
    const unsigned kept = at == kFanout && leaf.next == nullptr ? kFanout : kFanout / 2;
    Leaf* right = make_node<Leaf>();
    std::copy(leaf.refs + kept, leaf.refs + kFanout, right->refs);
    right->count = kFanout - kept;
    leaf.count = kept;
    right->next = leaf.next;
    right->previous = &leaf;
    (leaf.next != nullptr ? leaf.next->previous : last_leaf_) = right;
    leaf.next = right;
    Leaf& target = at >= kept ? *right : leaf;
    const unsigned place = at >= kept ? at - kept : at;
    std::copy_backward(
        target.refs + place, target.refs + target.count, target.refs + target.count + 1);
    target.refs[place] = ref;
    ++target.count;

    Ref split = right->refs[0];
    Node* added = right;
    for (std::size_t level = path.size(); level > 0; --level) {
        Inner& parent = *path[level - 1];
        const unsigned turn = turns[level - 1];
        if (parent.count < kFanout) {
            std::copy_backward(parent.splits + turn,
                               parent.splits + (parent.count - 1),
                               parent.splits + parent.count);
            std::copy_backward(parent.children + turn + 1,
                               parent.children + parent.count,
                               parent.children + parent.count + 1);
            parent.splits[turn] = split;
            parent.children[turn + 1] = added;
            ++parent.count;
            return;
        }
        // Lay the child in beside its siblings, then cut the row of kFanout + 1 in two.
        std::array<Ref, kFanout> splits;
        std::array<Node*, kFanout + 1> children;
        std::copy(parent.splits, parent.splits + turn, splits.begin());
        splits[turn] = split;
        std::copy(parent.splits + turn, parent.splits + (kFanout - 1), splits.begin() + turn + 1);
        std::copy(parent.children, parent.children + turn + 1, children.begin());
        children[turn + 1] = added;
        std::copy(
            parent.children + turn + 1, parent.children + kFanout, children.begin() + turn + 2);
        const unsigned left_count = turn + 1 == kFanout ? kFanout - 1 : (kFanout + 1) / 2;
        Inner* right_inner = make_node<Inner>();
        std::copy(splits.begin(), splits.begin() + left_count - 1, parent.splits);
        std::copy(children.begin(), children.begin() + left_count, parent.children);
        parent.count = left_count;
        split = splits[left_count - 1];
        std::copy(splits.begin() + left_count, splits.end(), right_inner->splits);
        std::copy(children.begin() + left_count, children.end(), right_inner->children);
        right_inner->count = kFanout + 1 - left_count;
        added = right_inner;
    }
    Inner* root = make_node<Inner>();
    root->count = 2;
    root->splits[0] = split;
    root->children[0] = root_;
    root->children[1] = added;
    root_ = root;
    ++levels_;
    NORNIC_CHECK(levels_ < kLevelsMax, "a tree of {} levels", levels_);
}

bool DeltaLayer::add(std::string_view key, std::uint64_t id) {
    const Probe p = probe(key, id);
    const std::unique_lock lock{mutex_};
    const auto [item, made] = item_of(p);
    return item->removed_at.exchange(0, std::memory_order_relaxed) != 0 || made;
}

void DeltaLayer::remove(std::string_view key, std::uint64_t id, std::uint64_t at) {
    const Probe p = probe(key, id);
    const std::unique_lock lock{mutex_};
    item_of(p).first->removed_at.store(at, std::memory_order_relaxed);
}

void DeltaLayer::carry_removal(std::string_view key, std::uint64_t id, std::uint64_t at) {
    const Probe p = probe(key, id);
    const std::unique_lock lock{mutex_};
    if (const auto [item, made] = item_of(p); made) {
        item->removed_at.store(at, std::memory_order_relaxed);
    }
}

bool DeltaLayer::knows(std::string_view key, std::uint64_t id) const {
    const std::shared_lock lock{mutex_};
    return lookup(probe(key, id)) != nullptr;
}

std::size_t DeltaLayer::read_ascending(std::string_view key,
                                       std::uint64_t id,
                                       bool after,
                                       std::span<const Item*> out) const {
    const Probe p = probe(key, id);
    const std::shared_lock lock{mutex_};
    const Leaf* leaf = leaf_of(p);
    unsigned at = lower_bound(leaf->refs, leaf->count, p);
    if (after && at < leaf->count && order(leaf->refs[at], p) == 0) {
        ++at;
    }
    std::size_t n = 0;
    for (; leaf != nullptr && n < out.size(); leaf = leaf->next, at = 0) {
        for (; at < leaf->count && n < out.size(); ++at) {
            out[n++] = leaf->refs[at].item;
        }
    }
    return n;
}

std::size_t DeltaLayer::read_descending(std::string_view key,
                                        std::uint64_t id,
                                        std::span<const Item*> out) const {
    const Probe p = probe(key, id);
    const std::shared_lock lock{mutex_};
    const Leaf* leaf = leaf_of(p);
    unsigned at = lower_bound(leaf->refs, leaf->count, p);
    std::size_t n = 0;
    for (;;) {
        while (at > 0 && n < out.size()) {
            out[n++] = leaf->refs[--at].item;
        }
        leaf = leaf->previous;
        if (leaf == nullptr || n == out.size()) {
            return n;
        }
        at = leaf->count;
    }
}

std::size_t DeltaLayer::read_last(std::span<const Item*> out) const {
    const std::shared_lock lock{mutex_};
    std::size_t n = 0;
    for (const Leaf* leaf = last_leaf_; leaf != nullptr && n < out.size(); leaf = leaf->previous) {
        for (unsigned at = leaf->count; at > 0 && n < out.size(); --at) {
            out[n++] = leaf->refs[at - 1].item;
        }
    }
    return n;
}

void DeltaLayer::find(std::string_view key, std::vector<const Item*>& out) const {
    const Probe p = probe(key, 0);
    const std::shared_lock lock{mutex_};
    const Leaf* leaf = leaf_of(p);
    unsigned at = lower_bound(leaf->refs, leaf->count, p);
    for (; leaf != nullptr; leaf = leaf->next, at = 0) {
        for (; at < leaf->count; ++at) {
            const Ref& ref = leaf->refs[at];
            if (ref.head != p.head || ref.item->key() != key) {
                return;
            }
            out.push_back(ref.item);
        }
    }
}

}  // namespace nornic::engine
