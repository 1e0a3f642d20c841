#include "engine/lock_manager.h"

#include "base/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

namespace nornic::engine {

namespace detail {

/// A request in a queue. Lives on the stack of the thread that waits.
struct LockWaiter {
    LockClient* client = nullptr;
    LockKey key;
    LockMode mode = LockMode::kExclusive;
    bool upgrade = false;  // its client holds the lock already, shared
    Deadline since;
};

}  // namespace detail

namespace {

constexpr std::uint64_t kExclusiveBit = std::uint64_t{1} << 63;
constexpr std::uint64_t kUsedBit = std::uint64_t{1} << 62;
constexpr unsigned kKindShift = 32;

/// Kind and database in one word that is never 0.
std::uint64_t space_of(const LockKey& key) noexcept {
    return kUsedBit | static_cast<std::uint64_t>(key.kind) << kKindShift | key.database.value;
}

LockKey key_of(std::uint64_t space, std::uint64_t id) noexcept {
    return {static_cast<LockKind>(space >> kKindShift & 0xFF),
            DatabaseId{static_cast<std::uint32_t>(space)},
            id};
}

std::uint64_t hash_of(std::uint64_t space, std::uint64_t id) noexcept {
    const unsigned __int128 product = static_cast<unsigned __int128>(id ^ 0x9E3779B97F4A7C15ULL) *
                                      (space * 0xD6E8FEB86659FD93ULL | 1);
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::string name_of(TransactionId id) {
    return fmt::format("Transaction[{}]", id.value);
}

}  // namespace

std::string_view to_string(LockMode mode) noexcept {
    return mode == LockMode::kShared ? "SharedLock" : "ExclusiveLock";
}

std::string to_string(const LockKey& key) {
    std::string_view kind = "NODE";
    switch (key.kind) {
        case LockKind::kNode:
            break;
        case LockKind::kRelationship:
            kind = "RELATIONSHIP";
            break;
        case LockKind::kIndexKey:
            kind = "INDEX_ENTRY";
            break;
        case LockKind::kSchema:
            kind = "SCHEMA";
            break;
        case LockKind::kMerge:
            kind = "MERGE";
            break;
    }
    return fmt::format("{}({})", kind, key.id);
}

// ---- The lock table

/// What few locks need: several holders, or somebody who waits.
struct LockManager::Contention {
    std::vector<LockClient*> sharers;  // all holders where there are several
    std::vector<detail::LockWaiter*> queue;
};

/// 32 bytes a lock. space == 0: free. With exclusive bit: `holder` alone. Without: `holder` shares
/// alone, or, where it is nullptr, all of more->sharers.
struct LockManager::Slot {
    std::uint64_t space = 0;
    std::uint64_t id = 0;
    LockClient* holder = nullptr;
    Contention* more = nullptr;

    [[nodiscard]] bool exclusive() const noexcept { return (space & kExclusiveBit) != 0; }
    [[nodiscard]] bool has_queue() const noexcept {
        return more != nullptr && !more->queue.empty();
    }
    [[nodiscard]] bool held() const noexcept {
        return holder != nullptr || (more != nullptr && !more->sharers.empty());
    }
    [[nodiscard]] bool held_only_by(const LockClient& client) const noexcept {
        return holder == &client || (holder == nullptr && more != nullptr &&
                                     more->sharers.size() == 1 && more->sharers.front() == &client);
    }
    Contention& contention() {
        if (more == nullptr) {
            more = new Contention;
        }
        return *more;
    }
};

/// Linear probing; erasing moves later slots back, so there are no tombstones to sweep.
struct alignas(64) LockManager::Shard {
    static constexpr std::size_t kFirstSlots = 16;
    static constexpr std::size_t kKeptSlots =
        1024;  // an empty table larger than this is given back

    mutable std::mutex mutex;
    std::vector<Slot> slots;
    std::size_t used = 0;

    [[nodiscard]] std::size_t home(std::uint64_t space, std::uint64_t id) const noexcept {
        return hash_of(space, id) & (slots.size() - 1);
    }
    [[nodiscard]] Slot* find(std::uint64_t space, std::uint64_t id) noexcept {
        if (slots.empty()) {
            return nullptr;
        }
        for (std::size_t i = home(space, id);; i = (i + 1) & (slots.size() - 1)) {
            Slot& slot = slots[i];
            if (slot.space == 0) {
                return nullptr;
            }
            if (slot.id == id && (slot.space & ~kExclusiveBit) == space) {
                return &slot;
            }
        }
    }
    /// Precondition: not there.
    Slot& insert(std::uint64_t space, std::uint64_t id) {
        if ((used + 1) * 4 > slots.size() * 3) {
            std::vector<Slot> old(std::max(slots.size() * 2, kFirstSlots));
            old.swap(slots);
            for (const Slot& slot : old) {
                if (slot.space != 0) {
                    free_slot(slot.space & ~kExclusiveBit, slot.id) = slot;
                }
            }
        }
        ++used;
        Slot& slot = free_slot(space, id);
        slot.space = space;
        slot.id = id;
        return slot;
    }
    [[nodiscard]] Slot& free_slot(std::uint64_t space, std::uint64_t id) noexcept {
        std::size_t i = home(space, id);
        while (slots[i].space != 0) {
            i = (i + 1) & (slots.size() - 1);
        }
        return slots[i];
    }
    void erase(Slot& slot) noexcept {
        delete slot.more;
        const std::size_t mask = slots.size() - 1;
        auto hole = static_cast<std::size_t>(&slot - slots.data());
        for (std::size_t i = (hole + 1) & mask; slots[i].space != 0; i = (i + 1) & mask) {
            // A slot may move into the hole unless its home lies between the two.
            const std::size_t from_home =
                (i - home(slots[i].space & ~kExclusiveBit, slots[i].id)) & mask;
            if (from_home >= ((i - hole) & mask)) {
                slots[hole] = slots[i];
                hole = i;
            }
        }
        slots[hole] = Slot{};
        --used;
        if (used == 0 && slots.size() > kKeptSlots) {
            std::vector<Slot>{}.swap(slots);
        }
    }
};

LockManager::LockManager() : shards_{std::make_unique<Shard[]>(kShards)} {}

LockManager::~LockManager() {
    NORNIC_CHECK(
        waiting_clients_.empty(), "{} transactions wait for locks", waiting_clients_.size());
}

LockManager::Shard& LockManager::shard_of(std::uint64_t hash) const noexcept {
    return shards_[hash >> 56];
}

bool LockManager::is_holder(const Slot& slot, const LockClient& client) noexcept {
    return slot.holder == &client ||
           (slot.holder == nullptr && slot.more != nullptr &&
            std::ranges::find(slot.more->sharers, &client) != slot.more->sharers.end());
}

void LockManager::add_holder(Slot& slot, LockClient& client, LockMode mode) {
    if (mode == LockMode::kExclusive) {
        // Free, or an upgrade of the only sharer.
        if (slot.more != nullptr) {
            slot.more->sharers.clear();
        }
        slot.holder = &client;
        slot.space |= kExclusiveBit;
    } else if (!slot.held()) {
        slot.holder = &client;
    } else {
        Contention& more = slot.contention();
        if (slot.holder != nullptr) {
            more.sharers.push_back(slot.holder);
            slot.holder = nullptr;
        }
        more.sharers.push_back(&client);
    }
}

void LockManager::drop_holder(Slot& slot, const LockClient& client) noexcept {
    if (slot.holder == &client) {
        slot.holder = nullptr;
        slot.space &= ~kExclusiveBit;
    } else if (slot.more != nullptr) {
        std::vector<LockClient*>& sharers = slot.more->sharers;
        const auto found = std::ranges::find(sharers, &client);
        if (found != sharers.end()) {
            *found = sharers.back();
            sharers.pop_back();
        }
    }
}

void LockManager::serve(Shard& shard, Slot& slot) noexcept {
    while (slot.has_queue()) {
        detail::LockWaiter& front = *slot.more->queue.front();
        const bool free = !slot.held();
        const bool shares = front.mode == LockMode::kShared && !slot.exclusive();
        const bool upgrades = front.upgrade && slot.held_only_by(*front.client);
        if (!free && !shares && !upgrades) {
            return;
        }
        slot.more->queue.erase(slot.more->queue.begin());
        LockClient& client = *front.client;
        add_holder(slot, client, front.mode);
        const std::lock_guard lock{client.mutex_};
        client.granted_ = true;
        client.wake_.notify_one();  // under the lock: its client may be gone right after
    }
    if (!slot.held()) {
        shard.erase(slot);
    }
}

LockManager::Grant LockManager::request(LockClient& client,
                                        const LockKey& key,
                                        LockMode mode,
                                        detail::LockWaiter* waiter) {
    const std::uint64_t space = space_of(key);
    Shard& shard = shard_of(hash_of(space, key.id));
    const std::lock_guard lock{shard.mutex};
    Slot* slot = shard.find(space, key.id);
    if (slot == nullptr) {
        add_holder(shard.insert(space, key.id), client, mode);
        return Grant::kGranted;
    }
    const bool upgrade = is_holder(*slot, client);
    if (upgrade) {
        if (slot->exclusive() || mode == LockMode::kShared) {
            return Grant::kAlreadyHeld;
        }
        if (slot->held_only_by(client)) {
            add_holder(*slot, client, mode);
            return Grant::kAlreadyHeld;
        }
    } else if (mode == LockMode::kShared && !slot->exclusive() && !slot->has_queue()) {
        add_holder(*slot, client, mode);
        return Grant::kGranted;
    }
    if (waiter == nullptr) {
        return Grant::kRefused;
    }
    waiter->upgrade = upgrade;
    std::vector<detail::LockWaiter*>& queue = slot->contention().queue;
    // Nobody behind an upgrade can be served before it, as its client holds the lock: it goes
    // first.
    const auto place = upgrade
                           ? std::ranges::find_if(queue, [](const auto* w) { return !w->upgrade; })
                           : queue.end();
    queue.insert(place, waiter);
    return Grant::kQueued;
}

Result<> LockManager::acquire(LockClient& client,
                              const LockKey& key,
                              LockMode mode,
                              Deadline deadline) {
    detail::LockWaiter waiter;
    waiter.client = &client;
    waiter.key = key;
    waiter.mode = mode;
    switch (request(client, key, mode, &waiter)) {
        case Grant::kAlreadyHeld:
            return success();
        case Grant::kRefused:
        case Grant::kQueued: {
            NORNIC_TRY(wait(client, waiter, deadline));
            if (waiter.upgrade) {
                return success();
            }
            break;
        }
        case Grant::kGranted:
            break;
    }
    client.held_.push_back({space_of(key), key.id});
    return success();
}

bool LockManager::try_acquire(LockClient& client, const LockKey& key, LockMode mode) {
    const Grant grant = request(client, key, mode, nullptr);
    if (grant == Grant::kGranted) {
        client.held_.push_back({space_of(key), key.id});
    }
    return grant != Grant::kRefused;
}

bool LockManager::holds(const LockClient& client, const LockKey& key, LockMode mode) const {
    const std::uint64_t space = space_of(key);
    Shard& shard = shard_of(hash_of(space, key.id));
    const std::lock_guard lock{shard.mutex};
    const Slot* slot = shard.find(space, key.id);
    return slot != nullptr && is_holder(*slot, client) &&
           (mode == LockMode::kShared || slot->exclusive());
}

void LockManager::release_all(LockClient& client) noexcept {
    for (auto held = client.held_.rbegin(); held != client.held_.rend(); ++held) {
        Shard& shard = shard_of(hash_of(held->space, held->id));
        const std::lock_guard lock{shard.mutex};
        Slot* slot = shard.find(held->space, held->id);
        NORNIC_CHECK(slot != nullptr,
                     "{} is held by {} but not locked",
                     to_string(key_of(held->space, held->id)),
                     client.transaction_.value);
        drop_holder(*slot, client);
        serve(shard, *slot);
    }
    std::vector<LockClient::Held>{}.swap(client.held_);
}

// ---- Waiting

Result<> LockManager::wait(LockClient& client, detail::LockWaiter& waiter, Deadline deadline) {
    waits_.fetch_add(1, std::memory_order_relaxed);
    waiter.since = std::chrono::steady_clock::now();
    std::optional<Error> error;
    {
        // The marks go up and the graph is searched in one step, so of several requests that close
        // a circle together exactly the last one finds it.
        const std::lock_guard lock{graph_mutex_};
        waiting_clients_.insert(&client);
        client.waiting_ = &waiter;
        error = find_deadlock(client);
    }
    if (!error) {
        std::unique_lock lock{client.mutex_};
        while (!client.granted_ && !error) {
            if (client.interruption_) {
                error = client.interruption_;
            } else if (deadline == kNoDeadline) {
                client.wake_.wait(lock);
            } else if (client.wake_.wait_until(lock, deadline) == std::cv_status::timeout &&
                       !client.granted_ && !client.interruption_) {
                error = Error{ErrorCode::kLockTimeout,
                              fmt::format("{} could not acquire {} on {} in time",
                                          name_of(client.transaction_),
                                          to_string(waiter.mode),
                                          to_string(waiter.key))};
            }
        }
    }
    const bool granted = !error || !withdraw(waiter);
    {
        const std::lock_guard lock{graph_mutex_};
        waiting_clients_.erase(&client);
        client.waiting_ = nullptr;
    }
    const std::lock_guard lock{client.mutex_};
    client.granted_ = false;
    if (granted) {
        return success();
    }
    if (error->code() == ErrorCode::kDeadlock) {
        deadlocks_.fetch_add(1, std::memory_order_relaxed);
    }
    return boost::outcome_v2::failure(std::move(*error));
}

bool LockManager::withdraw(detail::LockWaiter& waiter) {
    const std::uint64_t space = space_of(waiter.key);
    Shard& shard = shard_of(hash_of(space, waiter.key.id));
    const std::lock_guard lock{shard.mutex};
    Slot* slot = shard.find(space, waiter.key.id);
    if (slot == nullptr || slot->more == nullptr) {
        return false;
    }
    const auto place = std::ranges::find(slot->more->queue, &waiter);
    if (place == slot->more->queue.end()) {
        return false;
    }
    slot->more->queue.erase(place);
    serve(shard, *slot);
    return true;
}

LockManager::Blockers LockManager::blockers(const detail::LockWaiter& waiter) const {
    Blockers out;
    const std::uint64_t space = space_of(waiter.key);
    Shard& shard = shard_of(hash_of(space, waiter.key.id));
    const std::lock_guard lock{shard.mutex};
    const Slot* slot = shard.find(space, waiter.key.id);
    if (slot == nullptr || slot->more == nullptr) {
        return out;
    }
    const std::vector<detail::LockWaiter*>& queue = slot->more->queue;
    const auto place = std::ranges::find(queue, &waiter);
    if (place == queue.end()) {
        return out;
    }
    for (auto ahead = queue.begin(); ahead != place; ++ahead) {
        out.ahead.push_back({(*ahead)->client, (*ahead)->client->transaction_});
    }
    const auto add_holder_of = [&](LockClient* holder) {
        if (holder != waiter.client) {
            out.holders.push_back({holder, holder->transaction_});
        }
    };
    if (slot->holder != nullptr) {
        add_holder_of(slot->holder);
    } else {
        std::ranges::for_each(slot->more->sharers, add_holder_of);
    }
    return out;
}

std::optional<Error> LockManager::find_deadlock(LockClient& client) {
    // A circle that fell apart while it was looked at says nothing of the others this request may
    // close: look again until one holds or there is none. What fell apart is not met again.
    for (;;) {
        std::optional<Error> error;
        if (search_circle(client, error) != Circle::kStale) {
            return error;
        }
    }
}

LockManager::Circle LockManager::search_circle(LockClient& client, std::optional<Error>& error) {
    // Breadth first over who waits for whom. Those ahead in a queue wait for the same holders and
    // for others ahead, all of which are met anyway, so only holders need a look of their own.
    std::unordered_map<LockClient*, LockClient*> reached;  // to whom was looked at when it was met
    std::vector<LockClient*> open{&client};
    bool closed = false;
    for (std::size_t i = 0; i < open.size() && !closed; ++i) {
        LockClient* at = open[i];
        const Blockers found = blockers(*at->waiting_);
        const auto visit = [&](const Blocker& blocker, bool look) {
            // Who does not wait will let go some day, and may be gone already.
            if (!waiting_clients_.contains(blocker.client) ||
                !reached.try_emplace(blocker.client, at).second) {
                return;
            }
            closed = closed || blocker.client == &client;
            if (look) {
                open.push_back(blocker.client);
            }
        };
        std::ranges::for_each(found.holders, [&](const Blocker& b) { visit(b, true); });
        std::ranges::for_each(found.ahead, [&](const Blocker& b) { visit(b, false); });
    }
    if (!closed) {
        return Circle::kNone;
    }
    std::vector<LockClient*> circle{&client};  // each waits for the one before it
    for (LockClient* at = reached.at(&client); at != &client; at = reached.at(at)) {
        circle.push_back(at);
    }
    // The edges were seen one after the other while others ran. If each is still there at a second
    // look, all were there at once between the looks: who waits lets go of nothing, and nobody can
    // begin a new wait while the graph is ours.
    std::string list;
    for (std::size_t i = circle.size(); i > 0; --i) {
        LockClient* waits = circle[i % circle.size()];
        LockClient* for_whom = circle[i - 1];
        const Blockers again = blockers(*waits->waiting_);
        const bool holds =
            std::ranges::find(again.holders, for_whom, &Blocker::client) != again.holders.end();
        if (!holds &&
            std::ranges::find(again.ahead, for_whom, &Blocker::client) == again.ahead.end()) {
            return Circle::kStale;
        }
        list += fmt::format("\n {} waits for {} on {} {} by {}",
                            name_of(waits->transaction_),
                            to_string(waits->waiting_->mode),
                            to_string(waits->waiting_->key),
                            holds ? "held" : "asked for earlier",
                            name_of(for_whom->transaction_));
    }
    error.emplace(ErrorCode::kDeadlock,
                  fmt::format("{0} can't acquire {1} on {2} because holders of that lock are "
                              "waiting for {0}.\n Wait list:{3}",
                              name_of(client.transaction_),
                              to_string(client.waiting_->mode),
                              to_string(client.waiting_->key),
                              list));
    return Circle::kClosed;
}

std::vector<LockWait> LockManager::waiting() const {
    std::vector<LockWait> out;
    const std::lock_guard lock{graph_mutex_};
    for (const LockClient* client : waiting_clients_) {
        const detail::LockWaiter& waiter = *client->waiting_;
        LockWait wait{client->transaction_, waiter.key, waiter.mode, waiter.since, {}};
        Blockers found = blockers(waiter);
        found.holders.insert(found.holders.end(), found.ahead.begin(), found.ahead.end());
        for (const Blocker& blocker : found.holders) {
            wait.blockers.push_back(blocker.transaction);
        }
        out.push_back(std::move(wait));
    }
    std::ranges::sort(out, {}, [](const LockWait& w) { return w.since; });
    return out;
}

std::size_t LockManager::locked_keys() const {
    std::size_t n = 0;
    for (std::size_t i = 0; i < kShards; ++i) {
        const std::lock_guard lock{shards_[i].mutex};
        n += shards_[i].used;
    }
    return n;
}

// ---- Client

LockClient::~LockClient() {
    manager_.release_all(*this);
}

std::size_t LockClient::memory_bytes() const noexcept {
    constexpr std::size_t kTableBytes =
        48;  // a slot of 32 bytes in a table that is two thirds full
    return held_.capacity() * sizeof(Held) + held_.size() * kTableBytes;
}

void LockClient::interrupt(Error reason) {
    const std::lock_guard lock{mutex_};
    if (!interruption_) {
        interruption_ = std::move(reason);
    }
    wake_.notify_all();
}

}  // namespace nornic::engine
